//! Conversion against the reference's pipeline, at full size; pieces, bad input, output files.

#[path = "support/mod.rs"]
mod support;
#[path = "support/weights.rs"]
mod weights;

use rvc_run::assets::Store;
use rvc_run::audio::{Audio, io};
use rvc_run::config::Config;
use rvc_run::convert::output::{self, Format};
use rvc_run::convert::{Chunking, Converter, Equipment, Settings};
use rvc_run::features::Models;
use rvc_run::files::Workspace;
use rvc_run::models::SynthesizerConfig;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use rvc_run::voice::{self, About};
use rvc_run::{Error, Kind};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use support::Golden;
use tch::Tensor;
use tempfile::TempDir;

/// The reference's own deviation is up to 2.2 between one thread and two; the manifest allows 33 of 32768.
const RMS_TOLERANCE: f64 = 33.0;

/// A workspace whose assets are filled by the rule, and the golden case. One test at a time: libtorch's generator is one.
struct Room {
    folder: TempDir,
    golden: Golden,
}

fn room() -> MutexGuard<'static, Room> {
    static ROOM: OnceLock<Mutex<Room>> = OnceLock::new();
    let make = || {
        support::one_thread();
        let folder = tempfile::tempdir().unwrap();
        let assets = folder.path().join("assets");
        std::fs::create_dir(&assets).unwrap();
        let salt = support::golden_salt();
        weights::write(&assets.join("rmvpe.pt"), weights::filled(&salt, &weights::listed("rmvpe")));
        let model = weights::filled(&salt, &weights::listed("hubert_fairseq"));
        let model = model.into_iter().map(|(key, tensor)| (key, Value::Tensor(tensor)));
        torchfile::write(&assets.join("hubert_base.pt"), &Value::dict([("model", Value::ordered(model))])).unwrap();
        Mutex::new(Room { folder, golden: Golden::open("pipeline") })
    };
    ROOM.get_or_init(make).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn models(&self) -> Models {
        Models::new(Store::new(&Workspace::new(self.folder.path())))
    }

    /// The voice of a golden run, as RVC exports it; written once. `more` are text entries behind RVC's six.
    fn voice(&self, model: &str, more: &[(&str, &str)]) -> PathBuf {
        let (keys, config) = match model {
            "v2_40k" => ("G_v2_f0_40k", Config::default()),
            "v1_40k" => ("G_v1_f0_40k", Config { version: "v1".into(), ..Config::default() }),
            "v2_40k_nono" => ("G_v2_nof0_40k", Config { if_f0: false, ..Config::default() }),
            other => panic!("no model {other}"),
        };
        let path = self.path(&format!("{model}{}.pth", more.len()));
        if !path.exists() {
            let tensors = weights::filled(&support::golden_salt(), &weights::listed(keys));
            let about = About {
                sizes: &SynthesizerConfig::from_config(&config),
                info: String::new(),
                more: more.iter().map(|(key, text)| ((*key).to_owned(), Value::text(*text))).collect(),
                card: voice::card(),
            };
            voice::write(&path, tensors.iter().map(|(key, tensor)| (key.as_str(), tensor.shallow_clone())), about)
                .unwrap();
        }
        path
    }

    fn recording(&self, name: &str) -> Audio {
        Audio { samples: Vec::try_from(self.golden.wave(name)).unwrap(), sample_rate: 16_000 }
    }

    fn settings(&self, run: &str) -> Settings {
        let entry = &self.golden.entry["runs"][run];
        let (given, config) = (&entry["settings"], &entry["config"]);
        let number = |name: &str| given[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
        let seconds = |name: &str, usual: usize| config[name].as_u64().map_or(usual, |n| n as usize);
        Settings {
            sid: number("sid") as i64,
            f0_up_key: number("f0_up_key"),
            index_rate: number("index_rate"),
            protect: number("protect"),
            rms_mix_rate: number("rms_mix_rate"),
            filter_radius: 3,
            resample_sr: number("resample_sr") as i64,
            seed: 1234,
            chunking: Chunking {
                x_pad: seconds("x_pad", 1),
                x_query: seconds("x_query", 6),
                x_center: seconds("x_center", 38),
                x_max: seconds("x_max", 41),
            },
        }
    }

    /// Runs a golden case and compares pitch, content and sound.
    fn check(&self, run: &str, equipment: &Equipment, more: &[(&str, &str)], tolerance: f64) {
        let entry = &self.golden.entry["runs"][run];
        let voice = self.voice(entry["model"].as_str().unwrap(), more);
        let converter = Converter::open(&voice, &self.models(), equipment).unwrap();
        let recording = self.recording(entry["input"].as_str().unwrap());
        let settings = self.settings(run);
        let inputs = converter.inputs(&Task::silent(), recording.clone(), &settings).unwrap();
        for (i, input) in inputs.iter().enumerate() {
            if self.golden.has(&format!("phone_{run}.{i}")) {
                let expected = self.golden.tensor(&format!("phone_{run}.{i}"));
                let every_64th = input.phone.get(0).slice(1, 0, None, 64);
                support::assert_close(&format!("{run} phone {i}"), &every_64th, &expected, 1e-3);
            }
            if let Some(pitch) = &input.pitch {
                let (hz, expected) = (pitch.hz.get(0), self.golden.tensor(&format!("pitchf_{run}.{i}")));
                assert_eq!(hz.size(), expected.size(), "{run} {i}");
                let off = (&hz - &expected).abs().gt_tensor(&(&expected * 1e-4)).to_kind(tch::Kind::Double);
                let off = off.mean(tch::Kind::Double).double_value(&[]);
                println!("golden: {run} pitchf {i}: {:.4} of the frames differ", off);
                assert!(off <= 1.0 / 200.0, "{run} pitchf {i}: {off}");
            }
        }
        let sound = converter.convert(&Task::silent(), recording, &settings).unwrap();
        assert_eq!(i64::from(sound.sample_rate), entry["rate"].as_i64().unwrap());
        let expected = self.golden.tensor(&format!("out_{run}"));
        let made = Tensor::from_slice(&output::quantised(&sound.samples));
        assert_eq!(made.size(), expected.size(), "{run}: samples");
        let difference = made.to_kind(tch::Kind::Double) - expected.to_kind(tch::Kind::Double);
        let rms = difference.square().mean(tch::Kind::Double).sqrt().double_value(&[]);
        println!("golden: {run}: rms {rms:.3} of {tolerance}, largest {}", difference.abs().max().double_value(&[]));
        assert!(rms <= tolerance, "{run}: rms {rms}");
    }
}

#[test]
fn the_whole_pipeline_gives_the_references_sound() {
    let room = room();
    room.check("v2_plain", &Equipment::default(), &[], RMS_TOLERANCE);
}

#[test]
fn long_recordings_are_cut_where_the_reference_cuts_them() {
    let room = room();
    room.check("v2_split", &Equipment::default(), &[], RMS_TOLERANCE);
}

#[test]
fn a_voice_without_pitch_gives_the_references_sound() {
    let room = room();
    room.check("v2_nof0", &Equipment::default(), &[], RMS_TOLERANCE);
}
