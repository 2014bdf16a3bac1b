//! Script interface of [`crate::track`]: the record of a run.

use super::{At, Fallible, Session, session, value};
use crate::files;
use crate::nn::runtime;
use crate::process;
use crate::report::Live;
use crate::track::mlflow;
use crate::track::{self, Options, Overview, Scored};
use crate::{Error, Kind};
use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// An open run; clones share it.
#[derive(Clone)]
pub struct Handle(Rc<Open>);

struct Open {
    run: track::Run,
    report: Live,
    session: Session,
    finished: Cell<bool>,
}

impl Handle {
    fn new(run: track::Run, session: &Session) -> Self {
        let report = Live::new(session.workspace(), run.id());
        Self(Rc::new(Open { run, report, session: session.clone(), finished: Cell::new(false) }))
    }

    pub fn run(&self) -> &track::Run {
        &self.0.run
    }

    fn finish(&self, status: &str, summary: &Value) {
        self.0.finish(status, summary, None);
    }
}

impl Open {
    /// Writes the last events and the report, then waits for everything that is still being sent.
    fn finish(&self, status: &str, summary: &Value, error: Option<&Value>) {
        self.finished.set(true);
        match error {
            None => self.run.end(status, summary),
            Some(error) => self.run.fail(error),
        }
        if let Some(path) = self.report.finish(self.session.task()) {
            self.run.artifact(&path, &place(&path, ""));
        }
        self.run.flush();
    }
}

impl Drop for Open {
    /// A run that its recipe did not finish ended with an error or a signal; the record says which.
    fn drop(&mut self) {
        if !self.finished.get() {
            let nothing = Value::Object(serde_json::Map::new());
            if self.session.task().is_cancelled() {
                self.finish("cancelled", &nothing, None);
            } else {
                self.finish("failed", &nothing, self.session.ending_error().as_ref());
            }
        }
    }
}

#[export_module]
pub mod api {
    /// The record of a run: every metric, in tracking/events/<run>.jsonl.
    pub type Run = super::Handle;

    /// Returns a new run; it is recorded as "failed" or "cancelled" unless `finish` is called.
    ///
    /// * `name`: usually the voice; `params`: the parameters of the run, such as `p` or `cfg`.
    /// * Fails with `config.value` if `name` cannot be part of a file name.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{ epochs: 500 });
    /// run.metrics(0, #{ loss_mel: 31.5 });
    /// run.finish("done");
    /// run.name.contains("anna")
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn start(ctx: NativeCallContext, name: &str, params: Map) -> Fallible<Run> {
        super::open(&ctx, name, &params, false).at(&ctx)
    }

    /// Returns the newest run with this name to continue it, or a new one if there is no such run; for a training that resumes.
    ///
    /// # Example
    /// ```rhai
    /// let first = track::start("anna", #{});
    /// first.finish("done");
    /// track::resume("anna", #{}).name == first.name
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn resume(ctx: NativeCallContext, name: &str, params: Map) -> Fallible<Run> {
        super::open(&ctx, name, &params, true).at(&ctx)
    }

    /// Records numbers measured now.
    ///
    /// * `step`: steps done in the whole training; `values`: names and numbers.
    /// * Fails with `config.value` if a value is not a number.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.metrics(12, #{ loss_mel: 31.5, learning_rate: 1e-4 });
    /// system::file_exists(run.path)
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn metrics(ctx: NativeCallContext, run: &mut Run, step: i64, values: Map) -> Fallible<()> {
        super::numbers(&values).map(|numbers| run.run().metrics(step, &numbers)).at(&ctx)
    }

    /// Records an event.
    ///
    /// * `event`: a short name; `data`: a map of plain values.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.event("skipped", #{ file: "noise.wav" });
    /// true
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn event(ctx: NativeCallContext, run: &mut Run, event: &str, data: Map) -> Fallible<()> {
        value::map_to_json(&data).map(|data| run.run().event(event, &Value::Object(data))).at(&ctx)
    }

    /// Records a file in its present state among the run's artefacts; MLflow gets a copy.
    ///
    /// * `path`: relative paths start at the workspace; `folder`: its folder among the artefacts, "" for the top.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.artifact("data/anna/a.wav", "recordings");
    /// true
    /// ```
    #[rhai_fn(global, pure, volatile)]
    pub fn artifact(ctx: NativeCallContext, run: &mut Run, path: &str, folder: &str) {
        let path = session(&ctx).workspace().path(path);
        run.run().artifact(&path, &super::place(&path, folder));
    }

    /// Records a sound (wav) or picture (png) of a step; dashboards show it beside those of other steps with the same `key`.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.media("data/anna/a.wav", "samples", "sample", 110);
    /// true
    /// ```
    #[rhai_fn(global, pure, volatile)]
    pub fn media(ctx: NativeCallContext, run: &mut Run, path: &str, folder: &str, key: &str, step: i64) {
        let path = session(&ctx).workspace().path(path);
        run.run().media(&path, &super::place(&path, folder), key, step);
    }

    /// Updates the run's report: a page in tracking/reports that opens in any browser, without a network. It is written in the background
    /// while the training continues.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.report();
    /// run.finish("done");
    /// system::file_exists(run.report_path)
    /// ```
    #[rhai_fn(global, pure, volatile)]
    pub fn report(run: &mut Run) {
        if let Some(path) = run.0.report.refresh(run.0.session.task()) {
            run.run().artifact(&path, &super::place(&path, ""));
        }
    }

    /// Returns the path of the run's report.
    ///
    /// # Example
    /// ```rhai
    /// track::start("anna", #{}).report_path.ends_with(".html")
    /// ```
    #[rhai_fn(get = "report_path", pure)]
    pub fn report_path(run: &mut Run) -> ImmutableString {
        run.0.report.path().display().to_string().into()
    }

    /// Returns the results of the run so far: `epochs`, `steps`, `train_seconds` (spent in epochs) and `warnings` of this process; of the whole
    /// run `processes`, `run_seconds` (their working time, as in the report), `run_train_seconds`, and `best` and `last`, the `epoch` with the
    /// smallest mean of `metric` and the newest epoch, each with its `value`; () before the first.
    ///
    /// * Fails with `file.read`, `file.not_found` if the record cannot be written.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.overview("loss_mel").epochs == 0 && run.overview("loss_mel").best == ()
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn overview(ctx: NativeCallContext, run: &mut Run, metric: &str) -> Fallible<Map> {
        run.run().sync();
        let record = track::read(run.run().path());
        record.map(|record| super::overview_map(&Overview::of(&record, metric))).at(&ctx)
    }

    /// Records the end of the run.
    ///
    /// * `status`: "done", or another result.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.finish("done");
    /// true
    /// ```
    #[rhai_fn(global, pure, volatile)]
    pub fn finish(run: &mut Run, status: &str) {
        run.finish(status, &Value::Object(serde_json::Map::new()));
    }

    /// Records the end of the run with a summary, a map of plain values.
    ///
    /// # Example
    /// ```rhai
    /// let run = track::start("anna", #{});
    /// run.finish("done", #{ epochs: 500 });
    /// true
    /// ```
    #[rhai_fn(global, name = "finish", pure, return_raw, volatile)]
    pub fn finish_with(ctx: NativeCallContext, run: &mut Run, status: &str, summary: Map) -> Fallible<()> {
        value::map_to_json(&summary).map(|summary| run.finish(status, &Value::Object(summary))).at(&ctx)
    }

    /// Returns the run's name: start time, name and four digits; also the name of its file.
    ///
    /// # Example
    /// ```rhai
    /// track::start("anna", #{}).name.contains("-anna-")
    /// ```
    #[rhai_fn(get = "name", pure)]
    pub fn name(run: &mut Run) -> ImmutableString {
        run.run().id().into()
    }

    /// Returns the file of the record.
    ///
    /// # Example
    /// ```rhai
    /// track::start("anna", #{}).path.ends_with(".jsonl")
    /// ```
    #[rhai_fn(get = "path", pure)]
    pub fn path(run: &mut Run) -> ImmutableString {
        run.run().path().display().to_string().into()
    }
}

fn open(ctx: &NativeCallContext, name: &str, params: &Map, resuming: bool) -> crate::Result<Handle> {
    let session = session(ctx);
    let params = Value::Object(value::map_to_json(params)?);
    let options = Options { tags: tags(&session), ..session.tracking() };
    let run = track::Run::open(session.task(), session.workspace(), name, &params, resuming, &options)?;
    let run = Handle::new(run, &session);
    record_recipe(&session, &run);
    Ok(run)
}

/// Records the text of the recipe: the file at its path may have changed by tomorrow.
fn record_recipe(session: &Session, run: &Handle) {
    if let Some(recipe) = session.recipe() {
        run.run().event("recipe", &json!({ "path": recipe.source, "text": recipe.text }));
    }
}

/// The origin of a run, for its record.
fn tags(session: &Session) -> serde_json::Map<String, Value> {
    let mut tags = serde_json::Map::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            tags.insert(key.to_owned(), value.into());
        }
    };
    let recipe = session.recipe();
    add("mlflow.source.name", session.recipe_name());
    add("mlflow.source.type", recipe.as_ref().map(|_| "LOCAL".to_owned()));
    add("rvc_run.recipe_sha256", recipe.map(|recipe| files::digest(recipe.text)));
    add("mlflow.source.git.commit", session.recipe_file().and_then(|path| git_commit(path.parent()?)));
    add("rvc_run.libtorch", runtime::libtorch_version());
    if let Some(parent) = session.child().parent {
        // The follower finds MLflow's own id for it.
        add(mlflow::PARENT, Some(parent));
    }
    tags
}

/// Time limit for git, on a slow disk.
const GIT_LIMIT: Duration = Duration::from_secs(10);

/// The commit of the folder's working tree; None if it is not one or git is missing.
fn git_commit(folder: &Path) -> Option<String> {
    let mut git = process::quiet("git");
    git.arg("-C").arg(folder).args(["rev-parse", "HEAD"]);
    let output = process::output(git, None, GIT_LIMIT, 100).ok()?;
    output.success().map(|text| text.trim().to_owned())
}

fn overview_map(overview: &Overview) -> Map {
    let scored = |scored: Option<Scored>| match scored {
        Some(Scored { epoch, value }) => {
            Dynamic::from_map([("epoch".into(), epoch.into()), ("value".into(), value.into())].into())
        }
        None => Dynamic::UNIT,
    };
    [
        ("epochs".into(), (overview.epochs as i64).into()),
        ("steps".into(), overview.steps.into()),
        ("train_seconds".into(), overview.train_seconds.into()),
        ("processes".into(), (overview.processes as i64).into()),
        ("run_seconds".into(), overview.run_seconds.into()),
        ("run_train_seconds".into(), overview.run_train_seconds.into()),
        ("warnings".into(), (overview.warnings as i64).into()),
        ("best".into(), scored(overview.best)),
        ("last".into(), scored(overview.last)),
    ]
    .into()
}

/// The folder of a file among the artefacts.
fn place(path: &Path, folder: &str) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = folder.trim_matches('/');
    if folder.is_empty() { name.into_owned() } else { format!("{folder}/{name}") }
}

fn numbers(values: &Map) -> crate::Result<Vec<(String, f64)>> {
    let number = |value: &Dynamic| value.as_float().ok().or_else(|| value.as_int().ok().map(|i| i as f64));
    let pair = |(name, value): (&_, &Dynamic)| {
        number(value).map(|x| (ToString::to_string(name), x)).ok_or_else(|| {
            let given = value::shown(value);
            Error::new(Kind::ConfigValue, format!("the metric {name} is {given}, but must be a number"))
        })
    };
    values.iter().map(pair).collect()
}
