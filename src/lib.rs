//! rvc-run: a native engine for training RVC (Retrieval-based Voice Conversion) voices, driven by Rhai recipes.
//!
//! Layers; each may use only what stands lower (tests/layering.rs reads the `use crate::` lines and checks it):
//!
//! ```text
//! cli                         the program: commands, terminal, exit codes (the only place that prints or exits)
//! script                      engine, parameters, checker, diagnostics, docs
//! script::bind                one file a script module: convert, call, convert
//! convert                     recordings into a voice; how good the result is
//! prepare  doctor  report     recordings -> slices -> f0, content -> filelist, through the cache; what this machine has; a run as a page
//! train  features  retrieval  download   training; f0 and content features; the index of a voice's features; recordings from links
//! voice                       the file of a voice: written, extracted, merged, described
//! models                      synthesizer, vocoder, discriminator
//! nn  torchfile  npy          libtorch helpers, spectra; PyTorch files; NumPy files
//! audio  cache  track  assets  jobs  sweep   sound; content-addressed stages; run record; pretrained files; child runs: local slots and GPUs, Slurm; searches over settings, pure
//! config                      every setting of the flow, its default and its range
//! room  eject  process        whether what will be written fits on its disk; the program's scripts into a workspace; other programs, with all that they start
//! files  task  memory  address  duration  given  shell  recognise  shown   whole-or-not-at-all files, workspace paths; cancel, progress, worker pool; memory of the process; addresses and lengths of time as they are shown; JSON into structs; words of a shell; what a file is; foreign text as it is shown
//! text  shipped  guide        bytes of any program and system as text; the scripts and the speech that the program carries; the guides, one topic each
//! error                       Error, Kind, Result
//! ```
//!
//! Siblings on a line do not import each other.

pub mod address;
pub mod assets;
pub mod audio;
pub mod cache;
pub mod config;
pub mod convert;
pub mod doctor;
pub mod download;
pub mod duration;
pub mod eject;
pub mod error;
pub mod features;
pub mod files;
pub mod given;
pub mod guide;
pub mod jobs;
pub mod memory;
pub mod models;
pub mod nn;
pub mod npy;
pub mod prepare;
pub mod process;
pub mod recognise;
pub mod report;
pub mod retrieval;
pub mod room;
pub mod script;
pub mod shell;
pub mod shipped;
pub mod shown;
pub mod sweep;
pub mod task;
pub mod text;
pub mod torchfile;
pub mod track;
pub mod train;
pub mod voice;

pub use error::{Error, Kind, Result};
