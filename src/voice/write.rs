//! Writes a voice: half-precision weights without the posterior encoder, then the entries that readers need.

use super::KEYS;
use crate::config::choices::{ContentEncoder, EncoderName};
use crate::models::SynthesizerConfig;
use crate::torchfile::{self, Value};
use crate::{Error, Kind, Result, nn};
use serde_json::{Map, Value as Json};
use std::path::Path;
use tch::Tensor;

/// The entries of a voice besides its weights.
pub struct About<'a> {
    pub sizes: &'a SynthesizerConfig,
    /// RVC's free text; a training writes "<n>epoch".
    pub info: String,
    /// Entries after RVC's six, which its readers ignore, such as "content_digest".
    pub more: Vec<(String, Value)>,
    /// The origin of the voice, for people and for later runs; stored as "model_card".
    pub card: Map<String, Json>,
}

/// Writes a voice from a generator's weights by key; those of the posterior encoder are left out.
///
/// Errors: `not_finite` if a weight is not finite or does not fit half precision; `file.write`, `file.disk_full`.
pub fn write<'a>(path: &Path, weights: impl Iterator<Item = (&'a str, Tensor)>, about: About) -> Result<()> {
    let mut entries = about.sizes.export_list();
    let mut halves = Vec::new();
    for (key, tensor) in weights.filter(|(key, _)| !key.contains("enc_q")) {
        let half = nn::guard(|| tch::no_grad(|| tensor.detach().to_kind(tch::Kind::Half).to_device(tch::Device::Cpu)))?;
        if !nn::guard(|| half.isfinite().all().int64_value(&[]) == 1)? {
            return Err(Error::new(
                Kind::NotFinite,
                format!("the voice cannot be exported: {key} has values that half precision cannot hold"),
            )
            .hint("the training has diverged; export an earlier epoch, or train with a lower learning_rate"));
        }
        // w-okada trusts the number of speakers, so it must be that of the weights.
        if let ("emb_g.weight", Some(entry)) = (key, entries.get_mut(15)) {
            *entry = half.size().first().copied().into();
        }
        halves.push((key, Value::Tensor(half)));
    }
    let [weight, config, info, sr, f0, version] = KEYS;
    let mut voice = vec![
        (weight.to_owned(), Value::dict(halves)),
        (config.to_owned(), Value::List(entries.iter().map(plain).collect())),
        (info.to_owned(), Value::text(&about.info)),
        (sr.to_owned(), Value::text(format!("{}k", about.sizes.sample_rate / 1000))),
        (f0.to_owned(), Value::Int(i64::from(about.sizes.f0))),
        (version.to_owned(), Value::text(about.sizes.version().as_str())),
    ];
    voice.extend(about.more);
    voice.push(("model_card".into(), plain(&Json::Object(about.card))));
    torchfile::write(path, &Value::ordered(voice))
}

/// Applio's name of an encoder, which selects it for a voice; RVC's hubert_base is ContentVec (spec C.2).
pub fn embedder_model(encoder: &ContentEncoder) -> &str {
    match encoder {
        ContentEncoder::Named(EncoderName::HubertBase) => EncoderName::Contentvec.as_str(),
        other => other.as_str(),
    }
}

/// The entry that names a voice's speakers, as RVC WebUI writes it since July 2026; none without speakers.
pub fn speaker_info(speakers: &[(i64, String)]) -> Option<(String, Value)> {
    let speaker = |(id, name): &(i64, String)| Value::dict([("id", Value::Int(*id)), ("name", Value::text(name))]);
    (!speakers.is_empty()).then(|| ("speaker_info".to_owned(), Value::List(speakers.iter().map(speaker).collect())))
}

pub(super) fn plain(value: &Json) -> Value {
    match value {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int),
        Json::String(text) => Value::text(text),
        Json::Array(items) => Value::List(items.iter().map(plain).collect()),
        Json::Object(map) => Value::dict(map.iter().map(|(k, v)| (k.as_str(), plain(v)))),
    }
}
