//! Checkpoints of other programs: RVC WebUI of 2024 and 2026, Applio, and their forks.
//!
//! They write a pair G_<n>.pth, D_<n>.pth with the state of both optimizers and nothing that vouches for it: <n> is the number of
//! steps, 2333333 if only the latest is kept, or whatever. A pair counts if both files can be read and are of the same epoch.
//! What was trained there is saved again with a manifest, and the foreign files are put aside: the other programs take the
//! file with the largest number for the newest, and would go back to their own.
//!
//! Source: spec E.8, F.9, G.1, G.2. Departure: training goes on with the epoch after the saved one, as Applio's does; RVC
//! runs the saved epoch again.

use crate::task::Task;
use crate::torchfile::{self, TorchFile};
use crate::train::checkpoint::{self, Layout, Position};
use crate::train::step::Engine;
use crate::{Error, Kind, Result, files};
use std::path::{Path, PathBuf};

/// The key of G_ and D_ files that says that rvc-run wrote them.
pub const MARK: &str = "rvc_run";

/// A pair of another program.
#[derive(Clone, Debug)]
pub struct Pair {
    pub g: PathBuf,
    pub d: PathBuf,
    /// The last whole epoch.
    pub epoch: i64,
    /// AdamW's step size when it was saved.
    pub learning_rate: Option<f64>,
}

/// The pair that is furthest trained among those that are further than epoch `ours`; None if there is none.
///
/// Each pair that cannot be used is a warning. Errors: `file.read`; `checkpoint.damaged` if there is nothing else to go on from.
pub fn newest(task: &Task, logs: &Path, ours: Option<i64>) -> Result<Option<Pair>> {
    let mut best: Option<(i64, i64, Pair)> = None;
    let mut passed = 0;
    for number in checkpoint::without_manifest(logs)? {
        let [g, d, _] = checkpoint::paths(logs, number);
        match pair(&g, &d) {
            Ok(None) => {}
            Ok(Some(pair)) => {
                let further = best.as_ref().is_none_or(|(epoch, n, _)| (pair.epoch, number) > (*epoch, *n));
                if ours.is_none_or(|ours| pair.epoch > ours) && further {
                    best = Some((pair.epoch, number, pair));
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
            "put back a G_ and a D_ file of one epoch, or start over with --fresh, which keeps the old files aside",
        ));
    }
    Ok(best.map(|(_, _, pair)| pair))
}

/// The pair of two files; None if rvc-run wrote one of them, or one cannot be read, which [`checkpoint::newest`] tells.
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
            format!("G is of epoch {epoch}, D of {other}: saving was interrupted"),
        ));
    }
    let learning_rate = first.float(&["optimizer", "param_groups", "0", "lr"]);
    Ok(Some(Pair { g: g.to_owned(), d: d.to_owned(), epoch, learning_rate }))
}

/// Whether rvc-run wrote a G_ or D_ file.
pub fn is_ours(file: &TorchFile) -> bool {
    file.value(&[MARK]).is_some()
}

fn epoch(file: &TorchFile) -> Result<i64> {
    file.int(&["iteration"]).filter(|n| *n >= 0).ok_or_else(|| {
        Error::new(Kind::CheckpointDamaged, format!("{} does not tell its epoch", file.path().display()))
            .path(file.path())
    })
}

impl Pair {
    /// Puts networks and optimizers into the pair's state; returns what comes next and the order of the files.
    ///
    /// Errors: `checkpoint.mismatch`, naming what does not fit; `checkpoint.damaged`; the engine is then not to be used.
    pub fn load(&self, engine: &mut Engine) -> Result<(Position, Layout)> {
        let layout = checkpoint::load_pair(&self.g, &self.d, engine)?;
        // The number in the name may be anything; the optimizer has counted.
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
/// [`Aside::remove_originals`] once that is saved. At no moment is the state in neither place.
///
/// Errors: `file.write`, `file.disk_full`.
pub fn set_aside(logs: &Path) -> Result<Aside> {
    let foreign: Vec<PathBuf> = checkpoint::without_manifest(logs)?
        .into_iter()
        .flat_map(|number| checkpoint::paths(logs, number).into_iter().take(2))
        .filter(|path| is_foreign(path))
        .collect();
    let folder = files::numbered_folder(logs, "imported")?;
    for path in &foreign {
        let to = folder.join(path.file_name().unwrap_or_default());
        if std::fs::hard_link(path, &to).is_err() {
            std::fs::copy(path, &to).map_err(|e| Error::io("write", &to, e))?;
        }
    }
    Ok(Aside { folder, files: foreign })
}

fn is_foreign(path: &Path) -> bool {
    torchfile::read(path).is_ok_and(|file| !is_ours(&file))
}

impl Aside {
    /// Removes the files from the folder of the training, but for names that a checkpoint of ours has taken.
    ///
    /// Errors: `file.write`.
    pub fn remove_originals(&self) -> Result<()> {
        self.files.iter().filter(|path| is_foreign(path)).try_for_each(|path| files::remove(path))
    }
}
