//! Finds the recordings of a voice and the speaker of each one.

use super::some_of;
use crate::audio::io;
use crate::files::{self, Workspace};
use crate::task::Task;
use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// Deepest nesting of folders in a speaker's folder; deeper ones are reported and not read. Nobody has more, and the recursion needs a limit.
const MOST_DEPTH: usize = 32;
/// Rows of RVC's speaker table (`spk_embed_dim`, spec D.2).
const MOST_SPEAKERS: usize = 109;

pub(super) struct Recording {
    pub path: PathBuf,
    /// The path below the voice's folder, for messages and the record.
    pub shown: String,
    pub sid: i64,
    /// Why it cannot be opened, if so.
    pub obstacle: Option<String>,
}

pub(super) struct Found {
    /// Loose files first, then folder by folder, each in the order of the names' bytes.
    pub recordings: Vec<Recording>,
    pub speakers: Vec<String>,
}

/// The recordings in `folder`. Each subfolder with recordings is a speaker, including the folders below it; sids
/// follow the sorted names. If there are files outside subfolders, they are sid 0 and the folders begin at 1.
///
/// Errors: `file.not_found` with the voices that exist; `data.empty`; `config.value` for more speakers than RVC has rows.
pub(super) fn find(task: &Task, workspace: &Workspace, folder: &Path) -> Result<Found> {
    if !folder.is_dir() {
        return Err(missing(workspace, folder));
    }
    let mut level = Level::read(folder, "")?;
    let mut above = vec![folder.canonicalize().unwrap_or_else(|_| folder.to_owned())];
    let mut speakers = Vec::new();
    let mut groups = Vec::new();
    let (loose, unseen): (Vec<_>, Vec<_>) =
        std::mem::take(&mut level.recordings).into_iter().partition(|recording| io::is_audio(&recording.path));
    if !loose.is_empty() {
        speakers.push(String::new());
        groups.push(loose);
    }
    for inner in std::mem::take(&mut level.folders) {
        let name = shown(&inner);
        if leads_back(&inner, &above) {
            level.ignored.push(format!("{name}/"));
            continue;
        }
        let mut inner = Level::read_deep(&inner, &format!("{name}/"), &mut above)?;
        level.ignored.append(&mut inner.ignored);
        if !inner.recordings.is_empty() {
            speakers.push(name);
            groups.push(inner.recordings);
        }
    }
    // Reported as unusable, but not a speaker: its number would shift those of the folders.
    match groups.first_mut() {
        Some(first) => first.extend(unseen),
        None if !unseen.is_empty() => {
            speakers.push(String::new());
            groups.push(unseen);
        }
        None => {}
    }
    if groups.is_empty() {
        return Err(Error::new(Kind::DataEmpty, format!("there is no recording in {}", folder.display()))
            .path(folder)
            .hint("put sound files (wav, flac, mp3, m4a, ogg, opus, webm, aiff) into this folder: a few minutes of clean speech"));
    }
    check_speakers(speakers.len(), folder)?;
    if !level.ignored.is_empty() {
        task.info(format!("ignored in {}, not recordings: {}", folder.display(), some_of(&level.ignored)));
    }
    let recordings =
        groups.into_iter().zip(0..).flat_map(|(group, sid)| group.into_iter().map(move |r| Recording { sid, ..r }));
    Ok(Found { recordings: recordings.collect(), speakers })
}

/// Errors: `config.value` for more speakers than RVC has rows.
pub(super) fn check_speakers(speakers: usize, folder: &Path) -> Result<()> {
    if speakers > MOST_SPEAKERS {
        let message = format!("{} has {} speakers, but may have at most {MOST_SPEAKERS}", folder.display(), speakers);
        return Err(Error::new(Kind::ConfigValue, message)
            .path(folder)
            .hint("each subfolder is a speaker; to train a single speaker, put the files into the folder itself"));
    }
    Ok(())
}

#[derive(Default)]
struct Level {
    recordings: Vec<Recording>,
    folders: Vec<PathBuf>,
    ignored: Vec<String>,
}

impl Level {
    /// The files in `folder` and in the folders below it, each folder's own files first. `above`: the folders on the way.
    fn read_deep(folder: &Path, prefix: &str, above: &mut Vec<PathBuf>) -> Result<Self> {
        let mut level = Self::read(folder, prefix)?;
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        above.push(real);
        for inner in std::mem::take(&mut level.folders) {
            let prefix = format!("{prefix}{}/", shown(&inner));
            if leads_back(&inner, above) {
                level.ignored.push(prefix);
                continue;
            }
            if above.len() > MOST_DEPTH {
                let obstacle = Some(format!("its folders are more than {MOST_DEPTH} deep"));
                level.recordings.push(Recording { path: inner, shown: prefix, sid: 0, obstacle });
                continue;
            }
            let inner = Self::read_deep(&inner, &prefix, above)?;
            level.recordings.extend(inner.recordings);
            level.ignored.extend(inner.ignored);
        }
        above.pop();
        Ok(level)
    }

    fn read(folder: &Path, prefix: &str) -> Result<Self> {
        let mut level = Self::default();
        for path in files::list(folder)? {
            let name = shown(&path);
            if name.starts_with('.') {
                continue;
            }
            // Follows links: a linked recording or speaker folder counts like a real one.
            let about = std::fs::metadata(&path);
            if about.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
                level.folders.push(path);
                continue;
            }
            // A path without permission may be a folder of recordings.
            let is_out_of_reach = about.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound);
            if !io::is_audio(&path) && !is_out_of_reach {
                if !is_expected(&name) {
                    level.ignored.push(format!("{prefix}{name}"));
                }
                continue;
            }
            let obstacle = match about {
                Ok(about) if about.is_file() => None,
                // Opening a pipe would wait forever.
                Ok(_) => Some("it is not a regular file".to_owned()),
                Err(e) => Some(Error::io("open", &path, e).to_string()),
            };
            level.recordings.push(Recording { path, shown: format!("{prefix}{name}"), sid: 0, obstacle });
        }
        Ok(level)
    }
}

/// Whether a file that is no recording needs no mention: a text about the recordings, or what Windows leaves in folders. (Hidden files, such as
/// .DS_Store, are passed over before.)
fn is_expected(name: &str) -> bool {
    const TEXTS: [&str; 4] = ["readme", "license", "licence", "copying"];
    const LEFT: [&str; 2] = ["thumbs.db", "desktop.ini"];
    let name = name.to_lowercase();
    LEFT.contains(&name.as_str()) || TEXTS.contains(&name.split('.').next().unwrap_or_default())
}

/// Whether a folder is a link to one above it, which would be an endless loop.
fn leads_back(folder: &Path, above: &[PathBuf]) -> bool {
    folder.canonicalize().is_ok_and(|real| above.contains(&real))
}

/// The name of a file or folder as text. Invalid bytes are written as \xff, so that two names stay different.
fn shown(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

fn missing(workspace: &Workspace, folder: &Path) -> Error {
    let message = if folder.exists() {
        format!("{} is a file, but must be a folder of recordings", folder.display())
    } else {
        format!("there is no folder {}", folder.display())
    };
    let voices: Vec<String> = files::list(&workspace.path("data"))
        .unwrap_or_default()
        .into_iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .filter(|name| !name.starts_with('.'))
        .collect();
    let given = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let hint = match crate::error::nearest(given, voices.iter().map(String::as_str)) {
        _ if voices.is_empty() => {
            "create this folder and put the voice's recordings into it (wav, flac, mp3, m4a, ogg, opus, webm, aiff)"
                .to_owned()
        }
        Some(name) => format!("did you mean {name:?}? existing voices: {}", some_of(&voices)),
        None => format!("existing voices: {}; or create this folder and put recordings into it", some_of(&voices)),
    };
    Error::new(Kind::NotFound, message).path(folder).hint(hint)
}
