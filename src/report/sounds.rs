//! The sounds and pictures of a run inside its page: players and spectrograms, as far as there is room.

use super::{shown, text};
use crate::audio::{Audio, io, picture};
use crate::error::{Error, Kind, Result};
use crate::files::{self, Workspace};
use crate::track::Record;
use base64::Engine;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Most bytes of sounds and pictures in a page (as base64). Browsers open larger pages slowly, and mail servers reject them.
const MOST_BYTES: usize = 20_000_000;
/// Longest sound in the page; only the beginning of a longer one is included. Eight of them fit, or some fifty clips.
const MOST_SECONDS: f64 = 20.0;
/// A larger file is not read: decoding hours of sound takes longer than making the rest of the page.
const LARGEST_FILE: u64 = 64 << 20;
/// Frequency labels beside a spectrogram, in Hz.
const FREQUENCIES: [f64; 5] = [250.0, 1000.0, 3000.0, 8000.0, 16_000.0];

/// The sounds and pictures of a run.
#[derive(Debug, Default, Serialize)]
pub struct Gallery {
    pub groups: Vec<Group>,
    /// The number of items that are not in the page; their notes say why.
    pub left_out: usize,
    /// The size of the items in the page; empty for none.
    pub embedded: String,
}

/// A group of an original and its imitations.
#[derive(Debug, Default, Serialize)]
pub struct Group {
    pub title: String,
    /// The original, and the first, the middle and the last of the others.
    pub items: Vec<Item>,
    /// All the others.
    pub more: Vec<Item>,
}

/// A sound with its picture, or only a picture.
#[derive(Debug, Default, Serialize)]
pub struct Item {
    pub label: String,
    pub path: String,
    /// A note: its length, that it is shortened, why it is missing.
    pub note: String,
    /// Data URIs, which the template does not escape: all their characters are generated here. Empty if missing.
    pub picture: String,
    pub sound: String,
    pub ticks: Vec<Tick>,
    /// Missing only because the page is full.
    pub no_room: bool,
}

/// A frequency beside a spectrogram: its name, and how far from the top, in percent.
#[derive(Debug, Serialize)]
pub struct Tick {
    pub label: String,
    pub top: f64,
}

/// Keys of pictures for dashboards; here their spectrogram is beside the player.
const SHOWN_WITH_SAMPLES: [&str; 2] = ["all/mel", "sample/mel"];

/// Every sample with its original, the self-test's sound, and all other media, as far as they fit: first those that are visible at
/// once, then the others, evenly spread.
pub fn gallery(workspace: &Workspace, record: &Record) -> Gallery {
    let mut groups = sample_groups(workspace, record);
    groups.extend(self_test(record));
    let media = media(workspace, record, &groups);
    groups.extend(media);
    let mut packer = Packer::new(workspace, true);
    groups.iter_mut().flat_map(|group| &mut group.items).for_each(|item| packer.add(item));
    for group in &mut groups {
        for i in spread(group.more.len()) {
            packer.add(&mut group.more[i]);
        }
    }
    Gallery { left_out: packer.left_out, embedded: packer.embedded(), groups }
}

/// The players of several runs side by side.
#[derive(Debug, Default, Serialize)]
pub struct Players {
    /// A row for the originals, one for each epoch with a sample, one for the exported voices.
    pub rows: Vec<PlayerRow>,
    /// The number of samples that do not fit into the page.
    pub left_out: usize,
    pub embedded: String,
}

/// The runs' samples of one epoch.
#[derive(Debug, Serialize)]
pub struct PlayerRow {
    pub label: String,
    /// One for each run, if it has one.
    pub cells: Vec<Option<Item>>,
}

/// The samples of runs with these `letters`, without pictures.
pub fn players(workspace: &Workspace, records: &[&Record], letters: &[String]) -> Players {
    let samples: Vec<BTreeMap<i64, (String, String)>> = records.iter().map(|record| samples(record)).collect();
    let row = |label: String, path: &dyn Fn(usize) -> Option<String>| {
        let cell = |i: usize| path(i).map(|path| Item::new(format!("{label} of {}", letters[i]), path));
        PlayerRow { label: label.clone(), cells: (0..records.len()).map(cell).collect() }
    };
    let original = |i: usize| samples[i].values().next_back().map(|(_, of)| of.clone()).filter(|of| !of.is_empty());
    let tested = |i: usize| Some(events(records[i], "self_test").next_back()?["path"].as_str()?.to_owned());
    let epochs: BTreeSet<i64> = samples.iter().flat_map(|samples| samples.keys().copied()).collect();
    let mut rows = vec![row("original".into(), &original), row("exported voice".into(), &tested)];
    rows.extend(
        epochs
            .iter()
            .map(|epoch| row(format!("epoch {epoch}"), &|i| samples[i].get(epoch).map(|(path, _)| path.clone()))),
    );
    let mut packer = Packer::new(workspace, false);
    // The most important first: the originals, the voices, the last sample of each run.
    let last: BTreeSet<usize> = samples
        .iter()
        .filter_map(|samples| epochs.iter().position(|epoch| Some(epoch) == samples.keys().next_back()))
        .collect();
    let rest = spread(epochs.len()).into_iter().filter(|i| !last.contains(i));
    let order: Vec<usize> = [0, 1].into_iter().chain(last.iter().copied().chain(rest).map(|i| i + 2)).collect();
    for i in order {
        rows[i].cells.iter_mut().flatten().for_each(|item| packer.add(item));
    }
    let voices = rows.remove(1);
    rows.push(voices);
    rows.retain(|row| row.cells.iter().flatten().any(|item| !item.no_room));
    Players { left_out: packer.without_room, embedded: packer.embedded(), rows }
}

/// Numbers below `n`, evenly spread from the start: the ends, the middle, the middles between them.
fn spread(n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = [0, n.saturating_sub(1)][..n.min(2)].to_vec();
    let mut gaps = std::collections::VecDeque::from([(0, n.saturating_sub(1))]);
    while let Some((from, to)) = gaps.pop_front() {
        if to > from + 1 {
            let middle = from.midpoint(to);
            order.push(middle);
            gaps.extend([(from, middle), (middle, to)]);
        }
    }
    order
}

/// The samples of a run: epoch, path, original. Of an epoch that was repeated after a kill the last sample counts.
fn samples(record: &Record) -> BTreeMap<i64, (String, String)> {
    let sample = |data: &Value| {
        let of = data["of"].as_str().unwrap_or_default().to_owned();
        Some((data["epoch"].as_i64()?, (data["path"].as_str()?.to_owned(), of)))
    };
    events(record, "sample").filter_map(sample).collect()
}

fn sample_groups(workspace: &Workspace, record: &Record) -> Vec<Group> {
    let mut groups: Vec<(String, Vec<Item>)> = Vec::new();
    for (epoch, (path, of)) in samples(record) {
        let item = Item::new(format!("epoch {epoch}"), path);
        match groups.iter_mut().find(|group| group.0 == of) {
            Some(group) => group.1.push(item),
            None => groups.push((of, vec![item])),
        }
    }
    let group = |(of, samples): (String, Vec<Item>)| {
        let mut group = Group::new(workspace, "During training", samples);
        if !of.is_empty() {
            group.items.insert(0, Item::new("original", of));
        }
        group
    };
    groups.into_iter().map(group).collect()
}

fn self_test(record: &Record) -> Option<Group> {
    let data = events(record, "self_test").last()?;
    let of = data["of"].as_str().map(|of| Item::new("original", of));
    let made = data["path"].as_str().map(|path| Item::new("the exported voice", path));
    let items: Vec<Item> = of.into_iter().chain(made).collect();
    (!items.is_empty()).then(|| Group { title: "Self-test".into(), items, more: Vec::new() })
}

/// All other media of a recipe, each content once, without those in `groups`.
fn media(workspace: &Workspace, record: &Record, groups: &[Group]) -> Vec<Group> {
    // One line has the path in the workspace, another the full path.
    let shown = groups.iter().flat_map(|group| group.items.iter().chain(&group.more));
    let shown: BTreeSet<PathBuf> = shown.map(|item| workspace.path(&item.path)).collect();
    let mut keys: BTreeMap<&str, BTreeMap<i64, &str>> = BTreeMap::new();
    for line in record.events.iter().filter(|line| line["type"] == "artifact") {
        let (Some(key), Some(step), Some(path)) = (line["key"].as_str(), line["step"].as_i64(), line["path"].as_str())
        else {
            continue;
        };
        if !shown.contains(&workspace.path(path)) && !SHOWN_WITH_SAMPLES.contains(&key) {
            keys.entry(key).or_default().insert(step, path);
        }
    }
    let group = |(key, steps): (&str, BTreeMap<i64, &str>)| {
        let mut same: Vec<(String, Vec<i64>, &str)> = Vec::new();
        for (step, path) in steps {
            let content = content(workspace, path).unwrap_or_else(|| path.to_owned());
            match same.iter_mut().find(|known| known.0 == content) {
                Some(known) => known.1.push(step),
                None => same.push((content, vec![step], path)),
            }
        }
        let items = same.into_iter().map(|(_, steps, path)| Item::new(steps_label(&steps), path)).collect();
        Group::new(workspace, key, items)
    };
    keys.into_iter().map(group).collect()
}

/// The digest of a file's content; None for a file that cannot be shown anyway.
fn content(workspace: &Workspace, path: &str) -> Option<String> {
    let path = workspace.path(path);
    let small = std::fs::metadata(&path).is_ok_and(|about| about.is_file() && about.len() <= LARGEST_FILE);
    small.then(|| files::digest_file(&path).ok()).flatten()
}

fn steps_label(steps: &[i64]) -> String {
    match steps {
        [step] => format!("step {step}"),
        [first, .., last] => format!("steps {first} to {last}, the same {} times", steps.len()),
        [] => String::new(),
    }
}

impl Item {
    fn new(label: impl Into<String>, path: impl Into<String>) -> Self {
        Self { label: label.into(), path: path.into(), ..Self::default() }
    }
}

impl Group {
    /// The first, the middle and the last of `all`, among existing files if there are any; the others after them.
    fn new(workspace: &Workspace, title: &str, all: Vec<Item>) -> Self {
        let there: Vec<bool> = all.iter().map(|item| workspace.path(&item.path).is_file()).collect();
        let none = !there.contains(&true);
        let from: Vec<usize> = (0..all.len()).filter(|i| there[*i] || none).collect();
        let wanted = from.first().into_iter().chain(from.get(from.len() / 2)).chain(from.last());
        let wanted: BTreeSet<usize> = wanted.copied().collect();
        let mut group = Self { title: title.into(), ..Self::default() };
        for (i, item) in all.into_iter().enumerate() {
            if wanted.contains(&i) { group.items.push(item) } else { group.more.push(item) }
        }
        group
    }
}

struct Packer<'a> {
    workspace: &'a Workspace,
    /// Whether sounds get a spectrogram.
    pictures: bool,
    used: usize,
    left_out: usize,
    without_room: usize,
    /// The labels of items in the page, by path and by content.
    paths: BTreeMap<String, String>,
    contents: BTreeMap<String, String>,
}

impl<'a> Packer<'a> {
    fn new(workspace: &'a Workspace, pictures: bool) -> Self {
        let (paths, contents) = (BTreeMap::new(), BTreeMap::new());
        Self { workspace, pictures, used: 0, left_out: 0, without_room: 0, paths, contents }
    }

    fn embedded(&self) -> String {
        if self.used == 0 { String::new() } else { text::bytes(self.used) }
    }

    /// Puts the sound and picture of an item into the page, or gives the reason in its note.
    fn add(&mut self, item: &mut Item) {
        item.path = shown(self.workspace, &self.workspace.path(&item.path));
        if let Some(known) = self.paths.get(&item.path) {
            item.note = if self.pictures { "is shown above".into() } else { format!("the same as {known}") };
        } else if let Err(error) = self.fill(item) {
            error.message().clone_into(&mut item.note);
            self.left_out += 1;
            self.without_room += usize::from(item.no_room);
        } else {
            self.paths.insert(item.path.clone(), item.label.clone());
        }
    }

    fn fill(&mut self, item: &mut Item) -> Result<()> {
        let path = self.workspace.path(&item.path);
        let refuse = |why: String| Err(Error::new(Kind::NotFound, format!("{} {why}", item.path)));
        match std::fs::metadata(&path) {
            Err(_) => return refuse("no longer exists".into()),
            Ok(about) if !about.is_file() => return refuse("is not a file".into()),
            Ok(_) if !is_inside(self.workspace, &path) => return refuse("is outside the workspace".into()),
            Ok(about) if about.len() > LARGEST_FILE => {
                return refuse(format!("is too large for the page: {}", text::bytes(about.len() as usize)));
            }
            Ok(_) => {}
        }
        let full = format!("is left out: the page holds at most {} of sounds and pictures", text::bytes(MOST_BYTES));
        // Once one does not fit, the others are not decoded.
        if self.without_room > 0 {
            item.no_room = true;
            return refuse(full);
        }
        let (picture, sound) = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
            let bytes = files::read(&path)?;
            if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
                return refuse("is not a PNG".into());
            }
            (uri("image/png", &bytes), String::new())
        } else {
            let mut audio = io::load(&path)?;
            let whole = audio.seconds();
            item.note = text::duration(whole);
            if whole > MOST_SECONDS {
                audio.samples.truncate((MOST_SECONDS * f64::from(audio.sample_rate)) as usize);
                item.note = format!("the first {MOST_SECONDS} s of {}", text::duration(whole));
            }
            let mut picture = String::new();
            if self.pictures {
                item.ticks = ticks(audio.sample_rate);
                picture = uri("image/png", &picture::spectrogram(&audio.samples, audio.sample_rate, None)?);
            }
            (picture, uri("audio/wav", &wav(&audio)))
        };
        let content = files::digest(if sound.is_empty() { &picture } else { &sound });
        if let Some(known) = self.contents.get(&content) {
            item.note = format!("the same as {known}");
            item.ticks.clear();
            return Ok(());
        }
        let size = picture.len() + sound.len();
        if self.used + size > MOST_BYTES {
            item.ticks.clear();
            item.no_room = true;
            return refuse(full);
        }
        self.used += size;
        self.contents.insert(content, item.label.clone());
        (item.picture, item.sound) = (picture, sound);
        Ok(())
    }
}

/// Whether a file is in the workspace, with links followed: a log may name any file. Folders of the first two levels (logs/, logs/anna/)
/// may themselves be links to another disk.
fn is_inside(workspace: &Workspace, path: &Path) -> bool {
    let root = if workspace.root().as_os_str().is_empty() { Path::new(".") } else { workspace.root() };
    let named = path.strip_prefix(workspace.root()).unwrap_or(path);
    let parts: Vec<_> = named.components().collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    let Ok(real) = std::fs::canonicalize(path) else { return false };
    let mut folders = vec![root.to_owned()];
    if plain {
        folders.extend((1..parts.len().min(3)).map(|n| root.join(parts[..n].iter().collect::<PathBuf>())));
    }
    folders.iter().filter_map(|folder| std::fs::canonicalize(folder).ok()).any(|folder| real.starts_with(folder))
}

/// The data of the events of a name, in order.
pub fn events<'a>(record: &'a Record, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Value> {
    let is_it = move |line: &&Value| line["type"] == "event" && line["event"] == name;
    record.events.iter().filter(is_it).map(|line| &line["data"])
}

fn ticks(sample_rate: u32) -> Vec<Tick> {
    let inside = FREQUENCIES.iter().filter(|hz| picture::height(**hz, sample_rate) < 0.97);
    let tick = |hz: &f64| Tick {
        label: if *hz < 1000.0 { format!("{hz} Hz") } else { format!("{} kHz", hz / 1000.0) },
        top: ((1.0 - picture::height(*hz, sample_rate)) * 1000.0).round() / 10.0,
    };
    inside.map(tick).collect()
}

fn uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// A mono wav of 16 bits, which every browser plays (float32 not all do).
///
/// ```text
///  0 "RIFF" size-8 "WAVE"   12 "fmt " 16: tag 1, 1 channel, rate, bytes/s, 2 bytes a frame, 16 bits   36 "data" bytes
/// ```
fn wav(audio: &Audio) -> Vec<u8> {
    let data_bytes = audio.samples.len() as u32 * 2;
    let mut bytes = Vec::with_capacity(44 + data_bytes as usize);
    bytes.extend(b"RIFF");
    bytes.extend((data_bytes + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend([1, 0, 1, 0]);
    bytes.extend(audio.sample_rate.to_le_bytes());
    bytes.extend(audio.sample_rate.wrapping_mul(2).to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(data_bytes.to_le_bytes());
    // A float that is not finite becomes silence; `as` converts NaN to 0.
    let sample = |x: &f32| ((x.clamp(-1.0, 1.0) * 32767.0).round() as i16).to_le_bytes();
    bytes.extend(audio.samples.iter().flat_map(sample));
    bytes
}
