//! TensorBoard: a run's points, pictures and sounds in tracking/tensorboard/<title>/events.out.tfevents.*
//!
//! ```text
//! file     record, record, ...                       each process that writes anything begins its own file
//! record   length u64 | its CRC | event | its CRC    little endian; masked CRC-32C
//! event    1 wall_time f64, 2 step i64, and one of: 3 file_version text, 5 summary, 7 session_log { 1 status }
//! summary  1 value { 1 tag text, and one of: 2 number f32, 4 image { 1 height, 2 width, 3 colorspace, 4 bytes },
//!                    6 audio { 1 sample_rate f32, 2 num_channels, 3 length_frames, 4 bytes, 5 content_type } }
//! ```
//!
//! A training that was killed repeats steps, but they show once: when a tag comes again, TensorBoard's server drops its values at that
//! step and later. Its Python readers wait for a session_log START and then drop *all* tags from its step on. Points that the
//! training does not repeat (system/..., whose steps are seconds; those measured before the training resumed) are
//! therefore written again after it.
//! Source: TensorFlow's event.proto, summary.proto and TFRecord format; tried with TensorBoard 2.21. Tags are RVC's.
//!
//! Written here: crates tboard and tensorboard-rs write records, but what is hard is above them: what is written again, and a
//! file whose last record is torn.

use super::artifact;
use super::follow::{Outcome, Sample, Target};
use crate::files::{self, Workspace};
use crate::{Error, Kind, Result};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The field numbers of the drawing above.
mod field {
    pub const WALL_TIME: u64 = 1;
    pub const STEP: u64 = 2;
    pub const FILE_VERSION: u64 = 3;
    pub const SUMMARY: u64 = 5;
    pub const SESSION_LOG: u64 = 7;
    pub const VALUE: u64 = 1;
    pub const TAG: u64 = 1;
    pub const NUMBER: u64 = 2;
    pub const IMAGE: u64 = 4;
    pub const AUDIO: u64 = 6;
}

/// The version whose readers use session_log.
const VERSION: &str = "brain.Event:2";
const START: u64 = 1;
/// Metrics with the training's own steps: if they go back, the training went back.
const TRAINING: [&str; 5] = ["loss_disc", "loss_gen", "loss_fm", "loss_mel", "loss_kl"];
/// Tags with this prefix have seconds for steps.
const SECONDS: &str = "system/";
/// A larger picture or sound is left out: TensorBoard keeps all of them in memory.
const MOST_BYTES: u64 = 256 << 20;

/// tracking/tensorboard: the folder to start TensorBoard on.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tracking().join("tensorboard")
}

/// The folder of a run's event files, which TensorBoard shows as the run's name: its title (see `name.rs`), or in older folders
/// its id.
pub fn run_folder(workspace: &Workspace, id: &str) -> PathBuf {
    let older = folder(workspace).join(id);
    if older.is_dir() {
        older
    } else {
        folder(workspace).join(super::name::folder_name(id, &super::title_of(workspace, id)))
    }
}

/// Writes the lines of an event log for TensorBoard.
pub(super) struct TensorBoard {
    folder: PathBuf,
    workspace: Workspace,
    /// This process's file, after the first write.
    file: Option<Open>,
    /// The size of all event files of the run.
    bytes: u64,
    place: Place,
    /// The content of the files, when the log is read from its start again.
    there: HashSet<u64>,
    /// Pictures and sounds that could not be shown.
    skipped: Vec<String>,
}

struct Open {
    path: PathBuf,
    file: File,
    /// Bytes of whole deliveries.
    whole: u64,
    /// A failed delivery may have left a part after them.
    torn: bool,
}

/// The position of the training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Place {
    /// The last step of the training.
    trained: Option<i64>,
    /// The time of the resume (Unix milliseconds), until the next step of training.
    resumed_ms: Option<i64>,
}

impl TensorBoard {
    /// A target that writes the run `id`. It creates no file before the first write.
    pub fn new(workspace: &Workspace, id: &str) -> Self {
        Self {
            folder: run_folder(workspace, id),
            workspace: workspace.clone(),
            file: None,
            bytes: 0,
            place: Place::default(),
            there: HashSet::new(),
            skipped: Vec::new(),
        }
    }

    /// The event files, oldest first, and their sizes.
    fn event_files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let paths = match files::list(&self.folder) {
            Err(error) if error.kind() == Kind::NotFound => Vec::new(),
            listed => listed?,
        };
        let named = paths.into_iter().filter(|path| seconds_of(path).is_some());
        let sized = named.map(|path| match std::fs::metadata(&path) {
            Ok(metadata) => Ok((path, metadata.len())),
            Err(e) => Err(Error::io("look at", &path, e)),
        });
        sized.collect()
    }

    /// Remembers the files' content, and cuts off a record that a kill or a power cut damaged.
    fn look(&mut self) -> Result<()> {
        self.there.clear();
        self.bytes = 0;
        for (path, bytes) in self.event_files()? {
            let there = &mut self.there;
            let whole = read_file(&path, |event| there.extend(Entry::of(event).map(|entry| entry.id())))?;
            if whole < bytes {
                let cut = File::options().write(true).open(&path).and_then(|file| file.set_len(whole));
                cut.map_err(|e| Error::io("write", &path, e))?;
            }
            self.bytes += whole;
        }
        Ok(())
    }

    /// Adds `event` to `records` unless it is in the files.
    fn add(&self, records: &mut Vec<u8>, event: &[u8]) {
        let known = !self.there.is_empty() && Entry::of(event).is_some_and(|entry| self.there.contains(&entry.id()));
        if !known {
            record(records, event);
        }
    }

    /// Records that the training resumes at the earlier step of `first`; see the head of this file.
    fn restart(&self, records: &mut Vec<u8>, first: &Sample, resumed_ms: Option<i64>) -> Result<()> {
        let start = session_start(first.time_ms, first.step);
        if Entry::of(&start).is_some_and(|entry| self.there.contains(&entry.id())) {
            return Ok(());
        }
        let (mut again, mut seen) = (Vec::new(), HashSet::new());
        let mut keep = |event: &[u8]| {
            let Some(entry) = Entry::of(event).filter(|entry| entry.field != field::SESSION_LOG) else { return };
            let new = resumed_ms.is_some_and(|from| ms(entry.time()) >= from);
            let kept = new || entry.tag.starts_with(SECONDS.as_bytes());
            if kept && entry.step >= first.step && seen.insert(entry.id()) {
                record(&mut again, event);
            }
        };
        for (path, _) in self.event_files()? {
            read_file(&path, &mut keep)?;
        }
        read_records(&records[..], &mut keep).map_err(|e| Error::io("read", &self.folder, e))?;
        record(records, &start);
        records.extend(again);
        Ok(())
    }

    /// Writes `records`, whole or (after an error) not at all; a later write repairs a partial one.
    fn write(&mut self, records: &[u8], time_ms: i64) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(self.create()?);
        }
        let first_file = self.bytes == 0;
        let open = self.file.as_mut().expect("it was made above");
        let mut bytes = Vec::new();
        if open.whole == 0 {
            record(&mut bytes, &event(time_ms, 0, field::FILE_VERSION, VERSION.as_bytes()));
            if first_file {
                // One of the readers treats the first START as the beginning, at any step.
                record(&mut bytes, &session_start(time_ms, 0));
            }
        }
        bytes.extend(records);
        let cut = if open.torn { open.file.set_len(open.whole) } else { Ok(()) };
        open.torn = true;
        cut.and_then(|()| open.file.write_all(&bytes)).map_err(|e| Error::io("write", &open.path, e))?;
        open.torn = false;
        open.whole += bytes.len() as u64;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// This process's file. TensorBoard reads the files in the order of their names, so the seconds in them must rise.
    fn create(&self) -> Result<Open> {
        files::create_folder(&self.folder)?;
        let newest = self.event_files()?.iter().filter_map(|(path, _)| seconds_of(path)).max().unwrap_or(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let host = sysinfo::System::host_name().unwrap_or_else(|_| "host".to_owned());
        let host = host.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        let name = format!("events.out.tfevents.{:010}.{host}.{}", now.max(newest + 1), std::process::id());
        let path = self.folder.join(name);
        let file = File::options().append(true).create_new(true).open(&path);
        let file = file.map_err(|e| Error::io("write", &path, e))?;
        Ok(Open { path, file, whole: 0, torn: false })
    }

    fn media(&mut self, line: &Value) -> Result<()> {
        let (Some(path), Some(key), Some(step)) = (line["path"].as_str(), line["key"].as_str(), line["step"].as_i64())
        else {
            return Ok(());
        };
        let file = self.workspace.path(path);
        let field = match file.extension().and_then(|e| e.to_str()).unwrap_or_default() {
            png if png.eq_ignore_ascii_case("png") => field::IMAGE,
            wav if wav.eq_ignore_ascii_case("wav") => field::AUDIO,
            _ => return Ok(()),
        };
        let time_ms = time_ms(line);
        let entry = Entry::new(time_ms, step, key, field);
        if self.there.contains(&entry.id()) {
            return Ok(());
        }
        let small = std::fs::metadata(&file).is_ok_and(|metadata| metadata.len() <= MOST_BYTES);
        let bytes = if small && artifact::is_recorded(line, &file) { files::read(&file)? } else { Vec::new() };
        let message = if field == field::IMAGE { image(&bytes) } else { audio(&bytes) };
        let Some(content) = message else {
            self.skipped.push(path.to_owned());
            return Ok(());
        };
        let mut value = Vec::new();
        add_bytes(&mut value, field, &content);
        let mut records = Vec::new();
        record(&mut records, &summary(time_ms, step, key, &value));
        self.write(&records, time_ms)
    }
}

impl Target for TensorBoard {
    fn name(&self) -> String {
        format!("TensorBoard's folder {}", self.folder.display())
    }

    fn points(&mut self, points: &[Sample], _doubtful: bool) -> Outcome<()> {
        let (mut records, mut place) = (Vec::new(), self.place);
        for line in points.chunk_by(|a, b| (a.step, a.time_ms) == (b.step, b.time_ms)) {
            if line.iter().any(|sample| TRAINING.contains(&sample.key.as_str())) {
                // A step measured twice in a row is not a return, except after a resume.
                let back = place.trained.map(|last| last + i64::from(place.resumed_ms.is_some()));
                if back.is_some_and(|first_new| line[0].step < first_new) {
                    self.restart(&mut records, &line[0], place.resumed_ms)?;
                }
                place = Place { trained: Some(line[0].step), resumed_ms: None };
            }
            for sample in line {
                let mut value = Vec::new();
                add_fixed(&mut value, field::NUMBER, &(sample.value as f32).to_le_bytes());
                self.add(&mut records, &summary(sample.time_ms, sample.step, tag(&sample.key), &value));
            }
        }
        self.write(&records, points.first().map_or(0, |sample| sample.time_ms))?;
        self.place = place;
        Ok(())
    }

    fn line(&mut self, line: &Value) -> Outcome<()> {
        match line["type"].as_str() {
            Some("resume") => self.place.resumed_ms = Some(time_ms(line)),
            Some("artifact") => self.media(line)?,
            _ => {}
        }
        Ok(())
    }

    fn state(&self) -> Value {
        json!({ "bytes": self.bytes, "trained": self.place.trained, "resumed_ms": self.place.resumed_ms })
    }

    /// After a kill, and if something is missing, the log is read again and compared with the files.
    fn open(&mut self, state: &Value, clean: bool) -> Result<bool> {
        let bytes: u64 = self.event_files()?.iter().map(|(_, bytes)| bytes).sum();
        if clean && state["bytes"].as_u64() == Some(bytes) {
            self.bytes = bytes;
            self.place = Place { trained: state["trained"].as_i64(), resumed_ms: state["resumed_ms"].as_i64() };
            return Ok(true);
        }
        self.look()?;
        Ok(false)
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = &self.file {
            open.file.sync_data().map_err(|e| Error::io("write", &open.path, e))?;
            files::sync_folder(&self.folder);
        }
        if self.skipped.is_empty() {
            return Ok(());
        }
        let skipped = std::mem::take(&mut self.skipped).join(", ");
        Err(Error::new(
            Kind::DataDamaged,
            format!(
                "these pictures and sounds are missing, changed, damaged or larger than {} MB: {skipped}",
                MOST_BYTES >> 20
            ),
        ))
    }
}

/// RVC's TensorBoard name of a metric; other metrics keep their own name.
fn tag(key: &str) -> &str {
    match key {
        "loss_gen" => "loss/g/total",
        "loss_disc" => "loss/d/total",
        "loss_fm" => "loss/g/fm",
        "loss_mel" => "loss/g/mel",
        "loss_kl" => "loss/g/kl",
        other => other,
    }
}

/// The time in an event file's name; None if it is not an event file.
fn seconds_of(path: &Path) -> Option<u64> {
    let (_, rest) = path.file_name()?.to_str()?.split_once("tfevents.")?;
    rest.split('.').next()?.parse().ok()
}

fn time_ms(line: &Value) -> i64 {
    ms(line["time"].as_f64().unwrap_or_default())
}

fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

// --- Messages ---------------------------------------------------------------------------------------------------------

fn event(time_ms: i64, step: i64, field: u64, content: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(content.len() + 32);
    add_fixed(&mut event, field::WALL_TIME, &(time_ms as f64 / 1000.0).to_le_bytes());
    add_number(&mut event, field::STEP, step as u64);
    add_bytes(&mut event, field, content);
    event
}

fn session_start(time_ms: i64, step: i64) -> Vec<u8> {
    let mut log = Vec::new();
    add_number(&mut log, 1, START);
    event(time_ms, step, field::SESSION_LOG, &log)
}

/// `content`: the value's field, encoded.
fn summary(time_ms: i64, step: i64, tag: &str, content: &[u8]) -> Vec<u8> {
    let (mut value, mut summary) = (Vec::new(), Vec::new());
    add_bytes(&mut value, field::TAG, tag.as_bytes());
    value.extend(content);
    add_bytes(&mut summary, field::VALUE, &value);
    event(time_ms, step, field::SUMMARY, &summary)
}

/// The image message of a PNG file; None unless it is a PNG.
fn image(png: &[u8]) -> Option<Vec<u8>> {
    // Signature, length and name of the header, width, height, bits, colour type.
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?.get(..10)?;
    let number = |at: usize| Some(u64::from(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?)));
    // Number of channels: grey, grey with alpha, red green blue (a palette's colours too), the same with alpha.
    let channels = match header[9] {
        0 => 1,
        4 => 2,
        6 => 4,
        _ => 3,
    };
    let mut image = Vec::with_capacity(png.len() + 32);
    add_number(&mut image, 1, number(4)?);
    add_number(&mut image, 2, number(0)?);
    add_number(&mut image, 3, channels);
    add_bytes(&mut image, 4, png);
    Some(image)
}

/// The audio message of a wav file; None unless it is a wav.
fn audio(wav: &[u8]) -> Option<Vec<u8>> {
    let reader = hound::WavReader::new(wav).ok()?;
    let spec = reader.spec();
    let mut audio = Vec::with_capacity(wav.len() + 32);
    add_fixed(&mut audio, 1, &(spec.sample_rate as f32).to_le_bytes());
    add_number(&mut audio, 2, spec.channels.into());
    add_number(&mut audio, 3, reader.duration().into());
    add_bytes(&mut audio, 4, wav);
    add_bytes(&mut audio, 5, b"audio/wav");
    Some(audio)
}

/// The identity of an event: everything but the content of pictures and sounds.
#[derive(Debug, Default, Hash, PartialEq)]
struct Entry<'a> {
    time: u64,
    step: i64,
    tag: &'a [u8],
    /// The field of the value, or of the event if it has none.
    field: u64,
    number: &'a [u8],
}

impl<'a> Entry<'a> {
    fn new(time_ms: i64, step: i64, tag: &'a str, field: u64) -> Self {
        Self { time: (time_ms as f64 / 1000.0).to_bits(), step, tag: tag.as_bytes(), field, number: &[] }
    }

    /// The entry of an encoded event; None for a file_version, or if it is not an event.
    fn of(event: &'a [u8]) -> Option<Self> {
        let mut entry = Self::default();
        for (field, part) in Fields(event) {
            match (field, part) {
                (field::WALL_TIME, Part::Bytes(bytes)) => entry.time = u64::from_le_bytes(bytes.try_into().ok()?),
                (field::STEP, Part::Number(step)) => entry.step = step as i64,
                (field::SESSION_LOG, _) => entry.field = field,
                (field::SUMMARY, Part::Bytes(summary)) => {
                    let value =
                        Fields(summary).find_map(|(field, part)| part.bytes().filter(|_| field == field::VALUE));
                    for (field, part) in Fields(value?) {
                        match field {
                            field::TAG => entry.tag = part.bytes()?,
                            field::NUMBER => (entry.field, entry.number) = (field, part.bytes()?),
                            field::IMAGE | field::AUDIO => entry.field = field,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        (entry.field != 0).then_some(entry)
    }

    fn time(&self) -> f64 {
        f64::from_bits(self.time)
    }

    /// 64 bits: among a million events two collide once in forty million runs.
    fn id(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

// --- Protocol Buffers' wire format ------------------------------------------------------------------------------------

/// The storage type of a field: the low three bits of its key.
mod wire {
    pub const NUMBER: u64 = 0;
    pub const EIGHT: u64 = 1;
    pub const BYTES: u64 = 2;
    pub const FOUR: u64 = 5;
}

fn add_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn add_number(out: &mut Vec<u8>, field: u64, number: u64) {
    add_varint(out, field << 3 | wire::NUMBER);
    add_varint(out, number);
}

fn add_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    add_varint(out, field << 3 | wire::BYTES);
    add_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A float of four or eight bytes.
fn add_fixed<const N: usize>(out: &mut Vec<u8>, field: u64, bytes: &[u8; N]) {
    add_varint(out, field << 3 | if N == 4 { wire::FOUR } else { wire::EIGHT });
    out.extend(bytes);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A field's content.
#[derive(Clone, Copy)]
enum Part<'a> {
    Number(u64),
    /// Also of floats.
    Bytes(&'a [u8]),
}

impl<'a> Part<'a> {
    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }
}

/// The fields of a message, with their numbers, up to the first that is damaged.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Part<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = take_varint(&mut self.0)?;
        let length = match key & 7 {
            wire::NUMBER => return Some((key >> 3, Part::Number(take_varint(&mut self.0)?))),
            wire::EIGHT => 8,
            wire::FOUR => 4,
            wire::BYTES => usize::try_from(take_varint(&mut self.0)?).ok()?,
            _ => return None,
        };
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((key >> 3, Part::Bytes(bytes)))
    }
}

// --- Records ----------------------------------------------------------------------------------------------------------

fn record(out: &mut Vec<u8>, event: &[u8]) {
    let length = (event.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(event);
    out.extend(masked_crc(event).to_le_bytes());
}

fn read_file(path: &Path, each: impl FnMut(&[u8])) -> Result<u64> {
    let read = File::open(path).and_then(|file| read_records(BufReader::new(file), each));
    read.map_err(|e| Error::io("read", path, e))
}

/// Calls `each` with every whole event, up to the first that is cut off or damaged. Returns the bytes of their records.
fn read_records(mut from: impl Read, mut each: impl FnMut(&[u8])) -> std::io::Result<u64> {
    let (mut head, mut body, mut whole) = (Vec::new(), Vec::new(), 0);
    loop {
        head.clear();
        from.by_ref().take(12).read_to_end(&mut head)?;
        let Some((length, crc)) = head.split_first_chunk::<8>() else { return Ok(whole) };
        if crc != masked_crc(length).to_le_bytes() {
            return Ok(whole);
        }
        let length = u64::from_le_bytes(*length);
        body.clear();
        from.by_ref().take(length.saturating_add(4)).read_to_end(&mut body)?;
        match body.split_last_chunk::<4>() {
            Some((event, crc)) if event.len() as u64 == length && *crc == masked_crc(event).to_le_bytes() => {
                each(event);
            }
            _ => return Ok(whole),
        }
        whole += 16 + length;
    }
}

/// A CRC that may itself be inside bytes that have a CRC. Source: TFRecord's masking.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli). A table does a sound of a megabyte in some milliseconds.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        (folder, workspace)
    }

    fn sample(key: &str, step: i64, time_ms: i64, value: f64) -> Sample {
        Sample { key: key.to_owned(), step, time_ms, value }
    }

    /// The tags and steps of all files, in order; "START" for a restart.
    fn written(target: &TensorBoard) -> Vec<String> {
        let mut written = Vec::new();
        for (path, bytes) in target.event_files().unwrap() {
            let whole = read_file(&path, |event| {
                let Some(entry) = Entry::of(event) else { return };
                let tag = String::from_utf8_lossy(entry.tag);
                let name = if entry.field == field::SESSION_LOG { "START" } else { &tag };
                written.push(format!("{name} {}", entry.step));
            });
            assert_eq!(whole.unwrap(), bytes);
        }
        written
    }

    /// Ends the process properly, and begins another; whether it continues where this one stopped.
    fn next_process(mut target: TensorBoard, workspace: &Workspace) -> (TensorBoard, bool) {
        target.close().unwrap();
        let mut next = TensorBoard::new(workspace, "run");
        let whole = next.open(&target.state(), true).unwrap();
        (next, whole)
    }

    #[test]
    fn checksums_are_those_of_the_published_vectors() {
        // RFC 3720, B.4, and the check value of the CRC catalogues.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(masked_crc(b""), 0xA282_EAD8);
    }

    #[test]
    fn numbers_come_back_from_their_varints() {
        let mut bytes = Vec::new();
        add_varint(&mut bytes, 300);
        assert_eq!(bytes, [0xAC, 0x02]);
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            bytes.clear();
            add_varint(&mut bytes, number);
            assert_eq!(take_varint(&mut &bytes[..]), Some(number));
            assert_eq!(take_varint(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn a_torn_or_damaged_record_ends_what_is_read() {
        let mut bytes = Vec::new();
        record(&mut bytes, b"one");
        let first = bytes.len();
        record(&mut bytes, b"two");
        let read = |bytes: &[u8]| {
            let mut events = Vec::new();
            let whole = read_records(bytes, |event| events.push(event.to_vec())).unwrap();
            (events.len(), whole as usize)
        };
        assert_eq!(read(&bytes), (2, bytes.len()));
        for length in first..bytes.len() {
            assert_eq!(read(&bytes[..length]), (1, first));
        }
        for at in first..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(read(&damaged), (1, first));
        }
    }

    #[test]
    fn pictures_and_sounds_carry_their_sizes() {
        let header =
            |colour: u8| [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x2c\0\0\0\x07\x08", &[colour, 0, 0, 0][..]].concat();
        let numbers = |message: Vec<u8>| -> Vec<u64> {
            Fields(&message).filter_map(|(_, part)| if let Part::Number(n) = part { Some(n) } else { None }).collect()
        };
        for (colour, channels) in [(0, 1), (2, 3), (3, 3), (4, 2), (6, 4)] {
            assert_eq!(numbers(image(&header(colour)).unwrap()), [7, 300, channels]);
        }
        assert!(image(b"\x89PNG\r\n\x1a\n").is_none());
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 40000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut wav = std::io::Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut wav, spec).unwrap();
        (0..10).for_each(|i| writer.write_sample(i as i16).unwrap());
        writer.finalize().unwrap();
        assert_eq!(numbers(audio(wav.get_ref()).unwrap()), [2, 5]);
        assert!(audio(b"RIFF not really").is_none());
    }

    #[test]
    fn wherever_a_kill_tore_the_file_every_point_is_there_once() {
        let (_keep, workspace) = workspace();
        let points: Vec<Sample> = (0..6).map(|step| sample("loss_gen", step, 1000 + step, f64::NAN)).collect();
        let mut target = TensorBoard::new(&workspace, "run");
        target.points(&points, false).unwrap();
        let expected = written(&target);
        assert_eq!(expected.len(), 7);
        let (path, bytes) = target.event_files().unwrap().remove(0);
        let content = files::read(&path).unwrap();
        for length in 0..bytes as usize {
            for (path, _) in target.event_files().unwrap() {
                files::remove(&path).unwrap();
            }
            std::fs::write(&path, &content[..length]).unwrap();
            let mut next = TensorBoard::new(&workspace, "run");
            assert!(!next.open(&target.state(), false).unwrap());
            next.points(&points[..4], true).unwrap();
            next.points(&points[4..], false).unwrap();
            let of_training =
                |all: Vec<String>| all.into_iter().filter(|one| !one.starts_with("START")).collect::<Vec<_>>();
            assert_eq!(of_training(written(&next)), of_training(expected.clone()), "{length} bytes left");
        }
    }

    #[test]
    fn after_a_proper_end_the_next_process_writes_its_own_file() {
        let (_keep, workspace) = workspace();
        let mut target = TensorBoard::new(&workspace, "run");
        target.points(&[sample("loss_gen", 7, 1000, 1.0)], true).unwrap();
        let (mut next, whole) = next_process(target, &workspace);
        assert!(whole);
        next.points(&[sample("loss_gen", 8, 2000, 1.0)], true).unwrap();
        assert_eq!(written(&next), ["START 0", "loss/g/total 7", "loss/g/total 8"]);
        assert_eq!(next.event_files().unwrap().len(), 2);
        files::remove(&next.event_files().unwrap()[0].0).unwrap();
        assert!(!next_process(next, &workspace).1);
    }

    #[test]
    fn steps_that_are_repeated_follow_a_restart_that_costs_nothing_else() {
        let (_keep, workspace) = workspace();
        let mut target = TensorBoard::new(&workspace, "run");
        let cpu = |step, time| sample("system/cpu", step, time, 50.0);
        target.points(&[sample("index_n", 0, 900, 8.0)], false).unwrap();
        for step in 0..4 {
            target.points(&[sample("loss_gen", step, 1000 + step, 1.0), cpu(10 * step, 1000)], false).unwrap();
        }
        let (mut next, _) = next_process(target, &workspace);
        let before = written(&next).len();
        next.line(&json!({ "type": "resume", "time": 5.0 })).unwrap();
        next.points(&[sample("index_n", 3, 5001, 8.0), cpu(40, 5002)], false).unwrap();
        next.points(&[sample("loss_gen", 2, 5003, 1.0), sample("loss_gen", 3, 5004, 1.0)], false).unwrap();
        let after = written(&next).split_off(before);
        let kept = ["system/cpu 10", "system/cpu 20", "system/cpu 30", "index_n 3", "system/cpu 40"];
        assert_eq!(after[..3], ["index_n 3", "system/cpu 40", "START 2"]);
        assert_eq!(after[3..8], kept);
        assert_eq!(after[8..], ["loss/g/total 2", "loss/g/total 3"]);
    }

    #[test]
    fn a_last_step_that_is_repeated_counts_as_a_restart_only_after_a_resume() {
        let (_keep, workspace) = workspace();
        let mut target = TensorBoard::new(&workspace, "run");
        target.points(&[sample("loss_gen", 5, 1000, 1.0)], false).unwrap();
        target.points(&[sample("loss_mel", 5, 1001, 1.0)], false).unwrap();
        assert_eq!(written(&target), ["START 0", "loss/g/total 5", "loss/g/mel 5"]);
        target.line(&json!({ "type": "resume", "time": 5.0 })).unwrap();
        target.points(&[sample("loss_gen", 5, 6000, 1.0)], false).unwrap();
        assert_eq!(written(&target)[3..], ["START 5", "loss/g/total 5"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_loses_nothing() {
        let (_keep, workspace) = workspace();
        let mut target = TensorBoard::new(&workspace, "run");
        target.open(&Value::Null, false).unwrap();
        // A file is in the place of the folder.
        files::write(&folder(&workspace), "in the way").unwrap();
        let points = [sample("loss_gen", 5, 1000, 1.0)];
        assert!(target.points(&points, true).is_err());
        files::remove(&folder(&workspace)).unwrap();
        target.points(&points, true).unwrap();
        assert_eq!(written(&target), ["START 0", "loss/g/total 5"]);
    }
}
