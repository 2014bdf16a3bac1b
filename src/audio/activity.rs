//! Where somebody speaks: voice activity by a small network (crate earshot, its weights inside).
//!
//! The network's answer depends on the level: noise at full level is voice to it, while speech is found at any. So every recording
//! is brought to one low loudness first. Measured at -40: 0.79 to 0.86 of the quickstart's recordings is voice (pauses between words
//! are not), 0.7 of speech in pink noise at an SNR of 5 dB; of white, pink, brown and pulsed noise, hum and chords at most 0.04. What glides
//! or sings like a voice, such as a melody of one instrument, may pass for one.

use super::{loudness, resample};

/// Which detector it is, for cache keys. Change it with every change that can change an answer.
pub const NAME: &str = "earshot-1";
const RATE: u32 = 16000;
/// Samples of one answer: 16 ms.
const FRAME: usize = 256;
/// The detector's own threshold.
const VOICE: f32 = 0.5;
/// The loudness at which the detector listens. At -25 noise with a low pitch passes for voice; at -50 voice in noise is lost.
const LISTENING_LUFS: f64 = -40.0;

/// The voice in a recording, frame by frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    voiced: Vec<bool>,
}

impl Activity {
    /// Listens to a whole recording of finite samples. Silence (below -70 LUFS all through) has no voice.
    pub fn new<T: Copy + Into<f64>>(samples: &[T], sample_rate: u32) -> Self {
        let Some(lufs) = loudness::of_any_length(samples, sample_rate) else { return Self { voiced: Vec::new() } };
        let gain = 10f64.powf((LISTENING_LUFS - lufs) / 20.0) as f32;
        let mut detector = earshot::Detector::default_boxed();
        let mut frame = [0.0f32; FRAME];
        let heard = resample::resample(samples, sample_rate, RATE);
        let voiced = heard.chunks(FRAME).map(|part| {
            frame.fill(0.0);
            frame.iter_mut().zip(part).for_each(|(to, x)| *to = (x * gain).clamp(-1.0, 1.0));
            detector.predict_f32(&frame) >= VOICE
        });
        Self { voiced: voiced.collect() }
    }

    /// The share of voice in a part of the recording, 0 to 1; each frame of 16 ms counts for where its middle is.
    pub fn share(&self, from_seconds: f64, seconds: f64) -> f64 {
        let frame = |seconds: f64| {
            let frames = seconds.max(0.0) * f64::from(RATE) / FRAME as f64;
            ((frames - 0.5).ceil().max(0.0) as usize).min(self.voiced.len())
        };
        let part = &self.voiced[frame(from_seconds)..frame(from_seconds + seconds.max(0.0))];
        part.iter().filter(|voiced| **voiced).count() as f64 / part.len().max(1) as f64
    }

    /// The share of voice in the whole recording.
    pub fn whole(&self) -> f64 {
        self.share(0.0, f64::INFINITY)
    }
}
