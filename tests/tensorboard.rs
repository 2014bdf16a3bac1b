//! TensorBoard: TensorBoard's own readers find everything that a run measured, once, also after kills; needs a Python with
//! tensorboard (tests/support/python_with_torch.py). What needs none is tested in src/track/tensorboard.rs.

use crate::support::python;
use base64::Engine;
use rvc_run::files::{self, Workspace};
use rvc_run::task::{Event, Task};
use rvc_run::track::{self, Options, Run, tensorboard};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// 3 x 2 pixels.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAHElEQVR42mNgYGhgsGlgqGhgCGBoCLBpCKhoAAAr9AVZf2h29QAAAABJRU5ErkJggg==";
const SAMPLE_RATE: u32 = 40000;

fn workspace() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path());
    (folder, workspace)
}

fn options() -> Options {
    Options { tensorboard: true, ..Options::default() }
}

fn start(workspace: &Workspace) -> Run {
    Run::start(&Task::silent(), workspace, "anna", &json!({}), &options()).unwrap()
}

fn resume(workspace: &Workspace, id: &str) -> Run {
    Run::resume(&Task::silent(), workspace, id, &json!({}), &options()).unwrap()
}

/// Some steps of a training, and what is measured beside it, whose steps are seconds: here those from `second` on.
fn train(run: &Run, steps: std::ops::Range<i64>, second: i64) {
    for (second, step) in (second..).zip(steps) {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][step as usize % 3];
        let loss = 30.0 / (step + 1) as f64;
        run.metrics(
            step,
            &[("loss_mel", loss), ("loss_gen", 0.1 + 0.2), ("grad_norm_g", odd), ("learning_rate", 1e-4)],
        );
        run.metrics(second, &[("system/cpu_utilization_percentage", second as f64)]);
    }
}

fn picture(run: &Run, workspace: &Workspace, step: i64) -> PathBuf {
    let path = workspace.path(format!("logs/anna/pictures/{step}.png"));
    files::write(&path, base64::engine::general_purpose::STANDARD.decode(PNG).unwrap()).unwrap();
    run.media(&path, &format!("pictures/{step}.png"), "slice/mel_gen", step);
    path
}

fn sound(run: &Run, workspace: &Workspace, step: i64) -> PathBuf {
    let path = workspace.path(format!("logs/anna/samples/{step}.wav"));
    files::create_folder(path.parent().unwrap()).unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    (0..400 + step as i16).for_each(|i| writer.write_sample(i * 50).unwrap());
    writer.finalize().unwrap();
    run.media(&path, &format!("samples/{step}.wav"), "sample", step);
    path
}

/// What TensorBoard finds in the run; none without a Python that has it.
fn found(workspace: &Workspace, id: &str) -> Option<Value> {
    let python = python::with_tensorboard()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tensorboard_dump.py");
    let output = Command::new(python).arg(script).arg(workspace.tracking().join("tensorboard")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut runs: Value = serde_json::from_slice(&output.stdout).unwrap();
    // TensorBoard calls a run as its folder is called.
    let name = track::title_of(workspace, id).replace(':', ".");
    assert_eq!(runs.as_object().unwrap().keys().collect::<Vec<_>>(), [&name]);
    Some(runs[name].take())
}

/// The same as TensorBoard should find it: tag -> [[step, seconds, value]]; the last value of a step counts.
fn points_of(log: &Path) -> Value {
    let mut points: BTreeMap<&str, BTreeMap<i64, Value>> = BTreeMap::new();
    let text = files::read_text(log).unwrap();
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for line in lines.iter().filter(|line| line["type"] == "metrics") {
        for (key, value) in line["metrics"].as_object().unwrap() {
            let tag = match key.as_str() {
                "loss_mel" => "loss/g/mel",
                "loss_gen" => "loss/g/total",
                other => other,
            };
            let step = line["step"].as_i64().unwrap();
            let value = value.as_f64().map_or_else(|| value.clone(), |value| json!(f64::from(value as f32)));
            points.entry(tag).or_default().insert(step, json!([step, line["time"], value]));
        }
    }
    json!(
        points.into_iter().map(|(tag, of_tag)| (tag, of_tag.into_values().collect())).collect::<BTreeMap<_, Vec<_>>>()
    )
}

/// Fails unless both readers find the points of the log, and nothing else.
#[track_caller]
fn assert_same_points(found: &Value, log: &Path) {
    let expected = points_of(log);
    let tags = |points: &Value| points.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert!(tags(&expected).len() >= 5);
    for reader in ["points", "server_points"] {
        assert_eq!(tags(&found[reader]), tags(&expected), "{reader}");
        for (tag, points) in expected.as_object().unwrap() {
            assert_eq!(found[reader][tag].to_string(), points.to_string(), "{reader} of {tag}");
        }
    }
}

/// The newest event file of the run.
fn newest(workspace: &Workspace, id: &str) -> PathBuf {
    files::list(&tensorboard::run_folder(workspace, id)).unwrap().pop().unwrap()
}

#[test]
fn tensorboard_finds_the_points_pictures_and_sounds_of_the_log() {
    let (_keep, workspace) = workspace();
    let run = start(&workspace);
    train(&run, 0..40, 0);
    let (picture, sound) = (picture(&run, &workspace, 20), sound(&run, &workspace, 39));
    train(&run, 40..50, 40);
    run.finish("done", &json!({}));
    let Some(found) = found(&workspace, run.id()) else { return };
    assert_same_points(&found, run.path());
    assert_eq!(found["points"]["grad_norm_g"][1][2], "Infinity");
    let record = track::read(run.path()).unwrap();
    let times: Vec<&Value> = record.events.iter().map(|line| &line["time"]).collect();
    let digest = |path: &Path| files::digest(files::read(path).unwrap());
    let pictures = json!({ "slice/mel_gen": [[20, times[0], 3, 2, digest(&picture)]] });
    assert_eq!(found["images"], pictures);
    let rate = f64::from(SAMPLE_RATE);
    let sounds = json!({ "sample": [[39, times[1], rate, 439, "audio/wav", digest(&sound)]] });
    assert_eq!(found["sounds"], sounds);
}

#[test]
fn repeated_steps_count_once_after_a_kill_that_tore_the_file() {
    let (_keep, workspace) = workspace();
    let run = start(&workspace);
    let id = run.id().to_owned();
    train(&run, 0..30, 0);
    sound(&run, &workspace, 29);
    run.finish("failed", &json!({}));
    drop(run);
    // What a kill may leave: a cursor behind the points, half a record.
    let cursor = workspace.tracking().join("follow").join(&id).join("tensorboard/cursor.json");
    let mut saved: Value = serde_json::from_slice(&files::read(&cursor).unwrap()).unwrap();
    (saved["clean"], saved["offset"]) = (json!(false), json!(900));
    files::write(&cursor, saved.to_string()).unwrap();
    let torn = newest(&workspace, &id);
    let bytes = files::read(&torn).unwrap();
    files::write(&torn, &bytes[..bytes.len() - 40]).unwrap();
    // The training continues at its last checkpoint; it is killed at once, and its cursor is lost.
    for (steps, second, lost) in [(20..35, 40, true), (34..45, 60, false)] {
        let run = resume(&workspace, &id);
        run.metrics(steps.start, &[("index_n", 1000.0)]);
        train(&run, steps.clone(), second);
        sound(&run, &workspace, steps.end - 1);
        run.finish("done", &json!({}));
        drop(run);
        if lost {
            files::remove(&cursor).unwrap();
        }
    }
    let log = track::folder(&workspace).join(format!("{id}.jsonl"));
    let Some(found) = found(&workspace, &id) else { return };
    assert_same_points(&found, &log);
    let steps = found["sounds"]["sample"].as_array().unwrap().iter().map(|sound| sound[0].as_i64().unwrap());
    // The sound of step 29 belongs to the steps that were repeated without one, that of 34 to a step that was repeated.
    assert_eq!(steps.collect::<Vec<_>>(), [44]);
    assert_eq!(files::list(&tensorboard::run_folder(&workspace, &id)).unwrap().len(), 3);
}

#[test]
fn a_run_that_is_lost_is_written_again() {
    let (_keep, workspace) = workspace();
    let run = start(&workspace);
    let id = run.id().to_owned();
    train(&run, 0..800, 0);
    run.finish("done", &json!({}));
    drop(run);
    std::fs::remove_dir_all(workspace.tracking().join("tensorboard")).unwrap();
    let run = resume(&workspace, &id);
    train(&run, 800..810, 900);
    run.finish("done", &json!({}));
    let Some(found) = found(&workspace, &id) else { return };
    assert_same_points(&found, run.path());
}

#[test]
fn a_folder_that_cannot_be_written_costs_a_warning_and_no_point() {
    let (_keep, workspace) = workspace();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let task = Task::new(1, move |event| {
        if let Event::Warning(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    let in_the_way = workspace.tracking().join("tensorboard");
    files::write(&in_the_way, "a file where the folder belongs").unwrap();
    let run = Run::start(&task, &workspace, "anna", &json!({}), &options()).unwrap();
    let id = run.id().to_owned();
    train(&run, 0..10, 0);
    run.finish("done", &json!({}));
    drop(run);
    let heard = heard.lock().unwrap();
    assert!(heard.len() == 1 && heard[0].contains("TensorBoard"), "{heard:?}");
    files::remove(&in_the_way).unwrap();
    let run = resume(&workspace, &id);
    run.finish("done", &json!({}));
    let Some(found) = found(&workspace, &id) else { return };
    assert_same_points(&found, run.path());
}

#[test]
fn a_folder_of_an_older_version_continues_under_its_name() {
    let (_keep, workspace) = workspace();
    let run = start(&workspace);
    let id = run.id().to_owned();
    train(&run, 0..5, 0);
    run.finish("done", &json!({}));
    drop(run);
    let (new, old) = (tensorboard::run_folder(&workspace, &id), workspace.tracking().join("tensorboard").join(&id));
    assert_ne!(new, old);
    std::fs::rename(&new, &old).unwrap();
    let run = resume(&workspace, &id);
    train(&run, 5..9, 10);
    run.finish("done", &json!({}));
    drop(run);
    assert_eq!((tensorboard::run_folder(&workspace, &id), files::list(&old).unwrap().len()), (old.clone(), 2));
    assert!(!new.exists());
}
