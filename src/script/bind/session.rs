//! What a recipe runs in: workspace, task, output and the values of its parameters.

use crate::assets::Store;
use crate::cache::Cache;
use crate::features::Models;
use crate::files::Workspace;
use crate::task::Task;
use crate::track::Options;
use rhai::{Map, NativeCallContext};
use std::cell::{Cell, OnceCell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Where `print` of a script goes; one call is one line.
pub type Output = Arc<dyn Fn(&str) + Send + Sync>;

/// Finds the recipe that a word means, as on the command line.
pub type Finder = fn(&Workspace, &str) -> crate::Result<PathBuf>;

/// What jobs that a recipe starts are made of, and whose job this program is.
#[derive(Clone, Debug, Default)]
pub struct Child {
    /// What is started; none: this very program.
    pub program: Option<PathBuf>,
    /// What stands before the recipe on its command line.
    pub flags: Vec<String>,
    /// The --threads that this program was told; none: children share the machine.
    pub threads: Option<usize>,
    /// The run that runs of this program belong to.
    pub parent: Option<String>,
    /// Where this program tells its result, if it is a job itself.
    pub report: Option<PathBuf>,
}

/// The state that every native function can reach through `ctx.tag()`. Cloning is cheap.
#[derive(Clone)]
pub struct Session(Rc<Inner>);

struct Inner {
    workspace: Workspace,
    task: Task,
    output: Output,
    /// The file of the recipe that was started.
    recipe: RefCell<PathBuf>,
    arguments: RefCell<Option<Map>>,
    exit_code: Cell<u8>,
    cache: OnceCell<Cache>,
    models: Models,
    tracking: RefCell<Options>,
    child: RefCell<Child>,
    finder: Cell<Option<Finder>>,
}

impl Session {
    /// A session that finds pretrained files in the workspace alone.
    pub fn new(workspace: Workspace, task: Task, output: Output) -> Self {
        let store = Store::new(&workspace);
        Self::with_store(workspace, store, task, output)
    }

    /// A session that finds pretrained files in `store`.
    pub fn with_store(workspace: Workspace, store: Store, task: Task, output: Output) -> Self {
        Self(Rc::new(Inner {
            models: Models::new(store),
            workspace,
            task,
            output,
            recipe: RefCell::default(),
            arguments: RefCell::new(None),
            exit_code: Cell::new(0),
            cache: OnceCell::new(),
            tracking: RefCell::default(),
            child: RefCell::default(),
            finder: Cell::new(None),
        }))
    }

    pub fn workspace(&self) -> &Workspace {
        &self.0.workspace
    }

    pub fn task(&self) -> &Task {
        &self.0.task
    }

    /// Writes one line where `print` goes.
    pub fn print(&self, line: &str) {
        (self.0.output)(line);
    }

    /// The folder of the recipe that was started; empty (the current folder) before one is.
    pub fn recipe_folder(&self) -> PathBuf {
        self.0.recipe.borrow().parent().map(PathBuf::from).unwrap_or_default()
    }

    /// The file of the recipe that was started, if one was.
    pub fn recipe_file(&self) -> Option<PathBuf> {
        Some(self.0.recipe.borrow().clone()).filter(|path| !path.as_os_str().is_empty())
    }

    /// The name of the recipe that was started: "train_voice".
    pub fn recipe_name(&self) -> Option<String> {
        self.0.recipe.borrow().file_stem().map(|stem| stem.to_string_lossy().into_owned())
    }

    pub fn set_recipe(&self, path: PathBuf) {
        *self.0.recipe.borrow_mut() = path;
    }

    /// The parameters of the recipe, if it was started with any.
    pub fn arguments(&self) -> Option<Map> {
        self.0.arguments.borrow().clone()
    }

    pub fn set_arguments(&self, values: Map) {
        *self.0.arguments.borrow_mut() = Some(values);
    }

    /// The code that the recipe wants to end with.
    pub fn exit_code(&self) -> u8 {
        self.0.exit_code.get()
    }

    pub fn set_exit_code(&self, code: u8) {
        self.0.exit_code.set(code);
    }

    /// Where runs are recorded besides the workspace's event log.
    pub fn tracking(&self) -> Options {
        self.0.tracking.borrow().clone()
    }

    pub fn set_tracking(&self, options: Options) {
        *self.0.tracking.borrow_mut() = options;
    }

    /// The file of a recipe: as the command line finds it, else beside the recipe that runs. Errors: `usage`.
    pub fn find_recipe(&self, word: &str) -> crate::Result<PathBuf> {
        let found = match self.0.finder.get() {
            Some(find) => find(self.workspace(), word),
            None => Ok(PathBuf::from(word)),
        };
        let beside = self.recipe_file().map(|file| file.with_file_name(format!("{word}.rhai")));
        match (found, beside.filter(|path| path.is_file())) {
            (Err(_), Some(path)) => Ok(path),
            (found, _) => found,
        }
    }

    pub fn set_finder(&self, finder: Finder) {
        self.0.finder.set(Some(finder));
    }

    /// What jobs are made of.
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
    ctx.tag()
        .and_then(|tag| tag.clone().try_cast::<Session>())
        .expect("script::engine sets the session as default tag of every engine")
}
