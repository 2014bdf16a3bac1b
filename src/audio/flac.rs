//! FLAC files, possibly concatenated: where each file and its frames begin.
//!
//! Source: RFC 9639.

use super::part::{Division, Part, Promise};
use super::splice::{Peek, Piece};
use super::tags::tag;
use std::io::Result;

const MARK: &[u8; 4] = b"fLaC";
/// Bytes of the first metadata block: its header and the stream's description.
const DESCRIPTION: usize = 38;
/// Longest chain of metadata blocks that is followed; files have fewer than ten.
const MOST_BLOCKS: usize = 1 << 12;

/// The files from `start` on, without the tags between and after them.
pub(super) fn divide(peek: &mut Peek<'_>, start: u64) -> Result<Division> {
    let mut division = Division::default();
    let mut start = Some(start);
    while let Some(begin) = start {
        let frames = first_frame(peek, begin)?;
        let (end, next) = end(peek, frames)?;
        division.parts.push(part(peek, begin, frames, end)?);
        start = next;
    }
    Ok(division)
}

fn part(peek: &mut Peek<'_>, start: u64, frames: u64, end: u64) -> Result<Part> {
    let description = peek.at(start + 4, DESCRIPTION)?;
    // 36 bits; 0 means "unknown" and promises nothing.
    let samples =
        description.get(17..22).map_or(0, |bytes| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)));
    let samples = samples & 0xf_ffff_ffff;
    let promise = if samples == 0 { Promise::Nothing } else { Promise::Samples(samples) };
    Ok(Part {
        pieces: vec![Piece::File(start..end)],
        sound_bytes: end.saturating_sub(frames),
        promise,
        is_all_packets: true,
        ..Part::plain(0..0)
    })
}

/// Where the frames of the file at `start` begin.
fn first_frame(peek: &mut Peek<'_>, start: u64) -> Result<u64> {
    let mut at = start + MARK.len() as u64;
    for _ in 0..MOST_BLOCKS {
        let &[kind, a, b, c] = peek.at(at, 4)? else { break };
        at += 4 + u64::from(u32::from_be_bytes([0, a, b, c]));
        if kind & 0x80 != 0 {
            break;
        }
    }
    Ok(at.min(peek.n_bytes()))
}

/// Where the frames from `frames` on end, and where the next file begins.
fn end(peek: &mut Peek<'_>, frames: u64) -> Result<(u64, Option<u64>)> {
    let n_bytes = peek.n_bytes();
    let mut at = frames;
    // The last tag that would end where another file begins.
    let mut id3: Option<(u64, u64)> = None;
    while at < n_bytes {
        let block = peek.at(at, Peek::BLOCK)?;
        let is_interesting = |i: usize| match block[i] {
            b'f' => block[i..].starts_with(MARK),
            b'I' => block[i..].starts_with(b"ID3"),
            _ => false,
        };
        let Some(i) = (0..block.len()).find(|i| is_interesting(*i)) else {
            // Its last bytes may be half of a marker.
            at += block.len().saturating_sub(3).max(1) as u64;
            continue;
        };
        let found = at + i as u64;
        if is_file(peek, found)? {
            let end = id3.filter(|(_, end)| *end == found).map_or(found, |(begin, _)| begin);
            return Ok((end, Some(found)));
        }
        if let Some(end) = tag(peek, found)? {
            id3 = Some((found, end));
        }
        at = found + 1;
    }
    // Tags after the last frame: ID3 of 128 bytes, or of any length.
    for begin in [id3.map(|(begin, _)| begin), n_bytes.checked_sub(128)].into_iter().flatten() {
        if begin >= frames && tag(peek, begin)? == Some(n_bytes) {
            return Ok((begin, None));
        }
    }
    Ok((n_bytes, None))
}

/// A marker may occur anywhere; followed by the start of a stream description it marks a file.
fn is_file(peek: &mut Peek<'_>, at: u64) -> Result<bool> {
    Ok(matches!(peek.at(at, 8)?, [b'f', b'L', b'a', b'C', 0 | 0x80, 0, 0, 34]))
}
