//! Many channels to one, as RVC's ffmpeg call mixes them; but where two channels cancel each other, or one is dead, the better one
//! alone, with a notice.
//!
//! Everything is decided while the packets pass, so that no second decode is needed: at most [`MOST_WAITING`] frames are kept in both
//! channels, or, as long as one channel has been silent from the beginning on, all frames.
//!
//! Source: spec A.2. Departure: RVC's mix of a recording whose right channel is the left one turned over is silence.

use super::loaded::Notice;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use symphonia::core::audio::{Channels, Position};

/// Frames that are judged together: 21 ms at 48 kHz.
const BLOCK: usize = 1024;
/// Blocks in a row that must cancel until it is believed, and be heard until it is believed to be over: a third of a second at 48 kHz.
/// Fewer would take single tones of real stereo for a fault, more would lose words.
const BELIEVED: usize = 16;
/// Frames that wait for that at most, pauses included.
const MOST_WAITING: usize = 1 << 18;
/// Mean power below which a block says nothing: -60 dB re full scale, or 25 dB below the loudest so far, where noise is its own in
/// each channel.
const QUIET: f64 = 1e-6;
const FAR_BELOW: f64 = 3e-3;
/// Power of the mix as part of the louder channel's: cancelled below -12 dB, heard above -6 dB. Channels that have nothing to do with
/// each other give at least -3 dB, equal ones +3 dB.
const CANCELLED: f64 = 1.0 / 16.0;
const HEARD: f64 = 1.0 / 4.0;
/// Mean power of a dead channel's loudest block at most: -55 dB re full scale, the noise of an input with nothing plugged in ...
const DEAD: f64 = 3.2e-6;
/// ... and how much more the other one's must have: 30 dB.
const ALIVE: f64 = 1e3;

const SIDES: [&str; 2] = ["left", "right"];

/// The mono sound of one stream, packet by packet.
#[derive(Default)]
pub(super) struct Mixdown {
    samples: Vec<f32>,
    /// From the first packet of two channels on, until one of another number.
    pair: Option<Pair>,
    alone: Alone,
}

/// Frames for which the left or the right channel alone was taken.
#[derive(Default)]
struct Alone {
    inverted: [usize; 2],
    dead: [usize; 2],
}

impl Mixdown {
    /// Appends interleaved samples of `channels`; false if there is no channel.
    pub fn push(&mut self, channels: &Channels, interleaved: &[f32]) -> bool {
        if channels.count() == 2 {
            self.pair.get_or_insert_default().push(interleaved, &mut self.samples, &mut self.alone);
            return true;
        }
        self.settle();
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
        let Some(pair) = &mut self.pair else {
            return self.samples.extend(std::iter::repeat_n(0.0, n_samples));
        };
        let silence = [0.0; 2 * BLOCK];
        let mut left = n_samples;
        while left > 0 {
            let now = left.min(BLOCK);
            pair.push(&silence[..2 * now], &mut self.samples, &mut self.alone);
            left -= now;
        }
    }

    /// The samples so far.
    pub fn n_samples(&self) -> usize {
        self.samples.len() + self.pair.as_ref().map_or(0, Pair::n_frames)
    }

    /// The sound at `sample_rate`, and what is odd about its channels.
    pub fn finish(mut self, sample_rate: u32) -> (Vec<f32>, Vec<Notice>) {
        self.settle();
        let seconds = |frames: usize| frames as f64 / f64::from(sample_rate.max(1));
        let mut notices = Vec::new();
        for (side, name) in SIDES.into_iter().enumerate() {
            let (other, inverted) = (SIDES[1 - side], seconds(self.alone.inverted[side]));
            if inverted > 0.0 {
                let message = format!(
                    "its channels are phase-inverted for {inverted:.2} s, so that their mix would be silent; only the {name} one is used there"
                );
                notices.push(Notice { code: "channels.inverted", message, seconds: inverted });
            }
            let dead = seconds(self.alone.dead[side]);
            if dead > 0.0 {
                let message =
                    format!("its {other} channel is silent for all of its {dead:.2} s; only the {name} one is used");
                notices.push(Notice { code: "channels.dead", message, seconds: dead });
            }
        }
        (self.samples, notices)
    }

    fn settle(&mut self) {
        if let Some(pair) = self.pair.take() {
            pair.finish(&mut self.samples, &mut self.alone);
        }
    }
}

/// Two channels on their way into one. Frames are interleaved everywhere.
struct Pair {
    /// The block that is not complete.
    block: Vec<f32>,
    /// All so far, as long as one of the channels was dead; None once both were alive.
    held: Option<Vec<f32>>,
    /// Power of each channel's loudest block.
    loudest: [f64; 2],
    /// Power of the loudest block that was judged.
    level: f64,
    /// The channel that is taken now; None for the mix.
    side: Option<usize>,
    /// Blocks that speak against `side`, and pauses behind them; how many do; the channels' power in those that cancel.
    waiting: Vec<f32>,
    against: usize,
    power: [f64; 2],
    /// Whether the mix was heard anywhere.
    was_heard: bool,
}

impl Default for Pair {
    fn default() -> Self {
        Self {
            block: Vec::with_capacity(2 * BLOCK),
            held: Some(Vec::new()),
            loudest: [0.0; 2],
            level: 0.0,
            side: None,
            waiting: Vec::new(),
            against: 0,
            power: [0.0; 2],
            was_heard: false,
        }
    }
}

impl Pair {
    fn n_frames(&self) -> usize {
        (self.block.len() + self.held.as_ref().map_or(0, Vec::len) + self.waiting.len()) / 2
    }

    fn push(&mut self, frames: &[f32], out: &mut Vec<f32>, alone: &mut Alone) {
        let mut rest = &frames[..frames.len() / 2 * 2];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(2 * BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            rest = later;
            if self.block.len() == 2 * BLOCK {
                let block = std::mem::take(&mut self.block);
                self.add(&block, out, alone);
                self.block = block;
                self.block.clear();
            }
        }
    }

    fn add(&mut self, block: &[f32], out: &mut Vec<f32>, alone: &mut Alone) {
        let Some(held) = &mut self.held else { return self.judge(block, out, alone) };
        held.extend_from_slice(block);
        let [left, right, _] = powers(block);
        self.loudest = [self.loudest[0].max(left), self.loudest[1].max(right)];
        if self.loudest.iter().all(|power| *power > DEAD) {
            self.release(out, alone);
        }
    }

    /// Both channels are alive: all that was held is judged.
    fn release(&mut self, out: &mut Vec<f32>, alone: &mut Alone) {
        for block in self.held.take().unwrap_or_default().chunks(2 * BLOCK) {
            self.judge(block, out, alone);
        }
    }

    /// Passes a block on, or lets it wait until it is believed what it says against the present state.
    fn judge(&mut self, block: &[f32], out: &mut Vec<f32>, alone: &mut Alone) {
        let [left, right, mix] = powers(block);
        let loud = left.max(right);
        self.level = self.level.max(loud);
        let says_much = loud > QUIET && loud > self.level * FAR_BELOW;
        let (cancels, is_heard) = (says_much && mix < loud * CANCELLED, says_much && mix > loud * HEARD);
        self.was_heard |= is_heard;
        if cancels {
            self.power = [self.power[0] + left, self.power[1] + right];
        }
        let is_against = if self.side.is_none() { cancels } else { is_heard };
        let waits = is_against || !says_much && !self.waiting.is_empty() && self.waiting.len() < 2 * MOST_WAITING;
        if !waits {
            self.pass_waiting(out, alone);
            return self.pass(block, out, alone);
        }
        self.waiting.extend_from_slice(block);
        self.against += usize::from(is_against);
        if self.against >= BELIEVED {
            self.turn(out, alone);
        }
    }

    /// Takes the other state, from the first block that spoke for it on.
    fn turn(&mut self, out: &mut Vec<f32>, alone: &mut Alone) {
        self.side = if self.side.is_none() { Some(usize::from(self.power[1] > self.power[0])) } else { None };
        self.pass_waiting(out, alone);
    }

    fn pass_waiting(&mut self, out: &mut Vec<f32>, alone: &mut Alone) {
        let waiting = std::mem::take(&mut self.waiting);
        self.pass(&waiting, out, alone);
        self.against = 0;
    }

    fn pass(&self, frames: &[f32], out: &mut Vec<f32>, alone: &mut Alone) {
        match self.side {
            None => out.extend(frames.chunks_exact(2).map(mixed)),
            // As loud as the mix of both would be, were one not turned over.
            Some(side) => {
                out.extend(frames.chunks_exact(2).map(|frame| frame[side] * SQRT_2));
                alone.inverted[side] += frames.len() / 2;
            }
        }
    }

    fn finish(mut self, out: &mut Vec<f32>, alone: &mut Alone) {
        let block = std::mem::take(&mut self.block);
        self.add(&block, out, alone);
        let [left, right] = self.loudest;
        if let Some(held) = &self.held {
            let side = usize::from(right > left);
            if left.min(right) * ALIVE < left.max(right) && left.max(right) > QUIET {
                out.extend(held.chunks_exact(2).map(|frame| frame[side]));
                alone.dead[side] += held.len() / 2;
                return;
            }
            self.release(out, alone);
        }
        // Too short to be believed, but nothing speaks against it either.
        if self.side.is_none() && self.against > 0 && !self.was_heard {
            self.turn(out, alone);
        }
        self.pass_waiting(out, alone);
    }
}

/// Mean power of the left channel, the right one and their mix; infinite if a sample is not finite, which says nothing then.
fn powers(block: &[f32]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for frame in block.chunks_exact(2) {
        for (sum, x) in sums.iter_mut().zip([frame[0], frame[1], mixed(frame)]) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    sums.map(|sum| if sum.is_finite() { sum / (block.len() / 2).max(1) as f64 } else { f64::INFINITY })
}

/// RVC's mix of two channels: (L + R) * 0.7071, not the mean.
fn mixed(frame: &[f32]) -> f32 {
    frame.iter().map(|x| x * FRAC_1_SQRT_2).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 16000;

    /// `seconds` of a voice-like sound, the left channel; `number` makes it another one.
    fn voice(seconds: f64, number: f64) -> Vec<f32> {
        let n = (seconds * f64::from(RATE)) as usize;
        let sample = |i: usize| {
            let t = i as f64 / f64::from(RATE);
            let level = 0.3 * (2.5 * t + number).sin().abs();
            (level * ((150.0 + 20.0 * number) * std::f64::consts::TAU * t + 3.0 * (5.0 * t).sin()).sin()) as f32
        };
        (0..n).map(sample).collect()
    }

    fn stereo(left: &[f32], right: &[f32]) -> Vec<f32> {
        left.iter().zip(right).flat_map(|(l, r)| [*l, *r]).collect()
    }

    fn times(x: &[f32], gain: f32) -> Vec<f32> {
        x.iter().map(|x| x * gain).collect()
    }

    /// What comes out, pushed in packets of odd sizes.
    fn mixdown(interleaved: &[f32]) -> (Vec<f32>, Vec<Notice>) {
        let mut mixdown = Mixdown::default();
        let channels = Channels::Positioned(Position::FRONT_LEFT | Position::FRONT_RIGHT);
        for (i, packet) in interleaved.chunks(2 * 577).enumerate() {
            assert_eq!(mixdown.n_samples(), i * 577);
            assert!(mixdown.push(&channels, packet));
        }
        assert_eq!(mixdown.n_samples(), interleaved.len() / 2);
        mixdown.finish(RATE)
    }

    fn rvc(interleaved: &[f32]) -> Vec<f32> {
        interleaved.chunks_exact(2).map(mixed).collect()
    }

    fn level(x: &[f32]) -> f32 {
        (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt()
    }

    #[test]
    fn what_is_no_fault_is_mixed_bit_for_bit_as_rvc_does() {
        let (a, b) = (voice(4.0, 0.0), voice(4.0, 3.0));
        let noise: Vec<f32> =
            (0..a.len() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 4e8 - 0.02).collect();
        let late: Vec<f32> = [vec![0.0; 20], a.clone()].concat();
        let half: Vec<f32> = a.iter().enumerate().map(|(i, x)| if i < a.len() / 2 { 0.0 } else { *x }).collect();
        for (name, frames) in [
            ("equal", stereo(&a, &a)),
            ("two voices", stereo(&a, &b)),
            ("a quiet second", stereo(&a, &times(&b, 0.05))),
            ("noise of its own in each", stereo(&noise, &noise.iter().rev().copied().collect::<Vec<_>>())),
            ("a little later", stereo(&a, &late)),
            ("one that begins in the middle", stereo(&a, &half)),
            ("weakly inverted, still heard", stereo(&a, &times(&a, -0.4))),
            ("silence", vec![0.0; 9000]),
            ("nothing", Vec::new()),
            ("not finite", stereo(&times(&a, f32::NAN), &a)),
        ] {
            let (samples, notices) = mixdown(&frames);
            assert!(samples.iter().map(|x| x.to_bits()).eq(rvc(&frames).iter().map(|x| x.to_bits())), "{name}");
            assert_eq!(notices, [], "{name}");
        }
    }

    #[test]
    fn channels_that_cancel_are_heard_through_one_of_them() {
        let a = voice(4.0, 0.0);
        let noise: Vec<f32> =
            (0..a.len() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8e9 - 0.001).collect();
        let noisy: Vec<f32> = a.iter().zip(&noise).map(|(x, n)| n - x).collect();
        for (name, right) in [
            ("exactly", times(&a, -1.0)),
            ("a little softer", times(&a, -0.8)),
            ("a little louder", times(&a, -1.2)),
            ("with noise of its own", noisy),
        ] {
            let (samples, notices) = mixdown(&stereo(&a, &right));
            assert_eq!(samples.len(), a.len(), "{name}");
            let louder = level(&a).max(level(&right)) * SQRT_2;
            assert!((level(&samples) / louder - 1.0).abs() < 0.02, "{name}: {} of {louder}", level(&samples));
            assert_eq!(notices.len(), 1, "{name}: {notices:?}");
            assert_eq!((notices[0].code, notices[0].seconds), ("channels.inverted", 4.0), "{name}");
        }
        let (samples, notices) = mixdown(&stereo(&a[..2000], &times(&a[..2000], -1.0)));
        assert_eq!((samples.len(), notices.len()), (2000, 1), "a short one too");
    }

    #[test]
    fn a_part_that_cancels_is_heard_and_the_rest_is_mixed() {
        let a = voice(9.0, 0.0);
        let part = 48000..96000;
        let right: Vec<f32> = a.iter().enumerate().map(|(i, x)| if part.contains(&i) { -x } else { *x }).collect();
        let frames = stereo(&a, &right);
        let (samples, notices) = mixdown(&frames);
        let expected = rvc(&stereo(&a, &a));
        let lost = samples.iter().zip(&expected).filter(|(x, y)| (*x - *y).abs() > 1e-6).count();
        assert!(lost <= 2 * BLOCK, "{lost} samples of the blocks where it turns");
        assert_eq!(samples[..part.start - BLOCK], expected[..part.start - BLOCK], "bit for bit before it");
        assert_eq!(notices.len(), 1);
        assert!((notices[0].seconds - 3.0).abs() < 0.2, "{notices:?}");
    }

    #[test]
    fn a_dead_channel_is_named_and_left_out() {
        let a = voice(3.0, 0.0);
        let hiss: Vec<f32> =
            (0..a.len() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 3e10 - 0.0002).collect();
        for (name, frames, dead) in [
            ("digital silence", stereo(&a, &times(&a, 0.0)), "right"),
            ("the hiss of an open input", stereo(&a, &hiss), "right"),
            ("the other one", stereo(&hiss, &a), "left"),
        ] {
            let (samples, notices) = mixdown(&frames);
            assert_eq!(samples, a, "{name}");
            assert_eq!((notices.len(), notices[0].code, notices[0].seconds), (1, "channels.dead", 3.0), "{name}");
            assert!(notices[0].message.contains(&format!("{dead} channel is silent")), "{name}: {notices:?}");
        }
    }

    #[test]
    fn mono_and_stereo_in_one_stream_keep_their_order() {
        let a = voice(1.0, 0.0);
        let mut mixdown = Mixdown::default();
        let two = Channels::Positioned(Position::FRONT_LEFT | Position::FRONT_RIGHT);
        mixdown.push_silence(7);
        mixdown.push(&two, &stereo(&a, &a));
        mixdown.push_silence(3000);
        mixdown.push(&Channels::Positioned(Position::FRONT_CENTER), &a);
        assert_eq!(mixdown.n_samples(), 7 + 2 * a.len() + 3000);
        let (samples, notices) = mixdown.finish(RATE);
        assert_eq!(samples, [vec![0.0; 7], rvc(&stereo(&a, &a)), vec![0.0; 3000], a].concat());
        assert_eq!(notices, []);
    }
}
