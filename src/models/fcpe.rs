//! FCPE: from 16 kHz sound to the confidence in 360 pitches, a conformer over the log-mel whose layers are convolutions only.
//!
//! Source: Luo et al. 2025, "FCPE: A Fast Context-based Pitch Estimation Model" (arXiv 2509.15140); layout and front end are
//! torchfcpe's (CNChTu/FCPE 0.0.4), whose bundled checkpoint this is; RVC 2026 and Applio use that one. Checkpoints with
//! attention or harmonic embedding have tensors that are not part of this network, so they are refused.
//!
//! Clips of different lengths share a batch: the part after a clip is set to zero before every convolution, like
//! its own padding, and does not count in any statistic.

use super::weights::{Weights, load};
use crate::nn::Spectral;
use crate::nn::activation::leaky_relu;
use crate::nn::spectral::{MelScale, MelSettings};
use crate::torchfile::TorchFile;
use crate::{Error, Kind as Fault, Result, nn};
use tch::{Device, Kind, Tensor};

const N_MELS: i64 = 128;
/// Channels inside a layer per channel outside.
const EXPANSION: i64 = 2;
const KERNEL: i64 = 31;
const INPUT_KERNEL: i64 = 3;
const GROUPS: i64 = 4;
const NORM_EPS: f64 = 1e-5;
const SLOPE: f64 = 0.01;

const MEL: MelSettings = MelSettings {
    sample_rate: 16000.0,
    n_fft: 1024,
    hop_length: 160,
    padding: (1024 - 160) / 2,
    n_mels: N_MELS,
    fmin: 0.0,
    fmax: 8000.0,
    scale: MelScale::Slaney,
    eps: 1e-9,
    clamp: 1e-5,
};

/// The settings of a checkpoint's network.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    hidden: i64,
    layers: i64,
    pitches: i64,
}

impl Sizes {
    /// Errors: `checkpoint.mismatch` for settings that are missing, or that no known checkpoint has.
    fn read(file: &TorchFile) -> Result<Self> {
        let fault = |what: String| {
            Error::new(Fault::CheckpointMismatch, format!("{}: {what}", file.path().display()))
                .path(file.path())
                .hint("fcpe needs the checkpoint of torchfcpe, RVC and Applio")
        };
        let front_end = [
            ("sr", MEL.sample_rate),
            ("num_mels", N_MELS as f64),
            ("n_fft", MEL.n_fft as f64),
            ("win_size", MEL.n_fft as f64),
            ("hop_size", MEL.hop_length as f64),
            ("fmin", MEL.fmin),
            ("fmax", MEL.fmax),
        ];
        for (name, expected) in front_end {
            let given = file.float(&["config_dict", "mel", name]);
            let given = given.ok_or_else(|| fault(format!("it has no setting config_dict.mel.{name}")))?;
            if given.to_bits() != expected.to_bits() {
                return Err(fault(format!("config_dict.mel.{name} is {given}, but must be {expected}")));
            }
        }
        let size = |name: &str, most: i64| {
            let given = file.int(&["config_dict", "model", name]);
            let given = given.ok_or_else(|| fault(format!("it has no setting config_dict.model.{name}")))?;
            if (1..=most).contains(&given) {
                return Ok(given);
            }
            Err(fault(format!("config_dict.model.{name} is {given}, but must be 1 to {most}")))
        };
        let sizes = Self {
            hidden: size("hidden_dims", 4096)?,
            layers: size("n_layers", 64)?,
            pitches: size("out_dims", 4096)?,
        };
        if sizes.hidden % GROUPS != 0 {
            return Err(fault(format!(
                "config_dict.model.hidden_dims is {}, but must be a multiple of {GROUPS}",
                sizes.hidden
            )));
        }
        Ok(sizes)
    }
}

/// The network and its front end.
pub struct Fcpe {
    spectral: Spectral,
    first: Conv,
    norm: [Tensor; 2],
    second: Conv,
    layers: Vec<Layer>,
    last_norm: [Tensor; 2],
    weight: Tensor,
    bias: Tensor,
    cents: Vec<f32>,
    kind: Kind,
}

impl Fcpe {
    /// Loads the network from a file such as torchfcpe's fcpe_c_v001.pt. Convolutions compute in `kind`, everything else in float32.
    ///
    /// Errors: `checkpoint.mismatch`, `checkpoint.damaged`, `device.memory`.
    pub fn load(file: &TorchFile, kind: Kind, device: Device) -> Result<Self> {
        let sizes = Sizes::read(file)?;
        load(file, canonical, Kind::Float, device, |weights| Self::build(weights, sizes, kind))
    }

    fn build(w: &Weights, sizes: Sizes, kind: Kind) -> Result<Self> {
        let Sizes { hidden, layers, pitches } = sizes;
        let cents = w.get("cent_table", &[pitches])?;
        let (g, v) =
            (w.get("output_proj.weight_g", &[pitches, 1])?, w.get("output_proj.weight_v", &[pitches, hidden])?);
        Ok(Self {
            spectral: nn::guard(|| Spectral::of(MEL, w.device()))?,
            first: Conv::build(w, "input_stack.0", [hidden, N_MELS, INPUT_KERNEL], 1, kind)?,
            norm: pair(w, "input_stack.1", hidden)?,
            second: Conv::build(w, "input_stack.3", [hidden, hidden, INPUT_KERNEL], 1, kind)?,
            layers: (0..layers).map(|i| Layer::build(w, i, hidden, kind)).collect::<Result<_>>()?,
            last_norm: pair(w, "norm", hidden)?,
            weight: nn::guard(|| Tensor::internal_weight_norm(&v, &g, 0))?,
            bias: w.get("output_proj.bias", &[pitches])?,
            cents: nn::guard(|| {
                let mut values = vec![0.0f32; pitches as usize];
                cents.to_device(Device::Cpu).contiguous().copy_data(&mut values, pitches as usize);
                values
            })?,
            kind,
        })
    }

    /// The pitch of each output, in cents above 10 Hz; the checkpoint has them.
    pub fn cents(&self) -> &[f32] {
        &self.cents
    }

    /// Frames of a clip.
    pub fn frames(n_samples: usize) -> usize {
        n_samples / MEL.hop_length as usize + 1
    }

    /// Samples of the shortest clip that can be mirrored at its ends.
    pub fn shortest() -> usize {
        MEL.padding as usize + 1
    }

    /// The log-mel of clips, each followed by zeros.
    ///
    /// Shapes: clips of [`Fcpe::shortest`] samples or more -> [batch, 128, most frames]
    /// Source: spec B.7; the window needs one frame more than a clip has, which is a copy of the last
    pub fn mel(&self, clips: &[&[f32]]) -> Tensor {
        let mel = self.spectral.mel_of_each(clips);
        let mask = self.mask(clips);
        let (batch, frames) = (mask.size()[0], mask.size()[2]);
        let last: Vec<i64> = clips.iter().map(|clip| Self::frames(clip.len()) as i64 - 2).collect();
        let last = Tensor::from_slice(&last).to_device(mel.device()).view([-1, 1]);
        let from = Tensor::arange(frames, (Kind::Int64, mel.device())).minimum(&last).clamp_min(0);
        let mel = mel.gather(2, &from.unsqueeze(1).expand([batch, N_MELS, frames], false), false);
        mel.where_self(&mask.to_kind(Kind::Bool), &mel.zeros_like())
    }

    /// 1 for the frames of each clip, 0 after them.
    ///
    /// Shapes: float32 [batch, 1, most frames]
    pub fn mask(&self, clips: &[&[f32]]) -> Tensor {
        let frames: Vec<i64> = clips.iter().map(|clip| Self::frames(clip.len()) as i64).collect();
        let most = frames.iter().copied().max().unwrap_or(0);
        let frames = Tensor::from_slice(&frames).to_device(self.bias.device()).view([-1, 1, 1]);
        Tensor::arange(most, (Kind::Int64, self.bias.device())).lt_tensor(&frames).to_kind(Kind::Float)
    }

    /// The confidence in each pitch in each frame, 0 to 1.
    ///
    /// Shapes: mel [batch, 128, frames], mask [batch, 1, frames] -> float32 [batch, frames, pitches]
    pub fn confidence(&self, mel: &Tensor, mask: &Tensor) -> Tensor {
        let narrow_mask = mask.to_kind(self.kind);
        let xs = self.first.forward(&mel.to_kind(self.kind));
        let xs = leaky_relu(&group_norm(&xs.to_kind(Kind::Float), mask, &self.norm), SLOPE);
        let xs = self.second.forward(&(xs * mask).to_kind(self.kind)).to_kind(Kind::Float).transpose(1, 2);
        let xs = self.layers.iter().fold(xs, |xs, layer| layer.forward(&xs, &narrow_mask));
        layer_norm(&xs, &self.last_norm).linear(&self.weight, Some(&self.bias)).sigmoid()
    }
}

/// The network's key for a name in a file. A layer has a norm before its attention even if it has no attention.
fn canonical(name: &str) -> Option<String> {
    let key = name.strip_prefix("model.").unwrap_or(name);
    let unused = key == "gaussian_blurred_cent_mask"
        || (key.starts_with("net.encoder_layers.") && (key.ends_with(".norm.weight") || key.ends_with(".norm.bias")));
    (!unused).then(|| key.to_owned())
}

/// Weight and bias of a norm.
fn pair(w: &Weights, key: &str, channels: i64) -> Result<[Tensor; 2]> {
    Ok([w.get(format!("{key}.weight"), &[channels])?, w.get(format!("{key}.bias"), &[channels])?])
}

fn layer_norm(xs: &Tensor, [weight, bias]: &[Tensor; 2]) -> Tensor {
    xs.layer_norm(weight.size(), Some(weight), Some(bias), NORM_EPS, true)
}

/// Group norm over the frames that the mask keeps.
///
/// Shapes: xs [batch, channels, frames], mask [batch, 1, frames] -> [batch, channels, frames]
fn group_norm(xs: &Tensor, mask: &Tensor, [weight, bias]: &[Tensor; 2]) -> Tensor {
    let size = xs.size();
    let grouped = xs.view([size[0], GROUPS, size[1] / GROUPS, size[2]]);
    let mask = mask.unsqueeze(1);
    let count = mask.sum_dim_intlist([-2i64, -1].as_slice(), true, Kind::Float) * (size[1] / GROUPS) as f64;
    let mean = (&grouped * &mask).sum_dim_intlist([-2i64, -1].as_slice(), true, Kind::Float) / &count;
    let centred = (grouped - mean) * mask;
    let var = centred.square().sum_dim_intlist([-2i64, -1].as_slice(), true, Kind::Float) / count;
    let normed = (centred / (var + NORM_EPS).sqrt()).view(size.as_slice());
    normed * weight.view([-1, 1]) + bias.view([-1, 1])
}

/// A convolution that keeps the number of frames.
struct Conv {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
}

impl Conv {
    fn build(w: &Weights, key: &str, shape: [i64; 3], groups: i64, kind: Kind) -> Result<Self> {
        let (weight, bias) = (w.get(format!("{key}.weight"), &shape)?, w.get(format!("{key}.bias"), &shape[..1])?);
        nn::guard(|| Self { weight: weight.to_kind(kind), bias: bias.to_kind(kind), groups })
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let padding = self.weight.size()[2] / 2;
        xs.conv1d(&self.weight, Some(&self.bias), [1], [padding], [1], self.groups)
    }
}

/// A conformer layer without attention: wider by a gate, along the frames channel by channel, and back.
struct Layer {
    norm: [Tensor; 2],
    widen: Conv,
    along: Conv,
    narrow: Conv,
}

impl Layer {
    fn build(w: &Weights, index: i64, hidden: i64, kind: Kind) -> Result<Self> {
        let key = |part: &str| format!("net.encoder_layers.{index}.conformer.net.{part}");
        let inner = EXPANSION * hidden;
        Ok(Self {
            norm: pair(w, &key("0"), hidden)?,
            widen: Conv::build(w, &key("2"), [2 * inner, hidden, 1], 1, kind)?,
            along: Conv::build(w, &key("4.conv"), [inner, 1, KERNEL], inner, kind)?,
            narrow: Conv::build(w, &key("6"), [hidden, inner, 1], 1, kind)?,
        })
    }

    /// Shapes: xs float32 [batch, frames, hidden], mask [batch, 1, frames] -> as xs
    fn forward(&self, xs: &Tensor, mask: &Tensor) -> Tensor {
        let ys = layer_norm(xs, &self.norm).to_kind(mask.kind()).transpose(1, 2);
        let ys = self.along.forward(&(self.widen.forward(&ys).glu(1) * mask)).silu();
        xs + self.narrow.forward(&ys).transpose(1, 2).to_kind(Kind::Float)
    }
}
