//! Spectrogram and log-mel for the training loss and for networks with a mel as input.
//!
//! Source: spec F.2 (RVC `mel_processing.py`), B.4 (RMVPE), B.7 (FCPE): reflect padding, periodic Hann window of n_fft, no
//! centring, magnitude sqrt(re^2 + im^2 + eps), mel bank of unit-area triangles, log of the mel clamped from below.

use crate::config::Config;
use tch::{Device, Kind, Tensor};

/// The parameters of a log-mel.
#[derive(Clone, Copy, Debug)]
pub struct MelSettings {
    /// Hz.
    pub sample_rate: f64,
    /// Samples of the window and of the FFT.
    pub n_fft: i64,
    /// Samples.
    pub hop_length: i64,
    /// Samples that are mirrored at both ends: n_fft / 2 centres frame k at sample k * hop_length.
    pub padding: i64,
    pub n_mels: i64,
    /// Hz; the ends of the first and the last triangle.
    pub fmin: f64,
    pub fmax: f64,
    pub scale: MelScale,
    /// Added under the square root of the magnitude.
    pub eps: f64,
    /// Floor of the mel before its logarithm.
    pub clamp: f64,
}

impl MelSettings {
    /// Those of the training loss (spec F.2).
    pub fn training(config: &Config) -> Self {
        Self {
            sample_rate: config.sample_rate as f64,
            n_fft: config.n_fft(),
            hop_length: config.hop_length(),
            padding: (config.n_fft() - config.hop_length()) / 2,
            n_mels: config.n_mels(),
            fmin: 0.0,
            fmax: config.sample_rate as f64 / 2.0,
            scale: MelScale::Slaney,
            eps: config.spec_eps,
            clamp: config.mel_clamp,
        }
    }
}

/// The window and the mel bank of one configuration, kept on the device.
pub struct Spectral {
    settings: MelSettings,
    window: Tensor,
    bank: Tensor,
}

impl Spectral {
    /// Spectra of the training loss.
    pub fn new(config: &Config, device: Device) -> Self {
        Self::of(MelSettings::training(config), device)
    }

    pub fn of(settings: MelSettings, device: Device) -> Self {
        Self {
            settings,
            window: Tensor::hann_window_periodic(settings.n_fft, true, (Kind::Float, device)),
            bank: Tensor::from_slice(&mel_bank(&settings))
                .view([settings.n_mels, settings.n_fft / 2 + 1])
                .to_device(device),
        }
    }

    /// The mel bank, [n_mels, n_fft / 2 + 1].
    pub fn bank(&self) -> &Tensor {
        &self.bank
    }

    /// Linear magnitudes.
    ///
    /// Shapes: [batch, samples] -> [batch, n_fft / 2 + 1, 1 + (samples + 2 * padding - n_fft) / hop_length]
    pub fn spec(&self, wave: &Tensor) -> Tensor {
        let pad = self.settings.padding;
        self.spec_of_padded(&wave.unsqueeze(1).reflection_pad1d([pad, pad]).squeeze_dim(1))
    }

    fn spec_of_padded(&self, padded: &Tensor) -> Tensor {
        let complex = padded.stft(
            self.settings.n_fft,
            self.settings.hop_length,
            self.settings.n_fft,
            Some(&self.window),
            /* normalized */ false,
            /* onesided */ true,
            /* return_complex */ true,
            /* align_to_window */ false,
        );
        let squares = complex.view_as_real().square();
        (squares.select(-1, 0) + squares.select(-1, 1) + self.settings.eps).sqrt()
    }

    /// Log-mel of linear magnitudes.
    ///
    /// Shapes: [batch, n_fft / 2 + 1, frames] -> [batch, n_mels, frames]
    pub fn mel_from_spec(&self, spec: &Tensor) -> Tensor {
        self.bank.matmul(spec).clamp_min(self.settings.clamp).log()
    }

    /// Log-mel of a wave.
    ///
    /// Shapes: [batch, samples] -> [batch, n_mels, frames] as [`Spectral::spec`]
    pub fn mel(&self, wave: &Tensor) -> Tensor {
        self.mel_from_spec(&self.spec(wave))
    }

    /// Log-mel of waves of different lengths, each mirrored at its own ends: a wave's frames are the same in any batch.
    /// The values after them are meaningless.
    ///
    /// Shapes: waves of more than `padding` samples -> [batch, n_mels, frames of the longest]
    pub fn mel_of_each(&self, waves: &[&[f32]]) -> Tensor {
        let pad = self.settings.padding as usize;
        let width = waves.iter().map(|wave| wave.len()).max().unwrap_or(0) + 2 * pad;
        let mut rows = vec![0.0f32; waves.len() * width];
        for (row, wave) in rows.chunks_exact_mut(width).zip(waves) {
            let n = wave.len();
            row[pad..pad + n].copy_from_slice(wave);
            for i in 0..pad {
                row[i] = wave[pad - i];
                row[pad + n + i] = wave[n - 2 - i];
            }
        }
        let padded = Tensor::from_slice(&rows).view([waves.len() as i64, width as i64]).to_device(self.bank.device());
        self.mel_from_spec(&self.spec_of_padded(&padded))
    }
}

/// The kind of mel scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MelScale {
    /// Slaney's: linear to 1 kHz (15 mel), logarithmic above with 27 steps for each factor of 6.4.
    Slaney,
    /// HTK's: 2595 log10(1 + f / 700).
    Htk,
}

const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = BREAK_HZ / LINEAR_HZ_PER_MEL;

fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

impl MelScale {
    fn mel(self, hz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
            Self::Slaney if hz < BREAK_HZ => hz / LINEAR_HZ_PER_MEL,
            Self::Slaney => BREAK_MEL + (hz / BREAK_HZ).ln() / log_step(),
        }
    }

    fn hz(self, mel: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
            Self::Slaney if mel < BREAK_MEL => mel * LINEAR_HZ_PER_MEL,
            Self::Slaney => BREAK_HZ * (log_step() * (mel - BREAK_MEL)).exp(),
        }
    }
}

/// Triangles of unit area between neighbouring mel points, row-major [n_mels, n_fft / 2 + 1].
pub fn mel_bank(settings: &MelSettings) -> Vec<f32> {
    let MelSettings { sample_rate, n_fft, n_mels, scale, .. } = *settings;
    let (low, high) = (scale.mel(settings.fmin), scale.mel(settings.fmax));
    let points: Vec<f64> =
        (0..n_mels + 2).map(|i| scale.hz(low + (high - low) * i as f64 / (n_mels + 1) as f64)).collect();
    let mut bank = Vec::with_capacity((n_mels * (n_fft / 2 + 1)) as usize);
    for triangle in points.windows(3) {
        let area = 2.0 / (triangle[2] - triangle[0]);
        for bin in 0..=n_fft / 2 {
            let hz = bin as f64 * sample_rate / n_fft as f64;
            let rising = (hz - triangle[0]) / (triangle[1] - triangle[0]);
            let falling = (triangle[2] - hz) / (triangle[2] - triangle[1]);
            // Rounded to float32 before and after the scaling, as the reference's table is.
            bank.push((f64::from(rising.min(falling).max(0.0) as f32) * area) as f32);
        }
    }
    bank
}
