//! The content-addressed cache: entries are found by content, verified when read, complete or absent.

use rvc_run::cache::{self, Cache, Key, Lookup, Origin};
use rvc_run::files;
use rvc_run::task::{Event, Task};
use rvc_run::{Error, Kind, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Room {
    folder: tempfile::TempDir,
    cache: Cache,
    task: Task,
    warnings: Arc<Mutex<Vec<String>>>,
}

fn room() -> Room {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("cache")).unwrap();
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let ear = warnings.clone();
    let task = Task::new(2, move |event| {
        if let Event::Warning(text) = event {
            ear.lock().unwrap().push(text.clone());
        }
    });
    Room { folder, cache, task, warnings }
}

fn key() -> Key {
    Key::new("double", 1).input("text", &files::digest("abc")).param("times", 2)
}

fn double(cache: &Cache, task: &Task, key: &Key) -> Result<(cache::Entry, Origin)> {
    cache.once(task, key, |pending| {
        files::write(&pending.path("a.txt"), "abcabc")?;
        files::write(&pending.path("b.txt"), "cbacba")?;
        Ok(json!({ "letters": 6 }))
    })
}

fn flip(path: &Path, at: usize) {
    let mut bytes = files::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn sessions(room: &Room) -> usize {
    files::list(&room.folder.path().join("cache/.tmp")).unwrap().len()
}

#[test]
fn the_second_lookup_finds_files_and_notes() {
    let room = room();
    let (_, origin) = double(&room.cache, &room.task, &key()).unwrap();
    assert_eq!(origin, Origin::Made);
    let (entry, origin) = double(&room.cache, &room.task, &key()).unwrap();
    assert_eq!(origin, Origin::Reused);
    assert_eq!(entry.notes(), &json!({ "letters": 6 }));
    assert_eq!(entry.names().collect::<Vec<_>>(), ["a.txt", "b.txt"]);
    let object = entry.object("a.txt").unwrap();
    assert_eq!(files::read(&object.path).unwrap(), b"abcabc");
    assert_eq!(object.digest, files::digest("abcabc"));
    assert_eq!(entry.object("c.txt").unwrap_err().kind(), Kind::DataDamaged);
}

#[test]
fn every_part_of_a_key_counts() {
    let base = key().digest().unwrap();
    assert_eq!(base, key().digest().unwrap());
    let others = [
        Key::new("double", 2).input("text", &files::digest("abc")).param("times", 2),
        Key::new("single", 1).input("text", &files::digest("abc")).param("times", 2),
        key().input("text", &files::digest("abd")),
        key().param("times", 3),
        key().param("times", "2"),
        key().param("more", 1),
    ];
    for other in others {
        assert_ne!(base, other.digest().unwrap(), "{other:?}");
    }
}

#[test]
fn every_single_byte_of_every_file_is_guarded() {
    let room = room();
    let (entry, _) = double(&room.cache, &room.task, &key()).unwrap();
    let folder = entry.object("a.txt").unwrap().path.parent().unwrap().to_owned();
    for name in ["a.txt", "b.txt", "entry.json"] {
        for at in 0..files::read(&folder.join(name)).unwrap().len() {
            flip(&folder.join(name), at);
            let seen = matches!(room.cache.lookup(&key()).unwrap(), Lookup::Miss(p) if p.damage().is_some());
            assert!(seen, "byte {at} of {name}");
            flip(&folder.join(name), at);
        }
    }
    assert_eq!(double(&room.cache, &room.task, &key()).unwrap().1, Origin::Reused);
}

#[test]
fn a_damaged_output_is_replaced_with_one_warning() {
    let room = room();
    let (entry, _) = double(&room.cache, &room.task, &key()).unwrap();
    flip(&entry.object("a.txt").unwrap().path, 3);
    let (entry, origin) = double(&room.cache, &room.task, &key()).unwrap();
    assert_eq!(origin, Origin::Made);
    assert_eq!(files::read(&entry.object("a.txt").unwrap().path).unwrap(), b"abcabc");
    let warnings = room.warnings.lock().unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("a.txt is not what was written"), "{warnings:?}");
}

#[test]
fn a_deleted_or_truncated_output_is_rebuilt() {
    let room = room();
    let (entry, _) = double(&room.cache, &room.task, &key()).unwrap();
    let path = entry.object("b.txt").unwrap().path;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(double(&room.cache, &room.task, &key()).unwrap().1, Origin::Made);
    std::fs::write(&path, "").unwrap();
    assert_eq!(double(&room.cache, &room.task, &key()).unwrap().1, Origin::Made);
    std::fs::remove_file(path.with_file_name("entry.json")).unwrap();
    assert_eq!(double(&room.cache, &room.task, &key()).unwrap().1, Origin::Made);
    assert_eq!(room.warnings.lock().unwrap().len(), 3);
}

/// What a power cut may leave of an unsynced file.
type Remains = fn(&[u8]) -> Option<Vec<u8>>;

/// R3 for entries, which are not synced: each file of an entry may be whole, gone, empty, half written or full of zeros, independently.
#[test]
fn an_entry_is_rebuilt_after_any_damage_by_a_power_cut() {
    let room = room();
    let (entry, _) = double(&room.cache, &room.task, &key()).unwrap();
    let folder = entry.object("a.txt").unwrap().path.parent().unwrap().to_owned();
    let names = ["a.txt", "b.txt", "entry.json"];
    let whole = names.map(|name| files::read(&folder.join(name)).unwrap());
    let remains: [Remains; 5] = [
        |bytes| Some(bytes.to_vec()),
        |_| None,
        |_| Some(Vec::new()),
        |bytes| Some(bytes[..bytes.len() / 2].to_vec()),
        |bytes| Some(vec![0; bytes.len()]),
    ];
    let n = remains.len();
    for state in 1..n.pow(3) {
        for (i, name) in names.iter().enumerate() {
            let _ = std::fs::remove_file(folder.join(name));
            if let Some(bytes) = remains[state / n.pow(i as u32) % n](&whole[i]) {
                std::fs::write(folder.join(name), bytes).unwrap();
            }
        }
        assert_eq!(double(&room.cache, &room.task, &key()).unwrap().1, Origin::Made, "state {state}");
        for (name, whole) in names.iter().zip(&whole) {
            assert_eq!(files::read(&folder.join(name)).unwrap(), *whole, "{name} after state {state}");
        }
        assert_eq!(room.warnings.lock().unwrap().drain(..).count(), 1, "state {state}");
    }
}

#[test]
fn an_entry_moved_to_another_key_is_rejected() {
    let room = room();
    let (entry, _) = double(&room.cache, &room.task, &key()).unwrap();
    let other = key().param("times", 3);
    let name = other.digest().unwrap();
    let target = room.cache.root().join("double").join(&name[..2]).join(&name);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::rename(entry.object("a.txt").unwrap().path.parent().unwrap(), target).unwrap();
    assert!(matches!(room.cache.lookup(&other).unwrap(), Lookup::Miss(pending) if pending.damage().is_some()));
}

#[test]
fn a_failing_stage_leaves_nothing() {
    let room = room();
    let failed = room.cache.once(&room.task, &key(), |pending| {
        files::write(&pending.path("a.txt"), "half")?;
        Err::<Value, _>(Error::cancelled())
    });
    assert_eq!(failed.err().map(|e| e.kind()), Some(Kind::Cancelled));
    assert_eq!(room.cache.check(&room.task).unwrap().entries, 0);
    let session = files::list(&room.cache.root().join(".tmp")).unwrap().remove(0);
    assert_eq!(files::list(&session).unwrap(), [session.join(".lock")]);
}

#[test]
fn two_writers_of_one_entry_agree() {
    let room = room();
    let other = Cache::open(room.cache.root()).unwrap();
    let (Lookup::Miss(mine), Lookup::Miss(theirs)) =
        (room.cache.lookup(&key()).unwrap(), other.lookup(&key()).unwrap())
    else {
        panic!("both should miss");
    };
    for pending in [&mine, &theirs] {
        files::write(&pending.path("a.txt"), "same").unwrap();
    }
    let first = mine.commit(Value::Null).unwrap();
    let second = theirs.commit(Value::Null).unwrap();
    assert_eq!(first.object("a.txt").unwrap(), second.object("a.txt").unwrap());
}

#[test]
fn many_threads_and_two_caches_never_see_an_incomplete_entry() {
    let room = room();
    let caches = [room.cache.clone(), Cache::open(room.cache.root()).unwrap()];
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (cache, task) = (&caches[worker % 2], &room.task);
            scope.spawn(move || {
                for i in 0..40 {
                    let key = key().param("times", i % 10);
                    let (entry, _) = double(cache, task, &key).unwrap();
                    assert_eq!(files::read(&entry.object("a.txt").unwrap().path).unwrap(), b"abcabc");
                }
            });
        }
    });
    let tally = room.cache.check(&room.task).unwrap();
    assert_eq!((tally.entries, tally.bytes, tally.damaged), (10, 120, Vec::new()));
    assert_eq!(*room.warnings.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn leftovers_of_dead_processes_are_removed_and_of_live_ones_kept() {
    let room = room();
    let dead = room.cache.root().join(".tmp/999-dead");
    files::write(&dead.join(".lock"), "").unwrap();
    files::write(&dead.join("0/a.txt"), "half").unwrap();
    assert_eq!(sessions(&room), 2);
    let _second = Cache::open(room.cache.root()).unwrap();
    assert!(!dead.exists());
    assert_eq!(sessions(&room), 2);
}

#[test]
fn check_names_the_damaged_entry() {
    let room = room();
    double(&room.cache, &room.task, &key()).unwrap();
    let (entry, _) = double(&room.cache, &room.task, &key().param("times", 9)).unwrap();
    flip(&entry.object("a.txt").unwrap().path, 0);
    let tally = room.cache.check(&room.task).unwrap();
    assert_eq!((tally.entries, tally.damaged.len()), (2, 1));
    assert!(tally.damaged[0].contains("a.txt"), "{:?}", tally.damaged);
}

#[test]
fn prune_removes_entries_not_used_recently() {
    let room = room();
    let day = Duration::from_hours(24);
    let (old, _) = double(&room.cache, &room.task, &key()).unwrap();
    double(&room.cache, &room.task, &key().param("times", 9)).unwrap();
    let record = old.object("a.txt").unwrap().path.with_file_name("entry.json");
    let long_ago = std::time::SystemTime::now() - 40 * day;
    std::fs::File::options().append(true).open(&record).unwrap().set_modified(long_ago).unwrap();
    let tally = room.cache.prune(30 * day).unwrap();
    assert_eq!((tally.entries, tally.bytes), (1, 12));
    assert_eq!(double(&room.cache, &room.task, &key()).unwrap().1, Origin::Made);
}

#[test]
fn using_an_old_entry_makes_it_young() {
    let room = room();
    let day = Duration::from_hours(24);
    let (old, _) = double(&room.cache, &room.task, &key()).unwrap();
    let record = old.object("a.txt").unwrap().path.with_file_name("entry.json");
    let long_ago = std::time::SystemTime::now() - 40 * day;
    std::fs::File::options().append(true).open(&record).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(double(&room.cache, &room.task, &key()).unwrap().1, Origin::Reused);
    assert_eq!(room.cache.prune(30 * day).unwrap().entries, 0);
}

#[test]
fn placing_links_replaces_and_leaves_no_temp_file() {
    let room = room();
    let (entry, _) = double(&room.cache, &room.task, &key()).unwrap();
    let object = entry.object("a.txt").unwrap();
    let target: PathBuf = room.folder.path().join("logs/a.txt");
    files::write(&target, "old").unwrap();
    assert!(!cache::is_linked(&object, &target));
    cache::place(&object, &target).unwrap();
    cache::place(&object, &target).unwrap();
    assert!(cache::is_linked(&object, &target));
    assert_eq!(files::list(target.parent().unwrap()).unwrap(), [target]);
}

#[test]
fn writing_into_a_placed_file_is_noticed_by_the_cache() {
    let room = room();
    let (entry, _) = double(&room.cache, &room.task, &key()).unwrap();
    let target = room.folder.path().join("logs/a.txt");
    cache::place(&entry.object("a.txt").unwrap(), &target).unwrap();
    flip(&target, 1);
    let (entry, origin) = double(&room.cache, &room.task, &key()).unwrap();
    assert_eq!(origin, Origin::Made);
    assert!(!cache::is_linked(&entry.object("a.txt").unwrap(), &target));
}
