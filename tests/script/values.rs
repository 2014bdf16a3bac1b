//! Values that `check` judges without running anything: settings, options, PARAMS given inline.

use super::*;

/// A script with `PRE` in front, the place of the mistake, and parts of its message.
fn found_in(text: &str) -> Vec<String> {
    messages(text)
}

fn assert_mistake(text: &str, line: usize, column: usize, parts: &[&str]) {
    let found = found_in(text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    assert!(found[0].contains(&format!("--> recipes/test.rhai:{line}:{column}\n")), "{text}: {}", found[0]);
    for part in parts {
        assert!(found[0].contains(part), "{text}: {part:?} is missing in {}", found[0]);
    }
}

#[test]
fn values_of_settings_are_judged_before_the_recipe_runs() {
    for (text, column, parts) in [
        ("config::check(#{ epochs: 0 });", 25, &["epochs is 0, but must be between 1 and 1000000"][..]),
        ("config::check(#{ epochs: \"many\" });", 25, &["epochs is \"many\", but must be a whole number"]),
        (
            "config::check(#{ sample_rate: 44100 });",
            30,
            &["sample_rate is 44100, but must be one of 32000, 40000, 48000"],
        ),
        ("config::check(#{ f0_method: \"rmvpee\" });", 28, &["did you mean rmvpe?"]),
        ("config::check(#{ learning_rate: -1.0 });", 32, &["learning_rate is -1, but must be between"]),
        ("config::check(#{ gpu: 1 });", 22, &["gpu is 1, but must be true or false"]),
        ("config::check(#{ betas: [0.8] });", 24, &["betas is [0.8], but must be a list of 2 numbers"]),
        ("config::check(#{ seed: () });", 23, &["seed is null, but must be a whole number"]),
        ("config::check(config::defaults() + #{ epochs: 5 } + #{ batch_size: 0 });", 67, &["batch_size is 0"]),
        ("config::check(#{ segment_size: 17280 });", 31, &["segment_size is 17280", "17200"]),
        ("config::check(#{ min_slice_seconds: 3 });", 36, &["min_slice_seconds is 3"]),
        (
            "config::check(#{ bacth_size: 4 });",
            17,
            &["there is no setting \"bacth_size\"", "did you mean \"batch_size\"?"],
        ),
    ] {
        assert_mistake(text, 1, column + 1, parts);
    }
}

#[test]
fn every_wrong_value_of_a_map_is_found() {
    let found = messages(
        "config::check(#{ epochs: 0, batch_size: 0, sample_rate: 40000, segment_size: 17280, f0_method: \"pm\" });",
    );
    assert_eq!(found.len(), 3, "{found:?}");
    for part in ["epochs is 0", "batch_size is 0", "segment_size is 17280"] {
        assert!(found.iter().any(|m| m.contains(part)), "{found:?}");
    }
}

#[test]
fn values_that_depend_on_others_are_judged_if_all_are_known() {
    assert_eq!(messages("config::check(#{ segment_size: 17280, sample_rate: 48000 });"), Vec::<String>::new());
    let rate = "const PARAMS = [#{ name: \"rate\", value: 40000 }];\nlet p = args(PARAMS);\n";
    assert_eq!(
        messages(&format!("{rate}config::check(#{{ sample_rate: p.rate, segment_size: 17280 }});")),
        Vec::<String>::new()
    );
    // A computed value hides no other mistake.
    assert_mistake(&format!("{rate}config::check(#{{ sample_rate: p.rate, epochs: 0 }});"), 3, 47, &["epochs is 0"]);
    assert_mistake(
        &format!("{rate}config::check(#{{ sampel_rate: p.rate }});"),
        3,
        18,
        &["did you mean \"sample_rate\"?"],
    );
    // A map that may hold any key replaces the map to its left.
    assert_eq!(messages("fn more() { #{ epochs: 5 } }\nconfig::check(#{ epochs: 0 } + more());"), Vec::<String>::new());
    assert_mistake("fn more() { #{ epochs: 5 } }\nconfig::check(more() + #{ epochs: 0 });", 2, 35, &["epochs is 0"]);
    assert_eq!(messages("config::check(#{ epochs: 0 } + #{ epochs: 5 });"), Vec::<String>::new());
}

#[test]
fn arguments_of_presets_are_judged_at_their_place() {
    let import = "import \"stdlib/presets\" as presets;\n";
    assert_mistake(
        &format!("{import}config::check(presets::for_rate(44100));"),
        2,
        33,
        &["sample_rate is 44100, but must be one of"],
    );
    assert_mistake(
        &format!("{import}let cfg = config::check(presets::for_rate(44100) + #{{ epochs: 5 }});"),
        2,
        43,
        &["sample_rate is 44100"],
    );
    assert_mistake(&format!("{import}config::check(presets::for_rate(\"40k\"));"), 2, 33, &["sample_rate is \"40k\""]);
    // The segment of 48000 Hz at 40000, both only from the text.
    assert_mistake(
        &format!("{import}config::check(presets::for_rate(40000) + #{{ segment_size: 17280 }});"),
        2,
        59,
        &["17280"],
    );
    for right in [
        "for_rate(48000) + #{ segment_size: 17280 }",
        "offline() + #{ epochs: 5 }",
        "tiny()",
        "for_rate(32000) + presets::tiny()",
    ] {
        assert_eq!(messages(&format!("{import}config::check(presets::{right});")), Vec::<String>::new(), "{right}");
    }
}

#[test]
fn constants_are_known_and_variables_are_not() {
    assert_mistake("const BASE = #{ epochs: 0 };\nconfig::check(BASE);", 1, 25, &["epochs is 0"]);
    assert_mistake("const RATE = 44100;\nconfig::check(#{ sample_rate: RATE });", 2, 31, &["sample_rate is 44100"]);
    assert_eq!(messages("let base = #{ epochs: 0 };\nbase.epochs = 5;\nconfig::check(base);"), Vec::<String>::new());
    assert_eq!(messages("const BASE = 5;\nfn f(BASE) { config::check(BASE) }\nf(#{});"), Vec::<String>::new());
}

#[test]
fn settings_and_options_of_other_functions_are_judged_too() {
    let head = "import \"stdlib/training\" as training;\nimport \"stdlib/voice\" as voice;\nimport \"stdlib/sweep\" as sweep;\n";
    for (call, part) in [
        (
            "let c = prepare::slices(\"anna\", \"data/anna\", #{ slice_seconds: 99.0 });",
            "slice_seconds is 99, but must be between 1 and 30",
        ),
        ("let d = train::dataset(\"logs/anna/filelist.txt\", #{ batch_size: -1 });", "batch_size is -1"),
        ("train::check(\"anna\", #{ presett: \"tiny\" }, #{});", "did you mean \"preset\"?"),
        ("train::check(\"anna\", #{}, #{ fersh: true });", "did you mean \"fresh\"?"),
        ("train::check(\"anna\", #{}, #{ fresh: 1 });", "fresh of train::trainer is 1, but must be true or false"),
        ("retrieval::build(\"anna\", #{}, #{ nmae: \"rvc\" });", "did you mean \"name\"?"),
        ("retrieval::build(\"anna\", #{}, #{ name: \"faiss\" });", "must be one of rvc, applio"),
        (
            "retrieval::build(\"anna\", #{}, #{ max_frames: \"all\" });",
            "max_frames of an index is \"all\", but must be a whole number",
        ),
        ("model::open(\"a.pth\", #{ idnex: \"\" });", "did you mean \"index\"?"),
        ("model::open(\"a.pth\", #{ gpu: \"yes\" });", "gpu of model::open is \"yes\", but must be true or false"),
        ("model::open(\"a.pth\", #{ f0_method: \"crep\" });", "did you mean crepe?"),
        ("jobs::run([], #{ paralel: 2 });", "did you mean \"parallel\"?"),
        (
            "jobs::run([], #{ parallel: \"two\" });",
            "parallel of jobs::run is \"two\", but must be a whole number of at least 0",
        ),
        ("jobs::run([], #{ backend: \"pbs\" });", "backend of jobs::run is \"pbs\", but must be one of local, slurm"),
        ("jobs::run([], #{ slurm: #{ tiem: \"1:00\" } }, |o| []);", "did you mean \"time\"?"),
        ("prepare::download(\"anna\", [], #{ durration: 5 });", "did you mean \"duration\"?"),
        ("assets::needed(#{ f0_method: \"crep\" });", "did you mean crepe?"),
        ("train::learning_rate(#{ lr_decay: 2.0 }, 1);", "lr_decay is 2, but must be between 0.5 and 1"),
        (
            "let v = model::open(\"a.pth\", #{});\nv.convert(\"a.wav\", \"b.wav\", #{ f0_up: 12 });",
            "convert has no setting \"f0_up\"",
        ),
        (
            "let v = model::open(\"a.pth\", #{});\nv.convert(\"a.wav\", \"b.wav\", #{ protect: \"a\" });",
            "protect of convert is \"a\", but must be a number",
        ),
        (
            "let r = prepare::survey(\"data/anna\");\nr.judge(#{ warn_below_snr: 5 });",
            "did you mean \"warn_below_snr_db\"?",
        ),
        ("voice::create(\"anna\", \"data/anna\", #{ epochs: 0 }, #{});", "epochs is 0"),
        ("voice::create(\"anna\", \"data/anna\", #{}, #{ frehs: true });", "`voice::create` has no option \"frehs\""),
        ("fn f(t, run, held) { training::fit(t, run, #{}, #{ held: held, lisen: true }) }", "did you mean \"listen\"?"),
        ("sweep::run(#{ name: \"a\", trails: [] });", "did you mean \"trials\"?"),
    ] {
        let found = messages(&format!("{head}{call}"));
        assert!(found.len() == 1 && found[0].contains(part), "{call}: {part}: {found:?}");
    }
    for right in [
        "jobs::run([], #{ parallel: 2, group: \"a\", gpus: [0], slurm: #{ time: \"1:00\" } });",
        "retrieval::build(\"anna\", #{ seed: 5 }, #{ name: \"applio\" });",
        "fn f(t, run, held) { training::fit(t, run, #{ epochs: 5 }, #{ held: held, patience: 3 }) }",
        "sweep::run(#{ name: \"a\", trials: [], jobs: #{ parallel: 2 } });",
        "let m = #{};\nm.slice = |x| x;\nm.slice(#{ any: 1 });",
    ] {
        let found = messages(&format!("{head}{right}"));
        assert!(found.iter().all(|m| m.contains("m.slice")), "{right}: {found:?}");
    }
}

#[test]
fn parameters_given_inline_are_read_and_judged() {
    let text = "let p = args([#{ name: \"epochs\", value: 3, min: 1 }]);\nprint(p.epochs);";
    assert_eq!(messages(text), Vec::<String>::new());
    assert_eq!(given(text, &["--epochs", "7"]).unwrap(), json!({ "epochs": 7 }));
    assert!(given(text, &["--epochs", "0"]).unwrap_err().contains("must be at least 1"));
    let printed = staged(|stage| {
        let recipe = stage.load(text).unwrap();
        let values = params::to_map(&recipe.params, &[("epochs".to_owned(), json!(7))].into());
        assert_eq!(run::run(&stage.host, &recipe, values).code, DONE);
        stage.printed()
    });
    assert_eq!(printed, ["7"]);
    for (text, column, part) in [
        ("let p = args([#{ name: \"epochs\", value: 0, min: 1 }]);", 41, "`value` is 0, but must be at least 1"),
        ("let p = args([#{ nmae: \"epochs\", value: 0 }]);", 18, "a parameter has no `nmae`"),
        ("let p = args([#{ name: \"epochs\", value: 1 + 1 }]);", 43, "must be written out"),
        ("let p = args([#{ name: \"threads\", value: 1 }]);", 24, "every recipe already has a flag --threads"),
        ("let p = args([5]);", 15, "a parameter must be a map"),
    ] {
        let found = messages(text);
        assert!(found[0].contains(part) && found[0].contains(&format!("test.rhai:1:{column}\n")), "{text}: {found:?}");
    }
    let found = messages("let p = args([#{ name: \"epochs\", value: 3 }]);\nprint(p.epcohs);");
    assert!(found[0].contains("did you mean `p.epochs`?"), "{found:?}");
}

#[test]
fn nothing_is_run_by_a_check() {
    let (found, exists) = staged(|stage| {
        let found =
            stage.check("system::write_text(\"made.txt\", \"x\");\nconfig::check(#{ epochs: 0 });\nthrow \"ran\";");
        (found, stage.folder.path().join("made.txt").exists())
    });
    assert!(found.len() == 1 && !exists, "{found:?}");
}
