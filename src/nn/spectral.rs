//! Spectrogram and log-mel of the training loss.
//!
//! Source: spec F.2 (RVC `mel_processing.py`): reflect padding of (n_fft - hop) / 2, periodic Hann window of n_fft, no centring,
//! magnitude sqrt(re^2 + im^2 + eps), Slaney mel bank from 0 Hz to half the rate, log of the mel clamped from below.

use crate::config::Config;
use tch::{Device, Kind, Tensor};

/// The window and the mel bank of one configuration, kept on the device.
pub struct Spectral {
    n_fft: i64,
    hop_length: i64,
    eps: f64,
    clamp: f64,
    window: Tensor,
    bank: Tensor,
}

impl Spectral {
    pub fn new(config: &Config, device: Device) -> Self {
        let n_fft = config.n_fft();
        let bank = mel_bank(config.sample_rate as f64, n_fft, config.n_mels());
        Self {
            n_fft,
            hop_length: config.hop_length(),
            eps: config.spec_eps,
            clamp: config.mel_clamp,
            window: Tensor::hann_window_periodic(n_fft, true, (Kind::Float, device)),
            bank: Tensor::from_slice(&bank).view([config.n_mels(), n_fft / 2 + 1]).to_device(device),
        }
    }

    /// The mel bank, [n_mels, n_fft / 2 + 1].
    pub fn bank(&self) -> &Tensor {
        &self.bank
    }

    /// Linear magnitudes.
    ///
    /// Shapes: [batch, samples] -> [batch, n_fft / 2 + 1, samples / hop_length]
    pub fn spec(&self, wave: &Tensor) -> Tensor {
        let pad = (self.n_fft - self.hop_length) / 2;
        let padded = wave.unsqueeze(1).reflection_pad1d([pad, pad]).squeeze_dim(1);
        let complex = padded.stft(
            self.n_fft,
            self.hop_length,
            self.n_fft,
            Some(&self.window),
            /* normalized */ false,
            /* onesided */ true,
            /* return_complex */ true,
            /* align_to_window */ false,
        );
        let squares = complex.view_as_real().square();
        (squares.select(-1, 0) + squares.select(-1, 1) + self.eps).sqrt()
    }

    /// Log-mel of linear magnitudes.
    ///
    /// Shapes: [batch, n_fft / 2 + 1, frames] -> [batch, n_mels, frames]
    pub fn mel_from_spec(&self, spec: &Tensor) -> Tensor {
        self.bank.matmul(spec).clamp_min(self.clamp).log()
    }

    /// Log-mel of a wave.
    ///
    /// Shapes: [batch, samples] -> [batch, n_mels, samples / hop_length]
    pub fn mel(&self, wave: &Tensor) -> Tensor {
        self.mel_from_spec(&self.spec(wave))
    }
}

/// Slaney's mel scale: linear to 1 kHz (15 mel), logarithmic above with 27 steps for each factor of 6.4.
const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const BREAK_HZ: f64 = 1000.0;
const BREAK_MEL: f64 = BREAK_HZ / LINEAR_HZ_PER_MEL;

fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < BREAK_HZ { hz / LINEAR_HZ_PER_MEL } else { BREAK_MEL + (hz / BREAK_HZ).ln() / log_step() }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < BREAK_MEL { mel * LINEAR_HZ_PER_MEL } else { BREAK_HZ * (log_step() * (mel - BREAK_MEL)).exp() }
}

/// Triangles of unit area between neighbouring mel points, row-major [n_mels, n_fft / 2 + 1], from 0 Hz to half the rate.
pub fn mel_bank(sample_rate: f64, n_fft: i64, n_mels: i64) -> Vec<f32> {
    let top = hz_to_mel(sample_rate / 2.0);
    let points: Vec<f64> = (0..n_mels + 2).map(|i| mel_to_hz(top * i as f64 / (n_mels + 1) as f64)).collect();
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
