//! The tests of the whole product in one program: a module an area, what they share in support/.
//!
//! They run beside each other in one process: a test that draws libtorch's random numbers itself holds `nn::generator::seeded`, one whose
//! sums must not change with the number of threads calls `support::one_thread`. Work that needs a process of its own starts this
//! program again: `support::only`.

mod assets;
mod audio;
mod batch;
mod cache;
mod cache_truth;
mod cli;
mod convert;
mod damaged;
mod download;
mod features;
mod first_hour;
mod flow;
mod formats;
mod guide;
mod hubert;
mod installed;
mod jobs;
mod layering;
mod lengths;
mod measure;
mod mlflow;
mod mlflow_real;
mod models;
mod options;
mod output;
mod pitch_networks;
mod prepare;
mod pretrained;
mod report;
mod retrieval;
mod rmvpe;
mod script;
mod search;
mod support;
mod sweep;
mod tensorboard;
mod torchfile;
mod track;
mod train;
mod voice;
