//! The files of a training, read by other programs: checkpoints and voices in Python, config.json, train.log.

use super::room::{Room, config};
use crate::support::python;
use crate::support::weights::keys_path;
use rvc_run::config::Config;
use rvc_run::task::Task;
use rvc_run::torchfile;
use rvc_run::train::checkpoint::{self, Layout, Position};
use rvc_run::train::step::Engine;
use rvc_run::train::{Trainer, config_json, export};
use serde_json::json;
use tch::Device;

/// What a variant's files hold: settings, key lists of both networks, "config" of the voice (spec D.2, G.3) and the number of
/// its weights, those of G without the posterior encoder (spec E.8).
const VARIANTS: [Variant; 5] = [
    ("{}", "G_v2_f0_40k", "D_v2", "1025, [10, 10, 2, 2], [16, 16, 4, 4], 40000", 457),
    (r#"{"sample_rate": 48000}"#, "G_v2_f0_48k", "D_v2", "1025, [12, 10, 2, 2], [24, 20, 4, 4], 48000", 457),
    (r#"{"if_f0": false}"#, "G_v2_nof0_40k", "D_v2", "1025, [10, 10, 2, 2], [16, 16, 4, 4], 40000", 446),
    (
        r#"{"version": "v1", "sample_rate": 32000}"#,
        "G_v1_f0_32k",
        "D_v1",
        "513, [10, 4, 2, 2, 2], [16, 16, 4, 4, 4], 32000",
        516,
    ),
    (
        r#"{"version": "v1", "if_f0": false}"#,
        "G_v1_nof0_40k",
        "D_v1",
        "1025, [10, 10, 2, 2], [16, 16, 4, 4], 40000",
        446,
    ),
];

const CHECK_KEYS: &str = r#"
import json, sys, torch
g, d, voice, g_keys, d_keys, settings, sizes, count = sys.argv[1:9]
settings, (spec_channels, rates, kernels, sample_rate) = json.loads(settings), json.loads(f"[{sizes}]")

def keys(path):
    lines = [line.split(" ", 1) for line in open(path).read().splitlines()]
    return [(name, *rest.rsplit(" ", 1)) for name, rest in lines]

def described(state):
    return [(name, str(list(t.shape)), str(t.dtype)) for name, t in state.items()]

for path, expected in ((g, keys(g_keys)), (d, keys(d_keys))):
    file = torch.load(path, weights_only=True)
    assert list(file) == ["model", "iteration", "optimizer", "learning_rate", "rvc_run"], list(file)
    assert described(file["model"]) == expected, path
    assert file["iteration"] == 0 and file["learning_rate"] == 1e-4
    params = [torch.nn.Parameter(t) for t in file["model"].values()]
    torch.optim.AdamW(params, 1e-4, betas=(0.8, 0.99), eps=1e-9).load_state_dict(file["optimizer"])

file = torch.load(voice, weights_only=True)
assert list(file)[:6] == ["weight", "config", "info", "sr", "f0", "version"], list(file)
assert (file["content_encoder"], file["content_digest"], file["f0_unvoiced"]) == ("mel", "mel-1", "zero")
expected = [(name, shape, "torch.float16") for name, shape, _ in keys(g_keys) if "enc_q" not in name]
assert len(expected) == int(count), len(expected)
assert described(file["weight"]) == expected
assert type(file["weight"]) is dict
assert file["config"] == [spec_channels, 32, 192, 192, 768, 2, 6, 3, 0, "1", [3, 7, 11], [[1, 3, 5]] * 3, rates, 512,
                          kernels, 109, 256, sample_rate], file["config"]
assert file["info"] == "0epoch" and file["sr"] == f"{sample_rate // 1000}k"
assert type(file["f0"]) is int and file["f0"] == int(settings.get("if_f0", True))
assert file["version"] == settings.get("version", "v2")
# What Applio's model information shows, and how it reads the date.
import datetime
datetime.datetime.strptime(file["creation_date"], "%Y-%m-%dT%H:%M:%S.%f")
assert (file["epoch"], file["step"], file["author"], file["vocoder"]) == (0, 0, "rvc-run", "HiFi-GAN"), file.keys()
assert file["model_name"] == voice.replace("\\", "/").split("/")[-2] and len(file["model_hash"]) == 64
card = file["model_card"]
assert card["tool"].startswith("rvc-run ") and card["epoch"] == 0 and card["pretrained_g"] is None, card
print("ok")
"#;

#[test]
fn python_opens_a_checkpoint_and_a_voice_with_the_references_keys_and_shapes() {
    check_keys(&VARIANTS[..1]);
}

#[test]
#[ignore = "slow: four pairs of full-size networks with their optimizers"]
fn python_opens_checkpoints_and_voices_of_the_other_variants() {
    check_keys(&VARIANTS[1..]);
}

/// Settings, key lists of both networks, "config" of the voice and the number of its weights: see [`VARIANTS`].
type Variant = (&'static str, &'static str, &'static str, &'static str, usize);

fn check_keys(variants: &[Variant]) {
    let Some(python) = python::with_torch() else { return };
    for &(changes, g_keys, d_keys, sizes, weights) in variants {
        let folder = tempfile::tempdir().unwrap();
        let settings = Config::from_json(&serde_json::from_str(changes).unwrap()).unwrap();
        let engine = Engine::new(&settings, Device::Cpu).unwrap();
        let start = Position { epoch: 1, step_in_epoch: 0, step: 0 };
        let mut manifest = checkpoint::manifest(&settings, "", start, Device::Cpu).unwrap();
        manifest.content_digest = Some("mel-1".into());
        checkpoint::write(folder.path(), &engine, &Layout::new(&settings, &engine), manifest.clone()).unwrap();
        let [g, d, _] = checkpoint::paths(folder.path(), 0);
        let voice = folder.path().join("voice.pth");
        export::write(&voice, engine.generator.params(), &manifest, folder.path()).unwrap();
        let [g_keys, d_keys] = [g_keys, d_keys].map(keys_path);
        let weights = weights.to_string();
        let plain = [changes, sizes, &weights].map(std::path::Path::new);
        let paths = [g.as_path(), &d, &voice, &g_keys, &d_keys];
        assert_eq!(python::run(&python, CHECK_KEYS, &[paths.as_slice(), &plain].concat()), "ok\n", "{changes}");
    }
}

/// Continues our optimizer in torch for one step with gradients of 0.01 and compares with the rule.
const CHECK_OPTIMIZER: &str = r#"
import copy, sys, torch
for path in sys.argv[1:3]:
    file = torch.load(path, weights_only=True)
    params = [torch.nn.Parameter(t.clone()) for t in file["model"].values()]
    optimizer = torch.optim.AdamW(params, 1e-4, betas=(0.8, 0.99), eps=1e-9)
    optimizer.load_state_dict(copy.deepcopy(file["optimizer"]))
    state, group = file["optimizer"]["state"], file["optimizer"]["param_groups"][0]
    assert list(state) == list(range(len(params))) and group["params"] == list(range(len(params)))
    assert abs(group["lr"] - 1e-4 * 0.999875) < 1e-12 and group["initial_lr"] == 1e-4, group
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.99), 1e-9, 0.01)
    done = state[0]["step"].item()
    assert done == float(sys.argv[3]) and state[0]["step"].dtype == torch.float32, done
    for p in params:
        p.grad = torch.full_like(p, 0.01)
    optimizer.step()
    for i, (p, old) in enumerate(zip(params, file["model"].values())):
        m = 0.8 * state[i]["exp_avg"] + 0.2 * 0.01
        v = 0.99 * state[i]["exp_avg_sq"] + 0.01 * 0.01 ** 2
        t, lr = done + 1, group["lr"]
        want = old * (1 - lr * 0.01) - lr / (1 - 0.8 ** t) * m / ((v / (1 - 0.99 ** t)).sqrt() + 1e-9)
        assert torch.allclose(p, want, rtol=1e-5, atol=1e-7), i
    assert torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999875, last_epoch=0)
print("ok")
"#;

#[test]
#[ignore = "slow: a step of PyTorch with full-size networks"]
fn python_continues_with_our_optimizer() {
    let Some(python) = python::with_torch() else { return };
    let room = Room::new();
    let (_, steps) = room.train(&config(json!({})), 2);
    let [g, d, _] = checkpoint::paths(&room.logs(), 2);
    let count = steps.len().to_string();
    assert_eq!(python::run(&python, CHECK_OPTIMIZER, &[&g, &d, std::path::Path::new(&count)]), "ok\n");
}

#[test]
fn the_voice_of_a_saved_epoch_equals_the_one_exported_while_training() {
    let room = Room::new();
    let settings = config(json!({}));
    let task = Task::silent();
    let mut trainer = room.open(&task, &settings, false).unwrap();
    trainer.run_epoch(&task, &mut |_| Ok(())).unwrap();
    trainer.save().unwrap();
    trainer.save_voice(&room.path("live.pth")).unwrap();
    export::from_checkpoint(&room.logs(), 1, false, &room.path("later.pth")).unwrap();
    assert!(room.bytes("live.pth") == room.bytes("later.pth"));
    let voice = torchfile::read(&room.path("live.pth")).unwrap();
    assert_eq!(voice.text(&["info"]), Some("1epoch"));
    assert_eq!(voice.int(&["config", "15"]), Some(109));
    assert_eq!(voice.shape("weight.emb_g.weight").unwrap()[0], 109);
}

/// RVC's configs/v1/40k.json as its web page writes it, with fp16 off.
const CONFIG_40K: &str = r#"{
    "data": {
        "filter_length": 2048,
        "hop_length": 400,
        "max_wav_value": 32768.0,
        "mel_fmax": null,
        "mel_fmin": 0.0,
        "n_mel_channels": 125,
        "sampling_rate": 40000,
        "win_length": 2048
    },
    "model": {
        "filter_channels": 768,
        "gin_channels": 256,
        "hidden_channels": 192,
        "inter_channels": 192,
        "kernel_size": 3,
        "n_heads": 2,
        "n_layers": 6,
        "p_dropout": 0,
        "resblock": "1",
        "resblock_dilation_sizes": [
            [
                1,
                3,
                5
            ],
            [
                1,
                3,
                5
            ],
            [
                1,
                3,
                5
            ]
        ],
        "resblock_kernel_sizes": [
            3,
            7,
            11
        ],
        "spk_embed_dim": 109,
        "upsample_initial_channel": 512,
        "upsample_kernel_sizes": [
            16,
            16,
            4,
            4
        ],
        "upsample_rates": [
            10,
            10,
            2,
            2
        ],
        "use_spectral_norm": false
    },
    "train": {
        "batch_size": 4,
        "betas": [
            0.8,
            0.99
        ],
        "c_kl": 1.0,
        "c_mel": 45,
        "epochs": 20000,
        "eps": 1e-09,
        "fp16_run": false,
        "init_lr_ratio": 1,
        "learning_rate": 0.0001,
        "log_interval": 200,
        "lr_decay": 0.999875,
        "seed": 1234,
        "segment_size": 12800,
        "warmup_epochs": 0
    }
}
"#;

#[test]
fn config_json_is_written_as_rvc_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    config_json::write(folder.path(), &Config::from_json(&serde_json::Map::new()).unwrap()).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("config.json")).unwrap(), CONFIG_40K);
}

#[test]
fn train_log_has_the_references_lines() {
    let room = Room::new();
    let (_, steps) = room.train(&config(json!({})), 1);
    let text = std::fs::read_to_string(room.path("train.log")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert!(lines.iter().all(|fields| fields.len() == 4 && fields[1] == "anna" && fields[2] == "INFO"), "{text}");
    assert!(lines[0][3].starts_with("{'data': {'filter_length': 2048, "), "{}", lines[0][3]);
    assert!(lines[0][3].contains("'sample_rate': '40k', 'if_f0': 1, 'if_latest': 0"), "{}", lines[0][3]);
    let messages: Vec<&str> = lines.iter().map(|fields| fields[3]).collect();
    // log_interval is 2: the steps 0, 2, ... are shown.
    let at = messages.iter().position(|m| m.starts_with("Train Epoch: 1 [0%]")).unwrap();
    assert_eq!(messages[at + 1], "[0, 0.0001]");
    let mel = steps[0].get("loss_mel").unwrap();
    assert!(messages[at + 2].contains(&format!(",loss_mel={mel:.3}, loss_kl=")), "{}", messages[at + 2]);
    assert!(messages.iter().any(|m| m.starts_with("====> Epoch: 1 [")), "{text}");
    assert!(messages.iter().any(|m| m.starts_with("Saving model and optimizer state at epoch 1 to ")), "{text}");
}

#[test]
fn the_voice_of_several_speakers_names_them_as_webui_does() {
    let room = Room::new();
    let (settings, task) = (config(json!({})), Task::silent());
    let data = room.data(&settings).spoken_by(vec!["anna".into(), "本".into()]);
    let mut trainer = Trainer::open(&task, &settings, data, &room.logs(), &room.store(), false).unwrap();
    trainer.run_epoch(&task, &mut |_| Ok(())).unwrap();
    trainer.save().unwrap();
    trainer.save_voice(&room.path("live.pth")).unwrap();
    export::from_checkpoint(&room.logs(), 1, false, &room.path("later.pth")).unwrap();
    for name in ["live.pth", "later.pth"] {
        let voice = torchfile::read(&room.path(name)).unwrap();
        for (place, id, speaker) in [("0", 0, "anna"), ("1", 1, "本")] {
            assert_eq!(voice.int(&["speaker_info", place, "id"]), Some(id), "{name}");
            assert_eq!(voice.text(&["speaker_info", place, "name"]), Some(speaker), "{name}");
        }
    }
    drop(trainer);
    let room = Room::new();
    room.train(&settings, 1);
    export::from_checkpoint(&room.logs(), 1, false, &room.path("one.pth")).unwrap();
    let one = torchfile::read(&room.path("one.pth")).unwrap();
    assert_eq!(one.entries(&["speaker_info"]), None, "a single speaker needs no name");
}
