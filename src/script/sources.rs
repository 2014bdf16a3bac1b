//! The texts of scripts, kept while they are compiled, since messages quote their lines.

use rhai::{AST, Engine};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The texts of compiled scripts, by the name that messages use.
#[derive(Clone, Default)]
pub struct Sources(Rc<RefCell<BTreeMap<String, Rc<str>>>>);

impl Sources {
    pub fn get(&self, source: &str) -> Option<Rc<str>> {
        self.0.borrow().get(source).cloned()
    }

    pub fn insert(&self, source: &str, text: &str) {
        self.0.borrow_mut().insert(source.to_owned(), text.into());
    }
}

/// Compiles `text`, remembering it under `source` for messages.
pub fn compile(engine: &Engine, sources: &Sources, source: &str, text: &str) -> Result<AST, rhai::ParseError> {
    // An empty line keeps the numbers of the others.
    let text = match text.strip_prefix("#!").map(|rest| rest.split_once('\n').unwrap_or_default()) {
        Some((_, rest)) => format!("\n{rest}"),
        None => text.trim_start_matches('\u{feff}').to_owned(),
    };
    sources.insert(source, &text);
    let mut ast = engine.compile(&text)?;
    ast.set_source(source);
    Ok(ast)
}
