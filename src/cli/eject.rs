//! `rvc-run eject` and `rvc-run new`: the program's scripts as files, to be changed.

use super::terminal::Terminal;
use clap::{Arg, ArgAction, ArgMatches, Command};
use rvc_run::eject::{self, Made};
use rvc_run::files::Workspace;
use rvc_run::shown::counted;
use rvc_run::{Result, shell, shipped};
use std::path::PathBuf;

/// What `eject` takes.
pub fn command() -> Command {
    Command::new("eject")
        .about("Write a recipe or a script of the standard library into the workspace, to be changed there")
        .arg(
            Arg::new("names")
                .required(true)
                .num_args(1..)
                .value_name("NAME")
                .help("such as recipes/train_voice or stdlib/training; a bare name too, where it means one script"),
        )
        .arg(Arg::new("force").long("force").action(ArgAction::SetTrue).help("replace a file that is there already"))
}

/// What `new` takes.
pub fn new_command() -> Command {
    Command::new("new").about("Make a folder for voices: recipes to change, and data/ for recordings").arg(
        Arg::new("folder")
            .required(true)
            .value_name("DIR")
            .value_parser(clap::value_parser!(PathBuf))
            .help("a new or empty folder, or a workspace to complete"),
    )
}

/// Writes the named scripts. Errors: those of [`eject::script`].
pub fn eject(terminal: &Terminal, workspace: &Workspace, given: &ArgMatches) -> Result<()> {
    for name in given.get_many::<String>("names").into_iter().flatten() {
        let path = eject::script(workspace, name, given.get_flag("force"))?;
        let is_recipe = path.parent().is_some_and(|folder| folder.ends_with(shipped::RECIPES_FOLDER));
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let user = if is_recipe { format!("`rvc-run {stem}` now uses") } else { "recipes now use".to_owned() };
        terminal.print(&format!("{}: {user} this copy", path.display()));
    }
    Ok(())
}

/// Makes a workspace and says what to do in it. Errors: those of [`eject::workspace`].
pub fn new(terminal: &Terminal, given: &ArgMatches) -> Result<()> {
    let Some(folder) = given.get_one::<PathBuf>("folder") else { return Ok(()) };
    let made = eject::workspace(folder)?;
    let shown = folder.display().to_string();
    let what = match made {
        Made::New => format!("made {shown}"),
        Made::Completed(0) => format!("{shown} is a workspace already, and nothing is missing"),
        Made::Completed(n) => format!("{shown} was a workspace already: added {}", counted(n, "missing file")),
    };
    let enter = if shown == "." { String::new() } else { format!("\n  cd {}", shell::quote(&shown)) };
    terminal.print(&format!(
        "{what}

next:{enter}
  rvc-run quickstart              try everything in minutes, without a download
  put recordings into data/anna/  data/README.md says what makes good ones
  rvc-run train_voice anna        train the voice anna with them

The recipes are in recipes/, to be changed. `rvc-run eject stdlib/training` writes out a part of the standard library too."
    ));
    Ok(())
}
