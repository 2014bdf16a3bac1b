//! Whether the next steps that recipes print work: each is run as printed, and does something.

use super::*;
use std::fmt::Write;

/// The output of a printed command, run by a shell as a user would.
#[track_caller]
pub fn runs(workspace: &Workspace, command: &str) -> String {
    let output = output_of(workspace, command);
    let text = text(&output);
    assert!(output.status.success(), "{command}\nended with {:?}\n{text}", output.status.code());
    text
}

/// The output of a printed command, whatever its exit code.
#[track_caller]
fn output_of(workspace: &Workspace, command: &str) -> std::process::Output {
    let rest = command.strip_prefix("rvc-run ").unwrap_or_else(|| panic!("{command:?} is no command"));
    let mut shell = workspace.shielded(Command::new("sh"));
    shell.args(["-c", &format!("exec \"$PROGRAM\" {rest}")]).env("PROGRAM", env!("CARGO_BIN_EXE_rvc-run"));
    shell.output().unwrap()
}

/// The cell of the last table's row `name`.
#[track_caller]
fn row(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}  ")));
    let line = line.unwrap_or_else(|| panic!("there is no row {name:?} in\n{text}"));
    line[name.len()..].trim().to_owned()
}

/// The epochs that were trained in a run.
fn epochs(text: &str) -> Vec<i64> {
    let number = |line: &str| line.strip_prefix("epoch ")?.split('/').next()?.parse().ok();
    text.lines().filter_map(number).collect()
}

#[test]
#[ignore = "slow: four trainings"]
fn train_longer_trains_more_epochs_whatever_was_typed() {
    let workspace = Workspace::with_anna();
    ended_with(0, &workspace.train(&["--epochs=1"]));
    // The number of epochs reached, then fewer.
    for (typed, expected) in [(&["--epochs=1"][..], vec![2]), (&["--epochs=1", "--keep-last=1"], vec![3, 4])] {
        let text = ended_with(0, &workspace.train(typed));
        assert_eq!(epochs(&text), [0_i64; 0], "nothing is left to train\n{text}");
        assert_eq!(epochs(&runs(&workspace, &row(&text, "train longer"))), expected, "{text}");
    }
    let text = ended_with(0, &workspace.train(&["--epochs=1", "--fresh"]));
    assert_eq!(epochs(&text), [1]);
    assert_eq!(epochs(&runs(&workspace, &row(&text, "train longer"))), [2], "it does not restart\n{text}");
}

#[test]
fn train_longer_continues_after_a_budget() {
    let workspace = Workspace::with_anna();
    let text = ended_with(0, &workspace.train(&["--epochs=400", "--budget=2s", "--keep-last=1"]));
    assert!(text.contains("training stops "), "{text}");
    let again = runs(&workspace, &row(&text, "train longer"));
    assert!(!epochs(&again).is_empty(), "{again}");
}

#[test]
#[ignore = "slow: seven trainings that are judged"]
fn train_longer_continues_after_patience() {
    let workspace = Workspace::with_anna();
    for (n, file) in ["b.wav", "c.wav", "d.wav"].into_iter().enumerate() {
        workspace.record("anna", file, 3.0, 150.0 + 30.0 * n as f64);
    }
    let judged = ["--validation=0.3", "--mel-only"];
    ended_with(0, &workspace.train(&[&judged[..], &["--epochs=2"]].concat()));
    // A validation result that no later one beats, so that the patience is used up whatever the machine's numbers are.
    let path = workspace.path("logs/anna/validation.json");
    let mut scores: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    scores[0]["validation_loss_mel"] = 0.001.into();
    std::fs::write(&path, scores.to_string()).unwrap();
    for (typed, patience, expected) in [
        (&["--patience=1", "--epochs=30"][..], "--patience 2 ", vec![3]),
        (&["--patience=2", "--epochs=3"], "--patience 4 ", vec![4, 5]),
        (&["--patience=1", "--epochs=2"], "--patience 5 ", vec![6]),
    ] {
        let text = ended_with(0, &workspace.train(&[&judged[..], typed].concat()));
        assert!(row(&text, "stopped").contains("no better since epoch 1, the best: more recordings help"), "{text}");
        let command = row(&text, "train longer");
        assert!(command.contains(patience), "{command}");
        assert_eq!(epochs(&runs(&workspace, &command)), expected, "{command}");
    }
}

#[test]
#[ignore = "slow: two trainings"]
fn added_recordings_are_reported_as_untrained_and_the_printed_command_trains_them() {
    let workspace = Workspace::with_anna();
    ended_with(0, &workspace.train(&["--epochs=1"]));
    workspace.record("anna", "b.wav", 3.0, 220.0);
    let text = ended_with(0, &workspace.train(&["--epochs=1"]));
    assert!(text.contains("is not trained on the current clips"), "{text}");
    let again = runs(&workspace, &row(&text, "train longer"));
    assert_eq!(epochs(&again), [2]);
    assert!(!again.contains("is not trained on the current clips"), "{again}");
    // After training there is no message; nor after recordings were removed and the voice was trained without them.
    assert!(!text_of_next(&workspace, &["--epochs=2"]).contains("is not trained on the current clips"));
    std::fs::remove_file(workspace.path("data/anna/b.wav")).unwrap();
    assert!(
        text_of_next(&workspace, &["--epochs=2"]).contains("is not trained on the current clips"),
        "other clips: the voice was trained on the old ones"
    );
}

fn text_of_next(workspace: &Workspace, more: &[&str]) -> String {
    ended_with(0, &workspace.train(more))
}

#[test]
fn the_printed_commands_lead_from_prepare_to_convert() {
    let workspace = Workspace::new();
    // Names that a shell would split, and a folder with such a name.
    for voice in ["it's me", "-x"] {
        workspace.record(voice, "a.wav", 4.0, 180.0);
        let name = if voice.starts_with('-') { vec!["--", voice] } else { vec![voice] };
        let settings = ["--sample-rate=32000", "--slicing=fixed", "--slice-seconds=2.5", "--preset=tiny"];
        let first = [&settings, &name[..]].concat();
        let next = |text: &str| text.lines().find_map(|line| line.strip_prefix("next: ")).map(str::to_owned);
        let text = ended_with(0, &workspace.run("prepare", &first));
        let command = next(&text).unwrap();
        let text = runs(&workspace, &with(&command, &["--f0-method=pm", "--content-encoder=mel"]));
        assert!(text.contains("(all from the cache)"), "the clips are those that were prepared\n{text}");
        let command = next(&text).unwrap();
        // Whatever was typed before counts on, also what stands before the recipe.
        for typed in ["--threads 1 ", "--preset tiny", "--f0-method pm", "--content-encoder mel", "--sample-rate 32000"]
        {
            assert!(command.contains(typed), "{typed} is left out: {command}");
        }
        let text = runs(&workspace, &with(&command, &[&TINY[3..], &["--epochs=1"]].concat()));
        assert!(text.contains("(all from the cache)") && text.contains("f0: 0 clips extracted"), "{text}");
        let convert = row(&text, "convert").replace("RECORDING", "sung.wav");
        std::fs::copy(workspace.path(&format!("data/{voice}/a.wav")), workspace.path("sung.wav")).unwrap();
        assert!(runs(&workspace, &convert).contains("sung.wav"), "{convert}");
    }
}

#[test]
fn a_report_on_recordings_names_the_training_with_the_same_slices() {
    let workspace = Workspace::with_anna();
    let text = ended_with(
        0,
        &workspace.run("prepare_voice", &["anna", "--slicing=none", "--f0-method=none", "--warn-below=1"]),
    );
    let command = text.lines().find_map(|line| line.strip_prefix("next: ")).unwrap();
    assert!(command.ends_with("train_voice.rhai anna --slicing none"), "{command}");
    // A voice of one clip may still be silent, which its self-test refuses: this test is about its clips.
    let text = super::text(&output_of(&workspace, &with(command, &[&TINY[..], &["--epochs=1"]].concat())));
    assert!(text.contains("(all from the cache)") && text.contains("epoch 1/1"), "{text}");
}

#[test]
#[ignore = "slow: the quickstart twice, which other tests run once"]
fn the_next_steps_of_the_quickstart_work() {
    let workspace = Workspace::new();
    let text = ended_with(0, &workspace.run("quickstart", &["--epochs=1", "--no-index"]));
    assert_eq!(epochs(&runs(&workspace, &row(&text, "train longer"))), [2], "{text}");
    workspace.record("anna", "a.wav", 4.0, 180.0);
    let own = row(&text, "your own");
    let own = own.split("and run: ").nth(1).unwrap();
    assert_eq!(epochs(&runs(&workspace, &with(own, &[&TINY[..], &["--epochs=1"]].concat()))), [1]);
}

/// A command with more flags, before the two dashes if it has them.
fn with(command: &str, flags: &[&str]) -> String {
    let (head, tail) =
        command.split_once(" -- ").map_or((command, String::new()), |(head, rest)| (head, format!(" -- {rest}")));
    let mut line = head.to_owned();
    for flag in flags {
        let _ = write!(line, " {flag}");
    }
    line.push_str(&tail);
    line
}

#[test]
#[ignore = "slow: three trainings"]
fn the_presets_learning_rate_applies_unless_another_was_typed() {
    for (typed, expected) in [
        (&[][..], 0.001),
        (&["--learning-rate=0.0001"], 0.0001),
        (&["--settings={\"learning_rate\": 0.0005}"], 0.0005),
        (&["--settings={\"learning_rate\": 0.0005}", "--learning-rate=0.0002"], 0.0002),
    ] {
        let workspace = Workspace::with_anna();
        ended_with(0, &workspace.train(&[&["--epochs=1"], typed].concat()));
        let config = std::fs::read_to_string(workspace.path("logs/anna/config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["train"]["learning_rate"], expected, "{typed:?}");
    }
}
