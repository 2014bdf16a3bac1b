//! What MP4 and Matroska headers state about their sound and symphonia 0.6 does not pass on: which part of a track is to be played (AAC
//! encoders put 1024 or more samples of run-in before the sound, and padding after it), whether the file is cut off, and where a
//! second file that was appended begins.
//!
//! Source: ISO/IEC 14496-12 (boxes, `elst`), Apple's `iTunSMPB` comment, RFC 9559 (Matroska).
//!
//! Written here: no maintained crate reads these boxes from a damaged or concatenated file. Remove each part that symphonia learns to pass on.

use super::part::{Division, Part, Promise};
use super::splice::{Peek, Splice};
use std::io::{BufReader, Read, Result, Seek, SeekFrom};
use std::ops::Range;
use symphonia::core::io::MediaSource;

/// A movie header is rarely over 1 MB; a larger one than this is hostile.
const MAX_HEADER: u64 = 64 << 20;
/// Padding, in seconds, is shorter than this: a packet and a bit. A header that claims more is wrong.
pub(super) const LONGEST_PADDING: f64 = 0.2;

/// The MP4 files that were concatenated into one. The header of each counts bytes from its own beginning.
pub(super) fn divide_mp4(peek: &mut Peek<'_>) -> Result<Division> {
    let n_bytes = peek.n_bytes();
    let mut begins = vec![0];
    let (mut at, mut has_header, mut candidate) = (0u64, false, None);
    while at < n_bytes
        && let Some((kind, size)) = top_box(peek, at)?
    {
        match &kind {
            b"ftyp" if has_header => candidate = candidate.or(Some(at)),
            b"moov" => {
                begins.extend(candidate.take());
                has_header = true;
            }
            _ => {}
        }
        at = at.saturating_add(size);
    }
    let ends = begins[1..].iter().copied().chain([n_bytes]);
    let mut parts: Vec<Part> = begins.iter().zip(ends).map(|(begin, end)| Part::plain(*begin..end)).collect();
    if let (Some(part), Some(begin)) = (parts.last_mut(), begins.last())
        && at > n_bytes
    {
        (part.promise, part.is_cut) = (Promise::Bytes(at - begin), true);
    }
    let no_index = "its index (moov) is missing, as if it was cut off or its recorder was stopped";
    let damage = (!has_header).then(|| no_index.to_owned());
    Ok(Division { parts, unread: n_bytes.saturating_sub(at), damage, ..Division::default() })
}

/// Type and total size of the box at `at`.
fn top_box(peek: &mut Peek<'_>, at: u64) -> Result<Option<([u8; 4], u64)>> {
    let rest = peek.n_bytes().saturating_sub(at);
    let head = peek.at(at, 16)?;
    let (Some(size), Some(kind)) = (be_u32(head), head.get(4..8)) else { return Ok(None) };
    let size = match size {
        0 => rest,
        1 => head.get(8..).and_then(be_u64).unwrap_or_default(),
        size => size.into(),
    };
    let kind = [kind[0], kind[1], kind[2], kind[3]];
    Ok((size >= 8 && kind.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == 0xa9)).then_some((kind, size)))
}

/// Which samples of an MP4's first sound track are to be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Played {
    /// In the decoder's output, in playing order.
    pub ranges: Vec<Range<u64>>,
    /// Samples that an edit list leaves out, beside run-in and padding.
    pub edited_out: u64,
    /// Samples that are present but that the header does not count.
    pub uncounted: u64,
}

/// The length that an MP4's header gives for its first sound track. The decoder got `decoded` samples at `sample_rate` from it. None if the
/// file is not an MP4 or its header gives no length.
pub(super) fn mp4(mut file: Splice, sample_rate: u32, decoded: u64) -> Option<Played> {
    let moov = read_moov(&mut file)?;
    let boxes = Boxes(&moov);
    let movie_rate = time_scale(boxes.find(b"mvhd")?)?;
    let track = boxes.iter(b"trak").find(|track| is_sound(Boxes(track)))?;
    let longest_padding = (LONGEST_PADDING * f64::from(sample_rate)) as u64;
    // The end of the sound where a header puts it at `stated`: samples after it may only be padding.
    let end = |stated: u64| {
        if stated > 0 && stated <= decoded && decoded - stated <= longest_padding { stated } else { decoded }
    };
    if let Some((lead, count)) = itunes(&moov) {
        let stated = lead.saturating_add(count);
        let end = end(stated);
        let uncounted = end.saturating_sub(stated);
        return Some(Played { ranges: vec![lead.min(end)..end], edited_out: 0, uncounted });
    }
    let media = Boxes(track).find(b"mdia")?;
    let media_rate = time_scale(Boxes(media).find(b"mdhd")?)?;
    let samples = |ticks: u64, rate: u32| {
        u64::try_from(u128::from(ticks) * u128::from(sample_rate) / u128::from(rate.max(1))).unwrap_or(u64::MAX)
    };
    // The sum of the packets' durations, not the header's duration.
    let counted = samples(packets(media).unwrap_or_default(), media_rate);
    let whole = end(counted);
    let uncounted = if counted > 0 && whole > counted { whole - counted } else { 0 };
    let edits = Boxes(track).find(b"edts").and_then(|edits| Boxes(edits).find(b"elst")).map(edits).unwrap_or_default();
    // An edit's duration is in the movie's ticks, often milliseconds: an end within one tick of the exact end means the exact end.
    let tick = samples(1, movie_rate).saturating_add(1);
    let range = |(duration, start): &(u64, u64)| {
        let start = samples(*start, media_rate).min(whole);
        let end = start.saturating_add(samples(*duration, movie_rate));
        start..if *duration == 0 || end.saturating_add(tick) >= whole { whole } else { end }
    };
    let ranges: Vec<Range<u64>> = edits.iter().map(range).filter(|range| !range.is_empty()).collect();
    if ranges.is_empty() {
        // An edit list that shows nothing at all is wrong.
        return Some(Played { ranges: vec![0..whole], edited_out: 0, uncounted });
    }
    let mut edited_out = whole - covered(&ranges);
    let lead = ranges.iter().map(|range| range.start).min().unwrap_or_default();
    if lead <= longest_padding {
        edited_out -= lead;
    }
    Some(Played { ranges, edited_out, uncounted })
}

/// How many samples are in at least one range.
fn covered(ranges: &[Range<u64>]) -> u64 {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let (mut sum, mut end) = (0, 0);
    for range in sorted {
        sum += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    sum
}

/// The sum of the durations of a track's packets in ticks; None if its packets are listed elsewhere (fragments).
fn packets(media: &[u8]) -> Option<u64> {
    let table = Boxes(Boxes(Boxes(media).find(b"minf")?).find(b"stbl")?).find(b"stts")?;
    let sum = |entry: &[u8]| Some(u64::from(be_u32(entry)?) * u64::from(be_u32(&entry[4..])?));
    table.get(8..)?.chunks_exact(8).try_fold(0u64, |total, entry| total.checked_add(sum(entry)?))
}

/// The content of the `moov` box.
fn read_moov(file: &mut Splice) -> Option<Vec<u8>> {
    let length = file.byte_len()?;
    let mut at = 0u64;
    while at + 8 <= length {
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut header = [0u8; 16];
        file.read_exact(&mut header[..8]).ok()?;
        let (mut size, mut header_size) = (u64::from(be_u32(&header)?), 8);
        if size == 1 {
            file.read_exact(&mut header[8..]).ok()?;
            (size, header_size) = (be_u64(&header[8..])?, 16);
        } else if size == 0 {
            size = length - at;
        }
        let content = size.checked_sub(header_size)?;
        match &header[4..8] {
            b"moov" if content <= MAX_HEADER => {
                let mut bytes = Vec::new();
                file.take(content).read_to_end(&mut bytes).ok()?;
                return Some(bytes);
            }
            // Every MP4 begins with this box; anything else is another format.
            kind if at == 0 && kind != b"ftyp" => return None,
            _ => at = at.checked_add(size)?,
        }
    }
    None
}

/// Boxes one after the other.
#[derive(Clone, Copy)]
struct Boxes<'a>(&'a [u8]);

impl<'a> Boxes<'a> {
    /// The contents of the boxes of one type.
    fn iter(self, kind: &'a [u8; 4]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        let all = std::iter::from_fn(move || {
            let (size, header) = match be_u32(rest)? {
                0 => (rest.len() as u64, 8),
                1 => (be_u64(rest.get(8..)?)?, 16),
                size => (size.into(), 8),
            };
            let (this, next) = rest.split_at_checked(usize::try_from(size).ok()?)?;
            rest = next;
            Some((this.get(4..8)?, this.get(header..)?))
        });
        all.filter(move |(name, _)| name == kind).map(|(_, content)| content)
    }

    fn find(self, kind: &'a [u8; 4]) -> Option<&'a [u8]> {
        self.iter(kind).next()
    }
}

fn is_sound(track: Boxes<'_>) -> bool {
    let handler = track.find(b"mdia").and_then(|media| Boxes(media).find(b"hdlr"));
    handler.and_then(|handler| handler.get(8..12)) == Some(b"soun")
}

/// Ticks per second from `mvhd` or `mdhd`: they follow version, flags and two times of 4 or, in version 1, 8 bytes.
fn time_scale(header: &[u8]) -> Option<u32> {
    be_u32(header.get(if header.first()? == &1 { 20 } else { 12 }..)?)
}

/// Duration (movie ticks) and start (media ticks) of each edit that shows media; a start of -1 is an empty edit, which RVC's
/// ffmpeg call skips too.
fn edits(list: &[u8]) -> Vec<(u64, u64)> {
    let wide = list.first() == Some(&1);
    let entries = list.get(8..).unwrap_or_default().chunks_exact(if wide { 20 } else { 12 });
    let edit = |entry: &[u8]| {
        let (duration, start) = if wide {
            (be_u64(entry)?, be_u64(&entry[8..])?.cast_signed())
        } else {
            (u64::from(be_u32(entry)?), i64::from(be_u32(&entry[4..])?.cast_signed()))
        };
        Some((duration, u64::try_from(start).ok()?))
    };
    entries.filter_map(edit).collect()
}

/// Apple's comment of hexadecimal numbers: the 2nd is the lead and the 4th the count.
fn itunes(moov: &[u8]) -> Option<(u64, u64)> {
    const NAME: &[u8] = b"iTunSMPB";
    let at = moov.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let text = moov.get(at + 16..(at + 16 + 200).min(moov.len()))?;
    let text = String::from_utf8_lossy(text);
    let mut numbers = text.split_ascii_whitespace().map(|word| u64::from_str_radix(word, 16).ok());
    let lead = numbers.nth(1)??;
    let count = numbers.nth(1)??;
    (count > 0).then_some((lead, count))
}

/// What a Matroska or WebM file states about a track and symphonia does not pass on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Matroska {
    /// Run-in of the codec, in nanoseconds.
    pub delay: u64,
    /// Padding after the last sample, in nanoseconds.
    pub padding: u64,
    /// Whether an element claims to be longer than the rest of the file.
    pub cut_off: bool,
    /// Where a second file that was appended begins.
    pub next: Option<u64>,
}

/// Reads the headers of all elements; None if it is another format. Source: RFC 8794 (EBML), RFC 9559 (Matroska).
pub(super) fn matroska(file: Splice, track: u32) -> Option<Matroska> {
    const EBML: u64 = 0x1a45_dfa3;
    const SEGMENT: u64 = 0x1853_8067;
    const CLUSTER: u64 = 0x1f43_b675;
    const TRACKS: u64 = 0x1654_ae6b;
    const TRACK: u64 = 0xae;
    const TRACK_NUMBER: u64 = 0xd7;
    const CODEC_DELAY: u64 = 0x56aa;
    const GROUP: u64 = 0xa0;
    const BLOCK: u64 = 0xa1;
    const SIMPLE_BLOCK: u64 = 0xa3;
    const PADDING: u64 = 0x75a2;
    let length = file.byte_len()?;
    let mut reader = BufReader::new(file);
    let (mut at, mut found, mut end) = (0u64, Matroska::default(), length);
    // Of the track or block being read.
    let (mut number, mut delay, mut inside) = (0u64, 0u64, false);
    while at < end {
        let (id, _, id_bytes) = vint(&mut reader)?;
        if at == 0 && id != EBML {
            return None;
        }
        if at > 0 && id == EBML {
            // The recording has no stated length; others end below.
            found.next = Some(at);
            return Some(found);
        }
        let Some((_, size, size_bytes)) = vint(&mut reader) else { break };
        at += id_bytes + size_bytes;
        if let Some(size) = size {
            found.cut_off |= at.checked_add(size).is_none_or(|after| after > length);
        }
        if id == SEGMENT {
            // Bytes after the segment were appended by another program.
            end = size.map_or(length, |size| at.saturating_add(size).min(length));
        }
        // Containers of the wanted elements are entered; their length does not matter.
        if matches!(id, SEGMENT | CLUSTER | TRACKS | TRACK | GROUP) {
            (number, delay, inside) = (0, 0, false);
            continue;
        }
        let size = size?;
        let mut content = Vec::new();
        if matches!(id, TRACK_NUMBER | CODEC_DELAY | PADDING) && size <= 8 {
            reader.by_ref().take(size).read_to_end(&mut content).ok()?;
            let value = content.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            match id {
                TRACK_NUMBER => number = value,
                CODEC_DELAY => delay = value,
                // Negative padding does not count.
                _ if inside && content.first().is_some_and(|first| *first < 0x80) => found.padding = value,
                _ => {}
            }
            if number == u64::from(track) && number > 0 {
                found.delay = delay;
            }
        } else {
            if matches!(id, BLOCK | SIMPLE_BLOCK) {
                let mut start = Vec::new();
                reader.by_ref().take(size.min(8)).read_to_end(&mut start).ok()?;
                inside = vint(&mut start.as_slice())?.1 == Some(u64::from(track));
                if inside {
                    found.padding = 0;
                }
                content = start;
            }
            let rest = size - content.len() as u64;
            reader.seek_relative(i64::try_from(rest).ok()?).ok()?;
        }
        at = at.checked_add(size)?;
    }
    if at == end && end < length && vint(&mut reader).is_some_and(|(id, _, _)| id == EBML) {
        found.next = Some(end);
    }
    Some(found)
}

/// An EBML number of up to 8 bytes: with its marker, as identifiers are written; without it, or None where it means
/// "unknown"; and its length.
fn vint(reader: &mut impl Read) -> Option<(u64, Option<u64>, u64)> {
    let mut bytes = [0u8; 8];
    reader.read_exact(&mut bytes[..1]).ok()?;
    let length = bytes[0].leading_zeros() as usize + 1;
    reader.read_exact(bytes.get_mut(1..length)?).ok()?;
    let whole = bytes[..length].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let largest = (1u64 << (7 * length)) - 1;
    let value = whole & largest;
    Some((whole, (value != largest).then_some(value), length as u64))
}

fn be_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn be_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apples_comment_gives_lead_and_count() {
        let mut moov = b"....name\0\0\0\0iTunSMPB\0\0\0\x44data\0\0\0\x01\0\0\0\0".to_vec();
        moov.extend(b" 00000000 00000840 000001CA 00000000003F31F6 00000000");
        assert_eq!(itunes(&moov), Some((2112, 0x3F_31F6)));
        for length in 0..moov.len() {
            itunes(&moov[..length]);
        }
    }

    #[test]
    fn empty_edits_are_passed_over() {
        let narrow = [
            &[0u8; 4][..],
            &[0, 0, 0, 2],
            &[0, 0, 0, 9, 255, 255, 255, 255, 0, 1, 0, 0],
            &[0, 0, 1, 0, 0, 0, 4, 0, 0, 1, 0, 0],
        ];
        assert_eq!(edits(&narrow.concat()), [(256, 1024)]);
        let wide = [&[1u8, 0, 0, 0][..], &[0, 0, 0, 1], &256u64.to_be_bytes(), &2112u64.to_be_bytes(), &[0, 1, 0, 0]];
        assert_eq!(edits(&wide.concat()), [(256, 2112)]);
    }

    #[test]
    fn boxes_with_impossible_sizes_end_the_search() {
        for bytes in
            [&[0u8; 20][..], &[255; 20], &[0, 0, 0, 4, b'e', b'l', b's', b't'], &[0, 0, 0, 9, b'e', b'l', b's', b't']]
        {
            assert_eq!(Boxes(bytes).find(b"elst"), None);
        }
    }
}
