//! Wav (RIFF, RF64, BW64) and AIFF: finds the samples even if the sizes in the header are wrong.
//!
//! A recorder writes the sizes last. One that was stopped leaves zeros or the largest number, or the sizes of its first block;
//! editors write wrong sizes for other chunks. ffmpeg reads all such files.
//!
//! Source: Microsoft's "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), EBU Tech 3306 (RF64), Apple's
//! "Audio Interchange File Format" 1.3.
//!
//! Written here: crate hound trusts the sizes in the header, which is exactly what this file must not do.

use super::part::{Division, Part, Promise};
use super::splice::{Peek, Piece};
use super::tags::tag;
use std::io::Result;

/// A data chunk that claims this much or more was written to a pipe, with unknown length: sox writes this size, others 4 GiB.
const STREAMED: u64 = 0x7fff_f000;
/// How far after a chunk of wrong size the next chunk is searched.
const SEARCH: u64 = 16 << 20;
/// A format, or AIFF's description, is some 40 bytes long.
const LONGEST_FORMAT: u64 = 1 << 16;
/// Fewer bytes after the sound than this cannot be sound.
const CRUMBS: u64 = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Wave,
    Aiff,
}

/// The sound of each of the files concatenated from `start` on.
pub(super) fn divide(peek: &mut Peek<'_>, start: u64) -> Result<Option<Division>> {
    let mut division = Division::default();
    let mut next = Some(start);
    while let Some(start) = next {
        let Some((part, rest)) = read(peek, start)? else { break };
        division.parts.push(part);
        division.unread = rest.unread;
        next = rest.next;
    }
    Ok((!division.parts.is_empty()).then_some(division))
}

/// What follows a file's samples.
#[derive(Default)]
struct Rest {
    /// Where another file begins.
    next: Option<u64>,
    unread: u64,
    /// The chunk that was searched for.
    found: Option<Chunk>,
}

#[derive(Clone, Copy)]
struct Chunk {
    content: u64,
    size: u64,
}

/// The file that begins at `start`; None without a format or samples.
fn read(peek: &mut Peek<'_>, start: u64) -> Result<Option<(Part, Rest)>> {
    let Some(kind) = kind(peek.at(start, 12)?) else { return Ok(None) };
    let (format_id, data_id) = if kind == Kind::Wave { (b"fmt ", b"data") } else { (b"COMM", b"SSND") };
    let Some((_, size)) = chunk(peek, start, kind)? else { return Ok(None) };
    let container_end = start + 8 + size;
    let (mut format, mut size_64) = (None, None);
    let mut at = start + 12;
    let (data, data_stated) = loop {
        let Some((id, size)) = chunk(peek, at, kind)? else { return Ok(None) };
        let content = at + 8;
        match &id {
            b"ds64" => size_64 = peek.at(content + 8, 8)?.try_into().ok().map(u64::from_le_bytes),
            id if id == format_id && format.is_none() => format = Some(Chunk { content, size }),
            id if id == data_id => break (content, size),
            _ => {}
        }
        let Some(next) = after(peek, content, size, kind)? else { return Ok(None) };
        at = next;
    };
    // AIFF has 8 more bytes before the samples.
    let head = if kind == Kind::Aiff { 8 } else { 0 };
    let stated = match size_64 {
        Some(stated) if data_stated == u64::from(u32::MAX) => stated,
        _ => data_stated,
    };
    let available = peek.n_bytes().saturating_sub(data + head);
    let length = length(peek, data + head, stated.saturating_sub(head), available, container_end, kind)?;
    let Some(format) = format.or(length.rest.found) else { return Ok(None) };
    if format.size > LONGEST_FORMAT || format.content + format.size > peek.n_bytes() {
        return Ok(None);
    }
    let samples = data..data + head + length.taken;
    let description = format.content..format.content + format.size;
    let mut promise = length.promise;
    let pieces = if kind == Kind::Wave {
        // At 4 GiB or more, the size is unknown.
        let size = u32::try_from(length.taken).unwrap_or(u32::MAX);
        let size_of_format = (format.size as u32).to_le_bytes();
        vec![
            Piece::Bytes([&b"RIFF\xff\xff\xff\xffWAVEfmt "[..], &size_of_format].concat()),
            Piece::File(description),
            Piece::Bytes([&[0u8; 1][..(format.size % 2) as usize], b"data", &size.to_le_bytes()].concat()),
            Piece::File(samples),
        ]
    } else {
        if promise == Promise::Nothing {
            let frames = peek.at(format.content + 2, 4)?.try_into().map_or(0, u32::from_be_bytes);
            promise = if frames == 0 { Promise::Unwritten } else { Promise::Samples(frames.into()) };
        }
        let form: [u8; 4] = peek.at(start + 8, 4)?.try_into().unwrap_or(*b"AIFF");
        let pad = format.size % 2;
        let size = u32::try_from(samples.end - samples.start).unwrap_or(u32::MAX - 1);
        let whole = u32::try_from(20 + format.size + pad).unwrap_or_default().saturating_add(size);
        let size_of_format = (format.size as u32).to_be_bytes();
        vec![
            Piece::Bytes([b"FORM", &whole.to_be_bytes()[..], &form, b"COMM", &size_of_format].concat()),
            Piece::File(description),
            Piece::Bytes([&[0u8; 1][..pad as usize], b"SSND", &size.to_be_bytes()].concat()),
            Piece::File(samples),
        ]
    };
    if length.taken == 0 {
        promise = Promise::Nothing;
    }
    let part =
        Part { pieces, sound_bytes: length.taken, promise, is_cut: length.is_cut, ..Part::plain(data..data + head) };
    Ok(Some((part, length.rest)))
}

struct Length {
    taken: u64,
    promise: Promise,
    is_cut: bool,
    rest: Rest,
}

/// How many of the `available` bytes from `data` on are samples, where the header states `stated`.
fn length(
    peek: &mut Peek<'_>,
    data: u64,
    stated: u64,
    available: u64,
    container_end: u64,
    kind: Kind,
) -> Result<Length> {
    let n_bytes = peek.n_bytes();
    // The sizes of the file and of its samples cannot both be wrong by the same coincidence.
    let is_whole = container_end.abs_diff(n_bytes) <= 1;
    let all = |promise, is_cut| Length { taken: available, promise, is_cut, rest: Rest::default() };
    if stated > available {
        let is_unwritten = stated >= STREAMED - 8;
        let promise = if is_unwritten { Promise::Unwritten } else { Promise::Bytes(stated) };
        return Ok(all(promise, !is_unwritten && !is_whole));
    }
    let rest = rest(peek, data + stated, stated, kind)?;
    // The sound continues after the stated end: the size is that of a first block, or was never written.
    if rest.unread > 0 && (rest.unread > stated || is_whole) {
        return Ok(all(if stated == 0 { Promise::Unwritten } else { Promise::Bytes(stated) }, false));
    }
    Ok(Length { taken: stated, promise: Promise::Nothing, is_cut: false, rest })
}

/// What follows the samples, which end at `end` and are `size` bytes long.
fn rest(peek: &mut Peek<'_>, end: u64, size: u64, kind: Kind) -> Result<Rest> {
    let n_bytes = peek.n_bytes();
    // The byte that makes the size even may be missing.
    let mut at = if size % 2 == 1 && !begins_something(peek, end, kind)? { end + 1 } else { end };
    let mut found = None;
    while at < n_bytes {
        if self::kind(peek.at(at, 12)?).is_some() {
            return Ok(Rest { next: Some(at), unread: 0, found });
        }
        if let Some(end) = tag(peek, at)? {
            at = end;
            continue;
        }
        match chunk(peek, at, kind)? {
            // The last chunk is often a byte short.
            Some((id, size)) if at + 8 + size <= n_bytes + 1 => {
                if kind == Kind::Aiff && &id == b"COMM" {
                    found = found.or(Some(Chunk { content: at + 8, size }));
                }
                at += 8 + size;
                if size % 2 == 1 && !begins_something(peek, at, kind)? {
                    at += 1;
                }
            }
            _ if n_bytes - at <= CRUMBS => break,
            _ => return Ok(Rest { next: None, unread: n_bytes - at, found }),
        }
    }
    Ok(Rest { next: None, unread: 0, found })
}

/// Where the next chunk begins, even if the size of this one is wrong; None at the end of the file.
fn after(peek: &mut Peek<'_>, content: u64, size: u64, kind: Kind) -> Result<Option<u64>> {
    let end = content + size;
    for at in [end + size % 2, end] {
        if begins_something(peek, at, kind)? {
            return Ok(Some(at));
        }
    }
    let wanted: [&[u8; 4]; 2] = if kind == Kind::Wave { [b"fmt ", b"data"] } else { [b"COMM", b"SSND"] };
    let limit = peek.n_bytes().min(content + SEARCH);
    let mut at = content;
    while at < limit {
        let block = peek.at(at, Peek::BLOCK)?;
        if block.len() < 8 {
            break;
        }
        if let Some(i) = block.windows(4).position(|window| wanted.iter().any(|id| window == *id)) {
            return Ok(Some(at + i as u64));
        }
        at += block.len() as u64 - 3;
    }
    Ok(None)
}

fn begins_something(peek: &mut Peek<'_>, at: u64, kind: Kind) -> Result<bool> {
    Ok(chunk(peek, at, kind)?.is_some() || tag(peek, at)?.is_some())
}

/// The name and size of the chunk at `at`, if these 8 bytes can be a chunk's header.
fn chunk(peek: &mut Peek<'_>, at: u64, kind: Kind) -> Result<Option<([u8; 4], u64)>> {
    let Ok(head) = <[u8; 8]>::try_from(peek.at(at, 8)?) else { return Ok(None) };
    let [a, b, c, d, size @ ..] = head;
    let size = if kind == Kind::Wave { u32::from_le_bytes(size) } else { u32::from_be_bytes(size) };
    let name = [a, b, c, d];
    Ok(name.iter().all(|byte| (b' '..=b'~').contains(byte)).then_some((name, size.into())))
}

fn kind(head: &[u8]) -> Option<Kind> {
    match (head.get(..4)?, head.get(8..12)?) {
        (b"RIFF" | b"RF64" | b"BW64", b"WAVE") => Some(Kind::Wave),
        (b"FORM", b"AIFF" | b"AIFC") => Some(Kind::Aiff),
        _ => None,
    }
}
