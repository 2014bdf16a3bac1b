//! Written files are read back, by us and by Python.

use crate::support::python;
use rvc_run::torchfile::{self, Plain, Value};
use tch::Tensor;

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
fn written_values_are_read_back() {
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
    assert_eq!(file.entries(&["by index"]).unwrap(), ["7", "8"]);
    assert_eq!(file.text(&["text"]), Some("größe"));
    assert_eq!(file.value(&["nothing"]), Some(Plain::Tuple(0)));
    assert_eq!(file.value(&["by index", "7"]), Some(Plain::Bool(true)));
}

#[test]
fn the_bytes_depend_only_on_the_value() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.pth"), folder.path().join("other.pth"));
    torchfile::write(&a, &sample()).unwrap();
    torchfile::write(&b, &sample()).unwrap();
    assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
}

#[test]
fn python_opens_written_files() {
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
