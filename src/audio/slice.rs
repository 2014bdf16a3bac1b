//! Cuts a recording into training clips: high-pass, cut at silences, cut to length, normalise, reject.
//!
//! Source: spec A.4 to A.7 (RVC `infer/lib/slicer2.py`, `infer/modules/train/preprocess.py`). Departures: numbering (see
//! [`Plan::new`]) and which clips are rejected (see [`Reason`]). Slicing "fixed" and "none" are Applio's "Simple" and "Skip", except for the
//! end of a recording: Applio drops a rest that does not fill a clip.

use super::activity::Activity;
use super::normalize::{Level, Levelled};
use super::{Audio, denoise, filter, resample};
use crate::config::Config;
use crate::config::choices::{Numbering, Slicing};
use crate::{Error, Kind, Result};
use std::ops::Range;

/// The slicer's settings (spec A.4): silence is an RMS below this many dB re full scale ...
const THRESHOLD_DB: f64 = -42.0;
/// ... for at least MIN_INTERVAL; a slice is at least MIN_LENGTH long and keeps up to MAX_SILENCE of the silence; all in ms.
const MIN_LENGTH_MS: f64 = 1500.0;
const MIN_INTERVAL_MS: f64 = 400.0;
const HOP_MS: f64 = 15.0;
const MAX_SILENCE_MS: f64 = 500.0;
/// A clip with a lower peak holds no speech (-80 dB re full scale, 3 steps of 16 bits); normalising it would raise
/// dither to full volume.
const SILENT_PEAK: f64 = 1e-4;
/// No later stage can use shorter clips: features need 25 ms, training 0.75 s.
const MIN_CLIP_SECONDS: f64 = 0.1;
/// The rate in Hz of the copies that features are extracted from.
const FEATURE_RATE: u32 = 16000;

/// The slices of a high-passed signal between its silences, as sample ranges in order.
///
/// A signal without a silence to cut at is one slice; a signal that is silent throughout may have none.
pub fn slices(samples: &[f64], sample_rate: u32) -> Vec<Range<usize>> {
    long_slices(samples, sample_rate, 0.0)
}

/// As [`slices`], cut only where a slice of at least `min_seconds` ends. The last slice may be shorter.
pub fn long_slices(samples: &[f64], sample_rate: u32, min_seconds: f64) -> Vec<Range<usize>> {
    let slicer = Slicer::new(sample_rate, min_seconds);
    let whole = 0..samples.len();
    // The reference compares samples with frames here; kept, as it only concerns signals of 100 samples.
    if samples.len() <= slicer.min_length {
        return vec![whole];
    }
    let rms = slicer.rms(samples);
    let silences = slicer.silences(&rms);
    let (Some(first), Some(last)) = (silences.first(), silences.last()) else {
        return vec![whole];
    };
    let mut frames = Vec::new();
    if first.0 > 0 {
        frames.push(0..first.0);
    }
    frames.extend(silences.windows(2).map(|pair| pair[0].1..pair[1].0));
    if last.1 < rms.len() {
        frames.push(last.1..rms.len());
    }
    let samples_of = |f: Range<usize>| f.start * slicer.hop..(f.end * slicer.hop).min(samples.len());
    frames.into_iter().map(samples_of).collect()
}

/// The slicer's settings at one rate: `hop` and `window` in samples, the rest in frames.
struct Slicer {
    hop: usize,
    window: usize,
    min_length: usize,
    min_interval: usize,
    max_silence: usize,
    /// Minimum length of a slice without its silence; the reference has no such bound.
    min_left: usize,
}

impl Slicer {
    fn new(sample_rate: u32, min_seconds: f64) -> Self {
        // Python's round: halves go to the even neighbour.
        let samples = |ms: f64| f64::from(sample_rate) * ms / 1000.0;
        let hop = samples(HOP_MS).round_ties_even().max(1.0);
        let frames = |ms: f64| (samples(ms) / hop).round_ties_even() as usize;
        Self {
            hop: hop as usize,
            window: (samples(MIN_INTERVAL_MS).round_ties_even() as usize).min(4 * hop as usize).max(1),
            min_length: frames(MIN_LENGTH_MS),
            min_interval: frames(MIN_INTERVAL_MS),
            max_silence: frames(MAX_SILENCE_MS),
            min_left: (f64::from(sample_rate) * min_seconds / hop).ceil() as usize,
        }
    }

    /// The RMS of each frame; frames are centred, with zeros beyond the ends.
    fn rms(&self, samples: &[f64]) -> Vec<f64> {
        let margin = self.window / 2;
        let count = (samples.len() + 2 * margin).saturating_sub(self.window) / self.hop + 1;
        let frame = |i: usize| {
            let start = (i * self.hop).saturating_sub(margin).min(samples.len());
            let end = (i * self.hop + self.window).saturating_sub(margin).min(samples.len());
            let power: f64 = samples[start..end].iter().map(|x| x * x).sum();
            (power / self.window as f64).sqrt()
        };
        (0..count).map(frame).collect()
    }

    /// The silences to leave out, as frame ranges (start, end), in order.
    fn silences(&self, rms: &[f64]) -> Vec<(usize, usize)> {
        let threshold = 10f64.powf(THRESHOLD_DB / 20.0);
        let mut silences = Vec::new();
        let mut silence_start = None;
        let mut piece_start = 0;
        for (i, &level) in rms.iter().enumerate() {
            if level < threshold {
                silence_start.get_or_insert(i);
                continue;
            }
            let Some(start) = silence_start.take() else { continue };
            let leading = start == 0 && i > self.max_silence;
            let middle = i - start >= self.min_interval && i - piece_start >= self.min_length;
            if leading || middle {
                let silence = self.cut(rms, start, i);
                if leading || silence.0.saturating_sub(piece_start) >= self.min_left {
                    silences.push(silence);
                    piece_start = silence.1;
                }
            }
        }
        let count = rms.len();
        if let Some(start) = silence_start.filter(|start| count - start >= self.min_interval) {
            let end = (start + self.max_silence).min(count);
            silences.push((quietest(rms, start, end), count + 1));
        }
        silences
    }

    /// The part of the silence `start..i` to leave out: between its quietest frames near both ends.
    fn cut(&self, rms: &[f64], start: usize, i: usize) -> (usize, usize) {
        let (length, keep) = (i - start, self.max_silence);
        let (from, to) = if length <= keep {
            let at = quietest(rms, start, i);
            (at, at)
        } else {
            let left = quietest(rms, start, start + keep);
            let right = quietest(rms, i - keep, i);
            if length <= 2 * keep && start != 0 {
                // The two ends overlap, and the quietest frame of the overlap counts too.
                let middle = quietest(rms, i - keep, start + keep);
                (left.min(middle), right.max(middle))
            } else {
                (left, right)
            }
        };
        if start == 0 { (0, to) } else { (from, to) }
    }
}

/// The first of the quietest frames in `start..=end`.
fn quietest(rms: &[f64], start: usize, end: usize) -> usize {
    let end = (end + 1).min(rms.len());
    (start..end).reduce(|best, i| if rms[i] < rms[best] { i } else { best }).unwrap_or(start)
}

/// Why a clip is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its peak is below -80 dB re full scale, or the recording is too quiet for the requested loudness. (RVC 2024 divides by
    /// the peak, so that digital silence becomes NaN.)
    Silent,
    /// The recording has NaN or infinite samples there.
    NotFinite,
    /// Its peak is over `max_peak`, as in RVC.
    TooLoud,
    /// It is shorter than 0.1 s, or than `min_slice_seconds`.
    TooShort,
    /// Less of it is voice than `min_voice_share`.
    NoVoice,
    /// A later clip got the same number; only with `numbering: "rvc"`.
    Overwritten,
}

impl Reason {
    /// As part of a sentence: "3 clips silent".
    pub fn name(self) -> &'static str {
        match self {
            Reason::Silent => "silent",
            Reason::NotFinite => "not finite",
            Reason::TooLoud => "too loud",
            Reason::TooShort => "too short",
            Reason::NoVoice => "without voice",
            Reason::Overwritten => "overwritten",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A clip that is not used.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// The number it would have had.
    pub index: usize,
    /// Its start in the recording, and its length.
    pub start_seconds: f64,
    pub seconds: f64,
    pub reason: Reason,
}

/// A training clip, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Its number within the recording: the Y of `X_Y.wav`.
    pub index: usize,
    /// Its first sample in the recording, at the voice's rate.
    pub start: usize,
    /// The normalised samples at the voice's rate, for 0_gt_wavs.
    pub gt: Vec<f32>,
    /// The same at 16 kHz, for 1_16k_wavs: ceil(n * 16000 / rate) samples.
    pub wav16: Vec<f32>,
    /// How much quieter it is than the requested loudness, in dB, so that it does not clip; see [`Level`].
    pub held_db: f64,
}

/// The clips of a recording, used and rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    pub clips: Vec<Clip>,
    pub dropped: Vec<Dropped>,
}

/// A recording as [`Plan::new`] needs it: denoised if the settings request it, and at the voice's rate. An error from `check` ends the work.
pub fn ready(audio: Audio, config: &Config, check: impl Fn() -> Result<()>) -> Result<Audio> {
    let rate = config.sample_rate as u32;
    if config.noise_reduction > 0.0 {
        return Ok(denoise::at_48k(audio, config.noise_reduction, check)?.at_rate(rate));
    }
    Ok(audio.at_rate(rate))
}

/// All clips of a recording that is already at the voice's rate; [`Plan`] makes them one at a time.
pub fn cut(audio: &Audio, config: &Config) -> Result<Cut> {
    let plan = Plan::new(audio, config)?;
    let clips = (0..plan.len()).filter_map(|i| plan.clip(i)).collect();
    Ok(Cut { clips, dropped: plan.dropped })
}

/// Where a recording will be cut. The clips are made one by one, so that an hour of sound is not held three times.
pub struct Plan {
    filtered: Vec<f64>,
    sample_rate: u32,
    level: Level,
    kept: Vec<Planned>,
    /// The clips that are not used, in order, with reasons.
    pub dropped: Vec<Dropped>,
}

struct Planned {
    index: usize,
    range: Range<usize>,
    peak: f64,
}

impl Plan {
    /// The plan for a recording at the voice's rate.
    ///
    /// With `numbering: "fixed"` clips are numbered 0, 1, 2, ... in order. With "rvc" they get the reference's numbers, and of
    /// those with the same number only the last survives (spec A.6). With both, no other clip gets the number of a rejected one.
    ///
    /// Errors: `config.mismatch` if the audio has another rate.
    pub fn new(audio: &Audio, config: &Config) -> Result<Self> {
        if i64::from(audio.sample_rate) != config.sample_rate {
            let (given, wanted) = (audio.sample_rate, config.sample_rate);
            let message = format!("the sound to slice is at {given} Hz, but the voice at {wanted} Hz");
            return Err(Error::new(Kind::ConfigMismatch, message).hint("resample it first"));
        }
        let sample_rate = audio.sample_rate;
        let broken = audio.runs_not_finite();
        let filtered = if broken.is_empty() {
            filter::highpass(&audio.samples, sample_rate)
        } else {
            // Silence in their place; otherwise the recursive filter would lose everything after them.
            filter::highpass(&audio.clone().finite().samples, sample_rate)
        };
        let level = Level::new(&filtered, sample_rate, config);
        let mut plan = Self { filtered, sample_rate, level, kept: Vec::new(), dropped: Vec::new() };
        for (index, range) in clip_ranges(&plan.filtered, config) {
            plan.judge(index, range, &broken, config);
        }
        if plan.kept.is_empty() && plan.dropped.is_empty() {
            // The slicer found no slices; that needs a reason too.
            plan.drop_clip(0, &(0..audio.samples.len()), Reason::Silent);
        }
        plan.drop_overwritten();
        if config.min_voice_share > 0.0 {
            plan.drop_without_voice(config.min_voice_share);
        }
        plan.dropped.sort_by(|a, b| a.start_seconds.total_cmp(&b.start_seconds));
        Ok(plan)
    }

    fn judge(&mut self, index: usize, range: Range<usize>, broken: &[Range<usize>], config: &Config) {
        let peak = self.filtered[range.clone()].iter().fold(0.0f64, |peak, x| peak.max(x.abs()));
        let shortest = MIN_CLIP_SECONDS.max(config.min_slice_seconds);
        let reason = if broken.iter().any(|b| b.start < range.end && range.start < b.end) {
            Reason::NotFinite
        } else if (range.len() as f64) < shortest * f64::from(self.sample_rate) {
            Reason::TooShort
        } else if peak < SILENT_PEAK || self.level == Level::Silence {
            Reason::Silent
        } else if peak > config.max_peak {
            Reason::TooLoud
        } else {
            return self.kept.push(Planned { index, range, peak });
        };
        self.drop_clip(index, &range, reason);
    }

    fn drop_clip(&mut self, index: usize, range: &Range<usize>, reason: Reason) {
        let seconds = |samples: usize| samples as f64 / f64::from(self.sample_rate);
        let (start_seconds, seconds) = (seconds(range.start), seconds(range.len()));
        self.dropped.push(Dropped { index, start_seconds, seconds, reason });
    }

    /// Keeps the last of neighbours with the same number, as the disk would.
    fn drop_overwritten(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        for clip in kept {
            if let Some(former) = self.kept.pop_if(|former| former.index == clip.index) {
                self.drop_clip(former.index, &former.range, Reason::Overwritten);
            }
            self.kept.push(clip);
        }
    }

    fn drop_without_voice(&mut self, min_share: f64) {
        let activity = Activity::new(&self.filtered, self.sample_rate);
        let seconds = |samples: usize| samples as f64 / f64::from(self.sample_rate);
        let is_voice = |range: &Range<usize>| activity.share(seconds(range.start), seconds(range.len())) >= min_share;
        let (kept, dropped): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.kept).into_iter().partition(|clip| is_voice(&clip.range));
        self.kept = kept;
        for clip in &dropped {
            self.drop_clip(clip.index, &clip.range, Reason::NoVoice);
        }
    }

    /// The number of clips that will be used.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The `i`th used clip; None beyond the last.
    pub fn clip(&self, i: usize) -> Option<Clip> {
        let Planned { index, range, peak } = self.kept.get(i)?;
        let source = &self.filtered[range.clone()];
        let Levelled { samples, held_db } = self.level.apply(source, *peak, self.sample_rate);
        let gt = samples.iter().map(|&x| x as f32).collect();
        // From float64, like the reference: not from the rounded copy.
        let wav16 = resample::resample(&samples, self.sample_rate, FEATURE_RATE);
        Some(Clip { index: *index, start: range.start, gt, wav16, held_db })
    }
}

/// The clips of a recording with their numbers, in order.
fn clip_ranges(filtered: &[f64], config: &Config) -> Vec<(usize, Range<usize>)> {
    let samples = |seconds: f64| (seconds * config.sample_rate as f64).round() as usize;
    let (longest, overlap) = (samples(config.slice_seconds), samples(config.overlap_seconds));
    let ranges: Vec<Range<usize>> = match config.slicing {
        Slicing::None => std::iter::once(0..filtered.len()).collect(),
        Slicing::Fixed => fixed(filtered.len(), longest, overlap),
        Slicing::Automatic if config.min_slice_seconds > 0.0 => {
            let slices = long_slices(filtered, config.sample_rate as u32, config.min_slice_seconds);
            slices.into_iter().flat_map(|slice| equal(&slice, longest, overlap)).collect()
        }
        Slicing::Automatic => return rvc_ranges(filtered, config),
    };
    ranges.into_iter().enumerate().collect()
}

/// Clips of `longest` samples, each starting `overlap` before the end of the previous one; the last clip is the rest.
fn fixed(length: usize, longest: usize, overlap: usize) -> Vec<Range<usize>> {
    // The settings limit the overlap to half a clip, so that a step is never 0.
    let step = longest.saturating_sub(overlap).max(1);
    let count = length.saturating_sub(overlap).div_ceil(step).max(1);
    (0..count).map(|i| i * step..(i * step + longest).min(length)).collect()
}

/// The fewest clips of equal length that cover a slice, none longer than `longest`, each starting at least `overlap` before the end of
/// the previous one.
fn equal(slice: &Range<usize>, longest: usize, overlap: usize) -> Vec<Range<usize>> {
    let count = slice.len().saturating_sub(overlap).div_ceil(longest.saturating_sub(overlap).max(1));
    if count <= 1 {
        return vec![slice.clone()];
    }
    let length = (slice.len() + (count - 1) * overlap).div_ceil(count);
    let start = |i: usize| slice.start + i * (slice.len() - length) / (count - 1);
    (0..count).map(|i| start(i)..start(i) + length).collect()
}

/// RVC's clips of all slices with their numbers, in order (spec A.5, A.6).
fn rvc_ranges(filtered: &[f64], config: &Config) -> Vec<(usize, Range<usize>)> {
    let rate = config.sample_rate as f64;
    let (per, overlap) = (config.slice_seconds, config.overlap_seconds);
    let longest = (per + overlap) * rate;
    let mut clips = Vec::new();
    let mut number = 0;
    for slice in slices(filtered, config.sample_rate as u32) {
        for i in 0.. {
            let start = slice.start + (rate * (per - overlap) * f64::from(i)) as usize;
            let is_last = slice.end.saturating_sub(start) as f64 <= longest;
            let end = if is_last { slice.end } else { start + (per * rate) as usize };
            let index = if config.numbering == Numbering::Rvc {
                // The reference increments after it writes a full clip, but before it writes the last clip of a slice.
                let written = number + usize::from(is_last);
                number += 1;
                written
            } else {
                clips.len()
            };
            clips.push((index, start.min(end)..end));
            if is_last {
                break;
            }
        }
    }
    clips
}
