//! Script interface of [`crate::prepare`]: from recordings to a file list, stage by stage.

use super::{At, Fallible, session, value};
use crate::prepare as stages;
use crate::room;
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use std::cell::{Ref, RefCell};
use std::path::Path;
use std::rc::Rc;

/// Clips of a voice; clones share the clips, which the stages complete.
#[derive(Clone)]
pub struct ClipsHandle(Rc<RefCell<stages::Clips>>);

impl ClipsHandle {
    pub fn clips(&self) -> Ref<'_, stages::Clips> {
        self.0.borrow()
    }
}

/// A written file list.
#[derive(Clone)]
pub struct ListHandle(Rc<stages::FileList>);

impl ListHandle {
    pub fn file(&self) -> &Path {
        &self.0.path
    }
}

#[export_module]
pub mod api {
    /// The clips of a voice, cut from its recordings.
    pub type Clips = super::ClipsHandle;
    /// The file list of a voice, which training reads.
    pub type FileList = super::ListHandle;

    /// Returns the clips of every recording in a folder, written to logs/<voice>/0_gt_wavs and 1_16k_wavs.
    ///
    /// Recordings that cannot be used are skipped with a warning; unchanged ones come from the cache.
    ///
    /// * `folder`: relative paths start at the workspace; each subfolder is a speaker. `cfg`: the settings; the relevant ones are
    ///   `sample_rate`, `slicing`, `slice_seconds`, `min_slice_seconds`, `overlap_seconds`, `max_peak`, `normalization`, `target_lufs`,
    ///   `target_peak_dbfs`, `noise_reduction` and `min_voice_share` (see `config::defaults`).
    /// * Fails with `file.not_found`, `data.empty` if nothing is usable, `config.*`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// clips.recordings == 1 && clips.count == 1
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn slices(ctx: NativeCallContext, voice: &str, folder: &str, cfg: Map) -> Fallible<Clips> {
        let session = session(&ctx);
        let made = || {
            let (config, cache) = (value::config(&cfg)?, session.cache()?);
            stages::slices(session.task(), session.workspace(), &cache, voice, Path::new(folder), &config)
        };
        made().map(|clips| ClipsHandle(Rc::new(RefCell::new(clips)))).at(&ctx)
    }

    /// Reports before any clip is made what the stages would refuse later: opens every network that the settings
    /// name. The stages then use the opened networks.
    ///
    /// * Fails with `asset.missing` and the command that fetches the file, `checkpoint.damaged`, `checkpoint.mismatch`, `config.*`,
    ///   `device.*`.
    ///
    /// # Example
    /// ```rhai
    /// prepare::check(#{ content_encoder: "mel", f0_method: "pm" });
    /// true
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn check(ctx: NativeCallContext, cfg: Map) -> Fallible<()> {
        value::config(&cfg).and_then(|config| session(&ctx).models().open(&config)).at(&ctx)
    }

    /// Reports what `slices` would refuse before it reads a recording; returns the number of recordings.
    ///
    /// * `folder`: relative paths start at the workspace.
    /// * Fails with `file.not_found`, `data.empty` without recordings, `config.value` for names and too many speakers.
    ///
    /// # Example
    /// ```rhai
    /// prepare::check_recordings("anna", "data/anna") == 1
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn check_recordings(ctx: NativeCallContext, voice: &str, folder: &str) -> Fallible<i64> {
        stages::room::recordings(session(&ctx).workspace(), voice, Path::new(folder)).map(|n| n as i64).at(&ctx)
    }

    /// Fails if the clips and features of a voice cannot be written to their folders, or do not fit on the disk.
    ///
    /// * `folder`: the recordings; relative paths start at the workspace. "" if they are still to be fetched, to data/<voice>.
    /// * Fails with `file.write`, `file.disk_full` with the numbers, and like `check_recordings`.
    ///
    /// # Example
    /// ```rhai
    /// prepare::check_room("anna", "data/anna", #{});
    /// true
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn check_room(ctx: NativeCallContext, voice: &str, folder: &str, cfg: Map) -> Fallible<()> {
        let folder = Some(Path::new(folder)).filter(|folder| !folder.as_os_str().is_empty());
        let needs = || stages::room::needs(session(&ctx).workspace(), voice, folder, &value::config(&cfg)?);
        needs().and_then(|needs| room::check(&needs, "")).at(&ctx)
    }

    /// Fails if a training can use none of the clips.
    ///
    /// * `cfg`: `segment_size` and `sample_rate` set the length of the training window.
    /// * Fails with `data.empty` if all clips are shorter than the window, `config.*`.
    ///
    /// # Example
    /// ```rhai
    /// prepare::check_clips(prepare::slices("anna", "data/anna", #{}), #{});
    /// true
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn check_clips(ctx: NativeCallContext, clips: Clips, cfg: Map) -> Fallible<()> {
        value::config(&cfg).and_then(|config| stages::check_window(&clips.clips(), &config)).at(&ctx)
    }

    /// Extracts the pitch of every clip; returns how many clips were `done` now, `cached`, `skipped`.
    ///
    /// * `cfg`: `f0_method` is pm, yin, harvest or dio, or one of the networks rmvpe, fcpe, crepe and crepe-tiny.
    /// * Fails with `config.*`, `file.*`; a clip that cannot be used is skipped with a warning.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::f0(clips, #{ f0_method: "pm" }).done == 1
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn f0(ctx: NativeCallContext, clips: Clips, cfg: Map) -> Fallible<Map> {
        let run = || {
            stages::f0(session(&ctx).task(), &mut clips.0.borrow_mut(), session(&ctx).models(), &value::config(&cfg)?)
        };
        run().map(super::counts).at(&ctx)
    }

    /// Encodes the content of every clip; returns how many clips were `done` now, `cached`, `skipped`.
    ///
    /// * `cfg`: `content_encoder` is mel, the built-in one of demonstration quality, or a HuBERT by name or path.
    /// * Fails with `config.*`, `file.*`; a clip that cannot be used is skipped with a warning.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::content(clips, #{}).done == 1
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn content(ctx: NativeCallContext, clips: Clips, cfg: Map) -> Fallible<Map> {
        let run = || {
            stages::content(
                session(&ctx).task(),
                &mut clips.0.borrow_mut(),
                session(&ctx).models(),
                &value::config(&cfg)?,
            )
        };
        run().map(super::counts).at(&ctx)
    }

    /// Writes logs/<voice>/filelist.txt, which training reads, and returns it; runs stages that were not called yet.
    ///
    /// * Fails with `data.empty` if no clip has both pitch and content, and like `f0` and `content`.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::filelist(clips, #{}).count == 1
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn filelist(ctx: NativeCallContext, clips: Clips, cfg: Map) -> Fallible<FileList> {
        let run = || {
            stages::filelist(
                session(&ctx).task(),
                &mut clips.0.borrow_mut(),
                session(&ctx).models(),
                &value::config(&cfg)?,
            )
        };
        run().map(|list| ListHandle(list.into())).at(&ctx)
    }

    /// Returns the number of clips.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{}).count == 1
    /// ```
    #[rhai_fn(get = "count", pure)]
    pub fn count(clips: &mut Clips) -> i64 {
        clips.0.borrow().clips.len() as i64
    }

    /// Returns the total length of all clips, in seconds.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{}).seconds > 0.5
    /// ```
    #[rhai_fn(get = "seconds", pure)]
    pub fn seconds(clips: &mut Clips) -> f64 {
        clips.0.borrow().seconds()
    }

    /// Returns the number of recordings found, usable or not.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{}).recordings == 1
    /// ```
    #[rhai_fn(get = "recordings", pure)]
    pub fn recordings(clips: &mut Clips) -> i64 {
        clips.0.borrow().recordings as i64
    }

    /// Returns the number of recordings whose clips came from the cache.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{});
    /// prepare::slices("anna", "data/anna", #{}).cached == 1
    /// ```
    #[rhai_fn(get = "cached", pure)]
    pub fn cached(clips: &mut Clips) -> i64 {
        clips.0.borrow().counts.cached as i64
    }

    /// Returns the number of recordings that were decoded in this run, because their bytes were new.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{});
    /// prepare::slices("anna", "data/anna", #{}).decoded == 0
    /// ```
    #[rhai_fn(get = "decoded", pure)]
    pub fn decoded(clips: &mut Clips) -> i64 {
        clips.0.borrow().decoded as i64
    }

    /// Returns the number of recordings that could not be used.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{}).skipped == 0
    /// ```
    #[rhai_fn(get = "skipped", pure)]
    pub fn skipped(clips: &mut Clips) -> i64 {
        clips.0.borrow().counts.skipped as i64
    }

    /// Returns the number of clips that were cut but not used: silent, too short, too loud, without voice.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{}).dropped == 0
    /// ```
    #[rhai_fn(get = "dropped", pure)]
    pub fn dropped(clips: &mut Clips) -> i64 {
        clips.0.borrow().dropped as i64
    }

    /// Returns the result for each recording: maps with `name`, `sid`, `seconds`, `clips`, `kept_seconds`, `dropped` (a list of `reason`,
    /// `count`, `seconds`), `reason`, why the recording is not used, `hint`, what to do about it, and `notices`, anything unusual about a recording
    /// that is used (a list of `code`, `message`, `seconds`).
    ///
    /// # Example
    /// ```rhai
    /// let row = prepare::slices("anna", "data/anna", #{}).table[0];
    /// row.clips == 1 && row.dropped.is_empty() && row.reason == ()
    /// ```
    #[rhai_fn(get = "table", pure)]
    pub fn table(clips: &mut Clips) -> Array {
        clips.0.borrow().table.iter().map(super::row).collect()
    }

    /// Returns the folder of the voice's clips and features, logs/<voice>.
    ///
    /// # Example
    /// ```rhai
    /// prepare::slices("anna", "data/anna", #{}).folder.ends_with("anna")
    /// ```
    #[rhai_fn(get = "folder", pure)]
    pub fn folder(clips: &mut Clips) -> ImmutableString {
        clips.0.borrow().folder.display().to_string().into()
    }

    /// Returns the path of the list.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::filelist(clips, #{}).path.ends_with("filelist.txt")
    /// ```
    #[rhai_fn(get = "path", pure)]
    pub fn list_path(list: &mut FileList) -> ImmutableString {
        list.0.path.display().to_string().into()
    }

    /// Returns the number of clips in the list.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::filelist(clips, #{}).count == 1
    /// ```
    #[rhai_fn(get = "count", pure)]
    pub fn list_count(list: &mut FileList) -> i64 {
        list.0.count as i64
    }

    /// Returns the total length of the listed clips, in seconds.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::filelist(clips, #{}).seconds > 0.5
    /// ```
    #[rhai_fn(get = "seconds", pure)]
    pub fn list_seconds(list: &mut FileList) -> f64 {
        list.0.seconds
    }

    /// Returns the number of rows of silence in the list, `mute_clips` for each speaker.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::filelist(clips, #{ mute_clips: 3 }).mute_rows == 3
    /// ```
    #[rhai_fn(get = "mute_rows", pure)]
    pub fn list_mute_rows(list: &mut FileList) -> i64 {
        list.0.mute_rows as i64
    }

    /// Returns the number of clips left out because they have no pitch or no content.
    ///
    /// # Example
    /// ```rhai
    /// let clips = prepare::slices("anna", "data/anna", #{});
    /// prepare::filelist(clips, #{}).skipped == 0
    /// ```
    #[rhai_fn(get = "skipped", pure)]
    pub fn list_skipped(list: &mut FileList) -> i64 {
        list.0.skipped as i64
    }
}

fn row(row: &stages::RecordingRow) -> Dynamic {
    // Numbers, strings and lists of them: JSON can hold all of them.
    value::from_json(&serde_json::to_value(row).unwrap_or_default())
}

fn counts(counts: stages::Counts) -> Map {
    [
        ("done".into(), (counts.done as i64).into()),
        ("cached".into(), (counts.cached as i64).into()),
        ("skipped".into(), (counts.skipped as i64).into()),
    ]
    .into()
}
