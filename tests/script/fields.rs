//! The reference names the fields of every map that a function returns: what examples return is compared with what the docs say.

use super::examples::{Call, Documented, observed, tried};
use super::*;
use rhai::{ASTNode, Array, Dynamic, Expr, Stmt};
use std::collections::BTreeSet;

/// Functions whose maps have only the keys of their arguments.
const AS_GIVEN: &[&str] = &[
    "system::from_json",
    "system::read_json",
    "args",
    "filter",
    "trials::random",
    "trials::grid",
    "trials::edges",
    "trials::parse",
    "sweep::random",
    "sweep::grid",
    "sweep::edges",
    "sweep::parse",
    "slicing::settings",
];

/// Files of other programs have other keys.
const FOREIGN: &str = "entries";

/// Keys of a map, of the maps in an array, and of those within, `deeper` levels down.
fn keys(value: &Dynamic, deeper: usize, found: &mut BTreeSet<String>) {
    if let Some(items) = value.read_lock::<Array>() {
        items.iter().for_each(|item| keys(item, deeper, found));
    } else if let Some(map) = value.read_lock::<Map>() {
        for (key, item) in map.iter() {
            found.insert(key.to_string());
            if deeper > 0 && key != FOREIGN {
                keys(item, deeper - 1, found);
            }
        }
    }
}

/// A doc without its examples, in words.
fn words(doc: &str) -> BTreeSet<&str> {
    let prose = doc.split("```").step_by(2).flat_map(|part| part.split(|c: char| !(c.is_alphanumeric() || c == '_')));
    prose.filter(|word| !word.is_empty()).collect()
}

fn missing(keys: &BTreeSet<String>, doc: &str) -> Vec<String> {
    let (said, settings) = (words(doc), serde_json::to_value(rvc_run::config::Config::default()).unwrap());
    // Settings have a table of their own.
    let all_settings =
        keys.iter().all(|key| settings.get(key).is_some()) && (said.contains("settings") || said.contains("setting"));
    keys.iter().filter(|key| !all_settings && !said.contains(key.as_str())).cloned().collect()
}

#[test]
fn docs_name_the_fields_of_every_map_that_an_example_returns() {
    let (functions, tried) = tried();
    let mut wrong = Vec::new();
    let mut maps = 0;
    // Overloads share their docs, and "what `finish` does" stands for the docs of that function.
    let module = |name: &str| name.rsplit_once("::").map_or(String::new(), |(module, _)| module.to_owned());
    let short = |f: &Documented| match &f.call {
        Call::Function(name) | Call::Method(name) | Call::Property(name) => name.clone(),
    };
    let doc_of = |f: &Documented| {
        let same = functions.iter().filter(|other| short(other) == short(f));
        let explained = same.map(|other| other.doc.clone()).collect::<Vec<_>>().join("\n\n");
        let named = |other: &&Documented| {
            let name = short(other).rsplit("::").next().unwrap().to_owned();
            module(&short(other)) == module(&short(f)) && f.doc.contains(&format!("what `{name}` does"))
        };
        let more = functions.iter().filter(named).map(|other| other.doc.clone()).collect::<Vec<_>>();
        format!("{explained}\n\n{}", more.join("\n\n"))
    };
    for f in functions.iter().filter(|f| !f.converts) {
        let bare = f.name.split('(').next().unwrap().trim().to_owned();
        if AS_GIVEN.contains(&bare.as_str()) {
            continue;
        }
        let mut found = BTreeSet::new();
        for example in docs::examples(&f.doc) {
            for value in &tried[&observed(&example, &f.call)].seen {
                keys(&rvc_run::script::bind::value::from_json(value), 1, &mut found);
            }
        }
        maps += usize::from(!found.is_empty());
        let missing = missing(&found, &doc_of(f));
        if !missing.is_empty() {
            wrong.push(format!("{}: {}", f.name, missing.join(", ")));
        }
    }
    assert!(maps > 20, "only {maps} functions were seen to return maps");
    assert!(wrong.is_empty(), "not in the docs:\n{}", wrong.join("\n"));
}

#[test]
fn docs_name_the_fields_of_every_map_that_a_library_function_ends_with() {
    let wrong = staged(|stage| {
        let mut wrong = Vec::new();
        let mut maps = 0;
        for (script, text) in shipped::STDLIB {
            let ast = stage.host.compile(script, text).unwrap();
            // Rhai shows the statements of all functions together, and where each function ends.
            let mut maps_at = Vec::new();
            ast.walk(&mut |path: &[ASTNode]| {
                if let [ASTNode::Stmt(Stmt::Expr(last))] = path
                    && let Expr::Map(map, at) = &**last
                {
                    let keys: BTreeSet<String> = map.0.iter().map(|(key, _)| key.name.to_string()).collect();
                    maps_at.push((at.line().unwrap(), keys));
                }
                true
            });
            for f in ast.iter_fn_def() {
                let doc = native::doc(&f.comments.iter().map(ToString::to_string).collect::<Vec<_>>());
                let span = (f.body.start_position().line(), f.body.end_position().line());
                // A closure without braces has no span.
                let (Some(start), Some(end)) = span else { continue };
                let span = start..=end;
                let Some((_, keys)) = maps_at.iter().rfind(|(line, _)| span.contains(line)) else { continue };
                if doc.is_empty() {
                    continue;
                }
                maps += 1;
                // A preset documents its settings; spaces are maps only for the sweep.
                if ["presets", "dataset"].contains(script) || *script == "sweep" && keys.contains("kind") {
                    continue;
                }
                let missing = missing(keys, &doc);
                if !missing.is_empty() {
                    wrong.push(format!("{script}::{}: {}", f.name, missing.join(", ")));
                }
            }
        }
        assert!(maps > 5, "{maps}");
        wrong
    });
    assert!(wrong.is_empty(), "not in the docs:\n{}", wrong.join("\n"));
}
