//! Pickles and their containers byte by byte: what the product's writer never writes, and what no sound tool would.

use std::io::{Cursor, Write};
use zip::write::{SimpleFileOptions, ZipWriter};

/// A pickle under construction; opcodes without a method of their own go through [`Pickle::op`].
#[derive(Clone, Default)]
pub struct Pickle(Vec<u8>);

impl Pickle {
    /// Begins with PROTO.
    pub fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    /// An opcode with its operand, or several.
    pub fn op(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn int(self, n: i64) -> Self {
        self.op([0x8a, 8]).op(n.to_le_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.op("X").op((text.len() as u32).to_le_bytes()).op(text)
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n"))
    }

    /// MARK, what `fill` adds, and the opcode that takes it from there ("t", "u", "e").
    pub fn marked(self, end: &str, fill: impl FnOnce(Self) -> Self) -> Self {
        fill(self.op("(")).op(end)
    }

    /// The persistent id of a storage.
    pub fn storage(self, class: &str, key: &str, numel: i64) -> Self {
        let id = |p: Self| p.text("storage").global("torch", class).text(key).text("cpu").int(numel);
        self.marked("t", id).op("Q")
    }

    fn ints(self, numbers: &[i64]) -> Self {
        self.marked("t", |p| numbers.iter().fold(p, |p, &n| p.int(n)))
    }

    /// A tensor over a storage of its own, row-major.
    pub fn tensor(self, class: &str, key: &str, shape: &[i64]) -> Self {
        let numel = shape.iter().product();
        self.view(|p| p.storage(class, key, numel), 0, shape, &row_major(shape))
    }

    /// A tensor over whatever `storage` puts there.
    pub fn view(self, storage: impl FnOnce(Self) -> Self, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        let hooks = |p: Self| p.op([0x89]).global("collections", "OrderedDict").op(")R");
        self.global("torch._utils", "_rebuild_tensor_v2")
            .marked("t", |p| hooks(storage(p).int(offset).ints(shape).ints(strides)))
            .op("R")
    }

    /// The bytes, with STOP.
    pub fn stop(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }
}

fn row_major(shape: &[i64]) -> Vec<i64> {
    (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect()
}

/// A zip of these entries, stored.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_with(entries, SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored))
}

/// A zip of these entries.
pub fn zip_with(entries: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, options).expect("a name");
        zip.write_all(bytes).expect("memory");
    }
    zip.finish().expect("memory").into_inner()
}

/// A checkpoint of one pickle and its storages.
pub fn checkpoint(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("archive/data/{key}")).collect();
    let mut entries = vec![("archive/data.pkl", pickle), ("archive/version", b"3\n")];
    entries.extend(names.iter().map(String::as_str).zip(storages.iter().map(|(_, bytes)| *bytes)));
    zip(&entries)
}

/// A checkpoint as one stream, as torch wrote it before 1.6.
pub fn stream(pickle: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let mut bytes = stream_head(true);
    bytes.extend_from_slice(pickle);
    let keys = |p: Pickle| storages.iter().fold(p, |p, (key, ..)| p.text(key));
    bytes.extend(Pickle::new(2).op("]").marked("e", keys).stop());
    for (_, numel, data) in storages {
        bytes.extend(numel.to_le_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

/// Magic number, version and system of a stream.
pub fn stream_head(little_endian: bool) -> Vec<u8> {
    let magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let mut bytes = Pickle::new(2).op([0x8a, 10]).op(magic).stop();
    bytes.extend(Pickle::new(2).op(b"M\xe9\x03").stop());
    let truth = [if little_endian { 0x88 } else { 0x89 }];
    let system = |p: Pickle| p.text("protocol_version").int(1001).text("little_endian").op(truth);
    bytes.extend(Pickle::new(2).op("}").marked("u", system).stop());
    bytes
}
