//! Which jobs may start, how each ended, and what is reported.

use super::plan::{Plan, Planned};
use super::record::{self, Files, Record, WITH_SKIPPED};
use super::{Next, Options, Outcome, Status};
use crate::task::{Stage, Task};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

/// The jobs of one call.
pub(super) struct Board<'a> {
    task: &'a Task,
    plan: Plan,
    folder: PathBuf,
    keep_going: bool,
    reuse: bool,
    stage: Stage,
    next: &'a mut Next<'a>,
    /// Jobs that have ended and that `next` has not seen.
    news: VecDeque<usize>,
    started: Vec<bool>,
    outcomes: Vec<Option<Outcome>>,
    /// The failure that keeps other jobs from starting.
    failure: Option<String>,
    /// The error that kept a state from being written; ends the whole call.
    fault: Option<Error>,
}

impl<'a> Board<'a> {
    /// A board with the results of earlier calls, if they count.
    pub fn new(task: &'a Task, plan: Plan, options: &Options, next: &'a mut Next<'a>) -> Self {
        let count = plan.jobs.len();
        let known = (0..count).filter_map(|place| Some((place, done_before(&plan.jobs[place])?)));
        let known: Vec<(usize, Outcome)> = known.filter(|_| options.reuse).collect();
        // Only of jobs that run, since the time left is estimated from them.
        let stage = task.stage("jobs", options.expect.max(count).saturating_sub(known.len()) as u64);
        let mut board = Self {
            task,
            plan,
            folder: options.folder.clone(),
            keep_going: options.keep_going,
            reuse: options.reuse,
            stage,
            next,
            news: VecDeque::new(),
            started: vec![false; count],
            outcomes: vec![None; count],
            failure: None,
            fault: None,
        };
        for (place, outcome) in known {
            board.put(place, outcome);
        }
        board
    }

    /// The number of jobs so far.
    pub fn len(&self) -> usize {
        self.plan.jobs.len()
    }

    pub fn job(&self, place: usize) -> Rc<Planned> {
        self.plan.jobs[place].clone()
    }

    pub fn jobs(&self) -> &[Rc<Planned>] {
        &self.plan.jobs
    }

    /// Asks `next` about every job that has ended, and adds the jobs that it returns.
    pub fn grow(&mut self) {
        while !self.stops() {
            let Some(place) = self.news.pop_front() else { return };
            let Some(outcome) = self.outcomes[place].clone() else { continue };
            if let Err(error) = (self.next)(&outcome).and_then(|jobs| self.plan.add(&jobs, &self.folder)) {
                self.fail(error);
            }
            let before = self.outcomes.len();
            self.started.resize(self.len(), false);
            self.outcomes.resize(self.len(), None);
            for place in before..self.len() {
                self.begin(place);
            }
        }
    }

    /// Whether [`Board::grow`] has jobs to ask about.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty() && !self.stops()
    }

    /// Checks a new job: it may be done already, or need one that failed.
    fn begin(&mut self, place: usize) {
        let job = self.job(place);
        if let Some(outcome) = done_before(&job).filter(|_| self.reuse) {
            self.stage.advance(1, job.shown());
            return self.put(place, outcome);
        }
        let missing =
            job.after.iter().find(|&&first| self.outcomes[first].as_ref().is_some_and(|o| !o.status.is_done()));
        if let Some(&first) = missing {
            let reason = format!("not started: {} is not done", self.plan.jobs[first].shown());
            self.settle_unstarted(place, Status::Skipped, reason);
        }
    }

    /// Whether a job has neither ended nor started.
    pub fn is_open(&self, place: usize) -> bool {
        self.outcomes[place].is_none() && !self.started[place]
    }

    pub fn has_ended(&self, place: usize) -> bool {
        self.outcomes[place].is_some()
    }

    /// The first job that is ready to start.
    pub fn ready(&self) -> Option<usize> {
        if self.stops() {
            return None;
        }
        let done = |place: usize| self.outcomes[place].as_ref().is_some_and(|outcome| outcome.status.is_done());
        (0..self.len())
            .find(|&place| self.is_open(place) && self.plan.jobs[place].after.iter().all(|&first| done(first)))
    }

    pub fn start(&mut self, place: usize) {
        self.started[place] = true;
    }

    /// Whether nothing more starts.
    pub fn stops(&self) -> bool {
        self.failure.is_some() || self.must_end()
    }

    /// Whether to stop running jobs too.
    pub fn must_end(&self) -> bool {
        self.fault.is_some() || self.task.is_cancelled()
    }

    /// Sets the note beside the count of finished jobs.
    pub fn note(&mut self, note: impl Into<String>) {
        self.stage.advance(0, note);
    }

    /// Ends the whole call with an error, once the running jobs have stopped.
    pub fn fail(&mut self, error: Error) {
        self.fault.get_or_insert(error);
    }

    /// Records how a job ended. If it failed, the jobs that need it end too.
    pub fn settle(&mut self, place: usize, ended: Ended) {
        let job = self.job(place);
        let outcome = ended.outcome(&job);
        let record = Record {
            digest: job.digest.clone(),
            ended: Some(outcome.clone()),
            attempts: outcome.attempts,
            slurm: None,
        };
        if let Err(error) = record.write(&job.files.state()) {
            self.fail(error);
        }
        self.report(place, &outcome);
        self.stage.advance(1, job.shown());
        self.put(place, outcome);
    }

    /// A job that never started.
    pub fn settle_unstarted(&mut self, place: usize, status: Status, reason: String) {
        let planned = self.job(place);
        let Planned { job, files, .. } = &*planned;
        let outcome = Outcome {
            name: job.name.clone(),
            status,
            reason,
            exit_code: None,
            attempts: 0,
            seconds: 0.0,
            log: files.log(),
            result: Value::Null,
            warnings: 0,
            last_lines: Vec::new(),
            reused: false,
        };
        self.stage.advance(1, planned.shown());
        self.put(place, outcome);
    }

    /// The reason of jobs that were not started because another failed.
    pub fn unstarted_reason(&self) -> String {
        self.failure.as_ref().map_or_else(String::new, |name| format!("not started: {name} failed"))
    }

    fn put(&mut self, place: usize, outcome: Outcome) {
        let status = outcome.status;
        let name = self.plan.jobs[place].shown();
        if status == Status::Failed && !self.keep_going {
            self.failure.get_or_insert_with(|| name.clone());
        }
        self.outcomes[place] = Some(outcome);
        self.news.push_back(place);
        if status.is_done() || status == Status::Cancelled {
            return;
        }
        let word = if status == Status::Failed { "failed" } else { "did not run" };
        for next in 0..self.outcomes.len() {
            if self.outcomes[next].is_none() && self.plan.jobs[next].after.contains(&place) {
                self.settle_unstarted(next, Status::Skipped, format!("not started: {name} {word}"));
            }
        }
    }

    fn report(&self, place: usize, outcome: &Outcome) {
        let (name, log) = (self.plan.jobs[place].shown(), outcome.log.display());
        match outcome.status {
            Status::Done => self.task.info(format!("{name}: done, {:.1} s", outcome.seconds)),
            Status::DoneWithSkipped => self.task.warn(format!("{name}: done, but some items were left out; see {log}")),
            Status::Failed => self.task.warn(format!("{name}: failed, {}; see {log}", outcome.reason)),
            Status::Cancelled | Status::Skipped => self.task.info(format!("{name}: {}", outcome.reason)),
        }
    }

    /// All outcomes in order; a job without one was not started. Errors: the one that ended the call.
    pub fn finish(mut self) -> Result<Vec<Outcome>> {
        for place in 0..self.outcomes.len() {
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

/// How a job ended in an earlier call, if that still holds: nothing that decides its outcome has changed, and its files exist.
fn done_before(job: &Planned) -> Option<Outcome> {
    let ended = Record::read(&job.files.state()).filter(|r| r.digest == job.digest)?.ended?;
    let holds = ended.status.is_done() && job.job.makes.iter().all(|path| path.exists());
    // The folder may have been moved since, or the job renamed to the name of its files.
    holds.then(|| Outcome { reused: true, name: job.job.name.clone(), log: job.files.log(), ..ended })
}

/// The end of a job.
pub(super) struct Ended {
    pub status: Status,
    pub exit_code: Option<i32>,
    pub reason: String,
    pub attempts: u32,
    pub seconds: f64,
    pub reused: bool,
}

impl Ended {
    /// The end of a job that finished after the call that started it was killed.
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
        let report = record::read_report(&job.files.result());
        Outcome {
            name: job.job.name.clone(),
            status: self.status,
            reason: self.reason,
            exit_code: self.exit_code,
            attempts: self.attempts,
            seconds: self.seconds,
            result: report.result,
            warnings: report.warnings,
            last_lines: if self.status == Status::Failed { record::last_lines(&log) } else { Vec::new() },
            log,
            reused: self.reused,
        }
    }
}
