//! RMVPE at full size against the Python reference: front end, network, decoding, batches, files that do not fit.

use crate::support::{self, Golden, weights};
use rvc_run::assets::Store;
use rvc_run::config::Config;
use rvc_run::config::choices::{F0Method, Precision};
use rvc_run::features::{Setup, f0};
use rvc_run::files::Workspace;
use rvc_run::models::rmvpe::Rmvpe;
use rvc_run::task::Task;
use rvc_run::torchfile;
use rvc_run::{Kind, Result};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tch::{Device, Tensor};

/// How much a clip's numbers may differ when others are in its batch: the order of additions inside libtorch.
const BATCH_TOLERANCE: f64 = 1e-5;

struct Opened {
    rmvpe: Rmvpe,
    narrow: Rmvpe,
    extractor: f0::Extractor,
    file_digest: String,
}

/// The network filled by the rule, loaded from a file as a user's would be; made once for all tests.
fn opened() -> MutexGuard<'static, Opened> {
    static OPENED: OnceLock<Mutex<Opened>> = OnceLock::new();
    let make = || {
        support::one_thread();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("assets/rmvpe.pt");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        weights::write(&path, weights::filled(&support::golden_salt(), &weights::listed("rmvpe")));
        let file = torchfile::read(&path).unwrap();
        Mutex::new(Opened {
            rmvpe: Rmvpe::load(&file, tch::Kind::Float, Device::Cpu).unwrap(),
            narrow: Rmvpe::load(&file, tch::Kind::BFloat16, Device::Cpu).unwrap(),
            extractor: f0::Extractor::open(F0Method::Rmvpe, &setup(folder.path(), Precision::Fp32)).unwrap(),
            file_digest: rvc_run::files::digest_file(&path).unwrap(),
        })
    };
    OPENED.get_or_init(make).lock().unwrap_or_else(PoisonError::into_inner)
}

fn setup(root: &Path, precision: Precision) -> Setup {
    let config = Config { feature_precision: precision, ..Config::default() };
    Setup::new(&Store::new(&Workspace::new(root)), &config).unwrap()
}

fn audio() -> Vec<f32> {
    Vec::<f32>::try_from(Golden::open("rmvpe").wave("audio")).unwrap()
}

/// The frames of the golden clip, as they are and padded for the network.
fn frames_of(golden: &Golden) -> (i64, i64) {
    let frames = golden.tensor("mel").size()[2];
    (frames, (frames + 31) / 32 * 32)
}

/// The golden sound, again and again, `n` samples long.
fn sound(n: usize) -> Vec<f32> {
    audio().into_iter().cycle().take(n).collect()
}

fn extract(extractor: &f0::Extractor, clips: &[Vec<f32>]) -> Vec<Result<Vec<f64>>> {
    let task = Task::silent();
    extractor.extract(&task, "f0", clips, Vec::len, |clip| Ok(clip.clone()), |_, f0| Ok(f0)).unwrap()
}

#[test]
fn the_front_end_gives_the_references_mel() {
    let golden = Golden::open("rmvpe");
    let mel = opened().rmvpe.mel(&[&audio()]);
    let (frames, filled) = frames_of(&golden);
    assert_eq!(mel.size(), [1, 128, filled], "filled up to a multiple of 32 frames");
    golden.check("mel", &mel.narrow(2, 0, frames));
    assert!(frames == filled || mel.narrow(2, frames, filled - frames).abs().max().double_value(&[]) == 0.0);
}

#[test]
fn the_network_gives_the_references_salience() {
    let golden = Golden::open("rmvpe");
    let (frames, filled) = frames_of(&golden);
    let mel = golden.tensor("mel").constant_pad_nd([0, filled - frames]);
    golden.check("hidden", &opened().rmvpe.salience(&mel).narrow(1, 0, frames));
}

#[test]
fn the_extractor_gives_the_references_f0() {
    let golden = Golden::open("rmvpe");
    let f0 = extract(&opened().extractor, &[audio()]).remove(0).unwrap();
    golden.check("f0", &Tensor::from_slice(&f0));
}

#[test]
fn decoding_gives_the_references_f0_to_the_last_digits() {
    let golden = Golden::open("rmvpe_decode");
    let salience = golden.tensor("salience");
    let values = Vec::<f32>::try_from(salience.flatten(0, -1)).unwrap();
    // The exponential is another library's; all before it is the same.
    for (name, threshold) in [("f0_03", 0.03), ("f0_05", 0.05)] {
        let f0 = Tensor::from_slice(&f0::rmvpe::decode(&values, threshold));
        support::assert_close(name, &f0, &golden.tensor(name), 1e-12 * 2000.0);
    }
    let cents: Vec<f64> = values.chunks(360).map(|frame| f0::rmvpe::cents(frame, 0.05)).collect();
    assert_eq!(cents, Vec::<f64>::try_from(golden.tensor("cents_05")).unwrap());
}

#[test]
fn a_clip_has_the_same_salience_in_any_batch() {
    let audio = sound(20_800);
    // All have 129 to 160 frames.
    let clips = [&audio[..], &audio[..20640], &audio[100..20600], &audio[319..]];
    let opened = opened();
    let together = opened.rmvpe.salience(&opened.rmvpe.mel(&clips));
    for (i, clip) in clips.iter().enumerate() {
        let alone = opened.rmvpe.salience(&opened.rmvpe.mel(&[clip]));
        let n = Rmvpe::frames(clip.len()) as i64;
        let company = together.get(i as i64).narrow(0, 0, n);
        support::assert_close("in a batch", &company, &alone.get(0).narrow(0, 0, n), BATCH_TOLERANCE);
    }
}

#[test]
#[ignore = "slow: the network at full size, twice"]
fn bfloat16_keeps_f0_within_a_cent_where_one_pitch_leads() {
    let opened = opened();
    let audio = sound(20_800);
    let frames = Rmvpe::frames(audio.len()) as i64;
    let rows = |network: &Rmvpe| {
        let salience = network.salience(&network.mel(&[&audio])).get(0).narrow(0, 0, frames).contiguous().flatten(0, 1);
        Vec::<f32>::try_from(salience).unwrap()
    };
    let (wide, narrow) = (rows(&opened.rmvpe), rows(&opened.narrow));
    // The salience of weights by the fill rule is like noise: in a fifth of the frames two pitches far apart are closer than
    // bfloat16 can resolve (its salience differs by 0.0014, in one of a hundred by 0.007), and either may win.
    let lead = |frame: &[f32]| {
        let mut sorted = frame.to_vec();
        sorted.sort_by(f32::total_cmp);
        sorted[359] - sorted[358]
    };
    let clear = wide.chunks(360).zip(narrow.chunks(360)).filter(|(frame, _)| lead(frame) > 0.005);
    let hz = |frame: &[f32]| f0::rmvpe::decode(frame, f0::rmvpe::THRESHOLD)[0];
    let cents: Vec<f64> = clear.map(|(wide, narrow)| 1200.0 * (hz(wide) / hz(narrow)).log2().abs()).collect();
    let worst = cents.iter().copied().fold(0.0, f64::max);
    println!("bfloat16: {} of {frames} frames are clear, worst {worst:.2} cents", cents.len());
    assert!(cents.len() > 40 && worst < 1.0, "{worst} cents in {} frames", cents.len());
    assert!(worst > 0.0, "it computes in another number format");
}

#[test]
fn extraction_gives_each_clip_its_own_result() {
    let audio = sound(20_800);
    // Two shapes, a clip that is too short to be mirrored at its ends, and one that is not sound.
    let mut clips: Vec<Vec<f32>> =
        [20800, 9000, 512, 20500, 160, 9100, 0].iter().map(|n| audio[..*n].to_vec()).collect();
    clips.push(vec![f32::NAN; 600]);
    let opened = opened();
    let together = extract(&opened.extractor, &clips);
    for (clip, f0) in clips.iter().zip(together) {
        let alone = extract(&opened.extractor, std::slice::from_ref(clip)).remove(0);
        let (f0, alone) = match (f0, alone) {
            (Ok(f0), Ok(alone)) => (f0, alone),
            (f0, alone) => {
                assert_eq!(f0.unwrap_err().message(), "sample 0 of 600 is NaN");
                assert_eq!(alone.unwrap_err().kind(), Kind::DataDamaged);
                continue;
            }
        };
        assert_eq!(f0.len(), clip.len() / 160 + 1);
        assert_eq!(f0.iter().all(|hz| *hz == 0.0), clip.len() <= 512, "unvoiced exactly if too short");
        // The salience differs by 1e-6, which the mean of nine pitches turns into thousandths of a cent.
        let cents = |(a, b): (&f64, &f64)| if a.to_bits() == b.to_bits() { 0.0 } else { 1200.0 * (a / b).log2().abs() };
        let worst = f0.iter().zip(&alone).map(cents).fold(0.0, f64::max);
        assert!(worst < 0.01, "{worst} cents");
    }
}

#[test]
fn the_digest_names_version_file_and_number_format() {
    let opened = opened();
    assert_eq!(opened.extractor.digest(), format!("rmvpe-1 {} fp32", opened.file_digest));
}

/// The error of opening rmvpe in a folder whose assets/rmvpe.pt is made by `make`.
fn refusal(make: impl FnOnce(&Path)) -> rvc_run::Error {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assets/rmvpe.pt");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    make(&path);
    f0::Extractor::open(F0Method::Rmvpe, &setup(folder.path(), Precision::Fp32))
        .err()
        .expect("no such file is accepted")
}

/// Every tensor of the network with a single number in it.
fn shrunken() -> Vec<(String, Tensor)> {
    let one = || Tensor::ones([1], (tch::Kind::Float, Device::Cpu));
    weights::listed("rmvpe").into_iter().map(|(key, _)| (key, one())).collect()
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let error = refusal(|_| ());
    assert_eq!(error.kind(), Kind::AssetMissing);
    assert!(error.message().contains("rmvpe.pt") && error.hint_text().is_some(), "{error}");
}

#[test]
fn a_truncated_file_is_named() {
    let error = refusal(|path| {
        weights::write(path, shrunken());
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert_eq!(error.kind(), Kind::CheckpointDamaged);
    assert!(error.message().contains("rmvpe.pt"), "{error}");
}

#[test]
fn tensors_of_another_shape_are_named() {
    let error = refusal(|path| weights::write(path, shrunken()));
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("of another shape"), "{error}");
    assert!(error.message().contains("rmvpe.pt"), "{error}");
}

#[test]
fn missing_and_foreign_tensors_are_named() {
    let error = refusal(|path| {
        let mut tensors = shrunken();
        tensors.retain(|(key, _)| key != "fc.1.bias");
        tensors.push(("emb_g.weight".into(), Tensor::ones([1], (tch::Kind::Float, Device::Cpu))));
        weights::write(path, tensors);
    });
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("1 missing (fc.1.bias)"), "{error}");
    assert!(error.message().contains("1 not part of this network (emb_g.weight)"), "{error}");
}

#[test]
fn a_salience_of_nan_does_not_count_as_silence() {
    let mut salience = vec![0.0; 720];
    salience[400] = f32::NAN;
    let f0 = f0::rmvpe::decode(&salience, 0.03);
    assert!(f0[0] == 0.0 && f0[1].is_nan());
}
