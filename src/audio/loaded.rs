//! The result of reading a recording: its sound, and notices about how it was read.

use super::Audio;

/// A recording's sound and how it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Mono, at its own rate.
    pub audio: Audio,
    /// Whether ffmpeg decoded it: then the samples depend on [`ffmpeg_version`](super::io::ffmpeg_version).
    pub by_ffmpeg: bool,
    /// Anything unusual about it; the sound is used all the same.
    pub notices: Vec<Notice>,
}

/// Something unusual about a recording that is used all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Its kind: `length.unwritten`, `length.more`, `length.less`, `parts.joined`, ...
    pub code: &'static str,
    /// One sentence with the seconds concerned; no full stop.
    pub message: String,
    /// How much sound it concerns.
    pub seconds: f64,
}
