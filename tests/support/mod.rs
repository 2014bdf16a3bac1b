//! What the tests of several areas share.

pub mod allocations;
pub mod formula;
pub mod golden;
pub mod http;
pub mod mlflow;
pub mod pickle;
pub mod pretrained;
pub mod python;
pub mod recordings;
pub mod speech;
pub mod voice;
pub mod weights;

pub use formula::{Glide, fill, fill_params, fill_rule, integers, uniform};
pub use golden::{Golden, assert_close, golden_path, golden_salt};

use std::path::{Path, PathBuf};

/// One libtorch thread for each test: the tests themselves run in parallel, and libtorch's threads wait for each other in
/// busy loops, which costs ten times the work when there are more of them than cores.
pub fn one_thread() {
    tch::set_num_threads(1);
}

/// An empty folder for what the tests of an area share: a static is never dropped, so that a temporary folder in it would stay for
/// good. `name` is the area's; the next run empties it.
pub fn shared_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{}: {e}", folder.display()),
        _ => std::fs::create_dir_all(&folder).unwrap(),
    }
    folder
}

/// The arguments with which this test program runs one test only and shows what it prints, for a test whose work needs a process of its
/// own. `module` is what `module_path!()` gives where the test is.
pub fn only(module: &str, name: &str) -> [String; 3] {
    // The test runner leaves out the name of the program.
    let (_, module) = module.split_once("::").expect("a module below the root");
    ["--exact".into(), format!("{module}::{name}"), "--nocapture".into()]
}

/// The rounds of a random test: the environment variable's number, else `usual`.
pub fn rounds(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |n| n.parse().unwrap_or_else(|_| panic!("{variable} is {n}, not a number")))
}

/// Reports that a part of a test did not run. Straight to stderr: the test runner hides what a passing test prints.
pub fn skipped(why: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr().lock(), "skipped {name}: {why}");
}
