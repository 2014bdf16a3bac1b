//! From a file to an exit code: load, check, run.

use super::bind::Fault;
use super::check;
use super::diagnostic::{self, Diagnostic, Severity};
use super::engine::Host;
use super::native::Natives;
use super::params::{self, Param};
use super::rows;
use rhai::{EvalAltResult, Map, Scope};

/// Stack of the thread that parses and runs scripts. Rhai recurses for every nested call and expression: 64 levels of
/// calls, each with expressions 64 deep, need some 20 MB in a build with debug information. Only touched pages cost memory.
pub const STACK_BYTES: usize = 256 << 20;

/// Exit codes, see the README.
pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const WRONG_USE: u8 = 2;
pub const CANCELLED: u8 = 130;

/// A recipe that parses, with everything that its command line needs.
pub struct Recipe {
    /// Its name in messages: the path as given.
    pub source: String,
    pub text: String,
    /// Its `//!` text.
    pub doc: String,
    pub params: Vec<Param>,
}

/// How a recipe ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: u8,
    /// The messages for the user: the error that stopped it, and anything that could not be saved.
    pub diagnostics: Vec<Diagnostic>,
}

/// Runs `f` on a thread with a stack that fits scripts.
pub fn on_big_stack<T: Send>(f: impl FnOnce() -> T + Send) -> crate::Result<T> {
    let panicked = || crate::Error::new(crate::Kind::Internal, "the script thread panicked");
    crossbeam::scope(|scope| {
        let builder = scope.builder().name("script".into()).stack_size(STACK_BYTES);
        let thread = builder
            .spawn(|_| f())
            .map_err(|e| crate::Error::new(crate::Kind::Internal, format!("cannot start a thread: {e}")).source(e))?;
        thread.join().map_err(|_| panicked())
    })
    .map_err(|_| panicked())?
}

/// Reads the parameters of a script. Errors: every mistake in it and in what it imports.
pub fn load(host: &Host, source: &str, text: &str) -> Result<Recipe, Vec<Diagnostic>> {
    let all = |first: Vec<Diagnostic>| {
        let found = check::script(host, &Natives::of(&host.engine), source, text);
        if found.is_empty() { first } else { found }
    };
    let ast = host.compile(source, text).map_err(|mistake| all(vec![*mistake]))?;
    let params = rows::read(host, &ast).map_err(all)?;
    let doc = super::docs::script_doc(ast.doc());
    Ok(Recipe { source: source.to_owned(), text: text.to_owned(), doc, params })
}

/// Checks a recipe, then runs it with `arguments`; mistakes that the check can find stop it before the run.
pub fn run(host: &Host, recipe: &Recipe, arguments: Map) -> Outcome {
    let natives = Natives::of(&host.engine);
    let mut found = check::script(host, &natives, &recipe.source, &recipe.text);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Outcome { code: WRONG_USE, diagnostics: found };
    }
    let ast = match host.compile(&recipe.source, &recipe.text) {
        Ok(ast) => ast,
        Err(mistake) => return Outcome { code: WRONG_USE, diagnostics: vec![*mistake] },
    };
    host.session.set_layers(params::layers(&recipe.params, &host.session.call().typed));
    host.session.set_arguments(arguments);
    host.session.set_recipe(&recipe.source, &recipe.text);
    let _in_run = tracing::info_span!("run", recipe = recipe.source).entered();
    let mut scope = Scope::new();
    let code = match host.engine.run_ast_with_scope(&mut scope, &ast) {
        Ok(()) => host.session.exit_code(),
        Err(error) => {
            let code = ending(host, &natives, &recipe.source, &error, &mut found);
            // The records that the recipe has open end with its error.
            if let Some(error) = found.last().filter(|found| found.severity == Severity::Error) {
                let fault = Fault::new(&error.code, &error.message, error.hint.as_deref().unwrap_or_default());
                host.session.note_error(fault.to_json());
            }
            code
        }
    };
    drop(scope);
    Outcome { code, diagnostics: found }
}

fn ending(host: &Host, natives: &Natives, source: &str, error: &EvalAltResult, found: &mut Vec<Diagnostic>) -> u8 {
    // Unfinished work saved itself when the script released it; see bind::train.
    if matches!(error.unwrap_inner(), EvalAltResult::ErrorTerminated(..)) {
        return CANCELLED;
    }
    let error = diagnostic::of_eval_error(error, source, &host.sources, natives);
    let code = if error.code == crate::Kind::Usage.code() { WRONG_USE } else { FAILED };
    found.push(error);
    code
}
