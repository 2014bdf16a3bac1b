//! The stamp of a file in an artefact's line, so that a later copy is of that file and not of its successor.

use serde_json::{Value, json};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Size and time of the last change (Unix nanoseconds); null for a missing file.
pub(super) fn stamp(file: &Path) -> Value {
    let Ok(metadata) = std::fs::metadata(file) else { return Value::Null };
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    json!([metadata.len(), changed.map_or(0, |time| time.as_nanos() as u64)])
}

/// Whether the file is still the one that the line recorded. Lines of older versions without a stamp are trusted.
pub(super) fn is_recorded(line: &Value, file: &Path) -> bool {
    line["stamp"].is_null() || line["stamp"] == stamp(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_again_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("train.log");
        std::fs::write(&file, "one").unwrap();
        let line = json!({ "stamp": stamp(&file) });
        assert!(is_recorded(&line, &file) && is_recorded(&json!({}), &file));
        std::fs::write(&file, "three").unwrap();
        assert!(!is_recorded(&line, &file));
        std::fs::remove_file(&file).unwrap();
        assert!(!is_recorded(&line, &file));
    }
}
