//! Stopping and resuming: the same numbers and the same files as without a stop, and no silent restart.

use super::room::{Room, config, exact, warnings, watched};
use rvc_run::task::Task;
use rvc_run::train::{Metrics, Trainer};
use rvc_run::{Error, Kind, npy};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;

/// What happens to a folder.
type Harm = fn(&Room);

const EPOCHS: i64 = 2;
const FILES: [&str; 2] = ["G_2.pth", "D_2.pth"];

/// An uninterrupted training: its files after each epoch, epoch means and step numbers.
struct Whole {
    after: Vec<Vec<(String, Vec<u8>)>>,
    means: Vec<Metrics>,
    steps: Vec<Metrics>,
}

/// Trained once for all tests of this file.
fn reference() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let room = Room::new();
        let mut whole = Whole { after: Vec::new(), means: Vec::new(), steps: Vec::new() };
        for epoch in 1..=EPOCHS {
            let (means, steps) = room.train(&config(json!({})), epoch);
            whole.means.extend(means);
            whole.steps.extend(steps);
            whole.after.push(room.trained_files());
        }
        whole
    })
}

/// A room as the reference's was after its first epoch.
fn after_one_epoch() -> Room {
    let room = Room::new();
    for (name, bytes) in &reference().after[0] {
        std::fs::write(room.path(name), bytes).unwrap();
    }
    room
}

#[track_caller]
fn assert_same_files(room: &Room) {
    for name in FILES {
        let (_, expected) = reference().after[1].iter().find(|(n, _)| n == name).unwrap();
        assert!(room.bytes(name) == *expected, "{name} differs");
    }
}

#[test]
fn a_training_stopped_at_every_step_gives_the_same_numbers_and_files() {
    let whole = reference();
    let room = Room::new();
    let settings = config(json!({}));
    let (mut done, mut epochs) = (Vec::new(), Vec::new());
    loop {
        // Every opening makes one step; the stop is asked for while it runs.
        let task = Task::silent();
        let flag = task.cancel_flag();
        let mut trainer = room.open(&task, &settings, false).unwrap();
        if trainer.next_epoch() > EPOCHS {
            break;
        }
        assert_eq!(trainer.step(), done.len() as i64);
        let result = trainer.run_epoch(&task, &mut |step| {
            flag.store(true, std::sync::atomic::Ordering::Relaxed);
            done.push(step.metrics.clone());
            Ok(())
        });
        match result {
            // The flag was raised in the epoch's last step, so the epoch is whole.
            Ok(mean) => {
                epochs.push(mean);
                trainer.save().unwrap();
            }
            Err(error) => assert_eq!(error.kind(), Kind::Cancelled),
        }
    }
    assert_eq!(done.iter().map(exact).collect::<Vec<_>>(), whole.steps.iter().map(exact).collect::<Vec<_>>());
    assert_eq!(epochs.iter().map(exact).collect::<Vec<_>>(), whole.means.iter().map(exact).collect::<Vec<_>>());
    assert_same_files(&room);
}

#[test]
#[ignore = "slow: four trainings"]
fn every_variant_resumes_to_the_same_numbers_and_files() {
    for variant in [
        json!({ "version": "v1", "if_f0": false, "checkpoint_order": "applio" }),
        json!({ "version": "v1" }),
        json!({ "sine_generator": "2026" }),
    ] {
        let settings = config(variant.clone());
        let [whole, stopped] = [(); 2].map(|()| Room::new().for_variant(&settings));
        let (_, expected) = whole.train(&settings, EPOCHS);
        let steps: Vec<Metrics> = (1..=EPOCHS).flat_map(|epoch| stopped.train(&settings, epoch).1).collect();
        assert_eq!(
            steps.iter().map(exact).collect::<Vec<_>>(),
            expected.iter().map(exact).collect::<Vec<_>>(),
            "{variant}"
        );
        for name in FILES {
            assert!(whole.bytes(name) == stopped.bytes(name), "{name} differs: {variant}");
        }
    }
}

#[test]
fn a_killed_training_resumes_from_its_last_checkpoint_with_the_same_numbers() {
    let steps = &reference().steps;
    let room = Room::new();
    let settings = config(json!({}));
    for dies_at in [1, 6] {
        let task = Task::silent();
        let mut trainer = room.open(&task, &settings, false).unwrap();
        let mut run = || -> rvc_run::Result<()> {
            while trainer.next_epoch() <= EPOCHS {
                trainer.run_epoch(&task, &mut |step| {
                    assert_eq!(exact(&step.metrics), exact(&steps[step.step as usize]), "step {}", step.step);
                    if step.step == dies_at { Err(Error::cancelled()) } else { Ok(()) }
                })?;
                trainer.save()?;
            }
            Ok(())
        };
        assert!(run().is_err());
    }
    room.train(&settings, EPOCHS);
    assert_same_files(&room);
}

#[test]
fn a_damaged_newest_checkpoint_is_skipped_with_a_warning_and_the_result_is_the_same() {
    let settings = config(json!({}));
    let harms: [(&str, Harm); 5] = [
        ("G_1.pth has", |room| {
            let bytes = room.bytes("G_1.pth");
            std::fs::write(room.path("G_1.pth"), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("D_1.pth was changed", |room| {
            let mut bytes = room.bytes("D_1.pth");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(room.path("D_1.pth"), bytes).unwrap();
        }),
        ("D_1.pth is missing", |room| std::fs::remove_file(room.path("D_1.pth")).unwrap()),
        ("checkpoint_1.json is missing", |room| std::fs::remove_file(room.path("checkpoint_1.json")).unwrap()),
        ("checkpoint_1.json cannot be read", |room| std::fs::write(room.path("checkpoint_1.json"), b"{").unwrap()),
    ];
    for (i, (what, harm)) in harms.into_iter().enumerate() {
        let room = after_one_epoch();
        harm(&room);
        let (task, lines) = watched();
        let trainer = room.open(&task, &settings, false).unwrap();
        assert_eq!(trainer.next_epoch(), 1, "{what}");
        let warnings = warnings(&lines);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains(what), "{what}: {warnings:?}");
        assert!(warnings[1].contains("going back to the checkpoint of epoch 0"), "{warnings:?}");
        drop(trainer);
        if i == 0 {
            room.train(&settings, EPOCHS);
            assert_same_files(&room);
        }
    }
}

#[test]
fn nothing_restarts_automatically_when_no_checkpoint_is_whole() {
    let room = after_one_epoch();
    let settings = config(json!({}));
    for name in ["G_0.pth", "G_1.pth"] {
        std::fs::write(room.path(name), b"gone").unwrap();
    }
    let error = room.open(&Task::silent(), &settings, false).err().unwrap();
    assert_eq!(error.kind(), Kind::CheckpointDamaged);
    assert!(error.hint_text().unwrap().contains("--fresh"), "{error:?}");
    assert_eq!(room.bytes("G_1.pth"), b"gone");
}

#[test]
fn fresh_restarts_and_keeps_the_old_training_aside() {
    let room = after_one_epoch();
    let settings = config(json!({}));
    let (task, lines) = watched();
    let trainer = room.open(&task, &settings, true).unwrap();
    assert_eq!((trainer.next_epoch(), trainer.step()), (1, 0));
    assert!(lines.lock().unwrap()[0].contains("replaced_1"), "{lines:?}");
    assert!(room.path("replaced_1/G_1.pth").exists() && room.path("replaced_1/checkpoint_1.json").exists());
    assert!(room.path("G_0.pth").exists() && !room.path("G_1.pth").exists());
}

#[test]
fn another_rate_or_preset_in_the_same_folder_is_refused_with_both_values() {
    let room = after_one_epoch();
    let refused = |settings: Value| {
        // The clips are still of 40 kHz: the folder must refuse.
        let data = room.data(&config(json!({})));
        let settings = config(settings);
        let opened =
            rvc_run::train::Trainer::open(&Task::silent(), &settings, data, &room.logs(), &room.store(), false);
        opened.err().unwrap()
    };
    let error = refused(json!({ "sample_rate": 48000, "segment_size": 0 }));
    assert_eq!(error.kind(), Kind::ConfigMismatch);
    assert!(error.message().contains("40000") && error.message().contains("48000"), "{error}");
    let error = refused(json!({ "preset": "full" }));
    assert_eq!(error.kind(), Kind::ConfigMismatch);
    assert!(error.message().contains("tiny") && error.message().contains("full"), "{error}");
    // Without config.json the checkpoint itself refuses.
    std::fs::remove_file(room.path("config.json")).unwrap();
    let error = refused(json!({ "preset": "full" }));
    assert_eq!(error.kind(), Kind::ConfigMismatch);
    assert!(error.message().contains("tiny") && error.message().contains("full"), "{error}");
}

#[test]
fn weights_of_other_shapes_are_refused_by_name() {
    let room = after_one_epoch();
    let settings = config(json!({}));
    // A D under G's name, vouched for by a manifest that was edited to fit.
    std::fs::copy(room.path("D_1.pth"), room.path("G_1.pth")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&room.bytes("checkpoint_1.json")).unwrap();
    manifest["files"]["G_1.pth"] = manifest["files"]["D_1.pth"].clone();
    std::fs::write(room.path("checkpoint_1.json"), manifest.to_string()).unwrap();
    let error = room.open(&Task::silent(), &settings, false).err().unwrap();
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("G_1.pth") && error.message().contains("discriminators"), "{error}");
}

#[test]
fn changed_settings_and_clips_are_reported_on_resume() {
    let room = after_one_epoch();
    let text = std::fs::read_to_string(room.list()).unwrap();
    std::fs::write(room.list(), text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    let (task, lines) = watched();
    let trainer = room.open(&task, &config(json!({ "learning_rate": 5e-5, "epochs": 9 })), false).unwrap();
    assert_eq!(trainer.next_epoch(), 2);
    let lines = lines.lock().unwrap();
    assert!(lines.iter().any(|l| l.contains("learning_rate 0.00005 instead of 0.0001")), "{lines:?}");
    assert!(lines.iter().any(|l| l.contains("clips have changed")), "{lines:?}");
    assert!(!lines.iter().any(|l| l.contains("epochs 9")), "{lines:?}");
}

#[test]
fn a_resumed_training_reports_what_changed_and_nothing_else() {
    let first_of = |folder: &str, room: &Room| {
        let mut paths = rvc_run::files::list(&room.path(folder)).unwrap();
        paths.sort();
        paths.swap_remove(0)
    };
    let after = |change: &dyn Fn(&Room)| {
        let room = after_one_epoch();
        change(&room);
        let (task, lines) = watched();
        let trainer = room.open(&task, &config(json!({ "epochs": 2 })), false).unwrap();
        let changed = trainer.lineage().last().unwrap().changed.clone();
        let lines = lines.lock().unwrap().clone();
        let said = lines.into_iter().find(|line| line.contains(" changed since the checkpoint"));
        (changed, said.unwrap_or_default())
    };
    let (changed, said) = after(&|room| {
        let path = first_of("2b-f0nsf", room);
        let f0: Vec<f64> = npy::read_f64(&path).unwrap().iter().map(|hz| hz * 1.5).collect();
        npy::write_f64(&path, &f0).unwrap();
    });
    assert_eq!(changed, "f0");
    assert!(said.contains("the f0 has changed since the checkpoint"), "{said}");
    let (changed, said) = after(&|room| {
        let path = first_of("3_feature768", room);
        let (content, _, columns) = npy::read_f32_2d(&path).unwrap();
        let content: Vec<f32> = content.iter().map(|x| x * 1.5).collect();
        npy::write_f32_2d(&path, &content, columns).unwrap();
    });
    assert_eq!(changed, "content features");
    assert!(said.contains("the content features have changed since"), "{said}");
    let (changed, said) = after(&|room| {
        let text = std::fs::read_to_string(room.list()).unwrap();
        std::fs::write(room.list(), text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    });
    assert_eq!(changed, "clips");
    assert!(said.contains("the clips have changed since"), "{said}");
    assert_eq!(after(&|_| ()), (String::new(), String::new()));
}

#[test]
fn a_checkpoint_records_which_epochs_used_which_clips() {
    let room = after_one_epoch();
    let lineage = |epoch: i64| {
        let text = std::fs::read_to_string(room.path(&format!("checkpoint_{epoch}.json"))).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        let spans = manifest["lineage"].as_array().unwrap().clone();
        spans.iter().map(|s| (s["from_epoch"].as_i64().unwrap(), s["data_digest"].clone())).collect::<Vec<_>>()
    };
    let first = lineage(1);
    assert_eq!(first.len(), 1);
    let text = std::fs::read_to_string(room.list()).unwrap();
    std::fs::write(room.list(), text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    let task = Task::silent();
    let mut trainer = room.open(&task, &config(json!({ "epochs": 3 })), false).unwrap();
    trainer.run_epoch(&task, &mut |_| Ok(())).unwrap();
    trainer.save().unwrap();
    let second = lineage(2);
    assert_eq!(second[..1], first);
    assert!(second.len() == 2 && second[1].0 == 2 && second[1].1 != first[0].1, "{second:?}");
}

#[test]
fn an_epoch_run_step_by_step_within_a_limit_is_the_same_epoch() {
    let settings = config(json!({ "batch_size": 1 }));
    let (whole, _) = Room::new().train(&settings, 1);
    let (room, task) = (Room::new(), Task::silent());
    let mut trainer = room.open(&task, &settings, false).unwrap();
    let step = |trainer: &mut Trainer| trainer.run_epoch_within(&task, &mut |_| Ok(()), Some(Duration::ZERO)).unwrap();
    let first = step(&mut trainer);
    assert_eq!((trainer.next_epoch(), trainer.epoch(), trainer.step()), (1, 1, 1));
    assert!(trainer.losses().is_none(), "an epoch has not ended");
    // A checkpoint saved in the middle resumes there.
    trainer.save().unwrap();
    drop(trainer);
    let mut trainer = room.open(&task, &settings, false).unwrap();
    let mut means = first.clone();
    while trainer.next_epoch() == 1 {
        means = step(&mut trainer);
    }
    assert!(trainer.step() > 2);
    for name in ["loss_disc", "loss_gen", "loss_fm", "loss_mel", "loss_kl", "grad_norm_g", "learning_rate"] {
        assert_eq!(means.get(name), whole[0].get(name), "{name}");
    }
    assert_ne!(means.get("loss_mel"), first.get("loss_mel"));
}

#[test]
fn an_unfinished_epoch_restarts_when_its_batches_would_change() {
    let room = Room::new();
    let task = Task::silent();
    let flag = task.cancel_flag();
    let mut trainer = room.open(&task, &config(json!({})), false).unwrap();
    let result = trainer.run_epoch(&task, &mut |_| {
        flag.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(result.err().unwrap().kind(), Kind::Cancelled);
    drop(trainer);
    let (task, lines) = watched();
    let mut trainer = room.open(&task, &config(json!({ "batch_size": 3 })), false).unwrap();
    assert_eq!((trainer.next_epoch(), trainer.step()), (1, 1));
    assert!(warnings(&lines)[0].contains("starts again"), "{lines:?}");
    let before = room.bytes("G_0.pth");
    trainer.save().unwrap();
    assert!(room.bytes("G_0.pth") == before, "the whole epoch's file was replaced by one under way");
    let mut first = None;
    trainer
        .run_epoch(&task, &mut |step| {
            first.get_or_insert(step.step_in_epoch);
            Ok(())
        })
        .unwrap();
    assert_eq!(first, Some(0));
}

#[test]
fn two_trainings_of_one_folder_are_refused() {
    let room = Room::new();
    let settings = config(json!({}));
    let _first = room.open(&Task::silent(), &settings, false).unwrap();
    assert_eq!(room.open(&Task::silent(), &settings, false).err().unwrap().kind(), Kind::Locked);
}

#[test]
fn halves_of_files_that_a_kill_left_are_removed() {
    let room = Room::new();
    std::fs::write(room.path(".tmp-Xy12"), b"half a checkpoint").unwrap();
    std::fs::write(room.path("G_0.pth"), b"saved without its manifest").unwrap();
    let (task, lines) = watched();
    let trainer = room.open(&task, &config(json!({})), false).unwrap();
    assert_eq!(trainer.next_epoch(), 1);
    assert!(!room.path(".tmp-Xy12").exists() && room.path("checkpoint_0.json").exists());
    assert_eq!(warnings(&lines).len(), 1, "{lines:?}");
}

#[test]
fn numbers_that_are_not_finite_stop_the_training_and_keep_the_checkpoint() {
    let room = Room::new();
    let settings = config(json!({}));
    let task = Task::silent();
    let mut trainer = room.open(&task, &settings, false).unwrap();
    let mut weight = trainer.engine().generator.params().get("dec.conv_post.weight").unwrap().detach();
    let _ = weight.fill_(f64::NAN);
    let error = trainer.run_epoch(&task, &mut |_| Ok(())).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFinite);
    assert!(error.message().contains("epoch 1, step 0"), "{error}");
    assert!(error.hint_text().unwrap().contains("checkpoint of epoch 0 is kept"), "{error:?}");
    assert_eq!(trainer.save().err().unwrap().kind(), Kind::NotFinite);
    assert_eq!(trainer.save_voice(&room.path("voice.pth")).err().unwrap().kind(), Kind::NotFinite);
    drop(trainer);
    assert_eq!(room.open(&task, &settings, false).unwrap().next_epoch(), 1);
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_no_half_and_the_older_one() {
    let room = Room::new();
    let settings = config(json!({}));
    let task = Task::silent();
    let mut trainer = room.open(&task, &settings, false).unwrap();
    trainer.run_epoch(&task, &mut |_| Ok(())).unwrap();
    // A folder where D should go: G is written, then D fails.
    std::fs::create_dir(room.path("D_1.pth")).unwrap();
    let error = trainer.save().err().unwrap();
    assert_eq!(error.kind(), Kind::Write);
    assert!(error.message().starts_with("checkpoint of epoch 1 not saved"), "{error}");
    assert!(!room.path("G_1.pth").exists());
    std::fs::remove_dir(room.path("D_1.pth")).unwrap();
    // The training itself is unharmed and can save again.
    trainer.save().unwrap();
    drop(trainer);
    assert_eq!(room.open(&task, &settings, false).unwrap().next_epoch(), 2);
}
