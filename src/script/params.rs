//! `PARAMS`: the flags of a recipe, and their values from the command line. `rows` reads them from a script.

use super::bind::value;
use crate::address::without_password;
use crate::config::layers::{Layers, Named, turned};
use crate::config::settings::{Limits, Setting, same};
use crate::config::{setting, setting_called, settings};
use crate::error::nearest;
use rhai::Map;
use serde_json::{Number, Value};
use std::collections::BTreeMap;
use std::path::Path;

pub use crate::config::settings::{Kind, shown};

/// Flags of every recipe that names groups of settings, unless it has its own of that name.
pub const SET: &str = "set";
pub const JSON: &str = "settings";

/// One parameter of a recipe. Its type is that of its `value`, or of the entries of `one_of`, or a string; an array is a list of strings.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// As scripts write it, with underscores.
    pub name: String,
    pub help: String,
    pub kind: Kind,
    /// The default; `None` means that it must be given, `null` that it is `()` if it is missing.
    pub value: Option<Value>,
    pub limits: Limits,
    pub positional: bool,
    /// Its group, for headings; for a setting, the setting's group. May be empty.
    pub group: String,
    /// Whether `-h` shows it.
    pub common: bool,
    /// Other names of the flag, with underscores.
    pub aliases: Vec<String>,
    pub unit: String,
    /// In words, what applies if it is not given, instead of a default.
    pub otherwise: String,
    pub stands: Stands,
}

/// The meaning of a parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Stands {
    /// Only the recipe uses it.
    #[default]
    Own,
    /// `--set` or `--settings`.
    Others,
    Setting {
        name: String,
        /// Whether the parameter turns it off.
        inverted: bool,
        /// The value that the recipe gives it.
        value: Option<Value>,
    },
}

impl Param {
    /// The parameter of a setting that the recipe does not change.
    pub fn of(setting: &Setting) -> Self {
        Self {
            name: setting.flag.clone(),
            help: setting.help.clone(),
            kind: setting.kind,
            value: Some(turned(&setting.default, setting.inverted)),
            limits: setting.limits.clone(),
            positional: false,
            group: setting.group.clone(),
            common: setting.common,
            aliases: setting.aliases.clone(),
            unit: setting.unit.clone(),
            otherwise: String::new(),
            stands: Stands::Setting { name: setting.name.clone(), inverted: setting.inverted, value: None },
        }
    }

    /// The flags for settings that a recipe has no flag for.
    pub(super) fn others() -> [Self; 2] {
        let one = |name: &str, kind, value: Value, help: &str| Self {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            value: Some(value),
            limits: Limits::default(),
            positional: false,
            group: "settings".to_owned(),
            common: false,
            aliases: Vec::new(),
            unit: String::new(),
            otherwise: String::new(),
            stands: Stands::Others,
        };
        let set = "change any setting; may be repeated: --set c_mel=40; `rvc-run settings` lists them";
        let json = "settings as JSON: {\"c_mel\": 45, \"lr_decay\": 0.9998}; flags and --set override it";
        [one(SET, Kind::Assignments, Value::Array(Vec::new()), set), one(JSON, Kind::Text, Value::from("{}"), json)]
    }

    /// `text` from the command line as a value of this parameter (of a list: as an entry), or what is wrong with it.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let float = |text: &str| {
            let number = text.trim().parse::<f64>().ok().and_then(Number::from_f64);
            number.map(Value::Number).ok_or_else(|| "must be a finite number".to_owned())
        };
        let value = match self.kind {
            Kind::Flag => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err("must be true or false".into()),
            },
            Kind::Int => Value::from(self.whole(text).ok_or_else(|| "must be a whole number".to_owned())?),
            Kind::Float => float(text)?,
            Kind::Floats => {
                let items = text.split(',').map(float).collect::<Result<Vec<_>, _>>()?;
                let wanted = self.setting().and_then(|setting| setting.default.as_array()).map_or(0, Vec::len);
                if items.len() != wanted {
                    return Err(format!("must be {wanted} numbers with commas between"));
                }
                items.iter().try_for_each(|item| self.check(item))?;
                return Ok(Value::Array(items));
            }
            Kind::Devices => devices(text)?,
            Kind::Assignments => assignment(text).map(|_| Value::from(text))?,
            Kind::Text | Kind::Texts => Value::from(text),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// A whole number; 40k for a rate of 40000 Hz.
    fn whole(&self, text: &str) -> Option<i64> {
        match text.strip_suffix(['k', 'K']).filter(|_| self.unit == "Hz") {
            Some(thousands) => thousands.parse::<i64>().ok()?.checked_mul(1000),
            None => text.parse().ok(),
        }
    }

    /// The setting that the parameter stands for.
    pub fn setting(&self) -> Option<&'static Setting> {
        match &self.stands {
            Stands::Setting { name, .. } => setting(name),
            _ => None,
        }
    }

    /// Whether a value of the right type is in range, or what is wrong with it.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        match self.limits.misfit(value) {
            None => Ok(()),
            Some(misfit) => {
                let near = misfit.near.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                Err(format!("{}{near}", misfit.must))
            }
        }
    }
}

/// The value of `--gpu`: a boolean, or numbers of GPUs, which stay a string.
fn devices(text: &str) -> Result<Value, String> {
    match text {
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        "cpu" => {
            return Err("must be true or numbers of GPUs, such as 0,1; leave out --gpu to compute on the CPU".into());
        }
        _ => {}
    }
    let numbers: Option<Vec<u32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let numbers = numbers.ok_or_else(|| "must be true, false or numbers of GPUs, such as 0,1".to_owned())?;
    if let Some(twice) = numbers.iter().enumerate().find(|(i, number)| numbers[..*i].contains(number)) {
        return Err(format!("names GPU {} twice", twice.1));
    }
    Ok(Value::from(numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
}

/// The setting of a "NAME=VALUE", and its value.
fn assignment(text: &str) -> Result<(&'static Setting, Value), String> {
    let (name, given) = text.split_once('=').ok_or_else(|| "must be NAME=VALUE, such as c_mel=40".to_owned())?;
    let wanted = name.trim().trim_start_matches('-');
    let Some((one, inverted)) = setting_called(wanted) else {
        let near = nearest(&wanted.replace('-', "_"), settings().iter().map(|one| one.name.as_str()));
        let near =
            near.map_or_else(|| "`rvc-run settings` lists all".to_owned(), |near| format!("did you mean {near}?"));
        return Err(format!("there is no setting {name}; {near}"));
    };
    let value = Param::of(one).parse(given.trim()).map_err(|why| format!("{name} {why}"))?;
    Ok((one, turned(&value, inverted)))
}

/// Parsed values as the map that `args(PARAMS)` gives; whole numbers become floats where the default is one.
pub fn to_map(params: &[Param], values: &BTreeMap<String, Value>) -> Map {
    params
        .iter()
        .filter_map(|param| {
            let given = values.get(&param.name).or(param.value.as_ref())?;
            let fitting = match (param.kind, given) {
                (Kind::Float, Value::Number(n)) => n.as_f64().map_or_else(|| given.clone(), Value::from),
                // `system::gpus` has the numbers of the GPUs.
                (Kind::Devices, Value::String(_)) => Value::Bool(true),
                _ => given.clone(),
            };
            Some((param.name.as_str().into(), value::from_json(&fitting)))
        })
        .collect()
}

/// The settings that a recipe and its command line give. `given` holds the typed values, from `flags::values`.
pub fn layers(params: &[Param], given: &BTreeMap<String, Value>) -> Layers {
    let mut layers = Layers::default();
    for param in params {
        let typed = given.get(&param.name);
        match &param.stands {
            Stands::Own => {}
            Stands::Others if param.name == JSON => layers.json = typed.and_then(Value::as_str).map(str::to_owned),
            Stands::Others => {
                let texts = typed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                layers.set.extend(
                    texts.filter_map(|text| assignment(text).ok()).map(|(one, value)| (one.name.clone(), value)),
                );
            }
            Stands::Setting { name, inverted, value } => {
                layers.names.push(Named { param: param.name.clone(), setting: name.clone(), inverted: *inverted });
                layers.recipe.extend(value.clone().map(|value| (name.clone(), value)));
                if let (Kind::Devices, Some(Value::String(numbers))) = (param.kind, typed) {
                    layers.gpus = numbers.split(',').filter_map(|number| number.parse().ok()).collect();
                    layers.typed.insert(name.clone(), Value::Bool(true));
                } else {
                    layers.typed.extend(typed.map(|value| (name.clone(), turned(value, *inverted))));
                }
            }
        }
    }
    layers
}

/// Moves values typed with `--set` to the recipe's flags for the same settings; a typed flag overrides them.
pub fn fold(params: &[Param], typed: &mut BTreeMap<String, Value>) {
    let Some(Value::Array(texts)) = typed.get(SET).cloned() else { return };
    if !params.iter().any(|param| param.name == SET && param.stands == Stands::Others) {
        return;
    }
    let mut rest = Vec::new();
    let mut folded = BTreeMap::new();
    for text in texts {
        let found = text.as_str().and_then(|text| assignment(text).ok());
        let param =
            found.as_ref().and_then(|(one, _)| params.iter().find(|p| p.setting().is_some_and(|s| s.name == one.name)));
        match (found, param) {
            (Some((one, value)), Some(param)) => drop(folded.insert(param.name.clone(), turned(&value, one.inverted))),
            _ => rest.push(text),
        }
    }
    for (name, value) in folded {
        typed.entry(name).or_insert(value);
    }
    typed.remove(SET);
    if !rest.is_empty() {
        typed.insert(SET.to_owned(), Value::Array(rest));
    }
}

/// The parameters of a run, for its first line: so a log shows how to repeat it.
pub struct Opening {
    recipe: String,
    positional: Vec<String>,
    /// Those that differ from their defaults, in the order of PARAMS.
    changed: Vec<(String, Value)>,
    /// Everything.
    values: serde_json::Map<String, Value>,
}

impl Opening {
    /// `recipe`: its name or path; `given`: the typed values. Passwords in addresses are removed.
    pub fn new(recipe: &str, params: &[Param], given: &BTreeMap<String, Value>) -> Self {
        let stem = Path::new(recipe).file_stem().map_or_else(|| recipe.into(), |stem| stem.to_string_lossy());
        let (mut positional, mut changed, mut values) = (Vec::new(), Vec::new(), serde_json::Map::new());
        for param in params {
            let value = given.get(&param.name).or(param.value.as_ref()).filter(|value| !value.is_null());
            let Some(value) = value else { continue };
            let value = without_passwords(value);
            values.insert(param.name.clone(), value.clone());
            if param.positional {
                positional.push(shown(&value));
            } else if !param.value.as_ref().is_some_and(|usual| same(usual, &value)) {
                changed.push((param.name.clone(), value));
            }
        }
        Self { recipe: stem.into_owned(), positional, changed, values }
    }

    /// "train_voice anna: epochs 500, batch_size 8 (defaults otherwise)"; None for a recipe without parameters.
    pub fn line(&self) -> Option<String> {
        if self.values.is_empty() {
            return None;
        }
        let named = std::iter::once(&self.recipe).chain(&self.positional).map(String::as_str);
        let changed: Vec<String> =
            self.changed.iter().map(|(name, value)| format!("{name} {}", shown(value))).collect();
        let settings = match (changed.is_empty(), self.values.len() > changed.len() + self.positional.len()) {
            (true, true) => ": defaults".to_owned(),
            (true, false) => String::new(),
            (false, more) => format!(": {}{}", changed.join(", "), if more { " (defaults otherwise)" } else { "" }),
        };
        Some(format!("{}{settings}", named.collect::<Vec<_>>().join(" ")))
    }

    /// The same for programs: an object with `event` ("settings"), `recipe`, `arguments`, `changed` and all `values`.
    pub fn to_json(&self) -> Value {
        let changed: serde_json::Map<String, Value> = self.changed.iter().cloned().collect();
        serde_json::json!({
            "event": "settings", "recipe": self.recipe, "arguments": self.positional, "changed": changed, "values": self.values
        })
    }
}

/// Entry by entry: one may be an address with a blank in it.
fn without_passwords(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(without_password(text).into_owned()),
        Value::Array(entries) => entries.iter().map(without_passwords).collect(),
        other => other.clone(),
    }
}
