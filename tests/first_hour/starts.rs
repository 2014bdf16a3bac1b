//! The checks before the work and their order, and that a refused start leaves nothing behind.

use super::*;
use crate::support;
use rvc_run::files::Lock;

/// A start that must fail with an error of the kind `code`, with all of `words`, and leave no run behind. Returns its output.
#[track_caller]
fn refused(workspace: &Workspace, code: &str, words: &[&str], recipe: &str, arguments: &[&str]) -> String {
    let before = workspace.snapshot("tracking");
    let output = workspace.run(recipe, arguments);
    let text = text(&output);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?} ended with {:?}\n{text}", output.status.code());
    assert!(text.contains(&format!("error[{code}]")), "{arguments:?} should be {code}\n{text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?} should print {word:?}\n{text}");
    }
    assert_eq!(workspace.snapshot("tracking"), before, "{arguments:?} leaves a run behind\n{text}");
    text
}

fn tiny<'a>(voice: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[voice], &TINY[..], more].concat()
}

#[test]
fn a_start_that_fails_leaves_no_run_behind() {
    let workspace = Workspace::with_anna();
    std::fs::create_dir_all(workspace.path("data/empty")).unwrap();
    std::fs::write(workspace.path("data/file"), "no folder").unwrap();
    for (code, voice, flags) in [
        ("config.value", "anna", &["--segment-size=17280"][..]),
        ("config.value", "anna", &["--settings={\"betas\": [1.0, 2.0]}"]),
        ("config.unknown_key", "anna", &["--settings={\"lr_decai\": 0.9}"]),
        ("config.value", ".anna", &[]),
        ("file.not_found", "nobody", &[]),
        ("file.not_found", "file", &[]),
        ("data.empty", "empty", &[]),
        ("asset.missing", "anna", &["--f0-method=rmvpe"]),
        ("asset.missing", "anna", &["--content-encoder=hubert_base"]),
        ("file.not_found", "anna", &["--pretrained-g=nowhere.pth"]),
        ("file.disk_full", "anna", &["--epochs=1000000"]),
        ("config.value", "anna", &["--budget=soon"]),
    ] {
        refused(&workspace, code, &[], "train_voice", &[&tiny(voice, &["--epochs=1"])[..], flags].concat());
    }
    if tch::Cuda::is_available() {
        support::skipped("the start without a GPU: this machine has one");
    } else {
        refused(&workspace, "device.missing", &["without --gpu"], "train_voice", &tiny("anna", &["--gpu"]));
    }
    assert!(!workspace.path("logs/anna").exists(), "nothing was started");
    assert!(!workspace.path("tracking/events").exists());
}

#[test]
fn a_wrong_name_is_one_error_and_nothing_else_is_looked_for() {
    let workspace = Workspace::with_anna();
    for recipe in ["train_voice", "extract", "prepare", "prepare_voice", "sweep", "sweep_then_train"] {
        let text = refused(&workspace, "file.not_found", &["there is no folder"], recipe, &["ana"]);
        assert_eq!(text.matches("did you mean \"anna\"?").count(), 1, "{recipe}: {text}");
        for other in ["also:", "rvc-run assets fetch", "not found ("] {
            assert!(!text.contains(other), "{recipe} says {other:?} too: {text}");
        }
    }
    let text = refused(&workspace, "usage", &["there is no voice ana under data/"], "train_all", &["--voices=ana"]);
    assert!(text.contains("did you mean anna?") && !text.contains("rvc-run assets fetch"), "{text}");
}

#[test]
fn all_missing_files_are_named_at_once_with_one_command_before_the_work() {
    const BASE: &str = "pretrained_v2/f0G40k.pth pretrained_v2/f0D40k.pth";
    let workspace = Workspace::with_anna();
    let flags = ["anna", "--epochs=1"];
    for (recipe, arguments) in [
        ("train_voice", &flags[..]),
        ("sweep", &flags),
        (
            "sweep",
            &["anna", "--epochs=1", "--search=tpe", "--pretrained-g=none", "--space=pretrained_g=choice(none,default)"],
        ),
        ("sweep_then_train", &flags),
        ("train_all", &flags[1..]),
        ("train_all", &["--epochs=1", "--fresh", "--voices=anna"]),
    ] {
        let command = format!("`rvc-run assets fetch hubert_base.pt rmvpe.pt {BASE}` gets them");
        // The settings of the space name the bases in another order.
        let words = if arguments.len() == 5 {
            vec!["f0G40k.pth", "f0D40k.pth", "hubert_base.pt", "rmvpe.pt"]
        } else {
            vec![command.as_str()]
        };
        let text = refused(&workspace, "asset.missing", &words, recipe, arguments);
        assert_eq!(text.matches("rvc-run assets fetch").count(), 1, "{recipe}: {text}");
        for way in ["without a network, copy them to", "RVC_RUN_ASSETS", "rvc-run guide pretrained", "--preset tiny"] {
            assert!(text.contains(way), "{recipe} should name {way}: {text}");
        }
        assert!(!workspace.path("logs").exists(), "{recipe}: {text}");
    }
    let words = [
        "`rvc-run assets fetch hubert_base.pt rmvpe.pt` gets them",
        "a training from RVC's base will also need `rvc-run assets fetch pretrained_v2/f0G40k.pth pretrained_v2/f0D40k.pth`",
    ];
    refused(&workspace, "asset.missing", &words, "extract", &["anna"]);
    // Files that are given by path are among them.
    let given = [
        "anna",
        "--epochs=1",
        "--pretrained-g=mine/G.pth",
        "--pretrained-d=mine/D.pth",
        "--content-encoder=mine/encoder.pt",
    ];
    let words = ["rmvpe.pt was not found", "pretrained_g is ", "pretrained_d is ", "content_encoder is "];
    for recipe in ["train_voice", "sweep"] {
        refused(&workspace, "asset.missing", &words, recipe, &given);
    }
    // A disk that takes no files is another fault than a missing file: both are named.
    std::fs::write(workspace.path("models"), "no folder").unwrap();
    std::fs::write(workspace.path("logs"), "no folder").unwrap();
    let all = ["models is a file", "logs is a file", "rmvpe.pt", "hubert_base.pt", "f0G40k.pth", "f0D40k.pth"];
    refused(&workspace, "file.write", &all, "train_voice", &["anna"]);
}

#[test]
fn what_a_voice_needs_to_be_trained_further_or_to_speak_is_named_at_once() {
    let workspace = Workspace::with_anna();
    ended_with(0, &workspace.train(&["--epochs=1"]));
    // An experiment that was prepared and never trained starts from RVC's base.
    let logs = workspace.path("logs/anna");
    for file in ["G_0.pth", "D_0.pth", "checkpoint_0.json", "G_1.pth", "D_1.pth", "checkpoint_1.json"] {
        std::fs::remove_file(logs.join(file)).unwrap();
    }
    let config = std::fs::read_to_string(logs.join("config.json")).unwrap();
    let full = rvc_run::config::Config { epochs: 1, ..rvc_run::config::Config::default() };
    std::fs::remove_file(logs.join("config.json")).unwrap();
    rvc_run::train::config_json::write(&logs, &full).unwrap();
    let both =
        ["`rvc-run assets fetch pretrained_v2/f0G40k.pth pretrained_v2/f0D40k.pth` gets them", "--pretrained-g none"];
    refused(&workspace, "asset.missing", &both, "resume", &["anna", "--epochs=2"]);
    std::fs::write(logs.join("config.json"), config).unwrap();
    // A voice whose encoder and tracker are missing.
    let both = ["`rvc-run assets fetch hubert_base.pt rmvpe.pt` gets them"];
    let arguments = ["anna", "data/anna/a.wav", "--content-encoder=hubert_base", "--f0-method=rmvpe"];
    refused(&workspace, "asset.missing", &both, "convert", &arguments);
}

#[test]
fn a_full_disk_is_refused_with_the_numbers_and_how_to_reduce_them() {
    let workspace = Workspace::with_anna();
    let many = ["--epochs=1000000"];
    let words = ["1000001 checkpoints of ", "free", "--keep-last 3 needs ", "--save-every 100000 needs "];
    refused(&workspace, "file.disk_full", &words, "train_voice", &tiny("anna", &many));
    // With the hint's flag it continues to the next problem.
    refused(
        &workspace,
        "asset.missing",
        &[],
        "train_voice",
        &tiny("anna", &[many[0], "--keep-last=3", "--f0-method=rmvpe"]),
    );
    refused(
        &workspace,
        "asset.missing",
        &[],
        "train_voice",
        &tiny("anna", &[many[0], "--save-every=100000", "--f0-method=rmvpe"]),
    );
}

#[test]
fn every_folder_that_a_training_writes_to_is_checked_before_the_work() {
    for place in ["logs", "models", "tracking", "cache"] {
        let workspace = Workspace::with_anna();
        // A link to a missing disk, a file system that accepts no files (even from root), a file.
        for (n, target) in ["/no/such/disk", "/proc/self"].into_iter().enumerate() {
            let _ = std::fs::remove_file(workspace.path(place));
            std::os::unix::fs::symlink(target, workspace.path(place)).unwrap();
            if n == 1 && !cfg!(target_os = "linux") {
                continue;
            }
            let output = workspace.train(&["--epochs=1"]);
            let text = ended_with(1, &output);
            assert!(text.contains("error[file.write]") && text.contains(place), "{place} -> {target}\n{text}");
            assert!(!text.contains("slices:"), "{place} -> {target}: only after the work\n{text}");
        }
    }
}

#[test]
fn a_voice_that_another_process_trains_keeps_its_record() {
    let workspace = Workspace::with_anna();
    ended_with(0, &workspace.train(&["--epochs=1"]));
    let held = Lock::acquire(&workspace.path("logs/anna")).unwrap();
    for flags in [&["--epochs=2"][..], &["--epochs=1"], &["--epochs=2", "--fresh"]] {
        refused(&workspace, "file.locked", &["another rvc-run"], "train_voice", &tiny("anna", flags));
    }
    refused(&workspace, "file.locked", &[], "resume", &["anna", "--epochs=3"]);
    drop(held);
    let text = ended_with(0, &workspace.train(&["--epochs=2"]));
    assert!(text.contains("epoch 2/2"), "{text}");
}

#[test]
fn a_training_can_continue_without_its_recordings() {
    let workspace = Workspace::with_anna();
    ended_with(0, &workspace.train(&["--epochs=1"]));
    std::fs::remove_file(workspace.path("data/anna/a.wav")).unwrap();
    for gone in ["data.empty", "file.not_found"] {
        let text =
            refused(&workspace, gone, &["still in ", "resume.rhai anna --epochs 2"], "train_voice", &tiny("anna", &[]));
        let command = text.split("logs/anna: ").nth(1).unwrap().split(" trains on").next().unwrap().to_owned();
        if gone == "file.not_found" {
            assert!(next::runs(&workspace, &command).contains("epoch 2/2"));
        } else {
            std::fs::remove_dir(workspace.path("data/anna")).unwrap();
        }
    }
}

#[test]
fn a_sweep_that_another_process_runs_keeps_its_record() {
    let workspace = Workspace::with_anna();
    let sweep = ["anna", "--trials=1", "--epochs=1", "--search=random", "--validation=0", "--objective=loss_mel"];
    let json = r#"--settings={"preset": "tiny", "f0_method": "pm", "content_encoder": "mel", "pretrained_g": "none", "pretrained_d": "none", "segment_size": 3200}"#;
    let sweep = [&sweep[..], &[json]].concat();
    ended_with(0, &workspace.run("sweep", &sweep));
    let held = Lock::acquire(&workspace.path("tracking/jobs/sweep-anna-sweep")).unwrap();
    refused(&workspace, "file.locked", &["another rvc-run"], "sweep", &sweep);
    drop(held);
    ended_with(0, &workspace.run("sweep", &sweep));
}
