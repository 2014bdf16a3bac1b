//! The sounds and pictures of a run inside its page: players and spectrograms, as far as there is room.

use super::text;
use crate::audio::{Audio, io, picture};
use crate::error::{Error, Kind, Result};
use crate::files::{self, Workspace};
use crate::track::Record;
use base64::Engine;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Bytes of sounds and pictures in a page, as they stand there (base64). A browser opens more only slowly, and no mail takes it.
const MOST_BYTES: usize = 20_000_000;
/// Of a longer sound the beginning is in the page: eight of them then fit.
const MOST_SECONDS: f64 = 20.0;
/// A larger file is not even looked at: decoding hours of sound takes longer than making the rest of the page.
const LARGEST_FILE: u64 = 64 << 20;
/// Frequencies that are named beside a spectrogram, in Hz.
const FREQUENCIES: [f64; 5] = [250.0, 1000.0, 3000.0, 8000.0, 16_000.0];

/// What is shown of a run.
#[derive(Debug, Default, Serialize)]
pub struct Gallery {
    pub groups: Vec<Group>,
    /// How many are not in the page; why stands in their notes.
    pub left_out: usize,
    /// How much is in the page; empty for nothing.
    pub embedded: String,
}

/// What belongs together: an original and what imitates it.
#[derive(Debug, Serialize)]
pub struct Group {
    pub title: String,
    pub items: Vec<Item>,
}

/// A sound with its picture, or a picture alone.
#[derive(Debug, Default, Serialize)]
pub struct Item {
    pub label: String,
    pub path: String,
    /// What is to be known of it: its length, that it is cut, why it is not here.
    pub note: String,
    /// Data URIs, which the template does not escape: every character of them is made here. Empty if not here.
    pub picture: String,
    pub sound: String,
    pub ticks: Vec<Tick>,
}

/// A frequency beside a spectrogram: its name, and how far from the top, in percent.
#[derive(Debug, Serialize)]
pub struct Tick {
    pub label: String,
    pub top: f64,
}

/// Pictures for dashboards of what has its spectrogram beside its player here.
const SHOWN_WITH_SAMPLES: [&str; 2] = ["all/mel", "sample/mel"];

/// The first, middle and last sample with its original, the self-test's sound, and the first, middle and last of other media.
pub fn gallery(workspace: &Workspace, record: &Record) -> Gallery {
    let mut packer = Packer { workspace, used: 0, left_out: 0, seen: BTreeSet::new() };
    let mut groups = packer.samples(record);
    groups.extend(packer.self_test(record));
    groups.extend(packer.media(record));
    let embedded = if packer.used == 0 { String::new() } else { text::bytes(packer.used) };
    Gallery { groups, left_out: packer.left_out, embedded }
}

struct Packer<'a> {
    workspace: &'a Workspace,
    used: usize,
    left_out: usize,
    /// Paths that are in the page.
    seen: BTreeSet<String>,
}

impl Packer<'_> {
    fn samples(&mut self, record: &Record) -> Vec<Group> {
        // An epoch that was repeated after a kill has its last sample.
        let mut samples: BTreeMap<i64, (String, String)> = BTreeMap::new();
        for data in events(record, "sample") {
            if let (Some(epoch), Some(path)) = (data["epoch"].as_i64(), data["path"].as_str()) {
                samples.insert(epoch, (path.to_owned(), data["of"].as_str().unwrap_or_default().to_owned()));
            }
        }
        let chosen = self.choose(samples.into_iter().map(|(epoch, (path, of))| (path, (epoch, of))).collect());
        let mut groups: Vec<(String, Vec<(i64, String)>)> = Vec::new();
        for (path, (epoch, of)) in chosen {
            match groups.iter_mut().find(|group| group.0 == of) {
                Some(group) => group.1.push((epoch, path)),
                None => groups.push((of, vec![(epoch, path)])),
            }
        }
        let mut shown = Vec::new();
        for (of, samples) in groups {
            let mut items = Vec::new();
            if !of.is_empty() {
                items.push(self.item("original", &of));
            }
            for (epoch, path) in samples {
                items.push(self.item(&format!("epoch {epoch}"), &path));
            }
            shown.push(Group { title: "During training".into(), items });
        }
        shown
    }

    fn self_test(&mut self, record: &Record) -> Option<Group> {
        let data = events(record, "self_test").last()?;
        let of = data["of"].as_str().map(|of| self.item("original", of));
        let made = data["path"].as_str().map(|path| self.item("the exported voice", path));
        let items: Vec<Item> = of.into_iter().chain(made).collect();
        (!items.is_empty()).then(|| Group { title: "Self-test".into(), items })
    }

    fn media(&mut self, record: &Record) -> Vec<Group> {
        let mut keys: BTreeMap<&str, BTreeMap<i64, String>> = BTreeMap::new();
        // Named from the workspace in one line, in full in another.
        let known: BTreeSet<PathBuf> =
            events(record, "sample").filter_map(|data| Some(self.workspace.path(data["path"].as_str()?))).collect();
        for line in record.events.iter().filter(|line| line["type"] == "artifact") {
            let (Some(key), Some(step), Some(path)) =
                (line["key"].as_str(), line["step"].as_i64(), line["path"].as_str())
            else {
                continue;
            };
            let shown = known.contains(&self.workspace.path(path)) || self.seen.contains(path);
            if !shown && !SHOWN_WITH_SAMPLES.contains(&key) {
                keys.entry(key).or_default().insert(step, path.to_owned());
            }
        }
        let mut groups = Vec::new();
        for (key, steps) in keys {
            let chosen = self.choose(steps.into_iter().map(|(step, path)| (path, step)).collect());
            let items = chosen.into_iter().map(|(path, step)| self.item(&format!("step {step}"), &path)).collect();
            groups.push(Group { title: key.to_owned(), items });
        }
        groups
    }

    /// The first, the middle and the last, of those that are still there if any is.
    fn choose<T>(&self, all: Vec<(String, T)>) -> Vec<(String, T)> {
        let is_there = |(path, _): &(String, T)| self.workspace.path(path).is_file();
        let (there, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(is_there);
        let from = if there.is_empty() { gone } else { there };
        let (middle, last) = (from.len() / 2, from.len().saturating_sub(1));
        let wanted = |i: usize| i == 0 || i == middle || i == last;
        from.into_iter().enumerate().filter(|(i, _)| wanted(*i)).map(|(_, item)| item).collect()
    }

    fn item(&mut self, label: &str, path: &str) -> Item {
        let mut item = Item { label: label.into(), path: path.into(), ..Item::default() };
        if self.seen.contains(path) {
            item.note = "is shown above".into();
        } else if let Err(error) = self.fill(&mut item) {
            error.message().clone_into(&mut item.note);
            self.left_out += 1;
        } else {
            self.seen.insert(path.to_owned());
        }
        item
    }

    fn fill(&mut self, item: &mut Item) -> Result<()> {
        let path = self.workspace.path(&item.path);
        let refuse = |why: String| Err(Error::new(Kind::NotFound, format!("{} {why}", item.path)));
        match std::fs::metadata(&path) {
            Err(_) => return refuse("is not there any more".into()),
            Ok(about) if !about.is_file() => return refuse("is no file".into()),
            Ok(about) if about.len() > LARGEST_FILE => {
                return refuse(format!("is too large to be in the page: {}", text::bytes(about.len() as usize)));
            }
            Ok(_) => {}
        }
        let (picture, sound) = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
            let bytes = files::read(&path)?;
            if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
                return refuse("is no PNG".into());
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
            item.ticks = ticks(audio.sample_rate);
            let picture = picture::spectrogram(&audio.samples, audio.sample_rate, None)?;
            (uri("image/png", &picture), uri("audio/wav", &wav(&audio)))
        };
        let size = picture.len() + sound.len();
        if self.used + size > MOST_BYTES {
            item.ticks.clear();
            return refuse(format!(
                "is left out: the page holds at most {} of sounds and pictures",
                text::bytes(MOST_BYTES)
            ));
        }
        self.used += size;
        (item.picture, item.sound) = (picture, sound);
        Ok(())
    }
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
    // A float that is not finite becomes silence; `as` makes 0 of NaN.
    let sample = |x: &f32| ((x.clamp(-1.0, 1.0) * 32767.0).round() as i16).to_le_bytes();
    bytes.extend(audio.samples.iter().flat_map(sample));
    bytes
}
