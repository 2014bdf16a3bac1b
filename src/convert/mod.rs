//! Conversion of a recording into another voice.
//!
//! ```text
//! recording ─16 kHz─> high-pass ─> cut at quiet places ─> chunks with a second of margin
//!                        │                                   │
//!                        └─> f0 of the whole, shifted ──┐    ├─> content ─> index ─> protect ─┐
//!                        └─> loudness ──────────────┐   └────┼────────────────────────────────┴─> generator ─> margins off
//!                                                   └────────┼──────────────────────────────────────> loudness mix
//!                                                                                                     ─> rate ─> file
//! ```
//!
//! Source: spec I (RVC `infer/modules/vc/pipeline.py`).

mod cut;
mod loudness;
pub mod output;
pub mod quality;
pub mod selftest;

pub use cut::{Chunking, cuts};

use crate::audio::{Audio, filter, resample};
use crate::config::choices::{ContentEncoder, EncoderName, F0Method, F0Unvoiced, Precision};
use crate::config::{Config, choice};
use crate::features::{Models, content, f0};
use crate::models::synthesizer::{InferInput, Pitch};
use crate::nn::{allocator, generator, pace::Pace, runtime};
use crate::retrieval::Index;
use crate::task::Task;
use crate::voice::Voice;
use crate::{Error, Kind, Result, nn};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;
use tch::{Device, Tensor};

/// Sample rate in Hz of the input of all networks except the generator.
const RATE: u32 = 16_000;
/// Samples of a frame of pitch.
const FRAME: usize = 160;

/// The methods of a conversion; None uses those of the voice's training, or RVC's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoiceOptions {
    /// As the setting of that name.
    pub content_encoder: Option<ContentEncoder>,
    pub f0_method: Option<F0Method>,
    pub feature_precision: Option<Precision>,
    /// The value of unvoiced frames.
    pub f0_unvoiced: Option<F0Unvoiced>,
    /// The voice's retrieval index; None converts without one.
    pub index: Option<PathBuf>,
    pub gpu: bool,
}

/// How a recording is converted. The defaults are RVC's.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Row of the voice's speaker table.
    pub sid: i64,
    /// Pitch shift in semitones.
    pub f0_up_key: f64,
    /// Share of the index in the content features, 0 to 1.
    pub index_rate: f64,
    /// Protection of unvoiced sounds and breath from the index: 0 most, 0.5 none.
    pub protect: f64,
    /// The loudness over time: 0 the recording's, 1 the voice's.
    pub rms_mix_rate: f64,
    /// Above 2, harvest's pitch is smoothed by a median of three frames.
    pub filter_radius: i64,
    /// Rate of the result in Hz; 0 is the voice's own.
    pub resample_sr: i64,
    /// Same seed, same recording, same machine: same sound.
    pub seed: i64,
    pub chunking: Chunking,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sid: 0,
            f0_up_key: 0.0,
            index_rate: 0.75,
            protect: 0.33,
            rms_mix_rate: 0.25,
            filter_radius: 3,
            resample_sr: 0,
            seed: 1234,
            chunking: Chunking::default(),
        }
    }
}

/// A voice with all networks for conversion.
pub struct Converter {
    voice: Voice,
    encoder: Rc<content::Encoder>,
    /// None for a voice without pitch.
    tracker: Option<Rc<f0::Extractor>>,
    f0_method: F0Method,
    f0_unvoiced: F0Unvoiced,
    index: Option<Index>,
    device: Device,
}

impl Converter {
    /// Opens a voice and the networks that it needs.
    ///
    /// Errors: as [`Voice::open`]; `checkpoint.mismatch` if the voice is known to be trained on another content encoder;
    /// `asset.missing`, `config.value`, `device.missing`, `device.memory`.
    pub fn open(path: &Path, models: &Models, options: &VoiceOptions) -> Result<Self> {
        let device = runtime::device(options.gpu)?;
        let voice = Voice::open(path, device)?;
        let config = Config {
            content_encoder: chosen(
                options.content_encoder.clone(),
                ("content_encoder", &voice.content_encoder, path),
                EncoderName::HubertBase.into(),
            )?,
            f0_method: chosen(options.f0_method, ("f0_method", &voice.f0_method, path), F0Method::Rmvpe)?,
            feature_precision: options.feature_precision.unwrap_or(Precision::Fp32),
            version: voice.sizes.version(),
            if_f0: voice.sizes.f0,
            f0_unvoiced: chosen(options.f0_unvoiced, ("f0_unvoiced", &voice.f0_unvoiced, path), F0Unvoiced::Zero)?,
            gpu: options.gpu,
            ..Config::default()
        };
        models.store().require(&config)?; // one error for both networks
        let encoder = models.encoder(&config)?;
        if let Some(digest) = &voice.content_digest {
            encoder.must_be(digest).map_err(|e| e.path(path))?;
        }
        let tracker = config.if_f0.then(|| models.extractor(&config)).transpose()?;
        let index = options.index.as_deref().map(|index| fitting(index, &voice)).transpose()?;
        Ok(Self {
            voice,
            encoder,
            tracker,
            f0_method: config.f0_method,
            f0_unvoiced: config.f0_unvoiced,
            index,
            device,
        })
    }

    /// Notices about this conversion, one sentence each.
    pub fn notices(&self) -> Vec<String> {
        self.voice.content_digest.iter().filter_map(|digest| self.encoder.differs_from(digest)).collect()
    }

    pub fn voice(&self) -> &Voice {
        &self.voice
    }

    /// The value of unvoiced frames.
    pub fn f0_unvoiced(&self) -> F0Unvoiced {
        self.f0_unvoiced
    }

    /// Whether a retrieval index is there to pull the content.
    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// How similar a converted sound is to its input; `f0_up_key` as in the conversion.
    ///
    /// Errors: as [`quality::Evaluator::compare`].
    pub fn quality(&self, converted: &Audio, recording: &Audio, f0_up_key: f64) -> Result<quality::Quality> {
        let evaluator = |tracker| quality::Evaluator { tracker, encoder: &self.encoder };
        match &self.tracker {
            Some(tracker) => evaluator(tracker).compare(converted, recording, f0_up_key),
            None => evaluator(&f0::Extractor::signal(f0::Method::Pm)).compare(converted, recording, f0_up_key),
        }
    }

    /// The recording in the voice, at the voice's rate or [`Settings::resample_sr`], as long as the recording to a sample of 16 kHz.
    ///
    /// Departure from spec I.6: RVC keeps only the whole encoder frames of each chunk, so a chunk ends up to 20 ms early and the next one
    /// follows at once; a long recording gets some 10 ms earlier after each second joint. Here each chunk has its exact
    /// length: the missing end comes from the margin after it, which is generated anyway. Everything else equals RVC's to the sample.
    ///
    /// Memory grows by about 0.3 MB for each second; the networks' memory stays constant.
    /// Errors: `audio.empty` for less than 25 ms; `data.damaged` if a sample is not finite; `config.value`; `cancelled`,
    /// `device.memory`, `torch`; `checkpoint.damaged`, naming the voice, if its network does not generate sound.
    pub fn convert(&self, task: &Task, recording: Audio, settings: &Settings) -> Result<Audio> {
        self.check(settings)?;
        let prepared = Prepared::of(recording, settings.chunking)?;
        let pitch = self.tracker.as_ref().map(|tracker| self.pitch(task, tracker, &prepared, settings)).transpose()?;
        let _drawing = nn::guard(|| generator::seeded(settings.seed))?;
        let chunks = prepared.chunks();
        let rate = self.voice.sizes.sample_rate;
        let margin = (rate as usize) * settings.chunking.x_pad;
        let place = |sample: usize| (sample as u64 * rate as u64).div_ceil(u64::from(RATE)) as usize;
        let mut progress = task.stage("convert", chunks.len() as u64);
        let _in_stage = progress.enter();
        let mut made: Vec<f32> = Vec::with_capacity(place(prepared.samples()));
        // RVC's length; loudness is measured over it.
        let mut kept = 0;
        let mut pace = if self.device.is_cuda() { Pace::off() } else { Pace::new() };
        for (i, chunk) in chunks.iter().enumerate() {
            task.check()?;
            let began = Instant::now();
            let wave = self.sound(&self.input(&prepared, chunk, pitch.as_ref(), settings)?)?;
            self.check_wave(&wave)?;
            let end = chunks.get(i + 1).map_or(prepared.samples(), |next| next.samples.start);
            let wanted = place(end) - place(chunk.samples.start);
            kept = made.len() + wave.len().saturating_sub(2 * margin).min(wanted);
            made.extend_from_slice(wave.get(margin..(margin + wanted).min(wave.len())).unwrap_or_default());
            allocator::give_back();
            if let Some(changed) = pace.after(wanted as f64, began.elapsed()) {
                task.info(changed);
            }
            progress.advance(1, "");
        }
        if settings.rms_mix_rate < 1.0 {
            loudness::mix(&prepared.loudness, &mut made, kept, rate as u32, settings.rms_mix_rate as f32);
        }
        let (rate, wanted) = (rate as u32, settings.resample_sr as u32);
        if wanted == 0 || wanted == rate {
            return Ok(Audio { samples: made, sample_rate: rate });
        }
        Ok(Audio { samples: resample::resample(&made, rate, wanted), sample_rate: wanted })
    }

    /// The generator's inputs in [`Converter::convert`], chunk by chunk, to compare with a reference. Errors: the same.
    pub fn inputs(&self, task: &Task, recording: Audio, settings: &Settings) -> Result<Vec<InferInput>> {
        self.check(settings)?;
        let prepared = Prepared::of(recording, settings.chunking)?;
        let pitch = self.tracker.as_ref().map(|tracker| self.pitch(task, tracker, &prepared, settings)).transpose()?;
        prepared.chunks().iter().map(|chunk| self.input(&prepared, chunk, pitch.as_ref(), settings)).collect()
    }

    /// Errors: `config.value`.
    fn check(&self, s: &Settings) -> Result<()> {
        let speakers = self.voice.sizes.spk_embed_dim;
        let within = |name: &str, value: f64, most: f64| {
            if (0.0..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::new(Kind::ConfigValue, format!("{name} is {value}, but must be between 0 and {most}")))
        };
        within("index_rate", s.index_rate, 1.0)?;
        within("protect", s.protect, 0.5)?;
        within("rms_mix_rate", s.rms_mix_rate, 1.0)?;
        if !self.voice.speakers.has(s.sid, speakers) {
            let list = self.voice.speakers.list(speakers);
            let has = match self.voice.speakers.count() {
                Some(1) => format!("one speaker: {list}"),
                Some(n) => format!("{n} speakers: {list}"),
                None => format!("the speakers {list}"),
            };
            return Err(Error::new(Kind::ConfigValue, format!("sid is {}, but the voice has {has}", s.sid)));
        }
        if !(-60.0..=60.0).contains(&s.f0_up_key) {
            let message = format!("f0_up_key is {}, but must be between -60 and 60 semitones", s.f0_up_key);
            return Err(Error::new(Kind::ConfigValue, message));
        }
        if s.resample_sr != 0 && !(16_000..=192_000).contains(&s.resample_sr) {
            let message = format!(
                "resample_sr is {}, but must be 0 (the voice's {} Hz) or 16000 to 192000",
                s.resample_sr, self.voice.sizes.sample_rate
            );
            return Err(Error::new(Kind::ConfigValue, message));
        }
        Ok(())
    }

    /// The pitch of every frame of the padded recording.
    fn pitch(&self, task: &Task, tracker: &f0::Extractor, prepared: &Prepared, settings: &Settings) -> Result<Track> {
        let clips = [&prepared.padded];
        let load = |clip: &&Vec<f32>| Ok((*clip).clone());
        let mut f0 =
            tracker.extract(task, "f0", &clips, |clip| clip.len(), load, |_, f0| f0)?.pop().unwrap_or_default();
        f0.resize(prepared.frames(), 0.0);
        if self.f0_method == F0Method::Harvest && settings.filter_radius > 2 {
            f0 = median_of_three(&f0);
        }
        if self.f0_unvoiced == F0Unvoiced::Interpolate {
            f0::fill_unvoiced(&mut f0);
        }
        let factor = 2f64.powf(settings.f0_up_key / 12.0);
        for hz in &mut f0 {
            *hz *= factor;
        }
        Ok(Track { coarse: f0::coarse(&f0), hz: f0.into_iter().map(|hz| hz as f32).collect() })
    }

    /// The generator's inputs for a chunk, margins included.
    fn input(
        &self,
        prepared: &Prepared,
        chunk: &Chunk,
        track: Option<&Track>,
        settings: &Settings,
    ) -> Result<InferInput> {
        let samples = &prepared.padded[chunk.samples.clone()];
        let dim = self.encoder.dim();
        let content = self.encoder.encode(samples)?;
        let frames = (content.len() / dim * 2).min(samples.len() / FRAME);
        let mut pulled = content.clone();
        if let Some(index) = &self.index
            && settings.index_rate > 0.0
        {
            index.blend(&mut pulled, settings.index_rate as f32)?;
        }
        let own = |track: &Track| {
            let end = (chunk.first_frame + frames).min(track.hz.len());
            (track.coarse[chunk.first_frame..end].to_vec(), track.hz[chunk.first_frame..end].to_vec())
        };
        let pitch = track.map(own);
        // In unvoiced frames, the index's effect is partly undone.
        let protect = settings.protect as f32;
        let keep = |frame: usize| match &pitch {
            Some((_, hz)) if settings.protect < 0.5 && hz.get(frame).is_some_and(|hz| *hz < 1.0) => protect,
            _ => 1.0,
        };
        let mut phone = Vec::with_capacity(frames * dim);
        for frame in 0..frames {
            let row = frame / 2 * dim..(frame / 2 + 1) * dim;
            let part = keep(frame);
            let mixed = pulled[row.clone()].iter().zip(&content[row]).map(|(a, b)| a * part + b * (1.0 - part));
            phone.extend(mixed);
        }
        let frames = frames as i64;
        nn::guard(|| {
            let place = |tensor: Tensor| tensor.to_device(self.device);
            InferInput {
                phone: place(Tensor::from_slice(&phone).view([1, frames, dim as i64])),
                lengths: place(Tensor::from_slice(&[frames])),
                pitch: pitch.as_ref().map(|(coarse, hz)| Pitch {
                    coarse: place(Tensor::from_slice(coarse).view([1, -1])),
                    hz: place(Tensor::from_slice(hz).view([1, -1])),
                }),
                sid: place(Tensor::from_slice(&[settings.sid])),
                window: None,
            }
        })
    }

    /// A network from a diverged training, or a damaged one, returns only NaN or one constant value.
    fn check_wave(&self, wave: &[f32]) -> Result<()> {
        let fault = if wave.iter().any(|x| !x.is_finite()) {
            "generates values that are not finite (NaN)"
        } else if !wave.is_empty() && wave.iter().all(|x| (x - wave[0]).abs() < f32::MIN_POSITIVE) {
            "generates silence for every input"
        } else {
            return Ok(());
        };
        let path = &self.voice.path;
        Err(Error::new(Kind::CheckpointDamaged, format!("the voice {} {fault}", path.display()))
            .path(path)
            .hint("its training diverged, or the file was changed; use an earlier epoch or another copy"))
    }

    fn sound(&self, input: &InferInput) -> Result<Vec<f32>> {
        let wave = self.voice.network.infer(input)?.y_hat;
        nn::guard(|| Vec::try_from(wave.flatten(0, -1).to_device(Device::Cpu)).unwrap_or_default())
    }
}

/// Errors: as [`Index::read`]; `checkpoint.mismatch` if it is an index for the other version.
fn fitting(path: &Path, voice: &Voice) -> Result<Index> {
    let index = Index::read(path)?;
    let dim = voice.sizes.content_channels as usize;
    if index.is_empty() {
        return Err(Error::new(Kind::CheckpointMismatch, format!("the index {} has no vectors", path.display()))
            .path(path)
            .hint(
                "RVC writes a trained_ file, which has only centres, and an added_ file beside it; give the added_ file",
            ));
    }
    if index.dim() == dim {
        return Ok(index);
    }
    let version = |dim: usize| match dim {
        256 => "version 1",
        768 => "version 2",
        _ => "no version of RVC",
    };
    let (its, wanted) = (version(index.dim()), voice.sizes.version());
    let message = format!(
        "the index {} has {} values per frame ({its}), but the voice is {wanted}, which has {dim}",
        path.display(),
        index.dim()
    );
    Err(Error::new(Kind::CheckpointMismatch, message).path(path).hint("give the index of this voice, or none"))
}

/// A method: what was asked for, else what the voice's file says (its entry, the word there, its path), else `usual`.
///
/// Errors: `config.value` for a word in the file that no method has.
fn chosen<T: DeserializeOwned>(
    asked: Option<T>,
    (entry, word, path): (&str, &Option<String>, &Path),
    usual: T,
) -> Result<T> {
    match (asked, word) {
        (Some(asked), _) => Ok(asked),
        (None, Some(word)) => choice(entry, word).map_err(|e| e.context(path.display()).path(path)),
        (None, None) => Ok(usual),
    }
}

/// Pitch of every frame.
struct Track {
    coarse: Vec<i64>,
    hz: Vec<f32>,
}

/// A recording as input for the networks.
struct Prepared {
    /// 16 kHz, high-passed, mirrored at both ends.
    padded: Vec<f32>,
    /// The cuts, in samples without padding.
    cuts: Vec<usize>,
    /// Samples of padding at each end.
    padding: usize,
    loudness: Vec<f32>,
}

/// A part of the padded recording.
struct Chunk {
    samples: std::ops::Range<usize>,
    first_frame: usize,
}

impl Prepared {
    fn of(recording: Audio, chunking: Chunking) -> Result<Self> {
        let mut x = recording.at_rate(RATE).samples;
        if let Some(at) = x.iter().position(|x| !x.is_finite()) {
            let message =
                format!("the recording has a sample that is not finite, at {:.2} s", at as f64 / f64::from(RATE));
            return Err(Error::new(Kind::DataDamaged, message));
        }
        if x.len() < content::WINDOW_LENGTH {
            let message = format!("the recording has {} samples at 16 kHz, but needs at least 400 (25 ms)", x.len());
            return Err(Error::new(Kind::AudioEmpty, message));
        }
        let over = x.iter().fold(0.0f32, |peak, x| peak.max(x.abs())) / 0.95;
        if over > 1.0 {
            for x in &mut x {
                *x /= over;
            }
        }
        let high = filter::highpass_both_ways(&x, RATE)
            .ok_or_else(|| Error::new(Kind::Internal, "the recording is too short to filter"))?;
        drop(x);
        let (n, padding) = (high.len(), RATE as usize * chunking.x_pad);
        let padded =
            (0..n + 2 * padding).map(|i| high[cut::mirrored(i as isize - padding as isize, n)] as f32).collect();
        let loudness = loudness::course(n, RATE, |i| high[i]);
        Ok(Self { padded, cuts: cuts(&high, chunking), padding, loudness })
    }

    fn frames(&self) -> usize {
        self.padded.len() / FRAME
    }

    /// Of the recording, without padding.
    fn samples(&self) -> usize {
        self.padded.len() - 2 * self.padding
    }

    fn chunks(&self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut start = 0;
        for &cut in &self.cuts {
            let end = (cut + 2 * self.padding + FRAME).min(self.padded.len());
            chunks.push(Chunk { samples: start..end, first_frame: start / FRAME });
            start = cut;
        }
        chunks.push(Chunk { samples: start..self.padded.len(), first_frame: start / FRAME });
        chunks
    }
}

/// The median of each value and its two neighbours, with 0 beyond both ends (`scipy.signal.medfilt`).
fn median_of_three(x: &[f64]) -> Vec<f64> {
    let at = |i: usize| x.get(i).copied().unwrap_or(0.0);
    let median = |i: usize| {
        let (a, b, c) = (if i == 0 { 0.0 } else { at(i - 1) }, at(i), at(i + 1));
        a.max(b).min(a.min(b).max(c))
    };
    (0..x.len()).map(median).collect()
}
