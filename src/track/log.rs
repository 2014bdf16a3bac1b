//! The event log of a run, shared by all its writers: the script, the sampler, the report.

use super::sink::Sink;
use crate::address::without_password;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds between two fsyncs: the most that a power cut can lose.
const SYNC_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Log {
    id: String,
    path: PathBuf,
    started: Instant,
    sink: Mutex<Sink>,
    /// Lines of [`Log::soon`] that found the file busy.
    soon: Mutex<Vec<String>>,
}

impl Log {
    pub fn new(id: String, sink: Sink) -> Self {
        Self {
            id,
            path: sink.path().to_owned(),
            started: Instant::now(),
            sink: Mutex::new(sink),
            soon: Mutex::default(),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the log durable every few seconds, on its own thread: an fsync on a busy disk takes as long as a training step,
    /// on a hanging disk forever. Ends with the log.
    pub fn sync_in_background(self: &Arc<Self>) {
        let log = Arc::downgrade(self);
        let work = move || {
            loop {
                std::thread::sleep(SYNC_EVERY);
                let Some(log) = log.upgrade() else { return };
                let handle = log.sink().handle();
                if let Some(Err(e)) = handle.map(|file| file.sync_data()) {
                    log.sink().fail(e);
                }
            }
        };
        // Without a thread the log is durable at its end, and at every save.
        drop(std::thread::Builder::new().name("fsync".into()).spawn(work));
    }

    /// Records values measured now, at `step`.
    pub fn metrics<K: AsRef<str>>(&self, step: i64, values: &[(K, f64)]) {
        let metrics: Map<String, Value> =
            values.iter().map(|(key, value)| (key.as_ref().to_owned(), number(*value))).collect();
        self.line("metrics", &json!({ "step": step, "metrics": metrics }));
    }

    pub fn line(&self, kind: &str, fields: &Value) {
        let line = self.stamped(kind, fields);
        let mut sink = self.sink();
        self.write_later(&mut sink);
        sink.write(&line);
    }

    /// Records an event of the running work. It never waits for the file, since the event may be a warning about the file
    /// itself, sent while the file is being written. A busy file gets the line with the next one.
    pub fn line_later(&self, kind: &str, fields: &Value) {
        let line = self.stamped(kind, fields);
        self.queue().push(line);
        match self.sink.try_lock() {
            Ok(mut sink) => self.write_later(&mut sink),
            Err(TryLockError::Poisoned(poisoned)) => self.write_later(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn write_later(&self, sink: &mut Sink) {
        let waiting = std::mem::take(&mut *self.queue());
        for line in waiting {
            sink.write(&line);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Vec<String>> {
        self.soon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line with the current time.
    fn stamped(&self, kind: &str, fields: &Value) -> String {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut line =
            json!({ "type": kind, "time": round_ms(time), "elapsed": round_ms(self.started.elapsed().as_secs_f64()) });
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
            let mut fields = fields.clone();
            // A file's path is read again from the log.
            if kind != "artifact" {
                fields.values_mut().for_each(without_passwords);
            }
            line.extend(fields);
        }
        line.to_string()
    }

    /// Makes everything recorded so far durable.
    pub fn sync(&self) {
        let mut sink = self.sink();
        self.write_later(&mut sink);
        sink.sync();
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        // A panic while a line was queued loses at most that line.
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record is sent to MLflow, TensorBoard and the report, so passwords are removed from addresses in settings and warnings.
fn without_passwords(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = without_password(text) {
                *text = shown;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_passwords),
        Value::Object(fields) => fields.values_mut().for_each(without_passwords),
        _ => {}
    }
}

fn number(value: f64) -> Value {
    if value.is_nan() {
        Value::from("NaN")
    } else if value.is_infinite() {
        Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        Value::from(value)
    }
}

fn round_ms(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
