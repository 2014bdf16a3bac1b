//! A folder with a small voice and its training, for the tests.

use crate::support::voice::{self, Made};
use rvc_run::Result;
use rvc_run::assets::Store;
use rvc_run::config::Config;
use rvc_run::config::choices::Version;
use rvc_run::files::Workspace;
use rvc_run::npy;
use rvc_run::task::{Event, Task};
use rvc_run::train::{Dataset, Metrics, StepReport, Trainer, dataset};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A folder logs/anna with seven short clips; removed when dropped.
pub struct Room {
    folder: TempDir,
    list: PathBuf,
}

impl Room {
    pub fn new() -> Self {
        // 0.4 to 0.64 s: below RVC's shortest length, and one above 0.76 s, so that two buckets are in play.
        Self::with(&[16000, 18400, 20000, 22500, 24000, 25600, 41000])
    }

    /// A voice at 40 kHz of clips with this many samples.
    pub fn with(samples: &[usize]) -> Self {
        crate::support::one_thread();
        let folder = tempfile::tempdir().unwrap();
        let clips: Vec<Made> = samples.iter().enumerate().map(|(i, &n)| Made::clip("", i % 5, n, 40000)).collect();
        let clips: Vec<Made> =
            clips.into_iter().enumerate().map(|(i, c)| Made { name: format!("{i}_0"), ..c }).collect();
        let list = voice::write(&folder.path().join("logs/anna"), &clips, 40000);
        Self { folder, list }
    }

    /// The same voice as a training with `config` reads it: 256 values of content in version 1, no pitch without f0.
    pub fn for_variant(self, config: &Config) -> Self {
        let text = std::fs::read_to_string(&self.list).unwrap();
        let line = |line: &str| {
            let fields: Vec<&str> = line.split('|').collect();
            if config.version == Version::V1 {
                let path = Path::new(fields[1]);
                let (content, _, dim) = npy::read_f32_2d(path).unwrap();
                let first: Vec<f32> = content.chunks(dim).flat_map(|frame| &frame[..256]).copied().collect();
                npy::write_f32_2d(path, &first, 256).unwrap();
            }
            if config.if_f0 { line.to_owned() } else { [fields[0], fields[1], fields[4]].join("|") }
        };
        std::fs::write(&self.list, text.lines().map(line).collect::<Vec<_>>().join("\n")).unwrap();
        self
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder assets/ beside logs/.
    pub fn store(&self) -> Store {
        Store::new(&Workspace::new(self.root()))
    }

    pub fn list(&self) -> &Path {
        &self.list
    }

    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("logs/anna")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.logs().join(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The checkpoints and what else the trainer wrote, by name.
    pub fn trained_files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(self.logs()).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.filter(|path| path.is_file() && path.file_name().unwrap() != "filelist.txt");
        files.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(&path).unwrap())).collect()
    }

    pub fn data(&self, config: &Config) -> Dataset {
        dataset(&Task::silent(), self.root(), &self.list, config).unwrap()
    }

    pub fn open(&self, task: &Task, config: &Config, fresh: bool) -> Result<Trainer> {
        Trainer::open(task, config, self.data(config), &self.logs(), &self.store(), fresh)
    }

    /// Trains up to and including `epochs`, saving after each; returns the means of each epoch and the numbers of each step.
    pub fn train(&self, config: &Config, epochs: i64) -> (Vec<Metrics>, Vec<Metrics>) {
        let task = Task::silent();
        let mut trainer = self.open(&task, config, false).unwrap();
        let (mut means, mut steps) = (Vec::new(), Vec::new());
        while trainer.next_epoch() <= epochs {
            let mut watch = |step: &StepReport| {
                steps.push(step.metrics.clone());
                Ok(())
            };
            means.push(trainer.run_epoch(&task, &mut watch).unwrap());
            trainer.save().unwrap();
        }
        (means, steps)
    }
}

/// Settings of a training whose steps take little time.
#[allow(clippy::needless_pass_by_value, reason = "callers write json!({...})")]
pub fn config(more: Value) -> Config {
    let mut settings =
        json!({ "preset": "tiny", "batch_size": 2, "segment_size": 3200, "epochs": 3, "log_interval": 2 });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Config::from_json(settings.as_object().unwrap()).unwrap()
}

/// A task, and the warnings and other lines that it emits.
pub fn watched() -> (Task, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let task = Task::new(0, move |event| match event {
        Event::Warning(text) => sink.lock().unwrap().push(format!("warning: {text}")),
        Event::Info(text) => sink.lock().unwrap().push(text.clone()),
        _ => {}
    });
    (task, lines)
}

pub fn warnings(lines: &Mutex<Vec<String>>) -> Vec<String> {
    lines.lock().unwrap().iter().filter(|line| line.starts_with("warning: ")).cloned().collect()
}

/// The numbers without the speed, which no two runs share.
pub fn exact(metrics: &Metrics) -> Vec<(&'static str, u64)> {
    metrics.iter().filter(|(name, _)| !name.ends_with("_per_second")).map(|(name, x)| (name, x.to_bits())).collect()
}
