//! Run record: every metric of a run, once, in order, in tracking/events/<run>.jsonl.
//!
//! One line is one JSON object with `type` and `time` (Unix seconds, fixed when the value was measured, so that a later
//! replay to a server does not shift the curve) and `elapsed` (seconds since this process opened the run, from a clock
//! that never jumps):
//!
//! ```text
//! {"type":"start","time":..,"elapsed":0.0,"schema":1,"run":"20261122-213011-042-anna-9f3c","name":"anna","params":{..}}
//! {"type":"metrics","time":..,"elapsed":..,"step":12,"metrics":{"loss_mel":31.2,"grad_norm_g":"NaN"}}
//! {"type":"event","time":..,"elapsed":..,"event":"checkpoint","data":{..}}
//! {"type":"resume",..}                        the training went on in another process
//! {"type":"finish","time":..,"elapsed":..,"status":"done","summary":{..}}
//! ```
//!
//! JSON has no NaN or infinity; they are the texts "NaN", "Infinity" and "-Infinity", as MLflow takes them.
//! A training that was killed repeats the steps after its last checkpoint: for one key and step the last line counts.

mod read;
mod sink;

pub use read::{Point, Record, read};

use crate::error::{Error, Kind, Result};
use crate::files::{self, Workspace};
use crate::task::Task;
use serde_json::{Map, Value, json};
use sink::Sink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Layout of the lines above.
const SCHEMA: u32 = 1;

/// An open run. A file that cannot be written is a warning, never an error: training goes on, lines wait in memory and
/// are written as soon as the file takes them.
pub struct Run {
    id: String,
    path: PathBuf,
    started: Instant,
    sink: Mutex<Sink>,
}

impl Run {
    /// A new run. Its id sorts by start time and is unique.
    ///
    /// Errors: `config.value` if `name` cannot be part of a file name.
    pub fn start(task: &Task, workspace: &Workspace, name: &str, params: &Value) -> Result<Self> {
        files::voice_name(name)?;
        let folder = folder(workspace);
        let (id, sink) = loop {
            let id = new_id(name);
            if let Some(sink) = Sink::create(task, folder.join(format!("{id}.jsonl"))) {
                break (id, sink);
            }
        };
        let run = Self::new(id, sink);
        run.line(
            "start",
            &json!({ "schema": SCHEMA, "run": run.id, "name": name, "tool_version": env!("CARGO_PKG_VERSION"), "params": params }),
        );
        run.sync();
        Ok(run)
    }

    /// The run `id` again, its file continued: for a training that goes on from a checkpoint.
    ///
    /// Errors: `file.not_found` if there is no such run.
    pub fn resume(task: &Task, workspace: &Workspace, id: &str, params: &Value) -> Result<Self> {
        let path = folder(workspace).join(format!("{}.jsonl", files::voice_name(id)?));
        if !path.is_file() {
            return Err(Error::new(Kind::NotFound, format!("there is no run {id:?}"))
                .path(&path)
                .hint("run ids are the file names in tracking/events"));
        }
        let run = Self::new(id.to_owned(), Sink::append(task, path));
        run.line("resume", &json!({ "run": run.id, "tool_version": env!("CARGO_PKG_VERSION"), "params": params }));
        run.sync();
        Ok(run)
    }

    /// The newest run of `name` again if `resuming` and there is one, else a new run. The simple rule for recipes: a
    /// training that resumes from a checkpoint continues the record of the training it resumes.
    pub fn open(task: &Task, workspace: &Workspace, name: &str, params: &Value, resuming: bool) -> Result<Self> {
        match latest(workspace, name) {
            Some(id) if resuming => Self::resume(task, workspace, &id, params),
            _ => Self::start(task, workspace, name, params),
        }
    }

    fn new(id: String, sink: Sink) -> Self {
        Self { id, path: sink.path().to_owned(), started: Instant::now(), sink: Mutex::new(sink) }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records values measured now, at `step`.
    pub fn metrics<K: AsRef<str>>(&self, step: i64, values: &[(K, f64)]) {
        let metrics: Map<String, Value> =
            values.iter().map(|(key, value)| (key.as_ref().to_owned(), number(*value))).collect();
        self.line("metrics", &json!({ "step": step, "metrics": metrics }));
    }

    /// Records that something happened, such as a saved checkpoint.
    pub fn event(&self, event: &str, data: &Value) {
        self.line("event", &json!({ "event": event, "data": data }));
    }

    /// Records the end ("done", "failed", "cancelled") and makes the file durable. More lines may follow a finish: a
    /// later training with more epochs continues the run.
    pub fn finish(&self, status: &str, summary: &Value) {
        self.line("finish", &json!({ "status": status, "summary": summary }));
        self.sync();
    }

    /// Makes everything recorded so far durable.
    pub fn sync(&self) {
        self.sink().sync();
    }

    fn line(&self, kind: &str, fields: &Value) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut line =
            json!({ "type": kind, "time": round_ms(time), "elapsed": round_ms(self.started.elapsed().as_secs_f64()) });
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
            line.extend(fields.clone());
        }
        self.sink().write(&line.to_string());
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        // A panic while a line was queued leaves at worst that one line out.
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of the event logs: tracking/events.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tracking().join("events")
}

/// The id of the newest run of `name`, if there is one.
pub fn latest(workspace: &Workspace, name: &str) -> Option<String> {
    let runs = files::list(&folder(workspace)).ok()?;
    let ids = runs.iter().rev().filter(|path| path.extension().is_some_and(|e| e == "jsonl"));
    ids.filter_map(|path| path.file_stem()?.to_str()).find(|id| name_of(id) == Some(name)).map(str::to_owned)
}

/// "20261122-213011-042-anna-9f3c": UTC start time to the millisecond, name, and four digits against two starts in one.
fn new_id(name: &str) -> String {
    let now = jiff::Timestamp::now();
    let unique = files::digest(format!("{name} {} {now:?} {:?}", std::process::id(), Instant::now()));
    format!("{}-{:03}-{name}-{}", now.strftime("%Y%m%d-%H%M%S"), now.subsec_millisecond(), &unique[..4])
}

fn name_of(id: &str) -> Option<&str> {
    let (_, rest) = id.split_at_checked("20261122-213011-042-".len())?;
    rest.rsplit_once('-').map(|(name, _)| name)
}

fn number(value: f64) -> Value {
    if value.is_nan() {
        Value::from("NaN")
    } else if value.is_infinite() {
        Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        Value::from(value)
    }
}

fn round_ms(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
