//! A setting's declaration: read from the schema that schemars derives from [`super::Config`]; values are checked against the same declaration.
//!
//! ```text
//! doc comment          first paragraph: help; the others: more
//! type, range(..)      kind, limits
//! extend("enum")       limits.one_of           extend("path")      a path is allowed too; as a bare name if it has one of these endings
//! extend("group")      clips, features, model, training, tracking, machine
//! extend("unit")       after the value         extend("remakes")   what a change reruns; empty: training continues
//! extend("common")     shown by -h             extend("shared")    one value for all trials of a sweep
//! extend("aliases")    other names of the flag extend("flag")      name of the flag, if it differs from the setting's
//! extend("off")        name of a flag that turns it off            extend("devices")   the flag may name GPUs: --gpu 0,1
//! ```
//!
//! The check walks the schema instead of using a crate for validation: garde and validator have attributes and messages of their own, so every range
//! would be declared twice, and their messages do not name the nearest choice.

use crate::error::nearest;
use crate::{Error, Kind as Code, Result};
use serde_json::{Map, Number, Value};

/// The type of a value on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Flag,
    Int,
    Float,
    Text,
    /// `--urls A B`.
    Texts,
    /// `--betas 0.8,0.99`; as many as the default has.
    Floats,
    /// `--gpu`, `--gpu 1`, `--gpu 0,1`.
    Devices,
    /// `--set NAME=VALUE`, may be repeated.
    Assignments,
}

/// The values allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub min: Option<Number>,
    pub max: Option<Number>,
    /// Empty: no list.
    pub one_of: Vec<Value>,
    /// A path is allowed instead of one of `one_of`. Holds the extensions that make a word without a slash a path.
    pub path: Option<Vec<String>>,
}

/// Why a value is refused.
#[derive(Debug, PartialEq)]
pub struct Misfit {
    /// "must be between 1 and 30".
    pub must: String,
    /// The choice that the user probably meant.
    pub near: Option<String>,
}

impl Limits {
    /// What is wrong with a value of the right type; None if it is allowed.
    pub fn misfit(&self, value: &Value) -> Option<Misfit> {
        if !self.one_of.is_empty() && !self.one_of.iter().any(|known| same(known, value)) {
            if self.path.as_ref().is_some_and(|endings| is_path(&shown(value), endings)) {
                return None;
            }
            let names: Vec<String> = self.one_of.iter().map(shown).collect();
            let near = nearest(&shown(value), names.iter().map(String::as_str)).map(str::to_owned);
            return Some(Misfit { must: format!("must be one of {}", names.join(", ")), near });
        }
        let x = value.as_f64()?;
        let below = self.min.as_ref().is_some_and(|min| min.as_f64().is_some_and(|min| x < min));
        let above = self.max.as_ref().is_some_and(|max| max.as_f64().is_some_and(|max| x > max));
        (below || above).then(|| Misfit { must: format!("must be {}", self.range()), near: None })
    }

    /// "at least 1", "at most 30", "between 1 and 30", or nothing.
    pub fn range(&self) -> String {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => format!("between {} and {}", number(min), number(max)),
            (Some(min), None) => format!("at least {}", number(min)),
            (None, Some(max)) => format!("at most {}", number(max)),
            (None, None) => String::new(),
        }
    }

    /// The choices, in words, or an empty string.
    pub fn choices(&self) -> String {
        let names: Vec<String> = self.one_of.iter().map(shown).filter(|name| !name.is_empty()).collect();
        if self.path.is_some() { format!("{}, or a path", names.join(", ")) } else { names.join(", ") }
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub name: String,
    /// One sentence.
    pub help: String,
    /// Further help; may be empty.
    pub more: String,
    pub kind: Kind,
    /// RVC's.
    pub default: Value,
    pub limits: Limits,
    /// "Hz", "seconds"; may be empty.
    pub unit: String,
    pub group: String,
    /// What a change reruns; empty: training continues with it.
    pub remakes: Vec<String>,
    /// Whether it is one of the settings that people use most.
    pub common: bool,
    /// Whether all trials of a sweep have the same value.
    pub shared: bool,
    /// The name of its flag, with underscores.
    pub flag: String,
    /// Whether the flag turns the setting off, as `--no-f0` does.
    pub inverted: bool,
    /// Other names of the flag, with underscores.
    pub aliases: Vec<String>,
}

/// The settings of a schema, in the order of `defaults`.
pub fn read(schema: &Value, defaults: &Map<String, Value>) -> Vec<Setting> {
    let one = |(name, default): (&String, &Value)| {
        let declared = &schema["properties"][name];
        let texts = |key: &str| -> Vec<String> {
            let items = declared[key].as_array().into_iter().flatten();
            items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let text = |key: &str| declared[key].as_str().unwrap_or_default().to_owned();
        let on = |key: &str| declared[key] == Value::Bool(true);
        // A list has the range of its items.
        let ranged = if declared["items"].is_object() { &declared["items"] } else { declared };
        let limit = |key: &str| ranged[key].as_number().cloned();
        let one_of: Vec<Value> = declared["enum"].as_array().cloned().unwrap_or_default();
        let doc = text("description");
        let mut paragraphs = doc.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        let help = paragraphs.next().unwrap_or_default();
        let (flag, off) = (text("flag"), text("off"));
        let inverted = !off.is_empty();
        let flag = [off, flag, name.clone()].into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let kind = match default {
            Value::Bool(_) if on("devices") => Kind::Devices,
            Value::Bool(_) => Kind::Flag,
            Value::Number(n) if n.is_f64() => Kind::Float,
            Value::Number(_) => Kind::Int,
            Value::Array(_) => Kind::Floats,
            _ => Kind::Text,
        };
        Setting {
            name: name.clone(),
            help,
            more: paragraphs.collect::<Vec<_>>().join("\n\n"),
            kind,
            default: default.clone(),
            limits: Limits {
                min: limit("minimum"),
                max: limit("maximum"),
                one_of,
                path: declared["path"].is_array().then(|| texts("path")),
            },
            unit: text("unit"),
            group: text("group"),
            remakes: texts("remakes"),
            common: on("common"),
            shared: on("shared"),
            flag,
            inverted,
            aliases: texts("aliases"),
        }
    };
    defaults.iter().map(one).collect()
}

impl Setting {
    /// `value` as a value of this setting: whole numbers become floats where a float is required; no other type changes.
    ///
    /// Errors: `config.value`. Ranges are not checked; see [`Setting::check`].
    pub fn fitting(&self, value: &Value) -> Result<Value> {
        fitting(&self.default, value).ok_or_else(|| {
            let wanted = type_name(&self.default);
            Error::new(Code::ConfigValue, format!("{} is {value}, but must be {wanted}", self.name))
        })
    }

    /// Whether a value of the right type is allowed. Errors: `config.value`, with the allowed values.
    pub fn check(&self, value: &Value) -> Result<()> {
        match value {
            Value::Array(items) => {
                items.iter().enumerate().try_for_each(|(i, item)| self.judge(&format!("{}[{i}]", self.name), item))
            }
            value => self.judge(&self.name, value),
        }
    }

    fn judge(&self, name: &str, value: &Value) -> Result<()> {
        let Some(misfit) = self.limits.misfit(value) else { return Ok(()) };
        let error = Error::new(Code::ConfigValue, format!("{name} is {}, but {}", shown(value), misfit.must));
        let error = match misfit.near {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("leave it out for the default"),
        };
        Err(match &self.limits.path {
            Some(endings) if endings.is_empty() => error.also("a path has a / in it"),
            Some(endings) => error.also(format!("or give the path of a .{} file", endings[0])),
            None => error,
        })
    }

    /// Whether trials of a sweep may have different values: not for settings of clips and features, which all trials share.
    pub fn searchable(&self) -> bool {
        !self.shared && self.group != "clips" && self.group != "features"
    }

    /// What a change of the setting reruns, in words.
    pub fn remade(&self) -> String {
        if self.remakes.is_empty() { "nothing, training continues".into() } else { self.remakes.join(", ") }
    }
}

/// A value as people type it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) => number(n),
        Value::Array(items) if items.iter().all(Value::is_number) => {
            items.iter().map(shown).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// A number without needless decimals: 30 for 30.0.
fn number(n: &Number) -> String {
    /// Above this, some whole numbers are not floats.
    const EXACT: f64 = 1e15;
    match n.as_f64() {
        Some(x) if n.is_f64() && x.fract() == 0.0 && x.abs() < EXACT => format!("{x:.0}"),
        _ => n.to_string(),
    }
}

/// Whether two values are equal: 1 and 1.0 are.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

fn is_path(given: &str, endings: &[String]) -> bool {
    let ending = given.rsplit_once('.').map(|(_, ending)| ending);
    given.contains(['/', '\\']) || ending.is_some_and(|ending| endings.iter().any(|known| known == ending))
}

fn fitting(slot: &Value, value: &Value) -> Option<Value> {
    match (slot, value) {
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => Some(value.clone()),
        (Value::Number(old), Value::Number(new)) if old.is_f64() => {
            new.as_f64().filter(|x| x.is_finite()).map(Value::from)
        }
        (Value::Number(_), Value::Number(new)) => new.as_i64().map(Value::from),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).map(|(o, n)| fitting(o, n)).collect::<Option<Vec<_>>>().map(Value::from)
        }
        _ => None,
    }
}

fn type_name(slot: &Value) -> String {
    match slot {
        Value::Bool(_) => "true or false".into(),
        Value::String(_) => "a string".into(),
        Value::Number(n) if n.is_f64() => "a finite number".into(),
        Value::Number(_) => "a whole number".into(),
        Value::Array(items) => format!("a list of {} numbers", items.len()),
        _ => "a JSON object".into(),
    }
}
