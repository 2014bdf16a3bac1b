//! Which results are computed and which are reused after which change.

use super::room::{Room, clean_rebuild, clip, config, five, listening, room, rows};
use crate::support::recordings::{RATE, copy_tree, record, snapshot};
use rvc_run::audio::io;
use rvc_run::config::Config;
use rvc_run::config::choices::{F0Method, F0Unvoiced, Precision, Preset};
use rvc_run::files::{self, Workspace};
use rvc_run::prepare::Counts;
use std::collections::BTreeSet;
use std::path::Path;

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
fn a_number_format_without_effect_is_a_warning_and_reruns_nothing() {
    let room = five();
    room.run();
    let ran = room.try_run(&Config { feature_precision: Precision::Bf16, ..config() }).unwrap();
    assert_eq!(ran.done(), (0, 0, 0));
    let warnings = room.warnings();
    assert!(warnings.len() == 1 && warnings[0].starts_with("feature_precision bf16 has no effect"), "{warnings:?}");
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
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
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
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
}

#[test]
fn adding_a_file_that_sorts_first_computes_only_that_one() {
    let room = five();
    room.run();
    record(&room.data().join("a.wav"), 9, 2.0);
    assert_eq!(room.run().done(), (1, 1, 1));
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
}

#[test]
fn deleting_a_file_makes_nothing_and_its_clip_is_gone() {
    let room = five();
    room.run();
    std::fs::remove_file(room.data().join("c.wav")).unwrap();
    let ran = room.run();
    assert_eq!((ran.done(), ran.list.count), ((0, 0, 0), 4));
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_copy_of_a_recording_makes_nothing() {
    let room = five();
    room.run();
    std::fs::copy(room.data().join("c.wav"), room.data().join("copy.wav")).unwrap();
    let ran = room.run();
    assert_eq!((ran.done(), ran.list.count), ((0, 0, 0), 6));
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
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
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
}

#[test]
fn another_f0_method_tracks_again_and_the_old_results_stay_cached() {
    let room = five();
    room.run();
    let other = Config { f0_method: F0Method::Pm, ..config() };
    assert_eq!(room.try_run(&other).unwrap().done(), (0, 5, 0));
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
}

/// White noise, in which `pm` finds no period.
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
fn interpolated_f0_is_voiced_throughout_and_an_unvoiced_clip_is_skipped() {
    let room = room(&[("b.wav", 1)]);
    record_noise(&room.data().join("noise.wav"), 2.0);
    let zero = Config { f0_method: F0Method::Pm, ..config() };
    let interpolate = Config { f0_unvoiced: F0Unvoiced::Interpolate, ..zero.clone() };
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
    // Silence stays silent: it has no pitch to interpolate.
    let mute = room.logs().join("mute/2b-f0nsf/mute.wav.npy");
    assert_eq!(rvc_run::npy::read_f64(&mute).unwrap(), vec![0.0; 301]);

    assert_eq!(room.try_run(&zero).unwrap().f0.done, 0, "the old result is still cached");
}

#[test]
fn training_settings_recompute_nothing() {
    let room = five();
    room.run();
    let before = files::read(&room.logs().join("cache_metadata.json")).unwrap();
    let other = Config { epochs: 7, gpu: true, batch_size: 9, learning_rate: 0.5, preset: Preset::Tiny, ..config() };
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
    let long = snapshot(&room.logs());
    let other = Config { slice_seconds: 1.5, ..config() };
    assert!(room.try_run(&other).unwrap().list.count > 4);
    room.run();
    assert_eq!(snapshot(&room.logs()), long);
}

#[test]
fn deleting_results_from_the_voices_folder_makes_nothing() {
    let room = five();
    room.run();
    let before = snapshot(&room.logs());
    std::fs::remove_file(room.logs().join(format!("2a_f0/{}.wav.npy", clip(&room, "c.wav")))).unwrap();
    std::fs::remove_dir_all(room.logs().join("3_feature768")).unwrap();
    std::fs::remove_file(room.logs().join("filelist.txt")).unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room.logs()), before);
}

#[test]
fn one_truncated_feature_makes_one_feature() {
    let room = five();
    room.run();
    let before = snapshot(&room.logs());
    let path = room.logs().join(format!("3_feature768/{}.npy", clip(&room, "d.wav")));
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert_eq!(room.run().done(), (0, 0, 1));
    assert_eq!(snapshot(&room.logs()), before);
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
        // A separate room for each: after a repair the sister files are equal copies, no longer links.
        let room = room(&[("a.wav", 1), ("b.wav", 2), ("c.wav", 3), ("d.wav", 4)]);
        room.run();
        let before = snapshot(&room.logs());
        let path = room.logs().join(name.replace("CLIP", &clip(&room, "d.wav")));
        let mut bytes = files::read(&path).unwrap();
        bytes[333] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(room.run().done(), done, "{name}");
        assert_eq!(snapshot(&room.logs()), before, "{name}");
        let warnings = room.warnings();
        assert!(warnings[0].contains("damaged") && warnings[1].contains("restored"), "{warnings:?}");
        assert_eq!(room.run().done(), (0, 0, 0), "{name}");
        assert_eq!(room.warnings(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_file_replaced_by_another_tool_is_restored() {
    let room = five();
    room.run();
    let before = snapshot(&room.logs());
    let name = clip(&room, "b.wav");
    let path = room.logs().join(format!("0_gt_wavs/{name}.wav"));
    // A new file with this name: the cache does not share it.
    files::write(&path, "something else").unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room.logs()), before);
    let warnings = room.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(&name), "{warnings:?}");
}

#[test]
fn losing_or_damaging_the_metadata_makes_nothing() {
    let room = five();
    room.run();
    let before = snapshot(&room.logs());
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
    assert_eq!(snapshot(&room.logs()), before);
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
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
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
    let before = snapshot(&room.logs());
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("moved"));
    copy_tree(room.workspace.root(), workspace.root());
    let (task, warnings) = listening();
    let moved = Room { keep_folder: folder, workspace, warnings, task };
    assert_eq!(moved.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&moved.logs()), before);
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
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
    assert_eq!(room.run().done(), (0, 0, 0));
}
