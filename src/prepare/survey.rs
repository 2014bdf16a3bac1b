//! The report on a data set before training: measurements of each recording, totals, and whether a recipe's limits
//! are met.
//!
//! ```text
//! recordings --survey--> Survey --with_clips (after slicing), with_f0 (after f0)--> Survey --judge(Gates)--> findings
//! ```
//!
//! Measurements are cached under the digest of the file's bytes, so a second survey only reads the files.
//! [`Survey`] is plain data: its JSON is the report; [`Survey::rows`] and [`Survey::lines`] show it on a terminal.

use super::{Clips, DECODE_VERSION, Loss, Reason, Remark, recordings, some_of};
use crate::audio::measure::{self, F0Histogram, Measures};
use crate::audio::{Audio, io};
use crate::cache::{Cache, Key};
use crate::error::nearest;
use crate::files::{self, Workspace};
use crate::npy;
use crate::task::Task;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Layout of the JSON.
const SCHEMA: u32 = 1;
/// How often to retry a recording that changes while it is read.
const TRIES: usize = 3;

/// A recording to measure.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name in the report.
    pub name: String,
    /// Speaker.
    pub sid: i64,
    pub sound: Sound,
}

/// The source of a recording's samples.
#[derive(Clone, Debug)]
pub enum Sound {
    File(PathBuf),
    /// A file with a known digest: if its bytes were measured before, it is not read.
    Known {
        path: PathBuf,
        digest: String,
    },
    /// Decoded already, mono at its own rate; measured each time.
    Decoded(Audio),
}

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    pub schema: u32,
    pub totals: Totals,
    /// In the order they were given.
    pub recordings: Vec<Row>,
    pub unusable: Vec<Unusable>,
    /// Groups of names of recordings with the same samples, in any file format. Lossy copies are not found.
    pub duplicates: Vec<Vec<String>>,
    pub speakers: Vec<Speaker>,
    /// The clips, after slicing.
    pub clips: Option<Kept>,
    /// The pitch range, after f0 extraction.
    pub f0: Option<F0Histogram>,
    /// Limits that are not met; see [`Survey::judge`].
    pub findings: Vec<Finding>,
}

/// One recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub sid: i64,
    /// Total length of its clips in seconds, if it was sliced; they overlap a little.
    #[serde(default)]
    pub kept_seconds: Option<f64>,
    /// Oddities; the recording is used all the same.
    #[serde(default)]
    pub notices: Vec<Remark>,
    #[serde(flatten)]
    pub measures: Measures,
}

/// The cached measurement of a recording.
#[derive(Serialize, Deserialize)]
struct Examined {
    #[serde(default)]
    notices: Vec<Remark>,
    #[serde(flatten)]
    measures: Measures,
}

/// A recording that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unusable {
    pub name: String,
    pub sid: i64,
    /// Its length, if it could be decoded.
    pub seconds: Option<f64>,
    pub reason: String,
    /// What to do about that.
    #[serde(default)]
    pub hint: Option<String>,
}

/// All recordings of a speaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    pub sid: i64,
    /// The name of its folder; empty for recordings in the voice's folder itself.
    #[serde(default)]
    pub name: String,
    pub recordings: u64,
    pub seconds: f64,
}

/// The clips from slicing, and the losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub clips: u64,
    /// Total length of all clips; they overlap a little.
    pub seconds: f64,
    /// The part of that which training does not read, at the ends of long clips.
    #[serde(default)]
    pub seconds_not_trained: f64,
    pub dropped: Vec<Loss>,
}

/// All usable recordings together. Shares and medians count seconds, not files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Usable ones.
    pub recordings: u64,
    pub unusable: u64,
    /// Of the usable recordings.
    pub seconds: f64,
    /// Of those that repeat an earlier one.
    pub duplicate_seconds: f64,
    pub silence_seconds: f64,
    /// Seconds at each sample rate.
    pub sample_rates: BTreeMap<u32, f64>,
    pub silence_share: f64,
    pub clipped_share: f64,
    pub clipped_runs: u64,
    pub not_finite: u64,
    pub bandwidth_hz: Option<Spread>,
    pub snr_db: Option<Spread>,
    pub noise_db: Option<Spread>,
    pub loudness_lufs: Option<Spread>,
    pub peak_dbfs: Option<Spread>,
}

/// The distribution of a value over the recordings that have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub lowest: f64,
    /// Half of the seconds are in recordings up to this value.
    pub median: f64,
    pub highest: f64,
}

/// Limits of a recipe: `#{ refuse_below_seconds: 300, warn_below_clips: 100, ... }`. None is set by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// Seconds to train on: of the clips, or, before slicing, of the recordings.
    pub refuse_below_seconds: Option<f64>,
    pub warn_below_seconds: Option<f64>,
    /// Clips; not judged before slicing.
    pub refuse_below_clips: Option<f64>,
    pub warn_below_clips: Option<f64>,
    /// Of any recording.
    pub warn_below_snr_db: Option<f64>,
    pub warn_below_bandwidth_hz: Option<f64>,
    pub warn_above_clipped_share: Option<f64>,
    pub warn_above_silence_share: Option<f64>,
    /// Difference between the loudest and the softest recording, in LU.
    pub warn_above_loudness_spread_lu: Option<f64>,
    pub warn_above_duplicate_seconds: Option<f64>,
    /// Recordings that cannot be used.
    pub warn_above_unusable: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Refuse,
    Warn,
}

/// A limit that is not met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// The name of the gate.
    pub gate: String,
    /// The message: what, the value and the allowed value.
    pub message: String,
    /// The value; for limits on each recording, the worst one's.
    pub value: f64,
    pub allowed: f64,
    /// What to do.
    pub hint: String,
    /// The recordings concerned; empty for all.
    pub recordings: Vec<String>,
}

/// Measures every recording, in parallel. Recordings that cannot be decoded, and silent ones, are listed with the reason.
///
/// Errors: `cancelled`; `file.write`, `file.disk_full` of the cache.
pub fn survey(task: &Task, cache: &Cache, subjects: &[Subject]) -> Result<Survey> {
    let results = task.map("measuring recordings", subjects, |subject| match examine(task, cache, &subject.sound) {
        Ok(examined) => Ok(Ok(examined)),
        Err(e) if e.kind().concerns_one_item() => Ok(Err(Reason::from(&e))),
        Err(e) => Err(e),
    })?;
    let mut survey = Survey { schema: SCHEMA, ..Survey::default() };
    for (subject, result) in subjects.iter().zip(results) {
        let (name, sid) = (subject.name.clone(), subject.sid);
        let (seconds, Reason { message, hint }) = match result {
            Ok(Examined { measures, .. }) if measures.is_silent() => {
                (Some(measures.seconds), Reason::new("it is silent throughout"))
            }
            Ok(Examined { measures, notices }) => {
                survey.recordings.push(Row { name, sid, kept_seconds: None, notices, measures });
                continue;
            }
            Err(reason) => (None, reason),
        };
        survey.unusable.push(Unusable { name, sid, seconds, reason: message, hint });
    }
    survey.duplicates = duplicates(&survey.recordings);
    survey.speakers = speakers(&survey.recordings);
    survey.totals = totals(&survey);
    Ok(survey)
}

/// Measures every recording in a folder (relative to the workspace), as [`super::slices`] finds them.
///
/// Errors: `file.not_found`, `data.empty`, and as [`survey`].
pub fn folder(task: &Task, workspace: &Workspace, cache: &Cache, folder: &Path) -> Result<Survey> {
    let found = recordings::find(task, workspace, &workspace.path(folder))?;
    let subject = |r: recordings::Recording| Subject { name: r.shown, sid: r.sid, sound: Sound::File(r.path) };
    let subjects: Vec<Subject> = found.recordings.into_iter().map(subject).collect();
    Ok(survey(task, cache, &subjects)?.with_names(&found.speakers))
}

/// Measures the recordings that `clips` were cut from; includes [`Survey::with_clips_of`]. A recording that was measured before
/// is not read again: its digest is known from the cut.
///
/// Errors: as [`survey()`]; `file.read`, `data.damaged` for a file of f0.
pub fn of_clips(task: &Task, clips: &Clips) -> Result<Survey> {
    survey(task, &clips.cache, &clips.looked_at)?.with_names(&clips.speakers).with_clips_of(clips)
}

/// The measurements of a sound; for a file from the cache if its bytes were measured before.
fn examine(task: &Task, cache: &Cache, sound: &Sound) -> Result<Examined> {
    let (path, mut digest) = match sound {
        Sound::Decoded(audio) => return Ok(Examined { notices: Vec::new(), measures: measure::measure(audio) }),
        Sound::Known { path, digest } => (path, digest.clone()),
        Sound::File(path) => {
            // Checked first: reading a pipe would wait forever.
            let about = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
            if !about.is_file() {
                return Err(Error::new(Kind::Read, format!("{} is not a regular file", path.display())).path(path));
            }
            (path, files::digest_file(path)?)
        }
    };
    for _ in 0..TRIES {
        let key = Key::new("survey", measure::VERSION).input("recording", &digest).param("decode", DECODE_VERSION);
        let mut now = String::new();
        let examined = cache.once(task, &key, |_| {
            let loaded = io::load_with_notices(task, path)?;
            let notices = loaded.notices.iter().map(Remark::from).collect();
            let examined = Examined { notices, measures: measure::measure(&loaded.audio) };
            // Never cache anything under the digest of other bytes.
            now = files::digest_file(path)?;
            if now != digest {
                return Err(Error::new(Kind::Read, "it changes while it is being read"));
            }
            serde_json::to_value(examined).map_err(|e| Error::new(Kind::Internal, format!("measures: {e}")).source(e))
        });
        match examined {
            Ok((entry, _)) => {
                return Examined::deserialize(entry.notes()).map_err(|e| {
                    Error::new(Kind::DataDamaged, format!("the cached measures of {} are damaged: {e}", path.display()))
                        .hint("`rvc-run cache prune --keep-days 0` empties the cache; then run again")
                });
            }
            Err(_) if !now.is_empty() && now != digest => digest = now,
            Err(e) => return Err(e),
        }
    }
    Err(Error::new(Kind::Read, "it changes while it is being read").hint("run again when it is complete"))
}

fn duplicates(rows: &[Row]) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut position = HashMap::new();
    for row in rows {
        let group = *position.entry(&row.measures.pcm_sha256).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(row.name.clone());
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn speakers(rows: &[Row]) -> Vec<Speaker> {
    let mut speakers: BTreeMap<i64, Speaker> = BTreeMap::new();
    for row in rows {
        let sid = row.sid;
        let speaker = speakers.entry(sid).or_insert(Speaker { sid, name: String::new(), recordings: 0, seconds: 0.0 });
        speaker.recordings += 1;
        speaker.seconds += row.measures.seconds;
    }
    speakers.into_values().collect()
}

fn totals(survey: &Survey) -> Totals {
    let rows = &survey.recordings;
    let sum = |of: fn(&Measures) -> f64| rows.iter().map(|row| of(&row.measures)).sum::<f64>();
    let spread = |of: fn(&Measures) -> Option<f64>| {
        Spread::new(rows.iter().filter_map(|row| Some((of(&row.measures)?, row.measures.seconds))).collect())
    };
    let mut sample_rates = BTreeMap::new();
    let mut seen = std::collections::HashSet::new();
    let mut duplicate_seconds = 0.0;
    for Row { measures, .. } in rows {
        *sample_rates.entry(measures.sample_rate).or_default() += measures.seconds;
        if !seen.insert(&measures.pcm_sha256) {
            duplicate_seconds += measures.seconds;
        }
    }
    let seconds = sum(|m| m.seconds);
    let share = |part: f64| if seconds > 0.0 { part / seconds } else { 0.0 };
    let silence_seconds = sum(|m| m.silence_share * m.seconds);
    Totals {
        recordings: rows.len() as u64,
        unusable: survey.unusable.len() as u64,
        seconds,
        duplicate_seconds,
        silence_seconds,
        sample_rates,
        silence_share: share(silence_seconds),
        clipped_share: share(sum(|m| m.clipped_share * m.seconds)),
        clipped_runs: rows.iter().map(|row| row.measures.clipped_runs).sum(),
        not_finite: rows.iter().map(|row| row.measures.not_finite).sum(),
        bandwidth_hz: spread(|m| m.bandwidth_hz),
        snr_db: spread(|m| m.snr_db),
        noise_db: spread(|m| m.noise_db),
        loudness_lufs: spread(|m| m.loudness_lufs),
        peak_dbfs: spread(|m| m.peak_dbfs),
    }
}

impl Spread {
    /// Of values and their weights; none of nothing.
    fn new(mut values: Vec<(f64, f64)>) -> Option<Self> {
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
        let mut below = 0.0;
        let median = values.iter().find(|(_, weight)| {
            below += weight;
            below >= half
        });
        Some(Self { lowest: values.first()?.0, median: median?.0, highest: values.last()?.0 })
    }
}

impl Survey {
    /// The headings of [`Survey::rows`].
    pub const COLUMNS: [&str; 11] =
        ["recording", "seconds", "kept", "rate", "bandwidth", "clipped", "noise", "SNR", "loudness", "silence", "odd"];

    fn with_names(mut self, speakers: &[String]) -> Self {
        for speaker in &mut self.speakers {
            let name = usize::try_from(speaker.sid).ok().and_then(|sid| speakers.get(sid));
            speaker.name = name.cloned().unwrap_or_default();
        }
        self
    }

    /// The report with the number and total seconds of the clips, and the losses.
    #[must_use]
    pub fn with_clips(mut self, clips: usize, seconds: f64, dropped: &[Loss]) -> Self {
        self.clips = Some(Kept { clips: clips as u64, seconds, seconds_not_trained: 0.0, dropped: dropped.to_vec() });
        self
    }

    /// The report with the outcome of each recording in `clips`, and with their f0 as far as it was extracted.
    ///
    /// Errors: `file.read`, `data.damaged` for a file of f0.
    pub fn with_clips_of(self, clips: &Clips) -> Result<Self> {
        let mut dropped = Vec::new();
        for loss in clips.table.iter().flat_map(|row| &row.dropped) {
            Loss::add(&mut dropped, &loss.reason, loss.count, loss.seconds);
        }
        let mut survey = self.with_clips(clips.clips.len(), clips.seconds(), &dropped);
        if let Some(kept) = &mut survey.clips {
            kept.seconds_not_trained = clips.seconds_not_trained();
        }
        let kept: HashMap<&str, f64> = clips.table.iter().map(|row| (row.name.as_str(), row.kept_seconds)).collect();
        for row in &mut survey.recordings {
            row.kept_seconds = kept.get(row.name.as_str()).copied();
        }
        let mut f0 = Vec::new();
        for pitch in clips.clips.iter().filter_map(|clip| clip.f0.as_ref()) {
            f0.extend(npy::read_f64(&pitch.hz.path)?.into_iter().map(|hz| hz as f32));
        }
        Ok(if f0.is_empty() { survey } else { survey.with_f0(f0) })
    }

    /// The report with the f0 of all frames, in Hz, 0 for unvoiced.
    #[must_use]
    pub fn with_f0(mut self, f0: impl IntoIterator<Item = f32>) -> Self {
        self.f0 = Some(measure::f0_histogram(f0));
        self
    }

    /// The report with the findings of these limits, replacing earlier findings; refusals first.
    #[must_use]
    pub fn judge(mut self, gates: &Gates) -> Self {
        self.findings = gates.findings(&self);
        self
    }

    /// An error if a limit refuses the data; all refusals are in the message.
    ///
    /// Errors: `data.empty`.
    pub fn check(&self) -> Result<()> {
        let refused: Vec<&Finding> = self.findings.iter().filter(|f| f.severity == Severity::Refuse).collect();
        let Some(first) = refused.first() else { return Ok(()) };
        let messages: Vec<&str> = refused.iter().map(|finding| finding.message.as_str()).collect();
        Err(Error::new(Kind::DataEmpty, format!("the data set is refused: {}", messages.join("; "))).hint(&first.hint))
    }

    /// A line of the terminal's table for each usable recording, under [`Survey::COLUMNS`].
    pub fn rows(&self) -> impl Iterator<Item = [String; 11]> {
        let db = |value: Option<f64>| value.map_or("-".to_owned(), |db| format!("{db:.1}"));
        // "length less": the sentence follows below the table.
        let codes = |notices: &[Remark]| {
            notices.iter().map(|notice| notice.code.replace(['.', '_'], " ")).collect::<Vec<_>>().join(", ")
        };
        self.recordings.iter().map(move |Row { name, kept_seconds, notices, measures: m, .. }| {
            [
                name.clone(),
                format!("{:.1}", m.seconds),
                db(*kept_seconds),
                m.sample_rate.to_string(),
                m.bandwidth_hz.map_or("-".to_owned(), |hz| format!("{hz:.0}")),
                if m.clipped_runs == 0 {
                    "-".to_owned()
                } else {
                    format!("{} ({})", percent(m.clipped_share), m.clipped_runs)
                },
                db(m.noise_db),
                db(m.snr_db),
                db(m.loudness_lufs),
                percent(m.silence_share),
                codes(notices),
            ]
        })
    }

    /// The totals over all recordings, a line each.
    pub fn lines(&self) -> Vec<String> {
        let t = &self.totals;
        let mut lines = vec![format!(
            "{} recordings, {:.1} s, {} of it silence",
            t.recordings,
            t.seconds,
            percent(t.silence_share)
        )];
        if self.speakers.len() > 1 {
            let name = |s: &Speaker| if s.name.is_empty() { s.sid.to_string() } else { s.name.clone() };
            let each = self.speakers.iter().map(|s| format!("{}: {:.1} s", name(s), s.seconds)).collect::<Vec<_>>();
            lines.push(format!("{} speakers ({})", each.len(), each.join(", ")));
        }
        if let Some(kept) = &self.clips {
            lines.push(format!("{} clips, {:.1} s in all", kept.clips, kept.seconds));
            if kept.seconds_not_trained > 0.0 {
                lines.push(format!("not trained on: {:.1} s at the ends of long clips", kept.seconds_not_trained));
            }
            lines.extend(kept.dropped.iter().map(|loss| format!("not used: {loss} ({:.1} s)", loss.seconds)));
        }
        let spreads = [
            ("bandwidth", "Hz", 0, t.bandwidth_hz),
            ("SNR", "dB", 1, t.snr_db),
            ("noise", "dB", 1, t.noise_db),
            ("loudness", "LUFS", 1, t.loudness_lufs),
            ("peak", "dBFS", 1, t.peak_dbfs),
        ];
        for (what, unit, digits, spread) in spreads {
            if let Some(Spread { lowest, median, highest }) = spread {
                lines.push(format!("{what}: {lowest:.digits$} to {highest:.digits$} {unit}, median {median:.digits$}"));
            }
        }
        if t.clipped_runs > 0 {
            lines.push(format!("clipped: {} flat tops, {} of the samples", t.clipped_runs, percent(t.clipped_share)));
        }
        if t.not_finite > 0 {
            lines.push(format!("{} samples are NaN or infinite", t.not_finite));
        }
        if let Some(F0Histogram { median_hz: Some(median), low_hz: Some(low), high_hz: Some(high), .. }) = self.f0 {
            lines.push(format!("f0: {low:.0} to {high:.0} Hz (5 % to 95 %), median {median:.0}"));
        }
        lines.extend(self.duplicates.iter().map(|names| format!("the same recording: {}", some_of(names))));
        if self.clips.is_some() {
            // Warnings gave the reasons when the clips were cut.
            let names: Vec<&str> = self.unusable.iter().map(|one| one.name.as_str()).collect();
            lines.extend((!names.is_empty()).then(|| format!("not usable: {}", some_of(&names))));
            return lines;
        }
        let odd = |row: &Row| -> Vec<String> {
            row.notices.iter().map(|notice| format!("{}: {}", row.name, notice.message)).collect()
        };
        lines.extend(self.recordings.iter().flat_map(odd));
        lines.extend(self.unusable.iter().map(|u| {
            let reason = Reason { message: u.reason.clone(), hint: u.hint.clone() };
            format!("not usable: {}: {reason}", u.name)
        }));
        lines
    }

    /// Of the clips, or before slicing of the recordings.
    fn kept_seconds(&self) -> f64 {
        self.clips.as_ref().map_or(self.totals.seconds, |kept| kept.seconds)
    }
}

fn percent(share: f64) -> String {
    format!("{:.*} %", if share > 0.0 && share < 0.01 { 3 } else { 1 }, share * 100.0)
}

/// Highest value of each limit. The lowest is 0 for all.
const HIGHEST: [(&str, f64); 11] = [
    ("refuse_below_seconds", 1e7),
    ("warn_below_seconds", 1e7),
    ("refuse_below_clips", 1e7),
    ("warn_below_clips", 1e7),
    ("warn_below_snr_db", 120.0),
    ("warn_below_bandwidth_hz", 96000.0),
    ("warn_above_clipped_share", 1.0),
    ("warn_above_silence_share", 1.0),
    ("warn_above_loudness_spread_lu", 120.0),
    ("warn_above_duplicate_seconds", 1e7),
    ("warn_above_unusable", 1e7),
];

impl Gates {
    /// Limits from a recipe's map.
    ///
    /// Errors: `config.unknown_key` with the nearest name; `config.value` with the given and the allowed value.
    pub fn from_json(given: &Map<String, Value>) -> Result<Self> {
        for (name, value) in given {
            let Some((_, highest)) = HIGHEST.iter().find(|(known, _)| known == name) else {
                let names = || HIGHEST.iter().map(|(known, _)| *known);
                let hint = match nearest(name, names()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("the limits are {}", names().collect::<Vec<_>>().join(", ")),
                };
                return Err(Error::new(Kind::ConfigUnknownKey, format!("there is no limit {name:?}")).hint(hint));
            };
            if !value.is_null() && !value.as_f64().is_some_and(|value| (0.0..=*highest).contains(&value)) {
                let message = format!("{name} is {value}, but must be a number from 0 to {highest}");
                return Err(Error::new(Kind::ConfigValue, message));
            }
        }
        serde_json::from_value(Value::Object(given.clone()))
            .map_err(|e| Error::new(Kind::ConfigValue, format!("limits of a data set: {e}")).source(e))
    }

    fn findings(&self, survey: &Survey) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.amounts(survey, &mut findings);
        self.each_recording(survey, &mut findings);
        self.all_recordings(survey, &mut findings);
        findings.sort_by_key(|finding| finding.severity != Severity::Refuse);
        findings
    }

    /// Findings on seconds and clips. A refusal replaces a warning.
    fn amounts(&self, survey: &Survey, findings: &mut Vec<Finding>) {
        let mut below = |what: &str, value: f64, gates: [(&str, Severity, Option<f64>); 2]| {
            let broken = gates.into_iter().find_map(|(gate, severity, allowed)| {
                let allowed = allowed.filter(|allowed| value < *allowed)?;
                // Rounded down, or 299.96 would read as the recommended 300.
                let shown = (value * 10.0).floor() / 10.0;
                let message = format!("there are {shown} {what}, but at least {allowed} are recommended");
                Some(Finding::new(severity, gate, message, value, allowed, "add recordings of the voice"))
            });
            findings.extend(broken);
        };
        below(
            // Clips overlap, so their total is not the recordings' length.
            if survey.clips.is_some() { "seconds of clips" } else { "seconds of recordings" },
            survey.kept_seconds(),
            [
                ("refuse_below_seconds", Severity::Refuse, self.refuse_below_seconds),
                ("warn_below_seconds", Severity::Warn, self.warn_below_seconds),
            ],
        );
        if let Some(kept) = &survey.clips {
            below(
                "clips",
                kept.clips as f64,
                [
                    ("refuse_below_clips", Severity::Refuse, self.refuse_below_clips),
                    ("warn_below_clips", Severity::Warn, self.warn_below_clips),
                ],
            );
        }
    }

    fn each_recording(&self, survey: &Survey, findings: &mut Vec<Finding>) {
        let gates: [Each; 4] = [
            Each {
                gate: "warn_below_snr_db",
                allowed: self.warn_below_snr_db,
                is_below: true,
                what: "SNR in dB",
                of: |m| m.snr_db,
                hint: "record with less background noise, or denoise; speech without pauses also looks noisy",
            },
            Each {
                gate: "warn_below_bandwidth_hz",
                allowed: self.warn_below_bandwidth_hz,
                is_below: true,
                what: "true bandwidth in Hz",
                of: |m| m.bandwidth_hz,
                hint: "it was recorded or stored at a lower sample rate, so the voice will sound dull; find the original, or train at a lower rate",
            },
            Each {
                gate: "warn_above_clipped_share",
                allowed: self.warn_above_clipped_share,
                is_below: false,
                what: "clipped share",
                of: |m| Some(m.clipped_share),
                hint: "record at a lower level; clipped peaks cannot be restored",
            },
            Each {
                gate: "warn_above_silence_share",
                allowed: self.warn_above_silence_share,
                is_below: false,
                what: "share of silence",
                of: |m| Some(m.silence_share),
                hint: "below -42 dB counts as silence, which the slicer cuts out; make soft recordings louder",
            },
        ];
        findings.extend(gates.iter().filter_map(|gate| gate.judge(survey)));
    }

    fn all_recordings(&self, survey: &Survey, findings: &mut Vec<Finding>) {
        let t = &survey.totals;
        let spread = t.loudness_lufs.map_or(0.0, |spread| spread.highest - spread.lowest);
        let mut above = |gate, allowed: Option<f64>, value: f64, message: String, hint: &str, names: Vec<String>| {
            if let Some(allowed) = allowed.filter(|allowed| value > *allowed) {
                let message = format!("{message}, but at most {allowed} is allowed");
                let finding = Finding::new(Severity::Warn, gate, message, value, allowed, hint);
                findings.push(Finding { recordings: names, ..finding });
            }
        };
        above(
            "warn_above_loudness_spread_lu",
            self.warn_above_loudness_spread_lu,
            spread,
            format!("the loudness of the recordings differs by {spread:.1} LU"),
            "normalise the loudness",
            Vec::new(),
        );
        let copies = survey.duplicates.iter().flat_map(|group| group.iter().skip(1).cloned()).collect();
        above(
            "warn_above_duplicate_seconds",
            self.warn_above_duplicate_seconds,
            t.duplicate_seconds,
            format!("{:.1} seconds are duplicates", t.duplicate_seconds),
            "remove the copies; training would learn them twice",
            copies,
        );
        above(
            "warn_above_unusable",
            self.warn_above_unusable,
            t.unusable as f64,
            format!("{} recordings cannot be used", t.unusable),
            "convert them to flac or wav, or remove them",
            survey.unusable.iter().map(|u| u.name.clone()).collect(),
        );
    }
}

/// A limit for every recording.
struct Each {
    gate: &'static str,
    allowed: Option<f64>,
    is_below: bool,
    what: &'static str,
    /// None counts as met: it could not be measured.
    of: fn(&Measures) -> Option<f64>,
    hint: &'static str,
}

impl Each {
    fn judge(&self, survey: &Survey) -> Option<Finding> {
        let allowed = self.allowed?;
        let sign = if self.is_below { 1.0 } else { -1.0 };
        let value = |row: &Row| (self.of)(&row.measures).filter(|value| sign * value < sign * allowed);
        let mut broken: Vec<(f64, &Row)> =
            survey.recordings.iter().filter_map(|row| Some((value(row)?, row))).collect();
        // Worst first.
        broken.sort_by(|a, b| (sign * a.0).total_cmp(&(sign * b.0)));
        let (worst, _) = *broken.first()?;
        let names: Vec<String> = broken.iter().map(|(_, row)| row.name.clone()).collect();
        let (side, what) = (if self.is_below { "below" } else { "above" }, self.what);
        let digits = if worst.abs() < 1.0 { 4 } else { 1 };
        let message = format!(
            "{} of {} recordings have a {what} {side} {allowed}, the worst {worst:.digits$}: {}",
            names.len(),
            survey.recordings.len(),
            some_of(&names)
        );
        let finding = Finding::new(Severity::Warn, self.gate, message, worst, allowed, self.hint);
        Some(Finding { recordings: names, ..finding })
    }
}

impl Finding {
    fn new(severity: Severity, gate: &str, message: String, value: f64, allowed: f64, hint: &str) -> Self {
        let (gate, hint) = (gate.to_owned(), hint.to_owned());
        Self { severity, gate, message, value, allowed, hint, recordings: Vec::new() }
    }
}
