//! The calls in a pickle, few of which are carried out: no Python code is ever run.
//!
//! A short list of constructors is supported, because they create plain data or a tensor. Any other call becomes an
//! [`Object`] that keeps its parts: a fairseq dictionary, an omegaconf tree, and also `os.system("...")`.

use super::Fault;
use super::arena::{Arena, Id, Layout, Node, Object, TensorNode};
use super::dtype::Dtype;

type Step<T> = Result<T, Fault>;

/// More dimensions than any tensor of torch has (its limit is 64).
const MAX_DIMS: usize = 64;

/// The calls that create a tensor from a storage.
const TENSOR_BUILDERS: [&str; 3] =
    ["torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v3"];

impl Arena {
    /// The value of `callee(*args)`, or of a new object of class `callee`.
    pub fn call(&mut self, callee: Id, args: Id) -> Step<Id> {
        let items = match self.node(args) {
            // A short copy, so that the table can grow meanwhile; no constructor of the list looks further.
            Node::Tuple(items) => items.iter().copied().take(8).collect::<Vec<Id>>(),
            other => return Err(Fault::new(format!("a call whose arguments are {}", kind_name(other)))),
        };
        let name = self.global(callee).unwrap_or_default();
        if TENSOR_BUILDERS.contains(&name) {
            return self.build_tensor(args, &items);
        }
        let made = match name {
            "collections.OrderedDict" | "collections.defaultdict" | "builtins.dict" | "__builtin__.dict" => {
                self.build_dict(&items)?
            }
            "torch.Size" => self.copy_items(&items)?.map(Node::Tuple),
            "builtins.set" | "__builtin__.set" | "builtins.frozenset" | "__builtin__.frozenset" => {
                self.copy_items(&items)?.map(Node::Set)
            }
            // How protocol 2 writes bytes: a text of Latin-1, and the empty ones by their class.
            "_codecs.encode"
            | "builtins.bytearray"
            | "__builtin__.bytearray"
            | "builtins.bytes"
            | "__builtin__.bytes" => self.build_bytes(&items)?,
            "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => self.numpy_scalar(&items),
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                match items.first().map(|&data| self.node(data)) {
                    Some(Node::Tensor(number)) => Some(Node::Tensor(*number)),
                    _ => None,
                }
            }
            // A tensor that carries attributes: (function, type, its arguments, attributes).
            "torch._tensor._rebuild_from_type_v2" => match *items {
                [function, _, inner, ..] if self.builds_tensors(function) && self.tuple(inner).is_some() => {
                    return self.call(function, inner);
                }
                _ => None,
            },
            // How protocols 0 and 1 make a new object.
            "copy_reg._reconstructor" | "copyreg._reconstructor" => match *items {
                [class, ..] => return self.inert(class, Id::EMPTY_TUPLE),
                [] => None,
            },
            _ => None,
        };
        match made {
            Some(node) => self.push(node),
            None => self.inert(callee, args),
        }
    }

    fn builds_tensors(&self, function: Id) -> bool {
        self.global(function).is_some_and(|name| TENSOR_BUILDERS.contains(&name))
    }

    /// An object that is not built: its class and arguments as data.
    pub fn inert(&mut self, class: Id, args: Id) -> Step<Id> {
        self.spend(size_of::<Object>())?;
        self.push(Node::Object(Box::new(Object { class, args, pairs: Vec::new(), items: Vec::new() })))
    }

    /// Gives an object its state. Other values (a dict, a tensor) stay unchanged and lose the attributes that
    /// torch attaches to them (`_metadata`), which are never used.
    pub fn set_state(&mut self, target: Id, state: Id) -> Step<()> {
        if matches!(self.node(target), Node::Global(_)) {
            // Setting attributes of a class or function: from here on it is an object of that name.
            let Node::Global(name) = *self.node(target) else { return Ok(()) };
            let class = self.push(Node::Global(name))?;
            let object = Object { class, args: Id::EMPTY_TUPLE, pairs: Vec::new(), items: Vec::new() };
            self.spend(size_of::<Object>())?;
            *self.node_mut(target) = Node::Object(Box::new(object));
        }
        let parts = match self.node(state) {
            // With __slots__ the state is (attributes or None, slots).
            Node::Tuple(items) if items.len() == 2 && items.iter().all(|&i| self.is_attributes(i)) => items.clone(),
            _ => vec![state],
        };
        for part in parts {
            self.spend(3 * size_of::<(Id, Id)>() * self.children(part).unwrap_or(0))?;
            let pairs = match self.node(part) {
                Node::Dict(pairs) => pairs.clone(),
                Node::None => continue,
                _ => vec![(self.push_text("__state__")?, part)],
            };
            if let Node::Object(object) = self.node_mut(target) {
                object.pairs.extend(pairs);
            }
        }
        Ok(())
    }

    fn is_attributes(&self, id: Id) -> bool {
        matches!(self.node(id), Node::Dict(_) | Node::None)
    }

    /// The value of a persistent id: torch's tuple ("storage", class, key, device, number of elements[, part of it]).
    pub fn persistent(&mut self, id: Id) -> Step<Id> {
        if let Some(number) = self.storage_number(id)? {
            return self.push(Node::Storage(number));
        }
        let class = self.push_global(b"persistent", b"id")?;
        let args = self.push(Node::Tuple(vec![id]))?;
        self.inert(class, args)
    }

    fn storage_number(&mut self, id: Id) -> Step<Option<u32>> {
        let (class, key, numel, part) = match self.tuple(id) {
            Some(&[tag, class, key, _, numel]) if self.text(tag) == Some("storage") => (class, key, numel, None),
            Some(&[tag, class, key, _, numel, part]) if self.text(tag) == Some("storage") => {
                (class, key, numel, Some(part))
            }
            _ => return Ok(None),
        };
        let (Some(dtype), Some(numel)) = (self.global(class).and_then(Dtype::of_storage), self.count(numel)) else {
            return Ok(None);
        };
        let part = match part.map(|p| (p, self.tuple(p))) {
            None | Some((Id::NONE, _)) => Some((0, numel)),
            Some((_, Some(&[_, offset, size]))) => self.count(offset).zip(self.count(size)),
            Some(_) => None,
        };
        let (&Node::Text(key), Some(part)) = (self.node(key), part) else { return Ok(None) };
        self.add_storage(key, dtype, numel, part).map(Some)
    }

    /// A tensor of (storage, offset, shape, strides, ...). One with other arguments is an unreadable tensor.
    fn build_tensor(&mut self, args: Id, items: &[Id]) -> Step<Id> {
        let layout = self.layout(items);
        self.add_tensor(TensorNode { args, layout })
    }

    fn layout(&self, items: &[Id]) -> Option<Layout> {
        let &[storage, offset, shape, strides, ref rest @ ..] = items else { return None };
        let Node::Storage(storage) = *self.node(storage) else { return None };
        // The third version names the element type of an untyped storage; none of these types can be read.
        let dtype = match rest.get(2).and_then(|&id| self.global(id)) {
            Some(name) => Dtype::Other(name.to_owned(), None),
            None => self.storage(storage).dtype.clone(),
        };
        let sizes = |id: Id| -> Option<Vec<usize>> {
            let items = self.tuple(id).filter(|items| items.len() <= MAX_DIMS)?;
            items.iter().map(|&n| self.count(n).and_then(|n| usize::try_from(n).ok())).collect()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        Some(Layout { storage, dtype, offset: self.count(offset)?, shape, strides })
    }

    /// dict(), dict([(key, value), ...]), defaultdict(class).
    fn build_dict(&mut self, items: &[Id]) -> Step<Option<Node>> {
        let Some(&first) = items.first() else { return Ok(Some(Node::Dict(Vec::new()))) };
        self.spend(size_of::<(Id, Id)>() * self.children(first).unwrap_or(0))?;
        let pairs = match self.node(first) {
            // The class that makes a defaultdict's new values.
            Node::Global(_) | Node::None if items.len() == 1 => Vec::new(),
            Node::List(entries) if items.len() == 1 => {
                let pair = |&id: &Id| match self.node(id) {
                    Node::Tuple(pair) | Node::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
                    _ => None,
                };
                match entries.iter().map(pair).collect::<Option<Vec<_>>>() {
                    Some(pairs) => pairs,
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(Node::Dict(pairs)))
    }

    /// The items of the only argument, a list or tuple; empty without an argument.
    fn copy_items(&mut self, items: &[Id]) -> Step<Option<Vec<Id>>> {
        let Some(&first) = items.first() else { return Ok(Some(Vec::new())) };
        self.spend(size_of::<Id>() * self.children(first).unwrap_or(0))?;
        Ok(match self.node(first) {
            Node::List(inner) | Node::Tuple(inner) => Some(inner.clone()),
            _ => None,
        })
    }

    fn build_bytes(&mut self, items: &[Id]) -> Step<Option<Node>> {
        let bytes = match items.first().map(|&id| self.node(id)) {
            None => Some(Vec::new()),
            Some(Node::Bytes(span)) => return Ok(Some(Node::Bytes(*span))),
            Some(Node::Text(span)) => self.text_of(*span).chars().map(|c| u8::try_from(u32::from(c)).ok()).collect(),
            Some(_) => None,
        };
        match bytes {
            Some(bytes) => Ok(Some(Node::Bytes(self.span(&bytes)?))),
            None => Ok(None),
        }
    }

    /// scalar(dtype, bytes) of the little-endian numbers; others stay objects.
    fn numpy_scalar(&self, items: &[Id]) -> Option<Node> {
        let &[dtype, bytes] = items else { return None };
        let (Node::Object(dtype), Node::Bytes(bytes)) = (self.node(dtype), self.node(bytes)) else { return None };
        let code = self.text(*self.tuple(dtype.args)?.first()?)?;
        let state = dtype.pairs.iter().find(|(key, _)| self.text(*key) == Some("__state__"))?.1;
        if self.class_name(dtype) != "numpy.dtype" || !matches!(self.text(*self.tuple(state)?.get(1)?)?, "<" | "|") {
            return None;
        }
        let bytes = self.bytes_of(*bytes);
        Some(match code {
            "f8" => Node::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            "f4" => Node::Float(f64::from(f32::from_le_bytes(bytes.try_into().ok()?))),
            "i8" => Node::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
            "i4" => Node::Int(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
            "b1" => Node::Bool(*bytes.first()? != 0),
            _ => return None,
        })
    }

    /// The first foreign class or function among the parts of a value, in the order of the file.
    pub fn blame(&self, id: Id) -> Option<&str> {
        /// Search limit: a list of a million objects need not be searched for an error message.
        const LOOKED_AT: usize = 10_000;
        let mut stack = vec![id];
        let mut looked_at = 0;
        while let Some(id) = stack.pop() {
            looked_at += 1;
            if let Node::Object(object) = self.node(id)
                && self.class_name(object) != "persistent.id"
            {
                return Some(self.class_name(object));
            }
            let id = match self.node(id) {
                Node::Tensor(number) => self.tensor(*number).args,
                _ => id,
            };
            let n = self.children(id).unwrap_or(0).min(LOOKED_AT);
            if looked_at + n > LOOKED_AT {
                return None;
            }
            looked_at += n;
            stack.extend((0..n).rev().filter_map(|i| self.child(id, i)).map(|(_, child)| child));
        }
        None
    }
}

/// The name of a value's type as Python calls it.
pub(super) fn kind_name(node: &Node) -> &'static str {
    match node {
        Node::None => "None",
        Node::Bool(_) => "a bool",
        Node::Int(_) | Node::Big(_) => "an int",
        Node::Float(_) => "a float",
        Node::Text(_) => "a str",
        Node::Bytes(_) => "bytes",
        Node::List(_) => "a list",
        Node::Tuple(_) => "a tuple",
        Node::Set(_) => "a set",
        Node::Dict(_) => "a dict",
        Node::Global(_) => "a class or function",
        Node::Object(_) => "a foreign object",
        Node::Storage(_) => "a storage",
        Node::Tensor(_) => "a tensor",
    }
}
