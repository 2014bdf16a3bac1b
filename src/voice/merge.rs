//! Merges two voices: every weight is a weighted mean of both (spec G.4).

use super::describe::entries;
use super::header::Speakers;
use super::variant::variant;
use super::write::plain;
use super::{About, KEYS, WRAPPERS, speaker_info, write};
use crate::models::encoder::same_encoder;
use crate::models::{SynthesizerConfig, weights};
use crate::torchfile::{self, TorchFile, Value};
use crate::{Error, Kind, Result, nn};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::Path;
use tch::Tensor;

/// Entries that the merged voice keeps from either voice; if both have one, the first one's.
const KEPT: [&str; 8] = [
    "embedder_model",
    "content_encoder",
    "content_digest",
    "f0_method",
    "f0_unvoiced",
    "vocoder",
    "author",
    "speakers_id",
];

/// Writes to `out` the voice `alpha` * `a` + (1 - `alpha`) * `b`; both may be voices or G_ checkpoints. If their numbers of
/// speakers differ, the first speakers of both are merged.
///
/// Errors: `checkpoint.mismatch` if the two differ in rate, version, pitch or size, or are known to have other content encoders;
/// `config.value` for an alpha outside 0..=1; `checkpoint.damaged`, `not_finite`, `file.*`.
pub fn merge(a: &Path, b: &Path, alpha: f64, out: &Path, info: &str) -> Result<()> {
    if !(0.0..=1.0).contains(&alpha) {
        return Err(Error::new(Kind::ConfigValue, format!("alpha is {alpha}, but must be between 0 and 1")));
    }
    let (one, two) = (torchfile::read(a)?, torchfile::read(b)?);
    let (mut config, mut other) = (variant(&one)?, variant(&two)?);
    let speakers = config.spk_embed_dim.min(other.spk_embed_dim);
    (config.spk_embed_dim, other.spk_embed_dim) = (speakers, speakers);
    if config != other {
        let encoder_of = |c: &crate::config::Config| {
            let pitch = if c.if_f0 { "with pitch" } else { "without pitch" };
            format!("{} {} {pitch}, {}", c.version, c.rate_name(), c.preset)
        };
        let message =
            format!("{} is {}, but {} is {}", a.display(), encoder_of(&config), b.display(), encoder_of(&other));
        return Err(Error::new(Kind::CheckpointMismatch, message).hint("only voices of one kind can be merged"));
    }
    one_encoder(&one, &two)?;
    let theirs: HashMap<String, String> = generator_keys(&two).into_iter().collect();
    let mut merged = Vec::new();
    for (key, name) in generator_keys(&one) {
        let first = one.tensor(&name)?;
        let second = theirs.get(&key).map(|name| two.tensor(name)).transpose()?;
        merged.push((key.clone(), mean(&first, second.as_ref(), alpha, &key).map_err(|e| e.path(b))?));
    }
    if merged.len() != theirs.len() {
        let message = format!("{} has {} weights, {} has {}", a.display(), merged.len(), b.display(), theirs.len());
        return Err(Error::new(Kind::CheckpointMismatch, message));
    }
    let mut card = super::card();
    card.insert("merged_from".into(), json!([origin(&one)?, origin(&two)?]));
    card.insert("alpha".into(), json!(alpha));
    let (first, second) = (entries(&one), entries(&two));
    let entry = |key: &&str| first.get(*key).or_else(|| second.get(*key)).filter(|value| !value.is_null());
    let mut more: Vec<(String, Value)> =
        KEPT.iter().filter_map(|key| Some(((*key).to_owned(), plain(entry(key)?)))).collect();
    more.extend(speaker_info(&speakers_of_both(&one, &two, speakers)));
    let about = About { sizes: &SynthesizerConfig::from_config(&config), info: info.to_owned(), more, card };
    write(out, merged.iter().map(|(key, tensor)| (key.as_str(), tensor.shallow_clone())), about)
}

/// A voice's entry in the card of the merged one, with all its own entries, so that none is lost.
fn origin(file: &TorchFile) -> Result<Json> {
    let mut origin = super::source(file.path())?;
    let own: serde_json::Map<String, Json> =
        entries(file).into_iter().filter(|(key, _)| key == "info" || !KEYS.contains(&key.as_str())).collect();
    origin["entries"] = Json::Object(own);
    Ok(origin)
}

/// The names of the common rows: joined if they differ, one voice's if only it has a name.
fn speakers_of_both(a: &TorchFile, b: &TorchFile, rows: i64) -> Vec<(i64, String)> {
    let named = |file: &TorchFile| match Speakers::of(file) {
        Speakers::Named(named) => named,
        Speakers::Counted(_) | Speakers::Unknown => Vec::new(),
    };
    let mut names = std::collections::BTreeMap::<i64, String>::new();
    for (id, name) in named(a).into_iter().chain(named(b)).filter(|(id, _)| (0..rows).contains(id)) {
        let both = names.entry(id).or_default();
        if both.is_empty() {
            *both = name;
        } else if *both != name {
            *both = format!("{both} + {name}");
        }
    }
    names.into_iter().collect()
}

/// Keys and names of a voice's weights.
fn generator_keys(file: &TorchFile) -> Vec<(String, String)> {
    let prefix = file.state_dict_prefix(&WRAPPERS).unwrap_or_default();
    let keys = file.keys(prefix).into_iter().map(|(key, name)| (weights::canonical(&key), name));
    keys.filter(|(key, _)| !key.contains("enc_q")).collect()
}

fn mean(a: &Tensor, b: Option<&Tensor>, alpha: f64, key: &str) -> Result<Tensor> {
    let misfit = |what: String| Error::new(Kind::CheckpointMismatch, what);
    let b = b.ok_or_else(|| misfit(format!("only the first voice has {key}")))?;
    nn::guard(|| {
        let _no_grad = tch::no_grad_guard();
        let (mut a, mut b) = (a.to_kind(tch::Kind::Float), b.to_kind(tch::Kind::Float));
        if key == "emb_g.weight" && a.size()[1..] == b.size()[1..] {
            let rows = a.size()[0].min(b.size()[0]);
            (a, b) = (a.narrow(0, 0, rows), b.narrow(0, 0, rows));
        }
        (a.size() == b.size()).then(|| a * alpha + b * (1.0 - alpha))
    })?
    .ok_or_else(|| {
        misfit(format!("{key} has the shape {:?} in the first voice, {:?} in the second", a.size(), b.size()))
    })
}

/// Errors with `checkpoint.mismatch` if both name their content encoder and the two differ.
fn one_encoder(a: &TorchFile, b: &TorchFile) -> Result<()> {
    let differ = |key: &str, same: fn(&str, &str) -> bool| match (a.text(&[key]), b.text(&[key])) {
        (Some(one), Some(two)) if !same(one, two) => Some((one.to_owned(), two.to_owned())),
        _ => None,
    };
    match differ("content_digest", same_encoder).or_else(|| differ("embedder_model", |one, two| one == two)) {
        None => Ok(()),
        Some((one, two)) => Err(Error::new(
            Kind::CheckpointMismatch,
            format!(
                "{} was trained on content features of {one}, {} on those of {two}",
                a.path().display(),
                b.path().display()
            ),
        )
        .hint("merge two voices with the same content encoder")),
    }
}
