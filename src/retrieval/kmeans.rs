//! k-means: Lloyd's iterations for the cells of an index, and one pass of mini-batches for more frames than fit into memory.
//!
//! Only distances are computed by libtorch, in blocks; means are plain sums in order of the rows, so that the same seed gives
//! the same centres on the same device.

use super::centres::Centres;
use crate::Result;
use crate::nn::{self, random::SplitMix};
use crate::task::{Stage, Task};
use tch::Device;

/// Number of Lloyd's iterations, as in FAISS; more hardly move the centres.
const ITERATIONS: u64 = 10;
/// How far the halves of a split cell are moved apart, as a part of each value (FAISS's value).
const SPLIT: f32 = 1.0 / 1024.0;

/// The context of every computation here.
#[derive(Clone, Copy)]
pub(super) struct Setup<'a> {
    pub task: &'a Task,
    pub device: Device,
    pub seed: i64,
}

/// `k` centres of the rows, and the centre nearest to each row.
///
/// Shapes: rows row-major [n, dim], n at least k -> [k, dim], [n]
pub(super) fn cells(setup: &Setup, rows: &[f32], dim: usize, k: usize) -> Result<(Vec<f32>, Vec<u32>)> {
    let n = rows.len() / dim;
    let mut centres = Vec::with_capacity(k * dim);
    for row in SplitMix::new(setup.seed, "cells").sample(n, k) {
        centres.extend_from_slice(&rows[row * dim..][..dim]);
    }
    let mut stage = setup.task.stage("index", (ITERATIONS + 1) * n as u64);
    let _in_stage = stage.enter();
    let mut nearest = assign(setup, &mut stage, rows, &centres, dim)?;
    for _ in 0..ITERATIONS {
        move_to_means(&mut centres, rows, dim, &nearest);
        let now = assign(setup, &mut stage, rows, &centres, dim)?;
        if std::mem::replace(&mut nearest, now) == nearest {
            break;
        }
    }
    stage.finish(format!("{n} frames in {k} cells"));
    Ok((centres, nearest))
}

/// The centre nearest to each row.
fn assign(setup: &Setup, stage: &mut Stage, rows: &[f32], centres: &[f32], dim: usize) -> Result<Vec<u32>> {
    let centres = nn::guard(|| Centres::new(centres, dim, setup.device))?;
    let mut nearest = Vec::with_capacity(rows.len() / dim);
    for block in rows.chunks(centres.block_rows() * dim) {
        setup.task.check()?;
        nearest.extend(nn::guard(|| centres.nearest(block, 1))?.into_iter().map(|number| number as u32));
        stage.advance((block.len() / dim) as u64, "");
    }
    Ok(nearest)
}

/// Moves every centre to the mean of its rows; one without rows gets half of the largest cell.
fn move_to_means(centres: &mut [f32], rows: &[f32], dim: usize, nearest: &[u32]) {
    let k = centres.len() / dim;
    let mut sums = vec![0.0f64; centres.len()];
    let mut counts = vec![0usize; k];
    for (row, &cell) in rows.chunks_exact(dim).zip(nearest) {
        counts[cell as usize] += 1;
        sums[cell as usize * dim..][..dim].iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    for ((centre, sums), &count) in centres.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)).zip(&counts) {
        if count > 0 {
            centre.iter_mut().zip(sums).for_each(|(c, sum)| *c = (sum / count as f64) as f32);
        }
    }
    for empty in 0..k {
        if counts[empty] > 0 {
            continue;
        }
        let largest = (0..k).max_by_key(|&cell| (counts[cell], std::cmp::Reverse(cell))).unwrap_or(empty);
        for i in 0..dim {
            let (value, shift) = (centres[largest * dim + i], if i % 2 == 0 { SPLIT } else { -SPLIT });
            centres[empty * dim + i] = value * (1.0 + shift);
            centres[largest * dim + i] = value * (1.0 - shift);
        }
        counts[empty] = counts[largest] / 2;
        counts[largest] -= counts[empty];
    }
}

/// Centres updated from batches of rows: each is the mean of the rows that were nearest to it (Sculley 2010).
pub(super) struct MiniBatch {
    dim: usize,
    centres: Vec<f32>,
    counts: Vec<u64>,
}

impl MiniBatch {
    /// `centres`: row-major [k, dim], rows of the data.
    pub(super) fn new(centres: Vec<f32>, dim: usize) -> Self {
        let counts = vec![0; centres.len() / dim];
        Self { dim, centres, counts }
    }

    /// Moves the centres towards the rows of a batch.
    pub(super) fn step(&mut self, setup: &Setup, stage: &mut Stage, rows: &[f32]) -> Result<()> {
        let dim = self.dim;
        let nearest = assign(setup, stage, rows, &self.centres, dim)?;
        for (row, cell) in rows.chunks_exact(dim).zip(nearest) {
            let count = &mut self.counts[cell as usize];
            *count += 1;
            let share = 1.0 / *count as f32;
            self.centres[cell as usize * dim..][..dim].iter_mut().zip(row).for_each(|(c, x)| *c += (x - *c) * share);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<f32> {
        self.centres
    }
}
