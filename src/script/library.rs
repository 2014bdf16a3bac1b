//! Where imported scripts come from: the standard library in the program, the user's own copies, files beside a recipe.

use crate::error::nearest;
use crate::files::{self, Workspace};
use crate::{Error, Kind, Result};
use std::path::{Component, Path, PathBuf};

/// The standard library as shipped: (name without "stdlib/", text). tests/script.rs compares it with the folder.
pub const STDLIB: &[(&str, &str)] = &[
    ("batch", include_str!("../../stdlib/batch.rhai")),
    ("conversion", include_str!("../../stdlib/conversion.rhai")),
    ("dataset", include_str!("../../stdlib/dataset.rhai")),
    ("extraction", include_str!("../../stdlib/extraction.rhai")),
    ("indexing", include_str!("../../stdlib/indexing.rhai")),
    ("presets", include_str!("../../stdlib/presets.rhai")),
    ("proof", include_str!("../../stdlib/proof.rhai")),
    ("search", include_str!("../../stdlib/search.rhai")),
    ("slicing", include_str!("../../stdlib/slicing.rhai")),
    ("sweep", include_str!("../../stdlib/sweep.rhai")),
    ("tracking", include_str!("../../stdlib/tracking.rhai")),
    ("training", include_str!("../../stdlib/training.rhai")),
    ("voice", include_str!("../../stdlib/voice.rhai")),
    ("voicefile", include_str!("../../stdlib/voicefile.rhai")),
];

/// The recipes as shipped. tests/script.rs compares them with the folder.
pub const RECIPES: &[&str] = &[
    include_str!("../../recipes/convert.rhai"),
    include_str!("../../recipes/export.rhai"),
    include_str!("../../recipes/extract.rhai"),
    include_str!("../../recipes/import.rhai"),
    include_str!("../../recipes/index.rhai"),
    include_str!("../../recipes/prepare.rhai"),
    include_str!("../../recipes/prepare_voice.rhai"),
    include_str!("../../recipes/quickstart.rhai"),
    include_str!("../../recipes/resume.rhai"),
    include_str!("../../recipes/sweep.rhai"),
    include_str!("../../recipes/sweep_custom.rhai"),
    include_str!("../../recipes/sweep_then_train.rhai"),
    include_str!("../../recipes/sweep_trial.rhai"),
    include_str!("../../recipes/train_all.rhai"),
    include_str!("../../recipes/train_voice.rhai"),
    include_str!("../../recipes/voice_extract.rhai"),
    include_str!("../../recipes/voice_info.rhai"),
    include_str!("../../recipes/voice_merge.rhai"),
    include_str!("../../recipes/voice_rename.rhai"),
];

const PREFIX: &str = "stdlib/";
const BUILT_IN: &str = " (built in)";
const EXTENSION: &str = "rhai";

/// A script that an `import` leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// How messages name it: a path, or `stdlib/x.rhai (built in)`.
    pub source: String,
    pub text: String,
    /// One line for the person if this replaces a script of the standard library with other content.
    pub notice: Option<String>,
}

/// How messages name a script of the standard library inside the program.
pub fn built_in_source(name: &str) -> String {
    format!("{PREFIX}{name}.{EXTENSION}{BUILT_IN}")
}

/// Whether a text is that of a recipe that ships, unchanged.
pub fn is_shipped(text: &str) -> bool {
    RECIPES.iter().any(|known| known.trim() == text.trim())
}

/// Whether a script is one of the standard library, from the program or a copy in a folder stdlib/.
pub fn is_standard(source: &str) -> bool {
    let path = Path::new(source.strip_suffix(BUILT_IN).unwrap_or(source));
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.parent().is_some_and(|folder| folder.ends_with("stdlib")) && STDLIB.iter().any(|(known, _)| *known == name)
}

/// The script that `import "path"` in the script `from` means.
///
/// `stdlib/x` is the workspace's stdlib/x.rhai if there is one, else the one in the program; anything else is relative to the
/// importing file.
///
/// Errors: `script` with every place looked at and the nearest name.
pub fn find(workspace: &Workspace, from: Option<&str>, path: &str) -> Result<Script> {
    match path.strip_prefix(PREFIX) {
        Some(name) => standard(workspace, name.strip_suffix(".rhai").unwrap_or(name)),
        None => beside(from.unwrap_or_default(), path),
    }
}

fn standard(workspace: &Workspace, name: &str) -> Result<Script> {
    let shipped = STDLIB.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    let own = tidy(&workspace.path(PREFIX).join(format!("{name}.{EXTENSION}")));
    if own.is_file() {
        let text = files::read_text(&own)?;
        let source = own.display().to_string();
        // A checkout of rvc-run has the same stdlib as the program built from it; only a difference is worth a line.
        let notice = shipped.filter(|t| *t != text).map(|_| format!("stdlib/{name} is taken from {source}"));
        return Ok(Script { source, text, notice });
    }
    if let Some(text) = shipped {
        return Ok(Script { source: built_in_source(name), text: text.to_owned(), notice: None });
    }
    let error = Error::new(
        Kind::Script,
        format!("there is no script {PREFIX}{name} to import: it is neither {} nor in the program", own.display()),
    );
    let names = STDLIB.iter().map(|(known, _)| *known);
    Err(match nearest(name, names.clone()) {
        Some(known) => error.hint(format!("did you mean \"{PREFIX}{known}\"?")),
        None => error.hint(format!("the standard library has: {}", names.collect::<Vec<_>>().join(", "))),
    })
}

fn beside(from: &str, path: &str) -> Result<Script> {
    if from.ends_with(BUILT_IN) {
        return Err(Error::new(Kind::Script, format!("{from} imports {path:?}, which is not in the standard library")));
    }
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let mut file = folder.join(path);
    if file.extension().is_none_or(|e| e != EXTENSION) {
        file.as_mut_os_string().push(".rhai");
    }
    let file = tidy(&file);
    if file.is_file() {
        return Ok(Script { source: file.display().to_string(), text: files::read_text(&file)?, notice: None });
    }
    let error = Error::new(Kind::Script, format!("there is no script {} to import", file.display())).path(&file);
    let hint = nearest_script(&file).map(|name| format!("did you mean {name:?}?")).or_else(|| {
        STDLIB.iter().any(|(known, _)| *known == path).then(|| format!("did you mean \"{PREFIX}{path}\"?"))
    });
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error.hint("imports are relative to the importing file; the standard library is \"stdlib/...\""),
    })
}

/// The script in the folder of `file` whose name is nearest to that of `file`.
fn nearest_script(file: &Path) -> Option<String> {
    let listed = files::list(file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))).ok()?;
    let names: Vec<String> = listed
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == EXTENSION))
        .filter_map(|p| Some(p.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    nearest(&file.file_stem()?.to_string_lossy(), names.iter().map(String::as_str)).map(str::to_owned)
}

/// `path` without `.` and, where it can be told from the text alone, without `..`: one file has one name in messages.
pub fn tidy(path: &Path) -> PathBuf {
    let mut parts: Vec<Component> = Vec::new();
    for part in path.components() {
        match (part, parts.last()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.iter().collect()
}

/// Writes the shipped script `name` ("stdlib/training" or "training") to the workspace's stdlib folder; returns the path.
///
/// Errors: `usage` if there is no such script, or a file is there already and `force` is not set; `file.*`.
pub fn eject(workspace: &Workspace, name: &str, force: bool) -> Result<PathBuf> {
    let short = name.strip_prefix(PREFIX).unwrap_or(name);
    let short = short.strip_suffix(".rhai").unwrap_or(short);
    let Some((known, text)) = STDLIB.iter().find(|(known, _)| *known == short) else {
        let error = Error::new(Kind::Usage, format!("there is no script {PREFIX}{short} in the program"));
        let names = STDLIB.iter().map(|(known, _)| *known);
        return Err(match nearest(short, names.clone()) {
            Some(known) => error.hint(format!("did you mean {PREFIX}{known}?")),
            None => error.hint(format!("there are: {}", names.collect::<Vec<_>>().join(", "))),
        });
    };
    let path = tidy(&workspace.path(PREFIX).join(format!("{known}.{EXTENSION}")));
    if files::read(&path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(path); // there already, ready to be edited
    }
    if path.exists() && !force {
        return Err(Error::new(Kind::Usage, format!("{} is there already", path.display()))
            .path(&path)
            .hint("--force replaces it by the shipped script"));
    }
    files::write(&path, text)?;
    Ok(path)
}
