//! `mel`: content without a network, of demonstration quality.
//!
//! It describes how a phone sounds, not which phone it is: the smooth shape of the spectrum and its movement over
//! 320 ms, with the loudness, the average spectrum (room, microphone, part of the speaker) and the pitch harmonics
//! removed. A voice trained on it follows the words of its own speaker well; converting another speaker keeps more of
//! that speaker than HuBERT's features would. Sizes, frame grid and value range are HuBERT's, so no later stage
//! changes when the encoder does.
//!
//! ```text
//! samples -> power spectrum of 25 ms every 10 ms -> 80 mel bands -> log -> 24 cepstra (DCT over bands)
//!         -> each cepstrum minus its mean over the clip, divided by its standard deviation
//!         -> 32 steps of 10 ms around the frame -> 32 values (DCT over time, with weights) -> 24 * 32 = 768
//! ```
//!
//! Frame t is centred on sample 320 t + 200, the middle of the 400 samples that HuBERT's frame t sees:
//!
//! ```text
//!   HuBERT frame t:                 |----- 400 -----|
//!   its steps:      x  x  x  ...  x  x  x | x  x  x  ...  x  x  x      16 on each side, 160 apart
//! ```

use super::{DIM, HOP_LENGTH, WINDOW_LENGTH, frames};
use crate::Result;
use crate::features::{SAMPLE_RATE, finite};
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use std::f64::consts::PI;
use std::sync::Arc;

/// Changes whenever a value may come out differently.
const VERSION: &str = "mel-1";

const N_FFT: usize = 512;
/// Samples between two steps: 10 ms, two steps per frame.
const STEP: usize = HOP_LENGTH / 2;
const N_MELS: usize = 80;
/// Below 60 Hz is hum; above 7600 Hz is where clips resampled from low rates are empty.
const FMIN_HZ: f64 = 60.0;
const FMAX_HZ: f64 = 7600.0;
/// Cepstra kept: more resolve the spectrum more finely; from about 30 on pitch harmonics show.
const N_CEPSTRA: usize = 24;
/// Steps around a frame, and values per cepstrum computed from them.
const CONTEXT: usize = DIM / N_CEPSTRA;
/// Mel bands are limited to this far below the clip's mean power, so that silence does not become noise. 70 dB.
const FLOOR: f64 = 1e-7;
/// Power that counts as silence in any clip: the noise of 16-bit rounding is 40 dB above it.
const SILENCE: f64 = 1e-14;
/// Weight of the usual spread of a cepstrum, in steps, beside the clip's own; steadies clips of one word.
const PRIOR_STEPS: f64 = 50.0;

/// Which of the values are content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 256: the 16 slowest movements of each of the first 16 cepstra (version 1).
    V1,
    /// All 768 (version 2).
    V2,
}

impl Size {
    /// Number of cepstra, and of values for each.
    fn kept(self) -> (usize, usize) {
        if self == Self::V1 { (16, 16) } else { (N_CEPSTRA, CONTEXT) }
    }

    /// Values per frame.
    pub fn dim(self) -> usize {
        let (cepstra, values) = self.kept();
        cepstra * values
    }

    /// Name and version of the computation.
    pub fn digest(self) -> String {
        if self == Self::V1 { format!("{VERSION} v1") } else { VERSION.into() }
    }
}

pub struct Mel {
    size: Size,
    fft: Arc<dyn RealToComplex<f64>>,
    /// Hann window of WINDOW_LENGTH samples.
    window: Vec<f64>,
    /// For each band its first bin and the weights from that bin on.
    bands: Vec<(usize, Vec<f64>)>,
    /// [N_CEPSTRA][N_MELS], rows orthonormal.
    to_cepstra: Vec<Vec<f64>>,
    /// [CONTEXT values][CONTEXT steps], rows orthogonal.
    over_time: Vec<Vec<f64>>,
}

impl Mel {
    pub fn new(size: Size) -> Self {
        let n = WINDOW_LENGTH as f64;
        Self {
            size,
            fft: RealFftPlanner::new().plan_fft_forward(N_FFT),
            window: (0..WINDOW_LENGTH).map(|i| 0.5 - 0.5 * (2.0 * PI * (i as f64 + 0.5) / n).cos()).collect(),
            bands: mel_bands(),
            to_cepstra: dct(N_MELS, N_CEPSTRA),
            over_time: dct(CONTEXT, CONTEXT).into_iter().enumerate().map(|(m, row)| weighted(m, &row)).collect(),
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Shapes   samples: [n] -> [frames(n), dim]
    pub fn encode(&self, samples: &[f32]) -> Result<Vec<f32>> {
        let x = finite(samples)?;
        let mut cepstra = self.cepstra(&x);
        for (k, series) in cepstra.iter_mut().enumerate() {
            normalise(series, usual_variance(k));
        }
        let n_frames = frames(x.len());
        let (n_cepstra, n_values) = self.size.kept();
        let mut content = Vec::with_capacity(n_frames * self.size.dim());
        for t in 0..n_frames {
            for series in &cepstra[..n_cepstra] {
                let steps = around(series, t);
                content.extend(self.over_time[..n_values].iter().map(|row| dot(row, &steps) as f32));
            }
        }
        Ok(content)
    }

    /// The cepstra of each step, [N_CEPSTRA][steps]. Step i is centred on sample 160 i + 120.
    fn cepstra(&self, x: &[f64]) -> Vec<Vec<f64>> {
        let mut mels: Vec<Vec<f64>> = Vec::new();
        let mut time = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut work = self.fft.make_scratch_vec();
        for centre in (STEP - (WINDOW_LENGTH / 2 - STEP)..x.len()).step_by(STEP) {
            time.fill(0.0);
            for (j, (out, weight)) in time.iter_mut().zip(&self.window).enumerate() {
                let sample = (centre + j).checked_sub(WINDOW_LENGTH / 2).and_then(|i| x.get(i));
                *out = sample.map_or(0.0, |sample| sample * weight);
            }
            self.fft
                .process_with_scratch(&mut time, &mut spectrum, &mut work)
                .expect("the buffers were made by the plan");
            mels.push(self.bands.iter().map(|band| band_power(band, &spectrum)).collect());
        }
        let mean = mels.iter().flatten().sum::<f64>() / (mels.len() * N_MELS).max(1) as f64;
        let floor = mean * FLOOR + SILENCE;
        for value in mels.iter_mut().flatten() {
            *value = (*value + floor).ln();
        }
        self.to_cepstra.iter().map(|row| mels.iter().map(|mel| dot(row, mel)).collect()).collect()
    }
}

fn band_power((first, weights): &(usize, Vec<f64>), spectrum: &[Complex<f64>]) -> f64 {
    weights.iter().zip(&spectrum[*first..]).map(|(weight, bin)| weight * bin.norm_sqr()).sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The CONTEXT steps around frame t; the first and last step are repeated beyond the clip.
fn around(series: &[f64], t: usize) -> [f64; CONTEXT] {
    // The steps before and after the frame's centre, 320 t + 200, are number 2 t and 2 t + 1.
    std::array::from_fn(|j| {
        let step = (2 * t + 1 + j).saturating_sub(CONTEXT / 2);
        series[step.min(series.len() - 1)]
    })
}

/// Subtracts the mean over the clip and divides by the standard deviation, which is drawn towards the usual one in short clips.
fn normalise(series: &mut [f64], usual: f64) {
    let n = series.len() as f64;
    let mean = series.iter().sum::<f64>() / n;
    let sum = series.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let spread = ((sum + PRIOR_STEPS * usual) / (n + PRIOR_STEPS)).sqrt();
    for x in series {
        *x = (*x - mean) / spread;
    }
}

/// Variance of cepstrum `k` over a clip of speech, within about a factor of two for each of four voices.
fn usual_variance(k: usize) -> f64 {
    600.0 / (1.0 + k as f64).powf(1.7)
}

/// Row `m` of the DCT over time, scaled to a standard deviation of about 1 in speech (0.8 to 1 measured): faster
/// movements are smaller.
fn weighted(m: usize, row: &[f64]) -> Vec<f64> {
    let gain = 0.25 + m as f64 / 8.0;
    row.iter().map(|x| x * gain).collect()
}

/// The first `rows` rows of the orthonormal DCT-II of `n` values.
fn dct(n: usize, rows: usize) -> Vec<Vec<f64>> {
    (0..rows)
        .map(|k| {
            let scale = (if k == 0 { 1.0 } else { 2.0 } / n as f64).sqrt();
            (0..n).map(|i| scale * (PI * k as f64 * (i as f64 + 0.5) / n as f64).cos()).collect()
        })
        .collect()
}

/// Triangles of equal area, their tops equally spaced on the mel scale.
fn mel_bands() -> Vec<(usize, Vec<f64>)> {
    let mel = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
    let hz = |mel: f64| 700.0 * ((mel / 1127.0).exp() - 1.0);
    let (low, high) = (mel(FMIN_HZ), mel(FMAX_HZ));
    let edge = |i: usize| hz(low + (high - low) * i as f64 / (N_MELS + 1) as f64);
    let bin_hz = SAMPLE_RATE as f64 / N_FFT as f64;
    (0..N_MELS)
        .map(|band| {
            let (left, top, right) = (edge(band), edge(band + 1), edge(band + 2));
            // Low bands are narrower than a bin: each triangle is widened to reach the bins next to its top.
            let (left, right) = (left.min(top - bin_hz), right.max(top + bin_hz));
            let weight = |bin: usize| {
                let f = bin as f64 * bin_hz;
                ((f - left) / (top - left)).min((right - f) / (right - top)).max(0.0) * 2.0 * bin_hz / (right - left)
            };
            let first = (0..=N_FFT / 2).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
            (first, (first..=N_FFT / 2).map(weight).take_while(|w| *w > 0.0).collect())
        })
        .collect()
}
