//! `cargo xtask bench convert`: seconds of computing per second of sound in conversion, v2 40k at full size on the CPU.
//!
//! "decoder" is only the vocoder, in one pass and in chunks as in conversion; "all" is a conversion from samples to samples with
//! RMVPE and HuBERT, without an index. With a Python that has torch and transformers (`--python`, or RVC_TEST_PYTHON) the same is timed
//! there (convert_reference.py). Weights are random; the arithmetic is the same for any weights.

mod common;
#[path = "../support/formula.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod formula;
#[path = "../support/weights.rs"]
mod weights;

use rvc_run::assets::Store;
use rvc_run::audio::Audio;
use rvc_run::config::Config;
use rvc_run::convert::{Converter, Settings, VoiceOptions};
use rvc_run::features::Models;
use rvc_run::files::Workspace;
use rvc_run::models::{Synthesizer, SynthesizerConfig};
use rvc_run::nn::runtime;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use rvc_run::voice::{self, About};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

const HELP: &str = "\
cargo xtask bench convert [--seconds S,S,..] [--rounds N] [--threads N] [--python PATH] [--save FILE]

  --seconds S,S,..  lengths of sound (default 3.7,12,60); the longest is converted in one pass, too
  --rounds N        rounds after one of warm-up (default 2)
  --threads N       threads of one operation (default: as in conversion)
  --python PATH     a Python with torch and transformers, for the reference's figures (default: RVC_TEST_PYTHON)
  --save FILE       write the table to a file as well
";

/// Frames of a chunk, as in conversion.
const PIECE: i64 = 400;

struct Options {
    seconds: Vec<f64>,
    rounds: usize,
    threads: usize,
    python: Option<String>,
    save: Option<String>,
}

fn main() -> ExitCode {
    common::run(options(), bench)
}

fn options() -> Result<Options, String> {
    let python = common::usual_python();
    let mut options = Options { seconds: vec![3.7, 12.0, 60.0], rounds: 2, threads: 0, python, save: None };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{HELP}"));
        let bad = |text: &str| format!("{text:?} is not a valid number for {arg}\n\n{HELP}");
        let whole = |text: String| text.parse::<usize>().map_err(|_| bad(&text));
        let length = |text: &str| text.parse().ok().filter(|s| (0.5..=600.0).contains(s)).ok_or_else(|| bad(text));
        match arg.as_str() {
            "--seconds" => options.seconds = value()?.split(',').map(length).collect::<Result<_, _>>()?,
            "--rounds" => options.rounds = whole(value()?)?.max(1),
            "--threads" => options.threads = whole(value()?)?,
            "--python" => options.python = Some(value()?),
            "--save" => options.save = Some(value()?),
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(options)
}

fn bench(options: &Options) -> Result<(), String> {
    runtime::init();
    if options.threads > 0 {
        runtime::set_threads(options.threads);
    }
    let text = |error: rvc_run::Error| error.to_string();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let longest = options.seconds.iter().copied().fold(0.0, f64::max);
    let mut rows = Vec::new();
    for &seconds in &options.seconds {
        let [whole, pieces] = decoder(seconds, options.rounds).map_err(text)?;
        rows.push(("decoder", seconds, Some(whole), pieces));
    }
    rows.push(("all", longest, None, conversion(folder.path(), longest, options.rounds).map_err(text)?));
    let reference = options.python.as_deref().map(|python| reference(python, options)).transpose()?;
    let version =
        reference.as_ref().and_then(|r| r["torch"].as_str()).map_or(String::new(), |v| format!("; Python: torch {v}"));
    let mut lines = vec![format!(
        "Seconds per second of sound, median (min) of {} rounds; CPU, {} threads, libtorch {}{version}.\n\n\
         | part, length | Python | one pass | rvc-run | Python / rvc-run |\n|---|---|---|---|---|",
        options.rounds,
        runtime::threads(),
        runtime::libtorch_version().unwrap_or_default()
    )];
    for (part, seconds, whole, ours) in rows {
        let times = reference.as_ref().and_then(|r| r[part][format!("{seconds:?}")].as_array());
        let theirs: Vec<f64> = times.into_iter().flatten().filter_map(|t| Some(t.as_f64()? / seconds)).collect();
        let shown =
            |times: Option<&Vec<f64>>| times.filter(|t| !t.is_empty()).map_or("-".into(), |t| common::figures(t, 3));
        let ratio = if theirs.is_empty() {
            "-".into()
        } else {
            format!("{:.2}", common::median(&theirs) / common::median(&ours))
        };
        let (python, whole, own) = (shown(Some(&theirs)), shown(whole.as_ref()), common::figures(&ours, 3));
        lines.push(format!("| {part}, {seconds} s | {python} | {whole} | {own} | {ratio} |"));
    }
    let table = lines.join("\n") + "\n";
    print!("{table}");
    if let Some(file) = &options.save {
        std::fs::write(file, table).map_err(|e| format!("cannot write {file}: {e}"))?;
    }
    Ok(())
}

/// Seconds of computing per second of sound, for each round after one of warm-up.
fn times(seconds: f64, rounds: usize, mut work: impl FnMut() -> rvc_run::Result<()>) -> rvc_run::Result<Vec<f64>> {
    let mut times = Vec::new();
    for round in 0..=rounds {
        let start = Instant::now();
        work()?;
        if round > 0 {
            times.push(start.elapsed().as_secs_f64() / seconds);
        }
    }
    Ok(times)
}

/// The vocoder in one pass, and in chunks.
fn decoder(seconds: f64, rounds: usize) -> rvc_run::Result<[Vec<f64>; 2]> {
    let mut network = Synthesizer::for_conversion(&SynthesizerConfig::from_config(&Config::default()), Device::Cpu)?;
    network.fuse();
    let _no_grad = tch::no_grad_guard();
    let (frames, float) = ((seconds * 100.0) as i64, (Kind::Float, Device::Cpu));
    let (z, f0) = (Tensor::randn([1, 192, frames], float), Tensor::full([1, frames], 200.0, float));
    let g = network.speaker(&Tensor::from_slice(&[0i64]));
    let whole = times(seconds, rounds, || {
        let _wave = network.dec.forward(&z, Some(&f0), &g);
        Ok(())
    })?;
    let pieces = times(seconds, rounds, || {
        let _wave = network.dec.forward_in_pieces(&z, Some(&f0), &g, PIECE);
        Ok(())
    })?;
    Ok([whole, pieces])
}

fn conversion(root: &Path, seconds: f64, rounds: usize) -> rvc_run::Result<Vec<f64>> {
    let assets = root.join("assets");
    rvc_run::files::create_folder(&assets)?;
    weights::write(&assets.join("rmvpe.pt"), weights::filled("", &weights::listed("rmvpe")));
    let model = weights::filled("", &weights::listed("hubert_fairseq"));
    let model = Value::ordered(model.into_iter().map(|(key, tensor)| (key, Value::Tensor(tensor))));
    torchfile::write(&assets.join("hubert_base.pt"), &Value::dict([("model", model)]))?;
    let sizes = SynthesizerConfig::from_config(&Config::default());
    let about = About { sizes: &sizes, info: String::new(), more: Vec::new(), card: voice::card() };
    let filled = weights::filled("", &weights::listed("G_v2_f0_40k"));
    let path = root.join("voice.pth");
    voice::write(&path, filled.iter().map(|(key, tensor)| (key.as_str(), tensor.shallow_clone())), about)?;
    let models = Models::new(Store::new(&Workspace::new(root)));
    let converter = Converter::open(&path, &models, &VoiceOptions::default())?;
    let glide = formula::Glide {
        from_hz: 150.0,
        to_hz: 270.0,
        harmonics: 6,
        amplitude: 0.18,
        noise: 0.02,
        sample_rate: 16_000.0,
    };
    let recording =
        Audio { samples: glide.samples("", "bench.noise", (seconds * 16_000.0) as usize), sample_rate: 16_000 };
    times(seconds, rounds, || converter.convert(&Task::silent(), recording.clone(), &Settings::default()).map(|_| ()))
}

fn reference(python: &str, options: &Options) -> Result<serde_json::Value, String> {
    let seconds: Vec<String> = options.seconds.iter().map(|s| format!("{s:?}")).collect();
    let (rounds, threads) = (options.rounds.to_string(), runtime::threads().to_string());
    let arguments = ["--seconds", &seconds.join(","), "--rounds", &rounds, "--threads", &threads];
    common::reference(python, "convert_reference.py", &arguments)
}
