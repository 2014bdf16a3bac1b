//! What a walk over a file's bytes finds: its streams, how much sound each has, and what their headers promise.

use super::splice::Piece;
use std::ops::Range;

/// What a header says about the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// Nothing that could be held against it.
    Nothing,
    /// The place for it was never filled in.
    Unwritten,
    /// So many bytes of sound.
    Bytes(u64),
    /// So many samples.
    Samples(u64),
}

/// One stream of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What the decoder is shown.
    pub pieces: Vec<Piece>,
    /// Bytes of coded sound in it, to tell seconds from bytes.
    pub sound_bytes: u64,
    pub promise: Promise,
    /// Whether it has less than an intact header says: it was cut off.
    pub is_cut: bool,
    /// Whether each byte of sound belongs to a packet; then what no packet holds is damage.
    pub is_all_packets: bool,
    /// The decoded samples that are to be heard; all of them if empty.
    pub heard: Vec<Range<u64>>,
    /// How many recordings were joined in it, as far as it shows.
    pub n_joined: usize,
}

impl Part {
    /// A stretch of a file as it is.
    pub fn plain(range: Range<u64>) -> Self {
        Self {
            sound_bytes: range.end.saturating_sub(range.start),
            pieces: vec![Piece::File(range)],
            promise: Promise::Nothing,
            is_cut: false,
            is_all_packets: false,
            heard: Vec::new(),
            n_joined: 1,
        }
    }
}

/// A file, divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Division {
    /// At least one.
    pub parts: Vec<Part>,
    /// Bytes that are neither sound nor known to be something else.
    pub unread: u64,
    /// Whether its end is missing, where nothing says how much there should be.
    pub is_open: bool,
    /// What is damaged, where no decoder would notice.
    pub damage: Option<String>,
    /// Whether it is of a kind that only ffmpeg reads. symphonia would look for an MP3 in it, and may find some of its sound.
    pub is_foreign: bool,
}
