//! One training step: both networks, their losses and their optimizers.
//!
//! Source: spec F.6, in its order: G forward, D step on real and generated windows, G step against the updated D. The same numbers
//! with less work: D is frozen during the G step (its weight gradients would be discarded), the real branch runs without
//! gradients there, D's weights are computed once for both branches, norms are one fused expression, and the host reads all
//! metrics of a step as one tensor.

use crate::config::Config;
use crate::models::{Discriminator, Synthesizer, SynthesizerConfig};
use crate::nn::{Spectral, generator};
use crate::train::average::Average;
use crate::train::data::Batch;
use crate::train::loss;
use crate::train::optim::AdamW;
use crate::{Error, Kind, Result, nn};
use std::time::{Duration, Instant};
use tch::{Device, Tensor};

/// The names of a step's metrics, in order.
pub const METRICS: [&str; 7] =
    ["loss_disc", "loss_gen", "loss_fm", "loss_mel", "loss_kl", "grad_norm_g", "grad_norm_d"];

/// The names of the losses of each of D's parts: G's, D's on real sound, D's on generated sound. They are RVC's in
/// TensorBoard.
pub const PARTS: [[&str; 9]; 3] = [
    ["loss/g/0", "loss/g/1", "loss/g/2", "loss/g/3", "loss/g/4", "loss/g/5", "loss/g/6", "loss/g/7", "loss/g/8"],
    [
        "loss/d_r/0",
        "loss/d_r/1",
        "loss/d_r/2",
        "loss/d_r/3",
        "loss/d_r/4",
        "loss/d_r/5",
        "loss/d_r/6",
        "loss/d_r/7",
        "loss/d_r/8",
    ],
    [
        "loss/d_g/0",
        "loss/d_g/1",
        "loss/d_g/2",
        "loss/d_g/3",
        "loss/d_g/4",
        "loss/d_g/5",
        "loss/d_g/6",
        "loss/d_g/7",
        "loss/d_g/8",
    ],
];

/// Both networks and their optimizers.
pub struct Engine {
    pub generator: Synthesizer,
    pub discriminator: Discriminator,
    pub generator_optimizer: AdamW,
    pub discriminator_optimizer: AdamW,
    /// Of the generator, if the settings ask for one.
    pub average: Option<Average>,
    spectral: Spectral,
    segment_size: i64,
    segment_frames: i64,
    hop_length: i64,
    c_mel: f64,
    c_kl: f64,
    device: Device,
}

/// The time spent on each part of a step. On a GPU these are the times of the host, which runs ahead; their sum is right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub generator_forward: Duration,
    pub discriminator_forward: Duration,
    pub discriminator_backward: Duration,
    /// Gradient norm and AdamW.
    pub discriminator_optimizer: Duration,
    /// D's forward in the G step.
    pub judgement: Duration,
    pub generator_losses: Duration,
    pub generator_backward: Duration,
    /// Gradient norm and AdamW.
    pub generator_optimizer: Duration,
    /// The moving average, if there is one.
    pub average: Duration,
    /// Waiting for the step's metrics.
    pub read: Duration,
}

/// The outcome of a step.
#[derive(Debug)]
pub struct Outcome {
    /// In the order of [`METRICS`].
    pub values: [f64; METRICS.len()],
    pub times: Times,
    /// In the order of [`PARTS`]; on the device until [`Outcome::parts`] reads it.
    parts: [Vec<Tensor>; 3],
}

impl Outcome {
    /// The losses of D's parts by name, in one read from the device. Errors: `torch`.
    pub fn parts(&self) -> Result<Vec<(&'static str, f64)>> {
        let named = PARTS.iter().zip(&self.parts).flat_map(|(names, parts)| names.iter().copied().zip(parts));
        let (names, scalars): (Vec<&str>, Vec<&Tensor>) = named.unzip();
        let values = nn::guard(|| {
            let values = Tensor::stack(&scalars, 0).to_kind(tch::Kind::Double);
            Vec::<f64>::try_from(values).unwrap_or_default()
        })?;
        Ok(names.into_iter().zip(values).collect())
    }
}

impl Engine {
    /// New networks, initialised from the settings' seed. Errors: `config.value`, `device.memory`, `torch`.
    pub fn new(config: &Config, device: Device) -> Result<Self> {
        let sizes = SynthesizerConfig::from_config(config);
        let generator = Synthesizer::new(&sizes, device, config.seed)?;
        let discriminator = Discriminator::new(&sizes, device, config.seed)?;
        Ok(Self {
            generator_optimizer: AdamW::new(generator.params().tensors(), config)?,
            discriminator_optimizer: AdamW::new(discriminator.params().tensors(), config)?,
            average: (config.ema_decay > 0.0)
                .then(|| Average::new(generator.params(), config.ema_decay))
                .transpose()?,
            generator,
            discriminator,
            spectral: nn::guard(|| Spectral::new(config, device))?,
            segment_size: config.segment_size,
            segment_frames: config.segment_frames(),
            hop_length: config.hop_length(),
            c_mel: config.c_mel,
            c_kl: config.c_kl,
            device,
        })
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// One step on a batch; every random number in it comes from `seed`.
    ///
    /// Errors: `device.memory`, `torch`; the networks must not be used after an error.
    pub fn step(&mut self, batch: &Batch, learning_rate: f64, seed: i64) -> Result<Outcome> {
        nn::guard(|| self.step_unguarded(batch, learning_rate, seed))?
    }

    /// Mean distance between the log-mels of a batch and of the generated sound, unweighted.
    ///
    /// Shapes: y_hat [batch, 1, samples]; the rest of the longer one does not count.
    /// Errors: `device.memory`, `torch`.
    pub fn mel_distance(&self, batch: &Batch, y_hat: &Tensor) -> Result<f64> {
        nn::guard(|| {
            let real = self.spectral.mel_from_spec(&batch.input.spec);
            let made = self.spectral.mel(&y_hat.squeeze_dim(1));
            let frames = real.size()[2].min(made.size()[2]);
            let distance = loss::mel_l1(&real.narrow(2, 0, frames), &made.narrow(2, 0, frames));
            f64::try_from(distance.to_kind(tch::Kind::Double)).unwrap_or(f64::NAN)
        })
    }

    fn step_unguarded(&mut self, batch: &Batch, learning_rate: f64, seed: i64) -> Result<Outcome> {
        let mut clock = Clock::new();
        let mut times = Times::default();
        let drawing = generator::seeded(seed);
        let made = self.generator.forward(&batch.input);
        drop(drawing);
        let wave = {
            let starts = &made.ids_slice * self.hop_length;
            self.generator.positions.slice(&batch.wave, &starts, self.segment_size)
        };
        times.generator_forward = clock.lap();

        let (loss_disc, against) = {
            let discriminator = self.discriminator.computed();
            let real = discriminator.forward(&wave);
            let fake = discriminator.forward(&made.y_hat.detach());
            let against = [loss::of_parts(&real.scores, 1.0), loss::of_parts(&fake.scores, 0.0)];
            (loss::sum_of_pairs(&against[0], &against[1]), against)
        };
        times.discriminator_forward = clock.lap();
        loss_disc.backward();
        times.discriminator_backward = clock.lap();
        let grad_norm_d = self.discriminator_optimizer.step(learning_rate)?;
        self.discriminator_optimizer.zero_grad()?;
        times.discriminator_optimizer = clock.lap();

        self.discriminator.params().set_requires_grad(false);
        let discriminator = self.discriminator.computed();
        let real = tch::no_grad(|| discriminator.forward(&wave));
        let fake = discriminator.forward(&made.y_hat);
        times.judgement = clock.lap();
        let y_mel = tch::no_grad(|| {
            let spec = self.generator.positions.slice(&batch.input.spec, &made.ids_slice, self.segment_frames);
            self.spectral.mel_from_spec(&spec)
        });
        let loss_mel = loss::mel_l1(&y_mel, &self.spectral.mel(&made.y_hat.squeeze_dim(1))) * self.c_mel;
        let loss_kl = loss::kl_loss(&made.z_p, &made.logs_q, &made.m_p, &made.logs_p, &made.y_mask) * self.c_kl;
        let loss_fm = loss::feature_loss(&real.fmaps, &fake.fmaps);
        let lost = loss::of_parts(&fake.scores, 1.0);
        let loss_gen = loss::sum_of(&lost);
        times.generator_losses = clock.lap();

        (&loss_gen + &loss_fm + &loss_mel + &loss_kl).backward();
        times.generator_backward = clock.lap();
        let grad_norm_g = self.generator_optimizer.step(learning_rate)?;
        self.generator_optimizer.zero_grad()?;
        self.discriminator.params().set_requires_grad(true);
        times.generator_optimizer = clock.lap();
        if let Some(average) = &mut self.average {
            average.update()?;
            times.average = clock.lap();
        }

        let metrics = [loss_disc, loss_gen, loss_fm, loss_mel, loss_kl, grad_norm_g, grad_norm_d];
        let values = read(&metrics)?;
        times.read = clock.lap();
        let [real, fake] = against;
        let parts = [lost, real, fake].map(|parts| parts.iter().map(Tensor::detach).collect());
        Ok(Outcome { values, times, parts })
    }
}

/// The values of scalar tensors, in one read from the device.
fn read<const N: usize>(scalars: &[Tensor; N]) -> Result<[f64; N]> {
    let values = Tensor::stack(scalars, 0).detach().to_kind(tch::Kind::Double);
    let values = Vec::<f64>::try_from(values).unwrap_or_default();
    values.try_into().map_err(|_| Error::new(Kind::Internal, "a metric is not a scalar"))
}

struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
