//! A voice opened for conversion.

use super::beside::{Beside, experiment};
use super::header::{Speakers, header};
use crate::models::{Synthesizer, SynthesizerConfig, weights};
use crate::torchfile::{self, TorchFile};
use crate::{Error, Kind, Result, recognise};
use std::path::{Path, PathBuf};
use tch::Device;

/// An exported voice of RVC WebUI, Applio or rvc-run, its network ready to convert.
pub struct Voice {
    pub path: PathBuf,
    pub network: Synthesizer,
    pub sizes: SynthesizerConfig,
    /// What the file says about itself: "200epoch".
    pub info: String,
    /// The content encoder that the voice was trained with, where the file tells: rvc-run's name, or Applio's brought to ours.
    pub content_encoder: Option<String>,
    /// What made the content, word for word; see [`crate::models::encoder`]. Only rvc-run tells.
    pub content_digest: Option<String>,
    pub f0_method: Option<String>,
    /// What unvoiced frames held in training, "zero" or "interpolate", where the file or its neighbours tell.
    pub f0_unvoiced: Option<String>,
    pub speakers: Speakers,
    /// What the file says otherwise than its weights, and what was taken; for people.
    pub notes: Vec<String>,
}

impl Voice {
    /// Opens a voice; its weights are widened to float32, weight norm is computed once.
    ///
    /// Errors: `checkpoint.mismatch` if it is no exported voice, has another vocoder, or lacks or misshapes a weight;
    /// `checkpoint.damaged`, `file.*`, `device.memory`.
    pub fn open(path: &Path, device: Device) -> Result<Self> {
        let file = torchfile::read(path)?;
        if file.state_dict_prefix(&["weight"]).is_none() {
            return Err(no_voice(&file));
        }
        let header = header(&file)?;
        let sizes = SynthesizerConfig::from_config(&header.config);
        let mut network = Synthesizer::for_conversion(&sizes, device)?;
        weights::fill_where(&file, "weight", network.params(), |key| !key.contains("enc_q"))?;
        network.fuse();
        let text = |key: &str| file.text(&[key]).map(str::to_owned);
        let mut notes = header.notes;
        let mut content_encoder = header.content_encoder;
        let mut f0_unvoiced = text("f0_unvoiced").or_else(|| unvoiced_by_its_writer(&file));
        if let Some(folder) = experiment(path).filter(|_| f0_unvoiced.is_none() || content_encoder.is_none()) {
            let beside = Beside::of_folder(&folder);
            let mut take = |key: &str, own: &mut Option<String>, theirs: Option<String>| {
                if let (None, Some(value)) = (&own, theirs) {
                    notes.push(format!("it has no entry {key:?}; {value} is used, by {}", folder.display()));
                    *own = Some(value);
                }
            };
            take("content_encoder", &mut content_encoder, beside.content_encoder);
            // Zero is what all take where nothing is known.
            let fills = beside.f0_unvoiced.filter(|value| value == "interpolate" && sizes.f0);
            take("f0_unvoiced", &mut f0_unvoiced, fills);
        }
        Ok(Self {
            path: path.to_owned(),
            network,
            sizes,
            info: text("info").unwrap_or_default(),
            content_encoder,
            content_digest: text("content_digest"),
            f0_method: text("f0_method"),
            f0_unvoiced,
            speakers: Speakers::of(&file),
            notes,
        })
    }
}

/// What a voice without "f0_unvoiced" was trained with, by the entries that its program alone writes: RVC WebUI names speakers since July
/// 2026, and fills unvoiced f0; Applio names its vocoder or content encoder, and does not.
fn unvoiced_by_its_writer(file: &TorchFile) -> Option<String> {
    let has = |key: &str| file.value(&[key]).is_some();
    if !has("model_card") && (has("vocoder") || has("embedder_model")) {
        return Some("zero".into());
    }
    (has("speaker_info") && !has("model_card")).then(|| "interpolate".into())
}

/// The error of a file without the "weight" of a voice: what it is, and how a voice comes of it.
pub(super) fn no_voice(file: &TorchFile) -> Error {
    let (entries, names) = (file.entries(&[]).unwrap_or_default(), file.names());
    if let Some(found) = recognise::network(&entries, &names) {
        return found.refused(Kind::CheckpointMismatch, file.path(), "a voice");
    }
    let some: Vec<String> = names.iter().take(3).map(|name| format!("{name:?}")).collect();
    Error::new(
        Kind::CheckpointMismatch,
        format!("{} is no voice: it holds a network of another kind, with {}", file.path().display(), some.join(", ")),
    )
    .path(file.path())
    .hint("give a voice: the small .pth that a training exports, of RVC WebUI, Applio or rvc-run")
}
