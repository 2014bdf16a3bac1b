//! The space of a search: for each setting the values that trials may have.

use super::Settings;
use super::faults::Faults;
use crate::error::nearest;
use crate::{Error, Kind, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A space as text, for hints.
const EXAMPLE: &str = "learning_rate=log(1e-5,1e-3); batch_size=choice(2,4,8); c_mel=uniform(30,60); seed=int(1,9)";

/// The kinds of axes, as a space's text names them.
const KINDS: [&str; 4] = ["choice", "uniform", "log", "int"];

/// The values of one setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Axis {
    /// One of these, which have no order.
    Choice(Vec<Value>),
    /// A real number, uniformly distributed.
    Uniform { low: f64, high: f64 },
    /// A real number whose logarithm is uniformly distributed.
    Log { low: f64, high: f64 },
    /// A whole number, both ends included.
    Int { low: i64, high: i64 },
}

impl Axis {
    /// An axis of a kind: "choice" has `values`, the others two numbers, low and high.
    ///
    /// Errors: `config.value` for an unknown kind, no values, or a range that is empty or not of numbers.
    pub fn new(kind: &str, values: &[Value]) -> Result<Self> {
        let listed = || values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let range = || match values {
            [low, high] => low.as_f64().zip(high.as_f64()),
            _ => None,
        };
        match kind {
            "choice" if values.is_empty() => Err(bad("a choice needs an array of values")),
            "choice" => Ok(Axis::Choice(values.to_vec())),
            "uniform" => match range() {
                Some((low, high)) if low < high => Ok(Axis::Uniform { low, high }),
                _ => Err(bad(format!("a range needs two numbers, low < high, not {}", listed()))),
            },
            "log" => match range() {
                Some((low, high)) if low > 0.0 && low < high => Ok(Axis::Log { low, high }),
                _ => Err(bad(format!("a logarithmic range needs two numbers, 0 < low < high, not {}", listed()))),
            },
            "int" => {
                let ends = match values {
                    [low, high] => low.as_i64().zip(high.as_i64()),
                    _ => None,
                };
                // Their number must be a whole number too.
                match ends.filter(|(low, high)| high.checked_sub(*low).is_some_and(|n| (0..i64::MAX).contains(&n))) {
                    Some((low, high)) => Ok(Axis::Int { low, high }),
                    None => {
                        Err(bad(format!("a range of whole numbers needs two of them, low <= high, not {}", listed())))
                    }
                }
            }
            _ => {
                let error = Error::new(Kind::ConfigValue, format!("{kind:?} is not a kind of setting"));
                Err(match nearest(kind, KINDS) {
                    Some(near) => error.hint(format!("did you mean {near}?")),
                    None => error.hint(format!("kinds are: {}; such as {EXAMPLE}", KINDS.join(", "))),
                })
            }
        }
    }

    /// An axis from its map in a script: `kind` with `values`, or with `low` and `high`. Errors: those of [`Axis::new`].
    pub fn from_json(given: &Value) -> Result<Self> {
        let kind = given["kind"].as_str().unwrap_or_default();
        match given["values"].as_array() {
            Some(values) if kind == "choice" => Self::new(kind, values),
            _ if kind == "choice" => Err(bad(format!("a choice needs an array of values, not {}", given["values"]))),
            _ => Self::new(kind, &[given["low"].clone(), given["high"].clone()]),
        }
    }

    /// The map of the axis in a script.
    pub fn to_json(&self) -> Value {
        match self {
            Axis::Choice(values) => json!({ "kind": "choice", "values": values }),
            Axis::Uniform { low, high } => json!({ "kind": "uniform", "low": low, "high": high }),
            Axis::Log { low, high } => json!({ "kind": "log", "low": low, "high": high }),
            Axis::Int { low, high } => json!({ "kind": "int", "low": low, "high": high }),
        }
    }

    /// The number of unordered values; 0 for a range.
    pub fn choices(&self) -> usize {
        if let Axis::Choice(values) = self { values.len() } else { 0 }
    }

    /// The value at a place in the range, from 0 to 1. Real values have four significant digits.
    pub fn at(&self, place: f64) -> Value {
        match self {
            Axis::Choice(values) => values[((place * values.len() as f64) as usize).min(values.len() - 1)].clone(),
            Axis::Int { low, high } => {
                let step = (place * (high - low + 1) as f64) as i64;
                low.saturating_add(step).min(*high).into()
            }
            Axis::Uniform { low, high } => four_digits(low + place * (high - low)).into(),
            Axis::Log { low, high } => four_digits((low.ln() + place * (high.ln() - low.ln())).exp()).into(),
        }
    }

    /// The ends of a range, every value of a choice.
    pub fn edges(&self) -> Vec<Value> {
        match self {
            Axis::Choice(values) => values.clone(),
            Axis::Int { low, high } => vec![(*low).into(), (*high).into()],
            Axis::Uniform { low, high } | Axis::Log { low, high } => vec![(*low).into(), (*high).into()],
        }
    }
}

/// Axes by setting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    pub axes: BTreeMap<String, Axis>,
}

impl Space {
    /// The space that a text describes: "learning_rate=log(1e-5,1e-3); batch_size=choice(2,4,8)". A value is JSON, or a text as it is.
    ///
    /// Errors: `config.value` that names every fault of the text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut axes = BTreeMap::new();
        let mut faults = Faults::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            match setting(part) {
                Ok((name, _)) if axes.contains_key(&name) => faults.add(bad(format!("{name} is in the space twice"))),
                Ok((name, axis)) => drop(axes.insert(name, axis)),
                Err(fault) => faults.add(fault),
            }
        }
        faults.none()?;
        if axes.is_empty() { Err(bad("the space names no setting")) } else { Ok(Self { axes }) }
    }

    /// The space from its map in a script. Errors: `config.value` that names every fault.
    pub fn from_json(given: &Map<String, Value>) -> Result<Self> {
        let mut axes = BTreeMap::new();
        let mut faults = Faults::default();
        for (name, axis) in given {
            match Axis::from_json(axis) {
                Ok(axis) => drop(axes.insert(name.clone(), axis)),
                Err(fault) => faults.add(fault.context(name)),
            }
        }
        faults.none()?;
        Ok(Self { axes })
    }

    /// The map of the space in a script.
    pub fn to_json(&self) -> Value {
        self.axes.iter().map(|(name, axis)| (name.clone(), axis.to_json())).collect::<Map<_, _>>().into()
    }

    /// The settings at a place of the unit cube, a coordinate for each axis in order of name.
    pub fn at(&self, place: &[f64]) -> Settings {
        self.axes.iter().zip(place).map(|((name, axis), &x)| (name.clone(), axis.at(x))).collect()
    }

    /// Trials of one setting each, at its extremes. They reveal settings that training refuses.
    pub fn edges(&self) -> Vec<Settings> {
        let one = |name: &String, value| Settings::from_iter([(name.clone(), value)]);
        self.axes.iter().flat_map(|(name, axis)| axis.edges().into_iter().map(|value| one(name, value))).collect()
    }
}

/// "batch_size=choice(2,4,8)".
fn setting(part: &str) -> Result<(String, Axis)> {
    let malformed = || bad(format!("{part:?} is not a setting of a space"));
    let (name, rest) = part.split_once('=').ok_or_else(malformed)?;
    let (kind, values) = rest.split_once('(').ok_or_else(malformed)?;
    let values = values.strip_suffix(')').ok_or_else(malformed)?;
    let name = name.trim();
    if name.is_empty() || name.contains('(') {
        return Err(malformed());
    }
    let values = values.split(',').map(value).collect::<Result<Vec<_>>>();
    let axis = values.and_then(|values| Axis::new(kind.trim(), &values));
    Ok((name.to_owned(), axis.map_err(|fault| fault.context(name))?))
}

/// JSON, or a text as it is.
fn value(text: &str) -> Result<Value> {
    let text = text.trim();
    if text.is_empty() {
        return Err(bad("a value is missing between commas"));
    }
    Ok(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

/// `x` with four significant digits: nobody tunes the fifth, and tables stay readable.
fn four_digits(x: f64) -> f64 {
    /// A float has no more decimals.
    const MOST: i32 = 15;
    if x == 0.0 {
        return x;
    }
    let digits = 3 - x.abs().log(10.0).floor() as i32;
    let scale = 10f64.powi(digits.clamp(0, MOST));
    // Too large to be scaled means that there are no decimals to round.
    if (x * scale).is_finite() { (x * scale).round() / scale } else { x }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Kind::ConfigValue, message).hint(format!("such as {EXAMPLE}"))
}
