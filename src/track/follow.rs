//! Carries the lines of an event log to a target (MLflow, TensorBoard, the report), each exactly once.
//!
//! ```text
//! events/<run>.jsonl  --lines-->  Follower  --points, lines-->  Target
//!                                    |
//!                                    +-- follow/<run>/<target>/cursor.json: its position, and the target's state
//! ```
//!
//! A thread reads the file a few times a minute, so training never waits for a target. A target that fails gets the rest
//! when it answers again: in this process, in the next one that resumes the run, or by `rvc-run track sync`. Data in transit
//! when something broke is *doubtful*: it may have arrived. The target then checks before it writes.

use crate::error::{Error, Result};
use crate::files::{self, Lock};
use crate::task::Task;
use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Seconds between two reads of the log. A shorter time only makes more and smaller batches.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The waits after failures in a row grow from the first to the second of these.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How long the end of a run waits for a target that has not answered yet.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the end of a run waits for a target that is receiving data (checkpoints may be large).
const PATIENCE_WHILE_MOVING: Duration = Duration::from_mins(30);
/// Most points per delivery; MLflow's own limit for a request.
pub(super) const MOST_POINTS: usize = 1000;
/// Bytes of the log read at a time.
const PIECE: u64 = 4 << 20;

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub key: String,
    pub step: i64,
    /// Unix milliseconds.
    pub time_ms: i64,
    pub value: f64,
}

/// Why something did not arrive; it is retried.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    /// The wait that the target asks for.
    pub patience: Option<Duration>,
    /// Whether a retry may soon succeed.
    pub passing: bool,
    /// Whether a retry can never succeed.
    pub refused: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, patience: None, passing: false, refused: false }
    }
}

pub type Outcome<T> = std::result::Result<T, Failure>;

/// A receiver of the lines of a run.
pub trait Target: Send {
    /// Its name in messages.
    fn name(&self) -> String;

    /// Receives points in the order of the log. `doubtful`: some of them may have arrived before.
    fn points(&mut self, points: &[Sample], doubtful: bool) -> Outcome<()>;

    /// Receives any other line; a line that arrives twice must do no harm.
    fn line(&mut self, line: &Value) -> Outcome<()>;

    /// Handles deferred work, once there is nothing else: work that may fail without delaying the rest. Returns whether there was
    /// any.
    fn settle(&mut self) -> Outcome<bool> {
        Ok(false)
    }

    /// The target's state for the next process; saved with the cursor.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Called once before anything else. Returns whether everything delivered is still there; if not, the log is read from the
    /// start again. `clean`: the last process ended properly, so its output is on disk.
    fn open(&mut self, state: &Value, clean: bool) -> Result<bool>;

    /// Called at the end of a process: makes the delivered data durable.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A target's position in a log, locked against other processes.
pub struct Follower {
    log: PathBuf,
    cursor: PathBuf,
    offset: u64,
    /// Everything before this position in the log may have arrived, even after the cursor.
    doubtful_until: u64,
    target: Box<dyn Target>,
    delivered: usize,
    _lock: Lock,
}

impl Follower {
    /// The position where the last process stopped. `folder` holds the cursor.
    ///
    /// Errors: `file.locked` if another process follows the same log for the same target; `file.*`.
    pub fn open(log: &Path, folder: &Path, mut target: Box<dyn Target>) -> Result<Self> {
        let lock = Lock::acquire(folder)?;
        let cursor = folder.join("cursor.json");
        // With an unreadable cursor everything is doubtful, as without one.
        let saved: Value =
            files::read(&cursor).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let clean = saved["clean"].as_bool().unwrap_or(false);
        let whole = target.open(&saved["state"], clean)?;
        let offset = saved["offset"].as_u64().filter(|_| whole).unwrap_or(0);
        // An earlier process may have sent any line of the log, and been killed before it noted that.
        let length = std::fs::metadata(log).map_or(0, |log| log.len());
        let doubtful_until = if clean && whole { offset } else { length.max(offset) };
        Ok(Self { log: log.to_owned(), cursor, offset, doubtful_until, target, delivered: 0, _lock: lock })
    }

    pub fn name(&self) -> String {
        self.target.name()
    }

    /// Points and lines that arrived through this follower.
    pub fn delivered(&self) -> usize {
        self.delivered
    }

    /// Delivers the log's current content.
    ///
    /// Errors: the target's trouble. Earlier deliveries stay delivered.
    pub fn catch_up(&mut self) -> Outcome<()> {
        while let Some(piece) = self.read()? {
            self.deliver(&piece)?;
        }
        match self.target.settle() {
            Ok(false) => Ok(()),
            settled => {
                self.commit(self.offset)?;
                settled.map(drop)
            }
        }
    }

    /// Whole lines that were not delivered yet, if any.
    fn read(&self) -> Result<Option<Vec<u8>>> {
        let error = |e| Error::io("read", &self.log, e);
        let mut file = match File::open(&self.log) {
            // The log itself waits in memory; see sink.rs.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(error)?,
        };
        file.seek(SeekFrom::Start(self.offset)).map_err(error)?;
        let mut piece = Vec::new();
        let mut most = PIECE;
        loop {
            let read = file.by_ref().take(most).read_to_end(&mut piece).map_err(error)?;
            if let Some(end) = piece.iter().rposition(|b| *b == b'\n') {
                piece.truncate(end + 1);
                return Ok(Some(piece));
            }
            if read == 0 {
                return Ok(None);
            }
            most *= 2;
        }
    }

    fn deliver(&mut self, piece: &[u8]) -> Outcome<()> {
        let mut points = Vec::new();
        let mut end = self.offset;
        for raw in piece.split_inclusive(|b| *b == b'\n') {
            // A line cut short is skipped.
            let line: Value = serde_json::from_slice(raw).unwrap_or_default();
            let fresh = samples(&line);
            if line["type"] != "metrics" || points.len() + fresh.len() > MOST_POINTS {
                self.deliver_points(&mut points, end)?;
            }
            end += raw.len() as u64;
            points.extend(fresh);
            if line["type"] != "metrics" && line.is_object() {
                self.target.line(&line).inspect_err(|_| self.doubt(end))?;
                self.commit(end)?;
            }
        }
        self.deliver_points(&mut points, end)
    }

    fn deliver_points(&mut self, points: &mut Vec<Sample>, end: u64) -> Outcome<()> {
        let doubtful = self.offset < self.doubtful_until;
        for some in points.chunks(MOST_POINTS) {
            self.target.points(some, doubtful).inspect_err(|_| self.doubt(end))?;
        }
        if end > self.offset {
            tracing::debug!("{}: {} points delivered", self.target.name(), points.len());
            self.delivered += points.len();
            points.clear();
            self.commit(end)?;
        }
        Ok(())
    }

    /// Data in transit up to `end` may have arrived.
    fn doubt(&mut self, end: u64) {
        self.doubtful_until = self.doubtful_until.max(end);
    }

    fn commit(&mut self, offset: u64) -> Outcome<()> {
        self.offset = offset;
        // If a power cut loses it, the target must check what arrived, but no point is lost.
        files::unsynced(|| self.save(false)).map_err(Failure::from)
    }

    fn save(&self, clean: bool) -> Result<()> {
        let cursor = json!({ "offset": self.offset, "clean": clean, "state": self.target.state() });
        files::write(&self.cursor, cursor.to_string())
    }

    /// Releases the log, with everything delivered on disk.
    ///
    /// Errors: the target's, after the cursor is saved; `file.write`.
    pub fn close(mut self) -> Result<()> {
        let closed = self.target.close();
        self.save(self.offset >= self.doubtful_until)?;
        closed
    }
}

/// The points of a metrics line; empty if its time is invalid.
fn samples(line: &Value) -> Vec<Sample> {
    let time = line["time"].as_f64().filter(|time| super::read::is_time(*time));
    let (Some(step), Some(time), Some(metrics)) = (line["step"].as_i64(), time, line["metrics"].as_object()) else {
        return Vec::new();
    };
    let time_ms = (time * 1000.0).round() as i64;
    let values = metrics.iter().filter_map(|(key, value)| super::read::number(value).map(|value| (key, value)));
    values.map(|(key, value)| Sample { key: key.clone(), step, time_ms, value }).collect()
}

enum Message {
    /// Deliver everything now, then reply.
    Flush(Sender<bool>),
}

/// A follower on its own thread, until this value is dropped.
pub(super) struct Thread {
    name: String,
    task: Task,
    messages: Option<Sender<Message>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts following. A target that cannot be followed is a warning.
    pub fn start(task: &Task, log: &Path, folder: &Path, target: Box<dyn Target>) -> Option<Self> {
        let name = target.name();
        let started = Follower::open(log, folder, target).and_then(|follower| {
            let (send, receive) = channel::unbounded();
            let told = task.clone();
            std::thread::Builder::new()
                .name("track".into())
                .spawn(move || follow(follower, &told, &receive))
                .map(|thread| (send, thread))
                .map_err(|e| Error::new(crate::Kind::Internal, format!("cannot start a thread: {e}")).source(e))
        });
        match started {
            Ok((messages, thread)) => {
                Some(Self { name, task: task.clone(), messages: Some(messages), handle: Some(thread) })
            }
            Err(error) => {
                task.warn(format!("{name} gets no data from this run for now: {error}; {CATCH_UP}"));
                None
            }
        }
    }

    /// Waits until the whole log has arrived, with a time limit. Reports once if anything is left.
    pub fn flush(&self) -> bool {
        let (send, receive) = channel::unbounded();
        let asked = self.messages.as_ref().is_some_and(|messages| messages.send(Message::Flush(send)).is_ok());
        let arrived = asked && self.wait(&receive);
        if !arrived {
            self.task.warn(format!("{} does not have all data of this run yet; {CATCH_UP}", self.name));
        }
        arrived
    }

    fn wait(&self, answer: &Receiver<bool>) -> bool {
        let began = Instant::now();
        loop {
            match answer.recv_timeout(Duration::from_millis(200)) {
                Ok(arrived) => return arrived,
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let patience = if self.task.is_cancelled() { PATIENCE } else { PATIENCE_WHILE_MOVING };
            if began.elapsed() >= patience {
                return false;
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.messages.take());
        let Some(thread) = self.handle.take() else { return };
        // A thread that hangs in a request is abandoned; its cursor records what is doubtful.
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

const CATCH_UP: &str = "nothing is lost: `rvc-run track sync` sends the rest";

fn follow(mut follower: Follower, task: &Task, messages: &Receiver<Message>) {
    let mut failures = 0;
    let mut wait = Duration::ZERO;
    loop {
        let waiting = match messages.recv_timeout(wait) {
            Ok(Message::Flush(done)) => Some(done),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // A run that was dropped without an end: its last lines, if the target accepts them at once.
                if failures == 0 {
                    let _ = follower.catch_up();
                }
                break;
            }
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match follower.catch_up() {
                Ok(()) => {
                    if std::mem::take(&mut failures) > 0 {
                        task.info(format!("{} is up to date again", follower.name()));
                    }
                    wait = LOOK_EVERY;
                }
                Err(trouble) => {
                    failures += 1;
                    if failures == 1 {
                        let name = follower.name();
                        task.warn(format!(
                            "{name} does not accept the run's data: {}; training continues and rvc-run will retry",
                            trouble.error
                        ));
                    }
                    let doubled = BACKOFF.0 * 2u32.saturating_pow(failures - 1).min(64);
                    wait = trouble.patience.unwrap_or(doubled).min(BACKOFF.1);
                }
            }
            if waiting.is_none() || failures == 0 || Instant::now() + wait >= deadline {
                break;
            }
            std::thread::sleep(wait);
        }
        if let Some(done) = waiting {
            // The caller may have given up.
            let _ = done.send(failures == 0);
        }
    }
    let name = follower.name();
    if let Err(error) = follower.close() {
        task.warn(format!("{name}: {error}"));
    }
}
