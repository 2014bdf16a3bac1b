//! A Python with torch and faiss, for tests that let the original libraries open what we write.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The first of `RVC_TEST_PYTHON`, python3 and python that can import torch; prints a line if no Python can.
pub fn with_torch() -> Option<PathBuf> {
    that_imports("torch")
}

/// The first of them that can import faiss.
pub fn with_faiss() -> Option<PathBuf> {
    that_imports("faiss")
}

/// The first of them that can import MLflow.
pub fn with_mlflow() -> Option<PathBuf> {
    that_imports("mlflow")
}

/// The first of them that can import TensorBoard.
pub fn with_tensorboard() -> Option<PathBuf> {
    that_imports("tensorboard")
}

fn that_imports(library: &'static str) -> Option<PathBuf> {
    // To import torch takes seconds, and many tests ask.
    static FOUND: Mutex<BTreeMap<&str, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut known = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.entry(library).or_insert_with(|| first_that_imports(library)).clone();
    if found.is_none() {
        super::skipped(&format!("no Python with {library}; name one in RVC_TEST_PYTHON"));
    }
    found
}

fn first_that_imports(library: &str) -> Option<PathBuf> {
    let named = std::env::var_os("RVC_TEST_PYTHON").map(PathBuf::from);
    let is_named = named.is_some();
    let candidates = named.map_or_else(|| vec!["python3".into(), "python".into()], |path| vec![path]);
    let imports = |python: &PathBuf| {
        let import = format!("import {library}");
        Command::new(python).args(["-c", &import]).output().is_ok_and(|o| o.status.success())
    };
    let found = candidates.into_iter().find(imports);
    assert!(found.is_some() || !is_named, "the Python named in RVC_TEST_PYTHON cannot import {library}");
    found
}

/// Runs `script` with arguments and returns what it prints; the test fails with its error output if it fails.
#[track_caller]
pub fn run(python: &PathBuf, script: &str, arguments: &[&std::path::Path]) -> String {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().expect("python starts");
    assert!(output.status.success(), "python: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
