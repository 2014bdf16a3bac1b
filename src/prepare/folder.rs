//! Puts cached results into logs/<voice> under RVC's names, and removes the files of earlier runs there.
//!
//! Our files are those that cache_metadata.json lists, or whose content is in the cache (after a kill, or when that file is lost).
//! All others belong to the user: they stay, with a warning, and move to set_aside/ if we need their name.

use super::metadata::Metadata;
use super::{FILE_LIST, some_of};
use crate::cache::{self, Cache, Object};
use crate::files;
use crate::task::Task;
use crate::{Error, Kind, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

const SET_ASIDE: &str = "set_aside";
/// Python RVC keeps the spectrogram of X.wav as X.spec.pt beside it and never checks whether X.wav changed.
const SIDECAR: &str = ".spec.pt";

/// All files that one folder below logs/<voice> should hold.
pub(super) struct Wanted<'a> {
    pub folder: &'static str,
    pub files: Vec<(String, &'a Object)>,
}

impl<'a> Wanted<'a> {
    /// The files of clips, by name; recordings of equal sound share theirs.
    pub fn new(folder: &'static str, files: Vec<(String, &'a Object)>) -> Self {
        let mut seen = HashSet::new();
        let files = files.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
        Self { folder, files }
    }
}

/// The work in one folder.
#[derive(Default)]
struct Plan {
    place: Vec<(PathBuf, Object)>,
    remove: Vec<PathBuf>,
    set_aside: Vec<PathBuf>,
    /// Our files that were changed or damaged since.
    altered: Vec<String>,
    /// Foreign files whose names we do not need.
    foreign: Vec<String>,
    /// Sidecars of clips that change, and of clips that no longer exist.
    stale_sidecars: Vec<String>,
    idle_sidecars: Vec<String>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.place.is_empty() && self.remove.is_empty() && self.set_aside.is_empty()
    }
}

/// Makes each folder hold exactly the wanted files (and foreign ones). Removes filelist.txt before the first change, since it
/// would pair old names with new content. The caller holds the lock of `logs`.
pub(super) fn publish(task: &Task, logs: &Path, cache: &Cache, wanted: &[Wanted]) -> Result<()> {
    let old = Metadata::load(task, logs)?;
    let mut cached = None;
    let mut placed = are_placed(task, logs, wanted)?.into_iter();
    let mut plans = Vec::new();
    for wanted in wanted {
        let placed: Vec<bool> = placed.by_ref().take(wanted.files.len()).collect();
        plans.push(plan(logs, cache, &mut cached, &old, wanted, &placed)?);
    }
    warn(task, logs, wanted, &plans);
    let unchanged = plans.iter().all(Plan::is_empty);
    if unchanged && is_listed(&old, wanted) {
        return Ok(());
    }
    if !unchanged {
        remove_file_list(task, logs, &old)?;
    }
    for (wanted, plan) in wanted.iter().zip(&plans) {
        for path in &plan.set_aside {
            set_aside(logs, wanted.folder, path)?;
        }
        for path in &plan.remove {
            files::remove(path)?;
        }
        files::create_folder(&logs.join(wanted.folder))?;
        for (path, object) in &plan.place {
            task.check()?;
            files::unsynced(|| cache::place(object, path))?;
        }
        files::sync_folder(&logs.join(wanted.folder));
    }
    let mut new = Metadata { cache_key: String::new(), content_root: String::new(), ..old.clone() };
    new.outputs.retain(|path, _| !wanted.iter().any(|w| is_in(path, w.folder)));
    for wanted in wanted {
        let outputs = wanted.files.iter().map(|(name, o)| (format!("{}/{name}", wanted.folder), o.digest.clone()));
        new.outputs.extend(outputs);
    }
    new.save(logs, &old)
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') && !rest[1..].contains('/'))
}

fn is_listed(old: &Metadata, wanted: &[Wanted]) -> bool {
    let listed = old.outputs.keys().filter(|path| wanted.iter().any(|w| is_in(path, w.folder))).count();
    let all = wanted.iter().flat_map(|w| w.files.iter().map(|(name, o)| (format!("{}/{name}", w.folder), &o.digest)));
    listed == wanted.iter().map(|w| w.files.len()).sum::<usize>()
        && all.into_iter().all(|(path, digest)| old.outputs.get(&path) == Some(digest))
}

/// Whether each wanted file is in place already.
fn are_placed(task: &Task, logs: &Path, wanted: &[Wanted]) -> Result<Vec<bool>> {
    let targets: Vec<(&Object, PathBuf)> =
        wanted.iter().flat_map(|w| w.files.iter().map(|(name, o)| (*o, logs.join(w.folder).join(name)))).collect();
    let mut placed: Vec<bool> = targets.iter().map(|(object, path)| cache::is_linked(object, path)).collect();
    // Links into the cache are recognised at once; copies must be read.
    let copies: Vec<usize> = (0..targets.len()).filter(|i| !placed[*i] && targets[*i].1.is_file()).collect();
    if !copies.is_empty() {
        let equal = task.map("checking the voice's folder", &copies, |i| {
            let (object, path) = &targets[*i];
            Ok(files::digest_file(path).is_ok_and(|digest| digest == object.digest))
        })?;
        copies.iter().zip(equal).for_each(|(i, equal)| placed[*i] = equal);
    }
    Ok(placed)
}

/// The work in one folder; `placed`: whether each wanted file is in place already.
fn plan(
    logs: &Path,
    cache: &Cache,
    cached: &mut Option<HashSet<String>>,
    old: &Metadata,
    wanted: &Wanted,
    placed: &[bool],
) -> Result<Plan> {
    let folder = logs.join(wanted.folder);
    let mut plan = Plan::default();
    let mut ours = |name: &str, path: &Path| -> Result<bool> {
        if old.outputs.contains_key(&format!("{}/{name}", wanted.folder)) {
            return Ok(true);
        }
        let cached = match cached {
            Some(digests) => digests,
            None => cached.insert(cache.digests()?),
        };
        Ok(files::digest_file(path).is_ok_and(|digest| cached.contains(&digest)))
    };
    let mut changed = HashSet::new();
    for ((name, object), placed) in wanted.files.iter().zip(placed) {
        if *placed {
            continue;
        }
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            changed.insert(stem(name));
            if !ours(name, &path)? {
                plan.set_aside.push(path.clone());
            } else if let Some(written) = old.outputs.get(&format!("{}/{name}", wanted.folder))
                && !files::digest_file(&path).is_ok_and(|digest| digest == *written)
            {
                plan.altered.push(name.clone());
            }
        }
        plan.place.push((path, (*object).clone()));
    }
    let names: HashSet<&str> = wanted.files.iter().map(|(name, _)| name.as_str()).collect();
    let mut sidecars = Vec::new();
    let mut gone = HashSet::new();
    for path in list_or_nothing(&folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if names.contains(name.as_str()) {
            continue;
        }
        if name.starts_with(files::TEMP) {
            plan.remove.push(path);
        } else if name.ends_with(SIDECAR) {
            sidecars.push(name);
        } else if path.is_file() && ours(&name, &path)? {
            gone.insert(stem(&name));
            plan.remove.push(path);
        } else if !path.is_dir() {
            plan.foreign.push(name);
        }
    }
    plan.stale_sidecars = sidecars.iter().filter(|name| changed.contains(&stem(name))).cloned().collect();
    plan.idle_sidecars = sidecars.into_iter().filter(|name| gone.contains(&stem(name))).collect();
    Ok(plan)
}

/// The text before the first dot, as in RVC.
fn stem(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_owned()
}

fn list_or_nothing(folder: &Path) -> Result<Vec<PathBuf>> {
    match files::list(folder) {
        Err(e) if e.kind() == Kind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn warn(task: &Task, logs: &Path, wanted: &[Wanted], plans: &[Plan]) {
    for (wanted, plan) in wanted.iter().zip(plans) {
        let folder = logs.join(wanted.folder);
        if !plan.foreign.is_empty() {
            let (n, some) = (plan.foreign.len(), some_of(&plan.foreign));
            task.warn(format!("{} has {n} files that rvc-run did not make and does not use: {some}", folder.display()));
        }
        if !plan.altered.is_empty() {
            let (n, some) = (plan.altered.len(), some_of(&plan.altered));
            task.warn(format!(
                "{} has {n} files that were changed since rvc-run wrote them; restored: {some}",
                folder.display()
            ));
        }
        if !plan.set_aside.is_empty() {
            task.warn(format!(
                "{} had {} files that rvc-run did not make, under names it needs; they are kept in {}",
                folder.display(),
                plan.set_aside.len(),
                logs.join(SET_ASIDE).join(wanted.folder).display()
            ));
        }
        if !plan.idle_sidecars.is_empty() {
            let (n, some) = (plan.idle_sidecars.len(), some_of(&plan.idle_sidecars));
            task.info(format!(
                "{} has {n} spectrograms by Python RVC of clips that no longer exist; nothing reads them: {some}",
                folder.display()
            ));
        }
        if !plan.stale_sidecars.is_empty() {
            task.warn(format!(
                "{} has spectrograms by Python RVC of clips that have changed since, and Python RVC would use them again: {}; delete \
                them before training there",
                folder.display(),
                some_of(&plan.stale_sidecars)
            ));
        }
    }
}

/// Removes the file list if it is ours, else moves it to set_aside/.
fn remove_file_list(task: &Task, logs: &Path, old: &Metadata) -> Result<()> {
    let path = logs.join(FILE_LIST);
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    if owns_file_list(old, &path) {
        files::remove(&path)?;
    } else {
        task.warn(format!(
            "{} was not made by rvc-run; it is kept in {}",
            path.display(),
            logs.join(SET_ASIDE).display()
        ));
        set_aside(logs, "", &path)?;
    }
    files::sync_folder(logs);
    Ok(())
}

/// Whether filelist.txt is as we wrote it. An edited one belongs to the user.
pub(super) fn owns_file_list(old: &Metadata, path: &Path) -> bool {
    // Not ours: a pipe, which would wait for its writer.
    if !path.is_file() {
        return false;
    }
    match (old.outputs.get(FILE_LIST), files::read(path)) {
        (Some(listed), Ok(text)) => *listed == files::digest(text),
        // The record is lost, but no other program writes rows of silence inside the voice's own folder.
        (None, Ok(text)) => {
            let own = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            String::from_utf8_lossy(&text).contains(&format!("/{own}/mute/"))
        }
        _ => false,
    }
}

/// Moves a file to set_aside/<folder>/, under a free name.
pub(super) fn set_aside(logs: &Path, folder: &str, path: &Path) -> Result<()> {
    let target = logs.join(SET_ASIDE).join(folder);
    files::create_folder(&target)?;
    let name = path.file_name().unwrap_or_default();
    let mut free = target.join(name);
    for i in 1.. {
        if free.symlink_metadata().is_err() {
            break;
        }
        let mut numbered = std::ffi::OsString::from(format!("{i}-"));
        numbered.push(name);
        free = target.join(numbered);
    }
    std::fs::rename(path, &free).map_err(|e| Error::io("move", path, e))
}

/// Refuses folders whose path cannot be in a file list: its fields end at "|", its lines at line breaks.
///
/// Errors: `config.value`.
pub(super) fn check_name(logs: &Path) -> Result<()> {
    let path = std::path::absolute(logs).map_err(|e| Error::io("look at", logs, e))?;
    // On systems where \ does not separate folders it may be part of a name, but RVC and this program read it as / in a list.
    let parts = if cfg!(windows) { &['|', '\n', '\r'][..] } else { &['|', '\n', '\r', '\\'] };
    // Spaces at its end do no harm: the field continues with the names of folder and file.
    let fits = path.to_str().is_some_and(|text| !text.contains(parts));
    if fits {
        return Ok(());
    }
    Err(Error::new(Kind::ConfigValue, format!("{} cannot be written into a file list", path.display()))
        .path(logs)
        .hint("choose a workspace whose path has no |, no \\, no line break and only valid Unicode"))
}
