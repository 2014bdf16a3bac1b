//! What the preparation of a voice needs before it begins: recordings, and room for their clips and features.

use super::{folder, recordings, slices};
use crate::Result;
use crate::config::Config;
use crate::files::{self, Workspace};
use crate::room::Need;
use crate::task::Task;
use std::path::Path;

/// Bytes of a second of sound, at most, by the end of a file's name: so a recording is at least so long as its bytes by this number.
/// 96 kHz stereo of 24 bits; the same as FLAC; 320 kbit/s.
const BYTES_A_SECOND: [(&[&str], u64); 3] = [
    (&["wav", "aif", "aiff", "aifc", "caf", "au", "w64", "rf64"], 576_000),
    (&["flac", "alac", "ape", "wv", "tta"], 400_000),
    (&["mp3", "m4a", "mp4", "aac", "ogg", "oga", "opus", "webm", "mka", "wma", "amr", "3gp"], 40_000),
];
/// Of a format that is not among these.
const BYTES_OF_OTHERS: u64 = 576_000;

/// The recordings in `folder` (relative to the workspace) as [`super::slices`] will find them, in number.
///
/// Errors: what `slices` would say before it reads any: `file.not_found`, `data.empty`, `config.value`.
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

/// What the clips and features of the recordings in `folder` need of the disks, at least: nothing where the voice was prepared before,
/// whose files are in the cache, and where there is no folder, since recordings are still to be fetched to data/<voice>.
///
/// Errors: as [`recordings`].
pub fn needs(workspace: &Workspace, voice: &str, folder: Option<&Path>, config: &Config) -> Result<Vec<Need>> {
    let logs = workspace.logs(voice)?;
    let seconds: u64 = match folder.filter(|_| !logs.join(folder::FILE_LIST).exists()) {
        Some(folder) => found(workspace, voice, folder)?.recordings.iter().map(|one| shortest(&one.path)).sum(),
        None => 0,
    };
    let bytes = seconds.saturating_mul(bytes_of_a_second(config));
    let need = |place, bytes| Need { place, bytes, what: "clips and features".to_owned() };
    // Links into the cache, where both are on one disk.
    let copied = files::disk(&logs).map(|disk| disk.id) != files::disk(&workspace.cache()).map(|disk| disk.id);
    let mut needs = vec![need(workspace.cache(), bytes), need(logs, if copied { bytes } else { 0 })];
    if folder.is_none() {
        needs.push(need(workspace.data(voice)?, 0));
    }
    Ok(needs)
}

/// Seconds of a recording, at least.
fn shortest(path: &Path) -> u64 {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let most = BYTES_A_SECOND.iter().find(|(ends, _)| ends.contains(&extension.as_str()));
    let bytes = std::fs::metadata(path).map_or(0, |about| about.len());
    bytes / most.map_or(BYTES_OF_OTHERS, |(_, bytes)| *bytes)
}

/// Bytes of the clips (float32, at the voice's rate and at 16 kHz) and of the content of a second.
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
        // A file with a hole: an hour of mp3 at its highest rate.
        for (name, seconds, rate) in [("a.mp3", 3600, 40_000), ("b.wav", 100, 576_000)] {
            let file = std::fs::File::options().create_new(true).write(true).open(data.join(name)).unwrap();
            file.set_len(seconds * rate).unwrap();
        }
        let config = Config::default();
        let of = || needs(&workspace, "anna", Some(Path::new("data/anna")), &config).unwrap();
        let [cache, logs] = &of()[..] else { panic!("{:?}", of()) };
        assert_eq!(cache.bytes, 3700 * 4 * (40_000 + 16_000 + 50 * 768));
        assert_eq!(logs.bytes, 0, "links");
        assert_eq!(recordings(&workspace, "anna", Path::new("data/anna")).unwrap(), 2);
        std::fs::create_dir_all(workspace.logs("anna").unwrap()).unwrap();
        std::fs::write(workspace.logs("anna").unwrap().join(folder::FILE_LIST), "x").unwrap();
        assert_eq!(of()[0].bytes, 0);
    }
}
