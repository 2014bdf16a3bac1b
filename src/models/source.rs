//! dec.m_source: a sine at f0 in voiced frames, noise in the others, through one trained weight and tanh (spec E.6).
//!
//! RVC has had two generators of the sine. They differ in rounding (within 5e-6 of the exact phase for 3000 frames) and in the
//! unused random numbers that they draw, which shift all later ones.

use crate::models::SynthesizerConfig;
use crate::nn::conv::Linear;
use crate::nn::params::Builder;
use tch::{Kind, Tensor};

pub struct Source {
    l_linear: Linear,
    sample_rate: f64,
    /// 1, 2, ..., samples of a frame.
    ramp: Tensor,
    of_2026: bool,
}

impl Source {
    /// Amplitude of the sine.
    const SINE: f64 = 0.1;
    /// Standard deviation of the noise under a sine; unvoiced samples have SINE / 3.
    const NOISE: f64 = 0.003;

    pub fn new(b: &mut Builder, key: &str, c: &SynthesizerConfig) -> Self {
        let l_linear = Linear::new(b, &format!("{key}.l_linear"), 1, 1);
        let ramp = Tensor::arange_start(1, c.upsampling() + 1, (Kind::Float, b.device()));
        Self { l_linear, sample_rate: c.sample_rate as f64, ramp, of_2026: c.sine_2026 }
    }

    /// Draws the initial phase, whose value is not used (the first harmonic's is 0): `rand [1, 1, 1]` in 2024's generator,
    /// `rand [batch, 1]` in 2026's; then `randn [batch, samples, 1]`.
    ///
    /// Shapes: f0 [batch, frames] in Hz, 0 = unvoiced -> [batch, frames * hop_length, 1]
    pub fn forward(&self, f0: &Tensor) -> Tensor {
        let excitation = tch::no_grad(|| self.excitation(f0));
        self.l_linear.forward(&excitation).tanh()
    }

    fn excitation(&self, f0: &Tensor) -> Tensor {
        let (batch, frames) = f0.size2().expect("f0 is [batch, frames]");
        let upsampling = self.ramp.size()[0];
        let f0 = f0.unsqueeze(2);
        let turns = if self.of_2026 { self.turns_2026(&f0) } else { self.turns_2024(&f0) };
        let sine = (turns * std::f64::consts::TAU).sin().view([batch, frames * upsampling, 1]);
        let voiced = f0.gt(0.0).to_kind(Kind::Float);
        let voiced = voiced.expand([batch, frames, upsampling], false).reshape([batch, frames * upsampling, 1]);
        let noise_amplitude = &voiced * Self::NOISE + (voiced.ones_like() - &voiced) * (Self::SINE / 3.0);
        let noise = noise_amplitude * sine.randn_like();
        sine * Self::SINE * voiced + noise
    }

    /// The phase in turns: within a frame f0 / rate * (1..=hop_length), and what earlier frames add up to carried as a
    /// fraction of a turn.
    ///
    /// Shapes: [batch, frames, 1] -> [batch, frames, hop_length]
    fn turns_2024(&self, f0: &Tensor) -> Tensor {
        let (frames, upsampling) = (f0.size()[1], self.ramp.size()[0]);
        let turns: Tensor = f0 / self.sample_rate * &self.ramp;
        // Each frame's last phase, wrapped to -0.5..0.5 so that the float32 sum stays small; the first frame starts at 0.
        let last = (turns.narrow(1, 0, frames - 1).narrow(2, upsampling - 1, 1) + 0.5).fmod(1.0) - 0.5;
        let carried = last.cumsum(1, Kind::Float).fmod(1.0).constant_pad_nd([0, 0, 1, 0]);
        let _initial_phase = Tensor::rand([1, 1, 1], (Kind::Float, f0.device()));
        turns + carried
    }

    /// The phase in turns: a running sum over all samples, minus 1 wherever a rough phase (the frames' sum, linearly interpolated)
    /// passes a whole turn. So the sum stays small; the position of the wrap does not affect the sine.
    ///
    /// Shapes: [batch, frames, 1] -> [batch, frames * hop_length, 1]
    fn turns_2026(&self, f0: &Tensor) -> Tensor {
        let (batch, frames, _) = f0.size3().expect("f0 is [batch, frames, 1]");
        let upsampling = self.ramp.size()[0];
        let samples = frames * upsampling;
        let step = (f0 / self.sample_rate).remainder(1.0);
        let _initial_phase = Tensor::rand([batch, 1], (Kind::Float, f0.device()));
        let rough = (step.cumsum(1, Kind::Float) * upsampling as f64).transpose(1, 2);
        let rough = rough.upsample_linear1d([samples], /* align_corners */ true, None).remainder(1.0);
        let wraps = (rough.narrow(2, 1, samples - 1) - rough.narrow(2, 0, samples - 1)).lt(0.0).to_kind(Kind::Float);
        let step = step.expand([batch, frames, upsampling], false).reshape([batch, samples, 1]);
        let shift = wraps.constant_pad_nd([1, 0]).transpose(1, 2);
        (step - shift).cumsum(1, Kind::Float)
    }
}
