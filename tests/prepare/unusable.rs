//! Unusable recordings, and the messages about them.

use super::room::{config, five, listening, room, rows};
use crate::support::recordings::{RATE, record, record_stereo};
use rvc_run::Kind;
use rvc_run::audio::io;
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::files::{self, Workspace};
use rvc_run::prepare::{self, survey};
use std::path::Path;

#[test]
fn unusable_recordings_are_skipped_by_name_and_the_others_are_used() {
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
fn no_usable_recording_is_an_error_that_names_a_reason() {
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
    assert!(error.hint_text().unwrap().starts_with("create this folder"), "{error:?}");
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

#[test]
fn each_skipped_recording_gets_its_hint_only_once() {
    let room = five();
    let put = |name: &str, bytes: &[u8]| std::fs::write(room.data().join(name), bytes).unwrap();
    put("damaged.flac", b"fLaC and then nothing of use");
    put("damaged2.flac", b"fLaC and then nothing of use, once more");
    put("empty.wav", b"");
    let clips = room.slices(&config()).unwrap();
    let warnings = room.warnings();
    let of = |name: &str| warnings.iter().find(|w| w.starts_with(&format!("{name} is skipped: "))).unwrap().clone();
    assert!(of("damaged.flac").contains("; if it plays elsewhere, convert it"), "{warnings:?}");
    assert!(of("damaged2.flac").contains("damaged") && !of("damaged2.flac").contains("convert it"), "{warnings:?}");
    assert!(of("empty.wav").ends_with("; copy it again from its source"), "{warnings:?}");
    let rows: Vec<_> = clips.table.iter().filter_map(|row| row.hint.as_deref()).collect();
    assert_eq!(rows.len(), 3, "each row has its own: {rows:?}");
    let report = survey::of_clips(&room.task, &clips).unwrap();
    assert!(report.unusable.iter().all(|one| one.hint.is_some()), "{:?}", report.unusable);
    // The warnings have the reasons, so the report only has the names.
    let line = report.lines().into_iter().find(|line| line.starts_with("not usable: ")).unwrap();
    assert_eq!(line, "not usable: damaged.flac, damaged2.flac, empty.wav");
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let lines = survey::folder(&room.task, &room.workspace, &cache, Path::new("data/anna")).unwrap().lines();
    assert!(
        lines.iter().any(|line| line.starts_with("not usable: empty.wav: ") && line.contains("; copy it")),
        "{lines:?}"
    );
}

#[test]
fn notices_about_a_recording_are_repeated_from_the_cache() {
    let room = five();
    record_stereo(&room.data().join("a.wav"), 9, 2.0, -1.0);
    record_stereo(&room.data().join("dead.wav"), 10, 2.0, 0.0);
    let cold = room.slices(&config()).unwrap();
    let said = room.warnings();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("a.wav: ") && said[0].contains("phase-inverted for 2.00 s"), "{said:?}");
    assert!(said[1].starts_with("dead.wav: ") && said[1].contains("right channel is silent"), "{said:?}");
    let warm = room.slices(&config()).unwrap();
    assert_eq!((warm.decoded, room.warnings()), (0, said));
    for clips in [&cold, &warm] {
        let notices: Vec<_> = clips.table.iter().filter(|row| !row.notices.is_empty()).collect();
        assert_eq!(notices.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["a.wav", "dead.wav"]);
        assert_eq!((notices[0].notices[0].code.as_str(), notices[0].notices[0].seconds), ("channels.inverted", 2.0));
    }
    let cache = Cache::open(room.workspace.cache()).unwrap();
    for _ in 0..2 {
        let looked = survey::folder(&room.task, &room.workspace, &cache, Path::new("data/anna")).unwrap();
        // The second follows the warnings of cutting, which named the channel.
        for (report, has_reasons) in [(looked, true), (survey::of_clips(&room.task, &warm).unwrap(), false)] {
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json["recordings"][0]["notices"][0]["code"], "channels.inverted", "{json}");
            assert!(report.rows().next().unwrap().contains(&"channels inverted".to_owned()));
            let lines = report.lines();
            let named = lines.iter().any(|line| line.starts_with("dead.wav: its right channel"));
            assert_eq!(named, has_reasons, "{lines:?}");
        }
    }
}

#[test]
fn recordings_are_found_by_content_if_the_name_is_unknown() {
    let room = room(&[]);
    for (name, sound) in [("take1", 1), ("take.001", 2), ("b.rec", 3)] {
        record(&room.data().join("x.wav"), sound, 2.0);
        std::fs::rename(room.data().join("x.wav"), room.data().join(name)).unwrap();
    }
    record(&room.data().join("c.txt"), 4, 2.0);
    std::fs::write(room.data().join("LICENSE"), "Permission is hereby granted, to whom it may concern").unwrap();
    std::fs::write(room.data().join("photo"), b"\xff\xd8\xff\xe0\0\x10JFIF").unwrap();
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.table.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["b.rec", "take.001", "take1"]);
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_folder_of_g722_is_prepared_with_ffmpeg() {
    let room = room(&[]);
    for sound in 1..=6u32 {
        let (wav, g722) = (room.data().join("x.wav"), room.data().join(format!("{sound}.g722")));
        record(&wav, sound, 2.0);
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        let made = ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(&wav).args(["-c:a", "g722"]).arg(&g722).status();
        std::fs::remove_file(wav).unwrap();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: there is no ffmpeg that writes g722");
            return;
        }
    }
    let clips = room.slices(&config()).unwrap();
    assert_eq!((clips.recordings, clips.counts.skipped, clips.clips.len()), (6, 0, 6));
    assert!((clips.seconds() - 12.0).abs() < 0.1, "{}", clips.seconds());
    assert_eq!(room.warnings(), Vec::<String>::new());
    assert_eq!(room.slices(&config()).unwrap().decoded, 0);
}

/// RVC's window at 32 kHz, 0.40 s.
fn windowed() -> Config {
    Config { segment_size: 12800, ..config() }
}

#[test]
fn recordings_shorter_than_the_training_window_are_named() {
    let room = five();
    record(&room.data().join("short.wav"), 7, 0.2);
    record(&room.data().join("shorter.wav"), 8, 0.15);
    assert_eq!(room.slices(&windowed()).unwrap().clips.len(), 7);
    let warnings = room.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("0.15 to 0.20 s are shorter than the training's window of 0.40 s"), "{warnings:?}");
    assert!(warnings[0].ends_with("in short.wav, shorter.wav"), "{warnings:?}");
}

#[test]
fn only_a_training_refuses_recordings_that_are_all_too_short_for_its_window() {
    for seconds in [0.12, 0.2, 0.3, 0.35, 0.39] {
        let room = room(&[]);
        (1..=3).for_each(|sound| record(&room.data().join(format!("{sound}.wav")), sound, seconds));
        let clips = room.slices(&windowed()).unwrap();
        let warnings = room.warnings();
        assert!(warnings.iter().any(|w| w.contains("shorter than the training's window of 0.40 s")), "{warnings:?}");
        prepare::check_window(&clips, &Config { segment_size: 1600, ..config() }).unwrap();
        let error = prepare::check_window(&clips, &windowed()).unwrap_err();
        assert_eq!(error.kind(), Kind::DataEmpty);
        let expected = format!("all 3 clips are too short, {seconds:.2} s, but the training's window is 0.40 s");
        assert!(error.message().contains(&expected), "{error}");
        assert!(error.hint_text().unwrap().contains("longer phrases"), "{error:?}");
    }
}
