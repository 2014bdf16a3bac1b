//! Proof that an exported voice works: compares the file's sound with the trained generator's.

use super::{Converter, Settings};
use crate::audio::Audio;
use crate::models::Synthesizer;
use crate::nn::generator;
use crate::task::Task;
use crate::{Error, Kind, Result, nn};

/// Least SNR of the file's sound against the generator's, in dB. Rounding the weights to half precision gives 72 dB with the
/// quickstart's voice; the same network with one residual block's weights negated gives under 20 (tests/convert.rs).
const LEAST_SNR: f64 = 20.0;
/// A voice whose loudest sample is below this is mute.
const LEAST_PEAK: f32 = 1e-4;

/// The outcome of [`run`].
pub struct SelfTest {
    /// SNR of the file's sound against the generator's, in dB; higher is better.
    pub snr: f64,
    /// The recording converted by the file.
    pub sound: Audio,
}

/// Converts `recording` with the opened file and with the generator that it was exported from, with the same random numbers.
///
/// Errors: `checkpoint.mismatch` if the two differ by more than rounding, or the file's sound is silent; as
/// [`Converter::convert`].
pub fn run(converter: &Converter, generator: &Synthesizer, recording: &Audio, settings: &Settings) -> Result<SelfTest> {
    let task = Task::silent();
    let (mut signal, mut noise) = (0.0, 0.0);
    for input in converter.inputs(&task, recording.clone(), settings)? {
        let by = |network: &Synthesizer| {
            let _drawing = nn::guard(|| generator::seeded(settings.seed))?;
            Ok::<_, Error>(network.infer(&input)?.y_hat)
        };
        let (file, trained) = (by(&converter.voice.network)?, by(generator)?);
        let (s, n) = nn::guard(|| {
            let power = |x: &tch::Tensor| x.square().sum(tch::Kind::Double).double_value(&[]);
            (power(&trained), power(&(file - &trained)))
        })?;
        signal += s;
        noise += n;
    }
    let snr = 10.0 * (signal / noise.max(f64::MIN_POSITIVE)).log10();
    let sound = converter.convert(&task, recording.clone(), settings)?;
    let peak = sound.samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
    let fault = if snr < LEAST_SNR || snr.is_nan() {
        format!("its SNR against the trained generator is {snr:.1} dB, but must be at least {LEAST_SNR} dB")
    } else if peak < LEAST_PEAK || sound.samples.iter().any(|x| !x.is_finite()) {
        format!("it is mute, or not finite (peak {peak})")
    } else {
        return Ok(SelfTest { snr, sound });
    };
    Err(Error::new(Kind::CheckpointMismatch, format!("the exported voice fails its self-test: {fault}")).hint(
        "the checkpoints are intact: `rvc-run export` writes the voice again; if that fails too, please report it",
    ))
}
