//! HuBERT at full size against the Python reference: network, both spellings, batches, long clips, files that do not fit.

use crate::support::{self, Golden, weights};
use rvc_run::assets::Store;
use rvc_run::config::choices::{Precision, Version};
use rvc_run::config::{Config, choice};
use rvc_run::features::Setup;
use rvc_run::features::content::{Encoder, frames};
use rvc_run::files::Workspace;
use rvc_run::models::hubert::{Hubert, Output};
use rvc_run::torchfile::{self, Value};
use rvc_run::{Error, Kind, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tch::{Device, Tensor};

/// How much a clip's numbers may differ when others are in its batch: the order of additions inside libtorch.
const BATCH_TOLERANCE: f64 = 1e-5;

/// A workspace whose assets/hubert_base.pt is filled by the rule and wrapped as fairseq wraps it, and the network in it.
struct Room {
    folder: PathBuf,
    v2: Hubert,
}

fn room() -> MutexGuard<'static, Room> {
    static ROOM: OnceLock<Mutex<Room>> = OnceLock::new();
    let make = || {
        support::one_thread();
        let folder = support::shared_folder("hubert");
        let path = folder.join("assets/hubert_base.pt");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let filled = weights::filled(&support::golden_salt(), &weights::listed("hubert_fairseq"));
        let model = filled.into_iter().map(|(key, tensor)| (key, Value::Tensor(tensor)));
        torchfile::write(&path, &Value::dict([("args", Value::None), ("model", Value::ordered(model))])).unwrap();
        let v2 = Hubert::load(&torchfile::read(&path).unwrap(), Output::V2, tch::Kind::Float, Device::Cpu).unwrap();
        Mutex::new(Room { folder, v2 })
    };
    ROOM.get_or_init(make).lock().unwrap_or_else(PoisonError::into_inner)
}

fn setup(root: &Path, precision: Precision) -> Setup {
    let config = Config { feature_precision: precision, ..Config::default() };
    Setup::new(&Store::new(&Workspace::new(root)), &config).unwrap()
}

/// The encoder of a name or path, as the setting has it.
fn open(encoder: &str, version: Version, setup: &Setup) -> Result<Encoder> {
    Encoder::open(&choice("content_encoder", encoder)?, version, setup)
}

impl Room {
    fn file(&self) -> PathBuf {
        self.folder.join("assets/hubert_base.pt")
    }

    fn open(&self, version: Version, precision: Precision) -> Encoder {
        open("hubert_base", version, &setup(&self.folder, precision)).unwrap()
    }
}

fn audio() -> (Golden, Tensor) {
    let golden = Golden::open("hubert");
    let wave = golden.wave("audio");
    (golden, wave)
}

fn samples(wave: &Tensor) -> Vec<f32> {
    Vec::try_from(wave.flatten(0, -1)).unwrap()
}

fn tensor(content: &[f32], dim: usize) -> Tensor {
    Tensor::from_slice(content).view([-1, dim as i64])
}

#[test]
fn every_part_gives_the_references_numbers() {
    let room = room();
    let (golden, wave) = audio();
    golden.check("conv", &room.v2.features(&wave).unsqueeze(0));
    let hidden = room.v2.hidden(&wave);
    for (name, layer) in [("hidden_0", 0), ("hidden_9", 9)] {
        let frames = golden.tensor(name).size()[1];
        golden.check(name, &hidden[layer].narrow(0, 0, frames).unsqueeze(0));
    }
    golden.check("v2", &room.v2.forward(&[wave])[0].unsqueeze(0));
}

#[test]
fn both_versions_give_the_references_content_through_the_encoder() {
    let room = room();
    let (golden, wave) = audio();
    for (version, dim) in [(Version::V1, 256), (Version::V2, 768)] {
        let encoder = room.open(version, Precision::Fp32);
        assert_eq!((encoder.dim(), encoder.name()), (dim, "hubert_base"));
        let content = encoder.encode(&samples(&wave)).unwrap();
        golden.check(version.as_str(), &tensor(&content, dim).unsqueeze(0));
        let digest = encoder.digest();
        assert!(digest.starts_with("hubert-1 ") && digest.ends_with(&format!(" {version} fp32")), "{digest}");
    }
}

/// Clips of the golden wave of several lengths, as slicing leaves them.
fn clips(wave: &Tensor) -> Vec<Vec<f32>> {
    let all: Vec<f32> = samples(wave).into_iter().cycle().take(16_000).collect();
    [16000, 9000, 400, 12345, 16000, 719].map(|n| all[..n].to_vec()).into()
}

fn extract(encoder: &Encoder, clips: &[Vec<f32>]) -> Vec<rvc_run::Result<Vec<f32>>> {
    let task = rvc_run::task::Task::silent();
    encoder.extract(&task, "content", clips, Vec::len, |clip| Ok(clip.clone()), |_, content| Ok(content)).unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

#[test]
fn a_clip_has_the_same_content_in_any_batch() {
    let room = room();
    let clips = clips(&audio().1);
    let encoder = room.open(Version::V2, Precision::Fp32);
    let mut largest = 0.0f64;
    for (clip, together) in clips.iter().zip(extract(&encoder, &clips)) {
        let (together, alone) = (together.unwrap(), encoder.encode(clip).unwrap());
        assert_eq!(alone.len(), frames(clip.len()) * 768);
        largest = largest.max(worst(&together, &alone));
    }
    println!("largest difference in a batch: {largest:.1e}");
    assert!(largest <= BATCH_TOLERANCE, "{largest:e}");
}

#[test]
fn one_unusable_clip_does_not_end_its_batch() {
    let room = room();
    let mut clips = clips(&audio().1);
    clips[1][5] = f32::NAN;
    clips[3].truncate(399);
    let kinds: Vec<Option<Kind>> = extract(&room.open(Version::V2, Precision::Fp32), &clips)
        .into_iter()
        .map(|x| x.err().map(|e| e.kind()))
        .collect();
    assert_eq!(kinds, [None, Some(Kind::DataDamaged), None, Some(Kind::AudioEmpty), None, None]);
}

/// The name of a fairseq key in Hugging Face's HubertModel; None if it has none.
fn hugging_face(key: &str, old_norm: bool) -> Option<String> {
    let (g, v) = if old_norm {
        ("weight_g", "weight_v")
    } else {
        ("parametrizations.weight.original0", "parametrizations.weight.original1")
    };
    let key = match key {
        "label_embs_concat" => return None,
        "mask_emb" => "masked_spec_embed".to_owned(),
        _ if key.starts_with("layer_norm.") => format!("feature_projection.{key}"),
        _ => key
            .replace("post_extract_proj.", "feature_projection.projection.")
            .replace("encoder.pos_conv.0.weight_g", &format!("encoder.pos_conv_embed.conv.{g}"))
            .replace("encoder.pos_conv.0.weight_v", &format!("encoder.pos_conv_embed.conv.{v}"))
            .replace("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv.")
            .replace(".self_attn.", ".attention.")
            .replace(".self_attn_layer_norm.", ".layer_norm.")
            .replace(".fc1.", ".feed_forward.intermediate_dense.")
            .replace(".fc2.", ".feed_forward.output_dense."),
    };
    let key = if key.starts_with("feature_extractor.") {
        key.replace(".0.weight", ".conv.weight").replace(".0.2.", ".0.layer_norm.")
    } else {
        key
    };
    Some(key)
}

/// A Hugging Face folder with the room's weights, in the given spelling.
fn write_folder(room: &Room, to: &Path, prefix: &str, old_norm: bool) {
    let file = torchfile::read(&room.file()).unwrap();
    let entries = weights::listed("hubert_fairseq").into_iter().filter_map(|(key, _)| {
        let name = format!("{prefix}{}", hugging_face(&key, old_norm)?);
        Some((name, Value::Tensor(file.tensor(&format!("model.{key}")).unwrap())))
    });
    std::fs::create_dir_all(to).unwrap();
    torchfile::write(&to.join("pytorch_model.bin"), &Value::ordered(entries)).unwrap();
    let config = json!({ "hidden_size": 768, "num_hidden_layers": 12, "feat_extract_norm": "group", "classifier_proj_size": 256 });
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
}

#[test]
#[ignore = "slow: files of full size"]
fn every_spelling_of_the_same_weights_gives_the_same_content() {
    let room = room();
    let wave = samples(&audio().1);
    let encoder = room.open(Version::V1, Precision::Fp32);
    let (expected, ours) = (encoder.encode(&wave).unwrap(), encoder.digest());
    assert_ne!(
        ours.replace("v1", "v2"),
        room.open(Version::V2, Precision::Fp32).digest(),
        "version 2 runs other weights"
    );
    let listed: Vec<String> = std::fs::read_to_string(weights::keys_path("hubert_hf"))
        .unwrap()
        .lines()
        .map(|line| line.split(" [").next().unwrap().to_owned())
        .collect();
    for (prefix, old_norm) in [("", false), ("hubert.", true)] {
        let folder = tempfile::tempdir().unwrap();
        write_folder(&room, &folder.path().join("assets/contentvec"), prefix, old_norm);
        let encoder = open("contentvec", Version::V1, &setup(folder.path(), Precision::Fp32)).unwrap();
        assert!(encoder.encode(&wave).unwrap() == expected, "prefix {prefix:?}");
        assert_eq!(encoder.digest(), ours, "the same weights are the same encoder");
        let by_path = open("assets/contentvec", Version::V1, &setup(folder.path(), Precision::Fp32)).unwrap();
        assert_eq!(by_path.digest(), encoder.digest(), "by name or by path");
        if prefix.is_empty() {
            let file = torchfile::read(&folder.path().join("assets/contentvec/pytorch_model.bin")).unwrap();
            let (mut expected, mut names) = (listed.clone(), file.names());
            expected.sort();
            names.sort_unstable();
            assert_eq!(names, expected, "the test's spelling is Hugging Face's");
        }
    }
}

#[test]
#[ignore = "slow: files of full size"]
fn a_file_of_half_precision_and_a_folder_of_full_precision_are_the_same_encoder() {
    let room = room();
    let wave = samples(&audio().1);
    let folder = tempfile::tempdir().unwrap();
    // RVC's file holds the rounded weights of Applio's folder.
    let full = torchfile::read(&room.file()).unwrap();
    let halves = weights::listed("hubert_fairseq").into_iter().map(|(key, _)| {
        let half = full.tensor(&format!("model.{key}")).unwrap().to_kind(tch::Kind::Half);
        (key, Value::Tensor(half))
    });
    let assets = folder.path().join("assets");
    std::fs::create_dir(&assets).unwrap();
    torchfile::write(&assets.join("hubert_base.pt"), &Value::dict([("model", Value::ordered(halves))])).unwrap();
    write_folder(&room, &assets.join("embedders/contentvec"), "", false);

    let open = |name: &str| open(name, Version::V2, &setup(folder.path(), Precision::Fp32)).unwrap();
    let (file, applio) = (open("hubert_base"), open("contentvec"));
    assert!(file.notice().is_none() && applio.notice().is_none());
    for (one, other) in [(&file, &applio), (&applio, &file)] {
        one.must_be(&other.digest()).unwrap();
        assert!(one.differs_from(&other.digest()).unwrap().contains("by rounding"));
        assert!(one.differs_from(&one.digest()).is_none());
    }
    let difference = worst(&file.encode(&wave).unwrap(), &applio.encode(&wave).unwrap());
    println!("content differs by {difference:.1e}");
    assert!(difference > 0.0 && difference < 0.1, "{difference}");
    // Older voices and cache entries have only the exact digest.
    let before = rvc_run::models::encoder::exact(&applio.digest());
    assert!(before.split(' ').count() == 4 && before.len() == "hubert-1  v2 fp32".len() + 64, "{before}");
    applio.must_be(&before).unwrap();
    assert_eq!(rvc_run::models::encoder::exact(&file.digest()), file.digest(), "nothing of it is rounded off");

    // Each replaces the other if it is missing, with a notice.
    std::fs::remove_file(assets.join("hubert_base.pt")).unwrap();
    let stand_in = open("hubert_base");
    assert_eq!((stand_in.name(), stand_in.digest()), ("hubert_base", applio.digest()));
    assert!(stand_in.notice().unwrap().contains("contentvec is used instead"));
}

fn refused(root: &Path, name: &str, version: Version) -> Error {
    open(name, version, &setup(root, Precision::Fp32)).err().expect("it is refused")
}

#[test]
#[ignore = "slow: files of full size"]
fn files_that_do_not_fit_are_named_with_what_is_wrong() {
    let room = room();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("assets/contentvec");
    let missing = refused(folder.path(), "contentvec", Version::V2);
    assert_eq!(missing.kind(), Kind::AssetMissing);
    assert!(missing.hint_text().unwrap().contains("rvc-run assets fetch contentvec"), "{missing:?}");
    assert_eq!(refused(folder.path(), "./nowhere.pt", Version::V2).kind(), Kind::NotFound);

    write_folder(&room, &place, "", false);
    let config = place.join("config.json");
    std::fs::write(&config, r#"{"hidden_size": 1024}"#).unwrap();
    let error = refused(folder.path(), "contentvec", Version::V2);
    assert_eq!(error.kind(), Kind::ConfigMismatch);
    assert!(error.message().contains("hidden_size is 1024, but must be 768"), "{error}");
    std::fs::write(&config, r#"{"layer_norm_eps": 1e-05, "conv_stride": [5, 2, 2, 2, 2, 2, 4]}"#).unwrap();
    let error = refused(folder.path(), "contentvec", Version::V2);
    assert!(error.message().contains("conv_stride is [5,2,2,2,2,2,4], but must be [5,2,2,2,2,2,2]"), "{error}");
    std::fs::remove_file(&config).unwrap();
    let error = refused(folder.path(), "contentvec", Version::V2);
    assert!(error.message().contains("is there without config.json"), "{error}");
    let error = refused(folder.path(), "assets/contentvec", Version::V2);
    assert!(error.hint_text().unwrap().contains("config.json and pytorch_model.bin"), "{error:?}");
    std::fs::write(&config, "{}").unwrap();

    // Without final_proj: version 2 does not need it.
    let file = torchfile::read(&room.file()).unwrap();
    let without: Vec<(String, Value)> = weights::listed("hubert_fairseq")
        .into_iter()
        .filter(|(key, _)| !key.starts_with("final_proj"))
        .map(|(key, _)| (key.clone(), Value::Tensor(file.tensor(&format!("model.{key}")).unwrap())))
        .collect();
    let bare = folder.path().join("bare.pt");
    torchfile::write(&bare, &Value::ordered(without)).unwrap();
    open("./bare.pt", Version::V2, &setup(folder.path(), Precision::Fp32)).unwrap();
    let error = refused(folder.path(), "./bare.pt", Version::V1);
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("final_proj") && error.hint_text().unwrap().contains("version v2"), "{error:?}");

    // Another network, and half a file.
    torchfile::write(
        &bare,
        &Value::ordered([("dec.conv_pre.weight", Value::Tensor(Tensor::zeros([2], tch::kind::FLOAT_CPU)))]),
    )
    .unwrap();
    let error = refused(folder.path(), "./bare.pt", Version::V2);
    assert!(error.message().contains("missing"), "{error}");
    assert_eq!(error.message().matches("bare.pt").count(), 1, "{error}");
    assert!(error.hint_text().unwrap().contains("another network"), "{error:?}");
    let bytes = std::fs::read(room.file()).unwrap();
    std::fs::write(&bare, &bytes[..bytes.len() / 2]).unwrap();
    let error = refused(folder.path(), "./bare.pt", Version::V2);
    assert_eq!(error.kind(), Kind::CheckpointDamaged);
    assert!(error.message().contains("bare.pt"), "{error}");
}

#[test]
#[ignore = "slow: 70 s of sound through the full-size network in one pass"]
fn a_long_clip_in_pieces_is_close_to_one_pass_with_the_same_frames() {
    let room = room();
    // Over a minute: the golden wave repeated.
    let one = samples(&audio().1);
    let long: Vec<f32> = one.iter().cycle().take(70 * 16_000 + 123).copied().collect();
    let content = room.open(Version::V2, Precision::Fp32).encode(&long).unwrap();
    assert_eq!(content.len(), frames(long.len()) * 768);
    let whole = room.v2.forward(&[Tensor::from_slice(&long)]);
    let whole: Vec<f32> = Vec::try_from(whole[0].flatten(0, -1)).unwrap();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let cosine = dot(&content, &whole) / (dot(&content, &content) * dot(&whole, &whole)).sqrt();
    println!("cosine of pieces and one pass: {cosine:.6}");
    // 0.99999 was measured. The first norm has the statistics of a piece, not of the whole, so equality is impossible.
    assert!(cosine > 0.999, "{cosine}");
}

#[test]
fn bf16_content_points_the_same_way() {
    let room = room();
    let wave = samples(&audio().1);
    let (full, half) = (
        room.open(Version::V2, Precision::Fp32).encode(&wave).unwrap(),
        room.open(Version::V2, Precision::Bf16).encode(&wave).unwrap(),
    );
    let lowest = full
        .chunks(768)
        .zip(half.chunks(768))
        .map(|(a, b)| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        })
        .fold(1.0, f64::min);
    println!("lowest cosine of a frame in bf16: {lowest:.6}");
    assert!(lowest >= 0.999, "{lowest}");
}
