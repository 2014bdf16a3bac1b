//! The same jobs as batch jobs of Slurm: a script for each, submitted at once, then followed until they have ended.
//!
//! ```text
//! <id>.sh         runs the child, its retries and its time limit; near the end of the allocated time it lets the child save and
//!                 puts itself back in the queue; finally it writes
//! <id>.exit.json  how the child ended: the only source that is trusted
//! <name>.sh       the array of all jobs that need no other: picks the script by its index
//! ```
//!
//! Jobs that need others are submitted with `--dependency=afterok`. A state is written before and after each submission,
//! under a name chosen first, so the successor of a killed controller finds its jobs in the queue.
//!
//! No user input (names, arguments, variables, folders) reaches a shell unquoted; see [`shell::quote`].
//!
//! Written here: crate slurm reads the accounting through libslurm, which has to be there to build; sbatch and squeue always are.

use super::board::{Board, Ended};
use super::plan::{self, Planned};
use super::process::Hold;
use super::record::{self, CANCELLED, Ending, Record, Ticket, WITH_SKIPPED, WRONG_USE};
use super::{Options, RESULT_VARIABLE, Status, TICK, local};
use crate::files;
use crate::process::{self, Failure, Output};
use crate::shell;
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Polls of the queue before a job that left it without an exit file is given up. A shared folder shows files late.
const GRACE_LOOKS: u32 = 6;
/// Longest time between two polls of the queue while jobs are to leave it.
const SOON: Duration = Duration::from_secs(1);
/// How long Slurm may take to end cancelled jobs (its own KillWait is 30 s).
const KILL_PATIENCE: Duration = Duration::from_secs(90);
/// How long one of its commands may take; each has time limits of its own, of a minute and less.
const ANSWER_LIMIT: Duration = Duration::from_mins(5);
/// Most that is read of what a command prints: the queue of a million jobs.
const MOST_OUTPUT: u64 = 64 << 20;

pub(super) fn run(task: &Task, options: &Options, board: &mut Board<'_>) -> Result<()> {
    let folder = std::path::absolute(&options.folder).map_err(|e| Error::io("find", &options.folder, e))?;
    let tools = Tools::find(options)?;
    let turn = take_turn(task, &folder)?;
    local::wait_for_orphans(task, options, board)?;
    let mut cluster = Cluster { task, options, board, folder, tools, turn, live: Vec::new(), known: 0 };
    cluster.take_in()?;
    cluster.follow();
    Ok(())
}

/// The lock for submitting. A running sbatch holds it too: after its controller was killed it may still be on its way, and its jobs
/// not in the queue yet. Errors: `file.locked`.
fn take_turn(task: &Task, folder: &Path) -> Result<Hold> {
    // Names of jobs' files never begin with a dot.
    let path = folder.join(".sbatch.lock");
    let turn = Hold::take(&path, KILL_PATIENCE, || task.is_cancelled()).map_err(|e| Error::io("lock", &path, e))?;
    task.check()?;
    turn.ok_or_else(|| {
        Error::new(Kind::Locked, "an earlier rvc-run's call of sbatch is still running")
            .path(&path)
            .hint("end the process sbatch that has this file open")
    })
}

/// Slurm's commands.
struct Tools {
    sbatch: PathBuf,
    squeue: PathBuf,
    scontrol: PathBuf,
    scancel: PathBuf,
}

impl Tools {
    fn find(options: &Options) -> Result<Self> {
        let path = options.slurm.programs.clone().map(PathBuf::into_os_string).or_else(|| std::env::var_os("PATH"));
        let find = |name: &str| {
            which::which_in(name, path.as_ref(), ".").map_err(|_| {
                Error::new(Kind::NotFound, format!("the backend slurm needs the command {name}, which was not found"))
                    .path(name)
                    .hint("run on a machine that submits to the cluster, often after `module load slurm`, or use backend: \"local\"")
            })
        };
        Ok(Self {
            sbatch: find("sbatch")?,
            squeue: find("squeue")?,
            scontrol: find("scontrol")?,
            scancel: find("scancel")?,
        })
    }

    fn call(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Output> {
        Self::call_with(program, args, Stdio::null())
    }

    fn call_with(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: Stdio) -> Result<Output> {
        // Slurm's output is parsed, so it must be in English and in the plain format.
        let mut command = process::quiet(program);
        command.args(args).stdin(input).env("LC_ALL", "C");
        for variable in ["SQUEUE_FORMAT", "SQUEUE_STATES", "SLURM_CLUSTERS"] {
            command.env_remove(variable);
        }
        // Not with the task: jobs are also cancelled after it was.
        process::output(command, None, ANSWER_LIMIT, MOST_OUTPUT).map_err(|failure| match failure {
            Failure::System(e) => Error::io("run", program, e),
            other => Error::new(Kind::Network, format!("{}: {other}", program.display())).path(program).hint(
                "look with squeue whether the cluster answers, and run again: jobs that were submitted are found",
            ),
        })
    }

    /// State and reason of each job in the queue, by number; None if the queue does not answer.
    fn queue(&self, filter: &str) -> Result<Option<HashMap<String, (String, String)>>> {
        let output = match Self::call(&self.squeue, ["--noheader", "--array", "--format=%i|%T|%r", filter]) {
            Err(e) if e.kind() == Kind::Network => return Ok(None),
            other => other?,
        };
        // All of them may have left so long ago that Slurm has forgotten them.
        let gone = output.stderr.end.contains("Invalid job id");
        // Jobs that are missing in a list would count as ended.
        if (!output.status.success() && !gone) || output.stdout.is_cut {
            return Ok(None);
        }
        let text = output.stdout.end;
        let line = |line: &str| {
            let mut parts = line.trim().splitn(3, '|').map(str::to_owned);
            Some((parts.next()?, (parts.next()?, parts.next()?)))
        };
        Ok(Some(text.lines().filter_map(line).collect()))
    }

    /// Slurm's final state of a job that has left the queue: "OUT_OF_MEMORY".
    fn state(&self, id: &str) -> Option<String> {
        let text = Self::call(&self.scontrol, ["--oneliner", "show", "job", id]).ok()?.success()?;
        text.split_whitespace().find_map(|word| word.strip_prefix("JobState=")).map(str::to_owned)
    }

    /// A job that cannot be cancelled has ended; the queue shows it.
    fn cancel(&self, flags: &[&str], ids: impl Iterator<Item = String>) {
        let ids: Vec<String> = ids.collect();
        if !ids.is_empty() {
            let _ = Self::call(&self.scancel, flags.iter().map(|f| (*f).to_owned()).chain(ids));
        }
    }
}

/// The exit file of a batch script.
#[derive(Deserialize)]
struct Exit {
    name: String,
    code: i32,
    /// Why it was asked to stop: "", "cancel" or "late".
    why: String,
    attempts: u32,
    seconds: f64,
}

impl Exit {
    fn read(job: &Planned, ticket: &Ticket) -> Option<Self> {
        let exit: Self = serde_json::from_slice(&files::read(&job.files.exit()).ok()?).ok()?;
        (exit.name == ticket.name).then_some(exit)
    }
}

/// A job in Slurm.
struct Live {
    place: usize,
    ticket: Ticket,
    id: String,
    /// Polls that did not find it.
    missed: u32,
}

struct Cluster<'a, 'b> {
    task: &'a Task,
    options: &'a Options,
    board: &'a mut Board<'b>,
    /// The number of jobs at the last check for new ones.
    known: usize,
    folder: PathBuf,
    tools: Tools,
    turn: Hold,
    live: Vec<Live>,
}

impl Cluster<'_, '_> {
    /// Submits all new jobs, and those that follow from jobs that have ended.
    fn take_in(&mut self) -> Result<()> {
        loop {
            self.board.grow();
            let from = std::mem::replace(&mut self.known, self.board.len());
            self.find_again(from)?;
            self.submit()?;
            if !self.board.has_news() {
                return Ok(());
            }
        }
    }

    /// Takes over the jobs from index `from` that an earlier call submitted.
    fn find_again(&mut self, from: usize) -> Result<()> {
        let mut stale = BTreeSet::new();
        for place in from..self.board.len() {
            let job = self.board.job(place);
            let record = Record::read(&job.files.state()).filter(|record| record.ended.is_none());
            let Some(record) = record.filter(|_| !self.board.has_ended(place)) else { continue };
            let Some(ticket) = record.slurm.clone() else { continue };
            let fits = record.digest == job.digest;
            let id = self.id_in_queue(&ticket)?;
            // Only now: it may have ended while the queue was being read.
            if let Some(exit) = Exit::read(&job, &ticket) {
                if fits && matches!(exit.code, record::DONE | WITH_SKIPPED) {
                    self.settle(place, &exit, true);
                }
                continue;
            }
            match id {
                Some(id) if fits => {
                    self.board.start(place);
                    self.live.push(Live { place, ticket, id, missed: 0 });
                }
                Some(id) => drop(stale.insert(id)),
                None => {
                    if let Some(ended) = Ended::unseen(&job.files, &record).filter(|_| fits) {
                        self.board.settle(place, ended);
                    }
                }
            }
        }
        self.end_stale(&stale)
    }

    /// Slurm's number of a submission that is still in the queue.
    fn id_in_queue(&self, ticket: &Ticket) -> Result<Option<String>> {
        let queue = self.tools.queue(&format!("--name={}", ticket.name))?;
        let queue = queue.ok_or_else(|| {
            Error::new(Kind::Network, "Slurm's queue does not answer, so jobs of an earlier call there cannot be found")
                .hint("try `squeue`; run the same command again once it works")
        })?;
        let suffix = ticket.index.map(|index| format!("_{index}"));
        let wanted = |id: &&String| suffix.as_ref().is_none_or(|suffix| id.ends_with(suffix));
        Ok(queue.keys().find(wanted).cloned())
    }

    /// Cancels jobs whose recipe or arguments have changed since, and waits until they are gone.
    fn end_stale(&self, stale: &BTreeSet<String>) -> Result<()> {
        if stale.is_empty() {
            return Ok(());
        }
        self.tools.cancel(&[], stale.iter().cloned());
        let (began, filter) = (Instant::now(), format!("--jobs={}", bases(stale.iter())));
        while self.tools.queue(&filter)?.is_none_or(|queue| stale.iter().any(|id| queue.contains_key(id))) {
            self.task.check()?;
            if began.elapsed() > KILL_PATIENCE {
                return Err(Error::new(Kind::Locked, "jobs of an earlier call stay in Slurm's queue")
                    .hint(format!("look at squeue --jobs={}", bases(stale.iter()))));
            }
            std::thread::sleep(self.poll().min(SOON));
        }
        Ok(())
    }

    /// Submits all open jobs: those that need no other as an array, then the others one by one.
    fn submit(&mut self) -> Result<()> {
        let open: Vec<usize> =
            plan::order(self.board.jobs())?.into_iter().filter(|&place| self.board.is_open(place)).collect();
        if open.is_empty() || self.board.must_end() {
            return Ok(());
        }
        let program = std::path::absolute(self.options.program()?).map_err(|e| Error::io("find", &self.folder, e))?;
        let free = |place: &usize| self.board.job(*place).after.iter().all(|&first| self.board.has_ended(first));
        let (first, later): (Vec<usize>, Vec<usize>) = open.into_iter().partition(free);
        let mut groups: Vec<Vec<usize>> = later.into_iter().map(|place| vec![place]).collect();
        if !first.is_empty() {
            groups.insert(0, first);
        }
        for group in groups {
            if let Err(error) = self.submit_group(&group, &program) {
                self.tools.cancel(&[], self.live.iter().map(|live| live.id.clone()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Submits jobs that may start at the same time; more than one as an array.
    fn submit_group(&mut self, group: &[usize], program: &Path) -> Result<()> {
        let name = self.name(group)?;
        let array = group.len() > 1;
        let mut dispatcher = String::from(
            "#!/bin/sh\n# Written by rvc-run for sbatch: the jobs of one array.\ncase $SLURM_ARRAY_TASK_ID in\n",
        );
        let mut tickets = Vec::with_capacity(group.len());
        for (index, &place) in group.iter().enumerate() {
            let job = self.board.job(place);
            let continues = Record::read(&job.files.state()).is_some_and(|record| record.digest == job.digest);
            drop(record::begin_log(&job.files.log(), continues)?);
            files::remove(&job.files.exit())?;
            files::remove(&job.files.result())?;
            let ticket = Ticket { name: name.clone(), index: array.then_some(index), id: None };
            let script = self.script(&job, &ticket, program)?;
            files::unsynced(|| files::write(&job.files.script(), script))?;
            self.write(place, &ticket)?;
            let _ = writeln!(
                dispatcher,
                "{index}) exec /bin/sh {} ;;",
                shell::quote(text(&self.absolute(&job.files.script()))?)
            );
            tickets.push(ticket);
        }
        dispatcher.push_str("esac\nexit 1\n");
        let script = if array {
            self.folder.join(format!("{name}.sh"))
        } else {
            self.absolute(&self.board.job(group[0]).files.script())
        };
        if array {
            files::write(&script, dispatcher)?;
        }
        let number = self.sbatch(group, &name, &script)?;
        if array {
            // Slurm has a copy.
            files::remove(&script)?;
        }
        for (place, mut ticket) in group.iter().copied().zip(tickets) {
            let id = ticket.index.map_or_else(|| number.clone(), |index| format!("{number}_{index}"));
            ticket.id = Some(id.clone());
            self.board.start(place);
            self.live.push(Live { place, ticket: ticket.clone(), id, missed: 0 });
            // If a power cut loses it, it is found again by its name.
            files::unsynced(|| self.write(place, &ticket))?;
        }
        Ok(())
    }

    fn write(&self, place: usize, ticket: &Ticket) -> Result<()> {
        let job = self.board.job(place);
        Record { digest: job.digest.clone(), ended: None, attempts: 1, slurm: Some(ticket.clone()) }
            .write(&job.files.state())
    }

    /// A name that is unique among all submissions, even those of other controllers on this cluster.
    fn name(&self, group: &[usize]) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let token = files::digest(format!("{} {now} {} {group:?}", text(&self.folder)?, std::process::id()));
        let what = match group {
            [place] => self.board.job(*place).files.id.clone(),
            _ => plan::id(&self.folder.file_name().unwrap_or_default().to_string_lossy()),
        };
        Ok(format!("rvc-{what}-{}", &token[..12]))
    }

    fn sbatch(&self, group: &[usize], name: &str, script: &Path) -> Result<String> {
        let (options, slurm) = (self.options, &self.options.slurm);
        let here = std::env::current_dir().map_err(|e| Error::io("find", Path::new("."), e))?;
        // Slurm's own messages ("oom_kill event"); a percent sign would begin one of its patterns.
        let words = |path: PathBuf| path.to_string_lossy().replace('%', "%%");
        let output = match group {
            [place] => words(self.absolute(&self.board.job(*place).files.log())),
            _ => format!("{}-%a.out", words(self.folder.join(name))),
        };
        let mut args = vec![
            "--parsable".to_owned(),
            format!("--job-name={name}"),
            format!("--chdir={}", here.display()),
            format!("--output={output}"),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            "--kill-on-invalid-dep=yes".to_owned(),
            format!("--signal=B:USR1@{}", slurm.signal_seconds),
        ];
        let gpus = slurm.gpus.unwrap_or_else(|| u32::from(!options.gpus.is_empty()));
        let mut given = |flag: &str, value: &str| {
            if !value.is_empty() {
                args.push(format!("{flag}={value}"));
            }
        };
        given("--time", &slurm.time);
        given("--partition", &slurm.partition);
        given("--account", &slurm.account);
        given("--gres", &if gpus > 0 { format!("gpu:{gpus}") } else { String::new() });
        if group.len() > 1 {
            let most = if options.parallel > 0 { format!("%{}", options.parallel) } else { String::new() };
            given("--array", &format!("0-{}{most}", group.len() - 1));
        } else {
            let first = |place: &usize| self.live.iter().find(|live| live.place == *place).map(|live| live.id.clone());
            let needed: Vec<String> = self.board.job(group[0]).after.iter().filter_map(first).collect();
            given(
                "--dependency",
                &if needed.is_empty() { String::new() } else { format!("afterok:{}", needed.join(":")) },
            );
        }
        args.extend(slurm.extra.iter().cloned());
        args.push(text(script)?.to_owned());
        let turn = self.turn.share().map_err(|e| Error::io("read", &self.folder, e))?;
        let output = Tools::call_with(&self.tools.sbatch, args, turn)?;
        let number = output.stdout.end.trim().split(';').next().unwrap_or_default().to_owned();
        if output.status.success() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(number);
        }
        let words = output.stderr.end.trim().replace('\n', "; ");
        Err(Error::new(Kind::ConfigValue, format!("sbatch rejected the jobs: {words}"))
            .path(script)
            .hint("check partition, account, time, gpus and extra in the option slurm"))
    }

    /// Follows the jobs until all have ended.
    fn follow(&mut self) {
        let mut stop: Option<Instant> = None;
        let (mut killed, mut held, mut silent) = (false, false, false);
        while !self.live.is_empty() {
            if self.board.must_end() && stop.is_none() {
                stop = Some(Instant::now());
                self.board.note("stopping");
                self.tools.cancel(&["--state=PENDING"], self.ids());
                // To the batch script only: it passes the signal on once.
                self.tools.cancel(&["--batch", "--signal=TERM"], self.ids());
            }
            let past = stop.map_or(Duration::ZERO, |at| at.elapsed());
            if past > self.options.patience() && !killed {
                killed = true;
                self.tools.cancel(&[], self.ids());
            }
            if past > self.options.patience() + KILL_PATIENCE {
                self.task.warn(format!("Slurm has not ended these jobs: {}", self.ids().collect::<Vec<_>>().join(" ")));
                return;
            }
            if self.board.stops() && !self.board.must_end() && !held {
                held = true;
                self.tools.cancel(&["--state=PENDING"], self.ids());
            }
            match self.look(stop.is_some()) {
                Ok(heard) => {
                    if !heard && !silent {
                        self.task.warn(
                            "Slurm's queue does not answer; rvc-run keeps trying and then follows the jobs again",
                        );
                    }
                    silent = !heard;
                }
                Err(error) => self.board.fail(error),
            }
            if self.board.has_news()
                && let Err(error) = self.take_in()
            {
                self.board.fail(error);
            }
            self.pause(stop.is_some());
        }
    }

    fn ids(&self) -> impl Iterator<Item = String> + '_ {
        self.live.iter().map(|live| live.id.clone())
    }

    fn poll(&self) -> Duration {
        Duration::from_secs_f64(self.options.slurm.poll_seconds)
    }

    fn pause(&self, stopping: bool) {
        let until = Instant::now() + if stopping { self.poll().min(SOON) } else { self.poll() };
        while !self.live.is_empty() && (stopping || !self.board.must_end()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Reads the exit files and the queue once; false if the queue does not answer.
    fn look(&mut self, stopping: bool) -> Result<bool> {
        self.settle_exits();
        if self.live.is_empty() {
            return Ok(true);
        }
        let ids: Vec<String> = self.ids().collect();
        let Some(queue) = self.tools.queue(&format!("--jobs={}", bases(ids.iter())))? else { return Ok(false) };
        self.note(&queue);
        for live in &mut self.live {
            live.missed = if queue.contains_key(&live.id) { 0 } else { live.missed + 1 };
        }
        // A job that has just left the queue wrote its exit file before.
        self.settle_exits();
        for live in std::mem::take(&mut self.live) {
            let patience = if stopping { 2 } else { GRACE_LOOKS };
            if live.missed < patience || self.board.has_ended(live.place) {
                self.live.push(live);
                continue;
            }
            let state = self.tools.state(&live.id);
            if stopping {
                self.board.settle_unstarted(live.place, Status::Cancelled, "stopped on request".into());
            } else if self.board.stops() && state.as_deref().is_none_or(|state| state.starts_with("CANCELLED")) {
                self.board.settle_unstarted(live.place, Status::Skipped, self.board.unstarted_reason());
            } else {
                let state = state.unwrap_or_else(|| "unknown".to_owned());
                gather(&self.folder, &self.board.job(live.place), &live.ticket);
                let reason = format!("left Slurm's queue as {state}");
                self.board.settle(
                    live.place,
                    Ended { status: Status::Failed, exit_code: None, reason, attempts: 1, seconds: 0.0, reused: false },
                );
            }
        }
        self.drop_ended();
        Ok(true)
    }

    fn settle_exits(&mut self) {
        let ended: Vec<(usize, Ticket, Exit)> = self
            .live
            .iter()
            .filter_map(|live| {
                Some((live.place, live.ticket.clone(), Exit::read(&self.board.job(live.place), &live.ticket)?))
            })
            .collect();
        for (place, ticket, exit) in ended {
            gather(&self.folder, &self.board.job(place), &ticket);
            self.settle(place, &exit, false);
            self.live.retain(|live| live.place != place);
        }
        self.drop_ended();
    }

    fn settle(&mut self, place: usize, exit: &Exit, reused: bool) {
        let report = record::read_report(&self.board.job(place).files.result());
        let cancelled = exit.why == "cancel" || exit.code == CANCELLED;
        let ending = Ending { code: Some(exit.code), what: String::new(), cancelled, late: exit.why == "late" };
        let (status, exit_code, reason) = record::judge(&ending, &report);
        let (attempts, seconds) = (exit.attempts, exit.seconds);
        self.board.settle(place, Ended { status, exit_code, reason, attempts, seconds, reused });
    }

    /// Cancels jobs that can never run: those whose dependencies failed.
    fn drop_ended(&mut self) {
        let (ended, live) =
            std::mem::take(&mut self.live).into_iter().partition(|live| self.board.has_ended(live.place));
        self.live = live;
        let ended: Vec<Live> = ended;
        self.tools.cancel(&[], ended.into_iter().map(|live| live.id));
    }

    fn note(&mut self, queue: &HashMap<String, (String, String)>) {
        let mine: Vec<&(String, String)> = self.live.iter().filter_map(|live| queue.get(&live.id)).collect();
        let count = |wanted: &str| mine.iter().filter(|(state, _)| state == wanted).count();
        let (running, pending) = (count("RUNNING"), count("PENDING"));
        let reason = mine.iter().find(|(state, _)| state == "PENDING").map(|(_, reason)| reason.as_str());
        let reason =
            reason.filter(|reason| *reason != "None").map_or_else(String::new, |reason| format!(" ({reason})"));
        self.board.note(format!("{running} running, {pending} waiting{reason}"));
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        path.file_name().map_or_else(|| self.folder.clone(), |name| self.folder.join(name))
    }

    /// The batch script of one job.
    fn script(&self, job: &Planned, ticket: &Ticket, program: &Path) -> Result<String> {
        let options = self.options;
        let path = |path: PathBuf| Ok::<_, Error>(shell::quote(text(&self.absolute(&path))?));
        let mut words = vec![shell::quote(text(program)?)];
        words.extend(options.flags.iter().map(|flag| shell::quote(flag)));
        words.push(shell::quote(text(&job.job.recipe)?));
        words.extend(job.job.args.iter().map(|arg| shell::quote(arg)));
        let mut variables = String::new();
        for (name, value) in &job.job.env {
            let _ = writeln!(variables, "export {name}={}", shell::quote(value));
        }
        let limit = options.timeout().map_or(0, |limit| limit.as_secs_f64().ceil() as u64);
        let patience = options.patience().as_secs_f64().ceil() as u64;
        let timer = if limit == 0 {
            "timer=\n".to_owned()
        } else {
            format!(
                "( sleep {limit}; kill -ALRM $$; sleep {patience}; kill -KILL \"$child\" ) >/dev/null 2>&1 &\n    timer=$!\n"
            )
        };
        Ok(format!(
            "#!/bin/sh
# Written by rvc-run for sbatch: one job.
exec >>{log} 2>&1 </dev/null
export {RESULT_VARIABLE}={result}
{variables}
child= signalled= why= attempt=0 code={CANCELLED}
began=$(date +%s)
# The child is asked once; a second signal would end it before it has saved.
stop_child() {{ [ -z \"$child\" ] || [ -n \"$signalled\" ] || {{ signalled=1; kill -TERM \"$child\" 2>/dev/null; }}; }}
trap 'why=limit; stop_child' USR1
trap 'why=cancel; stop_child' TERM INT
trap 'why=late; stop_child' ALRM
while [ -z \"$why\" ]; do
    attempt=$((attempt + 1)) signalled=
    [ \"$attempt\" -eq 1 ] || echo \"-- attempt $attempt --\"
    rm -f \"${RESULT_VARIABLE}\"
    {command} &
    child=$!
    {timer}    [ -z \"$why\" ] || stop_child
    # A signal ends the wait, not the child.
    while :; do wait \"$child\"; code=$?; kill -0 \"$child\" 2>/dev/null || break; done
    child=
    [ -z \"$timer\" ] || kill \"$timer\" 2>/dev/null
    case $code in {done}|{WITH_SKIPPED}|{WRONG_USE}) break ;; esac
    ! grep -q {lasting} \"${RESULT_VARIABLE}\" 2>/dev/null || break
    [ \"$attempt\" -le {retries} ] || break
done
if [ \"$why\" = limit ] && [ \"$code\" -ne {done} ] && [ \"$code\" -ne {WITH_SKIPPED} ]; then
    # The child has saved and continues from there in its next allocation. To put a job back Slurm ends all of it, which must
    # not hit the asking itself.
    trap '' TERM INT
    {requeue} requeue \"$SLURM_JOB_ID\" && exit 0
    why=late
fi
printf '{{\"name\":\"%s\",\"code\":%d,\"why\":\"%s\",\"attempts\":%d,\"seconds\":%d}}' {name} \"$code\" \"$why\" \"$attempt\" $(($(date +%s) - began)) >{exit}.part
mv -f {exit}.part {exit}
# Jobs that need this one start after exit 0.
[ \"$code\" -ne {WITH_SKIPPED} ] || exit 0
exit \"$code\"
",
            log = path(job.files.log())?,
            result = path(job.files.result())?,
            exit = path(job.files.exit())?,
            command = words.join(" "),
            done = record::DONE,
            retries = options.retries,
            lasting = shell::quote(record::LASTING),
            requeue = shell::quote(text(&self.tools.scontrol)?),
            name = shell::quote(&ticket.name),
        ))
    }
}

/// Moves what Slurm itself wrote about a job of an array to the end of its log.
fn gather(folder: &Path, job: &Planned, ticket: &Ticket) {
    let Some(index) = ticket.index else { return };
    let path = folder.join(format!("{}-{index}.out", ticket.name));
    // Losing these is no reason to fail: the job's own output is in its log.
    let Ok(words) = files::read(&path) else { return };
    let append = || std::io::Write::write_all(&mut record::open_log(&job.files.log()).ok()?, &words).ok();
    if words.is_empty() || append().is_some() {
        let _ = files::remove(&path);
    }
}

/// The numbers of submissions, without the places in arrays, with commas.
fn bases<'a>(ids: impl Iterator<Item = &'a String>) -> String {
    let bases: BTreeSet<&str> = ids.map(|id| id.split('_').next().unwrap_or(id)).collect();
    bases.into_iter().collect::<Vec<_>>().join(",")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(Kind::ConfigValue, format!("{} is not UTF-8, so a batch script cannot name it", path.display()))
            .path(path)
    })
}
