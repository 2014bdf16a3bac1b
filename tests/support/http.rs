//! A web server for the tests that can send wrong answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A client's request.
#[derive(Clone, Debug)]
pub struct Request {
    /// 0 for the first request to this server.
    pub number: usize,
    /// "GET /path HTTP/1.1".
    pub line: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The n of `Range: bytes=n-`.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// Answers every connection with one reply of `answer`, on a thread of its own, until the test's process ends.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn new(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let (requests, answer) = (server.requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, requests, answer) = (stream.unwrap(), requests.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Some((line, headers)) = read_head(&stream) else { return };
                    let request = {
                        let mut requests = requests.lock().unwrap();
                        let request = Request { number: requests.len(), line, headers };
                        requests.push(request.clone());
                        request
                    };
                    answer(&request, &mut stream);
                });
            }
        });
        server
    }

    /// A correct server.
    pub fn honest(content: &[u8], etag: &'static str) -> Self {
        let content = content.to_vec();
        Self::new(move |request, stream| honest(request, stream, &content, etag))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_head(stream: &TcpStream) -> Option<(String, Vec<(String, String)>)> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let mut headers = Vec::new();
    loop {
        let line = lines.next()?.ok()?;
        let Some((name, value)) = line.split_once(':') else { return Some((first, headers)) };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Sends a reply and closes. A disconnected client is ignored.
pub fn reply(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let headers: String = headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// The reply of a correct server: the rest if it is requested with the right ETag, otherwise everything.
pub fn honest(request: &Request, stream: &mut TcpStream, content: &[u8], etag: &str) {
    let fits = request.header("if-range").is_none_or(|given| given == etag);
    match request.from().filter(|from| fits && *from < content.len()) {
        Some(from) => piece(stream, content, from, from, etag),
        None => whole(stream, content, content.len(), etag),
    }
}

/// The content from `from` on, declared to start at `said`.
pub fn piece(stream: &mut TcpStream, content: &[u8], from: usize, said: usize, etag: &str) {
    let range = format!("bytes {said}-{}/{}", content.len() - 1, content.len());
    let length = (content.len() - from).to_string();
    let headers = [("Content-Range", range.as_str()), ("Content-Length", length.as_str()), ("ETag", etag)];
    reply(stream, "206 Partial Content", &headers, &content[from..]);
}

/// The content, declared to have `said` bytes.
pub fn whole(stream: &mut TcpStream, content: &[u8], said: usize, etag: &str) {
    reply(stream, "200 OK", &[("Content-Length", said.to_string().as_str()), ("ETag", etag)], content);
}
