//! The networks, spectra and losses against the Python reference's numbers, full size.

use crate::support::{self, Glide, Golden, fill, integers, weights};
use rvc_run::config::Config;
use rvc_run::config::choices::{Preset, SineGenerator, Version};
use rvc_run::models::{Discriminator, InferInput, Pitch, Synthesizer, SynthesizerConfig, TrainInput, Window};
use rvc_run::nn::generator::seeded;
use rvc_run::nn::{Params, Spectral};
use rvc_run::train::loss;
use tch::{Device, Kind, Tensor};

/// Last digits printed in the golden README are float32 ones.
const PRINTED: f64 = 1e-7;

#[test]
fn the_weight_rule_gives_the_printed_check_values() {
    let shapes = [
        ("dec.conv_pre.weight", vec![512, 192, 7]),
        ("enc_p.encoder.norm_layers_1.0.gamma", vec![192]),
        ("dec.ups.0.weight_g", vec![512, 1, 1]),
        ("dec.ups.0.weight_v", vec![512, 256, 16]),
    ];
    let expected = [
        [-0.040_617_69, -0.019_985_75, -0.007_336_383_7],
        [0.971_585_5, 1.071_882_8, 1.064_493],
        [2.929_629_8, 3.365_026_2, 3.320_613_9],
        [0.003_454_586_7, -0.031_967_018, 0.019_981_615],
    ];
    let filled = support::fill_rule("", &shapes);
    for ((values, expected), (key, _)) in filled.iter().zip(expected).zip(&shapes) {
        let expected: [f32; 3] = expected;
        support::assert_close(key, &Tensor::from_slice(&values[..3]), &Tensor::from_slice(&expected), 4.0 * PRINTED);
    }
    assert!((filled[0].last().unwrap() + 0.032_202_125).abs() < 1e-7);
    let salted = support::fill_rule("x:", &shapes[..1]);
    let expected = [-0.020_534_191f32, -0.025_528_675, 0.046_702_754];
    support::assert_close("salted", &Tensor::from_slice(&salted[0][..3]), &Tensor::from_slice(&expected), PRINTED);
}

/// The state dict as tests/golden/keys writes it: key, shape, type.
fn listing(params: &Params) -> Vec<String> {
    let line = |(key, tensor): (&str, &Tensor)| format!("{key} {:?} torch.{:?}32", tensor.size(), tensor.kind());
    params.iter().map(|entry| line(entry).replace("Float32", "float32")).collect()
}

fn config(sample_rate: i64) -> Config {
    Config { sample_rate, ..Config::default() }
}

fn sizes(sample_rate: i64) -> SynthesizerConfig {
    SynthesizerConfig::from_config(&config(sample_rate))
}

fn variant(version: Version, if_f0: bool, sample_rate: i64) -> Config {
    Config { version, if_f0, ..config(sample_rate) }
}

#[track_caller]
fn assert_same_keys(params: &Params, file: &str) {
    let expected = std::fs::read_to_string(weights::keys_path(file)).unwrap();
    let ours = listing(params);
    for (line, (ours, expected)) in ours.iter().zip(expected.lines()).enumerate() {
        assert_eq!(ours, expected, "{file} line {}", line + 1);
    }
    assert_eq!(ours.len(), expected.lines().count(), "{file}");
}

#[test]
fn synthesizer_keys_shapes_and_order_are_the_references() {
    let variants = [
        (Version::V2, true, 32000, "G_v2_f0_32k"),
        (Version::V2, true, 40000, "G_v2_f0_40k"),
        (Version::V2, true, 48000, "G_v2_f0_48k"),
        (Version::V1, true, 32000, "G_v1_f0_32k"),
        (Version::V1, true, 40000, "G_v1_f0_40k"),
        (Version::V1, true, 48000, "G_v1_f0_48k"),
        (Version::V1, false, 40000, "G_v1_nof0_40k"),
        (Version::V2, false, 40000, "G_v2_nof0_40k"),
    ];
    for (version, f0, rate, name) in variants {
        let sizes = SynthesizerConfig::from_config(&variant(version, f0, rate));
        assert_same_keys(Synthesizer::new(&sizes, Device::Cpu, 1).unwrap().params(), name);
    }
}

#[test]
fn discriminator_keys_and_shapes_are_the_references() {
    for (version, name) in [(Version::V1, "D_v1"), (Version::V2, "D_v2")] {
        let sizes = SynthesizerConfig::from_config(&variant(version, true, 40000));
        assert_same_keys(Discriminator::new(&sizes, Device::Cpu, 1).unwrap().params(), name);
    }
}

// --- Golden numbers --------------------------------------------------------------------------------------------------

/// The batch that every synthesizer case uses.
struct Batch {
    input: TrainInput,
    f0: Tensor,
    spec: Tensor,
}

fn batch(golden: &Golden, config: &Config) -> Batch {
    let (salt, sample_rate) = (&golden.salt, config.sample_rate);
    let hop = sample_rate / 100;
    let lengths = golden.numbers("/input/lengths");
    let frames = golden.tensor("m_p").size()[2];
    let n = (frames * hop) as usize;
    let waves: Vec<f32> = (0..2)
        .flat_map(|i| {
            let i = f64::from(i);
            let glide = Glide {
                from_hz: 120.0 + 70.0 * i,
                to_hz: 260.0 - 40.0 * i,
                harmonics: 8,
                amplitude: 0.12,
                noise: 0.02,
                sample_rate: sample_rate as f64,
            };
            glide.samples(salt, &format!("synth.wave.{i}"), n)
        })
        .collect();
    let wave = Tensor::from_slice(&waves).view([2, -1]);
    let lengths = Tensor::from_slice(&lengths);
    let mask = Tensor::arange(frames, (Kind::Int64, Device::Cpu)).unsqueeze(0).lt_tensor(&lengths.unsqueeze(1));
    let spec = Spectral::new(config, Device::Cpu).spec(&wave) * mask.unsqueeze(1).to_kind(Kind::Float);
    let f0 = fill(salt, "input.f0", &[2, frames], 90.0, 220.0);
    for i in 0..2 {
        let _zeroed = f0.get(i).narrow(0, 5 + 3 * i, 6).zero_();
        let _zeroed = f0.get(i).narrow(0, frames - 4, 4).zero_();
    }
    if golden.has("f0") {
        assert!(golden.tensor("f0").equal(&f0), "the f0 input");
        assert!(golden.wave("wave").equal(&wave), "the wave input");
    }
    let input = TrainInput {
        phone: fill(salt, "input.phone", &[2, frames, config.content_channels()], 0.6, 0.0),
        phone_lengths: lengths.shallow_clone(),
        pitch: config
            .if_f0
            .then(|| Pitch { coarse: integers(salt, "input.pitch", &[2, frames], 1, 256), hz: f0.shallow_clone() }),
        spec: spec.shallow_clone(),
        spec_lengths: lengths,
        sid: Tensor::from_slice(&golden.numbers("/input/sid")),
    };
    Batch { input, f0, spec }
}

fn filled_synthesizer(salt: &str, config: &Config) -> Synthesizer {
    let synthesizer = Synthesizer::new(&SynthesizerConfig::from_config(config), Device::Cpu, 1).unwrap();
    support::fill_params(salt, synthesizer.params().iter());
    synthesizer
}

fn check_synthesizer(case: &str, config: &Config) {
    support::one_thread();
    let golden = Golden::open(case);
    let g = filled_synthesizer(&golden.salt, config);
    let b = batch(&golden, config);
    let seed = golden.number("/input/seed") as i64;
    tch::no_grad(|| {
        check_parts(&golden, &g, &b, seed);
        check_train_forward(&golden, &g, &b, seed + 3);
        check_inference(&golden, &g, &b, seed);
    });
}

/// What `f` gives when it draws from the stream of `seed`.
fn drawn<T>(seed: i64, f: impl FnOnce() -> T) -> T {
    let _drawing = seeded(seed);
    f()
}

/// Compares what the case stores; cases differ in how many intermediate tensors they keep.
fn check_stored(golden: &Golden, name: &str, actual: &Tensor) {
    if golden.has(name) {
        golden.check(name, actual);
    }
}

fn check_parts(golden: &Golden, g: &Synthesizer, b: &Batch, seed: i64) {
    let mask = g.positions.mask(&b.input.spec_lengths, b.spec.size()[2]);
    if golden.has("x_mask") {
        assert!(golden.tensor("x_mask").equal(&mask));
    }
    for (number, expected) in golden.named("spec_frame_") {
        let frame = b.spec.select(2, number.parse().unwrap());
        let atol = Golden::open("mel_2024").atol("40k.spec");
        support::assert_close(&format!("synth_v2_40k spec_frame_{number}"), &frame, expected, atol);
    }
    let prior = g.enc_p.forward(&b.input.phone, b.input.pitch.as_ref().map(|p| &p.coarse), &mask);
    golden.check("m_p", &prior.m_p);
    golden.check("logs_p", &prior.logs_p);
    let speaker = g.speaker(&b.input.sid);
    let posterior = drawn(seed, || g.enc_q.as_ref().unwrap().forward(&b.spec, &mask, &speaker));
    golden.check("m_q", &posterior.m_q);
    check_stored(golden, "z", &posterior.z);
    check_stored(golden, "logs_q", &posterior.logs_q);
    let z_p = g.flow.forward(&posterior.z, &mask, &speaker);
    golden.check("z_p", &z_p);
    check_stored(golden, "flow_back", &g.flow.reverse(&z_p, &mask, &speaker));
    let [from, to] = golden.numbers_behind("/calls/dec", "dec(z[:1, :, ")[..] else { panic!("a range of frames") };
    let z = posterior.z.narrow(0, 0, 1).narrow(2, from, to - from);
    let f0 = b.f0.narrow(0, 0, 1);
    let f0_part = f0.narrow(1, from, to - from);
    golden.check("dec", &drawn(seed + 1, || g.dec.forward(&z, Some(&f0_part), &speaker.narrow(0, 0, 1))));
    if let Some(source) = &g.dec.m_source {
        let frames = golden.numbers_behind("/calls/nsf_source", "f0[:1, :")[0];
        golden.check("nsf_source", &drawn(seed + 2, || source.forward(&f0.narrow(1, 0, frames))));
    }
}

fn check_train_forward(golden: &Golden, g: &Synthesizer, b: &Batch, seed: i64) {
    let out = drawn(seed, || g.forward(&b.input));
    assert!(golden.tensor("train.ids_slice").equal(&out.ids_slice), "the slices");
    golden.check("train.y_hat", &out.y_hat);
    check_stored(golden, "train.z", &out.z);
    check_stored(golden, "train.z_p", &out.z_p);
    let stats = [
        ("z", &out.z),
        ("z_p", &out.z_p),
        ("m_p", &out.m_p),
        ("logs_p", &out.logs_p),
        ("m_q", &out.m_q),
        ("logs_q", &out.logs_q),
    ];
    for (name, tensor) in stats {
        check_stats(golden, &format!("/train_stats/{name}"), tensor);
    }
}

/// Statistics are printed with 9 digits; the underlying tensors may differ by a few 1e-6 of their largest value.
fn check_stats(golden: &Golden, pointer: &str, tensor: &Tensor) {
    let x = tensor.to_kind(Kind::Double);
    let absmax = golden.number(&format!("{pointer}/absmax"));
    let atol = 1e-5 * absmax;
    assert_eq!(x.numel() as u64, golden.number(&format!("{pointer}/n")) as u64, "{pointer}");
    for (name, actual) in [("mean", x.mean(Kind::Double)), ("std", x.std(false)), ("absmax", x.abs().max())] {
        let expected = golden.number(&format!("{pointer}/{name}"));
        support::assert_close(&format!("{pointer}/{name}"), &actual, &Tensor::from(expected), atol);
    }
}

fn check_inference(golden: &Golden, g: &Synthesizer, b: &Batch, seed: i64) {
    let input = |frames: i64, window: Option<Window>| InferInput {
        phone: b.input.phone.narrow(0, 0, 1).narrow(1, 0, frames),
        lengths: Tensor::from_slice(&[frames]),
        pitch: b.input.pitch.as_ref().map(|pitch| Pitch {
            coarse: pitch.coarse.narrow(0, 0, 1).narrow(1, 0, frames),
            hz: b.f0.narrow(0, 0, 1).narrow(1, 0, frames),
        }),
        sid: b.input.sid.narrow(0, 0, 1),
        window,
    };
    let frames = golden.numbers_behind("/calls/infer.*", "infer(phone[:1, :")[0];
    let out = drawn(seed + 4, || g.infer(&input(frames, None))).unwrap();
    golden.check("infer.o", &out.y_hat);
    check_stored(golden, "infer.z", &out.z);
    check_stored(golden, "infer.z_p", &out.z_p);
    if golden.has("infer_part.o") {
        let frames = b.spec.size()[2];
        let part = |of: &str, name: &str| golden.numbers_behind(&format!("/calls/{of}"), &format!("{name}="))[0];
        let window = Window {
            skip_head: part("infer_part.o", "skip_head"),
            return_length: part("infer_part.o", "return_length"),
            stretched_length: None,
        };
        golden.check("infer_part.o", &drawn(seed + 5, || g.infer(&input(frames, Some(window)))).unwrap().y_hat);
        let stretched_length = Some(part("infer_part_resized.o", "return_length2"));
        let resized = input(frames, Some(Window { stretched_length, ..window }));
        golden.check("infer_part_resized.o", &drawn(seed + 6, || g.infer(&resized)).unwrap().y_hat);
    }
}

#[test]
fn the_32k_synthesizer_gives_the_references_numbers() {
    check_synthesizer("synth_v2_32k", &config(32000));
}

#[test]
fn the_40k_synthesizer_gives_the_references_numbers() {
    check_synthesizer("synth_v2_40k", &config(40000));
}

#[test]
fn the_48k_synthesizer_gives_the_references_numbers() {
    check_synthesizer("synth_v2_48k", &config(48000));
}

#[test]
fn the_v1_synthesizer_gives_the_references_numbers() {
    check_synthesizer("synth_v1_40k", &variant(Version::V1, true, 40000));
}

#[test]
fn the_synthesizer_without_pitch_gives_the_references_numbers() {
    check_synthesizer("synth_v2_40k_nono", &variant(Version::V2, false, 40000));
}

#[test]
fn the_synthesizer_of_2026_gives_the_references_numbers() {
    let config = Config { sine_generator: SineGenerator::Of2026, spec_eps: 2e-7, mel_clamp: 2e-6, ..config(40000) };
    check_synthesizer("synth_v2_40k_2026", &config);
}

#[test]
fn the_harmonic_source_keeps_its_phase_over_seconds() {
    support::one_thread();
    let golden = Golden::open("nsf_source_long");
    let seed = golden.number("/input/seed") as i64;
    let years = [SineGenerator::Of2024, SineGenerator::Of2026];
    for (rate, year) in years.into_iter().flat_map(|year| [(40000, year), (48000, year)]) {
        let g = filled_synthesizer(&golden.salt, &Config { sine_generator: year, ..config(rate) });
        let source = g.dec.m_source.as_ref().expect("it has pitch");
        let source = drawn(seed, || tch::no_grad(|| source.forward(&golden.tensor("f0"))));
        golden.check(&format!("source_{year}_{rate}"), &source.slice(1, None, None, 37));
    }
}

#[test]
fn the_discriminators_give_the_references_scores_and_feature_maps() {
    check_discriminator(Version::V1);
    check_discriminator(Version::V2);
}

fn check_discriminator(version: Version) {
    support::one_thread();
    let golden = Golden::open(&format!("disc_{version}"));
    let sizes = SynthesizerConfig::from_config(&variant(version, true, 40000));
    let d = Discriminator::new(&sizes, Device::Cpu, 1).unwrap();
    support::fill_params(&golden.salt, d.params().iter());
    let n = golden.number("/input/n") as i64;
    let wave = golden.wave("wave").unsqueeze(1);
    for (name, start) in [("real", 0), ("fake", n)] {
        let out = tch::no_grad(|| d.forward(&wave.narrow(2, start, n)));
        for (i, (score, maps)) in out.scores.iter().zip(&out.fmaps).enumerate() {
            golden.check(&format!("score.{name}.{i}"), score);
            for (j, map) in maps.iter().enumerate() {
                let pointer = format!("/feature_maps/{name}.{i}/{j}");
                let expected = golden.entry.pointer(&pointer).unwrap();
                assert_eq!(serde_json::json!(map.size()), expected["shape"], "{pointer}");
                check_stats(&golden, &pointer, map);
                let first: Vec<f64> = serde_json::from_value(expected["first8"].clone()).unwrap();
                // As the manifest's other tolerances: ten times the reference's own deviation, or 1e-6 of the largest.
                let atol = (10.0 * golden.number(&format!("{pointer}/float32_vs_float64_max_abs")))
                    .max(1e-6 * golden.number(&format!("{pointer}/absmax")));
                let actual = map.flatten(0, -1).narrow(0, 0, first.len() as i64);
                support::assert_close(&format!("{pointer}/first8"), &actual, &Tensor::from_slice(&first), atol);
            }
        }
    }
}

fn check_mel(case: &str, spec_eps: f64, mel_clamp: f64) {
    let golden = Golden::open(case);
    for rate in [32000, 40000, 48000] {
        let config = Config { spec_eps, mel_clamp, ..config(rate) };
        let (spectral, name) = (Spectral::new(&config, Device::Cpu), config.rate_name());
        let wave = golden.wave(&format!("{name}.wave")).unsqueeze(0);
        let spec = spectral.spec(&wave);
        golden.check(&format!("{name}.spec"), &spec);
        golden.check(&format!("{name}.mel"), &spectral.mel_from_spec(&spec));
        assert!(spectral.mel(&wave).equal(&spectral.mel_from_spec(&spec)));
        if golden.has(&format!("{name}.filterbank")) {
            check_bank(&golden, &name, spectral.bank());
        }
    }
}

/// The bank is stored as the non-zero run of each row, one after the other.
fn check_bank(golden: &Golden, name: &str, bank: &Tensor) {
    let ends = |end: &str| -> Vec<i64> { golden.tensor(&format!("{name}.filterbank_{end}")).try_into().unwrap() };
    let (from, to) = (ends("from"), ends("to"));
    let runs: Vec<Tensor> =
        from.iter().zip(&to).enumerate().map(|(m, (a, b))| bank.get(m as i64).narrow(0, *a, b - a)).collect();
    let runs = Tensor::cat(&runs, 0);
    golden.check(&format!("{name}.filterbank"), &runs);
    let (all, kept) = (bank.sum(Kind::Double), runs.sum(Kind::Double));
    support::assert_close("outside the runs", &all, &kept, 0.0);
}

#[test]
fn spectrogram_and_mel_are_those_of_2024() {
    check_mel("mel_2024", 1e-6, 1e-5);
}

#[test]
fn spectrogram_and_mel_are_those_of_2026_with_its_two_constants() {
    check_mel("mel_2026", 2e-7, 2e-6);
}

#[test]
fn every_loss_gives_the_references_value() {
    let golden = Golden::open("losses");
    let salt = golden.salt.as_str();
    let maps = |side: &str| -> Vec<Vec<Tensor>> {
        let shapes: Vec<Vec<Vec<i64>>> =
            serde_json::from_value(golden.entry["input"]["fr, fg"]["shapes"].clone()).unwrap();
        let one = |i: usize, j: usize, shape: &[i64]| fill(salt, &format!("loss.{side}.{i}.{j}"), shape, 1.0, 0.0);
        shapes
            .iter()
            .enumerate()
            .map(|(i, part)| part.iter().enumerate().map(|(j, shape)| one(i, j, shape)).collect())
            .collect()
    };
    let scores = |side: &str, offset: f64| -> Vec<Tensor> {
        let shape = golden.numbers_behind(&format!("/input/{side}"), &format!("loss.{side}.I ["));
        (0..3).map(|i| fill(salt, &format!("loss.{side}.{i}"), &[shape[0], shape[1] + i], 0.8, offset)).collect()
    };
    let (dr, dg) = (scores("dr", 0.3), scores("dg", -0.1));
    golden.check_value("feature_loss", &loss::feature_loss(&maps("fr"), &maps("fg")));
    golden.check_value("discriminator_loss", &loss::discriminator_loss(&dr, &dg));
    golden.check_value("generator_loss", &loss::generator_loss(&dg));
    for i in 0..3 {
        golden.check_value(&format!("discriminator_loss.r{i}"), &loss::least_squares(&dr[i], 1.0));
        golden.check_value(&format!("discriminator_loss.g{i}"), &loss::least_squares(&dg[i], 0.0));
        golden.check_value(&format!("generator_loss.{i}"), &loss::least_squares(&dg[i], 1.0));
    }
    let shape = golden.numbers("/input/shape");
    let latent = |name: &str, scale: f64| fill(salt, &format!("loss.{name}"), &shape, scale, 0.0);
    let lengths = Tensor::from_slice(&golden.numbers_behind("/input/mask", "lengths ")).unsqueeze(1);
    let mask = Tensor::arange(shape[2], (Kind::Int64, Device::Cpu)).unsqueeze(0).lt_tensor(&lengths).unsqueeze(1);
    let kl = loss::kl_loss(
        &latent("z_p", 2.0),
        &latent("logs_q", 0.5),
        &latent("m_p", 1.0),
        &latent("logs_p", 0.4),
        &mask.to_kind(Kind::Float),
    );
    golden.check_value("kl_loss", &kl);
    let mel_shape = golden.numbers_behind("/input/y_mel, y_hat_mel", "loss.y_hat_mel [");
    let mel = |name: &str| fill(salt, &format!("loss.{name}"), &mel_shape, 3.0, -4.0);
    golden.check_value("mel_l1_x45", &(loss::mel_l1(&mel("y_mel"), &mel("y_hat_mel")) * 45.0));
}

#[test]
fn the_random_stream_is_the_references() {
    let golden = Golden::open("rng");
    let cpu = |kind| (kind, Device::Cpu);
    let _drawing = seeded(golden.number("/seed") as i64);
    golden.check("0_randn_20", &Tensor::randn([20], cpu(Kind::Float)));
    golden.check("1_rand_5", &Tensor::rand([5], cpu(Kind::Float)));
    golden.check("2_randn_3", &Tensor::randn([3], cpu(Kind::Float)));
    let like = Tensor::zeros([2, 192, 5], cpu(Kind::Float)).randn_like();
    golden.check("3_randn_like_2_192_5", &like.slice(1, None, None, 37));
    golden.check("4_rand_1_1_1", &Tensor::rand([1, 1, 1], cpu(Kind::Float)));
    golden.check("5_randn_2_37_1", &Tensor::randn([2, 37, 1], cpu(Kind::Float)));
    golden.check("6_randint_100", &Tensor::randint(100, [6], cpu(Kind::Int64)));
}

// --- Our own guarantees ---------------------------------------------------------------------------------------------

fn tiny() -> SynthesizerConfig {
    SynthesizerConfig::from_config(&Config { preset: Preset::Tiny, segment_size: 3200, ..Config::default() })
}

fn tiny_batch(frames: i64) -> TrainInput {
    let lengths = Tensor::from_slice(&[frames, frames - 5]);
    TrainInput {
        phone: fill("", "phone", &[2, frames, 768], 0.6, 0.0),
        phone_lengths: lengths.shallow_clone(),
        pitch: Some(Pitch {
            coarse: integers("", "pitch", &[2, frames], 1, 256),
            hz: fill("", "f0", &[2, frames], 90.0, 220.0),
        }),
        spec: fill("", "spec", &[2, 1025, frames], 0.5, 0.5),
        spec_lengths: lengths,
        sid: Tensor::from_slice(&[3_i64, 77]),
    }
}

#[test]
fn the_same_seed_gives_the_same_networks_and_another_seed_others() {
    let make = |seed| Synthesizer::new(&tiny(), Device::Cpu, seed).unwrap();
    let (a, b, c) = (make(7), make(7), make(8));
    let same = |x: &Synthesizer, y: &Synthesizer| x.params().iter().zip(y.params().iter()).all(|(x, y)| x.1.equal(y.1));
    assert!(same(&a, &b));
    assert!(!same(&a, &c));
}

#[test]
fn a_new_flow_only_reverses_the_channels() {
    let g = Synthesizer::new(&tiny(), Device::Cpu, 7).unwrap();
    let z = fill("", "z", &[1, 32, 9], 1.0, 0.0);
    let mask = Tensor::ones([1, 1, 9], (Kind::Float, Device::Cpu));
    let speaker = g.speaker(&Tensor::from_slice(&[0_i64]));
    // Four reversals of the channels cancel out.
    assert!(g.flow.forward(&z, &mask, &speaker).equal(&z));
}

#[test]
fn a_new_weight_norm_starts_as_its_direction() {
    let g = Synthesizer::new(&tiny(), Device::Cpu, 7).unwrap();
    let get = |leaf: &str| g.params().get(&format!("dec.ups.0.{leaf}")).unwrap().shallow_clone();
    let (v, norm) = (get("weight_v"), get("weight_g"));
    support::assert_close("w = v", &Tensor::internal_weight_norm(&v, &norm, 0), &v, 1e-7);
    // PyTorch's default for a transposed convolution: fan in is outputs x kernel.
    let bound = 1.0 / f64::from(32 * 16).sqrt();
    let largest = v.abs().max().double_value(&[]);
    assert!(largest <= bound && largest > 0.99 * bound, "{largest} of {bound}");
}

#[test]
fn every_parameter_receives_a_gradient_and_a_frozen_discriminator_none() {
    support::one_thread();
    let g = Synthesizer::new(&tiny(), Device::Cpu, 7).unwrap();
    let d = Discriminator::new(&tiny(), Device::Cpu, 7).unwrap();
    // The flow's last convolutions start at zero and would block every gradient.
    support::fill_params("", g.params().iter());
    let out = drawn(0, || g.forward(&tiny_batch(20)));
    let scores = |d: &Discriminator| d.computed().forward(&out.y_hat).scores;
    d.params().set_requires_grad(false);
    let kl = loss::kl_loss(&out.z_p, &out.logs_q, &out.m_p, &out.logs_p, &out.y_mask);
    (loss::generator_loss(&scores(&d)) + kl).backward();
    for (key, tensor) in g.params().iter() {
        let gradient = tensor.grad();
        assert!(gradient.defined() && gradient.abs().max().double_value(&[]) > 0.0, "{key}");
    }
    assert!(d.params().iter().all(|(_, tensor)| !tensor.grad().defined()));
    d.params().set_requires_grad(true);
    let y_hat = out.y_hat.detach();
    loss::generator_loss(&d.computed().forward(&y_hat).scores).backward();
    for (key, tensor) in d.params().iter() {
        assert!(tensor.grad().defined(), "{key}");
    }
}

#[test]
fn a_computed_discriminator_gives_the_same_scores_and_gradients() {
    support::one_thread();
    let d = Discriminator::new(&tiny(), Device::Cpu, 7).unwrap();
    let wave = |key: &str| fill("", key, &[2, 1, 3200], 0.3, 0.0);
    let (real, fake) = (wave("real"), wave("fake"));
    let gradients = |loss: &Tensor| -> Vec<Tensor> {
        let gradients = Tensor::run_backward(&[loss], &d.params().tensors(), false, false);
        gradients.into_iter().collect()
    };
    let (r, f) = (d.forward(&real), d.forward(&fake));
    let plain = loss::discriminator_loss(&r.scores, &f.scores);
    let computed = d.computed();
    let (rc, fc) = (computed.forward(&real), computed.forward(&fake));
    let once = loss::discriminator_loss(&rc.scores, &fc.scores);
    assert!(plain.equal(&once));
    // Gradients are summed before weight norm's derivative instead of after it: rounding only.
    for ((key, _), (a, b)) in d.params().iter().zip(gradients(&plain).iter().zip(gradients(&once).iter())) {
        support::assert_close(key, b, a, 1e-5 * a.abs().max().double_value(&[]) + 1e-9);
    }
}

#[test]
fn weights_that_do_not_fit_are_refused_and_named() {
    let d = Discriminator::new(&tiny(), Device::Cpu, 7).unwrap();
    let before: Vec<Tensor> = d.params().iter().map(|(_, t)| t.detach().copy()).collect();
    let mut given: Vec<(String, Tensor)> =
        d.params().iter().map(|(key, t)| (key.to_owned(), t.detach().zeros_like())).collect();
    given[0].0 = "discriminators.0.convs.0.bios".into();
    given[1].1 = Tensor::zeros([3, 1, 1], (Kind::Float, Device::Cpu));
    given[2].1 = given[2].1.to_kind(Kind::Int64);
    let load = |given: &[(String, Tensor)]| d.params().load(given.iter().map(|(k, t)| (k.as_str(), t)));
    let error = load(&given).unwrap_err();
    assert_eq!(error.kind(), rvc_run::Kind::CheckpointMismatch);
    for part in [
        "1 missing (discriminators.0.convs.0.bias)",
        "1 not part of this network (discriminators.0.convs.0.bios)",
        "1 of another shape (discriminators.0.convs.0.weight_g is [3, 1, 1], but must be [1, 1, 1])",
        "1 not floating point (discriminators.0.convs.0.weight_v is Int64)",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(d.params().iter().zip(&before).all(|((_, now), before)| now.equal(before)));
}

#[test]
fn half_precision_weights_are_widened() {
    let d = Discriminator::new(&tiny(), Device::Cpu, 7).unwrap();
    let halves: Vec<(String, Tensor)> =
        d.params().iter().map(|(key, t)| (key.to_owned(), t.detach().to_kind(Kind::Half))).collect();
    d.params().load(halves.iter().map(|(k, t)| (k.as_str(), t))).unwrap();
    for ((_, now), (key, half)) in d.params().iter().zip(&halves) {
        assert!(now.kind() == Kind::Float && now.equal(&half.to_kind(Kind::Float)), "{key}");
    }
}

#[test]
fn slices_are_the_columns_from_their_start() {
    let xs = fill("", "xs", &[3, 4, 50], 1.0, 0.0);
    let positions = rvc_run::nn::slices::Positions::new(Device::Cpu);
    let sliced = positions.slice(&xs, &Tensor::from_slice(&[0_i64, 7, 42]), 8);
    for (row, start) in [0, 7, 42].into_iter().enumerate() {
        assert!(sliced.get(row as i64).equal(&xs.get(row as i64).narrow(1, start, 8)));
    }
}

#[test]
fn clips_shorter_than_the_window_give_a_clear_error() {
    let g = Synthesizer::new(&tiny(), Device::Cpu, 7).unwrap();
    let error = rvc_run::nn::guard(|| drawn(0, || g.forward(&tiny_batch(6)))).err().unwrap();
    assert!(error.message().contains("a window of 8 columns does not fit into 6 columns"), "{error}");
}

#[test]
fn random_starts_leave_the_window_within_each_length() {
    let _drawing = seeded(1);
    let lengths = Tensor::from_slice(&[32_i64, 33, 100, 20]).repeat([500]);
    let starts = rvc_run::nn::slices::random_starts(&lengths, 32);
    let most = (&lengths - 32).clamp_min(0);
    assert!(bool::try_from(starts.ge(0).all()).unwrap() && bool::try_from(starts.le_tensor(&most).all()).unwrap());
    // Every row of 100 frames can start at 0..=68; 500 draws come near both ends.
    let third = starts.view([500, 4]).select(1, 2);
    assert!(third.max().int64_value(&[]) > 60 && third.min().int64_value(&[]) < 8);
}

#[test]
fn padding_beyond_a_clips_length_changes_nothing_inside_it() {
    support::one_thread();
    let g = Synthesizer::new(&tiny(), Device::Cpu, 7).unwrap();
    support::fill_params("", g.params().iter());
    let b = tiny_batch(20);
    let prior = |frames: i64| {
        let mask = g.positions.mask(&Tensor::from_slice(&[15_i64]), frames);
        let cut = |x: &Tensor| x.narrow(0, 1, 1).narrow(1, 0, frames);
        g.enc_p.forward(&cut(&b.phone), b.pitch.as_ref().map(|p| cut(&p.coarse)).as_ref(), &mask).m_p.narrow(2, 0, 15)
    };
    support::assert_close("m_p", &prior(20), &prior(15), 1e-5);
}

#[test]
fn config_json_and_the_exported_list_are_rvcs() {
    let sizes = sizes(40000);
    let expected = Golden::open("synth_v2_40k").entry["config"]["model"].clone();
    assert_eq!(serde_json::to_value(&sizes).unwrap(), expected);
    let list = serde_json::json!([
        1025,
        32,
        192,
        192,
        768,
        2,
        6,
        3,
        0,
        "1",
        [3, 7, 11],
        [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        [10, 10, 2, 2],
        512,
        [16, 16, 4, 4],
        109,
        256,
        40000
    ]);
    assert_eq!(serde_json::json!(sizes.export_list()), list);
}
