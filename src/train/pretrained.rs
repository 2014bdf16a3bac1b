//! The start of a new training: a pretrained generator and discriminator, or random weights.
//!
//! Source: spec F.9. RVC loads `["model"]` of both files strictly, without optimizer state. Its bases are in half
//! precision (spec F.9); they are converted to float32.

use crate::assets::Store;
use crate::config::Config;
use crate::config::choices::{EncoderName, F0Method, Preset};
use crate::models::weights;
use crate::nn::Params;
use crate::torchfile::{self, TorchFile};
use crate::{Error, Kind, Result, files, recognise};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Keys under which a file may have the state dict.
const PLACES: [&str; 4] = ["model", "", "state_dict", "weight"];

/// The files that a training starts from; None for random weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    pub g: Option<PathBuf>,
    pub d: Option<PathBuf>,
}

/// The base of a training, for its manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRecord {
    pub g: Option<BaseFile>,
    pub d: Option<BaseFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    /// Its file name without the folder.
    pub name: String,
    pub sha256: String,
}

impl Base {
    /// The files that the settings name. No base fits the tiny preset, where "default" means "none".
    ///
    /// Errors: one `asset.missing` for both, with the command that fetches them; `file.not_found`.
    pub fn find(config: &Config, store: &Store) -> Result<Self> {
        // An encoder and a pitch method without files, so that only the base is required.
        let only_base = Config { content_encoder: EncoderName::Mel.into(), f0_method: F0Method::Pm, ..config.clone() };
        store.require_for_training(&[only_base])?;
        let one = |setting: &str, given: &str, network: &str| match given {
            "none" => Ok(None),
            "default" if config.preset == Preset::Tiny => Ok(None),
            "default" => store.locate(&config.pretrained_name(network)).map(Some),
            path => store.given(setting, path).map(Some),
        };
        Ok(Self {
            g: one("pretrained_g", &config.pretrained_g, "G")?,
            d: one("pretrained_d", &config.pretrained_d, "D")?,
        })
    }

    /// The rows of the base generator's speaker table, if there is a base. Errors: `file.*`, `checkpoint.damaged`.
    pub fn speakers(&self) -> Result<Option<i64>> {
        self.g.as_ref().map_or(Ok(None), |path| Ok(speakers(&torchfile::read(path)?)))
    }

    /// Name and digest of both files. Errors: `file.read`.
    pub fn record(&self) -> Result<BaseRecord> {
        let file = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    Ok::<_, Error>(BaseFile { name, sha256: files::digest_file(path)? })
                })
                .transpose()
        };
        Ok(BaseRecord { g: file(&self.g)?, d: file(&self.d)? })
    }
}

/// The settings without a base: the training has begun, or starts from random weights.
pub fn without_base(config: &Config) -> Config {
    Config { pretrained_g: "none".into(), pretrained_d: "none".into(), ..config.clone() }
}

/// The rows of a generator's speaker table: 109 in RVC's own, the number of speakers in Applio's trainings from scratch.
pub fn speakers(file: &TorchFile) -> Option<i64> {
    let prefix = file.state_dict_prefix(&PLACES)?;
    let (_, name) = file.keys(prefix).into_iter().find(|(key, _)| weights::canonical(key) == "emb_g.weight")?;
    i64::try_from(*file.shape(&name)?.first()?).ok()
}

/// Fills a network with the weights of a base: a file with the state dict under "model", as bases and checkpoints have it,
/// or at its root.
///
/// Errors: `checkpoint.mismatch` with everything that does not fit; `checkpoint.damaged`; `file.*`. The network must not be
/// used after an error.
pub fn load(path: &Path, params: &Params) -> Result<()> {
    let file = torchfile::read(path)?;
    let prefix = file.state_dict_prefix(&PLACES).unwrap_or("model");
    weights::fill(&file, prefix, params).map(drop).map_err(|e| {
        let names = file.names();
        let (part, wanted) = if params.get("enc_p.emb_phone.weight").is_some() {
            ("enc_p.emb_phone.", "a generator (G) to start from")
        } else {
            ("discriminators.0.", "a discriminator (D) to start from")
        };
        // A network of the right kind and the wrong size: the list of mismatches is more useful.
        if !names.iter().any(|name| name.contains(part))
            && let Some(found) = recognise::network(&file.entries(&[]).unwrap_or_default(), &names)
        {
            return found.refused(Kind::CheckpointMismatch, path, wanted);
        }
        if prefix == "weight" {
            e.also("it is an exported voice, which lacks parts that training needs; use the G_ file that it was exported from")
        } else {
            e
        }
    })
}
