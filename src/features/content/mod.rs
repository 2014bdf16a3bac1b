//! The words spoken in a clip, independent of the speaker, as 768 numbers for each 20 ms (RVC calls this "phone").
//!
//! An [`Encoder`] is opened once and encodes many clips. `mel` needs no download and is of demonstration quality; the others are
//! HuBERT's network with various weights.

mod hubert;
mod mel;

use super::batches::in_batches;
use super::{Setup, each_clip};
use crate::config::choices::{ContentEncoder, EncoderName, Version};
use crate::models::encoder;
use crate::task::Task;
use crate::{Error, Kind, Result};

/// Values per frame: RVC version 2's content size.
pub const DIM: usize = 768;
/// Samples between two frames: 20 ms.
pub const HOP_LENGTH: usize = 320;
/// Samples that the first frame needs; frame t begins at sample 320 t (HuBERT's convolutions, spec C.1).
pub const WINDOW_LENGTH: usize = 400;

/// Frames of a clip: floor((n - 400) / 320) + 1, or 0 below 400 samples.
pub fn frames(n_samples: usize) -> usize {
    n_samples.checked_sub(WINDOW_LENGTH).map_or(0, |rest| rest / HOP_LENGTH + 1)
}

/// A content encoder, ready for use.
pub struct Encoder {
    engine: Engine,
}

enum Engine {
    Mel(mel::Mel),
    Hubert(Box<hubert::Network>),
}

impl Encoder {
    /// The encoder that the settings name; `version` chooses the layer of a HuBERT.
    ///
    /// Errors: `asset.missing`; `file.not_found`, `config.mismatch` for a folder of another network;
    /// `checkpoint.*`, `device.memory`.
    pub fn open(encoder: &ContentEncoder, version: Version, setup: &Setup) -> Result<Self> {
        let which = match encoder {
            ContentEncoder::Named(EncoderName::Mel) => {
                let size = match version {
                    Version::V1 => mel::Size::V1,
                    Version::V2 => mel::Size::V2,
                };
                return Ok(Self { engine: Engine::Mel(mel::Mel::new(size)) });
            }
            ContentEncoder::Named(name) => format!("content encoder {name}"),
            // The error already shows a path.
            ContentEncoder::Path(_) => "content encoder".to_owned(),
        };
        let network = hubert::Network::open(encoder, version, setup).map_err(|e| e.context(which))?;
        Ok(Self { engine: Engine::Hubert(Box::new(network)) })
    }

    pub fn name(&self) -> &str {
        match &self.engine {
            Engine::Mel(_) => EncoderName::Mel.as_str(),
            Engine::Hubert(network) => network.name(),
        }
    }

    /// Everything that the values depend on except the samples, for cache keys and the run's record. The last word is the number
    /// format, which makes a small difference; any other difference means another encoder.
    pub fn digest(&self) -> String {
        match &self.engine {
            Engine::Mel(mel) => mel.size().digest(),
            Engine::Hubert(network) => network.digest().into(),
        }
    }

    /// Errors: `checkpoint.mismatch` if a voice whose encoder had the digest `of_voice` cannot use content of this one;
    /// see [`encoder::same_encoder`].
    pub fn must_be(&self, of_voice: &str) -> Result<()> {
        encoder::must_be_same(self.name(), &self.digest(), of_voice)
    }

    /// The notice for converting a voice whose encoder had the digest `of_voice`, where the two differ by rounding.
    pub fn differs_from(&self, of_voice: &str) -> Option<String> {
        encoder::differ_by_rounding(&self.digest(), of_voice).then(|| {
            format!(
                "the weights of {} differ by rounding from those that this voice was trained on, and so does the content",
                self.name()
            )
        })
    }

    /// Values per frame.
    pub fn dim(&self) -> usize {
        match &self.engine {
            Engine::Mel(mel) => mel.size().dim(),
            Engine::Hubert(network) => network.dim(),
        }
    }

    /// One line that a user should know before relying on the encoder, if there is one.
    pub fn notice(&self) -> Option<String> {
        match &self.engine {
            Engine::Mel(_) => Some(
                "content encoder \"mel\" is of demo quality: it runs and tests the whole flow without a download, but \
                 a voice trained on it carries over the sound of the speaker along with the words"
                    .to_owned(),
            ),
            Engine::Hubert(network) => network.notice(),
        }
    }

    /// The content of a clip at 16 kHz.
    ///
    /// Shapes   samples: [n] -> [frames(n), dim], row-major
    /// Errors   `audio.empty` if the clip is shorter than one frame; `data.damaged` if a sample is not finite
    pub fn encode(&self, samples: &[f32]) -> Result<Vec<f32>> {
        long_enough(samples)?;
        match &self.engine {
            Engine::Mel(mel) => mel.encode(samples),
            Engine::Hubert(network) => {
                let lost = || Err(Error::new(Kind::Internal, "the clip was lost"));
                network.encode(&[samples.to_vec()])?.pop().unwrap_or_else(lost)
            }
        }
    }

    /// Calls `done` with each clip's content, in the order of the clips. `size` is a clip's length in samples, known
    /// without reading it; `load` reads a clip; `done` gets the clip's content or its
    /// error and decides whether one bad clip ends the stage.
    ///
    /// Errors: `cancelled`, and the first error of `done`.
    pub fn extract<C: Sync, R: Send>(
        &self,
        task: &Task,
        stage: &str,
        clips: &[C],
        size: impl Fn(&C) -> usize,
        load: impl Fn(&C) -> Result<Vec<f32>> + Sync,
        done: impl Fn(&C, Result<Vec<f32>>) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        match &self.engine {
            Engine::Mel(mel) => {
                let encode = |samples: &[f32]| long_enough(samples).and_then(|()| mel.encode(samples));
                each_clip(task, stage, clips, load, encode, done)
            }
            Engine::Hubert(network) => {
                in_batches(task, stage, clips, size, network.most(), load, |clips| network.encode(clips), done)
            }
        }
    }
}

/// Errors: `audio.empty` if a clip is shorter than one frame.
fn long_enough(samples: &[f32]) -> Result<()> {
    if frames(samples.len()) > 0 {
        return Ok(());
    }
    let n = samples.len();
    let message = format!("the clip has {n} samples at 16 kHz, but content needs at least {WINDOW_LENGTH}");
    Err(Error::new(Kind::AudioEmpty, message))
}
