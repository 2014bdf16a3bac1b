//! Noise suppression by RNNoise (crate nnnoiseless, its weights inside): a small network that attenuates 22 bands every 10 ms.
//!
//! Source: Valin, "A Hybrid DSP/Deep Learning Approach to Real-Time Full-Band Speech Enhancement", 2018.
//!
//! Measured on the quickstart's speech in white noise: an SNR of 0 dB becomes 10, 10 becomes 16; speech that is cleaner than 20 dB comes
//! out no better than about 20, as the network alters the speech as well. So it is off by default, and of use on noisy recordings.
//! Nothing above 20 kHz is left.

use super::Audio;
use crate::Result;
use nnnoiseless::DenoiseState;

/// Which suppressor it is, for cache keys. Change it with every change that can change a sample.
pub const NAME: &str = "rnnoise-1";
/// The network's rate, in Hz ...
const RATE: u32 = 48000;
/// ... and its full scale.
const SCALE: f32 = 32768.0;
/// Samples of a frame, and how much later the network hands out what it was given.
const FRAME: usize = DenoiseState::FRAME_SIZE;
/// How often it is asked whether to go on: every second of sound, which is some 8 ms of work.
const FRAMES_BETWEEN: usize = 100;

/// The sound at 48 kHz with a share of `strength` (0 to 1) of the noise suppression, at the same times as before.
///
/// Samples that are not finite count as silence, and are not finite in the result. `go_on` may end the work with an error.
pub fn at_48k(audio: Audio, strength: f64, go_on: impl Fn() -> Result<()>) -> Result<Audio> {
    let (broken, own_rate) = (audio.runs_not_finite(), audio.sample_rate);
    let noisy = audio.finite().at_rate(RATE);
    let mut samples = suppressed(&noisy.samples, go_on)?;
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

/// As [`at_48k`], at the sound's own rate and of its own length.
pub fn denoise(audio: Audio, strength: f64, go_on: impl Fn() -> Result<()>) -> Result<Audio> {
    let (length, rate) = (audio.samples.len(), audio.sample_rate);
    let mut audio = at_48k(audio, strength, go_on)?.at_rate(rate);
    audio.samples.resize(length, 0.0);
    Ok(audio)
}

/// As many samples as were given, each at its own time.
fn suppressed(samples: &[f32], go_on: impl Fn() -> Result<()>) -> Result<Vec<f32>> {
    let mut network = DenoiseState::new();
    let (mut given, mut made) = ([0.0f32; FRAME], [0.0f32; FRAME]);
    let mut all = Vec::with_capacity(samples.len() + FRAME);
    // given  | 0 | 1 | 2 | zeros |
    // made   |   | 0 | 1 |   2   |     the first frame made is of what came before the sound
    for frame in 0..=samples.len().div_ceil(FRAME) {
        if frame % FRAMES_BETWEEN == 0 {
            go_on()?;
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
