//! Finds the start of a zip in its file.
//!
//! ```text
//! anything | entries | headers of the directory | zip64 record | zip64 locator | end record | comment | anything
//! ^ 0      ^ begin   ^ begin + offset           ^ where the directory ends
//! ```
//!
//! The records at the end give the directory's size and its offset from the beginning of the zip. The directory ends where the first of them
//! begins, so both positions are exact. The zip crate guesses: it assumes that the directory ends at the last record, and the 76 bytes of
//! zip64 records before it, which torch always writes, are as long as one header whose entry has a name of 30 letters.
//!
//! Source: APPNOTE.TXT 6.3.10, sections 4.3.14 to 4.3.16.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

const HEADER: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
/// Bytes of the end record without its comment, of the zip64 record without extensions, and of its locator.
const END_BYTES: usize = 22;
const END_64_BYTES: usize = 56;
const LOCATOR_64_BYTES: usize = 20;
const LONGEST_COMMENT: usize = u16::MAX as usize;

/// The position in the file where its zip begins; None if no record at the end leads to a directory.
pub(super) fn begin(file: &mut File, length: u64) -> io::Result<Option<u64>> {
    let wanted = length.min((END_64_BYTES + LOCATOR_64_BYTES + END_BYTES + LONGEST_COMMENT) as u64);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length - wanted))?;
    file.take(wanted).read_to_end(&mut tail)?;
    // The last record with an existing directory counts: a comment may contain anything.
    for at in (0..tail.len().saturating_sub(END_BYTES - 1)).rev() {
        let Some(directory) = Directory::of(&tail, at) else { continue };
        let end = length - wanted + directory.end as u64;
        let start = end.checked_sub(directory.size);
        let Some((start, begin)) = start.and_then(|start| Some((start, start.checked_sub(directory.offset)?))) else {
            continue;
        };
        let mut signature = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(HEADER.len() as u64).read_to_end(&mut signature)?;
        if signature == HEADER {
            return Ok(Some(begin));
        }
    }
    Ok(None)
}

/// The directory's size and position, from the records at the end.
struct Directory {
    /// Where it ends, in the bytes that were read.
    end: usize,
    size: u64,
    /// From the beginning of the zip.
    offset: u64,
}

impl Directory {
    /// From an end record at position `at`, if it is one.
    fn of(tail: &[u8], at: usize) -> Option<Self> {
        let record = tail.get(at..at + END_BYTES).filter(|record| record.starts_with(END))?;
        let comment = usize::from(u16::from_le_bytes(record[20..22].try_into().ok()?));
        if at + END_BYTES + comment > tail.len() {
            return None;
        }
        let short = |from: usize| Some(u64::from(u32::from_le_bytes(record.get(from..from + 4)?.try_into().ok()?)));
        Self::of_zip64(tail, at).or_else(|| Some(Self { end: at, size: short(12)?, offset: short(16)? }))
    }

    /// From the zip64 record before the end record at position `at`, if there is one.
    fn of_zip64(tail: &[u8], at: usize) -> Option<Self> {
        let locator = at.checked_sub(LOCATOR_64_BYTES)?;
        let end = locator.checked_sub(END_64_BYTES)?;
        let record = tail.get(end..locator).filter(|record| record.starts_with(END_64))?;
        tail.get(locator..at).filter(|locator| locator.starts_with(LOCATOR_64))?;
        let long = |from: usize| Some(u64::from_le_bytes(record.get(from..from + 8)?.try_into().ok()?));
        Some(Self { end, size: long(40)?, offset: long(48)? })
    }
}
