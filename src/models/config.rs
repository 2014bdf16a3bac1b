//! Sizes of the networks, as in RVC's config.json and exported voices.

use crate::config::Config;
use crate::config::choices::{Preset, SineGenerator, Version};
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Sizes of synthesizer and discriminator. The serde form is the object "model" of RVC's config.json.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "RVC's own switches, each independent")]
pub struct SynthesizerConfig {
    pub inter_channels: i64,
    pub hidden_channels: i64,
    pub filter_channels: i64,
    pub n_heads: i64,
    pub n_layers: i64,
    pub kernel_size: i64,
    /// Always 0: with it nothing is dropped and no random number is drawn.
    pub p_dropout: i64,
    /// "1": residual blocks of pairs of convolutions.
    pub resblock: String,
    pub resblock_kernel_sizes: Vec<i64>,
    pub resblock_dilation_sizes: Vec<Vec<i64>>,
    pub upsample_rates: Vec<i64>,
    pub upsample_initial_channel: i64,
    pub upsample_kernel_sizes: Vec<i64>,
    pub use_spectral_norm: bool,
    pub gin_channels: i64,
    pub spk_embed_dim: i64,
    /// Bins of the spectrogram, n_fft / 2 + 1.
    #[serde(skip)]
    pub spec_channels: i64,
    /// Frames of the decoder's training window.
    #[serde(skip)]
    pub segment_frames: i64,
    /// Hz.
    #[serde(skip)]
    pub sample_rate: i64,
    /// Values of one content frame: 768 in version 2, 256 in version 1.
    #[serde(skip)]
    pub content_channels: i64,
    /// Whether the network has pitch; without it there is neither a pitch embedding nor a sine source.
    #[serde(skip)]
    pub f0: bool,
    /// The sine source of RVC 2026 instead of 2024's.
    #[serde(skip)]
    pub sine_2026: bool,
    /// The position of enc_p in the state dict: first in version 1, last in version 2 (spec E.8).
    #[serde(skip)]
    pub text_encoder_first: bool,
    /// Networks of the discriminator on periods of the wave.
    #[serde(skip)]
    pub discriminator_periods: usize,
    /// Layers of the posterior encoder and of each coupling; 16 and 3 in RVC, which names neither in its config.
    #[serde(skip)]
    pub posterior_layers: i64,
    #[serde(skip)]
    pub coupling_layers: i64,
    /// The discriminator's channels and groups are RVC's divided by this.
    #[serde(skip)]
    pub discriminator_divisor: i64,
}

impl SynthesizerConfig {
    /// The networks that the settings ask for.
    pub fn from_config(config: &Config) -> Self {
        let segment_size = if config.segment_size == 0 { config.default_segment_size() } else { config.segment_size };
        let v1 = config.version == Version::V1;
        let (rates, kernels): (&[i64], &[i64]) = match (config.sample_rate, v1) {
            (32000, true) => (&[10, 4, 2, 2, 2], &[16, 16, 4, 4, 4]),
            (48000, true) => (&[10, 6, 2, 2, 2], &[16, 16, 4, 4, 4]),
            (32000, false) => (&[10, 8, 2, 2], &[20, 16, 4, 4]),
            (48000, false) => (&[12, 10, 2, 2], &[24, 20, 4, 4]),
            // Applio's; supported only for conversion.
            (24000, false) => (&[10, 6, 2, 2], &[20, 12, 4, 4]),
            _ => (&[10, 10, 2, 2], &[16, 16, 4, 4]),
        };
        let full = Self {
            inter_channels: 192,
            hidden_channels: 192,
            filter_channels: 768,
            n_heads: 2,
            n_layers: 6,
            kernel_size: 3,
            p_dropout: 0,
            resblock: "1".into(),
            resblock_kernel_sizes: vec![3, 7, 11],
            resblock_dilation_sizes: vec![vec![1, 3, 5]; 3],
            upsample_rates: rates.to_vec(),
            upsample_initial_channel: 512,
            upsample_kernel_sizes: kernels.to_vec(),
            use_spectral_norm: false,
            gin_channels: 256,
            spk_embed_dim: config.spk_embed_dim,
            spec_channels: config.n_fft() / 2 + 1,
            segment_frames: segment_size / config.hop_length(),
            sample_rate: config.sample_rate,
            content_channels: config.content_channels(),
            f0: config.if_f0,
            sine_2026: config.sine_generator == SineGenerator::Of2026,
            text_encoder_first: v1,
            discriminator_periods: if v1 { 6 } else { 8 },
            posterior_layers: 16,
            coupling_layers: 3,
            discriminator_divisor: 1,
        };
        if config.preset == Preset::Tiny { full.tiny() } else { full }
    }

    /// The same architecture with few channels: a step takes a fraction of a second on two cores.
    fn tiny(self) -> Self {
        Self {
            inter_channels: 32,
            hidden_channels: 32,
            filter_channels: 64,
            n_layers: 2,
            // One residual block per stage instead of three: they take four fifths of the vocoder's time.
            resblock_kernel_sizes: vec![3],
            resblock_dilation_sizes: vec![vec![1, 3, 5]],
            upsample_initial_channel: 64,
            gin_channels: 32,
            discriminator_divisor: 16,
            ..self
        }
    }

    /// As in voices.
    pub fn version(&self) -> Version {
        if self.text_encoder_first { Version::V1 } else { Version::V2 }
    }

    /// Samples per frame; the hop length.
    pub fn upsampling(&self) -> i64 {
        self.upsample_rates.iter().product()
    }

    /// Samples of the decoder's training window.
    pub fn segment_size(&self) -> i64 {
        self.segment_frames * self.upsampling()
    }

    /// The 18 entries of an exported voice's "config" (spec G.3), in RVC's order.
    ///
    /// Source: `process_ckpt.py`; the second entry, the segment's frames, is always 32: readers ignore it.
    pub fn export_list(&self) -> Vec<Value> {
        vec![
            json!(self.spec_channels),
            json!(32),
            json!(self.inter_channels),
            json!(self.hidden_channels),
            json!(self.filter_channels),
            json!(self.n_heads),
            json!(self.n_layers),
            json!(self.kernel_size),
            json!(self.p_dropout),
            json!(self.resblock),
            json!(self.resblock_kernel_sizes),
            json!(self.resblock_dilation_sizes),
            json!(self.upsample_rates),
            json!(self.upsample_initial_channel),
            json!(self.upsample_kernel_sizes),
            json!(self.spk_embed_dim),
            json!(self.gin_channels),
            json!(self.sample_rate),
        ]
    }

    /// Checks the requirements of the networks. Errors: `config.value`.
    pub fn validate(&self) -> Result<()> {
        let stages = self.upsample_rates.len();
        let halvings = 1_i64 << stages.min(32);
        let promises = [
            (self.n_heads > 0 && self.hidden_channels % self.n_heads == 0, "n_heads must divide hidden_channels"),
            (self.inter_channels % 2 == 0, "inter_channels must be even"),
            (
                self.upsample_kernel_sizes.len() == stages,
                "upsample_kernel_sizes must have as many values as upsample_rates",
            ),
            (
                self.resblock_kernel_sizes.len() == self.resblock_dilation_sizes.len(),
                "resblock_dilation_sizes must have as many values as resblock_kernel_sizes",
            ),
            (
                self.upsample_initial_channel % halvings == 0,
                "upsample_initial_channel must be divisible by 2 at every stage",
            ),
            (
                self.upsample_rates.iter().zip(&self.upsample_kernel_sizes).all(|(u, k)| k >= u && (k - u) % 2 == 0),
                "upsample_kernel_sizes must exceed upsample_rates by even numbers",
            ),
            (self.segment_frames > 0 && self.spk_embed_dim > 0, "segment and speakers must be at least 1"),
            (self.resblock == "1" && self.p_dropout == 0, "resblock must be \"1\" and p_dropout 0"),
            (
                self.discriminator_divisor > 0 && 16 % self.discriminator_divisor == 0,
                "the discriminator's divisor must divide 16",
            ),
        ];
        match promises.iter().find(|(kept, _)| !kept) {
            None => Ok(()),
            Some((_, promise)) => {
                Err(Error::new(Kind::ConfigValue, format!("these networks cannot be built: {promise}")))
            }
        }
    }
}
