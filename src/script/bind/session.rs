//! What a recipe runs in: workspace, task, output and the values of its parameters.

use crate::files::Workspace;
use crate::task::Task;
use rhai::{Map, NativeCallContext};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Where `print` of a script goes; one call is one line.
pub type Output = Arc<dyn Fn(&str) + Send + Sync>;

/// Keeps the work of a handle when the recipe is stopped; see [`Session::keep`].
pub type Keeper = Box<dyn Fn() -> crate::Result<()>>;

/// The state that every native function can reach through `ctx.tag()`. Cloning is cheap.
#[derive(Clone)]
pub struct Session(Rc<Inner>);

struct Inner {
    workspace: Workspace,
    task: Task,
    output: Output,
    recipe_folder: RefCell<PathBuf>,
    arguments: RefCell<Option<Map>>,
    keepers: RefCell<Vec<Keeper>>,
}

impl Session {
    pub fn new(workspace: Workspace, task: Task, output: Output) -> Self {
        Self(Rc::new(Inner {
            workspace,
            task,
            output,
            recipe_folder: RefCell::default(),
            arguments: RefCell::new(None),
            keepers: RefCell::new(Vec::new()),
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
        self.0.recipe_folder.borrow().clone()
    }

    pub fn set_recipe_folder(&self, folder: PathBuf) {
        *self.0.recipe_folder.borrow_mut() = folder;
    }

    /// The parameters of the recipe, if it was started with any.
    pub fn arguments(&self) -> Option<Map> {
        self.0.arguments.borrow().clone()
    }

    pub fn set_arguments(&self, values: Map) {
        *self.0.arguments.borrow_mut() = Some(values);
    }

    /// Registers what saves unfinished work if the recipe is stopped by a signal before it did so itself.
    pub fn keep(&self, keeper: Keeper) {
        self.0.keepers.borrow_mut().push(keeper);
    }

    /// Runs every keeper, the first registered first; returns the errors of those that failed.
    pub fn save_unfinished(&self) -> Vec<crate::Error> {
        let keepers = std::mem::take(&mut *self.0.keepers.borrow_mut());
        keepers.iter().filter_map(|keeper| keeper().err()).collect()
    }
}

/// The session of the running script.
pub fn session(ctx: &NativeCallContext) -> Session {
    ctx.tag()
        .and_then(|tag| tag.clone().try_cast::<Session>())
        .expect("script::engine sets the session as default tag of every engine")
}
