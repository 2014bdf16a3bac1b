//! Training: the data set and its batches, one step, the epoch loop's parts, checkpoints, exported voices, train.log.
//!
//! File list -> [`data`] -> batches -> [`step`] (networks, losses, AdamW) -> [`trainer`] -> G_/D_ files, train.log, voice.

pub mod adopt;
pub mod average;
pub mod checkpoint;
pub mod config_json;
pub mod data;
pub mod export;
pub mod foreign;
mod holdout;
pub mod log;
pub mod loss;
pub mod optim;
pub mod order;
pub mod pretrained;
mod python;
pub mod room;
pub mod step;
pub mod trainer;

pub use data::{Dataset, dataset};
pub use optim::learning_rate;
pub use trainer::{Judge, Metrics, StepReport, Trainer};
