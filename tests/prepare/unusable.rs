//! What cannot be used, and what is said of it.

use crate::recordings::{RATE, record};
use crate::room::{config, five, listening, room, rows};
use rvc_run::Kind;
use rvc_run::audio::io;
use rvc_run::cache::Cache;
use rvc_run::files::{self, Workspace};
use rvc_run::prepare;
use std::path::Path;

#[test]
fn unusable_recordings_are_skipped_by_name_and_the_others_go_on() {
    let room = five();
    let put = |name: &str, bytes: &[u8]| std::fs::write(room.data().join(name), bytes).unwrap();
    put("damaged.flac", b"fLaC and then nothing of use");
    put("empty.wav", b"");
    put("notes.txt", b"not a recording");
    io::write_wav(&room.data().join("silent.wav"), &vec![0.0; 32000], RATE).unwrap();
    io::write_wav(&room.data().join("loud.wav"), &[40.0, -40.0].repeat(16000), RATE).unwrap();
    io::write_wav(&room.data().join("nan.wav"), &vec![f32::NAN; 32000], RATE).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(room.data().join("gone"), room.data().join("dangling.wav")).unwrap();
    let ran = room.run();
    let names = ["damaged.flac", "empty.wav", "loud.wav", "nan.wav", "silent.wav", "dangling.wav"];
    let expected = if cfg!(unix) { names.len() } else { names.len() - 1 };
    assert_eq!((ran.slices.skipped, ran.list.count), (expected, 5));
    let warnings = room.warnings();
    for name in &names[..expected] {
        assert!(warnings.iter().any(|w| w.starts_with(name) && w.contains("skipped: ")), "{name}: {warnings:?}");
    }
    assert!(warnings.iter().any(|w| w.starts_with("loud.wav") && w.contains("too loud")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.starts_with("silent.wav") && w.contains("silent")), "{warnings:?}");
}

#[cfg(unix)]
#[test]
fn a_named_pipe_among_the_recordings_does_not_hang() {
    let room = five();
    let pipe = room.data().join("pipe.wav");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(room.run().slices.skipped, 1);
}

#[test]
fn nothing_usable_is_an_error_that_names_a_reason() {
    let room = room(&[]);
    std::fs::write(room.data().join("a.wav"), "no sound").unwrap();
    let error = room.error();
    assert_eq!(error.kind(), Kind::DataEmpty);
    assert!(error.hint_text().unwrap().starts_with("a.wav: "), "{error:?}");
}

#[test]
fn an_empty_folder_is_an_error_that_says_what_to_put_there() {
    let room = room(&[]);
    let error = room.error();
    assert_eq!(error.kind(), Kind::DataEmpty);
    assert!(error.hint_text().unwrap().contains("wav"), "{error:?}");
    assert!(!room.logs().exists());
}

#[test]
fn a_missing_folder_names_the_voices_that_exist() {
    let room = five();
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let error =
        prepare::slices(&room.task, &room.workspace, &cache, "ana", Path::new("data/ana"), &config()).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().contains("did you mean \"anna\"?"), "{error:?}");
    assert!(!room.workspace.logs("ana").unwrap().exists());
}

#[test]
fn a_workspace_without_data_says_how_to_begin() {
    let room = room(&[]);
    std::fs::remove_dir_all(room.workspace.path("data")).unwrap();
    let error = room.error();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().starts_with("make this folder"), "{error:?}");
}

#[test]
fn recordings_inside_the_results_are_refused() {
    let room = five();
    room.run();
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let folder = Path::new("logs/anna/0_gt_wavs");
    let error = prepare::slices(&room.task, &room.workspace, &cache, "anna", folder, &config()).err().unwrap();
    assert_eq!(error.kind(), Kind::ConfigValue);
}

#[test]
fn a_workspace_whose_path_breaks_the_file_list_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::new(folder.path().join("a|b"));
    let (task, _) = listening();
    let cache = Cache::open(workspace.cache()).unwrap();
    record(&workspace.data("anna").unwrap().join("a.wav"), 1, 1.0);
    let error = prepare::slices(&task, &workspace, &cache, "anna", Path::new("data/anna"), &config()).err().unwrap();
    assert_eq!(error.kind(), Kind::ConfigValue);
    assert!(!workspace.path("logs").exists());
}

#[test]
fn names_with_every_odd_character_work() {
    let room = room(&[]);
    for (sound, name) in ["a b.wav", "-x.wav", "qu'o\"te.wav", "$(x).wav", "p|pe.wav", "new\nline.wav", "émoji🎤.wav"]
        .into_iter()
        .enumerate()
    {
        record(&room.data().join(name), sound as u32, 1.0);
    }
    let ran = room.run();
    assert_eq!((ran.slices.skipped, ran.list.count), (0, 7));
    assert_eq!(rows(&room).len(), 9);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let room = five();
    // A file where the folder should be; permissions do not stop root.
    files::write(&room.workspace.path("logs"), "in the way").unwrap();
    let kind = room.error().kind();
    assert!(matches!(kind, Kind::Write | Kind::NotFound), "{kind:?}");
}
