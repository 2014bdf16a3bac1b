//! Fetching pretrained files from a server that fails, sends wrong data or hangs; and the files on disk afterwards.

use crate::support::http::{Request, Server, honest, piece, reply, whole};
use rvc_run::assets::catalog::Catalog;
use rvc_run::assets::fetch::{Fetched, Options, fetch};
use rvc_run::assets::verify::{State, verify};
use rvc_run::assets::{Store, needed};
use rvc_run::config::Config;
use rvc_run::config::choices::F0Method;
use rvc_run::files::{self, Workspace};
use rvc_run::task::{Event, Task};
use rvc_run::{Error, Kind};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const NAME: &str = "rmvpe.pt";
const PATH: &str = "/someone/models/resolve/0123/rmvpe.pt";

/// Longer than the sockets' buffers, so that a server can stop in the middle.
const SIZE: usize = 3_000_000;

fn content() -> Vec<u8> {
    (0..SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A catalog with one file of `content`, and one with the same content but no digest.
fn catalog(host: &str, content: &[u8]) -> Catalog {
    let json = format!(
        r#"{{"host": "{host}", "repositories": {{"r": {{"path": "someone/models", "revision": "0123"}}}}, "assets": [
            {{"name": "{NAME}", "purpose": "tests", "files": [
                {{"name": "", "source": {{"repository": "r", "path": "{NAME}", "bytes": {}, "sha256": "{}"}}}}]}},
            {{"name": "spin", "purpose": "tests", "files": [
                {{"name": "config.json", "source": {{"repository": "r", "path": "spin/config.json"}}}}]}}]}}"#,
        content.len(),
        files::digest(content),
    );
    Catalog::parse(&json).unwrap()
}

/// A workspace whose store knows the catalog above, and impatient options.
struct Place {
    folder: tempfile::TempDir,
    store: Store,
    options: Options,
    task: Task,
}

impl Place {
    fn new(host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path())).with_catalog(catalog(host, &content()));
        let options = Options {
            proxy: false,
            connect: Duration::from_secs(5),
            idle: Duration::from_millis(300),
            attempts: 3,
            pause: Duration::from_millis(1),
            ..Options::default()
        };
        Self { folder, store, options, task: Task::silent() }
    }

    fn fetch(&self) -> Result<Fetched, Error> {
        fetch(&self.store, &[NAME.to_owned()], &self.options, &self.task).map(|mut done| done.remove(0))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("assets").join(name)
    }

    /// The file is there with its content, and nothing of the download remains.
    fn assert_whole(&self) {
        assert!(files::read(&self.path(NAME)).unwrap() == content(), "the content differs");
        assert_eq!(self.left(), [".lock", NAME]);
    }

    fn left(&self) -> Vec<String> {
        let paths = files::list(&self.folder.path().join("assets")).unwrap();
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }
}

/// A server whose first answer is `first`; later answers are correct.
fn once(first: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Server {
    let content = content();
    Server::new(move |request, stream| match request.number {
        0 => first(request, stream),
        _ => honest(request, stream, &content, "\"a\""),
    })
}

fn half(stream: &mut TcpStream, etag: &str) {
    whole(stream, &content()[..SIZE / 2], SIZE, etag);
}

#[test]
fn a_file_is_fetched_from_its_revision_and_verified() {
    let server = Server::honest(&content(), "\"a\"");
    let place = Place::new(&server.url());
    let done = place.fetch().unwrap();
    assert_eq!((done.bytes, done.path), (SIZE as u64, place.path(NAME)));
    place.assert_whole();
    assert_eq!(server.requests()[0].path(), PATH);
    assert_eq!(place.fetch().unwrap().bytes, 0, "it is present");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_broken_download_resumes() {
    let server = once(|_, stream| half(stream, "\"a\""));
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    let requests = server.requests();
    assert_eq!(
        (requests.len(), requests[1].from(), requests[1].header("if-range")),
        (2, Some(SIZE / 2), Some("\"a\""))
    );
}

#[test]
fn a_download_that_breaks_off_often_succeeds_as_long_as_bytes_arrive() {
    const STEP: usize = SIZE / 7;
    let server = Server::new(|request, stream| {
        let (from, content) = (request.from().unwrap_or(0), content());
        let until = (from + STEP).min(SIZE);
        let range = format!("bytes {from}-{}/{SIZE}", SIZE - 1);
        let length = (SIZE - from).to_string();
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        let headers = [("Content-Length", length.as_str()), ("ETag", "\"a\""), ("Content-Range", range.as_str())];
        reply(stream, status, &headers, &content[from..until]);
    });
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!(server.requests().len(), 8, "more than the 3 attempts without bytes");
}

#[test]
fn without_a_strong_etag_a_broken_download_starts_again() {
    let server = once(|_, stream| half(stream, "W/\"a\""));
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!(server.requests()[1].from(), None);
}

#[test]
fn a_changed_etag_starts_again() {
    let server = once(|_, stream| whole(stream, &vec![7; SIZE / 2], SIZE, "\"old\""));
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!(server.requests()[1].header("if-range"), Some("\"old\""));
}

#[test]
fn a_range_of_another_file_is_not_appended() {
    // This server ignores If-Range: it sends the rest of the file that it has now.
    let server = Server::new(|request, stream| match request.number {
        0 => whole(stream, &vec![7; SIZE / 2], SIZE, "\"old\""),
        1 => piece(stream, &content(), SIZE / 2, SIZE / 2, "\"a\""),
        _ => honest(request, stream, &content(), "\"a\""),
    });
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!(server.requests()[2].from(), None, "everything is requested again");
}

#[test]
fn a_complete_answer_to_a_range_request_is_accepted() {
    let server = Server::new(|request, stream| match request.number {
        0 => half(stream, "\"a\""),
        _ => whole(stream, &content(), SIZE, "\"a\""),
    });
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_range_with_another_start_is_not_appended() {
    let server = Server::new(|request, stream| match request.number {
        0 => half(stream, "\"a\""),
        1 => piece(stream, &content(), SIZE / 3, SIZE / 3, "\"a\""),
        _ => honest(request, stream, &content(), "\"a\""),
    });
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
}

#[test]
fn a_range_with_a_wrong_start_is_found_by_the_digest() {
    let server = Server::new(|request, stream| match request.number {
        0 => half(stream, "\"a\""),
        // Other bytes, but the right number.
        _ => piece(stream, &vec![7; SIZE], SIZE / 2, SIZE / 2, "\"a\""),
    });
    let place = Place::new(&server.url());
    assert_eq!(place.fetch().unwrap_err().kind(), Kind::AssetDamaged);
    assert_eq!(place.left(), [".lock"]);
}

#[test]
fn a_wrong_length_is_refused_before_any_byte_is_kept() {
    for said in [SIZE - 1, SIZE + 1, usize::MAX / 4] {
        let server = Server::new(move |_, stream| whole(stream, &content(), said, "\"a\""));
        let place = Place::new(&server.url());
        let error = place.fetch().unwrap_err();
        assert_eq!(error.kind(), Kind::Network);
        assert!(error.message().contains(&format!("announces {said} bytes, but the file has {SIZE}")), "{error}");
        assert_eq!(place.left(), [".lock"]);
    }
}

#[test]
fn an_endless_body_is_cut_off_at_the_size_of_the_file() {
    let server = Server::new(|_, stream| {
        let content = content();
        reply(stream, "200 OK", &[("ETag", "\"a\"")], &content);
        while stream.write_all(&content).is_ok() {}
    });
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert!(error.message().contains(&format!("sends more than the {SIZE} bytes")), "{error}");
    assert_eq!(place.left(), [".lock"]);
}

#[test]
fn other_content_never_gets_the_files_name() {
    let server = Server::new(|_, stream| whole(stream, &vec![7; SIZE], SIZE, "\"a\""));
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::AssetDamaged);
    let (expected, got) = (files::digest(content()), files::digest(vec![7; SIZE]));
    assert_eq!(error.message(), format!("{NAME} arrived with SHA-256 {got}, but it must be {expected}"));
    assert_eq!(place.left(), [".lock"]);
}

#[test]
fn a_missing_file_is_reported_with_its_address_and_not_requested_again() {
    let server = Server::new(|_, stream| reply(stream, "404 Not Found", &[("Content-Length", "0")], b""));
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(error.message().contains(&format!("{}{PATH} answers 404", server.url())), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_error_is_retried() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        let server =
            once(move |_, stream| reply(stream, status, &[("Content-Length", "0"), ("Retry-After", "0")], b""));
        let place = Place::new(&server.url());
        place.fetch().unwrap();
        place.assert_whole();
        assert_eq!(server.requests().len(), 2, "{status}");
    }
}

#[test]
fn a_lasting_server_error_is_given_up() {
    let server = Server::new(|_, stream| reply(stream, "500 Internal Server Error", &[("Content-Length", "0")], b""));
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert!(error.message().ends_with("answers 500"), "{error}");
    assert_eq!(server.requests().len(), 3, "as many as the options allow");
}

#[test]
fn a_server_that_hangs_is_given_up_and_received_bytes_are_kept() {
    let server = Server::new(|request, stream| {
        if request.number == 0 {
            half(stream, "\"a\"");
        }
        // Until the client disconnects.
        let _ = std::io::Read::read(stream, &mut [0; 1]);
    });
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(error.hint_text().unwrap().starts_with("the same command resumes after the 1.5 MB in "), "{error:?}");
    assert_eq!(std::fs::metadata(place.path("rmvpe.pt.part")).unwrap().len(), SIZE as u64 / 2);
}

#[test]
fn a_very_slow_server_is_given_up() {
    let server = Server::new(|_, stream| {
        whole(stream, b"", SIZE, "\"a\"");
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let mut place = Place::new(&server.url());
    place.options.attempts = 1;
    let error = place.fetch().unwrap_err();
    assert!(error.message().contains("sends almost nothing"), "{error}");
}

#[test]
fn redirects_are_followed_with_the_range() {
    let store = once(|_, stream| half(stream, "\"a\""));
    let target = format!("{}/elsewhere", store.url());
    let server = Server::new(move |_, stream| {
        reply(stream, "302 Found", &[("Location", &target), ("Content-Length", "0")], b"");
    });
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    let ranges: Vec<_> = store.requests().iter().map(Request::from).collect();
    assert_eq!(ranges, [None, Some(SIZE / 2)]);
}

#[test]
fn mirrors_are_tried_in_order_instead_of_the_host() {
    let host = Server::honest(&content(), "\"a\"");
    let refusing = Server::new(|_, stream| reply(stream, "403 Forbidden", &[("Content-Length", "0")], b""));
    let wrong = Server::honest(&vec![7; SIZE], "\"a\"");
    let good = Server::honest(&content(), "\"a\"");
    let mut place = Place::new(&host.url());
    // Nothing listens on port 1.
    let dead = "http://127.0.0.1:1".to_owned();
    place.options.mirrors = vec![dead, refusing.url(), wrong.url(), good.url() + "/"];
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!([&host, &refusing, &wrong, &good].map(|server| server.requests().len()), [0, 1, 1, 1]);
    assert_eq!(good.requests()[0].path(), PATH);
}

#[test]
fn the_rest_is_not_taken_from_another_server() {
    let first = once(|_, stream| half(stream, "\"a\""));
    let place = Place::new("http://127.0.0.1:1");
    let mut broken = place.options.clone();
    (broken.mirrors, broken.attempts) = (vec![first.url()], 1);
    fetch(&place.store, &[NAME.to_owned()], &broken, &place.task).unwrap_err();
    let second = Server::honest(&content(), "\"a\"");
    let other = Options { mirrors: vec![second.url()], ..place.options.clone() };
    fetch(&place.store, &[NAME.to_owned()], &other, &place.task).unwrap();
    place.assert_whole();
    assert_eq!(second.requests()[0].from(), None, "its ETag is meaningless there");
}

#[test]
fn offline_sends_no_requests() {
    let server = Server::honest(&content(), "\"a\"");
    let mut place = Place::new(&server.url());
    place.options.offline = true;
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::AssetMissing);
    assert!(error.message().contains("rmvpe.pt is not here"), "{error}");
    assert!(server.requests().is_empty());
    std::fs::create_dir_all(place.path("")).unwrap();
    std::fs::write(place.path(NAME), content()).unwrap();
    place.fetch().expect("files that are present need no network");
}

#[test]
fn a_cancelled_download_keeps_its_bytes_and_resumes() {
    let server = Server::honest(&content(), "\"a\"");
    let mut place = Place::new(&server.url());
    // Ctrl-C after a third has arrived.
    let cancel: Arc<OnceLock<Arc<AtomicBool>>> = Arc::default();
    let flag = cancel.clone();
    place.task = Task::new(1, move |event| {
        if matches!(event, Event::Progress { done, .. } if *done > SIZE as u64 / 3) {
            flag.get().unwrap().store(true, Ordering::Relaxed);
        }
    });
    cancel.set(place.task.cancel_flag()).unwrap();
    assert_eq!(place.fetch().unwrap_err().kind(), Kind::Cancelled);
    let kept = std::fs::metadata(place.path("rmvpe.pt.part")).unwrap().len() as usize;
    assert!(kept > SIZE / 3 && kept < SIZE && !place.path(NAME).exists());
    place.task = Task::silent();
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!(server.requests()[1].from(), Some(kept));
}

#[test]
fn a_part_that_was_complete_when_the_process_was_killed_needs_no_request() {
    let server = Server::honest(&content(), "\"a\"");
    let place = Place::new(&server.url());
    std::fs::create_dir_all(place.path("")).unwrap();
    std::fs::write(place.path("rmvpe.pt.part"), content()).unwrap();
    std::fs::write(place.path("rmvpe.pt.part.json"), format!(r#"{{"url": "{}{PATH}"}}"#, server.url())).unwrap();
    place.fetch().unwrap();
    place.assert_whole();
    assert!(server.requests().is_empty());
}

#[test]
fn a_part_without_a_readable_note_is_not_trusted() {
    for note in ["", "not json", "[1]"] {
        let server = Server::honest(&content(), "\"a\"");
        let place = Place::new(&server.url());
        std::fs::create_dir_all(place.path("")).unwrap();
        std::fs::write(place.path("rmvpe.pt.part"), vec![7; 1000]).unwrap();
        std::fs::write(place.path("rmvpe.pt.part.json"), note).unwrap();
        place.fetch().unwrap();
        place.assert_whole();
    }
}

#[test]
fn two_processes_that_fetch_the_same_file_download_it_once() {
    let server = Server::honest(&content(), "\"a\"");
    let place = Arc::new(Place::new(&server.url()));
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| place.fetch().unwrap().bytes));
        let bytes: u64 = both.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(bytes, SIZE as u64);
    });
    place.assert_whole();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_file_with_other_content_is_reported_and_never_replaced() {
    let server = Server::honest(&content(), "\"a\"");
    let place = Place::new(&server.url());
    std::fs::create_dir_all(place.path("")).unwrap();
    std::fs::write(place.path(NAME), "a person's own").unwrap();
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::AssetDamaged);
    assert!(error.message().contains(&files::digest("a person's own")), "{error}");
    assert_eq!(files::read(&place.path(NAME)).unwrap(), b"a person's own");
    assert!(server.requests().is_empty());
}

#[test]
fn a_file_without_a_digest_is_fetched_only_on_request_and_remembered() {
    let server = Server::honest(b"{}", "\"a\"");
    let mut place = Place::new(&server.url());
    let names = ["spin".to_owned()];
    let error = fetch(&place.store, &names, &place.options, &place.task).unwrap_err();
    assert_eq!(error.kind(), Kind::AssetMissing);
    assert!(error.hint_text().unwrap().starts_with("--unverified"), "{error:?}");
    assert!(server.requests().is_empty());

    place.options.unverified = true;
    let done = fetch(&place.store, &names, &place.options, &place.task).unwrap();
    let file = place.path("spin/config.json");
    assert_eq!(done[0].unverified, [(file.clone(), files::digest("{}"))]);
    let state = || verify(&place.store, &names, &place.task).unwrap().remove(0).state;
    assert_eq!(state(), State::AsFetched);
    std::fs::write(&file, "{ }").unwrap();
    assert_eq!(state(), State::Damaged { expected: files::digest("{}"), got: files::digest("{ }") });
    std::fs::remove_file(place.path("spin/config.json.fetched.json")).unwrap();
    assert_eq!(state(), State::Unknown { got: files::digest("{ }") });
}

#[test]
fn verify_reads_existing_files_and_names_both_digests() {
    let place = Place::new("");
    let names = [NAME.to_owned(), "spin".to_owned()];
    assert_eq!(verify(&place.store, &names, &place.task).unwrap(), [], "no file is there");
    std::fs::create_dir_all(place.path("")).unwrap();
    std::fs::write(place.path(NAME), content()).unwrap();
    assert_eq!(verify(&place.store, &names, &place.task).unwrap()[0].state, State::Good);
    std::fs::write(place.path(NAME), "x").unwrap();
    let expected = State::Damaged { expected: files::digest(content()), got: files::digest("x") };
    assert_eq!(verify(&place.store, &names, &place.task).unwrap()[0].state, expected);
}

#[test]
fn a_full_disk_is_found_before_the_download() {
    let server = Server::honest(&content(), "\"a\"");
    let mut catalog = catalog(&server.url(), &content());
    let source = catalog.assets[0].files[0].source.as_mut().unwrap();
    source.bytes = Some(u64::MAX / 2);
    let mut place = Place::new("");
    place.store = place.store.with_catalog(catalog);
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::DiskFull);
    assert!(server.requests().is_empty());
}

#[test]
fn the_environment_names_mirrors_and_offline() {
    let options = |given: &'static [(&str, &str)]| {
        Options::with_environment(|name| {
            given.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    };
    assert!(options(&[]).mirrors.is_empty() && !options(&[]).offline);
    assert_eq!(options(&[("HF_ENDPOINT", "https://a")]).mirrors, ["https://a"]);
    let both = options(&[("HF_ENDPOINT", "https://a"), ("RVC_RUN_MIRROR", "https://b https://c")]);
    assert_eq!(both.mirrors, ["https://b", "https://c"]);
    assert!(options(&[("RVC_RUN_OFFLINE", "1")]).offline && !options(&[("RVC_RUN_OFFLINE", "0")]).offline);
}

#[test]
fn all_names_are_checked_before_anything_is_fetched() {
    let server = Server::honest(&content(), "\"a\"");
    let place = Place::new(&server.url());
    let names = [NAME.to_owned(), "rmvpe.onnx".to_owned()];
    let error = fetch(&place.store, &names, &place.options, &place.task).unwrap_err();
    assert_eq!(error.kind(), Kind::ConfigValue);
    assert!(server.requests().is_empty());
    assert!(needed(&Config { f0_method: F0Method::Rmvpe, ..Config::default() }).contains(&NAME.to_owned()));
}

// The program, with its own catalog: `rvc-run assets`.

struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rvc-run"));
    command.arg("assets").args(arguments).current_dir(folder).stdin(Stdio::null());
    for name in ["RVC_RUN_ASSETS", "RVC_RUN_MIRROR", "RVC_RUN_OFFLINE", "HF_ENDPOINT", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    for name in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    command.env("XDG_CACHE_HOME", folder.join("cache_home"));
    command
}

fn run(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn assets(folder: &Path, arguments: &[&str]) -> Ended {
    run(command(folder, arguments))
}

/// A folder with assets/, and the paths of the files of the asset spin in it.
fn workspace() -> (tempfile::TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let spin = folder.path().join("assets/spin");
    std::fs::create_dir(folder.path().join("assets")).unwrap();
    (folder, ["pytorch_model.bin", "config.json"].map(|name| spin.join(name)))
}

#[test]
fn list_shows_every_name_with_its_size_and_place() {
    let (folder, _) = workspace();
    std::fs::write(folder.path().join("assets/rmvpe.pt"), "x").unwrap();
    let listed = assets(folder.path(), &["list"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    let line = |name: &str| listed.out.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let words = |name: &str| line(name).split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    assert_eq!(words("rmvpe.pt"), "rmvpe.pt 181.2 MB assets/rmvpe.pt");
    assert_eq!(words("hubert_base.pt"), "hubert_base.pt 189.5 MB -");
    assert!(line("spin ").ends_with("(no published digest)") && line("crepe_full").ends_with("(by hand)"));
}

#[test]
fn where_prints_only_the_path() {
    let (folder, _) = workspace();
    std::fs::write(folder.path().join("assets/rmvpe.pt"), "x").unwrap();
    assert_eq!(assets(folder.path(), &["where", "rmvpe.pt"]).out, "assets/rmvpe.pt\n");
    assert_eq!(assets(folder.path(), &["where"]).out, "assets\n");
    let missing = assets(folder.path(), &["where", "fcpe.pt"]);
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert!(missing.err.contains("error[asset.missing]"), "{}", missing.err);
    let mistyped = assets(folder.path(), &["where", "rmvpe.pth"]);
    assert_eq!(mistyped.code, 2);
    assert!(mistyped.err.contains("did you mean \"rmvpe.pt\"?"), "{}", mistyped.err);
}

#[test]
fn where_skips_an_incomplete_folder() {
    let (folder, files) = workspace();
    std::fs::create_dir_all(files[0].parent().unwrap()).unwrap();
    std::fs::write(&files[0], "x").unwrap();
    let at = |given: &str| {
        let mut command = command(folder.path(), &["where", "spin"]);
        command.env("RVC_RUN_ASSETS", given);
        run(command)
    };
    let missing = at("shared");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert!(missing.err.contains("assets/spin is there without config.json"), "{}", missing.err);
    std::fs::create_dir_all(folder.path().join("shared/spin")).unwrap();
    for file in &files {
        std::fs::write(folder.path().join("shared/spin").join(file.file_name().unwrap()), "x").unwrap();
    }
    assert_eq!(at("shared").out, "shared/spin\n");
}

#[test]
fn fetch_without_names_fetches_the_files_of_the_flags() {
    let (folder, _) = workspace();
    for (flags, names) in [
        (vec![], ["hubert_base.pt, rmvpe.pt", "pretrained_v2/f0G40k.pth", "pretrained_v2/f0D40k.pth"]),
        (
            vec!["--sample-rate", "48000", "--rvc-version", "v1"],
            ["rmvpe.pt", "pretrained/f0G48k.pth", "pretrained/f0D48k.pth"],
        ),
        (vec!["--no-f0"], ["hubert_base.pt, pretrained_v2/", "pretrained_v2/G40k.pth", "pretrained_v2/D40k.pth"]),
    ] {
        let ended = assets(folder.path(), &[&["fetch", "--offline"], flags.as_slice()].concat());
        assert_eq!(ended.code, 1);
        for name in names {
            assert!(ended.err.contains(name), "{name}: {}", ended.err);
        }
    }
    let both = assets(folder.path(), &["fetch", "rmvpe.pt", "--no-f0"]);
    assert_eq!(both.code, 2, "names and flags contradict each other");
}

#[test]
fn content_that_differs_from_the_catalog_is_refused() {
    let (folder, _) = workspace();
    let server = Server::honest(b"not a network", "\"a\"");
    let ended = assets(folder.path(), &["fetch", "rmvpe.pt", "--mirror", &server.url()]);
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(ended.err.contains("announces 13 bytes, but the file has 181184272"), "{}", ended.err);
    // The size of this one is not published, its digest is.
    let ended = assets(folder.path(), &["fetch", "pretrained/G40k.pth", "--mirror", &server.url()]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("error[asset.damaged]") && ended.err.contains("e428573bda11"), "{}", ended.err);
    assert!(!folder.path().join("assets/pretrained/G40k.pth").exists());
}

#[test]
fn an_invalid_mirror_address_is_wrong_use() {
    for mirror in ["mirror.example", "file:///etc", "https://"] {
        let (folder, _) = workspace();
        let ended = assets(folder.path(), &["fetch", "rmvpe.pt", "--mirror", mirror]);
        assert_eq!(ended.code, 2, "{}", ended.err);
        assert!(ended.err.starts_with("error[usage]"), "{}", ended.err);
    }
}

#[test]
fn a_folder_is_fetched_whole_and_verify_sees_a_change() {
    let (folder, files) = workspace();
    let server = Server::honest(b"{}", "\"a\"");
    let fetched = assets(folder.path(), &["fetch", "spin", "--unverified", "--mirror", &server.url()]);
    assert_eq!(fetched.code, 0, "{}", fetched.err);
    assert_eq!(fetched.out, "spin: fetched: assets/spin\n");
    assert_eq!(fetched.err.matches("could not be verified").count(), 2, "{}", fetched.err);
    assert!(files.iter().all(|file| file.is_file()));
    let good = assets(folder.path(), &["verify"]);
    assert_eq!((good.code, good.out.matches("unchanged since it was fetched").count()), (0, 2), "{}", good.err);
    std::fs::write(&files[1], "{ }").unwrap();
    let damaged = assets(folder.path(), &["verify", "spin"]);
    assert_eq!(damaged.code, 1);
    assert!(damaged.out.contains("DAMAGED  assets/spin/config.json: SHA-256 is "), "{}", damaged.out);
}

#[test]
fn verify_names_the_missing_files_of_a_folder() {
    let (folder, files) = workspace();
    std::fs::create_dir_all(files[0].parent().unwrap()).unwrap();
    std::fs::write(&files[0], "x").unwrap();
    for names in [&["verify"][..], &["verify", "spin"]] {
        let ended = assets(folder.path(), names);
        assert_eq!(ended.code, 1, "{}", ended.err);
        assert!(ended.out.contains("unknown  assets/spin/pytorch_model.bin"), "{}", ended.out);
        assert!(ended.out.contains("MISSING  assets/spin/config.json"), "{}", ended.out);
        assert!(ended.err.contains("error[asset.missing]: incomplete: spin"), "{}", ended.err);
    }
    std::fs::create_dir(folder.path().join("assets/rmvpe.pt")).unwrap();
    assert!(assets(folder.path(), &["verify", "rmvpe.pt"]).out.contains("MISSING  assets/rmvpe.pt"));
    let ended = assets(folder.path(), &["verify", "contentvec"]);
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(
        ended.err.contains("error[asset.missing]: contentvec (or the file hubert_base.pt) was not found"),
        "{}",
        ended.err
    );
}

#[test]
fn files_fetched_to_dir_are_found_through_the_environment() {
    let (folder, _) = workspace();
    let server = Server::honest(b"{}", "\"a\"");
    let fetched =
        assets(folder.path(), &["fetch", "spin", "--unverified", "--dir", "shared", "--mirror", &server.url()]);
    assert_eq!((fetched.code, fetched.out.as_str()), (0, "spin: fetched: shared/spin\n"), "{}", fetched.err);
    assert_eq!(assets(folder.path(), &["where", "spin"]).code, 1);
    let mut command = command(folder.path(), &["where", "spin"]);
    command.env("RVC_RUN_ASSETS", "shared");
    assert_eq!(run(command).out, "shared/spin\n");
}

#[test]
fn a_mistyped_folder_in_the_environment_is_reported_by_every_command_and_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::honest(b"{}", "\"a\"");
    let url = server.url();
    for arguments in [
        &["list"][..],
        &["verify"],
        &["where"],
        &["where", "spin"],
        &["fetch", "spin", "--unverified", "--mirror", &url],
    ] {
        let mut command = command(folder.path(), arguments);
        command.env("RVC_RUN_ASSETS", "mistyped").env("HOME", folder.path().join("home"));
        let ended = run(command);
        assert!(
            ended.err.contains("warning: mistyped, from RVC_RUN_ASSETS, does not exist"),
            "{arguments:?}: {}",
            ended.err
        );
        assert!(!ended.out.contains("mistyped"), "{arguments:?}: {}", ended.out);
    }
    assert_eq!(server.requests().len(), 2, "spin was fetched");
    assert!(!folder.path().join("mistyped").exists());
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let (folder, files) = workspace();
    let proxy = Server::new(|request, stream| {
        if request.line.starts_with("CONNECT") {
            let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
            // The request itself, which this proxy answers for the host.
            let mut head = [0; 4096];
            let _ = std::io::Read::read(stream, &mut head);
        }
        whole(stream, b"{}", 2, "\"a\"");
    });
    let mut command = command(folder.path(), &["fetch", "spin", "--unverified", "--mirror", "http://models.invalid"]);
    command.env("HTTP_PROXY", proxy.url());
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(files.iter().all(|file| file.is_file()));
    assert!(proxy.requests().iter().all(|request| request.line.contains("models.invalid")), "{:?}", proxy.requests());
}

#[test]
fn a_socks_proxy_is_used() {
    let (folder, files) = workspace();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // RFC 1928: greeting, no authentication, CONNECT to a name, then the request itself.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut piece) = (stream.unwrap(), [0; 4096]);
            let _ = std::io::Read::read(&mut stream, &mut piece);
            let _ = stream.write_all(&[5, 0]);
            let n = std::io::Read::read(&mut stream, &mut piece).unwrap_or(0);
            assert!(piece[..n].windows(14).any(|name| name == b"models.invalid"), "{:?}", &piece[..n]);
            let _ = stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            let _ = std::io::Read::read(&mut stream, &mut piece);
            whole(&mut stream, b"{}", 2, "\"a\"");
        }
    });
    let mut command = command(folder.path(), &["fetch", "spin", "--unverified", "--mirror", "http://models.invalid"]);
    command.env("ALL_PROXY", format!("socks5h://{address}"));
    let ended = run(command);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(files.iter().all(|file| file.is_file()));
}

#[test]
fn an_unusable_proxy_is_wrong_use_and_nothing_is_sent() {
    let server = Server::honest(b"{}", "\"a\"");
    let url = server.url();
    for value in [
        "ftp://127.0.0.1:9",
        "127.0.0.1:9:zz",
        "127.0.0.1:zz",
        "http://127.0.0.1:99999",
        "http://",
        "http://anna:secret@:9",
        "ftp://anna:secret@127.0.0.1",
        "/a/path",
        " ",
    ] {
        let (folder, files) = workspace();
        let mut command = command(folder.path(), &["fetch", "spin", "--unverified", "--mirror", &url]);
        command.env("HTTPS_PROXY", value).env("HTTP_PROXY", &url);
        let ended = run(command);
        assert_eq!(ended.code, 2, "{value}: {}", ended.err);
        assert!(ended.err.starts_with("error[usage]: HTTPS_PROXY is \""), "{}", ended.err);
        assert!(ended.err.contains("socks5") && !ended.err.contains("secret"), "{}", ended.err);
        assert!(!files[0].exists());
    }
    assert!(server.requests().is_empty());
}

#[test]
fn no_proxy_and_empty_variables_disable_the_proxy() {
    let server = Server::honest(b"{}", "\"a\"");
    let url = server.url();
    for variables in
        [[("HTTP_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "127.0.0.1")], [("ALL_PROXY", ""), ("http_proxy", "")]]
    {
        let (folder, _) = workspace();
        let mut command = command(folder.path(), &["fetch", "spin", "--unverified", "--mirror", &url]);
        command.envs(variables);
        let ended = run(command);
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    assert_eq!(server.requests().len(), 4, "two files, twice, and no other server");
}

#[test]
fn a_killed_download_resumes() {
    let (folder, files) = workspace();
    let server = once(|_, stream| {
        half(stream, "\"a\"");
        // Until the client is killed.
        let _ = std::io::Read::read(stream, &mut [0; 1]);
    });
    let url = server.url();
    let arguments = ["fetch", "spin", "--unverified", "--mirror", url.as_str()];
    let mut child = command(folder.path(), &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let part = folder.path().join("assets/spin/pytorch_model.bin.part");
    let end = Instant::now() + Duration::from_mins(1);
    while std::fs::metadata(&part).map_or(0, |data| data.len()) < SIZE as u64 / 2 {
        assert!(Instant::now() < end, "half of the file never arrived");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let ended = run(command(folder.path(), &arguments));
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(std::fs::read(&files[0]).unwrap() == content(), "the content differs");
    assert_eq!(server.requests()[1].from(), Some(SIZE / 2));
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_with_130_and_says_how_to_continue() {
    let (folder, _) = workspace();
    let server = Server::new(|request, stream| {
        if request.number == 0 {
            return reply(stream, "503 Service Unavailable", &[("Content-Length", "0"), ("Retry-After", "60")], b"");
        }
        honest(request, stream, &content(), "\"a\"");
    });
    let url = server.url();
    let mut command = command(folder.path(), &["fetch", "spin", "--unverified", "--mirror", url.as_str()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while server.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the same command continues from here"));
}
