//! Conversion against the reference's pipeline, at full size; pieces, bad input, output files.

#[path = "support/mod.rs"]
mod support;
#[path = "support/weights.rs"]
mod weights;

use rvc_run::assets::Store;
use rvc_run::audio::{Audio, io};
use rvc_run::config::Config;
use rvc_run::convert::output::{self, Format};
use rvc_run::convert::selftest;
use rvc_run::convert::{Chunking, Converter, Equipment, Settings};
use rvc_run::features::Models;
use rvc_run::files::Workspace;
use rvc_run::models::SynthesizerConfig;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use rvc_run::voice::{self, About};
use rvc_run::{Error, Kind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use support::Golden;
use tch::Tensor;

/// The reference's own deviation is up to 2.2 between one thread and two; the manifest allows 33 of 32768.
const RMS_TOLERANCE: f64 = 33.0;

/// A workspace whose assets are filled by the rule, and the golden case. One test at a time: libtorch's generator is one.
struct Room {
    folder: PathBuf,
    golden: Golden,
}

fn room() -> MutexGuard<'static, Room> {
    static ROOM: OnceLock<Mutex<Room>> = OnceLock::new();
    let make = || {
        support::one_thread();
        let folder = support::shared_folder("convert");
        let assets = folder.join("assets");
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
        self.folder.join(name)
    }

    fn models(&self) -> Models {
        Models::new(Store::new(&Workspace::new(&self.folder)))
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
                println!("golden: {run} pitchf {i}: {off:.4} of the frames differ");
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
fn index_protection_pitch_shift_and_loudness_mix_are_the_references() {
    let room = room();
    let index = Some(support::golden_path("index_v2.index"));
    let equipment = Equipment { index, ..Equipment::default() };
    room.check("v2_index_protect_rms", &equipment, &[], RMS_TOLERANCE);
    // RVC of 2026 fills unvoiced frames, which our voices say of themselves.
    room.check("2026", &equipment, &[("f0_unvoiced", "interpolate")], RMS_TOLERANCE);
}

#[test]
fn version_1_with_its_index_and_another_rate_gives_the_references_sound() {
    let room = room();
    let index = Some(support::golden_path("index_v1.index"));
    // The manifest allows an rms of 1e-2 of full scale here: librosa resamples by another filter.
    room.check("v1_index_resample", &Equipment { index, ..Equipment::default() }, &[], 0.01 * 32768.0);
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

/// A voice of the tiny preset that hears with what needs no download.
fn tiny(room: &Room, name: &str, more: &[(&str, &str)]) -> PathBuf {
    let config = Config { preset: "tiny".into(), spk_embed_dim: 3, ..Config::default() };
    let sizes = SynthesizerConfig::from_config(&config);
    let network = rvc_run::models::Synthesizer::new(&sizes, tch::Device::Cpu, 5).unwrap();
    let usual = [("content_encoder", "mel"), ("content_digest", "mel-1"), ("f0_method", "pm")];
    let entry = |(key, text): &(&str, &str)| ((*key).to_owned(), Value::text(*text));
    let about = About {
        sizes: &sizes,
        info: "1epoch".into(),
        more: usual.iter().chain(more).map(entry).collect(),
        card: voice::card(),
    };
    let path = room.path(name);
    voice::write(&path, network.params().iter().map(|(key, tensor)| (key, tensor.shallow_clone())), about).unwrap();
    path
}

fn glide(seconds: f64, sample_rate: u32) -> Audio {
    let glide = support::Glide {
        from_hz: 150.0,
        to_hz: 270.0,
        harmonics: 6,
        amplitude: 0.18,
        noise: 0.02,
        sample_rate: f64::from(sample_rate),
    };
    Audio { samples: glide.samples("", "convert.noise", (seconds * f64::from(sample_rate)) as usize), sample_rate }
}

#[track_caller]
fn refused<T>(result: rvc_run::Result<T>, kind: Kind, words: &str) -> Error {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(words), "{error}");
    error
}

#[test]
fn the_seed_decides_and_odd_recordings_are_converted() {
    let room = room();
    let converter = Converter::open(&tiny(&room, "tiny.pth", &[]), &room.models(), &Equipment::default()).unwrap();
    let convert = |audio: Audio, settings: &Settings| converter.convert(&Task::silent(), audio, settings);
    let usual = Settings::default();
    let one = convert(glide(1.0, 16_000), &usual).unwrap();
    assert_eq!(one.sample_rate, 40_000);
    assert!((39_000..=40_000).contains(&one.samples.len()), "{}", one.samples.len());
    assert!(one.samples.iter().all(|x| x.is_finite()) && one.samples.iter().any(|x| x.abs() > 1e-4));
    assert_eq!(one, convert(glide(1.0, 16_000), &usual).unwrap());
    assert_ne!(one, convert(glide(1.0, 16_000), &Settings { seed: 7, ..usual.clone() }).unwrap());
    assert_ne!(one, convert(glide(1.0, 16_000), &Settings { sid: 2, ..usual.clone() }).unwrap());

    let silence = convert(Audio { samples: vec![0.0; 32_000], sample_rate: 16_000 }, &usual).unwrap();
    assert!(silence.samples.iter().all(|x| x.is_finite()));
    assert!(!convert(glide(0.03, 96_000), &usual).unwrap().samples.is_empty(), "30 ms at 96 kHz");
    let resampled = convert(glide(0.5, 44_100), &Settings { resample_sr: 22_050, ..usual.clone() }).unwrap();
    assert_eq!(resampled.sample_rate, 22_050);
    assert!((10_500..=11_025).contains(&resampled.samples.len()), "{}", resampled.samples.len());
}

#[test]
fn what_cannot_be_converted_is_refused_by_name() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    let open = |path: &Path, equipment: &Equipment| Converter::open(path, &room.models(), equipment);
    let converter = open(&path, &Equipment::default()).unwrap();
    let convert = |audio: Audio, settings: &Settings| converter.convert(&Task::silent(), audio, settings);
    let usual = Settings::default();
    refused(convert(glide(0.01, 16_000), &usual), Kind::AudioEmpty, "160 samples at 16 kHz, but 400 (25 ms)");
    let mut broken = glide(0.5, 16_000);
    broken.samples[800] = f32::NAN;
    refused(convert(broken, &usual), Kind::DataDamaged, "not finite, at 0.05 s");
    for (settings, words) in [
        (Settings { sid: 3, ..usual.clone() }, "sid is 3, but the voice has the speakers 0 to 2"),
        (Settings { protect: 0.6, ..usual.clone() }, "protect is 0.6"),
        (Settings { index_rate: -0.1, ..usual.clone() }, "index_rate is -0.1"),
        (Settings { rms_mix_rate: f64::NAN, ..usual.clone() }, "rms_mix_rate is NaN"),
        (Settings { f0_up_key: 99.0, ..usual.clone() }, "f0_up_key is 99"),
        (Settings { resample_sr: 8000, ..usual.clone() }, "resample_sr is 8000"),
    ] {
        refused(convert(glide(0.5, 16_000), &settings), Kind::ConfigValue, words);
    }
    let index = |name: &str| Equipment { index: Some(PathBuf::from(name)), ..Equipment::default() };
    refused(open(&path, &index("no.index")), Kind::NotFound, "no.index");
    let of_v1 = support::golden_path("index_v1.index");
    refused(open(&path, &index(of_v1.to_str().unwrap())), Kind::CheckpointMismatch, "256 values a frame (version 1)");
    let other = Equipment { content_encoder: Some("hubert_base".into()), ..Equipment::default() };
    refused(open(&path, &other), Kind::CheckpointMismatch, "trained on the content of mel-1");
    refused(
        open(&room.path("assets/rmvpe.pt"), &Equipment::default()),
        Kind::CheckpointMismatch,
        "is no exported voice",
    );
}

#[test]
fn a_file_that_contradicts_its_weights_is_refused() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    let changed = |key: &str, value: Value| {
        let (Value::Dict(mut pairs) | Value::Ordered(mut pairs)) = torchfile::read(&path).unwrap().whole().unwrap()
        else {
            panic!("a voice is a dictionary")
        };
        pairs.iter_mut().find(|(k, _)| matches!(k, Value::Text(text) if text == key)).unwrap().1 = value;
        let out = room.path("changed.pth");
        torchfile::write(&out, &Value::Ordered(pairs)).unwrap();
        Converter::open(&out, &room.models(), &Equipment::default())
    };
    refused(changed("version", Value::text("v1")), Kind::CheckpointMismatch, "says v1, but its weights are of v2");
    refused(changed("f0", Value::Int(0)), Kind::CheckpointMismatch, "says it is without pitch");
    refused(changed("config", Value::ints([1, 2, 3])), Kind::CheckpointMismatch, "3 of 18 entries");
    // Applio writes True, and sr as a number.
    changed("f0", Value::Bool(true)).unwrap();
    changed("sr", Value::Int(40_000)).unwrap();
}

#[test]
fn pieces_of_the_vocoder_join_to_the_sound_of_one_pass() {
    let _room = room();
    for (rate, version) in [(40_000, "v2"), (48_000, "v2"), (32_000, "v1")] {
        let config = Config { preset: "tiny".into(), sample_rate: rate, version: version.into(), ..Config::default() };
        let network =
            rvc_run::models::Synthesizer::for_conversion(&SynthesizerConfig::from_config(&config), tch::Device::Cpu);
        let network = network.unwrap();
        let _no_grad = tch::no_grad_guard();
        let options = (tch::Kind::Float, tch::Device::Cpu);
        let z = Tensor::randn([1, 32, 90], options);
        let f0 = Tensor::full([1, 90], 180.0, options);
        let g = network.speaker(&Tensor::from_slice(&[0i64]));
        tch::manual_seed(3);
        let whole = network.dec.forward(&z, Some(&f0), &g);
        for piece in [7, 30, 89] {
            tch::manual_seed(3);
            let pieces = network.dec.forward_in_pieces(&z, Some(&f0), &g, piece);
            // Equal but for the order of additions inside libtorch.
            support::assert_close(&format!("{rate} {version} in pieces of {piece}"), &pieces, &whole, 1e-5);
        }
    }
}

#[test]
fn the_self_test_passes_the_voice_itself_and_no_other() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    let converter = Converter::open(&path, &room.models(), &Equipment::default()).unwrap();
    let config = Config { preset: "tiny".into(), spk_embed_dim: 3, ..Config::default() };
    let network =
        rvc_run::models::Synthesizer::new(&SynthesizerConfig::from_config(&config), tch::Device::Cpu, 5).unwrap();
    let run = || selftest::run(&converter, &network, &glide(1.0, 16_000), &Settings::default());
    let passed = run().unwrap();
    println!("self-test of a random voice: {:.1} dB", passed.snr);
    assert!(passed.snr > 40.0 && passed.sound.sample_rate == 40_000, "{}", passed.snr);
    // One residual block of the generator changes its sign: the file is no longer its voice.
    let weight = network.params().get("dec.resblocks.3.convs2.0.weight_v").unwrap();
    tch::no_grad(|| {
        let _ = weight.shallow_clone().neg_();
    });
    let error = refused(run(), Kind::CheckpointMismatch, "fails its self-test");
    println!("{error}");
}

#[test]
fn files_hold_what_was_converted() {
    let folder = tempfile::tempdir().unwrap();
    let sound = Audio { samples: [0.5, -0.25, 0.0, 0.9, -1.98].repeat(200), sample_rate: 40_000 };
    // A peak of 1.98 is brought to 0.99; RVC truncates toward zero.
    let expected = [8192i16, -4096, 0, 14745, -32440].repeat(200);
    assert_eq!(output::quantised(&sound.samples), expected);
    for (format, name) in [(Format::Wav16, "a.wav"), (Format::Flac, "a.flac"), (Format::Wav32, "b.wav")] {
        let path = folder.path().join(name);
        output::write(&path, &sound, format).unwrap();
        let read = io::load(&path).unwrap();
        assert_eq!((read.samples.len(), read.sample_rate), (1000, 40_000), "{name}");
        for (read, &expected) in read.samples.iter().zip(&expected) {
            assert!((read - f32::from(expected) / 32768.0).abs() < 1.0 / 32768.0, "{name}");
        }
    }
    let long = glide(2.0, 40_000);
    let path = folder.path().join("long.flac");
    output::write(&path, &long, Format::Flac).unwrap();
    let whole: Vec<f32> = output::quantised(&long.samples).iter().map(|x| f32::from(*x) / 32768.0).collect();
    assert_eq!(io::load(&path).unwrap().samples, whole);
    refused(Format::named("mp3"), Kind::ConfigValue, "must be one of wav, wav32, flac");
}
