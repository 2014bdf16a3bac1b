//! The result of walking over a file's bytes: its streams, how much sound each has, and what their headers promise.

use super::splice::Piece;
use std::ops::Range;

/// What a header promises about the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// No promise.
    Nothing,
    /// The length was never filled in.
    Unwritten,
    /// This many bytes of sound.
    Bytes(u64),
    /// This many samples.
    Samples(u64),
}

/// One stream of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The bytes that the decoder is shown.
    pub pieces: Vec<Piece>,
    /// Bytes of coded sound in it, to convert bytes to seconds.
    pub sound_bytes: u64,
    pub promise: Promise,
    /// Whether it has less than an intact header says: it was cut off.
    pub is_cut: bool,
    /// Whether each byte of sound belongs to a packet; bytes in no packet are then damage.
    pub is_all_packets: bool,
    /// The decoded samples to play; all of them if empty.
    pub played: Vec<Range<u64>>,
    /// How many recordings were concatenated in it, as far as it shows.
    pub n_joined: usize,
}

impl Part {
    /// A part of a file, unchanged.
    pub fn plain(range: Range<u64>) -> Self {
        Self {
            sound_bytes: range.end.saturating_sub(range.start),
            pieces: vec![Piece::File(range)],
            promise: Promise::Nothing,
            is_cut: false,
            is_all_packets: false,
            played: Vec::new(),
            n_joined: 1,
        }
    }
}

/// A file, divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Division {
    /// At least one.
    pub parts: Vec<Part>,
    /// Bytes that are neither sound nor known to be anything else.
    pub unread: u64,
    /// Whether its end is missing, where nothing states how much there should be.
    pub is_open: bool,
    /// Damage that no decoder would notice.
    pub damage: Option<String>,
    /// Whether only ffmpeg reads its format. symphonia would search it for an MP3, and might find some of its sound.
    pub is_foreign: bool,
}
