//! `rvc-run ui`: MLflow started, awaited and stopped with all its processes; or the address of the server that has the runs.

use super::*;
use crate::support::{only, skipped};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

/// The behaviour of the fake MLflow: see [`fake_mlflow`].
const MODE: &str = "RVC_TEST_MLFLOW";

/// Not a test on its own: the script of [`Place::with_mlflow`] starts it, and it is the server.
#[test]
fn fake_mlflow() {
    let Ok(mode) = std::env::var(MODE) else { return };
    if mode == "silent" {
        loop {
            std::thread::park();
        }
    }
    let port: u16 = std::env::var("RVC_TEST_PORT").unwrap().parse().unwrap();
    for stream in TcpListener::bind(("127.0.0.1", port)).unwrap().incoming() {
        let mut stream = stream.unwrap();
        let mut asked = [0; 4];
        if stream.read_exact(&mut asked).is_ok() && asked == *b"GET " {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nOK").unwrap();
        }
    }
}

/// A workspace with a folder of runs, and a program called mlflow on the PATH.
struct Place {
    workspace: Workspace,
    port: u16,
}

impl Place {
    fn with_mlflow(script: &str) -> Self {
        let workspace = Workspace::new();
        std::fs::create_dir_all(workspace.path("tracking/mlruns")).unwrap();
        std::fs::create_dir_all(workspace.path("bin")).unwrap();
        let mlflow = workspace.path("bin/mlflow");
        std::fs::write(&mlflow, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&mlflow, std::fs::Permissions::from_mode(0o755)).unwrap();
        // No other process takes a port that was given out a moment ago.
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        Self { workspace, port }
    }

    /// Starts a worker of its own, records its arguments, and serves.
    fn serving() -> Self {
        let server = only(module_path!(), "fake_mlflow").join(" ");
        Self::with_mlflow(&format!(
            "sleep 600 & echo $! > worker\necho \"$MLFLOW_ALLOW_FILE_STORE $*\" > called\nexport RVC_TEST_PORT=$5\nexec \"$RVC_TEST_EXE\" {server}",
        ))
    }

    fn ui(&self, mode: &str) -> Command {
        let mut command = self.workspace.program();
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(["ui", "--port", &self.port.to_string()]);
        command.env("PATH", format!("{}:{path}", self.workspace.path("bin").display()));
        command.env(MODE, mode).env("RVC_TEST_EXE", std::env::current_exe().unwrap());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.workspace.path(name)).unwrap_or_default().trim().to_owned()
    }
}

fn send(signal: &str, child: &Child) {
    let told = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(told.success());
}

/// Whether a process still runs; a zombie does not.
fn works(pid: &str) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

#[test]
fn the_address_is_printed_once_it_answers_and_every_signal_ends_mlflow() {
    for signal in ["INT", "TERM", "HUP"] {
        let place = Place::serving();
        let mut child = place.ui("answer").spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = format!("http://127.0.0.1:{}", place.port);
        assert!(lines.any(|line| line.unwrap().contains(&address)), "the address was never printed");
        TcpStream::connect(("127.0.0.1", place.port)).expect("it was printed before the server answered");
        assert_eq!(
            place.read("called"),
            format!(
                "true server --host 127.0.0.1 --port {} --backend-store-uri {}",
                place.port,
                Path::new("tracking/mlruns").display()
            )
        );
        let worker = place.read("worker");
        assert!(works(&worker));
        send(signal, &child);
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{signal}");
        assert!(!works(&worker), "{signal} left a worker behind");
        TcpListener::bind(("127.0.0.1", place.port)).expect("the port is free again");
    }
}

#[test]
fn a_signal_works_while_mlflow_is_still_starting() {
    let place = Place::serving();
    let mut child = place.ui("silent").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("starting MLflow")));
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(lines.all(|line| !line.unwrap().contains("http://")), "an address that never answered");
    let worker = place.read("worker");
    assert!(worker.is_empty() || !works(&worker));
}

#[test]
fn a_failing_mlflow_and_a_taken_port_are_reported() {
    let place = Place::with_mlflow("echo no such option >&2; exit 3");
    let text = ended_with(1, &place.ui("answer").output().unwrap());
    assert!(
        text.contains("MLflow ended with") && text.contains("no such option") && !text.contains("http://"),
        "{text}"
    );
    let place = Place::serving();
    let _taken = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let text = ended_with(2, &place.ui("answer").output().unwrap());
    assert!(text.contains("is in use") && text.contains(&format!("--port {}", place.port + 1)), "{text}");
    assert!(place.read("called").is_empty(), "it was started anyway");
}

#[test]
fn runs_on_a_server_are_named_with_its_address() {
    let server = "http://tracking.example:5055";
    let place = Place::serving();
    let says = |command: &mut Command| {
        let text = ended_with(0, &command.output().unwrap());
        assert!(text.contains(&format!("open {server} in a browser")), "{text}");
        assert!(place.read("called").is_empty(), "MLflow was started\n{text}");
        text
    };
    says(place.ui("answer").args(["--tracking-uri", server]));
    says(place.ui("answer").env("MLFLOW_TRACKING_URI", server));
    // No flag names the server, but the newest run was sent there.
    let events = place.workspace.path("tracking/events");
    std::fs::create_dir_all(&events).unwrap();
    for (id, uri) in [("20261129-101500-000-anna-aaaa", "tracking/mlruns"), ("20261130-101500-000-anna-bbbb", server)] {
        std::fs::write(events.join(format!("{id}.jsonl")), "").unwrap();
        let folder = place.workspace.path(&format!("tracking/follow/{id}/mlflow"));
        std::fs::create_dir_all(&folder).unwrap();
        let went = serde_json::json!({ "tracking_uri": uri, "experiment": "rvc-run" });
        std::fs::write(folder.join("destination.json"), went.to_string()).unwrap();
    }
    let text = says(&mut place.ui("answer"));
    assert!(text.contains("older ones are in tracking/mlruns: rvc-run ui --tracking-uri tracking/mlruns"), "{text}");
}

#[test]
fn a_real_mlflow_shows_the_runs() {
    let Some(python) = std::env::var_os("RVC_TEST_PYTHON").map(PathBuf::from) else {
        skipped("RVC_TEST_PYTHON names no Python with MLflow");
        return;
    };
    let bin = python.parent().unwrap().to_owned();
    if !bin.join("mlflow").is_file() {
        skipped("the Python of RVC_TEST_PYTHON has no MLflow");
        return;
    }
    let place = Place::with_mlflow("exit 1");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = place.ui("answer");
    let mut child = command.env("PATH", format!("{}:{path}", bin.display())).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("http://127.0.0.1:")), "it never answered");
    let mut stream = TcpStream::connect(("127.0.0.1", place.port)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    let _ = stream.read_to_string(&mut page);
    assert!(page.contains("200 OK"), "{page}");
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    TcpListener::bind(("127.0.0.1", place.port)).expect("a worker still listens");
}
