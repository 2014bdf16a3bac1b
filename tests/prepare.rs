//! From recordings to training data: what is made, what is reused, what is refused, counted.

#[path = "support/recordings.rs"]
mod recordings;

#[path = "prepare/foreign.rs"]
mod foreign;
#[path = "prepare/kill.rs"]
mod kill;
#[path = "prepare/list.rs"]
mod list;
#[path = "prepare/reuse.rs"]
mod reuse;
#[path = "prepare/room.rs"]
mod room;
#[path = "prepare/unusable.rs"]
mod unusable;
