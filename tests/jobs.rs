//! Child runs: order, limits, retries, results, stopping, restarts, and the Slurm backend with a cluster of shell scripts and,
//! where it is installed, a real one.
//!
//! Children are shell scripts: each job runs `/bin/sh <recipe> <args>`.

#![cfg(unix)]

use crate::support::{only, speech};
use rvc_run::Kind;
use rvc_run::jobs::{self, Backend, Job, Options, Outcome, SlurmOptions, Status};
use rvc_run::task::{Event, Task};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest time that a test waits for something that must happen.
const DEADLINE: Duration = Duration::from_mins(1);

/// Writes the report `$1` of a child in one step.
const REPORT: &str = r#"report() { printf '%s' "$1" >"$RVC_RUN_RESULT.part" && mv "$RVC_RUN_RESULT.part" "$RVC_RUN_RESULT"; }
"#;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        // A background process of a shell ignores SIGINT, and its children inherit that, so they could not be asked
        // to stop. A process with a handler does not pass it on: main.rs has one, and so have these tests.
        let default = Arc::new(AtomicBool::new(true));
        signal_hook::flag::register_conditional_default(signal_hook::consts::SIGINT, default).unwrap();
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A recipe; `$dir` is this folder.
    fn recipe(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, format!("dir='{}'\n{REPORT}{text}", self.0.path().display())).unwrap();
        path
    }

    fn options(&self) -> Options {
        Options {
            folder: self.path("group"),
            program: Some("/bin/sh".into()),
            patience_seconds: 20.0,
            slurm: SlurmOptions { poll_seconds: 0.05, ..SlurmOptions::default() },
            ..Options::default()
        }
    }

    fn lines(&self, name: &str) -> Vec<String> {
        lines(&self.path(name))
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn job(name: &str, recipe: &Path, args: &[&str]) -> Job {
    Job {
        name: name.into(),
        recipe: recipe.into(),
        args: args.iter().map(|a| (*a).to_owned()).collect(),
        ..Job::default()
    }
}

/// One job for each name, with the name as its argument.
fn jobs(names: &[&str], recipe: &Path) -> Vec<Job> {
    names.iter().map(|name| job(name, recipe, &[name])).collect()
}

fn run(jobs: &[Job], options: &Options) -> Vec<Outcome> {
    jobs::run(&Task::silent(), jobs, options).unwrap()
}

fn statuses(outcomes: &[Outcome]) -> Vec<Status> {
    outcomes.iter().map(|outcome| outcome.status).collect()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie is not alive: its new parent may reap it late.
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[test]
fn outcomes_come_in_the_order_of_the_jobs_with_what_children_reported() {
    let place = Place::new();
    // The first job ends last: it waits for the others.
    let recipe = place.recipe(
        "r.sh",
        r#"[ "$1" != 2 ] || until [ -e "$dir/0" ] && [ -e "$dir/1" ]; do sleep 0.01; done
        echo "to out $1"; echo "to err $1" >&2; : >"$dir/$1"
        report "{\"exit\":0,\"result\":{\"metrics\":{\"loss\":$1.5}}}""#,
    );
    let outcomes = run(&jobs(&["2", "1", "0"], &recipe), &Options { parallel: 3, ..place.options() });
    assert_eq!(statuses(&outcomes), [Status::Done; 3]);
    assert_eq!(outcomes.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["2", "1", "0"]);
    assert_eq!(outcomes[0].result, json!({ "metrics": { "loss": 2.5 } }));
    assert_eq!(lines(&outcomes[1].log), ["to out 1", "to err 1"]);
    assert!(outcomes.iter().all(|o| !o.reused && o.attempts == 1 && o.exit_code == Some(0) && o.reason.is_empty()));
}

#[test]
fn no_more_jobs_run_at_once_than_allowed() {
    let place = Place::new();
    std::fs::create_dir(place.path("running")).unwrap();
    let recipe = place.recipe(
        "r.sh",
        // The first waits until another runs beside it, on a busy machine for a while.
        r#": >"$dir/running/$1"; i=0
        until n=$(ls "$dir/running" | wc -l); [ "$1" != 0 ] || [ "$n" -gt 1 ] || [ $((i+=1)) -gt 2000 ]; do sleep 0.01; done
        echo "$n" >>"$dir/counts"; sleep 0.05; rm "$dir/running/$1""#,
    );
    let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    run(&jobs(&names, &recipe), &Options { parallel: 3, ..place.options() });
    let counts: Vec<usize> = place.lines("counts").iter().map(|n| n.trim().parse().unwrap()).collect();
    assert_eq!(counts.len(), 12);
    assert!(counts.iter().all(|n| *n <= 3), "{counts:?}");
    assert!(counts.iter().any(|n| *n > 1), "never two at once: {counts:?}");
}

#[test]
fn each_child_sees_the_gpu_of_its_slot() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"report "{\"exit\":0,\"result\":\"$CUDA_VISIBLE_DEVICES\"}""#);
    // Relative to the GPUs that the tests themselves may see.
    let seen = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "0,1".into());
    let gpus: Vec<u32> = (0..seen.split(',').count().min(2) as u32).collect();
    let outcomes = run(&jobs(&["a"], &recipe), &Options { gpus, ..place.options() });
    assert_eq!(outcomes[0].result, json!(seen.split(',').next().unwrap()));
}

#[test]
fn a_job_that_fails_or_is_killed_stops_no_other() {
    let place = Place::new();
    let recipe = place
        .recipe("r.sh", "case $1 in fails) echo why; exit 7;; killed) kill -KILL $$;; some) exit 3;; *) exit 0;; esac");
    let outcomes = run(&jobs(&["fails", "killed", "some", "fine"], &recipe), &place.options());
    assert_eq!(statuses(&outcomes), [Status::Failed, Status::Failed, Status::DoneWithSkipped, Status::Done]);
    assert_eq!((outcomes[0].exit_code, outcomes[0].reason.as_str()), (Some(7), "exit 7"));
    assert_eq!(outcomes[0].last_lines, ["why"]);
    assert_eq!(outcomes[1].exit_code, None);
    assert!(outcomes[1].reason.contains("signal 9"), "{}", outcomes[1].reason);
}

#[test]
fn without_keep_going_nothing_starts_after_a_failure() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"echo "$1" >>"$dir/ran"; [ "$1" != b ]"#);
    let outcomes = run(&jobs(&["a", "b", "c", "d"], &recipe), &Options { keep_going: false, ..place.options() });
    assert_eq!(statuses(&outcomes), [Status::Done, Status::Failed, Status::Skipped, Status::Skipped]);
    assert_eq!(outcomes[2].reason, "not started: b failed");
    assert_eq!(place.lines("ran"), ["a", "b"]);
}

#[test]
fn jobs_start_after_those_they_need_and_not_if_these_failed() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"echo "$1" >>"$dir/ran"; [ "$1" != bad ]"#);
    let mut list = jobs(&["last", "first", "bad", "lost", "lost too"], &recipe);
    list[0].after = vec!["first".into()];
    list[3].after = vec!["bad".into()];
    list[4].after = vec!["lost".into()];
    let outcomes = run(&list, &Options { parallel: 4, ..place.options() });
    assert_eq!(statuses(&outcomes), [Status::Done, Status::Done, Status::Failed, Status::Skipped, Status::Skipped]);
    assert_eq!(outcomes[4].reason, "not started: lost did not run");
    let ran = place.lines("ran");
    let at = |name: &str| ran.iter().position(|line| line == name).unwrap();
    assert!(at("first") < at("last"));
    assert_eq!(ran.len(), 3);
}

#[test]
fn failed_jobs_are_retried_unless_the_command_line_is_wrong() {
    let place = Place::new();
    let recipe =
        place.recipe("r.sh", r#"echo x >>"$dir/$1"; [ "$1" != wrong ] || exit 2; [ "$(wc -l <"$dir/$1")" -ge "$2" ]"#);
    let list = [
        job("third", &recipe, &["third", "3"]),
        job("never", &recipe, &["never", "9"]),
        job("wrong", &recipe, &["wrong"]),
    ];
    let outcomes = run(&list, &Options { retries: 2, ..place.options() });
    assert_eq!(statuses(&outcomes), [Status::Done, Status::Failed, Status::Failed]);
    assert_eq!(outcomes.iter().map(|o| o.attempts).collect::<Vec<_>>(), [3, 3, 1]);
}

/// A child that fails with an error of each kind of code, and one whose own result looks like the mark of a lasting error.
const KINDS: &str = r#"echo x >>"$dir/$1"
case $1 in
    lasting) report '{"exit":1,"lasting":true,"warnings":0,"result":{"error":{"code":"config.value"}}}' ;;
    passing) report '{"exit":1,"warnings":0,"result":{"error":{"code":"device.memory"}}}' ;;
    own) report '{"exit":1,"warnings":0,"result":{"exit":1,"lasting":true,"x":"{\"exit\":1,\"lasting\":true,"}}' ;;
    usage) exit 2 ;;
esac
exit 1"#;

#[test]
fn a_lasting_error_is_not_retried() {
    for slurm in [false, true] {
        let place = Place::new();
        let options = if slurm { fake_cluster(&place) } else { place.options() };
        let names = ["lasting", "passing", "own", "usage", "silent"];
        let outcomes = run(&jobs(&names, &place.recipe("r.sh", KINDS)), &Options { retries: 2, ..options });
        assert_eq!(statuses(&outcomes), [Status::Failed; 5]);
        let tries: Vec<_> = outcomes.iter().map(|o| o.attempts).collect();
        assert_eq!(tries, [1, 3, 3, 1, 3], "slurm {slurm}");
        assert_eq!(names.map(|name| place.lines(name).len() as u32), tries[..], "slurm {slurm}");
    }
}

#[test]
fn outcomes_have_the_number_of_warnings_also_when_they_are_reused() {
    let place = Place::new();
    let recipe = place.recipe(
        "r.sh",
        r#"case $1 in some) report '{"exit":0,"warnings":3,"result":1}' ;; old) report '{"exit":0,"result":1}' ;; bad) report '{"exit":1,"warnings":2}'; exit 1 ;; esac"#,
    );
    let list = jobs(&["some", "old", "none", "bad"], &recipe);
    for reused in [false, true] {
        let outcomes = run(&list, &place.options());
        assert_eq!(outcomes.iter().map(|o| o.warnings).collect::<Vec<_>>(), [3, 0, 0, 2]);
        assert_eq!(outcomes[0].reused, reused);
    }
}

#[test]
fn damaged_and_absent_reports_give_no_result() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"[ "$1" = none ] || printf '{"exit": 0, "resu' >"$RVC_RUN_RESULT""#);
    let outcomes = run(&jobs(&["none", "torn"], &recipe), &place.options());
    assert_eq!(statuses(&outcomes), [Status::Done; 2]);
    assert!(outcomes.iter().all(|o| o.result.is_null()));
}

#[test]
fn a_crash_after_the_report_keeps_the_result() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"report '{"exit":0,"result":1}'; kill -SEGV $$"#);
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = warnings.clone();
    let task = Task::new(1, move |event| {
        if let Event::Warning(text) = event {
            heard.lock().unwrap().push(text.clone());
        }
    });
    let outcomes = jobs::run(&task, &jobs(&["a"], &recipe), &place.options()).unwrap();
    assert_eq!(statuses(&outcomes), [Status::Done]);
    let warnings = warnings.lock().unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("signal 11"), "{warnings:?}");
}

#[test]
fn a_child_that_takes_too_long_is_stopped_and_failed() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", "trap 'exit 130' INT; while :; do sleep 0.02; done");
    let outcomes = run(&jobs(&["a"], &recipe), &Options { timeout_seconds: 0.1, ..place.options() });
    assert_eq!(statuses(&outcomes), [Status::Failed]);
    assert_eq!(outcomes[0].reason, "ran past its time limit");
}

#[test]
fn a_cancel_signals_each_child_once_and_kills_those_that_ignore_it() {
    let place = Place::new();
    let recipe = place.recipe(
        "r.sh",
        r#"if [ "$1" = polite ]; then trap 'echo asked >>"$dir/asked"; n=1' INT; else trap '' INT; sleep 1000 & echo $! >"$dir/grandchild"; fi
        echo $$ >"$dir/$1.pid.part"; mv "$dir/$1.pid.part" "$dir/$1.pid"
        while :; do sleep 0.02; [ -z "$n" ] || { n=$((n + 1)); [ "$n" -lt 10 ] || exit 130; }; done"#,
    );
    let task = Task::silent();
    let flag = task.cancel_flag();
    let began = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let options = Options { parallel: 2, patience_seconds: 3.0, ..place.options() };
            jobs::run(&task, &jobs(&["polite", "stubborn", "unborn"], &recipe), &options).unwrap()
        });
        until("both children", || place.path("polite.pid").exists() && place.path("stubborn.pid").exists());
        let began = Instant::now();
        flag.store(true, Ordering::Relaxed);
        let outcomes = running.join().unwrap();
        assert_eq!(statuses(&outcomes), [Status::Cancelled; 3]);
        assert_eq!(outcomes[0].exit_code, Some(130));
        began
    });
    assert!(began.elapsed() < Duration::from_secs(20), "took {:?}", began.elapsed());
    assert_eq!(place.lines("asked"), ["asked"]);
    for pid in ["polite.pid", "stubborn.pid"] {
        assert!(!is_alive(&place.lines(pid)[0]), "{pid} is still alive");
    }
    // Killed with its group, but not ours to wait for.
    until("the end of the grandchild", || !is_alive(&place.lines("grandchild")[0]));
    // The next call continues with them.
    let outcomes = run(&jobs(&["polite"], &place.recipe("r.sh", "exit 0")), &place.options());
    assert_eq!(statuses(&outcomes), [Status::Done]);
}

#[test]
fn what_a_child_leaves_running_ends_with_it() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"sleep 1000 & echo $! >"$dir/left""#);
    run(&jobs(&["a"], &recipe), &place.options());
    until("the end of what was left", || !is_alive(&place.lines("left")[0]));
}

#[test]
fn what_is_done_is_not_run_again_until_it_changes() {
    let place = Place::new();
    let recipe =
        place.recipe("r.sh", r#"echo "$1" >>"$dir/ran"; report '{"exit":0,"result":"'$1'"}'; [ "$1" != bad ]"#);
    let bad = place.recipe("bad.sh", r#"echo "$1" >>"$dir/ran"; exit 1"#);
    let mut list = vec![job("a", &recipe, &["a"]), job("b", &recipe, &["b"]), job("bad", &bad, &["bad"])];
    let options = place.options();
    run(&list, &options);
    let outcomes = run(&list, &options);
    assert_eq!(place.lines("ran"), ["a", "b", "bad", "bad"]);
    assert_eq!(outcomes.iter().map(|o| o.reused).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(outcomes[1].result, json!("b"));
    list[0].args = vec!["c".into()];
    list[1].key = "other recordings".into();
    list.pop();
    run(&list, &options);
    assert_eq!(place.lines("ran")[4..], ["c", "b"]);
    place.recipe("r.sh", r#"echo "new $1" >>"$dir/ran""#);
    run(&list, &options);
    assert_eq!(place.lines("ran")[6..], ["new c", "new b"]);
    run(&list, &Options { reuse: false, ..options });
    assert_eq!(place.lines("ran").len(), 10);
}

#[test]
fn an_old_report_does_not_count_for_a_new_run() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"[ "$1" = 1 ] || exit 5; report '{"exit":0,"result":1}'"#);
    let first = run(&[job("a", &recipe, &["1"])], &place.options());
    assert_eq!(statuses(&first), [Status::Done]);
    let second = run(&[job("a", &recipe, &["2"])], &place.options());
    assert_eq!((second[0].status, &second[0].result), (Status::Failed, &json!(null)));
}

#[test]
fn a_second_controller_gets_an_error_for_the_taken_folder() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#": >"$dir/up"; until [ -e "$dir/go" ]; do sleep 0.02; done"#);
    let list = jobs(&["a"], &recipe);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run(&list, &place.options()));
        until("the first", || place.path("up").exists());
        let error = jobs::run(&Task::silent(), &list, &place.options()).unwrap_err();
        std::fs::write(place.path("go"), "").unwrap();
        assert_eq!(error.kind(), Kind::Locked);
        assert_eq!(statuses(&first.join().unwrap()), [Status::Done]);
    });
}

#[test]
fn mistakes_are_found_before_anything_starts() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#": >"$dir/ran""#);
    let fine = || job("anna", &recipe, &[]);
    let after = |name: &str, first: &str| Job { after: vec![first.into()], ..job(name, &recipe, &[]) };
    let with = |change: &dyn Fn(&mut Job)| {
        let mut job = job("x", &recipe, &[]);
        change(&mut job);
        vec![fine(), job]
    };
    let cases: Vec<(Vec<Job>, Kind)> = vec![
        (vec![fine(), fine()], Kind::ConfigValue),
        (with(&|j| j.name.clear()), Kind::ConfigValue),
        (vec![fine(), after("b", "ana")], Kind::ConfigValue),
        (vec![fine(), after("b", "c"), after("c", "b")], Kind::ConfigValue),
        (with(&|j| j.recipe = place.path("none.sh")), Kind::NotFound),
        (with(&|j| j.args.push("a\0b".into())), Kind::ConfigValue),
        (with(&|j| j.env.push(("A=B; touch x".into(), String::new()))), Kind::ConfigValue),
    ];
    for (list, kind) in cases {
        let error = jobs::run(&Task::silent(), &list, &place.options()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        if error.message().contains("\"ana\"") {
            assert_eq!(error.hint_text(), Some("did you mean \"anna\"?"));
        }
    }
    let bad = Options { timeout_seconds: -1.0, ..place.options() };
    assert_eq!(jobs::run(&Task::silent(), &[fine()], &bad).unwrap_err().kind(), Kind::ConfigValue);
    let none = Options { program: Some("/no/such/program".into()), ..place.options() };
    assert_eq!(jobs::run(&Task::silent(), &[fine()], &none).unwrap_err().kind(), Kind::NotFound);
    assert!(!place.path("ran").exists());
}

const HOSTILE: &[&str] =
    &["-rf", "../../up", "a b", "it's", "$(touch pwned)", "two\nlines", "`id`", ".lock", "", "%j\\", "ä/ö;exit 9"];

#[test]
fn hostile_names_and_arguments_are_only_text() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"printf '%s|' "$@" >"$dir/args.$1""#);
    let list: Vec<Job> = HOSTILE
        .iter()
        .enumerate()
        .filter(|(_, name)| !name.is_empty())
        .map(|(n, name)| job(name, &recipe, &[&n.to_string(), name]))
        .collect();
    let outcomes = run(&list, &place.options());
    assert!(outcomes.iter().all(|o| o.status == Status::Done), "{outcomes:?}");
    for (n, name) in HOSTILE.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        assert_eq!(std::fs::read_to_string(place.path(&format!("args.{n}"))).unwrap(), format!("{n}|{name}|"));
    }
    let outside: Vec<_> = outcomes.iter().filter(|o| o.log.parent() != Some(&place.path("group"))).collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert!(!Path::new("pwned").exists());
}

/// Work that is done exactly once, whatever stops it: a stopped child leaves no trace of an end.
const EXACT: &str = r#"trap 'stop=1' TERM INT
mkdir "$dir/alive/$1" || echo "$1 twice at once" >>"$dir/faults"
n=0
while [ -z "$stop" ] && [ "$n" -lt "$2" ]; do n=$((n + 1)); sleep 0.01; done
if [ -n "$stop" ]; then code=130; sleep 0.03; else echo "$1" >>"$dir/completed"; code=0; fi
rmdir "$dir/alive/$1"
report "{\"exit\":$code,\"result\":\"$1\"}"
exit "$code"
"#;

/// The controller of the next tests, in a process of its own; as a separate test it does nothing.
#[test]
fn controller() {
    let Some(dir) = std::env::var_os("JOBS_TEST_DIR") else { return };
    let dir = PathBuf::from(dir);
    let recipe = dir.join("exact.sh");
    let list: Vec<Job> = (0..12)
        .map(|n| {
            let mut job = job(&format!("trial {n}"), &recipe, &[&format!("t{n}"), &(n % 4 * 6).to_string()]);
            if n == 11 {
                job.after = vec!["trial 3".into()];
            }
            job
        })
        .collect();
    let fake = dir.join("bin");
    let slurm = SlurmOptions { poll_seconds: 0.02, programs: Some(fake.clone()), ..SlurmOptions::default() };
    let backend = if fake.exists() { Backend::Slurm } else { Backend::Local };
    let options = Options {
        folder: dir.join("group"),
        program: Some("/bin/sh".into()),
        parallel: 3,
        backend,
        slurm,
        ..Options::default()
    };
    let outcomes = run(&list, &options);
    assert!(
        outcomes.iter().enumerate().all(|(n, o)| o.status == Status::Done && o.result == json!(format!("t{n}"))),
        "{outcomes:?}"
    );
    std::fs::write(dir.join("finished"), "").unwrap();
}

fn start_controller(place: &Place) -> std::process::Child {
    // This test reports its panic; a killed one prints nothing.
    let words = std::fs::File::create(place.path("controller.log")).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(only(module_path!(), "controller"))
        .env("JOBS_TEST_DIR", place.0.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(words)
        .spawn()
        .unwrap()
}

/// Kills controllers at random moments until `kills` of them were at work; the last controller finishes each group of jobs.
fn disturb(kills: u32, within_ms: u64, prepare: impl Fn(&Place)) {
    let (mut met, mut seed) = (0, 1u64);
    while met < kills {
        let place = Place::new();
        std::fs::create_dir(place.path("alive")).unwrap();
        place.recipe("exact.sh", EXACT);
        prepare(&place);
        while met < kills && !place.path("finished").exists() {
            let mut controller = start_controller(&place);
            // Before the first job, during a start, during an end.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis((seed >> 33) % within_ms));
            let _ = controller.kill();
            met += u32::from(controller.wait().unwrap().signal() == Some(9));
        }
        let last = start_controller(&place).wait().unwrap();
        assert!(last.success(), "{}", std::fs::read_to_string(place.path("controller.log")).unwrap());
        assert!(place.path("finished").exists());
        assert_exact(&place);
    }
}

fn assert_exact(place: &Place) {
    assert_eq!(place.lines("faults"), [""; 0]);
    let mut completed = place.lines("completed");
    completed.sort();
    let mut wanted: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
    wanted.sort();
    assert_eq!(completed, wanted, "each job completes exactly once");
    assert_eq!(std::fs::read_dir(place.path("alive")).unwrap().count(), 0, "a child was left behind");
}

#[test]
fn each_job_completes_exactly_once_after_any_number_of_kills() {
    disturb(20, 250, |_| {});
}

#[test]
fn children_stop_when_their_controller_is_killed() {
    let place = Place::new();
    std::fs::create_dir(place.path("alive")).unwrap();
    place.recipe("exact.sh", &EXACT.replace("-lt \"$2\"", "-lt 100000"));
    let mut controller = start_controller(&place);
    let alive = || std::fs::read_dir(place.path("alive")).unwrap().count();
    until("three children", || alive() == 3);
    controller.kill().unwrap();
    controller.wait().unwrap();
    until("the end of the children", || alive() == 0);
    assert_eq!(place.lines("completed"), [""; 0]);
}

#[test]
fn an_orphan_that_does_not_stop_is_killed_before_its_job_runs_again() {
    let place = Place::new();
    let recipe = place.recipe(
        "r.sh",
        r#"trap '' TERM INT; echo $$ >>"$dir/pids"; [ "$(wc -l <"$dir/pids")" -eq 1 ] || exit 0; while :; do sleep 0.02; done"#,
    );
    // An orphan as a killed controller leaves it: it holds the lock, and its state has no end.
    let list = jobs(&["a"], &recipe);
    let options = Options { patience_seconds: 0.2, ..place.options() };
    std::fs::create_dir(&options.folder).unwrap();
    std::fs::write(options.folder.join("a.state.json"), r#"{"digest":"?","ended":null,"attempts":1}"#).unwrap();
    let lock = std::fs::File::create(options.folder.join("a.lock")).unwrap();
    lock.try_lock().unwrap();
    let mut orphan = Command::new("/bin/sh")
        .arg(&recipe)
        .env("RVC_RUN_RESULT", "none")
        .stdout(lock)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until("the orphan", || place.lines("pids").len() == 1);
    let outcomes = run(&list, &options);
    assert_eq!(statuses(&outcomes), [Status::Done]);
    let ended = orphan.try_wait().unwrap();
    let _ = orphan.kill();
    assert_eq!(
        ended.and_then(|status| status.signal()),
        Some(9),
        "the orphan was still alive beside its job's next run"
    );
}

/// Two chains of jobs, a0 a1 a2 a3 and b0 ..., each added when the one before it has ended.
fn chains<'a>(recipe: &'a Path, seen: &'a mut Vec<String>) -> impl FnMut(&Outcome) -> rvc_run::Result<Vec<Job>> + 'a {
    move |outcome| {
        seen.push(outcome.name.clone());
        let (chain, n) = outcome.name.split_at(1);
        let n: u32 = n.parse().unwrap();
        Ok(if n < 3 { jobs(&[&format!("{chain}{}", n + 1)], recipe) } else { Vec::new() })
    }
}

#[test]
fn jobs_that_are_added_run_as_soon_as_a_slot_is_free() {
    let place = Place::new();
    // b0 ends only after the chain of a: nothing waits for it.
    let recipe = place.recipe(
        "r.sh",
        r#"echo "$1" >>"$dir/ran"; [ "$1" != b0 ] || until [ -e "$dir/a3" ]; do sleep 0.01; done; : >"$dir/$1""#,
    );
    let options = Options { parallel: 2, ..place.options() };
    let mut seen = Vec::new();
    let outcomes =
        jobs::run_on(&Task::silent(), &jobs(&["a0", "b0"], &recipe), &options, &mut chains(&recipe, &mut seen))
            .unwrap();
    let names: Vec<&str> = outcomes.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["a0", "b0", "a1", "a2", "a3", "b1", "b2", "b3"]);
    assert_eq!(statuses(&outcomes), [Status::Done; 8]);
    let at = |name: &str| seen.iter().position(|one| one == name);
    // b0 ends when a3 has made its file, which may be a moment before a3 has ended.
    assert!(seen.len() == 8 && at("b0") > at("a2") && at("b1") > at("b0"), "{seen:?}");

    // Once more: all of it is done, and reported again.
    let mut seen = Vec::new();
    let again = jobs::run_on(&Task::silent(), &jobs(&["a0", "b0"], &recipe), &options, &mut chains(&recipe, &mut seen))
        .unwrap();
    assert!(again.len() == 8 && again.iter().all(|o| o.reused), "{again:?}");
    assert_eq!((seen.len(), place.lines("ran").len()), (8, 8));
}

#[test]
fn slurm_takes_jobs_that_are_added() {
    let place = Place::new();
    let options = fake_cluster(&place);
    let recipe = place.recipe("r.sh", r#"echo "$1" >>"$dir/ran""#);
    let mut seen = Vec::new();
    let outcomes =
        jobs::run_on(&Task::silent(), &jobs(&["a0", "b0"], &recipe), &options, &mut chains(&recipe, &mut seen))
            .unwrap();
    assert_eq!((outcomes.len(), seen.len(), place.lines("ran").len()), (8, 8, 8));
    assert!(outcomes.iter().all(|o| o.status == Status::Done), "{outcomes:?}");
}

#[test]
fn a_mistake_in_an_added_job_is_reported_and_stops_the_others() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"[ "$1" != b ] || { trap ': >"$dir/saved"; exit 130' INT; : >"$dir/up"; while :; do sleep 0.02; done; }; until [ -e "$dir/up" ]; do sleep 0.01; done"#);
    let list = jobs(&["a", "b"], &recipe);
    let error = jobs::run_on(&Task::silent(), &list, &Options { parallel: 2, ..place.options() }, &mut |_| {
        Ok(jobs(&["a"], &recipe))
    });
    assert_eq!(error.unwrap_err().kind(), Kind::ConfigValue);
    assert!(place.path("saved").exists());
}

#[test]
fn an_added_job_that_finished_under_a_killed_controller_is_reused() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"echo "$1" >>"$dir/ran"; report '{"exit":0,"result":"'$1'"}'"#);
    let options = place.options();
    let mut seen = Vec::new();
    let first =
        jobs::run_on(&Task::silent(), &jobs(&["a2"], &recipe), &options, &mut chains(&recipe, &mut seen)).unwrap();
    assert_eq!(first.len(), 2);
    // As if the controller had died before it noticed the end.
    let state = options.folder.join("a3.state.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    record["ended"] = json!(null);
    std::fs::write(&state, record.to_string()).unwrap();
    let mut seen = Vec::new();
    let again =
        jobs::run_on(&Task::silent(), &jobs(&["a2"], &recipe), &options, &mut chains(&recipe, &mut seen)).unwrap();
    assert_eq!((again[1].status, again[1].reused, &again[1].result), (Status::Done, true, &json!("a3")));
    assert_eq!((seen, place.lines("ran")), (vec!["a2".to_owned(), "a3".into()], vec!["a2".to_owned(), "a3".into()]));
}

#[test]
fn a_job_whose_file_is_missing_is_run_again() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", r#"echo x >>"$dir/ran"; : >"$dir/model""#);
    let list = [Job { makes: vec![place.path("model")], ..job("a", &recipe, &[]) }];
    run(&list, &place.options());
    assert!(run(&list, &place.options())[0].reused);
    std::fs::remove_file(place.path("model")).unwrap();
    assert!(!run(&list, &place.options())[0].reused);
    assert!(run(&list, &place.options())[0].reused);
    assert_eq!(place.lines("ran").len(), 2);
}

// Slurm.

const SBATCH: &str = r#"#!/bin/sh
fake=$(dirname "$0")/../fake
# Jobs outlive sbatch, which runs in a group of its own that ends with it.
[ -n "$FAKE_SESSION" ] || FAKE_SESSION=1 exec setsid --wait "$0" "$@"
array= name= needs=
for arg; do case $arg in
    --array=*) array=${arg#--array=}; array=${array%%%*} ;;
    --job-name=*) name=${arg#--job-name=} ;;
    --dependency=afterok:*) needs=$(echo "${arg#--dependency=afterok:}" | tr : ' ') ;;
esac; done
printf '%s\n' "$@" -- >>"$fake/sbatch"
[ ! -e "$fake/refuse" ] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
[ ! -e "$fake/slow" ] || sleep 0.1
number=$(ls "$fake" | grep -c 'script$'); number=$((number + 100))
cp "$arg" "$fake/$number.script"
put() { echo "$2" >"$fake/$1.part" && mv "$fake/$1.part" "$fake/$1.state"; }
begin() {
    echo "$name" >"$fake/$1.name"; put "$1" PENDING
    (
        for need in $needs; do
            while grep -qE 'PENDING|RUNNING' "$fake/$need.state"; do
                grep -q PENDING "$fake/$1.state" || exit 0
                sleep 0.02
            done
            grep -q COMPLETED "$fake/$need.state" || { put "$1" CANCELLED; exit 0; }
        done
        while [ -e "$fake/hold" ]; do grep -q PENDING "$fake/$1.state" || exit 0; sleep 0.02; done
        SLURM_JOB_ID=$1 SLURM_ARRAY_TASK_ID=$2 /bin/sh "$fake/$number.script" &
        echo $! >"$fake/$1.pid"; put "$1" RUNNING
        wait $! && state=COMPLETED || state=FAILED
        put "$1" "$state"
    ) </dev/null >/dev/null 2>&1 &
}
if [ -n "$array" ]; then
    for index in $(seq 0 "${array#0-}"); do begin "${number}_$index" "$index"; done
else
    begin "$number" ""
fi
[ ! -e "$fake/slow" ] || sleep 0.1
echo "$number"
"#;

const SQUEUE: &str = r#"#!/bin/sh
fake=$(dirname "$0")/../fake
[ ! -e "$fake/down" ] || { rm "$fake/down"; echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
for arg; do case $arg in --name=*) name=${arg#--name=} ;; --jobs=*) jobs=$(echo "${arg#--jobs=}" | tr , ' ') ;; esac; done
for state in "$fake"/*.state; do
    id=$(basename "$state" .state)
    grep -qE 'PENDING|RUNNING' "$state" || continue
    [ -z "$name" ] || [ "$(cat "$fake/$id.name")" = "$name" ] || continue
    [ -n "$name" ] || case " $jobs " in *" ${id%_*} "*) ;; *) continue ;; esac
    echo "$id|$(cat "$state")|None"
done
"#;

const SCONTROL: &str = r#"#!/bin/sh
fake=$(dirname "$0")/../fake
if [ "$1" = requeue ]; then
    echo "$2" >>"$fake/requeued"
    ( SLURM_JOB_ID=$2 /bin/sh "$fake/$2.script" & echo $! >"$fake/$2.pid"; wait $!; echo COMPLETED >"$fake/$2.state" ) </dev/null >/dev/null 2>&1 &
    exit 0
fi
echo "JobId=$4 JobName=x JobState=$(cat "$fake/$4.state") Reason=None"
"#;

const SCANCEL: &str = r#"#!/bin/sh
fake=$(dirname "$0")/../fake
printf '%s\n' "$@" -- >>"$fake/scancel"
pending= signal=
for arg; do case $arg in
    --state=PENDING) pending=1 ;;
    --batch) ;;
    --signal=*) signal=${arg#--signal=} ;;
    *)
        state=$(cat "$fake/$arg.state")
        if [ "$state" = PENDING ] && [ -z "$signal" ]; then echo CANCELLED >"$fake/$arg.state"
        elif [ "$state" = RUNNING ] && [ -z "$pending" ]; then kill -"${signal:-KILL}" "$(cat "$fake/$arg.pid")"; fi ;;
esac; done
"#;

/// A cluster of shell scripts.
fn fake_cluster(place: &Place) -> Options {
    for folder in ["bin", "fake"] {
        std::fs::create_dir(place.path(folder)).unwrap();
    }
    for (name, text) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scontrol", SCONTROL), ("scancel", SCANCEL)] {
        let path = place.path("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut options = Options { backend: Backend::Slurm, ..place.options() };
    options.slurm.programs = Some(place.path("bin"));
    options
}

/// The number of calls of sbatch.
fn submissions(place: &Place) -> usize {
    place.lines("fake/sbatch").iter().filter(|line| *line == "--").count()
}

#[test]
fn slurm_runs_the_same_jobs_with_the_same_outcomes() {
    let place = Place::new();
    let options = Options { parallel: 2, gpus: vec![0], retries: 1, ..fake_cluster(&place) };
    let recipe = place.recipe(
        "r.sh",
        // Until the queue was queried once, and did not answer.
        r#"while [ -e "$dir/fake/down" ]; do sleep 0.01; done
        echo "hello $1 $EXTRA"; echo "$1" >>"$dir/ran"; report "{\"exit\":$2,\"result\":\"$1\"}"; exit "$2""#,
    );
    let mut list = vec![
        job("it's $(x)", &recipe, &["a'$(touch pwned)\n-", "0"]),
        job("some", &recipe, &["some", "3"]),
        job("bad", &recipe, &["bad", "1"]),
        job("next", &recipe, &["next", "0"]),
        job("lost", &recipe, &["lost", "0"]),
    ];
    list[0].env = vec![("EXTRA".into(), "'$HOME'".into())];
    list[3].after = vec!["some".into(), "it's $(x)".into()];
    list[4].after = vec!["bad".into()];
    std::fs::write(place.path("fake/down"), "").unwrap();
    let outcomes = run(&list, &options);
    assert_eq!(
        statuses(&outcomes),
        [Status::Done, Status::DoneWithSkipped, Status::Failed, Status::Done, Status::Skipped],
        "{outcomes:?}"
    );
    assert_eq!(outcomes[0].result, json!(null), "a newline in JSON is no report");
    assert_eq!(lines(&outcomes[0].log), ["hello a'$(touch pwned)", "- '$HOME'"]);
    assert_eq!((outcomes[2].attempts, outcomes[2].exit_code), (2, Some(1)));
    assert_eq!(outcomes[2].last_lines.last().unwrap(), "hello bad ");
    assert_eq!(outcomes[3].result, json!("next"));
    let given = place.lines("fake/sbatch");
    assert!(given.contains(&"--array=0-2%2".to_owned()) && given.contains(&"--gres=gpu:1".to_owned()), "{given:?}");
    assert_eq!(submissions(&place), 3);
    assert!(!Path::new("pwned").exists() && !place.path("pwned").exists());
    // The same call again: only the unfinished jobs.
    let outcomes = run(&list, &options);
    assert!(outcomes[0].reused && outcomes[3].reused && !outcomes[2].reused);
    assert_eq!(place.lines("ran").iter().filter(|line| *line == "next").count(), 1);
}

#[test]
fn a_recipe_without_a_file_is_one_word_of_the_command_and_identified_by_its_text() {
    for on_slurm in [false, true] {
        let place = Place::new();
        let cluster = fake_cluster(&place);
        let body = place.recipe("body.sh", r#"printf '%s\n' "$1" >>"$dir/ran"; report '{"exit":0}'"#);
        let program = place.path("program");
        std::fs::write(&program, format!("#!/bin/sh\n{}", std::fs::read_to_string(body).unwrap())).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let options = Options { program: Some(program), ..if on_slurm { cluster } else { place.options() } };
        let named = "recipes/train_voice.rhai (built in)";
        let with = |text: &str| [Job { text: Some(text.into()), ..job("anna", Path::new(named), &["anna"]) }];
        let reused = ["first", "first", "second"].map(|text| run(&with(text), &options)[0].reused);
        assert_eq!(reused, [false, true, false]);
        assert_eq!(place.lines("ran"), [named, named], "on Slurm: {on_slurm}");
    }
}

#[test]
fn slurm_jobs_are_found_again_by_a_controller_that_was_killed() {
    disturb(12, 600, |place| {
        fake_cluster(place);
        // A submission takes long, so that kills occur during it: before the queue has it, and before its number is known.
        std::fs::write(place.path("fake/slow"), "").unwrap();
    });
}

#[test]
fn a_cancel_reaches_slurm_jobs_that_wait_and_that_run() {
    let place = Place::new();
    let options = fake_cluster(&place);
    let recipe = place.recipe(
        "r.sh",
        r#"trap 'echo saved >>"$dir/saved"; exit 130' TERM; : >"$dir/up"; while :; do sleep 0.02; done"#,
    );
    let mut list = jobs(&["runs", "waits"], &recipe);
    list[1].after = vec!["runs".into()];
    let task = Task::silent();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| jobs::run(&task, &list, &options).unwrap());
        until("the first job", || place.path("up").exists());
        task.cancel_flag().store(true, Ordering::Relaxed);
        assert_eq!(statuses(&running.join().unwrap()), [Status::Cancelled; 2]);
    });
    assert_eq!(place.lines("saved"), ["saved"]);
}

#[test]
fn a_slurm_job_near_its_time_limit_saves_and_is_requeued() {
    let place = Place::new();
    let options = fake_cluster(&place);
    let recipe = place.recipe(
        "r.sh",
        r#"[ ! -e "$dir/saved" ] || { report '{"exit":0,"result":"continued"}'; exit 0; }
        trap ': >"$dir/saved"; exit 130' TERM; echo up >"$dir/up"; while :; do sleep 0.02; done"#,
    );
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&jobs(&["a"], &recipe), &options));
        until("the job", || place.path("up").exists() && !place.lines("fake/100.pid").is_empty());
        // The effect of `--signal=B:USR1@n`.
        let pid = place.lines("fake/100.pid")[0].clone();
        assert!(Command::new("/bin/kill").args(["-USR1", &pid]).status().unwrap().success());
        let outcomes = running.join().unwrap();
        assert_eq!((outcomes[0].status, &outcomes[0].result), (Status::Done, &json!("continued")), "{outcomes:?}");
    });
    assert_eq!(place.lines("fake/requeued"), ["100"]);
}

#[test]
fn a_slurm_job_that_vanishes_fails_with_slurms_reason() {
    let place = Place::new();
    let options = fake_cluster(&place);
    // As the system ends the whole job when memory runs out.
    let recipe = place.recipe("r.sh", r#"[ "$1" = fine ] || { echo "not much left"; kill -KILL $PPID; }"#);
    let outcomes = run(&jobs(&["gone", "fine"], &recipe), &options);
    assert_eq!(statuses(&outcomes), [Status::Failed, Status::Done]);
    assert_eq!(outcomes[0].reason, "left Slurm's queue as FAILED");
    assert_eq!(outcomes[0].last_lines, ["not much left"]);
}

#[test]
fn a_missing_or_refusing_slurm_is_reported_clearly() {
    let place = Place::new();
    let recipe = place.recipe("r.sh", ":");
    let mut options = fake_cluster(&place);
    std::fs::write(place.path("fake/refuse"), "").unwrap();
    let error = jobs::run(&Task::silent(), &jobs(&["a"], &recipe), &options).unwrap_err();
    assert_eq!(error.kind(), Kind::ConfigValue);
    assert!(error.message().contains("invalid partition"), "{error}");
    options.slurm.programs = Some(place.path("fake"));
    let error = jobs::run(&Task::silent(), &jobs(&["a"], &recipe), &options).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().is_some());
}

/// A real cluster of one node, this machine: munge, controller and node daemon, with all their files in one folder.
struct Cluster {
    daemons: Vec<std::process::Child>,
    /// Two clusters at the same time on two cores starve each other.
    _alone: std::sync::MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Cluster {
    /// Starts one, with wrappers of Slurm's commands in `bin`; returns the reason if this machine cannot run one.
    fn start(place: &Place) -> Result<Self, String> {
        let alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let programs = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo"];
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let found = programs
            .map(|name| which::which_in(name, Some(&path), "/").map_err(|_| format!("{name} is not installed")));
        let [munged, slurmctld, slurmd, commands @ ..] = found;
        let (munged, slurmctld, slurmd) = (munged?, slurmctld?, slurmd?);
        if !Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n") {
            return Err("slurmd must be started by root".into());
        }
        let host = Command::new("hostname").arg("-s").output().map_err(|e| e.to_string())?.stdout;
        let host = String::from_utf8(host).unwrap().trim().to_owned();
        for folder in ["bin", "state", "spool"] {
            std::fs::create_dir(place.path(folder)).unwrap();
        }
        let at = |name: &str| place.path(name).display().to_string();
        let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [controller, node] = ports.map(|socket| socket.local_addr().unwrap().port());
        let config = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nAuthType=auth/munge\nAuthInfo=socket={}\nCredType=cred/munge\n\
             SlurmUser=root\nSlurmdUser=root\nSlurmctldPort={controller}\nSlurmdPort={node}\nStateSaveLocation={}\n\
             SlurmdSpoolDir={}\nSlurmctldPidFile={}\nSlurmdPidFile={}\nSlurmctldLogFile={}\nSlurmdLogFile={}\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\n\
             ReturnToService=2\nKillWait=5\nSchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN\nPartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n",
            at("munge.socket"),
            at("state"),
            at("spool"),
            at("ctld.pid"),
            at("slurmd.pid"),
            at("ctld.log"),
            at("slurmd.log"),
        );
        std::fs::write(place.path("slurm.conf"), config).unwrap();
        let key: Vec<u8> = (0..1024u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(place.path("munge.key"), key).unwrap();
        std::fs::set_permissions(place.path("munge.key"), PermissionsExt::from_mode(0o600)).unwrap();
        for command in commands {
            let command = command?;
            let wrapper = place.path("bin").join(command.file_name().unwrap());
            let text =
                format!("#!/bin/sh\nexport SLURM_CONF='{}'\nexec '{}' \"$@\"\n", at("slurm.conf"), command.display());
            std::fs::write(&wrapper, text).unwrap();
            std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let mut cluster = Self { daemons: Vec::new(), _alone: alone };
        let munge = ["socket", "key", "pid", "log", "seed"].map(|what| match what {
            "socket" => format!("--socket={}", at("munge.socket")),
            what => format!("--{what}-file={}", at(&format!("munge.{what}"))),
        });
        cluster.daemon(place, Command::new(munged).args(["--force", "--foreground", "--num-threads=1"]).args(munge));
        until("munge", || place.path("munge.socket").exists());
        cluster.daemon(place, Command::new(slurmctld).args(["-D", "-c"]));
        cluster.daemon(place, Command::new(slurmd).args(["-D", "-N", &host]));
        until("an idle node", || {
            let output = Command::new(place.path("bin").join("sinfo")).args(["-h", "-o", "%T"]).output().unwrap();
            output.stdout == b"idle\n"
        });
        Ok(cluster)
    }

    fn daemon(&mut self, place: &Place, command: &mut Command) {
        command
            .env("SLURM_CONF", place.path("slurm.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.daemons.push(command.spawn().unwrap());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The node first, so that it can sign off.
        for daemon in self.daemons.iter_mut().rev() {
            let _ = Command::new("/bin/kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
    }
}

#[test]
#[ignore = "slow: a real Slurm is started"]
fn a_real_slurm_runs_the_same_jobs() {
    let place = Place::new();
    let _cluster = match Cluster::start(&place) {
        Ok(cluster) => cluster,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut options = Options { backend: Backend::Slurm, retries: 1, ..place.options() };
    options.slurm.programs = Some(place.path("bin"));
    options.slurm.poll_seconds = 0.2;
    options.slurm.time = "10".into();
    let recipe = place.recipe("r.sh", r#"echo "$1" >>"$dir/ran"; report "{\"exit\":$2,\"result\":\"$1\"}"; exit "$2""#);
    let mut list = vec![
        job("it's $(x)", &recipe, &["fine", "0"]),
        job("some", &recipe, &["some", "3"]),
        job("bad", &recipe, &["bad", "1"]),
        job("next", &recipe, &["next", "0"]),
        job("lost", &recipe, &["lost", "0"]),
    ];
    list[3].after = vec!["some".into(), "it's $(x)".into()];
    list[4].after = vec!["bad".into()];
    let outcomes = run(&list, &options);
    assert_eq!(
        statuses(&outcomes),
        [Status::Done, Status::DoneWithSkipped, Status::Failed, Status::Done, Status::Skipped],
        "{outcomes:?}"
    );
    assert_eq!((outcomes[2].attempts, &outcomes[3].result), (2, &json!("next")));
    let mut ran = place.lines("ran");
    ran.sort();
    assert_eq!(ran, ["bad", "bad", "fine", "next", "some"]);

    // Near the time limit (the signal of `--signal=B:USR1@n`): saved, requeued, continued.
    let recipe = place.recipe(
        "limit.sh",
        r#"[ ! -e "$dir/limit" ] || { report '{"exit":0,"result":"continued"}'; exit 0; }
        trap ': >"$dir/limit"; exit 130' TERM; : >"$dir/before"; while :; do sleep 0.05; done"#,
    );
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&jobs(&["long"], &recipe), &options));
        until("the long job", || place.path("before").exists());
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(place.path("group/long.state.json")).unwrap()).unwrap();
        let id = state["slurm"]["id"].as_str().unwrap();
        let slurm = |program: &str, args: &[&str]| {
            Command::new(place.path("bin").join(program)).args(args).stderr(Stdio::null()).status().unwrap().success()
        };
        assert!(slurm("scancel", &["--batch", "--signal=USR1", id]));
        until("the save", || place.path("limit").exists());
        // Slurm waits two minutes before it restarts a requeued job; it refuses to hurry until the job is requeued.
        // Not "now": a start in the same second as the order to end the job's first run counts as that run ("already
        // killed, do not launch batch job" in slurmd's log), and the job is FAILED. The two minutes prevent that.
        let mut hurried = false;
        until("the requeue", || {
            hurried = hurried || slurm("scontrol", &["update", &format!("JobId={id}"), "StartTime=now+2"]);
            running.is_finished()
        });
        let outcomes = running.join().unwrap();
        assert_eq!((outcomes[0].status, &outcomes[0].result), (Status::Done, &json!("continued")), "{outcomes:?}");
    });

    // Ctrl-C: the running one saves, the one that waits for the only processor is cancelled.
    let recipe = place.recipe(
        "stop.sh",
        r#"trap 'echo saved >>"$dir/saved"; exit 130' TERM; : >"$dir/up"; while :; do sleep 0.05; done"#,
    );
    let task = Task::silent();
    std::thread::scope(|scope| {
        let list = jobs(&["runs", "waits"], &recipe);
        let (task, options) = (&task, &options);
        let running = scope.spawn(move || jobs::run(task, &list, options).unwrap());
        until("the first job", || place.path("up").exists());
        task.cancel_flag().store(true, Ordering::Relaxed);
        let outcomes = running.join().unwrap();
        assert_eq!(statuses(&outcomes), [Status::Cancelled; 2], "{outcomes:?}");
    });
    assert_eq!(place.lines("saved"), ["saved"]);
    let queue = Command::new(place.path("bin").join("squeue")).arg("-h").output().unwrap();
    assert!(queue.stdout.is_empty(), "{}", String::from_utf8_lossy(&queue.stdout));
}

#[test]
#[ignore = "slow: a real Slurm is started"]
fn a_real_slurm_runs_the_embedded_sweep_recipe() {
    let place = Place::new();
    let _cluster = match Cluster::start(&place) {
        Ok(cluster) => cluster,
        Err(why) => return println!("skipped: {why}"),
    };
    for (file, pitch) in [("a.wav", 140.0), ("b.wav", 170.0)] {
        let path = place.path("data/anna").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        speech::write_wav(&path, &speech::voice_like(3.0, pitch), 32000);
    }
    let settings = r#"{"preset":"tiny","segment_size":3200,"f0_method":"pm","content_encoder":"mel","pretrained_g":"none","pretrained_d":"none"}"#;
    let sweep = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
        command.args(["--threads=1", "--tracking-uri=none"]).arg(format!("--workspace={}", place.0.path().display()));
        // The recipe that the program carries: a folder of voices has none, and its jobs run on other machines.
        command.current_dir(place.0.path()).arg("sweep");
        command.args(["anna", "--name=s", "--trials=2", "--epochs=2", "--min-epochs=1", "--eta=2", "--validation=0.3"]);
        command.args(["--backend=slurm", r#"--slurm={"poll_seconds":0.3,"time":"10"}"#, "--settings", settings]);
        let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let output = command.env("PATH", path).stdin(Stdio::null()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{text}");
        std::fs::read_to_string(place.path("tracking/sweeps/s/leaderboard.json")).unwrap()
    };
    let text = sweep();
    let board: serde_json::Value = serde_json::from_str(&text).unwrap();
    let statuses: Vec<&str> =
        board["trials"].as_array().unwrap().iter().map(|trial| trial["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["finished", "stopped"], "{text}");
    // Slurm ran them: their states name the batch script, and nothing is run a second time.
    let folder = board["trials"][0]["folder"].as_str().unwrap().strip_prefix("s-").unwrap();
    let file = |ending: &str| place.path(&format!("tracking/jobs/sweep-s/{folder}-e1.{ending}"));
    assert!(file("sh").exists());
    let before = lines(&file("log"));
    assert_eq!(text, sweep());
    assert_eq!(before, lines(&file("log")));
}
