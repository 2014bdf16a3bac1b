//! Recordings to training data, stage by stage, through the cache.
//!
//! ```text
//! data/<voice>/*  --decode, slices-->  0_gt_wavs, 1_16k_wavs  --f0-->       2a_f0, 2b-f0nsf
//!                                                     --content-->  3_feature768      --filelist-->  filelist.txt
//! ```
//!
//! Every stage looks in the cache by content, makes missing results in parallel, and links the results into logs/<voice> under
//! RVC's names. filelist.txt exists only while it matches the folders: it is removed before the first change and
//! written last. cache_metadata.json lists our files; others are never touched.

mod features;
mod filelist;
mod folder;
pub mod inspect;
mod length;
mod metadata;
mod recordings;
pub mod room;
mod slices;
pub mod survey;

pub use features::{content, f0};
pub use filelist::{FileList, filelist};
pub use metadata::{content_digest, speakers};
pub use slices::{check_window, slices};

use crate::assets::Store;
use crate::audio::loaded::Notice;
use crate::cache::{Cache, Object};
use crate::config::Config;
use crate::config::choices::Version;
use crate::features::Models;
use crate::files::Workspace;
use crate::task::Task;
use crate::train::data;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The folders of logs/<voice>, with RVC's names (spec A.7, B.2, C.4).
pub const GT_WAVS: &str = "0_gt_wavs";
pub const WAVS_16K: &str = "1_16k_wavs";
pub const F0_COARSE: &str = "2a_f0";
pub const F0_HZ: &str = "2b-f0nsf";
/// The list of clips with their features, in logs/<voice> (spec E.1).
const FILE_LIST: &str = "filelist.txt";

/// The folder of the content features: 3_feature768, or 3_feature256 in version 1.
pub fn content_folder(config: &Config) -> &'static str {
    if config.version == Version::V1 { "3_feature256" } else { "3_feature768" }
}

/// Raise this with every change in audio/ that can change a sample of a decoded recording.
const DECODE_VERSION: u32 = 5;

/// Counts of a stage, in recordings (slices) or clips (f0, content).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processed now.
    pub done: usize,
    /// Found in the cache, or equal to another one.
    pub cached: usize,
    /// Not usable; each was reported with a warning.
    pub skipped: usize,
}

/// One clip of a voice and its files.
#[derive(Clone, Debug)]
pub struct Clip {
    /// "<ten digits of its source's digest>_<clip>": the same samples with the same settings always get the same name.
    /// Recordings of equal sound share their clips.
    pub name: String,
    /// Speaker.
    pub sid: i64,
    pub seconds: f64,
    gt: Object,
    wav16: Object,
    f0: Option<Pitch>,
    content: Option<Object>,
}

/// The outcome of one recording, for the report of a data set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RecordingRow {
    /// The path below the voice's folder.
    pub name: String,
    /// Speaker.
    pub sid: i64,
    /// Length in seconds; None if it could not be decoded.
    pub seconds: Option<f64>,
    pub clips: usize,
    /// Total length of its clips; they overlap, so it may exceed the recording's.
    pub kept_seconds: f64,
    pub dropped: Vec<Loss>,
    /// Why it is not used.
    pub reason: Option<String>,
    /// What to do about that.
    pub hint: Option<String>,
    /// What is odd about it, although it is used.
    pub notices: Vec<Remark>,
}

/// A [`Notice`] as stored: in the cache with the decoded sound, in dataset.json, in the record of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remark {
    pub code: String,
    pub message: String,
    pub seconds: f64,
}

impl From<&Notice> for Remark {
    fn from(Notice { code, message, seconds }: &Notice) -> Self {
        Self { code: (*code).to_owned(), message: message.clone(), seconds: *seconds }
    }
}

/// Clips that were cut but not used for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    pub reason: String,
    pub count: usize,
    pub seconds: f64,
}

impl Loss {
    /// Adds `count` clips of `seconds` in total under `reason`.
    fn add(losses: &mut Vec<Self>, reason: &str, count: usize, seconds: f64) {
        match losses.iter_mut().find(|loss| loss.reason == reason) {
            Some(loss) => (loss.count, loss.seconds) = (loss.count + count, loss.seconds + seconds),
            None => losses.push(Self { reason: reason.to_owned(), count, seconds }),
        }
    }
}

impl std::fmt::Display for Loss {
    /// "3 silent".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.count, self.reason)
    }
}

#[derive(Clone, Debug)]
struct Pitch {
    coarse: Object,
    hz: Object,
}

/// A recording that produced clips.
#[derive(Clone, Debug)]
struct Source {
    shown: String,
    digest: String,
    pcm: String,
    sid: i64,
    clips: Vec<String>,
}

/// The clips of a voice: [`slices`] returns them and the later stages complete them.
pub struct Clips {
    /// logs/<voice>.
    pub folder: PathBuf,
    /// In the order of the recordings' names, then of clips.
    pub clips: Vec<Clip>,
    /// Recordings found, usable or not.
    pub recordings: usize,
    /// Counts of slicing, in recordings.
    pub counts: Counts,
    /// Recordings with new bytes: decoded, and sliced if their sound was new too.
    pub decoded: usize,
    /// Clips that were cut but not used: silent, too loud, too short, without voice, not finite.
    pub dropped: usize,
    /// Names of the speaker folders by sid; the empty name is for recordings outside them.
    pub speakers: Vec<String>,
    /// The outcome of each recording.
    pub table: Vec<RecordingRow>,
    cache: Cache,
    /// Every recording with its digest at the cut, so that the report need not read it again.
    looked_at: Vec<survey::Subject>,
    sources: Vec<Source>,
    /// The settings used so far, for cache_metadata.json.
    params: Map<String, Value>,
}

impl Clips {
    /// Total length of all clips.
    pub fn seconds(&self) -> f64 {
        self.clips.iter().map(|clip| clip.seconds).sum()
    }

    /// Total length of the ends of clips that training does not read.
    pub fn seconds_not_trained(&self) -> f64 {
        self.clips.iter().map(|clip| (clip.seconds - data::MAX_SECONDS).max(0.0)).sum()
    }

    /// Recordings that could not be used: name and reason.
    pub fn unusable(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.iter().filter_map(|row| Some((row.name.as_str(), row.reason.as_deref()?)))
    }
}

/// The whole preparation of a voice: slices, f0, content, file list.
pub fn all(
    task: &Task,
    workspace: &Workspace,
    cache: &Cache,
    voice: &str,
    recordings: &Path,
    config: &Config,
) -> Result<FileList> {
    let models = Models::new(Store::new(workspace));
    let mut clips = slices(task, workspace, cache, voice, recordings, config)?;
    if config.if_f0 {
        f0(task, &mut clips, &models, config)?;
    }
    content(task, &mut clips, &models, config)?;
    filelist(task, &mut clips, &models, config)
}

/// Why one recording or clip cannot be used, and what to do about it.
#[derive(Clone, Debug)]
struct Reason {
    message: String,
    hint: Option<String>,
}

impl Reason {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
}

impl From<&Error> for Reason {
    fn from(error: &Error) -> Self {
        Self { message: error.to_string(), hint: error.hint_text().map(str::to_owned) }
    }
}

impl std::fmt::Display for Reason {
    /// "it is damaged; copy it again".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}; {hint}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Warns about each item, up to a few hundred: nobody reads more.
fn warn_each(task: &Task, items: impl ExactSizeIterator<Item = String>) {
    const MOST: usize = 200;
    let more = items.len().saturating_sub(MOST);
    items.take(MOST).for_each(|text| task.warn(text));
    if more > 0 {
        task.warn(format!("... and {more} more like these"));
    }
}

/// "a, b, c and 4 more".
fn some_of<T: AsRef<str>>(names: &[T]) -> String {
    const MOST: usize = 5;
    let shown: Vec<&str> = names.iter().take(MOST).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
