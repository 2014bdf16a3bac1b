//! `rvc-run ui`: shows the runs in the browser with MLflow's own server on this machine, or prints the address if they are on a server.

use super::terminal::Terminal;
use super::track as track_command;
use super::track::variable;
use clap::{Arg, ArgMatches, Command};
use rvc_run::files::Workspace;
use rvc_run::process::Group;
use rvc_run::script::flags::{self, Common};
use rvc_run::task::Task;
use rvc_run::track;
use rvc_run::track::mlflow::Place;
use rvc_run::{Error, Kind, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

/// How often a running `ui` checks whether to stop, and a starting one whether MLflow answers.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest start: MLflow answers after seconds, but uvx fetches it first, which takes minutes on a slow connection.
const ANSWERS_WITHIN: Duration = Duration::from_mins(10);
/// Time limit of a request to MLflow.
const QUESTION: Duration = Duration::from_secs(2);

/// `rvc-run ui`.
pub fn command() -> Command {
    Command::new("ui")
        .about("Show the runs in the browser: starts MLflow for this machine only, or prints the server's address if they are on one")
        .after_help("Uses the mlflow on the PATH, else uvx. --tracking-uri chooses another folder.")
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("N")
                .value_parser(flags::whole::<u16>(1..=u64::from(u16::MAX)))
                .default_value("5000")
                .help("port on 127.0.0.1"),
        )
}

/// Runs MLflow's server on the workspace's runs until a signal, or prints where the runs are.
///
/// Errors: `usage` if the port is taken; `file.not_found` if there are no runs, no MLflow, or it exits; `network` if it never answers.
pub fn run(terminal: &Terminal, workspace: &Workspace, task: &Task, common: &Common, given: &ArgMatches) -> Result<()> {
    let port = *given.get_one::<u16>("port").unwrap_or(&5000);
    let place = track_command::options(workspace, common)?.mlflow;
    let Some(place) = place else {
        return Err(Error::new(Kind::Usage, "with --tracking-uri none there is nothing to show")
            .hint("leave it out, or open the runs' pages in tracking/reports"));
    };
    let named = common.tracking_uri.is_some() || variable("MLFLOW_TRACKING_URI").is_some();
    let servers = match &place {
        Place::Server { url, .. } => vec![url.clone()],
        Place::Folder(_) if named => Vec::new(),
        Place::Folder(_) => last_servers(workspace)?,
    };
    for url in &servers {
        terminal.print(&format!("the runs are on a server: open {url} in a browser"));
    }
    let folder = match place {
        Place::Folder(folder) if servers.is_empty() => folder,
        Place::Folder(folder) if folder.is_dir() => {
            terminal.print(&format!("older ones are in {0}: rvc-run ui --tracking-uri {0}", folder.display()));
            return Ok(());
        }
        _ => return Ok(()),
    };
    if !folder.is_dir() {
        return Err(Error::new(Kind::NotFound, "no run was recorded here").path(&folder).hint("train a voice first"));
    }
    track::renew_paths(task, &folder)?;
    // The port is freed at once: this only gives a clear error for a taken one.
    drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|e| taken(port, &e))?);
    catch_hangup(task)?;
    let mut server = Server::start(mlflow(&folder, port)?)?;
    terminal.print("starting MLflow ...");
    if !server.answers(task, port)? {
        return Ok(());
    }
    terminal.print(&format!(
        "MLflow shows {} at http://127.0.0.1:{port} (\"Model training\", top left; Ctrl-C stops it)",
        folder.display()
    ));
    while !server.has_ended()? && !task.is_cancelled() {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The servers that the newest run went to; empty if it went to a folder.
fn last_servers(workspace: &Workspace) -> Result<Vec<String>> {
    let Some(id) = track::runs(workspace)?.pop() else { return Ok(Vec::new()) };
    let addresses = track::addresses(workspace, &id)?;
    let is_server = |address: &String| address.starts_with("http://") || address.starts_with("https://");
    Ok(if addresses.iter().all(is_server) { addresses } else { Vec::new() })
}

fn taken(port: u16, error: &std::io::Error) -> Error {
    let why = match error.kind() {
        ErrorKind::AddrInUse => format!("port {port} is in use by another program, perhaps another rvc-run ui"),
        _ => format!("port {port} cannot be used: {error}"),
    };
    Error::new(Kind::Usage, why)
        .hint(format!("give another one: --port {}", if port < u16::MAX { port + 1 } else { 5000 }))
}

/// Closing the terminal ends MLflow too, unless the program was started to outlive it (nohup).
#[cfg(unix)]
fn catch_hangup(task: &Task) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    if ignored & 1 == 1 {
        return Ok(());
    }
    // Ctrl-\ too: MLflow is in its own group and would keep the port.
    for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGQUIT] {
        signal_hook::flag::register(signal, task.cancel_flag())
            .map_err(|e| Error::new(Kind::Internal, format!("cannot answer a hang-up: {e}")).source(e))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn catch_hangup(_task: &Task) -> Result<()> {
    Ok(())
}

/// MLflow's server as a command.
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
    Ok(process)
}

/// A running MLflow; dropping this value ends it and its workers.
struct Server(Group);

impl Server {
    fn start(command: Process) -> Result<Self> {
        Group::start(command)
            .map(Self)
            .map_err(|e| Error::new(Kind::NotFound, format!("MLflow cannot be started: {e}")).source(e))
    }

    /// Whether it has exited successfully. Errors: `file.not_found` if it failed.
    fn has_ended(&mut self) -> Result<bool> {
        let ended = self.0.try_wait();
        let ended =
            ended.map_err(|e| Error::new(Kind::Internal, format!("MLflow cannot be watched: {e}")).source(e))?;
        match ended {
            Some(status) if !status.success() => Err(Error::new(Kind::NotFound, format!("MLflow ended with {status}"))
                .hint("see its messages above; version 3.0 or newer is needed")),
            other => Ok(other.is_some()),
        }
    }

    /// Waits until it answers; false if it ends, or a signal comes, before that. Errors: `network` after the time limit, and as
    /// [`Server::has_ended`].
    fn answers(&mut self, task: &Task, port: u16) -> Result<bool> {
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while !is_answered(port) {
            if self.has_ended()? || task.is_cancelled() {
                return Ok(false);
            }
            if Instant::now() > deadline {
                let minutes = ANSWERS_WITHIN.as_secs() / 60;
                return Err(Error::new(
                    Kind::Network,
                    format!("MLflow does not answer on port {port} after {minutes} minutes"),
                )
                .hint("see its messages above"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(true)
    }
}

/// Whether something speaks HTTP on the port: a server that has bound it may still be loading.
fn is_answered(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), QUESTION)?;
        stream.set_read_timeout(Some(QUESTION))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        Ok(head == *b"HTTP/")
    };
    ask().unwrap_or(false)
}
