//! The gated convolution stack that posterior encoder and flow share (WaveNet without causality; spec E.3).

use crate::nn::conv::{Conv, Shape};
use crate::nn::params::Builder;
use tch::Tensor;

/// Kernel of the gated convolutions; dilation is 1 in every layer.
const KERNEL: i64 = 5;

/// Layers of gated convolution, each with a residual and a skip part, conditioned on the speaker.
pub struct WaveNet {
    in_layers: Vec<Conv>,
    res_skip_layers: Vec<Conv>,
    cond_layer: Conv,
    hidden: i64,
}

impl WaveNet {
    pub fn new(b: &mut Builder, key: &str, hidden: i64, layers: i64, gin: i64) -> Self {
        let gate = Shape::new(hidden, 2 * hidden, KERNEL).same();
        let in_layers = (0..layers).map(|i| Conv::normed(b, &format!("{key}.in_layers.{i}"), gate)).collect();
        let res_skip_layers = (0..layers)
            .map(|i| {
                let outputs = if i + 1 < layers { 2 * hidden } else { hidden };
                Conv::normed(b, &format!("{key}.res_skip_layers.{i}"), Shape::new(hidden, outputs, 1))
            })
            .collect();
        let cond_layer = Conv::normed(b, &format!("{key}.cond_layer"), Shape::new(gin, 2 * hidden * layers, 1));
        Self { in_layers, res_skip_layers, cond_layer, hidden }
    }

    /// See [`Conv::fuse`].
    pub fn fuse(&mut self) {
        let layers = self.in_layers.iter_mut().chain(&mut self.res_skip_layers);
        layers.chain(std::iter::once(&mut self.cond_layer)).for_each(Conv::fuse);
    }

    /// Shapes: xs [batch, hidden, frames], mask [batch, 1, frames], g [batch, gin, 1] -> [batch, hidden, frames]
    pub fn forward(&self, xs: &Tensor, mask: &Tensor, g: &Tensor) -> Tensor {
        let h = self.hidden;
        let cond = self.cond_layer.forward(g);
        let mut xs = xs.shallow_clone();
        let mut skipped: Option<Tensor> = None;
        for (i, (gate, res_skip)) in self.in_layers.iter().zip(&self.res_skip_layers).enumerate() {
            let mut a = gate.forward(&xs);
            a += cond.narrow(1, 2 * h * i as i64, 2 * h);
            let r = res_skip.forward(&(a.narrow(1, 0, h).tanh() * a.narrow(1, h, h).sigmoid()));
            let skip = if i + 1 < self.in_layers.len() {
                xs = (xs + r.narrow(1, 0, h)) * mask;
                r.narrow(1, h, h)
            } else {
                r
            };
            skipped = Some(match skipped {
                None => skip,
                Some(sum) => sum + skip,
            });
        }
        skipped.unwrap_or(xs) * mask
    }
}
