//! Script interface of the machine around a recipe: workspace paths, exit codes, tables, warnings.

use super::{At, Fallible, Fault, Session, command, session, text, value};

use crate::{Error, Kind, Result, duration, eject, files, memory, shell, shipped, shown};
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Exit codes that a recipe may end with; 130 is reserved for signals.
const EXIT_CODES: std::ops::RangeInclusive<u8> = 0..=3;

/// The most decimals for `round`; a float holds no more.
const MAX_DIGITS: i64 = 15;

fn text_of(path: impl AsRef<Path>) -> ImmutableString {
    path.as_ref().display().to_string().into()
}

/// Flags by parameter, as plain values.
fn flags(map: &Map) -> Result<BTreeMap<String, serde_json::Value>> {
    Ok(value::map_to_json(map)?.into_iter().collect())
}

#[export_module]
pub mod api {
    /// Returns the version of rvc-run.
    ///
    /// # Example
    /// ```rhai
    /// system::version().contains(".")
    /// ```
    pub fn version() -> ImmutableString {
        env!("CARGO_PKG_VERSION").into()
    }

    /// Returns `path` unchanged if it is absolute, otherwise below the workspace.
    ///
    /// # Example
    /// ```rhai
    /// system::workspace_path("data/anna").ends_with("anna")
    /// ```
    pub fn workspace_path(ctx: NativeCallContext, path: &str) -> ImmutableString {
        text_of(session(&ctx).workspace().path(path))
    }

    /// Returns the folder of a voice's recordings, data/<voice>.
    ///
    /// * Fails with `config.value` if `voice` cannot be a folder name.
    ///
    /// # Example
    /// ```rhai
    /// system::data_path("anna").contains("data")
    /// ```
    #[rhai_fn(return_raw)]
    pub fn data_path(ctx: NativeCallContext, voice: &str) -> Fallible<ImmutableString> {
        session(&ctx).workspace().data(voice).map(text_of).at(&ctx)
    }

    /// Returns the folder of a voice's clips, features and checkpoints, logs/<voice>.
    ///
    /// * Fails with `config.value` if `voice` cannot be a folder name.
    ///
    /// # Example
    /// ```rhai
    /// system::logs_path("anna").contains("logs")
    /// ```
    #[rhai_fn(return_raw)]
    pub fn logs_path(ctx: NativeCallContext, voice: &str) -> Fallible<ImmutableString> {
        session(&ctx).workspace().logs(voice).map(text_of).at(&ctx)
    }

    /// Returns the file of a voice's exported model, models/<voice>.pth.
    ///
    /// * Fails with `config.value` if `voice` cannot be a file name.
    ///
    /// # Example
    /// ```rhai
    /// system::model_path("anna").ends_with("anna.pth")
    /// ```
    #[rhai_fn(return_raw)]
    pub fn model_path(ctx: NativeCallContext, voice: &str) -> Fallible<ImmutableString> {
        session(&ctx).workspace().model(voice).map(text_of).at(&ctx)
    }

    /// Returns the command line that started this recipe with other values of some parameters, to be copied into a shell; () if the
    /// recipe has no such parameter.
    ///
    /// * `changes`: values by parameter; () removes a flag.
    ///
    /// # Example
    /// ```rhai
    /// system::again(#{ no_such_parameter: 1 }) == ()
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn again(ctx: NativeCallContext, changes: Map) -> Fallible<Dynamic> {
        let changes = super::flags(&changes).at(&ctx)?;
        Ok(session(&ctx).call().again(&changes).map_or(Dynamic::UNIT, Dynamic::from))
    }

    /// Returns the numbers of the GPUs that `--gpu 0,1` names; empty if it names none.
    ///
    /// # Example
    /// ```rhai
    /// system::gpus().is_empty()             // an example is started without flags
    /// ```
    #[rhai_fn(volatile)]
    pub fn gpus(ctx: NativeCallContext) -> Array {
        session(&ctx).layers().gpus.iter().map(|&gpu| Dynamic::from(i64::from(gpu))).collect()
    }

    /// Returns the path of `name` beside the recipe that was started, such as a folder of recordings.
    ///
    /// Beside a recipe of the program is the workspace's folder recipes/.
    ///
    /// # Example
    /// ```rhai
    /// system::recipe_path("mine").ends_with("mine")
    /// ```
    pub fn recipe_path(ctx: NativeCallContext, name: &str) -> ImmutableString {
        text_of(super::beside_recipe(&session(&ctx), name))
    }

    /// Writes the speech of two speakers that the program carries to the workspace's folder recipes/quickstart/, and returns that folder.
    ///
    /// Files that are there already stay. Where a folder quickstart/ is beside the recipe that was started, that folder is returned and nothing
    /// is written.
    ///
    /// * Fails with `file.*` if the speech cannot be written.
    ///
    /// # Example
    /// ```rhai
    /// system::list_folders(system::eject_speech()) == ["anna", "ben"]
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn eject_speech(ctx: NativeCallContext) -> Fallible<ImmutableString> {
        super::eject_speech(&session(&ctx)).map(text_of).at(&ctx)
    }

    /// Returns the names of the folders in `path`, sorted; hidden ones (leading dot) are left out.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `file.not_found` if there is no such folder.
    ///
    /// # Example
    /// ```rhai
    /// system::list_folders("data") == ["anna", "ben"]     // the workspace of the example has these two
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn list_folders(ctx: NativeCallContext, path: &str) -> Fallible<Array> {
        entries(&session(&ctx).workspace().path(path), Path::is_dir).at(&ctx)
    }

    /// Returns the names of the files in `path`, sorted; hidden ones (leading dot) are left out.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `file.not_found` if there is no such folder.
    ///
    /// # Example
    /// ```rhai
    /// system::list_files("data/anna").len() > 0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn list_files(ctx: NativeCallContext, path: &str) -> Fallible<Array> {
        entries(&session(&ctx).workspace().path(path), Path::is_file).at(&ctx)
    }

    /// Returns whether `path` is a folder; relative paths start at the workspace.
    ///
    /// # Example
    /// ```rhai
    /// system::is_folder("data/anna") && !system::is_folder("data/anna/tone.wav")
    /// ```
    #[rhai_fn(volatile)]
    pub fn is_folder(ctx: NativeCallContext, path: &str) -> bool {
        session(&ctx).workspace().path(path).is_dir()
    }

    /// Returns the path of the newest file in `folder` whose name has this beginning and end; "" if no file has.
    ///
    /// # Example
    /// ```rhai
    /// system::newest_file("data/anna", "to", ".wav").ends_with("tone.wav") && system::newest_file("nowhere", "", "") == ""
    /// ```
    #[rhai_fn(volatile)]
    pub fn newest_file(ctx: NativeCallContext, folder: &str, begins: &str, ends: &str) -> ImmutableString {
        let folder = session(&ctx).workspace().path(folder);
        let fits = |name: &str| name.starts_with(begins) && name.ends_with(ends);
        let names = entries(&folder, Path::is_file).unwrap_or_default();
        let files = names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| fits(name));
        let written = |name: &String| folder.join(name).metadata().and_then(|about| about.modified()).ok();
        files.max_by_key(written).map_or("".into(), |name| text_of(folder.join(name)))
    }

    /// Returns a file's name without its folder and extension.
    ///
    /// # Example
    /// ```rhai
    /// system::stem("models/anna.pth") == "anna"
    /// ```
    pub fn stem(path: &str) -> ImmutableString {
        Path::new(path).file_stem().map_or("".into(), |stem| stem.to_string_lossy().into_owned().into())
    }

    /// Returns whether there is a file or folder at `path`; relative paths start at the workspace.
    ///
    /// # Example
    /// ```rhai
    /// system::file_exists("data/anna") && !system::file_exists("data/nobody")
    /// ```
    #[rhai_fn(volatile)]
    pub fn file_exists(ctx: NativeCallContext, path: &str) -> bool {
        session(&ctx).workspace().path(path).exists()
    }

    /// Returns the folder of a file; "." for a bare name.
    ///
    /// # Example
    /// ```rhai
    /// system::folder_of("models/anna.pth") == "models" && system::folder_of("anna.pth") == "."
    /// ```
    pub fn folder_of(path: &str) -> ImmutableString {
        match Path::new(path).parent() {
            Some(folder) if !folder.as_os_str().is_empty() => text_of(folder),
            _ => ".".into(),
        }
    }

    /// Returns whether two paths lead to the same existing file or folder; relative paths start at the workspace.
    ///
    /// # Example
    /// ```rhai
    /// system::same_file("data/anna", "data/../data/anna") && !system::same_file("data/anna", "data/ben")
    /// ```
    #[rhai_fn(volatile)]
    pub fn same_file(ctx: NativeCallContext, a: &str, b: &str) -> bool {
        let real = |path: &str| session(&ctx).workspace().path(path).canonicalize().ok();
        real(a).is_some_and(|a| real(b) == Some(a))
    }

    /// Ends the recipe at once with an exit code: 0 done, 1 failed, 2 wrong use, 3 done with skipped items.
    ///
    /// * Fails with `config.value` for any other code.
    ///
    /// # Example
    /// ```rhai
    /// let skipped = 0;
    /// if skipped > 0 { system::exit_with(3); }
    /// skipped == 0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn exit_with(ctx: NativeCallContext, code: i64) -> Fallible<()> {
        match u8::try_from(code) {
            Ok(known) if EXIT_CODES.contains(&known) => {
                session(&ctx).set_exit_code(known);
                Err(EvalAltResult::Exit(Dynamic::UNIT, ctx.call_position()).into())
            }
            _ => Err(Error::new(Kind::ConfigValue, format!("an exit code is 0, 1, 2 or 3, not {code}"))).at(&ctx),
        }
    }

    /// Prints a warning that something was lost or replaced; warnings are counted in the run's summary.
    ///
    /// # Example
    /// ```rhai
    /// system::warn("ben.wav was left out: it is silent");
    /// true
    /// ```
    #[rhai_fn(volatile)]
    pub fn warn(ctx: NativeCallContext, text: &str) {
        session(&ctx).task().warn(text);
    }

    /// Returns an error to throw, which looks like an error of the engine.
    ///
    /// * `kind`: a dotted code, such as `data.empty`, for `catch`; `hint`: what to do next, or "".
    ///
    /// # Example
    /// ```rhai
    /// let seen = "";
    /// try { throw system::error("data.empty", "there is no voice", "put recordings into data/anna/"); }
    /// catch (e) { seen = e.kind; }
    /// seen == "data.empty"
    /// ```
    #[rhai_fn(volatile)]
    pub fn error(ctx: NativeCallContext, kind: &str, message: &str, hint: &str) -> Fault {
        let fault = Fault::new(kind, message, hint);
        session(&ctx).note_error(fault.to_json());
        fault
    }

    /// Returns the value that `catch` received as an error with `kind`, `message`, `hint` and `path`.
    ///
    /// Rhai's own errors (a missing property, an index out of bounds) arrive as maps without a kind; their kind is `script`.
    ///
    /// # Example
    /// ```rhai
    /// let kind = "";
    /// try { [1, 2][5]; } catch (e) { kind = system::error_of(e).kind; }
    /// kind == "script"
    /// ```
    pub fn error_of(caught: Dynamic) -> Fault {
        Fault::of(&caught)
    }

    /// Returns `x` rounded to `digits` decimals.
    ///
    /// # Example
    /// ```rhai
    /// system::round(3.14159, 2) == 3.14
    /// ```
    pub fn round(x: f64, digits: i64) -> f64 {
        let scale = 10f64.powi(digits.clamp(0, MAX_DIGITS) as i32);
        // Too large to be scaled means that there are no decimals to round.
        if (x * scale).is_finite() { (x * scale).round() / scale } else { x }
    }

    /// Returns `x` as a float; a whole number has no decimals to round.
    ///
    /// # Example
    /// ```rhai
    /// system::round(3, 2) == 3.0
    /// ```
    #[rhai_fn(name = "round")]
    pub fn round_int(x: i64, digits: i64) -> f64 {
        round(x as f64, digits)
    }

    /// Returns a length of time in words: "8.2 s", "12 min 30 s", "3 h 5 min".
    ///
    /// * `seconds`: whole or not.
    ///
    /// # Example
    /// ```rhai
    /// system::minutes(750.0) == "12 min 30 s"
    /// ```
    pub fn minutes(seconds: f64) -> ImmutableString {
        duration::words(seconds).into()
    }

    /// Returns a length of time in words, from whole seconds.
    ///
    /// # Example
    /// ```rhai
    /// system::minutes(11100) == "3 h 5 min"
    /// ```
    #[rhai_fn(name = "minutes")]
    pub fn minutes_int(seconds: i64) -> ImmutableString {
        duration::words(seconds as f64).into()
    }

    /// Returns the seconds of a length of time such as "90s", "30m", "2h" or "1h30m"; a bare number is seconds.
    ///
    /// * Fails with `config.value` for anything else.
    ///
    /// # Example
    /// ```rhai
    /// system::seconds_of("1h30m") == 5400.0 && system::seconds_of("2.5s") == 2.5
    /// ```
    #[rhai_fn(return_raw)]
    pub fn seconds_of(ctx: NativeCallContext, text: &str) -> Fallible<f64> {
        text::seconds(text)
            .ok_or_else(|| {
                Error::new(Kind::ConfigValue, format!("{text:?} is not a length of time"))
                    .hint("such as 90s, 30m, 2h or 1h30m")
            })
            .at(&ctx)
    }

    /// Returns the peak memory of the program so far: "1.9 GB", or "unknown" if the system does not report it.
    ///
    /// # Example
    /// ```rhai
    /// system::peak_memory() != ""
    /// ```
    #[rhai_fn(volatile)]
    pub fn peak_memory() -> ImmutableString {
        memory::peak().map_or("unknown".into(), |bytes| memory::text(bytes).into())
    }

    /// Returns the names in a comma-separated string; blanks around them and empty names are dropped.
    ///
    /// # Example
    /// ```rhai
    /// system::split_names("anna, ben,") == ["anna", "ben"]
    /// ```
    pub fn split_names(names: &str) -> Array {
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(|name| name.to_owned().into()).collect()
    }

    /// Returns the text in `known` that `word` was probably meant to be; () if none is close enough to be a typo.
    ///
    /// # Example
    /// ```rhai
    /// system::nearest("ana", ["anna", "ben"]) == "anna" && system::nearest("zoe", ["anna", "ben"]) == ()
    /// ```
    pub fn nearest(word: &str, known: Array) -> Dynamic {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        crate::error::nearest(word, known.iter().map(String::as_str))
            .map_or(Dynamic::UNIT, |near| near.to_owned().into())
    }

    /// Returns the name for a recipe in the folder of the started one, in a command to show: its name, or its path if the other was
    /// started by its path.
    ///
    /// # Example
    /// ```rhai
    /// system::sibling("resume") == "resume"
    /// ```
    #[rhai_fn(volatile)]
    pub fn sibling(ctx: NativeCallContext, recipe: &str) -> ImmutableString {
        session(&ctx).call().sibling(recipe).into()
    }

    /// Returns a command to show: `rvc-run`, `--workspace` if this program was given one, the recipe and its arguments, quoted for a shell where
    /// necessary.
    ///
    /// * `args`: a map of flags, or an array of strings and such maps, as in `jobs::run`. No string is taken for a flag.
    /// * Fails with `config.value` for anything else.
    ///
    /// # Example
    /// ```rhai
    /// system::command("resume", ["it's me", #{ epochs: 500 }]).ends_with(" resume 'it'\\''s me' --epochs 500")
    ///     && system::command("resume", ["-x", #{ epochs: 500 }]).ends_with(" resume --epochs 500 -- -x")
    /// ```
    #[rhai_fn(name = "command", return_raw)]
    pub fn command_line(ctx: NativeCallContext, recipe: &str, args: Dynamic) -> Fallible<ImmutableString> {
        let session = session(&ctx);
        let given = session.child().flags;
        let workspace = given.iter().find_map(|flag| flag.strip_prefix("--workspace="));
        let program = workspace.into_iter().flat_map(|folder| ["--workspace", folder]).map(str::to_owned);
        let program: Vec<String> = std::iter::once("rvc-run".to_owned()).chain(program).collect();
        command::shown(&program, recipe, &args).map(Into::into).at(&ctx)
    }

    /// Returns a command to show as `command` does, for a recipe that continues this one's work: with all flags that were typed before the recipe, such
    /// as --threads and --tracking-uri.
    ///
    /// # Example
    /// ```rhai
    /// system::next_command("train_voice", ["anna"]).ends_with("rvc-run train_voice anna")
    /// ```
    #[rhai_fn(return_raw)]
    pub fn next_command(ctx: NativeCallContext, recipe: &str, args: Dynamic) -> Fallible<ImmutableString> {
        let program = session(&ctx).call().program;
        let program = if program.is_empty() { vec!["rvc-run".to_owned()] } else { program };
        command::shown(&program, recipe, &args).map(Into::into).at(&ctx)
    }

    /// Returns `text` as one word of a shell: unchanged, or in quotes if it has a special character.
    ///
    /// # Example
    /// ```rhai
    /// system::shell_quote("anna") == "anna" && system::shell_quote("$HOME") == "'$HOME'"
    /// ```
    pub fn shell_quote(text: &str) -> ImmutableString {
        shell::quote(text).into()
    }

    /// Returns the voices that have a folder in `path`, sorted: maps of `name` and `fault`, an error to show if a voice cannot have that name, or ().
    /// Hidden folders (leading dot) are left out.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `file.not_found` if there is no such folder.
    ///
    /// # Example
    /// ```rhai
    /// system::list_voices("data").map(|voice| voice.name) == ["anna", "ben"] && system::list_voices("data").all(|voice| voice.fault == ())
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn list_voices(ctx: NativeCallContext, path: &str) -> Fallible<Array> {
        super::voices(&session(&ctx).workspace().path(path)).at(&ctx)
    }

    /// Returns the voice of a model's name: "anna" for anna_best, anna_ema, anna_e200 and anna_e200_s1600 if there is logs/anna but no folder
    /// with the model's own name.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{});
    /// system::voice_of("anna_e200_s1600") == "anna" && system::voice_of("nobody_best") == "nobody_best"
    /// ```
    #[rhai_fn(volatile)]
    pub fn voice_of(ctx: NativeCallContext, model: &str) -> ImmutableString {
        session(&ctx).workspace().voice_of(model).into()
    }

    /// Returns a string that changes when a file in `path`, or the file itself, is added, removed or written to: use it for files that a job
    /// depends on. "" if `path` does not exist.
    ///
    /// Files are compared by name, size and time, not read.
    ///
    /// # Example
    /// ```rhai
    /// let before = system::fingerprint("data/anna");
    /// system::write_text("data/anna/notes.txt", "recorded in May");
    /// system::fingerprint("data/anna") != before && system::fingerprint("nowhere") == ""
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn fingerprint(ctx: NativeCallContext, path: &str) -> Fallible<ImmutableString> {
        files::fingerprint(&session(&ctx).workspace().path(path)).map(Into::into).at(&ctx)
    }

    /// Returns a plain value as JSON, on one line.
    ///
    /// * Fails with `config.value` for a handle or a function.
    ///
    /// # Example
    /// ```rhai
    /// system::to_json(#{ learning_rate: 0.0001, batch_size: 4 }) == "{\"batch_size\":4,\"learning_rate\":0.0001}"
    /// ```
    #[rhai_fn(return_raw)]
    pub fn to_json(ctx: NativeCallContext, value: Dynamic) -> Fallible<ImmutableString> {
        value::to_json(&value).map(|json| json.to_string().into()).at(&ctx)
    }

    /// Returns the value of a JSON text; null is ().
    ///
    /// * Fails with `config.value` if it is not JSON.
    ///
    /// # Example
    /// ```rhai
    /// system::from_json("{\"learning_rate\": 1e-4}").learning_rate == 0.0001
    /// ```
    #[rhai_fn(return_raw)]
    pub fn from_json(ctx: NativeCallContext, text: &str) -> Fallible<Dynamic> {
        parse_json(text).at(&ctx)
    }

    /// Returns the value in a JSON file; () if there is no such file.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `config.value` if it is not JSON, `file.read`.
    ///
    /// # Example
    /// ```rhai
    /// system::write_text("tracking/note.json", "[1, 2]");
    /// system::read_json("tracking/note.json") == [1, 2] && system::read_json("nowhere.json") == ()
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn read_json(ctx: NativeCallContext, path: &str) -> Fallible<Dynamic> {
        let path = session(&ctx).workspace().path(path);
        if !path.exists() {
            return Ok(Dynamic::UNIT);
        }
        files::read_text(&path).and_then(|text| parse_json(&text).map_err(|e| e.path(&path))).at(&ctx)
    }

    /// Writes a text file, completely or not at all; creates its folder.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `file.write`, `file.disk_full`.
    ///
    /// # Example
    /// ```rhai
    /// system::write_text("tracking/note.txt", "hello");
    /// system::file_exists("tracking/note.txt")
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn write_text(ctx: NativeCallContext, path: &str, text: &str) -> Fallible<()> {
        files::write(&session(&ctx).workspace().path(path), text).at(&ctx)
    }

    /// Writes a plain value as a JSON file of several lines, completely or not at all; creates its folder.
    ///
    /// * Fails with `config.value` for a handle or a function, `file.write`, `file.disk_full`.
    ///
    /// # Example
    /// ```rhai
    /// system::write_json("tracking/best.json", #{ learning_rate: 0.0001 });
    /// system::read_json("tracking/best.json").learning_rate == 0.0001
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn write_json(ctx: NativeCallContext, path: &str, value: Dynamic) -> Fallible<()> {
        let path = session(&ctx).workspace().path(path);
        value::to_json(&value).and_then(|json| files::write(&path, format!("{json:#}\n"))).at(&ctx)
    }

    /// Prints a table: one line for the head, one for each row, columns as wide as their longest entry.
    ///
    /// * `head`: an array of strings; `rows`: an array of arrays.
    ///
    /// # Example
    /// ```rhai
    /// system::table(["voice", "result"], [["anna", "trained"], ["ben", "failed"]]);
    /// true
    /// ```
    #[rhai_fn(volatile)]
    pub fn table(ctx: NativeCallContext, head: Array, rows: Array) {
        super::printed(&ctx, &head, &rows, text::table);
    }

    /// Prints a table for reading, no wider than 100 columns: the last column continues on the lines below if it is too long.
    ///
    /// * `head`: an array of strings; `rows`: an array of arrays.
    ///
    /// # Example
    /// ```rhai
    /// system::sheet(["what", "value"], [["info", "a long story"], ["version", "v2"]]);
    /// true
    /// ```
    #[rhai_fn(volatile)]
    pub fn sheet(ctx: NativeCallContext, head: Array, rows: Array) {
        super::printed(&ctx, &head, &rows, text::sheet);
    }
}

fn printed(
    ctx: &NativeCallContext,
    head: &Array,
    rows: &Array,
    laid_out: fn(&[String], &[Vec<String>]) -> Vec<String>,
) {
    let cells = |row: &Array| row.iter().map(|cell| shown::line(&cell.to_string()).into_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.read_lock::<Array>().map_or_else(|| vec![row.to_string()], |r| cells(&r))).collect();
    for line in laid_out(&cells(head), &rows) {
        session(ctx).print(&line);
    }
}

fn parse_json(text: &str) -> crate::Result<Dynamic> {
    serde_json::from_str(text).map(|json| value::from_json(&json)).map_err(|e| {
        let why = if e.is_eof() {
            "it ends too early".to_owned()
        } else {
            format!("line {}, column {} is not valid", e.line(), e.column())
        };
        Error::new(Kind::ConfigValue, format!("this is not JSON: {why}"))
            .hint("names and strings need double quotes: {\"epochs\": 5, \"f0_method\": \"pm\"}")
    })
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    files::list(folder).map_err(|e| e.hint("make the folder, or give the parent of your data/ folder with --workspace"))
}

fn voices(folder: &Path) -> Result<Array> {
    let voice = |path: &PathBuf| {
        let name = path.file_name()?;
        let fault = match name.to_str() {
            Some(name) if name.starts_with('.') => return None,
            Some(name) => files::voice_name(name).err().map(Fault::from),
            None => {
                Some(Fault::new(Kind::ConfigValue.code(), "the name of the folder is not valid Unicode", "rename it"))
            }
        };
        let fault = fault.map_or(Dynamic::UNIT, Dynamic::from);
        Some(
            Map::from_iter([("name".into(), name.to_string_lossy().into_owned().into()), ("fault".into(), fault)])
                .into(),
        )
    };
    Ok(listed(folder)?.iter().filter(|path| path.is_dir()).filter_map(voice).collect())
}

/// The path of `name` beside the recipe that was started; for one of the program, in the workspace's recipes/.
fn beside_recipe(session: &Session, name: &str) -> PathBuf {
    match session.recipe_file() {
        Some(file) => file.with_file_name(name),
        None => session.workspace().path(shipped::RECIPES_FOLDER).join(name),
    }
}

/// The folder of the quickstart's speech: beside the recipe, else written to the workspace.
fn eject_speech(session: &Session) -> Result<PathBuf> {
    let beside = session.recipe_file().map(|file| file.with_file_name(shipped::SPEECH_FOLDER));
    if let Some(beside) = beside.filter(|beside| beside.is_dir()) {
        return Ok(beside);
    }
    let (folder, wrote) = eject::speech(session.workspace())?;
    if wrote {
        session.task().info(format!("wrote the quickstart's speech of two speakers to {}", folder.display()));
    }
    Ok(folder)
}

/// The names in `folder` that `wanted` accepts, sorted, without hidden ones.
fn entries(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Array> {
    Ok(listed(folder)?
        .iter()
        .filter(|path| wanted(path))
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.'))
        .map(Dynamic::from)
        .collect())
}
