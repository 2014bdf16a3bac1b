//! One request for a file or the rest of it, checked against the expected size.
//!
//! Nothing from a server is trusted: not the length, not that a range begins where it was asked to. A body is read up to
//! the length of the file at most, and the digest decides in the end (fetch.rs).

use super::part::{Origin, Part};
use crate::address::without_password;
use crate::task::Task;
use crate::{Error, Kind, Result};
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::{Body, Proxy, tls};

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// Bytes a second; a slower connection over the idle time counts as hanging.
const SLOWEST: f64 = 1000.0;

/// Most bytes of a file of unknown size: the field's largest file is 1.1 GB.
const MOST_UNKNOWN: u64 = 4 << 30;

/// Longest wait when a server asks for one (Retry-After).
const MOST_PATIENCE: Duration = Duration::from_mins(1);

/// The variables that name a proxy, in ureq's order: the first one set applies to every address.
const PROXY_VARIABLES: [&str; 6] = ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// How a request is made.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    idle: Duration,
}

/// Why a request did not deliver all bytes.
pub enum Failure {
    /// Asking again may help, after the time that the server wants.
    Retry(String, Option<Duration>),
    /// This server does not have the file.
    Server(String),
    /// Not the server's fault: a full disk, Ctrl-C.
    Local(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Local(error)
    }
}

impl Client {
    /// `connect` and `idle` are the longest waits for a connection and for bytes.
    pub fn new(connect: Duration, idle: Duration, proxy: Option<Proxy>) -> Self {
        let certificates = tls::TlsConfig::builder().root_certs(tls::RootCerts::PlatformVerifier).build();
        let config = ureq::Agent::config_builder()
            .tls_config(certificates)
            .proxy(proxy)
            .http_status_as_error(false)
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_recv_response(Some(idle))
            .timeout_per_read(Some(idle))
            // A compressed body would have another length and other bytes than the file.
            .accept_encoding("identity")
            .user_agent(concat!("rvc-run/", env!("CARGO_PKG_VERSION")))
            // Attempts share no connection: a failed one must not be reused.
            .max_idle_connections(0)
            .build();
        Self { agent: config.new_agent(), idle }
    }

    /// Adds to `part` the missing bytes of the file at `url`, which has `size` bytes (if known).
    pub fn complete(
        &self,
        url: &str,
        size: Option<u64>,
        part: &mut Part,
        task: &Task,
        stage: &str,
    ) -> std::result::Result<(), Failure> {
        let mut request = self.agent.get(url);
        if let Some(etag) = part.resumable(url) {
            request = request.header(header::RANGE, format!("bytes={}-", part.bytes())).header(header::IF_RANGE, etag);
        }
        let asked = part.resumable(url).map(str::to_owned);
        let mut response = request.call().map_err(failed)?;
        let start = match start(&response, url, asked.as_deref(), part.bytes()) {
            // What is there belongs to another file.
            Err(Start::Wrong(why)) => {
                part.restart(Origin::default())?;
                return Err(Failure::Retry(why, None));
            }
            Err(Start::Refused(trouble)) => return Err(trouble),
            Ok(start) => start,
        };
        let before = if start.is_some() { 0 } else { part.bytes() };
        let announced = response.body().content_length().map(|bytes| bytes.saturating_add(before));
        let end = end(size, announced)?;
        if let Some(origin) = start {
            part.restart(origin)?;
        }
        self.receive(response.body_mut(), &end, part, task, stage)
    }

    /// Reads the body up to `end`, the length of the whole file.
    fn receive(
        &self,
        body: &mut Body,
        end: &End,
        part: &mut Part,
        task: &Task,
        stage: &str,
    ) -> std::result::Result<(), Failure> {
        let start = part.bytes();
        let mut stage = task.stage(stage, end.known.map_or(0, |known| known - start));
        let _in_stage = stage.enter();
        let mut reader = body.as_reader();
        let (began, mut window, mut at_window) = (Instant::now(), Instant::now(), start);
        let mut piece = vec![0u8; PIECE];
        loop {
            task.check()?;
            let n = match reader.read(&mut piece) {
                Ok(n) => n,
                Err(error) => {
                    return Err(Failure::Retry(format!("broke off after {} bytes: {error}", part.bytes()), None));
                }
            };
            if part.bytes() + n as u64 > end.most {
                part.restart(Origin::default())?;
                return Err(Failure::Server(format!("sends more than the {} bytes of the file", end.most)));
            }
            if n == 0 {
                return match end.known {
                    Some(known) if part.bytes() < known => {
                        Err(Failure::Retry(format!("ended after {} of {known} bytes", part.bytes()), None))
                    }
                    _ => Ok(()),
                };
            }
            part.append(&piece[..n])?;
            stage.advance(n as u64, note(part.bytes(), end.known, part.bytes() - start, began.elapsed()));
            if window.elapsed() >= self.idle {
                if ((part.bytes() - at_window) as f64) < SLOWEST * window.elapsed().as_secs_f64() {
                    return Err(Failure::Retry(format!("sends almost nothing after {} bytes", part.bytes()), None));
                }
                (window, at_window) = (Instant::now(), part.bytes());
            }
        }
    }
}

/// Where a body ends.
struct End {
    /// The length of the whole file, if it is known.
    known: Option<u64>,
    /// What it must not exceed.
    most: u64,
}

/// The end of a file of `size` bytes, if the `announced` ones fit it.
fn end(size: Option<u64>, announced: Option<u64>) -> std::result::Result<End, Failure> {
    match (size, announced) {
        (Some(size), Some(announced)) if size != announced => {
            Err(Failure::Server(format!("announces {announced} bytes, but the file has {size}")))
        }
        (None, Some(announced)) if announced > MOST_UNKNOWN => {
            Err(Failure::Server(format!("announces {announced} bytes, more than the {MOST_UNKNOWN} that are allowed")))
        }
        (Some(known), _) | (None, Some(known)) => Ok(End { known: Some(known), most: known }),
        (None, None) => Ok(End { known: None, most: MOST_UNKNOWN }),
    }
}

/// Why a body is not read.
enum Start {
    /// The bytes on disk and those offered are not of the same file.
    Wrong(String),
    Refused(Failure),
}

/// Where the body of a response belongs: after the bytes on disk, or (with the origin to remember) at the beginning.
fn start(
    response: &Response<Body>,
    url: &str,
    asked: Option<&str>,
    bytes: u64,
) -> std::result::Result<Option<Origin>, Start> {
    let (status, headers) = (response.status(), response.headers());
    let etag = text(headers, header::ETAG).filter(|etag| etag.starts_with('"'));
    match (status.as_u16(), asked) {
        // Also the answer to a request for the rest, from a server that cannot resume or has another file now.
        (200, _) => Ok(Some(Origin { url: url.to_owned(), etag: etag.map(str::to_owned) })),
        (206, Some(asked)) if etag.is_some_and(|etag| etag != asked) => {
            Err(Start::Wrong("has another file there now".to_owned()))
        }
        (206, Some(_)) => match first_byte(headers) {
            Some(from) if from == bytes => Ok(None),
            Some(from) => Err(Start::Wrong(format!("sends bytes from {from}, but was asked for bytes from {bytes}"))),
            None => Err(Start::Wrong("sends a range without saying which".to_owned())),
        },
        (416, Some(_)) => Err(Start::Wrong("has fewer bytes there now".to_owned())),
        (code @ (408 | 425 | 429 | 500..=599), _) => {
            Err(Start::Refused(Failure::Retry(format!("answers {code}"), patience(headers))))
        }
        (code, _) => Err(Start::Refused(Failure::Server(format!("answers {code}")))),
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The a of `Content-Range: bytes a-b/n`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// `Retry-After` in seconds; the date form is ignored.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text(headers, header::RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MOST_PATIENCE))
}

fn failed(error: ureq::Error) -> Failure {
    use ureq::Error as E;
    match error {
        E::HostNotFound => Failure::Retry("is an unknown host name (is there a network?)".to_owned(), None),
        E::Timeout(_) => Failure::Retry("does not answer in time".to_owned(), None),
        // The same request would fail in the same way.
        E::BadUri(_) | E::Http(_) | E::TooManyRedirects | E::Rustls(_) | E::Tls(_) => {
            Failure::Server(format!("fails: {error}"))
        }
        other => Failure::Retry(format!("fails: {other}"), None),
    }
}

/// "12.3 of 181.2 MB, 3.4 MB/s".
fn note(bytes: u64, size: Option<u64>, fresh: u64, time: Duration) -> String {
    let rate = fresh as f64 / 1e6 / time.as_secs_f64().max(0.001);
    match size {
        Some(size) => format!("{:.1} of {}, {rate:.1} MB/s", bytes as f64 / 1e6, megabytes(size)),
        None => format!("{}, {rate:.1} MB/s", megabytes(bytes)),
    }
}

/// "181.2 MB".
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The proxy from the environment, not used for the servers in NO_PROXY; None if no variable names one.
///
/// Errors: `usage` for a variable whose value is unusable. ureq would skip such a variable and send the request
/// without a proxy.
pub fn proxy() -> Result<Option<Proxy>> {
    for name in PROXY_VARIABLES {
        let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { continue };
        if value.to_str().is_some_and(is_proxy) {
            return Ok(Proxy::try_from_env());
        }
        let value = value.to_string_lossy();
        let value = without_password(&value);
        let message =
            format!("{name} is {value:?}, but must be the address of a proxy, such as http://proxy.example:3128");
        return Err(Error::new(Kind::Usage, message).hint(format!(
            "allowed are http, https, socks4, socks4a, socks5 and socks5h; correct {name} or unset it; NO_PROXY names servers \
            that are reached without a proxy"
        )));
    }
    Ok(None)
}

fn is_proxy(value: &str) -> bool {
    let Ok(proxy) = Proxy::new(value) else { return false };
    let Some(authority) = proxy.uri().authority() else { return false };
    let (host, address) = (authority.host(), authority.as_str());
    let address = address.rsplit_once('@').map_or(address, |(_, address)| address);
    // ureq would replace an unreadable port by the protocol's default.
    let port = address.strip_prefix(host).unwrap_or_default();
    let readable = || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    !host.is_empty() && (port.is_empty() || readable())
}

/// Errors: `usage` for an address that is not http or https.
pub fn check_host(host: &str) -> Result<()> {
    let parsed = host.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|name| !name.is_empty()));
    if parsed.is_some_and(|uri| matches!(uri.scheme_str(), Some("https" | "http"))) {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, format!("{:?} is not the address of a server", without_password(host)))
        .hint("give one such as https://huggingface.co"))
}
