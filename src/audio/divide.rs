//! What a file really holds, found by walking over its bytes before decoding: the decoder is shown each concatenated stream
//! separately, with a correct header. symphonia reads one stream and believes its header.

use super::part::{Division, Part};
use super::splice::{Peek, Piece, Splice};
use super::tags::tag;
use super::{container, flac, frames, ogg, riff};
use std::fs::File;
use std::io::Result;

/// The streams of a file. A file of unknown format is one stream.
///
/// Errors: the system's error if it cannot be read.
pub(super) fn divide(file: &File) -> Result<Division> {
    let mut peek = Peek::new(file)?;
    let mut start = 0;
    while let Some(tag) = tag(&mut peek, start)? {
        start = tag;
    }
    let head = <[u8; 12]>::try_from(peek.at(start, 12)?).unwrap_or_default();
    let division = match &head {
        [b'R', b'I' | b'F', b'F' | b'6', b'F' | b'4', .., b'W', b'A', b'V', b'E']
        | [b'B', b'W', b'6', b'4', .., b'W', b'A', b'V', b'E']
        | [b'F', b'O', b'R', b'M', .., b'A', b'I', b'F', b'F' | b'C'] => riff::divide(&mut peek, start)?,
        [b'f', b'L', b'a', b'C', ..] => Some(flac::divide(&mut peek, start)?),
        [b'O', b'g', b'g', b'S', ..] => Some(ogg::divide(&mut peek, start)?),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(container::divide_mp4(&mut peek)?),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(divide_matroska(file, peek.n_bytes())?),
        _ if is_foreign(&mut peek, start)? => None,
        _ => frames::divide(&mut peek, start)?,
    };
    let is_foreign = division.is_none() && is_foreign(&mut peek, start)?;
    let whole = || Division { parts: vec![Part::plain(0..peek.n_bytes())], is_foreign, ..Division::default() };
    Ok(division.filter(|division| !division.parts.is_empty()).unwrap_or_else(whole))
}

/// Whether the bytes begin like a container or codec that is not read here.
fn is_foreign(peek: &mut Peek<'_>, start: u64) -> Result<bool> {
    const MARKS: [&[u8]; 16] = [
        b"FLV\x01",
        b"\0\0\x01\xba",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"caff\0\x01",
        b".snd\0\0\0",
        b"riff\x2e\x91\xcf\x11",
        b"MAC ",
        b"wvpk",
        b"#!AMR",
        b"TTA1",
        b"tBaK",
        b"DSD ",
        b"MPCK",
        b"MP+",
        b"\x0b\x77",
        b"\x7f\xfe\x80\x01",
    ];
    /// Bytes per packet of an MPEG transport stream; all packets begin with the same byte.
    const PACKET: usize = 188;
    let head = peek.at(start, 2 * PACKET + 1)?;
    let is_transport = head.len() > 2 * PACKET && (0..3).all(|i| head[i * PACKET] == 0x47);
    let is_avi = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"AVI ");
    Ok(is_transport || is_avi || MARKS.iter().any(|mark| head.starts_with(mark)))
}

/// Whether the header of a file that ffmpeg reads has an unfilled length: CAF and AU.
///
/// Errors: the system's error if it cannot be read.
pub(super) fn has_open_length(file: &File) -> Result<bool> {
    let mut peek = Peek::new(file)?;
    if peek.at(0, 4)? == b".snd" {
        return Ok(peek.at(8, 4)? == [0xff; 4]);
    }
    // After CAF's 8 bytes: RIFF-like chunks, each a name and 8 bytes of size.
    let mut at = 8u64;
    while peek.at(0, 4)? == b"caff" {
        let Ok(head) = <[u8; 12]>::try_from(peek.at(at, 12)?) else { break };
        let [_, _, _, _, size @ ..] = head;
        let size = i64::from_be_bytes(size);
        if head.starts_with(b"data") {
            return Ok(size == -1);
        }
        let Some(next) = u64::try_from(size).ok().and_then(|size| at.checked_add(12)?.checked_add(size)) else { break };
        at = next;
    }
    Ok(false)
}

fn divide_matroska(file: &File, n_bytes: u64) -> Result<Division> {
    let mut division = Division::default();
    let mut start = 0;
    loop {
        let rest = Splice::new(file, &[Piece::File(start..n_bytes)])?;
        let found = container::matroska(rest, 0).unwrap_or_default();
        let next = found.next;
        if found.cut_off {
            division.damage = Some("it is cut off".to_owned());
        }
        division.parts.push(Part::plain(start..next.map_or(n_bytes, |next| start + next)));
        match next {
            Some(next) if next > 0 => start += next,
            _ => return Ok(division),
        }
    }
}
