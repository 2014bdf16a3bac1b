//! Writes the machine's load into the event log at intervals, on its own thread.

use super::log::Log;
use super::machine::Machine;
use crossbeam::channel::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The first sample comes this soon, so that a short run has some.
const FIRST: Duration = Duration::from_secs(1);

pub(super) struct Sampler {
    machine: Arc<Mutex<Machine>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Samples every `interval`. The step of a sample is the number of whole seconds since `started`, when the run first began
    /// (Unix seconds), so that a resumed run continues to the right.
    pub fn start(machine: Machine, log: &Arc<Log>, started: f64, interval: Duration) -> Self {
        let machine = Arc::new(Mutex::new(machine));
        let (stop, stopped) = channel::bounded(0);
        let (measured, log) = (machine.clone(), log.clone());
        // Without a thread there are no samples, which is no reason to stop a training.
        let thread = std::thread::Builder::new().name("sampler".into()).spawn(move || {
            let mut wait = FIRST;
            loop {
                let ended = !matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
                let values = measured.lock().unwrap_or_else(PoisonError::into_inner).sample();
                let step = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0 - started;
                log.metrics(step as i64, &values);
                if ended {
                    return;
                }
                wait = interval;
            }
        });
        Self { machine, stop: Some(stop), thread: thread.ok() }
    }

    /// See [`Machine::gpu_energy`].
    pub fn gpu_energy(&self) -> Option<f64> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner).gpu_energy()
    }

    /// Takes the last sample.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Rust has printed its panic; only samples are lost.
            let _ = thread.join();
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}
