//! PARAMS read from the syntax tree of a script, without running it.
//!
//! ```text
//! #{ name: "voice", positional: true, help: "..." }     a parameter of the recipe itself
//! #{ settings: ["clips", "training"] }                  every setting of these groups, as it is declared in Rust
//! #{ setting: "epochs", value: 500 }                    one setting; `value` and `help` may differ from the declaration
//! #{ params: "stdlib/voice", without: ["voice"] }       the PARAMS of a script
//! ```

use super::bind::value;
use super::diagnostic::Diagnostic;
use super::engine::Host;
use super::flags;
use super::library;
use super::params::{Kind, Param, Stands};
use super::sources::Sources;
use crate::config::layers::turned;
use crate::config::settings::Limits;
use crate::config::{setting, settings};
use crate::error::nearest;
use rhai::{AST, Expr, Position, Stmt};
use serde_json::{Number, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A mistake in PARAMS.
const CODE: &str = "script.params";

const CONSTANT: &str = "PARAMS";

/// Keys of a row, by the first key that it has of these.
const ROWS: &[(&str, &[&str])] = &[
    ("settings", &["settings", "otherwise"]),
    ("setting", &["setting", "value", "help", "common", "otherwise"]),
    ("params", &["params", "names", "without"]),
    ("name", &["name", "help", "value", "min", "max", "one_of", "positional", "group", "common", "alias", "own"]),
];

/// Levels of scripts whose PARAMS take the PARAMS of another script.
const DEEPEST: usize = 4;

/// The parameters of a compiled recipe: the constant PARAMS, or the array that its `args([...])` is given; every mistake in it if there are any. A
/// recipe without either has none.
pub fn read(host: &Host, ast: &AST) -> Result<Vec<Param>, Vec<Diagnostic>> {
    let source = ast.source().unwrap_or_default();
    let Some(list) = declared(ast) else { return Ok(Vec::new()) };
    let mut reader =
        Reader { source, host, sources: &host.sources, mistakes: Vec::new(), depth: 0, own: BTreeSet::new() };
    let mut params = reader.list(list);
    if takes_groups(list) {
        params.extend(
            Param::others().into_iter().filter(|other| params.iter().all(|p| p.name != other.name)).collect::<Vec<_>>(),
        );
    }
    if reader.mistakes.is_empty() { Ok(params) } else { Err(reader.mistakes) }
}

/// The array of parameters of a script.
fn declared(ast: &AST) -> Option<&Expr> {
    let found = ast.statements().iter().find_map(|statement| match statement {
        Stmt::Var(variable, ..) if variable.0.name == CONSTANT => Some(&variable.1),
        _ => None,
    });
    found.or_else(|| ast.statements().iter().find_map(inline))
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
    host: &'a Host,
    sources: &'a Sources,
    mistakes: Vec<Diagnostic>,
    /// How many scripts took this one's parameters.
    depth: usize,
    /// Parameters declared as the recipe's own although a setting has their name.
    own: BTreeSet<String>,
}

/// A key of a row: its value and its place.
type Fields = BTreeMap<String, (Value, Position)>;

/// The meaning of a row of PARAMS.
enum Row {
    Own(Param),
    Setting(Param),
    /// The settings of groups, with the text of `otherwise`.
    Groups(Vec<String>, String),
    Taken(Vec<Param>),
}

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
        let rows: Vec<(Row, Position)> =
            items.iter().filter_map(|item| Some((self.row(item)?, item.start_position()))).collect();
        let grouped = rows.iter().any(|(row, _)| matches!(row, Row::Groups(..)));
        let mut params: Vec<Param> = Vec::new();
        // A written row overrides rows from a group or a script.
        for (row, at) in &rows {
            let (Row::Own(param) | Row::Setting(param)) = row else { continue };
            if params.iter().any(|p| p.name == param.name) {
                self.mistake(*at, format!("there are two parameters named {:?}", param.name));
            }
            params.push(param.clone());
        }
        let written = params;
        let taken: Vec<Param> = rows
            .iter()
            .filter_map(|(row, _)| match row {
                Row::Taken(taken) => Some(taken.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        let mut params: Vec<Param> = Vec::new();
        for (row, at) in rows {
            let more = match row {
                Row::Own(param) | Row::Setting(param) => vec![param],
                Row::Taken(taken) => taken,
                Row::Groups(groups, otherwise) => {
                    let of = settings().iter().filter(|setting| groups.contains(&setting.group));
                    let with =
                        |param: Param| if otherwise.is_empty() { param } else { without_default(param, &otherwise) };
                    of.map(|setting| with(Param::of(setting))).collect()
                }
            };
            for param in more {
                if params.iter().any(|p| p.name == param.name) {
                    continue;
                }
                let param = written.iter().chain(&taken).find(|p| p.name == param.name).cloned().unwrap_or(param);
                if param.positional && param.value.is_none() && params.iter().any(|p| p.positional && p.value.is_some())
                {
                    self.mistake(
                        at,
                        format!("{:?} must be given, so it must come before those that have a value", param.name),
                    );
                }
                if grouped && self.depth == 0 && param.stands == Stands::Own && !self.own.contains(&param.name) {
                    self.is_no_setting(&param, at);
                }
                params.push(param);
            }
        }
        let alias =
            |param: &Param| param.aliases.iter().find(|alias| params.iter().any(|p| p.name == **alias)).cloned();
        if let Some(alias) = params.iter().find_map(alias) {
            self.mistake(
                list.start_position(),
                format!("{alias:?} is the name of a parameter and the alias of another one"),
            );
        }
        params
    }

    /// `config::of` would not see a parameter of the recipe's own, whatever its name.
    fn is_no_setting(&mut self, param: &Param, at: Position) {
        if let Some(one) = settings().iter().find(|one| one.name == param.name || one.flag == param.name) {
            let message = format!("{:?} is a setting, but this row makes it the recipe's own parameter", param.name);
            let hint = format!("write setting: {:?} instead of name, or add own: true", one.name);
            self.mistake(at, message).hint = Some(hint);
        }
    }

    fn row(&mut self, item: &Expr) -> Option<Row> {
        let Expr::Map(map, start) = item else {
            self.mistake(
                item.start_position(),
                "a parameter must be a map: #{ name: \"epochs\", value: 300, help: \"...\" }",
            );
            return None;
        };
        let has = |key: &str| map.0.iter().any(|(known, _)| known.name == key);
        let &(form, keys) = ROWS.iter().find(|(form, _)| has(form)).unwrap_or(&ROWS[ROWS.len() - 1]);
        let before = self.mistakes.len();
        let mut fields = Fields::new();
        for (key, expression) in &map.0 {
            self.field(&mut fields, keys, &key.name, key.pos, expression);
        }
        // A mistyped `name` is not missing too.
        if self.mistakes.len() > before {
            return None;
        }
        let row = match form {
            "settings" => self.groups(&fields, *start),
            "setting" => self.setting(&fields, *start).map(Row::Setting),
            "params" => self.taken(&fields, *start).map(Row::Taken),
            _ => Some(Row::Own(self.own(&fields, *start))),
        };
        row.filter(|_| self.mistakes.len() == before)
    }

    /// `#{ settings: ["clips"] }`.
    fn groups(&mut self, fields: &Fields, start: Position) -> Option<Row> {
        let at = fields.get("settings").map_or(start, |(_, at)| *at);
        let mut known: Vec<&str> = settings().iter().map(|setting| setting.group.as_str()).collect();
        known.dedup();
        known.sort_unstable();
        known.dedup();
        let wanted = self.texts(fields, "settings");
        if wanted.is_empty() {
            self.mistake(at, format!("`settings` must be an array of groups: {}", known.join(", ")));
            return None;
        }
        if let Some(odd) = wanted.iter().find(|group| !known.contains(&group.as_str())) {
            let hint = match nearest(odd, known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("groups are: {}", known.join(", ")),
            };
            self.mistake(at, format!("there is no group of settings {odd:?}")).hint = Some(hint);
            return None;
        }
        Some(Row::Groups(wanted, self.text(fields, "otherwise")))
    }

    /// `#{ setting: "epochs", value: 500 }`.
    fn setting(&mut self, fields: &Fields, start: Position) -> Option<Param> {
        let name = self.text(fields, "setting");
        let at = fields.get("setting").map_or(start, |(_, at)| *at);
        let Some(one) = setting(&name) else {
            let hint = match nearest(&name, settings().iter().map(|one| one.name.as_str())) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "`rvc-run settings` lists them".to_owned(),
            };
            self.mistake(at, format!("there is no setting {name:?}")).hint = Some(hint);
            return None;
        };
        let mut param = Param::of(one);
        let help = self.text(fields, "help");
        if !help.is_empty() {
            param.help = help;
        }
        if fields.contains_key("common") {
            param.common = self.truth(fields, "common");
        }
        if let Some((given, at)) = fields.get("value") {
            match one.fitting(given).and_then(|value| one.check(&value).map(|()| value)) {
                Ok(value) => {
                    param.value = Some(turned(&value, one.inverted));
                    param.stands =
                        Stands::Setting { name: one.name.clone(), inverted: one.inverted, value: Some(value) };
                }
                Err(error) => {
                    let hint = error.hint_text().map(str::to_owned);
                    self.mistake(*at, error.message().to_owned()).hint = hint;
                }
            }
        }
        let otherwise = self.text(fields, "otherwise");
        Some(if otherwise.is_empty() { param } else { without_default(param, &otherwise) })
    }

    /// `#{ params: "stdlib/voice", without: ["voice"] }`.
    fn taken(&mut self, fields: &Fields, start: Position) -> Option<Vec<Param>> {
        let path = self.text(fields, "params");
        let at = fields.get("params").map_or(start, |(_, at)| *at);
        if self.depth == DEEPEST {
            self.mistake(at, format!("PARAMS are taken from {path:?} through more than {DEEPEST} scripts"));
            return None;
        }
        let script = match library::find(self.host.session.workspace(), Some(self.source), &path) {
            Ok(script) => script,
            Err(error) => {
                let hint = error.hint_text().map(str::to_owned);
                self.mistake(at, error.message().to_owned()).hint = hint;
                return None;
            }
        };
        let ast = match self.host.compile(&script.source, &script.text) {
            Ok(ast) => ast,
            Err(mistake) => {
                self.mistakes.push(*mistake);
                return None;
            }
        };
        let Some(list) = declared(&ast) else {
            let hint = "a script that others take parameters from has a constant PARAMS";
            self.mistake(at, format!("{path} has no PARAMS")).hint = Some(hint.to_owned());
            return None;
        };
        let mut inner = Reader {
            source: &script.source,
            host: self.host,
            sources: self.sources,
            mistakes: Vec::new(),
            depth: self.depth + 1,
            own: BTreeSet::new(),
        };
        let all = inner.list(list);
        self.mistakes.append(&mut inner.mistakes);
        let (names, without) = (self.texts(fields, "names"), self.texts(fields, "without"));
        if let Some(odd) = names.iter().chain(&without).find(|name| all.iter().all(|param| param.name != **name)) {
            let known: Vec<&str> = all.iter().map(|param| param.name.as_str()).collect();
            self.mistake(at, format!("{path} has no parameter {odd:?}")).hint =
                Some(format!("it has: {}", known.join(", ")));
        }
        let wanted =
            |param: &Param| (names.is_empty() || names.contains(&param.name)) && !without.contains(&param.name);
        Some(all.into_iter().filter(wanted).collect())
    }

    /// `#{ name: "voice", ... }`.
    fn own(&mut self, fields: &Fields, start: Position) -> Param {
        let name = self.name(fields, start);
        let help = self.text(fields, "help");
        let positional = self.truth(fields, "positional");
        if self.truth(fields, "own") {
            self.own.insert(name.clone());
        }
        let (min, max) = (self.number(fields, "min"), self.number(fields, "max"));
        let one_of = self.choices(fields);
        let value = fields.get("value").map(|(value, _)| value.clone());
        let kind = self.kind(fields, value.as_ref().or(one_of.first()));
        let aliases = match fields.get("alias") {
            Some((Value::String(alias), _)) => vec![alias.clone()],
            _ => self.texts(fields, "alias"),
        };
        let param = Param {
            name,
            help,
            kind,
            value,
            limits: Limits { min, max, one_of, path: None },
            positional,
            group: self.text(fields, "group"),
            common: !fields.contains_key("common") || self.truth(fields, "common"),
            aliases,
            unit: String::new(),
            otherwise: String::new(),
            stands: Stands::Own,
        };
        self.consistent(&param, fields, start);
        param
    }

    fn field(&mut self, fields: &mut Fields, keys: &[&str], key: &str, at: Position, expression: &Expr) {
        if !keys.contains(&key) {
            let hint = match nearest(key, keys.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("a parameter has: {}", keys.join(", ")),
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

    /// An array of texts; empty if the key is missing.
    fn texts(&mut self, fields: &Fields, key: &str) -> Vec<String> {
        match fields.get(key) {
            None => Vec::new(),
            Some((value, _)) if is_texts(value) => {
                value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            Some((_, at)) => {
                self.mistake(*at, format!("`{key}` must be an array of strings"));
                Vec::new()
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
            self.mistake(*at, "a parameter's name has lower-case letters, digits and underscores");
        } else if flags::is_common(&name) {
            self.mistake(*at, format!("every recipe already has a flag --{name}; choose another name"));
        }
        name
    }

    fn text(&mut self, fields: &Fields, key: &str) -> String {
        match fields.get(key) {
            None => String::new(),
            Some((Value::String(text), _)) => text.clone(),
            Some((_, at)) => {
                self.mistake(*at, format!("`{key}` must be a string"));
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
                self.mistake(at, "a value must be a string, a number, true or false, or an array of strings");
                Kind::Text
            }
        }
    }

    fn consistent(&mut self, param: &Param, fields: &Fields, start: Position) {
        let at = |key: &str| fields.get(key).map_or(start, |(_, at)| *at);
        let numeric = matches!(param.kind, Kind::Int | Kind::Float);
        if (param.limits.min.is_some() || param.limits.max.is_some()) && !numeric {
            self.mistake(
                at(if param.limits.min.is_some() { "min" } else { "max" }),
                "`min` and `max` need a `value` that is a number",
            );
        }
        if let Some(odd) = param.limits.one_of.iter().find(|choice| !fits(param.kind, choice)) {
            self.mistake(at("one_of"), format!("`one_of` has {odd}, whose type differs from the others or `value`"));
        }
        if param.positional && param.kind == Kind::Flag {
            self.mistake(at("positional"), "a parameter that is true or false cannot be positional");
        }
        if param.positional && param.kind == Kind::Texts {
            self.mistake(at("positional"), "a list cannot be positional");
        }
        if param.kind == Kind::Texts && !param.value.iter().all(is_texts) {
            self.mistake(at("value"), "a list may hold only strings");
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

/// Whether a row names groups of settings; if so, any setting can be given.
fn takes_groups(list: &Expr) -> bool {
    let Expr::Array(items, _) = list else { return false };
    items.iter().any(|item| matches!(item, Expr::Map(map, _) if map.0.iter().any(|(key, _)| key.name == "settings")))
}

/// A parameter that is `()` if it is not given.
fn without_default(mut param: Param, otherwise: &str) -> Param {
    param.value = Some(Value::Null);
    otherwise.clone_into(&mut param.otherwise);
    param
}

fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Flag => value.is_boolean(),
        Kind::Int => value.is_i64(),
        Kind::Float => value.is_number(),
        _ => value.is_string(),
    }
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|entries| entries.iter().all(Value::is_string))
}
