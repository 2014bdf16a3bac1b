//! Checkpoints of other programs: RVC WebUI of 2024 and 2026, Applio, and their forks.
//!
//! They write a pair G_<n>.pth, D_<n>.pth with the state of both optimizers and no digests: <n> is the number of
//! steps, 2333333 if only the latest is kept, or anything else. A pair counts if both files are readable and of the same epoch.
//! Its state is saved again with a manifest, and the foreign files are moved to another folder: the other programs take the
//! file with the largest number for the newest, and would return to their own.
//!
//! Source: spec E.8, F.9, G.1, G.2. Departure: training resumes with the epoch after the saved one, as Applio's does; RVC
//! runs the saved epoch again and saves it under the same number, so the epoch's number does not show which of two pairs
//! has been trained further (see [`Pair::is_newer`]).

use crate::models::weights;
use crate::task::Task;
use crate::torchfile::{self, TorchFile};
use crate::train::checkpoint::{self, Layout, Manifest, Position, is_ours};
use crate::train::step::Engine;
use crate::train::{optim, pretrained};
use crate::{Error, Kind, Result, files};
use std::path::{Path, PathBuf};

/// A pair of another program.
#[derive(Clone, Debug)]
pub struct Pair {
    pub g: PathBuf,
    pub d: PathBuf,
    /// The last whole epoch.
    pub epoch: i64,
    /// The optimizer's step count.
    pub step: i64,
    /// AdamW's step size when it was saved.
    pub learning_rate: Option<f64>,
}

/// The pair that has been trained furthest, if any, unless `ours` already continues it.
///
/// Each unusable pair is a warning. Errors: `file.read`; `checkpoint.damaged` if there is nothing else to resume from.
pub fn newest(task: &Task, logs: &Path, ours: Option<&Manifest>) -> Result<Option<Pair>> {
    let mut best: Option<(i64, Pair)> = None;
    let mut passed = 0;
    for number in numbers(logs)? {
        let [g, d, _] = checkpoint::paths(logs, number);
        match pair(&g, &d) {
            Ok(None) => {}
            Ok(Some(pair)) => {
                let rank = |number: i64, pair: &Pair| (pair.epoch, pair.step, number);
                if best.as_ref().is_none_or(|(n, other)| rank(number, &pair) > rank(*n, other)) {
                    best = Some((number, pair));
                }
            }
            Err(why) => {
                passed += 1;
                task.warn(format!("G_{number}.pth and D_{number}.pth are not used: {}", why.message()));
            }
        }
    }
    if best.is_none() && ours.is_none() && passed > 0 {
        return Err(Error::new(
            Kind::CheckpointDamaged,
            format!("none of the {passed} pairs of checkpoints in {} can be used", logs.display()),
        )
        .path(logs)
        .hint(
            "restore a G_ and a D_ file of one epoch, or start over with --fresh, which keeps the old files in another folder",
        ));
    }
    let Some((_, pair)) = best else { return Ok(None) };
    let newer = ours.map_or(Ok(true), |ours| pair.is_newer(logs, ours))?;
    Ok(newer.then_some(pair))
}

/// The numbers of pairs that may be another program's: those without a manifest of ours, and those whose files were replaced after it.
///
/// Errors: `file.read`.
fn numbers(logs: &Path) -> Result<Vec<i64>> {
    let mut numbers = checkpoint::without_manifest(logs)?;
    let replaced = |number: &i64| checkpoint::paths(logs, *number)[..2].iter().all(|path| is_foreign(path));
    numbers.extend(checkpoint::with_manifest(logs)?.into_iter().filter(replaced));
    numbers.sort_unstable();
    Ok(numbers)
}

/// The pair of two files; None if rvc-run wrote one of them, or one is unreadable, which [`checkpoint::newest`] reports.
///
/// Errors: `checkpoint.damaged` if one is missing, or they are of different epochs.
fn pair(g: &Path, d: &Path) -> Result<Option<Pair>> {
    let present: Vec<&Path> = [g, d].into_iter().filter(|path| path.exists()).collect();
    let files: Vec<TorchFile> = present.iter().filter_map(|path| torchfile::read(path).ok()).collect();
    if files.len() < present.len() || files.iter().any(is_ours) {
        return Ok(None);
    }
    let [first, second] = &files[..] else {
        let path = if g.exists() { d } else { g };
        return Err(Error::new(Kind::CheckpointDamaged, format!("{} is missing", path.display())).path(path));
    };
    let (epoch, other) = (epoch(first)?, epoch(second)?);
    if epoch != other {
        return Err(Error::new(
            Kind::CheckpointDamaged,
            format!("G is from epoch {epoch}, but D from {other}: saving was interrupted"),
        ));
    }
    let learning_rate = first.float(&["optimizer", "param_groups", "0", "lr"]);
    Ok(Some(Pair { g: g.to_owned(), d: d.to_owned(), epoch, step: optim::steps_in(first), learning_rate }))
}

fn epoch(file: &TorchFile) -> Result<i64> {
    file.int(&["iteration"]).filter(|n| *n >= 0).ok_or_else(|| {
        Error::new(Kind::CheckpointDamaged, format!("{} has no epoch", file.path().display())).path(file.path())
    })
}

impl Pair {
    /// Whether this has been trained further than the checkpoint `ours`: a later epoch; the same epoch and more steps of the optimizer;
    /// or, if a program restarted its count, the same epoch, other weights, and a file written after ours.
    ///
    /// Errors: `checkpoint.damaged`, `file.read`.
    fn is_newer(&self, logs: &Path, ours: &Manifest) -> Result<bool> {
        if self.epoch != ours.epoch {
            return Ok(self.epoch > ours.epoch);
        }
        if self.step > ours.next.step {
            return Ok(true);
        }
        let [g, _, json] = checkpoint::paths(logs, ours.epoch);
        let written = |path: &Path| std::fs::metadata(path).and_then(|about| about.modified());
        let (Ok(theirs), Ok(mine)) = (written(&self.g), written(&json)) else { return Ok(false) };
        let weights = |path: &Path| {
            weights::digest(&torchfile::read(path)?, |name| name.strip_prefix("model.").map(weights::canonical))
        };
        Ok(theirs > mine && weights(&self.g)? != weights(&g)?)
    }

    /// The rows of its table of speakers. Errors: `checkpoint.damaged`, `file.read`.
    pub fn speakers(&self) -> Result<Option<i64>> {
        Ok(pretrained::speakers(&torchfile::read(&self.g)?))
    }

    /// Loads networks and optimizers from the pair; returns the next position and the order of the files.
    ///
    /// Errors: `checkpoint.mismatch`, naming what does not fit; `checkpoint.damaged`; the engine must not be used after an error.
    pub fn load(&self, engine: &mut Engine) -> Result<(Position, Layout)> {
        let layout = checkpoint::load_pair(&self.g, &self.d, engine)?;
        // The number in the name may be anything; the optimizer's count is reliable.
        let step = engine.generator_optimizer.steps_done();
        Ok((Position { epoch: self.epoch + 1, step_in_epoch: 0, step }, layout))
    }
}

/// The files of other programs in a folder, linked into a new folder `imported_<n>`.
pub struct Aside {
    pub folder: PathBuf,
    files: Vec<PathBuf>,
}

/// Links every G_ and D_ file of other programs into `imported_<n>`, where our next checkpoint cannot replace it; call
/// [`Aside::remove_originals`] after that is saved. The state is always in at least one of the two places.
///
/// Errors: `file.write`, `file.disk_full`.
pub fn set_aside(logs: &Path) -> Result<Aside> {
    let foreign = left(logs)?;
    let folder = files::numbered_folder(logs, "imported")?;
    for path in &foreign {
        files::link(path, &folder.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(Aside { folder, files: foreign })
}

/// The G_ and D_ files of other programs in a folder. Errors: `file.read`.
pub fn left(logs: &Path) -> Result<Vec<PathBuf>> {
    let all = numbers(logs)?.into_iter().flat_map(|number| checkpoint::paths(logs, number).into_iter().take(2));
    Ok(all.filter(|path| is_foreign(path)).collect())
}

fn is_foreign(path: &Path) -> bool {
    torchfile::read(path).is_ok_and(|file| !is_ours(&file))
}

impl Aside {
    /// Removes the files from the folder of the training, except names that our checkpoint has taken.
    ///
    /// Errors: `file.write`.
    pub fn remove_originals(&self) -> Result<()> {
        self.files.iter().filter(|path| is_foreign(path)).try_for_each(|path| files::remove(path))
    }
}
