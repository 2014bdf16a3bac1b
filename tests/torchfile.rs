//! PyTorch files: sound, odd, broken and hostile ones are read; written ones open in Python.

mod broken;
mod hostile;
mod machine;
mod names;
mod sound;
mod sweep;
mod written;

use crate::support::golden_path;
use rvc_run::{Kind, Result, torchfile};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// A file of the golden set.
fn checkpoint(name: &str) -> PathBuf {
    golden_path("checkpoints").join(name)
}

/// The manifest's [dtype, shape, CRC-32 of the row-major bytes] of a tensor.
fn checksum(tensor: &Tensor) -> serde_json::Value {
    let kind = match tensor.kind() {
        tch::Kind::Float => "float32",
        tch::Kind::Half => "float16",
        tch::Kind::BFloat16 => "bfloat16",
        tch::Kind::Double => "float64",
        tch::Kind::Int64 => "int64",
        tch::Kind::Uint8 => "uint8",
        tch::Kind::Bool => "bool",
        other => panic!("{other:?}"),
    };
    let n = tensor.numel();
    let mut bytes = vec![0u8; n * tensor.kind().elt_size_in_bytes()];
    tensor.contiguous().copy_data_u8(&mut bytes, n);
    serde_json::json!([kind, tensor.size(), crc32fast::hash(&bytes)])
}

/// Everything that a caller could do with a file: opens it, looks at every plain value, reads every tensor. The number of tensors.
fn read_all(path: &Path) -> Result<usize> {
    let file = torchfile::read(path)?;
    // Paths of a cycle have no end, and those of a doubling bomb are without number.
    let mut paths = vec![Vec::<String>::new()];
    let mut next = 0;
    while next < paths.len().min(300) {
        let path: Vec<&str> = paths[next].iter().map(String::as_str).collect();
        file.value(&path).expect("a path of entries leads to a value");
        let longer = |key| path.iter().map(|&k| k.to_owned()).chain([key]).collect();
        let new: Vec<Vec<String>> = file.entries(&path).into_iter().flatten().take(50).map(longer).collect();
        paths.extend(new);
        next += 1;
    }
    file.names().into_iter().try_for_each(|name| {
        file.shape(name);
        file.kind(name);
        file.tensor(name).map(drop)
    })?;
    let prefix = file.state_dict_prefix(&["model", "state_dict", "weight", ""]);
    prefix.map_or(Ok(()), |prefix| file.state_dict(prefix).map(drop))?;
    Ok(file.names().len())
}

/// Fails unless a file is refused as damaged, with its path, or read as inert data.
#[track_caller]
fn assert_refused_or_inert(label: &str, result: &Result<usize>) {
    if let Err(error) = result {
        assert_eq!(error.kind(), Kind::CheckpointDamaged, "{label}: {error}");
        assert!(error.file().is_some(), "{label}: {error}");
    }
}

/// Random numbers of a name: the same in every run.
struct Random(u64);

impl Random {
    fn new(name: &str) -> Self {
        Self(u64::from(crc32fast::hash(name.as_bytes())))
    }

    /// A number in 0..n (splitmix64).
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Puts other bytes into a file. Without emptying it first, which some file systems answer with a wait for the disk.
fn rewrite(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    let mut file = std::fs::File::options().write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}
