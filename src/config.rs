//! Every setting of the flow, declared once: name, type, default, range or choices, unit, group, help, what a change reruns.
//!
//! Flags, `--help`, `rvc-run settings`, `rvc-run docs`, the checks here and "did you mean" are generated from the declaration, the struct
//! [`Config`]. A recipe builds a map of settings; [`Config::from_json`] turns it into this struct and refuses
//! unknown names and bad values once, at the edge. Defaults are RVC's published values (spec D.2, F.7), except where RVC needs a download:
//! then [`Config::default`] has a value that needs none, and [`presets`] has RVC's.

pub mod choices;
pub mod idle;
pub mod layers;
pub mod presets;
pub mod settings;

use crate::error::nearest;
use crate::{Error, Kind, Result};
use choices::{
    BestMetric, CheckpointOrder, ContentEncoder, EncoderName, F0Method, F0Unvoiced, Normalization, Numbering,
    Precision, Preset, SineGenerator, Slicing, TrackCheckpoints, Version,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use settings::Setting;
use std::sync::LazyLock;

/// All settings, in the order in which they are written to manifests and hashed into keys: a new one goes to the end of its group only
/// if nothing stored holds it yet.
///
/// This is the only place that declares a setting; [`settings`] describes how the attributes are read. The first paragraph of a comment is the help of
/// the flag, the others are for `rvc-run settings NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// rate of the voice
    #[schemars(extend("enum" = [32000, 40000, 48000], "unit" = "Hz", "group" = "clips", "remakes" = ["everything"], "common" = true))]
    pub sample_rate: i64,
    /// how recordings become clips: at silences, then to length (automatic, as RVC); every slice_seconds (fixed); whole (none)
    #[schemars(extend("group" = "clips", "remakes" = ["clips", "features"]))]
    pub slicing: Slicing,
    /// longest clip; training reads the first 9 s of a clip
    ///
    /// RVC calls it `per`.
    #[schemars(range(min = 1.0, max = 30.0), extend("unit" = "seconds", "group" = "clips", "remakes" = ["clips", "features"]))]
    pub slice_seconds: f64,
    /// shortest clip, at most half of slice_seconds: 3, with slice_seconds 9; 0 is RVC's rule
    ///
    /// In automatic slicing a silence then ends a slice only when that is long enough, and a long slice is cut into equal clips. By RVC's
    /// rule what is left of a slice is a clip.
    #[schemars(range(min = 0.0, max = 30.0), extend("unit" = "seconds", "group" = "clips", "remakes" = ["clips", "features"]))]
    pub min_slice_seconds: f64,
    /// how much neighbouring clips share, at most half of slice_seconds
    #[schemars(range(min = 0.0, max = 15.0), extend("unit" = "seconds", "group" = "clips", "remakes" = ["clips", "features"]))]
    pub overlap_seconds: f64,
    /// how clips are numbered: fixed gives each its own number, rvc overwrites some, as RVC does
    ///
    /// RVC's numbering counts only where clips are cut by RVC's rule.
    #[schemars(extend("group" = "clips", "remakes" = ["clips"]))]
    pub numbering: Numbering,
    /// reject clips with louder peaks, as a factor of full scale
    #[schemars(range(min = 0.1, max = 1000.0), extend("group" = "clips", "remakes" = ["clips"]))]
    pub max_peak: f64,
    /// level of the clips: RVC's rule, their peaks, the recordings' loudness, or unchanged
    ///
    /// rvc brings each clip three quarters of the way to a peak of 0.9, peak each clip to target_peak_dbfs, lufs each recording to
    /// target_lufs with no clip's true peak over target_peak_dbfs.
    #[schemars(extend("group" = "clips", "remakes" = ["clips", "features"]))]
    pub normalization: Normalization,
    /// integrated loudness (ITU-R BS.1770) of recordings, with normalization lufs
    #[schemars(range(min = -60.0, max = -5.0), extend("unit" = "LUFS", "group" = "clips", "remakes" = ["clips", "features"]))]
    pub target_lufs: f64,
    /// highest peak of a clip, with normalization peak and lufs
    #[schemars(range(min = -60.0, max = 0.0), extend("unit" = "dB re full scale", "group" = "clips", "remakes" = ["clips", "features"]))]
    pub target_peak_dbfs: f64,
    /// share of noise suppression (RNNoise), for noisy recordings: 0.8; 0 is off
    ///
    /// It alters clean speech too.
    #[schemars(range(min = 0.0, max = 1.0), extend("group" = "clips", "remakes" = ["clips", "features"]))]
    pub noise_reduction: f64,
    /// leave out clips with less voice than this share: 0.3; 0 keeps all
    #[schemars(range(min = 0.0, max = 1.0), extend("group" = "clips", "remakes" = ["clips"]))]
    pub min_voice_share: f64,
    /// silent clips in the training for each speaker
    #[schemars(range(min = 0, max = 100), extend("group" = "features", "remakes" = ["file list"]))]
    pub mute_clips: i64,
    /// pitch tracker; harvest, pm, dio and yin need no download
    #[schemars(extend("group" = "features", "remakes" = ["f0"], "common" = true, "aliases" = ["f0method"]))]
    pub f0_method: F0Method,
    /// confidence above which rmvpe, fcpe and crepe call a frame voiced; 0 is the method's own
    ///
    /// The method's own are 0.03 for rmvpe, 0.1 for crepe, 0.006 for fcpe. Higher values leave more frames unvoiced. The other methods
    /// have no threshold.
    #[schemars(range(min = 0.0, max = 1.0), extend("group" = "features", "remakes" = ["f0"]))]
    pub f0_threshold: f64,
    /// what unvoiced frames hold: zero (RVC 2024, Applio), or values between their neighbours (RVC 2026)
    #[schemars(extend("group" = "features", "remakes" = ["f0"]))]
    pub f0_unvoiced: F0Unvoiced,
    /// content encoder by name, or the path of a HuBERT; mel is a demo that needs no download
    #[schemars(with = "EncoderName", extend("path" = [], "group" = "features", "remakes" = ["content"], "common" = true, "aliases" = ["embedder_model"]))]
    pub content_encoder: ContentEncoder,
    /// number format of the pitch and content networks; bf16 is faster where the CPU has it
    #[schemars(extend("group" = "features", "remakes" = ["f0", "content"]))]
    pub feature_precision: Precision,
    /// RVC's architecture: v2 has content of 768 values, v1 of 256
    #[schemars(extend("group" = "features", "remakes" = ["content", "model"], "flag" = "rvc_version"))]
    pub version: Version,
    /// whether the voice has pitch: --no-f0 makes one without, for speech, not for singing
    #[schemars(extend("group" = "features", "remakes" = ["f0", "model"], "off" = "no_f0"))]
    pub if_f0: bool,
    /// sine source of the vocoder: RVC of November 2024 and Applio, or RVC of July 2026
    ///
    /// Both are equal except for rounding and the random numbers that they draw.
    #[schemars(extend("group" = "model", "remakes" = ["training"]))]
    pub sine_generator: SineGenerator,
    /// rows of the speaker table; RVC and every known base have 109
    #[schemars(range(min = 1, max = 100_000), extend("group" = "model", "remakes" = ["model"]))]
    pub spk_embed_dim: i64,
    /// generator to start from: default (RVC's), none, or a .pth file
    ///
    /// default is RVC's base of the rate, version and pitch. No base fits the tiny networks.
    #[schemars(extend("enum" = ["default", "none"], "path" = ["pth", "pt"], "group" = "model", "common" = true))]
    pub pretrained_g: String,
    /// discriminator to start from: default (RVC's), none, or a .pth file
    #[schemars(extend("enum" = ["default", "none"], "path" = ["pth", "pt"], "group" = "model"))]
    pub pretrained_d: String,
    /// order of the parameters in G_ and D_ files: RVC's, Applio's, or that of the checkpoint to resume (auto)
    ///
    /// Optimizer states depend on it. A new training with auto has RVC's order.
    #[schemars(extend("group" = "training"))]
    pub checkpoint_order: CheckpointOrder,
    /// size of the networks: RVC's, or few channels for tests and demos (tiny)
    #[schemars(extend("group" = "model", "remakes" = ["model"]))]
    pub preset: Preset,
    /// passes over the data (500 recommended)
    #[schemars(range(min = 1, max = 1_000_000), extend("group" = "training", "common" = true, "aliases" = ["total_epoch"], "shared" = true))]
    pub epochs: i64,
    /// clips in one step: 4 fits a 10 GB GPU, 8 or more 24 GB
    #[schemars(range(min = 1, max = 4096), extend("unit" = "clips", "group" = "training", "common" = true))]
    pub batch_size: i64,
    /// epochs between checkpoints; there is one at the end too
    #[schemars(range(min = 1, max = 1_000_000), extend("unit" = "epochs", "group" = "training", "common" = true, "aliases" = ["save_every_epoch"], "shared" = true))]
    pub save_every: i64,
    /// window of the decoder, a multiple of sample_rate / 100; 0 is RVC's value for the rate
    #[schemars(range(min = 0, max = 192_000), extend("unit" = "samples", "group" = "training"))]
    pub segment_size: i64,
    /// same seed, same data, same machine: same voice
    ///
    /// Step s is seeded with seed + s, the order of epoch e with e.
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64), extend("group" = "training", "remakes" = ["training"]))]
    pub seed: i64,
    /// step size of AdamW in the first epoch
    #[schemars(range(min = 1e-8, max = 1.0), extend("group" = "training", "common" = true))]
    pub learning_rate: f64,
    /// factor on the learning rate after each epoch
    #[schemars(range(min = 0.5, max = 1.0), extend("group" = "training"))]
    pub lr_decay: f64,
    /// decay of a moving average of the generator, which is judged and exported too: 0.999; 0 is off
    #[schemars(range(min = 0.0, max = 0.999_999), extend("group" = "training"))]
    pub ema_decay: f64,
    /// decay rates of AdamW's two moments
    #[schemars(inner(range(min = 0.0, max = 0.999_999_9)), extend("group" = "training"))]
    pub betas: [f64; 2],
    /// epsilon of AdamW
    #[schemars(range(min = 1e-20, max = 1.0), extend("group" = "training"))]
    pub eps: f64,
    /// decoupled weight decay of AdamW, on every parameter; RVC has PyTorch's default
    #[schemars(range(min = 0.0, max = 1.0), extend("group" = "training"))]
    pub weight_decay: f64,
    /// weight of the mel loss
    #[schemars(range(min = 0.0, max = 1e6), extend("group" = "training"))]
    pub c_mel: f64,
    /// weight of the KL loss
    #[schemars(range(min = 0.0, max = 1e6), extend("group" = "training"))]
    pub c_kl: f64,
    /// added under the square root of the spectrogram: 1e-6 (RVC 2024), 2e-7 (RVC 2026)
    #[schemars(range(min = 1e-12, max = 1.0), extend("group" = "training", "remakes" = ["training"], "shared" = true))]
    pub spec_eps: f64,
    /// floor of the mel before its logarithm: 1e-5 (RVC 2024), 2e-6 (RVC 2026)
    #[schemars(range(min = 1e-12, max = 1.0), extend("group" = "training", "remakes" = ["training"], "shared" = true))]
    pub mel_clamp: f64,
    /// steps between loss lines in train.log
    #[schemars(range(min = 1, max = 1_000_000_000), extend("unit" = "steps", "group" = "tracking"))]
    pub log_interval: i64,
    /// metric whose smallest mean makes an epoch the best, in the table and the report
    #[schemars(extend("group" = "tracking"))]
    pub best_metric: BestMetric,
    /// which checkpoints go to MLflow, 1.3 GB each: that of the last epoch, all, or none
    #[schemars(extend("group" = "tracking"))]
    pub track_checkpoints: TrackCheckpoints,
    /// compute on the GPU, or on GPU 1 (--gpu 1), or on several (--gpu 0,1); without a GPU this fails
    ///
    /// One voice takes the first GPU of the list that works. train_all and sweep spread their runs over all of the list.
    #[schemars(extend("group" = "machine", "common" = true, "aliases" = ["gpus"], "devices" = true, "shared" = true))]
    pub gpu: bool,
}

/// Every setting as it is declared in [`Config`], in the order of its fields; the defaults are RVC's (see [`presets`]).
pub fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let mut defaults = defaults();
        defaults.extend(presets::named(presets::RVC).unwrap_or_default());
        settings::read(schemars::schema_for!(Config).as_value(), &defaults)
    });
    &SETTINGS
}

/// The setting with this name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    settings().iter().find(|setting| setting.name == name)
}

/// The setting with this name, flag or alias, written with underscores or dashes; and whether a true value then turns
/// it off, as `no_f0` does.
pub fn setting_called(word: &str) -> Option<(&'static Setting, bool)> {
    let wanted = word.replace('-', "_");
    let by_flag = |one: &&Setting| one.flag == wanted || one.aliases.contains(&wanted);
    setting(&wanted).map(|one| (one, false)).or_else(|| settings().iter().find(by_flag).map(|one| (one, one.inverted)))
}

/// [`Config::default`] as JSON.
fn defaults() -> Map<String, Value> {
    match serde_json::to_value(Config::default()) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sample_rate: 40000,
            slicing: Slicing::Automatic,
            slice_seconds: 3.7,
            min_slice_seconds: 0.0,
            overlap_seconds: 0.3,
            numbering: Numbering::Fixed,
            max_peak: 2.5,
            normalization: Normalization::Rvc,
            // EBU R 128's level of programmes and its highest true peak.
            target_lufs: -23.0,
            target_peak_dbfs: -1.0,
            noise_reduction: 0.0,
            min_voice_share: 0.0,
            mute_clips: 2,
            // Values that need no download; the preset "rvc" has RVC's.
            f0_method: F0Method::Pm,
            f0_threshold: 0.0,
            f0_unvoiced: F0Unvoiced::Zero,
            content_encoder: EncoderName::Mel.into(),
            feature_precision: Precision::Fp32,
            version: Version::V2,
            if_f0: true,
            sine_generator: SineGenerator::Of2024,
            spk_embed_dim: 109,
            pretrained_g: "none".into(),
            pretrained_d: "none".into(),
            checkpoint_order: CheckpointOrder::Auto,
            preset: Preset::Full,
            epochs: 300,
            batch_size: 4,
            save_every: 10,
            segment_size: 0,
            seed: 1234,
            learning_rate: 1e-4,
            lr_decay: 0.999_875,
            ema_decay: 0.0,
            betas: [0.8, 0.99],
            eps: 1e-9,
            weight_decay: 0.01,
            c_mel: 45.0,
            c_kl: 1.0,
            spec_eps: 1e-6,
            mel_clamp: 1e-5,
            log_interval: 200,
            best_metric: BestMetric::Mel,
            track_checkpoints: TrackCheckpoints::Last,
            gpu: false,
        }
    }
}

impl Config {
    /// Settings from a JSON object over the defaults.
    ///
    /// Errors: `config.unknown_key` with the nearest name; `config.value` with the given and the allowed value.
    pub fn from_json(given: &Map<String, Value>) -> Result<Self> {
        let mut merged = defaults();
        Self::known(given)?;
        for setting in settings() {
            if let Some(value) = given.get(&setting.name) {
                let value = setting.fitting(value)?;
                // Before serde, whose own message for a choice does not name the nearest one.
                setting.check(&value)?;
                merged.insert(setting.name.clone(), value);
            }
        }
        let mut config: Self = serde_json::from_value(Value::Object(merged))
            .map_err(|e| Error::new(Kind::ConfigValue, format!("the settings do not fit: {e}")).source(e))?;
        if config.segment_size == 0 {
            config.segment_size = config.default_segment_size();
        }
        config.validate()?;
        Ok(config)
    }

    /// Whether every key is the name of a setting. Errors: `config.unknown_key` with the nearest name.
    pub fn known(given: &Map<String, Value>) -> Result<()> {
        given.keys().find(|key| setting(key).is_none()).map_or(Ok(()), |key| Err(unknown(key)))
    }

    /// Checks ranges and choices as declared, and settings that must agree. Errors: `config.value`.
    pub fn validate(&self) -> Result<()> {
        let Ok(Value::Object(values)) = serde_json::to_value(self) else {
            return Err(Error::new(Kind::Internal, "bug: the settings did not serialise to an object; please report"));
        };
        for (setting, value) in settings().iter().zip(values.values()) {
            setting.check(value)?;
        }
        if self.f0_threshold > 0.0 && !self.f0_method.is_network() {
            let message = format!("f0_threshold is {}, but f0_method {} has none", self.f0_threshold, self.f0_method);
            return Err(Error::new(Kind::ConfigValue, message)
                .hint("rmvpe, fcpe, crepe and crepe-tiny have one; leave f0_threshold at 0 for the others"));
        }
        self.validate_slicing()?;
        self.validate_segment_size()
    }

    fn validate_slicing(&self) -> Result<()> {
        between("overlap_seconds", self.overlap_seconds, 0.0, self.slice_seconds / 2.0)?;
        // A slice just too long for one clip becomes two of half the length.
        let shortest = if self.slicing == Slicing::Automatic { self.slice_seconds / 2.0 } else { self.slice_seconds };
        between("min_slice_seconds", self.min_slice_seconds, 0.0, shortest).map_err(|e| {
            if self.slicing == Slicing::Automatic && self.min_slice_seconds <= 15.0 {
                let enough = 2.0 * self.min_slice_seconds;
                e.hint(format!("clips from {} s on need slice_seconds of {enough} or more", self.min_slice_seconds))
            } else {
                e
            }
        })
    }

    fn validate_segment_size(&self) -> Result<()> {
        let (given, hop) = (self.segment_size, self.hop_length());
        // 4 hops keep the mel's reflect padding (n_fft - hop) / 2 shorter than the segment at every rate.
        let usual = self.default_segment_size();
        between("segment_size", given as f64, (4 * hop) as f64, (400 * hop) as f64)
            .map_err(|e| e.hint(format!("{usual} is RVC's value for {} Hz", self.sample_rate)))?;
        if given % hop == 0 {
            return Ok(());
        }
        let below = given / hop * hop;
        Err(Error::new(
            Kind::ConfigValue,
            format!(
                "segment_size is {given}, but must be a multiple of the hop length, {hop} samples at {} Hz",
                self.sample_rate
            ),
        )
        .hint(format!("{below} is the nearest below; {usual} is RVC's value for {} Hz", self.sample_rate)))
    }

    /// Values of one content frame.
    pub fn content_channels(&self) -> i64 {
        match self.version {
            Version::V1 => 256,
            Version::V2 => 768,
        }
    }

    /// RVC's segment (spec D.2); version 2 takes version 1's file at 40k.
    pub fn default_segment_size(&self) -> i64 {
        match (self.sample_rate, self.version) {
            (48000, Version::V1) => 11520,
            (48000, _) => 17280,
            (24000, _) => 8640,
            _ => 12800,
        }
    }

    /// The name under which RVC publishes the base of these settings ("pretrained_v2/f0G40k.pth"); `network` is "G" or "D".
    pub fn pretrained_name(&self, network: &str) -> String {
        let folder = match self.version {
            Version::V1 => "pretrained",
            Version::V2 => "pretrained_v2",
        };
        let f0 = if self.if_f0 { "f0" } else { "" };
        format!("{folder}/{f0}{network}{}.pth", self.rate_name())
    }

    /// Samples between two frames; 10 ms at every rate.
    pub fn hop_length(&self) -> i64 {
        self.sample_rate / 100
    }

    /// Samples of one spectrogram window; the FFT has the same length (spec D.2).
    pub fn n_fft(&self) -> i64 {
        if matches!(self.sample_rate, 24000 | 32000) { 1024 } else { 2048 }
    }

    /// Bands of the training mel (spec D.2).
    pub fn n_mels(&self) -> i64 {
        match self.sample_rate {
            24000 | 32000 => 80,
            48000 => 128,
            _ => 125,
        }
    }

    /// Length of the decoder's training window, in seconds.
    pub fn segment_seconds(&self) -> f64 {
        self.segment_size as f64 / self.sample_rate as f64
    }

    /// Frames of the decoder's training window.
    pub fn segment_frames(&self) -> i64 {
        self.segment_size / self.hop_length()
    }

    /// "32k", "40k" or "48k", as RVC writes it.
    pub fn rate_name(&self) -> String {
        format!("{}k", self.sample_rate / 1000)
    }
}

/// `word` as the value of the setting `name` that is one of a few words. Errors: `config.value` with the nearest word.
pub fn choice<T: DeserializeOwned>(name: &str, word: &str) -> Result<T> {
    let value = Value::from(word);
    setting(name).map_or(Ok(()), |setting| setting.check(&value))?;
    serde_json::from_value(value)
        .map_err(|e| Error::new(Kind::ConfigValue, format!("{name} is {word}, which does not fit: {e}")).source(e))
}

/// The error for a name that is not a setting.
fn unknown(key: &str) -> Error {
    let known = || settings().iter().map(|setting| setting.name.as_str());
    let error = Error::new(Kind::ConfigUnknownKey, format!("there is no setting {key:?}"));
    match nearest(key, known()) {
        Some(name) => error.hint(format!("did you mean {name:?}?")),
        None => error.hint(format!("settings are: {}", known().collect::<Vec<_>>().join(", "))),
    }
}

fn between(key: &str, given: f64, low: f64, high: f64) -> Result<()> {
    if given >= low && given <= high {
        return Ok(());
    }
    Err(Error::new(Kind::ConfigValue, format!("{key} is {given}, but must be between {low} and {high}"))
        .hint("leave it out for the default"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(given: &Value) -> Result<Config> {
        Config::from_json(given.as_object().expect("a test gives an object"))
    }

    #[test]
    fn settings_are_written_as_they_always_were() {
        // Keys of the cache, manifests of checkpoints and hashes of jobs contain this text: a change invalidates all of them.
        let expected = concat!(
            r#"{"sample_rate":40000,"slicing":"automatic","slice_seconds":3.7,"min_slice_seconds":0.0,"overlap_seconds":0.3,"#,
            r#""numbering":"fixed","max_peak":2.5,"normalization":"rvc","target_lufs":-23.0,"target_peak_dbfs":-1.0,"#,
            r#""noise_reduction":0.0,"min_voice_share":0.0,"mute_clips":2,"f0_method":"pm","f0_threshold":0.0,"f0_unvoiced":"zero","#,
            r#""content_encoder":"mel","feature_precision":"fp32","version":"v2","if_f0":true,"sine_generator":"2024","spk_embed_dim":109,"#,
            r#""pretrained_g":"none","pretrained_d":"none","checkpoint_order":"auto","preset":"full","epochs":300,"batch_size":4,"#,
            r#""save_every":10,"segment_size":0,"seed":1234,"learning_rate":0.0001,"lr_decay":0.999875,"ema_decay":0.0,"betas":[0.8,0.99],"#,
            r#""eps":1e-9,"weight_decay":0.01,"c_mel":45.0,"c_kl":1.0,"spec_eps":1e-6,"mel_clamp":0.00001,"log_interval":200,"#,
            r#""best_metric":"loss_mel","track_checkpoints":"last","gpu":false}"#,
        );
        assert_eq!(serde_json::to_string(&Config::default()).unwrap(), expected);
    }

    #[test]
    fn every_setting_declares_everything_that_help_shows() {
        let groups = ["clips", "features", "model", "training", "tracking", "machine"];
        for setting in settings() {
            let name = &setting.name;
            assert!(groups.contains(&setting.group.as_str()), "{name} has the group {:?}", setting.group);
            assert!(!setting.help.is_empty() && setting.help.len() <= 130, "{name}: {:?}", setting.help);
            assert!(setting.check(&setting.default).is_ok(), "{name} refuses its own default");
            let numeric = matches!(setting.kind, settings::Kind::Int | settings::Kind::Float | settings::Kind::Floats);
            let limited =
                !setting.limits.one_of.is_empty() || setting.limits.min.is_some() && setting.limits.max.is_some();
            assert_eq!(numeric || setting.kind == settings::Kind::Text, limited, "{name} has no limits");
        }
        let of = |name: &str| setting(name).unwrap();
        assert_eq!(of("f0_method").default, "rmvpe", "RVC's, not what needs no download");
        assert_eq!((of("version").flag.as_str(), of("if_f0").flag.as_str()), ("rvc_version", "no_f0"));
        assert_eq!(of("learning_rate").limits.range(), "between 1e-8 and 1");
    }

    #[test]
    fn a_word_becomes_its_choice_and_another_word_names_the_nearest() {
        assert_eq!(choice::<F0Method>("f0_method", "crepe-tiny").unwrap(), F0Method::CrepeTiny);
        for (given, near) in [("harvst", "harvest"), ("rmpve", "rmvpe"), ("crepe_tiny", "crepe-tiny"), ("fcp", "fcpe")]
        {
            let error = choice::<F0Method>("f0_method", given).unwrap_err();
            assert_eq!(error.kind(), Kind::ConfigValue);
            assert_eq!(error.message(), format!("f0_method is {given}, but must be one of {}", F0Method::words()));
            assert_eq!(error.hint_text(), Some(format!("did you mean {near}?").as_str()));
        }
    }

    #[test]
    fn a_content_encoder_is_a_name_or_a_path_and_is_written_as_it_was_given() {
        let encoder = |word: &str| choice::<ContentEncoder>("content_encoder", word);
        assert_eq!(encoder("spin-v2").unwrap(), EncoderName::SpinV2.into());
        assert_eq!(encoder("./mine").unwrap(), ContentEncoder::Path("./mine".into()));
        for word in ["spin-v2", "./mine"] {
            assert_eq!(json!(encoder(word).unwrap()), word);
            assert_eq!(json!(config(&json!({ "content_encoder": word })).unwrap().content_encoder), word);
        }
        assert_eq!(encoder("mell").unwrap_err().hint_text(), Some("did you mean mel?; a path has a / in it"));
    }

    #[test]
    fn a_list_is_checked_value_by_value() {
        let error = config(&json!({ "betas": [0.9, 1.0] })).unwrap_err();
        assert!(error.message().starts_with("betas[1] is 1, but must be between 0 and 0.9999999"), "{error}");
        let error = config(&json!({ "betas": [0.9] })).unwrap_err();
        assert!(error.message().ends_with("must be a list of 2 numbers"), "{error}");
    }

    #[test]
    fn unknown_key_names_the_nearest() {
        let error = config(&json!({ "epocs": 3 })).unwrap_err();
        assert_eq!(error.kind(), Kind::ConfigUnknownKey);
        assert_eq!(error.hint_text(), Some("did you mean \"epochs\"?"));
    }

    #[test]
    fn only_networks_accept_an_f0_threshold() {
        assert!(config(&json!({ "f0_method": "rmvpe", "f0_threshold": 0.05 })).is_ok());
        let error = config(&json!({ "f0_method": "pm", "f0_threshold": 0.05 })).unwrap_err();
        assert!(error.kind() == Kind::ConfigValue && error.message().contains("pm has none"), "{error}");
        assert_eq!(
            config(&json!({ "f0_method": "rmvpe", "f0_threshold": 1.5 })).unwrap_err().kind(),
            Kind::ConfigValue
        );
    }

    #[test]
    fn the_guides_segment_of_17280_at_40k_names_17200_and_12800() {
        let error = config(&json!({ "segment_size": 17280 })).unwrap_err();
        assert_eq!(error.kind(), Kind::ConfigValue);
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("17200") && hint.contains("12800"), "{hint}");
        assert!(config(&json!({ "segment_size": 17200 })).is_ok());
        assert!(config(&json!({ "segment_size": 17280, "sample_rate": 48000 })).is_ok());
    }

    #[test]
    fn values_out_of_range_name_the_range() {
        let error = config(&json!({ "batch_size": 0 })).unwrap_err();
        assert_eq!(error.message(), "batch_size is 0, but must be between 1 and 4096");
        let error = config(&json!({ "learning_rate": 0 })).unwrap_err();
        assert_eq!(error.kind(), Kind::ConfigValue, "training would silently learn nothing");
        let error = config(&json!({ "f0_method": "harvst" })).unwrap_err();
        assert_eq!(error.hint_text(), Some("did you mean harvest?"));
        let error = config(&json!({ "epochs": "many" })).unwrap_err();
        assert_eq!(error.message(), "epochs is \"many\", but must be a whole number");
    }

    #[test]
    fn a_min_slice_too_long_for_slice_seconds_names_the_one_needed() {
        let error = config(&json!({ "min_slice_seconds": 3 })).unwrap_err();
        assert_eq!(error.message(), "min_slice_seconds is 3, but must be between 0 and 1.85");
        assert_eq!(error.hint_text(), Some("clips from 3 s on need slice_seconds of 6 or more"));
        assert!(config(&json!({ "min_slice_seconds": 3, "slice_seconds": 10 })).is_ok());
        assert!(config(&json!({ "min_slice_seconds": 3, "slicing": "fixed" })).is_ok());
    }

    #[test]
    fn whole_numbers_are_accepted_as_floats() {
        assert_eq!(config(&json!({ "c_mel": 45 })).unwrap(), config(&json!({})).unwrap());
    }
}
