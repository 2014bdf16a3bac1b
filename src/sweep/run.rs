//! A sweep as its recipe sees it: jobs to run, what each reported, the leaderboard.

use super::board::{self, Entry, Report, Status};
use super::draw::fraction_of;
use super::order::Order;
use super::plan::{Method, Plan};
use super::rungs::height;
use super::{Ended, Outcome, Policy, Search, Settings, Step};
use crate::{Error, Kind, Result, duration};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A trial to train up to a rung, as a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// "t01-5f3a2c-e9": with the hash of its folder, so that the result of another trial with this number is kept.
    pub name: String,
    pub folder: String,
    pub epochs: i64,
    /// JSON.
    pub settings: String,
}

/// Decisions that a recipe may take itself, on entries of the leaderboard instead of numbers of trials; see [`Policy`].
pub trait Hooks {
    /// Whether a trial with these settings may be proposed.
    fn allows(&mut self, _settings: &Settings) -> Result<bool> {
        Ok(true)
    }

    /// The names of the trials that continue after a rung, of those that have ended there; None leaves it to the search.
    fn promotes(&mut self, _rung: &Rung) -> Result<Option<Vec<String>>> {
        Ok(None)
    }
}

/// The hooks that leave every decision to the search.
#[derive(Debug)]
pub struct NoHooks;

impl Hooks for NoHooks {}

/// A rung and the trials that have ended there.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// From 1.
    pub rung: usize,
    /// The number of rungs.
    pub of: usize,
    pub epochs: i64,
    /// Epochs of the next rung.
    pub next: i64,
    /// As they were at this rung, best first.
    pub ended: Vec<Entry>,
}

/// A running sweep.
pub struct Sweep {
    plan: Plan,
    ladder: Vec<i64>,
    search: Box<dyn Search>,
    order: Order,
    /// Steps that have begun, by the name of their job.
    begun: BTreeMap<String, Step>,
    /// What jobs reported that ended but do not count yet.
    waiting: BTreeMap<String, (Report, f64)>,
    /// By step.
    counted: BTreeMap<Step, Report>,
    /// In order of trial.
    entries: Vec<Entry>,
    /// Lines for the console that nobody has taken.
    lines: Vec<String>,
    level: Option<usize>,
    /// Seconds on each slot, and epochs, of the steps that ended.
    spent: f64,
    trained: i64,
}

impl Sweep {
    /// `order`: the names of jobs in the order in which they ended in an earlier call, which decides for ASHA.
    ///
    /// Errors: `config.value`.
    pub fn new(plan: Plan, order: Vec<String>) -> Result<Self> {
        Ok(Self {
            ladder: plan.ladder()?,
            search: plan.search()?,
            order: Order::new(if plan.search == Method::Asha { order } else { Vec::new() }),
            plan,
            begun: BTreeMap::new(),
            waiting: BTreeMap::new(),
            counted: BTreeMap::new(),
            entries: Vec::new(),
            lines: Vec::new(),
            level: None,
            spent: 0.0,
            trained: 0,
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The number of jobs without failures and limits of time.
    pub fn steps(&self) -> usize {
        self.search.steps()
    }

    /// The first jobs. Errors: those of the hooks; `config.value` if they allow no trial.
    pub fn begin(&mut self, hooks: &mut dyn Hooks) -> Result<Vec<Job>> {
        self.next(&[], hooks)
    }

    /// The jobs to start after the job `name` has ended with `result` (see [`Report::read`]). The job counts at once, or when those have ended
    /// that ended before it in an earlier call.
    ///
    /// Errors: `config.value` if the trial reports neither the objective nor why it has no value, or for a job that is not the sweep's;
    /// those of the hooks.
    pub fn ended(&mut self, name: &str, result: &Value, seconds: f64, hooks: &mut dyn Hooks) -> Result<Vec<Job>> {
        if !self.begun.contains_key(name) {
            let message = format!("{name:?} is not a job that sweep {} has begun", self.plan.name);
            return Err(Error::new(Kind::ConfigValue, message));
        }
        let report = Report::read(result, &self.plan.objective, &self.plan.name)?;
        self.waiting.insert(name.to_owned(), (report, seconds));
        self.order.arrive(name);
        let mut jobs = Vec::new();
        while let Some(name) = self.order.next(|name| self.begun.contains_key(name)) {
            let Some((report, seconds)) = self.waiting.remove(&name) else { break };
            let step = self.begun[&name];
            let outcome = Outcome { step, value: report.value, seconds };
            self.count(step, report, seconds);
            jobs.extend(self.next(&[outcome], hooks)?);
        }
        Ok(jobs)
    }

    /// The names of jobs in the order in which they ended; None where it decides nothing.
    pub fn order(&self) -> Option<Vec<&str>> {
        (self.plan.search == Method::Asha).then(|| self.order.names().collect())
    }

    /// The entries, best first.
    pub fn board(&self) -> Vec<Entry> {
        let noted = |(trial, entry): (usize, &Entry)| {
            let why = self.search.why(trial);
            Entry { why: if why.is_empty() { entry.why.clone() } else { why.to_owned() }, ..entry.clone() }
        };
        let entries: Vec<Entry> = self.entries.iter().enumerate().map(noted).collect();
        board::ranked(&entries, self.plan.goal)
    }

    /// The texts of leaderboard.json and leaderboard.csv; the second is empty without entries.
    pub fn files(&self) -> Result<(String, String)> {
        let (plan, board) = (&self.plan, self.board());
        let json = board::json(&plan.name, &plan.objective, plan.goal, &self.ladder, &board)?;
        Ok((json, board::csv(&plan.objective, &board)))
    }

    /// Lines for the console since the last call: each rung that began, each trial that ended.
    pub fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    fn next(&mut self, ended: &[Outcome], hooks: &mut dyn Hooks) -> Result<Vec<Job>> {
        let mut policy =
            Asked { entries: &self.entries, ladder: &self.ladder, counted: &self.counted, plan: &self.plan, hooks };
        let steps = self.search.next(ended, &mut policy)?;
        for trial in self.entries.len()..self.search.trials().len() {
            let settings = self.search.trials()[trial].clone();
            let folder = self.folder(trial, &settings);
            self.entries.push(Entry::new(trial, folder, settings));
        }
        self.announce();
        Ok(steps.into_iter().map(|step| self.job(step)).collect())
    }

    /// Reports the rung that has begun.
    fn announce(&mut self) {
        let Some((rung, count)) = self.search.level() else { return };
        if self.level == Some(rung) || count == 0 {
            return;
        }
        self.level = Some(rung);
        let of = self.ladder.len();
        let label = if of == 1 { String::new() } else { format!("rung {} of {of}, ", rung + 1) };
        let trials = if count == 1 { "trial" } else { "trials" };
        self.lines.push(format!("sweep {}: {label}{count} {trials} to epoch {}", self.plan.name, self.ladder[rung]));
    }

    fn count(&mut self, step: Step, report: Report, seconds: f64) {
        let entry = &mut self.entries[step.trial];
        entry.epochs = self.ladder[step.rung];
        entry.value = report.value;
        entry.status = match report.value {
            None => Status::Failed,
            Some(_) if step.rung + 1 == self.ladder.len() => Status::Finished,
            Some(_) => Status::Stopped,
        };
        entry.why.clone_from(&report.why);
        if report.value.is_some() {
            entry.metrics.clone_from(&report.metrics);
        }
        self.counted.insert(step, report);
        self.spent += seconds / self.plan.slots as f64;
        self.trained += height(&self.ladder, step.rung);
        let line = self.line(step.trial);
        self.lines.push(line);
    }

    /// "t03 to epoch 9: validation_loss_mel 21.5; best 20.1, t01 at epoch 9, about 3 min 0 s left".
    fn line(&self, trial: usize) -> String {
        /// Enough to distinguish trials.
        const DECIMALS: f64 = 1e4;
        let short = |value: f64| board::cell(&((value * DECIMALS).round() / DECIMALS).into());
        let entry = &self.entries[trial];
        let value =
            entry.value.map_or_else(|| entry.why.clone(), |value| format!("{} {}", self.plan.objective, short(value)));
        let board = self.board();
        let best = board.first().and_then(|best| Some((best, best.value?)));
        let best = best.map_or_else(String::new, |(best, value)| {
            format!("; best {}, {} at epoch {}", short(value), best.trial, best.epochs)
        });
        let rest = self.search.epochs() - self.trained;
        let left = if rest > 0 && self.trained > 0 {
            format!(", about {} left", duration::words(self.spent * rest as f64 / self.trained as f64))
        } else {
            String::new()
        };
        format!("{} to epoch {}: {value}{best}{left}", entry.trial, entry.epochs)
    }

    /// The trial's folder, by the settings and not only the number: a trial must never continue from the checkpoint of other settings. Nor
    /// from that of another ladder, which may be past a rung of this one; with one rung it may, since it only trains longer.
    fn folder(&self, trial: usize, settings: &Settings) -> String {
        let plan = &self.plan;
        let ladder: &[i64] = if self.ladder.len() > 1 { &self.ladder } else { &[] };
        let identity = json!([settings, plan.args, plan.recipe, plan.key, ladder]).to_string();
        let hash = (fraction_of(&identity) * f64::from(1 << 24)) as u32;
        format!("{}-{}-{hash:x}", plan.name, super::trial_name(trial))
    }

    fn job(&mut self, step: Step) -> Job {
        let (entry, epochs) = (&self.entries[step.trial], self.ladder[step.rung]);
        let short = entry.folder.get(self.plan.name.len() + 1..).unwrap_or(&entry.folder);
        let job = Job {
            name: format!("{short}-e{epochs}"),
            folder: entry.folder.clone(),
            epochs,
            settings: Value::Object(entry.settings.clone()).to_string(),
        };
        self.begun.insert(job.name.clone(), step);
        job
    }
}

/// Hands the decisions of a search on to the hooks.
struct Asked<'a> {
    entries: &'a [Entry],
    ladder: &'a [i64],
    counted: &'a BTreeMap<Step, Report>,
    plan: &'a Plan,
    hooks: &'a mut dyn Hooks,
}

impl Policy for Asked<'_> {
    fn allows(&mut self, settings: &Settings) -> Result<bool> {
        self.hooks.allows(settings)
    }

    fn promotes(&mut self, rung: usize, ended: &[Ended]) -> Result<Option<Vec<usize>>> {
        let entry = |one: &Ended| {
            let report = self.counted.get(&Step { trial: one.trial, rung });
            let metrics = report.map_or_else(Map::new, |report| report.metrics.clone());
            let why = report.map_or_else(String::new, |report| report.why.clone());
            let status = if one.value.is_some() { Status::Stopped } else { Status::Failed };
            let epochs = self.ladder[rung];
            Entry { epochs, status, value: one.value, metrics, why, ..self.entries[one.trial].clone() }
        };
        let mut entries: Vec<(usize, Entry)> = ended.iter().map(|one| (one.trial, entry(one))).collect();
        entries.sort_by_key(|(trial, _)| *trial);
        let entries: Vec<Entry> = entries.into_iter().map(|(_, entry)| entry).collect();
        let asked = Rung {
            rung: rung + 1,
            of: self.ladder.len(),
            epochs: self.ladder[rung],
            next: self.ladder[rung + 1],
            ended: board::ranked(&entries, self.plan.goal),
        };
        let Some(names) = self.hooks.promotes(&asked)? else { return Ok(None) };
        let number = |name: &String| {
            ended.iter().map(|one| one.trial).find(|&trial| super::trial_name(trial) == *name).ok_or_else(|| {
                let known: Vec<&str> = asked.ended.iter().map(|entry| entry.trial.as_str()).collect();
                let message =
                    format!("promote continues {name:?}, which is not a trial that has ended at rung {}", asked.rung);
                Error::new(Kind::ConfigValue, message).hint(format!("those are: {}", known.join(", ")))
            })
        };
        names.iter().map(number).collect::<Result<Vec<_>>>().map(Some)
    }
}
