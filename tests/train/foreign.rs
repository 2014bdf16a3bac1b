//! Going on with what other programs trained: their checkpoints, config.json, file lists and silence.

use crate::room::{Room, alone, config, exact, warnings, watched};
use rvc_run::audio::io;
use rvc_run::config::Config;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, TorchFile, Value};
use rvc_run::train::{checkpoint, config_json};
use serde_json::{Value as Json, json};
use std::path::Path;

/// Applio's parameters of a generator, in its order: printed by its own Synthesizer (commit b9c0ccb).
const APPLIO: &str = include_str!("../golden/keys/applio_G_v2_f0_40k.txt");

/// The keys of "model" in the order of the file.
fn keys(file: &TorchFile) -> Vec<String> {
    file.keys("model").into_iter().map(|(key, _)| key).collect()
}

/// Writes `from` again as another program would have: without our mark, parameters and their states in the order of `rank`,
/// and older PyTorch's plain step counts if `plain_steps`.
fn rewrite(from: &Path, to: &Path, rank: impl Fn(&str) -> usize, plain_steps: bool) {
    let file = torchfile::read(from).unwrap();
    let ours = keys(&file);
    let mut order: Vec<usize> = (0..ours.len()).collect();
    order.sort_by_key(|&i| (rank(&ours[i]), i));
    let tensor = |name: String| Value::Tensor(file.tensor(&name).unwrap());
    let state = |i: usize| {
        let part = |part: &str| tensor(format!("optimizer.state.{i}.{part}"));
        let step = file.tensor(&format!("optimizer.state.{i}.step")).unwrap().double_value(&[]) as i64;
        let step = if plain_steps { Value::Int(step) } else { part("step") };
        Value::dict([("step", step), ("exp_avg", part("exp_avg")), ("exp_avg_sq", part("exp_avg_sq"))])
    };
    let states = order.iter().enumerate().map(|(place, &i)| (Value::Int(place as i64), state(i))).collect();
    let rate = file.float(&["optimizer", "param_groups", "0", "lr"]).unwrap();
    let group = Value::dict([("lr", Value::Float(rate)), ("params", Value::ints(0..ours.len() as i64))]);
    let model = order.iter().map(|&i| (ours[i].as_str(), tensor(format!("model.{}", ours[i]))));
    let whole = Value::dict([
        ("model", Value::ordered(model)),
        ("iteration", Value::Int(file.int(&["iteration"]).unwrap())),
        ("optimizer", Value::dict([("state", Value::Dict(states)), ("param_groups", Value::List(vec![group]))])),
        ("learning_rate", Value::Float(1e-4)),
    ]);
    torchfile::write(to, &whole).unwrap();
}

/// Turns the newest checkpoint of a room into a pair named `number` of another program.
fn make_foreign(room: &Room, epoch: i64, number: &str, rank: impl Fn(&str) -> usize, plain_steps: bool) {
    for network in ["G", "D"] {
        let aside = room.path("other.pth");
        rewrite(&room.path(&format!("{network}_{epoch}.pth")), &aside, &rank, plain_steps);
        for old in 0..=epoch {
            std::fs::remove_file(room.path(&format!("{network}_{old}.pth"))).unwrap();
        }
        std::fs::rename(aside, room.path(&format!("{network}_{number}.pth"))).unwrap();
    }
    (0..=epoch).for_each(|old| std::fs::remove_file(room.path(&format!("checkpoint_{old}.json"))).unwrap());
}

/// RVC before June 2024: enc_p first.
fn old_rvc(key: &str) -> usize {
    usize::from(!key.starts_with("enc_p."))
}

/// Where a key stands in a tool's files.
type Rank = fn(&str) -> usize;

fn applio(key: &str) -> usize {
    APPLIO.lines().position(|line| line == key).unwrap_or(usize::MAX)
}

#[test]
fn a_pair_of_any_tool_goes_on_to_the_same_numbers_as_our_own() {
    let _turn = alone();
    let settings = config(json!({}));
    let whole = Room::new();
    let (means, _) = whole.train(&settings, 2);
    let tools: [(&str, Rank, bool); 3] = [("2333333", |_| 0, false), ("4", old_rvc, true), ("123", applio, false)];
    for (number, rank, plain_steps) in tools {
        let room = Room::new();
        room.train(&settings, 1);
        let steps = room.data(&settings).batches(1).len() as i64;
        make_foreign(&room, 1, number, rank, plain_steps);
        let theirs = keys(&torchfile::read(&room.path(&format!("G_{number}.pth"))).unwrap());

        let (task, lines) = watched();
        let mut trainer = room.open(&task, &settings, false).unwrap();
        assert_eq!((trainer.next_epoch(), trainer.step()), (2, steps), "{number}");
        let mean = trainer.run_epoch(&task, &mut |_| Ok(())).unwrap();
        assert_eq!(exact(&mean), exact(&means[1]), "{number}");
        trainer.save().unwrap();
        assert!(warnings(&lines).is_empty(), "{lines:?}");
        assert_eq!(keys(&torchfile::read(&room.path("G_2.pth")).unwrap()), theirs, "the order is kept: {number}");
        assert!(!room.path(&format!("G_{number}.pth")).exists() || number == "1", "its number would stay the largest");
        assert!(room.path(&format!("imported_1/G_{number}.pth")).exists() && room.path("G_1.pth").exists());

        // Going on from our own file of that order is the same again.
        drop(trainer);
        room.train(&settings, 3);
        assert_eq!(keys(&torchfile::read(&room.path("G_3.pth")).unwrap()), theirs);
    }
}

#[test]
fn a_pair_that_has_our_next_name_is_kept_aside() {
    let _turn = alone();
    let settings = config(json!({}));
    let room = Room::new();
    room.train(&settings, 1);
    make_foreign(&room, 1, "1", |_| 0, false);
    let before = room.bytes("G_1.pth");
    room.open(&Task::silent(), &settings, false).unwrap();
    assert!(room.bytes("imported_1/G_1.pth") == before && room.bytes("G_1.pth") != before);
    checkpoint::verify(&room.logs(), 1).unwrap();
    // Nobody knows what made these clips' features, and the voice does not pretend to.
    let mut trainer = room.open(&Task::silent(), &settings, false).unwrap();
    trainer.save_voice(&room.path("voice.pth")).unwrap();
    let voice = torchfile::read(&room.path("voice.pth")).unwrap();
    assert_eq!(voice.entries(&[]).unwrap(), ["weight", "config", "info", "sr", "f0", "version", "model_card"]);
}

#[test]
fn another_program_that_went_on_after_us_is_followed() {
    let _turn = alone();
    let settings = config(json!({}));
    let (room, further) = (Room::new(), Room::new());
    room.train(&settings, 1);
    further.train(&settings, 2);
    make_foreign(&further, 2, "777", |_| 0, false);
    for name in ["G_777.pth", "D_777.pth"] {
        std::fs::copy(further.path(name), room.path(name)).unwrap();
    }
    assert_eq!(room.open(&Task::silent(), &settings, false).unwrap().next_epoch(), 3);
}

#[test]
fn halves_of_different_epochs_are_not_used_and_nothing_starts_over() {
    let _turn = alone();
    let settings = config(json!({}));
    let (one, two) = (Room::new(), Room::new());
    one.train(&settings, 1);
    two.train(&settings, 2);
    make_foreign(&one, 1, "50", |_| 0, false);
    make_foreign(&two, 2, "50", |_| 0, false);
    std::fs::copy(two.path("D_50.pth"), one.path("D_50.pth")).unwrap();
    let error = one.open(&Task::silent(), &settings, false).err().unwrap();
    assert_eq!(error.kind(), rvc_run::Kind::CheckpointDamaged, "{error}");
    assert!(one.path("G_50.pth").exists());
}

#[test]
fn applios_order_is_written_if_asked_for() {
    let _turn = alone();
    let settings = json!({ "preset": "full", "segment_size": 12800, "checkpoint_order": "applio" });
    let settings = config(settings);
    let engine = rvc_run::train::step::Engine::new(&settings, tch::Device::Cpu).unwrap();
    let params = engine.generator.params();
    let listed: Vec<&str> = params.iter().map(|(key, _)| key).collect();
    let order = checkpoint::Layout::new(&settings, &engine).g;
    let written: Vec<&str> = order.places().map(|i| listed[i]).collect();
    assert_eq!(written, APPLIO.lines().collect::<Vec<_>>());
}

/// A config.json as Applio writes it: other rate key, a key of its own, no epochs.
const APPLIO_JSON: &str = r#"{"train": {"log_interval": 200, "seed": 77, "learning_rate": 0.0002, "betas": [0.8, 0.99], "eps": 1e-09,
"lr_decay": 0.999875, "segment_size": 12800, "c_mel": 45, "c_kl": 1.0}, "data": {"max_wav_value": 32768.0, "sample_rate": 40000,
"filter_length": 2048, "hop_length": 400, "win_length": 2048, "n_mel_channels": 125, "mel_fmin": 0.0, "mel_fmax": null},
"model": {"inter_channels": 192, "text_enc_hidden_dim": 768, "spk_embed_dim": 109}, "process_pids": [4]}"#;

fn parsed(room: &Room) -> Json {
    serde_json::from_slice(&room.bytes("config.json")).unwrap()
}

#[test]
fn applios_config_json_is_read_and_stays_applios() {
    let room = Room::new();
    std::fs::write(room.path("config.json"), APPLIO_JSON).unwrap();
    let found = config_json::of_folder(&Task::silent(), &room.logs()).unwrap();
    assert_eq!(
        (&found["sample_rate"], &found["learning_rate"], &found["seed"]),
        (&json!(40000), &json!(2e-4), &json!(77))
    );
    assert!(!found.contains_key("spec_eps"), "Applio computes as RVC of 2024 does");
    let settings = Config { seed: 78, ..Config::from_json(&found).unwrap() };
    config_json::check(&room.logs(), &settings).unwrap();
    config_json::write(&room.logs(), &settings).unwrap();
    let written = parsed(&room);
    assert_eq!(written["data"]["sample_rate"], 40000);
    assert_eq!((&written["train"]["seed"], &written["process_pids"]), (&json!(78), &json!([4])));
    assert!(written["data"].get("sampling_rate").is_none() && written["train"].get("epochs").is_none());
    assert_eq!(written["model"]["text_enc_hidden_dim"], 768);
}

#[test]
fn rvc_of_2026_is_told_by_its_config_json_and_a_segment_that_cannot_train_is_replaced() {
    let room = Room::new();
    let settings = config(json!({ "preset": "full", "segment_size": 12800 }));
    config_json::write(&room.logs(), &settings).unwrap();
    let mut old = parsed(&room);
    assert!(!config_json::of_folder(&Task::silent(), &room.logs()).unwrap().contains_key("sine_generator"));
    old["train"].as_object_mut().unwrap().remove("fp16_run");
    old["train"]["segment_size"] = json!(17280);
    old["model"]["sr"] = json!("40k");
    std::fs::write(room.path("config.json"), old.to_string()).unwrap();
    let (task, lines) = watched();
    let found = config_json::of_folder(&task, &room.logs()).unwrap();
    assert_eq!((&found["sine_generator"], &found["spec_eps"]), (&json!("2026"), &json!(2e-7)));
    assert!(warnings(&lines)[0].contains("17280"), "{lines:?}");
    let settings = Config::from_json(&found).unwrap();
    assert_eq!(settings.segment_size, 12800);
    config_json::write(&room.logs(), &settings).unwrap();
    assert!(parsed(&room)["model"].get("sr").is_none(), "it makes RVC's constructor fail");
}

#[test]
fn a_file_list_from_another_place_or_system_finds_its_files_in_the_folder() {
    let room = Room::new();
    let here = room.logs().display().to_string();
    let list = std::fs::read_to_string(room.list()).unwrap();
    for there in ["/somebody/rvc/logs/anna", r"D:\\RVC\\logs\\anna"] {
        let moved = list.replace(&here, there);
        let moved = if there.starts_with('D') { moved.replace('/', r"\\") } else { moved };
        std::fs::write(room.list(), moved).unwrap();
        assert_eq!(room.data(&config(json!({}))).len(), 7, "{there}");
    }
}

#[test]
fn silence_of_sixteen_bits_is_read_with_its_extra_chunk() {
    let room = Room::new();
    let clip = io::read_wav(&room.path("0_gt_wavs/0_0.wav")).unwrap();
    let data: Vec<u8> = clip.samples.iter().flat_map(|x| ((x * 32768.0) as i16).to_le_bytes()).collect();
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    wav.extend(40000u32.to_le_bytes());
    wav.extend(80000u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0LIST\x04\0\0\0INFOdata");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(&data);
    let path = room.path("sixteen.wav");
    std::fs::write(&path, wav).unwrap();
    assert_eq!(io::read_wav(&path).unwrap(), clip, "its samples are multiples of 1 / 32768");
}
