//! What the cache holds for a voice, and why a file is a hit or a miss.
//!
//! The settings of a voice are those of its last preparation, from cache_metadata.json; nothing is computed here.

use super::metadata::{Metadata, SourceRecord};
use super::{features, slices};
use crate::cache::{Cache, Key, Stored};
use crate::files::{self, Lock, Workspace};
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::Path;

/// One stage of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub voice: String,
    pub stage: String,
    /// "hit", "miss" or "damaged".
    pub state: &'static str,
    /// The parts of the key; for a miss, how it differs from the nearest entry.
    pub why: String,
}

/// The headings of [`Line`].
pub const COLUMNS: [&str; 4] = ["voice", "stage", "state", "key"];

struct Voice {
    name: String,
    metadata: Metadata,
}

/// Every stage of a recording, or of a clip or feature file: its key, and hit or miss by the cache's current entries.
///
/// Errors: `file.not_found` if the file does not exist, or belongs to no entry and no voice.
pub fn explain(task: &Task, workspace: &Workspace, cache: &Cache, file: &Path) -> Result<Vec<Line>> {
    let digest = files::digest_file(file)?;
    let file = file.canonicalize().map_err(|e| Error::io("look at", file, e))?;
    let (voices, stored) = (voices(task, workspace)?, cache.stored()?);
    let mut lines = Vec::new();
    for voice in &voices {
        let base = |folder: Result<std::path::PathBuf>| folder.ok().and_then(|folder| folder.canonicalize().ok());
        let below = |folder: Option<std::path::PathBuf>| {
            let rest = file.strip_prefix(folder?).ok()?.to_str()?;
            Some(if cfg!(windows) { rest.replace('\\', "/") } else { rest.to_owned() })
        };
        let as_recording = below(base(workspace.data(&voice.name)));
        let as_output = below(base(workspace.logs(&voice.name)));
        let records = &voice.metadata.files;
        let record = records.iter().find(|r| r.raw_id == digest || as_recording.as_deref() == Some(r.path.as_str()));
        if record.is_some() || as_recording.is_some() {
            lines.extend(recording(cache, &stored, voice, record, &digest)?);
        }
        if let Some(expected) = as_output.and_then(|path| voice.metadata.outputs.get(&path)) {
            lines.extend(output(cache, &stored, voice, expected, &digest)?);
        }
    }
    if lines.is_empty() {
        // It belongs to no voice, but may be in the cache.
        for entry in stored.iter().filter(|entry| entry.outputs.values().any(|output| *output == digest)) {
            lines.push(line("-", &entry.key, state(cache, &entry.key)?, parts(&entry.key)));
        }
    }
    if lines.is_empty() {
        return Err(Error::new(
            Kind::NotFound,
            format!("{} belongs to no voice and is not in the cache", file.display()),
        )
        .path(&file)
        .hint("give a recording below data/, or a file below logs/<voice> that was made from one"));
    }
    Ok(lines)
}

/// Removes the entries of this voice that no other voice in logs/ uses, for all settings that it was ever prepared with.
///
/// Errors: `file.not_found` if the voice was never prepared; `file.locked`; `file.write`.
pub fn clear(task: &Task, workspace: &Workspace, cache: &Cache, voice: &str) -> Result<crate::cache::Tally> {
    let logs = workspace.logs(voice)?;
    if !logs.is_dir() {
        return Err(Error::new(Kind::NotFound, format!("there is no voice {voice:?} in logs"))
            .path(&logs)
            .hint("`rvc-run cache status` lists the voices"));
    }
    let _lock = Lock::acquire(&logs)?;
    let (voices, stored) = (voices(task, workspace)?, cache.stored()?);
    let mut others = HashSet::new();
    let mut own = HashSet::new();
    for one in &voices {
        let reached = reached(one, &stored);
        if one.name == voice { own.extend(reached) } else { others.extend(reached) }
    }
    let removed: Vec<Stored> = own.difference(&others).map(|i| stored[*i].clone()).collect();
    cache.remove(&removed)
}

/// Name, entries and bytes of every prepared voice; shared entries count for each voice.
pub fn voices_in(task: &Task, workspace: &Workspace, cache: &Cache) -> Result<Vec<(String, u64, u64)>> {
    let stored = cache.stored()?;
    let voices = voices(task, workspace)?.into_iter().map(|voice| {
        let reached = reached(&voice, &stored);
        let bytes = reached.iter().map(|i| stored[*i].bytes).sum();
        (voice.name, reached.len() as u64, bytes)
    });
    Ok(voices.collect())
}

fn voices(task: &Task, workspace: &Workspace) -> Result<Vec<Voice>> {
    let folders = match files::list(&workspace.path("logs")) {
        Err(e) if e.kind() == Kind::NotFound => Vec::new(),
        other => other?,
    };
    let mut voices = Vec::new();
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        voices.push(Voice { name: name.to_owned(), metadata: Metadata::load(task, &folder)? });
    }
    Ok(voices)
}

/// The entries made from a voice's recordings, stage by stage, and those whose results it holds.
fn reached(voice: &Voice, stored: &[Stored]) -> HashSet<usize> {
    let mut known: HashSet<&str> = HashSet::new();
    for record in &voice.metadata.files {
        known.extend([record.raw_id.as_str(), record.pcm_id.as_str()]);
    }
    let held: HashSet<&String> = voice.metadata.outputs.values().collect();
    let mut reached = HashSet::new();
    loop {
        let before = reached.len();
        for (i, entry) in stored.iter().enumerate() {
            let made_of_it = entry.key.inputs().values().any(|input| known.contains(input.as_str()));
            if made_of_it || entry.outputs.values().any(|output| held.contains(output)) {
                reached.insert(i);
                known.extend(entry.outputs.values().map(String::as_str));
                known.extend(entry.notes.get("pcm").and_then(Value::as_str));
            }
        }
        if reached.len() == before {
            return reached;
        }
    }
}

fn recording(
    cache: &Cache,
    stored: &[Stored],
    voice: &Voice,
    record: Option<&SourceRecord>,
    digest: &str,
) -> Result<Vec<Line>> {
    let decode = slices::sound_key(cache, digest)?;
    let mut lines = vec![stage(cache, stored, voice, &decode)?];
    if let Some(record) = record.filter(|record| record.raw_id != digest) {
        lines[0].why = format!("recording: {} -> {} since the last run", short(&record.raw_id), short(digest));
    }
    let Some(decoded) = cache.get(&decode)? else { return Ok(lines) };
    let pcm = decoded.notes().get("pcm").and_then(Value::as_str).unwrap_or_default();
    // From the last preparation, if there was one; names come from the stage itself.
    let key = slices::key_with(pcm, &slices::params_used(&voice.metadata.preprocessing_params));
    lines.push(stage(cache, stored, voice, &key)?);
    let Some(cut) = cache.get(&key)? else { return Ok(lines) };
    let clips: Vec<String> = cut.names().filter(|name| name.ends_with(slices::WAV16)).map(str::to_owned).collect();
    for clip in clips {
        let clip = cut.object(&clip)?.digest;
        for key in feature_keys(&clip, &voice.metadata.preprocessing_params) {
            lines.push(stage(cache, stored, voice, &key)?);
        }
    }
    Ok(lines)
}

/// The keys of a clip's features by the settings of a voice's last preparation.
fn feature_keys(clip: &str, params: &Map<String, Value>) -> Vec<Key> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let f0 = text("f0_digest").zip(text("f0_unvoiced"));
    let f0 = f0.map(|(method, unvoiced)| features::f0_key(clip, method, unvoiced));
    f0.into_iter().chain(text("content_digest").map(|encoder| features::content_key(clip, encoder))).collect()
}

/// A file that was put into logs/<voice> with the digest `expected`.
fn output(cache: &Cache, stored: &[Stored], voice: &Voice, expected: &str, digest: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for entry in stored.iter().filter(|entry| entry.outputs.values().any(|output| output == expected)) {
        let now = entry
            .key
            .inputs()
            .get("clip")
            .and_then(|clip| {
                let keys = feature_keys(clip, &voice.metadata.preprocessing_params);
                keys.into_iter().find(|key| key.stage() == entry.key.stage())
            })
            .unwrap_or_else(|| entry.key.clone());
        let mut why = parts(&entry.key);
        let differences = now.differences(&entry.key);
        if !differences.is_empty() {
            why = format!("{why}; differs from now: {}", differences.join(", "));
        }
        if digest != expected {
            why = format!("{why}; the file was {} when it was written and is {} now", short(expected), short(digest));
        }
        lines.push(line(&voice.name, &entry.key, state(cache, &entry.key)?, why));
    }
    if lines.is_empty() {
        let (stage, why) =
            ("-".to_owned(), "the cache no longer has its entry; the next run makes it again".to_owned());
        lines.push(Line { voice: voice.name.clone(), stage, state: "miss", why });
    }
    Ok(lines)
}

/// Hit or miss of one key; a miss is compared with the stage's most similar entry.
fn stage(cache: &Cache, stored: &[Stored], voice: &Voice, key: &Key) -> Result<Line> {
    let state = state(cache, key)?;
    let why = if state == "miss" {
        let of_stage = stored.iter().filter(|entry| entry.key.stage() == key.stage());
        let nearest = of_stage.map(|entry| key.differences(&entry.key)).min_by_key(Vec::len);
        nearest.map_or("nothing of this stage is in the cache".to_owned(), |parts| parts.join(", "))
    } else {
        parts(key)
    };
    Ok(line(&voice.name, key, state, why))
}

fn state(cache: &Cache, key: &Key) -> Result<&'static str> {
    Ok(match cache.lookup(key)? {
        crate::cache::Lookup::Hit(_) => "hit",
        crate::cache::Lookup::Miss(pending) if pending.damage().is_some() => "damaged",
        crate::cache::Lookup::Miss(_) => "miss",
    })
}

fn line(voice: &str, key: &Key, state: &'static str, why: String) -> Line {
    Line { voice: voice.to_owned(), stage: key.stage().to_owned(), state, why }
}

/// "clip 0123456789, method yin-1".
fn parts(key: &Key) -> String {
    let inputs = key.inputs().iter().map(|(name, digest)| format!("{name} {}", short(digest)));
    let params = key.params().iter().map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name} {text}"),
        None => format!("{name} {value}"),
    });
    inputs.chain(params).collect::<Vec<_>>().join(", ")
}

fn short(digest: &str) -> &str {
    digest.get(..10).unwrap_or(digest)
}
