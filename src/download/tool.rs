//! The program yt-dlp: found, and run without anything of the user's that it does not need.

use crate::process::{self, Failure, Text};
use crate::shown::plain;
use crate::task::Task;
use crate::{Error, Kind, Result};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

/// How to install yt-dlp; `doctor` prints it too.
pub const INSTALL: &str = r#"install it with one of: uv tool install "yt-dlp[default]"; pipx install "yt-dlp[default]"; pip install "yt-dlp[default]""#;

/// The programs that may have it, with the arguments that come first, in the order of preference.
pub const CANDIDATES: [(&str, &[&str]); 4] =
    [("yt-dlp", &[]), ("uvx", &["yt-dlp"]), ("python3", &["-m", "yt_dlp"]), ("python", &["-m", "yt_dlp"])];
/// Bytes of its output that are read, from the end.
const TAIL: u64 = 64 << 10;
/// Time limit for asking its version. uvx may have to fetch it.
const PROBE: Duration = Duration::from_mins(2);

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
        let here = std::env::current_dir().unwrap_or_default();
        let which = |name: &str| which::which_in(name, Some(path), &here).ok();
        let mut tried = Vec::new();
        for (name, before) in CANDIDATES {
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
    pub(super) fn run(
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
pub struct Output {
    status: ExitStatus,
    pub out: String,
    err: String,
}

impl Output {
    /// Its last error message; None if it succeeded.
    pub fn failure(&self) -> Option<String> {
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
