//! enc_q: the decoder's target input, from the spectrogram of the real voice (training only; spec E.4).

use crate::models::SynthesizerConfig;
use crate::models::wavenet::WaveNet;
use crate::nn::conv::{Conv, Shape};
use crate::nn::params::Builder;
use tch::Tensor;

pub struct PosteriorEncoder {
    pre: Conv,
    enc: WaveNet,
    proj: Conv,
    channels: i64,
}

/// A sample z of the posterior, its mean and the logarithm of its standard deviation, each [batch, inter, frames].
pub struct Posterior {
    pub z: Tensor,
    pub m_q: Tensor,
    pub logs_q: Tensor,
}

impl PosteriorEncoder {
    pub fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let (hidden, channels) = (c.hidden_channels, c.inter_channels);
        Self {
            pre: Conv::plain(b, &format!("{key}.pre"), Shape::new(c.spec_channels, hidden, 1)),
            enc: WaveNet::new(b, &format!("{key}.enc"), hidden, c.posterior_layers, c.gin_channels),
            proj: Conv::plain(b, &format!("{key}.proj"), Shape::new(hidden, 2 * channels, 1)),
            channels,
        }
    }

    /// Draws one `randn [batch, inter, frames]`.
    ///
    /// Shapes: spec [batch, bins, frames], mask [batch, 1, frames], g [batch, gin, 1]
    pub fn forward(&self, spec: &Tensor, mask: &Tensor, g: &Tensor) -> Posterior {
        let xs = self.pre.forward(spec) * mask;
        let stats = self.proj.forward(&self.enc.forward(&xs, mask, g)) * mask;
        let m_q = stats.narrow(1, 0, self.channels);
        let logs_q = stats.narrow(1, self.channels, self.channels);
        let z = (&m_q + m_q.randn_like() * logs_q.exp()) * mask;
        Posterior { z, m_q, logs_q }
    }
}
