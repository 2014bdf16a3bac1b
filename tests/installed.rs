//! The program away from its checkout: its own recipes in an empty folder, and the Python wheel that carries it.
//!
//! Tiny networks; every run is its own process in its own folder.

#![cfg(unix)]

use crate::support::python;
use crate::support::speech::{voice_like, write_wav};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program in `folder`; the user's own files and settings are hidden.
fn program(path: impl AsRef<Path>, folder: &Path) -> Command {
    let mut command = Command::new(path.as_ref());
    command.current_dir(folder).stdin(Stdio::null());
    command.env_remove("RVC_RUN_ASSETS").env("XDG_CACHE_HOME", folder.join("cache_home"));
    for name in ["MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.args(["--threads", "1", "--tracking-uri", "none"]);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(env!("CARGO_BIN_EXE_rvc-run"), folder).args(arguments).output().unwrap()
}

/// The text of a run that must end with `code`.
#[track_caller]
fn ended_with(code: i32, output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// The recipes' texts in the records of a workspace's runs.
fn recorded(folder: &Path) -> Vec<(String, String)> {
    let records = rvc_run::files::list(&folder.join("tracking/events")).unwrap();
    let texts = records.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let mut found = Vec::new();
    for text in texts {
        for line in text.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            if event["event"] == "recipe" {
                let text = |key: &str| event["data"][key].as_str().unwrap_or_default().to_owned();
                found.push((text("path"), text("text")));
            }
        }
    }
    found
}

#[test]
fn the_quickstart_runs_in_an_empty_folder_and_records_its_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let text = ended_with(0, &run(folder.path(), &["quickstart", "--epochs", "1"]));
    assert!(text.contains("speech of two speakers to recipes/quickstart"), "{text}");
    assert!(text.contains("rvc-run train_voice anna"), "the next step calls a recipe of the program:\n{text}");
    assert!(folder.path().join("models/quickstart.pth").is_file());
    let recipe = rvc_run::shipped::text(rvc_run::shipped::RECIPES, "quickstart").unwrap();
    assert_eq!(recorded(folder.path()), [("recipes/quickstart.rhai (built in)".to_owned(), recipe.to_owned())]);
    assert!(!folder.path().join("recipes/quickstart.rhai").exists(), "the recipe stays in the program");

    // A file that is missing is written again; those that are there stay.
    let (kept, lost) = ("recipes/quickstart/anna/01.flac", "recipes/quickstart/ben/06.flac");
    let time = || std::fs::metadata(folder.path().join(kept)).unwrap().modified().unwrap();
    let written = time();
    std::fs::remove_file(folder.path().join(lost)).unwrap();
    let again = ended_with(0, &run(folder.path(), &["quickstart", "--epochs", "1"]));
    assert!(again.contains("speech of two speakers") && folder.path().join(lost).is_file(), "{again}");
    assert_eq!(time(), written);

    let again = ended_with(0, &run(folder.path(), &["quickstart", "--epochs", "1"]));
    assert!(!again.contains("speech of two speakers"), "once:\n{again}");
}

#[test]
fn a_recipe_of_the_program_starts_others_of_it_or_the_workspaces_own() {
    let folder = tempfile::tempdir().unwrap();
    for (voice, pitch) in [("anna", 200.0), ("ben", 120.0)] {
        let path = folder.path().join("data").join(voice).join("a.wav");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_wav(&path, &voice_like(6.0, pitch), 32000);
    }
    let train = [
        "train_all",
        "--epochs",
        "1",
        "--batch-size",
        "2",
        "--preset",
        "tiny",
        "--f0-method",
        "pm",
        "--content-encoder",
        "mel",
        "--no-index",
    ];
    // In a folder where neither this process nor its children find a recipe by a path.
    let away = tempfile::tempdir().unwrap();
    let workspace = ["--workspace", folder.path().to_str().unwrap()];
    let text = ended_with(0, &run(away.path(), &[&workspace[..], &train].concat()));
    assert_eq!(text.matches("  trained  ").count(), 2, "{text}");
    // The same text in a file is the same recipe: nothing is run again.
    assert_eq!(run(away.path(), &[&workspace[..], &["eject", "train_voice"]].concat()).status.code(), Some(0));
    let text = ended_with(0, &run(away.path(), &[&workspace[..], &train].concat()));
    assert_eq!(text.matches("  trained before  ").count(), 2, "{text}");
    std::fs::write(folder.path().join("recipes/train_voice.rhai"), "throw \"mine\";").unwrap();
    let text = ended_with(3, &run(away.path(), &[&workspace[..], &train].concat()));
    assert_eq!(text.matches("  failed  ").count(), 2, "{text}");
}

/// A Python environment with the wheel of this program, and without torch.
#[cfg(target_os = "linux")]
struct Environment {
    folder: tempfile::TempDir,
    torch: PathBuf,
}

#[cfg(target_os = "linux")]
impl Environment {
    /// None without a Python that has torch: nothing is downloaded.
    fn new() -> Option<Self> {
        let python = python::with_torch()?;
        let folder = tempfile::tempdir().unwrap();
        let torch = python::run(&python, "import torch; print(torch.__path__[0])", &[]);
        let call = |arguments: &[&str]| {
            let output = Command::new(&python).args(arguments).output().unwrap();
            ended_with(0, &output)
        };
        let path = |name: &str| folder.path().join(name).display().to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/xtask/wheel/build.py");
        call(&[script, env!("CARGO_BIN_EXE_rvc-run"), &path("wheels")]);
        let wheel = rvc_run::files::list(&folder.path().join("wheels")).unwrap().remove(0).display().to_string();
        call(&["-m", "venv", "--without-pip", &path("venv")]);
        let install = ["install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", &wheel];
        call(&[&["-m", "pip", "--python", &path("venv/bin/python")][..], &install].concat());
        Some(Self { folder, torch: torch.trim().into() })
    }

    fn program(&self) -> Command {
        let mut command = program(self.folder.path().join("venv/bin/rvc-run"), self.folder.path());
        for name in ["PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    /// Puts torch, and the CUDA libraries beside it, where pip puts them; returns the folder.
    fn install_torch(&self) -> PathBuf {
        let packages =
            rvc_run::files::list(&self.folder.path().join("venv/lib")).unwrap().remove(0).join("site-packages");
        for name in ["torch", "nvidia"] {
            let source = self.torch.with_file_name(name);
            if source.is_dir() {
                std::os::unix::fs::symlink(source, packages.join(name)).unwrap();
            }
        }
        packages
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_wheel_gives_a_python_environment_the_program_which_gets_signals() {
    let Some(environment) = Environment::new() else { return };
    let text = ended_with(1, &environment.run(&["list"]));
    assert!(text.contains("needs torch 2.11, and ") && text.contains("pip install 'torch==2.11.*'"), "{text}");

    // A torch in another folder, as when the environment of uvx overlays one that has torch.
    let elsewhere =
        environment.program().args(["doctor"]).env("PYTHONPATH", environment.torch.parent().unwrap()).output();
    let text = ended_with(0, &elsewhere.unwrap());
    assert!(text.contains("ok       libtorch  2.11."), "{text}");

    let packages = environment.install_torch();
    let header = Command::new("readelf").arg("-d").arg(packages.join("rvc_run/rvc-run")).output().unwrap();
    let header = ended_with(0, &header);
    assert!(
        header.contains("[$ORIGIN/../torch/lib]"),
        "the torch of the environment, not that of the build:\n{header}"
    );
    ended_with(2, &environment.run(&["no_such_recipe"]));
    a_signal_reaches_it(&environment);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "slow: a training, and a wheel of its own"]
fn the_program_of_a_wheel_trains_and_starts_jobs() {
    let Some(environment) = Environment::new() else { return };
    environment.install_torch();
    let text = ended_with(0, &environment.run(&["quickstart", "--epochs", "1"]));
    assert!(environment.folder.path().join("models/quickstart.pth").is_file(), "{text}");
    // Jobs start the program itself, not the Python that started it.
    let job = "let made = jobs::run([#{ name: \"one\", recipe: \"voice_info\", args: [\"quickstart\"] }], #{});\nprint(made[0].status);";
    std::fs::write(environment.folder.path().join("job.rhai"), job).unwrap();
    assert!(ended_with(0, &environment.run(&["job.rhai"])).contains("done"));
}

#[cfg(target_os = "linux")]
fn a_signal_reaches_it(environment: &Environment) {
    use std::io::{BufRead, BufReader};
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/waits.rhai");
    let mut child = environment.program().arg(script).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "running\n");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
