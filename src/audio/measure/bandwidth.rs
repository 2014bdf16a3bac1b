//! The true bandwidth: the highest frequency with speech, whatever the sample rate promises.
//!
//! The spectrum is cut into bands of 125 Hz. A band has speech in it if, in the loud moments, it is not far below the loudest
//! band, and if its level comes and goes: speech does, dither and hiss do not. One band proves little; the highest three neighbours
//! that all have speech decide. Loud moments are the top 5 % of the frames that are not pauses: fricatives, which carry the
//! highest frequencies, take a larger share. The level of a frame is the lowest of its own and its two neighbours': a click is in two
//! frames, as these overlap by half, and a fricative in four or more.
//!
//! A recording without pauses (a steady noise, a held note) does not come and go; in such a recording every band counts that is at most 60 dB
//! below the loudest. Not detected: images of a poor resampler and the synthetic treble of low-rate AAC, which follow
//! the speech.

use super::{LOUD, MUTED_DB, PAUSE_DB, QUIET, level_db, percentile, to_db};
use realfft::RealFftPlanner;

const BAND_HZ: f64 = 125.0;
/// Minimum length of a spectrum in seconds.
const WINDOW_SECONDS: f64 = 0.04;
/// Lower frequencies are rumble.
const LOWEST_HZ: f64 = 60.0;
/// A band with speech is at most this many dB below the loudest band, both in their loud moments: in clean recordings of speech
/// the highest octave is about 50 dB down; the dither of 16 bits, 85.
const RANGE_DB: f64 = 75.0;
/// ... or, if nothing comes and goes, at most this many.
const STEADY_RANGE_DB: f64 = 60.0;
/// Minimum difference between a band's loud and quiet moments. Steady noise reaches 8 in bands as narrow as these.
const COMES_AND_GOES_DB: f64 = 12.0;
/// Neighbouring bands that must agree; a pilot tone or a whistle is in one or two.
const NEIGHBOURS: usize = 3;
/// If even the loud frames are below this, there is only dither.
const NOTHING_DB: f64 = -80.0;
/// Levels are counted in steps of half a dB from this level.
const FLOOR_DB: f64 = -200.0;
const STEPS_PER_DB: f64 = 2.0;
const STEPS: usize = 500;

/// The upper edge of the highest bands with speech, in Hz; None for silence, and for less than a window.
pub(super) fn find(samples: &[f32], sample_rate: u32) -> Option<f64> {
    let rate = f64::from(sample_rate);
    let length = ((rate * WINDOW_SECONDS) as usize).next_power_of_two().max(64);
    let starts = || (0..(samples.len() + 1).saturating_sub(length)).step_by(length / 2);
    // The pauses are known only after all frames were read.
    let levels: Vec<f64> = starts().map(|start| level_db(&samples[start..start + length])).collect();
    let mut sorted: Vec<f64> = levels.iter().copied().filter(|level| *level > MUTED_DB).collect();
    sorted.sort_by(f64::total_cmp);
    let (quiet, loud) = (percentile(&sorted, QUIET)?, percentile(&sorted, LOUD)?);
    if loud < NOTHING_DB {
        return None;
    }
    let has_pauses = loud - quiet >= PAUSE_DB;
    let pause = if has_pauses { quiet + (loud - quiet) / 3.0 } else { MUTED_DB };

    let mut spectra = Spectra::new(length, rate)?;
    let mut all = Histograms::new(spectra.edges.len() - 1);
    let mut speech = Histograms::new(spectra.edges.len() - 1);
    let mut lasting = Lasting::default();
    for (start, level) in starts().zip(&levels) {
        if *level > MUTED_DB {
            all.add(spectra.bands(&samples[start..start + length]));
        } else {
            spectra.bands.fill(FLOOR_DB);
        }
        if let Some(former) = lasting.push(&spectra.bands, *level >= pause) {
            speech.add(former);
        }
    }
    if let Some(last) = lasting.end() {
        speech.add(last);
    }
    let quiet = all.percentiles(QUIET);
    let loud = speech.percentiles(LOUD);
    let loudest = loud.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let has_speech: Vec<bool> = loud
        .iter()
        .zip(&quiet)
        .map(|(loud, quiet)| {
            let comes_and_goes = loud - quiet >= COMES_AND_GOES_DB && *loud > loudest - RANGE_DB;
            comes_and_goes || (!has_pauses && *loud > loudest - STEADY_RANGE_DB)
        })
        .collect();
    let run = has_speech.windows(NEIGHBOURS).rposition(|run| run.iter().all(|is| *is)).map(|first| first + NEIGHBOURS);
    // A pure tone has no neighbours.
    let end = run.or_else(|| has_speech.iter().rposition(|is| *is).map(|last| last + 1))?;
    Some((spectra.edges[end] as f64 * rate / length as f64).min(rate / 2.0))
}

/// Computes band powers of windows of the sound.
struct Spectra {
    transform: std::sync::Arc<dyn realfft::RealToComplex<f32>>,
    window: Vec<f32>,
    input: Vec<f32>,
    output: Vec<realfft::num_complex::Complex<f32>>,
    scratch: Vec<realfft::num_complex::Complex<f32>>,
    /// The bins at the edges of the bands.
    edges: Vec<usize>,
    bands: Vec<f64>,
}

impl Spectra {
    /// None for a rate too low for one band.
    fn new(length: usize, rate: f64) -> Option<Self> {
        let transform = RealFftPlanner::<f32>::new().plan_fft_forward(length);
        let window = (0..length).map(|n| {
            let phase = 2.0 * std::f64::consts::PI * n as f64 / length as f64;
            (0.5 - 0.5 * phase.cos()) as f32
        });
        let bin = |hz: f64| (hz * length as f64 / rate).round() as usize;
        let mut edges = vec![bin(LOWEST_HZ)];
        let bounds = (1u32..).map(|i| bin(f64::from(i) * BAND_HZ)).take_while(|edge| *edge <= length / 2);
        edges.extend(bounds.filter(|edge| *edge > bin(LOWEST_HZ)));
        edges.dedup();
        (edges.len() > 1).then(|| Self {
            window: window.collect(),
            input: transform.make_input_vec(),
            output: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            bands: vec![0.0; edges.len() - 1],
            edges,
            transform,
        })
    }

    /// The level of each band in dB, relative to an arbitrary reference.
    fn bands(&mut self, frame: &[f32]) -> &[f64] {
        for ((input, x), w) in self.input.iter_mut().zip(frame).zip(&self.window) {
            *input = x * w;
        }
        self.transform
            .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch)
            .expect("the planner made these buffers");
        let scale = 4.0 / (self.input.len() as f64 * self.input.len() as f64);
        for (band, edge) in self.bands.iter_mut().zip(self.edges.windows(2)) {
            let power: f32 = self.output[edge[0]..edge[1]].iter().map(realfft::num_complex::Complex::norm_sqr).sum();
            *band = to_db(f64::from(power) * scale);
        }
        &self.bands
    }
}

/// Removes short events: each frame gets the lowest of its own and its neighbours' levels.
#[derive(Default)]
struct Lasting {
    /// The last frame, with whether it is wanted; and the frame before it.
    last: Option<(Vec<f64>, bool)>,
    before: Option<Vec<f64>>,
    lowest: Vec<f64>,
}

impl Lasting {
    /// The frame before this one, if it was wanted, now that both its neighbours are known.
    fn push(&mut self, bands: &[f64], is_asked_for: bool) -> Option<&[f64]> {
        let former = self.last.replace((bands.to_vec(), is_asked_for));
        self.take(former, Some(bands))
    }

    /// The last frame, if it was wanted.
    fn end(&mut self) -> Option<&[f64]> {
        let former = self.last.take();
        self.take(former, None)
    }

    fn take(&mut self, frame: Option<(Vec<f64>, bool)>, after: Option<&[f64]>) -> Option<&[f64]> {
        let (frame, is_asked_for) = frame?;
        self.lowest.clear();
        self.lowest.extend_from_slice(&frame);
        for neighbour in [self.before.as_deref(), after].into_iter().flatten() {
            self.lowest.iter_mut().zip(neighbour).for_each(|(lowest, level)| *lowest = lowest.min(*level));
        }
        self.before = Some(frame);
        is_asked_for.then_some(&self.lowest)
    }
}

/// How often each band had each level.
struct Histograms {
    counts: Vec<[u32; STEPS]>,
    frames: u32,
}

impl Histograms {
    fn new(bands: usize) -> Self {
        Self { counts: vec![[0; STEPS]; bands], frames: 0 }
    }

    fn add(&mut self, bands: &[f64]) {
        self.frames += 1;
        for (counts, level) in self.counts.iter_mut().zip(bands) {
            // A negative float becomes 0.
            let step = ((level - FLOOR_DB) * STEPS_PER_DB) as usize;
            counts[step.min(STEPS - 1)] += 1;
        }
    }

    /// For each band the level in dB that `share` of the frames stay below.
    fn percentiles(&self, share: f64) -> Vec<f64> {
        let rank = (share * f64::from(self.frames)) as u32;
        let level = |counts: &[u32; STEPS]| {
            let mut seen = 0;
            let step = counts.iter().position(|count| {
                seen += count;
                seen > rank
            });
            FLOOR_DB + step.unwrap_or(0) as f64 / STEPS_PER_DB
        };
        self.counts.iter().map(level).collect()
    }
}
