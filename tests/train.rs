//! Training: the step against the reference, data set and order, checkpoints and resume, exported voices, train.log.

#[path = "support/python.rs"]
mod python;
mod support;
#[path = "support/voice.rs"]
mod voice;

#[path = "train/average.rs"]
mod average;
#[path = "train/curve.rs"]
mod curve;
#[path = "train/data.rs"]
mod data;
#[path = "train/files.rs"]
mod files;
#[path = "train/foreign.rs"]
mod foreign;
#[path = "train/pretrained.rs"]
mod pretrained;
#[path = "train/resume.rs"]
mod resume;
#[path = "train/room.rs"]
mod room;
