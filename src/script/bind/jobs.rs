//! Script interface of [`crate::jobs`]: child runs of recipes, and what a child reports to the recipe that started it.

use super::track::Handle as Run;
use super::train::ClaimHandle;
use super::{At, Fallible, Script, Session, command, session, value};
use crate::files::{self, Lock};
use crate::jobs::{self as engine, Job, Options, Outcome, Report};
use crate::shipped;
use crate::{Error, Kind, Result, given};
use rhai::plugin::*;
use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The folder of the jobs' logs and states, with a folder for each group.
const FOLDER: &str = "jobs";

#[export_module]
pub mod api {
    /// Reserves a group of jobs for this program while the value lives: call it before opening a record that another program's jobs could write to.
    ///
    /// * `group`: as in `jobs::run`, which may still be called with it.
    /// * Fails with `file.locked` if another program runs jobs of the group now, `config.value` for the name, `file.write`.
    ///
    /// # Example
    /// ```rhai
    /// let kept = jobs::claim("chain");
    /// jobs::run([], #{ group: "chain" }).is_empty()
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn claim(ctx: NativeCallContext, group: &str) -> Fallible<ClaimHandle> {
        super::claim(&session(&ctx), group).at(&ctx)
    }

    /// Runs recipes as processes of their own, several at once, and returns how each ended, in the order of `jobs`.
    ///
    /// A crash or kill of one job does not affect the others. Called again, it continues: a finished job is not run again unless its recipe,
    /// arguments, variables or `key` changed.
    ///
    /// * `jobs`: maps with `name`, `recipe` (as on the command line, or in the folder of the running recipe), and optionally `args`, `after`
    ///   (names of jobs that come first), `env` (a map), `key` (what else the outcome depends on, see `system::fingerprint`), `makes` (files that
    ///   the job writes: if one is missing, the job is run again). `args` is a map whose entries become flags (`batch_size: 4` is `--batch-size=4`, `gpu: true` is `--gpu`, `()` is left out), or an array of
    ///   strings and such maps; flags come first, and after the string "--" nothing is a flag: `["--", name, #{ epochs: 9 }]` is right for any name.
    /// * `options`: `parent` (a run, see `track::start`, that the jobs' runs belong to: MLflow shows them below it), `group` (names the folder tracking/jobs/<group>; default: this recipe's name), `parallel`, `gpus` (such as `[0, 1]`), `per_gpu`,
    ///   `keep_going` (true), `retries`, `timeout_seconds`, `patience_seconds` (120), `reuse` (true), `expect` (how many jobs there will be, where a function adds some), `backend` ("local" or "slurm"),
    ///   `slurm` (`gpus`, `time`, `signal_seconds`, `partition`, `account`, `extra`, `poll_seconds`).
    /// * Returns maps: `name`, `status` ("done", "done_with_skipped", "failed", "cancelled", "skipped"), `done`, `reason`, `exit_code`,
    ///   `attempts`, `seconds`, `log`, `result` (see `jobs::result`; () without one), `warnings` (their number), `last_lines`, `reused`.
    /// * The recipe decides what `result` holds. `train_voice` and `sweep_trial` give `metrics` (of the last epoch), `epochs`, `steps` and
    ///   `paths` (`voice`, `index`, `sound`, `record`; of a trial `logs`, `record`), `train_voice` also `skipped`, the recordings left out, and
    ///   `sweep_trial` `why` a number is missing. If a recipe fails it has `error`: `code`, `message`, `hint`, `place`, `notes`, `event`.
    /// * Fails with `config.unknown_key`, `config.value`, `file.not_found`, `file.locked`, `device.missing`, `usage` for an unknown
    ///   recipe. A job that fails is not an error.
    ///
    /// # Example
    /// ```rhai
    /// let voices = [#{ name: "anna", recipe: "prepare", args: ["anna", #{ sample_rate: 32000 }] }, #{ name: "eve", recipe: "prepare", args: ["eve"] }];
    /// let made = jobs::run(voices, #{ parallel: 2, group: "clips" });
    /// made[0].done && made[1].status == "failed"        // there are no recordings of eve
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn run(ctx: NativeCallContext, jobs: Array, options: Map) -> Fallible<Array> {
        super::run_jobs(&session(&ctx), &jobs, &options, &mut |_| Ok(Array::new())).at(&ctx)
    }

    /// The same, but `next` is called whenever a job has ended (or had ended in an earlier run) and returns the jobs to add, as an array: no slot
    /// waits until others are done.
    ///
    /// * `next`: a function of the outcome's map. It is not called again after Ctrl-C.
    /// * Returns the outcomes of all jobs in the order in which they were named.
    ///
    /// # Example
    /// ```rhai
    /// let made = jobs::run([#{ name: "eve", recipe: "prepare", args: ["eve"] }], #{ group: "chain" }, |ended| {
    ///     if ended.name == "eve" { [#{ name: "anna", recipe: "prepare", args: ["anna"] }] } else { [] }
    /// });
    /// made.map(|one| one.name) == ["eve", "anna"] && made[1].done
    /// ```
    #[rhai_fn(name = "run", return_raw, volatile)]
    pub fn run_on(ctx: NativeCallContext, jobs: Array, options: Map, next: FnPtr) -> Fallible<Array> {
        let mut raised = None;
        let ran = super::run_jobs(&session(&ctx), &jobs, &options, &mut |outcome| {
            next.call_within_context::<Dynamic>(&ctx, (outcome,))
                .and_then(|more| {
                    more.into_typed_array::<Dynamic>().map_err(|what| {
                        let what = value::kind_of(what);
                        format!("the function that names further jobs returns {what}, but must return an array").into()
                    })
                })
                .map_err(|fault| {
                    raised = Some(fault);
                    Error::new(Kind::Internal, "the script failed")
                })
        });
        match raised {
            // The script's own error, with its own place.
            Some(fault) => Err(fault),
            None => ran.at(&ctx),
        }
    }

    /// Sets the `result` of this recipe for the recipe that started it with `jobs::run`. The last call counts; without
    /// such a recipe it does nothing.
    ///
    /// * `result`: a map of plain values.
    /// * Fails with `config.value` for anything else, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// jobs::result(#{ metrics: #{ loss_mel: 21.3 }, paths: #{ voice: "models/anna.pth" } });
    /// true
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn result(ctx: NativeCallContext, result: Map) -> Fallible<()> {
        super::report(&session(&ctx), &result).at(&ctx)
    }
}

fn claim(session: &Session, group: &str) -> Result<ClaimHandle> {
    files::entry_name("a group of jobs", group)?;
    Lock::claim(&session.workspace().tracking().join(FOLDER).join(group)).map(ClaimHandle::new)
}

fn run_jobs(
    session: &Session,
    jobs: &Array,
    options: &Map,
    next: &mut dyn FnMut(Dynamic) -> Result<Array>,
) -> Result<Array> {
    let jobs = jobs.iter().map(|job| read_job(session, job)).collect::<Result<Vec<_>>>()?;
    let options = read_options(session, options)?;
    files::create_folder(&options.folder)?;
    let mut more = |outcome: &Outcome| {
        let jobs = next(outcome_map(outcome)?)?;
        jobs.iter().map(|job| read_job(session, job)).collect::<Result<Vec<_>>>()
    };
    let outcomes = engine::run_on(session.task(), &jobs, &options, &mut more)?;
    session.task().check()?;
    outcomes.iter().map(outcome_map).collect()
}

fn report(session: &Session, result: &Map) -> Result<()> {
    let result = Value::Object(value::map_to_json(result)?);
    match &session.child().report {
        Some(path) => engine::report(path, &Report { result, ..Report::default() }),
        None => Ok(()),
    }
}

fn read_job(session: &Session, job: &Dynamic) -> Result<Job> {
    let map = job.read_lock::<Map>().ok_or_else(|| {
        wrong(format!("a job is {}, but must be a map with name, recipe and args", value::shown(job)))
    })?;
    let mut given = map.clone();
    let name = given.get("name").map_or_else(|| "?".to_owned(), ToString::to_string);
    let of_job = |e: Error| e.context(format!("job {name:?}"));
    let args = given.remove("args").map_or(Ok(Vec::new()), |args| command::arguments(&args)).map_err(of_job)?;
    let env = given.remove("env").map_or(Ok(Vec::new()), |env| variables(&env)).map_err(of_job)?;
    let Some(recipe) = given.remove("recipe") else {
        return Err(of_job(wrong("it names no recipe".into())));
    };
    let mut fields = value::map_to_json(&given)?;
    let (recipe, text) = find_recipe(session, &recipe.to_string()).map_err(of_job)?;
    fields.insert("recipe".into(), json!(recipe));
    let job: Job = given::read(&fields, "a job", "a field").map_err(of_job)?;
    let makes = job.makes.iter().map(|path| session.workspace().path(path)).collect();
    Ok(Job { text, args, env, makes, ..job })
}

/// How a job's command line names its recipe, from any folder: a file by its absolute path, a recipe of the program by its name. With the
/// text of the latter.
fn find_recipe(session: &Session, word: &str) -> Result<(PathBuf, Option<String>)> {
    let Script { source, text, .. } = session.find_recipe(word)?;
    if shipped::path_of(&source).is_some() {
        return Ok((source.into(), Some(text)));
    }
    let path = std::path::absolute(&source).map_err(|e| Error::io("find", Path::new(&source), e))?;
    Ok((path, None))
}

fn variables(env: &Dynamic) -> Result<Vec<(String, String)>> {
    let map =
        env.read_lock::<Map>().ok_or_else(|| wrong(format!("env is {}, but must be a map", value::shown(env))))?;
    map.iter().map(|(name, given)| Ok((name.to_string(), command::plain(given)?))).collect()
}

fn read_options(session: &Session, options: &Map) -> Result<Options> {
    let mut given = options.clone();
    let group = match given.remove("group") {
        Some(group) => group.to_string(),
        None => session.recipe_name().filter(|name| !name.is_empty()).unwrap_or_else(|| "jobs".to_owned()),
    };
    let parent = given.remove("parent").filter(|parent| !parent.is_unit());
    let parent = parent
        .map(|run| run.try_cast_result::<Run>().map_or_else(|name| name.to_string(), |run| run.run().id().to_owned()));
    files::entry_name("a group of jobs", &group)?;
    let options: Options = given::read(&value::map_to_json(&given)?, "jobs::run", "an option")?;
    let child = session.child();
    let mut flags = child.flags.clone();
    flags.extend(parent.or_else(|| child.parent.clone()).map(|parent| format!("--parent={parent}")));
    if let Some(threads) = threads(&options, child.threads, session.task().threads()) {
        flags.push(format!("--threads={threads}"));
    }
    let folder = session.workspace().tracking().join(FOLDER).join(group);
    let folder = std::path::absolute(&folder).map_err(|e| Error::io("find", &folder, e))?;
    Ok(Options { folder, program: child.program.clone(), flags, ..options })
}

/// The value of --threads for children: this program's own, or their share of this machine.
fn threads(options: &Options, given: Option<usize>, cores: usize) -> Option<usize> {
    let shared = options.backend == engine::Backend::Local && options.parallel > 1;
    given.or_else(|| shared.then(|| (cores / options.parallel).max(1)))
}

fn outcome_map(outcome: &Outcome) -> Result<Dynamic> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(outcome) else {
        return Err(Error::new(Kind::Internal, "an outcome is not an object"));
    };
    fields.insert("done".into(), outcome.status.is_done().into());
    fields.insert("log".into(), shown(&outcome.log).into());
    Ok(value::map_from_json(&fields).into())
}

/// A path relative to the current folder, if it is below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// Whether the options of `jobs::run` are valid, before anything is started.
pub fn check_options(options: &serde_json::Map<String, Value>) -> Result<()> {
    let mut options = options.clone();
    for own in ["group", "parent"] {
        options.remove(own);
    }
    given::read::<Options>(&options, "jobs::run", "an option").map(drop)
}

fn wrong(message: String) -> Error {
    Error::new(Kind::ConfigValue, message)
}
