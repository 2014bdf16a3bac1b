//! The functions that the engine offers to scripts, read from its own metadata: names, parameters, docs.
//!
//! Only this file and `check` use Rhai's volatile internals (`Engine::definitions`, `AST::walk`).

use crate::error::nearest;
use rhai::Engine;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The native modules, by their names in scripts; a test compares the list with the engine.
pub const MODULES: &[&str] = &[
    "assets",
    "audio",
    "cache",
    "config",
    "jobs",
    "model",
    "prepare",
    "retrieval",
    "system",
    "track",
    "train",
    "trials",
];

/// Words that Rhai treats as functions but does not list.
const KEYWORDS: &[(&str, &[usize])] = &[
    ("print", &[0, 1]),
    ("debug", &[0, 1]),
    ("type_of", &[1]),
    ("Fn", &[1]),
    ("is_def_var", &[1]),
    ("is_def_fn", &[2, 3]),
    ("is_shared", &[1]),
];

/// Calls of a function pointer take the arguments of its function.
const ANY_ARITY: &[&str] = &["call", "curry"];

/// One native function, getter or operator.
#[derive(Clone, Debug)]
pub struct Function {
    /// The module, or `None` for functions that need no module name.
    pub module: Option<String>,
    pub name: String,
    /// Names and types; one type per parameter, the name may be missing.
    pub params: Vec<(Option<String>, String)>,
    pub returns: String,
    /// The doc comment without its `///`.
    pub doc: String,
    /// Whether it can be called as a method, without the module's name.
    pub method: bool,
    /// Whether it is part of Rhai.
    pub standard: bool,
}

impl Function {
    /// The property that a getter or setter serves.
    pub fn property(&self) -> Option<&str> {
        self.name.strip_prefix("get$").or_else(|| self.name.strip_prefix("set$"))
    }

    /// How a script calls it: `t.save()`, `config::check(settings: map) -> map`, `t.step -> i64`.
    pub fn signature(&self) -> String {
        let mut params: Vec<String> = self
            .params
            .iter()
            .map(|(name, kind)| match name {
                Some(name) => format!("{name}: {kind}"),
                None => kind.clone(),
            })
            .collect();
        let returns = if self.returns == "()" { String::new() } else { format!(" -> {}", self.returns) };
        if let Some(property) = self.property() {
            let owner = params.first().cloned().unwrap_or_default();
            return format!("({owner}).{property}{returns}");
        }
        if self.method && !params.is_empty() && self.module.is_some() {
            let owner = params.remove(0);
            return format!("({owner}).{}({}){returns}", self.name, params.join(", "));
        }
        let module = self.module.as_ref().map(|m| format!("{m}::")).unwrap_or_default();
        format!("{module}{}({}){returns}", self.name, params.join(", "))
    }
}

/// Every native function of an engine.
pub struct Natives {
    pub functions: Vec<Function>,
    /// Module ("" for none) -> name -> numbers of parameters.
    arities: BTreeMap<String, BTreeMap<String, BTreeSet<usize>>>,
}

#[derive(Deserialize)]
struct RawModule {
    #[serde(default)]
    modules: BTreeMap<String, RawModule>,
    #[serde(default)]
    functions: Vec<RawFunction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFunction {
    namespace: String,
    name: String,
    num_params: usize,
    #[serde(default)]
    params: Vec<RawParam>,
    #[serde(default)]
    return_type: String,
    #[serde(default)]
    doc_comments: Vec<String>,
}

#[derive(Deserialize)]
struct RawParam {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Natives {
    pub fn of(engine: &Engine) -> Self {
        let read = |standard: bool| -> RawModule {
            let json = engine.definitions().include_standard_packages(standard).json();
            json.ok().and_then(|json| serde_json::from_str(&json).ok()).expect("Rhai writes metadata that it documents")
        };
        let (ours, all) = (read(false), read(true));
        // The docs distinguish our function from the one of Rhai that it replaces.
        let key = |f: &RawFunction| {
            (f.name.clone(), f.params.iter().map(|p| p.kind.clone()).collect::<Vec<_>>(), f.doc_comments.clone())
        };
        let own: BTreeSet<_> = ours.functions.iter().map(key).collect();
        let mut functions: Vec<Function> =
            all.functions.iter().map(|f| function(None, f, !own.contains(&key(f)))).collect();
        for (module, raw) in &all.modules {
            functions.extend(raw.functions.iter().map(|f| function(Some(module), f, false)));
        }
        let mut arities: BTreeMap<String, BTreeMap<String, BTreeSet<usize>>> = BTreeMap::new();
        let mut add = |module: &str, name: &str, count: usize| {
            arities.entry(module.into()).or_default().entry(name.into()).or_default().insert(count);
        };
        for f in &functions {
            add(f.module.as_deref().unwrap_or_default(), &f.name, f.params.len());
            if f.method {
                add("", &f.name, f.params.len());
            }
        }
        for (name, counts) in KEYWORDS {
            counts.iter().for_each(|&count| add("", name, count));
        }
        Self { functions, arities }
    }

    pub fn has_module(&self, name: &str) -> bool {
        self.arities.contains_key(name)
    }

    /// The numbers of parameters that `name` may be called with; empty if there is no such function.
    pub fn arities(&self, module: &str, name: &str) -> BTreeSet<usize> {
        self.arities.get(module).and_then(|names| names.get(name)).cloned().unwrap_or_default()
    }

    /// Whether `name` takes any number of parameters.
    pub fn is_variadic(&self, name: &str) -> bool {
        ANY_ARITY.contains(&name)
    }

    /// Names of functions (not of operators or properties) in a module.
    pub fn names(&self, module: &str) -> impl Iterator<Item = &str> {
        self.arities
            .get(module)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .map(String::as_str)
            .filter(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_') && !name.contains('$'))
    }

    /// How `name` may be called, one signature for each documented overload, at most three.
    pub fn signatures(&self, module: &str, name: &str) -> Vec<String> {
        let of = |f: &&Function| {
            f.name == name
                && !f.doc.is_empty()
                && (f.module.as_deref().unwrap_or_default() == module || module.is_empty() && f.method)
        };
        self.functions.iter().filter(of).take(3).map(Function::signature).collect()
    }

    /// The hint for a call that matches no function, such as `audio::laod (string)`.
    pub fn hint(&self, call: &str) -> Option<String> {
        let path = call.split([' ', '(']).next().unwrap_or(call);
        let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
        let known = self.signatures(module, name);
        if !known.is_empty() {
            return Some(format!("it is called as {}", known.join(" or ")));
        }
        nearest(name, self.names(module)).map(|known| format!("did you mean `{known}`?"))
    }
}

fn function(module: Option<&String>, raw: &RawFunction, standard: bool) -> Function {
    let mut params: Vec<_> =
        raw.params.iter().map(|p| (p.name.clone(), plain(p.kind.as_deref().unwrap_or("?")))).collect();
    params.resize(raw.num_params, (None, "?".to_owned()));
    Function {
        module: module.cloned(),
        name: raw.name.clone(),
        params,
        returns: plain(&raw.return_type),
        doc: doc(&raw.doc_comments),
        method: raw.namespace == "global",
        standard,
    }
}

/// A Rust type by its name in scripts.
pub fn plain(kind: &str) -> String {
    let mut kind = kind.trim();
    for (start, end) in [("Fallible<", ">"), ("Result<", ", Box<EvalAltResult>>"), ("RhaiResultOf<", ">")] {
        if let Some(inner) = kind.strip_prefix(start).and_then(|k| k.strip_suffix(end)) {
            kind = inner.trim();
        }
    }
    let kind = kind.trim_start_matches("&mut ").trim_start_matches('&').trim();
    match kind {
        "" | "()" => "()",
        "str" | "ImmutableString" | "String" | "string" | "str | ImmutableString | String" => "text",
        "i64" | "INT" | "int" => "int",
        "f64" | "FLOAT" | "float" => "float",
        "Array" | "array" => "array",
        "Map" | "map" => "map",
        "Dynamic" | "?" => "any",
        "Fault" => "Error",
        other => other.rsplit("::").next().unwrap_or(other),
    }
    .to_owned()
}

/// Doc comments as Markdown, without the `///` and one blank.
pub fn doc<T: AsRef<str>>(comments: &[T]) -> String {
    let lines: Vec<&str> = comments
        .iter()
        .flat_map(|block| block.as_ref().lines())
        .map(|line| line.trim_start().trim_start_matches("///"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n").trim().to_owned()
}
