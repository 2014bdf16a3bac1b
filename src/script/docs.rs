//! The reference of everything that scripts can call: Markdown for people, definition files for editors.

use super::engine::Host;
use super::native;
use super::native::{Function, MODULES, Natives};
use crate::config::{self, settings::shown};
use crate::shipped::{self, STDLIB, STDLIB_FOLDER};
use crate::{Error, Kind, Result, files};
use rhai::FnAccess;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The whole reference as Markdown: native modules, then the standard library.
pub fn markdown(host: &Host) -> Result<String> {
    let natives = Natives::of(&host.engine);
    let mut text = String::new();
    settings(&mut text);
    let mut section = |title: &str, functions: Vec<&Function>| {
        if functions.is_empty() {
            return;
        }
        let _ = write!(text, "\n## {title}\n");
        for f in functions {
            let _ = write!(text, "\n### `{}`\n\n{}\n", f.signature(), lower_headings(&f.doc));
        }
    };
    let ours = |module: Option<&str>| -> Vec<&Function> {
        let wanted = |f: &&Function| !f.standard && f.module.as_deref() == module && !f.doc.is_empty();
        natives.functions.iter().filter(wanted).collect()
    };
    section("everywhere", ours(None));
    for module in MODULES {
        section(module, ours(Some(module)));
    }
    for (name, shipped) in STDLIB {
        standard(host, &mut text, name, shipped)?;
    }
    let contents: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    Ok(format!("# What a recipe can call\n\n{}\n{text}", contents.join(" · ")))
}

/// The table of settings, as declared.
fn settings(text: &mut String) {
    let _ = write!(
        text,
        "\n## settings\n\nWhat `config::of` returns and `config::check` takes; on the command line each is a flag, or `--set name=value`.\n\n\
         | setting | default | allowed | meaning | reruns |\n|---|---|---|---|---|\n"
    );
    for one in config::settings() {
        let limits = [one.limits.choices(), one.limits.range()].into_iter().find(|text| !text.is_empty());
        let unit = if one.unit.is_empty() { String::new() } else { format!(" {}", one.unit) };
        let _ = writeln!(
            text,
            "| `{}` | `{}`{unit} | {} | {} {} | {} |",
            one.name,
            shown(&one.default),
            limits.unwrap_or_default(),
            one.help,
            one.more.replace('\n', " "),
            one.remade(),
        );
    }
}

fn standard(host: &Host, text: &mut String, name: &str, shipped: &str) -> Result<()> {
    let source = shipped::source(STDLIB_FOLDER, name);
    let ast = host.compile(&source, shipped).map_err(|d| Error::new(Kind::Internal, d.message))?;
    let _ = write!(text, "\n## stdlib/{name}\n\n{}\n", script_doc(ast.doc()));
    // To Rhai a script's helpers and closures are functions like any other; ours have no doc comment.
    let is_told = |comments: &[&str]| !native::doc(comments).is_empty();
    let mut functions: Vec<_> =
        ast.iter_functions().filter(|f| f.access == FnAccess::Public && is_told(&f.comments)).collect();
    functions.sort_by_key(|f| (f.name.to_owned(), f.params.len()));
    for f in functions {
        let doc = native::doc(&f.comments);
        let _ = write!(text, "\n### `{name}::{}({})`\n\n{}\n", f.name, f.params.join(", "), lower_headings(&doc));
    }
    Ok(())
}

/// A script's `//!` text without the slashes.
pub fn script_doc(doc: &str) -> String {
    let lines: Vec<&str> = doc
        .lines()
        .map(|line| line.trim_start().trim_start_matches("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n").trim().to_owned()
}

/// Headings inside a doc comment, below those of the reference.
fn lower_headings(doc: &str) -> String {
    doc.lines()
        .map(|line| if line.starts_with("# ") { format!("###{line}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Writes one `.d.rhai` file for each module to `folder`, for editors; returns the paths.
pub fn editor(host: &Host, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (name, text) in host.engine.definitions().include_standard_packages(true).iter_files() {
        let path = folder.join(name);
        files::write(&path, text)?;
        written.push(path);
    }
    Ok(written)
}

/// The script examples in a doc comment: the lines between "```rhai" and "```".
pub fn examples(doc: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in doc.lines() {
        match (&mut open, line.trim()) {
            (None, "```rhai") => open = Some(Vec::new()),
            (Some(lines), "```") => {
                found.push(lines.join("\n"));
                open = None;
            }
            (Some(lines), _) => lines.push(line),
            (None, _) => {}
        }
    }
    found
}
