//! Keeps a run's report up to date during the run, on its own thread: the page of a long training takes a second.

use crate::files::Workspace;
use crate::task::Task;
use crossbeam::channel::{self, Sender};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Writes the report of one run on request.
pub struct Live {
    page: Arc<Page>,
    requests: Mutex<Option<Worker>>,
}

struct Worker {
    requests: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

struct Page {
    workspace: Workspace,
    run: String,
    path: PathBuf,
    written: AtomicBool,
    /// A failure is reported once; the next page is tried all the same.
    failed: AtomicBool,
}

impl Page {
    fn write(&self, task: &Task) {
        match super::write(&self.workspace, &self.run) {
            Ok(_) => self.written.store(true, Ordering::Relaxed),
            Err(error) if !self.failed.swap(true, Ordering::Relaxed) => {
                task.warn(format!("the report cannot be written: {error}"));
            }
            Err(_) => {}
        }
    }
}

impl Live {
    pub fn new(workspace: &Workspace, run: &str) -> Self {
        let page = Page {
            path: super::path(workspace, run),
            workspace: workspace.clone(),
            run: run.to_owned(),
            written: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        };
        Self { page: Arc::new(page), requests: Mutex::default() }
    }

    /// The path of the report, which may not exist yet.
    pub fn path(&self) -> &Path {
        &self.page.path
    }

    /// Requests a new page and returns at once, with the path of the existing one, if any. Requests during the writing of
    /// a page are merged.
    pub fn refresh(&self, task: &Task) -> Option<PathBuf> {
        let mut worker = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = match &mut *worker {
            Some(worker) => worker,
            none => none.insert(Worker::start(&self.page, task)?),
        };
        // The thread outlives this sender.
        let _ = worker.requests.send(());
        self.page.written.load(Ordering::Relaxed).then(|| self.page.path.clone())
    }

    /// Writes the final page and returns its path, if that succeeds.
    pub fn finish(&self, task: &Task) -> Option<PathBuf> {
        let worker = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Worker { requests, thread }) = worker {
            drop(requests);
            // Rust has printed its panic; the final page is written here.
            let _ = thread.join();
        }
        self.page.written.store(false, Ordering::Relaxed);
        self.page.write(task);
        self.page.written.load(Ordering::Relaxed).then(|| self.page.path.clone())
    }
}

impl Worker {
    fn start(page: &Arc<Page>, task: &Task) -> Option<Self> {
        let (requests, receive) = channel::unbounded();
        let (page, task) = (page.clone(), task.clone());
        let work = move || {
            while receive.recv().is_ok() {
                while receive.try_recv().is_ok() {}
                page.write(&task);
            }
        };
        // Without a thread there is only the final page.
        let thread = std::thread::Builder::new().name("report".into()).spawn(work).ok()?;
        Some(Self { requests, thread })
    }
}
