//! Golden cases, and the comparison of tensors with them.
//!
//! A golden case is two files in tests/golden: `<case>.safetensors` (numbers computed by the Python reference of RVC) and
//! `<case>.json` (its manifest entry: how it was made, the seeds, a tolerance for each tensor; and the salt of the set).
//! `RVC_RUN_GOLDEN_DIR` names another folder of the same cases, made with another salt.

use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

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

    /// A list of whole numbers of the manifest entry, by JSON pointer such as "/input/lengths".
    pub fn numbers(&self, pointer: &str) -> Vec<i64> {
        let list = self.entry.pointer(pointer).and_then(|list| serde_json::from_value(list.clone()).ok());
        list.unwrap_or_else(|| panic!("case {} has no list of numbers {pointer}", self.case))
    }

    /// The whole numbers that a text of the manifest entry names behind `before`, up to the next bracket or semicolon: [2, 18] of
    /// "dec(z[:1, :, 2:18])" behind ":, ".
    pub fn numbers_behind(&self, pointer: &str, before: &str) -> Vec<i64> {
        let text = self.entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (_, rest) = text
            .split_once(before)
            .unwrap_or_else(|| panic!("case {} does not say {before:?} at {pointer}: {text:?}", self.case));
        let end = rest.find([']', ')', ';']).unwrap_or(rest.len());
        rest[..end].split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
    }

    /// The tensors whose names begin with `prefix`: what follows it, and the tensor.
    pub fn named(&self, prefix: &str) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
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

/// Fails unless `actual` has `expected`'s shape and every element is within `atol` of it; prints error / tolerance.
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
