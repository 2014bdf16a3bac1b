//! Recordings in every common format: as long as the original, and not a sample late; and the same for files
//! that were concatenated, cut or have wrong lengths in their headers, against ffmpeg. Made with ffmpeg, if it is installed.

use crate::support::only;
use rvc_run::Kind;
use rvc_run::audio::{Audio, io};
use rvc_run::task::Task;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

const SECONDS: f64 = 2.0;
/// Rate at which two sounds are compared; sound below 3 kHz survives every format here.
const COMPARED: u32 = 16000;
/// Largest shift that is searched: over AAC's 1024 samples and its 2112 with Apple's encoder.
const REACH: i64 = 1200;
/// ffmpeg's lossy encoders write their exact lead; resampling in the encoder (Opus) may cost a fraction of a sample.
const LOSSY_SHIFT: i64 = 1;
/// Lossy files end with a whole packet if the container has no exact length.
const LOSSY_SECONDS: f64 = 0.03;
/// Largest difference of a sample from libopus's in floats. Measured: at most 6.0e-7, at peaks of 1.4; SILK's are equal.
/// ffmpeg's own decoder, its default, resamples SILK in another way (11 dB off libopus).
const OPUS_DIFFERENCE: f32 = 1e-6;

fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: ffmpeg is not installed");
    }
    found
}

/// Tones that keep beginning and ending, so that only one shift fits.
fn speechlike(sample_rate: u32) -> Vec<f32> {
    let n = (SECONDS * f64::from(sample_rate)) as usize;
    let mut phase = 0.0f64;
    let sample = |i: usize| {
        let t = i as f64 / f64::from(sample_rate);
        let hz = 700.0 + 500.0 * (t * 9.7).sin() + 300.0 * (t * 23.1).sin();
        phase += hz / f64::from(sample_rate) * std::f64::consts::TAU;
        let level = (t * 31.0).sin().abs() * (0.3 + 0.2 * (t * 5.3).cos());
        (phase.sin() * level) as f32
    };
    (0..n).map(sample).collect()
}

/// The shift of `late` against `early` in samples at [`COMPARED`] at which they fit best.
fn shift(early: Audio, late: Audio) -> i64 {
    let (early, late) = (early.at_rate(COMPARED).samples, late.at_rate(COMPARED).samples);
    let fit = |by: i64| {
        (4000..24000i64)
            .step_by(37)
            .filter_map(|i| Some(f64::from(*early.get(i as usize)?) * f64::from(*late.get((i + by) as usize)?)))
            .sum::<f64>()
    };
    (-REACH..=REACH).max_by(|a, b| fit(*a).total_cmp(&fit(*b))).unwrap()
}

/// Writes the source as `name` by ffmpeg; false if this ffmpeg has no such encoder.
fn encode(folder: &Path, rate: u32, name: &str, flags: &[&str]) -> bool {
    let source = folder.join(format!("source_{rate}.wav"));
    if !source.exists() {
        io::write_wav(&source, &speechlike(rate), rate).unwrap();
    }
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(&source).args(flags).arg(folder.join(name));
    let output = ffmpeg.output().unwrap();
    if !output.status.success() {
        println!("skipped: {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}

struct Case {
    name: String,
    rate: u32,
    flags: Vec<&'static str>,
    lossy: bool,
}

/// Lossy formats whose container states the exact length.
fn is_exact(name: &str) -> bool {
    ["opus", "webm", "mka", "mp4"].iter().any(|ending| name.ends_with(ending))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, rate: u32, flags: &[&'static str], lossy: bool| {
        cases.push(Case { name, rate, flags: flags.to_vec(), lossy });
    };
    let layouts: [(&str, &[&str]); 3] = [("mono", &["-ac", "1"]), ("stereo", &["-ac", "2"]), ("5.1", &["-ac", "6"])];
    for (layout, channels) in layouts {
        let all: [(&str, &[&str], bool); 17] = [
            ("8.wav", &["-c:a", "pcm_u8"], false),
            ("16.wav", &["-c:a", "pcm_s16le"], false),
            ("24.wav", &["-c:a", "pcm_s24le"], false),
            ("32.wav", &["-c:a", "pcm_s32le"], false),
            ("float.wav", &["-c:a", "pcm_f32le"], false),
            ("double.wav", &["-c:a", "pcm_f64le"], false),
            ("flac", &[], false),
            ("aiff", &[], false),
            ("alac.m4a", &["-c:a", "alac"], false),
            ("mp3", &["-b:a", "128k"], true),
            ("m4a", &["-c:a", "aac", "-b:a", "160k"], true),
            ("ogg", &["-c:a", "libvorbis"], true),
            ("opus", &["-c:a", "libopus", "-b:a", "128k"], true),
            ("webm", &["-c:a", "libopus", "-b:a", "128k"], true),
            ("opus.mka", &["-c:a", "libopus", "-b:a", "128k"], true),
            ("opus.mp4", &["-c:a", "libopus", "-b:a", "128k", "-strict", "-2"], true),
            ("flac.mka", &["-c:a", "flac"], false),
        ];
        for (ending, flags, lossy) in all {
            if layout == "5.1" && ending == "mp3" {
                continue;
            }
            add(format!("{layout}.{ending}"), 48000, &[channels, flags].concat(), lossy);
        }
    }
    for rate in [8000, 11025, 16000, 22050, 32000, 44100, 96000, 192_000] {
        add(format!("{rate}.wav"), rate, &["-c:a", "pcm_s16le"], false);
        add(format!("{rate}.flac"), rate, &[], false);
        if rate <= 44100 {
            add(format!("{rate}.mp3"), rate, &[], true);
            add(format!("{rate}.m4a"), rate, &["-c:a", "aac"], true);
        }
    }
    cases
}

#[test]
fn every_format_keeps_its_duration_and_position() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for Case { name, rate, flags, lossy } in cases() {
        if !encode(folder.path(), rate, &name, &flags) {
            continue;
        }
        tried += 1;
        let source = Audio { samples: speechlike(rate), sample_rate: rate };
        let audio = match io::load(&folder.path().join(&name)) {
            Ok(audio) => audio,
            Err(e) => {
                wrong.push(format!("{name}: {e}"));
                continue;
            }
        };
        let missing = source.seconds() - audio.seconds();
        let moved = shift(source, audio);
        println!("{name}: {missing:.4} s shorter, {moved} samples late");
        let seconds = if lossy && !is_exact(&name) { LOSSY_SECONDS } else { 0.0 };
        let samples = if lossy { LOSSY_SHIFT } else { 0 };
        if missing.abs() > seconds || moved.abs() > samples {
            wrong.push(format!("{name}: {missing:.4} s shorter, {moved} samples late"));
        }
    }
    assert!(tried > 40, "only {tried} files could be made");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// ffmpeg's reading of a file with libopus in floats, mixed to mono; None if it was built without libopus.
fn by_libopus(path: &Path, channels: &str) -> Option<Vec<f32>> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-c:a", "libopus", "-request_sample_fmt", "flt", "-i"]).arg(path);
    let mixed = if channels == "2" { "2" } else { "1" };
    let output = ffmpeg.args(["-ac", mixed, "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"]).output().unwrap();
    if !output.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let samples = output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    if mixed == "1" {
        return Some(samples.collect());
    }
    // Ours are clipped at full scale before they are mixed.
    let samples: Vec<f32> = samples.map(|x| x.clamp(-1.0, 1.0)).collect();
    Some(samples.chunks_exact(2).map(|x| (x[0] + x[1]) * std::f32::consts::FRAC_1_SQRT_2).collect())
}

/// Puts a gain of -6 dB into the header of a WebM's Opus.
fn make_quieter(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let head = bytes.windows(8).position(|window| window == b"OpusHead").unwrap();
    bytes[head + 16..head + 18].copy_from_slice(&(-6i16 * 256).to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

/// Flags of ffmpeg's encoder. At 12 kbit/s a voice is coded by SILK, at 24 in both ways, at 128 by CELT.
const OPUS: [(&str, &[&str]); 9] = [
    ("silk.opus", &["-ac", "1", "-b:a", "12k", "-application", "voip"]),
    ("silk_60ms.webm", &["-ac", "1", "-b:a", "12k", "-application", "voip", "-frame_duration", "60"]),
    ("hybrid.opus", &["-ac", "2", "-b:a", "32k", "-application", "voip"]),
    ("celt.opus", &["-ac", "2", "-b:a", "128k"]),
    ("celt_5ms.mka", &["-ac", "2", "-b:a", "128k", "-frame_duration", "5"]),
    ("large_packets.opus", &["-ac", "2", "-b:a", "510k", "-frame_duration", "60"]),
    ("loud.webm", &["-ac", "2", "-b:a", "128k", "-af", "volume=12dB"]),
    ("quieter.webm", &["-ac", "2", "-b:a", "128k"]),
    ("surround.opus", &["-ac", "6", "-b:a", "256k", "-mapping_family", "1"]),
];

#[test]
fn opus_is_decoded_to_the_samples_of_libopus_without_ffmpeg() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for (name, flags) in OPUS {
        let path = folder.path().join(name);
        if !encode(folder.path(), 48000, name, &[&["-c:a", "libopus"], flags].concat()) {
            continue;
        }
        if name == "quieter.webm" {
            make_quieter(&path);
        }
        let audio = io::load(&path).unwrap();
        assert_eq!(audio.sample_rate, 48000, "{name}");
        let Some(expected) = by_libopus(&path, flags[1]) else { continue };
        assert_eq!(audio.samples.len(), expected.len(), "{name}");
        let difference = audio.samples.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: {difference:e} of {:.2}", expected.iter().fold(0.0f32, |peak, x| peak.max(x.abs())));
        assert!(difference < OPUS_DIFFERENCE, "{name}: {difference}");
        // ... and our own decoder did it.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(only(module_path!(), "child_that_loads"))
            .env("RVC_TEST_LOAD", &path)
            .env("PATH", "")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(said.contains(&format!("loaded {} samples", audio.samples.len())), "{name}: {said}");
        compared += 1;
    }
    println!("{compared} files compared");
}

/// Not a test on its own: the test before it starts it.
#[test]
fn child_that_loads() {
    if let Some(path) = std::env::var_os("RVC_TEST_LOAD") {
        println!("loaded {} samples", io::load(Path::new(&path)).unwrap().samples.len());
    }
}

#[test]
fn opus_frames_that_we_cannot_decode_are_left_to_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    if !has_ffmpeg() || !encode(folder.path(), 48000, "short.opus", &["-c:a", "libopus", "-frame_duration", "2.5"]) {
        return;
    }
    let audio = io::load(&folder.path().join("short.opus")).unwrap();
    assert!((audio.seconds() - SECONDS).abs() < LOSSY_SECONDS, "{}", audio.seconds());
}

#[test]
fn where_our_decoder_stops_early_ffmpeg_is_used_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    if !has_ffmpeg() || !encode(folder.path(), 48000, "whole.flac", &["-frame_size", "16384"]) {
        return;
    }
    let whole = io::load(&folder.path().join("whole.flac")).unwrap();
    // Bytes after the last frame cannot be distinguished from it; our reader drops that frame.
    let path = folder.path().join("more.flac");
    let bytes = std::fs::read(folder.path().join("whole.flac")).unwrap();
    std::fs::write(&path, [&bytes[..], &[0x5a; 5000]].concat()).unwrap();
    let loaded = io::load_with_notices(&Task::new(1, |_| {}), &path).unwrap();
    assert_eq!(loaded.audio, whole);
    assert!(loaded.by_ffmpeg);
    let notice = loaded.notices.iter().find(|notice| notice.code == "decode.by_ffmpeg").unwrap();
    assert!(notice.message.contains("ffmpeg reads 2.00 s"), "{notice:?}");
    // A half-missing file is no better when another program reads it.
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = io::load(&path).unwrap_err();
    assert!(error.message().contains("of 2.00 s"), "{error}");
}

#[test]
fn a_file_that_nothing_can_read_is_named_with_both_reasons() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("text.wma", &b"this is a text, and no sound at all, however long it may be\n"[..]),
        // A list of other files is not a recording.
        ("list.wma", b"ffconcat version 1.0\nfile 'source.wav'\n"),
        ("list.mka", b"#EXTM3U\n#EXTINF:2,\nsource.wav\n#EXT-X-ENDLIST\n"),
    ] {
        io::write_wav(&folder.path().join("source.wav"), &speechlike(COMPARED), COMPARED).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = io::load(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::AudioDecode, "{name}: {error}");
        assert!(error.message().contains("is not a readable sound file"), "{name}: {error}");
        assert!(error.hint_text().unwrap().contains("ffmpeg"), "{name}: {error}");
    }
}

// --- Against ffmpeg: whole, joined, cut, lying ------------------------------------------------------------------------------

/// A change to an encoded file.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    Nothing,
    /// Written twice, one after the other.
    Joined,
    /// Only this part of it, in hundredths.
    Cut(usize),
    /// Other bytes after a marker.
    Patch {
        mark: &'static [u8],
        skip: usize,
        bytes: &'static [u8],
    },
}

/// The reference that a file is compared with.
#[derive(Clone, Copy, PartialEq)]
enum Truth {
    /// ffmpeg's reading of the same file.
    Ffmpeg,
    /// Our reading of the file before the change, which has a row of its own, this many times: where ffmpeg loses sound at a
    /// joint or because of the wrong header, or keeps run-in.
    Parts(usize),
    /// It must be refused, with this word.
    Refused(&'static str),
}

struct Row {
    name: &'static str,
    codec: &'static str,
    flags: &'static [&'static str],
    change: Change,
    case: &'static str,
    truth: Truth,
    /// Samples by which it may be longer or shorter: a packet of this codec.
    packet: usize,
}

/// Files of every container and codec that we read, whole.
const ENCODED: &[(&str, &str, &[&str], usize)] = &[
    ("wav", "pcm_s16le", &[], 0),
    ("wav", "pcm_u8", &[], 0),
    ("wav", "pcm_s24le", &[], 0),
    ("wav", "pcm_s32le", &[], 0),
    ("wav", "pcm_f32le", &[], 0),
    ("wav", "pcm_f64le", &[], 0),
    ("wav", "pcm_alaw", &[], 0),
    ("wav", "pcm_mulaw", &[], 0),
    ("wav", "adpcm_ms", &[], 2048),
    ("wav", "adpcm_ima_wav", &[], 2048),
    ("wav", "pcm_s16le", &["-rf64", "always"], 0),
    ("aiff", "pcm_s16be", &[], 0),
    ("aiff", "pcm_s24be", &[], 0),
    ("flac", "flac", &[], 4608),
    ("mp3", "libmp3lame", &["-b:a", "64k"], 1152),
    ("mp3", "libmp3lame", &["-q:a", "4"], 1152),
    ("mp3", "libmp3lame", &["-b:a", "64k", "-write_xing", "0"], 1152),
    // Louder, and so with longer frames, at the start: a program that guesses the length from them guesses too little.
    ("mp3", "libmp3lame", &["-q:a", "0", "-write_xing", "0", "-af", "volume=enable='gt(t,0.4)':volume=0.01"], 1152),
    ("mp3", "libmp3lame", &["-b:a", "64k", "-ac", "2", "-id3v2_version", "0"], 1152),
    ("aac", "aac", &[], 1024),
    ("m4a", "aac", &[], 1024),
    ("m4a", "alac", &[], 4096),
    ("mp4", "libopus", &["-strict", "-2"], 960),
    ("mp4", "aac", &["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "500000"], 1024),
    ("mov", "pcm_s16le", &[], 1024),
    ("ogg", "libvorbis", &[], 1024),
    ("opus", "libopus", &["-b:a", "96k"], 960),
    ("oga", "flac", &[], 4608),
    ("mka", "libvorbis", &[], 1024),
    ("mka", "flac", &[], 4608),
    ("mka", "aac", &[], 1024),
    ("mka", "pcm_s16le", &[], 0),
    ("mkv", "libmp3lame", &["-b:a", "64k"], 1152),
    ("webm", "libopus", &["-b:a", "96k"], 960),
    ("webm", "libvorbis", &[], 1024),
    // By ffmpeg.
    ("caf", "pcm_s16be", &[], 0),
    ("caf", "alac", &[], 4096),
    ("au", "pcm_s16be", &[], 0),
    ("w64", "pcm_s16le", &[], 0),
    ("ac3", "ac3", &[], 1536),
    ("mp2", "mp2", &[], 1152),
    ("wma", "wmav2", &[], 2048),
    ("wv", "wavpack", &[], 0),
    ("tta", "tta", &[], 0),
    ("avi", "libmp3lame", &["-b:a", "64k"], 1152),
    ("ts", "mp2", &[], 1152),
    ("flv", "libmp3lame", &["-b:a", "64k"], 1152),
];

const RIFF: &[u8] = b"RIFF";
const DATA: &[u8] = b"data";
const COMM: &[u8] = b"COMM";
const SSND: &[u8] = b"SSND";
const INFO: &[u8] = b"Info";

/// Sizes that recorders write before they know the final ones.
const FULL: &[u8] = &[0xff; 4];
const HALF: &[u8] = &[0xff, 0xff, 0xff, 0x7f];

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |of: &(&'static str, &'static str, &'static [&'static str], usize), change, case, truth| {
        let (name, codec, flags, packet) = *of;
        rows.push(Row { name, codec, flags, change, case, truth, packet });
    };
    for of in ENCODED {
        add(of, Change::Nothing, "whole", Truth::Ffmpeg);
        let truth = match (of.0, of.1) {
            // ffmpeg reads the first wav and mp4 only; it loses FLAC frames at the joint, and keeps the run-in of a second
            // Ogg or WebM.
            ("wav" | "aiff" | "m4a" | "mp4" | "mov" | "flac" | "ogg" | "opus" | "oga" | "webm" | "mka" | "mkv", _) => {
                Truth::Parts(2)
            }
            // It loses the frame after a tag, unless that is an index.
            ("mp3", _) if of.2.contains(&"-write_xing") => Truth::Parts(2),
            // It stops at the second.
            ("wv", _) => continue,
            // Those that ffmpeg decodes for us end where its output ends.
            _ => Truth::Ffmpeg,
        };
        add(of, Change::Joined, "joined", truth);
        let truth = match of.0 {
            "wav" | "aiff" | "flac" | "m4a" | "mp4" | "mov" | "webm" | "mka" | "mkv" | "ogg" | "opus" | "oga" => {
                Truth::Refused("damaged")
            }
            "mp3" if of.2.contains(&"-write_xing") => Truth::Ffmpeg,
            "mp3" => Truth::Refused("damaged"),
            "aac" => Truth::Ffmpeg,
            _ => continue,
        };
        add(of, Change::Cut(60), "cut", truth);
    }
    let of = |name: &str, codec: &str| ENCODED.iter().find(|row| row.0 == name && row.1 == codec).unwrap();
    let patch = |mark, skip, bytes| Change::Patch { mark, skip, bytes };
    let wav = of("wav", "pcm_s16le");
    add(wav, patch(DATA, 4, &[0; 4]), "lying: data of 0 bytes", Truth::Ffmpeg);
    add(wav, patch(DATA, 4, FULL), "lying: data of 0xffffffff bytes", Truth::Ffmpeg);
    add(wav, patch(DATA, 4, HALF), "lying: data of 0x7fffffff bytes", Truth::Ffmpeg);
    add(wav, patch(RIFF, 4, &[0xf8, 0x0f, 0, 0]), "lying: riff of 4088 bytes", Truth::Ffmpeg);
    add(wav, patch(DATA, 4, &[0, 16, 0, 0]), "lying: data of a first block", Truth::Parts(1));
    let aiff = of("aiff", "pcm_s16be");
    add(aiff, patch(COMM, 10, &[0; 4]), "lying: 0 frames", Truth::Ffmpeg);
    add(aiff, patch(COMM, 10, &[0, 0, 1, 0]), "lying: 256 frames", Truth::Parts(1));
    add(aiff, patch(COMM, 10, &[0, 0xff, 0, 0]), "lying: 16711680 frames", Truth::Ffmpeg);
    add(aiff, patch(SSND, 4, &[0; 4]), "lying: sound of 0 bytes", Truth::Parts(1));
    let flac = of("flac", "flac");
    add(flac, patch(b"fLaC", 22, &[0; 4]), "lying: 0 samples", Truth::Ffmpeg);
    add(flac, patch(b"fLaC", 22, &[0, 0, 1, 0]), "lying: 256 samples", Truth::Parts(1));
    add(flac, patch(b"fLaC", 22, &[0, 0xff, 0, 0]), "lying: 16711680 samples", Truth::Ffmpeg);
    let mp3 = of("mp3", "libmp3lame");
    add(mp3, patch(INFO, 8, &[0; 4]), "lying: 0 frames", Truth::Ffmpeg);
    add(mp3, patch(INFO, 8, &[0, 0, 0, 10]), "lying: 10 frames", Truth::Parts(1));
    add(mp3, patch(INFO, 8, &[0, 1, 0, 0]), "lying: 65536 frames", Truth::Ffmpeg);
    add(mp3, patch(INFO, 4, &[0; 20]), "lying: index without counts", Truth::Ffmpeg);
    let m4a = of("m4a", "aac");
    add(m4a, patch(b"mdhd", 20, &[0, 0, 0, 99]), "lying: media of 99 ticks", Truth::Parts(1));
    add(m4a, patch(b"mvhd", 20, &[0, 0, 0, 99]), "lying: movie of 99 ticks", Truth::Ffmpeg);
    let webm = of("webm", "libopus");
    add(webm, patch(&[0x44, 0x89, 0x88], 3, &[0x40, 0x59, 0, 0, 0, 0, 0, 0]), "lying: 100 ms", Truth::Ffmpeg);
    let caf = of("caf", "pcm_s16be");
    add(caf, patch(DATA, 4, &[0xff; 8]), "lying: data of unknown length", Truth::Ffmpeg);
    let au = of("au", "pcm_s16be");
    add(au, patch(b".snd", 8, FULL), "lying: data of unknown length", Truth::Ffmpeg);
    add(au, patch(b".snd", 8, &[0, 0, 16, 0]), "lying: data of 4096 bytes", Truth::Ffmpeg);
    rows
}

/// Changes the bytes of an encoded file; false if the marker is missing.
fn change(bytes: &mut Vec<u8>, how: Change) -> bool {
    match how {
        Change::Nothing => {}
        Change::Joined => bytes.extend(bytes.clone()),
        Change::Cut(percent) => bytes.truncate(bytes.len() * percent / 100),
        Change::Patch { mark, skip, bytes: new } => {
            let Some(at) = bytes.windows(mark.len()).position(|window| window == mark) else { return false };
            bytes[at + skip..at + skip + new.len()].copy_from_slice(new);
        }
    }
    true
}

/// A file as RVC's ffmpeg call reads it, at `rate`.
fn by_ffmpeg(path: &Path, rate: u32) -> Vec<f32> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(path);
    let rate = rate.to_string();
    let output = ffmpeg
        .args(["-map", "0:a:0", "-ac", "1", "-ar", &rate, "-f", "f32le", "-c:a", "pcm_f32le", "pipe:1"])
        .output()
        .unwrap();
    output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Samples of each compared position.
const PLACE: usize = 4000;
/// Largest shift that is searched.
const FAR: i64 = 9000;
/// Share of the power in which two readings of the same position may differ. Decoders round differently; noise that a decoder
/// adds is new at each decoding.
const SAME: f64 = 0.01;

/// By how many samples `ours` is late against `theirs` around `at`; None if that position does not exist.
fn late(ours: &[f32], theirs: &[f32], at: usize) -> Option<i64> {
    let place = theirs.get(at..at + PLACE)?;
    let power: f64 = place.iter().map(|x| f64::from(*x).powi(2)).sum();
    let differs = |by: i64, step: usize| {
        let begin = usize::try_from(at as i64 + by).ok()?;
        let found = ours.get(begin..begin + PLACE)?;
        let sum = place.iter().zip(found).step_by(step).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        Some(sum * step as f64 / power)
    };
    let shifts = (0..=FAR).flat_map(|by| [by, -by]);
    shifts
        .filter(|by| differs(*by, 16).is_some_and(|d| d < 10.0 * SAME))
        .find(|by| differs(*by, 1).is_some_and(|d| d < SAME))
}

/// A row's entry in the table, and whether it is right.
fn compare(folder: &Path, row: &Row) -> Option<(String, bool)> {
    const AT: u32 = 44100;
    let whole = format!("whole.{}", row.name);
    if !encode(folder, AT, &whole, &[&["-ac", "1", "-c:a", row.codec], row.flags].concat()) {
        return None;
    }
    let mut bytes = std::fs::read(folder.join(&whole)).unwrap();
    let path = folder.join(format!("changed.{}", row.name));
    if !change(&mut bytes, row.change) {
        return Some((format!("{} has no such mark", row.name), false));
    }
    std::fs::write(&path, &bytes).unwrap();
    let name = format!("{} | {} {}", row.name, row.codec, row.flags.join(" "));
    let loaded = io::load_with_notices(&Task::new(1, |_| {}), &path);
    let rate = loaded.as_ref().map_or(AT, |loaded| loaded.audio.sample_rate);
    let ffmpeg = by_ffmpeg(&path, rate);
    let ffmpeg_seconds = ffmpeg.len() as f64 / f64::from(rate);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let is_right = matches!(row.truth, Truth::Refused(word) if error.message().contains(word));
            let why = error.message().rsplit_once(": ").map_or(error.message(), |(_, why)| why).to_owned();
            return Some((format!("{name} | {} | refused: {why} | {ffmpeg_seconds:.3} | |", row.case), is_right));
        }
    };
    let truth = match row.truth {
        Truth::Ffmpeg => ffmpeg,
        Truth::Parts(count) => io::load(&folder.join(&whole)).unwrap().samples.repeat(count),
        Truth::Refused(_) => {
            return Some((format!("{name} | {} | {:.3} | not refused", row.case, loaded.audio.seconds()), false));
        }
    };
    let ours = loaded.audio.samples;
    let places = [2000, truth.len() / 2 + 3000, truth.len().saturating_sub(PLACE + 3000)];
    let shifts: Vec<Option<i64>> = places.iter().map(|at| late(&ours, &truth, *at)).collect();
    let shown: Vec<String> = shifts.iter().map(|shift| shift.map_or("?".into(), |shift| shift.to_string())).collect();
    let codes: Vec<&str> = loaded.notices.iter().map(|notice| notice.code).collect();
    let how = if loaded.by_ffmpeg { "by ffmpeg " } else { "" };
    let line = format!(
        "{name} | {} | {:.3} | {ffmpeg_seconds:.3} | {} | {how}{}",
        row.case,
        ours.len() as f64 / f64::from(rate),
        shown.join(" "),
        codes.join(" ")
    );
    let is_long_enough = ours.len().abs_diff(truth.len()) <= row.packet.max(1);
    let is_in_place = shifts.iter().all(|shift| shift.is_some_and(|shift| shift.abs() <= LOSSY_SHIFT));
    Some((line, is_long_enough && is_in_place))
}

/// The table of all containers and codecs. With RVC_TEST_TABLE it is also written to that file.
#[test]
#[ignore = "slow: a hundred files made by ffmpeg"]
fn all_containers_are_as_long_as_their_packets_and_in_place() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut table, mut wrong, mut compared) = (String::new(), Vec::new(), 0);
    for row in rows() {
        let Some((line, is_right)) = compare(folder.path(), &row) else { continue };
        println!("{line}{}", if is_right { "" } else { "   <-- wrong" });
        writeln!(table, "| {line} |").unwrap();
        compared += 1;
        if !is_right {
            wrong.push(line);
        }
    }
    if let Some(path) = std::env::var_os("RVC_TEST_TABLE") {
        std::fs::write(path, table).unwrap();
    }
    assert!(compared > 80, "only {compared} files could be made");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// As [`encode`], four times as long.
fn encode_long(folder: &Path, rate: u32, name: &str, flags: &[&str]) -> bool {
    let source = folder.join(format!("long_{rate}.wav"));
    io::write_wav(&source, &speechlike(rate).repeat(4), rate).unwrap();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(&source).args(flags).arg(folder.join(name));
    let output = ffmpeg.output().unwrap();
    if !output.status.success() {
        println!("skipped: {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    output.status.success()
}

/// How similar two sounds are at their best fit: 1 if they are equal.
fn likeness(one: Audio, other: Audio) -> f64 {
    let by = shift(one.clone(), other.clone());
    let (one, other) = (one.at_rate(COMPARED).samples, other.at_rate(COMPARED).samples);
    let pairs: Vec<(f64, f64)> = (2000..28000i64)
        .filter_map(|i| Some((f64::from(*one.get(i as usize)?), f64::from(*other.get(usize::try_from(i + by).ok()?)?))))
        .collect();
    let sum = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    sum(|(x, y)| x * y) / (sum(|(x, _)| x * x) * sum(|(_, y)| y * y)).sqrt().max(1e-9)
}

/// Recorders and cameras use names of their own; broadcasts and films hold sound too.
const BY_FFMPEG: [(&str, &str, u32, &[&str]); 17] = [
    ("prompt.g722", "prompt.g722", 16000, &["-c:a", "g722"]),
    ("prompt.gsm", "PROMPT.GSM", 8000, &["-c:a", "libgsm"]),
    ("film.avi", "film.avi", 44100, &["-c:a", "libmp3lame"]),
    ("pcm.avi", "no_ending", 44100, &["-c:a", "pcm_s16le"]),
    ("film.mkv", "film.mkv", 48000, &["-c:a", "ac3"]),
    ("film.flv", "film.001", 44100, &["-c:a", "libmp3lame"]),
    ("aac.flv", "aac.flv", 44100, &["-c:a", "aac"]),
    ("mp2.ts", "mp2.ts", 44100, &["-c:a", "mp2"]),
    ("aac.ts", "aac.ts", 44100, &["-c:a", "aac"]),
    ("film.mpg", "film.mpg", 44100, &["-c:a", "mp2"]),
    ("memo.wma", "memo", 44100, &["-c:a", "wmav2"]),
    ("memo2.wma", "memo.wav", 44100, &["-c:a", "wmav2"]),
    ("memo.ac3", "memo.mp3", 44100, &["-c:a", "ac3"]),
    ("memo.au", "memo.rec", 44100, &["-c:a", "pcm_s16be"]),
    ("memo.tta", "memo.dat", 44100, &["-c:a", "tta"]),
    ("memo.w64", "memo.w64", 44100, &["-c:a", "pcm_s16le"]),
    ("memo.wv", "memo.take2", 44100, &["-c:a", "wavpack"]),
];

#[test]
fn a_file_that_ffmpeg_reads_is_a_recording_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    if !has_ffmpeg() {
        return;
    }
    let mut wrong = Vec::new();
    for (made, name, rate, flags) in BY_FFMPEG {
        if !encode(folder.path(), rate, made, flags) {
            continue;
        }
        let path = folder.path().join("put").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::rename(folder.path().join(made), &path).unwrap();
        if !io::is_audio(&path) {
            wrong.push(format!("{name} ({made}) is not accepted"));
        }
        match io::load_with_notices(&Task::new(1, |_| {}), &path) {
            Ok(loaded) => {
                let (seconds, rate_now) = (loaded.audio.seconds(), loaded.audio.sample_rate);
                let like = likeness(Audio { samples: speechlike(rate), sample_rate: rate }, loaded.audio);
                println!("{name} ({made}): {seconds:.3} s at {rate_now} Hz, likeness {like:.3}, {:?}", loaded.notices);
                // Film and broadcast keep the encoder's lead and padding, as ffmpeg does.
                if (seconds - SECONDS).abs() > 0.1 || like < 0.6 || !loaded.notices.is_empty() {
                    wrong.push(format!("{name} ({made}): {seconds:.3} s, likeness {like:.3}, {:?}", loaded.notices));
                }
            }
            Err(e) => wrong.push(format!("{name} ({made}): {e}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const FRAGILE: [(&str, u32, &[&str]); 7] = [
    ("memo.wma", 44100, &["-c:a", "wmav2"]),
    ("memo.ac3", 44100, &["-c:a", "ac3"]),
    ("mp2.ts", 44100, &["-c:a", "mp2"]),
    ("aac.flv", 44100, &["-c:a", "aac"]),
    ("memo.gsm", 8000, &["-c:a", "libgsm"]),
    ("memo.tta", 44100, &["-c:a", "tta"]),
    ("memo.loas", 44100, &["-c:a", "aac", "-f", "latm"]),
];

#[test]
fn an_incomplete_last_packet_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    if !has_ffmpeg() {
        return;
    }
    for (name, rate, flags) in FRAGILE {
        if !encode_long(folder.path(), rate, name, flags) {
            continue;
        }
        let path = folder.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        let whole = io::load(&path).unwrap().seconds();
        std::fs::write(&path, &bytes[..bytes.len() - 37]).unwrap();
        let cut = io::load_with_notices(&Task::new(1, |_| {}), &path).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {:.3} of {whole:.3} s, {:?}", cut.audio.seconds(), cut.notices);
        assert!(whole - cut.audio.seconds() < 0.2, "{name}: {} of {whole} s", cut.audio.seconds());
        // Half of it is missing: that is reported if the file states its original length.
        std::fs::write(&path, &bytes[..bytes.len() / 2 + 13]).unwrap();
        if let Ok(half) = io::load_with_notices(&Task::new(1, |_| {}), &path) {
            println!("{name}: {:.3} of {whole:.3} s, {:?}", half.audio.seconds(), half.notices);
            assert!((half.audio.seconds() - whole / 2.0).abs() < 1.1, "{name}: {}", half.audio.seconds());
            let said: Vec<&str> = half.notices.iter().map(|notice| notice.code).collect();
            assert!(!["aac.flv", "memo.tta"].contains(&name) || said.contains(&"length.less"), "{name}: {said:?}");
        }
    }
}

#[test]
fn damage_in_the_middle_does_not_count_as_the_end() {
    let folder = tempfile::tempdir().unwrap();
    if !has_ffmpeg() {
        return;
    }
    for (name, rate, flags) in FRAGILE {
        if !encode_long(folder.path(), rate, name, flags) {
            continue;
        }
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 400].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 73 + 41) as u8);
        std::fs::write(&path, bytes).unwrap();
        match io::load_with_notices(&Task::new(1, |_| {}), &path) {
            Err(e) => {
                println!("{name}: {e}");
                let said = format!("{} {}", e.message(), e.hint_text().unwrap_or_default());
                assert!(said.contains("is damaged after 3.") || said.contains("is damaged after 4."), "{name}: {said}");
            }
            // Bare samples have nothing to check, and some containers resynchronise.
            Ok(loaded) => {
                println!("{name}: {:.3} s, {:?}", loaded.audio.seconds(), loaded.notices);
                let whole = (loaded.audio.seconds() - 4.0 * SECONDS).abs() < 0.25;
                assert!(
                    whole || loaded.notices.iter().any(|notice| notice.code == "length.less"),
                    "{name}: {loaded:?}"
                );
            }
        }
    }
}
