//! The level of the clips: RVC's own rule, peak, loudness, or unchanged.
//!
//! Loudness is measured on the whole recording and gives all its clips one gain: recordings of different loudness are matched, while loud
//! and soft words of one recording keep their relation. Peak normalization (and RVC's rule) works clip by clip, as in RVC.

use super::{Audio, loudness};
use crate::config::Config;
use crate::config::choices::Normalization;

/// RVC's normalised clip: this much of full scale from its peak, the rest from its own level (spec A.7).
const PEAK_SHARE: f64 = 0.9 * 0.75;
const OWN_SHARE: f64 = 1.0 - 0.75;

/// How the level of every clip of one recording is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// Moved three quarters of the way to a peak of 0.9.
    Rvc,
    /// Scaled to a peak of this fraction of full scale.
    Peak { peak: f64 },
    /// This gain, or as much of it as keeps the true peak at or below this fraction of full scale.
    Gain { gain: f64, true_peak: f64 },
    /// Unchanged.
    None,
    /// The recording is too quiet to have a loudness (below -70 LUFS throughout), so no gain follows from it. Its clips are left out.
    Silence,
}

/// A clip at its final level.
#[derive(Clone, Debug, PartialEq)]
pub struct Levelled {
    pub samples: Vec<f64>,
    /// How much quieter it is than requested, in dB, so that its true peak stays below the highest allowed.
    pub held_db: f64,
}

impl Level {
    /// The rule that the settings request for a recording of these finite samples.
    pub fn new(recording: &[f64], sample_rate: u32, config: &Config) -> Self {
        let peak = from_db(config.target_peak_dbfs);
        match config.normalization {
            Normalization::Peak => Self::Peak { peak },
            Normalization::Lufs => {
                let lufs = loudness::of_any_length(recording, sample_rate);
                let gain = |lufs| Self::Gain { gain: from_db(config.target_lufs - lufs), true_peak: peak };
                lufs.map_or(Self::Silence, gain)
            }
            Normalization::None => Self::None,
            Normalization::Rvc => Self::Rvc,
        }
    }

    /// A clip, levelled; `peak` is its highest sample, which must not be 0.
    pub fn apply(self, samples: &[f64], peak: f64, sample_rate: u32) -> Levelled {
        let (mut held_db, scaled) = (0.0, |gain: f64| samples.iter().map(|x| x * gain).collect());
        let samples = match self {
            // In the order of the reference's computation, to match it to the last bit.
            Self::Rvc => samples.iter().map(|x| x / peak * PEAK_SHARE + OWN_SHARE * x).collect(),
            Self::Peak { peak: wanted } => scaled(wanted / peak),
            Self::Gain { gain, true_peak } => {
                let most = true_peak / loudness::true_peak(samples, sample_rate);
                if most < gain {
                    held_db = 20.0 * (gain / most).log10();
                }
                scaled(gain.min(most))
            }
            Self::None | Self::Silence => samples.to_vec(),
        };
        Levelled { samples, held_db }
    }
}

/// A whole sound, levelled as one clip. Silence stays as it is; samples that are not finite become silence.
pub fn normalize(audio: &Audio, config: &Config) -> Audio {
    let Audio { samples, sample_rate } = audio.clone().finite();
    let samples: Vec<f64> = samples.into_iter().map(f64::from).collect();
    let peak = samples.iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
    let level = if peak > 0.0 { Level::new(&samples, sample_rate, config) } else { Level::None };
    let Levelled { samples, .. } = level.apply(&samples, peak, sample_rate);
    Audio { samples: samples.into_iter().map(|x| x as f32).collect(), sample_rate }
}

/// dB re full scale as a factor.
fn from_db(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}
