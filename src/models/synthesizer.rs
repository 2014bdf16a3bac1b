//! The generator G: RVC's SynthesizerTrnMs256NSFsid (version 1), SynthesizerTrnMs768NSFsid (version 2) and both without pitch
//! (_nono): a VITS without text or duration, with an NSF vocoder (spec E.1).

use crate::models::SynthesizerConfig;
use crate::models::flow::Flow;
use crate::models::posterior::PosteriorEncoder;
use crate::models::text_encoder::TextEncoder;
use crate::models::vocoder::Vocoder;
use crate::nn::conv::Embedding;
use crate::nn::params::{Builder, Params};
use crate::nn::slices::{Positions, random_starts};
use crate::{Result, nn};
use tch::{Device, Tensor};

/// Frames per call of the vocoder in conversion.
const PIECE: i64 = 400;

pub struct Synthesizer {
    pub dec: Vocoder,
    /// None in a network that only converts.
    pub enc_q: Option<PosteriorEncoder>,
    pub flow: Flow,
    pub emb_g: Embedding,
    pub enc_p: TextEncoder,
    /// 0, 1, 2, ... for masks and slices on this device.
    pub positions: Positions,
    params: Params,
    segment_frames: i64,
}

/// A batch, all tensors on the network's device.
pub struct TrainInput {
    /// [batch, frames, content]
    pub phone: Tensor,
    /// int64 [batch], as `spec_lengths`
    pub phone_lengths: Tensor,
    /// None for networks without pitch.
    pub pitch: Option<Pitch>,
    /// [batch, bins, frames]: linear magnitudes
    pub spec: Tensor,
    pub spec_lengths: Tensor,
    /// int64 [batch]: speaker
    pub sid: Tensor,
}

/// The pitch of a batch in both its forms.
pub struct Pitch {
    /// int64 [batch, frames]: 1..=255, 0 beyond a clip
    pub coarse: Tensor,
    /// [batch, frames]: Hz, 0 = unvoiced
    pub hz: Tensor,
}

/// G's outputs for a training step. All except `y_hat` and `ids_slice` are [batch, channels, frames].
pub struct TrainOutput {
    /// [batch, 1, segment_size]
    pub y_hat: Tensor,
    /// int64 [batch]: first frame of each row's window
    pub ids_slice: Tensor,
    pub x_mask: Tensor,
    pub y_mask: Tensor,
    pub z: Tensor,
    pub z_p: Tensor,
    pub m_p: Tensor,
    pub logs_p: Tensor,
    pub m_q: Tensor,
    pub logs_q: Tensor,
}

/// The input of a conversion; shapes as in [`TrainInput`].
pub struct InferInput {
    pub phone: Tensor,
    pub lengths: Tensor,
    pub pitch: Option<Pitch>,
    pub sid: Tensor,
    /// Only a part of the frames, for real-time use.
    pub window: Option<Window>,
}

/// The frames to generate sound for.
#[derive(Clone, Copy)]
pub struct Window {
    /// Frames before it; the flow still sees the last [`Window::FLOW_CONTEXT`] of them.
    pub skip_head: i64,
    /// Frames of it.
    pub return_length: i64,
    /// Frames it is stretched to, if other than `return_length`.
    pub stretched_length: Option<i64>,
}

impl Window {
    /// Frames on the left that the flow's convolutions reach.
    pub const FLOW_CONTEXT: i64 = 24;
}

pub struct InferOutput {
    /// [batch, 1, frames * hop_length]
    pub y_hat: Tensor,
    pub z: Tensor,
    pub z_p: Tensor,
}

impl Synthesizer {
    /// Scale of the prior's standard deviation when conversion samples.
    const NOISE_SCALE: f64 = 0.66666;

    /// A new generator, initialised from `seed` as spec E.10 says.
    ///
    /// Errors: `config.value` for sizes that do not fit each other, `device.memory`, `torch`.
    pub fn new(config: &SynthesizerConfig, device: Device, seed: i64) -> Result<Self> {
        Self::build(config, device, seed, true)
    }

    /// A generator without posterior encoder, whose parameters are those of an exported voice. Fill them, then [`Synthesizer::fuse`].
    ///
    /// Errors: as [`Synthesizer::new`].
    pub fn for_conversion(config: &SynthesizerConfig, device: Device) -> Result<Self> {
        Self::build(config, device, 0, false)
    }

    fn build(config: &SynthesizerConfig, device: Device, seed: i64, for_training: bool) -> Result<Self> {
        config.validate()?;
        nn::guard(|| {
            let mut b = Builder::new(device, seed);
            // The order of the state dict of RVC since June 2024, which optimizer states depend on.
            let first = config.text_encoder_first.then(|| TextEncoder::new(&mut b, "enc_p", config));
            let dec = Vocoder::new(&mut b, "dec", config);
            let enc_q = for_training.then(|| PosteriorEncoder::new(&mut b, "enc_q", config));
            let flow = Flow::new(&mut b, "flow", config);
            let emb_g = Embedding::new(&mut b, "emb_g", config.spk_embed_dim, config.gin_channels);
            let enc_p = first.unwrap_or_else(|| TextEncoder::new(&mut b, "enc_p", config));
            let positions = Positions::new(device);
            Self {
                dec,
                enc_q,
                flow,
                emb_g,
                enc_p,
                positions,
                params: b.finish(),
                segment_frames: config.segment_frames,
            }
        })
    }

    /// Computes every normed weight once; later changes of the parameters have no effect.
    pub fn fuse(&mut self) {
        self.dec.fuse();
        self.flow.fuse();
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The speaker's vector, [batch, gin, 1].
    pub fn speaker(&self, sid: &Tensor) -> Tensor {
        self.emb_g.forward(sid).unsqueeze(2)
    }

    /// One training pass. Every clip must have at least as many frames as the window.
    ///
    /// Draws, in order: `randn [batch, inter, frames]`, `rand [batch]` on the CPU, then the source's (spec J).
    /// Panics as tch does; call it inside [`nn::guard`].
    pub fn forward(&self, input: &TrainInput) -> TrainOutput {
        let g = self.speaker(&input.sid);
        let x_mask = self.positions.mask(&input.phone_lengths, input.phone.size()[1]);
        let pitch = input.pitch.as_ref();
        let prior = self.enc_p.forward(&input.phone, pitch.map(|p| &p.coarse), &x_mask);
        let y_mask = self.positions.mask(&input.spec_lengths, input.spec.size()[2]);
        let enc_q = self.enc_q.as_ref().expect("a network for conversion is never trained: Engine builds with new()");
        let posterior = enc_q.forward(&input.spec, &y_mask, &g);
        let z_p = self.flow.forward(&posterior.z, &y_mask, &g);
        let ids_slice = random_starts(&input.spec_lengths, self.segment_frames);
        let z_slice = self.positions.slice(&posterior.z, &ids_slice, self.segment_frames);
        let window =
            |hz: &Tensor| self.positions.slice(&hz.unsqueeze(1), &ids_slice, self.segment_frames).squeeze_dim(1);
        let f0 = pitch.map(|p| window(&p.hz));
        TrainOutput {
            y_hat: self.dec.forward(&z_slice, f0.as_ref(), &g),
            ids_slice,
            x_mask,
            y_mask,
            z: posterior.z,
            z_p,
            m_p: prior.m_p,
            logs_p: prior.logs_p,
            m_q: posterior.m_q,
            logs_q: posterior.logs_q,
        }
    }

    /// The converted wave, without gradients.
    ///
    /// Draws, in order: `randn [1, inter, frames]`, then the source's (spec J).
    /// Errors: `device.memory`, `torch`.
    pub fn infer(&self, input: &InferInput) -> Result<InferOutput> {
        nn::guard(|| {
            let _no_grad = tch::no_grad_guard();
            self.infer_unguarded(input)
        })
    }

    fn infer_unguarded(&self, input: &InferInput) -> InferOutput {
        let g = self.speaker(&input.sid);
        let mut mask = self.positions.mask(&input.lengths, input.phone.size()[1]);
        let mut prior = self.enc_p.forward(&input.phone, input.pitch.as_ref().map(|p| &p.coarse), &mask);
        let mut f0 = input.pitch.as_ref().map(|p| p.hz.shallow_clone());
        let mut head = 0;
        if let Some(window) = input.window {
            let before = (window.skip_head - Window::FLOW_CONTEXT).max(0);
            let cut = |x: &Tensor| x.narrow(2, before, x.size()[2] - before);
            prior.m_p = cut(&prior.m_p);
            prior.logs_p = cut(&prior.logs_p);
            mask = cut(&mask);
            head = window.skip_head - before;
            f0 = f0.map(|f0| f0.narrow(1, window.skip_head, window.return_length));
        }
        let noise = prior.m_p.randn_like() * Self::NOISE_SCALE;
        let z_p = (&prior.m_p + prior.logs_p.exp() * noise) * &mask;
        let mut z = self.flow.reverse(&z_p, &mask, &g);
        if let Some(window) = input.window {
            z = z.narrow(2, head, window.return_length);
            mask = mask.narrow(2, head, window.return_length);
        }
        let y_hat = match input.window.and_then(|w| w.stretched_length) {
            None => self.dec.forward_in_pieces(&(&z * &mask), f0.as_ref(), &g, PIECE),
            Some(frames) => self.dec.forward_stretched(&(&z * &mask), f0.as_ref(), &g, frames),
        };
        InferOutput { y_hat, z, z_p }
    }
}
