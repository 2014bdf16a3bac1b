//! Checks before any work that the disks have space for a run's files and accept them.

use crate::{Error, Kind, Result, files, memory};
use std::path::PathBuf;

/// The least that a run will write to one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// A folder, which need not exist; links are followed.
    pub place: PathBuf,
    pub bytes: u64,
    /// For people: "51 checkpoints of 1.3 GB".
    pub what: String,
}

/// Errors unless every folder is writable and every disk has space for all that goes to it. One error for all places: `file.write`,
/// else `file.disk_full` with the numbers. `remedy`: how to write less.
pub fn check(needs: &[Need], remedy: &str) -> Result<()> {
    let mut problems: Vec<Error> = Vec::new();
    for (i, need) in needs.iter().enumerate() {
        let seen = needs[..i].iter().any(|other| other.place == need.place);
        if let Some(Err(error)) = (!seen).then(|| files::check_writable(&need.place))
            // Two folders below one that is not writable.
            && problems.iter().all(|other| other.message() != error.message())
        {
            problems.push(error);
        }
    }
    problems.extend(disks(needs).iter().filter_map(|disk| disk.problem(remedy)));
    let mut problems = problems.into_iter();
    let Some(first) = problems.next() else { return Ok(()) };
    Err(problems.fold(first, Error::joined))
}

/// One disk and the needs that go to it.
struct Load<'a> {
    disk: files::Disk,
    needs: Vec<&'a Need>,
}

fn disks(needs: &[Need]) -> Vec<Load<'_>> {
    let mut loads: Vec<Load<'_>> = Vec::new();
    for need in needs {
        // A file system that reports no free space fails later, when it is full.
        let Some(disk) = files::disk(&need.place) else { continue };
        match loads.iter_mut().find(|load| load.disk.id == disk.id) {
            Some(load) => load.needs.push(need),
            None => loads.push(Load { disk, needs: vec![need] }),
        }
    }
    loads
}

impl Load<'_> {
    fn problem(&self, remedy: &str) -> Option<Error> {
        let needs: Vec<_> = self.needs.iter().filter(|need| need.bytes > 0).collect();
        let (total, free) = (needs.iter().map(|need| need.bytes).fold(0, u64::saturating_add), self.disk.free);
        if total <= free {
            return None;
        }
        let parts: Vec<String> =
            needs.iter().map(|need| format!("{} in {}", need.what, need.place.display())).collect();
        let message =
            format!("{} need {}, but the disk has {} free", parts.join(", "), memory::text(total), memory::text(free));
        let rest = "free some space, or put the workspace on a larger disk with --workspace";
        let hint = if remedy.is_empty() { rest.to_owned() } else { format!("{remedy}; or {rest}") };
        Some(Error::new(Kind::DiskFull, message).path(&needs.first()?.place).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(place: PathBuf, bytes: u64, what: &str) -> Need {
        Need { place, bytes, what: what.to_owned() }
    }

    #[test]
    fn what_fits_passes_and_what_does_not_is_refused_with_the_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        check(&[need(place("logs"), 1000, "clips"), need(place("models"), 0, "the voice")], "").unwrap();
        let error = check(&[need(place("logs"), 1 << 62, "4 checkpoints")], "--keep-last 3 needs less").unwrap_err();
        assert_eq!(error.kind(), Kind::DiskFull);
        assert!(
            error.message().contains("4 checkpoints in ") && error.message().contains("need 4611686018.4 GB"),
            "{error}"
        );
        assert!(error.hint_text().unwrap().starts_with("--keep-last 3 needs less; or free some space"));
    }

    #[test]
    fn what_goes_to_one_disk_is_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let half = files::free_space(folder.path()).unwrap() / 4 * 3;
        let needs = [need(folder.path().join("a"), half, "one"), need(folder.path().join("b"), half, "other")];
        check(&needs[..1], "").unwrap();
        let error = check(&needs, "").unwrap_err();
        assert!(error.message().contains("one in ") && error.message().contains("other in "), "{error}");
    }

    #[test]
    fn one_error_names_every_place_that_takes_no_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["logs", "models"] {
            std::fs::write(folder.path().join(name), "no folder").unwrap();
        }
        let at = |name: &str| need(folder.path().join(name), 1 << 62, "much");
        let error = check(&[at("logs/anna"), at("logs/anna"), at("models")], "").unwrap_err();
        assert_eq!(error.kind(), Kind::Write);
        let text = error.message();
        assert!(
            text.contains("logs is a file") && text.contains("models is a file") && text.contains("GB free"),
            "{text}"
        );
        assert_eq!(text.matches("is a file").count(), 2, "{text}");
    }
}
