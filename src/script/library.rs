//! Finds imported scripts: the standard library in the program, the user's own copies, files in a recipe's folder.

use super::bind::Script;
use crate::error::nearest;
use crate::files::{self, Workspace};
use crate::shipped::{self, EXTENSION, STDLIB, STDLIB_FOLDER};
use crate::{Error, Kind, Result};
use std::path::{Component, Path, PathBuf};

const PREFIX: &str = "stdlib/";

/// Whether a script belongs to the standard library: the program's, or a copy in a folder stdlib/.
pub fn is_standard(source: &str) -> bool {
    let path = Path::new(shipped::path_of(source).unwrap_or(source));
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.parent().is_some_and(|folder| folder.ends_with("stdlib")) && STDLIB.iter().any(|(known, _)| *known == name)
}

/// The script that `import "path"` in the script `from` means.
///
/// `stdlib/x` is the workspace's stdlib/x.rhai if it exists, otherwise the program's; anything else is relative to the
/// importing file.
///
/// Errors: `script` with every place searched and the nearest name.
pub fn find(workspace: &Workspace, from: Option<&str>, path: &str) -> Result<Script> {
    match path.strip_prefix(PREFIX) {
        Some(name) => standard(workspace, name.strip_suffix(".rhai").unwrap_or(name)),
        None => beside(from.unwrap_or_default(), path),
    }
}

fn standard(workspace: &Workspace, name: &str) -> Result<Script> {
    let shipped = shipped::text(STDLIB, name);
    let own = tidy(&workspace.path(PREFIX).join(format!("{name}.{EXTENSION}")));
    if own.is_file() {
        let text = files::read_text(&own)?;
        let source = own.display().to_string();
        // A checkout of rvc-run has the same stdlib as the program built from it; only a difference is worth a notice.
        let notice = shipped.filter(|t| *t != text).map(|_| format!("stdlib/{name} is taken from {source}"));
        return Ok(Script { source, text, notice });
    }
    if let Some(text) = shipped {
        return Ok(Script { source: shipped::source(STDLIB_FOLDER, name), text: text.to_owned(), notice: None });
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
    if shipped::path_of(from).is_some() {
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

/// `path` without `.`, and without `..` where the text is enough to remove it: one file has one name in messages.
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
