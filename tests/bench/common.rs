//! What the benchmarks share: the reference in Python, figures.

#![allow(dead_code, reason = "every benchmark uses its own part of this module")]

use std::path::Path;
use std::process::{Command, Stdio};

/// The Python for the reference's figures if no flag names one.
pub fn usual_python() -> Option<String> {
    std::env::var("RVC_TEST_PYTHON").ok().filter(|python| !python.is_empty())
}

/// The JSON object that a script of tests/bench prints.
pub fn reference(python: &str, script: &str, arguments: &[&str]) -> Result<serde_json::Value, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench").join(script);
    let mut command = Command::new(python);
    command.arg(path).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|e| format!("cannot start {python}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{python} could not run {script} ({})", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("{script}: {e}"))
}

/// Median and least, with so many digits: "0.123 (0.119)".
pub fn figures(times: &[f64], digits: usize) -> String {
    let least = times.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{:.digits$} ({least:.digits$})", median(times))
}

pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 { f64::NAN } else { f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]) }
}
