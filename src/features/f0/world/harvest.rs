//! Harvest: 40 band-pass filters per octave; candidates where ten neighbours agree, refined by instantaneous
//! frequency, joined to a contour (contour.rs).

use super::refine::Refiner;
use super::{Bank, Candidate, Events, F0_MAX, F0_MIN, HOP_LENGTH, SAMPLE_RATE, band_frequencies, contour, nuttall};
use std::f64::consts::PI;

/// Half the rate is enough for f0 and six harmonics of most voices.
const DECIMATION: usize = 2;
const RATE: f64 = (SAMPLE_RATE / DECIMATION) as f64;
/// Internal frames are 1 ms apart; every tenth is returned.
const FRAMES_PER_SECOND: f64 = 1000.0;
const SAMPLES_PER_FRAME: usize = SAMPLE_RATE / 1000;
const BANDS_PER_OCTAVE: f64 = 40.0;
/// Largest relative distance of a band's candidate from its centre.
const BAND_WIDTH: f64 = 0.1;
/// Neighbouring bands that must agree.
const MIN_BANDS: usize = 10;
/// Candidates are also tried in frames up to this far away.
const OVERLAP: usize = 3;
/// Harmonics used to refine a candidate, and the agreement that it must have with them.
const MAX_HARMONICS: usize = 6;
const MIN_SCORE: f64 = 2.5;
/// A candidate needs another within this distance in the previous or next frame.
const NEIGHBOUR_RANGE: f64 = 0.05;

/// The f0 of a clip, one value per whole hop and one at its start.
pub fn f0(x: &[f64]) -> Vec<f64> {
    let n_frames = x.len() / HOP_LENGTH + 1;
    if x.is_empty() {
        return vec![0.0; n_frames];
    }
    let mut y = decimated(x);
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    for sample in &mut y {
        *sample -= mean;
    }
    let raw = raw_candidates(&y, x.len() / SAMPLES_PER_FRAME + 1);
    let candidates = reliable(&exact(&y, &raw));
    let fine = contour::smooth(&contour::join(&candidates));
    fine.into_iter().step_by(HOP_LENGTH / SAMPLES_PER_FRAME).collect()
}

/// Taps of the recursive filter before the rate is halved: Chebyshev, third order, 0.05 dB ripple, edge at 0.4 of the new
/// rate.
const FEEDBACK: [f64; 3] = [0.041_156_734_567_757_19, -0.425_991_124_591_896_36, 0.041_037_215_479_961_225];
const FEED: [f64; 2] = [0.167_974_646_818_022_27, 0.503_923_940_454_066_7];

/// Every second sample of the clip, low-passed in both directions so that there is no delay.
fn decimated(x: &[f64]) -> Vec<f64> {
    /// The ends are held for this many samples, until the filter has settled; and mirrored for a few more.
    const HELD: usize = 140;
    const MIRRORED: usize = 9;
    let held = |i: usize| x[i.saturating_sub(HELD).min(x.len() - 1)];
    let n = x.len() + 2 * HELD;
    let mirrored = |i: usize| match i.checked_sub(MIRRORED) {
        None => 2.0 * held(0) - held(MIRRORED - i),
        Some(i) if i < n => held(i),
        Some(i) => 2.0 * held(n - 1) - held(2 * (n - 1) - i),
    };
    let once = low_passed((0..n + 2 * MIRRORED).map(mirrored));
    let mut twice = low_passed(once.into_iter().rev());
    twice.reverse();
    // The last sample of the mirrored clip is kept, and every second one before it.
    let first = if n.is_multiple_of(DECIMATION) { DECIMATION } else { 1 } + MIRRORED - 1 + HELD;
    twice.into_iter().skip(first).step_by(DECIMATION).take(x.len().div_ceil(DECIMATION)).collect()
}

fn low_passed(x: impl Iterator<Item = f64>) -> Vec<f64> {
    let [a0, a1, a2] = FEEDBACK;
    let [b0, b1] = FEED;
    let mut w = [0.0; 3];
    x.map(|sample| {
        let next = sample + a0 * w[0] + a1 * w[1] + a2 * w[2];
        let out = b0 * next + b1 * w[0] + b1 * w[1] + b0 * w[2];
        w = [next, w[0], w[1]];
        out
    })
    .collect()
}

/// Neighbouring bands that found the same f0 in a frame.
#[derive(Clone, Copy, Default)]
struct Run {
    bands: usize,
    sum: f64,
}

/// For each frame the mean of every run of at least MIN_BANDS bands with a candidate.
fn raw_candidates(y: &[f64], n_frames: usize) -> Vec<Vec<f64>> {
    // A little beyond the range, so that its ends have neighbours too.
    let boundaries = band_frequencies(F0_MIN * 0.9, F0_MAX * 1.1, BANDS_PER_OCTAVE);
    let half = |boundary: f64| (RATE / boundary * 2.0 + 0.5) as usize;
    let mut bank = Bank::new(y, 2 * half(boundaries[0]) + 5);
    let mut events = Events::default();
    let mut runs = vec![Run::default(); n_frames];
    let mut found = vec![Vec::new(); n_frames];
    let mut band = vec![0.0; n_frames];
    // The first and the last band only mark the ends.
    for boundary in &boundaries[1..boundaries.len() - 1] {
        let half = half(*boundary);
        let mut taps = nuttall(2 * half + 1);
        for (i, tap) in taps.iter_mut().enumerate() {
            *tap *= (2.0 * PI * boundary * (i as f64 - half as f64) / RATE).cos();
        }
        events.find(bank.filtered(&taps, half + 1), RATE);
        band.fill(0.0);
        events.at_frames(n_frames, 1.0 / FRAMES_PER_SECOND, |frame, values| {
            let mean = values.iter().sum::<f64>() / 4.0;
            let near = (mean / boundary - 1.0).abs() <= BAND_WIDTH;
            if near && (F0_MIN..=F0_MAX).contains(&mean) {
                band[frame] = mean;
            }
        });
        for ((run, found), hz) in runs.iter_mut().zip(&mut found).zip(&band) {
            if *hz > 0.0 {
                *run = Run { bands: run.bands + 1, sum: run.sum + hz };
            } else {
                end(run, found);
            }
        }
    }
    runs.iter_mut().zip(&mut found).for_each(|(run, found)| end(run, found));
    found
}

fn end(run: &mut Run, found: &mut Vec<f64>) {
    if run.bands >= MIN_BANDS {
        found.push(run.sum / run.bands as f64);
    }
    *run = Run::default();
}

/// Each frame's own candidates and its neighbours', refined; without those that the harmonics contradict.
fn exact(y: &[f64], raw: &[Vec<f64>]) -> Vec<Vec<Candidate>> {
    let mut refiner = Refiner::new(y, RATE);
    let samples_per_frame = SAMPLES_PER_FRAME / DECIMATION;
    let mut refined = |frame: usize, hz: f64| {
        refiner.window(frame * samples_per_frame, hz);
        let n_harmonics = ((RATE / 2.0 / hz) as usize).min(MAX_HARMONICS);
        let (hz, score) = refiner.measure(hz, n_harmonics);
        ((F0_MIN..=F0_MAX).contains(&hz) && score >= MIN_SCORE).then_some(Candidate { hz, score })
    };
    (0..raw.len())
        .map(|frame| {
            // Its own first, then those before, then those after, nearest first: among equals, the order decides.
            let before = (1..=OVERLAP).filter_map(|i| frame.checked_sub(i));
            let behind = (frame + 1..raw.len()).take(OVERLAP);
            let sources = std::iter::once(frame).chain(before).chain(behind);
            sources.flat_map(|source| &raw[source]).filter_map(|hz| refined(frame, *hz)).collect()
        })
        .collect()
}

/// The candidates with a similar one in the previous or next frame.
fn reliable(candidates: &[Vec<Candidate>]) -> Vec<Vec<Candidate>> {
    let near = |frame: Option<usize>, hz: f64| {
        let others = frame.and_then(|i| candidates.get(i)).into_iter().flatten();
        others.map(|other| (hz - other.hz).abs() / hz).any(|distance| distance <= NEIGHBOUR_RANGE)
    };
    let keep = |frame: usize, c: &Candidate| near(frame.checked_sub(1), c.hz) || near(Some(frame + 1), c.hz);
    candidates.iter().enumerate().map(|(frame, all)| all.iter().copied().filter(|c| keep(frame, c)).collect()).collect()
}
