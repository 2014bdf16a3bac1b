//! From recordings to training data: results, reuse, refusals, all counted.

mod foreign;
mod kill;
mod list;
mod reuse;
mod room;
mod unusable;
