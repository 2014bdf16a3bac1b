//! HuBERT and related content encoders: finds the file, checks it, and encodes clips.

use super::{HOP_LENGTH, WINDOW_LENGTH, frames};
use crate::assets;
use crate::config::choices::{ContentEncoder, Version};
use crate::features::{Setup, finite};
use crate::models::hubert::{self, Hubert, Output};
use crate::{Error, Kind, Result, files, nn, torchfile};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Raise it when a value may change. The digest of the weights in use follows it in the encoder's digest, so that
/// fairseq's file and Hugging Face's folder of the same weights are one encoder.
const VERSION: &str = "hubert-1";
/// Samples in one batch when all are padded to the longest: a minute on the CPU (about 1.5 GB), ten on a GPU.
const MOST_ON_CPU: usize = 60 * 16_000;
const MOST_ON_GPU: usize = 600 * 16_000;
/// Longer clips are encoded in pieces of this length, so that neither memory nor time per second grows. Training clips, at most
/// 30 s long, are never that long.
const PIECE: usize = 60 * 16_000;
/// Samples on each side of a piece that are encoded and then discarded.
const MARGIN: usize = 5 * 16_000;
/// What an encoder's folder must hold.
const FOLDER: &str =
    "the folder must hold config.json and pytorch_model.bin, as Hugging Face's save_pretrained writes them";

/// An encoder with its weights.
pub(super) struct Network {
    hubert: Hubert,
    name: String,
    digest: String,
    dim: usize,
    /// Whether samples are first scaled to mean 0 and variance 1, as the encoder's own preprocessor_config.json requires.
    normalise: bool,
    /// The asset used in place of the requested one.
    instead: Option<String>,
    most: usize,
}

impl Network {
    /// The encoder of a name or path.
    ///
    /// Errors: `asset.missing`, `file.not_found`, `config.mismatch` for a Hugging Face folder of another network,
    /// `checkpoint.mismatch`, `checkpoint.damaged`, `device.memory`.
    pub fn open(encoder: &ContentEncoder, version: Version, setup: &Setup) -> Result<Self> {
        let (place, instead) = locate(encoder, setup)?;
        let (path, normalise) = if place.is_dir() { folder(&place)? } else { (place, false) };
        let output = match version {
            Version::V1 => Output::V1,
            Version::V2 => Output::V2,
        };
        let file = torchfile::read(&path)?;
        let hubert = Hubert::load(&file, output, setup.kind, setup.device)?;
        let normalised = if normalise { " normalised" } else { "" };
        let digest =
            format!("{VERSION} {} {version}{normalised} {}", hubert::digest(&file, output)?, setup.precision());
        Ok(Self {
            hubert,
            name: encoder.to_string(),
            digest,
            dim: if output == Output::V1 { hubert::PROJECTED } else { hubert::HIDDEN } as usize,
            normalise,
            instead,
            most: if setup.device.is_cuda() { MOST_ON_GPU } else { MOST_ON_CPU },
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Samples of one batch.
    pub fn most(&self) -> usize {
        self.most
    }

    pub fn notice(&self) -> Option<String> {
        let twin = self.instead.as_ref().map(|twin| {
            format!(
                "content encoder {} is missing; {twin} is used instead: the same weights except for rounding",
                self.name
            )
        });
        let waves = self.normalise.then(|| {
            "this encoder needs normalised samples (do_normalize); RVC normalises in training but not in conversion, so \
             a voice may sound different in conversion"
                .to_owned()
        });
        let all: Vec<String> = twin.into_iter().chain(waves).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The content of clips, row-major; an error for each that cannot be encoded.
    ///
    /// Errors: `torch`, `device.memory` for the whole batch.
    pub fn encode(&self, clips: &[Vec<f32>]) -> Result<Vec<Result<Vec<f32>>>> {
        let checked: Vec<Result<Vec<f32>>> = clips.iter().map(|clip| self.wave(clip)).collect();
        let short: Vec<&[f32]> =
            checked.iter().flatten().filter(|wave| wave.len() <= PIECE).map(Vec::as_slice).collect();
        let mut encoded = self.batch(&short)?.into_iter();
        checked
            .into_iter()
            .map(|wave| match wave {
                Ok(wave) if wave.len() <= PIECE => {
                    Ok(encoded.next().ok_or_else(|| Error::new(Kind::Internal, "a clip was lost in its batch")))
                }
                Ok(wave) => self.in_pieces(&wave).map(Ok),
                Err(error) => Ok(Err(error)),
            })
            .collect()
    }

    /// A clip ready for encoding, normalised if the encoder requires it. Errors: `audio.empty`, `data.damaged`.
    fn wave(&self, clip: &[f32]) -> Result<Vec<f32>> {
        super::long_enough(clip)?;
        let x = finite(clip)?;
        if !self.normalise {
            return Ok(clip.to_vec());
        }
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        Ok(x.iter().map(|x| ((x - mean) / (variance + 1e-5).sqrt()) as f32).collect())
    }

    fn batch(&self, waves: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        if waves.is_empty() {
            return Ok(Vec::new());
        }
        nn::guard(|| {
            let waves: Vec<Tensor> = waves.iter().map(|wave| Tensor::from_slice(wave)).collect();
            let content = self.hubert.forward(&waves);
            content
                .iter()
                .map(|x| Vec::try_from(x.flatten(0, -1).to_device(tch::Device::Cpu)).unwrap_or_default())
                .collect()
        })
    }

    /// The content of a long clip. Each piece has [`MARGIN`] on both sides; it differs from a single pass in the reach of attention and in the
    /// statistics of the first norm, which cover a minute instead of the whole clip.
    fn in_pieces(&self, wave: &[f32]) -> Result<Vec<f32>> {
        let (total, step, margin) = (frames(wave.len()), (PIECE - 2 * MARGIN) / HOP_LENGTH, MARGIN / HOP_LENGTH);
        let mut content = Vec::with_capacity(total * self.dim);
        for first in (0..total).step_by(step) {
            let (last, from) = ((first + step).min(total), first.saturating_sub(margin));
            let until = ((last + margin - 1) * HOP_LENGTH + WINDOW_LENGTH).min(wave.len());
            let piece = self.batch(&[&wave[from * HOP_LENGTH..until]])?.pop().unwrap_or_default();
            content.extend_from_slice(&piece[(first - from) * self.dim..(last - from) * self.dim]);
        }
        Ok(content)
    }
}

/// The file or folder of an encoder, and its name if it replaces the requested one.
fn locate(encoder: &ContentEncoder, setup: &Setup) -> Result<(PathBuf, Option<String>)> {
    let name = match encoder {
        ContentEncoder::Named(name) => *name,
        ContentEncoder::Path(path) => return Ok((setup.store.given("content_encoder", path)?, None)),
    };
    let asked = assets::encoder_file(name);
    let (asset, path) = setup.store.locate_or_twin(asked)?;
    let is_other = asset.name != name.as_str() && asset.name != asked;
    Ok((path, is_other.then(|| asset.name.clone())))
}

/// The values that Hugging Face's config.json must have, where it states them, for this network to be the one described (HuBERT base,
/// spec C.1, C.3); they are also that library's defaults.
fn hugging_face_config() -> Value {
    json!({
        "hidden_size": hubert::HIDDEN,
        "num_hidden_layers": hubert::LAYERS,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "do_stable_layer_norm": false,
        "conv_bias": false,
        "conv_dim": [512, 512, 512, 512, 512, 512, 512],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "feat_extract_activation": "gelu",
        "feat_extract_norm": "group",
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
    })
}

/// The weights of a Hugging Face folder, and whether it needs normalised samples.
fn folder(folder: &Path) -> Result<(PathBuf, bool)> {
    let config = read_json(&folder.join("config.json"))
        .map_err(|e| if e.kind() == Kind::NotFound { e.hint(FOLDER) } else { e })?;
    for (key, expected) in hugging_face_config().as_object().into_iter().flatten() {
        if let Some(given) = config.get(key).filter(|given| *given != expected) {
            let path = folder.join("config.json");
            return Err(Error::new(
                Kind::ConfigMismatch,
                format!("{}: {key} is {given}, but must be {expected}", path.display()),
            )
            .path(path)
            .hint("this is another network than HuBERT base, which RVC's voices are made for"));
        }
    }
    let preprocessor = folder.join("preprocessor_config.json");
    let normalise = preprocessor.exists() && read_json(&preprocessor)?["do_normalize"] == true;
    let weights = folder.join("pytorch_model.bin");
    if weights.exists() {
        return Ok((weights, normalise));
    }
    let safetensors = folder.join("model.safetensors").exists();
    Err(Error::new(Kind::NotFound, format!("{} has no pytorch_model.bin", folder.display())).path(folder).hint(
        if safetensors {
            "model.safetensors is not read; save the model with safe_serialization=False, or take the .bin of the publisher"
        } else {
            FOLDER
        },
    ))
}

fn read_json(path: &Path) -> Result<Value> {
    files::read_json(path).map_err(|e| match e.kind() {
        Kind::DataDamaged => Error::new(Kind::AssetDamaged, e.message().to_owned()).path(path).source(e),
        _ => e,
    })
}
