//! The script host: engine, parameters, checker, imports, messages, docs. Scripts run in a temporary workspace; nothing here
//! trains or reads sound.

mod arrays;
mod examples;
mod fields;
mod habits;
mod settings;
mod values;

use rhai::Map;
use rvc_run::files::Workspace;
use rvc_run::script::native::{self, Natives};
use rvc_run::script::params::{self, Param};
use rvc_run::script::run::{self, CANCELLED, DONE, FAILED, Outcome, Recipe, WRONG_USE};
use rvc_run::script::{Child, Diagnostic, Host, Session, check, docs, flags, usage};
use rvc_run::task::{Event, Task};
use rvc_run::{eject, shipped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

/// A host in a temporary workspace, and its output.
struct Stage {
    folder: tempfile::TempDir,
    host: Host,
    printed: Arc<(Mutex<Vec<String>>, Condvar)>,
    reported: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let printed = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let reported = Arc::new(Mutex::new(Vec::new()));
        let (lines, events) = (printed.clone(), reported.clone());
        let task = Task::new(1, move |event| {
            if let Event::Info(text) | Event::Warning(text) = event {
                events.lock().unwrap().push(text.clone());
            }
        });
        let output = Arc::new(move |line: &str| {
            lines.0.lock().unwrap().push(line.to_owned());
            lines.1.notify_all();
        });
        let host = Host::new(Session::new(Workspace::new(folder.path()), task, output));
        // This test program is not rvc-run, but the jobs that examples start are.
        host.session.set_child(Child {
            program: Some(env!("CARGO_BIN_EXE_rvc-run").into()),
            flags: vec!["--tracking-uri=none".into(), format!("--workspace={}", folder.path().display())],
            ..Child::default()
        });
        Self { folder, host, printed, reported }
    }

    /// Writes a file below the workspace.
    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn source(&self, path: &str) -> String {
        self.folder.path().join(path).display().to_string()
    }

    /// The mistakes in a script, rendered, with the workspace's path taken out.
    fn check(&self, text: &str) -> Vec<String> {
        let source = self.source("recipes/test.rhai");
        let found = check::script(&self.host, &Natives::of(&self.host.engine), &source, text);
        found.iter().map(|d| self.rendered(d)).collect()
    }

    fn rendered(&self, diagnostic: &Diagnostic) -> String {
        diagnostic.render(false, true).replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn load(&self, text: &str) -> Result<Recipe, Vec<String>> {
        run::load(&self.host, &self.source("recipes/test.rhai"), text)
            .map_err(|found| found.iter().map(|d| self.rendered(d)).collect())
    }

    fn outcome(&self, text: &str) -> Outcome {
        run::run(&self.host, &self.load(text).unwrap(), Map::new())
    }

    /// The exit code and the messages of a script.
    fn run(&self, text: &str) -> (u8, Vec<String>) {
        let outcome = self.outcome(text);
        (outcome.code, outcome.diagnostics.iter().map(|d| self.rendered(d)).collect())
    }

    fn printed(&self) -> Vec<String> {
        self.printed.0.lock().unwrap().clone()
    }

    fn reported(&self) -> Vec<String> {
        self.reported.lock().unwrap().clone()
    }
}

/// Scripts need more stack than a test thread has.
fn staged<T: Send>(f: impl FnOnce(&Stage) -> T + Send) -> T {
    run::on_big_stack(|| f(&Stage::new())).unwrap()
}

fn messages(text: &str) -> Vec<String> {
    staged(|stage| stage.check(text))
}

fn params_of(text: &str) -> Vec<Param> {
    staged(|stage| stage.load(text).map(|recipe| recipe.params)).unwrap()
}

/// The typed values of a command line, or what is wrong with it: message and hint.
fn parsed(params: &[Param], words: Vec<OsString>) -> Result<BTreeMap<String, Value>, String> {
    let mut command = flags::command("test", "Test.", params);
    let matches = command.try_get_matches_from_mut(flags::joined(params, words)).map_err(|refused| {
        let error = usage::error(&command, &refused);
        [error.message(), error.hint_text().unwrap_or_default()].join("; ")
    })?;
    Ok(flags::values(params, &matches))
}

/// The map that `args(PARAMS)` gives, as JSON, or what is wrong with the command line.
fn given(text: &str, arguments: &[&str]) -> Result<Value, String> {
    let params = params_of(text);
    let map = params::to_map(&params, &parsed(&params, arguments.iter().map(OsString::from).collect())?);
    Ok(Value::Object(rvc_run::script::bind::value::map_to_json(&map).unwrap()))
}

const PARAMS: &str = r#"
const PARAMS = [
    #{ name: "voice",         positional: true, help: "folder name under data/" },
    #{ name: "epochs",        value: 300, min: 1, help: "passes over the data" },
    #{ name: "learning_rate", value: 1e-4, min: 0.0, max: 1.0, help: "step size" },
    #{ name: "sample_rate",   value: 40000, one_of: [32000, 40000, 48000] },
    #{ name: "f0_method",     value: "pm", one_of: ["pm", "harvest"] },
    #{ name: "offset",        value: -3, min: -5 },
    #{ name: "gpu",           value: false },
    #{ name: "cache",         value: true },
];
let p = args(PARAMS);
"#;

// Parameters.

#[test]
fn defaults_fill_what_the_command_line_leaves_out() {
    let expected = json!({
        "voice": "anna", "epochs": 300, "learning_rate": 1e-4, "sample_rate": 40000, "f0_method": "pm", "offset": -3,
        "gpu": false, "cache": true,
    });
    assert_eq!(given(PARAMS, &["anna"]).unwrap(), expected);
}

#[test]
fn flags_have_dashes_and_keep_their_types() {
    let line = "--epochs 5 anna --learning-rate 1 --sample-rate=48000 --f0-method harvest --offset -5 --gpu --no-cache";
    let expected = json!({
        "voice": "anna", "epochs": 5, "learning_rate": 1.0, "sample_rate": 48000, "f0_method": "harvest", "offset": -5,
        "gpu": true, "cache": false,
    });
    assert_eq!(given(PARAMS, &line.split(' ').collect::<Vec<_>>()).unwrap(), expected);
}

#[test]
fn an_unknown_flag_gets_the_nearest_one() {
    let message = given(PARAMS, &["anna", "--epcohs", "5"]).unwrap_err();
    assert_eq!(message, "rvc-run test has no flag --epcohs; did you mean --epochs?");
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    let message = given(PARAMS, &["anna", "--epochs", "0"]).unwrap_err();
    assert!(message.contains("--epochs is 0, but must be at least 1"), "{message}");
    let message = given(PARAMS, &["anna", "--learning-rate", "1.5"]).unwrap_err();
    assert!(message.contains("must be between 0 and 1"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    assert!(given(PARAMS, &["anna", "--epochs", "many"]).unwrap_err().contains("must be a whole number"));
    assert!(given(PARAMS, &["anna", "--learning-rate", "nan"]).unwrap_err().contains("must be a finite number"));
}

#[test]
fn a_choice_that_does_not_exist_gets_the_nearest_one() {
    let message = given(PARAMS, &["anna", "--f0-method", "havest"]).unwrap_err();
    assert!(message.contains("must be one of pm, harvest; did you mean harvest?"), "{message}");
}

#[test]
fn a_parameter_without_a_value_is_required() {
    assert!(given(PARAMS, &[]).unwrap_err().contains("needs VOICE; VOICE: folder name under data/"));
}

#[test]
fn help_shows_the_doc_text_and_every_parameter() {
    let doc = "Train one voice.\n\nReads data/<voice>/.";
    let help = flags::command("train", doc, &params_of(PARAMS)).render_long_help().to_string();
    for part in [
        "Train one voice.",
        "Reads data/<voice>/.",
        "<VOICE>",
        "--epochs <N>",
        "passes over the data [at least 1] [default: 300]",
        "[one of: 32000, 40000, 48000] [default: 40000]",
        "--no-cache",
        "--workspace <DIR>",
        "--threads <N>",
        "--quiet",
    ] {
        assert!(help.contains(part), "{part:?} is missing in\n{help}");
    }
}

#[test]
fn mistakes_in_params_point_at_their_place() {
    let text = r#"const PARAMS = [
    #{ name: "epochs", value: 0, min: 1 },
    #{ name: "Rate", value: 1.0 },
    #{ nmae: "x", value: 1 },
    #{ name: "threads", value: 1 },
    #{ name: "a", value: 1 + 1 },
];"#;
    let expected = [
        "error[script.params]: `value` is 0, but must be at least 1\n --> recipes/test.rhai:2:31\n",
        "error[script.params]: a parameter's name has lower-case letters, digits and underscores\n --> recipes/test.rhai:3:14\n",
        "error[script.params]: a parameter has no `nmae`\n --> recipes/test.rhai:4:8\n",
        "error[script.params]: every recipe already has a flag --threads; choose another name\n --> recipes/test.rhai:5:14\n",
        "error[script.params]: `value` must be written out, since PARAMS is read without running the recipe\n --> recipes/test.rhai:6:28\n",
    ];
    let found = messages(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (message, start) in found.iter().zip(expected) {
        assert!(message.starts_with(start), "{message}\ndoes not start with\n{start}");
    }
}

#[test]
fn a_recipe_gets_its_parameters_from_args() {
    let printed = staged(|stage| {
        let recipe = stage
            .load("const PARAMS = [#{ name: \"epochs\", value: 3 }];\nlet p = args(PARAMS);\nprint(p.epochs);")
            .unwrap();
        let values = params::to_map(&recipe.params, &[("epochs".to_owned(), json!(7))].into());
        assert_eq!(run::run(&stage.host, &recipe, values).code, DONE);
        stage.printed()
    });
    assert_eq!(printed, ["7"]);
}

// The checker.

#[test]
fn a_right_script_has_no_mistakes() {
    let text = "let cfg = config::check(#{ epochs: 5 });\nfn twice(x) { x * 2 }\nprint(`${twice(cfg.epochs)} ${system::version()}`);\nlet a = [1, 2];\na.push(3);\nlet f = |x| x + 1;\nprint(f.call(2));";
    assert_eq!(messages(text), Vec::<String>::new());
}

#[test]
fn every_mistake_is_found_at_once() {
    let text = r"let cfg = confg::check(#{});
let a = config::chekc(#{});
let b = config::check();
let c = twice(1, 2);
fn twice(x) { retrun_it(x) }
let d = [1].psuh(2);
";
    let found = messages(text);
    let heads: Vec<&str> = found.iter().map(|m| m.lines().next().unwrap()).collect();
    assert_eq!(
        heads,
        [
            "error[script.syntax]: there is no module `confg` here",
            "error[script.unknown_function]: there is no function `config::chekc`",
            "error[script.arguments]: `config::check` takes 1 argument, not 0",
            "error[script.arguments]: `twice` takes 1 argument, not 2",
            "error[script.unknown_function]: there is no function `retrun_it`",
            "error[script.unknown_function]: there is no method `psuh`",
        ],
        "{found:#?}"
    );
}

#[test]
fn an_unknown_function_gets_the_nearest_one_and_a_caret() {
    let expected = "error[script.unknown_function]: there is no function `system::list_fodlers`
 --> recipes/test.rhai:2:11
  |
2 | for v in (system::list_fodlers(\"data\")) {
  |           ^^^^^^^^^^^^^^^^^^^^
  = hint: did you mean `system::list_folders`?";
    assert_eq!(messages("\nfor v in (system::list_fodlers(\"data\")) {\n    print(v);\n}"), [expected]);
}

#[test]
fn wrong_argument_counts_show_how_the_function_is_called() {
    let found = messages("system::table([\"voice\"]);");
    assert!(found[0].contains("`system::table` takes 2 arguments, not 1"), "{found:?}");
    assert!(found[0].contains("hint: it is called as system::table(head: array, rows: array)"), "{found:?}");
}

#[test]
fn an_unknown_variable_gets_the_nearest_one() {
    let found = messages("let epochs = 5;\nprint(epcohs);");
    assert!(found[0].contains("there is no variable `epcohs` here\n --> recipes/test.rhai:2:7"), "{found:?}");
    assert!(found[0].contains("hint: did you mean `epochs`?"), "{found:?}");
}

#[test]
fn an_unknown_variable_at_the_top_level_gets_what_is_known_there() {
    let params = "const PARAMS = [#{ name: \"clips\", value: 3 }, #{ setting: \"epochs\" }];\nlet p = args(PARAMS);\n";
    let whole = "#{ settings: [\"training\"] }";
    for (script, hint) in [
        (format!("{params}print(epochs);"), "did you mean `p.epochs`?"),
        (format!("{params}print(cilps);"), "did you mean `p.clips`?"),
        (format!("let p = args([{whole}]);\nprint(batch_size);"), "did you mean `p.batch_size`?"),
        (
            "import \"stdlib/voice\" as voice;\nvoice.create();".into(),
            "`voice` is a module; its functions are called as",
        ),
        ("let made = config.defaults();".into(), "`config` is a module"),
        ("print(later);\nlet later = 1;".into(), "`later` is known from its declaration to the end of its block"),
        (
            "if true { let inner = 1; }\nprint(inner);".into(),
            "`inner` is known from its declaration to the end of its block",
        ),
        ("print(zebra);".into(), "a variable is declared with `let x = 5;`"),
        ("fn f() { 1 }\nprint(zebra);".into(), "a variable is declared with `let x = 5;`"),
        ("fn f() { if true { zebra } }".into(), "a function sees only its parameters and constants"),
        ("let outer = 1;\nfn f() { outer }".into(), "a function sees only its parameters and constants"),
        ("let outer = 1;\nfn f() { |x| x + otuer }".into(), "did you mean `outer`?"),
    ] {
        let found = messages(&script);
        assert!(found[0].contains(&format!("= hint: {hint}")), "{script}\n{found:?}");
    }
}

#[test]
fn mistakes_are_ordered_by_their_places_a_scripts_own_before_those_of_its_imports() {
    let found = staged(|stage| {
        stage.file("recipes/part.rhai", "let a = zebra;\nsystem::nothing();");
        stage.check("import \"part\" as part;\nsystem::one();\nlet p = args([#{ name: \"x\", value: 0, min: 1 }]);\nprint(zebra);")
    });
    let places: Vec<&str> =
        found.iter().map(|text| text.split("--> ").nth(1).unwrap().split('\n').next().unwrap()).collect();
    let own = ["recipes/test.rhai:2:1", "recipes/test.rhai:3:36", "recipes/test.rhai:4:7"];
    assert_eq!(places, [&own[..], &["recipes/part.rhai:1:9", "recipes/part.rhai:2:1"]].concat(), "{found:?}");
}

#[test]
fn an_unknown_parameter_is_found_before_the_recipe_runs() {
    let found =
        messages("const PARAMS = [#{ name: \"epochs\", value: 3 }];\nlet p = args(PARAMS);\nprint(`${p.epcohs}`);");
    assert!(
        found[0].starts_with("error[script.property]: PARAMS has no parameter `epcohs`\n --> recipes/test.rhai:3:12"),
        "{found:?}"
    );
    assert!(found[0].contains("did you mean `p.epochs`?"), "{found:?}");
}

#[test]
fn an_unknown_setting_is_found_before_the_recipe_runs() {
    let found = messages("let cfg = config::check(config::defaults() + #{\n    seed: 5,\n    bacth_size: 4,\n});");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .starts_with("error[config.unknown_key]: there is no setting \"bacth_size\"\n --> recipes/test.rhai:3:5"),
        "{found:?}"
    );
    assert!(found[0].contains("did you mean \"batch_size\"?"), "{found:?}");
}

#[test]
fn a_reserved_word_is_explained() {
    let found = messages("let cfg = #{ default: 5 };");
    assert!(found[0].contains("hint: Rhai keeps the word `default` for itself; choose another name"), "{found:?}");
}

#[test]
fn eval_is_not_available() {
    assert_eq!(messages("eval(\"1 + 1\");").len(), 1);
}

#[test]
fn an_import_that_hides_a_native_module_is_a_warning() {
    let found = messages("import \"stdlib/presets\" as config;\nconfig::tiny();");
    assert!(
        found.iter().any(|m| m.starts_with("warning[script.shadow]: the name `config` hides the module")),
        "{found:?}"
    );
}

#[test]
fn mistakes_in_imported_scripts_are_found_in_their_files() {
    let found = staged(|stage| {
        stage.file("recipes/own/helper.rhai", "fn help(x) { nothing(x) }");
        stage.check("import \"own/helper\" as helper;\nhelper::hlep(1);")
    });
    assert!(
        found[0].contains("no function `helper::hlep`") && found[0].contains("did you mean `helper::help`?"),
        "{found:?}"
    );
    assert!(found[1].contains("no function `nothing`\n --> recipes/own/helper.rhai:1:14"), "{found:?}");
}

#[test]
fn an_unknown_import_lists_the_searched_places() {
    let found = staged(|stage| {
        stage.file("recipes/helper.rhai", "fn help() {}");
        stage.check("import \"hepler\" as h;\nimport \"stdlib/trianing\" as t;")
    });
    assert!(
        found[0].contains("there is no script recipes/hepler.rhai to import")
            && found[0].contains("did you mean \"helper\"?"),
        "{found:?}"
    );
    assert!(found[1].contains("neither stdlib/trianing.rhai nor in the program"), "{found:?}");
    assert!(found[1].contains("did you mean \"stdlib/training\"?"), "{found:?}");
}

#[test]
fn a_circle_of_imports_is_named_by_the_checker() {
    let found = staged(|stage| {
        stage.file("recipes/a.rhai", "import \"b\" as b;").file("recipes/b.rhai", "import \"a\" as a;");
        stage.check("import \"a\" as a;")
    });
    assert!(found[0].contains("in a circle: ") && found[0].contains("recipes/b.rhai:1:8"), "{found:?}");
    assert!(found[0].contains("recipes/a.rhai -> recipes/b.rhai -> recipes/a.rhai"), "{found:?}");
}

// Running.

#[test]
fn a_mistake_that_check_finds_stops_the_recipe_before_its_first_line() {
    let (outcome, printed) = staged(|stage| (stage.run("print(\"started\");\nsystem::exit_wiht(1);"), stage.printed()));
    assert_eq!(outcome.0, WRONG_USE);
    assert_eq!(printed, Vec::<String>::new());
}

#[test]
fn an_error_of_the_engine_shows_place_chain_and_hint() {
    let (code, found) = staged(|stage| {
        stage.file("recipes/lib.rhai", "fn settings(cfg) {\n    config::check(cfg)\n}");
        stage.run("import \"lib\" as lib;\nfn start() {\n    lib::settings(#{ epcohs: 5 })\n}\nstart();")
    });
    let expected = "error[config.unknown_key]: there is no setting \"epcohs\"
 --> recipes/lib.rhai:2:5
  |
2 |     config::check(cfg)
  |     ^^^^^^^^^^^^^
  = called as `settings` from recipes/test.rhai:3:5
  = called as `start` from recipes/test.rhai:5:1
  = hint: did you mean \"epochs\"?";
    assert_eq!((code, found), (FAILED, vec![expected.to_owned()]));
}

#[test]
fn an_error_thrown_again_keeps_its_first_place() {
    let (code, found) = staged(|stage| {
        stage.run("let s = -1; try {\n    config::check(#{ seed: s });\n} catch (e) {\n    throw e;\n}")
    });
    assert_eq!(code, FAILED);
    assert!(
        found[0].contains("error[config.value]: seed is -1") && found[0].contains("recipes/test.rhai:2:5"),
        "{found:?}"
    );
}

#[test]
fn a_thrown_text_is_an_error_with_its_place() {
    let (code, found) = staged(|stage| stage.run("fn f() {\n    throw \"nothing to do\";\n}\nf();"));
    assert_eq!(code, FAILED);
    assert!(found[0].starts_with("error[script]: nothing to do\n --> recipes/test.rhai:2:5"), "{found:?}");
}

#[test]
fn an_error_of_rhai_itself_is_shown_the_same_way() {
    let (code, found) = staged(|stage| stage.run("let m = #{ a: 1 };\nprint(m.b);"));
    assert_eq!(code, FAILED);
    assert!(
        found[0].starts_with("error[script]: there is no property `b` in this map\n --> recipes/test.rhai:2:9"),
        "{found:?}"
    );
}

#[test]
fn catch_sees_kind_message_hint_and_path() {
    let text = r#"let wrong = #{ epcohs: 1 };
try { config::check(wrong); }
catch (e) { print(`${e.kind}|${e.message}|${e.hint}|${e.path}`); }
try { throw "plain"; } catch (e) { print(`${e.kind}|${e.message}|${e.hint}|${e.path}`); }
try { [1][5]; } catch (e) { print(system::error_of(e).kind); }
"#;
    let printed = staged(|stage| {
        assert_eq!(stage.run(text), (DONE, vec![]));
        stage.printed()
    });
    assert_eq!(
        printed,
        ["config.unknown_key|there is no setting \"epcohs\"|did you mean \"epochs\"?|", "script|plain||", "script"]
    );
}

#[test]
fn exit_with_ends_the_recipe_from_within_functions_and_try() {
    let text = "fn f() { try { system::exit_with(3); } catch { print(\"caught\"); } }\nf();\nprint(\"after\");";
    let (code, printed) = staged(|stage| (stage.run(text).0, stage.printed()));
    assert_eq!((code, printed), (3, vec![]));
}

#[test]
fn rhais_own_exit_is_refused_because_it_drops_the_code() {
    let (code, found) = staged(|stage| stage.run("exit(3);"));
    assert_eq!(code, FAILED);
    assert!(found[0].contains("hint: use system::exit_with(code)"), "{found:?}");
}

#[test]
fn only_the_known_exit_codes_are_allowed() {
    let (code, found) = staged(|stage| stage.run("system::exit_with(130);"));
    assert_eq!(code, FAILED);
    assert!(found[0].contains("an exit code is 0, 1, 2 or 3, not 130"), "{found:?}");
}

/// Runs a script whose task is cancelled, as a signal would, once it has printed "in the loop".
fn cancelled(stage: &Stage, text: &str) -> u8 {
    let (flag, lines) = (stage.host.session.task().cancel_flag(), stage.printed.clone());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let waiting = |printed: &mut Vec<String>| !printed.iter().any(|line| line == "in the loop");
            drop(lines.1.wait_while(lines.0.lock().unwrap(), waiting).unwrap());
            flag.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        stage.run(text).0
    })
}

#[test]
fn a_training_stopped_between_epochs_is_saved_and_recorded_as_cancelled() {
    let (code, saved, record) = staged(|stage| {
        recordings(stage);
        let text = r#"let cfg = #{ preset: "tiny", segment_size: 1600 };
fn train_one(cfg) {
    let run = track::start("anna", cfg);
    let files = prepare::filelist(prepare::slices("anna", "data/anna", cfg), cfg);
    let t = train::trainer(train::dataset(files, cfg), cfg);
    t.run_epoch(run);
    print("in the loop");
    loop { let wait = 1; }
}
train_one(cfg);"#;
        let code = cancelled(stage, text);
        let saved = stage.folder.path().join("logs/anna/checkpoint_1.json").exists();
        let events = rvc_run::files::list(&stage.folder.path().join("tracking/events")).unwrap();
        (code, saved, std::fs::read_to_string(&events[0]).unwrap())
    });
    assert_eq!((code, saved), (CANCELLED, true));
    // Only the path of the report follows it.
    let endings: Vec<&str> = record.lines().filter(|line| line.contains("\"type\":\"finish\"")).collect();
    assert!(endings.len() == 1 && endings[0].contains("\"status\":\"cancelled\""), "{record}");
}

#[test]
fn a_cancelled_recipe_cannot_catch_it_and_ends_with_130() {
    let (code, printed) = staged(|stage| {
        let text =
            "print(\"in the loop\");\ntry { loop { let x = 1; } } catch { print(\"caught\"); }\nprint(\"after\");";
        (cancelled(stage, text), stage.printed())
    });
    assert_eq!((code, printed), (CANCELLED, vec!["in the loop".to_owned()]));
}

#[test]
fn a_failing_voice_does_not_stop_the_others() {
    let text = r#"fn train(voice) { let seed = if voice == "ben" { -1 } else { 1 }; config::check(#{ seed: seed }); voice }
let rows = [];
for voice in ["anna", "ben", "cleo"] {
    try { rows.push([train(voice), "trained"]); } catch (e) { rows.push([voice, e.message]); }
}
system::table(["voice", "result"], rows);
system::exit_with(3);"#;
    let (code, printed) = staged(|stage| (stage.run(text).0, stage.printed()));
    assert_eq!(code, 3);
    assert_eq!(
        printed[..3],
        ["voice  result", &format!("-----  {}", "-".repeat(printed[3].len() - 7)), "anna   trained"]
    );
    assert!(printed[3].starts_with("ben    seed is -1"), "{printed:?}");
}

#[test]
fn endless_recursion_is_an_error_not_a_crash() {
    let (code, found) = staged(|stage| stage.run("fn f(x) { f(x + 1) }\nf(1);"));
    assert_eq!(code, FAILED);
    assert!(found[0].contains("functions call each other too deeply"), "{found:?}");
}

#[test]
fn the_deepest_allowed_script_fits_the_stack() {
    // 60 calls, each in the middle of an expression 20 brackets deep.
    let deep = format!("{}f(x - 1){}", "(1 + ".repeat(20), ")".repeat(20));
    let text = format!("fn f(x) {{ if x == 0 {{ 0 }} else {{ {deep} }} }}\nprint(f(58));");
    let (outcome, printed) = staged(|stage| (stage.run(&text), stage.printed()));
    assert_eq!((outcome, printed), ((DONE, vec![]), vec!["1160".to_owned()]));
}

#[test]
fn a_shebang_line_keeps_the_lines_in_place() {
    let (_, found) = staged(|stage| stage.run("#!/usr/bin/env rvc-run\nthrow \"here\";"));
    assert!(found[0].contains("recipes/test.rhai:2:1"), "{found:?}");
}

#[test]
fn faulty_input_is_shown_without_the_scripts_lines() {
    // (recipe, arguments, whether the place is shown without -v)
    let shipped =
        |name: &str| std::fs::read_to_string(format!("{}/recipes/{name}.rhai", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let run_with = |text: &str, arguments: &[&str]| {
        staged(|stage| {
            let recipe = stage.load(text).unwrap();
            let matches = flags::command("test", "Test.", &recipe.params).try_get_matches_from(arguments).unwrap();
            let outcome = run::run(
                &stage.host,
                &recipe,
                params::to_map(&recipe.params, &flags::values(&recipe.params, &matches)),
            );
            let found = outcome.diagnostics.last().unwrap().clone();
            (outcome.code, found.render(false, false), found.render(false, true), found.to_json())
        })
    };
    let own = "const PARAMS = [#{ name: \"voice\", positional: true }, #{ name: \"rate\", value: 40000 }];\nlet p = args(PARAMS);\n";
    let own = |rest: &str| format!("{own}{rest}");
    let offline = ["--f0-method", "pm", "--content-encoder", "mel"];
    let prepare = |more: &[&'static str]| [&["nobody"], &offline[..], more].concat();
    for (text, arguments, hidden) in [
        (shipped("prepare"), vec!["nobody"], true),
        (shipped("extract"), prepare(&[]), true),
        (shipped("voice_info"), vec!["nobody.pth"], true),
        (shipped("prepare"), vec!["nobody", "--slice-seconds", "3", "--min-slice-seconds", "2"], true),
        (shipped("sweep"), vec!["nobody", "--settings", "{\"epcohs\": 5}"], true),
        (own("prepare::slices(p.voice, `data/${p.voice}`, #{});"), vec!["nobody"], true),
        (own("audio::load(p.voice);"), vec!["nobody.wav"], true),
        (own("throw system::error(\"data.empty\", \"nothing\", \"\");"), vec!["nobody"], true),
        (own("config::check(#{ sample_rate: p.rate });"), vec!["nobody", "--rate", "5"], false),
        (own("throw \"nothing\";"), vec!["nobody"], false),
        (own("let a = [];\na.sort(1);"), vec!["nobody"], false),
    ] {
        let (code, short, long, json) = run_with(&text, &arguments);
        assert_eq!(code, FAILED, "{arguments:?}: {long}");
        assert!(long.contains("-->"), "{long}");
        assert_eq!(short.contains("-->"), !hidden, "{arguments:?}:\n{short}");
        assert!(!hidden || !short.contains("called as"), "{short}");
        assert!(json["place"]["line"].is_number(), "{json}");
    }
}

// The standard library.

#[test]
fn a_users_copy_of_a_library_script_is_used_and_reported() {
    let (code, printed, reported) = staged(|stage| {
        stage.file("stdlib/presets.rhai", "fn mine() { \"mine\" }");
        let code = stage.run("import \"stdlib/presets\" as presets;\nprint(presets::mine());").0;
        (code, stage.printed(), stage.reported())
    });
    assert_eq!((code, printed), (DONE, vec!["mine".to_owned()]));
    assert!(reported.len() == 1 && reported[0].starts_with("stdlib/presets is taken from "), "{reported:?}");
}

#[test]
fn library_scripts_are_part_of_the_program() {
    let (code, printed) = staged(|stage| {
        (stage.run("import \"stdlib/presets\" as presets;\nprint(presets::tiny().preset);"), stage.printed())
    });
    assert_eq!((code, printed), ((DONE, vec![]), vec!["tiny".to_owned()]));
}

#[test]
fn imports_are_relative_to_the_importing_file() {
    let printed = staged(|stage| {
        stage.file("recipes/own/a.rhai", "import \"deep/b\" as b;\nfn say() { b::say() }");
        stage.file("recipes/own/deep/b.rhai", "import \"../c\" as c;\nfn say() { c::say() }");
        stage.file("recipes/own/c.rhai", "fn say() { \"c\" }");
        assert_eq!(stage.run("import \"own/a\" as a;\nprint(a::say());"), (DONE, vec![]));
        stage.printed()
    });
    assert_eq!(printed, ["c"]);
}

#[test]
fn an_error_in_the_library_is_marked_as_built_in() {
    let place = rvc_run::script::diagnostic::place_name(&shipped::source(shipped::STDLIB_FOLDER, "training"), 44, 19);
    assert_eq!(place, "stdlib/training.rhai:44:19 (built in)");
}

#[test]
fn eject_writes_a_copy_and_never_replaces_one_without_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path());
    let path = eject::script(&workspace, "stdlib/presets", false).unwrap();
    assert_eq!(path, folder.path().join("stdlib/presets.rhai"));
    assert!(eject::script(&workspace, "presets", false).is_ok(), "an equal copy is kept");
    std::fs::write(&path, "// mine").unwrap();
    assert_eq!(eject::script(&workspace, "presets", false).unwrap_err().kind(), rvc_run::Kind::Usage);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "// mine");
    eject::script(&workspace, "presets", true).unwrap();
    let error = eject::script(&workspace, "stdlib/preset", false).unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean stdlib/presets?"));
}

#[test]
fn the_program_holds_every_script_of_the_library_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let files = rvc_run::files::list(&folder).unwrap();
    let scripts = files.iter().filter(|path| path.extension().is_some_and(|e| e == "rhai"));
    let names: Vec<String> = scripts.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(shipped::STDLIB.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    for name in names {
        assert!(!native::MODULES.contains(&name.as_str()), "stdlib/{name} would hide the native module of that name");
    }
}

#[test]
fn the_program_knows_every_recipe_of_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let files = rvc_run::files::list(&folder).unwrap();
    let files = files.iter().filter(|path| path.extension().is_some_and(|e| e == "rhai"));
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let files: Vec<(String, String)> = files.map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect();
    let known: Vec<(String, String)> =
        shipped::RECIPES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert!(files == known, "shipped::RECIPES and recipes/ differ");
    assert!(!shipped::is_recipe("print(1);") && shipped::is_recipe(&known[0].1));
}

#[test]
fn the_program_holds_the_speech_of_the_quickstart() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/quickstart");
    let list = |path: &Path| rvc_run::files::list(path).unwrap();
    let files: Vec<std::path::PathBuf> =
        list(&folder).into_iter().flat_map(|path| if path.is_dir() { list(&path) } else { vec![path] }).collect();
    assert_eq!(files.len(), shipped::SPEECH.len());
    for (path, bytes) in shipped::SPEECH {
        assert!(std::fs::read(folder.join(path)).unwrap() == *bytes, "{path}");
    }
}

// Docs.

#[test]
fn the_list_of_native_modules_is_that_of_the_engine() {
    let known = staged(|stage| {
        let natives = Natives::of(&stage.host.engine);
        let mut modules: Vec<String> = natives.functions.iter().filter_map(|f| f.module.clone()).collect();
        modules.sort();
        modules.dedup();
        modules
    });
    assert_eq!(known, native::MODULES);
}

#[test]
fn every_native_function_has_a_doc_and_an_example() {
    let missing = staged(|stage| {
        let natives = Natives::of(&stage.host.engine);
        let ours = natives.functions.into_iter().filter(|f| !f.standard && f.module.is_some());
        ours.filter(|f| docs::examples(&f.doc).is_empty()).map(|f| f.signature()).collect::<Vec<_>>()
    });
    assert_eq!(missing, Vec::<String>::new());
}

/// Writes the recordings that the docs use: a second of a tone for each of two voices.
fn recordings(stage: &Stage) {
    let tone: Vec<f32> = (0..48000).map(|n| 0.5 * (n as f32 * 440.0 * std::f32::consts::TAU / 48000.0).sin()).collect();
    for voice in ["anna", "ben"] {
        let path = stage.folder.path().join("data").join(voice).join("tone.wav");
        rvc_run::audio::io::write_wav(&path, &tone, 48000).unwrap();
    }
}

#[test]
fn the_reference_names_every_module_and_library_script() {
    let text = staged(|stage| docs::markdown(&stage.host)).unwrap();
    for title in native::MODULES
        .iter()
        .map(ToString::to_string)
        .chain(shipped::STDLIB.iter().map(|(n, _)| format!("stdlib/{n}")))
    {
        assert!(text.contains(&format!("\n## {title}\n")), "{title} is missing");
    }
    assert!(text.contains("### `config::check(settings: map) -> map`"), "{text}");
    assert!(text.contains("### `presets::for_rate(sample_rate)`"), "{text}");
    assert!(text.contains("### `args(params: array) -> map`"), "{text}");
    // Every setting with its default and its meaning, and no helper or closure among the library's functions.
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    for one in rvc_run::config::settings() {
        let default = rvc_run::config::settings::shown(&one.default);
        let row = table.iter().find(|row| row.starts_with(&format!("| `{}` | `{default}`", one.name)));
        assert!(
            row.is_some_and(|row| row.contains(&one.help) && row.contains(&one.limits.range())),
            "{}: {row:?}",
            one.name
        );
    }
    assert_eq!(table.len(), rvc_run::config::settings().len());
    assert!(!text.contains("anon$") && !text.contains("asha_step"), "{text}");
}

#[test]
fn editor_definitions_are_one_file_for_each_module() {
    let names = staged(|stage| {
        let folder = stage.folder.path().join("definitions");
        let paths = docs::editor(&stage.host, &folder).unwrap();
        paths.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    for module in native::MODULES {
        assert!(names.contains(&format!("{module}.d.rhai")), "{names:?}");
    }
}
