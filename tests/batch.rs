//! Many trainings at once, through the program: batches of voices and sweeps, with failures and kills.
//!
//! Tiny networks and seconds of synthetic speech-like sound; every run is its own process in its own workspace.

#![cfg(unix)]

use crate::support::rounds;
use crate::support::speech::{voice_like, write_wav};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A workspace in a temp folder, with the project's recipes.
struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Puts a recording of `seconds` of voice-like sound at data/<voice>/<file>.
    fn record(&self, voice: &str, file: &str, seconds: f64, pitch: f64) {
        let path = self.path(&format!("data/{voice}/{file}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_wav(&path, &voice_like(seconds, pitch), 32000);
    }

    /// One libtorch thread: sums then have one order, and bit-identity does not depend on the machine's load.
    fn command(&self, recipe: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
        command.args(["--threads", "1", "--tracking-uri", "none", "--workspace"]).arg(self.folder.path());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(format!("{recipe}.rhai")));
        command.args(arguments).stdin(Stdio::null());
        // The user's own pretrained files are hidden.
        command.env_remove("RVC_RUN_ASSETS").env("XDG_CACHE_HOME", self.path("cache_home"));
        command
    }

    fn run(&self, recipe: &str, arguments: &[&str]) -> Output {
        self.command(recipe, arguments).output().unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// When a file was last written.
    fn written(&self, path: &str) -> std::time::SystemTime {
        std::fs::metadata(self.path(path)).unwrap().modified().unwrap()
    }
}

/// The text of a run that must end with `code`.
fn ended_with(code: i32, output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// Needs no download, trains in seconds.
const TINY: [&str; 6] = ["--preset", "tiny", "--f0-method", "pm", "--content-encoder", "mel"];

#[test]
fn a_batch_trains_usable_voices_and_retries_only_the_failed_ones() {
    let workspace = Workspace::new();
    let good = ["anna", "ben", "eve", "fred"];
    for (n, voice) in good.iter().enumerate() {
        workspace.record(voice, "a.wav", 6.0, 120.0 + 30.0 * n as f64);
    }
    std::fs::create_dir_all(workspace.path("data/carl")).unwrap();
    std::fs::create_dir_all(workspace.path("data/dora")).unwrap();
    std::fs::write(workspace.path("data/dora/a.wav"), "RIFF but nothing else").unwrap();
    let arguments = [&TINY[..], &["--epochs", "1", "--batch-size", "2", "--parallel", "2", "--retries", "2"]].concat();

    let text = ended_with(3, &workspace.run("train_all", &arguments));
    // A failure that cannot improve is not retried.
    for voice in ["carl", "dora"] {
        let state = workspace.json(&format!("tracking/jobs/train_all/{voice}.state.json"));
        assert_eq!(state["ended"]["attempts"], 1, "{state}");
    }
    let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("voice ")).skip(2).take(6).collect();
    for (row, voice) in table.iter().zip(["anna", "ben", "carl", "dora", "eve", "fred"]) {
        let what = if good.contains(&voice) { "trained" } else { "failed" };
        assert!(row.starts_with(voice) && row.contains(&format!("  {what}  ")), "{row:?} of {voice}:\n{text}");
    }
    assert!(table[2].contains("data.empty: ") && table[3].contains("data.empty: "), "{text}");
    for voice in good {
        assert!(workspace.path(&format!("models/{voice}.pth")).is_file(), "{voice}");
        assert!(workspace.text(&format!("tracking/jobs/train_all/{voice}.log")).contains("epoch 1/1"));
    }

    // Only these two are started again; one of them now has recordings to train on.
    workspace.record("carl", "a.wav", 6.0, 170.0);
    let logs = |voice: &str| workspace.written(&format!("tracking/jobs/train_all/{voice}.log"));
    let before = good.map(logs);
    let text = ended_with(3, &workspace.run("train_all", &arguments));
    assert_eq!(before, good.map(logs), "{text}");
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("voice ")).skip(2).take(6).collect();
    assert_eq!(rows.iter().filter(|row| row.contains("  trained before  ")).count(), 4, "{text}");
    assert!(rows[2].contains("  trained  ") && rows[3].contains("  failed  "), "{text}");

    // --only-failed leaves out all other voices.
    let text = ended_with(3, &workspace.run("train_all", &[&arguments[..], &["--only-failed"]].concat()));
    assert!(text.contains("dora") && !text.contains("anna"), "{text}");
    std::fs::remove_dir_all(workspace.path("data/dora")).unwrap();
    workspace.record("dora", "a.wav", 6.0, 200.0);
    ended_with(0, &workspace.run("train_all", &[&arguments[..], &["--only-failed"]].concat()));
    let text = ended_with(0, &workspace.run("train_all", &[&arguments[..], &["--only-failed"]].concat()));
    assert!(text.contains("no voice failed in the last call"), "{text}");
}

/// The rows of the table that `train_all` ends with, by the voice's name as it is shown.
fn table(text: &str) -> Vec<Vec<String>> {
    let rows =
        text.lines().skip_while(|line| !line.starts_with("voice ")).skip(2).take_while(|line| line.contains("  "));
    rows.map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect())
        .collect()
}

#[test]
fn any_folder_name_under_data_is_trained_or_listed_with_the_reason() {
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::new();
    let good = ["-x", "anna", "it's $HOME; x", "x:y", "安娜."];
    for (n, voice) in good.iter().enumerate() {
        workspace.record(voice, "a.wav", 4.0, 120.0 + 20.0 * n as f64);
    }
    // Broken and circular links stop no training.
    std::os::unix::fs::symlink("nowhere", workspace.path("data/anna/lost.wav")).unwrap();
    std::os::unix::fs::symlink("..", workspace.path("data/anna/back")).unwrap();
    let long = "v".repeat(201);
    for voice in ["a|b", "line\nbreak", "back\\slash", long.as_str()] {
        std::fs::create_dir_all(workspace.path("data").join(voice)).unwrap();
    }
    let no_text = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::create_dir_all(workspace.path("data").join(no_text)).unwrap();

    let arguments = [&TINY[..], &["--epochs", "1", "--batch-size", "2", "--parallel", "2"]].concat();
    let text = ended_with(3, &workspace.run("train_all", &arguments));
    let rows = table(&text);
    let row =
        |name: &str| rows.iter().find(|row| row[0].starts_with(name)).unwrap_or_else(|| panic!("{name}:\n{text}"));
    for voice in good {
        assert_eq!(row(voice)[1], "trained", "{text}");
        assert!(row(voice)[2].parse::<u32>().is_ok(), "the number of warnings: {text}");
        assert!(workspace.path("models").join(format!("{voice}.pth")).is_file(), "{voice}");
    }
    for (voice, why) in [
        ("a|b", "| separates the fields"),
        ("line\\nbreak", "control character"),
        ("back\\slash", "is read as /"),
        (&long[..60], "201 bytes, but may have at most 200"),
        ("caf\u{fffd}", "not valid Unicode"),
    ] {
        let row = row(voice);
        assert!(row[1] == "failed" && row.last().unwrap().contains(why), "{row:?}\n{text}");
        assert!(row.last().unwrap().starts_with("config.value: "), "{row:?}");
    }
    assert_eq!(rows.len(), good.len() + 5, "{text}");

    // Nothing is done twice, and the bad names are the failed ones.
    let again = ended_with(3, &workspace.run("train_all", &arguments));
    assert_eq!(table(&again).iter().filter(|row| row[1] == "trained before").count(), good.len(), "{again}");
    let failed = ended_with(3, &workspace.run("train_all", &[&arguments[..], &["--only-failed"]].concat()));
    assert_eq!(table(&failed).len(), 5, "{failed}");
    // Named on the command line: twice counts once, and a bad name does not stop the good ones.
    let named = ended_with(3, &workspace.run("train_all", &[&arguments[..], &["--voices=-x, a|b,-x"]].concat()));
    let rows: Vec<_> = table(&named).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let expected = [("-x", "trained before"), ("a|b", "failed")];
    assert_eq!(rows, expected.map(|(a, b)| (a.to_owned(), b.to_owned())), "{named}");
}

#[test]
fn every_name_without_a_voice_is_named_before_any_voice_is_trained() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 4.0, 150.0);
    workspace.record("ben", "a.wav", 4.0, 170.0);
    for (voices, message) in [
        ("anna,bob", "there is no voice bob under data/"),
        ("bob,anna", "there is no voice bob under data/"),
        ("bob,anna,bem,bob", "there are no voices bob, bem under data/"),
    ] {
        let arguments = [&TINY[..], &["--epochs=1", "--voices", voices]].concat();
        let text = ended_with(2, &workspace.run("train_all", &arguments));
        assert!(text.contains(&format!("error[usage]: {message}\n")), "{voices}: {text}");
        assert!(text.contains("existing voices: anna, ben"), "{voices}: {text}");
        assert_eq!(text.contains("did you mean ben?"), voices.contains("bem"), "{voices}: {text}");
        assert!(!workspace.path("logs").exists() && !workspace.path("tracking").exists(), "{voices}: {text}");
    }
}

#[test]
fn sweep_then_train_continues_only_the_training_that_it_began() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 4.0, 150.0);
    let few = [&["anna"], &TINY[..], &["--batch-size=2", "--segment-size=3200"]].concat();
    ended_with(0, &workspace.run("train_voice", &[&few[..], &["--epochs=1"]].concat()));
    let sweep = ["--search=grid", "--trials=1", "--epochs=1", "--validation=0", "--objective=loss_mel"];
    let run = |space: &str, code: i32, more: &[&str]| {
        let space = format!("--space=learning_rate=choice({space})");
        let arguments = [&few[..], &sweep, &[space.as_str()], more].concat();
        ended_with(code, &workspace.run("sweep_then_train", &arguments))
    };
    let text = run("0.0005", 1, &["--train-epochs=2"]);
    assert!(
        text.contains("error[config.mismatch]: anna was trained before, to epoch 1, not by this sweep\n"),
        "{text}"
    );
    assert!(text.contains("--fresh trains it again") && text.contains("resume.rhai anna --epochs 2`"), "{text}");
    assert!(!workspace.path("tracking/sweeps").exists(), "refused before the search: {text}");

    let text = run("0.0005", 0, &["--train-epochs=1", "--fresh"]);
    assert!(text.contains("epoch 1/1"), "{text}");
    let text = run("0.0005", 0, &["--train-epochs=2"]);
    assert!(text.contains("epoch 2/2") && !text.contains("epoch 1/2"), "its own training continues: {text}");
    let config = workspace.json("logs/anna/config.json");
    assert_eq!(config["train"]["learning_rate"], 0.0005, "{config}");

    // Another best trial, and a training in between with other settings.
    let text = run("0.0007", 1, &["--train-epochs=2"]);
    assert!(text.contains("with learning_rate 0.0005, and the best trial has 0.0007"), "{text}");
    ended_with(0, &workspace.run("train_voice", &[&few[..], &["--epochs=3", "--learning-rate=0.002"]].concat()));
    let text = run("0.0005", 1, &["--train-epochs=4"]);
    assert!(text.contains("to epoch 3, with learning_rate 0.002, and the best trial has 0.0005"), "{text}");
}

/// Kills of the sweep that is disturbed, unless RVC_TEST_KILLS sets another number.
const KILLS: usize = 6;

/// Three rungs: 12 trials to epoch 1, 6 to epoch 2, 3 to epoch 4.
const SWEEP: [&str; 17] = [
    "anna",
    "--space=learning_rate=log(1e-4,1e-2); batch_size=choice(1,2)",
    "--trials=12",
    "--epochs=4",
    "--min-epochs=1",
    "--eta=2",
    "--validation=0.3",
    "--parallel=2",
    "--name=s",
    "--settings",
    r#"{"preset":"tiny","segment_size":3200,"f0_method":"pm","content_encoder":"mel","pretrained_g":"none","pretrained_d":"none","save_every":1}"#,
    "--max-minutes=0",
    "--sweep-seed=5",
    "--goal=min",
    "--search=halving",
    "--backend=local",
    "--objective=validation_loss_mel",
];

/// A workspace with three of the quickstart's recordings, so that one can be held out.
fn for_sweeps() -> Workspace {
    let workspace = Workspace::new();
    let data = workspace.path("data/anna");
    std::fs::create_dir_all(&data).unwrap();
    for file in ["01.flac", "02.flac", "03.flac"] {
        let speech = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart/anna").join(file);
        std::fs::copy(speech, data.join(file)).unwrap();
    }
    workspace
}

/// Processes that work in the workspace: those with its path in their command line or environment.
fn workers(workspace: &Workspace) -> Vec<u32> {
    let mark = workspace.folder.path().display().to_string();
    let here = std::process::id();
    let own = |pid: u32| {
        let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        pid != here && String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).contains(&mark)
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| own(pid)).collect()
}

fn kill(pid: u32) {
    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
}

/// The states of all jobs of the sweep: file name, content.
fn states(workspace: &Workspace) -> Vec<(String, String)> {
    let folder = workspace.path("tracking/jobs/sweep-s");
    let mut states: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".state.json"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    states.sort();
    states
}

#[test]
#[ignore = "slow: two sweeps of 12 trials and their kills"]
fn a_sweep_that_is_killed_again_and_again_ends_as_the_undisturbed_one() {
    let undisturbed = for_sweeps();
    let text = ended_with(0, &undisturbed.run("sweep", &SWEEP));
    let board = undisturbed.json("tracking/sweeps/s/leaderboard.json");
    assert_eq!(board["rungs"], serde_json::json!([1, 2, 4]));
    let trials = board["trials"].as_array().unwrap();
    let of = |status: &str| trials.iter().filter(|trial| trial["status"] == status).count();
    assert_eq!((trials.len(), of("finished"), of("stopped")), (12, 3, 9), "{text}");
    assert_eq!(states(&undisturbed).len(), 12 + 6 + 3);
    assert!(undisturbed.text("tracking/sweeps/s/leaderboard.csv").lines().count() == 13);
    // The trials shared the clips of the voice: its folder holds no checkpoint, theirs no clip.
    assert!(
        !undisturbed.path("logs/anna/G_0.pth").exists()
            && !undisturbed.path("logs").join(trials[0]["folder"].as_str().unwrap()).join("0_gt_wavs").exists()
    );

    let disturbed = for_sweeps();
    let kills = rounds("RVC_TEST_KILLS", KILLS);
    let mut random = u64::from(std::process::id()) | 1;
    println!("random numbers from {random}");
    let mut below = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let mut killed = 0;
    while killed < kills {
        let mut child = disturbed.command("sweep", &SWEEP).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // One worker, then only the controller or everything at once.
        for round in 0..2 {
            std::thread::sleep(std::time::Duration::from_millis(400 + below(2500)));
            // Otherwise the remaining kills would hit nothing.
            assert!(
                child.try_wait().unwrap().is_none(),
                "the sweep ended before all kills, after {killed} of {kills} kills"
            );
            let others: Vec<u32> = workers(&disturbed).into_iter().filter(|&pid| pid != child.id()).collect();
            let others_are_gone = others.is_empty();
            if round == 0 && !others_are_gone {
                kill(others[below(others.len() as u64) as usize]);
            } else {
                kill(child.id());
                if below(2) == 0 {
                    others.into_iter().for_each(kill);
                }
            }
            killed += 1;
            if others_are_gone {
                break; // the controller was killed, as there was no worker
            }
        }
        kill(child.id());
        child.wait().unwrap();
    }
    // A worker that was killed more often than it is retried is a failed trial until the next call.
    let mut output = disturbed.run("sweep", &SWEEP);
    for _ in 0..3 {
        if output.status.code() == Some(3) {
            output = disturbed.run("sweep", &SWEEP);
        }
    }
    ended_with(0, &output);
    for file in ["tracking/sweeps/s/leaderboard.json", "tracking/sweeps/s/leaderboard.csv"] {
        assert_eq!(undisturbed.text(file), disturbed.text(file));
    }
    // Each trial ended once at each rung, and another call starts no trial again.
    let ended = states(&disturbed);
    assert!(ended.iter().all(|(_, state)| state.contains(r#""status":"done""#)), "{ended:#?}");
    let names = |states: &[(String, String)]| states.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ended), names(&states(&undisturbed)));
    ended_with(0, &disturbed.run("sweep", &SWEEP));
    assert_eq!(ended, states(&disturbed));

    // A trial that was trained further cannot report its numbers of an earlier epoch.
    let best = disturbed.json("tracking/sweeps/s/leaderboard.json")["trials"][0]["folder"].as_str().unwrap().to_owned();
    let settings = SWEEP.iter().find(|word| word.starts_with('{')).unwrap();
    let again = ["anna", "--trial", &best, "--epochs=2", "--base", settings];
    let text = ended_with(1, &disturbed.run("sweep_trial", &again));
    assert!(text.contains("is trained to epoch 4 already, past the requested 2"), "{text}");
}

/// A trial that trains nothing: its result follows from its folder's first settings and its epochs. One in five diverges.
const CHEAP_TRIAL: &str = r#"const PARAMS = [
    #{ name: "trial", help: "" }, #{ name: "epochs", value: 1, help: "" }, #{ name: "settings", value: "{}", help: "" },
];
let p = args(PARAMS);
let s = system::from_json(p.settings);
// Like a checkpoint, this restores the folder's first settings.
let kept = `logs/${p.trial}/x.json`;
let x = system::read_json(kept) ?? s.x;
system::write_json(kept, x);
let off = x - 0.3;
if x > 0.8 { jobs::result(#{ metrics: #{}, why: "diverged" }); return; }
jobs::result(#{ metrics: #{ score: off * off + 1.0 / p.epochs } });
"#;

/// A sweep of cheap trials.
const CHEAP_SWEEP: &str = r#"const PARAMS = [
    #{ name: "search", help: "" }, #{ name: "parallel", value: 1, help: "" }, #{ name: "count", value: 6, help: "" },
    #{ name: "seed", value: 5, help: "" }, #{ name: "objective", value: "score", help: "" }, #{ name: "low", value: 0.0, help: "" },
];
let p = args(PARAMS);
import "stdlib/sweep" as sweep;
let space = #{ x: sweep::uniform(p.low, 1.0), kind: sweep::choice(["a", "b"]) };
let asks = #{ name: "s", recipe: "trial.rhai", search: p.search, objective: p.objective, epochs: 3, jobs: #{ parallel: p.parallel } };
if p.search == "tpe" { asks += #{ space: space, count: p.count, seed: p.seed, allowed: |s| s.x > 0.1 }; } else { asks += #{ trials: sweep::random(space, p.count, p.seed), min_epochs: 1, eta: 3 }; }
sweep::show(sweep::run(asks), p.objective);
"#;

/// The cheap sweep by `search` in a workspace of its own.
fn cheap(search: &[&str]) -> (Workspace, Vec<String>) {
    let workspace = Workspace::new();
    let recipes = workspace.path("recipes");
    std::fs::create_dir_all(&recipes).unwrap();
    std::fs::write(recipes.join("trial.rhai"), CHEAP_TRIAL).unwrap();
    std::fs::write(recipes.join("cheap.rhai"), CHEAP_SWEEP).unwrap();
    let recipe = recipes.join("cheap").to_str().unwrap().to_owned();
    let mut arguments = vec![recipe];
    arguments.extend(search.iter().map(|s| (*s).to_owned()));
    (workspace, arguments)
}

fn start_cheap((workspace, arguments): &(Workspace, Vec<String>)) -> Command {
    let told: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    workspace.command(&arguments[0], &told)
}

/// Runs the cheap sweep with a worker or the controller killed after every second trial that ends, then to its end.
fn disturbed(sweep: &(Workspace, Vec<String>), after_kill: impl Fn(&Workspace)) {
    let workspace = &sweep.0;
    let folder = workspace.path("tracking/jobs/sweep-s");
    let ended = || {
        if folder.exists() {
            states(workspace).iter().filter(|(_, s)| s.contains(r#""status":"done""#)).count()
        } else {
            0
        }
    };
    for kills in 0..3 {
        let mut child = start_cheap(sweep).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let before = ended();
        while ended() < before + 2 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let others: Vec<u32> = workers(workspace).into_iter().filter(|&pid| pid != child.id()).collect();
        if kills == 1 {
            // Only a worker: its job is tried again.
            others.into_iter().take(1).for_each(kill);
            std::thread::sleep(std::time::Duration::from_millis(300));
        } else if kills == 0 {
            others.into_iter().for_each(kill);
        }
        kill(child.id());
        child.wait().unwrap();
        after_kill(workspace);
    }
    ended_with(0, &start_cheap(sweep).output().unwrap());
}

/// Another call runs nothing and prints the same; every job ended once.
fn assert_each_ended_once(sweep: &(Workspace, Vec<String>)) {
    let workspace = &sweep.0;
    let (board, ended) = (workspace.text("tracking/sweeps/s/leaderboard.json"), states(workspace));
    assert!(ended.iter().all(|(_, state)| state.contains(r#""status":"done""#)), "{ended:#?}");
    ended_with(0, &start_cheap(sweep).output().unwrap());
    assert_eq!((&board, &ended), (&workspace.text("tracking/sweeps/s/leaderboard.json"), &states(workspace)));
}

fn ends_as_undisturbed(search: &[&str]) -> Value {
    let (calm, shaken) = (cheap(search), cheap(search));
    ended_with(0, &start_cheap(&calm).output().unwrap());
    disturbed(&shaken, |_| ());
    for file in ["tracking/sweeps/s/leaderboard.json", "tracking/sweeps/s/leaderboard.csv"] {
        assert_eq!(calm.0.text(file), shaken.0.text(file), "{file}");
    }
    assert_each_ended_once(&shaken);
    calm.0.json("tracking/sweeps/s/leaderboard.json")
}

fn count(board: &Value, status: &str) -> usize {
    board["trials"].as_array().unwrap().iter().filter(|trial| trial["status"] == status).count()
}

#[test]
fn other_settings_under_the_same_name_are_other_trials() {
    let sweep = cheap(&["--search=halving"]);
    let board = |more: &[&str]| {
        ended_with(0, &start_cheap(&sweep).args(more).output().unwrap());
        sweep.0.json("tracking/sweeps/s/leaderboard.json")
    };
    let first = board(&[]);
    for board in [board(&["--seed=6"]), board(&["--seed=6", "--parallel=2"])] {
        for trial in board["trials"].as_array().unwrap().iter().filter(|trial| !trial["value"].is_null()) {
            let off = trial["settings"]["x"].as_f64().unwrap() - 0.3;
            let wanted = off * off + 1.0 / trial["epochs"].as_f64().unwrap();
            assert!((trial["value"].as_f64().unwrap() - wanted).abs() < 1e-9, "{trial}");
        }
        assert_ne!(first["trials"][0]["folder"], board["trials"][0]["folder"]);
    }
    // Trials of an earlier call are still known, and not run again.
    let jobs = states(&sweep.0);
    assert_eq!(board(&[]), first);
    assert_eq!(states(&sweep.0), jobs);
}

#[test]
fn a_sweep_without_a_result_fails_and_reports_it() {
    for search in ["--search=halving", "--search=asha", "--search=tpe"] {
        // A misspelt objective is found by the first trial, not by all.
        let sweep = cheap(&[search]);
        let text = ended_with(1, &start_cheap(&sweep).arg("--objective=scroe").output().unwrap());
        assert!(text.contains("is scroe, which its trials do not report") && text.contains("score"), "{text}");
        assert_eq!(states(&sweep.0).iter().filter(|(_, s)| s.contains(r#""status":"done""#)).count(), 1, "{text}");

        // All of them diverge.
        let text = ended_with(1, &start_cheap(&cheap(&[search])).args(["--low=0.9", "--count=3"]).output().unwrap());
        assert!(text.contains("no trial of sweep s has a result; t01: diverged"), "{text}");
    }
}

#[test]
#[ignore = "slow: kills"]
fn asha_ends_the_same_after_any_number_of_kills() {
    let board = ends_as_undisturbed(&["--search=asha"]);
    assert_eq!(board["rungs"], serde_json::json!([1, 3]));
    assert_eq!((count(&board, "finished"), count(&board, "not started")), (2, 0), "{board:#}");
    assert_eq!(board["trials"][0]["rank"], 1);
}

#[test]
#[ignore = "slow: kills"]
fn asha_with_two_workers_keeps_its_decisions_after_a_kill() {
    let sweep = cheap(&["--search=asha", "--parallel=2"]);
    let orders = std::cell::RefCell::new(Vec::new());
    let order = |workspace: &Workspace| workspace.json("tracking/sweeps/s/order.json").as_array().unwrap().clone();
    disturbed(&sweep, |workspace| orders.borrow_mut().push(order(workspace)));
    let last = order(&sweep.0);
    for earlier in orders.into_inner() {
        assert!(!earlier.is_empty() && last.starts_with(&earlier), "{earlier:?} {last:?}");
    }
    assert_eq!(last.len(), states(&sweep.0).len());
    assert_each_ended_once(&sweep);
}

#[test]
#[ignore = "slow: two searches of 12 trials and their kills"]
fn tpe_ends_the_same_after_any_number_of_kills() {
    let board = ends_as_undisturbed(&["--search=tpe", "--parallel=2", "--count=12"]);
    // One place in five fails and is reported as failed; no disallowed place is tried.
    assert_eq!(count(&board, "finished") + count(&board, "failed"), 12, "{board:#}");
    let trials = board["trials"].as_array().unwrap();
    assert!(trials.iter().all(|trial| trial["settings"]["x"].as_f64().unwrap() > 0.1), "{board:#}");
    assert!(trials.iter().filter(|trial| trial["status"] == "failed").all(|trial| trial["why"] == "diverged"));
}

#[test]
#[ignore = "slow: a training of many epochs"]
fn a_training_validates_on_held_out_recordings_and_keeps_the_best() {
    let workspace = Workspace::new();
    for (n, file) in ["a.wav", "b.wav", "c.wav", "d.wav"].into_iter().enumerate() {
        workspace.record("anna", file, 9.0, 140.0 + 20.0 * n as f64);
    }
    let arguments = ["anna", "--epochs=3", "--save-every=1", "--batch-size=4", "--segment-size=3200"];
    let policy = ["--validation=0.3", "--keep-last=1", "--patience=9", "--budget=2h", "--no-index"];
    let text = ended_with(0, &workspace.run("train_voice", &[&arguments[..], &policy, &TINY].concat()));
    assert!(text.contains(" fit into the budget"), "{text}");
    let scores = workspace.json("logs/anna/validation.json");
    let scores: Vec<(i64, f64)> = scores
        .as_array()
        .unwrap()
        .iter()
        .map(|score| (score["epoch"].as_i64().unwrap(), score["value"].as_f64().unwrap()))
        .collect();
    assert_eq!(scores.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [1, 2, 3]);
    let (best, _) = *scores.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    for epoch in 0..=3 {
        let there = workspace.path(&format!("logs/anna/checkpoint_{epoch}.json")).exists();
        assert_eq!(there, epoch == 3 || epoch == best, "epoch {epoch}, best {best}: {text}");
        assert_eq!(there, workspace.path(&format!("logs/anna/G_{epoch}.pth")).exists());
    }

    // No clip of a held-out recording is trained on: its neighbours overlap with it.
    let settings = serde_json::json!({ "preset": "tiny", "segment_size": 3200 });
    let config = rvc_run::config::Config::from_json(settings.as_object().unwrap()).unwrap();
    let list = workspace.path("logs/anna/filelist.txt");
    let open = || rvc_run::train::dataset(&rvc_run::task::Task::silent(), &workspace.path(""), &list, &config).unwrap();
    let (mut data, all) = (open(), open().len());
    let held = data.hold_out(0.3, 1234).unwrap();
    assert!(held.len() > held.recordings().len(), "several clips of a recording: {}", held.len());
    assert!(held.recordings().iter().all(|recording| !data.recordings().contains(recording)));
    assert_eq!((held.len() + data.len(), held.recordings().len() + data.recordings().len()), (all, 4));
    assert_eq!(held.digest(), open().hold_out(0.3, 1234).unwrap().digest());

    // Pitch and content are validated too, and any of the numbers can decide.
    let judged = workspace.json("logs/anna/validation.json");
    for name in ["validation_loss_mel", "validation_voicing_error", "validation_content_distance"] {
        assert!(judged[2][name].as_f64().is_some_and(|value| value > 0.0), "{name}: {judged}");
    }
    assert_eq!(judged[2]["value"], judged[2]["validation_loss_mel"]);
    let more = ["anna", "--epochs=4", "--objective=validation_content_distance", "--validation=0.3", "--no-index"];
    ended_with(0, &workspace.run("train_voice", &[&more[..], &TINY[..], &arguments[2..]].concat()));
    let judged = workspace.json("logs/anna/validation.json");
    let values = judged.as_array().unwrap().iter().map(|score| &score["value"]);
    assert!(
        values.eq(judged.as_array().unwrap().iter().map(|score| &score["validation_content_distance"])),
        "{judged}"
    );

    // Ctrl-C during a validation leaves a checkpoint of the whole epoch without its number.
    let path = workspace.path("logs/anna/validation.json");
    let whole = workspace.json("logs/anna/validation.json");
    std::fs::write(&path, serde_json::Value::from(&whole.as_array().unwrap()[..3]).to_string()).unwrap();
    let text = ended_with(0, &workspace.run("train_voice", &[&more[..], &TINY[..], &arguments[2..]].concat()));
    assert!(text.contains("epoch 4/4 is judged, which was interrupted before: validation_content_distance "), "{text}");
    assert_eq!(workspace.json("logs/anna/validation.json"), whole);
    // With other clips held out, the voice was already trained on those that would validate it.
    std::fs::write(&path, "[]").unwrap();
    let other = [&more[..3], &["--validation=0.2", "--no-index"], &TINY[..], &arguments[2..]].concat();
    ended_with(0, &workspace.run("train_voice", &other));
    assert_eq!(workspace.json("logs/anna/validation.json"), serde_json::json!([]));

    // A spent budget ends the training, with a voice.
    let text = ended_with(
        0,
        &workspace.run("train_voice", &[&["anna", "--epochs=300", "--budget=1s"], &TINY[..], &arguments[2..]].concat()),
    );
    assert!(text.contains("training stops ") && text.contains("the budget of "), "{text}");
}

#[test]
fn the_guides_own_sweep_trains() {
    let guide = include_str!("../src/guide/sweeps.md");
    let blocks: Vec<&str> =
        guide.split("```rhai\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    let with = |part: &str| *blocks.iter().find(|block| block.contains(part)).unwrap();
    // Small networks and few epochs; the rest is unchanged.
    let small = r#"choice([1, 2]), preset: sweep::choice(["tiny"]), segment_size: sweep::choice([3200])"#;
    let sweep = with("sweep::run").replace("choice([2, 4, 8])", small);
    let sweep = sweep.replace("epochs: 27, min_epochs: 3, eta: 3", "epochs: 2, min_epochs: 1, eta: 2");
    assert!(sweep.contains("tiny") && sweep.contains("eta: 2"), "{sweep}");

    let workspace = Workspace::new();
    std::fs::write(workspace.path("my_sweep.rhai"), sweep).unwrap();
    std::fs::write(workspace.path("my_trial.rhai"), with("train::trainer")).unwrap();
    for n in 0..3 {
        workspace.record("anna", &format!("{n}.wav"), 4.0, 150.0 + 20.0 * f64::from(n));
    }
    ended_with(0, &workspace.run("extract", &["anna", "--f0-method=pm", "--content-encoder=mel"]));
    let sweep = workspace.path("my_sweep");
    let mut command = workspace.command(sweep.to_str().unwrap(), &["anna", "--trials=2"]);
    ended_with(0, &command.current_dir(workspace.path("")).output().unwrap());
    let board = workspace.json("tracking/sweeps/mine/leaderboard.json");
    let best = &board["trials"][0];
    assert!(best["status"] == "finished" && best["value"].as_f64().is_some_and(|score| score > 0.1), "{board}");
}
