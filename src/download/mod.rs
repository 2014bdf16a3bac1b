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

mod job;
mod ledger;
mod limits;
mod link;
mod tool;

pub use limits::Limits;
pub use link::{check_link, read_links};
pub use tool::{CANDIDATES, INSTALL, Tool};

use crate::Result;
use crate::address::without_password;
use crate::files::{self, Lock, Workspace};
use crate::shown::plain;
use crate::task::Task;
use job::Job;
use ledger::{FOLDER, LEDGER, Ledger, own_file};
use link::MAX_LINK;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

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
        if !tool.has_ffmpeg() {
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
