//! Tags before, between and after sound: ID3 of both versions, and APE's.
//!
//! Source: id3.org's "ID3 tag version 2.4.0", the APEv2 specification.

use super::splice::Peek;
use std::io::Result;

/// The end of the tag (ID3, APE) that begins at `at`; None if no tag begins there.
pub(super) fn tag(peek: &mut Peek<'_>, at: u64) -> Result<Option<u64>> {
    const ID3V2: u64 = 10;
    const ID3V1: u64 = 128;
    const APE: u64 = 32;
    let n_bytes = peek.n_bytes();
    let head = peek.at(at, 24)?;
    let end = match head {
        [b'I', b'D', b'3', 2..=4, _, flags, size @ ..] => {
            let size = size.get(..4).filter(|size| size.iter().all(|byte| *byte < 0x80));
            let footer = if flags & 0x10 == 0 { 0 } else { ID3V2 };
            size.map(|size| at + ID3V2 + footer + size.iter().fold(0u64, |sum, byte| sum << 7 | u64::from(*byte)))
        }
        // Written after the sound; before more sound, if files were concatenated.
        [b'T', b'A', b'G', ..] => Some(at + ID3V1),
        [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', _, _, _, _, a, b, c, d, _, _, _, _, flags @ ..] => {
            let size = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
            // A footer without its tag is followed by nothing; its items came before it, where they look like unknown bytes.
            let is_header = flags.get(3).is_some_and(|flags| flags & 0x20 != 0);
            Some(if is_header { at + APE + size } else { at + APE })
        }
        _ => None,
    };
    Ok(end.filter(|end| *end <= n_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn tags_have_the_stated_length_and_end_within_the_file() {
        let tags: [(&[u8], usize, Option<u64>); 5] = [
            (b"ID3\x04\0\0\0\0\x01\x02", 200, Some(10 + 130)),
            (b"ID3\x04\0\x10\0\0\0\x05", 200, Some(25)),
            (b"ID3\x04\0\0\0\0\x7f\x7f", 200, None),
            (b"TAGsomething", 128, Some(128)),
            (b"TAGsomething", 127, None),
        ];
        for (head, n_bytes, expected) in tags {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[head, &vec![0; n_bytes - head.len()]].concat()).unwrap();
            assert_eq!(tag(&mut Peek::new(&file).unwrap(), 0).unwrap(), expected, "{head:?}");
        }
    }
}
