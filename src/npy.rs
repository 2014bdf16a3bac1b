//! NumPy files (.npy), RVC's format of pitch and content features (spec B.2, C.4).
//!
//! Written: format 1.0, C order, little endian, a header of 128 bytes, the whole file or none of it.
//! Read: formats 1 to 3 of the same element types, also RVC's int32 pitch (its mute files, and any file made on
//! Windows). Any other content is an error with the file's path; no content can cause a panic.
//!
//! Written here: crate npyz would take over the header, not the checks of shape and size, nor the whole-or-nothing writing.

use crate::{Error, Kind, Result, files};
use std::io::Write;
use std::path::Path;

/// Length of the magic, version, length field and dictionary together; NumPy pads to a multiple of 64, and one or two
/// dimensions always need the second block.
const HEADER_BYTES: usize = 128;
const MAGIC: &[u8] = b"\x93NUMPY";

/// Writes whole numbers as int64, shape [n]: RVC's coarse pitch. Errors: `file.write`, `file.disk_full`.
pub fn write_i64(path: &Path, values: &[i64]) -> Result<()> {
    write(path, "<i8", &[values.len()], values.iter().map(|v| v.to_le_bytes()))
}

/// Writes numbers as float64, shape [n]: RVC's f0 in Hz. Errors: `file.write`, `file.disk_full`.
pub fn write_f64(path: &Path, values: &[f64]) -> Result<()> {
    write(path, "<f8", &[values.len()], values.iter().map(|v| v.to_le_bytes()))
}

/// Writes row-major numbers as float32, shape [rows, columns]: RVC's content features.
///
/// Errors: `internal` if the values are not whole rows; `file.write`, `file.disk_full`.
pub fn write_f32_2d(path: &Path, values: &[f32], columns: usize) -> Result<()> {
    if columns == 0 || !values.len().is_multiple_of(columns) {
        let message = format!("{} values are not whole rows of {columns}", values.len());
        return Err(Error::new(Kind::Internal, message).path(path));
    }
    write(path, "<f4", &[values.len() / columns, columns], values.iter().map(|v| v.to_le_bytes()))
}

fn write<const N: usize>(
    path: &Path,
    descr: &str,
    shape: &[usize],
    elements: impl Iterator<Item = [u8; N]>,
) -> Result<()> {
    let header = header(descr, shape);
    files::write_with(path, |file| {
        file.write_all(&header)?;
        elements.into_iter().try_for_each(|element| file.write_all(&element))
    })
}

/// The header that NumPy itself writes for this type and shape.
fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let dictionary =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", sizes.join(", "));
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(((HEADER_BYTES - MAGIC.len() - 4) as u16).to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.resize(HEADER_BYTES - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// The whole numbers of a file of shape [n] (int64 or int32).
///
/// Errors: `file.not_found`, `file.read`, `data.damaged`.
pub fn read_i64(path: &Path) -> Result<Vec<i64>> {
    let array = Array::read(path)?;
    array.dimensions(path, 1)?;
    match array.element {
        Element::I64 => Ok(array.elements(i64::from_le_bytes)),
        Element::I32 => Ok(array.elements(|b| i64::from(i32::from_le_bytes(b)))),
        other => Err(wrong_type(path, other, "int64 or int32")),
    }
}

/// The numbers of a file of shape [n] (float64 or float32).
///
/// Errors: `file.not_found`, `file.read`, `data.damaged`.
pub fn read_f64(path: &Path) -> Result<Vec<f64>> {
    let array = Array::read(path)?;
    array.dimensions(path, 1)?;
    match array.element {
        Element::F64 => Ok(array.elements(f64::from_le_bytes)),
        Element::F32 => Ok(array.elements(|b| f64::from(f32::from_le_bytes(b)))),
        other => Err(wrong_type(path, other, "float64 or float32")),
    }
}

/// The row-major numbers of a file of shape [rows, columns] (float32 or float64), with both sizes.
///
/// Errors: `file.not_found`, `file.read`, `data.damaged`.
pub fn read_f32_2d(path: &Path) -> Result<(Vec<f32>, usize, usize)> {
    let array = Array::read(path)?;
    array.dimensions(path, 2)?;
    let values = match array.element {
        Element::F32 => array.elements(f32::from_le_bytes),
        Element::F64 => array.elements(|b| f64::from_le_bytes(b) as f32),
        other => return Err(wrong_type(path, other, "float32 or float64")),
    };
    Ok((values, array.shape[0], array.shape[1]))
}

#[derive(Clone, Copy, Debug)]
enum Element {
    I32,
    I64,
    F32,
    F64,
}

impl Element {
    fn parse(descr: &str) -> Option<Self> {
        Some(match descr {
            "<i4" => Self::I32,
            "<i8" => Self::I64,
            "<f4" => Self::F32,
            "<f8" => Self::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// A file whose size agrees with its header.
struct Array {
    element: Element,
    shape: Vec<usize>,
    bytes: Vec<u8>,
    start: usize,
}

impl Array {
    fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        Self::parse(bytes).map_err(|reason| damaged(path, &reason))
    }

    fn parse(bytes: Vec<u8>) -> std::result::Result<Self, String> {
        let (text, start) = dictionary(&bytes).ok_or("it does not begin like a NumPy file")?;
        let descr = value_of(text, "descr").and_then(|v| v.split(['\'', '"']).nth(1)).ok_or("it has no type")?;
        let element = Element::parse(descr).ok_or_else(|| format!("its elements are {descr:?}"))?;
        let shape = value_of(text, "shape").and_then(shape).ok_or("its shape is not readable")?;
        let fortran = value_of(text, "fortran_order").is_none_or(|v| !v.starts_with("False"));
        if fortran && shape.len() > 1 {
            return Err("its columns come first (Fortran order)".into());
        }
        let wanted = shape.iter().try_fold(element.size(), |size, n| size.checked_mul(*n));
        let held = bytes.len() - start;
        if wanted != Some(held) {
            return Err(format!("its header promises shape {shape:?} of {descr}, but {held} bytes follow"));
        }
        Ok(Self { element, shape, bytes, start })
    }

    fn dimensions(&self, path: &Path, wanted: usize) -> Result<()> {
        if self.shape.len() == wanted {
            return Ok(());
        }
        Err(damaged(path, &format!("its shape is {:?}, but {wanted} dimension(s) are needed", self.shape)))
    }

    fn elements<const N: usize, T>(&self, convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.bytes[self.start..].as_chunks::<N>().0.iter().map(|bytes| convert(*bytes)).collect()
    }
}

/// The header's dictionary and where the elements begin.
fn dictionary(bytes: &[u8]) -> Option<(&str, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, from) = match rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), MAGIC.len() + 4),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, MAGIC.len() + 6),
        _ => return None,
    };
    let start = from.checked_add(length)?;
    Some((std::str::from_utf8(bytes.get(from..start)?).ok()?, start))
}

/// The text behind `'key':` in the dictionary.
fn value_of<'a>(dictionary: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = dictionary.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// The sizes in "(371, 768), ..." or "(371,), ...".
fn shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    inside.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
}

fn damaged(path: &Path, reason: &str) -> Error {
    Error::new(Kind::DataDamaged, format!("{} cannot be used: {reason}", path.display())).path(path)
}

fn wrong_type(path: &Path, found: Element, wanted: &str) -> Error {
    damaged(path, &format!("its elements are {found:?}, but {wanted} is needed"))
}
