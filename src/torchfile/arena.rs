//! The values of a pickle in one flat table: every value is a number, containers hold numbers.
//!
//! So a value that is referred to twice is stored once, cycles are harmless, and neither reading nor dropping recurses: a list
//! nested 10^6 deep is a table of 10^6 rows. The size of the file limits the size of the table.

use super::Fault;
use super::dtype::Dtype;
use std::borrow::Cow;
use std::collections::HashMap;

type Step<T> = Result<T, Fault>;

/// Memory allowed for values beyond the size of their file. A checkpoint of RVC with its optimizer builds some 30,000 values,
/// 2 MB; fairseq's task states, with dictionaries of words, stay below 10 MB.
const SLACK_BYTES: u64 = 40 << 20;

/// The number of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

impl Id {
    pub const NONE: Id = Id(0);
    pub const FALSE: Id = Id(1);
    pub const TRUE: Id = Id(2);
    pub const EMPTY_TUPLE: Id = Id(3);

    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The position of a text or byte string in the pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: usize,
    length: u32,
}

/// A value. Texts are checked for valid UTF-8 when they are created.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number that needs more than 64 bits.
    Big(Box<i128>),
    Float(f64),
    Text(Span),
    Bytes(Span),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// The name of a class or function, "module.name". It is only a name: nothing is ever looked up or called.
    Global(Span),
    Object(Box<Object>),
    /// A number in [`Arena::storages`].
    Storage(u32),
    /// A number in [`Arena::tensors`].
    Tensor(u32),
}

/// An object of a foreign class, or the result of a foreign call, which is not created: its parts as data.
#[derive(Debug)]
pub(super) struct Object {
    /// The class or function; a [`Node::Global`], or the result of another call.
    pub class: Id,
    /// The arguments of the call.
    pub args: Id,
    /// Attributes and dictionary items.
    pub pairs: Vec<(Id, Id)>,
    /// List or set items.
    pub items: Vec<Id>,
}

/// A storage as the pickle declares it; the container checks whether the file has it.
#[derive(Debug)]
pub(super) struct Storage {
    pub key: Span,
    pub dtype: Dtype,
    pub numel: u64,
    /// The part of it in use: offset and number of elements. All of it except in legacy files.
    pub part: (u64, u64),
    /// Tensors on it: more than one means that keeping its bytes for a moment saves reading them again.
    pub users: u32,
}

/// A tensor as the pickle declares it, or the arguments that do not declare one.
#[derive(Debug)]
pub(super) struct TensorNode {
    pub args: Id,
    pub layout: Option<Layout>,
}

#[derive(Debug)]
pub(super) struct Layout {
    pub storage: u32,
    pub dtype: Dtype,
    /// Of the first element in the storage, in elements.
    pub offset: u64,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The key of a value in the container that holds it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    Value(Id),
    Index(usize),
    /// The arguments of a foreign call.
    Args,
}

/// Key, type, number of elements and part.
type StorageIdentity = (Vec<u8>, Dtype, u64, (u64, u64));

/// The table of values, storages and tensors.
pub(super) struct Arena {
    nodes: Vec<Node>,
    pool: Vec<u8>,
    storages: Vec<Storage>,
    storage_numbers: HashMap<StorageIdentity, u32>,
    tensors: Vec<TensorNode>,
    left: u64,
}

impl Arena {
    /// An empty table for a file of `file_bytes`.
    pub fn new(file_bytes: u64) -> Self {
        Self {
            nodes: vec![Node::None, Node::Bool(false), Node::Bool(true), Node::Tuple(Vec::new())],
            pool: Vec::new(),
            storages: Vec::new(),
            storage_numbers: HashMap::new(),
            tensors: Vec::new(),
            left: file_bytes.saturating_add(SLACK_BYTES),
        }
    }

    /// Counts memory, or equivalent work, against the file's allowance.
    pub fn spend(&mut self, bytes: usize) -> Step<()> {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Fault::new("it builds more values than a file of its size needs")),
        }
    }

    pub fn push(&mut self, node: Node) -> Step<Id> {
        // Twice, because a growing table is copied to one of twice the size.
        self.spend(2 * size_of::<Node>())?;
        let id = u32::try_from(self.nodes.len()).map_err(|_| Fault::new("it holds more than 2^32 values"))?;
        self.nodes.push(node);
        Ok(Id(id))
    }

    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    // --- Texts and byte strings ------------------------------------------------------------------------------------

    /// The pool, for a reader that appends to it and then calls [`Arena::since`].
    pub fn pool(&mut self) -> &mut Vec<u8> {
        &mut self.pool
    }

    /// The bytes appended to the pool since it had `start` bytes.
    pub fn since(&self, start: usize) -> Step<Span> {
        let length = u32::try_from(self.pool.len() - start).map_err(|_| Fault::new("a text is longer than 4 GB"))?;
        Ok(Span { start, length })
    }

    pub fn span(&mut self, bytes: &[u8]) -> Step<Span> {
        self.spend(bytes.len())?;
        let start = self.pool.len();
        self.pool.extend_from_slice(bytes);
        self.since(start)
    }

    pub fn bytes_of(&self, span: Span) -> &[u8] {
        &self.pool[span.start..span.start + span.length as usize]
    }

    pub fn text_of(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes_of(span)).unwrap_or_default()
    }

    /// A text, or a byte string if it is not UTF-8 (Python 2 wrote any bytes as str; Python 3 has lone surrogates).
    pub fn text_node(&self, span: Span) -> Node {
        if std::str::from_utf8(self.bytes_of(span)).is_ok() { Node::Text(span) } else { Node::Bytes(span) }
    }

    pub fn push_text(&mut self, text: &str) -> Step<Id> {
        let span = self.span(text.as_bytes())?;
        self.push(Node::Text(span))
    }

    pub fn push_global(&mut self, module: &[u8], name: &[u8]) -> Step<Id> {
        let full = format!("{}.{}", String::from_utf8_lossy(module), String::from_utf8_lossy(name));
        let span = self.span(full.as_bytes())?;
        self.push(Node::Global(span))
    }

    pub fn push_int(&mut self, value: i128) -> Step<Id> {
        self.push(i64::try_from(value).map_or_else(|_| Node::Big(Box::new(value)), Node::Int))
    }

    // --- Views -----------------------------------------------------------------------------------------------------

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(span) => Some(self.text_of(*span)),
            _ => None,
        }
    }

    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub fn global(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Global(span) => Some(self.text_of(*span)),
            _ => None,
        }
    }

    /// A whole number of 0 or more.
    pub fn count(&self, id: Id) -> Option<u64> {
        match self.node(id) {
            Node::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// The name of the class or function that an object was to come from.
    pub fn class_name(&self, object: &Object) -> &str {
        let mut class = object.class;
        // A call of the result of a call names the innermost one. It ends: what is called is always older than the call.
        while let Node::Object(inner) = self.node(class) {
            class = inner.class;
        }
        self.global(class).unwrap_or("something that is not a class")
    }

    pub fn storage(&self, number: u32) -> &Storage {
        &self.storages[number as usize]
    }

    pub fn storages(&self) -> &[Storage] {
        &self.storages
    }

    pub fn tensor(&self, number: u32) -> &TensorNode {
        &self.tensors[number as usize]
    }

    /// The number of a storage; equal for equal declarations.
    pub fn add_storage(&mut self, key: Span, dtype: Dtype, numel: u64, part: (u64, u64)) -> Step<u32> {
        let identity = (self.bytes_of(key).to_vec(), dtype.clone(), numel, part);
        if let Some(&number) = self.storage_numbers.get(&identity) {
            return Ok(number);
        }
        self.spend(2 * size_of::<Storage>() + 2 * size_of::<StorageIdentity>() + key.length as usize)?;
        let number = self.storages.len() as u32;
        self.storage_numbers.insert(identity, number);
        self.storages.push(Storage { key, dtype, numel, part, users: 0 });
        Ok(number)
    }

    pub fn add_tensor(&mut self, tensor: TensorNode) -> Step<Id> {
        let dims = tensor.layout.as_ref().map_or(0, |layout| layout.shape.len());
        self.spend(2 * size_of::<TensorNode>() + 2 * dims * size_of::<usize>())?;
        if let Some(layout) = &tensor.layout {
            let users = &mut self.storages[layout.storage as usize].users;
            *users = users.saturating_add(1);
        }
        self.tensors.push(tensor);
        self.push(Node::Tensor(self.tensors.len() as u32 - 1))
    }

    // --- Containers ------------------------------------------------------------------------------------------------

    /// The `i`-th value in a container, with its key; None past the last, or if it is not a container.
    pub fn child(&self, id: Id, i: usize) -> Option<(Key, Id)> {
        let pair = |&(key, value): &(Id, Id)| (Key::Value(key), value);
        match self.node(id) {
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => {
                items.get(i).map(|&item| (Key::Index(i), item))
            }
            Node::Dict(pairs) => pairs.get(i).map(pair),
            Node::Object(object) => {
                let (pairs, items) = (object.pairs.len(), object.items.len());
                if i < pairs {
                    object.pairs.get(i).map(pair)
                } else if i < pairs + items {
                    object.items.get(i - pairs).map(|&item| (Key::Index(i - pairs), item))
                } else {
                    (i == pairs + items && object.args != Id::EMPTY_TUPLE).then_some((Key::Args, object.args))
                }
            }
            _ => None,
        }
    }

    /// The number of values in a container, including superseded ones; None if it is not a container.
    pub fn children(&self, id: Id) -> Option<usize> {
        match self.node(id) {
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => Some(items.len()),
            Node::Dict(pairs) => Some(pairs.len()),
            Node::Object(o) => Some(o.pairs.len() + o.items.len() + usize::from(o.args != Id::EMPTY_TUPLE)),
            _ => None,
        }
    }

    /// A key as part of a dotted name.
    pub fn key_text(&self, key: Key) -> Cow<'_, str> {
        let id = match key {
            Key::Index(i) => return i.to_string().into(),
            Key::Args => return "__args__".into(),
            Key::Value(id) => id,
        };
        match self.node(id) {
            Node::Text(span) => self.text_of(*span).into(),
            Node::Bytes(span) => String::from_utf8_lossy(self.bytes_of(*span)),
            Node::Int(n) => n.to_string().into(),
            Node::Big(n) => n.to_string().into(),
            Node::Float(x) => format!("{x:?}").into(),
            Node::Bool(b) => (if *b { "True" } else { "False" }).into(),
            Node::None => "None".into(),
            // Tuples and objects as keys: unique, though not readable.
            _ => format!("#{}", id.index()).into(),
        }
    }

    /// The value of a key; the last one if the key is there several times, as in Python.
    pub fn at(&self, container: Id, key: &str) -> Option<Id> {
        let n = self.children(container)?;
        (0..n).rev().filter_map(|i| self.child(container, i)).find(|(k, _)| self.key_text(*k) == key).map(|(_, id)| id)
    }
}
