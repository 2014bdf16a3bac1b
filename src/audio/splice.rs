//! What a decoder is shown of a file: some stretches of it, with made-up bytes in between.
//!
//! So one of several joined streams looks like a file of its own, and a header that lies is replaced by one that does not,
//! without a copy of the sound.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::ops::Range;
use symphonia::core::io::MediaSource;

/// One stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of the file.
    File(Range<u64>),
    /// Bytes that stand in for some of the file's.
    Bytes(Vec<u8>),
}

impl Piece {
    fn n_bytes(&self) -> u64 {
        match self {
            Self::File(range) => range.end.saturating_sub(range.start),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// Pieces one after the other, to be read like a file.
pub(super) struct Splice {
    file: File,
    /// With the position at which each begins, in order.
    pieces: Vec<(u64, Piece)>,
    n_bytes: u64,
    at: u64,
}

impl Splice {
    /// Errors: what the system says if the file cannot be opened once more.
    pub fn new(file: &File, pieces: &[Piece]) -> Result<Self> {
        let mut n_bytes = 0u64;
        let begin = |piece: &Piece| {
            let at = n_bytes;
            n_bytes = n_bytes.saturating_add(piece.n_bytes());
            (at, piece.clone())
        };
        let pieces = pieces.iter().map(begin).collect();
        Ok(Self { file: file.try_clone()?, pieces, n_bytes, at: 0 })
    }
}

impl Read for Splice {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let index = self.pieces.partition_point(|(start, piece)| start + piece.n_bytes() <= self.at);
        let Some((start, piece)) = self.pieces.get(index) else { return Ok(0) };
        let inside = self.at - start;
        let most = usize::try_from(piece.n_bytes() - inside).unwrap_or(usize::MAX).min(buffer.len());
        let count = match piece {
            Piece::File(range) => {
                // Other readers of the file move the one position that all its handles share.
                self.file.seek(SeekFrom::Start(range.start + inside))?;
                self.file.read(&mut buffer[..most])?
            }
            Piece::Bytes(bytes) => {
                buffer[..most].copy_from_slice(&bytes[inside as usize..][..most]);
                most
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Splice {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.n_bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a position before the beginning"))?;
        Ok(self.at)
    }
}

impl MediaSource for Splice {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.n_bytes)
    }
}

/// Looks into a file here and there.
pub(super) struct Peek<'a> {
    file: &'a File,
    n_bytes: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl<'a> Peek<'a> {
    /// What is read at once; more than the largest page of an Ogg file.
    pub const BLOCK: usize = 1 << 17;

    /// Errors: what the system says if the file's length cannot be had.
    pub fn new(file: &'a File) -> Result<Self> {
        Ok(Self { file, n_bytes: file.metadata()?.len(), buffer: Vec::new(), start: 0 })
    }

    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Up to `count` bytes, at most [`Self::BLOCK`], from `at` on; fewer at the end.
    pub fn at(&mut self, at: u64, count: usize) -> Result<&[u8]> {
        let have = |peek: &Self| {
            let inside = usize::try_from(at.checked_sub(peek.start)?).ok()?;
            let wanted = usize::try_from(peek.n_bytes.saturating_sub(at)).unwrap_or(usize::MAX).min(count);
            (inside.checked_add(wanted)? <= peek.buffer.len()).then_some(inside..inside + wanted)
        };
        if let Some(range) = have(self) {
            return Ok(&self.buffer[range]);
        }
        self.buffer.clear();
        self.start = at;
        if at >= self.n_bytes {
            return Ok(&[]);
        }
        let mut file = self.file;
        file.seek(SeekFrom::Start(at))?;
        file.take(Self::BLOCK as u64).read_to_end(&mut self.buffer)?;
        Ok(&self.buffer[..count.min(self.buffer.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn pieces_read_as_one_file_from_any_position() {
        let file = file(b"0123456789");
        let pieces = [Piece::File(2..4), Piece::Bytes(b"ab".to_vec()), Piece::Bytes(Vec::new()), Piece::File(7..10)];
        let mut splice = Splice::new(&file, &pieces).unwrap();
        let whole = b"23ab789";
        assert_eq!(splice.byte_len(), Some(whole.len() as u64));
        for at in 0..=whole.len() {
            let mut read = Vec::new();
            splice.seek(SeekFrom::Start(at as u64)).unwrap();
            splice.read_to_end(&mut read).unwrap();
            assert_eq!(read, whole[at..], "from {at}");
        }
        assert_eq!(splice.seek(SeekFrom::End(-3)).unwrap(), 4);
        assert!(splice.seek(SeekFrom::Current(-5)).is_err());
    }

    #[test]
    fn a_look_gives_what_is_there() {
        let file = file(b"0123456789");
        let mut peek = Peek::new(&file).unwrap();
        assert_eq!(peek.at(8, 4).unwrap(), b"89");
        assert_eq!(peek.at(1, 3).unwrap(), b"123");
        assert_eq!(peek.at(10, 3).unwrap(), b"");
        assert_eq!(peek.at(u64::MAX, 3).unwrap(), b"");
    }
}
