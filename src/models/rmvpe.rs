//! RMVPE: from 16 kHz sound to the salience of 360 pitches, a U-Net over the log-mel followed by a recurrent layer.
//!
//! ```text
//! wave ─> mel ─> encoder ─> intermediate ─> decoder ─> cnn ─> BiGRU ─> linear ─> sigmoid ─> salience
//!                   └──────── skips ──────────┘
//! ```
//!
//! Source: Wei et al. 2023, "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music"; spec B.4, B.5.
//! Only run, never trained: batch norms are folded into their convolutions. Images have their channels last in
//! memory, which makes libtorch's convolutions on the CPU 1.2 to 1.3 times as fast (2 cores, float32 and bfloat16).

use super::weights::{Weights, load};
use crate::Result;
use crate::nn::Spectral;
use crate::nn::spectral::{MelScale, MelSettings};
use crate::torchfile::TorchFile;
use tch::{Device, Kind, Tensor};

/// Pitches of the salience, 20 cents apart.
pub const PITCHES: i64 = 360;
/// Frames must come in multiples of this: the encoder halves them five times.
pub const FRAME_MULTIPLE: usize = 32;

const N_MELS: i64 = 128;
/// Residual blocks of one level.
const BLOCKS: usize = 4;
/// Channels between the levels of the encoder; the decoder has them in reverse.
const CHANNELS: [i64; 6] = [1, 16, 32, 64, 128, 256];
const INNER_CHANNELS: i64 = 512;
const INNER_LEVELS: usize = 4;
const CNN_CHANNELS: i64 = 3;
const GRU_HIDDEN: i64 = 256;
const NORM_EPS: f64 = 1e-5;

const MEL: MelSettings = MelSettings {
    sample_rate: 16000.0,
    n_fft: 1024,
    hop_length: 160,
    padding: 512,
    n_mels: N_MELS,
    fmin: 30.0,
    fmax: 8000.0,
    scale: MelScale::Htk,
    eps: 0.0,
    clamp: 1e-5,
};

/// The network and its front end.
pub struct Rmvpe {
    spectral: Spectral,
    norm: Affine,
    encoder: Vec<Level>,
    intermediate: Vec<Level>,
    decoder: Vec<(Upsample, Level)>,
    cnn: Conv,
    gru: Vec<Tensor>,
    weight: Tensor,
    bias: Tensor,
    kind: Kind,
}

impl Rmvpe {
    /// Loads the network from a file such as rmvpe.pt. The convolutions compute in `kind`, everything else in float32.
    ///
    /// Errors: `checkpoint.mismatch`, `checkpoint.damaged`, `device.memory`.
    pub fn load(file: &TorchFile, kind: Kind, device: Device) -> Result<Self> {
        load(file, canonical, Kind::Float, device, |weights| Self::build(weights, kind))
    }

    fn build(w: &Weights, kind: Kind) -> Result<Self> {
        let levels = |name: &str, sizes: &[(i64, i64)]| -> Result<Vec<Level>> {
            let one = |(i, &(inputs, outputs))| {
                Level::build(w, &format!("unet.{name}.layers.{i}.conv"), inputs, outputs, kind)
            };
            sizes.iter().enumerate().map(one).collect()
        };
        let down: Vec<(i64, i64)> = CHANNELS.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut inner = vec![(INNER_CHANNELS, INNER_CHANNELS); INNER_LEVELS];
        inner[0].0 = CHANNELS[5];
        let mut decoder = Vec::new();
        for (i, outputs) in CHANNELS[1..].iter().rev().enumerate() {
            let up = Upsample::build(w, &format!("unet.decoder.layers.{i}.conv1"), 2 * outputs, *outputs, kind)?;
            let key = format!("unet.decoder.layers.{i}.conv2");
            decoder.push((up, Level::build(w, &key, 2 * outputs, *outputs, kind)?));
        }
        Ok(Self {
            spectral: crate::nn::guard(|| Spectral::of(MEL, w.device()))?,
            norm: Affine::build(w, "unet.encoder.bn", 1)?,
            encoder: levels("encoder", &down)?,
            intermediate: levels("intermediate", &inner)?,
            decoder,
            cnn: Conv::plain(w, "cnn", [CNN_CHANNELS, CHANNELS[1], 3, 3], kind)?,
            gru: gru_weights(w)?,
            weight: w.get("fc.1.weight", &[PITCHES, 2 * GRU_HIDDEN])?,
            bias: w.get("fc.1.bias", &[PITCHES])?,
            kind,
        })
    }

    /// Frames of a clip.
    pub fn frames(n_samples: usize) -> usize {
        n_samples / MEL.hop_length as usize + 1
    }

    /// Samples of the shortest clip that can be mirrored at its ends.
    pub fn shortest() -> usize {
        MEL.padding as usize + 1
    }

    /// The log-mel of clips, each followed by zeros up to a multiple of [`FRAME_MULTIPLE`] frames. The network sees
    /// those zeros, so only clips padded to the same length get the same numbers in every batch.
    ///
    /// Shapes: clips of [`Rmvpe::shortest`] samples or more -> [batch, 128, frames]
    /// Source: spec B.4; the zeros are RVC's, Applio mirrors there instead
    pub fn mel(&self, clips: &[&[f32]]) -> Tensor {
        let mel = self.spectral.mel_of_each(clips);
        let lengths: Vec<i64> = clips.iter().map(|clip| Self::frames(clip.len()) as i64).collect();
        let n = mel.size()[2];
        let own = Tensor::arange(n, (Kind::Int64, mel.device()))
            .lt_tensor(&Tensor::from_slice(&lengths).to_device(mel.device()).unsqueeze(1))
            .unsqueeze(1);
        let full = (n as usize).next_multiple_of(FRAME_MULTIPLE) as i64;
        mel.where_self(&own, &mel.zeros_like()).constant_pad_nd([0, full - n])
    }

    /// The salience of each pitch in each frame, 0 to 1.
    ///
    /// Shapes: mel [batch, 128, frames], a multiple of [`FRAME_MULTIPLE`] -> float32 [batch, frames, 360]
    pub fn salience(&self, mel: &Tensor) -> Tensor {
        let xs = self.unet(&mel.transpose(1, 2).unsqueeze(1)).to_kind(Kind::Float);
        // [batch, 3, frames, 128] -> [batch, frames, 3 * 128]
        let xs = xs.transpose(1, 2).flatten(2, 3);
        let start = Tensor::zeros([2, xs.size()[0], GRU_HIDDEN], (Kind::Float, xs.device()));
        let (xs, _) = xs.gru(&start, &self.gru, true, 1, 0.0, false, true, true);
        xs.linear(&self.weight, Some(&self.bias)).sigmoid()
    }

    fn unet(&self, xs: &Tensor) -> Tensor {
        let mut xs = (xs * &self.norm.scale + &self.norm.shift).to_kind(self.kind);
        let mut skips = Vec::new();
        for level in &self.encoder {
            let skip = level.forward(xs);
            xs = skip.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None);
            skips.push(skip);
        }
        for level in &self.intermediate {
            xs = level.forward(xs);
        }
        for ((up, level), skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            xs = level.forward(Tensor::cat(&[up.forward(&xs), skip], 1));
        }
        self.cnn.forward(&xs)
    }
}

/// The network's key for a name in a file. Prefixes of wrappers are removed; batch norm's training counters are
/// not used.
fn canonical(name: &str) -> Option<String> {
    if name.ends_with(".num_batches_tracked") {
        return None;
    }
    let mut key = name;
    while let Some(rest) = ["model.", "module.", "state_dict."].iter().find_map(|prefix| key.strip_prefix(prefix)) {
        key = rest;
    }
    Some(key.to_owned())
}

fn gru_weights(w: &Weights) -> Result<Vec<Tensor>> {
    let inputs = CNN_CHANNELS * N_MELS;
    let mut weights = Vec::new();
    for direction in ["", "_reverse"] {
        for (name, shape) in [
            ("weight_ih", &[3 * GRU_HIDDEN, inputs][..]),
            ("weight_hh", &[3 * GRU_HIDDEN, GRU_HIDDEN]),
            ("bias_ih", &[3 * GRU_HIDDEN]),
            ("bias_hh", &[3 * GRU_HIDDEN]),
        ] {
            weights.push(w.get(format!("fc.0.gru.{name}_l0{direction}"), shape)?);
        }
    }
    Ok(weights)
}

/// A batch norm with fixed statistics: `x * scale + shift`, a pair for each channel.
struct Affine {
    scale: Tensor,
    shift: Tensor,
}

impl Affine {
    fn build(w: &Weights, key: &str, channels: i64) -> Result<Self> {
        let get = |name: &str| w.get(format!("{key}.{name}"), &[channels]);
        let (weight, bias, mean, var) = (get("weight")?, get("bias")?, get("running_mean")?, get("running_var")?);
        crate::nn::guard(|| {
            let double = |x: &Tensor| x.to_kind(Kind::Double);
            let scale = double(&weight) / (double(&var) + NORM_EPS).sqrt();
            let shift = double(&bias) - double(&mean) * &scale;
            Self { scale: scale.to_kind(Kind::Float), shift: shift.to_kind(Kind::Float) }
        })
    }
}

/// A convolution of stride 1 that keeps the size of the image.
struct Conv {
    weight: Tensor,
    bias: Tensor,
    padding: i64,
}

impl Conv {
    fn plain(w: &Weights, key: &str, shape: [i64; 4], kind: Kind) -> Result<Self> {
        let (weight, bias) = (w.get(format!("{key}.weight"), &shape)?, w.get(format!("{key}.bias"), &shape[..1])?);
        crate::nn::guard(|| Self {
            weight: channels_last(&weight.to_kind(kind)),
            bias: bias.to_kind(kind),
            padding: shape[2] / 2,
        })
    }

    /// A 3 by 3 convolution without bias, and its batch norm.
    fn normed(w: &Weights, key: &str, norm: &str, inputs: i64, outputs: i64, kind: Kind) -> Result<Self> {
        let weight = w.get(format!("{key}.weight"), &[outputs, inputs, 3, 3])?;
        let Affine { scale, shift } = Affine::build(w, norm, outputs)?;
        crate::nn::guard(|| Self {
            weight: channels_last(&(weight * scale.view([-1, 1, 1, 1])).to_kind(kind)),
            bias: shift.to_kind(kind),
            padding: 1,
        })
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        xs.conv2d(&self.weight, Some(&self.bias), [1, 1], [self.padding, self.padding], [1, 1], 1)
    }
}

/// The same tensor in another memory order; a convolution's output has the order of its weight.
fn channels_last(xs: &Tensor) -> Tensor {
    xs.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Two convolutions with a shortcut.
struct Block {
    first: Conv,
    second: Conv,
    shortcut: Option<Conv>,
}

impl Block {
    fn build(w: &Weights, key: &str, inputs: i64, outputs: i64, kind: Kind) -> Result<Self> {
        let conv = |conv: usize, norm: usize, inputs: i64| {
            Conv::normed(w, &format!("{key}.conv.{conv}"), &format!("{key}.conv.{norm}"), inputs, outputs, kind)
        };
        let shortcut = if inputs == outputs {
            None
        } else {
            Some(Conv::plain(w, &format!("{key}.shortcut"), [outputs, inputs, 1, 1], kind)?)
        };
        Ok(Self { first: conv(0, 1, inputs)?, second: conv(3, 4, outputs)?, shortcut })
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let mut ys = self.second.forward(&self.first.forward(xs).relu_()).relu_();
        match &self.shortcut {
            Some(conv) => ys.g_add_(&conv.forward(xs)),
            None => ys.g_add_(xs),
        }
    }
}

/// The blocks at one size of the image; the first changes the number of channels.
struct Level(Vec<Block>);

impl Level {
    fn build(w: &Weights, key: &str, inputs: i64, outputs: i64, kind: Kind) -> Result<Self> {
        let block = |i| Block::build(w, &format!("{key}.{i}"), if i == 0 { inputs } else { outputs }, outputs, kind);
        (0..BLOCKS).map(block).collect::<Result<_>>().map(Self)
    }

    fn forward(&self, xs: Tensor) -> Tensor {
        self.0.iter().fold(xs, |xs, block| block.forward(&xs))
    }
}

/// A transposed convolution that doubles the image both ways, with its batch norm and ReLU.
struct Upsample {
    weight: Tensor,
    bias: Tensor,
}

impl Upsample {
    fn build(w: &Weights, key: &str, inputs: i64, outputs: i64, kind: Kind) -> Result<Self> {
        let weight = w.get(format!("{key}.0.weight"), &[inputs, outputs, 3, 3])?;
        let Affine { scale, shift } = Affine::build(w, &format!("{key}.1"), outputs)?;
        crate::nn::guard(|| Self {
            weight: channels_last(&(weight * scale.view([1, -1, 1, 1])).to_kind(kind)),
            bias: shift.to_kind(kind),
        })
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        xs.conv_transpose2d(&self.weight, Some(&self.bias), [2, 2], [1, 1], [1, 1], 1, [1, 1]).relu_()
    }
}
