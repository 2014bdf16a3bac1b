//! The exported voice: half-precision weights without the posterior encoder, opened by RVC, Applio and w-okada (spec G.3).

use crate::config::Config;
use crate::models::{Synthesizer, SynthesizerConfig, weights};
use crate::nn::Params;
use crate::torchfile::{self, Value};
use crate::train::checkpoint;
use crate::{Error, Kind, Result, nn};
use std::path::Path;

/// Writes a voice from G's parameters; `epoch` goes into its "info".
///
/// Behind RVC's six keys, which its readers look for, stand what made the features that the voice was trained on, for
/// conversion with the same: `content_digest` if it is known.
///
/// Errors: `not_finite` if a weight is not finite or does not fit half precision; `file.write`, `file.disk_full`.
pub fn write(path: &Path, params: &Params, config: &Config, epoch: i64, content_digest: Option<&str>) -> Result<()> {
    let sizes = SynthesizerConfig::from_config(config);
    let mut weights = Vec::new();
    for (key, tensor) in params.iter().filter(|(key, _)| !key.contains("enc_q")) {
        let half = nn::guard(|| tch::no_grad(|| tensor.detach().to_kind(tch::Kind::Half).to_device(tch::Device::Cpu)))?;
        if !nn::guard(|| half.isfinite().all().int64_value(&[]) == 1)? {
            return Err(Error::new(
                Kind::NotFinite,
                format!("the voice cannot be exported: {key} has values that half precision cannot hold"),
            )
            .hint("the training has diverged; export an earlier epoch, and train with a lower learning_rate"));
        }
        weights.push((key, Value::Tensor(half)));
    }
    let mut entries = sizes.export_list();
    // w-okada takes the number of speakers as it stands, so it must be that of the weights.
    if let (Some(entry), Some(emb_g)) = (entries.get_mut(15), params.get("emb_g.weight")) {
        *entry = emb_g.size()[0].into();
    }
    let voice = Value::ordered([
        ("weight", Value::dict(weights)),
        ("config", Value::List(entries.iter().map(plain).collect())),
        ("info", Value::text(format!("{epoch}epoch"))),
        ("sr", Value::text(config.rate_name())),
        ("f0", Value::Int(i64::from(config.if_f0))),
        ("version", Value::text(&config.version)),
        ("embedder_model", Value::text(embedder_model(&config.content_encoder))),
        ("content_encoder", Value::text(&config.content_encoder)),
        ("content_digest", content_digest.map_or(Value::None, Value::text)),
        ("f0_method", Value::text(&config.f0_method)),
        ("f0_unvoiced", Value::text(&config.f0_unvoiced)),
    ]);
    torchfile::write(path, &voice)
}

/// Applio's name of an encoder, by which it chooses one for a voice; RVC's hubert_base is ContentVec (spec C.2).
fn embedder_model(content_encoder: &str) -> &str {
    if content_encoder == "hubert_base" { "contentvec" } else { content_encoder }
}

/// Writes the voice of a saved epoch; the pair is verified first.
///
/// Errors: `checkpoint.damaged`, `checkpoint.mismatch`, and as [`write`].
pub fn from_checkpoint(logs: &Path, epoch: i64, path: &Path) -> Result<()> {
    let manifest = checkpoint::verify(logs, epoch)?;
    let config = Config::from_json(&manifest.config)?;
    let generator = Synthesizer::new(&SynthesizerConfig::from_config(&config), tch::Device::Cpu, config.seed)?;
    let [g, _, _] = checkpoint::paths(logs, epoch);
    weights::fill(&torchfile::read(&g)?, "model", generator.params())?;
    write(path, generator.params(), &config, epoch, manifest.content_digest.as_deref())
}

fn plain(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => {
            n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        serde_json::Value::String(text) => Value::text(text),
        serde_json::Value::Array(items) => Value::List(items.iter().map(plain).collect()),
        serde_json::Value::Object(map) => Value::dict(map.iter().map(|(k, v)| (k.as_str(), plain(v)))),
    }
}
