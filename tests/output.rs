//! What the program shows: text for a person, objects for a program, as much as was asked for; and its pages of recorded runs.

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
        std::fs::write(place.0.path().join("tell.rhai"), RECIPE).unwrap();
        place
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
    let ended = Place::new().run(&["tell.rhai"], None);
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
    let ended = Place::new().run(&["--json", "tell.rhai"], None);
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
fn json_tells_stages_with_their_progress() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("data/anna")).unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(place.path("data/anna/a.wav"), spec).unwrap();
    (0..32000).for_each(|i| wav.write_sample(((f64::from(i) * 0.08).sin() * 9000.0) as i16).unwrap());
    wav.finalize().unwrap();
    std::fs::write(place.path("cut.rhai"), "//! Cuts.\nprepare::slices(\"anna\", \"data/anna\", #{});\n").unwrap();
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
    let quiet = place.run(&["-q", "tell.rhai"], None);
    assert_eq!(quiet.out, "a result\n");
    assert!(quiet.err.contains("a clip was lost") && !quiet.err.contains("debug"), "{}", quiet.err);
    let verbose = place.run(&["-v", "tell.rhai"], None);
    assert!(verbose.err.contains("debug rvc_run::track"), "{}", verbose.err);
    assert_eq!(place.run(&["-v", "-q", "tell.rhai"], None).code, 2);
}

#[test]
fn rust_log_is_respected_and_flags_go_first() {
    let place = Place::new();
    assert!(place.run(&["tell.rhai"], Some("rvc_run=debug")).err.contains("debug rvc_run::track"));
    let only_errors = place.run(&["tell.rhai"], Some("error"));
    assert_eq!((only_errors.out.as_str(), only_errors.err.contains("a clip was lost")), ("a result\n", false));
    assert!(!place.run(&["-q", "tell.rhai"], Some("debug")).err.contains("debug"));
}

#[test]
fn runs_are_listed_reported_and_compared() {
    let place = Place::new();
    assert_eq!(place.run(&["track", "list"], None).out, "no run was recorded here\n");
    for _ in 0..2 {
        assert_eq!(place.run(&["tell.rhai"], None).code, 0);
    }
    let listed = place.run(&["track", "list"], None).out;
    let rows: Vec<&str> = listed.lines().skip(2).collect();
    assert_eq!(rows.len(), 2, "{listed}");
    assert!(rows.iter().all(|row| row.contains("-anna-") && row.contains("done") && row.contains("31.50")), "{listed}");
    assert_eq!(place.run(&["track", "list", "ben"], None).out, "no run was recorded here\n");

    std::fs::remove_dir_all(place.path("tracking/reports")).unwrap();
    let page = place.run(&["track", "report", "anna"], None);
    assert_eq!(page.out.trim(), place.only("tracking/reports").strip_prefix(place.0.path()).unwrap().to_str().unwrap());
    let names: Vec<&str> = rows.iter().map(|row| row.split_whitespace().next().unwrap()).collect();
    assert!(page.out.contains(names[1]), "the voice stands for its newest run: {}", page.out);
    let compared = place.run(&[&["track", "compare"], names.as_slice()].concat(), None);
    let text = std::fs::read_to_string(place.path(compared.out.trim())).unwrap();
    assert!(names.iter().all(|name| text.contains(name)), "{}", compared.out);
    let unknown = place.run(&["track", "report", "ben"], None);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("ben") && unknown.err.contains("track list"), "{}", unknown.err);
}

#[test]
fn tracking_goes_where_it_is_told_and_nowhere_else() {
    let place = Place::new();
    assert_eq!(place.run(&["tell.rhai", "--tracking-uri", "none"], None).code, 0);
    assert!(!place.path("tracking/mlruns").exists() && place.path("tracking/events").is_dir());
    assert_eq!(place.run(&["tell.rhai", "--tracking-uri", "elsewhere", "--experiment", "tries"], None).code, 0);
    let metas = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path().join("meta.yaml"));
    let texts: Vec<String> =
        metas(&place.path("elsewhere")).map(|meta| std::fs::read_to_string(meta).unwrap()).collect();
    assert!(texts.iter().any(|text| text.contains("'tries'")), "{texts:?}");
    assert!(!place.path("mlruns").exists(), "its mere presence changes MLflow's default");
    let refused = place.run(&["tell.rhai", "--tracking-uri", "sqlite:///x.db"], None);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("sqlite:"), "{}", refused.err);
}
