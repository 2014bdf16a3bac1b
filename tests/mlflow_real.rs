//! MLflow itself: its server's API and its file store return what a training recorded, point for point and byte for byte; also
//! after the server was killed. Without a Python with mlflow (tests/support/python_with_torch.py) the tests skip themselves.

use crate::support::{self, python};
use rvc_run::files::{self, Workspace};
use rvc_run::task::Task;
use rvc_run::track::mlflow::{PARENT, Place};
use rvc_run::track::{self, Options, Run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long MLflow may take to answer after its start: 15 s on two idle cores.
const START: Duration = Duration::from_mins(3);

/// `mlflow server` on a database of its own; killed with all its workers when dropped.
struct Server {
    python: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn new(python: &Path, folder: &Path) -> Self {
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { python: python.to_owned(), folder: folder.to_owned(), port, child: None };
        server.start();
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn start(&mut self) {
        let mut command = Command::new(&self.python);
        command
            .args(["-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1", "--port", &self.port.to_string()])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}", self.folder.join("mlflow.db").display()))
            .arg("--artifacts-destination")
            .arg(self.folder.join("artifacts"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.join("server.log")).unwrap());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + START;
        while !self.answers() {
            let log = || std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "MLflow does not start: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn answers(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let _ = stream.write_all(b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.contains(" 200 ")
    }

    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What MLflow's own client finds: see mlflow_dump.py.
fn dump(python: &Path, uri: &str) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/mlflow_dump.py");
    let output = Command::new(python)
        .arg(script)
        .arg(uri)
        .env("MLFLOW_ALLOW_FILE_STORE", "true")
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

type Point = (String, i64, i64, String);

/// Key, step, milliseconds, value: every point of an event log.
fn points_of(log: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    for line in files::read_text(log).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let time = (line["time"].as_f64().unwrap() * 1000.0).round() as i64;
        for (key, value) in line["metrics"].as_object().into_iter().flatten() {
            points.push((key.clone(), line["step"].as_i64().unwrap(), time, number(value)));
        }
    }
    points.sort();
    points
}

fn points_in(run: &Value) -> Vec<Point> {
    let point = |p: &Value| {
        let whole = |i: usize| p[i].as_i64().unwrap();
        (p[0].as_str().unwrap().to_owned(), whole(1), whole(2), number(&p[3]))
    };
    let mut points: Vec<Point> = run["points"].as_array().unwrap().iter().map(point).collect();
    points.sort();
    points
}

/// Python writes 1.0 where we write 1: compared by their bits.
fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |x| format!("{:x}", x.to_bits()))
}

/// The SHA-256 of every artefact that the log names, from the present files.
fn artifacts_of(log: &Path, workspace: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in files::read_text(log).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["type"] == "artifact" {
            let path = workspace.join(line["path"].as_str().unwrap());
            found.insert(line["to"].as_str().unwrap().to_owned(), files::digest_file(&path).unwrap());
        }
    }
    found
}

fn artifacts_in(run: &Value) -> BTreeMap<String, String> {
    let all = run["artifacts"].as_object().unwrap().iter();
    // images/ holds the pictures again, under the names that MLflow's page uses to show them by step.
    all.filter(|(to, _)| !to.starts_with("images/"))
        .map(|(to, sha)| (to.clone(), sha.as_str().unwrap().into()))
        .collect()
}

fn rvc_run(workspace: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
    command.args(["--threads", "1", "--workspace"]).arg(workspace).args(arguments).stdin(Stdio::null());
    // The user's settings must not decide where the tests record.
    for name in ["MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "RVC_RUN_ASSETS"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn train(workspace: &Path, more: &[&str]) {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/train_voice.rhai");
    let offline = ["--content-encoder", "mel", "--f0-method", "pm", "--pretrained-g", "none", "--pretrained-d", "none"];
    let small = ["--preset", "tiny", "--segment-size", "6400", "--batch-size", "2", "--save-every", "1"];
    let recipe = [recipe.to_str().unwrap(), "anna"];
    rvc_run(workspace, &[recipe.as_slice(), &offline, &small, &["--track-checkpoints", "all"], more].concat());
}

fn only_log(workspace: &Path) -> PathBuf {
    let mut logs = files::list(&workspace.join("tracking/events")).unwrap();
    assert_eq!(logs.len(), 1, "{logs:?}");
    logs.remove(0)
}

fn compare(runs: &[Value], log: &Path, workspace: &Path, where_: &str) {
    assert_eq!(runs.len(), 1, "{where_}: {runs:?}");
    let run = &runs[0];
    assert_eq!(points_in(run), points_of(log), "{where_}");
    assert_eq!(artifacts_in(run), artifacts_of(log, workspace), "{where_}");
    assert_eq!((run["status"].as_str(), run["experiment"].as_str()), (Some("FINISHED"), Some("rvc-run")), "{where_}");
    let id = log.file_stem().unwrap().to_str().unwrap();
    assert_eq!(run["name"].as_str(), Some(track::title_of(&Workspace::new(workspace), id).as_str()), "{where_}");
    assert_eq!((&run["params"]["batch_size"], &run["params"]["learning_rate"]), (&json!("2"), &json!("0.001")));
    assert_eq!(run["tags"]["mlflow.source.name"], "train_voice", "{where_}");
    assert_eq!(run["tags"]["rvc_run.recipe_sha256"].as_str().map(str::len), Some(64), "{where_}");
}

#[test]
#[ignore = "slow: MLflow starts for a minute"]
fn the_server_and_the_file_store_have_the_training_of_the_log() {
    let Some(python) = python::with_mlflow() else { return };
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path().join("workspace");
    std::fs::create_dir_all(workspace.join("data/anna")).unwrap();
    support::speech::write_wav(&workspace.join("data/anna/a.wav"), &support::speech::voice_like(8.0, 150.0), 32000);
    let server = Server::new(&python, folder.path());
    train(&workspace, &["--epochs", "1", "--tracking-uri", &server.url()]);
    // A resumed training is the same run, with the params of its start.
    train(&workspace, &["--epochs", "2", "--tracking-uri", &server.url()]);
    let log = only_log(&workspace);
    let points = points_of(&log);
    for key in
        ["loss_disc", "loss_gen", "loss_fm", "loss_mel", "loss_kl", "learning_rate", "grad_norm_g", "grad_norm_d"]
    {
        assert!(points.iter().filter(|point| point.0 == key).count() >= 2, "{key}: {points:?}");
    }
    for key in ["steps_per_second", "audio_seconds_per_second", "system/cpu_utilization_percentage", "epoch/loss_mel"] {
        assert!(points.iter().any(|point| point.0 == key), "{key}");
    }
    let artifacts: Vec<String> = artifacts_of(&log, &workspace).into_keys().collect();
    let report = format!("{}.html", log.file_stem().unwrap().to_str().unwrap());
    for to in [
        "checkpoints/G_1.pth",
        "checkpoints/D_2.pth",
        "config.json",
        "train.log",
        "samples/epoch_2.wav",
        "anna.pth",
        &report,
    ] {
        assert!(artifacts.iter().any(|known| known == to), "{to}: {artifacts:?}");
    }
    let runs = dump(&python, &server.url());
    compare(&runs, &log, &workspace, "the server");
    assert_eq!((&runs[0]["params"]["epochs"], &runs[0]["tags"]["resumed.epochs"]), (&json!("1"), &json!("2")));

    // The whole record again, into MLflow's folder.
    let mlruns = workspace.join("tracking/mlruns");
    rvc_run(&workspace, &["--tracking-uri", mlruns.to_str().unwrap(), "track", "sync"]);
    compare(&dump(&python, &format!("file://{}", mlruns.display())), &log, &workspace, "the file store");

    // A sweep and its trial, nested in it.
    let place = Place::parse(&server.url(), &Workspace::new(&workspace), &|_| None).unwrap();
    let mut options = Options { mlflow: place, ..Options::default() };
    let start = |name: &str, options: &Options| {
        Run::start(&Task::silent(), &Workspace::new(&workspace), name, &json!({}), options).unwrap()
    };
    let sweep = start("sweep", &options);
    options.tags.insert(PARENT.to_owned(), sweep.id().into());
    let trial = start("t01", &options);
    let (sweep_name, trial_name) = (sweep.id().to_owned(), trial.id().to_owned());
    for run in [trial, sweep] {
        run.finish("done", &json!({}));
    }
    rvc_run(&workspace, &["--tracking-uri", &server.url(), "track", "sync"]);
    let runs = dump(&python, &server.url());
    let named = |name: &str| runs.iter().find(|run| run["tags"]["rvc_run.run"] == name).unwrap();
    assert_eq!(named(&trial_name)["tags"]["mlflow.parentRunId"], named(&sweep_name)["id"]);

    // MLflow finds the artefacts in the place to which the workspace was moved.
    let moved = folder.path().join("moved here");
    std::fs::rename(&workspace, &moved).unwrap();
    rvc_run(&moved, &["track", "sync"]);
    let log = moved.join("tracking/events").join(log.file_name().unwrap());
    let store = format!("file://{}", moved.join("tracking/mlruns").display().to_string().replace(' ', "%20"));
    compare(&dump(&python, &store), &log, &moved, "the file store that was moved");
    assert!(!workspace.exists());
}

#[test]
#[ignore = "slow: MLflow starts for a minute"]
fn a_server_that_is_killed_and_started_again_has_every_point_once() {
    let Some(python) = python::with_mlflow() else { return };
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("workspace"));
    let mut server = Server::new(&python, folder.path());
    let place = |uri: &str| Place::parse(uri, &workspace, &|_| None).unwrap();
    let options = Options { mlflow: place(&server.url()), ..Options::default() };
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({ "epochs": 3 }), &options).unwrap();
    let measure = |steps: std::ops::Range<i64>| {
        for step in steps {
            let odd = if step % 7 == 0 { f64::NAN } else { 0.1 + step as f64 };
            run.metrics(step, &[("loss_mel", 30.0 / (step + 1) as f64), ("loss_kl", 1e-300), ("grad_norm_g", odd)]);
        }
    };
    measure(0..700);
    // Killed during delivery, more than once.
    for round in 1..=2 {
        std::thread::sleep(Duration::from_millis(3300));
        server.kill();
        measure(700 * round..700 * (round + 1));
        server.start();
    }
    run.finish("done", &json!({}));
    let log = run.path().to_owned();
    drop(run);
    let parse = |uri: &str| Ok(place(uri));
    let done = track::sync(&Task::silent(), &workspace, &[], None, "", &parse).unwrap();
    assert!(done.iter().all(|one| one.error.is_none()), "{done:?}");
    let runs = dump(&python, &server.url());
    assert_eq!(runs.len(), 1);
    assert_eq!(points_in(&runs[0]), points_of(&log));
    assert_eq!(runs[0]["status"], "FINISHED");
}
