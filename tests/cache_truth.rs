//! R16, R18, R19, R6: counts which stages run after which change; the cache never returns another entry's data.
//!
//! Recordings are tones of a second; f0 by yin and the built-in mel content need no downloads.

use crate::support::recordings::{CHILD, child_root, copy_tree, kill_child, record, retag, say_started, snapshot};
use crate::support::{only, rounds, weights};
use rvc_run::assets::Store;
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::config::choices::F0Method;
use rvc_run::features::Models;
use rvc_run::files::{self, Workspace};
use rvc_run::prepare::{self, inspect};
use rvc_run::task::Task;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Runs of each stage: decode and slices in recordings, f0 and content in clips.
type Done = (usize, usize, usize, usize);

struct Room {
    keep_folder: tempfile::TempDir,
    workspace: Workspace,
    config: Config,
}

/// A voice with this many recordings.
fn voice(recordings: u32) -> Room {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("work"));
    let config = Config { sample_rate: 32000, f0_method: F0Method::Yin, ..Config::default() };
    let room = Room { keep_folder: folder, workspace, config };
    files::create_folder(&room.data()).unwrap();
    for sound in 0..recordings {
        record(&room.recording(sound), sound, 1.0);
    }
    room
}

impl Room {
    fn data(&self) -> PathBuf {
        self.workspace.data("anna").unwrap()
    }

    fn logs(&self) -> PathBuf {
        self.workspace.logs("anna").unwrap()
    }

    fn recording(&self, number: u32) -> PathBuf {
        self.data().join(format!("m{number}.wav"))
    }

    fn first_in(&self, folder: &str) -> PathBuf {
        files::list(&self.logs().join(folder)).unwrap().remove(0)
    }

    fn run(&self) -> Done {
        self.run_as("anna", &self.config)
    }

    /// From now on f0 comes from a network with weights of `salt`, and all clips have such weights: CREPE's small size, because RMVPE has 181 MB.
    fn track_by_network(&mut self, salt: &str) {
        self.write_tracker(salt);
        self.config.f0_method = F0Method::CrepeTiny;
        assert_eq!(self.run(), (0, 0, 10, 0));
    }

    fn write_tracker(&self, salt: &str) {
        let assets = self.workspace.path("assets");
        files::create_folder(&assets).unwrap();
        let mut tensors = weights::filled(salt, &weights::listed("crepe_tiny"));
        // Larger, so that some frames are more probable than others.
        let (_, classifier) = tensors.iter_mut().find(|(key, _)| key == "classifier.weight").unwrap();
        *classifier *= 64.0;
        weights::write(&assets.join("crepe_tiny.pth"), tensors);
    }

    fn run_as(&self, name: &str, config: &Config) -> Done {
        let (task, models) = (Task::new(2, |_| {}), Models::new(Store::new(&self.workspace)));
        let cache = Cache::open(self.workspace.cache()).unwrap();
        let mut clips = prepare::slices(&task, &self.workspace, &cache, name, Path::new("data/anna"), config).unwrap();
        let (decoded, sliced) = (clips.decoded, clips.counts.done);
        let f0 = prepare::f0(&task, &mut clips, &models, config).unwrap().done;
        let content = prepare::content(&task, &mut clips, &models, config).unwrap().done;
        prepare::filelist(&task, &mut clips, &models, config).unwrap();
        (decoded, sliced, f0, content)
    }

    fn snapshot(&self) -> BTreeMap<String, String> {
        snapshot(&self.logs())
    }

    fn rebuilt(&self) -> BTreeMap<String, String> {
        let other = Room { config: self.config.clone(), ..voice(0) };
        copy_tree(&self.data(), &other.data());
        let assets = self.workspace.path("assets");
        if assets.is_dir() {
            copy_tree(&assets, &other.workspace.path("assets"));
        }
        other.run();
        other.snapshot()
    }
}

fn set_time(path: &Path, time: std::time::SystemTime) {
    std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

fn every(folder: &Path, change: impl Fn(&Path)) {
    files::list(folder).unwrap().iter().for_each(|path| change(path));
}

fn swap(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    for (from, to) in [(a, aside.as_path()), (b, a), (aside.as_path(), b)] {
        std::fs::rename(from, to).unwrap();
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = files::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1 << (at % 8);
    // In place, like a failing disk: the cache's hard link changes with it.
    std::fs::write(path, bytes).unwrap();
}

const NOTHING: Done = (0, 0, 0, 0);

/// A row of the table: its name, the change, and the stages that then run.
type Row = (&'static str, fn(&mut Room), Done);

/// reliability.md, R16, in its order.
const TABLE: [Row; 24] = [
    ("touch all", |r| every(&r.data(), |path| set_time(path, std::time::SystemTime::now())), NOTHING),
    (
        "change content keeping size and time",
        |r| {
            let path = r.recording(4);
            let time = std::fs::metadata(&path).unwrap().modified().unwrap();
            record(&path, 40, 1.0);
            set_time(&path, time);
        },
        (1, 1, 1, 1),
    ),
    ("rename", |r| std::fs::rename(r.recording(0), r.data().join("z.wav")).unwrap(), NOTHING),
    ("swap two names", |r| swap(&r.recording(1), &r.recording(2)), NOTHING),
    ("add a file that sorts first", |r| record(&r.data().join("a.wav"), 50, 1.0), (1, 1, 1, 1)),
    ("delete", |r| std::fs::remove_file(r.recording(3)).unwrap(), NOTHING),
    ("duplicate", |r| assert!(std::fs::copy(r.recording(3), r.data().join("copy.wav")).is_ok()), NOTHING),
    ("the same sound in other bytes", |r| retag(&r.recording(5)), (1, 0, 0, 0)),
    (
        "f0 threshold",
        |r| {
            r.track_by_network("");
            // These weights are certain of every frame, but not completely.
            r.config.f0_threshold = 1.0;
        },
        (0, 0, 10, 0),
    ),
    (
        "new weights of the f0 network",
        |r| {
            r.track_by_network("");
            r.write_tracker("other");
        },
        (0, 0, 10, 0),
    ),
    ("--gpu", |r| r.config.gpu = true, NOTHING),
    // 16 kHz clips are made from the clips at the voice's rate, as in RVC: every stage after decoding.
    ("sample rate", |r| (r.config.sample_rate, r.config.segment_size) = (40000, 12800), (0, 10, 10, 10)),
    ("epochs", |r| r.config.epochs += 100, NOTHING),
    (
        "delete one feature, in the cache too",
        |r| {
            let digest = files::digest_file(&r.first_in("3_feature768")).unwrap();
            std::fs::remove_file(r.first_in("3_feature768")).unwrap();
            let cache = Cache::open(r.workspace.cache()).unwrap();
            let stored = cache.stored().unwrap();
            let entry = stored.iter().find(|entry| entry.outputs.values().any(|output| *output == digest)).unwrap();
            std::fs::remove_file(entry.folder.join("content.npy")).unwrap();
        },
        (0, 0, 0, 1),
    ),
    (
        "truncate one feature, in the cache too",
        |r| {
            let digest = files::digest_file(&r.first_in("2b-f0nsf")).unwrap();
            let cache = Cache::open(r.workspace.cache()).unwrap();
            let stored = cache.stored().unwrap();
            let entry = stored.iter().find(|entry| entry.outputs.values().any(|output| *output == digest)).unwrap();
            for path in [r.first_in("2b-f0nsf"), entry.folder.join("hz.npy")] {
                std::fs::File::options().write(true).open(path).unwrap().set_len(90).unwrap();
            }
        },
        (0, 0, 1, 0),
    ),
    ("delete cache_metadata.json", |r| std::fs::remove_file(r.logs().join("cache_metadata.json")).unwrap(), NOTHING),
    ("corrupt cache_metadata.json", |r| flip(&r.logs().join("cache_metadata.json"), 0), NOTHING),
    (
        "empty the feature stage",
        |r| {
            std::fs::remove_dir_all(r.logs().join("3_feature768")).unwrap();
            std::fs::remove_dir_all(r.workspace.cache().join("content")).unwrap();
        },
        (0, 0, 0, 10),
    ),
    (
        "restore old settings",
        |r| {
            let former = r.config.clone();
            r.config.f0_method = F0Method::Pm;
            r.config.slice_seconds = 0.7;
            r.run();
            r.config = former;
        },
        NOTHING,
    ),
    (
        "clock to 1970",
        |r| {
            every(&r.data(), |path| set_time(path, UNIX_EPOCH));
            every(&r.logs().join("2a_f0"), |path| set_time(path, UNIX_EPOCH));
        },
        NOTHING,
    ),
    (
        "copy the workspace elsewhere",
        |r| {
            let folder = tempfile::tempdir().unwrap();
            let workspace = Workspace::new(folder.path().join("moved"));
            copy_tree(r.workspace.root(), workspace.root());
            (r.keep_folder, r.workspace) = (folder, workspace);
        },
        NOTHING,
    ),
    (
        "other permissions",
        |r| {
            #[cfg(unix)]
            every(&r.data(), |path| {
                std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
            });
            let _ = r;
        },
        NOTHING,
    ),
    (
        "a link in place of the file",
        |r| {
            #[cfg(unix)]
            for (number, link) in [(0, true), (1, false)] {
                let aside = r.workspace.path(format!("elsewhere{number}.wav"));
                std::fs::rename(r.recording(number), &aside).unwrap();
                let at = r.recording(number);
                if link { std::os::unix::fs::symlink(aside, at) } else { std::fs::hard_link(aside, at) }.unwrap();
            }
            let _ = r;
        },
        NOTHING,
    ),
    ("rename by case only", |r| std::fs::rename(r.recording(6), r.data().join("M6.WAV")).unwrap(), NOTHING),
];

#[test]
fn the_truth_table_of_24_changes_holds() {
    let mut wrong = Vec::new();
    let base = voice(10);
    assert_eq!(base.run(), (10, 10, 10, 10));
    for (name, change, expected) in TABLE {
        let mut room = Room { config: base.config.clone(), ..voice(0) };
        copy_tree(base.workspace.root(), room.workspace.root());
        // Copying replaced links with separate files: changes in logs/ do not reach the cache.
        assert_eq!(room.run(), NOTHING, "{name}: before");
        change(&mut room);
        let before = room.snapshot();
        let done = room.run();
        if done != expected {
            wrong.push(format!("{name}: {done:?}, expected {expected:?}"));
        }
        let now = room.snapshot();
        if done.2 == 10 && now == before {
            wrong.push(format!("{name}: f0 did not change"));
        }
        if now != room.rebuilt() {
            wrong.push(format!("{name}: differs from a clean run"));
        }
        if room.run() != NOTHING {
            wrong.push(format!("{name}: the second run is not idle"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A seeded generator: the same sequences in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// Not a test on its own: the next one starts and kills it.
#[test]
fn child_that_prepares() {
    if let Some(root) = child_root() {
        let room = Room { workspace: Workspace::new(root), ..voice(0) };
        say_started();
        println!("ran {:?}", room.run());
    }
}

/// A program called ffmpeg that "decodes" everything to one sound; returns its folder.
#[cfg(unix)]
fn fake_ffmpeg(room: &Room, version: &str, sound: u32) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = room.keep_folder.path().join(format!("ffmpeg-{version}"));
    files::create_folder(&folder).unwrap();
    record(&folder.join("sound.wav"), sound, 1.0);
    let program = folder.join("ffmpeg");
    let answer = format!("echo 'ffmpeg version {version} Copyright'; exit 0");
    let sound = folder.join("sound.wav");
    let script = format!("#!/bin/sh\n[ \"$1\" = -version ] && {{ {answer}; }}\nexec /bin/cat '{}'\n", sound.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
    folder
}

#[cfg(unix)]
#[test]
fn recordings_are_decoded_again_by_another_ffmpeg_version() {
    let room = voice(1);
    std::fs::write(room.data().join("z.wma"), b"nothing that we know").unwrap();
    let (old, new) = (fake_ffmpeg(&room, "1.0", 7), fake_ffmpeg(&room, "2.0", 8));
    let run = |path: &Path| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(only(module_path!(), "child_that_prepares"))
            .env(CHILD, room.workspace.root())
            .env("PATH", path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| Some(line.split_once("ran ")?.1.to_owned())).unwrap_or(text)
    };
    let show = |done: Done| format!("{done:?}");
    assert_eq!(run(&old), show((2, 2, 2, 2)));
    assert_eq!(run(&old), show(NOTHING));
    assert_eq!(run(&new), show((1, 1, 1, 1)), "another ffmpeg");
    assert_eq!(run(&new), show(NOTHING));
    assert_eq!(run(&old), show(NOTHING), "the former one again");
    assert_eq!(run(Path::new("")), show(NOTHING), "none");
    let (task, cache) = (Task::new(1, |_| {}), Cache::open(room.workspace.cache()).unwrap());
    let lines = inspect::explain(&task, &room.workspace, &cache, &room.data().join("z.wma")).unwrap();
    // A miss if this machine has its own ffmpeg: it is neither of the two.
    assert!(lines[0].stage == "decode" && lines[0].why.contains("ffmpeg"), "{lines:?}");
}

const MOST_CHANGES: usize = 30;

#[test]
fn any_sequence_of_changes_gives_the_result_of_a_clean_run() {
    change_and_run(2);
}

/// R18: RVC_TEST_SEQUENCES sets their number; 2000 pass too.
#[test]
#[ignore = "slow: more of the same"]
fn more_sequences_of_changes_give_the_result_of_a_clean_run() {
    change_and_run(rounds("RVC_TEST_SEQUENCES", 12));
}

fn change_and_run(sequences: usize) {
    for seed in 0..sequences {
        let mut dice = Dice(seed as u64);
        let mut room = voice(3);
        let mut story = Vec::new();
        for step in 0..=dice.below(MOST_CHANGES) {
            let all = files::list(&room.data()).unwrap();
            let one = all[dice.below(all.len())].clone();
            let fresh = room.data().join(format!("{}{step}.wav", ["a", "m", "z"][dice.below(3)]));
            let sound = dice.below(6) as u32;
            let what = dice.below(10);
            story.push(what);
            match what {
                0 => record(&fresh, sound, 0.6),
                1 => record(&one, sound, 0.8),
                2 => std::fs::rename(&one, &fresh).unwrap(),
                3 if all.len() > 1 => std::fs::remove_file(&one).unwrap(),
                4 => set_time(&one, UNIX_EPOCH),
                5 => room.config.f0_method = [F0Method::Yin, F0Method::Pm][dice.below(2)],
                6 => room.config.slice_seconds = [3.0, 0.5][dice.below(2)],
                7 => retag(&one),
                8 => assert!(room.run() >= NOTHING),
                _ => {
                    kill_child(
                        &only(module_path!(), "child_that_prepares"),
                        room.workspace.root(),
                        dice.below(200) as u64,
                    );
                }
            }
        }
        room.run();
        assert_eq!(room.snapshot(), room.rebuilt(), "seed {seed}: {story:?}");
        assert_eq!(room.run(), NOTHING, "seed {seed}: {story:?}");
    }
}

/// R19: how often recordings are prepared while another thread writes into them.
const EDITS: usize = 200;

#[test]
fn a_recording_edited_while_it_is_read_is_never_cached_under_other_content() {
    let room = voice(1);
    let (path, stop) = (room.recording(0), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sound = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sound += 1;
                // In place and in parts, like a recorder; always other samples.
                let whole = room.workspace.path("next.wav");
                record(&whole, sound % 5000, 0.3);
                std::fs::write(&path, files::read(&whole).unwrap()).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        let task = Task::new(1, |_| {});
        let cache = Cache::open(room.workspace.cache()).unwrap();
        for _ in 0..EDITS {
            // An unusable recording is a valid result at this moment.
            let _ = prepare::slices(&task, &room.workspace, &cache, "anna", Path::new("data/anna"), &room.config);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    // Every entry names the bytes that it belongs to: those bytes, decoded undisturbed, must give the same.
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let decoded: BTreeMap<String, String> = cache
        .stored()
        .unwrap()
        .into_iter()
        .filter(|entry| entry.key.stage() == "decode")
        .map(|entry| (entry.key.inputs()["recording"].clone(), entry.notes["pcm"].as_str().unwrap().to_owned()))
        .collect();
    let quiet = voice(0);
    let peace = Cache::open(quiet.workspace.cache()).unwrap();
    let task = Task::new(2, |_| {});
    let mut compared = 0;
    for sound in 1..5000 {
        let path = quiet.recording(0);
        record(&path, sound, 0.3);
        let digest = files::digest_file(&path).unwrap();
        let Some(kept) = decoded.get(&digest) else { continue };
        prepare::slices(&task, &quiet.workspace, &peace, "anna", Path::new("data/anna"), &quiet.config).unwrap();
        let stored = peace.stored().unwrap();
        let entry = stored.iter().find(|entry| entry.key.inputs().get("recording") == Some(&digest)).unwrap();
        assert_eq!(entry.notes["pcm"].as_str(), Some(kept.as_str()), "sound {sound}");
        compared += 1;
        if compared == 20 {
            break;
        }
    }
    assert!(compared > 0, "nothing was kept at all");
}

#[test]
fn a_flipped_bit_in_any_kind_of_file_is_found_and_one_object_is_rebuilt() {
    flip_each_kind(2);
}

/// RVC_TEST_FLIPS sets their number per kind; 200 pass too.
#[test]
#[ignore = "slow: more of the same"]
fn more_flipped_bits_are_found_and_one_object_is_rebuilt() {
    flip_each_kind(rounds("RVC_TEST_FLIPS", 15));
}

fn flip_each_kind(flips: usize) {
    let room = voice(2);
    room.run();
    let whole = room.snapshot();
    let kinds = ["0_gt_wavs", "1_16k_wavs", "2a_f0", "2b-f0nsf", "3_feature768", "entry", "metadata", "filelist"];
    let mut dice = Dice(6);
    for kind in kinds {
        for flip_number in 0..flips {
            let at = dice.below(1 << 24);
            let expected = match kind {
                "0_gt_wavs" | "1_16k_wavs" => (0, 1, 0, 0),
                "2a_f0" | "2b-f0nsf" => (0, 0, 1, 0),
                "3_feature768" => (0, 0, 0, 1),
                _ => NOTHING,
            };
            let mut expected = expected;
            match kind {
                "entry" => {
                    let cache = Cache::open(room.workspace.cache()).unwrap();
                    let stored: Vec<_> =
                        cache.stored().unwrap().into_iter().filter(|e| e.key.stage() != "mute").collect();
                    let entry = &stored[dice.below(stored.len())];
                    expected = match entry.key.stage() {
                        "decode" => (1, 0, 0, 0),
                        "slices" => (0, 1, 0, 0),
                        "f0" => (0, 0, 1, 0),
                        _ => (0, 0, 0, 1),
                    };
                    flip(&entry.folder.join("entry.json"), at);
                }
                "metadata" => flip(&room.logs().join("cache_metadata.json"), at),
                "filelist" => flip(&room.logs().join("filelist.txt"), at),
                folder => {
                    let cache = Cache::open(room.workspace.cache()).unwrap();
                    let name = match folder {
                        "0_gt_wavs" => "0.gt.wav",
                        "1_16k_wavs" => "0.16k.wav",
                        "2a_f0" => "coarse.npy",
                        "2b-f0nsf" => "hz.npy",
                        _ => "content.npy",
                    };
                    let stored: Vec<_> = cache
                        .stored()
                        .unwrap()
                        .into_iter()
                        .filter(|entry| entry.key.stage() != "mute" && entry.outputs.contains_key(name))
                        .collect();
                    flip(&stored[dice.below(stored.len())].folder.join(name), at);
                }
            }
            assert_eq!(room.run(), expected, "{kind}, flip {flip_number} at {at}");
            let now = room.snapshot();
            let now: BTreeMap<_, _> = now.into_iter().filter(|(name, _)| !name.starts_with("set_aside")).collect();
            assert_eq!(now, whole, "{kind}, flip {flip_number} at {at}");
        }
    }
}

#[test]
fn clearing_a_voice_keeps_the_entries_of_others() {
    let room = voice(2);
    room.run();
    record(&room.recording(9), 9, 1.0);
    room.run_as("bert", &room.config);
    std::fs::remove_file(room.recording(9)).unwrap();
    let (task, cache) = (Task::new(1, |_| {}), Cache::open(room.workspace.cache()).unwrap());
    let cleared = inspect::clear(&task, &room.workspace, &cache, "bert").unwrap();
    assert_eq!(cleared.entries, 4, "decode, slices, f0 and content that only bert has");
    assert_eq!(room.run(), NOTHING);
}

#[test]
fn explain_reports_a_hit_a_changed_recording_and_an_altered_clip() {
    let room = voice(2);
    room.run();
    let (task, cache) = (Task::new(1, |_| {}), Cache::open(room.workspace.cache()).unwrap());
    let explain = |path: &Path| inspect::explain(&task, &room.workspace, &cache, path).unwrap();
    let lines = explain(&room.recording(0));
    assert_eq!(lines.iter().map(|line| line.stage.as_str()).collect::<Vec<_>>(), ["decode", "slices", "f0", "content"]);
    assert!(lines.iter().all(|line| line.state == "hit"), "{lines:?}");
    record(&room.recording(0), 30, 1.0);
    let lines = explain(&room.recording(0));
    assert!(lines.len() == 1 && lines[0].state == "miss" && lines[0].why.starts_with("recording: "), "{lines:?}");
    let clip = room.first_in("3_feature768");
    assert_eq!(explain(&clip)[0].state, "hit");
    flip(&clip, 200);
    let lines = explain(&clip);
    assert!(lines[0].state == "damaged" && lines[0].why.contains("when it was written"), "{lines:?}");
}
