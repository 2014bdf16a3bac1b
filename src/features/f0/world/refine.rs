//! Refines f0: the instantaneous frequencies of the first harmonics, weighted by their amplitudes (StoneMask, and the
//! same step inside Harvest).
//!
//! A Blackman window of three periods gives the spectrum, its derivative the change of phase. Only the bins of the
//! harmonics are needed, six at most, so they are summed directly instead of by an FFT.

use super::{HOP_LENGTH, SAMPLE_RATE};
use std::f64::consts::PI;
use std::sync::OnceLock;

/// StoneMask gives up below this, in Hz; the lowest f0 searched is above it.
const STONE_MASK_FLOOR: f64 = 40.0;
/// Larger relative corrections are rejected.
const LARGEST_CORRECTION: f64 = 0.2;
/// Keeps divisions by sums that may be zero finite.
const TINY: f64 = 1e-12;

/// The f0 of frames 10 ms apart, refined; 0 stays 0.
pub fn stone_mask(x: &[f64], f0: &[f64]) -> Vec<f64> {
    let mut refiner = Refiner::new(x, SAMPLE_RATE as f64);
    let refine = |(k, initial): (usize, &f64)| {
        if *initial <= STONE_MASK_FLOOR || *initial > SAMPLE_RATE as f64 / 12.0 {
            return 0.0;
        }
        refiner.window(k * HOP_LENGTH, *initial);
        // Two harmonics find the neighbourhood, six the exact value.
        let rough = refiner.measure(*initial, 2).0;
        let exact = if rough <= 0.0 || rough > 2.0 * initial { 0.0 } else { refiner.measure(rough, 6).0 };
        if (exact - initial).abs() / initial > LARGEST_CORRECTION { *initial } else { exact }
    };
    f0.iter().enumerate().map(refine).collect()
}

/// Length of the table of angles, a power of two: the longest transform, for 40 Hz at 16 kHz.
const TABLE: usize = 4096;

/// Cosine and sine of a full turn in TABLE steps.
fn table() -> &'static [[f64; 2]] {
    static ANGLES: OnceLock<Vec<[f64; 2]>> = OnceLock::new();
    ANGLES.get_or_init(|| {
        let angle = |i: usize| (2.0 * PI * i as f64 / TABLE as f64).sin_cos();
        (0..TABLE).map(angle).map(|(sin, cos)| [cos, sin]).collect()
    })
}

/// Measures f0 in windows of one clip.
pub struct Refiner<'a> {
    x: &'a [f64],
    rate: f64,
    table: &'static [[f64; 2]],
    /// Main and derived window by half length, computed on first use.
    windows: Vec<Option<Vec<[f64; 2]>>>,
    /// The windowed clip folded about the window's middle: sum and difference of the samples k after and k before it,
    /// under the main window, then under the derived one. Sums meet the cosine, differences the sine.
    folded: Vec<[f64; 4]>,
    n_fft: usize,
}

impl<'a> Refiner<'a> {
    /// `rate` is the samples' rate in Hz: 16000 at most.
    pub fn new(x: &'a [f64], rate: f64) -> Self {
        Self { x, rate, table: table(), windows: Vec::new(), folded: Vec::new(), n_fft: 1 }
    }

    /// Takes the clip around `centre` (in samples) under windows of three periods of `f0`, which is above 40 Hz.
    pub fn window(&mut self, centre: usize, f0: f64) {
        let half = (1.5 * self.rate / f0 + 1.0) as usize;
        self.n_fft = (4 << (2 * half + 1).ilog2()).min(TABLE);
        if self.windows.len() <= half {
            self.windows.resize(half + 1, None);
        }
        let window = self.windows[half].get_or_insert_with(|| windows(half));
        let x = self.x;
        // The clip's first and last sample are repeated beyond it.
        let sample = |i: usize| x[(centre + i).saturating_sub(half + 1).min(x.len() - 1)];
        let under = |i: usize| window[i].map(|weight| sample(i) * weight);
        self.folded.clear();
        let [main, derived] = under(half);
        self.folded.push([main, 0.0, derived, 0.0]);
        self.folded.extend((1..=half).map(|k| {
            let ([main, derived], [main_before, derived_before]) = (under(half + k), under(half - k));
            [main + main_before, main - main_before, derived + derived_before, derived - derived_before]
        }));
    }

    /// The f0 nearest to `f0` by its first `n_harmonics`, and how well they agree with `f0`: the inverse of their mean
    /// relative distance.
    pub fn measure(&self, f0: f64, n_harmonics: usize) -> (f64, f64) {
        let n_fft = self.n_fft as f64;
        let (mut numerator, mut denominator, mut distance) = (0.0, 0.0, 0.0);
        for harmonic in 1..=n_harmonics {
            let h = harmonic as f64;
            let bin = (f0 * n_fft / self.rate * h + 0.5) as usize;
            let (power, turning) = self.bin(bin);
            let hz = if power == 0.0 {
                0.0
            } else {
                bin as f64 * self.rate / n_fft + turning / power * self.rate / (2.0 * PI)
            };
            let amplitude = power.sqrt();
            numerator += amplitude * hz;
            denominator += amplitude * h;
            distance += ((hz / h - f0) / f0).abs();
        }
        (numerator / (denominator + TINY), 1.0 / (distance / n_harmonics as f64 + TINY))
    }

    /// Power in a bin, and power times the change of phase per sample beyond the bin's own.
    fn bin(&self, bin: usize) -> (f64, f64) {
        let step = bin * (TABLE / self.n_fft);
        let (mut main, mut derived) = ([0.0; 2], [0.0; 2]);
        let mut at = 0;
        for [sum, difference, derived_sum, derived_difference] in &self.folded {
            let [cos, sin] = self.table[at % TABLE];
            main = [main[0] + sum * cos, main[1] + difference * sin];
            derived = [derived[0] + derived_sum * cos, derived[1] + derived_difference * sin];
            at += step;
        }
        // The imaginary parts are the negative sums over the sine.
        (main[0] * main[0] + main[1] * main[1], main[1] * derived[0] - main[0] * derived[1])
    }
}

/// A Blackman window of 2 half + 1 samples and its negative derivative. Its top is one sample late, like WORLD's.
fn windows(half: usize) -> Vec<[f64; 2]> {
    let n = 2 * half + 1;
    let main: Vec<f64> = (0..n)
        .map(|i| {
            let turn = 2.0 * PI * (i as f64 - half as f64 - 1.0) / n as f64;
            0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos()
        })
        .collect();
    let at = |i: Option<usize>| i.and_then(|i| main.get(i)).copied().unwrap_or(0.0);
    (0..n).map(|i| [main[i], (at(i.checked_sub(1)) - at(Some(i + 1))) / 2.0]).collect()
}
