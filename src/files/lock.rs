//! Locks on folders, so that one process at a time works in them.

use super::create_folder;
use crate::{Error, Kind, Result};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a lock is retried before another process counts as its holder.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

/// Folders that this process has claimed, and whether each is lent to a [`Lock`].
static CLAIMED: Mutex<Option<HashMap<PathBuf, Claimed>>> = Mutex::new(None);

struct Claimed {
    file: Arc<File>,
    lent: bool,
}

/// Calls `f` with the claimed folders.
fn claimed<T>(f: impl FnOnce(&mut HashMap<PathBuf, Claimed>) -> T) -> T {
    // No code under this lock can leave the table half changed.
    let mut table: MutexGuard<'_, _> = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    f(table.get_or_insert_with(HashMap::new))
}

/// An exclusive lock on a folder, held while this value lives. The kernel drops it when the process dies, so no stale lock
/// can remain.
#[derive(Debug)]
pub struct Lock {
    file: Arc<File>,
    /// The claim that lent it.
    lent_by: Option<PathBuf>,
}

impl Lock {
    /// Locks `folder` (created if missing) for this process. Errors: `file.locked` if another process, or another part of this one,
    /// holds it.
    pub fn acquire(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        let real = folder.canonicalize().map_err(|e| Error::io("lock", folder, e))?;
        let lent = claimed(|table| {
            table.get_mut(&real).map(|claim| (!std::mem::replace(&mut claim.lent, true)).then(|| claim.file.clone()))
        });
        match lent {
            Some(Some(file)) => Ok(Self { file, lent_by: Some(real) }),
            Some(None) => Err(locked(folder)),
            None => Ok(Self { file: Arc::new(locked_file(folder)?), lent_by: None }),
        }
    }

    /// Reserves `folder` for this process across the locks of its steps: no other process can lock it between two of
    /// them. Errors: as [`Lock::acquire`].
    pub fn claim(folder: &Path) -> Result<Claim> {
        let lock = Self::acquire(folder)?;
        let real = folder.canonicalize().map_err(|e| Error::io("lock", folder, e))?;
        if lock.lent_by.is_some() {
            return Err(locked(folder));
        }
        let kept = Claimed { file: lock.file.clone(), lent: false };
        claimed(|table| table.insert(real.clone(), kept));
        Ok(Claim { folder: real })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(folder) = &self.lent_by {
            claimed(|table| table.get_mut(folder).map(|claim| claim.lent = false));
        }
    }
}

/// A folder reserved for this process while the value lives; see [`Lock::claim`]. A lent lock outlives it.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        claimed(|table| table.remove(&self.folder));
    }
}

fn locked(folder: &Path) -> Error {
    Error::new(Kind::Locked, format!("another rvc-run is working on {}", folder.display()))
        .path(folder)
        .hint("wait until it has finished, or stop it; it saves before it exits")
}

/// The lock file of a folder, locked. Errors: `file.locked`, `file.write`.
fn locked_file(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    // Opening a pipe would wait for its reader.
    if path.exists() && !path.is_file() {
        return Err(Error::new(Kind::Write, format!("{} is not a regular file", path.display()))
            .path(&path)
            .hint("remove it and run again"));
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| Error::io("write", &path, e))?;
    // A process that is being started holds copies of all open files until its program is loaded, so a lock that was just
    // released may stay held there for a moment.
    let deadline = std::time::Instant::now() + LOCK_PATIENCE;
    let mut outcome = file.try_lock();
    while matches!(outcome, Err(std::fs::TryLockError::WouldBlock)) && std::time::Instant::now() < deadline {
        std::thread::sleep(LOCK_PATIENCE / 20);
        outcome = file.try_lock();
    }
    match outcome {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(locked(folder)),
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_lends_its_folder_to_one_step_after_the_other_and_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Lock::claim(folder.path()).unwrap();
        for _ in 0..2 {
            let step = Lock::acquire(folder.path()).unwrap();
            assert_eq!(Lock::acquire(folder.path()).unwrap_err().kind(), Kind::Locked, "two steps at once");
            drop(step);
        }
        let other = File::options().write(true).open(folder.path().join(".lock")).unwrap();
        assert!(other.try_lock().is_err(), "between its steps it is still claimed");
        let last = Lock::acquire(folder.path()).unwrap();
        drop(claim);
        assert!(other.try_lock().is_err(), "a step outlives the claim");
        drop(last);
        other.try_lock().unwrap();
    }

    #[test]
    fn what_another_holds_cannot_be_claimed() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::acquire(folder.path()).unwrap();
        assert_eq!(Lock::claim(folder.path()).unwrap_err().kind(), Kind::Locked);
        drop(held);
        let first = Lock::claim(folder.path()).unwrap();
        assert_eq!(Lock::claim(folder.path()).unwrap_err().kind(), Kind::Locked);
        drop(first);
        Lock::claim(folder.path()).unwrap();
    }
}
