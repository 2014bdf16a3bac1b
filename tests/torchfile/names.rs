//! The name of a file, which torch writes into it, and what may stand around a zip decide nothing.

use super::broken::{FOUR, Scratch, four};
use crate::support::pickle::zip;
use crate::support::python;

const END: usize = 22;

/// A zip as torch writes it into a file of the name `stem`: with zip64 records behind its directory although nothing needs them, and
/// entries that are found from the beginning of the zip.
fn saved(stem: &str, zip64: bool) -> Vec<u8> {
    let pickle = four();
    let name = |entry: &str| format!("{stem}/{entry}");
    let names = [name("data.pkl"), name("byteorder"), name("data/0"), name("version")];
    let contents: [&[u8]; 4] = [&pickle, b"little", &FOUR, b"3\n"];
    let entries: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(contents).collect();
    let bytes = zip(&entries);
    if zip64 { with_zip64(&bytes) } else { bytes }
}

/// Puts zip64 records before the end record of a zip without comment: 56 bytes, and 20 that say where they are.
fn with_zip64(bytes: &[u8]) -> Vec<u8> {
    let (rest, end) = bytes.split_at(bytes.len() - END);
    let field = |from: usize| u64::from(u32::from_le_bytes(end[from..from + 4].try_into().unwrap()));
    let entries = u64::from(u16::from_le_bytes(end[10..12].try_into().unwrap()));
    let (size, offset) = (field(12), field(16));
    let mut record = b"PK\x06\x06".to_vec();
    record.extend(44u64.to_le_bytes());
    record.extend([30, 3, 45, 0]);
    record.extend([0; 8]);
    for n in [entries, entries, size, offset] {
        record.extend(n.to_le_bytes());
    }
    let mut locator = b"PK\x06\x07\0\0\0\0".to_vec();
    locator.extend((rest.len() as u64).to_le_bytes());
    locator.extend(1u32.to_le_bytes());
    [rest, &record, &locator, end].concat()
}

fn with_comment(mut bytes: Vec<u8>, comment: &[u8]) -> Vec<u8> {
    let length = bytes.len() - 2;
    bytes.truncate(length);
    bytes.extend((comment.len() as u16).to_le_bytes());
    bytes.extend(comment);
    bytes
}

#[track_caller]
fn assert_opens(label: &str, bytes: &[u8]) {
    let file = Scratch::new(bytes);
    let read = file.open().and_then(|file| file.tensor("w")).unwrap_or_else(|e| panic!("{label}: {e}"));
    assert_eq!(Vec::<f32>::try_from(read).unwrap(), [1.0, 2.0, 3.0, 4.0], "{label}");
}

#[test]
fn a_file_of_any_name_is_opened_with_and_without_zip64_records() {
    for letters in 1..=200 {
        for stem in ["v".repeat(letters), format!("{}é", "v".repeat(letters))] {
            assert_opens(&format!("{letters} letters"), &saved(&stem, false));
            assert_opens(&format!("{letters} letters, zip64"), &saved(&stem, true));
        }
    }
}

#[test]
fn bytes_before_and_after_a_zip_are_skipped() {
    let elsewhere = zip(&[("other/data.pkl", &crate::support::pickle::Pickle::new(2).op("N").stop())]);
    for letters in [1, 6, 20, 21, 22, 30, 76] {
        for zip64 in [false, true] {
            let bytes = saved(&"v".repeat(letters), zip64);
            let label = |what: &str| format!("{letters} letters, zip64 {zip64}, {what}");
            for prefix in [&b"#"[..], b"#!/bin/sh\nexit\n", &[0; 76], &[0; 4096], b"PK\x01\x02PK\x05\x06", &elsewhere] {
                assert_opens(&label("a prefix"), &[prefix, &bytes].concat());
            }
            // The whole file twice: the second one counts, as for Python's zipfile.
            assert_opens(&label("twice"), &[&bytes[..], &bytes].concat());
            for comment in [
                &b"made by hand"[..],
                &vec![b'x'; 65_535],
                b"PK\x05\x06 and more than twenty-two letters",
                &bytes[bytes.len() - 22..],
            ] {
                assert_opens(&label("a comment"), &with_comment(bytes.clone(), comment));
                assert_opens(&label("both"), &[b"prefix", &with_comment(bytes.clone(), comment)[..]].concat());
            }
            assert_opens(&label("bytes behind"), &[&bytes[..], b"and some more"].concat());
        }
    }
}

#[test]
fn files_of_a_real_torch_are_opened_whatever_their_name() {
    let Some(python) = python::with_torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = "
import sys, torch
for n in range(1, 201):
    torch.save({'w': torch.tensor([1.0, 2.0, 3.0, 4.0])}, sys.argv[1] + '/' + 'v' * n + '.pth')
";
    python::run(&python, script, &[folder.path()]);
    let mut opened = 0;
    for letters in 1..=200 {
        let path = folder.path().join(format!("{}.pth", "v".repeat(letters)));
        let read = rvc_run::torchfile::read(&path).and_then(|file| file.tensor("w"));
        let read = read.unwrap_or_else(|e| panic!("{letters} letters: {e}"));
        assert_eq!(Vec::<f32>::try_from(read).unwrap(), [1.0, 2.0, 3.0, 4.0], "{letters} letters");
        opened += 1;
    }
    assert_eq!(opened, 200);
}
