//! Verifies the content of assets by digest.

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
    /// It matches a digest in the catalog.
    Good,
    /// The catalog has no digest for it; it is the file that was fetched first.
    AsFetched,
    /// There is no digest to compare with.
    Unknown {
        got: String,
    },
    Damaged {
        expected: String,
        got: String,
    },
    /// Missing, though other files of its asset, or a folder of its name, exist.
    Missing,
}

/// One file of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub name: String,
    pub path: PathBuf,
    pub state: State,
}

/// The note beside a file that could not be verified when it was fetched.
#[derive(Serialize, Deserialize)]
struct Note {
    sha256: String,
}

/// Records the digest of `path` as fetched. Errors: `file.write`.
pub(super) fn remember(path: &Path, digest: &str) -> Result<()> {
    let json = serde_json::to_vec(&Note { sha256: digest.to_owned() }).unwrap_or_default();
    files::write(&beside(path, ".fetched.json"), json)
}

/// Compares the file at `path` with the digests of `file`. Errors: `file.read`; `asset.damaged` for an unreadable note.
pub fn file(file: &File, path: &Path) -> Result<State> {
    let got = files::digest_file(path)?;
    let known = file.digests();
    if known.contains(&got.as_str()) {
        return Ok(State::Good);
    }
    let source = file.source.as_ref();
    // Without a digest in the catalog, a download may have any content.
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
            .hint("delete it and the file that it belongs to, and fetch again")
    })?;
    Ok(Some(parsed.sha256))
}

/// Verifies every file of the named assets that are on this machine, complete or not.
///
/// Errors: `config.value` for an unknown name, `file.read`, `cancelled`. A damaged or missing file is not an error here.
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
