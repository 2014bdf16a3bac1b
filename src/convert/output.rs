//! Writes converted sound to files.

use crate::audio::Audio;
use crate::{Error, Kind, Result, audio, files};
use std::path::{Path, PathBuf};

/// The format of a converted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 16-bit wav, as RVC writes.
    Wav16,
    /// Float wav.
    Wav32,
    /// 16-bit FLAC.
    Flac,
}

impl Format {
    pub const NAMES: [&str; 3] = ["wav", "wav32", "flac"];

    /// Errors: `config.value`.
    pub fn named(name: &str) -> Result<Self> {
        let known = [Self::Wav16, Self::Wav32, Self::Flac].into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| {
            Error::new(Kind::ConfigValue, format!("format is {name:?}, but must be one of {}", Self::NAMES.join(", ")))
        })
    }

    fn name(self) -> &'static str {
        let [wav, wav32, flac] = Self::NAMES;
        match self {
            Self::Wav16 => wav,
            Self::Wav32 => wav32,
            Self::Flac => flac,
        }
    }

    /// The file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        if self == Self::Flac { "flac" } else { "wav" }
    }
}

/// `out` itself if it does not exist, else the first free one of out_2, out_3, ...
pub fn free(out: &Path) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let end = out.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
    let numbered = (2..).map(|n| out.with_file_name(format!("{stem}_{n}{end}")));
    std::iter::once(out.to_owned()).chain(numbered).find(|path| !path.exists()).expect("some number is free")
}

/// Checks before the work that a conversion of `input` may go to `out`.
///
/// Errors: `config.value` if `out` is the recording itself, or has the extension of another format.
pub fn check(input: &Path, out: &Path, format: Format) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if real(input).is_some_and(|input| real(out) == Some(input)) {
        let message = format!("the output {} is the recording itself, which would be lost", out.display());
        return Err(Error::new(Kind::ConfigValue, message)
            .path(out)
            .hint("give another file or folder for the output"));
    }
    let ending = out.extension().map(|e| e.to_string_lossy().to_lowercase());
    if ending.as_deref() == Some(format.extension()) {
        return Ok(());
    }
    let ending = ending.map_or_else(|| "has no ending".to_owned(), |ending| format!("ends in .{ending}"));
    let (name, expected) = (format.name(), format.extension());
    let message = format!("the output {} {ending}, but format {name} writes .{expected}", out.display());
    Err(Error::new(Kind::ConfigValue, message)
        .path(out)
        .hint("format is wav (16 bits) or wav32 (float) for .wav, flac for .flac: `--format flac`"))
}

/// Writes sound, whole or not at all; a peak over 0.99 is reduced to it, as in RVC.
///
/// Errors: `file.write`, `file.disk_full`; `audio.encode` for over 4 GiB.
pub fn write(path: &Path, sound: &Audio, format: Format) -> Result<()> {
    match format {
        Format::Wav32 => {
            let gain = 1.0 / over(&sound.samples);
            let samples: Vec<f32> = sound.samples.iter().map(|x| x * gain).collect();
            audio::io::write_wav(path, &samples, sound.sample_rate)
        }
        Format::Wav16 => write_wav(path, &quantised(&sound.samples), sound.sample_rate),
        Format::Flac => write_flac(path, &quantised(&sound.samples), sound.sample_rate),
    }
}

/// The factor by which the peak exceeds 0.99; 1 if it does not.
fn over(samples: &[f32]) -> f32 {
    (samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs())) / 0.99).max(1.0)
}

/// Sound as 16-bit numbers, truncated toward zero (spec I.9).
pub fn quantised(samples: &[f32]) -> Vec<i16> {
    let scale = 32768.0 / over(samples);
    samples.iter().map(|x| (x * scale) as i16).collect()
}

fn write_wav(path: &Path, samples: &[i16], sample_rate: u32) -> Result<()> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let io = |error: hound::Error| match error {
        hound::Error::IoError(error) => error,
        other => std::io::Error::other(other),
    };
    files::write_with(path, |out| {
        let mut writer = hound::WavWriter::new(out, spec).map_err(io)?;
        for x in samples {
            writer.write_sample(*x).map_err(io)?;
        }
        writer.finalize().map_err(io)
    })
}

fn write_flac(path: &Path, samples: &[i16], sample_rate: u32) -> Result<()> {
    use flacenc::bitsink::ByteSink;
    use flacenc::component::BitRepr;
    use flacenc::error::Verify;
    let failed = |why: String| Error::new(Kind::Internal, format!("{} cannot be coded: {why}", path.display()));
    let config = flacenc::config::Encoder::default().into_verified().map_err(|(_, e)| failed(e.to_string()))?;
    let samples: Vec<i32> = samples.iter().map(|x| i32::from(*x)).collect();
    let source = flacenc::source::MemSource::from_samples(&samples, 1, 16, sample_rate as usize);
    let mut stream = flacenc::encode_with_fixed_block_size(&config, source, config.block_size)
        .map_err(|e| failed(format!("{e:?}")))?;
    // flacenc writes the last, shorter block as the minimum block size; the format excludes it, and Symphonia then expects
    // variable block sizes and finds no frame.
    stream
        .stream_info_mut()
        .set_block_sizes(config.block_size, config.block_size)
        .map_err(|e| failed(e.to_string()))?;
    let mut sink = ByteSink::new();
    stream.write(&mut sink).map_err(|e| failed(e.to_string()))?;
    files::write(path, sink.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_format_says_which_formats_there_are_and_how_to_choose() {
        let check = |out: &str, format| check(Path::new("a.wav"), Path::new(out), format);
        for (out, format) in [("x.wav", Format::Wav16), ("x.WAV", Format::Wav32), ("x.flac", Format::Flac)] {
            assert!(check(out, format).is_ok(), "{out}");
        }
        let error = check("x.mp3", Format::Wav16).unwrap_err();
        assert_eq!(error.message(), "the output x.mp3 ends in .mp3, but format wav writes .wav");
        let hint = "format is wav (16 bits) or wav32 (float) for .wav, flac for .flac: `--format flac`";
        assert_eq!(error.hint_text(), Some(hint));
        let error = check("x", Format::Flac).unwrap_err();
        assert_eq!(error.message(), "the output x has no ending, but format flac writes .flac");
        for name in Format::NAMES {
            assert_eq!(Format::named(name).unwrap().name(), name);
        }
    }
}
