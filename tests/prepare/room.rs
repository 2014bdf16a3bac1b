//! The workspace that the tests of preparation work in.

use crate::support::recordings::{copy_tree, record, snapshot};
use rvc_run::assets::Store;
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::config::choices::F0Method;
use rvc_run::features::Models;
use rvc_run::files::{self, Workspace};
use rvc_run::prepare::{self, Clips, Counts, FileList};
use rvc_run::task::{Event, Task};
use rvc_run::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub struct Room {
    #[expect(dead_code, reason = "the folder lives as long as the room")]
    pub keep_folder: tempfile::TempDir,
    pub workspace: Workspace,
    pub warnings: Arc<Mutex<Vec<String>>>,
    pub task: Task,
}

pub struct Ran {
    pub slices: Counts,
    pub f0: Counts,
    pub content: Counts,
    pub list: FileList,
}

impl Ran {
    /// (recordings sliced, clips tracked, clips encoded)
    pub fn done(&self) -> (usize, usize, usize) {
        (self.slices.done, self.f0.done, self.content.done)
    }
}

pub fn listening() -> (Task, Arc<Mutex<Vec<String>>>) {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let ear = warnings.clone();
    let task = Task::new(2, move |event| {
        if let Event::Warning(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    (task, warnings)
}

/// A workspace with the voice "anna" of these recordings, each a different sound by its number.
pub fn room(recordings: &[(&str, u32)]) -> Room {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("work"));
    let (task, warnings) = listening();
    let room = Room { keep_folder: folder, workspace, warnings, task };
    files::create_folder(&room.data()).unwrap();
    for (name, sound) in recordings {
        record(&room.data().join(name), *sound, 2.0);
    }
    room
}

pub fn five() -> Room {
    room(&[("b.wav", 1), ("c.wav", 2), ("d.wav", 3), ("e.wav", 4), ("f.wav", 5)])
}

impl Room {
    pub fn data(&self) -> PathBuf {
        self.workspace.data("anna").unwrap()
    }

    pub fn logs(&self) -> PathBuf {
        self.workspace.logs("anna").unwrap()
    }

    pub fn slices(&self, config: &Config) -> Result<Clips> {
        let cache = Cache::open(self.workspace.cache())?;
        prepare::slices(&self.task, &self.workspace, &cache, "anna", Path::new("data/anna"), config)
    }

    pub fn try_run(&self, config: &Config) -> Result<Ran> {
        let mut clips = self.slices(config)?;
        let slices = clips.counts;
        let models = Models::new(Store::new(&self.workspace));
        let f0 = prepare::f0(&self.task, &mut clips, &models, config)?;
        let content = prepare::content(&self.task, &mut clips, &models, config)?;
        let list = prepare::filelist(&self.task, &mut clips, &models, config)?;
        Ok(Ran { slices, f0, content, list })
    }

    pub fn run(&self) -> Ran {
        self.try_run(&config()).unwrap()
    }

    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap())
    }

    pub fn error(&self) -> Error {
        self.try_run(&config()).err().unwrap()
    }
}

pub fn config() -> Config {
    Config { sample_rate: 32000, f0_method: F0Method::Yin, ..Config::default() }
}

/// The same recordings prepared from scratch.
pub fn clean_rebuild(of: &Room) -> BTreeMap<String, String> {
    let other = room(&[]);
    copy_tree(&of.data(), &other.data());
    other.run();
    snapshot(&other.logs())
}

pub fn rows(room: &Room) -> Vec<String> {
    files::read_text(&room.logs().join("filelist.txt")).unwrap().split('\n').map(str::to_owned).collect()
}

/// The name of a recording's first clip.
pub fn clip(room: &Room, recording: &str) -> String {
    let text = files::read_text(&room.logs().join("cache_metadata.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let record = metadata["files"].as_array().unwrap().iter().find(|record| record["path"] == recording).unwrap();
    record["slices"][0].as_str().unwrap().to_owned()
}
