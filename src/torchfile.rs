//! PyTorch files: reads any .pth/.pt/.bin without running anything in it, writes .pth that Python opens.
//!
//! Reading goes through the crate pytorch-reader, which can only build tensors and plain values; libtorch's own loaders
//! never see a file. Writing is a pickle of protocol 2 inside a stored zip (spec G.5), streamed tensor by tensor, so that
//! a checkpoint of 1.3 GB needs no second copy in memory. The bytes depend on the value alone: no name, no time.

use crate::{Error, Kind, Result, files};
use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use tch::Tensor;
use zip::CompressionMethod::Stored;
use zip::write::{SimpleFileOptions, ZipWriter};

/// What a file may ask for beyond its own length: views that share a storage count once for each view.
const SLACK_BYTES: u64 = 64 << 20;

/// An opened PyTorch file: its tensors by dotted name ("model.dec.conv_pre.weight"), read when asked for, and its plain values.
pub struct TorchFile {
    path: PathBuf,
    tensors: HashMap<String, pytorch_reader::Tensor>,
    plain: PickleValue,
    limit: u64,
}

/// Opens a PyTorch file: zip, legacy stream or tar. Nothing in it is executed; no tensor data is read yet.
///
/// Errors: `file.not_found`, `file.read`, `checkpoint.damaged` (truncated, hostile, not a PyTorch file, no dictionary at its root).
pub fn read(path: &Path) -> Result<TorchFile> {
    let length = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?.len();
    let reader = PytorchReader::new(path).map_err(|e| unreadable(path, e))?;
    let plain = PytorchReader::read_pickle_data(path, None).map_err(|e| unreadable(path, e))?;
    Ok(TorchFile {
        path: path.to_owned(),
        tensors: reader.into_tensors(),
        plain,
        limit: length.saturating_mul(4).saturating_add(SLACK_BYTES),
    })
}

impl TorchFile {
    /// The dotted names of all tensors, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The shape of a tensor, without reading it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(pytorch_reader::Tensor::shape)
    }

    /// The type of a tensor, without reading it; None if libtorch has no such type.
    pub fn kind(&self, name: &str) -> Option<tch::Kind> {
        torch_kind(self.tensors.get(name)?.dtype())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A tensor on the CPU, in the type that the file has.
    ///
    /// Errors: `checkpoint.damaged` if it is missing, has a type libtorch lacks, claims more than the file can hold, or fails its checksum.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let entry =
            self.tensors.get(name).ok_or_else(|| damaged(&self.path, format_args!("has no tensor {name:?}")))?;
        let kind = torch_kind(entry.dtype())
            .ok_or_else(|| damaged(&self.path, format_args!("{name} has the unsupported type {:?}", entry.dtype())))?;
        if entry.byte_len() as u64 > self.limit {
            return Err(damaged(&self.path, format_args!("{name} claims {} bytes", entry.byte_len())));
        }
        let bytes = entry.read().map_err(|e| damaged(&self.path, &e).source(e))?;
        let shape: Vec<i64> = entry.shape().iter().map(|&n| n as i64).collect();
        Tensor::f_from_data_size(&bytes, &shape, kind)
            .map_err(|e| damaged(&self.path, format_args!("{name} cannot be built: {e}")).source(e))
    }

    /// All tensors below `prefix` ("model"), by the rest of their names.
    ///
    /// Errors: as [`TorchFile::tensor`]; also if together they claim more than the file can hold.
    pub fn state_dict(&self, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
        let below = |name: &str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
        let wanted: Vec<(&str, String)> =
            self.tensors.keys().filter_map(|name| below(name).map(|rest| (name.as_str(), rest))).collect();
        let total = wanted.iter().map(|(name, _)| self.tensors[*name].byte_len() as u64).fold(0, u64::saturating_add);
        if total > self.limit {
            return Err(damaged(&self.path, format_args!("its tensors claim {total} bytes")));
        }
        wanted.into_iter().map(|(name, rest)| Ok((rest, self.tensor(name)?))).collect()
    }

    /// The plain value at a path of dictionary keys and list positions, such as `["optimizer", "param_groups", "0", "lr"]`.
    /// Integer keys are written as text. Tensors and foreign objects are [`PickleValue::Unsupported`].
    pub fn value(&self, path: &[&str]) -> Option<&PickleValue> {
        path.iter().try_fold(&self.plain, |value, key| match value {
            PickleValue::Dict(items) => items.get(*key),
            PickleValue::List(items) => key.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        })
    }

    /// The whole number at a path; see [`TorchFile::value`].
    pub fn int(&self, path: &[&str]) -> Option<i64> {
        match self.value(path)? {
            PickleValue::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The number at a path; see [`TorchFile::value`].
    pub fn float(&self, path: &[&str]) -> Option<f64> {
        match self.value(path)? {
            PickleValue::Int(n) => Some(*n as f64),
            PickleValue::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The text at a path; see [`TorchFile::value`].
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        match self.value(path)? {
            PickleValue::String(text) => Some(text),
            _ => None,
        }
    }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::CheckpointDamaged, format!("{}: {what}", path.display())).path(path)
}

fn unreadable(path: &Path, error: PytorchError) -> Error {
    use io::ErrorKind as E;
    match error {
        // The reader reports a file that ends too early as an I/O error as well.
        PytorchError::Io(e) if !matches!(e.kind(), E::UnexpectedEof | E::InvalidData | E::InvalidInput | E::Other) => {
            Error::io("read", path, e)
        }
        other => damaged(path, format_args!("not a readable PyTorch file: {other}")).source(other),
    }
}

fn torch_kind(dtype: DType) -> Option<tch::Kind> {
    Some(match dtype {
        DType::F64 => tch::Kind::Double,
        DType::F32 => tch::Kind::Float,
        DType::F16 => tch::Kind::Half,
        DType::BF16 => tch::Kind::BFloat16,
        DType::I64 => tch::Kind::Int64,
        DType::I32 => tch::Kind::Int,
        DType::I16 => tch::Kind::Int16,
        DType::I8 => tch::Kind::Int8,
        DType::U8 => tch::Kind::Uint8,
        DType::Bool => tch::Kind::Bool,
        _ => return None,
    })
}

/// What a written file holds; Python sees the type named in brackets.
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
    // torch.load(mmap=True) wants storages on 64-byte boundaries.
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

fn storage_class(kind: tch::Kind) -> Option<&'static str> {
    Some(match kind {
        tch::Kind::Double => "DoubleStorage",
        tch::Kind::Float => "FloatStorage",
        tch::Kind::Half => "HalfStorage",
        tch::Kind::BFloat16 => "BFloat16Storage",
        tch::Kind::Int64 => "LongStorage",
        tch::Kind::Int => "IntStorage",
        tch::Kind::Int16 => "ShortStorage",
        tch::Kind::Int8 => "CharStorage",
        tch::Kind::Uint8 => "ByteStorage",
        tch::Kind::Bool => "BoolStorage",
        _ => return None,
    })
}
