//! Self-attention with learned embeddings of near relative positions (Shaw et al. 2018, windowed as in VITS).
//!
//! With query i, key j, window w and d = j - i:
//!
//! ```text
//! score_ij = q_i . k_j / sqrt(c) + [|d| <= w] q_i / sqrt(c) . E_k[d + w]
//! out_i    = sum_j p_ij v_j      + sum_{|d| <= w} p_ij E_v[d + w]
//! ```
//!
//! The reference expands both embeddings to 2T - 1 positions. Here only the band of 2w + 1 diagonals is computed; moving the
//! band between its own layout [T, 2w + 1] and the diagonals of [T, T] is padding and a change of row length:
//!
//! ```text
//! band, each row padded with T zeros     the same numbers, rows one shorter     columns w .. w + T
//!   a b c 0 0 0                            a b c 0 0                              b c 0
//!   d e f 0 0 0                            0 d e f 0                              d e f
//!   g h i 0 0 0                            0 0 g h i                              0 g h
//! ```

use crate::nn::conv::{Conv, Shape};
use crate::nn::params::{Builder, Init};
use tch::{Kind, Tensor};

/// Multi-head self-attention over [batch, channels, frames].
pub struct RelativeAttention {
    emb_rel_k: Tensor,
    emb_rel_v: Tensor,
    conv_q: Conv,
    conv_k: Conv,
    conv_v: Conv,
    conv_o: Conv,
    heads: i64,
}

impl RelativeAttention {
    /// Positions on either side that have an embedding.
    pub const WINDOW: i64 = 10;
    /// The score of a masked pair; not minus infinity, so that a row without any frame stays finite.
    const MASKED: f64 = -1e4;

    pub fn new(b: &mut Builder, key: &str, channels: i64, heads: i64) -> Self {
        let head = channels / heads;
        let near = [1, 2 * Self::WINDOW + 1, head];
        let init = Init::Normal(1.0 / (head as f64).sqrt());
        let emb_rel_k = b.add(format!("{key}.emb_rel_k"), &near, &init);
        let emb_rel_v = b.add(format!("{key}.emb_rel_v"), &near, &init);
        let shape = Shape::new(channels, channels, 1);
        let xavier = Init::Uniform((6.0 / (2 * channels) as f64).sqrt());
        let mut conv = |name: &str| Conv::plain_with(b, &format!("{key}.{name}"), shape, &xavier);
        let (conv_q, conv_k, conv_v) = (conv("conv_q"), conv("conv_k"), conv("conv_v"));
        let conv_o = Conv::plain(b, &format!("{key}.conv_o"), shape);
        Self { emb_rel_k, emb_rel_v, conv_q, conv_k, conv_v, conv_o, heads }
    }

    /// Shapes: xs [batch, channels, frames], masked: bool [batch, 1, frames, frames] -> [batch, channels, frames]
    pub fn forward(&self, xs: &Tensor, masked: &Tensor) -> Tensor {
        let (batch, channels, frames) = xs.size3().expect("attention takes [batch, channels, frames]");
        let head = channels / self.heads;
        let split = |x: Tensor| x.view([batch, self.heads, head, frames]).transpose(2, 3);
        let q = split(self.conv_q.forward(xs)) / (head as f64).sqrt();
        let k = split(self.conv_k.forward(xs));
        let v = split(self.conv_v.forward(xs));
        let near = q.matmul(&self.emb_rel_k.transpose(1, 2));
        // In place: nothing before the softmax needs its own result for the gradient, and [T, T] is the largest tensor here.
        let mut scores = q.matmul(&k.transpose(2, 3));
        scores += to_diagonals(&near, Self::WINDOW);
        let p = scores.masked_fill_(masked, Self::MASKED).softmax(-1, Kind::Float);
        let out = p.matmul(&v) + from_diagonals(&p, Self::WINDOW).matmul(&self.emb_rel_v);
        self.conv_o.forward(&out.transpose(2, 3).reshape([batch, channels, frames]))
    }
}

/// [.., T, 2w + 1] -> [.., T, T]: the band on its diagonals, zero elsewhere.
fn to_diagonals(band: &Tensor, w: i64) -> Tensor {
    let (b, h, t, width) = band.size4().expect("a band is [batch, heads, frames, 2w + 1]");
    band.constant_pad_nd([0, t])
        .view([b, h, t * (width + t)])
        .narrow(2, 0, t * (width + t - 1))
        .view([b, h, t, width + t - 1])
        .narrow(3, w, t)
}

/// [.., T, T] -> [.., T, 2w + 1]: the diagonals near the middle, zero outside the matrix.
fn from_diagonals(p: &Tensor, w: i64) -> Tensor {
    let (b, h, t, _) = p.size4().expect("weights are [batch, heads, frames, frames]");
    let width = 2 * w + 1;
    // One more row of zeros gives the reshaped rows, one longer each, enough numbers.
    p.constant_pad_nd([w, w, 0, 1])
        .view([b, h, (t + 1) * (t + 2 * w)])
        .narrow(2, 0, t * (t + width))
        .view([b, h, t, t + width])
        .narrow(3, 0, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_moves_to_its_diagonals_and_back() {
        for t in [1, 2, 5, 30] {
            let w = 2;
            let band = Tensor::randn([2, 3, t, 2 * w + 1], tch::kind::FLOAT_CPU);
            let full = to_diagonals(&band, w);
            assert_eq!(full.size(), [2, 3, t, t]);
            for i in 0..t {
                for j in 0..t {
                    let inside = (j - i).abs() <= w;
                    let expected = if inside { band.double_value(&[1, 2, i, j - i + w]) } else { 0.0 };
                    assert!((full.double_value(&[1, 2, i, j]) - expected).abs() < f64::EPSILON, "t {t} i {i} j {j}");
                }
            }
            let back = from_diagonals(&full, w);
            assert!(to_diagonals(&back, w).equal(&full));
        }
    }
}
