//! Broken files: cut short, altered, or with a container whose headers are wrong.

use super::hostile::assert_harmless;
use super::{Random, assert_refused_or_inert, checkpoint as golden, read_all, rewrite};
use crate::support::Golden;
use crate::support::pickle::{Pickle, checkpoint, stream, stream_head, zip, zip_with};
use rvc_run::torchfile::{self, TorchFile};
use rvc_run::{Kind, Result};
use std::path::PathBuf;
use zip::CompressionMethod::{Deflated, Stored};
use zip::write::SimpleFileOptions;

/// A file of these bytes, in a temporary folder.
pub struct Scratch {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Scratch {
    pub fn new(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.pth");
        std::fs::write(&path, bytes).unwrap();
        Self { _folder: folder, path }
    }

    pub fn open(&self) -> Result<TorchFile> {
        torchfile::read(&self.path)
    }

    /// The message of the error that opening it ends with.
    #[track_caller]
    fn refused(&self) -> String {
        let error = self.open().err().expect("it is refused");
        assert_eq!(error.kind(), Kind::CheckpointDamaged, "{error}");
        assert_eq!(error.file(), Some(self.path.as_path()));
        error.message().to_owned()
    }

    /// The elements of a tensor of floats.
    #[track_caller]
    fn floats(&self, name: &str) -> Vec<f32> {
        Vec::try_from(self.open().unwrap().tensor(name).unwrap().flatten(0, -1)).unwrap()
    }

    /// The message of the error that reading "w" ends with.
    #[track_caller]
    fn unreadable(&self) -> String {
        let error = self.open().unwrap().tensor("w").expect_err("the tensor is unreadable");
        assert_eq!(error.kind(), Kind::CheckpointDamaged, "{error}");
        error.message().to_owned()
    }
}

/// 1, 2, 3, 4 as a storage holds them.
pub const FOUR: [u8; 16] = [0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64];

/// {"w": four floats}.
pub fn four() -> Vec<u8> {
    Pickle::new(2).op("}").text("w").tensor("FloatStorage", "0", &[4]).op("s").stop()
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(Stored)
}

#[test]
fn every_truncation_is_an_error() {
    for (name, step) in [
        ("fairseq_like.pt", 1),
        ("odd_zip.pth", 1),
        ("odd_legacy.pth", 1),
        ("fairseq_like_legacy.pt", 1),
        ("bare.spec.pt", 1),
        ("tiny_e7.pth", 997),
        ("tiny_legacy.pth", 997),
    ] {
        let whole = std::fs::read(golden(name)).unwrap();
        let file = Scratch::new(&[]);
        for cut in (0..whole.len()).step_by(step) {
            rewrite(&file.path, &whole[..cut]);
            let error = file.open().err().unwrap_or_else(|| panic!("{name} cut at {cut} was read"));
            assert_eq!(error.kind(), Kind::CheckpointDamaged, "{name} cut at {cut}: {error}");
        }
    }
}

#[test]
fn altered_bytes_are_refused_or_inert_and_never_a_panic() {
    alter(100);
}

#[test]
#[ignore = "slow: more of the same"]
fn more_altered_bytes_are_refused_or_inert_and_never_a_panic() {
    alter(2000);
}

/// Reads each sound file with this many of its bytes altered, one at a time.
fn alter(times: usize) {
    let golden_set = Golden::open("checkpoints");
    for name in golden_set.entry["sound"].as_object().unwrap().keys() {
        let whole = std::fs::read(golden(name)).unwrap();
        let file = Scratch::new(&whole);
        let mut random = Random::new(name);
        for i in 0..times {
            // Half of them where the structure is: at both ends.
            let reach = if i % 2 == 0 { whole.len() } else { whole.len().min(4096) };
            let at = random.below(reach);
            let at = if random.below(2) == 0 { at } else { whole.len() - 1 - at };
            let mut altered = whole.clone();
            altered[at] ^= 1 + random.below(255) as u8;
            rewrite(&file.path, &altered);
            assert_refused_or_inert(&format!("{name}, byte {at} altered"), &read_all(&file.path));
        }
    }
}

#[test]
fn an_altered_weight_in_a_zip_is_noticed() {
    let mut bytes = checkpoint(&four(), &[("0", &FOUR)]);
    let at = bytes.windows(16).position(|w| w == FOUR).unwrap();
    bytes[at + 5] ^= 1;
    let message = Scratch::new(&bytes).unreadable();
    assert!(message.contains("\"w\"") && message.to_lowercase().contains("checksum"), "{message}");
}

#[test]
fn deflated_entries_are_read() {
    let options = SimpleFileOptions::default().compression_method(Deflated);
    let zeros = vec![0; 1 << 20];
    let pickle = Pickle::new(2).op("}").text("w").tensor("FloatStorage", "0", &[1 << 18]).op("s").stop();
    let file = Scratch::new(&zip_with(&[("a/data.pkl", &pickle), ("a/data/0", &zeros)], options));
    assert!(std::fs::metadata(&file.path).unwrap().len() < 5000);
    assert_eq!(file.floats("w"), vec![0.0; 1 << 18]);
    let file = Scratch::new(&zip(&[("data.pkl", &four()), ("data/0", &FOUR)]));
    assert_eq!(file.floats("w"), [1.0, 2.0, 3.0, 4.0], "without a folder");
}

/// Names and contents of a zip's entries.
type Entries<'a> = &'a [(&'a str, &'a [u8])];

#[test]
fn foreign_and_ambiguous_zips_are_refused() {
    let pickle = four();
    let cases: &[(Entries, &str)] = &[
        (&[("a/model.pkl", &pickle)], "is a zip archive of other files, such as \"a/model.pkl\""),
        (&[("a/b/data.pkl", &pickle)], "without data.pkl"),
        (&[("a/data.pkl", &pickle), ("b/data.pkl", &pickle)], "several data.pkl"),
        (&[("a/data.pkl", &pickle), ("a/byteorder", b"big")], "byte order"),
        (&[("a/data.pkl", b"")], "0 are left"),
    ];
    for (entries, why) in cases {
        let message = Scratch::new(&zip(entries)).refused();
        assert!(message.contains(why), "{why}: {message}");
    }
    // The writer refuses a second entry of the same name, so one is renamed in place.
    let mut twice = zip(&[("a/data.pkl", &pickle), ("a/data.pkX", &pickle)]);
    while let Some(at) = twice.windows(10).position(|w| w == b"a/data.pkX") {
        twice[at + 9] = b'l';
    }
    assert!(Scratch::new(&twice).refused().contains("same name"));
}

#[test]
fn storages_that_are_not_as_declared_are_refused() {
    let with = |entries: &[(&str, &[u8])]| {
        let pickle = four();
        let mut all = vec![("a/data.pkl", &pickle[..])];
        all.extend(entries);
        Scratch::new(&zip(&all)).unreadable()
    };
    assert!(with(&[]).contains("not in the file"));
    assert!(with(&[("a/data/0", &FOUR[..12])]).contains("12 bytes are there"));
    assert!(with(&[("a/data/0", &[0; 20])]).contains("20 bytes are there"));
    assert!(with(&[("b/data/0", &FOUR)]).contains("not in the file"));
}

#[test]
fn only_the_tensors_of_an_unknown_type_are_unreadable() {
    let pickle = |p: Pickle| {
        p.op("}")
            .text("good")
            .tensor("FloatStorage", "0", &[4])
            .op("s")
            .text("complex")
            .tensor("ComplexFloatStorage", "1", &[2])
            .op("s")
            .text("new")
            .tensor("Float8_e4m3fnStorage", "1", &[16])
            .op("s")
    };
    let file = Scratch::new(&checkpoint(&pickle(Pickle::new(2)).stop(), &[("0", &FOUR), ("1", &FOUR)]));
    assert_eq!(file.floats("good"), [1.0, 2.0, 3.0, 4.0]);
    let file = file.open().unwrap();
    for (name, class) in [("complex", "ComplexFloatStorage"), ("new", "Float8_e4m3fnStorage")] {
        assert_eq!((file.kind(name), file.shape(name).is_some()), (None, true));
        assert!(file.tensor(name).unwrap_err().message().contains(class));
    }
    // In a stream the place of what follows depends on the size of what is unknown.
    let bytes = Pickle::new(2).op("}").text("w").tensor("ComplexFloatStorage", "1", &[2]).op("s");
    let bytes = bytes.text("good").tensor("FloatStorage", "0", &[4]).op("s").stop();
    let file = Scratch::new(&stream(&bytes, &[("1", 2, &FOUR), ("0", 4, &FOUR)]));
    assert_eq!(file.floats("good"), [1.0, 2.0, 3.0, 4.0]);
}

/// Overwrites every occurrence of a header field: `mark` finds the header, `at` the field in it.
fn patch(bytes: &mut [u8], mark: &[u8], at: usize, value: &[u8]) {
    let places: Vec<usize> = (0..bytes.len() - mark.len()).filter(|&i| bytes[i..].starts_with(mark)).collect();
    assert!(!places.is_empty());
    for i in places {
        bytes[i + at..i + at + value.len()].copy_from_slice(value);
    }
}

const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

#[test]
fn wrong_zip_headers_cost_nothing() {
    let sound = checkpoint(&four(), &[("0", &FOUR)]);
    let patched = |mark: &[u8], at: usize, value: &[u8]| {
        let mut bytes = sound.clone();
        patch(&mut bytes, mark, at, value);
        let file = Scratch::new(&bytes);
        assert_harmless(&format!("{mark:?} {at} {value:?}"), &file.path);
        read_all(&file.path)
    };
    // Flags (encrypted), method (unknown), checksum, packed and unpacked size, offset; then the end record's counts.
    assert!(patched(CENTRAL, 8, &[1, 0]).is_err(), "encrypted");
    assert!(patched(CENTRAL, 10, &[99, 0]).is_err(), "an unknown method");
    assert!(patched(CENTRAL, 16, &[1, 2, 3, 4]).is_err(), "another checksum");
    for at in [20, 24] {
        for value in [[0; 4], [0xff, 0xff, 0xff, 0x7f], [0xff; 4]] {
            assert!(patched(CENTRAL, at, &value).is_err(), "size {value:?} at {at}");
        }
    }
    assert!(patched(CENTRAL, 42, &[0xff, 0xff, 0xff, 0x7f]).is_err(), "an offset beyond the file");
    for value in [[0, 0], [0xff, 0xff]] {
        assert!(patched(b"PK\x05\x06", 10, &value).is_err(), "{value:?} entries");
    }
    // The central directory counts; what local headers say otherwise is either ignored or refused.
    for at in [6, 8, 14, 18, 22, 26] {
        let _ = patched(LOCAL, at, &[0xff, 0xff]);
    }
}

#[test]
fn a_zip64_size_beyond_the_file_is_refused_before_anything_is_allocated() {
    let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &four()), ("a/data/0", &FOUR)];
    for size in [1u64 << 40, 1 << 62, u64::MAX] {
        let mut bytes = zip_with(&entries, stored().large_file(true));
        // Both sizes of the central directory say: look at the extra field, which is put in place of the comment's end.
        patch(&mut bytes, CENTRAL, 20, &[0xff; 8]);
        let file = Scratch::new(&bytes);
        assert_harmless("zip64 without its field", &file.path);
        let extra = [&[1, 0, 16, 0][..], &16u64.to_le_bytes(), &16u64.to_le_bytes()].concat();
        for i in 0..bytes.len().saturating_sub(extra.len()) {
            if bytes[i..].starts_with(&extra[..4]) {
                bytes[i + 4..i + 12].copy_from_slice(&size.to_le_bytes());
            }
        }
        rewrite(&file.path, &bytes);
        assert_harmless(&format!("zip64 size {size}"), &file.path);
        assert!(read_all(&file.path).is_err());
    }
}

#[test]
fn a_deflated_storage_may_not_be_a_bomb() {
    let options = SimpleFileOptions::default().compression_method(Deflated);
    let pickle = Pickle::new(2).op("}").text("w").tensor("ByteStorage", "0", &[128 << 20]).op("s").stop();
    let bytes = zip_with(&[("a/data.pkl", &pickle), ("a/data/0", &vec![0; 128 << 20])], options);
    assert!(bytes.len() < 200_000, "1 to 1000");
    let file = Scratch::new(&bytes);
    assert_harmless("128 MB of zeros", &file.path);
    assert!(file.unreadable().contains("more than its file can hold"));
}

#[test]
fn a_directory_of_a_million_entries_is_not_looked_through() {
    let name: Vec<String> = (0..100_000).map(|i| format!("a/data/{i:08}")).collect();
    let pickle = four();
    let mut entries: Vec<(&str, &[u8])> = name.iter().map(|n| (n.as_str(), &b""[..])).collect();
    entries.push(("a/data.pkl", &pickle));
    let file = Scratch::new(&zip(&entries));
    assert_harmless("a hundred thousand entries", &file.path);
    assert!(file.refused().contains("bytes of directory"));
}

#[test]
fn streams_that_contradict_themselves_are_refused() {
    let sound = || stream(&four(), &[("0", 4, &FOUR)]);
    assert_eq!(Scratch::new(&sound()).floats("w"), [1.0, 2.0, 3.0, 4.0]);
    let more = [sound(), b"more".to_vec()].concat();
    assert!(
        Scratch::new(&more).open().is_ok(),
        "torch.save appends to an open file; Python reads the first part as well"
    );

    let refused = |bytes: Vec<u8>| Scratch::new(&bytes).refused();
    assert!(refused(stream(&four(), &[("0", 5, &FOUR)])).contains("5 elements"));
    assert!(refused(stream(&four(), &[("1", 4, &FOUR)])).contains("unknown"));
    assert!(refused(stream(&four(), &[("0", 4, &FOUR), ("0", 4, &FOUR)])).contains("a duplicate"));
    assert!(refused(stream_head(true)).contains("left"));
    assert!(refused([stream_head(false), four()].concat()).contains("little-endian"));
    assert!(refused(Pickle::new(2).int(5).stop()).contains("magic number"));
    let message = Scratch::new(&stream(&four(), &[])).unreadable();
    assert!(message.contains("not in the file"), "{message}");
    // A view as torch before 0.4 wrote it: of elements 1 to 3 of the storage.
    let view = |p: Pickle, part: &[i64]| {
        let part = |p: Pickle| p.marked("t", |p| part.iter().fold(p.text("v"), |p, &n| p.int(n)));
        let id = |p: Pickle| part(p.text("storage").global("torch", "FloatStorage").text("0").text("cpu").int(4));
        let storage = |p: Pickle| p.marked("t", id).op("Q");
        p.op("}").text("w").view(storage, 1, &[2], &[1]).op("s").stop()
    };
    let of_part = |part: &[i64]| Scratch::new(&stream(&view(Pickle::new(2), part), &[("0", 4, &FOUR)]));
    assert_eq!(of_part(&[1, 3]).floats("w"), [3.0, 4.0]);
    for part in [[1, 2], [2, 3], [i64::MAX, 3]] {
        assert!(of_part(&part).unreadable().contains("reaches beyond"), "{part:?}");
    }
}

#[test]
fn a_tar_file_is_named_as_what_it_is() {
    let mut bytes = vec![0; 1024];
    bytes[257..262].copy_from_slice(b"ustar");
    assert!(Scratch::new(&bytes).refused().contains("tar"));
}

#[test]
fn tensors_whose_numbers_overflow_are_refused() {
    let most = i64::MAX;
    for (offset, shape, strides) in [
        (0, vec![most, most], vec![1, 1]),
        (0, vec![most; 64], vec![most; 64]),
        (most, vec![1], vec![1]),
        (0, vec![2], vec![most]),
        (0, vec![-1], vec![1]),
        (0, vec![2], vec![-1]),
        (-1, vec![1], vec![1]),
        (1, vec![4], vec![1]),
        (0, vec![1 << 40], vec![0]),
        (0, vec![1; 65], vec![1; 65]),
        (0, vec![2], vec![1, 1]),
    ] {
        let storage = |p: Pickle| p.storage("FloatStorage", "0", 4);
        let pickle = Pickle::new(2).op("}").text("w").view(storage, offset, &shape, &strides).op("s").stop();
        let file = Scratch::new(&checkpoint(&pickle, &[("0", &FOUR)]));
        println!("{}", file.unreadable());
        assert_harmless("overflow", &file.path);
    }
    // What Python can do with views, we can.
    for (shape, strides, expected) in [
        (vec![2, 3], vec![0, 1], vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]),
        (vec![2, 2], vec![1, 2], vec![1.0, 3.0, 2.0, 4.0]),
        (vec![0, most], vec![1, 1], vec![]),
        (vec![4], vec![1], vec![1.0, 2.0, 3.0, 4.0]),
        (vec![1], vec![most], vec![1.0]),
    ] {
        let storage = |p: Pickle| p.storage("FloatStorage", "0", 4);
        let pickle = Pickle::new(2).op("}").text("w").view(storage, 0, &shape, &strides).op("s").stop();
        let file = Scratch::new(&checkpoint(&pickle, &[("0", &FOUR)]));
        assert_eq!(file.floats("w"), expected, "{shape:?} {strides:?}");
    }
}
