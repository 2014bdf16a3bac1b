//! `cargo xtask bench prepare`: a voice of 24 minutes in 143 recordings, prepared cold, warm and with changes, the cost of each
//! option of the clips, and its preprocessing compared with RVC WebUI's.
//!
//! The recordings are made from the quickstart's speech: each begins at another position, at another speed and level.

mod common;
#[path = "../support/formula.rs"]
#[allow(dead_code, reason = "a benchmark uses a part of it")]
mod formula;
#[path = "../support/weights.rs"]
mod weights;

use rvc_run::assets::Store;
use rvc_run::audio::{Audio, io, resample};
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::config::choices::{EncoderName, F0Method, Normalization, Slicing};
use rvc_run::features::Models;
use rvc_run::files::{self, Workspace};
use rvc_run::prepare::{self, survey};
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use rvc_run::train;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const HELP: &str = "\
cargo xtask bench prepare [--recordings N] [--seconds N] [--threads N] [--networks] [--rounds N]
                          [--python PATH --reference CHECKOUT]

  --recordings N         files (default 143)
  --seconds N            length of all together (default 1440)
  --threads N            recordings at a time (default 2)
  --networks             f0 by RMVPE and content by HuBERT at full size, with random weights; else pm and the mel encoder
  --rounds N             rounds of the comparison (default 3)
  --reference CHECKOUT   a checkout of RVC WebUI, whose preprocessing is timed in turn with rvc-run's
  --python PATH          a Python, 3.11 or later, that can run it (numpy, scipy, librosa, ffmpeg-python, av)
";
const RATE: u32 = 48000;
const SLICE_SECONDS: &str = "3.7";

struct Options {
    recordings: usize,
    seconds: f64,
    threads: usize,
    networks: bool,
    rounds: usize,
    python: Option<String>,
    reference: Option<PathBuf>,
}

fn main() -> ExitCode {
    common::run(options(), bench)
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        recordings: 143,
        seconds: 1440.0,
        threads: 2,
        networks: false,
        rounds: 3,
        python: common::usual_python(),
        reference: None,
    };
    // Cargo adds --bench.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        if name == "--networks" {
            options.networks = true;
            continue;
        }
        let value = arguments.next().ok_or(HELP)?;
        let number = || value.parse::<f64>().ok().filter(|n| *n >= 1.0).ok_or(HELP);
        match name.as_str() {
            "--recordings" => options.recordings = number()? as usize,
            "--seconds" => options.seconds = number()?,
            "--threads" => options.threads = number()? as usize,
            "--rounds" => options.rounds = number()? as usize,
            "--python" => options.python = Some(value),
            "--reference" => options.reference = Some(std::path::absolute(value).map_err(|e| e.to_string())?),
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(options)
}

fn bench(options: &Options) -> Result<(), String> {
    rvc_run::nn::runtime::init();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let workspace = Workspace::new(folder.path());
    let data = workspace.data("anna").map_err(|e| e.to_string())?;
    files::create_folder(&data).map_err(|e| e.to_string())?;
    let each = options.seconds / options.recordings as f64;
    let speech = Speech::read().map_err(|e| e.to_string())?;
    for number in 0..options.recordings {
        speech.record(&data.join(format!("{number:03}.wav")), number, each)?;
    }
    println!("{} recordings of {each:.1} s, 16 bits at {RATE} Hz, {} threads\n", options.recordings, options.threads);
    match &options.reference {
        Some(reference) => compare(options, reference, folder.path(), &data)?,
        None => changes(options, &workspace, &data, &speech, each)?,
    }
    Ok(())
}

/// The table of runs after changes.
fn changes(options: &Options, workspace: &Workspace, data: &Path, speech: &Speech, each: f64) -> Result<(), String> {
    let mut config = Config { f0_method: F0Method::Pm, ..Config::default() };
    if options.networks {
        (config.f0_method, config.content_encoder) = (F0Method::Rmvpe, EncoderName::HubertBase.into());
        write_weights(workspace.root()).map_err(|e| e.to_string())?;
    }
    println!("f0 {}, content {}\n", config.f0_method, config.content_encoder);
    println!(
        "| run | prepared, s | of the cold run | clips read, s | models, s | decoded | sliced | f0 | content |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    let threads = options.threads;
    let cold = run("cold", workspace, &config, threads, None)?;
    run("warm", workspace, &config, threads, Some(cold))?;
    run("warm again", workspace, &config, threads, Some(cold))?;
    speech.record(&data.join("000a.wav"), options.recordings, each)?;
    run("one recording added", workspace, &config, threads, Some(cold))?;
    retag(&data.join("001.wav"))?;
    run("one re-tagged", workspace, &config, threads, Some(cold))?;
    costs(workspace, &config, threads, options.seconds)
}

/// Sets one option.
type Change = fn(&mut Config);

/// Cuts the recordings, which were decoded before, with one option after the other and prints the extra time of each compared with RVC's rule.
fn costs(workspace: &Workspace, config: &Config, threads: usize, seconds: f64) -> Result<(), String> {
    println!("\n| option | seconds | ms for a second of sound | more than RVC's rule |");
    println!("|---|---|---|---|");
    let mut usual = None;
    // The first is RVC's rule with another overlap; otherwise it would come from the cache.
    let options: [(&str, Change); 7] = [
        ("RVC's rule", |c| c.overlap_seconds = 0.31),
        ("slicing fixed", |c| c.slicing = Slicing::Fixed),
        ("min_slice_seconds 1.5", |c| c.min_slice_seconds = 1.5),
        ("normalization peak", |c| c.normalization = Normalization::Peak),
        ("normalization lufs", |c| c.normalization = Normalization::Lufs),
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

/// Prepares the voice as a training does, prints a row of the table and returns the seconds. The time includes opening the cache,
/// but not opening the models.
fn run(name: &str, workspace: &Workspace, config: &Config, threads: usize, cold: Option<f64>) -> Result<f64, String> {
    let task = Task::new(threads, |_| {});
    let counted = || {
        let start = Instant::now();
        let models = Models::new(Store::new(workspace));
        models.open(config)?;
        let opened = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let cache = Cache::open(workspace.cache())?;
        let mut clips = prepare::slices(&task, workspace, &cache, "anna", Path::new("data/anna"), config)?;
        let (decoded, sliced) = (clips.decoded, clips.counts.done);
        survey::of_clips(&task, &clips)?;
        let f0 = prepare::f0(&task, &mut clips, &models, config)?.done;
        let content = prepare::content(&task, &mut clips, &models, config)?.done;
        let list = prepare::filelist(&task, &mut clips, &models, config)?;
        let prepared = start.elapsed().as_secs_f64();
        let start = Instant::now();
        train::data::dataset(&task, workspace.root(), &list.path, config)?;
        rvc_run::Result::Ok(([opened, prepared, start.elapsed().as_secs_f64()], [decoded, sliced, f0, content]))
    };
    let ([opened, prepared, read], [decoded, sliced, f0, content]) = counted().map_err(|e| e.to_string())?;
    let share = cold.map_or("1".to_owned(), |cold| format!("1/{:.0}", cold / prepared));
    println!(
        "| {name} | {prepared:.2} | {share} | {read:.2} | {opened:.2} | {decoded} | {sliced} | {f0} | {content} |"
    );
    Ok(prepared)
}

/// Only cutting, compared with RVC WebUI: as its users run it, and without the start of the processes.
fn compare(options: &Options, reference: &Path, folder: &Path, data: &Path) -> Result<(), String> {
    let python = options.python.as_deref().ok_or(HELP)?;
    let threads = options.threads.to_string();
    let text = |e: std::io::Error| e.to_string();
    let (mut whole, mut ours) = (Vec::new(), Vec::new());
    let (mut processes_only, mut ours_alone) = (Vec::new(), Vec::new());
    // All files written stay until the end: ext4 searches other places for new files while it remembers deleted ones, which
    // would charge each of the four for the files of the one before it.
    let mut kept = Vec::new();
    for round in 0..options.rounds {
        let exp = tempfile::tempdir_in(folder).map_err(text)?;
        let mut command = Command::new(python);
        command.args(["-P", "train/preprocess.py"]).arg(data).args(["40000", &threads]).arg(exp.path());
        // With the Python path that its own start script sets: its own folder, not the script's, where train.py would hide train/.
        command.args(["False", SLICE_SECONDS]).current_dir(reference).env("PYTHONPATH", reference);
        whole.push(timed(command)?);
        kept.push(exp);

        let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
        command.args(["--quiet", "--threads", &threads, "--workspace"]).arg(folder);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/prepare.rhai")).arg("anna");
        set_aside(folder, &format!("{round}a")).map_err(text)?;
        ours.push(timed(command)?);

        let exp = tempfile::tempdir_in(folder).map_err(text)?;
        let (checkout, data, output) = (shown(reference), shown(data), shown(exp.path()));
        let arguments = [checkout.as_str(), &data, &output, "40000", SLICE_SECONDS];
        let took = common::reference(python, "prepare_reference.py", &arguments)?["seconds"].as_f64();
        processes_only.push(took.ok_or("prepare_reference.py printed no seconds")?);

        kept.push(exp);
        set_aside(folder, &format!("{round}b")).map_err(text)?;
        ours_alone.push(slice_only(folder).map_err(|e| e.to_string())?);
    }
    println!(
        "| {} rounds in turn; least (median) | RVC WebUI | rvc-run | ratio of the least |\n|---|---|---|---|",
        options.rounds
    );
    let row = |name: &str, theirs: &[f64], ours: &[f64], unit: f64, digits: usize| {
        let least = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
        let cell =
            |times: &[f64]| format!("{:.digits$} ({:.digits$})", least(times) * unit, common::median(times) * unit);
        println!("| {name} | {} | {} | {:.2} |", cell(theirs), cell(ours), least(theirs) / least(ours));
    };
    row(&format!("all recordings, {threads} processes or threads, from start to end, s"), &whole, &ours, 1.0, 2);
    row(
        "a second of sound in one process or thread, its start not counted, ms",
        &processes_only,
        &ours_alone,
        1e3 / options.seconds,
        3,
    );
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Moves the results of an earlier run aside.
fn set_aside(folder: &Path, to: &str) -> std::io::Result<()> {
    for name in ["cache", "logs"] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::rename(path, folder.join(format!("{name}_{to}")))?;
        }
    }
    Ok(())
}

fn timed(mut command: Command) -> Result<f64, String> {
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(|e| e.to_string())?;
    let took = start.elapsed().as_secs_f64();
    if status.success() { Ok(took) } else { Err(format!("{} failed: {status}", command.get_program().display())) }
}

fn slice_only(folder: &Path) -> rvc_run::Result<f64> {
    let (task, workspace) = (Task::new(1, |_| {}), Workspace::new(folder));
    let start = Instant::now();
    let cache = Cache::open(workspace.cache())?;
    prepare::slices(&task, &workspace, &cache, "anna", Path::new("data/anna"), &Config::default())?;
    Ok(start.elapsed().as_secs_f64())
}

/// The quickstart's recordings, one after the other at [`RATE`].
struct Speech(Vec<f32>);

impl Speech {
    fn read() -> rvc_run::Result<Self> {
        let mut samples = Vec::new();
        for voice in ["anna", "ben"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart").join(voice);
            for path in files::list(&folder)?.into_iter().filter(|path| io::is_audio(path)) {
                let Audio { samples: sound, sample_rate } = io::load(&path)?;
                samples.extend(resample::resample(&sound, sample_rate, RATE));
            }
        }
        Ok(Self(samples))
    }

    /// A recording unlike the others: `number` decides its position, speed and level.
    fn record(&self, path: &Path, number: usize, seconds: f64) -> Result<(), String> {
        let (n, sound) = ((seconds * f64::from(RATE)) as usize, &self.0);
        let (speed, level) = (1.0 + 0.001 * (number % 50) as f64, 0.6 + 0.002 * number as f64);
        let begin = number * 7919 * 13;
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).map_err(|e| e.to_string())?;
        for i in 0..n {
            let sample = f64::from(sound[(begin + (i as f64 * speed) as usize) % sound.len()]) * level;
            writer.write_sample((sample * 32767.0).clamp(-32768.0, 32767.0) as i16).map_err(|e| e.to_string())?;
        }
        writer.finalize().map_err(|e| e.to_string())
    }
}

/// The same sound in other bytes: a chunk that readers skip.
fn retag(path: &Path) -> Result<(), String> {
    let mut bytes = files::read(path).map_err(|e| e.to_string())?;
    bytes.extend(b"note\x04\0\0\0tag!");
    let size = (bytes.len() as u32 - 8).to_le_bytes();
    bytes[4..8].copy_from_slice(&size);
    files::write(path, bytes).map_err(|e| e.to_string())
}

fn write_weights(root: &Path) -> rvc_run::Result<()> {
    let assets = root.join("assets");
    files::create_folder(&assets)?;
    weights::write(&assets.join("rmvpe.pt"), weights::filled("", &weights::listed("rmvpe")));
    let model = weights::filled("", &weights::listed("hubert_fairseq"));
    let model = Value::ordered(model.into_iter().map(|(key, tensor)| (key, Value::Tensor(tensor))));
    torchfile::write(&assets.join("hubert_base.pt"), &Value::dict([("model", model)]))
}
