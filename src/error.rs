//! The one error type: what failed, on what, with which value, what is allowed, and what to do next.
//!
//! Layers below `main` return these; scripts see them with `kind`, `message`, `hint` and `path`.

use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as a stable dotted code that scripts and tests match on (never on message text).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file or folder that must be there is not.
    NotFound,
    /// The operating system refused to read.
    Read,
    /// The operating system refused to write (permission, read-only).
    Write,
    /// No space left while writing.
    DiskFull,
    /// Another process holds the lock.
    Locked,
    /// A sound file that cannot be decoded.
    AudioDecode,
    /// A sound file without usable samples.
    AudioEmpty,
    /// A data set, or a folder of recordings, with nothing usable in it.
    DataEmpty,
    /// A feature, file list or cache file whose content is not what it should be.
    DataDamaged,
    /// A setting with a name that does not exist.
    ConfigUnknownKey,
    /// A setting out of its range or of the wrong type.
    ConfigValue,
    /// Settings that contradict files already there.
    ConfigMismatch,
    /// A checkpoint that is truncated, altered or unreadable.
    CheckpointDamaged,
    /// A checkpoint whose shapes, keys or settings differ from this training's.
    CheckpointMismatch,
    /// A pretrained file that is needed and was not found.
    AssetMissing,
    /// A pretrained file whose content is not what its name promises.
    AssetDamaged,
    /// A download that did not succeed.
    Network,
    /// A requested device that this machine does not have.
    DeviceMissing,
    /// The device ran out of memory.
    DeviceMemory,
    /// A loss or parameter that is no longer finite.
    NotFinite,
    /// libtorch reported an error.
    Torch,
    /// The script is wrong.
    Script,
    /// The command line is wrong.
    Usage,
    /// Ctrl-C or a signal.
    Cancelled,
    /// A bug in rvc-run: its own code broke a promise.
    Internal,
}

impl Kind {
    /// The dotted code.
    pub fn code(self) -> &'static str {
        match self {
            Kind::NotFound => "file.not_found",
            Kind::Read => "file.read",
            Kind::Write => "file.write",
            Kind::DiskFull => "file.disk_full",
            Kind::Locked => "file.locked",
            Kind::AudioDecode => "audio.decode",
            Kind::AudioEmpty => "audio.empty",
            Kind::DataEmpty => "data.empty",
            Kind::DataDamaged => "data.damaged",
            Kind::ConfigUnknownKey => "config.unknown_key",
            Kind::ConfigValue => "config.value",
            Kind::ConfigMismatch => "config.mismatch",
            Kind::CheckpointDamaged => "checkpoint.damaged",
            Kind::CheckpointMismatch => "checkpoint.mismatch",
            Kind::AssetMissing => "asset.missing",
            Kind::AssetDamaged => "asset.damaged",
            Kind::Network => "network",
            Kind::DeviceMissing => "device.missing",
            Kind::DeviceMemory => "device.memory",
            Kind::NotFinite => "train.not_finite",
            Kind::Torch => "torch",
            Kind::Script => "script",
            Kind::Usage => "usage",
            Kind::Cancelled => "cancelled",
            Kind::Internal => "internal",
        }
    }

    /// Whether the same work may succeed on a retry: the machine was at fault (memory, disk, network, a lock), or the cause is unknown.
    /// A wrong setting, a missing file or bad data fail again.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Kind::Read
                | Kind::Write
                | Kind::DiskFull
                | Kind::Locked
                | Kind::Network
                | Kind::DeviceMemory
                | Kind::Torch
                | Kind::Cancelled
                | Kind::Internal
        )
    }

    /// Whether an error is about one recording or clip, so that the others can continue without it.
    pub fn concerns_one_item(self) -> bool {
        matches!(
            self,
            Kind::AudioDecode | Kind::AudioEmpty | Kind::DataDamaged | Kind::NotFinite | Kind::NotFound | Kind::Read
        )
    }

    /// Whether [`Kind::may_pass`] holds for an error with this code; true for codes that a script defines.
    pub fn code_may_pass(code: &str) -> bool {
        ALL.iter().find(|kind| kind.code() == code).is_none_or(|kind| kind.may_pass())
    }
}

const ALL: [Kind; 25] = [
    Kind::NotFound,
    Kind::Read,
    Kind::Write,
    Kind::DiskFull,
    Kind::Locked,
    Kind::AudioDecode,
    Kind::AudioEmpty,
    Kind::DataEmpty,
    Kind::DataDamaged,
    Kind::ConfigUnknownKey,
    Kind::ConfigValue,
    Kind::ConfigMismatch,
    Kind::CheckpointDamaged,
    Kind::CheckpointMismatch,
    Kind::AssetMissing,
    Kind::AssetDamaged,
    Kind::Network,
    Kind::DeviceMissing,
    Kind::DeviceMemory,
    Kind::NotFinite,
    Kind::Torch,
    Kind::Script,
    Kind::Usage,
    Kind::Cancelled,
    Kind::Internal,
];

/// An error with its kind, a message in lower case without a full stop, and, where they help, a path and a hint.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    path: Option<PathBuf>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, path: None, source: None }
    }

    /// The error of a cancelled task.
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "stopped on request")
    }

    /// An operating-system error from `action` ("read", "rename", ...) on `path`; the cause decides its kind.
    pub fn io(action: &str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind as E;
        let writing = !matches!(action, "read" | "open" | "list" | "look at");
        // EFBIG (a file-size limit) is treated as a full disk: the remedy is the same.
        let full = matches!(source.kind(), E::StorageFull | E::QuotaExceeded | E::FileTooLarge);
        let kind = match source.kind() {
            _ if full => Kind::DiskFull,
            E::NotFound => Kind::NotFound,
            _ if writing => Kind::Write,
            _ => Kind::Read,
        };
        let hint = match kind {
            Kind::DiskFull => Some("free some space and run the same command again; finished work is kept"),
            Kind::Write if source.kind() == E::PermissionDenied || source.kind() == E::ReadOnlyFilesystem => {
                Some("check the owner and permissions of the folder, or choose another with --workspace")
            }
            _ => None,
        };
        let mut error =
            Self::new(kind, format!("cannot {action} {}: {source}", path.display())).path(path).source(source);
        error.hint = hint.map(str::to_owned);
        error
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint after the existing one.
    #[must_use]
    pub fn also(mut self, hint: impl std::fmt::Display) -> Self {
        self.hint = Some(match self.hint {
            Some(first) => format!("{first}; {hint}"),
            None => hint.to_string(),
        });
        self
    }

    /// This error followed by the message and hint of `other`: one error for everything that is wrong.
    #[must_use]
    pub fn joined(mut self, other: Self) -> Self {
        self.message = format!("{}; {}", self.message, other.message);
        match other.hint {
            Some(hint) if !self.hint.as_ref().is_some_and(|own| own.contains(&hint)) => self.also(hint),
            _ => self,
        }
    }

    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    #[must_use]
    pub fn source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Prefixes the message with what was being done: "{context}: {message}".
    #[must_use]
    pub fn context(mut self, context: impl std::fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub fn file(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}

/// The name in `known` nearest to `given`, for `did you mean "x"?`; None if no name is close enough to be a typo.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(given.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_known_and_only_faults_of_the_machine_pass() {
        for kind in ALL {
            assert_eq!(Kind::code_may_pass(kind.code()), kind.may_pass(), "{kind:?}");
        }
        for lasting in [
            "config.value",
            "config.unknown_key",
            "config.mismatch",
            "asset.missing",
            "data.empty",
            "file.not_found",
            "usage",
        ] {
            assert!(!Kind::code_may_pass(lasting), "{lasting}");
        }
        for passing in ["file.disk_full", "device.memory", "network", "file.locked", "torch", "my.own"] {
            assert!(Kind::code_may_pass(passing), "{passing}");
        }
    }
}
