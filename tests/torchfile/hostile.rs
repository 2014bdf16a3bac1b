//! Hostile files: nothing is executed, nothing crashes, and no file costs more than its size allows.
//!
//! The golden ones were seen to run in Python's pickle; each would leave a file, its canary, in the current folder.

use super::{assert_refused_or_inert, checkpoint, read_all};
use crate::support::Golden;
use crate::support::allocations::peak_of;
use rvc_run::{Kind, torchfile};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a file may cost beyond its own length (reliability R10).
const SLACK_BYTES: usize = 64 << 20;
const TIME: Duration = Duration::from_secs(2);

/// Fails unless a file is refused or inert, within time and memory; prints how it ended.
#[track_caller]
pub fn assert_harmless(label: &str, path: &Path) {
    let start = Instant::now();
    let (result, peak) = peak_of(|| read_all(path));
    let time = start.elapsed();
    match &result {
        Ok(n) => println!("{label}: plain data, {n} tensors"),
        Err(error) => println!("{label}: {error}"),
    }
    assert_refused_or_inert(label, &result);
    assert!(time < TIME, "{label} took {time:?}");
    let limit = SLACK_BYTES + std::fs::metadata(path).unwrap().len() as usize;
    assert!(peak < limit, "{label} took {peak} bytes of memory, allowed {limit}");
}

#[test]
fn hostile_files_execute_nothing_and_end_quickly() {
    let golden = Golden::open("checkpoints");
    let hostile = golden.entry["hostile"].as_object().unwrap();
    assert_eq!(hostile.len(), 15);
    for (name, about) in hostile {
        assert_harmless(name, &checkpoint(name));
        if let Some(canary) = about["canary"].as_str() {
            assert!(!Path::new(canary).exists(), "{name} was executed");
        }
    }
}

#[test]
fn reading_the_result_of_a_call_names_the_call() {
    for (name, prefix, call) in [
        ("evil_os_system.pth", "model", "posix.system"),
        ("evil_eval.pth", "weight", "builtins.eval"),
        ("evil_getattr.pth", "model", "builtins.getattr"),
        ("evil_obj.pth", "model", "subprocess.Popen"),
        ("evil_persid.pth", "model", "os.system"),
    ] {
        let file = torchfile::read(&checkpoint(name)).unwrap();
        let error = file.state_dict(prefix).unwrap_err();
        assert_eq!(error.kind(), Kind::CheckpointDamaged, "{name}");
        assert!(error.message().contains(call) && error.message().contains("never run"), "{name}: {error}");
    }
    let file = torchfile::read(&checkpoint("evil_nested.pth")).unwrap();
    let error = file.tensor("model.w").unwrap_err();
    assert!(error.message().contains("os.system"), "{error}");
}

#[test]
fn tensors_that_claim_too_much_are_refused_with_the_reason() {
    for (name, why) in [
        ("bad_bounds.pth", "reaches beyond its storage of 4 elements"),
        ("bad_key.pth", "not a plain name"),
        ("bomb_tensor.pth", "more than its file can hold"),
    ] {
        let file = torchfile::read(&checkpoint(name)).unwrap();
        for error in [file.tensor("model.w").unwrap_err(), file.state_dict("model").unwrap_err()] {
            assert_eq!(error.kind(), Kind::CheckpointDamaged, "{name}: {error}");
            println!("{error}");
        }
        let error = file.tensor("model.w").unwrap_err();
        assert!(error.message().contains(why), "{name}: {error}");
    }
}

#[test]
fn unreadable_files_are_refused_with_the_reason() {
    for (name, why) in [
        ("bomb_length.pth", "bytes are claimed"),
        ("evil_inst.pth", "is a text, which begins with"),
        ("bad_truncated.pth", "zip"),
    ] {
        let error = torchfile::read(&checkpoint(name)).err().unwrap();
        assert_eq!(error.kind(), Kind::CheckpointDamaged, "{name}: {error}");
        assert!(error.message().contains(why), "{name}: {error}");
        assert!(error.hint_text().is_some(), "{name}");
    }
}

#[test]
fn depth_doubling_and_cycles_are_plain_data() {
    for name in ["bomb_depth.pth", "bomb_doubling.pth", "bad_cycle.pth"] {
        let file = torchfile::read(&checkpoint(name)).unwrap();
        assert!(file.names().is_empty(), "{name}");
        assert!(!file.entries(&[]).unwrap().is_empty(), "{name}");
    }
}

#[test]
fn a_file_that_is_not_there_and_one_of_noise_differ_in_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.pth");
    assert_eq!(torchfile::read(&path).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(torchfile::read(folder.path()).err().unwrap().kind(), Kind::Read, "a folder");
    for bytes in [&b""[..], b"hello", &[0x80, 2], &[0x50, 0x4b, 3, 4, 0, 0]] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(torchfile::read(&path).err().unwrap().kind(), Kind::CheckpointDamaged, "{bytes:?}");
    }
}
