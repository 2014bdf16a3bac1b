//! Pretrained files of the field: where they are looked for, and what to do when one is missing.

use crate::files::Workspace;
use crate::{Error, Kind, Result};
use std::path::PathBuf;

/// The folders that pretrained files are looked for in, first one first.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    folders: Vec<PathBuf>,
}

impl Store {
    /// The store of a workspace: its own folder assets/.
    pub fn new(workspace: &Workspace) -> Self {
        Self { root: workspace.root().to_owned(), folders: vec![workspace.path("assets")] }
    }

    /// A path that the user gave, relative to the workspace.
    pub fn path(&self, given: &str) -> PathBuf {
        self.root.join(given)
    }

    /// Where the asset `name` ("rmvpe.pt", "pretrained_v2/f0G40k.pth", "contentvec") lies: a file or a folder.
    ///
    /// Errors: `asset.missing` with the command that fetches it.
    pub fn locate(&self, name: &str) -> Result<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.exists()).ok_or_else(|| {
            Error::new(Kind::AssetMissing, format!("{name} is not there"))
                .hint(format!("`rvc-run assets fetch {name}` gets it"))
        })
    }
}
