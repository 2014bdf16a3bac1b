//! Script face of [`crate::config`]: settings checked early, with every default filled in.

use super::value;
use super::{At, Fallible};
use rhai::plugin::*;
use rhai::{Map, NativeCallContext};

#[export_module]
pub mod api {
    /// Returns the settings with every default filled in, or fails if one is unknown or out of range.
    ///
    /// * `settings`: a map of the settings that differ from RVC's published values.
    /// * Fails with `config.unknown_key` (and the nearest name) or `config.value` (and what is allowed).
    ///
    /// # Example
    /// ```rhai
    /// let cfg = config::check(#{ epochs: 500 });
    /// cfg.epochs == 500 && cfg.batch_size == 4
    /// ```
    #[rhai_fn(return_raw)]
    pub fn check(ctx: NativeCallContext, settings: Map) -> Fallible<Map> {
        value::config(&settings).and_then(|config| value::config_map(&config)).at(&ctx)
    }

    /// Returns every setting with RVC's published value.
    ///
    /// # Example
    /// ```rhai
    /// config::defaults().sample_rate == 40000
    /// ```
    #[rhai_fn(return_raw)]
    pub fn defaults(ctx: NativeCallContext) -> Fallible<Map> {
        value::config_map(&crate::config::Config::default()).at(&ctx)
    }
}
