//! Asynchronous successive halving: whenever a slot is free, a trial that is among the best one in `eta` of its rung continues, else a new one
//! begins.
//!
//! Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, algorithm 2. Departure: if nothing is left to do
//! and no trial has reached the end, the best one continues to it; a policy that promotes decides that too.

use super::rungs::height;
use super::{
    EPOCHS_SPENT, Ended, Goal, Limits, MINUTES_SPENT, Outcome, Policy, Search, Settings, Step, best_first, checked,
};
use crate::Result;
use std::collections::BTreeSet;

/// ASHA over given trials.
#[derive(Debug)]
pub struct Asha {
    trials: Vec<Settings>,
    /// Epochs of each rung.
    ladder: Vec<i64>,
    eta: usize,
    goal: Goal,
    limits: Limits,
    slots: usize,
    begun: bool,
    /// Trials by rung, in the order in which they ended.
    ended: Vec<Vec<Ended>>,
    /// Trials that have continued after a rung.
    promoted: Vec<BTreeSet<usize>>,
    running: usize,
    /// The next new trial.
    fresh: usize,
    trained: i64,
    /// Seconds on each slot.
    spent: f64,
    why: &'static str,
}

impl Asha {
    pub fn new(trials: Vec<Settings>, ladder: Vec<i64>, eta: usize, goal: Goal, limits: Limits, slots: usize) -> Self {
        Self {
            ended: vec![Vec::new(); ladder.len()],
            promoted: vec![BTreeSet::new(); ladder.len()],
            trials,
            ladder,
            eta,
            goal,
            limits,
            slots,
            begun: false,
            running: 0,
            fresh: 0,
            trained: 0,
            spent: 0.0,
            why: "",
        }
    }

    /// Fills the free slots.
    fn fill(&mut self, policy: &mut dyn Policy) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        while self.running < self.slots {
            let Some(step) = self.choose(policy)? else { break };
            match step.rung.checked_sub(1) {
                Some(before) => drop(self.promoted[before].insert(step.trial)),
                None => self.fresh += 1,
            }
            self.trained += height(&self.ladder, step.rung);
            self.running += 1;
            steps.push(step);
        }
        if self.fresh < self.trials.len() && self.running == 0 {
            self.why = if self.limits.out_of_time(self.spent) { MINUTES_SPENT } else { EPOCHS_SPENT };
        }
        Ok(steps)
    }

    /// The step to begin; None if no trial is ready.
    fn choose(&self, policy: &mut dyn Policy) -> Result<Option<Step>> {
        if self.limits.out_of_time(self.spent) {
            return Ok(None);
        }
        let last = self.ladder.len() - 1;
        let mut policy_decides = false;
        for rung in (0..last).rev().filter(|&rung| self.affordable(rung + 1)) {
            let ended = &self.ended[rung];
            let asked = if ended.is_empty() { None } else { policy.promotes(rung, ended)? };
            policy_decides |= asked.is_some();
            let trials = match asked {
                Some(trials) => checked(trials, ended)?,
                None => best_first(ended, self.goal).into_iter().take(ended.len() / self.eta).collect(),
            };
            if let Some(step) = self.promotion(rung, trials) {
                return Ok(Some(step));
            }
        }
        if self.fresh < self.trials.len() && self.affordable(0) {
            return Ok(Some(Step { trial: self.fresh, rung: 0 }));
        }
        if policy_decides || self.running > 0 || self.ended[last].iter().any(|one| one.value.is_some()) {
            return Ok(None);
        }
        let mut open = (0..last).rev().filter(|&rung| self.affordable(rung + 1));
        Ok(open.find_map(|rung| self.promotion(rung, best_first(&self.ended[rung], self.goal))))
    }

    /// The first of `trials` that has not continued after `rung`.
    fn promotion(&self, rung: usize, trials: Vec<usize>) -> Option<Step> {
        let trial = trials.into_iter().find(|trial| !self.promoted[rung].contains(trial))?;
        Some(Step { trial, rung: rung + 1 })
    }

    fn affordable(&self, rung: usize) -> bool {
        self.limits.epochs.is_none_or(|most| self.trained + height(&self.ladder, rung) <= most)
    }
}

impl Search for Asha {
    fn next(&mut self, ended: &[Outcome], policy: &mut dyn Policy) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        if !self.begun {
            self.begun = true;
            steps.extend(self.fill(policy)?);
        }
        for outcome in ended {
            self.ended[outcome.step.rung].push(Ended { trial: outcome.step.trial, value: outcome.value });
            self.running = self.running.saturating_sub(1);
            self.spent += outcome.seconds / self.slots as f64;
            steps.extend(self.fill(policy)?);
        }
        Ok(steps)
    }

    fn trials(&self) -> &[Settings] {
        &self.trials
    }

    fn why(&self, trial: usize) -> &'static str {
        if trial < self.fresh { "" } else { self.why }
    }

    /// All trials, one in `eta` of each rung, one at the end.
    fn steps(&self) -> usize {
        let last = self.ladder.len() - 1;
        let mut left = self.trials.len();
        let mut steps = 0;
        for rung in 0..self.ladder.len() {
            steps += if rung == last { left.max(self.trials.len().min(1)) } else { left };
            left /= self.eta;
        }
        steps
    }

    fn epochs(&self) -> i64 {
        0
    }
}
