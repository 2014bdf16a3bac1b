//! How loud a sound is, as broadcasters measure it (ITU-R BS.1770, EBU R 128; crate ebur128).

use ebur128::{EbuR128, Mode};

/// Shorter sounds have no loudness: the standard averages over blocks of this length.
const BLOCK_SECONDS: f64 = 0.4;
/// Samples passed on at a time.
const PART: usize = 1 << 13;
/// Longer than the interpolating filter of the true peak; without these zeros after the sound its end would not be measured.
const TRUE_PEAK_TAIL: usize = 64;

/// Integrated loudness in LUFS of finite samples. None below 0.4 s, and for silence.
pub fn integrated<T: Copy + Into<f64>>(samples: &[T], sample_rate: u32) -> Option<f64> {
    let meter = fed(samples, sample_rate, Mode::I)?;
    meter.loudness_global().ok().filter(|lufs| lufs.is_finite())
}

/// As [`integrated`]; a sound shorter than 0.4 s is repeated for the measurement.
pub fn of_any_length<T: Copy + Into<f64>>(samples: &[T], sample_rate: u32) -> Option<f64> {
    let block = (BLOCK_SECONDS * f64::from(sample_rate)).ceil() as usize;
    if samples.len() >= block {
        return integrated(samples, sample_rate);
    }
    let repeated: Vec<f64> = samples.iter().cycle().take(block).map(|x| (*x).into()).collect();
    integrated(&repeated, sample_rate)
}

/// The highest value of the waveform that finite samples represent, between the samples too; full scale is 1. Never below the highest sample.
pub fn true_peak<T: Copy + Into<f64>>(samples: &[T], sample_rate: u32) -> f64 {
    let peak = samples.iter().map(|x| (*x).into().abs()).fold(0.0, f64::max);
    let meter = fed(samples, sample_rate, Mode::TRUE_PEAK).and_then(|mut meter| {
        meter.add_frames_f64(&[0.0; TRUE_PEAK_TAIL]).ok()?;
        meter.true_peak(0).ok()
    });
    meter.map_or(peak, |between| between.max(peak))
}

fn fed<T: Copy + Into<f64>>(samples: &[T], sample_rate: u32, mode: Mode) -> Option<EbuR128> {
    let mut meter = EbuR128::new(1, sample_rate, mode).ok()?;
    let mut part = Vec::with_capacity(PART.min(samples.len()));
    for samples in samples.chunks(PART) {
        part.clear();
        part.extend(samples.iter().map(|x| (*x).into()));
        meter.add_frames_f64(&part).ok()?;
    }
    Some(meter)
}
