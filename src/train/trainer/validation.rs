//! Judges the generator by its output: a sample to listen to, and metrics on held-out clips.

use super::{Metrics, Trainer};
use crate::audio::Audio;
use crate::models::Pitch;
use crate::models::synthesizer::InferInput;
use crate::nn::generator;
use crate::task::{Stage, Task};
use crate::train::Dataset;
use crate::train::data::Batch;
use crate::{Result, nn};
use tch::{Device, Tensor};

/// RVC's weight of the mel loss.
const VALIDATION_WEIGHT: f64 = 45.0;

/// Compares a clip with the generator's version of it: numbers by name.
pub type Judge<'a> = dyn Fn(&Audio, &Audio) -> Result<Vec<(&'static str, f64)>> + 'a;

/// The numbers of a validation: their names, and those of the averaged generator's. A judge returns no others.
const VALIDATION_METRICS: [[&str; 2]; 4] = [
    ["validation_loss_mel", "validation_loss_mel_ema"],
    ["validation_f0_rmse_cents", "validation_f0_rmse_cents_ema"],
    ["validation_voicing_error", "validation_voicing_error_ema"],
    ["validation_content_distance", "validation_content_distance_ema"],
];

/// Weighted means by name.
#[derive(Default)]
struct Means(Vec<(&'static str, f64, f64)>);

impl Means {
    fn add(&mut self, name: &'static str, value: f64, weight: f64) {
        match self.0.iter_mut().find(|(known, _, _)| *known == name) {
            Some((_, sum, weights)) => {
                *sum += value * weight;
                *weights += weight;
            }
            None => self.0.push((name, value * weight, weight)),
        }
    }

    fn finish(self) -> Metrics {
        Metrics(self.0.into_iter().map(|(name, sum, weights)| (name, sum / weights)).collect())
    }
}

impl Trainer {
    /// The first clip of the data set as the current generator speaks it, from the clip's own content and pitch.
    ///
    /// Draws its own random numbers: every step sets its seed, so the training is not affected.
    /// Errors: `data.*` if the clip cannot be read any more; `device.memory`, `torch`; after `train.not_finite` that error again.
    pub fn sample(&mut self) -> Result<Audio> {
        self.usable()?;
        let batch = self.data.collate(&[0], self.engine.device())?;
        let wave = self.generate(&batch, self.config.seed)?;
        self.to_audio(&wave)
    }

    /// How well the generator speaks held-out clips from only their content and pitch, as a conversion does:
    /// validation_loss_mel, the mean over all frames of the distance of log-mels times RVC's weight of 45, for every `c_mel`, so that trainings
    /// with other weights can be compared. It is higher than the training's loss_mel, which has the posterior's help.
    ///
    /// `judge` adds its numbers, means over the clips that it judged, weighted by length. If the generator is averaged (`ema_decay`), the
    /// average is validated too; the names of its numbers end in `_ema`.
    ///
    /// Draws its own random numbers: every step sets its seed, so the training is not affected.
    /// Errors: `data.*` if a clip cannot be read any more; `cancelled`; `device.memory`, `torch`; after `train.not_finite` that error again.
    pub fn validate(&mut self, task: &Task, held: &mut Dataset, judge: Option<&Judge>) -> Result<Metrics> {
        self.usable()?;
        let clips = held.len() as u64 * if self.engine.average.is_some() { 2 } else { 1 };
        let mut stage = task.stage("validation", clips);
        let _in_stage = stage.enter();
        let mut metrics = self.metrics_of_weights(task, held, judge, &mut stage)?;
        if let Some(average) = &self.engine.average {
            let averaged = average.with_averaged_weights(|| self.metrics_of_weights(task, held, judge, &mut stage))?;
            for [name, name_of_average] in VALIDATION_METRICS {
                metrics.0.extend(averaged.get(name).map(|value| (name_of_average, value)));
            }
        }
        let loss = metrics.get("validation_loss_mel").unwrap_or(f64::NAN);
        stage.finish(format!("validation_loss_mel {loss:.2}"));
        Ok(metrics)
    }

    /// The numbers of the generator's current weights.
    fn metrics_of_weights(
        &self,
        task: &Task,
        held: &mut Dataset,
        judge: Option<&Judge>,
        stage: &mut Stage,
    ) -> Result<Metrics> {
        let mut means = Means::default();
        for clip in 0..held.len() {
            task.check()?;
            let batch = held.collate(&[clip], self.engine.device())?;
            let length = batch.input.spec.size()[2] as f64;
            let made = self.generate(&batch, self.config.seed)?;
            means.add("validation_loss_mel", VALIDATION_WEIGHT * self.engine.mel_distance(&batch, &made)?, length);
            if let Some(judge) = judge {
                for (name, value) in judge(&self.to_audio(&made)?, &self.to_audio(&batch.wave)?)? {
                    means.add(name, value, length);
                }
            }
            stage.advance(1, "");
        }
        Ok(means.finish())
    }

    /// [1, 1, samples] as sound at the voice's rate.
    fn to_audio(&self, wave: &Tensor) -> Result<Audio> {
        let flat = || wave.flatten(0, -1).to_device(Device::Cpu).to_kind(tch::Kind::Float);
        let samples = nn::guard(|| Vec::try_from(flat()).unwrap_or_default())?;
        Ok(Audio { samples, sample_rate: self.config.sample_rate as u32 })
    }

    /// The generator's output for the content and pitch of a batch: [batch, 1, samples].
    fn generate(&self, batch: &Batch, seed: i64) -> Result<Tensor> {
        let _drawing = nn::guard(|| generator::seeded(seed))?;
        let input = &batch.input;
        let input = InferInput {
            phone: input.phone.shallow_clone(),
            lengths: input.phone_lengths.shallow_clone(),
            pitch: input
                .pitch
                .as_ref()
                .map(|pitch| Pitch { coarse: pitch.coarse.shallow_clone(), hz: pitch.hz.shallow_clone() }),
            sid: input.sid.shallow_clone(),
            window: None,
        };
        Ok(self.engine.generator.infer(&input)?.y_hat)
    }
}
