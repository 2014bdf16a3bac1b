//! The least length of a recording, estimated from the first bytes of its file, before it is decoded.
//!
//! File names are not enough: an mp4 or a webm may hold a film, an m4a may be lossless, a wav may have any rate.

use crate::audio::io;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Most bytes in a second of mp3: 640 kbit/s, which only free bit rates reach.
const MPEG_BYTES: u64 = 80_000;
/// The same for AAC without a container: a frame has at most 8191 bytes and at least 1024 samples, at up to 96000 samples a second.
const ADTS_BYTES: u64 = 768_000;
/// Their rate matters only for the check whether they are too long; at any lower one the limit is the same.
const MPEG_RATE: u32 = 48_000;
/// Most RIFF chunks read before a wav's samples.
const MOST_CHUNKS: usize = 64;

/// Whole seconds; 0 for formats whose bytes give no bound, and for recordings that are too long and will be skipped.
pub(super) fn at_least(path: &Path) -> u64 {
    let regular = std::fs::metadata(path).is_ok_and(|about| about.is_file());
    let length = regular.then(|| read(path).ok().flatten()).flatten();
    length
        .filter(|(seconds, rate)| !io::is_too_long(seconds.saturating_mul(u64::from(*rate)), *rate))
        .map_or(0, |it| it.0)
}

/// Seconds and sample rate.
fn read(path: &Path) -> std::io::Result<Option<(u64, u32)>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    // Cover pictures are in the tag.
    let start = match bytes::<10>(&mut file, 0)? {
        [b'I', b'D', b'3', _, _, _, a, b, c, d] => {
            10 + [a, b, c, d].iter().fold(0, |sum, x| sum << 7 | u64::from(x & 0x7f))
        }
        _ => 0,
    };
    let rest = end.saturating_sub(start);
    Ok(match bytes::<4>(&mut file, start)? {
        [b'R', b'I', b'F', b'F'] | [b'R', b'F', b'6', b'4'] | [b'B', b'W', b'6', b'4'] => wav(&mut file, start, end)?,
        [b'f', b'L', b'a', b'C'] => flac(bytes::<42>(&mut file, start)?, rest),
        [0xff, kind, ..] if kind & 0xf6 == 0xf0 => Some((rest / ADTS_BYTES, MPEG_RATE)),
        [0xff, kind, ..] if kind & 0xe0 == 0xe0 => Some((rest / MPEG_BYTES, MPEG_RATE)),
        _ => None,
    })
}

fn bytes<const N: usize>(file: &mut File, at: u64) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// From the bytes of the samples and the bytes a second in the header.
fn wav(file: &mut File, start: u64, end: u64) -> std::io::Result<Option<(u64, u32)>> {
    let (mut at, mut format) = (start + 12, None);
    for _ in 0..MOST_CHUNKS {
        let [i, d, e, n, size @ ..] = bytes::<8>(file, at)?;
        let size = u64::from(u32::from_le_bytes(size));
        match (&[i, d, e, n], format) {
            (b"fmt ", _) => {
                // Tag, channels, rate, bytes of a second, bytes of a frame.
                let [_, _, _, _, r0, r1, r2, r3, b0, b1, b2, b3, f0, f1] = bytes::<14>(file, at + 8)?;
                let rate = u32::from_le_bytes([r0, r1, r2, r3]);
                let of_frames = u64::from(rate) * u64::from(u16::from_le_bytes([f0, f1]));
                format = Some((rate, of_frames.max(u64::from(u32::from_le_bytes([b0, b1, b2, b3])))));
            }
            (b"data", Some((rate, of_second))) => {
                // Unfilled sizes are the largest numbers.
                let there = size.min(end.saturating_sub(at + 8));
                return Ok(there.checked_div(of_second).map(|seconds| (seconds, rate)));
            }
            _ => {}
        }
        at += 8 + size + size % 2;
    }
    Ok(None)
}

/// From the number of samples in the header, but no more than the bytes hold if they are not compressed at all.
///
/// Source: RFC 9639, 8.2.
fn flac(head: [u8; 42], n_bytes: u64) -> Option<(u64, u32)> {
    let number = |range: std::ops::Range<usize>| head[range].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    // 20 bits of rate, 3 of channels minus 1, 5 of bits minus 1, 36 of samples.
    let packed = number(18..26);
    let (rate, channels, bits) = (packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1);
    let samples = packed & 0xf_ffff_ffff;
    let held = n_bytes.checked_div(rate * channels * bits.div_ceil(8))?;
    Some((held.min(samples / rate), u32::try_from(rate).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sparse file with this beginning.
    fn seconds(name: &str, head: &[u8], n_bytes: u64) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, head).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(n_bytes).unwrap();
        at_least(&path)
    }

    fn wav(rate: u32, frame_bytes: u16, data: u32) -> Vec<u8> {
        let per_second = rate * u32::from(frame_bytes);
        let mut head = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x02\0".to_vec();
        head.extend([rate.to_le_bytes(), per_second.to_le_bytes()].concat());
        head.extend([&frame_bytes.to_le_bytes()[..], b"\x18\0data", &data.to_le_bytes()].concat());
        head
    }

    fn flac(rate: u64, channels: u64, bits: u64, samples: u64) -> Vec<u8> {
        let packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | samples;
        [&b"fLaC\0\0\0\x22"[..], &[0; 10], &packed.to_be_bytes(), &[0; 16]].concat()
    }

    #[test]
    fn what_may_be_a_film_or_lossless_bounds_nothing() {
        for (name, head) in [
            ("film.mp4", &b"\0\0\0\x20ftypisom"[..]),
            ("alac.m4a", b"\0\0\0\x20ftypM4A "),
            ("film.webm", b"\x1a\x45\xdf\xa3"),
            ("film.mp3", b"\0\0\0\x20ftypisom"),
            ("a.ogg", b"OggS"),
            ("short.wav", b"RI"),
        ] {
            assert_eq!(seconds(name, head, 10_000_000_000), 0, "{name}");
        }
        assert_eq!(seconds("empty.wav", b"", 0), 0);
        assert_eq!(at_least(Path::new("nowhere.wav")), 0);
    }

    #[test]
    fn a_wav_is_measured_by_its_own_rate_and_samples() {
        let of_second = 192_000 * 8;
        assert_eq!(seconds("a.wav", &wav(192_000, 8, 100 * of_second), 100 * u64::from(of_second) + 60), 100);
        assert_eq!(seconds("open.wav", &wav(48_000, 4, u32::MAX), 192_000 * 50 + 60), 50);
        assert_eq!(seconds("more.wav", &wav(48_000, 4, 192_000 * 5), 192_000 * 50), 5, "other chunks are no sound");
        assert_eq!(seconds("zero.wav", &wav(0, 0, 1000), 2000), 0);
    }

    #[test]
    fn a_flac_is_as_long_as_it_says_if_its_bytes_can_hold_that() {
        assert_eq!(seconds("a.flac", &flac(96_000, 8, 24, 96_000 * 10), 1 << 30), 10);
        assert_eq!(seconds("bomb.flac", &flac(48_000, 2, 16, 48_000 * 10_000), 192_000 * 3), 3);
        assert_eq!(seconds("open.flac", &flac(48_000, 2, 16, 0), 1 << 30), 0);
        assert_eq!(seconds("zero.flac", &flac(0, 1, 16, 0), 1 << 30), 0);
    }

    #[test]
    fn pictures_in_front_of_an_mp3_are_no_sound() {
        // A tag of 2 MiB.
        let mut file = b"ID3\x04\0\0\x01\0\0\0".to_vec();
        file.resize(10 + (1 << 21), 0);
        file.extend(b"\xff\xfb\x90\0");
        assert_eq!(seconds("a.mp3", &file, file.len() as u64 + 5 * MPEG_BYTES), 5);
        assert_eq!(seconds("b.mp3", b"\xff\xfb\x90\0\0\0\0\0\0\0", 7 * MPEG_BYTES), 7);
        assert_eq!(seconds("c.aac", b"\xff\xf1\x50\x80\0\0\0\0\0\0", 7 * ADTS_BYTES), 7);
    }

    #[test]
    fn what_is_too_long_to_be_decoded_takes_no_room() {
        let hours = |n: u64| n * 3600 * MPEG_BYTES;
        assert_eq!(seconds("a.mp3", b"\xff\xfb\x90\0\0\0\0\0\0\0", hours(4)), 4 * 3600);
        assert_eq!(seconds("a.mp3", b"\xff\xfb\x90\0\0\0\0\0\0\0", hours(5)), 0);
        let two_hours = 2 * 3600 * 192_000;
        assert_eq!(
            seconds("fine.wav", &wav(192_000, 1, two_hours), 2 << 30),
            0,
            "2 hours of 192 kHz are too many samples"
        );
    }
}
