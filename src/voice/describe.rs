//! What a voice or checkpoint is.

use super::{WRAPPERS, variant};
use crate::torchfile::{Plain, TorchFile};
use crate::{Result, files, torchfile};
use serde_json::{Map, Value as Json, json};
use std::path::Path;

/// Containers deeper than this are not followed: a voice has three levels.
const DEPTH: usize = 6;
/// Values of one file that are told; a voice has a few dozen besides its weights.
const MOST: usize = 1000;

/// What a voice or G_ checkpoint is: "kind" ("voice" or "checkpoint"), "version", "f0", "sample_rate", "preset", "speakers",
/// "weights", "parameters", "precision", "bytes", "sha256"; and under "entries" what else stands in it, such as "info" and
/// "model_card".
///
/// Errors: `checkpoint.mismatch` if it is neither; `checkpoint.damaged`, `file.*`.
pub fn describe(path: &Path) -> Result<Map<String, Json>> {
    let file = torchfile::read(path)?;
    let config = variant(&file)?;
    let prefix = file.state_dict_prefix(&WRAPPERS).unwrap_or_default();
    let names: Vec<String> = file.keys(prefix).into_iter().map(|(_, name)| name).collect();
    let parameters: usize = names.iter().filter_map(|name| file.shape(name)).map(|s| s.iter().product::<usize>()).sum();
    let precision = match names.first().and_then(|name| file.kind(name)) {
        Some(tch::Kind::Half) => "fp16",
        Some(tch::Kind::BFloat16) => "bf16",
        _ => "fp32",
    };
    let bytes = std::fs::metadata(path).map_or(0, |about| about.len());
    let mut left = MOST;
    let entries: Map<String, Json> = file
        .entries(&[])
        .into_iter()
        .flatten()
        .filter(|key| !["weight", "model", "optimizer"].contains(&key.as_str()) && !prefix.is_empty())
        .map(|key| (key.clone(), json_of(&file, &[&key], &mut left)))
        .collect();
    let described = json!({
        "kind": if prefix == "weight" { "voice" } else { "checkpoint" },
        "version": config.version,
        "f0": config.if_f0,
        "sample_rate": config.sample_rate,
        "preset": config.preset,
        "speakers": config.spk_embed_dim,
        "weights": names.len(),
        "parameters": parameters,
        "precision": precision,
        "bytes": bytes,
        "sha256": files::digest_file(path)?,
        "entries": entries,
    });
    Ok(if let Json::Object(map) = described { map } else { Map::new() })
}

/// A plain value as JSON; what has no place there as a text that names it.
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
