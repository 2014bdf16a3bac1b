//! The data set: which clips are used, which are left out, and that memory does not change the batches.

use super::room::{Room, config, warnings, watched};
use crate::support::assert_close;
use rvc_run::task::Task;
use rvc_run::train::data::dataset_within;
use rvc_run::train::dataset;
use rvc_run::{Kind, audio, npy};
use serde_json::json;
use tch::Device;

#[test]
fn clips_that_rvc_drops_by_length_are_used() {
    let room = Room::with(&[16000, 60000, 400_000]);
    let data = room.data(&config(json!({})));
    assert_eq!((data.len(), data.dropped().len()), (3, 0));
    let mut used = data.batches(1).concat();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, [0, 1, 2]);
    // The longest is cut to RVC's 9 s.
    assert!((data.seconds() - (0.4 + 1.5 + 9.0)).abs() < 0.05, "{}", data.seconds());
}

#[test]
fn unusable_clips_are_left_out_with_a_warning_that_names_them_and_why() {
    let room = Room::with(&[20000; 8]);
    let logs = room.logs();
    audio::io::write_wav(&logs.join("0_gt_wavs/1_0.wav"), &vec![0.1; 20000], 48000).unwrap();
    std::fs::remove_file(logs.join("3_feature768/2_0.npy")).unwrap();
    audio::io::write_wav(&logs.join("0_gt_wavs/3_0.wav"), &[0.1; 1200], 40000).unwrap();
    npy::write_f32_2d(&logs.join("3_feature768/4_0.npy"), &vec![f32::NAN; 25 * 768], 768).unwrap();
    npy::write_i64(&logs.join("2a_f0/5_0.wav.npy"), &[256; 51]).unwrap();
    npy::write_f32_2d(&logs.join("3_feature768/6_0.npy"), &vec![0.0; 25 * 256], 256).unwrap();
    std::fs::write(logs.join("0_gt_wavs/7_0.wav"), b"RIFF").unwrap();
    let (task, lines) = watched();
    let data = dataset(&task, room.root(), room.list(), &config(json!({}))).unwrap();
    assert_eq!(data.len(), 1);
    let expected = ["48000 Hz", "2_0.npy", "too short", "not finite", "256", "256 values", "7_0.wav"];
    for ((i, dropped), reason) in data.dropped().iter().enumerate().zip(expected) {
        assert!(dropped.name.ends_with(&format!("{}_0.wav", i + 1)), "{dropped:?}");
        assert!(dropped.reason.contains(reason), "{dropped:?}");
    }
    let warnings = warnings(&lines);
    assert_eq!(warnings.len(), 7, "{warnings:?}");
    assert!(warnings[0].contains("1_0.wav") && warnings[0].contains("48000"), "{warnings:?}");
}

#[test]
fn a_list_without_usable_clips_and_a_broken_list_are_errors() {
    let room = Room::with(&[1000]);
    let error = dataset(&Task::silent(), room.root(), room.list(), &config(json!({}))).err().unwrap();
    assert_eq!(error.kind(), Kind::DataEmpty);
    let lists = [
        ("a.wav|b.npy\n", true, "line 1: it has 2 fields"),
        ("a.wav|b.npy|3\n", true, "line 1: it has no pitch"),
        ("a.wav|b.npy|c.npy|d.npy|3\n", false, "line 1: it has pitch"),
    ];
    for (list, if_f0, expected) in lists {
        std::fs::write(room.list(), list).unwrap();
        let settings = config(json!({ "if_f0": if_f0 }));
        let error = dataset(&Task::silent(), room.root(), room.list(), &settings).err().unwrap();
        assert_eq!(error.kind(), Kind::DataDamaged);
        assert!(error.message().contains(expected), "{error}");
    }
    let error = dataset(&Task::silent(), room.root(), &room.path("none.txt"), &config(json!({}))).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn clips_outside_of_memory_give_the_same_batches() {
    let room = Room::new();
    let settings = config(json!({ "batch_size": 4 }));
    let (task, lines) = watched();
    let mut inside = room.data(&settings);
    let mut outside = dataset_within(&task, room.root(), room.list(), &settings, 1 << 20).unwrap();
    assert!(lines.lock().unwrap()[0].contains("clips do not fit"), "{lines:?}");
    assert_eq!(inside.digest(), outside.digest());
    for ids in inside.batches(3) {
        let [a, b] = [&mut inside, &mut outside].map(|data| data.collate(&ids, Device::Cpu).unwrap());
        assert_close("spec", &b.input.spec, &a.input.spec, 0.0);
        assert_close("phone", &b.input.phone, &a.input.phone, 0.0);
        assert_close("wave", &b.wave, &a.wave, 0.0);
    }
}

#[test]
fn a_clip_that_is_damaged_while_training_is_an_error_that_names_it() {
    let room = Room::new();
    let mut data = dataset_within(&Task::silent(), room.root(), room.list(), &config(json!({})), 0).unwrap();
    std::fs::write(room.path("2a_f0/3_0.wav.npy"), b"nonsense").unwrap();
    let error = data.collate(&[0, 3], Device::Cpu).err().unwrap();
    assert_eq!(error.kind(), Kind::DataDamaged);
    assert!(error.message().contains("3_0.wav"), "{error}");
}

/// Makes clips of a room silent, each by `sample`.
fn silence(room: &Room, clips: impl IntoIterator<Item = usize>, sample: f32) {
    for i in clips {
        audio::io::write_wav(&room.logs().join(format!("0_gt_wavs/{i}_0.wav")), &vec![sample; 20000], 40000).unwrap();
    }
}

#[test]
fn only_silent_clips_are_nothing_to_train_on() {
    // Digital silence, and the lowest step of 16 bits.
    for sample in [0.0, 1.0 / 32768.0, -1.0 / 32768.0] {
        let room = Room::with(&[20000; 3]);
        silence(&room, 0..3, sample);
        let error = dataset(&Task::silent(), room.root(), room.list(), &config(json!({}))).err().unwrap();
        assert_eq!(error.kind(), Kind::DataEmpty);
        assert!(error.message().contains("3 silent ones"), "{error}");
    }
    let room = Room::with(&[20000; 3]);
    silence(&room, 0..2, 0.0);
    assert_eq!(
        room.data(&config(json!({}))).len(),
        3,
        "one clip with sound is enough, and silent ones are kept with it"
    );
}

#[test]
fn short_clips_are_named_with_their_length_and_the_window() {
    let room = Room::with(&[20000, 4800, 6000, 20000]);
    let (task, lines) = watched();
    let settings = config(json!({ "segment_size": 12800 }));
    let data = dataset(&task, room.root(), room.list(), &settings).unwrap();
    assert_eq!((data.len(), data.dropped().len()), (2, 2));
    let warnings = warnings(&lines);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in ["2 clips of 0.1", "shorter than the training's window of 0.32 s", "1_0.wav, 2_0.wav"] {
        assert!(warnings[0].contains(part), "{warnings:?}");
    }
    // Beside silence they are nothing.
    silence(&room, [0, 3], 0.0);
    let error = dataset(&task, room.root(), room.list(), &settings).err().unwrap();
    assert_eq!(error.kind(), Kind::DataEmpty);
    for part in ["nothing to train on", "2 clips of 0.1", "window of 0.32 s", "2 other clips are silence"] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn silent_clips_do_not_count_in_what_is_held_out() {
    let room = Room::with(&[20000; 7]);
    silence(&room, 1..7, 0.0);
    let error = room.data(&config(json!({}))).hold_out(0.3, 7).err().unwrap();
    assert_eq!(error.kind(), Kind::DataEmpty);
    assert!(error.message().starts_with("1 clip with sound, of 1 recording,"), "{error}");
    let room = Room::with(&[20000; 7]);
    silence(&room, 2..7, 0.0);
    let mut data = room.data(&config(json!({})));
    let held = data.hold_out(0.3, 7).unwrap();
    assert_eq!((held.len(), data.len()), (1, 6), "each set has one of the two clips with sound");
}
