//! Script interface of [`crate::train`]: data set, trainer, exported voices. The epoch loop belongs to the recipe.

use super::prepare::ListHandle as FileList;
use super::track::Handle as Run;
use super::{At, Fallible, session, value};
use crate::convert::output::{self, Format};
use crate::convert::quality::{self, Evaluator};
use crate::files::{self, Lock};
use crate::prepare::room as prepare_room;
use crate::prepare::{content_digest, speakers};
use crate::room::{self, Need};
use crate::task::Task;
use crate::track;
use crate::train::{self as engine, Judge, Metrics, Trainer as Engine};
use crate::{Error, Kind, given};
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use serde::Deserialize;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The options of `train::trainer` from a script.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    fresh: Option<bool>,
    voice: Option<String>,
}

/// The options of `train::check_room`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomOptions {
    fresh: Option<bool>,
    keep_last: Option<i64>,
    may_stop_early: Option<bool>,
}

/// The possible epochs of a training; see the setting `epochs`.
const EPOCHS: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// The clips to train on. A trainer takes them over; their properties can still be read.
#[derive(Clone)]
pub struct DataHandle(Rc<Data>);

struct Data {
    set: RefCell<Option<engine::Dataset>>,
    /// logs/<voice>, the folder of the list.
    folder: PathBuf,
    /// Without the clips that were held out.
    count: Cell<i64>,
    seconds: Cell<f64>,
    dropped: Vec<engine::data::Dropped>,
}

/// A running training; clones share it.
#[derive(Clone)]
pub struct TrainerHandle(Rc<Open>);

struct Open {
    trainer: RefCell<Engine>,
    task: Task,
}

/// A voice's reserved folder; clones share the claim.
#[derive(Clone)]
pub struct ClaimHandle(#[expect(dead_code, reason = "it is held, never asked")] Rc<files::Claim>);

impl ClaimHandle {
    pub fn new(claim: files::Claim) -> Self {
        Self(Rc::new(claim))
    }
}

impl TrainerHandle {
    /// The result of `f` for the training.
    pub fn with<R>(&self, f: impl FnOnce(&Engine) -> R) -> R {
        f(&self.0.trainer.borrow())
    }
}

impl Drop for Open {
    /// A training that is stopped between two steps of its recipe has epochs that are in no checkpoint yet.
    fn drop(&mut self) {
        if self.task.is_cancelled()
            && let Err(error) = self.trainer.borrow_mut().save()
        {
            self.task.warn(format!("the training could not be saved: {error}"));
        }
    }
}

#[export_module]
pub mod api {
    /// The clips to train on.
    pub type Dataset = super::DataHandle;
    /// A voice that this program reserves.
    pub type Claim = super::ClaimHandle;
    /// A training of one voice.
    pub type Trainer = super::TrainerHandle;

    /// Returns the data set of a file list; clips that cannot be used are left out with a warning each.
    ///
    /// * `files`: the result of `prepare::filelist`; `cfg`: the settings.
    /// * Fails with `data.empty` if no clip is usable, `data.damaged`, `config.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::dataset(files, cfg).count > 0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn dataset(ctx: NativeCallContext, files: FileList, cfg: Map) -> Fallible<Dataset> {
        super::open_data(&ctx, files.file(), &cfg).at(&ctx)
    }

    /// Returns the data set of a file list by its path; relative paths start at the workspace.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::dataset("logs/anna/filelist.txt", cfg).count > 0
    /// ```
    #[rhai_fn(name = "dataset", return_raw, volatile)]
    pub fn dataset_of_file(ctx: NativeCallContext, path: &str, cfg: Map) -> Fallible<Dataset> {
        super::open_data(&ctx, &session(&ctx).workspace().path(path), &cfg).at(&ctx)
    }

    /// Reports before anything is prepared what a trainer of the voice would refuse later.
    ///
    /// * `options`: as in `train::trainer`.
    /// * Fails with `device.missing` if a GPU is requested and there is no usable one, `config.mismatch` if the training in logs/<voice> has
    ///   another rate or size, `asset.missing` with the command that fetches all missing files (the base only before the first
    ///   training), `checkpoint.*` if the base is damaged or does not fit, `checkpoint.mismatch` if the voice was trained on the
    ///   content of another encoder.
    ///
    /// # Example
    /// ```rhai
    /// train::check("anna", #{ preset: "tiny" }, #{ fresh: false });
    /// true
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn check(ctx: NativeCallContext, voice: &str, cfg: Map, options: Map) -> Fallible<()> {
        super::check_training(&ctx, voice, &cfg, &options).at(&ctx)
    }

    /// Fails if the files of a training cannot be written to their folders, or do not fit on the disk: its checkpoints, clips and features if
    /// the voice is still to be prepared, the voice in models/, the record in tracking/.
    ///
    /// * `folder`: the recordings, "" if none are to be prepared. `options`: `keep_last`, the number of checkpoints kept (0: all), `fresh`, and
    ///   `may_stop_early`, for a training that may end before its last epoch: then two checkpoints must fit.
    /// * Fails with one `file.write` or `file.disk_full` for all places, with the numbers and how to reduce them; `config.*`.
    ///
    /// # Example
    /// ```rhai
    /// train::check_room("anna", "data/anna", #{ preset: "tiny" }, #{ keep_last: 3 });
    /// let hint = "";
    /// try { train::check_room("anna", "", #{ preset: "tiny", epochs: 1000000, save_every: 1 }, #{}); } catch (e) { hint = e.hint; }
    /// hint == "" || hint.contains("--keep-last 3")        // a million checkpoints fit on few disks
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn check_room(ctx: NativeCallContext, voice: &str, folder: &str, cfg: Map, options: Map) -> Fallible<()> {
        super::check_room(&ctx, voice, folder, &cfg, &options).at(&ctx)
    }

    /// Fails now as above, if what the trainings of several voices will write together cannot fit.
    ///
    /// * `voices`: names; their recordings are in data/<voice>. A voice without any, and one that is trained already, writes nothing.
    ///
    /// # Example
    /// ```rhai
    /// train::check_room(["anna", "ben"], #{ preset: "tiny" }, #{ keep_last: 3 });
    /// let found = "";
    /// try { train::check_room(["anna", "ben"], #{ preset: "tiny", epochs: 1000000, save_every: 1 }, #{}); } catch (e) { found = e.message; }
    /// found == "" || found.contains("2000002 checkpoints of 2 voices")
    /// ```
    #[rhai_fn(name = "check_room", return_raw, volatile)]
    pub fn check_room_of_all(ctx: NativeCallContext, voices: Array, cfg: Map, options: Map) -> Fallible<()> {
        super::check_room_of_all(&ctx, &voices, &cfg, &options).at(&ctx)
    }

    /// Reserves a voice for this program while the value lives: no other rvc-run can train or prepare it, not even between two stages.
    ///
    /// * Fails with `file.locked` if another rvc-run is using it, `config.value` for the name, `file.write`.
    ///
    /// # Example
    /// ```rhai
    /// let kept = train::claim("anna");
    /// prepare::slices("anna", "data/anna", #{}).count == 1        // this program can
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn claim(ctx: NativeCallContext, voice: &str) -> Fallible<Claim> {
        let claimed = || Lock::claim(&session(&ctx).workspace().logs(voice)?);
        claimed().map(ClaimHandle::new).at(&ctx)
    }

    /// Returns whether a training of the voice would continue an earlier one in logs/<voice>, of any program.
    ///
    /// # Example
    /// ```rhai
    /// !train::begun("anna")
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn begun(ctx: NativeCallContext, voice: &str) -> Fallible<bool> {
        session(&ctx).workspace().logs(voice).and_then(|logs| Engine::begun(&logs)).at(&ctx)
    }

    /// Imports an experiment of RVC WebUI or Applio as logs/<voice> and returns a description: `program`, `folder`, `clips`,
    /// `mute_rows`, `repeated` (rows that repeat a clip), `checkpoints` (files), `speakers` (maps with `id` and
    /// `name`, if the list has names), `dropped` (maps with `line` and `reason`).
    ///
    /// Only files that its filelist.txt names inside the experiment are copied; a row that cannot be used is left out with a warning.
    ///
    /// * `folder`: the experiment's own; relative paths start at the workspace.
    /// * Fails with `file.not_found` and what to do instead if it cannot be trained on, `config.mismatch` if
    ///   logs/<voice> is not empty, `data.empty`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let found = "";
    /// try { train::adopt("data/anna", "bert"); } catch (e) { found = e.kind; }
    /// found == "file.not_found"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn adopt(ctx: NativeCallContext, folder: &str, voice: &str) -> Fallible<Map> {
        super::adopt(&ctx, folder, voice).at(&ctx)
    }

    /// Returns the settings that a voice was trained with so far, by RVC WebUI, Applio or rvc-run: from its config.json and
    /// its newest checkpoint. Settings that these do not hold, such as epochs, are left to the recipe.
    ///
    /// * Fails with `file.not_found` if logs/<voice> has no training, `data.damaged`, `checkpoint.damaged`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600, learning_rate: 0.001 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg);                     // writes config.json, G_0 and D_0
    /// train::settings("anna").learning_rate == 0.001
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn settings(ctx: NativeCallContext, voice: &str) -> Fallible<Map> {
        super::settings(&ctx, voice).at(&ctx)
    }

    /// Returns a training in the folder of the data set's list: it continues after the newest checkpoint, or starts if there is no checkpoint.
    ///
    /// * Fails with `config.mismatch` or `checkpoint.mismatch` if the training there has another rate or size,
    ///   `checkpoint.damaged`, `file.locked`, `device.missing`, `device.memory`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let t = train::trainer(train::dataset(files, cfg), cfg);
    /// t.next_epoch == 1 && t.step == 0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn trainer(ctx: NativeCallContext, data: Dataset, cfg: Map) -> Fallible<Trainer> {
        super::open_trainer(&ctx, &data, &cfg, &Map::new()).at(&ctx)
    }

    /// Returns a training, with options.
    ///
    /// * `options`: `fresh` true starts again from epoch 1 and moves old checkpoints aside; `voice` trains in logs/<voice> instead of the
    ///   folder of the data set's list, so that many trainings share one voice's clips.
    /// * Fails like `trainer` without options, and with `config.unknown_key`, `config.value`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg, #{ fresh: true }).next_epoch == 1
    /// ```
    #[rhai_fn(name = "trainer", return_raw, volatile)]
    pub fn trainer_with(ctx: NativeCallContext, data: Dataset, cfg: Map, options: Map) -> Fallible<Trainer> {
        super::open_trainer(&ctx, &data, &cfg, &options).at(&ctx)
    }

    /// Writes the voice of a saved epoch as a small fp16 file; returns the `epoch`.
    ///
    /// * `epoch`: 0 is the newest checkpoint; `path`: relative paths start at the workspace.
    /// * Fails with `file.not_found` without a checkpoint, `checkpoint.damaged`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg);                     // saves G_0 and D_0
    /// train::save_checkpoint_voice("anna", 0, "models/anna.pth").epoch == 0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn save_checkpoint_voice(ctx: NativeCallContext, voice: &str, epoch: i64, path: &str) -> Fallible<Map> {
        super::export(&ctx, voice, epoch, false, path).at(&ctx)
    }

    /// Writes the voice of a saved epoch's averaged generator, which exists if `ema_decay` was above 0.
    ///
    /// * Fails as above, and with `file.not_found` if the epoch has no averaged generator.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600, ema_decay: 0.999 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg);
    /// train::save_averaged_voice("anna", 0, "models/anna_ema.pth").epoch == 0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn save_averaged_voice(ctx: NativeCallContext, voice: &str, epoch: i64, path: &str) -> Fallible<Map> {
        super::export(&ctx, voice, epoch, true, path).at(&ctx)
    }

    /// Returns the learning rate of an epoch, counted from 1.
    ///
    /// * `epoch`: 1 to 1000000, like `epochs`.
    /// * Fails with `config.value` for any other epoch, `config.*`.
    ///
    /// # Example
    /// ```rhai
    /// train::learning_rate(#{ learning_rate: 1e-4 }, 1) == 1e-4
    /// ```
    #[rhai_fn(return_raw)]
    pub fn learning_rate(ctx: NativeCallContext, cfg: Map, epoch: i64) -> Fallible<f64> {
        super::learning_rate(&cfg, epoch).at(&ctx)
    }

    /// Returns the number of clips.
    ///
    /// # Example
    /// ```rhai
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", #{}), #{});
    /// train::dataset(files, #{}).count > 0
    /// ```
    #[rhai_fn(get = "count", pure)]
    pub fn count(data: &mut Dataset) -> i64 {
        data.0.count.get()
    }

    /// Returns the total length of all clips, in seconds.
    ///
    /// # Example
    /// ```rhai
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", #{}), #{});
    /// train::dataset(files, #{}).seconds > 0.5
    /// ```
    #[rhai_fn(get = "seconds", pure)]
    pub fn seconds(data: &mut Dataset) -> f64 {
        data.0.seconds.get()
    }

    /// Returns the clips that are not trained on, as maps with `name` and `reason`.
    ///
    /// # Example
    /// ```rhai
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", #{}), #{});
    /// train::dataset(files, #{}).dropped.is_empty()
    /// ```
    #[rhai_fn(get = "dropped", pure)]
    pub fn dropped(data: &mut Dataset) -> Array {
        data.0.dropped.iter().map(super::dropped_map).collect()
    }

    /// Moves clips from a data set to a new one for validation, about `fraction` of the sound, and returns the new data set.
    ///
    /// Whole recordings are moved, never single clips, which overlap with their neighbours; only `seed` decides which. Of a single
    /// recording the end is moved, and one clip before it is left out.
    ///
    /// * Fails with `config.value` if `fraction` is not above 0.0 and below 1.0, `data.empty` if there are too few clips.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let data = train::dataset("logs/anna/filelist.txt", cfg);
    /// let kind = "";
    /// try { data.hold_out(0.2, 1234); } catch (e) { kind = e.kind; }
    /// kind == "data.empty"                 // one clip of one recording
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn hold_out(ctx: NativeCallContext, data: &mut Dataset, fraction: f64, seed: i64) -> Fallible<Dataset> {
        super::hold_out(data, fraction, seed).at(&ctx)
    }

    /// Runs the next epoch and returns the means of its numbers: loss_disc, loss_gen, loss_fm, loss_mel, loss_kl,
    /// grad_norm_g, grad_norm_d, learning_rate, steps_per_second, audio_seconds_per_second.
    ///
    /// * Fails with `train.not_finite`, `device.memory`, `file.*`; after a signal it finishes the step and saves before it stops.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let t = train::trainer(train::dataset(files, cfg), cfg);
    /// t.run_epoch().loss_mel > 0.0 && t.next_epoch == 2
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn run_epoch(ctx: NativeCallContext, t: &mut Trainer) -> Fallible<Map> {
        t.0.trainer.borrow_mut().run_epoch(&t.0.task, &mut |_| Ok(())).map(|m| super::metrics(&m)).at(&ctx)
    }

    /// Runs the next epoch and records the numbers of every step in a run; returns their means.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let run = track::start("anna", cfg);
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let t = train::trainer(train::dataset(files, cfg), cfg);
    /// t.run_epoch(run).loss_mel > 0.0
    /// ```
    #[rhai_fn(global, name = "run_epoch", pure, return_raw, volatile)]
    pub fn run_epoch_recorded(ctx: NativeCallContext, t: &mut Trainer, run: Run) -> Fallible<Map> {
        super::run_recorded(t, &run, None).map(|m| super::metrics(&m)).at(&ctx)
    }

    /// Runs the next epoch, recorded, but starts no step that would not end within `seconds`, judged by the longest step so far; it runs at least one.
    /// `next_epoch` is unchanged if steps are left; they run the next time. Returns the means of the steps run.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600, slice_seconds: 1.0, batch_size: 1 };
    /// let run = track::start("anna", cfg);
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let t = train::trainer(train::dataset(files, cfg), cfg);
    /// t.run_epoch(run, 0.0);
    /// t.step == 1 && t.next_epoch == 1 && t.epoch == 1
    /// ```
    #[rhai_fn(global, name = "run_epoch", pure, return_raw, volatile)]
    pub fn run_epoch_within(ctx: NativeCallContext, t: &mut Trainer, run: Run, seconds: f64) -> Fallible<Map> {
        super::run_recorded(t, &run, Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
            .map(|m| super::metrics(&m))
            .at(&ctx)
    }

    /// Saves a checkpoint, G_<epoch>.pth and D_<epoch>.pth, unless the newest one is already at this step.
    ///
    /// * Fails with `file.disk_full`, `file.write`; older checkpoints stay intact.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let t = train::trainer(train::dataset(files, cfg), cfg);
    /// t.save();
    /// system::file_exists("logs/anna/G_0.pth")
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn save(ctx: NativeCallContext, t: &mut Trainer) -> Fallible<()> {
        t.0.trainer.borrow_mut().save().at(&ctx)
    }

    /// Returns how well the generator reproduces clips that it does not train on, from only their content and pitch: validation_loss_mel, the distance
    /// of log-mels times 45 for every `c_mel`, so that trainings with other weights can be compared. Lower is better.
    ///
    /// * `held`: the result of `hold_out`.
    /// * Fails with `data.damaged`, `device.memory`, `train.not_finite`, `script` if another trainer took the clips.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600, slice_seconds: 1.0 };
    /// let data = train::dataset(prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg), cfg);
    /// let t = train::trainer(data, cfg);
    /// let other = train::dataset("logs/anna/filelist.txt", cfg);      // here the same clips; `hold_out` returns others
    /// t.validate(other).validation_loss_mel > 0.0
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn validate(ctx: NativeCallContext, t: &mut Trainer, held: Dataset) -> Fallible<Map> {
        super::validate(t, &held, None).map(|m| super::metrics(&m)).at(&ctx)
    }

    /// Validates as above, and also with the pitch tracker and the content encoder that `cfg` names: validation_f0_rmse_cents where clip and
    /// copy are both voiced, validation_voicing_error (share of frames), validation_content_distance (1 - cosine). Lower is better for each.
    /// With `ema_decay` it validates the averaged generator too: validation_loss_mel_ema and so on.
    ///
    /// The two networks share the memory with the training's. A voice without pitch has no f0 numbers; validation_f0_rmse_cents is missing while
    /// no frame is voiced in both.
    ///
    /// * Fails as above, and with `asset.missing`, `data.damaged` if the generator's output is not finite.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600, slice_seconds: 1.0, f0_method: "pm", content_encoder: "mel" };
    /// let data = train::dataset(prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg), cfg);
    /// let t = train::trainer(data, cfg);
    /// let other = train::dataset("logs/anna/filelist.txt", cfg);
    /// t.validate(other, cfg).validation_content_distance > 0.0
    /// ```
    #[rhai_fn(global, name = "validate", pure, return_raw, volatile)]
    pub fn validate_and_listen(ctx: NativeCallContext, t: &mut Trainer, held: Dataset, cfg: Map) -> Fallible<Map> {
        super::validate_and_listen(&ctx, t, &held, &cfg).map(|m| super::metrics(&m)).at(&ctx)
    }

    /// Removes the checkpoints of a training except those of the epochs in `keep` and the newest; returns the epochs removed.
    ///
    /// * Fails with `config.value` for values that are not whole numbers, `file.write`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let t = train::trainer(train::dataset(files, cfg), cfg);
    /// for n in 0..2 { t.run_epoch(); t.save(); }
    /// t.keep([1]) == [0] && t.keep([]) == [1] && system::file_exists("logs/anna/G_2.pth")
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn keep(ctx: NativeCallContext, t: &mut Trainer, keep: Array) -> Fallible<Array> {
        super::keep(t, &keep).at(&ctx)
    }

    /// Writes the present voice as a small fp16 file, which RVC WebUI, Applio and w-okada open.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `train.not_finite`, `file.disk_full`, `file.write`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// system::file_exists("models/anna.pth")
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn save_voice(ctx: NativeCallContext, t: &mut Trainer, path: &str) -> Fallible<()> {
        t.0.trainer.borrow_mut().save_voice(&session(&ctx).workspace().path(path)).at(&ctx)
    }

    /// Returns the epoch that `run_epoch` runs next, counted from 1.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).next_epoch == 1
    /// ```
    #[rhai_fn(get = "next_epoch", pure)]
    pub fn next_epoch(t: &mut Trainer) -> i64 {
        t.0.trainer.borrow().next_epoch()
    }

    /// Returns the epoch that would name a checkpoint: the last complete one, or the current one.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).epoch == 0
    /// ```
    #[rhai_fn(get = "epoch", pure)]
    pub fn epoch(t: &mut Trainer) -> i64 {
        t.0.trainer.borrow().epoch()
    }

    /// Returns the number of steps done in the whole training.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).step == 0
    /// ```
    #[rhai_fn(get = "step", pure)]
    pub fn step(t: &mut Trainer) -> i64 {
        t.0.trainer.borrow().step()
    }

    /// Returns the number of steps in an epoch.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).steps_per_epoch > 0
    /// ```
    #[rhai_fn(get = "steps_per_epoch", pure)]
    pub fn steps_per_epoch(t: &mut Trainer) -> i64 {
        let trainer = t.0.trainer.borrow();
        trainer.dataset().batches(trainer.next_epoch()).len() as i64
    }

    /// Returns the means of the last complete epoch, even directly after a resume; an empty map before the first.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).losses.is_empty()
    /// ```
    #[rhai_fn(get = "losses", pure)]
    pub fn losses(t: &mut Trainer) -> Map {
        t.0.trainer.borrow().losses().map(|m| super::metrics(&m)).unwrap_or_default()
    }

    /// Writes the first clip of the data set, generated by the present voice, as a 16-bit wav: it shows the training's progress.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `data.damaged`, `device.memory`, `train.not_finite`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_sample("logs/anna/samples/epoch_0.wav");
    /// audio::load("logs/anna/samples/epoch_0.wav").sample_rate == 40000
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn save_sample(ctx: NativeCallContext, t: &mut Trainer, path: &str) -> Fallible<()> {
        let sample = t.0.trainer.borrow_mut().sample();
        let path = session(&ctx).workspace().path(path);
        sample.and_then(|sound| output::write(&path, &sound, Format::Wav16)).at(&ctx)
    }

    /// Returns the path of the first clip of the data set, which samples and the self-test use.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).first_clip.ends_with(".wav")
    /// ```
    #[rhai_fn(get = "first_clip", pure)]
    pub fn first_clip(t: &mut Trainer) -> ImmutableString {
        t.0.trainer.borrow().dataset().first_clip().map_or("".into(), |path| path.display().to_string().into())
    }

    /// Returns which clips the past and coming epochs are trained on, oldest first: maps with `from_epoch`, `data_digest` ("" for epochs that another program
    /// trained), `sound_digest`, `pitch_digest`, and `changed`, what differs from the clips before: "clips", "f0", "content features", "f0 and content features",
    /// "clips or features"; none of it in the first, and after another program's.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).lineage[0].from_epoch == 1
    /// ```
    #[rhai_fn(get = "lineage", pure)]
    pub fn lineage(t: &mut Trainer) -> Array {
        let spans = t.0.trainer.borrow().lineage();
        // Numbers and texts: nothing that JSON could refuse.
        spans.iter().map(|span| value::from_json(&serde_json::to_value(span).unwrap_or_default())).collect()
    }

    /// Returns the files of the newest checkpoint: `g`, `d`, `manifest`, and `ema` if the generator is averaged.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).checkpoint.g.ends_with("G_0.pth")
    /// ```
    #[rhai_fn(get = "checkpoint", pure)]
    pub fn checkpoint(t: &mut Trainer) -> Map {
        let trainer = t.0.trainer.borrow();
        let names = ["g", "d", "manifest"].into_iter().zip(trainer.checkpoint());
        let names = names.chain(trainer.averaged().map(|path| ("ema", path)));
        names.map(|(name, path)| (name.into(), path.display().to_string().into())).collect()
    }

    /// Returns the folder of the training: checkpoints, config.json, train.log.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).folder.ends_with("anna")
    /// ```
    #[rhai_fn(get = "folder", pure)]
    pub fn folder(t: &mut Trainer) -> ImmutableString {
        t.0.trainer.borrow().folder().display().to_string().into()
    }
}

/// Runs an epoch and records the numbers of every step, its means and its energy.
fn run_recorded(t: &TrainerHandle, run: &Run, limit: Option<Duration>) -> crate::Result<Metrics> {
    let (run, mut trainer) = (run.run(), t.0.trainer.borrow_mut());
    track::keep(trainer.folder(), run.id())?;
    let (epoch, first, began, energy) = (trainer.next_epoch(), trainer.step(), Instant::now(), run.gpu_energy());
    let mut on_step = |step: &engine::StepReport| {
        run.metrics(step.step, &step.metrics.iter().collect::<Vec<_>>());
        Ok(())
    };
    let means = trainer.run_epoch_within(&t.0.task, &mut on_step, limit)?;
    if trainer.next_epoch() == epoch {
        return Ok(means); // The epoch is not complete: its means are not recorded yet.
    }
    let (step, seconds) = (trainer.step(), began.elapsed().as_secs_f64());
    let mut values = vec![(track::EPOCH.to_owned(), epoch as f64), ("epoch/seconds".to_owned(), seconds)];
    if let (Some(before), Some(after)) = (energy, run.gpu_energy()) {
        values.push(("epoch/energy_joules".to_owned(), after - before));
    }
    values.extend(means.iter().map(|(name, value)| (format!("epoch/{name}"), value)));
    run.metrics(step - 1, &values);
    let means_map: serde_json::Map<_, _> = means.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    run.event(
        "epoch",
        &json!({ "epoch": epoch, "step": step, "steps": step - first, "seconds": seconds, "metrics": means_map }),
    );
    Ok(means)
}

fn open_data(ctx: &NativeCallContext, list: &Path, cfg: &Map) -> crate::Result<DataHandle> {
    let session = session(ctx);
    // Relative paths in a list are RVC's, which runs in the folder that holds logs/.
    let set = engine::dataset(session.task(), session.workspace().root(), list, &value::config(cfg)?)?
        .encoded_by(list.parent().and_then(content_digest))
        .spoken_by(list.parent().map(speakers).unwrap_or_default());
    Ok(DataHandle(Rc::new(Data {
        folder: list.parent().unwrap_or(Path::new("")).to_owned(),
        count: Cell::new(set.len() as i64),
        seconds: Cell::new(set.seconds()),
        dropped: set.dropped().to_vec(),
        set: RefCell::new(Some(set)),
    })))
}

fn hold_out(data: &DataHandle, fraction: f64, seed: i64) -> crate::Result<DataHandle> {
    let mut set = data.0.set.borrow_mut();
    let rest = set.as_mut().ok_or_else(taken)?;
    let held = rest.hold_out(fraction, seed)?;
    data.0.count.set(rest.len() as i64);
    data.0.seconds.set(rest.seconds());
    Ok(DataHandle(Rc::new(Data {
        folder: data.0.folder.clone(),
        count: Cell::new(held.len() as i64),
        seconds: Cell::new(held.seconds()),
        dropped: Vec::new(),
        set: RefCell::new(Some(held)),
    })))
}

fn validate(t: &TrainerHandle, held: &DataHandle, judge: Option<&Judge>) -> crate::Result<Metrics> {
    let mut set = held.0.set.borrow_mut();
    let mut trainer = t.0.trainer.borrow_mut();
    trainer.validate(&t.0.task, set.as_mut().ok_or_else(taken)?, judge)
}

fn validate_and_listen(
    ctx: &NativeCallContext,
    t: &TrainerHandle,
    held: &DataHandle,
    cfg: &Map,
) -> crate::Result<Metrics> {
    let config = value::config(cfg)?;
    let session = session(ctx);
    let (tracker, encoder) = (session.models().extractor(&config)?, session.models().encoder(&config)?);
    let evaluator = Evaluator { tracker: &tracker, encoder: &encoder };
    validate(t, held, Some(&|made, clip| quality::validation_metrics(&evaluator, config.if_f0, made, clip)))
}

fn learning_rate(cfg: &Map, epoch: i64) -> crate::Result<f64> {
    let config = value::config(cfg)?;
    if !EPOCHS.contains(&epoch) {
        let message = format!("epoch is {epoch}, but must be between {} and {}", EPOCHS.start(), EPOCHS.end());
        return Err(Error::new(Kind::ConfigValue, message).hint("epochs are counted from 1"));
    }
    Ok(engine::learning_rate(&config, epoch))
}

fn taken() -> Error {
    Error::new(Kind::Script, "this data set already belongs to another trainer").hint("call train::dataset again")
}

fn keep(t: &TrainerHandle, epochs: &Array) -> crate::Result<Array> {
    let whole = |epoch: &Dynamic| {
        epoch.as_int().map_err(|_| {
            Error::new(Kind::ConfigValue, format!("{} is not an epoch: use a whole number", value::shown(epoch)))
        })
    };
    let epochs = epochs.iter().map(whole).collect::<crate::Result<Vec<_>>>()?;
    Ok(t.0.trainer.borrow_mut().prune(&epochs)?.into_iter().map(Dynamic::from).collect())
}

fn settings(ctx: &NativeCallContext, voice: &str) -> crate::Result<Map> {
    let session = session(ctx);
    let found = engine::config_json::of_folder(session.task(), &session.workspace().logs(voice)?)?;
    Ok(value::map_from_json(&found))
}

fn adopt(ctx: &NativeCallContext, folder: &str, voice: &str) -> crate::Result<Map> {
    let session = session(ctx);
    let logs = session.workspace().logs(voice)?;
    let taken = engine::adopt::adopt(session.task(), &session.workspace().path(folder), &logs)?;
    let dropped: Vec<_> =
        taken.dropped.iter().map(|(line, reason)| json!({ "line": line, "reason": reason })).collect();
    let told = json!({
        "program": taken.program.name(), "folder": taken.folder.display().to_string(), "clips": taken.clips,
        "mute_rows": taken.mute_rows, "repeated": taken.repeated, "checkpoints": taken.checkpoints, "dropped": dropped,
        "speakers": taken.speakers.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect::<Vec<_>>(),
    });
    Ok(value::map_from_json(told.as_object().unwrap_or(&serde_json::Map::new())))
}

fn check_training(ctx: &NativeCallContext, voice: &str, cfg: &Map, options: &Map) -> crate::Result<()> {
    let session = session(ctx);
    let logs = session.workspace().logs(voice)?;
    let (config, models) = (value::config(cfg)?, session.models());
    let content = || models.encoder(&config).map(|encoder| encoder.digest());
    Engine::check(
        session.task(),
        &config,
        &logs,
        models.store(),
        self::options(options)?.fresh.unwrap_or(false),
        content,
    )
}

fn check_room(ctx: &NativeCallContext, voice: &str, folder: &str, cfg: &Map, options: &Map) -> crate::Result<()> {
    let session = session(ctx);
    let (config, workspace) = (value::config(cfg)?, session.workspace());
    let options: RoomOptions = given::read(&value::map_to_json(options)?, "train::check_room", "an option")?;
    let logs = workspace.logs(voice)?;
    let mut saves =
        engine::room::Saves::of(&config, &logs, options.keep_last.unwrap_or(0), options.fresh.unwrap_or(false))?;
    if options.may_stop_early.unwrap_or(false) {
        saves = saves.of_early_end();
    }
    let models = workspace.model(voice)?.parent().map(Path::to_owned).unwrap_or_default();
    let mut needs = vec![saves.need(&logs)];
    needs.extend([models, workspace.tracking()].map(|place| Need { place, bytes: 0, what: String::new() }));
    if !folder.is_empty() {
        needs.extend(prepare_room::needs(workspace, voice, Some(Path::new(folder)), &config)?);
    }
    room::check(&needs, &engine::room::Saves::remedy(&[saves], &config))
}

fn check_room_of_all(ctx: &NativeCallContext, voices: &Array, cfg: &Map, options: &Map) -> crate::Result<()> {
    let session = session(ctx);
    let (config, workspace) = (value::config(cfg)?, session.workspace());
    let options: RoomOptions = given::read(&value::map_to_json(options)?, "train::check_room", "an option")?;
    let voices: Vec<String> = voices.iter().map(ToString::to_string).collect();
    // A voice that cannot be called so, or has no recordings, writes nothing.
    let folders: Vec<PathBuf> = voices.iter().filter_map(|voice| workspace.logs(voice).ok()).collect();
    let fresh = options.fresh.unwrap_or(false);
    let mut saves = engine::room::Saves::of_all(&config, &folders, options.keep_last.unwrap_or(0), fresh)?;
    if options.may_stop_early.unwrap_or(false) {
        saves = saves.into_iter().map(engine::room::Saves::of_early_end).collect();
    }
    let place = |folder: &str| workspace.path(folder);
    let mut needs = vec![engine::room::Saves::need_of_all(&saves, place("logs"))];
    needs.extend([place("models"), workspace.tracking()].map(|place| Need { place, bytes: 0, what: String::new() }));
    for voice in &voices {
        let Ok(folder) = workspace.data(voice) else { continue };
        for need in prepare_room::needs(workspace, voice, Some(&folder), &config).unwrap_or_default() {
            match needs.iter_mut().find(|known| known.place == need.place && known.what == need.what) {
                Some(known) => known.bytes = known.bytes.saturating_add(need.bytes),
                None => needs.push(need),
            }
        }
    }
    room::check(&needs, &engine::room::Saves::remedy(&saves, &config))
}

fn open_trainer(ctx: &NativeCallContext, data: &DataHandle, cfg: &Map, options: &Map) -> crate::Result<TrainerHandle> {
    let (config, options) = (value::config(cfg)?, self::options(options)?);
    let own = options.voice.as_deref().map(|voice| session(ctx).workspace().logs(voice)).transpose()?;
    let folder = own.as_deref().unwrap_or(&data.0.folder);
    let set = data.0.set.borrow_mut().take().ok_or_else(taken)?;
    let session = session(ctx);
    let task = session.task().clone();
    // Training needs the memory that the feature networks hold.
    session.models().release();
    let mut trainer =
        Engine::open(&task, &config, set, folder, session.models().store(), options.fresh.unwrap_or(false))?;
    if let Some(recipe) = session.recipe_name() {
        trainer.set_recipe(&recipe);
    }
    Ok(TrainerHandle(Rc::new(Open { trainer: RefCell::new(trainer), task })))
}

fn options(options: &Map) -> crate::Result<Options> {
    given::read(&value::map_to_json(options)?, "train::trainer", "an option")
}

/// Whether the options of `train::trainer` are valid, before anything is opened.
pub fn check_options(options: &serde_json::Map<String, serde_json::Value>) -> crate::Result<()> {
    given::read::<Options>(options, "train::trainer", "an option").map(drop)
}

fn export(ctx: &NativeCallContext, voice: &str, epoch: i64, averaged: bool, path: &str) -> crate::Result<Map> {
    let session = session(ctx);
    let logs = session.workspace().logs(voice)?;
    let epoch = match epoch {
        0 => engine::checkpoint::newest(session.task(), &logs)?.map(|manifest| manifest.epoch).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no checkpoint of {voice:?}"))
                .path(&logs)
                .hint("train the voice first")
        })?,
        epoch => epoch,
    };
    let paths = engine::checkpoint::paths(&logs, epoch);
    if !paths.iter().any(|path| path.exists()) {
        return Err(Error::new(Kind::NotFound, format!("no checkpoint of epoch {epoch} was saved of {voice:?}"))
            .path(&logs)
            .hint(format!("saved are: {}; 0 stands for the newest", engine::checkpoint::saved_epochs(&logs)?)));
    }
    engine::export::from_checkpoint(&logs, epoch, averaged, &session.workspace().path(path))?;
    Ok([("epoch".into(), epoch.into())].into())
}

fn metrics(metrics: &Metrics) -> Map {
    metrics.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn dropped_map(dropped: &engine::data::Dropped) -> Dynamic {
    let map: Map =
        [("name".into(), dropped.name.clone().into()), ("reason".into(), dropped.reason.clone().into())].into();
    map.into()
}
