//! Recordings to clips, in two cached stages: bytes -> digest of the sound in them -> slices.
//!
//! A recording whose bytes changed but whose sound did not (another tag, a flac of the same wav) is decoded again, and all
//! later stages are hits. Clips are named by content, not by position: `<first digits of their stage's key>_<clip>`, so
//! adding or removing a file never renames the clips of another, and a name never changes its samples.

use super::metadata::Metadata;
use super::recordings::{self, Found, Recording};
use super::survey::{Sound, Subject};
use super::{
    Clip, Clips, Counts, DECODE_VERSION, GT_WAVS, Loss, Reason, RecordingRow, Remark, Source, WAVS_16K, folder,
    some_of, warn_each,
};
use crate::audio::loaded::Loaded;
use crate::audio::{Audio, activity, denoise, io, slice};
use crate::cache::{Cache, Entry, Key, Origin, Pending};
use crate::config::Config;
use crate::config::choices::{Normalization, Slicing};
use crate::files::{self, Lock, Workspace};
use crate::shown::counted;
use crate::task::Task;
use crate::train::{Trainer, data};
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Raise this with every change in audio/ that can change a sample of a clip, given the same recording.
const VERSION: u32 = 5;
/// Digits of the key in a clip's name: with 1000 recordings the chance that two share them is one in two million;
/// then the second one gets all 64.
const NAME_DIGITS: usize = 10;
/// Rate of the files in 1_16k_wavs.
const FEATURE_RATE: u32 = 16000;
/// How often to retry a recording that changes while it is read.
const TRIES: usize = 3;

/// Notes on a decoded recording.
#[derive(Serialize, Deserialize)]
struct Decoded {
    /// See [`pcm_digest`].
    pcm: String,
    sample_rate: u32,
    seconds: f64,
    notices: Vec<Remark>,
}

impl Decoded {
    fn notes(Loaded { audio, notices, .. }: &Loaded) -> Result<Value> {
        let notices = notices.iter().map(Remark::from).collect();
        notes_json(&Self { pcm: pcm_digest(audio), sample_rate: audio.sample_rate, seconds: audio.seconds(), notices })
    }
}

/// Notes on a recording that ffmpeg decoded: another ffmpeg may produce other samples, so the actual notes are
/// kept under a key with its version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreign {
    /// The version installed when the recording was first decoded.
    ffmpeg: String,
}

/// Notes on the clips of a recording.
#[derive(Default, Serialize, Deserialize)]
struct Notes {
    /// Length of the whole recording.
    seconds: f64,
    /// `chunks` in the files of the cache.
    #[serde(rename = "chunks")]
    clips: Vec<ClipNote>,
    dropped: Vec<Loss>,
    /// Clips that stay below the target loudness, and by how much at most; see [`crate::audio::normalize`].
    #[serde(default, skip_serializing_if = "Held::is_empty")]
    held: Held,
}

/// Clips that the peak limit keeps below the target loudness.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Held {
    clips: usize,
    most_db: f64,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.clips == 0
    }

    fn add(&mut self, clips: usize, db: f64) {
        self.clips += clips;
        self.most_db = self.most_db.max(db);
    }
}

impl Notes {
    /// "3 silent, 1 too short".
    fn losses(&self) -> String {
        self.dropped.iter().map(Loss::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Serialize, Deserialize)]
struct ClipNote {
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
    let mut found = recordings::find(task, workspace, &recordings)?;
    refuse_own_output(&recordings, &logs)?;
    let _lock = Lock::acquire(&logs)?;
    // Left by a process that was killed while writing the list; those in the folders of clips are removed when these are filled.
    files::remove_leftovers(&logs)?;
    keep_speakers(task, &logs, &mut found)?;

    let read = task.map("reading recordings", &found.recordings, |recording| one_item(read(recording)))?;
    // A recording that is there twice is cut once.
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
        decoded: 0,
        dropped: 0,
        speakers: found.speakers,
        table: Vec::new(),
        cache: cache.clone(),
        looked_at: Vec::new(),
        sources: Vec::new(),
        params: params(config),
    };
    clips.counts.done = cut.iter().filter(|c| matches!(c, Ok(c) if c.origin == Origin::Made)).count();
    clips.decoded = cut.iter().flatten().filter(|cut| cut.decoded).count();
    let mut losses = Losses::default();
    let mut names = Names::default();
    for (recording, digest) in found.recordings.iter().zip(&read) {
        let result =
            digest.as_ref().map_err(Reason::clone).and_then(|d| cut[position[d]].as_ref().map_err(Reason::clone));
        let taken = result.as_ref().map(|cut| cut.digest.clone()).ok().or_else(|| digest.as_ref().ok().cloned());
        clips.looked_at.push(subject(recording, taken));
        if let Err(why) = result.clone().and_then(|cut| add(&mut clips, &mut losses, &mut names, recording, cut)) {
            let (dropped, notices) = match &result {
                Ok(cut) => (notes_of(cut).map(|notes| notes.dropped).ok(), cut.notices.clone()),
                Err(_) => (None, Vec::new()),
            };
            clips.table.push(RecordingRow {
                reason: Some(why.message),
                hint: why.hint,
                dropped: dropped.unwrap_or_default(),
                notices,
                ..RecordingRow::of(recording)
            });
        }
    }
    clips.counts.skipped = clips.unusable().count();
    clips.counts.cached = clips.recordings.saturating_sub(clips.counts.done + clips.counts.skipped);
    report_speakers(task, &clips);
    // The error below gives the reason of the first.
    let in_error = usize::from(clips.clips.is_empty());
    warn_each(task, skipped(&clips).into_iter().skip(in_error));
    warn_each(task, notice_lines(&clips).into_iter());
    losses.warn(task, clips.clips.len(), config);
    warn_of_long_clips(task, &clips);
    clips.dropped = losses.clips();
    if clips.clips.is_empty() {
        return Err(no_usable_recording(&recordings, &clips));
    }
    warn_of_short_clips(task, &clips, config);
    publish(task, &clips)?;
    Ok(clips)
}

/// Gives every speaker its number in an existing training of this voice: new speakers get the next free numbers, and the
/// number of a removed one stays unused. Without a training the numbers follow the names.
///
/// Errors: `config.value` for more speakers than RVC has rows.
fn keep_speakers(task: &Task, logs: &Path, found: &mut Found) -> Result<()> {
    let trained = Trainer::begun(logs)?;
    if !trained {
        return Ok(());
    }
    let mut speakers = Metadata::load(task, logs)?.speakers;
    let sids: Vec<i64> = std::mem::take(&mut found.speakers)
        .into_iter()
        .map(|name| {
            let known = speakers.iter().position(|speaker| *speaker == name);
            known.unwrap_or_else(|| {
                speakers.push(name);
                speakers.len() - 1
            }) as i64
        })
        .collect();
    for recording in &mut found.recordings {
        recording.sid = sids[recording.sid as usize];
    }
    found.speakers = speakers;
    recordings::check_speakers(found.speakers.len(), logs)
}

/// The outcome of one item: only errors about more than this item end the stage.
fn one_item<T>(result: Result<T>) -> Result<std::result::Result<T, Reason>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.kind().concerns_one_item() => Ok(Err(Reason::from(&e))),
        Err(e) => Err(e),
    }
}

fn read(recording: &Recording) -> Result<String> {
    match &recording.obstacle {
        Some(reason) => Err(Error::new(Kind::Read, reason)),
        None => files::digest_file(&recording.path),
    }
}

fn subject(recording: &Recording, digest: Option<String>) -> Subject {
    let path = recording.path.clone();
    let sound = digest.map_or(Sound::File(path.clone()), |digest| Sound::Known { path, digest });
    Subject { name: recording.shown.clone(), sid: recording.sid, sound }
}

struct Cut {
    entry: Entry,
    origin: Origin,
    /// Whether the decode stage ran.
    decoded: bool,
    /// Digests of the bytes, of the sound in them, and of the slices' key.
    digest: String,
    pcm: String,
    key: String,
    /// The notices from decoding it.
    notices: Vec<Remark>,
}

/// The clips of a recording whose content has `digest`. If it changes while it is read, the result is discarded and
/// the new content is read: nothing is ever kept under the digest of other bytes.
fn cut(task: &Task, cache: &Cache, recording: &Recording, digest: &str, config: &Config) -> Result<Cut> {
    let mut digest = digest.to_owned();
    for _ in 0..TRIES {
        match cut_as(task, cache, &recording.path, &digest, config) {
            Ok(cut) => return Ok(cut),
            // A file that is being written is often not a valid sound file for a moment.
            Err(e) => match files::digest_file(&recording.path)? {
                now if now == digest => return Err(e),
                now => digest = now,
            },
        }
    }
    Err(Error::new(Kind::Read, "it changes while it is being read").hint("run again when it is complete"))
}

/// As [`cut`]; an error if the content has another digest.
fn cut_as(task: &Task, cache: &Cache, path: &Path, digest: &str, config: &Config) -> Result<Cut> {
    let mut sound = None;
    let (mut decoded, mut decoding) = cache.once(task, &decode_key(digest), |_| {
        let loaded = load_as(task, path, digest)?;
        let notes = if loaded.by_ffmpeg {
            notes_json(&Foreign { ffmpeg: io::ffmpeg_version().unwrap_or("unknown").to_owned() })
        } else {
            Decoded::notes(&loaded)
        };
        sound = Some(loaded);
        notes
    })?;
    if let Some(key) = foreign_key(digest, &decoded) {
        let (by_this_ffmpeg, origin) = cache.once(task, &key, |_| {
            let loaded = match sound.take() {
                Some(loaded) => loaded,
                None => load_as(task, path, digest)?,
            };
            let notes = Decoded::notes(&loaded);
            sound = Some(loaded);
            notes
        })?;
        decoded = by_this_ffmpeg;
        decoding = if origin == Origin::Made { origin } else { decoding };
    }
    let Decoded { pcm, notices, .. } = Decoded::deserialize(decoded.notes())
        .map_err(|e| Error::new(Kind::DataDamaged, format!("the cached notes on decoding it are damaged: {e}")))?;
    let key = key(&pcm, config);
    let (entry, origin) = cache.once(task, &key, |pending| {
        let audio = match sound.take() {
            Some(loaded) => loaded.audio,
            None => load_again(task, path, &pcm)?,
        };
        make(task, pending, audio, config)
    })?;
    let (digest, key, decoded) = (digest.to_owned(), key.digest()?, decoding == Origin::Made);
    Ok(Cut { entry, origin, decoded, digest, pcm, key, notices })
}

/// A recording; an error if the content has another digest.
fn load_as(task: &Task, path: &Path, digest: &str) -> Result<Loaded> {
    let loaded = io::load_with_notices(task, path)?;
    // Bazel's guard: the decoded bytes are the digested ones only if the file has not changed.
    if files::digest_file(path)? != digest {
        return Err(Error::new(Kind::Read, "it changes while it is being read"));
    }
    Ok(loaded)
}

/// A recording that was decoded in an earlier run.
fn load_again(task: &Task, path: &Path, pcm: &str) -> Result<Audio> {
    let audio = io::load_with_notices(task, path)?.audio;
    if pcm_digest(&audio) == pcm {
        return Ok(audio);
    }
    Err(Error::new(Kind::DataDamaged, "its decoded sound differs from an earlier run's")
        .hint("`rvc-run cache prune --keep-days 0` empties the cache; then run again"))
}

/// The stage that decodes a recording. Decoders round alike only on one kind of machine.
fn decode_key(digest: &str) -> Key {
    let machine = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    Key::new("decode", DECODE_VERSION).input("recording", digest).param("machine", machine)
}

/// The key of a recording that ffmpeg decodes, from the entry of [`decode_key`]; None for all others. If ffmpeg was uninstalled,
/// its earlier results are still valid.
fn foreign_key(digest: &str, entry: &Entry) -> Option<Key> {
    let Foreign { ffmpeg } = Foreign::deserialize(entry.notes()).ok()?;
    Some(decode_key(digest).param("ffmpeg", io::ffmpeg_version().unwrap_or(&ffmpeg)))
}

/// The key of a recording's sound, if it was ever decoded.
pub(super) fn sound_key(cache: &Cache, digest: &str) -> Result<Key> {
    let own = decode_key(digest);
    Ok(cache.get(&own)?.and_then(|entry| foreign_key(digest, &entry)).unwrap_or(own))
}

/// The SHA-256 of a sound: its rate and every bit of its samples.
fn pcm_digest(audio: &Audio) -> String {
    let mut digest = files::Hasher::default();
    digest.update(&audio.sample_rate.to_le_bytes());
    let mut bytes = Vec::with_capacity(1 << 16);
    for part in audio.samples.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|x| x.to_bits().to_le_bytes()));
        digest.update(&bytes);
    }
    digest.finish()
}

fn key(pcm: &str, config: &Config) -> Key {
    key_with(pcm, &params(config))
}

/// The stage that cuts a sound, with the settings of [`params`].
pub(super) fn key_with(pcm: &str, params: &Map<String, Value>) -> Key {
    let key = Key::new("slices", VERSION).input("pcm", pcm);
    params.iter().fold(key, |key, (name, value)| key.param(name, value.clone()))
}

/// The settings that decide the slices. Nothing else of the config may be read by this stage.
///
/// The default rule's key has only the first five. Other rules add their name and only the settings that they read, so that
/// no other change cuts anything again.
pub(super) fn params(config: &Config) -> Map<String, Value> {
    let mut params = Map::new();
    let mut add = |name: &str, value: Value| drop(params.insert(name.to_owned(), value));
    let automatic = config.slicing == Slicing::Automatic;
    add("sample_rate", config.sample_rate.into());
    if config.slicing != Slicing::None {
        add("slice_seconds", config.slice_seconds.into());
        add("overlap_seconds", config.overlap_seconds.into());
    }
    if automatic && config.min_slice_seconds == 0.0 {
        add("numbering", config.numbering.as_str().into());
    }
    add("max_peak", config.max_peak.into());
    if !automatic {
        add("slicing", config.slicing.as_str().into());
    }
    if config.min_slice_seconds > 0.0 {
        add("min_slice_seconds", config.min_slice_seconds.into());
    }
    if config.normalization != Normalization::Rvc {
        add("normalization", config.normalization.as_str().into());
    }
    if config.normalization == Normalization::Lufs {
        add("target_lufs", config.target_lufs.into());
    }
    if [Normalization::Peak, Normalization::Lufs].contains(&config.normalization) {
        add("target_peak_dbfs", config.target_peak_dbfs.into());
    }
    if config.noise_reduction > 0.0 {
        add("noise_reduction", config.noise_reduction.into());
        add("denoiser", denoise::NAME.into());
    }
    if config.min_voice_share > 0.0 {
        add("min_voice_share", config.min_voice_share.into());
        add("voice_detector", activity::NAME.into());
    }
    params
}

/// All names that [`params`] may return.
const PARAMS: [&str; 14] = [
    "sample_rate",
    "slice_seconds",
    "overlap_seconds",
    "numbering",
    "max_peak",
    "slicing",
    "min_slice_seconds",
    "normalization",
    "target_lufs",
    "target_peak_dbfs",
    "noise_reduction",
    "denoiser",
    "min_voice_share",
    "voice_detector",
];

/// [`params`] of a voice's last preparation, from its record; the defaults where there was none.
pub(super) fn params_used(record: &Map<String, Value>) -> Map<String, Value> {
    if !record.contains_key("max_peak") {
        return params(&Config::default());
    }
    let used = PARAMS.iter().filter_map(|name| Some(((*name).to_owned(), record.get(*name)?.clone())));
    used.collect()
}

fn make(task: &Task, pending: &Pending, sound: Audio, config: &Config) -> Result<Value> {
    let sample_rate = config.sample_rate as u32;
    let audio = slice::ready(sound, config, || task.check())?;
    let mut notes = Notes { seconds: audio.seconds(), ..Notes::default() };
    let plan = slice::Plan::new(&audio, config)?;
    drop(audio);
    for clip in (0..plan.len()).filter_map(|i| plan.clip(i)) {
        task.check()?;
        io::write_wav(&pending.path(&gt_name(clip.index)), &clip.gt, sample_rate)?;
        io::write_wav(&pending.path(&wav16_name(clip.index)), &clip.wav16, FEATURE_RATE)?;
        let seconds = clip.gt.len() as f64 / f64::from(sample_rate);
        notes.clips.push(ClipNote { index: clip.index, seconds });
        if clip.held_db > 0.0 {
            notes.held.add(1, clip.held_db);
        }
    }
    for dropped in &plan.dropped {
        Loss::add(&mut notes.dropped, &dropped.reason.to_string(), 1, dropped.seconds);
    }
    notes_json(&notes)
}

fn notes_json(notes: &impl Serialize) -> Result<Value> {
    serde_json::to_value(notes).map_err(|e| Error::new(Kind::Internal, format!("notes of a stage: {e}")).source(e))
}

fn gt_name(index: usize) -> String {
    format!("{index}.gt.wav")
}

/// The end of the names of the 16 kHz wavs.
pub(super) const WAV16: &str = ".16k.wav";

fn wav16_name(index: usize) -> String {
    format!("{index}{WAV16}")
}

fn notes_of(cut: &Cut) -> std::result::Result<Notes, Reason> {
    Notes::deserialize(cut.entry.notes()).map_err(|e| Reason::new(format!("its cached slices are damaged: {e}")))
}

impl RecordingRow {
    fn of(recording: &Recording) -> Self {
        Self { name: recording.shown.clone(), sid: recording.sid, ..Self::default() }
    }
}

/// The key of each prefix of clip names.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// The prefix of the names of this key's clips.
    fn of(&mut self, key: &str) -> String {
        let short = key[..NAME_DIGITS].to_owned();
        let taken = self.0.entry(short.clone()).or_insert_with(|| key.to_owned());
        if taken == key { short } else { key.to_owned() }
    }
}

/// Adds the clips of one recording, or returns why it has no clips.
fn add(
    clips: &mut Clips,
    losses: &mut Losses,
    names: &mut Names,
    recording: &Recording,
    cut: &Cut,
) -> std::result::Result<(), Reason> {
    let notes = notes_of(cut)?;
    if notes.clips.is_empty() {
        return Err(Reason::new(format!("none of its clips can be used ({})", notes.losses())));
    }
    let start = names.of(&cut.key);
    let mut names = Vec::new();
    for clip in &notes.clips {
        let object = |name: String| cut.entry.object(&name).map_err(|e| Reason::from(&e));
        let (gt, wav16) = (object(gt_name(clip.index))?, object(wav16_name(clip.index))?);
        let name = format!("{start}_{}", clip.index);
        names.push(name.clone());
        let (sid, seconds) = (recording.sid, clip.seconds);
        clips.clips.push(Clip { name, sid, seconds, gt, wav16, f0: None, content: None });
    }
    losses.add(&recording.shown, &notes);
    clips.table.push(RecordingRow {
        seconds: Some(notes.seconds),
        clips: notes.clips.len(),
        kept_seconds: notes.clips.iter().map(|clip| clip.seconds).sum(),
        dropped: notes.dropped,
        notices: cut.notices.clone(),
        ..RecordingRow::of(recording)
    });
    let (shown, digest, pcm) = (recording.shown.clone(), cut.digest.clone(), cut.pcm.clone());
    clips.sources.push(Source { shown, digest, pcm, sid: recording.sid, clips: names });
    Ok(())
}

/// Clips that are not used, in recordings that are.
#[derive(Default)]
struct Losses {
    reasons: Vec<Loss>,
    recordings: Vec<String>,
    held: Held,
}

impl Losses {
    fn add(&mut self, recording: &str, notes: &Notes) {
        for loss in &notes.dropped {
            Loss::add(&mut self.reasons, &loss.reason, loss.count, loss.seconds);
        }
        self.held.add(notes.held.clips, notes.held.most_db);
        if !notes.dropped.is_empty() {
            self.recordings.push(recording.to_owned());
        }
    }

    fn clips(&self) -> usize {
        self.reasons.iter().map(|loss| loss.count).sum()
    }

    fn warn(&self, task: &Task, used: usize, config: &Config) {
        if !self.held.is_empty() {
            task.warn(format!(
                "{} {} up to {:.1} dB quieter than {} LUFS, so that no peak is over {} dB re full scale",
                counted(self.held.clips, "clip"),
                if self.held.clips == 1 { "is" } else { "are" },
                self.held.most_db,
                config.target_lufs,
                config.target_peak_dbfs
            ));
        }
        if self.clips() > 0 {
            task.warn(format!(
                "{} of {} clips ({:.1} s) are not used: {}; in {}",
                self.clips(),
                self.clips() + used,
                self.reasons.iter().map(|loss| loss.seconds).sum::<f64>(),
                self.reasons.iter().map(Loss::to_string).collect::<Vec<_>>().join(", "),
                some_of(&self.recordings)
            ));
        }
    }
}

/// A line for each skipped recording. A hint shared by many is given once.
fn skipped(clips: &Clips) -> Vec<String> {
    let mut said = HashSet::new();
    let line = |row: &RecordingRow| {
        let message = row.reason.clone()?;
        let hint = row.hint.clone().filter(|hint| said.insert(hint.clone()));
        Some(format!("{} is skipped: {}", row.name, Reason { message, hint }))
    };
    clips.table.iter().filter_map(line).collect()
}

/// A line for each oddity of a recording, used or not.
fn notice_lines(clips: &Clips) -> Vec<String> {
    let lines = |row: &RecordingRow| -> Vec<String> {
        row.notices.iter().map(|notice| format!("{}: {}", row.name, notice.message)).collect()
    };
    clips.table.iter().flat_map(lines).collect()
}

/// Reports that subfolders are speakers, if there are any: recordings meant as one speaker would be trained as several.
fn report_speakers(task: &Task, clips: &Clips) {
    let mut seconds: BTreeMap<i64, f64> = BTreeMap::new();
    for row in &clips.table {
        *seconds.entry(row.sid).or_default() += row.seconds.unwrap_or(0.0);
    }
    if seconds.keys().eq(&[0]) {
        return;
    }
    let name = |sid: i64| match clips.speakers.get(sid as usize).map_or("", String::as_str) {
        "" => "recordings outside subfolders",
        name => name,
    };
    let each: Vec<String> =
        seconds.iter().map(|(sid, seconds)| format!("{} {seconds:.0} s (sid {sid})", name(*sid))).collect();
    let are = if each.len() == 1 { "speaker" } else { "speakers" };
    task.info(format!("{} {are}: {}; subfolders are speakers", each.len(), each.join(", ")));
}

/// Warns about recordings with clips that are too short for training. A training with a shorter window may use them.
fn warn_of_short_clips(task: &Task, clips: &Clips, config: &Config) {
    let window = config.segment_frames() as f64 / 100.0;
    let Some((count, seconds)) = short_clips(clips, window) else { return };
    let of: Vec<&str> = clips
        .sources
        .iter()
        .filter(|source| clips.clips.iter().any(|clip| clip.seconds < window && source.clips.contains(&clip.name)))
        .map(|source| source.shown.as_str())
        .collect();
    let are = if count == 1 { "is" } else { "are" };
    task.warn(format!(
        "{} of {seconds} {are} shorter than the training's window of {window:.2} s and {are} not trained on; in {}",
        counted(count, "clip"),
        some_of(&of)
    ));
}

/// How many clips are shorter than a window, and their lengths: "0.15 to 0.20 s"; None if all are long enough.
fn short_clips(clips: &Clips, window: f64) -> Option<(usize, String)> {
    let short: Vec<f64> = clips.clips.iter().map(|clip| clip.seconds).filter(|seconds| *seconds < window).collect();
    let (low, high) = short.iter().fold((f64::MAX, 0.0f64), |(low, high), s| (low.min(*s), high.max(*s)));
    let seconds = if high - low < 0.005 { format!("{low:.2} s") } else { format!("{low:.2} to {high:.2} s") };
    (!short.is_empty()).then_some((short.len(), seconds))
}

/// Checks that a training with `config` can use at least one of the clips.
///
/// Errors: `data.empty` if all are shorter than its window.
pub fn check_window(clips: &Clips, config: &Config) -> Result<()> {
    let window = config.segment_frames() as f64 / 100.0;
    let Some((count, seconds)) = short_clips(clips, window).filter(|(count, _)| *count == clips.clips.len()) else {
        return Ok(());
    };
    let all = if count == 1 { "the only clip is".to_owned() } else { format!("all {count} clips are") };
    let message = format!(
        "there is nothing to train on in {}: {all} too short, {seconds}, but the training's window is {window:.2} s",
        clips.folder.display()
    );
    Err(Error::new(Kind::DataEmpty, message).path(&clips.folder).hint(
        "add recordings with longer phrases (a few seconds each), or join short ones; the window is segment_size / sample_rate",
    ))
}

fn warn_of_long_clips(task: &Task, clips: &Clips) {
    let seconds = clips.seconds_not_trained();
    if seconds > 0.0 {
        let long = clips.clips.iter().filter(|clip| clip.seconds > data::MAX_SECONDS).count();
        task.warn(format!(
            "{} {} longer than the {} s of a clip that training reads: {seconds:.1} s are not trained on; cut shorter clips with \
            slicing or slice_seconds",
            counted(long, "clip"),
            if long == 1 { "is" } else { "are" },
            data::MAX_SECONDS
        ));
    }
}

fn publish(task: &Task, clips: &Clips) -> Result<()> {
    let wavs = |of: fn(&Clip) -> &crate::cache::Object| {
        clips.clips.iter().map(|clip| (format!("{}.wav", clip.name), of(clip))).collect()
    };
    let wanted =
        [folder::Wanted::new(GT_WAVS, wavs(|clip| &clip.gt)), folder::Wanted::new(WAVS_16K, wavs(|clip| &clip.wav16))];
    folder::publish(task, &clips.folder, &clips.cache, &wanted)
}

fn no_usable_recording(recordings: &Path, clips: &Clips) -> Error {
    let message = match clips.recordings {
        1 => format!("the only recording in {} cannot be used", recordings.display()),
        n => format!("none of the {n} recordings in {} can be used", recordings.display()),
    };
    let first = clips.table.iter().find_map(|row| {
        let message = row.reason.clone()?;
        Some(format!("{}: {}", row.name, Reason { message, hint: row.hint.clone() }))
    });
    let hint = match first {
        Some(line) => line,
        None => "put recordings of speech into this folder".to_owned(),
    };
    Error::new(Kind::DataEmpty, message).path(recordings).hint(hint)
}

/// Cutting its own clips would double the data at every run.
pub(super) fn refuse_own_output(recordings: &Path, logs: &Path) -> Result<()> {
    let (Ok(recordings), Ok(logs)) = (recordings.canonicalize(), logs.canonicalize()) else { return Ok(()) };
    if !recordings.starts_with(&logs) {
        return Ok(());
    }
    Err(Error::new(Kind::ConfigValue, format!("{} is in the folder of the results", recordings.display()))
        .path(recordings)
        .hint("keep the recordings in data/<voice>"))
}
