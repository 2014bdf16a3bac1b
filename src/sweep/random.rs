//! Random search: every setting of every trial is drawn independently.

use super::draw::fraction_of;
use super::space::Space;
use super::{Policy, Settings};
use crate::{Error, Kind, Result};

/// Draws for each trial before the search gives up on what the policy allows.
const MOST_DRAWS: usize = 1000;

/// More trials than anyone trains.
const MOST_TRIALS: usize = 100_000;

/// `count` trials that the policy allows. The same `seed` draws the same trials; another setting in the space does not change the others.
///
/// Errors: `config.value` for a count that nobody trains, or if too few draws are allowed; those of the policy.
pub fn trials(space: &Space, count: usize, seed: &str, policy: &mut dyn Policy) -> Result<Vec<Settings>> {
    if count > MOST_TRIALS {
        let message = format!("the number of trials is {count}, but may be at most {MOST_TRIALS}");
        return Err(Error::new(Kind::ConfigValue, message).hint("ask for fewer trials"));
    }
    let mut trials = Vec::new();
    let mut draw = 0;
    while trials.len() < count {
        if draw >= MOST_DRAWS.saturating_mul(count) {
            let message = format!("only {} of {draw} draws are allowed, but {count} trials are needed", trials.len());
            return Err(Error::new(Kind::ConfigValue, message).hint("allow more, or ask for fewer trials"));
        }
        let value = |name: &String| fraction_of(&format!("{seed}/{draw}/{name}"));
        let trial: Settings = space.axes.iter().map(|(name, axis)| (name.clone(), axis.at(value(name)))).collect();
        draw += 1;
        if policy.allows(&trial)? {
            trials.push(trial);
        }
    }
    Ok(trials)
}
