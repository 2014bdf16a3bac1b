//! From recordings to training data: what is made, what is reused, what is refused, counted.

mod foreign;
mod kill;
mod list;
mod reuse;
mod room;
mod unusable;
