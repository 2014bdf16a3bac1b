//! Training: the step against the reference, data set and order, checkpoints and resume, exported voices, train.log.

mod average;
mod curve;
mod data;
mod files;
mod foreign;
mod pretrained;
mod resume;
mod room;
