//! Fetching pretrained files from a server that fails, lies and hangs; and what is on the disk afterwards.

#[path = "support/http.rs"]
#[allow(dead_code, reason = "tests/cli.rs uses other parts of it")]
mod http;

use http::{Request, Server, honest, piece, reply, whole};
use rvc_run::assets::catalog::Catalog;
use rvc_run::assets::fetch::{Fetched, Options, fetch};
use rvc_run::assets::verify::{State, verify};
use rvc_run::assets::{Store, needed};
use rvc_run::config::Config;
use rvc_run::files::{self, Workspace};
use rvc_run::task::{Event, Task};
use rvc_run::{Error, Kind};
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const NAME: &str = "rmvpe.pt";
const PATH: &str = "/someone/models/resolve/0123/rmvpe.pt";

/// Longer than the sockets' buffers, so that a server can stop in the middle.
const SIZE: usize = 3_000_000;

fn content() -> Vec<u8> {
    (0..SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A catalog with one file of `content`, and one of the same content that has no digest in it.
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

    /// The file is there with its content, and nothing of the download is left.
    fn assert_whole(&self) {
        assert!(files::read(&self.path(NAME)).unwrap() == content(), "the content is another");
        assert_eq!(self.left(), [".lock", NAME]);
    }

    fn left(&self) -> Vec<String> {
        let paths = files::list(&self.folder.path().join("assets")).unwrap();
        paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }
}

/// A server whose first answer is `first`, and which does all right afterwards.
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
    assert_eq!(place.fetch().unwrap().bytes, 0, "it is there");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
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
fn a_server_that_breaks_off_again_and_again_gets_there_as_long_as_bytes_come() {
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
    assert_eq!(server.requests().len(), 8, "more than the 3 attempts that bring nothing");
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
fn a_piece_of_another_file_is_not_added() {
    // This server ignores If-Range: it sends the rest of the file that it has now.
    let server = Server::new(|request, stream| match request.number {
        0 => whole(stream, &vec![7; SIZE / 2], SIZE, "\"old\""),
        1 => piece(stream, &content(), SIZE / 2, SIZE / 2, "\"a\""),
        _ => honest(request, stream, &content(), "\"a\""),
    });
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    assert_eq!(server.requests()[2].from(), None, "everything is asked for again");
}

#[test]
fn a_server_that_answers_a_range_with_everything_is_believed() {
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
fn a_piece_that_begins_elsewhere_is_not_added() {
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
fn a_piece_that_lies_about_where_it_begins_is_found_by_the_digest() {
    let server = Server::new(|request, stream| match request.number {
        0 => half(stream, "\"a\""),
        // Other bytes of the right count.
        _ => piece(stream, &vec![7; SIZE], SIZE / 2, SIZE / 2, "\"a\""),
    });
    let place = Place::new(&server.url());
    assert_eq!(place.fetch().unwrap_err().kind(), Kind::AssetDamaged);
    assert_eq!(place.left(), [".lock"]);
}

#[test]
fn a_wrong_length_is_refused_before_a_byte_is_kept() {
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
fn other_content_never_gets_the_name() {
    let server = Server::new(|_, stream| whole(stream, &vec![7; SIZE], SIZE, "\"a\""));
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::AssetDamaged);
    let (expected, got) = (files::digest(content()), files::digest(vec![7; SIZE]));
    assert_eq!(error.message(), format!("{NAME} came with SHA-256 {got}, but it must be {expected}"));
    assert_eq!(place.left(), [".lock"]);
}

#[test]
fn a_missing_file_is_told_with_its_address_and_not_asked_for_again() {
    let server = Server::new(|_, stream| reply(stream, "404 Not Found", &[("Content-Length", "0")], b""));
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(error.message().contains(&format!("{}{PATH} answers 404", server.url())), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_in_trouble_is_asked_again() {
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
fn a_server_that_stays_in_trouble_is_given_up() {
    let server = Server::new(|_, stream| reply(stream, "500 Internal Server Error", &[("Content-Length", "0")], b""));
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert!(error.message().ends_with("answers 500"), "{error}");
    assert_eq!(server.requests().len(), 3, "as many as options say");
}

#[test]
fn a_server_that_hangs_is_given_up_and_what_came_is_kept() {
    let server = Server::new(|request, stream| {
        if request.number == 0 {
            half(stream, "\"a\"");
        }
        // Until the client goes away.
        let _ = std::io::Read::read(stream, &mut [0; 1]);
    });
    let place = Place::new(&server.url());
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(error.hint_text().unwrap().starts_with("the same command goes on after the 1.5 MB in "), "{error:?}");
    assert_eq!(std::fs::metadata(place.path("rmvpe.pt.part")).unwrap().len(), SIZE as u64 / 2);
}

#[test]
fn a_server_that_drips_is_given_up() {
    let server = Server::new(|_, stream| {
        whole(stream, b"", SIZE, "\"a\"");
        while stream.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let mut place = Place::new(&server.url());
    place.options.attempts = 1;
    let error = place.fetch().unwrap_err();
    assert!(error.message().contains("hardly sends anything"), "{error}");
}

#[test]
fn redirects_are_followed_with_the_range() {
    let store = once(|_, stream| half(stream, "\"a\""));
    let target = format!("{}/elsewhere", store.url());
    let server = Server::new(move |_, stream| {
        reply(stream, "302 Found", &[("Location", &target), ("Content-Length", "0")], b"")
    });
    let place = Place::new(&server.url());
    place.fetch().unwrap();
    place.assert_whole();
    let ranges: Vec<_> = store.requests().iter().map(Request::from).collect();
    assert_eq!(ranges, [None, Some(SIZE / 2)]);
}

#[test]
fn mirrors_are_asked_in_order_instead_of_the_host() {
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
    assert_eq!(second.requests()[0].from(), None, "its ETag means nothing there");
}

#[test]
fn offline_asks_nobody() {
    let server = Server::honest(&content(), "\"a\"");
    let mut place = Place::new(&server.url());
    place.options.offline = true;
    let error = place.fetch().unwrap_err();
    assert_eq!(error.kind(), Kind::AssetMissing);
    assert!(error.message().contains("rmvpe.pt is not here"), "{error}");
    assert!(server.requests().is_empty());
    std::fs::create_dir_all(place.path("")).unwrap();
    std::fs::write(place.path(NAME), content()).unwrap();
    place.fetch().expect("what is there needs no network");
}

#[test]
fn a_cancelled_download_keeps_what_came_and_goes_on() {
    let server = Server::honest(&content(), "\"a\"");
    let mut place = Place::new(&server.url());
    // Ctrl-C once a third has come.
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
fn two_that_fetch_the_same_file_download_it_once() {
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
fn a_file_of_another_content_is_told_and_never_replaced() {
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
fn what_has_no_digest_is_fetched_only_when_told_to_and_remembered() {
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
fn verify_reads_what_is_there_and_names_both_digests() {
    let place = Place::new("");
    let names = [NAME.to_owned(), "spin".to_owned()];
    assert_eq!(verify(&place.store, &names, &place.task).unwrap(), [], "nothing is there");
    std::fs::create_dir_all(place.path("")).unwrap();
    std::fs::write(place.path(NAME), content()).unwrap();
    assert_eq!(verify(&place.store, &names, &place.task).unwrap()[0].state, State::Good);
    std::fs::write(place.path(NAME), "x").unwrap();
    let expected = State::Damaged { expected: files::digest(content()), got: files::digest("x") };
    assert_eq!(verify(&place.store, &names, &place.task).unwrap()[0].state, expected);
}

#[test]
fn a_full_disk_is_seen_before_the_download() {
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
fn all_names_are_looked_at_before_anything_is_fetched() {
    let server = Server::honest(&content(), "\"a\"");
    let place = Place::new(&server.url());
    let names = [NAME.to_owned(), "rmvpe.onnx".to_owned()];
    let error = fetch(&place.store, &names, &place.options, &place.task).unwrap_err();
    assert_eq!(error.kind(), Kind::ConfigValue);
    assert!(server.requests().is_empty());
    assert!(needed(&Config { f0_method: "rmvpe".into(), ..Config::default() }).contains(&NAME.to_owned()));
}
