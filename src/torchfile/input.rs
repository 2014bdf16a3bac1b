//! Reads the bytes of a pickle in order and never past their end: every claimed length is checked against the rest.

use super::Fault;
use std::io::{BufRead, Read, Seek};

type Step<T> = Result<T, Fault>;

/// The longest line of the text opcodes (protocol 0). They contain numbers, names and short texts; torch writes none.
const LONGEST_LINE: u64 = 1 << 20;

/// A reader with its offset in the file or zip entry, and the number of bytes left.
pub(super) struct Input<R> {
    reader: R,
    at: u64,
    end: u64,
}

impl<R: BufRead> Input<R> {
    /// `reader` gives the bytes from the first one to `end`.
    pub fn new(reader: R, end: u64) -> Self {
        Self { reader, at: 0, end }
    }

    /// The offset of the next byte.
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn left(&self) -> u64 {
        self.end - self.at
    }

    /// Rejects a claim of more bytes than are left, before anything is allocated for it.
    pub fn claim(&self, n: u64) -> Step<()> {
        if n <= self.left() {
            Ok(())
        } else {
            Err(Fault::new(format!("{n} bytes are claimed, {} are left", self.left())))
        }
    }

    pub fn byte(&mut self) -> Step<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// Appends `n` bytes to `to`.
    pub fn append(&mut self, n: u64, to: &mut Vec<u8>) -> Step<()> {
        self.claim(n)?;
        let before = to.len();
        (&mut self.reader).take(n).read_to_end(to)?;
        self.at += (to.len() - before) as u64;
        if (to.len() - before) as u64 == n { Ok(()) } else { Err(Fault::new("it ends too early")) }
    }

    /// Steps over `n` bytes.
    pub fn skip(&mut self, n: u64) -> Step<()>
    where
        R: Seek,
    {
        self.claim(n)?;
        self.reader.seek_relative(n.cast_signed())?;
        self.at += n;
        Ok(())
    }

    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The text up to the next line feed, without it.
    pub fn line(&mut self) -> Step<Vec<u8>> {
        let mut line = Vec::new();
        let longest = self.left().min(LONGEST_LINE);
        (&mut self.reader).take(longest).read_until(b'\n', &mut line)?;
        self.at += line.len() as u64;
        match line.pop() {
            Some(b'\n') => Ok(line),
            _ => Err(Fault::new("a line has no end")),
        }
    }

    /// Errors unless everything has been read; a zip entry compares its checksum here.
    pub fn finish(&mut self) -> Step<()> {
        if self.left() > 0 {
            return Err(Fault::new(format!("{} bytes follow the end of the pickle", self.left())));
        }
        if self.reader.fill_buf()?.is_empty() { Ok(()) } else { Err(Fault::new("it is longer than it claims")) }
    }
}

/// The text that Python's `repr` of a byte string in quotes stands for (opcode STRING).
pub(super) fn unquote(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii();
    let quote = *line.first().filter(|c| matches!(c, b'"' | b'\''))?;
    let inner = line.get(1..)?.strip_suffix(&[quote])?;
    let mut bytes = inner.iter().copied().peekable();
    let mut out = Vec::with_capacity(inner.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'x' => digits(&mut bytes, 2, 16)? as u8,
            octal @ b'0'..=b'7' => {
                let mut value = u32::from(octal - b'0');
                for _ in 0..2 {
                    match bytes.peek() {
                        Some(next @ b'0'..=b'7') => value = value * 8 + u32::from(next - b'0'),
                        _ => break,
                    }
                    bytes.next();
                }
                value as u8
            }
            other => other,
        });
    }
    Some(out)
}

/// The text of Python's raw-unicode-escape coding: Latin-1 with \uXXXX and \UXXXXXXXX (opcode UNICODE).
pub(super) fn raw_unicode(line: &[u8]) -> Option<String> {
    let mut bytes = line.iter().copied().peekable();
    let mut out = String::with_capacity(line.len());
    while let Some(byte) = bytes.next() {
        let length = match bytes.peek() {
            Some(b'u') if byte == b'\\' => 4,
            Some(b'U') if byte == b'\\' => 8,
            _ => {
                out.push(char::from(byte));
                continue;
            }
        };
        bytes.next();
        out.push(char::from_u32(digits(&mut bytes, length, 16)?)?);
    }
    Some(out)
}

fn digits(bytes: &mut impl Iterator<Item = u8>, n: usize, radix: u32) -> Option<u32> {
    (0..n).try_fold(0u32, |value, _| Some((value << 4) | char::from(bytes.next()?).to_digit(radix)?))
}
