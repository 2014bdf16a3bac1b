//! The disks under a workspace: which disk holds a path, how much is free, whether it is writable.

use super::TEMP;
use crate::{Error, Kind, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The same for all paths on one file system.
    pub id: u64,
    /// Bytes that this user can still write.
    pub free: u64,
}

/// The file system that holds `place`, which need not exist; links are followed. None where it reports no size: some report 0.
#[cfg(unix)]
pub fn disk(place: &Path) -> Option<Disk> {
    use std::os::unix::fs::MetadataExt;
    let at = nearest_there(place).ok()?;
    let about = rustix::fs::statvfs(&at).ok().filter(|about| about.f_blocks > 0)?;
    Some(Disk { id: std::fs::metadata(&at).ok()?.dev(), free: about.f_bavail.saturating_mul(about.f_frsize) })
}

/// The file system that holds `place`, which need not exist. None where it reports no size.
#[cfg(not(unix))]
pub fn disk(place: &Path) -> Option<Disk> {
    use sysinfo::{DiskRefreshKind, Disks};
    let at = nearest_there(place).ok()?.canonicalize().ok()?;
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage()).ok()?;
    // The mount point with the longest common prefix.
    let under = disks.iter().zip(0..).filter(|(disk, _)| at.starts_with(disk.mount_point()));
    let (disk, id) = under.max_by_key(|(disk, _)| disk.mount_point().as_os_str().len())?;
    (disk.total_space() > 0).then(|| Disk { id, free: disk.available_space() })
}

/// Free bytes of the file system that holds `place`, which need not exist; None where it reports no size.
pub fn free_space(place: &Path) -> Option<u64> {
    disk(place).map(|disk| disk.free)
}

/// `place`, or the nearest folder above it that exists. Errors: `file.write` for a broken link.
fn nearest_there(place: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(if place.as_os_str().is_empty() { Path::new(".") } else { place })
        .map_err(|e| Error::io("write to", place, e))?;
    for at in whole.ancestors() {
        if at.exists() {
            return Ok(at.to_owned());
        }
        if let Ok(target) = std::fs::read_link(at) {
            let message = format!("{} is a link to {}, which is not there", at.display(), target.display());
            return Err(Error::new(Kind::Write, message)
                .path(at)
                .hint("create that folder, mount its disk, or remove the link"));
        }
    }
    Ok(whole)
}

/// Writes and removes a file in `folder`, or in the nearest folder above it that exists; creates no folder.
///
/// Errors: `file.write` if nothing can be written there, `file.disk_full`.
pub fn check_writable(folder: &Path) -> Result<()> {
    let at = nearest_there(folder)?;
    if !at.is_dir() {
        let message = format!("{} is a file, but must be a folder", at.display());
        return Err(Error::new(Kind::Write, message)
            .path(&at)
            .hint("move it away, or choose another folder with --workspace"));
    }
    let made = tempfile::Builder::new().prefix(TEMP).tempfile_in(&at);
    made.map(drop).map_err(|e| match e.kind() {
        // The answer of file systems that accept no files, such as /proc.
        ErrorKind::NotFound => Error::io("write to", &at, ErrorKind::PermissionDenied.into()),
        _ => Error::io("write to", &at, e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_one_disk_are_one_whether_they_exist_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (disk(folder.path()).unwrap(), disk(&folder.path().join("a/b/c")).unwrap());
        assert_eq!(here.id, there.id);
        assert!(here.free > 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_is_on_the_disk_that_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev", folder.path().join("logs")).unwrap();
        assert_ne!(disk(&folder.path().join("logs/anna")).map(|disk| disk.id), disk(folder.path()).map(|disk| disk.id));
    }

    #[cfg(unix)]
    #[test]
    fn a_place_that_takes_no_files_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::write(place("file"), "x").unwrap();
        std::os::unix::fs::symlink(place("gone"), place("link")).unwrap();
        for (name, expected) in
            [("file", "is a file"), ("file/below", "is a file"), ("link/below", "which is not there")]
        {
            let error = check_writable(&place(name)).unwrap_err();
            assert!(error.kind() == Kind::Write && error.message().contains(expected), "{error}");
            assert!(error.hint_text().is_some());
        }
        check_writable(&place("new/below")).unwrap();
        assert!(!place("new").exists(), "it makes no folder");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_without_a_size_has_unknown_free_space() {
        assert_eq!(disk(Path::new("/proc/self")), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_that_takes_no_files_is_named() {
        let error = check_writable(Path::new("/proc/self")).unwrap_err();
        assert!(error.kind() == Kind::Write && error.message().contains("/proc/self"), "{error}");
    }
}
