//! The one place that builds a Rhai engine: limits, strictness, modules, cancellation; and the texts of compiled scripts.

use super::bind::{self, Session};
use super::catalog;
use super::diagnostic::{self, Diagnostic};
use super::resolver::Resolver;
use super::sources::{Sources, compile};
use rhai::{AST, Dynamic, Engine, OptimizationLevel};

// Every limit is set, because Rhai's own defaults differ between debug and release builds. They stop runaway scripts, not
// real ones: a recipe controls, the engine works.
/// Depth of script function calls; each takes some 10 KB of stack, see `run::STACK_BYTES`.
const MAX_CALL_LEVELS: usize = 64;
/// Nesting of expressions at the top level of a script, and inside a function.
const MAX_EXPR_DEPTH: usize = 128;
const MAX_FUNCTION_EXPR_DEPTH: usize = 64;
/// Script operations; 0 is no limit, since an epoch loop may run for days.
const MAX_OPERATIONS: u64 = 0;
const MAX_VARIABLES: usize = 10_000;
const MAX_FUNCTIONS: usize = 10_000;
const MAX_MODULES: usize = 1_000;
/// Scripts hold names and numbers, never samples. Bytes in a string; entries in an array or map.
const MAX_STRING_BYTES: usize = 16 << 20;
const MAX_ARRAY_ENTRIES: usize = 1_000_000;
const MAX_MAP_ENTRIES: usize = 100_000;

/// An engine with everything that scripts can call, its session and the texts that it has compiled.
pub struct Host {
    pub engine: Engine,
    pub session: Session,
    pub sources: Sources,
}

impl Host {
    pub fn new(session: Session) -> Self {
        Self::with(session, true)
    }

    /// A host whose compiler accepts unknown variables and modules, to find further mistakes after the first one of a script
    /// that [`Host::new`] refuses.
    pub fn lenient(session: Session) -> Self {
        Self::with(session, false)
    }

    fn with(session: Session, strict: bool) -> Self {
        let sources = Sources::default();
        let mut engine = Engine::new();
        set_limits(&mut engine);
        engine
            .set_optimization_level(OptimizationLevel::None)
            .set_strict_variables(strict)
            .set_fail_on_invalid_map_property(true)
            .set_default_tag(Dynamic::from(session.clone()))
            // Code built at run time could not be checked before the recipe runs.
            .disable_symbol("eval");
        bind::register(&mut engine);
        connect(&mut engine, &session);
        session.set_finder(|workspace, word, beside| catalog::find(workspace, word, beside, &[]));
        engine.set_module_resolver(Resolver::new(session.clone(), sources.clone()));
        Self { engine, session, sources }
    }

    /// Compiles a script; `source` is its name in messages. Errors: the syntax error with its place.
    pub fn compile(&self, source: &str, text: &str) -> Result<AST, Box<Diagnostic>> {
        compile(&self.engine, &self.sources, source, text)
            .map_err(|error| diagnostic::of_parse_error(&error, source, &self.sources).into())
    }
}

fn set_limits(engine: &mut Engine) {
    engine
        .set_max_call_levels(MAX_CALL_LEVELS)
        .set_max_expr_depths(MAX_EXPR_DEPTH, MAX_FUNCTION_EXPR_DEPTH)
        .set_max_operations(MAX_OPERATIONS)
        .set_max_variables(MAX_VARIABLES)
        .set_max_functions(MAX_FUNCTIONS)
        .set_max_modules(MAX_MODULES)
        .set_max_string_size(MAX_STRING_BYTES)
        .set_max_array_size(MAX_ARRAY_ENTRIES)
        .set_max_map_size(MAX_MAP_ENTRIES);
}

/// Connects the engine to the session: the output of `print` and `debug`, and the signals that stop a script.
fn connect(engine: &mut Engine, session: &Session) {
    let out = session.clone();
    engine.on_print(move |line| out.print(line));
    let out = session.clone();
    engine.on_debug(move |text, source, position| {
        out.task().info(format!("debug {}:{position:?}: {text}", source.unwrap_or("script")));
    });
    let task = session.task().clone();
    // Called once per operation, never inside a native call: native functions check the same flag themselves.
    engine.on_progress(move |_| task.is_cancelled().then_some(Dynamic::UNIT));
}
