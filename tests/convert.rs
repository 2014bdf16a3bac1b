//! Conversion against the reference's pipeline, at full size; chunks, bad input, output files.

use crate::support::{self, Golden, weights};
use rvc_run::assets::Store;
use rvc_run::audio::{Audio, io};
use rvc_run::config::Config;
use rvc_run::config::choices::{EncoderName, F0Unvoiced, Preset, Version};
use rvc_run::convert::output::{self, Format};
use rvc_run::convert::selftest;
use rvc_run::convert::{Chunking, Converter, Settings, VoiceOptions};
use rvc_run::features::Models;
use rvc_run::files::Workspace;
use rvc_run::models::SynthesizerConfig;
use rvc_run::task::Task;
use rvc_run::torchfile::{self, Value};
use rvc_run::voice::{self, About};
use rvc_run::{Error, Kind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tch::Tensor;

/// The reference's own deviation is up to 2.2 between one thread and two; the manifest allows 33 of 32768.
const RMS_TOLERANCE: f64 = 33.0;

/// A workspace whose assets are filled by the rule, and the golden case.
struct Room {
    folder: PathBuf,
    golden: Golden,
}

/// For one test at a time.
fn room() -> MutexGuard<'static, Room> {
    static ROOM: OnceLock<Mutex<Room>> = OnceLock::new();
    let make = || {
        support::one_thread();
        let folder = support::shared_folder("convert");
        std::fs::create_dir(folder.join("assets")).unwrap();
        Mutex::new(Room { folder, golden: Golden::open("pipeline") })
    };
    ROOM.get_or_init(make).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// RMVPE at full size; written once.
    fn rmvpe(&self) -> PathBuf {
        let path = self.path("assets/rmvpe.pt");
        if !path.exists() {
            weights::write(&path, weights::filled(&support::golden_salt(), &weights::listed("rmvpe")));
        }
        path
    }

    /// HuBERT at full size; written once.
    fn hubert(&self) {
        let path = self.path("assets/hubert_base.pt");
        if !path.exists() {
            let model = weights::filled(&support::golden_salt(), &weights::listed("hubert_fairseq"));
            let model = model.into_iter().map(|(key, tensor)| (key, Value::Tensor(tensor)));
            torchfile::write(&path, &Value::dict([("model", Value::ordered(model))])).unwrap();
        }
    }

    fn models(&self) -> Models {
        Models::new(Store::new(&Workspace::new(&self.folder)))
    }

    /// The voice of a golden run, as RVC exports it; written once. `more` are text entries after RVC's six.
    fn voice(&self, model: &str, more: &[(&str, &str)]) -> PathBuf {
        let (keys, config) = match model {
            "v2_40k" => ("G_v2_f0_40k", Config::default()),
            "v1_40k" => ("G_v1_f0_40k", Config { version: Version::V1, ..Config::default() }),
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
            filter_radius: given["filter_radius"].as_i64().unwrap_or(3),
            resample_sr: number("resample_sr") as i64,
            seed: self.golden.numbers_behind("/seeding", "manual_seed(")[0],
            chunking: Chunking {
                x_pad: seconds("x_pad", 1),
                x_query: seconds("x_query", 6),
                x_center: seconds("x_center", 38),
                x_max: seconds("x_max", 41),
            },
        }
    }

    /// Runs a golden case and compares pitch, content and sound.
    fn check(&self, run: &str, voice_options: &VoiceOptions, more: &[(&str, &str)], tolerance: f64) {
        let entry = &self.golden.entry["runs"][run];
        self.rmvpe();
        self.hubert();
        let voice = self.voice(entry["model"].as_str().unwrap(), more);
        let converter = Converter::open(&voice, &self.models(), voice_options).unwrap();
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
        // The reference ends up to 20 ms early; ours is as long as the recording (see `Converter::convert`).
        let seconds = self.recording(entry["input"].as_str().unwrap()).seconds();
        assert!((sound.seconds() - seconds).abs() < 1e-3, "{run}: {} s of {seconds} s", sound.seconds());
        let early = sound.samples.len() as i64 - expected.size()[0];
        assert!((0..=i64::from(sound.sample_rate) / 40).contains(&early), "{run}: {early} samples more");
        let made = Tensor::from_slice(&output::quantised(&sound.samples)).narrow(0, 0, expected.size()[0]);
        let difference = made.to_kind(tch::Kind::Double) - expected.to_kind(tch::Kind::Double);
        let rms = difference.square().mean(tch::Kind::Double).sqrt().double_value(&[]);
        println!("golden: {run}: rms {rms:.3} of {tolerance}, largest {}", difference.abs().max().double_value(&[]));
        assert!(rms <= tolerance, "{run}: rms {rms}");
    }
}

#[test]
fn the_whole_pipeline_gives_the_references_sound() {
    let room = room();
    room.check("v2_plain", &VoiceOptions::default(), &[], RMS_TOLERANCE);
}

#[test]
#[ignore = "slow: full-size networks"]
fn index_protection_pitch_shift_and_loudness_mix_are_the_references() {
    let room = room();
    let index = Some(support::golden_path("index_v2.index"));
    let voice_options = VoiceOptions { index, ..VoiceOptions::default() };
    room.check("v2_index_protect_rms", &voice_options, &[], RMS_TOLERANCE);
    // RVC of 2026 fills unvoiced frames; our voices record that.
    room.check("2026", &voice_options, &[("f0_unvoiced", "interpolate")], RMS_TOLERANCE);
}

#[test]
#[ignore = "slow: full-size networks"]
fn version_1_with_its_index_and_another_rate_gives_the_references_sound() {
    let room = room();
    let index = Some(support::golden_path("index_v1.index"));
    // The manifest allows an rms of 1e-2 of full scale here: librosa resamples by another filter.
    room.check("v1_index_resample", &VoiceOptions { index, ..VoiceOptions::default() }, &[], 0.01 * 32768.0);
}

#[test]
#[ignore = "slow: full-size networks"]
fn long_recordings_are_cut_where_the_reference_cuts_them() {
    let room = room();
    room.check("v2_split", &VoiceOptions::default(), &[], RMS_TOLERANCE);
}

#[test]
#[ignore = "slow: full-size networks"]
fn a_voice_without_pitch_gives_the_references_sound() {
    let room = room();
    room.check("v2_nof0", &VoiceOptions::default(), &[], RMS_TOLERANCE);
}

/// A voice of the tiny preset whose pitch and content methods need no download.
fn tiny(room: &Room, name: &str, more: &[(&str, &str)]) -> PathBuf {
    let config = Config { preset: Preset::Tiny, spk_embed_dim: 3, ..Config::default() };
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
fn the_seed_decides_and_unusual_recordings_are_converted() {
    let room = room();
    let converter = Converter::open(&tiny(&room, "tiny.pth", &[]), &room.models(), &VoiceOptions::default()).unwrap();
    let convert = |audio: Audio, settings: &Settings| converter.convert(&Task::silent(), audio, settings);
    let usual = Settings::default();
    let one = convert(glide(1.0, 16_000), &usual).unwrap();
    assert_eq!(one.sample_rate, 40_000);
    assert_eq!(one.samples.len(), 40_000);
    assert!(one.samples.iter().all(|x| x.is_finite()) && one.samples.iter().any(|x| x.abs() > 1e-4));
    assert_eq!(one, convert(glide(1.0, 16_000), &usual).unwrap());
    assert_ne!(one, convert(glide(1.0, 16_000), &Settings { seed: 7, ..usual.clone() }).unwrap());
    assert_ne!(one, convert(glide(1.0, 16_000), &Settings { sid: 2, ..usual.clone() }).unwrap());

    let silence = convert(Audio { samples: vec![0.0; 32_000], sample_rate: 16_000 }, &usual).unwrap();
    assert!(silence.samples.iter().all(|x| x.is_finite()));
    assert!(!convert(glide(0.03, 96_000), &usual).unwrap().samples.is_empty(), "30 ms at 96 kHz");
    let resampled = convert(glide(0.5, 44_100), &Settings { resample_sr: 22_050, ..usual.clone() }).unwrap();
    assert_eq!(resampled.sample_rate, 22_050);
    assert!((11_024..=11_026).contains(&resampled.samples.len()), "{}", resampled.samples.len());
}

#[test]
fn unusable_recordings_and_settings_are_refused_by_name() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    let open = |path: &Path, voice_options: &VoiceOptions| Converter::open(path, &room.models(), voice_options);
    let converter = open(&path, &VoiceOptions::default()).unwrap();
    let convert = |audio: Audio, settings: &Settings| converter.convert(&Task::silent(), audio, settings);
    let usual = Settings::default();
    refused(
        convert(glide(0.01, 16_000), &usual),
        Kind::AudioEmpty,
        "160 samples at 16 kHz, but needs at least 400 (25 ms)",
    );
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
    let index = |name: &str| VoiceOptions { index: Some(PathBuf::from(name)), ..VoiceOptions::default() };
    refused(open(&path, &index("no.index")), Kind::NotFound, "no.index");
    let of_v1 = support::golden_path("index_v1.index");
    refused(open(&path, &index(of_v1.to_str().unwrap())), Kind::CheckpointMismatch, "256 values per frame (version 1)");
    room.hubert();
    let other = VoiceOptions { content_encoder: Some(EncoderName::HubertBase.into()), ..VoiceOptions::default() };
    refused(open(&path, &other), Kind::CheckpointMismatch, "trained on the content of mel-1");
    refused(
        open(&room.rmvpe(), &VoiceOptions::default()),
        Kind::CheckpointMismatch,
        "is RMVPE, a pitch network, but a voice is needed",
    );
}

/// A voice with one of its entries replaced (or removed for None), and the warnings when it is opened.
fn changed(room: &Room, voice: &Path, key: &str, value: Option<Value>) -> rvc_run::Result<Vec<String>> {
    let (Value::Dict(mut pairs) | Value::Ordered(mut pairs)) = torchfile::read(voice).unwrap().whole().unwrap() else {
        panic!("a voice is a dictionary")
    };
    pairs.retain(|(k, _)| !matches!(k, Value::Text(text) if text == key));
    pairs.extend(value.map(|value| (Value::text(key), value)));
    let out = room.path("changed.pth");
    torchfile::write(&out, &Value::Ordered(pairs)).unwrap();
    let converter = Converter::open(&out, &room.models(), &VoiceOptions::default())?;
    let sound = converter.convert(&Task::silent(), glide(0.5, 16_000), &Settings::default())?;
    assert_eq!((sound.sample_rate, sound.samples.len()), (40_000, 20_000), "{key}");
    Ok(converter.voice().notes.clone())
}

#[test]
fn wrong_entries_of_a_voice_are_replaced_by_its_weights_and_reported() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    let list = |rate: Value, more: Option<Value>| {
        let mut list: Vec<Value> = (0..17).map(Value::Int).collect();
        list.push(rate);
        list.extend(more);
        Some(Value::List(list))
    };
    let sized = |n: i64| Some(Value::ints((0..n - 1).chain([40_000])));
    let text = |text: &str| Some(Value::text(text));
    let cases: Vec<(&str, Option<Value>, &str)> = vec![
        // A correct value in another spelling needs no warning.
        ("f0", Some(Value::Bool(true)), ""),
        ("f0", Some(Value::Float(1.0)), ""),
        ("f0", text("1"), ""),
        ("f0", text("True"), ""),
        ("f0", None, ""),
        ("sr", Some(Value::Int(40_000)), ""),
        ("sr", text("40000"), ""),
        ("sr", None, ""),
        ("config", list(Value::Float(40_000.0), None), ""),
        ("config", list(Value::text("40k"), None), ""),
        ("config", list(Value::text("40000"), None), ""),
        ("version", text("V2"), ""),
        // A wrong value is reported, with the given value and the value used.
        ("f0", Some(Value::Int(0)), "its entry \"f0\" is 0, but its weights show pitch, which is used"),
        ("f0", Some(Value::Float(0.0)), "\"f0\" is 0.0"),
        ("f0", text("maybe"), "\"f0\" is \"maybe\""),
        ("f0", Some(Value::ints([1])), "\"f0\" is a list of 1"),
        ("version", text("v1"), "its entry \"version\" is \"v1\", but its weights show v2, which is used"),
        ("version", Some(Value::Int(2)), "\"version\" is 2"),
        ("version", None, "it has no entry \"version\", which means v1, but its weights show v2"),
        ("config", None, "it has no entry \"config\""),
        ("config", sized(19), "has 19 values instead of 18"),
        ("config", Some(Value::ints([1, 2, 3])), "has 3 values instead of 18"),
        ("config", list(Value::Int(48_000), None), "\"config\"[17], the rate, is 48000, but its weights show 40000 Hz"),
        ("config", list(Value::Float(40_000.5), None), "the rate, is 40000.5"),
        ("config", list(Value::text("fast"), None), "the rate, is \"fast\""),
        ("config", list(Value::Int(768), Some(Value::Int(40_000))), "has 19 values"),
        ("sr", text("48k"), "its entry \"sr\" is \"48k\""),
        ("vocoder", text("RefineGAN"), "its entry \"vocoder\" is \"RefineGAN\", but its weights show HiFi-GAN"),
        ("vocoder", text("HiFi-GAN"), ""),
        ("embedder_output_layer", Some(Value::Int(12)), ""),
        ("embedder_output_layer", Some(Value::Int(9)), "\"embedder_output_layer\" is 9, but v2 uses layer 12"),
    ];
    for (key, value, words) in cases {
        let label = format!("{key}: {value:?}");
        let notes = changed(&room, &path, key, value).unwrap_or_else(|e| panic!("{label}: {e}"));
        if words.is_empty() {
            assert!(notes.is_empty(), "{label}: {notes:?}");
        } else {
            assert!(notes.concat().contains(words), "{label}: {notes:?}");
        }
        assert!(!notes.concat().contains("Some("), "{label}: {notes:?}");
    }
}

#[test]
fn a_voice_without_pitch_is_recognised_by_its_weights() {
    let room = room();
    let config = Config { preset: Preset::Tiny, if_f0: false, ..Config::default() };
    let sizes = SynthesizerConfig::from_config(&config);
    let network = rvc_run::models::Synthesizer::new(&sizes, tch::Device::Cpu, 5).unwrap();
    let more = [("content_encoder", "mel"), ("content_digest", "mel-1")];
    let more = more.iter().map(|(key, text)| ((*key).to_owned(), Value::text(*text))).collect();
    let about = About { sizes: &sizes, info: String::new(), more, card: voice::card() };
    let path = room.path("nof0.pth");
    voice::write(&path, network.params().iter().map(|(key, tensor)| (key, tensor.shallow_clone())), about).unwrap();
    assert!(changed(&room, &path, "f0", Some(Value::text("0"))).unwrap().is_empty());
    for value in [Some(Value::Int(1)), None] {
        let notes = changed(&room, &path, "f0", value).unwrap().concat();
        assert!(notes.contains("its weights show no pitch, which is used"), "{notes}");
    }
}

#[test]
fn a_network_that_gives_no_sound_is_an_error_that_names_the_voice() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    let rebuilt = |name: &str, change: &dyn Fn(&str, Tensor) -> Tensor| {
        let (Value::Dict(mut pairs) | Value::Ordered(mut pairs)) = torchfile::read(&path).unwrap().whole().unwrap()
        else {
            panic!("a voice is a dictionary")
        };
        let Value::Dict(weights) = &mut pairs[0].1 else { panic!("weights") };
        for (key, value) in weights {
            if let (Value::Text(key), Value::Tensor(tensor)) = (key, value) {
                *tensor = change(key, tensor.shallow_clone());
            }
        }
        let out = room.path(name);
        torchfile::write(&out, &Value::Ordered(pairs)).unwrap();
        let converter = Converter::open(&out, &room.models(), &VoiceOptions::default()).unwrap();
        converter.convert(&Task::silent(), glide(0.5, 16_000), &Settings::default())
    };
    let only =
        |part: &'static str, factor: f64| move |key: &str, x: Tensor| if key.contains(part) { x * factor } else { x };
    // Weight norm divides zero by zero.
    refused(
        rebuilt("zero.pth", &|_, x| x.zeros_like()),
        Kind::CheckpointDamaged,
        "zero.pth generates values that are not",
    );
    refused(rebuilt("mute.pth", &only("dec.conv_post", 0.0)), Kind::CheckpointDamaged, "mute.pth generates silence");
    // Finite weights whose sums are not.
    let huge = |key: &str, x: Tensor| if key.contains("enc_p.proj") { x.full_like(60_000.0) } else { x };
    refused(rebuilt("inf.pth", &huge), Kind::CheckpointDamaged, "inf.pth generates values that are not finite");
    let error = rebuilt("inf.pth", &huge).unwrap_err();
    assert!(error.hint_text().is_some() && error.file() == Some(room.path("inf.pth").as_path()));
    rebuilt("quiet.pth", &only("dec.conv_post", 0.01)).unwrap();
    // Silence is converted: the result is the voice's own breath.
    let converter = Converter::open(&path, &room.models(), &VoiceOptions::default()).unwrap();
    let silence = Audio { samples: vec![0.0; 16_000], sample_rate: 16_000 };
    converter.convert(&Task::silent(), silence, &Settings::default()).unwrap();
}

#[test]
fn a_conversion_is_as_long_as_its_recording() {
    let room = room();
    let converter = Converter::open(&tiny(&room, "tiny.pth", &[]), &room.models(), &VoiceOptions::default()).unwrap();
    let short = Chunking { x_pad: 1, x_query: 1, x_center: 2, x_max: 3 };
    for (seconds, rate) in [
        (0.03, 48_000),
        (0.999, 44_100),
        (1.0, 16_000),
        (1.005, 16_000),
        (1.01, 22_050),
        (9.137, 16_000),
        (13.333, 44_100),
    ] {
        for resample_sr in [0, 16_000, 44_100] {
            let recording = glide(seconds, rate);
            let exact = recording.seconds();
            let settings = Settings { resample_sr, chunking: short, ..Settings::default() };
            let sound = converter.convert(&Task::silent(), recording, &settings).unwrap();
            let off = (sound.seconds() - exact).abs();
            assert!(off < 1e-3, "{seconds} s at {rate}, resample_sr {resample_sr}: {off} s off");
        }
    }
}

#[test]
fn joints_of_chunks_keep_their_position() {
    let room = room();
    let converter = Converter::open(&tiny(&room, "tiny.pth", &[]), &room.models(), &VoiceOptions::default()).unwrap();
    let recording = glide(11.0, 16_000);
    let by = |chunking: Chunking| {
        let settings = Settings { chunking, rms_mix_rate: 1.0, ..Settings::default() };
        converter.inputs(&Task::silent(), recording.clone(), &settings).unwrap()
    };
    let chunked = by(Chunking { x_pad: 1, x_query: 1, x_center: 2, x_max: 3 });
    let frames: Vec<i64> = chunked.iter().map(|input| input.phone.size()[1]).collect();
    assert!(frames.len() >= 4, "{frames:?}");
    // An odd chunk is a frame short, for which its margin compensates.
    println!("frames of the chunks: {frames:?}");
    let settings = Settings {
        chunking: Chunking { x_pad: 1, x_query: 1, x_center: 2, x_max: 3 },
        rms_mix_rate: 1.0,
        ..Settings::default()
    };
    let sound = converter.convert(&Task::silent(), recording.clone(), &settings).unwrap();
    assert_eq!(sound.samples.len(), 11 * 40_000);
}

#[test]
fn unknown_speakers_are_refused_with_the_known_ones() {
    let room = room();
    let with = |entry: (&str, Value)| {
        let path = tiny(&room, "tiny.pth", &[]);
        let (Value::Dict(mut pairs) | Value::Ordered(mut pairs)) = torchfile::read(&path).unwrap().whole().unwrap()
        else {
            panic!("a voice is a dictionary")
        };
        pairs.push((Value::text(entry.0), entry.1));
        torchfile::write(&path, &Value::Ordered(pairs)).unwrap();
        let converter = Converter::open(&path, &room.models(), &VoiceOptions::default()).unwrap();
        move |sid: i64| converter.convert(&Task::silent(), glide(0.2, 16_000), &Settings { sid, ..Settings::default() })
    };
    let named = |names: &[(i64, &str)]| {
        let names: Vec<(i64, String)> = names.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        voice::speaker_info(&names).unwrap()
    };
    let (key, two) = named(&[(0, "anna"), (2, "ben\x1b[31m")]);
    let convert = with((&key, two));
    convert(0).unwrap();
    convert(2).unwrap();
    let error =
        refused(convert(1), Kind::ConfigValue, "sid is 1, but the voice has 2 speakers: 0 anna, 2 ben\\u{1b}[31m");
    assert!(!error.message().contains('\x1b'));
    let (key, one) = named(&[(0, "anna")]);
    refused(with((&key, one))(5), Kind::ConfigValue, "sid is 5, but the voice has one speaker: 0 anna");
    refused(with(("speakers_id", Value::Int(1)))(1), Kind::ConfigValue, "sid is 1, but the voice has one speaker: 0");
    refused(
        with(("speakers_id", Value::Int(2)))(2),
        Kind::ConfigValue,
        "sid is 2, but the voice has 2 speakers: 0 to 1",
    );
    with(("speaker_info", Value::text("anna")))(2).unwrap();
}

#[test]
fn unvoiced_frames_are_filled_if_the_voice_its_program_or_its_experiment_requires_it() {
    let room = room();
    let recording = || {
        let mut audio = glide(1.0, 16_000);
        audio.samples[4_000..9_000].fill(0.0);
        audio
    };
    let unvoiced = |path: &Path, voice_options: &VoiceOptions| {
        let converter = Converter::open(path, &room.models(), voice_options).unwrap();
        let inputs = converter.inputs(&Task::silent(), recording(), &Settings::default()).unwrap();
        let hz = &inputs[0].pitch.as_ref().unwrap().hz;
        let zeros = i64::try_from(hz.eq(0.0).sum(tch::Kind::Int64)).unwrap();
        (converter.f0_unvoiced().as_str(), zeros > 0)
    };
    let plain = VoiceOptions::default();
    let path = tiny(&room, "models/anna.pth", &[]);
    assert_eq!(unvoiced(&path, &plain), ("zero", true));
    let asked = VoiceOptions { f0_unvoiced: Some(F0Unvoiced::Interpolate), ..VoiceOptions::default() };
    assert_eq!(unvoiced(&path, &asked), ("interpolate", false));
    let odd = tiny(&room, "models/odd.pth", &[("f0_unvoiced", "maybe")]);
    let said = "odd.pth: f0_unvoiced is maybe, but must be one of zero, interpolate";
    refused(Converter::open(&odd, &room.models(), &plain), Kind::ConfigValue, said);
    assert_eq!(unvoiced(&odd, &asked).0, "interpolate", "what is asked for counts over the file");
    assert_eq!(unvoiced(&tiny(&room, "models/own.pth", &[("f0_unvoiced", "interpolate")]), &plain).0, "interpolate");

    // A voice written by RVC WebUI does not record it; its experiment's config.json does, and so do the names of its speakers.
    let webui = |name: &str, more: Option<(String, Value)>| {
        let from = tiny(&room, "from.pth", &[]);
        let (Value::Dict(mut pairs) | Value::Ordered(mut pairs)) = torchfile::read(&from).unwrap().whole().unwrap()
        else {
            panic!("a voice is a dictionary")
        };
        pairs.retain(|(key, _)| !matches!(key, Value::Text(text) if text == "model_card"));
        pairs.extend(more.map(|(key, value)| (Value::text(key), value)));
        let path = room.path(name);
        torchfile::write(&path, &Value::Ordered(pairs)).unwrap();
        path
    };
    let experiment = |name: &str, config: &str| {
        std::fs::create_dir_all(room.path(&format!("logs/{name}"))).unwrap();
        std::fs::write(room.path(&format!("logs/{name}/config.json")), config).unwrap();
        std::fs::write(room.path(&format!("logs/{name}/filelist.txt")), "").unwrap();
    };
    let of_2026 = r#"{"train": {"seed": 1234}, "data": {"sampling_rate": 40000}, "model": {}}"#;
    experiment("carl", of_2026);
    experiment("dora", r#"{"train": {"fp16_run": true}, "data": {"sampling_rate": 40000}, "model": {}}"#);
    experiment("emil", r#"{"train": {"seed": 1234}, "data": {"sample_rate": 40000}, "model": {}}"#);
    experiment("fred", &format!("\u{feff}{of_2026}"));
    experiment("gina", "{ torn");
    for (file, expected) in [
        ("assets/weights/carl_e20_s400.pth", "interpolate"),
        ("assets/weights/carl.pth", "interpolate"),
        ("models/carl_best.pth", "interpolate"),
        ("logs/carl/carl_20e_400s.pth", "interpolate"),
        ("models/fred.pth", "interpolate"),
        ("models/dora.pth", "zero"),
        ("models/emil.pth", "zero"),
        ("models/gina.pth", "zero"),
        ("models/nobody.pth", "zero"),
    ] {
        assert_eq!(unvoiced(&webui(file, None), &plain).0, expected, "{file}");
    }
    let speakers = || voice::speaker_info(&[(0, "anna".to_owned())]);
    assert_eq!(unvoiced(&webui("models/henry.pth", speakers()), &plain).0, "interpolate");
    let converter = Converter::open(&webui("models/carl.pth", None), &room.models(), &plain).unwrap();
    let notes = converter.voice().notes.concat();
    assert!(notes.contains("no entry \"f0_unvoiced\"; interpolate is used, from"), "{notes}");
}

#[test]
fn an_index_without_vectors_is_refused_with_a_hint() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    // As FAISS writes an index that was trained but got no vectors: header, centres, empty lists.
    let dim = 768i32;
    let header = |n: i64| {
        [
            &dim.to_le_bytes()[..],
            &n.to_le_bytes(),
            &(1i64 << 20).to_le_bytes(),
            &(1i64 << 20).to_le_bytes(),
            &[1],
            &1i32.to_le_bytes(),
        ]
        .concat()
    };
    let long = |n: u64| n.to_le_bytes();
    let bytes = [
        &b"IwFl"[..],
        &header(0),
        &long(1),
        &long(1),
        b"IxF2",
        &header(1),
        &long(768),
        &vec![0; 4 * 768],
        &[0],
        &long(0),
        b"ilar",
        &long(1),
        &long(4 * 768),
        b"full",
        &long(1),
        &long(0),
    ]
    .concat();
    let index = room.path("of_anna.index");
    std::fs::write(&index, bytes).unwrap();
    let voice_options = VoiceOptions { index: Some(index), ..VoiceOptions::default() };
    let error =
        refused(Converter::open(&path, &room.models(), &voice_options), Kind::CheckpointMismatch, "has no vectors");
    assert!(error.hint_text().unwrap().contains("added_"), "{error:?}");
}

#[test]
fn chunks_of_the_vocoder_join_to_the_sound_of_one_pass() {
    let _drawing = rvc_run::nn::generator::seeded(3);
    for (rate, version) in [(40_000, Version::V2), (48_000, Version::V2), (32_000, Version::V1)] {
        let config = Config { preset: Preset::Tiny, sample_rate: rate, version, ..Config::default() };
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
            // Equal except for the order of additions inside libtorch.
            support::assert_close(&format!("{rate} {version} in pieces of {piece}"), &pieces, &whole, 1e-5);
        }
    }
}

#[test]
fn the_self_test_passes_only_the_voice_itself() {
    let room = room();
    let path = tiny(&room, "tiny.pth", &[]);
    let converter = Converter::open(&path, &room.models(), &VoiceOptions::default()).unwrap();
    let config = Config { preset: Preset::Tiny, spk_embed_dim: 3, ..Config::default() };
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
fn files_hold_the_converted_sound() {
    let folder = tempfile::tempdir().unwrap();
    let sound = Audio { samples: [0.5, -0.25, 0.0, 0.9, -1.98].repeat(200), sample_rate: 40_000 };
    // A peak of 1.98 is reduced to 0.99; RVC truncates toward zero.
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
