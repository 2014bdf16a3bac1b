//! What the pages claim, tried: links, commands with their flags, scripts, names of functions, files, variables and errors.

use super::{checkout, files_of, pages, program, text_of};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Programs besides ours that the pages call.
const OTHERS: &[&str] = &["mkdir", "cp", "ls", "cd", "git", "pip", "mlflow", "tensorboard"];

/// Flags in the pages that are other programs' own.
const FOREIGN_FLAGS: &[&str] = &["--save-freq", "--total_epoch", "--save_every_epoch"];

/// Words of commands that stand for what a person chooses.
const PLACEHOLDERS: &[&str] = &["RECIPE", "NAME", "DIR"];

/// A piece of a page in monospaced letters.
enum Code {
    /// `like this`
    Span(String),
    /// A fenced block and its language.
    Block { language: String, text: String },
}

/// All code of a page, and the rest of it.
fn code(text: &str) -> (Vec<Code>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            found.push(Code::Block { language: language.to_owned(), text: block.join("\n") });
            continue;
        }
        for (i, part) in line.split('`').enumerate() {
            if i % 2 == 1 {
                found.push(Code::Span(part.to_owned()));
            } else {
                rest.push_str(part);
            }
        }
        rest.push('\n');
    }
    (found, rest)
}

/// The scripts of a page.
pub fn scripts(text: &str) -> Vec<String> {
    let blocks = code(text).0.into_iter();
    blocks
        .filter_map(|code| match code {
            Code::Block { language, text } if language == "rhai" => Some(text),
            _ => None,
        })
        .collect()
}

/// The command lines of a page: the lines of shell blocks, and spans that begin with our programs.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for code in code(text).0 {
        match code {
            Code::Block { language, text } if language == "sh" => {
                found.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
            }
            Code::Span(text) if text.starts_with("rvc-run ") || text.starts_with("cargo xtask ") => found.push(text),
            _ => {}
        }
    }
    found
}

fn spans(text: &str) -> Vec<String> {
    let all = code(text).0.into_iter();
    all.filter_map(|code| match code {
        Code::Span(text) => Some(text),
        Code::Block { .. } => None,
    })
    .collect()
}

/// The words of a command line as a shell takes them apart, up to a comment.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.push(c),
            (None, '"' | '\'') => (quote, begun) = (Some(c), true),
            (None, '#') if !begun => break,
            (None, ' ') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                word.push(c);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// A folder with the recipes and the scripts of the pages, in which commands are tried.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(checkout().join("recipes"), folder.path().join("recipes")).unwrap();
        for name in ["my_sweep", "my_trial", "my_recipe"] {
            std::fs::write(folder.path().join(format!("{name}.rhai")), "print(1);\n").unwrap();
        }
        Self(folder)
    }

    /// What is wrong with a command line, if anything: parts of a line that `&&` joins are tried one by one.
    fn fault(&self, line: &str) -> Option<String> {
        let words = words(line);
        words.split(|word| word == "&&").find_map(|part| self.fault_of(part))
    }

    fn fault_of(&self, words: &[String]) -> Option<String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["rvc-run", rest @ ..] => self.ours(rest),
            ["cargo", "xtask", rest @ ..] => self.xtask(rest),
            [name, ..] if OTHERS.contains(name) => None,
            _ => Some(format!("what is {words:?}?")),
        }
    }

    /// The program reads the line up to its end, where `--help` keeps it from doing anything.
    fn ours(&self, words: &[&str]) -> Option<String> {
        if words.iter().any(|word| PLACEHOLDERS.contains(word)) {
            return None;
        }
        let mut line = words.to_vec();
        // A topic is not among what the help knows.
        if words.first() != Some(&"guide") {
            line.insert(words.iter().position(|word| *word == "--").unwrap_or(words.len()), "--help");
        }
        let (code, text) = program(self.0.path(), &line);
        (code != 0).then_some(text)
    }

    fn xtask(&self, words: &[&str]) -> Option<String> {
        let has = |path: &str, text: &str| text_of(Path::new(path)).contains(text);
        let fault = match words {
            ["run", rest @ ..] => return self.ours(rest),
            ["bench", name, ..] if !has("Cargo.toml", &format!("[[bench]]\nname = \"{name}\"")) => {
                "there is no such benchmark"
            }
            ["test", name] if !name.starts_with('-') && !checkout().join(format!("tests/{name}.rs")).is_file() => {
                "there is no such test"
            }
            ["fetch" | "test", flag] if flag.starts_with('-') && !has("xtask/src/main.rs", &format!("\"{flag}\"")) => {
                "there is no such flag"
            }
            [name, ..]
                if !text_of(Path::new("xtask/src/main.rs")).lines().any(|line| {
                    let known = line.strip_prefix("  cargo xtask ").and_then(|rest| rest.split(' ').next());
                    known.is_some_and(|known| known.split('|').any(|known| known == *name))
                }) =>
            {
                "there is no such command"
            }
            _ => return None,
        };
        Some(fault.to_owned())
    }
}

#[test]
fn every_command_of_the_pages_is_understood() {
    let (place, mut wrong, mut tried) = (Place::new(), String::new(), BTreeSet::new());
    for page in pages() {
        for line in commands(&text_of(&page)) {
            if !tried.insert(line.clone()) {
                continue;
            }
            if let Some(fault) = place.fault(&line) {
                writeln!(wrong, "{}: {line}\n{fault}", page.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(tried.len() > 50, "only {} commands were found", tried.len());
}

#[test]
fn a_command_with_a_mistake_is_caught() {
    let place = Place::new();
    for line in [
        "rvc-run train_voice anna --epoks 5",
        "rvc-run train_voice anna --epochs many",
        "rvc-run trian_voice anna",
        "rvc-run cache statsu",
        "rvc-run cache prune --keep-day 3",
        "rvc-run guide clps",
        "rvc-run train_voice anna --no-indexx    # a comment",
        "mkdir -p data && rvc-run list everything",
        "cargo xtask bench nothing",
        "cargo xtask test nothing",
        "cargo xtask test --everything",
        "cargo xtask instal",
        "cargo xtask run recipes/quickstat.rhai",
        "sudo make install",
    ] {
        assert!(place.fault(line).is_some(), "{line}");
    }
    for line in ["rvc-run train_voice -- -x", "rvc-run sweep anna --space \"a=log(1,2); b=choice(1,2)\" # it's fine"] {
        assert_eq!(place.fault(line), None, "{line}");
    }
}

#[test]
fn every_script_of_the_pages_passes_the_check() {
    let mut found = 0;
    for page in pages() {
        for script in scripts(&text_of(&page)) {
            let place = Place::new();
            std::fs::write(place.0.path().join("page.rhai"), &script).unwrap();
            let (code, text) = program(place.0.path(), &["check", "page.rhai"]);
            assert_eq!(
                (code, text.as_str()),
                (0, "1 script checked, 0 mistakes found\n"),
                "{}\n{script}",
                page.display()
            );
            found += 1;
        }
    }
    assert!(found >= 4, "{found}");
}

#[test]
fn the_sweep_of_the_guide_is_short() {
    let guide = rvc_run::guide::find("sweeps").unwrap().text;
    let lines = |part: &str| scripts(guide).iter().find(|text| text.contains(part)).unwrap().lines().count();
    assert!(lines("sweep::run") + lines("train::trainer") < 40);
}

/// The place of a heading, as GitHub and GitLab call it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut wrong = String::new();
    for page in pages() {
        let folder = checkout().join(page.parent().unwrap());
        for target in code(&text_of(&page)).1.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") {
                continue;
            }
            let (path, place) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { checkout().join(&page) } else { folder.join(path) };
            let is_there = path.exists()
                && (place.is_empty()
                    || std::fs::read_to_string(&path)
                        .unwrap()
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line) == place));
            if !is_there {
                writeln!(wrong, "{}: {target}", page.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The help of every recipe and command.
fn help() -> String {
    let place = Place::new();
    let mut lines: Vec<Vec<String>> = vec![vec![]];
    for recipe in files_of("recipes", "rhai") {
        lines.push(vec![recipe.file_stem().unwrap().to_string_lossy().into_owned()]);
    }
    for words in ["assets fetch", "cache verify", "cache prune", "track sync", "ui", "eject x", "docs"] {
        lines.push(words.split(' ').map(str::to_owned).collect());
    }
    let help = lines.iter().map(|line| {
        let line: Vec<&str> = line.iter().map(String::as_str).chain(["--help"]).collect();
        let (code, text) = program(place.0.path(), &line);
        assert_eq!(code, 0, "{line:?}\n{text}");
        text
    });
    help.collect()
}

/// The sources that a page may speak of: ours, the tests', the benchmarks', xtask's.
fn sources() -> String {
    let (mut waiting, mut all) = (["src", "xtask/src", "tests"].map(|f| checkout().join(f)).to_vec(), String::new());
    while let Some(folder) = waiting.pop() {
        for path in rvc_run::files::list(&folder).unwrap() {
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.starts_with(checkout().join("tests/guide")) {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    all
}

#[test]
fn the_flags_functions_files_variables_and_errors_that_the_pages_name_exist() {
    let (help, sources, place) = (help(), sources(), Place::new());
    let (_, docs) = program(place.0.path(), &["docs"]);
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut wrong = String::new();
    for page in pages() {
        for span in spans(&text_of(&page)) {
            let first = span.split(' ').next().unwrap_or_default();
            let is_there = if first.starts_with("--") && first != "--" {
                let flag = first.split('=').next().unwrap_or_default();
                let ends = |text: &str| {
                    text.split(flag).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
                };
                FOREIGN_FLAGS.contains(&flag) || ends(&help) || ends(&sources)
            } else if let Some((module, function)) = first.split_once("::") {
                !is_name(module)
                    || docs.contains(&format!("`{module}::{}(", function.split('(').next().unwrap_or_default()))
            } else if ["tests/", "recipes/", "stdlib/", "src/", "xtask/"].iter().any(|folder| first.starts_with(folder))
            {
                let stands = first.contains("...")
                    || first.contains(|c: char| c.is_ascii_uppercase())
                        && Path::new(first).extension().is_none_or(|e| e != "md");
                stands || checkout().join(first).exists() || checkout().join(format!("{first}.rhai")).exists()
            } else if first.contains('_') && first.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                sources.contains(first)
            } else if let Some((area, rest)) =
                span.split_once('.').filter(|(area, rest)| is_name(area) && is_name(rest))
            {
                // Codes of errors look like names of files; their first word is one that codes have.
                let areas = ["file", "audio", "data", "config", "checkpoint", "asset", "device", "train"];
                !areas.contains(&area) || matches!(rest, "log" | "json") || sources.contains(&format!("\"{span}\""))
            } else {
                true
            };
            if !is_there {
                writeln!(wrong, "{}: `{span}`", page.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_messages_that_troubleshooting_explains_are_printed_somewhere() {
    let sources = sources();
    let text = rvc_run::guide::find("troubleshooting").unwrap().text;
    let mut found = 0;
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split(" | ").next().unwrap_or_default();
        for message in spans(cell) {
            assert!(sources.contains(&message), "{message:?} is no message");
            found += 1;
        }
    }
    assert!(found > 8, "{found}");
}
