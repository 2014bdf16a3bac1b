//! Decodes text files of any program and system: byte-order marks, UTF-16, the code pages of Windows.
//!
//! UTF-8 and UTF-16 are certain. A code page cannot be recognised from the bytes: [`readings`] returns every possible text,
//! and the caller, who can check it (names of existing files, JSON), chooses.

use encoding_rs::{
    BIG5, EUC_KR, Encoding, GBK, IBM866, KOI8_R, SHIFT_JIS, WINDOWS_874, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252,
    WINDOWS_1253, WINDOWS_1254, WINDOWS_1255, WINDOWS_1256, WINDOWS_1257, WINDOWS_1258,
};

/// Code pages that programs write by default; double-byte ones first, since any bytes decode in a single-byte one.
const CODE_PAGES: [&Encoding; 17] = [
    GBK,
    SHIFT_JIS,
    BIG5,
    EUC_KR,
    WINDOWS_1251,
    WINDOWS_1252,
    WINDOWS_1250,
    WINDOWS_1253,
    WINDOWS_1254,
    WINDOWS_1255,
    WINDOWS_1256,
    WINDOWS_1257,
    WINDOWS_1258,
    WINDOWS_874,
    IBM866,
    KOI8_R,
    // Latin 1, the last resort: it has a character for every byte.
    encoding_rs::ISO_8859_15,
];

/// Bytes that are checked for UTF-16 without a mark.
const LOOKED_AT: usize = 4096;

/// The padding of a file that a disk or an editor filled up.
const FILLING: [char; 2] = ['\0', '\u{1a}'];

/// The text of bytes that are UTF-8 or UTF-16, with or without a byte-order mark, without the mark and zeros at the end. None for
/// anything else.
pub fn certain(bytes: &[u8]) -> Option<String> {
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest)?,
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        _ => match zeros_of_utf16(bytes) {
            Some(1) => utf16(bytes, u16::from_le_bytes)?,
            Some(_) => utf16(bytes, u16::from_be_bytes)?,
            None => utf8(bytes)?,
        },
    };
    Some(trimmed(text))
}

/// A possible text of some bytes, and its code page.
pub struct Reading {
    pub text: String,
    pub code_page: &'static str,
}

/// The possible texts of bytes in all code pages, without those that have invalid or implausible characters.
pub fn readings(bytes: &[u8]) -> impl Iterator<Item = Reading> {
    CODE_PAGES.into_iter().filter_map(|page| {
        let text = page.decode_without_bom_handling_and_without_replacement(bytes)?;
        let text = trimmed(text.into_owned());
        let is_text = !text.contains(|c: char| c.is_control() && !c.is_ascii_whitespace());
        is_text.then(|| Reading { text, code_page: page.name() })
    })
}

/// The text with this system's line breaks.
pub fn with_plain_breaks(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn trimmed(mut text: String) -> String {
    text.truncate(text.trim_end_matches(FILLING).len());
    text
}

fn utf8(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    // Half a unit at the end is what a torn copy left.
    let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
    char::decode_utf16(units).collect::<std::result::Result<_, _>>().ok()
}

/// Which byte of each pair is zero, as in UTF-16 of mostly ASCII; None for other bytes. Zeros at the end are filling.
fn zeros_of_utf16(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().rposition(|b| *b != 0)? + 1;
    let looked_at = &bytes[..end.min(LOOKED_AT)];
    let zeros = |first: usize| looked_at.iter().skip(first).step_by(2).filter(|b| **b == 0).count();
    let pairs = looked_at.len().div_ceil(2);
    (0..2).find(|&first| 2 * zeros(first) >= pairs.saturating_sub(1).max(1) && zeros(1 - first) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"name\": \"анна 王\"}\n";

    fn utf16_of(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn every_unicode_form_is_the_same_text() {
        let (little, big) = (utf16_of(TEXT, u16::to_le_bytes), utf16_of(TEXT, u16::to_be_bytes));
        let joined = |parts: &[&[u8]]| parts.concat();
        let forms = [
            TEXT.as_bytes().to_vec(),
            joined(&[b"\xef\xbb\xbf", TEXT.as_bytes()]),
            joined(&[TEXT.as_bytes(), &[0; 7]]),
            joined(&[b"\xef\xbb\xbf", TEXT.as_bytes(), b"\x1a"]),
            joined(&[b"\xff\xfe", &little]),
            joined(&[b"\xfe\xff", &big]),
            joined(&[b"\xff\xfe", &little, &[0; 9]]),
            little.clone(),
            big.clone(),
            joined(&[&little, &[0; 512]]),
            joined(&[&big, &[0; 3]]),
        ];
        for (i, form) in forms.iter().enumerate() {
            assert_eq!(certain(form).as_deref(), Some(TEXT), "form {i}");
        }
        assert_eq!(certain(b"").as_deref(), Some(""));
        assert_eq!(certain(b"\0\0\0\0").as_deref(), Some(""));
        assert_eq!(certain(b"{}").as_deref(), Some("{}"));
        assert_eq!(certain(b"7").as_deref(), Some("7"));
    }

    #[test]
    fn a_code_page_is_among_the_readings_and_never_certain() {
        let cases: [(&'static Encoding, &str); 6] = [
            (GBK, "D:\\王\\我|的"),
            (SHIFT_JIS, "歌ソ"),
            (BIG5, "許功蓋"),
            (EUC_KR, "목소리"),
            (WINDOWS_1251, "Голоса"),
            (WINDOWS_1252, "Übung é"),
        ];
        for (page, text) in cases {
            let (bytes, _, lossy) = page.encode(text);
            assert!(!lossy && certain(&bytes).is_none(), "{text}");
            assert!(readings(&bytes).any(|reading| reading.text == text), "{text}");
        }
    }

    #[test]
    fn bytes_of_no_text_have_no_reading() {
        let noise: Vec<u8> = (0..=255).collect();
        assert!(certain(&noise).is_none());
        assert_eq!(readings(&noise).count(), 0);
    }

    #[test]
    fn breaks_of_every_system_are_one_break() {
        assert_eq!(with_plain_breaks("a\r\nb\rc\n\r\nd"), "a\nb\nc\n\nd");
    }
}
