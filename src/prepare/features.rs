//! Clips to f0 and content features: one cached result per clip, found by the digest of its 16 kHz wav.

use super::{Clip, Clips, Counts, F0_COARSE, F0_HZ, Pitch, Reason, content_folder, folder, warn_each};
use crate::audio::io;
use crate::cache::{Cache, Entry, Key, Object};
use crate::config::Config;
use crate::config::choices::{F0Unvoiced, Precision};
use crate::features::{self, Models, f0 as trackers};
use crate::files::Lock;
use crate::models::encoder::exact;
use crate::npy;
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde_json::Value;
use std::collections::HashMap;

/// Raise these when the files change but the method's own digest does not.
const F0_VERSION: u32 = 1;
const CONTENT_VERSION: u32 = 1;

const COARSE_FILE: &str = "coarse.npy";
const HZ_FILE: &str = "hz.npy";
pub(super) const CONTENT_FILE: &str = "content.npy";

/// Extracts the clips' f0 by `config.f0_method` to logs/<voice>/2a_f0 and 2b-f0nsf; returns counts of clips.
/// Unvoiced frames are 0, or with `config.f0_unvoiced` "interpolate" filled from their neighbours (RVC 2026); then a clip
/// without any voiced frame is skipped with a warning.
///
/// Errors: `config.value`, `file.locked`, `file.write`, `file.disk_full`.
pub fn f0(task: &Task, clips: &mut Clips, models: &Models, config: &Config) -> Result<Counts> {
    let _lock = Lock::acquire(&clips.folder)?;
    let extractor = models.extractor(config)?;
    let digest = extractor.digest();
    let unvoiced = config.f0_unvoiced;
    let key = |clip: &Object| f0_key(&clip.digest, &digest, unvoiced.as_str());
    let found = each_once(task, "f0", clips, key, |todo| {
        extractor.extract(task, "f0", todo, n_samples, load, |clip, f0| {
            let f0 = f0.and_then(|f0| finished(f0, unvoiced == F0Unvoiced::Interpolate));
            one_clip(f0, |f0| make_f0(task, &clips.cache, &key(clip), &f0))
        })
    })?;
    let mut counts = found.counts;
    let mut skipped = Vec::new();
    for clip in &mut clips.clips {
        let entry = found.of(&clip.wav16);
        clip.f0 = match entry.and_then(|e| Ok(Pitch { coarse: object(e, COARSE_FILE)?, hz: object(e, HZ_FILE)? })) {
            Ok(pitch) => Some(pitch),
            Err(reason) => {
                skipped.push(format!("clip {} is skipped because it has no f0: {reason}", clip.name));
                None
            }
        };
    }
    counts.settle(clips.clips.len(), skipped.len());
    warn_each(task, skipped.into_iter());
    clips.params.insert("f0_method".into(), Value::from(config.f0_method.as_str()));
    clips.params.insert("f0_digest".into(), Value::from(digest.as_str()));
    clips.params.insert("f0_threshold".into(), Value::from(config.f0_threshold));
    clips.params.insert("f0_unvoiced".into(), Value::from(unvoiced.as_str()));
    let files = |of: fn(&Pitch) -> &Object| named(&clips.clips, ".wav.npy", |clip| clip.f0.as_ref().map(of));
    let wanted = [
        folder::Wanted::new(F0_COARSE, files(|pitch| &pitch.coarse)),
        folder::Wanted::new(F0_HZ, files(|pitch| &pitch.hz)),
    ];
    folder::publish(task, &clips.folder, &clips.cache, &wanted)?;
    Ok(counts)
}

/// Extracts the clips' content features by `config.content_encoder` to logs/<voice>/3_feature768 (256 in version 1); returns counts of
/// clips.
///
/// Errors: `config.value`, `file.locked`, `file.write`, `file.disk_full`.
pub fn content(task: &Task, clips: &mut Clips, models: &Models, config: &Config) -> Result<Counts> {
    let _lock = Lock::acquire(&clips.folder)?;
    let encoder = models.encoder(config)?;
    if let Some(notice) = encoder.notice() {
        task.info(notice);
    }
    if config.feature_precision != Precision::Fp32 && !features::any_network(config) {
        task.warn(format!(
            "feature_precision {} has no effect: neither content_encoder {} nor f0_method {} is a network",
            config.feature_precision, config.content_encoder, config.f0_method
        ));
    }
    let (digest, dim) = (encoder.digest(), encoder.dim());
    let key = |clip: &Object| content_key(&clip.digest, &digest);
    let found = each_once(task, "content", clips, key, |todo| {
        encoder.extract(task, "content", todo, n_samples, load, |clip, values| {
            one_clip(values, |values| make_content(task, &clips.cache, &key(clip), &values, dim))
        })
    })?;
    let mut counts = found.counts;
    let mut skipped = Vec::new();
    for clip in &mut clips.clips {
        clip.content = match found.of(&clip.wav16).and_then(|entry| object(entry, CONTENT_FILE)) {
            Ok(object) => Some(object),
            Err(reason) => {
                skipped.push(format!("clip {} is skipped because it has no content features: {reason}", clip.name));
                None
            }
        };
    }
    counts.settle(clips.clips.len(), skipped.len());
    warn_each(task, skipped.into_iter());
    clips.params.insert("content_encoder".into(), Value::from(encoder.name()));
    clips.params.insert("content_digest".into(), Value::from(digest.as_str()));
    let files = named(&clips.clips, ".npy", |clip| clip.content.as_ref());
    folder::publish(task, &clips.folder, &clips.cache, &[folder::Wanted::new(content_folder(config), files)])?;
    Ok(counts)
}

pub(super) fn f0_key(clip: &str, method: &str, unvoiced: &str) -> Key {
    Key::new("f0", F0_VERSION).input("clip", clip).param("method", method).param("unvoiced", unvoiced)
}

pub(super) fn content_key(clip: &str, encoder: &str) -> Key {
    Key::new("content", CONTENT_VERSION).input("clip", clip).param("encoder", exact(encoder))
}

impl Counts {
    /// Equal clips are computed once; clips that were neither made nor skipped count as cached.
    fn settle(&mut self, clips: usize, skipped: usize) {
        self.skipped = skipped;
        self.cached = clips.saturating_sub(self.done + skipped);
    }
}

/// An entry, or the reason why this clip has none.
type Outcome = std::result::Result<Entry, String>;

struct Found {
    by_digest: HashMap<String, Outcome>,
    counts: Counts,
}

impl Found {
    fn of(&self, clip: &Object) -> std::result::Result<&Entry, String> {
        match self.by_digest.get(&clip.digest) {
            Some(outcome) => outcome.as_ref().map_err(String::clone),
            None => Err("it was not extracted".into()),
        }
    }
}

/// The entries of all clips: from one parallel lookup in the cache, the others from `extract` (in one call, so that a network
/// can run them in batches).
fn each_once(
    task: &Task,
    stage: &str,
    clips: &Clips,
    key: impl Fn(&Object) -> Key + Sync,
    extract: impl FnOnce(&[Object]) -> Result<Vec<Outcome>>,
) -> Result<Found> {
    let mut seen = std::collections::HashSet::new();
    let unique: Vec<&Object> =
        clips.clips.iter().map(|clip| &clip.wav16).filter(|clip| seen.insert(&clip.digest)).collect();
    let cached = task.map(&format!("looking for {stage} in the cache"), &unique, |clip| clips.cache.get(&key(clip)))?;
    let mut by_digest = HashMap::new();
    let mut todo = Vec::new();
    for (clip, entry) in unique.into_iter().zip(cached) {
        match entry {
            Some(entry) => drop(by_digest.insert(clip.digest.clone(), Ok(entry))),
            None => todo.push(clip.clone()),
        }
    }
    let made = if todo.is_empty() { Vec::new() } else { extract(&todo)? };
    let done = made.iter().filter(|outcome| outcome.is_ok()).count();
    by_digest.extend(todo.into_iter().map(|clip| clip.digest).zip(made));
    Ok(Found { by_digest, counts: Counts { done, ..Counts::default() } })
}

/// Samples of a clip: its wav is float32 behind a header of 58 bytes (spec A.8).
fn n_samples(clip: &Object) -> usize {
    std::fs::metadata(&clip.path).map_or(0, |file| (file.len() as usize).saturating_sub(58) / 4)
}

fn load(clip: &Object) -> Result<Vec<f32>> {
    Ok(io::read_wav(&clip.path)?.samples)
}

/// Calls `store` with a clip's values; an error about only this clip becomes its reason.
fn one_clip<T>(values: Result<T>, store: impl FnOnce(T) -> Result<Entry>) -> Result<Outcome> {
    match values.and_then(store) {
        Ok(entry) => Ok(Ok(entry)),
        Err(e) if e.kind().concerns_one_item() => Ok(Err(Reason::from(&e).to_string())),
        Err(e) => Err(e),
    }
}

/// A clip's f0 as stored. Errors: `train.not_finite`; `audio.empty` if it must be interpolated and no frame is voiced.
fn finished(mut f0: Vec<f64>, fill: bool) -> Result<Vec<f64>> {
    if !f0.iter().all(|x| x.is_finite()) {
        return Err(Error::new(Kind::NotFinite, "its f0 is not finite"));
    }
    if fill && !trackers::fill_unvoiced(&mut f0) {
        return Err(Error::new(Kind::AudioEmpty, "no frame is voiced, so there is nothing to interpolate between")
            .hint("f0_unvoiced \"zero\" keeps such clips"));
    }
    Ok(f0)
}

fn make_f0(task: &Task, cache: &Cache, key: &Key, f0: &[f64]) -> Result<Entry> {
    let made = cache.once(task, key, |pending| {
        npy::write_f64(&pending.path(HZ_FILE), f0)?;
        npy::write_i64(&pending.path(COARSE_FILE), &trackers::coarse(f0))?;
        Ok(Value::Null)
    });
    made.map(|(entry, _)| entry)
}

fn make_content(task: &Task, cache: &Cache, key: &Key, values: &[f32], dim: usize) -> Result<Entry> {
    // The reference writes no file with a NaN in it either (spec C.4).
    if !values.iter().all(|x| x.is_finite()) {
        return Err(Error::new(Kind::NotFinite, "its content features are not finite"));
    }
    let made = cache.once(task, key, |pending| {
        npy::write_f32_2d(&pending.path(CONTENT_FILE), values, dim)?;
        Ok(Value::Null)
    });
    made.map(|(entry, _)| entry)
}

fn object(entry: &Entry, name: &str) -> std::result::Result<Object, String> {
    entry.object(name).map_err(|e| e.to_string())
}

fn named<'a>(
    clips: &'a [Clip],
    ending: &str,
    of: impl Fn(&'a Clip) -> Option<&'a Object>,
) -> Vec<(String, &'a Object)> {
    clips.iter().filter_map(|clip| Some((format!("{}{ending}", clip.name), of(clip)?))).collect()
}
