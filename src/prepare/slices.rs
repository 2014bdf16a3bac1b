//! Recordings to clips: one cached result for each recording, found by the digest of its bytes.

use super::recordings::{self, Recording};
use super::{
    Clip, Clips, Counts, GT_WAVS, Loss, RecordingRow, Source, WAVS_16K, concerns_one_item, folder, some_of, warn_each,
};
use crate::audio::{io, slice};
use crate::cache::{Cache, Entry, Key, Origin, Pending};
use crate::config::Config;
use crate::files::{self, Lock, Workspace};
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Raise it with every change of audio/ that can change a sample of a slice.
const VERSION: u32 = 2;
/// Rate of the files in 1_16k_wavs.
const FEATURE_RATE: u32 = 16000;
/// How often a recording that changes while it is read is tried again.
const TRIES: usize = 3;

/// What is kept with the slices of a recording.
#[derive(Default, Serialize, Deserialize)]
struct Notes {
    /// Length of the whole recording.
    seconds: f64,
    chunks: Vec<ChunkNote>,
    dropped: Vec<Loss>,
}

impl Notes {
    /// "3 silent, 1 too short".
    fn losses(&self) -> String {
        self.dropped.iter().map(Loss::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Serialize, Deserialize)]
struct ChunkNote {
    index: usize,
    seconds: f64,
}

/// The clips of every recording in `recordings` (relative to the workspace), in logs/<voice>/0_gt_wavs and 1_16k_wavs.
///
/// Recordings that cannot be used are skipped with a warning each.
///
/// Errors: `file.not_found`, `data.empty`, `config.value` (names), `file.locked`, `file.write`, `file.disk_full`.
pub fn slices(
    task: &Task,
    workspace: &Workspace,
    cache: &Cache,
    voice: &str,
    recordings: &Path,
    config: &Config,
) -> Result<Clips> {
    let logs = workspace.logs(voice)?;
    folder::check_name(&logs)?;
    let recordings = workspace.path(recordings);
    let found = recordings::find(task, workspace, &recordings)?;
    refuse_own_output(&recordings, &logs)?;
    let _lock = Lock::acquire(&logs)?;

    let read = task.map("reading recordings", &found.recordings, |recording| one_item(read(recording)))?;
    // The same recording twice is cut once.
    let mut unique: Vec<(&Recording, &String)> = Vec::new();
    let mut position = HashMap::new();
    for (recording, digest) in found.recordings.iter().zip(&read) {
        if let Ok(digest) = digest {
            position.entry(digest).or_insert_with(|| {
                unique.push((recording, digest));
                unique.len() - 1
            });
        }
    }
    let cut =
        task.map("slicing", &unique, |(recording, digest)| one_item(cut(task, cache, recording, digest, config)))?;

    let mut clips = Clips {
        folder: logs,
        clips: Vec::new(),
        recordings: found.recordings.len(),
        counts: Counts::default(),
        dropped: 0,
        speakers: found.speakers,
        table: Vec::new(),
        cache: cache.clone(),
        sources: Vec::new(),
        params: params(config),
    };
    clips.counts.done = cut.iter().filter(|c| matches!(c, Ok(c) if c.origin == Origin::Made)).count();
    let mut losses = Losses::default();
    for (number, (recording, digest)) in found.recordings.iter().zip(&read).enumerate() {
        let result =
            digest.as_ref().map_err(String::clone).and_then(|d| cut[position[d]].as_ref().map_err(String::clone));
        if let Err(reason) = result.clone().and_then(|cut| add(&mut clips, &mut losses, number, recording, cut)) {
            let dropped = result.map(|cut| notes_of(cut).map(|n| n.dropped)).ok().and_then(std::result::Result::ok);
            clips.table.push(RecordingRow {
                reason: Some(reason),
                dropped: dropped.unwrap_or_default(),
                ..RecordingRow::of(recording)
            });
        }
    }
    clips.counts.skipped = clips.unusable().count();
    clips.counts.cached = clips.recordings.saturating_sub(clips.counts.done + clips.counts.skipped);
    let skipped: Vec<String> = clips.unusable().map(|(name, reason)| format!("{name} is skipped: {reason}")).collect();
    warn_each(task, skipped.into_iter());
    losses.warn(task, clips.clips.len());
    clips.dropped = losses.chunks();
    if clips.clips.is_empty() {
        return Err(nothing_usable(&recordings, &clips));
    }
    publish(task, &clips)?;
    Ok(clips)
}

/// The outcome for one item: only errors about more than this item end the stage.
fn one_item<T>(result: Result<T>) -> Result<std::result::Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e) if concerns_one_item(e.kind()) => Ok(Err(e.to_string())),
        Err(e) => Err(e),
    }
}

fn read(recording: &Recording) -> Result<String> {
    match &recording.obstacle {
        Some(reason) => Err(Error::new(Kind::Read, reason)),
        None => files::digest_file(&recording.path),
    }
}

struct Cut {
    entry: Entry,
    origin: Origin,
    digest: String,
}

/// The slices of a recording whose content has `digest`. If it changes while it is read, the result is thrown away and
/// the new content is taken: nothing is ever kept under the digest of other bytes.
fn cut(task: &Task, cache: &Cache, recording: &Recording, digest: &str, config: &Config) -> Result<Cut> {
    let mut digest = digest.to_owned();
    for _ in 0..TRIES {
        let mut now = String::new();
        let made = cache.once(task, &key(&digest, config), |pending| {
            let notes = make(task, pending, &recording.path, config)?;
            now = files::digest_file(&recording.path)?;
            if now == digest { Ok(notes) } else { Err(Error::new(Kind::Read, "it changes while it is being read")) }
        });
        match made {
            Ok((entry, origin)) => return Ok(Cut { entry, origin, digest }),
            Err(_) if !now.is_empty() && now != digest => digest = now,
            Err(e) => return Err(e),
        }
    }
    Err(Error::new(Kind::Read, "it changes while it is being read").hint("run again when it is complete"))
}

fn key(digest: &str, config: &Config) -> Key {
    let key = Key::new("slices", VERSION).input("recording", digest);
    params(config).into_iter().fold(key, |key, (name, value)| key.param(&name, value))
}

/// The settings that decide the slices. Nothing else of the config may be read by this stage.
fn params(config: &Config) -> Map<String, Value> {
    let params = json!({
        "sample_rate": config.sample_rate,
        "slice_seconds": config.slice_seconds,
        "overlap_seconds": config.overlap_seconds,
        "numbering": config.numbering,
        "max_peak": config.max_peak,
    });
    params.as_object().cloned().unwrap_or_default()
}

fn make(task: &Task, pending: &Pending, recording: &Path, config: &Config) -> Result<Value> {
    let sample_rate = config.sample_rate as u32;
    let audio = io::load(recording)?.at_rate(sample_rate);
    let mut notes = Notes { seconds: audio.seconds(), ..Notes::default() };
    let plan = slice::Plan::new(&audio, config)?;
    drop(audio);
    for chunk in (0..plan.len()).filter_map(|i| plan.chunk(i)) {
        task.check()?;
        io::write_wav(&pending.path(&gt_name(chunk.index)), &chunk.gt, sample_rate)?;
        io::write_wav(&pending.path(&wav16_name(chunk.index)), &chunk.wav16, FEATURE_RATE)?;
        let seconds = chunk.gt.len() as f64 / f64::from(sample_rate);
        notes.chunks.push(ChunkNote { index: chunk.index, seconds });
    }
    for dropped in &plan.dropped {
        Loss::add(&mut notes.dropped, &dropped.reason.to_string(), 1, dropped.seconds);
    }
    serde_json::to_value(notes).map_err(|e| Error::new(Kind::Internal, format!("notes of slices: {e}")).source(e))
}

fn gt_name(index: usize) -> String {
    format!("{index}.gt.wav")
}

fn wav16_name(index: usize) -> String {
    format!("{index}.16k.wav")
}

fn notes_of(cut: &Cut) -> std::result::Result<Notes, String> {
    Notes::deserialize(cut.entry.notes()).map_err(|e| format!("its cached slices are damaged: {e}"))
}

impl RecordingRow {
    fn of(recording: &Recording) -> Self {
        Self { name: recording.shown.clone(), sid: recording.sid, ..Self::default() }
    }
}

/// Adds the clips of one recording, or says why there are none.
fn add(
    clips: &mut Clips,
    losses: &mut Losses,
    number: usize,
    recording: &Recording,
    cut: &Cut,
) -> std::result::Result<(), String> {
    let notes = notes_of(cut)?;
    if notes.chunks.is_empty() {
        return Err(format!("no chunk of it can be used ({})", notes.losses()));
    }
    let mut names = Vec::new();
    for chunk in &notes.chunks {
        let object = |name: String| cut.entry.object(&name).map_err(|e| e.to_string());
        let (gt, wav16) = (object(gt_name(chunk.index))?, object(wav16_name(chunk.index))?);
        let name = format!("{number}_{}", chunk.index);
        names.push(name.clone());
        let (sid, seconds) = (recording.sid, chunk.seconds);
        clips.clips.push(Clip { name, sid, seconds, gt, wav16, f0: None, content: None });
    }
    losses.add(&recording.shown, &notes);
    clips.table.push(RecordingRow {
        seconds: Some(notes.seconds),
        clips: notes.chunks.len(),
        kept_seconds: notes.chunks.iter().map(|chunk| chunk.seconds).sum(),
        dropped: notes.dropped,
        ..RecordingRow::of(recording)
    });
    let (shown, digest) = (recording.shown.clone(), cut.digest.clone());
    clips.sources.push(Source { shown, digest, sid: recording.sid, clips: names });
    Ok(())
}

/// Chunks that are not used, in recordings that are.
#[derive(Default)]
struct Losses {
    reasons: Vec<Loss>,
    recordings: Vec<String>,
}

impl Losses {
    fn add(&mut self, recording: &str, notes: &Notes) {
        for loss in &notes.dropped {
            Loss::add(&mut self.reasons, &loss.reason, loss.count, loss.seconds);
        }
        if !notes.dropped.is_empty() {
            self.recordings.push(recording.to_owned());
        }
    }

    fn chunks(&self) -> usize {
        self.reasons.iter().map(|loss| loss.count).sum()
    }

    fn warn(&self, task: &Task, used: usize) {
        if self.chunks() > 0 {
            task.warn(format!(
                "{} of {} chunks ({:.1} s) are not used: {}; in {}",
                self.chunks(),
                self.chunks() + used,
                self.reasons.iter().map(|loss| loss.seconds).sum::<f64>(),
                self.reasons.iter().map(Loss::to_string).collect::<Vec<_>>().join(", "),
                some_of(&self.recordings)
            ));
        }
    }
}

fn publish(task: &Task, clips: &Clips) -> Result<()> {
    let wavs = |of: fn(&Clip) -> &crate::cache::Object| {
        clips.clips.iter().map(|clip| (format!("{}.wav", clip.name), of(clip))).collect()
    };
    let wanted = [
        folder::Wanted { folder: GT_WAVS, files: wavs(|clip| &clip.gt) },
        folder::Wanted { folder: WAVS_16K, files: wavs(|clip| &clip.wav16) },
    ];
    folder::publish(task, &clips.folder, &clips.cache, &wanted)
}

fn nothing_usable(recordings: &Path, clips: &Clips) -> Error {
    let message = format!("none of the {} recordings in {} can be used", clips.recordings, recordings.display());
    let hint = match clips.unusable().next() {
        Some((name, reason)) => format!("{name}: {reason}"),
        None => "put recordings of speech into this folder".to_owned(),
    };
    Error::new(Kind::DataEmpty, message).path(recordings).hint(hint)
}

/// Slices of slices would double the data at every run.
fn refuse_own_output(recordings: &Path, logs: &Path) -> Result<()> {
    let (Ok(recordings), Ok(logs)) = (recordings.canonicalize(), logs.canonicalize()) else { return Ok(()) };
    if !recordings.starts_with(&logs) {
        return Ok(());
    }
    Err(Error::new(Kind::ConfigValue, format!("{} lies in the folder of the results", recordings.display()))
        .path(recordings)
        .hint("keep the recordings in data/<voice>"))
}
