//! Trainings that start from pretrained networks.

use super::room::{Room, config, warnings, watched};
use rvc_run::config::Config;
use rvc_run::models::{Discriminator, Synthesizer, SynthesizerConfig};
use rvc_run::nn::Params;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use rvc_run::train::{Trainer, checkpoint};
use rvc_run::{Error, Kind};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Tiny networks of another seed than any training here.
fn networks(config: &Config) -> (Synthesizer, Discriminator) {
    let sizes = SynthesizerConfig::from_config(config);
    let (device, seed) = (tch::Device::Cpu, 99);
    (Synthesizer::new(&sizes, device, seed).unwrap(), Discriminator::new(&sizes, device, seed).unwrap())
}

/// A file as RVC's bases are: half precision under "model", nothing else.
fn write_base(path: &Path, params: &Params) {
    let half = params.iter().map(|(key, t)| (key, Value::Tensor(t.detach().to_kind(tch::Kind::Half))));
    torchfile::write(path, &Value::dict([("model", Value::ordered(half))])).unwrap();
}

/// A room with bases beside its logs, and the settings that name them.
fn room_with_bases() -> (Room, Config, PathBuf, PathBuf) {
    let room = Room::new();
    let (g, d) = networks(&config(json!({})));
    let paths = ["G.pth", "D.pth"].map(|name| room.root().join(name));
    write_base(&paths[0], g.params());
    write_base(&paths[1], d.params());
    let [g, d] = paths;
    (room, config(json!({ "pretrained_g": "./G.pth", "pretrained_d": "./D.pth" })), g, d)
}

#[test]
fn a_base_that_is_named_for_a_training_that_has_begun_is_reported_and_not_recorded() {
    let (room, settings, ..) = room_with_bases();
    room.open(&Task::silent(), &settings, false).unwrap();
    let other = Config { pretrained_g: "none".into(), pretrained_d: "no/such/file.pth".into(), ..settings.clone() };
    let (task, lines) = watched();
    let trainer = room.open(&task, &other, false).unwrap();
    let warned = warnings(&lines);
    let expected = "warning: pretrained_d no/such/file.pth has no effect: the voice continues a training that started from ./D.pth";
    assert!(warned.len() == 1 && warned[0].starts_with(expected), "{warned:?}");
    let kept = trainer.config();
    assert_eq!((&kept.pretrained_g, &kept.pretrained_d), (&settings.pretrained_g, &settings.pretrained_d));
}

fn refused(room: &Room, settings: &Config) -> Error {
    let checked = Trainer::check(&Task::silent(), settings, &room.logs(), &room.store(), false, || Ok("mel-1".into()))
        .unwrap_err();
    let opened = room.open(&Task::silent(), settings, false).err().unwrap();
    assert_eq!((checked.kind(), checked.message()), (opened.kind(), opened.message()), "reported before any work");
    opened
}

#[test]
fn training_starts_from_the_widened_weights_of_both_bases() {
    let (room, settings, ..) = room_with_bases();
    let (task, lines) = watched();
    let trainer = room.open(&task, &settings, false).unwrap();
    let (g, d) = networks(&settings);
    let pairs =
        [(trainer.engine().generator.params(), g.params()), (trainer.engine().discriminator.params(), d.params())];
    for (params, base) in pairs {
        for (key, tensor) in params.iter() {
            let expected = base.get(key).unwrap().to_kind(tch::Kind::Half).to_kind(tch::Kind::Float);
            assert!(tensor.equal(&expected), "{key}");
        }
    }
    assert!(lines.lock().unwrap().iter().any(|line| line.starts_with("starting from ") && line.ends_with("G.pth")));
    let manifest = checkpoint::verify(&room.logs(), 0).unwrap();
    let base = manifest.base.g.unwrap();
    assert_eq!((base.name.as_str(), base.sha256.len()), ("G.pth", 64));
    let log = std::fs::read_to_string(room.path("train.log")).unwrap();
    assert!(log.contains("loaded pretrained ") && log.contains("<All keys matched successfully>"), "{log}");
}

#[test]
fn a_base_is_needed_only_for_the_first_epoch_and_stays_on_record() {
    let (room, settings, g, d) = room_with_bases();
    room.train(&settings, 1);
    std::fs::remove_file(g).unwrap();
    std::fs::remove_file(d).unwrap();
    Trainer::check(&Task::silent(), &settings, &room.logs(), &room.store(), false, || Ok("mel-1".into())).unwrap();
    room.train(&settings, 2);
    assert!(checkpoint::verify(&room.logs(), 2).unwrap().base.d.is_some());
    assert_eq!(refused(&Room::new(), &settings).kind(), Kind::NotFound, "a new training needs it");
}

#[test]
fn a_missing_default_base_names_the_command_that_gets_it_and_the_way_without() {
    let settings =
        json!({ "preset": "full", "pretrained_g": "default", "pretrained_d": "default", "segment_size": 12800 });
    let error = refused(&Room::new(), &config(settings));
    assert_eq!(error.kind(), Kind::AssetMissing);
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("rvc-run assets fetch pretrained_v2/f0G40k.pth"), "{hint}");
    assert!(hint.contains("--pretrained-g none"), "{hint}");
}

#[test]
fn the_tiny_preset_has_no_base_and_reports_it() {
    let (task, lines) = watched();
    Room::new().open(&task, &config(json!({ "pretrained_g": "default", "pretrained_d": "default" })), false).unwrap();
    assert!(lines.lock().unwrap().iter().any(|line| line.contains("tiny preset has no pretrained base")));
}

#[test]
fn a_wrong_or_damaged_base_is_named_before_any_work() {
    let (room, settings, g, d) = room_with_bases();
    let swapped = Config { pretrained_g: "./D.pth".into(), pretrained_d: "none".into(), ..settings.clone() };
    let error = refused(&room, &swapped);
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("D.pth is a D_ checkpoint"), "{error}");

    let other = Config { pretrained_g: "none".into(), ..settings.clone() };
    let bytes = std::fs::read(&d).unwrap();
    std::fs::write(&d, &bytes[..bytes.len() / 2]).unwrap();
    let error = refused(&room, &other);
    assert_eq!(error.kind(), Kind::CheckpointDamaged);
    assert!(error.message().contains("D.pth"), "{error}");

    // One flipped byte in the weights: the headers are fine.
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 0x10;
    std::fs::write(&d, flipped).unwrap();
    assert_eq!(refused(&room, &other).kind(), Kind::CheckpointDamaged);

    // An exported voice lacks the posterior encoder.
    let (generator, _) = networks(&settings);
    let weights = generator.params().iter().filter(|(key, _)| !key.contains("enc_q"));
    let voice = Value::dict(weights.map(|(key, t)| (key, Value::Tensor(t.detach()))));
    torchfile::write(&g, &Value::dict([("weight", voice)])).unwrap();
    let error = refused(&room, &Config { pretrained_d: "none".into(), ..settings });
    assert!(error.message().contains("missing (enc_q"), "{error}");
    assert!(error.hint_text().unwrap().contains("exported voice"), "{error}");
}
