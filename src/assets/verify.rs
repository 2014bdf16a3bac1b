//! Whether the content of assets is what their names promise.

use super::Store;
use super::catalog::File;
use super::part::beside;
use crate::files;
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is known about the content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has a digest of the catalog.
    Good,
    /// The catalog has no digest of it; it is what was fetched first.
    AsFetched,
    /// Nothing is known that it could be compared with.
    Unknown {
        got: String,
    },
    Damaged {
        expected: String,
        got: String,
    },
    /// Other files of its asset are there, or a folder of its name.
    Missing,
}

/// One file of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub name: String,
    pub path: PathBuf,
    pub state: State,
}

/// What was written down beside a file that could not be verified when it was fetched.
#[derive(Serialize, Deserialize)]
struct Note {
    sha256: String,
}

/// The digest that `path` was fetched with, for later. Errors: `file.write`.
pub(super) fn remember(path: &Path, digest: &str) -> Result<()> {
    let json = serde_json::to_vec(&Note { sha256: digest.to_owned() }).unwrap_or_default();
    files::write(&beside(path, ".fetched.json"), json)
}

/// Reads the file at `path` against what is known of `file`. Errors: `file.read`; `asset.damaged` for an unreadable note.
pub fn file(file: &File, path: &Path) -> Result<State> {
    let got = files::digest_file(path)?;
    let known = file.digests();
    if known.contains(&got.as_str()) {
        return Ok(State::Good);
    }
    let source = file.source.as_ref();
    // What is fetched may have any content where the catalog has no digest of it, whatever else is known.
    if source.is_some_and(|source| source.sha256.is_none()) {
        return noted(path).map(|noted| compare(noted, got));
    }
    Ok(State::Damaged { expected: known.join(" or "), got })
}

fn compare(noted: Option<String>, got: String) -> State {
    match noted {
        Some(expected) if expected == got => State::AsFetched,
        Some(expected) => State::Damaged { expected, got },
        None => State::Unknown { got },
    }
}

fn noted(path: &Path) -> Result<Option<String>> {
    let note = beside(path, ".fetched.json");
    if !note.exists() {
        return Ok(None);
    }
    let parsed: Note = serde_json::from_slice(&files::read(&note)?).map_err(|e| {
        Error::new(Kind::AssetDamaged, format!("{} cannot be read: {e}", note.display()))
            .path(&note)
            .hint("delete it and the file beside it, and fetch again")
    })?;
    Ok(Some(parsed.sha256))
}

/// Every file of the named assets that are on this machine, whole or in part, read against what is known of it.
///
/// Errors: `config.value` for an unknown name, `file.read`, `cancelled`. A damaged or missing file is no error here.
pub fn verify(store: &Store, names: &[String], task: &Task) -> Result<Vec<Checked>> {
    let mut found = Vec::new();
    for name in names {
        let asset = store.catalog().asset(name)?;
        let Some(place) = store.find_whole(asset).or_else(|| store.find_incomplete(asset)) else { continue };
        found.extend(asset.files.iter().map(|file| (name, file, file.path(&place))));
    }
    task.map("verify", &found, |(name, known, path)| {
        let state = if path.is_file() { file(known, path)? } else { State::Missing };
        Ok(Checked { name: (*name).clone(), path: path.clone(), state })
    })
}
