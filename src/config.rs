//! Every setting of the flow in one flat place: its name, its default, its range.
//!
//! A recipe builds a map (`presets::for_rate(40000) + #{ epochs: 500 }`); [`Config::from_json`] turns it into this struct and refuses
//! unknown names and bad values once, at the edge. Defaults are RVC's published values (spec D.2, F.7).

pub mod idle;

use crate::error::nearest;
use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// Pitch trackers. The first four are signal processing, the others networks.
pub const F0_METHODS: [&str; 8] = ["pm", "yin", "harvest", "dio", "rmvpe", "fcpe", "crepe", "crepe-tiny"];

/// Those of [`F0_METHODS`] that are signal processing.
pub const SIGNAL_F0_METHODS: [&str; 4] = ["pm", "yin", "harvest", "dio"];

/// Content encoders that have a name: the built-in one, RVC's, Applio's.
pub const CONTENT_ENCODERS: [&str; 8] = [
    "mel",
    "hubert_base",
    "contentvec",
    "spin",
    "spin-v2",
    "chinese-hubert-base",
    "japanese-hubert-base",
    "korean-hubert-base",
];

/// All settings. The comment behind each names what must be redone when it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Rate of the voice, in Hz: 32000, 40000 or 48000. (everything)
    pub sample_rate: i64,
    /// How recordings become clips: "automatic" cuts at silences, then to length (RVC); "fixed" cuts every `slice_seconds`,
    /// whatever sounds there; "none" takes a recording as one clip. (slices, features)
    pub slicing: String,
    /// Longest chunk of a slice, in seconds; RVC's `per`. Training reads the first 9 s of a clip. (slices, features)
    pub slice_seconds: f64,
    /// Shortest clip, in seconds, at most half of `slice_seconds` in automatic slicing: then a silence ends a slice only when that is
    /// long enough, and a long slice is cut into equal chunks. 0: RVC's rule, what is left of a slice is a clip. (slices, features)
    pub min_slice_seconds: f64,
    /// Overlap of neighbouring chunks, in seconds. (slices, features)
    pub overlap_seconds: f64,
    /// "fixed" numbers every chunk once; "rvc" repeats the reference's numbering, which overwrites chunks (spec A.6), where chunks are
    /// cut by RVC's rule. (slices)
    pub numbering: String,
    /// Louder peaks are rejected, as a factor of full scale. (slices)
    pub max_peak: f64,
    /// Level of the clips: "rvc" (each clip three quarters towards a peak of 0.9), "peak" (each clip to `target_peak_dbfs`), "lufs"
    /// (each recording to `target_lufs`, no clip's true peak over `target_peak_dbfs`), "none". (slices, features)
    pub normalization: String,
    /// Integrated loudness (ITU-R BS.1770) that recordings are brought to, in LUFS. (slices, features; with "lufs")
    pub target_lufs: f64,
    /// Highest peak of a clip, in dB re full scale. (slices, features; with "peak" and "lufs")
    pub target_peak_dbfs: f64,
    /// Share of the noise suppression (RNNoise) in the sound, from 0 (off) to 1; it alters clean speech too. (slices, features)
    pub noise_reduction: f64,
    /// Clips with a smaller share of voice are left out: 0 keeps all, 0.3 leaves out noise and pauses. (slices)
    pub min_voice_share: f64,
    /// Silent clips in the file list for each speaker, as RVC adds them. (file list)
    pub mute_clips: i64,
    /// One of [`F0_METHODS`]; rmvpe, fcpe and crepe need a file of weights. (f0)
    pub f0_method: String,
    /// Confidence above which the networks among the methods call a frame voiced: rmvpe's salience, crepe's periodicity, fcpe's
    /// confidence, 0 to 1. 0 is the method's own: 0.03, 0.1, 0.006. Higher leaves more frames unvoiced. (f0)
    pub f0_threshold: f64,
    /// What unvoiced frames hold: "zero" (RVC 2024, Applio) or "interpolate" between voiced ones (RVC 2026). (f0, conversion)
    pub f0_unvoiced: String,
    /// One of [`CONTENT_ENCODERS`], or the path of a HuBERT's file or folder; all but "mel" need weights. (content)
    pub content_encoder: String,
    /// Number format that the networks of feature extraction compute in: "fp32", "bf16" or "fp16". (f0, content)
    pub feature_precision: String,
    /// Architecture: "v2" (content of 768 values, nine discriminators) or "v1" (256 values, seven). (content, model)
    pub version: String,
    /// Whether the voice follows the recordings' pitch; false is for speech that needs no melody. (f0, model)
    pub if_f0: bool,
    /// Sine source of the vocoder: "2024" (RVC of November 2024, Applio) or "2026" (RVC of July 2026 and before June 2024);
    /// equal but for rounding and the random numbers drawn. (training)
    pub sine_generator: String,
    /// Rows of the speaker table; 109 in RVC and in every base that is known. (model)
    pub spk_embed_dim: i64,
    /// Generator to start from: "default" (RVC's base of the rate, version and pitch), "none", or a file. (nothing)
    pub pretrained_g: String,
    /// Discriminator to start from, likewise. (nothing)
    pub pretrained_d: String,
    /// Whose order the parameters have in G_ and D_ files, which optimizer states count on: "rvc", "applio", or "auto":
    /// that of the checkpoint that training goes on from, else RVC's. (nothing)
    pub checkpoint_order: String,
    /// Size of the networks: "full" (RVC's) or "tiny" (same architecture, few channels; tests and demos). (model)
    pub preset: String,
    /// Passes over the data. (nothing)
    pub epochs: i64,
    /// Clips in one step. (nothing)
    pub batch_size: i64,
    /// A checkpoint every so many epochs, and one at the end. (nothing)
    pub save_every: i64,
    /// Samples of the decoder's training window, a multiple of the hop length; 0 takes RVC's value for the rate. (nothing)
    pub segment_size: i64,
    /// Step s is seeded with seed + s, epoch e's order with e. (training)
    pub seed: i64,
    /// AdamW step size in the first epoch.
    pub learning_rate: f64,
    /// Factor on the learning rate after each epoch.
    pub lr_decay: f64,
    /// Decay of a moving average of the generator's weights, kept beside the training: 0.999, say; 0 keeps none. (nothing)
    pub ema_decay: f64,
    /// AdamW's decay rates of the two moments.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// AdamW's decoupled weight decay; RVC runs with PyTorch's default, on every parameter.
    pub weight_decay: f64,
    /// Weight of the mel loss.
    pub c_mel: f64,
    /// Weight of the KL loss.
    pub c_kl: f64,
    /// Added under the square root of the spectrogram: 1e-6 (RVC 2024), 2e-7 (RVC 2026). (training)
    pub spec_eps: f64,
    /// Floor of the mel before its logarithm: 1e-5 (RVC 2024), 2e-6 (RVC 2026). (training)
    pub mel_clamp: f64,
    /// Steps between loss lines in train.log. (nothing)
    pub log_interval: i64,
    /// The metric by which an epoch is best, the smaller the better: one of which every epoch records the mean. (nothing)
    pub best_metric: String,
    /// Which checkpoints go to MLflow as artefacts: "last" (of the last epoch), "all" or "none". (nothing)
    pub track_checkpoints: String,
    /// Train on the GPU, and fail if there is none. (nothing)
    pub gpu: bool,
}

/// Name and meaning of each setting in the order of [`Config`]'s fields: the comments there, so that nobody writes them twice.
pub fn meanings() -> Vec<(String, String)> {
    let source = include_str!("config.rs");
    let fields =
        source.split("pub struct Config {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    let mut meanings = Vec::new();
    let mut words = Vec::new();
    for line in fields.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            words.push(comment.trim());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            let meaning = words.join(" ").replace("[`F0_METHODS`]", &F0_METHODS.join(", "));
            meanings.push((name.to_owned(), meaning.replace("[`CONTENT_ENCODERS`]", &CONTENT_ENCODERS.join(", "))));
            words.clear();
        }
    }
    meanings
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sample_rate: 40000,
            slicing: "automatic".into(),
            slice_seconds: 3.7,
            min_slice_seconds: 0.0,
            overlap_seconds: 0.3,
            numbering: "fixed".into(),
            max_peak: 2.5,
            normalization: "rvc".into(),
            // EBU R 128's level of programmes and its highest true peak.
            target_lufs: -23.0,
            target_peak_dbfs: -1.0,
            noise_reduction: 0.0,
            min_voice_share: 0.0,
            mute_clips: 2,
            // The methods that need no download; `presets::for_rate` has the field's own.
            f0_method: "pm".into(),
            f0_threshold: 0.0,
            f0_unvoiced: "zero".into(),
            content_encoder: "mel".into(),
            feature_precision: "fp32".into(),
            version: "v2".into(),
            if_f0: true,
            sine_generator: "2024".into(),
            spk_embed_dim: 109,
            pretrained_g: "none".into(),
            pretrained_d: "none".into(),
            checkpoint_order: "auto".into(),
            preset: "full".into(),
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
            best_metric: "loss_mel".into(),
            track_checkpoints: "last".into(),
            gpu: false,
        }
    }
}

impl Config {
    /// Settings from a JSON object over the defaults.
    ///
    /// Errors: `config.unknown_key` with the nearest name; `config.value` with the given and the allowed value.
    pub fn from_json(given: &Map<String, Value>) -> Result<Self> {
        let Ok(Value::Object(mut merged)) = serde_json::to_value(Self::default()) else {
            return Err(Error::new(Kind::Internal, "the default settings are not an object"));
        };
        for (key, value) in given {
            let Some(slot) = merged.get_mut(key) else {
                let known: Vec<String> = merged.keys().cloned().collect();
                let error = Error::new(Kind::ConfigUnknownKey, format!("there is no setting {key:?}"));
                return Err(match nearest(key, known.iter().map(String::as_str)) {
                    Some(name) => error.hint(format!("did you mean {name:?}?")),
                    None => error.hint(format!("settings are: {}", known.join(", "))),
                });
            };
            *slot = fitting(slot, value).ok_or_else(|| {
                Error::new(Kind::ConfigValue, format!("{key} is {value}, but must be {}", type_name(slot)))
            })?;
        }
        let mut config: Self = serde_json::from_value(Value::Object(merged))
            .map_err(|e| Error::new(Kind::ConfigValue, format!("the settings do not fit: {e}")).source(e))?;
        if config.segment_size == 0 {
            config.segment_size = config.default_segment_size();
        }
        config.validate()?;
        Ok(config)
    }

    /// Checks ranges and what must agree. Errors: `config.value`.
    pub fn validate(&self) -> Result<()> {
        one_of("sample_rate", &self.sample_rate, &[32000, 40000, 48000])?;
        one_of("numbering", &self.numbering.as_str(), &["fixed", "rvc"])?;
        one_of("f0_method", &self.f0_method.as_str(), &F0_METHODS)?;
        between("f0_threshold", self.f0_threshold, 0.0, 1.0)?;
        if self.f0_threshold > 0.0 && SIGNAL_F0_METHODS.contains(&self.f0_method.as_str()) {
            let message = format!("f0_threshold is {}, but f0_method {} has none", self.f0_threshold, self.f0_method);
            return Err(Error::new(Kind::ConfigValue, message)
                .hint("rmvpe, fcpe, crepe and crepe-tiny have one; leave f0_threshold at 0 for the others"));
        }
        one_of("f0_unvoiced", &self.f0_unvoiced.as_str(), &["zero", "interpolate"])?;
        if !is_path(&self.content_encoder) {
            one_of("content_encoder", &self.content_encoder.as_str(), &CONTENT_ENCODERS)
                .map_err(|e| e.also("a path to an encoder's file or folder has a / in it"))?;
        }
        one_of("feature_precision", &self.feature_precision.as_str(), &["fp32", "bf16", "fp16"])?;
        one_of("version", &self.version.as_str(), &["v1", "v2"])?;
        one_of("sine_generator", &self.sine_generator.as_str(), &["2024", "2026"])?;
        one_of(
            "best_metric",
            &self.best_metric.as_str(),
            &["loss_mel", "loss_kl", "loss_fm", "loss_gen", "loss_disc"],
        )?;
        one_of("track_checkpoints", &self.track_checkpoints.as_str(), &["last", "all", "none"])?;
        one_of("checkpoint_order", &self.checkpoint_order.as_str(), &["auto", "rvc", "applio"])?;
        base("pretrained_g", &self.pretrained_g)?;
        base("pretrained_d", &self.pretrained_d)?;
        between("spk_embed_dim", self.spk_embed_dim as f64, 1.0, 100_000.0)?;
        one_of("preset", &self.preset.as_str(), &["full", "tiny"])?;
        self.validate_slicing()?;
        between("epochs", self.epochs as f64, 1.0, 1e6)?;
        between("batch_size", self.batch_size as f64, 1.0, 4096.0)?;
        between("save_every", self.save_every as f64, 1.0, 1e6)?;
        between("seed", self.seed as f64, 0.0, 2f64.powi(53))?;
        between("learning_rate", self.learning_rate, 1e-8, 1.0)?;
        between("lr_decay", self.lr_decay, 0.5, 1.0)?;
        between("ema_decay", self.ema_decay, 0.0, 0.999_999)?;
        between("betas[0]", self.betas[0], 0.0, 0.999_999)?;
        between("betas[1]", self.betas[1], 0.0, 0.999_999_9)?;
        between("eps", self.eps, 1e-20, 1.0)?;
        between("weight_decay", self.weight_decay, 0.0, 1.0)?;
        between("c_mel", self.c_mel, 0.0, 1e6)?;
        between("c_kl", self.c_kl, 0.0, 1e6)?;
        between("spec_eps", self.spec_eps, 1e-12, 1.0)?;
        between("mel_clamp", self.mel_clamp, 1e-12, 1.0)?;
        between("log_interval", self.log_interval as f64, 1.0, 1e9)?;
        self.validate_segment_size()
    }

    fn validate_slicing(&self) -> Result<()> {
        one_of("slicing", &self.slicing.as_str(), &["automatic", "fixed", "none"])?;
        one_of("normalization", &self.normalization.as_str(), &["rvc", "peak", "lufs", "none"])?;
        between("slice_seconds", self.slice_seconds, 1.0, 30.0)?;
        between("overlap_seconds", self.overlap_seconds, 0.0, self.slice_seconds / 2.0)?;
        // A slice just too long for one chunk becomes two of half the length.
        let shortest = if self.slicing == "automatic" { self.slice_seconds / 2.0 } else { self.slice_seconds };
        between("min_slice_seconds", self.min_slice_seconds, 0.0, shortest).map_err(|e| {
            if self.slicing == "automatic" && self.min_slice_seconds <= 15.0 {
                let enough = 2.0 * self.min_slice_seconds;
                e.hint(format!("clips from {} s on need slice_seconds of {enough} or more", self.min_slice_seconds))
            } else {
                e
            }
        })?;
        between("max_peak", self.max_peak, 0.1, 1000.0)?;
        between("target_lufs", self.target_lufs, -60.0, -5.0)?;
        between("target_peak_dbfs", self.target_peak_dbfs, -60.0, 0.0)?;
        between("noise_reduction", self.noise_reduction, 0.0, 1.0)?;
        between("min_voice_share", self.min_voice_share, 0.0, 1.0)?;
        between("mute_clips", self.mute_clips as f64, 0.0, 100.0)
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
        if self.version == "v1" { 256 } else { 768 }
    }

    /// RVC's segment (spec D.2); version 2 takes version 1's file at 40k.
    pub fn default_segment_size(&self) -> i64 {
        match (self.sample_rate, self.version.as_str()) {
            (48000, "v1") => 11520,
            (48000, _) => 17280,
            (24000, _) => 8640,
            _ => 12800,
        }
    }

    /// The name under which RVC publishes the base of these settings ("pretrained_v2/f0G40k.pth"); `network` is "G" or "D".
    pub fn pretrained_name(&self, network: &str) -> String {
        let folder = if self.version == "v1" { "pretrained" } else { "pretrained_v2" };
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

/// A base network: by rule, none, or a file.
fn base(key: &str, given: &str) -> Result<()> {
    if is_path(given) || Path::new(given).extension().is_some_and(|e| e == "pth" || e == "pt") {
        return Ok(());
    }
    one_of(key, &given, &["default", "none"]).map_err(|e| e.also("or give the path of a .pth file"))
}

/// Whether a setting that may be a name or a path is a path.
pub fn is_path(given: &str) -> bool {
    given.contains(['/', '\\'])
}

/// `value` as the type of `slot`: whole numbers become floats where a float is wanted, nothing else changes type.
fn fitting(slot: &Value, value: &Value) -> Option<Value> {
    match (slot, value) {
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => Some(value.clone()),
        (Value::Number(old), Value::Number(new)) if old.is_f64() => {
            new.as_f64().filter(|x| x.is_finite()).map(Value::from)
        }
        (Value::Number(_), Value::Number(new)) => new.as_i64().map(Value::from),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            old.iter().zip(new).map(|(o, n)| fitting(o, n)).collect::<Option<Vec<_>>>().map(Value::from)
        }
        _ => None,
    }
}

fn type_name(slot: &Value) -> String {
    match slot {
        Value::Bool(_) => "true or false".into(),
        Value::String(_) => "a text".into(),
        Value::Number(n) if n.is_f64() => "a finite number".into(),
        Value::Number(_) => "a whole number".into(),
        Value::Array(items) => format!("a list of {} numbers", items.len()),
        _ => "something else".into(),
    }
}

fn one_of<T: PartialEq + std::fmt::Display>(key: &str, given: &T, allowed: &[T]) -> Result<()> {
    if allowed.contains(given) {
        return Ok(());
    }
    let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let error = Error::new(Kind::ConfigValue, format!("{key} is {given}, but must be one of {}", names.join(", ")));
    Err(match nearest(&given.to_string(), names.iter().map(String::as_str)) {
        Some(name) => error.hint(format!("did you mean {name}?")),
        None => error.hint("leave it out for the default"),
    })
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
    fn unknown_key_names_the_nearest() {
        let error = config(&json!({ "epocs": 3 })).unwrap_err();
        assert_eq!(error.kind(), Kind::ConfigUnknownKey);
        assert_eq!(error.hint_text(), Some("did you mean \"epochs\"?"));
    }

    #[test]
    fn a_threshold_of_f0_is_for_networks_alone() {
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
        assert_eq!(error.kind(), Kind::ConfigValue, "nothing would be learned, without a word");
        let error = config(&json!({ "f0_method": "harvst" })).unwrap_err();
        assert_eq!(error.hint_text(), Some("did you mean harvest?"));
        let error = config(&json!({ "epochs": "many" })).unwrap_err();
        assert_eq!(error.message(), "epochs is \"many\", but must be a whole number");
    }

    #[test]
    fn a_shortest_clip_that_the_longest_cannot_keep_names_the_longest_that_can() {
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
