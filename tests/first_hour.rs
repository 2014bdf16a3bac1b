//! What a new user meets in the program: the checks and leftovers of a start, whether the printed next steps work, options that have no
//! effect, and the final summary.
//!
//! Tiny networks and seconds of synthetic speech-like sound; every run is its own process in its own workspace.

#![cfg(unix)]

mod next;
mod options;
mod starts;
mod ui;

use crate::support::speech::{voice_like, write_wav};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A workspace in a temp folder, with the project's recipes.
struct Workspace {
    folder: tempfile::TempDir,
}

/// Needs no download, trains in seconds.
const TINY: [&str; 9] = [
    "--preset=tiny",
    "--f0-method=pm",
    "--content-encoder=mel",
    "--batch-size=2",
    "--save-every=1",
    "--segment-size=3200",
    "--pretrained-g=none",
    "--pretrained-d=none",
    "--no-index",
];

impl Workspace {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With a recording of the voice "anna".
    fn with_anna() -> Self {
        let workspace = Self::new();
        workspace.record("anna", "a.wav", 4.0, 180.0);
        workspace
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn record(&self, voice: &str, file: &str, seconds: f64, pitch: f64) {
        let path = self.path(&format!("data/{voice}/{file}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_wav(&path, &voice_like(seconds, pitch), 32000);
    }

    /// The program in this workspace; the user's own files and settings are hidden.
    fn program(&self) -> Command {
        self.shielded(Command::new(env!("CARGO_BIN_EXE_rvc-run")))
    }

    fn shielded(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("RVC_RUN_ASSETS").env("XDG_CACHE_HOME", self.path("cache_home"));
        for name in ["MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, recipe: &str, arguments: &[&str]) -> Output {
        let mut command = self.program();
        command.args(["--threads", "1"]).arg(recipe_path(recipe)).args(arguments);
        command.output().unwrap()
    }

    fn train(&self, more: &[&str]) -> Output {
        self.run("train_voice", &[&["anna"], &TINY[..], more].concat())
    }

    /// Every file at or below a folder, with its content's digest.
    fn snapshot(&self, relative: &str) -> BTreeMap<PathBuf, String> {
        let (mut waiting, mut found) = (vec![self.path(relative)], BTreeMap::new());
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(rvc_run::files::list(&path).unwrap());
            } else if path.is_file() {
                let digest = rvc_run::files::digest_file(&path).unwrap();
                found.insert(path, digest);
            }
        }
        found
    }
}

fn recipe_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(format!("{name}.rhai"))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The text of a run that must end with `code`.
fn ended_with(code: i32, output: &Output) -> String {
    let text = text(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}
