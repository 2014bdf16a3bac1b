//! A voice opened for conversion.

use super::variant;
use crate::models::{Synthesizer, SynthesizerConfig, weights};
use crate::torchfile::{self, Plain, TorchFile};
use crate::{Error, Kind, Result};
use std::path::Path;
use tch::Device;

/// Entries of "config".
const ENTRIES: usize = 18;

/// An exported voice of RVC WebUI, Applio or rvc-run, its network ready to convert.
pub struct Voice {
    pub network: Synthesizer,
    pub sizes: SynthesizerConfig,
    /// What the file says about itself: "200epoch".
    pub info: String,
    /// The content encoder that the voice was trained with, where the file tells: rvc-run's name, or Applio's brought to ours.
    pub content_encoder: Option<String>,
    /// What made the content, word for word; see [`crate::models::encoder`]. Only rvc-run tells.
    pub content_digest: Option<String>,
    pub f0_method: Option<String>,
    /// What unvoiced frames held in training: "zero" unless the file says "interpolate".
    pub f0_unvoiced: String,
}

impl Voice {
    /// Opens a voice; its weights are widened to float32, weight norm is computed once.
    ///
    /// Errors: `checkpoint.mismatch` if it is no exported voice, names another architecture, or lacks or misshapes a weight;
    /// `checkpoint.damaged`, `file.*`, `device.memory`.
    ///
    /// Source: spec G.3, the loaders' rules: rate from config[17], speakers from the rows of emb_g, version 1 and pitch where
    /// the file does not say; posterior encoder passed over.
    pub fn open(path: &Path, device: Device) -> Result<Self> {
        let file = torchfile::read(path)?;
        if file.state_dict_prefix(&["weight"]).is_none() {
            return Err(mismatch(&file, "is no exported voice: it has no \"weight\"")
                .hint("a G_ checkpoint is made into a voice by `rvc-run export`, or by model::extract"));
        }
        let config = variant(&file)?;
        let sizes = SynthesizerConfig::from_config(&config);
        agrees(&file, &sizes)?;
        let mut network = Synthesizer::for_conversion(&sizes, device)?;
        weights::fill_where(&file, "weight", network.params(), |key| !key.contains("enc_q"))?;
        network.fuse();
        let text = |key: &str| file.text(&[key]).map(str::to_owned);
        Ok(Self {
            network,
            sizes,
            info: text("info").unwrap_or_default(),
            content_encoder: text("content_encoder").or_else(|| text("embedder_model").map(|name| ours(&name))),
            content_digest: text("content_digest"),
            f0_method: text("f0_method"),
            f0_unvoiced: text("f0_unvoiced").unwrap_or_else(|| "zero".into()),
        })
    }
}

/// Applio's name of an encoder as ours.
fn ours(embedder_model: &str) -> String {
    if embedder_model == "contentvec" { "hubert_base".into() } else { embedder_model.to_owned() }
}

/// Errors unless what the file says of itself is what its weights are.
fn agrees(file: &TorchFile, sizes: &SynthesizerConfig) -> Result<()> {
    let n = file.entries(&["config"]).map(|entries| entries.len());
    if n != Some(ENTRIES) {
        let found = n.map_or_else(|| "none".to_owned(), |n| n.to_string());
        return Err(mismatch(file, &format!("is no voice of RVC: its \"config\" has {found} of {ENTRIES} entries")));
    }
    if file.int(&["config", "17"]) != Some(sizes.sample_rate) {
        let given = said(file, &["config", "17"]);
        let what = format!("says a rate of {given}, but its weights are those of {}", sizes.sample_rate);
        return Err(mismatch(file, &what));
    }
    // Files without these are of version 1, with pitch (spec G.3).
    let version = file.text(&["version"]).unwrap_or("v1");
    if version != sizes.version() {
        return Err(mismatch(file, &format!("says {version}, but its weights are of {}", sizes.version())));
    }
    let f0 = match file.value(&["f0"]) {
        None => true,
        Some(Plain::Int(n)) => n != 0,
        Some(Plain::Bool(b)) => b,
        Some(_) => {
            return Err(mismatch(file, &format!("says f0 is {}, which is neither 0 nor 1", said(file, &["f0"]))));
        }
    };
    if f0 != sizes.f0 {
        let [says, are] = [f0, sizes.f0].map(|f0| if f0 { "with" } else { "without" });
        return Err(mismatch(file, &format!("says it is {says} pitch, but its weights are of a voice {are} it")));
    }
    Ok(())
}

fn said(file: &TorchFile, path: &[&str]) -> String {
    match file.value(path) {
        Some(Plain::Int(n)) => n.to_string(),
        Some(Plain::Text(text)) => format!("{text:?}"),
        other => format!("{other:?}"),
    }
}

fn mismatch(file: &TorchFile, what: &str) -> Error {
    Error::new(Kind::CheckpointMismatch, format!("{} {what}", file.path().display())).path(file.path())
}
