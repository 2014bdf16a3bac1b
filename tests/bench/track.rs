//! `cargo xtask bench track`: the cost of recording a run, beside the steps that it records.
//!
//! First without a network: thousands of steps as fast as they can be recorded, with everything that follows the log (MLflow's
//! folder, TensorBoard, the report, the machine's load): how long the training's thread waits, and how much all threads compute. Then steps
//! of the quickstart's tiny network, in turn with and without a run.

mod common;

use rvc_run::config::Config;
use rvc_run::config::choices::Preset;
use rvc_run::files::Workspace;
use rvc_run::nn::runtime;
use rvc_run::report;
use rvc_run::task::Task;
use rvc_run::track::mlflow::Place;
use rvc_run::track::{Options, Run};
use rvc_run::train::step::{Engine, METRICS};
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tch::Device;

const HELP: &str = "\
cargo xtask bench track [--steps N] [--rounds N] [--threads N] [--save FILE]

  --steps N       steps recorded without training (default 20000)
  --rounds N      pairs of blocks of ten training steps, one recorded and one not (default 12)
  --threads N     threads of one operation (default: as in training)
  --save FILE     write the table there as well
";

/// The quickstart refreshes the report every ten epochs of eleven steps.
const STEPS_PER_REPORT: i64 = 110;

struct Given {
    steps: i64,
    rounds: usize,
    threads: usize,
    save: Option<String>,
}

fn main() -> ExitCode {
    common::run(given(), bench)
}

fn given() -> Result<Given, String> {
    let mut given = Given { steps: 20_000, rounds: 12, threads: 0, save: None };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{HELP}"));
        let number = |text: String| text.parse::<usize>().map_err(|_| format!("{text:?} is not a number\n\n{HELP}"));
        match arg.as_str() {
            "--steps" => given.steps = number(value()?)?.max(1) as i64,
            "--rounds" => given.rounds = number(value()?)?.max(1),
            "--threads" => given.threads = number(value()?)?,
            "--save" => given.save = Some(value()?),
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(given)
}

fn bench(given: &Given) -> Result<(), String> {
    runtime::init();
    if given.threads > 0 {
        runtime::set_threads(given.threads);
    }
    let recorded = record(given.steps)?;
    let (with, without) = train(given.rounds)?;
    let text = table(given, &recorded, &with, &without);
    print!("{text}");
    if let Some(file) = &given.save {
        std::fs::write(file, text).map_err(|e| format!("cannot write {file}: {e}"))?;
    }
    Ok(())
}

/// A run with a training's defaults, in a folder that is removed with the first value.
fn open() -> Result<(tempfile::TempDir, Workspace, Run), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let workspace = Workspace::new(folder.path());
    let options = Options {
        mlflow: Place::parse("", &workspace, &|_| None).map_err(|e| e.to_string())?,
        tensorboard: true,
        system_interval: Some(Duration::from_secs(30)),
        ..Options::default()
    };
    let run = Run::start(&Task::silent(), &workspace, "bench", &json!({}), &options).map_err(|e| e.to_string())?;
    Ok((folder, workspace, run))
}

/// The cost of recording: seconds that the caller waits for each step, and processor seconds of everything.
struct Recorded {
    waits: Vec<f64>,
    cpu: Option<f64>,
}

fn record(steps: i64) -> Result<Recorded, String> {
    let before = cpu_seconds();
    let (_folder, workspace, run) = open()?;
    let mut waits = Vec::new();
    for step in 0..steps {
        let began = Instant::now();
        run.metrics(step, &values(step));
        waits.push(began.elapsed().as_secs_f64());
        if step % STEPS_PER_REPORT == STEPS_PER_REPORT - 1 && step < 100 * STEPS_PER_REPORT {
            // In a training it has its own thread; here its work is counted, not waited for.
            report::write(&workspace, run.id()).map_err(|e| e.to_string())?;
        }
    }
    run.finish("done", &json!({}));
    drop(run);
    let cpu = before.zip(cpu_seconds()).map(|(before, after)| after - before);
    Ok(Recorded { waits, cpu })
}

/// The values of a training step: as many as in a real one.
fn values(step: i64) -> Vec<(&'static str, f64)> {
    let more = ["learning_rate", "steps_per_second", "audio_seconds_per_second"];
    METRICS.into_iter().chain(more).map(|name| (name, 30.0 / (step + 1) as f64)).collect()
}

/// Seconds of every step with a run and without.
fn train(rounds: usize) -> Result<(Vec<f64>, Vec<f64>), String> {
    let config = Config { preset: Preset::Tiny, segment_size: 6400, ..Config::default() };
    let mut engine = Engine::new(&config, Device::Cpu).map_err(|e| e.to_string())?;
    let batch = common::training_batch(&config, Device::Cpu);
    let (_folder, _workspace, run) = open()?;
    let (mut with, mut without, mut step) = (Vec::new(), Vec::new(), 0);
    for round in 0..=rounds {
        for recorded in [round % 2 == 0, round % 2 != 0] {
            for _ in 0..10 {
                let began = Instant::now();
                engine.step(&batch, 1e-4, step).map_err(|e| e.to_string())?;
                if recorded {
                    run.metrics(step, &values(step));
                }
                step += 1;
                // The first round warms up.
                if round > 0 {
                    let times = if recorded { &mut with } else { &mut without };
                    times.push(began.elapsed().as_secs_f64());
                }
            }
        }
    }
    run.finish("done", &json!({}));
    Ok((with, without))
}

fn table(given: &Given, recorded: &Recorded, with: &[f64], without: &[f64]) -> String {
    let micro = |seconds: f64| format!("{:.1}", seconds * 1e6);
    let mut sorted = recorded.waits.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    let mut out = String::new();
    let mut row = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{line}");
    };
    row(format!(
        "{} steps of {} values recorded; followers: MLflow's folder, TensorBoard; the report {} times; load every 30 s.\n",
        given.steps,
        values(0).len(),
        (given.steps / STEPS_PER_REPORT).min(100)
    ));
    row("| a recorded step | microseconds |\n|---|---|".into());
    row(format!("| the training waits, mean | {} |", micro(mean)));
    row(format!("| the training waits, 99 of 100 at most | {} |", micro(at(0.99))));
    row(format!("| the training waits, at most | {} |", micro(at(1.0))));
    let each = recorded.cpu.map(|cpu| cpu / given.steps as f64);
    row(format!("| all threads compute | {} |", each.map_or("-".into(), micro)));
    row(format!(
        "\nTraining steps of the tiny network (segment 6400, batch 4, CPU, {} threads), {} of each, in turn:\n",
        runtime::threads(),
        with.len()
    ));
    row("| | seconds: median (min) |\n|---|---|".into());
    row(format!("| recorded | {} |", common::figures(with, 4)));
    row(format!("| not recorded | {} |", common::figures(without, 4)));
    let step = common::median(without);
    row(format!("\nDifference of the medians: {:.2} %.", 100.0 * (common::median(with) / step - 1.0)));
    row(format!("The training waits {:.3} % of a step.", 100.0 * mean / step));
    if let Some(each) = each {
        row(format!("All threads compute {:.3} % of a step on one core.", 100.0 * each / step));
    }
    out
}

/// Processor seconds of this process so far; Linux only.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may contain anything: fields 14 and 15, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
