//! Voice files: the small ones that RVC WebUI, Applio and w-okada exchange (spec G.3). Writes, opens, extracts from a
//! generator's checkpoint, merges, describes and edits them.

mod beside;
mod describe;
mod edit;
mod extract;
mod header;
mod merge;
mod read;
mod variant;
mod write;

pub use beside::{Beside, experiment, fills_unvoiced, names};
pub use describe::describe;
pub use edit::set_info;
pub use extract::extract;
pub use header::Speakers;
pub use merge::merge;
pub use read::Voice;
pub use variant::variant;
pub use write::{About, embedder_model, speaker_info, write};

use crate::{Result, files};
use serde_json::{Map, Value as Json, json};
use std::path::Path;

/// Keys of RVC's voices, in RVC's order.
const KEYS: [&str; 6] = ["weight", "config", "info", "sr", "f0", "version"];

/// Keys of the weights in a file: an exported voice, a checkpoint, a bare state dict.
const WRAPPERS: [&str; 3] = ["weight", "model", ""];

/// A model card that names the program.
pub fn card() -> Map<String, Json> {
    Map::from_iter([("tool".to_owned(), json!(format!("rvc-run {}", env!("CARGO_PKG_VERSION"))))])
}

/// A file's entry in a model card, without its folder. Errors: `file.read`.
fn source(path: &Path) -> Result<Json> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(json!({ "name": name, "sha256": files::digest_file(path)? }))
}
