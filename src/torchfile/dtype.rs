//! Element types: torch's names of their storages, and which of them this libtorch binding supports.

/// The element type of a storage or tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dtype {
    Known(Known),
    /// A type without tensors in tch (complex, quantised, fp8, uint16 ...): its name, and its size if torch's storages have it.
    Other(String, Option<u64>),
}

/// A type that can be read; a number in [`STORAGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known(usize);

/// torch's storage classes of the supported types.
const STORAGES: [(tch::Kind, &str); 10] = [
    (tch::Kind::Double, "DoubleStorage"),
    (tch::Kind::Float, "FloatStorage"),
    (tch::Kind::Half, "HalfStorage"),
    (tch::Kind::BFloat16, "BFloat16Storage"),
    (tch::Kind::Int64, "LongStorage"),
    (tch::Kind::Int, "IntStorage"),
    (tch::Kind::Int16, "ShortStorage"),
    (tch::Kind::Int8, "CharStorage"),
    (tch::Kind::Uint8, "ByteStorage"),
    (tch::Kind::Bool, "BoolStorage"),
];

/// Unsupported storages, whose size is needed to skip them in a legacy file.
const UNREAD: [(&str, u64); 8] = [
    ("ComplexDoubleStorage", 16),
    ("ComplexFloatStorage", 8),
    ("QInt8Storage", 1),
    ("QUInt8Storage", 1),
    ("QInt32Storage", 4),
    ("QUInt4x2Storage", 1),
    ("QUInt2x4Storage", 1),
    ("UntypedStorage", 1),
];

/// The storage class of a type, without its module.
pub(super) fn storage_class(kind: tch::Kind) -> Option<&'static str> {
    STORAGES.iter().find(|(k, _)| *k == kind).map(|(_, class)| *class)
}

impl Dtype {
    /// The type of a storage class ("torch.FloatStorage", "torch.cuda.HalfStorage"); None if it is not a storage of torch's.
    pub fn of_storage(class: &str) -> Option<Self> {
        let (module, name) = class.rsplit_once('.')?;
        if !matches!(module, "torch" | "torch.cuda" | "torch.storage") || !name.ends_with("Storage") {
            return None;
        }
        if let Some(i) = STORAGES.iter().position(|(_, class)| *class == name) {
            return Some(Dtype::Known(Known(i)));
        }
        let size = UNREAD.iter().find(|(class, _)| *class == name).map(|(_, size)| *size);
        Some(Dtype::Other(name.to_owned(), size))
    }

    /// libtorch's type; None if tch has none.
    pub fn kind(&self) -> Option<tch::Kind> {
        match self {
            Dtype::Known(Known(i)) => Some(STORAGES[*i].0),
            Dtype::Other(..) => None,
        }
    }

    /// The bytes of an element.
    pub fn size(&self) -> Option<u64> {
        match self {
            Dtype::Known(Known(i)) => Some(STORAGES[*i].0.elt_size_in_bytes() as u64),
            Dtype::Other(_, size) => *size,
        }
    }

    /// torch's name of it, for messages.
    pub fn name(&self) -> &str {
        match self {
            Dtype::Known(Known(i)) => STORAGES[*i].1,
            Dtype::Other(name, _) => name,
        }
    }
}
