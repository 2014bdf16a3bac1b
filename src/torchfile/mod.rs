//! PyTorch files: reads any .pth/.pt/.bin without running anything in it, writes .pth that Python opens.
//!
//! ```text
//! mod        read, TorchFile: tensors by name, plain values by path
//! names      the names of the tensors
//! container  zip or stream: the pickle, and the storages when they are asked for        directory: where a zip begins
//! pickle     the machine: opcodes -> values                  input: bytes, never past their end
//! calls      the few constructors that are understood        arena: the table of values
//! write      Value, write                                    dtype: element types
//! ```
//!
//! A foreign file is only data: libtorch's own loaders never see it, its names are never looked up, its calls never made. The
//! memory for opening a file is limited by its size (its length and some 40 MB); storages are read one at a time.
//!
//! Written here: the crates for it (pytorch-reader, candle-core) only read, and what opening a foreign file costs has to be bounded.

mod arena;
mod calls;
mod container;
mod directory;
mod dtype;
mod input;
mod names;
mod opcodes;
mod pickle;
mod tensor;
mod write;

pub use write::{Value, write};

use crate::{Error, Kind, Result, recognise};
use arena::{Arena, Id, Node};
use container::Container;
use names::Named;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Bytes that tensors may take beyond the file's length: views that share a storage count once for each view.
const SLACK_BYTES: u64 = 64 << 20;

/// Deepest nesting of containers for [`TorchFile::whole`]; checkpoints and voices have four.
const DEEPEST: usize = 32;

/// An opened PyTorch file: its tensors by dotted name ("model.dec.conv_pre.weight"), read on demand, and its plain values.
///
/// Names and paths consist of the keys of dictionaries, the indices of lists and tuples, and the attributes of foreign objects.
/// Keys that are not text are written as Python prints them (0, True). A file that is a single tensor has the name "".
pub struct TorchFile {
    path: PathBuf,
    arena: Arena,
    root: Id,
    tensors: Vec<Named>,
    places: HashMap<String, usize>,
    container: RefCell<Container>,
    /// The last shared storage that was read, by its number.
    shared: RefCell<Option<(u32, Tensor)>>,
    limit: u64,
}

/// A value of a file. Containers have their number of values; [`TorchFile::entries`] lists their keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plain<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number that needs more than 64 bits.
    Big(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    List(usize),
    Tuple(usize),
    Set(usize),
    Dict(usize),
    Tensor,
    /// A foreign class or function, or an object of one: its name ("argparse.Namespace"). Never built, never called.
    Object(&'a str),
}

/// Opens a PyTorch file: a zip, or the stream that torch wrote before 1.6. Nothing in it is executed; no tensor data is read yet.
///
/// Errors: `file.not_found`, `file.read`, `checkpoint.damaged` (truncated, hostile, not a PyTorch file).
pub fn read(path: &Path) -> Result<TorchFile> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        // A pipe waits forever, a device has no end.
        return Err(Error::new(Kind::Read, format!("{} is not a regular file", path.display())).path(path));
    }
    let file = std::fs::File::open(path).map_err(|e| Error::io("open", path, e))?;
    let opened = container::open(file).and_then(|(container, mut arena, root)| {
        let (tensors, places) = names::of(&mut arena, root)?;
        Ok((container, arena, root, tensors, places))
    });
    let (container, arena, root, tensors, places) =
        opened.map_err(|fault| match (fault, recognise::no_torch(path)) {
            (Fault::Data(_), Some(found)) => found.refused(Kind::CheckpointDamaged, path, "a PyTorch file (.pth)"),
            (fault, _) => fault.at(path, "is damaged"),
        })?;
    let length = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?.len();
    Ok(TorchFile {
        path: path.to_owned(),
        arena,
        root,
        tensors,
        places,
        container: RefCell::new(container),
        shared: RefCell::new(None),
        limit: length.saturating_mul(4).saturating_add(SLACK_BYTES),
    })
}

impl TorchFile {
    /// The dotted names of all tensors, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
    }

    /// The shape of a tensor, without reading it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.layout(name).map(|layout| &layout.shape[..])
    }

    /// The type of a tensor, without reading it; None if libtorch has no such type.
    pub fn kind(&self, name: &str) -> Option<tch::Kind> {
        self.layout(name)?.dtype.kind()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn layout(&self, name: &str) -> Option<&arena::Layout> {
        self.arena.tensor(self.tensors[*self.places.get(name)?].tensor).layout.as_ref()
    }

    /// A tensor on the CPU, in the file's type.
    ///
    /// Errors: `checkpoint.damaged` if it is missing, created by foreign code, has a type that libtorch lacks, claims more than the file
    /// holds, or fails its checksum; `file.read`.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.places.get(name) {
            Some(&place) => self.read_tensor(name, self.tensors[place].tensor),
            None => Err(self.missing(name)),
        }
    }

    /// The keys of the tensors below `prefix` ("" is the root) in the order of the file, each with its dotted name.
    pub fn keys(&self, prefix: &str) -> Vec<(String, String)> {
        let key = |t: &Named| below(prefix, &t.name).map(|rest| (rest.to_owned(), t.name.clone()));
        self.tensors.iter().filter_map(key).collect()
    }

    /// All tensors below `prefix` ("model"; "" for the root), by the rest of their names.
    ///
    /// Errors: as [`TorchFile::tensor`]; also without any, or if their total exceeds what the file can hold.
    pub fn state_dict(&self, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
        let wanted: Vec<(&Named, &str)> =
            self.tensors.iter().filter_map(|t| below(prefix, &t.name).map(|rest| (t, rest))).collect();
        if wanted.is_empty() {
            return Err(self.missing(prefix));
        }
        let total = wanted.iter().map(|(t, _)| self.claimed_bytes(t.tensor)).fold(0, u64::saturating_add);
        if total > self.limit {
            return Err(damaged(&self.path, format_args!("cannot hold the {total} bytes that its tensors claim")));
        }
        wanted.into_iter().map(|(t, rest)| Ok((rest.to_owned(), self.read_tensor(&t.name, t.tensor)?))).collect()
    }

    /// The first of `candidates` that is a dictionary with a tensor directly in it: the prefix of the weights
    /// in files of any tool (`&["model", "state_dict", "weight", ""]`; "" is the root).
    pub fn state_dict_prefix<'c>(&self, candidates: &[&'c str]) -> Option<&'c str> {
        let holds = |prefix: &str| {
            let own =
                |t: &Named| t.parent == prefix.len() && below(prefix, &t.name).is_some_and(|rest| !rest.is_empty());
            self.tensors.iter().any(own)
        };
        candidates.iter().copied().find(|prefix| holds(prefix))
    }

    /// The keys of the container at a path, in the order of the file; None if there is no container.
    pub fn entries(&self, path: &[&str]) -> Option<Vec<String>> {
        let container = self.find(path)?;
        let n = self.arena.children(container)?;
        let keys =
            (0..n).filter_map(|i| self.arena.child(container, i)).map(|(key, _)| self.arena.key_text(key).into_owned());
        let mut seen = HashSet::new();
        Some(keys.filter(|key| seen.insert(key.clone())).collect())
    }

    /// The value at a path of keys, such as `["optimizer", "param_groups", "0", "lr"]`; [] is the root.
    pub fn value(&self, path: &[&str]) -> Option<Plain<'_>> {
        let id = self.find(path)?;
        let arena = &self.arena;
        Some(match arena.node(id) {
            Node::None => Plain::None,
            Node::Bool(b) => Plain::Bool(*b),
            Node::Int(n) => Plain::Int(*n),
            Node::Big(n) => Plain::Big(**n),
            Node::Float(x) => Plain::Float(*x),
            Node::Text(span) => Plain::Text(arena.text_of(*span)),
            Node::Bytes(span) => Plain::Bytes(arena.bytes_of(*span)),
            Node::List(items) => Plain::List(items.len()),
            Node::Tuple(items) => Plain::Tuple(items.len()),
            Node::Set(items) => Plain::Set(items.len()),
            Node::Dict(pairs) => Plain::Dict(pairs.len()),
            Node::Global(name) => Plain::Object(arena.text_of(*name)),
            Node::Object(object) => Plain::Object(arena.class_name(object)),
            Node::Storage(_) => Plain::Object("torch.storage"),
            Node::Tensor(_) => Plain::Tensor,
        })
    }

    /// The whole file as a value for [`write`], with its tensors.
    ///
    /// Errors: `checkpoint.mismatch` if part of it cannot be written again: an object of a foreign class, a set, raw bytes, a
    /// container in more than [`DEEPEST`] others; `checkpoint.damaged` as [`TorchFile::tensor`].
    pub fn whole(&self) -> Result<Value> {
        // Shared values are copied, so a small file could expand without limit.
        let mut left = self.arena.len().saturating_mul(4);
        self.rebuilt(self.root, &mut left, DEEPEST)
    }

    fn rebuilt(&self, id: Id, left: &mut usize, depth: usize) -> Result<Value> {
        let refused = |what: &str| {
            let message = format!("{} cannot be written again: it holds {what}", self.path.display());
            Err(Error::new(Kind::CheckpointMismatch, message).path(&self.path))
        };
        if *left == 0 || depth == 0 {
            return refused("containers nested too deeply");
        }
        *left -= 1;
        let mut each = |items: &[Id]| -> Result<Vec<Value>> {
            items.iter().map(|item| self.rebuilt(*item, left, depth - 1)).collect()
        };
        Ok(match self.arena.node(id) {
            Node::None => Value::None,
            Node::Bool(b) => Value::Bool(*b),
            Node::Int(n) => Value::Int(*n),
            Node::Float(x) => Value::Float(*x),
            Node::Text(span) => Value::text(self.arena.text_of(*span)),
            Node::List(items) => Value::List(each(items)?),
            Node::Tuple(items) => Value::Tuple(each(items)?),
            Node::Dict(pairs) => {
                let (keys, values): (Vec<Id>, Vec<Id>) = pairs.iter().copied().unzip();
                Value::Dict(each(&keys)?.into_iter().zip(each(&values)?).collect())
            }
            Node::Tensor(number) => Value::Tensor(self.read_tensor("", *number)?),
            Node::Big(_) => return refused("a whole number of more than 64 bits"),
            Node::Bytes(_) => return refused("raw bytes"),
            Node::Set(_) => return refused("a set"),
            Node::Global(_) | Node::Object(_) | Node::Storage(_) => {
                let class = self.arena.blame(id).unwrap_or("a foreign class");
                return refused(&format!("an object of {class}"));
            }
        })
    }

    fn find(&self, path: &[&str]) -> Option<Id> {
        path.iter().try_fold(self.root, |container, key| self.arena.at(container, key))
    }

    /// The whole number at a path; see [`TorchFile::value`].
    pub fn int(&self, path: &[&str]) -> Option<i64> {
        match self.value(path)? {
            Plain::Int(n) => Some(n),
            _ => None,
        }
    }

    /// The number at a path; see [`TorchFile::value`].
    pub fn float(&self, path: &[&str]) -> Option<f64> {
        match self.value(path)? {
            Plain::Int(n) => Some(n as f64),
            Plain::Float(x) => Some(x),
            _ => None,
        }
    }

    /// The text at a path; see [`TorchFile::value`].
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        match self.value(path)? {
            Plain::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The error for a missing tensor `name`, or no tensor below it: the name does not exist, or is not a tensor.
    fn missing(&self, name: &str) -> Error {
        let (found, id) = self.as_far_as_it_goes(name);
        let place = if found.is_empty() { "its root".to_owned() } else { format!("{found:?}") };
        if (found == name || matches!(self.arena.node(id), Node::Object(_)))
            && let Some(class) = self.arena.blame(id)
        {
            let text = format!(
                "has no tensor {name:?}: {place} holds an object of {class}, which is kept as data and never run"
            );
            return damaged(&self.path, text).hint("use a file with the tensors themselves");
        }
        if found == name && self.arena.children(id).is_none() {
            return damaged(
                &self.path,
                format_args!("has no tensor {name:?}: it is {}", calls::kind_name(self.arena.node(id))),
            );
        }
        let known = self.tensors.iter().map(|t| t.name.as_str());
        let error = damaged(&self.path, format_args!("has no tensor {name:?}"));
        match crate::error::nearest(name, known) {
            Some(near) => error.hint(format!("there is a tensor {near:?}")),
            None => error,
        }
    }

    /// The longest prefix of a dotted name that is a value, and the value.
    fn as_far_as_it_goes<'n>(&self, name: &'n str) -> (&'n str, Id) {
        let (mut id, mut done) = (self.root, 0);
        loop {
            let rest = name[done..].strip_prefix('.').unwrap_or(&name[done..]);
            let fits =
                |key: &str| rest.strip_prefix(key).is_some_and(|after| after.is_empty() || after.starts_with('.'));
            let children = (0..self.arena.children(id).unwrap_or(0)).filter_map(|i| self.arena.child(id, i));
            let step = children
                .filter_map(|(key, child)| Some(self.arena.key_text(key)).filter(|k| fits(k)).map(|k| (k.len(), child)))
                .max_by_key(|(length, _)| *length);
            match step {
                Some((length, child)) if length > 0 => {
                    done = name.len() - rest.len() + length;
                    id = child;
                }
                _ => return (&name[..done], id),
            }
        }
    }
}

/// The part of `name` after `prefix` and a dot; all of it if the prefix is empty.
fn below<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    if prefix.is_empty() { Some(name) } else { name.strip_prefix(prefix)?.strip_prefix('.') }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::CheckpointDamaged, format!("{} {what}", path.display())).path(path)
}

/// An error in a file, before its path is known.
enum Fault {
    Io(io::Error),
    Data(String),
}

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Fault::Data(what.into())
    }

    /// Adds the place in the file.
    fn context(self, place: impl std::fmt::Display) -> Self {
        match self {
            Fault::Data(what) => Fault::Data(format!("{place}: {what}")),
            Fault::Io(error) => Fault::Io(error),
        }
    }

    fn at(self, path: &Path, what: &str) -> Error {
        match self {
            Fault::Io(error) => Error::io("read", path, error),
            Fault::Data(fault) => damaged(path, format_args!("{what}: {fault}"))
                .hint("copy or download the file again; if that does not help, its source is damaged"),
        }
    }
}

impl From<io::Error> for Fault {
    /// The zip layer reports broken data as I/O errors; those of the operating system have a number. A seek to an impossible
    /// position is the file's fault, too.
    fn from(error: io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::UnexpectedEof, _) => Fault::new("it ends too early"),
            (io::ErrorKind::InvalidInput, _) | (_, None) => Fault::Data(error.to_string()),
            _ => Fault::Io(error),
        }
    }
}
