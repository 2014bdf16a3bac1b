//! Finds libtorch 2.11: LIBTORCH, .libtorch/ in the checkout, a Python that has torch.

use crate::Outcome;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The libtorch that tch =0.24.0 is written for; torch-sys compiles against its headers.
pub const WANTED: &str = "2.11";

/// Where a libtorch found in a Python is remembered, so that activating another environment does not recompile everything.
const REMEMBERED: &str = ".libtorch/found-in-python.txt";

/// A libtorch folder that was checked: it has lib/ and include/ and the required version.
#[derive(Debug, PartialEq, Eq)]
pub struct Libtorch {
    pub root: PathBuf,
    pub version: String,
}

impl Libtorch {
    pub fn lib(&self) -> PathBuf {
        self.root.join("lib")
    }

    /// Sets what torch-sys's build script reads.
    pub fn for_cargo(&self, command: &mut Command) {
        if std::env::var_os("LIBTORCH").is_none() {
            // Left over from another project, these would mislead the build script.
            command.env_remove("LIBTORCH_LIB").env_remove("LIBTORCH_INCLUDE");
        }
        command.env("LIBTORCH", &self.root).env_remove("LIBTORCH_USE_PYTORCH");
    }

    /// Sets what programs need to find the libraries: nothing on systems with an rpath, PATH on Windows.
    pub fn for_programs(&self, command: &mut Command) {
        if !cfg!(windows) {
            return;
        }
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.lib()).chain(std::env::split_paths(&old));
        if let Ok(path) = std::env::join_paths(all) {
            command.env("PATH", path);
        }
    }

    /// Checks the folder `root`. Err: what is wrong with it, as the end of a sentence about it.
    pub fn open(root: &Path) -> Outcome<Self> {
        let library = root.join("lib").join(library_name("torch_cpu"));
        if !library.is_file() {
            return Err(format!("has no {}", Path::new("lib").join(library_name("torch_cpu")).display()));
        }
        if !root.join("include").is_dir() {
            return Err("has no include/ folder".into());
        }
        let version = version(root).ok_or("has no version (no version.py, no build-version)")?;
        if !is_wanted(&version) {
            return Err(format!("is version {version}, but {WANTED} is needed"));
        }
        Ok(Self { root: root.to_path_buf(), version })
    }
}

pub fn from_variable(given: &Path) -> Outcome<Libtorch> {
    let root = std::path::absolute(given).unwrap_or_else(|_| given.to_path_buf());
    Libtorch::open(&root).map_err(|why| {
        format!(
            "LIBTORCH is {}, which {why}\n  point it at a libtorch {WANTED} (a folder with lib/ and include/), or unset it: \
             then one is found or fetched",
            root.display()
        )
    })
}

/// .libtorch/torch as pip lays it out, or .libtorch itself if a user unpacked libtorch's archive there.
pub fn from_checkout(checkout: &Path) -> Outcome<Option<Libtorch>> {
    let folder = checkout.join(".libtorch");
    for root in [folder.join("torch"), folder] {
        if !root.join("lib").is_dir() {
            continue;
        }
        return Libtorch::open(&root)
            .map(Some)
            .map_err(|why| format!("{} {why}\n  `cargo xtask fetch` replaces it", root.display()));
    }
    Ok(None)
}

/// Whether there is an NVIDIA driver or device (also inside WSL).
pub fn nvidia_gpu_is_here() -> bool {
    let signs = ["/proc/driver/nvidia/version", "/dev/nvidia0", "/usr/lib/wsl/lib/libcuda.so.1"];
    if signs.iter().any(|path| Path::new(path).exists()) {
        return true;
    }
    let list = Command::new("nvidia-smi").arg("-L").stdin(Stdio::null()).stderr(Stdio::null()).output();
    list.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"GPU "))
}

/// A Python's torch: the remembered one, or the first of `pythons` with the required version.
pub fn from_python(checkout: &Path, pythons: &[PathBuf]) -> Option<Libtorch> {
    let memory = checkout.join(REMEMBERED);
    if let Ok(root) = std::fs::read_to_string(&memory)
        && let Ok(found) = Libtorch::open(Path::new(root.trim()))
    {
        return Some(found);
    }
    for python in pythons {
        let Some(root) = torch_folder(python) else { continue };
        match Libtorch::open(&root) {
            Ok(found) => {
                eprintln!("{} has torch {}: using it", python.display(), found.version);
                if nvidia_gpu_is_here() && !found.lib().join(library_name("torch_cuda")).is_file() {
                    eprintln!(
                        "note: it is built without CUDA; `cargo xtask fetch --gpu` gets one for the GPU of this machine"
                    );
                }
                // Only a cache: if it cannot be written, Python is asked again next time.
                let _ = std::fs::create_dir_all(checkout.join(".libtorch"))
                    .and_then(|()| std::fs::write(&memory, found.root.display().to_string()));
                return Some(found);
            }
            Err(why) => eprintln!("note: the torch of {} {why}: not used", python.display()),
        }
    }
    None
}

/// Pythons to ask, in order: the active environment's, then those on the PATH.
pub fn pythons() -> Vec<PathBuf> {
    let environment = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let own = environment.map(|folder| folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" }));
    own.into_iter().chain(["python3", "python"].map(PathBuf::from)).collect()
}

/// The folder of the Python's torch package. It is looked up, not imported: importing takes seconds and may fail on its own.
fn torch_folder(python: &Path) -> Option<PathBuf> {
    const ASK: &str = "import importlib.util as u; s = u.find_spec('torch'); \
                       print(next(iter(s.submodule_search_locations), '') if s and s.origin else '')";
    // -P would be clearer but needs Python 3.11; the empty path entry of `python -c` is harmless unless there is a ./torch/__init__.py.
    let output = Command::new(python).args(["-c", ASK]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let folder = text.trim();
    (output.status.success() && !folder.is_empty()).then(|| PathBuf::from(folder))
}

/// "2.11.0+cu130": from a wheel's version.py or an archive's build-version.
fn version(root: &Path) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(root.join("version.py")) {
        let value = text.lines().find_map(|line| line.strip_prefix("__version__"))?;
        let value = value.rsplit('=').next()?.trim().trim_matches(['\'', '"']);
        return Some(value.to_owned());
    }
    let text = std::fs::read_to_string(root.join("build-version")).ok()?;
    Some(text.trim().to_owned())
}

fn is_wanted(version: &str) -> bool {
    version.strip_prefix(WANTED).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+']))
}

pub fn library_name(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// Reports at once what would otherwise fail minutes later.
pub fn compiler_is_here() -> Outcome<()> {
    if cfg!(windows) || std::env::var_os("CXX").is_some() || ["c++", "g++", "clang++"].iter().any(|name| on_path(name))
    {
        return Ok(()); // Windows: the cc crate finds Visual Studio through the registry.
    }
    let how =
        if cfg!(target_os = "macos") { "xcode-select --install" } else { "apt install g++ (or dnf install gcc-c++)" };
    Err(format!("no C++ compiler was found; tch's C++ part needs one\n  {how}, or set CXX"))
}

pub fn on_path(name: &str) -> bool {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a libtorch of `version`.
    fn fake(root: &Path, version: &str) {
        std::fs::create_dir_all(root.join("lib")).unwrap();
        std::fs::create_dir_all(root.join("include")).unwrap();
        std::fs::write(root.join("lib").join(library_name("torch_cpu")), "").unwrap();
        std::fs::write(root.join("version.py"), format!("__all__ = ['__version__']\n__version__ = '{version}'\n"))
            .unwrap();
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_versions_of_a_wheel_and_an_archive_are_read() {
        let root = folder("version");
        fake(&root, "2.11.0+cu130");
        assert_eq!(Libtorch::open(&root).unwrap().version, "2.11.0+cu130");
        std::fs::remove_file(root.join("version.py")).unwrap();
        std::fs::write(root.join("build-version"), "2.11.0+cpu\n").unwrap();
        assert_eq!(Libtorch::open(&root).unwrap().version, "2.11.0+cpu");
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn another_version_is_named_and_refused() {
        let root = folder("wrong");
        fake(&root, "2.1.0");
        let error = from_variable(&root).unwrap_err();
        assert!(error.contains("is version 2.1.0, but 2.11 is needed"), "{error}");
        fake(&root, "2.110.0");
        assert!(Libtorch::open(&root).is_err());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_folder_without_libraries_is_refused_and_the_message_names_them() {
        let root = folder("empty");
        assert!(from_variable(&root).unwrap_err().contains("torch_cpu"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_checkout_is_searched_in_both_layouts_and_a_killed_fetch_is_not_taken() {
        let checkout = folder("checkout");
        assert_eq!(from_checkout(&checkout), Ok(None));
        fake(&checkout.join(".libtorch.part/torch"), "2.11.0");
        assert_eq!(from_checkout(&checkout), Ok(None));
        fake(&checkout.join(".libtorch"), "2.11.0+cpu");
        assert_eq!(from_checkout(&checkout).unwrap().unwrap().root, checkout.join(".libtorch"));
        fake(&checkout.join(".libtorch/torch"), "2.11.0+cu130");
        assert_eq!(from_checkout(&checkout).unwrap().unwrap().root, checkout.join(".libtorch/torch"));
        std::fs::remove_dir_all(checkout).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_python_with_torch_is_asked_once_and_remembered() {
        use std::os::unix::fs::PermissionsExt;
        let checkout = folder("python");
        let (old, new) = (checkout.join("old/torch"), checkout.join("new/torch"));
        fake(&old, "2.4.0");
        fake(&new, "2.11.0");
        let python = |name: &str, answer: &Path| {
            let path = checkout.join(name);
            std::fs::write(&path, format!("#!/bin/sh\necho '{}'\n", answer.display())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let pythons = [checkout.join("none"), python("python-old", &old), python("python-new", &new)];
        assert_eq!(from_python(&checkout, &pythons).unwrap().root, new);
        assert_eq!(from_python(&checkout, &[]).unwrap().root, new);
        std::fs::remove_dir_all(&new).unwrap();
        assert_eq!(from_python(&checkout, &[]), None);
        std::fs::remove_dir_all(checkout).unwrap();
    }
}
