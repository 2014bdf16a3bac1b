//! Jobs as child processes: slots, GPUs, retries, time limits.

use super::board::{Board, Ended};
use super::plan::Planned;
use super::process::{self, Child, Hold};
use super::record::{self, Ending, Files, Record, Report};
use super::{Options, RESULT_VARIABLE, Status, TICK};
use crate::task::{Stage, Task};
use crate::{Error, Kind, Result};
use crossbeam::channel::{Receiver, Sender};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time between two reads of the logs for the progress display.
const LOOK: Duration = Duration::from_secs(1);
/// Most characters shown of a line of a log.
const SHOWN: usize = 100;
/// How long a process that is just being started may still hold a released lock, see [`crate::files::Lock`].
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// How long processes may take to exit after SIGKILL (a GPU's driver frees its memory first).
const KILLED: Duration = Duration::from_secs(20);
/// The variable that selects the GPUs that a process sees.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// SIGKILL.
const KILL: i32 = 9;

pub(super) fn run(task: &Task, options: &Options, board: &mut Board<'_>) -> Result<()> {
    let program = options.program()?;
    let program = which::which(&program).map_err(|e| {
        Error::new(Kind::NotFound, format!("cannot run {}: {e}", program.display())).path(program).source(e)
    })?;
    let slots = slots(options, std::env::var(VISIBLE).ok().as_deref())?;
    refuse_slurms(board, 0)?;
    wait_for_orphans(task, options, board)?;
    let (send, receive) = crossbeam::channel::unbounded();
    let busy = vec![false; slots.len()];
    let known = board.len();
    let mut pool = Pool { task, options, board, program, busy, slots, running: Vec::new(), send, known };
    pool.drive(&receive);
    Ok(())
}

/// The GPU of each slot, as the variable spells it; None: those that this process sees. `parent` is this process's own variable.
///
/// Errors: `device.missing` for a GPU that this process does not see.
fn slots(options: &Options, parent: Option<&str>) -> Result<Vec<Option<String>>> {
    if options.gpus.is_empty() {
        return Ok(vec![None; options.parallel.max(1)]);
    }
    let seen: Option<Vec<&str>> =
        parent.map(|list| list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect());
    let name = |gpu: u32| match &seen {
        None => Ok(gpu.to_string()),
        Some(seen) => seen.get(gpu as usize).map(|name| (*name).to_owned()).ok_or_else(|| {
            Error::new(
                Kind::DeviceMissing,
                format!("GPU {gpu} is not among those that {VISIBLE} allows: {}", seen.join(",")),
            )
            .hint("GPUs are counted from 0 among the allowed ones")
        }),
    };
    let names = options.gpus.iter().map(|&gpu| name(gpu)).collect::<Result<Vec<_>>>()?;
    let most = match options.per_gpu {
        0 => usize::MAX,
        n => names.len().saturating_mul(n),
    };
    let wanted = if options.parallel == 0 { names.len() * options.per_gpu.max(1) } else { options.parallel.min(most) };
    Ok((0..wanted).map(|slot| Some(names[slot % names.len()].clone())).collect())
}

/// Checks the jobs from index `from`. Errors: `file.locked` if an earlier call submitted one to Slurm and its end was not recorded.
fn refuse_slurms(board: &Board, from: usize) -> Result<()> {
    for job in
        board.jobs().iter().enumerate().skip(from).filter(|(place, _)| !board.has_ended(*place)).map(|(_, job)| job)
    {
        let record = Record::read(&job.files.state()).filter(|record| record.ended.is_none());
        if let Some(ticket) = record.and_then(|record| record.slurm) {
            let number = ticket.id.unwrap_or(ticket.name);
            return Err(Error::new(Kind::Locked, format!("{} was submitted to Slurm as {number}", job.shown()))
                .path(job.files.state())
                .hint("run with the backend slurm to follow it, or stop it with scancel and remove that file"));
        }
    }
    Ok(())
}

/// Waits for children of an earlier controller that was killed, and takes over their results. They got a signal to stop when it
/// died; one that does not stop in time is killed. Jobs that are added later may be among them, so it waits for all
/// in the folder.
///
/// Errors: `file.locked` if one cannot be ended; `file.read`.
pub(super) fn wait_for_orphans(task: &Task, options: &Options, board: &mut Board) -> Result<()> {
    let began = Instant::now();
    for files in Files::all(&options.folder)? {
        let record = Record::read(&files.state()).filter(|record| record.ended.is_none() && record.slurm.is_none());
        if record.is_none() {
            continue;
        }
        board.note(format!("waiting for {} of an earlier call", files.id));
        let lock = files.lock();
        let take =
            |patience| Hold::take(&lock, patience, || task.is_cancelled()).map_err(|e| Error::io("lock", &lock, e));
        let mut free = take(options.patience().saturating_sub(began.elapsed()))?;
        if free.is_none() && !task.is_cancelled() {
            process::kill_holders(&lock);
            free = take(KILLED)?;
        }
        if task.is_cancelled() {
            return Ok(());
        }
        if free.is_none() {
            return Err(Error::new(Kind::Locked, format!("{} of an earlier call still runs", files.id))
                .path(&lock)
                .hint("stop the processes that have this file open"));
        }
    }
    for place in 0..board.len() {
        take_over(board, place);
    }
    Ok(())
}

/// Settles a job that a child of an earlier controller finished after that controller died.
fn take_over(board: &mut Board, place: usize) {
    let job = board.job(place);
    let record = Record::read(&job.files.state()).filter(|record| record.ended.is_none() && record.slurm.is_none());
    let Some(record) = record.filter(|record| record.digest == job.digest && !board.has_ended(place)) else { return };
    if let Some(ended) = Ended::unseen(&job.files, &record) {
        board.settle(place, ended);
    }
}

/// Why a child was asked to stop.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    No,
    Cancel,
    Late,
}

struct Running {
    place: usize,
    slot: usize,
    child: Child,
    _hold: Hold,
    attempt: u32,
    /// Start of the first attempt, and of this one.
    first: Instant,
    began: Instant,
    stop: Stop,
    kill_at: Option<Instant>,
    killed: bool,
    row: Stage,
    line: String,
}

struct Pool<'a, 'b> {
    task: &'a Task,
    options: &'a Options,
    board: &'a mut Board<'b>,
    /// The number of jobs at the last check for new ones.
    known: usize,
    program: PathBuf,
    slots: Vec<Option<String>>,
    busy: Vec<bool>,
    running: Vec<Running>,
    /// Receives the index of each child that has exited.
    send: Sender<usize>,
}

impl Pool<'_, '_> {
    fn drive(&mut self, gone: &Receiver<usize>) {
        let mut looked = Instant::now();
        loop {
            self.grow();
            while let Some((slot, place)) = self.free_slot().zip(self.board.ready()) {
                self.board.start(place);
                self.start(place, slot, 1, Instant::now());
            }
            if self.running.is_empty() {
                // None could be started; report that as well.
                if self.board.has_news() {
                    continue;
                }
                return;
            }
            if let Ok(place) = gone.recv_timeout(TICK) {
                self.gone(place);
            }
            self.stop_what_must();
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
        }
    }

    /// Adds the jobs that follow those that have ended.
    fn grow(&mut self) {
        while self.board.has_news() {
            self.board.grow();
            if let Err(error) = refuse_slurms(self.board, self.known) {
                self.board.fail(error);
            }
            for place in self.known..self.board.len() {
                take_over(self.board, place);
            }
            self.known = self.board.len();
        }
    }

    /// A free slot on the GPU with the fewest jobs.
    fn free_slot(&self) -> Option<usize> {
        let load =
            |slot: usize| (0..self.slots.len()).filter(|&s| self.busy[s] && self.slots[s] == self.slots[slot]).count();
        (0..self.slots.len()).filter(|&slot| !self.busy[slot]).min_by_key(|&slot| load(slot))
    }

    fn start(&mut self, place: usize, slot: usize, attempt: u32, first: Instant) {
        match self.spawn(place, slot, attempt) {
            Ok(Ok((child, hold))) => {
                self.busy[slot] = true;
                let row = self.task.stage(self.board.job(place).shown(), 0);
                self.running.push(Running {
                    place,
                    slot,
                    child,
                    _hold: hold,
                    attempt,
                    first,
                    began: Instant::now(),
                    stop: Stop::No,
                    kill_at: None,
                    killed: false,
                    row,
                    line: String::new(),
                });
            }
            // The process could not be created: only this job fails, others may still start.
            Ok(Err(e)) => self.board.settle(
                place,
                Ended {
                    status: Status::Failed,
                    exit_code: None,
                    reason: format!("cannot be started: {e}"),
                    attempts: attempt,
                    seconds: first.elapsed().as_secs_f64(),
                    reused: false,
                },
            ),
            Err(error) => self.board.fail(error),
        }
    }

    /// Starts a child. Outer errors: the folder cannot be written, or the job is alive elsewhere.
    fn spawn(&self, place: usize, slot: usize, attempt: u32) -> Result<std::io::Result<(Child, Hold)>> {
        let planned = self.board.job(place);
        let Planned { job, files, digest, .. } = &*planned;
        let lock = files.lock();
        let hold =
            Hold::take(&lock, LOCK_PATIENCE, || false).map_err(|e| Error::io("lock", &lock, e))?.ok_or_else(|| {
                Error::new(Kind::Locked, format!("{} already runs elsewhere", planned.shown())).path(&lock)
            })?;
        let continues = attempt > 1 || Record::read(&files.state()).is_some_and(|record| record.digest == *digest);
        let log = record::begin_log(&files.log(), continues)?;
        crate::files::remove(&files.result())?;
        Record { digest: digest.clone(), ended: None, attempts: attempt, slurm: None }.write(&files.state())?;
        let error_log = log.try_clone().map_err(|e| Error::io("write", &files.log(), e))?;
        let mut command = Command::new(&self.program);
        command.args(&self.options.flags).arg(&job.recipe).args(&job.args);
        command
            .envs(job.env.iter().map(|(name, value)| (name, value)))
            .env(RESULT_VARIABLE, absolute(&files.result())?);
        if let Some(gpu) = &self.slots[slot] {
            command.env(VISIBLE, gpu);
        }
        command.stdin(Stdio::null()).stdout(log).stderr(error_log);
        let gone = self.send.clone();
        // The receiver only goes away with the pool.
        Ok(Child::start(command, &hold, move || {
            let _ = gone.send(place);
        })
        .map(|child| (child, hold)))
    }

    /// A child has ended: the job's outcome, or its next attempt.
    fn gone(&mut self, place: usize) {
        let Some(at) = self.running.iter().position(|running| running.place == place) else { return };
        let Running { slot, child, attempt, first, stop, killed, row, .. } = self.running.remove(at);
        self.busy[slot] = false;
        let job = self.board.job(place);
        let (code, what) = match child.end() {
            Ok(Ok(code)) => (Some(code), String::new()),
            Ok(Err(KILL)) if !killed => {
                (None, "killed by signal 9, which the system sends when memory runs out".to_owned())
            }
            Ok(Err(signal)) => (None, format!("killed by signal {signal}")),
            Err(e) => (None, format!("lost: {e}")),
        };
        let report = record::read_report(&job.files.result());
        let ending = Ending { code, what, cancelled: stop == Stop::Cancel, late: stop == Stop::Late };
        let (status, exit_code, reason) = record::judge(&ending, &report);
        self.warn_of_crash(&job, status, &ending, &report);
        let again = status == Status::Failed && record::may_pass(exit_code, &report) && attempt <= self.options.retries;
        if again && !self.board.must_end() {
            row.finish(format!("{reason}; trying again"));
            return self.start(place, slot, attempt + 1, first);
        }
        drop(row); // The board reports the end.
        let seconds = first.elapsed().as_secs_f64();
        self.board.settle(place, Ended { status, exit_code, reason, attempts: attempt, seconds, reused: false });
    }

    fn warn_of_crash(&self, job: &Planned, status: Status, ending: &Ending, report: &Report) {
        if status.is_done() && ending.code != report.exit && report.exit.is_some() {
            let how = ending.code.map_or_else(|| ending.what.clone(), |code| format!("ended with exit {code}"));
            self.task.warn(format!("{}: its work is done and saved, but then its process was {how}", job.shown()));
        }
    }

    /// Asks children to stop, each once, where they must; kills those that were asked too long ago.
    fn stop_what_must(&mut self) {
        let (now, all) = (Instant::now(), self.board.must_end());
        for running in &mut self.running {
            let late = self.options.timeout().is_some_and(|limit| now - running.began >= limit);
            if running.stop == Stop::No && (all || late) {
                running.stop = if all { Stop::Cancel } else { Stop::Late };
                running.kill_at = Some(now + self.options.patience());
                running.child.interrupt();
                running.row.advance(0, "stopping");
            }
            if !running.killed && running.kill_at.is_some_and(|at| now >= at) {
                running.killed = true;
                running.child.kill();
            }
        }
    }

    /// Shows the last line of each log.
    fn look(&mut self) {
        for running in self.running.iter_mut().filter(|running| running.stop == Stop::No) {
            let line = record::last_line(&self.board.job(running.place).files.log()).unwrap_or_default();
            let line: String = line.trim().chars().take(SHOWN).collect();
            if line != running.line {
                running.row.advance(0, line.clone());
                running.line = line;
            }
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io("find", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(gpus: &[u32], per_gpu: usize, parallel: usize, parent: Option<&str>) -> Result<Vec<String>> {
        let options = Options { gpus: gpus.to_vec(), per_gpu, parallel, ..Options::default() };
        Ok(slots(&options, parent)?.into_iter().map(Option::unwrap_or_default).collect())
    }

    #[test]
    fn slots_are_spread_over_the_gpus_within_their_limits() {
        assert_eq!(spread(&[], 0, 0, None).unwrap(), [""]);
        assert_eq!(spread(&[], 0, 3, Some("7")).unwrap(), ["", "", ""]);
        assert_eq!(spread(&[0, 2], 0, 0, None).unwrap(), ["0", "2"]);
        assert_eq!(spread(&[0, 2], 2, 0, None).unwrap(), ["0", "2", "0", "2"]);
        assert_eq!(spread(&[0, 2], 0, 5, None).unwrap(), ["0", "2", "0", "2", "0"]);
        assert_eq!(spread(&[0, 2], 1, 5, None).unwrap(), ["0", "2"]);
    }

    #[test]
    fn gpus_are_counted_among_those_that_the_process_sees() {
        assert_eq!(spread(&[1], 0, 0, Some("3, GPU-5a")).unwrap(), ["GPU-5a"]);
        assert_eq!(spread(&[2], 0, 0, Some("3,5")).unwrap_err().kind(), Kind::DeviceMissing);
        assert_eq!(spread(&[0], 0, 0, Some("")).unwrap_err().kind(), Kind::DeviceMissing);
    }
}
