//! Shared by the tests of preparation: recordings of generated sound, and the state of a voice's folder.

use rvc_run::audio::io;
use rvc_run::files;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Rate of the generated recordings, in Hz; unlike the voice's, so that resampling is part of it.
pub const RATE: u32 = 16000;

/// A gliding vowel-like sound; every number gives another sound.
pub fn record(path: &Path, sound: u32, seconds: f64) {
    let n = (seconds * f64::from(RATE)) as usize;
    let base = 90.0 + 17.0 * f64::from(sound);
    let samples: Vec<f32> = (0..n)
        .map(|i| {
            let t = i as f64 / f64::from(RATE);
            let phase = std::f64::consts::TAU * (base * t + 8.0 * t * t);
            (0.3 * phase.sin() + 0.15 * (2.0 * phase).sin() + 0.08 * (5.0 * phase).sin()) as f32
        })
        .collect();
    io::write_wav(path, &samples, RATE).unwrap();
}

/// A recording of two channels, the right one `right` times the left.
pub fn record_stereo(path: &Path, sound: u32, seconds: f64, right: f32) {
    record(path, sound, seconds);
    let left = io::load(path).unwrap().samples;
    let data: Vec<u8> = left.iter().flat_map(|x| [x.to_le_bytes(), (x * right).to_le_bytes()].concat()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((data.len() as u32 + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x03\0\x02\0");
    bytes.extend([RATE.to_le_bytes(), (RATE * 8).to_le_bytes()].concat());
    bytes.extend(b"\x08\0\x20\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

/// The same samples in other bytes: a chunk that readers skip, as a tag is.
pub fn retag(path: &Path) {
    let mut bytes = files::read(path).unwrap();
    bytes.extend(b"note\x04\0\0\0tag!");
    let size = (bytes.len() as u32 - 8).to_le_bytes();
    bytes[4..8].copy_from_slice(&size);
    std::fs::write(path, bytes).unwrap();
}

/// Every file below a voice's folder that training reads, by relative path; the paths in the file list made relative.
pub fn snapshot(logs: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![logs.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in files::list(&folder).unwrap() {
            let name = path.strip_prefix(logs).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name == "filelist.txt" {
                let text = files::read_text(&path).unwrap();
                all.insert(name, text.replace(logs.to_str().unwrap(), "LOGS"));
            } else if name != "cache_metadata.json" && name != ".lock" {
                all.insert(name, files::digest_file(&path).unwrap());
            }
        }
    }
    all
}

pub fn copy_tree(from: &Path, to: &Path) {
    files::create_folder(to).unwrap();
    for path in files::list(from).unwrap() {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// What a test that is started as a process of its own finds its workspace by.
pub const CHILD: &str = "RVC_TEST_CHILD";
const STARTED: &str = "started";

/// The workspace of the child that this process is, if it is one.
pub fn child_root() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// The line that a child prints right before its work.
pub fn say_started() {
    println!("{STARTED}");
}

/// Starts the [`only`] test of these arguments as a child that works in `root`, and kills it this many milliseconds after it reported
/// that it begins: loading the program takes longer (0.4 s) than most of the work, which a moment counted from the start would miss.
pub fn kill_child(arguments: &[String], root: &Path, milliseconds: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .env(CHILD, root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with(STARTED)), "the child {arguments:?} did not begin");
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    child.kill().unwrap();
    child.wait().unwrap();
}
