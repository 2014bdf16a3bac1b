//! Which value wins where several places give a setting.
//!
//! ```text
//! RVC's default  <  preset  <  the recipe's base  <  value in PARAMS  <  --settings  <  --set, flags  <  the recipe's changes to p
//! ```
//!
//! A flag that was not typed overrides nothing.

use crate::config::{Config, presets, setting_called};
use crate::{Error, Kind, Result};
use serde_json::{Map, Value};

/// A parameter that stands for a setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub param: String,
    pub setting: String,
    /// Whether the parameter turns the setting off.
    pub inverted: bool,
}

/// The settings that a recipe and its command line give, by the settings' names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers {
    /// The parameters that stand for settings.
    pub names: Vec<Named>,
    /// Values in PARAMS.
    pub recipe: Map<String, Value>,
    /// `--settings`, the JSON text that was typed.
    pub json: Option<String>,
    /// `--set`, of settings that the recipe has no flag for.
    pub set: Map<String, Value>,
    /// Flags.
    pub typed: Map<String, Value>,
    /// The GPUs that `--gpu` names.
    pub gpus: Vec<u32>,
}

impl Layers {
    /// All typed settings, however they were typed. Errors: `config.value` if `--settings` is not a JSON object, `config.unknown_key`.
    pub fn typed(&self) -> Result<Map<String, Value>> {
        let mut all = match &self.json {
            Some(text) => by_name(&object(text)?)?,
            None => Map::new(),
        };
        all.extend(self.set.clone());
        all.extend(self.typed.clone());
        Ok(all)
    }

    /// The checked settings.
    ///
    /// * `base`: the recipe's starting point instead of RVC's defaults and the preset, such as the settings of an older training.
    /// * `changed`: parameters that the recipe has changed after it got them, with their present values.
    ///
    /// Errors: `config.value`, `config.unknown_key`.
    pub fn settings(&self, base: &Map<String, Value>, changed: &Map<String, Value>) -> Result<Config> {
        let mut over = self.recipe.clone();
        over.extend(self.typed()?);
        for named in &self.names {
            if let Some(value) = changed.get(&named.param).filter(|value| !value.is_null()) {
                over.insert(named.setting.clone(), turned(value, named.inverted));
            }
        }
        let preset = over.get("preset").or(base.get("preset")).and_then(Value::as_str);
        let mut all = presets::named(presets::RVC)?;
        if let Some(preset) = preset {
            all.extend(presets::named(preset).unwrap_or_default());
        }
        all.extend(base.clone());
        all.extend(over);
        Config::from_json(&all)
    }
}

/// A flag's value as its setting's value. (A list of GPUs requests one.)
pub fn turned(value: &Value, inverted: bool) -> Value {
    match value {
        Value::Bool(on) if inverted => Value::Bool(!on),
        value => value.clone(),
    }
}

/// Settings under their own names; the name of a flag, such as `no_f0`, is accepted too.
fn by_name(given: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for (key, value) in given {
        let (name, inverted) = setting_called(key).map_or((key.as_str(), false), |(one, off)| (one.name.as_str(), off));
        all.insert(name.to_owned(), turned(value, inverted));
    }
    // Unknown names are refused now, wherever the map is used later.
    Config::known(&all)?;
    Ok(all)
}

fn object(text: &str) -> Result<Map<String, Value>> {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    match parsed {
        Some(Value::Object(map)) => Ok(map),
        _ => Err(Error::new(Kind::ConfigValue, format!("--settings is {text:?}, but must be a JSON object"))
            .hint("such as --settings '{\"c_mel\": 45}'; --set c_mel=45 needs no quotes")),
    }
}
