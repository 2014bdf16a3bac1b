//! Functions that scripts call without a module name: `args`, `typed`, `sleep`.

use super::{At, Fallible, session, value};
use crate::task::Task;
use crate::{Error, Kind};
use rhai::plugin::*;
use rhai::{Array, Dynamic, Map, NativeCallContext};
use std::time::{Duration, Instant};

/// The longest sleep, in seconds: a week. A longer one is a mistake in the unit.
const MAX_SLEEP: f64 = 604_800.0;

/// Time between two checks for a signal during a sleep.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

#[export_module]
pub mod api {
    /// Returns the values of the recipe's parameters, as given on the command line or by default.
    ///
    /// * `params`: the constant PARAMS at the top of the recipe, an array of maps. `#{ name: ... }` is a parameter of the recipe; optional entries are `value` (the
    ///   default), `help`, `min`, `max`, `one_of`, `positional`, `group` (the heading in --help), `common` (false: -h leaves it out) and `alias`.
    ///   `#{ settings: [...] }` takes the settings of whole groups: clips, features, model, training, tracking, machine; `otherwise` describes what applies
    ///   if they are not given; their values are () then. `#{ setting: ... }` takes one, optionally with the recipe's own `value`, `help`, `common`, `otherwise`.
    ///   `#{ params: "stdlib/voice" }` takes the PARAMS of a script, only those in `names`, or all `without` some. `config::of(p)` gives the settings.
    /// * Fails with `script` outside a recipe that was started with parameters.
    ///
    /// # Example
    /// ```rhai
    /// const PARAMS = [#{ name: "epochs", value: 300, min: 1, help: "passes over the data" }];
    /// let p = args(PARAMS);
    /// p.epochs == 300
    /// ```
    // Not named args in Rust: the macro has a variable with that name.
    #[rhai_fn(name = "args", return_raw, volatile)]
    pub fn arguments(ctx: NativeCallContext, params: Array) -> Fallible<Map> {
        let is_known = |values: &Map, row: &Map| match row.get("name") {
            Some(name) => values.contains_key(name.to_string().as_str()),
            None => ["settings", "setting", "params"].iter().any(|key| row.contains_key(*key)),
        };
        let known = session(&ctx).arguments().filter(|values| {
            let rows = || params.iter().map(Dynamic::read_lock::<Map>);
            let all_named = rows().all(|row| row.is_some_and(|row| row.contains_key("name")));
            rows().all(|row| row.is_some_and(|row| is_known(values, &row)))
                && (!all_named || values.len() == params.len())
        });
        known
            .ok_or_else(|| {
                Error::new(Kind::Script, "args takes the constant PARAMS of the recipe that was started")
                    .hint("write `const PARAMS = [...];` and `let p = args(PARAMS);` at the top of the recipe")
            })
            .at(&ctx)
    }

    /// Returns the parameters that were given on the command line, without the defaults of the others.
    ///
    /// # Example
    /// ```rhai
    /// typed().is_empty()            // an example is started without flags
    /// ```
    #[rhai_fn(volatile)]
    pub fn typed(ctx: NativeCallContext) -> Map {
        session(&ctx).call().typed.iter().map(|(name, given)| (name.as_str().into(), value::from_json(given))).collect()
    }

    /// Waits until the time has passed or a signal arrives.
    ///
    /// * `seconds`: 0 to 604800, a week.
    /// * Fails with `config.value` for any other number.
    ///
    /// # Example
    /// ```rhai
    /// let clock = timestamp();
    /// sleep(0.01);
    /// clock.elapsed >= 0.01
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn sleep(ctx: NativeCallContext, seconds: f64) -> Fallible<()> {
        super::wait(session(&ctx).task(), seconds).at(&ctx)
    }

    /// Waits for a whole number of seconds.
    ///
    /// # Example
    /// ```rhai
    /// sleep(0);
    /// true
    /// ```
    #[rhai_fn(name = "sleep", return_raw, volatile)]
    pub fn sleep_int(ctx: NativeCallContext, seconds: i64) -> Fallible<()> {
        super::wait(session(&ctx).task(), seconds as f64).at(&ctx)
    }

    // Rhai's own `exit` would drop the code; a recipe that reports failure must not end as "done".
    #[rhai_fn(name = "exit", return_raw, volatile)]
    pub fn exit_without_code(ctx: NativeCallContext) -> Fallible<()> {
        super::no_exit(&ctx)
    }

    #[rhai_fn(name = "exit", return_raw, volatile)]
    pub fn exit_with_any(ctx: NativeCallContext, _code: Dynamic) -> Fallible<()> {
        super::no_exit(&ctx)
    }
}

fn wait(task: &Task, seconds: f64) -> crate::Result<()> {
    if !(0.0..=MAX_SLEEP).contains(&seconds) {
        let message = format!("sleep got {seconds:?} seconds, but takes between 0 and {MAX_SLEEP}");
        return Err(Error::new(Kind::ConfigValue, message).hint("the unit is seconds: sleep(0.5) is half a second"));
    }
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    loop {
        task.check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(SIGNAL_INTERVAL));
    }
}

fn no_exit(ctx: &NativeCallContext) -> Fallible<()> {
    Err(Error::new(Kind::Script, "a recipe cannot end with exit").hint("use system::exit_with(code)")).at(ctx)
}
