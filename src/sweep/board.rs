//! The leaderboard of a sweep: entries, their order, the files that hold them.
//!
//! The files hold no times: the same sweep has the same files, however often it was interrupted.

use super::{Goal, Settings, trial_name};
use crate::error::nearest;
use crate::{Error, Kind, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write;

/// The state of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Status {
    #[serde(rename = "not started")]
    NotStarted,
    /// Trained to a rung; others were better, or it has not continued yet.
    #[serde(rename = "stopped")]
    Stopped,
    /// Trained to the last rung.
    #[serde(rename = "finished")]
    Finished,
    /// Without a value: the training failed, diverged, or did not report the objective.
    #[serde(rename = "failed")]
    Failed,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::NotStarted => "not started",
            Status::Stopped => "stopped",
            Status::Finished => "finished",
            Status::Failed => "failed",
        }
    }
}

/// A trial on the leaderboard. The fields are in the order of leaderboard.json.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Epochs trained; 0 before the start.
    pub epochs: i64,
    /// The trial's folder below logs/.
    pub folder: String,
    /// 1 is best; 0 before the entries are ranked.
    pub rank: usize,
    pub settings: Settings,
    pub status: Status,
    /// "t01".
    pub trial: String,
    /// The objective.
    pub value: Option<f64>,
    /// Why it failed, or why it was not continued.
    pub why: String,
    /// The metrics of the last result. Not in the files: a trial that was killed between its last checkpoint and its result lacks those of
    /// its last epoch.
    #[serde(skip)]
    pub metrics: Map<String, Value>,
}

impl Entry {
    /// The entry of a trial that has not begun.
    pub fn new(trial: usize, folder: String, settings: Settings) -> Self {
        Self {
            epochs: 0,
            folder,
            rank: 0,
            settings,
            status: Status::NotStarted,
            trial: trial_name(trial),
            value: None,
            why: String::new(),
            metrics: Map::new(),
        }
    }
}

/// What a trial reported: the objective with all metrics, or why it has no value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub value: Option<f64>,
    pub metrics: Map<String, Value>,
    pub why: String,
}

impl Report {
    /// Reads the result of a trial's job: `metrics` by name, or `why` it lacks the objective.
    ///
    /// Errors: `config.value` if it has neither, which no other trial would have either.
    pub fn read(result: &Value, objective: &str, sweep: &str) -> Result<Self> {
        let metrics = result["metrics"].as_object().cloned().unwrap_or_default();
        if let Some(value) = metrics.get(objective) {
            return Ok(match value.as_f64() {
                Some(value) => Self { value: Some(value), metrics, why: String::new() },
                // NaN is the text "NaN" in JSON: a training that diverged is not ranked.
                None => Self { why: format!("{objective} is {}", cell(value)), ..Self::default() },
            });
        }
        if let Some(why) = result.get("why") {
            return Ok(Self { why: cell(why), ..Self::default() });
        }
        let message = format!("the objective of sweep {sweep} is {objective}, which its trials do not report");
        let error = Error::new(Kind::ConfigValue, message);
        let names = metrics.keys().map(String::as_str);
        let error = match nearest(objective, names.clone()) {
            Some(near) => error.hint(format!("did you mean {near:?}?")),
            None => error,
        };
        Err(match names.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => error.also("they report no metrics"),
            names => error.also(format!("they report {names}")),
        })
    }
}

/// The entries, best first: those that trained longer before the others, those without a value last; equal ones in order of trial.
pub fn ranked(entries: &[Entry], goal: Goal) -> Vec<Entry> {
    let mut board = entries.to_vec();
    let loss = |entry: &Entry| entry.value.filter(|value| !value.is_nan()).map(|value| goal.loss(value));
    board.sort_by(|a, b| match (loss(a), loss(b)) {
        (Some(x), Some(y)) => b.epochs.cmp(&a.epochs).then(x.partial_cmp(&y).unwrap_or(std::cmp::Ordering::Equal)),
        (x, y) => y.is_some().cmp(&x.is_some()),
    });
    for (place, entry) in board.iter_mut().enumerate() {
        entry.rank = place + 1;
    }
    board
}

/// leaderboard.json, of ranked entries.
#[derive(Serialize)]
struct File<'a> {
    goal: Goal,
    objective: &'a str,
    rungs: &'a [i64],
    sweep: &'a str,
    trials: &'a [Entry],
}

/// The text of leaderboard.json. Errors: `internal` only.
pub fn json(sweep: &str, objective: &str, goal: Goal, rungs: &[i64], board: &[Entry]) -> Result<String> {
    let text = serde_json::to_string_pretty(&File { goal, objective, rungs, sweep, trials: board });
    text.map(|text| text + "\n")
        .map_err(|e| Error::new(Kind::Internal, format!("the leaderboard cannot be written: {e}")).source(e))
}

/// The text of leaderboard.csv; empty without entries.
pub fn csv(objective: &str, board: &[Entry]) -> String {
    let Some(first) = board.first() else { return String::new() };
    let names: Vec<&String> = first.settings.keys().collect();
    let head = ["rank", "trial", "status", "epochs", objective].into_iter();
    let mut text = line(head.chain(names.iter().map(|name| name.as_str())).chain(["why"]));
    for entry in board {
        let value = entry.value.map_or(Value::Null, Value::from);
        let mut cells = vec![
            entry.rank.to_string(),
            entry.trial.clone(),
            entry.status.name().to_owned(),
            entry.epochs.to_string(),
            cell(&value),
        ];
        cells.extend(names.iter().map(|name| entry.settings.get(*name).map(cell).unwrap_or_default()));
        cells.push(entry.why.clone());
        text += &line(cells.iter().map(String::as_str));
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = |text: &str| {
        if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    cells.map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

/// A plain value as a script prints it, so that tables and files spell it in one way: 0.001, 4, tiny, [0.8, 0.99]; null is empty.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => real(number.as_f64().unwrap_or_default()),
        other => within(other),
    }
}

/// A real number as Rhai prints it: with a decimal point, and an exponent only where there would be many zeros.
fn real(x: f64) -> String {
    // Rhai's bounds, which are single precision.
    let natural = f64::from(1e-13_f32)..=f64::from(1e13_f32);
    match x {
        _ if x == 0.0 => "0.0".to_owned(),
        _ if !natural.contains(&x.abs()) => format!("{x:e}"),
        _ if x.fract() == 0.0 => format!("{x}.0"),
        _ => x.to_string(),
    }
}

/// A value within an array or a map, as Rhai prints it.
fn within(value: &Value) -> String {
    match value {
        Value::Null => "()".to_owned(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap_or_default()),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => format!("[{}]", items.iter().map(within).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let mut text = "#{".to_owned();
            for (place, (key, value)) in map.iter().enumerate() {
                let _ = write!(text, "{}{key:?}: {}", if place > 0 { ", " } else { "" }, within(value));
            }
            text + "}"
        }
    }
}
