//! `cargo xtask bench jobs`: the cost of the jobs layer: starting a child, watching it, recording how it ended.
//!
//! The children are shells that become a `sleep`, so that the time beyond their own, and beyond the start of a process in any other
//! program, is the layer's. Then the same on several slots, compared with the least time possible on that many slots.

mod common;

use rvc_run::jobs::{self, Job, Options};
use rvc_run::task::Task;
use std::fmt::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const HELP: &str = "\
cargo xtask bench jobs [--jobs N] [--parallel N] [--rounds N] [--save FILE]

  --jobs N        children of one call (default 40)
  --parallel N    slots of the second part (default 4)
  --rounds N      calls of each kind; the median counts (default 5)
  --save FILE     write the table there as well
";

/// Seconds that a child of the second part sleeps.
const NAP: f64 = 0.2;

struct Given {
    jobs: usize,
    parallel: usize,
    rounds: usize,
    save: Option<String>,
}

fn main() -> ExitCode {
    common::run(given(), bench)
}

fn given() -> Result<Given, String> {
    let mut given = Given { jobs: 40, parallel: 4, rounds: 5, save: None };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{HELP}"));
        let number = |text: String| {
            text.parse::<usize>().map(|n| n.max(1)).map_err(|_| format!("{text:?} is not a number\n\n{HELP}"))
        };
        match arg.as_str() {
            "--jobs" => given.jobs = number(value()?)?,
            "--parallel" => given.parallel = number(value()?)?,
            "--rounds" => given.rounds = number(value()?)?,
            "--save" => given.save = Some(value()?),
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(given)
}

fn bench(given: &Given) -> Result<(), String> {
    let n = given.jobs as f64;
    let (mut bare, mut layer, mut naps) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=given.rounds {
        let times = (without_layer(given.jobs)?, call(given.jobs, 1, 0.0)?, call(given.jobs, given.parallel, NAP)?);
        if round > 0 {
            bare.push(times.0 / n);
            layer.push(times.1 / n);
            naps.push(times.2);
        }
    }
    let ideal = given.jobs.div_ceil(given.parallel) as f64 * NAP;
    let ms = |times: &[f64]| common::figures(&times.iter().map(|t| t * 1e3).collect::<Vec<_>>(), 1);
    let mut text = String::new();
    let mut row = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    row(format!("{} jobs a call, {} calls of each kind; median (min).\n", given.jobs, given.rounds));
    row("| one job after the other, milliseconds a job | |\n|---|---|".into());
    row(format!("| sh and sleep 0, started and waited for without the layer | {} |", ms(&bare)));
    row(format!("| the same as jobs | {} |", ms(&layer)));
    row(format!("| the layer | {:.1} |", (common::median(&layer) - common::median(&bare)) * 1e3));
    row(format!("\n| {} jobs of {NAP} s on {} slots | |\n|---|---|", given.jobs, given.parallel));
    row(format!("| seconds of the call | {} |", common::figures(&naps, 2)));
    row(format!("| seconds of naps only, the least possible | {ideal:.2} |"));
    row(format!("| jobs a second | {:.1} of {:.1} |", n / common::median(&naps), n / ideal));
    row(format!("| of the ideal | {:.0} % |", 100.0 * ideal / common::median(&naps)));
    print!("{text}");
    if let Some(file) = &given.save {
        std::fs::write(file, text).map_err(|e| format!("cannot write {file}: {e}"))?;
    }
    Ok(())
}

/// Seconds of this many processes, one after the other.
fn without_layer(count: usize) -> Result<f64, String> {
    let began = Instant::now();
    for _ in 0..count {
        let mut command = Command::new("/bin/sh");
        let status = command
            .args(["-c", "exec /bin/sleep 0"])
            .stdin(Stdio::null())
            .status()
            .map_err(|e| format!("cannot run /bin/sh: {e}"))?;
        if !status.success() {
            return Err(format!("/bin/sh ended with {status}"));
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds of one call with this many jobs that sleep.
fn call(count: usize, parallel: usize, seconds: f64) -> Result<f64, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    // The recipe is the program's first argument: a script that sleeps as long as its argument says.
    let recipe = folder.path().join("nap.sh");
    std::fs::write(&recipe, "exec /bin/sleep \"$1\"\n").map_err(|e| e.to_string())?;
    let job = |n: usize| Job {
        name: n.to_string(),
        recipe: recipe.clone(),
        args: vec![seconds.to_string()],
        ..Job::default()
    };
    let jobs: Vec<Job> = (0..count).map(job).collect();
    let options = Options {
        parallel,
        folder: folder.path().join("group"),
        program: Some("/bin/sh".into()),
        ..Options::default()
    };
    let began = Instant::now();
    let outcomes = jobs::run(&Task::silent(), &jobs, &options).map_err(|e| e.to_string())?;
    let taken = began.elapsed().as_secs_f64();
    match outcomes.iter().find(|outcome| !outcome.status.is_done()) {
        None => Ok(taken),
        Some(failed) => Err(format!("job {}: {}", failed.name, failed.reason)),
    }
}
