//! `yin`: pitch by the cumulative mean normalised difference.
//!
//! Source   A. de Cheveigné & H. Kawahara, "YIN, a fundamental frequency estimator for speech and music", J. Acoust. Soc.
//!          Am. 111 (2002). All six steps; the paper leaves voicing open: the last constant below is our rule.
//!
//! Written here: crate pitch-detection omits the paper's sixth step; crate pyin is another method.

use super::{F0_MAX, F0_MIN, HOP_LENGTH, SAMPLE_RATE};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::{Arc, OnceLock};

/// Longest lag: one period of the lowest f0.
const MAX_LAG: usize = SAMPLE_RATE / F0_MIN as usize;
/// Shortest lag that is searched for a dip.
const MIN_LAG: usize = SAMPLE_RATE / F0_MAX as usize;
/// Samples summed in one difference: two of the longest periods.
const WINDOW: usize = 2 * MAX_LAG;
/// All samples that one frame uses, half on each side of its time.
const SPAN: usize = WINDOW + MAX_LAG;
/// The first dip below this is the period (step 4; the paper's value).
const DIP_THRESHOLD: f64 = 0.1;
/// Frames whose dip is no deeper than this are unvoiced; larger values voice more.
const VOICING_THRESHOLD: f64 = 0.35;
/// Frames whose peak is below this fraction of the clip's peak are unvoiced, as for `pm`.
const SILENCE_THRESHOLD: f64 = 0.03;
/// How far step 6 searches around the period of the best neighbour.
const BEST_LOCAL_RANGE: f64 = 0.2;
/// Lags searched on each side to locate the period: a glide moves it by less than two within a window.
const PLACE_REACH: usize = 3;

struct Plans {
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
}

fn plans() -> &'static Plans {
    static PLANS: OnceLock<Plans> = OnceLock::new();
    PLANS.get_or_init(|| {
        // The head of WINDOW samples slides over SPAN samples, so a circle of SPAN samples has no false overlap.
        let n_fft = SPAN.next_power_of_two();
        let mut planner = RealFftPlanner::new();
        Plans { forward: planner.plan_fft_forward(n_fft), inverse: planner.plan_fft_inverse(n_fft) }
    })
}

/// A dip of the normalised difference; height 0 is perfectly periodic.
#[derive(Clone, Copy)]
struct Dip {
    lag: usize,
    height: f64,
}

/// The f0 of a clip, one value per whole hop and one at its start.
pub fn f0(x: &[f64]) -> Vec<f64> {
    let n_frames = x.len() / HOP_LENGTH + 1;
    let global_peak = peak(x);
    if global_peak == 0.0 {
        return vec![0.0; n_frames];
    }
    let mut analyser = Analyser::new();
    let mut frame = vec![0.0; SPAN];
    let mut differences = Vec::with_capacity(n_frames);
    for k in 0..n_frames {
        cut(x, k * HOP_LENGTH, &mut frame);
        let loud = peak(&frame) >= SILENCE_THRESHOLD * global_peak;
        differences.push(loud.then(|| analyser.difference(&frame)).flatten());
    }
    let first: Vec<Option<Dip>> =
        differences.iter().map(|d| d.as_ref().and_then(|d| d.dip(MIN_LAG, MAX_LAG, DIP_THRESHOLD))).collect();
    (0..n_frames)
        .map(|k| match best_local(&first, &differences, k) {
            Some(dip) if dip.height < VOICING_THRESHOLD => to_hz(period(x, k * HOP_LENGTH, dip.lag)),
            _ => 0.0,
        })
        .collect()
}

/// SPAN samples around `at`, with zeros beyond the clip.
fn cut(x: &[f64], at: usize, frame: &mut [f64]) {
    for (j, out) in frame.iter_mut().enumerate() {
        *out = (at + j).checked_sub(SPAN / 2).and_then(|i| x.get(i)).copied().unwrap_or(0.0);
    }
}

fn peak(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |peak: f64, sample| peak.max(sample.abs()))
}

fn to_hz(period: f64) -> f64 {
    let hz = SAMPLE_RATE as f64 / period;
    if (F0_MIN..=F0_MAX).contains(&hz) { hz } else { 0.0 }
}

/// The period at sample `at`, near `lag`, between samples by a parabola (step 5).
///
/// The parabola goes through the raw difference, since normalising shifts dips, taken with both halves at equal
/// distances from `at`: the difference of step 2 is centred at another time for each lag, which biases glides.
fn period(x: &[f64], at: usize, lag: usize) -> f64 {
    let sample = |i: usize| i.checked_sub(WINDOW).and_then(|i| x.get(i)).copied().unwrap_or(0.0);
    let difference = |lag: usize| {
        let start = at + WINDOW - WINDOW / 2 - lag / 2;
        (start..start + WINDOW).map(|i| (sample(i) - sample(i + lag)).powi(2)).sum::<f64>()
    };
    let first = lag.saturating_sub(PLACE_REACH + 1).max(1);
    let d: Vec<f64> = (first..=lag + PLACE_REACH + 1).map(difference).collect();
    let inner = 1..d.len() - 1;
    let Some(best) = inner.min_by(|&a, &b| d[a].total_cmp(&d[b])) else { return lag as f64 };
    let (before, here, after) = (d[best - 1], d[best], d[best + 1]);
    let bend = before - 2.0 * here + after;
    let shift = if bend > 0.0 { (0.5 * (before - after) / bend).clamp(-1.0, 1.0) } else { 0.0 };
    (first + best) as f64 + shift
}

/// Step 6: the best dip of the frame and its neighbours, if it is near enough to be the same pitch.
fn best_local(first: &[Option<Dip>], differences: &[Option<Difference>], k: usize) -> Option<Dip> {
    let own = first[k]?;
    let neighbours = &first[k.saturating_sub(1)..(k + 2).min(first.len())];
    let best = neighbours.iter().flatten().min_by(|a, b| a.height.total_cmp(&b.height))?;
    // The neighbour determines where to search; the period is the frame's own, so that a glide is not flattened.
    let low = (best.lag as f64 * (1.0 - BEST_LOCAL_RANGE)).floor() as usize;
    let high = (best.lag as f64 * (1.0 + BEST_LOCAL_RANGE)).ceil() as usize;
    let again = differences[k].as_ref()?.dip(low.max(MIN_LAG), high.min(MAX_LAG), 0.0)?;
    // Kept only if it is a dip that the first search skipped, not the slope of one.
    Some(if again.height < VOICING_THRESHOLD { again } else { own })
}

struct Analyser {
    plans: &'static Plans,
    time: Vec<f64>,
    head: Vec<Complex<f64>>,
    whole: Vec<Complex<f64>>,
    work: Vec<Complex<f64>>,
}

impl Analyser {
    fn new() -> Self {
        let plans = plans();
        let work = plans.forward.get_scratch_len().max(plans.inverse.get_scratch_len());
        Self {
            plans,
            time: plans.forward.make_input_vec(),
            head: plans.forward.make_output_vec(),
            whole: plans.forward.make_output_vec(),
            work: vec![Complex::default(); work],
        }
    }

    /// Steps 2 and 3 of one frame; None if it is silent.
    fn difference(&mut self, frame: &[f64]) -> Option<Difference> {
        let lengths = "the buffers were made by the plans";
        let forward = &self.plans.forward;
        self.time.fill(0.0);
        self.time[..WINDOW].copy_from_slice(&frame[..WINDOW]);
        forward.process_with_scratch(&mut self.time, &mut self.head, &mut self.work).expect(lengths);
        self.time.fill(0.0);
        self.time[..SPAN].copy_from_slice(frame);
        forward.process_with_scratch(&mut self.time, &mut self.whole, &mut self.work).expect(lengths);
        for (whole, head) in self.whole.iter_mut().zip(&self.head) {
            *whole *= head.conj();
        }
        // Rounding leaves an imaginary part of a few ulps; exactly, it would be zero.
        for end in [0, self.whole.len() - 1] {
            self.whole[end].im = 0.0;
        }
        self.plans.inverse.process_with_scratch(&mut self.whole, &mut self.time, &mut self.work).expect(lengths);
        Difference::new(frame, &self.time)
    }
}

/// The normalised difference function of a frame, for lags 0..=MAX_LAG.
struct Difference(Vec<f64>);

impl Difference {
    /// `correlation` is that of the frame's head with the frame, times the transform's length.
    fn new(frame: &[f64], correlation: &[f64]) -> Option<Self> {
        let scale = 1.0 / correlation.len() as f64;
        let head = frame[..WINDOW].iter().map(|x| x * x).sum::<f64>();
        let (mut moving, mut sum) = (head, 0.0);
        let mut d = vec![1.0; MAX_LAG + 1];
        for lag in 1..=MAX_LAG {
            moving += frame[lag + WINDOW - 1] * frame[lag + WINDOW - 1] - frame[lag - 1] * frame[lag - 1];
            // A difference is never negative; rounding may make it so.
            let raw = (head + moving - 2.0 * correlation[lag] * scale).max(0.0);
            sum += raw;
            if sum > 0.0 {
                d[lag] = raw * lag as f64 / sum;
            }
        }
        (sum > 0.0).then_some(Self(d))
    }

    /// The first dip below `threshold` with a lag in `low..=high`, else the deepest (step 4).
    fn dip(&self, low: usize, high: usize, threshold: f64) -> Option<Dip> {
        let d = &self.0;
        let lags = || (low.max(1)..=high.min(MAX_LAG - 1)).filter(|&lag| d[lag] < d[lag - 1] && d[lag] <= d[lag + 1]);
        let lag = lags().find(|&lag| d[lag] < threshold).or_else(|| lags().min_by(|&a, &b| d[a].total_cmp(&d[b])))?;
        Some(Dip { lag, height: d[lag] })
    }
}
