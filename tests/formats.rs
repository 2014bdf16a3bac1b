//! Recordings in every format that the field uses: as long as what was put in, and not a sample late. Made with ffmpeg, where
//! it is installed.

use rvc_run::Kind;
use rvc_run::audio::{Audio, io};
use std::path::Path;
use std::process::Command;

const SECONDS: f64 = 2.0;
/// Rate at which two sounds are compared; what is below 3 kHz survives every format here.
const COMPARED: u32 = 16000;
/// Largest shift that is looked for: over AAC's 1024 samples and its 2112 with Apple's encoder.
const REACH: i64 = 1200;
/// Lossy encoders of ffmpeg write their lead to the sample; resampling in the encoder (Opus) may cost a part of one.
const LOSSY_SHIFT: i64 = 1;
/// Lossy files end with a whole packet where the container has no exact length.
const LOSSY_SECONDS: f64 = 0.03;
/// Largest difference of a sample from libopus's in floats. Measured: at most 6.0e-7, at peaks of 1.4; SILK's are equal.
/// ffmpeg's own decoder, which it takes unless told otherwise, resamples SILK in another way (11 dB off libopus).
const OPUS_DIFFERENCE: f32 = 1e-6;

fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: ffmpeg is not installed");
    }
    found
}

/// Tones that begin and end all the time, so that only one shift fits.
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

/// The shift of `late` against `early` in samples at [`COMPARED`], by which they fit best.
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

/// Lossy formats whose container tells the length to the sample.
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
fn every_format_keeps_its_duration_and_its_place() {
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

/// What ffmpeg makes of a file with libopus in floats, mixed to mono; none if it was built without.
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
    // Ours are cut off at full scale before they are mixed.
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
        // ... and that was our own work.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_loads", "--nocapture"])
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

/// Not a test of its own: what the former one starts.
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
fn what_nothing_can_read_is_named_with_both_reasons() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("text.wma", &b"this is a text, and no sound at all, however long it may go on\n"[..]),
        // A list of other files is no recording.
        ("list.wma", b"ffconcat version 1.0\nfile 'source.wav'\n"),
        ("list.mka", b"#EXTM3U\n#EXTINF:2,\nsource.wav\n#EXT-X-ENDLIST\n"),
    ] {
        io::write_wav(&folder.path().join("source.wav"), &speechlike(COMPARED), COMPARED).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = io::load(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::AudioDecode, "{name}: {error}");
        assert!(error.message().contains("is no sound file that can be read"), "{name}: {error}");
        assert!(error.hint_text().unwrap().contains("ffmpeg"), "{name}: {error}");
    }
}
