//! The discriminator D: one network on the wave and one on each of its periods, six in version 1 (MultiPeriodDiscriminator),
//! eight in version 2 (MultiPeriodDiscriminatorV2; spec E.9).

use crate::models::SynthesizerConfig;
use crate::nn::activation::leaky_relu_in_place;
use crate::nn::conv::{Conv, Shape};
use crate::nn::params::{Builder, Params};
use crate::{Result, nn};
use tch::{Device, Tensor};

const SLOPE: f64 = 0.1;
/// Version 2's; version 1 has the first six.
const PERIODS: [i64; 8] = [2, 3, 5, 7, 11, 17, 23, 37];

/// Inputs, outputs, kernel, stride, groups of the network on the wave.
const WAVE: [[i64; 5]; 6] = [
    [1, 16, 15, 1, 1],
    [16, 64, 41, 4, 4],
    [64, 256, 41, 4, 16],
    [256, 1024, 41, 4, 64],
    [1024, 1024, 41, 4, 256],
    [1024, 1024, 5, 1, 1],
];
const WAVE_LAST: [i64; 5] = [1024, 1, 3, 1, 1];
/// The same of a network on a period.
const PERIOD: [[i64; 5]; 5] =
    [[1, 32, 5, 3, 1], [32, 128, 5, 3, 1], [128, 512, 5, 3, 1], [512, 1024, 5, 3, 1], [1024, 1024, 5, 1, 1]];
const PERIOD_LAST: [i64; 5] = [1024, 1, 3, 1, 1];

pub struct Discriminator {
    discriminators: Vec<Part>,
    params: Params,
}

/// One score tensor [batch, n] and one list of feature maps per part; the last map is the score before flattening.
pub struct DiscOutput {
    pub scores: Vec<Tensor>,
    pub fmaps: Vec<Vec<Tensor>>,
}

impl Discriminator {
    /// A new discriminator, initialised from `seed`.
    ///
    /// Errors: `config.value`, `device.memory`, `torch`.
    pub fn new(config: &SynthesizerConfig, device: Device, seed: i64) -> Result<Self> {
        config.validate()?;
        let divisor = config.discriminator_divisor;
        nn::guard(|| {
            let mut b = Builder::new(device, seed);
            let wave = Part::new(&mut b, 0, None, divisor);
            let periods = PERIODS[..config.discriminator_periods]
                .iter()
                .enumerate()
                .map(|(i, &p)| Part::new(&mut b, i + 1, Some(p), divisor));
            let discriminators = std::iter::once(wave).chain(periods.collect::<Vec<_>>()).collect();
            Self { discriminators, params: b.finish() }
        })
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Scores and feature maps of waves. Panics as tch does; call it inside [`nn::guard`].
    ///
    /// Shapes: [batch, 1, samples]
    pub fn forward(&self, y: &Tensor) -> DiscOutput {
        run(self.discriminators.iter(), y)
    }

    /// The discriminator with its weights computed once, for a step that runs it on real and generated waves.
    ///
    /// It is valid for the parameters' current values and gradient mode: make a new one after an update, after freezing, and
    /// outside `no_grad` if gradients are needed.
    pub fn computed(&self) -> ComputedDiscriminator {
        ComputedDiscriminator { discriminators: self.discriminators.iter().map(Part::computed).collect() }
    }
}

/// See [`Discriminator::computed`].
pub struct ComputedDiscriminator {
    discriminators: Vec<Part>,
}

impl ComputedDiscriminator {
    /// As [`Discriminator::forward`].
    pub fn forward(&self, y: &Tensor) -> DiscOutput {
        run(self.discriminators.iter(), y)
    }
}

fn run<'a>(parts: impl Iterator<Item = &'a Part>, y: &Tensor) -> DiscOutput {
    let (scores, fmaps) = parts.map(|part| part.forward(y)).unzip();
    DiscOutput { scores, fmaps }
}

/// The network on the wave (no period) or on one period.
struct Part {
    convs: Vec<Conv>,
    conv_post: Conv,
    period: Option<i64>,
}

impl Part {
    fn new(b: &mut Builder, index: usize, period: Option<i64>, divisor: i64) -> Self {
        let key = format!("discriminators.{index}");
        let (table, last): (&[[i64; 5]], _) =
            if period.is_none() { (&WAVE, WAVE_LAST) } else { (&PERIOD, PERIOD_LAST) };
        let fewer = |n: i64| (n / divisor).max(1);
        let mut conv = |key: String, [inputs, outputs, kernel, stride, groups]: [i64; 5]| {
            // One channel in or out is the wave or the score: it stays one.
            let shape = Shape::new(fewer(inputs), fewer(outputs), kernel)
                .stride(stride)
                .padding(kernel / 2)
                .groups(fewer(groups));
            if period.is_none() { Conv::normed(b, &key, shape) } else { Conv::normed_column(b, &key, shape) }
        };
        let convs = table.iter().enumerate().map(|(j, &row)| conv(format!("{key}.convs.{j}"), row)).collect();
        let conv_post = conv(format!("{key}.conv_post"), last);
        Self { convs, conv_post, period }
    }

    fn computed(&self) -> Self {
        Self {
            convs: self.convs.iter().map(Conv::computed).collect(),
            conv_post: self.conv_post.computed(),
            period: self.period,
        }
    }

    fn forward(&self, y: &Tensor) -> (Tensor, Vec<Tensor>) {
        let mut xs = match self.period {
            None => y.shallow_clone(),
            Some(period) => fold(y, period),
        };
        let mut fmap = Vec::with_capacity(self.convs.len() + 1);
        for conv in &self.convs {
            xs = leaky_relu_in_place(conv.forward(&xs), SLOPE);
            fmap.push(xs.shallow_clone());
        }
        xs = self.conv_post.forward(&xs);
        fmap.push(xs.shallow_clone());
        (xs.flatten(1, -1), fmap)
    }
}

/// [batch, 1, samples] -> [batch, 1, samples / period, period]; the end is reflected to fill the last row.
fn fold(y: &Tensor, period: i64) -> Tensor {
    let (batch, channels, n) = y.size3().expect("a wave is [batch, 1, samples]");
    let missing = (period - n % period) % period;
    let padded = if missing == 0 { y.shallow_clone() } else { y.reflection_pad1d([0, missing]) };
    padded.view([batch, channels, (n + missing) / period, period])
}
