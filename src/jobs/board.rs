//! Which jobs may start, how each ended, and what is told of it.

use super::plan::Planned;
use super::record::{self, Files, Record, WITH_SKIPPED};
use super::{Options, Outcome, Status};
use crate::task::{Stage, Task};
use crate::{Error, Result};
use serde_json::Value;

/// The jobs of one call.
pub(super) struct Board<'a> {
    task: &'a Task,
    plan: &'a [Planned<'a>],
    keep_going: bool,
    stage: Stage,
    started: Vec<bool>,
    outcomes: Vec<Option<Outcome>>,
    /// The failure after which nothing more starts.
    failure: Option<String>,
    /// What kept a state from being written; ends the whole call.
    fault: Option<Error>,
}

impl<'a> Board<'a> {
    /// A board with what earlier calls have done already, if that counts.
    pub fn new(task: &'a Task, plan: &'a [Planned<'a>], options: &Options) -> Self {
        let mut board = Self {
            task,
            plan,
            keep_going: options.keep_going,
            stage: task.stage("jobs", plan.len() as u64),
            started: vec![false; plan.len()],
            outcomes: vec![None; plan.len()],
            failure: None,
            fault: None,
        };
        for (place, job) in plan.iter().enumerate().filter(|_| options.reuse) {
            let ended = Record::read(&job.files.state()).filter(|r| r.digest == job.digest).and_then(|r| r.ended);
            if let Some(outcome) = ended.filter(|outcome| outcome.status.is_done()) {
                // The folder may have been moved since, or the job renamed to what its files are called by.
                board.put(place, Outcome { reused: true, name: job.job.name.clone(), log: job.files.log(), ..outcome });
            }
        }
        board
    }

    /// Whether a job has neither ended nor started.
    pub fn is_open(&self, place: usize) -> bool {
        self.outcomes[place].is_none() && !self.started[place]
    }

    pub fn has_ended(&self, place: usize) -> bool {
        self.outcomes[place].is_some()
    }

    /// The first job that may start now.
    pub fn ready(&self) -> Option<usize> {
        if self.stops() {
            return None;
        }
        let done = |place: usize| self.outcomes[place].as_ref().is_some_and(|outcome| outcome.status.is_done());
        (0..self.plan.len())
            .find(|&place| self.is_open(place) && self.plan[place].after.iter().all(|&first| done(first)))
    }

    pub fn start(&mut self, place: usize) {
        self.started[place] = true;
    }

    /// Whether nothing more starts.
    pub fn stops(&self) -> bool {
        self.failure.is_some() || self.must_end()
    }

    /// Whether running jobs are to be stopped too.
    pub fn must_end(&self) -> bool {
        self.fault.is_some() || self.task.is_cancelled()
    }

    /// What stands beside the count of finished jobs.
    pub fn note(&mut self, note: impl Into<String>) {
        self.stage.advance(0, note);
    }

    /// Ends the whole call with an error, once what runs has stopped.
    pub fn fail(&mut self, error: Error) {
        self.fault.get_or_insert(error);
    }

    /// Records how a job ended that was run. Jobs that need it and cannot have it end with it.
    pub fn settle(&mut self, place: usize, ended: Ended) {
        let job = &self.plan[place];
        let outcome = ended.outcome(job);
        let record = Record {
            digest: job.digest.clone(),
            ended: Some(outcome.clone()),
            attempts: outcome.attempts,
            slurm: None,
        };
        if let Err(error) = record.write(&job.files.state()) {
            self.fail(error);
        }
        self.tell(place, &outcome);
        self.put(place, outcome);
    }

    /// A job that never started.
    pub fn settle_unstarted(&mut self, place: usize, status: Status, reason: String) {
        let Planned { job, files, .. } = &self.plan[place];
        let outcome = Outcome {
            name: job.name.clone(),
            status,
            reason,
            exit_code: None,
            attempts: 0,
            seconds: 0.0,
            log: files.log(),
            result: Value::Null,
            last_lines: Vec::new(),
            reused: false,
        };
        self.put(place, outcome);
    }

    /// The reason of jobs that were not started because another failed.
    pub fn unstarted_reason(&self) -> String {
        self.failure.as_ref().map_or_else(String::new, |name| format!("not started: {name} failed"))
    }

    fn put(&mut self, place: usize, outcome: Outcome) {
        let status = outcome.status;
        let name = self.plan[place].shown();
        if status == Status::Failed && !self.keep_going {
            self.failure.get_or_insert_with(|| name.clone());
        }
        self.outcomes[place] = Some(outcome);
        self.stage.advance(1, name.clone());
        if status.is_done() || status == Status::Cancelled {
            return;
        }
        let word = if status == Status::Failed { "failed" } else { "did not run" };
        for next in 0..self.plan.len() {
            if self.outcomes[next].is_none() && self.plan[next].after.contains(&place) {
                self.settle_unstarted(next, Status::Skipped, format!("not started: {name} {word}"));
            }
        }
    }

    fn tell(&self, place: usize, outcome: &Outcome) {
        let (name, log) = (self.plan[place].shown(), outcome.log.display());
        match outcome.status {
            Status::Done => self.task.info(format!("{name}: done, {:.1} s", outcome.seconds)),
            Status::DoneWithSkipped => self.task.warn(format!("{name}: done, with items left out; see {log}")),
            Status::Failed => self.task.warn(format!("{name}: failed, {}; see {log}", outcome.reason)),
            Status::Cancelled | Status::Skipped => self.task.info(format!("{name}: {}", outcome.reason)),
        }
    }

    /// All outcomes in order; what has none was not started. Errors: what ended the call.
    pub fn finish(mut self) -> Result<Vec<Outcome>> {
        for place in 0..self.plan.len() {
            if self.outcomes[place].is_none() {
                let (status, reason) = match self.failure {
                    Some(_) if !self.task.is_cancelled() => (Status::Skipped, self.unstarted_reason()),
                    _ => (Status::Cancelled, "stopped on request".to_owned()),
                };
                self.settle_unstarted(place, status, reason);
            }
        }
        let outcomes: Vec<Outcome> = self.outcomes.into_iter().flatten().collect();
        let count = |wanted: &[Status]| outcomes.iter().filter(|outcome| wanted.contains(&outcome.status)).count();
        let parts = [
            (count(&[Status::Done, Status::DoneWithSkipped]), "done"),
            (count(&[Status::Failed]), "failed"),
            (count(&[Status::Cancelled]), "stopped"),
            (count(&[Status::Skipped]), "not started"),
        ];
        let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        self.stage.finish(parts.join(", "));
        match self.fault {
            Some(error) => Err(error),
            None => Ok(outcomes),
        }
    }
}

/// The end of a job that was run.
pub(super) struct Ended {
    pub status: Status,
    pub exit_code: Option<i32>,
    pub reason: String,
    pub attempts: u32,
    pub seconds: f64,
    pub reused: bool,
}

impl Ended {
    /// The end of a job that finished while nobody looked: its last call was killed.
    pub fn unseen(files: &Files, record: &Record) -> Option<Self> {
        let exit_code = record::read_report(&files.result()).exit;
        let status = match exit_code? {
            record::DONE => Status::Done,
            WITH_SKIPPED => Status::DoneWithSkipped,
            _ => return None,
        };
        // The state was written at the start, the result at the end.
        let time = |path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let seconds =
            time(files.result()).zip(time(files.state())).and_then(|(end, start)| end.duration_since(start).ok());
        let seconds = seconds.map_or(0.0, |taken| taken.as_secs_f64());
        Some(Self { status, exit_code, reason: String::new(), attempts: record.attempts, seconds, reused: true })
    }

    fn outcome(self, job: &Planned) -> Outcome {
        let log = job.files.log();
        Outcome {
            name: job.job.name.clone(),
            status: self.status,
            reason: self.reason,
            exit_code: self.exit_code,
            attempts: self.attempts,
            seconds: self.seconds,
            result: record::read_report(&job.files.result()).result,
            last_lines: if self.status == Status::Failed { record::last_lines(&log) } else { Vec::new() },
            log,
            reused: self.reused,
        }
    }
}
