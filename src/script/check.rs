//! Mistakes that can be found without running anything: syntax, PARAMS, imports, unknown functions, wrong argument counts.
//!
//! Uses Rhai's volatile `AST::walk`; see `native` for the other place that leans on internals.

use super::diagnostic::{self, Diagnostic};
use super::engine::Host;
use super::native::Natives;
use super::{library, params, resolver};
use crate::config::Config;
use crate::error::nearest;
use rhai::{AST, ASTNode, Expr, FnAccess, FnCallExpr, Position, Stmt};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub const UNKNOWN_FUNCTION: &str = "script.unknown_function";
pub const ARGUMENTS: &str = "script.arguments";
pub const IMPORT: &str = "script.import";
pub const PROPERTY: &str = "script.property";
pub const UNKNOWN_SETTING: &str = "config.unknown_key";
pub const SHADOW: &str = "script.shadow";

/// Every mistake in a script and in what it imports, in the order of the imports; nothing is run.
pub fn script(host: &Host, natives: &Natives, source: &str, text: &str) -> Vec<Diagnostic> {
    let mut checker =
        Checker { host, natives, lenient: None, done: BTreeMap::new(), open: Vec::new(), found: Vec::new() };
    checker.script(source, text);
    // An unknown module is found by the strict compiler (the first one) and by the walk (all of them).
    let mut places = BTreeSet::new();
    checker.found.retain(|d| d.place.as_ref().is_none_or(|p| places.insert((p.source.clone(), p.line, p.column))));
    checker.found
}

/// What other scripts can reach in a script.
#[derive(Default)]
struct Exports {
    functions: BTreeMap<String, BTreeSet<usize>>,
    imports: BTreeMap<String, Rc<Exports>>,
}

struct Checker<'a> {
    host: &'a Host,
    natives: &'a Natives,
    /// Made when first needed.
    lenient: Option<Host>,
    /// By source name; `None` for a script that does not parse.
    done: BTreeMap<String, Option<Rc<Exports>>>,
    open: Vec<String>,
    found: Vec<Diagnostic>,
}

/// What the tree of one script holds, gathered in one walk.
#[derive(Default)]
struct Facts {
    calls: Vec<Call>,
    imports: Vec<Import>,
    /// Keys of map literals: a function may be kept under one of them.
    keys: BTreeSet<String>,
    /// Properties read from variables at the top level: (variable, property, place).
    properties: Vec<(String, String, Position)>,
    /// Keys of map literals that become settings.
    settings: Vec<(String, Position)>,
    /// The variables that hold `args(PARAMS)`.
    arguments: BTreeSet<String>,
}

struct Call {
    path: Vec<String>,
    name: String,
    count: usize,
    method: bool,
    position: Position,
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
                // The strict compiler stops at the first unknown name; the rest of the script may have more to tell.
                let lenient = self.lenient.get_or_insert_with(|| Host::lenient(self.host.session.clone()));
                lenient.compile(source, text).ok().map(|ast| self.tree(source, &ast))
            }
        };
        self.open.pop();
        self.done.insert(source.to_owned(), exports.clone());
        exports
    }

    fn tree(&mut self, source: &str, ast: &AST) -> Rc<Exports> {
        let facts = Facts::of(ast);
        let params = params::read(ast, &self.host.sources).unwrap_or_else(|mistakes| {
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
                // What failed is told once, at the import, not at each call.
                None => {
                    unknown.insert(import.alias.clone());
                }
            }
        }
        let own = functions(ast, true);
        for call in &facts.calls {
            if !call.path.first().is_some_and(|root| unknown.contains(root)) {
                self.call(source, call, &own, &imports, &facts.keys);
            }
        }
        self.settings(source, &facts);
        if !params.is_empty() {
            self.properties(source, &facts, &params);
        }
        Rc::new(Exports { functions: functions(ast, false), imports })
    }

    fn mistake(&mut self, source: &str, position: Position, diagnostic: Diagnostic) {
        self.found.push(diagnostic.at(source, position, &self.host.sources));
    }

    fn import(&mut self, source: &str, import: &Import) -> Option<Rc<Exports>> {
        let at = import.position;
        if self.natives.has_module(&import.alias) {
            let message = format!("the name `{}` hides the module of that name", import.alias);
            self.mistake(source, at, Diagnostic::warning(SHADOW, message).hint("choose another name behind `as`"));
        }
        let Some(path) = &import.path else {
            let message = "what is imported is computed, so it cannot be checked";
            self.mistake(source, at, Diagnostic::warning(IMPORT, message).hint("write the path out"));
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
        let hint = match elsewhere.filter(|_| !call.method) {
            Some(module) => Some(format!("did you mean `{module}::{name}`?")),
            None => nearest(name, own.keys().map(String::as_str).chain(self.natives.names("")))
                .map(|known| format!("did you mean `{known}`?")),
        };
        let signatures = (!own.contains_key(name)).then(|| self.natives.signatures("", name));
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
            diagnostic.hint =
                signatures.filter(|s| !s.is_empty()).map(|s| format!("it is called as {}", s.join(" or ")));
            diagnostic
        };
        self.mistake(source, call.position, diagnostic);
    }

    fn settings(&mut self, source: &str, facts: &Facts) {
        if facts.settings.is_empty() {
            return;
        }
        let Ok(serde_json::Value::Object(known)) = serde_json::to_value(Config::default()) else { return };
        for (key, position) in facts.settings.iter().filter(|(key, _)| !known.contains_key(key)) {
            let mut diagnostic = Diagnostic::error(UNKNOWN_SETTING, format!("there is no setting {key:?}"));
            diagnostic.hint = nearest(key, known.keys().map(String::as_str)).map(|k| format!("did you mean {k:?}?"));
            self.mistake(source, *position, diagnostic);
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
        // Statements of the top level are walked by themselves first: only there a variable is known to be the recipe's.
        let top: BTreeSet<*const Stmt> = ast.statements().iter().map(std::ptr::from_ref).collect();
        ast.walk(&mut |path: &[ASTNode]| {
            let at_top = matches!(path.first(), Some(ASTNode::Stmt(s)) if top.contains(&std::ptr::from_ref(*s)));
            if let Some((node, parents)) = path.split_last() {
                facts.node(node, at_top);
                if let ASTNode::Expr(Expr::Map(map, _)) = node
                    && is_settings(parents)
                {
                    facts.settings.extend(map.0.iter().map(|(key, _)| (key.name.to_string(), key.pos)));
                }
            }
            true
        });
        facts
    }

    fn node(&mut self, node: &ASTNode, at_top: bool) {
        match node {
            ASTNode::Stmt(Stmt::FnCall(call, position)) | ASTNode::Expr(Expr::FnCall(call, position)) => {
                self.call(call, *position, false);
            }
            ASTNode::Expr(Expr::MethodCall(call, position)) => self.call(call, *position, true),
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

    fn call(&mut self, call: &FnCallExpr, position: Position, method: bool) {
        let named = call.name.starts_with(|c: char| c.is_alphabetic() || c == '_') && !call.name.contains('$');
        if call.op_token.is_some() || !named {
            return;
        }
        let path: Vec<String> = call.namespace.path.iter().map(|part| part.name.to_string()).collect();
        if path.first().is_some_and(|root| root == "global") {
            return;
        }
        let position = if call.namespace.is_empty() { position } else { call.namespace.position() };
        self.calls.push(Call { path, name: call.name.to_string(), count: call.args.len(), method, position });
    }
}

/// Whether an expression, given by its parents, is an argument of `config::check` or a part of a sum that is one.
fn is_settings(parents: &[ASTNode]) -> bool {
    let call = parents.iter().rev().find_map(|parent| match parent {
        ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _)) => {
            call.op_token.is_none().then_some(Some(call))
        }
        ASTNode::Expr(Expr::Stmt(_)) | ASTNode::Stmt(Stmt::Expr(_)) => None,
        _ => Some(None),
    });
    call.flatten().is_some_and(|call| {
        call.name == "check" && call.namespace.path.len() == 1 && call.namespace.path[0].name == "config"
    })
}

fn is_args(expression: &Expr) -> bool {
    matches!(expression, Expr::FnCall(call, _) if call.name == "args" && call.namespace.is_empty())
}
