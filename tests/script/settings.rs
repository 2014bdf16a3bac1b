//! Settings in PARAMS and on the command line: groups, single ones, aliases, which value wins.

use super::*;
use rvc_run::config::{Config, settings};
use rvc_run::script::Call;

/// The typed values of a recipe with these rows.
fn typed(rows: &str, arguments: &[&str]) -> Result<BTreeMap<String, Value>, String> {
    parsed(&params_of(&format!("const PARAMS = [{rows}];")), arguments.iter().map(OsString::from).collect())
}

/// The settings of a recipe with these rows, or the reason for the error.
fn configured(rows: &str, arguments: &[&str]) -> Result<Config, String> {
    let params = params_of(&format!("const PARAMS = [{rows}];"));
    let nothing = serde_json::Map::new();
    params::layers(&params, &typed(rows, arguments)?).settings(&nothing, &nothing).map_err(|e| e.to_string())
}

const ALL: &str = r#"#{ settings: ["clips", "features", "model", "training", "tracking", "machine"] }"#;

#[test]
fn a_group_brings_its_settings_with_range_and_default_and_a_row_changes_one() {
    let rows = r#"#{ setting: "epochs", value: 500, help: "how long" }, #{ settings: ["training"] }"#;
    let params = params_of(&format!("const PARAMS = [{rows}];"));
    let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
    let group: Vec<&str> =
        settings().iter().filter(|one| one.group == "training").map(|one| one.flag.as_str()).collect();
    assert_eq!(names.len(), group.len() + 2, "and --set and --settings: {names:?}");
    assert!(group.iter().all(|name| names.contains(name)), "{names:?}");
    let help = flags::command("test", "Test.", &params).render_long_help().to_string();
    assert!(help.contains("how long [between 1 and 1000000] [default: 500]"), "{help}");
    assert!(help.contains("[alias: --total-epoch]"), "{help}");
    assert_eq!(configured(rows, &[]).unwrap().epochs, 500);
    assert_eq!(configured(rows, &["--total-epoch", "7"]).unwrap().epochs, 7);
}

#[test]
fn typed_values_override_the_recipe_and_the_recipe_overrides_the_preset() {
    let rate = |rows: &str, arguments: &[&str]| configured(rows, arguments).unwrap().learning_rate;
    let own = format!(r#"{ALL}, #{{ setting: "learning_rate", value: 0.0005 }}"#);
    for (rows, arguments, expected) in [
        (ALL, &[][..], 1e-4),
        (ALL, &["--preset", "tiny"], 0.001),
        (ALL, &["--preset", "tiny", "--learning-rate", "1e-4"], 1e-4),
        (ALL, &["--set", "preset=tiny"], 0.001),
        (ALL, &["--settings", r#"{"preset": "tiny"}"#], 0.001),
        (ALL, &["--settings", r#"{"learning_rate": 0.002}"#, "--preset=tiny"], 0.002),
        (ALL, &["--settings", r#"{"learning_rate": 0.002}"#, "--set", "learning_rate=0.003"], 0.003),
        (ALL, &["--set", "learning_rate=0.003", "--learning-rate=0.004"], 0.004),
        (&own, &["--preset=tiny"], 0.0005),
        (&own, &["--preset=tiny", "--learning-rate=0.002"], 0.002),
    ] {
        assert!((rate(rows, arguments) - expected).abs() < 1e-12, "{arguments:?} with {rows}");
    }
    assert_eq!(configured(ALL, &[]).unwrap().f0_method.as_str(), "rmvpe", "RVC's");
}

#[test]
fn a_recipe_gets_its_settings_from_config_of() {
    let text = r#"
        const PARAMS = [#{ settings: ["model", "training"] }, #{ setting: "preset", value: "tiny" }, #{ settings: ["tracking"], otherwise: "as it was" }];
        let p = args(PARAMS);
        p.c_mel = 30.0;
        let cfg = config::of(p, #{ log_interval: 7 });
        print(`${p.epochs} ${p.learning_rate} ${p.log_interval} ${cfg.epochs} ${cfg.learning_rate} ${cfg.log_interval} ${cfg.c_mel} ${config::typed()}`);"#;
    let printed = staged(|stage| {
        let recipe = stage.load(text).unwrap();
        let typed = std::collections::BTreeMap::from([("epochs".to_owned(), json!(9))]);
        stage.host.session.set_call(Call { typed: typed.clone(), ..Call::default() });
        let outcome = run::run(&stage.host, &recipe, params::to_map(&recipe.params, &typed));
        assert_eq!(outcome.code, DONE, "{:?}", outcome.diagnostics);
        stage.printed()
    });
    assert_eq!(printed, ["9 0.0001  9 0.001 7 30.0 #{\"epochs\": 9}"]);
}

#[test]
fn settings_are_typed_in_their_usual_notation() {
    let config =
        configured(ALL, &["--sample-rate", "48k", "--betas", "0.5,0.9", "--no-f0", "--rvc-version", "v1"]).unwrap();
    assert_eq!(
        (config.sample_rate, config.betas, config.if_f0, config.version.as_str()),
        (48000, [0.5, 0.9], false, "v1")
    );
    let config = configured(ALL, &["--set", "if_f0=false", "--set", "version=v1", "--save-every-epoch=5"]).unwrap();
    assert_eq!((config.if_f0, config.version.as_str(), config.save_every), (false, "v1", 5));
    let config = configured(ALL, &["--set", "total-epoch=7", "--set", "no_f0=true"]).unwrap();
    assert_eq!((config.epochs, config.if_f0), (7, false));
    let config = configured(ALL, &["--f0method=pm", "--embedder-model=mel"]).unwrap();
    assert_eq!((config.f0_method.as_str(), config.content_encoder.as_str()), ("pm", "mel"));
    for (arguments, said) in [
        (&["--betas", "0.5"][..], "must be 2 numbers"),
        (&["--set", "c_mle=3"], "there is no setting c_mle; did you mean c_mel?"),
        (&["--set", "c_mel=-3"], "c_mel must be between 0 and 1000000"),
        (&["--set", "c_mel"], "must be NAME=VALUE"),
        (&["--f0-method", "harvst"], "did you mean harvest?"),
        (&["--sample-rate", "44k"], "must be one of 32000, 40000, 48000"),
        (&["--settings", "[]"], "must be a JSON object"),
        (&["--settings", r#"{"epocs": 3}"#], "there is no setting \"epocs\""),
        (&["--pretrained-g", "mine.onnx"], "must be one of default, none"),
    ] {
        let message = configured(ALL, arguments).unwrap_err();
        assert!(message.contains(said), "{arguments:?}: {message}");
    }
    assert_eq!(configured(ALL, &["--pretrained-g", "mine.pth"]).unwrap().pretrained_g, "mine.pth");
}

#[test]
fn gpus_follow_their_flag_and_a_voice_name_is_not_one() {
    let rows = format!(r#"#{{ name: "voice", positional: true }}, {ALL}"#);
    let gpu = |arguments: &[&str]| {
        let typed = typed(&rows, arguments).unwrap();
        let layers = params::layers(&params_of(&format!("const PARAMS = [{rows}];")), &typed);
        (typed["voice"].as_str().unwrap().to_owned(), layers.typed.get("gpu").cloned(), layers.gpus)
    };
    let on = Some(json!(true));
    assert_eq!(gpu(&["anna", "--gpu"]), ("anna".into(), on.clone(), vec![]));
    assert_eq!(gpu(&["--gpu", "anna"]), ("anna".into(), on.clone(), vec![]));
    assert_eq!(gpu(&["anna", "--gpu", "1"]), ("anna".into(), on.clone(), vec![1]));
    assert_eq!(gpu(&["--gpu", "0,1", "anna"]), ("anna".into(), on.clone(), vec![0, 1]));
    assert_eq!(gpu(&["anna", "--gpus", "1,0"]), ("anna".into(), on.clone(), vec![1, 0]));
    assert_eq!(gpu(&["--gpu", "--", "7"]), ("7".into(), on, vec![]));
    assert_eq!(gpu(&["anna", "--gpu=false"]), ("anna".into(), Some(json!(false)), vec![]));
    for (given, said) in [("cpu", "leave out --gpu to compute on the CPU"), ("1,1", "names GPU 1 twice")] {
        let message = typed(&rows, &["anna", "--gpu", given]).unwrap_err();
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn other_settings_are_kept_for_the_next_recipe() {
    let rows = r#"#{ settings: ["clips"] }"#;
    let given = typed(rows, &["--set", "f0_method=pm", "--set", "max_peak=3", "--set=c_mel=40"]).unwrap();
    assert_eq!(given["set"], json!(["f0_method=pm", "c_mel=40"]));
    assert_eq!(given["max_peak"], json!(3.0), "there is a flag for it");
    let config = configured(rows, &["--set", "f0_method=pm"]).unwrap();
    assert_eq!(config.f0_method.as_str(), "pm");
}

#[test]
fn mistakes_in_rows_of_settings_name_the_alternatives() {
    for (rows, said) in [
        (r#"#{ settings: ["clps"] }"#, "there is no group of settings \"clps\""),
        (r#"#{ settings: "clips" }"#, "`settings` must be an array of strings"),
        (r#"#{ setting: "epoch" }"#, "did you mean \"epochs\"?"),
        (r#"#{ setting: "epochs", value: 0 }"#, "epochs is 0, but must be between 1 and 1000000"),
        (r#"#{ setting: "epochs", valeu: 0 }"#, "did you mean `value`?"),
        (r#"#{ setting: "f0_method", value: "harvst" }"#, "did you mean harvest?"),
        (r#"#{ name: "epochs", value: 3 }, #{ settings: ["training"] }"#, "write setting: \"epochs\" instead of name"),
        (r#"#{ params: "stdlib/voise" }"#, "stdlib/voice"),
        (r#"#{ params: "stdlib/presets" }"#, "stdlib/presets has no PARAMS"),
        (r#"#{ params: "stdlib/voice", names: ["vioce"] }"#, "stdlib/voice has no parameter \"vioce\""),
        (r#"#{ name: "a", value: 1, alias: "b" }, #{ name: "b", value: 1 }"#, "the alias of another one"),
    ] {
        let found = messages(&format!("const PARAMS = [{rows}];")).concat();
        assert!(found.contains(said), "{rows}: {found}");
    }
    let own = r#"const PARAMS = [#{ name: "epochs", value: 3, own: true }, #{ settings: ["training"] }];"#;
    assert_eq!(messages(own), Vec::<String>::new());
}

#[test]
fn settings_of_a_recipe_without_rows_of_them_are_an_error() {
    let (code, found) = staged(|stage| stage.run("config::of(#{ epochs: 5 });"));
    assert_eq!(code, FAILED);
    assert!(found[0].contains("config::of needs a recipe whose PARAMS name settings"), "{found:?}");
}

#[test]
fn no_parameter_is_declared_twice() {
    let mut rows = std::collections::BTreeMap::<String, String>::new();
    for folder in ["recipes", "stdlib"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for path in rvc_run::files::list(&folder).unwrap() {
            if path.extension().is_none_or(|e| e != "rhai") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for row in text.lines().map(str::trim).filter(|line| line.starts_with("#{ name: \"")) {
                let row: String = row.split_whitespace().collect();
                let first = rows.insert(row.clone(), path.display().to_string());
                assert_eq!(first, None, "{} has the row again: {row}", path.display());
            }
        }
    }
    assert!(rows.len() > 50, "{}", rows.len());
}

/// A shipped recipe.
fn shipped(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/{name}.rhai"))).unwrap()
}

#[test]
fn every_recipe_that_trains_takes_every_setting() {
    for recipe in ["train_voice", "train_all", "sweep", "sweep_then_train", "quickstart"] {
        let params = params_of(&shipped(recipe));
        for one in settings() {
            let param = params.iter().find(|param| param.setting().is_some_and(|known| known.name == one.name));
            assert!(param.is_some_and(|param| param.name == one.flag), "{recipe} has no flag for {}", one.name);
        }
    }
    for recipe in ["prepare", "extract", "prepare_voice", "index", "resume", "sweep_custom"] {
        let names: Vec<String> = params_of(&shipped(recipe)).into_iter().map(|param| param.name).collect();
        assert!(names.contains(&"set".to_owned()), "{recipe}: {names:?}");
    }
}
