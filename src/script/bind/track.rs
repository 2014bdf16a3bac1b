//! Script face of [`crate::track`]: the record of a run.

use super::{At, Fallible, session, value};
use crate::task::Task;
use crate::{Error, Kind};
use rhai::plugin::*;
use rhai::{Dynamic, ImmutableString, Map, NativeCallContext};
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;

/// An open run; clones are the same run.
#[derive(Clone)]
pub struct Handle(Rc<Open>);

struct Open {
    run: crate::track::Run,
    task: Task,
    finished: Cell<bool>,
}

impl Handle {
    fn new(run: crate::track::Run, task: &Task) -> Self {
        Self(Rc::new(Open { run, task: task.clone(), finished: Cell::new(false) }))
    }

    pub fn run(&self) -> &crate::track::Run {
        &self.0.run
    }

    fn finish(&self, status: &str, summary: &Value) {
        self.0.finished.set(true);
        self.0.run.finish(status, summary);
    }
}

impl Drop for Open {
    /// A run that its recipe did not finish ended by an error or a signal; the record says which.
    fn drop(&mut self) {
        if !self.finished.get() {
            let status = if self.task.is_cancelled() { "cancelled" } else { "failed" };
            self.run.finish(status, &Value::Object(serde_json::Map::new()));
        }
    }
}

#[export_module]
pub mod api {
    /// The record of a run: every metric, in tracking/events/<run>.jsonl.
    pub type Run = super::Handle;

    /// Returns a new run; it is recorded as "failed" or "cancelled" unless `finish` is called.
    ///
    /// * `name`: usually the voice; `params`: what the run was started with, such as `p` or `cfg`.
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

    /// Returns the newest run of that name to be continued, or a new one if there is none; for a training that resumes.
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
    /// * Fails with `config.value` if a value is no number.
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

    /// Records that something happened.
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

    /// Records the end of the run.
    ///
    /// * `status`: "done", or what else became of it.
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

    /// Returns the run's name: start time, name and four digits; the name of its file.
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
    let run = crate::track::Run::open(session.task(), session.workspace(), name, &params, resuming)?;
    Ok(Handle::new(run, session.task()))
}

fn numbers(values: &Map) -> crate::Result<Vec<(String, f64)>> {
    let number = |value: &Dynamic| value.as_float().ok().or_else(|| value.as_int().ok().map(|i| i as f64));
    let pair = |(name, value): (&_, &Dynamic)| match number(value) {
        Some(x) => Ok((ToString::to_string(name), x)),
        None => Err(Error::new(Kind::ConfigValue, format!("the metric {name} is {value}, but must be a number"))),
    };
    values.iter().map(pair).collect()
}
