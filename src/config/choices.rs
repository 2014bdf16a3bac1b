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
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// The variant of this word, as another program's file may have it. (Settings are read by [`super::choice`], which names the nearest.)
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }

            /// All words, with commas between.
            pub fn words() -> String {
                Self::ALL.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
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
    /// Pitch trackers. The first four are signal processing, the others networks.
    F0Method {
        Pm = "pm",
        Yin = "yin",
        Harvest = "harvest",
        Dio = "dio",
        Rmvpe = "rmvpe",
        Fcpe = "fcpe",
        Crepe = "crepe",
        CrepeTiny = "crepe-tiny",
    }
);
choices!(
    /// What unvoiced frames hold: zero, or values between their neighbours.
    F0Unvoiced { Zero = "zero", Interpolate = "interpolate" }
);
choices!(
    /// Content encoders that have names: the built-in one, RVC's, Applio's.
    EncoderName {
        Mel = "mel",
        HubertBase = "hubert_base",
        Contentvec = "contentvec",
        Spin = "spin",
        SpinV2 = "spin-v2",
        ChineseHubertBase = "chinese-hubert-base",
        JapaneseHubertBase = "japanese-hubert-base",
        KoreanHubertBase = "korean-hubert-base",
    }
);
choices!(
    /// Number formats of the pitch and content networks.
    Precision { Fp32 = "fp32", Bf16 = "bf16", Fp16 = "fp16" }
);
choices!(
    /// RVC's architectures.
    Version { V1 = "v1", V2 = "v2" }
);
choices!(
    /// Sizes of the networks.
    Preset { Full = "full", Tiny = "tiny" }
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

impl F0Method {
    /// Whether a network tracks the pitch, not signal processing.
    pub const fn is_network(self) -> bool {
        match self {
            Self::Pm | Self::Yin | Self::Harvest | Self::Dio => false,
            Self::Rmvpe | Self::Fcpe | Self::Crepe | Self::CrepeTiny => true,
        }
    }
}

/// A content encoder: one that has a name, or any HuBERT by its path, which makes the set an open one. Written as the name or the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ContentEncoder {
    Named(EncoderName),
    /// Of a file or folder, as it was given.
    Path(String),
}

impl ContentEncoder {
    /// The name or the path.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Named(name) => name.as_str(),
            Self::Path(path) => path,
        }
    }

    /// Whether a network encodes, not the built-in demo.
    pub fn is_network(&self) -> bool {
        *self != Self::Named(EncoderName::Mel)
    }
}

impl From<EncoderName> for ContentEncoder {
    fn from(name: EncoderName) -> Self {
        Self::Named(name)
    }
}

impl fmt::Display for ContentEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
