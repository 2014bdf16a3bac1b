//! Pages that show runs without a server: one for each run, and one that compares runs.
//!
//! ```text
//! tracking/events/<run>.jsonl --track::read--> Record --curves, sounds, page--> run.html (template) --> tracking/reports/<run>.html
//! ```
//!
//! A page is one file that needs nothing else: no network, no script, font, style or picture from elsewhere; its own
//! Content-Security-Policy forbids them, and allows only our script. All text from a run (names, paths, warnings, the
//! recipe) counts as hostile: the templates escape it. Without JavaScript the page shows static curves.
//!
//! A page shows the content of the log, and says what is missing. It is never an error if a run is still running, was killed, has no
//! values yet, or if its sounds no longer exist.

mod compare;
mod curves;
mod live;
mod page;
mod sounds;
mod text;

pub use live::Live;

use crate::error::{Error, Kind, Result};
use crate::files::{self, Workspace};
use crate::track::{self, Record};
use base64::Engine;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use serde::Serialize;
use std::path::{Path, PathBuf};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("chart.js");
const TEMPLATES: [(&str, &str); 3] = [
    ("parts.html", include_str!("parts.html")),
    ("run.html", include_str!("run.html")),
    ("compare.html", include_str!("compare.html")),
];

/// Writes the page of a run to tracking/reports/<run>.html, whole or not at all, and returns its path. A second call replaces
/// the page.
///
/// Errors: `file.not_found` if there is no such run; `file.read`, `file.write`, `file.disk_full`.
pub fn write(workspace: &Workspace, run_id: &str) -> Result<PathBuf> {
    let log = log_of(workspace, run_id)?;
    let record = track::read(&log)?;
    let page = page::Page::new(workspace, run_id, &log, &record, now());
    save(workspace, &format!("{run_id}.html"), &render("run.html", &page)?)
}

/// Writes a page that compares runs, in the order given, to tracking/reports/compare_<digest of their ids>.html, and returns its
/// path. A run that is named twice counts once.
///
/// Errors: `usage` if no run is named; otherwise as [`write`].
pub fn compare(workspace: &Workspace, runs: &[String]) -> Result<PathBuf> {
    let mut ids: Vec<&String> = Vec::new();
    for id in runs {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        return Err(Error::new(Kind::Usage, "no run to compare").hint("name two or more files of tracking/events"));
    }
    let records = ids
        .iter()
        .map(|id| Ok(((*id).clone(), track::read(&log_of(workspace, id)?)?)))
        .collect::<Result<Vec<(String, Record)>>>()?;
    let page = compare::Page::new(workspace, &records, now());
    let digest = files::digest(ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join("\n"));
    save(workspace, &format!("compare_{}.html", &digest[..12]), &render("compare.html", &page)?)
}

/// The path of a run's page.
pub fn path(workspace: &Workspace, run_id: &str) -> PathBuf {
    workspace.tracking().join("reports").join(format!("{run_id}.html"))
}

/// The log of a run. The id must be among the existing files, so that no id leads out of the folder.
fn log_of(workspace: &Workspace, run_id: &str) -> Result<PathBuf> {
    let folder = track::folder(workspace);
    let logs = if folder.is_dir() { files::list(&folder)? } else { Vec::new() };
    let is_it = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "jsonl")
            && path.file_stem().and_then(|stem| stem.to_str()) == Some(run_id)
    };
    logs.into_iter().find(is_it).ok_or_else(|| {
        Error::new(Kind::NotFound, format!("there is no run {run_id:?}"))
            .path(folder)
            .hint("`rvc-run track list` shows the runs")
    })
}

fn save(workspace: &Workspace, name: &str, html: &str) -> Result<PathBuf> {
    let path = workspace.tracking().join("reports").join(name);
    files::write(&path, html)?;
    Ok(path)
}

/// Unix seconds.
fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

/// Renders a template. Templates whose names end in .html escape their values.
fn render(template: &str, page: &impl Serialize) -> Result<String> {
    let fault = |e: minijinja::Error| Error::new(Kind::Internal, format!("cannot make the page: {e:#}")).source(e);
    let mut environment = minijinja::Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(fault)?);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).map_err(fault)?;
    }
    environment.add_global("style", STYLE);
    environment.add_global("script", SCRIPT);
    environment.add_global("policy", policy());
    environment.get_template(template).and_then(|template| template.render(Serde(page))).map_err(fault)
}

/// The browser's permissions for the page: show its content, and run our script, identified by its digest.
fn policy() -> String {
    let hex = files::digest(SCRIPT);
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).filter_map(|i| u8::from_str_radix(&hex[i..i + 2], 16).ok()).collect();
    let digest = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; script-src 'sha256-{digest}'; \
         base-uri 'none'; form-action 'none'"
    )
}

/// A table for a template.
#[derive(Debug, Default, Serialize)]
struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    /// Unit of the values; empty if they have none.
    unit: String,
    /// Aligned to the right.
    number: bool,
}

impl Column {
    /// "#length|s": a column of numbers (`#`) named length, in seconds.
    fn new(text: &str) -> Self {
        let (name, unit) = text.trim_start_matches('#').split_once('|').unwrap_or((text.trim_start_matches('#'), ""));
        Self { name: name.into(), unit: unit.into(), number: text.starts_with('#') }
    }

    /// A column of numbers whose name is not ours.
    fn number(name: String) -> Self {
        Self { name, unit: String::new(), number: true }
    }
}

#[derive(Debug, Default, Serialize)]
struct Cell {
    text: String,
    /// Emphasised: the best of a column, a total, a failure.
    strong: bool,
    /// The full text if `text` is shortened, shown under the pointer; else empty.
    whole: String,
    /// Notes, one line each, below it.
    notes: Vec<String>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Cell {
    fn strong(text: impl Into<String>, strong: bool) -> Self {
        Self { text: text.into(), strong, ..Self::default() }
    }

    /// A text shortened in the middle if it has more than `most` characters.
    fn cut(text: String, most: usize) -> Self {
        let count = text.chars().count();
        if count <= most {
            return text.into();
        }
        let ends = most / 3;
        let begin: String = text.chars().take(most - ends - 1).collect();
        let end: String = text.chars().skip(count - ends).collect();
        Self { text: format!("{begin}…{end}"), whole: text, ..Self::default() }
    }
}

impl Table {
    /// Columns in the form of [`Column::new`].
    fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|text| Column::new(text)).collect(), rows: Vec::new() }
    }

    fn push<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(Cell::from).collect());
    }

    /// An emphasised last row.
    fn total(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|text| Cell::strong(text, true)).collect());
    }
}

/// A path for the page: relative if it is in the workspace.
fn shown(workspace: &Workspace, path: &Path) -> String {
    path.strip_prefix(workspace.root()).unwrap_or(path).display().to_string()
}
