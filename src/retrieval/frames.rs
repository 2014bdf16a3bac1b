//! Reads the content features of a prepared voice as rows: counts and checks them, with or without silence, all or reduced.
//!
//! Source: spec H.1 (RVC's train_index: all files in order of their names; more than 200k rows are reduced by k-means).

use super::kmeans::{MiniBatch, Setup};
use crate::audio::io;
use crate::nn::random::SplitMix;
use crate::task::Task;
use crate::{Error, Kind, Result, files, npy};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Samples between two content frames, and samples in the window of one, at 16 kHz.
const HOP: usize = 320;
const WINDOW: usize = 400;
/// Below this RMS a frame is silence, in dB re full scale: the threshold of RVC's slicer.
const SILENCE_DB: f32 = -42.0;
/// Rows per step of the reduction. (RVC uses 256 for each core; here the result must not depend on the machine.)
const BATCH: usize = 4096;

/// The features of all clips of a voice, not in memory.
pub(super) struct Frames {
    pub dim: usize,
    /// Number of frames used.
    pub n: usize,
    clips: Vec<Clip>,
}

struct Clip {
    source: Source,
    n: usize,
    /// Of what decides about its frames.
    digests: [String; 2],
}

/// The files of a clip; without `wav` all its frames are used.
struct Source {
    features: PathBuf,
    wav: Option<PathBuf>,
}

impl Frames {
    /// Reads every clip once: counts its frames, and checks that all are finite and have `dim` values.
    ///
    /// Errors: `data.empty` if there is no frame; `data.damaged`; `file.*`.
    pub(super) fn look(task: &Task, logs: &Path, dim: usize, leave_out_silence: bool) -> Result<Self> {
        let folder = logs.join(format!("3_feature{dim}"));
        let hint = "prepare the voice first: rvc-run extract <voice>, or train_voice";
        let paths = files::list(&folder).map_err(|e| if e.kind() == Kind::NotFound { e.hint(hint) } else { e })?;
        let mut sources = Vec::new();
        for features in paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "npy")) {
            let name = features.file_stem().unwrap_or_default().to_owned();
            let wav = logs.join("1_16k_wavs").join(name).with_added_extension("wav");
            sources.push(Source { features, wav: leave_out_silence.then_some(wav) });
        }
        let looked = task.map("index: reading features", &sources, |source| {
            let of_wav = source.wav.as_deref().map_or(Ok(String::new()), files::digest_file)?;
            Ok((source.rows(dim)?.len() / dim, [files::digest_file(&source.features)?, of_wav]))
        })?;
        let found = sources.into_iter().zip(looked);
        let clips: Vec<Clip> = found.map(|(source, (n, digests))| Clip { source, n, digests }).collect();
        let n = clips.iter().map(|clip| clip.n).sum();
        if n == 0 {
            let what = if clips.is_empty() { "has no features" } else { "has only silent frames" };
            return Err(Error::new(Kind::DataEmpty, format!("{} {what}", folder.display())).path(&folder).hint(hint));
        }
        Ok(Self { dim, n, clips })
    }

    /// Changes with every frame.
    pub(super) fn digest(&self) -> String {
        files::digest(json!(self.clips.iter().map(|clip| &clip.digests).collect::<Vec<_>>()).to_string())
    }

    /// All frames, [n, dim], in order of the clips' names.
    pub(super) fn all(&self, task: &Task) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(self.n * self.dim);
        for clip in &self.clips {
            task.check()?;
            rows.extend(clip.rows(self.dim)?);
        }
        Ok(rows)
    }

    /// `k` centres of the frames, [k, dim], by one pass of mini-batch k-means over the clips in random order.
    ///
    /// Only the centres, a batch and a clip are in memory.
    pub(super) fn reduced(&self, setup: &Setup, k: usize) -> Result<Vec<f32>> {
        let mut random = SplitMix::new(setup.seed, "reduction");
        let mut batches = MiniBatch::new(self.some(setup.task, random.sample(self.n, k))?, self.dim);
        let mut stage = setup.task.stage("index: reducing frames", self.n as u64);
        let _in_stage = stage.enter();
        let mut rows = Vec::new();
        for clip in random.sample(self.clips.len(), self.clips.len()) {
            rows.extend(self.clips[clip].rows(self.dim)?);
            if rows.len() >= BATCH * self.dim {
                batches.step(setup, &mut stage, &rows)?;
                rows.clear();
            }
        }
        batches.step(setup, &mut stage, &rows)?;
        stage.finish(format!("{} frames to {k}", self.n));
        Ok(batches.finish())
    }

    /// The frames of these numbers.
    fn some(&self, task: &Task, mut numbers: Vec<usize>) -> Result<Vec<f32>> {
        numbers.sort_unstable();
        let mut numbers = numbers.into_iter().peekable();
        let (mut rows, mut start) = (Vec::new(), 0);
        for clip in &self.clips {
            task.check()?;
            let end = start + clip.n;
            if numbers.peek().is_some_and(|&number| number < end) {
                let all = clip.rows(self.dim)?;
                while let Some(number) = numbers.next_if(|&number| number < end) {
                    rows.extend_from_slice(&all[(number - start) * self.dim..][..self.dim]);
                }
            }
            start = end;
        }
        Ok(rows)
    }
}

impl Clip {
    /// The frames that are used. Errors: `data.damaged` if their number changed.
    fn rows(&self, dim: usize) -> Result<Vec<f32>> {
        let rows = self.source.rows(dim)?;
        if rows.len() == self.n * dim {
            return Ok(rows);
        }
        Err(damaged(&self.source.features, "it changed while the index was built"))
    }
}

impl Source {
    fn rows(&self, dim: usize) -> Result<Vec<f32>> {
        let path = &self.features;
        let (mut values, n, columns) = npy::read_f32_2d(path)?;
        if columns != dim {
            return Err(damaged(path, &format!("its frames have {columns} values, but must have {dim}")));
        }
        if !values.iter().all(|x| x.is_finite()) {
            return Err(damaged(path, "not all of its values are finite"));
        }
        if let Some(wav) = &self.wav {
            let samples = io::read_wav(wav)?.samples;
            let mut kept = 0;
            for frame in (0..n).filter(|frame| is_audible(&samples, *frame)) {
                values.copy_within(frame * dim..(frame + 1) * dim, kept * dim);
                kept += 1;
            }
            values.truncate(kept * dim);
        }
        Ok(values)
    }
}

/// Whether the samples of a frame are louder than silence; samples beyond the clip count as 0.
fn is_audible(samples: &[f32], frame: usize) -> bool {
    let end = samples.len().min(frame * HOP + WINDOW);
    let window = samples.get(frame * HOP..end).unwrap_or_default();
    let power = window.iter().map(|x| x * x).sum::<f32>() / WINDOW as f32;
    power > 10f32.powf(SILENCE_DB / 10.0)
}

fn damaged(path: &Path, reason: &str) -> Error {
    Error::new(Kind::DataDamaged, format!("{} cannot be used: {reason}", path.display()))
        .path(path)
        .hint("delete it and prepare the voice again")
}
