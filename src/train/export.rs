//! Exports the voice of a training: its generator's weights with a record of how they were trained (spec G.3).

use crate::config::Config;
use crate::models::{Synthesizer, SynthesizerConfig, weights};
use crate::nn::Params;
use crate::torchfile::{self, Value};
use crate::train::checkpoint::{self, Manifest};
use crate::voice::{self, About};
use crate::{Error, Kind, Result, files};
use serde_json::{Map, json};
use std::path::Path;

/// Writes a voice from G's parameters and the manifest of its training in the folder `logs`.
///
/// After RVC's six keys, which its readers need, come the methods behind the voice's features, if known, so that
/// conversion can use the same, the entries of Applio's model information, and a model card.
///
/// Errors: `not_finite` if a weight is not finite or does not fit half precision; `file.write`, `file.disk_full`.
pub fn write(path: &Path, params: &Params, manifest: &Manifest, logs: &Path) -> Result<()> {
    write_as(path, params, manifest, logs, false)
}

fn write_as(path: &Path, params: &Params, manifest: &Manifest, logs: &Path, averaged: bool) -> Result<()> {
    let config = Config::from_json(&manifest.config)?;
    // Without a digest another program made the features; its experiment may name the methods. No other program has the built-in
    // encoder: there it means "unknown".
    let text = |key: &str, value: &str| (key.to_owned(), Value::text(value));
    let mut more = Vec::new();
    if manifest.content_digest.is_some() || config.content_encoder.is_network() {
        more.push(text("embedder_model", voice::embedder_model(&config.content_encoder)));
        more.push(text("content_encoder", config.content_encoder.as_str()));
        more.extend(manifest.content_digest.iter().map(|digest| text("content_digest", digest)));
        more.extend(manifest.content_digest.iter().map(|_| text("f0_method", config.f0_method.as_str())));
        more.push(text("f0_unvoiced", config.f0_unvoiced.as_str()));
    }
    let speakers = (0..).zip(manifest.speakers.iter().cloned()).filter(|(_, name)| !name.is_empty());
    let speakers: Vec<(i64, String)> = speakers.collect();
    more.extend(voice::speaker_info(&speakers));
    // Without a digest the list is another program's, with any number of speakers.
    if manifest.content_digest.is_some() {
        more.push(("speakers_id".to_owned(), Value::Int(speakers.len().max(1) as i64)));
    }
    let sizes = SynthesizerConfig::from_config(&config);
    more.extend(applio(manifest, &config, &sizes, logs));
    let about = About {
        sizes: &sizes,
        info: format!("{}epoch", manifest.epoch),
        more,
        card: card(manifest, averaged.then_some(config.ema_decay)),
    };
    voice::write(path, params.iter().map(|(key, tensor)| (key, tensor.shallow_clone())), about)
}

/// Writes the voice of a saved epoch, or of its averaged generator; the files are verified first.
///
/// Errors: `checkpoint.damaged`, `checkpoint.mismatch`, `file.not_found` if there is no average, and as [`write`].
pub fn from_checkpoint(logs: &Path, epoch: i64, averaged: bool, path: &Path) -> Result<()> {
    let manifest = checkpoint::verify(logs, epoch)?;
    let config = Config::from_json(&manifest.config)?;
    let generator = Synthesizer::new(&SynthesizerConfig::from_config(&config), tch::Device::Cpu, config.seed)?;
    let [g, _, _] = checkpoint::paths(logs, epoch);
    let ema = checkpoint::average_path(logs, epoch);
    if averaged && !manifest.names(&ema) {
        return Err(Error::new(Kind::NotFound, format!("the checkpoint of epoch {epoch} has no averaged generator"))
            .path(logs)
            .hint("train with ema_decay, such as 0.999, to get one"));
    }
    let g = if averaged { ema } else { g };
    weights::fill(&torchfile::read(&g)?, "model", generator.params())?;
    write_as(path, generator.params(), &manifest, logs, averaged)
}

/// The entries that Applio writes and its model information shows. `logs` is the folder of the training, named after the voice.
///
/// Source: Applio's rvc/train/process/extract_model.py and model_information.py. The date is the checkpoint's, so that exporting an
/// epoch again gives the same file, or that of `SOURCE_DATE_EPOCH` (reproducible-builds.org), so that the same training does.
fn applio(manifest: &Manifest, config: &Config, sizes: &SynthesizerConfig, logs: &Path) -> Vec<(String, Value)> {
    let name = logs.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let step = manifest.next.step;
    let [g, _, _] = checkpoint::paths(logs, manifest.epoch);
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let saved = || std::fs::metadata(g).and_then(|about| about.modified()).ok().map(jiff::Timestamp::try_from)?.ok();
    let saved = given.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).or_else(saved);
    let saved = saved.unwrap_or_else(jiff::Timestamp::now);
    let date = saved.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string();
    let sizes = serde_json::Value::Array(sizes.export_list());
    let identity = format!("{name}-{}-{step}-{}-{}-{sizes}", manifest.epoch, config.sample_rate, config.version);
    vec![
        ("epoch".to_owned(), Value::Int(manifest.epoch)),
        ("step".to_owned(), Value::Int(step)),
        ("model_name".to_owned(), Value::text(name)),
        ("author".to_owned(), Value::text("rvc-run")),
        ("creation_date".to_owned(), Value::text(date)),
        ("model_hash".to_owned(), Value::text(files::digest(identity))),
        ("vocoder".to_owned(), Value::text("HiFi-GAN")),
    ]
}

/// The model card. Nothing in it depends on when or where the file was written.
fn card(manifest: &Manifest, ema_decay: Option<f64>) -> Map<String, serde_json::Value> {
    let mut card = voice::card();
    let about = json!({
        "recipe": manifest.recipe,
        "epoch": manifest.epoch,
        "seed": manifest.seed,
        "dataset": manifest.data_digest,
        "settings": manifest.config_digest,
        "pretrained_g": manifest.base.g,
        "pretrained_d": manifest.base.d,
        "metrics": manifest.losses,
    });
    if let serde_json::Value::Object(about) = about {
        card.extend(about);
    }
    if let Some(decay) = ema_decay {
        card.insert("ema_decay".into(), json!(decay));
    }
    card
}
