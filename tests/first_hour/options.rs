//! Flags that have no effect are said, once and before the work; recipes that train take the same flags.

use super::*;

#[test]
fn a_flag_without_what_it_needs_is_refused_or_said_and_counts_with_it() {
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
    // Only what was typed; each of these is a warning, and the work goes on.
    for (flags, said) in [
        (&["--no-f0", "--f0-method=pm"][..], "--f0-method pm has no effect: with --no-f0 no pitch is tracked"),
        (&["--target-lufs=-20"], "--target-lufs -20.0 has no effect"),
        (&["--slicing=none", "--overlap-seconds=0.5"], "--overlap-seconds 0.5 has no effect"),
        (
            &["--feature-precision=bf16", "--content-encoder=mel", "--f0-method=pm"],
            "--feature-precision bf16 has no effect",
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

/// The parameters of a recipe, each as it is written.
fn params(recipe: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(recipe_path(recipe)).unwrap();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("#{ name: \""));
    let param = |line: &str| {
        let (name, rest) = line.split_once('"')?;
        Some((name.to_owned(), rest.split(", help:").next()?.to_owned()))
    };
    lines.filter_map(param).map(|(name, rest)| (name, rest.split_whitespace().collect())).collect()
}

#[test]
fn a_batch_takes_every_flag_of_a_training_with_the_same_default() {
    let (one, all) = (params("train_voice"), params("train_all"));
    for (name, rest) in one.iter().filter(|(name, _)| *name != "voice") {
        assert_eq!(all.get(name), Some(rest), "{name}");
    }
}

#[test]
fn a_batch_hands_on_what_was_typed_and_nothing_else() {
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
fn a_sweep_takes_every_setting_of_a_training_by_the_name_of_its_flag() {
    let workspace = Workspace::with_anna();
    let of_a_sweep = [
        "voice",
        "validation",
        "objective",
        "mel_only",
        "patience",
        "keep_last",
        "budget",
        "no_index",
        "fresh",
        "settings",
    ];
    let mut settings = serde_json::Map::new();
    for (name, rest) in params("train_voice").iter().filter(|(name, _)| !of_a_sweep.contains(&name.as_str())) {
        let value = rest.split("value:").nth(1).unwrap().split(',').next().unwrap();
        settings.insert(name.clone(), serde_json::from_str(value).unwrap());
    }
    for (name, value) in [
        ("preset", "tiny"),
        ("f0_method", "pm"),
        ("content_encoder", "mel"),
        ("pretrained_g", "none"),
        ("pretrained_d", "none"),
    ] {
        settings.insert(name.to_owned(), value.into());
    }
    settings.insert("segment_size".into(), 3200.into());
    let json = format!("--settings={}", serde_json::Value::Object(settings));
    let small =
        ["anna", "--trials=1", "--epochs=1", "--search=random", "--validation=0", "--objective=loss_mel", &json];
    let text = ended_with(0, &workspace.run("sweep", &small));
    assert!(text.contains("best: "), "{text}");
    for name in ["patience", "keep_last", "validation"] {
        let json = format!("--settings={{\"{name}\": 1}}");
        let text = ended_with(1, &workspace.run("sweep", &["anna", "--trials=1", &json]));
        assert!(text.contains(&format!("{name} is no setting of trials")), "{text}");
    }
}

#[test]
fn the_end_says_in_words_that_the_file_is_sound_and_how_close_the_voice_is() {
    let workspace = Workspace::with_anna();
    let text = ended_with(0, &workspace.train(&["--epochs=1"]));
    assert!(text.contains("self-test passed: the file is sound, "), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("the voice is still far from the recordings: log-mel ")),
        "{text}"
    );
    // What each length counts: the recording's 4 s, the clips', which share what they overlap by, and what is trained on.
    assert!(text.contains(" of 4.0 s") && text.contains("1 used, 4.0 s"), "{text}");
    assert!(text.contains("trained on   ") && text.contains("for rvc-run only"), "{text}");
}
