//! `rvc-run track` and `rvc-run ui`: runs listed, sent to MLflow afterwards, made into pages; and MLflow's own page of them.

use super::terminal::Terminal;
use clap::{Arg, ArgMatches, Command};
use rvc_run::files::Workspace;
use rvc_run::script::bind::text;
use rvc_run::script::flags::Common;
use rvc_run::task::Task;
use rvc_run::track::mlflow::Place;
use rvc_run::track::{self, Options, Overview, Record, Scored};
use rvc_run::{Error, Kind, Result, duration, report};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

/// Seconds between two samples of the machine, unless MLflow's own variable says another number.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(30);

/// How often a running `ui` looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// `rvc-run track`.
pub fn command() -> Command {
    Command::new("track")
        .about("List the recorded runs, make reports of them, send them to MLflow")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("sync")
                .about("Deliver what did not reach MLflow: nothing is left out, nothing arrives twice")
                .after_help(
                    "Without --tracking-uri every run goes where it was sent when it was trained; with it, all runs go there, also those \
                     that never did. Servers ask for what MLflow's own client takes from the environment: MLFLOW_TRACKING_TOKEN, \
                     MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
                )
                .arg(Arg::new("runs").num_args(0..).value_name("RUN").help("file names in tracking/events without .jsonl [default: all]")),
        )
        .subcommand(
            Command::new("list")
                .about("Show every run: how it ended, its epochs, its best loss, how long it worked, its file")
                .arg(Arg::new("voice").value_name("VOICE").help("only the runs of this voice")),
        )
        .subcommand(
            Command::new("report")
                .about("Write the page of a run: curves, pictures, sounds, dataset; it opens without a network")
                .arg(Arg::new("runs").num_args(0..).value_name("RUN").help("run or file as `rvc-run track list` shows them, or a voice for its newest run [default: the newest]")),
        )
        .subcommand(
            Command::new("compare")
                .about("Write a page that lays runs over each other and shows what their settings differ in")
                .arg(Arg::new("runs").num_args(2..).required(true).value_name("RUN").help("runs or files as `rvc-run track list` shows them, or voices for their newest runs")),
        )
}

/// `rvc-run ui`.
pub fn ui_command() -> Command {
    Command::new("ui")
        .about("Show the runs in the browser: starts your own MLflow on this machine only")
        .after_help("MLflow is looked for on PATH, then run by uvx. --tracking-uri names another folder.")
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("N")
                .value_parser(clap::value_parser!(u16).range(1..))
                .default_value("5000")
                .help("port on 127.0.0.1"),
        )
}

/// What the flags and the environment say about where runs are recorded.
///
/// Errors: `usage` for an address that cannot be used, or an interval that is none.
pub fn options(workspace: &Workspace, common: &Common) -> Result<Options> {
    let uri = common.tracking_uri.clone().or_else(|| variable("MLFLOW_TRACKING_URI")).unwrap_or_default();
    let mlflow = place(workspace, &uri).map_err(|e| {
        if common.tracking_uri.is_some() {
            return e;
        }
        e.also("the address is that of MLFLOW_TRACKING_URI, which --tracking-uri overrides")
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

fn variable(name: &str) -> Option<String> {
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

/// The runs meant: by the name of the file, by what the run is called, or by a voice, which stands for its newest run.
fn ids(workspace: &Workspace, named: &[String]) -> Result<Vec<String>> {
    let all = track::runs(workspace)?;
    let found = |name: &String| {
        let by_file = all.iter().find(|id| *id == name).cloned();
        let by_title = || all.iter().rev().find(|id| track::title_of(workspace, id) == *name).cloned();
        by_file.or_else(|| track::latest(workspace, name)).or_else(by_title).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{name:?} is neither a run nor a voice that was trained"))
                .hint("`rvc-run track list` shows the runs")
        })
    };
    named.iter().map(found).collect()
}

fn newest(workspace: &Workspace) -> Result<String> {
    let last = track::runs(workspace)?.pop();
    last.ok_or_else(|| Error::new(Kind::NotFound, "no run was recorded here").hint("train a voice first"))
}

/// Prints a line for each run, the oldest first. A log that is damaged or cannot be read is a warning that names it.
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

/// Delivers the rest and prints a line for each run and place.
///
/// Errors: `network` if something could not be delivered; `file.not_found`, `usage`, `cancelled`.
fn sync(terminal: &Terminal, workspace: &Workspace, task: &Task, common: &Common, given: &ArgMatches) -> Result<()> {
    let runs: Vec<String> = given.get_many("runs").into_iter().flatten().cloned().collect();
    let options = options(workspace, common)?;
    let named = common.tracking_uri.is_some() || variable("MLFLOW_TRACKING_URI").is_some();
    let to = options.mlflow.as_ref().filter(|_| named);
    let done = track::sync(task, workspace, &runs, to, &options.experiment, &|uri| place(workspace, uri))?;
    if done.is_empty() {
        terminal.print("there is nothing to send: no run was recorded here, or none was to go to MLflow (name a place with --tracking-uri)");
    }
    let mut failed = Vec::new();
    for one in done {
        match one.error {
            None => terminal.print(&format!("{}: all at {} ({} points sent or checked)", one.run, one.to, one.points)),
            Some(error) if error.kind() == Kind::Locked => {
                terminal.print(&format!("{}: left alone, a running training sends it to {} itself", one.run, one.to));
            }
            Some(error) => {
                terminal.print(&format!("{}: not all at {}: {error}", one.run, one.to));
                failed.push(one.run);
            }
        }
    }
    failed.dedup();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Network, format!("not everything of {} could be sent", failed.join(", ")))
        .hint("nothing is lost; the same command tries again (a place that is gone for good: delete its folder under tracking/follow/<run>)"))
}

/// Runs MLflow's server on the workspace's runs until Ctrl-C.
///
/// Errors: `usage` if the runs are on a server already, or the port is taken; `file.not_found` if there are no runs, or no MLflow.
pub fn ui(terminal: &Terminal, workspace: &Workspace, task: &Task, common: &Common, given: &ArgMatches) -> Result<()> {
    let port = *given.get_one::<u16>("port").unwrap_or(&5000);
    let folder = match options(workspace, common)?.mlflow {
        Some(Place::Folder(folder)) => folder,
        Some(place) => {
            return Err(Error::new(
                Kind::Usage,
                format!("the runs are on a server: open {} in a browser", place.address()),
            )
            .hint("to see the runs of a folder, give it as --tracking-uri DIR"));
        }
        None => return Err(Error::new(Kind::Usage, "--tracking-uri none leaves nothing to show")),
    };
    if !folder.is_dir() {
        return Err(Error::new(Kind::NotFound, "no run was recorded here").path(&folder).hint("train a voice first"));
    }
    track::renew_paths(task, &folder)?;
    // Free the port again at once: this only makes a taken one a clear error.
    drop(TcpListener::bind(("127.0.0.1", port)).map_err(|e| {
        Error::new(Kind::Usage, format!("port {port} cannot be used: {e}")).hint("give another with --port")
    })?);
    let mut server = mlflow(&folder, port)?;
    terminal.print(&format!(
        "MLflow shows {} at http://127.0.0.1:{port} (\"Model training\", top left; Ctrl-C ends it)",
        folder.display()
    ));
    let mut child = server.spawn().map_err(|e| Error::new(Kind::NotFound, format!("MLflow cannot be started: {e}")))?;
    loop {
        let ended =
            child.try_wait().map_err(|e| Error::new(Kind::Internal, format!("MLflow cannot be watched: {e}")))?;
        if let Some(status) = ended.filter(|status| !status.success()) {
            return Err(Error::new(Kind::NotFound, format!("MLflow ended with {status}"))
                .hint("its own messages stand above; it needs version 3.0 or newer"));
        }
        if ended.is_some() {
            return Ok(());
        }
        if task.is_cancelled() {
            stop(&mut child);
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// MLflow's server as a command: its own processes are ended with it.
fn mlflow(folder: &Path, port: u16) -> Result<Process> {
    let mut process = match (which::which("mlflow"), which::which("uvx")) {
        (Ok(mlflow), _) => Process::new(mlflow),
        (_, Ok(uvx)) => {
            let mut process = Process::new(uvx);
            process.arg("mlflow");
            process
        }
        _ => {
            return Err(Error::new(Kind::NotFound, "MLflow is not installed: neither mlflow nor uvx is on PATH").hint(
                "pip install mlflow (or install uv, which brings uvx); without it, open the run's report in tracking/reports",
            ));
        }
    };
    process
        .args(["server", "--host", "127.0.0.1", "--port", &port.to_string(), "--backend-store-uri"])
        .arg(folder)
        // MLflow 3.17 and later refuse folders without it.
        .env("MLFLOW_ALLOW_FILE_STORE", "true")
        .env_remove("MLFLOW_TRACKING_URI")
        .stdin(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut process, 0);
    Ok(process)
}

/// MLflow starts workers of its own, which a signal to the first process alone may leave behind.
fn stop(child: &mut std::process::Child) {
    #[cfg(unix)]
    {
        let group = format!("-{}", child.id());
        let _ = Process::new("kill").args(["-TERM", "--", &group]).stderr(Stdio::null()).status();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while matches!(child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}
