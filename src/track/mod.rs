//! Run record: every metric of a run, once, in order, in tracking/events/<run>.jsonl.
//!
//! One line is one JSON object with `type` and `time` (Unix seconds, fixed when the value was measured, so that a later
//! replay to a server does not shift the curve) and `elapsed` (seconds since this process opened the run, from a clock
//! that never jumps):
//!
//! ```text
//! {"type":"start","time":..,"elapsed":0.0,"schema":1,"run":"20261122-213011-042-anna-9f3c","name":"anna","title":"anna 2026-11-22 22:30","params":{..}}
//! {"type":"metrics","time":..,"elapsed":..,"step":12,"metrics":{"loss_mel":31.2,"grad_norm_g":"NaN"}}
//! {"type":"event","time":..,"elapsed":..,"event":"checkpoint","data":{..}}
//! {"type":"artifact","time":..,"elapsed":..,"path":"logs/anna/samples/epoch_10.wav","to":"samples/epoch_10.wav","key":"sample","step":110,"stamp":[295724,..]}
//! {"type":"resume",..}                        the training resumed in another process
//! {"type":"finish","time":..,"elapsed":..,"status":"done","summary":{..}}
//! ```
//!
//! JSON has no NaN or infinity; they are the texts "NaN", "Infinity" and "-Infinity", as MLflow accepts them.
//! This file is the only source for MLflow, TensorBoard and the report (follow.rs).
//! A training that was killed repeats the steps after its last checkpoint: for each key and step the last line counts.

mod artifact;
mod follow;
mod log;
pub mod machine;
pub mod mlflow;
mod name;
mod overview;
mod read;
mod recorder;
mod sampler;
mod sink;
mod sync;
pub mod tensorboard;

pub use name::{name_of, title, title_of};
pub use overview::{Overview, Scored};
pub use read::{Point, Record, Session, number, read, seconds};
pub use sync::{Synced, addresses, renew_paths, sync};

use crate::error::{Error, Kind, Result};
use crate::files::{self, Workspace};
use crate::task::{self, Task};
use log::Log;
use machine::Machine;
use name::{new_id, new_title, started};
use sampler::Sampler;
use serde_json::{Map, Value, json};
use sink::Sink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Layout of the lines above.
const SCHEMA: u32 = 1;

/// The targets of a run besides its file; by default none.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub mlflow: Option<mlflow::Place>,
    /// Event files for TensorBoard, in a folder of tracking/tensorboard; see [`tensorboard::run_folder`].
    pub tensorboard: bool,
    /// MLflow's experiment; "" is [`mlflow::EXPERIMENT`].
    pub experiment: String,
    /// How often the machine is measured; None: never.
    pub system_interval: Option<Duration>,
    /// Facts about the recipe, the program and the machine, for MLflow's tags and the report.
    pub tags: Map<String, Value>,
}

/// An open run. A file that cannot be written is a warning, never an error: training continues, lines wait in memory and
/// are written as soon as the file is writable.
pub struct Run {
    sampler: Mutex<Option<Sampler>>,
    /// In the order in which the end waits for them. Declared before the log, so that they end first.
    followers: Vec<follow::Thread>,
    log: Arc<Log>,
    workspace: Workspace,
    /// Held so that the task keeps sending it events.
    _recorder: Arc<task::Sink>,
}

impl Run {
    /// A new run. Its id sorts by start time and is unique.
    ///
    /// Errors: `config.value` if `name` cannot be part of a file name.
    pub fn start(task: &Task, workspace: &Workspace, name: &str, params: &Value, options: &Options) -> Result<Self> {
        files::voice_name(name)?;
        let folder = folder(workspace);
        let (id, sink) = loop {
            let id = new_id(name);
            if let Some(sink) = Sink::create(task, folder.join(format!("{id}.jsonl"))) {
                break (id, sink);
            }
        };
        let log = Arc::new(Log::new(id, sink));
        // If the folder cannot be listed, two runs in one minute may only get the same title.
        let title = new_title(log.id(), &runs(workspace).unwrap_or_default(), &jiff::tz::TimeZone::system());
        let opening = json!({ "schema": SCHEMA, "run": log.id(), "name": name, "title": title });
        Ok(Self::begin("start", opening, task, workspace, name, log, params, options))
    }

    /// Reopens the run `id` and continues its file: for a training that resumes from a checkpoint.
    ///
    /// Errors: `file.not_found` if there is no such run.
    pub fn resume(task: &Task, workspace: &Workspace, id: &str, params: &Value, options: &Options) -> Result<Self> {
        // Only among the existing files, so that no id leads out of the folder.
        if !runs(workspace)?.iter().any(|known| known == id) {
            return Err(Error::new(Kind::NotFound, format!("there is no run {id:?}"))
                .path(folder(workspace))
                .hint("`rvc-run track list` shows the runs"));
        }
        let log = Arc::new(Log::new(id.to_owned(), Sink::append(task, log_path(workspace, id))));
        let name = name_of(id).unwrap_or(id);
        let opening = json!({ "run": log.id() });
        Ok(Self::begin("resume", opening, task, workspace, name, log, params, options))
    }

    /// If `resuming`, reopens the run in which the voice `name` is trained (see [`keep`]), or its newest; else, or without
    /// such a run, starts a new one. The simple rule for recipes: a training that resumes from a checkpoint continues the record of that
    /// training.
    pub fn open(
        task: &Task,
        workspace: &Workspace,
        name: &str,
        params: &Value,
        resuming: bool,
        options: &Options,
    ) -> Result<Self> {
        match kept(workspace, name).or_else(|| latest(workspace, name)) {
            Some(id) if resuming => Self::resume(task, workspace, &id, params, options),
            _ => Self::start(task, workspace, name, params, options),
        }
    }

    /// Writes the opening line and starts the followers of the log.
    #[expect(clippy::too_many_arguments, reason = "start and resume differ in two of them")]
    fn begin(
        kind: &str,
        mut opening: Value,
        task: &Task,
        workspace: &Workspace,
        name: &str,
        log: Arc<Log>,
        params: &Value,
        options: &Options,
    ) -> Self {
        // A card that the training does not use is irrelevant; without that information in params it is measured.
        let gpu = params["gpu"].as_bool().unwrap_or(true);
        let machine = options.system_interval.map(|interval| (Machine::new(&folder(workspace), gpu), interval));
        let mut tags = options.tags.clone();
        if let Some((machine, _)) = &machine {
            machine.tags(&mut tags);
        }
        opening["tool_version"] = env!("CARGO_PKG_VERSION").into();
        opening["tags"] = tags.into();
        opening["params"] = params.clone();
        log.line(kind, &opening);
        log.sync();
        log.sync_in_background();
        let sampler = machine.map(|(machine, interval)| Sampler::start(machine, &log, started(log.id()), interval));
        let mut followers = Vec::new();
        if options.tensorboard {
            let (folder, target) = sync::tensorboard(workspace, log.id());
            followers.extend(follow::Thread::start(task, log.path(), &folder, Box::new(target)));
        }
        if let Some(place) = &options.mlflow {
            followers.extend(sync::start(task, workspace, log.id(), name, log.path(), place, &options.experiment));
        }
        let recorder = recorder::recorder(&log);
        task.listen(&recorder);
        Self { sampler: Mutex::new(sampler), followers, log, workspace: workspace.clone(), _recorder: recorder }
    }

    pub fn id(&self) -> &str {
        self.log.id()
    }

    pub fn path(&self) -> &Path {
        self.log.path()
    }

    /// Records values measured now, at `step`.
    pub fn metrics<K: AsRef<str>>(&self, step: i64, values: &[(K, f64)]) {
        self.log.metrics(step, values);
    }

    /// Records that something happened, such as a saved checkpoint.
    pub fn event(&self, event: &str, data: &Value) {
        self.log.line("event", &json!({ "event": event, "data": data }));
    }

    /// Records the file at `path`, in its current state, as an artefact of the run, at `to`.
    pub fn artifact(&self, path: &Path, to: &str) {
        let stamp = artifact::stamp(path);
        self.log.line("artifact", &json!({ "path": self.relative(path), "to": to, "stamp": stamp }));
    }

    /// Records a sound or picture of `step`, which dashboards show beside those of other steps under the name `key`.
    pub fn media(&self, path: &Path, to: &str, key: &str, step: i64) {
        let stamp = artifact::stamp(path);
        let line = json!({ "path": self.relative(path), "to": to, "key": key, "step": step, "stamp": stamp });
        self.log.line("artifact", &line);
    }

    /// Paths in the workspace are written relative to it, so that it can be moved.
    fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.workspace.root()).unwrap_or(path);
        path.display().to_string()
    }

    /// Records the end ("done", "failed", "cancelled") and makes the file durable. More lines may follow: for a file that is finished
    /// later, or a later training with more epochs.
    pub fn end(&self, status: &str, summary: &Value) {
        self.last_line(&json!({ "status": status, "summary": summary }));
    }

    /// [`Run::end`] of a run that an error ended: an object with `code`, `message` and `hint`.
    pub fn fail(&self, error: &Value) {
        self.last_line(&json!({ "status": FAILED, "summary": {}, "error": error }));
    }

    fn last_line(&self, content: &Value) {
        if let Some(sampler) = self.sampler().as_mut() {
            sampler.stop();
        }
        self.log.line("finish", content);
        self.sync();
    }

    /// Waits, with a time limit, until every target has everything.
    pub fn flush(&self) {
        self.sync();
        for follower in &self.followers {
            follower.flush();
        }
    }

    /// [`Run::end`], then [`Run::flush`].
    pub fn finish(&self, status: &str, summary: &Value) {
        self.end(status, summary);
        self.flush();
    }

    /// The energy that the GPUs have used since this process opened the run, in joules; None without a GPU that reports it.
    pub fn gpu_energy(&self) -> Option<f64> {
        self.sampler().as_ref().and_then(Sampler::gpu_energy)
    }

    fn sampler(&self) -> MutexGuard<'_, Option<Sampler>> {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything recorded so far durable.
    pub fn sync(&self) {
        self.log.sync();
    }
}

/// The folder of the event logs: tracking/events.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tracking().join("events")
}

/// The status of a run that an error ended.
const FAILED: &str = "failed";

/// The metric that numbers the epochs, at the last step of each.
pub const EPOCH: &str = "epoch/number";

/// The file in logs/<voice> that names the run in which the voice is trained.
const RUN_FILE: &str = "run.txt";

/// Notes in logs/<voice> that the voice is trained in this run, so that a resumed training continues the run.
///
/// Errors: `file.write`, `file.disk_full`.
pub fn keep(logs: &Path, run: &str) -> Result<()> {
    files::write(&logs.join(RUN_FILE), run)
}

/// The run in which the voice `name` is trained, if that was noted and the run exists.
fn kept(workspace: &Workspace, name: &str) -> Option<String> {
    let id = files::read_text(&workspace.logs(name).ok()?.join(RUN_FILE)).ok()?;
    runs(workspace).ok()?.into_iter().find(|known| known == id.trim())
}

/// The file of a run.
pub fn log_path(workspace: &Workspace, id: &str) -> PathBuf {
    folder(workspace).join(format!("{id}.jsonl"))
}

/// The ids of all recorded runs, the oldest first.
///
/// Errors: `file.read`.
pub fn runs(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = folder(workspace);
    let paths = if folder.is_dir() { files::list(&folder)? } else { Vec::new() };
    let logs = paths.iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl") && !path.is_dir());
    Ok(logs.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}

/// The id of the newest run of `name`, if there is one.
pub fn latest(workspace: &Workspace, name: &str) -> Option<String> {
    runs(workspace).ok()?.into_iter().rev().find(|id| name_of(id) == Some(name))
}
