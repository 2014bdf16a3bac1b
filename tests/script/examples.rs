//! The examples of the docs work. Each is run once, for this test and for that of the maps that examples return.

use super::*;
use crate::support::formula::parallel;
use rhai::Dynamic;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::OnceLock;

/// A function of the docs: how it is called in text, its name for messages, its doc.
pub struct Documented {
    pub call: Call,
    pub name: String,
    pub doc: String,
    /// One of Rhai's conversions, such as `to_json`.
    pub converts: bool,
}

pub enum Call {
    /// `module::name(...)`, or `name(...)`.
    Function(String),
    /// `.name(...)`
    Method(String),
    /// `.name`
    Property(String),
}

fn documented(stage: &Stage) -> Vec<Documented> {
    let natives = Natives::of(&stage.host.engine);
    let mut all: Vec<Documented> = natives
        .functions
        .iter()
        .filter(|f| !f.standard && !f.doc.is_empty())
        .map(|f| Documented {
            call: match (f.property(), &f.module) {
                (Some(property), _) => Call::Property(property.to_owned()),
                (None, Some(_)) if f.method => Call::Method(f.name.clone()),
                (None, Some(module)) => Call::Function(format!("{module}::{}", f.name)),
                (None, None) => Call::Method(f.name.clone()),
            },
            name: f.signature(),
            doc: f.doc.clone(),
            converts: f.name.starts_with("to_"),
        })
        .collect();
    for (script, text) in shipped::STDLIB {
        let ast = stage.host.compile(script, text).unwrap();
        for f in ast.iter_functions().filter(|f| !f.comments.is_empty()) {
            let name = format!("{script}::{}", f.name);
            all.push(Documented {
                call: Call::Function(name.clone()),
                name,
                doc: native::doc(&f.comments),
                converts: false,
            });
        }
    }
    all
}

/// An example that hands what its calls return to `seen`.
pub fn observed(example: &str, call: &Call) -> String {
    let (before, name, is_call) = match call {
        Call::Function(name) => ("", name, true),
        Call::Method(name) => (".", name, true),
        Call::Property(name) => (".", name, false),
    };
    let wanted = format!("{before}{name}{}", if is_call { "(" } else { "" });
    let mut made = String::new();
    let mut rest = example;
    while let Some(at) = rest.find(&wanted) {
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let mut end = at + wanted.len();
        let inside = before.is_empty() && (is_word(rest[..at].chars().last()) || rest[..at].ends_with(':'));
        let longer = !is_call && (is_word(rest[end..].chars().next()) || rest[end..].starts_with('('));
        if inside || longer {
            made += &rest[..end];
            rest = &rest[end..];
            continue;
        }
        if is_call {
            end += closing(&rest[end..]);
        }
        made += &rest[..end];
        made += ".seen()";
        rest = &rest[end..];
    }
    made + rest
}

/// The length up to and with the bracket that closes one opened before.
fn closing(text: &str) -> usize {
    let (mut depth, mut quote) = (1, None);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => continue,
            (None, '"' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    text.len()
}

/// The result of an example.
pub struct Tried {
    failed: Option<String>,
    /// What the calls of its function returned, as JSON.
    pub seen: Vec<Value>,
}

/// The functions of the docs, and the results of their examples, by the text of [`observed`]. Overloads share their examples.
pub fn tried() -> &'static (Vec<Documented>, HashMap<String, Tried>) {
    static TRIED: OnceLock<(Vec<Documented>, HashMap<String, Tried>)> = OnceLock::new();
    TRIED.get_or_init(|| {
        let functions = staged(documented);
        let mut texts = BTreeMap::new();
        for f in &functions {
            texts.extend(docs::examples(&f.doc).into_iter().map(|example| (observed(&example, &f.call), example)));
        }
        let texts: Vec<(String, String)> = texts.into_iter().collect();
        let tried = parallel(&texts, |(observed, plain)| attempt(observed, plain));
        let tried = texts.into_iter().map(|(observed, _)| observed).zip(tried).collect();
        (functions, tried)
    })
}

/// Runs an example with its calls observed; where that does not work, it may be the observing.
fn attempt(observed: &str, plain: &str) -> Tried {
    run::on_big_stack(|| {
        let mut stage = Stage::new();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let into = seen.clone();
        stage.host.engine.register_fn("seen", move |value: &mut Dynamic| {
            // Handles stay on their thread; only plain values are looked into.
            into.borrow_mut().push(rvc_run::script::bind::value::to_json(value).unwrap_or_default());
            value.clone()
        });
        let failed = example(&stage, observed).or_else(|_| example(&Stage::new(), plain)).err();
        Tried { failed, seen: seen.take() }
    })
    .unwrap()
}

/// Runs an example in a new workspace with the recordings that the docs speak of; its last line must be true.
fn example(stage: &Stage, text: &str) -> Result<(), String> {
    recordings(stage);
    // The recipes that jobs of examples run.
    for name in ["prepare", "sweep_trial"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/{name}.rhai"));
        if path.exists() {
            stage.file(&format!("recipes/{name}.rhai"), &std::fs::read_to_string(path).unwrap());
        }
    }
    let recipe = stage.load(text).map_err(|found| found.join("\n"))?;
    let found = check::script(&stage.host, &Natives::of(&stage.host.engine), &recipe.source, text);
    if !found.is_empty() {
        return Err(found.iter().map(|d| stage.rendered(d)).collect::<Vec<_>>().join("\n"));
    }
    let nothing = std::collections::BTreeMap::new();
    stage.host.session.set_layers(params::layers(&recipe.params, &nothing));
    stage.host.session.set_arguments(params::to_map(&recipe.params, &nothing));
    let ast = stage.host.compile(&recipe.source, text).map_err(|d| stage.rendered(&d))?;
    match stage.host.engine.eval_ast::<rhai::Dynamic>(&ast) {
        Ok(value) if value.as_bool() == Ok(true) => Ok(()),
        Ok(value) => Err(format!("the last line is {value}")),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_example_in_the_docs_works() {
    let (functions, tried) = tried();
    let mut broken = Vec::new();
    for f in functions {
        for example in docs::examples(&f.doc) {
            if let Some(error) = &tried[&observed(&example, &f.call)].failed {
                broken.push(format!("{}: {error}\n{example}", f.name));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}
