//! Script interface of [`crate::convert`] and [`crate::voice`]: voice files, conversion, and the self-test.

use super::train::TrainerHandle as Trainer;
use super::{At, Fallible, session, value};
use crate::config::choice;
use crate::convert::output::{self, Format};
use crate::convert::quality::Quality;
use crate::convert::{Converter, Settings, VoiceOptions, selftest};
use crate::{Error, Kind, audio, given, voice};
use rhai::plugin::*;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// A voice opened for conversion; clones share it.
#[derive(Clone)]
pub struct VoiceHandle(Rc<Converter>);

#[export_module]
pub mod api {
    /// A voice opened for conversion.
    pub type Voice = super::VoiceHandle;

    /// Opens an exported voice of rvc-run, RVC WebUI or Applio, with the pitch and content networks that it needs.
    ///
    /// * `path`: a .pth file; relative paths start at the workspace.
    /// * `options`: `index`, the path of its retrieval index ("" for none); `gpu`; and, to replace what the voice was trained with,
    ///   `content_encoder`, `f0_method`, `feature_precision`, `f0_unvoiced` ("zero" or "interpolate").
    /// * Warns of each entry of the file that is missing or contradicts its weights, and names the value used instead.
    /// * Fails with `checkpoint.mismatch` if the file is not a voice, or was trained on the content of another encoder;
    ///   `checkpoint.damaged`, `asset.missing`, `config.*`, `device.*`, `file.not_found`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// let v = model::open("models/anna.pth", #{ f0_method: "pm", content_encoder: "mel" });
    /// v.convert("data/anna/tone.wav", "out.wav", #{ f0_up_key: 12 }).sample_rate == 40000
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn open(ctx: NativeCallContext, path: &str, options: Map) -> Fallible<Voice> {
        super::opened(&ctx, path, &options).at(&ctx)
    }

    /// Describes the opened voice: `f0` (whether it follows pitch), `f0_unvoiced`, `sample_rate`, `version`, `info`, `index` (whether it has
    /// one), and `speakers`, an array of maps of `id` and `name`, empty if the voice names none.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// let v = model::open("models/anna.pth", #{ f0_method: "pm", content_encoder: "mel" });
    /// v.about().f0 && v.about().sample_rate == 40000 && v.about().f0_unvoiced == "zero"
    /// ```
    #[rhai_fn(global, pure)]
    pub fn about(v: &mut Voice) -> Map {
        super::about(v)
    }

    /// Returns the experiment folder that a voice file belongs to, found by its name: from RVC WebUI, Applio or rvc-run; "" if there is no such folder.
    ///
    /// # Example
    /// ```rhai
    /// model::experiment("models/nobody.pth") == ""
    /// ```
    #[rhai_fn(volatile)]
    pub fn experiment(ctx: NativeCallContext, path: &str) -> ImmutableString {
        let found = voice::experiment(&session(&ctx).workspace().path(path));
        found.map_or("".into(), |folder| folder.display().to_string().into())
    }

    /// Returns a voice's name, and the same without the suffixes that programs add ("_e200", "_e20_s400", "_20e_400s", "_best"): the names
    /// that its folder and its index may have.
    ///
    /// # Example
    /// ```rhai
    /// model::names("anna_e20_s400") == ["anna_e20_s400", "anna_e20", "anna"] && model::names("anna") == ["anna"]
    /// ```
    pub fn names(voice: &str) -> Array {
        voice::names(voice).into_iter().map(Dynamic::from).collect()
    }

    /// Converts a recording into the voice; returns the `path` of the result, its `seconds` and `sample_rate`, the computing time `took`, and `rtf`,
    /// seconds of computing per second of sound.
    ///
    /// * `input`, `out`: two different sound files; `out` has the extension of `format`. Relative paths start at the workspace.
    /// * `settings`: `f0_up_key` (semitones, 0), `index_rate` (0.75), `protect` (0.33), `rms_mix_rate` (0.25), `filter_radius` (3), `sid`
    ///   (0), `resample_sr` (0: the voice's rate), `seed` (1234), `format` ("wav": 16 bits, "wav32": float, "flac"), `overwrite` (true; false
    ///   writes out_2, out_3, ... if `out` exists).
    /// * Fails with `audio.empty` for less than 25 ms of sound, `audio.decode`, `data.damaged`, `config.*`, `file.*`, `device.memory`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// let v = model::open("models/anna.pth", #{ f0_method: "pm", content_encoder: "mel" });
    /// v.convert("data/anna/tone.wav", "out.flac", #{ format: "flac" }).seconds > 0.9
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn convert(ctx: NativeCallContext, v: &mut Voice, input: &str, out: &str, settings: Map) -> Fallible<Map> {
        super::converted(&ctx, v, input, out, &settings).at(&ctx)
    }

    /// Returns the distance of a converted file from its recording; 0 is equal: `log_mel_distance` in dB, `f0_rmse_cents` and
    /// `voicing_error` (share of the frames), `loudness_difference` in LU, `content_distance` (1 - cosine).
    ///
    /// * `converted`, `recording`: sound files; `f0_up_key`: the pitch shift of the conversion.
    /// * Measures without a value, such as the pitch of silence, are ().
    /// * Fails with `audio.*`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// let v = model::open("models/anna.pth", #{ f0_method: "pm", content_encoder: "mel" });
    /// v.quality("data/anna/tone.wav", "data/anna/tone.wav", 0).log_mel_distance == 0.0
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn quality(
        ctx: NativeCallContext,
        v: &mut Voice,
        converted: &str,
        recording: &str,
        f0_up_key: Dynamic,
    ) -> Fallible<Map> {
        super::compared(&ctx, v, converted, recording, &f0_up_key).at(&ctx)
    }

    /// Checks that the opened file is the voice of a training: a recording is converted by the file and by the generator in memory, with
    /// the same random numbers. Writes the file's sound to `out` and returns `snr`, how far their difference is below the sound, in dB, `path`, that
    /// of `out`, and the numbers of `quality`, how far it is from the recording: `log_mel_distance`, `f0_rmse_cents`, `voicing_error`,
    /// `loudness_difference`, `content_distance`.
    ///
    /// * Fails with `checkpoint.mismatch` if they differ by more than half precision explains, or if the voice is silent.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// let t = train::trainer(train::dataset(files, cfg), cfg);
    /// t.save_voice("models/anna.pth");
    /// let v = model::open("models/anna.pth", #{ f0_method: "pm", content_encoder: "mel" });
    /// v.self_test(t, "data/anna/tone.wav", "test.wav").snr > 20.0
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn self_test(ctx: NativeCallContext, v: &mut Voice, t: Trainer, recording: &str, out: &str) -> Fallible<Map> {
        super::self_tested(&ctx, v, &t, recording, out).at(&ctx)
    }

    /// Describes a voice or G_ checkpoint: `kind` ("voice" or "checkpoint"), `version`, `f0`, `sample_rate`, `preset`, `speakers` (names by
    /// number, their number, or ()), `speaker_rows`, `vocoder`, `weights` and `parameters` (their numbers), `precision`, `bytes`, `sha256`; whether it
    /// `converts`, and if not `refused` and `way_out`, the message and hint of a conversion; `notes`, where the file contradicts its weights; and
    /// `entries`, the other entries of the file, such as `info` and `model_card`.
    ///
    /// * Fails with `checkpoint.mismatch` for any other file, `checkpoint.damaged`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// model::info("models/anna.pth").entries.info == "0epoch"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn info(ctx: NativeCallContext, path: &str) -> Fallible<Map> {
        voice::describe(&session(&ctx).workspace().path(path)).map(|map| value::map_from_json(&map)).at(&ctx)
    }

    /// Exports the voice from any G_ checkpoint of RVC WebUI, Applio or rvc-run.
    ///
    /// * `info`: the text in the voice; "" is "<n>epoch".
    /// * Fails with `checkpoint.mismatch` for another file, `checkpoint.damaged`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg);                     // saves G_0 and D_0
    /// model::extract("logs/anna/G_0.pth", "models/small.pth", "");
    /// model::info("models/small.pth").kind == "voice"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn extract(ctx: NativeCallContext, checkpoint: &str, out: &str, info: &str) -> Fallible<()> {
        let session = session(&ctx);
        let path = |path: &str| session.workspace().path(path);
        voice::extract(&path(checkpoint), &path(out), (!info.is_empty()).then_some(info)).at(&ctx)
    }

    /// Writes the voice `alpha` * a + (1 - alpha) * b.
    ///
    /// * `a`, `b`: voices or G_ checkpoints of one version and rate; `alpha`: 0 to 1; `info`: the text in the new voice.
    /// * Fails with `checkpoint.mismatch` if they do not match, `config.value`, `checkpoint.damaged`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// model::merge("models/anna.pth", "models/anna.pth", 0.5, "models/both.pth", "anna and anna");
    /// model::info("models/both.pth").entries.info == "anna and anna"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn merge(ctx: NativeCallContext, a: &str, b: &str, alpha: f64, out: &str, info: &str) -> Fallible<()> {
        let session = session(&ctx);
        let path = |path: &str| session.workspace().path(path);
        voice::merge(&path(a), &path(b), alpha, &path(out), info).at(&ctx)
    }

    /// Writes a voice with another info text; everything else is unchanged.
    ///
    /// * `out`: may be `path` itself.
    /// * Fails with `checkpoint.mismatch` if it is not an exported voice, `checkpoint.damaged`, `file.*`.
    ///
    /// # Example
    /// ```rhai
    /// let cfg = #{ preset: "tiny", segment_size: 1600 };
    /// let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    /// train::trainer(train::dataset(files, cfg), cfg).save_voice("models/anna.pth");
    /// model::set_info("models/anna.pth", "Anna, calm", "models/anna.pth");
    /// model::info("models/anna.pth").entries.info == "Anna, calm"
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn set_info(ctx: NativeCallContext, path: &str, info: &str, out: &str) -> Fallible<()> {
        let session = session(&ctx);
        voice::set_info(&session.workspace().path(path), info, &session.workspace().path(out)).at(&ctx)
    }
}

/// The options of `model::open` from a script.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Options {
    content_encoder: Option<String>,
    f0_method: Option<String>,
    feature_precision: Option<String>,
    f0_unvoiced: Option<String>,
    index: String,
    gpu: bool,
}

impl Options {
    /// `path`: of a name in the workspace. Errors: `config.value`.
    fn voice_options(self, path: impl Fn(&str) -> PathBuf) -> crate::Result<VoiceOptions> {
        Ok(VoiceOptions {
            content_encoder: chosen("content_encoder", self.content_encoder)?,
            f0_method: chosen("f0_method", self.f0_method)?,
            feature_precision: chosen("feature_precision", self.feature_precision)?,
            f0_unvoiced: chosen("f0_unvoiced", self.f0_unvoiced)?,
            index: Some(self.index).filter(|index| !index.is_empty()).map(|index| path(&index)),
            gpu: self.gpu,
        })
    }
}

/// The value of a setting, if a script gives one that is not empty.
fn chosen<T: DeserializeOwned>(setting: &str, word: Option<String>) -> crate::Result<Option<T>> {
    word.filter(|word| !word.is_empty()).map(|word| choice(setting, &word)).transpose()
}

/// The settings of `convert` from a script; missing ones have RVC's values.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    sid: i64,
    f0_up_key: f64,
    index_rate: f64,
    protect: f64,
    rms_mix_rate: f64,
    filter_radius: i64,
    resample_sr: i64,
    seed: i64,
    format: String,
    overwrite: bool,
}

impl Default for Given {
    fn default() -> Self {
        let s = Settings::default();
        Self {
            sid: s.sid,
            f0_up_key: s.f0_up_key,
            index_rate: s.index_rate,
            protect: s.protect,
            rms_mix_rate: s.rms_mix_rate,
            filter_radius: s.filter_radius,
            resample_sr: s.resample_sr,
            seed: s.seed,
            format: "wav".into(),
            overwrite: true,
        }
    }
}

/// Errors: `config.unknown_key` with the nearest name, `config.value`.
fn parsed<T: DeserializeOwned>(map: &Map, of: &str, one: &str) -> crate::Result<T> {
    given::read(&value::map_to_json(map)?, of, one)
}

/// Whether the options of `model::open` are valid, before anything is opened.
pub fn check_options(options: &serde_json::Map<String, serde_json::Value>) -> crate::Result<()> {
    given::read::<Options>(options, "model::open", "an option")?.voice_options(|path| path.into()).map(drop)
}

/// Whether the settings of a conversion are valid, before anything is opened.
pub fn check_settings(settings: &serde_json::Map<String, serde_json::Value>) -> crate::Result<()> {
    let given: Given = given::read(settings, "convert", "a setting")?;
    Format::named(&given.format).map(drop)
}

fn opened(ctx: &NativeCallContext, path: &str, options: &Map) -> crate::Result<VoiceHandle> {
    let (session, options) = (session(ctx), parsed::<Options>(options, "model::open", "an option")?);
    let path_of = |path: &str| session.workspace().path(path);
    let voice_options = options.voice_options(path_of)?;
    let converter = Converter::open(&path_of(path), session.models(), &voice_options)?;
    for notice in converter.notices() {
        session.task().info(notice);
    }
    for note in &converter.voice().notes {
        session.task().warn(format!("{path}: {note}"));
    }
    Ok(VoiceHandle(Rc::new(converter)))
}

fn about(v: &VoiceHandle) -> Map {
    let (converter, voice) = (&v.0, v.0.voice());
    let speaker = |(id, name): &(i64, String)| -> Dynamic {
        Map::from([("id".into(), (*id).into()), ("name".into(), name.clone().into())]).into()
    };
    let speakers: Array = match &voice.speakers {
        voice::Speakers::Named(named) => named.iter().map(speaker).collect(),
        voice::Speakers::Counted(_) | voice::Speakers::Unknown => Array::new(),
    };
    [
        ("f0".into(), voice.sizes.f0.into()),
        ("f0_unvoiced".into(), converter.f0_unvoiced().as_str().into()),
        ("sample_rate".into(), voice.sizes.sample_rate.into()),
        ("version".into(), voice.sizes.version().as_str().into()),
        ("info".into(), voice.info.clone().into()),
        ("index".into(), converter.has_index().into()),
        ("speakers".into(), speakers.into()),
    ]
    .into()
}

fn settings(map: &Map) -> crate::Result<(Settings, Format, bool)> {
    let given: Given = parsed(map, "convert", "a setting")?;
    let format = Format::named(&given.format)?;
    let settings = Settings {
        sid: given.sid,
        f0_up_key: given.f0_up_key,
        index_rate: given.index_rate,
        protect: given.protect,
        rms_mix_rate: given.rms_mix_rate,
        filter_radius: given.filter_radius,
        resample_sr: given.resample_sr,
        seed: given.seed,
        ..Settings::default()
    };
    Ok((settings, format, given.overwrite))
}

fn converted(ctx: &NativeCallContext, v: &VoiceHandle, input: &str, out: &str, map: &Map) -> crate::Result<Map> {
    let session = session(ctx);
    let (settings, format, overwrite) = settings(map)?;
    let start = Instant::now();
    let (given, input, out) = (input, session.workspace().path(input), session.workspace().path(out));
    output::check(&input, &out, format)?;
    let out = if overwrite { out } else { output::free(&out) };
    let recording = super::audio::load(&session, given)?;
    let sound = v.0.convert(session.task(), recording, &settings).map_err(|e| e.path(&input))?;
    output::write(&out, &sound, format)?;
    let (took, seconds) = (start.elapsed().as_secs_f64(), sound.seconds());
    Ok([
        ("path".into(), out.display().to_string().into()),
        ("seconds".into(), seconds.into()),
        ("sample_rate".into(), i64::from(sound.sample_rate).into()),
        ("took".into(), took.into()),
        ("rtf".into(), (took / seconds.max(1e-9)).into()),
    ]
    .into())
}

fn compared(
    ctx: &NativeCallContext,
    v: &VoiceHandle,
    converted: &str,
    recording: &str,
    f0_up_key: &Dynamic,
) -> crate::Result<Map> {
    let session = session(ctx);
    let load = |path: &str| audio::io::load(&session.workspace().path(path));
    let key = f0_up_key.as_float().or_else(|_| f0_up_key.as_int().map(|n| n as f64)).map_err(|kind| {
        let kind = value::kind_of(kind);
        Error::new(Kind::ConfigValue, format!("f0_up_key is {kind}, but must be a number of semitones"))
    })?;
    v.0.quality(&load(converted)?, &load(recording)?, key).map(|quality| numbers(&quality))
}

fn numbers(quality: &Quality) -> Map {
    let number = |x: Option<f64>| x.map_or(Dynamic::UNIT, Dynamic::from);
    [
        ("log_mel_distance".into(), quality.log_mel_distance.into()),
        ("f0_rmse_cents".into(), number(quality.f0_rmse_cents)),
        ("voicing_error".into(), quality.voicing_error.into()),
        ("loudness_difference".into(), number(quality.loudness_difference)),
        ("content_distance".into(), quality.content_distance.into()),
    ]
    .into()
}

fn self_tested(
    ctx: &NativeCallContext,
    v: &VoiceHandle,
    t: &Trainer,
    recording: &str,
    out: &str,
) -> crate::Result<Map> {
    let session = session(ctx);
    let recording = audio::io::load(&session.workspace().path(recording))?;
    let out: PathBuf = session.workspace().path(out);
    let passed = t.with(|trainer| selftest::run(&v.0, trainer.generator(), &recording, &Settings::default()))?;
    output::write(&out, &passed.sound, Format::Wav16)?;
    let quality = v.0.quality(&passed.sound, &recording, 0.0)?;
    let mut map = numbers(&quality);
    map.insert("snr".into(), passed.snr.into());
    map.insert("path".into(), out.display().to_string().into());
    Ok(map)
}
