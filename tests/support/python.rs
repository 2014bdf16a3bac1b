//! A Python with torch, for tests that let the original library open what we write.

use std::path::PathBuf;
use std::process::Command;

/// The first of `RVC_TEST_PYTHON`, python3 and python that can import torch; prints a line if there is none.
pub fn with_torch() -> Option<PathBuf> {
    let named = std::env::var_os("RVC_TEST_PYTHON").map(PathBuf::from);
    let candidates = match named {
        Some(path) => vec![path],
        None => vec!["python3".into(), "python".into()],
    };
    let imports =
        |python: &PathBuf| Command::new(python).args(["-c", "import torch"]).output().is_ok_and(|o| o.status.success());
    let named = std::env::var_os("RVC_TEST_PYTHON").is_some();
    let found = candidates.into_iter().find(imports);
    assert!(found.is_some() || !named, "the Python named in RVC_TEST_PYTHON cannot import torch");
    if found.is_none() {
        crate::support::skipped("no Python with torch; name one in RVC_TEST_PYTHON");
    }
    found
}

/// Runs `script` with arguments and returns what it prints; the test fails with its error output if it fails.
#[track_caller]
pub fn run(python: &PathBuf, script: &str, arguments: &[&std::path::Path]) -> String {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().expect("python starts");
    assert!(output.status.success(), "python: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
