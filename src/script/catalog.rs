//! Lists the recipes, and finds the one that a word on the command line means: a file, or a recipe of the program.

use super::bind::Script;
use super::library::tidy;
use crate::error::nearest;
use crate::files::{self, Workspace};
use crate::shipped::{self, EXTENSION, RECIPES, RECIPES_FOLDER};
use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// A recipe as `rvc-run list` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The file name without its extension.
    pub name: String,
    pub script: Script,
    /// The first line of its `//!` text.
    pub summary: String,
}

/// The recipes in the workspace's recipes folder, and those of the program without a file of the same name there, sorted by name.
pub fn list(workspace: &Workspace) -> Result<Vec<Entry>> {
    let mut scripts: Vec<(String, Script)> = Vec::new();
    for path in files_of(workspace)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        scripts.push((name, read(&path)?));
    }
    for (name, _) in RECIPES {
        if !scripts.iter().any(|(own, _)| own == name) {
            scripts.extend(of_program(name).map(|script| ((*name).to_owned(), script)));
        }
    }
    scripts.sort_by(|(a, _), (b, _)| a.cmp(b));
    let entry = |(name, script): (String, Script)| Entry { name, summary: summary(&script.text), script };
    Ok(scripts.into_iter().map(entry).collect())
}

/// The scripts in the workspace's recipes folder; empty if there is no such folder.
fn files_of(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = workspace.path(RECIPES_FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    Ok(files::list(&folder)?.into_iter().filter(|path| is_script(path)).collect())
}

/// A path without .rhai could be anything, such as a folder named like a recipe; it is never a script.
fn is_script(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|e| e == EXTENSION)
}

fn read(path: &Path) -> Result<Script> {
    let path = tidy(path);
    Ok(Script { source: path.display().to_string(), text: files::read_text(&path)?, notice: None })
}

/// The recipe of the program with this name.
fn of_program(name: &str) -> Option<Script> {
    let text = shipped::text(RECIPES, name)?.to_owned();
    Some(Script { source: shipped::source(RECIPES_FOLDER, name), text, notice: None })
}

/// The first line of a script's `//!` text.
pub fn summary(text: &str) -> String {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("//!"));
    line.unwrap_or_default().trim().to_owned()
}

/// The recipe that `word` means, the first of: a path, with or without its extension; the name of a recipe in the workspace's recipes/; the name of one
/// in the folder of the recipe `asking`; the name of a recipe of the program: bare, as the path recipes/NAME.rhai, or as in messages.
///
/// Errors: `usage` with the nearest of `commands` and the recipes; `file.*`.
pub fn find(workspace: &Workspace, word: &str, asking: Option<&Path>, commands: &[&str]) -> Result<Script> {
    if let Some(name) = shipped::path_of(word).and_then(shipped::recipe_name) {
        return of_program(name).ok_or_else(|| unknown(workspace, word, commands));
    }
    let with_ending = format!("{word}.{EXTENSION}");
    let mut places = vec![PathBuf::from(word), PathBuf::from(&with_ending)];
    let is_bare = !word.contains(['/', '\\']);
    if is_bare {
        let folder = workspace.path(RECIPES_FOLDER);
        places.extend([folder.join(&with_ending), folder.join(word)]);
        places.extend(asking.map(|file| file.with_file_name(&with_ending)));
    }
    if let Some(path) = places.iter().find(|path| is_script(path)) {
        return read(path);
    }
    let path = if is_bare { format!("{RECIPES_FOLDER}/{word}") } else { tidy(Path::new(word)).display().to_string() };
    let name = shipped::recipe_name(&path);
    let mut script = name.and_then(of_program).ok_or_else(|| unknown(workspace, word, commands))?;
    if let Some(name) = name.filter(|_| !is_bare) {
        script.notice = Some(format!("there is no file {word} here: this is the program's own recipe {name}"));
    }
    Ok(script)
}

fn unknown(workspace: &Workspace, word: &str, commands: &[&str]) -> Error {
    let what = if Path::new(word).extension().is_some_and(|e| e == EXTENSION) {
        "there is no recipe"
    } else {
        "there is no command or recipe"
    };
    let error = Error::new(Kind::Usage, format!("{what} {word:?}"));
    let known: Vec<String> = list(workspace).unwrap_or_default().into_iter().map(|entry| entry.name).collect();
    let stem = Path::new(word).file_stem().map_or_else(|| word.to_owned(), |s| s.to_string_lossy().into_owned());
    match nearest(&stem, commands.iter().copied().chain(known.iter().map(String::as_str))) {
        Some(name) => error.hint(format!("did you mean {name:?}?")),
        None => error.hint("rvc-run list shows the recipes, rvc-run --help the commands"),
    }
}
