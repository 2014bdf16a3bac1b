//! The clips of a file list, read once and kept in memory, and their batches.
//!
//! Source: spec F.3 (lengths and cuts), F.5 (collate). Departures: spectrograms are computed once and kept in memory instead of
//! in .spec.pt files that are never updated; clips that RVC's length rule drops are used; integer wavs are scaled to full scale.

use crate::audio::io;
use crate::config::Config;
use crate::models::{Pitch, SynthesizerConfig, TrainInput};
use crate::nn::Spectral;
use crate::shown::counted;
use crate::task::Task;
use crate::train::{holdout, order};
use crate::{Error, Kind, Result, files, nn, npy};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Device, Tensor};

/// Most frames of 10 ms that RVC uses of a clip.
const MAX_FRAMES: usize = 900;
/// The same in seconds: the rest of a longer clip is not trained on.
pub const MAX_SECONDS: f64 = MAX_FRAMES as f64 / 100.0;

/// Highest sample of silence.
const SILENT_PEAK: f32 = 1.0 / 32768.0;

/// Bytes of clips kept in memory if the system does not report its free memory.
const FALLBACK_ROOM: usize = 2 << 30;

/// A line of the file list that is not trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    pub name: String,
    pub reason: String,
}

/// One line of the file list.
struct Item {
    wave: PathBuf,
    phone: PathBuf,
    /// Coarse pitch and f0 in Hz; None in a list for networks without pitch.
    pitch: Option<[PathBuf; 2]>,
    sid: i64,
}

/// The network's inputs for a clip, all cut to the same number of frames.
struct Clip {
    frames: usize,
    /// [frames, content]; each row of the file is there twice (50 to 100 frames a second).
    phone: Vec<f32>,
    /// Empty without pitch, as the next.
    pitch: Vec<i64>,
    pitchf: Vec<f32>,
    /// The whole wave: its spectrogram is made before the cut.
    wave: Vec<f32>,
    /// Samples of it that go into a batch. RVC cuts to whole frames only if content and spectrogram differ in length; the rest
    /// of up to a frame is never inside a window.
    samples: usize,
    sid: i64,
    /// RVC's length for its buckets, from the size of the file.
    length: i64,
    digest: String,
    /// Digests of the sound, and of the pitch.
    parts: [String; 2],
    spec: Option<Tensor>,
}

/// A collated batch on the training device.
pub struct Batch {
    pub input: TrainInput,
    /// [batch, 1, samples]
    pub wave: Tensor,
}

/// The usable clips of a file list.
pub struct Dataset {
    items: Vec<Item>,
    /// In memory, or None if memory did not suffice: then read again when its turn comes.
    clips: Vec<Option<Clip>>,
    infos: Vec<ClipInfo>,
    buckets: Vec<Vec<usize>>,
    batch_size: usize,
    dropped: Vec<Dropped>,
    seconds: f64,
    digest: String,
    limits: Limits,
    spectral: Rc<Spectral>,
    room: usize,
    content_digest: Option<String>,
    speakers: Vec<String>,
}

/// Facts of a clip, kept even if the clip is not kept in memory.
#[derive(Clone)]
struct ClipInfo {
    length: i64,
    frames: usize,
    digest: String,
    /// Of its sound, and of its pitch.
    parts: [String; 2],
    is_silent: bool,
}

/// Why a clip is not trained on.
enum Unfit {
    /// Shorter than the window, in seconds.
    Short(f64),
    Damaged(Error),
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Self::Damaged(error)
    }
}

impl Unfit {
    fn into_error(self, limits: Limits) -> Error {
        match self {
            Self::Short(seconds) => damaged(format!(
                "{seconds:.2} s are too short: training takes windows of {:.2} s",
                limits.window_seconds()
            )),
            Self::Damaged(error) => error,
        }
    }
}

/// The requirements on a clip.
#[derive(Clone, Copy)]
struct Limits {
    sample_rate: u32,
    hop_length: usize,
    content_channels: usize,
    min_frames: usize,
    speakers: i64,
    f0: bool,
}

impl Limits {
    fn window_seconds(self) -> f64 {
        self.min_frames as f64 / 100.0
    }
}

/// Opens the data set of a file list and checks every clip; relative paths in the list are below `root`.
///
/// Unusable clips are left out, with a warning that gives the reason, and listed in [`Dataset::dropped`].
/// Errors: `file.not_found` (the list), `data.damaged` (a line with another number of fields), `data.empty` (no usable clip with
/// sound: training needs more than silence), `cancelled`.
pub fn dataset(task: &Task, root: &Path, filelist: &Path, config: &Config) -> Result<Dataset> {
    let half_of_memory = {
        let free = sysinfo::System::new().map(|mut system| {
            system.refresh_memory();
            system.available_memory()
        });
        free.map_or(FALLBACK_ROOM, |bytes| (bytes / 2) as usize)
    };
    dataset_within(task, root, filelist, config, half_of_memory)
}

/// As [`dataset`], with at most `room` bytes of clips in memory.
pub fn dataset_within(task: &Task, root: &Path, filelist: &Path, config: &Config, room: usize) -> Result<Dataset> {
    let sizes = SynthesizerConfig::from_config(config);
    let limits = Limits {
        sample_rate: config.sample_rate as u32,
        hop_length: config.hop_length() as usize,
        content_channels: sizes.content_channels as usize,
        min_frames: config.segment_frames() as usize,
        speakers: sizes.spk_embed_dim,
        f0: config.if_f0,
    };
    let lines = parse_filelist(task, root, filelist, config.if_f0)?;
    let loaded = task.map("reading clips", &lines, |item| Ok(load(item, limits)))?;
    let mut dropped = Vec::new();
    let mut short = Vec::new();
    let (mut items, mut clips) = (Vec::new(), Vec::new());
    for (item, clip) in lines.into_iter().zip(loaded) {
        let unfit = match clip {
            Ok(clip) => {
                items.push(item);
                clips.push(Some(clip));
                continue;
            }
            Err(unfit) => unfit,
        };
        let name = item.wave.display().to_string();
        let seconds = if let Unfit::Short(seconds) = unfit { Some(seconds) } else { None };
        let error = unfit.into_error(limits);
        match seconds {
            Some(seconds) => {
                short.push((item.wave.file_name().unwrap_or_default().to_string_lossy().into_owned(), seconds));
            }
            None => task.warn(format!("left out of training: {name}: {}", error.message())),
        }
        dropped.push(Dropped { name, reason: error.message().to_owned() });
    }
    let short = Short(short);
    if clips.iter().flatten().all(Clip::is_silent) {
        return Err(nothing_to_train_on(filelist, items.len(), dropped.len(), &short, limits));
    }
    if !short.0.is_empty() {
        task.warn(format!("left out of training: {}", short.text(limits)));
    }
    Ok(Dataset::new(task, items, clips, dropped, config, limits, room))
}

/// Clips that are shorter than the window: name and seconds.
struct Short(Vec<(String, f64)>);

impl Short {
    /// "3 clips of 0.12 to 0.20 s are shorter than the training's window of 0.40 s: a.wav, b.wav, c.wav".
    fn text(&self, limits: Limits) -> String {
        const MOST: usize = 5;
        let names: Vec<&str> = self.0.iter().take(MOST).map(|(name, _)| name.as_str()).collect();
        let more = match self.0.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (low, high) =
            self.0.iter().fold((f64::MAX, 0.0f64), |(low, high), (_, seconds)| (low.min(*seconds), high.max(*seconds)));
        let seconds = if high - low < 0.005 { format!("{low:.2} s") } else { format!("{low:.2} to {high:.2} s") };
        let (count, window) = (self.0.len(), limits.window_seconds());
        let are = if count == 1 { "clip of {} is" } else { "clips of {} are" }.replace("{}", &seconds);
        format!("{count} {are} shorter than the training's window of {window:.2} s: {}{more}", names.join(", "))
    }
}

/// `silent`: usable clips without sound.
fn nothing_to_train_on(filelist: &Path, silent: usize, dropped: usize, short: &Short, limits: Limits) -> Error {
    let silence = match silent {
        0 => String::new(),
        1 => "; its 1 other clip is silence".to_owned(),
        n => format!("; its {n} other clips are silence"),
    };
    let (message, hint) = if short.0.is_empty() && dropped == 0 {
        let message = format!("there is no clip with sound in {} ({silent} silent ones)", filelist.display());
        (message, "put recordings of speech into the voice's folder and prepare it again".to_owned())
    } else if short.0.len() == dropped {
        let message =
            format!("there is nothing to train on in {}: {}{silence}", filelist.display(), short.text(limits));
        let hint = format!(
            "add recordings with longer phrases (a few seconds each), or join short ones; segment_size sets the window, {:.2} s here",
            limits.window_seconds()
        );
        (message, hint)
    } else {
        let message = format!("{} has no usable clip ({dropped} left out{silence})", filelist.display());
        (message, "prepare the voice again; the warnings above give the reason for each clip".to_owned())
    };
    Error::new(Kind::DataEmpty, message).path(filelist).hint(hint)
}

fn parse_filelist(task: &Task, root: &Path, filelist: &Path, f0: bool) -> Result<Vec<Item>> {
    let place = Place { root, logs: filelist.parent().unwrap_or(root) };
    let (text, code_page) = files::read_foreign(filelist, |text| place.share_of_existing(text))?;
    if let Some(page) = code_page {
        task.info(format!("{} is in a code page and was read as {page}", filelist.display()));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(i, line)| parse_line(&place, line.trim(), f0).map_err(|why| bad_line(filelist, i + 1, &why))).collect()
}

/// Where to search for the files of a list.
struct Place<'a> {
    root: &'a Path,
    /// The folder of the list, logs/<voice>.
    logs: &'a Path,
}

impl Place<'_> {
    /// The file that a field names. RVC writes absolute paths: in a folder that was moved from another place or system they do not
    /// exist, so the part after the voice's name, or after "logs", is resolved from here; in a renamed folder,
    /// the last two parts.
    fn find(&self, field: &str) -> PathBuf {
        let given = self.root.join(field);
        if given.exists() {
            return given;
        }
        let plain = field.replace('\\', "/").replace("//", "/");
        let voice = self.logs.file_name().unwrap_or_default().to_string_lossy();
        let behind = |folder: &str| plain.rsplit_once(&format!("/{folder}/")).map(|(_, rest)| rest);
        let here = behind(&voice).map(|rest| self.logs.join(rest));
        let beside = || behind("logs").zip(self.logs.parent()).map(|(rest, logs)| logs.join(rest));
        let renamed = || {
            let mut parts = plain.rsplit('/');
            parts.next().zip(parts.next()).map(|(name, folder)| self.logs.join(folder).join(name))
        };
        let there = |path: &PathBuf| path.exists();
        here.filter(there).or_else(|| beside().filter(there)).or_else(|| renamed().filter(there)).unwrap_or(given)
    }

    /// The share of a list's rows whose files exist.
    fn share_of_existing(&self, text: &str) -> f64 {
        let rows: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let is_there = |field: &str| self.find(field.trim()).is_file();
        let there = rows.iter().filter(|line| line.split('|').take(2).all(is_there)).count();
        there as f64 / rows.len().max(1) as f64
    }
}

fn bad_line(filelist: &Path, line: usize, why: &str) -> Error {
    Error::new(Kind::DataDamaged, format!("{}, line {line}: {why}", filelist.display()))
        .path(filelist)
        .hint("extract the voice again with the settings of the training; that writes a new file list")
}

fn parse_line(place: &Place, line: &str, f0: bool) -> std::result::Result<Item, String> {
    let fields: Vec<&str> = line.split('|').collect();
    let path = |field: &str| place.find(field);
    let (wave, phone, pitch, sid) = match (&fields[..], f0) {
        // Lists of several speakers have their names at the end.
        ([wave, phone, pitch, pitchf, sid] | [wave, phone, pitch, pitchf, sid, _], true) => {
            (wave, phone, Some([path(pitch), path(pitchf)]), sid)
        }
        ([wave, phone, sid] | [wave, phone, sid, _], false) => (wave, phone, None, sid),
        ([_, _, _] | [_, _, _, _], true) => {
            return Err("it has no pitch, but the settings ask for it (if_f0 is true, without --no-f0)".into());
        }
        ([_, _, _, _, _] | [_, _, _, _, _, _], false) => {
            return Err("it has pitch, but the settings ask for a voice without it (if_f0 is false, --no-f0)".into());
        }
        _ => {
            return Err(format!(
                "it has {} fields, but must be wav|content|f0|f0 in Hz|speaker, or wav|content|speaker without pitch",
                fields.len()
            ));
        }
    };
    let sid = sid.parse().map_err(|_| format!("the speaker is {sid:?}, but must be a whole number"))?;
    Ok(Item { wave: path(wave), phone: path(phone), pitch, sid })
}

fn damaged(why: impl Into<String>) -> Error {
    Error::new(Kind::DataDamaged, why)
}

/// Reads and checks one clip. Errors: as reading, `data.damaged`, `config.mismatch` for another rate.
fn load(item: &Item, limits: Limits) -> std::result::Result<Clip, Unfit> {
    let audio = io::read_wav(&item.wave)?;
    if audio.sample_rate != limits.sample_rate {
        return Err(Error::new(
            Kind::ConfigMismatch,
            format!("its rate is {} Hz, but training is at {} Hz", audio.sample_rate, limits.sample_rate),
        )
        .into());
    }
    let bytes = std::fs::metadata(&item.wave).map_err(|e| Error::io("look at", &item.wave, e))?.len();
    let (content, rows, columns) = npy::read_f32_2d(&item.phone)?;
    if columns != limits.content_channels {
        return Err(damaged(format!(
            "its content features have {columns} values per frame, but must have {}: version v1 uses 256, v2 768",
            limits.content_channels
        ))
        .into());
    }
    let (pitch, pitchf) = match &item.pitch {
        Some([coarse, hz]) => (npy::read_i64(coarse)?, npy::read_f64(hz)?),
        None => (Vec::new(), Vec::new()),
    };
    let wave = audio.samples;
    let spec_frames = wave.len() / limits.hop_length;
    let pitches = if limits.f0 { pitch.len().min(pitchf.len()) } else { usize::MAX };
    let frames = [2 * rows, MAX_FRAMES, pitches, spec_frames].into_iter().min().unwrap_or(0);
    if frames < limits.min_frames {
        return Err(Unfit::Short(frames as f64 / 100.0));
    }
    let clip = Clip {
        frames,
        phone: (0..frames).flat_map(|t| &content[t / 2 * columns..(t / 2 + 1) * columns]).copied().collect(),
        pitch: pitch.into_iter().take(frames).collect(),
        pitchf: pitchf.into_iter().take(frames).map(|hz| hz as f32).collect(),
        samples: if frames == spec_frames { wave.len() } else { frames * limits.hop_length },
        wave,
        sid: item.sid,
        length: (bytes / (3 * limits.hop_length as u64)) as i64,
        digest: String::new(),
        parts: Default::default(),
        spec: None,
    };
    check_values(&clip, limits)?;
    let (digest, parts) = clip.digests();
    Ok(Clip { digest, parts, ..clip })
}

/// Rejects values that would poison the networks or exceed an embedding.
fn check_values(clip: &Clip, limits: Limits) -> Result<()> {
    if !clip.wave.iter().all(|x| x.is_finite()) {
        return Err(damaged("its wave has samples that are not finite"));
    }
    if !clip.phone.iter().all(|x| x.is_finite()) {
        return Err(damaged("its content features have values that are not finite"));
    }
    if !clip.pitchf.iter().all(|hz| hz.is_finite() && *hz >= 0.0) {
        return Err(damaged("its f0 has values that are negative or not finite"));
    }
    if let Some(bad) = clip.pitch.iter().find(|p| !(0..256).contains(*p)) {
        return Err(damaged(format!("its coarse pitch has the value {bad}, but must be in 0..255")));
    }
    if !(0..limits.speakers).contains(&clip.sid) {
        return Err(damaged(format!("its speaker is {}, but must be in 0..{}", clip.sid, limits.speakers - 1)));
    }
    Ok(())
}

impl Clip {
    /// Whether it is silent: at most one step of 16 bits, as in the silence that RVC puts into every list.
    fn is_silent(&self) -> bool {
        self.wave.iter().all(|x| x.abs() <= SILENT_PEAK)
    }

    /// The digest of the whole clip, and those of its sound and its pitch. The wave, which is most of a clip, is hashed once for both.
    fn digests(&self) -> (String, [String; 2]) {
        let own = [&self.sid, &self.length];
        let mut whole = Sha256::new();
        add_floats(&mut whole, &self.wave);
        let sound = finished(whole.clone(), own);
        add_floats(&mut whole, &self.phone);
        add_floats(&mut whole, &self.pitchf);
        let mut pitch = Sha256::new();
        add_floats(&mut pitch, &self.pitchf);
        (finished(whole, self.pitch.iter().chain(own)), [sound, finished(pitch, &self.pitch)])
    }

    fn bytes(&self, bins: i64) -> usize {
        4 * (self.phone.len() + self.wave.len() + self.pitchf.len() + self.frames * bins as usize)
            + 8 * self.pitch.len()
    }

    /// The linear spectrogram [bins, frames], computed from the whole wave, then cut.
    fn spec(&self, spectral: &Spectral) -> Tensor {
        let wave = Tensor::from_slice(&self.wave).unsqueeze(0);
        spectral.spec(&wave).squeeze_dim(0).narrow(1, 0, self.frames as i64).contiguous()
    }
}

fn add_floats(hasher: &mut Sha256, values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    hasher.update((values.len() as u64).to_le_bytes());
    hasher.update(&bytes);
}

fn finished<'a>(mut hasher: Sha256, integers: impl IntoIterator<Item = &'a i64>) -> String {
    hasher.update(integers.into_iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>());
    files::digest(hasher.finalize())
}

/// The recording of a clip and the clip's place in it, from RVC's names: 0_gt_wavs/<recording>_<place>.wav. None for
/// others, such as silence.
fn recording_of(wave: &Path) -> Option<(String, i64)> {
    let stem = wave.file_stem()?.to_string_lossy();
    let (recording, place) = stem.rsplit_once('_')?;
    Some((recording.to_owned(), place.parse().ok()?))
}

impl Dataset {
    fn new(
        task: &Task,
        items: Vec<Item>,
        mut clips: Vec<Option<Clip>>,
        dropped: Vec<Dropped>,
        config: &Config,
        limits: Limits,
        room: usize,
    ) -> Self {
        let info = |clip: &Clip| ClipInfo {
            length: clip.length,
            frames: clip.frames,
            digest: clip.digest.clone(),
            parts: clip.parts.clone(),
            is_silent: clip.is_silent(),
        };
        let infos = clips.iter().flatten().map(info).collect();
        let mut left = room;
        let bins = config.n_fft() / 2 + 1;
        for clip in &mut clips {
            let bytes = clip.as_ref().map_or(0, |c| c.bytes(bins));
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => *clip = None,
            }
        }
        let outside = clips.iter().filter(|clip| clip.is_none()).count();
        if outside > 0 {
            task.info(format!(
                "{outside} of {} {} not fit into {} MiB of memory and {} read again in every epoch",
                counted(clips.len(), "clip"),
                if outside == 1 { "does" } else { "do" },
                room >> 20,
                if outside == 1 { "is" } else { "are" }
            ));
        }
        let mut set = Self {
            items,
            clips,
            infos,
            buckets: Vec::new(),
            batch_size: config.batch_size as usize,
            dropped,
            seconds: 0.0,
            digest: String::new(),
            limits,
            spectral: Rc::new(Spectral::new(config, Device::Cpu)),
            room,
            content_digest: None,
            speakers: Vec::new(),
        };
        set.count();
        set
    }

    /// Updates the values derived from the clips.
    fn count(&mut self) {
        let lengths: Vec<i64> = self.infos.iter().map(|fact| fact.length).collect();
        self.buckets = order::buckets(&lengths);
        self.seconds = self.infos.iter().map(|fact| fact.frames as f64).sum::<f64>() / 100.0;
        self.digest = files::digest(self.infos.iter().map(|fact| fact.digest.as_str()).collect::<String>());
    }

    /// Removes clips for validation, about `fraction` of the sound, and returns them as a separate set.
    ///
    /// It takes whole recordings, since neighbouring clips overlap and share room and mood: training never gets held-out sound. The
    /// choice depends only on `seed` and the recordings' numbers. Of a single recording it takes the end, and the clip before it is
    /// in neither set. Silent clips are never taken and do not count.
    ///
    /// Errors: `config.value` if `fraction` is not above 0 and below 1; `data.empty` if there are too few clips for two sets.
    pub fn hold_out(&mut self, fraction: f64, seed: i64) -> Result<Self> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::new(
                Kind::ConfigValue,
                format!("the fraction to hold out is {fraction}, but must be above 0.0 and below 1.0"),
            ));
        }
        let heard = self.items.iter().zip(&self.infos);
        let names: Vec<Option<(String, i64)>> =
            heard.map(|(item, fact)| recording_of(&item.wave).filter(|_| !fact.is_silent)).collect();
        let places =
            holdout::choose(&names, &self.infos.iter().map(|fact| fact.frames).collect::<Vec<_>>(), fraction, seed);
        let Some(holdout::Places { held, left_out }) = places else {
            let clips = names.iter().flatten().count();
            let recordings = names.iter().flatten().map(|(recording, _)| recording).collect::<BTreeSet<_>>().len();
            return Err(Error::new(
                Kind::DataEmpty,
                format!(
                    "{} with sound, of {}, {} too few to hold some out: at least 2 recordings, or 3 clips of one, are needed",
                    counted(clips, "clip"),
                    counted(recordings, "recording"),
                    if clips == 1 { "is" } else { "are" }
                ),
            )
            .hint("add recordings, or train without validation"));
        };
        let (mut rest, mut taken) = (self.emptied(), self.emptied());
        let old = std::mem::take(&mut self.items)
            .into_iter()
            .zip(std::mem::take(&mut self.clips))
            .zip(std::mem::take(&mut self.infos));
        for (place, ((item, clip), fact)) in old.enumerate() {
            let set = match (held.contains(&place), left_out.contains(&place)) {
                (true, _) => &mut taken,
                (_, true) => continue,
                _ => &mut rest,
            };
            set.items.push(item);
            set.clips.push(clip);
            set.infos.push(fact);
        }
        taken.count();
        rest.count();
        rest.dropped = std::mem::take(&mut self.dropped);
        *self = rest;
        Ok(taken)
    }

    /// A set with the same settings and no clips.
    fn emptied(&self) -> Self {
        Self {
            items: Vec::new(),
            clips: Vec::new(),
            infos: Vec::new(),
            buckets: Vec::new(),
            batch_size: self.batch_size,
            dropped: Vec::new(),
            seconds: 0.0,
            digest: String::new(),
            limits: self.limits,
            spectral: self.spectral.clone(),
            room: self.room,
            content_digest: self.content_digest.clone(),
            speakers: self.speakers.clone(),
        }
    }

    /// Digests of the sound of all clips, and of their pitch.
    pub fn parts(&self) -> [String; 2] {
        [0, 1].map(|part| files::digest(self.infos.iter().map(|info| info.parts[part].as_str()).collect::<String>()))
    }

    /// The recordings of the clips, by their numbers in the clips' names, each once.
    pub fn recordings(&self) -> Vec<String> {
        let mut names: Vec<String> = self.items.iter().filter_map(|item| Some(recording_of(&item.wave)?.0)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The same clips, with the digest of their content encoder.
    #[must_use]
    pub fn encoded_by(mut self, digest: Option<String>) -> Self {
        self.content_digest = digest;
        self
    }

    /// Errors: `config.mismatch` if a clip's speaker has no row in a table of `rows`.
    pub fn check_speakers(&self, rows: i64) -> Result<()> {
        let Some(item) = self.items.iter().find(|item| !(0..rows).contains(&item.sid)) else { return Ok(()) };
        Err(Error::new(
            Kind::ConfigMismatch,
            format!("{} belongs to speaker {}, but the network has only rows 0 to {}", item.wave.display(), item.sid, rows - 1),
        )
        .hint("start from a base with more speaker rows, or from random weights with --pretrained-g none and --pretrained-d none"))
    }

    /// The same clips, with the names of their speakers by number; empty for a single speaker.
    #[must_use]
    pub fn spoken_by(mut self, speakers: Vec<String>) -> Self {
        self.speakers = speakers;
        self
    }

    /// The names of the speakers by number, if known and more than one; "" for one without a name.
    pub fn speakers(&self) -> &[String] {
        &self.speakers
    }

    /// The digest of the clips' content encoder, if known.
    pub fn content_digest(&self) -> Option<&str> {
        self.content_digest.as_deref()
    }

    /// Number of clips.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The sound of the first clip; None in an empty set.
    pub fn first_clip(&self) -> Option<&Path> {
        self.items.first().map(|item| item.wave.as_path())
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Seconds of sound used for training.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The lines of the file list left out of training, and why.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// A SHA-256 over the networks' inputs, in the order of the list; paths do not count.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Most bytes of clips to keep in memory.
    pub fn room(&self) -> usize {
        self.room
    }

    /// The batches of an epoch (counted from 1), each a list of clip numbers; depends only on the epoch.
    pub fn batches(&self, epoch: i64) -> Vec<Vec<usize>> {
        order::batches(&self.buckets, self.batch_size, epoch)
    }

    /// The clips `ids` as one batch, rows by decreasing length, zero padded.
    ///
    /// Errors: as [`dataset`] for a clip that is read again and has changed meanwhile; `torch`, `device.memory`.
    pub fn collate(&mut self, ids: &[usize], device: Device) -> Result<Batch> {
        let mut read_again = Vec::new();
        for &id in ids {
            match &mut self.clips[id] {
                Some(clip) if clip.spec.is_none() => clip.spec = Some(nn::guard(|| clip.spec(&self.spectral))?),
                Some(_) => {}
                None => {
                    let wave = &self.items[id].wave;
                    let mut clip = load(&self.items[id], self.limits)
                        .map_err(|unfit| unfit.into_error(self.limits).context(wave.display()).path(wave))?;
                    clip.spec = Some(nn::guard(|| clip.spec(&self.spectral))?);
                    read_again.push((id, clip));
                }
            }
        }
        let outside = |id: usize| read_again.iter().find(|(i, _)| *i == id).map(|(_, clip)| clip);
        let rows: Vec<&Clip> = ids.iter().filter_map(|&id| self.clips[id].as_ref().or_else(|| outside(id))).collect();
        nn::guard(|| collate(&rows, self.limits, device))
    }
}

fn collate(rows: &[&Clip], limits: Limits, device: Device) -> Batch {
    // torch's own sort: above 16 rows it does not keep the order of equal lengths, and RVC's batches show it.
    let frames: Vec<i64> = rows.iter().map(|clip| clip.frames as i64).collect();
    let (_, order) = Tensor::from_slice(&frames).sort(0, true);
    let order: Vec<i64> = Vec::try_from(&order).unwrap_or_default();
    let rows: Vec<&Clip> = order.iter().map(|&i| rows[i as usize]).collect();
    let (n, longest) = (rows.len(), rows.first().map_or(0, |clip| clip.frames));
    let columns = limits.content_channels;
    let samples = rows.iter().map(|clip| clip.samples).max().unwrap_or(0);
    let mut phone = vec![0f32; n * longest * columns];
    let mut pitch = vec![0i64; n * longest];
    let mut pitchf = vec![0f32; n * longest];
    let mut wave = vec![0f32; n * samples];
    for (i, clip) in rows.iter().enumerate() {
        let at = i * longest;
        phone[at * columns..][..clip.phone.len()].copy_from_slice(&clip.phone);
        pitch[at..][..clip.pitch.len()].copy_from_slice(&clip.pitch);
        pitchf[at..][..clip.pitchf.len()].copy_from_slice(&clip.pitchf);
        wave[i * samples..][..clip.samples].copy_from_slice(&clip.wave[..clip.samples]);
    }
    let (n, longest) = (n as i64, longest as i64);
    let lengths: Vec<i64> = rows.iter().map(|clip| clip.frames as i64).collect();
    let sids: Vec<i64> = rows.iter().map(|clip| clip.sid).collect();
    let lengths = Tensor::from_slice(&lengths).to_device(device);
    Batch {
        input: TrainInput {
            phone: Tensor::from_slice(&phone).view([n, longest, columns as i64]).to_device(device),
            phone_lengths: lengths.shallow_clone(),
            pitch: limits.f0.then(|| Pitch {
                coarse: Tensor::from_slice(&pitch).view([n, longest]).to_device(device),
                hz: Tensor::from_slice(&pitchf).view([n, longest]).to_device(device),
            }),
            spec: padded_specs(&rows, longest).to_device(device),
            spec_lengths: lengths,
            sid: Tensor::from_slice(&sids).to_device(device),
        },
        wave: Tensor::from_slice(&wave).view([n, 1, samples as i64]).to_device(device),
    }
}

fn padded_specs(rows: &[&Clip], longest: i64) -> Tensor {
    let specs: Vec<Tensor> = rows
        .iter()
        .filter_map(|clip| clip.spec.as_ref())
        .map(|spec| spec.constant_pad_nd([0, longest - spec.size()[1]]))
        .collect();
    Tensor::stack(&specs, 0)
}
