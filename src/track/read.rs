//! Reads a run record back.

use crate::error::Result;
use crate::files;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// One value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix seconds.
    pub time: f64,
    pub value: f64,
}

/// The part of a run's file that one process wrote.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Its start or resume line; null if that line was lost.
    pub opening: Value,
    /// Unix seconds of its first and last line; 0 if no line has a valid time.
    pub time: (f64, f64),
    /// How long it worked on the run, up to its finish line, by a clock that never jumps.
    pub seconds: f64,
    /// Its last finish line; null if it was killed or is still running.
    pub finish: Value,
    /// The number of the record's events before it.
    pub events: usize,
}

/// The content of a run's file.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The start line.
    pub start: Value,
    /// One for each process that wrote the file, in order.
    pub sessions: Vec<Session>,
    /// key -> step -> point; for a step that was repeated after a kill, the last value.
    pub metrics: BTreeMap<String, BTreeMap<i64, Point>>,
    /// The event and artifact lines, in order.
    pub events: Vec<Value>,
    /// The status of the last finish line; None if the run was killed or is still running.
    pub status: Option<String>,
    /// The number of lines that are not a JSON object of a known type, and of invalid values; a kill leaves at most one.
    pub damaged: usize,
}

impl Record {
    /// The metric for comparing its epochs.
    pub fn best_metric(&self) -> &str {
        self.start["params"]["best_metric"].as_str().unwrap_or("loss_mel")
    }

    /// A message about damage in the file, if any.
    pub fn damage(&self) -> Option<String> {
        match self.damaged {
            0 if self.sessions.is_empty() => Some("nothing is recorded in it".to_owned()),
            0 if self.start.is_null() => Some("its start line is lost".to_owned()),
            0 => None,
            1 => Some("1 line or value cannot be read and is left out".to_owned()),
            n => Some(format!("{n} lines or values cannot be read and are left out")),
        }
    }

    /// How long all processes together worked on the run.
    pub fn seconds(&self) -> f64 {
        self.sessions.iter().map(|session| session.seconds).sum()
    }
}

/// Reads a run's file. Damaged lines are counted, not fatal.
///
/// Errors: `file.not_found`, `file.read`.
pub fn read(path: &Path) -> Result<Record> {
    let bytes = files::read(path)?;
    let mut record = Record::default();
    for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        // Nearly all lines are whole metrics lines; this path takes a quarter of the time.
        if let Some(line) =
            line.starts_with(METRICS).then(|| serde_json::from_slice::<MetricsLine>(line).ok()).flatten()
        {
            line.add_to(&mut record);
            continue;
        }
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        add_to_session(&mut record, &line);
        match line["type"].as_str() {
            Some("start") => record.start = line,
            Some("resume") => record.status = None,
            Some("metrics") => add_metrics(&mut record, &line),
            Some("event" | "artifact") => record.events.push(line),
            Some("finish") => record.status = line["status"].as_str().map(str::to_owned),
            _ => record.damaged += 1,
        }
    }
    Ok(record)
}

/// The beginning of this program's metrics lines.
const METRICS: &[u8] = b"{\"type\":\"metrics\",";

/// A metrics line as this program writes it. Any other line is parsed as general JSON.
#[derive(Deserialize)]
struct MetricsLine<'a> {
    time: f64,
    elapsed: f64,
    step: i64,
    #[serde(borrow)]
    metrics: Metrics<'a>,
}

/// The values of a line by their keys.
struct Metrics<'a>(Vec<(Cow<'a, str>, f64)>);

impl MetricsLine<'_> {
    fn add_to(self, record: &mut Record) {
        if !is_time(self.time) || !is_length(self.elapsed) {
            record.damaged += 1;
            return;
        }
        session(record, self.time, self.elapsed);
        for (key, value) in self.metrics.0 {
            insert(record, &key, self.step, Point { time: self.time, value });
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Metrics<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Metrics<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("metrics")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Metrics<'de>, A::Error> {
                let mut values = Vec::new();
                while let Some(Text(key)) = map.next_key()? {
                    values.push((key, map.next_value::<Measured>()?.0));
                }
                Ok(Metrics(values))
            }
        }
        deserializer.deserialize_map(Values)
    }
}

/// A text that is copied only if it contains escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A number as [`number`] accepts it.
struct Measured(f64);

impl<'de> Deserialize<'de> for Measured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Measured;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Measured, E> {
                Ok(Measured(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Measured, E> {
                Ok(Measured(value as f64))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<Measured, E> {
                Ok(Measured(value as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Measured, E> {
                named(text).map(Measured).ok_or_else(|| E::custom("no number"))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// Assigns a line to its process. A line counts even if its time is invalid.
fn add_to_session(record: &mut Record, line: &Value) {
    let Some(kind @ ("start" | "resume" | "metrics" | "event" | "artifact" | "finish")) = line["type"].as_str() else {
        return;
    };
    let time = line["time"].as_f64().filter(|time| is_time(*time));
    let elapsed = line["elapsed"].as_f64().filter(|seconds| is_length(*seconds));
    if matches!(kind, "start" | "resume") {
        begin(record, line.clone());
    }
    if kind != "metrics" && (time.is_none() || elapsed.is_none() && !line["elapsed"].is_null()) {
        record.damaged += 1;
    }
    let before = record.sessions.last().map_or(0.0, |session| session.time.1);
    let session = session(record, time.unwrap_or(before), elapsed.unwrap_or(0.0));
    if kind == "finish" {
        session.finish = line.clone();
    }
}

fn begin(record: &mut Record, opening: Value) {
    let events = record.events.len();
    record.sessions.push(Session { opening, events, ..Session::default() });
}

/// The session of a line; a session without an opening if that line was lost.
fn session(record: &mut Record, time: f64, elapsed: f64) -> &mut Session {
    if record.sessions.is_empty() {
        begin(record, Value::Null);
    }
    let last = record.sessions.len() - 1;
    let session = &mut record.sessions[last];
    if session.time.0 == 0.0 {
        session.time.0 = time;
    }
    session.time.1 = time;
    // Work after the end of a run, such as storing its page, does not count: else the page would show another time than later pages.
    if session.finish.is_null() {
        session.seconds = session.seconds.max(elapsed);
    }
    session
}

fn add_metrics(record: &mut Record, line: &Value) {
    let time = line["time"].as_f64().filter(|time| is_time(*time));
    let (Some(step), Some(time), Some(metrics)) = (line["step"].as_i64(), time, line["metrics"].as_object()) else {
        record.damaged += 1;
        return;
    };
    for (key, value) in metrics {
        match number(value) {
            Some(value) => insert(record, key, step, Point { time, value }),
            None => record.damaged += 1,
        }
    }
}

fn insert(record: &mut Record, key: &str, step: i64, point: Point) {
    // Nearly every key is known already; then it is not copied.
    let points = match record.metrics.get_mut(key) {
        Some(points) => points,
        None => record.metrics.entry(key.to_owned()).or_default(),
    };
    points.insert(step, point);
}

/// Whether Unix seconds can be the time of a line: up to the year 9999, where calendars end.
pub(super) fn is_time(unix_seconds: f64) -> bool {
    (0.0..=253_402_207_200.0).contains(&unix_seconds)
}

/// Whether seconds are a valid length of time: three hundred years at most. Longer ones cannot be added up or shown.
fn is_length(seconds: f64) -> bool {
    (0.0..=1e10).contains(&seconds)
}

/// A length of time in seconds; None if it is invalid.
pub fn seconds(value: &Value) -> Option<f64> {
    value.as_f64().filter(|seconds| is_length(*seconds))
}

/// A number of the log, or of MLflow's API, which write NaN and infinities as the same texts.
pub fn number(value: &Value) -> Option<f64> {
    value.as_str().map_or_else(|| value.as_f64(), named)
}

fn named(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}
