//! Indices as FAISS files: type IVF-Flat, L2 (spec H.2; checked with faiss 1.15).
//!
//! ```text
//! "IwFl" header  u64 cells  u64 nprobe
//!     "IxF2" header  u64 cells * dim  f32[cells * dim]              the centres, an index of their own
//!     u8 0  u64 0                                                   no direct map
//!     "ilar" u64 cells  u64 4 * dim
//!         "full" u64 cells  u64[cells]                              the size of each cell, or, if at most half of them
//!         "sprs" u64 2 * k  (u64 cell, u64 size)[k]                 have any vector, only of those
//!     for each cell that has any: f32[size * dim]  i64[size]        vectors, numbers
//!
//! header: i32 dim  i64 n  i64 2^20  i64 2^20  u8 is_trained  i32 metric          all numbers little endian
//! ```

use super::Index;
use crate::{Error, Kind, Result, files, recognise};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

const L2: i32 = 1;
/// Two fields of the header that FAISS once used.
const UNUSED: i64 = 1 << 20;
const HINT: &str =
    "RVC's own are added_IVF<n>_Flat_nprobe_1_<voice>_<version>.index; build it again from the voice's features";

/// The result of a read step, or what is wrong with the file.
type Step<T> = std::result::Result<T, Fault>;

enum Fault {
    Content(String),
    System(std::io::Error),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Content(text)
    }
}

/// See [`Index::read`].
pub(super) fn read(path: &Path) -> Result<Index> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let left = file.metadata().map_err(|e| Error::io("look at", path, e))?.len();
    let mut input = Input { reader: BufReader::with_capacity(1 << 16, file), left };
    input.index().map_err(|fault| match fault {
        Fault::System(e) => Error::io("read", path, e),
        Fault::Content(what) => {
            if let Some(found) = recognise::no_index(path) {
                return found.refused(Kind::DataDamaged, path, "a retrieval index (.index)");
            }
            Error::new(Kind::DataDamaged, format!("{} is not a usable index: {what}", path.display()))
                .path(path)
                .hint(HINT)
        }
    })
}

/// A file and the number of its unread bytes.
struct Input {
    reader: BufReader<File>,
    left: u64,
}

struct Header {
    dim: usize,
    n: u64,
}

impl Input {
    fn index(&mut self) -> Step<Index> {
        self.kind("the index", "IwFl")?;
        let Header { dim, n } = self.header("the index")?;
        let n_cells = self.u64("the number of cells")?;
        let nprobe = self.u64("nprobe")?;
        if n_cells == 0 || nprobe == 0 {
            return Err(format!("it has {n_cells} cells, of which {nprobe} are searched").into());
        }
        let centres = self.centres(dim, n_cells)?;
        let n_cells = centres.len() / dim;
        if self.u8("the direct map")? != 0 || self.u64("the direct map")? != 0 {
            return Err("it has a direct map, which RVC's indices do not have".to_owned().into());
        }
        let sizes = self.sizes(dim, n_cells)?;
        self.check_total(dim, n, &sizes)?;
        let mut index = Index {
            dim,
            nprobe: usize::try_from(nprobe).unwrap_or(usize::MAX),
            centres,
            vectors: vec![0.0; n as usize * dim],
            cells: vec![Vec::new(); n_cells],
        };
        let mut seen = vec![false; n as usize];
        for (cell, size) in sizes.into_iter().enumerate() {
            self.cell(&mut index, &mut seen, cell, size)?;
        }
        Ok(index)
    }

    /// The centres, a separate flat index, checked against the file's size.
    fn centres(&mut self, dim: usize, n_cells: u64) -> Step<Vec<f32>> {
        self.kind("the index of the centres", "IxF2")?;
        let header = self.header("the index of the centres")?;
        let values = self.u64("the number of values of the centres")?;
        if header.dim != dim || header.n != n_cells || n_cells.checked_mul(dim as u64) != Some(values) {
            let (d, n) = (header.dim, header.n);
            return Err(
                format!("it promises {n_cells} centres of {dim} values, but has {n} of {d}, {values} values").into()
            );
        }
        let bytes = self.bytes(values.saturating_mul(4), "the centres")?;
        floats(&bytes, "the centres")
    }

    /// The size of every cell.
    fn sizes(&mut self, dim: usize, n_cells: usize) -> Step<Vec<u64>> {
        self.kind("the lists of the cells", "ilar")?;
        let (n, code) = (self.u64("the number of lists")?, self.u64("the size of a vector")?);
        if n != n_cells as u64 || code != 4 * dim as u64 {
            return Err(format!("it has {n_cells} cells of {} bytes a vector, but {n} lists of {code}", 4 * dim).into());
        }
        let layout = self.fourcc("the layout of the lists")?;
        let count = self.u64("the number of sizes")?;
        let numbers = |input: &mut Self| -> Step<Vec<u64>> {
            let bytes = input.bytes(count.saturating_mul(8), "the sizes of the cells")?;
            Ok(bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect())
        };
        match &layout {
            b"full" if count == n => numbers(self),
            b"sprs" if count.is_multiple_of(2) && count / 2 <= n => {
                let mut sizes = vec![0; n_cells];
                let mut next = 0;
                for [cell, size] in numbers(self)?.as_chunks().0 {
                    if *cell < next || *cell >= n {
                        return Err(format!("its list of sizes has cell {cell} after cell {next} of {n}").into());
                    }
                    sizes[*cell as usize] = *size;
                    next = cell + 1;
                }
                Ok(sizes)
            }
            b"full" | b"sprs" => Err(format!("it has {count} sizes for {n} cells").into()),
            other => Err(format!("the layout of its lists is {}, which is unknown", printable(*other)).into()),
        }
    }

    /// Checks that the cells hold the promised number of vectors, and the rest of the file exactly these.
    fn check_total(&self, dim: usize, n: u64, sizes: &[u64]) -> Step<()> {
        let sum = sizes.iter().try_fold(0u64, |sum, size| sum.checked_add(*size));
        if sum != Some(n) || u32::try_from(n).is_err() {
            let sum = sum.map_or("more than can be counted".to_owned(), |sum| sum.to_string());
            return Err(format!("it promises {n} vectors, but its cells have {sum}").into());
        }
        let wanted = n.checked_mul(4 * dim as u64 + 8);
        if wanted != Some(self.left) {
            return Err(
                format!("its {n} vectors of {dim} values do not fit the {} bytes that follow", self.left).into()
            );
        }
        Ok(())
    }

    fn cell(&mut self, index: &mut Index, seen: &mut [bool], cell: usize, size: u64) -> Step<()> {
        let dim = index.dim;
        let what = format!("cell {cell}");
        let codes = self.bytes(size * 4 * dim as u64, &what)?;
        let ids = self.bytes(size * 8, &what)?;
        index.cells[cell].reserve_exact(size as usize);
        for (code, id) in codes.chunks_exact(4 * dim).zip(ids.as_chunks().0) {
            let id = i64::from_le_bytes(*id);
            let number = usize::try_from(id).ok().filter(|number| *number < seen.len());
            let Some(number) = number.filter(|number| !std::mem::replace(&mut seen[*number], true)) else {
                return Err(format!("{what} has the number {id}, which is too large or a duplicate").into());
            };
            index.vectors[number * dim..][..dim].copy_from_slice(&floats(code, &what)?);
            index.cells[cell].push(number as u32);
        }
        Ok(())
    }

    fn header(&mut self, what: &str) -> Step<Header> {
        let dim = i32::from_le_bytes(self.array(what)?);
        let n = i64::from_le_bytes(self.array(what)?);
        self.array::<16>(what)?;
        let (trained, metric) = (self.u8(what)?, i32::from_le_bytes(self.array(what)?));
        match (usize::try_from(dim), u64::try_from(n)) {
            (Ok(dim @ 1..), Ok(n)) if trained == 1 && metric == L2 => Ok(Header { dim, n }),
            (Ok(1..), Ok(_)) if trained == 1 => {
                let name = if metric == 0 { "inner product".to_owned() } else { format!("no. {metric}") };
                Err(format!("{what} has the metric {name}, but L2 is needed").into())
            }
            (Ok(1..), Ok(_)) => Err(format!("{what} has not been trained").into()),
            _ => Err(format!("{what} promises {n} vectors of {dim} values").into()),
        }
    }

    /// Reads the four letters of a kind of FAISS index.
    fn kind(&mut self, what: &str, wanted: &str) -> Step<()> {
        let found = self.fourcc(what)?;
        if found == wanted.as_bytes() {
            return Ok(());
        }
        let known = match &found {
            b"IxF2" | b"IxFI" | b"IxFl" => ", a flat index",
            b"IwPQ" | b"IwSq" | b"IvPQ" => ", an index of compressed vectors",
            b"IHNf" => ", a graph (HNSW)",
            b"IxPT" => ", an index behind a transform",
            b"IvFl" => ", IVF-Flat from FAISS before 2017",
            _ => "",
        };
        Err(format!("{what} is of FAISS type {}{known}; {wanted:?} (IVF-Flat, L2) is needed", printable(found)).into())
    }

    fn fourcc(&mut self, what: &str) -> Step<[u8; 4]> {
        self.array(what)
    }

    fn u8(&mut self, what: &str) -> Step<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    fn u64(&mut self, what: &str) -> Step<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn array<const N: usize>(&mut self, what: &str) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next `n` bytes; memory is allocated only if the file has them.
    fn bytes(&mut self, n: u64, what: &str) -> Step<Vec<u8>> {
        let mut bytes = if n <= self.left { vec![0; n as usize] } else { return Err(self.cut_off(n, what)) };
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Step<()> {
        let n = bytes.len() as u64;
        self.left = self.left.checked_sub(n).ok_or_else(|| self.cut_off(n, what))?;
        self.reader.read_exact(bytes).map_err(Fault::System)
    }

    fn cut_off(&self, wanted: u64, what: &str) -> Fault {
        Fault::Content(format!("it is cut off in {what}: {wanted} bytes are needed, {} are left", self.left))
    }
}

fn floats(bytes: &[u8], what: &str) -> Step<Vec<f32>> {
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    match values.iter().find(|x| !x.is_finite()) {
        Some(x) => Err(format!("{what} has the value {x}").into()),
        None => Ok(values),
    }
}

fn printable(fourcc: [u8; 4]) -> String {
    format!("\"{}\"", fourcc.escape_ascii())
}

/// See [`Index::write`].
pub(super) fn write(index: &Index, path: &Path) -> Result<()> {
    files::write_with(path, |out| {
        let n_cells = index.n_cells() as u64;
        out.write_all(b"IwFl")?;
        write_header(out, index.dim, index.len())?;
        write_u64s(out, &[n_cells, index.nprobe as u64])?;
        out.write_all(b"IxF2")?;
        write_header(out, index.dim, index.n_cells())?;
        write_u64s(out, &[index.centres.len() as u64])?;
        write_floats(out, &index.centres)?;
        out.write_all(&[0])?;
        write_u64s(out, &[0])?;
        out.write_all(b"ilar")?;
        write_u64s(out, &[n_cells, 4 * index.dim as u64])?;
        let used = || index.cells.iter().enumerate().filter(|(_, numbers)| !numbers.is_empty());
        if used().count() > index.n_cells() / 2 {
            out.write_all(b"full")?;
            write_u64s(out, &[n_cells])?;
            index.cells.iter().try_for_each(|numbers| write_u64s(out, &[numbers.len() as u64]))?;
        } else {
            out.write_all(b"sprs")?;
            write_u64s(out, &[2 * used().count() as u64])?;
            used().try_for_each(|(cell, numbers)| write_u64s(out, &[cell as u64, numbers.len() as u64]))?;
        }
        for (_, numbers) in used() {
            numbers.iter().try_for_each(|number| write_floats(out, index.vector(*number)))?;
            numbers.iter().try_for_each(|number| out.write_all(&i64::from(*number).to_le_bytes()))?;
        }
        Ok(())
    })
}

fn write_header(out: &mut impl Write, dim: usize, n: usize) -> std::io::Result<()> {
    out.write_all(&(dim as i32).to_le_bytes())?;
    for number in [n as i64, UNUSED, UNUSED] {
        out.write_all(&number.to_le_bytes())?;
    }
    out.write_all(&[1])?;
    out.write_all(&L2.to_le_bytes())
}

fn write_u64s(out: &mut impl Write, numbers: &[u64]) -> std::io::Result<()> {
    numbers.iter().try_for_each(|number| out.write_all(&number.to_le_bytes()))
}

fn write_floats(out: &mut impl Write, values: &[f32]) -> std::io::Result<()> {
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}
