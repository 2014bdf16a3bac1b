//! The functions that scripts can call: one file for each script module (three for `prepare`; sweep.rs has `trials`); each function converts, calls,
//! converts.
//!
//! [`Session`] (what a recipe runs in) and [`Fault`] (an error as scripts see it) are shared by all of them.

// The code that export_module generates needs the names of rhai::plugin, whichever they are in this version.
#![allow(clippy::wildcard_imports)]

mod array;
mod assets;
mod audio;
mod cache;
mod command;
mod config;
mod download;
mod fault;
mod globals;
mod jobs;
mod limits;
mod model;
mod prepare;
mod retrieval;
mod session;
mod survey;
mod sweep;
mod system;
pub mod text;
mod track;
mod train;
pub mod value;

pub use download::check_options as check_download_options;
pub use fault::{At, Fallible, Fault};
pub use jobs::check_options as check_job_options;
pub use model::{check_options as check_voice_options, check_settings as check_convert_settings};
pub use session::{Call, Child, Finder, Output, Script, Session, session};
pub use train::check_options as check_trainer_options;

use rhai::{Engine, combine_with_exported_module, exported_module};

/// Registers every native module and type with `engine`.
pub fn register(engine: &mut Engine) {
    fault::register(engine);
    array::register_names(engine);
    engine.register_global_module(exported_module!(array::api).into());
    engine.register_global_module(exported_module!(limits::api).into());
    engine.register_global_module(exported_module!(globals::api).into());
    engine.register_static_module("assets", exported_module!(assets::api).into());
    engine.register_static_module("audio", exported_module!(audio::api).into());
    engine.register_static_module("cache", exported_module!(cache::api).into());
    engine.register_static_module("config", exported_module!(config::api).into());
    engine.register_static_module("jobs", exported_module!(jobs::api).into());
    engine.register_static_module("model", exported_module!(model::api).into());
    let mut preparation = exported_module!(prepare::api);
    combine_with_exported_module!(&mut preparation, "download", download::api);
    combine_with_exported_module!(&mut preparation, "survey", survey::api);
    engine.register_static_module("prepare", preparation.into());
    engine.register_static_module("retrieval", exported_module!(retrieval::api).into());
    let mut machine = exported_module!(system::api);
    combine_with_exported_module!(&mut machine, "draws", sweep::draws);
    engine.register_static_module("system", machine.into());
    engine.register_static_module("track", exported_module!(track::api).into());
    engine.register_static_module("train", exported_module!(train::api).into());
    engine.register_static_module("trials", exported_module!(sweep::api).into());
}
