//! Weight files of full size by the fill rule, for networks that are only run.

use super::formula::fill_rule;
use rvc_run::torchfile::{self, Value};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// A list in tests/golden/keys, which is of the networks and so the same for every golden set.
pub fn keys_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/keys/{name}.txt"))
}

/// The keys and shapes of a list in tests/golden/keys, without the counters of batch norm.
pub fn listed(name: &str) -> Vec<(String, Vec<i64>)> {
    let text = std::fs::read_to_string(keys_path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let shape = |text: &str| text.split(", ").filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect();
    text.lines()
        .map(|line| {
            let (key, rest) = line.split_once(" [").expect("key [shape] type");
            (key.to_owned(), shape(rest.split_once(']').expect("key [shape] type").0))
        })
        .filter(|(key, _)| !key.ends_with("num_batches_tracked"))
        .collect()
}

/// Tensors of these keys and shapes by the fill rule.
pub fn filled(salt: &str, shapes: &[(String, Vec<i64>)]) -> Vec<(String, Tensor)> {
    let borrowed: Vec<(&str, Vec<i64>)> = shapes.iter().map(|(key, shape)| (key.as_str(), shape.clone())).collect();
    let tensor = |(values, (key, shape)): (Vec<f32>, &(String, Vec<i64>))| {
        (key.clone(), Tensor::from_slice(&values).view(shape.as_slice()))
    };
    fill_rule(salt, &borrowed).into_iter().zip(shapes).map(tensor).collect()
}

/// Writes tensors as a bare state dict, each with a counter beside every running mean, as batch norm has it.
pub fn write(path: &Path, tensors: Vec<(String, Tensor)>) {
    let mut entries = Vec::new();
    for (key, tensor) in tensors {
        if let Some(norm) = key.strip_suffix("running_var") {
            let counter = Tensor::ones([], (Kind::Int64, tch::Device::Cpu));
            entries.push((format!("{norm}num_batches_tracked"), Value::Tensor(counter)));
        }
        entries.push((key, Value::Tensor(tensor)));
    }
    torchfile::write(path, &Value::ordered(entries)).expect("a writable folder");
}
