//! What containers say about their sound and symphonia 0.6 does not pass on: which part of an MP4/M4A or Matroska track is to
//! be heard (AAC encoders put 1024 or more samples of run-in in front, and padding behind), and whether an Ogg or Matroska
//! file is damaged or cut off.
//!
//! Source: ISO/IEC 14496-12 (boxes, `elst`), Apple's `iTunSMPB` comment, RFC 3533 (Ogg pages), RFC 9559 (Matroska).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

/// The samples to be heard, counted in the decoder's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Samples to skip.
    pub lead: u64,
    /// Samples to keep after that, if the file says so.
    pub count: Option<u64>,
}

/// A movie header is rarely over 1 MB; a larger one than this is hostile.
const MAX_HEADER: u64 = 64 << 20;

/// What the file says about its first sound track at `sample_rate`; nothing if it is no MP4, or says nothing. The file is
/// left at some other position.
pub(super) fn heard(file: &mut File, sample_rate: u32) -> Option<Heard> {
    let moov = read_moov(file)?;
    let boxes = Boxes(&moov);
    let movie_rate = time_scale(boxes.find(b"mvhd")?)?;
    let track = boxes.iter(b"trak").find(|track| is_sound(Boxes(track)))?;
    if let Some(heard) = itunes(&moov) {
        return Some(heard);
    }
    let media = Boxes(Boxes(track).find(b"mdia")?).find(b"mdhd")?;
    let (media_rate, media_duration) = (time_scale(media)?, duration(media)?);
    let (edit_duration, lead) = first_edit(Boxes(Boxes(track).find(b"edts")?).find(b"elst")?)?;
    let samples = |ticks: u64, rate: u32| {
        u64::try_from(u128::from(ticks) * u128::from(sample_rate) / u128::from(rate.max(1))).ok()
    };
    let lead = samples(lead, media_rate)?;
    let whole = samples(media_duration, media_rate)?.saturating_sub(lead);
    // The edit's duration counts in the movie's ticks, often milliseconds: within one tick the exact media duration is meant.
    let edit = samples(edit_duration, movie_rate)?;
    let tick = samples(1, movie_rate)? + 1;
    let count = if edit > 0 && edit + tick < whole { edit } else { whole };
    Some(Heard { lead, count: Some(count).filter(|count| *count > 0) })
}

/// The content of the `moov` box.
fn read_moov(file: &mut File) -> Option<Vec<u8>> {
    let length = file.metadata().ok()?.len();
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
            // Every MP4 begins so; anything else is another format.
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
    /// The contents of the boxes of a kind.
    fn iter(self, kind: &'a [u8; 4]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        let all = std::iter::from_fn(move || {
            let size = usize::try_from(be_u32(rest)?).ok()?;
            let (this, next) = rest.split_at_checked(size)?;
            rest = next;
            Some((this.get(4..8)?, this.get(8..)?))
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

/// Ticks a second, of `mvhd` or `mdhd`: after version, flags and two times of 4 or, in version 1, 8 bytes.
fn time_scale(header: &[u8]) -> Option<u32> {
    be_u32(header.get(if header.first()? == &1 { 20 } else { 12 }..)?)
}

fn duration(header: &[u8]) -> Option<u64> {
    if header.first()? == &1 { be_u64(header.get(24..)?) } else { be_u32(header.get(16..)?).map(u64::from) }
}

/// Duration (movie ticks) and start (media ticks) of the first edit that shows media; a start of -1 is an empty edit.
fn first_edit(list: &[u8]) -> Option<(u64, u64)> {
    let wide = list.first()? == &1;
    let entries = list.get(8..)?.chunks_exact(if wide { 20 } else { 12 });
    let edit = |entry: &[u8]| {
        let (duration, start) = if wide {
            (be_u64(entry)?, be_u64(&entry[8..])?.cast_signed())
        } else {
            (u64::from(be_u32(entry)?), i64::from(be_u32(&entry[4..])?.cast_signed()))
        };
        Some((duration, u64::try_from(start).ok()?))
    };
    entries.into_iter().find_map(edit)
}

/// Apple's statement: a comment of hexadecimal numbers, of which the 2nd is the lead and the 4th the count.
fn itunes(moov: &[u8]) -> Option<Heard> {
    const NAME: &[u8] = b"iTunSMPB";
    let at = moov.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let text = moov.get(at + 16..(at + 16 + 200).min(moov.len()))?;
    let text = String::from_utf8_lossy(text);
    let mut numbers = text.split_ascii_whitespace().map(|word| u64::from_str_radix(word, 16).ok());
    let lead = numbers.nth(1)??;
    let count = numbers.nth(1)??;
    (count > 0).then_some(Heard { lead, count: Some(count) })
}

/// What is wrong with the pages of an Ogg file. symphonia leaves damaged pages out without a word: up to a second of sound
/// each, and all that follows would be early.
pub(super) fn ogg_damage(file: &mut File) -> Option<String> {
    /// Of a page, in front of its table of lengths.
    const HEADER: u64 = 27;
    const CRC: std::ops::Range<usize> = 22..26;
    const ENDS_STREAM: u8 = 4;
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut reader = BufReader::new(file);
    let (mut page, mut at, mut ended) = (Vec::new(), 0u64, false);
    // By stream; the number of its next page.
    let mut expected: HashMap<u32, u32> = HashMap::new();
    loop {
        page.clear();
        let mut read =
            |page: &mut Vec<u8>, bytes: u64| Some(reader.by_ref().take(bytes).read_to_end(page).ok()? as u64 == bytes);
        let whole = read(&mut page, HEADER)?;
        if page.is_empty() {
            return None;
        }
        if !page.starts_with(b"OggS") {
            // Tags before the first page and behind the last one are no sound.
            return (at > 0 && !ended).then(|| format!("there is no page where one must begin, at byte {at}"));
        }
        let segments = page.get(HEADER as usize - 1).copied().unwrap_or_default();
        let whole = whole && read(&mut page, segments.into())?;
        let content: u64 = page[page.len().min(HEADER as usize)..].iter().map(|n| u64::from(*n)).sum();
        if !whole || !read(&mut page, content)? {
            return Some(format!("its last page, at byte {at}, is incomplete"));
        }
        let crc = page.splice(CRC, [0; 4]).collect::<Vec<_>>();
        let mut computed = Crc32::new(0);
        computed.process_buf_bytes(&page);
        if computed.crc().to_le_bytes()[..] != crc {
            return Some(format!("the page at byte {at} was altered"));
        }
        let (stream, number) = (le_u32(&page[14..])?, le_u32(&page[18..])?);
        if expected.insert(stream, number.wrapping_add(1)).is_some_and(|expected| expected != number) {
            return Some(format!("there are pages missing before byte {at}"));
        }
        ended = page[5] & ENDS_STREAM != 0;
        at += page.len() as u64;
    }
}

/// What a Matroska or WebM file says about a track and symphonia does not pass on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Matroska {
    /// Run-in of the codec, in nanoseconds.
    pub delay: u64,
    /// Padding behind the last sample, in nanoseconds.
    pub padding: u64,
    /// Whether something in it is longer than what is left of the file.
    pub cut_off: bool,
}

/// Reads the headers of all elements; nothing if it is no such file. Source: RFC 8794 (EBML), RFC 9559 (Matroska).
pub(super) fn matroska(file: &mut File, track: u32) -> Option<Matroska> {
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
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut reader = BufReader::new(file);
    let (mut at, mut found, mut end) = (0u64, Matroska::default(), length);
    // Of the track or block that is being read.
    let (mut number, mut delay, mut inside) = (0u64, 0u64, false);
    while at < end {
        let (id, _, id_bytes) = vint(&mut reader)?;
        if at == 0 && id != EBML {
            return None;
        }
        let Some((_, size, size_bytes)) = vint(&mut reader) else { break };
        at += id_bytes + size_bytes;
        if let Some(size) = size {
            found.cut_off |= at.checked_add(size).is_none_or(|after| after > length);
        }
        if id == SEGMENT {
            // What comes behind it was put there by somebody else.
            end = size.map_or(length, |size| at.saturating_add(size).min(length));
        }
        // Containers of what is looked for are entered; their length does not matter.
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
                // Negative padding is none.
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
    Some(found)
}

/// An EBML number of up to 8 bytes: with its marker, as identifiers are written; without it, none if it stands for
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

fn le_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
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
        assert_eq!(itunes(&moov), Some(Heard { lead: 2112, count: Some(0x3F_31F6) }));
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
        assert_eq!(first_edit(&narrow.concat()), Some((256, 1024)));
        let wide = [&[1u8, 0, 0, 0][..], &[0, 0, 0, 1], &256u64.to_be_bytes(), &2112u64.to_be_bytes(), &[0, 1, 0, 0]];
        assert_eq!(first_edit(&wide.concat()), Some((256, 2112)));
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
