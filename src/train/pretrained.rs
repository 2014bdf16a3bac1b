//! Where a training starts when nothing was trained yet: a pretrained generator and discriminator, or random weights.
//!
//! Source: spec F.9. RVC loads `["model"]` of both files strictly and takes no optimizer state over. Its bases are in half
//! precision (spec F.9); they are widened.

use crate::assets::Store;
use crate::config::Config;
use crate::models::weights;
use crate::nn::Params;
use crate::torchfile::{self, TorchFile};
use crate::{Error, Kind, Result, files, recognise};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a file may have the state dict.
const PLACES: [&str; 4] = ["model", "", "state_dict", "weight"];

/// The files that a training starts from; None is random weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    pub g: Option<PathBuf>,
    pub d: Option<PathBuf>,
}

/// What a training started from, for its manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRecord {
    pub g: Option<BaseFile>,
    pub d: Option<BaseFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFile {
    /// Its name without the folder: where it lay says nothing about it.
    pub name: String,
    pub sha256: String,
}

impl Base {
    /// The files that the settings ask for. The tiny preset has no base that would fit: "default" is none there.
    ///
    /// Errors: `asset.missing`, one for both, with the command that fetches them; `file.not_found`.
    pub fn find(config: &Config, store: &Store) -> Result<Self> {
        // Both encoder and tracker that need no file, so that the base alone is asked for.
        require(&Config { content_encoder: "mel".into(), f0_method: "pm".into(), ..config.clone() }, store)?;
        let one = |setting: &str, given: &str, network: &str| match given {
            "none" => Ok(None),
            "default" if config.preset == "tiny" => Ok(None),
            "default" => store.locate(&config.pretrained_name(network)).map(Some),
            path => existing(setting, store.path(path)).map(Some),
        };
        Ok(Self {
            g: one("pretrained_g", &config.pretrained_g, "G")?,
            d: one("pretrained_d", &config.pretrained_d, "D")?,
        })
    }

    /// The rows of the generator's table of speakers, if there is one to start from. Errors: `file.*`, `checkpoint.damaged`.
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

/// The settings of a training that needs no base: it has begun, or starts from random weights.
pub fn without_base(config: &Config) -> Config {
    Config { pretrained_g: "none".into(), pretrained_d: "none".into(), ..config.clone() }
}

/// Errors: one `asset.missing` for all files that the way from recordings to a voice needs, the base among them.
pub fn require(config: &Config, store: &Store) -> Result<()> {
    store.require(config).map_err(|error| match store.require(&without_base(config)) {
        Ok(()) => {
            error.also("--pretrained-g none and --pretrained-d none start from random weights, which takes far longer")
        }
        Err(_) => error,
    })
}

/// The rows of a generator's table of speakers: 109 in RVC's own, as many as there are speakers in what Applio trains from scratch.
pub fn speakers(file: &TorchFile) -> Option<i64> {
    let prefix = file.state_dict_prefix(&PLACES)?;
    let (_, name) = file.keys(prefix).into_iter().find(|(key, _)| weights::canonical(key) == "emb_g.weight")?;
    i64::try_from(*file.shape(&name)?.first()?).ok()
}

fn existing(setting: &str, path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::new(Kind::NotFound, format!("{setting} is {}, but there is no such file", path.display()))
        .path(path)
        .hint("give the path of a .pth file, or default, or none"))
}

/// Fills a network with the weights of a base: a file with the state dict under "model", as bases and checkpoints have it,
/// or at its root.
///
/// Errors: `checkpoint.mismatch` with everything that does not fit; `checkpoint.damaged`; `file.*`. The network is then not to
/// be used.
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
        // A network of the right kind and the wrong size: what does not fit says more.
        if !names.iter().any(|name| name.contains(part))
            && let Some(found) = recognise::network(&file.entries(&[]).unwrap_or_default(), &names)
        {
            return found.refused(Kind::CheckpointMismatch, path, wanted);
        }
        if prefix == "weight" {
            e.also("it is an exported voice, which lacks parts that training needs; take the G_ file it was made from")
        } else {
            e
        }
    })
}
