//! `cargo xtask bench extract`: seconds of computing for each second of sound, HuBERT (v2) and RMVPE at full size on the CPU.
//!
//! "alone" is one clip at a time, "together" as many clips of that length as make a minute, as extraction batches them.
//! Weights are made by the golden fill rule; the arithmetic is the same for any.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/weights.rs"]
mod weights;

use rvc_run::assets::Store;
use rvc_run::config::Config;
use rvc_run::features::{Setup, content, f0};
use rvc_run::files::Workspace;
use rvc_run::nn::runtime;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
cargo xtask bench extract [--seconds S,S,..] [--rounds N] [--threads N]

  --seconds S,S,..  lengths of the clips (default 3.7,10,40)
  --rounds N        rounds after one of warm-up (default 3)
  --threads N       threads of one operation (default: as in extraction)
";

/// Sound that one measurement of "together" computes, in seconds.
const TOGETHER: f64 = 60.0;
const RATE: f64 = 16_000.0;

struct Options {
    seconds: Vec<f64>,
    rounds: usize,
    threads: usize,
}

fn main() -> ExitCode {
    match options().and_then(|options| bench(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { seconds: vec![3.7, 10.0, 40.0], rounds: 3, threads: 0 };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{HELP}"));
        let bad = |text: &str| format!("{text:?} is not a number {arg} can have\n\n{HELP}");
        let whole = |text: String| text.parse::<usize>().map_err(|_| bad(&text));
        let length = |text: &str| text.parse().ok().filter(|s| (0.1..=600.0).contains(s)).ok_or_else(|| bad(text));
        match arg.as_str() {
            "--seconds" => options.seconds = value()?.split(',').map(length).collect::<Result<_, _>>()?,
            "--rounds" => options.rounds = whole(value()?)?.max(1),
            "--threads" => options.threads = whole(value()?)?,
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
    write_weights(folder.path()).map_err(text)?;
    println!(
        "Seconds per second of sound, median (min) of {} rounds; CPU, {} threads, libtorch {}.\n",
        options.rounds,
        runtime::threads(),
        runtime::libtorch_version().unwrap_or_default()
    );
    println!("| network, format, clip | alone | together |\n|---|---|---|");
    for precision in ["fp32", "bf16"] {
        let setup = setup(folder.path(), precision).map_err(text)?;
        let hubert = content::Encoder::open("hubert_base", "v2", &setup).map_err(text)?;
        let encode = |clips: &[Vec<f32>]| {
            hubert.extract(&Task::silent(), "bench", clips, Vec::len, |c| Ok(c.clone()), |_, x| x.map(|_| ()))
        };
        rows(&format!("hubert {precision}"), options, encode).map_err(text)?;
        let rmvpe = f0::Extractor::open("rmvpe", &setup).map_err(text)?;
        let track = |clips: &[Vec<f32>]| {
            rmvpe.extract(&Task::silent(), "bench", clips, Vec::len, |c| Ok(c.clone()), |_, x| x.map(|_| ()))
        };
        rows(&format!("rmvpe {precision}"), options, track).map_err(text)?;
    }
    Ok(())
}

fn rows(
    name: &str,
    options: &Options,
    extract: impl Fn(&[Vec<f32>]) -> rvc_run::Result<Vec<()>>,
) -> rvc_run::Result<()> {
    for &seconds in &options.seconds {
        let many = ((TOGETHER / seconds) as usize).max(1);
        let mut figures = Vec::new();
        for n in [1, many] {
            let clips = vec![clip(seconds); n];
            let mut times = Vec::new();
            for round in 0..=options.rounds {
                let start = Instant::now();
                extract(&clips)?;
                if round > 0 {
                    times.push(start.elapsed().as_secs_f64() / (seconds * n as f64));
                }
            }
            times.sort_by(f64::total_cmp);
            figures.push(format!("{:.4} ({:.4})", times[times.len() / 2], times[0]));
        }
        println!("| {name}, {seconds} s (x {many}) | {} | {} |", figures[0], figures[1]);
    }
    Ok(())
}

fn clip(seconds: f64) -> Vec<f32> {
    let glide =
        support::Glide { from_hz: 150.0, to_hz: 270.0, harmonics: 6, amplitude: 0.18, noise: 0.02, sample_rate: RATE };
    glide.samples("", "bench.noise", (seconds * RATE) as usize)
}

fn setup(root: &Path, precision: &str) -> rvc_run::Result<Setup> {
    let config = Config { feature_precision: precision.into(), ..Config::default() };
    Setup::new(&Store::new(&Workspace::new(root)), &config)
}

fn write_weights(root: &Path) -> rvc_run::Result<()> {
    let assets = root.join("assets");
    rvc_run::files::create_folder(&assets)?;
    weights::write(&assets.join("rmvpe.pt"), weights::filled("", &weights::listed("rmvpe")));
    let model = weights::filled("", &weights::listed("hubert_fairseq"));
    let model = Value::ordered(model.into_iter().map(|(key, tensor)| (key, Value::Tensor(tensor))));
    torchfile::write(&assets.join("hubert_base.pt"), &Value::dict([("model", model)]))
}
