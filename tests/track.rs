//! The run record: complete, ordered, readable after a kill, and never a reason to stop training.

use rvc_run::Kind;
use rvc_run::files::{self, Workspace};
use rvc_run::task::{Event, Task};
use rvc_run::track::{self, Options, Run};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn workspace() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path());
    (folder, workspace)
}

/// A task that keeps its warnings and infos.
fn listening() -> (Task, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let task = Task::new(1, move |event| match event {
        Event::Warning(text) => ear.lock().unwrap().push(format!("warning: {text}")),
        Event::Info(text) => ear.lock().unwrap().push(format!("info: {text}")),
        _ => {}
    });
    (task, heard)
}

fn lines(path: &std::path::Path) -> Vec<Value> {
    files::read_text(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_line_is_an_object_with_type_time_and_elapsed() {
    let (_keep, workspace) = workspace();
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({ "epochs": 3 }), &Options::default()).unwrap();
    run.metrics(7, &[("loss_mel", 31.25), ("learning_rate", 1e-4)]);
    run.event("checkpoint", &json!({ "epoch": 1 }));
    run.finish("done", &json!({ "epochs": 3 }));
    let lines = lines(run.path());
    let types: Vec<_> = lines.iter().map(|l| l["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["start", "metrics", "event", "finish"]);
    assert!(lines.iter().all(|l| l["time"].as_f64().unwrap() > 1.7e9 && l["elapsed"].as_f64().unwrap() >= 0.0));
    assert_eq!(lines[0]["params"]["epochs"], 3);
    assert_eq!(lines[1]["step"], 7);
    assert_eq!(lines[1]["metrics"]["loss_mel"], 31.25);
}

#[test]
fn a_password_in_an_address_is_not_recorded() {
    let (_keep, workspace) = workspace();
    let task = Task::silent();
    let params = json!({ "urls": ["http://anna:hunter2@host/a.wav"], "of": { "uri": "https://anna: hunter2@host" } });
    let run = Run::start(&task, &workspace, "anna", &params, &Options::default()).unwrap();
    run.event("failed", &json!({ "text": "cannot read \"http://anna:hunter2@host/a.wav\"" }));
    task.warn("http://anna:hunter2@host/a.wav does not answer");
    run.finish("failed", &json!({ "link": "http://anna:hunter2@host/a.wav" }));
    let text = files::read_text(run.path()).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.matches("://***@host").count(), 5, "{text}");
}

#[test]
fn values_that_are_not_finite_survive_the_round_trip() {
    let (_keep, workspace) = workspace();
    let run = Run::start(&Task::silent(), &workspace, "anna", &json!({}), &Options::default()).unwrap();
    run.metrics(0, &[("a", f64::NAN), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY), ("d", 0.1 + 0.2)]);
    let text = files::read_text(run.path()).unwrap();
    assert!(text.contains(r#""a":"NaN","b":"Infinity","c":"-Infinity""#), "{text}");
    let record = track::read(run.path()).unwrap();
    assert!(record.metrics["a"][&0].value.is_nan());
    assert_eq!(record.metrics["b"][&0].value.to_bits(), f64::INFINITY.to_bits());
    assert_eq!(record.metrics["c"][&0].value.to_bits(), f64::NEG_INFINITY.to_bits());
    assert_eq!(record.metrics["d"][&0].value.to_bits(), (0.1f64 + 0.2).to_bits());
}

#[test]
fn run_ids_are_unique_and_sort_by_start() {
    let (_keep, workspace) = workspace();
    let ids: Vec<String> = (0..50)
        .map(|_| {
            Run::start(&Task::silent(), &workspace, "anna", &json!({}), &Options::default()).unwrap().id().to_owned()
        })
        .collect();
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 50);
    // Starts within one millisecond share their time; the rest of the id then decides.
    let times = |ids: &[String]| ids.iter().map(|id| id[..19].to_owned()).collect::<Vec<_>>();
    assert_eq!(times(&ids), times(&unique));
}

#[test]
fn latest_finds_the_newest_run_of_exactly_this_name() {
    let (_keep, workspace) = workspace();
    let start = |name: &str| {
        Run::start(&Task::silent(), &workspace, name, &json!({}), &Options::default()).unwrap().id().to_owned()
    };
    start("anna");
    let newest = start("anna-b-2");
    start("anna-b");
    assert_eq!(track::latest(&workspace, "anna-b-2"), Some(newest));
    assert_eq!(track::latest(&workspace, "b"), None);
}

#[test]
fn a_resumed_training_continues_the_same_file() {
    let (_keep, workspace) = workspace();
    let task = Task::silent();
    let first = Run::open(&task, &workspace, "anna", &json!({}), true, &Options::default()).unwrap();
    first.metrics(0, &[("loss", 3.0)]);
    first.metrics(1, &[("loss", 2.0)]);
    let id = first.id().to_owned();
    drop(first);
    let second = Run::open(&task, &workspace, "anna", &json!({}), true, &Options::default()).unwrap();
    assert_eq!(second.id(), id);
    second.metrics(1, &[("loss", 2.5)]);
    second.metrics(2, &[("loss", 1.0)]);
    let record = track::read(second.path()).unwrap();
    let loss: Vec<_> = record.metrics["loss"].iter().map(|(step, p)| (*step, p.value)).collect();
    // Step 1 was repeated: its last value counts.
    assert_eq!(loss, [(0, 3.0), (1, 2.5), (2, 1.0)]);
    assert_eq!(record.status, None);
    let fresh = Run::open(&task, &workspace, "anna", &json!({}), false, &Options::default()).unwrap();
    assert_ne!(fresh.id(), id);
}

#[test]
fn a_line_torn_by_a_kill_costs_only_itself() {
    let (_keep, workspace) = workspace();
    let task = Task::silent();
    let run = Run::start(&task, &workspace, "anna", &json!({}), &Options::default()).unwrap();
    run.metrics(0, &[("loss", 3.0)]);
    run.metrics(1, &[("loss", 2.0)]);
    let (id, path) = (run.id().to_owned(), run.path().to_owned());
    drop(run);
    let bytes = files::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let run = Run::resume(&task, &workspace, &id, &json!({}), &Options::default()).unwrap();
    run.metrics(1, &[("loss", 2.0)]);
    let record = track::read(&path).unwrap();
    assert_eq!(record.damaged, 1);
    assert_eq!(record.metrics["loss"].len(), 2);
}

#[test]
fn a_folder_that_cannot_be_made_is_one_warning_and_the_lines_arrive_later() {
    let (_keep, workspace) = workspace();
    let (task, heard) = listening();
    // A file where the folder should be stands for a full or read-only disk, and works as root.
    std::fs::write(workspace.tracking(), "in the way").unwrap();
    let run = Run::start(&task, &workspace, "anna", &json!({}), &Options::default()).unwrap();
    for step in 0..10 {
        run.metrics(step, &[("loss", 1.0)]);
    }
    assert_eq!(heard.lock().unwrap().len(), 1, "{heard:?}");
    assert!(heard.lock().unwrap()[0].starts_with("warning: cannot write"), "{heard:?}");
    std::fs::remove_file(workspace.tracking()).unwrap();
    run.finish("done", &json!({}));
    let record = track::read(run.path()).unwrap();
    assert_eq!((record.metrics["loss"].len(), record.status.as_deref()), (10, Some("done")));
    assert!(heard.lock().unwrap()[1].contains("can be written again"), "{heard:?}");
}

#[test]
fn resuming_a_missing_run_is_an_error() {
    let (_keep, workspace) = workspace();
    let error = Run::resume(&Task::silent(), &workspace, "nothing", &json!({}), &Options::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_name_that_would_leave_the_folder_is_refused() {
    let (_keep, workspace) = workspace();
    for name in ["../x", "a/b", ""] {
        let error = Run::start(&Task::silent(), &workspace, name, &json!({}), &Options::default()).err().unwrap();
        assert_eq!(error.kind(), Kind::ConfigValue);
    }
    assert!(!workspace.tracking().exists());
}

#[test]
fn a_training_continues_the_run_that_its_folder_names() {
    let (_keep, workspace) = workspace();
    let open = |resuming| {
        let run = Run::open(&Task::silent(), &workspace, "anna", &json!({}), resuming, &Options::default()).unwrap();
        run.id().to_owned()
    };
    let trained = open(false);
    track::keep(&workspace.logs("anna").unwrap(), &trained).unwrap();
    // A run that ended before it trained anything, such as one with --fresh that was stopped while slicing.
    let stopped = open(false);
    assert_ne!(stopped, trained);
    assert_eq!(open(true), trained);
    std::fs::remove_file(track::log_path(&workspace, &trained)).unwrap();
    assert_eq!(open(true), stopped, "a missing record is not continued");
}

#[test]
fn a_run_has_a_title_and_a_second_of_the_same_minute_another() {
    let (_keep, workspace) = workspace();
    let start = |name: &str| {
        let run = Run::start(&Task::silent(), &workspace, name, &json!({}), &Options::default()).unwrap();
        (lines(run.path())[0]["title"].as_str().unwrap().to_owned(), run.id().to_owned())
    };
    let names = ["anna", "anna", "anna", "安娜 zwei", "a-b", "ä'b&c", "-x"];
    let started: Vec<_> = names.map(start).into();
    for ((title, id), name) in started.iter().zip(names) {
        let rest = title.strip_prefix(&format!("{name} 20")).unwrap_or_else(|| panic!("{title}"));
        assert!(rest.len() >= "26-11-30 10:50".len() && rest.contains(':'), "{title}");
        assert_eq!((track::title_of(&workspace, id), track::name_of(id)), (title.clone(), Some(name)));
    }
    let mut titles: Vec<&String> = started.iter().map(|(title, _)| title).collect();
    titles.sort();
    titles.dedup();
    assert_eq!(titles.len(), names.len(), "{titles:?}");
}

#[test]
fn a_run_of_a_long_name_is_resumed() {
    let (_keep, workspace) = workspace();
    let name = "x".repeat(100);
    let open = |resuming| {
        let run = Run::open(&Task::silent(), &workspace, &name, &json!({}), resuming, &Options::default()).unwrap();
        run.id().to_owned()
    };
    assert_eq!(open(false), open(true));
}

#[test]
fn impossible_times_count_as_damage_and_change_no_duration() {
    let (_keep, workspace) = workspace();
    let path = workspace.path("log.jsonl");
    let lines = [
        r#"{"type":"start","time":1e300,"elapsed":0.0,"name":"anna","params":{"epochs":3}}"#,
        r#"{"type":"event","time":1795383011.0,"elapsed":2.0,"event":"stage","data":{"seconds":1.0}}"#,
        r#"{"type":"event","time":18446744073709551616,"elapsed":3.0,"event":"stage","data":{"seconds":1e308}}"#,
        r#"{"type":"event","time":1795383012.0,"elapsed":1e308,"event":"epoch","data":{"steps":9223372036854775807,"seconds":1e300}}"#,
        r#"{"type":"event","time":1795383012.0,"elapsed":4.0,"event":"epoch","data":{"steps":9223372036854775807,"seconds":1.0}}"#,
        r#"{"type":"metrics","time":-5.0,"elapsed":4.0,"step":1,"metrics":{"loss_mel":1.0}}"#,
        r#"{"type":"metrics","time":1795383013.0,"elapsed":-1.0,"step":1,"metrics":{"loss_mel":1.0}}"#,
        r#"{"type":"metrics","time":1795383013.0,"elapsed":1e999,"step":1,"metrics":{"loss_mel":1.0}}"#,
        r#"{"type":"metrics","time":1795383013.0,"elapsed":5.0,"step":9223372036854775807,"metrics":{"loss_mel":1.0}}"#,
    ];
    files::write(&path, lines.join("\n")).unwrap();
    let record = track::read(&path).unwrap();
    assert_eq!(record.damaged, 6);
    assert_eq!((record.start["name"].as_str(), record.events.len()), (Some("anna"), 4), "what they say counts");
    assert_eq!((record.seconds(), record.sessions[0].time), (5.0, (1_795_383_011.0, 1_795_383_013.0)));
    assert_eq!(record.metrics["loss_mel"].keys().copied().collect::<Vec<_>>(), [i64::MAX]);
    let overview = track::Overview::of(&record, "loss_mel");
    assert_eq!((overview.steps, overview.train_seconds), (i64::MAX, 1.0));
}
