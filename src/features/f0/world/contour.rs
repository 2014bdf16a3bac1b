//! Joins Harvest's candidates to one contour: starts where the best candidates are steady, extends those stretches in both
//! directions, resolves overlaps by score, fills short gaps, smooths.

use super::{Candidate, voiced_runs};

/// Largest relative change of f0 from one frame (1 ms) to the next in a steady stretch.
const STEADY_RANGE: f64 = 0.008;
/// Frames of the shortest stretch that is kept.
const MIN_FRAMES: usize = 6;
/// When a stretch is extended, f0 may change by this fraction from frame to frame,
const EXTENSION_RANGE: f64 = 0.18;
/// for this many frames,
const MAX_EXTENSION: usize = 100;
/// until this many in a row have no candidate.
const MAX_MISSING: usize = 4;
/// A stretch must last this many frames times its f0 in Hz: about two periods.
const MIN_CYCLES: f64 = 2200.0;
/// Gaps of fewer frames are filled.
const MIN_GAP: usize = 9;

/// Consecutive frames of f0; may contain zeros.
struct Stretch {
    first: usize,
    f0: Vec<f64>,
}

impl Stretch {
    fn last(&self) -> usize {
        self.first + self.f0.len() - 1
    }

    fn at(&self, frame: usize) -> f64 {
        frame.checked_sub(self.first).and_then(|i| self.f0.get(i)).copied().unwrap_or(0.0)
    }
}

/// The contour through the candidates, with the gaps that remain.
pub fn join(candidates: &[Vec<Candidate>]) -> Vec<f64> {
    let best: Vec<f64> = candidates.iter().map(|all| best(all)).collect();
    let steady = without_short_runs(&without_jumps(&best));
    let stretches: Vec<Stretch> = voiced_runs(&steady)
        .into_iter()
        .map(|(first, last)| extended(Stretch { first, f0: steady[first..=last].to_vec() }, candidates))
        .collect();
    let stretches = long_enough(stretches);
    let joined = if stretches.is_empty() { steady } else { merged(&stretches, candidates) };
    filled(&joined)
}

fn best(all: &[Candidate]) -> f64 {
    let better = |best: Candidate, c: &Candidate| if c.score > best.score { *c } else { best };
    all.iter().fold(Candidate { hz: 0.0, score: 0.0 }, better).hz
}

/// Keeps a frame's f0 if it continues the line through the two previous frames, or the last of them.
fn without_jumps(f0: &[f64]) -> Vec<f64> {
    let steady = |i: usize| {
        let (here, before) = (f0[i], f0[i - 1]);
        let line = 2.0 * before - f0[i - 2];
        let off_line = ((here - line) / line).abs() > STEADY_RANGE;
        here > 0.0 && !(off_line && (here - before).abs() / before > STEADY_RANGE)
    };
    (0..f0.len()).map(|i| if i >= 2 && steady(i) { f0[i] } else { 0.0 }).collect()
}

fn without_short_runs(f0: &[f64]) -> Vec<f64> {
    let mut kept = f0.to_vec();
    for (first, last) in voiced_runs(f0) {
        if last - first < MIN_FRAMES {
            kept[first..=last].fill(0.0);
        }
    }
    kept
}

/// The stretch with the candidates that can be added at its end and before its start.
fn extended(mut stretch: Stretch, candidates: &[Vec<Candidate>]) -> Stretch {
    let n = candidates.len();
    let last = stretch.last();
    let behind = (last + 1..n).take((n - 1).min(last + MAX_EXTENSION + 1) - last);
    let tail = extension(stretch.at(last), behind, candidates);
    let first = stretch.first;
    let before = (0..first).rev().take(first.min(MAX_EXTENSION + 1));
    let head = extension(stretch.at(first), before, candidates);
    stretch.first -= head.len();
    stretch.f0 = head.into_iter().rev().chain(stretch.f0).chain(tail).collect();
    stretch
}

/// f0 in the given frames, from `start` on, up to the last one with a fitting candidate.
fn extension(start: f64, frames: impl Iterator<Item = usize>, candidates: &[Vec<Candidate>]) -> Vec<f64> {
    let (mut near, mut found, mut length, mut missing) = (start, Vec::new(), 0, 0);
    for frame in frames {
        let hz = nearest(near, &candidates[frame]);
        found.push(hz);
        if hz == 0.0 {
            missing += 1;
            if missing == MAX_MISSING {
                break;
            }
        } else {
            (near, missing, length) = (hz, 0, found.len());
        }
    }
    found.truncate(length);
    found
}

/// The candidate nearest to `reference`, the last of equals, or 0 if none is near enough.
fn nearest(reference: f64, all: &[Candidate]) -> f64 {
    let (mut best, mut smallest) = (0.0, EXTENSION_RANGE);
    for candidate in all {
        let distance = (reference - candidate.hz).abs() / reference;
        if distance <= smallest {
            (best, smallest) = (candidate.hz, distance);
        }
    }
    best
}

/// Stretches with enough periods. WORLD carries the mean f0 of one stretch into that of the next; so do we.
fn long_enough(stretches: Vec<Stretch>) -> Vec<Stretch> {
    let mut mean = 0.0;
    let mut kept = stretches;
    kept.retain(|stretch| {
        let but_last = &stretch.f0[..stretch.f0.len() - 1];
        let n = but_last.len() as f64;
        mean = (mean + but_last.iter().sum::<f64>()) / n;
        MIN_CYCLES / mean < n
    });
    kept
}

/// One contour of all stretches; where two overlap, the candidates' scores decide.
fn merged(stretches: &[Stretch], candidates: &[Vec<Candidate>]) -> Vec<f64> {
    let mut f0 = vec![0.0; candidates.len()];
    let put = |f0: &mut [f64], stretch: &Stretch, from: usize| {
        // No frame is left of a stretch that ends before `from`.
        if let Some(part) = stretch.f0.get(from - stretch.first..) {
            f0[from..from + part.len()].copy_from_slice(part);
        }
    };
    put(&mut f0, &stretches[0], stretches[0].first);
    let (mut first, mut last) = (stretches[0].first, stretches[0].last());
    for &i in &order(stretches)[1..] {
        let stretch = &stretches[i];
        if stretch.first > last {
            put(&mut f0, stretch, stretch.first);
            (first, last) = (stretch.first, stretch.last());
        } else if first > stretch.first || last < stretch.last() {
            let score = |hz: f64, frame: usize| score_of(hz, &candidates[frame]);
            let old: f64 = (stretch.first..=last).map(|frame| score(f0[frame], frame)).sum();
            let new: f64 = (stretch.first..=last).map(|frame| score(stretch.at(frame), frame)).sum();
            put(&mut f0, stretch, if old > new { last } else { stretch.first });
            last = stretch.last();
        }
    }
    f0
}

/// The stretches by their first frame. WORLD's insertion sort compares with one fixed position and so leaves some orders
/// unsorted; which stretch wins depends on it.
fn order(stretches: &[Stretch]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    for i in 1..order.len() {
        for j in (0..i).rev() {
            if stretches[order[j]].first <= stretches[order[i]].first {
                break;
            }
            order.swap(i, j);
        }
    }
    order
}

/// The best score of a candidate of exactly this f0.
#[allow(clippy::float_cmp, reason = "the contour's values are copies of candidates")]
fn score_of(hz: f64, all: &[Candidate]) -> f64 {
    all.iter().filter(|c| c.hz == hz).fold(0.0, |best: f64, c| best.max(c.score))
}

/// Fills short gaps with a line that starts 1 Hz above and ends 1 Hz below the values around the gap, like WORLD's.
fn filled(f0: &[f64]) -> Vec<f64> {
    let mut out = f0.to_vec();
    for pair in voiced_runs(f0).windows(2) {
        let (end, start) = (pair[0].1, pair[1].0);
        if start - end > MIN_GAP {
            continue;
        }
        let (from, to) = (f0[end] + 1.0, f0[start] - 1.0);
        let slope = (to - from) / (start - end) as f64;
        for (i, hz) in out[end + 1..start].iter_mut().enumerate() {
            *hz = from + slope * (i + 1) as f64;
        }
    }
    out
}

/// Each voiced run separately, through a low-pass in both directions.
pub fn smooth(f0: &[f64]) -> Vec<f64> {
    /// Frames that each run is held at both ends; within them the filter forgets its start to the last bit.
    const HELD: usize = 300;
    let mut out = vec![0.0; f0.len()];
    for (first, last) in runs_to_the_ends(f0) {
        let run = &f0[first..=last];
        let before = std::iter::repeat_n(run[0], HELD);
        let behind = std::iter::repeat_n(run[run.len() - 1], HELD);
        let once = low_passed(before.chain(run.iter().copied()).chain(behind));
        let mut twice = low_passed(once.into_iter().rev());
        twice.reverse();
        out[first..=last].copy_from_slice(&twice[HELD..HELD + run.len()]);
    }
    out
}

/// Voiced runs, including those at the clip's ends.
fn runs_to_the_ends(f0: &[f64]) -> Vec<(usize, usize)> {
    let held: Vec<f64> = std::iter::once(0.0).chain(f0.iter().copied()).chain([0.0]).collect();
    voiced_runs(&held).into_iter().map(|(first, last)| (first - 1, last - 1)).collect()
}

/// Butterworth, second order.
fn low_passed(x: impl Iterator<Item = f64>) -> Vec<f64> {
    const FEEDBACK: [f64; 2] = [1.734_725_768_809_275_4, -0.766_006_600_943_264_1];
    const FEED: [f64; 2] = [0.007_820_208_033_497_172, 0.015_640_416_066_994_345];
    let mut w = [0.0; 2];
    x.map(|sample| {
        let next = sample + FEEDBACK[0] * w[0] + FEEDBACK[1] * w[1];
        let out = FEED[0] * next + FEED[1] * w[0] + FEED[0] * w[1];
        w = [next, w[0]];
        out
    })
    .collect()
}
