//! Builds the index of a prepared voice: once for the same features and settings, through the cache, under RVC's names.
//!
//! Source: spec H.1. Departures: rows keep the order of the clips (RVC shuffles them without a seed, which affects only
//! their numbers); the centres come from our own k-means, so that the same seed gives the same file.

use super::Index;
use super::centres::Centres;
use super::frames::Frames;
use super::ivf::squared_distance;
use super::kmeans::{self, Setup};
use crate::cache::{self, Cache, Key, Object, Origin};
use crate::config::Config;
use crate::config::choices::Version;
use crate::files;
use crate::nn::{self, random::SplitMix, runtime};
use crate::task::Task;
use crate::{Error, Kind, Result, given};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tch::Device;

/// Raise this when the same features give another index.
const VERSION: u32 = 1;
/// Number of frames for measuring the recall.
const RECALL_SAMPLE: usize = 1000;
/// Number of neighbours in the recall, as in conversion.
const RECALL_NEIGHBOURS: usize = 8;
/// Vectors per block of the exact search; with the sample 64 MB of distances.
const RECALL_BLOCK: usize = 1 << 14;

/// How an index is built. Defaults are RVC's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The style of file names: "rvc" (added_IVF<cells>_Flat_nprobe_1_<voice>_<version>.index, and trained_... with only the centres)
    /// or "applio" (<voice>.index).
    pub name: String,
    /// Whether to leave out silent frames, which pull pauses and breaths of the input towards the voice's silence.
    pub leave_out_silence: bool,
    /// Number of frames above which they are reduced.
    pub max_frames: usize,
    /// Number of frames after the reduction.
    pub reduced_frames: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "rvc".into(), leave_out_silence: false, max_frames: 200_000, reduced_frames: 10_000 }
    }
}

/// A built index.
#[derive(Clone, Debug)]
pub struct Built {
    /// The index file for conversion.
    pub path: PathBuf,
    /// Vectors in the index.
    pub n: usize,
    /// Frames that they represent; more than `n` if they were reduced.
    pub frames: usize,
    /// Number of cells.
    pub n_ivf: usize,
    /// Share of the 8 nearest vectors that a search finds; see [`Index::recall`].
    pub recall: f64,
    /// Duration of this call in seconds.
    pub seconds: f64,
    /// Whether an index of the same features existed already.
    pub cached: bool,
}

/// Notes on a cached index.
#[derive(Serialize, Deserialize)]
struct Notes {
    n: usize,
    n_ivf: usize,
    recall: f64,
}

/// Writes the index of the features in logs/<voice>/3_feature768 (3_feature256 in version 1) to `logs`. RVC's silence is in
/// another folder and so not included.
///
/// Errors: `config.value`; `file.not_found` and `data.empty` if the voice is not prepared; `data.damaged` with the file;
/// `device.*`, `file.*`, `cancelled`.
pub fn build(
    task: &Task,
    cache: &Cache,
    logs: &Path,
    voice: &str,
    config: &Config,
    options: &Options,
) -> Result<Built> {
    let started = Instant::now();
    options.validate()?;
    let setup = Setup { task, device: runtime::device(config.gpu)?, seed: config.seed };
    let frames = Frames::look(task, logs, config.content_channels() as usize, options.leave_out_silence)?;
    let reduced = (frames.n > options.max_frames).then_some(options.reduced_frames);
    let key = Key::new("index", VERSION)
        .input("features", &frames.digest())
        .param("leave_out_silence", options.leave_out_silence)
        .param("reduced_frames", reduced)
        .param("seed", config.seed);
    let (entry, origin) = cache.once(task, &key, |pending| {
        let vectors = match reduced {
            Some(k) => frames.reduced(&setup, k)?,
            None => frames.all(task)?,
        };
        let index = Index::new(task, vectors, frames.dim, config.seed, setup.device)?;
        index.write(&pending.path("added"))?;
        index.trained().write(&pending.path("trained"))?;
        let recall = index.recall(task, config.seed, setup.device)?;
        to_json(&Notes { n: index.len(), n_ivf: index.n_cells(), recall })
    })?;
    let notes: Notes = serde_json::from_value(entry.notes().clone())
        .map_err(|e| Error::new(Kind::Internal, format!("the notes of a cached index: {e}")).source(e))?;
    let named =
        |part: &str, model: &str| format!("{part}_IVF{}_Flat_nprobe_1_{model}_{}.index", notes.n_ivf, config.version);
    let rvc = |part: &str| named(part, voice);
    let mut names = match options.name.as_str() {
        "applio" => vec![("added", format!("{voice}.index"))],
        _ => vec![("added", rvc("added")), ("trained", rvc("trained"))],
    };
    let path = logs.join(&names[0].1);
    // Models keep their index, see [`pair`].
    for model in paired(logs, voice, config.version)? {
        names.push(("added", named("added", &model)));
    }
    let mut wanted = Vec::new();
    for (part, name) in names {
        wanted.push((name, entry.object(part)?));
    }
    publish(task, cache, logs, &wanted, |name| is_index_of(name, voice, config.version))?;
    Ok(Built {
        path,
        n: notes.n,
        frames: frames.n,
        n_ivf: notes.n_ivf,
        recall: notes.recall,
        seconds: started.elapsed().as_secs_f64(),
        cached: origin == Origin::Reused,
    })
}

impl Options {
    /// Options from a JSON object over the defaults.
    ///
    /// Errors: `config.unknown_key` with the nearest name; `config.value`.
    pub fn from_json(options: &Map<String, Value>) -> Result<Self> {
        let options: Self = given::read(options, "an index", "an option")?;
        options.validate()?;
        Ok(options)
    }

    fn validate(&self) -> Result<()> {
        let error = |message: String| Err(Error::new(Kind::ConfigValue, message));
        if !["rvc", "applio"].contains(&self.name.as_str()) {
            return error(format!("name is {:?}, but must be one of rvc, applio", self.name));
        }
        if self.reduced_frames == 0 || self.max_frames < self.reduced_frames {
            let (k, n) = (self.reduced_frames, self.max_frames);
            return error(format!("reduced_frames is {k}, but must be between 1 and max_frames ({n})"));
        }
        Ok(())
    }
}

impl Index {
    /// The index of these vectors, in cells around centres from k-means.
    ///
    /// Shapes: vectors row-major [n, dim]
    /// Errors: `data.empty` without vectors; `config.mismatch` if they are not whole rows or more than 2^32;
    /// `train.not_finite`; `device.*`, `cancelled`.
    pub fn new(task: &Task, vectors: Vec<f32>, dim: usize, seed: i64, device: Device) -> Result<Self> {
        let n = vectors.len().checked_div(dim).unwrap_or(0);
        if n * dim != vectors.len() || u32::try_from(n).is_err() {
            let message = format!("{} values are not rows of {dim} for an index", vectors.len());
            return Err(Error::new(Kind::ConfigMismatch, message));
        }
        if n == 0 {
            return Err(Error::new(Kind::DataEmpty, "an index needs at least one vector"));
        }
        if !vectors.iter().all(|x| x.is_finite()) {
            return Err(Error::new(Kind::NotFinite, "an index cannot have values that are not finite"));
        }
        let n_cells = n_ivf(n);
        let (centres, nearest) = kmeans::cells(&Setup { task, device, seed }, &vectors, dim, n_cells)?;
        let mut cells = vec![Vec::new(); n_cells];
        for (number, cell) in nearest.into_iter().enumerate() {
            cells[cell as usize].push(number as u32);
        }
        Ok(Self { dim, nprobe: 1, centres, vectors, cells })
    }

    /// Only the centres: RVC's trained index.
    fn trained(&self) -> Self {
        let cells = vec![Vec::new(); self.n_cells()];
        Self { dim: self.dim, nprobe: self.nprobe, centres: self.centres.clone(), vectors: Vec::new(), cells }
    }

    /// Recall@8: the share of the 8 vectors nearest to a vector (except itself) that a search finds, 0..=1. Measured against
    /// exact search for 1000 vectors, or all if there are fewer. Ties with the eighth count.
    ///
    /// Errors: `device.*`, `cancelled`.
    pub fn recall(&self, task: &Task, seed: i64, device: Device) -> Result<f64> {
        let k = RECALL_NEIGHBOURS.min(self.len().saturating_sub(1));
        if k == 0 {
            return Ok(1.0);
        }
        let sample = SplitMix::new(seed, "recall").sample(self.len(), RECALL_SAMPLE);
        let queries: Vec<f32> = sample.iter().flat_map(|&number| self.vector(number as u32).iter().copied()).collect();
        let limits = self.exact_distances(task, &sample, &queries, k, device)?;
        let (ids, distances) = nn::guard(|| self.search(&queries, k + 1))?;
        let found = ids.chunks_exact(k + 1).zip(distances.chunks_exact(k + 1));
        let hits = found.zip(&sample).zip(limits).map(|(((ids, distances), &own), limit)| {
            let is_hit = |&(&id, &distance): &(&i64, &f32)| id >= 0 && id != own as i64 && distance <= limit;
            ids.iter().zip(distances).filter(is_hit).count().min(k)
        });
        Ok(hits.sum::<usize>() as f64 / (k * sample.len()) as f64)
    }

    /// The distance of the `k`-th nearest vector to each query; the query is vector `own`, which does not count.
    fn exact_distances(
        &self,
        task: &Task,
        own: &[usize],
        queries: &[f32],
        k: usize,
        device: Device,
    ) -> Result<Vec<f32>> {
        let mut nearest = vec![Vec::new(); own.len()];
        for (block, vectors) in self.vectors.chunks(RECALL_BLOCK * self.dim).enumerate() {
            task.check()?;
            let candidates = (k + 1).min(vectors.len() / self.dim);
            let found = nn::guard(|| Centres::new(vectors, self.dim, device).nearest(queries, candidates))?;
            let rows = queries.chunks_exact(self.dim).zip(found.chunks_exact(candidates));
            for ((nearest, &own), (query, found)) in nearest.iter_mut().zip(own).zip(rows) {
                let numbers = found.iter().map(|i| block * RECALL_BLOCK + *i as usize).filter(|number| *number != own);
                nearest.extend(numbers.map(|number| squared_distance(query, self.vector(number as u32))));
                nearest.sort_by(f32::total_cmp);
                nearest.truncate(k);
            }
        }
        Ok(nearest.into_iter().map(|distances| distances.last().copied().unwrap_or(f32::MAX)).collect())
    }
}

/// RVC's number of cells for `n` vectors: at least 39 vectors per cell, as FAISS requires for its k-means.
fn n_ivf(n: usize) -> usize {
    ((16.0 * (n as f64).sqrt()) as usize).min(n / 39).max(1)
}

/// Whether a file name is a possible name of this voice's index, with any number of cells.
fn is_index_of(name: &str, voice: &str, version: Version) -> bool {
    let of_model = |part| model_of(name, part, version).is_some_and(|model| is_model_of(model, voice));
    name == format!("{voice}.index") || of_model("added") || of_model("trained")
}

/// The model in an index's RVC name.
fn model_of<'a>(name: &'a str, part: &str, version: Version) -> Option<&'a str> {
    let rest = name.strip_prefix(part)?.strip_prefix("_IVF")?.strip_suffix(&format!("_{version}.index"))?;
    let (cells, model) = rest.split_once("_Flat_nprobe_1_")?;
    (!cells.is_empty() && cells.bytes().all(|b| b.is_ascii_digit())).then_some(model)
}

/// Whether a model is the voice itself or a variant of it, such as anna_best.
fn is_model_of(model: &str, voice: &str) -> bool {
    model.strip_prefix(voice).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// The other models of the voice that its index has second names for.
fn paired(logs: &Path, voice: &str, version: Version) -> Result<Vec<String>> {
    let names = files::list(logs)?.into_iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let models = names.filter_map(|name| model_of(&name, "added", version).map(str::to_owned));
    let models: BTreeSet<String> = models.filter(|model| model != voice && is_model_of(model, voice)).collect();
    Ok(models.into_iter().collect())
}

/// Gives the index of a voice a second name beside it, under which RVC WebUI finds it for another model of the voice ("anna_best"), and
/// returns it. A rebuild of the index replaces it too. An index under Applio's name gets none.
///
/// Source: WebUI of July 2026, infer/vc/utils.py: an index belongs to MODEL if its name begins with "MODEL_added_" or contains
/// "_MODEL_v2", ignoring epoch and step after the model's name (_e200_s1600); the WebUI of 2024 searches for MODEL anywhere in the path.
///
/// Errors: `config.value` for a model of another voice, `file.*`.
pub fn pair(index: &Path, voice: &str, model: &str) -> Result<Option<PathBuf>> {
    if model == voice || !is_model_of(model, voice) {
        return Err(Error::new(Kind::ConfigValue, format!("{model:?} is not another model of the voice {voice:?}"))
            .hint("its name must begin with the voice's name, such as anna_best"));
    }
    let name = index.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let version = Version::ALL.iter().find(|version| model_of(name, "added", **version) == Some(voice));
    let Some(version) = version else { return Ok(None) };
    let of_voice = format!("_{voice}_{version}.index");
    let second = index.with_file_name(name.replace(&of_voice, &format!("_{model}_{version}.index")));
    files::link(index, &second)?;
    Ok(Some(second))
}

/// Puts the files into `logs`. Files of our earlier builds under such names are removed; foreign files stay,
/// and are renamed if we need their name.
fn publish(
    task: &Task,
    cache: &Cache,
    logs: &Path,
    wanted: &[(String, Object)],
    is_index: impl Fn(&str) -> bool,
) -> Result<()> {
    for path in files::list(logs)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_index(name)) else {
            continue;
        };
        let object = wanted.iter().find(|(wanted, _)| wanted == name).map(|(_, object)| object);
        if object.is_some_and(|object| cache::is_linked(object, &path)) {
            continue;
        }
        let digest = files::digest_file(&path)?;
        if object.is_some_and(|object| object.digest == digest) {
            continue;
        }
        if cache.digests()?.contains(&digest) {
            files::remove(&path)?;
        } else if object.is_some() {
            let aside = files::numbered_folder(logs, "replaced")?.join(name);
            std::fs::rename(&path, &aside).map_err(|e| Error::io("rename", &path, e))?;
            task.warn(format!("{} was not made by rvc-run; it is kept as {}", path.display(), aside.display()));
        }
    }
    for (name, object) in wanted {
        let target = logs.join(name);
        if !target.exists() {
            cache::place(object, &target)?;
        }
    }
    Ok(())
}

fn to_json(notes: &Notes) -> Result<Value> {
    serde_json::to_value(notes).map_err(|e| Error::new(Kind::Internal, format!("the notes of an index: {e}")).source(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_cells_is_rvcs() {
        let n = [1, 38, 78, 10_000, 200_000, 389_376, 1_000_000];
        assert_eq!(n.map(n_ivf), [1, 1, 2, 256, 5128, 9984, 16_000]);
    }

    #[test]
    fn only_names_of_an_index_of_this_voice_are_taken_for_one() {
        let is = |name| is_index_of(name, "anna", Version::V2);
        assert!(is("added_IVF12_Flat_nprobe_1_anna_v2.index") && is("trained_IVF3_Flat_nprobe_1_anna_v2.index"));
        assert!(is("anna.index") && !is("ben.index") && !is("anna.index.bak"));
        assert!(!is("added_IVF12_Flat_nprobe_1_anna_v1.index") && !is("added_IVFx_Flat_nprobe_1_anna_v2.index"));
        assert!(
            is("added_IVF12_Flat_nprobe_1_anna_best_v2.index") && !is("added_IVF12_Flat_nprobe_1_annabel_v2.index")
        );
        assert!(!is("added_IVF_Flat_nprobe_1_anna_v2.index") && !is("added_IVF1_Flat_nprobe_1_v2.index"));
    }
}
