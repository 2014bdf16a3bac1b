//! libtorch at run time: loads CUDA if this machine can use it; device, threads, version.
//!
//! The program is linked only against libtorch's CPU part, so that it starts with every set of libraries. [`init`] loads
//! libtorch_cuda as well if an NVIDIA driver is present. It must run before the first libtorch call, because libtorch searches
//! for its CUDA part only once.
//!
//! ```text
//! NVIDIA driver   libtorch_cuda       outcome
//! no              any                 CPU; the reason is kept
//! yes             absent              CPU; libtorch was built without CUDA (macOS, +cpu wheels)
//! yes             lacks libraries     CPU; the small wheel set (`cargo xtask fetch --cpu`)
//! yes             loads               GPU, if the driver reports a device
//! ```

use super::allocator;
use crate::{Error, Kind, Result};
use libloading::Library;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::{Cuda, Device};

/// Whether a GPU can be used, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// The number of usable CUDA devices.
    Ready(i64),
    /// No NVIDIA driver was found; with the loader's message.
    NoDriver(String),
    /// This libtorch has no CUDA part.
    NoCudaBuild,
    /// libtorch's CUDA part does not load; with the loader's message.
    NotLoadable(String),
    /// Driver and libtorch are present, but report no device (none visible, or the driver is too old).
    NoDevice,
}

static GPU: OnceLock<Gpu> = OnceLock::new();

/// Whether the number of threads may change with the machine's load: only a program sets it, never a library or test.
static ADAPTS: AtomicBool = AtomicBool::new(false);
static MOST: OnceLock<usize> = OnceLock::new();

/// Whether a GPU can be used. The first call loads libtorch's CUDA part and sets the threads; it must come before any other
/// libtorch call, so `main` makes it before it runs a recipe. Later calls return the first answer.
pub fn init() -> &'static Gpu {
    GPU.get_or_init(|| {
        allocator::keep();
        let gpu = load_cuda();
        limit_threads();
        gpu
    })
}

/// The GPUs that the user wants, in this order; empty: any.
static WANTED: OnceLock<Vec<u32>> = OnceLock::new();

/// Sets which GPUs may be worked on, because the user named them; the first call counts.
pub fn choose(gpus: Vec<u32>) {
    // A second call in one process has no user behind it.
    let _ = WANTED.set(gpus);
}

/// The first of the `wanted` GPUs that is there, of `count`; the first of all if none are named.
fn first_of(wanted: &[u32], count: i64) -> Option<usize> {
    if wanted.is_empty() {
        return Some(0);
    }
    wanted.iter().find(|&&gpu| i64::from(gpu) < count).map(|&gpu| gpu as usize)
}

/// The device to work on: the CPU, or the first GPU of those that the user named (see [`choose`]) or of all.
///
/// Errors: `device.missing` if `gpu` is set and none can be used; the message gives the reason.
pub fn device(gpu: bool) -> Result<Device> {
    if !gpu {
        return Ok(Device::Cpu);
    }
    match init() {
        &Gpu::Ready(count) => {
            let wanted = WANTED.get().map_or(&[][..], Vec::as_slice);
            first_of(wanted, count).map(Device::Cuda).ok_or_else(|| {
                let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
                let message = format!("there is no GPU {}, only {}", names.join(","), reason(&Gpu::Ready(count)));
                Error::new(Kind::DeviceMissing, message).hint(format!("--gpu takes numbers from 0 to {}", count - 1))
            })
        }
        other => Err(Error::new(Kind::DeviceMissing, format!("there is no usable GPU: {}", reason(other)))
            .hint(format!("{}; or run without --gpu", advice(other)))),
    }
}

/// Why there is no GPU, in a few words ("2 CUDA devices" if there are any).
pub fn reason(gpu: &Gpu) -> String {
    match gpu {
        Gpu::Ready(1) => "1 CUDA device".into(),
        Gpu::Ready(n) => format!("{n} CUDA devices"),
        Gpu::NoDriver(_) => "no NVIDIA driver was found".into(),
        Gpu::NoCudaBuild => "this libtorch is built without CUDA".into(),
        Gpu::NotLoadable(why) => format!("libtorch's CUDA part cannot be loaded ({why})"),
        Gpu::NoDevice => "the NVIDIA driver is installed, but reports no device".into(),
    }
}

/// What to do about it, as an imperative without a full stop.
pub fn advice(gpu: &Gpu) -> &'static str {
    match gpu {
        Gpu::Ready(_) => "nothing",
        Gpu::NoDriver(_) if cfg!(target_os = "macos") => {
            "GPU training needs an NVIDIA GPU, which macOS does not support"
        }
        Gpu::NoDriver(_) => "install the NVIDIA driver if this machine has an NVIDIA GPU (`nvidia-smi` should list it)",
        Gpu::NoCudaBuild if cfg!(windows) => {
            "set LIBTORCH to a libtorch 2.11 with CUDA from pytorch.org and build again"
        }
        Gpu::NoCudaBuild | Gpu::NotLoadable(_) => {
            "`cargo xtask fetch --gpu` fetches libtorch with all CUDA libraries; for rvc-run from a wheel, install torch 2.11 with CUDA"
        }
        Gpu::NoDevice => {
            "compare `nvidia-smi` and CUDA_VISIBLE_DEVICES; libtorch 2.11 needs a driver for CUDA 13 (580 or newer)"
        }
    }
}

/// The folder of the libtorch libraries in use: the one that the system loaded them from, else the one at build time.
pub fn libtorch_lib() -> PathBuf {
    let built_with = PathBuf::from(option_env!("RVC_RUN_LIBTORCH_LIB").unwrap_or_default());
    loaded_from(&library_name("torch_cpu")).unwrap_or(built_with)
}

/// libtorch's version, such as "2.11.0+cu130", from the files beside its libraries.
pub fn libtorch_version() -> Option<String> {
    let root = libtorch_lib().parent()?.to_path_buf();
    if let Ok(text) = crate::files::read_text(&root.join("version.py")) {
        let line = text.lines().find_map(|line| line.strip_prefix("__version__"))?;
        return Some(line.rsplit('=').next()?.trim().trim_matches(['\'', '"']).to_owned());
    }
    crate::files::read_text(&root.join("build-version")).ok().map(|text| text.trim().to_owned())
}

/// Sets the user's number of threads for a libtorch operation, which then never changes. At least 1; the default is
/// [`init`]'s choice.
pub fn set_threads(n: usize) {
    ADAPTS.store(false, Ordering::Relaxed);
    use_threads(n);
}

/// As [`set_threads`], but [`Pace`](super::pace::Pace) may change it again.
pub(super) fn use_threads(n: usize) {
    tch::set_num_threads(i32::try_from(n.max(1)).unwrap_or(i32::MAX));
}

/// Lets [`Pace`](super::pace::Pace) lower the number of threads beside other programs, unless the user gave one
/// (OMP_NUM_THREADS). Numbers then may differ in their last bits between a busy machine and an idle one.
pub fn adapt() {
    let _ = most_threads();
    ADAPTS.store(std::env::var_os("OMP_NUM_THREADS").is_none(), Ordering::Relaxed);
}

/// The number of threads at [`adapt`]; more than the current number after it was lowered.
pub(super) fn most_threads() -> usize {
    *MOST.get_or_init(threads)
}

pub(super) fn adapts() -> bool {
    ADAPTS.load(Ordering::Relaxed)
}

/// Threads that one libtorch operation uses.
pub fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// OpenMP counts the machine's cores; in a container with a CPU quota that is more than the quota, and the extra threads
/// only wait for each other. A user's number (OMP_NUM_THREADS) stays.
fn limit_threads() {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    if std::env::var_os("OMP_NUM_THREADS").is_none() && allowed < threads() {
        set_threads(allowed);
    }
}

fn load_cuda() -> Gpu {
    let driver = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
    if let Err(why) = load(Path::new(driver)) {
        return Gpu::NoDriver(why);
    }
    let cuda = libtorch_lib().join(library_name("torch_cuda"));
    if !cuda.is_file() {
        return Gpu::NoCudaBuild;
    }
    if let Err(why) = load(&cuda) {
        return Gpu::NotLoadable(why);
    }
    match Cuda::device_count() {
        n if n > 0 => Gpu::Ready(n),
        _ => Gpu::NoDevice,
    }
}

/// Loads a library for the rest of the process, its symbols visible to libtorch_cpu; Err is the loader's own text.
fn load(path: &Path) -> std::result::Result<(), String> {
    // SAFETY: only the NVIDIA driver and libtorch's own CUDA part are loaded, whose initialisers are made for this; they
    // are never unloaded.
    unsafe { open_globally(path) }.map(std::mem::forget).map_err(|error| innermost(&error))
}

#[cfg(unix)]
unsafe fn open_globally(path: &Path) -> std::result::Result<Library, libloading::Error> {
    use libloading::os::unix::{Library as Unix, RTLD_GLOBAL, RTLD_LAZY};
    // SAFETY: as promised by the caller.
    unsafe { Unix::open(Some(path), RTLD_LAZY | RTLD_GLOBAL) }.map(Library::from)
}

#[cfg(not(unix))]
unsafe fn open_globally(path: &Path) -> std::result::Result<Library, libloading::Error> {
    // SAFETY: as promised by the caller.
    unsafe { Library::new(path) }
}

/// The message of the last cause: "libcudnn.so.9: cannot open shared object file: No such file or directory".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The folder from which the running process loaded `library`.
#[cfg(target_os = "linux")]
fn loaded_from(library: &str) -> Option<PathBuf> {
    let maps = crate::files::read_text(Path::new("/proc/self/maps")).ok()?;
    let path = maps.lines().find_map(|line| {
        let path = Path::new(line.get(line.find('/')?..)?);
        (path.file_name()? == library).then_some(path)
    })?;
    path.parent().map(Path::to_path_buf)
}

#[cfg(not(target_os = "linux"))]
fn loaded_from(_library: &str) -> Option<PathBuf> {
    None
}

fn library_name(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libtorch_in_use_is_of_the_version_that_tch_is_made_for() {
        assert!(libtorch_lib().join(library_name("torch_cpu")).is_file());
        assert!(libtorch_version().is_some_and(|v| v.starts_with("2.11")), "{:?}", libtorch_version());
    }

    #[test]
    fn a_wanted_gpu_is_there_or_the_error_says_what_was_found() {
        match (init(), device(true)) {
            (Gpu::Ready(_), device) => assert_eq!(device.unwrap(), Device::Cuda(0)),
            (gpu, device) => {
                let error = device.unwrap_err();
                assert_eq!(error.kind(), Kind::DeviceMissing);
                assert!(error.message().contains(&reason(gpu)), "{error}");
                assert!(error.hint_text().is_some_and(|hint| hint.contains("--gpu")));
            }
        }
    }

    #[test]
    fn the_first_gpu_that_is_there_is_taken_of_those_that_are_named() {
        assert_eq!([first_of(&[], 2), first_of(&[1, 0], 2), first_of(&[7, 1], 2)], [Some(0), Some(1), Some(1)]);
        assert_eq!(first_of(&[2, 3], 2), None);
    }

    #[test]
    fn without_a_wish_for_a_gpu_the_cpu_is_taken() {
        assert_eq!(device(false).unwrap(), Device::Cpu);
    }

    #[test]
    fn a_library_that_does_not_load_is_reported_in_the_loaders_words() {
        let why = load(Path::new("libno-such-library.so")).unwrap_err();
        assert!(why.contains("no-such-library"), "{why}");
    }

    #[test]
    fn init_leaves_at_most_one_thread_for_each_core_that_may_be_used() {
        init();
        let allowed = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(std::env::var_os("OMP_NUM_THREADS").is_some() || threads() <= allowed);
    }
}
