//! The command line: which command or recipe, signals, exit codes. Only this file and `terminal` print or exit.

mod assets;
mod cache;
mod eject;
mod settings;
mod terminal;
mod track;
mod ui;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};
use crossbeam::channel::{self, RecvTimeoutError};
use rvc_run::address::without_password;
use rvc_run::assets::Store;
use rvc_run::config::idle;
use rvc_run::files::Workspace;
use rvc_run::guide;
use rvc_run::jobs;
use rvc_run::nn::runtime;
use rvc_run::script::diagnostic::Severity;
use rvc_run::script::flags::{self, Common};
use rvc_run::script::native::Natives;
use rvc_run::script::params::Param;
use rvc_run::script::run::{self, CANCELLED, DONE, FAILED, WRONG_USE};
use rvc_run::script::{Call, Child, Diagnostic, Host, Script, Session, catalog, check, docs, params, usage};
use rvc_run::shipped;
use rvc_run::task::{Signals, Task};
use rvc_run::track::machine::Machine;
use rvc_run::{Error, Kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use terminal::Terminal;

const COMMANDS: &[&str] =
    &["check", "list", "settings", "docs", "guide", "eject", "new", "doctor", "assets", "cache", "track", "ui", "help"];

/// Printed by `rvc-run` without arguments.
const FIRST_STEPS: &str = "\
rvc-run trains RVC voices from recordings.

first:
  rvc-run quickstart              try everything in minutes, without a download
  rvc-run new my-voices           make a folder for your voices, with recipes to change
  rvc-run train_voice anna        train a voice with the recordings in data/anna/
  rvc-run convert anna song.wav   convert a recording into that voice

more:
  rvc-run list                    the recipes there are
  rvc-run help train_voice        the settings of one
  rvc-run guide                   guides of one topic each
  rvc-run doctor                  what was found on this machine, and what is missing
  rvc-run --help                  all commands";

/// Time between two checks for a signal.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two updates of a live line's GPU numbers.
const GAUGE_INTERVAL: Duration = Duration::from_secs(2);

/// The signals of the running task, once there is a task.
static SIGNALS: OnceLock<Signals> = OnceLock::new();

fn main() -> ExitCode {
    let terminal = Arc::new(Terminal::new());
    terminal.listen();
    let (send, receive) = channel::bounded(1);
    let shown = terminal.clone();
    // Scripts are parsed and run on a thread with a big stack; this thread stays free to answer signals.
    let thread = std::thread::Builder::new().name("script".into()).stack_size(run::STACK_BYTES).spawn(move || {
        // The receiver is dropped only when the process ends.
        let _ = send.send(command(&shown));
    });
    if let Err(error) = thread {
        terminal.note(&format!("error: cannot start a thread: {error}"));
        return ExitCode::from(FAILED);
    }
    let mut reported = false;
    let mut gauge = Gauge::default();
    loop {
        match receive.recv_timeout(SIGNAL_INTERVAL) {
            Ok(code) => {
                terminal.exit(code);
                report(&terminal, code);
                return ExitCode::from(code);
            }
            // The thread ended without a code: it panicked, and Rust has printed why.
            Err(RecvTimeoutError::Disconnected) => return ExitCode::from(FAILED),
            Err(RecvTimeoutError::Timeout) => {
                gauge.show(&terminal);
                terminal.tick();
            }
        }
        if !reported && SIGNALS.get().is_some_and(Signals::any) {
            reported = true;
            terminal.note("stopping: the step is finished and saved first; press Ctrl-C again to stop at once");
        }
    }
}

/// Reports how the program ended to the program that started it as a job: the very last act, because it means that everything else is done and saved.
fn report(terminal: &Terminal, code: u8) {
    let Some(path) = result_file() else { return };
    let warnings = terminal.warnings() as u64;
    let job = jobs::Report { exit: Some(i32::from(code)), warnings, ..jobs::read_report(&path) };
    if let Err(error) = jobs::report(&path, &job) {
        terminal.diagnostic(&Diagnostic::from(&error));
    }
}

/// Adds the error that stopped the recipe to the job's report, as `error`: `code`, `message` and, if it has one, `hint`.
fn report_error(terminal: &Terminal, diagnostics: &[Diagnostic]) {
    let stopped = diagnostics.iter().rfind(|diagnostic| diagnostic.severity == Severity::Error);
    let (Some(path), Some(error)) = (result_file(), stopped) else { return };
    let mut job = jobs::read_report(&path);
    if !job.result.is_object() {
        job.result = json!({});
    }
    job.result["error"] = error.to_json();
    job.lasting = !Kind::code_may_pass(&error.code);
    if let Err(error) = jobs::report(&path, &job) {
        terminal.diagnostic(&Diagnostic::from(&error));
    }
}

/// The file for a job's report, if this program runs as a job.
fn result_file() -> Option<PathBuf> {
    std::env::var_os(jobs::RESULT_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The options of this command line that jobs started by a recipe inherit. Their output is a log for people, so never --json.
fn child(common: &Common) -> Child {
    let mut flags: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: Option<String>| flags.extend(value.map(|value| format!("--{flag}={value}")));
    add("workspace", common.workspace.is_some().then(|| workspace(common).root().display().to_string()));
    add("tracking-uri", common.tracking_uri.clone());
    add("experiment", common.experiment.clone());
    flags.extend(common.quiet.then(|| "--quiet".to_owned()));
    flags.extend((0..common.verbose).map(|_| "--verbose".to_owned()));
    Child { program: None, flags, threads: common.threads, parent: common.parent.clone(), report: result_file() }
}

/// The command line, for other commands that the recipe prints.
fn call(common: &Common, word: &str, params: &[Param], typed: BTreeMap<String, Value>) -> Call {
    let mut program = vec!["rvc-run".to_owned()];
    let mut add = |flag: &str, value: Option<String>| {
        program.extend(value.into_iter().flat_map(|value| [format!("--{flag}"), value]));
    };
    add("workspace", common.workspace.as_ref().map(|path| path.display().to_string()));
    add("threads", common.threads.map(|n| n.to_string()));
    // An address with a password is not printed.
    add("tracking-uri", common.tracking_uri.clone().filter(|uri| without_password(uri) == uri.as_str()));
    add("experiment", common.experiment.clone());
    let params = params.iter().map(|param| (param.name.clone(), param.positional)).collect();
    Call { program, recipe: word.to_owned(), params, typed }
}

/// The GPU's load, shown during a long stage.
#[derive(Default)]
struct Gauge {
    /// None before the first long stage; then the GPUs found, if any.
    machine: Option<Machine>,
    shown: Option<Instant>,
}

impl Gauge {
    fn show(&mut self, terminal: &Terminal) {
        if !terminal.is_busy() || self.shown.is_some_and(|shown| shown.elapsed() < GAUGE_INTERVAL) {
            return;
        }
        self.shown = Some(Instant::now());
        terminal.set_status(self.machine.get_or_insert_with(Machine::gpus).gpu_line());
    }
}

/// Runs the command line and returns the exit code.
fn command(terminal: &Arc<Terminal>) -> u8 {
    let words: Vec<OsString> = std::env::args_os().collect();
    let mut program = outer();
    let matches = match program.try_get_matches_from_mut(&words) {
        Ok(matches) => matches,
        Err(error) => return refused(terminal, program, &words, &error),
    };
    let common = Common::of(&matches);
    set_up(terminal, &common);
    let done = match matches.subcommand() {
        Some(("check", given)) => return check_files(terminal, &common, given),
        Some(("list", _)) => list(terminal, &common),
        Some(("settings", given)) => settings::run(terminal, given),
        Some(("docs", given)) => write_docs(terminal, &common, given),
        Some(("guide", given)) => guide(terminal, given),
        Some(("eject", given)) => eject::eject(terminal, &workspace(&common), given),
        Some(("new", given)) => eject::new(terminal, given),
        Some(("help", given)) => return help(terminal, common, given),
        Some(("doctor", _)) => return doctor(terminal, &common),
        Some(("assets", given)) => return assets(terminal, &common, given),
        Some(("cache", given)) => {
            return interruptible(terminal, &common, |task| cache::run(terminal, &workspace(&common), task, given));
        }
        Some(("track", given)) => {
            return interruptible(terminal, &common, |task| {
                track::run(terminal, &workspace(&common), task, &common, given)
            });
        }
        Some(("ui", given)) => {
            return interruptible(terminal, &common, |task| {
                ui::run(terminal, &workspace(&common), task, &common, given)
            });
        }
        Some((word, given)) => {
            let rest: Vec<OsString> = given.get_many::<OsString>("").into_iter().flatten().cloned().collect();
            return recipe(terminal, common, word, rest);
        }
        None => {
            terminal.note(FIRST_STEPS);
            return WRONG_USE;
        }
    };
    match done {
        Ok(()) => DONE,
        Err(error) => fail(terminal, &error),
    }
}

/// How much is shown, and in which format.
fn set_up(terminal: &Terminal, common: &Common) {
    terminal.set_json(common.json);
    terminal.set_level(common.quiet, common.verbose);
}

fn outer() -> Command {
    Command::new("rvc-run")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Trains RVC voices from recordings, driven by recipes.")
        .after_help("A recipe is a file such as recipes/train_voice.rhai, or a bare name: rvc-run train_voice anna --epochs 500. A bare name means the file in\nrecipes/ if there is one, else the recipe in the program; so does recipes/NAME.rhai.\nrvc-run help RECIPE shows the settings of a recipe.")
        .override_usage("rvc-run [OPTIONS] <RECIPE> [ARGS]...\n       rvc-run [OPTIONS] <COMMAND>")
        .allow_external_subcommands(true)
        .disable_help_subcommand(true)
        .args(flags::common().map(|argument| argument.global(true)))
        .subcommand(
            Command::new("check")
                .about("Find mistakes in recipes without running them")
                .arg(Arg::new("files").num_args(0..).value_parser(clap::value_parser!(PathBuf)).value_name("FILE").help("a path, or the name of a recipe [default: every recipe that `rvc-run list` shows]")),
        )
        .subcommand(Command::new("list").about("List the recipes: those in recipes/ and those in the program"))
        .subcommand(settings::command())
        .subcommand(
            Command::new("docs")
                .about("Print the functions that recipes can call, as Markdown")
                .arg(Arg::new("editor").long("editor").value_name("DIR").value_parser(clap::value_parser!(PathBuf)).help("write definition files for editors to DIR instead")),
        )
        .subcommand(
            Command::new("guide")
                .about("Print a guide, such as clips, converting or troubleshooting; without a topic, list all")
                .arg(Arg::new("topic").value_name("TOPIC").help("a name from the list")),
        )
        .subcommand(eject::command())
        .subcommand(eject::new_command())
        .subcommand(Command::new("doctor").about("Show what was found on this machine, and what is missing"))
        .subcommand(assets::command())
        .subcommand(cache::command())
        .subcommand(track::command())
        .subcommand(ui::command())
        .subcommand(
            Command::new("help")
                .about("Show the help of a recipe or a command")
                .arg(Arg::new("words").num_args(0..).value_name("RECIPE|COMMAND").help("such as train_voice, or assets fetch")),
        )
}

/// The current folder is the empty path, which keeps paths in messages short; any other is made absolute, since the paths
/// that scripts hand around start with it.
fn workspace(common: &Common) -> Workspace {
    let given = common.workspace.as_ref();
    Workspace::new(given.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).unwrap_or_default())
}

fn host(terminal: &Arc<Terminal>, common: &Common) -> Host {
    let lines = terminal.clone();
    let output = Arc::new(move |line: &str| lines.print(line));
    Host::new(Session::with_store(workspace(common), store(common), task(terminal, common), output))
}

fn task(terminal: &Arc<Terminal>, common: &Common) -> Task {
    let events = terminal.clone();
    Task::new(common.threads.unwrap_or(0), move |event| events.event(event))
}

/// Where pretrained files are searched: the workspace, and folders from the environment.
fn store(common: &Common) -> Store {
    Store::with_environment(&workspace(common), |name| std::env::var_os(name))
}

/// Prints an error of the command line's own work and returns its exit code.
fn fail(terminal: &Terminal, error: &Error) -> u8 {
    terminal.diagnostic(&Diagnostic::from(error));
    if matches!(error.kind(), Kind::Usage | Kind::Script) { WRONG_USE } else { FAILED }
}

/// Shows what clap refuses in a line of the program's own commands.
fn refused(terminal: &Terminal, mut program: Command, words: &[OsString], error: &clap::Error) -> u8 {
    program.build();
    let words: Vec<String> = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.iter().take_while(|word| *word != "--").any(|word| word == "--json") {
        terminal.set_json(true);
    }
    show(terminal, usage::called(&program, &words), error)
}

/// Shows what clap has to say of a command: help is a result, anything else a mistake.
fn show(terminal: &Terminal, command: &Command, error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            terminal.print(error.render().to_string().trim_end());
            DONE
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            terminal.note(error.render().to_string().trim_end());
            WRONG_USE
        }
        _ => fail(terminal, &usage::error(command, error)),
    }
}

fn recipe(terminal: &Arc<Terminal>, outer: Common, word: &str, rest: Vec<OsString>) -> u8 {
    let Script { source, text, notice } = match catalog::find(&workspace(&outer), word, None, COMMANDS) {
        Ok(found) => found,
        Err(error) => return fail(terminal, &error),
    };
    // Commands that the recipe prints name a recipe of the program without a path.
    let word = shipped::path_of(&source).and_then(shipped::recipe_name).unwrap_or(word);
    let recipe = match run::load(&host(terminal, &outer), &source, &text) {
        Ok(recipe) => recipe,
        Err(mistakes) => return print_mistakes(terminal, &mistakes),
    };
    let mut command = flags::command(word, &recipe.doc, &recipe.params);
    let matches = match command.try_get_matches_from_mut(flags::joined(&recipe.params, rest)) {
        Ok(matches) => matches,
        Err(error) => return show(terminal, &command, &error),
    };
    let common = Common::of(&matches).over(outer);
    set_up(terminal, &common);
    let host = host(terminal, &common);
    match track::options(&workspace(&common), &common) {
        Ok(options) => host.session.set_tracking(options),
        Err(error) => return fail(terminal, &error),
    }
    host.session.set_child(child(&common));
    if let Err(error) = answer_signals(host.session.task()) {
        return fail(terminal, &error);
    }
    let typed = flags::values(&recipe.params, &matches);
    runtime::choose(params::layers(&recipe.params, &typed).gpus);
    // Before any libtorch call; the result is kept for the recipe's first use of a GPU.
    runtime::init();
    match common.threads {
        Some(threads) => runtime::set_threads(threads),
        None => runtime::adapt(),
    }
    let defaults = |name: &str| recipe.params.iter().find(|param| param.name == name)?.value.clone();
    let idle = idle::of(&typed, &defaults);
    if let Some(error) = idle.refusal {
        report_error(terminal, &[Diagnostic::from(&error)]);
        return fail(terminal, &error);
    }
    idle.warnings.into_iter().for_each(|text| host.session.task().warn(text));
    if let Some(notice) = notice {
        host.session.task().info(notice);
    }
    terminal.opening(&params::Opening::new(word, &recipe.params, &typed));
    let arguments = params::to_map(&recipe.params, &typed);
    host.session.set_call(call(&common, word, &recipe.params, typed));
    let outcome = run::run(&host, &recipe, arguments);
    for diagnostic in &outcome.diagnostics {
        terminal.diagnostic(diagnostic);
    }
    report_error(terminal, &outcome.diagnostics);
    match terminal.warnings() {
        0 => {}
        1 => terminal.note("1 warning, see above"),
        n => terminal.note(&format!("{n} warnings, see above")),
    }
    if outcome.code == CANCELLED {
        terminal.note("stopped; the same command continues from here");
    }
    outcome.code
}

/// `rvc-run help WORDS`: the same as `rvc-run WORDS --help`.
fn help(terminal: &Arc<Terminal>, common: Common, given: &ArgMatches) -> u8 {
    let words: Vec<&String> = given.get_many("words").into_iter().flatten().collect();
    match words[..] {
        [word] if !COMMANDS.contains(&word.as_str()) => recipe(terminal, common, word, vec!["--help".into()]),
        _ => {
            let line = ["rvc-run"].into_iter().chain(words.iter().map(|word| word.as_str())).chain(["--help"]);
            let line: Vec<OsString> = line.map(OsString::from).collect();
            let mut program = outer();
            match program.try_get_matches_from_mut(&line) {
                Ok(_) => DONE,
                Err(error) => refused(terminal, program, &line, &error),
            }
        }
    }
}

/// The first signal asks the task to stop; a second one ends the process at once, see [`Signals`].
fn answer_signals(task: &Task) -> rvc_run::Result<()> {
    let began = Instant::now();
    let signals = SIGNALS.get_or_init(|| Signals::new(task));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let action = move || {
            if signals.ends(began.elapsed()) {
                signal_hook::low_level::exit(i32::from(CANCELLED));
            }
        };
        // SAFETY: the action reads the monotonic clock, exchanges atomics and calls _exit, all of which a signal handler may do; it neither
        // allocates nor locks nor panics.
        unsafe { signal_hook::low_level::register(signal, action) }
            .map_err(|e| Error::new(Kind::Internal, format!("cannot answer signal {signal}: {e}")).source(e))?;
    }
    Ok(())
}

fn print_mistakes(terminal: &Terminal, mistakes: &[Diagnostic]) -> u8 {
    for mistake in mistakes {
        terminal.diagnostic(mistake);
    }
    if mistakes.iter().any(|m| m.severity == Severity::Error) { WRONG_USE } else { DONE }
}

fn check_files(terminal: &Arc<Terminal>, common: &Common, given: &ArgMatches) -> u8 {
    let space = workspace(common);
    let named: Vec<PathBuf> = given.get_many("files").into_iter().flatten().cloned().collect();
    let scripts = if named.is_empty() {
        catalog::list(&space).map(|entries| entries.into_iter().map(|entry| entry.script).collect())
    } else {
        named.iter().map(|path| catalog::find(&space, &path.to_string_lossy(), None, &[])).collect()
    };
    let scripts: Vec<Script> = match scripts {
        Ok(scripts) => scripts,
        Err(error) => return fail(terminal, &error),
    };
    let host = host(terminal, common);
    let natives = Natives::of(&host.engine);
    let mut found: Vec<Diagnostic> = Vec::new();
    for script in &scripts {
        found.extend(check::script(&host, &natives, &script.source, &script.text));
    }
    // Two recipes that import the same script find the same mistakes in it.
    let mut unique: Vec<Diagnostic> = Vec::new();
    for diagnostic in found {
        if !unique.contains(&diagnostic) {
            unique.push(diagnostic);
        }
    }
    let code = print_mistakes(terminal, &unique);
    let mistakes = unique.iter().filter(|d| d.severity == Severity::Error).count();
    terminal.print(&format!("{} checked, {} found", count(scripts.len(), "script"), count(mistakes, "mistake")));
    code
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn list(terminal: &Terminal, common: &Common) -> rvc_run::Result<()> {
    let entries = catalog::list(&workspace(common))?;
    let width = entries.iter().map(|e| e.name.chars().count()).max().unwrap_or(0);
    let is_shipped = |entry: &catalog::Entry| shipped::path_of(&entry.script.source).is_some();
    for entry in &entries {
        let file = (!is_shipped(entry)).then_some(&entry.script.source);
        let object = json!({ "event": "recipe", "name": entry.name, "summary": entry.summary, "file": file });
        terminal.result(format!("{:<width$}  {}", entry.name, entry.summary).trim_end(), &object);
    }
    if entries.iter().all(is_shipped) {
        terminal.gap();
        terminal.note("these are in the program; to change one: rvc-run eject recipes/NAME");
    }
    Ok(())
}

fn write_docs(terminal: &Arc<Terminal>, common: &Common, given: &ArgMatches) -> rvc_run::Result<()> {
    let host = host(terminal, common);
    let Some(folder) = given.get_one::<PathBuf>("editor") else {
        terminal.print(docs::markdown(&host)?.trim_end());
        return Ok(());
    };
    for path in docs::editor(&host, Path::new(folder))? {
        terminal.print(&path.display().to_string());
    }
    Ok(())
}

fn guide(terminal: &Terminal, given: &ArgMatches) -> rvc_run::Result<()> {
    if let Some(topic) = given.get_one::<String>("topic") {
        terminal.print(guide::find(topic)?.in_terminal().trim_end());
        return Ok(());
    }
    let width = guide::GUIDES.iter().map(|guide| guide.topic.len()).max().unwrap_or(0);
    for guide in guide::GUIDES {
        terminal.print(&format!("{:<width$}  {}", guide.topic, guide.summary()));
    }
    Ok(())
}

fn assets(terminal: &Arc<Terminal>, common: &Common, given: &ArgMatches) -> u8 {
    interruptible(terminal, common, |task| assets::run(terminal, store(common), task, given))
}

/// Work of the command line itself that Ctrl-C stops.
fn interruptible(terminal: &Arc<Terminal>, common: &Common, work: impl FnOnce(&Task) -> rvc_run::Result<()>) -> u8 {
    let task = task(terminal, common);
    match answer_signals(&task).and_then(|()| work(&task)) {
        Ok(()) => DONE,
        Err(error) if error.kind() == Kind::Cancelled => {
            terminal.note("stopped; the same command continues from here");
            CANCELLED
        }
        Err(error) => fail(terminal, &error),
    }
}

fn doctor(terminal: &Terminal, common: &Common) -> u8 {
    if let Some(threads) = common.threads {
        runtime::set_threads(threads);
    }
    let report = rvc_run::doctor::report(common.workspace.as_deref().unwrap_or(Path::new("")), &store(common));
    if terminal.is_json() {
        report.objects().iter().for_each(|object| terminal.result("", object));
    } else {
        terminal.print(report.to_string().trim_end());
    }
    report.exit_code()
}
