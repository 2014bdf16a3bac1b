//! dec: the wave from z and f0: a HiFi-GAN generator with a sine source (neural source-filter, NSF; spec E.6).

use crate::models::SynthesizerConfig;
use crate::nn::activation::{leaky_relu, leaky_relu_in_place};
use crate::nn::conv::{Conv, Linear, Shape};
use crate::nn::params::Builder;
use tch::{Kind, Tensor};

/// Slope of the leaky ReLUs but the last.
const SLOPE: f64 = 0.1;
/// PyTorch's default slope, which the reference has before the last convolution.
const LAST_SLOPE: f64 = 0.01;

pub struct Vocoder {
    pub m_source: Source,
    noise_convs: Vec<Conv>,
    conv_pre: Conv,
    ups: Vec<Conv>,
    resblocks: Vec<ResBlock>,
    conv_post: Conv,
    cond: Conv,
    upsampling: i64,
    /// Residual blocks of one stage, whose mean is taken.
    kernels: usize,
}

impl Vocoder {
    pub fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let first = c.upsample_initial_channel;
        let stages = c.upsample_rates.len();
        let channels = |stage: usize| first >> (stage + 1);
        let m_source = Source::new(b, &format!("{key}.m_source"), c.sample_rate, c.upsampling());
        let noise_convs = (0..stages)
            .map(|i| {
                let left: i64 = c.upsample_rates[i + 1..].iter().product();
                let kernel = if i + 1 < stages { 2 * left } else { 1 };
                let shape = Shape::new(1, channels(i), kernel).stride(left).padding(left / 2);
                // The last stage is at the full rate: kernel 1, no padding.
                let shape = if i + 1 < stages { shape } else { Shape::new(1, channels(i), 1) };
                Conv::plain(b, &format!("{key}.noise_convs.{i}"), shape)
            })
            .collect();
        let conv_pre = Conv::plain(b, &format!("{key}.conv_pre"), Shape::new(c.inter_channels, first, 7).same());
        let ups = (0..stages)
            .map(|i| {
                let (rate, kernel) = (c.upsample_rates[i], c.upsample_kernel_sizes[i]);
                let shape = Shape::new(first >> i, channels(i), kernel).stride(rate).padding((kernel - rate) / 2);
                Conv::normed_transposed(b, &format!("{key}.ups.{i}"), shape)
            })
            .collect();
        let kernels = c.resblock_kernel_sizes.len();
        let resblocks = (0..stages * kernels)
            .map(|i| {
                let (kernel, dilations) =
                    (c.resblock_kernel_sizes[i % kernels], &c.resblock_dilation_sizes[i % kernels]);
                ResBlock::new(b, &format!("{key}.resblocks.{i}"), channels(i / kernels), kernel, dilations)
            })
            .collect();
        let last = Shape::new(channels(stages - 1), 1, 7).same();
        let conv_post = Conv::without_bias(b, &format!("{key}.conv_post"), last);
        let cond = Conv::plain(b, &format!("{key}.cond"), Shape::new(c.gin_channels, first, 1));
        let upsampling = c.upsampling();
        Self { m_source, noise_convs, conv_pre, ups, resblocks, conv_post, cond, upsampling, kernels }
    }

    /// Draws what [`Source::forward`] draws.
    ///
    /// Shapes: z [batch, inter, frames], f0 [batch, frames], g [batch, gin, 1] -> [batch, 1, frames * hop_length]
    pub fn forward(&self, z: &Tensor, f0: &Tensor, g: &Tensor) -> Tensor {
        self.filter(z, &self.m_source.forward(f0).transpose(1, 2), g)
    }

    /// The same with both z and source stretched linearly to `frames` frames (pitch and tempo shift of the real-time variant).
    pub fn forward_stretched(&self, z: &Tensor, f0: &Tensor, g: &Tensor, frames: i64) -> Tensor {
        let stretch = |x: &Tensor, n: i64| {
            if x.size()[2] == n { x.shallow_clone() } else { x.upsample_linear1d([n], false, None) }
        };
        let source = self.m_source.forward(f0).transpose(1, 2);
        self.filter(&stretch(z, frames), &stretch(&source, frames * self.upsampling), g)
    }

    fn filter(&self, z: &Tensor, source: &Tensor, g: &Tensor) -> Tensor {
        let mut xs = self.conv_pre.forward(z) + self.cond.forward(g);
        for (i, (up, noise_conv)) in self.ups.iter().zip(&self.noise_convs).enumerate() {
            xs = up.forward(&leaky_relu_in_place(xs, SLOPE)) + noise_conv.forward(source);
            let blocks = &self.resblocks[i * self.kernels..(i + 1) * self.kernels];
            let sum = blocks.iter().map(|block| block.forward(&xs)).reduce(|sum, y| sum + y);
            xs = sum.unwrap_or(xs) / self.kernels as f64;
        }
        self.conv_post.forward(&leaky_relu_in_place(xs, LAST_SLOPE)).tanh()
    }
}

/// Pairs of convolutions, each pair added to its input.
struct ResBlock {
    convs1: Vec<Conv>,
    convs2: Vec<Conv>,
}

impl ResBlock {
    fn new(b: &mut Builder, key: &str, channels: i64, kernel: i64, dilations: &[i64]) -> Self {
        let shape = Shape::new(channels, channels, kernel);
        let convs1 = dilations
            .iter()
            .enumerate()
            .map(|(i, &d)| Conv::normed(b, &format!("{key}.convs1.{i}"), shape.dilation(d).same()))
            .collect();
        let convs2 =
            (0..dilations.len()).map(|i| Conv::normed(b, &format!("{key}.convs2.{i}"), shape.same())).collect();
        Self { convs1, convs2 }
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let mut xs = xs.shallow_clone();
        for (first, second) in self.convs1.iter().zip(&self.convs2) {
            let h = leaky_relu_in_place(first.forward(&leaky_relu(&xs, SLOPE)), SLOPE);
            xs = second.forward(&h) + xs;
        }
        xs
    }
}

/// A sine at f0 where the voice is voiced, noise elsewhere, through one trained weight and tanh.
pub struct Source {
    l_linear: Linear,
    sample_rate: f64,
    /// 1, 2, ..., samples of a frame.
    ramp: Tensor,
}

impl Source {
    /// Amplitude of the sine.
    const SINE: f64 = 0.1;
    /// Standard deviation of the noise under a sine; unvoiced samples have SINE / 3.
    const NOISE: f64 = 0.003;

    fn new(b: &mut Builder, key: &str, sample_rate: i64, upsampling: i64) -> Self {
        let l_linear = Linear::new(b, &format!("{key}.l_linear"), 1, 1);
        let ramp = Tensor::arange_start(1, upsampling + 1, (Kind::Float, b.device()));
        Self { l_linear, sample_rate: sample_rate as f64, ramp }
    }

    /// Draws `rand [1, 1, 1]`, whose value is not used (the first harmonic's initial phase is 0), then
    /// `randn [batch, samples, 1]`.
    ///
    /// Shapes: f0 [batch, frames] in Hz, 0 = unvoiced -> [batch, frames * hop_length, 1]
    ///
    /// Source: RVC of November 2024 (spec E.6): within a frame the phase is f0 / rate * (1..=hop_length), and what earlier frames
    /// add up to is carried as a fraction of a turn.
    pub fn forward(&self, f0: &Tensor) -> Tensor {
        let excitation = tch::no_grad(|| self.excitation(f0));
        self.l_linear.forward(&excitation).tanh()
    }

    fn excitation(&self, f0: &Tensor) -> Tensor {
        let (batch, frames) = f0.size2().expect("f0 is [batch, frames]");
        let (upsampling, options) = (self.ramp.size()[0], (Kind::Float, f0.device()));
        let f0 = f0.unsqueeze(2);
        let turns: Tensor = &f0 / self.sample_rate * &self.ramp;
        // Each frame's last phase, wrapped to -0.5..0.5 so that the float32 sum stays small; the first frame starts at 0.
        let last = (turns.narrow(1, 0, frames - 1).narrow(2, upsampling - 1, 1) + 0.5).fmod(1.0) - 0.5;
        let carried = last.cumsum(1, Kind::Float).fmod(1.0).constant_pad_nd([0, 0, 1, 0]);
        let _initial_phase = Tensor::rand([1, 1, 1], options);
        let sine = ((turns + carried) * std::f64::consts::TAU).sin().view([batch, frames * upsampling, 1]);
        let voiced = f0.gt(0.0).to_kind(Kind::Float);
        let voiced = voiced.expand([batch, frames, upsampling], false).reshape([batch, frames * upsampling, 1]);
        let noise_amplitude = &voiced * Self::NOISE + (voiced.ones_like() - &voiced) * (Self::SINE / 3.0);
        let noise = noise_amplitude * sine.randn_like();
        sine * Self::SINE * voiced + noise
    }
}
