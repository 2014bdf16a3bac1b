//! Convolutions, plain or weight-normed, with their state-dict keys and PyTorch's default initialisation.
//!
//! Weight norm stores `bias`, `weight_g`, `weight_v`; the weight is `v * g / |v|`, the norm over all dimensions but the first.
//! For a transposed convolution dimension 0 is the input channels, as in PyTorch.

use crate::nn::params::{Builder, Init};
use tch::Tensor;

/// A weight as it is stored.
enum Weight {
    Plain(Tensor),
    Normed { g: Tensor, v: Tensor },
}

impl Weight {
    /// The weight to compute with, by libtorch's fused kernel (forward and backward one kernel each).
    fn value(&self) -> Tensor {
        match self {
            Weight::Plain(weight) => weight.shallow_clone(),
            Weight::Normed { g, v } => Tensor::internal_weight_norm(v, g, 0),
        }
    }
}

/// Size and position of a kernel; `Default` is a 1-wide kernel without padding.
#[derive(Clone, Copy)]
pub struct Shape {
    pub inputs: i64,
    pub outputs: i64,
    pub kernel: i64,
    pub stride: i64,
    pub padding: i64,
    pub dilation: i64,
    pub groups: i64,
}

impl Shape {
    pub fn new(inputs: i64, outputs: i64, kernel: i64) -> Self {
        Self { inputs, outputs, kernel, stride: 1, padding: 0, dilation: 1, groups: 1 }
    }

    /// Padding that keeps the length at stride 1 (odd kernels).
    #[must_use]
    pub fn same(mut self) -> Self {
        self.padding = (self.kernel - 1) * self.dilation / 2;
        self
    }

    #[must_use]
    pub fn stride(mut self, stride: i64) -> Self {
        self.stride = stride;
        self
    }

    #[must_use]
    pub fn padding(mut self, padding: i64) -> Self {
        self.padding = padding;
        self
    }

    #[must_use]
    pub fn dilation(mut self, dilation: i64) -> Self {
        self.dilation = dilation;
        self
    }

    #[must_use]
    pub fn groups(mut self, groups: i64) -> Self {
        self.groups = groups;
        self
    }
}

/// Which operation a convolution is.
#[derive(Clone, Copy, PartialEq)]
enum Op {
    /// Over [batch, channels, frames].
    One,
    /// Over [batch, channels, rows, columns], kernel (k, 1).
    Column,
    /// Transposed, over [batch, channels, frames].
    Transposed,
}

/// A convolution.
pub struct Conv {
    weight: Weight,
    bias: Option<Tensor>,
    shape: Shape,
    op: Op,
}

impl Conv {
    /// Conv1d; keys `weight`, `bias`.
    pub fn plain(b: &mut Builder, key: &str, shape: Shape) -> Self {
        Self::plain_with(b, key, shape, &Init::Uniform(bound(shape, Op::One)))
    }

    /// Conv1d whose weight is filled by `init` and whose bias is PyTorch's default.
    pub fn plain_with(b: &mut Builder, key: &str, shape: Shape, init: &Init) -> Self {
        let weight = b.add(format!("{key}.weight"), &weight_size(shape, Op::One), init);
        let bias = b.add(format!("{key}.bias"), &[shape.outputs], &Init::Uniform(bound(shape, Op::One)));
        Self { weight: Weight::Plain(weight), bias: Some(bias), shape, op: Op::One }
    }

    /// Conv1d that starts as zero, weight and bias.
    pub fn zero(b: &mut Builder, key: &str, shape: Shape) -> Self {
        let weight = b.add(format!("{key}.weight"), &weight_size(shape, Op::One), &Init::Constant(0.0));
        let bias = b.add(format!("{key}.bias"), &[shape.outputs], &Init::Constant(0.0));
        Self { weight: Weight::Plain(weight), bias: Some(bias), shape, op: Op::One }
    }

    /// Conv1d without a bias; key `weight`.
    pub fn without_bias(b: &mut Builder, key: &str, shape: Shape) -> Self {
        let init = Init::Uniform(bound(shape, Op::One));
        let weight = b.add(format!("{key}.weight"), &weight_size(shape, Op::One), &init);
        Self { weight: Weight::Plain(weight), bias: None, shape, op: Op::One }
    }

    /// Weight-normed Conv1d; keys `bias`, `weight_g`, `weight_v`.
    pub fn normed(b: &mut Builder, key: &str, shape: Shape) -> Self {
        Self::new_normed(b, key, shape, Op::One)
    }

    /// Weight-normed Conv2d with kernel (k, 1): every column on its own.
    pub fn normed_column(b: &mut Builder, key: &str, shape: Shape) -> Self {
        Self::new_normed(b, key, shape, Op::Column)
    }

    /// Weight-normed ConvTranspose1d.
    pub fn normed_transposed(b: &mut Builder, key: &str, shape: Shape) -> Self {
        Self::new_normed(b, key, shape, Op::Transposed)
    }

    fn new_normed(b: &mut Builder, key: &str, shape: Shape, op: Op) -> Self {
        let bound = Init::Uniform(bound(shape, op));
        let bias = b.add(format!("{key}.bias"), &[shape.outputs], &bound);
        // weight_g comes before weight_v in the state dict but starts as v's norm, so v is made first, separately.
        let mut aside = b.aside();
        let v = aside.add(format!("{key}.weight_v"), &weight_size(shape, op), &bound);
        let norm = tch::no_grad(|| Tensor::norm_except_dim(&v, 2, 0));
        let g = b.add_tensor(format!("{key}.weight_g"), &norm);
        let v = b.add_tensor(format!("{key}.weight_v"), &v.detach());
        Self { weight: Weight::Normed { g, v }, bias: Some(bias), shape, op }
    }

    /// The same convolution with its weight computed once, for several passes in one step.
    ///
    /// Gradients still reach `weight_g` and `weight_v`, summed over the passes before the norm instead of after it.
    #[must_use]
    pub fn computed(&self) -> Self {
        Self {
            weight: Weight::Plain(self.weight.value()),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            shape: self.shape,
            op: self.op,
        }
    }

    /// Computes the weight now and keeps it; later changes of the parameters have no effect. For networks that are only run.
    pub fn fuse(&mut self) {
        self.weight = Weight::Plain(tch::no_grad(|| self.weight.value().detach()));
    }

    /// Shapes: [batch, inputs, n] -> [batch, outputs, n'] (columns: [batch, inputs, n, columns]).
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (s, bias, weight) = (self.shape, self.bias.as_ref(), self.weight.value());
        match self.op {
            Op::One => x.conv1d(&weight, bias, s.stride, s.padding, s.dilation, s.groups),
            Op::Column => x.conv2d(&weight, bias, [s.stride, 1], [s.padding, 0], [s.dilation, 1], s.groups),
            Op::Transposed => x.conv_transpose1d(&weight, bias, s.stride, s.padding, 0, s.groups, s.dilation),
        }
    }
}

fn weight_size(s: Shape, op: Op) -> Vec<i64> {
    match op {
        Op::One => vec![s.outputs, s.inputs / s.groups, s.kernel],
        Op::Column => vec![s.outputs, s.inputs / s.groups, s.kernel, 1],
        Op::Transposed => vec![s.inputs, s.outputs / s.groups, s.kernel],
    }
}

/// PyTorch's default: uniform within 1 / sqrt(fan in), where fan in is counted over dimension 1 of the weight.
fn bound(s: Shape, op: Op) -> f64 {
    let fan_in: i64 = weight_size(s, op)[1..].iter().product();
    1.0 / (fan_in as f64).sqrt()
}

/// A fully connected layer; keys `weight`, `bias`.
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub fn new(b: &mut Builder, key: &str, inputs: i64, outputs: i64) -> Self {
        let init = Init::Uniform(1.0 / (inputs as f64).sqrt());
        let weight = b.add(format!("{key}.weight"), &[outputs, inputs], &init);
        let bias = b.add(format!("{key}.bias"), &[outputs], &init);
        Self { weight, bias }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

/// A table of vectors; key `weight`.
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    pub fn new(b: &mut Builder, key: &str, rows: i64, size: i64) -> Self {
        Self { weight: b.add(format!("{key}.weight"), &[rows, size], &Init::Normal(1.0)) }
    }

    /// Shapes: int64 [...] -> [..., size]
    pub fn forward(&self, index: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, index, -1, false, false)
    }
}

/// Layer norm over the channels of [batch, channels, frames]; keys `gamma`, `beta`.
pub struct ChannelNorm {
    gamma: Tensor,
    beta: Tensor,
}

impl ChannelNorm {
    /// Added to the variance.
    const EPS: f64 = 1e-5;

    pub fn new(b: &mut Builder, key: &str, channels: i64) -> Self {
        let gamma = b.add(format!("{key}.gamma"), &[channels], &Init::Constant(1.0));
        let beta = b.add(format!("{key}.beta"), &[channels], &Init::Constant(0.0));
        Self { gamma, beta }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        let channels = self.gamma.size()[0];
        x.transpose(1, 2).layer_norm([channels], Some(&self.gamma), Some(&self.beta), Self::EPS, true).transpose(1, 2)
    }
}
