//! Script interface of [`crate::prepare::survey`]: the quality of a data set, before training.

use super::{At, Fallible, prepare, session, value};
use crate::prepare::survey as engine;
use crate::{Error, Kind, Result, files};
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// A report on a data set; clones are the same report.
#[derive(Clone)]
pub struct SurveyHandle(Rc<RefCell<engine::Survey>>);

impl SurveyHandle {
    /// Replaces the report by the result of `with`; on an error it is unchanged.
    fn change(&self, with: impl FnOnce(engine::Survey) -> Result<engine::Survey>) -> Result<()> {
        let changed = with(self.0.borrow().clone())?;
        *self.0.borrow_mut() = changed;
        Ok(())
    }

    fn json(&self) -> Result<serde_json::Value> {
        serde_json::to_value(&*self.0.borrow())
            .map_err(|e| Error::new(Kind::Internal, format!("the report on the data: {e}")).source(e))
    }
}

#[export_module]
pub mod api {
    /// A report on the recordings of a voice.
    pub type Survey = super::SurveyHandle;

    /// Returns a report on the recordings in a folder: the length, true bandwidth, clipping, noise, SNR, loudness and silence of each.
    ///
    /// Files that were measured before come from the cache, whatever their present names.
    ///
    /// * `folder`: relative paths start at the workspace; each subfolder is a speaker.
    /// * Fails with `file.not_found`, `data.empty` without recordings, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let report = prepare::survey("data/anna");
    /// report.data.totals.recordings == 1 && report.data.recordings[0].sample_rate == 48000
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn survey(ctx: NativeCallContext, folder: &str) -> Fallible<Survey> {
        let session = session(&ctx);
        let look =
            || engine::folder(session.task(), session.workspace(), &session.cache()?, std::path::Path::new(folder));
        look().map(|survey| SurveyHandle(Rc::new(RefCell::new(survey)))).at(&ctx)
    }

    /// Returns a report on the recordings that clips were cut from: the report on their folder, with everything that `add` adds. No recording that was
    /// measured before is read again.
    ///
    /// * Fails with `file.read`, `data.damaged` for a pitch file.
    ///
    /// # Example
    /// ```rhai
    /// let report = prepare::survey(prepare::slices("anna", "data/anna", #{}));
    /// report.data.totals.recordings == 1 && report.data.clips.clips == 1
    /// ```
    #[rhai_fn(name = "survey", return_raw, volatile)]
    pub fn survey_of_clips(ctx: NativeCallContext, clips: prepare::ClipsHandle) -> Fallible<Survey> {
        let survey = engine::of_clips(session(&ctx).task(), &clips.clips());
        survey.map(|survey| SurveyHandle(Rc::new(RefCell::new(survey)))).at(&ctx)
    }

    /// Adds the results of slicing to a report, and the pitch if it was extracted.
    ///
    /// * Fails with `file.read`, `data.damaged` for a pitch file.
    ///
    /// # Example
    /// ```rhai
    /// let report = prepare::survey("data/anna");
    /// report.add(prepare::slices("anna", "data/anna", #{}));
    /// report.data.clips.clips == 1 && report.data.recordings[0].kept_seconds > 0.5
    /// ```
    #[rhai_fn(global, return_raw, volatile)]
    pub fn add(ctx: NativeCallContext, survey: Survey, clips: prepare::ClipsHandle) -> Fallible<()> {
        survey.change(|report| report.with_clips_of(&clips.clips())).at(&ctx)
    }

    /// Judges a report by limits and returns the findings: maps with `severity`, `gate`, `message`, `hint`, `value`, `allowed`,
    /// `recordings`. They stay in the report and replace earlier ones.
    ///
    /// * `limits`: any of `refuse_below_seconds`, `warn_below_seconds`, `refuse_below_clips`, `warn_below_clips`,
    ///   `warn_below_snr_db`, `warn_below_bandwidth_hz`, `warn_above_clipped_share`, `warn_above_silence_share`,
    ///   `warn_above_loudness_spread_lu`, `warn_above_duplicate_seconds`, `warn_above_unusable`.
    /// * Fails with `data.empty` if a limit refuses the data, `config.*` for an unknown limit.
    ///
    /// # Example
    /// ```rhai
    /// let report = prepare::survey("data/anna");
    /// let refused = "";
    /// try { report.judge(#{ refuse_below_seconds: 300 }); } catch (e) { refused = e.kind; }
    /// refused == "data.empty" && report.judge(#{ warn_below_seconds: 300 })[0].gate == "warn_below_seconds"
    /// ```
    #[rhai_fn(global, return_raw, volatile)]
    pub fn judge(ctx: NativeCallContext, survey: Survey, limits: Map) -> Fallible<Array> {
        let judge = || {
            let gates = engine::Gates::from_json(&value::map_to_json(&limits)?)?;
            survey.change(|report| Ok(report.judge(&gates)))?;
            survey.0.borrow().check()?;
            let findings = survey.json()?["findings"].take();
            Ok(findings.as_array().into_iter().flatten().map(value::from_json).collect())
        };
        judge().at(&ctx)
    }

    /// Writes a report as JSON, completely or not at all.
    ///
    /// * `path`: relative paths start at the workspace. Fails with `file.write`, `file.disk_full`.
    ///
    /// # Example
    /// ```rhai
    /// prepare::survey("data/anna").save("logs/anna/dataset.json");
    /// system::file_exists("logs/anna/dataset.json")
    /// ```
    #[rhai_fn(global, return_raw, volatile)]
    pub fn save(ctx: NativeCallContext, survey: Survey, path: &str) -> Fallible<()> {
        let save = || {
            let text = serde_json::to_string_pretty(&survey.json()?)
                .map_err(|e| Error::new(Kind::Internal, format!("the report on the data: {e}")).source(e))?;
            files::write(&session(&ctx).workspace().path(Path::new(path)), text)
        };
        save().at(&ctx)
    }

    /// Returns the whole report as a map.
    ///
    /// * `totals`, over all usable recordings: `recordings`, `unusable`, `seconds`, `duplicate_seconds`, `silence_seconds`, `silence_share`,
    ///   `sample_rates` (the seconds at each), `clipped_share`, `clipped_runs`, `not_finite` (samples), and `bandwidth_hz`, `snr_db`,
    ///   `noise_db`, `loudness_lufs`, `peak_dbfs`, each with `lowest`, `median` and `highest`.
    /// * `recordings`: for each `name`, `sid`, `kept_seconds` and the measures: `sample_rate`, `samples`, `seconds`, `bandwidth_hz`,
    ///   `clipped_share`, `clipped_runs`, `noise_db`, `speech_db`, `snr_db`, `loudness_lufs`, `peak_dbfs`, `dc_offset`, `silence_share`,
    ///   `not_finite`, `pcm_sha256` (of the samples); `notices` about anything unusual: `code`, `message`, `seconds`.
    /// * `unusable`: for each `name`, `sid`, `seconds` and the `reason`. `duplicates`: lists of names that hold the same sound.
    ///   `speakers`: for each `sid`, `name`, `recordings`, `seconds`.
    /// * `clips`, () before `add`: `clips`, `seconds`, `seconds_not_trained`, `dropped` (`reason`, `count`, `seconds`).
    /// * `f0`, () before its extraction: `frames`, `voiced`, `median_hz`, `low_hz`, `high_hz`, and how often each pitch occurs: `semitones`
    ///   from the MIDI note `first_note` on, `octaves` from `first_octave` on.
    /// * `findings`: see `judge`. `schema`: the version of this layout.
    ///
    /// # Example
    /// ```rhai
    /// let data = prepare::survey("data/anna").data;
    /// data.totals.seconds == 1.0 && data.duplicates.is_empty() && data.clips == ()
    /// ```
    #[rhai_fn(get = "data", return_raw)]
    pub fn data(ctx: NativeCallContext, survey: &mut Survey) -> Fallible<Dynamic> {
        survey.json().map(|json| value::from_json(&json)).at(&ctx)
    }

    /// Returns the report's table for `system::table`: an array of strings for each usable recording, under `columns`.
    ///
    /// # Example
    /// ```rhai
    /// let report = prepare::survey("data/anna");
    /// report.rows[0][0] == "tone.wav" && report.rows[0].len() == report.columns.len()
    /// ```
    #[rhai_fn(get = "rows", pure)]
    pub fn rows(survey: &mut Survey) -> Array {
        let texts = |row: [String; 11]| Dynamic::from_array(row.into_iter().map(Dynamic::from).collect());
        survey.0.borrow().rows().map(texts).collect()
    }

    /// Returns the headings of the report's table.
    ///
    /// # Example
    /// ```rhai
    /// prepare::survey("data/anna").columns.contains("bandwidth")
    /// ```
    #[rhai_fn(get = "columns", pure)]
    pub fn columns(_survey: &mut Survey) -> Array {
        engine::Survey::COLUMNS.iter().map(|name| ImmutableString::from(*name).into()).collect()
    }

    /// Returns a summary of all recordings, as strings.
    ///
    /// # Example
    /// ```rhai
    /// prepare::survey("data/anna").lines[0] == "1 recordings, 1.0 s, 0.0 % of it silence"
    /// ```
    #[rhai_fn(get = "lines", pure)]
    pub fn lines(survey: &mut Survey) -> Array {
        survey.0.borrow().lines().into_iter().map(Dynamic::from).collect()
    }
}
