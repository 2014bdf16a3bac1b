//! Reads any recording, and writes and reads the float wavs of a training folder.

use super::loaded::Loaded;
use super::{Audio, decode, foreign, recording};
use crate::task::Task;
use crate::{Error, Kind, Result, files};
use std::io::Write;
use std::path::Path;

/// The bytes before the samples of our wavs. The reference computes length buckets from file sizes, so this
/// number matters.
pub const HEADER_BYTES: usize = 58;

/// Whether a file counts as a recording: by its extension, or if that says nothing, by its first bytes. Hidden files do not count.
pub fn is_audio(path: &Path) -> bool {
    recording::is_recording(path)
}

/// A recording's sound, mono, at its own rate. The content decides the format, not the name, except for formats without a header (g722,
/// gsm).
///
/// Samples may exceed full scale or not be finite (float wavs); nothing is clipped. Stereo becomes (L + R) * 0.7071.
/// The encoder's run-in and padding are removed where the file states their length. Formats that are not known
/// here, and files in which our decoder stops early, are decoded with ffmpeg, if it is on the PATH.
///
/// The length is that of the packets: recordings that were joined in one file are read one after the other, at the first one's
/// rate, and a wrong or missing length in a header changes nothing. [`load_with_notices`] reports all of this.
///
/// Errors: `file.not_found`, `file.read`; `audio.decode` if it is not sound, damaged, cut off, in a codec that
/// cannot be read, or over 4 hours long; `audio.empty` if it has no samples.
///
/// Source: spec A.2. RVC resamples in the same ffmpeg call; here that is [`Audio::at_rate`].
pub fn load(path: &Path) -> Result<Audio> {
    Ok(load_in_task(path, None)?.audio)
}

/// As [`load`], with notices about how it was read and what is unusual about it.
///
/// Errors: as [`load`]; `cancelled` if the task is cancelled while ffmpeg runs, which may take minutes.
pub fn load_with_notices(task: &Task, path: &Path) -> Result<Loaded> {
    load_in_task(path, Some(task))
}

fn load_in_task(path: &Path, task: Option<&Task>) -> Result<Loaded> {
    let _in_file = tracing::info_span!("file", path = %path.display()).entered();
    decode::decode(path, task)
}

/// Whether [`load`] refuses a recording of this length.
pub fn is_too_long(n_samples: u64, sample_rate: u32) -> bool {
    decode::is_too_long(n_samples, sample_rate)
}

/// The version of the ffmpeg on the PATH, if there is one.
pub fn ffmpeg_version() -> Option<&'static str> {
    foreign::version()
}

/// Writes mono samples as a float32 wav, completely or not at all, with the reference's 58-byte header (spec A.8).
///
/// Errors: `file.write`, `file.disk_full`; `internal` for over 4 GiB of samples.
pub fn write_wav(path: &Path, samples: &[f32], sample_rate: u32) -> Result<()> {
    let Some(data_bytes) = u32::try_from(samples.len() * 4).ok().filter(|n| *n <= u32::MAX - HEADER_BYTES as u32)
    else {
        let message = format!("{} samples are too many for a wav", samples.len());
        return Err(Error::new(Kind::Internal, message).path(path));
    };
    files::write_with(path, |out| {
        out.write_all(&header(data_bytes, sample_rate))?;
        let mut bytes = Vec::with_capacity(1 << 16);
        for part in samples.chunks(1 << 14) {
            bytes.clear();
            bytes.extend(part.iter().flat_map(|x| x.to_le_bytes()));
            out.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// ```text
///  0 "RIFF" size-8 "WAVE"      12 "fmt " 18: tag 3, 1 channel, rate, bytes/s, 4 bytes a frame, 32 bits, 0 extra bytes
/// 38 "fact" 4: samples         50 "data" bytes      58 samples
/// ```
fn header(data_bytes: u32, sample_rate: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    let number = |bytes: &mut Vec<u8>, x: u32| bytes.extend(x.to_le_bytes());
    bytes.extend(b"RIFF");
    number(&mut bytes, data_bytes + HEADER_BYTES as u32 - 8);
    bytes.extend(b"WAVEfmt ");
    number(&mut bytes, 18);
    bytes.extend([3, 0, 1, 0]);
    number(&mut bytes, sample_rate);
    number(&mut bytes, sample_rate.wrapping_mul(4));
    bytes.extend([4, 0, 32, 0, 0, 0]);
    bytes.extend(b"fact");
    number(&mut bytes, 4);
    number(&mut bytes, data_bytes / 4);
    bytes.extend(b"data");
    number(&mut bytes, data_bytes);
    bytes
}

/// The samples of a mono wav of a training folder: float32 bit for bit as stored, or 16-bit integers as parts of full scale
/// (the silence that RVC and Applio ship is stored so).
///
/// Errors: `file.not_found`, `file.read`; `data.damaged` if it is cut off or has another format.
pub fn read_wav(path: &Path) -> Result<Audio> {
    let bytes = files::read(path)?;
    parse_wav(&bytes).map_err(|why| {
        Error::new(Kind::DataDamaged, format!("{} is not a mono wav of float32 or 16 bits: {why}", path.display()))
            .path(path)
            .hint("delete it and prepare the voice again")
    })
}

fn parse_wav(bytes: &[u8]) -> std::result::Result<Audio, String> {
    let u16_at = |at: usize| bytes.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u32_at = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err("it does not begin with a RIFF/WAVE header".into());
    }
    let mut at = 12;
    let mut format = None;
    while let (Some(name), Some(size)) = (bytes.get(at..at + 4), u32_at(at + 4)) {
        let (content, size) = (at + 8, size as usize);
        match name {
            b"fmt " => match (u16_at(content), u16_at(content + 2), u32_at(content + 4), u16_at(content + 14)) {
                (Some(tag @ (1 | 3)), Some(1), Some(rate), Some(bits @ (16 | 32)))
                    if rate > 0 && (tag == 3) == (bits == 32) =>
                {
                    format = Some((rate, bits));
                }
                found => return Err(format!("its format (tag, channels, rate, bits) is {found:?}")),
            },
            b"data" => {
                let Some((sample_rate, bits)) = format else { return Err("it has no format".into()) };
                let Some(data) = bytes.get(content..content + size) else {
                    let missing = size - (bytes.len() - content);
                    return Err(format!("{missing} bytes are missing at its end"));
                };
                let samples = if bits == 32 {
                    data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
                } else {
                    data.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
                };
                return Ok(Audio { samples, sample_rate });
            }
            _ => {}
        }
        // Chunks are padded to an even length.
        at = content + size + size % 2;
    }
    Err("it has no samples".into())
}
