//! `rvc-run track`: lists runs, sends them to MLflow, writes their pages.

use super::terminal::Terminal;
use clap::{Arg, ArgMatches, Command};
use rvc_run::files::Workspace;
use rvc_run::script::bind::text;
use rvc_run::script::flags::Common;
use rvc_run::task::Task;
use rvc_run::track::mlflow::Place;
use rvc_run::track::{self, Options, Overview, Record, Scored};
use rvc_run::{Error, Kind, Result, duration, report};
use std::time::Duration;

/// Seconds between two samples of the machine, unless MLflow's own variable sets another number.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(30);

/// `rvc-run track`.
pub fn command() -> Command {
    Command::new("track")
        .about("List the recorded runs, write their reports, send them to MLflow")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("sync")
                .about("Send the data that did not reach MLflow; every point arrives exactly once")
                .after_help(
                    "Without --tracking-uri every run goes to its destinations at training time; with it, all runs go to that address. \
                    The login comes from the variables of MLflow's own client: MLFLOW_TRACKING_TOKEN, or \
                    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
                )
                .arg(Arg::new("runs").num_args(0..).value_name("RUN").help("runs or files from `rvc-run track list`, or voices for their newest runs [default: all]")),
        )
        .subcommand(
            Command::new("list")
                .about("List the runs: how each ended, its epochs, best loss, time and file")
                .arg(Arg::new("voice").value_name("VOICE").help("only the runs of this voice")),
        )
        .subcommand(
            Command::new("report")
                .about("Write the page of a run: curves, pictures, sounds, data set; it needs no network")
                .arg(Arg::new("runs").num_args(0..).value_name("RUN").help("runs or files from `rvc-run track list`, or voices for their newest runs [default: the newest run]")),
        )
        .subcommand(
            Command::new("compare")
                .about("Write a page that compares runs: curves over each other, and the settings that differ")
                .arg(Arg::new("runs").num_args(2..).required(true).value_name("RUN").help("runs or files from `rvc-run track list`, or voices for their newest runs")),
        )
}

/// Where to record runs, from the flags and the environment.
///
/// Errors: `usage` for an unusable address or interval.
pub fn options(workspace: &Workspace, common: &Common) -> Result<Options> {
    let uri = common.tracking_uri.clone().or_else(|| variable("MLFLOW_TRACKING_URI")).unwrap_or_default();
    let mlflow = place(workspace, &uri).map_err(|e| {
        if common.tracking_uri.is_some() {
            return e;
        }
        e.also("the address comes from MLFLOW_TRACKING_URI; --tracking-uri overrides it")
    })?;
    Ok(Options {
        mlflow,
        experiment: common.experiment.clone().or_else(|| variable("MLFLOW_EXPERIMENT_NAME")).unwrap_or_default(),
        tensorboard: true,
        system_interval: Some(system_interval()?),
        ..Options::default()
    })
}

fn system_interval() -> Result<Duration> {
    let name = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL";
    let Some(text) = variable(name) else { return Ok(SYSTEM_INTERVAL) };
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        Error::new(Kind::Usage, format!("{name} is {text:?}, but must be seconds between samples, 0.1 to 86400"))
            .hint(format!("correct {name} or unset it"))
    })
}

/// A variable of the environment, if it is not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn place(workspace: &Workspace, uri: &str) -> Result<Option<Place>> {
    Place::parse(uri, workspace, &variable)
}

/// `rvc-run track ...`.
///
/// Errors: as the command that is called.
pub fn run(terminal: &Terminal, workspace: &Workspace, task: &Task, common: &Common, given: &ArgMatches) -> Result<()> {
    let named = |given: &ArgMatches| -> Vec<String> { given.get_many("runs").into_iter().flatten().cloned().collect() };
    match given.subcommand() {
        Some(("sync", given)) => sync(terminal, workspace, task, common, given),
        Some(("list", given)) => list(terminal, workspace, task, given.get_one::<String>("voice").map(String::as_str)),
        Some(("compare", given)) => {
            let path = report::compare(workspace, &ids(workspace, &named(given))?)?;
            terminal.print(&path.display().to_string());
            Ok(())
        }
        Some((_, given)) => {
            let ids = match named(given) {
                named if named.is_empty() => vec![newest(workspace)?],
                named => ids(workspace, &named)?,
            };
            for id in ids {
                terminal.print(&report::write(workspace, &id)?.display().to_string());
            }
            Ok(())
        }
        None => Ok(()),
    }
}

/// The runs with these names: a file's name, a run's title, or a voice for its newest run.
fn ids(workspace: &Workspace, named: &[String]) -> Result<Vec<String>> {
    let all = track::runs(workspace)?;
    let found = |name: &String| {
        let by_file = all.iter().find(|id| *id == name).cloned();
        let by_title = || all.iter().rev().find(|id| track::title_of(workspace, id) == *name).cloned();
        by_file.or_else(|| track::latest(workspace, name)).or_else(by_title).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{name:?} is neither a run nor a trained voice"))
                .hint("`rvc-run track list` shows the runs")
        })
    };
    named.iter().map(found).collect()
}

fn newest(workspace: &Workspace) -> Result<String> {
    let last = track::runs(workspace)?.pop();
    last.ok_or_else(|| Error::new(Kind::NotFound, "no run was recorded here").hint("train a voice first"))
}

/// Prints a line for each run, the oldest first. A damaged or unreadable log is a warning that names it.
fn list(terminal: &Terminal, workspace: &Workspace, task: &Task, voice: Option<&str>) -> Result<()> {
    let head = ["run", "ended", "epochs", "best epoch", "its mean", "worked", "file"].map(str::to_owned);
    let mut rows = Vec::new();
    for id in track::runs(workspace)? {
        task.check()?;
        let log = track::log_path(workspace, &id);
        let record = match track::read(&log) {
            Ok(record) => record,
            Err(error) => {
                task.warn(format!("{id} is left out: {error}"));
                continue;
            }
        };
        let name = record.start["name"].as_str().or_else(|| track::name_of(&id)).unwrap_or_default();
        if voice.is_some_and(|voice| name != voice) {
            continue;
        }
        if let Some(damage) = record.damage() {
            task.warn(format!("{}: {damage}", log.display()));
        }
        rows.push(row(&id, &record));
    }
    if rows.is_empty() {
        terminal.print(if voice.is_some() {
            "no run of this voice was recorded here"
        } else {
            "no run was recorded here"
        });
        return Ok(());
    }
    for line in text::table(&head, &rows) {
        terminal.print(&line);
    }
    Ok(())
}

fn row(id: &str, record: &Record) -> Vec<String> {
    let metric = record.best_metric();
    let found = Overview::of(record, metric);
    let epoch = |scored: Option<Scored>| scored.map_or_else(|| "-".to_owned(), |scored| scored.epoch.to_string());
    let mean = found.best.map_or_else(|| "-".to_owned(), |best| format!("{metric} {:.2}", best.value));
    let status = record.status.clone().unwrap_or_else(|| "not ended".to_owned());
    let worked = duration::words(record.seconds());
    vec![track::title(id, &record.start), status, epoch(found.last), epoch(found.best), mean, worked, id.to_owned()]
}

/// Delivers the rest and prints a line for each run and destination.
///
/// Errors: `network` if something could not be delivered; `file.not_found`, `usage`, `cancelled`.
fn sync(terminal: &Terminal, workspace: &Workspace, task: &Task, common: &Common, given: &ArgMatches) -> Result<()> {
    let runs: Vec<String> = given.get_many("runs").into_iter().flatten().cloned().collect();
    let runs = ids(workspace, &runs)?;
    let options = options(workspace, common)?;
    let named = common.tracking_uri.is_some() || variable("MLFLOW_TRACKING_URI").is_some();
    let to = options.mlflow.as_ref().filter(|_| named);
    let done = track::sync(task, workspace, &runs, to, &options.experiment, &|uri| place(workspace, uri))?;
    if done.is_empty() {
        terminal.print("there is nothing to send: no run was recorded here, or none has MLflow as a destination (give one with --tracking-uri)");
    }
    let mut failed = Vec::new();
    for one in done {
        match one.error {
            None => {
                terminal.print(&format!("{}: complete at {} ({} points sent or checked)", one.run, one.to, one.points));
            }
            Some(error) if error.kind() == Kind::Locked => {
                terminal.print(&format!("{}: skipped, the running training sends it to {} itself", one.run, one.to));
            }
            Some(error) => {
                terminal.print(&format!("{}: incomplete at {}: {error}", one.run, one.to));
                failed.push(one.run);
            }
        }
    }
    failed.dedup();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Network, format!("not everything of {} could be sent", failed.join(", ")))
        .hint("nothing is lost; the same command tries again (for a destination that no longer exists, delete its folder under tracking/follow/<run>)"))
}
