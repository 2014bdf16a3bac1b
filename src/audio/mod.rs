//! Sound: recordings in, mono samples out, and from them the training clips of a voice.
//!
//! ```text
//! recording --io::load--> mono, own rate --(denoise), resample--> mono, voice's rate --slice::Plan--> clips --io::write_wav--> 0_gt_wavs, 1_16k_wavs
//! ```
//!
//! The plan cuts the recording, rejects unusable clips (those without voice with `activity`) and sets the level of the clips (`normalize`).
//!
//! Source: spec section A (RVC `infer/lib/audio.py`, `infer/lib/slicer2.py`, `infer/modules/train/preprocess.py`).

pub mod activity;
mod container;
mod decode;
pub mod denoise;
mod divide;
pub mod filter;
mod flac;
mod foreign;
mod frames;
pub mod io;
mod lengths;
pub mod loaded;
pub mod loudness;
pub mod measure;
mod mixdown;
pub mod normalize;
mod ogg;
mod opus;
mod part;
pub mod picture;
mod recording;
pub mod resample;
mod riff;
pub mod slice;
mod splice;
mod tags;

use std::ops::Range;

/// Mono sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// Full scale is 1; a downmix may exceed it.
    pub samples: Vec<f32>,
    /// In Hz.
    pub sample_rate: u32,
}

impl Audio {
    /// The duration in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate.max(1))
    }

    /// `seconds` of the sound starting at `from`, or as much of it as exists.
    #[must_use]
    pub fn part(&self, from: f64, seconds: f64) -> Self {
        let at = |seconds: f64| (seconds.max(0.0) * f64::from(self.sample_rate)).round() as usize;
        let begin = at(from).min(self.samples.len());
        let end = begin.saturating_add(at(seconds)).min(self.samples.len());
        Self { samples: self.samples[begin..end].to_vec(), sample_rate: self.sample_rate }
    }

    /// The sound with silence in place of samples that are NaN or infinite.
    #[must_use]
    pub fn finite(mut self) -> Self {
        self.samples.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
        self
    }

    /// The runs of samples that are NaN or infinite.
    pub fn runs_not_finite(&self) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (i, _) in self.samples.iter().enumerate().filter(|(_, x)| !x.is_finite()) {
            match runs.last_mut() {
                Some(run) if run.end == i => run.end += 1,
                _ => runs.push(i..i + 1),
            }
        }
        runs
    }

    /// The same sound at `sample_rate`; see [`resample::resample`]. At its own rate it is returned unchanged.
    #[must_use]
    pub fn at_rate(self, sample_rate: u32) -> Self {
        if sample_rate == self.sample_rate {
            return self;
        }
        let samples = resample::resample(&self.samples, self.sample_rate, sample_rate);
        Self { samples, sample_rate }
    }
}
