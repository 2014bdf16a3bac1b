//! `import` while a recipe runs: finds, compiles and evaluates a script once, and names cycles.

use super::bind::{Fault, Script, Session};
use super::library;
use super::sources::{Sources, compile};
use crate::Kind;
use rhai::{Dynamic, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};
use std::cell::RefCell;
use std::collections::BTreeMap;

type Resolved = Result<Shared<Module>, Box<EvalAltResult>>;

pub struct Resolver {
    session: Session,
    sources: Sources,
    loaded: RefCell<BTreeMap<String, Shared<Module>>>,
    /// The scripts whose imports are being resolved, outermost first.
    open: RefCell<Vec<String>>,
}

impl Resolver {
    pub fn new(session: Session, sources: Sources) -> Self {
        Self { session, sources, loaded: RefCell::default(), open: RefCell::default() }
    }

    fn load(&self, engine: &Engine, script: &Script, position: Position) -> Resolved {
        if let Some(notice) = &script.notice {
            self.session.task().info(notice);
        }
        let within = |error: Box<EvalAltResult>| match *error {
            // These must reach the top unchanged: the script could catch a wrapped one.
            e if e.is_system_exception() && !matches!(e, EvalAltResult::ErrorParsing(..)) => Box::new(e),
            e if e.is_pseudo_error() => Box::new(e),
            e => EvalAltResult::ErrorInModule(script.source.clone(), e.into(), position).into(),
        };
        let ast = compile(engine, &self.sources, &script.source, &script.text).map_err(|e| within(e.into()))?;
        Module::eval_ast_as_new(Scope::new(), &ast, engine).map(Into::into).map_err(within)
    }
}

impl ModuleResolver for Resolver {
    fn resolve(&self, engine: &Engine, source: Option<&str>, path: &str, position: Position) -> Resolved {
        let fault = |fault: Fault| EvalAltResult::ErrorRuntime(Dynamic::from(fault), position);
        let script =
            library::find(self.session.workspace(), source, path).map_err(|error| fault(Fault::from(error)))?;
        if let Some(module) = self.loaded.borrow().get(&script.source) {
            return Ok(module.clone());
        }
        if self.open.borrow().is_empty() {
            self.open.borrow_mut().extend(source.map(str::to_owned));
        }
        if let Some(message) = cycle(&self.open.borrow(), &script.source) {
            return Err(fault(Fault::new(Kind::Script.code(), message, CYCLE_HINT)).into());
        }
        let depth = self.open.borrow().len();
        self.open.borrow_mut().push(script.source.clone());
        let module = self.load(engine, &script, position);
        self.open.borrow_mut().truncate(if depth == 1 { 0 } else { depth });
        let module = module?;
        self.loaded.borrow_mut().insert(script.source, module.clone());
        Ok(module)
    }
}

pub const CYCLE_HINT: &str = "move the shared functions into a third script";

/// The message about a cycle, if `next` is one of the scripts being imported.
pub fn cycle(open: &[String], next: &str) -> Option<String> {
    let start = open.iter().position(|source| source == next)?;
    let mut names: Vec<&str> = open[start..].iter().map(String::as_str).collect();
    names.push(next);
    Some(format!("scripts import each other in a circle: {}", names.join(" -> ")))
}
