//! A tracking server for the tests: stores requests like MLflow's file store (a point sent twice is stored twice),
//! and fails on request.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The fault of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Answers with this status, and does nothing.
    Status(u16),
    /// Does the work, and answers with this status.
    StatusAfter(u16),
    /// Closes the connection before doing anything.
    Reset,
    /// Does the work, then closes the connection without an answer.
    ResetAfter,
    /// Never answers, and does nothing.
    Hang,
    /// Does the work, and never answers.
    HangAfter,
    /// Answers 200 with something that is not JSON.
    Nonsense,
}

/// A point as the server keeps it: key, step, timestamp, value as JSON text.
pub type Point = (String, i64, i64, String);

#[derive(Default)]
pub struct State {
    pub runs: usize,
    pub status: String,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub points: Vec<Point>,
    pub artifacts: BTreeMap<String, Vec<u8>>,
    pub requests: usize,
    /// The largest number of points in one request.
    pub most_points: usize,
    pub authorization: Option<String>,
    /// Other runs that the server has: name, id.
    pub others: Vec<(String, String)>,
    experiment: Option<String>,
}

pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// `fault` is asked for the nth request (from 0) to a path.
    pub fn new(fault: impl Fn(usize, &str) -> Fault + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::default(), fault)
    }

    fn on(
        listener: TcpListener,
        state: Arc<Mutex<State>>,
        fault: impl Fn(usize, &str) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let server = Self { address: listener.local_addr().unwrap(), state };
        let (state, fault) = (server.state.clone(), Arc::new(fault));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state, fault) = (stream.unwrap(), state.clone(), fault.clone());
                std::thread::spawn(move || serve(stream, &state, &*fault));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, fault: &dyn Fn(usize, &str) -> Fault) {
    let Some((method, path, authorization, body)) = read_request(&stream) else { return };
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        state.authorization = authorization;
        fault(state.requests - 1, &path)
    };
    let act = || state.lock().unwrap().act(&method, &path, &body);
    match fault {
        Fault::None => {
            let (status, answer) = act();
            // As MLflow 3.17 answers a file.
            reply(&mut stream, status, &if answer.is_null() { String::new() } else { answer.to_string() });
        }
        Fault::Status(status) => reply(&mut stream, status, "{}"),
        Fault::StatusAfter(status) => {
            act();
            reply(&mut stream, status, "{}");
        }
        Fault::Reset => {}
        Fault::ResetAfter => drop(act()),
        Fault::Hang => std::thread::park(),
        Fault::HangAfter => {
            act();
            std::thread::park();
        }
        Fault::Nonsense => reply(&mut stream, 200, "<html>welcome to the portal</html>"),
    }
}

fn read_request(stream: &TcpStream) -> Option<(String, String, Option<String>, Vec<u8>)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, authorization, body))
}

fn reply(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

impl State {
    fn act(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if let Some(to) = path.strip_prefix("/api/2.0/mlflow-artifacts/artifacts/7/r1/artifacts/") {
            assert_eq!(method, "PUT");
            self.artifacts.insert(to.to_owned(), body.to_vec());
            return (200, Value::Null);
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let absent = (404, json!({ "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no" }));
        match path.strip_prefix("/api/2.0/mlflow/").unwrap_or_default() {
            "experiments/get-by-name" => match &self.experiment {
                Some(_) => (200, json!({ "experiment": { "experiment_id": "7", "lifecycle_stage": "active" } })),
                None => absent,
            },
            "experiments/create" => {
                self.experiment = body["name"].as_str().map(str::to_owned);
                (200, json!({ "experiment_id": "7" }))
            }
            "runs/search" if self.other(&body).is_some() => {
                (200, json!({ "runs": [{ "info": { "run_id": self.other(&body) } }] }))
            }
            "runs/search" if body["filter"].as_str().is_some_and(|filter| filter.contains("'parent-")) => {
                (200, json!({}))
            }
            "runs/search" if self.runs == 0 => (200, json!({})),
            "runs/search" => (200, json!({ "runs": [{ "info": info() }] })),
            "runs/create" => {
                self.runs += 1;
                (200, json!({ "run": { "info": info() } }))
            }
            "runs/log-batch" => self.batch(&body),
            "runs/update" => {
                body["status"].as_str().unwrap().clone_into(&mut self.status);
                (200, json!({}))
            }
            "metrics/get-history" => {
                let key = query.split('&').find_map(|pair| pair.strip_prefix("metric_key=")).unwrap();
                let key = key.replace("%2F", "/");
                let of_key = self.points.iter().filter(|point| point.0 == key);
                let metrics: Vec<Value> = of_key
                    .map(|(key, step, time, value)| {
                        let value: Value = serde_json::from_str(value).unwrap();
                        json!({ "key": key, "value": value, "timestamp": time.to_string(), "step": step.to_string() })
                    })
                    .collect();
                (200, json!({ "metrics": metrics }))
            }
            _ => (404, json!({ "error_code": "ENDPOINT_NOT_FOUND" })),
        }
    }

    /// The id of the other run that a search asks for.
    fn other(&self, body: &Value) -> Option<&String> {
        let filter = body["filter"].as_str()?;
        self.others.iter().find(|(name, _)| filter.contains(&format!("'{name}'"))).map(|(_, id)| id)
    }

    fn batch(&mut self, body: &Value) -> (u16, Value) {
        let entries = |what: &str| body[what].as_array().cloned().unwrap_or_default();
        let metrics = entries("metrics");
        self.most_points = self.most_points.max(metrics.len());
        for param in entries("params") {
            let (key, value) = pair(&param);
            let known = self.params.entry(key).or_insert_with(|| value.clone());
            if *known != value {
                return (
                    400,
                    json!({ "error_code": "INVALID_PARAMETER_VALUE", "message": "changing params is not allowed" }),
                );
            }
        }
        self.tags.extend(entries("tags").iter().map(pair));
        for m in metrics {
            let number = |key: &str| m[key].as_i64().unwrap();
            self.points.push((
                m["key"].as_str().unwrap().to_owned(),
                number("step"),
                number("timestamp"),
                m["value"].to_string(),
            ));
        }
        (200, json!({}))
    }
}

fn info() -> Value {
    json!({ "run_id": "r1", "artifact_uri": "mlflow-artifacts:/7/r1/artifacts" })
}

fn pair(entry: &Value) -> (String, String) {
    (entry["key"].as_str().unwrap().to_owned(), entry["value"].as_str().unwrap().to_owned())
}
