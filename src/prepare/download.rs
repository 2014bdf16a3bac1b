//! Recordings from links, fetched by yt-dlp: a separate program that the user installs and that is not trusted.
//!
//! ```text
//! link --check--> yt-dlp (fixed flags, "--", link) --> data/<voice>/.downloads/<digest>/whole/media.*   kept to resume
//!                                                        --decode--> data/<voice>/<title>_<id>_<digest>.*   moved there whole
//!                                                        ----------> data/<voice>/.downloads/links.json     done
//! ```
//!
//! It runs without a shell, configuration files, plugins or standard input, with a few chosen environment variables (not the
//! user's keys), a time limit, and a process group that ends with us. No file name comes from a site. Each link has its own
//! folder, so all files in it belong to that link.
//!
//! The length of each download is limited. If ffmpeg is on the PATH and the site reports a longer or endless recording,
//! yt-dlp fetches only the first part (`--download-sections`, which ffmpeg does and cannot resume).
//! Else it fetches the whole file. A longer recording is then decoded and cut here to a float32 wav of the exact
//! length; any other file stays as it is.
//!
//! If this process is killed, its yt-dlp may keep running. It holds the lock of its folder through its standard
//! error, so the next run does not start a second one on the same files.

use crate::address::without_password;
use crate::audio::{self, io};
use crate::files::{self, Lock, Workspace};
use crate::process::{self, Failure, Text};
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How to install yt-dlp; `doctor` prints it too.
pub const INSTALL: &str = r#"install it with one of: uv tool install "yt-dlp[default]"; pipx install "yt-dlp[default]"; pip install "yt-dlp[default]""#;

/// In the voice's folder, hidden, so that it does not count as a speaker.
const FOLDER: &str = ".downloads";
const LEDGER: &str = "links.json";
const SCHEMA: u32 = 1;
/// The fields that it prints about a recording, as one line of JSON, before and after.
const TELL: &str = "%(.{id,title,duration,is_live,playlist_count})j";
const TELL_AFTER: &str = "after_move:%(.{id,title,playlist_count})j";
/// Two hours of wav, so that one link cannot fill a disk.
const MAX_FILE: &str = "2G";
/// Longest link; real addresses are shorter.
const MAX_LINK: usize = 4096;
/// Bytes of its output that are read, from the end.
const TAIL: u64 = 64 << 10;
/// A recording that is longer by at most this is not cut: containers count in packets.
const TOLERANCE_SECONDS: f64 = 0.5;
/// Time limit for asking its version. uvx may have to fetch it.
const PROBE: Duration = Duration::from_mins(2);

/// Limits for each link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Longest recording, in seconds; the beginning of a longer one is kept.
    pub duration_seconds: f64,
    /// Longest time for a link; after that it has failed, and its bytes are kept for the next run.
    pub timeout_seconds: f64,
}

impl Default for Limits {
    /// Ten minutes of each, in at most an hour.
    fn default() -> Self {
        Self { duration_seconds: 600.0, timeout_seconds: 3600.0 }
    }
}

impl Limits {
    /// Errors: `config.value`.
    fn validate(&self) -> Result<()> {
        // Decoding is limited to four hours; a day is longer than anyone waits.
        let all =
            [("duration", self.duration_seconds, 1.0, 4.0 * 3600.0), ("timeout", self.timeout_seconds, 1.0, 86400.0)];
        for (name, value, lowest, highest) in all {
            if !(lowest..=highest).contains(&value) {
                let message = format!("{name} of a download is {value}, but must be {lowest} to {highest} seconds");
                return Err(Error::new(Kind::ConfigValue, message));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Done,
    /// Fetched by an earlier run, or earlier in this list.
    Cached,
    Failed,
}

/// The outcome of one link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fetched {
    pub url: String,
    pub status: Status,
    /// The recording, in data/<voice>.
    pub path: Option<PathBuf>,
    pub seconds: Option<f64>,
    /// Its title on the site, without control characters.
    pub title: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// The links in a file, one per line; empty lines are skipped, and a `#` at the beginning of a line or after a space starts a
/// comment.
///
/// Errors: `file.not_found`, `file.read`; `data.damaged` if it is not text; `data.empty` if it has no link.
pub fn read_links(path: &Path) -> Result<Vec<String>> {
    // Links are ASCII; only comments have other characters, in any code page.
    let (text, _) = files::read_foreign(path, |_| 1.0)?;
    let lines = text.lines().map(|line| {
        let comment = line
            .char_indices()
            .find(|(at, c)| *c == '#' && line[..*at].chars().next_back().is_none_or(char::is_whitespace));
        line[..comment.map_or(line.len(), |(at, _)| at)].trim()
    });
    let links: Vec<String> = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if links.is_empty() {
        return Err(Error::new(Kind::DataEmpty, format!("there is no link in {}", path.display()))
            .path(path)
            .hint("write one http or https link per line"));
    }
    Ok(links)
}

/// Whether a link may go to yt-dlp; if not, why.
///
/// Addresses of this machine and of the local network are allowed: the user, not a site, names them.
pub fn check_link(link: &str) -> std::result::Result<(), String> {
    if link.len() > MAX_LINK {
        return Err(format!("it has {} bytes, but may have at most {MAX_LINK}", link.len()));
    }
    if let Some(bad) = link.chars().find(|c| c.is_whitespace() || c.is_control() || *c == '\\') {
        return Err(format!("it contains {bad:?}"));
    }
    let scheme = link.get(..8).filter(|s| s.eq_ignore_ascii_case("https://"));
    let scheme = scheme.or_else(|| link.get(..7).filter(|s| s.eq_ignore_ascii_case("http://")));
    let Some(scheme) = scheme else { return Err("it is not an http or https link".to_owned()) };
    let rest = &link[scheme.len()..];
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        // They would end up in lists and reports.
        return Err("it contains a user name".to_owned());
    }
    // After a badly written name and password: what looks like host or port is part of them.
    let quoted = |what: &str| if rest.contains('@') { String::new() } else { format!(" {what:?}") };
    // An address in brackets has colons of its own.
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let is_host = |c: char| c.is_alphanumeric() || "-._~%:".contains(c);
    if host.is_empty() || host.starts_with(['-', '.']) || !host.chars().all(is_host) {
        return Err(format!("its host{} is not valid", quoted(host)));
    }
    if !port.is_empty() && port.parse::<u16>().is_err() {
        return Err(format!("its port{} is not valid", quoted(port)));
    }
    // yt-dlp passes its own instructions to itself this way.
    if link.contains("__youtubedl_smuggle") {
        return Err("it contains instructions for yt-dlp".to_owned());
    }
    Ok(())
}

/// A working yt-dlp.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    before: Vec<OsString>,
    /// The child's PATH.
    path: OsString,
    version: String,
    has_ffmpeg: bool,
}

impl Tool {
    /// `yt-dlp` on the PATH, else `uvx yt-dlp`, else `python3 -m yt_dlp`: the first that works.
    ///
    /// Errors: `file.not_found` with how to install it and what was tried; `cancelled`.
    pub fn find(task: &Task) -> Result<Self> {
        Self::find_on(task, &std::env::var_os("PATH").unwrap_or_default())
    }

    /// The same with another PATH.
    pub fn find_on(task: &Task, path: &OsStr) -> Result<Self> {
        let candidates: [(&str, &[&str]); 4] =
            [("yt-dlp", &[]), ("uvx", &["yt-dlp"]), ("python3", &["-m", "yt_dlp"]), ("python", &["-m", "yt_dlp"])];
        let here = std::env::current_dir().unwrap_or_default();
        let which = |name: &str| which::which_in(name, Some(path), &here).ok();
        let mut tried = Vec::new();
        for (name, before) in candidates {
            let Some(program) = which(name) else { continue };
            let mut tool = Self {
                // It runs in another folder.
                program: std::path::absolute(&program).unwrap_or(program),
                before: before.iter().map(OsString::from).collect(),
                path: path.to_owned(),
                version: String::new(),
                has_ffmpeg: which("ffmpeg").is_some(),
            };
            match tool.probe(task)? {
                Ok(version) => {
                    tool.version = version;
                    return Ok(tool);
                }
                Err(reason) => tried.push(format!("{}: {reason}", [&[name], before].concat().join(" "))),
            }
        }
        let error =
            Error::new(Kind::NotFound, "yt-dlp, which fetches recordings from links, was not found").hint(INSTALL);
        Err(if tried.is_empty() { error } else { error.also(format!("tried {}", tried.join("; "))) })
    }

    /// Such as "2026.08.19".
    pub fn version(&self) -> &str {
        &self.version
    }

    /// With it only the wanted part of a link is fetched.
    pub fn has_ffmpeg(&self) -> bool {
        self.has_ffmpeg
    }

    /// As a command: "/usr/bin/yt-dlp", "/usr/bin/python3 -m yt_dlp".
    pub fn shown(&self) -> String {
        let words = std::iter::once(self.program.as_os_str()).chain(self.before.iter().map(OsString::as_os_str));
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn probe(&self, task: &Task) -> Result<std::result::Result<String, String>> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("write", &std::env::temp_dir(), e))?;
        let arguments = ["--ignore-config", "--version"].map(OsString::from);
        let output = match self.run(task, folder.path(), &arguments, PROBE)? {
            Ok(output) => output,
            Err(reason) => return Ok(Err(reason)),
        };
        let version = output.out.lines().last().unwrap_or_default().trim();
        let is_version = version.starts_with(|c: char| c.is_ascii_digit()) && version.len() < 40;
        Ok(match output.failure() {
            None if is_version => Ok(version.to_owned()),
            None => Err("it does not print its version".to_owned()),
            Some(reason) => Err(reason),
        })
    }

    /// Runs it in `folder` until it ends; the inner error is why it failed.
    ///
    /// Errors: `cancelled`, `file.write`.
    fn run(
        &self,
        task: &Task,
        folder: &Path,
        arguments: &[OsString],
        limit: Duration,
    ) -> Result<std::result::Result<Output, String>> {
        let open = |name: &str| {
            let path = folder.join(name);
            let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            options.map_err(|e| Error::io("write", &path, e))
        };
        // Files, not pipes: nothing to drain, and nothing to wait for if a grandchild lives on.
        let (mut out, mut err) = (open("out.txt")?, open("err.txt")?);
        if !claim(&err) {
            return Ok(Err("a yt-dlp of an earlier run is still fetching it".to_owned()));
        }
        let handles = [&out, &err].map(|file| {
            file.set_len(0)?;
            file.try_clone().map(Stdio::from)
        });
        let [Ok(stdout), Ok(stderr)] = handles else {
            return Err(Error::new(Kind::Write, format!("cannot write in {}", folder.display())).path(folder));
        };
        let mut command = process::quiet(&self.program);
        command.args(&self.before).args(arguments).current_dir(folder).stdout(stdout).stderr(stderr);
        command.env_clear().envs(environment()).env("PATH", &self.path).env("YTDLP_NO_PLUGINS", "1");
        let ended = process::run(command, Some(task), limit);
        // Unlocked explicitly: a child that another thread is just starting holds copies of all open files, this lock too, for a moment.
        let _ = err.unlock();
        let status = match ended {
            Ok(status) => status,
            Err(Failure::Cancelled) => return Err(Error::cancelled()),
            Err(failure) => return Ok(Err(failure.to_string())),
        };
        // Without its words its status is reported.
        let tail = |file: &mut File| Text::of(file, TAIL).map(|text| text.end).unwrap_or_default();
        Ok(Ok(Output { status, out: tail(&mut out), err: tail(&mut err) }))
    }
}

/// The outcome of a child.
struct Output {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Output {
    /// Its last error message; None if it succeeded.
    fn failure(&self) -> Option<String> {
        if self.status.success() {
            return None;
        }
        let lines = || self.err.lines().chain(self.out.lines()).map(str::trim).filter(|line| !line.is_empty());
        let line = lines().rev().find_map(|line| line.split_once("ERROR:")).map(|(_, reason)| reason);
        let line = line.or_else(|| self.err.lines().map(str::trim).rfind(|line| !line.is_empty()));
        Some(
            line.map(|line| plain(line, 300))
                .filter(|line| !line.is_empty())
                .unwrap_or_else(|| self.status.to_string()),
        )
    }
}

/// Locks a file, also for copies of it in children; false if a child of another run holds the lock.
#[cfg(unix)]
fn claim(file: &File) -> bool {
    !matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}

/// On other systems a lock would keep the child itself from writing.
#[cfg(not(unix))]
fn claim(_file: &File) -> bool {
    true
}

/// The variables that yt-dlp, Python and uv need; the rest of the user's environment may hold keys.
fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    const NAMES: [&str; 27] = [
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TMPDIR",
        "TEMP",
        "TMP",
        "TZ",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "SYSTEMROOT",
        "WINDIR",
        "COMSPEC",
        "PATHEXT",
        "USERPROFILE",
        "APPDATA",
        "LOCALAPPDATA",
        "PROGRAMDATA",
    ];
    const BEGINNINGS: [&str; 5] = ["LC_", "XDG_", "PYENV_", "PYTHON", "UV_"];
    // Credentials of package registries.
    const NEVER: [&str; 4] = ["TOKEN", "PASSWORD", "SECRET", "KEY"];
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy().to_uppercase();
        let known = NAMES.contains(&name.as_str()) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
        known && !NEVER.iter().any(|part| name.contains(part))
    })
}

/// `text` as one line of at most `most` characters, without control characters.
fn plain(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(most).collect()
}

/// The record of finished links: digest of the link -> its recording.
#[derive(Default, Serialize, Deserialize)]
struct Ledger {
    schema: u32,
    links: BTreeMap<String, Link>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Link {
    url: String,
    /// In the voice's folder.
    file: String,
    seconds: f64,
    /// The limit in seconds ...
    asked_seconds: f64,
    /// ... and whether the recording may be longer.
    is_cut: bool,
    title: Option<String>,
}

impl Ledger {
    fn read(task: &Task, path: &Path) -> Self {
        let new = Self { schema: SCHEMA, ..Self::default() };
        if !path.exists() {
            return new;
        }
        let read = files::read_text(path).map_err(|e| e.to_string());
        let read = read.and_then(|text| serde_json::from_str::<Self>(&text).map_err(|e| e.to_string()));
        match read {
            Ok(ledger) if ledger.schema == SCHEMA => ledger,
            Ok(_) => new,
            Err(what) => {
                task.warn(format!("the list of fetched links is damaged, so they will be fetched again: {what}"));
                new
            }
        }
    }

    fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(Kind::Internal, format!("the list of fetched links: {e}")).source(e))?;
        files::write(path, text)
    }

    /// The link's record, if it is done: its file exists and fits these limits.
    fn done(&self, digest: &str, folder: &Path, limits: &Limits) -> Option<&Link> {
        let link = self.links.get(digest)?;
        let asked = limits.duration_seconds;
        let fits =
            (asked - link.asked_seconds).abs() < 1e-6 || (!link.is_cut && link.seconds <= asked + TOLERANCE_SECONDS);
        let about = own_file(folder, &link.file).and_then(|path| std::fs::metadata(path).ok())?;
        (fits && about.is_file() && about.len() > 0).then_some(link)
    }
}

/// The path of a file in `folder` that the ledger names; None if the name is not a plain file name.
fn own_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':']);
    plain.then(|| folder.join(name))
}

/// Downloads the recordings behind `links` to data/<voice>, several at a time. Returns one row per link, in order; a link that
/// fails, or is refused, gets a row with the reason, and the others continue.
///
/// A finished link is not fetched again while its file exists; an interrupted one resumes. Without `tool`, [`Tool::find`] is
/// called if there is something to fetch.
///
/// Errors: `file.not_found` without yt-dlp; `config.value` for the name or the limits; `file.locked` if another process is
/// fetching for this voice; `file.write`, `file.disk_full`; `cancelled`.
pub fn download(
    task: &Task,
    workspace: &Workspace,
    voice: &str,
    links: &[String],
    limits: &Limits,
    tool: Option<&Tool>,
) -> Result<Vec<Fetched>> {
    limits.validate()?;
    let folder = workspace.data(voice)?;
    let scratch = folder.join(FOLDER);
    let _lock = Lock::acquire(&scratch)?;
    let path = scratch.join(LEDGER);
    let ledger = Ledger::read(task, &path);
    let mut seen = HashSet::new();
    let mut missing: Vec<(&String, String)> = Vec::new();
    for link in links.iter().filter(|link| check_link(link).is_ok()) {
        let digest = files::digest(link);
        if seen.insert(link) && ledger.done(&digest, &folder, limits).is_none() {
            missing.push((link, digest));
        }
    }
    let mut found = None;
    let tool = match tool {
        Some(tool) => Some(tool),
        None if missing.is_empty() => None,
        None => Some(&*found.insert(Tool::find(task)?)),
    };
    let ledger = Mutex::new(ledger);
    let mut fetched = HashMap::new();
    if let Some(tool) = tool.filter(|_| !missing.is_empty()) {
        if !tool.has_ffmpeg {
            task.info("ffmpeg is not on the PATH, so long recordings are fetched whole and cut after decoding");
        }
        let results = task.map("fetching recordings", &missing, |(link, digest)| {
            let job = Job { task, tool, folder: &folder, link, digest, limits };
            let result = job.fetch()?;
            if let Ok(done) = &result {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                let former = ledger.links.insert(digest.clone(), done.clone());
                ledger.write(&path)?;
                // The site may have changed the title, and so the name.
                let former = former.filter(|former| former.file != done.file);
                if let Some(former) = former.and_then(|former| own_file(&folder, &former.file)) {
                    files::remove(&former)?;
                }
            }
            Ok(result.err())
        })?;
        fetched.extend(missing.iter().map(|(link, _)| *link).zip(results));
    }
    let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    let row = |link: &String| {
        let failed = |url: &str, reason| Fetched {
            url: plain(url, MAX_LINK),
            status: Status::Failed,
            path: None,
            seconds: None,
            title: None,
            reason: Some(reason),
        };
        if let Err(reason) = check_link(link) {
            return failed(&without_password(link), format!("refused: {reason}"));
        }
        let status = match fetched.get(link) {
            Some(Some(reason)) => return failed(link, reason.clone()),
            Some(None) => Status::Done,
            None => Status::Cached,
        };
        if status == Status::Done {
            // The same link earlier in the list has fetched it.
            fetched.remove(link);
        }
        let Some(done) = ledger.links.get(&files::digest(link)) else {
            return failed(link, "it was not fetched".to_owned());
        };
        Fetched {
            url: link.clone(),
            status,
            path: Some(folder.join(&done.file)),
            seconds: Some(done.seconds),
            title: done.title.clone(),
            reason: None,
        }
    };
    Ok(links.iter().map(row).collect())
}

/// yt-dlp's description of a recording; every field may be missing.
#[derive(Default, Deserialize)]
struct Told {
    id: Option<String>,
    title: Option<String>,
    duration: Option<f64>,
    is_live: Option<bool>,
    playlist_count: Option<u64>,
}

impl Told {
    fn read(output: &Output) -> Self {
        output.out.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }
}

/// One link to fetch.
struct Job<'a> {
    task: &'a Task,
    tool: &'a Tool,
    folder: &'a Path,
    link: &'a str,
    digest: &'a str,
    limits: &'a Limits,
}

impl Job<'_> {
    /// The inner error is why this link failed; its bytes stay for the next run.
    fn fetch(&self) -> Result<std::result::Result<Link, String>> {
        let scratch = self.folder.join(FOLDER).join(&self.digest[..16]);
        files::create_folder(&scratch)?;
        let asked = self.limits.duration_seconds;
        let mut part = None;
        if self.tool.has_ffmpeg {
            let told = match self.run(&scratch, &["--simulate", "--print", TELL])? {
                Ok(output) => Told::read(&output),
                Err(reason) => return Ok(Err(reason)),
            };
            let is_longer = told.duration.is_some_and(|seconds| seconds > asked + TOLERANCE_SECONDS);
            part = (is_longer || told.is_live == Some(true)).then(|| format!("*0-{asked}"));
        }
        // Relative, so that no path in the arguments could be misread as a template. A partial file of something else cannot be
        // resumed.
        let place = if part.is_some() { format!("first-{asked}") } else { "whole".to_owned() };
        let template = format!("{place}/media.%(ext)s");
        let mut flags = vec!["--no-simulate", "--print", TELL_AFTER, "--output", &template];
        if let Some(part) = &part {
            flags.extend(["--download-sections", part]);
        }
        let output = match self.run(&scratch, &flags)? {
            Ok(output) => output,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(sound) = the_file(&scratch.join(place)) else {
            return Ok(Err(format!("yt-dlp found nothing to fetch there, or more than {MAX_FILE}B")));
        };
        let told = Told::read(&output);
        if told.playlist_count.is_some_and(|count| count > 1) {
            let text = format!("{} is a list of several recordings; only the first was fetched", plain(self.link, 200));
            self.task.warn(text);
        }
        let done = match self.keep(&sound, &told, part.is_some()) {
            Ok(done) => done,
            Err(e) if super::concerns_one_item(e.kind()) => {
                return Ok(Err(format!("the download cannot be used: {e}")));
            }
            Err(e) => return Err(e),
        };
        // Nothing depends on its success.
        let _ = std::fs::remove_dir_all(&scratch);
        Ok(Ok(done))
    }

    /// Runs yt-dlp on the link; the inner error is why it failed.
    fn run(&self, scratch: &Path, flags: &[&str]) -> Result<std::result::Result<Output, String>> {
        let arguments: Vec<OsString> =
            [&FLAGS, flags, &["--", self.link]].concat().iter().map(OsString::from).collect();
        let timeout = Duration::from_secs_f64(self.limits.timeout_seconds);
        let output = self.tool.run(self.task, scratch, &arguments, timeout)?;
        Ok(output.and_then(|output| output.failure().map_or(Ok(output), Err)))
    }

    /// Moves the sound into the voice's folder, cut if it is too long. `is_part`: the recording is longer.
    fn keep(&self, sound: &Path, told: &Told, is_part: bool) -> Result<Link> {
        let asked = self.limits.duration_seconds;
        let audio = io::load(sound)?;
        let mut seconds = audio.seconds();
        let is_too_long = seconds > asked + TOLERANCE_SECONDS;
        let file;
        if is_too_long {
            let mut samples = audio.samples;
            samples.truncate((asked * f64::from(audio.sample_rate)).round() as usize);
            let cut = audio::Audio { samples, sample_rate: audio.sample_rate };
            seconds = cut.seconds();
            file = name(told, self.digest, "wav");
            io::write_wav(&self.folder.join(&file), &cut.samples, cut.sample_rate)?;
        } else {
            drop(audio);
            file = name(told, self.digest, sound.extension().and_then(OsStr::to_str).unwrap_or_default());
            let target = self.folder.join(&file);
            let opened = File::options().append(true).open(sound).map_err(|e| Error::io("open", sound, e))?;
            opened.sync_all().map_err(|e| Error::io("write", sound, e))?;
            drop(opened);
            std::fs::rename(sound, &target).map_err(|e| Error::io("rename", &target, e))?;
            files::sync_folder(self.folder);
        }
        let is_cut = is_too_long || is_part;
        let title = told.title.as_deref().map(|title| plain(title, 200)).filter(|title| !title.is_empty());
        Ok(Link { url: self.link.to_owned(), file, seconds, asked_seconds: asked, is_cut, title })
    }
}

/// The flags for every link. The link comes last, after "--", where it cannot be an option.
const FLAGS: [&str; 13] = [
    "--ignore-config",
    "--no-playlist",
    // Of a playlist, only the first entry.
    "--playlist-items",
    "1",
    "--no-update",
    "--no-mtime",
    "--continue",
    "--socket-timeout",
    "30",
    "--max-filesize",
    MAX_FILE,
    // The best audio-only format, else a video.
    "--format",
    "ba/b",
];

/// The only finished file in a folder; None unless there is exactly one.
fn the_file(folder: &Path) -> Option<PathBuf> {
    let is_finished = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let partial = [".part", ".ytdl", ".temp"].iter().any(|ending| name.ends_with(ending))
            || name.contains(".part-frag")
            || name.contains(".temp.");
        // Not followed: a link would lead out of the folder.
        !partial && std::fs::symlink_metadata(path).is_ok_and(|about| about.is_file())
    };
    let mut finished = files::list(folder).ok()?.into_iter().filter(is_finished);
    finished.next().filter(|_| finished.next().is_none())
}

/// "<title>_<id>_<10 digits of the link's digest>.<ending>": only letters and digits, so that it is valid everywhere, not
/// hidden, and unique to the link.
fn name(told: &Told, digest: &str, ending: &str) -> String {
    let part = |text: &Option<String>, most: usize| {
        let letters = text.as_deref().unwrap_or_default().chars().take(500);
        let spaced: String = letters.map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { ' ' }).collect();
        let words: String = spaced.split_whitespace().collect::<Vec<_>>().join("_").chars().take(most).collect();
        words.trim_matches(['_', '-']).to_owned()
    };
    let (title, id) = (part(&told.title, 40), part(&told.id, 20));
    let id = if id == title { String::new() } else { id };
    let words = [title, id, digest[..10].to_owned()];
    let stem = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    let ending = ending.to_ascii_lowercase();
    let named = format!("{stem}.{ending}");
    // The content decides how it is decoded; the name only has to look like a recording's.
    if io::is_audio(Path::new(&named)) { named } else { format!("{stem}.mka") }
}
