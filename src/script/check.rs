//! Finds mistakes without running anything: syntax, PARAMS, imports, unknown functions, wrong argument counts, map literals
//! with keys and values that would be refused.
//!
//! Uses Rhai's volatile `AST::walk`; see `native` for the other file that depends on internals.

use super::diagnostic::{self, Diagnostic};
use super::engine::Host;
use super::habits;
use super::native::Natives;
use super::{library, params, resolver, rows, written};
use crate::error::nearest;
use rhai::{AST, ASTFlags, ASTNode, Expr, FnAccess, FnCallExpr, Position, Stmt};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub const UNKNOWN_FUNCTION: &str = "script.unknown_function";
pub const ARGUMENTS: &str = "script.arguments";
pub const IMPORT: &str = "script.import";
pub const PROPERTY: &str = "script.property";
pub const SHADOW: &str = "script.shadow";
pub const QUOTES: &str = "script.quotes";

/// Every mistake in a script and in what it imports: first its own, then those of the imports, each by its place; nothing is run.
pub fn script(host: &Host, natives: &Natives, source: &str, text: &str) -> Vec<Diagnostic> {
    let mut checker =
        Checker { host, natives, lenient: None, done: BTreeMap::new(), open: Vec::new(), found: Vec::new() };
    checker.script(source, text);
    // An unknown module is found by the strict compiler (the first one) and by the walk (all of them).
    let mut places = BTreeSet::new();
    let mut found = checker.found;
    found.retain(|d| d.place.as_ref().is_none_or(|p| places.insert((p.source.clone(), p.line, p.column))));
    let mut sources = vec![source.to_owned()];
    for place in found.iter().filter_map(|d| d.place.as_ref()) {
        if !sources.contains(&place.source) {
            sources.push(place.source.clone());
        }
    }
    found.sort_by_key(|d| {
        d.place.as_ref().map(|p| (sources.iter().position(|source| *source == p.source), p.line, p.column))
    });
    found
}

/// The functions of a script that other scripts can call.
struct Exports {
    functions: BTreeMap<String, BTreeSet<usize>>,
    imports: BTreeMap<String, Rc<Exports>>,
    bodies: Vec<written::Body>,
    /// Whether it is one of the standard library, whose functions name their arguments consistently.
    standard: bool,
}

struct Checker<'a> {
    host: &'a Host,
    natives: &'a Natives,
    /// Created on first use.
    lenient: Option<Host>,
    /// By source name; `None` for a script that does not parse.
    done: BTreeMap<String, Option<Rc<Exports>>>,
    open: Vec<String>,
    found: Vec<Diagnostic>,
}

/// The relevant parts of one script's syntax tree, gathered in one walk.
#[derive(Default)]
struct Facts {
    calls: Vec<Call>,
    imports: Vec<Import>,
    /// Keys of map literals: a function may be kept under one of them.
    keys: BTreeSet<String>,
    /// Properties read from variables at the top level: (variable, property, place).
    properties: Vec<(String, String, Position)>,
    /// The values of top-level constants.
    constants: BTreeMap<String, Expr>,
    /// The variables that hold `args(PARAMS)`.
    arguments: BTreeSet<String>,
    /// Strings with `${` in them.
    interpolated: Vec<Position>,
}

struct Call {
    path: Vec<String>,
    name: String,
    count: usize,
    method: bool,
    position: Position,
    arguments: Vec<Expr>,
    /// Whether it is at the top level, where the script's constants are in scope.
    at_top: bool,
}

struct Import {
    /// `None` if it is computed.
    path: Option<String>,
    alias: String,
    position: Position,
}

impl Checker<'_> {
    fn script(&mut self, source: &str, text: &str) -> Option<Rc<Exports>> {
        if let Some(done) = self.done.get(source) {
            return done.clone();
        }
        self.open.push(source.to_owned());
        let exports = match self.host.compile(source, text) {
            Ok(ast) => Some(self.tree(source, &ast)),
            Err(mistake) => {
                self.found.push(*mistake);
                // The strict compiler stops at the first unknown name; the rest of the script may have further mistakes.
                let lenient = self.lenient.get_or_insert_with(|| Host::lenient(self.host.session.clone()));
                match lenient.compile(source, text) {
                    Ok(ast) => Some(self.tree(source, &ast)),
                    Err(mistake) => {
                        self.found.push(*mistake);
                        self.found.extend(diagnostic::foreign(source, &self.host.sources));
                        None
                    }
                }
            }
        };
        self.open.pop();
        self.done.insert(source.to_owned(), exports.clone());
        exports
    }

    fn tree(&mut self, source: &str, ast: &AST) -> Rc<Exports> {
        let facts = Facts::of(ast);
        let params = rows::read(self.host, ast).unwrap_or_else(|mistakes| {
            self.found.extend(mistakes);
            Vec::new()
        });
        let mut imports = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for import in &facts.imports {
            match self.import(source, import) {
                Some(exports) => {
                    imports.insert(import.alias.clone(), exports);
                }
                // A failed import is reported once, at the import, not at each call.
                None => {
                    unknown.insert(import.alias.clone());
                }
            }
        }
        let own = functions(ast, true);
        for call in &facts.calls {
            if !call.path.first().is_some_and(|root| unknown.contains(root)) {
                self.call(source, call, &own, &imports, &facts.keys);
                self.maps(source, call, &imports, &facts.constants);
            }
        }
        self.quotes(source, &facts);
        if !params.is_empty() {
            self.properties(source, &facts, &params);
        }
        let standard = library::is_standard(source);
        Rc::new(Exports { functions: functions(ast, false), imports, bodies: written::bodies(ast), standard })
    }

    fn mistake(&mut self, source: &str, position: Position, diagnostic: Diagnostic) {
        self.found.push(diagnostic.at(source, position, &self.host.sources));
    }

    fn import(&mut self, source: &str, import: &Import) -> Option<Rc<Exports>> {
        let at = import.position;
        if self.natives.has_module(&import.alias) {
            let message = format!("the name `{}` hides the module of that name", import.alias);
            self.mistake(source, at, Diagnostic::warning(SHADOW, message).hint("choose another name after `as`"));
        }
        let Some(path) = &import.path else {
            let message = "the imported path is computed, so it cannot be checked";
            self.mistake(source, at, Diagnostic::warning(IMPORT, message).hint("write the path as a literal"));
            return None;
        };
        let script = match library::find(self.host.session.workspace(), Some(source), path) {
            Ok(script) => script,
            Err(error) => {
                let mut diagnostic = Diagnostic::from(&error);
                diagnostic.code = IMPORT.into();
                self.mistake(source, at, diagnostic);
                return None;
            }
        };
        if let Some(message) = resolver::cycle(&self.open, &script.source) {
            self.mistake(source, at, Diagnostic::error(IMPORT, message).hint(resolver::CYCLE_HINT));
            return None;
        }
        self.script(&script.source, &script.text)
    }

    fn call(
        &mut self,
        source: &str,
        call: &Call,
        own: &BTreeMap<String, BTreeSet<usize>>,
        imports: &BTreeMap<String, Rc<Exports>>,
        keys: &BTreeSet<String>,
    ) {
        let name = call.name.as_str();
        let Some(root) = call.path.first() else {
            self.plain_call(source, call, own, imports, keys);
            return;
        };
        let module = call.path.join("::");
        if let Some(exports) = imports.get(root) {
            let exports = call.path[1..].iter().try_fold(exports, |e, part| e.imports.get(part));
            let Some(exports) = exports else {
                let message = format!("there is no module `{module}`");
                self.mistake(source, call.position, Diagnostic::error(UNKNOWN_FUNCTION, message));
                return;
            };
            let counts = exports.functions.get(name).cloned().unwrap_or_default();
            let names = exports.functions.keys().map(String::as_str);
            let hint = nearest(name, names.clone()).map(|known| format!("did you mean `{module}::{known}`?"));
            let all = || format!("`{module}` has: {}", names.clone().collect::<Vec<_>>().join(", "));
            self.judge(source, call, &counts, || hint.or_else(|| Some(all())), None);
        } else if self.natives.has_module(&module) {
            let counts = self.natives.arities(&module, name);
            let hint =
                nearest(name, self.natives.names(&module)).map(|known| format!("did you mean `{module}::{known}`?"));
            let names = || format!("`{module}` has: {}", self.natives.names(&module).collect::<Vec<_>>().join(", "));
            let (hint, signatures) = (hint.or_else(|| Some(names())), self.natives.signatures(&module, name));
            self.judge(source, call, &counts, || hint, Some(signatures));
        } else {
            let known = imports.keys().map(String::as_str);
            self.mistake(source, call.position, diagnostic::unknown_module(root, known));
        }
    }

    fn plain_call(
        &mut self,
        source: &str,
        call: &Call,
        own: &BTreeMap<String, BTreeSet<usize>>,
        imports: &BTreeMap<String, Rc<Exports>>,
        keys: &BTreeSet<String>,
    ) {
        let name = call.name.as_str();
        if self.natives.is_variadic(name) || call.method && keys.contains(name) {
            return;
        }
        // A method's owner is its first parameter; for a function of the script it is `this` instead.
        let mut counts: BTreeSet<usize> = self.natives.arities("", name);
        if call.method {
            counts = counts.iter().filter_map(|count| count.checked_sub(1)).collect();
        }
        counts.extend(own.get(name).into_iter().flatten());
        let elsewhere = imports.iter().find(|(_, e)| e.functions.contains_key(name)).map(|(alias, _)| alias.clone());
        let elsewhere = elsewhere.or_else(|| {
            super::native::MODULES.iter().find(|m| !self.natives.arities(m, name).is_empty()).map(ToString::to_string)
        });
        let foreign = habits::function(name).filter(|_| !own.contains_key(name));
        let hint = match elsewhere.filter(|_| !call.method) {
            _ if foreign.is_some() => foreign.map(str::to_owned),
            Some(module) => Some(format!("did you mean `{module}::{name}`?")),
            None => nearest(name, own.keys().map(String::as_str).chain(self.natives.names("")))
                .map(|known| format!("did you mean `{known}`?")),
        };
        let signatures = (!own.contains_key(name)).then(|| {
            let known = self.natives.signatures("", name);
            if let Some(form) = foreign { vec![form.to_owned()] } else { known }
        });
        self.judge(source, call, &counts, || hint, signatures);
    }

    fn judge(
        &mut self,
        source: &str,
        call: &Call,
        counts: &BTreeSet<usize>,
        hint: impl FnOnce() -> Option<String>,
        signatures: Option<Vec<String>>,
    ) {
        if counts.contains(&call.count) {
            return;
        }
        let what = if call.method { "method" } else { "function" };
        let name: Vec<&str> = call.path.iter().map(String::as_str).chain([call.name.as_str()]).collect();
        let name = name.join("::");
        let diagnostic = if counts.is_empty() {
            let mut diagnostic = Diagnostic::error(UNKNOWN_FUNCTION, format!("there is no {what} `{name}`"));
            diagnostic.hint = hint();
            diagnostic
        } else {
            let known: Vec<String> = counts.iter().map(ToString::to_string).collect();
            let known = known.join(" or ");
            let plural = if known == "1" { "" } else { "s" };
            let mut diagnostic =
                Diagnostic::error(ARGUMENTS, format!("`{name}` takes {known} argument{plural}, not {}", call.count));
            diagnostic.hint = signatures.filter(|s| !s.is_empty()).map(|s| match habits::function(&call.name) {
                Some(form) if s == [form] => form.to_owned(),
                _ => format!("it is called as {}", s.join(" or ")),
            });
            diagnostic
        };
        self.mistake(source, call.position, diagnostic);
    }

    /// Map literals as arguments, as far as their content is known.
    fn maps(
        &mut self,
        source: &str,
        call: &Call,
        imports: &BTreeMap<String, Rc<Exports>>,
        constants: &BTreeMap<String, Expr>,
    ) {
        let nothing = BTreeMap::new();
        let scripts = |alias: &str| imports.get(alias).map(|exports| &exports.bodies[..]);
        let names = written::Names { scripts: &scripts, values: if call.at_top { constants } else { &nothing } };
        let name = call.name.as_str();
        let mut found = Vec::new();
        let mut judge = |place: usize, read: written::Read| {
            if let Some(given) = call.arguments.get(place) {
                found.extend(written::map(given, &names).mistakes(read, given.start_position()));
            }
        };
        match &call.path[..] {
            [] if call.method => written::of_method(name, call.count).for_each(|(place, read)| judge(place, read)),
            [module] => match imports.get(module) {
                None => written::of_function(module, name).for_each(|(place, read)| judge(place, read)),
                Some(exports) if exports.standard => {
                    if let Some(place) = written::settings_of(&exports.bodies, name, call.count) {
                        judge(place, written::SETTINGS);
                    }
                    for (place, given) in call.arguments.iter().enumerate() {
                        if let Some(known) = written::options(&exports.bodies, name, call.count, place) {
                            found.extend(written::map(given, &names).unknown(&known, &format!("{module}::{name}")));
                        }
                    }
                }
                Some(_) => {}
            },
            _ => {}
        }
        for (position, error) in found {
            self.mistake(source, position, Diagnostic::from(&error));
        }
    }

    /// Values are inserted only into strings in backticks; in double quotes `${x}` is printed unchanged.
    fn quotes(&mut self, source: &str, facts: &Facts) {
        let text = self.host.sources.get(source).unwrap_or_default();
        for &position in &facts.interpolated {
            let line = position.line().and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
            if line.chars().nth(position.position().unwrap_or(1).max(1) - 1) == Some('"') {
                let message = "`${}` means nothing in double quotes";
                let diagnostic =
                    Diagnostic::warning(QUOTES, message).hint("values are inserted into strings in backticks: `${x}`");
                self.mistake(source, position, diagnostic);
            }
        }
    }

    fn properties(&mut self, source: &str, facts: &Facts, params: &[params::Param]) {
        let names = || params.iter().map(|p| p.name.as_str());
        for (variable, property, position) in &facts.properties {
            if !facts.arguments.contains(variable) || names().any(|name| name == property) {
                continue;
            }
            let message = format!("PARAMS has no parameter `{property}`");
            let mut diagnostic = Diagnostic::error(PROPERTY, message);
            diagnostic.hint = nearest(property, names()).map(|known| format!("did you mean `{variable}.{known}`?"));
            self.mistake(source, *position, diagnostic);
        }
    }
}

/// Functions that a script defines, with their numbers of parameters; private ones only if wanted.
fn functions(ast: &AST, private: bool) -> BTreeMap<String, BTreeSet<usize>> {
    let mut functions: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for f in ast.iter_functions().filter(|f| private || f.access == FnAccess::Public) {
        functions.entry(f.name.to_owned()).or_default().insert(f.params.len());
    }
    functions
}

impl Facts {
    fn of(ast: &AST) -> Self {
        let mut facts = Self::default();
        // Statements of the top level are walked separately first: only there a variable is known to be the recipe's.
        let top: BTreeSet<*const Stmt> = ast.statements().iter().map(std::ptr::from_ref).collect();
        ast.walk(&mut |path: &[ASTNode]| {
            let at_top = matches!(path.first(), Some(ASTNode::Stmt(s)) if top.contains(&std::ptr::from_ref(*s)));
            if let Some(node) = path.last() {
                facts.node(node, at_top);
            }
            true
        });
        facts
    }

    fn node(&mut self, node: &ASTNode, at_top: bool) {
        match node {
            ASTNode::Stmt(Stmt::FnCall(call, position)) | ASTNode::Expr(Expr::FnCall(call, position)) => {
                self.call(call, *position, false, at_top);
            }
            ASTNode::Expr(Expr::MethodCall(call, position)) => self.call(call, *position, true, at_top),
            ASTNode::Expr(Expr::StringConstant(text, position)) if text.contains("${") => {
                self.interpolated.push(*position);
            }
            ASTNode::Stmt(Stmt::Import(import, _)) => {
                let path = import.0.get_literal_value(None).filter(rhai::Dynamic::is_string).map(|p| p.to_string());
                self.imports.push(Import {
                    path,
                    alias: import.1.name.to_string(),
                    position: import.0.start_position(),
                });
            }
            ASTNode::Expr(Expr::Map(map, _)) => self.keys.extend(map.0.iter().map(|(key, _)| key.name.to_string())),
            ASTNode::Stmt(Stmt::Var(variable, ..)) if at_top && is_args(&variable.1) => {
                self.arguments.insert(variable.0.name.to_string());
            }
            ASTNode::Stmt(Stmt::Var(variable, flags, _)) if at_top && flags.contains(ASTFlags::CONSTANT) => {
                self.constants.insert(variable.0.name.to_string(), variable.1.clone());
            }
            ASTNode::Expr(Expr::Dot(sides, ..)) if at_top => {
                let name = |e: &Expr| match e {
                    Expr::Variable(v, ..) => Some(v.1.to_string()),
                    _ => None,
                };
                // a.b.c is Dot(a, Dot(b, c))
                let first = match &sides.rhs {
                    Expr::Dot(inner, ..) | Expr::Index(inner, ..) => &inner.lhs,
                    other => other,
                };
                if let (Some(variable), Expr::Property(property, position)) = (name(&sides.lhs), first) {
                    self.properties.push((variable, property.2.to_string(), *position));
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, call: &FnCallExpr, position: Position, method: bool, at_top: bool) {
        let named = call.name.starts_with(|c: char| c.is_alphabetic() || c == '_') && !call.name.contains('$');
        if call.op_token.is_some() || !named {
            return;
        }
        let path: Vec<String> = call.namespace.path.iter().map(|part| part.name.to_string()).collect();
        if path.first().is_some_and(|root| root == "global") {
            return;
        }
        let position = if call.namespace.is_empty() { position } else { call.namespace.position() };
        let arguments = call.args.to_vec();
        self.calls.push(Call {
            path,
            name: call.name.to_string(),
            count: call.args.len(),
            method,
            position,
            arguments,
            at_top,
        });
    }
}

fn is_args(expression: &Expr) -> bool {
    matches!(expression, Expr::FnCall(call, _) if call.name == "args" && call.namespace.is_empty())
}
