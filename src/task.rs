//! Running long work: the cancel token, progress events and the ordered worker pool.
//!
//! Everything that may take long gets a [`Task`]. Nothing here prints: events go to the sink that `main` or a test
//! installed.

use crate::{Error, Result};
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

/// A signal sooner than this after the first one is a duplicate: `timeout`, `docker stop` and a terminal with its process group send
/// two at once.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// One event of running work, for a person or a program.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stage begins with `total` units of work (0: unknown).
    Begin { stage: String, total: u64 },
    /// `done` units are finished; `note` is a short live text (current losses, file name).
    Progress { stage: String, done: u64, note: String },
    /// The stage ended after `done` units; `summary` is one line, such as "143 files, 2 skipped".
    End { stage: String, done: u64, summary: String },
    /// One line for the user.
    Info(String),
    /// Something was lost or replaced; the text names what and why. The run's summary counts warnings.
    Warning(String),
}

/// The receiver of events.
pub type Sink = dyn Fn(&Event) + Send + Sync;

/// A cancel token, an event sink and the number of worker threads.
#[derive(Clone)]
pub struct Task {
    cancelled: Arc<AtomicBool>,
    sink: Arc<Sink>,
    listeners: Arc<Mutex<Vec<Weak<Sink>>>>,
    threads: usize,
}

impl Task {
    /// A task whose events go to `sink`. `threads` of 0 means one worker for each core.
    pub fn new(threads: usize, sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cancelled: Arc::new(AtomicBool::new(false)),
            sink: Arc::new(sink),
            listeners: Arc::default(),
            threads: if threads == 0 { cores } else { threads },
        }
    }

    /// A task without a receiver; for tests and small tools.
    pub fn silent() -> Self {
        Self::new(0, |_| {})
    }

    /// The flag that a signal handler sets; work then stops at the next safe point.
    pub fn cancel_flag(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Errors with `cancelled` once the flag is set. Every native loop calls it once per item.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    pub fn emit(&self, event: &Event) {
        (self.sink)(event);
        // Called outside the lock: a listener may send an event itself.
        let listening: Vec<Arc<Sink>> = self.listeners().iter().filter_map(Weak::upgrade).collect();
        for listener in listening {
            listener(event);
        }
    }

    /// Also sends the events to `listener` until its last owner drops it: the record of a run, which opens after the task.
    pub fn listen(&self, listener: &Arc<Sink>) {
        let mut listeners = self.listeners();
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Sink>>> {
        // No code under this lock can leave the list half changed.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn info(&self, text: impl Into<String>) {
        self.emit(&Event::Info(text.into()));
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.emit(&Event::Warning(text.into()));
    }

    /// A stage of `total` units; it ends when the returned guard is finished or dropped.
    pub fn stage(&self, name: impl Into<String>, total: u64) -> Stage {
        let name = name.into();
        self.emit(&Event::Begin { stage: name.clone(), total });
        let span = tracing::info_span!("stage", name);
        Stage { task: self.clone(), name, span, done: 0, ended: false }
    }

    /// `f` applied to each item by the worker pool, with progress and cancel; results are in the order of the items.
    ///
    /// Returns the first error in item order, after the workers have stopped; later items may not have run.
    /// Items that may fail one by one return their own `Result` inside `R`.
    pub fn map<T: Sync, R: Send>(
        &self,
        stage: &str,
        items: &[T],
        f: impl Fn(&T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let workers = self.threads.min(items.len()).max(1);
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let (send, receive) = crossbeam::channel::unbounded::<(usize, Result<R>)>();
        let mut results: Vec<Option<Result<R>>> = Vec::new();
        results.resize_with(items.len(), || None);
        let mut progress = self.stage(stage, items.len() as u64);
        let span = progress.span.clone();
        crossbeam::scope(|scope| {
            for _ in 0..workers {
                let (send, next, stop, f, span) = (send.clone(), &next, &stop, &f, &span);
                scope.spawn(move |_| {
                    let _in_stage = span.enter();
                    while !stop.load(Ordering::Relaxed) && !self.is_cancelled() {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(i) else { break };
                        let result = f(item);
                        if result.is_err() {
                            stop.store(true, Ordering::Relaxed);
                        }
                        if send.send((i, result)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(send);
            for (i, result) in receive {
                results[i] = Some(result);
                progress.advance(1, "");
            }
        })
        .expect("workers return their errors");
        // A failed item comes before items that were never started, so its error is the one returned.
        if let Some(i) = results.iter().position(|r| matches!(r, Some(Err(_)))) {
            return Err(results.swap_remove(i).and_then(Result::err).unwrap_or_else(Error::cancelled));
        }
        self.check()?;
        results.into_iter().map(|r| r.unwrap_or_else(|| Err(Error::cancelled()))).collect()
    }
}

/// What signals mean: the first asks a task to stop; another at least a second later ends the process at once.
///
/// Uses only atomics, so that a signal handler may call it.
pub struct Signals {
    cancelled: Arc<AtomicBool>,
    /// The first signal's time in milliseconds of the caller's clock, plus 1; 0: no signal so far.
    first: AtomicU64,
}

impl Signals {
    pub fn new(task: &Task) -> Self {
        Self { cancelled: task.cancel_flag(), first: AtomicU64::new(0) }
    }

    /// Records a signal at the time `now` of a monotonic clock; returns whether the process must end at once.
    pub fn ends(&self, now: Duration) -> bool {
        let now = now.as_millis() as u64 + 1;
        self.cancelled.store(true, Ordering::SeqCst);
        match self.first.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => false,
            Err(first) => now.saturating_sub(first) >= SAME_SIGNAL.as_millis() as u64,
        }
    }

    /// Whether a signal has arrived.
    pub fn any(&self) -> bool {
        self.first.load(Ordering::SeqCst) > 0
    }
}

/// `f`'s value, or the message of its panic, which is then not printed.
///
/// For calls into libraries that may panic on hostile input (decoders, libtorch wrappers). `f` must not leave shared state
/// half changed.
pub fn catch<T>(f: impl FnOnce() -> T) -> std::result::Result<T, String> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let caught = std::panic::catch_unwind(AssertUnwindSafe(f));
    QUIET.set(outer);
    caught.map_err(|payload| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().map_or_else(|| "panic".to_owned(), |text| (*text).to_owned()),
    })
}

/// A running stage; see [`Task::stage`].
pub struct Stage {
    task: Task,
    name: String,
    span: tracing::Span,
    done: u64,
    ended: bool,
}

impl Stage {
    /// Log records of this thread name the stage until the guard is dropped.
    pub fn enter(&self) -> tracing::span::EnteredSpan {
        self.span.clone().entered()
    }

    /// Adds `by` finished units; `note` is shown live.
    pub fn advance(&mut self, by: u64, note: impl Into<String>) {
        self.done += by;
        self.task.emit(&Event::Progress { stage: self.name.clone(), done: self.done, note: note.into() });
    }

    /// Ends the stage with a one-line summary.
    pub fn finish(mut self, summary: impl Into<String>) {
        self.end(summary.into());
    }

    fn end(&mut self, summary: String) {
        if !std::mem::replace(&mut self.ended, true) {
            self.task.emit(&Event::End { stage: self.name.clone(), done: self.done, summary });
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end(String::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(milliseconds: &[u64]) -> (Vec<bool>, bool) {
        let task = Task::silent();
        let signals = Signals::new(&task);
        assert!(!signals.any() && !task.is_cancelled());
        let ends = milliseconds.iter().map(|at| signals.ends(Duration::from_millis(*at))).collect();
        (ends, signals.any() && task.is_cancelled())
    }

    #[test]
    fn a_second_signal_counts_a_second_after_the_first() {
        assert_eq!(answers(&[0]), (vec![false], true));
        assert_eq!(answers(&[0, 0]), (vec![false, false], true), "a process group and its leader");
        assert_eq!(answers(&[5, 6, 30, 1004]), (vec![false; 4], true), "still the first one's second");
        assert_eq!(answers(&[5, 1005]), (vec![false, true], true));
        assert_eq!(answers(&[70, 71, 72, 5000]), (vec![false, false, false, true], true), "counted from the first");
        assert_eq!(answers(&[9000, 3]), (vec![false, false], true), "a clock that goes back ends nothing");
    }
}
