//! Reads the files beside a voice or checkpoint: many voices do not record how they were trained, but their experiment
//! does.
//!
//! ```text
//! RVC WebUI   assets/weights/anna_e20_s400.pth   logs/anna/config.json
//! Applio      logs/anna/anna_20e_400s.pth        logs/anna/config.json, model_info.json
//! rvc-run     models/anna_best.pth               logs/anna/config.json
//! ```

use crate::config::choices::{EncoderName, F0Unvoiced};
use crate::files;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// The facts in an experiment's folder, each None if missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    pub f0_unvoiced: Option<F0Unvoiced>,
    pub content_encoder: Option<EncoderName>,
    /// Number and name of each speaker, as WebUI writes them.
    pub speaker_info: Vec<(i64, String)>,
}

impl Beside {
    /// The facts in the config.json and model_info.json of a folder. A missing or unreadable file has none.
    pub fn of_folder(folder: &Path) -> Self {
        let json = |name: &str| -> Option<Json> {
            let path = folder.join(name);
            let text = path.is_file().then(|| files::read_text(&path).ok())??;
            serde_json::from_str(text.trim_start_matches('\u{FEFF}')).ok()
        };
        let Some(config) = json("config.json") else { return Self::default() };
        let encoder =
            json("model_info.json").and_then(|info| EncoderName::named(info.get("embedder_model")?.as_str()?));
        let speaker = |one: &Json| Some((one.get("id")?.as_i64()?, one.get("name")?.as_str()?.to_owned()));
        Self {
            f0_unvoiced: fills_unvoiced(&config).map(filling),
            content_encoder: encoder,
            speaker_info: config["speaker_info"].as_array().into_iter().flatten().filter_map(speaker).collect(),
        }
    }
}

fn filling(fills: bool) -> F0Unvoiced {
    if fills { F0Unvoiced::Interpolate } else { F0Unvoiced::Zero }
}

/// Whether the program that wrote a config.json fills unvoiced f0; None if the file is not from a training.
///
/// Source: spec section 0 and D.2. RVC WebUI has done so since 2026, and its config.json has had no `fp16_run` since then; Applio's, which
/// writes sample_rate for sampling_rate, never had one.
pub fn fills_unvoiced(config: &Json) -> Option<bool> {
    let (data, train) = (config.get("data")?, config.get("train")?.as_object()?);
    Some(data.get("sample_rate").is_none() && !train.contains_key("fp16_run"))
}

/// The folder of a voice's experiment, if any, found by the file's name.
pub fn experiment(voice: &Path) -> Option<PathBuf> {
    let folder = voice.parent()?;
    // Other folders have a config.json too; a folder with a training has a list of clips, or checkpoints.
    let is_experiment = |folder: &Path| {
        folder.join("config.json").is_file() && (folder.join("filelist.txt").is_file() || has_checkpoint(folder))
    };
    let names = names(&voice.file_stem()?.to_string_lossy());
    let up = [folder.join(".."), folder.join("../..")];
    let logs = up.iter().flat_map(|up| names.iter().map(move |name| up.join("logs").join(name)));
    std::iter::once(folder.to_owned()).chain(logs).find(|folder| is_experiment(folder))
}

fn has_checkpoint(folder: &Path) -> bool {
    let is_one =
        |name: &str| name.starts_with("G_") && Path::new(name).extension().is_some_and(|ending| ending == "pth");
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_one))
}

/// A voice's name, and the name without the endings that programs add: "anna_e20_s400", "anna_20e_400s", "anna_best".
pub fn names(stem: &str) -> Vec<String> {
    let counted = |part: &str| {
        let digits = part.trim_matches(['e', 's']);
        digits.len() + 1 == part.len() && digits.chars().all(|c| c.is_ascii_digit()) && !digits.is_empty()
    };
    let mut names = vec![stem.to_owned()];
    let mut left = stem;
    while let Some((rest, part)) = left.rsplit_once('_') {
        if rest.is_empty() || !(counted(part) || ["best", "ema", "final"].contains(&part)) {
            break;
        }
        names.push(rest.to_owned());
        left = rest;
    }
    names
}
