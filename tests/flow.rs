//! The whole flow through the program, as a user runs it: recordings in, a voice out; again; killed; with mistakes.
//!
//! Tiny networks and seconds of synthetic speech-like sound; every run is its own process in its own workspace.

use crate::support;
use crate::support::speech::{voice_like, write_wav};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Every run uses one libtorch thread: sums then have one order, and bit-identity does not depend on the machine's load.
const ONE_THREAD: [&str; 2] = ["--threads", "1"];

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

    /// Runs a recipe of the project here.
    fn run(&self, recipe: &str, arguments: &[&str]) -> Output {
        self.command(recipe, arguments).output().unwrap()
    }

    fn command(&self, recipe: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
        command.args(ONE_THREAD).arg("--workspace").arg(self.folder.path());
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(format!("{recipe}.rhai")));
        command.args(arguments).stdin(Stdio::null());
        // The user's own pretrained files are hidden.
        command.env_remove("RVC_RUN_ASSETS").env("XDG_CACHE_HOME", self.path("cache_home"));
        // A voice holds its date; without one the same training gives the same file.
        command.env("SOURCE_DATE_EPOCH", "1796000000");
        command
    }

    /// SHA-256 of the files below `relative`, by name.
    fn digests(&self, relative: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        std::fs::read_dir(self.path(relative))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter_map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                wanted(&name).then(|| (name, rvc_run::files::digest_file(&entry.path()).unwrap()))
            })
            .collect()
    }

    /// Lines of metrics in all event logs: a repeated step counts again.
    fn recorded_steps(&self) -> usize {
        let Ok(logs) = std::fs::read_dir(self.path("tracking/events")) else { return 0 };
        logs.map(|log| std::fs::read_to_string(log.unwrap().path()).unwrap_or_default())
            .map(|text| text.lines().filter(|line| line.contains("\"loss_mel\":")).count())
            .sum()
    }

    /// The last recorded value of each metric at each step: a step repeated after a kill must give the same numbers.
    fn losses(&self) -> BTreeMap<(i64, String), String> {
        let mut found = BTreeMap::new();
        let mut logs: Vec<_> =
            std::fs::read_dir(self.path("tracking/events")).unwrap().map(|e| e.unwrap().path()).collect();
        logs.sort();
        for log in logs {
            for line in std::fs::read_to_string(log).unwrap().lines() {
                let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
                let (Some(step), Some(metrics)) = (event["step"].as_i64(), event["metrics"].as_object()) else {
                    continue;
                };
                for (key, value) in
                    metrics.iter().filter(|(key, _)| key.starts_with("loss_") || key.starts_with("grad_norm"))
                {
                    let old = found.insert((step, key.clone()), value.to_string());
                    if let Some(old) = old {
                        assert_eq!(old, value.to_string(), "{key} of step {step} differs when it is run again");
                    }
                }
            }
        }
        found
    }
}

/// Random numbers from the clock: every run of the tests kills at other moments. A failure prints its seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let given = std::env::var("RVC_TEST_SEED").ok().map(|seed| seed.parse().expect("RVC_TEST_SEED is a number"));
        let seed = given.unwrap_or(now.as_nanos() as u64);
        println!("RVC_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeeded(output: &Output) -> String {
    let text = text(output);
    assert!(output.status.success(), "exit {:?}\n{text}", output.status.code());
    text
}

/// The text of a run that must end with `code`.
fn ended_with(code: i32, output: &Output) -> String {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// Needs no download.
const TINY: [&str; 10] =
    ["--preset", "tiny", "--f0-method", "pm", "--content-encoder", "mel", "--batch-size", "2", "--save-every", "1"];

fn train(workspace: &Workspace, voice: &str, more: &[&str]) -> Output {
    workspace.run("train_voice", &[&[voice], &TINY[..], more].concat())
}

#[test]
fn a_second_run_skips_preprocessing_and_resumes() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 12.0, 180.0);
    succeeded(&train(&workspace, "anna", &["--epochs", "1"]));
    for file in
        ["models/anna.pth", "logs/anna/G_1.pth", "logs/anna/D_1.pth", "logs/anna/filelist.txt", "logs/anna/config.json"]
    {
        assert!(workspace.path(file).is_file(), "{file}");
    }
    let indices =
        workspace.digests("logs/anna", |name| name.starts_with("added_IVF") && name.ends_with("_anna_v2.index"));
    assert_eq!(indices.len(), 1, "{indices:?}");
    let second = succeeded(&train(&workspace, "anna", &["--epochs", "2"]));
    assert!(second.contains("all from the cache"), "{second}");
    assert!(
        second.lines().any(|line| line.starts_with("retrieval index: ") && line.ends_with("(from the cache)")),
        "{second}"
    );
    assert!(second.contains("f0: 0 clips extracted") && second.contains("content: 0 clips encoded"), "{second}");
    assert!(second.contains("epoch 2/2") && !second.contains("epoch 1/2"), "{second}");
    console_and_page_agree(&workspace, &second);
    let third = succeeded(&train(&workspace, "anna", &["--epochs", "2"]));
    assert!(!third.contains("epoch 2/2"), "nothing is left to train:\n{third}");
}

/// Fails unless the console of a training in its second process shows the times and sentences of its page.
fn console_and_page_agree(workspace: &Workspace, console: &str) {
    assert!(console.contains("preset tiny, epochs 2, batch_size 2, save_every 1 (defaults otherwise)"), "{console}");
    let row = |name: &str| {
        let line = console.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with("  ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{console}")).trim()
    };
    let page = std::fs::read_to_string(workspace.path(row("report"))).unwrap();
    let (worked, rest) = row("time").split_once(" of work on this run in 2 processes, ").unwrap();
    let training = rest.strip_suffix(" of it in epochs").unwrap();
    assert!(page.contains(&format!("<dt>Worked</dt><dd>{worked}</dd>")), "{worked}");
    assert!(page.contains(&format!(", {training} of it in epochs")), "{training}");
    for sentence in ["self-test passed: the file is sound", " the recordings: log-mel "] {
        let said = console.lines().find(|line| line.contains(sentence)).unwrap_or_else(|| panic!("{console}"));
        assert!(page.contains(said), "{said}");
    }
    assert!(page.contains(r#"<td class="n">2</td><td>epochs</td><td>1</td><td>2</td>"#), "settings that changed");
}

#[test]
fn the_quickstart_learns_and_every_file_that_it_names_is_there() {
    let workspace = Workspace::new();
    let text = succeeded(&workspace.run("quickstart", &["--epochs", "4"]));
    let mel: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("epoch ") && line.contains("loss_mel "))
        .map(|line| line.split("loss_mel ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(mel.len(), 4, "{text}");
    assert!(mel[3] < 0.9 * mel[0], "mel loss {mel:?}");
    assert!(text.contains("self-test passed: "), "{text}");
    for name in ["report  ", "metrics  ", "voice  ", "index  ", "listen  ", "folder  "] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        let path = line.trim_start_matches(name).split([';', '(', ',']).next().unwrap().trim();
        assert!(Path::new(path).exists() || workspace.path(path).exists(), "{name} {path}");
    }
}

#[test]
fn a_voice_is_exported_from_any_saved_epoch_and_others_are_refused() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 6.0, 180.0);
    succeeded(&train(&workspace, "anna", &["--epochs", "2"]));
    let text = succeeded(&workspace.run("export", &["anna", "--epoch", "1"]));
    let steps = find_named(&workspace.path("models"), "pth").into_iter().filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        name.strip_prefix("anna_e1_s")?.parse::<u32>().ok()
    });
    assert!(steps.max().is_some_and(|step| step > 0), "RVC's name, by which its WebUI finds the index: {text}");
    let out = workspace.path("x.pth");
    succeeded(&workspace.run("export", &["anna", "--out", out.to_str().unwrap()]));
    // From the file and from memory, the newest epoch is the same voice.
    let digest = |path: &Path| rvc_run::files::digest_file(path).unwrap();
    assert_eq!(digest(&out), digest(&workspace.path("models/anna.pth")));
    let text = ended_with(1, &workspace.run("export", &["anna", "--epoch", "7"]));
    assert!(text.contains("file.not_found") && text.contains("saved are: 0, 1, 2"), "{text}");
}

#[test]
fn recordings_and_folders_are_converted_and_mistakes_reported() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 6.0, 180.0);
    succeeded(&train(&workspace, "anna", &["--epochs", "1"]));
    for name in ["samples/epoch_1.wav", "samples/self_test.wav"] {
        assert!(workspace.path(&format!("logs/anna/{name}")).is_file(), "{name}");
    }
    // A folder: two recordings of one stem, and a file that is not sound.
    workspace.record("ben", "song.wav", 1.5, 220.0);
    workspace.record("ben", "other/x.wav", 0.5, 220.0);
    std::fs::copy(workspace.path("data/ben/song.wav"), workspace.path("data/ben/song.aiff")).unwrap();
    std::fs::write(workspace.path("data/ben/broken.mp3"), "no sound").unwrap();
    let text = ended_with(3, &workspace.run("convert", &["anna", "data/ben", "--f0-up-key", "3", "--format", "flac"]));
    assert!(text.contains("broken.mp3 is not converted") && text.contains("3 of 4 converted"), "{text}");
    assert!(text.contains("4 recordings, 1 of them in subfolders"), "{text}");
    assert!(text.contains("added_IVF"), "the voice's index is used: {text}");
    for (name, seconds) in [("song.flac", 1.5), ("song.wav.flac", 1.5), ("other/x.flac", 0.5)] {
        let sound = rvc_run::audio::io::load(&workspace.path(&format!("converted/anna/{name}"))).unwrap();
        assert_eq!(sound.sample_rate, 40_000);
        assert!((sound.seconds() - seconds).abs() < 1e-3, "{name}: {}", sound.seconds());
    }
    // Into an existing folder; again, beside the existing files; by the name of the file, with the voice's index, also by its path.
    std::fs::create_dir(workspace.path("out")).unwrap();
    for (voice, made) in
        [("anna.pth", "out/song.wav"), ("models/anna.pth", "out/song_2.wav"), ("anna", "out/song_3.wav")]
    {
        let text = succeeded(&workspace.run("convert", &[voice, "data/ben/song.wav", "out"]));
        assert!(workspace.path(made).is_file() && text.contains("added_IVF"), "{made}: {text}");
        assert_eq!(text.contains("--overwrite replaces it"), made != "out/song.wav", "{text}");
    }
    succeeded(&workspace.run("convert", &["anna", "data/ben/song.wav", "out/", "--overwrite"]));
    assert!(!workspace.path("out/song_4.wav").exists());
    // An index of centres only is replaced by the voice's own with vectors.
    let index = std::fs::read_dir(workspace.path("logs/anna")).unwrap().map(|entry| entry.unwrap().path());
    let trained = index.into_iter().find(|path| path.to_string_lossy().contains("trained_IVF")).unwrap();
    let song = ["anna", "data/ben/song.wav", "t.wav", "--index", trained.to_str().unwrap(), "--index-rate", "0"];
    let text = succeeded(&workspace.run("convert", &song));
    assert!(text.contains("holds only the centres of an index") && text.contains("the index has no effect"), "{text}");
    // A file, by the path of the voice, without an index, to a chosen path.
    let song = ["models/anna.pth", "data/ben/song.wav", "mine.wav", "--index", "none", "--resample-sr", "16000"];
    succeeded(&workspace.run("convert", &song));
    assert_eq!(rvc_run::audio::io::load(&workspace.path("mine.wav")).unwrap().sample_rate, 16_000);
    let before = std::fs::read(workspace.path("data/ben/song.wav")).unwrap();
    for (out, expected) in [
        ("data/../data/ben/song.wav", "is the recording itself"),
        ("sung.flac", "sung.flac ends in .flac, but format wav writes .wav"),
    ] {
        let text = ended_with(1, &workspace.run("convert", &["anna", "data/ben/song.wav", out]));
        assert!(text.contains(expected), "{text}");
    }
    assert!(
        std::fs::read(workspace.path("data/ben/song.wav")).unwrap() == before && !workspace.path("sung.flac").exists()
    );
    let text = ended_with(1, &workspace.run("convert", &["anna", "data/ben/song.wav", "--sid", "500"]));
    assert!(text.contains("sid is 500, but the voice has one speaker: 0"), "{text}");
    let text = ended_with(1, &workspace.run("convert", &["nobody", "data/ben/song.wav"]));
    assert!(
        text.contains("there is no voice")
            && text.contains("nobody.pth")
            && text.contains("models/ has anna; ")
            && text.contains("` trains it"),
        "{text}"
    );
    let text = ended_with(1, &workspace.run("convert", &["data/ben/song.wav", "anna"]));
    assert!(text.contains("the voice comes first"), "{text}");
    // The tools for voice files.
    succeeded(&workspace.run("voice_rename", &["models/anna.pth", "Anna, calm"]));
    succeeded(&workspace.run("voice_extract", &["logs/anna/G_1.pth", "models/small.pth"]));
    succeeded(
        &workspace.run("voice_merge", &["models/anna.pth", "models/small.pth", "models/both.pth", "--alpha", "0.25"]),
    );
    let text = succeeded(&workspace.run("voice_info", &["models/both.pth"]));
    assert!(text.contains("anna * 0.25 + small * 0.75") && text.contains("merged_from"), "{text}");
}

#[test]
fn version_1_and_a_voice_without_pitch_need_only_flags() {
    let workspace = Workspace::new();
    for (voice, flags) in [("anna", ["--rvc-version", "v1"].as_slice()), ("ben", &["--no-f0", "--no-index"])] {
        workspace.record(voice, "a.wav", 6.0, 180.0);
        succeeded(&train(&workspace, voice, &[flags, &["--epochs", "1"]].concat()));
        assert!(workspace.path(&format!("models/{voice}.pth")).is_file());
    }
    let columns = |voice: &str| {
        let list = std::fs::read_to_string(workspace.path(&format!("logs/{voice}/filelist.txt"))).unwrap();
        (list.lines().next().unwrap().split('|').count(), list.contains("3_feature256"))
    };
    assert_eq!((columns("anna"), columns("ben")), ((5, true), (3, false)));
    let indices = |voice: &str| {
        workspace.digests(&format!("logs/{voice}"), |name| name.contains("_IVF") || name.contains(".index")).len()
    };
    assert_eq!((indices("anna"), indices("ben")), (2, 0), "added and trained, or left out on request");
    let text = succeeded(&workspace.run("index", &["anna", "--rvc-version", "v1", "--file-name", "applio"]));
    assert!(text.contains("anna.index") && workspace.path("logs/anna/anna.index").is_file(), "{text}");
    // The recipe that continues knows the folder's settings.
    let text = succeeded(&workspace.run("resume", &["ben", "--epochs", "2", "--batch-size", "2"]));
    assert!(text.contains("epoch 2/2"), "{text}");
    let text = ended_with(1, &train(&workspace, "anna", &["--epochs", "2"]));
    assert!(text.contains("config.mismatch") && text.contains("version"), "{text}");
}

#[test]
fn an_added_recording_is_the_only_one_processed() {
    let workspace = Workspace::new();
    workspace.record("anna", "b.wav", 6.0, 180.0);
    workspace.record("anna", "c.wav", 6.0, 210.0);
    succeeded(&workspace.run("extract", &["anna", "--f0-method", "pm", "--content-encoder", "mel"]));
    workspace.record("anna", "a.wav", 3.0, 150.0); // sorts first, so every clip of the others gets another name
    let text = succeeded(&workspace.run("extract", &["anna", "--f0-method", "pm", "--content-encoder", "mel"]));
    assert!(text.contains("3 recordings (2 from the cache)"), "{text}");
    assert!(text.contains("f0: 1 clip extracted"), "{text}");
}

#[test]
fn a_trained_voice_includes_added_recordings_and_continues_from_its_checkpoint() {
    let workspace = Workspace::new();
    workspace.record("anna", "b.wav", 6.0, 180.0);
    workspace.record("anna", "c.wav", 6.0, 210.0);
    succeeded(&train(&workspace, "anna", &["--epochs", "2"]));
    let (first_clips, first_index) = (clip_digests(&workspace), index_files(&workspace));
    let events = |workspace: &Workspace, name: &str| -> Vec<serde_json::Value> {
        let logs = std::fs::read_dir(workspace.path("tracking/events")).unwrap();
        let logs: Vec<_> = logs.map(|log| std::fs::read_to_string(log.unwrap().path()).unwrap()).collect();
        assert_eq!(logs.len(), 1, "the continued training is the same run");
        let lines = logs[0].lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["event"] == name).map(|line| line["data"].clone()).collect()
    };
    assert_eq!(events(&workspace, "lineage")[0]["spans"].as_array().map(Vec::len), Some(1));

    workspace.record("anna", "a.wav", 3.0, 150.0); // sorts first
    let text = succeeded(&train(&workspace, "anna", &["--epochs", "3"]));
    // Only the new recording is cut, and only its clip passes through f0 and content.
    assert!(text.contains("3 recordings (2 from the cache)"), "{text}");
    assert!(text.contains("f0: 1 clip extracted") && text.contains("content: 1 clip encoded"), "{text}");
    let clips = clip_digests(&workspace);
    assert_eq!(clips.len(), first_clips.len() + 1);
    assert!(
        first_clips.iter().all(|(name, digest)| clips.get(name) == Some(digest)),
        "no clip was renamed or rewritten"
    );
    // The index is a new one, with more frames.
    assert!(
        text.lines().any(|line| line.starts_with("retrieval index: ") && !line.contains("from the cache")),
        "{text}"
    );
    assert_ne!(index_files(&workspace), first_index);
    let frames: Vec<i64> = events(&workspace, "index").iter().map(|index| index["frames"].as_i64().unwrap()).collect();
    assert!(frames.len() == 2 && frames[1] > frames[0], "{frames:?}");
    // Training continues after the second epoch; the run, the manifest and the report record which clips it used from which epoch.
    assert!(text.contains("epoch 3/3") && !text.contains("epoch 2/3"), "{text}");
    let manifest = std::fs::read_to_string(workspace.path("logs/anna/checkpoint_3.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let spans = events(&workspace, "lineage").pop().unwrap()["spans"].clone();
    assert_eq!(spans, manifest["lineage"]);
    assert_eq!(
        spans.as_array().unwrap().iter().map(|span| span["from_epoch"].as_i64().unwrap()).collect::<Vec<_>>(),
        [1, 3]
    );
    assert_ne!(spans[0]["data_digest"], spans[1]["data_digest"]);
    let reports = std::fs::read_dir(workspace.path("tracking")).unwrap().map(|e| e.unwrap().path());
    let pages: Vec<_> = reports.flat_map(|path| find_named(&path, "html")).collect();
    assert!(
        pages.iter().any(|page| std::fs::read_to_string(page).unwrap().contains("other clips from epoch 3")),
        "{pages:?}"
    );
}

fn clip_digests(workspace: &Workspace) -> BTreeMap<String, String> {
    workspace.digests("logs/anna/3_feature768", |_| true)
}

fn index_files(workspace: &Workspace) -> BTreeMap<String, String> {
    workspace.digests("logs/anna", |name| name.starts_with("added_IVF"))
}

/// Files of that extension at or below `path`.
fn find_named(path: &Path, extension: &str) -> Vec<PathBuf> {
    if path.is_dir() {
        return std::fs::read_dir(path)
            .unwrap()
            .flat_map(|entry| find_named(&entry.unwrap().path(), extension))
            .collect();
    }
    if path.extension().is_some_and(|e| e == extension) { vec![path.to_owned()] } else { Vec::new() }
}

#[test]
#[ignore = "slow: two trainings of 24 epochs and ten kills"]
fn training_killed_at_random_moments_ends_with_the_same_losses_and_files() {
    const KILLS: usize = 10;
    const EPOCHS: &str = "24";
    let arguments = [&["anna"], &TINY[..], &["--epochs", EPOCHS]].concat();
    let undisturbed = Workspace::new();
    undisturbed.record("anna", "a.wav", 12.0, 180.0);
    succeeded(&undisturbed.run("train_voice", &arguments));

    let killed = Workspace::new();
    killed.record("anna", "a.wav", 12.0, 180.0);
    let mut random = Random::new();
    let mut landed = 0;
    for _ in 0..KILLS {
        let mut child =
            killed.command("train_voice", &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Paced by the steps that the run has recorded, not only by the clock: on any machine the kills fall between start and end, in
        // preparation, steps and saves. An epoch is 4 steps and ends with a save.
        let wanted = killed.recorded_steps() + random.below(7);
        while killed.recorded_steps() < wanted && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(random.below(60) as u64));
        landed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    // At most 6 steps are awaited per kill and few are made in 60 ms, of the 96 that the training has.
    assert_eq!(landed, KILLS);
    succeeded(&killed.run("train_voice", &arguments));

    assert_eq!(undisturbed.losses(), killed.losses());
    let last = |name: &str| name == "G_24.pth" || name == "D_24.pth";
    assert_eq!(undisturbed.digests("logs/anna", last), killed.digests("logs/anna", last));
    assert_eq!(undisturbed.digests("models", |_| true), killed.digests("models", |_| true));
}

#[test]
fn a_missing_voice_names_those_that_exist() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 3.0, 180.0);
    let text = ended_with(1, &train(&workspace, "ana", &[]));
    assert!(text.contains("file.not_found") && text.contains("anna"), "{text}");
}

#[test]
fn an_empty_voice_folder_says_what_to_put_there() {
    let workspace = Workspace::new();
    std::fs::create_dir_all(workspace.path("data/anna")).unwrap();
    let text = ended_with(1, &train(&workspace, "anna", &[]));
    assert!(text.contains("data.empty") && text.contains("wav"), "{text}");
}

#[test]
fn a_damaged_wav_is_named_and_the_others_are_used() {
    let workspace = Workspace::new();
    workspace.record("anna", "good.wav", 6.0, 180.0);
    std::fs::write(workspace.path("data/anna/broken.wav"), b"RIFF\x10\0\0\0WAVEfmt garbage").unwrap();
    let text = succeeded(&workspace.run("prepare", &["anna"]));
    assert!(text.contains("broken.wav"), "{text}");
    std::fs::remove_file(workspace.path("data/anna/good.wav")).unwrap();
    let text = ended_with(1, &workspace.run("prepare", &["anna"]));
    assert!(text.contains("data.empty") && text.contains("broken.wav"), "{text}");
}

#[test]
fn silent_clips_are_counted_at_the_end_of_a_training() {
    let workspace = Workspace::new();
    std::fs::create_dir_all(workspace.path("data/anna")).unwrap();
    let samples = [voice_like(4.0, 180.0), vec![0.0; 6 * 32000]].concat();
    write_wav(&workspace.path("data/anna/a.wav"), &samples, 32000);
    let text = succeeded(&train(&workspace, "anna", &["--epochs=1", "--slicing=fixed", "--slice-seconds=2"]));
    assert!(text.contains("3 left out: 3 silent, "), "{text}");
}

#[test]
fn an_unknown_flag_is_answered_with_the_nearest() {
    let workspace = Workspace::new();
    let text = ended_with(2, &workspace.run("train_voice", &["anna", "--epocs", "3"]));
    assert!(text.contains("--epochs"), "{text}");
}

#[test]
fn a_value_out_of_range_names_the_range() {
    let workspace = Workspace::new();
    let text = ended_with(2, &workspace.run("train_voice", &["anna", "--batch-size", "0"]));
    assert!(text.contains("batch-size") && text.contains('1'), "{text}");
}

#[test]
fn the_guides_segment_size_is_refused_with_what_works() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 3.0, 180.0);
    let text = ended_with(1, &train(&workspace, "anna", &["--segment-size", "17280"]));
    assert!(text.contains("config.value") && text.contains("17200") && text.contains("12800"), "{text}");
    assert!(!text.contains("train_voice.rhai:"), "it is not the recipe's fault:\n{text}");
}

#[test]
fn asking_for_a_gpu_without_one_fails_before_any_work() {
    if tch::Cuda::is_available() {
        support::skipped("this machine has a GPU");
        return;
    }
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 3.0, 180.0);
    let text = ended_with(1, &train(&workspace, "anna", &["--gpu"]));
    assert!(text.contains("device.missing") && text.contains("without --gpu"), "{text}");
    assert!(!workspace.path("logs/anna/0_gt_wavs").exists(), "it failed only after the slices were made");
}

#[test]
fn settings_of_another_sample_rate_in_the_same_folder_are_refused() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 6.0, 180.0);
    succeeded(&train(&workspace, "anna", &["--epochs", "1"]));
    let before = workspace.digests("logs/anna", |name| name.starts_with("G_") || name.starts_with("D_"));
    let text = ended_with(1, &train(&workspace, "anna", &["--epochs", "2", "--sample-rate", "48000"]));
    assert!(text.contains("config.mismatch") && text.contains("40000") && text.contains("48000"), "{text}");
    assert_eq!(before, workspace.digests("logs/anna", |name| name.starts_with("G_") || name.starts_with("D_")));
}

#[test]
fn a_truncated_checkpoint_is_reported_and_the_previous_pair_is_used() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 6.0, 180.0);
    succeeded(&train(&workspace, "anna", &["--epochs", "2"]));
    let newest = workspace.path("logs/anna/G_2.pth");
    let whole = workspace.digests("logs/anna", |name| name == "G_2.pth");
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let text = succeeded(&train(&workspace, "anna", &["--epochs", "2"]));
    assert!(text.contains("G_2.pth") && text.contains("epoch 2/2"), "{text}");
    assert_eq!(
        whole,
        workspace.digests("logs/anna", |name| name == "G_2.pth"),
        "epoch 2 was not trained again to the same numbers"
    );
}

#[cfg(unix)]
#[test]
fn a_full_disk_while_saving_keeps_the_old_checkpoint_and_the_same_command_finishes_later() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 6.0, 180.0);
    succeeded(&train(&workspace, "anna", &["--epochs", "1"]));
    let before = workspace.digests("logs/anna", |name| name.ends_with("_1.pth"));
    let size = std::fs::metadata(workspace.path("logs/anna/D_1.pth")).unwrap().len();
    // A limit on file size simulates the full disk: the write fails part-way in the same place. (ulimit -f counts blocks.)
    let command = workspace.command("train_voice", &[&["anna"], &TINY[..], &["--epochs", "2"]].concat());
    let mut limited = Command::new("bash");
    limited.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", size / 1024 / 2)).arg("bash");
    limited.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    let text = ended_with(1, &limited.output().unwrap());
    assert!(text.contains("file.disk_full"), "{text}");
    assert!(!workspace.path("logs/anna/checkpoint_2.json").exists());
    assert_eq!(before, workspace.digests("logs/anna", |name| name.ends_with("_1.pth")));
    assert!(
        std::fs::read_dir(workspace.path("logs/anna")).unwrap().all(|e| !e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".tmp"))
    );
    let text = succeeded(&train(&workspace, "anna", &["--epochs", "2"]));
    assert!(text.contains("epoch 2/2"), "{text}");
}

#[cfg(unix)]
#[test]
fn an_unwritable_folder_is_named() {
    // A file where the folder should be refuses every user, root too.
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 3.0, 180.0);
    std::fs::write(workspace.path("logs"), "not a folder").unwrap();
    let text = ended_with(1, &train(&workspace, "anna", &["--epochs", "1"]));
    assert!(text.contains("file.write") && text.contains("logs"), "{text}");
}

/// The arguments that `rvc-run` gets from a shell for a printed command.
#[cfg(unix)]
fn typed(workspace: &Workspace, command: &str) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let (bin, arguments) = (workspace.path("bin"), workspace.path("bin/arguments"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("rvc-run"), format!("#!/bin/sh\nprintf '%s\\0' \"$@\" >'{}'\n", arguments.display()))
        .unwrap();
    std::fs::set_permissions(bin.join("rvc-run"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let ended = Command::new("/bin/sh").args(["-c", command]).env("PATH", path).output().unwrap();
    assert!(ended.status.success(), "{command}: {ended:?}");
    let words = std::fs::read_to_string(arguments).unwrap();
    words.split_terminator('\0').map(str::to_owned).collect()
}

/// The command in a text that follows `before` and ends with the line, or at `after`.
#[cfg(unix)]
fn printed<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let line =
        text.lines().find_map(|line| line.split_once(before)).unwrap_or_else(|| panic!("no {before:?} in\n{text}")).1;
    line.rsplit_once(after).filter(|_| !after.is_empty()).map_or(line, |(command, _)| command).trim()
}

#[cfg(unix)]
#[test]
fn printed_commands_work_in_a_shell_for_any_name_of_a_voice() {
    let workspace = Workspace::new();
    let here = workspace.folder.path().to_str().unwrap();
    let (quoted, dashed) = ("it's $HOME; x", "-x");
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    for voice in [quoted, dashed] {
        workspace.record(voice, "a.wav", 6.0, 180.0);
    }
    let features = ["--f0-method", "pm", "--content-encoder", "mel"];
    for voice in [quoted, dashed] {
        // The recipe in the same folder, the names where nothing is a flag, and the typed flags.
        let is_command = |text: &str, before: &str, recipe: &str, names: &[&str]| {
            let words = typed(&workspace, printed(text, before, ""));
            let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(format!("{recipe}.rhai"));
            // A recipe that continues the work gets what was typed before this one.
            let before: &[&str] =
                if before == "next: " { &["--workspace", here, "--threads", "1"] } else { &["--workspace", here] };
            let head = [before, &[recipe.to_str().unwrap()]].concat();
            assert_eq!(words[..head.len()], head, "{text}");
            if voice == dashed {
                assert!(words.ends_with(&owned(&[&["--"], names].concat())), "{words:?}");
            } else {
                assert!(words[head.len()..].starts_with(&owned(names)), "{words:?}");
            }
        };
        let text = succeeded(&workspace.run("prepare", &["--", voice]));
        is_command(&text, "next: ", "extract", &[voice]);
        let text = succeeded(&workspace.run("extract", &[&features[..], &["--", voice]].concat()));
        is_command(&text, "next: ", "train_voice", &[voice]);
        let text = succeeded(&workspace.run("train_voice", &[&TINY[..], &["--epochs", "1", "--", voice]].concat()));
        is_command(&text, "convert  ", "convert", &[voice, "RECORDING"]);
        // And it works.
        let recording = workspace.path(&format!("data/{voice}/a.wav"));
        let out = workspace.path("out.wav");
        let text =
            succeeded(&workspace.run("convert", &["--", voice, recording.to_str().unwrap(), out.to_str().unwrap()]));
        assert!(out.is_file() && text.contains(&format!("logs/{voice}/added_IVF")), "{text}");
        std::fs::remove_file(out).unwrap();
    }
}

#[test]
#[ignore = "slow: two trainings"]
fn a_second_model_of_the_voice_uses_its_index() {
    let workspace = Workspace::new();
    workspace.record("retrained", "a.wav", 6.0, 180.0);
    let text = succeeded(&train(&workspace, "retrained", &["--epochs", "1", "--ema-decay", "0.9"]));
    assert!(text.contains("RVC WebUI cannot open this index"), "{text}");
    succeeded(&workspace.run("export", &["retrained", "--epoch", "1"]));
    let recording = workspace.path("data/retrained/a.wav");
    for path in find_named(&workspace.path("models"), "pth") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let out = workspace.path("out.wav");
        let text = succeeded(&workspace.run("convert", &[name, recording.to_str().unwrap(), out.to_str().unwrap()]));
        assert!(text.contains("logs/retrained/added_IVF"), "{name}: {text}");
        std::fs::remove_file(out).unwrap();
    }
    assert_eq!(find_named(&workspace.path("models"), "pth").len(), 3);
    // What WebUI finds by the name of the file.
    let second = workspace.digests("logs/retrained", |name| name.ends_with("_retrained_ema_v2.index"));
    assert_eq!(second.len(), 1);
}

#[test]
fn one_failing_voice_does_not_stop_the_others() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 6.0, 180.0);
    std::fs::create_dir_all(workspace.path("data/empty")).unwrap();
    let arguments = ["--preset", "tiny", "--f0-method", "pm", "--content-encoder", "mel", "--epochs", "1"];
    let text = ended_with(3, &workspace.run("train_all", &arguments));
    assert!(
        text.contains("anna") && text.contains("trained") && text.contains("empty") && text.contains("failed"),
        "{text}"
    );
    assert!(workspace.path("models/anna.pth").is_file());
    assert!(!text.contains("\\n"), "{text}");
}

/// `timeout`, `docker stop` and a terminal with its process group send two signals at once.
#[cfg(unix)]
#[test]
fn two_signals_at_once_count_as_one_and_the_step_is_saved() {
    for [first, second] in [["-INT", "-TERM"], ["-TERM", "-TERM"]] {
        let workspace = Workspace::new();
        workspace.record("anna", "a.wav", 4.0, 180.0);
        // No checkpoint of its own before the end.
        let arguments = [&["anna"], &TINY[..], &["--epochs", "500", "--save-every", "500"]].concat();
        let child =
            workspace.command("train_voice", &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_mins(5);
        while workspace.recorded_steps() == 0 {
            assert!(Instant::now() < deadline, "no step in five minutes");
            std::thread::sleep(Duration::from_millis(10));
        }
        // One program sends both, immediately one after the other.
        let send = format!("kill {first} {0}; kill {second} {0}", child.id());
        assert!(Command::new("/bin/sh").args(["-c", &send]).status().unwrap().success());
        let text = ended_with(130, &child.wait_with_output().unwrap());
        assert!(text.contains("stopped; the same command continues from here"), "{text}");
        let saved = workspace.digests("logs/anna", |name| name.starts_with("G_") && name != "G_0.pth");
        assert_eq!(saved.len(), 1, "{text}\n{saved:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_exits_130_and_a_resumed_run_gives_the_same_files() {
    let workspace = Workspace::new();
    workspace.record("anna", "a.wav", 12.0, 180.0);
    let arguments = [&["anna"], &TINY[..], &["--epochs", "4"]].concat();
    let child =
        workspace.command("train_voice", &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !workspace.path("logs/anna/checkpoint_1.json").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let text = ended_with(130, &child.wait_with_output().unwrap());
    assert!(text.contains("cancelled") || text.contains("stopped"), "{text}");
    succeeded(&workspace.run("train_voice", &arguments));

    let undisturbed = Workspace::new();
    undisturbed.record("anna", "a.wav", 12.0, 180.0);
    succeeded(&undisturbed.run("train_voice", &arguments));
    assert_eq!(undisturbed.losses(), workspace.losses());
    let last = |name: &str| name == "G_4.pth" || name == "D_4.pth";
    assert_eq!(undisturbed.digests("logs/anna", last), workspace.digests("logs/anna", last));
}

#[test]
fn ctrl_c_while_ffmpeg_reads_a_recording_ends_both() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = Workspace::new();
    let (bin, pid) = (workspace.path("bin"), workspace.path("pid"));
    std::fs::create_dir_all(&bin).unwrap();
    // A recording that takes ffmpeg very long.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != -version ] || exec echo ffmpeg version 5\necho $$ >'{0}.part'; mv '{0}.part' '{0}'\nexec sleep 1000\n",
        pid.display()
    );
    std::fs::write(bin.join("ffmpeg"), script).unwrap();
    std::fs::set_permissions(bin.join("ffmpeg"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(workspace.path("data/anna")).unwrap();
    // The header of an ASF file, which only ffmpeg reads.
    let header = [&b"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\x00\xAA\x00\x62\xCE\x6C"[..], &[7; 4000]].concat();
    std::fs::write(workspace.path("data/anna/a.wma"), header).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let mut command = workspace.command("prepare", &["anna"]);
    let child = command.env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !pid.exists() {
        assert!(Instant::now() < deadline, "ffmpeg was not started");
        std::thread::sleep(Duration::from_millis(10));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    ended_with(130, &child.wait_with_output().unwrap());
    let ffmpeg = std::fs::read_to_string(&pid).unwrap();
    let lives = || Command::new("kill").args(["-0", ffmpeg.trim()]).stderr(Stdio::null()).status().unwrap().success();
    while lives() {
        assert!(Instant::now() < deadline, "ffmpeg still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}
