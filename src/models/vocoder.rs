//! dec: the wave from z and f0: a HiFi-GAN generator with a sine source (neural source-filter, NSF; spec E.6). Without f0 it is
//! the plain HiFi-GAN generator: only the source and its convolutions are missing.

use crate::models::SynthesizerConfig;
use crate::models::source::Source;
use crate::nn::activation::{leaky_relu, leaky_relu_in_place};
use crate::nn::conv::{Conv, Shape};
use crate::nn::params::Builder;
use tch::Tensor;

/// Slope of all leaky ReLUs except the last.
const SLOPE: f64 = 0.1;
/// PyTorch's default slope, which the reference uses before the last convolution.
const LAST_SLOPE: f64 = 0.01;

pub struct Vocoder {
    /// None without pitch.
    pub m_source: Option<Source>,
    /// One for each stage; empty without pitch.
    noise_convs: Vec<Conv>,
    conv_pre: Conv,
    ups: Vec<Conv>,
    resblocks: Vec<ResBlock>,
    conv_post: Conv,
    cond: Conv,
    upsampling: i64,
    /// Residual blocks of one stage, averaged.
    kernels: usize,
    /// Frames on each side of a frame that its samples depend on.
    reach: i64,
}

impl Vocoder {
    pub fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let first = c.upsample_initial_channel;
        let stages = c.upsample_rates.len();
        let channels = |stage: usize| first >> (stage + 1);
        let m_source = c.f0.then(|| Source::new(b, &format!("{key}.m_source"), c));
        let noise_convs = (0..if c.f0 { stages } else { 0 })
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
        let reach = reach(c);
        Self { m_source, noise_convs, conv_pre, ups, resblocks, conv_post, cond, upsampling, kernels, reach }
    }

    /// See [`Conv::fuse`].
    pub fn fuse(&mut self) {
        let blocks = self.resblocks.iter_mut().flat_map(|block| block.convs1.iter_mut().chain(&mut block.convs2));
        self.ups.iter_mut().chain(blocks).for_each(Conv::fuse);
    }

    /// Draws what [`Source::forward`] draws. `f0` is given to vocoders with pitch and ignored by others.
    ///
    /// Shapes: z [batch, inter, frames], f0 [batch, frames], g [batch, gin, 1] -> [batch, 1, frames * hop_length]
    pub fn forward(&self, z: &Tensor, f0: Option<&Tensor>, g: &Tensor) -> Tensor {
        self.filter(z, self.source(f0).as_ref(), g)
    }

    /// Shapes: [batch, frames] -> [batch, 1, frames * hop_length]
    fn source(&self, f0: Option<&Tensor>) -> Option<Tensor> {
        let m_source = self.m_source.as_ref()?;
        let f0 = f0.expect("a vocoder with pitch is given it: Dataset and callers see to that");
        Some(m_source.forward(f0).transpose(1, 2))
    }

    /// The same with both z and source stretched linearly to `frames` frames (pitch and tempo shift of the real-time variant).
    pub fn forward_stretched(&self, z: &Tensor, f0: Option<&Tensor>, g: &Tensor, frames: i64) -> Tensor {
        let stretch = |x: &Tensor, n: i64| {
            if x.size()[2] == n { x.shallow_clone() } else { x.upsample_linear1d([n], false, None) }
        };
        let source = self.source(f0).map(|source| stretch(&source, frames * self.upsampling));
        self.filter(&stretch(z, frames), source.as_ref(), g)
    }

    /// The output of [`Vocoder::forward`], up to rounding, computed in pieces of `piece` frames, so that time and memory per second
    /// do not grow with the length: every piece includes all frames on both sides that its samples depend on. The source is
    /// drawn for the whole length at once, as in one pass.
    pub fn forward_in_pieces(&self, z: &Tensor, f0: Option<&Tensor>, g: &Tensor, piece: i64) -> Tensor {
        let source = self.source(f0);
        let (frames, up) = (z.size()[2], self.upsampling);
        let mut made = Vec::new();
        for start in (0..frames).step_by(piece.max(1) as usize) {
            let end = (start + piece).min(frames);
            let (from, until) = ((start - self.reach).max(0), (end + self.reach).min(frames));
            let source = source.as_ref().map(|source| source.narrow(2, from * up, (until - from) * up));
            let wave = self.filter(&z.narrow(2, from, until - from), source.as_ref(), g);
            made.push(wave.narrow(2, (start - from) * up, (end - start) * up));
        }
        Tensor::cat(&made, 2)
    }

    fn filter(&self, z: &Tensor, source: Option<&Tensor>, g: &Tensor) -> Tensor {
        let mut xs = self.conv_pre.forward(z) + self.cond.forward(g);
        for (i, up) in self.ups.iter().enumerate() {
            xs = up.forward(&leaky_relu_in_place(xs, SLOPE));
            if let Some(source) = source {
                xs += self.noise_convs[i].forward(source);
            }
            let blocks = &self.resblocks[i * self.kernels..(i + 1) * self.kernels];
            let sum = blocks.iter().map(|block| block.forward(&xs)).reduce(|sum, y| sum + y);
            xs = sum.unwrap_or(xs) / self.kernels as f64;
        }
        self.conv_post.forward(&leaky_relu_in_place(xs, LAST_SLOPE)).tanh()
    }
}

/// Frames on each side of a frame that its samples depend on: the reach of the last convolution, traced back stage by stage to
/// the rate of the frames.
fn reach(c: &SynthesizerConfig) -> i64 {
    // Half of conv_post's kernel, and of conv_pre's.
    const ENDS: i64 = 3;
    let block = |kernel: i64, dilations: &[i64]| dilations.iter().map(|d| (kernel - 1) / 2 * (d + 1)).sum::<i64>();
    let blocks = c.resblock_kernel_sizes.iter().zip(&c.resblock_dilation_sizes).map(|(k, d)| block(*k, d));
    let blocks = blocks.max().unwrap_or(0);
    let stages = c.upsample_rates.iter().zip(&c.upsample_kernel_sizes).rev();
    // The noise convolutions reach one sample of their stage further, which is less than the blocks do.
    stages.fold(ENDS, |reach, (rate, kernel)| (reach + blocks + 1 + kernel).div_euclid(*rate) + 1) + ENDS
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
