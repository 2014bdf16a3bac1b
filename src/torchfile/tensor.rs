//! Reads tensors from storages, after checking the file's declarations against its content.

use super::arena::Layout;
use super::{Fault, TorchFile, damaged};
use crate::{Error, Kind, Result};
use tch::{Device, Tensor};

impl TorchFile {
    /// The declared size of a tensor in bytes.
    pub(super) fn claimed_bytes(&self, tensor: u32) -> u64 {
        self.arena.tensor(tensor).layout.as_ref().map_or(0, |layout| bytes(layout).unwrap_or(u64::MAX))
    }

    /// The tensor with a number; `name` is for messages.
    pub(super) fn read_tensor(&self, name: &str, tensor: u32) -> Result<Tensor> {
        let (layout, kind, numel) = self.checked(tensor).map_err(|why| {
            damaged(&self.path, format_args!("has no readable tensor {name:?}: {why}"))
                .hint("use a complete file from torch.save")
        })?;
        let wrong = |e: tch::TchError| torch_error(name, e).path(&self.path);
        let shape = signed(&layout.shape);
        if numel == 0 {
            return Tensor::f_empty(&shape, (kind, Device::Cpu)).map_err(wrong);
        }
        let storage = self.storage_tensor(name, layout.storage, kind)?;
        let spec = self.arena.storage(layout.storage);
        if numel == spec.numel && spec.users == 1 && is_row_major(layout) {
            return storage.f_view(&shape[..]).map_err(wrong);
        }
        // A copy, so that a small view does not keep a big storage in memory.
        let offset = (spec.part.0 + layout.offset).cast_signed();
        let copy = || {
            let view = storage.f_as_strided(&shape, signed(&layout.strides), offset)?;
            let mut copy = Tensor::f_empty(&shape, (kind, Device::Cpu))?;
            copy.f_copy_(&view)?;
            Ok(copy)
        };
        copy().map_err(wrong)
    }

    /// Layout, type and number of elements of a tensor within its storage; else what is wrong with it.
    fn checked(&self, tensor: u32) -> std::result::Result<(&Layout, tch::Kind, u64), String> {
        let tensor = self.arena.tensor(tensor);
        let Some(layout) = &tensor.layout else {
            return Err(match self.arena.blame(tensor.args) {
                Some(class) => format!("it needs an object of {class}, which is kept as data and never run"),
                None => "its storage, offset, shape or strides are invalid".into(),
            });
        };
        let storage = self.arena.storage(layout.storage);
        let kind = layout.dtype.kind().ok_or_else(|| format!("its type {} cannot be read", layout.dtype.name()))?;
        let size = kind.elt_size_in_bytes() as u64;
        let total = bytes(layout).filter(|&total| total <= self.limit);
        let total = total.ok_or_else(|| format!("shape {:?} is more than its file can hold", layout.shape))?;
        let key = String::from_utf8_lossy(self.arena.bytes_of(storage.key));
        let there = self.container.borrow().length_of(&key)?;
        if storage.numel.checked_mul(size) != Some(there) {
            return Err(format!("it promises {} elements of {size} bytes, but {there} bytes are there", storage.numel));
        }
        let (start, length) = storage.part;
        let inside = start.checked_add(length).is_some_and(|end| end <= storage.numel);
        if !inside || total > 0 && reach(layout).is_none_or(|reach| reach > u128::from(length)) {
            let (shape, strides, offset) = (&layout.shape, &layout.strides, layout.offset);
            return Err(format!(
                "shape {shape:?} with strides {strides:?} from {offset} reaches beyond its storage of {length} elements"
            ));
        }
        Ok((layout, kind, total / size))
    }

    /// All elements of a storage, in one dimension.
    fn storage_tensor(&self, name: &str, number: u32, kind: tch::Kind) -> Result<Tensor> {
        if let Some((kept, tensor)) = &*self.shared.borrow()
            && *kept == number
        {
            return Ok(tensor.shallow_clone());
        }
        // The kept storage is freed before the next one is read.
        *self.shared.borrow_mut() = None;
        let storage = self.arena.storage(number);
        let key = String::from_utf8_lossy(self.arena.bytes_of(storage.key));
        let numel = storage.numel.cast_signed();
        let tensor =
            Tensor::f_empty([numel], (kind, Device::Cpu)).map_err(|e| torch_error(name, e).path(&self.path))?;
        self.fill(&tensor, &key).map_err(|fault| fault.at(&self.path, &format!("has a damaged tensor {name:?}")))?;
        if storage.users > 1 {
            *self.shared.borrow_mut() = Some((number, tensor.shallow_clone()));
        }
        Ok(tensor)
    }

    /// Reads a storage into a new contiguous tensor on the CPU, piece by piece without a copy of the whole.
    fn fill(&self, tensor: &Tensor, key: &str) -> std::result::Result<(), Fault> {
        let size = tensor.numel() * tensor.kind().elt_size_in_bytes();
        let target = tensor.data_ptr().cast::<u8>();
        let mut done = 0;
        let mut too_long = false;
        self.container.borrow_mut().read(key, &mut |piece| {
            if piece.len() > size - done {
                too_long = true;
                return;
            }
            // SAFETY: nobody else has the tensor, it is contiguous, on the CPU and of `size` bytes, of which `done` are written and
            // `piece.len()` more fit, as checked; a piece of another buffer does not overlap it. Any bytes are valid elements.
            unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), target.add(done), piece.len()) };
            done += piece.len();
        })?;
        match (too_long, done == size) {
            (true, _) => Err(Fault::new("its data is longer than it claims")),
            (false, false) => Err(Fault::new("it ends too early")),
            (false, true) => Ok(()),
        }
    }
}

fn torch_error(name: &str, error: tch::TchError) -> Error {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    Error::new(Kind::Torch, format!("libtorch cannot hold the tensor {name:?}: {text}")).source(error)
}

/// The bytes of a tensor of this layout; None if they do not fit into 64 bits, or its type has no size.
fn bytes(layout: &Layout) -> Option<u64> {
    if layout.shape.contains(&0) {
        return Some(0);
    }
    let numel = layout.shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size as u64));
    numel?.checked_mul(layout.dtype.size().unwrap_or(1))
}

/// One past the last element that a tensor touches; it has elements. None if that does not fit into 128 bits.
fn reach(layout: &Layout) -> Option<u128> {
    let steps = layout.shape.iter().zip(&layout.strides);
    let far = steps.map(|(&size, &stride)| (size as u128 - 1).checked_mul(stride as u128));
    far.into_iter().try_fold(u128::from(layout.offset), |sum, step| sum.checked_add(step?))?.checked_add(1)
}

/// Whether the elements follow each other as in a new tensor; the strides of dimensions of size 1 do not matter.
fn is_row_major(layout: &Layout) -> bool {
    let mut expected = 1;
    layout.shape.iter().zip(&layout.strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected *= size;
        fits
    })
}

fn signed(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&n| n as i64).collect()
}
