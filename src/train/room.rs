//! The disk space that a training still needs for checkpoints, the largest files of a run.

use crate::Result;
use crate::config::Config;
use crate::memory;
use crate::models::{Discriminator, Synthesizer, SynthesizerConfig};
use crate::room::Need;
use crate::shown::counted;
use crate::train::checkpoint;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use tch::Device;

/// Bytes per parameter in a checkpoint: itself and AdamW's two moments, each a float.
const BYTES_TRAINED: u64 = 12;
/// Bytes per parameter in an averaged generator.
const BYTES_AVERAGED: u64 = 4;
/// The best checkpoint stays in addition, and the newest is written before an old one is removed.
const BESIDE_KEPT: u64 = 2;

/// Checkpoints that a training will add to its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saves {
    /// Most at once on the disk.
    pub count: u64,
    /// Bytes of one: G, D and the averaged generator, if any.
    pub bytes: u64,
}

impl Saves {
    /// The checkpoints of a training with `config` in `logs` that keeps the last `keep_last` (0: all); `fresh` starts over.
    ///
    /// The least possible: a training of another program, whose epochs are unknown until it is opened, counts as one.
    /// Errors: `file.read`.
    pub fn of(config: &Config, logs: &Path, keep_last: i64, fresh: bool) -> Result<Self> {
        Self::sized(config, logs, keep_last, fresh, &OnceCell::new())
    }

    /// Those of several trainings with the same settings. Errors: as [`Saves::of`].
    pub fn of_all(config: &Config, folders: &[PathBuf], keep_last: i64, fresh: bool) -> Result<Vec<Self>> {
        let size = OnceCell::new();
        folders.iter().map(|logs| Self::sized(config, logs, keep_last, fresh, &size)).collect()
    }

    /// `new_size`: bytes of a checkpoint of new networks, once known.
    fn sized(config: &Config, logs: &Path, keep_last: i64, fresh: bool, new_size: &OnceCell<u64>) -> Result<Self> {
        let epochs = if fresh { Vec::new() } else { checkpoint::epochs(logs)? };
        let bytes = epochs.last().filter(|epoch| **epoch > 0).and_then(|epoch| size_of_pair(logs, *epoch));
        let bytes = match (bytes, new_size.get()) {
            (Some(bytes), _) => bytes,
            (None, Some(known)) => *known,
            (None, None) => {
                let bytes = size_to_be(config)?;
                *new_size.get_or_init(|| bytes)
            }
        };
        let foreign = !fresh && epochs.is_empty() && !checkpoint::without_manifest(logs)?.is_empty();
        let count = if foreign {
            1
        } else {
            let kept = u64::try_from(keep_last).ok().filter(|kept| *kept > 0);
            let all = planned(config, epochs.last().copied());
            match kept {
                Some(kept) => all.min((kept + BESIDE_KEPT).saturating_sub(epochs.len() as u64).max(1)),
                None => all,
            }
        };
        Ok(Self { count, bytes })
    }

    /// The least of a training that a budget or validation may end early: those of its beginning and its end.
    #[must_use]
    pub fn of_early_end(self) -> Self {
        const ENDS: u64 = 2;
        Self { count: self.count.min(ENDS), ..self }
    }

    /// The space that they need on the disk of `logs`.
    pub fn need(self, logs: &Path) -> Need {
        let many = if self.count == 1 { "checkpoint" } else { "checkpoints" };
        Need {
            place: logs.to_owned(),
            bytes: self.count.saturating_mul(self.bytes),
            what: format!("{} {many} of {}", self.count, memory::text(self.bytes)),
        }
    }

    /// The space that the checkpoints of several trainings need on the disk of `logs`.
    pub fn need_of_all(all: &[Self], logs: PathBuf) -> Need {
        let count: u64 = all.iter().map(|saves| saves.count).sum();
        let bytes = all.iter().map(|saves| saves.count.saturating_mul(saves.bytes)).fold(0, u64::saturating_add);
        let what = format!("{count} checkpoints of {}", counted(all.len(), "voice"));
        Need { place: logs, bytes, what }
    }

    /// The flags that reduce what several trainings need, each with the space then needed; "" if none does.
    pub fn remedy(all: &[Self], config: &Config) -> String {
        const FEW: u64 = 3;
        /// Ten checkpoints are enough to follow a training.
        const COURSE: i64 = 10;
        let total = |most: u64| {
            all.iter().map(|one| one.count.min(most).saturating_mul(one.bytes)).fold(0, u64::saturating_add)
        };
        let mut ways = Vec::new();
        let mut way = |flag: String, count: u64| {
            if total(count) < total(u64::MAX) {
                ways.push(format!("{flag} needs {}", memory::text(total(count))));
            }
        };
        way(format!("--keep-last {FEW}"), FEW + BESIDE_KEPT);
        let every = (config.epochs / COURSE).max(config.save_every);
        let seldom = Config { save_every: every, ..config.clone() };
        way(format!("--save-every {every}"), planned(&seldom, None));
        ways.join(", ")
    }
}

/// The number of checkpoints from the epochs after `done`; if none was saved before, also that of the beginning.
fn planned(config: &Config, done: Option<i64>) -> u64 {
    let from = done.unwrap_or(0);
    if from >= config.epochs {
        return u64::from(done.is_none());
    }
    let regular = config.epochs / config.save_every - from / config.save_every;
    let last = i64::from(config.epochs % config.save_every != 0);
    u64::try_from(regular + last).unwrap_or(0) + u64::from(done.is_none())
}

/// Bytes of an existing checkpoint; None if it is incomplete.
fn size_of_pair(logs: &Path, epoch: i64) -> Option<u64> {
    let size = |path: &Path| std::fs::metadata(path).map(|about| about.len()).ok();
    let [g, d, _] = checkpoint::paths(logs, epoch);
    Some(size(&g)? + size(&d)? + size(&checkpoint::average_path(logs, epoch)).unwrap_or(0))
}

/// Bytes of a checkpoint of new networks.
fn size_to_be(config: &Config) -> Result<u64> {
    let sizes = SynthesizerConfig::from_config(config);
    let g = Synthesizer::new(&sizes, Device::Cpu, 0)?.params().numel() as u64;
    let d = Discriminator::new(&sizes, Device::Cpu, 0)?.params().numel() as u64;
    let averaged = if config.ema_decay > 0.0 { g * BYTES_AVERAGED } else { 0 };
    Ok((g + d) * BYTES_TRAINED + averaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::choices::Preset;

    fn config(epochs: i64, save_every: i64) -> Config {
        Config { epochs, save_every, preset: Preset::Tiny, ..Config::default() }
    }

    fn pairs(epochs: &[i64]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for epoch in epochs {
            for path in checkpoint::paths(folder.path(), *epoch) {
                std::fs::write(path, [0; 500]).unwrap();
            }
        }
        folder
    }

    #[test]
    fn saves_are_counted_exactly() {
        for (epochs, every, done, expected) in [
            (500, 10, None, 51),
            (500, 10, Some(0), 50),
            (500, 10, Some(495), 1),
            (25, 10, None, 4),
            (25, 10, Some(20), 1),
            (25, 10, Some(25), 0),
            (25, 10, Some(40), 0),
            (3, 50, None, 2),
        ] {
            assert_eq!(planned(&config(epochs, every), done), expected, "{epochs} {every} {done:?}");
        }
    }

    #[test]
    fn keep_last_limits_the_space_needed() {
        let (none, four) = (pairs(&[]), pairs(&[0, 10, 20, 30]));
        let count = |folder: &tempfile::TempDir, keep: i64, fresh: bool| {
            Saves::of(&config(500, 10), folder.path(), keep, fresh).unwrap().count
        };
        assert_eq!([count(&none, 0, false), count(&none, 3, false)], [51, 5]);
        assert_eq!([count(&four, 0, false), count(&four, 3, false), count(&four, 1, false)], [47, 1, 1]);
        assert_eq!(count(&four, 3, true), 5, "the old ones are moved aside, not removed");
        assert_eq!(Saves::of(&config(500, 10), four.path(), 0, false).unwrap().bytes, 1000);
    }

    #[test]
    fn a_training_of_another_program_counts_as_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("G_2333333.pth"), "x").unwrap();
        assert_eq!(Saves::of(&config(500, 10), folder.path(), 0, false).unwrap().count, 1);
    }

    #[test]
    fn a_training_that_may_end_early_needs_room_for_two() {
        let early = |count| Saves { count, bytes: 7 }.of_early_end();
        assert_eq!([early(51), early(2), early(1), early(0)].map(|saves| saves.count), [2, 2, 1, 0]);
        assert_eq!(early(51).bytes, 7);
    }

    #[test]
    fn the_hint_gives_the_effect_of_each_flag() {
        let saves = Saves { count: 501, bytes: 1_300_000_000 };
        let one = Saves::remedy(&[saves], &config(500, 1));
        assert_eq!(one, "--keep-last 3 needs 6.5 GB, --save-every 50 needs 14.3 GB");
        let few = Saves { count: 3, bytes: 1_000_000_000 };
        assert_eq!(Saves::remedy(&[few], &config(20, 10)), "", "it is little already");
        let both = Saves::remedy(&[saves, few], &config(500, 1));
        assert_eq!(both, "--keep-last 3 needs 9.5 GB, --save-every 50 needs 17.3 GB");
        let need = Saves::need_of_all(&[saves, few], "logs".into());
        assert_eq!((need.bytes, need.what.as_str()), (654_300_000_000, "504 checkpoints of 2 voices"));
    }
}
