//! flow: couplings that convert the posterior's z into the prior's z_p and back exactly (spec E.5).

use crate::models::SynthesizerConfig;
use crate::models::wavenet::WaveNet;
use crate::nn::conv::{Conv, Shape};
use crate::nn::params::Builder;
use tch::Tensor;

/// Couplings; between them the order of the channels is reversed. Keys count both: 0, 2, 4, 6 are the couplings.
const COUPLINGS: usize = 4;

pub struct Flow {
    couplings: Vec<Coupling>,
}

/// Shifts the second half of the channels by a function of the first.
struct Coupling {
    pre: Conv,
    enc: WaveNet,
    post: Conv,
    half: i64,
}

impl Flow {
    pub fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let couplings = (0..COUPLINGS).map(|i| Coupling::new(b, &format!("{key}.flows.{}", 2 * i), c)).collect();
        Self { couplings }
    }

    /// See [`Conv::fuse`].
    pub fn fuse(&mut self) {
        self.couplings.iter_mut().for_each(|coupling| coupling.enc.fuse());
    }

    /// z -> z_p. Shapes: [batch, inter, frames], mask [batch, 1, frames], g [batch, gin, 1]
    pub fn forward(&self, z: &Tensor, mask: &Tensor, g: &Tensor) -> Tensor {
        self.couplings.iter().fold(z.shallow_clone(), |z, coupling| coupling.forward(&z, mask, g).flip([1]))
    }

    /// z_p -> z.
    pub fn reverse(&self, z_p: &Tensor, mask: &Tensor, g: &Tensor) -> Tensor {
        self.couplings.iter().rev().fold(z_p.shallow_clone(), |z, coupling| coupling.reverse(&z.flip([1]), mask, g))
    }
}

impl Coupling {
    fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let (half, hidden) = (c.inter_channels / 2, c.hidden_channels);
        Self {
            pre: Conv::plain(b, &format!("{key}.pre"), Shape::new(half, hidden, 1)),
            enc: WaveNet::new(b, &format!("{key}.enc"), hidden, c.coupling_layers, c.gin_channels),
            // Zero, so that a new flow changes nothing.
            post: Conv::zero(b, &format!("{key}.post"), Shape::new(hidden, half, 1)),
            half,
        }
    }

    fn shift(&self, x0: &Tensor, mask: &Tensor, g: &Tensor) -> Tensor {
        let h = self.pre.forward(x0) * mask;
        self.post.forward(&self.enc.forward(&h, mask, g)) * mask
    }

    fn forward(&self, x: &Tensor, mask: &Tensor, g: &Tensor) -> Tensor {
        let (x0, x1) = (x.narrow(1, 0, self.half), x.narrow(1, self.half, self.half));
        let x1 = self.shift(&x0, mask, g) + x1 * mask;
        Tensor::cat(&[x0, x1], 1)
    }

    fn reverse(&self, x: &Tensor, mask: &Tensor, g: &Tensor) -> Tensor {
        let (x0, x1) = (x.narrow(1, 0, self.half), x.narrow(1, self.half, self.half));
        let x1 = (x1 - self.shift(&x0, mask, g)) * mask;
        Tensor::cat(&[x0, x1], 1)
    }
}
