//! Grid search: every combination.

use super::Settings;
use super::space::{Axis, Space};
use crate::{Error, Kind, Result};

/// More trials than anyone trains.
const MOST_TRIALS: u128 = 100_000;

/// Every combination: all values of choices, and `points` evenly spaced values of each range, both ends included. The last setting changes
/// fastest.
///
/// Errors: `config.value` if there are too many combinations.
pub fn trials(space: &Space, points: usize) -> Result<Vec<Settings>> {
    let size = |axis: &Axis| match axis {
        Axis::Choice(values) => values.len(),
        Axis::Int { low, high } => points.min(usize::try_from(high - low + 1).unwrap_or(usize::MAX)),
        Axis::Uniform { .. } | Axis::Log { .. } => points,
    };
    let count = space.axes.values().fold(1u128, |count, axis| count.saturating_mul(size(axis) as u128));
    if count > MOST_TRIALS {
        let message = format!("the grid has {count} trials, but may have at most {MOST_TRIALS}");
        return Err(Error::new(Kind::ConfigValue, message).hint("search fewer settings, or draw trials at random"));
    }
    let mut trials = vec![Settings::new()];
    for (name, axis) in &space.axes {
        let n = size(axis);
        let place = |i: usize| match axis {
            // A choice takes the middle of its share, so that rounding skips no value.
            Axis::Choice(_) => (i as f64 + 0.5) / n as f64,
            _ if n == 1 => 0.5,
            _ => i as f64 / (n - 1) as f64,
        };
        let with = |trial: &Settings, i| {
            let mut trial = trial.clone();
            trial.insert(name.clone(), axis.at(place(i)));
            trial
        };
        trials =
            trials.iter().flat_map(|trial| (0..n).map(move |i| (trial, i))).map(|(trial, i)| with(trial, i)).collect();
    }
    Ok(trials)
}
