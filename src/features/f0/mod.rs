//! The fundamental frequency of a clip, 100 values per second, and its quantisation for the pitch embedding.
//!
//! Every method writes 0 for unvoiced frames; [`fill_unvoiced`] replaces those zeros if a voice requires it. The signal processing
//! methods and CREPE search 50 to 1100 Hz, RMVPE and FCPE 32 to 2000 Hz. Frame k is at sample 160 k.

pub mod crepe;
pub mod fcpe;
mod network;
mod pm;
pub mod rmvpe;
mod unvoiced;
mod world;
mod yin;

pub use unvoiced::fill_unvoiced;

use super::{SAMPLE_RATE, Setup, batches, each_clip, finite};
use crate::config::choices::F0Method;
use crate::models::crepe::Size;
use crate::task::Task;
use crate::{Error, Kind, Result};

/// Samples between two frames: 10 ms.
pub const HOP_LENGTH: usize = 160;
/// Lowest and highest f0 in Hz (spec B.1); the ends of the quantiser's scale.
pub const F0_MIN: f64 = 50.0;
pub const F0_MAX: f64 = 1100.0;

/// A signal processing method; none needs a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Praat's autocorrelation (Boersma 1993): fast, exact, robust on clean speech.
    Pm,
    /// YIN (de Cheveigné & Kawahara 2002).
    Yin,
    /// WORLD's Harvest: smooth, voices more than the others, slow.
    Harvest,
    /// WORLD's DIO, refined by StoneMask: fast.
    Dio,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::Pm, Self::Yin, Self::Harvest, Self::Dio];

    pub fn name(self) -> &'static str {
        let method = match self {
            Self::Pm => F0Method::Pm,
            Self::Yin => F0Method::Yin,
            Self::Harvest => F0Method::Harvest,
            Self::Dio => F0Method::Dio,
        };
        method.as_str()
    }

    /// Frames of a clip: one more than whole hops, except that `pm` has one per hop (spec B.7).
    pub fn frames(self, n_samples: usize) -> usize {
        n_samples / HOP_LENGTH + usize::from(self != Self::Pm)
    }

    /// Name and version of the computation, for cache keys: changes whenever a value may change.
    pub fn digest(self) -> String {
        format!("{}-1", self.name())
    }
}

/// The f0 of a clip at 16 kHz.
///
/// Shapes   samples: [n] -> [method.frames(n)]
/// Units    Hz; 0 where unvoiced. A clip too short for one window is all unvoiced.
/// Errors   `data.damaged` if a sample is not finite
/// Source   spec B.7
pub fn compute(method: Method, samples: &[f32]) -> Result<Vec<f64>> {
    let x = finite(samples)?;
    Ok(match method {
        Method::Pm => pm::f0(&x),
        Method::Yin => yin::f0(&x),
        Method::Harvest => world::harvest(&x),
        Method::Dio => world::dio(&x),
    })
}

/// Extracts the f0 of many clips with one method, opened once.
pub struct Extractor {
    engine: Engine,
    /// Replaces the method's own threshold.
    threshold: Option<f32>,
}

enum Engine {
    Signal(Method),
    Network(Box<dyn network::Tracker>),
}

impl Extractor {
    /// The extractor of a method that needs no file.
    pub fn signal(method: Method) -> Self {
        Self { engine: Engine::Signal(method), threshold: None }
    }

    /// The extractor of a method; a network is loaded from its file.
    ///
    /// Errors: `asset.missing`; `checkpoint.mismatch` and `checkpoint.damaged` for a file
    /// whose content does not match its name; `device.memory`.
    pub fn open(method: F0Method, setup: &Setup) -> Result<Self> {
        let network: Box<dyn network::Tracker> = match method {
            F0Method::Pm => return Ok(Self::signal(Method::Pm)),
            F0Method::Yin => return Ok(Self::signal(Method::Yin)),
            F0Method::Harvest => return Ok(Self::signal(Method::Harvest)),
            F0Method::Dio => return Ok(Self::signal(Method::Dio)),
            F0Method::Rmvpe => Box::new(rmvpe::open(setup)?),
            F0Method::Fcpe => Box::new(fcpe::open(setup)?),
            F0Method::Crepe => Box::new(crepe::open(Size::Full, setup)?),
            F0Method::CrepeTiny => Box::new(crepe::open(Size::Tiny, setup)?),
        };
        Ok(Self { engine: Engine::Network(network), threshold: None })
    }

    /// The same with another confidence threshold for voicing; 0 keeps the method's own.
    ///
    /// Errors: `config.value` for a signal processing method, which has no threshold.
    pub fn with_threshold(mut self, threshold: f64) -> Result<Self> {
        if threshold > 0.0 {
            let Engine::Network(network) = &mut self.engine else {
                return Err(Error::new(Kind::ConfigValue, "f0_threshold works only with pitch networks"));
            };
            network.set_threshold(threshold as f32);
            self.threshold = Some(threshold as f32);
        }
        Ok(self)
    }

    /// Everything that the values depend on except the samples, for cache keys.
    pub fn digest(&self) -> String {
        match &self.engine {
            Engine::Signal(method) => method.digest(),
            Engine::Network(network) => match self.threshold {
                Some(threshold) => format!("{} threshold {threshold}", network.digest()),
                None => network.digest(),
            },
        }
    }

    /// Calls `done` with each clip's f0, in the order of the clips. `size` is a clip's length in samples, known
    /// without reading it; `load` reads a clip; `done` gets the clip's f0 or its error
    /// and decides whether one bad clip ends the stage.
    ///
    /// Errors: `cancelled`, and the first error of `done`; with a network also `device.memory` and `torch`.
    pub fn extract<C: Sync, R: Send>(
        &self,
        task: &Task,
        stage: &str,
        clips: &[C],
        size: impl Fn(&C) -> usize,
        load: impl Fn(&C) -> Result<Vec<f32>> + Sync,
        done: impl Fn(&C, Result<Vec<f64>>) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        match &self.engine {
            Engine::Signal(method) => each_clip(task, stage, clips, load, |samples| compute(*method, samples), done),
            Engine::Network(network) => {
                let cost = |clip: &C| network.cost(size(clip));
                let forward = |group: &[Vec<f32>]| network::forward(network.as_ref(), group);
                batches::in_batches(task, stage, clips, cost, network.most(), load, forward, done)
            }
        }
    }
}

/// The coarse pitch of each frame: 1 for unvoiced and up to 50 Hz, 255 from 1100 Hz, equal steps on the mel scale
/// between them.
///
/// Shapes   f0: [n] -> [n], values 1..=255
/// Source   spec B.1; halves round to even, as NumPy's rint
pub fn coarse(f0: &[f64]) -> Vec<i64> {
    let mel = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
    let (low, high) = (mel(F0_MIN), mel(F0_MAX));
    f0.iter()
        .map(|hz| {
            let step = (mel(*hz) - low) * 254.0 / (high - low) + 1.0;
            // False also for NaN, which thus counts as unvoiced.
            if step > 1.0 { step.min(255.0).round_ties_even() as i64 } else { 1 }
        })
        .collect()
}
