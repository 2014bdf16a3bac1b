//! Writes what the program carries into a workspace, where people can change it: single scripts, or a new workspace with all recipes.

use crate::files::{self, Workspace};
use crate::shipped::{self, EXTENSION, RECIPES, RECIPES_FOLDER, SPEECH, SPEECH_FOLDER, STDLIB, STDLIB_FOLDER};
use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// What a new workspace's data folder says.
const DATA_README: &str = include_str!("eject/data.md");

/// Most files of a folder that a message names.
const MOST_NAMED: usize = 3;

/// The folders at the top of a workspace (see src/guide/workspace.md).
const TOP: [&str; 9] =
    [RECIPES_FOLDER, STDLIB_FOLDER, "data", "logs", "models", "converted", "tracking", "assets", "cache"];

/// Writes the script `name` of the program ("stdlib/training", "recipes/train_voice", or its bare name) to the workspace; returns the path.
/// With the recipe quickstart comes its speech.
///
/// Errors: `usage` if there is no such script, a bare name means two, or another text is there already and `force` is not set; `file.*`.
pub fn script(workspace: &Workspace, name: &str, force: bool) -> Result<PathBuf> {
    let (folder, name, text) = find(name)?;
    let path = workspace.path(folder).join(format!("{name}.{EXTENSION}"));
    if !is_same(&path, text.as_bytes()) {
        if path.exists() && !force {
            return Err(Error::new(Kind::Usage, format!("{} is there already, with other text", path.display()))
                .path(&path)
                .hint("--force replaces it by the program's own"));
        }
        files::write(&path, text)?;
    }
    if folder == RECIPES_FOLDER && name == SPEECH_FOLDER {
        speech(workspace)?;
    }
    Ok(path)
}

/// The folder, name and text of the script that a word means.
fn find(word: &str) -> Result<(&'static str, &'static str, &'static str)> {
    let bare = word.strip_suffix(EXTENSION).and_then(|bare| bare.strip_suffix('.')).unwrap_or(word);
    let (wanted, name) = bare.rsplit_once('/').map_or((None, bare), |(folder, name)| (Some(folder), name));
    let places = [(STDLIB_FOLDER, STDLIB), (RECIPES_FOLDER, RECIPES)];
    let places = || places.iter().filter(|(folder, _)| wanted.is_none_or(|wanted| wanted == *folder));
    let found: Vec<_> = places()
        .filter_map(|(folder, scripts)| {
            scripts.iter().find(|(known, _)| *known == name).map(|(known, text)| (*folder, *known, *text))
        })
        .collect();
    match found[..] {
        [one] => Ok(one),
        [] => {
            let error = Error::new(Kind::Usage, format!("there is no script {bare} in the program"));
            let near = places().find_map(|(folder, scripts)| Some((folder, shipped::nearest_name(scripts, name)?)));
            Err(match near {
                Some((folder, near)) => error.hint(format!("did you mean {folder}/{near}?")),
                None => error.hint(format!(
                    "it has {} and {}",
                    listed(STDLIB_FOLDER, STDLIB),
                    listed(RECIPES_FOLDER, RECIPES)
                )),
            })
        }
        [first, second, ..] => {
            let [first, second] = [first, second].map(|(folder, name, _)| format!("{folder}/{name}"));
            Err(Error::new(Kind::Usage, format!("{name:?} can be {first} or {second}"))
                .hint(format!("name one of them: rvc-run eject {second}")))
        }
    }
}

/// "stdlib/batch, stdlib/conversion".
fn listed(folder: &str, scripts: &[(&str, &str)]) -> String {
    scripts.iter().map(|(name, _)| format!("{folder}/{name}")).collect::<Vec<_>>().join(", ")
}

/// Writes the files of the quickstart's speech that are not there to the workspace's recipes/quickstart/. Returns the folder, and whether
/// anything was written.
///
/// Errors: `file.*`.
pub fn speech(workspace: &Workspace) -> Result<(PathBuf, bool)> {
    let folder = workspace.path(RECIPES_FOLDER).join(SPEECH_FOLDER);
    let mut wrote = false;
    for (path, bytes) in SPEECH {
        let path = folder.join(path);
        if !path.exists() {
            files::write(&path, bytes)?;
            wrote = true;
        }
    }
    Ok((folder, wrote))
}

/// What [`workspace`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    New,
    /// It was a workspace already: the number of missing files, now written.
    Completed(usize),
}

/// Makes a workspace in `folder`: the recipes with the quickstart's speech, and a data/ that says what goes into it.
///
/// A folder that is a workspace already is completed. Errors: `usage` if another one holds anything, or if one of the files is there with other
/// content: then nothing is written; `file.*`.
pub fn workspace(folder: &Path) -> Result<Made> {
    let is_workspace = is_workspace(folder)?;
    let recipes = RECIPES.iter().map(|(name, text)| (format!("{RECIPES_FOLDER}/{name}.{EXTENSION}"), text.as_bytes()));
    let speech = SPEECH.iter().map(|(path, bytes)| (format!("{RECIPES_FOLDER}/{SPEECH_FOLDER}/{path}"), *bytes));
    let data = ("data/README.md".to_owned(), DATA_README.as_bytes());
    let all: Vec<(PathBuf, &[u8])> =
        recipes.chain(speech).chain([data]).map(|(path, bytes)| (folder.join(path), bytes)).collect();
    let missing: Vec<_> = all.iter().filter(|(path, bytes)| !is_same(path, bytes)).collect();
    let taken: Vec<String> =
        missing.iter().filter(|(path, _)| path.exists()).map(|(path, _)| path.display().to_string()).collect();
    if !taken.is_empty() {
        return Err(Error::new(Kind::Usage, format!("there are files of yours already: {}", some_of(&taken)))
            .path(folder)
            .hint("choose another folder; `rvc-run eject recipes/NAME` writes a single recipe"));
    }
    let written = missing.len();
    missing.into_iter().try_for_each(|(path, bytes)| files::write(path, bytes))?;
    Ok(if is_workspace { Made::Completed(written) } else { Made::New })
}

/// Whether `folder` is a workspace already; false if it does not exist or has only hidden files.
///
/// Errors: `usage` if it is a file, or holds anything else.
fn is_workspace(folder: &Path) -> Result<bool> {
    let refused = |what: String| {
        let hint = "give a folder that does not exist yet, such as `rvc-run new my-voices`; `rvc-run eject recipes/NAME` writes a single recipe";
        Err(Error::new(Kind::Usage, format!("{} {what}", folder.display())).path(folder).hint(hint))
    };
    if !folder.exists() {
        return Ok(false);
    }
    if !folder.is_dir() {
        return refused("is a file, but must be a folder".into());
    }
    let entries = files::list(folder)?;
    let names = entries.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    let has = |path: &str| folder.join(path).exists();
    let has_recipes = RECIPES.iter().any(|(name, _)| has(&format!("{RECIPES_FOLDER}/{name}.{EXTENSION}")));
    // Recipes run without files of their own, so a workspace in use may have only what they wrote.
    let was_used = (has("tracking") || has("cache/decode")) && names.iter().all(|name| TOP.contains(&name.as_str()));
    if has_recipes || (was_used && !names.is_empty()) {
        return Ok(true);
    }
    if names.is_empty() {
        return Ok(false);
    }
    refused(format!("is no workspace of rvc-run, but has files already: {}", some_of(&names)))
}

/// "a, b, c and 4 more".
fn some_of(names: &[String]) -> String {
    let named = names[..names.len().min(MOST_NAMED)].join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn is_same(path: &Path, bytes: &[u8]) -> bool {
    files::read(path).is_ok_and(|there| there == bytes)
}
