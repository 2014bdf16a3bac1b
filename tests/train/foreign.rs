//! Continues trainings of other programs: their checkpoints, config.json, file lists and silence.

use super::room::{Room, config, exact, warnings, watched};
use rvc_run::Kind::{ConfigMismatch, NotFound};
use rvc_run::audio::io;
use rvc_run::config::Config;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, TorchFile, Value};
use rvc_run::train::adopt::adopt;
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
    let epoch = torchfile::read(from).unwrap().int(&["iteration"]).unwrap();
    rewrite_as(from, to, epoch, rank, plain_steps);
}

/// As [`rewrite`], with the number of another epoch.
fn rewrite_as(from: &Path, to: &Path, epoch: i64, rank: impl Fn(&str) -> usize, plain_steps: bool) {
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
        ("iteration", Value::Int(epoch)),
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

/// The position of a key in a tool's files.
type Rank = fn(&str) -> usize;

fn applio(key: &str) -> usize {
    APPLIO.lines().position(|line| line == key).unwrap_or(usize::MAX)
}

#[test]
#[ignore = "slow: five trainings that continue"]
fn a_pair_of_any_tool_continues_to_the_same_numbers_as_our_own() {
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

        // Continuing from our own file of that order gives the same numbers.
        drop(trainer);
        room.train(&settings, 3);
        assert_eq!(keys(&torchfile::read(&room.path("G_3.pth")).unwrap()), theirs);
    }
}

#[test]
fn a_pair_that_has_our_next_name_is_kept_aside() {
    let settings = config(json!({}));
    let room = Room::new();
    room.train(&settings, 1);
    make_foreign(&room, 1, "1", |_| 0, false);
    let before = room.bytes("G_1.pth");
    room.open(&Task::silent(), &settings, false).unwrap();
    assert!(room.bytes("imported_1/G_1.pth") == before && room.bytes("G_1.pth") != before);
    checkpoint::verify(&room.logs(), 1).unwrap();
    // The encoder of these features is unknown, and the voice does not claim to know it.
    let mut trainer = room.open(&Task::silent(), &settings, false).unwrap();
    trainer.save_voice(&room.path("voice.pth")).unwrap();
    let voice = torchfile::read(&room.path("voice.pth")).unwrap();
    let entries = voice.entries(&[]).unwrap();
    assert_eq!(entries[..6], ["weight", "config", "info", "sr", "f0", "version"]);
    assert!(!entries.iter().any(|entry| entry.contains("content") || entry.starts_with("embedder")), "{entries:?}");
}

#[test]
fn a_training_continued_by_another_program_is_followed() {
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
fn halves_of_different_epochs_are_not_used_and_nothing_restarts() {
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
fn applios_order_is_written_on_request() {
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
fn applios_config_json_is_read_and_keeps_its_form() {
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
fn rvc_of_2026_is_recognised_by_its_config_json_and_an_unusable_segment_is_replaced() {
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

/// Makes a room into an experiment "old" of Applio: its folders, its config.json, silence beside it, a list relative to its checkout.
fn make_applio(room: &Room) -> std::path::PathBuf {
    let logs = room.root().join("logs");
    let old = logs.join("old");
    std::fs::rename(room.logs(), &old).unwrap();
    let list = std::fs::read_to_string(old.join("filelist.txt")).unwrap();
    let mut list = list.replace(&room.logs().display().to_string(), "logs/old");
    let names =
        [("0_gt_wavs", "sliced_audios"), ("3_feature768", "extracted"), ("2a_f0", "f0"), ("2b-f0nsf", "f0_voiced")];
    for (rvc, applio) in names {
        std::fs::rename(old.join(rvc), old.join(applio)).unwrap();
        list = list.replace(rvc, applio);
        std::fs::create_dir_all(logs.join("mute").join(applio)).unwrap();
        let (clip, mute) = match applio {
            "sliced_audios" => ("0_0.wav", "mute40000.wav"),
            "extracted" => ("0_0.npy", "mute.npy"),
            _ => ("0_0.wav.npy", "mute.wav.npy"),
        };
        std::fs::copy(old.join(applio).join(clip), logs.join("mute").join(applio).join(mute)).unwrap();
    }
    std::fs::create_dir(old.join("sliced_audios_16k")).unwrap();
    std::fs::copy(old.join("sliced_audios/0_0.wav"), old.join("sliced_audios_16k/0_0.wav")).unwrap();
    let mute = "logs/mute/sliced_audios/mute40000.wav|logs/mute/extracted/mute.npy|logs/mute/f0/mute.wav.npy|logs/mute/f0_voiced/mute.wav.npy|0";
    std::fs::write(old.join("filelist.txt"), format!("{list}\n{mute}\n{mute}")).unwrap();
    std::fs::write(old.join("model_info.json"), json!({ "embedder_model": "spin", "speakers_id": 1 }).to_string())
        .unwrap();
    std::fs::write(old.join("old.index"), "an index").unwrap();
    old
}

fn tree(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for path in rvc_run::files::list(folder).unwrap() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            all.extend(tree(&path).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            all.push(name);
        }
    }
    all
}

#[test]
fn training_continues_an_experiment_of_applio_under_another_name() {
    let settings = config(json!({}));
    let room = Room::new();
    room.train(&settings, 1);
    make_foreign(&room, 1, "123", applio, false);
    let old = make_applio(&room);
    let before = tree(&old);
    let (task, lines) = watched();
    let taken = adopt(&task, &old, &room.logs()).unwrap();
    assert_eq!((taken.program.name(), taken.clips, taken.mute_rows, taken.checkpoints), ("Applio", 7, 2, 2));
    assert!(taken.dropped.is_empty() && warnings(&lines).is_empty(), "{lines:?}");
    assert_eq!(tree(&old), before, "nothing of theirs is changed");
    for name in [
        "0_gt_wavs/0_0.wav",
        "1_16k_wavs/0_0.wav",
        "2a_f0/0_0.wav.npy",
        "2b-f0nsf/0_0.wav.npy",
        "3_feature768/0_0.npy",
        "mute/0_gt_wavs/mute40000.wav",
        "old.index",
    ] {
        assert!(room.path(name).is_file(), "{name}");
    }
    assert_eq!(config_json::of_folder(&task, &room.logs()).unwrap()["content_encoder"], "spin");
    std::fs::remove_dir_all(&old).unwrap();
    std::fs::remove_dir_all(room.root().join("logs/mute")).unwrap();
    // Everything was copied: the list names no other folder.
    let mut trainer = room.open(&task, &settings, false).unwrap();
    assert_eq!((trainer.next_epoch(), trainer.dataset().len()), (2, 9));
    trainer.run_epoch(&task, &mut |_| Ok(())).unwrap();
    assert!(trainer.dataset().dropped().is_empty());
}

#[test]
fn an_experiment_may_be_named_like_the_silence() {
    let room = Room::new();
    let old = make_applio(&room);
    std::fs::write(old.join("config.json"), "{}").unwrap();
    let list = std::fs::read_to_string(old.join("filelist.txt")).unwrap();
    let mut at = old;
    for name in ["mute_city", "mute_", "mute_spin", "muted", "mute 2"] {
        let there = room.root().join("logs").join(name);
        std::fs::rename(&at, &there).unwrap();
        std::fs::write(there.join("filelist.txt"), list.replace("logs/old/", &format!("logs/{name}/"))).unwrap();
        let taken = adopt(&Task::silent(), &there, &room.logs()).unwrap();
        assert_eq!((taken.clips, taken.mute_rows, taken.dropped.len()), (7, 2, 0), "{name}: {:?}", taken.dropped);
        assert!(
            room.path("0_gt_wavs/0_0.wav").is_file() && room.path("mute/0_gt_wavs/mute40000.wav").is_file(),
            "{name}"
        );
        std::fs::remove_dir_all(room.logs()).unwrap();
        at = there;
    }
    // In the folder of silence itself, as with a voice of that name.
    let mute = room.root().join("logs/mute");
    for file in tree(&at) {
        let to = mute.join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::rename(at.join(&file), to).unwrap();
    }
    std::fs::write(mute.join("filelist.txt"), list.replace("logs/old/", "logs/mute/")).unwrap();
    let taken = adopt(&Task::silent(), &mute, &room.logs()).unwrap();
    assert_eq!((taken.clips, taken.mute_rows, taken.dropped.len()), (7, 2, 0), "{:?}", taken.dropped);
}

#[test]
fn an_experiment_of_rvc_with_absolute_paths_is_imported_in_the_same_way() {
    let settings = config(json!({}));
    let room = Room::new();
    room.train(&settings, 1);
    make_foreign(&room, 1, "2333333", |_| 0, false);
    let old = room.root().join("elsewhere/renamed");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::rename(room.logs(), &old).unwrap();
    for there in ["/somebody/rvc/logs/song", r"D:\RVC\logs\song"] {
        let list = std::fs::read_to_string(old.join("filelist.txt")).unwrap();
        let moved = list.replace(&room.logs().display().to_string(), there);
        std::fs::write(old.join("filelist.txt"), if there.starts_with('D') { moved.replace('/', r"\") } else { moved })
            .unwrap();
        let taken = adopt(&Task::silent(), &old, &room.logs()).unwrap();
        assert_eq!((taken.program.name(), taken.clips, taken.dropped.len()), ("RVC WebUI", 7, 0), "{there}");
        assert_eq!(room.open(&Task::silent(), &settings, false).unwrap().next_epoch(), 2);
        std::fs::write(old.join("filelist.txt"), list).unwrap();
        std::fs::remove_dir_all(room.logs()).unwrap();
    }
}

#[test]
fn broken_rows_and_rows_that_lead_out_of_the_experiment_are_left_out_and_named() {
    let room = Room::new();
    let old = make_applio(&room);
    std::fs::write(old.join("config.json"), "{}").unwrap();
    // Files that must not be read: outside the experiment, even through a link, and of another experiment.
    let secret = room.root().join("secret.wav");
    std::fs::copy(old.join("sliced_audios/0_0.wav"), &secret).unwrap();
    std::fs::create_dir_all(room.root().join("logs/other/sliced_audios")).unwrap();
    std::fs::copy(&secret, room.root().join("logs/other/sliced_audios/0_0.wav")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, old.join("sliced_audios/link.wav")).unwrap();
    let rest = "logs/old/extracted/0_0.npy|logs/old/f0/0_0.wav.npy|logs/old/f0_voiced/0_0.wav.npy|0";
    let bad = [
        ("logs/old/sliced_audios/0_0.wav|two".to_owned(), "2 fields"),
        (format!("logs/old/sliced_audios/gone.wav|{rest}"), "gone.wav does not exist"),
        (format!("logs/old/../old/sliced_audios/0_0.wav|{rest}"), "leads out of"),
        (format!("logs/old/sliced_audios/..|{rest}"), "leads out of"),
        (format!("/etc/passwd|{rest}"), "is not a path in an experiment"),
        (format!("/etc/ssl/certs/x.wav|{rest}"), "is in a folder that neither"),
        (format!("logs/other/sliced_audios/0_0.wav|{rest}"), "leads out of"),
        (format!("logs/old/sliced_audios/link.wav|{rest}"), "link that leads out"),
        (format!("logs/old/f0/0_0.wav.npy|{rest}"), "in the place of one of"),
        (format!("logs/mute/sliced_audios/mute40000.wav|{rest}"), "combines silence with a clip"),
        (format!("logs/old/sliced_audios/0_0.wav|{}", rest.replace("|0", "|who")), "speaker"),
    ];
    let list = std::fs::read_to_string(old.join("filelist.txt")).unwrap();
    let lines: Vec<&str> = bad.iter().map(|(line, _)| line.as_str()).collect();
    std::fs::write(old.join("filelist.txt"), format!("{}\n\n{list}", lines.join("\n"))).unwrap();
    let (task, warned) = watched();
    let taken = adopt(&task, &old, &room.logs()).unwrap();
    assert_eq!((taken.clips, taken.mute_rows, taken.dropped.len()), (7, 2, bad.len()), "{:?}", taken.dropped);
    for ((number, why), (i, (line, expected))) in taken.dropped.iter().zip(bad.iter().enumerate()) {
        assert!(*number == i + 1 && why.contains(expected), "{line}: {number}, {why}");
    }
    assert_eq!(warnings(&warned).len(), bad.len());
    assert!(!tree(&room.logs()).iter().any(|name| name.contains("link") || name.contains("secret")));
    // Only bad rows are not a voice, and nothing is left behind.
    std::fs::remove_dir_all(room.logs()).unwrap();
    std::fs::write(old.join("filelist.txt"), lines.join("\n")).unwrap();
    let error = adopt(&Task::silent(), &old, &room.logs()).unwrap_err();
    assert_eq!(error.kind(), rvc_run::Kind::DataEmpty);
    assert!(error.hint_text().unwrap().contains("line 1: "), "{error:?}");
    let left = rvc_run::files::list(&room.root().join("logs")).unwrap();
    let names: Vec<_> = left.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["mute", "old", "other"]);
}

#[test]
fn a_refused_experiment_comes_with_a_hint() {
    let room = Room::new();
    let old = make_applio(&room);
    let refuse = |source: &Path| {
        let error = adopt(&Task::silent(), source, &room.logs()).unwrap_err();
        (error.kind(), format!("{} {}", error.message(), error.hint_text().unwrap_or_default()))
    };
    let expect = |source: &Path, kind, part: &str| {
        let (found, text) = refuse(source);
        assert!(found == kind && text.contains(part), "{found:?}: {text}");
    };
    expect(&room.root().join("nowhere"), NotFound, "<Applio>/logs/<experiment>");
    expect(&room.root().join("logs"), NotFound, "recordings go to data/<voice>");
    // Prepared but not trained: its clips can serve as recordings.
    expect(&old, NotFound, "has no config.json");
    expect(&old, NotFound, "a second time");
    std::fs::write(old.join("config.json"), "{}").unwrap();
    std::fs::write(old.join("checkpoint_3.json"), "{}").unwrap();
    expect(&old, ConfigMismatch, "rvc-run trained");
    std::fs::remove_file(old.join("checkpoint_3.json")).unwrap();
    std::fs::create_dir(room.logs()).unwrap();
    std::fs::write(room.path("mine.txt"), "mine").unwrap();
    expect(&old, ConfigMismatch, "is not empty");
    assert_eq!(tree(&room.logs()), ["mine.txt"]);
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

/// A text as Windows' editors and copies store it: the same text in other bytes.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let windows = text.replace('\n', "\r\n");
    vec![
        ("as it was", text.as_bytes().to_vec()),
        ("a mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        ("a mark and Windows' breaks", [b"\xef\xbb\xbf", windows.as_bytes()].concat()),
        ("UTF-16 of Windows", [b"\xff\xfe".to_vec(), utf16(&windows, u16::to_le_bytes)].concat()),
        ("UTF-16, high byte first", [b"\xfe\xff".to_vec(), utf16(text, u16::to_be_bytes)].concat()),
        ("UTF-16 without a mark", utf16(text, u16::to_le_bytes)),
        ("zeros behind", [text.as_bytes(), &[0; 300]].concat()),
        ("UTF-16 with zeros behind", [b"\xff\xfe".to_vec(), utf16(text, u16::to_le_bytes), vec![0; 301]].concat()),
        ("breaks of old Macs", text.replace('\n', "\r").into_bytes()),
        ("the end of DOS", [text.as_bytes(), b"\x1a"].concat()),
    ]
}

#[test]
fn files_that_an_editor_of_windows_saved_are_read_as_any_other() {
    let room = Room::new();
    let info = json!({ "embedder_model": "spin", "model_name": "Голос" }).to_string();
    std::fs::write(room.path("model_info.json"), &info).unwrap();
    std::fs::write(room.path("config.json"), APPLIO_JSON).unwrap();
    let found = config_json::of_folder(&Task::silent(), &room.logs()).unwrap();
    assert_eq!((&found["content_encoder"], &found["seed"]), (&json!("spin"), &json!(77)));
    let settings = Config::from_json(&found).unwrap();
    for ((form, config), (_, info)) in forms(APPLIO_JSON).into_iter().zip(forms(&info)) {
        std::fs::write(room.path("config.json"), config).unwrap();
        std::fs::write(room.path("model_info.json"), info).unwrap();
        assert_eq!(config_json::of_folder(&Task::silent(), &room.logs()).unwrap(), found, "{form}");
        config_json::check(&room.logs(), &settings).unwrap();
        config_json::write(&room.logs(), &settings).unwrap();
        assert_eq!(parsed(&room)["process_pids"], json!([4]), "{form}: the other program's entries stay");
    }
    // A code page: the keys are certain, even if a name is not.
    let (name, _, _) = encoding_rs::GBK.encode("王的声音");
    let text = APPLIO_JSON.replace("\"process_pids\": [4]", "\"note\": \"NAME\"").into_bytes();
    let at = text.windows(4).position(|part| part == b"NAME").unwrap();
    std::fs::write(room.path("config.json"), [&text[..at], &name, &text[at + 4..]].concat()).unwrap();
    assert_eq!(config_json::of_folder(&Task::silent(), &room.logs()).unwrap(), found);
    // A file that is not JSON is reported, with a hint.
    std::fs::write(room.path("config.json"), b"\xff\xfe<\0h\0t\0m\0l\0>\0").unwrap();
    let error = config_json::of_folder(&Task::silent(), &room.logs()).unwrap_err();
    assert!(error.kind() == rvc_run::Kind::DataDamaged && error.hint_text().is_some(), "{error:?}");
}

/// Gives the clips of a room other names, in its folders and its list.
fn rename_clips(room: &Room, name: &str) {
    let mut list = std::fs::read_to_string(room.list()).unwrap();
    for (folder, end) in
        [("0_gt_wavs", ".wav"), ("3_feature768", ".npy"), ("2a_f0", ".wav.npy"), ("2b-f0nsf", ".wav.npy")]
    {
        for i in 0..7 {
            let [from, to] = [format!("{i}_0{end}"), format!("{name}{i}_0{end}")];
            std::fs::rename(room.path(folder).join(&from), room.path(folder).join(&to)).unwrap();
            list = list.replace(&format!("{folder}/{from}"), &format!("{folder}/{to}"));
        }
    }
    std::fs::write(room.list(), list).unwrap();
}

#[test]
fn file_lists_in_code_pages_of_windows_find_their_files() {
    use encoding_rs::{BIG5, EUC_KR, GBK, SHIFT_JIS, WINDOWS_1251, WINDOWS_1252, WINDOWS_1253};
    let settings = config(json!({}));
    for (page, folder, clip) in [
        // Names of the clips as WebUI has them: ASCII.
        (GBK, "王", ""),
        (WINDOWS_1251, "Голоса", ""),
        (SHIFT_JIS, "歌ソ", ""),
        // The second byte of some of these is a backslash or a bar.
        (GBK, "我乗", "亅"),
        (WINDOWS_1251, "Голос", "песня "),
        (SHIFT_JIS, "歌ソ", "ソ表"),
        (BIG5, "許功蓋", "許功蓋"),
        (EUC_KR, "목소리", "노래"),
        (WINDOWS_1252, "Müller", "Lied für é"),
        (WINDOWS_1253, "φωνή", "τραγούδι"),
    ] {
        let room = Room::new();
        rename_clips(&room, clip);
        let old = room.root().join("old");
        let here = room.logs().display().to_string();
        let list = std::fs::read_to_string(room.list()).unwrap();
        let list = list.replace(&here, &format!(r"D:\{folder}/RVC/logs/{folder}"));
        let (bytes, _, lossy) = page.encode(&list);
        assert!(!lossy, "{folder} is not in {}", page.name());
        std::fs::write(room.list(), &bytes).unwrap();
        std::fs::write(room.path("config.json"), "{}").unwrap();
        std::fs::rename(room.logs(), &old).unwrap();

        let (task, lines) = watched();
        let taken = adopt(&task, &old, &room.logs()).unwrap();
        assert_eq!((taken.clips, taken.dropped.len()), (7, 0), "{} {clip}: {lines:?}", page.name());
        assert!(warnings(&lines).is_empty() && lines.lock().unwrap()[0].contains("code page"), "{lines:?}");
        assert!(room.path("0_gt_wavs").join(format!("{clip}0_0.wav")).is_file());
        assert_eq!(room.data(&settings).len(), 7, "our own list is UTF-8");
        // A manually copied folder is read from the same list.
        std::fs::remove_dir_all(room.logs()).unwrap();
        std::fs::rename(&old, room.logs()).unwrap();
        assert_eq!(room.data(&settings).len(), 7, "{} {clip}", page.name());
    }
    // UTF-16 and the like.
    let room = Room::new();
    rename_clips(&room, "Голос 王");
    for (form, bytes) in forms(&std::fs::read_to_string(room.list()).unwrap()) {
        std::fs::write(room.list(), bytes).unwrap();
        assert_eq!(room.data(&settings).len(), 7, "{form}");
    }
}

#[test]
fn an_unreadable_list_and_missing_names_come_with_a_hint() {
    let room = Room::new();
    let old = room.root().join("old");
    std::fs::write(room.path("config.json"), "{}").unwrap();
    std::fs::rename(room.logs(), &old).unwrap();
    let noise: Vec<u8> = (0..=255).cycle().take(5000).collect();
    std::fs::write(old.join("filelist.txt"), noise).unwrap();
    let error = adopt(&Task::silent(), &old, &room.logs()).unwrap_err();
    assert!(error.hint_text().unwrap().contains("save it as UTF-8"), "{error:?}");
    let (bytes, _, _) = encoding_rs::WINDOWS_1251.encode("D:\\Голоса/logs/old/0_gt_wavs/нет.wav|x|0");
    std::fs::write(old.join("filelist.txt"), bytes).unwrap();
    let error = adopt(&Task::silent(), &old, &room.logs()).unwrap_err();
    assert_eq!(error.kind(), rvc_run::Kind::DataEmpty);
    assert!(error.hint_text().unwrap().contains("save it as UTF-8"), "{error:?}");
}

/// Makes all clips of a room one speaker's.
fn of_one_speaker(room: Room) -> Room {
    let list = std::fs::read_to_string(room.list()).unwrap();
    let rows: Vec<String> = list.lines().map(|row| format!("{}|0", row.rsplit_once('|').unwrap().0)).collect();
    std::fs::write(room.list(), rows.join("\n")).unwrap();
    room
}

#[test]
#[ignore = "slow: several trainings"]
fn rows_of_speakers_are_those_of_the_weights_whatever_config_json_says() {
    for (rows, said) in [(1, json!(109)), (3, json!(109)), (110, json!(110)), (2, json!(5)), (4, Json::Null)] {
        let settings = config(json!({ "spk_embed_dim": rows }));
        let room = of_one_speaker(Room::new());
        room.train(&settings, 1);
        make_foreign(&room, 1, "123", applio, false);
        let mut there = parsed(&room);
        there["model"]["spk_embed_dim"] = said;
        std::fs::write(room.path("config.json"), there.to_string()).unwrap();

        let found = config_json::of_folder(&Task::silent(), &room.logs()).unwrap();
        assert_eq!((&found["spk_embed_dim"], &found["preset"]), (&json!(rows), &json!("tiny")));
        let resumed = Config { segment_size: 3200, epochs: 3, ..Config::from_json(&found).unwrap() };
        // Settings without the number have RVC's, which, mean the weights' as well, the second time too.
        for settings in [resumed, config(json!({}))] {
            let mut trainer = room.open(&Task::silent(), &settings, false).unwrap();
            assert_eq!((trainer.next_epoch(), trainer.config().spk_embed_dim), (2, rows));
            let begins: Vec<i64> = trainer.lineage().iter().map(|span| span.from_epoch).collect();
            assert_eq!(begins, [2], "the clips of the other program are unknown");
            trainer.save_voice(&room.path("voice.pth")).unwrap();
            let voice = torchfile::read(&room.path("voice.pth")).unwrap();
            assert_eq!(voice.int(&["config", "15"]), Some(rows));
        }
        assert_eq!(
            parsed(&room)["model"]["spk_embed_dim"],
            rows,
            "the other program finds the number in its file, too"
        );
        let error = room.open(&Task::silent(), &config(json!({ "spk_embed_dim": 77 })), false).err().unwrap();
        assert_eq!(error.kind(), ConfigMismatch);
        assert!(
            error.message().contains(&format!("spk_embed_dim is 77, but the checkpoint has {rows} row")),
            "{error}"
        );
    }
}

#[test]
fn epochs_that_another_program_trained_after_ours_have_no_known_clips() {
    let (task, settings) = (Task::silent(), config(json!({})));
    let (room, further) = (Room::new(), Room::new());
    room.train(&settings, 1);
    further.train(&settings, 3);
    make_foreign(&further, 3, "777", |_| 0, false);
    for network in ["G", "D"] {
        let name = format!("{network}_777.pth");
        std::fs::rename(further.path(&name), room.path(&name)).unwrap();
    }
    // Opened twice: nothing is trained here in between.
    for _ in 0..2 {
        let trainer = room.open(&task, &settings, false).unwrap();
        assert_eq!(trainer.next_epoch(), 4);
        let spans = trainer.lineage();
        let begins: Vec<(i64, bool)> = spans.iter().map(|s| (s.from_epoch, s.data_digest.is_empty())).collect();
        assert_eq!(begins, [(1, false), (2, true), (4, false)], "{spans:?}");
        assert_eq!(spans[0].data_digest, spans[2].data_digest, "the clips here are the same");
        assert!(spans.iter().all(|span| span.change().is_none()), "nobody knows whether they changed: {spans:?}");
    }
}

#[test]
fn a_base_with_another_number_of_speakers_is_taken_with_its_rows() {
    let bases = of_one_speaker(Room::new());
    bases.train(&config(json!({ "spk_embed_dim": 2 })), 1);
    let path = |name: &str| bases.path(name).display().to_string();
    let settings = config(json!({ "pretrained_g": path("G_1.pth"), "pretrained_d": path("D_1.pth") }));
    let room = of_one_speaker(Room::new());
    let (task, lines) = watched();
    rvc_run::train::Trainer::check(&task, &settings, &room.logs(), &room.store(), false, || Ok(String::new())).unwrap();
    let trainer = room.open(&task, &settings, false).unwrap();
    assert_eq!(trainer.config().spk_embed_dim, 2);
    assert!(
        lines.lock().unwrap().iter().any(|line| line.contains("the base has 2 rows in its speaker table")),
        "{lines:?}"
    );
    drop(trainer);
    rvc_run::train::Trainer::check(&task, &settings, &room.logs(), &room.store(), false, || Ok(String::new())).unwrap();
    room.train(&settings, 1);
    assert_eq!(config_json::of_folder(&task, &room.logs()).unwrap()["spk_embed_dim"], 2);

    // A clip of a speaker that has no row there.
    let room = of_one_speaker(Room::new());
    let list = std::fs::read_to_string(room.list()).unwrap();
    std::fs::write(room.list(), list.replacen("|0\n", "|2\n", 1)).unwrap();
    let error = room.open(&Task::silent(), &settings, false).err().unwrap();
    assert_eq!(error.kind(), ConfigMismatch);
    assert!(error.message().contains("belongs to speaker 2, but the network has only rows 0 to 1"), "{error}");
    assert!(!room.path("G_0.pth").exists());
}

/// Puts the state of another room's epoch into `room` as a pair of RVC WebUI: named by steps, of the epoch `as_epoch`.
fn put_pair(room: &Room, from: &Room, epoch: i64, number: i64, as_epoch: i64) {
    for network in ["G", "D"] {
        let to = room.path(&format!("{network}_{number}.pth"));
        rewrite_as(&from.path(&format!("{network}_{epoch}.pth")), &to, as_epoch, |_| 0, false);
    }
}

/// As if the pair had been written `seconds` after our newest checkpoint, or before it.
fn date_pair(room: &Room, number: i64, epoch: i64, seconds: i64) {
    let ours = std::fs::metadata(room.path(&format!("checkpoint_{epoch}.json"))).unwrap().modified().unwrap();
    let gap = std::time::Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { ours - gap } else { ours + gap };
    for network in ["G", "D"] {
        let path = room.path(&format!("{network}_{number}.pth"));
        std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
}

#[test]
#[ignore = "slow: several trainings"]
fn work_that_webui_saved_under_the_same_epoch_is_followed_and_ours_is_kept() {
    let settings = config(json!({}));
    let further = Room::new();
    further.train(&settings, 3);
    let steps = further.data(&settings).batches(1).len() as i64;
    // It repeats epoch 2: a name by steps, the name for only the latest, our own name, and an earlier date (a copied folder).
    for (number, seconds) in [(3 * steps, 60), (2_333_333, 60), (2, 60), (777, -60)] {
        let room = Room::new();
        room.train(&settings, 2);
        let ours = room.bytes("G_2.pth");
        put_pair(&room, &further, 3, number, 2);
        date_pair(&room, number, 2, seconds);
        let theirs = room.bytes(&format!("G_{number}.pth"));

        let (task, lines) = watched();
        let trainer = room.open(&task, &settings, false).unwrap();
        assert_eq!((trainer.next_epoch(), trainer.step()), (3, 3 * steps), "{number}: {lines:?}");
        assert!(room.bytes(&format!("imported_1/G_{number}.pth")) == theirs);
        assert!(number == 2 || !room.path(&format!("G_{number}.pth")).exists(), "WebUI would go back to it");
        checkpoint::verify(&room.logs(), 2).unwrap();
        if number != 2 {
            assert!(room.bytes("replaced_1/G_2.pth") == ours && room.path("replaced_1/checkpoint_2.json").exists());
            assert!(
                lines.lock().unwrap().iter().any(|line| line.contains("is newer than rvc-run's checkpoint")),
                "{lines:?}"
            );
        }
        // The settings of our own training stay in force.
        let found = config_json::of_folder(&task, &room.logs()).unwrap();
        assert_eq!((&found["preset"], &found["segment_size"]), (&json!("tiny"), &json!(3200)));
    }
}

#[test]
#[ignore = "slow: several trainings"]
fn a_pair_with_nothing_new_is_set_aside_with_a_message() {
    let settings = config(json!({}));
    let (room, other) = (Room::new(), Room::new());
    other.train(&config(json!({ "seed": 5 })), 2);
    room.train(&settings, 2);
    // A copy of our own state that another program wrote again later; an older epoch, written later; other weights of the same epoch and
    // step that were there before ours; a smaller number of steps, older.
    let cases: [(&Room, i64, i64, i64); 4] =
        [(&room, 2, 2, 60), (&room, 1, 1, 60), (&other, 2, 2, -60), (&other, 1, 2, -60)];
    for (i, (from, epoch, as_epoch, seconds)) in cases.into_iter().enumerate() {
        put_pair(&room, from, epoch, 999, as_epoch);
        date_pair(&room, 999, 2, seconds);
        let (task, lines) = watched();
        let before = room.bytes("G_2.pth");
        assert_eq!(room.open(&task, &settings, false).unwrap().next_epoch(), 3, "case {i}");
        assert!(
            room.bytes("G_2.pth") == before && !room.path("G_999.pth").exists() && !room.path("D_999.pth").exists()
        );
        assert!(room.path(&format!("imported_{}/G_999.pth", i + 1)).exists());
        let warned = warnings(&lines);
        assert!(
            warned.len() == 1 && warned[0].contains("G_999.pth") && warned[0].contains("checkpoint_2.json"),
            "{warned:?}"
        );
    }
    // A program that restarted its count, and wrote later: its weights are newer.
    put_pair(&room, &other, 1, 5, 2);
    date_pair(&room, 5, 2, 60);
    let steps = room.data(&settings).batches(1).len() as i64;
    let trainer = room.open(&Task::silent(), &settings, false).unwrap();
    assert_eq!((trainer.next_epoch(), trainer.step()), (3, steps));
    assert!(room.path("replaced_1/G_2.pth").exists());
}

#[test]
fn lists_of_several_speakers_keep_numbers_names_and_weights() {
    let room = of_one_speaker(Room::new());
    let old = room.root().join("old");
    let list = std::fs::read_to_string(room.list()).unwrap();
    let rows: Vec<String> = list
        .lines()
        .enumerate()
        .map(|(i, row)| {
            let row = row.trim_end_matches("|0");
            if i < 4 { format!("{row}|0|Anna") } else { format!("{row}|7|王 Ben") }
        })
        .collect();
    // The second speaker counts twice.
    let text = [rows.join("\n"), rows[4..].join("\n")].join("\n");
    std::fs::write(room.list(), &text).unwrap();
    let settings = config(json!({}));
    assert_eq!(room.data(&settings).len(), 10, "even if it was copied manually");
    config_json::write(&room.logs(), &settings).unwrap();
    std::fs::rename(room.logs(), &old).unwrap();

    let (task, lines) = watched();
    let taken = adopt(&task, &old, &room.logs()).unwrap();
    assert_eq!((taken.clips, taken.repeated, taken.dropped.len()), (10, 3, 0), "{lines:?}");
    let names: Vec<(i64, &str)> = taken.speakers.iter().map(|(id, name)| (*id, name.as_str())).collect();
    assert_eq!(names, [(0, "Anna"), (7, "王 Ben")]);
    assert_eq!(room.data(&settings).len(), 10);
    let ours = std::fs::read_to_string(room.list()).unwrap();
    assert_eq!(ours.lines().filter(|row| row.ends_with("|7")).count(), 6);
    let named = json!([{ "id": 0, "name": "Anna" }, { "id": 7, "name": "王 Ben" }]);
    assert_eq!(parsed(&room)["speaker_info"], named);
    config_json::write(&room.logs(), &Config { seed: 99, ..settings.clone() }).unwrap();
    assert_eq!(parsed(&room)["speaker_info"], named, "a later training keeps them");
    let mut trainer = room.open(&Task::silent(), &settings, false).unwrap();
    trainer.save_voice(&room.path("voice.pth")).unwrap();
    let voice = torchfile::read(&room.path("voice.pth")).unwrap();
    let said = |at: &str| (voice.int(&["speaker_info", at, "id"]), voice.text(&["speaker_info", at, "name"]));
    assert_eq!(said("0"), (Some(0), Some("Anna")));
    assert_eq!((said("1"), said("2")), ((Some(7), Some("王 Ben")), (None, None)));
    drop(trainer);

    // Without pitch; two names for one number; an empty name; names that config.json has already.
    for (edit, expected, warned) in [("one", vec![(0, "Anna")], 0), ("two", vec![(0, "Anna")], 1), ("empty", vec![], 0)]
    {
        std::fs::remove_dir_all(room.logs()).unwrap();
        let row = |(i, row): (usize, &str)| {
            let parts: Vec<&str> = row.split('|').collect();
            let name = match edit {
                "two" if i == 3 => "Eva",
                "empty" => "",
                _ => "Anna",
            };
            format!("{}|{}|0|{name}", parts[0], parts[1])
        };
        let list: Vec<String> = text.lines().enumerate().map(row).collect();
        std::fs::write(old.join("filelist.txt"), list.join("\n")).unwrap();
        let (task, lines) = watched();
        let taken = adopt(&task, &old, &room.logs()).unwrap();
        let names: Vec<(i64, &str)> = taken.speakers.iter().map(|(id, name)| (*id, name.as_str())).collect();
        assert_eq!((names, warnings(&lines).len(), taken.clips), (expected, warned, 10), "{edit}: {lines:?}");
        let without_pitch = config(json!({ "if_f0": false }));
        assert_eq!(room.data(&without_pitch).len(), 10);
        assert_eq!(room.data(&without_pitch).len(), 10, "{edit}");
    }
}

#[test]
#[ignore = "slow: several trainings"]
fn a_resumed_voice_records_the_other_programs_encoder() {
    let said = |room: &Room, settings: &Config| {
        let mut trainer = room.open(&Task::silent(), settings, false).unwrap();
        trainer.save_voice(&room.path("voice.pth")).unwrap();
        let voice = torchfile::read(&room.path("voice.pth")).unwrap();
        let text = |key: &str| voice.text(&[key]).unwrap_or("nothing").to_owned();
        assert_eq!(voice.text(&["content_digest"]), None, "it is unknown");
        ["embedder_model", "content_encoder", "f0_unvoiced"].map(text)
    };
    let applios = |encoder: &str| Some(("model_info.json", json!({ "embedder_model": encoder, "speakers_id": 1 })));
    let next = |encoder: &str| Some(("experiment.json", json!({ "embedder": encoder, "f0_method": "rmvpe" })));
    // Applio's config.json, or RVC's of which year; the files beside it; the voice's entries.
    let cases = [
        ("applio", applios("spin"), ["spin", "spin", "zero"]),
        ("applio", applios("contentvec"), ["contentvec", "contentvec", "zero"]),
        ("applio", applios("somebodys-own"), ["nothing", "nothing", "nothing"]),
        ("applio", None, ["nothing", "nothing", "nothing"]),
        ("2024", None, ["contentvec", "hubert_base", "zero"]),
        ("2026", None, ["contentvec", "hubert_base", "interpolate"]),
        ("2026", next("korean-hubert-base"), ["korean-hubert-base", "korean-hubert-base", "interpolate"]),
    ];
    for (program, beside, expected) in cases {
        let room = Room::new();
        room.train(&config(json!({})), 1);
        make_foreign(&room, 1, "123", |_| 0, false);
        let mut there = parsed(&room);
        match program {
            "applio" => {
                let data = there["data"].as_object_mut().unwrap();
                let rate = data.remove("sampling_rate").unwrap();
                data.insert("sample_rate".into(), rate);
            }
            "2026" => drop(there["train"].as_object_mut().unwrap().remove("fp16_run")),
            _ => {}
        }
        std::fs::write(room.path("config.json"), there.to_string()).unwrap();
        if let Some((name, info)) = &beside {
            std::fs::write(room.path(name), info.to_string()).unwrap();
        }
        // The import, and a run after it: the known facts are in all later checkpoints.
        for turn in 0..2 {
            let found = config_json::of_folder(&Task::silent(), &room.logs()).unwrap();
            let settings = Config::from_json(&found).unwrap();
            assert_eq!(said(&room, &settings), expected, "{program} {beside:?}, turn {turn}");
            if let Some((name, _)) = &beside {
                let _ = std::fs::remove_file(room.path(name));
            }
        }
    }
}

#[test]
fn a_lost_config_json_is_replaced_from_the_checkpoint() {
    let settings = config(json!({ "learning_rate": 2e-4 }));
    let room = Room::new();
    assert_eq!(config_json::of_folder(&Task::silent(), &room.logs()).unwrap_err().kind(), NotFound);
    room.train(&settings, 1);
    std::fs::remove_file(room.path("config.json")).unwrap();
    let (task, lines) = watched();
    let found = config_json::of_folder(&task, &room.logs()).unwrap();
    assert_eq!((&found["learning_rate"], &found["preset"]), (&json!(2e-4), &json!("tiny")));
    assert!(warnings(&lines).is_empty(), "our manifest has all of it");
    make_foreign(&room, 1, "9", |_| 0, false);
    let found = config_json::of_folder(&task, &room.logs()).unwrap();
    assert_eq!((&found["sample_rate"], &found["preset"]), (&json!(40000), &json!("tiny")));
    assert!(warnings(&lines)[0].contains("config.json is missing"), "{lines:?}");
}

#[test]
fn a_prepared_but_untrained_experiment_gives_version_pitch_and_size() {
    for (version, if_f0) in [("v1", true), ("v2", true), ("v2", false)] {
        let settings = config(json!({ "version": version, "if_f0": if_f0 }));
        let room = Room::new().for_variant(&settings);
        config_json::write(&room.logs(), &settings).unwrap();
        if version == "v1" {
            std::fs::rename(room.path("3_feature768"), room.path("3_feature256")).unwrap();
            let list = std::fs::read_to_string(room.list()).unwrap();
            std::fs::write(room.list(), list.replace("3_feature768", "3_feature256")).unwrap();
        }
        if !if_f0 {
            std::fs::remove_dir_all(room.path("2a_f0")).unwrap();
        }
        let found = config_json::of_folder(&Task::silent(), &room.logs()).unwrap();
        let warned = (&found["version"], &found["if_f0"], &found["preset"]);
        assert_eq!(warned, (&json!(version), &json!(if_f0), &json!("tiny")));
        let trainer = room.open(&Task::silent(), &Config::from_json(&found).unwrap(), false).unwrap();
        assert_eq!((trainer.next_epoch(), trainer.dataset().len()), (1, 7));
    }
}
