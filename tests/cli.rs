//! The program as people and other programs call it: words, flags, exit codes, output, signals.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program in an empty folder, or in one with the files of a test.
struct Place(tempfile::TempDir);

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn has(&self, path: &str) -> bool {
        self.0.path().join(path).exists()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        // This machine's own pretrained files are hidden.
        command.env_remove("RVC_RUN_ASSETS").env("XDG_CACHE_HOME", self.0.path().join("cache_home"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }
}

fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn run(arguments: &[&str]) -> Ended {
    Place::new().run(arguments)
}

/// A script of tests/scripts.
fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name).display().to_string()
}

/// The checkout, whose recipes and stdlib are the real ones.
fn checkout() -> &'static str {
    env!("CARGO_MANIFEST_DIR")
}

#[test]
fn help_and_version_are_results() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert!(help.out.contains("check") && help.out.contains("--workspace <DIR>"), "{}", help.out);
    let version = run(&["--version"]);
    assert_eq!((version.code, version.out.trim()), (0, concat!("rvc-run ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn no_command_is_wrong_use() {
    let nothing = run(&[]);
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""));
    for step in ["rvc-run quickstart ", "rvc-run new my-voices ", "rvc-run train_voice anna ", "rvc-run list "] {
        assert!(nothing.err.contains(step), "{step:?} is missing in\n{}", nothing.err);
    }
}

#[test]
fn an_unknown_word_gets_the_nearest_command_or_recipe() {
    let place = Place::new();
    place.file("recipes/train_voice.rhai", "//! Trains.");
    let mistyped = place.run(&["trian_voice"]);
    assert_eq!(mistyped.code, 2);
    assert_eq!(
        mistyped.err,
        "error[usage]: there is no command or recipe \"trian_voice\"\n  = hint: did you mean \"train_voice\"?\n"
    );
    assert!(place.run(&["chekc"]).err.contains("did you mean \"check\"?"));
    assert!(place.run(&["recipes/train_voise.rhai"]).err.contains("there is no recipe"));
}

#[test]
fn list_shows_recipes_with_their_first_line() {
    let listed = run(&["list", "--workspace", checkout()]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let printed = listed.out.lines().any(|line| {
        line.strip_prefix("train_voice ")
            .is_some_and(|rest| rest.trim_start().starts_with("Train one voice from a folder"))
    });
    assert!(printed, "{}", listed.out);
}

#[test]
fn list_in_an_empty_folder_shows_the_recipes_of_the_program() {
    let names = |ended: &Ended| -> Vec<String> {
        ended.out.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let (here, away) = (run(&["list", "--workspace", checkout()]), run(&["list"]));
    assert_eq!((names(&away), away.code), (names(&here), 0));
    assert!(away.err.contains("rvc-run eject recipes/NAME") && here.err.is_empty(), "{}{}", away.err, here.err);
}

#[test]
fn a_recipe_in_the_workspace_replaces_the_programs() {
    let place = Place::new();
    place.file("recipes/train_voice.rhai", "//! Mine.\nprint(\"mine\");");
    assert!(place.run(&["list"]).out.lines().any(|line| line.starts_with("train_voice ") && line.ends_with(" Mine.")));
    for word in ["train_voice", "recipes/train_voice", "recipes/train_voice.rhai"] {
        assert_eq!(place.run(&[word]).out, "mine\n", "{word}");
    }
    let of_program = place.run(&["recipes/train_voice.rhai (built in)", "--help"]);
    assert!(of_program.out.contains("rvc-run train_voice "), "{}{}", of_program.out, of_program.err);
}

#[test]
fn a_recipe_of_the_program_runs_anywhere_and_shows_where_it_failed() {
    let place = Place::new();
    let named = place.run(&["prepare", "nobody", "-v"]);
    assert_eq!(named.code, 1);
    assert!(named.err.contains("--> recipes/prepare.rhai:"), "{}", named.err);
    assert!(named.err.contains("(built in)") && !named.err.contains("there is no file"), "{}", named.err);
    let notice = "there is no file recipes/prepare.rhai here: this is the program's own recipe prepare\n";
    let by_path = place.run(&["recipes/prepare.rhai", "nobody"]);
    assert!(by_path.code == 1 && by_path.err.starts_with(notice), "{}", by_path.err);
    assert!(!place.run(&["recipes/prepare.rhai", "nobody", "-q"]).err.contains(notice));
    for elsewhere in ["other/prepare.rhai", "./recipes/prepare2.rhai", "recipes/deeper/prepare"] {
        assert_eq!(place.run(&[elsewhere, "nobody"]).code, 2, "{elsewhere}");
    }
}

#[test]
fn help_with_a_word_prints_the_help_of_that_word() {
    let place = Place::new();
    place.file("recipes/hello.rhai", "//! Says hello.\nprint(\"hello\");");
    for words in [&["train_voice"][..], &["hello"], &["list"], &["assets", "fetch"], &[]] {
        let help = place.run(&[&["help"], words].concat());
        let flag = place.run(&[words, &["--help"]].concat());
        assert_eq!((help.code, &help.out, &help.err), (0, &flag.out, &flag.err), "{words:?}");
        assert!(!help.out.is_empty());
    }
    let unknown = place.run(&["help", "trian_voice"]);
    assert!(unknown.code == 2 && unknown.err.contains("did you mean \"train_voice\"?"), "{}", unknown.err);
}

#[test]
fn the_recipes_and_the_library_have_no_mistakes() {
    let checked = run(&["check", "--workspace", checkout()]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    assert!(checked.out.ends_with("0 mistakes found\n"), "{}", checked.out);
}

#[test]
fn check_shows_all_mistakes_and_ends_with_2() {
    let path = script("mistakes.rhai");
    let checked = run(&["check", &path]);
    let expected = format!(
        "error[script.params]: `value` is 0, but must be at least 1
 --> {path}:3:31
  |
3 |     #{{ name: \"epochs\", value: 0, min: 1 }},
  |                               ^
error[script.unknown_function]: there is no function `config::chekc`
 --> {path}:5:11
  |
5 | let cfg = config::chekc(#{{ epochs: 5 }});
  |           ^^^^^^^^^^^^^
  = hint: did you mean `config::check`?
error[script.arguments]: `system::table` takes 2 arguments, not 1
 --> {path}:6:1
  |
6 | system::table([\"voice\"]);
  | ^^^^^^^^^^^^^
  = hint: it is called as system::table(head: array, rows: array)
error[script.import]: there is no script stdlib/trianing to import: it is neither stdlib/trianing.rhai nor in the program
 --> {path}:7:8
  |
7 | import \"stdlib/trianing\" as training;
  |        ^^^^^^^^^^^^^^^^^
  = hint: did you mean \"stdlib/training\"?
"
    );
    assert_eq!((checked.code, checked.err), (2, expected));
    assert_eq!(checked.out, "1 script checked, 4 mistakes found\n");
}

#[test]
fn a_recipe_explains_its_flags() {
    let help = run(&[&script("fails.rhai"), "--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for part in ["Fails inside two functions", "<VOICE>", "--epochs <N>", "[between 1 and 100] [default: 3]"] {
        assert!(help.out.contains(part), "{part:?} is missing in\n{}", help.out);
    }
}

#[test]
fn an_unknown_recipe_flag_is_wrong_use_with_the_nearest() {
    let mistyped = run(&[&script("fails.rhai"), "anna", "--epcohs", "5"]);
    assert_eq!((mistyped.code, mistyped.out.as_str()), (2, ""));
    assert!(mistyped.err.starts_with("error[usage]: rvc-run "), "{}", mistyped.err);
    let words = " has no flag --epcohs\n  = hint: did you mean --epochs?\n";
    assert!(mistyped.err.ends_with(words), "{}", mistyped.err);
}

#[test]
fn mistakes_on_the_command_line_look_like_all_other_errors() {
    let usage = "it is called as rvc-run train_voice [OPTIONS] <VOICE>";
    for (words, message, hint) in [
        (&["train_voice"][..], "rvc-run train_voice needs VOICE", "VOICE: "),
        (&["train_voice", "a", "b"], "\"b\" is one argument too many", usage),
        (&["train_voice", "a", "--epochs"], "--epochs needs a value", "--epochs <N>: passes over the data"),
        (&["train_voice", "a", "--epochs", "x"], "--epochs is x, but must be a whole number", ""),
        (&["train_voice", "a", "--epochs="], "--epochs is \"\", but must be a whole number", ""),
        (
            &["train_voice", "a", "--f0-method", "crep"],
            "--f0-method is crep, but must be one of pm, ",
            "did you mean crepe?",
        ),
        (
            &["train_voice", "a", "--f0_method", "pm"],
            "rvc-run train_voice has no flag --f0_method",
            "did you mean --f0-method?",
        ),
        (&["train_voice", "a", "--gpu", "cpu"], "--gpu is cpu, but must be true or numbers", "leave out --gpu"),
        (
            &["train_voice", "-x"],
            "rvc-run train_voice has no flag -x",
            "`rvc-run train_voice --help` shows all; put -- before a name that",
        ),
        (&["train_voice", "a", "-q", "-v"], "--quiet and --verbose exclude each other", "leave out one of the two"),
        (&["list", "all"], "\"all\" is one argument too many", "it is called as rvc-run list [OPTIONS]"),
        (&["--epocs", "5", "train_voice"], "rvc-run has no flag --epocs", "flags of a recipe stand behind its name"),
        (&["--threads", "0", "list"], "--threads is 0, but must be a whole number between 1 and 1024", ""),
        (&["ui", "--port", "x"], "--port is x, but must be a whole number between 1 and 65535", ""),
        (&["cache", "prune", "--keep-days", "x"], "--keep-days is x, but must be a number", ""),
        (
            &["--workspace", "check", "assets", "fecth"],
            "rvc-run assets has no command \"fecth\"",
            "did you mean \"fetch\"?",
        ),
        (&["assets", "fetch", "--sample-rate", "1"], "--sample-rate is 1, but must be one of 32000, 40000, 48000", ""),
        (&["assets", "fetch", "rmvpe.pt", "--no-f0"], "NAME and --no-f0 exclude each other", "leave out one"),
        (&["eject"], "rvc-run eject needs NAME", "NAME: such as recipes/train_voice"),
    ] {
        let ended = run(words);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{words:?}\n{}", ended.err);
        assert!(ended.err.starts_with(&format!("error[usage]: {message}")), "{words:?}\n{}", ended.err);
        let hinted = ended.err.split("  = hint: ").nth(1).unwrap_or_default();
        assert!(hinted.starts_with(hint), "{words:?}\n{}", ended.err);
        assert_eq!(ended.err.lines().count(), if hinted.is_empty() { 1 } else { 2 }, "{words:?}\n{}", ended.err);
        let objects = run(&[&["--json"], words].concat()).out;
        let first: serde_json::Value = serde_json::from_str(objects.lines().next().unwrap()).unwrap();
        assert!(first["event"] == "error" && first["message"].as_str().unwrap().starts_with(message), "{objects}");
    }
}

#[test]
fn a_hidden_flag_is_never_suggested() {
    for words in [&["train_voice", "anna", "--parnet", "x"][..], &["list", "--paren=x"], &["--parents", "x", "list"]] {
        let ended = run(words);
        assert!(
            ended.code == 2 && !ended.err.contains("--parent\n") && !ended.err.contains("--parent?"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn help_of_a_recipe_without_a_comment_begins_with_how_it_is_called() {
    let place = Place::new();
    place.file("bare.rhai", "print(1);");
    for flag in ["-h", "--help"] {
        let help = place.run(&["bare.rhai", flag]);
        assert!(help.code == 0 && help.out.starts_with("Usage: rvc-run bare.rhai"), "{}", help.out);
    }
}

/// The lines of a `--json` run as objects, without the last one, which says how it ended.
fn objects(ended: &Ended) -> Vec<serde_json::Value> {
    let mut all: Vec<serde_json::Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.pop().unwrap()["event"], "exit");
    all
}

/// Whether any text of a value has a line break.
fn has_breaks(value: &serde_json::Value) -> bool {
    value.to_string().contains("\\n")
}

#[test]
fn list_for_programs_is_one_object_for_each_recipe() {
    let place = Place::new();
    place.file("recipes/mine.rhai", "//! Mine.");
    let found = objects(&place.run(&["list", "--json"]));
    let mine = found.iter().find(|one| one["name"] == "mine").unwrap();
    let expected =
        serde_json::json!({ "event": "recipe", "name": "mine", "summary": "Mine.", "file": "recipes/mine.rhai" });
    assert_eq!(mine, &expected);
    let convert = found.iter().find(|one| one["name"] == "convert").unwrap();
    assert!(convert["file"].is_null() && !convert["summary"].as_str().unwrap().is_empty(), "{convert}");
    let away = objects(&run(&["list", "--json"]));
    assert!(!found.iter().chain(&away).any(has_breaks), "{away:?}");
}

#[test]
fn doctor_for_programs_is_one_object_for_each_check() {
    let ended = run(&["doctor", "--json"]);
    let found = objects(&ended);
    assert!(found.len() > 8 && !found.iter().any(has_breaks), "{}", ended.out);
    let (last, checks) = found.split_last().unwrap();
    assert_eq!((last["event"].as_str(), last["ready"].as_bool()), (Some("ready"), Some(ended.code == 0)));
    assert!(checks.iter().all(|one| one["event"] == "check" && one["found"].is_string()), "{}", ended.out);
    let disk = checks.iter().find(|one| one["name"] == "disk").unwrap();
    assert!(disk["found"].as_str().unwrap().contains(" free for /"), "{disk}");
}

#[test]
fn a_value_out_of_range_is_wrong_use() {
    let wrong = run(&[&script("fails.rhai"), "anna", "--epochs", "0"]);
    assert_eq!(wrong.code, 2);
    assert_eq!(wrong.err, "error[usage]: --epochs is 0, but must be between 1 and 100\n");
}

#[test]
fn a_failing_recipe_shows_place_chain_hint_and_warnings() {
    let path = script("fails.rhai");
    let failed = run(&[&path, "anna", "--epochs", "5"]);
    let expected = format!(
        "fails anna: epochs 5
warning: this will fail
error[config.unknown_key]: there is no setting \"epcohs\"
  --> {path}:10:5
   |
10 |     config::check(cfg)
   |     ^^^^^^^^^^^^^
   = called as `settings` from {path}:15:5
   = called as `start` from {path}:19:1
   = hint: did you mean \"epochs\"?
1 warning, see above
"
    );
    assert_eq!((failed.code, failed.out.as_str(), failed.err), (1, "starting anna\n", expected));
}

#[test]
fn quiet_leaves_results_warnings_and_errors() {
    let failed = run(&[&script("fails.rhai"), "anna", "-q"]);
    assert_eq!((failed.code, failed.out.as_str()), (1, "starting anna\n"));
    assert!(failed.err.starts_with("warning: this will fail\nerror[config.unknown_key]"), "{}", failed.err);
}

#[test]
fn a_recipe_can_be_called_by_its_bare_name_with_flags_on_both_sides() {
    let place = Place::new();
    place.file("here/recipes/hello.rhai", "print(`${system::list_folders(\"data\")}`);");
    place.file("here/data/anna/a.wav", "");
    for line in [["--workspace", "here", "hello"], ["here/recipes/hello", "--workspace", "here"]] {
        let said = place.run(&line);
        assert_eq!((said.code, said.out.as_str()), (0, "[\"anna\"]\n"), "{}", said.err);
    }
}

#[test]
fn a_recipe_chooses_its_exit_code() {
    let place = Place::new();
    place.file("skips.rhai", "print(\"2 trained, 1 failed\");\nsystem::exit_with(3);");
    let ended = place.run(&["skips.rhai"]);
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (3, "2 trained, 1 failed\n", ""));
}

#[test]
fn a_missing_voice_folder_is_a_clear_error() {
    let place = Place::new();
    let missing = place.run(&[&format!("{}/recipes/prepare.rhai", checkout()), "nobody", "-q"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("error[file.not_found]") && missing.err.contains("data/nobody"), "{}", missing.err);
    assert!(missing.err.contains("hint: "), "{}", missing.err);
}

#[test]
fn converting_into_a_voice_that_is_not_trained_names_the_command_that_trains_it() {
    let place = Place::new();
    let hint = |words: &[&str]| {
        let ended = place.run(words);
        assert_eq!(ended.code, 1, "{}", ended.err);
        ended.err.split("  = hint: ").nth(1).unwrap_or_default().trim_end().to_owned()
    };
    let command = "`rvc-run train_voice anna` trains it";
    assert_eq!(hint(&["convert", "anna", "a.wav"]), format!("with recordings of it in data/anna/, {command}"));
    place.file("data/anna/a.wav", "").file("models/ben.pth", "");
    assert_eq!(hint(&["convert", "anna", "a.wav"]), format!("models/ has ben; {command}"));
    assert_eq!(hint(&["convert", "other/anna.pth", "a.wav"]), "models/ has ben; give the path of a voice's .pth");
}

/// A recipe of the checkout.
fn recipe(name: &str) -> String {
    format!("{}/recipes/{name}.rhai", checkout())
}

#[test]
fn damaged_recordings_are_named_and_nothing_usable_is_an_error() {
    let place = Place::new();
    place.file("data/anna/broken.wav", "RIFF but nothing else");
    let failed = place.run(&[&recipe("prepare"), "anna", "-q"]);
    assert_eq!((failed.code, failed.out.as_str()), (1, ""));
    assert!(failed.err.contains("error[data.empty]") && failed.err.contains("broken.wav"), "{}", failed.err);
    // The error says it, so no warning does.
    assert_eq!(failed.err.matches("is not a readable sound file").count(), 1, "{}", failed.err);
    assert!(!failed.err.contains("warning"), "{}", failed.err);
    // Of two, the other is warned of.
    place.file("data/anna/other.wav", "RIFF but other");
    let failed = place.run(&[&recipe("prepare"), "anna", "-q"]);
    assert_eq!(failed.err.matches("is not a readable sound file").count(), 2, "{}", failed.err);
    assert!(failed.err.contains("warning: other.wav is skipped: "), "{}", failed.err);
    assert!(failed.err.contains("1 warning, see above"), "{}", failed.err);
}

#[test]
fn files_beside_recordings_are_mentioned_only_if_someone_may_have_meant_them() {
    let place = Place::new();
    recording(&place, "anna");
    for name in
        ["README.md", "LICENSE", "license.txt", ".DS_Store", "._a.wav", "Thumbs.db", "desktop.ini", "sub/COPYING"]
    {
        place.file(&format!("data/anna/{name}"), "x");
    }
    let ended = place.run(&[&recipe("prepare"), "anna"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(!ended.err.contains("not recordings"), "{}", ended.err);
    place.file("data/anna/take2.xyz", "x").file("data/anna/notes.txt", "x");
    let ended = place.run(&[&recipe("prepare"), "anna"]);
    assert!(ended.err.contains("not recordings: notes.txt, take2.xyz"), "{}", ended.err);
}

#[test]
fn a_broken_recording_is_described_once_and_then_named() {
    let place = Place::new();
    recording(&place, "anna");
    place.file("data/anna/broken.wav", "RIFF but nothing else");
    let ended = place.run(&[&recipe("prepare_voice"), "anna", "--f0-method", "none"]);
    let text = format!("{}{}", ended.out, ended.err);
    assert_eq!(text.matches("is not a readable sound file").count(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| *line == "not usable: broken.wav").count(), 1, "{text}");
}

#[test]
fn a_batch_continues_after_a_failed_voice_and_ends_with_3_and_a_table() {
    let place = Place::new();
    place.file("data/anna/broken.wav", "nothing").file("data/ben/broken.wav", "nothing");
    let ended =
        place.run(&[&recipe("train_all"), "-q", "--f0-method", "pm", "--content-encoder", "mel", "--preset", "tiny"]);
    assert_eq!(ended.code, 3, "{}", ended.err);
    let table: Vec<&str> = ended.out.lines().skip_while(|line| !line.starts_with("voice ")).collect();
    assert_eq!(table.len(), 4, "{}", ended.out);
    assert!(table[2].starts_with("anna   failed  ") && table[3].starts_with("ben    failed  "), "{}", ended.out);
}

#[test]
fn a_batch_without_voices_says_where_to_put_them() {
    let place = Place::new();
    std::fs::create_dir(place.0.path().join("data")).unwrap();
    let ended = place.run(&[&recipe("train_all"), "--f0-method", "pm", "--content-encoder", "mel"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("error[data.empty]: there is no voice under data/"), "{}", ended.err);
    assert!(ended.err.contains("hint: make a folder for each voice"), "{}", ended.err);
}

/// Writes a second of a tone as the recording of a voice.
fn recording(place: &Place, voice: &str) {
    let tone: Vec<f32> = (0..48000).map(|n| 0.5 * (n as f32 * 220.0 * std::f32::consts::TAU / 48000.0).sin()).collect();
    let path = place.0.path().join("data").join(voice).join("tone.wav");
    rvc_run::audio::io::write_wav(&path, &tone, 48000).unwrap();
}

#[test]
fn a_missing_gpu_is_an_error_not_a_slow_training() {
    let place = Place::new();
    recording(&place, "anna");
    let arguments = [&recipe("train_voice"), "anna", "--gpu", "--preset", "tiny", "--f0-method", "pm", "-q"];
    // On a machine with a GPU this hides the GPU.
    let ended = ended(place.command(&arguments).env("CUDA_VISIBLE_DEVICES", "").output().unwrap());
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("error[device.missing]"), "{}", ended.err);
    assert!(!ended.err.contains("train_voice.rhai:"), "it is not the recipe's fault: {}", ended.err);
}

#[test]
fn a_missing_pretrained_file_is_reported_with_its_command_before_any_work() {
    let place = Place::new();
    recording(&place, "anna");
    // All checkpoints of 300 epochs might not fit on this disk, which is reported first.
    let ended = place.run(&[&recipe("train_voice"), "anna", "--keep-last", "1", "-q"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("error[asset.missing]"), "{}", ended.err);
    let all = "hubert_base.pt rmvpe.pt pretrained_v2/f0G40k.pth pretrained_v2/f0D40k.pth";
    assert!(ended.err.contains(&format!("rvc-run assets fetch {all}")), "one command for all: {}", ended.err);
    assert!(!place.0.path().join("logs").exists(), "nothing was started");
    let ended = place.run(&[&recipe("extract"), "anna", "--no-f0", "-q"]);
    assert!(
        ended.err.contains("`rvc-run assets fetch hubert_base.pt` gets it"),
        "the file that extract needs: {}",
        ended.err
    );
    assert!(!place.0.path().join("logs").exists(), "nothing was started");
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() {
    let place = Place::new();
    recording(&place, "anna");
    place.file("logs", "a file where a folder must be");
    let ended = place.run(&[&recipe("prepare"), "anna", "-q"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("error[file.write]") && ended.err.contains("logs"), "{}", ended.err);
}

#[test]
fn a_setting_out_of_range_is_refused_with_the_allowed_range() {
    let ended = run(&[&recipe("train_voice"), "anna", "--segment-size", "17280"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("error[config.value]: segment_size is 17280, but must be a multiple"), "{}", ended.err);
    assert!(ended.err.contains("hint: 17200 is the nearest below; 12800 is RVC's value"), "{}", ended.err);
}

#[test]
fn a_script_with_a_syntax_error_is_not_started() {
    let place = Place::new();
    place.file("broken.rhai", "print(\"started\");\nlet x = ;");
    let ended = place.run(&["broken.rhai"]);
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    assert!(ended.err.starts_with("error[script.syntax]: ") && ended.err.contains("broken.rhai:2:9"), "{}", ended.err);
}

#[test]
fn recipes_use_an_ejected_script() {
    let place = Place::new();
    let ejected = place.run(&["eject", "stdlib/presets"]);
    assert_eq!((ejected.code, ejected.out.as_str()), (0, "stdlib/presets.rhai: recipes now use this copy\n"));
    assert_eq!(place.run(&["eject", "presets"]).code, 0, "an unchanged copy is kept");
    place.file("stdlib/presets.rhai", "fn tiny() { \"mine\" }");
    assert_eq!(place.run(&["eject", "presets"]).code, 2, "a changed copy is not replaced without a flag");
    place.file("a.rhai", "import \"stdlib/presets\" as presets;\nprint(presets::tiny());");
    let ended = place.run(&["a.rhai"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "mine\n"));
    assert_eq!(ended.err, "stdlib/presets is taken from stdlib/presets.rhai\n");
}

#[test]
fn the_name_of_an_ejected_recipe_means_the_copy() {
    let place = Place::new();
    let ejected = place.run(&["eject", "recipes/train_voice", "convert"]);
    let expected = "recipes/train_voice.rhai: `rvc-run train_voice` now uses this copy
recipes/convert.rhai: `rvc-run convert` now uses this copy\n";
    assert_eq!((ejected.code, ejected.out.as_str()), (0, expected));
    place.file("recipes/train_voice.rhai", "print(\"mine\");");
    assert_eq!(place.run(&["train_voice"]).out, "mine\n");
    assert_eq!(place.run(&["eject", "train_voice"]).code, 2, "a changed copy is not replaced without a flag");
    let two = place.run(&["eject", "sweep"]);
    assert_eq!(two.code, 2);
    assert!(two.err.contains("\"sweep\" can be stdlib/sweep or recipes/sweep"), "{}", two.err);
    let unknown = place.run(&["eject", "recipes/trian_voice"]);
    assert!(unknown.err.contains("did you mean recipes/train_voice?"), "{}", unknown.err);
    assert_eq!(place.run(&["eject", "quickstart"]).code, 0);
    assert!(place.has("recipes/quickstart/anna/01.flac"), "the speech that it reads");
}

#[test]
fn speech_is_written_on_request_and_not_if_it_is_beside_the_recipe() {
    let place = Place::new();
    place.file("a/own.rhai", "print(system::eject_speech());").file("a/quickstart/anna/a.wav", "");
    place.file("b/path.rhai", "print(system::recipe_path(\"quickstart\"));");
    place.file("b/own.rhai", "print(system::eject_speech());");
    assert!(place.run(&["a/own.rhai"]).out.ends_with("/a/quickstart\n"));
    assert!(place.run(&["b/path.rhai"]).out.ends_with("/b/quickstart\n"));
    assert!(!place.has("recipes") && !place.has("b/quickstart"), "a path is a path");
    assert_eq!(place.run(&["b/own.rhai"]).out, "recipes/quickstart\n");
    assert!(place.has("recipes/quickstart/anna/01.flac"));
}

#[test]
fn a_new_workspace_has_recipes_and_replaces_nothing() {
    let place = Place::new();
    let made = place.run(&["new", "my voices"]);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    assert!(made.out.contains("  cd 'my voices'\n") && made.out.contains("rvc-run train_voice anna"), "{}", made.out);
    for file in ["recipes/train_voice.rhai", "recipes/quickstart/ben/06.flac", "data/README.md"] {
        assert!(place.has(&format!("my voices/{file}")), "{file}");
    }
    let listed = place.run(&["list", "--workspace", "my voices"]);
    assert_eq!((listed.code, listed.err.as_str()), (0, ""), "all of them are files");
    assert_eq!(place.run(&["new", "my voices"]).code, 0, "unchanged files are kept");

    let place = Place::new();
    place.file("recipes/train_voice.rhai", "// mine").file("notes.txt", "mine too");
    let refused = place.run(&["new", "."]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("files of yours already: ") && refused.err.contains("train_voice.rhai"),
        "{}",
        refused.err
    );
    assert!(!place.has("data") && !place.has("recipes/resume.rhai"), "nothing was written");
    assert!(place.run(&["train_voice", "--help"]).code == 0);
}

#[test]
fn a_folder_that_holds_something_else_becomes_no_workspace() {
    let place = Place::new();
    place.file("data/anna/a.wav", "").file("data/anna/b.wav", "").file("data/notes.txt", "").file("file", "");
    place.file("site/index.html", "").file("site/models/x", "").file("site/a.css", "").file("site/b.css", "");
    for (folder, named) in [
        ("data", "data is no workspace of rvc-run, but has files already: anna, notes.txt"),
        ("data/anna", "has files already: a.wav, b.wav"),
        ("site", "has files already: a.css, b.css, index.html and 1 more"),
        (".", "has files already: data, file, site"),
        ("file", "file is a file, but must be a folder"),
    ] {
        let refused = place.run(&["new", folder]);
        assert_eq!(refused.code, 2, "{folder}: {}", refused.err);
        assert!(
            refused.err.contains(named) && refused.err.contains("rvc-run new my-voices"),
            "{folder}: {}",
            refused.err
        );
        assert!(!place.has(&format!("{folder}/recipes")), "{folder}: nothing was written");
    }
    // A repository's hidden files do no harm, nor what recipes of the program wrote into a workspace, nor an interrupted `new`.
    place.file("repository/.git/HEAD", "").file("used/tracking/events/x.jsonl", "").file("used/data/anna/a.wav", "");
    place.file("half/recipes/quickstart/README.md", "").file("half/notes.txt", "");
    let recipe = rvc_run::shipped::text(rvc_run::shipped::RECIPES, "convert").unwrap();
    place.file("begun/recipes/convert.rhai", recipe).file("begun/notes.txt", "");
    for (folder, code) in [("repository", 0), ("used", 0), ("begun", 0), ("half", 2)] {
        let made = place.run(&["new", folder]);
        assert_eq!(made.code, code, "{folder}: {}", made.err);
        assert_eq!(place.has(&format!("{folder}/data/README.md")), code == 0, "{folder}");
    }
}

#[test]
fn settings_are_listed_and_each_is_explained() {
    let all = run(&["settings"]);
    assert_eq!((all.code, all.err.as_str()), (0, ""));
    for one in rvc_run::config::settings() {
        assert!(
            all.out.contains(&format!("\n  {} ", one.name)) && all.out.contains(&one.help),
            "{}\n{}",
            one.name,
            all.out
        );
    }
    let one = run(&["settings", "total-epoch"]);
    assert_eq!(one.code, 0, "{}", one.err);
    for part in [
        "epochs: passes over the data",
        "default     300",
        "between 1 and 1000000",
        "nothing, training continues",
        "--epochs, --total-epoch",
    ] {
        assert!(one.out.contains(part), "{part:?} is missing in\n{}", one.out);
    }
    assert!(run(&["settings", "slice_seconds"]).out.contains("reruns      clips, features"));
    let wrong = run(&["settings", "learning_rat"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("did you mean learning_rate?"), "{}", wrong.err);
}

#[test]
fn docs_are_markdown_or_files_for_editors() {
    let place = Place::new();
    let printed = place.run(&["docs"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert!(printed.out.starts_with("# What a recipe can call\n") && printed.out.contains("## stdlib/training"));
    let written = place.run(&["docs", "--editor", ".rhai"]);
    assert_eq!(written.code, 0, "{}", written.err);
    assert!(place.has(".rhai/train.d.rhai") && place.has(".rhai/config.d.rhai"), "{}", written.out);
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let place = Place::new();
    place.file("many.rhai", "for i in 0..20000 { print(`line ${i}`); }\nsystem::exit_with(3);");
    let mut child = place.command(&["many.rhai"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (3, ""));
}

/// Starts waits.rhai, waits until it runs, sends signals one by one, and returns how it ended.
#[cfg(unix)]
fn signalled(place: &Place, arguments: &[&str], signals: &[i32]) -> Ended {
    use std::io::{BufRead, BufReader, Read};
    let path = script("waits.rhai");
    let all: Vec<&str> = std::iter::once(path.as_str()).chain(arguments.iter().copied()).collect();
    // A test that wants a call that no signal ends puts a slow git into bin/.
    let path = format!("{}:{}", place.0.path().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut command = place.command(&all);
    let mut child = command.env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let (mut printed, mut log) = (String::new(), String::new());
    out.read_line(&mut printed).unwrap();
    if signals.len() > 1 {
        // The script should be inside its call, but nothing reports that: a signal between the line and the call ends it at once.
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    for (i, signal) in signals.iter().enumerate() {
        let status = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(status.success());
        // The answer to the first signal must be there before the second is sent.
        while i + 1 < signals.len() && !log.contains("stopping") {
            assert!(err.read_line(&mut log).unwrap() > 0, "ended early: {log}");
        }
        if i + 1 < signals.len() {
            // A signal within a second of the first is the same request, sent twice.
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
    }
    out.read_to_string(&mut printed).unwrap();
    err.read_to_string(&mut log).unwrap();
    Ended { code: child.wait().unwrap().code().unwrap_or(-1), out: printed, err: log }
}

#[cfg(unix)]
const SIGINT: i32 = 2;
#[cfg(unix)]
const SIGTERM: i32 = 15;

#[cfg(unix)]
#[test]
fn a_signal_stops_the_recipe_which_cannot_catch_it() {
    for signal in [SIGINT, SIGTERM] {
        let ended = signalled(&Place::new(), &[], &[signal]);
        assert_eq!((ended.code, ended.out.as_str()), (130, "running\n"));
        assert!(ended.err.ends_with("stopped; the same command continues from here\n"), "{}", ended.err);
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_sleep_of_a_recipe() {
    for seconds in ["600", "604800"] {
        let began = std::time::Instant::now();
        let ended = signalled(&Place::new(), &["--seconds", seconds], &[SIGINT]);
        assert_eq!((ended.code, ended.out.as_str()), (130, "running\n"));
        assert!(began.elapsed().as_secs() < 500, "it continued to sleep");
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_stops_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.file("bin/git", "#!/bin/sh\nexec sleep 20 >&-\n");
    std::fs::set_permissions(place.0.path().join("bin/git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ended = signalled(&place, &["--deaf"], &[SIGINT, SIGINT]);
    assert_eq!((ended.code, ended.out.as_str()), (130, "running\n"));
    assert!(ended.err.contains("press Ctrl-C again to stop at once"), "{}", ended.err);
    assert!(!ended.err.contains("stopped; the same command"), "{}", ended.err);
}
