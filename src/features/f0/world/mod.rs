//! `harvest` and `dio` of WORLD, each followed by StoneMask, with RVC's parameters.
//!
//! Source   M. Morise et al., "Fast and reliable F0 estimation method based on the period extraction of vocal fold
//!          vibration of singing voice and speech", AES 35 (2009) (DIO); M. Morise, "Harvest: a high-performance
//!          fundamental frequency estimator from speech signals", Interspeech 2017; constants and tie rules of WORLD's own
//!          program where the papers leave them open.
//!
//! Rewritten rather than bound: WORLD's C++ (in crate rsworld) decides voicing from uninitialised memory, so that
//! a clip's f0 depends on earlier work of the process, writes out of bounds for clips of a few samples, and takes several
//! times as long. On the golden clip our values equal pyworld's to 1e-9 (tests/features.rs). Two of the clips compared manually
//! had frames that differ more (harvest 7.7e-4, dio 2.3e-5 relative), for unknown reasons.
//!
//! Both methods filter the clip into bands around every possible f0. In a band that holds the fundamental and
//! nothing else, the distances between upward zero crossings, downward ones, peaks and dips all agree.

mod contour;
mod dio;
mod harvest;
mod refine;

use super::{F0_MAX, F0_MIN, HOP_LENGTH, SAMPLE_RATE};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::cell::RefCell;
use std::f64::consts::PI;
use std::sync::Arc;

/// The f0 of a clip by Harvest and StoneMask, one value per whole hop and one at its start.
pub fn harvest(x: &[f64]) -> Vec<f64> {
    refine::stone_mask(x, &harvest::f0(x))
}

/// The f0 of a clip by DIO and StoneMask, one value per whole hop and one at its start.
pub fn dio(x: &[f64]) -> Vec<f64> {
    refine::stone_mask(x, &dio::f0(x))
}

/// A possible f0 of a frame, and how well its harmonics agree.
#[derive(Clone, Copy)]
struct Candidate {
    hz: f64,
    score: f64,
}

/// Centre frequencies that divide octaves evenly: the first is one step above `low`, the last up to one step above `high`.
fn band_frequencies(low: f64, high: f64, per_octave: f64) -> Vec<f64> {
    let n = 1 + ((high / low).log2() * per_octave) as usize;
    (1..=n).map(|i| low * 2f64.powf(i as f64 / per_octave)).collect()
}

fn nuttall(n: usize) -> Vec<f64> {
    let window = |i: usize| {
        let turn = 2.0 * PI * i as f64 / (n as f64 - 1.0);
        0.355_768 - 0.487_396 * turn.cos() + 0.144_232 * (2.0 * turn).cos() - 0.012_604 * (3.0 * turn).cos()
    };
    (0..n).map(window).collect()
}

thread_local! {
    /// Plans by length; nearly all clips of one recording need the same plan.
    static PLANNER: RefCell<RealFftPlanner<f64>> = RefCell::new(RealFftPlanner::new());
}

/// A clip's spectrum, ready to be filtered by many filters.
struct Bank {
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    signal: Vec<Complex<f64>>,
    filter: Vec<Complex<f64>>,
    time: Vec<f64>,
    work: Vec<Complex<f64>>,
    n_samples: usize,
}

impl Bank {
    /// `longest` is the largest number of taps of any filter.
    fn new(x: &[f64], longest: usize) -> Self {
        let n_fft = (x.len() + longest).next_power_of_two();
        let (forward, inverse) = PLANNER.with_borrow_mut(|p| (p.plan_fft_forward(n_fft), p.plan_fft_inverse(n_fft)));
        let mut bank = Self {
            signal: forward.make_output_vec(),
            filter: forward.make_output_vec(),
            time: vec![0.0; n_fft],
            work: vec![Complex::default(); forward.get_scratch_len().max(inverse.get_scratch_len())],
            forward,
            inverse,
            n_samples: x.len(),
        };
        bank.load(x);
        std::mem::swap(&mut bank.signal, &mut bank.filter);
        bank
    }

    /// Loads the spectrum of `taps` into `filter`.
    fn load(&mut self, taps: &[f64]) {
        self.time[..taps.len()].copy_from_slice(taps);
        self.time[taps.len()..].fill(0.0);
        self.forward
            .process_with_scratch(&mut self.time, &mut self.filter, &mut self.work)
            .expect("the buffers were made by the plan");
    }

    /// The clip through a filter, times a constant, from sample `delay` on, as long as the clip.
    fn filtered(&mut self, taps: &[f64], delay: usize) -> &[f64] {
        self.load(taps);
        for (filter, signal) in self.filter.iter_mut().zip(&self.signal) {
            *filter *= signal;
        }
        let last = self.filter.len() - 1;
        self.filter[0].im = 0.0;
        self.filter[last].im = 0.0;
        self.inverse
            .process_with_scratch(&mut self.filter, &mut self.time, &mut self.work)
            .expect("the buffers were made by the plan");
        &self.time[delay..delay + self.n_samples]
    }
}

/// Frequencies from the distances between events of one kind, with the times between those events.
#[derive(Default)]
struct Intervals {
    /// Samples from the clip's start to the last event.
    last: Option<f64>,
    /// Seconds.
    times: Vec<f64>,
    hz: Vec<f64>,
}

impl Intervals {
    fn clear(&mut self) {
        self.last = None;
        self.times.clear();
        self.hz.clear();
    }

    /// An event where the line from `before`, one sample before `i`, to `here` meets zero.
    fn event(&mut self, i: usize, before: f64, here: f64, rate: f64) {
        let edge = i as f64 - before / (here - before);
        if let Some(last) = self.last.replace(edge) {
            self.times.push(f64::midpoint(last, edge) / rate);
            self.hz.push(rate / (edge - last));
        }
    }

    /// Straight lines through the points, extended beyond the outer ones.
    fn at(&self, time: f64, segment: &mut usize) -> f64 {
        while *segment + 2 < self.times.len() && time >= self.times[*segment + 1] {
            *segment += 1;
        }
        let (t0, t1) = (self.times[*segment], self.times[*segment + 1]);
        let (y0, y1) = (self.hz[*segment], self.hz[*segment + 1]);
        y0 + (time - t0) / (t1 - t0) * (y1 - y0)
    }
}

/// The four kinds of events of a filtered signal: zero crossings downward and upward, peaks, dips.
#[derive(Default)]
struct Events([Intervals; 4]);

impl Events {
    /// Fewer intervals of one kind are ignored.
    const MIN_INTERVALS: usize = 3;

    fn find(&mut self, x: &[f64], rate: f64) {
        self.0.iter_mut().for_each(Intervals::clear);
        let [down, up, peaks, dips] = &mut self.0;
        let mut rise_before = 0.0;
        for (i, pair) in x.windows(2).enumerate() {
            let (before, here) = (pair[0], pair[1]);
            if before > 0.0 && here <= 0.0 {
                down.event(i + 1, before, here, rate);
            } else if before < 0.0 && here >= 0.0 {
                up.event(i + 1, before, here, rate);
            }
            let rise = here - before;
            if rise_before > 0.0 && rise <= 0.0 {
                peaks.event(i, rise_before, rise, rate);
            } else if rise_before < 0.0 && rise >= 0.0 {
                dips.event(i, rise_before, rise, rate);
            }
            rise_before = rise;
        }
    }

    /// Calls `each` with a frame and the four frequencies at its time, if the signal has enough events.
    fn at_frames(&self, n_frames: usize, frame_seconds: f64, mut each: impl FnMut(usize, [f64; 4])) {
        if self.0.iter().any(|intervals| intervals.hz.len() < Self::MIN_INTERVALS) {
            return;
        }
        let mut segments = [0; 4];
        for frame in 0..n_frames {
            let time = frame as f64 * frame_seconds;
            let mut values = [0.0; 4];
            for ((value, intervals), segment) in values.iter_mut().zip(&self.0).zip(&mut segments) {
                *value = intervals.at(time, segment);
            }
            each(frame, values);
        }
    }
}

/// First and last frame of each voiced run. The first and last frame of the clip count as unvoiced.
fn voiced_runs(f0: &[f64]) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = None;
    for (i, value) in f0.iter().enumerate().skip(1) {
        let voiced = *value > 0.0 && i + 1 < f0.len();
        match (voiced, start) {
            (true, None) => start = Some(i),
            (false, Some(first)) => {
                runs.push((first, i - 1));
                start = None;
            }
            _ => {}
        }
    }
    runs
}
