//! Plain English: phrases that a native technical writer would not write, and one word for one thing (the glossary's).
//!
//! Like the `forbid` script of casey/just, with the better word beside each phrase.

use super::checkout;
use std::path::{Path, PathBuf};

/// What is read: files, and folders with all below them. Add a folder when its words are clean; in .rs and .rhai files comments and texts are read.
const CLEAN: &[&str] = &[
    "README.md",
    "src/guide",
    "recipes",
    "stdlib",
    "src/address.rs",
    "src/assets",
    "src/cache.rs",
    "src/cli/assets.rs",
    "src/cli/cache.rs",
    "src/cli/eject.rs",
    "src/cli/terminal.rs",
    "src/cli/track.rs",
    "src/cli/ui.rs",
    "src/convert",
    "src/doctor.rs",
    "src/duration.rs",
    "src/eject.rs",
    "src/error.rs",
    "src/files",
    "src/files.rs",
    "src/given.rs",
    "src/jobs",
    "src/lib.rs",
    "src/memory.rs",
    "src/models",
    "src/nn",
    "src/npy.rs",
    "src/prepare",
    "src/recognise.rs",
    "src/report",
    "src/retrieval",
    "src/room.rs",
    "src/search.rs",
    "src/shell.rs",
    "src/shown.rs",
    "src/task.rs",
    "src/text.rs",
    "src/torchfile",
    "src/track",
    "src/train",
    "src/voice",
    "xtask/src",
];

/// Files below a clean folder that are not read, with the reason.
const EXEMPT: &[(&str, &str)] = &[
    ("tests/guide/words.rs", "it lists the phrases"),
    ("src/jobs/slurm.rs", "its shell script has a function `tell`"),
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
    ("fingerprint", "hash"),
    ("hears", "uses; a voice uses a content encoder"),
    // One word for one thing: recording, slice, clip, chunk.
    ("piece of a recording", "slice"),
    ("pieces of a recording", "slices"),
    ("audio file", "recording"),
    ("audio files", "recordings"),
    ("snippet", "clip"),
    ("snippets", "clips"),
];

/// The files of [`CLEAN`].
fn clean_files() -> Vec<PathBuf> {
    let mut waiting: Vec<PathBuf> = CLEAN.iter().map(|path| checkout().join(path)).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(rvc_run::files::list(&path).unwrap());
        } else if path.extension().is_some_and(|e| e == "md" || e == "rhai" || e == "rs") {
            files.push(path);
        }
    }
    files.retain(|path| !EXEMPT.iter().any(|(exempt, _)| *path == checkout().join(exempt)));
    files
}

/// The words of a file with their lines: of a page all but blocks of a program's output, of a script and a source its comments and texts.
fn words(path: &Path, text: &str) -> Vec<(usize, String)> {
    let is_page = path.extension().is_some_and(|e| e == "md");
    let read = if is_page { without_output(text) } else { comments_and_texts(text) };
    let mut words = Vec::new();
    for (n, line) in read.lines().enumerate() {
        let parts = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '\''));
        // `None` is a value of Rust's: "None if it is missing" is plain.
        let plain = |word: &str| if !is_page && word == "None" { word.to_owned() } else { word.to_lowercase() };
        words.extend(parts.filter(|word| !word.is_empty()).map(|word| (n + 1, plain(word))));
    }
    words
}

fn without_output(text: &str) -> String {
    let mut output = false;
    let keep = |line: &str| {
        if line.starts_with("```") {
            output = line == "```text";
        }
        if output { "\n".to_owned() } else { format!("{line}\n") }
    };
    text.lines().map(keep).collect()
}

/// The text with everything but its comments and its "texts" and `texts` blanked out.
fn comments_and_texts(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let mut rest = line.replace("'\"'", "   ");
        let mut quote: Option<char> = None;
        let mut escaped = false;
        let chars: Vec<char> = std::mem::take(&mut rest).chars().collect();
        for (i, &c) in chars.iter().enumerate() {
            match quote {
                Some(open) => {
                    kept.push(if c == open && !escaped { ' ' } else { c });
                    if c == open && !escaped {
                        quote = None;
                    }
                    escaped = c == '\\' && !escaped;
                }
                None if c == '/' && chars.get(i + 1) == Some(&'/') => {
                    kept.extend(&chars[i..]);
                    break;
                }
                None if c == '"' || c == '`' => {
                    quote = Some(c);
                    kept.push(' ');
                }
                None => kept.push(if c.is_whitespace() { c } else { ' ' }),
            }
        }
        kept.push('\n');
    }
    kept
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
    let files = clean_files();
    assert!(files.len() >= CLEAN.len());
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
    // Names of code are no English; comments and texts are.
    assert_eq!(faults(Path::new("a.rs"), "fn tell() { told(); }"), [""; 0]);
    for text in
        ["f(); // it goes on", "f(\"it goes on\");", "/// it goes on", "f(`it goes on`)", "f('\"', \"it goes on\")"]
    {
        assert_eq!(faults(Path::new("a.rs"), text).len(), 1, "{text}");
    }
}
