//! What the program carries, so that it needs no file beside it: the standard library, the recipes, the speech of the quickstart.
//!
//! A script of the program is named in messages and on the command line as `recipes/train_voice.rhai (built in)`.

use crate::error::nearest;

/// The folder of the standard library in a workspace.
pub const STDLIB_FOLDER: &str = "stdlib";
/// The folder of recipes in a workspace.
pub const RECIPES_FOLDER: &str = "recipes";
/// The folder of speech beside the recipe quickstart.
pub const SPEECH_FOLDER: &str = "quickstart";
/// What a script's file ends with.
pub const EXTENSION: &str = "rhai";

/// What ends the name of a script that is in the program.
const BUILT_IN: &str = " (built in)";

macro_rules! scripts {
    ($folder:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!("../", $folder, "/", $name, ".rhai")))),*]
    };
}

macro_rules! files {
    ($folder:literal: $($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("../", $folder, "/", $path)))),*]
    };
}

/// The standard library: (name without "stdlib/", text). tests/script.rs compares it with the folder.
pub const STDLIB: &[(&str, &str)] = scripts!("stdlib":
    "batch" "conversion" "dataset" "extraction" "indexing" "presets" "proof" "search" "slicing" "sweep" "tracking" "training" "voice"
    "voicefile"
);

/// The recipes: (name without "recipes/", text). tests/script.rs compares them with the folder.
pub const RECIPES: &[(&str, &str)] = scripts!("recipes":
    "convert" "export" "extract" "import" "index" "prepare" "prepare_voice" "quickstart" "resume" "sweep" "sweep_custom"
    "sweep_then_train" "sweep_trial" "train_all" "train_voice" "voice_extract" "voice_info" "voice_merge" "voice_rename"
);

/// The quickstart's two speakers, 1.3 MB: (path below [`SPEECH_FOLDER`], bytes). tests/script.rs compares them with the folder.
pub const SPEECH: &[(&str, &[u8])] = files!("recipes/quickstart":
    "README.md"
    "anna/01.flac" "anna/02.flac" "anna/03.flac" "anna/04.flac" "anna/05.flac" "anna/06.flac"
    "ben/01.flac" "ben/02.flac" "ben/03.flac" "ben/04.flac" "ben/05.flac" "ben/06.flac"
);

/// The text of the script `name` in [`STDLIB`] or [`RECIPES`].
pub fn text(scripts: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    scripts.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The name in [`STDLIB`] or [`RECIPES`] that is most like `name`.
pub fn nearest_name(scripts: &[(&'static str, &str)], name: &str) -> Option<&'static str> {
    nearest(name, scripts.iter().map(|(known, _)| *known))
}

/// How messages name a script of the program, and how the command line takes one: "recipes/train_voice.rhai (built in)".
pub fn source(folder: &str, name: &str) -> String {
    format!("{folder}/{name}.{EXTENSION}{BUILT_IN}")
}

/// The path in the name of a script of the program: "recipes/train_voice.rhai"; none for a file.
pub fn path_of(source: &str) -> Option<&str> {
    source.strip_suffix(BUILT_IN)
}

/// The name of the recipe that a path in the form of [`RECIPES_FOLDER`] means, with or without the ending: "train_voice".
pub fn recipe_name(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix(RECIPES_FOLDER)?.strip_prefix('/')?;
    let name = name.strip_suffix(EXTENSION).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    RECIPES.iter().map(|(known, _)| *known).find(|known| *known == name)
}

/// Whether a text is that of a recipe of the program, unchanged.
pub fn is_recipe(text: &str) -> bool {
    RECIPES.iter().any(|(_, known)| known.trim() == text.trim())
}
