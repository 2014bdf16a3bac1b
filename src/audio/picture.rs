//! Pictures of sound: a spectrogram as PNG, for the report and for dashboards.
//!
//! ```text
//! samples --windowed FFT, 10 ms or wider columns--> magnitudes --mel-spaced rows--> dB below the peak --> colours --> PNG
//! ```
//!
//! Colours: ten of viridis (matplotlib, CC0), whose brightness rises evenly and whose steps are visible with any colour vision.

use crate::{Error, Kind, Result};
use realfft::RealFftPlanner;

/// The largest picture, in pixels; a shorter sound has one column for each 10 ms.
const MOST_COLUMNS: usize = 900;
const ROWS: usize = 256;
/// Frames per second of the finest picture, and of f0.
const FRAMES_PER_SECOND: f64 = 100.0;
/// A window that separates the harmonics of a low voice (80 Hz) and still resolves syllables.
const WINDOW_SECONDS: f64 = 0.04;
/// A column of a long sound shows the loudest of this many frames; more would only take time.
const FRAMES_PER_COLUMN: f64 = 4.0;
/// Levels this far below the peak are dark. Speech has little but noise below it.
const RANGE_DB: f64 = 80.0;
/// A lower peak counts as this amplitude (-50 dB re full scale); otherwise dither would be as bright as speech.
const LEAST_PEAK: f64 = 3e-3;
/// Steps of brightness: 1.25 dB each, too small to see, in half the file size of 256 steps.
const LEVELS: u8 = 64;
/// Palette indices after the levels: the f0 line and its edge.
const LINE: u8 = LEVELS;
const EDGE: u8 = LEVELS + 1;

const VIRIDIS: [[u8; 3]; 10] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x28, 0x78],
    [0x3e, 0x49, 0x89],
    [0x31, 0x68, 0x8e],
    [0x26, 0x82, 0x8e],
    [0x1f, 0x9e, 0x89],
    [0x35, 0xb7, 0x79],
    [0x6e, 0xce, 0x58],
    [0xb5, 0xde, 0x2b],
    [0xfd, 0xe7, 0x25],
];

/// A spectrogram of `samples` as the bytes of a PNG file, at most 900 x 256 pixels: time to the right, frequency upwards from
/// 0 to half the sample rate (see [`height`]), brightness from 80 dB below the peak to the peak.
///
/// `f0`: Hz for each 10 ms, 0 = unvoiced; drawn over it as a white line. Silence, no samples at all and samples that are not
/// finite give a dark picture (or dark places in it).
///
/// Errors: `internal` if the PNG encoder fails, which it has no reason to.
pub fn spectrogram(samples: &[f32], sample_rate: u32, f0: Option<&[f64]>) -> Result<Vec<u8>> {
    let rate = f64::from(sample_rate.max(1));
    let columns = ((samples.len() as f64 / rate * FRAMES_PER_SECOND).ceil() as usize).clamp(1, MOST_COLUMNS);
    let magnitudes = magnitudes(samples, rate, columns);
    let peak = magnitudes.iter().copied().fold(LEAST_PEAK, f64::max);
    let level = |magnitude: f64| {
        let db = 20.0 * (magnitude / peak).max(1e-12).log10();
        (((db + RANGE_DB) / RANGE_DB).clamp(0.0, 1.0) * f64::from(LEVELS - 1)).round() as u8
    };
    let mut pixels: Vec<u8> = magnitudes.iter().map(|magnitude| level(*magnitude)).collect();
    if let Some(f0) = f0 {
        draw_f0(&mut pixels, columns, f0, samples.len() as f64 / rate, sample_rate);
    }
    encode(&pixels, columns).map_err(|e| Error::new(Kind::Internal, format!("cannot make a PNG: {e}")).source(e))
}

/// The height of a frequency in the picture: 0 at the bottom, 1 at the top (half the sample rate), evenly spaced in mel.
pub fn height(hz: f64, sample_rate: u32) -> f64 {
    mel(hz) / mel(f64::from(sample_rate.max(1)) / 2.0)
}

fn mel(hz: f64) -> f64 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

fn hz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

/// Amplitudes (a full-scale sine: 1) of the pixels, row by row from the top.
fn magnitudes(samples: &[f32], rate: f64, columns: usize) -> Vec<f64> {
    let window_samples = ((rate * WINDOW_SECONDS) as usize).max(16);
    // Twice the window, so that the bins are close enough to interpolate between.
    let n_fft = (2 * window_samples).next_power_of_two();
    let window: Vec<f64> = (0..window_samples)
        .map(|i| 0.5 - 0.5 * (std::f64::consts::TAU * (i as f64 + 0.5) / window_samples as f64).cos())
        .collect();
    let scale = 2.0 / window.iter().sum::<f64>();
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(n_fft);
    let (mut input, mut output, mut scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
    let rows = rows(rate, n_fft);
    let mut pixels = vec![0.0; ROWS * columns];
    let samples_per_column = samples.len() as f64 / columns as f64;
    let frames = (samples_per_column * FRAMES_PER_SECOND / rate).ceil().clamp(1.0, FRAMES_PER_COLUMN);
    for column in 0..columns {
        for frame in 0..frames as usize {
            let centre = (column as f64 + (frame as f64 + 0.5) / frames) * samples_per_column;
            let start = centre as isize - (window_samples / 2) as isize;
            input.fill(0.0);
            for (i, weight) in window.iter().enumerate() {
                let sample = usize::try_from(start + i as isize).ok().and_then(|at| samples.get(at)).copied();
                input[i] = f64::from(sample.filter(|x| x.is_finite()).unwrap_or(0.0)) * weight;
            }
            // It fails only on buffers of the wrong size, and it made these itself.
            if fft.process_with_scratch(&mut input, &mut output, &mut scratch).is_err() {
                continue;
            }
            for (row, (low, high)) in rows.iter().enumerate() {
                let at = &mut pixels[row * columns + column];
                *at = between(&output, *low, *high, |bin| bin.norm() * scale).max(*at);
            }
        }
    }
    pixels
}

/// The bins (with fractions) at the lower and upper edge of each row, from the top.
fn rows(rate: f64, n_fft: usize) -> Vec<(f64, f64)> {
    let top = mel(rate / 2.0);
    let bin = |row: usize| hz(top * row as f64 / ROWS as f64) * n_fft as f64 / rate;
    (0..ROWS).rev().map(|row| (bin(row), bin(row + 1))).collect()
}

/// The largest magnitude between two positions in a spectrum, or an interpolated one if there is no bin between them.
fn between<T>(spectrum: &[T], low: f64, high: f64, magnitude: impl Fn(&T) -> f64) -> f64 {
    let at = |i: usize| spectrum.get(i).map_or(0.0, &magnitude);
    let inside = (low.ceil() as usize..=high.floor() as usize).map(at);
    let middle = f64::midpoint(low, high);
    let share = middle.fract();
    let interpolated = at(middle as usize) * (1.0 - share) + at(middle as usize + 1) * share;
    inside.fold(interpolated, f64::max)
}

fn draw_f0(pixels: &mut [u8], columns: usize, f0: &[f64], seconds: f64, sample_rate: u32) {
    let row_at = |column: usize| {
        let at = (column as f64 + 0.5) / columns as f64 * seconds * FRAMES_PER_SECOND;
        let hz = f0.get(at as usize).copied().filter(|hz| hz.is_finite() && *hz > 0.0)?;
        let row = ((1.0 - height(hz, sample_rate)) * ROWS as f64) as isize;
        (0..ROWS as isize).contains(&row).then_some(row)
    };
    let rows: Vec<Option<isize>> = (0..columns).map(row_at).collect();
    // The edge first; otherwise the edge of a column would cover the line of the previous column.
    for (colour, reach) in [(EDGE, 2), (LINE, 1)] {
        for (column, row) in rows.iter().enumerate() {
            let Some(row) = *row else { continue };
            // Down or up to the previous column, so that a glide is one line.
            let before = column.checked_sub(1).and_then(|before| rows[before]).unwrap_or(row);
            for at in row.min(before) - reach + 1..row.max(before) + reach {
                if let Some(row) = usize::try_from(at).ok().filter(|row| *row < ROWS) {
                    pixels[row * columns + column] = colour;
                }
            }
        }
    }
}

fn encode(pixels: &[u8], columns: usize) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut palette: Vec<u8> = (0..LEVELS).flat_map(|level| colour(f64::from(level) / f64::from(LEVELS - 1))).collect();
    palette.extend([255, 255, 255, 0, 0, 0]);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, columns as u32, ROWS as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// The colour of a brightness of 0 to 1.
fn colour(brightness: f64) -> [u8; 3] {
    let at = brightness * (VIRIDIS.len() - 1) as f64;
    let (first, share) = ((at as usize).min(VIRIDIS.len() - 2), at - (at as usize).min(VIRIDIS.len() - 2) as f64);
    let mix = |i: usize| f64::from(VIRIDIS[first][i]) * (1.0 - share) + f64::from(VIRIDIS[first + 1][i]) * share;
    [0, 1, 2].map(|i| mix(i).round() as u8)
}
