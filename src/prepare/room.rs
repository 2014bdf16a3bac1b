//! Checks before the preparation of a voice: are there recordings, and is there disk space for their clips and features.

use super::{FILE_LIST, folder, length, recordings, slices};
use crate::Result;
use crate::config::Config;
use crate::files::{self, Workspace};
use crate::room::Need;
use crate::task::Task;
use std::path::Path;

/// Silence is left out, and duplicates are cut once, so only one part in this many of a folder's sound counts.
const SURELY_CUT: u64 = 4;

/// The number of recordings in `folder` (relative to the workspace) that [`super::slices`] will find.
///
/// Errors: those of `slices` before it reads any file: `file.not_found`, `data.empty`, `config.value`.
pub fn recordings(workspace: &Workspace, voice: &str, folder: &Path) -> Result<usize> {
    Ok(found(workspace, voice, folder)?.recordings.len())
}

fn found(workspace: &Workspace, voice: &str, folder: &Path) -> Result<recordings::Found> {
    let logs = workspace.logs(voice)?;
    folder::check_name(&logs)?;
    let folder = workspace.path(folder);
    let found = recordings::find(&Task::silent(), workspace, &folder)?;
    slices::refuse_own_output(&folder, &logs)?;
    Ok(found)
}

/// The least disk space that the clips and features of the recordings in `folder` need. No space for a voice that was prepared before,
/// whose files are in the cache, nor without a folder, if links are still to be fetched to data/<voice>.
///
/// Errors: as [`recordings`].
pub fn needs(workspace: &Workspace, voice: &str, folder: Option<&Path>, config: &Config) -> Result<Vec<Need>> {
    let logs = workspace.logs(voice)?;
    let seconds: u64 = match folder.filter(|_| !logs.join(FILE_LIST).exists()) {
        Some(folder) => found(workspace, voice, folder)?.recordings.iter().map(|one| length::at_least(&one.path)).sum(),
        None => 0,
    };
    let bytes = (seconds / SURELY_CUT).saturating_mul(bytes_of_a_second(config));
    let need = |place, bytes| Need { place, bytes, what: "clips and features".to_owned() };
    // Links into the cache take no space if both are on one disk.
    let copied = files::disk(&logs).map(|disk| disk.id) != files::disk(&workspace.cache()).map(|disk| disk.id);
    let mut needs = vec![need(workspace.cache(), bytes), need(logs, if copied { bytes } else { 0 })];
    if folder.is_none() {
        needs.push(need(workspace.data(voice)?, 0));
    }
    Ok(needs)
}

/// Bytes of one second of clips (float32, at the voice's rate and at 16 kHz) and of content features.
fn bytes_of_a_second(config: &Config) -> u64 {
    const FLOAT: u64 = 4;
    const CONTENT_FRAMES: u64 = 50;
    let samples = u64::try_from(config.sample_rate).unwrap_or(0) + 16_000;
    FLOAT * (samples + CONTENT_FRAMES * u64::try_from(config.content_channels()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_that_are_large_need_room_in_the_cache_until_they_are_prepared() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(root.path());
        let data = workspace.data("anna").unwrap();
        std::fs::create_dir_all(&data).unwrap();
        // Sparse files: half an hour of mp3 at its highest rate, and a possible film.
        for (name, head, n_bytes) in
            [("a.mp3", &b"\xff\xfb\x90\0"[..], 1800 * 80_000), ("b.mp4", b"\0\0\0\x20ftypisom", 10_000_000_000)]
        {
            std::fs::write(data.join(name), head).unwrap();
            std::fs::File::options().write(true).open(data.join(name)).unwrap().set_len(n_bytes).unwrap();
        }
        let config = Config::default();
        let of = || needs(&workspace, "anna", Some(Path::new("data/anna")), &config).unwrap();
        let [cache, logs] = &of()[..] else { panic!("{:?}", of()) };
        assert_eq!(cache.bytes, 1800 / SURELY_CUT * 4 * (40_000 + 16_000 + 50 * 768));
        assert_eq!(logs.bytes, 0, "links");
        assert_eq!(recordings(&workspace, "anna", Path::new("data/anna")).unwrap(), 2);
        std::fs::create_dir_all(workspace.logs("anna").unwrap()).unwrap();
        std::fs::write(workspace.logs("anna").unwrap().join(FILE_LIST), "x").unwrap();
        assert_eq!(of()[0].bytes, 0);
    }
}
