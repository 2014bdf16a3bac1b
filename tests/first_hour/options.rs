//! Flags that have no effect are reported, once and before the work; recipes that train accept the same flags.

use super::*;
use rvc_run::config;

#[test]
fn a_flag_without_its_condition_is_refused_or_reported() {
    let workspace = Workspace::with_anna();
    for (flags, hint) in [
        (&["--patience=5"][..], "--validation 0.1"),
        (&["--mel-only"], "--validation 0.1"),
        (&["--objective=validation_voicing_error"], "--validation 0.1"),
        (&["--patience=5", "--validation=0"], "--validation 0.1"),
    ] {
        let text = ended_with(2, &workspace.train(flags));
        assert!(text.contains("error[usage]: --") && text.contains("has no effect") && text.contains(hint), "{text}");
        let text = ended_with(2, &workspace.run("train_all", flags));
        assert!(text.contains("has no effect"), "{text}");
    }
    assert!(!workspace.path("logs").exists() && !workspace.path("tracking").exists());
    // Only typed flags; each of these is a warning, and the work continues.
    for (flags, said) in [
        (&["--no-f0", "--f0-method=pm"][..], "--f0-method pm has no effect: with --no-f0 no pitch is tracked"),
        (&["--target-lufs=-20"], "--target-lufs -20.0 has no effect"),
        (&["--slicing=none", "--overlap-seconds=0.5"], "--overlap-seconds 0.5 has no effect"),
        (
            &["--feature-precision=bf16", "--content-encoder=mel", "--f0-method=pm"],
            "feature_precision bf16 has no effect: neither content_encoder mel nor f0_method pm is a network",
        ),
    ] {
        let encoder: &[&str] = if flags.contains(&"--content-encoder=mel") { &[] } else { &["--content-encoder=mel"] };
        let tracker: &[&str] =
            if flags.iter().any(|flag| flag.contains("f0-method")) { &[] } else { &["--f0-method=pm"] };
        let text = ended_with(0, &workspace.run("extract", &[&["anna"], flags, encoder, tracker].concat()));
        assert_eq!(text.matches("has no effect").count(), 1, "{text}");
        assert!(text.contains(&format!("warning: {said}")), "{text}");
    }
    let text = ended_with(0, &workspace.run("extract", &["anna", "--f0-method=pm", "--content-encoder=mel"]));
    assert!(!text.contains("has no effect"), "{text}");
}

/// A value for every setting, as typed, that is not its default and trains in seconds; `f0_threshold` is for networks only, which this test does not have.
const EVERY: &[(&str, &str)] = &[
    ("sample_rate", "32k"),
    ("slicing", "fixed"),
    ("slice_seconds", "3"),
    ("min_slice_seconds", "0.5"),
    ("overlap_seconds", "0.25"),
    ("numbering", "rvc"),
    ("max_peak", "3"),
    ("normalization", "lufs"),
    ("target_lufs", "-20"),
    ("target_peak_dbfs", "-2"),
    ("noise_reduction", "0.1"),
    ("min_voice_share", "0.01"),
    ("mute_clips", "1"),
    ("f0_method", "dio"),
    ("f0_threshold", "0"),
    ("f0_unvoiced", "interpolate"),
    ("content_encoder", "mel"),
    ("feature_precision", "bf16"),
    ("version", "v1"),
    ("if_f0", "false"),
    ("sine_generator", "2026"),
    ("spk_embed_dim", "5"),
    ("pretrained_g", "none"),
    ("pretrained_d", "none"),
    ("checkpoint_order", "applio"),
    ("preset", "tiny"),
    ("epochs", "2"),
    ("batch_size", "2"),
    ("save_every", "2"),
    ("segment_size", "3200"),
    ("seed", "7"),
    ("learning_rate", "0.0005"),
    ("lr_decay", "0.99"),
    ("ema_decay", "0.9"),
    ("betas", "0.7,0.9"),
    ("eps", "1e-8"),
    ("weight_decay", "0.02"),
    ("c_mel", "40"),
    ("c_kl", "2"),
    ("spec_eps", "2e-7"),
    ("mel_clamp", "2e-6"),
    ("log_interval", "1"),
    ("best_metric", "loss_kl"),
    ("track_checkpoints", "none"),
    ("gpu", "false"),
];

/// [`EVERY`] as flags.
fn every_flag() -> Vec<String> {
    let flag = |(name, value): &(&str, &str)| match *name {
        "if_f0" => "--no-f0".to_owned(),
        name => format!("--{}={value}", config::setting(name).unwrap().flag.replace('_', "-")),
    };
    EVERY.iter().map(flag).collect()
}

/// Whether the settings of a training are those of [`EVERY`], except for one.
#[track_caller]
fn has_every_setting(manifest: &Path, but: &str) {
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    for one in config::settings().iter().filter(|one| one.name != but) {
        let (_, typed) = EVERY.iter().find(|(name, _)| *name == one.name).expect("a value for every setting");
        let expected = typed.replace("32k", "32000");
        let expected: Vec<_> = expected
            .split(',')
            .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|_| text.into()))
            .collect();
        let expected = if expected.len() == 1 { expected[0].clone() } else { serde_json::Value::Array(expected) };
        let expected = if one.name == "sine_generator" { "2026".into() } else { expected };
        let expected = one.fitting(&expected).unwrap();
        assert_eq!(manifest["config"][&one.name], expected, "{}", one.name);
    }
}

/// The newest manifest of the only training in logs/ whose folder begins so.
fn manifest(workspace: &Workspace, folder: &str) -> PathBuf {
    let folders = rvc_run::files::list(&workspace.path("logs")).unwrap();
    let is_it = |path: &&PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(folder);
    folders.iter().find(is_it).unwrap_or_else(|| panic!("{folder} among {folders:?}")).join("checkpoint_2.json")
}

#[test]
fn a_batch_passes_every_setting_on_to_its_trainings() {
    let workspace = Workspace::with_anna();
    let flags = every_flag();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--no-index"]).collect();
    ended_with(0, &workspace.run("train_all", &flags));
    has_every_setting(&manifest(&workspace, "anna"), "");
    // The same flags on train_voice are the same training, which is finished.
    let text = ended_with(0, &workspace.run("train_voice", &[&["anna"], &flags[..]].concat()));
    assert!(!text.contains("epoch 1/"), "{text}");
    // Settings that resume does not get stay unchanged.
    ended_with(0, &workspace.run("resume", &["anna", "--epochs=3", "--learning-rate=0.0002", "--set", "max_peak=4"]));
    let manifest = std::fs::read(workspace.path("logs/anna/checkpoint_3.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = &manifest["config"];
    assert_eq!(
        (&config["learning_rate"], &config["c_mel"], &config["batch_size"]),
        (&0.0002.into(), &40.0.into(), &2.into())
    );
}

#[test]
fn a_batch_passes_on_only_typed_settings() {
    let workspace = Workspace::with_anna();
    let flags = ["--validation=0.0", "--keep-last=1", "--settings={\"c_mel\": 40}", "--epochs=2", "--seed=7"];
    ended_with(0, &workspace.run("train_all", &[&TINY[..], &flags].concat()));
    assert!(!workspace.path("logs/anna/G_1.pth").exists() && workspace.path("logs/anna/G_2.pth").exists());
    let config = std::fs::read_to_string(workspace.path("logs/anna/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let train = &config["train"];
    assert_eq!((&train["c_mel"], &train["seed"]), (&40.into(), &7.into()), "{train}");
    assert_eq!(train["learning_rate"], 0.001, "nobody typed one: the preset's");
}

#[test]
fn a_sweep_passes_every_setting_on_to_its_trials() {
    let workspace = Workspace::with_anna();
    let flags = every_flag();
    let small =
        ["anna", "--trials=1", "--search=random", "--space=c_kl=choice(2)", "--validation=0", "--objective=loss_mel"];
    let text = ended_with(
        0,
        &workspace.run("sweep", &[&small[..], &flags.iter().map(String::as_str).collect::<Vec<_>>()].concat()),
    );
    assert!(text.contains("best: "), "{text}");
    has_every_setting(&manifest(&workspace, "anna-sweep-t01-"), "");
    for name in ["patience", "keep_last", "validation"] {
        let json = format!("--settings={{\"{name}\": 1}}");
        let text = ended_with(1, &workspace.run("sweep", &["anna", "--trials=1", &json]));
        assert!(text.contains(&format!("there is no setting {name:?}")), "{text}");
    }
    let text = ended_with(1, &workspace.run("sweep", &["anna", "--space=slicing=choice(none)"]));
    assert!(text.contains("slicing cannot be searched: all trials share it"), "{text}");
}

#[test]
fn the_end_states_that_the_file_is_sound_and_how_close_the_voice_is() {
    let workspace = Workspace::with_anna();
    let text = ended_with(0, &workspace.train(&["--epochs=1"]));
    assert!(text.contains("self-test passed: the file is sound, "), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("the voice is still far from the recordings: log-mel ")),
        "{text}"
    );
    // What each length covers: the recording's 4 s, the clips' with their overlaps, and the part that is trained on.
    assert!(text.contains(" of 4.0 s") && text.contains("1 used, 4.0 s"), "{text}");
    assert!(text.contains("trained on   ") && text.contains("for rvc-run only"), "{text}");
}
