//! Writes .pth files that Python opens: a pickle of protocol 2 inside a stored zip (spec G.5).
//!
//! Streams tensor by tensor, so that a checkpoint of 1.3 GB needs no second copy in memory. The bytes depend only on the
//! value: no name, no time.

use super::dtype::storage_class;
use crate::{Error, Result, files};
use std::io::{self, Seek, Write};
use std::path::Path;
use tch::Tensor;
use zip::CompressionMethod::Stored;
use zip::write::{SimpleFileOptions, ZipWriter};

/// The content of a written file; the type in Python is in brackets.
#[derive(Debug)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A text (str).
    Text(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// Pairs in order (dict).
    Dict(Vec<(Value, Value)>),
    /// Pairs in order (collections.OrderedDict).
    Ordered(Vec<(Value, Value)>),
    /// A tensor of any device; it is saved as one of the CPU, contiguous.
    Tensor(Tensor),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    /// A dict with text keys.
    pub fn dict<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        Value::Dict(pairs.into_iter().map(|(k, v)| (Value::text(k), v)).collect())
    }

    /// An OrderedDict with text keys.
    pub fn ordered<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        Value::Ordered(pairs.into_iter().map(|(k, v)| (Value::text(k), v)).collect())
    }

    /// A list of whole numbers.
    pub fn ints(numbers: impl IntoIterator<Item = i64>) -> Self {
        Value::List(numbers.into_iter().map(Value::Int).collect())
    }
}

/// Writes `value` as a PyTorch file, whole or not at all; `torch.load(path, weights_only=True)` opens it.
///
/// Errors: `file.write`, `file.disk_full`; the old file, if any, is then untouched.
pub fn write(path: &Path, value: &Value) -> Result<()> {
    let mut pickle = Pickle::default();
    pickle.bytes.extend([0x80, 2]);
    pickle.value(value).map_err(|e| Error::io("write", path, e))?;
    pickle.bytes.push(b'.');
    files::write_with(path, |writer| write_zip(writer, &pickle.bytes, &pickle.storages))
}

fn write_zip(writer: impl Write + Seek, pickle: &[u8], storages: &[&Tensor]) -> io::Result<()> {
    // torch.load(mmap=True) needs storages on 64-byte boundaries.
    let options = SimpleFileOptions::default().compression_method(Stored).with_alignment(64);
    let mut zip = ZipWriter::new(writer);
    let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
        zip.start_file(format!("archive/{name}"), options)?;
        zip.write_all(bytes)
    };
    entry("data.pkl", pickle)?;
    entry(".format_version", b"1")?;
    entry(".storage_alignment", b"64")?;
    entry("byteorder", b"little")?;
    for (i, tensor) in storages.iter().enumerate() {
        entry(&format!("data/{i}"), &storage_bytes(tensor).map_err(io::Error::other)?)?;
    }
    entry("version", b"3\n")?;
    zip.finish()?;
    Ok(())
}

/// The elements in row-major order, little-endian as every platform that libtorch 2.11 ships for.
fn storage_bytes(tensor: &Tensor) -> std::result::Result<Vec<u8>, tch::TchError> {
    let tensor = tensor.f_detach()?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
    let n = tensor.numel();
    let mut bytes = vec![0u8; n * tensor.f_kind()?.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, n)?;
    Ok(bytes)
}

/// The pickle under construction and the tensors it refers to, in the order of their storage keys.
#[derive(Default)]
struct Pickle<'a> {
    bytes: Vec<u8>,
    storages: Vec<&'a Tensor>,
}

impl<'a> Pickle<'a> {
    fn value(&mut self, value: &'a Value) -> io::Result<()> {
        match value {
            Value::None => self.bytes.push(b'N'),
            Value::Bool(b) => self.bytes.push(if *b { 0x88 } else { 0x89 }),
            Value::Int(n) => self.int(*n),
            Value::Float(x) => {
                self.bytes.push(b'G');
                self.bytes.extend(x.to_be_bytes());
            }
            Value::Text(text) => self.text(text)?,
            Value::List(items) => {
                self.bytes.push(b']');
                self.marked(items, b'e')?;
            }
            Value::Tuple(items) if items.is_empty() => self.bytes.push(b')'),
            Value::Tuple(items) => self.marked(items, b't')?,
            Value::Dict(pairs) => {
                self.bytes.push(b'}');
                self.pairs(pairs)?;
            }
            Value::Ordered(pairs) => {
                self.ordered_dict();
                self.pairs(pairs)?;
            }
            Value::Tensor(tensor) => self.tensor(tensor)?,
        }
        Ok(())
    }

    fn marked(&mut self, items: &'a [Value], end: u8) -> io::Result<()> {
        self.bytes.push(b'(');
        items.iter().try_for_each(|item| self.value(item))?;
        self.bytes.push(end);
        Ok(())
    }

    fn pairs(&mut self, pairs: &'a [(Value, Value)]) -> io::Result<()> {
        self.bytes.push(b'(');
        for (key, value) in pairs {
            self.value(key)?;
            self.value(value)?;
        }
        self.bytes.push(b'u');
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")R");
    }

    fn int(&mut self, n: i64) {
        if let Ok(byte) = u8::try_from(n) {
            self.bytes.extend([b'K', byte]);
        } else if let Ok(n) = i32::try_from(n) {
            self.bytes.push(b'J');
            self.bytes.extend(n.to_le_bytes());
        } else {
            self.bytes.extend([0x8a, 8]);
            self.bytes.extend(n.to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        self.bytes.push(b'X');
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.bytes());
        Ok(())
    }

    fn int_tuple(&mut self, numbers: &[i64]) {
        if numbers.is_empty() {
            return self.bytes.push(b')');
        }
        self.bytes.push(b'(');
        for &n in numbers {
            self.int(n);
        }
        self.bytes.push(b't');
    }

    fn tensor(&mut self, tensor: &'a Tensor) -> io::Result<()> {
        let kind = tensor.f_kind().map_err(io::Error::other)?;
        let storage = storage_class(kind)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no storage type for {kind:?}")))?;
        let size = tensor.size();
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.push(b'(');
        // The persistent id: ("storage", class, key, "cpu", number of elements).
        self.bytes.push(b'(');
        self.text("storage")?;
        self.global("torch", storage);
        self.text(&self.storages.len().to_string())?;
        self.text("cpu")?;
        self.int(size.iter().product());
        self.bytes.extend(b"tQ");
        self.int(0);
        self.int_tuple(&size);
        self.int_tuple(&row_major_strides(&size));
        self.bytes.push(0x89);
        self.ordered_dict();
        self.bytes.extend(b"tR");
        self.storages.push(tensor);
        Ok(())
    }
}

fn row_major_strides(size: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; size.len()];
    for i in (1..size.len()).rev() {
        strides[i - 1] = strides[i] * size[i].max(1);
    }
    strides
}
