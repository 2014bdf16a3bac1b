//! Files of the Python reference: every tensor and every plain value that the manifest knows.

use super::{checkpoint, checksum, read_all};
use crate::support::Golden;
use rvc_run::torchfile::{self, Plain, TorchFile};
use serde_json::{Value as Json, json};

fn open(name: &str) -> TorchFile {
    torchfile::read(&checkpoint(name)).unwrap()
}

/// Compares the tensors below `prefix` with the manifest's.
#[track_caller]
fn assert_tensors(file: &TorchFile, prefix: &str, expected: &Json) {
    let state = file.state_dict(prefix).unwrap();
    let expected = expected.as_object().unwrap();
    assert_eq!(state.len(), expected.len(), "number of tensors");
    for (name, expected) in expected {
        assert_eq!(&checksum(&state[name]), expected, "{name}");
    }
}

#[test]
fn a_checkpoint_of_the_reference_is_read_with_its_optimizer() {
    let golden = Golden::open("checkpoints");
    let expected = &golden.entry["sound"]["G_14.pth"];
    let file = open("G_14.pth");
    assert_tensors(&file, "model", &expected["model"]);
    assert_eq!(file.int(&["iteration"]), Some(7));
    assert_eq!(file.float(&["learning_rate"]), Some(1e-4));
    assert_eq!(file.float(&["optimizer", "param_groups", "0", "lr"]), Some(9.997_500_156_25e-5));
    let moments = expected["optimizer.state"].as_object().unwrap();
    assert!(!moments.is_empty());
    for (index, moments) in moments {
        for (part, checksum_of_part) in moments.as_object().unwrap() {
            let name = format!("optimizer.state.{index}.{part}");
            assert_eq!(&checksum(&file.tensor(&name).unwrap()), checksum_of_part, "{name}");
        }
    }
}

#[test]
fn names_and_entries_come_in_the_order_of_the_file() {
    let golden = Golden::open("checkpoints");
    let expected = golden.entry["sound"]["G_14.pth"]["model"].as_object().unwrap();
    let file = open("G_14.pth");
    let keys: Vec<&String> = expected.keys().collect();
    assert_eq!(file.entries(&["model"]).unwrap().iter().collect::<Vec<_>>(), keys);
    let names: Vec<&str> = file.names().into_iter().filter_map(|n| n.strip_prefix("model.")).collect();
    assert_eq!(names, keys);
    assert_eq!(file.entries(&[]).unwrap(), ["model", "iteration", "optimizer", "learning_rate"]);
    let moments = file.entries(&["optimizer", "state"]).unwrap();
    assert_eq!(moments, (0..moments.len()).map(|i| i.to_string()).collect::<Vec<_>>(), "integer keys");
}

#[test]
fn an_exported_voice_is_read_in_both_containers() {
    let golden = Golden::open("checkpoints");
    let expected = &golden.entry["sound"]["tiny_e7.pth"];
    for name in ["tiny_e7.pth", "tiny_legacy.pth"] {
        let file = open(name);
        assert_tensors(&file, "weight", &expected["weight"]);
        assert_eq!(as_json(&file, &["config"]), expected["top"]["config"], "{name}");
        for key in ["info", "sr", "f0", "version"] {
            assert_eq!(as_json(&file, &[key]), expected["top"][key], "{name} {key}");
        }
    }
}

#[test]
fn views_and_odd_types_are_read_element_by_element() {
    let golden = Golden::open("checkpoints");
    for name in ["odd_zip.pth", "odd_legacy.pth"] {
        let file = open(name);
        assert_tensors(&file, "odd", &golden.entry["sound"][name]["odd"]);
    }
}

#[test]
fn plain_values_of_every_type_are_read() {
    let golden = Golden::open("checkpoints");
    for name in ["odd_zip.pth", "odd_legacy.pth"] {
        let file = open(name);
        let expected = &golden.entry["sound"][name];
        assert_eq!(as_json(&file, &["list"]), expected["list"], "{name}");
        assert_eq!(as_json(&file, &["tuple"]), expected["tuple"], "{name}");
        assert_eq!(as_json(&file, &["set"]), expected["set"], "{name}");
        let big = expected["big"].as_str().unwrap().parse().unwrap();
        assert_eq!(file.value(&["big"]), Some(Plain::Big(big)), "{name}");
        assert_eq!(expected["bytes_hex"], "00ff");
        assert_eq!(file.value(&["bytes"]), Some(Plain::Bytes(&[0x00, 0xff])), "{name}");
        assert_eq!(file.text(&["5"]), Some("integer key"), "{name}");
    }
}

/// A value and all below it; foreign objects and tensors by their names.
fn as_json(file: &TorchFile, path: &[&str]) -> Json {
    let entries = || {
        let keys = file.entries(path).unwrap();
        keys.iter().map(|key| as_json(file, &[path, &[key.as_str()]].concat())).collect::<Vec<Json>>()
    };
    match file.value(path).unwrap_or_else(|| panic!("nothing at {path:?}")) {
        Plain::None => Json::Null,
        Plain::Bool(b) => json!(b),
        Plain::Int(n) => json!(n),
        Plain::Float(x) => json!(x),
        Plain::Text(text) => json!(text),
        Plain::List(_) | Plain::Tuple(_) | Plain::Set(_) => json!(entries()),
        other => json!(format!("{other:?}")),
    }
}

#[test]
fn a_fairseq_checkpoint_is_read_around_its_foreign_classes() {
    let golden = Golden::open("checkpoints");
    for name in ["fairseq_like.pt", "fairseq_like_legacy.pt"] {
        let file = open(name);
        let expected = &golden.entry["sound"][name];
        assert_eq!(file.state_dict_prefix(&["state_dict", "model", ""]), Some("model"));
        assert_tensors(&file, "model", &expected["model"]);
        // Attributes of foreign objects are data; the objects themselves are names.
        assert_eq!(file.value(&["args"]), Some(Plain::Object("argparse.Namespace")));
        assert_eq!(file.text(&["args", "arch"]), Some("hubert"));
        assert_eq!(file.float(&["args", "lr", "0"]), Some(0.0005));
        let config = ["cfg", "_content", "task", "_content", "sample_rate", "_val"];
        assert_eq!(file.int(&config), expected["sample_rate_in_cfg"].as_i64(), "{name}");
        assert_eq!(file.int(&["optimizer_history", "0", "num_updates"]), expected["num_updates"].as_i64());
        let dictionary = ["task_state", "dictionaries", "0"];
        assert_eq!(file.value(&dictionary), Some(Plain::Object("fairseq.data.dictionary.Dictionary")));
        assert_eq!(file.int(&[&dictionary[..], &["indices", "<pad>"]].concat()), Some(1));
        // numpy's scalars are numbers, and a tensor inside of a foreign object is one.
        assert_eq!(file.float(&["extra_state", "best"]), Some(3.0));
        assert_eq!(file.float(&["extra_state", "metrics", "loss", "val"]), Some(1.5));
        assert_eq!(file.tensor("extra_state.metrics.loss.sum").unwrap().size(), [0i64; 0]);
    }
}

#[test]
fn a_bare_tensor_has_the_empty_name() {
    let golden = Golden::open("checkpoints");
    let file = open("bare.spec.pt");
    assert_eq!(file.names(), [""]);
    assert_eq!(file.shape(""), Some(&[5, 7][..]));
    assert_eq!(checksum(&file.tensor("").unwrap()), golden.entry["sound"]["bare.spec.pt"]["tensor"]);
    assert_eq!(file.state_dict_prefix(&["model", ""]), None, "a tensor is no state dict");
}

#[test]
fn every_sound_file_is_read_to_the_last_tensor() {
    let golden = Golden::open("checkpoints");
    let files = golden.entry["sound"].as_object().unwrap();
    assert_eq!(files.len(), 8);
    for name in files.keys() {
        assert!(read_all(&checkpoint(name)).unwrap() > 0, "{name}");
    }
}

#[test]
fn the_state_dict_is_found_in_every_wrapping() {
    let wrappings = ["model", "state_dict", "weight", ""];
    let found = |name: &str| open(name).state_dict_prefix(&wrappings);
    assert_eq!(found("G_14.pth"), Some("model"));
    assert_eq!(found("tiny_e7.pth"), Some("weight"));
    assert_eq!(found("fairseq_like.pt"), Some("model"));
    assert_eq!(found("odd_zip.pth"), None, "its tensors are below another name");
    assert_eq!(open("odd_zip.pth").state_dict_prefix(&["od", "odd"]), Some("odd"));
}

#[test]
fn a_name_that_is_not_there_is_an_error_with_the_nearest() {
    let file = open("tiny_e7.pth");
    let error = file.tensor("weight.dec.conv_pre.wieght").unwrap_err();
    assert!(error.hint_text().unwrap().contains("weight.dec.conv_pre.weight"), "{error}");
    let error = file.tensor("info").unwrap_err();
    assert!(error.message().contains("it is a str"), "{error}");
    let error = file.state_dict("model").unwrap_err();
    assert!(error.message().contains("no tensor \"model\""), "{error}");
}
