//! The features of a clip that a voice model uses: f0 and content, both from 16 kHz samples.
//!
//! A recipe's `f0_method` and `content_encoder` choose an [`f0::Extractor`] and a [`content::Encoder`]. Both process many
//! clips at once, so that a network (RMVPE, HuBERT) loads its weights once and fills batches, while
//! the signal processing methods spread over the worker pool. All results are the same on every run and with any number
//! of threads.

mod batches;
pub mod content;
pub mod f0;
mod models;

pub use crate::npy;
pub use models::{Models, Setup, any_network};

use crate::task::Task;
use crate::{Error, Kind, Result};

/// The rate at which every feature is computed, in Hz.
pub const SAMPLE_RATE: usize = 16_000;

/// Samples as float64. Errors: `data.damaged` names the first sample that is NaN or infinite.
fn finite(samples: &[f32]) -> Result<Vec<f64>> {
    if let Some(i) = samples.iter().position(|x| !x.is_finite()) {
        let message = format!("sample {i} of {} is {}", samples.len(), samples[i]);
        return Err(Error::new(Kind::DataDamaged, message).hint("prepare the clip again from an intact recording"));
    }
    Ok(samples.iter().map(|x| f64::from(*x)).collect())
}

/// Calls `done` with each clip's feature, in order, one clip at a time on each worker.
fn each_clip<C: Sync, F, R: Send>(
    task: &Task,
    stage: &str,
    clips: &[C],
    load: impl Fn(&C) -> Result<Vec<f32>> + Sync,
    compute: impl Fn(&[f32]) -> Result<F> + Sync,
    done: impl Fn(&C, Result<F>) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    task.map(stage, clips, |clip| done(clip, load(clip).and_then(|samples| compute(&samples))))
}
