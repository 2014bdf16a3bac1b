//! logs/<voice>/config.json as RVC writes it (spec D.2), so that RVC's own programs can train on and export.
//!
//! The file also is the memory of what the folder was made for: other networks or another rate in the same folder are refused.

use crate::config::Config;
use crate::models::SynthesizerConfig;
use crate::train::python;
use crate::{Error, Kind, Result, files};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// logs/<voice>/config.json.
pub fn path(logs: &Path) -> PathBuf {
    logs.join("config.json")
}

/// The settings in RVC's three groups: data, model, train. `epochs` is RVC's upper bound; the length of a run is an argument there.
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

/// A number without a fraction is written without a point: RVC's c_mel is 45.
fn whole(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

/// Errors with `config.mismatch`, naming both values, if the folder's config.json was made for other networks or another rate.
/// A folder without the file fits everything.
///
/// Errors also: `data.damaged` if the file is not JSON.
pub fn check(logs: &Path, config: &Config) -> Result<()> {
    let path = path(logs);
    if !path.exists() {
        return Ok(());
    }
    let there: Value = serde_json::from_str(&files::read_text(&path)?).map_err(|e| {
        Error::new(Kind::DataDamaged, format!("{} is not JSON: {e}", path.display()))
            .path(&path)
            .hint("delete the file; it is written again from the settings")
            .source(e)
    })?;
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
    for (key, value) in ours["model"].as_object().into_iter().flatten() {
        same(&path, &format!("model.{key}"), there["model"].get(key), value)?;
    }
    Ok(())
}

/// The preset that has exactly these sizes, if one has.
fn preset_of(model: &Value, config: &Config) -> Result<Option<&'static str>> {
    for preset in ["full", "tiny"] {
        if settings(&Config { preset: preset.into(), ..config.clone() })?["model"] == *model {
            return Ok(Some(preset));
        }
    }
    Ok(None)
}

fn same(path: &Path, key: &str, there: Option<&Value>, ours: &Value) -> Result<()> {
    // A missing key says nothing; 0 and 0.0 are the same size.
    let equal = |a: &Value, b: &Value| a == b || (a.is_number() && a.as_f64() == b.as_f64());
    match there {
        Some(value) if !equal(value, ours) => Err(Error::new(
            Kind::ConfigMismatch,
            format!("{} was made with {key} {value}, but the settings ask for {ours}", path.display()),
        )
        .path(path)
        .hint("use another voice name, or the settings of the folder, or --fresh to start over in this folder")),
        _ => Ok(()),
    }
}

/// Writes the folder's config.json if its content differs. Call [`check`] first. Errors: `file.write`, `file.disk_full`.
pub fn write(logs: &Path, config: &Config) -> Result<()> {
    let text = python::json(&settings(config)?);
    let path = path(logs);
    if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    files::write(&path, text)
}
