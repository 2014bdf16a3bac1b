//! The effects of a kill, a second process or a changing recording.

use super::room::{clean_rebuild, config, five, rows};
use crate::support::only;
use crate::support::recordings::{child_root, kill_child, record, say_started, snapshot};
use rvc_run::Kind;
use rvc_run::cache::Cache;
use rvc_run::files::{self, Lock, Workspace};
use rvc_run::prepare;
use rvc_run::task::{Event, Task};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Not a test on its own: the next one starts and kills it.
#[test]
fn child_that_prepares() {
    if let Some(root) = child_root() {
        let workspace = Workspace::new(root);
        let cache = Cache::open(workspace.cache()).unwrap();
        let task = Task::new(2, |_| {});
        say_started();
        prepare::all(&task, &workspace, &cache, "anna", Path::new("data/anna"), &config()).unwrap();
    }
}

#[test]
fn killed_at_any_moment_the_next_run_ends_like_an_undisturbed_one() {
    let room = five();
    let whole = clean_rebuild(&room);
    for delay in [5, 15, 25, 40, 60, 80, 110, 150, 200, 260] {
        kill_child(&only(module_path!(), "child_that_prepares"), room.workspace.root(), delay);
        // A file list exists only if everything it names exists.
        if room.logs().join("filelist.txt").exists() {
            for field in rows(&room).iter().flat_map(|row| row.split('|').take(4)) {
                assert!(Path::new(field).is_file(), "{field}");
            }
        }
    }
    room.run();
    assert_eq!(snapshot(&room.logs()), whole);
    let sessions = files::list(&room.workspace.cache().join(".tmp")).unwrap();
    assert_eq!(sessions, Vec::<PathBuf>::new());
}

#[test]
fn two_voices_of_the_same_recordings_at_once_share_the_cache_safely() {
    let room = five();
    std::thread::scope(|scope| {
        for voice in ["anna", "bert"] {
            let room = &room;
            scope.spawn(move || {
                let cache = Cache::open(room.workspace.cache()).unwrap();
                let folder = Path::new("data/anna");
                prepare::all(&room.task, &room.workspace, &cache, voice, folder, &config()).unwrap();
            });
        }
    });
    assert_eq!(room.run().done(), (0, 0, 0));
    assert_eq!(room.warnings(), Vec::<String>::new());
}

#[test]
fn a_voice_in_use_by_another_process_is_locked() {
    let room = five();
    let _held = Lock::acquire(&room.logs()).unwrap();
    assert_eq!(room.error().kind(), Kind::Locked);
}

#[test]
fn a_recording_that_changes_while_it_is_read_is_kept_under_its_final_content() {
    let room = five();
    let (path, once) = (room.data().join("b.wav"), Mutex::new(true));
    let task = Task::new(1, move |event| {
        if matches!(event, Event::Begin { stage, .. } if stage == "slicing")
            && std::mem::take(&mut *once.lock().unwrap())
        {
            record(&path, 20, 1.2);
        }
    });
    let cache = Cache::open(room.workspace.cache()).unwrap();
    prepare::all(&task, &room.workspace, &cache, "anna", Path::new("data/anna"), &config()).unwrap();
    assert_eq!(snapshot(&room.logs()), clean_rebuild(&room));
    assert_eq!(room.run().done(), (0, 0, 0));
}

#[test]
fn a_cancelled_run_leaves_no_file_list_and_the_next_one_completes() {
    let room = five();
    let cancel = Arc::new(Mutex::new(None::<Arc<std::sync::atomic::AtomicBool>>));
    let flag = cancel.clone();
    let task = Task::new(1, move |event| {
        if let (Event::Progress { stage, done: 2, .. }, Some(flag)) = (event, &*flag.lock().unwrap()) {
            flag.store(stage == "f0", std::sync::atomic::Ordering::Relaxed);
        }
    });
    *cancel.lock().unwrap() = Some(task.cancel_flag());
    let cache = Cache::open(room.workspace.cache()).unwrap();
    let stopped = prepare::all(&task, &room.workspace, &cache, "anna", Path::new("data/anna"), &config());
    assert_eq!(stopped.err().map(|e| e.kind()), Some(Kind::Cancelled));
    assert!(!room.logs().join("filelist.txt").exists());
    let ran = room.run();
    assert_eq!(ran.slices.done, 0);
    assert!(ran.f0.cached >= 2, "{:?}", ran.f0);
}
