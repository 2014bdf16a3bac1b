//! MLflow: everything that a run measured arrives exactly once, whatever the server does; checked with a server that fails on purpose, and
//! with the real one where it is installed.

use crate::support::mlflow::{Fault, Point, Server};
use rvc_run::files::{self, Workspace};
use rvc_run::task::{Event, Task};
use rvc_run::track::mlflow::Place;
use rvc_run::track::{self, Options, Run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn workspace() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path());
    (folder, workspace)
}

/// A server is given up after half a second, so that one that hangs does not delay the tests.
fn place(workspace: &Workspace, uri: &str) -> Place {
    let variable = |name: &str| (name == "MLFLOW_HTTP_REQUEST_TIMEOUT").then(|| "0.5".to_owned());
    Place::parse(uri, workspace, &variable).unwrap().unwrap()
}

fn options(workspace: &Workspace, uri: &str) -> Options {
    Options { mlflow: Some(place(workspace, uri)), ..Options::default() }
}

/// Sends the rest; true if everything arrived.
fn sync(workspace: &Workspace) -> bool {
    let parse = |uri: &str| Ok(Some(place(workspace, uri)));
    let done = track::sync(&Task::silent(), workspace, &[], None, "", &parse).unwrap();
    assert_eq!(done.len(), 1, "{done:?}");
    done[0].error.is_none()
}

fn listening() -> (Task, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let task = Task::new(1, move |event| {
        if let Event::Warning(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    (task, heard)
}

/// Every point of an event log, sorted; values as JSON text.
fn points_of(log: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    for line in files::read_text(log).unwrap().lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let Some(metrics) = line["metrics"].as_object() else { continue };
        let time = (line["time"].as_f64().unwrap() * 1000.0).round() as i64;
        for (key, value) in metrics {
            points.push((key.clone(), line["step"].as_i64().unwrap(), time, value.to_string()));
        }
    }
    points.sort();
    points
}

fn sorted(points: &[Point]) -> Vec<Point> {
    let mut points = points.to_vec();
    points.sort();
    points
}

/// Some steps of a training, a NaN and an artefact among them.
fn train(run: &Run, workspace: &Workspace, steps: std::ops::Range<i64>) {
    let sample = workspace.path("logs/anna/samples/first.wav");
    files::write(&sample, b"RIFF not really").unwrap();
    run.artifact(&sample, "samples/first.wav");
    for step in steps {
        let nan = if step == 3 { f64::NAN } else { 0.5 };
        run.metrics(step, &[("loss_mel", 30.0 / (step + 1) as f64), ("loss_kl", 0.1 + 0.2), ("grad_norm_g", nan)]);
    }
}

/// A run against a server with faults; afterwards the server must have exactly what the log has.
fn survives(fault: impl Fn(usize, &str) -> Fault + Send + Sync + 'static) {
    let (_keep, workspace) = workspace();
    let server = Server::new(fault);
    let (task, heard) = listening();
    let params = json!({ "epochs": 3, "nested": { "rate": 0.1 } });
    let run = Run::start(&task, &workspace, "anna", &params, &options(&workspace, &server.url())).unwrap();
    train(&run, &workspace, 0..500);
    run.finish("done", &json!({ "epochs": 3 }));
    let log = run.path().to_owned();
    drop(run);
    // Long-lasting faults need more than one try, as for a user.
    assert!((0..20).any(|_| sync(&workspace)), "never in sync: {heard:?}");
    assert!(sync(&workspace));
    let state = server.state();
    assert_eq!(sorted(&state.points), points_of(&log));
    assert_eq!((state.runs, state.status.as_str()), (1, "FINISHED"));
    assert_eq!(state.params["nested.rate"], "0.1");
    assert_eq!(state.artifacts["samples/first.wav"], b"RIFF not really");
    assert!(state.most_points <= 1000);
}

#[test]
fn a_server_in_order_gets_everything_once() {
    survives(|_, _| Fault::None);
}

#[test]
fn a_server_that_answers_500_for_a_while_gets_everything_once() {
    survives(|n, _| if n < 12 { Fault::Status(500) } else { Fault::None });
}

#[test]
fn a_server_that_limits_requests_gets_everything_once() {
    survives(|n, _| if n % 2 == 0 { Fault::Status(429) } else { Fault::None });
}

#[test]
fn a_server_that_fails_after_doing_the_work_gets_nothing_twice() {
    survives(|n, _| if n % 3 == 1 { Fault::StatusAfter(503) } else { Fault::None });
}

#[test]
fn a_connection_that_breaks_before_the_work_loses_nothing() {
    survives(|n, _| if n % 3 == 1 { Fault::Reset } else { Fault::None });
}

#[test]
fn a_connection_that_breaks_after_the_work_duplicates_nothing() {
    survives(|n, _| if n % 3 == 1 { Fault::ResetAfter } else { Fault::None });
}

#[test]
fn a_server_that_hangs_is_given_up_and_retried() {
    survives(|n, _| if n == 4 { Fault::Hang } else { Fault::None });
}

#[test]
#[ignore = "slow: it waits for time limits"]
fn a_server_that_hangs_after_the_work_duplicates_nothing() {
    survives(|n, path| if n > 2 && n < 9 && path.contains("log-batch") { Fault::HangAfter } else { Fault::None });
}

#[test]
fn a_captive_portal_is_not_a_server() {
    survives(|n, _| if n < 3 { Fault::Nonsense } else { Fault::None });
}

#[test]
fn requests_that_are_too_large_are_sent_in_halves() {
    // 413 for the first batches, whatever their size: down to one point each if necessary.
    survives(|n, path| if n < 9 && path.contains("log-batch") { Fault::Status(413) } else { Fault::None });
}

#[test]
fn a_run_that_was_created_without_an_answer_is_found_again() {
    survives(|n, path| if n < 6 && path.contains("runs/create") { Fault::ResetAfter } else { Fault::None });
}

#[test]
fn a_server_that_is_down_from_the_start_costs_one_warning_and_gets_all_later() {
    let (_keep, workspace) = workspace();
    let (task, heard) = listening();
    // A port that was free a moment ago.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let uri = format!("http://{nobody}");
    let run = Run::start(&task, &workspace, "anna", &json!({}), &options(&workspace, &uri)).unwrap();
    train(&run, &workspace, 0..50);
    task.cancel_flag().store(true, std::sync::atomic::Ordering::Relaxed);
    drop(run);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains("training continues"), "{heard:?}");
    // The same run, sent elsewhere: everything arrives.
    let server = Server::new(|_, _| Fault::None);
    let to = place(&workspace, &server.url());
    let done = track::sync(&Task::silent(), &workspace, &[], Some(&to), "", &|_| Ok(None)).unwrap();
    assert!(done.iter().all(|one| one.error.is_none()), "{done:?}");
    let log = track::folder(&workspace).join(format!("{}.jsonl", done[0].run));
    assert_eq!(sorted(&server.state().points), points_of(&log));
}

#[test]
fn a_resumed_training_continues_the_same_run_with_unchanged_params() {
    let (_keep, workspace) = workspace();
    let server = Server::new(|_, _| Fault::None);
    let options = options(&workspace, &server.url());
    let first = Run::open(&Task::silent(), &workspace, "anna", &json!({ "epochs": 3 }), true, &options).unwrap();
    train(&first, &workspace, 0..5);
    drop(first);
    let second =
        Run::open(&Task::silent(), &workspace, "anna", &json!({ "epochs": 9, "new": 1 }), true, &options).unwrap();
    train(&second, &workspace, 3..8);
    second.finish("done", &json!({}));
    let state = server.state();
    assert_eq!(state.runs, 1);
    assert_eq!((state.params["epochs"].as_str(), state.params["new"].as_str()), ("3", "1"));
    assert_eq!(state.tags["resumed.epochs"], "9");
    assert_eq!(sorted(&state.points), points_of(second.path()));
}

/// The options of a run that the run `parent` started.
fn below(parent: &str, options: Options) -> Options {
    let tags = json!({ track::mlflow::PARENT: parent });
    Options { tags: tags.as_object().unwrap().clone(), ..options }
}

#[test]
fn a_trial_is_nested_in_its_sweep_on_a_server() {
    let (_keep, workspace) = workspace();
    let server = Server::new(|_, _| Fault::None);
    server.state().others.push(("parent-1".into(), "p7".into()));
    let options = below("parent-1", options(&workspace, &server.url()));
    Run::start(&Task::silent(), &workspace, "t01", &json!({}), &options).unwrap().finish("done", &json!({}));
    assert!(sync(&workspace));
    let state = server.state();
    assert_eq!((state.tags["mlflow.parentRunId"].as_str(), state.tags["rvc_run.parent"].as_str()), ("p7", "parent-1"));
}

#[test]
fn a_trial_that_arrives_before_its_sweep_is_nested_later() {
    let (_keep, workspace) = workspace();
    let server = Server::new(|_, _| Fault::None);
    let options = below("parent-1", options(&workspace, &server.url()));
    let run = Run::start(&Task::silent(), &workspace, "t01", &json!({}), &options).unwrap();
    run.finish("done", &json!({}));
    drop(run);
    assert!(sync(&workspace));
    assert!(server.state().tags.contains_key("rvc_run.parent"));
    assert!(!server.state().tags.contains_key("mlflow.parentRunId"));
    server.state().others.push(("parent-1".into(), "p7".into()));
    assert!(sync(&workspace));
    assert_eq!(server.state().tags["mlflow.parentRunId"], "p7");
}

#[test]
fn a_trial_is_nested_in_its_sweep_in_a_folder() {
    let (_keep, workspace) = workspace();
    let root = workspace.path("mlruns");
    let options = options(&workspace, root.to_str().unwrap());
    let sweep = Run::start(&Task::silent(), &workspace, "sweep", &json!({}), &options).unwrap();
    let nested = below(sweep.id(), options.clone());
    Run::start(&Task::silent(), &workspace, "t01", &json!({}), &nested).unwrap().finish("done", &json!({}));
    sweep.finish("done", &json!({}));
    let id = sweep.id().to_owned();
    drop(sweep);
    let files = all_files(&root);
    let tag = |name: &str| {
        let of = |(path, text): (&String, &Vec<u8>)| {
            let run = path.strip_suffix(&format!("/tags/{name}"))?;
            Some((run.rsplit('/').next().unwrap_or(run).to_owned(), String::from_utf8_lossy(text).into_owned()))
        };
        files.iter().filter_map(of).collect::<Vec<_>>()
    };
    let parents = tag("mlflow.parentRunId");
    let sweeps: Vec<_> = tag("rvc_run.run").into_iter().filter(|(_, name)| *name == id).collect();
    assert_eq!((parents.len(), sweeps.len()), (1, 1), "{parents:?} {sweeps:?}");
    assert_eq!(parents[0].1, sweeps[0].0);
}

#[test]
fn a_moved_workspace_finds_its_artefacts_again() {
    let top = tempfile::tempdir().unwrap();
    let (old, new) = (top.path().join("old place"), top.path().join("b/new é"));
    std::fs::create_dir(&old).unwrap();
    let workspace = Workspace::new(&old);
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &options(&workspace, "")).unwrap();
    let sample = workspace.path("first.wav");
    std::fs::write(&sample, b"RIFF").unwrap();
    run.artifact(&sample, "samples/first.wav");
    run.finish("done", &json!({}));
    drop(run);
    let metas = |root: &Path| {
        let all = all_files(&root.join("tracking/mlruns"));
        all.into_iter()
            .filter(|(path, _)| path.ends_with("meta.yaml"))
            .map(|(_, text)| String::from_utf8(text).unwrap())
    };
    let before: Vec<String> = metas(&old).collect();
    assert!(before.len() == 3 && before.iter().all(|text| text.contains("old%20place")), "{before:?}");
    // MLflow's own format: no quotes; and locations that are not folders of this machine, or belong to another store.
    let foreign = [
        ("777", "artifact_location: file:///home/eva/tracking/mlruns/777\nname: eva\n", true),
        ("778", "artifact_location: mlflow-artifacts:/778\nname: server\n", false),
        ("779", "artifact_location: s3://bucket/mlruns/779\nname: cloud\n", false),
        ("780", "artifact_location: file:///somewhere/else\nname: own place\n", false),
        ("781", "artifact_location: ./mlruns/781\nname: relative\n", false),
    ];
    for (id, text, _) in &foreign {
        let folder = old.join("tracking/mlruns").join(id);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("meta.yaml"), text).unwrap();
    }
    std::fs::create_dir(new.parent().unwrap()).unwrap();
    std::fs::rename(&old, &new).unwrap();

    let workspace = Workspace::new(&new);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let task = Task::new(1, move |event| {
        if let Event::Info(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    let parse = |uri: &str| Ok(Some(place(&workspace, uri)));
    let done = track::sync(&task, &workspace, &[], None, "", &parse).unwrap();
    assert!(done.len() == 1 && done[0].error.is_none(), "{done:?}");
    assert!(!old.exists(), "nothing is sent to the old place of the workspace");
    assert!(heard.lock().unwrap().iter().any(|line| line.contains("was moved")), "{heard:?}");
    let now: Vec<String> = metas(&new).filter(|text| text.contains("new%20")).collect();
    assert_eq!(now.len(), 4, "{now:?}");
    for (id, text, moved) in foreign {
        let path = new.join("tracking/mlruns").join(id).join("meta.yaml");
        assert_eq!(std::fs::read_to_string(path).unwrap() != text, moved, "{id}");
    }
    let uri = now.iter().find_map(|text| text.lines().find_map(|line| line.strip_prefix("artifact_uri: '"))).unwrap();
    let path = uri.trim_end_matches('\'').trim_start_matches("file://").replace("%20", " ").replace("%C3%A9", "é");
    assert!(Path::new(&path).join("samples/first.wav").is_file(), "{path}");
    // Once is enough.
    heard.lock().unwrap().clear();
    track::sync(&task, &workspace, &[], None, "", &parse).unwrap();
    assert!(!heard.lock().unwrap().iter().any(|line| line.contains("was moved")));
}

#[test]
fn a_token_is_sent_and_never_written_down() {
    let (keep, workspace) = workspace();
    let server = Server::new(|_, _| Fault::None);
    let variable = |name: &str| (name == "MLFLOW_TRACKING_TOKEN").then(|| "sesame".to_owned());
    let place = Place::parse(&server.url(), &workspace, &variable).unwrap();
    let options = Options { mlflow: place, ..Options::default() };
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &options).unwrap();
    run.finish("done", &json!({}));
    drop(run);
    assert_eq!(server.state().authorization.as_deref(), Some("Bearer sesame"));
    let written = all_files(keep.path());
    assert!(written.len() > 2);
    assert!(written.values().all(|bytes| !String::from_utf8_lossy(bytes).contains("sesame")));
}

fn all_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in files::list(folder).unwrap() {
        if path.is_dir() {
            found.extend(all_files(&path));
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// The points of the one run in MLflow's folder, read as MLflow reads them.
fn folder_points(root: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    for (path, bytes) in all_files(root) {
        let Some((_, key)) = path.split_once("/metrics/") else { continue };
        for line in String::from_utf8(bytes).unwrap().lines() {
            let [time, value, step] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let value = value.parse::<f64>().unwrap();
            let value = if value.is_nan() { json!("NaN") } else { json!(value) };
            points.push((key.to_owned(), step.parse().unwrap(), time.parse().unwrap(), value.to_string()));
        }
    }
    points.sort();
    points
}

#[test]
fn the_folder_has_the_points_of_the_log_also_after_a_kill() {
    let (_keep, workspace) = workspace();
    let root = workspace.tracking().join("mlruns");
    let options = options(&workspace, "");
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({ "epochs": 3 }), &options).unwrap();
    train(&run, &workspace, 0..300);
    run.finish("done", &json!({}));
    let log = run.path().to_owned();
    drop(run);
    assert_eq!(folder_points(&root), points_of(&log));
    // What a kill and a power cut may leave: a cursor after the points, a torn line, a lost file.
    let cursor = all_files(&workspace.tracking().join("follow")).into_keys().find(|path| path.ends_with("cursor.json"));
    let cursor = cursor.unwrap();
    let saved: Value = serde_json::from_slice(&std::fs::read(&cursor).unwrap()).unwrap();
    std::fs::write(&cursor, json!({ "offset": 900, "clean": false, "state": saved["state"] }).to_string()).unwrap();
    let metrics: Vec<_> = all_files(&root).into_keys().filter(|path| path.contains("/metrics/")).collect();
    let bytes = std::fs::read(&metrics[0]).unwrap();
    std::fs::write(&metrics[0], &bytes[..bytes.len() - 7]).unwrap();
    std::fs::remove_file(&metrics[1]).unwrap();
    assert!(sync(&workspace));
    assert_eq!(folder_points(&root), points_of(&log));
}

#[test]
fn a_run_that_is_being_written_is_left_to_its_process() {
    let (_keep, workspace) = workspace();
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &options(&workspace, "")).unwrap();
    let parse = |uri: &str| Ok(Some(place(&workspace, uri)));
    let done = track::sync(&Task::silent(), &workspace, &[], None, "", &parse).unwrap();
    assert_eq!(done[0].error.as_ref().unwrap().kind(), rvc_run::Kind::Locked);
    drop(run);
}

#[test]
fn a_rejected_file_delays_no_numbers_and_arrives_later() {
    let (_keep, workspace) = workspace();
    let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = open.clone();
    let server = Server::new(move |_, path| {
        let shut = path.contains("mlflow-artifacts") && !gate.load(std::sync::atomic::Ordering::Relaxed);
        if shut { Fault::Status(403) } else { Fault::None }
    });
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &options(&workspace, &server.url())).unwrap();
    train(&run, &workspace, 0..50);
    run.end("done", &json!({}));
    let log = run.path().to_owned();
    drop(run);
    assert!(!sync(&workspace), "the file is reported missing");
    {
        let state = server.state();
        assert_eq!(sorted(&state.points), points_of(&log));
        assert_eq!((state.status.as_str(), state.artifacts.len()), ("FINISHED", 0));
    }
    open.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(sync(&workspace));
    assert_eq!(server.state().artifacts["samples/first.wav"], b"RIFF not really");
}

#[test]
fn a_replaced_file_is_not_delivered_as_the_recorded_one() {
    let (_keep, workspace) = workspace();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let task = Task::silent();
    let run =
        Run::start(&task, &workspace, "anna", &json!({}), &options(&workspace, &format!("http://{nobody}"))).unwrap();
    let file = workspace.path("models/anna.pth");
    files::write(&file, b"the first").unwrap();
    run.artifact(&file, "anna.pth");
    task.cancel_flag().store(true, std::sync::atomic::Ordering::Relaxed);
    drop(run);
    files::write(&file, b"the second").unwrap();
    let server = Server::new(|_, _| Fault::None);
    let to = place(&workspace, &server.url());
    let done = track::sync(&Task::silent(), &workspace, &[], Some(&to), "", &|_| Ok(None)).unwrap();
    let shown = done[0].error.as_ref().unwrap().to_string();
    assert!(shown.contains("anna.pth") && shown.contains("missing or changed"), "{shown}");
    assert!(server.state().artifacts.is_empty());
}

#[test]
fn a_metric_whose_name_begins_another_loses_no_point() {
    let (_keep, workspace) = workspace();
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &options(&workspace, "")).unwrap();
    run.metrics(0, &[("loss", 1.0)]);
    run.metrics(0, &[("loss/a", 2.0), ("other", 3.0)]);
    run.metrics(1, &[("loss/a", 4.0)]);
    run.finish("done", &json!({}));
    drop(run);
    let points = folder_points(&workspace.tracking().join("mlruns"));
    let named: Vec<(&str, &str)> = points.iter().map(|point| (point.0.as_str(), point.3.as_str())).collect();
    assert_eq!(named, [("loss", "1.0"), ("loss_a", "2.0"), ("loss_a", "4.0"), ("other", "3.0")]);
}

#[test]
fn a_lost_cursor_duplicates_nothing() {
    let (_keep, workspace) = workspace();
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &options(&workspace, "")).unwrap();
    train(&run, &workspace, 0..2000);
    run.finish("done", &json!({}));
    let log = run.path().to_owned();
    drop(run);
    let cursors =
        all_files(&workspace.tracking().join("follow")).into_keys().filter(|path| path.ends_with("cursor.json"));
    cursors.for_each(|cursor| std::fs::remove_file(cursor).unwrap());
    assert!(sync(&workspace));
    assert_eq!(folder_points(&workspace.tracking().join("mlruns")), points_of(&log));
}

#[test]
fn a_mistyped_address_is_not_remembered() {
    let (_keep, workspace) = workspace();
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &options(&workspace, "")).unwrap();
    run.finish("done", &json!({}));
    drop(run);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wrong = place(&workspace, &format!("http://{nobody}"));
    let done = track::sync(&Task::silent(), &workspace, &[], Some(&wrong), "", &|_| Ok(None)).unwrap();
    assert!(done[0].error.is_some());
    assert!(sync(&workspace), "only the destination that accepted the run is asked again");
}
