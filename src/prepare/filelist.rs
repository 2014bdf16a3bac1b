//! filelist.txt (spec D.1): one row for each complete clip, and rows of silence for each speaker: RVC's two, or as many as the settings say.
//!
//! Paths are absolute, as RVC writes them, with "/" on every system: both RVC and this program open them from any
//! working folder. A copied workspace gets its own paths at its next run.
//!
//! The rows are in a fixed order that looks random and depends only on the seed and the clips' content. (RVC shuffles
//! with an unseeded generator, so its trainings cannot be repeated.)
//!
//! RVC ships its silence in logs/mute, next to the voices. Ours is in logs/<voice>/mute: it depends on the rate and the
//! content encoder of the voice, a voice may be called "mute", and RVC's own folder stays unchanged. It is on by default:
//! without it a voice hums in pauses, since recordings cut at silences contain none.

use super::features::{CONTENT_FILE, content, f0};
use super::metadata::{Metadata, SourceRecord};
use super::{Clip, Clips, F0_COARSE, F0_HZ, FILE_LIST, GT_WAVS, WAVS_16K, content_folder, folder};
use crate::audio::io;
use crate::cache::{Entry, Key, Object};
use crate::config::Config;
use crate::config::choices::Version;
use crate::features::{Models, f0 as trackers};
use crate::files::{self, Lock};
use crate::models::encoder::exact;
use crate::npy;
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Raise it when the silent clip changes.
const MUTE_VERSION: u32 = 1;
/// Seconds of the silent clip, as RVC's.
const MUTE_SECONDS: usize = 3;
/// Rows of silence for each speaker in RVC. More add nothing and take steps from the voice.
const RVC_MUTE_CLIPS: i64 = 2;
const FEATURE_RATE: usize = 16000;

/// The written file list.
#[derive(Clone, Debug)]
pub struct FileList {
    /// logs/<voice>/filelist.txt.
    pub path: PathBuf,
    /// Rows of clips.
    pub count: usize,
    /// Rows of silence.
    pub mute_rows: usize,
    /// Total length of the clips.
    pub seconds: f64,
    /// Clips left out because they have no f0 or no content features; each was reported.
    pub skipped: usize,
    /// Changes with every bit of the training data and with the settings behind it.
    pub content_root: String,
}

/// The file list of all complete clips, written last. Stages that were not called yet are run first.
///
/// Errors: `data.empty` if no clip is complete; those of the stages.
pub fn filelist(task: &Task, clips: &mut Clips, models: &Models, config: &Config) -> Result<FileList> {
    if config.if_f0 && !clips.params.contains_key("f0_method") {
        f0(task, clips, models, config)?;
    }
    if !clips.params.contains_key("content_encoder") {
        content(task, clips, models, config)?;
    }
    let _lock = Lock::acquire(&clips.folder)?;
    let is_complete = |clip: &&Clip| clip.content.is_some() && (clip.f0.is_some() || !config.if_f0);
    if !clips.clips.iter().any(|clip| is_complete(&clip)) {
        let what =
            if config.if_f0 { "no clip has both f0 and content features" } else { "no clip has content features" };
        return Err(Error::new(Kind::DataEmpty, what)
            .path(&clips.folder)
            .hint("the warnings above give the reason for each clip"));
    }
    // In the record and in the digest of the data, unless it is RVC's number.
    let mute_clips = Some(config.mute_clips).filter(|clips| *clips != RVC_MUTE_CLIPS);
    clips.params.retain(|name, _| name != "mute_clips");
    clips.params.extend(mute_clips.map(|number| ("mute_clips".to_owned(), number.into())));
    let complete: Vec<&Clip> = clips.clips.iter().filter(is_complete).collect();
    let mute = Mute::make(task, clips, models, config)?;
    let mut wanted = clip_folders(clips, config);
    wanted.extend(mute.folders(config));
    // Another process may have worked on this voice between the stages: restore everything under one lock.
    folder::publish(task, &clips.folder, &clips.cache, &wanted)?;

    // Removed speakers keep their numbers, but have no rows.
    let sids: BTreeSet<i64> = complete.iter().map(|clip| clip.sid).collect();
    let text = rows(&clips.folder, &complete, &mute, &sids, config)?;
    let path = clips.folder.join(FILE_LIST);
    let content_root = content_root(clips, &complete, &mute);
    write(task, clips, config, &path, &text, &content_root)?;
    Ok(FileList {
        path,
        count: complete.len(),
        mute_rows: config.mute_clips as usize * sids.len(),
        seconds: complete.iter().map(|clip| clip.seconds).sum(),
        skipped: clips.clips.len() - complete.len(),
        content_root,
    })
}

/// Writes cache_metadata.json and, if it changed, the list.
///
/// In this order, after the old list is removed: whenever this is killed, an existing list is the one that the record names, and the
/// next run recognises it as ours.
fn write(task: &Task, clips: &Clips, config: &Config, path: &Path, text: &str, content_root: &str) -> Result<()> {
    let old = Metadata::load(task, &clips.folder)?;
    let digest = files::digest(text);
    let there = path.symlink_metadata().is_ok();
    let is_new = !there || !files::digest_file(path).is_ok_and(|there| there == digest);
    if there && is_new {
        if folder::owns_file_list(&old, path) {
            files::remove(path)?;
        } else {
            task.warn(format!("{} had been changed since rvc-run wrote it; it is kept in set_aside", path.display()));
            folder::set_aside(&clips.folder, "", path)?;
        }
    }
    let mut outputs = old.outputs.clone();
    outputs.insert(FILE_LIST.into(), digest);
    let raw: Vec<_> = clips.sources.iter().map(|source| (&source.digest, source.sid)).collect();
    let new = Metadata {
        cache_key: files::digest(json!([raw, clips.params]).to_string()),
        preprocessing_params: guide_params(clips, config),
        content_root: content_root.to_owned(),
        speakers: clips.speakers.clone(),
        files: clips.sources.iter().map(source_record).collect(),
        outputs,
        ..Metadata::default()
    };
    if is_new {
        // The listed files were written without a sync, and trainings read only files that the list names.
        files::sync_disk(&clips.folder);
    }
    new.save(&clips.folder, &old)?;
    if is_new { files::write(path, text) } else { Ok(()) }
}

fn source_record(source: &super::Source) -> SourceRecord {
    let (path, raw_id, pcm_id) = (source.shown.clone(), source.digest.clone(), source.pcm.clone());
    SourceRecord { path, raw_id, pcm_id, sid: source.sid, slices: source.clips.clone() }
}

/// The guide's names first, then everything that went into the files.
fn guide_params(clips: &Clips, config: &Config) -> Map<String, Value> {
    let mut params = Map::new();
    params.insert("sample_rate".into(), config.sample_rate.into());
    params.insert("segment_length".into(), config.slice_seconds.into());
    params.insert("f0_method".into(), config.f0_method.as_str().into());
    params.insert("model_version".into(), config.version.as_str().into());
    params.insert("if_f0".into(), config.if_f0.into());
    // Recorded, not used: features do not depend on the device.
    params.insert("gpu".into(), config.gpu.into());
    params.extend(clips.params.clone());
    params
}

fn content_root(clips: &Clips, complete: &[&Clip], mute: &Mute) -> String {
    let digests = |clip: &&Clip| {
        let mut objects = vec![&clip.gt, &clip.wav16];
        objects.extend(clip.f0.iter().flat_map(|f0| [&f0.coarse, &f0.hz]));
        objects.push(clip.content.as_ref()?);
        let files: Vec<&str> = objects.into_iter().map(|object| object.digest.as_str()).collect();
        Some(json!([clip.name, clip.sid, files]))
    };
    let silence: Vec<&str> = mute.objects().map(|object| object.digest.as_str()).collect();
    let root = json!({
        "clips": complete.iter().filter_map(digests).collect::<Vec<_>>(),
        "mute": silence,
        "speakers": clips.speakers.len(),
        "params": clips.params,
    });
    files::digest(root.to_string())
}

fn clip_folders<'a>(clips: &'a Clips, config: &Config) -> Vec<folder::Wanted<'a>> {
    let files = |ending: &str, of: fn(&Clip) -> Option<&Object>| -> Vec<(String, &'a Object)> {
        clips.clips.iter().filter_map(|clip| Some((format!("{}{ending}", clip.name), of(clip)?))).collect()
    };
    vec![
        folder::Wanted::new(GT_WAVS, files(".wav", |c| Some(&c.gt))),
        folder::Wanted::new(WAVS_16K, files(".wav", |c| Some(&c.wav16))),
        folder::Wanted::new(F0_COARSE, files(".wav.npy", |c| c.f0.as_ref().map(|f| &f.coarse))),
        folder::Wanted::new(F0_HZ, files(".wav.npy", |c| c.f0.as_ref().map(|f| &f.hz))),
        folder::Wanted::new(content_folder(config), files(".npy", |c| c.content.as_ref())),
    ]
}

/// The rows in training order, joined by line breaks without one at the end, as RVC writes them.
fn rows(logs: &Path, clips: &[&Clip], mute: &Mute, sids: &BTreeSet<i64>, config: &Config) -> Result<String> {
    let seed = config.seed;
    let root = std::path::absolute(logs).map_err(|e| Error::io("look at", logs, e))?;
    let root = root.to_string_lossy().replace('\\', "/");
    let content = content_folder(config);
    let row = |base: &str, gt: &str, name: &str, sid: i64| {
        let start = format!("{base}/{GT_WAVS}/{gt}.wav|{base}/{content}/{name}.npy");
        if config.if_f0 {
            format!("{start}|{base}/{F0_COARSE}/{name}.wav.npy|{base}/{F0_HZ}/{name}.wav.npy|{sid}")
        } else {
            format!("{start}|{sid}")
        }
    };
    let mut keyed: Vec<(String, String)> = Vec::new();
    for clip in clips {
        // By content, so that the order survives renamed recordings; equal clips follow by row.
        keyed.push((order(&[&seed, &clip.gt.digest]), row(&root, &clip.name, &clip.name, clip.sid)));
    }
    let silence = format!("{root}/mute");
    for (sid, copy) in sids.iter().flat_map(|sid| (0..config.mute_clips).map(move |copy| (sid, copy))) {
        keyed.push((order(&[&seed, &"mute", sid, &copy]), row(&silence, &mute.gt_name, "mute", *sid)));
    }
    keyed.sort();
    Ok(keyed.into_iter().map(|(_, row)| row).collect::<Vec<_>>().join("\n"))
}

/// The sort key of a row: a digest is as good as a shuffle, and needs no generator.
fn order(what: &[&dyn std::fmt::Display]) -> String {
    files::digest(what.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

/// A silent clip with its features.
struct Mute {
    gt_name: String,
    gt: Object,
    wav16: Object,
    coarse: Object,
    hz: Object,
    content: Object,
}

impl Mute {
    fn make(task: &Task, clips: &Clips, models: &Models, config: &Config) -> Result<Self> {
        let encoder = models.encoder(config)?;
        let key = Key::new("mute", MUTE_VERSION)
            .param("sample_rate", config.sample_rate)
            .param("encoder", exact(&encoder.digest()));
        let (entry, _) = clips.cache.once(task, &key, |pending| {
            let silence = |rate: usize| vec![0.0; MUTE_SECONDS * rate];
            let wav16 = silence(FEATURE_RATE);
            io::write_wav(&pending.path("gt.wav"), &silence(config.sample_rate as usize), config.sample_rate as u32)?;
            io::write_wav(&pending.path("16k.wav"), &wav16, FEATURE_RATE as u32)?;
            let f0 = vec![0.0; MUTE_SECONDS * 100 + 1];
            npy::write_f64(&pending.path("hz.npy"), &f0)?;
            npy::write_i64(&pending.path("coarse.npy"), &trackers::coarse(&f0))?;
            npy::write_f32_2d(&pending.path(CONTENT_FILE), &encoder.encode(&wav16)?, encoder.dim())?;
            Ok(Value::Null)
        })?;
        Self::of(&entry, config)
    }

    fn of(entry: &Entry, config: &Config) -> Result<Self> {
        Ok(Self {
            gt_name: format!("mute{}", config.rate_name()),
            gt: entry.object("gt.wav")?,
            wav16: entry.object("16k.wav")?,
            coarse: entry.object("coarse.npy")?,
            hz: entry.object("hz.npy")?,
            content: entry.object(CONTENT_FILE)?,
        })
    }

    fn objects(&self) -> impl Iterator<Item = &Object> {
        [&self.gt, &self.wav16, &self.coarse, &self.hz, &self.content].into_iter()
    }

    fn folders(&self, config: &Config) -> Vec<folder::Wanted<'_>> {
        let content = if config.version == Version::V1 { "mute/3_feature256" } else { "mute/3_feature768" };
        let one = |folder, name: &str, object| folder::Wanted::new(folder, vec![(name.to_owned(), object)]);
        vec![
            one("mute/0_gt_wavs", &format!("{}.wav", self.gt_name), &self.gt),
            one("mute/1_16k_wavs", "mute.wav", &self.wav16),
            one("mute/2a_f0", "mute.wav.npy", &self.coarse),
            one("mute/2b-f0nsf", "mute.wav.npy", &self.hz),
            one(content, "mute.npy", &self.content),
        ]
    }
}
