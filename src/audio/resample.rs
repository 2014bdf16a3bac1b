//! Resampling with rubato, in f64, with every sample in its place.
//!
//! A ratio of small numbers (44100 to 40000 is 441 to 400) uses rubato's FFT resampler, block by block. Its filter delays the
//! sound by half a block of input. Zeros before the sound make the delay a whole number of output samples, which are dropped:
//!
//! ```text
//! 44100 -> 40000:  block 441 -> 400, delay 220 samples
//! input    |221 zeros|sound ...    the delay is now 441 samples, which is one block of output
//! output   |400 samples dropped|sound ...
//! ```
//!
//! A ratio of large numbers (44101 to 40000) would need blocks of seconds, and so a filter that rings for seconds. For such ratios, rubato's sinc
//! interpolator reads the sound at each position. (Its asynchronous resampler has the same filter, but a delay that is not a whole number of
//! samples at any number of zeros.)
//!
//! The filter is that of soxr's HQ recipe, which RVC uses for its 16 kHz copies (spec A.7), as closely as rubato's filters match it.
//! Figures: tests/bench/results/2026-11-30-resample.md.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::interpolation::{get_nearest_times_4, interp_cubic};
use rubato::sinc_interpolator::{SincInterpolator, make_interpolator};
use rubato::{Fft, FixedSync, Resampler, WindowFunction, calculate_cutoff};

/// Minimum length of the filter in samples of the lower rate. With this length, 48, 40 and 32 to 16 kHz match soxr's HQ to 1e-3 of full scale up
/// to Nyquist and beyond. A shorter filter removes more treble; a longer one rings for longer.
const FILTER: usize = 220;
/// Longest filter of the FFT resampler, in samples of the lower rate: ratios that need a longer one are interpolated.
const MAX_FILTER: usize = 2 * FILTER;
/// Longest block at the higher rate: bounds the memory, a few MiB.
const MAX_BLOCK: usize = 1 << 16;
/// The window that has soxr's transition between pass band and stop band.
const WINDOW: WindowFunction = WindowFunction::Blackman2;
/// Points of the interpolated filter per sample of the lower rate; with cubic interpolation between them the error is 1e-9.
const POINTS: f64 = 256.0;
/// Output samples that are interpolated at a time.
const BLOCK: usize = 4096;

/// `samples` at rate `to`: exactly ceil(n * to / from) samples, sample 0 at time 0, silence assumed on both sides.
///
/// A sample that is NaN or infinite makes every output sample within the filter's reach NaN: 7 ms on both sides for 16 kHz. Machines with
/// different vector instructions may differ in the last bit of a sample.
///
/// Units: both rates in Hz. A rate of 0 gives no samples.
///
/// Source: crate rubato, `Fft` and `sinc_interpolator`.
pub fn resample<T: Copy + Into<f64>>(samples: &[T], from: u32, to: u32) -> Vec<f32> {
    if from == to {
        return samples.iter().map(|&x| x.into() as f32).collect();
    }
    if from == 0 || to == 0 || samples.is_empty() {
        return Vec::new();
    }
    let ratio = Ratio::new(from, to);
    match ratio.parts() {
        Some(parts) => by_fft(samples, ratio, parts),
        None => by_interpolation(samples, ratio),
    }
}

/// Whether a sample may enter an FFT, where one that is not finite would spoil the whole block (and make rubato panic).
fn is_usable(sample: f64) -> bool {
    sample.abs() <= f64::from(f32::MAX)
}

/// Puts NaN where the filter reaches a sample that is not usable; `reach` in samples of the input.
fn spoil<T: Copy + Into<f64>>(resampled: &mut [f32], samples: &[T], ratio: Ratio, reach: usize) {
    let mut spoiled = 0;
    for (i, _) in samples.iter().enumerate().filter(|(_, sample)| !is_usable((**sample).into())) {
        let first = ratio.of_output(i.saturating_sub(reach)).max(spoiled);
        spoiled = ratio.of_output(i + reach + 1).min(resampled.len());
        resampled.get_mut(first..spoiled).unwrap_or_default().fill(f32::NAN);
    }
}

/// Reduced rates: for every `down` samples of input there are `up` of output.
#[derive(Clone, Copy)]
struct Ratio {
    up: usize,
    down: usize,
}

impl Ratio {
    fn new(from: u32, to: u32) -> Self {
        let divisor = greatest_common_divisor(from, to);
        Self { up: (to / divisor) as usize, down: (from / divisor) as usize }
    }

    fn of_output(self, n_samples: usize) -> usize {
        (n_samples as u64 * self.up as u64).div_ceil(self.down as u64) as usize
    }

    /// How often the ratio fits into a block of the FFT resampler; `None` for a block that would be too long.
    fn parts(self) -> Option<usize> {
        let (low, high) = (self.up.min(self.down), self.up.max(self.down));
        let parts = FILTER.div_ceil(low);
        (parts * low <= MAX_FILTER && parts * high <= MAX_BLOCK).then_some(parts)
    }
}

fn by_fft<T: Copy + Into<f64>>(samples: &[T], ratio: Ratio, parts: usize) -> Vec<f32> {
    let (mut input, mut output) = (vec![0.0; parts * ratio.down], vec![0.0; parts * ratio.up]);
    // With both sides fixed, a block is as long as the filter.
    let mut resampler = Fft::<f64>::new_custom(ratio.down, ratio.up, input.len(), 1, 1, WINDOW, FixedSync::Both)
        .expect("neither a rate nor the block length is 0");
    let delay = input.len() / 2;
    let zeros = delay.next_multiple_of(ratio.down) - delay;
    let mut skipped = (delay + zeros) / ratio.down * ratio.up;
    let total = ratio.of_output(samples.len());
    let mut resampled = Vec::with_capacity(total);
    let mut begin = -(zeros as i64);
    while resampled.len() < total {
        copy_window(samples, begin, &mut input);
        begin += input.len() as i64;
        process(&mut resampler, &input, &mut output);
        let skip = skipped.min(output.len());
        skipped -= skip;
        let wanted = (total - resampled.len()).min(output.len() - skip);
        resampled.extend(output[skip..skip + wanted].iter().map(|&x| x as f32));
    }
    spoil(&mut resampled, samples, ratio, delay);
    resampled
}

fn process(resampler: &mut Fft<f64>, input: &[f64], output: &mut [f64]) {
    let n_output = output.len();
    let input = InterleavedSlice::new(input, 1, input.len());
    let output = InterleavedSlice::new_mut(output, 1, n_output);
    let (input, mut output) = input.ok().zip(output.ok()).expect("one channel of as many samples as there are");
    resampler.process_into_buffer(&input, &mut output, None).expect("both are one block long");
}

fn by_interpolation<T: Copy + Into<f64>>(samples: &[T], ratio: Ratio) -> Vec<f32> {
    let factor = ratio.up as f64 / ratio.down as f64;
    let lower = factor.min(1.0);
    let length = (FILTER as f64 / lower).ceil() as usize;
    // A lower cutoff needs fewer points per sample. Cubic interpolation reads four of them.
    let points = (POINTS * lower).ceil().max(4.0) as usize;
    let filter = make_interpolator::<f64>(length, factor, Some(calculate_cutoff(FILTER, WINDOW)), points, WINDOW);
    let taps = filter.nbr_points();
    // A sample's position: the input sample at or before it, and the rest in units of 1/up.
    let position = |n: usize| {
        let scaled = n as u64 * ratio.down as u64;
        ((scaled / ratio.up as u64) as i64, scaled % ratio.up as u64)
    };
    let total = ratio.of_output(samples.len());
    let mut resampled = Vec::with_capacity(total);
    let mut window = Vec::new();
    for first in (0..total).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(total);
        let begin = position(block.start).0 - taps as i64;
        window.resize((position(block.end - 1).0 + 2 * taps as i64 - begin) as usize, 0.0);
        copy_window(samples, begin, &mut window);
        for n in block {
            let (whole, part) = position(n);
            // rubato counts positions from the first tap, and point 0 as one point after it.
            let at = whole - begin + 1 - (taps / 2) as i64;
            let fraction = part as f64 / ratio.up as f64 - 1.0 / points as f64;
            let mut nearest = [(0, 0); 4];
            get_nearest_times_4(fraction, points as isize, &mut nearest);
            let values = nearest.map(|(whole, point)| {
                filter.get_sinc_interpolated(&window, (at + whole as i64) as usize, point as usize)
            });
            let between = (fraction * points as f64).rem_euclid(1.0);
            resampled.push(interp_cubic(between, &values) as f32);
        }
    }
    spoil(&mut resampled, samples, ratio, taps / 2);
    resampled
}

/// Fills `window` with the samples from `begin` on, and with silence before the first, after the last and in place of unusable samples.
fn copy_window<T: Copy + Into<f64>>(samples: &[T], begin: i64, window: &mut [f64]) {
    window.fill(0.0);
    let ahead = begin.min(0).unsigned_abs() as usize;
    let inside = samples.get(begin.max(0) as usize..).unwrap_or_default();
    for (x, &sample) in window.iter_mut().skip(ahead).zip(inside) {
        let sample = sample.into();
        *x = if is_usable(sample) { sample } else { 0.0 };
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
