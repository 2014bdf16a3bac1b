//! Which recipes there are, and which file a word on the command line means.

use crate::error::nearest;
use crate::files::{self, Workspace};
use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};

const FOLDER: &str = "recipes";
const EXTENSION: &str = "rhai";

/// A recipe as `rvc-run list` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The file name without its ending.
    pub name: String,
    pub path: PathBuf,
    /// The first line of its `//!` text.
    pub summary: String,
}

/// The recipes in the workspace's recipes folder, sorted by name; none if there is no such folder.
pub fn list(workspace: &Workspace) -> Result<Vec<Entry>> {
    let folder = workspace.path(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for path in files::list(&folder)? {
        if path.extension().is_none_or(|e| e != EXTENSION) || !path.is_file() {
            continue;
        }
        let path = super::library::tidy(&path);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let summary = summary(&files::read_text(&path)?);
        entries.push(Entry { name, path, summary });
    }
    Ok(entries)
}

/// The first line of a script's `//!` text.
pub fn summary(text: &str) -> String {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("//!"));
    line.unwrap_or_default().trim().to_owned()
}

/// The file that `word` means: a path, a path without its ending, or the name of a recipe in recipes/.
///
/// Errors: `usage` with the nearest of `commands` and the recipes there are.
pub fn find(workspace: &Workspace, word: &str, commands: &[&str]) -> Result<PathBuf> {
    let with_ending = format!("{word}.{EXTENSION}");
    let named = !word.contains(['/', '\\']);
    let beside = if named {
        vec![workspace.path(FOLDER).join(&with_ending), workspace.path(FOLDER).join(word)]
    } else {
        Vec::new()
    };
    let places = [PathBuf::from(word), PathBuf::from(&with_ending)].into_iter().chain(beside);
    // A path without .rhai could be anything, such as a folder named like a recipe; a script it is not.
    let is_script = |path: &Path| path.is_file() && path.extension().is_some_and(|e| e == EXTENSION);
    if let Some(path) = places.into_iter().find(|path| is_script(path)) {
        return Ok(super::library::tidy(&path));
    }
    let what = if Path::new(word).extension().is_some_and(|e| e == EXTENSION) {
        "there is no recipe"
    } else {
        "there is no command or recipe"
    };
    let error = Error::new(Kind::Usage, format!("{what} {word:?}"));
    let known: Vec<String> = list(workspace).unwrap_or_default().into_iter().map(|entry| entry.name).collect();
    let stem = Path::new(word).file_stem().map_or_else(|| word.to_owned(), |s| s.to_string_lossy().into_owned());
    let candidates = commands.iter().copied().chain(known.iter().map(String::as_str));
    if known.is_empty() {
        let folder = workspace.path(FOLDER);
        return Err(error.hint(format!(
            "{} holds no recipes: go to the folder that does, copy it here, or name one by its path",
            folder.display()
        )));
    }
    Err(match nearest(&stem, candidates) {
        Some(name) => error.hint(format!("did you mean {name:?}?")),
        None => error.hint("rvc-run list shows the recipes there are, rvc-run --help the commands"),
    })
}
