//! Recordings of the tests' own making.

use std::path::Path;

/// Harmonics under a syllable-like envelope with pauses: what the slicer, the pitch trackers and the networks expect.
pub fn voice_like(seconds: f64, pitch: f64) -> Vec<f32> {
    let rate = 32000.0;
    let n = (seconds * rate) as usize;
    let mut phase = 0.0f64;
    let mut noise = 1u32;
    (0..n)
        .map(|i| {
            let t = i as f64 / rate;
            phase += pitch * (1.0 + 0.15 * (1.7 * t).sin()) / rate;
            let speaking = if (t % 3.0) < 2.4 { (6.0 * t).sin().abs() } else { 0.0 };
            let voice: f64 =
                (1..=12).map(|k| (std::f64::consts::TAU * phase * f64::from(k)).sin() / f64::from(k)).sum();
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let hiss = f64::from(noise) / f64::from(u32::MAX) - 0.5;
            (0.2 * speaking * voice + 0.0005 * hiss) as f32
        })
        .collect()
}

pub fn write_wav(path: &Path, samples: &[f32], rate: u32) {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for s in samples {
        writer.write_sample((s * 32767.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
}
