//! Compares a voice's entries with its weights. Where they differ, the weights count: a network with wrong
//! sizes makes noise. Each difference is a note.

use super::variant::{HIFI_GAN, hertz, last_of_config, variant, vocoder};
use crate::config::Config;
use crate::config::choices::{EncoderName, Version};
use crate::torchfile::{Plain, TorchFile};
use crate::{Result, shown};

/// Number of values in "config".
const ENTRIES: usize = 18;
/// Most speaker names that are read; RVC has 109 rows, 110 at most.
const MOST_SPEAKERS: usize = 1000;

/// The speakers that a voice was trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speakers {
    /// Number and name of each.
    Named(Vec<(i64, String)>),
    /// The rows from 0 on that were trained.
    Counted(i64),
    /// Unknown: any row of the table may be one.
    Unknown,
}

impl Speakers {
    /// Source: WebUI since July 2026 writes "speaker_info", a list of "id" and "name"; Applio "speakers_id", a number.
    pub(super) fn of(file: &TorchFile) -> Self {
        let keys = file.entries(&["speaker_info"]).unwrap_or_default();
        let mut named: Vec<(i64, String)> = keys
            .iter()
            .take(MOST_SPEAKERS)
            .filter_map(|key| {
                let id = file.int(&["speaker_info", key, "id"])?;
                Some((id, shown::line(file.text(&["speaker_info", key, "name"])?).into_owned()))
            })
            .collect();
        named.sort();
        named.dedup_by_key(|(id, _)| *id);
        match file.int(&["speakers_id"]) {
            _ if !named.is_empty() => Self::Named(named),
            Some(n) if n > 0 => Self::Counted(n),
            _ => Self::Unknown,
        }
    }

    /// "0 anna, 1 ben"; only the numbers if there are no names.
    pub fn list(&self, rows: i64) -> String {
        let span = |n: i64| if n == 1 { "0".to_owned() } else { format!("0 to {}", n - 1) };
        match self {
            Self::Named(named) => named.iter().map(|(id, name)| format!("{id} {name}")).collect::<Vec<_>>().join(", "),
            Self::Counted(n) => span(*n),
            Self::Unknown => span(rows),
        }
    }

    /// Their number, if known.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Named(named) => Some(named.len()),
            Self::Counted(n) => usize::try_from(*n).ok(),
            Self::Unknown => None,
        }
    }

    /// Whether row `sid` of `rows` is a valid choice.
    pub fn has(&self, sid: i64, rows: i64) -> bool {
        (0..rows).contains(&sid)
            && match self {
                Self::Named(named) => named.iter().any(|(id, _)| *id == sid),
                Self::Counted(n) => sid < *n,
                Self::Unknown => true,
            }
    }
}

/// The facts about a voice that are known before its weights are read.
pub(super) struct Header {
    /// The network's sizes, from the weights.
    pub config: Config,
    /// Each entry that is missing, unusual or contradicts the weights, with the value used instead.
    pub notes: Vec<String>,
    pub content_encoder: Option<String>,
}

/// Errors: as [`variant`].
///
/// Source: spec G.3, the loaders' rules: rate from the last value of "config", speakers from the rows of emb_g, version 1 and pitch if
/// the file has no entry. Departure: they trust the entries, we the weights.
pub(super) fn header(file: &TorchFile) -> Result<Header> {
    let config = variant(file)?;
    let mut notes = Vec::new();
    notes.extend(sizes_note(file));
    notes.extend(rate_note(file, config.sample_rate));
    notes.extend(version_note(file, config.version));
    notes.extend(f0_note(file, config.if_f0));
    if let Some(stated) = file.text(&["vocoder"]).filter(|stated| vocoder_differs(stated, file)) {
        notes.push(differs("\"vocoder\"", &format!("{stated:?}"), HIFI_GAN));
    }
    let (content_encoder, note) = content_encoder(file);
    notes.extend(note);
    notes.extend(layer_note(file, config.version));
    Ok(Header { config, notes, content_encoder })
}

fn vocoder_differs(stated: &str, file: &TorchFile) -> bool {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' ', '_'], "");
    vocoder(file).is_some_and(|name| name == HIFI_GAN)
        && !["hifigan", "nsfhifigan", "default", ""].contains(&plain(stated).as_str())
}

fn differs(entry: &str, given: &str, taken: &str) -> String {
    format!("its entry {entry} is {given}, but its weights show {taken}, which is used")
}

fn sizes_note(file: &TorchFile) -> Option<String> {
    match file.entries(&["config"]) {
        None => Some("it has no entry \"config\"; rate and sizes come from its weights".into()),
        Some(entries) if entries.len() != ENTRIES => Some(format!(
            "its entry \"config\" has {} values instead of {ENTRIES}; rate and sizes come from its weights",
            entries.len()
        )),
        Some(_) => None,
    }
}

/// Other spellings of the right rate need no note.
fn rate_note(file: &TorchFile, weights: i64) -> Option<String> {
    let last = last_of_config(file)?;
    let given = file.value(&["config", &last])?;
    if hertz(given) != Some(weights) {
        return Some(differs(&format!("\"config\"[{last}], the rate,"), &plain_text(given), &format!("{weights} Hz")));
    }
    let given = file.value(&["sr"])?;
    (hertz(given) != Some(weights)).then(|| differs("\"sr\"", &plain_text(given), &format!("{weights} Hz")))
}

fn version_note(file: &TorchFile, weights: Version) -> Option<String> {
    match file.value(&["version"]) {
        // Files without it are of version 1, for every program.
        None | Some(Plain::None) if weights == Version::V1 => None,
        None | Some(Plain::None) => {
            Some(format!("it has no entry \"version\", which means v1, but its weights show {weights}, which is used"))
        }
        Some(Plain::Text(text)) if text.trim().eq_ignore_ascii_case(weights.as_str()) => None,
        Some(given) => Some(differs("\"version\"", &plain_text(given), weights.as_str())),
    }
}

fn f0_note(file: &TorchFile, weights: bool) -> Option<String> {
    let given = match file.value(&["f0"]) {
        // Files without it have pitch, for every program.
        None | Some(Plain::None) if weights => return None,
        None | Some(Plain::None) => {
            return Some(
                "it has no entry \"f0\", which means pitch, but its weights show no pitch, which is used".into(),
            );
        }
        Some(given) => given,
    };
    let truth = match given {
        Plain::Int(n) => Some(n != 0),
        Plain::Bool(b) => Some(b),
        Plain::Float(x) if x.is_finite() => Some(x != 0.0),
        Plain::Text(text) => match text.trim().to_lowercase().as_str() {
            "1" | "1.0" | "true" | "yes" => Some(true),
            "0" | "0.0" | "false" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    };
    let taken = if weights { "pitch" } else { "no pitch" };
    (truth != Some(weights)).then(|| differs("\"f0\"", &plain_text(given), taken))
}

/// The content encoder of the voice's training, if the file names it: rvc-run's name, or ours for another program's name.
fn content_encoder(file: &TorchFile) -> (Option<String>, Option<String>) {
    if let Some(name) = file.text(&["content_encoder"]) {
        return (Some(name.to_owned()), None);
    }
    let Some((key, name)) = ["embedder_model", "embedder_name"].iter().find_map(|key| Some((key, file.text(&[key])?)))
    else {
        return (None, None);
    };
    let plain = name.trim().to_lowercase().replace('_', "-");
    let ours = match plain.as_str() {
        "contentvec" | "hubert-base" | "hubert-base768" | "hubert" => Some(EncoderName::HubertBase),
        _ => EncoderName::named(&plain),
    };
    if let Some(ours) = ours {
        return (Some(ours.to_string()), None);
    }
    let note = format!(
        "its entry {key:?} names the content encoder {name:?}, which is not one of {}; hubert_base is used unless --content-encoder names another",
        EncoderName::words()
    );
    (None, Some(note))
}

/// w-okada's forks record the encoder's layer; each RVC version uses a fixed one (spec C.1).
fn layer_note(file: &TorchFile, version: Version) -> Option<String> {
    let usual = match version {
        Version::V1 => 9,
        Version::V2 => 12,
    };
    let given = file.int(&["embedder_output_layer"]).filter(|layer| *layer != usual)?;
    Some(format!(
        "its entry \"embedder_output_layer\" is {given}, but {version} uses layer {usual}; that layer is used"
    ))
}

/// A value for a message.
fn plain_text(value: Plain) -> String {
    match value {
        Plain::None => "None".into(),
        Plain::Bool(b) => (if b { "True" } else { "False" }).into(),
        Plain::Int(n) => n.to_string(),
        Plain::Big(n) => n.to_string(),
        Plain::Float(x) => format!("{x:?}"),
        Plain::Text(text) => format!("{text:?}"),
        Plain::Bytes(bytes) => format!("{} raw bytes", bytes.len()),
        Plain::List(n) | Plain::Tuple(n) | Plain::Set(n) => format!("a list of {n}"),
        Plain::Dict(n) => format!("a dictionary of {n}"),
        Plain::Tensor => "a tensor".into(),
        Plain::Object(class) => format!("an object of {}", shown::line(class)),
    }
}
