//! The program away from its checkout: its own recipes in an empty folder.
//!
//! Tiny networks; every run is its own process in its own folder.

#![cfg(unix)]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::speech::{voice_like, write_wav};

/// The program in `folder`; the user's own files and settings are out of sight.
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
    // Where neither this process nor its children find a recipe by a path.
    let away = tempfile::tempdir().unwrap();
    let workspace = ["--workspace", folder.path().to_str().unwrap()];
    let text = ended_with(0, &run(away.path(), &[&workspace[..], &train].concat()));
    assert_eq!(text.matches("  trained  ").count(), 2, "{text}");
    // The same text in a file is the same recipe: nothing is done again.
    assert_eq!(run(away.path(), &[&workspace[..], &["eject", "train_voice"]].concat()).status.code(), Some(0));
    let text = ended_with(0, &run(away.path(), &[&workspace[..], &train].concat()));
    assert_eq!(text.matches("  trained before  ").count(), 2, "{text}");
    std::fs::write(folder.path().join("recipes/train_voice.rhai"), "throw \"mine\";").unwrap();
    let text = ended_with(3, &run(away.path(), &[&workspace[..], &train].concat()));
    assert_eq!(text.matches("  failed  ").count(), 2, "{text}");
}
