//! The retrieval index of a voice: its content features in cells (IVF-Flat), in FAISS's own file format.
//!
//! Conversion pulls every content frame of the input towards the nearest frames of the voice, so that the
//! result sounds less like the speaker of the input. RVC, Applio and w-okada open the files of [`build()`]; [`Index::read`] opens
//! theirs.
//!
//! ```text
//! 3_feature768/*.npy --frames--> [n, dim] --kmeans--> centres --build--> Index --file--> added_IVF<cells>_Flat_...index
//!                     (more than 200k frames are first reduced to 10k by kmeans)          |
//! content of the input --------------------------------------------------> ivf: search, blend
//! ```
//!
//! Source: spec H; FAISS (Johnson, Douze, Jégou 2017) for the structure.
//!
//! Written here: crate faiss binds the C++ library, with BLAS and OpenMP to build and to ship, for one kind of index.

mod build;
mod centres;
mod file;
mod frames;
mod ivf;
mod kmeans;

pub use build::{Built, Options, build, pair};

use crate::Result;
use std::path::Path;

/// Vectors in cells: each vector belongs to the cell with the nearest centre, and a search reads only the nearest cells.
///
/// Float32 and squared Euclidean distances throughout; vectors are numbered 0 to [`Index::len`] - 1.
pub struct Index {
    dim: usize,
    /// Number of cells that a search reads.
    nprobe: usize,
    /// [cells, dim]
    centres: Vec<f32>,
    /// [n, dim], in order of the numbers.
    vectors: Vec<f32>,
    /// The numbers of the vectors of each cell.
    cells: Vec<Vec<u32>>,
}

impl Index {
    /// Reads a FAISS file of type IVF-Flat with L2 distances, the type of RVC, Applio and [`build()`].
    ///
    /// For trained_..., which holds only the centres, it reads the added_... beside it, as RVC does. Departure: RVC replaces the word
    /// anywhere in the path, also in the name of a voice and of folders.
    ///
    /// Every size is checked against the length of the file before memory is allocated; the numbers of the vectors must be 0
    /// to n - 1, each once, since RVC looks them up by row; every value must be finite.
    ///
    /// Errors: `file.not_found`, `file.read`; `data.damaged` for any other kind of index, and for a file that is cut off,
    /// changed or inconsistent; the message says where.
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

/// The index with vectors for RVC's trained_..., which holds only the centres: added_... beside it. `path` itself if it has another
/// name, or if it does not exist.
fn added(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    let added =
        name.and_then(|name| name.strip_prefix("trained_")).map(|rest| path.with_file_name(format!("added_{rest}")));
    added.filter(|added| added.is_file()).unwrap_or_else(|| path.to_owned())
}
