//! Script interface of [`crate::audio`]: recordings, their measures, and their preparation for training.

use super::{At, Fallible, Session, session, value};
use crate::audio::{activity, denoise, loudness, normalize, slice};
use rhai::plugin::*;
use rhai::{Array, Dynamic, Map, NativeCallContext};
use std::rc::Rc;

/// Mono sound; cloning shares the samples.
#[derive(Clone)]
pub struct Sound(Rc<crate::audio::Audio>);

#[export_module]
pub mod api {
    /// Mono sound in memory.
    pub type Audio = super::Sound;

    /// Returns the sound of a recording, mixed down to mono, at its own sample rate.
    ///
    /// * `path`: wav, flac, mp3, m4a, ogg, opus, webm, aiff; relative paths start at the workspace.
    /// * Fails with `file.not_found`, `audio.decode` if the file is damaged, `audio.empty` if it has no samples.
    ///
    /// # Example
    /// ```rhai
    /// let a = audio::load("data/anna/tone.wav");    // a second of a tone at 48000 Hz
    /// a.sample_rate == 48000 && a.seconds == 1.0
    /// ```
    #[rhai_fn(return_raw, volatile)]
    pub fn load(ctx: NativeCallContext, path: &str) -> Fallible<Audio> {
        super::load(&session(&ctx), path).map(|audio| Sound(audio.into())).at(&ctx)
    }

    /// Returns whether a file counts as a recording: by its extension, or if that says nothing, by its first bytes.
    ///
    /// * `path`: relative paths start at the workspace.
    ///
    /// # Example
    /// ```rhai
    /// audio::is_audio("anna.flac") && !audio::is_audio("notes.txt")
    /// ```
    #[rhai_fn(volatile)]
    pub fn is_audio(ctx: NativeCallContext, path: &str) -> bool {
        crate::audio::io::is_audio(&session(&ctx).workspace().path(path))
    }

    /// Returns the sound at another sample rate; its duration stays the same.
    ///
    /// * `sample_rate`: in Hz, 1000 to 384000.
    /// * Fails with `config.value` for any other rate.
    ///
    /// # Example
    /// ```rhai
    /// let a = audio::load("data/anna/tone.wav").resample(16000);
    /// a.sample_rate == 16000 && a.seconds == 1.0
    /// ```
    #[rhai_fn(global, pure, return_raw)]
    pub fn resample(ctx: NativeCallContext, sound: &mut Audio, sample_rate: i64) -> Fallible<Audio> {
        super::rate(sample_rate).map(|rate| Sound((*sound.0).clone().at_rate(rate).into())).at(&ctx)
    }

    /// Writes the sound as a float32 wav file.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `file.write`, `file.disk_full`.
    ///
    /// # Example
    /// ```rhai
    /// audio::load("data/anna/tone.wav").write("copy.wav");
    /// audio::load("copy.wav").seconds == 1.0
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn write(ctx: NativeCallContext, sound: &mut Audio, path: &str) -> Fallible<()> {
        let path = session(&ctx).workspace().path(path);
        crate::audio::io::write_wav(&path, &sound.0.samples, sound.0.sample_rate).at(&ctx)
    }

    /// Returns a part of the sound, or as much of it as exists.
    ///
    /// * `from`, `seconds`: the start and the length, in seconds.
    ///
    /// # Example
    /// ```rhai
    /// let a = audio::load("data/anna/tone.wav");    // a second
    /// a.part(0.25, 0.5).seconds == 0.5 && a.part(0.75, 1.0).seconds == 0.25
    /// ```
    #[rhai_fn(global, pure)]
    pub fn part(sound: &mut Audio, from: f64, seconds: f64) -> Audio {
        Sound(sound.0.part(from, seconds).into())
    }

    /// Returns the sound with less noise (RNNoise), at its own rate and length; everything above 20 kHz is removed.
    ///
    /// For noisy recordings: speech with an SNR over 20 dB is altered more than it is cleaned.
    ///
    /// * `strength`: the share of the suppression, 0 to 1.
    /// * Fails with `config.value` for another strength, `cancelled`.
    ///
    /// # Example
    /// ```rhai
    /// let a = audio::load("data/anna/tone.wav");
    /// let b = a.denoise(0.8);
    /// b.seconds == a.seconds && b.sample_rate == a.sample_rate
    /// ```
    #[rhai_fn(global, pure, return_raw)]
    pub fn denoise(ctx: NativeCallContext, sound: &mut Audio, strength: f64) -> Fallible<Audio> {
        let cfg = [("noise_reduction".into(), strength.into())].into();
        let made = value::config(&cfg).and_then(|config| {
            denoise::denoise((*sound.0).clone(), config.noise_reduction, || session(&ctx).task().check())
        });
        made.map(|audio| Sound(audio.into())).at(&ctx)
    }

    /// Returns the sound at the level that the settings request, as one clip.
    ///
    /// * `cfg`: `normalization` is rvc, peak (to `target_peak_dbfs`), lufs (to `target_lufs`, the true peak at most `target_peak_dbfs`) or
    ///   none.
    /// * Fails with `config.*`. Silence is unchanged.
    ///
    /// # Example
    /// ```rhai
    /// let a = audio::load("data/anna/tone.wav").normalize(#{ normalization: "lufs", target_lufs: -23.0 });
    /// system::round(a.loudness, 1) == -23.0
    /// ```
    #[rhai_fn(global, pure, return_raw)]
    pub fn normalize(ctx: NativeCallContext, sound: &mut Audio, cfg: Map) -> Fallible<Audio> {
        let made = value::config(&cfg).map(|config| normalize::normalize(&sound.0, &config));
        made.map(|audio| Sound(audio.into())).at(&ctx)
    }

    /// Returns the clips that the settings cut the sound into: a map with `clips`, a list of sounds at the voice's rate, and `dropped`, a list
    /// of `reason`, `start_seconds` and `seconds` of the clips that were rejected. `prepare::slices` does this for a folder, with a cache.
    ///
    /// * `cfg`: `slicing`, `slice_seconds`, `min_slice_seconds`, `overlap_seconds`, `normalization`, `noise_reduction`,
    ///   `min_voice_share`, ...
    /// * Fails with `config.*`, `cancelled`.
    ///
    /// # Example
    /// ```rhai
    /// let a = audio::load("data/anna/tone.wav");    // a second
    /// let cut = a.slice(#{ slicing: "none", normalization: "peak", target_peak_dbfs: -6.0 });
    /// cut.clips.len() == 1 && cut.clips[0].seconds == 1.0 && system::round(cut.clips[0].peak, 2) == 0.5 && cut.dropped.is_empty()
    /// ```
    #[rhai_fn(global, pure, return_raw)]
    pub fn slice(ctx: NativeCallContext, sound: &mut Audio, cfg: Map) -> Fallible<Map> {
        let cut = || {
            let config = value::config(&cfg)?;
            let ready = slice::ready((*sound.0).clone(), &config, || session(&ctx).task().check())?;
            slice::cut(&ready, &config).map(|cut| super::cut(cut, ready.sample_rate))
        };
        cut().at(&ctx)
    }

    /// Returns the share of the sound that is speech or singing, 0 to 1, found by a small network. Pauses between words do not count:
    /// speech has 0.8 or more, noise and hum almost 0. A melody on one instrument may count as a voice.
    ///
    /// # Example
    /// ```rhai
    /// audio::load("data/anna/tone.wav").voice_share < 0.3    // a tone is not a voice
    /// ```
    #[rhai_fn(get = "voice_share", pure)]
    pub fn voice_share(sound: &mut Audio) -> f64 {
        let sound = (*sound.0).clone().finite();
        activity::Activity::new(&sound.samples, sound.sample_rate).total_share()
    }

    /// Returns the integrated loudness in LUFS (ITU-R BS.1770), or () for silence and sounds below 0.4 s.
    ///
    /// # Example
    /// ```rhai
    /// let lufs = audio::load("data/anna/tone.wav").loudness;
    /// lufs > -15.0 && lufs < -5.0
    /// ```
    #[rhai_fn(get = "loudness", pure)]
    pub fn loudness(sound: &mut Audio) -> Dynamic {
        let sound = (*sound.0).clone().finite();
        loudness::integrated(&sound.samples, sound.sample_rate).map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// Returns the largest magnitude of the waveform, between the samples too; full scale is 1.
    ///
    /// # Example
    /// ```rhai
    /// let a = audio::load("data/anna/tone.wav");
    /// a.true_peak >= a.peak
    /// ```
    #[rhai_fn(get = "true_peak", pure)]
    pub fn true_peak(sound: &mut Audio) -> f64 {
        let sound = (*sound.0).clone().finite();
        loudness::true_peak(&sound.samples, sound.sample_rate)
    }

    /// Writes a picture of the sound: its spectrogram as a PNG file, time to the right, pitch upwards.
    ///
    /// * `path`: relative paths start at the workspace.
    /// * Fails with `file.write`, `file.disk_full`.
    ///
    /// # Example
    /// ```rhai
    /// audio::load("data/anna/tone.wav").save_picture("tone.png");
    /// system::file_exists("tone.png")
    /// ```
    #[rhai_fn(global, pure, return_raw, volatile)]
    pub fn save_picture(ctx: NativeCallContext, sound: &mut Audio, path: &str) -> Fallible<()> {
        let path = session(&ctx).workspace().path(path);
        let picture = crate::audio::picture::spectrogram(&sound.0.samples, sound.0.sample_rate, None);
        picture.and_then(|png| crate::files::write(&path, png)).at(&ctx)
    }

    /// Returns the samples per second, in Hz.
    ///
    /// # Example
    /// ```rhai
    /// audio::load("data/anna/tone.wav").sample_rate == 48000
    /// ```
    #[rhai_fn(get = "sample_rate", pure)]
    pub fn sample_rate(sound: &mut Audio) -> i64 {
        i64::from(sound.0.sample_rate)
    }

    /// Returns the duration in seconds.
    ///
    /// # Example
    /// ```rhai
    /// audio::load("data/anna/tone.wav").seconds == 1.0
    /// ```
    #[rhai_fn(get = "seconds", pure)]
    pub fn seconds(sound: &mut Audio) -> f64 {
        sound.0.seconds()
    }

    /// Returns the largest magnitude of all samples; full scale is 1.
    ///
    /// # Example
    /// ```rhai
    /// let peak = audio::load("data/anna/tone.wav").peak;
    /// peak > 0.4 && peak < 0.6
    /// ```
    #[rhai_fn(get = "peak", pure)]
    pub fn peak(sound: &mut Audio) -> f64 {
        sound.0.samples.iter().fold(0f64, |peak, sample| peak.max(f64::from(sample.abs())))
    }

    /// Returns the sound as a short text, for `print`.
    ///
    /// # Example
    /// ```rhai
    /// `${audio::load("data/anna/tone.wav")}` == "Audio(48000 Hz, 1.00 s)"
    /// ```
    #[rhai_fn(global, name = "to_string", name = "to_debug", pure)]
    pub fn to_text(sound: &mut Audio) -> String {
        format!("Audio({} Hz, {:.2} s)", sound.0.sample_rate, sound.0.seconds())
    }
}

/// The sound of a recording that a script names; anything unusual about it is reported.
pub fn load(session: &Session, path: &str) -> crate::Result<crate::audio::Audio> {
    let loaded = crate::audio::io::load_with_notices(session.task(), &session.workspace().path(path))?;
    for notice in loaded.notices {
        session.task().warn(format!("{path}: {}", notice.message));
    }
    Ok(loaded.audio)
}

fn cut(cut: slice::Cut, sample_rate: u32) -> Map {
    let sound = |samples| Dynamic::from(Sound(crate::audio::Audio { samples, sample_rate }.into()));
    let clips: Array = cut.clips.into_iter().map(|clip| sound(clip.gt)).collect();
    let dropped = cut.dropped.into_iter().map(|dropped| {
        let (start, seconds) = (dropped.start_seconds.into(), dropped.seconds.into());
        let row: Map = [
            ("reason".into(), dropped.reason.name().into()),
            ("start_seconds".into(), start),
            ("seconds".into(), seconds),
        ]
        .into();
        Dynamic::from(row)
    });
    let dropped: Array = dropped.collect();
    [("clips".into(), clips.into()), ("dropped".into(), dropped.into())].into()
}

fn rate(hz: i64) -> crate::Result<u32> {
    match u32::try_from(hz) {
        Ok(rate @ 1000..=384_000) => Ok(rate),
        _ => Err(crate::Error::new(
            crate::Kind::ConfigValue,
            format!("sample_rate is {hz}, but must be between 1000 and 384000"),
        )),
    }
}
