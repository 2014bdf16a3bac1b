//! `pm`: pitch by autocorrelation, with Praat's method and RVC's parameters.
//!
//! Source   P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
//!          sampled sound", IFA Proceedings 17 (1993); parameters and padding of RVC from spec B.7. Numbers agree with
//!          Praat 6.1.38 to 1e-6 (tests/features.rs).
//!
//! For each frame: subtract the local mean, multiply by a Hanning window of three of the longest periods, take the
//! autocorrelation, and divide it by the window's own. Its local maxima are the candidates, placed between samples by
//! sinc interpolation. A Viterbi path then weighs strength against octave jumps and changes of voicing.
//!
//! Written here: crate pitch-detection has a different autocorrelation from Praat's, and RVC's numbers are Praat's.

use super::{F0_MAX, F0_MIN, HOP_LENGTH, SAMPLE_RATE};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::f64::consts::PI;
use std::sync::{Arc, OnceLock};

/// Seconds between frames.
const TIME_STEP: f64 = 0.01;
/// Periods of the lowest pitch in one window; Praat's value for its Hanning-window method.
const PERIODS_PER_WINDOW: f64 = 3.0;
/// Strength that a voiced candidate must exceed in a loud frame; RVC's value (Praat's default is 0.45).
const VOICING_THRESHOLD: f64 = 0.6;
/// Frames whose peak is below this fraction of the clip's peak tend to unvoiced. Praat's default, like the next five.
const SILENCE_THRESHOLD: f64 = 0.03;
/// Bonus for a candidate per octave of pitch.
const OCTAVE_COST: f64 = 0.01;
/// Cost of a jump of one octave between frames 10 ms apart.
const OCTAVE_JUMP_COST: f64 = 0.35;
/// Cost of a change of voicing between frames 10 ms apart.
const VOICED_UNVOICED_COST: f64 = 0.14;
/// Candidates per frame, including the unvoiced one.
const MAX_CANDIDATES: usize = 15;
/// Samples on each side in the sinc interpolation that ranks a maximum, and in the one that locates it.
const RANK_DEPTH: usize = 30;
const PLACE_DEPTH: usize = 70;

/// The parts that do not depend on the clip.
struct Analysis {
    /// Half the window, in samples.
    half_window: usize,
    window: Vec<f64>,
    /// 1 / the window's normalised autocorrelation, for lags 0..=max_interpolated.
    inverse_window_r: Vec<f64>,
    /// One more than the longest lag that can be a candidate.
    max_lag: usize,
    /// Samples of the longest period.
    period: usize,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
}

/// Buffers of one clip's analysis.
struct Scratch {
    frame: Vec<f64>,
    time: Vec<f64>,
    spectrum: Vec<Complex<f64>>,
    work: Vec<Complex<f64>>,
    /// Autocorrelation of the sound, for lags 0..=max_interpolated.
    r: Vec<f64>,
}

#[derive(Clone, Copy)]
struct Candidate {
    frequency: f64,
    strength: f64,
}

/// One frame: its voiced candidates and its peak as a fraction of the clip's.
struct Frame {
    intensity: f64,
    candidates: Vec<Candidate>,
}

/// The f0 of a clip, one value per whole hop.
///
/// Praat has no frame where its window does not fit; RVC fills both ends with zeros.
pub fn f0(x: &[f64]) -> Vec<f64> {
    let mut padded = vec![0.0; x.len() / HOP_LENGTH];
    let frames = analyse(x);
    // Left half of the missing frames, rounded up.
    let left = (padded.len() + 1).saturating_sub(frames.len()) / 2;
    for (slot, value) in padded.iter_mut().skip(left).zip(best_path(&frames)) {
        *slot = value;
    }
    padded
}

fn analysis() -> &'static Analysis {
    static ANALYSIS: OnceLock<Analysis> = OnceLock::new();
    ANALYSIS.get_or_init(Analysis::new)
}

/// Seconds of one window.
const WINDOW_SECONDS: f64 = PERIODS_PER_WINDOW / F0_MIN;

impl Analysis {
    fn new() -> Self {
        let rate = SAMPLE_RATE as f64;
        // Praat keeps the window slightly short, so that it always fits.
        let half_window = (WINDOW_SECONDS * rate) as usize / 2 - 1;
        let n = 2 * half_window;
        let window: Vec<f64> = (1..=n).map(|i| 0.5 - 0.5 * (2.0 * PI * i as f64 / (n + 1) as f64).cos()).collect();
        // Lags up to half the window are interpolated; the padding keeps the circular correlation away from them.
        let n_fft = (n + half_window).next_power_of_two();
        let mut planner = RealFftPlanner::new();
        let mut analysis = Self {
            half_window,
            window,
            inverse_window_r: Vec::new(),
            max_lag: n / PERIODS_PER_WINDOW as usize + 2,
            period: (rate / F0_MIN) as usize,
            forward: planner.plan_fft_forward(n_fft),
            inverse: planner.plan_fft_inverse(n_fft),
        };
        let mut scratch = analysis.scratch();
        scratch.time[..n].copy_from_slice(&analysis.window);
        analysis.autocorrelate(&mut scratch);
        let r0 = scratch.time[0];
        analysis.inverse_window_r = scratch.time[..=half_window].iter().map(|r| r0 / r).collect();
        analysis
    }

    fn scratch(&self) -> Scratch {
        Scratch {
            frame: vec![0.0; self.window.len()],
            time: self.forward.make_input_vec(),
            spectrum: self.forward.make_output_vec(),
            work: vec![Complex::default(); self.forward.get_scratch_len().max(self.inverse.get_scratch_len())],
            r: vec![0.0; self.half_window + 1],
        }
    }

    /// Replaces `time` by its circular autocorrelation, times a constant.
    fn autocorrelate(&self, s: &mut Scratch) {
        let lengths = "the buffers were made by the plans";
        self.forward.process_with_scratch(&mut s.time, &mut s.spectrum, &mut s.work).expect(lengths);
        for bin in &mut s.spectrum {
            *bin = Complex::new(bin.norm_sqr(), 0.0);
        }
        self.inverse.process_with_scratch(&mut s.spectrum, &mut s.time, &mut s.work).expect(lengths);
    }

    /// The candidates of the frame whose middle is between samples `left` and `left + 1`.
    fn frame(&self, x: &[f64], left: usize, global_peak: f64, s: &mut Scratch) -> Frame {
        let (n, half) = (self.window.len(), self.half_window);
        let around = &x[left + 1 - self.period..=left + self.period];
        let mean = around.iter().sum::<f64>() / around.len() as f64;
        let part = &x[left + 1 - half..=left + half];
        for ((out, sample), weight) in s.frame.iter_mut().zip(part).zip(&self.window) {
            *out = (sample - mean) * weight;
        }
        // The peak is searched within about one longest period around the middle.
        let reach = self.period / 2 + 1;
        let peak = peak(&s.frame[half - reach..half + reach]);
        if peak == 0.0 {
            return Frame { intensity: 0.0, candidates: Vec::new() };
        }
        s.time[..n].copy_from_slice(&s.frame);
        s.time[n..].fill(0.0);
        self.autocorrelate(s);
        let r0 = s.time[0];
        for ((out, r), inverse) in s.r.iter_mut().zip(&s.time).zip(&self.inverse_window_r) {
            *out = r / r0 * inverse;
        }
        s.r[0] = 1.0;
        Frame { intensity: (peak / global_peak).min(1.0), candidates: self.candidates(&s.r) }
    }

    /// The local maxima of `r` that may be voiced, strongest kept, with exact positions and heights.
    fn candidates(&self, r: &[f64]) -> Vec<Candidate> {
        let mut found: Vec<(usize, f64)> = Vec::with_capacity(MAX_CANDIDATES);
        for lag in 2..self.max_lag.min(r.len() - 1) {
            let (before, here, after) = (r[lag - 1], r[lag], r[lag + 1]);
            if here <= 0.5 * VOICING_THRESHOLD || here <= before || here < after {
                continue;
            }
            // A parabola through the three samples gives the position, a sinc the height.
            let place = lag as f64 + 0.5 * (after - before) / (2.0 * here - before - after);
            let strength = reflected(sinc(r, place, RANK_DEPTH));
            let rank = strength + OCTAVE_COST * (SAMPLE_RATE as f64 / place / F0_MIN).log2();
            if found.len() + 1 < MAX_CANDIDATES {
                found.push((lag, rank));
            } else if let Some(weakest) = found.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1))
                && rank > weakest.1
            {
                *weakest = (lag, rank);
            }
        }
        found.into_iter().filter_map(|(lag, _)| place(r, lag)).collect()
    }
}

/// All frames of a clip; empty if it is shorter than a window.
fn analyse(x: &[f64]) -> Vec<Frame> {
    let analysis = analysis();
    // These lines keep Praat's order of operations: rounding decides the number of frames when the division is exact.
    let dx = 1.0 / SAMPLE_RATE as f64;
    let duration = dx * x.len() as f64;
    if WINDOW_SECONDS > duration {
        return Vec::new();
    }
    let n_frames = ((duration - WINDOW_SECONDS) / TIME_STEP).floor() + 1.0;
    let x1 = 0.5 * dx;
    let first = (x1 - 0.5 * dx + 0.5 * duration) - 0.5 * (n_frames * TIME_STEP) + 0.5 * TIME_STEP;

    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let global_peak = x.iter().fold(0.0, |peak: f64, sample| peak.max((sample - mean).abs()));
    if global_peak == 0.0 {
        return (0..n_frames as usize).map(|_| Frame { intensity: 0.0, candidates: Vec::new() }).collect();
    }
    let mut scratch = analysis.scratch();
    (0..n_frames as usize)
        .map(|i| {
            let t = first + i as f64 * TIME_STEP;
            let left = ((t - x1) / dx).floor() as usize;
            analysis.frame(x, left, global_peak, &mut scratch)
        })
        .collect()
}

fn peak(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |peak: f64, sample| peak.max(sample.abs()))
}

/// Interpolated correlations above 1 are artefacts of very short periods; the higher they are, the less they count.
fn reflected(strength: f64) -> f64 {
    if strength > 1.0 { 1.0 / strength } else { strength }
}

/// The maximum of the interpolated `r` within a sample of `lag`; None outside the range of f0.
fn place(r: &[f64], lag: usize) -> Option<Candidate> {
    // A maximum moves by less than a sample, so this lag cannot reach the range; such a candidate is never chosen.
    if ((lag + 1) as f64) * F0_MAX < SAMPLE_RATE as f64 {
        return None;
    }
    let (at, height) = maximum(|at| sinc(r, at, PLACE_DEPTH), lag as f64);
    let frequency = SAMPLE_RATE as f64 / at;
    (frequency > 0.0 && frequency < F0_MAX).then(|| Candidate { frequency, strength: reflected(height) })
}

/// The even function `r` between its samples: a sinc under a raised cosine, `depth` samples to each side (Boersma 1993,
/// equation 22), fewer where `r` ends.
fn sinc(r: &[f64], at: f64, depth: usize) -> f64 {
    let left = at.floor() as usize;
    let fraction = at - left as f64;
    if fraction == 0.0 {
        return r[left];
    }
    let depth = depth.min(r.len() - 1 - left);
    // Both sums run outwards. `sin` alternates in sign from sample to sample; the cosine advances by equal angles.
    let half_sin = 0.5 * (PI * fraction).sin() / PI;
    let side = |mut distance: f64, sample: &dyn Fn(usize) -> f64| {
        let (mut s, mut c) = (PI * distance / (distance + depth as f64)).sin_cos();
        let (step_s, step_c) = (PI / (distance + depth as f64)).sin_cos();
        let (mut sum, mut sign) = (0.0, 1.0);
        for k in 0..depth {
            sum += sample(k) * sign * (1.0 + c) / distance;
            (s, c) = (s * step_c + c * step_s, c * step_c - s * step_s);
            distance += 1.0;
            sign = -sign;
        }
        sum
    };
    half_sin * (side(fraction, &|k| r[left.abs_diff(k)]) + side(1.0 - fraction, &|k| r[left + 1 + k]))
}

/// Position and height of the maximum of `f` between `middle - 1` and `middle + 1`, by Brent's parabolas with golden
/// sections as the safeguard (R. P. Brent, 1973, chapter 5).
#[allow(clippy::float_cmp, reason = "asks whether two of the points are one and the same")]
fn maximum(f: impl Fn(f64) -> f64, middle: f64) -> (f64, f64) {
    /// Tolerance in samples; 1e-9 of a sample is 1e-11 of the lowest f0.
    const TOLERANCE: f64 = 1e-9;
    /// Golden sections by themselves would need 45.
    const MAX_STEPS: usize = 60;
    let golden = 0.5 * (3.0 - 5f64.sqrt());
    let (mut low, mut high) = (middle - 1.0, middle + 1.0);
    let mut best = low + golden * (high - low);
    let mut f_best = f(best);
    let (mut second, mut f_second) = (best, f_best);
    let (mut third, mut f_third) = (best, f_best);
    let (mut step, mut before_last): (f64, f64) = (0.0, 0.0);
    for _ in 0..MAX_STEPS {
        let centre = 0.5 * (low + high);
        let tolerance = f64::EPSILON.sqrt() * best.abs() + TOLERANCE / 3.0;
        if (best - centre).abs() + 0.5 * (high - low) <= 2.0 * tolerance {
            break;
        }
        // The top of the parabola through the three best points.
        let a = (best - second) * (f_best - f_third);
        let b = (best - third) * (f_best - f_second);
        let numerator = (best - third) * b - (best - second) * a;
        let denominator = 2.0 * (b - a);
        let parabola = -numerator / denominator;
        let inside = best + parabola > low && best + parabola < high;
        if inside && parabola.abs() < 0.5 * before_last.abs() {
            before_last = step;
            step = parabola;
        } else {
            before_last = if best < centre { high - best } else { low - best };
            step = golden * before_last;
        }
        let at = best + if step.abs() >= tolerance { step } else { tolerance.copysign(step) };
        let f_at = f(at);
        if f_at >= f_best {
            *(if at < best { &mut high } else { &mut low }) = best;
            (third, f_third, second, f_second) = (second, f_second, best, f_best);
            (best, f_best) = (at, f_at);
        } else {
            *(if at < best { &mut low } else { &mut high }) = at;
            if f_at >= f_second || second == best {
                (third, f_third, second, f_second) = (second, f_second, at, f_at);
            } else if f_at >= f_third || third == best || third == second {
                (third, f_third) = (at, f_at);
            }
        }
    }
    (best, f_best)
}

/// The f0 of the path of least cost through the frames' candidates, 0 where it is unvoiced.
fn best_path(frames: &[Frame]) -> Vec<f64> {
    // Candidate 0 of each frame is "unvoiced"; candidate k is frames[i].candidates[k - 1].
    let mut totals: Vec<f64> = Vec::new();
    let mut origins: Vec<Vec<usize>> = Vec::with_capacity(frames.len());
    for (i, frame) in frames.iter().enumerate() {
        let local = local_scores(frame);
        if i == 0 {
            origins.push(vec![0; local.len()]);
            totals = local;
            continue;
        }
        let mut next = Vec::with_capacity(local.len());
        let mut origin = Vec::with_capacity(local.len());
        for (k, score) in local.iter().enumerate() {
            let (from, total) = best_origin(&totals, &frames[i - 1], frequency(frame, k));
            next.push(total + score);
            origin.push(from);
        }
        totals = next;
        origins.push(origin);
    }
    let mut k = first_maximum(totals.iter().copied()).0;
    let mut path = vec![0.0; frames.len()];
    for i in (0..frames.len()).rev() {
        path[i] = frequency(&frames[i], k).unwrap_or(0.0);
        k = origins[i][k];
    }
    path
}

/// Score of "unvoiced" and then of each candidate, ignoring the neighbours.
fn local_scores(frame: &Frame) -> Vec<f64> {
    let quiet = 2.0 - frame.intensity * (1.0 + VOICING_THRESHOLD) / SILENCE_THRESHOLD;
    let unvoiced = VOICING_THRESHOLD + quiet.max(0.0);
    let voiced = frame.candidates.iter().map(|c| c.strength - OCTAVE_COST * (F0_MAX / c.frequency).log2());
    std::iter::once(unvoiced).chain(voiced).collect()
}

fn frequency(frame: &Frame, k: usize) -> Option<f64> {
    k.checked_sub(1).map(|k| frame.candidates[k].frequency)
}

/// The best origin in the previous frame for a path to `to`, and its score there.
fn best_origin(totals: &[f64], before: &Frame, to: Option<f64>) -> (usize, f64) {
    first_maximum(totals.iter().enumerate().map(|(k, total)| {
        total
            - match (frequency(before, k), to) {
                (None, None) => 0.0,
                (Some(from), Some(to)) => OCTAVE_JUMP_COST * (from / to).log2().abs(),
                _ => VOICED_UNVOICED_COST,
            }
    }))
}

/// Index and value of the largest; of equals the first, (0, -inf) of none.
fn first_maximum(values: impl Iterator<Item = f64>) -> (usize, f64) {
    values.enumerate().fold((0, f64::NEG_INFINITY), |best, (i, value)| if value > best.1 { (i, value) } else { best })
}
