//! The results of a run in a few numbers, for the table at its end.

use super::read::Record;
use serde_json::Value;
use std::collections::BTreeMap;

/// An epoch and its mean of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    pub epoch: i64,
    pub value: f64,
}

/// The work of a run's last process, and the results of the whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    pub epochs: usize,
    pub steps: i64,
    /// Time spent in epochs.
    pub train_seconds: f64,
    pub warnings: usize,
    /// How many processes worked on the run.
    pub processes: usize,
    /// How long they worked, without the pauses between them.
    pub run_seconds: f64,
    /// Time spent in the run's epochs, in all processes; for an epoch that was repeated after a kill the last time counts.
    pub run_train_seconds: f64,
    /// The epoch with the smallest mean of the metric, over all processes.
    pub best: Option<Scored>,
    pub last: Option<Scored>,
}

impl Overview {
    /// `metric`: a loss whose mean is recorded in every epoch, such as "loss_mel".
    pub fn of(record: &Record, metric: &str) -> Self {
        let mut overview = Self { processes: record.sessions.len(), run_seconds: record.seconds(), ..Self::default() };
        let before = record.sessions.last().map_or(0, |session| session.events);
        for line in record.events.iter().skip(before) {
            let data = &line["data"];
            match line["event"].as_str() {
                Some("epoch") => {
                    overview.epochs += 1;
                    overview.steps = overview.steps.saturating_add(data["steps"].as_i64().unwrap_or_default());
                    overview.train_seconds += super::seconds(&data["seconds"]).unwrap_or_default();
                }
                Some("warning") => overview.warnings += 1,
                _ => {}
            }
        }
        let mut epochs = BTreeMap::new();
        for line in record.events.iter().filter(|line| line["event"] == "epoch") {
            let seconds = super::seconds(&line["data"]["seconds"]).unwrap_or_default();
            epochs.extend(line["data"]["epoch"].as_i64().map(|epoch| (epoch, seconds)));
            let Some(scored) = scored(&line["data"], metric) else { continue };
            overview.last = Some(scored);
            if overview.best.is_none_or(|best| scored.value < best.value) {
                overview.best = Some(scored);
            }
        }
        overview.run_train_seconds = epochs.values().sum();
        overview
    }
}

fn scored(data: &Value, metric: &str) -> Option<Scored> {
    let value = super::read::number(&data["metrics"][metric]).filter(|value| value.is_finite())?;
    Some(Scored { epoch: data["epoch"].as_i64()?, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::read::Session;
    use serde_json::json;

    fn epoch(n: i64, mel: &Value) -> Value {
        json!({ "type": "event", "time": n as f64, "event": "epoch",
                "data": { "epoch": n, "steps": 10, "seconds": 2.0, "metrics": { "loss_mel": mel } } })
    }

    #[test]
    fn the_best_is_of_all_processes_and_the_rest_of_the_last() {
        let events = vec![
            epoch(1, &json!(30.0)),
            epoch(2, &json!(20.0)),
            json!({ "type": "event", "time": 2.5, "event": "warning", "data": { "text": "x" } }),
            epoch(3, &json!(25.0)),
            epoch(4, &json!("NaN")),
            json!({ "type": "event", "time": 4.5, "event": "warning", "data": { "text": "y" } }),
        ];
        let sessions = vec![Session::default(), Session { events: 3, ..Session::default() }];
        let overview = Overview::of(&Record { sessions, events, ..Record::default() }, "loss_mel");
        assert_eq!((overview.epochs, overview.steps, overview.warnings), (2, 20, 1));
        assert_eq!(overview.best, Some(Scored { epoch: 2, value: 20.0 }));
        assert_eq!(overview.last, Some(Scored { epoch: 3, value: 25.0 }));
        assert_eq!((overview.processes, overview.train_seconds, overview.run_train_seconds), (2, 4.0, 8.0));
    }

    #[test]
    fn a_run_without_epochs_has_no_best() {
        assert_eq!(Overview::of(&Record::default(), "loss_mel"), Overview::default());
    }
}
