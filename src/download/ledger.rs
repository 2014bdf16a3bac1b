//! The record of finished links, beside the voice's recordings.

use super::limits::Limits;
use crate::files;
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// In the voice's folder, hidden, so that it does not count as a speaker.
pub const FOLDER: &str = ".downloads";
pub const LEDGER: &str = "links.json";
const SCHEMA: u32 = 1;
/// A recording that is longer by at most this is not cut: containers count in packets.
pub const TOLERANCE_SECONDS: f64 = 0.5;

/// The record of finished links: digest of the link -> its recording.
#[derive(Default, Serialize, Deserialize)]
pub struct Ledger {
    schema: u32,
    pub links: BTreeMap<String, Link>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Link {
    pub url: String,
    /// In the voice's folder.
    pub file: String,
    pub seconds: f64,
    /// The limit in seconds ...
    pub asked_seconds: f64,
    /// ... and whether the recording may be longer.
    pub is_cut: bool,
    pub title: Option<String>,
}

impl Ledger {
    pub fn read(task: &Task, path: &Path) -> Self {
        let new = Self { schema: SCHEMA, ..Self::default() };
        if !path.exists() {
            return new;
        }
        let read = files::read_text(path).map_err(|e| e.to_string());
        let read = read.and_then(|text| serde_json::from_str::<Self>(&text).map_err(|e| e.to_string()));
        match read {
            Ok(ledger) if ledger.schema == SCHEMA => ledger,
            Ok(_) => new,
            Err(what) => {
                task.warn(format!("the list of fetched links is damaged, so they will be fetched again: {what}"));
                new
            }
        }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(Kind::Internal, format!("the list of fetched links: {e}")).source(e))?;
        files::write(path, text)
    }

    /// The link's record, if it is done: its file exists and fits these limits.
    pub fn done(&self, digest: &str, folder: &Path, limits: &Limits) -> Option<&Link> {
        let link = self.links.get(digest)?;
        let asked = limits.duration_seconds;
        let fits =
            (asked - link.asked_seconds).abs() < 1e-6 || (!link.is_cut && link.seconds <= asked + TOLERANCE_SECONDS);
        let about = own_file(folder, &link.file).and_then(|path| std::fs::metadata(path).ok())?;
        (fits && about.is_file() && about.len() > 0).then_some(link)
    }
}

/// The path of a file in `folder` that the ledger names; None if the name is not a plain file name.
pub fn own_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':']);
    plain.then(|| folder.join(name))
}
