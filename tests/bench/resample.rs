//! `cargo xtask bench resample`: the resampler's pass band, aliasing and time, beside soxr's HQ recipe.
//!
//! One sound for each ratio: tones of half a second, one after the other, with silence between them. The middle quarter of a second of
//! each is measured: a tone's own level by a fit, everything else by the residual of the fit.

mod common;

use rvc_run::audio::resample::resample;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
cargo xtask bench resample [--python PATH]

  --python PATH   a Python with numpy and soxr, for the reference's figures (default: RVC_TEST_PYTHON)
";

const RATIOS: [(u32, u32); 7] =
    [(44100, 40000), (48000, 40000), (44100, 48000), (44100, 16000), (48000, 16000), (40000, 16000), (16000, 40000)];
/// Tones, as fractions of the lower Nyquist frequency: in the pass band of all, at its end, and above the start of the stop band.
const PASS: [f64; 9] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9];
const EDGE: [f64; 3] = [0.9136, 0.95, 0.97];
const STOP: [f64; 7] = [1.001, 1.005, 1.01, 1.02, 1.05, 1.1, 1.2];
const SECONDS: f64 = 0.5;
/// How often each is timed.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    common::run(options(), |python| bench(python.as_deref()))
}

fn options() -> Result<Option<String>, String> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [] => Ok(common::usual_python()),
        [flag, python] if flag == "--python" => Ok(Some(python.clone())),
        _ => Err(HELP.to_owned()),
    }
}

fn bench(python: Option<&str>) -> Result<(), String> {
    println!(
        "| ratio | by | delay, samples | ripple, dB | at 0.914 | at 0.95 | at 0.97, dB | aliases, dB | noise, dB | ms a second |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    for (from, to) in RATIOS {
        let sound = tones(from, to);
        let seconds = sound.len() as f64 / f64::from(from);
        let mut least = f64::INFINITY;
        let mut ours = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            ours = resample(&sound, from, to);
            least = least.min(start.elapsed().as_secs_f64());
        }
        let ours: Vec<f64> = ours.iter().map(|&x| f64::from(x)).collect();
        row("rvc-run", from, to, &ours, least / seconds);
        if let Some(python) = python {
            let (resampled, time) = soxr(python, folder.path(), &sound, from, to)?;
            row("soxr HQ", from, to, &resampled, time / seconds);
        }
    }
    Ok(())
}

fn soxr(python: &str, folder: &Path, sound: &[f64], from: u32, to: u32) -> Result<(Vec<f64>, f64), String> {
    let (source, target) = (folder.join("source"), folder.join("target"));
    let bytes: Vec<u8> = sound.iter().flat_map(|x| x.to_ne_bytes()).collect();
    std::fs::write(&source, bytes).map_err(|e| e.to_string())?;
    let (from, to) = (from.to_string(), to.to_string());
    let arguments = [&*source.to_string_lossy(), &*target.to_string_lossy(), from.as_str(), to.as_str()];
    let answer = common::reference(python, "resample_reference.py", &arguments)?;
    let bytes = std::fs::read(&target).map_err(|e| e.to_string())?;
    let (samples, _) = bytes.as_chunks::<8>();
    let samples = samples.iter().map(|sample| f64::from_ne_bytes(*sample)).collect();
    Ok((samples, answer["seconds"].as_f64().ok_or("no time")?))
}

/// All tones in Hz; those above the start of the stop band only if the input rate allows them.
fn frequencies(from: u32, to: u32) -> Vec<(f64, f64)> {
    let nyquist = f64::from(from.min(to)) / 2.0;
    let all = PASS.into_iter().chain(EDGE).chain(STOP);
    all.map(|part| (part, part * nyquist)).filter(|(_, hz)| *hz < f64::from(from) / 2.0).collect()
}

fn tones(from: u32, to: u32) -> Vec<f64> {
    let count = (SECONDS * f64::from(from)) as usize;
    let wave = |hz: f64| move |i: usize| (i as f64 / f64::from(from) * hz * std::f64::consts::TAU).sin();
    let tone = |(_, hz)| (0..count).map(wave(hz)).chain(std::iter::repeat_n(0.0, count));
    frequencies(from, to).into_iter().flat_map(tone).collect()
}

fn row(name: &str, from: u32, to: u32, resampled: &[f64], seconds: f64) {
    let (mut ripple, mut aliases, mut noise, mut delay) = (0f64, f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0);
    let mut edge = Vec::new();
    for (i, (part, hz)) in frequencies(from, to).into_iter().enumerate() {
        let rate = f64::from(to);
        // The tone began at 2 * i * SECONDS.
        let first = ((2.0 * i as f64 * SECONDS + SECONDS / 4.0) * rate) as usize;
        let middle = &resampled[first..first + (SECONDS / 2.0 * rate) as usize];
        let began = first as f64 / rate - 2.0 * i as f64 * SECONDS;
        if part > 1.0 {
            aliases = aliases.max(decibels(power(middle)));
            continue;
        }
        let (level, phase, rest) = fit(middle, hz, rate, began);
        if PASS.contains(&part) {
            ripple = ripple.max(level.abs());
            noise = noise.max(rest);
        } else {
            edge.push(format!("{level:.3}"));
        }
        // The delay of a tone whose period is long beside any delay.
        if part == PASS[1] {
            delay = -phase / (hz * std::f64::consts::TAU) * rate;
        }
    }
    let aliases = if aliases.is_finite() { format!("{aliases:.1}") } else { "-".to_owned() };
    println!(
        "| {from} -> {to} | {name} | {delay:.5} | {ripple:.5} | {} | {aliases} | {noise:.1} | {:.3} |",
        edge.join(" | "),
        seconds * 1000.0
    );
}

/// The level of a tone of `hz` in dB of a full-scale sine, its phase, and the power of the rest in dB.
fn fit(samples: &[f64], hz: f64, rate: f64, began: f64) -> (f64, f64, f64) {
    let wave = |i: usize| ((i as f64 / rate + began) * hz * std::f64::consts::TAU).sin_cos();
    let (mut ss, mut sc, mut cc, mut xs, mut xc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (i, x) in samples.iter().enumerate() {
        let (sin, cos) = wave(i);
        (ss, sc, cc, xs, xc) = (ss + sin * sin, sc + sin * cos, cc + cos * cos, xs + x * sin, xc + x * cos);
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((xs * cc - xc * sc) / determinant, (xc * ss - xs * sc) / determinant);
    let rest = samples.iter().enumerate().map(|(i, x)| x - a * wave(i).0 - b * wave(i).1);
    let rest: Vec<f64> = rest.collect();
    (20.0 * a.hypot(b).log10(), b.atan2(a), decibels(power(&rest)))
}

fn power(samples: &[f64]) -> f64 {
    samples.iter().map(|x| x * x).sum::<f64>() / samples.len() as f64
}

/// A full-scale sine has 0.
fn decibels(power: f64) -> f64 {
    10.0 * (2.0 * power).log10()
}
