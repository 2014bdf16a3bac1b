//! Parameters as command-line flags: one clap command for each recipe, built at run time.

use super::params::{self, Kind, Param, Stands, shown};
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

const COMMON_HEADING: &str = "Options of every recipe";
/// More threads than any machine that trains voices has cores; each takes a stack, and the system refuses some thousands of them.
const MOST_THREADS: u64 = 1024;

/// The flags that every recipe has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Common {
    /// The folder that holds data/, logs/, models/; `None` is the current one.
    pub workspace: Option<PathBuf>,
    /// Worker threads; `None` is one for each core.
    pub threads: Option<usize>,
    pub quiet: bool,
    /// How many `-v` were given.
    pub verbose: u8,
    pub json: bool,
    /// Where MLflow keeps the runs; see [`crate::track::mlflow::Place::parse`].
    pub tracking_uri: Option<String>,
    pub experiment: Option<String>,
    /// The run that this program's runs belong to; a recipe passes it to its jobs.
    pub parent: Option<String>,
}

impl Common {
    pub fn of(matches: &ArgMatches) -> Self {
        Self {
            workspace: matches.get_one("workspace").cloned(),
            threads: matches.get_one("threads").copied(),
            quiet: matches.get_flag("quiet"),
            verbose: matches.get_count("verbose"),
            json: matches.get_flag("json"),
            tracking_uri: matches.get_one("tracking-uri").cloned(),
            experiment: matches.get_one("experiment").cloned(),
            parent: matches.get_one("parent").cloned(),
        }
    }

    /// These flags, with those of `outer`, given before the recipe's name, as defaults.
    #[must_use]
    pub fn over(self, outer: Self) -> Self {
        Self {
            workspace: self.workspace.or(outer.workspace),
            threads: self.threads.or(outer.threads),
            quiet: self.quiet || outer.quiet,
            verbose: self.verbose.max(outer.verbose),
            json: self.json || outer.json,
            tracking_uri: self.tracking_uri.or(outer.tracking_uri),
            experiment: self.experiment.or(outer.experiment),
            parent: self.parent.or(outer.parent),
        }
    }
}

/// `--workspace`, `--threads`, `--quiet`, `--verbose`, `--json`, `--tracking-uri`, `--experiment`; hidden `--parent`.
pub fn common() -> [Arg; 8] {
    [
        Arg::new("workspace")
            .long("workspace")
            .value_name("DIR")
            .value_parser(clap::value_parser!(PathBuf))
            .help("folder that holds data/, logs/, models/ [default: the current folder]")
            .help_heading(COMMON_HEADING),
        Arg::new("threads")
            .long("threads")
            .value_name("N")
            .value_parser(whole::<usize>(1..=MOST_THREADS))
            .help("worker threads, 1 to 1024 [default: one for each core, fewer while other programs keep them busy]")
            .hide_short_help(true)
            .help_heading(COMMON_HEADING),
        Arg::new("quiet")
            .short('q')
            .long("quiet")
            .action(ArgAction::SetTrue)
            .help("no progress; only results, warnings and errors")
            .help_heading(COMMON_HEADING),
        Arg::new("verbose")
            .short('v')
            .long("verbose")
            .action(ArgAction::Count)
            .conflicts_with("quiet")
            .help("also the engine's details; -vv includes libraries (RUST_LOG filters further)")
            .hide_short_help(true)
            .help_heading(COMMON_HEADING),
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("for programs: one JSON object per line on standard output, instead of text")
            .hide_short_help(true)
            .help_heading(COMMON_HEADING),
        Arg::new("tracking-uri")
            .long("tracking-uri")
            .value_name("URI")
            .help("where MLflow keeps the runs: http://HOST:PORT, a folder, or none [default: MLFLOW_TRACKING_URI, else tracking/mlruns]")
            .hide_short_help(true)
            .help_heading(COMMON_HEADING),
        Arg::new("experiment")
            .long("experiment")
            .value_name("NAME")
            .help("MLflow's experiment for the runs [default: MLFLOW_EXPERIMENT_NAME, else rvc-run]")
            .hide_short_help(true)
            .help_heading(COMMON_HEADING),
        Arg::new("parent")
            .long("parent")
            .value_name("RUN")
            .hide(true)
            .help("name of the run that this recipe's runs belong to, for MLflow")
            .help_heading(COMMON_HEADING),
    ]
}

/// Whether a parameter of this name would take a flag that every recipe has, clap's own included.
pub fn is_common(name: &str) -> bool {
    let flag = dashed(name);
    ["help", "version"].contains(&name) || common().iter().any(|arg| arg.get_long() == Some(&flag))
}

/// A parser of whole numbers in a range, which refuses in the words of a recipe's parameters.
pub fn whole<T: TryFrom<u64> + Clone + Send + Sync + 'static>(range: RangeInclusive<u64>) -> ValueParser {
    ValueParser::new(move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let must = || format!("must be a whole number between {} and {}", range.start(), range.end());
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(must)
    })
}

/// The command line of a recipe. `name` is the typed name, `doc` its `//!` text.
pub fn command(name: &str, doc: &str, params: &[Param]) -> Command {
    let text = unwrapped(doc);
    let first = text.lines().next().unwrap_or_default().to_owned();
    let mut command = Command::new(name.to_owned())
        .bin_name(format!("rvc-run {name}"))
        .no_binary_name(true)
        .disable_version_flag(true)
        .next_line_help(false)
        .args_override_self(true);
    if !first.is_empty() {
        command = command.about(first).long_about(text);
    }
    let is_hidden = |param: &Param| !param.common && !param.positional;
    let hidden = params.iter().filter(|param| is_hidden(param)).count();
    if hidden > 0 {
        let grouped = params.iter().any(|param| matches!(param.stands, Stands::Setting { .. }));
        let settings = if grouped { "; `rvc-run settings NAME` explains a setting" } else { "" };
        command = command.after_help(format!("{hidden} more flags with --help{settings}")).after_long_help("");
    }
    for param in params {
        let placed = |arg: Arg| match heading(param) {
            Some(heading) => arg.help_heading(heading).hide_short_help(is_hidden(param)),
            None => arg.hide_short_help(is_hidden(param)),
        };
        command = command.arg(placed(argument(param)));
        if param.kind == Kind::Flag && param.value == Some(Value::Bool(true)) {
            let flag = dashed(&param.name);
            let opposite = Arg::new(format!("no-{flag}"))
                .long(format!("no-{flag}"))
                .action(ArgAction::SetTrue)
                .overrides_with(param.name.clone())
                .help(format!("the opposite of --{flag}"));
            command = command.arg(placed(opposite));
        }
    }
    command.args(common())
}

/// The values given on the command line, by parameter name; those not given are absent.
pub fn values(params: &[Param], matches: &ArgMatches) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for param in params {
        if matches!(param.kind, Kind::Texts | Kind::Assignments) {
            if let Some(entries) = matches.get_many::<Value>(&param.name) {
                values.insert(param.name.clone(), entries.cloned().collect());
            }
        } else if let Some(value) = matches.get_one::<Value>(&param.name) {
            values.insert(param.name.clone(), value.clone());
        }
        let opposite = format!("no-{}", dashed(&param.name));
        if matches.try_get_one::<bool>(&opposite).ok().flatten() == Some(&true) {
            values.insert(param.name.clone(), Value::Bool(false));
        }
    }
    params::fold(params, &mut values);
    values
}

/// The words of a command line, with the numbers after `--gpu` joined to it: `--gpu 0,1` is `--gpu=0,1`, but `--gpu anna` is a flag and a voice.
///
/// In clap, a flag with an optional value after a blank would take the next word, whatever it is.
pub fn joined(params: &[Param], words: Vec<OsString>) -> Vec<OsString> {
    let flags = params.iter().filter(|param| param.kind == Kind::Devices);
    let flags: Vec<String> = flags
        .flat_map(|param| [&param.name].into_iter().chain(&param.aliases).map(|name| format!("--{}", dashed(name))))
        .collect();
    let names_devices = |word: &OsString| {
        let text = word.to_string_lossy();
        text == "cpu" || !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == ',')
    };
    let mut made: Vec<OsString> = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            made.push(word);
            break;
        }
        let is_flag = flags.iter().any(|flag| word.to_str() == Some(flag));
        match words.next_if(|next| is_flag && names_devices(next)) {
            Some(next) => {
                let mut both = word;
                both.push("=");
                both.push(next);
                made.push(both);
            }
            None => made.push(word),
        }
    }
    made.extend(words);
    made
}

fn argument(param: &Param) -> Arg {
    let parser = param.clone();
    let argument = Arg::new(param.name.clone())
        .help(help(param))
        .required(param.value.is_none())
        .value_parser(ValueParser::new(move |text: &str| parser.parse(text)));
    if param.positional {
        return argument.value_name(param.name.to_uppercase());
    }
    let aliases: Vec<String> = param.aliases.iter().map(|alias| dashed(alias)).collect();
    let argument = argument.long(dashed(&param.name)).visible_aliases(aliases);
    match param.kind {
        Kind::Flag => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .hide_possible_values(true),
        Kind::Devices => argument.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("GPUS"),
        Kind::Floats => argument.value_name("X,X").allow_negative_numbers(true),
        Kind::Assignments => argument.value_name("NAME=VALUE").action(ArgAction::Append),
        Kind::Int => argument.value_name("N").allow_negative_numbers(true),
        Kind::Float => argument.value_name("X").allow_negative_numbers(true),
        Kind::Text => argument.value_name("TEXT"),
        Kind::Texts => argument.value_name("TEXT").num_args(1..).action(ArgAction::Append),
    }
}

/// The parameter's help with the allowed values and the default.
fn help(param: &Param) -> String {
    let mut parts = vec![param.help.clone()];
    if !param.limits.one_of.is_empty() {
        parts.push(format!("[one of: {}]", param.limits.choices()));
    }
    let unit = if param.unit.is_empty() { String::new() } else { format!(" {}", param.unit) };
    if !param.limits.range().is_empty() {
        parts.push(format!("[{}]", param.limits.range()));
    }
    let is_nothing = |v: &Value| {
        matches!(v, Value::Null | Value::Bool(false))
            || ["", "{}"].iter().any(|text| v == text)
            || *v == Value::Array(Vec::new())
    };
    if !param.otherwise.is_empty() {
        parts.push(format!("[default: {}]", param.otherwise));
    } else if let Some(value) = param.value.as_ref().filter(|v| !is_nothing(v)) {
        parts.push(format!("[default: {}{unit}]", shown(value)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

/// The heading of a flag: its group, with a capital letter. A parameter without a group is among clap's own options.
fn heading(param: &Param) -> Option<String> {
    if param.positional {
        return None;
    }
    let mut letters = param.group.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect())
}

/// A text with each paragraph as one line, so that it is wrapped once, at the terminal's width. Lines that begin with a blank or a list marker stay.
fn unwrapped(text: &str) -> String {
    let mut made = String::new();
    let mut joins = false;
    for line in text.lines() {
        let line = line.trim_end();
        let stays = line.is_empty() || line.starts_with([' ', '*', '-', '|', '#', '`']);
        if !made.is_empty() {
            made.push(if joins && !stays { ' ' } else { '\n' });
        }
        made.push_str(line);
        joins = !line.is_empty();
    }
    made
}

fn dashed(name: &str) -> String {
    name.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_lines_and_lists_stay() {
        let doc = "First line.\n\nReads a\nand b:\n\n* one\n* two\n  more\n\nThe\nend.";
        assert_eq!(unwrapped(doc), "First line.\n\nReads a and b:\n\n* one\n* two\n  more\n\nThe end.");
    }
}
