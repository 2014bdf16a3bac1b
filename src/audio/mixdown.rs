//! Mixes many channels to one as RVC's ffmpeg call does; but where two channels cancel each other, or one is dead, it uses the better
//! channel only, with a notice.
//!
//! It decides while the packets pass, so that no second decode is needed: at most [`MOST_WAITING`] frames are kept in both
//! channels, or all frames for as long as one channel has been silent from the beginning.
//!
//! Source: spec A.2. Departure: RVC's mix of a recording whose right channel is the inverted left channel is silence.

use super::loaded::Notice;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use symphonia::core::audio::{Channels, Position};

/// Frames that are judged together: 21 ms at 48 kHz.
const BLOCK: usize = 1024;
/// Blocks in a row that must cancel before the mix is given up, and be audible before it is used again: a third of a second at 48 kHz.
/// Fewer would take single notes of real stereo for a fault, more would lose words.
const BELIEVED: usize = 16;
/// Most frames, pauses included, that wait for this decision.
const MOST_WAITING: usize = 1 << 18;
/// Mean power below which a block is ignored: -60 dB re full scale, or 25 dB below the loudest so far, where each channel has noise of
/// its own.
const QUIET: f64 = 1e-6;
const FAR_BELOW: f64 = 3e-3;
/// Power of the mix as a fraction of the louder channel's: cancelled below -12 dB, audible above -6 dB. Unrelated channels
/// give at least -3 dB, equal ones +3 dB.
const CANCELLED: f64 = 1.0 / 16.0;
const AUDIBLE: f64 = 1.0 / 4.0;
/// Highest mean power of a dead channel's loudest block: -55 dB re full scale, the noise of an input with nothing plugged in ...
const DEAD: f64 = 3.2e-6;
/// ... and how much higher the other channel's must be: 30 dB.
const ALIVE: f64 = 1e3;

const SIDES: [&str; 2] = ["left", "right"];

/// The mono sound of one stream, packet by packet.
#[derive(Default)]
pub(super) struct Mixdown {
    samples: Vec<f32>,
    /// From the first packet with two channels until a packet with another number.
    pair: Option<Pair>,
    single: SingleChannel,
}

/// Frames for which only the left or only the right channel was used.
#[derive(Default)]
struct SingleChannel {
    inverted: [usize; 2],
    dead: [usize; 2],
}

impl Mixdown {
    /// Appends interleaved samples of `channels`; false if there are no channels.
    pub fn push(&mut self, channels: &Channels, interleaved: &[f32]) -> bool {
        if channels.count() == 2 {
            self.pair.get_or_insert_default().push(interleaved, &mut self.samples, &mut self.single);
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
            pair.push(&silence[..2 * now], &mut self.samples, &mut self.single);
            left -= now;
        }
    }

    /// The number of samples so far.
    pub fn n_samples(&self) -> usize {
        self.samples.len() + self.pair.as_ref().map_or(0, Pair::n_frames)
    }

    /// The sound at `sample_rate`, and notices about its channels.
    pub fn finish(mut self, sample_rate: u32) -> (Vec<f32>, Vec<Notice>) {
        self.settle();
        let seconds = |frames: usize| frames as f64 / f64::from(sample_rate.max(1));
        let mut notices = Vec::new();
        for (side, name) in SIDES.into_iter().enumerate() {
            let (other, inverted) = (SIDES[1 - side], seconds(self.single.inverted[side]));
            if inverted > 0.0 {
                let message = format!(
                    "its channels are phase-inverted for {inverted:.2} s, so that their mix would be silent; only the {name} channel is used there"
                );
                notices.push(Notice { code: "channels.inverted", message, seconds: inverted });
            }
            let dead = seconds(self.single.dead[side]);
            if dead > 0.0 {
                let message = format!(
                    "its {other} channel is silent for all of its {dead:.2} s; only the {name} channel is used"
                );
                notices.push(Notice { code: "channels.dead", message, seconds: dead });
            }
        }
        (self.samples, notices)
    }

    fn settle(&mut self) {
        if let Some(pair) = self.pair.take() {
            pair.finish(&mut self.samples, &mut self.single);
        }
    }
}

/// Two channels being mixed into one. Frames are interleaved everywhere.
struct Pair {
    /// The incomplete block.
    block: Vec<f32>,
    /// All frames so far, as long as one of the channels is dead; None once both are live.
    held: Option<Vec<f32>>,
    /// Power of each channel's loudest block.
    loudest: [f64; 2],
    /// Power of the loudest block so far.
    level: f64,
    /// The channel in use; None for the mix.
    side: Option<usize>,
    /// Blocks that contradict `side`, and pauses after them; the number of those blocks; the channels' power in those that cancel.
    waiting: Vec<f32>,
    against: usize,
    power: [f64; 2],
    /// Whether the mix was audible anywhere.
    was_audible: bool,
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
            was_audible: false,
        }
    }
}

impl Pair {
    fn n_frames(&self) -> usize {
        (self.block.len() + self.held.as_ref().map_or(0, Vec::len) + self.waiting.len()) / 2
    }

    fn push(&mut self, frames: &[f32], out: &mut Vec<f32>, single: &mut SingleChannel) {
        let mut rest = &frames[..frames.len() / 2 * 2];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(2 * BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            rest = later;
            if self.block.len() == 2 * BLOCK {
                let block = std::mem::take(&mut self.block);
                self.add(&block, out, single);
                self.block = block;
                self.block.clear();
            }
        }
    }

    fn add(&mut self, block: &[f32], out: &mut Vec<f32>, single: &mut SingleChannel) {
        let Some(held) = &mut self.held else { return self.judge(block, out, single) };
        held.extend_from_slice(block);
        let [left, right, _] = powers(block);
        self.loudest = [self.loudest[0].max(left), self.loudest[1].max(right)];
        if self.loudest.iter().all(|power| *power > DEAD) {
            self.release(out, single);
        }
    }

    /// Both channels are live: judges all blocks that were held.
    fn release(&mut self, out: &mut Vec<f32>, single: &mut SingleChannel) {
        for block in self.held.take().unwrap_or_default().chunks(2 * BLOCK) {
            self.judge(block, out, single);
        }
    }

    /// Passes a block on, or holds it until enough blocks contradict the present state.
    fn judge(&mut self, block: &[f32], out: &mut Vec<f32>, single: &mut SingleChannel) {
        let [left, right, mix] = powers(block);
        let loud = left.max(right);
        self.level = self.level.max(loud);
        let is_loud = loud > QUIET && loud > self.level * FAR_BELOW;
        let (cancels, is_audible) = (is_loud && mix < loud * CANCELLED, is_loud && mix > loud * AUDIBLE);
        self.was_audible |= is_audible;
        if cancels {
            self.power = [self.power[0] + left, self.power[1] + right];
        }
        let is_against = if self.side.is_none() { cancels } else { is_audible };
        let waits = is_against || !is_loud && !self.waiting.is_empty() && self.waiting.len() < 2 * MOST_WAITING;
        if !waits {
            self.pass_waiting(out, single);
            return self.pass(block, out, single);
        }
        self.waiting.extend_from_slice(block);
        self.against += usize::from(is_against);
        if self.against >= BELIEVED {
            self.turn(out, single);
        }
    }

    /// Changes the state, starting with the first block that contradicted the old one.
    fn turn(&mut self, out: &mut Vec<f32>, single: &mut SingleChannel) {
        self.side = if self.side.is_none() { Some(usize::from(self.power[1] > self.power[0])) } else { None };
        self.pass_waiting(out, single);
    }

    fn pass_waiting(&mut self, out: &mut Vec<f32>, single: &mut SingleChannel) {
        let waiting = std::mem::take(&mut self.waiting);
        self.pass(&waiting, out, single);
        self.against = 0;
    }

    fn pass(&self, frames: &[f32], out: &mut Vec<f32>, single: &mut SingleChannel) {
        match self.side {
            None => out.extend(frames.chunks_exact(2).map(mixed)),
            // As loud as the mix would be if neither channel were inverted.
            Some(side) => {
                out.extend(frames.chunks_exact(2).map(|frame| frame[side] * SQRT_2));
                single.inverted[side] += frames.len() / 2;
            }
        }
    }

    fn finish(mut self, out: &mut Vec<f32>, single: &mut SingleChannel) {
        let block = std::mem::take(&mut self.block);
        self.add(&block, out, single);
        let [left, right] = self.loudest;
        if let Some(held) = &self.held {
            let side = usize::from(right > left);
            if left.min(right) * ALIVE < left.max(right) && left.max(right) > QUIET {
                out.extend(held.chunks_exact(2).map(|frame| frame[side]));
                single.dead[side] += held.len() / 2;
                return;
            }
            self.release(out, single);
        }
        // Too short for a decision, but no block contradicts it either.
        if self.side.is_none() && self.against > 0 && !self.was_audible {
            self.turn(out, single);
        }
        self.pass_waiting(out, single);
    }
}

/// Mean power of the left channel, the right one and their mix; infinite if a sample is not finite, so that the block is ignored.
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
/// Each channel's factor in the mono sum, in channel order: ffmpeg's for float samples, which RVC uses (spec A.2).
///
/// Stereo is (L + R) * 0.7071, not the mean. The low-frequency channel is left out. Channels without a known position are
/// averaged, and so are layouts of under 6 channels with a low-frequency one: their header probably never had a layout.
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

    /// `seconds` of a voice-like sound, the left channel; another `number` gives another sound.
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

    /// The mono result when pushed in packets of odd sizes.
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
    fn stereo_without_faults_is_mixed_bit_for_bit_as_in_rvc() {
        let (a, b) = (voice(4.0, 0.0), voice(4.0, 3.0));
        let noise: Vec<f32> =
            (0..a.len() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 4e8 - 0.02).collect();
        let late: Vec<f32> = [vec![0.0; 20], a.clone()].concat();
        let half: Vec<f32> = a.iter().enumerate().map(|(i, x)| if i < a.len() / 2 { 0.0 } else { *x }).collect();
        for (name, frames) in [
            ("equal", stereo(&a, &a)),
            ("two voices", stereo(&a, &b)),
            ("a quiet second", stereo(&a, &times(&b, 0.05))),
            ("independent noise in each", stereo(&noise, &noise.iter().rev().copied().collect::<Vec<_>>())),
            ("a little later", stereo(&a, &late)),
            ("one channel begins in the middle", stereo(&a, &half)),
            ("weakly inverted, still audible", stereo(&a, &times(&a, -0.4))),
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
    fn one_of_two_cancelling_channels_is_used() {
        let a = voice(4.0, 0.0);
        let noise: Vec<f32> =
            (0..a.len() as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8e9 - 0.001).collect();
        let noisy: Vec<f32> = a.iter().zip(&noise).map(|(x, n)| n - x).collect();
        for (name, right) in [
            ("exactly", times(&a, -1.0)),
            ("a little softer", times(&a, -0.8)),
            ("a little louder", times(&a, -1.2)),
            ("with independent noise", noisy),
        ] {
            let (samples, notices) = mixdown(&stereo(&a, &right));
            assert_eq!(samples.len(), a.len(), "{name}");
            let louder = level(&a).max(level(&right)) * SQRT_2;
            assert!((level(&samples) / louder - 1.0).abs() < 0.02, "{name}: {} of {louder}", level(&samples));
            assert_eq!(notices.len(), 1, "{name}: {notices:?}");
            assert_eq!((notices[0].code, notices[0].seconds), ("channels.inverted", 4.0), "{name}");
        }
        let (samples, notices) = mixdown(&stereo(&a[..2000], &times(&a[..2000], -1.0)));
        assert_eq!((samples.len(), notices.len()), (2000, 1), "a short recording too");
    }

    #[test]
    fn one_channel_is_used_where_they_cancel_and_the_rest_is_mixed() {
        let a = voice(9.0, 0.0);
        let part = 48000..96000;
        let right: Vec<f32> = a.iter().enumerate().map(|(i, x)| if part.contains(&i) { -x } else { *x }).collect();
        let frames = stereo(&a, &right);
        let (samples, notices) = mixdown(&frames);
        let expected = rvc(&stereo(&a, &a));
        let lost = samples.iter().zip(&expected).filter(|(x, y)| (*x - *y).abs() > 1e-6).count();
        assert!(lost <= 2 * BLOCK, "{lost} samples of the blocks where the state changes");
        assert_eq!(samples[..part.start - BLOCK], expected[..part.start - BLOCK], "bit for bit before that part");
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
            ("the other channel", stereo(&hiss, &a), "left"),
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
