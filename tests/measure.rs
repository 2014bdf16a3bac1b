//! The measures of a recording, on synthetic signals with known values.

use rvc_run::audio::measure::{Measures, f0_histogram, measure, pcm_digest};
use rvc_run::audio::resample::resample;
use rvc_run::audio::{Audio, io};
use rvc_run::cache::Cache;
use rvc_run::prepare::survey::{Gates, Severity, Sound, Subject, Survey, survey};
use rvc_run::task::Task;
use rvc_run::{Error, Kind};
use serde_json::json;
use std::f64::consts::TAU;
use std::path::Path;

const RATE: u32 = 48000;

/// Uniform noise in -1..1; the same for the same seed.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn sine(hz: f64, amplitude: f64, seconds: f64, rate: u32) -> Vec<f32> {
    let count = (seconds * f64::from(rate)) as usize;
    (0..count).map(|n| (amplitude * (TAU * hz * n as f64 / f64::from(rate)).sin()) as f32).collect()
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn scaled(xs: &[f32], factor: f64) -> Vec<f32> {
    xs.iter().map(|x| (f64::from(*x) * factor) as f32).collect()
}

fn to_16_bits(xs: &[f32]) -> Vec<f32> {
    xs.iter().map(|x| (x * 32768.0).round().clamp(-32768.0, 32767.0) / 32768.0).collect()
}

/// A signal with the traits of speech that matter here: syllables of buzz with falling harmonics, each with a noisy
/// onset, and pauses in between. The level of the noise, 40 dB below the buzz, is that of fricatives' top octave.
fn speech(seconds: f64, rate: u32, up_to_hz: f64) -> Vec<f32> {
    let count = (seconds * f64::from(rate)) as usize;
    let hiss = noise(7, count);
    let mut harmonics = vec![0.0f64; count];
    for k in 1..=30 {
        let hz = 140.0 * f64::from(k);
        if hz > up_to_hz {
            break;
        }
        for (n, x) in harmonics.iter_mut().enumerate() {
            *x += (TAU * hz * n as f64 / f64::from(rate)).sin() / f64::from(k).powf(1.2);
        }
    }
    let envelope = |n: usize| {
        // A syllable of 0.3 s every 0.5 s: 0.08 s of hiss, then the buzz.
        let t = (n as f64 / f64::from(rate)).rem_euclid(0.5);
        let fade = |from: f64, to: f64| ((t - from) / 0.01).clamp(0.0, 1.0) * ((to - t) / 0.01).clamp(0.0, 1.0);
        (fade(0.0, 0.08), fade(0.07, 0.3))
    };
    let mix = |n: usize| {
        let (fricative, vowel) = envelope(n);
        (fricative * 0.03 * f64::from(hiss[n]) + vowel * 0.2 * harmonics[n]) as f32
    };
    (0..count).map(mix).collect()
}

fn of(samples: Vec<f32>) -> Measures {
    measure(&Audio { samples, sample_rate: RATE })
}

fn near(actual: Option<f64>, expected: f64, tolerance: f64, what: &str) {
    let actual = actual.unwrap_or_else(|| panic!("{what}: none"));
    println!("{what}: {actual:.3} (truth {expected:.3})");
    assert!((actual - expected).abs() <= tolerance, "{what}: {actual} instead of {expected} +- {tolerance}");
}

// --- Bandwidth ------------------------------------------------------------------------------------------------------

/// Two bands, and the transition of the resampler, which passes 0.95 of the lower Nyquist frequency.
const BANDWIDTH_HZ: f64 = 500.0;

#[test]
fn upsampled_noise_has_the_bandwidth_of_its_first_rate() {
    for from in [8000u32, 16000, 22050, 32000] {
        for to in [44100, 48000] {
            let samples = resample(&scaled(&noise(1, 3 * from as usize), 0.3), from, to);
            let found = measure(&Audio { samples, sample_rate: to }).bandwidth_hz;
            near(found, f64::from(from) / 2.0, BANDWIDTH_HZ, &format!("noise {from} -> {to}"));
        }
    }
}

#[test]
fn full_band_noise_reaches_nyquist() {
    for rate in [8000u32, 16000, 44100, 48000, 96000] {
        let samples = scaled(&noise(2, 3 * rate as usize), 0.3);
        let found = measure(&Audio { samples, sample_rate: rate }).bandwidth_hz;
        near(found, f64::from(rate) / 2.0, BANDWIDTH_HZ, &format!("noise at {rate}"));
    }
}

#[test]
fn upsampled_speech_is_found_in_spite_of_dither_clicks_and_hiss() {
    let upsampled = resample(&speech(10.0, 16000, 8000.0), 16000, RATE);
    let count = upsampled.len();
    let hiss = |db: f64| scaled(&noise(3, count), (3.0f64).sqrt() * 10f64.powf(db / 20.0));
    let mut clicks = vec![0.0f32; count];
    clicks.iter_mut().step_by(RATE as usize).for_each(|x| *x = 0.8);
    let mut whistle = sine(15734.0, 0.003, 10.0, RATE);
    whistle.truncate(count);
    let cases = [
        ("clean", upsampled.clone()),
        ("16 bits", to_16_bits(&upsampled)),
        ("16 bits with dither", to_16_bits(&sum(&upsampled, &scaled(&noise(4, count), 1.0 / 32768.0)))),
        ("a click a second", sum(&upsampled, &clicks)),
        ("hiss at -70 dB", sum(&upsampled, &hiss(-70.0))),
        ("hiss at -50 dB", sum(&upsampled, &hiss(-50.0))),
        ("a television's whistle", sum(&upsampled, &whistle)),
        ("an offset", upsampled.iter().map(|x| x + 0.1).collect()),
    ];
    for (what, samples) in cases {
        near(of(samples).bandwidth_hz, 8000.0, BANDWIDTH_HZ, what);
    }
}

#[test]
fn full_band_speech_is_not_taken_for_upsampled() {
    let clean = speech(10.0, RATE, 24000.0);
    let hiss = scaled(&noise(5, clean.len()), 0.0005);
    near(of(clean.clone()).bandwidth_hz, 24000.0, BANDWIDTH_HZ, "clean");
    near(of(to_16_bits(&clean)).bandwidth_hz, 24000.0, BANDWIDTH_HZ, "16 bits");
    near(of(sum(&clean, &hiss)).bandwidth_hz, 24000.0, BANDWIDTH_HZ, "with hiss");
}

#[test]
fn a_tone_is_as_wide_as_it_is_high() {
    // Two bands: the window smears it.
    near(of(sine(3000.0, 0.5, 2.0, RATE)).bandwidth_hz, 3000.0, 250.0, "3 kHz");
}

// --- Clipping -------------------------------------------------------------------------------------------------------

#[test]
fn the_clipped_share_of_a_sine_is_the_truth_at_any_level() {
    for (ceiling, gain) in [(0.9, 1.0), (0.5, 1.0), (0.9, 0.3), (0.7, 1.4), (0.99, 1.0)] {
        let samples: Vec<f32> = sine(200.0, 1.0, 1.0, RATE).iter().map(|x| x.clamp(-ceiling, ceiling)).collect();
        let truth = samples.iter().filter(|x| x.abs() >= ceiling).count() as f64 / f64::from(RATE);
        let found = of(to_16_bits(&scaled(&samples, gain)));
        // Samples within 0.1 % of the ceiling count too: at most one at each end of 400 tops.
        near(Some(found.clipped_share), truth, 800.0 / f64::from(RATE), "share");
        assert_eq!(found.clipped_runs, 400, "ceiling {ceiling}, gain {gain}");
    }
}

#[test]
fn unclipped_signals_are_not_reported_as_clipped() {
    let lone_peaks = {
        let mut samples = speech(5.0, RATE, 24000.0);
        samples[48000] = 1.0;
        samples[96000] = -1.0;
        samples
    };
    let cases = [
        ("50 Hz", sine(50.0, 1.0, 2.0, RATE)),
        ("50 Hz, 16 bits", to_16_bits(&sine(50.0, 1.0, 2.0, RATE))),
        ("997 Hz", sine(997.0, 1.0, 2.0, RATE)),
        ("1200 Hz, two samples at each top", sine(1200.0, 1.0, 2.0, RATE)),
        ("noise", noise(6, 96000)),
        ("speech", to_16_bits(&speech(5.0, RATE, 24000.0))),
        ("quiet speech, 16 bits", to_16_bits(&scaled(&speech(5.0, RATE, 24000.0), 0.1))),
        ("dither", to_16_bits(&scaled(&noise(8, 96000), 1.0 / 32768.0))),
        ("lone peaks at full scale", lone_peaks),
        ("over full scale", scaled(&speech(5.0, RATE, 24000.0), 4.0)),
        ("a constant", vec![0.5; 48000]),
    ];
    for (what, samples) in cases {
        let found = of(samples);
        assert_eq!((found.clipped_share, found.clipped_runs), (0.0, 0), "{what}");
    }
}

#[test]
fn a_few_clipped_syllables_are_found() {
    let clean = speech(5.0, RATE, 24000.0);
    let peak = clean.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
    let clipped: Vec<f32> = clean.iter().map(|x| x.clamp(-0.9 * peak, 0.9 * peak)).collect();
    let truth = clipped.iter().filter(|x| x.abs() >= 0.9 * peak).count() as f64 / clipped.len() as f64;
    let found = of(to_16_bits(&clipped));
    println!("{} runs, share {} of {truth}", found.clipped_runs, found.clipped_share);
    // Tops of one or two samples are not counted, and those within 0.1 % of the ceiling are.
    assert!(found.clipped_share > 0.5 * truth && found.clipped_share < 1.5 * truth);
}

// --- Levels ---------------------------------------------------------------------------------------------------------

#[test]
fn noise_and_snr_of_tones_over_noise_are_the_truth() {
    for (snr_db, level) in [(10.0, 0.3), (20.0, 0.3), (40.0, 0.3), (40.0, 0.03), (60.0, 0.5)] {
        let seconds = 10.0;
        let tone = sine(1000.0, level, seconds, RATE);
        // Half a second on, half a second off.
        let tone: Vec<f32> = tone.iter().enumerate().map(|(n, x)| if n / 24000 % 2 == 0 { *x } else { 0.0 }).collect();
        let tone_power = level * level / 2.0;
        let noise_power = tone_power / 10f64.powf(snr_db / 10.0);
        // Uniform noise of amplitude a has the power a^2 / 3.
        let samples = sum(&tone, &scaled(&noise(9, tone.len()), (3.0 * noise_power).sqrt()));
        let found = of(samples);
        // The quietest 10 % of the frames are a fifth of the pauses; the power of 1200 samples varies by 0.16 dB.
        near(found.noise_db, 10.0 * noise_power.log10(), 0.5, "noise");
        near(found.snr_db, snr_db, 0.6, "SNR");
        near(found.speech_db, 10.0 * (tone_power + noise_power).log10(), 0.1, "speech");
    }
}

#[test]
fn muted_pauses_give_no_noise_level() {
    let tone = sine(1000.0, 0.3, 10.0, RATE);
    let hiss = scaled(&noise(10, tone.len()), 0.01);
    let gated = |n: usize, x: f32| if (n / 24000).is_multiple_of(2) { x } else { 0.0 };
    let samples = sum(&tone, &hiss).iter().enumerate().map(|(n, x)| gated(n, *x)).collect();
    let found = of(samples);
    assert_eq!((found.noise_db, found.snr_db), (None, None));
    // A full-scale sine has -3.01 dB.
    near(found.speech_db, 20.0 * 0.3f64.log10() - 3.01, 0.1, "speech");
    near(Some(found.silence_share), 0.5, 0.005, "silence");
}

#[test]
fn without_pauses_the_snr_is_a_lower_bound() {
    let found = of(sine(1000.0, 0.3, 5.0, RATE));
    assert_eq!(found.snr_db, Some(0.0));
}

#[test]
fn a_full_scale_sine_has_the_loudness_of_the_standard() {
    // ITU-R BS.1770: 997 Hz at full scale in one channel is -3.01 LUFS, and 20 dB less 20 dB lower; meters may be 0.1 off.
    near(of(sine(997.0, 1.0, 5.0, RATE)).loudness_lufs, -3.01, 0.05, "full scale");
    near(of(sine(997.0, 0.1, 5.0, RATE)).loudness_lufs, -23.01, 0.05, "-20 dB");
    near(of(sine(997.0, 0.1, 5.0, RATE)).peak_dbfs, -20.0, 0.01, "peak");
    let at_16k = measure(&Audio { samples: sine(997.0, 1.0, 5.0, 16000), sample_rate: 16000 });
    near(at_16k.loudness_lufs, -3.01, 0.1, "at 16 kHz");
}

#[test]
fn an_offset_is_measured_and_left_out_of_the_levels() {
    let clean = speech(5.0, RATE, 24000.0);
    let shifted = of(clean.iter().map(|x| x + 0.1).collect());
    let clean = of(clean);
    near(Some(shifted.dc_offset - clean.dc_offset), 0.1, 1e-6, "offset");
    near(shifted.silence_share.into(), clean.silence_share, 1e-9, "silence");
    near(shifted.speech_db, clean.speech_db.unwrap(), 1e-3, "speech");
}

// --- Edges ----------------------------------------------------------------------------------------------------------

#[test]
fn silence_has_no_levels() {
    for samples in [vec![0.0; 48000], vec![0.25; 48000]] {
        let found = of(samples);
        assert_eq!((found.bandwidth_hz, found.noise_db, found.snr_db, found.loudness_lufs), (None, None, None, None));
        assert!(found.is_silent());
    }
    assert_eq!(of(vec![0.0; 48000]).peak_dbfs, None);
    let dither = of(to_16_bits(&scaled(&noise(11, 96000), 1.0 / 32768.0)));
    assert_eq!(dither.bandwidth_hz, None);
    assert!(dither.is_silent());
}

#[test]
fn the_shortest_recordings_do_no_harm() {
    for count in [0usize, 1, 2, 63, 64, 1199, 1200, 2047, 2048] {
        for rate in [1000u32, 8000, 48000, 768_000] {
            let samples = scaled(&noise(12, count), 0.5);
            let found = measure(&Audio { samples, sample_rate: rate });
            assert_eq!(found.samples, count as u64);
            assert!(found.seconds.is_finite() && found.silence_share.is_finite() && found.dc_offset.is_finite());
            let text = serde_json::to_string(&found).unwrap();
            assert_eq!(serde_json::from_str::<Measures>(&text).unwrap(), found);
        }
    }
    assert!(of(Vec::new()).is_silent());
    assert!(measure(&Audio { samples: vec![1.0], sample_rate: 0 }).seconds.is_finite());
}

#[test]
fn samples_that_are_not_finite_are_counted_and_spoil_nothing() {
    let clean = speech(5.0, RATE, 24000.0);
    let mut broken = clean.clone();
    broken[1000] = f32::NAN;
    broken[2000] = f32::INFINITY;
    broken[3000] = f32::NEG_INFINITY;
    let (clean, broken) = (of(clean), of(broken));
    assert_eq!((clean.not_finite, broken.not_finite), (0, 3));
    near(broken.speech_db, clean.speech_db.unwrap(), 0.01, "speech");
    near(broken.loudness_lufs, clean.loudness_lufs.unwrap(), 0.01, "loudness");
    near(broken.bandwidth_hz, clean.bandwidth_hz.unwrap(), BANDWIDTH_HZ, "bandwidth");
    assert_eq!(of(vec![f32::NAN; 48000]).loudness_lufs, None);
}

#[test]
fn the_digest_is_that_of_rate_and_samples() {
    let audio = |samples: Vec<f32>, sample_rate| Audio { samples, sample_rate };
    let digest = pcm_digest(&audio(vec![0.5, -0.5], 48000));
    assert_eq!(digest, pcm_digest(&audio(vec![0.5, -0.5], 48000)));
    for other in [audio(vec![0.5, -0.5], 44100), audio(vec![0.5, -0.4], 48000), audio(vec![0.5], 48000)] {
        assert_ne!(digest, pcm_digest(&other));
    }
    assert_eq!(digest, of(vec![0.5, -0.5]).pcm_sha256);
}

// --- f0 -------------------------------------------------------------------------------------------------------------

#[test]
fn f0_is_counted_by_semitone_and_octave() {
    let frames = [0.0, 220.0, 221.0, f32::NAN, 440.0, 261.63, -1.0, 440.0];
    let found = f0_histogram(frames);
    assert_eq!((found.frames, found.voiced), (8, 5));
    // A3 is 57, C4 60, A4 69.
    assert_eq!(found.first_note, 57);
    assert_eq!(found.semitones, [2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!((found.first_octave, found.octaves), (3, vec![2, 3]));
    assert_eq!(found.median_hz.map(f64::round), Some(262.0));
    assert_eq!((found.low_hz, found.high_hz), (Some(220.0), Some(440.0)));
}

#[test]
fn no_f0_frames_give_an_empty_histogram() {
    let found = f0_histogram([0.0f32, 0.0]);
    assert_eq!((found.frames, found.voiced, found.median_hz), (2, 0, None));
    assert!(found.semitones.is_empty() && found.octaves.is_empty());
    let extreme = f0_histogram([1e-30f32, 1e30]);
    assert_eq!(extreme.semitones.len(), 128);
    assert_eq!(extreme.octaves.iter().sum::<u64>(), 2);
}

// --- The report on a data set ---------------------------------------------------------------------------------------

fn file(folder: &Path, name: &str, sid: i64, samples: &[f32], sample_rate: u32) -> Subject {
    let path = folder.join(name);
    io::write_wav(&path, samples, sample_rate).unwrap();
    Subject { name: name.to_owned(), sid, sound: Sound::File(path) }
}

/// A good recording, a copy of it, an upsampled and soft one, a silent one, one that is not sound, and a missing one.
fn subjects(folder: &Path) -> Vec<Subject> {
    let good = scaled(&speech(6.0, RATE, 24000.0), 1.5);
    let dull = scaled(&resample(&speech(4.0, 16000, 8000.0), 16000, RATE), 0.3);
    std::fs::write(folder.join("text.wav"), "no sound").unwrap();
    let at = |name: &str| Subject { name: name.to_owned(), sid: 0, sound: Sound::File(folder.join(name)) };
    vec![
        file(folder, "good.wav", 0, &good, RATE),
        Subject { name: "copy".to_owned(), sid: 0, sound: Sound::Decoded(Audio { samples: good, sample_rate: RATE }) },
        file(folder, "dull.wav", 1, &dull, RATE),
        file(folder, "silent.wav", 0, &vec![0.0; 48000], RATE),
        at("text.wav"),
        at("missing.wav"),
        at("."),
    ]
}

fn report(folder: &Path) -> Survey {
    let cache = Cache::open(folder.join("cache")).unwrap();
    survey(&Task::silent(), &cache, &subjects(folder)).unwrap()
}

#[test]
fn the_report_lists_every_recording_and_adds_them_up() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(folder.path());
    let names: Vec<&str> = report.recordings.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["good.wav", "copy", "dull.wav"]);
    let unusable: Vec<(&str, Option<f64>)> = report.unusable.iter().map(|u| (u.name.as_str(), u.seconds)).collect();
    assert_eq!(unusable, [("silent.wav", Some(1.0)), ("text.wav", None), ("missing.wav", None), (".", None)]);
    assert_eq!(report.duplicates, [["good.wav", "copy"]]);
    let t = &report.totals;
    assert_eq!((t.recordings, t.unusable, t.seconds, t.duplicate_seconds), (3, 4, 16.0, 6.0));
    assert_eq!(t.sample_rates.iter().collect::<Vec<_>>(), [(&48000, &16.0)]);
    let bandwidth = t.bandwidth_hz.unwrap();
    near(Some(bandwidth.lowest), 8000.0, BANDWIDTH_HZ, "lowest bandwidth");
    near(Some(bandwidth.median), 24000.0, BANDWIDTH_HZ, "median bandwidth");
    let loudness = t.loudness_lufs.unwrap();
    // 1.5 times and 0.3 times the same speech; the missing treble of one has little weight.
    near(Some(loudness.highest - loudness.lowest), 13.98, 0.5, "loudness spread");
    assert_eq!(
        report.speakers.iter().map(|s| (s.sid, s.recordings, s.seconds)).collect::<Vec<_>>(),
        [(0, 2, 12.0), (1, 1, 4.0)]
    );
}

#[test]
fn the_report_survives_json_and_has_a_view_for_terminals() {
    let folder = tempfile::tempdir().unwrap();
    let gates = Gates { refuse_below_seconds: Some(300.0), ..Gates::default() };
    let report = report(folder.path()).with_f0([0.0, 220.0, 230.0]).with_clips(5, 14.5, &[]).judge(&gates);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Survey>(&text).unwrap(), report);
    let rows: Vec<[String; 11]> = report.rows().collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[0][0].as_str(), rows[0][1].as_str(), rows[0][3].as_str()), ("good.wav", "6.0", "48000"));
    let lines = report.lines();
    println!("{:?}\n{rows:#?}\n{lines:#?}\n{:#?}", Survey::COLUMNS, report.findings);
    for part in ["3 recordings, 16.0 s", "5 clips, 14.5 s", "f0: 220 to 230 Hz", "the same recording: good.wav, copy"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}");
    }
    // Their reasons were given when the clips were cut.
    assert!(lines.contains(&"not usable: silent.wav, text.wav, missing.wav, .".to_owned()));
}

#[test]
fn a_second_survey_measures_nothing_and_finds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let first = report(folder.path());
    let entries = || std::fs::read_dir(folder.path().join("cache/survey")).unwrap().count();
    let made = entries();
    // good, dull, silent; files that cannot be decoded are not cached.
    assert_eq!(made, 3);
    // Under other names too.
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    std::fs::rename(folder.path().join("good.wav"), folder.path().join("renamed.wav")).unwrap();
    let sound = Sound::File(folder.path().join("renamed.wav"));
    let second = survey(&Task::silent(), &cache, &[Subject { name: "x".into(), sid: 3, sound }]).unwrap();
    assert_eq!(second.recordings[0].measures, first.recordings[0].measures);
    assert_eq!(entries(), made);
}

#[test]
fn limits_find_only_values_beyond_them() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(folder.path());
    assert!(report.clone().judge(&Gates::default()).findings.is_empty());
    let kept = Gates {
        refuse_below_seconds: Some(16.0),
        warn_below_clips: Some(100.0),
        warn_below_bandwidth_hz: Some(7000.0),
        warn_above_duplicate_seconds: Some(6.0),
        warn_above_unusable: Some(4.0),
        warn_above_loudness_spread_lu: Some(20.0),
        warn_above_clipped_share: Some(0.0),
        warn_above_silence_share: Some(1.0),
        warn_below_snr_db: Some(0.0),
        ..Gates::default()
    };
    // Clips are not judged before they exist.
    assert_eq!(report.clone().judge(&kept).findings, []);
    let broken = Gates {
        refuse_below_seconds: Some(300.0),
        warn_below_seconds: Some(600.0),
        refuse_below_clips: Some(10.0),
        warn_below_clips: Some(100.0),
        warn_below_bandwidth_hz: Some(12000.0),
        warn_above_duplicate_seconds: Some(5.0),
        warn_above_unusable: Some(3.0),
        warn_above_loudness_spread_lu: Some(6.0),
        warn_above_silence_share: Some(0.1),
        warn_below_snr_db: Some(120.0),
        ..Gates::default()
    };
    let judged = report.with_clips(50, 14.0, &[]).judge(&broken);
    let found: Vec<(&str, Severity)> = judged.findings.iter().map(|f| (f.gate.as_str(), f.severity)).collect();
    let warn = |gate| (gate, Severity::Warn);
    assert_eq!(
        found,
        [
            ("refuse_below_seconds", Severity::Refuse),
            warn("warn_below_clips"),
            warn("warn_below_snr_db"),
            warn("warn_below_bandwidth_hz"),
            warn("warn_above_silence_share"),
            warn("warn_above_loudness_spread_lu"),
            warn("warn_above_duplicate_seconds"),
            warn("warn_above_unusable"),
        ]
    );
    let by_name = |gate: &str| judged.findings.iter().find(|finding| finding.gate == gate).unwrap();
    assert_eq!((by_name("refuse_below_seconds").value, by_name("refuse_below_seconds").allowed), (14.0, 300.0));
    assert_eq!(by_name("warn_below_bandwidth_hz").recordings, ["dull.wav"]);
    assert_eq!(by_name("warn_above_duplicate_seconds").recordings, ["copy"]);
    let error = judged.check().unwrap_err();
    assert_eq!(error.kind(), Kind::DataEmpty);
    assert!(error.message().contains("14 seconds") && error.message().contains("300"), "{}", error.message());
    let warned = Gates { refuse_below_seconds: None, ..broken };
    assert!(judged.judge(&warned).check().is_ok());
}

#[test]
fn limits_that_do_not_exist_or_are_out_of_range_are_refused() {
    let gates = |value: serde_json::Value| Gates::from_json(value.as_object().unwrap());
    let given = gates(json!({"refuse_below_seconds": 300, "warn_below_clips": 100.0})).unwrap();
    assert_eq!((given.refuse_below_seconds, given.warn_below_clips), (Some(300.0), Some(100.0)));
    let kind = |result: Result<Gates, Error>| result.unwrap_err().kind();
    let slip = gates(json!({"refuse_below_second": 300})).unwrap_err();
    assert_eq!(slip.kind(), Kind::ConfigUnknownKey);
    assert!(slip.hint_text().unwrap().contains("refuse_below_seconds"));
    for value in [json!(-1), json!("300"), json!(1e9), json!([1])] {
        assert_eq!(kind(gates(json!({"warn_below_seconds": value}))), Kind::ConfigValue);
    }
    assert_eq!(kind(gates(json!({"warn_above_silence_share": 30}))), Kind::ConfigValue);
    // Every limit can be set: the table of ranges and the struct have the same names.
    let serde_json::Value::Object(all) = serde_json::to_value(Gates::default()).unwrap() else { panic!() };
    for name in all.keys() {
        assert!(gates(json!({name: 1.0})).is_ok(), "{name}");
    }
}

#[test]
fn a_cancelled_survey_ends() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    let task = Task::silent();
    task.cancel_flag().store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(survey(&task, &cache, &subjects(folder.path())).unwrap_err().kind(), Kind::Cancelled);
}
