//! The pickle machine: every opcode and every protocol, and the tricks that confuse parsers.

use super::checkpoint as golden;
use super::hostile::assert_harmless;
use crate::support::pickle::{Pickle, checkpoint};
use rvc_run::torchfile::{self, Plain, TorchFile};
use rvc_run::{Kind, Result};

/// Opens a checkpoint whose pickle is these bytes.
fn open(pickle: &[u8]) -> Result<TorchFile> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.pth");
    std::fs::write(&path, checkpoint(pickle, &[("0", &[0; 16])])).unwrap();
    torchfile::read(&path)
}

/// The value of a pickle that begins with PROTO 5.
fn value_of(opcodes: impl AsRef<[u8]>) -> String {
    let file = open(&Pickle::new(5).op(opcodes).stop()).unwrap_or_else(|e| panic!("{e}"));
    everything(&file, &[])
}

/// A value and all below it as text.
fn everything(file: &TorchFile, path: &[&str]) -> String {
    // A class without attributes holds nothing.
    let keys = || file.entries(path).unwrap_or_default();
    let below = |key: &String| everything(file, &[path, &[key.as_str()]].concat());
    let items = || keys().iter().map(below).collect::<Vec<_>>().join(", ");
    let pairs = || keys().iter().map(|k| format!("{k}: {}", below(k))).collect::<Vec<_>>().join(", ");
    match file.value(path).unwrap_or_else(|| panic!("nothing at {path:?}")) {
        Plain::List(_) => format!("[{}]", items()),
        Plain::Tuple(_) => format!("({})", items()),
        Plain::Set(_) => format!("set({})", items()),
        Plain::Dict(_) => format!("{{{}}}", pairs()),
        Plain::Object(class) => format!("<{class} {}>", pairs()),
        Plain::Text(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn what_python_pickles_is_the_same_in_every_protocol() {
    const EVERYTHING: [(&str, &str); 14] = [
        ("text", r#""größe\n'\"""#),
        ("bytes", "Bytes([0, 255])"),
        (
            "ints",
            "[Int(0), Int(-1), Int(255), Int(65536), Int(-2147483648), Int(2147483648), Int(9223372036854775807), Int(-9223372036854775808)]",
        ),
        ("big", "Big(1267650600228229401496703205376)"),
        ("minus", "Big(-1267650600228229401496703205376)"),
        ("floats", "(Float(0.5), Float(-1e-300), Float(inf))"),
        ("flags", "[None, Bool(true), Bool(false)]"),
        ("set", "set(Int(3))"),
        ("frozen", "set(Int(4))"),
        ("bytearray", "Bytes([97, 98])"),
        ("empty", r#"[Bytes([]), Bytes([]), set(), {}, ""]"#),
        ("one", r#"["shared"]"#),
        ("two", r#"["shared"]"#),
        ("nested", r#"{a: [{b: ()}], 7: "seven", #: "pair"}"#),
    ];
    for protocol in 0..=5 {
        let path = format!("{}/tests/golden/pickles/protocol_{protocol}.pkl", env!("CARGO_MANIFEST_DIR"));
        let pickle = std::fs::read(path).unwrap();
        let file = open(&pickle).unwrap();
        assert_eq!(file.entries(&[]).unwrap().len(), EVERYTHING.len(), "protocol {protocol}");
        for (key, expected) in EVERYTHING {
            // A tuple as a key has no text; its number differs between protocols.
            let actual = everything(&file, &[key]);
            let numbered = actual.find('#').map(|at| at + 1..at + 1 + actual[at + 1..].find(':').unwrap());
            let actual = numbered.map_or(actual.clone(), |n| format!("{}{}", &actual[..n.start], &actual[n.end..]));
            assert_eq!(actual, expected, "protocol {protocol}: {key}");
        }
    }
}

#[test]
fn every_opcode_does_what_python_does() {
    let cases: &[(&[u8], &str)] = &[
        // Numbers.
        (b"I42\n", "Int(42)"),
        (b"I00\n", "Bool(false)"),
        (b"I01\n", "Bool(true)"),
        (b"L-5L\n", "Int(-5)"),
        (b"L170141183460469231731687303715884105727L\n", "Big(170141183460469231731687303715884105727)"),
        (b"L1701411834604692317316873037158841057270L\n", "<builtins.int >"),
        (b"F-2.5\n", "Float(-2.5)"),
        (b"J\xff\xff\xff\xff", "Int(-1)"),
        (b"K\xff", "Int(255)"),
        (b"M\xff\xff", "Int(65535)"),
        (b"\x8a\x00", "Int(0)"),
        (b"\x8a\x01\xff", "Int(-1)"),
        (b"\x8b\x02\0\0\0\xff\x7f", "Int(32767)"),
        (b"\x8a\x119999999999999999\x01", "<builtins.int >"),
        (b"G\x3f\xf8\0\0\0\0\0\0", "Float(1.5)"),
        (b"N", "None"),
        (b"\x88", "Bool(true)"),
        (b"\x89", "Bool(false)"),
        // Texts and bytes.
        (b"S'a\\'b\\x41\\n\\101'\n", "\"a'bA\\nA\""),
        (b"S\"q\"\n", "\"q\""),
        (b"Va\\u00e9\xe9\n", "\"aéé\""),
        (b"V\\U0001f600\n", "\"\u{1f600}\""),
        (b"T\x02\0\0\0hi", "\"hi\""),
        (b"U\x02hi", "\"hi\""),
        (b"U\x02\xff\xfe", "Bytes([255, 254])"),
        (b"X\x02\0\0\0hi", "\"hi\""),
        (b"\x8c\x02hi", "\"hi\""),
        (b"\x8d\x02\0\0\0\0\0\0\0hi", "\"hi\""),
        (b"C\x02hi", "Bytes([104, 105])"),
        (b"B\x02\0\0\0hi", "Bytes([104, 105])"),
        (b"\x8e\x02\0\0\0\0\0\0\0hi", "Bytes([104, 105])"),
        (b"\x96\x02\0\0\0\0\0\0\0hi", "Bytes([104, 105])"),
        // Containers.
        (b"]", "[]"),
        (b"}", "{}"),
        (b")", "()"),
        (b"\x8f", "set()"),
        (b"(K\x01K\x02l", "[Int(1), Int(2)]"),
        (b"(K\x01K\x02t", "(Int(1), Int(2))"),
        (b"(U\x01aK\x02d", "{a: Int(2)}"),
        (b"K\x01\x85", "(Int(1))"),
        (b"K\x01K\x02\x86", "(Int(1), Int(2))"),
        (b"K\x01K\x02K\x03\x87", "(Int(1), Int(2), Int(3))"),
        (b"]K\x01a", "[Int(1)]"),
        (b"](K\x01K\x02e", "[Int(1), Int(2)]"),
        (b"}U\x01aK\x01s", "{a: Int(1)}"),
        (b"}(U\x01aK\x01U\x01bK\x02u", "{a: Int(1), b: Int(2)}"),
        (b"}(U\x01aK\x01U\x01aK\x02u", "{a: Int(2)}"),
        (b"\x8f(K\x01\x90", "set(Int(1))"),
        (b"(K\x01\x91", "set(Int(1))"),
        // Stack and memo.
        (b"K\x01K\x020", "Int(1)"),
        (b"K\x01(0", "Int(1)"),
        (b"K\x01(K\x02K\x031", "Int(1)"),
        (b"K\x012\x86", "(Int(1), Int(1))"),
        (b"K\x01p0\n0g0\n", "Int(1)"),
        (b"K\x01q\x050h\x05", "Int(1)"),
        (b"K\x01r\xff\xff\xff\xff0j\xff\xff\xff\xff", "Int(1)"),
        (b"K\x01\x940h\x00", "Int(1)"),
        // MEMOIZE counts what was kept, whatever the numbers were: the second one overwrites number 1.
        (b"K\x01q\x01K\x02\x94h\x01\x86", "(Int(2), Int(2))"),
        // Names and calls.
        (b"cm\nn\n", "<m.n >"),
        (b"U\x01mU\x01n\x93", "<m.n >"),
        (b"\x82\x07", "<copyreg.extension.7 >"),
        (b"\x83\x07\x01", "<copyreg.extension.263 >"),
        (b"\x84\x07\x01\0\0", "<copyreg.extension.263 >"),
        (b"cm\nn\nK\x01\x85R", "<m.n __args__: (Int(1))>"),
        (b"cm\nn\n)R", "<m.n >"),
        (b"cm\nn\n)\x81", "<m.n >"),
        (b"cm\nn\n)}\x92", "<m.n >"),
        (b"cm\nn\n)}U\x01kK\x01s\x92", "<m.n __args__: ((), {k: Int(1)})>"),
        (b"(cm\nn\nK\x01o", "<m.n __args__: (Int(1))>"),
        (b"(K\x01im\nn\n", "<m.n __args__: (Int(1))>"),
        (b"cm\nn\n)R}U\x01kK\x01sb", "<m.n k: Int(1)>"),
        (b"cm\nn\n)RK\x05b", "<m.n __state__: Int(5)>"),
        (b"cm\nn\n)R}U\x01kK\x01s}U\x01lK\x02s\x86b", "<m.n k: Int(1), l: Int(2)>"),
        (b"cm\nn\n)R(U\x01kK\x01u", "<m.n k: Int(1)>"),
        (b"cm\nn\n)R(K\x01e", "<m.n 0: Int(1)>"),
        (b"Pid\n", "<persistent.id __args__: (\"id\")>"),
        (b"U\x02idQ", "<persistent.id __args__: (\"id\")>"),
        // What a few constructors make.
        (b"ccollections\nOrderedDict\n)R", "{}"),
        (b"ccollections\nOrderedDict\n]](U\x01aK\x01ea\x85R", "{a: Int(1)}"),
        (b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RU\x01aK\x01s", "{a: Int(1)}"),
        (b"ctorch\nSize\n(K\x01K\x02t\x85R", "(Int(1), Int(2))"),
        (b"c__builtin__\nset\n](K\x01e\x85R", "set(Int(1))"),
        (b"c_codecs\nencode\nX\x02\0\0\0\xc3\xbfU\x06latin1\x86R", "Bytes([255])"),
        (b"ccopy_reg\n_reconstructor\ncm\nn\nc__builtin__\nobject\nN\x87R}U\x01kK\x01sb", "<m.n k: Int(1)>"),
        // The frame of a pickle.
        (b"\x80\x00K\x01\x80\x02", "Int(1)"),
        (b"\x95\x02\0\0\0\0\0\0\0K\x01", "Int(1)"),
        (b"\x95\x00\0\0\0\0\0\0\0K\x01", "Int(1)"),
    ];
    for (opcodes, expected) in cases {
        assert_eq!(&value_of(opcodes), expected, "{:?}", String::from_utf8_lossy(opcodes));
    }
}

#[test]
fn invalid_pickles_are_refused_with_their_place() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "stack is empty"),
        (b"\xff", "byte 2: 0xff is not an instruction"),
        (b"N\x99", "byte 3: 0x99 is not an instruction"),
        (b"\x80\x06", "protocol 6"),
        (b"0", "stack is empty"),
        (b"K\x01(2", "stack is empty"),
        (b"K\x01t", "no mark"),
        (b"K\x01(\x85", "stack is empty"),
        (b"g5\n", "no value is stored under 5"),
        (b"h\x05", "no value is stored under 5"),
        (b"Np-1\n", "not a valid number to store"),
        (b"Np99999999999\n", "not a valid number to store"),
        (b"I1x\n", "not a whole number"),
        (b"I\n", "not a whole number"),
        (b"F1,5\n", "not a number"),
        (b"S'abc\n", "quotes"),
        (b"Sabc\n", "quotes"),
        (b"V\\u12\n", "escape"),
        (b"V\\ud800\n", "escape"),
        (b"X\xff\xff\xff\xff", "bytes are claimed"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "bytes are claimed"),
        (b"\x8e\0\0\0\0\0\0\0\x10", "bytes are claimed"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f", "bytes are claimed"),
        (b"\x8b\xff\xff\xff\x7f", "bytes are claimed"),
        (b"\x8b\xff\xff\xff\xff", "length of -1"),
        (b"T\x00\x00\x00\x80", "length of -"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\xff", "bytes are claimed"),
        (b"cm\nn", "no end"),
        (b"K\x01K\x02\x93", "name that is not text"),
        (b"N]R", "a call whose arguments are a list"),
        (b"cm\nn\nNR", "a call whose arguments are None"),
        (b"cm\nn\n]}\x92", "not a tuple and a dict"),
        (b"(o", "without a class"),
        (b"}K\x01a", "appends to a dict"),
        (b")(K\x01e", "appends to a tuple"),
        (b"](K\x01\x90", "adds to a list"),
        (b"]K\x01K\x02s", "sets items of a list"),
        (b"}(K\x01u", "key without a value"),
        (b"\x97", "buffers"),
        (b"N\x98", "buffers"),
        (b"N.N", "2 bytes follow"),
        (b"N.\x80\x02N", "4 bytes follow"),
    ];
    for (opcodes, why) in cases {
        let label = String::from_utf8_lossy(opcodes).into_owned();
        let error = open(&Pickle::new(5).op(opcodes).stop()).err().unwrap_or_else(|| panic!("{label:?} was read"));
        assert_eq!(error.kind(), Kind::CheckpointDamaged, "{label:?}: {error}");
        assert!(error.message().contains(why), "{label:?}: {error}");
    }
    let error = open(b"\x80\x02N").err().unwrap();
    assert!(error.message().contains("byte 3"), "a pickle without STOP: {error}");
}

#[test]
fn a_value_that_is_not_callable_causes_no_crash() {
    for opcodes in
        [&b"K\x01)R"[..], b"U\x01a)\x81", b"N)R)R)R", b"cm\nn\n)R2b", b"cm\nn\n2b", b"K\x01}b", b"]}U\x01aNsb"]
    {
        let label = String::from_utf8_lossy(opcodes).into_owned();
        let file = open(&Pickle::new(2).op(opcodes).stop()).unwrap_or_else(|e| panic!("{label:?}: {e}"));
        assert!(file.names().is_empty() && file.value(&[]).is_some(), "{label:?}");
    }
}

/// Pickles that are small and would build or do something huge.
#[test]
fn bombs_cost_no_more_than_their_size_allows() {
    let n = 1 << 20;
    let tensor = |p: Pickle| p.tensor("FloatStorage", "0", &[4]);
    let doubled = |leaf: Pickle| (0..60).fold(leaf, |p, _| p.op(b"2\x86")).stop();
    let names = |p: Pickle| p.marked("u", |p| (0..30_000).fold(p, |p, i| p.int(i).op("h\x01")));
    let nested = |inner: &str, n: usize| Pickle::new(2).op(inner.repeat(n));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("marks", nested("(", 8 * n).op("N").stop()),
        ("Nones", nested("N", 8 * n).stop()),
        ("lists", nested("]", 8 * n).stop()),
        ("dicts", nested("}", 8 * n).stop()),
        ("copies", Pickle::new(2).op("]").op("2".repeat(8 * n)).stop()),
        (
            "kept",
            Pickle::new(2)
                .op("N")
                .op((0..n as u32).flat_map(|i| [b"r", &i.to_le_bytes()[..]].concat()).collect::<Vec<_>>())
                .stop(),
        ),
        ("a million nested lists", nested("]", n).op("a".repeat(n - 1)).stop()),
        ("a million nested tuples", Pickle::new(2).op("N").op(vec![0x85; n]).stop()),
        ("doubling without a tensor", doubled(Pickle::new(2).op("]"))),
        ("doubling with a tensor", doubled(tensor(Pickle::new(2)))),
        ("a deep tensor", nested("]", 100_000).tensor("FloatStorage", "0", &[4]).op("a".repeat(100_000)).stop()),
        ("long names", {
            let key = |p: Pickle| p.op("}").text(&"k".repeat(4000)).op("}");
            names(key(tensor(Pickle::new(2)).op("q\x010"))).op("s").stop()
        }),
        (
            "a longer name than any",
            Pickle::new(2).op("}").text(&"k".repeat(5000)).tensor("FloatStorage", "0", &[4]).op("s").stop(),
        ),
        ("sets of one list", {
            let list = Pickle::new(2)
                .op("]")
                .marked("e", |p| p.op("N".repeat(100_000)))
                .op(b"\x85q\x010c__builtin__\nset\nq\x02");
            list.op("h\x02h\x01R".repeat(100_000)).stop()
        }),
        ("one state for many objects", {
            let state = Pickle::new(2).op("}").marked("u", |p| p.op("NN".repeat(100_000))).op("q\x010cm\nn\n)R");
            state.op("h\x01b".repeat(100_000)).stop()
        }),
        ("tensors of one storage", {
            let one = Pickle::new(2).op("]").marked("e", |p| {
                let p = p.global("torch._utils", "_rebuild_tensor_v2").op("q\x01");
                let args = |p: Pickle| p.storage("FloatStorage", "0", 4).int(0).op("(K\x04t(K\x01t");
                let p = p.marked("t", args).op("q\x02R");
                p.op("h\x01h\x02R".repeat(200_000))
            });
            one.stop()
        }),
        ("calls of calls", Pickle::new(2).global("m", "n").op(")R".repeat(n)).stop()),
        ("a list in itself as an argument", Pickle::new(2).op(b"]q\x01h\x01acm\nn\nh\x01\x85R}U\x01kh\x01sb").stop()),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (label, pickle) in cases {
        let path = folder.path().join("bomb.pth");
        std::fs::write(&path, checkpoint(&pickle, &[("0", &[0; 16])])).unwrap();
        assert_harmless(label, &path);
        // Folded to a thousandth of its size as well.
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        let entries = [("a/data.pkl", &pickle[..]), ("a/data/0", &[0; 16])];
        std::fs::write(&path, crate::support::pickle::zip_with(&entries, options)).unwrap();
        assert_harmless(&format!("{label}, deflated"), &path);
    }
}

#[test]
fn mutated_pickles_with_sound_checksums_are_refused_or_inert() {
    mutate(100);
}

#[test]
#[ignore = "slow: more of the same"]
fn more_mutated_pickles_with_sound_checksums_are_refused_or_inert() {
    mutate(2000);
}

/// Reads this many mutants of each file.
fn mutate(mutants: usize) {
    for name in ["G_14.pth", "tiny_e7.pth", "odd_zip.pth", "fairseq_like.pt"] {
        let pickle = pickle_of(name);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutant.pth");
        let mut random = super::Random::new(name);
        for i in 0..mutants {
            let mut mutant = pickle.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(mutant.len());
                mutant[at] ^= 1 + random.below(255) as u8;
            }
            super::rewrite(&path, &checkpoint(&mutant, &[]));
            super::assert_refused_or_inert(&format!("{name} mutant {i}"), &super::read_all(&path));
        }
    }
}

/// data.pkl of a golden file.
fn pickle_of(name: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(golden(name)).unwrap()).unwrap();
    let index =
        (0..archive.len()).find(|&i| archive.by_index(i).unwrap().name().unwrap().ends_with("/data.pkl")).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_index(index).unwrap(), &mut bytes).unwrap();
    bytes
}
