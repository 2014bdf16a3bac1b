//! MLflow's file store: mlruns/<experiment>/<run>/{meta.yaml,metrics,params,tags,artifacts}.
//!
//! MLflow 3.17 serves it with MLFLOW_ALLOW_FILE_STORE=true (`rvc-run ui` sets it) and moves it into a database with
//! `mlflow migrate-filestore`. Points are lines "ms value step" in metrics/<key>.

use super::{Identity, Status, Store};
use crate::files;
use crate::track::follow::{Outcome, Sample};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) struct Folder {
    root: PathBuf,
    /// The run's folder, once it is known to exist.
    run: Option<PathBuf>,
    /// The run's name.
    title: String,
    experiment_id: String,
    /// The changing fields of meta.yaml.
    meta: Meta,
    /// Files that were appended to and not yet synced.
    touched: BTreeSet<PathBuf>,
    /// The existing lines of the metrics' files, while they are needed.
    there: HashMap<PathBuf, HashSet<String>>,
}

#[derive(Default)]
struct Meta {
    run_id: String,
    start_ms: i64,
    end_ms: Option<i64>,
    status: Option<Status>,
}

impl Folder {
    /// `root`: the folder mlruns, created with the first run.
    pub fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|e| Error::io("find", root, e))?;
        Ok(Self {
            root,
            run: None,
            title: String::new(),
            experiment_id: String::new(),
            meta: Meta::default(),
            touched: BTreeSet::new(),
            there: HashMap::new(),
        })
    }

    fn write_meta(&self, folder: &Path) -> Result<()> {
        let status = match self.meta.status.unwrap_or(Status::Running) {
            Status::Running => 1,
            Status::Finished => 3,
            Status::Failed => 4,
            Status::Killed => 5,
        };
        let end = self.meta.end_ms.map_or_else(|| "null".to_owned(), |ms| ms.to_string());
        let uri = file_uri(&folder.join("artifacts"));
        let user = user();
        let meta = format!(
            "artifact_uri: {}\nend_time: {end}\nentry_point_name: ''\nexperiment_id: '{}'\nlifecycle_stage: active\nrun_id: \
             {}\nrun_name: {}\nsource_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: {}\nstatus: {status}\ntags: \
             []\nuser_id: {}\n",
            quoted(&uri),
            self.experiment_id,
            quoted(&self.meta.run_id),
            quoted(&self.title),
            self.meta.start_ms,
            quoted(&user)
        );
        files::write(&folder.join("meta.yaml"), meta)
    }

    fn run(&self) -> &Path {
        self.run.as_deref().expect("ensure is called before anything else")
    }

    fn append(&mut self, path: PathBuf, samples: &[&Sample], doubtful: bool) -> Result<()> {
        if doubtful && !self.there.contains_key(&path) {
            self.there.insert(path.clone(), existing(&path)?);
        }
        let there = self.there.get(&path);
        let lines = samples.iter().map(|s| format!("{} {:?} {}\n", s.time_ms, s.value, s.step));
        let text: String = lines.filter(|line| !there.is_some_and(|there| there.contains(line.trim_end()))).collect();
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        let open = || File::options().create(true).append(true).open(&path);
        open().and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| Error::io("write", &path, e))?;
        self.touched.insert(path);
        Ok(())
    }

    fn pairs(&self, folder: &str, pairs: &[(String, String)]) -> Outcome<()> {
        for (key, value) in pairs {
            let path = free_path(&self.run().join(folder), &super::metric_name(key));
            // One line: MLflow refuses params of several.
            let value = if folder == "params" { value.replace(['\r', '\n'], " ") } else { value.clone() };
            if std::fs::read(&path).ok().as_deref() != Some(value.as_bytes()) {
                files::unsynced(|| files::write(&path, value))?;
            }
        }
        Ok(())
    }
}

impl Store for Folder {
    fn id_of(&mut self, _experiment: &str, run: &str) -> Outcome<Option<String>> {
        Ok(Some(super::folder_run_id(run)))
    }

    fn name(&self) -> String {
        format!("MLflow's folder {}", self.root.display())
    }

    fn ensure(&mut self, run: &Identity) -> Outcome<()> {
        if self.run.is_some() {
            return Ok(());
        }
        experiment(&self.root, "0", "Default")?;
        self.experiment_id = if let Some(id) = find(&self.root, &run.experiment)? {
            id
        } else {
            // Digits, like MLflow's own; equal for equal names, so that two processes cannot create two.
            let digest = files::digest(&run.experiment);
            let number = u64::from_str_radix(&digest[..15], 16).unwrap_or_default() % 900_000_000_000_000_000;
            let id = (100_000_000_000_000_000 + number).to_string();
            experiment(&self.root, &id, &run.experiment)?;
            id
        };
        self.title.clone_from(&run.title);
        self.meta.run_id = super::folder_run_id(&run.id);
        self.meta.start_ms = run.start_ms;
        let folder = self.root.join(&self.experiment_id).join(&self.meta.run_id);
        for part in ["metrics", "params", "tags", "artifacts"] {
            files::create_folder(&folder.join(part))?;
        }
        self.write_meta(&folder)?;
        self.run = Some(folder);
        self.tags(&[
            ("mlflow.runName".into(), run.title.clone()),
            ("mlflow.user".into(), user()),
            ("voice".into(), run.name.clone()),
        ])
    }

    fn params(&mut self, params: &[(String, String)]) -> Outcome<()> {
        self.pairs("params", params)
    }

    fn tags(&mut self, tags: &[(String, String)]) -> Outcome<()> {
        self.pairs("tags", tags)
    }

    fn points(&mut self, points: &[Sample], doubtful: bool) -> Outcome<()> {
        let mut by_key: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
        for sample in points {
            by_key.entry(&sample.key).or_default().push(sample);
        }
        if !doubtful {
            self.there.clear();
        }
        let folder = self.run().join("metrics");
        for (key, samples) in by_key {
            let appended = self.append(free_path(&folder, key), &samples, doubtful);
            // A partial line from a failed write is handled when the file is read again.
            appended.inspect_err(|_| self.there.clear())?;
        }
        Ok(())
    }

    fn status(&mut self, status: Status, end_ms: Option<i64>) -> Outcome<()> {
        (self.meta.status, self.meta.end_ms) = (Some(status), end_ms);
        Ok(self.write_meta(self.run())?)
    }

    fn artifact(&mut self, file: &Path, to: &str) -> Outcome<()> {
        let path = self.run().join("artifacts").join(to);
        // A checkpoint or voice is replaced, never changed, so a link is safe and takes no space.
        if file.extension().is_some_and(|e| e == "pth" || e == "index") {
            if let Some(folder) = path.parent() {
                files::create_folder(folder)?;
            }
            files::remove(&path)?;
            if std::fs::hard_link(file, &path).is_ok() {
                return Ok(());
            }
        }
        let mut source = File::open(file).map_err(|e| Error::io("read", file, e))?;
        files::unsynced(|| files::write_with(&path, |out| std::io::copy(&mut source, out)))?;
        Ok(())
    }

    fn state(&self) -> Value {
        json!({})
    }

    /// After a kill, the last writes may not be on disk: everything is checked again.
    fn open(&mut self, _state: &Value, clean: bool) -> Result<bool> {
        Ok(clean && self.root.is_dir())
    }

    fn close(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.touched) {
            File::open(&path).and_then(|file| file.sync_data()).map_err(|e| Error::io("write", &path, e))?;
        }
        Ok(())
    }
}

/// The path of a key's file. A folder cannot be a file too: of "loss" and "loss/a", the second one becomes "loss_a", or "loss_".
fn free_path(folder: &Path, key: &str) -> PathBuf {
    let mut key = key.to_owned();
    let parents = |key: &str| -> bool {
        let ends = key.match_indices('/').map(|(end, _)| end);
        ends.into_iter().any(|end| folder.join(&key[..end]).is_file())
    };
    if parents(&key) {
        key = key.replace('/', "_");
    }
    while folder.join(&key).is_dir() {
        key.push('_');
    }
    folder.join(key)
}

/// The lines of a metric's file. A line cut short by a kill is removed.
fn existing(path: &Path) -> Result<HashSet<String>> {
    let mut bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    if whole < bytes.len() {
        bytes.truncate(whole);
        let cut = File::options().write(true).open(path).and_then(|file| file.set_len(whole as u64));
        cut.map_err(|e| Error::io("write", path, e))?;
    }
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

fn experiment(root: &Path, id: &str, name: &str) -> Result<()> {
    let folder = root.join(id);
    let meta = folder.join("meta.yaml");
    if meta.is_file() {
        return Ok(());
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let text = format!(
        "artifact_location: {}\ncreation_time: {now}\nexperiment_id: '{id}'\nlast_update_time: {now}\nlifecycle_stage: \
         active\nname: {}\n",
        quoted(&file_uri(&folder)),
        quoted(name)
    );
    files::write(&meta, text)
}

/// The experiment of that name, if there is one.
fn find(root: &Path, name: &str) -> Result<Option<String>> {
    for folder in files::list(root)? {
        let Ok(meta) = files::read_text(&folder.join("meta.yaml")) else { continue };
        let named = meta.lines().filter_map(|line| line.strip_prefix("name: ")).map(unquoted);
        if named.into_iter().any(|known| known == name) {
            return Ok(folder.file_name().and_then(|id| id.to_str()).map(str::to_owned));
        }
    }
    Ok(None)
}

/// See [`super::renew_paths`].
///
/// Source: MLflow 3.17's FileStore uses artifact_uri and artifact_location unchanged and resolves relative ones in the folder
/// that its server was started in, so only absolute ones always work.
pub(super) fn renew_paths(root: &Path) -> Result<usize> {
    let root = std::path::absolute(root).map_err(|e| Error::io("find", root, e))?;
    let folders = |folder: &Path| -> Result<Vec<PathBuf>> {
        Ok(files::list(folder)?.into_iter().filter(|path| path.join("meta.yaml").is_file()).collect())
    };
    let mut renewed = 0;
    for experiment in if root.is_dir() { folders(&root)? } else { Vec::new() } {
        renewed += usize::from(renew(&root, &experiment, "artifact_location", "")?);
        for run in folders(&experiment)? {
            renewed += usize::from(renew(&root, &run, "artifact_uri", "/artifacts")?);
        }
    }
    Ok(renewed)
}

/// Corrects the line `key` in the meta.yaml of `folder`, if it names this folder in another root.
fn renew(root: &Path, folder: &Path, key: &str, below: &str) -> Result<bool> {
    let path = folder.join("meta.yaml");
    let text = files::read_text(&path)?;
    let uri = file_uri(folder) + below;
    // The part after the root is the same in every root.
    let tail = uri.strip_prefix(&file_uri(root)).unwrap_or(&uri);
    let mut renewed = false;
    let lines = text.lines().map(|line| {
        let given = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')).map(unquoted);
        let moved = given.is_some_and(|given| {
            let is_file = given.starts_with("file:") || Path::new(&given).is_absolute();
            is_file && given != uri && given.ends_with(tail)
        });
        renewed |= moved;
        if moved { format!("{key}: {}\n", quoted(&uri)) } else { format!("{line}\n") }
    });
    let new: String = lines.collect();
    if renewed {
        files::write(&path, new)?;
    }
    Ok(renewed)
}

/// A YAML text in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace(['\r', '\n'], " ").replace('\'', "''"))
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'"),
        None => text.trim_matches('"').to_owned(),
    }
}

fn file_uri(path: &Path) -> String {
    let text = path.display().to_string();
    // "C:\\runs" is file:///C:/runs.
    let text = if cfg!(windows) { format!("/{}", text.replace('\\', "/")) } else { text };
    format!("file://{}", super::server::encoded(&text).replacen("%3A", ":", usize::from(cfg!(windows))))
}

fn user() -> String {
    ["USER", "USERNAME", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "rvc-run".into())
}
