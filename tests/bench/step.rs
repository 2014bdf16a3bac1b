//! `cargo xtask bench step`: seconds per training step by part, version 2 at 40 kHz, batch 4, float32, full-size networks.
//!
//! With a Python that has torch (`--python`, or RVC_TEST_PYTHON) the same step written in PyTorch (step_reference.py) is timed
//! too, in turn with ours, and printed beside it. Weights and data are random; the arithmetic is the same for any.

mod common;

use rvc_run::config::Config;
use rvc_run::nn::runtime;
use rvc_run::train::step::{Engine, Times};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use tch::Device;

const HELP: &str = "\
cargo xtask bench step [--rounds N] [--threads N] [--gpu] [--ema] [--python PATH] [--save FILE]

  --rounds N      rounds after one of warm-up, half before and half after the reference's (default 6)
  --threads N     threads of one operation (default: as in training)
  --gpu           on the GPU; there is no reference then
  --ema           with the moving average of G (`ema_decay`), which the reference does not have
  --python PATH   a Python with torch, for the reference's figures (default: RVC_TEST_PYTHON)
  --save FILE     write the table there as well
";

/// Our parts, and the parts of the reference that do the same work.
const PARTS: [(&str, &[&str]); 9] = [
    ("G forward, slices", &["G forward"]),
    ("D step: forward, real and fake", &["D step: forward, real and fake"]),
    ("D step: backward", &["D step: backward"]),
    ("D step: gradient norm, AdamW", &["D step: gradient norm", "D step: AdamW"]),
    ("G step: D forward, real and fake", &["G step: D forward, real and fake"]),
    ("G step: mel and losses", &["mel of the output, slices", "G step: losses"]),
    ("G step: backward through D and G", &["G step: backward"]),
    ("G step: gradient norm, AdamW, metrics", &["G step: gradient norm", "G step: AdamW"]),
    ("moving average of G", &[]),
];

struct Options {
    rounds: usize,
    threads: usize,
    gpu: bool,
    ema: bool,
    python: Option<String>,
    save: Option<String>,
}

fn main() -> ExitCode {
    common::run(options(), bench)
}

fn options() -> Result<Options, String> {
    let python = common::usual_python();
    let mut options = Options { rounds: 6, threads: 0, gpu: false, ema: false, python, save: None };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{HELP}"));
        let number = |text: String| text.parse::<usize>().map_err(|_| format!("{text:?} is not a number\n\n{HELP}"));
        match arg.as_str() {
            "--rounds" => options.rounds = number(value()?)?.max(1),
            "--threads" => options.threads = number(value()?)?,
            "--python" => options.python = Some(value()?),
            "--save" => options.save = Some(value()?),
            "--gpu" => options.gpu = true,
            "--ema" => options.ema = true,
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
    let device = runtime::device(options.gpu).map_err(|error| error.to_string())?;
    let ema_decay = if options.ema { 0.999 } else { 0.0 };
    let config = Config { segment_size: 12800, gpu: options.gpu, ema_decay, ..Config::default() };
    // Half before the reference's rounds and half after, so that a slow drift of the machine affects both equally.
    let before = options.rounds.div_ceil(2);
    let mut ours = rounds(&config, device, before)?;
    let reference = match &options.python {
        Some(python) if !options.gpu => Some(reference(python, options.rounds)?),
        _ => None,
    };
    if options.rounds > before {
        for (part, more) in ours.iter_mut().zip(rounds(&config, device, options.rounds - before)?) {
            part.extend(more);
        }
    }
    let text = table(&ours, reference.as_ref(), device);
    print!("{text}");
    if let Some(file) = &options.save {
        std::fs::write(file, text).map_err(|e| format!("cannot write {file}: {e}"))?;
    }
    Ok(())
}

/// Seconds of every round, part by part.
fn rounds(config: &Config, device: Device, n: usize) -> Result<Vec<Vec<f64>>, String> {
    let mut engine = Engine::new(config, device).map_err(|error| error.to_string())?;
    let batch = common::training_batch(config, device);
    let mut parts = vec![Vec::new(); PARTS.len()];
    for round in 0..=n {
        let outcome = engine.step(&batch, 1e-4, round as i64).map_err(|error| error.to_string())?;
        if round == 0 {
            continue; // warm-up
        }
        for (part, time) in parts.iter_mut().zip(by_part(&outcome.times)) {
            part.push(time.as_secs_f64());
        }
    }
    Ok(parts)
}

fn by_part(t: &Times) -> [Duration; PARTS.len()] {
    [
        t.generator_forward,
        t.discriminator_forward,
        t.discriminator_backward,
        t.discriminator_optimizer,
        t.judgement,
        t.generator_losses,
        t.generator_backward,
        t.generator_optimizer + t.read,
        t.average,
    ]
}

/// What step_reference.py printed.
struct Reference {
    torch: String,
    parts: serde_json::Map<String, serde_json::Value>,
}

impl Reference {
    /// Seconds of every round for several of its parts together.
    fn seconds(&self, names: &[&str]) -> Vec<f64> {
        let rounds = |name: &&str| -> Vec<f64> {
            let values = self.parts.get(*name).and_then(serde_json::Value::as_array);
            values.into_iter().flatten().filter_map(serde_json::Value::as_f64).collect()
        };
        sum(&names.iter().map(rounds).collect::<Vec<_>>())
    }
}

fn reference(python: &str, rounds: usize) -> Result<Reference, String> {
    let (rounds, threads) = (rounds.to_string(), runtime::threads().to_string());
    let value = common::reference(python, "step_reference.py", &["--rounds", &rounds, "--threads", &threads])?;
    let parts = value["parts"].as_object().cloned().ok_or("step_reference.py printed no parts")?;
    Ok(Reference { torch: value["torch"].as_str().unwrap_or_default().to_owned(), parts })
}

/// Round by round over the parts.
fn sum(parts: &[Vec<f64>]) -> Vec<f64> {
    let rounds = parts.iter().map(Vec::len).min().unwrap_or(0);
    (0..rounds).map(|i| parts.iter().map(|part| part[i]).sum()).collect()
}

fn table(ours: &[Vec<f64>], reference: Option<&Reference>, device: Device) -> String {
    let mut out = String::new();
    let version = runtime::libtorch_version().unwrap_or_default();
    let mut row = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{line}");
    };
    row(format!(
        "One training step, v2 40k, batch 4 (3.2 to 3.7 s), segment 12800, float32, {device:?}, {} threads, libtorch {version}.",
        runtime::threads()
    ));
    row(match reference {
        Some(reference) => {
            format!("Seconds: median (min) of {} rounds. Reference: PyTorch {}.\n", ours[0].len(), reference.torch)
        }
        None => format!("Seconds: median (min) of {} rounds.\n", ours[0].len()),
    });
    row("| part | rvc-run | PyTorch |\n|---|---|---|".into());
    for ((name, theirs), seconds) in PARTS.iter().zip(ours) {
        if seconds.iter().all(|seconds| *seconds == 0.0) {
            continue; // not asked for
        }
        row(format!(
            "| {name} | {} | {} |",
            common::figures(seconds, 2),
            reference.filter(|_| !theirs.is_empty()).map_or("-".into(), |r| common::figures(&r.seconds(theirs), 2))
        ));
    }
    let all: Vec<&str> = PARTS.iter().flat_map(|(_, theirs)| theirs.iter().copied()).collect();
    let whole = reference.map(|r| r.seconds(&all));
    row(format!(
        "| **whole step** | {} | {} |",
        common::figures(&sum(ours), 2),
        whole.as_ref().map_or("-".into(), |w| common::figures(w, 2))
    ));
    if let Some(whole) = whole {
        row(format!(
            "\nrvc-run takes {:.2} of PyTorch's time (medians).",
            common::median(&sum(ours)) / common::median(&whole)
        ));
    }
    out
}
