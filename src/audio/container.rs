//! What containers say about their sound and symphonia 0.6 does not pass on: which part of an MP4/M4A track is to be heard
//! (AAC encoders put 1024 or more samples of run-in in front, and padding behind), and whether an Ogg file is cut off.
//!
//! Source: ISO/IEC 14496-12 (boxes, `elst`), Apple's `iTunSMPB` comment, RFC 3533 (Ogg pages).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

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

/// Whether the last page of an Ogg file is incomplete.
pub(super) fn ogg_is_cut_off(file: &mut File) -> Option<bool> {
    /// The longest possible page, twice: one whole page is in there.
    const TAIL: u64 = 2 * 65307;
    const HEADER: usize = 27;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let page = tail.windows(5).rposition(|window| window == b"OggS\0")?;
    let header = &tail[page..];
    let Some(&segments) = header.get(HEADER - 1) else { return Some(true) };
    let Some(lengths) = header.get(HEADER..HEADER + usize::from(segments)) else { return Some(true) };
    let content: usize = lengths.iter().map(|n| usize::from(*n)).sum();
    Some(header.len() < HEADER + lengths.len() + content)
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
