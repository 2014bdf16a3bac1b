//! Describes a voice or checkpoint.

use super::header::{Speakers, header};
use super::variant::vocoder;
use super::{Voice, WRAPPERS};
use crate::config::choices::Precision;
use crate::torchfile::{Plain, TorchFile};
use crate::{Error, Result, files, torchfile};
use serde_json::{Map, Value as Json, json};
use std::path::Path;

/// Deepest nesting that is read: a voice has three levels.
const DEPTH: usize = 6;
/// Most values that are returned; a voice has a few dozen besides its weights.
const MOST: usize = 1000;

/// Facts about a voice or G_ checkpoint: "kind" ("voice" or "checkpoint"), "version", "f0", "sample_rate", "preset", "speakers" (names by
/// number, their count, or null), "speaker_rows", "vocoder", "weights", "parameters", "precision", "bytes", "sha256"; "converts", and if
/// that is false "refused" and "way_out", the message and hint of a conversion; "notes", where the file contradicts its weights; and
/// under "entries" everything else, such as "info" and "model_card". Unknown facts of a voice that is refused are null.
///
/// Errors: `checkpoint.mismatch` if it is neither; `checkpoint.damaged`, `file.*`.
pub fn describe(path: &Path) -> Result<Map<String, Json>> {
    let file = torchfile::read(path)?;
    let prefix = file.state_dict_prefix(&WRAPPERS).unwrap_or_default();
    let is_voice = prefix == "weight";
    let header = header(&file);
    // The same checks as in a conversion.
    let refused = if is_voice { Voice::open(path, tch::Device::Cpu).err() } else { Some(super::read::no_voice(&file)) };
    let header = match header {
        // A defective voice is described as far as possible.
        Err(_) if is_voice && file.keys(prefix).iter().any(|(key, _)| key.starts_with("enc_p.")) => None,
        other => Some(other?),
    };
    let names: Vec<String> = file.keys(prefix).into_iter().map(|(_, name)| name).collect();
    let parameters: usize = names.iter().filter_map(|name| file.shape(name)).map(|s| s.iter().product::<usize>()).sum();
    let precision = match names.first().and_then(|name| file.kind(name)) {
        Some(tch::Kind::Half) => Precision::Fp16,
        Some(tch::Kind::BFloat16) => Precision::Bf16,
        _ => Precision::Fp32,
    };
    let config = header.as_ref().map(|header| &header.config);
    let bytes = std::fs::metadata(path).map_or(0, |about| about.len());
    let described = json!({
        "kind": if is_voice { "voice" } else { "checkpoint" },
        "version": config.map(|c| c.version),
        "f0": config.map(|c| c.if_f0),
        "sample_rate": config.map(|c| c.sample_rate),
        "preset": config.map(|c| c.preset),
        "speakers": speakers(&file),
        "speaker_rows": config.map(|c| c.spk_embed_dim),
        "vocoder": vocoder(&file),
        "weights": names.len(),
        "parameters": parameters,
        "precision": precision,
        "bytes": bytes,
        "sha256": files::digest_file(path)?,
        "converts": refused.is_none(),
        "refused": refused.as_ref().map(Error::message),
        "way_out": refused.as_ref().and_then(Error::hint_text),
        "notes": header.map(|header| header.notes).unwrap_or_default(),
        "entries": if prefix.is_empty() { Map::new() } else { entries(&file) },
    });
    Ok(if let Json::Object(map) = described { map } else { Map::new() })
}

fn speakers(file: &TorchFile) -> Json {
    match Speakers::of(file) {
        Speakers::Named(named) => {
            Json::Object(named.into_iter().map(|(id, name)| (id.to_string(), json!(name))).collect())
        }
        Speakers::Counted(n) => json!(n),
        Speakers::Unknown => Json::Null,
    }
}

/// The entries of a voice or checkpoint besides its weights.
pub(super) fn entries(file: &TorchFile) -> Map<String, Json> {
    let mut left = MOST;
    file.entries(&[])
        .into_iter()
        .flatten()
        .filter(|key| !["weight", "model", "optimizer"].contains(&key.as_str()))
        .map(|key| (key.clone(), json_of(file, &[&key], &mut left)))
        .collect()
}

/// A plain value as JSON; a text in place of values that JSON lacks.
fn json_of(file: &TorchFile, path: &[&str], left: &mut usize) -> Json {
    *left = left.saturating_sub(1);
    let children = |left: &mut usize| -> Vec<(String, Json)> {
        let keys = file.entries(path).unwrap_or_default();
        let fitting = keys.into_iter().take(*left).collect::<Vec<_>>();
        fitting
            .into_iter()
            .map(|key| {
                let json = json_of(file, &[path, &[key.as_str()]].concat(), left);
                (key, json)
            })
            .collect()
    };
    match file.value(path) {
        _ if *left == 0 || path.len() > DEPTH => json!("..."),
        None | Some(Plain::None) => Json::Null,
        Some(Plain::Bool(b)) => json!(b),
        Some(Plain::Int(n)) => json!(n),
        Some(Plain::Big(n)) => json!(n.to_string()),
        Some(Plain::Float(x)) => json!(x),
        Some(Plain::Text(text)) => json!(text),
        Some(Plain::Bytes(bytes)) => json!(format!("{} bytes", bytes.len())),
        Some(Plain::List(_) | Plain::Tuple(_) | Plain::Set(_)) => {
            children(left).into_iter().map(|(_, json)| json).collect()
        }
        Some(Plain::Dict(_)) => Json::Object(children(left).into_iter().collect()),
        Some(Plain::Tensor) => json!("a tensor"),
        Some(Plain::Object(class)) => json!(format!("an object of {class}, which is not built")),
    }
}
