//! RMVPE: opens its file, runs clips through it, and converts salience to f0.
//!
//! Measured with weights by the fill rule on 2 cores (avx512_bf16): 60 s take 1.8 s in float32. bfloat16 is 1.5 (one clip of
//! 10 s) to 1.8 times (16 clips of 3.7 s) as fast; the recurrent layer stays float32. It moves f0 by 0.04 cents in the
//! median, and by at most 0.3 where the most salient pitch leads by 0.002 or more (79 % of the frames of noise-like
//! salience); elsewhere another pitch may win.

use super::network::{self, Facts, Model, Network};
use crate::features::Setup;
use crate::models::rmvpe::{FRAME_MULTIPLE, PITCHES, Rmvpe};
use crate::{Result, nn};

/// Raise the version when a value may change.
const FACTS: Facts =
    Facts { asset: "rmvpe.pt", version: "rmvpe-1", threshold: THRESHOLD, most_on_cpu: 4096, most_on_gpu: 16384 };
/// Frames whose highest salience is at or below this are unvoiced (spec B.7). A higher threshold leaves more frames unvoiced.
pub const THRESHOLD: f32 = 0.03;
/// The pitch of the first salience, in cents above 10 Hz (spec B.6); the next ones follow in steps of 20 cents.
const FIRST_CENTS: f64 = 1_997.379_408_437_619;
const CENTS_PER_PITCH: f64 = 20.0;
/// Neighbours on each side that a frame's pitch is averaged over.
const REACH: usize = 4;

/// RMVPE with its weights. Errors: as [`Network::open`].
pub(super) fn open(setup: &Setup) -> Result<Network<Rmvpe>> {
    Network::open(setup, &FACTS, Rmvpe::load)
}

/// The number of frames with the zeros appended to them.
fn filled(frames: usize) -> usize {
    frames.next_multiple_of(FRAME_MULTIPLE)
}

impl Model for Rmvpe {
    fn cost(n_samples: usize) -> usize {
        filled(Self::frames(n_samples))
    }

    fn track(&self, clips: &[&[f32]], threshold: f32, most: usize) -> Result<Vec<Vec<f64>>> {
        // The clips are padded to the same number of frames.
        let batch = |waves: &[&[f32]]| {
            nn::guard(|| {
                let salience = self.salience(&self.mel(waves));
                let lengths = waves.iter().map(|wave| Self::frames(wave.len()));
                network::rows(&salience, lengths).map(|row| decode(&row, threshold)).collect()
            })
        };
        network::in_pieces(clips, Self::shortest(), most, filled, batch)
    }
}

/// The f0 of frames from their salience, in Hz; 0 where no pitch is above the threshold, NaN where one is NaN.
///
/// Shapes   salience: [frames * 360] -> [frames]
/// Source   spec B.6
pub fn decode(salience: &[f32], threshold: f32) -> Vec<f64> {
    let hz = |frame: &[f32]| match cents(frame, threshold) {
        // The reference marks unvoiced frames with this value.
        0.0 => 0.0,
        cents => 10.0 * (cents / 1200.0).exp2(),
    };
    salience.chunks_exact(PITCHES as usize).map(hz).collect()
}

/// The pitch of a frame in cents above 10 Hz: the mean of the nine pitches around the most salient, weighted by salience; 0 if
/// the frame is unvoiced.
pub fn cents(frame: &[f32], threshold: f32) -> f64 {
    let mut best = 0;
    for (k, s) in frame.iter().enumerate() {
        if s.is_nan() {
            return f64::NAN;
        }
        // The first of equal saliences.
        if *s > frame[best] {
            best = k;
        }
    }
    if frame[best] <= threshold {
        return 0.0;
    }
    let (mut products, mut weights) = ([0.0f64; 2 * REACH + 1], [0.0f32; 2 * REACH + 1]);
    for (i, k) in (best.saturating_sub(REACH)..=(best + REACH).min(frame.len() - 1)).enumerate() {
        // The reference has zeros beyond the ends; its sums include them in the same positions.
        let place = if best < REACH { i + REACH - best } else { i };
        weights[place] = frame[k];
        products[place] = f64::from(frame[k]) * (CENTS_PER_PITCH * k as f64 + FIRST_CENTS);
    }
    sum_of_nine(products) / f64::from(sum_of_nine(weights))
}

/// The sum in NumPy's order of additions, which decides the last digit: pairs of the first eight, then the ninth. The
/// weights are summed in float32, as NumPy does with a float32 array.
fn sum_of_nine<T: Copy + std::ops::Add<Output = T>>(x: [T; 9]) -> T {
    (((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]))) + x[8]
}
