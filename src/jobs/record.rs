//! The files of a job in the folder: its state, its result, its log.
//!
//! The order of writing makes a kill at any moment harmless. A start removes the old result, writes a state without an end,
//! then starts the child; the child writes its result last; the end goes into the state. So a state without an end and a
//! result that says 0 is a job that finished after its controller died.

use super::{Outcome, Status};
use crate::files;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes read at the end of a log for its last lines.
const TAIL: u64 = 8192;
/// Lines shown of the log of a job that failed.
const LAST_LINES: usize = 10;
/// Most characters of such a line.
const LINE: usize = 500;

/// File name ending of a state.
const STATE: &str = ".state.json";

/// Exit codes of a child, see DESIGN.md rule 4.
pub(super) const DONE: i32 = 0;
pub(super) const WRONG_USE: i32 = 2;
pub(super) const WITH_SKIPPED: i32 = 3;
pub(super) const CANCELLED: i32 = 130;

/// A child's report on its work, the content of its result file:
///
/// ```json
/// { "exit": 0, "warnings": 2, "result": { "metrics": { "loss_mel": 21.3 }, "paths": { "voice": "models/anna.pth" } } }
/// { "exit": 1, "lasting": true, "result": { "error": { "code": "config.value", "message": "..." } } }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The exit code that the child is about to end with; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Whether the cause of the failure is lasting: it is not retried.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lasting: bool,
    /// The number of its warnings.
    #[serde(default)]
    pub warnings: u64,
    /// Any value, for the script that started the jobs.
    #[serde(default)]
    pub result: Value,
}

/// Writes a child's report to `path`, the value of [`super::RESULT_VARIABLE`], whole or not at all. A report with an exit code is
/// the last thing a child does, after everything else is saved. Errors: `file.*`.
pub fn report(path: &Path, report: &Report) -> Result<()> {
    files::write(path, serde_json::to_vec(report).map_err(damaged(path))?)
}

/// How the report of a child that must not be retried begins, for a shell: the order of the fields is fixed. `result` comes later.
pub(super) const LASTING: &str = r#"^{"exit":-\{0,1\}[0-9]*,"lasting":true,"#;

/// Whether a retry of a failed child may succeed: not after a wrong command line or script, nor after a lasting error.
pub(super) fn may_pass(code: Option<i32>, report: &Report) -> bool {
    code != Some(WRONG_USE) && !report.lasting
}

/// The report at `path`; empty if it is missing or unreadable.
pub fn read_report(path: &Path) -> Report {
    files::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn damaged(path: &Path) -> impl FnOnce(serde_json::Error) -> Error + '_ {
    move |e| Error::io("write", path, e.into())
}

/// The files of one job.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
    pub id: String,
}

impl Files {
    pub fn new(folder: &Path, id: &str) -> Self {
        Self { folder: folder.to_owned(), id: id.to_owned() }
    }

    /// The files of all jobs with a state in the folder.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let states = files::list(folder)?;
        let id = |path: &PathBuf| path.file_name()?.to_str()?.strip_suffix(STATE).map(|id| Self::new(folder, id));
        Ok(states.iter().filter_map(id).collect())
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.id))
    }

    pub fn log(&self) -> PathBuf {
        self.file("log")
    }

    pub fn result(&self) -> PathBuf {
        self.file("result.json")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join(format!("{}{STATE}", self.id))
    }

    /// The child holds it as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.file("lock")
    }

    /// The batch script, and how it ended.
    pub fn script(&self) -> PathBuf {
        self.file("sh")
    }

    pub fn exit(&self) -> PathBuf {
        self.file("exit.json")
    }
}

/// The record of a job, which outlives the process that runs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub digest: String,
    /// How it ended; None while it runs.
    pub ended: Option<Outcome>,
    /// The number of starts so far.
    pub attempts: u32,
    /// Its submission to Slurm, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slurm: Option<Ticket>,
}

/// A job submitted to Slurm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// The submission's name in Slurm, which we choose first, so that it can be found again whatever happened in between.
    pub name: String,
    /// Index in the array; None if it is not in an array.
    pub index: Option<usize>,
    /// Slurm's number: "123", or "123_4" in an array. None until the submission has succeeded.
    pub id: Option<String>,
}

impl Record {
    /// The record at `path`; None if it is missing or unreadable: the job then counts as new.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&files::read(path).ok()?).ok()
    }

    /// Writes the record whole. The record of a running job need not survive a power cut, which ends the job as well.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(damaged(path))?;
        match (&self.ended, &self.slurm) {
            (None, None) => files::unsynced(|| files::write(path, bytes)),
            _ => files::write(path, bytes),
        }
    }
}

/// The line in a log between two starts of its job.
const AGAIN: &str = "---- started again ----";

/// The log, for appending.
pub(super) fn open_log(path: &Path) -> Result<File> {
    File::options().create(true).append(true).open(path).map_err(|e| Error::io("write", path, e))
}

/// The log of a job that starts, for appending: after the lines of earlier starts if the job continues, else emptied.
pub(super) fn begin_log(path: &Path, continues: bool) -> Result<File> {
    let mut file = open_log(path)?;
    let begin = |file: &mut File| {
        if !continues {
            file.set_len(0)
        } else if file.metadata()?.len() > 0 {
            file.write_all(format!("\n{AGAIN}\n").as_bytes())
        } else {
            Ok(())
        }
    };
    begin(&mut file).map_err(|e| Error::io("write", path, e))?;
    Ok(file)
}

/// The last lines of the job's last start that are not blank, oldest first; empty if the log cannot be read.
pub(super) fn last_lines(path: &Path) -> Vec<String> {
    let lines = tail(path);
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

/// The last line of a log that is not blank.
pub(super) fn last_line(path: &Path) -> Option<String> {
    tail(path).pop()
}

fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // Programs that draw progress restart a line with a carriage return.
    let lines = text.split(['\n', '\r']).map(|line| line.chars().filter(|c| !c.is_control()).take(LINE).collect());
    let lines: Vec<String> = lines.filter(|line: &String| !line.trim().is_empty()).collect();
    let begin = lines.iter().rposition(|line| line == AGAIN).map_or(0, |place| place + 1);
    lines[begin..].to_vec()
}

/// How a process or a batch job ended, before it is judged.
pub(super) struct Ending {
    /// The exit code, if it had one.
    pub code: Option<i32>,
    /// What else happened to it: "killed by signal 9".
    pub what: String,
    /// Whether it was asked to stop because the whole call was.
    pub cancelled: bool,
    /// Whether it was asked to stop because it took too long.
    pub late: bool,
}

/// The status, the exit code that counts and the reason. The child's report counts more than how its process ended: libtorch
/// may crash while a process exits after its work is saved.
pub(super) fn judge(ending: &Ending, report: &Report) -> (Status, Option<i32>, String) {
    let code = report.exit.or(ending.code);
    let status = match code {
        Some(DONE) => Status::Done,
        Some(WITH_SKIPPED) => Status::DoneWithSkipped,
        _ if ending.late => Status::Failed,
        Some(CANCELLED) => Status::Cancelled,
        _ if ending.cancelled => Status::Cancelled,
        _ => Status::Failed,
    };
    let reason = match (status, code) {
        (Status::Done | Status::DoneWithSkipped, _) => String::new(),
        (Status::Cancelled, _) => "stopped on request".to_owned(),
        _ if ending.late => "ran past its time limit".to_owned(),
        (_, Some(code)) if ending.what.is_empty() => format!("exit {code}"),
        _ => ending.what.clone(),
    };
    (status, code, reason)
}
