//! Syntax of other languages, and how to write it in Rhai: one table, used where a script does not parse or uses an unknown name.
//!
//! ```text
//! text -> tokens -> matches of HABITS -> the match at the place of the mistake -> diagnostic
//! ```

/// A row of the table.
struct Habit {
    /// Tokens, separated by blanks; [`matches_part`] explains the words in capitals.
    pattern: &'static str,
    /// What to write instead.
    form: &'static str,
    /// Whether it is never valid Rhai: then all occurrences are reported at once.
    sure: bool,
}

const fn sure(pattern: &'static str, form: &'static str) -> Habit {
    Habit { pattern, form, sure: true }
}

const fn near(pattern: &'static str, form: &'static str) -> Habit {
    Habit { pattern, form, sure: false }
}

const COMMENT: &str = "a comment begins with `//`";
const NOTHING: &str = "the empty value is `()`: `x == ()` tests for it, `x ?? 5` replaces it";
pub const DECLARE: &str = "a variable is declared with `let x = 5;` and changed with `x = 6;`; it has no type";
const FUNCTION: &str = "a function is written `fn name(a, b) { ... }`; its last line is its value";
const CLOSURE: &str = "a function without a name is written `|x| x + 1`";
const LOOP: &str = "write `for i in 0..10 { ... }`, or `for item in list { ... }`";
const BLOCK: &str = "a block is in braces: `if x > 1 { ... } else { ... }`";
const CHOICE: &str = "write `if x > 1 { a } else { b }`, which has a value";
const SWITCH: &str = "write `switch x { 1 => ..., \"a\" | \"b\" => ..., _ => ... }`";
const IMPORT: &str = "write `import \"stdlib/voice\" as voice;`";
const PRINT: &str = "write `print(x);`, or print(`text ${x}`)";
const INTERPOLATE: &str = "a string with values in it is in backticks: `hello ${name}`";
const UNEQUAL: &str = "write `!=`";
const MAP: &str = "a map begins with `#{`: `#{ a: 1, b: 2 }`";
const PART: &str = "a part of an array is `a.extract(1..3)`, of a string `s.sub_string(1..3)`";
const LIST: &str = "write `list.map(|x| x * 2)`, and `list.filter(|x| x > 1)`";
const JOIN: &str = "strings are joined with `+`, or with backticks: `${a} ${b}`";
const THROW: &str = "write `throw \"text\";`, or `throw system::error(kind, message, hint);`";
const NO_CLASS: &str = "Rhai has no classes: data is in maps, `#{ name: \"anna\" }`, and functions take them";

/// Where several rows match the same place, the first one counts.
const HABITS: &[Habit] = &[
    near("# {", "write `#{` without a blank: `#{ a: 1 }`"),
    sure("HASH", COMMENT),
    near("BEGIN -- WORD", COMMENT),
    sure("elif", "write `else if`"),
    sure("elsif", "write `else if`"),
    sure("elseif", "write `else if`"),
    near("not in", "write `!(x in list)`"),
    near("is not", UNEQUAL),
    near("is", "write `==`"),
    near("and", "write `&&`"),
    near("or", "write `||`"),
    near("not", "write `!`: `!ready`, `!(x in list)`"),
    near("None", NOTHING),
    near("null", NOTHING),
    near("nil", NOTHING),
    near("NULL", NOTHING),
    near("undefined", NOTHING),
    near("nullptr", NOTHING),
    near("True", "write `true`"),
    near("False", "write `false`"),
    near("TRUE", "write `true`"),
    near("FALSE", "write `false`"),
    sure("TRIPLE", "a string of several lines is in backticks"),
    sure("CHARS", "a string is in double quotes: \"text\"; single quotes hold one character"),
    near("f GLUED TEXT", INTERPOLATE),
    near("$ GLUED TEXT", INTERPOLATE),
    near("r GLUED TEXT", "a string that keeps its backslashes is #\"text\"#"),
    near("b GLUED TEXT", "write the string without the `b`; bytes are `\"text\".to_blob()`"),
    near("u GLUED TEXT", "write the string without the `u`"),
    near("def", FUNCTION),
    near("function (", CLOSURE),
    near("function", FUNCTION),
    near("func", FUNCTION),
    near("fun", FUNCTION),
    near("fn (", CLOSURE),
    near("lambda", CLOSURE),
    near("( WORD ) =>", CLOSURE),
    near(") =>", CLOSURE),
    near("WORD =>", CLOSURE),
    near("->", "a function does not declare a return type: `fn f(x) { ... }`"),
    near("fn WORD ( WORD :", "parameters have no types: `fn f(a, b) { ... }`"),
    near("for ( WORD =", LOOP),
    near("for ( let", LOOP),
    near("for ( var", LOOP),
    near("for ( const", LOOP),
    near("for ( WORD WORD", LOOP),
    near("for ( WORD in", LOOP),
    near("for WORD of", LOOP),
    near("for WORD =", LOOP),
    near("foreach", LOOP),
    sure("++", "write `i += 1`"),
    near("WORD --", "write `i -= 1`"),
    near("--", "write `i -= 1`"),
    sure("===", "write `==`"),
    sure("!==", UNEQUAL),
    near("<>", UNEQUAL),
    near("~=", UNEQUAL),
    near("WORD :=", DECLARE),
    sure(":=", DECLARE),
    near("let mut", "write `let x = 5;`: what `let` declares can be changed, what `const` declares cannot"),
    near("var", DECLARE),
    near("local WORD", DECLARE),
    near("auto WORD", DECLARE),
    near("let WORD :", DECLARE),
    near("const WORD :", DECLARE),
    near("const let", DECLARE),
    near("BEGIN int WORD", DECLARE),
    near("BEGIN float WORD", DECLARE),
    near("BEGIN double WORD", DECLARE),
    near("BEGIN bool WORD", DECLARE),
    near("BEGIN string WORD", DECLARE),
    near("BEGIN String WORD", DECLARE),
    near("BEGIN WORD : WORD =", DECLARE),
    near("[ WORD for", LIST),
    near("[ WORD * OPERAND for", LIST),
    near("[ WORD ( WORD ) for", LIST),
    near("[ WORD . WORD for", LIST),
    near("[ :", PART),
    near("[ OPERAND :", PART),
    near("[ - OPERAND :", PART),
    near("case", SWITCH),
    near("match WORD", SWITCH),
    near("switch (", SWITCH),
    near("?", CHOICE),
    near("OPERAND HERE if", CHOICE),
    near("print TEXT", PRINT),
    near("print OPERAND", PRINT),
    near("echo", PRINT),
    near("puts", PRINT),
    near("printf", PRINT),
    near("println !", PRINT),
    near("console", PRINT),
    near("from WORD import", IMPORT),
    near("import WORD", IMPORT),
    near("import {", IMPORT),
    near("import *", IMPORT),
    near("require", IMPORT),
    near("include", IMPORT),
    near("using", IMPORT),
    near("use", IMPORT),
    near("{ WORD :", MAP),
    near("{ TEXT :", MAP),
    near("$ {", INTERPOLATE),
    near("$ WORD", "a name has no `$`: `let x = 5; print(x);`"),
    near("QUOTED . QUOTED", JOIN),
    near("QUOTED . WORD", JOIN),
    near("QUOTED QUOTED", JOIN),
    near("raise", THROW),
    near("throw new", THROW),
    near("except", "write `try { ... } catch (e) { print(e.message); }`"),
    near("finally", "Rhai has no `finally`: put the code after the `catch` block"),
    near("pass", "an empty block is `{}`"),
    near("then", BLOCK),
    near("end", "a block ends with `}`"),
    near("unless", "write `if !x { ... }`"),
    near("until", "write `while !x { ... }`"),
    near("class", NO_CLASS),
    near("struct", NO_CLASS),
    near("new", NO_CLASS),
    near("self", "a function takes its object as a parameter: `fn f(voice) { ... }`"),
    near("typeof", "write `type_of(x)`, which is \"i64\", \"f64\", \"string\", \"array\", \"map\""),
    near("del", "write `map.remove(\"key\")` or `array.remove(0)`"),
    near("delete", "write `map.remove(\"key\")` or `array.remove(0)`"),
    near("async", "recipes run line by line; `jobs::run` runs several at once"),
    near("await", "recipes run line by line; `jobs::run` runs several at once"),
    near("assert", "write `if !x { throw \"x must hold\"; }`"),
    near("...", "two arrays are joined with `+`: `[1, 2] + rest`"),
    near("OPERAND : EOL", BLOCK),
    near(") : EOL", BLOCK),
    near("else :", BLOCK),
    near("try :", BLOCK),
];

/// Functions and methods of other languages that Rhai does not have, or has under another name.
const FUNCTIONS: &[(&str, &str)] = &[
    ("range", "write `0..10`, or `range(0, 10, 2)` for steps"),
    ("str", "write x.to_string(), or `${x}` in backticks"),
    ("String", "write x.to_string(), or `${x}` in backticks"),
    ("toString", "write `x.to_string()`"),
    ("int", "write `x.to_int()`, or `parse_int(text)`"),
    ("float", "write `x.to_float()`, or `parse_float(text)`"),
    ("parseInt", "write `parse_int(text)`"),
    ("parseFloat", "write `parse_float(text)`"),
    ("println", PRINT),
    ("printf", PRINT),
    ("puts", PRINT),
    ("echo", PRINT),
    ("type", "write `type_of(x)`"),
    ("typeof", "write `type_of(x)`"),
    ("isinstance", "write `type_of(x) == \"map\"`"),
    ("append", "write `array.push(x)`; `append` joins an array to another"),
    ("add", "write `array.push(x)`, or `map.key = x`"),
    ("push_back", "write `array.push(x)`"),
    ("length", "write `x.len()`"),
    ("size", "write `x.len()`"),
    ("forEach", "write `for item in list { ... }`"),
    ("includes", "write `x in list`, or `list.contains(x)`"),
    ("has_key", "write `\"key\" in map`"),
    ("hasOwnProperty", "write `\"key\" in map`"),
    ("items", "write `for key in map.keys() { let value = map[key]; ... }`"),
    ("enumerate", "write `for (item, i) in list { ... }`"),
    ("join", "join in a loop: `text += item;`"),
    ("strip", "write `text.trim()`, which changes the string in place"),
    ("upper", "write `text.to_upper()`"),
    ("lower", "write `text.to_lower()`"),
    ("toUpperCase", "write `text.to_upper()`"),
    ("toLowerCase", "write `text.to_lower()`"),
    ("startsWith", "write `text.starts_with(\"a\")`"),
    ("endsWith", "write `text.ends_with(\"a\")`"),
    ("startswith", "write `text.starts_with(\"a\")`"),
    ("endswith", "write `text.ends_with(\"a\")`"),
    ("substring", "write `text.sub_string(0, 3)`"),
    ("substr", "write `text.sub_string(0, 3)`"),
    ("slice", PART),
    ("indexOf", "write `x.index_of(y)`"),
    ("sorted", "write `list.order()`, a sorted copy, or `list.sort()`, in place"),
    ("reversed", "write `list.reverse()`, in place"),
    ("sum", "write `list.reduce(|sum, x| sum + x, 0)`"),
    ("any", "write `list.some(|x| x > 1)`"),
    ("every", "write `list.all(|x| x > 1)`"),
    ("pow", "write `x ** y`"),
    ("len", "write `x.len()`"),
    ("require", IMPORT),
    ("open", "files are read and written with `system::read_json`, `system::write_json` and `system::write_text`"),
    ("input", "a recipe's inputs are its PARAMS"),
    ("dict", "a map is written `#{}`"),
    ("list", "an array is written `[]`"),
    ("raise", THROW),
    ("assert", "write `if !x { throw \"x must hold\"; }`"),
];

/// The replacement for a function or method that does not exist, or that takes other arguments.
pub fn function(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, form)| *form)
}

/// Syntax of another language at a place in a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// From 1; the column in characters.
    pub line: usize,
    pub column: usize,
    /// As it is written in the script.
    pub text: String,
    pub form: &'static str,
}

/// The syntax of another language at the place of a mistake.
pub fn at(text: &str, line: usize, column: usize) -> Option<Found> {
    let tokens = tokens(text);
    let place = tokens.iter().position(|t| (t.line, t.last_column()) >= (line, column)).unwrap_or(tokens.len());
    // The longest match says most; of equal ones, the nearest.
    let mut best: Option<((usize, std::cmp::Reverse<usize>), Found)> = None;
    for habit in HABITS {
        for start in 0..tokens.len() {
            let Some(end) = matched(habit, &tokens, start) else { continue };
            // The parser stops at the token itself, within the match, or at the next one.
            if start > place || end + 1 < place {
                continue;
            }
            let rank = (end - start, std::cmp::Reverse(place - start));
            if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                best = Some((rank, found(habit, &tokens[start..=end])));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// Whether a place is inside a function.
pub fn in_function(text: &str, line: usize, column: usize) -> bool {
    // Brackets that are open, and whether each is the body of a function.
    let mut open: Vec<bool> = Vec::new();
    let mut begins = false;
    for token in tokens(text).iter().take_while(|t| (t.line, t.column) < (line, column)) {
        match token.text {
            "fn" if token.kind == Kind::Word => begins = true,
            "{" => open.push(std::mem::take(&mut begins)),
            "#{" | "(" | "[" | "?[" => open.push(false),
            "}" | ")" | "]" => drop(open.pop()),
            _ => {}
        }
    }
    open.contains(&true)
}

/// How to declare a variable, if a value is assigned to the name at this place.
pub fn assigned(text: &str, line: usize, column: usize) -> Option<&'static str> {
    let tokens = tokens(text);
    let place = tokens.iter().position(|t| (t.line, t.column) == (line, column))?;
    tokens.get(place + 1).is_some_and(|next| next.text == "=").then_some(DECLARE)
}

/// Everything in a script that is never valid Rhai.
pub fn everywhere(text: &str) -> Vec<Found> {
    let tokens = tokens(text);
    let at = |start: usize| {
        let habit = HABITS.iter().find(|habit| habit.sure && matched(habit, &tokens, start).is_some())?;
        Some(found(habit, &tokens[start..=start]))
    };
    (0..tokens.len()).filter_map(at).collect()
}

/// The mistake of this key without the others, if there is one.
pub fn division(text: &str, line: usize, column: usize) -> Option<Found> {
    let tokens = tokens(text);
    let before = tokens.iter().rev().find(|t| (t.line, t.column) < (line, column))?;
    let rest: String = text.lines().nth(before.line - 1)?.chars().skip(before.last_column()).collect();
    let divisor = rest.trim_start().strip_prefix("//")?.trim();
    let is_divisor =
        divisor.starts_with(|c: char| c.is_alphanumeric() || c == '(' || c == '_') && divisor.ends_with(';');
    is_divisor.then(|| Found {
        line: before.line,
        column: before.last_column() + 1 + rest.chars().take_while(|c| c.is_whitespace()).count(),
        text: "//".into(),
        form: "`//` begins a comment; `7 / 2` of two whole numbers is already 3",
    })
}

/// The line and column after the token before a place.
pub fn end_before(text: &str, line: usize, column: usize) -> Option<(usize, usize)> {
    let tokens = tokens(text);
    let before = tokens.iter().rev().find(|t| (t.line, t.column) < (line, column))?;
    Some((before.line, before.last_column() + 1))
}

/// The last bracket that is opened and never closed: its place and the bracket.
pub fn unclosed(text: &str) -> Option<(usize, usize, String)> {
    let mut open: Vec<Token<'_>> = Vec::new();
    for token in tokens(text) {
        match token.text {
            "(" | "[" | "{" | "#{" | "?[" => open.push(token),
            ")" | "]" | "}" => drop(open.pop()),
            _ => {}
        }
    }
    open.pop().map(|token| (token.line, token.column, token.text.to_owned()))
}

fn found(habit: &Habit, tokens: &[Token<'_>]) -> Found {
    /// More would fill the line.
    const MOST: usize = 24;
    let first = tokens[0];
    let last = tokens.iter().rfind(|t| t.line == first.line).unwrap_or(&first);
    let whole = first.source.get(first.start..last.start + last.text.len()).unwrap_or(first.text);
    let short = whole.lines().count() == 1 && whole.chars().count() <= MOST;
    let text = if short { whole } else { first.text.lines().next().unwrap_or_default() };
    let text = if text.chars().count() > MOST {
        format!("{} ...", text.chars().take(MOST).collect::<String>())
    } else {
        text.to_owned()
    };
    Found { line: first.line, column: first.column, text, form: habit.form }
}

/// The last token of a match that begins with the token `start`.
fn matched(habit: &Habit, tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut next = start;
    let mut end = None;
    for part in habit.pattern.split(' ').filter(|part| !part.is_empty()) {
        let token = tokens.get(next);
        let before = next.checked_sub(1).and_then(|i| tokens.get(i));
        let fits = match part {
            // These three are between tokens.
            "BEGIN" => {
                before.is_none_or(|t| matches!(t.text, ";" | "{" | "}") || token.is_some_and(|n| n.line > t.line))
            }
            "GLUED" => before.zip(token).is_some_and(|(t, n)| t.start + t.text.len() == n.start),
            "HERE" => before.zip(token).is_some_and(|(t, n)| t.line == n.line),
            "EOL" => before.is_some_and(|t| token.is_none_or(|n| n.line > t.line)),
            _ => {
                let fits = token.is_some_and(|token| matches_part(part, token));
                end = Some(next);
                next += 1;
                fits
            }
        };
        if !fits {
            return None;
        }
    }
    end
}

fn matches_part(part: &str, token: &Token<'_>) -> bool {
    match part {
        "WORD" => token.kind == Kind::Word && !KEYWORDS.contains(&token.text) && token.text != "_",
        "TEXT" => token.kind == Kind::Text,
        "QUOTED" => token.kind == Kind::Text && token.text.starts_with('"'),
        "CHARS" => token.kind == Kind::Chars,
        "TRIPLE" => token.kind == Kind::Triple,
        "HASH" => token.kind == Kind::Hash,
        "OPERAND" => match token.kind {
            Kind::Word => !KEYWORDS.contains(&token.text),
            Kind::Number | Kind::Text => true,
            _ => matches!(token.text, ")" | "]"),
        },
        _ => token.text == part && token.kind != Kind::Text,
    }
}

/// Rhai's keywords that begin or join statements.
const KEYWORDS: &[&str] = &[
    "let", "const", "if", "else", "while", "loop", "for", "in", "do", "until", "switch", "fn", "private", "return",
    "throw", "try", "catch", "import", "export", "as", "break", "continue", "true", "false", "this", "global",
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Word,
    Number,
    /// In double quotes, backticks, or one character in single quotes.
    Text,
    /// More than one character in single quotes.
    Chars,
    /// In triple double quotes.
    Triple,
    /// `#` that begins nothing in Rhai, with the rest of its line.
    Hash,
    Symbol,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    source: &'a str,
    /// In bytes.
    start: usize,
    line: usize,
    column: usize,
}

impl Token<'_> {
    /// The column of its last character, if it is on one line.
    fn last_column(&self) -> usize {
        self.column + self.text.chars().count().max(1) - 1
    }
}

/// Longest first.
const SYMBOLS: &[&str] = &[
    "===", "!==", "**=", "<<=", ">>=", "...", "..=", "::<", "??=", "&&", "||", "==", "!=", "<=", ">=", "++", "--",
    "+=", "-=", "*=", "/=", "%=", ":=", "::", "->", "=>", "<-", "<>", "~=", "..", "**", "?.", "?[", "??", "<<", ">>",
    "#{",
];

/// The tokens of a script, without comments. A string of another language is one token too.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut start, mut line, mut column) = (0, 1, 1);
    while let Some(first) = source[start..].chars().next() {
        let rest = &source[start..];
        let (kind, len) = token(rest, first);
        let text = &rest[..len];
        if let Some(kind) = kind {
            tokens.push(Token { kind, text, source, start, line, column });
        }
        for c in text.chars() {
            if c == '\n' {
                line += 1;
                column = 1;
            } else {
                column += 1;
            }
        }
        start += len;
    }
    tokens
}

/// The first token of `rest`, None for blanks and comments, and its length in bytes, at least one character.
fn token(rest: &str, first: char) -> (Option<Kind>, usize) {
    let while_char = |wanted: &dyn Fn(char) -> bool| rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    let line = rest.find('\n').unwrap_or(rest.len());
    if first.is_whitespace() {
        return (None, while_char(&char::is_whitespace));
    }
    if rest.starts_with("//") {
        return (None, line);
    }
    if rest.starts_with("/*") {
        return (None, block_comment(rest));
    }
    if first.is_alphabetic() || first == '_' {
        return (Some(Kind::Word), while_char(&|c| c.is_alphanumeric() || c == '_'));
    }
    if first.is_ascii_digit() {
        return (Some(Kind::Number), number(rest));
    }
    match first {
        '"' if rest.starts_with("\"\"\"") => {
            let end = rest[3..].find("\"\"\"").map_or(rest.len(), |end| end + 6);
            return (Some(Kind::Triple), end);
        }
        '"' => return (Some(Kind::Text), quoted(rest, '"').unwrap_or(line)),
        '`' => return (Some(Kind::Text), template(rest)),
        '\'' => match quoted(&rest[..line], '\'') {
            Some(len) if is_one_character(&rest[1..len - 1]) => return (Some(Kind::Text), len),
            Some(len) => return (Some(Kind::Chars), len),
            None => return (Some(Kind::Symbol), 1),
        },
        '#' if rest.starts_with("#\"") || rest.starts_with("##") && rest.trim_start_matches('#').starts_with('"') => {
            return (Some(Kind::Text), raw(rest));
        }
        '#' if !rest.starts_with("#{") && !rest[1..line].trim_start().starts_with('{') => {
            return (Some(Kind::Hash), line);
        }
        _ => {}
    }
    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
    (Some(Kind::Symbol), symbol.map_or(first.len_utf8(), |symbol| symbol.len()))
}

fn is_one_character(inside: &str) -> bool {
    inside.chars().count() == 1 || inside.starts_with('\\') && inside.chars().count() >= 2
}

fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while let Some(&b) = bytes.get(end) {
        let digit = b.is_ascii_alphanumeric() || b == b'_';
        // 1..5 is a range, 1.5 a number, 1.abs() a call.
        let point = b == b'.' && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        let sign =
            matches!(b, b'+' | b'-') && end > 0 && matches!(bytes[end - 1], b'e' | b'E') && !rest.starts_with("0x");
        if !(digit || point || sign) {
            break;
        }
        end += 1;
    }
    end.max(1)
}

/// The length of a string in `quote`s, including the quotes; None if it has no end.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(i + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// The length of a string in backticks, whose `${...}` may contain strings in backticks.
fn template(rest: &str) -> usize {
    let mut at = 1;
    while let Some(c) = rest[at..].chars().next() {
        if c == '`' {
            // Two of them mean one in the string.
            if !rest[at + 1..].starts_with('`') {
                return at + 1;
            }
            at += 2;
        } else if rest[at..].starts_with("${") {
            at += interpolation(&rest[at..]);
        } else {
            at += c.len_utf8();
        }
    }
    rest.len()
}

/// The length of a `${...}`.
fn interpolation(rest: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while let Some(c) = rest[at..].chars().next() {
        let (_, len) = token(&rest[at..], c);
        let text = &rest[at..at + len];
        at += len;
        match text {
            "{" | "#{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn raw(rest: &str) -> usize {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    rest[hashes + 1..].find(&end).map_or(rest.len(), |i| hashes + 1 + i + end.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while let Some(c) = rest[at..].chars().next() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += c.len_utf8();
        }
    }
    rest.len()
}
