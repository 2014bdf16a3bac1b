//! Files that belong to other programs.

use super::room::{clip, config, five, rows};
use crate::support::recordings::record;
use rvc_run::cache::Cache;
use rvc_run::files;
use rvc_run::prepare;
use rvc_run::task::{Event, Task};
use std::path::Path;
use std::sync::{Arc, Mutex};

#[test]
fn foreign_files_stay_and_are_reported() {
    let room = five();
    let foreign = room.logs().join("0_gt_wavs/holiday.wav");
    files::write(&foreign, "mine").unwrap();
    room.run();
    assert_eq!(files::read(&foreign).unwrap(), b"mine");
    let warnings = room.warnings();
    assert!(warnings.iter().all(|w| w.contains("holiday.wav")) && !warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_foreign_file_with_a_name_we_need_is_set_aside() {
    let other = five();
    other.run();
    let name = format!("0_gt_wavs/{}.wav", clip(&other, "b.wav"));
    let room = five();
    files::write(&room.logs().join(&name), "from python").unwrap();
    files::write(&room.logs().join("filelist.txt"), "from python").unwrap();
    room.run();
    let aside = room.logs().join("set_aside");
    assert_eq!(files::read(&aside.join(&name)).unwrap(), b"from python");
    assert_eq!(files::read(&aside.join("filelist.txt")).unwrap(), b"from python");
    assert_eq!(room.warnings().len(), 2);
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_file_list_edited_by_hand_is_set_aside() {
    let room = five();
    room.run();
    let path = room.logs().join("filelist.txt");
    let edited = rows(&room)[..3].join("\n");
    std::fs::write(&path, &edited).unwrap();
    room.run();
    assert_eq!(files::read_text(&room.logs().join("set_aside/filelist.txt")).unwrap(), edited);
    assert_eq!(rows(&room).len(), 7);
}

#[test]
fn pythons_spectrograms_of_missing_clips_are_reported_and_kept() {
    let room = five();
    room.run();
    let (gone, stays) = (clip(&room, "b.wav"), clip(&room, "f.wav"));
    for name in [&gone, &stays] {
        files::write(&room.logs().join(format!("0_gt_wavs/{name}.spec.pt")), "spectrogram").unwrap();
    }
    room.run();
    record(&room.data().join("b.wav"), 30, 2.0);
    let reported = Arc::new(Mutex::new(Vec::new()));
    let ear = reported.clone();
    let task = Task::new(2, move |event| {
        if let Event::Info(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    let cache = Cache::open(room.workspace.cache()).unwrap();
    prepare::all(&task, &room.workspace, &cache, "anna", Path::new("data/anna"), &config()).unwrap();
    let reported = reported.lock().unwrap();
    assert!(reported.iter().any(|text| text.contains(&gone) && !text.contains(&stays)), "{reported:?}");
    assert!(room.logs().join(format!("0_gt_wavs/{gone}.spec.pt")).exists());
}

#[test]
fn a_spectrogram_of_a_repaired_clip_is_reported() {
    let room = five();
    room.run();
    let name = clip(&room, "b.wav");
    files::write(&room.logs().join(format!("0_gt_wavs/{name}.spec.pt")), "spectrogram").unwrap();
    files::write(&room.logs().join(format!("0_gt_wavs/{name}.wav")), "something else").unwrap();
    room.run();
    let warnings = room.warnings();
    assert!(warnings.iter().any(|w| w.contains(&format!("{name}.spec.pt"))), "{warnings:?}");
}
