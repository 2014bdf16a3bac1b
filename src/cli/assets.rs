//! `rvc-run assets`: lists, fetches, verifies and finds pretrained files.

use super::terminal::Terminal;
use clap::{Arg, ArgAction, ArgMatches, Command};
use rvc_run::assets::catalog::Asset;
use rvc_run::assets::fetch::{self, Options};
use rvc_run::assets::store::remedy;
use rvc_run::assets::verify::{self, State};
use rvc_run::assets::{self, Store};
use rvc_run::config::choices::Version;
use rvc_run::config::settings::shown;
use rvc_run::config::{Config, setting};
use rvc_run::task::Task;
use rvc_run::{Error, Kind, Result};
use std::path::PathBuf;

/// The subcommand's options.
pub fn command() -> Command {
    let names = |help: &'static str| Arg::new("names").num_args(0..).value_name("NAME").help(help);
    Command::new("assets")
        .about("List, fetch and verify pretrained files")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List the catalog's files: size, where they are, what they are for"))
        .subcommand(
            Command::new("fetch")
                .about("Download missing files and verify them by SHA-256; an interrupted download resumes where it stopped")
                .after_help(
                    "Files go to the workspace's assets/ if it exists, else to the first existing folder of RVC_RUN_ASSETS (into its assets/, if it has one), else to the \
                    user's cache folder. An existing file is never replaced.\n\nEnvironment: RVC_RUN_MIRROR or HF_ENDPOINT \
                     (servers), RVC_RUN_OFFLINE=1, HTTPS_PROXY, NO_PROXY.",
                )
                .arg(names("default: what train_voice needs with the three flags below"))
                .arg(choice("sample-rate", "sample_rate", "HZ", "rate of the voice"))
                .arg(choice("rvc-version", "version", "VERSION", "architecture of the voice"))
                .arg(flag("no-f0", "for a voice without pitch").conflicts_with("names"))
                .arg(folder("dir", "where the files go"))
                .arg(
                    Arg::new("mirror")
                        .long("mirror")
                        .value_name("URL")
                        .action(ArgAction::Append)
                        .help("server to use instead of huggingface.co; several are tried in order"),
                )
                .arg(flag("offline", "use no network; report what is missing"))
                .arg(flag("unverified", "also fetch files without a published digest")),
        )
        .subcommand(
            Command::new("verify")
                .about("Compare files with their SHA-256; exits with 1 if one is damaged or missing from its folder")
                .arg(names("default: all files on this machine")),
        )
        .subcommand(
            Command::new("where")
                .about("Print the path of a file, or without a name where new files go")
                .arg(Arg::new("name").value_name("NAME").help("name as shown by `rvc-run assets list`")),
        )
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A flag with the values and the default of a setting.
fn choice(name: &'static str, of: &str, value: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).value_name(value).conflicts_with("names").help(help);
    let Some(setting) = setting(of) else { return arg };
    let words: Vec<String> = setting.limits.one_of.iter().map(shown).collect();
    arg.value_parser(clap::builder::PossibleValuesParser::new(words)).default_value(shown(&setting.default))
}

fn folder(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("DIR").value_parser(clap::value_parser!(PathBuf)).help(help)
}

/// Runs the subcommand. Errors: `usage` for a name that does not exist, and those of the work itself.
pub fn run(terminal: &Terminal, store: Store, task: &Task, given: &ArgMatches) -> Result<()> {
    for what in store.warnings() {
        task.warn(what);
    }
    match given.subcommand() {
        Some(("list", _)) => list(terminal, &store),
        Some(("fetch", given)) => return fetch(terminal, store, task, given),
        Some(("verify", given)) => return verify(terminal, &store, task, &names(&store, given)?),
        Some(("where", given)) => return find(terminal, &store, given.get_one::<String>("name")),
        _ => {}
    }
    Ok(())
}

fn list(terminal: &Terminal, store: &Store) {
    let assets = &store.catalog().assets;
    let width = assets.iter().map(|asset| asset.name.len()).max().unwrap_or(0);
    for asset in assets {
        let size = asset.bytes().map_or("?".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        let place = store.find_whole(asset).map_or("-".to_owned(), |path| path.display().to_string());
        let mark = match (asset.is_published(), asset.is_verifiable()) {
            (false, _) => " (by hand)",
            (_, false) => " (no published digest)",
            _ => "",
        };
        terminal.print(&format!("{:<width$}  {size:>8}  {place}  {}{mark}", asset.name, asset.purpose));
    }
}

/// The names that were given, each in the catalog. Errors: `usage`.
fn names(store: &Store, given: &ArgMatches) -> Result<Vec<String>> {
    let names = given.get_many::<String>("names").into_iter().flatten();
    names.map(|name| known(store, name).map(|asset| asset.name.clone())).collect()
}

fn known<'a>(store: &'a Store, name: &str) -> Result<&'a Asset> {
    // A wrong name is config.value in settings, but usage on the command line.
    store
        .catalog()
        .asset(name)
        .map_err(|e| Error::new(Kind::Usage, e.message()).hint(e.hint_text().unwrap_or_default()))
}

fn fetch(terminal: &Terminal, store: Store, task: &Task, given: &ArgMatches) -> Result<()> {
    let mut options = Options::with_environment(|name| std::env::var(name).ok());
    options.offline |= given.get_flag("offline");
    options.unverified = given.get_flag("unverified");
    if let Some(mirrors) = given.get_many::<String>("mirror") {
        options.mirrors = mirrors.cloned().collect();
    }
    let store = match given.get_one::<PathBuf>("dir") {
        Some(folder) => store.into_folder(folder.clone()),
        None => store,
    };
    let mut names = names(&store, given)?;
    if names.is_empty() {
        names = usual(&store, given);
    }
    for done in fetch::fetch(&store, &names, &options, task)? {
        for (path, digest) in &done.unverified {
            task.warn(format!("{} could not be verified: its digest is not published; it is {digest}", path.display()));
        }
        let what = if done.bytes == 0 { "is there" } else { "fetched" };
        terminal.print(&format!("{}: {what}: {}", done.name, done.path.display()));
    }
    Ok(())
}

/// What train_voice needs by default, or a replacement that is there already.
fn usual(store: &Store, given: &ArgMatches) -> Vec<String> {
    let text = |name: &str| given.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let usual = assets::usual();
    let config = Config {
        sample_rate: text("sample-rate").parse().unwrap_or(usual.sample_rate),
        version: Version::named(text("rvc-version")).unwrap_or(usual.version),
        if_f0: !given.get_flag("no-f0"),
        ..usual
    };
    let mut names = assets::needed(&config);
    for name in &mut names {
        if let Ok((asset, _)) = store.locate_or_twin(name) {
            name.clone_from(&asset.name);
        }
    }
    names
}

fn verify(terminal: &Terminal, store: &Store, task: &Task, given: &[String]) -> Result<()> {
    for name in given {
        // For an incomplete asset, each file is reported below.
        if store.find_incomplete(known(store, name)?).is_none() {
            store.locate(name)?;
        }
    }
    let all = || store.catalog().assets.iter().map(|asset| asset.name.clone()).collect();
    let names: Vec<String> = if given.is_empty() { all() } else { given.to_vec() };
    let checked = verify::verify(store, &names, task)?;
    if checked.is_empty() {
        terminal.print("there is nothing to verify: no pretrained file is here");
    }
    let (mut damaged, mut incomplete) = (Vec::new(), Vec::new());
    for file in checked {
        let path = file.path.display();
        terminal.print(&match file.state {
            State::Good => format!("ok       {path}"),
            State::AsFetched => {
                format!("ok       {path}: unchanged since it was fetched (its digest is not published)")
            }
            State::Unknown { got } => format!("unknown  {path}: SHA-256 is {got}, none is published"),
            State::Damaged { expected, got } => {
                damaged.push(file.name);
                format!("DAMAGED  {path}: SHA-256 is {got}, but must be {expected}")
            }
            State::Missing => {
                incomplete.push(file.name);
                format!("MISSING  {path}")
            }
        });
    }
    damaged.dedup();
    incomplete.dedup();
    let bad = [("damaged", &damaged), ("incomplete", &incomplete)];
    let bad = bad.iter().filter(|(_, names)| !names.is_empty());
    let message = bad.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect::<Vec<_>>().join("; ");
    if !damaged.is_empty() {
        return Err(Error::new(Kind::AssetDamaged, message).hint(
            "delete the file and fetch it again; rename a file of your own and use the new name in the settings",
        ));
    }
    if !incomplete.is_empty() {
        let assets = incomplete.iter().map(|name| known(store, name)).collect::<Result<Vec<_>>>()?;
        return Err(
            Error::new(Kind::AssetMissing, message).hint(format!("{}; or delete the incomplete copy", remedy(&assets)))
        );
    }
    Ok(())
}

fn find(terminal: &Terminal, store: &Store, name: Option<&String>) -> Result<()> {
    let path = match name {
        Some(name) => {
            known(store, name)?;
            store.locate(name)?
        }
        None => store.target().to_owned(),
    };
    terminal.print(&path.display().to_string());
    Ok(())
}
