//! Measures a recording's samples: is it as wide as its rate suggests, is it clipped, how noisy, how loud.
//!
//! ```text
//! samples --check--> finite, DC removed --+--> frame levels (25 ms): noise, speech, SNR, silence
//!                                         +--> spectra (about 40 ms): bandwidth
//!                                         +--> BS.1770 loudness
//!         -----------------------------------> peak, clipping, digest of the samples
//! ```
//!
//! Nothing here is a matter of taste: a value that cannot be measured (the loudness of 0.1 s, the noise of a recording whose
//! pauses are muted) is None, not a guess.

mod bandwidth;
mod clipping;
mod pitch;

pub use pitch::{F0Histogram, f0_histogram};

use super::{Audio, loudness};
use crate::files::Hasher;
use serde::{Deserialize, Serialize};

/// Raise it with every change that can change a number of [`Measures`], decoding included.
pub const VERSION: u32 = 2;

/// Length of a level frame, in seconds: shorter than a pause between words, longer than a pitch period.
const FRAME_SECONDS: f64 = 0.025;
/// Frames below are silence, in dB re full scale: the slicer's threshold, so that the share shows what it will cut.
const SILENCE_DB: f64 = -42.0;
/// Frames below are digitally muted: a third of one step of 16 bits.
const MUTED_DB: f64 = -100.0;
/// Share of frames that must be muted before the other frames no longer describe pauses ...
const MUTED_SHARE: f64 = 0.05;
/// ... unless the levels of the other frames differ by this much, in dB: then some pauses are not muted.
const PAUSE_DB: f64 = 15.0;
/// The quiet end and the loud end of the frame levels.
const QUIET: f64 = 0.10;
const LOUD: f64 = 0.95;

/// The measures of a recording. A value that cannot be measured is None.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measures {
    /// In Hz.
    pub sample_rate: u32,
    pub samples: u64,
    pub seconds: f64,
    /// The highest frequency with speech in it, in Hz: 8000 for 16 kHz sound in a 48 kHz file. None for silence, and below
    /// 50 ms.
    pub bandwidth_hz: Option<f64>,
    /// Share of samples on flat tops: three or more in a row at the highest (or lowest) value, where that value occurs more
    /// often than a wave that is not cut off would reach it. Found at any level over -26 dB re full scale.
    pub clipped_share: f64,
    /// The number of such flat tops.
    pub clipped_runs: u64,
    /// Level of the pauses, in dB re full scale (RMS): the level that 10 % of the 25 ms frames stay below. None if the pauses
    /// are muted.
    pub noise_db: Option<f64>,
    /// Level of the speech: the mean power of the frames above the middle (in dB) between the quiet and the loud frames.
    pub speech_db: Option<f64>,
    /// Speech over noise, in dB, with the noise subtracted from the speech frames; at least 0. In speech without
    /// pauses the quietest part counts as noise: the true value is then higher.
    pub snr_db: Option<f64>,
    /// Integrated loudness in LUFS, as ITU-R BS.1770 gates it. None below 0.4 s, and for silence.
    pub loudness_lufs: Option<f64>,
    /// Highest sample in dB re full scale; over 0 in float files that exceed it. None for digital silence.
    pub peak_dbfs: Option<f64>,
    /// Mean of the samples, as a fraction of full scale.
    pub dc_offset: f64,
    /// Share of the frames below -42 dB re full scale, the slicer's threshold.
    pub silence_share: f64,
    /// Samples that are NaN or infinite; they count as 0 in all other numbers.
    pub not_finite: u64,
    /// SHA-256 of rate and samples (float32, little endian): equal for two recordings with the same sound, whatever their file
    /// formats. Lossy copies differ.
    pub pcm_sha256: String,
}

impl Measures {
    /// True if the slicer will find nothing in it.
    pub fn is_silent(&self) -> bool {
        self.silence_share >= 1.0
    }
}

/// The measures of a recording at its own rate. Never fails: an empty recording has a duration of 0 and no levels.
///
/// Measured: under 4 ms a second of sound at 48 kHz on one core (a quarter of it the loudness, a twentieth the digest).
pub fn measure(audio: &Audio) -> Measures {
    let Audio { samples, sample_rate } = audio;
    let not_finite = samples.iter().filter(|x| !x.is_finite()).count() as u64;
    let finite = || samples.iter().map(|x| if x.is_finite() { *x } else { 0.0 });
    let dc_offset = finite().map(f64::from).sum::<f64>() / samples.len().max(1) as f64;
    let peak = finite().fold(0.0f32, |peak, x| peak.max(x.abs()));
    let clipped = clipping::find(samples);
    let centred: Vec<f32> = finite().map(|x| (f64::from(x) - dc_offset) as f32).collect();
    let levels = Levels::new(&centred, *sample_rate);
    Measures {
        sample_rate: *sample_rate,
        samples: samples.len() as u64,
        seconds: audio.seconds(),
        bandwidth_hz: bandwidth::find(&centred, *sample_rate),
        clipped_share: clipped.samples as f64 / samples.len().max(1) as f64,
        clipped_runs: clipped.runs,
        noise_db: levels.noise_db,
        speech_db: levels.speech_db,
        snr_db: levels.snr_db,
        loudness_lufs: loudness::integrated(&centred, *sample_rate),
        peak_dbfs: (peak > 0.0).then(|| 20.0 * f64::from(peak).log10()),
        dc_offset,
        silence_share: levels.silence_share,
        not_finite,
        pcm_sha256: pcm_digest(audio),
    }
}

/// The SHA-256 of a recording's rate and samples, 64 hexadecimal digits.
pub fn pcm_digest(audio: &Audio) -> String {
    let mut hasher = Hasher::default();
    hasher.update(&audio.sample_rate.to_le_bytes());
    let mut bytes = Vec::with_capacity(1 << 16);
    for part in audio.samples.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|x| x.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finish()
}

#[derive(Default)]
struct Levels {
    noise_db: Option<f64>,
    speech_db: Option<f64>,
    snr_db: Option<f64>,
    silence_share: f64,
}

impl Levels {
    fn new(samples: &[f32], sample_rate: u32) -> Self {
        let length = ((f64::from(sample_rate) * FRAME_SECONDS) as usize).max(1);
        // A shorter rest at the end counts only if it is the only frame.
        let (frames, rest) = samples.split_at(samples.len() / length * length);
        let frames = if frames.is_empty() { rest } else { frames };
        let mut levels: Vec<f64> = frames.chunks(length).map(level_db).collect();
        if levels.is_empty() {
            return Self { silence_share: 1.0, ..Self::default() };
        }
        levels.sort_by(f64::total_cmp);
        let count = |below: f64| levels.partition_point(|level| *level < below);
        let silence_share = count(SILENCE_DB) as f64 / levels.len() as f64;
        let muted = count(MUTED_DB);
        let audible = &levels[muted..];
        let (Some(quiet), Some(loud)) = (percentile(audible, QUIET), percentile(audible, LOUD)) else {
            return Self { silence_share, ..Self::default() };
        };
        let speech = &audible[audible.partition_point(|level| *level < f64::midpoint(quiet, loud))..];
        let speech = speech.iter().map(|level| from_db(*level)).sum::<f64>() / speech.len().max(1) as f64;
        let is_muted = muted as f64 >= MUTED_SHARE * levels.len() as f64 && loud - quiet < PAUSE_DB;
        let noise_db = Some(quiet).filter(|_| !is_muted);
        let snr = |noise: f64| to_db(((speech - noise) / noise).max(1.0));
        let snr_db = noise_db.map(|noise| snr(from_db(noise)));
        Self { noise_db, speech_db: Some(to_db(speech)), snr_db, silence_share }
    }
}

/// RMS in dB re full scale; a square wave at full scale has 0.
fn level_db(frame: &[f32]) -> f64 {
    let power = frame.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / frame.len() as f64;
    to_db(power)
}

/// The value that `share` of the sorted values stay below; None for an empty list.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    sorted.get((share * sorted.len() as f64) as usize).copied()
}

/// A power in dB; no power is -300.
fn to_db(power: f64) -> f64 {
    10.0 * power.max(1e-30).log10()
}

fn from_db(db: f64) -> f64 {
    10f64.powf(db / 10.0)
}
