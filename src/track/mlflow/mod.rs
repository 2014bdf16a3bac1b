//! MLflow: a run's params, tags, metrics and artefacts, in a folder that MLflow serves or on a tracking server.
//!
//! Source: MLflow 3.17's REST API and file store, tested with that version. Names and limits are theirs: keys of letters,
//! digits and `_-. :/`, at most 250 characters; param values of 6000, tag values of 8000.
//!
//! Written here: crate mlflow_rs has no file store, and a request that must arrive exactly once needs its own retries.

mod folder;
mod server;

pub use server::Access;

use super::artifact;
use super::follow::{Outcome, Sample, Target};
use crate::files::{self, Workspace};
use crate::{Error, Kind, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The default experiment.
pub const EXPERIMENT: &str = "rvc-run";

/// The tag with the parent of a run.
pub const PARENT: &str = "rvc_run.parent";

/// Destinations of MLflow's own client besides servers and folders.
const SERVICES: [&str; 4] = ["databricks", "databricks-uc", "uc", "dagshub"];

const MOST_KEY: usize = 250;
const MOST_PARAM: usize = 6000;
const MOST_TAG: usize = 8000;

/// A store of MLflow's.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A folder in MLflow's file layout.
    Folder(PathBuf),
    /// A tracking server, and how to log in.
    Server { url: String, access: Access },
}

/// MLflow's id, in a folder, of the run `id`: the same in every process.
fn folder_run_id(id: &str) -> String {
    files::digest(id)[..32].to_owned()
}

impl Place {
    /// The place of a `--tracking-uri`: "" is the workspace's tracking/mlruns, "none" gives None.
    ///
    /// * `variable` reads an environment variable: tokens come from MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and
    ///   MLFLOW_TRACKING_PASSWORD.
    /// * Errors: `usage` for a scheme that is neither http, https nor file, a server's name without a scheme, and services that are not
    ///   MLflow servers.
    pub fn parse(text: &str, workspace: &Workspace, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if text == "none" {
            return Ok(None);
        }
        if text.is_empty() {
            return Ok(Some(Self::Folder(workspace.tracking().join("mlruns"))));
        }
        let service = text.split([':', '/']).next().unwrap_or_default().to_ascii_lowercase();
        if SERVICES.contains(&service.as_str()) && !workspace.path(text).is_dir() {
            return Err(Error::new(Kind::Usage, format!("runs cannot be sent to {service}, which is not an MLflow tracking server"))
                .hint("give http://HOST:PORT or https://... of an MLflow server, a folder such as file:tracking/mlruns, or none"));
        }
        if is_host_and_port(text) {
            return Err(Error::new(Kind::Usage, format!("{text:?} is a server's name without http:// or https://"))
                .hint(format!("give http://{text}; a folder of that name would be file:{text}")));
        }
        match text.split_once(':') {
            Some((scheme, _)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                let (url, access) = Access::of(text, variable)?;
                Ok(Some(Self::Server { url, access }))
            }
            Some(("file", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                Ok(Some(Self::Folder(workspace.path(path))))
            }
            // A drive letter is not a scheme.
            Some((scheme, _)) if scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') => {
                // The rest may hold a password.
                Err(Error::new(Kind::Usage, format!("an address that begins with {scheme}: cannot be used as a tracking server"))
                    .hint("give http://HOST:PORT or https://..., a folder such as file:tracking/mlruns, or none; for a database, start MLflow's server and give its address"))
            }
            _ => Ok(Some(Self::Folder(workspace.path(text)))),
        }
    }

    /// This place as part of a folder name; equal for equal places.
    pub(super) fn slug(&self, workspace: &Workspace) -> String {
        match self {
            Self::Folder(path) if *path == workspace.tracking().join("mlruns") => "mlruns".to_owned(),
            Self::Folder(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                format!("mlruns-{}", &files::digest(path.display().to_string())[..8])
            }
            Self::Server { url, .. } => format!("mlflow-{}", &files::digest(url)[..8]),
        }
    }

    /// The address without the login.
    pub fn address(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::Server { url, .. } => url.clone(),
        }
    }

    /// A target that writes the run `id` here.
    pub(super) fn target(&self, workspace: &Workspace, id: &str, name: &str, experiment: &str) -> Result<Mlflow> {
        let identity = Identity {
            id: id.to_owned(),
            title: super::title_of(workspace, id),
            name: name.to_owned(),
            experiment: experiment.to_owned(),
            start_ms: 0,
        };
        let store: Box<dyn Store> = match self {
            Self::Folder(path) => Box::new(folder::Folder::new(path)?),
            Self::Server { url, access } => Box::new(server::Server::new(url, access)),
        };
        Ok(Mlflow {
            store,
            identity,
            params: Map::new(),
            workspace: workspace.clone(),
            skipped: Vec::new(),
            pending: Vec::new(),
            outdated: BTreeSet::new(),
            parent: None,
        })
    }
}

/// Corrects the artefact paths of the runs in an MLflow folder. MLflow stores absolute paths, which are wrong after the workspace
/// was moved. Returns the number of runs and experiments corrected.
///
/// Errors: `file.read`, `file.write`, `file.disk_full`.
pub fn renew_paths(folder: &Path) -> Result<usize> {
    folder::renew_paths(folder)
}

/// "127.0.0.1:5055", "localhost:5000/base", "[::1]:5000": as a browser shows it.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, rest)) = text.rsplit_once(':') else { return false };
    let port = rest.split('/').next().unwrap_or_default();
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    // One letter is a drive; a scheme is followed by slashes.
    host.len() > 1 && host.chars().all(is_host) && port.parse::<u16>().is_ok()
}

/// The identity of a run.
struct Identity {
    /// The run's name here, and MLflow's tag rvc_run.run.
    id: String,
    /// The run's name in MLflow.
    title: String,
    /// The voice.
    name: String,
    experiment: String,
    start_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Running,
    Finished,
    Failed,
    Killed,
}

/// One of MLflow's two kinds of store. Every call except `points` may be repeated.
trait Store: Send {
    fn name(&self) -> String;
    /// The store's own id of another run of the same experiment, for MLflow's tag mlflow.parentRunId; None if it is not there (yet).
    fn id_of(&mut self, experiment: &str, run: &str) -> Outcome<Option<String>>;
    /// Creates the run if it does not exist.
    fn ensure(&mut self, run: &Identity) -> Outcome<()>;
    fn params(&mut self, params: &[(String, String)]) -> Outcome<()>;
    fn tags(&mut self, tags: &[(String, String)]) -> Outcome<()>;
    fn points(&mut self, points: &[Sample], doubtful: bool) -> Outcome<()>;
    fn status(&mut self, status: Status, end_ms: Option<i64>) -> Outcome<()>;
    /// Stores the file's content at `to`, a path of the run's artefacts.
    fn artifact(&mut self, file: &Path, to: &str) -> Outcome<()>;
    fn state(&self) -> Value;
    fn open(&mut self, state: &Value, clean: bool) -> Result<bool>;
    fn close(&mut self) -> Result<()>;
}

/// Writes the lines of an event log to MLflow.
pub(super) struct Mlflow {
    store: Box<dyn Store>,
    identity: Identity,
    /// The params logged at the start: in MLflow they never change.
    params: Map<String, Value>,
    workspace: Workspace,
    /// Artefacts that no longer existed when their turn came.
    skipped: Vec<String>,
    /// Lines of artefacts that are not delivered yet.
    pending: Vec<Value>,
    /// Files that had changed when their turn came.
    outdated: BTreeSet<String>,
    /// The parent of this run, until it is stored.
    parent: Option<String>,
}

impl Mlflow {
    fn start(&mut self, line: &Value) -> Outcome<()> {
        self.identity.start_ms = time_ms(line);
        self.store.ensure(&self.identity)?;
        let params = flatten(&line["params"]);
        self.params = params.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
        self.store.tags(&tags(line))?;
        self.note_parent(line);
        self.nest()?;
        self.store.params(&params)?;
        self.store.status(Status::Running, None)
    }

    /// Params that differ from those at the start become tags.
    fn resume(&mut self, line: &Value) -> Outcome<()> {
        let params = flatten(&line["params"]);
        let (known, fresh): (Vec<_>, Vec<_>) = params.into_iter().partition(|(key, _)| self.params.contains_key(key));
        let changed = known.into_iter().filter(|(key, value)| self.params[key] != value.as_str());
        let mut tags = tags(line);
        tags.extend(changed.map(|(key, value)| (cut(&format!("resumed.{key}"), MOST_KEY), value)));
        self.store.tags(&tags)?;
        self.note_parent(line);
        self.nest()?;
        self.store.params(&fresh)?;
        self.params.extend(fresh.into_iter().map(|(key, value)| (key, Value::from(value))));
        self.store.status(Status::Running, None)
    }

    fn note_parent(&mut self, line: &Value) {
        if let Some(parent) = line["tags"][PARENT].as_str() {
            self.parent = Some(parent.to_owned());
        }
    }

    /// Sets the run's parent; true if that was still to do and is done. The parent may reach the store later than this run: see `settle`.
    fn nest(&mut self) -> Outcome<bool> {
        let Some(parent) = &self.parent else { return Ok(false) };
        let Some(id) = self.store.id_of(&self.identity.experiment, parent)? else { return Ok(false) };
        self.store.tags(&[("mlflow.parentRunId".to_owned(), id)])?;
        self.parent = None;
        Ok(true)
    }

    fn artifact(&mut self, line: &Value) -> Outcome<()> {
        let (Some(path), Some(to)) = (line["path"].as_str(), line["to"].as_str()) else { return Ok(()) };
        let file = self.workspace.path(path);
        if !artifact::is_recorded(line, &file) {
            // For a growing log or an updated page, a later line delivers the newer one. Files without such a line are reported at the end.
            self.outdated.insert(path.to_owned());
            return Ok(());
        }
        match self.store.artifact(&file, &artifact_path(to)) {
            Err(trouble) if trouble.refused => {
                self.skipped.push(format!("{path} ({})", trouble.error));
                return Ok(());
            }
            stored => stored?,
        }
        self.outdated.remove(path);
        match (line["key"].as_str(), line["step"].as_i64()) {
            (Some(key), Some(step)) if is_png(&file) => {
                for to in logged_image(key, step, time_ms(line)) {
                    self.store.artifact(&file, &to)?;
                }
                self.store.tags(&[("mlflow.loggedImages".to_owned(), "true".to_owned())])
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, line: &Value) -> Outcome<()> {
        let status = match line["status"].as_str() {
            Some("done") => Status::Finished,
            Some("cancelled") => Status::Killed,
            _ => Status::Failed,
        };
        let summary = flatten(&line["summary"]);
        let summary: Vec<_> =
            summary.into_iter().map(|(key, value)| (cut(&format!("summary.{key}"), MOST_KEY), value)).collect();
        self.store.tags(&summary)?;
        self.store.status(status, Some(time_ms(line)))
    }
}

impl Target for Mlflow {
    fn name(&self) -> String {
        self.store.name()
    }

    fn points(&mut self, points: &[Sample], doubtful: bool) -> Outcome<()> {
        self.store.ensure(&self.identity)?;
        let named: Vec<Sample> =
            points.iter().map(|sample| Sample { key: metric_name(&sample.key), ..sample.clone() }).collect();
        self.store.points(&named, doubtful)
    }

    fn line(&mut self, line: &Value) -> Outcome<()> {
        match line["type"].as_str() {
            Some("start") => self.start(line),
            Some(kind @ ("resume" | "artifact" | "finish")) => {
                self.store.ensure(&self.identity)?;
                match kind {
                    "resume" => self.resume(line),
                    // A rejected file must not delay the numbers after it.
                    "artifact" => self.artifact(line).or_else(|_| {
                        self.pending.push(line.clone());
                        Ok(())
                    }),
                    _ => self.finish(line),
                }
            }
            _ => Ok(()),
        }
    }

    fn settle(&mut self) -> Outcome<bool> {
        let any = !self.pending.is_empty();
        while let Some(line) = self.pending.first().cloned() {
            self.store.ensure(&self.identity)?;
            self.artifact(&line)?;
            self.pending.remove(0);
        }
        if self.parent.is_none() {
            return Ok(any);
        }
        self.store.ensure(&self.identity)?;
        Ok(self.nest()? || any)
    }

    fn state(&self) -> Value {
        serde_json::json!({
            "start_ms": self.identity.start_ms, "params": self.params, "pending": self.pending,
            "parent": self.parent, "store": self.store.state()
        })
    }

    fn open(&mut self, state: &Value, clean: bool) -> Result<bool> {
        self.identity.start_ms = state["start_ms"].as_i64().unwrap_or_default();
        self.params = state["params"].as_object().cloned().unwrap_or_default();
        self.pending = state["pending"].as_array().cloned().unwrap_or_default();
        self.parent = state["parent"].as_str().map(str::to_owned);
        self.store.open(&state["store"], clean)
    }

    fn close(&mut self) -> Result<()> {
        self.store.close()?;
        let outdated =
            std::mem::take(&mut self.outdated).into_iter().map(|path| format!("{path} (missing or changed)"));
        let skipped: Vec<String> = std::mem::take(&mut self.skipped).into_iter().chain(outdated).collect();
        if skipped.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::NotFound, format!("these artefacts could not be stored: {}", skipped.join(", "))))
    }
}

/// The tags of a start or resume line, MLflow's own among them.
fn tags(line: &Value) -> Vec<(String, String)> {
    let mut tags = flatten(&line["tags"]);
    for (key, value) in
        [("rvc_run.run", &line["run"]), ("voice", &line["name"]), ("rvc_run.version", &line["tool_version"])]
    {
        if let Some(value) = value.as_str() {
            tags.push((key.to_owned(), value.to_owned()));
        }
    }
    for (_, value) in &mut tags {
        *value = cut(value, MOST_TAG);
    }
    tags
}

/// {"a": {"b": 1}} -> [("a.b", "1")]; lists stay JSON.
fn flatten(value: &Value) -> Vec<(String, String)> {
    fn add(into: &mut Vec<(String, String)>, prefix: &str, value: &Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let key = metric_name(key);
                    add(into, &if prefix.is_empty() { key } else { format!("{prefix}.{key}") }, value);
                }
            }
            Value::Null => {}
            Value::String(text) => into.push((cut(prefix, MOST_KEY), cut(text, MOST_PARAM))),
            other => into.push((cut(prefix, MOST_KEY), cut(&other.to_string(), MOST_PARAM))),
        }
    }
    let mut pairs = Vec::new();
    add(&mut pairs, "", value);
    pairs
}

/// `key` as MLflow accepts it.
pub fn metric_name(key: &str) -> String {
    let allowed = |c: char| if c.is_alphanumeric() || "_-. :/".contains(c) { c } else { '_' };
    let name: String = key.chars().map(allowed).collect();
    // MLflow accepts a name only if it is a path inside the run's folder.
    let parts = name.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    let name = parts.collect::<Vec<_>>().join("/");
    if name.is_empty() { "_".to_owned() } else { cut(&name, MOST_KEY) }
}

/// A path of an artefact as MLflow accepts it: inside the run's folder, without characters that its server rejects.
fn artifact_path(to: &str) -> String {
    let safe: String = to.chars().map(|c| if c.is_control() || "#\\:%?*\"<>|".contains(c) { '_' } else { c }).collect();
    let parts = safe.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    parts.collect::<Vec<_>>().join("/")
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn time_ms(line: &Value) -> i64 {
    (line["time"].as_f64().unwrap_or_default() * 1000.0).round() as i64
}

fn is_png(file: &Path) -> bool {
    file.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"))
}

/// The two names of a step's image in MLflow: the image and a small copy. Browsers check the content,
/// so the copy may be the same picture.
fn logged_image(key: &str, step: i64, time_ms: i64) -> [String; 2] {
    let key = metric_name(key).replace('/', "~");
    let unique = &files::digest(format!("{key} {step} {time_ms}"))[..32];
    let stem = format!("images/{key}+step+{step}+timestamp+{time_ms}+{unique}");
    [format!("{stem}.png"), format!("{stem}+compressed.webp")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Option<Place>> {
        Place::parse(text, &Workspace::new("/w"), &|_| None)
    }

    #[test]
    fn tracking_uris_name_folders_servers_or_nothing() {
        assert_eq!(parse("none").unwrap(), None);
        assert_eq!(parse("").unwrap(), Some(Place::Folder("/w/tracking/mlruns".into())));
        assert_eq!(parse("file:///a/b").unwrap(), Some(Place::Folder("/a/b".into())));
        assert_eq!(parse("file:runs").unwrap(), Some(Place::Folder("/w/runs".into())));
        assert_eq!(parse("runs").unwrap(), Some(Place::Folder("/w/runs".into())));
        assert_eq!(parse("sqlite:///mlflow.db").unwrap_err().kind(), Kind::Usage);
        let Some(Place::Server { url, access }) = parse("http://anna:secret@host:5000/base/").unwrap() else {
            panic!()
        };
        assert_eq!(url, "http://host:5000/base");
        assert_ne!(access, Access::default());
        let shown = parse("postgresql://mlflow:hunter2@db/mlflow").unwrap_err().to_string();
        assert!(!shown.contains("hunter2") && shown.contains("postgresql"), "{shown}");
        assert_eq!(parse("http://host/?token=hunter2").unwrap_err().kind(), Kind::Usage);
        let Some(Place::Server { url, .. }) = parse("HTTP://anna:a/b@host:5000").unwrap() else { panic!() };
        assert_eq!(url, "http://host:5000");
        assert!(!format!("{access:?}").contains("secret"));
    }

    #[test]
    fn a_server_without_a_scheme_and_services_are_refused_with_the_right_form() {
        for given in ["127.0.0.1:5055", "localhost:5000", "mlflow.example.com:80/base", "[::1]:5000", "my-host:5000/"] {
            let error = parse(given).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{given}");
            assert!(error.hint_text().unwrap().contains(&format!("give http://{given}")), "{error:?}");
        }
        for given in ["databricks", "databricks://profile", "Databricks", "databricks-uc", "uc:http://x", "dagshub"] {
            let error = parse(given).unwrap_err();
            assert!(error.kind() == Kind::Usage && error.message().contains("tracking server"), "{given}: {error:?}");
            assert!(error.hint_text().unwrap().contains("http://HOST:PORT"), "{error:?}");
        }
        // Folders all the same.
        for given in ["runs", "runs/5000", "./databricks", "data.bricks", r"C:\runs", "C:5000"] {
            assert!(matches!(parse(given).unwrap(), Some(Place::Folder(_))), "{given}");
        }
    }

    #[test]
    fn nested_params_get_dotted_names() {
        let pairs = flatten(&json!({ "a": { "b": 1, "c": "x" }, "betas": [0.8, 0.99], "none": null }));
        let text: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(text, ["a.b=1", "a.c=x", "betas=[0.8,0.99]"]);
    }

    #[test]
    fn artefacts_stay_inside_the_runs_folder() {
        assert_eq!(artifact_path("samples/epoch_1.wav"), "samples/epoch_1.wav");
        assert_eq!(artifact_path("/../a//b#1\\c:d.wav"), "a/b_1_c_d.wav");
        let [image, _] = logged_image("slice/mel_gen", 3, 17);
        assert_eq!(artifact_path(&image), image);
    }

    #[test]
    fn names_stay_inside_the_runs_folder() {
        assert_eq!(metric_name("loss/g/total"), "loss/g/total");
        assert_eq!(metric_name("../../etc/p\"w"), "etc/p_w");
        assert_eq!(metric_name("//"), "_");
    }
}
