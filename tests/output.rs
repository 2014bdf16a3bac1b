//! The program's output: text for people, objects for programs, at the requested level; and its pages of recorded runs.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

const RECIPE: &str = r#"//! Warns, records and prints.
let run = track::start("anna", #{ epochs: 3 });
run.metrics(0, #{ loss_mel: 31.5 });
run.event("epoch", #{ epoch: 1, step: 1, steps: 1, seconds: 0.5, metrics: #{ loss_mel: 31.5 } });
system::warn("a clip was lost");
run.finish("done");
print("a result");
"#;

struct Place(tempfile::TempDir);

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// The objects of `--json`; every line is one.
    fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.0.path().join("report.rhai"), RECIPE).unwrap();
        place
    }

    /// A recording of anna, and cut.rhai, which cuts it.
    fn add_recording(&self) {
        std::fs::create_dir_all(self.path("data/anna")).unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut wav = hound::WavWriter::create(self.path("data/anna/a.wav"), spec).unwrap();
        (0..32000).for_each(|i| wav.write_sample(((f64::from(i) * 0.08).sin() * 9000.0) as i16).unwrap());
        wav.finalize().unwrap();
        std::fs::write(self.path("cut.rhai"), "//! Cuts.\nprepare::slices(\"anna\", \"data/anna\", #{});\n").unwrap();
    }

    fn run(&self, arguments: &[&str], rust_log: Option<&str>) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_remove("RUST_LOG").env_remove("MLFLOW_TRACKING_URI").env_remove("MLFLOW_EXPERIMENT_NAME");
        command.envs(rust_log.map(|levels| ("RUST_LOG", levels)));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn only(&self, folder: &str) -> std::path::PathBuf {
        let mut found: Vec<_> =
            std::fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

#[test]
fn results_go_to_standard_output_and_the_rest_to_standard_error() {
    let ended = Place::new().run(&["report.rhai"], None);
    assert_eq!((ended.code, ended.out.as_str()), (0, "a result\n"));
    assert!(
        ended.err.contains("warning: a clip was lost") && ended.err.contains("1 warning, see above"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains("debug"), "{}", ended.err);
}

#[test]
fn json_is_an_object_a_line_and_ends_with_the_exit_code() {
    let ended = Place::new().run(&["--json", "report.rhai"], None);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let objects = ended.objects();
    let find = |event: &str| {
        objects.iter().find(|object| object["event"] == event).unwrap_or_else(|| panic!("{event}: {}", ended.out))
    };
    assert_eq!(find("print")["text"], "a result");
    assert_eq!(find("warning")["text"], "a clip was lost");
    let last = objects.last().unwrap();
    assert_eq!((&last["event"], &last["code"], &last["warnings"]), (&"exit".into(), &0.into(), &1.into()));
    assert!(last["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn json_says_where_a_recipe_failed() {
    let place = Place::new();
    std::fs::write(
        place.path("fail.rhai"),
        "//! Fails.\n\nthrow system::error(\"data.empty\", \"nothing here\", \"put something\");\n",
    )
    .unwrap();
    let ended = place.run(&["--json", "fail.rhai"], None);
    assert_eq!(ended.code, 1);
    let objects = ended.objects();
    let error = objects.iter().find(|object| object["event"] == "error").unwrap();
    assert_eq!(
        (&error["code"], &error["message"], &error["hint"]),
        (&"data.empty".into(), &"nothing here".into(), &"put something".into())
    );
    assert_eq!((&error["place"]["line"], objects.last().unwrap()["code"].as_i64()), (&3.into(), Some(1)));
}

#[test]
fn json_reports_stages_with_their_progress() {
    let place = Place::new();
    place.add_recording();
    let objects = place.run(&["--json", "cut.rhai"], None).objects();
    let of = |event: &str| {
        objects.iter().filter(|object| object["event"] == event && object["stage"] == "slicing").collect::<Vec<_>>()
    };
    assert_eq!((of("begin").len(), of("end").len()), (1, 1));
    assert_eq!((&of("begin")[0]["total"], &of("end")[0]["done"]), (&1.into(), &1.into()));
    assert!(of("progress").iter().all(|object| object["eta"].as_f64().is_some()));
}

#[test]
fn quiet_leaves_results_and_warnings_and_verbose_adds_details() {
    let place = Place::new();
    let quiet = place.run(&["-q", "report.rhai"], None);
    assert_eq!(quiet.out, "a result\n");
    assert!(quiet.err.contains("a clip was lost") && !quiet.err.contains("debug"), "{}", quiet.err);
    let verbose = place.run(&["-v", "report.rhai"], None);
    assert!(verbose.err.contains("debug rvc_run::track"), "{}", verbose.err);
    assert_eq!(place.run(&["-v", "-q", "report.rhai"], None).code, 2);
}

#[test]
fn log_records_name_their_subject_even_from_libraries() {
    let place = Place::new();
    place.add_recording();
    let ended = place.run(&["-vv", "cut.rhai"], None);
    let about = "(run cut.rhai, stage slicing, file data/anna/a.wav): ";
    let by = |target: &str| ended.err.lines().any(|line| line.starts_with(target) && line.contains(about));
    assert!(by("debug symphonia") || by("trace symphonia"), "{}", ended.err);
    // Another folder: here the slices are in the cache.
    let place = Place::new();
    place.add_recording();
    let objects = place.run(&["--json", "cut.rhai"], Some("debug")).objects();
    let record = objects.iter().find(|object| object["event"] == "log" && object["spans"]["file"].is_string());
    let record = record.unwrap_or_else(|| panic!("{objects:?}"));
    assert_eq!(record["spans"]["file"], "data/anna/a.wav");
    assert_eq!((&record["spans"]["run"], &record["level"]), (&"cut.rhai".into(), &"debug".into()));
}

#[test]
fn rust_log_is_respected_and_flags_take_precedence() {
    let place = Place::new();
    assert!(place.run(&["report.rhai"], Some("rvc_run=debug")).err.contains("debug rvc_run::track"));
    let only_errors = place.run(&["report.rhai"], Some("error"));
    assert_eq!((only_errors.out.as_str(), only_errors.err.contains("a clip was lost")), ("a result\n", false));
    assert!(!place.run(&["-q", "report.rhai"], Some("debug")).err.contains("debug"));
}

#[test]
fn runs_are_listed_reported_and_compared() {
    let place = Place::new();
    assert_eq!(place.run(&["track", "list"], None).out, "no run was recorded here\n");
    for _ in 0..2 {
        assert_eq!(place.run(&["report.rhai"], None).code, 0);
    }
    let listed = place.run(&["track", "list"], None).out;
    let rows: Vec<&str> = listed.lines().skip(2).collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(
        rows.iter().all(|row| row.starts_with("anna 20") && row.contains("done") && row.contains("31.50")),
        "{listed}"
    );
    assert_eq!(place.run(&["track", "list", "ben"], None).out, "no run of this voice was recorded here\n");

    std::fs::remove_dir_all(place.path("tracking/reports")).unwrap();
    let page = place.run(&["track", "report", "anna"], None);
    assert_eq!(page.out.trim(), place.only("tracking/reports").strip_prefix(place.0.path()).unwrap().to_str().unwrap());
    let names: Vec<&str> = rows.iter().map(|row| row.split_whitespace().last().unwrap()).collect();
    let title = rows[0].split_once("  ").unwrap().0;
    let named = place.run(&["track", "report", title], None);
    assert!(named.out.contains(names[0]), "{title}: {}{}", named.out, named.err);
    assert!(page.out.contains(names[1]), "the voice stands for its newest run: {}", page.out);
    let compared = place.run(&[&["track", "compare"], names.as_slice()].concat(), None);
    let text = std::fs::read_to_string(place.path(compared.out.trim())).unwrap();
    assert!(names.iter().all(|name| text.contains(name)), "{}", compared.out);
    let sent = place.run(&["track", "sync", title, "--tracking-uri", "elsewhere"], None);
    assert!(sent.out.contains(names[0]) && !sent.out.contains(names[1]), "{}{}", sent.out, sent.err);
    let unknown = place.run(&["track", "report", "ben"], None);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("ben") && unknown.err.contains("track list"), "{}", unknown.err);
}

#[test]
fn tracking_goes_only_to_the_given_destination() {
    let place = Place::new();
    assert_eq!(place.run(&["report.rhai", "--tracking-uri", "none"], None).code, 0);
    assert!(!place.path("tracking/mlruns").exists() && place.path("tracking/events").is_dir());
    assert_eq!(place.run(&["report.rhai", "--tracking-uri", "elsewhere", "--experiment", "tries"], None).code, 0);
    let metas = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path().join("meta.yaml"));
    let texts: Vec<String> =
        metas(&place.path("elsewhere")).map(|meta| std::fs::read_to_string(meta).unwrap()).collect();
    assert!(texts.iter().any(|text| text.contains("'tries'")), "{texts:?}");
    assert!(!place.path("mlruns").exists(), "its mere presence changes MLflow's default");
    let refused = place.run(&["report.rhai", "--tracking-uri", "sqlite:///x.db"], None);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("sqlite:"), "{}", refused.err);
}

/// Logs with every kind of damage, beside an intact one: file name and content.
fn damaged_logs(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let edge = [
        r#"{"type":"start","time":1e300,"elapsed":1e308,"schema":1,"run":"x","name":"anna","params":{"epochs":9223372036854775807}}"#,
        r#"{"type":"event","time":18446744073709551616,"elapsed":1e308,"event":"stage","data":{"stage":"f0","seconds":1e308,"done":9223372036854775807}}"#,
        r#"{"type":"event","time":5.0,"elapsed":1.0,"event":"epoch","data":{"epoch":9223372036854775807,"step":9223372036854775807,"steps":9223372036854775807,"seconds":1e308,"metrics":{"loss_mel":1e308}}}"#,
        r#"{"type":"event","time":5.0,"elapsed":1.0,"event":"epoch","data":{"epoch":-9223372036854775808,"step":-9223372036854775808,"steps":9223372036854775807,"seconds":-1e308,"metrics":{"loss_mel":-1e308}}}"#,
        r#"{"type":"metrics","time":5.0,"elapsed":1.0,"step":9223372036854775807,"metrics":{"loss_mel":5e-324,"epoch/number":1e300,"loss_kl":1e999}}"#,
        r#"{"type":"metrics","time":5.0,"elapsed":1.0,"step":-9223372036854775808,"metrics":{"loss_mel":1e-323,"epoch/number":-1e300}}"#,
        r#"{"type":"metrics","time":5.0,"elapsed":1.0,"step":9223372036854775807,"metrics":{"loss_mel":5e-324,"epoch/number":1e300}}"#,
        r#"{"type":"finish","time":1e308,"elapsed":1e308,"status":"done","summary":{"x":1e308}}"#,
    ];
    let kinds = ["start", "resume", "metrics", "event", "artifact", "finish", "nothing"];
    let values = ["null", "[]", "7", "\"\"", "{}", "true", "[[1,{}],[]]", "\"\\u0000\""];
    let wrong_types: String = kinds
        .iter()
        .flat_map(|kind| {
            values.iter().map(move |value| {
                let keys = [
                    "time",
                    "elapsed",
                    "name",
                    "title",
                    "params",
                    "tags",
                    "tool_version",
                    "step",
                    "metrics",
                    "event",
                    "data",
                    "path",
                    "to",
                    "key",
                    "status",
                    "summary",
                ];
                let fields: Vec<String> = keys.iter().map(|key| format!("\"{key}\":{value}")).collect();
                format!("{{\"type\":\"{kind}\",{}}}\n", fields.join(","))
            })
        })
        .collect();
    let mut random = 1u32;
    let noise = std::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    });
    vec![
        ("20261130-010000-000-anna-0001", Vec::new()),
        ("20261130-020000-000-anna-0002", noise.take(20_000).collect()),
        ("20261130-030000-000-anna-0003", format!("{{\"type\":\"event\",\"x\":\"{}", "y".repeat(3 << 20)).into()),
        ("20261130-040000-000-anna-0004", edge.join("\n").into()),
        ("20261130-050000-000-anna-0005", good.as_bytes()[..good.len() * 2 / 3].to_vec()),
        ("20261130-060000-000-anna-0006", wrong_types.into()),
        ("20261130-070000-000-anna-0007", "[".repeat(100_000).into()),
        ("20261130-080000-000-anna-0008", vec![0; 4096]),
        (
            "20261130-090000-000-anna-0009",
            good.lines().skip(1).flat_map(|line| [line, "\r\n"]).collect::<String>().into(),
        ),
    ]
}

#[test]
fn a_damaged_log_is_named_and_the_others_are_listed() {
    let place = Place::new();
    assert_eq!(place.run(&["report.rhai"], None).code, 0);
    let good = std::fs::read_to_string(place.only("tracking/events")).unwrap();
    let logs = damaged_logs(&good);
    for (name, bytes) in &logs {
        std::fs::write(place.path("tracking/events").join(format!("{name}.jsonl")), bytes).unwrap();
    }
    let ended = place.run(&["track", "list"], None);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.out.lines().count(), 2 + 1 + logs.len(), "{}", ended.out);
    assert!(ended.out.contains("31.50"), "{}", ended.out);
    for (name, _) in &logs {
        assert!(ended.out.contains(name) && ended.err.contains(name), "{name}: {}", ended.err);
    }
    assert!(!ended.out.contains('\0'), "no control character reaches the terminal");
    let names: Vec<&str> = logs.iter().map(|(name, _)| *name).collect();
    for command in ["report", "compare"] {
        let ended = place.run(&[&["track", command], names.as_slice()].concat(), None);
        assert_eq!(ended.code, 0, "{command}: {}", ended.err);
        for page in ended.out.lines() {
            assert!(std::fs::read_to_string(place.path(page)).unwrap().contains("</html>"));
        }
    }
}

#[test]
fn an_unreadable_log_does_not_hide_the_others() {
    let place = Place::new();
    assert_eq!(place.run(&["report.rhai"], None).code, 0);
    // A link to nothing cannot be read by root either.
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", place.path("tracking/events/20261130-010000-000-anna-0001.jsonl")).unwrap();
    std::fs::create_dir(place.path("tracking/events/folder.jsonl")).unwrap();
    let ended = place.run(&["track", "list"], None);
    assert_eq!((ended.code, ended.out.lines().count()), (0, 3), "{}{}", ended.out, ended.err);
    #[cfg(unix)]
    assert!(ended.err.contains("20261130-010000-000-anna-0001 is left out"), "{}", ended.err);
}

#[test]
fn terminal_control_characters_are_escaped() {
    let place = Place::new();
    let recipe =
        "//! Prints.\nprint(\"a\\x1b[31mb\\r\"); system::warn(\"c\\x1b]0;title\\x07d\"); throw \"e\\x1b[2Jf\";\n";
    std::fs::write(place.path("steer.rhai"), recipe).unwrap();
    let ended = place.run(&["steer.rhai"], None);
    assert_eq!(ended.out, "a\\u{1b}[31mb\\r\n");
    assert!(!ended.err.contains(['\x1b', '\x07']) && ended.err.contains("c\\u{1b}]0;title\\u{7}d"), "{}", ended.err);
    assert!(ended.err.contains("e\\u{1b}[2Jf"), "{}", ended.err);
}

const WITH_PARAMS: &str = r#"//! Has parameters.
const PARAMS = [
    #{ name: "voice", positional: true, help: "folder" },
    #{ name: "epochs", value: 300, min: 1 },
    #{ name: "batch_size", value: 4 },
    #{ name: "learning_rate", value: 0.0001 },
    #{ name: "gpu", value: true },
    #{ name: "urls", value: [] },
];
let p = args(PARAMS);
print(p.voice);
"#;

#[test]
fn the_first_line_shows_what_differs_from_the_defaults() {
    let place = Place::new();
    std::fs::write(place.path("train.rhai"), WITH_PARAMS).unwrap();
    for (typed, line) in [
        (&["anna"][..], "train anna: defaults"),
        (
            &["anna", "--epochs", "500", "--batch-size", "8"],
            "train anna: epochs 500, batch_size 8 (defaults otherwise)",
        ),
        (&["--batch-size=8", "anna", "--epochs=300"], "train anna: batch_size 8 (defaults otherwise)"),
        (&["anna", "--learning-rate", "1e-4", "--no-gpu"], "train anna: gpu false (defaults otherwise)"),
        (
            &["安娜 zwei", "--urls", "http://anna:hunter2@host/a b", "c"],
            "train 安娜 zwei: urls [\"http://***@host/a b\",\"c\"] (defaults otherwise)",
        ),
    ] {
        let ended = place.run(&[&["train.rhai"], typed].concat(), None);
        assert_eq!((ended.code, ended.err.lines().next()), (0, Some(line)), "{}", ended.err);
    }
    assert_eq!(place.run(&["-q", "train.rhai", "anna", "--epochs", "5"], None).err, "");
    // Only a recipe with parameters has settings.
    assert!(!place.run(&["report.rhai"], None).err.contains("defaults"));
    std::fs::write(
        place.path("one.rhai"),
        "//! One.\nconst PARAMS = [#{ name: \"voice\", positional: true }];\nlet p = args(PARAMS);\n",
    )
    .unwrap();
    assert_eq!(place.run(&["one.rhai", "anna"], None).err, "one anna\n");
}

#[test]
fn json_has_the_settings_as_its_first_object() {
    let place = Place::new();
    std::fs::write(place.path("train.rhai"), WITH_PARAMS).unwrap();
    let first = place.run(&["--json", "train.rhai", "anna", "--epochs", "500"], None).objects().remove(0);
    assert_eq!(
        (&first["event"], &first["recipe"], &first["arguments"]),
        (&"settings".into(), &"train".into(), &serde_json::json!(["anna"]))
    );
    assert_eq!(first["changed"], serde_json::json!({ "epochs": 500 }));
    assert_eq!((&first["values"]["batch_size"], &first["values"]["voice"]), (&4.into(), &"anna".into()));
}
