//! Successive halving: all trials train briefly, the best continue, rung by rung. With one rung, every trial trains to the end.
//!
//! ```text
//! rung 0   t01 t02 t03 t04 t05 t06 t07 t08 t09
//! rung 1       t02         t05             t09     the best one in eta, once all of a rung have ended
//! rung 2                   t05
//! ```
//!
//! Source: Jamieson, Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016.

use super::rungs::{cost, height, survivors};
use super::{
    EPOCHS_SPENT, Ended, Goal, Limits, MINUTES_SPENT, Outcome, Policy, Search, Settings, Step, best_first, checked,
};
use crate::Result;
use std::collections::{BTreeMap, VecDeque};

/// Successive halving of given trials.
#[derive(Debug)]
pub struct Halving {
    trials: Vec<Settings>,
    /// Epochs of each rung.
    ladder: Vec<i64>,
    goal: Goal,
    limits: Limits,
    /// Steps at once; with a limit of time, the clock is checked after each such batch.
    slots: usize,
    /// How many trials a rung has room for.
    places: Vec<usize>,
    eta: usize,
    /// None before the first rung.
    rung: Option<usize>,
    /// Trials of this rung that have not begun.
    queue: VecDeque<usize>,
    /// The number of trials of this rung.
    in_rung: usize,
    /// Steps that have begun and not ended.
    batch: Vec<Step>,
    arrived: BTreeMap<Step, Outcome>,
    ended: Vec<Vec<Ended>>,
    trained: i64,
    /// Seconds on each slot.
    spent: f64,
    why: Vec<&'static str>,
}

impl Halving {
    /// `eta`: one trial in `eta` continues. A limit of epochs reduces the number of trials.
    pub fn new(trials: Vec<Settings>, ladder: Vec<i64>, eta: usize, goal: Goal, limits: Limits, slots: usize) -> Self {
        let too_many = |count: &usize| limits.epochs.is_some_and(|most| cost(*count, &ladder, eta) > most);
        let count = (0..=trials.len()).rev().find(|count| !too_many(count)).unwrap_or(0);
        let why = (0..trials.len()).map(|trial| if trial < count { "" } else { EPOCHS_SPENT }).collect();
        Self {
            places: survivors(count, ladder.len(), eta),
            ended: vec![Vec::new(); ladder.len()],
            trials,
            ladder,
            goal,
            limits,
            slots,
            eta,
            rung: None,
            queue: VecDeque::new(),
            in_rung: 0,
            batch: Vec::new(),
            arrived: BTreeMap::new(),
            trained: 0,
            spent: 0.0,
            why,
        }
    }

    /// Counts the outcomes of a batch, in the order in which its steps began: sums of seconds do not depend on which ended first.
    fn end_batch(&mut self) {
        for step in std::mem::take(&mut self.batch) {
            let Some(outcome) = self.arrived.remove(&step) else { continue };
            self.ended[step.rung].push(Ended { trial: step.trial, value: outcome.value });
            self.spent += outcome.seconds / self.slots as f64;
        }
    }

    /// The trials of a rung, in order.
    fn promoted(&mut self, rung: usize, policy: &mut dyn Policy) -> Result<Vec<usize>> {
        let Some(before) = rung.checked_sub(1) else { return Ok((0..self.places[0]).collect()) };
        let ended = &self.ended[before];
        let mut trials = match policy.promotes(before, ended)? {
            Some(trials) => self.affordable(checked(trials, ended)?, rung),
            None => best_first(ended, self.goal).into_iter().take(self.places[rung]).collect(),
        };
        trials.sort_unstable();
        Ok(trials)
    }

    /// As many of the trials that a policy promotes as the limit of epochs leaves room for.
    fn affordable(&mut self, trials: Vec<usize>, rung: usize) -> Vec<usize> {
        let Some(most) = self.limits.epochs else { return trials };
        let room = (most - self.trained).max(0) / height(&self.ladder, rung);
        let (kept, dropped) = trials.split_at(trials.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        for &trial in dropped {
            self.why[trial] = EPOCHS_SPENT;
        }
        kept.to_vec()
    }
}

impl Search for Halving {
    fn next(&mut self, ended: &[Outcome], policy: &mut dyn Policy) -> Result<Vec<Step>> {
        self.arrived.extend(ended.iter().map(|outcome| (outcome.step, *outcome)));
        let mut steps = Vec::new();
        while self.batch.iter().all(|step| self.arrived.contains_key(step)) {
            self.end_batch();
            if self.queue.is_empty() {
                let rung = self.rung.map_or(0, |rung| rung + 1);
                if rung >= self.ladder.len() {
                    break;
                }
                self.queue = self.promoted(rung, policy)?.into();
                self.rung = Some(rung);
                self.in_rung = self.queue.len();
                continue;
            }
            if self.limits.out_of_time(self.spent) {
                for trial in self.queue.drain(..) {
                    self.why[trial] = MINUTES_SPENT;
                }
                continue;
            }
            let rung = self.rung.unwrap_or_default();
            let n = if self.limits.minutes.is_some() { self.slots.min(self.queue.len()) } else { self.queue.len() };
            self.batch = self.queue.drain(..n).map(|trial| Step { trial, rung }).collect();
            self.trained += self.batch.len() as i64 * height(&self.ladder, rung);
            steps.extend(&self.batch);
        }
        Ok(steps)
    }

    fn trials(&self) -> &[Settings] {
        &self.trials
    }

    fn why(&self, trial: usize) -> &'static str {
        self.why[trial]
    }

    fn steps(&self) -> usize {
        self.places.iter().sum()
    }

    fn epochs(&self) -> i64 {
        cost(self.places[0], &self.ladder, self.eta)
    }

    fn level(&self) -> Option<(usize, usize)> {
        self.rung.map(|rung| (rung, self.in_rung))
    }
}
