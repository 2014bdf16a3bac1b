//! Downloads missing assets: a file gets its name only when it is whole and verified.
//!
//! A failed request is repeated, then the next server is tried. An existing file is never replaced: it may be the
//! user's own.

use super::catalog::{Asset, File, Source};
use super::http::{self, Client, Failure, check_host, megabytes};
use super::part::{Part, beside};
use super::store::Store;
use super::verify::{self, State};
use crate::files::{self, Lock};
use crate::task::Task;
use crate::{Error, Kind, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes left free on the disk after a download.
const SPARE: u64 = 64 << 20;

/// Most requests for one file to one server, however much each of them delivers.
const MOST_REQUESTS: u32 = 200;

/// How often a wait checks whether it should end.
const INTERVAL: Duration = Duration::from_millis(100);

/// How files are fetched.
#[derive(Clone, Debug)]
pub struct Options {
    /// Servers to try, in order; empty for the catalog's.
    pub mirrors: Vec<String>,
    /// Use no network.
    pub offline: bool,
    /// Also fetch files without a digest in the catalog.
    pub unverified: bool,
    /// Whether the proxy of the environment is used: ALL_PROXY, HTTPS_PROXY or HTTP_PROXY, and NO_PROXY.
    pub proxy: bool,
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for bytes.
    pub idle: Duration,
    /// Failures in a row, without a new byte, before a server is given up.
    pub attempts: u32,
    /// Wait after the first failure; it doubles with each one after that.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            offline: false,
            unverified: false,
            proxy: true,
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_secs(1),
        }
    }
}

impl Options {
    /// The defaults with the environment's values: RVC_RUN_MIRROR (several separated by spaces), else HF_ENDPOINT, and
    /// RVC_RUN_OFFLINE (anything but 0 or empty).
    pub fn with_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mirrors = variable("RVC_RUN_MIRROR").or_else(|| variable("HF_ENDPOINT")).unwrap_or_default();
        Self {
            mirrors: mirrors.split_whitespace().map(str::to_owned).collect(),
            offline: variable("RVC_RUN_OFFLINE").is_some_and(|value| !["", "0"].contains(&value.trim())),
            ..Self::default()
        }
    }
}

/// What was done about one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub name: String,
    pub path: PathBuf,
    /// Bytes downloaded; 0 if it was there already.
    pub bytes: u64,
    /// Digests that could not be compared, with their files.
    pub unverified: Vec<(PathBuf, String)>,
}

/// Fetches the assets of these names into the store's target folder, unless they are on this machine already.
///
/// All names are checked before anything is fetched.
///
/// Errors: `usage` for a mirror or a proxy in the environment that is not an address; `config.value` for a name that is not in the catalog;
/// `asset.missing` for what may not or cannot be fetched; `asset.damaged` for an existing or downloaded file with other content; `network`;
/// `file.disk_full`, `file.write`; `cancelled`, which keeps the bytes received so far.
pub fn fetch(store: &Store, names: &[String], options: &Options, task: &Task) -> Result<Vec<Fetched>> {
    for mirror in &options.mirrors {
        check_host(mirror)?;
    }
    let assets = names.iter().map(|name| store.catalog().asset(name)).collect::<Result<Vec<_>>>()?;
    let missing: Vec<&Asset> = assets.iter().copied().filter(|asset| store.find_whole(asset).is_none()).collect();
    missing.iter().try_for_each(|asset| may_be_fetched(asset, options))?;
    if options.offline && !missing.is_empty() {
        return Err(offline(&missing));
    }
    let proxy = if options.proxy && !missing.is_empty() { http::proxy()? } else { None };
    let client = Client::new(options.connect, options.idle, proxy);
    let fetcher = Fetcher { store, options, task, client };
    assets.into_iter().map(|asset| fetcher.asset(asset)).collect()
}

fn may_be_fetched(asset: &Asset, options: &Options) -> Result<()> {
    let missing = |why: String| Error::new(Kind::AssetMissing, format!("{} {why}", asset.name));
    if let Some(by_hand) = &asset.by_hand {
        return Err(missing("is not published anywhere that it could be fetched from".into()).hint(by_hand));
    }
    if !asset.is_verifiable() && !options.unverified {
        return Err(missing("has no published digest, so a download could not be verified".into())
            .hint("--unverified fetches it anyway, from its pinned revision, and records its digest"));
    }
    Ok(())
}

fn offline(missing: &[&Asset]) -> Error {
    let names: Vec<&str> = missing.iter().map(|asset| asset.name.as_str()).collect();
    let are = if names.len() == 1 { "is" } else { "are" };
    let message = format!("{} {are} not here, and rvc-run is offline", names.join(", "));
    Error::new(Kind::AssetMissing, message)
        .hint("run without --offline and RVC_RUN_OFFLINE, or copy the files here by hand: rvc-run guide pretrained")
}

struct Fetcher<'a> {
    store: &'a Store,
    options: &'a Options,
    task: &'a Task,
    client: Client,
}

impl Fetcher<'_> {
    fn asset(&self, asset: &Asset) -> Result<Fetched> {
        let mut done = Fetched { name: asset.name.clone(), path: PathBuf::new(), bytes: 0, unverified: Vec::new() };
        if let Some(path) = self.store.find_whole(asset) {
            for file in &asset.files {
                intact(asset, file, &file.path(&path))?;
            }
            return Ok(Fetched { path, ..done });
        }
        done.path = asset.path(self.store.target());
        for file in &asset.files {
            let Some(source) = &file.source else { continue };
            let target = file.path(&done.path);
            let folder = target.parent().unwrap_or(Path::new("."));
            let _lock = self.lock(folder)?;
            // Another process may have fetched it in the meantime.
            if target.exists() {
                intact(asset, file, &target)?;
                continue;
            }
            let digest = self.file(source, &target)?;
            done.bytes += std::fs::metadata(&target).map_or(0, |data| data.len());
            if source.sha256.is_none() {
                verify::remember(&target, &digest)?;
                done.unverified.push((target, digest));
            }
        }
        Ok(done)
    }

    /// The lock of a folder; waits while another process fetches into it. Errors: `cancelled`, `file.write`.
    fn lock(&self, folder: &Path) -> Result<Lock> {
        let mut reported = false;
        loop {
            match Lock::acquire(folder) {
                Err(error) if error.kind() == Kind::Locked => {}
                other => return other,
            }
            if !std::mem::replace(&mut reported, true) {
                self.task.info(format!("waiting: another rvc-run is fetching into {}", folder.display()));
            }
            self.wait(INTERVAL)?;
        }
    }

    /// Fetches one file from the first server that has it; returns its digest.
    fn file(&self, source: &Source, target: &Path) -> Result<String> {
        let mut part = Part::open(target)?;
        let catalog = self.store.catalog();
        let own = std::slice::from_ref(&catalog.host);
        let hosts = if self.options.mirrors.is_empty() { own } else { self.options.mirrors.as_slice() };
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut failures = Vec::new();
        let mut damaged = None;
        for host in hosts {
            let url = catalog.url(host, source);
            room(target, source, part.bytes())?;
            if let Some(why) = self.download(&url, source, &mut part, &format!("fetch {name}"))? {
                failures.push(format!("{url} {why}"));
                continue;
            }
            let digest = part.digest();
            if source.sha256.as_ref().is_none_or(|expected| *expected == digest) {
                part.finish(target)?;
                return Ok(digest);
            }
            damaged = Some(wrong(&name, source, &digest).path(target).hint(format!(
                "the download from {url} was deleted; try again later, or another server with --mirror"
            )));
            failures.push(format!("{url} has other content"));
            part.discard()?;
            part = Part::open(target)?;
        }
        let kept = part.bytes();
        if kept == 0 {
            part.discard()?;
        }
        Err(damaged.unwrap_or_else(|| unreachable_everywhere(&name, &failures, kept, target)))
    }

    /// Asks one server until all bytes are there, and returns None, or why it was given up. Errors: those that are not the server's fault.
    fn download(&self, url: &str, source: &Source, part: &mut Part, stage: &str) -> Result<Option<String>> {
        if source.bytes.is_some_and(|bytes| part.bytes() > bytes) {
            part.restart(super::part::Origin::default())?;
        }
        let mut failures = 0;
        for _ in 0..MOST_REQUESTS {
            // A process that ended before its rename has left all bytes.
            if source.bytes == Some(part.bytes()) {
                return Ok(None);
            }
            let before = part.bytes();
            let (why, patience) = match self.client.complete(url, source.bytes, part, self.task, stage) {
                Ok(()) => return Ok(None),
                Err(Failure::Local(error)) => return Err(error),
                Err(Failure::Server(why)) => return Ok(Some(why)),
                Err(Failure::Retry(why, patience)) => (why, patience),
            };
            failures = if part.bytes() > before { 1 } else { failures + 1 };
            if failures >= self.options.attempts {
                return Ok(Some(why));
            }
            let pause = patience.unwrap_or(self.options.pause * 2u32.saturating_pow(failures - 1));
            self.task.info(format!("{stage}: {url} {why}; trying again in {:.0} s", pause.as_secs_f64()));
            self.wait(pause)?;
        }
        Ok(Some(format!("did not send everything in {MOST_REQUESTS} requests")))
    }

    fn wait(&self, time: Duration) -> Result<()> {
        let end = std::time::Instant::now() + time;
        loop {
            self.task.check()?;
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(INTERVAL));
        }
    }
}

/// Errors: `asset.damaged` if an existing file has other content than its name promises. It is not replaced: it may be the user's own.
fn intact(asset: &Asset, file: &File, path: &Path) -> Result<()> {
    let State::Damaged { expected, got } = verify::file(file, path)? else { return Ok(()) };
    Err(Error::new(
        Kind::AssetDamaged,
        format!("{} is not {}: its SHA-256 is {got}, but must be {expected}", path.display(), asset.name),
    )
    .path(path)
    .hint("if it is damaged, delete it and fetch again; if it is your own file, rename it and use the new name in the settings"))
}

/// Errors: `file.disk_full` if the rest of the file does not fit.
fn room(target: &Path, source: &Source, have: u64) -> Result<()> {
    let Some(need) = source.bytes.map(|bytes| bytes.saturating_sub(have)) else { return Ok(()) };
    match files::free_space(target) {
        Some(free) if free < need + SPARE => Err(Error::new(
            Kind::DiskFull,
            format!("{} needs {}, but only {} is free", target.display(), megabytes(need), megabytes(free)),
        )
        .path(target)
        .hint("free some space, or fetch into another folder with --dir")),
        _ => Ok(()),
    }
}

fn wrong(name: &str, source: &Source, got: &str) -> Error {
    let expected = source.sha256.as_deref().unwrap_or_default();
    Error::new(Kind::AssetDamaged, format!("{name} arrived with SHA-256 {got}, but it must be {expected}"))
}

fn unreachable_everywhere(name: &str, failures: &[String], kept: u64, target: &Path) -> Error {
    let mut hint = String::new();
    if kept > 0 {
        hint = format!(
            "the same command resumes after the {} in {}; ",
            megabytes(kept),
            beside(target, ".part").display()
        );
    }
    hint += "--mirror URL tries another server; HTTPS_PROXY sets a proxy; or copy the file by hand to ";
    hint += &target.display().to_string();
    Error::new(Kind::Network, format!("cannot fetch {name}: {}", failures.join("; "))).path(target).hint(hint)
}
