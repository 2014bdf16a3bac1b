//! Finds the nearest of many centres for many rows, by matrix products in blocks of bounded size.

use tch::{Device, Kind, Tensor};

/// Values in one block of distances, [rows, centres]: 64 MB. Larger blocks are not faster.
const BLOCK: usize = 1 << 24;
/// Most rows of one block.
const MOST_ROWS: usize = 1 << 13;

/// Centres, laid out for products with rows.
pub(super) struct Centres {
    dim: usize,
    n: usize,
    /// -2 c, [dim, n]
    factors: Tensor,
    /// |c|², [n]
    squares: Tensor,
}

impl Centres {
    /// `centres`: row-major [n, dim], n at least 1.
    pub(super) fn new(centres: &[f32], dim: usize, device: Device) -> Self {
        let n = centres.len() / dim;
        let centres = matrix(centres, dim, device);
        let squares = centres.square().sum_dim_intlist(1i64, false, Kind::Float);
        Self { dim, n, factors: (centres * -2.0).tr(), squares }
    }

    /// The number of rows per call of [`Self::nearest`].
    pub(super) fn block_rows(&self) -> usize {
        (BLOCK / self.n).clamp(1, MOST_ROWS)
    }

    /// The numbers of the `k` nearest centres of each row, nearest first.
    ///
    /// Shapes: rows row-major [m, dim] -> [m, k]; k is at most the number of centres. Panics as tch does.
    pub(super) fn nearest(&self, rows: &[f32], k: usize) -> Vec<i64> {
        tch::no_grad(|| {
            // |x - c|² without |x|², which is the same for every centre.
            let distances = self.squares.addmm(&matrix(rows, self.dim, self.factors.device()), &self.factors);
            let nearest = if k == 1 { distances.argmin(1, false) } else { distances.topk(k as i64, 1, false, true).1 };
            let mut numbers = vec![0; rows.len() / self.dim * k];
            let n = numbers.len();
            nearest.to_device(Device::Cpu).contiguous().copy_data(&mut numbers, n);
            numbers
        })
    }
}

fn matrix(rows: &[f32], dim: usize, device: Device) -> Tensor {
    Tensor::from_slice(rows).view([-1, dim as i64]).to_device(device)
}
