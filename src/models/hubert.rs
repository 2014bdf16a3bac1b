//! HuBERT base: content features of a clip from its samples (Hsu et al. 2021; spec C.1). Inference only.
//!
//! ```text
//! samples ─> 7 convolutions (one frame for 320 samples) ─> norm, linear ─> + positional convolution ─> norm ─> 12 layers
//! ```
//!
//! Version 2 of RVC takes the output of layer 12, version 1 that of layer 9 through `final_proj`. ContentVec, Spin and the
//! HuBERTs of other languages are the same network with other weights.
//!
//! A clip gets the same numbers in any batch: the convolutions run clip by clip (the first one's group norm takes its
//! statistics over the whole clip). Only the transformer processes clips of different lengths together; there the part
//! beyond a clip is zero for the positional convolution, like its own padding, and masked as a key of attention.

use crate::models::weights::{self, Weights};
use crate::torchfile::TorchFile;
use crate::{Error, Result};
use tch::{Device, Tensor};

/// Kernel and stride of the convolutions.
const CONVS: [(i64, i64); 7] = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)];
const CONV_CHANNELS: i64 = 512;
pub const HIDDEN: i64 = 768;
const FILTER: i64 = 3072;
const HEADS: i64 = 12;
/// Layers of the whole network.
pub const LAYERS: i64 = 12;
/// Width and groups of the positional convolution.
const POSITIONS: i64 = 128;
const POSITION_GROUPS: i64 = 16;
/// Values of version 1's content.
pub const PROJECTED: i64 = 256;
const EPS: f64 = 1e-5;

/// The output that is used as content features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Layer 9 through `final_proj`: 256 values (RVC version 1).
    V1,
    /// Layer 12: 768 values (RVC version 2).
    V2,
}

impl Output {
    fn layers(self) -> i64 {
        if self == Self::V1 { 9 } else { LAYERS }
    }
}

pub struct Hubert {
    convs: Vec<Tensor>,
    conv_norm: Norm,
    features_norm: Norm,
    post_extract_proj: Linear,
    pos_conv: Linear,
    encoder_norm: Norm,
    layers: Vec<Layer>,
    final_proj: Option<Linear>,
    kind: tch::Kind,
    device: Device,
}

impl Hubert {
    /// Loads the network from a fairseq checkpoint or a Hugging Face state dict, without the layers after `output`.
    ///
    /// Errors: `checkpoint.mismatch` with everything that is missing, extra or of another shape; `checkpoint.damaged`;
    /// `device.memory`.
    pub fn load(file: &TorchFile, output: Output, kind: tch::Kind, device: Device) -> Result<Self> {
        // Weight norm and the first norm need float32 in every precision of the network.
        weights::load(file, key_in(file, output), tch::Kind::Float, device, |w| Self::build(w, output, kind)).map_err(
            |e| {
                let no_projection = output == Output::V1 && e.message().contains("final_proj");
                if no_projection {
                    e.also("version v1 needs final_proj, which this encoder lacks; use version v2")
                } else {
                    e
                }
            },
        )
    }

    fn build(w: &Weights, output: Output, kind: tch::Kind) -> Result<Self> {
        let mut convs = Vec::new();
        for (i, (kernel, _)) in CONVS.into_iter().enumerate() {
            let inputs = if i == 0 { 1 } else { CONV_CHANNELS };
            let weight =
                w.get(format!("feature_extractor.conv_layers.{i}.0.weight"), &[CONV_CHANNELS, inputs, kernel])?;
            convs.push(weight.to_kind(kind));
        }
        let layers = (0..output.layers()).map(|i| Layer::new(w, &format!("encoder.layers.{i}"), kind));
        Ok(Self {
            convs,
            conv_norm: Norm::new(w, "feature_extractor.conv_layers.0.2", CONV_CHANNELS, tch::Kind::Float)?,
            features_norm: Norm::new(w, "layer_norm", CONV_CHANNELS, kind)?,
            post_extract_proj: Linear::new(w, "post_extract_proj", CONV_CHANNELS, HIDDEN, kind)?,
            pos_conv: positions(w, kind)?,
            encoder_norm: Norm::new(w, "encoder.layer_norm", HIDDEN, kind)?,
            layers: layers.collect::<Result<_>>()?,
            final_proj: match output {
                Output::V1 => Some(Linear::new(w, "final_proj", HIDDEN, PROJECTED, kind)?),
                Output::V2 => None,
            },
            kind,
            device: w.device(),
        })
    }

    /// The content of clips at 16 kHz, each of at least 400 samples.
    ///
    /// Shapes   clips: [samples] each -> float32 [frames, 768 or 256] each, on the network's device
    ///
    /// Panics as tch does; call it inside [`crate::nn::guard`].
    pub fn forward(&self, clips: &[Tensor]) -> Vec<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let features: Vec<Tensor> = clips.iter().map(|clip| self.projected(&self.features(clip))).collect();
        let frames: Vec<i64> = features.iter().map(|x| x.size()[0]).collect();
        let longest = frames.iter().copied().max().unwrap_or(0);
        let padded: Vec<Tensor> =
            features.iter().zip(&frames).map(|(x, n)| x.constant_pad_nd([0, 0, 0, longest - n])).collect();
        let masked = frames.iter().any(|n| *n != longest).then(|| self.keys(&frames, longest));
        let mut xs = self.positioned(&Tensor::stack(&padded, 0));
        for layer in &self.layers {
            xs = layer.forward(&xs, masked.as_ref());
        }
        let xs = self.final_proj.as_ref().map_or(xs.shallow_clone(), |proj| proj.forward(&xs));
        let one = |(i, n): (usize, &i64)| xs.get(i as i64).narrow(0, 0, *n).to_kind(tch::Kind::Float);
        frames.iter().enumerate().map(one).collect()
    }

    /// The convolutions' output. Shapes: [samples] -> [512, frames]
    pub fn features(&self, clip: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let mut xs = clip.to_device(self.device).to_kind(self.kind).view([1, 1, -1]);
        for (i, (weight, (_, stride))) in self.convs.iter().zip(CONVS).enumerate() {
            xs = xs.conv1d(weight, None::<Tensor>, stride, 0, 1, 1);
            if i == 0 {
                // One channel per group: the norm of each channel over the clip, in float32 as in fairseq.
                let (norm, wide) = (&self.conv_norm, xs.to_kind(tch::Kind::Float));
                let normed = wide.group_norm(CONV_CHANNELS, Some(&norm.weight), Some(&norm.bias), EPS, true);
                xs = normed.to_kind(self.kind);
            }
            xs = xs.gelu_("none");
        }
        xs.squeeze_dim(0)
    }

    /// Shapes: [512, frames] -> [frames, 768]
    fn projected(&self, features: &Tensor) -> Tensor {
        self.post_extract_proj.forward(&self.features_norm.forward(&features.transpose(0, 1)))
    }

    /// The transformer's input: positions added, normalised. The part beyond a clip must be zero.
    ///
    /// Shapes: [batch, frames, 768] -> the same
    fn positioned(&self, xs: &Tensor) -> Tensor {
        let frames = xs.size()[1];
        let conv = &self.pos_conv;
        let positions = xs.transpose(1, 2).conv1d(&conv.weight, Some(&conv.bias), 1, POSITIONS / 2, 1, POSITION_GROUPS);
        // The kernel is even: one frame too many comes out.
        let positions = positions.narrow(2, 0, frames).gelu("none").transpose(1, 2);
        self.encoder_norm.forward(&(xs + positions))
    }

    /// The attention mask: bool [batch, 1, 1, frames].
    fn keys(&self, frames: &[i64], longest: i64) -> Tensor {
        let ends = Tensor::from_slice(frames).to_device(self.device).unsqueeze(1);
        let places = Tensor::arange(longest, (tch::Kind::Int64, self.device)).unsqueeze(0);
        places.lt_tensor(&ends).view([frames.len() as i64, 1, 1, longest])
    }

    /// The input of the first layer and the output of each, for comparison with a reference.
    ///
    /// Shapes: [samples] -> [frames, 768] each
    pub fn hidden(&self, clip: &Tensor) -> Vec<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let mut states = vec![self.positioned(&self.projected(&self.features(clip)).unsqueeze(0))];
        for layer in &self.layers {
            states.push(layer.forward(&states[states.len() - 1], None));
        }
        states.into_iter().map(|x| x.squeeze_dim(0)).collect()
    }
}

/// SHA-256 of the weights used, independent of container and spelling; if rounding to half precision changes them,
/// followed by "/" and the digest of the rounded weights.
///
/// Errors: as [`weights::digests`].
pub fn digest(file: &TorchFile, output: Output) -> Result<String> {
    let [exact, rounded] = weights::digests(file, key_in(file, output))?;
    Ok(if exact == rounded { exact } else { format!("{exact}/{rounded}") })
}

/// The network's key for a name in `file`; None if it is not part of the network.
fn key_in(file: &TorchFile, output: Output) -> impl Fn(&str) -> Option<String> {
    let wrapped = file.names().iter().any(|name| name.starts_with("model."));
    move |name| match (wrapped, name.strip_prefix("model.")) {
        (true, None) => None,
        (true, Some(name)) => canonical(name, output),
        (false, _) => canonical(name, output),
    }
}

/// fairseq's key, which is ours, for a name in either spelling; None for weights that the network does not use.
fn canonical(name: &str, output: Output) -> Option<String> {
    let name = weights::canonical(name.strip_prefix("hubert.").unwrap_or(name));
    if ["mask_emb", "masked_spec_embed", "label_embs_concat"].contains(&name.as_str()) {
        return None;
    }
    if name.starts_with("final_proj.") && output == Output::V2 {
        return None;
    }
    if let Some(rest) = name.strip_prefix("encoder.layers.") {
        let (index, rest) = rest.split_once('.')?;
        if index.parse::<i64>().is_ok_and(|i| i >= output.layers() && i < LAYERS) {
            return None;
        }
        let rest = match rest.split_once('.') {
            Some(("attention", rest)) => format!("self_attn.{rest}"),
            Some(("layer_norm", rest)) => format!("self_attn_layer_norm.{rest}"),
            _ => rest.replace("feed_forward.intermediate_dense", "fc1").replace("feed_forward.output_dense", "fc2"),
        };
        return Some(format!("encoder.layers.{index}.{rest}"));
    }
    if let Some(rest) = name.strip_prefix("feature_extractor.conv_layers.") {
        let rest = rest.replace(".conv.", ".0.").replace(".layer_norm.", ".2.");
        return Some(format!("feature_extractor.conv_layers.{rest}"));
    }
    Some(
        name.replace("feature_projection.layer_norm.", "layer_norm.")
            .replace("feature_projection.projection.", "post_extract_proj.")
            .replace("encoder.pos_conv_embed.conv.", "encoder.pos_conv.0."),
    )
}

/// The positional convolution; its weight norm keeps dimension 2, the taps.
fn positions(w: &Weights, kind: tch::Kind) -> Result<Linear> {
    let bias = w.get("encoder.pos_conv.0.bias", &[HIDDEN])?;
    let g = w.get("encoder.pos_conv.0.weight_g", &[1, 1, POSITIONS])?;
    let v = w.get("encoder.pos_conv.0.weight_v", &[HIDDEN, HIDDEN / POSITION_GROUPS, POSITIONS])?;
    let weight = crate::nn::guard(|| {
        let norm = v.square().sum_dim_intlist([0i64, 1].as_slice(), true, tch::Kind::Float).sqrt();
        (&v * (&g / norm)).to_kind(kind)
    })?;
    Ok(Linear { weight, bias: bias.to_kind(kind) })
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(w: &Weights, key: &str, inputs: i64, outputs: i64, kind: tch::Kind) -> Result<Self> {
        let weight = w.get(format!("{key}.weight"), &[outputs, inputs])?.to_kind(kind);
        Ok(Self { weight, bias: w.get(format!("{key}.bias"), &[outputs])?.to_kind(kind) })
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        xs.linear(&self.weight, Some(&self.bias))
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(w: &Weights, key: &str, channels: i64, kind: tch::Kind) -> Result<Self> {
        let get = |part: &str| Ok::<_, Error>(w.get(format!("{key}.{part}"), &[channels])?.to_kind(kind));
        Ok(Self { weight: get("weight")?, bias: get("bias")? })
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        xs.layer_norm([self.weight.size()[0]], Some(&self.weight), Some(&self.bias), EPS, true)
    }
}

/// A transformer layer, normalised after each sum.
struct Layer {
    /// Queries, keys and values in one product.
    qkv: Linear,
    out_proj: Linear,
    self_attn_layer_norm: Norm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: Norm,
}

impl Layer {
    fn new(w: &Weights, key: &str, kind: tch::Kind) -> Result<Self> {
        let part = |name: &str| Linear::new(w, &format!("{key}.self_attn.{name}"), HIDDEN, HIDDEN, kind);
        let parts = [part("q_proj")?, part("k_proj")?, part("v_proj")?];
        let qkv = crate::nn::guard(|| Linear {
            weight: Tensor::cat(&parts.each_ref().map(|p| &p.weight), 0),
            bias: Tensor::cat(&parts.each_ref().map(|p| &p.bias), 0),
        })?;
        Ok(Self {
            qkv,
            out_proj: part("out_proj")?,
            self_attn_layer_norm: Norm::new(w, &format!("{key}.self_attn_layer_norm"), HIDDEN, kind)?,
            fc1: Linear::new(w, &format!("{key}.fc1"), HIDDEN, FILTER, kind)?,
            fc2: Linear::new(w, &format!("{key}.fc2"), FILTER, HIDDEN, kind)?,
            final_layer_norm: Norm::new(w, &format!("{key}.final_layer_norm"), HIDDEN, kind)?,
        })
    }

    fn forward(&self, xs: &Tensor, keys: Option<&Tensor>) -> Tensor {
        let (batch, frames, _) = xs.size3().expect("a batch is [batch, frames, hidden]");
        let qkv = self.qkv.forward(xs).view([batch, frames, 3, HEADS, HIDDEN / HEADS]).permute([2, 0, 3, 1, 4]);
        let attended = Tensor::scaled_dot_product_attention(
            &qkv.get(0),
            &qkv.get(1),
            &qkv.get(2),
            keys,
            /* dropout */ 0.0,
            /* causal */ false,
            None,
            false,
        );
        let attended = attended.transpose(1, 2).reshape([batch, frames, HIDDEN]);
        let xs = self.self_attn_layer_norm.forward(&(xs + self.out_proj.forward(&attended)));
        let filtered = self.fc2.forward(&self.fc1.forward(&xs).gelu_("none"));
        self.final_layer_norm.forward(&(xs + filtered))
    }
}
