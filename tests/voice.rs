//! The file of a voice: told apart, extracted, merged, renamed, described.

#[path = "support/mod.rs"]
mod support;

use rvc_run::config::Config;
use rvc_run::models::{Synthesizer, SynthesizerConfig};
use rvc_run::torchfile::{self, Plain, Value};
use rvc_run::voice::{self, About};
use rvc_run::{Error, Kind};
use serde_json::{Map, json};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};
use tempfile::TempDir;

/// A folder with files of small voices.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A G_ checkpoint as RVC writes it.
    fn checkpoint(&self, name: &str, config: &Config, seed: i64) -> PathBuf {
        let path = self.path(name);
        let file = Value::dict([
            ("model", Value::ordered(weights(config, seed))),
            ("iteration", Value::Int(7)),
            ("optimizer", Value::dict::<&str>([])),
            ("learning_rate", Value::Float(1e-4)),
        ]);
        torchfile::write(&path, &file).unwrap();
        path
    }

    /// An exported voice; `more` are its text entries behind RVC's six.
    fn voice(&self, name: &str, config: &Config, seed: i64, more: &[(&str, &str)]) -> PathBuf {
        let path = self.path(name);
        let network = Synthesizer::new(&SynthesizerConfig::from_config(config), Device::Cpu, seed).unwrap();
        let about = About {
            sizes: &SynthesizerConfig::from_config(config),
            info: "7epoch".into(),
            more: more.iter().map(|(key, text)| ((*key).to_owned(), Value::text(*text))).collect(),
            card: voice::card(),
        };
        voice::write(&path, network.params().iter().map(|(key, tensor)| (key, tensor.shallow_clone())), about).unwrap();
        path
    }
}

fn weights(config: &Config, seed: i64) -> Vec<(String, Value)> {
    let network = Synthesizer::new(&SynthesizerConfig::from_config(config), Device::Cpu, seed).unwrap();
    network.params().iter().map(|(key, tensor)| (key.to_owned(), Value::Tensor(tensor.detach()))).collect()
}

fn tiny(sample_rate: i64, version: &str, if_f0: bool) -> Config {
    Config { preset: "tiny".into(), sample_rate, version: version.into(), if_f0, ..Config::default() }
}

fn weight(path: &Path, key: &str) -> Tensor {
    torchfile::read(path).unwrap().tensor(&format!("weight.{key}")).unwrap().to_kind(tch::Kind::Float)
}

#[track_caller]
fn refused<T>(result: rvc_run::Result<T>, kind: Kind, words: &str) -> Error {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(words), "{error}");
    error
}

#[test]
fn every_variant_is_told_from_its_weights_alone() {
    let place = Place::new();
    for sample_rate in [32000, 40000, 48000] {
        for version in ["v1", "v2"] {
            for if_f0 in [true, false] {
                let config = tiny(sample_rate, version, if_f0);
                let checkpoint = place.checkpoint("G_7.pth", &config, 1);
                assert_eq!(voice::variant(&torchfile::read(&checkpoint).unwrap()).unwrap(), config);
                let exported = place.voice("voice.pth", &config, 1, &[]);
                assert_eq!(voice::variant(&torchfile::read(&exported).unwrap()).unwrap(), config);
            }
        }
    }
    // Without posterior encoder, noise convolutions and a list of sizes nothing tells these two apart.
    let bare = place.path("bare.pth");
    let weights = weights(&tiny(48000, "v1", false), 1).into_iter().filter(|(key, _)| !key.contains("enc_q"));
    torchfile::write(&bare, &Value::ordered(weights)).unwrap();
    refused(voice::variant(&torchfile::read(&bare).unwrap()), Kind::CheckpointMismatch, "cannot be told apart");

    let other = place.path("other.pth");
    torchfile::write(&other, &Value::dict([("weight", Value::dict([("a", Value::Tensor(Tensor::from(1.0)))]))]))
        .unwrap();
    refused(voice::variant(&torchfile::read(&other).unwrap()), Kind::CheckpointMismatch, "other.pth is no voice");
}

#[test]
fn a_voice_is_extracted_from_any_generators_checkpoint() {
    let place = Place::new();
    let config = Config { spk_embed_dim: 5, ..tiny(48000, "v2", true) };
    let checkpoint = place.checkpoint("G_7.pth", &config, 3);
    let out = place.path("models/anna.pth");
    voice::extract(&checkpoint, &out, None).unwrap();
    let file = torchfile::read(&out).unwrap();
    assert_eq!(file.entries(&[]).unwrap(), ["weight", "config", "info", "sr", "f0", "version", "model_card"]);
    assert_eq!(
        (file.text(&["info"]), file.text(&["sr"]), file.text(&["version"])),
        (Some("7epoch"), Some("48k"), Some("v2"))
    );
    assert_eq!(
        (file.int(&["f0"]), file.int(&["config", "15"]), file.int(&["config", "17"])),
        (Some(1), Some(5), Some(48000))
    );
    assert_eq!(file.text(&["model_card", "extracted_from", "name"]), Some("G_7.pth"));
    assert!(file.names().iter().all(|name| !name.contains("enc_q")));
    // The same weights as an export writes, in the same order.
    let exported = place.voice("exported.pth", &config, 3, &[]);
    assert_eq!(file.keys("weight"), torchfile::read(&exported).unwrap().keys("weight"));
    for key in ["emb_g.weight", "dec.ups.1.weight_g", "enc_p.proj.bias"] {
        assert!(weight(&out, key) == weight(&exported, key), "{key}");
    }
    voice::extract(&checkpoint, &out, Some("my text")).unwrap();
    assert_eq!(torchfile::read(&out).unwrap().text(&["info"]), Some("my text"));

    refused(voice::extract(&exported, &out, None), Kind::CheckpointMismatch, "is an exported voice already");
    refused(voice::extract(&place.path("no.pth"), &out, None), Kind::NotFound, "no.pth");
}

#[test]
fn a_merged_voice_is_the_mean_that_was_asked_for() {
    let place = Place::new();
    let config = tiny(40000, "v2", true);
    let told = [("embedder_model", "contentvec"), ("content_digest", "hubert-1 f54b v2 fp32"), ("f0_unvoiced", "zero")];
    let a = place.voice("a.pth", &config, 1, &told);
    let b = place.voice("b.pth", &Config { spk_embed_dim: 4, ..config.clone() }, 2, &[]);
    let out = place.path("merged.pth");
    voice::merge(&a, &b, 0.25, &out, "a and b").unwrap();
    for key in ["dec.conv_pre.weight", "flow.flows.2.enc.in_layers.0.weight_v", "enc_p.emb_phone.bias"] {
        let expected =
            (weight(&a, key) * 0.25 + weight(&b, key) * 0.75).to_kind(tch::Kind::Half).to_kind(tch::Kind::Float);
        assert!(weight(&out, key) == expected, "{key}");
    }
    let speakers = (weight(&a, "emb_g.weight").narrow(0, 0, 4) * 0.25 + weight(&b, "emb_g.weight") * 0.75)
        .to_kind(tch::Kind::Half)
        .to_kind(tch::Kind::Float);
    assert!(weight(&out, "emb_g.weight") == speakers);
    let file = torchfile::read(&out).unwrap();
    assert_eq!((file.int(&["config", "15"]), file.text(&["info"])), (Some(4), Some("a and b")));
    assert_eq!(file.text(&["content_digest"]), Some("hubert-1 f54b v2 fp32"), "the first voice's");
    assert_eq!(file.text(&["model_card", "merged_from", "1", "name"]), Some("b.pth"));
    assert_eq!(file.float(&["model_card", "alpha"]), Some(0.25));

    // A checkpoint is taken as well; with alpha 1 the first voice is what comes out.
    let checkpoint = place.checkpoint("G_7.pth", &config, 2);
    voice::merge(&a, &checkpoint, 1.0, &out, "a").unwrap();
    assert!(weight(&out, "emb_g.weight") == weight(&a, "emb_g.weight"));
}

#[test]
fn voices_that_do_not_fit_are_not_merged() {
    let place = Place::new();
    let config = tiny(40000, "v2", true);
    let out = place.path("merged.pth");
    let a = place.voice("a.pth", &config, 1, &[("content_digest", "hubert-1 f54b v2 fp32")]);
    for (other, words) in [
        (tiny(48000, "v2", true), "v2 48k with pitch"),
        (tiny(40000, "v1", true), "v1 40k with pitch"),
        (tiny(40000, "v2", false), "v2 40k without pitch"),
    ] {
        let b = place.voice("b.pth", &other, 1, &[]);
        refused(voice::merge(&a, &b, 0.5, &out, ""), Kind::CheckpointMismatch, words);
    }
    let bf16 = place.voice("b.pth", &config, 2, &[("content_digest", "hubert-1 f54b v2 bf16")]);
    voice::merge(&a, &bf16, 0.5, &out, "").unwrap();
    let other = place.voice("b.pth", &config, 2, &[("content_digest", "hubert-1 aaaa v2 fp32")]);
    refused(voice::merge(&a, &other, 0.5, &out, ""), Kind::CheckpointMismatch, "was trained on the content of");
    refused(voice::merge(&a, &a, 1.5, &out, ""), Kind::ConfigValue, "alpha is 1.5");
}

#[test]
fn the_text_of_a_voice_changes_and_nothing_else() {
    let place = Place::new();
    // As Applio writes it: no "info", sr a number, and entries of its own.
    let path = place.path("applio.pth");
    let config = tiny(40000, "v2", true);
    let sizes = SynthesizerConfig::from_config(&config);
    let list = sizes.export_list().iter().map(|x| x.as_i64().map_or(Value::text("1"), Value::Int)).collect();
    let voice = Value::ordered([
        ("weight", Value::dict(weights(&config, 1))),
        ("config", Value::List(list)),
        ("epoch", Value::Int(200)),
        ("sr", Value::Int(40000)),
        ("f0", Value::Bool(true)),
        ("dataset_length", Value::None),
        ("overtrain", Value::Tuple(vec![Value::Float(0.5), Value::text("é")])),
    ]);
    torchfile::write(&path, &voice).unwrap();
    let before = torchfile::read(&path).unwrap();
    let out = place.path("named.pth");
    voice::set_info(&path, "Anna, take 2", &out).unwrap();
    let after = torchfile::read(&out).unwrap();
    let keys = after.entries(&[]).unwrap();
    assert_eq!(keys[..keys.len() - 1], before.entries(&[]).unwrap()[..]);
    assert_eq!((keys.last().unwrap().as_str(), after.text(&["info"])), ("info", Some("Anna, take 2")));
    for key in keys.iter().filter(|key| *key != "info") {
        assert_eq!(after.value(&[key]), before.value(&[key]), "{key}");
    }
    assert_eq!(after.value(&["overtrain", "0"]), Some(Plain::Float(0.5)));
    assert_eq!(after.names(), before.names());
    for name in ["weight.emb_g.weight", "weight.enc_q.pre.weight"] {
        assert!(after.tensor(name).unwrap() == before.tensor(name).unwrap(), "{name}");
    }
    // In place, and again: the text is replaced, not added.
    voice::set_info(&out, "third", &out).unwrap();
    let again = torchfile::read(&out).unwrap();
    assert_eq!((again.entries(&[]).unwrap().len(), again.text(&["info"])), (keys.len(), Some("third")));

    let checkpoint = place.checkpoint("G_7.pth", &config, 1);
    refused(voice::set_info(&checkpoint, "x", &out), Kind::CheckpointMismatch, "is no exported voice");
}

#[test]
fn what_cannot_be_written_again_is_refused_by_name() {
    let file = |name: &str| torchfile::read(&support::golden_path(&format!("checkpoints/{name}"))).unwrap();
    refused(file("fairseq_like.pt").whole(), Kind::CheckpointMismatch, "an object of");
    refused(file("odd_zip.pth").whole(), Kind::CheckpointMismatch, "cannot be written again");
    for name in ["bomb_doubling.pth", "bomb_depth.pth", "bad_cycle.pth"] {
        // Some are refused when they are opened.
        if let Ok(file) = torchfile::read(&support::golden_path(&format!("checkpoints/{name}"))) {
            refused(file.whole(), Kind::CheckpointMismatch, "cannot be written again");
        }
    }
}

#[test]
fn voices_and_checkpoints_are_described() {
    let place = Place::new();
    let config = tiny(40000, "v2", true);
    let described = voice::describe(&place.voice("a.pth", &config, 1, &[("f0_method", "rmvpe")])).unwrap();
    let file = torchfile::read(&place.path("a.pth")).unwrap();
    let parameters: usize = file.names().iter().map(|name| file.shape(name).unwrap().iter().product::<usize>()).sum();
    let expected = json!({
        "kind": "voice", "version": "v2", "f0": true, "sample_rate": 40000, "preset": "tiny", "speakers": 109,
        "weights": file.names().len(), "parameters": parameters, "precision": "fp16",
        "bytes": std::fs::metadata(place.path("a.pth")).unwrap().len(),
        "sha256": rvc_run::files::digest_file(&place.path("a.pth")).unwrap(),
    });
    let without = |map: &Map<String, serde_json::Value>| {
        map.iter().filter(|(key, _)| *key != "entries").map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>()
    };
    assert_eq!(serde_json::Value::Object(without(&described)), expected);
    assert_eq!(described["entries"]["info"], "7epoch");
    assert_eq!(described["entries"]["f0_method"], "rmvpe");
    assert_eq!(described["entries"]["config"][11], json!([[1, 3, 5]]));
    assert!(described["entries"].get("weight").is_none());

    let described = voice::describe(&place.checkpoint("G_7.pth", &config, 1)).unwrap();
    assert_eq!((&described["kind"], &described["precision"]), (&json!("checkpoint"), &json!("fp32")));
    assert_eq!(described["entries"], json!({ "iteration": 7, "learning_rate": 1e-4 }));
}
