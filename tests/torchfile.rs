//! PyTorch files: sound, odd, broken and hostile ones are read; written ones open in Python.

#[path = "support/python.rs"]
mod python;
mod support;

use rvc_run::torchfile::{self, Value};
use rvc_run::{Kind, Result};
use serde_json::Value as Json;
use std::path::PathBuf;
use support::{Golden, golden_path};
use tch::Tensor;

fn checkpoint(name: &str) -> PathBuf {
    golden_path("checkpoints").join(name)
}

/// Compares with the manifest's [dtype, shape, CRC-32 of the contiguous bytes].
#[track_caller]
fn assert_checksum(name: &str, tensor: &Tensor, expected: &Json) {
    let kind = match tensor.kind() {
        tch::Kind::Float => "float32",
        tch::Kind::Half => "float16",
        tch::Kind::BFloat16 => "bfloat16",
        tch::Kind::Double => "float64",
        tch::Kind::Int64 => "int64",
        tch::Kind::Uint8 => "uint8",
        tch::Kind::Bool => "bool",
        other => panic!("{name}: {other:?}"),
    };
    let n = tensor.numel();
    let mut bytes = vec![0u8; n * tensor.kind().elt_size_in_bytes()];
    tensor.contiguous().copy_data_u8(&mut bytes, n);
    let actual = serde_json::json!([kind, tensor.size(), crc32fast::hash(&bytes)]);
    assert_eq!(&actual, expected, "{name}");
}

#[track_caller]
fn assert_tensors(file: &str, prefix: &str, expected: &Json, all: bool) {
    let state = torchfile::read(&checkpoint(file)).unwrap().state_dict(prefix).unwrap();
    let expected = expected.as_object().unwrap();
    assert!(!all || state.len() == expected.len(), "{file}: {} tensors", state.len());
    for (name, checksum) in expected {
        assert_checksum(&format!("{file} {name}"), &state[name], checksum);
    }
}

#[test]
fn a_checkpoint_of_the_reference_is_read_with_its_optimizer() {
    let golden = Golden::open("checkpoints");
    let expected = &golden.entry["sound"]["G_14.pth"];
    assert_tensors("G_14.pth", "model", &expected["model"], true);
    let file = torchfile::read(&checkpoint("G_14.pth")).unwrap();
    assert_eq!(file.int(&["iteration"]), Some(7));
    assert_eq!(file.float(&["learning_rate"]), Some(1e-4));
    assert_eq!(file.float(&["optimizer", "param_groups", "0", "lr"]), Some(9.997_500_156_25e-5));
    for (index, moments) in expected["optimizer.state"].as_object().unwrap() {
        for (part, checksum) in moments.as_object().unwrap() {
            let name = format!("optimizer.state.{index}.{part}");
            assert_checksum(&name, &file.tensor(&name).unwrap(), checksum);
        }
    }
}

#[test]
fn an_exported_voice_is_read_in_both_containers() {
    let golden = Golden::open("checkpoints");
    let expected = &golden.entry["sound"]["tiny_e7.pth"];
    for name in ["tiny_e7.pth", "tiny_legacy.pth"] {
        assert_tensors(name, "weight", &expected["weight"], true);
        let file = torchfile::read(&checkpoint(name)).unwrap();
        assert_eq!(file.text(&["info"]), Some("7epoch"));
        assert_eq!(file.int(&["config", "17"]), Some(40000));
        assert_eq!(file.text(&["config", "9"]), Some("1"));
    }
}

#[test]
fn views_and_odd_types_are_read_element_by_element() {
    let golden = Golden::open("checkpoints");
    for name in ["odd_zip.pth", "odd_legacy.pth"] {
        let file = torchfile::read(&checkpoint(name)).unwrap();
        for (key, checksum) in golden.entry["sound"][name]["odd"].as_object().unwrap() {
            assert_checksum(&format!("{name} {key}"), &file.tensor(&format!("odd.{key}")).unwrap(), checksum);
        }
    }
}

#[test]
fn a_foreign_object_that_holds_tensors_is_refused_by_name() {
    // The crate reads foreign classes as opaque names, but refuses a file in which one of them holds a tensor.
    for name in ["fairseq_like.pt", "fairseq_like_legacy.pt"] {
        let error = torchfile::read(&checkpoint(name)).err().unwrap();
        assert_eq!(error.kind(), Kind::CheckpointDamaged);
        assert!(error.message().contains("fairseq.meters.AverageMeter"), "{error}");
    }
}

#[test]
fn a_file_without_a_dictionary_at_its_root_is_refused() {
    let error = torchfile::read(&checkpoint("bare.spec.pt")).err().unwrap();
    assert!(error.message().contains("dictionary"), "{error}");
}

/// Everything that a caller could do with a file: open it and read every tensor of it.
fn read_all(name: &str) -> Result<usize> {
    let file = torchfile::read(&checkpoint(name))?;
    let names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    names.iter().try_for_each(|n| file.tensor(n).map(drop))?;
    Ok(names.len())
}

#[test]
fn hostile_files_execute_nothing_and_end_quickly() {
    let golden = Golden::open("checkpoints");
    for (name, about) in golden.entry["hostile"].as_object().unwrap() {
        let start = std::time::Instant::now();
        match read_all(name) {
            Ok(n) => println!("{name}: plain data, {n} tensors"),
            Err(error) => {
                println!("{name}: {error}");
                assert_eq!(error.kind(), Kind::CheckpointDamaged, "{name}: {error}");
                assert!(error.file().is_some(), "{name}");
            }
        }
        assert!(start.elapsed().as_secs() < 5, "{name} took {:?}", start.elapsed());
        if let Some(canary) = about["canary"].as_str() {
            assert!(!PathBuf::from(canary).exists(), "{name} was executed");
        }
    }
}

#[test]
fn broken_files_are_errors() {
    for name in ["bad_truncated.pth", "bad_bounds.pth", "bomb_tensor.pth", "bomb_length.pth", "bomb_depth.pth"] {
        let error = read_all(name).expect_err(name);
        assert_eq!(error.kind(), Kind::CheckpointDamaged, "{name}: {error}");
    }
}

#[test]
fn a_file_that_is_not_there_and_one_of_noise_differ_in_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.pth");
    assert_eq!(torchfile::read(&path).err().unwrap().kind(), Kind::NotFound);
    for bytes in [&b""[..], b"hello", &[0x80, 2], &[0x50, 0x4b, 3, 4, 0, 0]] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(torchfile::read(&path).err().unwrap().kind(), Kind::CheckpointDamaged, "{bytes:?}");
    }
}

#[test]
fn every_truncation_of_a_checkpoint_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    let whole = std::fs::read(checkpoint("tiny_e7.pth")).unwrap();
    for cut in (0..whole.len() - 1).step_by(997) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(torchfile::read(&path).err().unwrap().kind(), Kind::CheckpointDamaged, "cut at {cut}");
    }
}

/// A value of every kind that the writer knows.
fn sample() -> Value {
    let matrix = Tensor::arange(12, (tch::Kind::Float, tch::Device::Cpu)).view([3, 4]);
    Value::dict([
        ("transposed", Value::Tensor(matrix.transpose(0, 1))),
        ("half", Value::Tensor(matrix.to_kind(tch::Kind::Half))),
        ("scalar", Value::Tensor(Tensor::from(2.5f32))),
        ("empty", Value::Tensor(Tensor::zeros([0, 4], (tch::Kind::Int64, tch::Device::Cpu)))),
        ("state", Value::ordered([("a.b", Value::Tensor(matrix))])),
        ("numbers", Value::List([0, 255, 256, -1, 1 << 31, -(1 << 40), i64::MAX].map(Value::Int).into())),
        ("pair", Value::Tuple(vec![Value::Float(0.8), Value::Float(-1e-9)])),
        ("by index", Value::Dict(vec![(Value::Int(7), Value::Bool(true)), (Value::Int(8), Value::None)])),
        ("text", Value::text("größe")),
        ("nothing", Value::Tuple(vec![])),
    ])
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/deep/sample.pth");
    torchfile::write(&path, &sample()).unwrap();
    let file = torchfile::read(&path).unwrap();
    assert_eq!(file.tensor("transposed").unwrap().size(), [4, 3]);
    assert_eq!(file.tensor("transposed").unwrap().to_kind(tch::Kind::Int64).int64_value(&[3, 2]), 11);
    assert_eq!(file.tensor("state.a.b").unwrap().kind(), tch::Kind::Float);
    assert_eq!(file.shape("empty"), Some(&[0, 4][..]));
    assert_eq!(file.int(&["numbers", "6"]), Some(i64::MAX));
    assert_eq!(file.float(&["pair", "1"]), Some(-1e-9));
    assert_eq!(file.text(&["text"]), Some("größe"));
}

#[test]
fn the_bytes_depend_on_the_value_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.pth"), folder.path().join("other.pth"));
    torchfile::write(&a, &sample()).unwrap();
    torchfile::write(&b, &sample()).unwrap();
    assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
}

#[test]
fn python_opens_what_is_written() {
    let Some(python) = python::with_torch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.pth");
    torchfile::write(&path, &sample()).unwrap();
    let script = r#"
import sys, torch, collections
for mmap in (False, True):
    v = torch.load(sys.argv[1], weights_only=True, mmap=mmap)
    want = torch.arange(12.).view(3, 4)
    assert torch.equal(v["transposed"], want.T) and v["half"].dtype == torch.float16
    assert v["scalar"].shape == () and v["scalar"].item() == 2.5
    assert v["empty"].shape == (0, 4) and v["empty"].dtype == torch.int64
    assert type(v) is dict and type(v["state"]) is collections.OrderedDict
    assert torch.equal(v["state"]["a.b"], want) and v["state"]["a.b"].is_contiguous()
    assert v["numbers"] == [0, 255, 256, -1, 1 << 31, -(1 << 40), (1 << 63) - 1], v["numbers"]
    assert v["pair"] == (0.8, -1e-9) and v["by index"] == {7: True, 8: None}
    assert v["text"] == "gr\u00f6\u00dfe" and v["nothing"] == ()
print("ok")
"#;
    assert_eq!(python::run(&python, script, &[&path]), "ok\n");
}
