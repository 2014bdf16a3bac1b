//! DIO: low-pass bands at half-octave steps; the band whose four kinds of events agree best gives a frame's f0.

use super::{Bank, Events, F0_MAX, F0_MIN, HOP_LENGTH, SAMPLE_RATE, band_frequencies, nuttall};
use std::f64::consts::PI;

const BANDS_PER_OCTAVE: f64 = 2.0;
/// The high-pass before the analysis, in Hz.
const LOW_CUT_HZ: f64 = 50.0;
/// Largest relative change of f0 between frames.
const ALLOWED_RANGE: f64 = 0.1;
/// The disagreement score of a band without a candidate.
const NO_CANDIDATE: f64 = 1e5;
const TINY: f64 = 1e-12;
const RATE: f64 = SAMPLE_RATE as f64;

/// The f0 of a clip, one value per whole hop and one at its start.
pub fn f0(x: &[f64]) -> Vec<f64> {
    let n_frames = x.len() / HOP_LENGTH + 1;
    let boundaries = band_frequencies(F0_MIN, F0_MAX, BANDS_PER_OCTAVE);
    let mut bank = spectrum(x);
    let mut events = Events::default();
    let mut candidates = vec![vec![0.0; n_frames]; boundaries.len()];
    let mut best = vec![(NO_CANDIDATE / TINY, 0.0); n_frames];
    for (boundary, candidates) in boundaries.iter().zip(&mut candidates) {
        let half = (RATE / boundary / 2.0 + 0.5) as usize;
        events.find(bank.filtered(&nuttall(4 * half), 2 * half), RATE);
        events.at_frames(n_frames, HOP_LENGTH as f64 / RATE, |frame, values| {
            let mean = values.iter().sum::<f64>() / 4.0;
            if mean > *boundary || mean < boundary / 2.0 || !(F0_MIN..=F0_MAX).contains(&mean) {
                return;
            }
            let spread = (values.iter().map(|hz| (hz - mean) * (hz - mean)).sum::<f64>() / 3.0).sqrt();
            candidates[frame] = mean;
            let score = spread / (mean + TINY);
            if score < best[frame].0 {
                best[frame] = (score, mean);
            }
        });
    }
    let best: Vec<f64> = best.into_iter().map(|(_, f0)| f0).collect();
    fixed(&best, &candidates)
}

/// The clip without frequencies below LOW_CUT_HZ, including its mean, ready to be filtered.
fn spectrum(x: &[f64]) -> Bank {
    // One sample more than the clip, like WORLD.
    let n = x.len() + 1;
    let mean = x.iter().sum::<f64>() / n as f64;
    let centred: Vec<f64> = x.iter().map(|sample| sample - mean).chain([-mean]).collect();
    let cut_half = (RATE / LOW_CUT_HZ + 0.5) as usize;
    let longest = 4 * (RATE / F0_MIN) as usize;
    let mut bank = Bank::new(&centred, 2 * cut_half + 1 + longest);
    // One minus the mean under a Hann window; its middle is at tap 0, the taps before it at the buffer's end.
    let n_taps = 2 * cut_half + 1;
    let hann: Vec<f64> = (1..=n_taps).map(|i| 0.5 - 0.5 * (2.0 * PI * i as f64 / (n_taps + 1) as f64).cos()).collect();
    let sum: f64 = hann.iter().sum();
    let mut taps = vec![0.0; bank.time.len()];
    let n_fft = taps.len();
    for (i, weight) in hann.iter().enumerate() {
        taps[(i + n_fft - cut_half) % n_fft] = -weight / sum;
    }
    taps[0] += 1.0;
    bank.load(&taps);
    let Bank { signal, filter, .. } = &mut bank;
    for (signal, filter) in signal.iter_mut().zip(filter) {
        *signal *= *filter;
    }
    bank
}

/// The contour without jumps and short runs, then extended in both directions as far as a candidate fits.
fn fixed(best: &[f64], candidates: &[Vec<f64>]) -> Vec<f64> {
    let n = best.len();
    let frames_per_period = 0.5 + RATE / HOP_LENGTH as f64 / F0_MIN;
    let shortest = frames_per_period as usize * 2 + 1;
    if n <= shortest {
        return vec![0.0; n];
    }
    let base = |i: usize| if i < shortest || i >= n - shortest { 0.0 } else { best[i] };
    let steady: Vec<f64> = (0..n)
        .map(|i| {
            let jump = i < shortest || ((base(i) - base(i - 1)) / (TINY + base(i))).abs() >= ALLOWED_RANGE;
            if jump { 0.0 } else { base(i) }
        })
        .collect();
    let reach = (shortest - 1) / 2;
    let mut f0 = steady.clone();
    for i in reach..n - reach {
        if steady[i - reach..=i + reach].contains(&0.0) {
            f0[i] = 0.0;
        }
    }
    let ends: Vec<usize> = (1..n).filter(|&i| f0[i] == 0.0 && f0[i - 1] != 0.0).map(|i| i - 1).collect();
    let starts: Vec<usize> = (1..n).filter(|&i| f0[i] != 0.0 && f0[i - 1] == 0.0).collect();
    for (i, &end) in ends.iter().enumerate() {
        let limit = ends.get(i + 1).copied().unwrap_or(n - 1);
        for j in end..limit {
            f0[j + 1] = continuation(f0[j], f0[j.saturating_sub(1)], candidates, j + 1);
            if f0[j + 1] == 0.0 {
                break;
            }
        }
    }
    for (i, &start) in starts.iter().enumerate().rev() {
        let limit = if i == 0 { 1 } else { starts[i - 1] };
        for j in (limit + 1..=start).rev() {
            f0[j - 1] = continuation(f0[j], f0[(j + 1).min(n - 1)], candidates, j - 1);
            if f0[j - 1] == 0.0 {
                break;
            }
        }
    }
    f0
}

/// The candidate of frame `at` nearest to where two frames point, or 0 if that is too far.
fn continuation(near: f64, far: f64, candidates: &[Vec<f64>], at: usize) -> f64 {
    let reference = (near * 3.0 - far) / 2.0;
    let best = candidates
        .iter()
        .map(|band| band[at])
        .reduce(|a, b| if (reference - b).abs() < (reference - a).abs() { b } else { a })
        .unwrap_or(0.0);
    if (1.0 - best / reference).abs() > ALLOWED_RANGE { 0.0 } else { best }
}
