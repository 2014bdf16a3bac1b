//! Runs other programs: each in a group of its own, so that it ends together with its children, within a time limit.
//!
//! A program gets an argument vector, never a shell's line. The group is process-wrap's: a process group on Unix, a job object on Windows.

use crate::Error;
use crate::task::Task;
use process_wrap::std::{ChildWrapper, CommandWrap};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Time between two checks whether a program has ended.
const POLL: Duration = Duration::from_millis(5);
/// Time for a program to end after it was asked to, before it is killed: yt-dlp keeps its partial file intact, MLflow ends its workers.
const GRACE: Duration = Duration::from_secs(5);

/// A running program with its children. Dropping it ends them.
#[derive(Debug)]
pub struct Group {
    child: Box<dyn ChildWrapper>,
    ended: bool,
}

/// How a wait for a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Exited(ExitStatus),
    /// The task was cancelled; the program still runs.
    Cancelled,
    /// The time limit has passed; the program still runs.
    Late,
}

impl Group {
    /// Starts a program in a group of its own.
    ///
    /// Errors: the system's, if it cannot be started.
    pub fn start(command: Command) -> io::Result<Self> {
        let mut command = CommandWrap::from(command);
        #[cfg(unix)]
        command.wrap(process_wrap::std::ProcessGroup::leader());
        #[cfg(windows)]
        command.wrap(process_wrap::std::JobObject);
        Ok(Self { child: command.spawn()?, ended: false })
    }

    /// The id of the program's process, which on Unix is also its group's.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The program's status, once it has ended; its children may still run.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until the program ends, the task is cancelled, or `limit` has passed.
    ///
    /// Errors: the system's, if it cannot be watched.
    pub fn wait(&mut self, task: Option<&Task>, limit: Duration) -> io::Result<Ending> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Ending::Exited(status));
            }
            if task.is_some_and(Task::is_cancelled) {
                return Ok(Ending::Cancelled);
            }
            if start.elapsed() >= limit {
                return Ok(Ending::Late);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks the whole group to stop, as Ctrl-C does. Without signals it does nothing.
    pub fn interrupt(&self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::INT);
    }

    /// Kills the whole group; [`Group::end`] then returns the program's status.
    pub fn kill(&mut self) {
        // It fails only if no process is left.
        let _ = self.child.start_kill();
    }

    /// Kills the rest of the group and returns the program's status.
    pub fn end(mut self) -> io::Result<ExitStatus> {
        self.ended = true;
        self.kill();
        self.child.wait()
    }

    /// Asks the group to end, kills it after `GRACE`.
    fn stop(&mut self) {
        self.ended = true;
        #[cfg(unix)]
        {
            self.signal(rustix::process::Signal::TERM);
            let start = Instant::now();
            // A program that has ended counts as one of its group until it is waited for.
            while start.elapsed() < GRACE && (matches!(self.try_wait(), Ok(None)) || self.has_members()) {
                std::thread::sleep(POLL);
            }
        }
        self.kill();
        let _ = self.child.wait();
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) {
        let _ = self.child.signal(signal.as_raw());
    }

    #[cfg(unix)]
    fn has_members(&self) -> bool {
        let group = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        group.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.stop();
        }
    }
}

/// Why a program has no output.
#[derive(Debug)]
pub enum Failure {
    /// It could not be started or watched.
    System(io::Error),
    Cancelled,
    /// It took longer than this.
    Late(Duration),
}

impl fmt::Display for Failure {
    /// Such as "it took longer than 30 s".
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::System(e) => write!(f, "it does not start: {e}"),
            Self::Cancelled => write!(f, "it was stopped on request"),
            Self::Late(limit) => write!(f, "it took longer than {} s", limit.as_secs()),
        }
    }
}

impl Failure {
    /// `cancelled`, or the error that `other` makes from the reason.
    pub fn into_error(self, other: impl FnOnce(&Self) -> Error) -> Error {
        if matches!(self, Self::Cancelled) { Error::cancelled() } else { other(&self) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// The output of a program that has ended.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Text,
    pub stderr: Text,
}

impl Output {
    /// The complete standard output of a successful program.
    pub fn success(self) -> Option<String> {
        (self.status.success() && !self.stdout.is_cut).then_some(self.stdout.end)
    }
}

/// The end of a program's output, as text.
#[derive(Debug)]
pub struct Text {
    pub end: String,
    /// Whether the beginning is missing.
    pub is_cut: bool,
}

impl Text {
    /// The last `most` bytes of a file.
    pub fn of(file: &mut File, most: u64) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Self { end: String::from_utf8_lossy(&bytes).into_owned(), is_cut: length > most })
    }
}

/// Runs a program to its end; its output goes through nameless files, of which the last `most` bytes are read. Its standard input is
/// that of `command`: empty if [`quiet`] made it.
///
/// Afterwards none of its children is left, however it ended.
pub fn output(mut command: Command, task: Option<&Task>, limit: Duration, most: u64) -> Result<Output, Failure> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let status = run(command, task, limit)?;
    Ok(Output { status, stdout: Text::of(&mut out, most)?, stderr: Text::of(&mut err, most)? })
}

/// Runs a program to its end, with the input and output that `command` names.
pub fn run(command: Command, task: Option<&Task>, limit: Duration) -> Result<ExitStatus, Failure> {
    let mut group = Group::start(command)?;
    match group.wait(task, limit)? {
        Ending::Exited(status) => {
            // Its remaining children would hold its files open.
            group.end()?;
            Ok(status)
        }
        Ending::Cancelled => Err(Failure::Cancelled),
        Ending::Late => Err(Failure::Late(limit)),
    }
}

/// A command without input and output: nothing of the terminal reaches it.
pub fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn shell(line: &str) -> Command {
        let mut command = quiet("/bin/sh");
        command.args(["-c", line]);
        command
    }

    /// Whether a process of this number still runs; one that was killed may take a moment to end, and waits for init to reap it.
    fn lives(pid: &str) -> bool {
        let start = Instant::now();
        let runs = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
        };
        while runs() {
            if start.elapsed() > LONG {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }

    #[test]
    fn output_is_read_with_its_status() {
        let output = output(shell("echo out; echo err >&2; exit 3"), None, LONG, 100).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((output.stdout.end.as_str(), output.stderr.end.as_str()), ("out\n", "err\n"));
        assert!(output.success().is_none());
    }

    #[test]
    fn only_the_end_of_long_output_is_read_and_marked_as_incomplete() {
        let output = output(shell("printf 0123456789"), None, LONG, 4).unwrap();
        assert_eq!((output.stdout.end.as_str(), output.stdout.is_cut), ("6789", true));
        assert!(output.success().is_none());
    }

    #[test]
    fn a_program_that_does_not_exist_and_one_that_takes_too_long_fail_differently() {
        assert!(matches!(output(quiet("/no/such/program"), None, LONG, 9), Err(Failure::System(_))));
        let limit = Duration::from_millis(50);
        assert!(matches!(output(shell("sleep 1000"), None, limit, 9), Err(Failure::Late(at)) if at == limit));
    }

    #[test]
    fn a_cancelled_task_ends_the_program_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let task = Task::new(1, |_| {});
        let command = shell(&format!("sleep 1000 & echo $! > {}; wait", pid.display()));
        let outcome = std::thread::scope(|scope| {
            let running = scope.spawn(|| run(command, Some(&task), LONG));
            while !std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')) {
                std::thread::sleep(POLL);
            }
            task.cancel_flag().store(true, std::sync::atomic::Ordering::Relaxed);
            running.join().unwrap()
        });
        assert!(matches!(outcome, Err(Failure::Cancelled)));
        if cfg!(target_os = "linux") {
            assert!(!lives(&std::fs::read_to_string(&pid).unwrap()));
        }
    }

    #[test]
    fn children_of_a_program_end_with_it() {
        let output = output(shell("sleep 1000 & echo $!"), None, LONG, 100).unwrap();
        let pid = output.success().unwrap();
        if cfg!(target_os = "linux") {
            assert!(!lives(&pid), "{pid} still runs");
        }
    }

    #[test]
    fn a_program_that_ignores_the_request_is_killed() {
        let mut group = Group::start(shell("trap '' TERM; echo; while :; do sleep 0.01; done")).unwrap();
        assert_eq!(group.wait(None, Duration::from_millis(50)).unwrap(), Ending::Late);
        let pid = group.id().to_string();
        drop(group);
        if cfg!(target_os = "linux") {
            assert!(!lives(&pid));
        }
    }
}
