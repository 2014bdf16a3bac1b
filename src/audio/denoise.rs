//! Noise suppression by RNNoise (crate nnnoiseless, its weights inside): a small network that attenuates 22 bands every 10 ms.
//!
//! Source: Valin, "A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement", 2018.
//!
//! Measured on the quickstart's speech in white noise: an SNR of 0 dB becomes 10, and 10 becomes 16; speech cleaner than 20 dB
//! stays at about 20, because the network alters the speech as well. So it is off by default; use it for noisy recordings.
//! It removes everything above 20 kHz.

use super::Audio;
use crate::Result;
use nnnoiseless::DenoiseState;

/// Identifies the suppressor in cache keys. Change it with every change that can change a sample.
pub const NAME: &str = "rnnoise-1";
/// The network's rate, in Hz ...
const RATE: u32 = 48000;
/// ... and its full scale.
const SCALE: f32 = 32768.0;
/// Samples per frame, and the network's delay.
const FRAME: usize = DenoiseState::FRAME_SIZE;
/// Frames between two calls of `check`: one second of sound, about 8 ms of work.
const FRAMES_BETWEEN: usize = 100;

/// The sound at 48 kHz, with a share of `strength` (0 to 1) of the noise suppression; nothing moves in time.
///
/// Samples that are not finite count as silence, and stay not finite in the result. An error from `check` ends the work.
pub fn at_48k(audio: Audio, strength: f64, check: impl Fn() -> Result<()>) -> Result<Audio> {
    let (broken, own_rate) = (audio.runs_not_finite(), audio.sample_rate);
    let noisy = audio.finite().at_rate(RATE);
    let mut samples = suppressed(&noisy.samples, check)?;
    for (y, x) in samples.iter_mut().zip(&noisy.samples) {
        *y = (strength * f64::from(*y) + (1.0 - strength) * f64::from(*x)) as f32;
    }
    let there = |sample: usize| sample as u64 * u64::from(RATE) / u64::from(own_rate.max(1));
    for run in broken {
        let end = (there(run.end) as usize + 1).min(samples.len());
        samples[(there(run.start) as usize).min(end)..end].fill(f32::NAN);
    }
    Ok(Audio { samples, sample_rate: RATE })
}

/// As [`at_48k`], at the sound's own rate and length.
pub fn denoise(audio: Audio, strength: f64, check: impl Fn() -> Result<()>) -> Result<Audio> {
    let (length, rate) = (audio.samples.len(), audio.sample_rate);
    let mut audio = at_48k(audio, strength, check)?.at_rate(rate);
    audio.samples.resize(length, 0.0);
    Ok(audio)
}

/// As many samples as given, each at its own time.
fn suppressed(samples: &[f32], check: impl Fn() -> Result<()>) -> Result<Vec<f32>> {
    let mut network = DenoiseState::new();
    let (mut given, mut made) = ([0.0f32; FRAME], [0.0f32; FRAME]);
    let mut all = Vec::with_capacity(samples.len() + FRAME);
    // input  | 0 | 1 | 2 | zeros |
    // output |   | 0 | 1 |   2   |     the first frame of output belongs to the time before the sound
    for frame in 0..=samples.len().div_ceil(FRAME) {
        if frame % FRAMES_BETWEEN == 0 {
            check()?;
        }
        let rest = &samples[(frame * FRAME).min(samples.len())..];
        given.fill(0.0);
        given.iter_mut().zip(rest).for_each(|(to, x)| *to = x * SCALE);
        network.process_frame(&mut made, &given);
        if frame > 0 {
            all.extend(made.iter().map(|x| x / SCALE));
        }
    }
    all.truncate(samples.len());
    Ok(all)
}
