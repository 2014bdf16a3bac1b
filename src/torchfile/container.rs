//! Locates the pickle and the storages of a PyTorch file: a zip (torch 1.6 and later), or one stream (torch before that).
//!
//! Opening reads the directory and the pickle; storages are read one at a time, on demand.

use super::arena::{Arena, Id, Node};
use super::input::Input;
use super::{Fault, directory, pickle};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

type Step<T> = Result<T, Fault>;

/// Bytes that are read and passed on at a time: they stay in the processor's cache on the way into a tensor.
const PIECE: usize = 256 << 10;
/// Most bytes to read when locating the entries of a zip. A checkpoint of RVC needs 0.2 MB; the directory takes some ten times its size
/// in memory while it is searched.
const DIRECTORY_BYTES: u64 = 4 << 20;
/// How far an entry may expand beyond the length of the file.
const SLACK_BYTES: u64 = 64 << 20;

/// torch.serialization.MAGIC_NUMBER and PROTOCOL_VERSION of the stream format.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const STREAM_VERSION: i128 = 1001;
/// The beginning of a stream: PROTO 2 and the magic number's LONG1 of ten bytes.
const STREAM_START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// An opened file, for access to its storages.
pub(super) enum Container {
    Zip {
        archive: ZipArchive<BufReader<Metered>>,
        root: String,
        length: u64,
    },
    Stream {
        file: File,
        /// Offset and length by key.
        records: HashMap<String, (u64, u64)>,
    },
}

/// Opens a file and reads its pickle.
pub(super) fn open(mut file: File) -> Step<(Container, Arena, Id)> {
    let length = file.metadata()?.len();
    let mut start = Vec::new();
    (&mut file).take(512).read_to_end(&mut start)?;
    let is_zip = start.starts_with(b"PK\x03\x04");
    // A stream may contain anything, so its end must not be searched for a zip; any other file may have a zip after other bytes.
    let begin = if start.starts_with(STREAM_START) { None } else { directory::begin(&mut file, length)? };
    file.seek(SeekFrom::Start(0))?;
    let mut arena = Arena::new(length);
    let (container, root) = if is_zip || begin.is_some() {
        open_zip(file, length, begin, &mut arena)?
    } else if start.get(257..262) == Some(b"ustar") {
        return Err(Fault::new("a tar file, as torch wrote before 0.2; load and save it with a newer torch"));
    } else {
        open_stream(file, length, &mut arena)?
    };
    Ok((container, arena, root))
}

impl Container {
    /// The length of a storage. Errors, as a message, if the key does not exist.
    pub fn length_of(&self, key: &str) -> Result<u64, String> {
        // A key becomes part of a name in the zip; torch's are numbers.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if key.is_empty() || key.starts_with('.') || !key.chars().all(plain) {
            return Err(format!("its data has the key {key:?}, which is not a plain name"));
        }
        let none = || format!("its data ({key}) is not in the file");
        match self {
            Container::Zip { archive, root, .. } => {
                let index = archive.index_for_name_raw(format!("{root}data/{key}").as_bytes()).ok_or_else(none)?;
                archive.metadata().entry(index).map(|entry| entry.size()).map_err(|e| e.to_string())
            }
            Container::Stream { records, .. } => records.get(key).map(|record| record.1).ok_or_else(none),
        }
    }

    /// Passes the bytes of a storage to `sink`, piece by piece.
    pub fn read(&mut self, key: &str, sink: &mut dyn FnMut(&[u8])) -> Step<()> {
        match self {
            Container::Zip { archive, root, length } => {
                let name = format!("{root}data/{key}");
                let (mut entry, size) = open_entry(archive, &name, *length)?;
                pass_on(&mut entry, size, sink)
            }
            Container::Stream { file, records } => {
                let &(offset, length) = records.get(key).ok_or_else(|| Fault::new("its data is not in the file"))?;
                file.seek(SeekFrom::Start(offset))?;
                pass_on(&mut file.take(length), length, sink)
            }
        }
    }
}

/// Reads to the end, where a zip entry compares its checksum. Most tensors are small: so is their piece.
fn pass_on(reader: &mut impl Read, length: u64, sink: &mut dyn FnMut(&[u8])) -> Step<()> {
    let mut piece = vec![0; PIECE.min(length as usize).max(1)];
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(()),
            n => sink(&piece[..n]),
        }
    }
}

// --- Zip ---------------------------------------------------------------------------------------------------------------

/// `begin`: the start of the zip; with None the zip crate searches for it, in files whose end records are wrong but sufficient.
fn open_zip(file: File, length: u64, begin: Option<u64>, arena: &mut Arena) -> Step<(Container, Id)> {
    let allowance = Arc::new(AtomicU64::new(DIRECTORY_BYTES));
    let reader = BufReader::new(Metered { file, left: Arc::clone(&allowance) });
    let config = Config { archive_offset: begin.map_or(ArchiveOffset::Detect, ArchiveOffset::Known) };
    let mut archive = ZipArchive::with_config(config, reader).map_err(zip_fault)?;
    allowance.store(u64::MAX, Ordering::Relaxed);
    if archive.has_duplicate_names() {
        return Err(Fault::new("two entries of the zip have the same name"));
    }
    let root = zip_root(&archive)?;
    check_byte_order(&mut archive, &root, length)?;
    let name = format!("{root}data.pkl");
    let (entry, size) = open_entry(&mut archive, &name, length)?;
    let mut input = Input::new(BufReader::new(entry), size);
    let value = pickle::read(&mut input, arena).and_then(|value| input.finish().map(|()| value));
    let value = value.map_err(|fault| fault.context("data.pkl"))?;
    drop(input);
    Ok((Container::Zip { archive, root, length }, value))
}

/// "archive/", the folder of data.pkl; empty if it is at the top.
fn zip_root<R: Read + Seek>(archive: &ZipArchive<R>) -> Step<String> {
    let root_of = |name: &str| {
        let root = name.strip_suffix("data.pkl")?;
        let one_folder = root.strip_suffix('/').is_some_and(|folder| !folder.contains('/'));
        (root.is_empty() || one_folder).then(|| root.to_owned())
    };
    let mut roots = archive.file_names().filter_map(|name| root_of(name.ok()?.as_ref()));
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root),
        (None, _) => Err(Fault::new("a zip without data.pkl, so not a PyTorch file")),
        (Some(_), Some(_)) => Err(Fault::new("a zip with several data.pkl")),
    }
}

fn check_byte_order<R: Read + Seek>(archive: &mut ZipArchive<R>, root: &str, length: u64) -> Step<()> {
    let name = format!("{root}byteorder");
    if archive.index_for_name_raw(name.as_bytes()).is_none() {
        return Ok(());
    }
    let mut text = Vec::new();
    let (entry, _) = open_entry(archive, &name, length)?;
    entry.take(32).read_to_end(&mut text)?;
    if text == b"little" {
        return Ok(());
    }
    Err(Fault::new(format!("its byte order is {:?}; only \"little\" is supported", String::from_utf8_lossy(&text))))
}

/// An entry and its length, which it cannot exceed while it is read.
fn open_entry<'a, R: Read + Seek>(
    archive: &'a mut ZipArchive<R>,
    name: &str,
    file_length: u64,
) -> Step<(impl Read + use<'a, R>, u64)> {
    let index = archive.index_for_name_raw(name.as_bytes());
    let index = index.ok_or_else(|| Fault::new(format!("its zip has no entry {name:?}")))?;
    let entry = archive.by_index(index).map_err(|e| zip_fault(e).context(name))?;
    let (size, packed) = (entry.size(), entry.compressed_size());
    let possible = match entry.compression() {
        CompressionMethod::Stored => size == packed && size <= file_length,
        _ => packed <= file_length && size <= file_length.saturating_add(SLACK_BYTES),
    };
    if !possible {
        return Err(Fault::new(format!("{name} claims {size} bytes, which a file of {file_length} cannot hold")));
    }
    Ok((entry, size))
}

fn zip_fault(error: ZipError) -> Fault {
    match error {
        ZipError::Io(error) => Fault::from(error),
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) | ZipError::InvalidPassword => {
            Fault::new("its zip is encrypted or compressed in a way that PyTorch never uses")
        }
        _ => Fault::new("the list of entries at the end of its zip is cut off or damaged"),
    }
}

/// A file with a limit on reads until the allowance is raised.
pub(super) struct Metered {
    file: File,
    left: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            let text = format!("no end of its zip, or more than {DIRECTORY_BYTES} bytes of directory");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.file.read(&mut buffer[..most])?;
        if left != u64::MAX {
            self.left.store(left - n as u64, Ordering::Relaxed);
        }
        Ok(n)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

// --- Stream ------------------------------------------------------------------------------------------------------------

/// Four pickles (magic number, version, system, value), a fifth with the keys of the storages in order, then each storage: its
/// number of elements (8 bytes) and its data.
fn open_stream(file: File, length: u64, arena: &mut Arena) -> Step<(Container, Id)> {
    let mut input = Input::new(BufReader::new(file), length);
    let none = || Fault::new("not a PyTorch file: neither a zip nor torch's magic number at its beginning");
    match scalar(&mut input) {
        Ok(Some(MAGIC)) => {}
        Err(Fault::Io(error)) => return Err(Fault::Io(error)),
        // Other data is seldom a valid pickle; the offset of the first bad byte would help nobody.
        Ok(_) | Err(Fault::Data(_)) => return Err(none()),
    }
    match scalar(&mut input)? {
        Some(STREAM_VERSION) => {}
        other => return Err(Fault::new(format!("stream version {other:?}; only {STREAM_VERSION} is supported"))),
    }
    let mut system = Arena::new(0);
    let facts = pickle::read(&mut input, &mut system)?;
    if system.at(facts, "little_endian") != Some(Id::TRUE) {
        return Err(Fault::new("it was not written on a little-endian machine, and other files are not supported"));
    }
    let value = pickle::read(&mut input, arena)?;
    let keys = pickle::read(&mut input, arena)?;
    let Node::List(keys) = arena.node(keys) else { return Err(Fault::new("its list of storages is not a list")) };
    let offsets = record_offsets(arena, keys, &mut input)?;
    Ok((Container::Stream { file: input.into_inner().into_inner(), records: offsets }, value))
}

/// The whole number that a pickle consists of.
fn scalar(input: &mut Input<BufReader<File>>) -> Step<Option<i128>> {
    let mut arena = Arena::new(0);
    let value = pickle::read(input, &mut arena)?;
    Ok(match arena.node(value) {
        Node::Int(n) => Some((*n).into()),
        Node::Big(n) => Some(**n),
        _ => None,
    })
}

fn record_offsets(arena: &Arena, keys: &[Id], input: &mut Input<BufReader<File>>) -> Step<HashMap<String, (u64, u64)>> {
    // Elements and bytes of each storage, as the pickle declares them; None if its declarations differ or its type is unknown.
    let mut declared: HashMap<&[u8], Option<(u64, u64)>> = HashMap::new();
    for storage in arena.storages() {
        let bytes = storage.dtype.size().and_then(|size| size.checked_mul(storage.numel));
        let size = bytes.map(|bytes| (storage.numel, bytes));
        declared.entry(arena.bytes_of(storage.key)).and_modify(|s| *s = s.filter(|_| *s == size)).or_insert(size);
    }
    let mut records = HashMap::new();
    for &key in keys {
        let key = arena.text(key).ok_or_else(|| Fault::new("a storage's key is not a text"))?;
        let size = declared.get(key.as_bytes()).copied().flatten();
        let (numel, bytes) = size.ok_or_else(|| Fault::new(format!("the size of storage {key:?} is unknown")))?;
        let there = u64::from_le_bytes(input.array()?);
        if there != numel {
            return Err(Fault::new(format!("storage {key:?} has {there} elements, but its tensors need {numel}")));
        }
        let offset = input.at();
        input.skip(bytes)?;
        if records.insert(key.to_owned(), (offset, bytes)).is_some() {
            return Err(Fault::new(format!("storage {key:?} is a duplicate")));
        }
    }
    Ok(records)
}
