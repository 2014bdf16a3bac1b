//! Sound: loading, resampling, filtering, slicing; golden numbers of the cases `preprocess` and `audio_load`.

use crate::support::{Golden, golden_path, rounds};
use rvc_run::Kind;
use rvc_run::audio::slice::{self, Reason};
use rvc_run::audio::{Audio, filter, io, resample};
use rvc_run::config::Config;
use rvc_run::config::choices::Numbering;
use rvc_run::task::Task;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn floats(tensor: &tch::Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(tch::Kind::Double).flatten(0, -1)).unwrap()
}

fn peak(samples: &[f32]) -> f64 {
    samples.iter().fold(0.0, |peak, x| peak.max(f64::from(x.abs())))
}

fn rms(samples: &[f32]) -> f64 {
    (samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

fn largest_difference(actual: impl IntoIterator<Item = f64>, expected: impl IntoIterator<Item = f64>) -> f64 {
    actual.into_iter().zip(expected).fold(0.0, |worst, (a, e)| worst.max((a - e).abs()))
}

fn wide(samples: &[f32]) -> impl Iterator<Item = f64> {
    samples.iter().map(|x| f64::from(*x))
}

// --- Golden: slicing ------------------------------------------------------------------------------------------------

/// The manifest's tolerance for samples at the voice's rate.
const GT_ATOL: f64 = 2e-6;
/// The manifest's relative tolerances: peaks at the voice's rate, peaks and RMS at 16 kHz (where resamplers differ).
const PEAK_RTOL: f64 = 1e-5;
const PEAK_16K_RTOL: f64 = 2e-2;
const RMS_RTOL: f64 = 2e-3;
/// The manifest for resampled sound: resamplers differ, so compare apart from both ends, and not too closely.
const AWAY_FROM_ENDS: usize = 200;
const RESAMPLED_ATOL: f64 = 3e-3;

fn speech() -> Audio {
    io::load(&golden_path("preprocess_speech.flac")).unwrap()
}

#[test]
fn the_slicer_finds_the_references_slices() {
    let golden = Golden::open("preprocess");
    let filtered = filter::highpass(&speech().samples, 40000);
    let lengths: Vec<f64> = slice::slices(&filtered, 40000).iter().map(|slice| slice.len() as f64).collect();
    assert_eq!(lengths, numbers(&golden.entry["slicer_piece_lengths"]));
}

#[test]
fn the_high_pass_gives_the_references_samples() {
    let filtered = filter::highpass(&speech().samples, 40000);
    let golden = Golden::open("preprocess");
    let expected = floats(&golden.tensor("filtered_head"));
    let from = golden.numbers_behind("/tensors_note", "filtered_head: samples ")[0] as usize;
    let worst = largest_difference(filtered[from..][..expected.len()].iter().copied(), expected.iter().copied());
    println!("filtered_head: {worst:.2e}");
    // Both are float64; the poles' nearness to 1 amplifies rounding.
    assert!(worst < 1e-10, "{worst:e}");
}

#[test]
fn the_high_pass_has_the_references_impulse_response() {
    // Spec A.3, at 40 kHz.
    let expected =
        [0.987_874_390_358_859, -0.024_103_503_733_806_875, -0.023_809_186_997_111_403, -0.023_517_093_776_028_855];
    let worst = largest_difference(filter::highpass(&[1.0, 0.0, 0.0, 0.0], 40000), expected);
    assert!(worst < 1e-16, "{worst:e}");
}

#[test]
fn the_computed_high_pass_agrees_with_the_tabled_one() {
    // A few units in the last place of coefficients up to 10.
    const ATOL: f64 = 1e-14;
    for rate in [16000, 24000, 32000, 40000, 48000] {
        let (tabled, computed) = (filter::butterworth(rate), filter::design(rate));
        let worst = largest_difference(tabled.0, computed.0).max(largest_difference(tabled.1, computed.1));
        assert!(worst < ATOL, "{rate}: {worst:e}");
    }
}

/// Compares the clips cut with the reference's numbering with all numbers in the manifest for the files that remain on disk.
fn check_outputs(seconds: f64, key: &str) {
    let golden = Golden::open("preprocess");
    let outputs = golden.entry["outputs"][key].as_array().unwrap();
    let config = config(|c| (c.slice_seconds, c.numbering) = (seconds, Numbering::Rvc));
    let cut = slice::cut(&speech(), &config).unwrap();
    let names: Vec<String> = cut.clips.iter().map(|clip| format!("0_{}.wav", clip.index)).collect();
    let expected: Vec<&str> = outputs.iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert_eq!(names, expected);
    for (clip, output) in cut.clips.iter().zip(outputs) {
        check_gt(&clip.gt, &output["gt"]);
        let (samples, expected) = (&clip.wav16, &output["16k"]);
        assert_eq!(samples.len() as u64, expected["length"].as_u64().unwrap());
        assert!((peak(samples) / expected["peak"].as_f64().unwrap() - 1.0).abs() < PEAK_16K_RTOL);
        assert!((rms(samples) / expected["rms"].as_f64().unwrap() - 1.0).abs() < RMS_RTOL);
    }
}

fn check_gt(samples: &[f32], expected: &Value) {
    assert_eq!(samples.len() as u64, expected["length"].as_u64().unwrap());
    assert!((peak(samples) / expected["peak"].as_f64().unwrap() - 1.0).abs() < PEAK_RTOL);
    assert!((rms(samples) / expected["rms"].as_f64().unwrap() - 1.0).abs() < PEAK_RTOL);
    let (middle, end) = (samples.len() / 2, samples.len());
    for (name, range) in [("first4", 0..4), ("middle4", middle..middle + 4), ("last4", end - 4..end)] {
        let worst = largest_difference(wide(&samples[range]), numbers(&expected[name]));
        assert!(worst < GT_ATOL, "{name}: {worst:e}");
    }
}

#[test]
fn clips_of_3_7_s_are_the_references() {
    check_outputs(3.7, "3.7");
}

#[test]
fn clips_of_3_s_are_the_references() {
    check_outputs(3.0, "3.0");
}

#[test]
fn fixed_numbering_keeps_every_clip_that_the_reference_wrote() {
    let golden = Golden::open("preprocess");
    for (seconds, key) in [(3.7, "3.7"), (3.0, "3.0")] {
        let writes = golden.entry["writes_in_order"]["runs"][key].as_array().unwrap();
        let cut = slice::cut(&speech(), &config(|c| c.slice_seconds = seconds)).unwrap();
        let indices: Vec<usize> = cut.clips.iter().map(|clip| clip.index).collect();
        assert_eq!(indices, (0..writes.len()).collect::<Vec<_>>());
        for (clip, write) in cut.clips.iter().zip(writes) {
            assert_eq!(clip.gt.len() as u64, write[1].as_u64().unwrap());
            assert!((peak(&clip.gt) / write[2].as_f64().unwrap() - 1.0).abs() < PEAK_RTOL);
        }
    }
}

#[test]
fn clips_lost_to_the_references_numbering_are_counted() {
    let cut = slice::cut(&speech(), &config(|c| c.numbering = Numbering::Rvc)).unwrap();
    let lost: Vec<_> = cut.dropped.iter().map(|d| (d.index, d.reason, (d.seconds * 40000.0).round())).collect();
    // A file that the reference wrote twice had another clip before.
    let writes = Golden::open("preprocess").entry["writes_in_order"]["runs"]["3.7"].as_array().unwrap().clone();
    let is_lost = |i: usize| writes[i + 1..].iter().any(|later| later[0] == writes[i][0]);
    let number = |name: &Value| name.as_str()?.strip_prefix("0_")?.strip_suffix(".wav")?.parse::<usize>().ok();
    let expected: Vec<_> = (0..writes.len())
        .filter(|&i| is_lost(i))
        .map(|i| (number(&writes[i][0]).unwrap(), Reason::Overwritten, writes[i][1].as_f64().unwrap()))
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(lost, expected);
}

#[test]
fn the_shortest_clip_equals_the_references_sample_by_sample() {
    let golden = Golden::open("preprocess");
    let cut = slice::cut(&speech(), &config(|c| c.numbering = Numbering::Rvc)).unwrap();
    let clip = cut.clips.iter().min_by_key(|clip| clip.gt.len()).unwrap();
    let worst = largest_difference(wide(&clip.gt), floats(&golden.tensor("sample_gt")));
    println!("sample_gt: {worst:.2e}");
    assert!(worst < GT_ATOL, "{worst:e}");
    let expected = floats(&golden.tensor("sample_16k"));
    assert_eq!(clip.wav16.len(), expected.len());
    let inside = AWAY_FROM_ENDS..expected.len() - AWAY_FROM_ENDS;
    let worst = largest_difference(wide(&clip.wav16[inside.clone()]), expected[inside].iter().copied());
    println!("sample_16k: {worst:.2e}");
    assert!(worst < RESAMPLED_ATOL, "{worst:e}");
}

#[test]
fn an_over_loud_recording_yields_no_clip() {
    let samples = floats(&Golden::open("preprocess").tensor("loud")).iter().map(|x| *x as f32).collect();
    let cut = slice::cut(&Audio { samples, sample_rate: 40000 }, &Config::default()).unwrap();
    assert_eq!(cut.clips.len(), 0);
    assert!(!cut.dropped.is_empty() && cut.dropped.iter().all(|d| d.reason == Reason::TooLoud), "{:?}", cut.dropped);
}

// --- Slicing: properties ----------------------------------------------------------------------------------------------

/// A tone of `seconds` at 40 kHz.
fn tone(seconds: f64, amplitude: f64) -> Vec<f32> {
    let n = (seconds * 40000.0) as usize;
    (0..n).map(|i| (amplitude * (i as f64 * 440.0 * std::f64::consts::TAU / 40000.0).sin()) as f32).collect()
}

fn at_40k(samples: Vec<f32>) -> Audio {
    Audio { samples, sample_rate: 40000 }
}

#[test]
fn a_clip_with_a_nan_is_dropped_and_its_neighbours_are_kept() {
    let mut samples = tone(20.0, 0.5);
    let sound = slice::cut(&at_40k(samples.clone()), &Config::default()).unwrap();
    samples[200_000] = f32::NAN;
    samples[200_001] = f32::INFINITY;
    let cut = slice::cut(&at_40k(samples), &Config::default()).unwrap();
    let reasons: Vec<Reason> = cut.dropped.iter().map(|d| d.reason).collect();
    assert_eq!(reasons, [Reason::NotFinite]);
    assert_eq!(cut.clips.len() + 1, sound.clips.len());
    assert!(cut.clips.iter().all(|clip| clip.gt.iter().chain(&clip.wav16).all(|x| x.is_finite())));
}

#[test]
fn silence_yields_no_clip() {
    let quiet = tone(3.0, 3e-5);
    for samples in [vec![0.0; 120_000], quiet, vec![0.5; 120_000][..0].to_vec()] {
        let n = samples.len();
        let cut = slice::cut(&at_40k(samples), &Config::default()).unwrap();
        assert_eq!(cut.clips.len(), 0, "{n}");
        assert_eq!(cut.dropped.len(), 1, "{n}");
    }
}

#[test]
fn a_rejected_clip_keeps_its_number() {
    let mut samples = tone(12.0, 0.5);
    // In the second clip only (136000 to 284000, of which the first has up to 148000, the third from 272000).
    samples[200_000] = 1e30;
    samples[200_001..].fill(0.0);
    samples.truncate(220_000);
    let cut = slice::cut(&at_40k(samples), &Config::default()).unwrap();
    let kept: Vec<usize> = cut.clips.iter().map(|clip| clip.index).collect();
    assert_eq!((kept, cut.dropped[0].index, cut.dropped[0].reason), (vec![0], 1, Reason::TooLoud));
}

#[test]
fn sound_at_another_rate_is_refused() {
    let error = slice::cut(&Audio { samples: vec![0.1; 9000], sample_rate: 44100 }, &Config::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::ConfigMismatch);
}

// --- Resampling --------------------------------------------------------------------------------------------------------

#[test]
fn loading_gives_the_references_samples_at_other_rates() {
    let golden = Golden::open("audio_load");
    let stereo: Vec<i16> = floats(&golden.tensor("stereo")).iter().map(|x| *x as i16).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stereo.wav");
    std::fs::write(&path, pcm_wav(1, 2, 44100, 16, &bytes_16(&stereo))).unwrap();
    let audio = io::load(&path).unwrap();
    for (name, rate, length) in [("load_16k", 16000, "/lengths/16k"), ("load_40k", 40000, "/lengths/40k")] {
        let resampled = audio.clone().at_rate(rate);
        assert_eq!(resampled.samples.len(), golden.number(length) as usize);
        check_resampled(name, &resampled.samples, &floats(&golden.tensor(name)));
    }
}

#[test]
fn resampling_gives_the_references_samples() {
    let golden = Golden::open("audio_load");
    let samples: Vec<f64> = floats(&golden.tensor("mono_40k")).iter().map(|x| x / 32768.0).collect();
    check_resampled(
        "resampled_16k",
        &resample::resample(&samples, 40000, 16000),
        &floats(&golden.tensor("resampled_16k")),
    );
}

fn check_resampled(name: &str, actual: &[f32], expected: &[f64]) {
    let end = expected.len().min(actual.len());
    let end = if expected.len() < actual.len() { end } else { end - AWAY_FROM_ENDS };
    let inside = AWAY_FROM_ENDS..end;
    let worst = largest_difference(wide(&actual[inside.clone()]), expected[inside].iter().copied());
    println!("{name}: {worst:.2e}");
    assert!(worst < RESAMPLED_ATOL, "{name}: {worst:e}");
}

/// Rates of recordings, and rates that they are resampled to.
const RATES: [u32; 12] = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192_000];
const WANTED_RATES: [u32; 4] = [16000, 32000, 40000, 48000];

/// By how many samples `actual` lags behind `expected`, both sines of 1 kHz.
fn delay(actual: &[f64], expected: &[f64], rate: u32) -> f64 {
    let phase = |samples: &[f64]| {
        let wave = |i: usize| (i as f64 / f64::from(rate) * 1000.0 * std::f64::consts::TAU).sin_cos();
        let sum = |(a, b): (f64, f64), (i, x): (usize, &f64)| (a + x * wave(i).0, b + x * wave(i).1);
        let (sin, cos) = samples.iter().enumerate().fold((0.0, 0.0), sum);
        cos.atan2(sin)
    };
    (phase(expected) - phase(actual)) / (1000.0 * std::f64::consts::TAU) * f64::from(rate)
}

#[test]
fn resampling_keeps_duration_and_position_at_every_ratio() {
    // A sine at 1 kHz must be exact at any ratio: half a sample of delay would be an error of 3e-2 or more.
    const ATOL: f64 = 2e-6;
    /// In samples.
    const DELAY_ATOL: f64 = 1e-5;
    // The filter's reach beyond the ends, in samples of the lower rate.
    const ENDS: usize = 220;
    let sine = |i: usize, rate: u32| (i as f64 / f64::from(rate) * 1000.0 * std::f64::consts::TAU + 0.3).sin();
    for from in RATES {
        for to in WANTED_RATES {
            let n = (from / 4 + 7) as usize;
            let samples: Vec<f64> = (0..n).map(|i| sine(i, from)).collect();
            let resampled = resample::resample(&samples, from, to);
            assert_eq!(resampled.len(), (n * to as usize).div_ceil(from as usize), "{from} to {to}");
            let ends = ENDS * (to as usize).div_ceil(to.min(from) as usize);
            let inside = ends..resampled.len() - ends;
            let expected: Vec<f64> = inside.clone().map(|i| sine(i, to)).collect();
            let actual: Vec<f64> = wide(&resampled[inside]).collect();
            let worst = largest_difference(actual.iter().copied(), expected.iter().copied());
            let delay = delay(&actual, &expected, to);
            println!("{from} to {to}: {worst:.1e}, delay {delay:.7} samples");
            assert!(worst < ATOL, "{from} to {to}: {worst:e}");
            assert!(delay.abs() < DELAY_ATOL, "{from} to {to}: {delay}");
        }
    }
}

#[test]
fn the_first_and_the_last_sample_stay_in_place() {
    // A click in the first sample has its peak there at any ratio; a click in the last sample, at its place.
    for from in RATES {
        for to in WANTED_RATES.into_iter().filter(|to| *to != from) {
            let mut clicks = vec![0.0f32; from as usize / 4];
            let last = clicks.len() - 1;
            (clicks[0], clicks[last]) = (1.0, 1.0);
            let resampled = resample::resample(&clicks, from, to);
            let loudest = |range: std::ops::Range<usize>| {
                range.max_by(|a, b| resampled[*a].abs().total_cmp(&resampled[*b].abs())).unwrap()
            };
            let middle = resampled.len() / 2;
            assert_eq!(loudest(0..middle), 0, "{from} to {to}");
            let expected = (last as f64 * f64::from(to) / f64::from(from)).min(resampled.len() as f64 - 1.0);
            let found = loudest(middle..resampled.len()) as f64;
            assert!((found - expected).abs() <= 0.51, "{from} to {to}: {found}, not {expected}");
        }
    }
}

#[test]
fn resampling_removes_what_would_alias() {
    // 16 kHz cannot hold 10 kHz; 120 dB down is 1e-6.
    let samples: Vec<f64> =
        (0..40000).map(|i| (f64::from(i) / 40000.0 * 10000.0 * std::f64::consts::TAU).sin()).collect();
    let resampled = resample::resample(&samples, 40000, 16000);
    let inside = &resampled[200..resampled.len() - 200];
    assert!(peak(inside) < 2e-6, "{:e}", peak(inside));
}

#[test]
fn a_nan_spoils_only_its_neighbourhood_when_resampled() {
    let mut samples = vec![0.25f32; 40000];
    samples[20000] = f32::NAN;
    let resampled = resample::resample(&samples, 40000, 16000);
    let spoiled: Vec<usize> = (0..resampled.len()).filter(|i| resampled[*i].is_nan()).collect();
    // The filter has 220 samples.
    assert_eq!(spoiled, (8000 - 110..=8000 + 110).collect::<Vec<_>>());
    let whole = resample::resample(&[vec![f64::INFINITY; 1000], vec![1e300; 1000]].concat(), 44101, 40000);
    assert!(whole.iter().all(|x| x.is_nan()));
}

#[test]
fn ratios_too_odd_for_a_table_are_as_exact() {
    let sine = |i: usize, rate: f64| (i as f64 / rate * 1000.0 * std::f64::consts::TAU).sin();
    for (from, to) in [(44101, 39999), (11127, 40000), (383_999, 32000)] {
        let samples: Vec<f64> = (0..from as usize / 5).map(|i| sine(i, f64::from(from))).collect();
        let resampled = resample::resample(&samples, from, to);
        let inside = 500..resampled.len() - 500;
        let worst = largest_difference(wide(&resampled[inside.clone()]), inside.map(|i| sine(i, f64::from(to))));
        assert!(worst < 2e-6, "{from} to {to}: {worst:e}");
    }
}

// --- Formats -----------------------------------------------------------------------------------------------------------

const GLIDE_RATE: u32 = 22050;
const GLIDE_LENGTH: usize = 11000;

/// The sound in tests/golden/audio: 200 to 2000 Hz, amplitude 0.4, 10 ms fades, 16 bits.
fn glide(n: usize, rate: u32) -> Vec<f64> {
    let duration = n as f64 / f64::from(rate);
    let sample = |i: usize| {
        let t = i as f64 / f64::from(rate);
        let phase = 200.0 * t + 1800.0 / (2.0 * duration) * t * t;
        let fade = (t / 0.01).min((duration - t) / 0.01).min(1.0);
        (0.4 * (std::f64::consts::TAU * phase).sin() * fade * 32767.0).round() / 32768.0
    };
    (0..n).map(sample).collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/audio").join(name)
}

/// Where comparison begins: AAC's first block is coarse.
const FORMAT_START: usize = 2500;
/// Coding noise and LAME's factor of 0.95 at 64 kbit/s; half a sample of delay would be 4e-2.
const CODED_RMS: f64 = 2.5e-2;

/// Mean square of the difference when `actual` is read `lag` samples later, without the ends.
fn mismatch(actual: &[f32], expected: &[f64], lag: i64) -> f64 {
    let inside = FORMAT_START..expected.len().min(actual.len()) - 200;
    let n = inside.len() as f64;
    inside.map(|i| (f64::from(actual[(i as i64 + lag) as usize]) - expected[i]).powi(2)).sum::<f64>() / n
}

fn check_format(name: &str, expected: &[f64], rate: u32, atol_rms: f64) {
    let audio = io::load(&fixture(name)).unwrap();
    assert_eq!(audio.sample_rate, rate, "{name}");
    assert_eq!(audio.samples.len(), expected.len(), "{name}: exact duration");
    let error = mismatch(&audio.samples, expected, 0).sqrt();
    println!("{name}: rms error {error:.2e}");
    assert!(error < atol_rms, "{name}: {error:e}");
    let best = (-100..=100)
        .min_by(|a, b| mismatch(&audio.samples, expected, *a).total_cmp(&mismatch(&audio.samples, expected, *b)));
    assert_eq!(best, Some(0), "{name}: the sound is shifted");
}

#[test]
fn lossless_formats_give_the_exact_samples() {
    for name in ["glide.flac", "glide.aiff", "glide_alac.m4a"] {
        check_format(name, &glide(GLIDE_LENGTH, GLIDE_RATE), GLIDE_RATE, 1e-9);
    }
}

#[test]
fn lossy_formats_keep_duration_and_position() {
    for name in ["glide.mp3", "glide.m4a", "glide.ogg"] {
        check_format(name, &glide(GLIDE_LENGTH, GLIDE_RATE), GLIDE_RATE, CODED_RMS);
    }
}

#[test]
fn stereo_m4a_is_mixed_down_and_trimmed() {
    // Left and half as much right: (1 + 0.5) * 0.7071.
    let expected: Vec<f64> = glide(22001, 44100).iter().map(|x| x * 1.5 * std::f64::consts::FRAC_1_SQRT_2).collect();
    check_format("glide44s.m4a", &expected, 44100, CODED_RMS);
}

#[test]
fn raw_aac_is_read_including_its_undeclared_run_in() {
    let audio = io::load(&fixture("glide.aac")).unwrap();
    let expected = glide(GLIDE_LENGTH, GLIDE_RATE);
    assert!(mismatch(&audio.samples[1024..], &expected, 0).sqrt() < CODED_RMS);
}

#[test]
fn opus_is_decoded_at_its_own_rate_and_exact_length() {
    let audio = io::load(&fixture("glide.opus")).unwrap();
    let seconds = GLIDE_LENGTH as f64 / f64::from(GLIDE_RATE);
    assert_eq!((audio.sample_rate, audio.samples.len()), (48000, (seconds * 48000.0).round() as usize));
    assert_eq!(io::load(&fixture("glide.webm")).unwrap(), audio, "the same packets in WebM");
}

/// Name, samples, and the mean square of a fixture's sound in billionths. If one of them changes, raise DECODE_VERSION in
/// prepare/slices.rs, because users' caches hold results of the old decoder. Made by this program.
const DECODED: [(&str, usize, u64); 10] = [
    ("glide.aac", 12_288, 71_212_673),
    ("glide.aiff", 11_000, 77_859_483),
    ("glide.flac", 11_000, 77_859_483),
    ("glide.m4a", 11_000, 79_551_015),
    ("glide.mp3", 11_000, 70_267_448),
    ("glide.ogg", 11_000, 78_404_304),
    ("glide.opus", 23_946, 78_052_154),
    ("glide.webm", 23_946, 78_052_154),
    ("glide44s.m4a", 22_001, 86_158_338),
    ("glide_alac.m4a", 11_000, 77_859_483),
];

/// Decoders round differently on different processors: by some 1e-7 of a sample, here of 7e7 in all.
const DECODED_ROUNDING: u64 = 20;

#[test]
fn decoded_sound_changes_only_with_decode_version() {
    let now = DECODED.map(|(name, _, _)| {
        let samples = io::load(&fixture(name)).unwrap().samples;
        let power = samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len() as f64;
        (name, samples.len(), (power * 1e9).round() as u64)
    });
    let same =
        now.iter().zip(&DECODED).all(|(now, kept)| now.1 == kept.1 && now.2.abs_diff(kept.2) <= DECODED_ROUNDING);
    assert!(same, "\n{now:#?}\nwas\n{DECODED:#?}");
}

/// A wav with a plain 16-byte format.
fn pcm_wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let block = u32::from(channels) * u32::from(bits) / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0");
    bytes.extend([tag.to_le_bytes(), channels.to_le_bytes()].concat());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate.wrapping_mul(block)).to_le_bytes());
    bytes.extend([(block as u16).to_le_bytes(), bits.to_le_bytes()].concat());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn bytes_16(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The result of loading these bytes.
fn load_bytes(name: &str, bytes: &[u8]) -> rvc_run::Result<Audio> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    io::load(&path)
}

#[test]
fn every_wav_sample_format_has_the_same_full_scale() {
    let half_16 = bytes_16(&[16384, -16384, 0, 1]);
    let half_24: Vec<u8> = [0, 0, 0x40, 0, 0, 0xc0, 0, 0, 0, 0, 1, 0].to_vec();
    let half_32: Vec<u8> = [1i32 << 30, -(1 << 30), 0, 1 << 16].iter().flat_map(|x| x.to_le_bytes()).collect();
    let half_float: Vec<u8> = [0.5f32, -0.5, 0.0, 1.0 / 32768.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let half_double: Vec<u8> = [0.5f64, -0.5, 0.0, 1.0 / 32768.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let expected = [0.5, -0.5, 0.0, 1.0 / 32768.0];
    for (tag, bits, data) in
        [(1, 16, half_16), (1, 24, half_24), (1, 32, half_32), (3, 32, half_float), (3, 64, half_double)]
    {
        let audio = load_bytes("a.wav", &pcm_wav(tag, 1, 8000, bits, &data)).unwrap();
        assert_eq!(audio.samples, expected, "{bits} bits, tag {tag}");
    }
    let audio = load_bytes("a.wav", &pcm_wav(1, 1, 8000, 8, &[192, 64, 128, 128])).unwrap();
    assert_eq!(audio.samples, [0.5, -0.5, 0.0, 0.0]);
}

#[test]
fn floats_beyond_full_scale_are_not_clipped() {
    let data: Vec<u8> = [3.5f32, -7.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(load_bytes("a.wav", &pcm_wav(3, 1, 8000, 32, &data)).unwrap().samples, [3.5, -7.0]);
}

#[test]
fn any_channel_count_is_mixed_down() {
    const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;
    // The sum of the gains, as ffmpeg mixes to mono; channels without a layout are averaged.
    let sums = [
        (1, 1.0),
        (2, 2.0 * HALF_POWER),
        (3, 1.0 + 2.0 * HALF_POWER),
        (4, 1.0),
        (6, 2.0 + 2.0 * HALF_POWER),
        (16, 1.0),
    ];
    for (channels, sum) in sums {
        let data = bytes_16(&vec![8192; channels as usize * 50]);
        let audio = load_bytes("a.wav", &pcm_wav(1, channels, 48000, 16, &data)).unwrap();
        assert_eq!(audio.samples.len(), 50, "{channels} channels");
        assert!((audio.samples[7] - 0.25 * sum).abs() < 1e-6, "{channels} channels: {}", audio.samples[7]);
    }
}

#[test]
fn recordings_are_known_by_extension() {
    for (name, expected) in
        [("a.wav", true), ("b.FLAC", true), ("c.opus", true), ("notes.txt", false), ("._a.wav", false)]
    {
        assert_eq!(io::is_audio(Path::new("some").join(name).as_path()), expected, "{name}");
    }
}

// --- Our own wavs --------------------------------------------------------------------------------------------------------

#[test]
fn written_wavs_have_the_references_58_byte_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/0_0.wav");
    io::write_wav(&path, &[0.5, -2.0, 1e-9], 40000).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    #[rustfmt::skip]
    let header: &[u8] = &[
        b'R', b'I', b'F', b'F', 62, 0, 0, 0, b'W', b'A', b'V', b'E', b'f', b'm', b't', b' ', 18, 0, 0, 0, 3, 0, 1, 0,
        0x40, 0x9c, 0, 0, 0, 0x71, 2, 0, 4, 0, 32, 0, 0, 0, b'f', b'a', b'c', b't', 4, 0, 0, 0, 3, 0, 0, 0,
        b'd', b'a', b't', b'a', 12, 0, 0, 0,
    ];
    assert_eq!(bytes.len(), 58 + 12);
    assert_eq!(&bytes[..58], header);
    let expected = Audio { samples: vec![0.5, -2.0, 1e-9], sample_rate: 40000 };
    assert_eq!(io::read_wav(&path).unwrap(), expected);
    assert_eq!(io::load(&path).unwrap(), expected);
}

#[test]
fn damaged_training_wavs_are_refused_and_intact_ones_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0_0.wav");
    io::write_wav(&path, &[0.25; 100], 40000).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(3) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = io::read_wav(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::DataDamaged, "{length} bytes");
        assert!(error.message().contains("0_0.wav"));
    }
    for (why, bytes) in [
        ("two channels", pcm_wav(1, 2, 40000, 16, &[0; 100])),
        ("24 bits", pcm_wav(1, 1, 40000, 24, &[0; 99])),
        ("16-bit float", pcm_wav(3, 1, 40000, 16, &[0; 100])),
        ("32-bit integers", pcm_wav(1, 1, 40000, 32, &[0; 100])),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(io::read_wav(&path).unwrap_err().kind(), Kind::DataDamaged, "{why}");
    }
}

/// RVC and Applio ship their silence as 16-bit wavs.
#[test]
fn a_16_bit_training_wav_is_scaled_to_full_scale() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mute40k.wav");
    std::fs::write(&path, pcm_wav(1, 1, 40000, 16, &[0, 0, 0, 0x40, 0, 0x80, 0xff, 0x7f])).unwrap();
    let expected = Audio { samples: vec![0.0, 0.5, -1.0, 32767.0 / 32768.0], sample_rate: 40000 };
    assert_eq!(io::read_wav(&path).unwrap(), expected);
}

// --- Damaged and hostile files ------------------------------------------------------------------------------------------------

#[track_caller]
fn refused(name: &str, bytes: &[u8], kind: Kind, word: &str) {
    let error = load_bytes(name, bytes).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(word) && error.message().contains(name), "{error}");
    assert!(error.file().is_some() && !error.message().contains('\n'), "{error}");
}

#[test]
fn a_file_that_is_not_sound_is_refused_with_its_path() {
    refused("empty.wav", b"", Kind::AudioEmpty, "empty");
    refused("text.wav", b"this is a shopping list, not a sound\n", Kind::AudioDecode, "not a readable sound file");
    refused("zeros.mp3", &[0; 5000], Kind::AudioDecode, "not a readable sound file");
    let error = io::load(Path::new("no/such/file.wav")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let folder = tempfile::tempdir().unwrap();
    let error = io::load(folder.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::AudioDecode);
    assert!(error.message().contains("a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_device_is_refused_without_being_opened() {
    let error = io::load(Path::new("/dev/zero")).unwrap_err();
    assert!(error.message().contains("not a regular file"), "{error}");
}

#[test]
fn bad_wav_headers_are_refused() {
    let data = bytes_16(&[100; 400]);
    refused("a.wav", &pcm_wav(1, 0, 44100, 16, &data), Kind::AudioDecode, "");
    refused("a.wav", &pcm_wav(1, 1, 0, 16, &data), Kind::AudioDecode, "");
    refused("a.wav", &pcm_wav(1, 1, 3, 16, &data), Kind::AudioDecode, "sample rate is 3 Hz");
    refused("a.wav", &pcm_wav(1, 1, u32::MAX, 16, &data), Kind::AudioDecode, "sample rate");
    refused("a.wav", &pcm_wav(1, 1, 44100, 0, &data), Kind::AudioDecode, "");
    refused("a.wav", &pcm_wav(77, 1, 44100, 16, &data), Kind::AudioDecode, "");
    refused("a.wav", &pcm_wav(1, 1, 44100, 16, &[]), Kind::AudioEmpty, "no sound");
}

#[test]
fn a_file_cut_off_is_refused_with_both_lengths() {
    let wav = pcm_wav(1, 1, 8000, 16, &bytes_16(&vec![1000; 16000]));
    refused("a.wav", &wav[..wav.len() / 2], Kind::AudioDecode, "");
    for name in ["glide.flac", "glide.aiff", "glide.mp3", "glide.m4a", "glide_alac.m4a", "glide.ogg"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        refused(name, &bytes[..bytes.len() / 2], Kind::AudioDecode, "");
    }
}

#[test]
fn a_stream_without_a_known_length_is_read_to_its_end() {
    let mut wav = pcm_wav(1, 1, 8000, 16, &bytes_16(&vec![1000; 16000]));
    for length in [u32::MAX, 0x7fff_f000] {
        wav[4..8].copy_from_slice(&length.saturating_add(36).to_le_bytes());
        wav[40..44].copy_from_slice(&length.to_le_bytes());
        assert_eq!(load_bytes("a.wav", &wav).unwrap().samples.len(), 16000);
    }
}

#[test]
#[ignore = "slow: hundreds of files"]
fn random_damage_never_panics() {
    damage(15);
}

/// RVC_TEST_FUZZ is the number of rounds a format.
#[test]
#[ignore = "slow: more of the same"]
fn more_random_damage_never_panics() {
    damage(rounds("RVC_TEST_FUZZ", 120));
}

fn damage(rounds: usize) {
    // A linear congruential generator: the same damage in every run.
    let mut state = 12345u64;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let folder = tempfile::tempdir().unwrap();
    let names = ["flac", "aiff", "mp3", "m4a", "ogg", "aac", "wav"].map(|extension| format!("glide.{extension}"));
    for name in names.iter().map(String::as_str).chain(["glide_alac.m4a"]) {
        let wav = pcm_wav(3, 2, GLIDE_RATE, 32, &vec![0x3c; 40000]);
        let whole = std::fs::read(fixture(name)).unwrap_or(wav);
        for round in 0..rounds {
            let mut bytes = whole.clone();
            // Headers matter most, and in MP4 they are at the end.
            let near = [whole.len(), 200.min(whole.len())][round % 2];
            for _ in 0..=random(8) {
                let at = random(near);
                let at = if round % 4 == 3 { whole.len() - 1 - at } else { at };
                bytes[at] = [0, 0xff, 0x80, random(256) as u8][random(4)];
            }
            bytes.truncate(whole.len() - [0, random(whole.len())][usize::from(random(5) == 0)]);
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let _ = io::read_wav(&path);
            if let Ok(audio) = io::load(&path) {
                assert!(!audio.samples.is_empty() && audio.samples.len() < 100 * GLIDE_LENGTH, "{name}");
            }
        }
    }
}

#[test]
fn an_inverted_or_dead_channel_is_named() {
    type Change = fn(i16) -> i16;
    let tone = |i: usize| (9000.0 * (i as f64 * 0.05).sin()) as i16;
    let files: [(&str, Change, f32); 3] = [
        ("channels.inverted", |x| -x, 2f32.sqrt()),
        ("channels.inverted", |x| (f32::from(x) * -0.9) as i16, 2f32.sqrt()),
        ("channels.dead", |_| 0, 1.0),
    ];
    for (code, right, gain) in files {
        let frames: Vec<i16> = (0..48000).flat_map(|i| [tone(i), right(tone(i))]).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        std::fs::write(&path, pcm_wav(1, 2, 48000, 16, &bytes_16(&frames))).unwrap();
        let loaded = io::load_with_notices(&Task::new(1, |_| {}), &path).unwrap();
        let notices: Vec<(&str, f64)> = loaded.notices.iter().map(|notice| (notice.code, notice.seconds)).collect();
        assert_eq!(notices, [(code, 1.0)]);
        let expected: Vec<f32> = (0..48000).map(|i| f32::from(tone(i)) / 32768.0 * gain).collect();
        let difference = loaded.audio.samples.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(loaded.audio.samples.len() == 48000 && difference < 1e-6, "{code}: {difference}");
    }
}
