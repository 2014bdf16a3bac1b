//! Shared by the benchmarks: the reference in Python, figures.

#![allow(dead_code, reason = "every benchmark uses a different part of this module")]

use rvc_run::config::Config;
use rvc_run::models::{Pitch, TrainInput};
use rvc_run::nn::Spectral;
use rvc_run::train::data::Batch;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use tch::{Device, Kind, Tensor};

/// Frames of the four clips of a batch: 3.2 to 3.7 s, longest first as collated.
const LENGTHS: [i64; 4] = [370, 352, 335, 318];

/// The body of a benchmark's `main`: reads the flags, measures, and prints errors to stderr.
pub fn run<T>(options: Result<T, String>, bench: impl FnOnce(&T) -> Result<(), String>) -> ExitCode {
    match options.and_then(|options| bench(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

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

/// Median and least, with this many digits: "0.123 (0.119)".
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

/// A batch of synthetic data: the arithmetic of a step is the same for any data.
pub fn training_batch(config: &Config, device: Device) -> Batch {
    tch::manual_seed(1);
    let float = (Kind::Float, device);
    let (n, frames) = (LENGTHS.len() as i64, LENGTHS[0]);
    let samples = frames * config.hop_length();
    let time = Tensor::arange(samples, float) * (std::f64::consts::TAU * 220.0 / config.sample_rate as f64);
    let wave = time.sin().repeat([n, 1]) * 0.3 + Tensor::randn([n, samples], float) * 0.02;
    let pitch = Tensor::randint_low(1, 256, [n, frames], (Kind::Int64, device));
    let lengths = Tensor::from_slice(&LENGTHS).to_device(device);
    let input = TrainInput {
        phone: Tensor::randn([n, frames, 768], float),
        phone_lengths: lengths.shallow_clone(),
        pitch: Some(Pitch { hz: pitch.to_kind(Kind::Float) + 220.0, coarse: pitch }),
        spec: Spectral::new(config, device).spec(&wave),
        spec_lengths: lengths,
        sid: Tensor::zeros([n], (Kind::Int64, device)),
    };
    Batch { input, wave: wave.unsqueeze(1) }
}
