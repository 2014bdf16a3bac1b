//! The script host: one engine for running, checking and documenting recipes.
//!
//! ```text
//! recipe text -> engine (compile) -> check (all mistakes, nothing runs) -> rows (PARAMS) -> params (flags, values) -> run
//!                                        |                                          import -> resolver -> library
//!                                        v                                                               (stdlib)
//!                                    diagnostic (file:line:column, the line, caret, call chain, hint)
//! ```
//!
//! `habits` explains syntax of other languages. `bind` holds the functions that scripts can call. Only this folder knows Rhai, and nothing in it prints.

pub mod bind;
pub mod catalog;
pub mod check;
pub mod diagnostic;
pub mod docs;
pub mod engine;
pub mod flags;
mod habits;
pub mod library;
pub mod native;
pub mod params;
mod resolver;
mod rows;
pub mod run;
mod sources;
pub mod usage;
mod written;

pub use bind::{Call, Child, Output, Script, Session};
pub use diagnostic::Diagnostic;
pub use engine::Host;
