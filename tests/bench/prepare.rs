//! `cargo xtask bench prepare`: a voice of 24 minutes in 143 recordings prepared cold, warm, with one recording more, and
//! with one re-tagged; then what each option of slicing costs.
//!
//! The recordings are made: gliding tones with pauses. f0 and content by what needs no file, unless flags name other ones.

use rvc_run::assets::Store;
use rvc_run::audio::io;
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::features::Models;
use rvc_run::files::{self, Workspace};
use rvc_run::prepare;
use rvc_run::task::Task;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
cargo xtask bench prepare [--recordings N] [--seconds N] [--threads N] [--f0-method NAME]

  --recordings N     files (default 143)
  --seconds N        length of all together (default 1440)
  --threads N        recordings at a time (default 2)
  --f0-method NAME   default yin
";
const RATE: u32 = 48000;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<(), String> {
    let (mut recordings, mut seconds, mut threads, mut f0_method) = (143u32, 1440.0f64, 2usize, "yin".to_owned());
    // Cargo adds --bench.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(HELP)?;
        let number = || value.parse::<f64>().ok().filter(|n| *n >= 1.0).ok_or(HELP);
        match name.as_str() {
            "--recordings" => recordings = number()? as u32,
            "--seconds" => seconds = number()?,
            "--threads" => threads = number()? as usize,
            "--f0-method" => f0_method = value,
            _ => return Err(HELP.to_owned()),
        }
    }
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let workspace = Workspace::new(folder.path());
    let data = workspace.data("anna").map_err(|e| e.to_string())?;
    let each = seconds / f64::from(recordings);
    for number in 0..recordings {
        record(&data.join(format!("{number:03}.wav")), number, each)?;
    }
    let config = Config { f0_method, ..Config::default() };
    println!("{recordings} recordings of {each:.1} s at {RATE} Hz, f0 {}, {threads} threads\n", config.f0_method);
    println!("| run | seconds | of the cold run | decoded | sliced | f0 | content |");
    println!("|---|---|---|---|---|---|---|");
    let cold = run("cold", &workspace, &config, threads, None)?;
    run("warm", &workspace, &config, threads, Some(cold))?;
    run("warm again", &workspace, &config, threads, Some(cold))?;
    record(&data.join("000a.wav"), recordings, each)?;
    run("one recording added", &workspace, &config, threads, Some(cold))?;
    retag(&data.join("001.wav"))?;
    run("one re-tagged", &workspace, &config, threads, Some(cold))?;
    options(&workspace, &config, threads, seconds)
}

/// Cuts the recordings, which were decoded before, by one option after the other and prints what each takes more than RVC's rule.
fn options(workspace: &Workspace, config: &Config, threads: usize, seconds: f64) -> Result<(), String> {
    println!("\n| option | seconds | ms for a second of sound | more than RVC's rule |");
    println!("|---|---|---|---|");
    let mut usual = None;
    // The first is RVC's rule with another overlap, or it would come from the cache.
    let options: [(&str, fn(&mut Config)); 7] = [
        ("RVC's rule", |c| c.overlap_seconds = 0.31),
        ("slicing fixed", |c| c.slicing = "fixed".into()),
        ("min_slice_seconds 1.5", |c| c.min_slice_seconds = 1.5),
        ("normalization peak", |c| c.normalization = "peak".into()),
        ("normalization lufs", |c| c.normalization = "lufs".into()),
        ("min_voice_share", |c| c.min_voice_share = 1e-6),
        ("noise_reduction", |c| c.noise_reduction = 0.8),
    ];
    for (name, change) in options {
        let mut config = config.clone();
        change(&mut config);
        let task = Task::new(threads, |_| {});
        let cache = Cache::open(workspace.cache()).map_err(|e| e.to_string())?;
        let start = Instant::now();
        prepare::slices(&task, workspace, &cache, "options", Path::new("data/anna"), &config)
            .map_err(|e| e.to_string())?;
        let took = start.elapsed().as_secs_f64();
        let each = 1000.0 * took / seconds;
        let more = each - *usual.get_or_insert(each);
        println!("| {name} | {took:.2} | {each:.2} | {more:+.2} |");
    }
    Ok(())
}

/// Prepares the voice, prints a row of the table and returns the seconds. Opening the cache and the models is part of it.
fn run(name: &str, workspace: &Workspace, config: &Config, threads: usize, cold: Option<f64>) -> Result<f64, String> {
    let task = Task::new(threads, |_| {});
    let start = Instant::now();
    let counted = || {
        let cache = Cache::open(workspace.cache())?;
        let models = Models::new(Store::new(workspace));
        let mut clips = prepare::slices(&task, workspace, &cache, "anna", Path::new("data/anna"), config)?;
        let (decoded, sliced) = (clips.decoded, clips.counts.done);
        let f0 = prepare::f0(&task, &mut clips, &models, config)?.done;
        let content = prepare::content(&task, &mut clips, &models, config)?.done;
        prepare::filelist(&task, &mut clips, &models, config)?;
        rvc_run::Result::Ok([decoded, sliced, f0, content])
    };
    let [decoded, sliced, f0, content] = counted().map_err(|e| e.to_string())?;
    let seconds = start.elapsed().as_secs_f64();
    let share = cold.map_or("1".to_owned(), |cold| format!("1/{:.0}", cold / seconds));
    println!("| {name} | {seconds:.2} | {share} | {decoded} | {sliced} | {f0} | {content} |");
    Ok(seconds)
}

/// A gliding tone, another one for every number, with half a second of rest every four.
fn record(path: &Path, number: u32, seconds: f64) -> Result<(), String> {
    let base = 90.0 + f64::from(number);
    let samples: Vec<f32> = (0..(seconds * f64::from(RATE)) as usize)
        .map(|i| {
            let t = i as f64 / f64::from(RATE);
            let phase = std::f64::consts::TAU * (base * t + 2.0 * t * t);
            let level = if t % 4.0 < 3.5 { 1.0 } else { 0.0 };
            (level * (0.3 * phase.sin() + 0.15 * (2.0 * phase).sin() + 0.08 * (5.0 * phase).sin())) as f32
        })
        .collect();
    io::write_wav(path, &samples, RATE).map_err(|e| e.to_string())
}

/// The same sound in other bytes: a chunk that readers skip.
fn retag(path: &Path) -> Result<(), String> {
    let mut bytes = files::read(path).map_err(|e| e.to_string())?;
    bytes.extend(b"note\x04\0\0\0tag!");
    let size = (bytes.len() as u32 - 8).to_le_bytes();
    bytes[4..8].copy_from_slice(&size);
    files::write(path, bytes).map_err(|e| e.to_string())
}
