//! Helpers of the integration tests: golden cases, weights and inputs by formula, comparison of tensors.
//!
//! A golden case is two files in tests/golden: `<case>.safetensors` (numbers computed by the Python reference of RVC) and
//! `<case>.json` (its manifest entry: how it was made, the seeds, a tolerance for each tensor; and the salt of the set).
//! `RVC_RUN_GOLDEN_DIR` names another folder of the same cases, made with another salt.

#![allow(dead_code, reason = "every test binary uses its own part of this module")]

pub mod mlflow;
pub mod speech;

use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tch::{Kind, Tensor};

/// One libtorch thread for each test: the tests themselves run in parallel, and libtorch's threads wait for each other in
/// busy loops, which costs ten times the work when there are more of them than cores.
pub fn one_thread() {
    tch::set_num_threads(1);
}

/// Keeps other tests of the same program from drawing: libtorch's CPU generator is one for all threads. Hold it in every test
/// that draws numbers whose values matter, or that draws at all beside such tests.
pub fn only_me_draws() -> std::sync::MutexGuard<'static, ()> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    // A test that failed while holding it has left nothing behind that the next one needs.
    LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An empty folder for what all tests of one program share: a static is never dropped, so that a temporary folder in it would stay
/// for good. `name` is the program's; the next run empties it.
pub fn shared_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{}: {e}", folder.display()),
        _ => std::fs::create_dir_all(&folder).unwrap(),
    }
    folder
}

fn golden_dir() -> PathBuf {
    std::env::var_os("RVC_RUN_GOLDEN_DIR").map_or_else(own_golden_dir, PathBuf::from)
}

fn own_golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The path of a file of the golden set.
pub fn golden_path(name: &str) -> PathBuf {
    golden_dir().join(name)
}

/// One case of the golden set.
pub struct Golden {
    case: String,
    /// The manifest entry.
    pub entry: Value,
    /// Goes in front of every key of the weight rule.
    pub salt: String,
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    /// The case `name`; the test fails if its files are not there.
    pub fn open(name: &str) -> Self {
        Self::open_in(&golden_dir(), name)
    }

    /// The case `name` of tests/golden, for cases that are no part of the set that RVC_RUN_GOLDEN_DIR may name.
    pub fn open_own(name: &str) -> Self {
        Self::open_in(&own_golden_dir(), name)
    }

    fn open_in(folder: &Path, name: &str) -> Self {
        let (salt, entry) = manifest_entry(folder, name);
        let path = folder.join(format!("{name}.safetensors"));
        let tensors = if path.exists() {
            Tensor::read_safetensors(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).into_iter().collect()
        } else {
            assert!(entry.get("file").is_none(), "{} is missing", path.display());
            HashMap::new()
        };
        Self { case: name.into(), entry, salt, tensors }
    }

    /// A stored tensor.
    pub fn tensor(&self, name: &str) -> Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("case {} has no tensor {name}", self.case)).shallow_clone()
    }

    /// A stored int16 sound as float32 in -1..1.
    pub fn wave(&self, name: &str) -> Tensor {
        self.tensor(name).to_kind(Kind::Float) / 32768.0
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A number of the manifest entry, by JSON pointer such as "/values/kl_loss".
    pub fn number(&self, pointer: &str) -> f64 {
        self.entry
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("case {} has no number {pointer}", self.case))
    }

    /// The manifest's absolute tolerance for a tensor.
    pub fn atol(&self, name: &str) -> f64 {
        let tolerance = &self.entry["tolerance"];
        let named = tolerance.get(name).or_else(|| tolerance.get("all"));
        named
            .and_then(|t| t["atol"].as_f64())
            .unwrap_or_else(|| panic!("case {} has no absolute tolerance for {name}", self.case))
    }

    /// Compares with the stored tensor `name` at the manifest's tolerance.
    pub fn check(&self, name: &str, actual: &Tensor) {
        assert_close(&format!("{} {name}", self.case), actual, &self.tensor(name), self.atol(name));
    }

    /// Compares a scalar with the value at "/values/<name>" at the manifest's relative tolerance.
    pub fn check_value(&self, name: &str, actual: &Tensor) {
        let expected = self.entry["values"][name].as_f64().unwrap_or_else(|| panic!("no value {name}"));
        let rtol = self.entry["tolerance"][name]["rtol"].as_f64().unwrap_or_else(|| panic!("no tolerance {name}"));
        let label = format!("{} {name}", self.case);
        assert_close(&label, &actual.to_kind(Kind::Double), &Tensor::from(expected), rtol * expected.abs());
    }
}

/// The salt of the golden set in use.
pub fn golden_salt() -> String {
    let path = golden_path("manifest.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
    manifest["salt"].as_str().unwrap_or_default().to_owned()
}

/// The salt and the entry of `<case>.json`, or of the whole set's manifest.json.
fn manifest_entry(folder: &Path, name: &str) -> (String, Value) {
    let read = |file: &str| -> Option<Value> {
        let text = std::fs::read_to_string(folder.join(file)).ok()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}")))
    };
    if let Some(mut one) = read(&format!("{name}.json")) {
        return (one["salt"].as_str().unwrap_or_default().to_owned(), one["entry"].take());
    }
    let whole = read("manifest.json").unwrap_or_else(|| panic!("no {name}.json in {}", folder.display()));
    let entry = whole["cases"].as_array().and_then(|cases| cases.iter().find(|c| c["id"] == name));
    let entry = entry.unwrap_or_else(|| panic!("no case {name} in the manifest"));
    (whole["salt"].as_str().unwrap_or_default().to_owned(), entry.clone())
}

/// Fails unless `actual` has `expected`'s shape and every element lies within `atol` of it; prints error / tolerance.
#[track_caller]
pub fn assert_close(label: &str, actual: &Tensor, expected: &Tensor, atol: f64) {
    assert_eq!(actual.size(), expected.size(), "{label}: shape");
    if expected.numel() == 0 {
        return;
    }
    let (a, e) = (actual.detach().to_kind(Kind::Double), expected.to_kind(Kind::Double));
    let difference = (&a - &e).abs().flatten(0, -1);
    // NaN sorts above everything in max(), so it is found here as well.
    let worst = difference.max().double_value(&[]);
    let at = difference.argmax(None, false).int64_value(&[]);
    println!("golden: {label}: error {worst:.3e} of {atol:.1e} = {:.4}", worst / atol);
    assert!(
        worst <= atol,
        "{label}: element {at} of {} is {}, expected {}; difference {worst:.3e}, allowed {atol:.1e}; {} of {} elements differ too much",
        shape_text(&expected.size()),
        a.flatten(0, -1).double_value(&[at]),
        e.flatten(0, -1).double_value(&[at]),
        (1.0 - difference.le(atol).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]))
            * expected.numel() as f64,
        expected.numel(),
    );
}

fn shape_text(shape: &[i64]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

// --- The weight rule (golden README section 1) -----------------------------------------------------------------------

fn fmix32(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// The `n` numbers u in [-1, 1) of a key.
pub fn uniform(salt: &str, key: &str, n: usize) -> impl Iterator<Item = f64> + use<> {
    let crc = crc32fast::hash(format!("{salt}{key}").as_bytes());
    (0..n).map(move |i| f64::from(fmix32(crc ^ (i as u32).wrapping_mul(0x9E37_79B9))) / 2f64.powi(31) - 1.0)
}

fn count(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

/// "fill KEY shape, scale a, offset b": `offset + scale * u`.
pub fn fill(salt: &str, key: &str, shape: &[i64], scale: f64, offset: f64) -> Tensor {
    let values: Vec<f32> = uniform(salt, key, count(shape)).map(|u| (offset + scale * u) as f32).collect();
    Tensor::from_slice(&values).view(shape)
}

/// "integers KEY shape in low..high-1".
pub fn integers(salt: &str, key: &str, shape: &[i64], low: i64, high: i64) -> Tensor {
    let span = (high - low) as f64;
    let values: Vec<i64> =
        uniform(salt, key, count(shape)).map(|u| (low as f64 + (u / 2.0 + 0.5) * span).floor() as i64).collect();
    Tensor::from_slice(&values).view(shape)
}

/// A sweep with harmonics and noise, "glide from f1 to f2" of the golden README section 2.
pub struct Glide {
    pub from_hz: f64,
    pub to_hz: f64,
    pub harmonics: u32,
    pub amplitude: f64,
    pub noise: f64,
    pub sample_rate: f64,
}

impl Glide {
    /// `n` samples as float32, each a multiple of 1 / 32768; `key` names the noise.
    pub fn samples(&self, salt: &str, key: &str, n: usize) -> Vec<f32> {
        let duration = n as f64 / self.sample_rate;
        let slope = (self.to_hz - self.from_hz) / (2.0 * duration);
        uniform(salt, key, n)
            .enumerate()
            .map(|(k, u)| {
                let t = k as f64 / self.sample_rate;
                let phase = std::f64::consts::TAU * (self.from_hz * t + slope * t * t);
                let sum: f64 = (1..=self.harmonics).map(|j| (f64::from(j) * phase).sin() / f64::from(j)).sum();
                let value = self.amplitude * sum + self.noise * u;
                ((value * 32768.0).round_ties_even().clamp(-32768.0, 32767.0) / 32768.0) as f32
            })
            .collect()
    }
}

/// Fills every parameter by the weight rule, on all cores: 100 million numbers take about a second.
pub fn fill_params<'a>(salt: &str, params: impl IntoIterator<Item = (&'a str, &'a Tensor)>) {
    let params: Vec<(&str, Tensor)> = params.into_iter().map(|(k, t)| (k, t.shallow_clone())).collect();
    let shapes: Vec<(&str, Vec<i64>)> = params.iter().map(|(k, t)| (*k, t.size())).collect();
    let filled = fill_rule(salt, &shapes);
    tch::no_grad(|| {
        for ((_, mut tensor), values) in params.into_iter().zip(filled) {
            let values = Tensor::from_slice(&values).view(tensor.size().as_slice());
            tensor.copy_(&values);
        }
    });
}

/// The values of tensors of these keys and shapes, row-major, by the weight rule.
pub fn fill_rule(salt: &str, shapes: &[(&str, Vec<i64>)]) -> Vec<Vec<f32>> {
    let is_g = |key: &str| key.rsplit('.').next() == Some("weight_g");
    let mut filled = parallel(shapes, |(key, shape)| if is_g(key) { Vec::new() } else { rule(salt, key, shape) });
    let place: HashMap<&str, usize> = shapes.iter().enumerate().map(|(i, (key, _))| (*key, i)).collect();
    for (i, (key, shape)) in shapes.iter().enumerate().filter(|(_, (key, _))| is_g(key)) {
        let v_key = format!("{}weight_v", key.strip_suffix("weight_g").unwrap());
        let v = place[v_key.as_str()];
        let norms = norms(&filled[v], &shapes[v].1, shape);
        filled[i] =
            uniform(salt, key, count(shape)).zip(norms).map(|(u, norm)| (norm * (1.0 + 0.2 * u)) as f32).collect();
    }
    filled
}

/// Norms of `v` over every dimension in which `g_shape` has size 1 (weight norm keeps one dimension).
fn norms(v: &[f32], v_shape: &[i64], g_shape: &[i64]) -> Vec<f64> {
    let kept = g_shape.iter().position(|&n| n != 1).unwrap_or(0);
    let n = g_shape[kept] as usize;
    let inner: usize = v_shape[kept + 1..].iter().product::<i64>() as usize;
    let mut squares = vec![0.0; n];
    for (row, values) in v.chunks_exact(inner.max(1)).enumerate() {
        squares[row % n] += values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    }
    squares.into_iter().map(f64::sqrt).collect()
}

/// Every line of the rule's table but num_batches_tracked (an integer) and weight_g (needs its weight_v).
fn rule(salt: &str, key: &str, shape: &[i64]) -> Vec<f32> {
    let mut parts = key.rsplit('.');
    let (leaf, parent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let n = count(shape);
    let flat = shape.len() == 1;
    let values = uniform(salt, key, n);
    if leaf == "running_mean" {
        return values.map(|u| (0.1 * u) as f32).collect();
    }
    if leaf == "running_var" {
        return values.map(|u| (1.0 + 0.5 * u.abs()) as f32).collect();
    }
    if leaf == "gamma" || (leaf == "weight" && flat) {
        return values.map(|u| (1.0 + 0.1 * u) as f32).collect();
    }
    if leaf == "beta" {
        return values.map(|u| (0.1 * u) as f32).collect();
    }
    if leaf.starts_with("bias") || flat {
        return values.map(|u| (0.05 * u) as f32).collect();
    }
    let first = shape[0] as f64;
    let (gain, fan) = gain(key, parent, n as f64 / first, first);
    let scale = (gain / fan).sqrt();
    values.map(|u| (u * scale) as f32).collect()
}

fn gain(key: &str, parent: &str, fan: f64, first: f64) -> (f64, f64) {
    if key.contains(".ups.") || key.ends_with(".conv1.0.weight") {
        (6.0, 2.0 * first)
    } else if key.starts_with("discriminators.") || key.starts_with("feature_extractor.") {
        (6.0, fan)
    } else if parent == "proj" {
        (0.2, fan)
    } else if parent == "conv_post" {
        (0.5, fan)
    } else if key.contains(".noise_convs.") {
        (100.0, fan)
    } else if parent.starts_with("emb_") && parent != "emb_phone" {
        (0.25, 1.0)
    } else if key.starts_with("unet.") {
        (2.0, fan)
    } else if key == "cnn.weight" {
        (0.3, fan)
    } else if key == "fc.1.weight" {
        (12.0, fan)
    } else {
        (3.0, fan)
    }
}

/// `f` of each item on all cores, in order.
fn parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    while let Some((i, item)) = {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        items.get(i).map(|item| (i, item))
                    } {
                        mine.push((i, f(item)));
                    }
                    mine
                })
            })
            .collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, r)| r).collect()
}

/// Says that a part of a test did not run. Straight to stderr: the test runner hides what a passing test prints.
pub fn skipped(why: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr().lock(), "skipped {name}: {why}");
}
