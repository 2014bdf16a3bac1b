//! Syntax of other languages: the checker answers with the Rhai form, at its place.

use super::*;

/// A script, the text above the caret (its first occurrence), and a part of the hint.
const CASES: &[(&str, &str, &str)] = &[
    ("let a = 1;\nif a == 1 { print(1); } elif a == 2 { print(2); }", "elif", "write `else if`"),
    ("let a = 1;\nif a == 1 { print(1); } elsif a == 2 { print(2); }", "elsif", "write `else if`"),
    ("let a = 5;\n# the number of epochs\nlet b = 6;", "# the", "a comment begins with `//`"),
    ("let a = 5;   # the number of epochs", "# the", "a comment begins with `//`"),
    ("-- a comment of SQL\nlet b = 6;", "--", "a comment begins with `//`"),
    ("x = 5;\nprint(x);", "x =", "`let x = 5;`"),
    ("if true {\n    y = 5;\n}", "y =", "`let x = 5;`"),
    ("let a = 1;\nif a == 1 and a < 2 { print(a); }", "and", "write `&&`"),
    ("let a = 1;\nif a == 1 or a < 2 { print(a); }", "or a", "write `||`"),
    ("let a = true;\nif not a { print(a); }", "not", "write `!`"),
    ("let a = [1];\nlet b = 2;\nif b not in a { print(a); }", "not", "!(x in list)"),
    ("let a = 1;\nif a is not () { print(a); }", "is not", "write `!=`"),
    ("let a = None;", "None", "the empty value is `()`"),
    ("let a = null;", "null", "the empty value is `()`"),
    ("let a = nil;", "nil", "the empty value is `()`"),
    ("let a = undefined;", "undefined", "the empty value is `()`"),
    ("let a = True;", "True", "write `true`"),
    ("let a = False;", "False", "write `false`"),
    ("let a = 'text';", "'text'", "double quotes"),
    ("print('hello world');", "'hello", "double quotes"),
    ("let a = \"\"\"several\nlines\"\"\";", "\"\"\"", "backticks"),
    ("let b = 1;\nlet a = f\"{b}\";", "f\"", "backticks"),
    ("let a = r\"x\";", "r\"", "keeps its backslashes"),
    ("def f(x) { x }", "def", "fn name(a, b)"),
    ("def f(x):\n    return x", "def", "fn name(a, b)"),
    ("function f(x) { return x; }", "function", "fn name(a, b)"),
    ("func f(x) { return x; }", "func", "fn name(a, b)"),
    ("let f = function(x) { x };", "function", "|x| x + 1"),
    ("let f = lambda x: x + 1;", "lambda", "|x| x + 1"),
    ("let f = x => x + 1;", "x =>", "|x| x + 1"),
    ("let a = [1].map((x) => x + 1);", "(x) =>", "|x| x + 1"),
    ("fn f(a: int, b: int) { a }", "fn", "parameters have no types"),
    ("fn f(a) -> int { a }", "->", "does not declare a return type"),
    ("for (i = 0; i < 5; i += 1) { print(i); }", "for", "for i in 0..10"),
    ("for (let i = 0; i < 5; i += 1) { print(i); }", "for", "for i in 0..10"),
    ("for (int i = 0; i < 5; i++) { print(i); }", "for", "for i in 0..10"),
    ("for x of [1, 2] { print(x); }", "for", "for item in list"),
    ("for i in range(10) { print(i); }", "range", "write `0..10`"),
    ("let i = 0;\ni++;", "++", "write `i += 1`"),
    ("let i = 0;\ni--;", "i--", "write `i -= 1`"),
    ("let x = 1;\nlet y = x ? 2 : 3;", "?", "if x > 1 { a } else { b }"),
    ("let x = 1;\nlet y = 2 if x == 1 else 3;", "2 if", "if x > 1 { a } else { b }"),
    ("print \"x\";", "print", "write `print(x);`"),
    ("let x = 1;\nprint x;", "print", "write `print(x);`"),
    ("echo \"x\";", "echo", "write `print(x);`"),
    ("println!(\"x\");", "println", "write `print(x);`"),
    ("import os", "import", "import \"stdlib/voice\" as voice"),
    ("from os import path", "from", "import \"stdlib/voice\" as voice"),
    ("import { a } from \"b\";", "import", "import \"stdlib/voice\" as voice"),
    ("let x = 7 // 2;\nlet y = 1;", "//", "`//` begins a comment"),
    ("let a = [1, 2, 3];\nlet b = a[1:3];", "[1:", "a.extract(1..3)"),
    ("let a = [1, 2, 3];\nlet b = a[:2];", "[:", "a.extract(1..3)"),
    ("let a = [x * 2 for x in [1, 2]];", "[x", "list.map(|x| x * 2)"),
    ("let a = 1\nlet b = 2;", "\n", "every statement but the last ends with `;`"),
    ("print(1)\nprint(2)\n", "\n", "every statement but the last ends with `;`"),
    ("let m = {a: 1};", "{a", "a map begins with `#{`"),
    ("let m = {\"a\": 1};", "{\"a", "a map begins with `#{`"),
    ("let x = 1;\nif x === 1 { print(x); }", "===", "write `==`"),
    ("let x = 1;\nif x !== 1 { print(x); }", "!==", "write `!=`"),
    ("let x = 1;\nif x <> 1 { print(x); }", "<>", "write `!=`"),
    ("x := 5;", "x :=", "`let x = 5;`"),
    ("var x = 5;", "var", "`let x = 5;`"),
    ("let mut x = 5;", "let mut", "what `let` declares can be changed"),
    ("int x = 5;", "int", "`let x = 5;`"),
    ("let x: int = 5;", "let", "`let x = 5;`"),
    ("local x = 5;", "local", "`let x = 5;`"),
    ("let $x = 5;", "$x", "a name has no `$`"),
    ("if 1 < 2:\n    print(1);", "2:", "a block is in braces"),
    ("while true:\n    print(1);", ":", ""),
    ("try:\n    print(1);\nexcept:\n    print(2);", "try", "a block is in braces"),
    ("throw new Error(\"x\");", "throw", "throw \"text\""),
    ("raise \"x\";", "raise", "throw \"text\""),
    ("let x = 1;\nswitch (x) {\n    case 1: print(1);\n}", "case", "write `switch x {"),
    ("let x = 1;\nmatch x { 1 => 2 }", "match", "write `switch x {"),
    ("let a = \"a\" . \"b\";", "\"a\" .", "strings are joined with `+`"),
    ("class Voice { }", "class", "no classes"),
    ("async fn f() { }", "async", "line by line"),
    ("fn f() {\n    print(1);\n", "{", "is never closed"),
    ("print((1 + 2);\nprint(2);", "", ""),
];

/// Line and column, from 1, of the first occurrence of a part.
fn place_of(text: &str, part: &str) -> (usize, usize) {
    let before = &text[..text.find(part).unwrap_or_else(|| panic!("{part:?} is not in {text:?}"))];
    (
        before.lines().count().max(1) + usize::from(before.ends_with('\n')),
        before.rsplit('\n').next().unwrap().chars().count() + 1,
    )
}

#[test]
fn syntax_of_other_languages_gets_the_rhai_form_at_its_place() {
    let mut wrong = Vec::new();
    for (text, part, hint) in CASES {
        let found = messages(text);
        let Some(first) = found.first() else {
            wrong.push(format!("{text:?}: no mistake found"));
            continue;
        };
        let (line, column) = place_of(text, part);
        let place = format!("--> recipes/test.rhai:{line}:{column}\n");
        if !first.contains(hint) || !part.is_empty() && !hint.is_empty() && !format!("{first}\n").contains(&place) {
            wrong.push(format!("{text:?}: wanted {hint:?} at {place}{first}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n\n"));
}

#[test]
fn everything_certain_of_another_language_is_reported_at_once() {
    let text =
        "let a = 'text';\nlet b = 5;\nb++;\nif b === 6 { print(1); } elif b == 7 { print(2); }\n# done\nlet c = 1;";
    let found = messages(text);
    let places: Vec<&str> =
        found.iter().filter_map(|m| m.lines().nth(1)).map(|l| l.rsplit("test.rhai:").next().unwrap()).collect();
    for place in ["1:9", "3:2", "4:6", "4:26", "5:1"] {
        assert!(places.contains(&place), "{place} is missing in {found:#?}");
    }
}

#[test]
fn functions_of_other_languages_get_the_rhai_form() {
    for (call, form) in [
        ("let n = [1].length();", "write `x.len()`"),
        ("let n = [1].size();", "write `x.len()`"),
        ("let s = str(5);", "x.to_string()"),
        ("println(5);", "write `print(x);`"),
        ("[1].forEach(|x| x);", "for item in list"),
        ("\"a\".upper();", "to_upper()"),
        ("\"a\".strip();", "trim()"),
        ("let a = sorted([2, 1]);", "list.order()"),
        ("let a = sum([2, 1]);", "reduce"),
        ("let a = isinstance(1, 2);", "type_of"),
        ("let a = \"a,b\".join(\",\");", "text += item"),
    ] {
        let found = messages(call);
        assert!(found.len() == 1 && found[0].contains(form), "{call}: {found:?}");
    }
    let (_, found) = staged(|stage| stage.run("let a = [1];\na.append(5);"));
    assert!(
        found[0].contains("no function fits the call `append(array, int)`") && found[0].contains("array.push(x)"),
        "{found:?}"
    );
    let (_, found) = staged(|stage| stage.run("let a = [1];\nprint(a.length);"));
    assert!(found[0].contains("an array has no property `length`") && found[0].contains("x.len()"), "{found:?}");
}

#[test]
fn a_value_in_double_quotes_is_a_warning() {
    let found = messages("let voice = \"anna\";\nprint(\"hello ${voice}\");\nprint(`hello ${voice}`);");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .starts_with("warning[script.quotes]: `${}` means nothing in double quotes\n --> recipes/test.rhai:2:7"),
        "{found:?}"
    );
}

#[test]
fn rhais_own_mistakes_keep_their_messages() {
    for (text, part) in [
        ("let epochs = 5;\nprint(epcohs);", "did you mean `epochs`?"),
        ("let epochs = 5;\nepcohs = 6;", "did you mean `epochs`?"),
        ("let cfg = #{ default: 5 };", "Rhai keeps the word `default`"),
        ("let a = (1 + 2;", "expecting ')'"),
        ("let a = #{ b: 1, b: 2 };", "duplicated property"),
        ("fn f(a) { a }\nfn f(b) { b }", "already exists"),
    ] {
        let found = messages(text);
        assert!(found[0].contains(part), "{text}: {found:?}");
        assert!(!found[0].contains("is not Rhai"), "{text}: {found:?}");
    }
}

/// Each script that ships, cut or changed at many places: no message may mention another language, because it contains none.
#[test]
fn mistakes_in_our_own_scripts_are_not_attributed_to_another_language() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut scripts = Vec::new();
    for folder in ["stdlib", "recipes"] {
        for path in rvc_run::files::list(&root.join(folder)).unwrap() {
            if path.extension().is_some_and(|e| e == "rhai") {
                scripts.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(scripts.len() > 20);
    let wrong = staged(|stage| {
        let mut wrong = Vec::new();
        for text in &scripts {
            assert!(stage.host.compile("whole", text).is_ok());
            let lines: Vec<&str> = text.lines().collect();
            for i in (0..lines.len()).step_by(3) {
                // Without a line; without a semicolon; without a bracket.
                for change in ["line", ";", ")", "}"] {
                    let mut changed = lines.clone();
                    let line = if change == "line" { String::new() } else { lines[i].replacen(change, "", 1) };
                    changed[i] = &line;
                    let Err(found) = stage.host.compile("changed", &changed.join("\n")) else { continue };
                    if found.message.contains("is not Rhai") {
                        wrong.push(format!("without {change}: {}\n{}", lines[i], found.render(false, true)));
                    }
                }
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
