//! The file list, and its speakers.

use super::room::{clean_rebuild, clip, config, five, room, rows};
use crate::support::recordings::{record, snapshot};
use rvc_run::audio::io;
use rvc_run::config::Config;
use rvc_run::task::{Event, Task};
use rvc_run::{files, prepare};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[test]
fn the_file_list_is_as_rvc_writes_it() {
    let room = five();
    let list = room.run().list;
    assert_eq!((list.count, list.mute_rows, list.skipped), (5, 2, 0));
    let text = files::read_text(&list.path).unwrap();
    assert!(!text.ends_with('\n'));
    let logs = std::path::absolute(room.logs()).unwrap();
    for row in text.split('\n') {
        let fields: Vec<&str> = row.split('|').collect();
        assert_eq!(fields.len(), 5, "{row}");
        assert!(
            fields[..4].iter().all(|path| Path::new(path).starts_with(&logs) && Path::new(path).is_file()),
            "{row}"
        );
        assert_eq!(fields[4], "0");
        let name = Path::new(fields[0]).file_stem().unwrap().to_str().unwrap();
        let name = if name == "mute32k" { "mute" } else { name };
        let base = Path::new(fields[0]).parent().unwrap().parent().unwrap();
        assert_eq!(Path::new(fields[1]), base.join(format!("3_feature768/{name}.npy")));
        assert_eq!(Path::new(fields[2]), base.join(format!("2a_f0/{name}.wav.npy")));
        assert_eq!(Path::new(fields[3]), base.join(format!("2b-f0nsf/{name}.wav.npy")));
    }
}

#[test]
fn the_silent_clip_has_the_shapes_of_rvcs() {
    let room = five();
    room.run();
    let mute = room.logs().join("mute");
    let wav = io::read_wav(&mute.join("0_gt_wavs/mute32k.wav")).unwrap();
    assert!(wav.samples.len() == 96000 && wav.samples.iter().all(|x| *x == 0.0));
    assert_eq!(rvc_run::npy::read_i64(&mute.join("2a_f0/mute.wav.npy")).unwrap(), vec![1; 301]);
    assert_eq!(rvc_run::npy::read_f64(&mute.join("2b-f0nsf/mute.wav.npy")).unwrap(), vec![0.0; 301]);
    let (values, frames, dim) = rvc_run::npy::read_f32_2d(&mute.join("3_feature768/mute.npy")).unwrap();
    assert_eq!((frames, dim), (149, 768));
    assert!(values.iter().all(|x| x.is_finite()));
}

#[test]
fn the_order_of_rows_depends_only_on_the_seed() {
    let room = five();
    room.run();
    let first = rows(&room);
    std::fs::remove_file(room.logs().join("filelist.txt")).unwrap();
    room.run();
    assert_eq!(rows(&room), first);
    room.try_run(&Config { seed: 77, ..config() }).unwrap();
    let second = rows(&room);
    assert_ne!(second, first);
    assert_eq!(second.iter().collect::<BTreeSet<_>>(), first.iter().collect::<BTreeSet<_>>());
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn each_subfolder_is_a_speaker() {
    let room = room(&[("zoe/1.wav", 1), ("zoe/2.wav", 2), ("max/1.wav", 3)]);
    files::create_folder(&room.data().join("nobody")).unwrap();
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.speakers, ["max", "zoe"]);
    assert_eq!(clips.clips.iter().map(|clip| clip.sid).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(room.run().list.mute_rows, 4);
}

/// The messages about the speakers in a voice with these recordings, and the speakers' names.
fn speakers_said(recordings: &[(&str, u32)]) -> (Vec<String>, Vec<String>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let ear = said.clone();
    let mut room = room(recordings);
    room.task = Task::new(2, move |event| {
        if let Event::Info(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    room.run();
    let lines = said.lock().unwrap().iter().filter(|text| text.contains("subfolders")).cloned().collect();
    (lines, prepare::speakers(&room.logs()))
}

#[test]
fn subfolders_that_become_speakers_are_reported_with_seconds() {
    let (said, names) = speakers_said(&[("zoe/1.wav", 1), ("zoe/2.wav", 2), ("max/1.wav", 3)]);
    assert_eq!(said, ["2 speakers: max 2 s (sid 0), zoe 4 s (sid 1); subfolders are speakers"]);
    assert_eq!(names, ["max", "zoe"]);
    let (said, names) = speakers_said(&[("loose.wav", 1), ("max/1.wav", 2)]);
    assert_eq!(
        said,
        ["2 speakers: recordings outside subfolders 2 s (sid 0), max 2 s (sid 1); subfolders are speakers"]
    );
    assert_eq!(names, ["anna", "max"], "they are the voice's own");
    for one in [&[("1.wav", 1), ("2.wav", 2)][..], &[("takes/1.wav", 1)]] {
        assert_eq!(speakers_said(one), (vec![], vec![]), "{one:?}");
    }
}

#[test]
fn a_trained_voice_keeps_the_numbers_of_its_speakers() {
    let room = room(&[("max/1.wav", 1), ("zoe/1.wav", 2)]);
    room.run();
    files::write(&room.logs().join("G_1.pth"), "a training").unwrap();
    record(&room.data().join("anna/1.wav"), 3, 2.0);
    std::fs::remove_dir_all(room.data().join("max")).unwrap();
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.speakers, ["max", "zoe", "anna"]);
    assert_eq!(clips.clips.iter().map(|clip| clip.sid).collect::<Vec<_>>(), [2, 1]);
    let list = room.run().list;
    assert_eq!(list.mute_rows, 4, "none for the removed speaker");
    assert!(rows(&room).iter().all(|row| !row.ends_with("|0")));
}

#[test]
fn a_folder_with_clips_under_their_former_names_is_taken_over() {
    let room = five();
    room.run();
    // As version 0.1 left it: "<number of the recording>_<clip>", and records without the digest of the sound.
    let path = room.logs().join("cache_metadata.json");
    let mut text = files::read_text(&path).unwrap();
    for (number, recording) in ["b.wav", "c.wav", "d.wav", "e.wav", "f.wav"].into_iter().enumerate() {
        let name = clip(&room, recording);
        for (folder, ending) in [
            ("0_gt_wavs", ".wav"),
            ("1_16k_wavs", ".wav"),
            ("2a_f0", ".wav.npy"),
            ("2b-f0nsf", ".wav.npy"),
            ("3_feature768", ".npy"),
        ] {
            let at = room.logs().join(folder);
            std::fs::rename(at.join(format!("{name}{ending}")), at.join(format!("{number}_0{ending}"))).unwrap();
        }
        text = text.replace(&name, &format!("{number}_0"));
    }
    let mut metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    for record in metadata["files"].as_array_mut().unwrap() {
        record.as_object_mut().unwrap().remove("pcm_id");
    }
    std::fs::write(&path, metadata.to_string()).unwrap();
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
    let warnings = room.warnings();
    assert!(warnings.iter().all(|w| w.contains("filelist.txt")), "{warnings:?}");
}

#[test]
fn folders_in_a_speakers_folder_belong_to_the_speaker() {
    let room = room(&[("zoe/1.wav", 1), ("zoe/2020/live/2.wav", 2), ("max/a/1.wav", 3)]);
    #[cfg(unix)]
    for (link, to) in [("zoe/2020/back", "zoe"), ("max/a/all", "")] {
        std::os::unix::fs::symlink(room.data().join(to), room.data().join(link)).unwrap();
    }
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.speakers, ["max", "zoe"]);
    let used: Vec<_> = clips.table.iter().map(|row| (row.name.as_str(), row.sid)).collect();
    assert_eq!(used, [("max/a/1.wav", 0), ("zoe/1.wav", 1), ("zoe/2020/live/2.wav", 1)]);
}

#[test]
fn loose_recordings_beside_speaker_folders_are_speaker_0() {
    let room = room(&[("loose.wav", 1), ("max/1.wav", 2)]);
    let clips = room.slices(&config()).unwrap();
    assert_eq!(clips.clips.iter().map(|clip| clip.sid).collect::<Vec<_>>(), [0, 1]);
}
