//! `rvc-run settings [NAME]`: every setting, or all there is to know of one.

use super::terminal::Terminal;
use clap::{Arg, ArgMatches, Command};
use rvc_run::config::settings::{Kind as Type, Setting, shown};
use rvc_run::config::{setting_called, settings};
use rvc_run::error::nearest;
use rvc_run::{Error, Kind, Result};

pub fn command() -> Command {
    Command::new("settings")
        .about("Show every setting with its default, or all about one")
        .arg(Arg::new("name").value_name("NAME").help("such as learning_rate"))
}

pub fn run(terminal: &Terminal, given: &ArgMatches) -> Result<()> {
    match given.get_one::<String>("name") {
        Some(name) => one(terminal, find(name)?),
        None => all(terminal),
    }
    Ok(())
}

/// The setting of a name, a flag or an alias, with underscores or dashes.
fn find(name: &str) -> Result<&'static Setting> {
    setting_called(name).map(|(one, _)| one).ok_or_else(|| {
        let error = Error::new(Kind::Usage, format!("there is no setting {name:?}"));
        match nearest(&name.replace('-', "_"), settings().iter().map(|one| one.name.as_str())) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("rvc-run settings lists all of them"),
        }
    })
}

fn all(terminal: &Terminal) {
    let width = |text: fn(&Setting) -> usize| settings().iter().map(text).max().unwrap_or(0);
    let (names, values) = (width(|one| one.name.len()), width(|one| shown(&one.default).len()));
    let mut group = "";
    let mut ordered: Vec<&Setting> = settings().iter().collect();
    let groups: Vec<&str> = ordered.iter().map(|one| one.group.as_str()).collect();
    // Fields of one group need not stand together: new ones go to the end.
    ordered.sort_by_key(|one| groups.iter().position(|group| *group == one.group));
    for one in ordered {
        if one.group != group {
            terminal.print(&format!("{}{}:", if group.is_empty() { "" } else { "\n" }, one.group));
            group = &one.group;
        }
        terminal.print(&format!("  {:<names$}  {:<values$}  {}", one.name, shown(&one.default), one.help));
    }
    terminal.print("\nrvc-run settings NAME shows what is allowed and what a change reruns. A flag or --set NAME=VALUE changes a setting.");
}

fn one(terminal: &Terminal, one: &Setting) {
    let dashed = |name: &str| format!("--{}", name.replace('_', "-"));
    let flags: Vec<String> = [&one.flag].into_iter().chain(&one.aliases).map(|name| dashed(name)).collect();
    let allowed = match one.kind {
        Type::Flag | Type::Devices => "true or false".to_owned(),
        _ => [one.limits.choices(), one.limits.range()].into_iter().find(|text| !text.is_empty()).unwrap_or_default(),
    };
    terminal.print(&format!("{}: {}", one.name, one.help));
    for paragraph in one.more.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        terminal.print(&format!("\n{paragraph}"));
    }
    terminal.print("");
    for (what, value) in [
        ("default", shown(&one.default)),
        ("allowed", allowed),
        ("unit", one.unit.clone()),
        ("group", one.group.clone()),
        ("reruns", one.remade()),
        ("flag", flags.join(", ")),
    ] {
        if !value.is_empty() {
            terminal.print(&format!("{what:<12}{value}"));
        }
    }
}
