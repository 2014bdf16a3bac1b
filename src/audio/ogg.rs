//! Ogg files page by page: where one chain of streams ends and the next begins, and whether a page is missing or altered.
//!
//! symphonia drops damaged pages silently: up to a second of sound each, and everything after them would be early.
//!
//! Source: RFC 3533.

use super::part::{Division, Part};
use super::splice::Peek;
use super::tags::tag;
use std::collections::HashMap;
use std::io::Result;
use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

/// Bytes of a page before its table of lengths.
const HEADER: usize = 27;
const BEGINS_STREAM: u8 = 2;
const ENDS_STREAM: u8 = 4;

/// A complete page.
struct Page {
    n_bytes: u64,
    flags: u8,
    stream: u32,
    number: u32,
    is_unaltered: bool,
}

/// What was found where a page must begin.
enum Found {
    Page(Page),
    Incomplete,
    SomethingElse,
}

/// The chains of a file.
pub(super) fn divide(peek: &mut Peek<'_>, start: u64) -> Result<Division> {
    let mut division = Division::default();
    let n_bytes = peek.n_bytes();
    // The number of the next page, by stream.
    let mut expected: HashMap<u32, u32> = HashMap::new();
    let (mut at, mut begin, mut end) = (start, start, start);
    let (mut is_heading, mut has_ended) = (true, false);
    while at < n_bytes {
        let page = match page(peek, at)? {
            Found::Page(page) => page,
            Found::Incomplete => {
                division.damage.get_or_insert(format!("its last page, at byte {at}, is incomplete"));
                end = n_bytes;
                break;
            }
            Found::SomethingElse if has_ended => {
                let next = next_chain(peek, at)?;
                division.unread += unknown(peek, at, next)?;
                at = next;
                continue;
            }
            Found::SomethingElse => {
                division.damage.get_or_insert(format!("there is no page where one must begin, at byte {at}"));
                end = n_bytes;
                break;
            }
        };
        if !page.is_unaltered {
            division.damage.get_or_insert(format!("the page at byte {at} was altered"));
        }
        let begins = page.flags & BEGINS_STREAM != 0;
        if begins && !is_heading {
            division.parts.push(Part::plain(begin..end));
            (begin, is_heading) = (at, true);
            expected.clear();
        }
        is_heading &= begins;
        let known = expected.insert(page.stream, page.number.wrapping_add(1));
        if known.is_some_and(|expected| expected != page.number) {
            division.damage.get_or_insert(format!("there are pages missing before byte {at}"));
        }
        has_ended = page.flags & ENDS_STREAM != 0;
        at += page.n_bytes;
        end = at;
    }
    division.parts.push(Part::plain(begin..end));
    division.is_open = !has_ended;
    Ok(division)
}

fn page(peek: &mut Peek<'_>, at: u64) -> Result<Found> {
    const CRC: std::ops::Range<usize> = 22..26;
    let head = peek.at(at, HEADER)?;
    if !head.starts_with(b"OggS") {
        return Ok(Found::SomethingElse);
    }
    let Some(&n_segments) = head.get(HEADER - 1) else { return Ok(Found::Incomplete) };
    let whole_head = HEADER + usize::from(n_segments);
    let table = peek.at(at, whole_head)?.get(HEADER..).unwrap_or_default();
    let n_bytes = whole_head + table.iter().map(|n| usize::from(*n)).sum::<usize>();
    let bytes = peek.at(at, n_bytes)?;
    if bytes.len() < n_bytes {
        return Ok(Found::Incomplete);
    }
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut computed = Crc32::new(0);
    computed.process_buf_bytes(&bytes[..CRC.start]);
    computed.process_buf_bytes(&[0; 4]);
    computed.process_buf_bytes(&bytes[CRC.end..]);
    Ok(Found::Page(Page {
        n_bytes: n_bytes as u64,
        flags: bytes[5],
        stream: number(14),
        number: number(18),
        is_unaltered: computed.crc() == number(CRC.start),
    }))
}

/// Where another chain begins after something that is not a page; the file's end if there is no other chain.
fn next_chain(peek: &mut Peek<'_>, at: u64) -> Result<u64> {
    let mut at = at;
    while at < peek.n_bytes() {
        let block = peek.at(at, Peek::BLOCK)?;
        let Some(i) = block.windows(4).position(|window| window == b"OggS") else {
            at += block.len().saturating_sub(3).max(1) as u64;
            continue;
        };
        at += i as u64;
        if let Found::Page(page) = page(peek, at)?
            && page.is_unaltered
            && page.flags & BEGINS_STREAM != 0
        {
            return Ok(at);
        }
        at += 1;
    }
    Ok(peek.n_bytes())
}

/// Bytes between two positions that are not tags.
fn unknown(peek: &mut Peek<'_>, at: u64, end: u64) -> Result<u64> {
    let mut at = at;
    while let Some(next) = tag(peek, at)?.filter(|next| *next <= end) {
        at = next;
    }
    Ok(end - at)
}
