//! Streams of frames without a container: MP3 (MPEG audio) and AAC (ADTS), followed from header to header.
//!
//! Such files can be concatenated: tags (ID3) and the second file's index (Xing, Info) are then in the
//! middle, and rate and channels may change. The index at the beginning describes the first file only. Tags are skipped
//! here, and frames of another rate or number of channels become a stream of their own.
//!
//! ffmpeg plays a later index as a frame of silence, unless a tag or junk precedes it; then ffmpeg drops it with the junk. This
//! reader does the same, so that the sound after it is in the same place.
//!
//! Source: ISO/IEC 11172-3 and 13818-3 (MPEG audio), ISO/IEC 13818-7 (ADTS), LAME's "Mp3 Info Tag", revision 1.

use super::part::{Division, Part, Promise};
use super::splice::{Peek, Piece};
use super::tags::tag;
use std::io::Result;

/// How far from the beginning the first frame is searched: the rest of a frame, if the file was cut out of a longer one. Zeros
/// do not count.
const SEARCH: u64 = 1 << 12;
/// ... and after a tag, whose size may be wrong.
const SEARCH_BEHIND_TAG: u64 = 1 << 20;
/// Frames in a row that cannot be a coincidence.
const SURE: usize = 3;
/// Most bytes of a frame that are read: its header, side information and index.
const LOOK: usize = 192;
/// A decoder's delay in samples.
const DECODER_DELAY: u64 = 529;

/// What all frames of one stream have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// MPEG's layer; 0 for ADTS.
    layer: u8,
    /// MPEG's version bits; ADTS' object type.
    version: u8,
    rate: u32,
    channels: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    kind: Kind,
    n_bytes: u64,
    n_samples: u64,
}

impl Frame {
    fn read(head: &[u8]) -> Option<Self> {
        match head {
            [0xff, b, ..] if b & 0xf6 == 0xf0 => Self::adts(head),
            [0xff, b, ..] if b & 0xe0 == 0xe0 => Self::mpeg(head),
            _ => None,
        }
    }

    fn mpeg(head: &[u8]) -> Option<Self> {
        /// In kbit/s, by layer: MPEG 1's three and then MPEG 2's two.
        const BITRATES: [[u32; 14]; 5] = [
            [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
            [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
            [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
            [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
            [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        ];
        let &[_, b, c, d, ..] = head else { return None };
        let version = b >> 3 & 3;
        let layer = 4 - (b >> 1 & 3);
        let rate = [44100, 48000, 32000].get(usize::from(c >> 2 & 3))?;
        let rate: u32 = match version {
            3 => *rate,
            2 => rate / 2,
            0 => rate / 4,
            _ => return None,
        };
        if layer > 3 {
            return None;
        }
        let is_first = version == 3;
        let table = if is_first { usize::from(layer) - 1 } else { 3 + usize::from(layer > 1) };
        // Frames of a free bit rate do not state their length.
        let bitrate = BITRATES[table].get(usize::from(c >> 4).checked_sub(1)?)? * 1000;
        let padding = u32::from(c >> 1 & 1);
        let n_samples = match layer {
            1 => 384,
            3 if !is_first => 576,
            _ => 1152,
        };
        let n_bytes =
            if layer == 1 { (12 * bitrate / rate + padding) * 4 } else { n_samples / 8 * bitrate / rate + padding };
        let channels = if d >> 6 == 3 { 1 } else { 2 };
        Some(Self {
            kind: Kind { layer, version, rate, channels },
            n_bytes: n_bytes.into(),
            n_samples: n_samples.into(),
        })
    }

    fn adts(head: &[u8]) -> Option<Self> {
        const RATES: [u32; 13] =
            [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
        let &[_, b, c, d, e, f, g, ..] = head else { return None };
        let rate = *RATES.get(usize::from(c >> 2 & 15))?;
        let n_bytes = u64::from(d & 3) << 11 | u64::from(e) << 3 | u64::from(f >> 5);
        let shortest = if b & 1 == 1 { 7 } else { 9 };
        let kind = Kind { layer: 0, version: c >> 6, rate, channels: (c & 1) << 2 | d >> 6 };
        (n_bytes > shortest).then_some(Self { kind, n_bytes, n_samples: 1024 * (u64::from(g & 3) + 1) })
    }

    /// Bytes of header and side information before an index.
    fn index_at(&self) -> usize {
        match (self.kind.version == 3, self.kind.channels) {
            (true, 2) => 36,
            (true, _) | (false, 2) => 21,
            (false, _) => 13,
        }
    }
}

/// An index of the frames, stored in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Index {
    n_frames: u64,
    n_bytes: u64,
    /// Samples that the encoder added before and after the sound.
    delay: Option<(u64, u64)>,
}

impl Index {
    /// Reads Xing's index, which LAME and Lavc extend, or Fraunhofer's.
    fn read(frame: &Frame, bytes: &[u8]) -> Option<Self> {
        let be = |at: usize| Some(u64::from(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?)));
        if frame.kind.layer != 3 {
            return None;
        }
        if bytes.get(36..40)? == b"VBRI" {
            return Some(Self { n_frames: be(50)?, n_bytes: be(46)?, delay: None });
        }
        let at = frame.index_at();
        if !matches!(bytes.get(at..at + 4)?, b"Xing" | b"Info") {
            return None;
        }
        let flags = be(at + 4)?;
        let mut next = at + 8;
        let mut field = |flag: u64, n_bytes: usize| {
            let at = next;
            next += if flags & flag == 0 { 0 } else { n_bytes };
            if flags & flag == 0 { 0 } else { be(at).unwrap_or_default() }
        };
        let (n_frames, n_bytes) = (field(1, 4), field(2, 4));
        field(4, 100);
        field(8, 4);
        let is_known = matches!(bytes.get(next..next + 4), Some(b"LAME" | b"Lavf" | b"Lavc"));
        let delay = bytes.get(next + 21..next + 24).filter(|_| is_known).map(|bytes| {
            let [a, b, c] = [bytes[0], bytes[1], bytes[2]].map(u64::from);
            (a << 4 | b >> 4, (b & 15) << 8 | c)
        });
        Some(Self { n_frames, n_bytes, delay })
    }
}

/// A stream under construction.
struct Run {
    kind: Kind,
    pieces: Vec<Piece>,
    n_frames: u64,
    n_samples_a_frame: u64,
    n_bytes: u64,
    n_joined: usize,
    /// Frames before the first sign that another file was appended.
    first_frames: Option<u64>,
}

impl Run {
    fn new(kind: Kind) -> Self {
        let (pieces, first_frames) = (Vec::new(), None);
        Self { kind, pieces, n_frames: 0, n_samples_a_frame: 0, n_bytes: 0, n_joined: 1, first_frames }
    }

    fn push(&mut self, frame: &Frame, piece: Piece) {
        self.n_frames += 1;
        self.n_samples_a_frame = frame.n_samples;
        self.n_bytes += frame.n_bytes;
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::File(last)), Piece::File(next)) if last.end == next.start => last.end = next.end,
            (_, piece) => self.pieces.push(piece),
        }
    }

    /// An index that is played as silence.
    fn push_silence(&mut self, peek: &mut Peek<'_>, at: u64, frame: &Frame) -> Result<()> {
        // Without its name it is a frame like any other, and everything that a decoder reads in it is 0.
        let name = frame.index_at();
        let head = [peek.at(at, name)?, &[0; 4]].concat();
        self.push(frame, Piece::Bytes(head));
        self.pieces.push(Piece::File(at + name as u64 + 4..at + frame.n_bytes));
        Ok(())
    }

    fn is_joined_here(&mut self) {
        if self.n_frames > 0 {
            self.n_joined += 1;
            self.first_frames.get_or_insert(self.n_frames);
        }
    }

    fn part(self) -> Part {
        Part { pieces: self.pieces, sound_bytes: self.n_bytes, n_joined: self.n_joined, ..Part::plain(0..0) }
    }
}

/// The streams of a file whose frames begin at `start` or a little later; None for another format.
pub(super) fn divide(peek: &mut Peek<'_>, start: u64) -> Result<Option<Division>> {
    let Some(first) = first_frame(peek, start)? else { return Ok(None) };
    let mut runs: Vec<Run> = Vec::new();
    let (mut index, mut n_tags, mut unread, mut is_short) = (None, 0, 0, false);
    let (mut is_behind_tag, mut is_behind_junk) = (false, false);
    let (mut at, n_bytes) = (first, peek.n_bytes());
    while at < n_bytes {
        if let Some(end) = tag(peek, at)? {
            n_tags += end - at;
            (at, is_behind_tag) = (end, true);
            continue;
        }
        let Some(frame) = frame(peek, at, runs.last().map(|run| run.kind))? else {
            // Damage, or an unknown format.
            let next = resync(peek, at + 1)?;
            is_short |= next == n_bytes && Frame::read(peek.at(at, 8)?).is_some();
            unread += next - at;
            (at, is_behind_tag, is_behind_junk) = (next, false, true);
            continue;
        };
        let is_first = runs.is_empty();
        if runs.last().is_none_or(|run| run.kind != frame.kind) {
            runs.push(Run::new(frame.kind));
        }
        let Some(run) = runs.last_mut() else { break };
        let found = Index::read(&frame, peek.at(at, LOOK)?);
        if !is_first && (found.is_some() || is_behind_tag) {
            run.is_joined_here();
        }
        match found {
            None => run.push(&frame, Piece::File(at..at + frame.n_bytes)),
            // An index without data is played if it looks like the frames after it, ...
            Some(found) if is_first => {
                if found.n_frames == 0 && found.n_bytes == 0 && is_alike(peek, at, at + frame.n_bytes)? {
                    run.push_silence(peek, at, &frame)?;
                }
                index = Some(found);
            }
            // ... and so is one in the middle, unless it is dropped with the junk before it.
            Some(_) if is_behind_tag || is_behind_junk => {}
            Some(_) => run.push_silence(peek, at, &frame)?,
        }
        (at, is_behind_tag, is_behind_junk) = (at + frame.n_bytes, false, false);
    }
    let is_alone = runs.len() == 1 && runs[0].first_frames.is_none();
    let of_first = runs.first().map(|run| (run.first_frames.unwrap_or(run.n_frames), run.n_samples_a_frame));
    let parts: Vec<Part> = runs.into_iter().filter(|run| run.n_frames > 0).map(Run::part).collect();
    let mut division = Division { parts, unread, is_open: is_short, ..Division::default() };
    if let (Some(index), Some(frames), Some(part)) = (index, of_first, division.parts.first_mut()) {
        apply(&index, part, frames, is_alone, n_bytes - first - n_tags, is_short);
    }
    Ok(Some(division))
}

/// Applies what the first index states about its stream, as far as it is correct.
fn apply(
    index: &Index,
    part: &mut Part,
    (n_frames, samples): (u64, u64),
    is_alone: bool,
    n_bytes: u64,
    is_short: bool,
) {
    if let Some((delay, padding)) = index.delay {
        let begin = delay + DECODER_DELAY;
        let end = n_frames * samples;
        let played_end = end.saturating_sub(padding.saturating_sub(DECODER_DELAY));
        // ffmpeg keeps the padding if the file is a good deal longer than its index states.
        let matches_index =
            index.n_frames == n_frames && (is_alone || n_bytes.saturating_sub(index.n_bytes) <= index.n_bytes / 16);
        part.played = if matches_index && played_end > begin {
            vec![begin..played_end, end..u64::MAX]
        } else {
            vec![begin..u64::MAX]
        };
    }
    if index.n_frames > 0 && part.n_joined == 1 {
        part.promise = Promise::Samples(index.n_frames * samples);
        // An index that counts more bytes than the file has was written when the file had them: it was cut off.
        part.is_cut = index.n_frames > n_frames && (index.n_bytes > n_bytes || (index.n_bytes == 0 && is_short));
    }
}

/// Whether the headers of two frames differ only in the bit rate, by ffmpeg's comparison.
fn is_alike(peek: &mut Peek<'_>, first: u64, second: u64) -> Result<bool> {
    const SAME: u32 = 0xfffe_0ccf;
    let mut head = |at| -> Result<u32> { Ok(peek.at(at, 4)?.try_into().map_or(0, u32::from_be_bytes)) };
    Ok((head(first)? ^ head(second)?) & SAME == 0)
}

/// The whole frame at `at`. A frame of another kind than those before must be followed by one of its own kind.
fn frame(peek: &mut Peek<'_>, at: u64, kind: Option<Kind>) -> Result<Option<Frame>> {
    let Some(frame) = Frame::read(peek.at(at, 8)?) else { return Ok(None) };
    let end = at + frame.n_bytes;
    if end > peek.n_bytes() {
        return Ok(None);
    }
    if kind == Some(frame.kind) || end == peek.n_bytes() {
        return Ok(Some(frame));
    }
    let next = Frame::read(peek.at(end, 8)?).is_some_and(|next| next.kind == frame.kind);
    Ok((next || tag(peek, end)?.is_some()).then_some(frame))
}

/// The first frame of a run.
fn first_frame(peek: &mut Peek<'_>, start: u64) -> Result<Option<u64>> {
    let mut at = start;
    let search = if start > 0 { SEARCH_BEHIND_TAG } else { SEARCH };
    while let block = peek.at(at, Peek::BLOCK)?
        && !block.is_empty()
        && block.iter().all(|byte| *byte == 0)
    {
        at += block.len() as u64;
    }
    let zeros = peek.at(at, Peek::BLOCK)?.iter().take_while(|byte| **byte == 0).count();
    at += zeros as u64;
    let limit = peek.n_bytes().min(at + search);
    while at < limit {
        at = sync(peek, at)?;
        let (mut next, mut kind) = (at, None);
        for count in 0..SURE {
            let Some(frame) = frame(peek, next, kind)?.filter(|frame| kind.is_none_or(|kind| kind == frame.kind))
            else {
                break;
            };
            (next, kind) = (next + frame.n_bytes, Some(frame.kind));
            let is_end = next == peek.n_bytes() || tag(peek, next)?.is_some();
            if count + 1 == SURE || (is_end && at == start) {
                return Ok(Some(at));
            }
        }
        at += 1;
    }
    Ok(None)
}

/// Where frames, or a tag, continue at or after `at`; the file's end if they do not.
fn resync(peek: &mut Peek<'_>, at: u64) -> Result<u64> {
    let mut at = at;
    while at < peek.n_bytes() {
        let next = sync(peek, at)?;
        // A tag after damage: searched only where it would end the file.
        let last = peek.n_bytes().saturating_sub(128);
        if (at..=next).contains(&last) && tag(peek, last)? == Some(peek.n_bytes()) {
            return Ok(last);
        }
        if next == peek.n_bytes() || frame(peek, next, None)?.is_some() {
            return Ok(next);
        }
        at = next + 1;
    }
    Ok(peek.n_bytes())
}

/// The next byte at or after `at` that may begin a frame.
fn sync(peek: &mut Peek<'_>, at: u64) -> Result<u64> {
    let mut at = at;
    loop {
        let block = peek.at(at, 1 << 12)?;
        if block.len() < 2 {
            return Ok(peek.n_bytes());
        }
        if let Some(i) = block.windows(2).position(|pair| pair[0] == 0xff && pair[1] >= 0xe0) {
            return Ok(at + i as u64);
        }
        at += block.len() as u64 - 1;
    }
}
