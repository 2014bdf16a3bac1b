//! Calls of a hundred dangerous functions in every form that a pickle can write them (reliability R9): never made.

use super::read_all;
use crate::support::pickle::{Pickle, checkpoint, stream};
use rvc_run::Kind;
use rvc_run::torchfile::{self, Plain};
use std::path::Path;

/// Functions that have been used in attacks or get round a list of forbidden ones (reliability 1.6): module and names.
const TARGETS: &[(&str, &str)] = &[
    ("os", "system popen execv execve execvp spawnl spawnv posix_spawn putenv remove"),
    ("posix", "system popen execv"),
    ("nt", "system popen execv"),
    ("subprocess", "Popen run call check_call check_output getoutput getstatusoutput"),
    ("builtins", "eval exec compile __import__ getattr setattr delattr open breakpoint map apply type globals vars"),
    ("__builtin__", "eval exec compile __import__ getattr setattr open map apply execfile"),
    ("runpy", "run_path run_module _run_code"),
    ("importlib", "import_module reload"),
    ("imp", "load_source load_module"),
    ("marshal", "loads load"),
    ("types", "FunctionType CodeType LambdaType MethodType"),
    ("ctypes", "CDLL WinDLL PyDLL"),
    ("pty", "spawn"),
    ("pydoc", "locate pipepager"),
    ("pkgutil", "resolve_name"),
    ("operator", "attrgetter methodcaller itemgetter"),
    ("functools", "partial reduce"),
    ("inspect", "getattr_static"),
    ("code", "InteractiveInterpreter"),
    ("cProfile", "run"),
    ("profile", "run"),
    ("timeit", "timeit"),
    ("bdb", "Bdb.run"),
    ("pdb", "run Pdb.run"),
    ("trace", "Trace.run"),
    ("doctest", "debug_script"),
    ("atexit", "register"),
    ("threading", "Thread Timer"),
    ("multiprocessing.util", "spawnv_passfds"),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ("uuid", "_get_command_stdout"),
    ("mailcap", "findmatch"),
    ("imaplib", "IMAP4_stream"),
    ("smtplib", "SMTP"),
    ("ftplib", "FTP"),
    ("socket", "create_connection socket"),
    ("http.client", "HTTPConnection"),
    ("urllib.request", "urlopen urlretrieve"),
    ("webbrowser", "open"),
    ("shutil", "rmtree move copyfile"),
    ("tempfile", "mkstemp"),
    ("tarfile", "open"),
    ("zipfile", "ZipFile"),
    ("zipimport", "zipimporter"),
    ("sqlite3", "connect"),
    ("shelve", "open"),
    ("dbm", "open"),
    ("pip", "main"),
    ("pip._internal", "main"),
    ("ensurepip", "bootstrap"),
    ("venv", "create"),
    ("idlelib.run", "Executive.runcode"),
    ("lib2to3.pgen2.pgen", "ParserGenerator.make_label"),
    ("lib2to3.pgen2.grammar", "Grammar.loads"),
    ("logging.config", "listen dictConfig"),
    ("site", "main"),
    ("sys", "settrace setprofile modules exit"),
    ("gc", "get_objects"),
    ("signal", "signal"),
    ("_pyrepl.pager", "pipe_pager"),
    ("_osx_support", "_read_output"),
    ("_aix_support", "_read_cmd_output"),
    ("torch", "load save"),
    ("torch.hub", "load"),
    ("torch.jit", "load"),
    ("torch.utils.data.datapipes.utils.decoder", "basichandlers"),
    ("torch.utils._config_module", "ConfigModule.load_config"),
    ("torch.fx._symbolic_trace", "wrap"),
    ("torch._inductor.codecache", "compile_file"),
    ("torch._dynamo.guards", "GuardBuilder.get"),
    ("torch.storage", "_load_from_bytes"),
    ("numpy", "load prod"),
    ("numpy.f2py.crackfortran", "getlincoef myeval"),
    ("numpy.testing._private.utils", "runstring"),
    ("pandas", "read_pickle eval"),
    ("joblib", "load"),
    ("dill", "loads"),
    ("cloudpickle", "loads"),
    ("pickle", "loads load"),
    ("_pickle", "loads"),
    ("zlib", "decompress"),
    ("base64", "b64decode"),
    ("fairseq.checkpoint_utils", "load_checkpoint_to_cpu"),
    ("omegaconf", "OmegaConf.create"),
    ("hydra.utils", "instantiate"),
];

/// The forms of a call that a pickle can write: name, and the opcodes that leave the result on the stack.
type Form = (&'static str, fn(Pickle, &str, &str, &str) -> Pickle);

const FORMS: &[Form] = &[
    ("REDUCE of a GLOBAL", |p, module, name, arg| args(p.global(module, name), arg).op("R")),
    ("REDUCE of a STACK_GLOBAL", |p, module, name, arg| args(p.text(module).text(name).op([0x93]), arg).op("R")),
    ("INST", |p, module, name, arg| p.op("(").text(arg).op(format!("i{module}\n{name}\n"))),
    ("OBJ", |p, module, name, arg| p.op("(").global(module, name).text(arg).op("o")),
    ("NEWOBJ", |p, module, name, arg| args(p.global(module, name), arg).op([0x81])),
    ("NEWOBJ_EX", |p, module, name, arg| args(p.global(module, name), arg).op("}").op([0x92])),
];

/// The forms in which the call is not made of a name and a text.
const ODD_FORMS: &[Form] = &[
    ("NEWOBJ_EX with names", |p, module, name, arg| {
        args(p.global(module, name), arg).op("}").text("shell").op([0x88]).op("s").op([0x92])
    }),
    ("BUILD of a name", |p, module, name, arg| p.global(module, name).op("}").text("__setstate__").text(arg).op("sb")),
    ("BUILD of an object", |p, module, name, arg| {
        args(p.global("argparse", "Namespace"), arg).op([0x81]).op("}").text("f").global(module, name).op("sb")
    }),
    ("EXT1", |p, module, _, arg| args(p.op([0x82, module.len() as u8]), arg).op("R")),
    ("EXT2", |p, module, _, arg| args(p.op([0x83, module.len() as u8, 1]), arg).op("R")),
    ("EXT4", |p, module, _, arg| args(p.op([0x84, module.len() as u8, 1, 0, 0]), arg).op("R")),
    ("PERSID", |p, module, name, _| p.op(format!("P{module}.{name}\n"))),
    ("BINPERSID", |p, module, name, arg| args(p.global(module, name), arg).op("RQ")),
    ("a call of a call", |p, module, name, arg| args(args(p.global(module, name), arg).op("R"), arg).op("R")),
];

fn args(p: Pickle, arg: &str) -> Pickle {
    p.marked("t", |p| p.text(arg))
}

/// {"model": {"w": <body>}}.
fn as_weight(body: impl FnOnce(Pickle) -> Pickle) -> Vec<u8> {
    body(Pickle::new(4).op("}").text("model").op("}").text("w")).op("ss").stop()
}

/// {"model": {"w": a tensor whose storage is <body>}}.
fn as_storage(body: impl FnOnce(Pickle) -> Pickle) -> Vec<u8> {
    as_weight(|p| p.view(body, 0, &[1], &[1]))
}

fn targets() -> impl Iterator<Item = (&'static str, &'static str)> {
    TARGETS.iter().flat_map(|(module, names)| names.split(' ').map(|name| (*module, name)))
}

/// Runs `f` on a file of these bytes in a folder with nothing else, and fails if there is anything else afterwards.
fn with_file<T>(bytes: &[u8], f: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    std::fs::write(&path, bytes).unwrap();
    let value = f(&path);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a canary was left");
    value
}

/// What would leave a canary beside the file, if it were called.
fn canary(folder: &Path) -> String {
    format!("touch {}/CANARY", folder.display())
}

#[test]
fn there_are_a_hundred_targets() {
    assert!(targets().count() >= 100, "{}", targets().count());
}

#[test]
fn no_form_of_a_call_is_made_and_its_parts_stay_data() {
    for (module, name) in targets() {
        for (form, body) in FORMS {
            let label = format!("{form}: {module}.{name}");
            with_file(b"", |path| {
                let arg = canary(path.parent().unwrap());
                std::fs::write(path, checkpoint(&as_weight(|p| body(p, module, name, &arg)), &[])).unwrap();
                let file = torchfile::read(path).unwrap_or_else(|e| panic!("{label}: {e}"));
                let full = format!("{module}.{name}");
                assert_eq!(file.value(&["model", "w"]), Some(Plain::Object(&full)), "{label}");
                assert_eq!(file.text(&["model", "w", "__args__", "0"]), Some(arg.as_str()), "{label}");
                let error = file.tensor("model.w").unwrap_err();
                assert!(error.message().contains(&full) && error.message().contains("never run"), "{label}: {error}");
                let error = file.state_dict("model").unwrap_err();
                assert_eq!(error.kind(), Kind::CheckpointDamaged, "{label}: {error}");
                assert!(error.message().contains(&full), "{label}: {error}");
            });
        }
    }
}

#[test]
fn odd_forms_of_a_call_are_inert_or_refused() {
    for (module, name) in targets() {
        for (form, body) in ODD_FORMS {
            with_file(b"", |path| {
                let arg = canary(path.parent().unwrap());
                std::fs::write(path, checkpoint(&as_weight(|p| body(p, module, name, &arg)), &[])).unwrap();
                let file = torchfile::read(path).unwrap_or_else(|e| panic!("{form} {module}.{name}: {e}"));
                assert!(matches!(file.value(&["model", "w"]), Some(Plain::Object(_))), "{form} {module}.{name}");
                assert!(file.tensor("model.w").is_err(), "{form} {module}.{name}");
                assert!(read_all(path).is_ok(), "{form} {module}.{name}");
            });
        }
    }
}

#[test]
fn a_call_in_the_place_of_a_storage_is_named_by_the_error() {
    for (module, name) in targets() {
        for (form, body) in FORMS {
            let label = format!("{form}: {module}.{name}");
            let bytes = checkpoint(&as_storage(|p| body(p, module, name, "touch CANARY_sweep")), &[("0", &[0; 4])]);
            with_file(&bytes, |path| {
                let file = torchfile::read(path).unwrap_or_else(|e| panic!("{label}: {e}"));
                assert_eq!(file.names(), ["model.w"], "{label}");
                for error in [file.tensor("model.w").unwrap_err(), file.state_dict("model").unwrap_err()] {
                    assert!(error.message().contains(&format!("{module}.{name}")), "{label}: {error}");
                }
            });
        }
    }
    assert!(!Path::new("CANARY_sweep").exists());
}

#[test]
fn a_call_in_a_stream_is_no_more_made_than_in_a_zip() {
    for (module, name) in targets() {
        for (form, body) in FORMS.iter().chain(ODD_FORMS) {
            let bytes = stream(&as_weight(|p| body(p, module, name, "touch CANARY_stream")), &[]);
            with_file(&bytes, |path| {
                let file = torchfile::read(path).unwrap_or_else(|e| panic!("{form} {module}.{name}: {e}"));
                assert!(file.names().is_empty() && file.tensor("model.w").is_err(), "{form} {module}.{name}");
            });
        }
    }
    assert!(!Path::new("CANARY_stream").exists());
}
