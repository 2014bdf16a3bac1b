//! `PARAMS`: what a recipe can be told on the command line, read from its text without running it.

use super::bind::value;
use super::diagnostic::Diagnostic;
use super::engine::Sources;
use crate::address::without_password;
use crate::error::nearest;
use rhai::{AST, Expr, Map, Position, Stmt};
use serde_json::{Number, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// A mistake in PARAMS.
pub const CODE: &str = "script.params";

const CONSTANT: &str = "PARAMS";
const KEYS: &[&str] = &["name", "help", "value", "min", "max", "one_of", "positional"];

/// Flags that every recipe has (see `flags`), which no parameter may take.
pub const TAKEN: &[&str] = &["help", "workspace", "threads", "quiet", "version"];

/// The type of a parameter: that of its `value`, or of the entries of `one_of`, or text. An array is a list of texts:
/// `--urls A B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Flag,
    Int,
    Float,
    Text,
    Texts,
}

/// One parameter of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// As scripts write it, with underscores.
    pub name: String,
    pub help: String,
    pub kind: Kind,
    /// The default; `None` means that it must be given.
    pub value: Option<Value>,
    pub min: Option<Number>,
    pub max: Option<Number>,
    /// Empty: no list.
    pub one_of: Vec<Value>,
    pub positional: bool,
}

impl Param {
    /// `text` from the command line as a value of this parameter (of a list: as an entry), or what is wrong with it.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind {
            Kind::Flag => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err("must be true or false".into()),
            },
            Kind::Int => Value::from(text.parse::<i64>().map_err(|_| "must be a whole number".to_owned())?),
            Kind::Float => {
                let number = text.parse::<f64>().ok().and_then(Number::from_f64);
                Value::Number(number.ok_or_else(|| "must be a finite number".to_owned())?)
            }
            Kind::Text | Kind::Texts => Value::from(text),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Whether a value of the right type is in range, or what is wrong with it.
    fn check(&self, value: &Value) -> Result<(), String> {
        if !self.one_of.is_empty() && !self.one_of.iter().any(|known| same(known, value)) {
            let names: Vec<String> = self.one_of.iter().map(shown).collect();
            let hint = nearest(&shown(value), names.iter().map(String::as_str));
            let hint = hint.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            return Err(format!("must be one of {}{hint}", names.join(", ")));
        }
        let Some(x) = value.as_f64() else { return Ok(()) };
        let below = self.min.as_ref().is_some_and(|min| min.as_f64().is_some_and(|min| x < min));
        let above = self.max.as_ref().is_some_and(|max| max.as_f64().is_some_and(|max| x > max));
        if below || above { Err(format!("must be {}", self.range())) } else { Ok(()) }
    }

    /// "at least 1", "at most 30", "between 1 and 30", or nothing.
    pub fn range(&self) -> String {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => format!("between {min} and {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => String::new(),
        }
    }
}

/// A value as it is typed on a command line.
pub fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

/// The parameters of a compiled recipe: the constant PARAMS, or the array that its `args([...])` is given; every mistake in it if there are any. A
/// recipe without either has none.
pub fn read(ast: &AST, sources: &Sources) -> Result<Vec<Param>, Vec<Diagnostic>> {
    let source = ast.source().unwrap_or_default();
    let mut reader = Reader { source, sources, mistakes: Vec::new() };
    let found = ast.statements().iter().find_map(|statement| match statement {
        Stmt::Var(variable, ..) if variable.0.name == CONSTANT => Some(&variable.1),
        _ => None,
    });
    let inline = || ast.statements().iter().find_map(inline);
    let Some(list) = found.or_else(inline) else { return Ok(Vec::new()) };
    let params = reader.list(list);
    if reader.mistakes.is_empty() { Ok(params) } else { Err(reader.mistakes) }
}

/// The array of a `let p = args([...]);`.
fn inline(statement: &Stmt) -> Option<&Expr> {
    let call = match statement {
        Stmt::Var(variable, ..) => match &variable.1 {
            Expr::FnCall(call, _) => call,
            _ => return None,
        },
        Stmt::FnCall(call, _) => call,
        _ => return None,
    };
    (call.name == "args" && call.namespace.is_empty())
        .then(|| call.args.first())
        .flatten()
        .filter(|e| matches!(e, Expr::Array(..)))
}

struct Reader<'a> {
    source: &'a str,
    sources: &'a Sources,
    mistakes: Vec<Diagnostic>,
}

/// A key of a parameter: its value and where it stands.
type Fields = BTreeMap<String, (Value, Position)>;

impl Reader<'_> {
    fn mistake(&mut self, position: Position, message: impl Into<String>) -> &mut Diagnostic {
        self.mistakes.push(Diagnostic::error(CODE, message).at(self.source, position, self.sources));
        let last = self.mistakes.len() - 1;
        &mut self.mistakes[last]
    }

    fn list(&mut self, list: &Expr) -> Vec<Param> {
        let Expr::Array(items, _) = list else {
            self.mistake(
                list.start_position(),
                "PARAMS must be an array of maps: [ #{ name: \"epochs\", value: 300 }, ... ]",
            );
            return Vec::new();
        };
        let mut params: Vec<Param> = Vec::new();
        for item in items {
            let Some(param) = self.param(item) else { continue };
            if params.iter().any(|p| p.name == param.name) {
                self.mistake(item.start_position(), format!("there are two parameters named {:?}", param.name));
            }
            if param.positional && param.value.is_none() && params.iter().any(|p| p.positional && p.value.is_some()) {
                self.mistake(
                    item.start_position(),
                    format!("{:?} must be given, so it must stand before those that have a value", param.name),
                );
            }
            params.push(param);
        }
        params
    }

    fn param(&mut self, item: &Expr) -> Option<Param> {
        let Expr::Map(map, start) = item else {
            self.mistake(
                item.start_position(),
                "a parameter must be a map: #{ name: \"epochs\", value: 300, help: \"...\" }",
            );
            return None;
        };
        let before = self.mistakes.len();
        let mut fields = Fields::new();
        for (key, expression) in &map.0 {
            self.field(&mut fields, &key.name, key.pos, expression);
        }
        let name = self.name(&fields, *start);
        let help = self.text(&fields, "help");
        let positional = self.truth(&fields, "positional");
        let (min, max) = (self.number(&fields, "min"), self.number(&fields, "max"));
        let one_of = self.choices(&fields);
        let value = fields.get("value").map(|(value, _)| value.clone());
        let kind = self.kind(&fields, value.as_ref().or(one_of.first()));
        let param = Param { name, help, kind, value, min, max, one_of, positional };
        self.consistent(&param, &fields, *start);
        (self.mistakes.len() == before).then_some(param)
    }

    fn field(&mut self, fields: &mut Fields, key: &str, at: Position, expression: &Expr) {
        if !KEYS.contains(&key) {
            let hint = match nearest(key, KEYS.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("a parameter has: {}", KEYS.join(", ")),
            };
            self.mistake(at, format!("a parameter has no `{key}`")).hint = Some(hint);
            return;
        }
        let literal = expression.get_literal_value(None).and_then(|value| value::to_json(&value).ok());
        match literal {
            Some(value) => {
                fields.insert(key.to_owned(), (value, expression.start_position()));
            }
            None => {
                self.mistake(
                    expression.start_position(),
                    format!("`{key}` must be written out, since PARAMS is read without running the recipe"),
                );
            }
        }
    }

    fn name(&mut self, fields: &Fields, start: Position) -> String {
        let Some((value, at)) = fields.get("name") else {
            self.mistake(start, "a parameter needs a `name`");
            return String::new();
        };
        let name = value.as_str().unwrap_or_default().to_owned();
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain {
            self.mistake(*at, "a parameter's name is a text of small letters, digits and underscores");
        } else if TAKEN.contains(&name.as_str()) {
            self.mistake(*at, format!("every recipe has a flag --{name} already; choose another name"));
        }
        name
    }

    fn text(&mut self, fields: &Fields, key: &str) -> String {
        match fields.get(key) {
            None => String::new(),
            Some((Value::String(text), _)) => text.clone(),
            Some((_, at)) => {
                self.mistake(*at, format!("`{key}` must be a text"));
                String::new()
            }
        }
    }

    fn truth(&mut self, fields: &Fields, key: &str) -> bool {
        match fields.get(key) {
            None => false,
            Some((Value::Bool(b), _)) => *b,
            Some((_, at)) => {
                self.mistake(*at, format!("`{key}` must be true or false"));
                false
            }
        }
    }

    fn number(&mut self, fields: &Fields, key: &str) -> Option<Number> {
        match fields.get(key)? {
            (Value::Number(n), _) => Some(n.clone()),
            (_, at) => {
                self.mistake(*at, format!("`{key}` must be a number"));
                None
            }
        }
    }

    fn choices(&mut self, fields: &Fields) -> Vec<Value> {
        match fields.get("one_of") {
            None => Vec::new(),
            Some((Value::Array(items), _)) if !items.is_empty() => items.clone(),
            Some((_, at)) => {
                self.mistake(*at, "`one_of` must be an array with at least one entry");
                Vec::new()
            }
        }
    }

    fn kind(&mut self, fields: &Fields, example: Option<&Value>) -> Kind {
        match example {
            None | Some(Value::String(_)) => Kind::Text,
            Some(Value::Bool(_)) => Kind::Flag,
            Some(Value::Number(n)) if n.is_f64() => Kind::Float,
            Some(Value::Number(_)) => Kind::Int,
            Some(Value::Array(_)) if fields.contains_key("value") => Kind::Texts,
            Some(_) => {
                let at = fields.get("value").or(fields.get("one_of")).map_or(Position::NONE, |(_, at)| *at);
                self.mistake(at, "a value must be a text, a number, true or false, or an array of texts");
                Kind::Text
            }
        }
    }

    fn consistent(&mut self, param: &Param, fields: &Fields, start: Position) {
        let at = |key: &str| fields.get(key).map_or(start, |(_, at)| *at);
        let numeric = matches!(param.kind, Kind::Int | Kind::Float);
        if (param.min.is_some() || param.max.is_some()) && !numeric {
            self.mistake(
                at(if param.min.is_some() { "min" } else { "max" }),
                "`min` and `max` need a `value` that is a number",
            );
        }
        if let Some(odd) = param.one_of.iter().find(|choice| !fits(param.kind, choice)) {
            self.mistake(
                at("one_of"),
                format!("`one_of` has {odd}, which is of another type than the others or `value`"),
            );
        }
        if param.positional && param.kind == Kind::Flag {
            self.mistake(at("positional"), "a parameter that is true or false cannot be positional");
        }
        if param.positional && param.kind == Kind::Texts {
            self.mistake(at("positional"), "a list cannot be positional");
        }
        if param.kind == Kind::Texts && !param.value.iter().all(is_texts) {
            self.mistake(at("value"), "a list may have nothing but texts in it");
            return;
        }
        let entries = match &param.value {
            Some(Value::Array(entries)) => entries.iter().collect(),
            value => Vec::from_iter(value),
        };
        if let Some(value) = &param.value
            && let Some(message) = entries.into_iter().find_map(|entry| param.check(entry).err())
        {
            self.mistake(at("value"), format!("`value` is {value}, but {message}"));
        }
    }
}

fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Flag => value.is_boolean(),
        Kind::Int => value.is_i64(),
        Kind::Float => value.is_number(),
        Kind::Text | Kind::Texts => value.is_string(),
    }
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|entries| entries.iter().all(Value::is_string))
}

/// Parsed values as the map that `args(PARAMS)` gives; whole numbers become floats where the default is one.
pub fn to_map(params: &[Param], values: &BTreeMap<String, Value>) -> Map {
    params
        .iter()
        .filter_map(|param| {
            let given = values.get(&param.name).or(param.value.as_ref())?;
            let fitting = match (param.kind, given) {
                (Kind::Float, Value::Number(n)) => n.as_f64().map_or_else(|| given.clone(), Value::from),
                _ => given.clone(),
            };
            Some((param.name.as_str().into(), value::from_json(&fitting)))
        })
        .collect()
}

/// What a recipe runs with, for its first line: so a log says how to repeat it.
pub struct Opening {
    recipe: String,
    positional: Vec<String>,
    /// What is not its default, in the order of PARAMS.
    changed: Vec<(String, Value)>,
    /// Everything.
    values: serde_json::Map<String, Value>,
}

impl Opening {
    /// `recipe`: its name or path; `given`: what was typed. An address goes without its password.
    pub fn new(recipe: &str, params: &[Param], given: &BTreeMap<String, Value>) -> Self {
        let stem = Path::new(recipe).file_stem().map_or_else(|| recipe.into(), |stem| stem.to_string_lossy());
        let (mut positional, mut changed, mut values) = (Vec::new(), Vec::new(), serde_json::Map::new());
        for param in params {
            let Some(value) = given.get(&param.name).or(param.value.as_ref()) else { continue };
            let value = without_passwords(value);
            values.insert(param.name.clone(), value.clone());
            if param.positional {
                positional.push(shown(&value));
            } else if !param.value.as_ref().is_some_and(|usual| same(usual, &value)) {
                changed.push((param.name.clone(), value));
            }
        }
        Self { recipe: stem.into_owned(), positional, changed, values }
    }

    /// "train_voice anna: epochs 500, batch_size 8 (defaults otherwise)"; none for a recipe without parameters.
    pub fn line(&self) -> Option<String> {
        if self.values.is_empty() {
            return None;
        }
        let named = std::iter::once(&self.recipe).chain(&self.positional).map(String::as_str);
        let changed: Vec<String> =
            self.changed.iter().map(|(name, value)| format!("{name} {}", shown(value))).collect();
        let settings = match (changed.is_empty(), self.values.len() > changed.len() + self.positional.len()) {
            (true, true) => ": defaults".to_owned(),
            (true, false) => String::new(),
            (false, more) => format!(": {}{}", changed.join(", "), if more { " (defaults otherwise)" } else { "" }),
        };
        Some(format!("{}{settings}", named.collect::<Vec<_>>().join(" ")))
    }

    /// The same for programs: an object with `event` ("settings"), `recipe`, `arguments`, `changed` and all `values`.
    pub fn to_json(&self) -> Value {
        let changed: serde_json::Map<String, Value> = self.changed.iter().cloned().collect();
        serde_json::json!({
            "event": "settings", "recipe": self.recipe, "arguments": self.positional, "changed": changed, "values": self.values
        })
    }
}

/// Each entry of a list by itself: one may be an address with a blank in it.
fn without_passwords(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(without_password(text).into_owned()),
        Value::Array(entries) => entries.iter().map(without_passwords).collect(),
        other => other.clone(),
    }
}
