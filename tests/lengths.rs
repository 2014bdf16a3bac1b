//! No sound is lost silently: concatenated files, headers that are wrong or unfinished, edit lists. The length of a recording
//! is that of its packets.

#![allow(clippy::items_after_statements, clippy::type_complexity)] // Tables of cases, with their meaning beside them.

use rvc_run::audio::loaded::Loaded;
use rvc_run::audio::{Audio, io};
use rvc_run::task::Task;
use rvc_run::{Kind, Result};
use std::path::Path;

const RATE: u32 = 16000;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio").join(name)).unwrap()
}

fn try_load(name: &str, bytes: &[u8]) -> Result<Loaded> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    io::load_with_notices(&Task::new(1, |_| {}), &path)
}

#[track_caller]
fn load(name: &str, bytes: &[u8]) -> Loaded {
    let loaded = try_load(name, bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(!loaded.by_ffmpeg, "{name}: decoded by ffmpeg, {:?}", loaded.notices);
    loaded
}

fn codes(loaded: &Loaded) -> Vec<&'static str> {
    loaded.notices.iter().map(|notice| notice.code).collect()
}

/// Sounds one after the other, at the first one's rate.
fn joined(sounds: &[Audio]) -> Vec<f32> {
    sounds.iter().flat_map(|sound| sound.clone().at_rate(sounds[0].sample_rate).samples).collect()
}

fn samples(n: usize) -> Vec<i16> {
    (0..n).map(|i| (8000.0 * (i as f64 * i as f64 * 1e-5).sin()) as i16).collect()
}

fn data(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn expected(samples: &[i16]) -> Vec<f32> {
    samples.iter().map(|x| f32::from(*x) / 32768.0).collect()
}

fn le(x: u32) -> [u8; 4] {
    x.to_le_bytes()
}

/// A wav of 16 bits with the given sizes in its headers; `between` comes before its samples.
fn wav(riff: u32, between: &[u8], data_size: u32, data: &[u8]) -> Vec<u8> {
    let format = [&[1, 0, 1, 0][..], &le(RATE), &le(RATE * 2), &[2, 0, 16, 0]].concat();
    [b"RIFF", &le(riff)[..], b"WAVEfmt ", &le(16), &format, between, b"data", &le(data_size), data].concat()
}

fn true_wav(data: &[u8]) -> Vec<u8> {
    wav(36 + data.len() as u32, b"", data.len() as u32, data)
}

// --- Wav and AIFF -----------------------------------------------------------------------------------------------------------

/// Two seconds.
const LONG: usize = 2 * RATE as usize;

#[test]
fn a_wav_with_an_unfinished_header_is_read_to_its_end() {
    let sound = samples(LONG);
    let data = data(&sound);
    let filler = [b"FLLR", &le(4008)[..], &[0; 4008]].concat();
    let cases: [(&str, u32, &[u8], u32); 9] = [
        ("both 0", 0, b"", 0),
        ("data 0, riff true", 36 + data.len() as u32, b"", 0),
        ("macOS: riff 4088, data 0", 4088, &filler, 0),
        ("both 0x7fffffff", 0x7fff_ffff, b"", 0x7fff_ffff),
        ("both 0xffffffff", u32::MAX, b"", u32::MAX),
        ("sox to a pipe", 0x7fff_f024, b"", 0x7fff_f000),
        ("data 0x80000000", 0x8000_0024, b"", 0x8000_0000),
        ("riff 0, data 0xffffffff", 0, b"", u32::MAX),
        ("riff 36, data 0", 36, b"", 0),
    ];
    for (case, riff, between, size) in cases {
        for half in [0, 1] {
            // A recorder that was killed may have written half of the last sample.
            let loaded = load(case, &wav(riff, between, size, &data[..data.len() - half]));
            assert_eq!(loaded.audio.samples, expected(&sound[..LONG - half]), "{case}");
            assert_eq!(codes(&loaded), ["length.unwritten"], "{case}");
            let notice = &loaded.notices[0];
            assert!(notice.message.contains("2.00 s") && (notice.seconds - 2.0).abs() < 0.01, "{case}: {notice:?}");
        }
    }
}

#[test]
fn a_wav_with_sizes_of_a_first_block_or_too_large_is_read_to_its_end() {
    let sound = samples(LONG);
    let data = data(&sound);
    let whole = 36 + data.len() as u32;
    let cases = [
        ("of a first block", wav(36 + 4096, b"", 4096, &data), "length.more"),
        ("data too small, riff true", wav(whole, b"", data.len() as u32 - 8000, &data), "length.more"),
        ("data too large, riff true", wav(whole, b"", data.len() as u32 + 8000, &data), "length.less"),
    ];
    for (case, bytes, code) in cases {
        let loaded = load(case, &bytes);
        assert_eq!(loaded.audio.samples, expected(&sound), "{case}");
        assert_eq!(codes(&loaded), [code], "{case}: {:?}", loaded.notices);
    }
}

#[test]
fn chunks_after_the_samples_of_a_wav_are_not_sound_and_need_no_notice() {
    let sound = samples(LONG);
    let data = data(&sound);
    let size = data.len() as u32;
    let list = [b"LIST", &le(12)[..], b"INFOISFT", &le(0)].concat();
    for (case, tail) in [
        ("a list", list.clone()),
        ("two lists", list.repeat(2)),
        ("an id3 tag", [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[7; 128]].concat()),
        ("an old id3 tag", [&b"TAG"[..], &[b'x'; 125]].concat()),
        ("a few zeros", vec![0; 8]),
        ("a list without its last byte", list[..list.len() - 1].to_vec()),
    ] {
        let riff = if case.contains("tag") { 36 + size } else { 36 + size + tail.len() as u32 };
        let loaded = load(case, &[wav(riff, b"", size, &data), tail].concat());
        assert_eq!(loaded.audio.samples, expected(&sound), "{case}");
        assert_eq!(codes(&loaded), Vec::<&str>::new(), "{case}");
    }
    // For unknown bytes the notice gives the seconds.
    let loaded = load("unknown", &[true_wav(&data), vec![0xa5; 16000]].concat());
    assert_eq!((loaded.audio.samples.len(), codes(&loaded)), (LONG, vec!["length.unread"]));
    assert!((loaded.notices[0].seconds - 0.5).abs() < 1e-3, "{:?}", loaded.notices);
    // An empty recording stays empty.
    let error = try_load("empty.wav", &[wav(36 + 20, b"", 0, b""), list].concat()).unwrap_err();
    assert_eq!(error.kind(), Kind::AudioEmpty);
}

#[test]
fn a_wav_with_a_wrong_size_of_another_chunk_is_read() {
    let sound = samples(LONG);
    let data = data(&sound);
    let cases: [(&str, Vec<u8>); 6] = [
        ("beyond the end", [b"LIST", &le(u32::MAX)[..], b"INFO"].concat()),
        ("too large", [b"LIST", &le(300)[..], b"INFO"].concat()),
        ("too small", [b"LIST", &le(4)[..], b"INFO", &[1, 2, 3, 4, 5, 6, 7, 8]].concat()),
        ("0", [b"LIST", &le(0)[..], b"INFO\x01\x02\x03\x04"].concat()),
        ("odd without a byte to make it even", [b"note", &le(3)[..], b"abc"].concat()),
        ("odd with it", [b"note", &le(3)[..], b"abc\0"].concat()),
    ];
    for (case, between) in cases {
        let loaded = load(case, &wav(36 + (between.len() + data.len()) as u32, &between, data.len() as u32, &data));
        assert_eq!(loaded.audio.samples, expected(&sound), "{case}");
        assert_eq!(codes(&loaded), Vec::<&str>::new(), "{case}");
    }
}

#[test]
fn rf64_is_read_by_its_long_sizes() {
    let sound = samples(LONG);
    let data = data(&sound);
    for (kind, size, code) in
        [(b"RF64", data.len() as u64, None), (b"BW64", data.len() as u64, None), (b"RF64", 0, Some("length.unwritten"))]
    {
        let sizes =
            [&b"ds64"[..], &le(28), &(data.len() as u64 + 72).to_le_bytes(), &size.to_le_bytes(), &[0; 12]].concat();
        let mut bytes = wav(u32::MAX, &sizes, u32::MAX, &data);
        // ds64 comes first.
        let format = bytes[12..36].to_vec();
        bytes.drain(12..36);
        bytes.splice(12 + sizes.len()..12 + sizes.len(), format);
        bytes[..4].copy_from_slice(kind);
        let loaded = load("rf64.wav", &bytes);
        assert_eq!(loaded.audio.samples, expected(&sound));
        assert_eq!(codes(&loaded), code.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn joined_wavs_are_read_one_after_the_other() {
    let (first, second) = (samples(LONG), samples(LONG / 2));
    let bytes = [true_wav(&data(&first)), true_wav(&data(&second))].concat();
    let loaded = load("joined.wav", &bytes);
    assert_eq!(loaded.audio.samples, expected(&[first, second].concat()));
    assert_eq!(codes(&loaded), ["parts.joined"]);
    assert!(loaded.notices[0].message.contains("2 recordings"), "{:?}", loaded.notices);
}

#[test]
fn a_wav_that_was_cut_off_is_still_an_error() {
    let data = data(&samples(LONG));
    let whole = true_wav(&data);
    let error = try_load("cut.wav", &whole[..whole.len() / 2]).unwrap_err();
    assert_eq!(error.kind(), Kind::AudioDecode);
    assert!(error.message().contains("ends after 1.00 of 2.00 s"), "{error}");
}

#[test]
fn aiff_is_read_by_its_samples_not_by_its_counts() {
    let whole = fixture("glide.aiff");
    let sound = load("whole.aiff", &whole).audio;
    let at = |name: &[u8]| whole.windows(4).position(|window| window == name).unwrap();
    let (frames, size) = (at(b"COMM") + 10, at(b"SSND") + 4);
    let patch = |at: usize, value: u32| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let truth = u32::from_be_bytes(whole[size..size + 4].try_into().unwrap());
    for (case, bytes, code) in [
        ("frames 0", patch(frames, 0), "length.unwritten"),
        ("frames too few", patch(frames, 100), "length.more"),
        ("frames too many", patch(frames, 1 << 20), "length.less"),
        ("sound of 0 bytes", patch(size, 0), "length.unwritten"),
        ("sound of 0x7fffffff bytes", patch(size, 0x7fff_ffff), "length.unwritten"),
        ("sound of 0xffffffff bytes", patch(size, u32::MAX), "length.unwritten"),
        ("sound of a first block", patch(size, truth / 3), "length.more"),
        ("form of 0 bytes", patch(4, 0), ""),
    ] {
        let loaded = load(case, &bytes);
        assert_eq!(loaded.audio, sound, "{case}");
        assert_eq!(codes(&loaded), if code.is_empty() { vec![] } else { vec![code] }, "{case}: {:?}", loaded.notices);
    }
}

// --- Joined files -----------------------------------------------------------------------------------------------------------

#[test]
fn files_joined_by_cat_are_read_one_after_the_other() {
    for name in [
        "glide.flac",
        "glide.aiff",
        "glide.ogg",
        "glide.opus",
        "glide.webm",
        "glide.m4a",
        "glide_alac.m4a",
        "glide.aac",
    ] {
        let whole = fixture(name);
        let sound = load(name, &whole).audio;
        for count in [2, 3] {
            let loaded = load(name, &whole.repeat(count));
            // Without a container nothing shows that raw AAC was concatenated, and its decoder continues.
            let is_raw = name == "glide.aac";
            assert_eq!(loaded.audio.samples.len(), sound.samples.len() * count, "{name}");
            if !is_raw {
                assert_eq!(loaded.audio.samples, joined(&vec![sound.clone(); count]), "{name}");
            }
            let found = codes(&loaded);
            assert_eq!(found, if is_raw { vec![] } else { vec!["parts.joined"] }, "{name}: {:?}", loaded.notices);
            if let Some(notice) = loaded.notices.first() {
                assert!(notice.message.contains(&format!("{count} recordings")), "{name}: {notice:?}");
                assert!((notice.seconds - loaded.audio.seconds()).abs() < 1e-9, "{name}: {notice:?}");
            }
        }
    }
}

#[test]
fn tags_between_joined_files_are_skipped() {
    let id3 = [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0xff; 128]].concat();
    let old = [&b"TAG"[..], &[b' '; 125]].concat();
    for name in ["glide.flac", "glide.ogg", "glide.opus", "glide.aac"] {
        let whole = fixture(name);
        let sound = load(name, &whole).audio;
        for (case, bytes) in [
            ("tag in front", [&id3[..], &whole].concat()),
            ("tag behind", [&whole[..], &old].concat()),
            ("tags between", [&id3[..], &whole, &old, &id3, &whole].concat()),
        ] {
            if case == "tags between" && name != "glide.aac" && name.ends_with("flac") {
                // An old tag in the middle of FLAC files cannot be distinguished from sound; the last frame before it is lost with it.
                continue;
            }
            let count = if case == "tags between" { 2 } else { 1 };
            let loaded = load(name, &bytes);
            assert_eq!(loaded.audio.samples.len(), sound.samples.len() * count, "{name}, {case}: {:?}", loaded.notices);
            assert_eq!(codes(&loaded), if count == 2 { vec!["parts.joined"] } else { vec![] }, "{name}, {case}");
        }
    }
}

#[test]
fn parts_of_another_rate_are_resampled_to_the_first_ones() {
    let (low, high) = (fixture("glide.opus"), fixture("glide.ogg"));
    let sounds = [load("a.opus", &low).audio, load("b.ogg", &high).audio];
    assert_ne!(sounds[0].sample_rate, sounds[1].sample_rate);
    for order in [[0, 1], [1, 0]] {
        let bytes = order.map(|i| [&low, &high][i].clone()).concat();
        let sounds = order.map(|i| sounds[i].clone());
        let loaded = load("two.ogg", &bytes);
        assert_eq!(loaded.audio.sample_rate, sounds[0].sample_rate);
        assert_eq!(loaded.audio.samples, joined(&sounds));
        let message = &loaded.notices[0].message;
        assert!(message.contains("48000") && message.contains("22050"), "{message}");
    }
    // Two channels after one.
    let (mono, stereo) = (fixture("glide.m4a"), fixture("glide44s.m4a"));
    let sounds = [load("a.m4a", &mono).audio, load("b.m4a", &stereo).audio];
    assert_eq!(load("two.m4a", &[mono, stereo].concat()).audio.samples, joined(&sounds));
}

// --- MP3 --------------------------------------------------------------------------------------------------------------------

/// The position of the frame count in the index of glide.mp3, and that count.
fn index(bytes: &[u8]) -> (usize, u32) {
    let at = bytes.windows(4).position(|window| window == b"Xing" || window == b"Info").unwrap() + 8;
    (at, u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
}

#[test]
fn a_wrong_index_of_an_mp3_cuts_nothing() {
    let whole = fixture("glide.mp3");
    let sound = load("whole.mp3", &whole).audio;
    let (at, truth) = index(&whole);
    // Samples per frame at this rate.
    const FRAME: usize = 576;
    for (frames, codes_expected) in [
        (truth, vec![]),
        (0, vec![]),
        (1, vec!["length.more"]),
        (truth / 2, vec!["length.more"]),
        (truth * 3, vec!["length.less"]),
    ] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&frames.to_be_bytes());
        let loaded = load("wrong.mp3", &bytes);
        let n = sound.samples.len();
        assert!((n..n + 2 * FRAME).contains(&loaded.audio.samples.len()), "{frames}: {}", loaded.audio.samples.len());
        assert_eq!(loaded.audio.samples[..n - FRAME], sound.samples[..n - FRAME], "{frames}: the same place");
        assert_eq!(codes(&loaded), codes_expected, "{frames}: {:?}", loaded.notices);
    }
}

#[test]
fn joined_mp3s_are_read_completely_whatever_is_between_them() {
    let whole = fixture("glide.mp3");
    let sound = load("whole.mp3", &whole).audio;
    let n = sound.samples.len();
    let id3 = [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0xff; 128]].concat();
    let old = [&b"TAG"[..], &[b' '; 125]].concat();
    let (at, _) = index(&whole);
    let mut untold = whole.clone();
    untold[at..at + 8].fill(0);
    for (case, bytes, count) in [
        ("two", whole.repeat(2), 2),
        ("ten", whole.repeat(10), 10),
        ("old tag between", [&whole[..], &old, &whole].concat(), 2),
        ("new tag between", [&id3[..], &whole, &id3, &whole, &old].concat(), 2),
        ("a short one before a long one", [&whole[..], &whole.repeat(4)].concat(), 5),
        ("without counts", untold.repeat(2), 2),
    ] {
        let loaded = load("joined.mp3", &bytes);
        let length = loaded.audio.samples.len();
        // Each has up to three frames of run-in and padding, which are kept at the joints, as in ffmpeg.
        assert!((n * count..(n + 3 * 576 + 1105) * count).contains(&length), "{case}: {length} of {count} * {n}");
        assert_eq!(codes(&loaded), ["parts.joined"], "{case}");
        assert!(loaded.notices[0].message.contains(&format!("{count} recordings")), "{case}: {:?}", loaded.notices);
    }
}

#[test]
fn junk_within_an_mp3_is_reported_and_the_rest_is_in_place() {
    let whole = fixture("glide.mp3").repeat(4);
    let clean = load("clean.mp3", &whole).audio;
    // Where the third begins.
    let middle = whole.len() / 2;
    let junk = vec![0x55; 4000];
    let loaded = load("junk.mp3", &[&whole[..middle], &junk, &whole[middle..]].concat());
    assert_eq!(loaded.audio.samples.len(), clean.samples.len());
    assert!(codes(&loaded).contains(&"length.unread"), "{:?}", loaded.notices);
}

// --- FLAC -------------------------------------------------------------------------------------------------------------------

#[test]
fn a_flac_is_read_by_its_frames_not_by_its_count() {
    let whole = fixture("glide.flac");
    let sound = load("whole.flac", &whole).audio;
    // 36 bits, of which the last 32 are here.
    let at = 4 + 4 + 14;
    assert_eq!(u32::from_be_bytes(whole[at..at + 4].try_into().unwrap()), sound.samples.len() as u32);
    for (frames, expected) in
        [(0u32, vec![]), (1, vec!["length.more"]), (5000, vec!["length.more"]), (1 << 20, vec!["length.less"])]
    {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&frames.to_be_bytes());
        let loaded = load("wrong.flac", &bytes);
        assert_eq!(loaded.audio, sound, "{frames}");
        assert_eq!(codes(&loaded), expected, "{frames}: {:?}", loaded.notices);
    }
}

// --- MP4 --------------------------------------------------------------------------------------------------------------------

/// The boxes in some bytes.
fn boxes(bytes: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while rest.len() >= 8 {
        let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        found.push((rest[4..8].try_into().unwrap(), rest[8..size].to_vec()));
        rest = &rest[size..];
    }
    found
}

fn boxed(kind: &[u8], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
}

/// An MP4 with other contents of its boxes. The part after the samples may grow.
fn changed(bytes: &[u8], change: &dyn Fn(&[u8; 4], Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let one = |(kind, content): ([u8; 4], Vec<u8>)| {
        let content = if [b"moov", b"trak", b"mdia", b"minf", b"stbl"].contains(&&kind) {
            changed(&content, change)
        } else {
            content
        };
        boxed(&kind, &change(&kind, content))
    };
    boxes(bytes).into_iter().flat_map(one).collect()
}

/// Replaces the edit list, or adds one before the media.
fn with_edits(bytes: &[u8], edits: &[(u64, i64)], wide: bool) -> Vec<u8> {
    let count = (edits.len() as u32).to_be_bytes();
    let entry = |(duration, start): &(u64, i64)| {
        let rate = [0, 1, 0, 0];
        if wide {
            [&duration.to_be_bytes()[..], &start.to_be_bytes(), &rate].concat()
        } else {
            [&(*duration as u32).to_be_bytes()[..], &(*start as i32).to_be_bytes(), &rate].concat()
        }
    };
    let head = [u8::from(wide), 0, 0, 0];
    let list = boxed(b"elst", &[&head[..], &count, &edits.iter().flat_map(entry).collect::<Vec<u8>>()].concat());
    changed(bytes, &|kind, content| {
        if kind != b"trak" {
            return content;
        }
        let rest = boxes(&content).into_iter().filter(|(kind, _)| kind != b"edts");
        let mut track: Vec<Vec<u8>> = rest.map(|(kind, content)| boxed(&kind, &content)).collect();
        track.insert(1, boxed(b"edts", &list));
        track.concat()
    })
}

/// Ticks per second of the movie in a fixture.
fn movie_rate(bytes: &[u8]) -> u64 {
    let moov = boxes(bytes).into_iter().find(|(kind, _)| kind == b"moov").unwrap().1;
    let header = boxes(&moov).into_iter().find(|(kind, _)| kind == b"mvhd").unwrap().1;
    u32::from_be_bytes(header[12..16].try_into().unwrap()).into()
}

#[test]
fn an_edit_list_of_several_parts_is_followed() {
    let whole = fixture("glide_alac.m4a");
    let all = load("whole.m4a", &whole).audio.samples;
    let second = movie_rate(&whole);
    let rate = 22050;
    // A tenth of a second, in the movie's and the sound's ticks.
    let (movie, sound) = (second / 10, rate / 10);
    let tenths = |from: usize, to: usize| all[from * sound..to * sound].to_vec();
    for wide in [false, true] {
        let cases: [(&str, Vec<(u64, i64)>, Vec<f32>); 6] = [
            ("two", vec![(movie, 0), (2 * movie, 2 * sound as i64)], [tenths(0, 1), tenths(2, 4)].concat()),
            (
                "three",
                vec![(movie, 0), (movie, 2 * sound as i64), (movie, 3 * sound as i64)],
                [tenths(0, 1), tenths(2, 4)].concat(),
            ),
            (
                "backwards",
                vec![(movie, 3 * sound as i64), (movie, sound as i64)],
                [tenths(3, 4), tenths(1, 2)].concat(),
            ),
            ("twice the same", vec![(2 * movie, 0), (2 * movie, 0)], [tenths(0, 2), tenths(0, 2)].concat()),
            (
                "empty ones",
                vec![(5 * movie, -1), (movie, 0), (movie, -1), (movie, 2 * sound as i64)],
                [tenths(0, 1), tenths(2, 3)].concat(),
            ),
            (
                "beyond the end",
                vec![(movie, 0), (50 * movie, 3 * sound as i64)],
                [tenths(0, 1), all[3 * sound..].to_vec()].concat(),
            ),
        ];
        for (case, edits, expected) in cases {
            let loaded = load(case, &with_edits(&whole, &edits, wide));
            assert_eq!(loaded.audio.samples, expected, "{case}");
            let covered: f64 = if case == "beyond the end" { 0.3 - 0.1 } else { 0.1 };
            let is_said = codes(&loaded) == ["length.edited"] && loaded.notices[0].seconds > covered - 0.02;
            assert!(is_said, "{case}: {:?}", loaded.notices);
        }
    }
}

#[test]
fn an_mp4_is_read_by_its_packets_not_by_its_durations() {
    let whole = fixture("glide.m4a");
    let sound = load("whole.m4a", &whole).audio;
    for (name, value) in
        [(b"mdhd", 10u32), (b"mdhd", 0), (b"mdhd", u32::MAX), (b"mvhd", 1), (b"mvhd", u32::MAX), (b"tkhd", 1)]
    {
        let bytes = changed(&whole, &|kind, mut content| {
            if kind == name {
                let at = if kind == b"tkhd" { 20 } else { 16 };
                content[at..at + 4].copy_from_slice(&value.to_be_bytes());
            }
            content
        });
        let loaded = load("wrong.m4a", &bytes);
        assert_eq!(loaded.audio, sound, "{}: {value}", String::from_utf8_lossy(name));
        assert_eq!(codes(&loaded), Vec::<&str>::new());
    }
}

#[test]
fn an_edit_list_that_would_fill_the_memory_is_refused() {
    let whole = fixture("glide_alac.m4a");
    let many = vec![(movie_rate(&whole) / 2, 0); 40_000];
    let error = try_load("many.m4a", &with_edits(&whole, &many, false)).unwrap_err();
    assert!(error.message().contains("longer than 4 hours"), "{error}");
}

// --- Other containers -------------------------------------------------------------------------------------------------------

#[test]
fn a_webm_with_a_wrong_duration_is_read_whole() {
    let whole = fixture("glide.webm");
    let sound = load("whole.webm", &whole).audio;
    // Duration: 0x4489, 8 bytes of a float.
    let at = whole.windows(3).position(|window| window == [0x44, 0x89, 0x88]).unwrap() + 3;
    for milliseconds in [0.0f64, 1.0, 100.0, 1e6, f64::NAN, -5.0] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&milliseconds.to_be_bytes());
        assert_eq!(load("wrong.webm", &bytes).audio, sound, "{milliseconds}");
    }
}

/// The position and length of the last page of an Ogg file.
fn last_page(bytes: &[u8]) -> usize {
    bytes.windows(4).rposition(|window| window == b"OggS").unwrap()
}

/// Writes Ogg's check value into a page.
fn set_page_sum(page: &mut [u8]) {
    page[22..26].fill(0);
    let shift = |sum: u32, _| if sum >> 31 == 1 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
    let sum = page.iter().fold(0u32, |sum, byte| (0..8).fold(sum ^ (u32::from(*byte) << 24), shift));
    page[22..26].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn an_ogg_whose_last_page_counts_too_few_samples_is_read_completely() {
    for name in ["glide.ogg", "glide.opus"] {
        let whole = fixture(name);
        let sound = load(name, &whole).audio;
        let at = last_page(&whole);
        for position in [1u64, 2000] {
            let mut bytes = whole.clone();
            bytes[at + 6..at + 14].copy_from_slice(&position.to_le_bytes());
            set_page_sum(&mut bytes[at..]);
            let loaded = load(name, &bytes);
            assert!(loaded.audio.samples.len() >= sound.samples.len(), "{name}: {position}");
            assert_eq!(codes(&loaded), ["length.more"], "{name}: {position}: {:?}", loaded.notices);
        }
    }
}

#[test]
fn a_stream_without_its_end_is_read_and_reported() {
    let mut bytes = fixture("glide.ogg").repeat(2);
    let at = last_page(&bytes);
    // No longer marked as the last one; in the first file nothing is missing.
    bytes[at + 5] = 0;
    set_page_sum(&mut bytes[at..]);
    let loaded = load("open.ogg", &bytes);
    assert_eq!(codes(&loaded), ["parts.joined", "length.open"], "{:?}", loaded.notices);
    // MP3 without an index, and raw AAC: within a frame.
    let whole = fixture("glide.aac");
    let sound = load("whole.aac", &whole).audio;
    let loaded = load("cut.aac", &whole[..whole.len() - 9]);
    assert_eq!(loaded.audio.samples[..], sound.samples[..sound.samples.len() - 1024]);
    assert_eq!(codes(&loaded), ["length.open"], "{:?}", loaded.notices);
    assert!(loaded.notices[0].message.contains("cut off"), "{:?}", loaded.notices);
}
