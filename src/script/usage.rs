//! Mistakes on a command line in the words of all other errors: what is wrong, with which value, what is allowed, what was probably meant.
//!
//! clap finds the mistake; its own text looks different from ours, and it suggests hidden flags.

use crate::error::nearest;
use crate::{Error, Kind};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use std::error::Error as _;

/// The subcommand that the words behind the program's name call, the last one that is known. `program` must be built.
pub fn called<'a>(program: &'a Command, words: &[String]) -> &'a Command {
    let mut command = program;
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if let Some(flag) = word.strip_prefix("--") {
            let takes_value = |arg: &&Arg| arg.get_long() == Some(flag) && arg.get_action().takes_values();
            if command.get_arguments().any(|arg| takes_value(&arg)) {
                words.next();
            }
        } else if !word.starts_with('-') {
            let Some(next) = command.find_subcommand(word) else { break };
            command = next;
        }
    }
    command
}

/// What clap refuses as an error of the kind `usage`; `command` is what was called, built.
pub fn error(command: &Command, refused: &clap::Error) -> Error {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let text = |kind| match refused.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let (given, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let wrong = |message: String| Error::new(Kind::Usage, message);
    let flag = plain(&given);
    match refused.kind() {
        ErrorKind::UnknownArgument if given.starts_with('-') => unknown_flag(command, name, flag),
        ErrorKind::UnknownArgument => {
            wrong(format!("{given:?} is one argument too many")).hint(format!("it is called as {}", usage(command)))
        }
        ErrorKind::InvalidSubcommand => unknown_command(command, name, &text(ContextKind::InvalidSubcommand)),
        ErrorKind::InvalidValue if value.is_empty() => {
            let missing = wrong(format!("{flag} needs a value"));
            match about(command, flag) {
                Some(help) => missing.hint(format!("{given}: {help}")),
                None => missing,
            }
        }
        ErrorKind::InvalidValue => {
            let allowed = match refused.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(texts)) => texts.clone(),
                _ => Vec::new(),
            };
            let error = wrong(format!("{flag} is {}, but must be one of {}", shown(&value), allowed.join(", ")));
            match nearest(&value, allowed.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error,
            }
        }
        ErrorKind::ValueValidation => {
            let why = refused.source().map(ToString::to_string).unwrap_or_default();
            let (why, hint) = why.split_once("; ").unwrap_or((&why, ""));
            let error = wrong(format!("{flag} is {}, but {why}", shown(&value)));
            if hint.is_empty() { error } else { error.hint(hint) }
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = wrong(format!("{name} needs {flag}"));
            match about(command, flag) {
                Some(help) => missing.hint(format!("{flag}: {help}")),
                None => missing.hint(format!("it is called as {}", usage(command))),
            }
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg);
            wrong(format!("{flag} and {} exclude each other", plain(&other))).hint("leave out one of the two")
        }
        _ => {
            let said = refused.render().to_string();
            let said = said.lines().next().unwrap_or_default();
            wrong(said.trim_start_matches("error: ").to_owned()).hint(format!("`{name} --help` shows how it is called"))
        }
    }
}

fn unknown_flag(command: &Command, name: &str, flag: &str) -> Error {
    let error = Error::new(Kind::Usage, format!("{name} has no flag {flag}"));
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let long = shown.filter_map(Arg::get_long_and_visible_aliases).flatten();
    let near = flag.strip_prefix("--").and_then(|given| nearest(given, long));
    match near {
        Some(near) => error.hint(format!("did you mean --{near}?")),
        None if command.is_allow_external_subcommands_set() => {
            error.hint(format!("flags of a recipe stand behind its name; `{name} --help` shows the others"))
        }
        None => error.hint(format!("`{name} --help` shows all; put -- before a name that begins with a dash")),
    }
}

fn unknown_command(command: &Command, name: &str, word: &str) -> Error {
    let error = Error::new(Kind::Usage, format!("{name} has no command {word:?}"));
    let known = || command.get_subcommands().filter(|one| !one.is_hide_set()).map(Command::get_name);
    match nearest(word, known()) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error.hint(format!("commands are: {}", known().collect::<Vec<_>>().join(", "))),
    }
}

/// The help of an argument, on one line.
fn about(command: &Command, name: &str) -> Option<String> {
    let is = |arg: &&Arg| match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => arg.get_value_names().is_some_and(|names| names.iter().any(|one| *one == name)),
    };
    let help = command.get_arguments().find(is)?.get_help()?.to_string();
    (!help.is_empty()).then(|| help.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// "rvc-run train_voice [OPTIONS] <VOICE>".
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// "--epochs" of clap's "--epochs <N>", "VOICE" of its "<VOICE>".
fn plain(argument: &str) -> &str {
    if argument.starts_with('-') {
        argument.split([' ', '=', '[']).next().unwrap_or_default().trim_end_matches('.')
    } else {
        argument.split(' ').next().unwrap_or_default().trim_matches(['<', '>', '[', ']', '.'])
    }
}

/// A value as it was typed, in quotes where it would not be seen otherwise.
fn shown(value: &str) -> String {
    if value.is_empty() || value.contains(char::is_whitespace) { format!("{value:?}") } else { value.to_owned() }
}
