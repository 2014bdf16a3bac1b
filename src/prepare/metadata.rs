//! cache_metadata.json: which files in logs/<voice> rvc-run wrote, and what they were made from.
//!
//! The first three keys are those of the Python guide. `cache_key` there was a hash of names, sizes and times;
//! here it is one of contents and settings. Nothing depends on it: if this file is lost, the folders are searched.

use super::FILE_LIST;
use crate::files;
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const FILE: &str = "cache_metadata.json";
/// 1 was the guide's file with only the three keys.
const SCHEMA: u32 = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    /// Digest of the recordings and the settings; empty while the preparation is not complete.
    pub cache_key: String,
    /// Unix seconds of the last change.
    pub timestamp: f64,
    pub preprocessing_params: Map<String, Value>,
    pub schema: u32,
    pub tool_version: String,
    /// Digest of every clip with its files and settings; empty while the preparation is not complete.
    pub content_root: String,
    pub speakers: Vec<String>,
    /// The recordings that produced clips.
    pub files: Vec<SourceRecord>,
    /// Path below logs/<voice> -> SHA-256: every file that rvc-run wrote and may remove.
    pub outputs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceRecord {
    /// Below the voice's folder of recordings.
    pub path: String,
    /// Digest of its bytes.
    pub raw_id: String,
    /// Digest of the sound in it; empty in old files.
    #[serde(default)]
    pub pcm_id: String,
    pub sid: i64,
    pub slices: Vec<String>,
}

/// The digest of the encoder that made the content of the file list in `logs`; None for a list that rvc-run did not write.
pub fn content_digest(logs: &Path) -> Option<String> {
    Some(of_list(logs)?.preprocessing_params.get("content_digest")?.as_str()?.to_owned())
}

/// The names of the speakers of the file list in `logs`, by number; empty for a single speaker, or for a list that rvc-run did not write.
/// The speaker of recordings outside subfolders has the voice's name.
pub fn speakers(logs: &Path) -> Vec<String> {
    let voice = logs.file_name().unwrap_or_default().to_string_lossy();
    let names = of_list(logs).map(|metadata| metadata.speakers).unwrap_or_default();
    let name = |name: String| if name.is_empty() { voice.clone().into_owned() } else { name };
    if names.len() > 1 { names.into_iter().map(name).collect() } else { Vec::new() }
}

/// The record of the file list in `logs`; None if the list is not as it was written.
fn of_list(logs: &Path) -> Option<Metadata> {
    let metadata: Metadata = serde_json::from_value(files::read_json(&logs.join(FILE)).ok()?).ok()?;
    let list = FILE_LIST;
    let ours = files::digest_file(&logs.join(list)).ok()?;
    (metadata.outputs.get(list) == Some(&ours)).then_some(metadata)
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            cache_key: String::new(),
            timestamp: 0.0,
            preprocessing_params: Map::new(),
            schema: SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            content_root: String::new(),
            speakers: Vec::new(),
            files: Vec::new(),
            outputs: BTreeMap::new(),
        }
    }
}

impl Metadata {
    /// The file's content; empty if it is missing or, with a warning, damaged.
    ///
    /// Errors: `file.read`.
    pub fn load(task: &Task, logs: &Path) -> Result<Self> {
        let path = logs.join(FILE);
        // A folder or a pipe of that name is damage as well.
        let is_other = path.exists() && !path.is_file();
        let value = match if is_other { Ok(Value::Null) } else { files::read_json(&path) } {
            Ok(value) => value,
            Err(e) if e.kind() == Kind::NotFound => return Ok(Self::default()),
            Err(e) if e.kind() == Kind::DataDamaged => Value::Null,
            Err(e) => return Err(e),
        };
        // A file of the Python tools has only the three keys: not damaged, but not useful here.
        if value.get("cache_key").is_some() && value.get("schema").is_none() {
            return Ok(Self::default());
        }
        match serde_json::from_value::<Self>(value) {
            Ok(metadata) if metadata.schema == SCHEMA => Ok(metadata),
            _ => {
                task.warn(format!("{} is damaged; the folders are searched instead", path.display()));
                Ok(Self::default())
            }
        }
    }

    /// Writes the file unless only its program, time and device have changed.
    pub fn save(&self, logs: &Path, old: &Self) -> Result<()> {
        let path = logs.join(FILE);
        if path.is_file() && self.like(old) == *old {
            return Ok(());
        }
        let mut new = self.clone();
        new.timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut text = serde_json::to_string_pretty(&new).map_err(|e| {
            Error::new(Kind::Internal, format!("{} cannot be written as JSON: {e}", path.display())).source(e)
        })?;
        text.push('\n');
        files::write(&path, text)
    }

    /// This, with `old`'s values in the fields that may differ although nothing has changed.
    fn like(&self, old: &Self) -> Self {
        let mut same = self.clone();
        same.timestamp = old.timestamp;
        same.tool_version.clone_from(&old.tool_version);
        if let (Some(new), Some(old)) = (same.preprocessing_params.get_mut("gpu"), old.preprocessing_params.get("gpu"))
        {
            new.clone_from(old);
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_an_editor_of_windows_saved_is_read_as_any_other() {
        let folder = tempfile::tempdir().unwrap();
        files::write(&folder.path().join(FILE_LIST), "a list").unwrap();
        let mut record = Metadata { speakers: vec!["Анна".into()], ..Metadata::default() };
        record.outputs.insert(FILE_LIST.into(), files::digest("a list"));
        record.preprocessing_params.insert("content_digest".into(), "mel-1".into());
        let text = serde_json::to_string_pretty(&record).unwrap();
        let utf16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            [mark, &text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>()].concat()
        };
        for bytes in [
            text.clone().into_bytes(),
            [b"\xef\xbb\xbf", text.replace('\n', "\r\n").as_bytes()].concat(),
            utf16(b"\xff\xfe", u16::to_le_bytes),
            utf16(b"\xfe\xff", u16::to_be_bytes),
            utf16(b"", u16::to_le_bytes),
            [text.as_bytes(), &[0; 100]].concat(),
        ] {
            files::write(&folder.path().join(FILE), bytes).unwrap();
            assert_eq!(content_digest(folder.path()).as_deref(), Some("mel-1"));
            assert_eq!(Metadata::load(&Task::silent(), folder.path()).unwrap(), record);
        }
    }
}
