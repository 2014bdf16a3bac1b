//! An exponential moving average of the generator's weights, which does not influence the training.
//!
//! Single steps leave noise in the weights; their average over the last 1 / (1 − decay) steps has less of it.
//! Source: a ← a + (1 − d)(p − a) after each update t, d = min(decay, (1 + t) / (10 + t)): the bound of
//! TensorFlow's ExponentialMovingAverage, without which the initial weights stay in the average for thousands of steps.

use crate::nn::{self, Params, fused};
use crate::{Result, models::weights, torchfile::TorchFile};
use tch::Tensor;

/// The key of the number of updates in a file.
pub const UPDATES: &str = "updates";

/// The averages, in the order of the parameters.
pub struct Average {
    params: Vec<Tensor>,
    averages: Vec<Tensor>,
    /// As long as the longest of them: a swap allocates nothing, so it cannot run out of memory half-way.
    scratch: Tensor,
    decay: f64,
    updates: i64,
}

impl Average {
    /// An average that starts from the current weights. Errors: `device.memory`, `torch`.
    pub fn new(params: &Params, decay: f64) -> Result<Self> {
        let params = params.tensors();
        let (averages, scratch) = nn::guard(|| {
            tch::no_grad(|| {
                let longest = params.iter().map(|param| param.numel() as i64).max().unwrap_or(0);
                let scratch = params
                    .first()
                    .map_or_else(Tensor::new, |first| Tensor::empty([longest], (first.kind(), first.device())));
                (params.iter().map(Tensor::copy).collect(), scratch)
            })
        })?;
        Ok(Self { params, averages, scratch, decay, updates: 0 })
    }

    /// Restarts from the current weights. Errors: `torch`.
    pub fn restart(&mut self) -> Result<()> {
        self.updates = 0;
        fused::lerp(&self.averages, &self.params, 1.0)
    }

    /// Adds the weights after a step. Errors: `torch`.
    pub fn update(&mut self) -> Result<()> {
        let t = self.updates as f64;
        self.updates += 1;
        fused::lerp(&self.averages, &self.params, 1.0 - self.decay.min((1.0 + t) / (10.0 + t)))
    }

    /// The number of updates.
    pub fn updates(&self) -> i64 {
        self.updates
    }

    /// The result of `f` while the averages replace the network's weights; they are swapped back even if `f` fails.
    ///
    /// Errors: those of `f`; `device.memory`, `torch`.
    pub fn with_averaged_weights<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        self.swap()?;
        let result = f();
        self.swap()?;
        result
    }

    fn swap(&self) -> Result<()> {
        nn::guard(|| {
            tch::no_grad(|| {
                for (param, average) in self.params.iter().zip(&self.averages) {
                    let mut kept = self.scratch.narrow(0, 0, param.numel() as i64).view_as(param);
                    kept.copy_(param);
                    param.shallow_clone().copy_(average);
                    average.shallow_clone().copy_(&kept);
                }
            });
        })
    }

    /// Loads the averages from a file; `params` are the network's.
    ///
    /// Errors: `checkpoint.mismatch`, `checkpoint.damaged`; the average must not be used after an error.
    pub fn load(&mut self, file: &TorchFile, params: &Params) -> Result<()> {
        self.with_averaged_weights(|| weights::fill(file, "model", params).map(drop))?;
        self.updates = file.float(&[UPDATES]).unwrap_or(0.0) as i64;
        Ok(())
    }
}
