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

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, rate: u32, flags: &[&'static str], lossy: bool| {
        cases.push(Case { name, rate, flags: flags.to_vec(), lossy });
    };
    let layouts: [(&str, &[&str]); 3] = [("mono", &["-ac", "1"]), ("stereo", &["-ac", "2"]), ("5.1", &["-ac", "6"])];
    for (layout, channels) in layouts {
        let all: [(&str, &[&str], bool); 14] = [
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
        let (seconds, samples) = if lossy { (LOSSY_SECONDS, LOSSY_SHIFT) } else { (0.0, 0) };
        if missing.abs() > seconds || moved.abs() > samples {
            wrong.push(format!("{name}: {missing:.4} s shorter, {moved} samples late"));
        }
    }
    assert!(tried > 40, "only {tried} files could be made");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
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
