//! Fetches libtorch from the Python package index into .libtorch/, with pip or uv.
//!
//! Everything goes to .libtorch.part/ first, which is renamed when it is complete: a fetch that was killed never looks finished.

use crate::Outcome;
use crate::libtorch::{Libtorch, WANTED, from_checkout, nvidia_gpu_is_here, on_path, pythons};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// The torch wheel and, on Linux, the two CUDA libraries that its libtorch_cpu names: 0.55 GB.
    Cpu,
    /// torch with all its dependencies: 3 GB on Linux.
    Gpu,
}

const TORCH: &str = "torch==2.11.0";
/// libtorch_cpu.so of the CUDA wheel needs libcudart.so.13 and libcupti.so.13 even for CPU work.
const CUDA_FOR_CPU: [&str; 2] = ["nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cupti==13.0.*"];
/// A Python version that torch 2.11 has wheels for; only the libraries inside are used, so it need not be the one that runs pip.
const WHEEL_PYTHON: &str = "3.12";

/// The set that fits this machine.
pub fn set_for_this_machine() -> Set {
    if nvidia_gpu_is_here() { Set::Gpu } else { Set::Cpu }
}

/// Fetches `set` into the checkout's .libtorch/. With `again`, it replaces one that is already there.
pub fn fetch(checkout: &Path, set: Set, again: bool) -> Outcome<Libtorch> {
    let installer = Installer::find()?;
    let _lock = lock(checkout)?;
    if !again && let Some(found) = from_checkout(checkout)? {
        return Ok(found); // Another xtask fetched it while this one waited.
    }
    let (whole, part) = (checkout.join(".libtorch"), checkout.join(".libtorch.part"));
    remove(&part)?;
    let content = part.join("content");
    let temp = part.join("tmp");
    for folder in [&content, &temp] {
        fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    }
    let (name, size) = match set {
        Set::Gpu if cfg!(target_os = "linux") => ("with CUDA", "3 GB"),
        _ => ("for the CPU", "0.55 GB"),
    };
    eprintln!(
        "fetching libtorch {WANTED} {name} (about {size}, once) into {} with {}",
        whole.display(),
        installer.name()
    );
    if set == Set::Gpu && !cfg!(target_os = "linux") {
        eprintln!(
            "note: the package index has no CUDA build for this system. For the GPU, download libtorch {WANTED} with CUDA from \
             pytorch.org and set LIBTORCH to its folder"
        );
    }
    installer.install(&content, &temp, set)?;
    let torch = content.join("torch");
    Libtorch::open(&torch).map_err(|why| format!("the fetched {} {why}", torch.display()))?;
    remove(&whole)?;
    fs::rename(&content, &whole)
        .map_err(|e| format!("cannot rename {} to {}: {e}", content.display(), whole.display()))?;
    remove(&part)?;
    from_checkout(checkout)?.ok_or_else(|| format!("{} vanished after it was fetched", whole.display()))
}

/// Waits for another fetch into the same checkout; the kernel frees the lock of a process that dies.
fn lock(checkout: &Path) -> Outcome<File> {
    let path = checkout.join(".libtorch.lock");
    let file = File::create(&path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("another cargo xtask is fetching libtorch: waiting for it");
        file.lock().map_err(|e| format!("cannot lock {}: {e}", path.display()))?;
    }
    Ok(file)
}

fn remove(folder: &Path) -> Outcome<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("cannot remove {}: {e}", folder.display())),
        _ => Ok(()),
    }
}

/// A program that installs wheels into a folder.
#[derive(Debug)]
enum Installer {
    /// A Python with pip, and its version.
    Pip(PathBuf, (u32, u32)),
    Uv,
}

impl Installer {
    fn find() -> Outcome<Self> {
        let with_pip = pythons().into_iter().find_map(|python| pip_python(&python).map(|v| Self::Pip(python, v)));
        with_pip.or_else(|| on_path("uv").then_some(Self::Uv)).ok_or_else(|| no_installer(&pythons()))
    }

    fn name(&self) -> String {
        match self {
            Self::Pip(python, _) => format!("{} -m pip", python.display()),
            Self::Uv => "uv pip".into(),
        }
    }

    /// Installs into `content`, with `temp` for pip's temporary files: /tmp is often too small.
    fn install(&self, content: &Path, temp: &Path, set: Set) -> Outcome<()> {
        let mut command = match self {
            Self::Pip(python, version) => {
                let mut command = Command::new(python);
                command.args([
                    "-m",
                    "pip",
                    "install",
                    "--disable-pip-version-check",
                    "--no-compile",
                    "--no-warn-script-location",
                ]);
                if !((3, 10)..=(3, 14)).contains(version) {
                    command.args(["--python-version", WHEEL_PYTHON]);
                }
                // A user's pip settings could contradict --target.
                command.env("PIP_USER", "0").env("PIP_REQUIRE_VIRTUALENV", "0").env("PIP_ROOT_USER_ACTION", "ignore");
                command
            }
            Self::Uv => {
                let mut command = Command::new("uv");
                command.args(["pip", "install", "--python-version", WHEEL_PYTHON]);
                command
            }
        };
        command.args(["--only-binary", ":all:", "--target"]).arg(content).env("TMPDIR", temp).arg(TORCH);
        if set == Set::Cpu {
            command.arg("--no-deps");
            if cfg!(target_os = "linux") {
                command.args(CUDA_FOR_CPU);
            }
        }
        let status = command.stdin(Stdio::null()).status().map_err(|e| format!("cannot start {}: {e}", self.name()))?;
        if status.success() {
            return Ok(());
        }
        Err(format!(
            "{} could not fetch {TORCH}; see above\n  run the same command again once the cause is gone (finished downloads are \
             kept by its cache), or set LIBTORCH to a libtorch {WANTED}",
            self.name()
        ))
    }
}

/// The version of `python` if it has pip.
fn pip_python(python: &Path) -> Option<(u32, u32)> {
    const ASK: &str = "import sys, pip; print(*sys.version_info[:2])";
    let output = Command::new(python).args(["-c", ASK]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn no_installer(pythons: &[PathBuf]) -> String {
    let python = pythons.iter().any(|p| Command::new(p).arg("-V").output().is_ok_and(|o| o.status.success()));
    let found = if python { "a Python without pip" } else { "no Python" };
    let how = match (python, cfg!(target_os = "linux")) {
        (true, true) => "apt install python3-pip (or python3 -m ensurepip)",
        (true, false) => "python3 -m ensurepip",
        (false, true) => "apt install python3 python3-pip",
        (false, false) => "install Python 3 from python.org",
    };
    format!(
        "libtorch {WANTED} is needed and pip, which fetches it, was not found: there is {found}\n  {how}, or install uv, or set \
         LIBTORCH to a libtorch {WANTED}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_failed_install_leaves_no_finished_folder() {
        use std::os::unix::fs::PermissionsExt;
        let checkout = std::env::temp_dir().join(format!("xtask-fetch-{}", std::process::id()));
        let _ = fs::remove_dir_all(&checkout);
        fs::create_dir_all(checkout.join("content")).unwrap();
        let python = checkout.join("python");
        fs::write(&python, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let installer = Installer::Pip(python, (3, 11));
        let error = installer.install(&checkout.join("content"), &checkout, Set::Cpu).unwrap_err();
        assert!(error.contains("could not fetch torch==2.11.0"), "{error}");
        assert_eq!(from_checkout(&checkout), Ok(None));
        fs::remove_dir_all(checkout).unwrap();
    }

    #[test]
    fn without_pip_the_message_says_what_to_install() {
        let text = no_installer(&[PathBuf::from("no-such-python")]);
        assert!(text.contains("there is no Python") && text.contains("LIBTORCH"), "{text}");
    }

    #[test]
    fn a_second_fetch_into_the_same_checkout_waits() {
        let checkout = std::env::temp_dir().join(format!("xtask-lock-{}", std::process::id()));
        fs::create_dir_all(&checkout).unwrap();
        let held = lock(&checkout).unwrap();
        let other = File::create(checkout.join(".libtorch.lock")).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        assert!(other.try_lock().is_ok());
        fs::remove_dir_all(checkout).unwrap();
    }
}
