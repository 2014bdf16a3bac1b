//! Where somebody speaks: voice activity by a small network (crate earshot, its weights inside).
//!
//! The network's answer depends on the level: at full level it takes noise for voice, while it finds speech at any level. So every recording
//! is first brought to one low loudness. Measured at -40 LUFS: 0.79 to 0.86 of the quickstart's recordings is voice (the pauses between words
//! are not), and 0.7 of speech in pink noise at an SNR of 5 dB; at most 0.04 of white, pink, brown and pulsed noise, hum and chords. A sound that
//! glides or sings like a voice, such as a melody on one instrument, may count as voice.

use super::{loudness, resample};

/// Identifies the detector in cache keys. Change it with every change that can change a result.
pub const NAME: &str = "earshot-1";
const RATE: u32 = 16000;
/// Samples per frame: 16 ms.
const FRAME: usize = 256;
/// The detector's own threshold.
const VOICE: f32 = 0.5;
/// The loudness in LUFS at which the detector runs. At -25 noise with a low pitch counts as voice; at -50 voice in noise is missed.
const LISTENING_LUFS: f64 = -40.0;

/// The voice in a recording, frame by frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    voiced: Vec<bool>,
}

impl Activity {
    /// Analyses a whole recording of finite samples. Silence (below -70 LUFS throughout) has no voice.
    pub fn new<T: Copy + Into<f64>>(samples: &[T], sample_rate: u32) -> Self {
        let Some(lufs) = loudness::of_any_length(samples, sample_rate) else { return Self { voiced: Vec::new() } };
        let gain = 10f64.powf((LISTENING_LUFS - lufs) / 20.0) as f32;
        let mut detector = earshot::Detector::default_boxed();
        let mut frame = [0.0f32; FRAME];
        let resampled = resample::resample(samples, sample_rate, RATE);
        let voiced = resampled.chunks(FRAME).map(|part| {
            frame.fill(0.0);
            frame.iter_mut().zip(part).for_each(|(to, x)| *to = (x * gain).clamp(-1.0, 1.0));
            detector.predict_f32(&frame) >= VOICE
        });
        Self { voiced: voiced.collect() }
    }

    /// The share of voice in a part of the recording, 0 to 1; each frame of 16 ms belongs to the part that contains its middle.
    pub fn share(&self, from_seconds: f64, seconds: f64) -> f64 {
        let frame = |seconds: f64| {
            let frames = seconds.max(0.0) * f64::from(RATE) / FRAME as f64;
            ((frames - 0.5).ceil().max(0.0) as usize).min(self.voiced.len())
        };
        let part = &self.voiced[frame(from_seconds)..frame(from_seconds + seconds.max(0.0))];
        part.iter().filter(|voiced| **voiced).count() as f64 / part.len().max(1) as f64
    }

    /// The share of voice in the whole recording.
    pub fn total_share(&self) -> f64 {
        self.share(0.0, f64::INFINITY)
    }
}
