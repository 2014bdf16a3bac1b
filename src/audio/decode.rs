//! Decoding of sound files to mono by symphonia (what it does not know: [`foreign`]), with everything that a hostile or damaged file may do turned into an error.

use super::loaded::{Loaded, Notice};
use super::mixdown::Mixdown;
use super::{Audio, container, foreign, opus};
use crate::{Error, Kind, Result, task};
use std::fs::File;
use std::path::Path;
use symphonia::core::audio::{Channels, GenericAudioBufferRef};
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Cause;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType, probe::Hint};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

/// Rates outside are no speech recording but a damaged header.
const RATES: std::ops::RangeInclusive<u32> = 1000..=768_000;
/// More channels than any recorder has; a header that claims them would make the decoder take memory for them.
const MOST_CHANNELS: usize = 128;
/// Longest recording, in seconds, and most samples of one (4 hours at 48 kHz, 2.6 GiB): a few bytes of FLAC can promise
/// terabytes.
const MAX_SECONDS: u64 = 4 * 3600;
const MAX_SAMPLES: u64 = MAX_SECONDS * 48000;
/// A file that ends earlier than it says by more than this has been cut off. Encoders round by less.
const MISSING_SECONDS: f64 = 0.1;

/// A wav that claims this much or more was written to a pipe, its length unknown: sox writes this, others 4 GiB.
const STREAMED_BYTES: u64 = 0x7fff_f000;

const REENCODE: &str = "if it plays elsewhere, convert it, for instance: ffmpeg -i RECORDING -c:a flac NEW.flac";

/// The sound of a regular file, mixed down to mono, at its own rate.
pub(super) fn decode(path: &Path) -> Result<Loaded> {
    let file = open(path)?;
    let mut by_ffmpeg = false;
    let (audio, notices) = match decode_safely(path, file) {
        Ok(decoded) => decoded,
        Err(Failure::Final(e)) => return Err(e),
        Err(Failure::Unknown(e)) => match foreign::to_wav(path) {
            Ok(Some(wav)) => {
                by_ffmpeg = true;
                decode_safely(path, wav).map_err(Failure::into_error)?
            }
            Ok(None) => return Err(e.also("or install ffmpeg: then it is read as it is")),
            Err(why) => return Err(e.also(why)),
        },
    };
    if audio.samples.is_empty() {
        return Err(Error::new(Kind::AudioEmpty, format!("{} has no sound in it", path.display()))
            .path(path)
            .hint(REENCODE));
    }
    Ok(Loaded { audio, by_ffmpeg, notices })
}

fn open(path: &Path) -> Result<File> {
    // Looked at first: opening a pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a folder" } else { "not a regular file" };
        return Err(error(path, format!("{} is {what}, not a sound file", path.display())));
    }
    if meta.len() == 0 {
        let message = format!("{} is empty (0 bytes)", path.display());
        return Err(Error::new(Kind::AudioEmpty, message).path(path).hint("copy it again from where it came from"));
    }
    File::open(path).map_err(|e| Error::io("open", path, e))
}

/// Why a file gave no sound.
enum Failure {
    /// Of a kind that another program may know.
    Unknown(Error),
    /// Damaged, or not to be had: another program that makes do with half of it would only hide that.
    Final(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        let (Self::Unknown(e) | Self::Final(e)) = self;
        e
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// The sound of a file. Decoders of untrusted files may panic on what their authors did not think of.
fn decode_safely(path: &Path, file: File) -> std::result::Result<(Audio, Vec<Notice>), Failure> {
    task::catch(|| decode_file(path, file))
        .unwrap_or_else(|panic| Err(damaged(path, &format!("its decoder gave up ({panic})")).into()))
}

fn decode_file(path: &Path, file: File) -> std::result::Result<(Audio, Vec<Notice>), Failure> {
    let mut second = file.try_clone().map_err(|e| Error::io("open", path, e))?;
    let (mut reader, mut decoder, track) = start(path, file)?;
    let mut mono = Mono { path, mixed: Mixdown::default(), sample_rate: 0 };
    let mut interleaved: Vec<f32> = Vec::new();
    // The length of leading packets that cannot be decoded: an MP3 cut out of a longer one refers to what was before.
    let mut unreadable = 0u64;
    // What the last packets have too much, by their container.
    let mut padding = 0u64;
    let is_opus = codec(&track).is_some_and(|parameters| parameters.codec == CODEC_ID_OPUS);
    while let Some(packet) = next_packet(path, &mut *reader, &mono)? {
        if packet.track_id != track.id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(buffer) => mono.push(&buffer, &mut interleaved, std::mem::take(&mut unreadable))?,
            Err(Cause::DecodeError(_)) if mono.mixed.n_samples() == 0 && !is_opus => unreadable += packet.dur.get(),
            Err(cause @ Cause::Unsupported(_)) => return Err(unknown_coding(path, &cause)),
            Err(cause) => return Err(broken(path, &mono, &cause).into()),
        }
        // Only the end of a stream is padded: one that claims it before is wrong.
        padding = if packet.trim_end.get() > 0 { padding + packet.trim_end.get() } else { 0 };
    }
    if mono.mixed.n_samples() == 0 && unreadable > 0 {
        return Err(damaged(path, "nothing in it can be decoded").into());
    }
    let format = reader.format_info().short_name;
    check_end(path, format, &track, &mono)?;
    let heard = heard(&mut second, path, format, &track, &mono, if is_opus { padding } else { 0 })?;
    let (samples, notices) = mono.mixed.finish(mono.sample_rate);
    let mut audio = Audio { samples, sample_rate: mono.sample_rate };
    let length = audio.samples.len() as u64;
    let lead = heard.lead.min(length);
    audio.samples.truncate(heard.count.map_or(length, |n| lead.saturating_add(n).min(length)) as usize);
    audio.samples.drain(..lead as usize);
    Ok((audio, notices))
}

/// Which of the decoded samples are to be heard, by what the container says. `padding` is what symphonia has to say of it.
///
/// Errors: `audio.decode` for an Ogg or Matroska file that is cut off or altered.
fn heard(
    file: &mut File,
    path: &Path,
    format: &str,
    track: &Track,
    mono: &Mono,
    padding: u64,
) -> Result<container::Heard> {
    if let Some(heard) = container::heard(file, mono.sample_rate) {
        return Ok(heard);
    }
    let (mut lead, mut padding) = (0, padding);
    if format == "ogg"
        && let Some(why) = container::ogg_damage(file)
    {
        return Err(damaged(path, &why));
    }
    if format == "matroska"
        && let Some(said) = container::matroska(file, track.id)
    {
        if said.cut_off {
            return Err(damaged(path, &format!("it is cut off after {:.2} s", mono.seconds())));
        }
        let samples = |nanoseconds: u64| {
            let product = u128::from(nanoseconds) * u128::from(mono.sample_rate) + 500_000_000;
            u64::try_from(product / 1_000_000_000).unwrap_or(u64::MAX)
        };
        (lead, padding) = (samples(said.delay), samples(said.padding));
    }
    let head = codec(track).filter(|parameters| parameters.codec == CODEC_ID_OPUS);
    if let Some(head) = head.and_then(|parameters| opus::Head::read(parameters.extra_data.as_deref()?).ok()) {
        lead = head.pre_skip.into();
    }
    let whole = (mono.mixed.n_samples() as u64).saturating_sub(lead);
    Ok(container::Heard { lead, count: Some(whole.saturating_sub(padding)) })
}

fn codec(track: &Track) -> Option<&AudioCodecParameters> {
    track.codec_params.as_ref().and_then(|parameters| parameters.audio())
}

type Source = (Box<dyn FormatReader>, Box<dyn AudioDecoder>, Track);

/// The next packet of any track, or none at the end, be it early; see [`check_end`].
fn next_packet(path: &Path, reader: &mut dyn FormatReader, mono: &Mono) -> Result<Option<Packet>> {
    match reader.next_packet() {
        Ok(packet) => Ok(packet),
        Err(Cause::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(cause) => Err(broken(path, mono, &cause)),
    }
}

/// The container's reader, the decoder of its first sound track, and that track.
fn start(path: &Path, file: File) -> std::result::Result<Source, Failure> {
    let stream = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
    let probe = symphonia::default::get_probe();
    let reader = probe
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|e| not_sound(path, &e))?;
    let track = reader.default_track(TrackType::Audio).cloned();
    let Some(track) = track else {
        let error = error(path, format!("{} has no sound track that can be read", path.display()));
        return Err(Failure::Unknown(error.hint(REENCODE)));
    };
    let Some(parameters) = codec(&track) else {
        let error = error(path, format!("{} has a sound track of an unknown kind", path.display()));
        return Err(Failure::Unknown(error.hint(REENCODE)));
    };
    if let Some(rate) = parameters.sample_rate {
        check_rate(path, rate)?;
    }
    let channels = parameters.channels.as_ref().map_or(0, Channels::count);
    if channels > MOST_CHANNELS {
        return Err(
            damaged(path, &format!("it says that it has {channels} channels, more than {MOST_CHANNELS}")).into()
        );
    }
    let decoder = if parameters.codec == CODEC_ID_OPUS {
        opus::Decoder::new(parameters).map(|decoder| Box::new(decoder) as Box<dyn AudioDecoder>)
    } else {
        symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())
    };
    let decoder = decoder.map_err(|e| match e {
        Cause::DecodeError(why) => Failure::Final(damaged(path, why)),
        e => unknown_coding(path, &e),
    })?;
    Ok((reader, decoder, track))
}

fn unknown_coding(path: &Path, cause: &Cause) -> Failure {
    let message = format!("{} is coded in a way that cannot be read ({cause})", path.display());
    Failure::Unknown(error(path, message).hint(REENCODE))
}

/// The mixed-down samples so far.
struct Mono<'a> {
    path: &'a Path,
    mixed: Mixdown,
    sample_rate: u32,
}

impl Mono<'_> {
    /// Appends a decoded packet, after `silence` samples for packets that could not be decoded.
    fn push(&mut self, buffer: &GenericAudioBufferRef<'_>, interleaved: &mut Vec<f32>, silence: u64) -> Result<()> {
        let (rate, channels) = (buffer.spec().rate(), buffer.spec().channels());
        if buffer.frames() == 0 {
            return Ok(());
        }
        if self.sample_rate == 0 {
            check_rate(self.path, rate)?;
            self.sample_rate = rate;
        } else if rate != self.sample_rate {
            let message = format!("its rate changes from {} to {rate} Hz", self.sample_rate);
            return Err(damaged(self.path, &format!("{message} after {:.1} s", self.seconds())));
        }
        let length = self.mixed.n_samples() as u64 + silence + buffer.frames() as u64;
        if length > MAX_SAMPLES.min(MAX_SECONDS * u64::from(rate)) {
            let message = format!("{} is longer than 4 hours", self.path.display());
            return Err(error(self.path, message).hint("cut it into several files"));
        }
        self.mixed.push_silence(silence as usize);
        buffer.copy_to_vec_interleaved(interleaved);
        if !self.mixed.push(channels, interleaved) {
            return Err(damaged(self.path, "it has no channels"));
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.mixed.n_samples() as f64 / f64::from(self.sample_rate.max(1))
    }
}

/// Complains about a file that ends before the length in its header.
fn check_end(path: &Path, format: &str, track: &Track, mono: &Mono) -> Result<()> {
    // Without an encoder's own count, MP3's number is an estimate from the file size; Ogg's is that of the last page found.
    let reliable = format != "ogg" && (track.delay.is_some() || !matches!(format, "mp3" | "mp2" | "mp1" | "aac"));
    // A header's rate: an empty file has none of its own.
    let rate = codec(track).and_then(|p| p.sample_rate).unwrap_or(mono.sample_rate);
    let Some(frames) = track.num_frames.filter(|_| reliable && rate > 0) else { return Ok(()) };
    if format == "wave" && frames.saturating_mul(bytes_a_frame(track)) >= STREAMED_BYTES {
        return Ok(());
    }
    let promised = frames as f64 / f64::from(rate);
    if promised - mono.seconds() <= MISSING_SECONDS {
        return Ok(());
    }
    Err(damaged(path, &format!("it ends after {:.2} of {promised:.2} s", mono.seconds()))
        .hint(format!("copy it again from where it came from; {REENCODE}")))
}

/// Bytes of one sample of all channels, as the header has it; 1 if it does not say.
fn bytes_a_frame(track: &Track) -> u64 {
    let bytes =
        codec(track).and_then(|p| Some(p.channels.as_ref()?.count() as u64 * u64::from(p.bits_per_sample? / 8)));
    bytes.unwrap_or(1).max(1)
}

fn check_rate(path: &Path, rate: u32) -> Result<()> {
    if RATES.contains(&rate) {
        return Ok(());
    }
    let (low, high) = RATES.into_inner();
    Err(damaged(path, &format!("its sample rate is {rate} Hz, but must be between {low} and {high}")))
}

fn error(path: &Path, message: String) -> Error {
    Error::new(Kind::AudioDecode, message).path(path)
}

fn damaged(path: &Path, why: &str) -> Error {
    error(path, format!("{} is damaged: {why}", path.display())).hint(REENCODE)
}

fn not_sound(path: &Path, cause: &Cause) -> Failure {
    match cause {
        Cause::IoError(e) if is_of_the_system(e) => system(path, e).into(),
        _ => Failure::Unknown(
            error(path, format!("{} is no sound file that can be read ({cause})", path.display()))
                .hint(format!("wav, flac, mp3, m4a, ogg, opus, webm and aiff can be read; {REENCODE}")),
        ),
    }
}

/// The error of reading or decoding on at some time.
fn broken(path: &Path, mono: &Mono, cause: &Cause) -> Error {
    match cause {
        Cause::IoError(e) if is_of_the_system(e) => system(path, e),
        Cause::IoError(_) => damaged(path, &format!("it ends unexpectedly after {:.1} s", mono.seconds())),
        _ => damaged(path, &format!("{cause} after {:.1} s", mono.seconds())),
    }
}

/// Whether reading failed. symphonia also reports as such that a packet is shorter than what it says is in it.
fn is_of_the_system(cause: &std::io::Error) -> bool {
    cause.raw_os_error().is_some()
}

fn system(path: &Path, cause: &std::io::Error) -> Error {
    Error::io("read", path, std::io::Error::new(cause.kind(), cause.to_string()))
}
