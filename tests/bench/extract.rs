//! `cargo xtask bench extract`: seconds of computing per second of sound, HuBERT (v2) and RMVPE at full size on the CPU.
//!
//! "single" is one clip at a time, "together" as many clips of that length as make a minute, as extraction batches them.
//! With a Python that has torch and transformers (`--python`, or RVC_TEST_PYTHON) the same networks are timed there
//! (extract_reference.py), one clip at a time, between two halves of our rounds. Weights come from the golden fill rule; the
//! arithmetic is the same for any weights.
//!
//! With `--memory` nothing is timed: a minute of clips is extracted, then ten, then an hour, and the peak memory after each is printed.

mod common;
#[path = "../support/formula.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod formula;
#[path = "../support/weights.rs"]
mod weights;

use rvc_run::assets::Store;
use rvc_run::config::Config;
use rvc_run::config::choices::{EncoderName, F0Method, Precision, Version};
use rvc_run::features::{Setup, content, f0};
use rvc_run::files::Workspace;
use rvc_run::memory;
use rvc_run::nn::runtime;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
cargo xtask bench extract [--seconds S,S,..] [--rounds N] [--threads N] [--python PATH] [--save FILE] [--memory]

  --seconds S,S,..  lengths of the clips (default 3.7,10,40)
  --rounds N        rounds after one of warm-up, half before and half after the reference's (default 4)
  --threads N       threads of one operation (default: as in extraction)
  --python PATH     a Python with torch and transformers, for the reference's figures (default: RVC_TEST_PYTHON)
  --save FILE       write the table to a file as well
  --memory          peak memory of extracting a minute, ten minutes and an hour, instead of times
";

/// Sound that one measurement of "together" computes, in seconds.
const TOGETHER: f64 = 60.0;
const RATE: f64 = 16_000.0;

struct Options {
    seconds: Vec<f64>,
    rounds: usize,
    threads: usize,
    python: Option<String>,
    save: Option<String>,
    memory: bool,
}

fn main() -> ExitCode {
    common::run(options(), bench)
}

fn options() -> Result<Options, String> {
    let python = common::usual_python();
    let mut options =
        Options { seconds: vec![3.7, 10.0, 40.0], rounds: 4, threads: 0, python, save: None, memory: false };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{HELP}"));
        let bad = |text: &str| format!("{text:?} is not a valid number for {arg}\n\n{HELP}");
        let whole = |text: String| text.parse::<usize>().map_err(|_| bad(&text));
        let length = |text: &str| text.parse().ok().filter(|s| (0.1..=600.0).contains(s)).ok_or_else(|| bad(text));
        match arg.as_str() {
            "--seconds" => options.seconds = value()?.split(',').map(length).collect::<Result<_, _>>()?,
            "--rounds" => options.rounds = whole(value()?)?.max(2),
            "--threads" => options.threads = whole(value()?)?,
            "--python" => options.python = Some(value()?),
            "--save" => options.save = Some(value()?),
            "--memory" => options.memory = true,
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
    let table =
        if options.memory { memory_table(folder.path()).map_err(text)? } else { time_table(folder.path(), options)? };
    print!("{table}");
    if let Some(file) = &options.save {
        std::fs::write(file, table).map_err(|e| format!("cannot write {file}: {e}"))?;
    }
    Ok(())
}

/// The subject of a measurement: a network in a number format.
struct Subject {
    network: &'static str,
    precision: Precision,
    engine: Engine,
}

enum Engine {
    Content(content::Encoder),
    F0(f0::Extractor),
}

impl Subject {
    fn all(root: &Path, precisions: &[Precision]) -> rvc_run::Result<Vec<Self>> {
        let mut all = Vec::new();
        for &precision in precisions {
            let setup = setup(root, precision)?;
            let hubert = Engine::Content(content::Encoder::open(&EncoderName::HubertBase.into(), Version::V2, &setup)?);
            let rmvpe = Engine::F0(f0::Extractor::open(F0Method::Rmvpe, &setup)?);
            all.extend([("hubert", hubert), ("rmvpe", rmvpe)].map(|(network, engine)| Self {
                network,
                precision,
                engine,
            }));
        }
        Ok(all)
    }

    fn extract<C: Sync>(
        &self,
        clips: &[C],
        size: impl Fn(&C) -> usize,
        load: impl Fn(&C) -> Vec<f32> + Sync,
    ) -> rvc_run::Result<()> {
        let (task, load) = (Task::silent(), |clip: &C| Ok(load(clip)));
        match &self.engine {
            Engine::Content(encoder) => {
                encoder.extract(&task, "bench", clips, size, load, |_, x| x.map(|_| ())).map(|_| ())
            }
            Engine::F0(tracker) => tracker.extract(&task, "bench", clips, size, load, |_, x| x.map(|_| ())).map(|_| ()),
        }
    }

    /// Seconds per second of sound of `rounds` rounds after one of warm-up, `n` clips together.
    fn times(&self, seconds: f64, n: usize, rounds: usize) -> rvc_run::Result<Vec<f64>> {
        let clips = vec![clip(seconds); n];
        let mut times = Vec::new();
        for round in 0..=rounds {
            let start = Instant::now();
            self.extract(&clips, Vec::len, Clone::clone)?;
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() / (seconds * n as f64));
            }
        }
        Ok(times)
    }
}

fn time_table(root: &Path, options: &Options) -> Result<String, String> {
    let text = |error: rvc_run::Error| error.to_string();
    let subjects = Subject::all(root, &[Precision::Fp32, Precision::Bf16]).map_err(text)?;
    let half = options.rounds.div_ceil(2);
    // Each with every length, single and together.
    let mut ours: Vec<[Vec<f64>; 2]> = vec![Default::default(); subjects.len() * options.seconds.len()];
    let mut measure = |rounds: usize| -> rvc_run::Result<()> {
        let cases = subjects.iter().flat_map(|subject| options.seconds.iter().map(move |seconds| (subject, *seconds)));
        for ((subject, seconds), [alone, together]) in cases.zip(&mut ours) {
            alone.extend(subject.times(seconds, 1, rounds)?);
            together.extend(subject.times(seconds, many(seconds), rounds)?);
        }
        Ok(())
    };
    // Half before the reference's rounds and half after, so that a slow drift of the machine affects both equally.
    measure(half).map_err(text)?;
    let reference = options.python.as_deref().map(|python| reference(python, options)).transpose()?;
    measure(options.rounds - half).map_err(text)?;

    let versions = reference.as_ref().map_or(String::new(), |r| {
        let name = |key: &str| r[key].as_str().unwrap_or_default().to_owned();
        format!("; Python: torch {}, transformers {}", name("torch"), name("transformers"))
    });
    let mut lines = vec![
        format!(
            "Seconds per second of sound, median (min) of {} rounds; CPU, {} threads, libtorch {}{versions}.\n",
            options.rounds,
            runtime::threads(),
            runtime::libtorch_version().unwrap_or_default()
        ),
        "| network, format, clip | Python, fp32 | single | together | Python / together |\n|---|---|---|---|---|"
            .into(),
    ];
    let cases = subjects.iter().flat_map(|subject| options.seconds.iter().map(move |seconds| (subject, *seconds)));
    for ((subject, seconds), [alone, together]) in cases.zip(&ours) {
        let theirs: Vec<f64> = reference
            .iter()
            .filter_map(|r| r[subject.network][format!("{seconds:?}")].as_array())
            .flatten()
            .filter_map(|time| Some(time.as_f64()? / seconds))
            .collect();
        let (shown, ratio) = if theirs.is_empty() {
            ("-".into(), "-".into())
        } else {
            (common::figures(&theirs, 4), format!("{:.2}", common::median(&theirs) / common::median(together)))
        };
        lines.push(format!(
            "| {} {}, {seconds} s (x {}) | {shown} | {} | {} | {ratio} |",
            subject.network,
            subject.precision,
            many(seconds),
            common::figures(alone, 4),
            common::figures(together, 4)
        ));
    }
    Ok(lines.join("\n") + "\n")
}

fn reference(python: &str, options: &Options) -> Result<serde_json::Value, String> {
    let seconds: Vec<String> = options.seconds.iter().map(|s| format!("{s:?}")).collect();
    let (rounds, threads) = (options.rounds.to_string(), runtime::threads().to_string());
    let arguments = ["--seconds", &seconds.join(","), "--rounds", &rounds, "--threads", &threads];
    common::reference(python, "extract_reference.py", &arguments)
}

/// Samples of the clips of a voice, 2 to 15 s long and no two alike, that sum to `seconds`.
fn voice(seconds: f64) -> Vec<usize> {
    let mut clips = Vec::new();
    let mut left = seconds;
    while left > 0.0 {
        let length = 2.0 + (clips.len() as f64 * 4.2361) % 13.0;
        clips.push((length * RATE) as usize);
        left -= length;
    }
    clips
}

fn memory_table(root: &Path) -> rvc_run::Result<String> {
    let peak = || memory::peak().map_or("unknown".into(), memory::text);
    let mut lines = vec!["| network, fp32 | sound | seconds | peak memory of the process |\n|---|---|---|---|".into()];
    for subject in Subject::all(root, &[Precision::Fp32])? {
        for minutes in [1.0, 10.0, 60.0] {
            let start = Instant::now();
            subject.extract(&voice(minutes * 60.0), |n| *n, |n| clip(*n as f64 / RATE))?;
            let took = start.elapsed().as_secs_f64();
            eprintln!("{}, {minutes} min: {took:.1} s, peak memory {}", subject.network, peak());
            lines.push(format!("| {} | {minutes} min | {took:.1} | {} |", subject.network, peak()));
        }
    }
    Ok(lines.join("\n") + "\n")
}

fn many(seconds: f64) -> usize {
    ((TOGETHER / seconds) as usize).max(1)
}

fn clip(seconds: f64) -> Vec<f32> {
    let glide =
        formula::Glide { from_hz: 150.0, to_hz: 270.0, harmonics: 6, amplitude: 0.18, noise: 0.02, sample_rate: RATE };
    glide.samples("", "bench.noise", (seconds * RATE) as usize)
}

fn setup(root: &Path, precision: Precision) -> rvc_run::Result<Setup> {
    let config = Config { feature_precision: precision, ..Config::default() };
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
