//! How high a voice is, from its f0 frames.

use serde::{Deserialize, Serialize};

/// Semitones are MIDI notes: A4, 440 Hz, is 69.
const A4_HZ: f64 = 440.0;
const A4: f64 = 69.0;
/// Notes outside 0 to 127 (8.2 Hz to 12.5 kHz) count as the nearest note.
const NOTES: usize = 128;

/// How often a voice has each pitch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct F0Histogram {
    /// Frames with and without pitch.
    pub frames: u64,
    pub voiced: u64,
    /// MIDI note (A4 = 69) of the first count.
    pub first_note: u64,
    /// Voiced frames by semitone, from the lowest that occurs to the highest, including empty semitones between them.
    pub semitones: Vec<u64>,
    /// MIDI octave of the first count; octave 4 is C4 (261.6 Hz) to B4.
    pub first_octave: i64,
    /// Voiced frames by octave.
    pub octaves: Vec<u64>,
    /// Median of the voiced frames, in Hz; None without voiced frames.
    pub median_hz: Option<f64>,
    /// The 5th and 95th percentile, which exclude a tracker's octave errors.
    pub low_hz: Option<f64>,
    pub high_hz: Option<f64>,
}

/// The histogram of f0 in Hz by frame; 0 (or any value that is not a frequency) is unvoiced.
pub fn f0_histogram(f0: impl IntoIterator<Item = f32>) -> F0Histogram {
    let mut frames = 0;
    let mut voiced = Vec::new();
    for hz in f0 {
        frames += 1;
        if hz.is_finite() && hz > 0.0 {
            voiced.push(hz);
        }
    }
    voiced.sort_by(f32::total_cmp);
    let mut counts = [0u64; NOTES];
    for hz in &voiced {
        let note = A4 + 12.0 * (f64::from(*hz) / A4_HZ).log2();
        counts[(note.round().max(0.0) as usize).min(NOTES - 1)] += 1;
    }
    let first = counts.iter().position(|n| *n > 0).unwrap_or(0);
    let end = counts.iter().rposition(|n| *n > 0).map_or(first, |last| last + 1);
    let octaves = if end > first { first / 12..(end - 1) / 12 + 1 } else { 0..0 };
    let octave = |octave: usize| counts[octave * 12..NOTES.min(octave * 12 + 12)].iter().sum();
    let at = |share: f64| voiced.get((share * voiced.len() as f64) as usize).map(|hz| f64::from(*hz));
    F0Histogram {
        frames,
        voiced: voiced.len() as u64,
        first_note: first as u64,
        semitones: counts[first..end].to_vec(),
        first_octave: octaves.start as i64 - 1,
        octaves: octaves.map(octave).collect(),
        median_hz: at(0.5),
        low_hz: at(0.05),
        high_hz: at(0.95),
    }
}
