//! What reading a recording gives: its sound, and what a user should know about how it was read.

use super::Audio;

/// A recording's sound and how it was come by.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Mono, at its own rate.
    pub audio: Audio,
    /// Whether ffmpeg decoded it: then the samples depend on [`ffmpeg_version`](super::io::ffmpeg_version).
    pub by_ffmpeg: bool,
    /// What is odd about it; the sound is used all the same.
    pub notices: Vec<Notice>,
}

/// Something odd about a recording that is used all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Its kind: `length.unwritten`, `length.more`, `length.less`, `parts.joined`, ...
    pub code: &'static str,
    /// One sentence, with the seconds; no full stop.
    pub message: String,
    /// How much sound it is about.
    pub seconds: f64,
}
