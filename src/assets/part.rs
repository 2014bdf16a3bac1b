//! An unfinished download: the bytes so far, their digest, and where they came from.
//!
//! ```text
//! rmvpe.pt.part         what has arrived, in order
//! rmvpe.pt.part.json    address, ETag: whether the server still has the same file
//! ```

use crate::files::{self, Hasher};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What a new range must have in common with the bytes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    pub url: String,
    /// A strong validator (RFC 9110, 8.8.1); without one nothing can be resumed.
    pub etag: Option<String>,
}

/// The bytes so far. They are written as they arrive, so nothing is lost when the process ends.
pub struct Part {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    bytes: u64,
    origin: Origin,
}

impl Part {
    /// The unfinished download of `target`, or a new one. Existing bytes are read once, for their digest.
    /// Errors: `file.read`, `file.write`.
    pub fn open(target: &Path) -> Result<Self> {
        let path = beside(target, ".part");
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io("write", &path))?;
        // With a damaged note the download starts again.
        let origin = files::read(&note(&path)).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let Some(origin) = origin else {
            let mut part = Self { path, file, hasher: Hasher::default(), bytes: 0, origin: Origin::default() };
            part.restart(Origin::default())?;
            return Ok(part);
        };
        let (mut hasher, mut bytes) = (Hasher::default(), 0);
        let mut piece = vec![0u8; 1 << 20];
        loop {
            let n = file.read(&mut piece).map_err(io("read", &path))?;
            if n == 0 {
                return Ok(Self { path, file, hasher, bytes, origin });
            }
            hasher.update(&piece[..n]);
            bytes += n as u64;
        }
    }

    /// The number of bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The validator for a request for the rest of `url`.
    pub fn resumable(&self, url: &str) -> Option<&str> {
        self.origin.etag.as_deref().filter(|_| self.bytes > 0 && self.origin.url == url)
    }

    /// Drops all bytes; the following ones come from `origin`. Errors: `file.write`.
    pub fn restart(&mut self, origin: Origin) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(io("write", &self.path))?;
        (self.hasher, self.bytes) = (Hasher::default(), 0);
        if origin != self.origin {
            let json = serde_json::to_vec(&origin).unwrap_or_default();
            files::write(&note(&self.path), json)?;
            self.origin = origin;
        }
        Ok(())
    }

    /// Adds bytes. Errors: `file.write`, `file.disk_full`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // How much was written is unknown: back to the bytes in the digest.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::End(0)));
            return Err(Error::io("write", &self.path, error));
        }
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The SHA-256 of the bytes so far.
    pub fn digest(&self) -> String {
        self.hasher.clone().finish()
    }

    /// Gives the finished file its name. Errors: `file.write`.
    pub fn finish(self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(io("write", &self.path))?;
        // Windows cannot rename an open file.
        drop(self.file);
        std::fs::rename(&self.path, target).map_err(io("rename", &self.path))?;
        files::sync_folder(target.parent().unwrap_or(Path::new(".")));
        files::remove(&note(&self.path))
    }

    /// Removes it from the disk. Errors: `file.write`.
    pub fn discard(self) -> Result<()> {
        drop(self.file);
        files::remove(&self.path)?;
        files::remove(&note(&self.path))
    }
}

fn io<'a>(action: &'a str, path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    move |error| Error::io(action, path, error)
}

fn note(part: &Path) -> PathBuf {
    beside(part, ".json")
}

/// `path` with `ending` added to its name.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
