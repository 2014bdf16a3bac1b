//! A prepared voice made by formula: wavs, content, f0 and the file list that names them.

use super::{Glide, fill};
use rvc_run::{audio, npy};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// One clip of a made voice.
pub struct Made {
    pub name: String,
    pub samples: Vec<f32>,
    pub content: Vec<f32>,
    pub f0: Vec<f64>,
    pub speaker: i64,
}

impl Made {
    /// A gliding tone of `n` samples at `sample_rate` with fitting features; `i` makes it another one.
    pub fn clip(salt: &str, i: usize, n: usize, sample_rate: i64) -> Self {
        let (hop, x) = (sample_rate as usize / 100, i as f64);
        let frames = n / hop;
        let glide = Glide {
            from_hz: 130.0 + 45.0 * x,
            to_hz: 300.0 - 30.0 * x,
            harmonics: 8,
            amplitude: 0.13,
            noise: 0.015,
            sample_rate: sample_rate as f64,
        };
        let f0 = fill(salt, &format!("train.f0.{i}"), &[frames as i64 + 1], 40.0, 180.0 + 30.0 * x);
        let mut f0: Vec<f64> = numbers(&f0).into_iter().map(f64::from).collect();
        f0.iter_mut().take(14 + 2 * i).skip(10 + i).for_each(|hz| *hz = 0.0);
        Self {
            name: format!("{i}"),
            samples: glide.samples(salt, &format!("train.wave.{i}"), n),
            content: numbers(&fill(salt, &format!("train.phone.{i}"), &[frames as i64 / 2, 768], 0.6, 0.0)),
            f0,
            speaker: (5 * i as i64 + 2) % 109,
        }
    }

    /// Writes the four files below `logs` and returns the line of the file list.
    pub fn write(&self, logs: &Path, sample_rate: i64) -> String {
        let name = &self.name;
        let wave = logs.join(format!("0_gt_wavs/{name}.wav"));
        let phone = logs.join(format!("3_feature768/{name}.npy"));
        let pitch = logs.join(format!("2a_f0/{name}.wav.npy"));
        let pitchf = logs.join(format!("2b-f0nsf/{name}.wav.npy"));
        audio::io::write_wav(&wave, &self.samples, sample_rate as u32).unwrap();
        npy::write_f32_2d(&phone, &self.content, 768).unwrap();
        npy::write_i64(&pitch, &self.f0.iter().map(|&hz| coarse(hz)).collect::<Vec<_>>()).unwrap();
        npy::write_f64(&pitchf, &self.f0).unwrap();
        let paths = [wave, phone, pitch, pitchf].map(|path| path.display().to_string());
        format!("{}|{}", paths.join("|"), self.speaker)
    }
}

/// Writes a voice of the given clips into `logs` and returns its file list.
pub fn write(logs: &Path, clips: &[Made], sample_rate: i64) -> PathBuf {
    let lines: Vec<String> = clips.iter().map(|clip| clip.write(logs, sample_rate)).collect();
    let path = logs.join("filelist.txt");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

/// RVC's quantiser (spec B.3).
fn coarse(hz: f64) -> i64 {
    let mel = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
    if hz <= 0.0 {
        return 1;
    }
    let (low, high) = (mel(50.0), mel(1100.0));
    ((mel(hz) - low) * 254.0 / (high - low) + 1.0).clamp(1.0, 255.0).round_ties_even() as i64
}
