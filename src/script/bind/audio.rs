//! Script face of [`crate::audio`]: sound files and their duration, rate and peak.

use super::{At, Fallible, session};
use rhai::NativeCallContext;
use rhai::plugin::*;
use std::path::Path;
use std::rc::Rc;

/// Mono sound; cloning shares the samples.
#[derive(Clone)]
pub struct Sound(Rc<crate::audio::Audio>);

#[export_module]
pub mod api {
    /// Mono sound in memory.
    pub type Audio = super::Sound;

    /// Returns the sound of a file, mixed down to mono, at its own sample rate.
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
        crate::audio::io::load(&session(&ctx).workspace().path(path)).map(|audio| Sound(audio.into())).at(&ctx)
    }

    /// Returns whether a path looks like a recording, by its ending.
    ///
    /// # Example
    /// ```rhai
    /// audio::is_audio("anna.flac") && !audio::is_audio("notes.txt")
    /// ```
    pub fn is_audio(path: &str) -> bool {
        crate::audio::io::is_audio(Path::new(path))
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

    /// Returns a part of the sound, as much of it as there is.
    ///
    /// * `from`, `seconds`: where it begins and how long it is, in seconds.
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

fn rate(hz: i64) -> crate::Result<u32> {
    match u32::try_from(hz) {
        Ok(rate @ 1000..=384_000) => Ok(rate),
        _ => Err(crate::Error::new(
            crate::Kind::ConfigValue,
            format!("sample_rate is {hz}, but must be between 1000 and 384000"),
        )),
    }
}
