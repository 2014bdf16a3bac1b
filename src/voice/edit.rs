//! The text in a voice.

use crate::torchfile::{self, Value};
use crate::{Error, Kind, Result};
use std::path::Path;

/// Writes the voice `path` to `out` (which may be the same file) with another "info"; all other entries stay unchanged.
///
/// Errors: `checkpoint.mismatch` if it is not an exported voice; `checkpoint.damaged`, `file.*`.
pub fn set_info(path: &Path, info: &str, out: &Path) -> Result<()> {
    let file = torchfile::read(path)?;
    let no_voice = || {
        Error::new(Kind::CheckpointMismatch, format!("{} is not an exported voice", path.display()))
            .path(path)
            .hint("a voice has \"weight\" and \"config\"; extract one from a G_ checkpoint first")
    };
    if file.entries(&["weight"]).is_none() || file.entries(&["config"]).is_none() {
        return Err(no_voice());
    }
    let (Value::Dict(mut pairs) | Value::Ordered(mut pairs)) = file.whole()? else { return Err(no_voice()) };
    let named = |key: &Value| matches!(key, Value::Text(text) if text == "info");
    match pairs.iter_mut().find(|(key, _)| named(key)) {
        Some((_, value)) => *value = Value::text(info),
        None => pairs.push((Value::text("info"), Value::text(info))),
    }
    torchfile::write(out, &Value::Ordered(pairs))
}
