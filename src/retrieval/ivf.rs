//! Searches an index, and blends content features with the vectors found (spec H.3).

use super::Index;
use super::centres::Centres;
use crate::{Error, Kind, Result, nn};
use tch::Device;

/// Number of neighbours in the blend of a frame, as in RVC.
const NEIGHBOURS: usize = 8;

impl Index {
    /// The `k` nearest vectors of each query, nearest first, in the `nprobe` nearest cells (RVC writes 1).
    ///
    /// If fewer are found, the number is -1 and the distance `f32::MAX`, as in FAISS; also for a query with a value
    /// that is not finite. Equal distances are ordered by number.
    ///
    /// Shapes: queries row-major [m, dim] -> numbers [m, k], squared Euclidean distances [m, k]
    pub fn search(&self, queries: &[f32], k: usize) -> (Vec<i64>, Vec<f32>) {
        let m = queries.len() / self.dim;
        let (mut ids, mut distances) = (vec![-1; m * k], vec![f32::MAX; m * k]);
        if k == 0 {
            return (ids, distances);
        }
        let centres = Centres::new(&self.centres, self.dim, Device::Cpu);
        let nprobe = self.nprobe.min(self.n_cells());
        let block = centres.block_rows();
        let found = ids.chunks_mut(k * block).zip(distances.chunks_mut(k * block));
        for (queries, (ids, distances)) in queries[..m * self.dim].chunks(block * self.dim).zip(found) {
            let cells = centres.nearest(queries, nprobe);
            let queries = queries.chunks_exact(self.dim).zip(cells.chunks_exact(nprobe));
            let found = ids.chunks_exact_mut(k).zip(distances.chunks_exact_mut(k));
            for ((query, cells), (ids, distances)) in queries.zip(found) {
                for &cell in cells {
                    self.search_cell(cell as usize, query, ids, distances);
                }
            }
        }
        (ids, distances)
    }

    /// Merges the vectors of a cell into the sorted list of the nearest so far.
    fn search_cell(&self, cell: usize, query: &[f32], ids: &mut [i64], distances: &mut [f32]) {
        let last = ids.len() - 1;
        for &number in &self.cells[cell] {
            let (id, distance) = (i64::from(number), squared_distance(query, self.vector(number)));
            let before = |i: usize| (distance, id) < (distances[i], ids[i]);
            // Also false if the distance is NaN.
            if !before(last) {
                continue;
            }
            let at = (0..last).find(|&i| before(i)).unwrap_or(last);
            ids[at..].rotate_right(1);
            distances[at..].rotate_right(1);
            (ids[at], distances[at]) = (id, distance);
        }
    }

    /// Blends every frame with the mean of its 8 nearest vectors, in place: `index_rate` of the mean, the rest of the frame.
    ///
    /// The mean is weighted by 1 / distance² (of the squared distance). Departures from RVC, where both give NaN: a frame equal
    /// to a vector is blended with that vector, and a frame with an empty cell stays unchanged.
    ///
    /// Shapes: features row-major [frames, dim]. Units: index_rate 0..=1.
    /// Errors: `config.value` for another rate; `config.mismatch` if the features are not whole frames of [`Self::dim`] values;
    /// `device.memory`.
    /// Source: spec H.3.
    pub fn blend(&self, features: &mut [f32], index_rate: f32) -> Result<()> {
        if !(0.0..=1.0).contains(&index_rate) {
            let message = format!("index_rate is {index_rate}, but must be between 0 and 1");
            return Err(Error::new(Kind::ConfigValue, message));
        }
        if !features.len().is_multiple_of(self.dim) {
            let message =
                format!("the index has vectors of {} values, but {} values were given", self.dim, features.len());
            return Err(Error::new(Kind::ConfigMismatch, message)
                .hint("use the index that was built with this voice, of the same version"));
        }
        if index_rate == 0.0 {
            return Ok(());
        }
        let (ids, distances) = nn::guard(|| self.search(features, NEIGHBOURS))?;
        let found = ids.chunks_exact(NEIGHBOURS).zip(distances.chunks_exact(NEIGHBOURS));
        for (frame, (ids, distances)) in features.chunks_exact_mut(self.dim).zip(found) {
            let weights = weights(ids, distances);
            if weights.iter().all(|&w| w == 0.0) {
                continue;
            }
            for x in frame.iter_mut() {
                *x *= 1.0 - index_rate;
            }
            for (&id, weight) in ids.iter().zip(weights).filter(|(_, w)| *w > 0.0) {
                let share = index_rate * weight;
                frame.iter_mut().zip(self.vector(id as u32)).for_each(|(x, v)| *x += share * v);
            }
        }
        Ok(())
    }
}

/// The share of each neighbour in the mean; all 0 without neighbours.
fn weights(ids: &[i64], distances: &[f32]) -> [f32; NEIGHBOURS] {
    // In float64 the smallest float32 distance above 0 still has a finite weight.
    let exact = distances[0] == 0.0;
    let mut weights = [0.0; NEIGHBOURS];
    for (weight, (&id, &distance)) in weights.iter_mut().zip(ids.iter().zip(distances)) {
        *weight = match f64::from(distance) {
            _ if id < 0 => 0.0,
            0.0 => 1.0,
            _ if exact => 0.0,
            d => (1.0 / d).powi(2),
        };
    }
    let sum: f64 = weights.iter().sum();
    weights.map(|w| if w > 0.0 { (w / sum) as f32 } else { 0.0 })
}

/// |a - b|², as eight sums that the compiler keeps in vector registers.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
}
