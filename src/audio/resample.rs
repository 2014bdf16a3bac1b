//! Resampling by a windowed sinc at exact rational positions.
//!
//! Output sample n is the band-limited input at time n * from / to, computed directly, so there is no delay to trim and the
//! first and last samples are in place: the half-sample shift that block resamplers leave at some ratios cannot occur. A NaN
//! in the input spoils its neighbourhood only.
//!
//! Source: Kaiser's window design, with the band edges and attenuations of soxr's HQ recipe, which RVC uses for its 16 kHz
//! copies (spec A.7). Measured on the golden case: within 4e-4 of soxr up to Nyquist, 1e-5 up to 0.8 of it.

#![allow(clippy::inline_always, reason = "run_avx is only wider if all that it calls becomes part of it")]

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// End of the pass band, as a fraction of the lower rate's Nyquist frequency. Nearer to 1 costs time.
const PASS: f64 = 0.913_628;
/// Start of the stop band. At 1 nothing aliases.
const STOP: f64 = 1.0;
/// What the window's shape is for, in dB: 20 bits.
const SHAPE_DB: f64 = 120.41;
/// What the window's length is for, in dB: 21 bits.
const LENGTH_DB: f64 = 126.43;
/// Filters with more coefficients than this (32 MiB; only odd ratios such as 44101 to 40000) are interpolated as they are used.
const MAX_TABLE: usize = 1 << 22;
/// Rows a sample of such a filter; with cubic interpolation between them the error is 1e-10.
const FINE_ROWS: usize = 256;
/// Kernels kept for reuse; a run uses two or three.
const MAX_KERNELS: usize = 8;
/// Output samples a block; its input fits the second-level cache.
const BLOCK: usize = 4096;

/// `samples` at rate `to`: exactly ceil(n * to / from) samples, sample 0 at time 0, silence assumed on both sides.
///
/// The result is the same on every machine, to the last bit.
///
/// Units: both rates in Hz. A rate of 0 gives no samples.
pub fn resample<T: Copy + Into<f64>>(samples: &[T], from: u32, to: u32) -> Vec<f32> {
    if from == to {
        return samples.iter().map(|&x| x.into() as f32).collect();
    }
    if from == 0 || to == 0 || samples.is_empty() {
        return Vec::new();
    }
    let kernel = kernel(from, to);
    let total = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from)) as usize;
    let mut output = Vec::with_capacity(total);
    let mut input = Vec::new();
    for first in (0..total).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(total);
        // The input that this block's taps reach, with zeros outside of the signal.
        let begin = kernel.position(block.start).0 as i64 - kernel.half as i64 + 1;
        let end = kernel.position(block.end - 1).0 as i64 - kernel.half as i64 + 1 + kernel.taps as i64;
        let inside = begin.max(0) as usize..end.clamp(0, samples.len() as i64) as usize;
        input.clear();
        input.resize((inside.start as i64 - begin) as usize, 0.0);
        input.extend(samples[inside].iter().map(|&x| x.into()));
        input.resize((end - begin) as usize, 0.0);
        kernel.run(block, &input, &mut output);
    }
    output
}

/// One ratio's filter.
struct Kernel {
    /// Reduced rates: to = up * g, from = down * g.
    up: u64,
    down: u64,
    /// Taps on each side of a position.
    half: usize,
    /// Length of a row: twice that, and zeros up to a whole number of [`LANES`].
    taps: usize,
    /// Cutoff in cycles an input sample, times two.
    cutoff: f64,
    /// The window's shape.
    beta: f64,
    /// Rows of `taps`: one for each of `up` phases, or, if those were too many, for -1 to FINE_ROWS + 1 parts of a sample.
    table: Vec<f64>,
    is_exact: bool,
}

impl Kernel {
    fn new(from: u32, to: u32) -> Self {
        let divisor = u64::from(greatest_common_divisor(from, to));
        let (up, down) = (u64::from(to) / divisor, u64::from(from) / divisor);
        let lower = (up as f64 / down as f64).min(1.0);
        let transition = (STOP - PASS) * std::f64::consts::PI * lower;
        let half = ((LENGTH_DB - 8.0) / (2.285 * transition) / 2.0).ceil() as usize;
        let taps = (2 * half).next_multiple_of(LANES);
        let is_exact = usize::try_from(up).is_ok_and(|rows| rows.saturating_mul(taps) <= MAX_TABLE);
        let cutoff = lower * f64::midpoint(PASS, STOP);
        let beta = 0.1102 * (SHAPE_DB - 8.7);
        let mut kernel = Self { up, down, half, taps, cutoff, beta, table: Vec::new(), is_exact };
        let fractions: Vec<f64> = if is_exact {
            (0..up).map(|phase| phase as f64 / up as f64).collect()
        } else {
            (0..FINE_ROWS + 3).map(|row| (row as f64 - 1.0) / FINE_ROWS as f64).collect()
        };
        kernel.table = fractions.iter().flat_map(|fraction| kernel.row(*fraction)).collect();
        kernel
    }

    /// Where output sample `n` lies: the input sample at or before it, and how many `up`ths of a sample after that.
    fn position(&self, n: usize) -> (usize, u64) {
        let scaled = n as u64 * self.down;
        ((scaled / self.up) as usize, scaled % self.up)
    }

    /// The taps for a position `fraction` of a sample after tap half - 1; they add up to 1, so that a constant stays itself.
    fn row(&self, fraction: f64) -> Vec<f64> {
        let tap = |k: usize| {
            let x = k as f64 - (self.half - 1) as f64 - fraction;
            sinc(self.cutoff * x) * kaiser(x / self.half as f64, self.beta)
        };
        let row: Vec<f64> = (0..self.taps).map(tap).collect();
        let sum: f64 = row.iter().sum();
        row.iter().map(|tap| tap / sum).collect()
    }

    /// Appends the output samples `block`; `input` begins half - 1 samples before the position of the first.
    fn run(&self, block: Range<usize>, input: &[f64], output: &mut Vec<f32>) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx") {
            // SAFETY: the processor has just been found to have AVX.
            return unsafe { self.run_avx(block, input, output) };
        }
        self.run_any(block, input, output);
    }

    /// The same arithmetic with wider registers: half the time. (No FMA: it would round differently.)
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx")]
    fn run_avx(&self, block: Range<usize>, input: &[f64], output: &mut Vec<f32>) {
        self.run_any(block, input, output);
    }

    #[inline(always)]
    fn run_any(&self, block: Range<usize>, input: &[f64], output: &mut Vec<f32>) {
        let first = self.position(block.start).0;
        let mut between = vec![0.0; self.taps];
        for n in block {
            let (at, phase) = self.position(n);
            let input = &input[at - first..][..self.taps];
            let sum = if self.is_exact {
                dot(input, &self.table[phase as usize * self.taps..][..self.taps])
            } else {
                self.interpolate(phase, &mut between);
                dot(input, &between)
            };
            output.push(sum as f32);
        }
    }

    /// The taps of a phase by cubic (Lagrange) interpolation between four rows.
    #[inline(always)]
    fn interpolate(&self, phase: u64, taps: &mut [f64]) {
        let position = phase as f64 / self.up as f64 * FINE_ROWS as f64;
        let (row, t) = (position as usize, position.fract());
        let weights = [
            -t * (t - 1.0) * (t - 2.0) / 6.0,
            (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
            -(t + 1.0) * t * (t - 2.0) / 2.0,
            (t + 1.0) * t * (t - 1.0) / 6.0,
        ];
        let rows = &self.table[row * self.taps..][..4 * self.taps];
        let (low, high) = rows.split_at(2 * self.taps);
        let ((a, b), (c, d)) = (low.split_at(self.taps), high.split_at(self.taps));
        for (k, tap) in taps.iter_mut().enumerate() {
            *tap = weights[0] * a[k] + weights[1] * b[k] + weights[2] * c[k] + weights[3] * d[k];
        }
    }
}

/// The kernel of a ratio, computed once and shared.
fn kernel(from: u32, to: u32) -> Arc<Kernel> {
    type Kept = Vec<((u32, u32), Arc<Kernel>)>;
    static KEPT: Mutex<Kept> = Mutex::new(Vec::new());
    // A poisoned lock still guards a whole list.
    let find = || {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(rates, _)| *rates == (from, to)).map(|(_, kernel)| kernel.clone())
    };
    if let Some(kernel) = find() {
        return kernel;
    }
    // Computed outside of the lock: two threads may do it twice, none waits.
    let kernel = Arc::new(Kernel::new(from, to));
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= MAX_KERNELS {
        kept.remove(0);
    }
    kept.push(((from, to), kernel.clone()));
    kernel
}

/// Partial sums of [`dot`]: six AVX registers, which hides the latency of their additions. (16 take three times as long, since the
/// compiler then shuffles.)
const LANES: usize = 24;

/// Both are a whole number of [`LANES`] long. The partial sums are added by halves: one after the other, as a plain sum has to,
/// they would wait for each other as long as all multiplications take.
#[inline(always)]
fn dot(xs: &[f64], taps: &[f64]) -> f64 {
    let (xs, taps) = (xs.as_chunks::<LANES>().0, taps.as_chunks::<LANES>().0);
    let mut sums = [0.0; LANES];
    for (x, t) in xs.iter().zip(taps) {
        for ((sum, x), t) in sums.iter_mut().zip(x).zip(t) {
            *sum += x * t;
        }
    }
    let eight: [f64; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8] + sums[i + 16]);
    let four: [f64; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

fn sinc(x: f64) -> f64 {
    let x = std::f64::consts::PI * x;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// Kaiser's window at `x` in -1..=1, but for a factor; 0 outside.
fn kaiser(x: f64, beta: f64) -> f64 {
    let inside = 1.0 - x * x;
    if inside < 0.0 { 0.0 } else { bessel_i0(beta * inside.sqrt()) }
}

/// The modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
