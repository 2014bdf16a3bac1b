//! enc_p: the prior, from content features and coarse pitch (spec E.2). "Phone" and "text" are VITS's words for content.

use crate::models::SynthesizerConfig;
use crate::nn::activation::leaky_relu_in_place;
use crate::nn::attention::RelativeAttention;
use crate::nn::conv::{ChannelNorm, Conv, Embedding, Linear, Shape};
use crate::nn::params::Builder;
use tch::{Kind, Tensor};

/// Values of the coarse pitch, 0 for padding.
const PITCHES: i64 = 256;

pub struct TextEncoder {
    emb_phone: Linear,
    /// None in networks without pitch.
    emb_pitch: Option<Embedding>,
    encoder: Encoder,
    proj: Conv,
    hidden: i64,
    channels: i64,
}

/// Mean and logarithm of the standard deviation, each [batch, inter, frames].
pub struct Prior {
    pub m_p: Tensor,
    pub logs_p: Tensor,
}

impl TextEncoder {
    pub fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let (hidden, channels) = (c.hidden_channels, c.inter_channels);
        Self {
            emb_phone: Linear::new(b, &format!("{key}.emb_phone"), c.content_channels, hidden),
            emb_pitch: c.f0.then(|| Embedding::new(b, &format!("{key}.emb_pitch"), PITCHES, hidden)),
            encoder: Encoder::new(b, &format!("{key}.encoder"), c),
            proj: Conv::plain(b, &format!("{key}.proj"), Shape::new(hidden, 2 * channels, 1)),
            hidden,
            channels,
        }
    }

    /// `pitch` is given to networks with pitch and ignored by others.
    ///
    /// Shapes: phone [batch, frames, content], pitch int64 [batch, frames], mask [batch, 1, frames]
    pub fn forward(&self, phone: &Tensor, pitch: Option<&Tensor>, mask: &Tensor) -> Prior {
        let mut xs = self.emb_phone.forward(phone);
        if let Some(emb_pitch) = &self.emb_pitch {
            xs += emb_pitch.forward(pitch.expect("a network with pitch is given it: Dataset and callers see to that"));
        }
        let xs = xs * (self.hidden as f64).sqrt();
        let xs = leaky_relu_in_place(xs, 0.1).transpose(1, 2);
        let stats = self.proj.forward(&self.encoder.forward(&xs, mask)) * mask;
        Prior { m_p: stats.narrow(1, 0, self.channels), logs_p: stats.narrow(1, self.channels, self.channels) }
    }
}

/// Transformer layers, normalised after each sum.
struct Encoder {
    attn_layers: Vec<RelativeAttention>,
    norm_layers_1: Vec<ChannelNorm>,
    ffn_layers: Vec<FeedForward>,
    norm_layers_2: Vec<ChannelNorm>,
}

impl Encoder {
    fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let (hidden, layers) = (c.hidden_channels, 0..c.n_layers);
        Self {
            attn_layers: layers
                .clone()
                .map(|i| RelativeAttention::new(b, &format!("{key}.attn_layers.{i}"), hidden, c.n_heads))
                .collect(),
            norm_layers_1: layers
                .clone()
                .map(|i| ChannelNorm::new(b, &format!("{key}.norm_layers_1.{i}"), hidden))
                .collect(),
            ffn_layers: layers.clone().map(|i| FeedForward::new(b, &format!("{key}.ffn_layers.{i}"), c)).collect(),
            norm_layers_2: layers.map(|i| ChannelNorm::new(b, &format!("{key}.norm_layers_2.{i}"), hidden)).collect(),
        }
    }

    fn forward(&self, xs: &Tensor, mask: &Tensor) -> Tensor {
        // A pair of frames counts if both are within the length.
        let masked = (mask.unsqueeze(2) * mask.unsqueeze(3)).to_kind(Kind::Bool).logical_not();
        let mut xs = xs * mask;
        for i in 0..self.attn_layers.len() {
            xs = self.norm_layers_1[i].forward(&(&xs + self.attn_layers[i].forward(&xs, &masked)));
            xs = self.norm_layers_2[i].forward(&(&xs + self.ffn_layers[i].forward(&xs, mask)));
        }
        xs * mask
    }
}

/// Two convolutions with a ReLU between them.
struct FeedForward {
    conv_1: Conv,
    conv_2: Conv,
}

impl FeedForward {
    fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let (hidden, filter, kernel) = (c.hidden_channels, c.filter_channels, c.kernel_size);
        Self {
            conv_1: Conv::plain(b, &format!("{key}.conv_1"), Shape::new(hidden, filter, kernel).same()),
            conv_2: Conv::plain(b, &format!("{key}.conv_2"), Shape::new(filter, hidden, kernel).same()),
        }
    }

    fn forward(&self, xs: &Tensor, mask: &Tensor) -> Tensor {
        let h = self.conv_1.forward(&(xs * mask)).relu();
        self.conv_2.forward(&(h * mask)) * mask
    }
}
