//! Script interface of [`crate::cache`]: what it holds, and how to free space.

use super::{At, Fallible, session};
use crate::cache::Tally;
use crate::{Error, Kind};
use rhai::plugin::*;
use rhai::{Array, Dynamic, Map, NativeCallContext};
use std::time::Duration;

const SECONDS_PER_DAY: f64 = 86400.0;

/// Longer makes no practical difference and would eventually overflow a duration.
const MAX_DAYS: f64 = 36500.0;

#[export_module]
pub mod api {
    /// Removes cached results that no run has used for a number of days; returns how many, as `entries` and `bytes`, and those that were `damaged`
    /// among them, a list of strings.
    ///
    /// Files in logs/ are not touched. A removed result is computed again when it is needed.
    ///
    /// * `unused_days`: 0.0 removes everything.
    /// * Fails with `config.value` for a negative number, `file.write`.
    ///
    /// # Example
    /// ```rhai
    /// cache::prune(30.0).entries == 0      // nothing is that old in a new workspace
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn prune(ctx: NativeCallContext, unused_days: f64) -> Fallible<Map> {
        age(unused_days).and_then(|age| session(&ctx).cache()?.prune(age)).map(|tally| map(&tally)).at(&ctx)
    }

    /// Removes cached results that no run has used for a whole number of days.
    ///
    /// # Example
    /// ```rhai
    /// cache::prune(0).bytes == 0           // nothing is cached yet
    /// ```
    #[rhai_fn(name = "prune", return_raw, volatile)]
    pub fn prune_int(ctx: NativeCallContext, unused_days: i64) -> Fallible<Map> {
        prune(ctx, unused_days as f64)
    }

    /// Checks every cached result against its checksum; returns `entries`, `bytes` and `damaged`, a list of strings.
    ///
    /// * Fails with `cancelled`. Damage is not an error here: a damaged result is computed again when it is next needed.
    ///
    /// # Example
    /// ```rhai
    /// cache::verify().damaged.is_empty()
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn verify(ctx: NativeCallContext) -> Fallible<Map> {
        let session = session(&ctx);
        session.cache().and_then(|cache| cache.check(session.task())).map(|tally| map(&tally)).at(&ctx)
    }
}

fn age(days: f64) -> crate::Result<Duration> {
    if (0.0..=MAX_DAYS).contains(&days) {
        return Ok(Duration::from_secs_f64(days * SECONDS_PER_DAY));
    }
    Err(Error::new(Kind::ConfigValue, format!("unused_days is {days}, but must be between 0 and {MAX_DAYS}")))
}

fn map(tally: &Tally) -> Map {
    let damaged: Array = tally.damaged.iter().map(|what| Dynamic::from(what.clone())).collect();
    [
        ("entries".into(), (tally.entries as i64).into()),
        ("bytes".into(), (tally.bytes as i64).into()),
        ("damaged".into(), damaged.into()),
    ]
    .into()
}
