//! Many channels to one, as RVC's ffmpeg call mixes them.
//!
//! Source: spec A.2.

use super::loaded::Notice;
use symphonia::core::audio::{Channels, Position};

/// The mono sound of one stream, packet by packet.
#[derive(Default)]
pub(super) struct Mixdown {
    samples: Vec<f32>,
}

impl Mixdown {
    /// Appends interleaved samples of `channels`; false if there is no channel.
    pub fn push(&mut self, channels: &Channels, interleaved: &[f32]) -> bool {
        let gains = gains(channels);
        if gains.is_empty() {
            return false;
        }
        if gains.len() == 1 {
            self.samples.extend_from_slice(interleaved);
            return true;
        }
        let mix = |frame: &[f32]| frame.iter().zip(&gains).map(|(x, gain)| x * gain).sum::<f32>();
        self.samples.extend(interleaved.chunks_exact(gains.len()).map(mix));
        true
    }

    /// Appends silence.
    pub fn push_silence(&mut self, n_samples: usize) {
        self.samples.extend(std::iter::repeat_n(0.0, n_samples));
    }

    /// The samples so far.
    pub fn n_samples(&self) -> usize {
        self.samples.len()
    }

    /// The sound at `sample_rate`, and what is odd about its channels.
    pub fn finish(self, _sample_rate: u32) -> (Vec<f32>, Vec<Notice>) {
        (self.samples, Vec::new())
    }
}

/// Each channel's factor in the mono sum, in channel order: ffmpeg's for float samples, which RVC loads with (spec A.2).
///
/// Stereo is (L + R) * 0.7071, not the mean. The low-frequency channel is left out. Channels without a known place are
/// averaged, and so are layouts of under 6 channels with a low-frequency one: their header most likely never had a layout.
fn gains(channels: &Channels) -> Vec<f32> {
    const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;
    let count = channels.count();
    let front =
        Position::FRONT_LEFT | Position::FRONT_RIGHT | Position::FRONT_LEFT_CENTER | Position::FRONT_RIGHT_CENTER;
    let surround =
        Position::REAR_LEFT | Position::REAR_RIGHT | Position::REAR_CENTER | Position::SIDE_LEFT | Position::SIDE_RIGHT;
    let gain = |place: Position| match place {
        Position::FRONT_CENTER => Some(1.0),
        place if front.contains(place) => Some(HALF_POWER),
        place if surround.contains(place) => Some(0.5),
        Position::LFE1 if count >= 6 => Some(0.0),
        _ => None,
    };
    match (count, channels) {
        (1, _) => return vec![1.0],
        (2, _) => return vec![HALF_POWER; 2],
        (_, Channels::Positioned(places)) => {
            if let Some(gains) = places.iter().map(gain).collect() {
                return gains;
            }
        }
        _ => {}
    }
    vec![1.0 / count.max(1) as f32; count]
}
