//! Runs recipes as child processes: many at once, each with its own log, on this machine or through Slurm.
//!
//! ```text
//! jobs::run --+-- plan     names, order, digests: every mistake is found before anything starts
//!             +-- record   <folder>/<id>.state.json  .result.json  .log  .lock: what a later call resumes from
//!             +-- board    which jobs may start, how each ended, what is reported
//!             +-- local    slots and GPUs of this machine; process: one child with its group
//!             +-- slurm    the same jobs as batch scripts; polled through squeue
//! ```
//!
//! A crash, an out-of-memory kill or a hang of one child affects no other. A call that was killed at any moment and is repeated
//! resumes: finished jobs are skipped, and a child that outlived its controller is waited for, never started twice.
//!
//! A child reports its result in the file that [`RESULT_VARIABLE`] names, see [`report`]. That file is also the proof
//! that the work is done: it is written last, and a later crash of the process does not change that.

mod board;
mod local;
mod plan;
mod process;
mod record;
mod slurm;

use crate::files::Lock;
use crate::task::Task;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use record::{Report, read_report, report};

/// Longest time until a cancel or a time limit is noticed.
const TICK: Duration = Duration::from_millis(50);

/// The environment variable with the path of a child's result file.
pub const RESULT_VARIABLE: &str = "RVC_RUN_RESULT";

/// One child run.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Job {
    /// Any text, unique among the jobs; names the log where it is a plain file name.
    pub name: String,
    /// The script that the child runs, as its command line names it.
    pub recipe: PathBuf,
    /// The script's text, if `recipe` is not a file but built into the program.
    #[serde(skip)]
    pub text: Option<String>,
    /// The arguments after the recipe on the command line.
    pub args: Vec<String>,
    /// Environment variables in addition to those of this process.
    pub env: Vec<(String, String)>,
    /// Names of the jobs that must be done before this one starts.
    pub after: Vec<String>,
    /// Anything else that the outcome depends on, such as a digest of the recordings; a finished job runs again when its
    /// recipe's text, `args`, `env` or this changes.
    pub key: String,
    /// Files that the job makes: a finished job runs again if one of them is missing.
    pub makes: Vec<PathBuf>,
}

/// Where children run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// As children of this process.
    #[default]
    Local,
    /// As batch jobs of the Slurm cluster that this machine submits to; the folder must be shared with its nodes.
    Slurm,
}

/// How to run jobs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Most jobs at once. 0: `per_gpu` on each GPU, or 1 without GPUs; with Slurm, as many as the cluster takes.
    /// With Slurm only jobs without `after` are counted.
    pub parallel: usize,
    /// The GPUs of this machine to spread jobs over (0 is the first that this process sees). Empty: children see the same GPUs as
    /// this process.
    pub gpus: Vec<u32>,
    /// Most jobs at once on one GPU. 0: one, or what `parallel` needs.
    pub per_gpu: usize,
    /// Whether jobs still start after one has failed. Running jobs finish either way.
    pub keep_going: bool,
    /// How often a failed job is retried: after a crash, or a lack of memory, disk or network. A wrong command line or script (exit 2)
    /// and a lasting error (see [`crate::Kind::may_pass`]) are not retried.
    pub retries: u32,
    /// Longest time of one attempt, in seconds; 0: no limit. After it the job is asked to stop and counts as failed.
    pub timeout_seconds: f64,
    /// How long a child that was asked to stop may take to finish its step and save, in seconds, before it is killed.
    pub patience_seconds: f64,
    /// Whether to skip jobs that are already done; otherwise everything runs again.
    pub reuse: bool,
    /// The expected number of jobs, including those that [`run_on`] adds, to estimate the time left; 0: the given jobs.
    pub expect: usize,
    pub backend: Backend,
    pub slurm: SlurmOptions,
    /// Logs, states and results: tracking/jobs/<group>.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The program to start, with `flags`, the recipe and its arguments. None: this program.
    #[serde(skip)]
    pub program: Option<PathBuf>,
    /// The arguments before the recipe on the command line, such as --workspace.
    #[serde(skip)]
    pub flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel: 0,
            gpus: Vec::new(),
            per_gpu: 0,
            keep_going: true,
            retries: 0,
            timeout_seconds: 0.0,
            // A step and a save of both networks take seconds on a GPU and up to a minute on a slow CPU and disk.
            patience_seconds: 120.0,
            reuse: true,
            expect: 0,
            backend: Backend::Local,
            slurm: SlurmOptions::default(),
            folder: PathBuf::new(),
            program: None,
            flags: Vec::new(),
        }
    }
}

impl Options {
    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience_seconds)
    }

    fn timeout(&self) -> Option<Duration> {
        (self.timeout_seconds > 0.0).then(|| Duration::from_secs_f64(self.timeout_seconds))
    }

    fn program(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => Ok(program.clone()),
            None => std::env::current_exe().map_err(|e| Error::io("find", Path::new("rvc-run"), e)),
        }
    }
}

/// Options for Slurm.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlurmOptions {
    /// GPUs of each job (`--gres=gpu:N`). None: one if `gpus` names any, else none.
    pub gpus: Option<u32>,
    /// Longest time of one start, in sbatch's format ("4:00:00"); empty: the partition's. Shortly before it the child saves and the job
    /// returns to the queue, to resume later.
    pub time: String,
    /// Seconds before the time limit at which the child is asked to save. Slurm may be up to 60 s late.
    pub signal_seconds: u32,
    /// Empty: the cluster's default, as for `account`.
    pub partition: String,
    pub account: String,
    /// Further arguments of sbatch, such as "--mem=16G".
    pub extra: Vec<String>,
    /// Seconds between two looks at the queue.
    pub poll_seconds: f64,
    /// The folder of sbatch, squeue, scontrol and scancel. None: on the PATH.
    #[serde(skip)]
    pub programs: Option<PathBuf>,
}

impl Default for SlurmOptions {
    fn default() -> Self {
        Self {
            gpus: None,
            time: String::new(),
            signal_seconds: 180,
            partition: String::new(),
            account: String::new(),
            extra: Vec::new(),
            poll_seconds: 5.0,
            programs: None,
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Exit 0.
    Done,
    /// Exit 3: done, with items of its input left out.
    DoneWithSkipped,
    Failed,
    /// Stopped on request; the next call continues it.
    Cancelled,
    /// Never started: a job that it needs did not succeed, or another failed and `keep_going` is off.
    Skipped,
}

impl Status {
    /// Whether the job's work is done.
    pub fn is_done(self) -> bool {
        matches!(self, Status::Done | Status::DoneWithSkipped)
    }
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub name: String,
    pub status: Status,
    /// Why, in a few words: "exit 1", "killed by signal 9", "not started: anna failed". Empty if done.
    pub reason: String,
    /// None if a signal ended it, or if it never ran.
    pub exit_code: Option<i32>,
    /// The number of starts in the call that ended it.
    pub attempts: u32,
    /// Total of all attempts, 0 if unknown.
    pub seconds: f64,
    /// Everything the child wrote, of all attempts; it need not exist if it never ran.
    pub log: PathBuf,
    /// What the child reported; null if nothing.
    pub result: Value,
    /// The number of warnings in the child's last attempt.
    #[serde(default)]
    pub warnings: u64,
    /// The end of the log of a job that failed.
    pub last_lines: Vec<String>,
    /// Whether it was already done before this call.
    pub reused: bool,
}

/// Runs the jobs and returns how each ended, in the order of `jobs`. A failed job is an outcome, not an error; so is a cancelled
/// one: check `task` afterwards.
///
/// Blocks the thread. Call it on a thread that outlives the jobs: on Linux, children get a signal to stop when it ends.
///
/// Errors: `config.value` (names, dependencies, variables, limits), `file.not_found` (a recipe; with Slurm also its
/// commands), `device.missing` (a GPU that this process may not use), `file.locked` (another controller works in the folder, or
/// a job is still alive elsewhere), `file.*` while writing states: the children are then stopped as for a cancel.
pub fn run(task: &Task, jobs: &[Job], options: &Options) -> Result<Vec<Outcome>> {
    run_on(task, jobs, options, &mut |_| Ok(Vec::new()))
}

/// Returns the jobs to add after a job has ended. It is also called for jobs that were done before.
pub type Next<'a> = dyn FnMut(&Outcome) -> Result<Vec<Job>> + 'a;

/// Runs the jobs, and those that `next` adds whenever one has ended: no slot waits for jobs that are not needed. Returns the
/// outcomes of all jobs in the order in which they were added. After a cancel, and once nothing more starts, `next` is not
/// called any more.
///
/// Errors: those of [`run`]; those of `next` and of the jobs that it adds end the call as a cancel does.
pub fn run_on(task: &Task, jobs: &[Job], options: &Options, next: &mut Next<'_>) -> Result<Vec<Outcome>> {
    let plan = plan::Plan::new(jobs, options)?;
    let _lock = Lock::acquire(&options.folder)?;
    let mut board = board::Board::new(task, plan, options, next);
    match options.backend {
        Backend::Local => local::run(task, options, &mut board)?,
        Backend::Slurm => slurm::run(task, options, &mut board)?,
    }
    board.finish()
}
