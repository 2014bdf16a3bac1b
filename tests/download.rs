//! Recordings from links: a fake yt-dlp that records its arguments, and the real one if it is installed.
#![cfg(unix)]

use rvc_run::audio::io;
use rvc_run::download::{Fetched, Limits, Status, Tool, check_link, download, read_links};
use rvc_run::files::{self, Workspace};
use rvc_run::task::{Event, Task};
use rvc_run::{Error, Kind};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than any machine needs for the events that the tests wait for.
const PATIENCE: Duration = Duration::from_mins(1);

fn sound(path: &Path, seconds: f64) {
    let samples: Vec<f32> = (0..(16000.0 * seconds) as usize).map(|n| (n as f32 * 0.05).sin() * 0.5).collect();
    io::write_wav(path, &samples, 16000).unwrap();
}

/// A folder with programs of our own making, and a record of their calls.
struct Fake {
    folder: tempfile::TempDir,
}

/// Reacts to the link, which is its last argument. It writes its arguments to calls/<pid>, each ended by a NUL.
const YT_DLP: &str = r#"#!/bin/sh
here='HERE'
for word; do link=$word; done
if [ "$link" = --version ]; then echo 2026.01.01; exit; fi
{ printf '%s\0' "$@"; } > "$here/calls/$$"
env > "$here/env"
mkdir -p whole
case "$*" in *--simulate*)
    case $link in *long*) echo '{"duration": 99}';; *live*) echo '{"is_live": true}';; *) echo '{"duration": 3}';; esac
    exit;;
    *--download-sections*) mkdir first-12.5; cp "$here/sound.wav" first-12.5/media.wav; exit;;
esac
case $link in
    *canary*) exit 1;;
    *fail*) echo 'WARNING: hm' >&2; printf 'ERROR: [generic] \033[31mno such\007 recording\n' >&2; exit 1;;
    *nothing*) exit 0;;
    *text*) echo 'no sound' > whole/media.wav;;
    *two*) cp "$here/sound.wav" whole/media.wav; cp "$here/sound.wav" whole/media.m4a;;
    *symlink*) ln -s "$here/sound.wav" whole/media.wav;;
    *hang*) case $link in *stubborn*) trap '' TERM;; *) trap 'echo > "$here/asked"; exit 1' TERM;; esac
            echo $$ > "$here/leader"; sleep 1000 & echo $! > "$here/hanging"; wait;;
    *again*) if [ -e whole/media.wav.part ]; then mv whole/media.wav.part whole/media.wav
             else cp "$here/sound.wav" whole/media.wav.part; echo 'ERROR: broken off' >&2; exit 1; fi;;
    *ending*) cp "$here/sound.wav" 'whole/media.unknown_video';;
    *) cp "$here/sound.wav" whole/media.wav;;
esac
case $link in
    *list*) echo '{"id": "1", "title": "T", "playlist_count": 7}';;
    *nojson*) echo 'NA';;
    *) echo '{"id": "../../id", "title": "../..//etc/pass\u0000wd $(x) \u202e\u00e9 Song: one", "playlist_count": null}';;
esac
"#;

impl Fake {
    fn new(seconds: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("calls")).unwrap();
        std::fs::create_dir_all(folder.path().join("bin")).unwrap();
        sound(&folder.path().join("sound.wav"), seconds);
        Self { folder }
    }

    fn with_yt_dlp(seconds: f64) -> Self {
        let fake = Self::new(seconds);
        fake.program("yt-dlp", YT_DLP);
        fake
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.folder.path().join("bin").join(name);
        // Written by another process: while this one has it open for writing, a child that another test is starting
        // inherits the handle, and the program cannot be run ("text file busy").
        let text = text.replace("HERE", self.folder.path().to_str().unwrap());
        let source = self.folder.path().join("source");
        std::fs::write(&source, text).unwrap();
        assert!(std::process::Command::new("cp").arg(&source).arg(&path).status().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The fake's folder and one with only what its scripts need, so that neither ffmpeg nor a real yt-dlp is found.
    fn path(&self) -> OsString {
        let tools = self.folder.path().join("tools");
        if !tools.exists() {
            std::fs::create_dir_all(&tools).unwrap();
            for tool in ["sh", "cp", "mv", "ln", "mkdir", "sleep", "env"] {
                let real = ["/bin", "/usr/bin"].map(|at| Path::new(at).join(tool)).into_iter().find(|p| p.exists());
                std::os::unix::fs::symlink(real.unwrap(), tools.join(tool)).unwrap();
            }
        }
        std::env::join_paths([self.folder.path().join("bin"), tools]).unwrap()
    }

    fn tool(&self) -> Tool {
        Tool::find_on(&Task::silent(), &self.path()).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The arguments of each call.
    fn calls(&self) -> Vec<Vec<String>> {
        let calls = files::list(&self.file("calls")).unwrap();
        let words = |path: &PathBuf| {
            let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
            text.strip_suffix('\0').unwrap().split('\0').map(str::to_owned).collect()
        };
        calls.iter().map(words).collect()
    }
}

struct Bench {
    fake: Fake,
    root: tempfile::TempDir,
}

impl Bench {
    fn new(seconds: f64) -> Self {
        Self { fake: Fake::with_yt_dlp(seconds), root: tempfile::tempdir().unwrap() }
    }

    fn get(&self, links: &[&str], limits: &Limits) -> Vec<Fetched> {
        self.try_get(&Task::silent(), links, limits).unwrap()
    }

    fn try_get(&self, task: &Task, links: &[&str], limits: &Limits) -> Result<Vec<Fetched>, Error> {
        let links: Vec<String> = links.iter().map(|link| (*link).to_owned()).collect();
        let workspace = Workspace::new(self.root.path());
        download(task, &workspace, "anna", &links, limits, Some(&self.fake.tool()))
    }

    /// prepare_voice.rhai, as a user runs it for the voice anna, with the fake first on the PATH.
    fn recipe(&self, arguments: &[String]) -> std::process::Output {
        recipe(self.root.path(), &self.fake.path(), arguments)
    }

    /// The visible files of the voice.
    fn recordings(&self) -> Vec<String> {
        let names = files::list(&self.root.path().join("data/anna")).unwrap().into_iter();
        let names = names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

fn recipe(workspace: &Path, path: &OsStr, arguments: &[String]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rvc-run"));
    command.arg("--workspace").arg(workspace);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/prepare_voice.rhai")).arg("anna").args(arguments);
    command.env("PATH", path).env_remove("RVC_RUN_ASSETS").stdin(std::process::Stdio::null());
    command.output().unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

// --- Hostile links --------------------------------------------------------------------------------------------------

/// Links that must never reach a process.
const REFUSED: [&str; 46] = [
    "",
    " ",
    "-",
    "--",
    "---",
    "-o/etc/x",
    "-o",
    "--exec=touch canary",
    "--exec",
    "--exec=rm -rf /",
    "--batch-file=/etc/passwd",
    "-a/etc/passwd",
    "--config-locations=/tmp/evil",
    "--plugin-dirs=/tmp",
    "--downloader=/tmp/evil",
    "--cookies-from-browser=firefox",
    "--netrc-cmd=touch canary",
    "--enable-file-urls",
    "-J",
    "-http://example.com/",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file:/etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "ftp://example.com/a.wav",
    "rtmp://example.com/a",
    "data:audio/wav;base64,AAAA",
    "javascript:alert(1)",
    "concat:http://a/|http://b/",
    "ytsearch:cats",
    "ytsearchall:cats",
    ":ytfav",
    "example.com/a.wav",
    "//example.com/a.wav",
    "http:/example.com/a.wav",
    "http:///a.wav",
    "https://-oProxyCommand=x/a",
    "http://example.com/a b",
    "http://example.com/a\tb",
    "http://example.com/a\n--exec=x",
    "http://example.com/a\0b",
    "http://example.com\\@evil/",
    "http://user:secret@example.com/a.wav",
    "http://example.com:99999/a.wav",
    "http://example.com/#__youtubedl_smuggle=%7B%22a%22%3A1%7D",
];

/// Ugly but valid addresses: they reach the process as one word, after "--".
const ALLOWED: [&str; 20] = [
    "http://127.0.0.1/a.wav",
    "http://[::1]:8080/a.wav",
    "HTTPS://EXAMPLE.COM/A.WAV",
    "http://example.com/$(touch${IFS}canary)",
    "http://example.com/`touch${IFS}canary`",
    "http://example.com/a;touch${IFS}canary",
    "http://example.com/a|touch${IFS}canary",
    "http://example.com/a&touch${IFS}canary",
    "http://example.com/a>canary",
    "http://example.com/'a'",
    "http://example.com/\"a\"",
    "http://example.com/%(title)s",
    "http://example.com/%s%n%00",
    "http://example.com/*?[a-z]{1,2}",
    "http://example.com/~root/$HOME",
    "http://example.com/--exec=x",
    "http://example.com/?--exec=x#--exec",
    "http://example.com/../../etc/passwd",
    "http://example.com/日本語",
    "http://example.com/!history",
];

#[test]
fn sixty_hostile_links_are_refused_or_stay_one_word_after_the_dashes() {
    assert!(REFUSED.len() + ALLOWED.len() >= 60);
    let bench = Bench::new(0.2);
    let all: Vec<&str> = REFUSED.into_iter().chain(ALLOWED).collect();
    let rows = bench.get(&all, &Limits::default());
    assert_eq!(rows.len(), all.len());
    for (link, row) in all.iter().zip(&rows) {
        let is_refused = row.reason.as_ref().is_some_and(|reason| reason.starts_with("refused: "));
        assert_eq!(is_refused, REFUSED.contains(link), "{link:?}: {row:?}");
        // Those with a canary fail, so that the child's folder remains for inspection.
        let is_done = ALLOWED.contains(link) && !link.contains("canary");
        assert_eq!(row.status == Status::Done, is_done, "{link:?}: {row:?}");
        assert_eq!(check_link(link).is_err(), REFUSED.contains(link));
    }
    let calls = bench.fake.calls();
    assert_eq!(calls.len(), ALLOWED.len());
    let fixed = &calls[0][..calls[0].len() - 2];
    assert_eq!(fixed[0], "--ignore-config");
    assert!(fixed.contains(&"--no-playlist".to_owned()) && !fixed.iter().any(|word| word.contains("example.com")));
    let mut given: Vec<&str> = Vec::new();
    for call in &calls {
        let [flags @ .., dashes, link] = &call[..] else { panic!("{call:?}") };
        assert_eq!((flags, dashes.as_str()), (fixed, "--"));
        given.push(link);
    }
    given.sort_unstable();
    let mut expected = ALLOWED;
    expected.sort_unstable();
    assert_eq!(given, expected);
    // A shell would have made one, in the folder where the child runs or beside it.
    let canaries = walk(bench.root.path()).into_iter().filter(|path| path.ends_with("canary")).count();
    assert_eq!(canaries, 0);
    let outside =
        walk(bench.root.path()).into_iter().filter(|path| !path.starts_with(bench.root.path().join("data/anna")));
    assert_eq!(outside.count(), 0);
}

#[test]
fn a_name_and_a_password_in_a_refused_link_are_shown_nowhere() {
    let bench = Bench::new(0.2);
    let links = [
        "http://user:hunter2@example.com/a.wav",
        "HTTPS://user:hunter2@example.com",
        "http://user:hunter2/x@example.com/a.wav",
        "http://user:hunter2#@example.com/a.wav",
        "http://hunter2@@example.com/a.wav",
        "ftp://user:hunter2@example.com/a.wav",
        "user:hunter2@example.com/a.wav",
        "http://user: hunter2@example.com/a.wav",
    ];
    let rows = bench.get(&links, &Limits::default());
    let shown = format!("{rows:?}{}", serde_json::to_string(&rows).unwrap());
    assert!(rows.iter().all(|row| row.status == Status::Failed), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    // The row can still be distinguished from the others.
    assert_eq!(rows[0].url, "http://***@example.com/a.wav");
    let listed: Vec<String> = links.iter().flat_map(|link| ["--urls", link]).map(str::to_owned).collect();
    let ended = bench.recipe(&listed);
    let shown = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(shown.contains("***@example.com") && !shown.contains("hunter2"), "{shown}");
    let kept = walk(bench.root.path()).into_iter().filter(|path| path.is_file());
    let leaks = kept.filter(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains("hunter2"));
    assert_eq!(leaks.count(), 0);
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let paths = files::list(folder).unwrap().into_iter();
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn if_every_link_is_refused_yt_dlp_is_not_searched_for() {
    let root = tempfile::tempdir().unwrap();
    let links = ["--exec=x".to_owned(), "file:///etc/passwd".to_owned()];
    let workspace = Workspace::new(root.path());
    let rows = download(&Task::silent(), &workspace, "anna", &links, &Limits::default(), None).unwrap();
    assert!(rows.iter().all(|row| row.status == Status::Failed));
}

#[test]
fn file_names_have_only_letters_whatever_the_sites_title() {
    let bench = Bench::new(0.2);
    let rows = bench.get(&["http://a/1", "http://a/nojson", "http://a/ending"], &Limits::default());
    let names: Vec<&str> =
        rows.iter().map(|row| row.path.as_ref().unwrap().file_name().unwrap().to_str().unwrap()).collect();
    println!("{names:?}");
    assert_eq!(names[0], format!("etc_pass_wd_x_Song_one_id_{}.wav", &files::digest("http://a/1")[..10]));
    assert_eq!(names[1], format!("{}.wav", &files::digest("http://a/nojson")[..10]));
    // Slicing would skip a file without the extension of a recording.
    assert_eq!(Path::new(names[2]).extension().unwrap(), "mka");
    assert!(rows.iter().all(|row| row.path.as_ref().is_some_and(|path| io::load(path).is_ok())));
    assert!(!rows[0].title.as_ref().unwrap().contains('\0'));
}

#[test]
fn the_child_does_not_inherit_secrets() {
    let bench = Bench::new(0.2);
    bench.get(&["http://a/1"], &Limits::default());
    let environment = std::fs::read_to_string(bench.fake.file("env")).unwrap();
    // Cargo's own variables represent the user's: this process has many, and yt-dlp needs none.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO_")));
    assert!(!environment.contains("CARGO_"), "{environment}");
    assert!(environment.contains("YTDLP_NO_PLUGINS=1") && environment.contains("PATH="));
}

// --- Batches --------------------------------------------------------------------------------------------------------

#[test]
fn a_link_that_fails_is_a_row_and_the_others_continue() {
    let bench = Bench::new(2.0);
    let links = [
        "http://a/1",
        "http://a/fail",
        "http://a/nothing",
        "http://a/text",
        "http://a/two",
        "http://a/symlink",
        "nonsense",
        "http://a/2",
    ];
    let rows = bench.get(&links, &Limits::default());
    let done: Vec<bool> = rows.iter().map(|row| row.status == Status::Done).collect();
    assert_eq!(done, [true, false, false, false, false, false, false, true]);
    assert_eq!(rows[1].reason.as_deref(), Some("[generic] [31mno such recording"));
    assert!(rows[3].reason.as_ref().unwrap().starts_with("the download cannot be used"));
    assert!(
        rows[2..]
            .iter()
            .zip(&links[2..])
            .all(|(row, link)| row.url == *link && (row.reason.is_some() != row.path.is_some()))
    );
    assert_eq!(rows[0].seconds, Some(2.0));
    assert_eq!(bench.recordings().len(), 2);
}

#[test]
fn finished_downloads_are_not_fetched_again() {
    let bench = Bench::new(1.0);
    let first = bench.get(&["http://a/1", "http://a/2", "http://a/1"], &Limits::default());
    let statuses = |rows: &[Fetched]| rows.iter().map(|row| row.status).collect::<Vec<_>>();
    assert_eq!(statuses(&first), [Status::Done, Status::Done, Status::Cached]);
    let second = bench.get(&["http://a/2", "http://a/3", "http://a/1"], &Limits::default());
    assert_eq!(statuses(&second), [Status::Cached, Status::Done, Status::Cached]);
    assert_eq!(bench.fake.calls().len(), 3);
    assert_eq!(
        (&second[2].path, second[2].seconds, &second[2].title),
        (&first[0].path, first[0].seconds, &first[0].title)
    );
    // A recording that the user deleted is fetched again, and a damaged list costs only the fetching.
    std::fs::remove_file(first[0].path.as_ref().unwrap()).unwrap();
    assert_eq!(statuses(&bench.get(&["http://a/1"], &Limits::default())), [Status::Done]);
    std::fs::write(bench.root.path().join("data/anna/.downloads/links.json"), "{").unwrap();
    assert_eq!(statuses(&bench.get(&["http://a/1"], &Limits::default())), [Status::Done]);
    assert_eq!(bench.recordings().len(), 3);
}

#[test]
fn a_ledger_that_names_files_elsewhere_is_rejected() {
    let bench = Bench::new(1.0);
    bench.get(&["http://a/1"], &Limits::default());
    let list = bench.root.path().join("data/anna/.downloads/links.json");
    let precious = bench.root.path().join("precious.wav");
    sound(&precious, 1.0);
    let mut ledger: serde_json::Value = serde_json::from_str(&files::read_text(&list).unwrap()).unwrap();
    ledger["links"][files::digest("http://a/1")]["file"] = "../../precious.wav".into();
    std::fs::write(&list, ledger.to_string()).unwrap();
    let rows = bench.get(&["http://a/1"], &Limits::default());
    assert_eq!(rows[0].status, Status::Done);
    assert!(precious.exists());
}

#[test]
fn an_interrupted_download_resumes() {
    let bench = Bench::new(1.0);
    assert_eq!(bench.get(&["http://a/again"], &Limits::default())[0].reason.as_deref(), Some("broken off"));
    assert!(bench.recordings().is_empty());
    assert_eq!(bench.get(&["http://a/again"], &Limits::default())[0].status, Status::Done);
}

#[test]
fn a_long_recording_is_cut_to_the_sample() {
    let bench = Bench::new(5.0);
    let limits = |duration_seconds| Limits { duration_seconds, ..Limits::default() };
    let row = &bench.get(&["http://a/1"], &limits(2.5))[0];
    let audio = io::load(row.path.as_ref().unwrap()).unwrap();
    assert_eq!((audio.samples.len(), row.seconds), (40000, Some(2.5)));
    // First more than the recording's length is requested; then less.
    let row = &bench.get(&["http://a/1"], &limits(60.0))[0];
    assert_eq!((row.status, row.seconds), (Status::Done, Some(5.0)));
    assert_eq!(bench.get(&["http://a/1"], &limits(90.0))[0].status, Status::Cached);
    assert_eq!(bench.get(&["http://a/1"], &limits(2.0))[0].seconds, Some(2.0));
    assert_eq!(bench.recordings().len(), 1);
}

#[test]
fn only_the_first_of_a_playlist_is_fetched_and_reported() {
    let bench = Bench::new(1.0);
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = warnings.clone();
    let task = Task::new(1, move |event| {
        if let Event::Warning(text) = event {
            heard.lock().unwrap().push(text.clone());
        }
    });
    assert_eq!(bench.try_get(&task, &["http://a/list"], &Limits::default()).unwrap()[0].status, Status::Done);
    assert!(warnings.lock().unwrap()[0].contains("only the first"));
}

#[test]
fn with_ffmpeg_only_the_requested_part_of_a_long_recording_is_fetched() {
    let bench = Bench::new(1.0);
    bench.get(&["http://a/long/0"], &Limits::default());
    bench.fake.program("ffmpeg", "#!/bin/sh\n");
    let limits = Limits { duration_seconds: 12.5, ..Limits::default() };
    let rows = bench.get(&["http://a/long/1", "http://a/live", "http://a/short"], &limits);
    assert!(rows.iter().all(|row| row.status == Status::Done), "{rows:?}");
    let has_section = |link: &str| {
        let calls = bench.fake.calls().into_iter().filter(|call| call.last().unwrap() == link);
        let sections = calls.map(|call| call.windows(2).any(|words| words == ["--download-sections", "*0-12.5"]));
        sections.collect::<Vec<_>>().contains(&true)
    };
    assert_eq!(
        ["http://a/long/0", "http://a/long/1", "http://a/live", "http://a/short"].map(has_section),
        [false, true, true, false]
    );
    // A part would be fetched again for a longer limit; a whole recording would not.
    let rows = bench.get(&["http://a/short"], &Limits { duration_seconds: 50.0, ..Limits::default() });
    assert_eq!(rows[0].status, Status::Cached);
}

#[test]
fn limits_out_of_range_are_refused() {
    let bench = Bench::new(1.0);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
        let limits = Limits { duration_seconds: bad, ..Limits::default() };
        assert_eq!(bench.try_get(&Task::silent(), &["http://a/1"], &limits).unwrap_err().kind(), Kind::ConfigValue);
    }
}

// --- The recipe -----------------------------------------------------------------------------------------------------

/// Ended with `code`, and what it printed.
fn printed(ended: &std::process::Output, code: i32) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(code), "{text}");
    text
}

#[test]
fn the_recipe_fetches_cuts_reports_and_its_exit_code_shows_failed_links() {
    let bench = Bench::new(6.0);
    // Several after one flag, the flag again, and a file.
    std::fs::write(bench.root.path().join("links.txt"), "http://a/3  # mine\nhttp://a/fail\n").unwrap();
    let all = words("--urls http://a/1 http://a/2 --urls http://a/1 --url-file links.txt --duration 2.5");
    let text = printed(&bench.recipe(&all), 3);
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("http://a/")).collect();
    let status = |row: &&str| row.split_whitespace().nth(1).unwrap_or_default().to_owned();
    assert_eq!(rows.iter().map(status).collect::<Vec<_>>(), ["done", "done", "cached", "done", "failed"], "{text}");
    assert!(rows[4].contains("no such recording"), "{text}");
    // Each link was cut to the requested length; the three are the same sound.
    assert_eq!(bench.recordings().len(), 3);
    let report: serde_json::Value =
        serde_json::from_str(&files::read_text(&bench.root.path().join("logs/anna/dataset.json")).unwrap()).unwrap();
    assert_eq!(report["totals"]["seconds"].as_f64(), Some(7.5), "{report}");
    assert_eq!(report["duplicates"][0].as_array().map(Vec::len), Some(3));
    assert!(text.contains("there are") && text.contains("but at least 100 are recommended"), "{text}");
    // Nothing is fetched twice; the user's limit refuses the data, but the report is still written.
    let calls = bench.fake.calls().len();
    let refused = printed(&bench.recipe(&words("--urls http://a/1 --duration 2.5 --refuse-below 300")), 1);
    assert!(refused.contains("data.empty") && refused.contains("the data set is refused"), "{refused}");
    assert_eq!(bench.fake.calls().len(), calls);
    let report = files::read_text(&bench.root.path().join("logs/anna/dataset.json")).unwrap();
    assert!(report.contains("\"refuse_below_seconds\""), "{report}");
    // If every link failed the recipe fails, whatever earlier calls fetched.
    assert!(printed(&bench.recipe(&words("--urls http://a/fail nonsense")), 1).contains("refused: it is not an http"));
}

#[test]
fn an_empty_list_flag_and_a_link_like_a_flag_are_wrong_use() {
    let bench = Bench::new(1.0);
    printed(&bench.recipe(&words("--urls")), 2);
    let text = printed(&bench.recipe(&words("--urls http://a/1 --exec=x")), 2);
    assert!(text.contains("--exec"), "{text}");
    assert!(bench.fake.calls().is_empty());
}

// --- Ends -----------------------------------------------------------------------------------------------------------

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

fn pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
}

/// Whether a process runs; a zombie does not.
fn runs(pid: u32) -> bool {
    if cfg!(target_os = "linux") {
        // "pid (name) state ..."
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        return stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']));
    }
    let state = std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    !state.stdout.is_empty() && !state.stdout.starts_with(b"Z")
}

#[test]
fn cancelling_ends_the_child_and_its_children() {
    let bench = Bench::new(1.0);
    let task = Task::new(2, |_| {});
    let hanging = bench.fake.file("hanging");
    let error = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.try_get(&task, &["http://a/hang"], &Limits::default()).unwrap_err());
        wait_for("the child", || pid(&hanging).is_some());
        task.cancel_flag().store(true, Ordering::Relaxed);
        run.join().unwrap()
    });
    assert_eq!(error.kind(), Kind::Cancelled);
    wait_for("the end of both", || {
        ["leader", "hanging"].iter().all(|name| !runs(pid(&bench.fake.file(name)).unwrap()))
    });
    assert!(bench.fake.file("asked").exists(), "it was killed without a signal first");
    // The voice is free again.
    assert_eq!(bench.get(&["http://a/1"], &Limits::default())[0].status, Status::Done);
}

#[test]
fn a_link_that_takes_too_long_and_ignores_signals_is_killed() {
    let bench = Bench::new(1.0);
    let rows =
        bench.get(&["http://a/stubborn/hang", "http://a/1"], &Limits { timeout_seconds: 1.0, ..Limits::default() });
    assert_eq!(rows[0].reason.as_deref(), Some("it took longer than 1 s"));
    assert_eq!(rows[1].status, Status::Done);
    wait_for("the end", || !runs(pid(&bench.fake.file("hanging")).unwrap()));
}

#[test]
fn an_orphan_of_a_killed_run_prevents_a_second_child() {
    let bench = Bench::new(1.0);
    bench.get(&["http://a/fail"], &Limits::default());
    let scratch = files::list(&bench.root.path().join("data/anna/.downloads")).unwrap();
    let scratch = scratch.into_iter().find(|path| path.is_dir()).unwrap();
    // A surviving child has the locked file as its standard error.
    let file = std::fs::File::options().append(true).open(scratch.join("err.txt")).unwrap();
    file.lock().unwrap();
    let mut orphan = std::process::Command::new("sleep").arg("1000").stderr(file).spawn().unwrap();
    let reason = |bench: &Bench| bench.get(&["http://a/fail"], &Limits::default())[0].reason.clone().unwrap();
    let first = reason(&bench);
    orphan.kill().unwrap();
    orphan.wait().unwrap();
    assert_eq!(first, "a yt-dlp of an earlier run is still fetching it");
    assert_ne!(reason(&bench), first);
}

#[test]
fn two_runs_for_a_voice_do_not_mix() {
    let bench = Bench::new(1.0);
    let _lock = files::Lock::acquire(&bench.root.path().join("data/anna/.downloads")).unwrap();
    assert_eq!(bench.try_get(&Task::silent(), &["http://a/1"], &Limits::default()).unwrap_err().kind(), Kind::Locked);
}

// --- Finding it -----------------------------------------------------------------------------------------------------

#[test]
fn the_first_yt_dlp_that_answers_is_taken() {
    let fake = Fake::with_yt_dlp(1.0);
    fake.program("uvx", "#!/bin/sh\necho 2026.02.02\n");
    fake.program("python3", "#!/bin/sh\necho 2026.03.03\n");
    assert_eq!(fake.tool().version(), "2026.01.01");
    fake.program("yt-dlp", "#!/bin/sh\necho 'ImportError: no module' >&2\nexit 1\n");
    assert_eq!(fake.tool().version(), "2026.02.02");
    assert!(fake.tool().shown().ends_with("bin/uvx yt-dlp"));
    fake.program("uvx", "#!/bin/sh\necho hello\n");
    assert_eq!(fake.tool().version(), "2026.03.03");
    assert!(fake.tool().shown().ends_with("bin/python3 -m yt_dlp"));
    assert!(!fake.tool().has_ffmpeg());
    fake.program("python3", "#!/bin/sh\nexit 1\n");
    let error = Tool::find_on(&Task::silent(), &fake.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("pipx install") && hint.contains("yt-dlp: ImportError: no module"), "{hint}");
}

#[test]
fn without_yt_dlp_the_error_says_how_to_get_it() {
    let fake = Fake::new(1.0);
    let error = Tool::find_on(&Task::silent(), &fake.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().contains("uv tool install"));
}

#[test]
fn a_program_that_cannot_be_started_is_reported() {
    let fake = Fake::new(1.0);
    fake.program("yt-dlp", "#!/no/such/interpreter\n");
    let error = Tool::find_on(&Task::silent(), &fake.path()).unwrap_err();
    assert!(error.hint_text().unwrap().contains("it does not start"), "{:?}", error.hint_text());
}

#[test]
fn a_file_of_links_may_have_comments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("links.txt");
    std::fs::write(&path, "\u{feff}# mine\r\nhttp://a/1\r\n\r\n  http://a/2#part  # the second\n#http://a/3\n")
        .unwrap();
    assert_eq!(read_links(&path).unwrap(), ["http://a/1", "http://a/2#part"]);
    // As Notepad, an editor of Chinese Windows, or an incomplete copy leaves it.
    let text = "# 我的链接\r\nhttp://a/1\r\nhttp://a/2#part  # 第二\r\n";
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in [utf16, encoding_rs::GBK.encode(text).0.into_owned(), [text.as_bytes(), &[0; 64]].concat()] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read_links(&path).unwrap(), ["http://a/1", "http://a/2#part"]);
    }
    std::fs::write(&path, "# nothing\n").unwrap();
    assert_eq!(read_links(&path).unwrap_err().kind(), Kind::DataEmpty);
    std::fs::write(&path, (0..=255).collect::<Vec<u8>>()).unwrap();
    assert_eq!(read_links(&path).unwrap_err().kind(), Kind::DataDamaged);
    assert_eq!(read_links(&folder.path().join("none")).unwrap_err().kind(), Kind::NotFound);
}

// --- The real one ---------------------------------------------------------------------------------------------------

/// Serves a file under any name, ranges included, until the end of the test program.
struct Server {
    body: Vec<u8>,
    /// Where the answers began, in bytes.
    begins: Mutex<Vec<usize>>,
    /// Whether it disconnects after half of the promised bytes.
    is_broken: AtomicBool,
}

impl Server {
    /// The server and its port.
    fn start(body: Vec<u8>) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Arc::new(Self { body, begins: Mutex::default(), is_broken: AtomicBool::new(false) });
        let answering = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = answering.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        (server, port)
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        let mut byte = [0u8];
        while !request.ends_with(b"\r\n\r\n") && request.len() < 1 << 16 && stream.read(&mut byte)? == 1 {
            request.push(byte[0]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        if path.contains("missing") {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let length = self.body.len();
        let range =
            request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let begin =
            range.and_then(|range| range.split('-').next()?.parse::<usize>().ok()).filter(|begin| *begin < length);
        self.begins.lock().unwrap().push(begin.unwrap_or(0));
        let part = &self.body[begin.unwrap_or(0)..];
        let kind = match path.rsplit_once('.') {
            Some((_, "wav")) => "audio/wav",
            Some((_, "html")) => "text/html; charset=utf-8",
            _ => "audio/mp4",
        };
        let (status, extra) = match begin {
            Some(begin) => ("206 Partial Content", format!("Content-Range: bytes {begin}-{}/{length}\r\n", length - 1)),
            None => ("200 OK", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{extra}Accept-Ranges: bytes\r\nConnection: close\r\n\r\n",
            part.len()
        );
        stream.write_all(head.as_bytes())?;
        if !request.starts_with("HEAD") {
            let is_broken = self.is_broken.load(Ordering::Relaxed);
            // Half of the file and no more, for every request.
            let end = if is_broken { (length / 2).saturating_sub(begin.unwrap_or(0)) } else { part.len() };
            stream.write_all(&part[..end])?;
        }
        Ok(())
    }
}

#[test]
fn the_real_yt_dlp_fetches_from_a_server_end_to_end() {
    let task = Task::silent();
    let tool = match Tool::find(&task) {
        Ok(tool) => tool,
        Err(e) => return println!("skipped: {e}"),
    };
    println!("{} {}, ffmpeg: {}", tool.shown(), tool.version(), tool.has_ffmpeg());
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("sound.wav");
    sound(&path, 4.0);
    let (server, port) = Server::start(std::fs::read(&path).unwrap());
    let links: Vec<String> =
        ["My%20Song.wav", "missing.wav"].iter().map(|name| format!("http://127.0.0.1:{port}/{name}")).collect();
    let workspace = Workspace::new(root.path());
    let get = |duration_seconds| {
        let limits = Limits { duration_seconds, ..Limits::default() };
        download(&task, &workspace, "anna", &links, &limits, Some(&tool)).unwrap()
    };
    let rows = get(60.0);
    println!("{rows:#?}");
    assert_eq!((rows[0].status, rows[0].seconds), (Status::Done, Some(4.0)));
    assert_eq!(io::load(rows[0].path.as_ref().unwrap()).unwrap(), io::load(&path).unwrap());
    let reason = rows[1].reason.as_ref().unwrap();
    assert!(reason.contains("404"), "{reason}");
    let asked = server.begins.lock().unwrap().len();
    assert_eq!(get(60.0)[0].status, Status::Cached);
    assert_eq!(server.begins.lock().unwrap().len(), asked);
    let rows = get(2.0);
    println!("{rows:#?}");
    assert_eq!(rows[0].status, Status::Done);
    assert_eq!(rows[0].seconds, Some(2.0));
}

/// A page that describes a recording and its length, as sites do (schema.org), and the recording itself.
fn page_server(sound: Vec<u8>, seconds: u32) -> String {
    let (_, media) = Server::start(sound);
    let page = format!(
        "<!DOCTYPE html><html><head><title>A talk</title><script type=\"application/ld+json\">{{\"@context\": \"https://schema.org\", \
         \"@type\": \"VideoObject\", \"name\": \"A talk\", \"description\": \"d\", \"duration\": \"PT{seconds}S\", \"uploadDate\": \"2026-01-01\", \
         \"contentUrl\": \"http://127.0.0.1:{media}/talk.wav\"}}</script></head><body>a talk</body></html>"
    );
    let (_, port) = Server::start(page.into_bytes());
    format!("http://127.0.0.1:{port}/talk.html")
}

#[test]
fn the_real_yt_dlp_and_ffmpeg_fetch_only_the_beginning_of_longer_recordings() {
    let tool = match Tool::find(&Task::silent()) {
        Ok(tool) if tool.has_ffmpeg() => tool,
        Ok(_) => return println!("skipped: there is no ffmpeg"),
        Err(e) => return println!("skipped: {e}"),
    };
    println!("{} {}", tool.shown(), tool.version());
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("sound.wav");
    sound(&path, 30.0);
    let link = page_server(std::fs::read(&path).unwrap(), 30);
    let arguments = ["--urls", &link, "--duration", "5", "--f0-method", "none"].map(str::to_owned);
    let text = printed(&recipe(root.path(), &std::env::var_os("PATH").unwrap(), &arguments), 0);
    println!("{text}");
    let ledger = files::read_text(&root.path().join("data/anna/.downloads/links.json")).unwrap();
    let ledger: serde_json::Value = serde_json::from_str(&ledger).unwrap();
    let kept = &ledger["links"][files::digest(&link)];
    // Only --download-sections identifies it as a part: it is no longer than the limit.
    assert_eq!(kept["is_cut"], true, "{kept}");
    let seconds = kept["seconds"].as_f64().unwrap();
    assert!((4.9..=5.5).contains(&seconds), "{kept}");
    let fetched = io::load(&root.path().join("data/anna").join(kept["file"].as_str().unwrap())).unwrap();
    assert!((fetched.seconds() - seconds).abs() < 0.01);
    assert!(kept["file"].as_str().unwrap().starts_with("A_talk"), "{kept}");
    // ffmpeg's muxer signs its output, so ffmpeg fetched the part; the original has no such mark.
    let signature = |path: &Path| std::fs::read(path).unwrap().windows(4).any(|bytes| bytes == b"Lavf");
    assert!(
        signature(&root.path().join("data/anna").join(kept["file"].as_str().unwrap())) && !signature(&path),
        "{kept}"
    );
}

#[test]
fn the_real_yt_dlp_fetches_aac_that_is_decoded_without_its_lead() {
    let task = Task::silent();
    let Ok(tool) = Tool::find(&task) else { return println!("skipped: there is no yt-dlp") };
    let root = tempfile::tempdir().unwrap();
    let (wav, m4a) = (root.path().join("sound.wav"), root.path().join("film.m4a"));
    sound(&wav, 4.0);
    let made = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&wav)
        .args(["-c:a", "aac", "-movflags", "+faststart"])
        .arg(&m4a)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return println!("skipped: there is no ffmpeg to make an m4a");
    }
    let (_, port) = Server::start(std::fs::read(&m4a).unwrap());
    let workspace = Workspace::new(root.path());
    let links = [format!("http://127.0.0.1:{port}/film.m4a")];
    let rows = download(&task, &workspace, "anna", &links, &Limits::default(), Some(&tool)).unwrap();
    println!("{rows:?}");
    // The file itself, byte for byte: it was not encoded again.
    assert_eq!(std::fs::read(rows[0].path.as_ref().unwrap()).unwrap(), std::fs::read(&m4a).unwrap());
    assert_eq!(rows[0].seconds, Some(4.0));
}

#[test]
fn the_real_yt_dlp_resumes_an_interrupted_download() {
    let task = Task::silent();
    let Ok(tool) = Tool::find(&task) else { return println!("skipped: there is no yt-dlp") };
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("sound.wav");
    sound(&path, 30.0);
    let (server, port) = Server::start(std::fs::read(&path).unwrap());
    let workspace = Workspace::new(root.path());
    let links = [format!("http://127.0.0.1:{port}/long.wav")];
    let get = || download(&task, &workspace, "anna", &links, &Limits::default(), Some(&tool)).unwrap().remove(0);
    server.is_broken.store(true, Ordering::Relaxed);
    println!("{:?}", get().reason.unwrap());
    server.is_broken.store(false, Ordering::Relaxed);
    server.begins.lock().unwrap().clear();
    let row = get();
    assert_eq!(std::fs::read(row.path.unwrap()).unwrap(), server.body);
    let begins = server.begins.lock().unwrap().clone();
    println!("{begins:?} of {}", server.body.len());
    // Reads the beginning to detect the format; then it continues after the received bytes. The bytes that yt-dlp had not written yet
    // when the connection broke are requested again: at most a block, which it never makes larger than 4 MiB and was 541 bytes when this was written.
    let had = server.body.len() / 2;
    assert!(begins.last().is_some_and(|begin| (had / 2..=had).contains(begin)), "{begins:?} of {had}");
}
