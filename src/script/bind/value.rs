//! Plain values between scripts and the engine, through JSON; settings maps through [`crate::config::Config`].

use crate::config::Config;
use crate::{Error, Kind, Result};
use rhai::{Array, Dynamic, Map};
use serde_json::Value;

/// A plain script value as JSON. Numbers that are not finite become strings ("NaN"), since JSON has no such numbers.
///
/// Errors: `config.value` for anything that is not a plain value, such as a handle or a function.
pub fn to_json(value: &Dynamic) -> Result<Value> {
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(b) = value.as_bool() {
        return Ok(b.into());
    }
    if let Ok(i) = value.as_int() {
        return Ok(i.into());
    }
    if let Ok(x) = value.as_float() {
        return Ok(serde_json::Number::from_f64(x).map_or_else(|| Value::from(x.to_string()), Value::Number));
    }
    if value.is_string() || value.is_char() {
        return Ok(value.to_string().into());
    }
    if let Some(items) = value.read_lock::<Array>() {
        return items.iter().map(to_json).collect::<Result<Vec<_>>>().map(Value::Array);
    }
    if let Some(map) = value.read_lock::<Map>() {
        return map_to_json(&map).map(Value::Object);
    }
    Err(Error::new(Kind::ConfigValue, format!("{} is not a plain value", kind(value)))
        .hint("plain values are strings, numbers, true and false, (), arrays and maps of them"))
}

/// A number, whole or not, as a float.
pub fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|whole| whole as f64))
}

/// The type of a value in a message: "a string", "a map", "a Trainer".
pub fn kind(value: &Dynamic) -> String {
    kind_of(value.type_name())
}

/// The type of a Rhai or Rust value in a message. Handles have the script's name for them after the last `::`.
pub fn kind_of(type_name: &str) -> String {
    match type_name {
        "()" => "()".into(),
        "bool" => "true or false".into(),
        "i64" => "a whole number".into(),
        "f64" => "a number".into(),
        "char" => "a character".into(),
        "string" | "String" | "&str" | "ImmutableString" => "a string".into(),
        "array" => "an array".into(),
        "map" => "a map".into(),
        "Fn" => "a function".into(),
        other => {
            let name = other.split('<').next().unwrap_or(other);
            let name = match name.rsplit("::").next().unwrap_or(name) {
                // Types whose name in Rust differs from the one in scripts.
                "Sound" => "Audio",
                "DataHandle" => "Dataset",
                "ListHandle" => "FileList",
                "Handle" => "Run",
                "Fault" => "Error",
                "Instant" => "timestamp",
                "Range" | "RangeInclusive" => "range",
                "FnPtr" => "function",
                other => other.strip_suffix("Handle").unwrap_or(other),
            };
            let article = if name.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
            format!("{article} {name}")
        }
    }
}

/// A value in a message: short ones as they are written, others by their type.
pub fn shown(value: &Dynamic) -> String {
    /// Longer strings would fill the message.
    const MOST: usize = 60;
    if value.is_string() || value.is_char() {
        let text = value.to_string();
        return if text.chars().count() <= MOST { format!("{text:?}") } else { "a long string".to_owned() };
    }
    if value.is_bool() || value.is_int() {
        return value.to_string();
    }
    value.as_float().map_or_else(|_| kind(value), |number| number.to_string())
}

/// A script map as a JSON object; see [`to_json`].
pub fn map_to_json(map: &Map) -> Result<serde_json::Map<String, Value>> {
    map.iter().map(|(key, value)| Ok((key.to_string(), to_json(value).map_err(|e| e.context(key))?))).collect()
}

/// JSON as a plain script value; numbers beyond i64 become floats.
pub fn from_json(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => match n.as_i64() {
            Some(i) => i.into(),
            None => n.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.clone().into(),
        Value::Array(items) => items.iter().map(from_json).collect::<Array>().into(),
        Value::Object(map) => map_from_json(map).into(),
    }
}

/// A JSON object as a script map; see [`from_json`].
pub fn map_from_json(map: &serde_json::Map<String, Value>) -> Map {
    map.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect()
}

/// Settings from a script map. Errors: `config.unknown_key`, `config.value`.
pub fn config(map: &Map) -> Result<Config> {
    Config::from_json(&map_to_json(map)?)
}

/// Settings as a script map, with every one filled in.
pub fn config_map(config: &Config) -> Result<Map> {
    match serde_json::to_value(config) {
        Ok(Value::Object(map)) => Ok(map_from_json(&map)),
        _ => Err(Error::new(Kind::Internal, "bug: the settings did not serialise to an object; please report")),
    }
}
