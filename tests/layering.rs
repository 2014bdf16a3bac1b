//! The table of layers in src/README.md, enforced: which module may use which, and which may print, write files or load tensors.
//!
//! Reads the sources as text; comments, strings and `#[cfg(test)]` items do not count.

use std::collections::BTreeMap;
use std::path::Path;

/// Layer name ("audio", "script::bind") -> height; the lowest row of the table is 0.
type Table = BTreeMap<String, usize>;

/// Words that only the named files may contain, and why.
struct Ban {
    words: &'static [&'static str],
    allowed: &'static [&'static str],
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban { words: &["rhai::"], allowed: &["script"], why: "only script/ knows Rhai" },
    Ban {
        words: &["println!", "eprintln!", "print!", "eprint!", "dbg!", "process::exit", "stdout()", "stderr()"],
        allowed: &["cli"],
        why: "only the program prints or exits",
    },
    Ban {
        words: &[".spawn()", ".output()", "process_group("],
        allowed: &["process"],
        why: "other programs run through process: in a group that ends with them, within a time limit",
    },
    Ban {
        words: &["fs::write", "File::create"],
        allowed: &["files"],
        why: "files appear whole or not at all: write through files::write_with",
    },
    Ban {
        words: &[
            "Tensor::load",
            "load_multi",
            "loadz_multi",
            "Tensor::read_",
            "Tensor::save",
            "save_multi",
            "Tensor::write_",
            "CModule::load",
            "VarStore",
        ],
        allowed: &[],
        why: "libtorch's own loaders never see a file: read through torchfile",
    },
];

#[test]
fn every_module_uses_only_modules_of_rows_below_it() {
    let (table, sources) = (table(&readme()), sources());
    let broken: Vec<String> = sources.iter().flat_map(|(path, text)| layer_faults(&table, path, text)).collect();
    assert!(
        broken.is_empty(),
        "\n{}\n(change the code, or the table of src/README.md if a better shape is found)",
        broken.join("\n")
    );
}

#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    let circles = circles(&sources());
    assert!(
        circles.is_empty(),
        "\n{}\n(move what both need into a third file, or into the one below)",
        circles.join("\n")
    );
}

#[test]
fn printing_writing_loading_and_rhai_stay_in_their_rooms() {
    let broken: Vec<String> = sources().iter().flat_map(|(path, text)| ban_faults(path, text)).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_table_names_every_module_of_the_crate() {
    let (text, table) = (lib_rs(), table(&readme()));
    let modules: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|m| m.trim_end_matches(';')).collect();
    assert!(!modules.is_empty());
    for module in modules {
        assert!(table.contains_key(module), "src/lib.rs has `pub mod {module}` but src/README.md has no such layer");
    }
}

// The checks themselves: each must catch its target, and nothing else.

#[test]
fn a_use_of_a_higher_layer_or_a_sibling_is_caught() {
    let table = table(&readme());
    let faults = |path: &str, text: &str| layer_faults(&table, path, &code(text));
    assert!(faults("audio/io.rs", "use crate::script::host;").concat().contains("audio/io.rs:1"));
    assert_eq!(
        faults("audio/io.rs", "fn f() {\n    crate::cache::once();\n}").len(),
        1,
        "siblings do not import each other"
    );
    assert_eq!(faults("models/mod.rs", "use crate::{Error, files, train::{Trainer, data}, nn::guard};").len(), 1);
    assert_eq!(
        faults("models/mod.rs", "use crate::{\n    Error,\n    prepare,\n};").len(),
        1,
        "groups over several lines"
    );
    assert_eq!(faults("files.rs", "use super::train;").len(), 1, "super is no way round");
    assert_eq!(faults("script/bind/audio.rs", "use crate::script::host;").len(), 1, "bind is below script");
    assert_eq!(faults("nowhere.rs", "").len(), 1, "a module without a layer");
}

#[test]
fn uses_of_lower_layers_comments_strings_and_tests_pass() {
    let table = table(&readme());
    let text = r##"
        //! See crate::script.
        use crate::{Error, Result, audio::io};
        const A: &str = "crate::script"; /* crate::train */ const B: char = '"'; const C: &str = r#"crate::"script"#;
        use crate::features::npy;
        #[cfg(test)]
        mod tests { use crate::script::host; fn f() { std::fs::write("x", "y"); } }
        use crate::script::host;
    "##;
    let faults = layer_faults(&table, "features/mod.rs", &code(text));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(":8"), "{faults:?}");
}

#[test]
fn a_circle_is_caught_but_not_a_child_that_uses_its_parent() {
    let source = |path: &str, text: &str| (path.to_owned(), code(text));
    let circle = circles(&[
        source("a/mod.rs", "mod b; mod c; mod d; use b::B;"),
        source("a/b.rs", "use super::{A, c::C};"),
        source("a/c.rs", "use crate::a::d;"),
        source("a/d.rs", "fn f() { super::b::g() }"),
        source("a/e.rs", "use super::b; use crate::a::c;"),
    ]);
    assert_eq!(circle, ["src/a/b.rs -> src/a/c.rs -> src/a/d.rs -> src/a/b.rs"]);
    let none = [
        source("a/mod.rs", "mod b; mod c; use b::B;"),
        source("a/b.rs", "use super::A; use super::c;"),
        source("a/c.rs", "use super::A;"),
    ];
    assert!(circles(&none).is_empty());
}

#[test]
fn each_banned_word_is_caught_outside_its_room() {
    for ban in BANS {
        for word in ban.words {
            let text = code(&format!("fn f() {{ {word} }}"));
            assert_eq!(ban_faults("audio/io.rs", &text).len(), 1, "{word}");
            for room in ban.allowed {
                assert!(ban_faults(&format!("{room}.rs"), &text).is_empty(), "{word} in {room}");
            }
        }
    }
    assert!(ban_faults("audio/io.rs", &code("fn f() { my_print!(); VarStoreLike; }")).is_empty(), "whole words only");
}

/// The table of src/README.md: a row a layer, the highest first, with the names of its modules in backticks in the first column.
fn table(readme: &str) -> Table {
    let first =
        |line: &str| line.strip_prefix("| ").and_then(|rest| rest.split_once(" |")).map(|(cell, _)| cell.to_owned());
    let names = |cell: String| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut rows: Vec<Vec<String>> =
        readme.lines().filter_map(first).map(names).filter(|names| !names.is_empty()).collect();
    rows.reverse();
    rows.into_iter().enumerate().flat_map(|(height, row)| row.into_iter().map(move |name| (name, height))).collect()
}

/// The layer of a file below src/: "script::bind" for script/bind/audio.rs, "files" for files.rs.
fn layer(path: &str) -> String {
    let first = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    match first {
        "script" if path.starts_with("script/bind") => "script::bind".into(),
        other => other.into(),
    }
}

fn layer_faults(table: &Table, path: &str, code: &str) -> Vec<String> {
    let own = layer(path);
    if own == "lib" {
        return Vec::new();
    }
    let Some(height) = table.get(&own) else {
        return vec![format!("src/{path}: module {own:?} is not in the table of src/README.md")];
    };
    let may_use = |other: &str| {
        let same = other == own || (own == "script" && other == "script::bind");
        same || table.get(other).is_none_or(|theirs| theirs < height)
    };
    let used = used_layers(table, path, code).into_iter().filter(|(_, other)| !may_use(other));
    used.map(|(line, other)| format!("src/{path}:{line}: {own} may not use {other}")).collect()
}

/// Every layer named by a `crate::` path (groups opened) or, in a file directly below src/, by `super::`; with its line.
fn used_layers(table: &Table, path: &str, code: &str) -> Vec<(usize, String)> {
    let top_level = !path.contains('/') || (path.matches('/').count() == 1 && path.ends_with("/mod.rs"));
    let mut found = Vec::new();
    for start in ["crate::", "super::", "rvc_run::"] {
        if start == "super::" && !top_level {
            continue;
        }
        for (at, _) in code.match_indices(start).filter(|(at, _)| is_word_start(code, *at)) {
            for (offset, target) in targets(&code[at + start.len()..]) {
                let line = 1 + code[..at + start.len() + offset].matches('\n').count();
                let name = if target.starts_with("script::bind") { "script::bind" } else { first_word(&target) };
                if table.contains_key(name) {
                    found.push((line, name.to_owned()));
                }
            }
        }
    }
    found.sort();
    found
}

/// The circles of files that use each other, each from its first file in the alphabet: "src/a/b.rs -> src/a/c.rs -> src/a/b.rs".
///
/// A room's mod.rs is its face: its files may use what it declares, as it uses them.
fn circles(sources: &[(String, String)]) -> Vec<String> {
    let module = |path: &str| path.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    let paths: BTreeMap<String, &str> = sources.iter().map(|(path, _)| (module(path), path.as_str())).collect();
    // The module that a path names: "audio::io::load" is in "audio::io".
    let owner = |path: &str| {
        let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
        ends.map(|end| &path[..end]).filter(|name| paths.contains_key(*name)).last().map(str::to_owned)
    };
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, code) in sources {
        let own = module(path);
        let is_face = |other: &str| own.strip_prefix(other).is_some_and(|rest| rest.starts_with("::"));
        let mut used: Vec<String> = paths_in(&own, code).iter().filter_map(|path| owner(path)).collect();
        used.retain(|other| *other != own && !is_face(other));
        used.sort();
        used.dedup();
        uses.insert(own, used);
    }
    let mut found: Vec<String> = Vec::new();
    for start in uses.keys() {
        // The shortest way from the file back to itself over files after it in the alphabet.
        let mut ways = std::collections::VecDeque::from([vec![start]]);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            let Some(next) = way.last().and_then(|last| uses.get(*last)) else { continue };
            if next.contains(start) {
                let files = way.iter().chain([&start]).map(|name| format!("src/{}", paths[*name]));
                found.push(files.collect::<Vec<_>>().join(" -> "));
                break;
            }
            for name in next.iter().filter(|name| *name > start) {
                if seen.insert(name) {
                    ways.push_back([way.clone(), vec![name]].concat());
                }
            }
        }
    }
    found
}

/// The paths of modules and items that a file of the module `own` names by `crate::`, `super::` or one of its child modules.
fn paths_in(own: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::").filter(|(at, _)| is_word_start(code, *at)) {
        found.extend(leaves("", &code[at + "crate::".len()..]));
    }
    for (at, _) in
        code.match_indices("super::").filter(|(at, _)| is_word_start(code, *at) && !code[..*at].ends_with("super::"))
    {
        let (mut base, mut rest) = (own, &code[at..]);
        while let Some(after) = rest.strip_prefix("super::") {
            base = base.rsplit_once("::").map_or("", |(parent, _)| parent);
            rest = after;
        }
        found.extend(leaves(base, rest));
    }
    for (at, _) in code.match_indices("mod ").filter(|(at, _)| is_word_start(code, *at)) {
        let child =
            first_word(code[at + 4..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
        let used = |(place, _): (usize, &str)| is_word_start(code, place) && !code[..place].ends_with("::");
        if code.match_indices(&format!("{child}::")).any(used) {
            found.push(format!("{own}::{child}"));
        }
    }
    found
}

/// The paths of a use tree: "a::{b, c::{d, e}}" below `base`.
fn leaves(base: &str, rest: &str) -> Vec<String> {
    let join = |path: &str| [base, path].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("::");
    let mut out = Vec::new();
    for (at, path) in targets(rest) {
        let name = join(path.trim_end_matches("::"));
        let after = &rest[at + path.len()..];
        if path.ends_with("::") && after.starts_with('{') {
            out.extend(leaves(&name, after));
        } else {
            out.push(name);
        }
    }
    out
}

/// The paths that follow `crate::`: one, or those of a `{...}` group, each with its offset.
fn targets(rest: &str) -> Vec<(usize, String)> {
    let path = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect::<String>();
    if !rest.starts_with('{') {
        return vec![(0, path(rest))];
    }
    let (mut depth, mut out, mut expect) = (0, Vec::new(), false);
    for (i, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (c == ',' || (c == '{' && i == 0)) {
            expect = true;
        } else if expect && !c.is_whitespace() {
            out.push((i, path(&rest[i..])));
            expect = false;
        }
    }
    out
}

fn first_word(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

fn is_word_start(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn ban_faults(path: &str, code: &str) -> Vec<String> {
    let room = layer(path).split("::").next().unwrap_or_default().to_owned();
    let file = path.trim_end_matches(".rs");
    let mut faults = Vec::new();
    for ban in BANS.iter().filter(|ban| !ban.allowed.contains(&room.as_str()) && !ban.allowed.contains(&file)) {
        for word in ban.words {
            let whole = |at: &usize| {
                let after = code[at + word.len()..].chars().next();
                let open = !word.ends_with(|c: char| c.is_alphanumeric());
                is_word_start(code, *at) && (open || !after.is_some_and(char::is_alphanumeric))
            };
            for at in code.match_indices(word).map(|(at, _)| at).filter(whole) {
                let line = 1 + code[..at].matches('\n').count();
                faults.push(format!("src/{path}:{line}: `{word}`: {}", ban.why));
            }
        }
    }
    faults
}

/// The text without comments, string contents and `#[cfg(test)]` items; line breaks stay, so that line numbers do.
fn code(text: &str) -> String {
    without_tests(&without_comments(text))
}

fn without_comments(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut out, mut i) = (String::with_capacity(text.len()), 0);
    // Where the item that starts at `i` ends; everything between is dropped except its line breaks.
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..chars.len()).find(|&k| at(k) == '\n').unwrap_or(chars.len()),
            ('/', '*') => {
                (i + 2..chars.len()).find(|&k| at(k) == '*' && at(k + 1) == '/').map_or(chars.len(), |k| k + 2)
            }
            ('r', '"' | '#') if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_string_end(&chars, i),
            ('"', _) => string_end(&chars, i),
            ('\'', '\\') => (i + 3..chars.len()).find(|&k| at(k) == '\'').map_or(chars.len(), |k| k + 1),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => i,
        };
        if end == i {
            out.push(at(i));
            i += 1;
        } else {
            out.push(' ');
            out.extend(chars[i..end].iter().filter(|&&c| c == '\n'));
            i = end;
        }
    }
    out
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The end of `r"..."` or `r#"..."#`; `start` itself if it is neither (a raw identifier).
fn raw_string_end(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start;
    }
    let closes =
        |i: usize| chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    (open + 1..chars.len()).find(|&i| closes(i)).map_or(chars.len(), |i| i + 1 + hashes)
}

/// Drops every item after `#[cfg(test)]`, to its closing brace or semicolon.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_end(item);
        out.extend(item[..end].chars().filter(|&c| c == '\n'));
        rest = &item[end..];
    }
    out + rest
}

fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (i, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return i + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return i + 1,
            _ => {}
        }
    }
    item.len()
}

fn src() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn readme() -> String {
    std::fs::read_to_string(src().join("README.md")).unwrap()
}

fn lib_rs() -> String {
    std::fs::read_to_string(src().join("lib.rs")).unwrap()
}

/// Path below src/ with forward slashes, and code, of every source file.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, out: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(src()).unwrap().to_str().unwrap().replace('\\', "/");
                out.push((name, code(&std::fs::read_to_string(&path).unwrap())));
            }
        }
    }
    let mut out = Vec::new();
    walk(&src(), &mut out);
    assert!(out.len() > 10, "the sources were not found");
    out
}
