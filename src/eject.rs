//! Writes what the program carries into a workspace, where people can change it: single scripts, or a new workspace with all recipes.

use crate::files::{self, Workspace};
use crate::shipped::{self, EXTENSION, RECIPES, RECIPES_FOLDER, SPEECH, SPEECH_FOLDER, STDLIB, STDLIB_FOLDER};
use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// What a new workspace's data folder says.
const DATA_README: &str = include_str!("eject/data.md");

/// Most files of a folder that a message names.
const MOST_NAMED: usize = 3;

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

/// Makes a workspace in `folder`: the recipes with the quickstart's speech, and a data/ that says what goes into it.
///
/// What else is in the folder stays. Errors: `usage` if one of the files is there already with other content: then nothing is written;
/// `file.*`.
pub fn workspace(folder: &Path) -> Result<()> {
    let recipes = RECIPES.iter().map(|(name, text)| (format!("{RECIPES_FOLDER}/{name}.{EXTENSION}"), text.as_bytes()));
    let speech = SPEECH.iter().map(|(path, bytes)| (format!("{RECIPES_FOLDER}/{SPEECH_FOLDER}/{path}"), *bytes));
    let data = ("data/README.md".to_owned(), DATA_README.as_bytes());
    let all: Vec<(PathBuf, &[u8])> =
        recipes.chain(speech).chain([data]).map(|(path, bytes)| (folder.join(path), bytes)).collect();
    let missing: Vec<_> = all.iter().filter(|(path, bytes)| !is_same(path, bytes)).collect();
    let taken: Vec<String> =
        missing.iter().filter(|(path, _)| path.exists()).map(|(path, _)| path.display().to_string()).collect();
    if !taken.is_empty() {
        let more = taken.len().saturating_sub(MOST_NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let named = taken[..taken.len().min(MOST_NAMED)].join(", ");
        return Err(Error::new(Kind::Usage, format!("there are files of yours already: {named}{more}"))
            .path(folder)
            .hint("choose another folder; `rvc-run eject recipes/NAME` writes a single recipe"));
    }
    missing.into_iter().try_for_each(|(path, bytes)| files::write(path, bytes))
}

fn is_same(path: &Path, bytes: &[u8]) -> bool {
    files::read(path).is_ok_and(|there| there == bytes)
}
