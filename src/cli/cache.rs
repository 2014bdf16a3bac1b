//! `rvc-run cache`: shows, explains, checks and prunes the cache.

use super::terminal::Terminal;
use clap::{Arg, ArgMatches, Command};
use rvc_run::cache::{Cache, Tally};
use rvc_run::files::Workspace;
use rvc_run::prepare::inspect;
use rvc_run::script::bind::text;
use rvc_run::task::Task;
use rvc_run::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The subcommand's options.
pub fn command() -> Command {
    let number = |name: &'static str, value: &'static str, default: &'static str, help: &'static str| {
        let parser = |text: &str| text.parse::<f64>().map_err(|_| "must be a number");
        Arg::new(name).long(name).value_name(value).value_parser(parser).default_value(default).help(help)
    };
    Command::new("cache")
        .about("Show, explain, verify and clean the cached results")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("status").about("Show entries and bytes by stage and by voice"))
        .subcommand(
            Command::new("explain").about("Show for each stage of a file its key, hit or miss, and what differs").arg(
                Arg::new("file")
                    .required(true)
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("a recording below data/, or a clip or feature below logs/"),
            ),
        )
        .subcommand(
            Command::new("verify")
                .about("Verify entries by their SHA-256; exits with 1 if one is damaged")
                .arg(number("subset", "P", "100", "percent of the entries, spread evenly")),
        )
        .subcommand(
            Command::new("prune").about("Remove entries that no run has used lately; files in logs/ stay").arg(number(
                "keep-days",
                "N",
                "30",
                "days since the last use; 0 removes all",
            )),
        )
        .subcommand(
            Command::new("clear")
                .about("Remove the entries of one voice that no other voice uses; files in logs/ stay")
                .arg(
                    Arg::new("voice")
                        .required(true)
                        .value_name("VOICE")
                        .help("name as shown by `rvc-run cache status`"),
                ),
        )
}

/// Runs the subcommand. Errors: `usage` for a number out of its range; `data.damaged`; those of the work itself.
pub fn run(terminal: &Terminal, workspace: &Workspace, task: &Task, given: &ArgMatches) -> Result<()> {
    let cache = Cache::open(workspace.cache())?;
    match given.subcommand() {
        Some(("status", _)) => status(terminal, workspace, task, &cache),
        Some(("explain", given)) => {
            let Some(file) = given.get_one::<PathBuf>("file") else { return Ok(()) };
            let lines = inspect::explain(task, workspace, &cache, file)?;
            let rows: Vec<Vec<String>> =
                lines.into_iter().map(|line| vec![line.voice, line.stage, line.state.to_owned(), line.why]).collect();
            print(terminal, &inspect::COLUMNS, &rows);
            Ok(())
        }
        Some(("verify", given)) => verify(terminal, task, &cache, within(given, "subset", 100.0)?),
        Some(("prune", given)) => {
            let seconds = within(given, "keep-days", 36500.0)? * 86400.0;
            removed(terminal, &cache.prune(Duration::from_secs_f64(seconds))?);
            Ok(())
        }
        Some(("clear", given)) => {
            let Some(voice) = given.get_one::<String>("voice") else { return Ok(()) };
            removed(terminal, &inspect::clear(task, workspace, &cache, voice)?);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn within(given: &ArgMatches, name: &str, most: f64) -> Result<f64> {
    let value = given.get_one::<f64>(name).copied().unwrap_or_default();
    if (0.0..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::new(Kind::Usage, format!("--{name} is {value}, but must be between 0 and {most}")))
}

fn print(terminal: &Terminal, head: &[&str], rows: &[Vec<String>]) {
    let head: Vec<String> = head.iter().map(|&title| title.to_owned()).collect();
    for line in text::table(&head, rows) {
        terminal.print(&line);
    }
}

fn status(terminal: &Terminal, workspace: &Workspace, task: &Task, cache: &Cache) -> Result<()> {
    let mut stages: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for entry in cache.stored()? {
        let (entries, bytes) = stages.entry(entry.key.stage().to_owned()).or_default();
        (*entries, *bytes) = (*entries + 1, *bytes + entry.bytes);
    }
    let row = |name: String, entries: u64, bytes: u64| vec![name, entries.to_string(), megabytes(bytes)];
    let rows: Vec<Vec<String>> = stages.into_iter().map(|(name, (n, bytes))| row(name, n, bytes)).collect();
    terminal.print(&cache.root().display().to_string());
    if rows.is_empty() {
        terminal.print("the cache is empty");
        return Ok(());
    }
    print(terminal, &["stage", "entries", "size"], &rows);
    let voices = inspect::voices_in(task, workspace, cache)?;
    let rows: Vec<Vec<String>> = voices.into_iter().map(|(name, n, bytes)| row(name, n, bytes)).collect();
    terminal.print("");
    print(terminal, &["voice", "entries", "size"], &rows);
    Ok(())
}

fn verify(terminal: &Terminal, task: &Task, cache: &Cache, percent: f64) -> Result<()> {
    let tally = cache.check_part(task, percent / 100.0)?;
    tally.damaged.iter().for_each(|what| terminal.print(&format!("DAMAGED  {what}")));
    terminal.print(&format!("{} entries read, {} damaged", tally.entries, tally.damaged.len()));
    if tally.damaged.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::DataDamaged, format!("{} of {} entries are damaged", tally.damaged.len(), tally.entries))
        .hint("nothing is lost: damaged entries are rebuilt when they are needed"))
}

fn removed(terminal: &Terminal, tally: &Tally) {
    terminal.print(&format!("{} entries removed, {}", tally.entries, megabytes(tally.bytes)));
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
