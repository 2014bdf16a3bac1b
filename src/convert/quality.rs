//! How similar a converted clip is to a reference: numbers for a report, and for choosing among epochs.
//!
//! The reference has the same words at the same times: for a voice's own clip the clip itself, for a conversion its input. Both are
//! compared at 16 kHz over the length of the shorter one.

use crate::audio::Audio;
use crate::features::{content, f0};
use crate::nn::spectral::{MelScale, MelSettings, Spectral};
use crate::task::Task;
use crate::{Error, Kind, Result, nn};
use ebur128::{EbuR128, Mode};
use serde::Serialize;
use tch::{Device, Tensor};

const RATE: u32 = 16_000;
/// Magnitudes further below the loudest part of the reference count as silence: 60 dB.
const RANGE: f64 = 1e-3;
/// Nepers to decibels: 20 / ln 10.
const DECIBELS: f64 = 20.0 / std::f64::consts::LN_10;
/// 10 ms frames of 64 ms, 80 bands over the whole spectrum.
const MEL: MelSettings = MelSettings {
    sample_rate: RATE as f64,
    n_fft: 1024,
    hop_length: 160,
    padding: 512,
    n_mels: 80,
    fmin: 0.0,
    fmax: RATE as f64 / 2.0,
    scale: MelScale::Slaney,
    eps: 1e-9,
    clamp: 1e-9,
};

/// A judge for validation: pitch and content errors, to choose an epoch by. No numbers for clips that are too short to compare.
///
/// `with_f0` false leaves out the pitch, for a voice without pitch.
/// Errors: as [`Evaluator::compare`].
pub fn validation_metrics(
    evaluator: &Evaluator,
    with_f0: bool,
    made: &Audio,
    clip: &Audio,
) -> Result<Vec<(&'static str, f64)>> {
    let found = match evaluator.compare(made, clip, 0.0) {
        Err(error) if error.kind() == Kind::AudioEmpty => return Ok(Vec::new()),
        found => found?,
    };
    let mut numbers = vec![("validation_content_distance", found.content_distance)];
    if with_f0 {
        numbers.push(("validation_voicing_error", found.voicing_error));
        numbers.extend(found.f0_rmse_cents.map(|cents| ("validation_f0_rmse_cents", cents)));
    }
    Ok(numbers)
}

/// Distances of a clip from its reference; 0 is equal in each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Mean absolute difference of the log-mel spectra, in dB; parts more than 60 dB below the reference's loudest count as equally silent.
    pub log_mel_distance: f64,
    /// Root mean square of the pitch difference in frames where both are voiced, in cents; None without such frames.
    pub f0_rmse_cents: Option<f64>,
    /// Share of the frames that are voiced in only one of the two.
    pub voicing_error: f64,
    /// Loudness minus the reference's, in LU (EBU R 128, integrated); None if either is silent or shorter than 0.4 s.
    pub loudness_difference: Option<f64>,
    /// Mean over the frames of 1 - cosine of the content features: 0 is equal, 1 is unrelated.
    pub content_distance: f64,
}

/// The pitch method and content encoder of the measures.
pub struct Evaluator<'a> {
    pub tracker: &'a f0::Extractor,
    pub encoder: &'a content::Encoder,
}

impl Evaluator<'_> {
    /// Compares `converted` with `reference`, whose pitch is first shifted by `f0_up_key` semitones.
    ///
    /// Errors: `audio.empty` if either is shorter than 0.1 s; `data.damaged` if a sample is not finite; `torch`, `device.memory`.
    pub fn compare(&self, converted: &Audio, reference: &Audio, f0_up_key: f64) -> Result<Quality> {
        let [converted, reference] = [converted, reference].map(|audio| audio.clone().at_rate(RATE).samples);
        let n = converted.len().min(reference.len());
        if n < RATE as usize / 10 {
            let message = format!("{n} samples at 16 kHz are too short to compare; at least 0.1 s is needed");
            return Err(Error::new(Kind::AudioEmpty, message));
        }
        let clips = [converted[..n].to_vec(), reference[..n].to_vec()];
        let (f0_rmse_cents, voicing_error) = self.f0(&clips, f0_up_key)?;
        Ok(Quality {
            log_mel_distance: log_mel_distance(&clips)?,
            f0_rmse_cents,
            voicing_error,
            loudness_difference: loudness(&clips[0]).zip(loudness(&clips[1])).map(|(a, b)| a - b),
            content_distance: self.content(&clips)?,
        })
    }

    /// Root mean square difference in cents, and the share of frames whose voicing differs.
    fn f0(&self, clips: &[Vec<f32>; 2], f0_up_key: f64) -> Result<(Option<f64>, f64)> {
        let load = |clip: &Vec<f32>| Ok(clip.clone());
        let tracks = self.tracker.extract(&Task::silent(), "f0", clips, Vec::len, load, |_, f0| f0)?;
        let frames = tracks[0].len().min(tracks[1].len());
        let (mut squares, mut both, mut one) = (0.0, 0, 0);
        for (&converted, &reference) in tracks[0].iter().zip(&tracks[1]) {
            match (converted > 0.0, reference > 0.0) {
                (true, true) => {
                    squares += (1200.0 * (converted / reference).log2() - 100.0 * f0_up_key).powi(2);
                    both += 1;
                }
                (false, false) => {}
                _ => one += 1,
            }
        }
        let rmse = (both > 0).then(|| (squares / f64::from(both)).sqrt());
        Ok((rmse, f64::from(one) / frames.max(1) as f64))
    }

    fn content(&self, clips: &[Vec<f32>; 2]) -> Result<f64> {
        let dim = self.encoder.dim();
        let [a, b] = [self.encoder.encode(&clips[0])?, self.encoder.encode(&clips[1])?];
        let distances: Vec<f64> =
            a.chunks_exact(dim).zip(b.chunks_exact(dim)).map(|(a, b)| 1.0 - cosine(a, b)).collect();
        Ok(distances.iter().sum::<f64>() / distances.len().max(1) as f64)
    }
}

/// 1 for two zero vectors.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let (aa, bb) = (dot(a, a), dot(b, b));
    if aa == 0.0 && bb == 0.0 {
        return 1.0;
    }
    dot(a, b) / (aa * bb).sqrt().max(f64::MIN_POSITIVE)
}

fn log_mel_distance(clips: &[Vec<f32>; 2]) -> Result<f64> {
    let spectral = Spectral::of(MEL, Device::Cpu);
    nn::guard(|| {
        tch::no_grad(|| {
            let [converted, reference] = [0, 1].map(|i| spectral.mel(&Tensor::from_slice(&clips[i]).unsqueeze(0)));
            let floor = reference.max().double_value(&[]) + RANGE.ln();
            let difference = converted.clamp_min(floor) - reference.clamp_min(floor);
            difference.abs().mean(tch::Kind::Double).double_value(&[]) * DECIBELS
        })
    })
}

/// Integrated loudness of mono sound at 16 kHz in LUFS; None if nothing is above the gate.
fn loudness(samples: &[f32]) -> Option<f64> {
    let mut meter = EbuR128::new(1, RATE, Mode::I).ok()?;
    meter.add_frames_f32(samples).ok()?;
    meter.loudness_global().ok().filter(|lufs| lufs.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::Store;
    use crate::config::choices::{EncoderName, Version};
    use crate::features::Setup;
    use crate::files::Workspace;

    fn voice(hz: f64, amplitude: f64) -> Audio {
        let harmonic = |t: f64, k: i32| (std::f64::consts::TAU * hz * f64::from(k) * t).sin() / f64::from(k);
        let sample = |i: u32| (1..6).map(|k| harmonic(f64::from(i) / f64::from(RATE), k)).sum::<f64>() * amplitude;
        Audio { samples: (0..RATE).map(|i| sample(i) as f32).collect(), sample_rate: RATE }
    }

    fn compare(converted: &Audio, reference: &Audio, f0_up_key: f64) -> Result<Quality> {
        let setup = Setup::without_network(&Store::new(&Workspace::new("no assets here")));
        let tracker = f0::Extractor::signal(f0::Method::Pm);
        let encoder = content::Encoder::open(&EncoderName::Mel.into(), Version::V2, &setup).unwrap();
        Evaluator { tracker: &tracker, encoder: &encoder }.compare(converted, reference, f0_up_key)
    }

    #[test]
    fn a_clip_equals_itself_at_any_rate() {
        let clip = voice(200.0, 0.1);
        let same = compare(&clip, &clip, 0.0).unwrap();
        assert_eq!((same.log_mel_distance, same.f0_rmse_cents, same.voicing_error), (0.0, Some(0.0), 0.0));
        assert_eq!(same.loudness_difference, Some(0.0));
        assert!(same.content_distance < 1e-9, "{same:?}");
        let resampled = compare(&clip.clone().at_rate(40_000), &clip, 0.0).unwrap();
        assert!(resampled.log_mel_distance < 1.0 && resampled.f0_rmse_cents.unwrap() < 1.0, "{resampled:?}");
    }

    #[test]
    fn each_measure_sees_its_own_difference() {
        let clip = voice(200.0, 0.1);
        let half = compare(&voice(200.0, 0.05), &clip, 0.0).unwrap();
        assert!((half.loudness_difference.unwrap() + 6.02).abs() < 0.05, "{half:?}");
        // 6 dB in the bands of the harmonics, nothing in the silent ones between.
        assert!((1.0..6.03).contains(&half.log_mel_distance) && half.f0_rmse_cents.unwrap() < 1.0, "{half:?}");

        let higher = voice(200.0 * 2f64.powf(1.0 / 12.0), 0.1);
        let off = compare(&higher, &clip, 0.0).unwrap();
        assert!((off.f0_rmse_cents.unwrap() - 100.0).abs() < 2.0, "{off:?}");
        assert!(compare(&higher, &clip, 1.0).unwrap().f0_rmse_cents.unwrap() < 2.0, "the shift was asked for");
        assert!(off.content_distance > half.content_distance, "{off:?} {half:?}");

        let silence = Audio { samples: vec![0.0; RATE as usize], sample_rate: RATE };
        let lost = compare(&silence, &clip, 0.0).unwrap();
        assert_eq!((lost.f0_rmse_cents, lost.loudness_difference), (None, None));
        assert!(lost.voicing_error > 0.9 && lost.log_mel_distance > 3.0 * half.log_mel_distance, "{lost:?}");
        let quiet = compare(&silence, &silence, 0.0).unwrap();
        assert_eq!((quiet.log_mel_distance, quiet.voicing_error, quiet.content_distance), (0.0, 0.0, 0.0));
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let clip = voice(200.0, 0.1);
        let short = Audio { samples: vec![0.1; 500], sample_rate: RATE };
        assert_eq!(compare(&short, &clip, 0.0).unwrap_err().kind(), Kind::AudioEmpty);
        let mut broken = clip.clone();
        broken.samples[100] = f32::NAN;
        assert_eq!(compare(&broken, &clip, 0.0).unwrap_err().kind(), Kind::DataDamaged);
    }
}
