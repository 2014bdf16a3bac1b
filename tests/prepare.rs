//! From recordings to training data: what is made, what is reused, what is refused, counted.

use rvc_run::assets::Store;
use rvc_run::audio::io;
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::features::Models;
use rvc_run::files::{self, Lock, Workspace};
use rvc_run::prepare::{self, Clips, Counts, FileList};
use rvc_run::task::{Event, Task};
use rvc_run::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Rate of the generated recordings, in Hz; unlike the voice's, so that resampling is part of it.
const RATE: u32 = 16000;

struct Room {
    _folder: tempfile::TempDir,
    workspace: Workspace,
    warnings: Arc<Mutex<Vec<String>>>,
    task: Task,
}

struct Ran {
    slices: Counts,
    f0: Counts,
    content: Counts,
    list: FileList,
}

impl Ran {
    /// (recordings sliced, clips tracked, clips encoded)
    fn done(&self) -> (usize, usize, usize) {
        (self.slices.done, self.f0.done, self.content.done)
    }
}

fn listening() -> (Task, Arc<Mutex<Vec<String>>>) {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let ear = warnings.clone();
    let task = Task::new(2, move |event| {
        if let Event::Warning(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    (task, warnings)
}

/// A workspace with the voice "anna" of these recordings, each a different sound by its number.
fn room(recordings: &[(&str, u32)]) -> Room {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("work"));
    let (task, warnings) = listening();
    let room = Room { _folder: folder, workspace, warnings, task };
    files::create_folder(&room.data()).unwrap();
    for (name, sound) in recordings {
        record(&room.data().join(name), *sound, 2.0);
    }
    room
}

fn five() -> Room {
    room(&[("b.wav", 1), ("c.wav", 2), ("d.wav", 3), ("e.wav", 4), ("f.wav", 5)])
}

impl Room {
    fn data(&self) -> PathBuf {
        self.workspace.data("anna").unwrap()
    }

    fn logs(&self) -> PathBuf {
        self.workspace.logs("anna").unwrap()
    }

    fn slices(&self, config: &Config) -> Result<Clips> {
        let cache = Cache::open(self.workspace.cache())?;
        prepare::slices(&self.task, &self.workspace, &cache, "anna", Path::new("data/anna"), config)
    }

    fn try_run(&self, config: &Config) -> Result<Ran> {
        let mut clips = self.slices(config)?;
        let slices = clips.counts;
        let models = Models::new(Store::new(&self.workspace));
        let f0 = prepare::f0(&self.task, &mut clips, &models, config)?;
        let content = prepare::content(&self.task, &mut clips, &models, config)?;
        let list = prepare::filelist(&self.task, &mut clips, &models, config)?;
        Ok(Ran { slices, f0, content, list })
    }

    fn run(&self) -> Ran {
        self.try_run(&config()).unwrap()
    }

    fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap())
    }

    fn error(&self) -> Error {
        self.try_run(&config()).err().unwrap()
    }
}

fn config() -> Config {
    Config { sample_rate: 32000, f0_method: "yin".into(), ..Config::default() }
}

/// A gliding vowel-like sound; every number is another one.
fn record(path: &Path, sound: u32, seconds: f64) {
    let n = (seconds * f64::from(RATE)) as usize;
    let base = 90.0 + 17.0 * f64::from(sound);
    let samples: Vec<f32> = (0..n)
        .map(|i| {
            let t = i as f64 / f64::from(RATE);
            let phase = std::f64::consts::TAU * (base * t + 8.0 * t * t);
            (0.3 * phase.sin() + 0.15 * (2.0 * phase).sin() + 0.08 * (5.0 * phase).sin()) as f32
        })
        .collect();
    io::write_wav(path, &samples, RATE).unwrap();
}

/// Every file below logs/anna that training reads, by relative path; the paths in the file list made relative.
fn snapshot(room: &Room) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![room.logs()];
    while let Some(folder) = folders.pop() {
        for path in files::list(&folder).unwrap() {
            let name = path.strip_prefix(room.logs()).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name == "filelist.txt" {
                let text = files::read_text(&path).unwrap();
                all.insert(name, text.replace(room.logs().to_str().unwrap(), "LOGS"));
            } else if name != "cache_metadata.json" && name != ".lock" {
                all.insert(name, files::digest_file(&path).unwrap());
            }
        }
    }
    all
}

/// The same recordings prepared from nothing.
fn clean_rebuild(of: &Room) -> BTreeMap<String, String> {
    let other = room(&[]);
    copy_tree(&of.data(), &other.data());
    other.run();
    snapshot(&other)
}

fn copy_tree(from: &Path, to: &Path) {
    files::create_folder(to).unwrap();
    for path in files::list(from).unwrap() {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn rows(room: &Room) -> Vec<String> {
    files::read_text(&room.logs().join("filelist.txt")).unwrap().split('\n').map(str::to_owned).collect()
}

/// The name of a recording's first clip.
fn clip(room: &Room, recording: &str) -> String {
    let text = files::read_text(&room.logs().join("cache_metadata.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let record = metadata["files"].as_array().unwrap().iter().find(|record| record["path"] == recording).unwrap();
    record["slices"][0].as_str().unwrap().to_owned()
}

// What is made and what is reused.

#[test]
fn the_second_run_makes_nothing_and_writes_nothing() {
    let room = five();
    assert_eq!(room.run().done(), (5, 5, 5));
    let (first, last) = (clip(&room, "b.wav"), clip(&room, "f.wav"));
    let (wav, feature) = (format!("0_gt_wavs/{first}.wav"), format!("3_feature768/{last}.npy"));
    let written = || {
        ["filelist.txt", "cache_metadata.json", &wav, &feature]
            .map(|name| std::fs::metadata(room.logs().join(name)).unwrap().modified().unwrap())
    };
    let before = written();
    let ran = room.run();
    assert_eq!(ran.done(), (0, 0, 0));
    assert_eq!((ran.slices.cached, ran.f0.cached, ran.content.cached), (5, 5, 5));
    assert_eq!(before, written());
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_number_format_that_changes_nothing_is_told_and_makes_nothing_again() {
    let room = five();
    room.run();
    let ran = room.try_run(&Config { feature_precision: "bf16".into(), ..config() }).unwrap();
    assert_eq!(ran.done(), (0, 0, 0));
    let warnings = room.warnings();
    assert!(warnings.len() == 1 && warnings[0].starts_with("feature_precision bf16 changes nothing"), "{warnings:?}");
}

#[test]
fn touching_every_recording_makes_nothing() {
    let room = five();
    room.run();
    for path in files::list(&room.data()).unwrap() {
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    assert_eq!(room.run().done(), (0, 0, 0));
}

#[test]
fn renaming_makes_nothing_and_pairs_rightly() {
    let room = five();
    room.run();
    std::fs::rename(room.data().join("b.wav"), room.data().join("z.wav")).unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
}

#[test]
fn swapping_two_names_makes_nothing_and_pairs_rightly() {
    let room = five();
    room.run();
    let at = |name: &str| room.data().join(name);
    for (from, to) in [("b.wav", "x"), ("c.wav", "b.wav"), ("x", "c.wav")] {
        std::fs::rename(at(from), at(to)).unwrap();
    }
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
}

#[test]
fn adding_a_file_that_sorts_first_makes_one() {
    let room = five();
    room.run();
    record(&room.data().join("a.wav"), 9, 2.0);
    assert_eq!(room.run().done(), (1, 1, 1));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
}

#[test]
fn deleting_a_file_makes_nothing_and_its_clip_is_gone() {
    let room = five();
    room.run();
    std::fs::remove_file(room.data().join("c.wav")).unwrap();
    let ran = room.run();
    assert_eq!((ran.done(), ran.list.count), ((0, 0, 0), 4));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_copy_of_a_recording_makes_nothing() {
    let room = five();
    room.run();
    std::fs::copy(room.data().join("c.wav"), room.data().join("copy.wav")).unwrap();
    let ran = room.run();
    assert_eq!((ran.done(), ran.list.count), ((0, 0, 0), 6));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
}

#[test]
fn two_equal_recordings_are_cut_once() {
    let room = room(&[("a.wav", 1), ("b.wav", 1)]);
    let ran = room.run();
    assert_eq!(ran.done(), (1, 1, 1));
    assert_eq!((ran.slices.cached, ran.f0.cached), (1, 1));
}

#[test]
fn an_edit_that_keeps_size_and_time_makes_one() {
    let room = five();
    room.run();
    let path = room.data().join("d.wav");
    let before = std::fs::metadata(&path).unwrap();
    record(&path, 8, 2.0);
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), before.len());
    assert_eq!(room.run().done(), (1, 1, 1));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
}

#[test]
fn another_f0_method_tracks_again_and_the_former_one_is_still_known() {
    let room = five();
    room.run();
    let other = Config { f0_method: "pm".into(), ..config() };
    assert_eq!(room.try_run(&other).unwrap().done(), (0, 5, 0));
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
}

/// White noise, which `pm` finds no period in.
fn record_noise(path: &Path, seconds: f64) {
    let mut state = 7u32;
    let samples: Vec<f32> = (0..(seconds * f64::from(RATE)) as usize)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.3 * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        })
        .collect();
    io::write_wav(path, &samples, RATE).unwrap();
}

#[test]
fn interpolated_f0_is_voiced_throughout_and_a_clip_without_any_voice_is_skipped() {
    let room = room(&[("b.wav", 1)]);
    record_noise(&room.data().join("noise.wav"), 2.0);
    let zero = Config { f0_method: "pm".into(), ..config() };
    let interpolate = Config { f0_unvoiced: "interpolate".into(), ..zero.clone() };
    let f0_files = |room: &Room| -> Vec<Vec<f64>> {
        let files = files::list(&room.logs().join("2b-f0nsf")).unwrap();
        files.iter().map(|path| rvc_run::npy::read_f64(path).unwrap()).collect()
    };
    assert_eq!(room.try_run(&zero).unwrap().f0, Counts { done: 2, ..Counts::default() });
    assert_eq!(room.warnings(), Vec::<String>::new());
    let kept = f0_files(&room);
    assert!(kept.iter().any(|f0| f0.iter().all(|hz| *hz == 0.0)), "the noise is unvoiced");
    assert!(kept.iter().any(|f0| f0.contains(&0.0) && f0.iter().any(|hz| *hz > 0.0)), "there is a gap to fill");

    let ran = room.try_run(&interpolate).unwrap();
    assert_eq!(ran.f0, Counts { done: 1, skipped: 1, ..Counts::default() }, "another setting, another result");
    let warnings = room.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("no frame is voiced"), "{warnings:?}");
    let filled = f0_files(&room);
    assert!(filled.len() == 1 && filled[0].iter().all(|hz| *hz > 0.0));
    let text = files::read_text(&room.logs().join("cache_metadata.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(metadata["preprocessing_params"]["f0_unvoiced"], "interpolate");
    // Silence stays silent: nothing in it could be sung.
    let mute = room.logs().join("mute/2b-f0nsf/mute.wav.npy");
    assert_eq!(rvc_run::npy::read_f64(&mute).unwrap(), vec![0.0; 301]);

    assert_eq!(room.try_run(&zero).unwrap().f0.done, 0, "the former one is still known");
}

#[test]
fn settings_of_training_make_nothing() {
    let room = five();
    room.run();
    let before = files::read(&room.logs().join("cache_metadata.json")).unwrap();
    let other = Config { epochs: 7, gpu: true, batch_size: 9, learning_rate: 0.5, preset: "tiny".into(), ..config() };
    assert_eq!(room.try_run(&other).unwrap().done(), (0, 0, 0));
    assert_eq!(files::read(&room.logs().join("cache_metadata.json")).unwrap(), before);
}

#[test]
fn another_sample_rate_makes_everything_and_leaves_no_stale_file() {
    let room = five();
    room.run();
    let other = Config { sample_rate: 40000, segment_size: 12800, ..config() };
    assert_eq!(room.try_run(&other).unwrap().slices.done, 5);
    let rates: BTreeSet<u32> = files::list(&room.logs().join("0_gt_wavs"))
        .unwrap()
        .iter()
        .map(|path| io::read_wav(path).unwrap().sample_rate)
        .collect();
    assert_eq!(rates, BTreeSet::from([40000]));
    assert!(!room.logs().join("mute/0_gt_wavs/mute32k.wav").exists());
    assert!(room.logs().join("mute/0_gt_wavs/mute40k.wav").exists());
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn shorter_slices_replace_the_longer_ones() {
    let room = room(&[("a.wav", 1)]);
    record(&room.data().join("a.wav"), 1, 9.0);
    room.run();
    let long = snapshot(&room);
    let other = Config { slice_seconds: 1.5, ..config() };
    assert!(room.try_run(&other).unwrap().list.count > 4);
    room.run();
    assert_eq!(snapshot(&room), long);
}

#[test]
fn deleting_results_from_the_voices_folder_makes_nothing() {
    let room = five();
    room.run();
    let before = snapshot(&room);
    std::fs::remove_file(room.logs().join(format!("2a_f0/{}.wav.npy", clip(&room, "c.wav")))).unwrap();
    std::fs::remove_dir_all(room.logs().join("3_feature768")).unwrap();
    std::fs::remove_file(room.logs().join("filelist.txt")).unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room), before);
}

#[test]
fn one_truncated_feature_makes_one_feature() {
    let room = five();
    room.run();
    let before = snapshot(&room);
    let path = room.logs().join(format!("3_feature768/{}.npy", clip(&room, "d.wav")));
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert_eq!(room.run().done(), (0, 0, 1));
    assert_eq!(snapshot(&room), before);
    assert!(room.warnings()[0].contains("damaged"));
}

#[test]
fn one_flipped_bit_in_any_kind_of_result_is_found_and_repaired() {
    let cases = [
        ("0_gt_wavs/CLIP.wav", (1, 0, 0)),
        ("1_16k_wavs/CLIP.wav", (1, 0, 0)),
        ("2a_f0/CLIP.wav.npy", (0, 1, 0)),
        ("2b-f0nsf/CLIP.wav.npy", (0, 1, 0)),
        ("3_feature768/CLIP.npy", (0, 0, 1)),
        ("mute/3_feature768/mute.npy", (0, 0, 0)),
    ];
    for (name, done) in cases {
        // A room each: after a repair the sister files are equal copies, no longer links.
        let room = room(&[("a.wav", 1), ("b.wav", 2), ("c.wav", 3), ("d.wav", 4)]);
        room.run();
        let before = snapshot(&room);
        let path = room.logs().join(name.replace("CLIP", &clip(&room, "d.wav")));
        let mut bytes = files::read(&path).unwrap();
        bytes[333] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(room.run().done(), done, "{name}");
        assert_eq!(snapshot(&room), before, "{name}");
        let warnings = room.warnings();
        assert!(warnings[0].contains("damaged") && warnings[1].contains("put right"), "{warnings:?}");
        assert_eq!(room.run().done(), (0, 0, 0), "{name}");
        assert_eq!(room.warnings(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_file_replaced_by_another_tool_is_put_back() {
    let room = five();
    room.run();
    let before = snapshot(&room);
    let name = clip(&room, "b.wav");
    let path = room.logs().join(format!("0_gt_wavs/{name}.wav"));
    // A new file under the name: the cache does not share it.
    files::write(&path, "something else").unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room), before);
    let warnings = room.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(&name), "{warnings:?}");
}

#[test]
fn losing_or_damaging_the_metadata_makes_nothing() {
    let room = five();
    room.run();
    let before = snapshot(&room);
    let path = room.logs().join("cache_metadata.json");
    let text = files::read_text(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(room.warnings(), Vec::<String>::new());
    for damaged in ["", "{", "[]", "\u{0}\u{0}", &text[..text.len() / 2], r#"{"schema": 2, "cache_key": 3}"#] {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(room.run().done(), (0, 0, 0), "{damaged:?}");
        assert_eq!(room.warnings().len(), 1, "{damaged:?}");
    }
    assert_eq!(snapshot(&room), before);
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn stale_clips_are_recognised_without_the_metadata() {
    let room = five();
    room.run();
    std::fs::remove_file(room.logs().join("cache_metadata.json")).unwrap();
    std::fs::remove_file(room.data().join("f.wav")).unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn the_guides_metadata_file_is_replaced_without_a_warning() {
    let room = five();
    let old = r#"{"cache_key": "ab", "timestamp": 1697845234.0, "preprocessing_params": {"sample_rate": 40000}}"#;
    files::write(&room.logs().join("cache_metadata.json"), old).unwrap();
    assert_eq!(room.run().done(), (5, 5, 5));
    assert_eq!(room.warnings(), Vec::<String>::new());
    let text = files::read_text(&room.logs().join("cache_metadata.json")).unwrap();
    let new: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(new["cache_key"].as_str().unwrap().len(), 64);
    assert!(new["timestamp"].as_f64().unwrap() > 1.7e9);
    for name in ["sample_rate", "segment_length", "f0_method", "model_version", "gpu"] {
        assert!(!new["preprocessing_params"][name].is_null(), "{name}");
    }
    assert_eq!(new["files"].as_array().unwrap().len(), 5);
}

#[test]
fn a_workspace_copied_elsewhere_makes_nothing() {
    let room = five();
    room.run();
    let before = snapshot(&room);
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("moved"));
    copy_tree(room.workspace.root(), workspace.root());
    let (task, warnings) = listening();
    let moved = Room { _folder: folder, workspace, warnings, task };
    assert_eq!(moved.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&moved), before);
    assert!(rows(&moved)[0].starts_with(moved.logs().to_str().unwrap()));
    assert_eq!(moved.warnings(), Vec::<String>::new());
}

#[test]
fn random_changes_end_like_a_clean_rebuild() {
    let room = five();
    let mut dice = 12345u64;
    let mut roll = |n: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % n
    };
    for round in 0..12 {
        for _ in 0..=roll(3) {
            let recordings = files::list(&room.data()).unwrap();
            let one = recordings[roll(recordings.len() as u64) as usize].clone();
            let fresh = room.data().join(format!("{}{round}.wav", ["a", "m", "z"][roll(3) as usize]));
            match roll(6) {
                0 => record(&fresh, 10 + roll(6) as u32, 1.0),
                1 => record(&one, 10 + roll(6) as u32, 1.5),
                2 => std::fs::rename(&one, &fresh).unwrap(),
                3 if recordings.len() > 2 => std::fs::remove_file(&one).unwrap(),
                4 => {
                    let results = files::list(&room.logs().join("2a_f0")).unwrap_or_default();
                    results.first().map_or(Ok(()), std::fs::remove_file).unwrap();
                }
                _ => drop(std::fs::copy(&one, &fresh).unwrap()),
            }
        }
        room.run();
    }
    assert_eq!(snapshot(&room), clean_rebuild(&room));
    assert_eq!(room.run().done(), (0, 0, 0));
}

// What a kill, a second process or a moving target may do.

/// Not a test of its own: what the next one starts and kills.
#[test]
fn child_that_prepares() {
    if let Some(root) = std::env::var_os("RVC_TEST_PREPARE") {
        let workspace = Workspace::new(PathBuf::from(root));
        let cache = Cache::open(workspace.cache()).unwrap();
        let task = Task::new(2, |_| {});
        prepare::all(&task, &workspace, &cache, "anna", Path::new("data/anna"), &config()).unwrap();
    }
}

#[test]
fn killed_at_any_moment_the_next_run_ends_like_an_undisturbed_one() {
    let room = five();
    let whole = clean_rebuild(&room);
    for delay in [5, 15, 25, 40, 60, 80, 110, 150, 200, 260] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_prepares"])
            .env("RVC_TEST_PREPARE", room.workspace.root())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        // A file list is only there when everything it names is.
        if room.logs().join("filelist.txt").exists() {
            for field in rows(&room).iter().flat_map(|row| row.split('|').take(4)) {
                assert!(Path::new(field).is_file(), "{field}");
            }
        }
    }
    room.run();
    assert_eq!(snapshot(&room), whole);
    let sessions = files::list(&room.workspace.cache().join(".tmp")).unwrap();
    assert_eq!(sessions, Vec::<PathBuf>::new());
}

#[test]
fn two_voices_of_the_same_recordings_at_once_share_the_cache_safely() {
    let room = five();
    std::thread::scope(|scope| {
        for voice in ["anna", "bert"] {
            let room = &room;
            scope.spawn(move || {
                let cache = Cache::open(room.workspace.cache()).unwrap();
                let folder = Path::new("data/anna");
                prepare::all(&room.task, &room.workspace, &cache, voice, folder, &config()).unwrap();
            });
        }
    });
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_voice_that_another_process_works_on_is_locked() {
    let room = five();
    let _held = Lock::acquire(&room.logs()).unwrap();
    assert_eq!(room.error().kind(), Kind::Locked);
}

#[test]
fn a_recording_that_changes_while_it_is_read_is_kept_under_its_final_content() {
    let room = five();
    let (path, once) = (room.data().join("b.wav"), Mutex::new(true));
    let task = Task::new(1, move |event| {
        if matches!(event, Event::Begin { stage, .. } if stage == "slicing")
            && std::mem::take(&mut *once.lock().unwrap())
        {
            record(&path, 20, 1.2);
        }
    });
    let cache = Cache::open(room.workspace.cache()).unwrap();
    prepare::all(&task, &room.workspace, &cache, "anna", Path::new("data/anna"), &config()).unwrap();
    assert_eq!(snapshot(&room), clean_rebuild(&room));
    assert_eq!(room.run().done(), (0, 0, 0));
}

#[test]
fn a_cancelled_run_leaves_no_file_list_and_the_next_one_completes() {
    let room = five();
    let cancel = Arc::new(Mutex::new(None::<Arc<std::sync::atomic::AtomicBool>>));
    let flag = cancel.clone();
    let task = Task::new(1, move |event| {
        if let (Event::Progress { stage, done: 2, .. }, Some(flag)) = (event, &*flag.lock().unwrap()) {
            flag.store(stage == "f0", std::sync::atomic::Ordering::Relaxed);
        }
    });
    *cancel.lock().unwrap() = Some(task.cancel_flag());
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let stopped = prepare::all(&task, &room.workspace, &cache, "anna", Path::new("data/anna"), &config());
    assert_eq!(stopped.err().map(|e| e.kind()), Some(Kind::Cancelled));
    assert!(!room.logs().join("filelist.txt").exists());
    let ran = room.run();
    assert_eq!(ran.slices.done, 0);
    assert!(ran.f0.cached >= 2, "{:?}", ran.f0);
}

// What belongs to somebody else.

#[test]
fn foreign_files_stay_and_are_told() {
    let room = five();
    let foreign = room.logs().join("0_gt_wavs/holiday.wav");
    files::write(&foreign, "mine").unwrap();
    room.run();
    assert_eq!(files::read(&foreign).unwrap(), b"mine");
    let warnings = room.warnings();
    assert!(warnings.iter().all(|w| w.contains("holiday.wav")) && !warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_foreign_file_under_a_name_we_need_is_set_aside() {
    let other = five();
    other.run();
    let name = format!("0_gt_wavs/{}.wav", clip(&other, "b.wav"));
    let room = five();
    files::write(&room.logs().join(&name), "from python").unwrap();
    files::write(&room.logs().join("filelist.txt"), "from python").unwrap();
    room.run();
    let aside = room.logs().join("set_aside");
    assert_eq!(files::read(&aside.join(&name)).unwrap(), b"from python");
    assert_eq!(files::read(&aside.join("filelist.txt")).unwrap(), b"from python");
    assert_eq!(room.warnings().len(), 2);
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_file_list_edited_by_hand_is_set_aside() {
    let room = five();
    room.run();
    let path = room.logs().join("filelist.txt");
    let edited = rows(&room)[..3].join("\n");
    std::fs::write(&path, &edited).unwrap();
    room.run();
    assert_eq!(files::read_text(&room.logs().join("set_aside/filelist.txt")).unwrap(), edited);
    assert_eq!(rows(&room).len(), 7);
}

#[test]
fn spectrograms_that_python_made_of_clips_that_are_gone_are_told_and_kept() {
    let room = five();
    room.run();
    let (gone, stays) = (clip(&room, "b.wav"), clip(&room, "f.wav"));
    for name in [&gone, &stays] {
        files::write(&room.logs().join(format!("0_gt_wavs/{name}.spec.pt")), "spectrogram").unwrap();
    }
    room.run();
    record(&room.data().join("b.wav"), 30, 2.0);
    let told = Arc::new(Mutex::new(Vec::new()));
    let ear = told.clone();
    let task = Task::new(2, move |event| {
        if let Event::Info(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    let cache = Cache::open(room.workspace.cache()).unwrap();
    prepare::all(&task, &room.workspace, &cache, "anna", Path::new("data/anna"), &config()).unwrap();
    let told = told.lock().unwrap();
    assert!(told.iter().any(|text| text.contains(&gone) && !text.contains(&stays)), "{told:?}");
    assert!(room.logs().join(format!("0_gt_wavs/{gone}.spec.pt")).exists());
}

#[test]
fn a_spectrogram_of_a_clip_that_was_put_right_is_told() {
    let room = five();
    room.run();
    let name = clip(&room, "b.wav");
    files::write(&room.logs().join(format!("0_gt_wavs/{name}.spec.pt")), "spectrogram").unwrap();
    files::write(&room.logs().join(format!("0_gt_wavs/{name}.wav")), "something else").unwrap();
    room.run();
    let warnings = room.warnings();
    assert!(warnings.iter().any(|w| w.contains(&format!("{name}.spec.pt"))), "{warnings:?}");
}

// The file list.

#[test]
fn the_file_list_is_as_rvc_writes_it() {
    let room = five();
    let list = room.run().list;
    assert_eq!((list.count, list.mute_rows, list.skipped), (5, 2, 0));
    let text = files::read_text(&list.path).unwrap();
    assert!(!text.ends_with('\n'));
    let logs = std::path::absolute(room.logs()).unwrap();
    for row in text.split('\n') {
        let fields: Vec<&str> = row.split('|').collect();
        assert_eq!(fields.len(), 5, "{row}");
        assert!(
            fields[..4].iter().all(|path| Path::new(path).starts_with(&logs) && Path::new(path).is_file()),
            "{row}"
        );
        assert_eq!(fields[4], "0");
        let name = Path::new(fields[0]).file_stem().unwrap().to_str().unwrap();
        let name = if name == "mute32k" { "mute" } else { name };
        let base = Path::new(fields[0]).parent().unwrap().parent().unwrap();
        assert_eq!(Path::new(fields[1]), base.join(format!("3_feature768/{name}.npy")));
        assert_eq!(Path::new(fields[2]), base.join(format!("2a_f0/{name}.wav.npy")));
        assert_eq!(Path::new(fields[3]), base.join(format!("2b-f0nsf/{name}.wav.npy")));
    }
}

#[test]
fn the_silent_clip_has_the_shapes_of_rvcs() {
    let room = five();
    room.run();
    let mute = room.logs().join("mute");
    let wav = io::read_wav(&mute.join("0_gt_wavs/mute32k.wav")).unwrap();
    assert!(wav.samples.len() == 96000 && wav.samples.iter().all(|x| *x == 0.0));
    assert_eq!(rvc_run::npy::read_i64(&mute.join("2a_f0/mute.wav.npy")).unwrap(), vec![1; 301]);
    assert_eq!(rvc_run::npy::read_f64(&mute.join("2b-f0nsf/mute.wav.npy")).unwrap(), vec![0.0; 301]);
    let (values, frames, dim) = rvc_run::npy::read_f32_2d(&mute.join("3_feature768/mute.npy")).unwrap();
    assert_eq!((frames, dim), (149, 768));
    assert!(values.iter().all(|x| x.is_finite()));
}

#[test]
fn the_order_of_rows_depends_on_the_seed_alone() {
    let room = five();
    room.run();
    let first = rows(&room);
    std::fs::remove_file(room.logs().join("filelist.txt")).unwrap();
    room.run();
    assert_eq!(rows(&room), first);
    room.try_run(&Config { seed: 77, ..config() }).unwrap();
    let second = rows(&room);
    assert_ne!(second, first);
    assert_eq!(second.iter().collect::<BTreeSet<_>>(), first.iter().collect::<BTreeSet<_>>());
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn each_subfolder_is_a_speaker() {
    let room = room(&[("zoe/1.wav", 1), ("zoe/2.wav", 2), ("max/1.wav", 3)]);
    files::create_folder(&room.data().join("nobody")).unwrap();
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.speakers, ["max", "zoe"]);
    assert_eq!(clips.clips.iter().map(|clip| clip.sid).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(room.run().list.mute_rows, 4);
}

#[test]
fn a_trained_voice_keeps_the_numbers_of_its_speakers() {
    let room = room(&[("max/1.wav", 1), ("zoe/1.wav", 2)]);
    room.run();
    files::write(&room.logs().join("G_1.pth"), "a training").unwrap();
    record(&room.data().join("anna/1.wav"), 3, 2.0);
    std::fs::remove_dir_all(room.data().join("max")).unwrap();
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.speakers, ["max", "zoe", "anna"]);
    assert_eq!(clips.clips.iter().map(|clip| clip.sid).collect::<Vec<_>>(), [2, 1]);
    let list = room.run().list;
    assert_eq!(list.mute_rows, 4, "none for the speaker that is gone");
    assert!(rows(&room).iter().all(|row| !row.ends_with("|0")));
}

#[test]
fn a_folder_with_clips_under_their_former_names_is_taken_over() {
    let room = five();
    room.run();
    // As version 0.1 left it: "<number of the recording>_<chunk>", and records without the digest of the sound.
    let path = room.logs().join("cache_metadata.json");
    let mut text = files::read_text(&path).unwrap();
    for (number, recording) in ["b.wav", "c.wav", "d.wav", "e.wav", "f.wav"].into_iter().enumerate() {
        let name = clip(&room, recording);
        for (folder, ending) in [
            ("0_gt_wavs", ".wav"),
            ("1_16k_wavs", ".wav"),
            ("2a_f0", ".wav.npy"),
            ("2b-f0nsf", ".wav.npy"),
            ("3_feature768", ".npy"),
        ] {
            let at = room.logs().join(folder);
            std::fs::rename(at.join(format!("{name}{ending}")), at.join(format!("{number}_0{ending}"))).unwrap();
        }
        text = text.replace(&name, &format!("{number}_0"));
    }
    let mut metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    for record in metadata["files"].as_array_mut().unwrap() {
        record.as_object_mut().unwrap().remove("pcm_id");
    }
    std::fs::write(&path, metadata.to_string()).unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room), clean_rebuild(&room));
    let warnings = room.warnings();
    assert!(warnings.iter().all(|w| w.contains("filelist.txt")), "{warnings:?}");
}

#[test]
fn folders_in_a_speakers_folder_belong_to_the_speaker() {
    let room = room(&[("zoe/1.wav", 1), ("zoe/2020/live/2.wav", 2), ("max/a/1.wav", 3)]);
    #[cfg(unix)]
    for (link, to) in [("zoe/2020/back", "zoe"), ("max/a/all", "")] {
        std::os::unix::fs::symlink(room.data().join(to), room.data().join(link)).unwrap();
    }
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.speakers, ["max", "zoe"]);
    let used: Vec<_> = clips.table.iter().map(|row| (row.name.as_str(), row.sid)).collect();
    assert_eq!(used, [("max/a/1.wav", 0), ("zoe/1.wav", 1), ("zoe/2020/live/2.wav", 1)]);
}

#[test]
fn loose_recordings_beside_speaker_folders_are_speaker_0() {
    let room = room(&[("loose.wav", 1), ("max/1.wav", 2)]);
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.clips.iter().map(|clip| clip.sid).collect::<Vec<_>>(), [0, 1]);
}

// What cannot be used.

#[test]
fn unusable_recordings_are_skipped_by_name_and_the_others_go_on() {
    let room = five();
    let put = |name: &str, bytes: &[u8]| std::fs::write(room.data().join(name), bytes).unwrap();
    put("damaged.flac", b"fLaC and then nothing of use");
    put("empty.wav", b"");
    put("notes.txt", b"not a recording");
    io::write_wav(&room.data().join("silent.wav"), &vec![0.0; 32000], RATE).unwrap();
    io::write_wav(&room.data().join("loud.wav"), &[40.0, -40.0].repeat(16000), RATE).unwrap();
    io::write_wav(&room.data().join("nan.wav"), &vec![f32::NAN; 32000], RATE).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(room.data().join("gone"), room.data().join("dangling.wav")).unwrap();
    let ran = room.run();
    let names = ["damaged.flac", "empty.wav", "loud.wav", "nan.wav", "silent.wav", "dangling.wav"];
    let expected = if cfg!(unix) { names.len() } else { names.len() - 1 };
    assert_eq!((ran.slices.skipped, ran.list.count), (expected, 5));
    let warnings = room.warnings();
    for name in &names[..expected] {
        assert!(warnings.iter().any(|w| w.starts_with(name) && w.contains("skipped: ")), "{name}: {warnings:?}");
    }
    assert!(warnings.iter().any(|w| w.starts_with("loud.wav") && w.contains("too loud")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.starts_with("silent.wav") && w.contains("silent")), "{warnings:?}");
}

#[cfg(unix)]
#[test]
fn a_named_pipe_among_the_recordings_does_not_hang() {
    let room = five();
    let pipe = room.data().join("pipe.wav");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(room.run().slices.skipped, 1);
}

#[test]
fn nothing_usable_is_an_error_that_names_a_reason() {
    let room = room(&[]);
    std::fs::write(room.data().join("a.wav"), "no sound").unwrap();
    let error = room.error();
    assert_eq!(error.kind(), Kind::DataEmpty);
    assert!(error.hint_text().unwrap().starts_with("a.wav: "), "{error:?}");
}

#[test]
fn an_empty_folder_is_an_error_that_says_what_to_put_there() {
    let room = room(&[]);
    let error = room.error();
    assert_eq!(error.kind(), Kind::DataEmpty);
    assert!(error.hint_text().unwrap().contains("wav"), "{error:?}");
    assert!(!room.logs().exists());
}

#[test]
fn a_missing_folder_names_the_voices_that_exist() {
    let room = five();
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let error =
        prepare::slices(&room.task, &room.workspace, &cache, "ana", Path::new("data/ana"), &config()).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().contains("did you mean \"anna\"?"), "{error:?}");
    assert!(!room.workspace.logs("ana").unwrap().exists());
}

#[test]
fn a_workspace_without_data_says_how_to_begin() {
    let room = room(&[]);
    std::fs::remove_dir_all(room.workspace.path("data")).unwrap();
    let error = room.error();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().starts_with("make this folder"), "{error:?}");
}

#[test]
fn recordings_inside_the_results_are_refused() {
    let room = five();
    room.run();
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let folder = Path::new("logs/anna/0_gt_wavs");
    let error = prepare::slices(&room.task, &room.workspace, &cache, "anna", folder, &config()).err().unwrap();
    assert_eq!(error.kind(), Kind::ConfigValue);
}

#[test]
fn a_workspace_whose_path_breaks_the_file_list_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("a|b"));
    let (task, _) = listening();
    let cache = Cache::open(workspace.cache()).unwrap();
    record(&workspace.data("anna").unwrap().join("a.wav"), 1, 1.0);
    let error = prepare::slices(&task, &workspace, &cache, "anna", Path::new("data/anna"), &config()).err().unwrap();
    assert_eq!(error.kind(), Kind::ConfigValue);
    assert!(!workspace.path("logs").exists());
}

#[test]
fn names_with_every_odd_character_work() {
    let room = room(&[]);
    for (sound, name) in ["a b.wav", "-x.wav", "qu'o\"te.wav", "$(x).wav", "p|pe.wav", "new\nline.wav", "émoji🎤.wav"]
        .into_iter()
        .enumerate()
    {
        record(&room.data().join(name), sound as u32, 1.0);
    }
    let ran = room.run();
    assert_eq!((ran.slices.skipped, ran.list.count), (0, 7));
    assert_eq!(rows(&room).len(), 9);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let room = five();
    // A file where the folder should be; permissions do not stop root.
    files::write(&room.workspace.path("logs"), "in the way").unwrap();
    let kind = room.error().kind();
    assert!(matches!(kind, Kind::Write | Kind::NotFound), "{kind:?}");
}
