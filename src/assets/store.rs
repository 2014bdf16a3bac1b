//! Where pretrained files are on this machine.
//!
//! RVC_RUN_ASSETS may name a folder of ours, the assets/ folder or the whole checkout of RVC WebUI, a checkout of Applio, or
//! rvc-next's folder, so that nobody has to download files again.

use super::catalog::Asset;
use super::{Catalog, f0_file};
use crate::config::Config;
use crate::config::choices::F0Method;
use crate::files::Workspace;
use crate::{Error, Kind, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Subfolders of a folder of assets to search: itself, those of RVC WebUI's checkout, those of Applio's.
const BELOW: [&str; 3] = ["", "assets", "rvc/models"];

/// The folders to search for pretrained files, in order.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    folders: Vec<PathBuf>,
    /// Where new files go.
    target: PathBuf,
    /// What is wrong with RVC_RUN_ASSETS.
    warnings: Vec<String>,
    catalog: Catalog,
}

impl Store {
    /// The store of a workspace without the environment: only its folder assets/.
    pub fn new(workspace: &Workspace) -> Self {
        let own = workspace.path("assets");
        Self {
            root: workspace.root().to_owned(),
            folders: vec![own.clone()],
            target: own,
            warnings: Vec::new(),
            catalog: Catalog::built_in().clone(),
        }
    }

    /// The store of a workspace and the environment: also the folders of RVC_RUN_ASSETS, then the user's cache folder.
    ///
    /// New files go to the workspace's assets/ if it exists, else to the first existing folder of RVC_RUN_ASSETS (in a
    /// checkout of RVC WebUI to its assets/), else to the cache folder, which all workspaces of a user share.
    pub fn with_environment(workspace: &Workspace, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut store = Self::new(workspace);
        let given = variable("RVC_RUN_ASSETS").unwrap_or_default();
        let given: Vec<PathBuf> = std::env::split_paths(&given).filter(|path| !path.as_os_str().is_empty()).collect();
        // A missing folder is more likely a typo or an unmounted disk than intended.
        let (there, absent): (Vec<&PathBuf>, Vec<&PathBuf>) = given.iter().partition(|path| path.is_dir());
        store.warnings = absent.into_iter().map(|path| absence(path)).collect();
        let cache = cache_folder(variable);
        if !store.target.is_dir() {
            let first = there.first().map(|folder| inside(folder));
            store.target = first.or_else(|| cache.clone()).unwrap_or(store.target);
        }
        store.folders.extend(given.into_iter().chain(cache));
        store
    }

    /// The same store, with new files going to `folder`, which is also searched first.
    #[must_use]
    pub fn into_folder(mut self, folder: PathBuf) -> Self {
        self.folders.insert(0, folder.clone());
        self.target = folder;
        self
    }

    /// The same store with another catalog.
    #[must_use]
    pub fn with_catalog(mut self, catalog: Catalog) -> Self {
        self.catalog = catalog;
        self
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The folders to search, in order.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// What is wrong with the folders of RVC_RUN_ASSETS, a sentence for each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The folder that new files go to.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A path that the user gave, relative to the workspace.
    pub fn path(&self, given: &str) -> PathBuf {
        self.root.join(given)
    }

    /// The path of the complete asset `name` ("rmvpe.pt", "pretrained_v2/f0G40k.pth", "contentvec"): a file or a folder.
    ///
    /// Errors: `asset.missing` with the folders searched, incomplete copies found there, and the command that fetches it;
    /// `config.value` for a name that is not in the catalog.
    pub fn locate(&self, name: &str) -> Result<PathBuf> {
        let asset = self.catalog.asset(name)?;
        self.find_whole(asset).ok_or_else(|| self.missing_error(&[asset]))
    }

    /// The asset `name`, or one that can replace it, and the path of its complete copy. Errors: as [`Store::locate`].
    pub fn locate_or_twin(&self, name: &str) -> Result<(&Asset, PathBuf)> {
        let asset = self.catalog.asset(name)?;
        let found = self.alternatives(asset)?.into_iter().find_map(|asset| Some((asset, self.find_whole(asset)?)));
        found.ok_or_else(|| self.missing_error(&[asset]))
    }

    /// An asset and those that can replace it.
    fn alternatives<'a>(&'a self, asset: &'a Asset) -> Result<Vec<&'a Asset>> {
        let instead = asset.instead.iter().map(|name| self.catalog.asset(name));
        std::iter::once(Ok(asset)).chain(instead).collect()
    }

    /// The path of an asset with all its files.
    pub fn find_whole(&self, asset: &Asset) -> Option<PathBuf> {
        self.places(asset).find(|path| asset.missing_at(path).is_empty())
    }

    /// The path of an incomplete asset, if there is no complete one: a folder without all its files, or a folder instead of a file.
    pub fn find_incomplete(&self, asset: &Asset) -> Option<PathBuf> {
        if self.find_whole(asset).is_some() { None } else { self.places(asset).find(|path| path.exists()) }
    }

    fn places<'a>(&'a self, asset: &'a Asset) -> impl Iterator<Item = PathBuf> + 'a {
        let names = move || std::iter::once(&asset.name).chain(&asset.also_at);
        let folders = self.folders.iter().flat_map(|folder| BELOW.map(|below| folder.join(below)));
        folders.flat_map(move |folder| names().map(move |name| folder.join(name)))
    }

    /// The assets that training with these settings needs and that are missing, along with all their replacements.
    /// Errors: `config.value` for a name that is not in the catalog.
    pub fn missing(&self, config: &Config) -> Result<Vec<&Asset>> {
        let mut missing = Vec::new();
        for name in super::needed(config) {
            let asset = self.catalog.asset(&name)?;
            if self.alternatives(asset)?.into_iter().all(|asset| self.find_whole(asset).is_none()) {
                missing.push(asset);
            }
        }
        Ok(missing)
    }

    /// Errors unless every file that these settings need is there, in one error for all of them: `asset.missing` with the command that fetches
    /// those that have a name, `file.not_found` for those that a setting gives by path.
    pub fn require(&self, config: &Config) -> Result<()> {
        self.require_all(std::slice::from_ref(config))
    }

    /// As [`Store::require`], for runs with different settings.
    pub fn require_all(&self, configs: &[Config]) -> Result<()> {
        let (mut missing, mut absent): (Vec<&Asset>, Vec<Error>) = (Vec::new(), Vec::new());
        for config in configs {
            for asset in self.missing(config)? {
                if !missing.iter().any(|other| other.name == asset.name) {
                    missing.push(asset);
                }
            }
            for error in super::given(config).into_iter().filter_map(|(setting, path)| self.given(setting, path).err())
            {
                if !absent.iter().any(|other| other.message() == error.message()) {
                    absent.push(error);
                }
            }
        }
        let named = (!missing.is_empty()).then(|| self.missing_error(&missing));
        named.into_iter().chain(absent).reduce(Error::joined).map_or(Ok(()), Err)
    }

    /// As [`Store::require_all`], for trainings that have not begun: the hint also names flags that need no file.
    pub fn require_for_training(&self, configs: &[Config]) -> Result<()> {
        self.require_all(configs).map_err(|error| {
            let missing = configs.iter().filter_map(|config| self.missing(config).ok()).flatten().collect::<Vec<_>>();
            without(&missing).into_iter().fold(error, Error::also)
        })
    }

    /// The path of a file that a setting gives. Errors: `file.not_found`.
    pub fn given(&self, setting: &str, path: &str) -> Result<PathBuf> {
        let path = self.path(path);
        let (is_there, what, hint) = match setting {
            "content_encoder" => (
                path.exists(),
                "file or folder",
                "give a .pt or .bin file, or a folder with config.json and pytorch_model.bin",
            ),
            _ => (path.is_file(), "file", "give the path of a .pth file, default, or none"),
        };
        if is_there {
            return Ok(path);
        }
        let message = format!("{setting} is {}, but there is no such {what}", path.display());
        Err(Error::new(Kind::NotFound, message).path(path).hint(hint))
    }

    /// The asset that can replace this one, or that this one can replace.
    fn twin(&self, asset: &Asset) -> Option<&Asset> {
        let instead = |one: &Asset, other: &Asset| one.instead.first() == Some(&other.name);
        self.catalog.assets.iter().find(|other| instead(asset, other) || instead(other, asset))
    }

    fn missing_error(&self, assets: &[&Asset]) -> Error {
        let mut names = Vec::new();
        let mut incomplete = Vec::new();
        for asset in assets {
            // If its twin is there, only this form of the two is missing: somebody asked for it.
            let twin = self.twin(asset).filter(|twin| self.find_whole(twin).is_none());
            names.push(match twin {
                Some(twin) => format!("{} (or the {} {})", asset.name, twin.form(), twin.name),
                None => asset.name.clone(),
            });
            for asset in std::iter::once(*asset).chain(twin) {
                incomplete.extend(self.find_incomplete(asset).map(|path| lacking(asset, &path)));
            }
        }
        let folders: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let was = if names.len() == 1 { "was" } else { "were" };
        let looked = format!("{} {was} not found (searched {})", names.join(", "), folders.join(", "));
        let message = std::iter::once(looked).chain(incomplete).chain(self.warnings.iter().cloned());
        let message = message.collect::<Vec<_>>().join("; ");
        let error = Error::new(Kind::AssetMissing, message).hint(remedy(assets));
        match assets.iter().filter(|asset| asset.is_published()).count() {
            0 => error,
            n => error.also(self.offline(if n == 1 { "it" } else { "them" })),
        }
    }

    /// What to do about missing files (`them`) where there is no network.
    fn offline(&self, them: &str) -> String {
        format!(
            "without a network, copy {them} to {}, or set RVC_RUN_ASSETS to a folder that has {them}, such as that of RVC WebUI or Applio \
             (`rvc-run guide pretrained`)",
            self.target.display()
        )
    }
}

/// Flags of a recipe that trains, with which it needs none of the `missing` files; None if nothing is missing.
fn without(missing: &[&Asset]) -> Option<String> {
    let is_base = |asset: &&&Asset| asset.name.starts_with("pretrained");
    let is_tracker = |asset: &&&Asset| F0Method::ALL.iter().any(|method| f0_file(*method) == Some(asset.name.as_str()));
    let n = |wanted: &dyn Fn(&&&Asset) -> bool| missing.iter().filter(|asset| wanted(asset)).count();
    let (bases, trackers) = (n(&is_base), n(&is_tracker));
    if missing.is_empty() {
        return None;
    }
    if bases == missing.len() {
        return Some(
            "`--pretrained-g none --pretrained-d none` starts from random weights, which takes far longer".into(),
        );
    }
    let parts = [
        (bases > 0, "--preset tiny"),
        (bases + trackers < missing.len(), "--content-encoder mel"),
        (trackers > 0, "--f0-method pm"),
    ];
    let flags: Vec<&str> = parts.iter().filter(|(is_missing, _)| *is_missing).map(|(_, flag)| *flag).collect();
    let quality = if trackers < missing.len() { ", in demo quality" } else { "" };
    Some(format!("`{}` needs no file{quality}", flags.join(" ")))
}

/// Where new files go in a folder of RVC_RUN_ASSETS: in a checkout to its assets/, not beside its sources.
fn inside(folder: &Path) -> PathBuf {
    let assets = folder.join("assets");
    if assets.is_dir() { assets } else { folder.to_owned() }
}

fn absence(path: &Path) -> String {
    let what = if path.exists() { "is not a folder" } else { "does not exist" };
    format!("{}, from RVC_RUN_ASSETS, {what}", path.display())
}

/// What is missing from an incomplete asset at `path`.
fn lacking(asset: &Asset, path: &Path) -> String {
    let place = path.display();
    match (asset.form(), path.is_dir()) {
        ("file", _) => format!("{place} is not a file"),
        (_, false) => format!("{place} is not a folder"),
        _ => format!("{place} is there without {}", asset.missing_at(path).join(", ")),
    }
}

/// How a person gets `assets`: the command for those that can be fetched, what to do by hand for the others.
pub fn remedy(assets: &[&Asset]) -> String {
    let fetched: Vec<&Asset> = assets.iter().copied().filter(|asset| asset.is_published()).collect();
    let mut hints: Vec<String> = assets.iter().filter_map(|asset| asset.by_hand.clone()).collect();
    if !fetched.is_empty() {
        hints.insert(
            0,
            format!("`{}` gets {}", fetch_command(&fetched), if fetched.len() == 1 { "it" } else { "them" }),
        );
    }
    hints.join("; ")
}

/// The command that fetches all of `assets`.
pub fn fetch_command(assets: &[&Asset]) -> String {
    let names: Vec<&str> = assets.iter().map(|asset| asset.name.as_str()).collect();
    let flag = if assets.iter().all(|asset| asset.is_verifiable()) { "" } else { " --unverified" };
    format!("rvc-run assets fetch {}{flag}", names.join(" "))
}

/// The user's cache folder for assets; None if the environment has no home.
fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Caches"))
    } else {
        // A relative XDG_CACHE_HOME is ignored (XDG Base Directory Specification).
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    };
    base.map(|base| base.join("rvc-run").join("assets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::choices::{ContentEncoder, EncoderName};

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    #[test]
    fn the_layouts_of_rvc_webui_and_applio_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let (web, applio) = (folder.path().join("webui"), folder.path().join("applio"));
        touch(&web.join("assets/rmvpe/rmvpe.pt"));
        touch(&web.join("assets/hubert/hubert_base.pt"));
        for file in ["config.json", "pytorch_model.bin"] {
            touch(&applio.join("rvc/models/embedders/contentvec").join(file));
        }
        touch(&applio.join("rvc/models/pretraineds/hifi-gan/f0G40k.pth"));
        let both = std::env::join_paths([&web, &applio]).unwrap();
        let workspace = Workspace::new(folder.path());
        let store = Store::with_environment(&workspace, |name| (name == "RVC_RUN_ASSETS").then(|| both.clone()));
        assert_eq!(store.locate("rmvpe.pt").unwrap(), web.join("assets/rmvpe/rmvpe.pt"));
        assert_eq!(store.locate("hubert_base.pt").unwrap(), web.join("assets/hubert/hubert_base.pt"));
        assert_eq!(store.locate("contentvec").unwrap(), applio.join("rvc/models/embedders/contentvec"));
        assert!(store.locate("pretrained_v2/f0G40k.pth").unwrap().ends_with("hifi-gan/f0G40k.pth"));
        // The workspace's own comes first.
        touch(&folder.path().join("assets/rmvpe.pt"));
        assert_eq!(store.locate("rmvpe.pt").unwrap(), folder.path().join("assets/rmvpe.pt"));
    }

    #[test]
    fn the_layout_of_rvc_next_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let next = folder.path().join("data/assets");
        let files = ["config.json", "pytorch_model.bin", "preprocessor_config.json"];
        let folders = ["hubert_base", "embedders/spin", "embedders/spin-v2", "embedders/chinese-hubert-base"];
        let folders = folders.into_iter().chain(["embedders/japanese-hubert-base", "embedders/korean-hubert-base"]);
        folders.flat_map(|at| files.map(|file| format!("{at}/{file}"))).for_each(|file| touch(&next.join(file)));
        for file in
            ["rmvpe/rmvpe.pt", "fcpe/fcpe_c_v001.pt", "crepe/full.pth", "crepe/tiny.pth", "pretrained_v2/f0D48k.pth"]
        {
            touch(&next.join(file));
        }
        // Its own folder, and the folder above it.
        for given in [next.clone(), folder.path().join("data")] {
            let workspace = Workspace::new(folder.path());
            let store = Store::with_environment(&workspace, |name| {
                (name == "RVC_RUN_ASSETS").then(|| given.clone().into_os_string())
            });
            for (name, at) in [
                ("hubert_base", "hubert_base"),
                ("spin", "embedders/spin"),
                ("spin-v2", "embedders/spin-v2"),
                ("chinese-hubert-base", "embedders/chinese-hubert-base"),
                ("japanese-hubert-base", "embedders/japanese-hubert-base"),
                ("korean-hubert-base", "embedders/korean-hubert-base"),
                ("rmvpe.pt", "rmvpe/rmvpe.pt"),
                ("fcpe.pt", "fcpe/fcpe_c_v001.pt"),
                ("crepe_full.pth", "crepe/full.pth"),
                ("crepe_tiny.pth", "crepe/tiny.pth"),
                ("pretrained_v2/f0D48k.pth", "pretrained_v2/f0D48k.pth"),
            ] {
                assert_eq!(store.locate(name).unwrap(), next.join(at), "{name}");
            }
        }
    }

    #[test]
    fn applios_contentvec_and_rvcs_hubert_base_do_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path()));
        let assets = folder.path().join("assets");
        let usual = Config { content_encoder: EncoderName::HubertBase.into(), ..Config::default() };
        let applios = Config { content_encoder: EncoderName::Contentvec.into(), ..usual.clone() };
        assert!(store.require(&usual).is_err() && store.require(&applios).is_err());

        for file in ["config.json", "pytorch_model.bin"] {
            touch(&assets.join("embedders/contentvec").join(file));
        }
        for config in [&usual, &applios] {
            store.require(config).unwrap();
        }
        for name in ["hubert_base.pt", "contentvec"] {
            let (asset, path) = store.locate_or_twin(name).unwrap();
            assert_eq!((asset.name.as_str(), path), ("contentvec", assets.join("embedders/contentvec")));
        }
        // What was asked for comes first.
        touch(&assets.join("hubert/hubert_base.pt"));
        assert_eq!(store.locate_or_twin("hubert_base.pt").unwrap().0.name, "hubert_base.pt");
        assert_eq!(store.locate_or_twin("contentvec").unwrap().0.name, "contentvec");
        std::fs::remove_dir_all(assets.join("embedders")).unwrap();
        assert_eq!(store.locate_or_twin("contentvec").unwrap().0.name, "hubert_base.pt");
        assert_eq!(
            store.locate("contentvec").unwrap_err().kind(),
            Kind::AssetMissing,
            "the folder itself is not there"
        );
    }

    #[test]
    fn an_incomplete_folder_does_not_hide_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let (own, shared) = (folder.path().join("assets"), folder.path().join("shared"));
        std::fs::create_dir(&shared).unwrap();
        let workspace = Workspace::new(folder.path());
        let store = Store::with_environment(&workspace, |name| {
            (name == "RVC_RUN_ASSETS").then(|| shared.clone().into_os_string())
        });
        touch(&own.join("contentvec/config.json"));
        std::fs::create_dir(own.join("rmvpe.pt")).unwrap();
        let error = store.locate("contentvec").unwrap_err();
        assert_eq!(error.kind(), Kind::AssetMissing);
        let expected = format!("; {} is there without pytorch_model.bin", own.join("contentvec").display());
        assert!(error.message().ends_with(&expected), "{error}");
        let expected = format!("; {} is not a file", own.join("rmvpe.pt").display());
        assert!(store.locate("rmvpe.pt").unwrap_err().message().ends_with(&expected));

        for file in ["contentvec/config.json", "contentvec/pytorch_model.bin", "rmvpe.pt"] {
            touch(&shared.join(file));
        }
        assert_eq!(store.locate("contentvec").unwrap(), shared.join("contentvec"));
        assert_eq!(store.locate("rmvpe.pt").unwrap(), shared.join("rmvpe.pt"));
    }

    #[test]
    fn both_forms_of_an_encoder_are_named_unless_one_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path()));
        let message = |name: &str| store.locate(name).unwrap_err().message().to_owned();
        assert!(message("hubert_base.pt").starts_with("hubert_base.pt (or the folder hubert_base) was not found"));
        assert!(message("hubert_base").starts_with("hubert_base (or the file hubert_base.pt) was not found"));
        touch(&folder.path().join("assets/hubert_base/config.json"));
        assert!(
            message("hubert_base.pt")
                .ends_with("hubert_base is there without pytorch_model.bin, preprocessor_config.json")
        );
        touch(&folder.path().join("assets/hubert_base.pt"));
        assert!(message("hubert_base").starts_with("hubert_base was not found"), "the other one is there");
    }

    #[test]
    fn new_files_go_to_the_workspace_if_it_has_assets_else_to_the_shared_folder() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        let environment = |name: &str| (name == "RVC_RUN_ASSETS").then(|| shared.clone().into_os_string());
        assert_eq!(Store::with_environment(&workspace, environment).target(), shared);
        std::fs::create_dir(folder.path().join("assets")).unwrap();
        assert_eq!(Store::with_environment(&workspace, environment).target(), folder.path().join("assets"));
        assert_eq!(Store::with_environment(&workspace, |_| None).folders().len(), 1, "no home, no cache folder");
    }

    #[test]
    fn new_files_go_into_the_assets_of_a_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        let web = folder.path().join("webui");
        std::fs::create_dir_all(web.join("assets")).unwrap();
        let store = Store::with_environment(&workspace, |name| (name == "RVC_RUN_ASSETS").then(|| web.clone().into()));
        assert_eq!(store.target(), web.join("assets"));
        touch(&store.target().join("rmvpe.pt"));
        assert_eq!(store.locate("rmvpe.pt").unwrap(), web.join("assets/rmvpe.pt"), "it is found there again");
    }

    #[test]
    fn a_folder_that_does_not_exist_is_reported_and_gets_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        let (mistyped, file, shared) =
            (folder.path().join("mistyped"), folder.path().join("file"), folder.path().join("shared"));
        touch(&file);
        std::fs::create_dir(&shared).unwrap();
        let of = |given: &[&PathBuf]| {
            let given = std::env::join_paths(given).unwrap();
            Store::with_environment(&workspace, |name| (name == "RVC_RUN_ASSETS").then(|| given.clone()))
        };
        let store = of(&[&mistyped, &file, &shared]);
        assert_eq!(store.target(), shared);
        let [first, second] = store.warnings() else { panic!("{:?}", store.warnings()) };
        assert_eq!(*first, format!("{}, from RVC_RUN_ASSETS, does not exist", mistyped.display()));
        assert!(second.ends_with("file, from RVC_RUN_ASSETS, is not a folder"), "{second}");
        assert!(store.locate("rmvpe.pt").unwrap_err().message().contains(first));
        assert_eq!(of(&[&mistyped]).target(), folder.path().join("assets"), "no home, no cache folder");
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn the_cache_folder_follows_xdg() {
        let of = |given: &'static [(&str, &str)]| {
            cache_folder(|name| given.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        assert_eq!(of(&[("HOME", "/home/a")]), Some("/home/a/.cache/rvc-run/assets".into()));
        assert_eq!(of(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/c")]), Some("/c/rvc-run/assets".into()));
        assert_eq!(of(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "c")]), Some("/home/a/.cache/rvc-run/assets".into()));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn one_error_names_all_that_is_missing_and_one_command() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path()));
        let config =
            Config { content_encoder: EncoderName::HubertBase.into(), f0_method: F0Method::Rmvpe, ..Config::default() };
        let error = store.require(&config).unwrap_err();
        assert_eq!(error.kind(), Kind::AssetMissing);
        assert!(
            error.message().starts_with("hubert_base.pt (or the folder hubert_base), rmvpe.pt were not found"),
            "{error}"
        );
        let hint = error.hint_text().unwrap();
        assert!(
            hint.starts_with(
                "`rvc-run assets fetch hubert_base.pt rmvpe.pt` gets them; without a network, copy them to "
            ),
            "{hint}"
        );
        assert!(
            hint.contains(&store.target().display().to_string()) && hint.contains("set RVC_RUN_ASSETS to a folder"),
            "{hint}"
        );
        for file in ["pytorch_model.bin", "config.json", "preprocessor_config.json"] {
            touch(&folder.path().join("assets/hubert_base").join(file));
        }
        touch(&folder.path().join("assets/rmvpe.pt"));
        store.require(&config).expect("the folder hubert_base does instead of the file");
    }

    #[test]
    fn one_error_names_files_by_name_and_by_path_of_all_runs_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path()));
        let one = Config { f0_method: F0Method::Rmvpe, pretrained_g: "g.pth".into(), ..Config::default() };
        let other = Config { f0_method: F0Method::Rmvpe, pretrained_d: "d.pth".into(), ..one.clone() };
        let encoder = Config { content_encoder: ContentEncoder::Path("my/encoder.pt".into()), ..other.clone() };
        let error = store.require_all(&[one, other, encoder]).unwrap_err();
        assert_eq!(error.kind(), Kind::AssetMissing);
        for name in ["rmvpe.pt was not found", "pretrained_g is ", "g.pth, but", "d.pth, but", "content_encoder is "] {
            assert_eq!(error.message().matches(name).count(), 1, "{name}: {error}");
        }
        assert_eq!(error.hint_text().unwrap().matches("default, or none").count(), 1, "{error:?}");
        let paths = Config { pretrained_g: "g.pth".into(), ..Config::default() };
        assert_eq!(store.require(&paths).unwrap_err().kind(), Kind::NotFound);
        touch(&folder.path().join("g.pth"));
        store.require(&paths).unwrap();
    }

    #[test]
    fn a_training_names_the_flags_that_need_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path()));
        let hint = |config: &Config| {
            let error = store.require_for_training(std::slice::from_ref(config)).unwrap_err();
            error.hint_text().unwrap().to_owned()
        };
        let usual = super::super::usual();
        let all = hint(&usual);
        assert!(
            all.ends_with("`--preset tiny --content-encoder mel --f0-method pm` needs no file, in demo quality"),
            "{all}"
        );
        let pitch = Config {
            pretrained_g: "none".into(),
            pretrained_d: "none".into(),
            content_encoder: EncoderName::Mel.into(),
            ..usual.clone()
        };
        assert!(hint(&pitch).ends_with("`--f0-method pm` needs no file"), "{}", hint(&pitch));
        let base = Config { f0_method: F0Method::Pm, content_encoder: EncoderName::Mel.into(), ..usual };
        assert!(hint(&base).contains("`--pretrained-g none --pretrained-d none` starts from"), "{}", hint(&base));
    }

    #[test]
    fn files_that_cannot_be_fetched_or_verified_are_reported_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path()));
        let crepe = store.locate("crepe_full.pth").unwrap_err();
        assert!(crepe.hint_text().unwrap().starts_with("take assets/full.pth out of"), "{crepe:?}");
        assert!(store.locate("spin").unwrap_err().hint_text().unwrap().contains("fetch spin --unverified"));
    }
}
