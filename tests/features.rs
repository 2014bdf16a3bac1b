//! f0 against the numbers of the Python reference, the quantiser, the built-in content encoder, NumPy files.

use crate::support::{self, Golden};
use rvc_run::Kind;
use rvc_run::assets::Store;
use rvc_run::config::Config;
use rvc_run::config::choices::{EncoderName, F0Method, Version};
use rvc_run::features::{Setup, content, f0, npy};
use rvc_run::files::Workspace;
use rvc_run::task::Task;
use std::path::Path;
use tch::Tensor;

/// Frames within this many of an edge of a voiced run are not compared, as the manifest says.
const INSIDE: usize = 5;
/// `yin` is another method than those of the golden data: the manifest's tolerance, and the share of all frames whose
/// voicing may differ, which is a frame or two at the edges of two voiced runs.
const YIN_TOLERANCE: f64 = 0.02;
const YIN_VOICING: f64 = 0.03;
/// `harvest` and `dio` do WORLD's arithmetic in another order (2e-14 was measured).
const WORLD_TOLERANCE: f64 = 1e-9;
/// `pm` is the method that made its golden numbers: every voicing decision, and each value to where Brent's search
/// for the maximum stops (1e-8 of a period; 6e-8 was measured).
const PM_TOLERANCE: f64 = 1e-6;

fn f64s(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.flatten(0, -1).to_kind(tch::Kind::Double)).expect("a tensor of floats")
}

fn i64s(tensor: &Tensor) -> Vec<i64> {
    Vec::<i64>::try_from(tensor.flatten(0, -1).to_kind(tch::Kind::Int64)).expect("a tensor of whole numbers")
}

/// The tested methods need no assets.
fn setup() -> Setup {
    Setup::new(&Store::new(&Workspace::new("no assets here")), &Config::default()).expect("the CPU is there")
}

fn mel() -> rvc_run::Result<content::Encoder> {
    content::Encoder::open(&EncoderName::Mel.into(), Version::V2, &setup())
}

fn glide() -> (Golden, Vec<f32>) {
    let case = Golden::open("f0_methods");
    let audio = Vec::<f32>::try_from(case.wave("audio")).expect("a wave");
    (case, audio)
}

/// A tone of `hz` with four harmonics, `n` samples.
fn tone(hz: f64, n: usize) -> Vec<f32> {
    let sample = |i: usize| {
        let t = i as f64 / 16000.0;
        let sum: f64 = (1..=4).map(|h| (std::f64::consts::TAU * hz * f64::from(h) * t).sin() / f64::from(h)).sum();
        (0.2 * sum) as f32
    };
    (0..n).map(sample).collect()
}

/// A noise signal, the same on every run.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| 0.3 * next()).collect()
}

/// Largest relative deviation where both have been voiced for INSIDE frames and stay so, and the share of all frames
/// whose voicing differs.
fn compare(actual: &[f64], expected: &[f64]) -> (f64, f64) {
    assert_eq!(actual.len(), expected.len(), "frame count");
    let voiced = |k: usize| actual[k] > 0.0 && expected[k] > 0.0;
    let inside = |k: usize| k >= INSIDE && k + INSIDE < actual.len() && (k - INSIDE..=k + INSIDE).all(voiced);
    let worst =
        (0..actual.len()).filter(|&k| inside(k)).map(|k| (actual[k] / expected[k] - 1.0).abs()).fold(0.0, f64::max);
    let differing = (0..actual.len()).filter(|&k| (actual[k] > 0.0) != (expected[k] > 0.0)).count();
    assert!((0..actual.len()).any(inside), "nothing to compare");
    (worst, differing as f64 / actual.len() as f64)
}

fn check_glide(method: f0::Method, tensor: &str) {
    let (case, audio) = glide();
    let f0 = f0::compute(method, &audio).expect("a sound clip");
    let (worst, differing) = compare(&f0, &f64s(&case.tensor(tensor)));
    println!("{}: worst {worst:.1e}, voicing differs in {:.1} %", method.name(), 100.0 * differing);
    assert!(worst < WORLD_TOLERANCE, "{worst}");
    assert!(differing == 0.0, "{differing}");
}

#[test]
fn coarse_pitch_equals_the_reference() {
    let case = Golden::open("f0_coarse");
    assert_eq!(f0::coarse(&f64s(&case.tensor("f0"))), i64s(&case.tensor("coarse")));
}

#[test]
fn coarse_pitch_is_always_in_1_to_255() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -700.0, -1e300, 1e300, 0.0];
    assert_eq!(f0::coarse(&odd), [1, 255, 1, 1, 1, 1, 255, 1]);
}

#[test]
fn pm_of_the_glide_equals_praat() {
    let (case, audio) = glide();
    let f0 = f0::compute(f0::Method::Pm, &audio).expect("a sound clip");
    support::assert_close("pm", &(Tensor::from_slice(&f0)), &case.tensor("train_pm"), 340.0 * PM_TOLERANCE);
}

#[test]
fn pm_of_the_padded_glide_equals_praat() {
    let (case, audio) = glide();
    // The conversion pipeline's input: one second reflected at both ends; its result is three semitones up.
    let n = audio.len();
    let at = |i: i64| {
        audio[if i < 0 {
            -i
        } else if i >= n as i64 {
            2 * (n as i64 - 1) - i
        } else {
            i
        } as usize]
    };
    let padded: Vec<f32> = (-16000..n as i64 + 16000).map(at).collect();
    let up: Vec<f64> =
        f0::compute(f0::Method::Pm, &padded).expect("a sound clip").iter().map(|hz| hz * 2f64.powf(0.25)).collect();
    let expected = case.tensor("infer_pm_up3.f0");
    support::assert_close("pm", &Tensor::from_slice(&up), &expected, 500.0 * PM_TOLERANCE);
    assert_eq!(f0::coarse(&up), i64s(&case.tensor("infer_pm_up3.coarse")));
}

#[test]
fn yin_of_the_glide_follows_praat() {
    let (case, audio) = glide();
    let f0 = f0::compute(f0::Method::Yin, &audio).expect("a sound clip");
    assert_eq!(f0.len(), audio.len() / 160 + 1);
    // Praat leaves out the last frame.
    let expected = f64s(&case.tensor("train_pm"));
    let (worst, differing) = compare(&f0[..expected.len()], &expected);
    println!("yin: worst {worst:.1e}, voicing differs in {:.1} %", 100.0 * differing);
    assert!(worst < YIN_TOLERANCE, "{worst}");
    assert!(differing <= YIN_VOICING, "{differing}");
}

#[test]
fn harvest_of_the_glide_follows_the_reference() {
    check_glide(f0::Method::Harvest, "train_harvest");
}

#[test]
fn dio_of_the_glide_follows_the_reference() {
    check_glide(f0::Method::Dio, "train_dio");
}

#[test]
fn every_method_finds_the_pitch_of_a_steady_tone() {
    for method in f0::Method::ALL {
        for hz in [60.0, 110.0, 233.0, 440.0, 900.0] {
            let f0 = f0::compute(method, &tone(hz, 16000)).expect("a sound clip");
            for found in &f0[20..80] {
                assert!((found / hz - 1.0).abs() < 0.005, "{} found {found} Hz, not {hz}", method.name());
            }
        }
    }
}

#[test]
fn every_method_accepts_clips_of_any_length() {
    for method in f0::Method::ALL {
        for n in [0, 1, 2, 9, 10, 17, 159, 160, 161, 320, 399, 400, 959, 960, 961, 1599, 1600, 2407, 59200] {
            for clip in [vec![0.0; n], noise(n, 7), tone(200.0, n), vec![1.0; n]] {
                let f0 = f0::compute(method, &clip).expect("a sound clip");
                assert_eq!(f0.len(), method.frames(n), "{} of {n} samples", method.name());
                assert!(f0.iter().all(|hz| hz.is_finite() && *hz >= 0.0), "{} of {n} samples", method.name());
            }
        }
    }
}

#[test]
fn silence_is_unvoiced() {
    for method in f0::Method::ALL {
        let f0 = f0::compute(method, &vec![0.0; 16000]).expect("a sound clip");
        assert!(f0.iter().all(|hz| *hz == 0.0), "{}", method.name());
    }
}

#[test]
fn samples_of_any_size_give_finite_f0() {
    for method in f0::Method::ALL {
        for scale in [1e-45f32, 1e-30, 1e30, 1e38] {
            let clip: Vec<f32> = tone(150.0, 8000).iter().map(|x| x * scale).collect();
            let f0 = f0::compute(method, &clip).expect("a sound clip");
            assert!(f0.iter().all(|hz| hz.is_finite()), "{} at {scale}", method.name());
        }
    }
}

#[test]
fn f0_does_not_change_from_run_to_run() {
    let clip: Vec<f32> = tone(150.0, 16000).iter().zip(noise(16000, 3)).map(|(a, b)| a + 0.3 * b).collect();
    for method in f0::Method::ALL {
        let first = f0::compute(method, &clip).expect("a sound clip");
        let again = Task::silent().map("f0", &[0; 6], |_| f0::compute(method, &clip)).expect("sound clips");
        assert!(again.iter().all(|f0| *f0 == first), "{}", method.name());
    }
}

#[test]
fn a_sample_that_is_not_finite_is_named() {
    let mut clip = tone(150.0, 1000);
    clip[640] = f32::NAN;
    for error in
        [f0::compute(f0::Method::Pm, &clip).unwrap_err(), mel().expect("it is built in").encode(&clip).unwrap_err()]
    {
        assert_eq!(error.kind(), Kind::DataDamaged);
        assert_eq!(error.message(), "sample 640 of 1000 is NaN");
    }
}

#[test]
fn extraction_keeps_the_order_and_passes_errors_on() {
    let clips = [100.0, f64::NAN, 300.0];
    let load = |hz: &f64| Ok(tone(*hz, 8000));
    let middle = |f0: Vec<f64>| f0[25].round();
    let found = f0::Extractor::open(F0Method::Pm, &setup())
        .and_then(|pm| pm.extract(&Task::silent(), "f0", &clips, |_| 16000, load, |_, f0| Ok(f0.map(middle).ok())))
        .expect("errors are passed to `done`, not returned");
    assert_eq!(found, [Some(100.0), None, Some(300.0)]);
}

#[test]
fn content_has_huberts_frames() {
    let encoder = mel().expect("it is built in");
    // Spec C.1.
    for (n, frames) in [(400, 1), (719, 1), (720, 2), (16000, 49), (16320, 50), (32000, 99), (59200, 184)] {
        let content = encoder.encode(&tone(150.0, n)).expect("a sound clip");
        assert_eq!(content.len(), frames * 768, "{n} samples");
        assert!(content.iter().all(|x| x.is_finite()), "{n} samples");
    }
    assert_eq!(encoder.encode(&[0.0; 399]).unwrap_err().kind(), Kind::AudioEmpty);
    assert_eq!(encoder.encode(&[]).unwrap_err().kind(), Kind::AudioEmpty);
}

#[test]
fn content_does_not_change_with_the_level() {
    let encoder = mel().expect("it is built in");
    let (_, loud) = glide();
    let quiet: Vec<f32> = loud.iter().map(|x| x / 16.0).collect();
    let (loud, quiet) = (encoder.encode(&loud).expect("a clip"), encoder.encode(&quiet).expect("a clip"));
    // They differ only in the floor that keeps digital silence finite.
    let worst = loud.iter().zip(&quiet).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.05, "{worst}");
}

#[test]
fn content_of_the_glide_spreads_like_huberts() {
    let encoder = mel().expect("it is built in");
    let content = encoder.encode(&glide().1).expect("a sound clip");
    let spread = (content.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / content.len() as f64).sqrt();
    println!("rms of mel content: {spread:.2}");
    // HuBERT's features have a standard deviation of about 1; a glide over silence moves more than speech.
    assert!((0.5..2.0).contains(&spread), "{spread}");
    let largest = content.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    assert!(largest < 20.0, "{largest}");
}

#[test]
fn version_1_has_256_of_version_2s_values() {
    let (_, clip) = glide();
    let small = content::Encoder::open(&EncoderName::Mel.into(), Version::V1, &setup()).unwrap();
    assert_eq!((small.dim(), small.digest().as_str()), (256, "mel-1 v1"));
    let (small, large) = (small.encode(&clip).unwrap(), mel().unwrap().encode(&clip).unwrap());
    assert_eq!(small.len() / 256, large.len() / 768);
    // The second cepstrum's values begin at 16 and at 32.
    assert_eq!((&small[..16], &small[16..32]), (&large[..16], &large[32..48]));
}

#[test]
fn content_of_silence_is_zero() {
    let content = mel().and_then(|mel| mel.encode(&vec![0.0; 16000])).expect("a sound clip");
    assert!(content.iter().all(|x| x.abs() < 1e-6));
}

fn temp_file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("a.npy");
    std::fs::write(&path, bytes).expect("a writable temp folder");
    (folder, path)
}

#[test]
fn numpy_files_are_laid_out_as_numpy_does() {
    let (_folder, path) = temp_file(b"");
    npy::write_f64(&path, &[1.5; 371]).expect("a writable temp folder");
    let bytes = std::fs::read(&path).expect("it was written");
    assert_eq!(bytes.len(), 128 + 371 * 8);
    let dictionary = "{'descr': '<f8', 'fortran_order': False, 'shape': (371,), }";
    let header = format!("{dictionary:117}\n");
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert_eq!(&bytes[10..128], header.as_bytes());
    npy::write_f32_2d(&path, &[0.0; 2 * 768], 768).expect("a writable temp folder");
    let bytes = std::fs::read(&path).expect("it was written");
    assert_eq!(bytes.len(), 128 + 2 * 768 * 4);
    assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 768), } "));
    npy::write_i64(&path, &[1, 2]).expect("a writable temp folder");
    let bytes = std::fs::read(&path).expect("it was written");
    assert!(bytes[10..].starts_with(b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,), } "));
}

#[test]
fn numpy_files_are_read_back_unchanged() {
    let (_folder, path) = temp_file(b"");
    npy::write_i64(&path, &[1, 255, -3]).expect("a writable temp folder");
    assert_eq!(npy::read_i64(&path).expect("our own file"), [1, 255, -3]);
    npy::write_f64(&path, &[0.0, 123.456, 1e300]).expect("a writable temp folder");
    assert_eq!(npy::read_f64(&path).expect("our own file"), [0.0, 123.456, 1e300]);
    npy::write_f32_2d(&path, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3).expect("a writable temp folder");
    assert_eq!(npy::read_f32_2d(&path).expect("our own file"), (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3));
    npy::write_f64(&path, &[]).expect("a writable temp folder");
    assert_eq!(npy::read_f64(&path).expect("our own file"), [0.0; 0]);
}

fn foreign(version: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((dictionary.len() as u16).to_le_bytes()),
        _ => bytes.extend((dictionary.len() as u32).to_le_bytes()),
    }
    bytes.extend(dictionary.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn the_int32_pitch_of_rvcs_mute_files_is_read() {
    let dictionary = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n";
    for version in [1, 2, 3] {
        let (_folder, path) = temp_file(&foreign(version, dictionary, &[1, 0, 0, 0, 254, 0, 0, 0]));
        assert_eq!(npy::read_i64(&path).expect("a sound file"), [1, 254]);
    }
}

#[test]
fn damaged_numpy_files_are_reported_with_their_path() {
    let header = |text: &str| foreign(1, text, &[0; 16]);
    let shape = |text: &str| header(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {text}, }}"));
    let bad = [
        vec![],
        b"\x93NUMPY".to_vec(),
        b"\x93NUMPY\x01\x00\xff\xff{}".to_vec(),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec(),
        b"RIFF....WAVE".to_vec(),
        foreign(9, "{}", &[]),
        header("{}"),
        header("{'descr': '<f8'"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': 2}"),
        header("{'descr': '>f8', 'fortran_order': False, 'shape': (2,), }"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"),
        header("{'descr': <f8, 'shape': (2,), }"),
        shape("(1,)"),
        shape("(3,)"),
        shape("(2"),
        shape("(-2,)"),
        shape("(1, 2)"),
        shape("()"),
        shape("(18446744073709551615, 18446744073709551615)"),
        shape("(9223372036854775808,)"),
    ];
    for bytes in bad {
        let (_folder, path) = temp_file(&bytes);
        let error = npy::read_f64(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::DataDamaged, "{}", error.message());
        assert_eq!(error.file(), Some(Path::new(&path)), "{}", error.message());
    }
    let (_folder, path) = temp_file(&shape("(2,)"));
    assert_eq!(npy::read_f64(&path).expect("this one is sound"), [0.0, 0.0]);
    assert_eq!(npy::read_i64(&path).unwrap_err().kind(), Kind::DataDamaged);
    assert_eq!(npy::read_f32_2d(&path).unwrap_err().kind(), Kind::DataDamaged);
}
