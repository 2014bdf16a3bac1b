//! A voice opened for conversion.

use super::beside::{Beside, experiment};
use super::header::{Speakers, header};
use crate::config::choices::F0Unvoiced;
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
    /// The file's entry "info": "200epoch".
    pub info: String,
    /// The content encoder of the voice's training, if the file names it: rvc-run's name, or ours for Applio's name.
    pub content_encoder: Option<String>,
    /// The digest of the content encoder; see [`crate::models::encoder`]. Only rvc-run's files have it.
    pub content_digest: Option<String>,
    /// As the file says, which may be a word that this program does not know.
    pub f0_method: Option<String>,
    /// The value of unvoiced frames in training, if the file or its neighbours record it.
    pub f0_unvoiced: Option<String>,
    pub speakers: Speakers,
    /// Where the file contradicts its weights, and the value used; for people.
    pub notes: Vec<String>,
}

impl Voice {
    /// Opens a voice; its weights are widened to float32, weight norm is computed once.
    ///
    /// Errors: `checkpoint.mismatch` if it is not an exported voice, has another vocoder, or a weight is missing or has a wrong shape;
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
                    notes.push(format!("it has no entry {key:?}; {value} is used, from {}", folder.display()));
                    *own = Some(value);
                }
            };
            take("content_encoder", &mut content_encoder, beside.content_encoder.map(|name| name.to_string()));
            // All programs use zero by default.
            let fills = beside.f0_unvoiced.filter(|value| *value == F0Unvoiced::Interpolate && sizes.f0);
            take("f0_unvoiced", &mut f0_unvoiced, fills.map(|value| value.to_string()));
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

/// The likely value for a voice without "f0_unvoiced", from entries that only its program writes: RVC WebUI has written speakers since
/// July 2026, and fills unvoiced f0; Applio writes its vocoder or content encoder, and does not.
fn unvoiced_by_its_writer(file: &TorchFile) -> Option<String> {
    let has = |key: &str| file.value(&[key]).is_some();
    if !has("model_card") && (has("vocoder") || has("embedder_model")) {
        return Some(F0Unvoiced::Zero.to_string());
    }
    (has("speaker_info") && !has("model_card")).then(|| F0Unvoiced::Interpolate.to_string())
}

/// The error for a file without a voice's "weight": its kind, and how to get a voice from it.
pub(super) fn no_voice(file: &TorchFile) -> Error {
    let (entries, names) = (file.entries(&[]).unwrap_or_default(), file.names());
    if let Some(found) = recognise::network(&entries, &names) {
        return found.refused(Kind::CheckpointMismatch, file.path(), "a voice");
    }
    let some: Vec<String> = names.iter().take(3).map(|name| format!("{name:?}")).collect();
    Error::new(
        Kind::CheckpointMismatch,
        format!(
            "{} is not a voice: it holds a network of another kind, with {}",
            file.path().display(),
            some.join(", ")
        ),
    )
    .path(file.path())
    .hint("give a voice: the small .pth that RVC WebUI, Applio or rvc-run export after training")
}
