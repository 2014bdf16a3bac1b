//! CREPE and FCPE at full size against torchcrepe and torchfcpe: networks, decoding, batches, files that do not fit.

use crate::support::{self, Golden, weights};
use rvc_run::Kind;
use rvc_run::assets::Store;
use rvc_run::config::Config;
use rvc_run::config::choices::F0Method;
use rvc_run::features::{Setup, f0};
use rvc_run::files::Workspace;
use rvc_run::models::crepe::{Crepe, Size};
use rvc_run::models::fcpe::Fcpe;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

/// How much a clip's numbers may differ when others are in its batch: the order of additions inside libtorch.
const BATCH_TOLERANCE: f64 = 1e-5;
/// The same in cents of f0, after a mean over nine pitches.
const BATCH_CENTS: f64 = 0.01;

fn setup(root: &Path) -> Setup {
    Setup::new(&Store::new(&Workspace::new(root)), &Config::default()).unwrap()
}

/// A folder with an empty assets/.
fn room(asset: &str) -> (tempfile::TempDir, PathBuf) {
    support::one_thread();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("assets")).unwrap();
    let path = folder.path().join("assets").join(asset);
    (folder, path)
}

fn audio(golden: &Golden) -> Vec<f32> {
    Vec::<f32>::try_from(golden.wave("audio")).unwrap()
}

fn extract(extractor: &f0::Extractor, clips: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let task = Task::silent();
    extractor.extract(&task, "f0", clips, Vec::len, |clip| Ok(clip.clone()), |_, f0| f0).unwrap()
}

/// The error of opening a method with a file made by `make`.
fn refusal(method: F0Method, asset: &str, make: impl FnOnce(&Path)) -> rvc_run::Error {
    let (folder, path) = room(asset);
    make(&path);
    f0::Extractor::open(method, &setup(folder.path())).err().expect("no such file is accepted")
}

// --- CREPE -----------------------------------------------------------------------------------------------------------

fn write_crepe(path: &Path, listing: &str) {
    let mut tensors = weights::filled("", &weights::listed(listing));
    let (_, classifier) = tensors.iter_mut().find(|(key, _)| key == "classifier.weight").unwrap();
    *classifier *= 64.0;
    weights::write(path, tensors);
}

fn check_crepe(method: F0Method, size: Size, asset: &str, case: &str) {
    let golden = Golden::open_own("crepe");
    let (folder, path) = room(asset);
    write_crepe(&path, &format!("crepe_{case}"));
    let file = torchfile::read(&path).unwrap();
    let crepe = Crepe::load(&file, size, tch::Kind::Float, Device::Cpu).unwrap();
    let windows = golden.wave("audio").constant_pad_nd([512, 512]).unfold(0, 1024, 160);
    let every_third = Tensor::arange_start_step(0, 36, 3, (tch::Kind::Int64, Device::Cpu));
    golden.check(&format!("{case}.probabilities"), &crepe.probabilities(&windows).index_select(0, &every_third));

    let extractor = f0::Extractor::open(method, &setup(folder.path())).unwrap();
    let f0 = extract(&extractor, &[audio(&golden)]).remove(0);
    golden.check(&format!("{case}.f0"), &Tensor::from_slice(&f0));
    let digest = rvc_run::files::digest_file(&path).unwrap();
    assert_eq!(extractor.digest(), format!("{method}-1 {digest} fp32"));
}

#[test]
fn crepe_full_gives_torchcrepes_numbers() {
    check_crepe(F0Method::Crepe, Size::Full, "crepe_full.pth", "full");
}

#[test]
fn crepe_tiny_gives_torchcrepes_numbers() {
    check_crepe(F0Method::CrepeTiny, Size::Tiny, "crepe_tiny.pth", "tiny");
}

/// The map that the golden's `decode_input` describes.
fn decode_input() -> Vec<f32> {
    let noise = support::uniform("", "crepe.decode", 540 * 360);
    let value = |(i, u): (usize, f64)| {
        let (t, k) = ((i / 360) as i64, (i % 360) as f64);
        let centre = (100 + (t * 7 % 400 - 200).abs()) as f64;
        let voicing = if t % 60 < 45 { 0.9 } else { 0.02 };
        ((1.0 - (k - centre).abs() / 6.0).max(0.0) * voicing + 0.025 * (u + 1.0)) as f32
    };
    noise.enumerate().map(value).collect()
}

#[test]
fn crepes_decoding_follows_the_most_likely_path_as_torchcrepe_does() {
    let golden = Golden::open_own("crepe");
    let f0 = f0::crepe::decode(&decode_input(), f0::crepe::THRESHOLD);
    let expected = golden.tensor("decode.f0");
    let voicing = |hz: &Tensor| hz.gt(0.0).to_kind(tch::Kind::Int64);
    let f0 = Tensor::from_slice(&f0);
    assert!(voicing(&f0).equal(&voicing(&expected)));
    golden.check("decode.f0", &f0);
}

#[test]
fn crepe_accepts_clips_of_any_length_and_each_frame_is_independent() {
    let (folder, path) = room("crepe_tiny.pth");
    write_crepe(&path, "crepe_tiny");
    let extractor = f0::Extractor::open(F0Method::CrepeTiny, &setup(folder.path())).unwrap();
    let wave = audio(&Golden::open_own("crepe"));
    // More than a batch of frames and more than a path.
    let long: Vec<f32> = wave.iter().cycle().take(90_000).copied().collect();
    let clips: Vec<Vec<f32>> = vec![vec![], vec![0.5], wave[..159].to_vec(), long, wave.clone(), vec![0.0; 4000]];
    let together = extract(&extractor, &clips);
    for (clip, f0) in clips.iter().zip(&together) {
        assert_eq!(f0.len(), clip.len() / 160 + 1);
        assert!(f0.iter().all(|hz| hz.is_finite()));
        assert_eq!(&extract(&extractor, std::slice::from_ref(clip))[0], f0);
    }
}

#[test]
fn a_higher_threshold_leaves_fewer_frames_voiced_and_is_part_of_the_digest() {
    let (folder, path) = room("crepe_tiny.pth");
    write_crepe(&path, "crepe_tiny");
    let open = |threshold| {
        f0::Extractor::open(F0Method::CrepeTiny, &setup(folder.path())).unwrap().with_threshold(threshold).unwrap()
    };
    let wave = audio(&Golden::open_own("crepe"));
    let voiced = |extractor: &f0::Extractor| {
        extract(extractor, std::slice::from_ref(&wave))[0].iter().filter(|hz| **hz > 0.0).count()
    };
    let counts = [1e-6, 0.0, 1.0].map(|threshold| voiced(&open(threshold)));
    assert!(counts[0] >= counts[1] && counts[1] >= counts[2] && counts[0] > counts[2], "{counts:?}");
    assert_eq!(open(0.0).digest(), f0::Extractor::open(F0Method::CrepeTiny, &setup(folder.path())).unwrap().digest());
    assert_ne!(open(0.2).digest(), open(0.3).digest());
}

#[test]
fn a_crepe_of_the_other_size_is_refused() {
    let error = refusal(F0Method::Crepe, "crepe_full.pth", |path| write_crepe(path, "crepe_tiny"));
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("crepe_full.pth") && error.message().contains("of another shape"), "{error}");
}

// --- FCPE ------------------------------------------------------------------------------------------------------------

/// A checkpoint as torchfcpe's, by the fill rule.
fn fcpe_tensors() -> Vec<(String, Tensor)> {
    let mut shapes = weights::listed("fcpe");
    shapes.retain(|(key, _)| key != "gaussian_blurred_cent_mask");
    let mut tensors = weights::filled("", &shapes);
    let cents = |hz: f64| 1200.0 * (hz / 10.0).log2();
    let step = (cents(1975.5) - cents(32.7)) / 359.0;
    let table: Vec<f32> = (0..360).map(|k| (cents(32.7) + f64::from(k) * step) as f32).collect();
    let (_, cent_table) = tensors.iter_mut().find(|(key, _)| key == "cent_table").unwrap();
    *cent_table = Tensor::from_slice(&table);
    // A number that only training uses.
    tensors.push(("gaussian_blurred_cent_mask".into(), Tensor::from(1f32)));
    tensors
}

fn write_fcpe(path: &Path, tensors: Vec<(String, Tensor)>, hop_size: i64, layers: i64) {
    let int = Value::Int;
    let mel = [("sr", 16000), ("num_mels", 128), ("n_fft", 1024), ("win_size", 1024), ("hop_size", hop_size)];
    let mel = mel.into_iter().chain([("fmin", 0), ("fmax", 8000)]).map(|(name, n)| (name, int(n)));
    let model = [("out_dims", 360), ("hidden_dims", 512), ("n_layers", layers), ("n_heads", 8)];
    let config = [("mel", Value::dict(mel)), ("model", Value::dict(model.into_iter().map(|(name, n)| (name, int(n)))))];
    let state = Value::ordered(tensors.into_iter().map(|(key, tensor)| (key, Value::Tensor(tensor))));
    let checkpoint = [("global_step", int(600_000)), ("model", state), ("config_dict", Value::dict(config))];
    torchfile::write(path, &Value::dict(checkpoint)).unwrap();
}

fn load_fcpe() -> (tempfile::TempDir, Fcpe) {
    let (folder, path) = room("fcpe.pt");
    write_fcpe(&path, fcpe_tensors(), 160, 6);
    let fcpe = Fcpe::load(&torchfile::read(&path).unwrap(), tch::Kind::Float, Device::Cpu).unwrap();
    (folder, fcpe)
}

#[test]
fn fcpe_gives_torchfcpes_numbers() {
    let golden = Golden::open_own("fcpe");
    let (folder, fcpe) = load_fcpe();
    let wave = audio(&golden);
    golden.check("mel", &fcpe.mel(&[&wave]).squeeze_dim(0));
    let confidence = fcpe.confidence(&golden.tensor("mel").unsqueeze(0), &fcpe.mask(&[&wave]));
    golden.check("latent", &confidence.squeeze_dim(0));
    let extractor = f0::Extractor::open(F0Method::Fcpe, &setup(folder.path())).unwrap();
    golden.check("f0", &Tensor::from_slice(&extract(&extractor, &[wave]).remove(0)));
}

#[test]
fn fcpe_gives_a_clip_the_same_confidence_in_any_batch() {
    let (folder, fcpe) = load_fcpe();
    let wave = audio(&Golden::open_own("fcpe"));
    let clips = [&wave[..], &wave[..433], &wave[500..4000], &wave[..5599]];
    let together = fcpe.confidence(&fcpe.mel(&clips), &fcpe.mask(&clips));
    for (i, clip) in clips.iter().enumerate() {
        let alone = fcpe.confidence(&fcpe.mel(&[clip]), &fcpe.mask(&[clip]));
        let company = together.get(i as i64).narrow(0, 0, Fcpe::frames(clip.len()) as i64);
        support::assert_close("in a batch", &company, &alone.get(0), BATCH_TOLERANCE);
    }
    let extractor = f0::Extractor::open(F0Method::Fcpe, &setup(folder.path())).unwrap();
    let clips: Vec<Vec<f32>> = [5600, 432, 433, 0, 3000, 160].iter().map(|n| wave[..*n].to_vec()).collect();
    for (clip, f0) in clips.iter().zip(extract(&extractor, &clips)) {
        assert_eq!(f0.len(), clip.len() / 160 + 1);
        assert_eq!(f0.iter().all(|hz| *hz == 0.0), clip.len() < 433, "unvoiced exactly if too short");
        let alone = extract(&extractor, std::slice::from_ref(clip)).remove(0);
        let cents = |(a, b): (&f64, &f64)| if a.to_bits() == b.to_bits() { 0.0 } else { 1200.0 * (a / b).log2().abs() };
        let worst = f0.iter().zip(&alone).map(cents).fold(0.0, f64::max);
        assert!(worst < BATCH_CENTS, "{worst} cents");
    }
}

#[test]
fn fcpes_decoding_repeats_the_outermost_pitch_and_handles_silence() {
    let cents: Vec<f32> = (0..360).map(|k| 2000.0 + 20.0 * k as f32).collect();
    let mut confidence = vec![0.0f32; 4 * 360];
    confidence[0] = 1.0;
    confidence[1] = 0.5;
    confidence[360 + 180] = 0.006;
    confidence[720 + 180] = 0.0061;
    confidence[1080 + 7] = f32::NAN;
    let f0 = f0::fcpe::decode(&confidence, &cents, f0::fcpe::THRESHOLD);
    // Places -4 to 4 are taken at 0, 0, 0, 0, 0, 1, 2, 3, 4.
    let first = 10.0 * ((5.0 * 2000.0 + 0.5 * 2020.0) / 5.5 / 1200.0f64).exp2();
    assert!((f0[0] - first).abs() < 1e-9, "{} is not {first}", f0[0]);
    assert!(f0[1] == 0.0, "the threshold itself is unvoiced");
    assert!((f0[2] - 10.0 * (5600.0f64 / 1200.0).exp2()).abs() < 1e-9);
    assert!(f0[3].is_nan(), "NaN does not count as silence");
}

#[test]
fn an_fcpe_of_another_front_end_or_size_is_refused() {
    let error = refusal(F0Method::Fcpe, "fcpe.pt", |path| write_fcpe(path, fcpe_tensors(), 320, 6));
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().ends_with("config_dict.mel.hop_size is 320, but must be 160"), "{error}");
    let error = refusal(F0Method::Fcpe, "fcpe.pt", |path| write_fcpe(path, fcpe_tensors(), 160, 1 << 40));
    assert!(error.message().contains("n_layers is 1099511627776, but must be 1 to 64"), "{error}");
    let error = refusal(F0Method::Fcpe, "fcpe.pt", |path| write_fcpe(path, fcpe_tensors(), 160, 7));
    assert!(error.message().contains("8 missing (net.encoder_layers.6."), "{error}");
}

#[test]
fn an_fcpe_with_attention_is_refused_by_name() {
    let error = refusal(F0Method::Fcpe, "fcpe.pt", |path| {
        let mut tensors = fcpe_tensors();
        let one = Tensor::ones([1], (tch::Kind::Float, Device::Cpu));
        tensors.push(("net.encoder_layers.0.attn.to_q.weight".into(), one));
        write_fcpe(path, tensors, 160, 6);
    });
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("not part of this network (net.encoder_layers.0.attn.to_q.weight)"), "{error}");
}

#[test]
fn a_bare_state_dict_is_not_an_fcpe_checkpoint() {
    let error = refusal(F0Method::Fcpe, "fcpe.pt", |path| weights::write(path, fcpe_tensors()));
    assert_eq!(error.kind(), Kind::CheckpointMismatch);
    assert!(error.message().contains("it has no setting config_dict.mel.sr"), "{error}");
}
