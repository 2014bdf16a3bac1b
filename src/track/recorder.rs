//! Records the warnings of running work, and how long each stage took.

use super::log::Log;
use crate::task::{Event, Sink};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Writes the warnings and the ends of stages into `log`, as events `warning` and `stage`.
pub(super) fn recorder(log: &Arc<Log>) -> Arc<Sink> {
    let (log, begun) = (log.clone(), Mutex::new(HashMap::new()));
    Arc::new(move |event: &Event| match event {
        Event::Warning(text) => log.line_later("event", &json!({ "event": "warning", "data": { "text": text } })),
        Event::Begin { stage, .. } => {
            begun.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.clone(), Instant::now());
        }
        Event::End { stage, done, summary } => {
            let began = begun.lock().unwrap_or_else(PoisonError::into_inner).remove(stage);
            let seconds = began.map(|began| (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0);
            let data = json!({ "stage": stage, "seconds": seconds, "done": done, "summary": summary });
            log.line_later("event", &json!({ "event": "stage", "data": data }));
        }
        Event::Progress { .. } | Event::Info(_) => {}
    })
}
