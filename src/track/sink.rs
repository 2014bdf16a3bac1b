//! A file of whole lines that survives write errors: lines that cannot be written wait in memory until they can.

use crate::error::Error;
use crate::task::Task;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Most lines kept while the file is not writable: about a day of steps. The oldest are dropped first, and their number is reported.
const MOST_WAITING: usize = 64 << 20;
/// Seconds between two attempts to write to a file that failed.
const RETRY_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Sink {
    path: PathBuf,
    task: Task,
    file: Option<File>,
    /// Bytes not yet written; the first may continue a line that is partly in the file.
    waiting: Vec<u8>,
    lost: usize,
    failed: Option<Instant>,
}

impl Sink {
    /// A sink on a new file; None if a file of this name exists.
    pub fn create(task: &Task, path: PathBuf) -> Option<Self> {
        let mut sink = Self::closed(task, path);
        let opened = prepare(&sink.path).and_then(|()| File::options().append(true).create_new(true).open(&sink.path));
        match opened {
            Ok(file) => sink.file = Some(file),
            Err(e) if e.kind() == ErrorKind::AlreadyExists && sink.path.is_file() => return None,
            Err(e) => sink.fail(e),
        }
        Some(sink)
    }

    /// A sink on a file that may have been cut off in the middle of a line.
    pub fn append(task: &Task, path: PathBuf) -> Self {
        let mut sink = Self::closed(task, path);
        match ends_in_newline(&sink.path) {
            Ok(true) => {}
            // The line cut short stays; readers skip it.
            Ok(false) => sink.waiting.push(b'\n'),
            Err(e) => sink.fail(e),
        }
        sink
    }

    fn closed(task: &Task, path: PathBuf) -> Self {
        Self { path, task: task.clone(), file: None, waiting: Vec::new(), lost: 0, failed: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&mut self, line: &str) {
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.push(b'\n');
        self.shed();
        if self.failed.is_none_or(|at| at.elapsed() >= RETRY_EVERY) {
            self.flush();
        }
    }

    /// Writes the waiting lines and makes them durable.
    pub fn sync(&mut self) {
        self.flush();
        if let Some(Err(e)) = self.file.as_ref().map(File::sync_data) {
            self.fail(e);
        }
    }

    /// The file, for an fsync that no writer has to wait for.
    pub fn handle(&self) -> Option<File> {
        self.file.as_ref()?.try_clone().ok()
    }

    fn flush(&mut self) {
        if let Err(e) = self.try_flush() {
            self.fail(e);
        } else if self.failed.take().is_some() {
            let lost = std::mem::take(&mut self.lost);
            let loss = if lost == 0 { String::new() } else { format!("; {lost} lines were lost") };
            self.task.info(format!("{} can be written again{loss}", self.path.display()));
        }
    }

    fn try_flush(&mut self) -> std::io::Result<()> {
        if self.file.is_none() {
            prepare(&self.path)?;
            self.file = Some(File::options().append(true).create(true).open(&self.path)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        while !self.waiting.is_empty() {
            match file.write(&self.waiting) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Warns about the first of several failures in a row. A failed fsync may have lost pages for good; it is reported like any other.
    pub fn fail(&mut self, cause: std::io::Error) {
        if self.failed.replace(Instant::now()).is_none() {
            let error = Error::io("write", &self.path, cause);
            self.task.warn(format!("{error}; training continues and the metrics wait in memory"));
        }
    }

    /// Drops the oldest half of the lines once too many wait.
    fn shed(&mut self) {
        if self.waiting.len() <= MOST_WAITING {
            return;
        }
        let half = self.waiting.len() / 2;
        let end = self.waiting[half..].iter().position(|b| *b == b'\n').map_or(self.waiting.len(), |i| half + i + 1);
        self.lost += self.waiting.drain(..end).filter(|b| *b == b'\n').count();
        // The file may end in half a line.
        self.waiting.insert(0, b'\n');
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.sync();
        if !self.waiting.is_empty() {
            self.task.warn(format!("the last metrics could not be written to {}", self.path.display()));
        }
    }
}

fn prepare(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

fn ends_in_newline(path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
