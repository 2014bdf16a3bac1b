//! The cache of stage results, found by the digests of their inputs: key -> hit, or a pending folder that becomes the entry.
//!
//! A [`Key`] names everything that decides the result (content digests of the inputs, the parameters that matter, the
//! version of the stage) and nothing else: no file name, no time, no size, no device. So touching, renaming or copying a file
//! costs nothing, and an edit that keeps size and time is still noticed.
//!
//! ```text
//! <root>/<stage>/<2 digits>/<64 digits>/entry.json     the key in full, the SHA-256 of each output, the stage's own notes
//!                                       <outputs>
//! <root>/.tmp/<session>/                               pending folders; swept when the session's process is gone
//! ```
//!
//! Outputs are verified on every lookup: damage is a miss with a warning, never a wrong result. One rename of its folder
//! publishes an entry, so two processes may make the same one at the same time. Nothing is synced, which took a
//! quarter of a thread's time: an entry that a power cut damaged is detected and rebuilt. One sync makes the links in logs/
//! durable before the file list that names them is written.

use crate::files::{self, Lock};
use crate::{Error, Kind, Result, task::Task};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Layout of entry.json; another number is a miss.
const SCHEMA: u32 = 1;
const RECORD: &str = "entry.json";
const SESSIONS: &str = ".tmp";
/// Seconds between two updates of a used entry's time. Pruning works in days, so an hour is exact enough and saves writes.
const RENEW_AFTER: Duration = Duration::from_hours(1);

/// Everything that decides a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    stage: String,
    version: u32,
    inputs: BTreeMap<String, String>,
    params: BTreeMap<String, Value>,
}

impl Key {
    /// The key of a stage without inputs or parameters. A commit that changes what the stage computes raises `version`;
    /// old results are then misses.
    pub fn new(stage: &str, version: u32) -> Self {
        Self { stage: stage.to_owned(), version, inputs: BTreeMap::new(), params: BTreeMap::new() }
    }

    /// The key with the content digest of one more input.
    #[must_use]
    pub fn input(mut self, name: &str, digest: &str) -> Self {
        self.inputs.insert(name.to_owned(), digest.to_owned());
        self
    }

    /// The key with one more parameter that changes the result.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    pub fn stage(&self) -> &str {
        &self.stage
    }

    pub fn inputs(&self) -> &BTreeMap<String, String> {
        &self.inputs
    }

    pub fn params(&self) -> &BTreeMap<String, Value> {
        &self.params
    }

    /// The differences from `other`, each as "name: theirs -> ours"; empty for equal keys.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let parts = |key: &Self| {
            let mut parts = BTreeMap::from([
                ("stage".to_owned(), key.stage.clone()),
                ("version".to_owned(), key.version.to_string()),
            ]);
            parts.extend(key.inputs.iter().map(|(name, digest)| (name.clone(), digest.chars().take(10).collect())));
            parts.extend(key.params.iter().map(|(name, value)| (name.clone(), value.to_string())));
            parts
        };
        let (ours, theirs) = (parts(self), parts(other));
        let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let text = |part: Option<&String>| part.map_or("nothing", String::as_str).to_owned();
        let changed = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
        changed.map(|name| format!("{name}: {} -> {}", text(theirs.get(name)), text(ours.get(name)))).collect()
    }

    /// The SHA-256 of the whole key, 64 hexadecimal digits: the name of its entry.
    pub fn digest(&self) -> Result<String> {
        Ok(files::digest(json(self)?))
    }
}

/// One output of an entry: its path in the cache, and the SHA-256 of its content at the lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub path: PathBuf,
    pub digest: String,
}

/// A finished, verified result.
#[derive(Clone, Debug)]
pub struct Entry {
    folder: PathBuf,
    record: Record,
}

impl Entry {
    /// The output called `name`. Errors: `data.damaged` if it does not exist.
    pub fn object(&self, name: &str) -> Result<Object> {
        match self.record.files.get(name) {
            Some(output) => Ok(Object { path: self.folder.join(name), digest: output.sha256.clone() }),
            None => {
                Err(Error::new(Kind::DataDamaged, format!("the cache entry {} has no {name}", self.folder.display()))
                    .path(&self.folder)
                    .hint("delete this folder and run the same command again"))
            }
        }
    }

    /// The stage's notes on its result.
    pub fn notes(&self) -> &Value {
        &self.record.notes
    }

    /// The names of the outputs, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.record.files.keys().map(String::as_str)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    key: Key,
    files: BTreeMap<String, Output>,
    notes: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    sha256: String,
    size: u64,
}

/// entry.json on disk: the digest covers the notes and the list, so that a flipped bit there is noticed too.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    digest: String,
    entry: Record,
}

/// Whether a result came from the cache or was made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Reused,
    Made,
}

/// The outcome of a lookup.
pub enum Lookup {
    Hit(Entry),
    /// Missing or damaged (see [`Pending::damage`]).
    Miss(Pending),
}

/// A folder for a result in the making; dropping it before [`Pending::commit`] removes it.
pub struct Pending {
    cache: Cache,
    key: Key,
    folder: PathBuf,
    damage: Option<String>,
}

impl Pending {
    /// Where to write the output called `name` (a plain file name).
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is wrong with the existing entry, if there is one.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Publishes the entry: every file in the folder becomes an output. `notes` are kept with it.
    ///
    /// Errors: `file.write`, `file.disk_full`.
    pub fn commit(self, notes: Value) -> Result<Entry> {
        let mut outputs = BTreeMap::new();
        for path in files::list(&self.folder)? {
            let name = plain_name(&path)?;
            let size = std::fs::metadata(&path).map_err(|e| Error::io("look at", &path, e))?.len();
            outputs.insert(name, Output { sha256: files::digest_file(&path)?, size });
        }
        let record = Record { schema: SCHEMA, key: self.key.clone(), files: outputs, notes };
        let sealed = Sealed { digest: files::digest(json(&record)?), entry: record };
        let path = self.folder.join(RECORD);
        let text = json(&sealed)?;
        files::unsynced(|| files::write(&path, text))?;
        self.publish(sealed.entry)
    }

    /// Renames the folder to its place. An intact entry that appeared there meanwhile is kept instead; a damaged one is replaced.
    fn publish(&self, record: Record) -> Result<Entry> {
        let target = self.cache.folder(&self.key)?;
        if let Some(parent) = target.parent() {
            files::create_folder(parent)?;
        }
        let mut failure = None;
        for _ in 0..3 {
            match std::fs::rename(&self.folder, &target) {
                Ok(()) => return Ok(Entry { folder: target, record }),
                Err(e) if target.exists() => failure = Some(e),
                Err(e) => return Err(Error::io("rename", &target, e)),
            }
            if let Found::Intact(entry) = self.cache.find(&self.key)? {
                return Ok(entry);
            }
            let aside = self.cache.session.fresh();
            // Another process may be doing the same; the second finds nothing to move.
            let _ = std::fs::rename(&target, &aside);
            let _ = std::fs::remove_dir_all(&aside);
        }
        Err(Error::io("replace", &target, failure.unwrap_or_else(|| std::io::ErrorKind::AlreadyExists.into())))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

enum Found {
    Nothing,
    Intact(Entry),
    Damaged(String),
}

/// An entry with an intact record; its outputs are not verified.
#[derive(Clone, Debug)]
pub struct Stored {
    pub folder: PathBuf,
    pub key: Key,
    pub notes: Value,
    /// Name of each output -> its SHA-256.
    pub outputs: BTreeMap<String, String>,
    /// Of all outputs together.
    pub bytes: u64,
}

/// What [`Cache::prune`] removed or [`Cache::check`] read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub entries: u64,
    pub bytes: u64,
    /// Damaged entries, as "<folder>: <what is wrong>".
    pub damaged: Vec<String>,
}

/// The cache in one folder. Cheap to clone; the threads of a task share it.
#[derive(Clone)]
pub struct Cache {
    root: PathBuf,
    session: Arc<Session>,
}

impl Cache {
    /// The cache in `root` (created if missing); removes unfinished work of dead processes.
    ///
    /// Errors: `file.write` if the folder cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let sessions = root.join(SESSIONS);
        files::create_folder(&sessions)?;
        sweep(&sessions);
        let session = Arc::new(Session::start(&sessions)?);
        Ok(Self { root, session })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The verified entry of `key`, if it exists and is intact. The [`Cache::once`] that repairs damage reports it.
    pub fn get(&self, key: &Key) -> Result<Option<Entry>> {
        match self.find(key)? {
            Found::Intact(entry) => {
                renew(&entry.folder.join(RECORD));
                Ok(Some(entry))
            }
            Found::Damaged(_) | Found::Nothing => Ok(None),
        }
    }

    /// The verified entry of `key`, or a folder to make it in.
    ///
    /// Errors: `file.write`, `file.disk_full`. Damage is not an error; see [`Pending::damage`].
    pub fn lookup(&self, key: &Key) -> Result<Lookup> {
        let damage = match self.find(key)? {
            Found::Intact(entry) => {
                renew(&entry.folder.join(RECORD));
                return Ok(Lookup::Hit(entry));
            }
            Found::Damaged(what) => Some(what),
            Found::Nothing => None,
        };
        let folder = self.session.fresh();
        files::create_folder(&folder)?;
        Ok(Lookup::Miss(Pending { cache: self.clone(), key: key.clone(), folder, damage }))
    }

    /// The entry of `key`, made by `make` if it is missing or damaged (with a warning). `make` writes files to
    /// [`Pending::path`] and returns the notes to keep with them.
    pub fn once(
        &self,
        task: &Task,
        key: &Key,
        make: impl FnOnce(&Pending) -> Result<Value>,
    ) -> Result<(Entry, Origin)> {
        let pending = match self.lookup(key)? {
            Lookup::Hit(entry) => return Ok((entry, Origin::Reused)),
            Lookup::Miss(pending) => pending,
        };
        if let Some(damage) = pending.damage() {
            task.warn(format!("a cached result of stage {} is damaged and will be rebuilt: {damage}", key.stage()));
        }
        let notes = files::unsynced(|| make(&pending))?;
        Ok((pending.commit(notes)?, Origin::Made))
    }

    /// The digests of every output of every readable entry. Reads the entry files only.
    pub fn digests(&self) -> Result<HashSet<String>> {
        let mut digests = HashSet::new();
        for folder in self.entries()? {
            if let Ok(record) = read_record(&folder) {
                digests.extend(record.files.into_values().map(|output| output.sha256));
            }
        }
        Ok(digests)
    }

    /// All entries with a readable record, in the order of their folders.
    pub fn stored(&self) -> Result<Vec<Stored>> {
        let mut folders = self.entries()?;
        folders.sort();
        let stored = folders.into_iter().filter_map(|folder| {
            let Record { key, files, notes, .. } = read_record(&folder).ok()?;
            let bytes = files.values().map(|output| output.size).sum();
            let outputs = files.into_iter().map(|(name, output)| (name, output.sha256)).collect();
            Some(Stored { folder, key, notes, outputs, bytes })
        });
        Ok(stored.collect())
    }

    /// Removes these entries. Hard-linked copies in logs/ stay as they are.
    ///
    /// Errors: `file.write`.
    pub fn remove(&self, entries: &[Stored]) -> Result<Tally> {
        let mut tally = Tally::default();
        for entry in entries {
            self.discard(&entry.folder)?;
            tally.entries += 1;
            tally.bytes += entry.bytes;
        }
        Ok(tally)
    }

    /// Moves entries away in one rename each, then deletes them: no other process ever sees half of an entry.
    fn discard(&self, folder: &Path) -> Result<()> {
        let aside = self.session.fresh();
        std::fs::rename(folder, &aside).map_err(|e| Error::io("remove", folder, e))?;
        std::fs::remove_dir_all(&aside).map_err(|e| Error::io("remove", &aside, e))
    }

    /// Verifies every output of every entry by its digest, in parallel.
    pub fn check(&self, task: &Task) -> Result<Tally> {
        self.check_part(task, 1.0)
    }

    /// As [`Cache::check`], for a share of the entries from 0 to 1: always the same ones, spread evenly.
    pub fn check_part(&self, task: &Task, share: f64) -> Result<Tally> {
        let mut folders = self.entries()?;
        folders.retain(|folder| place_in_order(folder) < share);
        let results = task.map("checking the cache", &folders, |folder| {
            Ok(verify(folder).map(|record| record.files.values().map(|o| o.size).sum::<u64>()))
        })?;
        let mut tally = Tally::default();
        for (folder, result) in folders.iter().zip(results) {
            tally.entries += 1;
            match result {
                Ok(bytes) => tally.bytes += bytes,
                Err(what) => tally.damaged.push(format!("{}: {what}", folder.display())),
            }
        }
        Ok(tally)
    }

    /// Removes the entries that no run has used for `unused_for`. Hard-linked copies in logs/ stay as they are.
    pub fn prune(&self, unused_for: Duration) -> Result<Tally> {
        let mut tally = Tally::default();
        for folder in self.entries()? {
            let record = folder.join(RECORD);
            let used = std::fs::metadata(&record).or_else(|_| std::fs::metadata(&folder)).and_then(|m| m.modified());
            // A time in the future (a clock set back) counts as just used: pruning too little is harmless.
            let age = used.ok().and_then(|t| SystemTime::now().duration_since(t).ok()).unwrap_or_default();
            if age < unused_for {
                continue;
            }
            let outputs = read_record(&folder).map(|r| r.files).unwrap_or_default();
            self.discard(&folder)?;
            tally.entries += 1;
            tally.bytes += outputs.values().map(|o| o.size).sum::<u64>();
        }
        Ok(tally)
    }

    /// The folders of all entries, in any order.
    fn entries(&self) -> Result<Vec<PathBuf>> {
        let mut entries = Vec::new();
        for stage in folders_in(&self.root)? {
            if stage.file_name().is_some_and(|n| n == SESSIONS) {
                continue;
            }
            for group in folders_in(&stage)? {
                entries.extend(folders_in(&group)?);
            }
        }
        Ok(entries)
    }

    fn folder(&self, key: &Key) -> Result<PathBuf> {
        let digest = key.digest()?;
        Ok(self.root.join(files::entry_name("a stage", &key.stage)?).join(&digest[..2]).join(digest))
    }

    fn find(&self, key: &Key) -> Result<Found> {
        let folder = self.folder(key)?;
        if !folder.exists() {
            return Ok(Found::Nothing);
        }
        Ok(match verify(&folder) {
            Ok(record) if record.key == *key => Found::Intact(Entry { folder, record }),
            Ok(_) => Found::Damaged(format!("{} holds another key", folder.display())),
            Err(what) => Found::Damaged(what),
        })
    }
}

/// Puts a cached file at `target`, replacing what is there in one rename: a hard link, or a copy where the file system
/// has no links between the two places.
///
/// A hard link costs no space, but a tool that writes to the file in place changes the cached one too. The next lookup
/// notices (the digest differs), warns and makes the result again.
pub fn place(object: &Object, target: &Path) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = target.parent().unwrap_or(Path::new("."));
    files::create_folder(folder)?;
    let temp = folder.join(format!(".tmp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let _ = std::fs::remove_file(&temp);
    if std::fs::hard_link(&object.path, &temp).is_ok() {
        let renamed = std::fs::rename(&temp, target).map_err(|e| Error::io("replace", target, e));
        // Renaming one link over another to the same file does nothing and leaves both.
        let _ = std::fs::remove_file(&temp);
        return renamed;
    }
    let mut source = File::open(&object.path).map_err(|e| Error::io("open", &object.path, e))?;
    files::write_with(target, |w| std::io::copy(&mut source, w)).map(drop)
}

/// True if `target` is a hard link to the cached file. False may also mean that this system cannot detect it.
#[cfg(unix)]
pub fn is_linked(object: &Object, target: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::symlink_metadata(&object.path), std::fs::symlink_metadata(target)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

/// True if `target` is a hard link to the cached file. False may also mean that this system cannot detect it.
#[cfg(not(unix))]
pub fn is_linked(_object: &Object, _target: &Path) -> bool {
    false
}

/// A folder for half-made entries, locked while this process lives.
struct Session {
    folder: PathBuf,
    lock: Option<Lock>,
    count: AtomicU64,
}

impl Session {
    fn start(sessions: &Path) -> Result<Self> {
        let mut result = Err(Error::new(Kind::Internal, "no session folder was tried"));
        // A process that is cleaning up may hold the lock of a folder that was just created; try another name.
        for _ in 0..10 {
            let folder = tempfile::Builder::new()
                .prefix(&format!("{}-", std::process::id()))
                .tempdir_in(sessions)
                .map_err(|e| Error::io("write", sessions, e))?
                .keep();
            match Lock::acquire(&folder) {
                Ok(lock) => return Ok(Self { folder, lock: Some(lock), count: AtomicU64::new(0) }),
                Err(e) => result = Err(e),
            }
        }
        result
    }

    /// A new path in the session folder.
    fn fresh(&self) -> PathBuf {
        self.folder.join(self.count.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Unlocked first: some systems cannot remove an open file.
        self.lock = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Removes the session folders of dead processes. What cannot be removed stays for the next time.
fn sweep(sessions: &Path) {
    for folder in folders_in(sessions).unwrap_or_default() {
        // A folder without a lock file was created just now by a process that will lock it next.
        if folder.join(".lock").exists() && Lock::acquire(&folder).is_ok() {
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(files::list(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The position of an entry's digest between the lowest and the highest, from 0 to below 1.
fn place_in_order(folder: &Path) -> f64 {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let digits = name.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default();
    f64::from(digits) / (f64::from(u32::MAX) + 1.0)
}

/// The record of an entry whose outputs all match their digests, or what is wrong.
fn verify(folder: &Path) -> std::result::Result<Record, String> {
    let record = read_record(folder)?;
    for (name, output) in &record.files {
        let path = folder.join(name);
        let digest = files::digest_file(&path).map_err(|e| e.to_string())?;
        if digest != output.sha256 {
            return Err(format!("{} is not what was written", path.display()));
        }
    }
    Ok(record)
}

fn read_record(folder: &Path) -> std::result::Result<Record, String> {
    let path = folder.join(RECORD);
    let text = files::read_text(&path).map_err(|e| e.to_string())?;
    let sealed: Sealed = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let intact = json(&sealed.entry).is_ok_and(|text| files::digest(text) == sealed.digest);
    let plain = sealed.entry.files.keys().all(|name| is_plain(Path::new(name)));
    if !intact || !plain || sealed.entry.schema != SCHEMA {
        return Err(format!("{} is not what was written", path.display()));
    }
    Ok(sealed.entry)
}

/// Marks an entry as used today; see [`Cache::prune`]. A read-only cache can still be used.
fn renew(record: &Path) {
    let Ok(used) = std::fs::metadata(record).and_then(|m| m.modified()) else { return };
    let now = SystemTime::now();
    if now.duration_since(used).unwrap_or_default() < RENEW_AFTER {
        return;
    }
    if let Ok(file) = File::options().append(true).open(record) {
        let _ = file.set_modified(now);
    }
}

fn is_plain(name: &Path) -> bool {
    let mut parts = name.components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

fn plain_name(path: &Path) -> Result<String> {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if path.is_file() => Ok(name.to_owned()),
        _ => Err(Error::new(Kind::Internal, format!("{} cannot be an output of a stage", path.display())).path(path)),
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(Kind::Internal, format!("a cache record cannot be written as JSON: {e}")).source(e))
}
