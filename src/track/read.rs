//! Reads a run record back.

use crate::error::Result;
use crate::files;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix seconds.
    pub time: f64,
    pub value: f64,
}

/// What a run's file says.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The start line.
    pub start: Value,
    /// key -> step -> point; a step that was repeated after a kill has its last value.
    pub metrics: BTreeMap<String, BTreeMap<i64, Point>>,
    /// The event lines, in order.
    pub events: Vec<Value>,
    /// The status of the last finish line; none if the run was killed or goes on.
    pub status: Option<String>,
    /// Lines that are no JSON object of a known type; a kill leaves at most one.
    pub damaged: usize,
}

/// The content of a run's file. Torn lines are counted, not fatal.
///
/// Errors: `file.not_found`, `file.read`.
pub fn read(path: &Path) -> Result<Record> {
    let bytes = files::read(path)?;
    let mut record = Record::default();
    for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).unwrap_or_default();
        match line["type"].as_str() {
            Some("start") => record.start = line,
            Some("resume") => record.status = None,
            Some("metrics") => add_metrics(&mut record, &line),
            Some("event") => record.events.push(line),
            Some("finish") => record.status = line["status"].as_str().map(str::to_owned),
            _ => record.damaged += 1,
        }
    }
    Ok(record)
}

fn add_metrics(record: &mut Record, line: &Value) {
    let (Some(step), Some(time), Some(metrics)) =
        (line["step"].as_i64(), line["time"].as_f64(), line["metrics"].as_object())
    else {
        record.damaged += 1;
        return;
    };
    for (key, value) in metrics {
        match number(value) {
            Some(value) => {
                record.metrics.entry(key.clone()).or_default().insert(step, Point { time, value });
            }
            None => record.damaged += 1,
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => value.as_f64(),
    }
}
