//! The field's pretrained files at full size and in their own containers, filled by the golden weight rule.

use super::golden_salt;
use super::pickle::{Pickle, checkpoint};
use super::weights::{filled, listed};
use std::path::Path;
use tch::{Kind, Tensor};

/// RVC's hubert_base.pt: a fairseq trainer's state in half precision, with the one foreign class that is known in the real
/// file, `fairseq.data.dictionary.Dictionary`, built by NEWOBJ and BUILD (spec C.2).
pub fn hubert_base(path: &Path) {
    let tensors = filled(&golden_salt(), &listed("hubert_fairseq"));
    let dictionary = |p: Pickle| {
        let state = |p: Pickle| p.text("bos_word").text("<s>").text("symbols").op("]").text("nspecial").int(4);
        p.global("fairseq.data.dictionary", "Dictionary").op(")").op([0x81]).op("}").marked("u", state).op("b")
    };
    let whole = |p: Pickle| {
        let p = p.text("args").op("N").text("cfg").op("}").marked("u", |p| p.text("task").op("}"));
        let p = state_dict(p.text("model"), &tensors);
        let p = p.text("task_state").op("}").marked("u", |p| p.text("dictionaries").op("]").marked("e", dictionary));
        p.text("extra_state").op("}").text("optimizer_history").op("]")
    };
    write(path, Pickle::new(2).op("}").marked("u", whole), &tensors);
}

/// rmvpe.pt: a bare state dict in half precision, with batch norm's counters (spec B.5).
pub fn rmvpe(path: &Path) {
    let tensors = filled(&golden_salt(), &listed("rmvpe"));
    write(path, state_dict(Pickle::new(2), &tensors), &tensors);
}

/// A base of G or D as RVC publishes them: half precision under "model"; `keys` is its list in tests/golden/keys.
pub fn base(path: &Path, keys: &str) {
    let tensors = filled(&golden_salt(), &listed(keys));
    let whole = |p: Pickle| state_dict(p.text("model"), &tensors);
    write(path, Pickle::new(2).op("}").marked("u", whole), &tensors);
}

/// An OrderedDict of half-precision tensors with torch's `_metadata`.
fn state_dict(p: Pickle, tensors: &[(String, Tensor)]) -> Pickle {
    let entries = |p: Pickle| {
        tensors
            .iter()
            .enumerate()
            .fold(p, |p, (i, (key, tensor))| p.text(key).tensor("HalfStorage", &i.to_string(), &tensor.size()))
    };
    let metadata = |p: Pickle| p.text("_metadata").global("collections", "OrderedDict").op(")R");
    p.global("collections", "OrderedDict").op(")R").marked("u", entries).op("}").marked("u", metadata).op("b")
}

fn write(path: &Path, pickle: Pickle, tensors: &[(String, Tensor)]) {
    let bytes = |tensor: &Tensor| {
        let half = tensor.to_kind(Kind::Half).contiguous();
        let mut bytes = vec![0u8; half.numel() * 2];
        half.copy_data_u8(&mut bytes, half.numel());
        bytes
    };
    let storages: Vec<(String, Vec<u8>)> =
        tensors.iter().enumerate().map(|(i, (_, tensor))| (i.to_string(), bytes(tensor))).collect();
    let storages: Vec<(&str, &[u8])> = storages.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
    std::fs::write(path, checkpoint(&pickle.stop(), &storages)).expect("a writable folder");
}
