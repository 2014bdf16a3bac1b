//! CREPE: opens its file, runs the frames of all clips through it, and converts probabilities to f0.
//!
//! Parameters are those of RVC 2024 and Applio (spec B.7): 50 to 1100 Hz, the most likely path through 512 frames at a time,
//! periodicity median of 3, f0 mean of 3, unvoiced below a periodicity of 0.1.
//!
//! One departure: torchcrepe adds random numbers of up to 20 cents (6 cents on average) to every frame, to hide that its
//! path runs on a grid of 20 cents. Here a frame keeps the grid's value, so that the same clip has the same f0 on every
//! run; the mean of 3 smooths the steps. Without its dither, torchcrepe's f0 of 6.9 s of glides is the same to 0.0004
//! cents with either size and its own weights. In bfloat16 99 % of the frames are the same, the others a step of the grid
//! (20 / 3 cents after the mean) away.

use super::network::{Facts, Model, Network, frames};
use super::{F0_MAX, F0_MIN, HOP_LENGTH};
use crate::features::Setup;
use crate::models::crepe::{Crepe, PITCHES, Size, WINDOW};
use crate::{Result, nn};

/// The full size takes 3 MB per frame. Raise the version when a value may change.
const FACTS: Facts =
    Facts { asset: "crepe_full.pth", version: "crepe-1", threshold: THRESHOLD, most_on_cpu: 128, most_on_gpu: 2048 };
const TINY: Facts = Facts { asset: "crepe_tiny.pth", version: "crepe-tiny-1", ..FACTS };
/// Frames with a lower periodicity are unvoiced.
pub const THRESHOLD: f32 = 0.1;
/// The pitch of the first probability, in cents above 10 Hz; the next ones follow in steps of 20 cents.
const FIRST_CENTS: f64 = 1_997.379_408_437_619;
const CENTS_PER_PITCH: f64 = 20.0;
/// Frames per path search; the reference's batch size, and its path restarts at the batch's ends.
const PATH: usize = 512;
/// Pitch steps that a path may move by from one frame to the next, exclusive.
const STEP: usize = 12;

/// CREPE with its weights. Errors: as [`Network::open`].
pub(super) fn open(size: Size, setup: &Setup) -> Result<Network<Crepe>> {
    let facts = match size {
        Size::Full => FACTS,
        Size::Tiny => TINY,
    };
    Network::open(setup, &facts, |file, kind, device| Crepe::load(file, size, kind, device))
}

impl Model for Crepe {
    fn cost(n_samples: usize) -> usize {
        frames(n_samples)
    }

    fn track(&self, clips: &[&[f32]], threshold: f32, most: usize) -> Result<Vec<Vec<f64>>> {
        clips.iter().map(|clip| Ok(decode(&probabilities(self, clip, most)?, threshold))).collect()
    }
}

/// The probabilities of a clip's frames, at most `most` at a time: [frames * 360].
fn probabilities(crepe: &Crepe, clip: &[f32], most: usize) -> Result<Vec<f32>> {
    let n = frames(clip.len());
    let mut padded = vec![0.0; clip.len() + WINDOW];
    padded[WINDOW / 2..WINDOW / 2 + clip.len()].copy_from_slice(clip);
    let mut found = vec![0.0f32; n * PITCHES as usize];
    for (batch, out) in found.chunks_mut(most * PITCHES as usize).enumerate() {
        nn::guard(|| {
            let first = batch * most;
            let count = out.len() / PITCHES as usize;
            let samples = &padded[first * HOP_LENGTH..(first + count - 1) * HOP_LENGTH + WINDOW];
            let windows = tch::Tensor::from_slice(samples).unfold(0, WINDOW as i64, HOP_LENGTH as i64);
            let probabilities = crepe.probabilities(&windows).to_device(tch::Device::Cpu);
            probabilities.copy_data(out, out.len());
        })?;
    }
    Ok(found)
}

/// The f0 of a clip's frames from their probabilities, in Hz; 0 where unvoiced, NaN throughout if a probability is NaN.
///
/// Shapes   probabilities: [frames * 360] -> [frames]
/// Source   torchcrepe's viterbi decoder, periodicity, median and mean filters, without its dither
pub fn decode(probabilities: &[f32], threshold: f32) -> Vec<f64> {
    let width = PITCHES as usize;
    if probabilities.iter().any(|p| p.is_nan()) {
        return vec![f64::NAN; probabilities.len() / width];
    }
    let mut path = Vec::with_capacity(probabilities.len() / width);
    for block in probabilities.chunks(PATH * width) {
        path.extend(most_likely_path(block));
    }
    let periodicity: Vec<f32> =
        path.iter().zip(probabilities.chunks_exact(width)).map(|(k, frame)| frame[*k]).collect();
    let hz: Vec<f64> =
        path.iter().map(|k| 10.0 * ((CENTS_PER_PITCH * *k as f64 + FIRST_CENTS) / 1200.0).exp2()).collect();
    let voiced = |(f0, periodicity): (f64, f32)| if periodicity < threshold { 0.0 } else { f0 };
    mean_of_three(&hz).into_iter().zip(median_of_three(&periodicity)).map(voiced).collect()
}

/// The pitches that a path may use: 50 to 1100 Hz.
fn range() -> std::ops::Range<usize> {
    let place = |hz: f64| (1200.0 * (hz / 10.0).log2() - FIRST_CENTS) / CENTS_PER_PITCH;
    place(F0_MIN).floor() as usize..place(F0_MAX).ceil() as usize
}

/// The pitch of each frame on the path of highest probability (Viterbi): a frame's weight is the softmax of its
/// probabilities, a step of d pitches has a weight proportional to 12 - d. The first of equal pitches is taken. (The weights sum to
/// the same for all pitches in the range, so the sum is left out.)
///
/// The reference also allows steps of 12 and more at a cost of 708 (minus the logarithm of the smallest positive float64). Within one
/// block no path is worth that: crossing the whole range in allowed steps costs less than 150.
fn most_likely_path(block: &[f32]) -> Vec<usize> {
    let range = range();
    let states = range.len();
    let frames: Vec<Vec<f64>> =
        block.chunks_exact(PITCHES as usize).map(|frame| log_softmax(&frame[range.clone()])).collect();
    let Some(first) = frames.first() else { return Vec::new() };
    let steps: Vec<f64> = (0..STEP).map(|d| ((STEP - d) as f64).ln()).collect();
    let mut value = first.clone();
    let mut came_from: Vec<Vec<u16>> = Vec::with_capacity(frames.len());
    for frame in &frames[1..] {
        let mut next = vec![0.0; states];
        let mut from = vec![0u16; states];
        for j in 0..states {
            let low = j.saturating_sub(STEP - 1);
            let mut best = (f64::NEG_INFINITY, low);
            for k in low..(j + STEP).min(states) {
                let total = value[k] + steps[j.abs_diff(k)];
                if total > best.0 {
                    best = (total, k);
                }
            }
            next[j] = frame[j] + best.0;
            from[j] = best.1 as u16;
        }
        value = next;
        came_from.push(from);
    }
    let mut at = 0;
    for (k, v) in value.iter().enumerate() {
        if *v > value[at] {
            at = k;
        }
    }
    let mut path = vec![at + range.start];
    for from in came_from.iter().rev() {
        at = usize::from(from[at]);
        path.push(at + range.start);
    }
    path.reverse();
    path
}

/// Logarithms of the softmax, in float32 like the reference, so that equal paths stay equal.
fn log_softmax(frame: &[f32]) -> Vec<f64> {
    let highest = frame.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = frame.iter().map(|p| (p - highest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.iter().map(|x| f64::from((x / sum).ln())).collect()
}

/// Each value with its neighbours; two values at the ends.
fn neighbours<T>(values: &[T]) -> impl Iterator<Item = &[T]> {
    (0..values.len()).map(|i| &values[i.saturating_sub(1)..(i + 2).min(values.len())])
}

fn mean_of_three(values: &[f64]) -> Vec<f64> {
    neighbours(values).map(|near| near.iter().sum::<f64>() / near.len() as f64).collect()
}

/// The median of three; of two values, the lower.
fn median_of_three(values: &[f32]) -> Vec<f32> {
    let median = |near: &[f32]| {
        let mut sorted = near.to_vec();
        sorted.sort_by(f32::total_cmp);
        sorted[(near.len() - 1) / 2]
    };
    neighbours(values).map(median).collect()
}
