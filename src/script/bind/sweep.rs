//! Script interface of [`crate::sweep`]: spaces, trials, searches.
//!
//! The module is called `trials`: a function of stdlib/sweep would find the alias `sweep` of the script that imports it before a module of that name.

use super::fault::Fallible;
use super::{At, value};
use crate::sweep::board::Entry;
use crate::sweep::plan::Plan;
use crate::sweep::run::{Hooks, Job, Rung, Sweep};
use crate::sweep::space::{Axis, Space};
use crate::sweep::{self as engine, Settings};
use crate::{Error, Kind, Result};
use rhai::plugin::*;
use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::{Value, json};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;

/// A running sweep, and the functions by which the recipe decides itself.
#[derive(Clone)]
pub struct SweepHandle {
    sweep: Rc<RefCell<Sweep>>,
    functions: Functions,
}

#[export_module]
pub mod api {
    /// Returns an axis of a space, checked: a map of `kind` ("choice", "uniform", "log" or "int"), and `values` or `low` and `high`. stdlib/sweep has a
    /// function for each kind.
    ///
    /// * Fails with `config.value` for an unknown kind, no values, or an empty range.
    ///
    /// # Example
    /// ```rhai
    /// trials::axis(#{ kind: "uniform", low: 30, high: 60 }) == #{ kind: "uniform", low: 30.0, high: 60.0 }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn axis(ctx: NativeCallContext, axis: Map) -> Fallible<Dynamic> {
        let axis = value::map_to_json(&axis).and_then(|axis| Axis::from_json(&axis.into()));
        axis.map(|axis| value::from_json(&axis.to_json())).at(&ctx)
    }

    /// Returns the space that a text describes, a map of an axis for each setting.
    ///
    /// * Fails with `config.value` that names every fault.
    ///
    /// # Example
    /// ```rhai
    /// trials::parse("batch_size=choice(2,4)") == #{ batch_size: #{ kind: "choice", values: [2, 4] } }
    /// ```
    #[rhai_fn(return_raw)]
    pub fn parse(ctx: NativeCallContext, text: &str) -> Fallible<Dynamic> {
        Space::parse(text).map(|space| value::from_json(&space.to_json())).at(&ctx)
    }

    /// Returns `count` trials, maps of settings, with every setting drawn independently.
    ///
    /// * `seed`: the same seed draws the same trials. `allowed`: a function of a trial that returns whether to keep it; () keeps all.
    /// * Fails with `config.value` for the space, or if too few draws are allowed.
    ///
    /// # Example
    /// ```rhai
    /// let space = trials::parse("batch_size=int(2,8)");
    /// trials::random(space, 9, 7, |trial| trial.batch_size > 4).all(|trial| trial.batch_size > 4) && trials::random(space, 9, 7, ()).len() == 9
    /// ```
    #[rhai_fn(return_raw)]
    pub fn random(ctx: NativeCallContext, space: Map, count: i64, seed: Dynamic, allowed: Dynamic) -> Fallible<Array> {
        super::random(&ctx, &space, count, &seed, allowed)
    }

    /// Returns a trial for every combination: all values of choices, `points` values of each range.
    ///
    /// * Fails with `config.value` for the space, or for more combinations than anyone trains.
    ///
    /// # Example
    /// ```rhai
    /// trials::grid(trials::parse("batch_size=choice(2,4); c_mel=uniform(30,60)"), 3).len() == 6
    /// ```
    #[rhai_fn(return_raw)]
    pub fn grid(ctx: NativeCallContext, space: Map, points: i64) -> Fallible<Array> {
        let space = super::space(&space).at(&ctx)?;
        engine::grid::trials(&space, usize::try_from(points).unwrap_or(0)).map(|trials| super::maps(&trials)).at(&ctx)
    }

    /// Returns trials of one setting each, at its extremes.
    ///
    /// # Example
    /// ```rhai
    /// trials::edges(trials::parse("batch_size=int(2,8)")) == [#{ batch_size: 2 }, #{ batch_size: 8 }]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn edges(ctx: NativeCallContext, space: Map) -> Fallible<Array> {
        super::space(&space).map(|space| super::maps(&space.edges())).at(&ctx)
    }

    /// Returns the epochs at which trials are compared: from `first`, `eta` times as many each time, up to `last`.
    ///
    /// # Example
    /// ```rhai
    /// trials::rungs(3, 30, 3) == [3, 9, 30]
    /// ```
    #[rhai_fn(return_raw)]
    pub fn rungs(ctx: NativeCallContext, first: i64, last: i64, eta: i64) -> Fallible<Array> {
        engine::rungs::rungs(first, last, eta).map(|rungs| rungs.into_iter().map(Dynamic::from).collect()).at(&ctx)
    }

    /// Returns how many of `count` trials train at each rung.
    ///
    /// # Example
    /// ```rhai
    /// trials::survivors(12, 3, 3) == [12, 4, 2]
    /// ```
    pub fn survivors(count: i64, n_rungs: i64, eta: i64) -> Array {
        let whole = |n: i64| usize::try_from(n).unwrap_or(0);
        let left = engine::rungs::survivors(whole(count), whole(n_rungs), whole(eta));
        left.into_iter().map(|n| Dynamic::from(n as i64)).collect()
    }

    /// Returns the total of epochs that `count` trials train.
    ///
    /// * Fails with `config.value` if `rungs` is not an array of whole numbers.
    ///
    /// # Example
    /// ```rhai
    /// trials::cost(12, [3, 9, 30], 3) == 12 * 3 + 4 * 6 + 2 * 21
    /// ```
    #[rhai_fn(return_raw)]
    pub fn cost(ctx: NativeCallContext, count: i64, rungs: Array, eta: i64) -> Fallible<i64> {
        let rungs: Option<Vec<i64>> = rungs.iter().map(|epochs| epochs.as_int().ok()).collect();
        let rungs = rungs.ok_or_else(|| Error::new(Kind::ConfigValue, "rungs must be whole numbers")).at(&ctx)?;
        let whole = |n: i64| usize::try_from(n).unwrap_or(0);
        Ok(engine::rungs::cost(whole(count), &rungs, whole(eta)))
    }

    /// Checks the settings of trials before anything is trained: names, ranges and choices.
    ///
    /// * `trials`: maps of settings. `base`: the settings that all trials share. `one_voice`: whether they also share clips and features, so that a
    ///   setting that decides these is refused.
    /// * Fails with `config.unknown_key` (and the nearest name) or `config.value`; one error names every fault.
    ///
    /// # Example
    /// ```rhai
    /// let seen = "";
    /// try { trials::check([#{ batchsize: 4, c_mel: -1.0 }], #{}, true); } catch (e) { seen = e.message; }
    /// seen.contains("batchsize") && seen.contains("c_mel is -1")
    /// ```
    #[rhai_fn(return_raw)]
    pub fn check(ctx: NativeCallContext, trials: Array, base: Map, one_voice: bool) -> Fallible<()> {
        let trials = super::settings(&trials).at(&ctx)?;
        value::map_to_json(&base).and_then(|base| engine::check::trials(&trials, &base, one_voice)).at(&ctx)
    }

    /// Starts a sweep, which runs nothing: its methods name the jobs to run and take their results. `sweep::run` of stdlib/sweep does that.
    ///
    /// * `plan`: the options of `sweep::run`, each of them. `order`: the names of jobs in the order in which they ended in an earlier call.
    /// * Fails with `config.unknown_key` or `config.value`; one error names every fault.
    ///
    /// # Example
    /// ```rhai
    /// let plan = #{
    ///     name: "a", trials: [#{ c_mel: 30.0 }, #{ c_mel: 60.0 }], args: [], recipe: "sweep_trial", epochs: 4, min_epochs: 2, eta: 2, objective: "loss", goal: "min",
    ///     max_epochs: 0, max_minutes: 0.0, jobs: #{}, key: "", search: "halving", space: (), count: 0, seed: 0, allowed: (), promote: (),
    /// };
    /// let s = trials::start(plan, []);
    /// let jobs = s.begin();
    /// s.ended(jobs[0].name, #{ metrics: #{ loss: 0.5 } }, 1.0);
    /// let more = s.ended(jobs[1].name, #{ metrics: #{ loss: 0.25 } }, 1.0);      // the rung is complete
    /// s.steps == 3 && more.len() == 1 && more[0].args[0].epochs == 4 && s.board[0].trial == "t02"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn start(ctx: NativeCallContext, plan: Map, order: Array) -> Fallible<SweepHandle> {
        super::start(plan, &order).at(&ctx)
    }

    /// Returns the first jobs: maps of `name`, `recipe`, `args` and `key` for `jobs::run`. The last of `args` is a map of flags: the `trial`'s folder, its
    /// `epochs`, and its `settings` as JSON.
    ///
    /// * Fails with `config.value` if `allowed` accepts no trial.
    ///
    /// # Example
    /// ```rhai
    /// import "stdlib/sweep" as sweep;
    /// let s = trials::start(sweep::options(#{ name: "a", trials: [#{ c_mel: 30.0 }] }), []);
    /// s.begin().map(|job| job.recipe) == ["sweep_trial"]
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn begin(ctx: NativeCallContext, sweep: &mut SweepHandle) -> Fallible<Array> {
        super::ask(&ctx, sweep, |sweep, hooks| sweep.begin(hooks))
    }

    /// Does for a job that has ended what `begin` does for the start: returns the jobs to start next.
    ///
    /// * `name`: of the job. `result`: what it reported: `metrics` by name, or `why` it lacks the objective. `seconds`: how long it took.
    /// * Fails with `config.value` if the result has neither; with the error of `allowed` or `promote`.
    ///
    /// # Example
    /// ```rhai
    /// import "stdlib/sweep" as sweep;
    /// let s = trials::start(sweep::options(#{ name: "a", trials: [#{ c_mel: 30.0 }], objective: "loss" }), []);
    /// s.ended(s.begin()[0].name, #{ metrics: #{ loss: 0.5 } }, 1.0).is_empty() && s.board[0].status == "finished"
    /// ```
    #[rhai_fn(global, name = "ended", return_raw)]
    pub fn ended(
        ctx: NativeCallContext,
        sweep: &mut SweepHandle,
        name: &str,
        result: Dynamic,
        seconds: Dynamic,
    ) -> Fallible<Array> {
        let result = value::to_json(&result).at(&ctx)?;
        let seconds = value::number(&seconds).unwrap_or_default();
        super::ask(&ctx, sweep, |sweep, hooks| sweep.ended(name, &result, seconds, hooks))
    }

    /// The entries of the leaderboard, best first: maps of `rank`, `trial`, `folder`, `status`, `epochs`, `value`, `settings`, `metrics` and `why`, which
    /// `sweep::run` describes.
    ///
    /// # Example
    /// ```rhai
    /// import "stdlib/sweep" as sweep;
    /// let s = trials::start(sweep::options(#{ name: "a", trials: [#{}] }), []);
    /// s.begin();
    /// s.board.map(|entry| entry.status) == ["not started"]
    /// ```
    #[rhai_fn(global, get = "board", return_raw)]
    pub fn board(ctx: NativeCallContext, sweep: &mut SweepHandle) -> Fallible<Array> {
        super::idle(&sweep.sweep).map(|sweep| super::entries(&sweep.board())).at(&ctx)
    }

    /// The files that keep the sweep: arrays of a name and a text, for leaderboard.json, leaderboard.csv, and for ASHA order.json.
    ///
    /// # Example
    /// ```rhai
    /// import "stdlib/sweep" as sweep;
    /// let s = trials::start(sweep::options(#{ name: "a", trials: [#{ c_mel: 30.0 }] }), []);
    /// s.begin();
    /// s.files.map(|file| file[0]) == ["leaderboard.json", "leaderboard.csv"] && s.files[1][1].starts_with("rank,trial,")
    /// ```
    #[rhai_fn(global, get = "files", return_raw)]
    pub fn files(ctx: NativeCallContext, sweep: &mut SweepHandle) -> Fallible<Array> {
        super::files(sweep).at(&ctx)
    }

    /// The number of jobs without failures and limits.
    ///
    /// # Example
    /// ```rhai
    /// import "stdlib/sweep" as sweep;
    /// trials::start(sweep::options(#{ name: "a", trials: [#{ c_mel: 30.0 }, #{ c_mel: 60.0 }] }), []).steps == 2
    /// ```
    #[rhai_fn(global, get = "steps", return_raw)]
    pub fn steps(ctx: NativeCallContext, sweep: &mut SweepHandle) -> Fallible<i64> {
        super::idle(&sweep.sweep).map(|sweep| sweep.steps() as i64).at(&ctx)
    }

    /// Returns lines for the console since the last call: each rung that began, each trial that ended.
    ///
    /// # Example
    /// ```rhai
    /// import "stdlib/sweep" as sweep;
    /// let s = trials::start(sweep::options(#{ name: "a", trials: [#{ c_mel: 30.0 }] }), []);
    /// s.begin();
    /// s.lines() == ["sweep a: 1 trial to epoch 30"] && s.lines().is_empty()
    /// ```
    #[rhai_fn(global, return_raw)]
    pub fn lines(ctx: NativeCallContext, sweep: &mut SweepHandle) -> Fallible<Array> {
        let lines = super::idle(&sweep.sweep).map(|mut sweep| sweep.lines()).at(&ctx)?;
        Ok(lines.into_iter().map(Dynamic::from).collect())
    }
}

/// What `system` has of the searches, for recipes that propose trials themselves.
#[export_module]
pub mod draws {
    /// Returns a number of at least 0.0 and below 1.0 that looks random but depends only on `text`: a draw that is the same on every
    /// machine, and again after a restart.
    ///
    /// # Example
    /// ```rhai
    /// system::fraction_of("seed 1, trial 3") == system::fraction_of("seed 1, trial 3") && system::fraction_of("a") != system::fraction_of("b")
    /// ```
    pub fn fraction_of(text: &str) -> f64 {
        engine::draw::fraction_of(text)
    }

    /// Returns a place of the unit cube that promises to be good, an array of numbers of at least 0.0 and below 1.0, given the losses of others: the
    /// tree-structured Parzen estimator (Bergstra et al. 2011). It depends only on the arguments.
    ///
    /// * `choices`: for each coordinate its number of unordered choices; 0 for a range.
    /// * `seen`: maps of `at`, a place, and `loss`, the smaller the better; () for a failed one. The first ten are drawn at random.
    /// * `text`: the seed of random numbers, as for `fraction_of`.
    /// * Fails with `config.value` for anything else.
    ///
    /// # Example
    /// ```rhai
    /// let seen = [];
    /// for trial in 0..40 {
    ///     let at = system::propose([0], seen, `trial ${trial}`);
    ///     seen.push(#{ at: at, loss: (at[0] - 0.7).abs() });
    /// }
    /// seen.filter(|one| one.loss < 0.1).len() > 15        // 8 of 40 would be chance
    /// ```
    #[rhai_fn(return_raw)]
    pub fn propose(ctx: NativeCallContext, choices: Array, seen: Array, text: &str) -> Fallible<Array> {
        super::propose(&choices, &seen, text).map(|at| at.into_iter().map(Dynamic::from_float).collect()).at(&ctx)
    }
}

/// Functions of a script that decide; without one, the search does.
#[derive(Clone, Default)]
struct Functions {
    allowed: Option<FnPtr>,
    promote: Option<FnPtr>,
}

impl Functions {
    fn of(name: &str, given: Dynamic) -> Result<Option<FnPtr>> {
        if given.is_unit() {
            return Ok(None);
        }
        let shown = value::shown(&given);
        given
            .try_cast::<FnPtr>()
            .map(Some)
            .ok_or_else(|| Error::new(Kind::ConfigValue, format!("{name} is {shown}, but must be a function or ()")))
    }
}

/// The functions while a script runs, and its error if one of them raised one.
struct Called<'a, 'c> {
    ctx: &'a NativeCallContext<'c>,
    functions: &'a Functions,
    raised: Option<Box<EvalAltResult>>,
}

impl Called<'_, '_> {
    fn call(&mut self, function: &FnPtr, argument: Dynamic) -> Result<Dynamic> {
        function.call_within_context::<Dynamic>(self.ctx, (argument,)).map_err(|fault| {
            // The script's own error, with its own place.
            self.raised = Some(fault);
            Error::new(Kind::Script, "the script failed")
        })
    }
}

impl Hooks for Called<'_, '_> {
    fn allows(&mut self, settings: &Settings) -> Result<bool> {
        let Some(function) = &self.functions.allowed else { return Ok(true) };
        let answer = self.call(function, value::map_from_json(settings).into())?;
        answer.as_bool().map_err(|_| {
            let message = format!("allowed returns {}, but must return true or false", value::shown(&answer));
            Error::new(Kind::ConfigValue, message)
        })
    }

    fn promotes(&mut self, rung: &Rung) -> Result<Option<Vec<String>>> {
        let Some(function) = &self.functions.promote else { return Ok(None) };
        let mut map = Map::new();
        let numbers =
            [("epochs", rung.epochs), ("next", rung.next), ("rung", rung.rung as i64), ("of", rung.of as i64)];
        map.extend(numbers.map(|(name, number)| (name.into(), Dynamic::from(number))));
        map.insert("ended".into(), entries(&rung.ended).into());
        let answer = self.call(function, map.into())?;
        let wrong = || {
            let message = format!("promote returns {}, but must return an array of trials", value::shown(&answer));
            Error::new(Kind::ConfigValue, message)
                .hint("entries of `ended`, or their names: |rung| rung.ended.extract(0, 2)")
        };
        let name = |one: &Dynamic| match one.read_lock::<Map>() {
            Some(entry) => entry.get("trial").filter(|name| name.is_string()).map(ToString::to_string),
            None => one.is_string().then(|| one.to_string()),
        };
        let names = answer.read_lock::<Array>().and_then(|all| all.iter().map(name).collect::<Option<Vec<_>>>());
        names.map(Some).ok_or_else(wrong)
    }
}

/// Runs `with` the functions of the script; an error that one of them raised is returned as it is.
fn hooked<T>(
    ctx: &NativeCallContext,
    functions: &Functions,
    with: impl FnOnce(&mut dyn Hooks) -> Result<T>,
) -> Fallible<T> {
    let mut called = Called { ctx, functions, raised: None };
    let made = with(&mut called);
    match called.raised {
        Some(fault) => Err(fault),
        None => made.at(ctx),
    }
}

fn random(ctx: &NativeCallContext, space: &Map, count: i64, seed: &Dynamic, allowed: Dynamic) -> Fallible<Array> {
    /// Only trials are asked about.
    struct Allows<'a>(&'a mut dyn Hooks);
    impl engine::Policy for Allows<'_> {
        fn allows(&mut self, settings: &Settings) -> Result<bool> {
            self.0.allows(settings)
        }
    }
    let space = self::space(space).at(ctx)?;
    let functions = Functions { allowed: Functions::of("allowed", allowed).at(ctx)?, promote: None };
    let (count, seed) = (usize::try_from(count).unwrap_or(0), seed.to_string());
    hooked(ctx, &functions, |hooks| engine::random::trials(&space, count, &seed, &mut Allows(hooks)))
        .map(|trials| maps(&trials))
}

fn start(mut plan: Map, order: &Array) -> Result<SweepHandle> {
    let mut take = |name: &str| plan.remove(name).unwrap_or(Dynamic::UNIT);
    let functions = Functions {
        allowed: Functions::of("allowed", take("allowed"))?,
        promote: Functions::of("promote", take("promote"))?,
    };
    let jobs = take("jobs");
    let mut plan = value::map_to_json(&plan)?;
    plan.insert("slots".into(), json!(slots(&jobs)));
    let order = order.iter().map(ToString::to_string).collect();
    let sweep = Sweep::new(Plan::from_json(&plan)?, order)?;
    Ok(SweepHandle { sweep: Rc::new(RefCell::new(sweep)), functions })
}

/// How many jobs run at once with these options of `jobs::run`.
fn slots(options: &Dynamic) -> usize {
    let Some(options) = options.read_lock::<Map>() else { return 1 };
    let parallel = options.get("parallel").and_then(|n| n.as_int().ok()).and_then(|n| usize::try_from(n).ok());
    let gpus = options.get("gpus").and_then(|gpus| gpus.read_lock::<Array>().map(|gpus| gpus.len()));
    parallel.unwrap_or(1).max(gpus.unwrap_or(0)).max(1)
}

fn ask(
    ctx: &NativeCallContext,
    handle: &SweepHandle,
    with: impl FnOnce(&mut Sweep, &mut dyn Hooks) -> Result<Vec<Job>>,
) -> Fallible<Array> {
    let mut sweep = idle(&handle.sweep).at(ctx)?;
    let jobs = hooked(ctx, &handle.functions, |hooks| with(&mut sweep, hooks))?;
    Ok(jobs.into_iter().map(|job| described(sweep.plan(), &job)).collect())
}

/// The job as `jobs::run` takes it.
fn described(plan: &Plan, job: &Job) -> Dynamic {
    let mut args = plan.args.as_array().cloned().unwrap_or_default();
    args.push(json!({ "trial": job.folder, "epochs": job.epochs, "settings": job.settings }));
    value::from_json(&json!({ "name": job.name, "recipe": plan.recipe, "args": args, "key": plan.key }))
}

fn entries(board: &[Entry]) -> Array {
    let entry = |entry: &Entry| {
        let Ok(Value::Object(mut map)) = serde_json::to_value(entry) else { return Dynamic::UNIT };
        map.insert("metrics".into(), Value::Object(entry.metrics.clone()));
        value::map_from_json(&map).into()
    };
    board.iter().map(entry).collect()
}

fn files(handle: &SweepHandle) -> Result<Array> {
    let sweep = idle(&handle.sweep)?;
    let (board, table) = sweep.files()?;
    // The order first: what it decided must be known when the leaderboard shows it.
    let order = sweep.order().filter(|order| !order.is_empty()).map(|order| format!("{:#}\n", json!(order)));
    let files = [("order.json", order.unwrap_or_default()), ("leaderboard.json", board), ("leaderboard.csv", table)];
    let written = files.into_iter().filter(|(_, text)| !text.is_empty());
    Ok(written.map(|(name, text)| Dynamic::from(vec![Dynamic::from(name), Dynamic::from(text)])).collect())
}

/// The sweep while it asks no function of the script.
fn idle(sweep: &RefCell<Sweep>) -> Result<RefMut<'_, Sweep>> {
    let busy = |_| Error::new(Kind::Script, "allowed and promote may not use the sweep that asks them");
    sweep.try_borrow_mut().map_err(busy)
}

fn space(space: &Map) -> Result<Space> {
    Space::from_json(&value::map_to_json(space)?)
}

fn maps(trials: &[Settings]) -> Array {
    trials.iter().map(|trial| value::map_from_json(trial).into()).collect()
}

fn settings(trials: &Array) -> Result<Vec<Settings>> {
    let one = |trial: &Dynamic| match value::to_json(trial)? {
        Value::Object(settings) => Ok(settings),
        _ => Err(Error::new(Kind::ConfigValue, format!("a trial is {}, but must be a map", value::shown(trial)))),
    };
    trials.iter().map(one).collect()
}

fn propose(choices: &Array, seen: &Array, text: &str) -> Result<Vec<f64>> {
    use engine::parzen::Seen;
    let wrong = |what: String| Error::new(Kind::ConfigValue, what);
    let choices = choices.iter().map(|n| n.as_int().ok().and_then(|n| usize::try_from(n).ok()));
    let choices: Option<Vec<usize>> = choices.collect();
    let choices = choices.ok_or_else(|| wrong("choices must be whole numbers of at least 0".into()))?;
    let read = |one: &Dynamic| {
        let map = one.read_lock::<Map>()?;
        let at =
            map.get("at")?.read_lock::<Array>()?.iter().map(|x| x.as_float().ok()).collect::<Option<Vec<f64>>>()?;
        let loss = map.get("loss")?;
        let loss = if loss.is_unit() { f64::INFINITY } else { loss.as_float().ok()? };
        (at.len() == choices.len()).then_some(Seen { at, loss })
    };
    let seen = seen.iter().map(|one| {
        read(one).ok_or_else(|| {
            wrong(format!(
                "{} is not a trial: it needs at, {} numbers, and loss, a number or ()",
                value::shown(one),
                choices.len()
            ))
        })
    });
    Ok(engine::parzen::propose(&choices, &seen.collect::<Result<Vec<_>>>()?, text))
}
