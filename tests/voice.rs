//! The file of a voice: recognised, extracted, merged, renamed, described.

use crate::support;
use rvc_run::config::Config;
use rvc_run::config::choices::{Preset, Version};
use rvc_run::models::{Synthesizer, SynthesizerConfig};
use rvc_run::torchfile::{self, Plain, Value};
use rvc_run::voice::{self, About, Voice};
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

fn tiny(sample_rate: i64, version: Version, if_f0: bool) -> Config {
    Config { preset: Preset::Tiny, sample_rate, version, if_f0, ..Config::default() }
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
fn every_variant_is_recognised_only_by_its_weights() {
    let place = Place::new();
    for sample_rate in [32000, 40000, 48000] {
        for version in [Version::V1, Version::V2] {
            for if_f0 in [true, false] {
                let config = tiny(sample_rate, version, if_f0);
                let checkpoint = place.checkpoint("G_7.pth", &config, 1);
                assert_eq!(voice::variant(&torchfile::read(&checkpoint).unwrap()).unwrap(), config);
                let exported = place.voice("voice.pth", &config, 1, &[]);
                assert_eq!(voice::variant(&torchfile::read(&exported).unwrap()).unwrap(), config);
            }
        }
    }
    // Without posterior encoder, noise convolutions and a list of sizes these two cannot be distinguished.
    let bare = place.path("bare.pth");
    let weights = weights(&tiny(48000, Version::V1, false), 1).into_iter().filter(|(key, _)| !key.contains("enc_q"));
    torchfile::write(&bare, &Value::ordered(weights)).unwrap();
    refused(voice::variant(&torchfile::read(&bare).unwrap()), Kind::CheckpointMismatch, "may be 32k or 48k");

    let other = place.path("other.pth");
    torchfile::write(&other, &Value::dict([("weight", Value::dict([("a", Value::Tensor(Tensor::from(1.0)))]))]))
        .unwrap();
    refused(voice::variant(&torchfile::read(&other).unwrap()), Kind::CheckpointMismatch, "other.pth is not a voice");
}

#[test]
fn a_voice_of_24_khz_has_its_own_rate() {
    let place = Place::new();
    let config = tiny(24000, Version::V2, true);
    assert_eq!(SynthesizerConfig::from_config(&config).upsampling(), 240);
    let exported = place.voice("voice.pth", &config, 1, &[]);
    assert_eq!(voice::variant(&torchfile::read(&exported).unwrap()).unwrap(), config);
    let opened = Voice::open(&exported, Device::Cpu).unwrap();
    assert_eq!((opened.sizes.sample_rate, opened.notes.len()), (24000, 0), "{:?}", opened.notes);
    let out = place.path("extracted.pth");
    voice::extract(&place.checkpoint("G_7.pth", &config, 1), &out, None).unwrap();
    let file = torchfile::read(&out).unwrap();
    assert_eq!(
        (file.int(&["config", "17"]), file.int(&["config", "0"]), file.text(&["sr"])),
        (Some(24000), Some(513), Some("24k"))
    );
}

#[test]
fn another_vocoder_is_named_with_the_program_that_has_it() {
    let place = Place::new();
    for (part, said, name, program) in [
        ("dec.mel_conv.weight", Some("RefineGAN"), "the vocoder RefineGAN", "Applio"),
        ("dec.mel_conv.weight", None, "the vocoder RefineGAN", "Applio"),
        ("dec.mrfs.0.weight", Some("MRF HiFi-GAN"), "the vocoder MRF HiFi-GAN", "Applio"),
        ("dec.some.weight", Some("Wave\u{1b}[31m"), "the vocoder Wave\\u{1b}[31m", "the program that it comes from"),
        ("dec.some.weight", None, "another vocoder than HiFi-GAN", "the program that it comes from"),
    ] {
        let kept = weights(&tiny(40000, Version::V2, true), 1).into_iter().filter(|(key, _)| !key.starts_with("dec."));
        let weights: Vec<_> = kept
            .chain([(part.to_owned(), Value::Tensor(Tensor::zeros([1], (tch::Kind::Half, Device::Cpu))))])
            .collect();
        let mut pairs = vec![("weight", Value::dict(weights)), ("version", Value::text("v2"))];
        pairs.extend(said.map(|said| ("vocoder", Value::text(said))));
        let path = place.path("other.pth");
        torchfile::write(&path, &Value::dict(pairs)).unwrap();
        let error = refused(Voice::open(&path, Device::Cpu), Kind::CheckpointMismatch, name);
        assert!(error.hint_text().unwrap().contains(program), "{error:?}");
        let described = voice::describe(&path).unwrap();
        assert_eq!((&described["kind"], &described["converts"]), (&json!("voice"), &json!(false)), "{part}");
        assert!(described["refused"].as_str().unwrap().contains(name) && described["way_out"].is_string(), "{part}");
        assert_eq!(described["sample_rate"], json!(null));
    }
}

/// The messages about a file that is not a voice: our words, not a library's.
#[track_caller]
fn said_of(path: &Path) -> String {
    let opened = Voice::open(path, Device::Cpu).err().expect("it is refused");
    let said = format!("{} | {}", opened.message(), opened.hint_text().expect("a way out"));
    assert_eq!(opened.file(), Some(path), "{said}");
    for word in ["opcode", "pickle", "offset", "EOCD", "InvalidArchive", "Some(", "core (", "utf-8 sequence", "stack"] {
        assert!(!said.contains(word), "{word}: {said}");
    }
    assert!(!said.chars().any(char::is_control), "{said:?}");
    said
}

#[test]
fn a_file_that_is_not_a_voice_is_named_for_what_it_is() {
    let place = Place::new();
    let zip = |entries: &[(&str, &[u8])]| {
        use std::io::Write;
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let safetensors = [&40u64.to_le_bytes()[..], br#"{"dec.bias":{"dtype":"F16","shape":[1]}}"#, &[0; 2]].concat();
    let wav = [&b"RIFF\x24\0\0\0WAVEfmt "[..], &[0; 30]].concat();
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (vec![], "is empty", "download or copy it again"),
        (vec![0; 1000], "holds only zeros", "never written"),
        ([vec![0; 100_000], vec![1]].concat(), "begins with 65536 zeros", "never written"),
        (b"<!DOCTYPE html><html>404</html>".to_vec(), "is a web page (HTML)", "download link"),
        (b"\xef\xbb\xbf\r\n <HTML><body>Sign in".to_vec(), "is a web page (HTML)", "download link"),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec(), "is an XML text", "give a voice"),
        (br#"{"error": "Invalid credentials"}"#.to_vec(), "is a JSON text", "give a voice"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 55\n".to_vec(),
            "is a Git LFS pointer",
            "git lfs pull",
        ),
        (b"Entry not found".to_vec(), "is a text, which begins with \"Entry not found\"", "give a voice"),
        (b"\x1b[31mred\x1b[0m".to_vec(), "\\u{1b}[31mred", "give a voice"),
        (b"\xff\xfeh\0i\0".to_vec(), "is a text file", "give a voice"),
        (b"  \n".to_vec(), "holds only spaces and line breaks", "again"),
        (
            zip(&[("anna.pth", b"x"), ("added_anna.index", b"y")]),
            "is a zip archive with \"anna.pth\" in it",
            "unpack it",
        ),
        (zip(&[("read me.txt", b"x"), ("voices/anna.pth", b"x")]), "with \"voices/anna.pth\" in it", "unpack it"),
        (
            zip(&[("word/document.xml", b"x")]),
            "is a zip archive of other files, such as \"word/document.xml\"",
            "give a voice",
        ),
        (zip(&[]), "is an empty zip archive", "again"),
        (b"Rar!\x1a\x07\x01\0".to_vec(), "is a RAR archive", "unpack it"),
        (b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "is a 7-Zip archive", "unpack it"),
        (b"\x1f\x8b\x08\0".to_vec(), "is a gzip archive", "unpack it"),
        (safetensors, "holds weights in the safetensors format", "save it as a .pth"),
        (b"IwFl\0\x03\0\0".to_vec(), "is a retrieval index (FAISS)", "--index"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0".to_vec(), "is an ONNX network", "give the .pth"),
        (wav, "is a recording (WAV)", "rvc-run convert VOICE RECORDING"),
        (b"fLaC\0\0\0\x22".to_vec(), "is a recording (FLAC)", "the voice comes first"),
        (b"ID3\x04\0\0".to_vec(), "is a recording (MP3)", "the voice comes first"),
        (b"\x93NUMPY\x01\0".to_vec(), "is a NumPy array", "give a voice"),
        (b"\x89PNG\r\n\x1a\n".to_vec(), "is a picture", "give a voice"),
        (b"%PDF-1.7".to_vec(), "is a PDF document", "give a voice"),
        (vec![0x80, 2, 0x8a], "not a PyTorch file", "copy or download the file again"),
        ((1..=255).collect(), "not a PyTorch file", "copy or download the file again"),
    ];
    for (bytes, words, hint) in cases {
        let path = place.path("odd.pth");
        std::fs::write(&path, &bytes).unwrap();
        let said = said_of(&path);
        assert!(said.contains(words) && said.contains(hint), "{words}, {hint}: {said}");
        assert!(voice::describe(&path).unwrap_err().message().contains(words), "voice_info says the same: {words}");
        assert!(voice::extract(&path, &place.path("out.pth"), None).unwrap_err().message().contains(words));
        assert!(voice::merge(&path, &path, 0.5, &place.path("out.pth"), "").unwrap_err().message().contains(words));
    }
}

#[test]
fn a_network_that_is_not_a_voice_is_named_for_what_it_is() {
    let place = Place::new();
    let one = || Value::Tensor(Tensor::zeros([1], (tch::Kind::Float, Device::Cpu)));
    let file = |prefix: &str, names: &[&str], more: &[&str]| {
        let weights = Value::dict(names.iter().map(|name| ((*name).to_owned(), one())));
        let more = more.iter().map(|key| ((*key).to_owned(), Value::Int(1)));
        let path = place.path("odd.pth");
        let all = Value::dict([(prefix.to_owned(), weights)].into_iter().chain(more));
        torchfile::write(&path, &all).unwrap();
        path
    };
    let training = ["iteration", "optimizer"];
    for (names, more, words, hint) in [
        (vec!["discriminators.0.convs.0.weight"], &training[..], "is a D_ checkpoint", "G_ checkpoint beside it"),
        (vec!["enc_p.emb_phone.weight", "enc_q.pre.weight"], &training, "is a G_ checkpoint", "rvc-run voice_extract"),
        (vec!["enc_p.emb_phone.weight", "enc_q.pre.weight"], &[], "is a base for trainings", "--pretrained-g"),
        (vec!["enc_p.emb_phone.weight"], &[], "without a voice's entries", "rvc-run voice_extract"),
        (vec!["enc_p.emb.weight", "emb_g.weight"], &training, "is a voice of so-vits-svc or VITS", "give a voice"),
        (vec!["enc_p.f0_emb.weight", "emb_g.weight"], &training, "is a voice of so-vits-svc", "give a voice"),
        (vec!["enc_p.ssl_proj.weight"], &[], "is a voice of GPT-SoVITS", "give a voice"),
        (vec!["unit2ctrl.a.weight"], &[], "is a voice of DDSP-SVC", "give a voice"),
        (vec!["feature_extractor.conv_layers.0.0.weight"], &[], "is a HuBERT", "assets/"),
        (vec!["hubert.feature_extractor.conv_layers.0.conv.weight"], &[], "is a HuBERT", "assets/"),
        (vec!["unet.encoder.layers.0.conv.0.conv.0.weight"], &[], "is RMVPE", "assets/"),
        (vec!["input_stack.0.weight", "cent_table"], &[], "is FCPE", "assets/"),
        (vec!["conv1_BN.weight", "classifier.weight"], &[], "is CREPE", "assets/"),
        (vec!["stg1_low_band_net.0.weight"], &[], "separates voice from music", "give a voice"),
        (vec!["some.other.weight"], &[], "is not a voice: it holds a network of another kind", "give a voice"),
    ] {
        let said = said_of(&file("model", &names, more));
        assert!(said.contains(words) && said.contains(hint), "{words}, {hint}: {said}");
    }
    let bare = place.path("bare.pth");
    torchfile::write(&bare, &one()).unwrap();
    assert!(said_of(&bare).contains("holds a single tensor"));
    torchfile::write(&bare, &Value::dict([("epoch\u{7}", Value::Int(3))])).unwrap();
    assert!(said_of(&bare).contains("holds no weights, only the entries \"epoch\\u{7}\""));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let place = Place::new();
    let path = place.path("pipe.pth");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    refused(Voice::open(&path, Device::Cpu), Kind::Read, "is not a regular file");
    refused(Voice::open(Path::new("/dev/zero"), Device::Cpu), Kind::Read, "is not a regular file");
}

#[test]
fn names_of_programs_lead_to_the_voice() {
    for (stem, expected) in [
        ("anna", vec!["anna"]),
        ("anna_e20_s400", vec!["anna_e20_s400", "anna_e20", "anna"]),
        ("anna_20e_400s", vec!["anna_20e_400s", "anna_20e", "anna"]),
        ("anna_best", vec!["anna_best", "anna"]),
        ("anna_ema", vec!["anna_ema", "anna"]),
        ("mary_ann_e5", vec!["mary_ann_e5", "mary_ann"]),
        ("take_2", vec!["take_2"]),
        ("jesse_see", vec!["jesse_see"]),
        ("_e5", vec!["_e5"]),
        ("ес_е20", vec!["ес_е20"]),
    ] {
        assert_eq!(voice::names(stem), expected, "{stem}");
    }
}

#[test]
fn facts_from_files_beside_a_checkpoint_are_in_its_voice() {
    let place = Place::new();
    let config = tiny(40000, Version::V2, true);
    let checkpoint = place.checkpoint("G_7.pth", &config, 3);
    let out = place.path("out/anna.pth");
    let config_json = r#"{"train": {"seed": 1}, "data": {"sampling_rate": 40000}, "model": {}, "speaker_info": [{"id": 0, "name": "anna"}, {"id": 3, "name": "ben"}]}"#;
    std::fs::write(place.path("config.json"), config_json).unwrap();
    std::fs::write(place.path("model_info.json"), r#"{"embedder_model": "spin"}"#).unwrap();
    voice::extract(&checkpoint, &out, None).unwrap();
    let file = torchfile::read(&out).unwrap();
    let text = |key: &str| file.text(&[key]).unwrap_or_default().to_owned();
    assert_eq!(
        (text("content_encoder"), text("embedder_model"), text("f0_unvoiced")),
        ("spin".into(), "spin".into(), "interpolate".into())
    );
    assert_eq!(
        (file.int(&["speaker_info", "1", "id"]), file.text(&["speaker_info", "1", "name"])),
        (Some(3), Some("ben"))
    );
    let described = voice::describe(&out).unwrap();
    assert_eq!((&described["speakers"], &described["converts"]), (&json!({ "0": "anna", "3": "ben" }), &json!(true)));
}

#[test]
fn a_voice_is_extracted_from_any_generators_checkpoint() {
    let place = Place::new();
    let config = Config { spk_embed_dim: 5, ..tiny(48000, Version::V2, true) };
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

    refused(voice::extract(&exported, &out, None), Kind::CheckpointMismatch, "is already an exported voice");
    refused(voice::extract(&place.path("no.pth"), &out, None), Kind::NotFound, "no.pth");
}

#[test]
fn a_merged_voice_is_the_requested_mean() {
    let place = Place::new();
    let config = tiny(40000, Version::V2, true);
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

    assert_eq!(file.text(&["model_card", "merged_from", "0", "entries", "info"]), Some("7epoch"), "nothing is dropped");

    // Names of speakers of both; the entries of only one voice are in the card.
    let named = |name: &str, speakers: &[(i64, &str)], more: (&str, Value)| {
        let speakers: Vec<(i64, String)> = speakers.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        let sizes = SynthesizerConfig::from_config(&config);
        let network = Synthesizer::new(&sizes, Device::Cpu, 1).unwrap();
        let more = voice::speaker_info(&speakers).into_iter().chain([(more.0.to_owned(), more.1)]).collect();
        let about = About { sizes: &sizes, info: "x".into(), more, card: voice::card() };
        let weights = network.params().iter().map(|(key, tensor)| (key, tensor.shallow_clone()));
        voice::write(&place.path(name), weights, about).unwrap();
        place.path(name)
    };
    let c = named("c.pth", &[(0, "anna"), (1, "ben")], ("author", Value::text("C.")));
    let d = named("d.pth", &[(0, "anna"), (1, "carl"), (2, "dora")], ("step", Value::Int(1400)));
    voice::merge(&c, &d, 0.5, &out, "").unwrap();
    let merged = torchfile::read(&out).unwrap();
    let names: Vec<&str> = ["0", "1", "2"].map(|i| merged.text(&["speaker_info", i, "name"]).unwrap()).to_vec();
    assert_eq!(names, ["anna", "ben + carl", "dora"]);
    assert_eq!(merged.text(&["author"]), Some("C."));
    assert_eq!(merged.int(&["model_card", "merged_from", "1", "entries", "step"]), Some(1400));

    // A checkpoint is accepted too; with alpha 1 the result is the first voice.
    let checkpoint = place.checkpoint("G_7.pth", &config, 2);
    voice::merge(&a, &checkpoint, 1.0, &out, "a").unwrap();
    assert!(weight(&out, "emb_g.weight") == weight(&a, "emb_g.weight"));
}

#[test]
fn voices_that_do_not_fit_are_not_merged() {
    let place = Place::new();
    let config = tiny(40000, Version::V2, true);
    let out = place.path("merged.pth");
    let a = place.voice("a.pth", &config, 1, &[("content_digest", "hubert-1 f54b v2 fp32")]);
    for (other, words) in [
        (tiny(48000, Version::V2, true), "v2 48k with pitch"),
        (tiny(40000, Version::V1, true), "v1 40k with pitch"),
        (tiny(40000, Version::V2, false), "v2 40k without pitch"),
    ] {
        let b = place.voice("b.pth", &other, 1, &[]);
        refused(voice::merge(&a, &b, 0.5, &out, ""), Kind::CheckpointMismatch, words);
    }
    let bf16 = place.voice("b.pth", &config, 2, &[("content_digest", "hubert-1 f54b v2 bf16")]);
    voice::merge(&a, &bf16, 0.5, &out, "").unwrap();
    let other = place.voice("b.pth", &config, 2, &[("content_digest", "hubert-1 aaaa v2 fp32")]);
    refused(voice::merge(&a, &other, 0.5, &out, ""), Kind::CheckpointMismatch, "was trained on content features of");
    refused(voice::merge(&a, &a, 1.5, &out, ""), Kind::ConfigValue, "alpha is 1.5");
}

#[test]
fn the_text_of_a_voice_changes_and_nothing_else() {
    let place = Place::new();
    // As Applio writes it: no "info", sr a number, and entries of its own.
    let path = place.path("applio.pth");
    let config = tiny(40000, Version::V2, true);
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
    refused(voice::set_info(&checkpoint, "x", &out), Kind::CheckpointMismatch, "is not an exported voice");
}

#[test]
fn files_that_cannot_be_rewritten_are_refused_by_name() {
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
    let config = tiny(40000, Version::V2, true);
    let described = voice::describe(&place.voice("a.pth", &config, 1, &[("f0_method", "rmvpe")])).unwrap();
    let file = torchfile::read(&place.path("a.pth")).unwrap();
    let parameters: usize = file.names().iter().map(|name| file.shape(name).unwrap().iter().product::<usize>()).sum();
    let expected = json!({
        "kind": "voice", "version": "v2", "f0": true, "sample_rate": 40000, "preset": "tiny", "speakers": null, "speaker_rows": 109,
        "vocoder": "HiFi-GAN", "converts": true, "refused": null, "way_out": null, "notes": [],
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
    assert_eq!(described["converts"], json!(false));
    assert!(described["way_out"].as_str().unwrap().contains("rvc-run voice_extract"), "{described:?}");
}
