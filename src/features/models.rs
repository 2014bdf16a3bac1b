//! The networks and methods that a run extracts features with, each opened once for all stages. Training releases them because it needs the
//! memory: the next voice of a batch opens them again.

use crate::assets::Store;
use crate::config::Config;
use crate::config::choices::Precision;
use crate::features::content::Encoder;
use crate::features::f0::Extractor;
use crate::nn::runtime;
use crate::{Error, Kind, Result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tch::Device;

/// Where and how a feature network runs.
#[derive(Clone, Debug)]
pub struct Setup {
    pub store: Store,
    pub device: Device,
    /// The number format for computation: Float, BFloat16 or Half.
    pub kind: tch::Kind,
}

impl Setup {
    /// Errors: `device.missing`, `config.value` for a precision that the device does not support.
    pub fn new(store: &Store, config: &Config) -> Result<Self> {
        let device = runtime::device(config.gpu)?;
        let kind = match config.feature_precision {
            Precision::Fp32 => tch::Kind::Float,
            Precision::Bf16 => tch::Kind::BFloat16,
            Precision::Fp16 if device.is_cuda() => tch::Kind::Half,
            Precision::Fp16 => {
                return Err(Error::new(Kind::ConfigValue, "feature_precision is fp16, but that needs a GPU")
                    .hint("on a CPU use bf16 for half width; fp32 works everywhere"));
            }
        };
        Ok(Self { store: store.clone(), device, kind })
    }

    /// For methods without a network: they run on the worker pool, whatever `gpu` and `feature_precision` are.
    pub fn without_network(store: &Store) -> Self {
        Self { store: store.clone(), device: Device::Cpu, kind: tch::Kind::Float }
    }

    /// The name of the number format, for digests.
    pub fn precision(&self) -> Precision {
        match self.kind {
            tch::Kind::BFloat16 => Precision::Bf16,
            tch::Kind::Half => Precision::Fp16,
            _ => Precision::Fp32,
        }
    }
}

/// Opened encoders and extractors by the settings that they were opened with.
pub struct Models {
    store: Store,
    encoders: RefCell<HashMap<String, Rc<Encoder>>>,
    extractors: RefCell<HashMap<String, Rc<Extractor>>>,
}

impl Models {
    pub fn new(store: Store) -> Self {
        Self { store, encoders: RefCell::default(), extractors: RefCell::default() }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The encoder of `content_encoder` and `version`. Errors: `config.value`, `asset.missing`, `checkpoint.*`, `device.*`.
    pub fn encoder(&self, config: &Config) -> Result<Rc<Encoder>> {
        let key = format!("{} {} {} {}", config.content_encoder, config.version, config.feature_precision, config.gpu);
        if let Some(open) = self.encoders.borrow().get(&key) {
            return Ok(open.clone());
        }
        let setup = self.setup(config, config.content_encoder.is_network())?;
        let open = Rc::new(Encoder::open(&config.content_encoder, config.version, &setup)?);
        Ok(self.encoders.borrow_mut().entry(key).or_insert(open).clone())
    }

    /// The extractor of `f0_method`. Errors: as [`Models::encoder`].
    pub fn extractor(&self, config: &Config) -> Result<Rc<Extractor>> {
        let key = format!("{} {} {} {}", config.f0_method, config.f0_threshold, config.feature_precision, config.gpu);
        if let Some(open) = self.extractors.borrow().get(&key) {
            return Ok(open.clone());
        }
        let setup = self.setup(config, config.f0_method.is_network())?;
        let open = Rc::new(Extractor::open(config.f0_method, &setup)?.with_threshold(config.f0_threshold)?);
        Ok(self.extractors.borrow_mut().entry(key).or_insert(open).clone())
    }

    fn setup(&self, config: &Config, network: bool) -> Result<Setup> {
        if network { Setup::new(&self.store, config) } else { Ok(Setup::without_network(&self.store)) }
    }

    /// Opens everything that the settings name, so that a missing or wrong file is found before any work. Errors: as [`Models::encoder`].
    pub fn open(&self, config: &Config) -> Result<()> {
        self.encoder(config)?;
        if config.if_f0 {
            self.extractor(config)?;
        }
        Ok(())
    }

    /// Frees all networks: training needs the memory.
    pub fn release(&self) {
        self.encoders.borrow_mut().clear();
        self.extractors.borrow_mut().clear();
    }
}

/// Whether content or f0 uses a network; only networks use `feature_precision`.
pub fn any_network(config: &Config) -> bool {
    config.content_encoder.is_network() || (config.if_f0 && config.f0_method.is_network())
}
