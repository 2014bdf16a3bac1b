//! The networks of RVC, versions 1 and 2, with and without pitch: the synthesizer (generator, G) and the multi-period discriminator (D).
//!
//! ```text
//! phone, pitch ─> enc_p (text encoder) ─> m_p, logs_p ─────────────────────────────> KL loss
//! spec ─────────> enc_q (posterior) ────> z ─┬─> flow ─> z_p ──────────────────────> KL loss
//!                                            └─> slice ─> dec (NSF vocoder, f0) ───> y_hat ─> D, mel loss
//! ```
//!
//! In conversion the flow runs backwards: m_p, logs_p -> z_p -> z -> dec.
//!
//! [`rmvpe`], [`fcpe`] and [`crepe`] track pitch. They are only run, never trained; [`weights`] builds them from published files.

mod config;
pub mod crepe;
pub mod discriminator;
pub mod encoder;
pub mod fcpe;
pub mod flow;
pub mod hubert;
pub mod posterior;
pub mod rmvpe;
pub mod source;
pub mod synthesizer;
pub mod text_encoder;
pub mod vocoder;
pub mod wavenet;
pub mod weights;

pub use config::SynthesizerConfig;
pub use discriminator::{DiscOutput, Discriminator};
pub use synthesizer::{InferInput, InferOutput, Pitch, Synthesizer, TrainInput, TrainOutput, Window};
