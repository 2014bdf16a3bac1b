//! The content of maps as far as a script's text shows it, checked with the reader that would read them at run time.
//!
//! ```text
//! config::check(presets::for_rate(40000) + #{ epochs: 0 })
//!               ^ the map that the function's   ^ a key and a value, both written out
//!                 last line is, for 40000
//! ```
//!
//! Nothing is run: a function counts only if its body is a single map. Computed values are unknown, and not judged.

use super::bind::{self, value};
use crate::config::{Config, presets};
use crate::error::nearest;
use crate::prepare::survey::Gates;
use crate::{Error, Kind, Result, retrieval};
use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, Stmt};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Reads a map as at run time, without any effect.
pub type Read = fn(&Map<String, Value>) -> Result<()>;

/// Functions of modules that take maps: module, name, number of the argument, its reader.
const TAKEN: &[(&str, &str, usize, Read)] = &[
    ("config", "check", 0, settings),
    ("config", "of", 1, settings),
    ("assets", "needed", 0, settings),
    ("assets", "missing", 0, settings),
    ("assets", "require", 0, settings),
    ("assets", "fetch", 0, settings),
    ("prepare", "slices", 2, settings),
    ("prepare", "check", 0, settings),
    ("prepare", "f0", 1, settings),
    ("prepare", "content", 1, settings),
    ("prepare", "filelist", 1, settings),
    ("prepare", "download", 2, bind::check_download_options),
    ("retrieval", "build", 1, settings),
    ("retrieval", "build", 2, index_options),
    ("train", "dataset", 1, settings),
    ("train", "check", 1, settings),
    ("train", "check", 2, bind::check_trainer_options),
    ("train", "trainer", 1, settings),
    ("train", "trainer", 2, bind::check_trainer_options),
    ("train", "learning_rate", 0, settings),
    ("model", "open", 1, bind::check_voice_options),
    ("jobs", "run", 1, bind::check_job_options),
];

/// Methods that take maps: name, number of arguments, number of the map among them, its reader.
const TAKEN_BY_METHODS: &[(&str, usize, usize, Read)] = &[
    ("normalize", 1, 0, settings),
    ("slice", 1, 0, settings),
    ("judge", 1, 0, limits),
    ("convert", 3, 2, bind::check_convert_settings),
    ("validate", 2, 1, settings),
];

/// Settings whose range depends on others: judged only if all are known.
const DEPENDENT: &[&str] = &["segment_size", "overlap_seconds", "min_slice_seconds", "f0_threshold"];

fn settings(given: &Map<String, Value>) -> Result<()> {
    Config::from_json(given).map(drop)
}

fn index_options(given: &Map<String, Value>) -> Result<()> {
    retrieval::Options::from_json(given).map(drop)
}

fn limits(given: &Map<String, Value>) -> Result<()> {
    Gates::from_json(given).map(drop)
}

/// The readers of the arguments of a native function, with their numbers.
pub fn of_function<'a>(module: &'a str, name: &'a str) -> impl Iterator<Item = (usize, Read)> + 'a {
    TAKEN.iter().filter(move |taken| (taken.0, taken.1) == (module, name)).map(|taken| (taken.2, taken.3))
}

/// The reader of settings.
pub const SETTINGS: Read = settings;

/// The argument of a function of the standard library that holds settings.
pub fn settings_of(bodies: &[Body], name: &str, count: usize) -> Option<usize> {
    function(bodies, name, count)?.params.iter().position(|param| param == "cfg")
}

/// The readers of the arguments of a method.
pub fn of_method(name: &str, count: usize) -> impl Iterator<Item = (usize, Read)> {
    TAKEN_BY_METHODS.iter().filter(move |taken| (taken.0, taken.1) == (name, count)).map(|taken| (taken.2, taken.3))
}

/// A key of a map.
#[derive(Clone, Debug)]
struct Entry {
    key: String,
    key_at: Position,
    /// None: computed.
    value: Option<Value>,
    value_at: Position,
}

/// The known content of a map.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// In the order in which they are written; the last of equal keys counts.
    entries: Vec<Entry>,
    /// Whether there are no other keys.
    whole: bool,
}

/// A function of a script.
#[derive(Debug)]
pub struct Body {
    name: String,
    params: Vec<String>,
    statements: Vec<Stmt>,
}

/// The functions of a script. Rhai lists the statements of all of them together, and where each function begins and ends.
pub fn bodies(ast: &AST) -> Vec<Body> {
    type Place = (usize, usize);
    let place = |at: Position| -> Option<Place> { Some((at.line()?, at.position().unwrap_or(0))) };
    let main: Vec<*const Stmt> = ast.statements().iter().map(std::ptr::from_ref).collect();
    let spans: Vec<Option<(Place, Place)>> =
        ast.iter_fn_def().map(|f| place(f.body.start_position()).zip(place(f.body.end_position()))).collect();
    let mut bodies: Vec<Body> = ast
        .iter_fn_def()
        .map(|f| Body {
            name: f.name.to_string(),
            params: f.params.iter().map(ToString::to_string).collect(),
            statements: Vec::new(),
        })
        .collect();
    ast.walk(&mut |path: &[ASTNode]| {
        let [ASTNode::Stmt(statement)] = path else { return true };
        if main.contains(&std::ptr::from_ref(*statement)) {
            return true;
        }
        let Some(at) = place(statement.position()) else { return true };
        // A closure within a function begins later.
        let within = |span: &Option<(Place, Place)>| span.is_some_and(|(start, end)| start <= at && at <= end);
        let owner = (0..spans.len()).filter(|&i| within(&spans[i])).max_by_key(|&i| spans[i]);
        if let Some(owner) = owner {
            bodies[owner].statements.push((*statement).clone());
        }
        true
    });
    bodies
}

/// The meaning of names in an expression.
pub struct Names<'s, 'v> {
    /// The script that an alias was imported as.
    pub scripts: &'s dyn Fn(&str) -> Option<&'s [Body]>,
    /// Constants of the script, and in a function its parameters.
    pub values: &'v BTreeMap<String, Expr>,
}

/// The known content of the map that an expression returns.
pub fn map(expression: &Expr, names: &Names<'_, '_>) -> Written {
    match expression {
        Expr::Map(map, _) => {
            let entry = |(key, given): &(rhai::Ident, Expr)| Entry {
                key: key.name.to_string(),
                key_at: key.pos,
                value: literal(given, names),
                value_at: given.start_position(),
            };
            Written { entries: map.0.iter().map(entry).collect(), whole: true }
        }
        Expr::Variable(variable, ..) => match names.values.get(variable.1.as_str()) {
            // A constant's own definition does not see it.
            Some(given) if !matches!(given, Expr::Variable(..)) => map(given, names),
            _ => Written::default(),
        },
        Expr::FnCall(call, _) if call.op_token.is_some() && call.name == "+" && call.args.len() == 2 => {
            let (left, mut right) = (map(&call.args[0], names), map(&call.args[1], names));
            // Entries that the right side may replace become unknown if it may hold any key.
            if right.whole {
                let over = |entry: &Entry| right.entries.iter().any(|r| r.key == entry.key);
                let mut entries: Vec<Entry> = left.entries.into_iter().filter(|entry| !over(entry)).collect();
                entries.append(&mut right.entries);
                Written { entries, whole: left.whole }
            } else {
                right
            }
        }
        Expr::FnCall(call, position) if call.op_token.is_none() => of_call(call, *position, names),
        _ => Written::default(),
    }
}

/// The map that a call of an imported function returns, if the function's body is a single map.
fn of_call(call: &FnCallExpr, position: Position, names: &Names<'_, '_>) -> Written {
    let path: Vec<&str> = call.namespace.path.iter().map(|part| part.name.as_str()).collect();
    if path == ["config"] && call.name == "defaults" {
        return Written { entries: Vec::new(), whole: true };
    }
    if path == ["config"] && call.name == "preset" {
        return of_preset(call, position, names);
    }
    let [alias] = path[..] else { return Written::default() };
    let Some(function) = (names.scripts)(alias).and_then(|bodies| function(bodies, &call.name, call.args.len())) else {
        return Written::default();
    };
    let [Stmt::Expr(body)] = &function.statements[..] else { return Written::default() };
    let body: &Expr = body;
    let given: BTreeMap<String, Expr> = function.params.iter().cloned().zip(call.args.iter().cloned()).collect();
    let mut made = map(body, &Names { scripts: names.scripts, values: &given });
    // A mistake belongs to the caller: to the argument, if it gave the key, otherwise to the call.
    let here = call.args.first().map_or(position, Expr::start_position);
    for entry in &mut made.entries {
        let argument = value_of(body, &entry.key).and_then(|given| match given {
            Expr::Variable(variable, ..) => given_to(function, &variable.1, call),
            _ => None,
        });
        (entry.key_at, entry.value_at) = (argument.unwrap_or(here), argument.unwrap_or(here));
    }
    made
}

/// The map that `config::preset("tiny")` gives.
fn of_preset(call: &FnCallExpr, position: Position, names: &Names<'_, '_>) -> Written {
    let name = call.args.first().and_then(|given| literal(given, names));
    let Some(settings) = name.and_then(|name| presets::named(name.as_str()?).ok()) else { return Written::default() };
    let entry = |(key, value)| Entry { key, key_at: position, value: Some(value), value_at: position };
    Written { entries: settings.into_iter().map(entry).collect(), whole: true }
}

/// The value of a key in a map that is written out, or in the last of several maps that are added.
fn value_of<'a>(body: &'a Expr, key: &str) -> Option<&'a Expr> {
    match body {
        Expr::Map(map, _) => map.0.iter().find(|(known, _)| known.name == key).map(|(_, given)| given),
        Expr::FnCall(call, _) if call.op_token.is_some() && call.name == "+" && call.args.len() == 2 => {
            value_of(&call.args[1], key).or_else(|| value_of(&call.args[0], key))
        }
        _ => None,
    }
}

fn given_to(function: &Body, param: &str, call: &FnCallExpr) -> Option<Position> {
    let place = function.params.iter().position(|known| known == param)?;
    call.args.get(place).map(Expr::start_position)
}

fn function<'a>(bodies: &'a [Body], name: &str, count: usize) -> Option<&'a Body> {
    bodies.iter().find(|body| body.name == name && body.params.len() == count)
}

/// A plain value that is written out.
fn literal(expression: &Expr, names: &Names<'_, '_>) -> Option<Value> {
    if let Expr::Variable(variable, ..) = expression {
        let given = names.values.get(variable.1.as_str()).filter(|given| !matches!(given, Expr::Variable(..)))?;
        return given.get_literal_value(None).and_then(|found| value::to_json(&found).ok());
    }
    expression.get_literal_value(None).and_then(|found| value::to_json(&found).ok())
}

impl Written {
    /// Every mistake that reading the map would find, whatever its unknown parts are, each at its place; `all` is the map's place.
    pub fn mistakes(&self, read: Read, all: Position) -> Vec<(Position, Error)> {
        if self.whole && self.entries.iter().all(|entry| entry.value.is_some()) {
            return self.of_whole(read, all);
        }
        self.entries.iter().filter_map(|entry| entry.single(read)).collect()
    }

    /// For a completely known map: its first mistake, then the mistakes that remain without that key, and so on.
    fn of_whole(&self, read: Read, all: Position) -> Vec<(Position, Error)> {
        let given = |entries: &[&Entry]| -> Map<String, Value> {
            entries.iter().map(|entry| (entry.key.clone(), entry.value.clone().unwrap_or_default())).collect()
        };
        let mut left: Vec<&Entry> = self.entries.iter().collect();
        let mut found = Vec::new();
        while let Err(error) = read(&given(&left)) {
            // The key without which it is another mistake, or no mistake.
            let culprit = (0..left.len()).find(|&i| {
                let mut others = left.clone();
                others.remove(i);
                read(&given(&others)).err().is_none_or(|other| other.message() != error.message())
            });
            let Some(i) = culprit else {
                found.push((all, error));
                break;
            };
            let entry = left.remove(i);
            found.push((entry.place(&error), error));
        }
        found
    }
}

impl Entry {
    /// The mistake of this key without the others, if there is one.
    fn single(&self, read: Read) -> Option<(Position, Error)> {
        let given = [(self.key.clone(), self.value.clone().unwrap_or_default())].into_iter().collect();
        let error = read(&given).err()?;
        let judged = self.value.is_some() && !DEPENDENT.contains(&self.key.as_str());
        // Of a key with a computed value only the name is known.
        (judged || error.kind() == Kind::ConfigUnknownKey).then(|| (self.place(&error), error))
    }

    fn place(&self, error: &Error) -> Position {
        if error.kind() == Kind::ConfigUnknownKey { self.key_at } else { self.value_at }
    }
}

/// The keys that a function of the standard library takes in its argument number `place`, if it declares them with `#{ key: default, ... } + argument`, itself or
/// in a helper that gets the argument; None if it does not.
pub fn options(bodies: &[Body], name: &str, count: usize, place: usize) -> Option<Vec<String>> {
    /// Helpers of helpers.
    const DEEPEST: usize = 3;
    options_within(bodies, name, count, place, DEEPEST)
}

fn options_within(bodies: &[Body], name: &str, count: usize, place: usize, deeper: usize) -> Option<Vec<String>> {
    let function = function(bodies, name, count)?;
    let param = function.params.get(place)?.as_str();
    let is_param = |e: &Expr| matches!(e, Expr::Variable(variable, ..) if variable.1 == param);
    let mut maps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut known = None;
    let mut handed = Vec::new();
    for statement in &function.statements {
        statement.walk(&mut Vec::new(), &mut |path: &[ASTNode]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(variable, ..))) => {
                    if let Expr::Map(map, _) = &variable.1 {
                        maps.insert(variable.0.name.to_string(), keys(map.0.iter().map(|(key, _)| key)));
                    }
                }
                Some(ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _))) => {
                    if call.op_token.is_none() && call.namespace.is_empty() {
                        let place = call.args.iter().position(is_param);
                        handed.extend(place.map(|place| (call.name.to_string(), call.args.len(), place)));
                    } else if call.name == "+" && call.args.len() == 2 && is_param(&call.args[1]) && known.is_none() {
                        known = match &call.args[0] {
                            Expr::Map(map, _) => Some(keys(map.0.iter().map(|(key, _)| key))),
                            Expr::Variable(map, ..) => maps.get(map.1.as_str()).cloned(),
                            _ => None,
                        };
                    }
                }
                _ => {}
            }
            true
        });
    }
    if known.is_some() || deeper == 0 {
        return known;
    }
    handed.iter().find_map(|(name, count, place)| options_within(bodies, name, *count, *place, deeper - 1))
}

fn keys<'a>(names: impl Iterator<Item = &'a rhai::Ident>) -> Vec<String> {
    names.map(|key| key.name.to_string()).collect()
}

impl Written {
    /// Keys that are not among `known`, each at its place; `function` takes the map.
    pub fn unknown(&self, known: &[String], function: &str) -> Vec<(Position, Error)> {
        let odd = self.entries.iter().filter(|entry| !known.contains(&entry.key));
        let error = |entry: &Entry| {
            let error = Error::new(Kind::ConfigUnknownKey, format!("`{function}` has no option {:?}", entry.key));
            let hint = match nearest(&entry.key, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("options are: {}", known.join(", ")),
            };
            (entry.key_at, error.hint(hint))
        };
        odd.map(error).collect()
    }
}
