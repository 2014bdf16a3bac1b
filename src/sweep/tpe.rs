//! Search by TPE: one trial after the other, each where the earlier results promise most (see [`super::parzen`]). All train to the end.

use super::parzen::{Seen, propose};
use super::space::Space;
use super::{Goal, Limits, Outcome, Policy, Search, Settings, Step};
use crate::{Error, Kind, Result};

/// Proposals for a trial before the search gives up on what the policy allows.
const MOST_DRAWS: usize = 1000;

/// A search that proposes its own trials.
#[derive(Debug)]
pub struct Tpe {
    space: Space,
    /// For each axis the number of its unordered values.
    choices: Vec<usize>,
    seed: String,
    /// How many trials there may be.
    count: usize,
    epochs: i64,
    goal: Goal,
    limits: Limits,
    slots: usize,
    trials: Vec<Settings>,
    places: Vec<Vec<f64>>,
    outcomes: Vec<Option<Outcome>>,
}

impl Tpe {
    /// `count` trials of `epochs` each, as many as the limit of epochs allows; `seed` is that of the proposals.
    pub fn new(
        space: Space,
        count: usize,
        seed: String,
        epochs: i64,
        goal: Goal,
        limits: Limits,
        slots: usize,
    ) -> Self {
        let most = limits.epochs.map_or(usize::MAX, |most| usize::try_from(most / epochs.max(1)).unwrap_or(0));
        Self {
            choices: space.axes.values().map(super::space::Axis::choices).collect(),
            space,
            seed,
            count: count.min(most),
            epochs,
            goal,
            limits,
            slots,
            trials: Vec::new(),
            places: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// What trial `n` may depend on: the results of the trials before it, in their order, without those that may still be running. So it
    /// does not depend on their speed or on interruptions. None if one of them has not ended.
    fn known(&self, n: usize) -> Option<(Vec<Seen>, f64)> {
        let mut seen = Vec::new();
        let mut spent = 0.0;
        for (place, outcome) in self.places.iter().zip(&self.outcomes).take((n + 1).saturating_sub(self.slots)) {
            let outcome = (*outcome)?;
            let loss = outcome.value.map_or(f64::INFINITY, |value| self.goal.loss(value));
            seen.push(Seen { at: place.clone(), loss });
            spent += outcome.seconds / self.slots as f64;
        }
        Some((seen, spent))
    }

    /// The place and settings of trial `n`. Errors: `config.value` if the policy allows no proposal.
    fn proposal(&self, n: usize, seen: &[Seen], policy: &mut dyn Policy) -> Result<(Vec<f64>, Settings)> {
        for draw in 0..MOST_DRAWS {
            let place = propose(&self.choices, seen, &format!("{}/{n}/{draw}", self.seed));
            let settings = self.space.at(&place);
            if policy.allows(&settings)? {
                return Ok((place, settings));
            }
        }
        Err(Error::new(Kind::ConfigValue, format!("none of {MOST_DRAWS} proposals is allowed"))
            .hint("allow more trials"))
    }
}

impl Search for Tpe {
    fn next(&mut self, ended: &[Outcome], policy: &mut dyn Policy) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let mut ended = ended.iter();
        loop {
            while self.trials.len() < self.count {
                let n = self.trials.len();
                let Some((seen, spent)) = self.known(n) else { break };
                if self.limits.out_of_time(spent) {
                    break;
                }
                let (place, settings) = self.proposal(n, &seen, policy)?;
                self.trials.push(settings);
                self.places.push(place);
                self.outcomes.push(None);
                steps.push(Step { trial: n, rung: 0 });
            }
            let Some(outcome) = ended.next() else { return Ok(steps) };
            self.outcomes[outcome.step.trial] = Some(*outcome);
        }
    }

    fn trials(&self) -> &[Settings] {
        &self.trials
    }

    fn why(&self, _trial: usize) -> &'static str {
        ""
    }

    fn steps(&self) -> usize {
        self.count
    }

    fn epochs(&self) -> i64 {
        self.epochs.saturating_mul(self.count as i64)
    }
}
