//! The epochs at which trials are compared, how many continue, and what a sweep trains in total.

use crate::{Error, Kind, Result};

/// The epochs at which trials are compared: from `first`, `eta` times as many each time, then `last`.
///
/// Errors: `config.value` if `eta` is below 2.
pub fn rungs(first: i64, last: i64, eta: i64) -> Result<Vec<i64>> {
    if eta < 2 {
        return Err(Error::new(Kind::ConfigValue, format!("eta is {eta}, but must be at least 2")));
    }
    let mut found = Vec::new();
    let mut epochs = first;
    while epochs > 0 && epochs.checked_mul(eta).is_some_and(|next| next <= last) {
        found.push(epochs);
        epochs *= eta;
    }
    found.push(last);
    Ok(found)
}

/// How many of `count` trials train at each rung: all at first, then one in `eta` of them, rounded up. No ladder has more than 64 rungs, since
/// each doubles the epochs at least; a larger `n_rungs` counts as 64.
pub fn survivors(count: usize, n_rungs: usize, eta: usize) -> Vec<usize> {
    std::iter::successors(Some(count), |left| Some(left.div_ceil(eta.max(1)))).take(n_rungs.clamp(1, 64)).collect()
}

/// The total of epochs that all trials train; a trial that continues does not repeat epochs.
pub fn cost(count: usize, rungs: &[i64], eta: usize) -> i64 {
    let left = survivors(count, rungs.len(), eta);
    (0..rungs.len()).fold(0, |total, rung| {
        total.saturating_add((left[rung.min(left.len() - 1)] as i64).saturating_mul(height(rungs, rung)))
    })
}

/// Epochs from the rung before to this one.
pub fn height(rungs: &[i64], rung: usize) -> i64 {
    rungs[rung].saturating_sub(if rung > 0 { rungs[rung - 1] } else { 0 })
}
