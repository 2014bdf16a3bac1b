//! A tracking server over MLflow's REST API.
//!
//! If a point is sent twice, MLflow's database keeps it once, its file store twice. So a doubtful batch is always compared with
//! the server's own history first. The server chooses run ids; a run is found again by its tag rvc_run.run.

use super::{Identity, Status, Store};
use crate::track::follow::{Failure, Outcome, Sample};
use crate::{Error, Kind, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Method, Request, Response, header};
use ureq::{Body, SendBody, tls};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, unless MLFLOW_HTTP_REQUEST_TIMEOUT is set. A server under load takes seconds for a
/// batch; MLflow's own client waits 120 s.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes a second that an upload must reach at least.
const SLOWEST_UPLOAD: u64 = 100_000;
/// Params and tags in one request; MLflow's limit.
const MOST_PAIRS: usize = 100;
/// Points of a history per request; MLflow's limit.
const PAGE: usize = 25_000;
/// Most bytes of an answer: a page of history has 3 MB.
const MOST_ANSWER: u64 = 64 << 20;
/// MLflow's database stores an infinity as this.
const DATABASE_INFINITY: f64 = f64::MAX;

/// How to reach a server.
#[derive(Clone, Default, PartialEq)]
pub struct Access {
    authorization: Option<String>,
    workspace: Option<String>,
    timeout: Option<Duration>,
    insecure: bool,
}

impl std::fmt::Debug for Access {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access {{ authorization: {} }}", self.authorization.is_some())
    }
}

impl Access {
    /// The address without its user and password, and the login from it and MLflow's variables: MLFLOW_TRACKING_TOKEN,
    /// MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_WORKSPACE, MLFLOW_TRACKING_INSECURE_TLS,
    /// MLFLOW_HTTP_REQUEST_TIMEOUT (seconds).
    ///
    /// Errors: `usage` for an address without a host, or a timeout that is not a number.
    pub fn of(address: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, Self)> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
        // A password may hold anything, a slash too.
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let url = format!("{}://{host}{}", scheme.to_ascii_lowercase(), path.trim_end_matches('/'));
        if url.contains(['?', '#']) {
            let shown = url.split(['?', '#']).next().unwrap_or_default();
            return Err(Error::new(
                Kind::Usage,
                format!("the address {shown} contains ? or #, which a tracking server's address must not"),
            )
            .hint("put a token into MLFLOW_TRACKING_TOKEN"));
        }
        if host.is_empty() || url.parse::<ureq::http::Uri>().is_err() {
            return Err(Error::new(Kind::Usage, format!("{url:?} is not the address of a tracking server"))
                .hint("give one such as http://127.0.0.1:5000"));
        }
        let named = variable("MLFLOW_TRACKING_USERNAME")
            .map(|user| format!("{user}:{}", variable("MLFLOW_TRACKING_PASSWORD").unwrap_or_default()));
        let basic = user.map(str::to_owned).or(named).map(|pair| format!("Basic {}", base64(&pair)));
        let bearer = variable("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}"));
        let timeout = variable("MLFLOW_HTTP_REQUEST_TIMEOUT").map(|text| seconds(&text)).transpose()?;
        let insecure = variable("MLFLOW_TRACKING_INSECURE_TLS").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let workspace = variable("MLFLOW_WORKSPACE");
        Ok((url, Self { authorization: basic.or(bearer), workspace, timeout, insecure }))
    }
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| {
        Error::new(Kind::Usage, format!("MLFLOW_HTTP_REQUEST_TIMEOUT is {text:?}, but must be seconds, 0.1 to 86400"))
    })
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(super) struct Server {
    url: String,
    access: Access,
    agent: ureq::Agent,
    run_id: Option<String>,
    artifact_uri: String,
    /// The server's points of each key, while they are needed.
    history: HashMap<String, HashSet<PointId>>,
    /// The first point that the server will never accept, and why.
    refused: Option<String>,
}

/// The identity of a point of a key: step, milliseconds, bits of the value.
type PointId = (i64, i64, u64);

/// An answer that is not 2xx, or a failure to get one.
struct Refusal {
    /// None if there was no readable answer.
    status: Option<u16>,
    /// MLflow's own, such as RESOURCE_DOES_NOT_EXIST.
    code: String,
    message: String,
    patience: Option<Duration>,
    /// Whether the connection broke; the next may not.
    broken: bool,
}

impl Server {
    pub fn new(url: &str, access: &Access) -> Self {
        let local = ["://127.0.0.1", "://localhost", "://[::1]"].iter().any(|host| url.contains(host));
        let certificates = tls::TlsConfig::builder()
            .root_certs(tls::RootCerts::PlatformVerifier)
            .disable_verification(access.insecure)
            .build();
        let answer = access.timeout.unwrap_or(ANSWER);
        let mut config = ureq::Agent::config_builder()
            .tls_config(certificates)
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(answer))
            .timeout_recv_body(Some(answer))
            .user_agent(concat!("rvc-run/", env!("CARGO_PKG_VERSION")))
            // A reused connection may be dead, and then it is unknown whether the request arrived.
            .max_idle_connections(0);
        if local {
            config = config.proxy(None);
        }
        Self {
            url: url.to_owned(),
            access: access.clone(),
            agent: config.build().new_agent(),
            run_id: None,
            artifact_uri: String::new(),
            history: HashMap::new(),
            refused: None,
        }
    }

    fn run_id(&self) -> &str {
        self.run_id.as_deref().expect("ensure is called before anything else")
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> std::result::Result<Value, Refusal> {
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", encoded_whole(value))).collect();
        self.call(Method::GET, &format!("{path}?{}", query.join("&")), None)
    }

    fn post(&self, path: &str, body: &Value) -> std::result::Result<Value, Refusal> {
        self.call(Method::POST, path, Some(body))
    }

    /// Sends a request, and retries it if a repetition is harmless, so that occasional server failures do not interrupt a delivery.
    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> std::result::Result<Value, Refusal> {
        for wait in WAITS {
            match self.call_once(method.clone(), path, body) {
                Err(refusal) if refusal.passes() && (refusal.did_nothing() || may_repeat(path, body)) => {
                    tracing::debug!("{path}: {}; asked again", refusal.message);
                    std::thread::sleep(wait);
                }
                answer => return answer,
            }
        }
        self.call_once(method, path, body)
    }

    fn call_once(&self, method: Method, path: &str, body: Option<&Value>) -> std::result::Result<Value, Refusal> {
        tracing::trace!("{method} {}/{path}", self.url);
        let request = self.request(method, &format!("/api/2.0/mlflow/{path}"));
        let text = body.map(Value::to_string).unwrap_or_default();
        let agent = &self.agent;
        let response = if body.is_some() {
            let request = request.header(header::CONTENT_TYPE, "application/json").body(text.as_str());
            request.map_err(|error| unsendable(&error)).and_then(|request| agent.run(request).map_err(unanswered))
        } else {
            request
                .body(())
                .map_err(|error| unsendable(&error))
                .and_then(|request| agent.run(request).map_err(unanswered))
        };
        Self::answer(response?)
    }

    fn request(&self, method: Method, path: &str) -> ureq::http::request::Builder {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(authorization) = &self.access.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(workspace) = &self.access.workspace {
            request = request.header("X-MLFLOW-WORKSPACE", workspace);
        }
        request
    }

    fn answer(mut response: Response<Body>) -> std::result::Result<Value, Refusal> {
        let status = response.status().as_u16();
        let patience = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
        let body = response.body_mut().with_config().limit(MOST_ANSWER).read_to_vec().map_err(unanswered)?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        if (200..300).contains(&status) {
            // MLflow 3.17 answers an upload with an empty body.
            let value = if body.is_empty() { Some(Value::Null) } else { value };
            return value.ok_or_else(|| Refusal {
                status: None,
                code: String::new(),
                message: "the answer is not JSON: is this an MLflow server?".to_owned(),
                patience: None,
                broken: false,
            });
        }
        let said = |key: &str| value.as_ref().and_then(|v| v[key].as_str()).unwrap_or_default().to_owned();
        let mut message = format!("the server answers {status}");
        if !said("message").is_empty() {
            message = format!("{message}: {}", said("message").chars().take(300).collect::<String>());
        }
        Err(Refusal {
            status: Some(status),
            code: said("error_code"),
            message,
            patience: patience.map(Duration::from_secs),
            broken: false,
        })
    }

    fn failure(&self, refusal: &Refusal) -> Failure {
        let passing = refusal.passes();
        let refused = matches!(refusal.status, Some(400 | 413));
        let error = Error::new(Kind::Network, format!("{}: {}", self.url, refusal.message));
        let error = match refusal.status {
            Some(401) => {
                error.hint("set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
            }
            Some(403) => error.hint("the server rejects this user or this host name; see its option --allowed-hosts"),
            Some(404) if refusal.code == "RESOURCE_DOES_NOT_EXIST" => {
                error.hint("was the run deleted on the server? restore it there")
            }
            Some(404) => error.hint("is this the address of an MLflow server?"),
            _ => error,
        };
        Failure { error, patience: refusal.patience, passing, refused }
    }

    fn experiment(&self, name: &str) -> Outcome<String> {
        let id = |answer: &Value| answer["experiment_id"].as_str().map(str::to_owned);
        for _ in 0..2 {
            match self.get("experiments/get-by-name", &[("experiment_name", name)]) {
                Ok(answer) if answer["experiment"]["lifecycle_stage"] == "deleted" => {
                    return Err(Error::new(
                        Kind::Network,
                        format!("the experiment {name:?} was deleted on {}", self.url),
                    )
                    .hint("restore it there, or choose another with --experiment")
                    .into());
                }
                Ok(answer) => return id(&answer["experiment"]).ok_or_else(|| self.unexpected_answer()),
                Err(refusal) if refusal.code == "RESOURCE_DOES_NOT_EXIST" => {}
                Err(refusal) => return Err(self.failure(&refusal)),
            }
            match self.post("experiments/create", &json!({ "name": name })) {
                Ok(answer) => return id(&answer).ok_or_else(|| self.unexpected_answer()),
                // Another run created it in between.
                Err(refusal) if refusal.code == "RESOURCE_ALREADY_EXISTS" => {}
                Err(refusal) => return Err(self.failure(&refusal)),
            }
        }
        Err(self.unexpected_answer())
    }

    fn unexpected_answer(&self) -> Failure {
        Error::new(Kind::Network, format!("{}: an answer lacks the fields of MLflow's answers", self.url)).into()
    }

    /// A run from an earlier request whose answer did not arrive.
    fn find(&self, experiment: &str, id: &str) -> Outcome<Option<Value>> {
        let quote = if id.contains('\'') { '"' } else { '\'' };
        let filter = format!("tags.`rvc_run.run` = {quote}{id}{quote}");
        let search = json!({ "experiment_ids": [experiment], "filter": filter, "max_results": 1 });
        let answer = self.post("runs/search", &search).map_err(|refusal| self.failure(&refusal))?;
        Ok(answer["runs"].get(0).map(|run| run["info"].clone()))
    }

    fn find_or_create(&self, experiment: &str, run: &Identity) -> Outcome<Value> {
        if let Some(info) = self.find(experiment, &run.id)? {
            return Ok(info);
        }
        let tags = [("rvc_run.run", &run.id), ("voice", &run.name)].map(|(k, v)| json!({ "key": k, "value": v }));
        let new =
            json!({ "experiment_id": experiment, "run_name": run.title, "start_time": run.start_ms, "tags": tags });
        let answer = self.post("runs/create", &new).map_err(|refusal| self.failure(&refusal))?;
        Ok(answer["run"]["info"].clone())
    }

    fn batch(&self, what: &str, entries: &[Value]) -> std::result::Result<Value, Refusal> {
        let mut body = Map::from_iter([("run_id".to_owned(), Value::from(self.run_id()))]);
        body.insert(what.to_owned(), Value::from(entries.to_vec()));
        self.post("runs/log-batch", &Value::Object(body))
    }

    /// Sends `entries`; a batch that the server calls too large or wrong is halved, so that one bad entry affects only itself.
    fn send(&self, what: &str, entries: &[Value], wrong: &mut Vec<String>) -> Outcome<()> {
        match self.batch(what, entries) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.status == Some(413) || refusal.code == "INVALID_PARAMETER_VALUE" => {
                if let [entry] = entries {
                    wrong.push(format!("{}: {}", entry["key"], refusal.message));
                    return Ok(());
                }
                let (first, second) = entries.split_at(entries.len() / 2);
                self.send(what, first, wrong)?;
                self.send(what, second, wrong)
            }
            Err(refusal) => Err(self.failure(&refusal)),
        }
    }

    /// Sends a file's content to a path of the server.
    fn upload(&self, file: &Path, path: &str) -> Outcome<()> {
        let source = File::open(file).map_err(|e| Error::io("read", file, e))?;
        let length = source.metadata().map_err(|e| Error::io("read", file, e))?.len();
        let request = self
            .request(Method::PUT, path)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length)
            // A log that grows meanwhile is sent with its earlier length.
            .body(SendBody::from_owned_reader(source.take(length)));
        let limit = Duration::from_secs(length / SLOWEST_UPLOAD) + self.access.timeout.unwrap_or(ANSWER);
        let response = request.map_err(|error| unsendable(&error)).and_then(|request| {
            let request = self.agent.configure_request(request).timeout_send_body(Some(limit)).build();
            self.agent.run(request).map_err(unanswered)
        });
        response.and_then(Self::answer).map(drop).map_err(|refusal| self.failure(&refusal))
    }

    fn send_points(&mut self, points: &[Sample], doubtful: bool) -> Outcome<()> {
        let missing = if doubtful { self.missing(points)? } else { points.to_vec() };
        // Points sent from here on are not in it.
        if !doubtful {
            self.history.clear();
        }
        if missing.is_empty() {
            return Ok(());
        }
        let entries: Vec<Value> = missing.iter().map(entry).collect();
        let mut wrong = Vec::new();
        self.send("metrics", &entries, &mut wrong)?;
        match wrong.first() {
            None => Ok(()),
            // A retry would be rejected again, and delay everything after it.
            Some(first) => {
                self.refused.get_or_insert_with(|| first.clone());
                Ok(())
            }
        }
    }

    /// Those of `points` that the server does not have.
    fn missing(&mut self, points: &[Sample]) -> Outcome<Vec<Sample>> {
        for point in points {
            if !self.history.contains_key(&point.key) {
                let known = self.history_of(&point.key)?;
                self.history.insert(point.key.clone(), known);
            }
        }
        let there =
            |point: &Sample| self.history[&point.key].contains(&identity(point.step, point.time_ms, point.value));
        Ok(points.iter().filter(|point| !there(point)).cloned().collect())
    }

    /// The server's points of a key.
    fn history_of(&self, key: &str) -> Outcome<HashSet<PointId>> {
        let (mut there, mut page) = (HashSet::new(), String::new());
        loop {
            let size = PAGE.to_string();
            let mut query = vec![("run_id", self.run_id()), ("metric_key", key), ("max_results", size.as_str())];
            if !page.is_empty() {
                query.push(("page_token", page.as_str()));
            }
            let answer = match self.get("metrics/get-history", &query) {
                Err(refusal) if refusal.code == "RESOURCE_DOES_NOT_EXIST" => return Ok(there),
                answer => answer.map_err(|refusal| self.failure(&refusal))?,
            };
            let known = answer["metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
            there.extend(known.iter().filter_map(known_point));
            match answer["next_page_token"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut page),
                _ => return Ok(there),
            }
        }
    }
}

/// The waits before the first and the second retry. The follower does longer waits.
const WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Whether a request that may have succeeded can be repeated without harm.
fn may_repeat(path: &str, body: Option<&Value>) -> bool {
    path != "runs/create" && body.is_none_or(|body| body.get("metrics").is_none())
}

impl Refusal {
    /// Whether a retry may soon succeed.
    fn passes(&self) -> bool {
        match self.status {
            Some(status) => matches!(status, 429 | 500 | 502 | 503 | 504) && self.patience.is_none(),
            None => self.broken,
        }
    }

    /// Whether the server reported that it did not carry out the request.
    fn did_nothing(&self) -> bool {
        self.status == Some(429)
    }
}

impl Store for Server {
    fn name(&self) -> String {
        format!("MLflow at {}", self.url)
    }

    fn id_of(&mut self, experiment: &str, run: &str) -> Outcome<Option<String>> {
        let info = self.find(&self.experiment(experiment)?, run)?;
        Ok(info.and_then(|info| info["run_id"].as_str().map(str::to_owned)))
    }

    fn ensure(&mut self, run: &Identity) -> Outcome<()> {
        if self.run_id.is_some() {
            return Ok(());
        }
        let experiment = self.experiment(&run.experiment)?;
        let first = self.find_or_create(&experiment, run);
        // A run without an answer may exist: it is searched for before another is created.
        let info = WAITS.into_iter().fold(first, |info, wait| match info {
            Err(trouble) if trouble.passing => {
                std::thread::sleep(wait);
                self.find_or_create(&experiment, run)
            }
            info => info,
        })?;
        let text = |key: &str| info[key].as_str().map(str::to_owned);
        let run_id = text("run_id").ok_or_else(|| self.unexpected_answer())?;
        self.artifact_uri = text("artifact_uri").unwrap_or_default();
        self.run_id = Some(run_id);
        Ok(())
    }

    /// A param with another value on the server cannot be changed; it becomes a tag.
    fn params(&mut self, params: &[(String, String)]) -> Outcome<()> {
        let mut wrong = Vec::new();
        for some in params.chunks(MOST_PAIRS) {
            self.send("params", &pairs(some), &mut wrong)?;
        }
        let refused: Vec<_> = params
            .iter()
            .filter(|(key, _)| wrong.iter().any(|text| text.starts_with(&format!("{}:", Value::from(key.as_str())))))
            .map(|(key, value)| (format!("param.{key}"), value.clone()))
            .collect();
        if refused.is_empty() { Ok(()) } else { self.tags(&refused) }
    }

    fn tags(&mut self, tags: &[(String, String)]) -> Outcome<()> {
        for some in tags.chunks(MOST_PAIRS) {
            self.send("tags", &pairs(some), &mut Vec::new())?;
        }
        Ok(())
    }

    fn points(&mut self, points: &[Sample], doubtful: bool) -> Outcome<()> {
        let first = self.send_points(points, doubtful);
        // The server's own history shows whether a batch without an answer arrived.
        let outcome = WAITS.into_iter().fold(first, |outcome, wait| match outcome {
            Err(trouble) => {
                self.history.clear();
                if !trouble.passing {
                    return Err(trouble);
                }
                std::thread::sleep(wait);
                self.send_points(points, true)
            }
            outcome => outcome,
        });
        outcome.inspect_err(|_| self.history.clear())
    }

    fn status(&mut self, status: Status, end_ms: Option<i64>) -> Outcome<()> {
        let status = match status {
            Status::Running => "RUNNING",
            Status::Finished => "FINISHED",
            Status::Failed => "FAILED",
            Status::Killed => "KILLED",
        };
        let mut body = json!({ "run_id": self.run_id(), "status": status });
        if let Some(ms) = end_ms {
            body["end_time"] = ms.into();
        }
        self.post("runs/update", &body).map(drop).map_err(|refusal| self.failure(&refusal))
    }

    fn artifact(&mut self, file: &Path, to: &str) -> Outcome<()> {
        let Some(place) = self.artifact_uri.strip_prefix("mlflow-artifacts:") else {
            return local_copy(&self.artifact_uri, file, to);
        };
        // "mlflow-artifacts:/1/run/artifacts", or with "//host:port" before the path.
        let path = match place.strip_prefix("//") {
            Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
            None => place,
        };
        let path = format!("/api/2.0/mlflow-artifacts/artifacts{}/{}", path.trim_end_matches('/'), encoded(to));
        let first = self.upload(file, &path);
        WAITS.into_iter().fold(first, |outcome, wait| match outcome {
            Err(trouble) if trouble.passing => {
                std::thread::sleep(wait);
                self.upload(file, &path)
            }
            outcome => outcome,
        })
    }

    fn state(&self) -> Value {
        json!({ "url": self.url, "run_id": self.run_id, "artifact_uri": self.artifact_uri })
    }

    fn open(&mut self, state: &Value, _clean: bool) -> Result<bool> {
        self.run_id = state["run_id"].as_str().map(str::to_owned);
        state["artifact_uri"].as_str().unwrap_or_default().clone_into(&mut self.artifact_uri);
        Ok(true)
    }

    fn close(&mut self) -> Result<()> {
        match self.refused.take() {
            None => Ok(()),
            Some(first) => Err(Error::new(Kind::Network, format!("{} rejects some points, such as {first}", self.url))),
        }
    }
}

/// A server on this machine may keep artefacts in a folder that the client itself writes to.
fn local_copy(uri: &str, file: &Path, to: &str) -> Outcome<()> {
    let folder = uri.strip_prefix("file://").or_else(|| uri.starts_with('/').then_some(uri));
    let folder = folder.map(|folder| percent_decode_str(folder).decode_utf8_lossy().into_owned()).map(PathBuf::from);
    let Some(folder) = folder.filter(|folder| folder.is_absolute()) else {
        let error = Error::new(
            Kind::Network,
            format!(
                "artefacts of this server are at {uri}, where rvc-run cannot write; start the server with --serve-artifacts, MLflow's default"
            ),
        );
        return Err(Failure { refused: true, ..error.into() });
    };
    let mut source = File::open(file).map_err(|e| Error::io("read", file, e))?;
    crate::files::write_with(&folder.join(to), |out| std::io::copy(&mut source, out))?;
    Ok(())
}

fn pairs(pairs: &[(String, String)]) -> Vec<Value> {
    pairs.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

fn entry(sample: &Sample) -> Value {
    let value = match sample.value {
        // A bare NaN is stored as 0, and serde_json would write null, which is rejected.
        value if value.is_nan() => Value::from("NaN"),
        value if value.is_infinite() => Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        value => Value::from(value),
    };
    json!({ "key": sample.key, "value": value, "timestamp": sample.time_ms, "step": sample.step })
}

/// The identity of a point of a key, NaN and the database's infinities included.
fn identity(step: i64, time_ms: i64, value: f64) -> PointId {
    let value = if value.is_nan() { f64::NAN } else { value.clamp(-DATABASE_INFINITY, DATABASE_INFINITY) };
    (step, time_ms, (value + 0.0).to_bits())
}

fn known_point(metric: &Value) -> Option<PointId> {
    // Numbers of 64 bits are texts in protobuf's JSON.
    let integer = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let value = super::super::read::number(&metric["value"])?;
    Some(identity(integer(&metric["step"]).unwrap_or(0), integer(&metric["timestamp"])?, value))
}

fn unsendable(error: &ureq::http::Error) -> Refusal {
    let message = format!("cannot be reached: {error}");
    Refusal { status: None, code: String::new(), message, patience: None, broken: false }
}

fn unanswered(error: ureq::Error) -> Refusal {
    // A retry of a timeout would cost the same time again.
    let broken = !matches!(error, ureq::Error::Timeout(_) | ureq::Error::HostNotFound);
    let message = match error {
        ureq::Error::Timeout(_) => "does not answer in time".to_owned(),
        ureq::Error::HostNotFound => "is an unknown host name".to_owned(),
        other => format!("does not answer: {other}"),
    };
    Refusal { status: None, code: String::new(), message, patience: None, broken }
}

/// A path with all characters escaped that could end it; separators stay.
pub(super) fn encoded(path: &str) -> String {
    path.split('/').map(encoded_whole).collect::<Vec<_>>().join("/")
}

fn encoded_whole(text: &str) -> String {
    /// All characters except RFC 3986's unreserved ones.
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}
