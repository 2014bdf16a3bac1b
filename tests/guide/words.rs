//! Plain English: phrases that a native technical writer would not write, and one word for one thing (the glossary's).
//!
//! Like the `forbid` script of casey/just, with the better word beside each phrase.

use super::checkout;
use std::path::{Path, PathBuf};

/// The files and folders that are read. In .rs and .rhai files these are comments, strings and the names of functions; in others, all of the text.
const READ: &[&str] = &["README.md", "recipes", "src", "stdlib", "tests", "xtask"];

/// Extensions of files for people.
const EXTENSIONS: &[&str] = &["html", "js", "md", "py", "rhai", "rs", "sh"];

/// Files and folders that are not read, with the reason.
const EXEMPT: &[(&str, &str)] = &[
    ("tests/guide/words.rs", "it lists the phrases"),
    ("tests/bench/results", "records of past measurements, in the words of their time"),
];

/// A phrase, and what to write instead.
const FORBIDDEN: &[(&str, &str)] = &[
    // Things do not speak.
    ("tell", "report, show, print, name"),
    ("tells", "reports, shows, prints, names"),
    ("told", "reported, given; a program gets arguments"),
    ("is said", "is printed, is reported"),
    ("says so", "reports it"),
    ("what became of", "the result of"),
    ("what it came to", "its result"),
    // Training continues.
    ("go on", "continue"),
    ("goes on", "continues"),
    ("going on", "continuing"),
    ("went on", "continued"),
    ("gone on", "continued"),
    ("come to", "result in"),
    ("comes to", "results in"),
    ("came to", "resulted in"),
    ("anew", "again"),
    // Riddles and archaic order.
    ("is none", "has no, is not a"),
    ("are none", "have no, are not"),
    ("none if", "none unless, no ... if"),
    ("if there is none", "if it does not exist"),
    ("what is behind", "the rest"),
    ("what is not", "the others, anything else"),
    ("what is wanted", "the request"),
    ("is what it", "say it directly"),
    ("are the least", "at least"),
    ("is the least", "at least"),
    ("as it likes", "say what it does"),
    ("of which each", "each of which"),
    ("whose mean is taken", "averaged"),
    ("twice that is done", "skips finished work"),
    ("does again what", "reruns"),
    ("made again", "rerun, rebuilt"),
    ("by itself", "automatically"),
    ("by chance", "at random"),
    ("by hand of", "made by"),
    ("so many", "N, the number of"),
    ("whoever", "if you, whichever program"),
    ("likewise", "the same"),
    ("wherewith", "with which"),
    ("from where", "where ... from"),
    // Words with a narrower meaning in English.
    ("alone", "only"),
    ("lie", "are"),
    ("lies", "is"),
    ("stands in", "is in"),
    ("stand in", "are in"),
    ("stands beside", "is beside"),
    ("stands below", "is below"),
    ("hears", "uses; a voice uses a content encoder"),
    // One word for one thing: recording, slice, clip, chunk.
    ("piece of a recording", "slice"),
    ("pieces of a recording", "slices"),
    ("audio file", "recording"),
    ("audio files", "recordings"),
    ("snippet", "clip"),
    ("snippets", "clips"),
];

/// The files to read.
fn files() -> Vec<PathBuf> {
    let mut waiting: Vec<PathBuf> = READ.iter().map(|path| checkout().join(path)).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if EXEMPT.iter().any(|(exempt, _)| path == checkout().join(exempt)) {
            continue;
        }
        if path.is_dir() {
            waiting.extend(rvc_run::files::list(&path).unwrap());
        } else if EXTENSIONS.iter().any(|extension| path.extension().is_some_and(|of_path| of_path == *extension)) {
            files.push(path);
        }
    }
    files
}

/// The words of a file with their lines. An empty word separates what does not belong together.
fn words(path: &Path, text: &str) -> Vec<(usize, String)> {
    let is_code = path.extension().is_some_and(|e| e == "rs" || e == "rhai");
    let read = if is_code { comments_and_strings(text) } else { without_output(text) };
    let mut words = Vec::new();
    for (n, line) in read.lines().enumerate() {
        for part in line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '\'' || c == CODE)) {
            match part {
                "" => {}
                // `None` is a value of Rust's: "None if it is missing" is plain.
                "None" if is_code => words.push((n + 1, part.to_owned())),
                _ if part.starts_with(CODE) => words.push((n + 1, String::new())),
                _ => words.push((n + 1, part.to_lowercase())),
            }
        }
    }
    // Scripts see the names of the functions of stdlib and recipes, which do not change.
    if path.extension().is_some_and(|e| e == "rs") {
        for (n, line) in text.lines().enumerate() {
            words.push((n + 1, String::new()));
            words.extend(function_name(line).unwrap_or("").split('_').map(|word| (n + 1, word.to_owned())));
        }
    }
    words
}

/// The name of the function that begins in a line of code.
fn function_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.split_once("fn ").filter(|(before, _)| before.is_empty() || before.ends_with(' '))?.1;
    rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().filter(|_| !line.starts_with("//"))
}

/// Stands in the words for names of code in `backticks`, which are not English.
const CODE: char = '`';

fn without_output(text: &str) -> String {
    let mut output = false;
    let keep = |line: &str| {
        if line.starts_with("```") {
            output = line == "```text";
        }
        if output { "\n".to_owned() } else { format!("{}\n", without_code(line)) }
    };
    text.lines().map(keep).collect()
}

/// A line of prose with [`CODE`] in place of its code in backticks.
fn without_code(line: &str) -> String {
    if line.contains("```") {
        return line.to_owned();
    }
    line.split('`')
        .enumerate()
        .map(|(i, part)| if i % 2 == 0 { part.to_owned() } else { format!(" {CODE} ") })
        .collect()
}

/// The text with everything but its comments, "strings" and `strings` blanked out.
fn comments_and_strings(text: &str) -> String {
    let blank = |kept: &mut String, skipped: &str| {
        kept.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    };
    let mut kept = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (code, prose) = if rest.starts_with("//") {
            let line = rest.lines().next().unwrap_or(rest);
            kept.push_str(&without_code(line));
            (line.len(), 0)
        } else if let Some(end) = raw_string(rest) {
            (rest.find('"').unwrap_or(0) + 1, end)
        } else if first == '"' || first == '`' {
            (1, string(&rest[1..], first) + 1)
        } else if let Some(end) = character(rest) {
            blank(&mut kept, &rest[..end]);
            (end, 0)
        } else {
            blank(&mut kept, &rest[..first.len_utf8()]);
            (first.len_utf8(), 0)
        };
        if prose > 0 {
            blank(&mut kept, &rest[..code]);
            kept.push_str(&rest[code..prose].replace("\\n", "  ").replace(CODE, " "));
            blank(&mut kept, &rest[prose..prose + rest[prose..].chars().next().map_or(0, char::len_utf8)]);
        }
        let after = if prose > 0 { prose + 1 } else { code };
        rest = rest.get(after..).unwrap_or_default();
    }
    kept
}

/// Where the content of a Rust string such as r#"..."# ends, if the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?.find(|c| c != '#')?;
    let content = text[1 + hashes..].strip_prefix('"')?;
    let end = content.find(&format!("\"{}", "#".repeat(hashes)))?;
    Some(1 + hashes + 1 + end)
}

/// The length of a string's content up to its closing quote.
fn string(content: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = content.find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.unwrap_or(content.len())
}

/// The length of a character literal, if the text begins with one (a lifetime is none).
fn character(text: &str) -> Option<usize> {
    let mut chars = text.strip_prefix('\'')?.char_indices();
    let (_, first) = chars.next()?;
    let end =
        if first == '\\' { chars.skip(1).find(|(_, c)| *c == '\'') } else { chars.next().filter(|(_, c)| *c == '\'') };
    end.map(|(i, _)| 1 + i + 1)
}

/// The phrases that a file must not have, each with its line and what to write instead.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let words = words(path, text);
    let mut faults = Vec::new();
    for (phrase, better) in FORBIDDEN {
        let parts: Vec<&str> = phrase.split(' ').collect();
        for at in words.windows(parts.len()) {
            if at.iter().map(|(_, word)| word.as_str()).eq(parts.iter().copied()) {
                let shown = path.strip_prefix(checkout()).unwrap_or(path).display();
                faults.push(format!("{shown}:{}: \"{phrase}\"; better: {better}", at[0].0));
            }
        }
    }
    faults
}

#[test]
fn the_words_are_plain() {
    let files = files();
    assert!(files.len() > 400, "{} files", files.len());
    let faults: Vec<String> =
        files.iter().flat_map(|path| faults(path, &std::fs::read_to_string(path).unwrap())).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_forbidden_phrase_is_caught_across_lines_and_nowhere_else() {
    for (phrase, _) in FORBIDDEN {
        let text = format!("A line.\nIt {}.", phrase.replace(' ', "\n").to_uppercase());
        assert!(!faults(Path::new("a.md"), &text).is_empty(), "{phrase}");
    }
    assert_eq!(
        faults(Path::new("a.md"), "Teller, foretell, retold. It stands alone\n"),
        ["a.md:1: \"alone\"; better: only"]
    );
    assert_eq!(faults(Path::new("a.md"), "```text\nit goes on\n```\nit ends"), [""; 0]);
    // Code is not English; comments, strings and the names of functions are.
    for text in ["fn f() { told(); }", "let told = '\"'; // `it goes on`", "let x: &'a str = told('\\'', b'\"');"] {
        assert_eq!(faults(Path::new("a.rs"), text), [""; 0], "{text}");
    }
    for text in [
        "f(); // it goes on",
        "f(\"it goes on\");",
        "f(\"\nit \\\" goes\\n on\");",
        "f(r#\"it \" goes\non\"#);",
        "/// it goes on",
        "f(`it goes\non`)",
        "f('\"', \"it goes on\")",
        "fn a_training_goes_on_after_a_kill() {",
        "pub async fn it_goes_on<T>() {}",
    ] {
        assert_eq!(faults(Path::new("a.rs"), text).len(), 1, "{text}");
    }
}
