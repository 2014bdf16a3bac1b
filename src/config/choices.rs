//! Settings that are one of a few words: an enum for each, written as its word.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An enum whose variants are words in JSON, on the command line and in messages.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $word:tt),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[schemars(inline)]
        pub enum $name {
            $($(#[$note])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choices!(
    /// How recordings are cut into clips.
    Slicing { Automatic = "automatic", Fixed = "fixed", None = "none" }
);
choices!(
    /// How clips are numbered.
    Numbering { Fixed = "fixed", Rvc = "rvc" }
);
choices!(
    /// How the level of clips is set.
    Normalization { Rvc = "rvc", Peak = "peak", Lufs = "lufs", None = "none" }
);
choices!(
    /// The RVC release whose sine source is used.
    SineGenerator { Of2024 = "2024", Of2026 = "2026" }
);
choices!(
    /// The program whose order of parameters G_ and D_ files have.
    CheckpointOrder { Auto = "auto", Rvc = "rvc", Applio = "applio" }
);
choices!(
    /// The metrics whose mean is recorded for every epoch.
    BestMetric { Mel = "loss_mel", Kl = "loss_kl", Fm = "loss_fm", Gen = "loss_gen", Disc = "loss_disc" }
);
choices!(
    /// Which checkpoints go to MLflow.
    TrackCheckpoints { Last = "last", All = "all", None = "none" }
);
