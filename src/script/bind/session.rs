//! The state that a recipe runs with: workspace, task, output and the values of its parameters.

use crate::assets::Store;
use crate::cache::Cache;
use crate::config::layers::Layers;
use crate::config::settings::shown;
use crate::features::Models;
use crate::files::Workspace;
use crate::shell;
use crate::shipped;
use crate::task::Task;
use crate::track::Options;
use rhai::{Map, NativeCallContext};
use serde_json::Value;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Receives the output of a script's `print`; one call per line.
pub type Output = Arc<dyn Fn(&str) + Send + Sync>;

/// A script: a recipe, or an imported script.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// Its name in messages: a path, or for a script of the program the name from [`crate::shipped::source`].
    pub source: String,
    pub text: String,
    /// One line for the user if the script is not the expected one.
    pub notice: Option<String>,
}

/// Finds the recipe for a word, as on the command line; the path is that of the recipe that asks.
pub type Finder = fn(&Workspace, &str, Option<&Path>) -> crate::Result<Script>;

/// The options for jobs that a recipe starts, and the job that this program is.
#[derive(Clone, Debug, Default)]
pub struct Child {
    /// The program to start; None for this program.
    pub program: Option<PathBuf>,
    /// The words before the recipe on its command line.
    pub flags: Vec<String>,
    /// The --threads value of this program; None: children share the machine.
    pub threads: Option<usize>,
    /// The parent run of the runs of this program.
    pub parent: Option<String>,
    /// The file for this program's result, if it is a job itself.
    pub report: Option<PathBuf>,
}

/// The command line that started the recipe, as far as a similar one can be built from it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The words before the recipe: the program and the flags common to all recipes.
    pub program: Vec<String>,
    /// The recipe, as it was named.
    pub recipe: String,
    /// The recipe's parameters in their order, and whether each is positional.
    pub params: Vec<(String, bool)>,
    /// The typed values, by parameter; the others have their defaults.
    pub typed: BTreeMap<String, Value>,
}

impl Call {
    /// The same command with other values of some parameters; `null` removes a flag. None if the recipe lacks one of them, or if no command started the recipe.
    pub fn again(&self, changes: &BTreeMap<String, Value>) -> Option<String> {
        let is_known = |name: &String| self.params.iter().any(|(known, _)| known == name);
        if self.recipe.is_empty() || !changes.keys().all(is_known) {
            return None;
        }
        let mut given = self.typed.clone();
        given.extend(changes.clone());
        given.retain(|_, value| !value.is_null());
        let places = self.params.iter().filter(|(_, positional)| *positional);
        let places: Vec<String> =
            places.filter_map(|(name, _)| given.remove(name)).map(|value| shown(&value)).collect();
        let mut flags = Vec::new();
        for (name, value) in given {
            let flag = format!("--{}", name.replace('_', "-"));
            match value {
                Value::Bool(true) => flags.push(flag),
                Value::Array(entries) if !entries.iter().all(Value::is_number) => {
                    flags.extend(entries.iter().map(|entry| format!("{flag}={}", shown(entry))));
                }
                Value::Bool(false) => flags.push(format!("{flag}=false")),
                value if shown(&value).starts_with('-') => flags.push(format!("{flag}={}", shown(&value))),
                value => flags.extend([flag, shown(&value)]),
            }
        }
        let mut words = self.program.clone();
        words.push(self.recipe.clone());
        if places.iter().any(|word| word.starts_with('-')) {
            // After two dashes a name is not taken for a flag.
            words.extend(flags.into_iter().chain(["--".to_owned()]).chain(places));
        } else {
            words.extend(places.into_iter().chain(flags));
        }
        Some(shell::line(words.iter().map(String::as_str)))
    }
}

impl Call {
    /// The name of the recipe `name` in the folder of the one that was started: a path, if that one was started by its path.
    pub fn sibling(&self, name: &str) -> String {
        let own = Path::new(&self.recipe);
        match own.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => {
                let ending = own.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
                folder.join(format!("{name}{ending}")).display().to_string()
            }
            None => name.to_owned(),
        }
    }
}

/// The state that every native function can reach through `ctx.tag()`. Cloning is cheap.
#[derive(Clone)]
pub struct Session(Rc<Inner>);

struct Inner {
    workspace: Workspace,
    task: Task,
    output: Output,
    /// The recipe that was started; a file by its absolute path.
    recipe: RefCell<Script>,
    arguments: RefCell<Option<Map>>,
    layers: RefCell<Layers>,
    call: RefCell<Call>,
    exit_code: Cell<u8>,
    cache: OnceCell<Cache>,
    models: Models,
    tracking: RefCell<Options>,
    child: RefCell<Child>,
    finder: Cell<Option<Finder>>,
    /// How many native functions were called.
    calls: Cell<u64>,
    /// The newest error as an object, and `calls` when it arose.
    error: RefCell<Option<(u64, Value)>>,
}

impl Session {
    /// A session that searches pretrained files only in the workspace.
    pub fn new(workspace: Workspace, task: Task, output: Output) -> Self {
        let store = Store::new(&workspace);
        Self::with_store(workspace, store, task, output)
    }

    /// A session that searches pretrained files in `store`.
    pub fn with_store(workspace: Workspace, store: Store, task: Task, output: Output) -> Self {
        Self(Rc::new(Inner {
            models: Models::new(store),
            workspace,
            task,
            output,
            recipe: RefCell::default(),
            arguments: RefCell::new(None),
            layers: RefCell::default(),
            call: RefCell::default(),
            exit_code: Cell::new(0),
            cache: OnceCell::new(),
            tracking: RefCell::default(),
            child: RefCell::default(),
            finder: Cell::new(None),
            calls: Cell::new(0),
            error: RefCell::new(None),
        }))
    }

    /// Notes an error that may end the script, as an object with `code`, `message` and `hint`.
    pub fn note_error(&self, error: Value) {
        *self.0.error.borrow_mut() = Some((self.0.calls.get(), error));
    }

    /// The error that ends what is dropped now, if one does: the newest one, if no native function was called since. (A script that caught
    /// it would have called one.)
    pub fn ending_error(&self) -> Option<Value> {
        self.0.error.borrow().as_ref().filter(|(calls, _)| *calls == self.0.calls.get()).map(|(_, error)| error.clone())
    }

    pub fn workspace(&self) -> &Workspace {
        &self.0.workspace
    }

    pub fn task(&self) -> &Task {
        &self.0.task
    }

    /// Prints one line, like a script's `print`.
    pub fn print(&self, line: &str) {
        (self.0.output)(line);
    }

    /// The recipe that was started, if one was; a file by its absolute path.
    pub fn recipe(&self) -> Option<Script> {
        Some(self.0.recipe.borrow().clone()).filter(|recipe| !recipe.source.is_empty())
    }

    /// The file of the recipe that was started; None for a recipe of the program.
    pub fn recipe_file(&self) -> Option<PathBuf> {
        self.recipe().filter(|recipe| shipped::path_of(&recipe.source).is_none()).map(|recipe| recipe.source.into())
    }

    /// The name of the recipe that was started: "train_voice".
    pub fn recipe_name(&self) -> Option<String> {
        let source = self.recipe()?.source;
        let path = Path::new(shipped::path_of(&source).unwrap_or(&source));
        path.file_stem().map(|stem| stem.to_string_lossy().into_owned())
    }

    pub fn set_recipe(&self, source: &str, text: &str) {
        // Absolute, so that files beside the recipe are found from any workspace.
        let absolute = || std::path::absolute(source).map(|path| path.display().to_string());
        let source = match shipped::path_of(source) {
            Some(_) => source.to_owned(),
            None => absolute().unwrap_or_else(|_| source.to_owned()),
        };
        *self.0.recipe.borrow_mut() = Script { source, text: text.to_owned(), notice: None };
    }

    /// The parameters of the recipe, if it was started with any.
    pub fn arguments(&self) -> Option<Map> {
        self.0.arguments.borrow().clone()
    }

    pub fn set_arguments(&self, values: Map) {
        *self.0.arguments.borrow_mut() = Some(values);
    }

    /// The settings from the recipe and its command line.
    pub fn layers(&self) -> Layers {
        self.0.layers.borrow().clone()
    }

    pub fn set_layers(&self, layers: Layers) {
        *self.0.layers.borrow_mut() = layers;
    }

    /// The command line that started the recipe.
    pub fn call(&self) -> Call {
        self.0.call.borrow().clone()
    }

    pub fn set_call(&self, call: Call) {
        *self.0.call.borrow_mut() = call;
    }

    /// The exit code that the recipe has set.
    pub fn exit_code(&self) -> u8 {
        self.0.exit_code.get()
    }

    pub fn set_exit_code(&self, code: u8) {
        self.0.exit_code.set(code);
    }

    /// Where runs are recorded in addition to the workspace's event log.
    pub fn tracking(&self) -> Options {
        self.0.tracking.borrow().clone()
    }

    pub fn set_tracking(&self, options: Options) {
        *self.0.tracking.borrow_mut() = options;
    }

    /// A recipe that this one starts: found as on the command line, or in this recipe's folder. Errors: `usage`, `file.*`.
    pub fn find_recipe(&self, word: &str) -> crate::Result<Script> {
        let find = self.0.finder.get().expect("script::engine sets the finder of every session");
        let found = find(self.workspace(), word, self.recipe_file().as_deref())?;
        if let Some(notice) = &found.notice {
            self.task().info(notice);
        }
        Ok(found)
    }

    pub fn set_finder(&self, finder: Finder) {
        self.0.finder.set(Some(finder));
    }

    /// The options for jobs.
    pub fn child(&self) -> Child {
        self.0.child.borrow().clone()
    }

    pub fn set_child(&self, child: Child) {
        *self.0.child.borrow_mut() = child;
    }

    /// The networks of feature extraction, each opened when it is first needed.
    pub fn models(&self) -> &Models {
        &self.0.models
    }

    /// The workspace's cache, opened when it is first needed. Errors: `file.write`.
    pub fn cache(&self) -> crate::Result<Cache> {
        if let Some(cache) = self.0.cache.get() {
            return Ok(cache.clone());
        }
        let cache = Cache::open(self.0.workspace.cache())?;
        Ok(self.0.cache.get_or_init(|| cache).clone())
    }
}

/// The session of the running script.
pub fn session(ctx: &NativeCallContext) -> Session {
    let session = ctx
        .tag()
        .and_then(|tag| tag.clone().try_cast::<Session>())
        .expect("script::engine sets the session as default tag of every engine");
    session.0.calls.set(session.0.calls.get() + 1);
    session
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(typed: Value) -> Call {
        let params = [("voice", true), ("out", true), ("epochs", false), ("fresh", false), ("urls", false)];
        Call {
            program: vec!["rvc-run".into(), "--workspace".into(), "my voices".into()],
            recipe: "train_voice".into(),
            params: params.map(|(name, positional)| (name.to_owned(), positional)).to_vec(),
            typed: serde_json::from_value(typed).unwrap(),
        }
    }

    fn again(typed: Value, changes: Value) -> String {
        call(typed).again(&serde_json::from_value(changes).unwrap()).unwrap()
    }

    #[test]
    fn the_same_command_keeps_typed_values_and_applies_changes() {
        let typed = json!({ "voice": "anna", "epochs": 2, "fresh": true });
        let start = "rvc-run --workspace 'my voices' train_voice";
        assert_eq!(again(typed.clone(), json!({ "epochs": 4, "fresh": null })), format!("{start} anna --epochs 4"));
        assert_eq!(again(typed, json!({})), format!("{start} anna --epochs 2 --fresh"));
    }

    #[test]
    fn a_shell_reads_every_word_as_one() {
        let typed = json!({ "voice": "o'neil; rm", "urls": ["http://a?b&c", "-x"], "epochs": -1 });
        assert!(
            again(typed, json!({}))
                .ends_with(r"train_voice 'o'\''neil; rm' --epochs=-1 '--urls=http://a?b&c' --urls=-x")
        );
        assert!(again(json!({ "voice": "-x", "epochs": 1 }), json!({})).ends_with("train_voice --epochs 1 -- -x"));
    }

    #[test]
    fn a_recipe_in_the_same_folder_is_named_in_the_same_way() {
        let sibling = |recipe: &str| Call { recipe: recipe.into(), ..Call::default() }.sibling("resume");
        assert_eq!(sibling("train_voice"), "resume");
        assert_eq!(sibling("recipes/train_voice.rhai"), "recipes/resume.rhai");
        assert_eq!(sibling("/a/recipes/train_voice"), "/a/recipes/resume");
    }

    #[test]
    fn a_recipe_without_the_parameter_has_no_such_command() {
        assert_eq!(call(json!({})).again(&BTreeMap::from([("budget".to_owned(), json!("1h"))])), None);
    }
}
