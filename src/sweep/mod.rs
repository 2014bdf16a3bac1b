//! Searches over settings: outcomes so far in, next trials out. Pure: no files, no processes, no clock; every draw follows from a seed.
//!
//! ```text
//! space --+-- random   independent draws            \
//!         +-- grid     every combination             +- trials -- halving  asha --+
//!         +-- edges    extremes, one at a time      /                             +-- run --+-- order  outcomes in the order of an earlier call
//!         +------------------------------------------------------ tpe ------------+         +-- board  the leaderboard and its files
//!                                                                 parzen
//! ```
//!
//! A trial is a map of settings. A step trains a trial up to a rung, an epoch at which trials are compared. A [`Search`] gets the outcomes of
//! steps and returns the steps to start next; the caller trains them, so a search is tested by replaying outcomes. After an interruption the
//! caller hands the known outcomes over again, and the search decides the same.

pub mod asha;
pub mod board;
pub mod check;
pub mod draw;
mod faults;
pub mod grid;
pub mod halving;
pub mod order;
pub mod parzen;
pub mod plan;
pub mod random;
pub mod run;
pub mod rungs;
pub mod space;
pub mod tpe;

use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A trial: values by setting, sorted by name.
pub type Settings = Map<String, Value>;

/// Whether the lowest or the highest objective is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    Min,
    Max,
}

impl Goal {
    /// `value` as a loss: the smaller the better.
    pub fn loss(self, value: f64) -> f64 {
        match self {
            Goal::Min => value,
            Goal::Max => -value,
        }
    }
}

/// A trial to train up to a rung; both count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub trial: usize,
    pub rung: usize,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub step: Step,
    /// The objective. None: the training failed, diverged or did not report it; such a trial never continues.
    pub value: Option<f64>,
    /// The time that the step took.
    pub seconds: f64,
}

/// A trial that ended at a rung, with its value there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    pub trial: usize,
    pub value: Option<f64>,
}

/// Decisions of a search that a recipe may take itself. They must depend only on the arguments: a sweep that was interrupted asks again.
pub trait Policy {
    /// Whether a trial with these settings may be proposed.
    fn allows(&mut self, _settings: &Settings) -> Result<bool> {
        Ok(true)
    }

    /// The trials that continue after `rung`, of those that have ended there so far; None leaves it to the search's own rule.
    ///
    /// Halving asks once a rung, when all of its trials have ended; ASHA asks whenever a slot is free.
    fn promotes(&mut self, _rung: usize, _ended: &[Ended]) -> Result<Option<Vec<usize>>> {
        Ok(None)
    }
}

/// The policy that leaves every decision to the search.
#[derive(Debug)]
pub struct OwnRules;

impl Policy for OwnRules {}

/// A search that is fed with outcomes.
///
/// Outcomes may be handed over one by one or many at once: the steps are the same, in the same order.
pub trait Search {
    /// The steps to start next, given the outcomes since the last call in the order in which they ended. The first call has no outcomes, or
    /// those of an earlier, interrupted run.
    ///
    /// Errors: those of `policy`; `config.value` if it promotes a trial that cannot continue, or allows no proposal.
    fn next(&mut self, ended: &[Outcome], policy: &mut dyn Policy) -> Result<Vec<Step>>;

    /// The trials so far, in order.
    fn trials(&self) -> &[Settings];

    /// Why a trial was not started or not continued: a limit. Empty without one.
    fn why(&self, trial: usize) -> &'static str;

    /// The number of steps without failures and limits of time.
    fn steps(&self) -> usize;

    /// The epochs that all steps train without failures and limits of time; 0 if unknown.
    fn epochs(&self) -> i64;

    /// The rung that all trials train for now, and their number; None if each has its own.
    fn level(&self) -> Option<(usize, usize)> {
        None
    }
}

/// Limits of a whole sweep; None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Total epochs of all trials.
    pub epochs: Option<i64>,
    /// No step starts after this time.
    pub minutes: Option<f64>,
}

impl Limits {
    /// Whether steps that took `seconds` on each slot have spent the time.
    fn out_of_time(&self, seconds: f64) -> bool {
        self.minutes.is_some_and(|minutes| seconds / 60.0 >= minutes)
    }
}

/// Why trials are left over.
const EPOCHS_SPENT: &str = "epochs are spent";
const MINUTES_SPENT: &str = "minutes are spent";

/// The trials with a value, best first; equal values in order of trial.
fn best_first(ended: &[Ended], goal: Goal) -> Vec<usize> {
    let mut scored: Vec<(f64, usize)> = ended
        .iter()
        .filter_map(|one| Some((goal.loss(one.value.filter(|value| !value.is_nan())?), one.trial)))
        .collect();
    // -0.0 equals 0.0 here, other than with total_cmp; NaN was left out.
    scored.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1)));
    scored.into_iter().map(|(_, trial)| trial).collect()
}

/// The trials that a policy promotes, each once. Errors: `config.value` for one that has no value at this rung.
fn checked(promoted: Vec<usize>, ended: &[Ended]) -> Result<Vec<usize>> {
    let mut trials: Vec<usize> = Vec::new();
    for trial in promoted {
        match ended.iter().find(|one| one.trial == trial) {
            Some(one) if one.value.is_some() => {
                if !trials.contains(&trial) {
                    trials.push(trial);
                }
            }
            _ => {
                let message = format!("promote continues {}, which has no value at this rung", trial_name(trial));
                return Err(
                    Error::new(Kind::ConfigValue, message).hint("return trials of its argument that have a value")
                );
            }
        }
    }
    Ok(trials)
}

/// "t01" for trial 0.
pub fn trial_name(trial: usize) -> String {
    format!("t{:02}", trial + 1)
}
