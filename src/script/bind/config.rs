//! Script interface of [`crate::config`]: settings checked early, with every default filled in.

use super::session::Session;
use super::{At, Fallible, session, value};
use crate::config::settings::Setting;
use crate::{Error, Kind, Result};
use rhai::plugin::*;
use rhai::{Array, Dynamic, Map, NativeCallContext};
use serde_json::json;

#[export_module]
pub mod api {
    /// Returns the settings with every default filled in, or fails if one is unknown or out of range.
    ///
    /// * `settings`: a map of the settings that differ from `config::defaults()`. A recipe whose PARAMS name settings uses `config::of(p)` instead.
    /// * Fails with `config.unknown_key` (and the nearest name) or `config.value` (and the allowed values).
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

    /// Returns the settings of a recipe whose PARAMS name settings, checked and with every default filled in: RVC's defaults, then the preset, then
    /// the values in PARAMS, then what was typed. A flag that was not typed overrides nothing.
    ///
    /// * `p`: the result of `args(PARAMS)`; a setting that the recipe has changed in it has priority over all others.
    /// * Fails with `config.unknown_key` or `config.value`; with `script` if PARAMS names no settings.
    ///
    /// # Example
    /// ```rhai
    /// const PARAMS = [#{ settings: ["model", "training"] }, #{ setting: "preset", value: "tiny" }, #{ setting: "epochs", value: 5 }];
    /// let p = args(PARAMS);
    /// let cfg = config::of(p);
    /// cfg.epochs == 5 && cfg.learning_rate == 0.001 && p.learning_rate == 0.0001     // from the preset: none was typed
    /// ```
    #[rhai_fn(return_raw)]
    pub fn of(ctx: NativeCallContext, p: Map) -> Fallible<Map> {
        super::of_params(&session(&ctx), &p, &Map::new()).at(&ctx)
    }

    /// Returns the settings of a recipe as `of` does, starting from `base` instead of RVC's defaults and the preset: for example, the settings of an older training.
    ///
    /// # Example
    /// ```rhai
    /// const PARAMS = [#{ settings: ["training"], otherwise: "as it was" }];
    /// let p = args(PARAMS);
    /// p.batch_size == () && config::of(p, #{ batch_size: 8 }).batch_size == 8
    /// ```
    #[rhai_fn(name = "of", return_raw)]
    pub fn of_over(ctx: NativeCallContext, p: Map, base: Map) -> Fallible<Map> {
        super::of_params(&session(&ctx), &p, &base).at(&ctx)
    }

    /// Returns the settings that were given on the command line, with any flag, under their own names.
    ///
    /// * Fails with `config.value` or `config.unknown_key` if --settings is wrong.
    ///
    /// # Example
    /// ```rhai
    /// config::typed().is_empty()            // an example is started without flags
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn typed(ctx: NativeCallContext) -> Fallible<Map> {
        session(&ctx).layers().typed().map(|typed| value::map_from_json(&typed)).at(&ctx)
    }

    /// Returns the settings of a preset.
    ///
    /// * `name`: "rvc", RVC's settings with the pretrained networks that are in common use; "offline", values that need no download; "tiny", few
    ///   channels for tests and demos, with ten times RVC's learning rate; "full", RVC's size, which changes nothing.
    /// * Fails with `config.value` for any other name.
    ///
    /// # Example
    /// ```rhai
    /// config::preset("tiny").learning_rate == 0.001 && config::preset("rvc").f0_method == "rmvpe"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn preset(ctx: NativeCallContext, name: &str) -> Fallible<Map> {
        crate::config::presets::named(name).map(|preset| value::map_from_json(&preset)).at(&ctx)
    }

    /// Returns the declaration of every setting: maps of `name`, `value` (RVC's), `help`, `group`, `unit`, `one_of`, `min` and `max` (() if there is no limit), and
    /// `searchable`, whether trials of a sweep may have different values.
    ///
    /// # Example
    /// ```rhai
    /// let one = config::settings().find(|one| one.name == "learning_rate");
    /// one.group == "training" && one.value == 0.0001 && one.max == 1.0 && one.searchable
    /// ```
    pub fn settings() -> Array {
        crate::config::settings().iter().map(super::described).collect()
    }

    /// Returns every setting with its default; for `f0_method`, `content_encoder`, `pretrained_g` and `pretrained_d`, a default that needs no download.
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

fn of_params(session: &Session, p: &Map, base: &Map) -> Result<Map> {
    let layers = session.layers();
    if layers.names.is_empty() {
        return Err(Error::new(Kind::Script, "config::of needs a recipe whose PARAMS name settings").hint(
            "such as #{ settings: [\"clips\", \"features\", \"training\"] }; config::check takes a map of settings",
        ));
    }
    let before = value::map_to_json(&session.arguments().unwrap_or_default())?;
    let mut changed = value::map_to_json(p)?;
    changed.retain(|name, now| before.get(name) != Some(now));
    let config = layers.settings(&value::map_to_json(base)?, &changed)?;
    value::config_map(&config)
}

fn described(setting: &Setting) -> Dynamic {
    let limits = &setting.limits;
    value::from_json(&json!({
        "name": setting.name, "value": setting.default, "help": setting.help, "group": setting.group, "unit": setting.unit,
        "one_of": limits.one_of, "min": limits.min, "max": limits.max, "searchable": setting.searchable(),
    }))
}
