//! logs/<voice>/config.json as RVC writes it (spec D.2), so that RVC's own programs can train on and export.
//!
//! The file also records what the folder was made for: other networks or another rate in the same folder are refused.

use crate::config::Config;
use crate::config::choices::{EncoderName, F0Unvoiced, Preset, SineGenerator, Version};
use crate::models::SynthesizerConfig;
use crate::task::Task;
use crate::torchfile;
use crate::train::{checkpoint, foreign, python};
use crate::{Error, Kind, Result, files, voice};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SPEAKERS: &str = "spk_embed_dim";
/// The hidden channels of the preset "tiny".
const TINY: i64 = 32;

/// logs/<voice>/config.json.
pub fn path(logs: &Path) -> PathBuf {
    logs.join("config.json")
}

/// The settings in RVC's three groups: data, model, train. `epochs` is RVC's upper bound, since the length of a run is an argument there.
///
/// Source: RVC's configs/v1/40k.json (also for version 2 at 40k), configs/v2/32k.json, 48k.json. `fp16_run` is false because
/// training here is in float32, as RVC sets it on such devices.
pub fn settings(config: &Config) -> Result<Value> {
    let model = serde_json::to_value(SynthesizerConfig::from_config(config))
        .map_err(|e| Error::new(Kind::Internal, format!("the network's sizes cannot be written: {e}")))?;
    Ok(json!({
        "data": {
            "filter_length": config.n_fft(),
            "hop_length": config.hop_length(),
            "max_wav_value": 32768.0,
            "mel_fmax": null,
            "mel_fmin": 0.0,
            "n_mel_channels": config.n_mels(),
            "sampling_rate": config.sample_rate,
            "win_length": config.n_fft(),
        },
        "model": model,
        "train": {
            "batch_size": config.batch_size,
            "betas": config.betas,
            "c_kl": config.c_kl,
            "c_mel": whole(config.c_mel),
            "epochs": 20000,
            "eps": config.eps,
            "fp16_run": false,
            "init_lr_ratio": 1,
            "learning_rate": config.learning_rate,
            "log_interval": config.log_interval,
            "lr_decay": config.lr_decay,
            "seed": config.seed,
            "segment_size": config.segment_size,
            "warmup_epochs": 0,
        },
    }))
}

/// A whole number is written without a decimal point: RVC's c_mel is 45.
fn whole(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

/// Errors with `config.mismatch`, naming both values, if the folder's config.json was made for other networks or another rate.
/// A folder without the file accepts everything.
///
/// Errors also: `data.damaged` if the file is not JSON.
pub fn check(logs: &Path, config: &Config) -> Result<()> {
    let path = path(logs);
    if !path.exists() {
        return Ok(());
    }
    let there = parse(&path)?;
    let ours = settings(config)?;
    // Applio writes sample_rate where RVC writes sampling_rate.
    let rate = there["data"].get("sampling_rate").or_else(|| there["data"].get("sample_rate"));
    same(&path, "sample_rate", rate, &ours["data"]["sampling_rate"])?;
    for key in ["filter_length", "hop_length", "n_mel_channels"] {
        same(&path, &format!("data.{key}"), there["data"].get(key), &ours["data"][key])?;
    }
    if let Some(preset) = preset_of(&there["model"], config)? {
        same(&path, "preset", Some(&json!(preset)), &json!(config.preset))?;
    }
    // The weights decide the number of speaker rows: Applio's file always says 109.
    for (key, value) in ours["model"].as_object().into_iter().flatten().filter(|(key, _)| *key != SPEAKERS) {
        same(&path, &format!("model.{key}"), there["model"].get(key), value)?;
    }
    Ok(())
}

/// The preset with exactly these sizes, if there is one.
fn preset_of(model: &Value, config: &Config) -> Result<Option<Preset>> {
    let spk_embed_dim = model.get(SPEAKERS).and_then(Value::as_i64).unwrap_or(config.spk_embed_dim);
    for &preset in Preset::ALL {
        if settings(&Config { spk_embed_dim, preset, ..config.clone() })?["model"] == *model {
            return Ok(Some(preset));
        }
    }
    Ok(None)
}

fn same(path: &Path, key: &str, there: Option<&Value>, ours: &Value) -> Result<()> {
    // A missing key is no difference; 0 and 0.0 are the same size.
    let equal = |a: &Value, b: &Value| a == b || (a.is_number() && a.as_f64() == b.as_f64());
    match there {
        Some(value) if !equal(value, ours) => Err(Error::new(
            Kind::ConfigMismatch,
            format!("{} was made with {key} {value}, but the settings ask for {ours}", path.display()),
        )
        .path(path)
        .hint("use another voice name or the settings of the folder, or start over in this folder with --fresh")),
        _ => Ok(()),
    }
}

/// Writes the folder's config.json if its content differs. Call [`check`] first.
///
/// Errors: `file.write`, `file.disk_full`, `data.damaged`.
///
/// A file of another program keeps its own keys and spellings, so that that program can still open it.
pub fn write(logs: &Path, config: &Config) -> Result<()> {
    let path = path(logs);
    let mut new = settings(config)?;
    if path.is_file()
        && let Value::Object(old) = parse(&path)?
    {
        new = merged(old, &new);
    }
    let text = python::json(&new);
    if files::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    files::write(&path, text)
}

/// Writes the names of several speakers into the folder's config.json, unless it already has some.
///
/// Errors: as [`write`].
pub fn name_speakers(logs: &Path, names: &BTreeMap<i64, String>) -> Result<()> {
    let path = path(logs);
    let mut there = parse(&path)?;
    let Some(map) = there.as_object_mut().filter(|map| !names.is_empty() && !map.contains_key("speaker_info")) else {
        return Ok(());
    };
    let listed: Vec<Value> = names.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
    map.insert("speaker_info".to_owned(), json!(listed));
    files::write(&path, python::json(&there))
}

/// The names of speakers in the folder's config.json by number, for a table of `rows`; "" for one without a name.
///
/// Errors: `data.damaged`, `file.read`.
pub fn speakers(logs: &Path, rows: i64) -> Result<Vec<String>> {
    let path = path(logs);
    let there = if path.is_file() { parse(&path)? } else { Value::Null };
    let mut names = Vec::new();
    for speaker in there["speaker_info"].as_array().into_iter().flatten() {
        let (Some(id), Some(name)) = (speaker["id"].as_i64(), speaker["name"].as_str()) else { continue };
        if (0..rows).contains(&id) {
            let place = id as usize;
            names.resize(names.len().max(place + 1), String::new());
            name.clone_into(&mut names[place]);
        }
    }
    Ok(names)
}

/// `old` with our values. Applio's file, recognised by its data.sample_rate, gets values only for its own keys.
fn merged(mut old: Map<String, Value>, ours: &Value) -> Value {
    let applio = old.get("data").is_some_and(|data| data.get("sample_rate").is_some());
    for (group, values) in ours.as_object().into_iter().flatten() {
        let Some(Value::Object(there)) = old.get_mut(group) else {
            old.insert(group.clone(), values.clone());
            continue;
        };
        for (key, value) in values.as_object().into_iter().flatten() {
            let key = if applio && key == "sampling_rate" { "sample_rate" } else { key };
            // 45 and 45.0 are equal: the existing spelling stays.
            let same =
                there.get(key).is_some_and(|old| old == value || (old.is_number() && old.as_f64() == value.as_f64()));
            if !same && (!applio || there.contains_key(key)) {
                there.insert(key.to_owned(), value.clone());
            }
        }
        // A wrapper script's `sr` in this group makes RVC's constructor fail (spec D.2).
        if group == "model" {
            there.remove("sr");
        }
    }
    Value::Object(old)
}

/// The settings of a folder that RVC, Applio or rvc-run trained in, for [`Config::from_json`]: those in its config.json, the files
/// beside it and its newest checkpoint. The caller chooses the others.
///
/// The year of RVC decides four constants (spec section 0): its config.json has had no `fp16_run` since 2026. A missing config.json
/// is a warning if a checkpoint has the networks' sizes.
///
/// Errors: `file.not_found` if nothing was trained; `data.damaged`; `checkpoint.damaged`, `checkpoint.mismatch`.
pub fn of_folder(task: &Task, logs: &Path) -> Result<Map<String, Value>> {
    let path = path(logs);
    let ours = checkpoint::newest(task, logs)?;
    let theirs = foreign::newest(task, logs, ours.as_ref())?;
    let mut found = Map::new();
    if path.exists() {
        found = of_json(task, &path)?;
    } else if ours.is_none() && theirs.is_none() {
        return Err(Error::new(Kind::NotFound, format!("nothing was trained in {}", logs.display()))
            .path(&path)
            .hint("train the voice first, or copy the whole folder here"));
    } else if ours.is_none() {
        task.warn(format!(
            "{} is missing: sizes come from the checkpoint, learning_rate and its other settings are RVC's defaults",
            path.display()
        ));
    }
    if ours.is_none() {
        found.extend(encoder(task, logs)?.map(|name| ("content_encoder".to_owned(), json!(name))));
    }
    let ours_is_none = ours.is_none();
    // Ours is complete; the caller chooses how long and where to train.
    found.extend(ours.map(|manifest| manifest.config).unwrap_or_default());
    for name in ["epochs", "save_every", "gpu", "pretrained_g", "pretrained_d"] {
        found.remove(name);
    }
    if ours_is_none && theirs.is_none() {
        found.extend(of_features(logs));
    }
    if let Some(pair) = theirs {
        let sizes = voice::variant(&torchfile::read(&pair.g)?)?;
        found.insert("sample_rate".into(), json!(sizes.sample_rate));
        found.insert("version".into(), json!(sizes.version));
        found.insert("if_f0".into(), json!(sizes.if_f0));
        found.insert("preset".into(), json!(sizes.preset));
        found.insert(SPEAKERS.into(), json!(sizes.spk_embed_dim));
    }
    Ok(found)
}

/// Version and pitch of an experiment without any training so far, by the folders of its features.
fn of_features(logs: &Path) -> Map<String, Value> {
    let has = |folder: &str| logs.join(folder).is_dir();
    let version = if has("3_feature256") && !has("3_feature768") { Version::V1 } else { Version::V2 };
    Map::from_iter([("version".to_owned(), json!(version)), ("if_f0".to_owned(), json!(has("2a_f0")))])
}

/// The settings in a config.json.
fn of_json(task: &Task, path: &Path) -> Result<Map<String, Value>> {
    let there = parse(path)?;
    let (data, train, model) = (&there["data"], &there["train"], &there["model"]);
    let mut found = Map::new();
    let mut take = |name: &str, value: Option<&Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            found.insert(name.to_owned(), value.clone());
        }
    };
    take("sample_rate", data.get("sampling_rate").or_else(|| data.get("sample_rate")));
    take(SPEAKERS, model.get(SPEAKERS));
    if model["hidden_channels"] == TINY {
        take("preset", Some(&json!(Preset::Tiny)));
    }
    for name in ["learning_rate", "betas", "eps", "lr_decay", "batch_size", "seed", "c_mel", "c_kl", "log_interval"] {
        take(name, train.get(name));
    }
    let segment = train.get("segment_size").and_then(Value::as_i64);
    let hop = data.get("hop_length").and_then(Value::as_i64).unwrap_or(1).max(1);
    match segment {
        Some(n) if n % hop == 0 => take("segment_size", Some(&json!(n))),
        Some(n) => task.warn(format!(
            "{}: segment_size {n} is not a multiple of the hop length {hop}, so training with it is impossible; RVC's default is used",
            path.display()
        )),
        None => {}
    }
    if !is_applio(&there) && !train.is_null() && train.get("fp16_run").is_none() {
        for (name, value) in [
            ("spec_eps", json!(2e-7)),
            ("mel_clamp", json!(2e-6)),
            ("sine_generator", json!(SineGenerator::Of2026)),
            ("f0_unvoiced", json!(F0Unvoiced::Interpolate)),
        ] {
            take(name, Some(&value));
        }
    }
    Ok(found)
}

/// Applio writes sample_rate where RVC writes sampling_rate.
fn is_applio(config_json: &Value) -> bool {
    config_json["data"].get("sample_rate").is_some()
}

/// The content encoder of another program's experiment: the one that Applio's model_info.json or rvc-next's experiment.json names, or
/// RVC WebUI's only one. None if no file names one. An encoder without a name here is a warning: the voice file then cannot name the
/// encoder that conversion needs.
///
/// Errors: `file.read`, `data.damaged`.
fn encoder(task: &Task, logs: &Path) -> Result<Option<EncoderName>> {
    for (name, key) in [("model_info.json", "embedder_model"), ("experiment.json", "embedder")] {
        let path = logs.join(name);
        if !path.is_file() {
            continue;
        }
        let Some(name) = parse(&path)?.get(key).and_then(Value::as_str).map(str::to_owned) else { continue };
        if let Some(encoder) = EncoderName::named(&name) {
            return Ok(Some(encoder));
        }
        task.warn(format!(
            "{} names the content encoder {name:?}, which is not one of {}",
            path.display(),
            EncoderName::words()
        ));
        return Ok(None);
    }
    let path = path(logs);
    // The record beside rvc-run's own file lists names the encoder.
    let theirs = path.exists() && !logs.join("cache_metadata.json").exists() && !is_applio(&parse(&path)?);
    Ok((theirs && foreign_work(logs)?).then_some(EncoderName::HubertBase))
}

/// Whether a folder has another program's checkpoints.
fn foreign_work(logs: &Path) -> Result<bool> {
    Ok(!foreign::left(logs)?.is_empty())
}

fn parse(path: &Path) -> Result<Value> {
    files::read_json(path).map_err(|e| match e.kind() {
        Kind::DataDamaged => {
            e.hint("save it as JSON in UTF-8, or replace it by the file of another voice of the same rate, version and program")
        }
        _ => e,
    })
}
