//! A mistake in a script, for people: code, message, place, the line with a caret, call chain, hint.

use super::bind::{Fault, value};
use super::habits::{self, Found};
use super::native::{self, Natives};
use super::sources::Sources;
use crate::config::settings;
use crate::error::nearest;
use crate::{Error, Kind};
use rhai::{EvalAltResult, ParseError, ParseErrorType, Position};

/// What is wrong with the text of a script, before it runs.
pub const SYNTAX: &str = "script.syntax";

/// What a function can use.
const OUTER: &str = "a function sees only its parameters and constants (global::NAME), not outer variables";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// The place of a mistake: script, line and column.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub source: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The text of the line.
    pub text: String,
}

/// One mistake; see [`Diagnostic::render`].
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub code: String,
    pub message: String,
    pub place: Option<Place>,
    /// The calls that led there, innermost first, and other facts.
    pub notes: Vec<String>,
    pub hint: Option<String>,
    /// Whether the script's input is at fault, not the script: a missing folder, a value out of range. Then place and notes help only
    /// people who work on the script.
    pub of_input: bool,
}

impl Diagnostic {
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code: code.into(),
            message: message.into(),
            place: None,
            notes: Vec::new(),
            hint: None,
            of_input: false,
        }
    }

    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    #[must_use]
    pub fn at(mut self, source: &str, position: Position, sources: &Sources) -> Self {
        self.place = place(source, position, sources);
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The diagnostic as lines of text without a final line break; `colour` adds terminal colours. Place and notes are left out if the script's
    /// input is at fault, unless `all` is true.
    ///
    /// ```text
    /// error[device.memory]: the GPU ran out of memory in training step 12
    ///   --> stdlib/training.rhai:44:19 (built in)
    ///    |
    /// 44 |         let m = t.run_epoch();
    ///    |                   ^^^^^^^^^
    ///    = called as `fit` from recipes/train.rhai:22:11
    ///    = hint: lower batch_size
    /// ```
    pub fn render(&self, colour: bool, all: bool) -> String {
        let looks_in = all || !self.of_input;
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let (word, hue) = match self.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let mut lines = vec![format!("{}: {}", paint(hue, &format!("{word}[{}]", self.code)), self.message)];
        let mut margin = String::from(" ");
        if let Some(place) = self.place.as_ref().filter(|_| looks_in) {
            let number = place.line.to_string();
            margin = " ".repeat(number.len());
            lines.push(format!(
                "{margin}{} {}",
                paint("1;34", "-->"),
                place_name(&place.source, place.line, place.column)
            ));
            if !place.text.trim().is_empty() {
                let bar = paint("1;34", "|");
                lines.push(format!("{margin} {bar}"));
                lines.push(format!("{} {bar} {}", paint("1;34", &number), place.text.trim_end()));
                lines.push(format!("{margin} {bar} {}", paint(hue, &caret(place))));
            }
        }
        lines.extend(
            self.notes.iter().filter(|_| looks_in).map(|note| format!("{margin} {} {note}", paint("1;34", "="))),
        );
        lines.extend(self.hint.iter().map(|hint| format!("{margin} {} hint: {hint}", paint("1;34", "="))));
        lines.join("\n")
    }

    /// The diagnostic for programs: an object with `event` ("error" or "warning"), `code`, `message`, `place`, `notes`, `hint`.
    pub fn to_json(&self) -> serde_json::Value {
        let event = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = self
            .place
            .as_ref()
            .map(|place| serde_json::json!({ "file": place.source, "line": place.line, "column": place.column }));
        serde_json::json!({
            "event": event, "code": self.code, "message": self.message, "place": place, "notes": self.notes, "hint": self.hint
        })
    }
}

impl From<&Error> for Diagnostic {
    fn from(error: &Error) -> Self {
        let mut diagnostic = Self::error(error.kind().code(), error.message());
        diagnostic.hint = error.hint_text().map(str::to_owned);
        diagnostic
    }
}

/// `file:line:column`; a suffix such as " (built in)" stays after the numbers.
pub fn place_name(source: &str, line: usize, column: usize) -> String {
    match source.split_once(" (") {
        Some((file, mark)) => format!("{file}:{line}:{column} ({mark}"),
        None => format!("{source}:{line}:{column}"),
    }
}

fn place(source: &str, position: Position, sources: &Sources) -> Option<Place> {
    let line = position.line()?;
    let text = sources.get(source).and_then(|text| text.lines().nth(line - 1).map(str::to_owned)).unwrap_or_default();
    let column = whole_name(&text, position.position().unwrap_or(1).max(1));
    Some(Place { source: source.to_owned(), line, column, text })
}

/// The column where `audio::load` starts, if `column` is that of its `load`: Rhai gives one or the other.
fn whole_name(text: &str, column: usize) -> usize {
    let before: Vec<char> = text.chars().take(column - 1).collect();
    let mut start = before.len();
    while before[..start].ends_with(&[':', ':']) {
        let name = before[..start - 2].iter().rev().take_while(|&&c| is_word(c)).count();
        start -= 2 + name;
    }
    start + 1
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Blanks and `^^^` below the text at the place. Rhai knows where a thing starts, not where it ends: names and strings are
/// followed to their end, anything else is one character.
fn caret(place: &Place) -> String {
    let before = place.text.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' });
    let rest: Vec<char> = place.text.chars().skip(place.column - 1).collect();
    let width = match rest.first() {
        Some(quote @ ('"' | '`')) => rest.iter().skip(1).position(|c| c == quote).map_or(1, |end| end + 2),
        Some(&first) if is_word(first) => rest
            .iter()
            .enumerate()
            // A module's function is one name: audio::load
            .take_while(|&(i, &c)| is_word(c) || c == ':' && (rest.get(i + 1) == Some(&':') || rest[i - 1] == ':'))
            .count(),
        _ => 1,
    };
    before.chain(std::iter::repeat_n('^', width)).collect()
}

/// The diagnostic of a script that does not parse.
pub fn of_parse_error(error: &ParseError, source: &str, sources: &Sources) -> Diagnostic {
    syntax(&error.0, error.1, source, sources)
}

/// The diagnostics of everything in a script that is never valid Rhai.
pub fn foreign(source: &str, sources: &Sources) -> Vec<Diagnostic> {
    let text = sources.get(source).unwrap_or_default();
    habits::everywhere(&text).iter().map(|found| of_habit(found, source, sources)).collect()
}

fn of_habit(found: &Found, source: &str, sources: &Sources) -> Diagnostic {
    Diagnostic::error(SYNTAX, format!("`{}` is not Rhai", found.text)).hint(found.form).at(
        source,
        position(found.line, found.column),
        sources,
    )
}

/// A place; beyond what Rhai can count it is the last one that it can.
fn position(line: usize, column: usize) -> Position {
    let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    Position::new(short(line.max(1)), short(column))
}

fn syntax(error: &ParseErrorType, at: Position, source: &str, sources: &Sources) -> Diagnostic {
    let text = sources.get(source).unwrap_or_default();
    // A text that ends too early has no place: the mistake is after the last line.
    let (line, column) = match at.line() {
        Some(line) => (line, at.position().unwrap_or(1).max(1)),
        None => (text.lines().count() + 1, 1),
    };
    let here = |message: String| Diagnostic::error(SYNTAX, message).at(source, at, sources);
    let habit = || habits::at(&text, line, column).map(|found| of_habit(&found, source, sources));
    let plain = || here(lower_first(&error.to_string()));
    match error {
        ParseErrorType::VariableUndefined(name) => habit().unwrap_or_else(|| {
            here(format!("there is no variable `{name}` here")).hint(undefined(name, &text, line, column))
        }),
        ParseErrorType::ModuleUndefined(name) => {
            unknown_module(name, declared(&text).into_iter()).at(source, at, sources)
        }
        ParseErrorType::Reserved(word) => habit()
            .unwrap_or_else(|| plain().hint(format!("Rhai keeps the word `{word}` for itself; choose another name"))),
        ParseErrorType::WrongDocComment => plain().hint("`///` is only allowed before functions; use `//` here"),
        ParseErrorType::MissingToken(token, _) if token == ";" => {
            let division = habits::division(&text, line, column).map(|found| of_habit(&found, source, sources));
            division.or_else(habit).unwrap_or_else(|| match habits::end_before(&text, line, column) {
                Some((end, behind)) if end < line => Diagnostic::error(SYNTAX, "a `;` is missing here")
                    .hint("every statement but the last ends with `;`")
                    .at(source, position(end, behind), sources),
                _ => here("an operator or a `;` is missing before this".into()),
            })
        }
        _ if at.line().is_none() || line > text.lines().count() => {
            match habits::unclosed(&text) {
                Some((line, column, bracket)) => Diagnostic::error(SYNTAX, format!("this `{bracket}` is never closed"))
                    .at(source, position(line, column), sources),
                None => habit().unwrap_or_else(plain),
            }
        }
        _ => habit().unwrap_or_else(plain),
    }
}

/// The diagnostic of a module that was neither imported nor is native; `imported` are the aliases in scope.
pub fn unknown_module<'a>(name: &str, imported: impl Iterator<Item = &'a str>) -> Diagnostic {
    let diagnostic = Diagnostic::error(SYNTAX, format!("there is no module `{name}` here"));
    let library = crate::shipped::STDLIB.iter().map(|(known, _)| *known);
    if library.clone().any(|known| known == name) {
        return diagnostic.hint(format!("write `import \"stdlib/{name}\" as {name};` at the top"));
    }
    match nearest(name, super::native::MODULES.iter().copied().chain(imported).chain(library)) {
        Some(known) => diagnostic.hint(format!("did you mean `{known}`?")),
        None => diagnostic.hint(format!("modules are: {}", super::native::MODULES.join(", "))),
    }
}

/// What to write instead of a variable that is not known at this place.
fn undefined(name: &str, text: &str, line: usize, column: usize) -> String {
    let words = words(text);
    let follows = |before: &[&str]| -> Vec<&str> {
        words.windows(2).filter(|pair| before.contains(&pair[0])).map(|pair| pair[1]).collect()
    };
    if follows(&["as"]).contains(&name) || native::MODULES.contains(&name) {
        return format!("`{name}` is a module; its functions are called as `{name}::function()`");
    }
    // `let p = args(PARAMS);`
    let arguments = words.windows(3).find(|three| three[0] == "let" && three[2] == "args").map(|three| three[1]);
    let mut parameters = follows(&["name", "setting"]);
    if words.contains(&"settings") {
        parameters.extend(settings().iter().map(|setting| setting.flag.as_str()));
    }
    let declared = declared(text);
    let in_function = habits::in_function(text, line, column);
    let of_arguments = |parameter: &str| arguments.filter(|_| !in_function).map(|p| format!("{p}.{parameter}"));
    let exact = parameters.contains(&name).then(|| of_arguments(name)).flatten();
    if exact.is_none() && declared.contains(&name) {
        return if in_function {
            OUTER.to_owned()
        } else {
            format!("`{name}` is known from its declaration to the end of its block")
        };
    }
    let near = exact
        .or_else(|| nearest(name, declared).map(str::to_owned))
        .or_else(|| nearest(name, parameters).and_then(of_arguments));
    match (near, habits::assigned(text, line, column)) {
        (Some(near), None) => format!("did you mean `{near}`?"),
        (Some(near), Some(declare)) => format!("did you mean `{near}`? {declare}"),
        (None, None) if in_function => OUTER.to_owned(),
        (None, declare) => declare.unwrap_or(habits::DECLARE).to_owned(),
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect()
}

/// Names that a text declares: the words after `let`, `const`, `for`, `as`, and the parameters of functions.
fn declared(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = words(text)
        .windows(2)
        .filter(|pair| ["let", "const", "for", "as"].contains(&pair[0]))
        .map(|pair| pair[1])
        .collect();
    for (_, rest) in text.match_indices("fn ").map(|(i, m)| text[i..].split_at(m.len())) {
        let inside = rest.split_once('(').and_then(|(_, r)| r.split_once(')')).map_or("", |(inside, _)| inside);
        names.extend(inside.split(',').map(str::trim).filter(|name| !name.is_empty()));
    }
    names
}

/// The diagnostic of an error that stopped a recipe; `root` is the source name of the recipe.
pub fn of_eval_error(error: &EvalAltResult, root: &str, sources: &Sources, natives: &Natives) -> Diagnostic {
    let mut source = root.to_owned();
    let mut notes = Vec::new();
    let mut outer = Position::NONE;
    let mut error = error;
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(name, within, inner, position) => {
                let name = if name.starts_with("anon$") { "a closure".to_owned() } else { format!("`{name}`") };
                notes.push(chain_link(&format!("called as {name}"), &source, *position, sources));
                if !within.is_empty() {
                    source.clone_from(within);
                }
                (error, outer) = (inner, *position);
            }
            EvalAltResult::ErrorInModule(name, inner, position) => {
                notes.push(chain_link("imported", &source, *position, sources));
                source.clone_from(name);
                (error, outer) = (inner, *position);
            }
            _ => break,
        }
    }
    notes.reverse();
    let mut position = if error.position().is_none() { outer } else { error.position() };
    if let EvalAltResult::ErrorRuntime(value, _) = error
        && let Some(fault) = value.read_lock::<Fault>()
        && let Some(first) = &fault.source
        && !fault.position.is_none()
    {
        (source, position) = (first.clone(), fault.position);
    }
    let mut diagnostic = match error {
        EvalAltResult::ErrorParsing(error, _) => syntax(error, position, &source, sources),
        _ => message(error, natives).at(&source, position, sources),
    };
    diagnostic.notes = notes;
    let is_shipped = sources.get(root).is_some_and(|text| crate::shipped::is_recipe(&text));
    diagnostic.of_input = is_of_input(&diagnostic.code, is_shipped);
    diagnostic
}

/// Whether an error of this code is the fault of the script's input. Settings are the script's own responsibility, except for shipped scripts: they pass
/// on what the user gives.
fn is_of_input(code: &str, is_shipped: bool) -> bool {
    match code.split('.').next().unwrap_or(code) {
        "script" | "internal" | "torch" => false,
        "config" | "usage" => is_shipped,
        _ => true,
    }
}

fn chain_link(what: &str, source: &str, position: Position, sources: &Sources) -> String {
    match place(source, position, sources) {
        Some(place) => format!("{what} from {}", place_name(source, place.line, place.column)),
        None => format!("{what} from {source}"),
    }
}

fn message(error: &EvalAltResult, natives: &Natives) -> Diagnostic {
    let script = |message: String| Diagnostic::error(Kind::Script.code(), message);
    match error {
        EvalAltResult::ErrorRuntime(value, _) => {
            let fault = Fault::of(value);
            let empty = value.is_unit() || fault.message.is_empty();
            let text = if empty { "the script threw an error without a message".to_owned() } else { fault.message };
            let diagnostic = Diagnostic::error(fault.kind, text);
            if fault.hint.is_empty() { diagnostic } else { diagnostic.hint(fault.hint) }
        }
        EvalAltResult::ErrorFunctionNotFound(signature, _) => no_function(signature, natives),
        EvalAltResult::ErrorPropertyNotFound(name, _) => script(format!("there is no property `{name}` in this map")),
        EvalAltResult::ErrorDotExpr(text, _) => no_property(text),
        EvalAltResult::ErrorStackOverflow(_) => script("functions call each other too deeply".into())
            .hint("a function that calls itself must end at some point"),
        EvalAltResult::ErrorMismatchDataType(wanted, given, _) => {
            script(format!("this is {}, but must be {}", value::kind_of(given), value::kind_of(wanted)))
        }
        EvalAltResult::ErrorMismatchOutputType(wanted, given, _) => {
            script(format!("this returns {}, but must return {}", value::kind_of(given), value::kind_of(wanted)))
        }
        EvalAltResult::ErrorArrayBounds(count, index, _) => {
            script(format!("there is no item {index} in this array, which has {count}"))
                .hint("the first item is 0, the last one -1")
        }
        EvalAltResult::ErrorStringBounds(count, index, _) => {
            script(format!("there is no character {index} in this string, which has {count}"))
                .hint("the first character is 0, the last one -1")
        }
        EvalAltResult::ErrorFor(_) => script("`for` cannot iterate over this".into())
            .hint("it iterates over arrays, ranges such as 0..10, the chars() of a string and the keys() of a map"),
        EvalAltResult::ErrorIndexingType(_, _) => script("this cannot be indexed like this".into())
            .hint("arrays and strings are indexed by whole numbers, maps by strings"),
        EvalAltResult::ErrorNonPureMethodCallOnConstant(name, _) => {
            script(format!("`{name}` would change a constant")).hint("declare it with `let` instead of `const`")
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => script(format!("{} is too large", lower_first(what)))
            .hint("scripts hold names and numbers; large data belongs in files"),
        EvalAltResult::ErrorUnboundThis(_) => {
            script("there is no `this` here".into()).hint("only a function called as a method has it: `x.change()`")
        }
        EvalAltResult::ErrorSystem(text, _) if !text.is_empty() => script(lower_first(text)),
        other => {
            let text = other.to_string();
            let place = format!(" ({})", other.position());
            script(lower_first(text.strip_suffix(&place).unwrap_or(&text)))
        }
    }
}

/// A call that matches no function, as `audio::load (i64, map)`.
fn no_function(signature: &str, natives: &Natives) -> Diagnostic {
    let (name, types) = signature.split_once(" (").unwrap_or((signature, ")"));
    let types: Vec<String> =
        types.trim_end_matches(')').split(", ").filter(|t| !t.is_empty()).map(native::plain).collect();
    let script = |message: String| Diagnostic::error(Kind::Script.code(), message);
    // A closure's internal name means nothing to the user.
    if name.starts_with("anon$") {
        let message = format!("the function got {} values, but takes another number", types.len());
        return script(message).hint("its parameters are between the bars: `|x, y| x + y` takes two");
    }
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if !is_name && types.len() == 2 {
        return script(format!("`{name}` cannot be used between {} and {}", a(&types[0]), a(&types[1])));
    }
    let diagnostic = script(format!("no function fits the call `{name}({})`", types.join(", ")));
    match habits::function(name).map(str::to_owned).or_else(|| natives.hint(signature)) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

/// A type with its article, by the name in the reference.
fn a(kind: &str) -> String {
    match kind {
        "int" => "a whole number".into(),
        "float" => "a number".into(),
        "()" => "()".into(),
        "bool" => "true or false".into(),
        "array" | "Error" | "Audio" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// Rhai reports this only in words: "Unknown property 'length' - a getter is not registered for type 'array'".
fn no_property(text: &str) -> Diagnostic {
    let quoted: Vec<&str> = text.split('\'').skip(1).step_by(2).collect();
    let [property, owner] = quoted[..] else {
        return Diagnostic::error(Kind::Script.code(), lower_first(text));
    };
    let diagnostic =
        Diagnostic::error(Kind::Script.code(), format!("{} has no property `{property}`", value::kind_of(owner)));
    match habits::function(property) {
        Some(form) => diagnostic.hint(form),
        None => diagnostic,
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !chars.as_str().starts_with(char::is_uppercase) => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}
