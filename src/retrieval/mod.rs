//! The retrieval index of a voice: its content features in cells (IVF-Flat), in FAISS's own file format.
//!
//! Conversion pulls every content frame of the input towards the frames of the voice that are nearest to it, so that the
//! result sounds less like the speaker of the input. RVC, Applio and w-okada open what [`build()`] writes; [`Index::read`] opens
//! what they wrote.
//!
//! ```text
//! 3_feature768/*.npy --frames--> [n, dim] --kmeans--> centres --build--> Index --file--> added_IVF<cells>_Flat_...index
//!                     (more than 200k frames are first reduced to 10k by kmeans)          |
//! content of the input --------------------------------------------------> ivf: search, blend
//! ```
//!
//! Source: spec H; FAISS (Johnson, Douze, Jégou 2017) for the structure.

mod build;
mod centres;
mod file;
mod frames;
mod ivf;
mod kmeans;

pub use build::{Built, Options, build, pair};

use crate::Result;
use std::path::Path;

/// Vectors in cells: each vector belongs to the nearest of the cells' centres, and a search looks into the nearest cells only.
///
/// Float32 and squared Euclidean distances throughout; vectors are known by their number, 0 to [`Index::len`] - 1.
pub struct Index {
    dim: usize,
    /// Cells that a search looks into.
    nprobe: usize,
    /// [cells, dim]
    centres: Vec<f32>,
    /// [n, dim], in order of the numbers.
    vectors: Vec<f32>,
    /// The numbers of the vectors of each cell.
    cells: Vec<Vec<u32>>,
}

impl Index {
    /// The index in a FAISS file of type IVF-Flat with L2 distances: what RVC, Applio and [`build()`] write.
    ///
    /// For trained_..., which holds the centres alone, the added_... beside it is read, as in RVC. Departure: RVC replaces the word wherever it
    /// stands in the path, also in the name of a voice and of folders.
    ///
    /// Every size is checked against the length of the file before memory is asked for; the numbers of the vectors must be 0
    /// to n - 1, each once, since RVC looks them up by row; every value must be finite.
    ///
    /// Errors: `file.not_found`, `file.read`; `data.damaged` for any other kind of index, and for a file that is cut off,
    /// altered or contradicts itself; the message says where.
    pub fn read(path: &Path) -> Result<Self> {
        file::read(&added(path))
    }

    /// Writes the index as FAISS's `write_index` does, to the last byte; whole or not at all.
    ///
    /// Errors: `file.write`, `file.disk_full`.
    pub fn write(&self, path: &Path) -> Result<()> {
        file::write(self, path)
    }

    /// Values of one vector: 256 (version 1) or 768.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.vectors.len() / self.dim
    }

    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// Number of cells, RVC's n_ivf.
    pub fn n_cells(&self) -> usize {
        self.cells.len()
    }

    /// The number of vectors in each cell.
    pub fn cell_sizes(&self) -> Vec<usize> {
        self.cells.iter().map(Vec::len).collect()
    }

    /// The centres of the cells, row-major [cells, dim].
    pub fn centres(&self) -> &[f32] {
        &self.centres
    }

    /// The vectors in order of their numbers, row-major [n, dim].
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    fn vector(&self, number: u32) -> &[f32] {
        &self.vectors[number as usize * self.dim..][..self.dim]
    }
}

/// The index of vectors that belongs to RVC's trained_..., which holds the centres alone: added_... beside it. `path` itself if it is called
/// otherwise, or if there is none.
fn added(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    let added =
        name.and_then(|name| name.strip_prefix("trained_")).map(|rest| path.with_file_name(format!("added_{rest}")));
    added.filter(|added| added.is_file()).unwrap_or_else(|| path.to_owned())
}
