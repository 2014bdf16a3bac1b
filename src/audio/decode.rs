//! Decodes recordings to mono with symphonia (formats it does not know: [`foreign`]), and turns everything that a hostile or damaged
//! file can cause into an error.
//!
//! ```text
//! file --divide::divide--> streams --symphonia, Mixdown--> mono --trim, lengths::check--> joined at the first one's rate
//! ```
//!
//! The length is that of the packets, never the one a header promises.

use super::foreign::Foreign;
use super::lengths::{self, Cut, Decoded, MISSING_SECONDS};
use super::loaded::{Loaded, Notice};
use super::mixdown::Mixdown;
use super::part::Part;
use super::splice::Splice;
use super::{Audio, container, divide, foreign, opus};
use crate::task::{self, Task};
use crate::{Error, Kind, Result};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use symphonia::core::audio::{Channels, GenericAudioBufferRef};
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Cause;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType, probe::Hint};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

/// A rate outside this range means a damaged header, not a recording of speech.
const RATES: std::ops::RangeInclusive<u32> = 1000..=768_000;
/// More channels than any recorder has; a header that claims more would make the decoder allocate memory for them.
const MOST_CHANNELS: usize = 128;
/// Longest recording, in seconds, and most samples in one (4 hours at 48 kHz, 2.6 GiB): a few bytes of FLAC can promise
/// terabytes.
const MAX_SECONDS: u64 = 4 * 3600;
const MAX_SAMPLES: u64 = MAX_SECONDS * 48000;

const REENCODE: &str = "if it plays elsewhere, convert it, for instance: ffmpeg -i RECORDING -c:a flac NEW.flac";

/// The sound of a regular file, mixed down to mono, at its own sample rate. `task` cancels only the run of ffmpeg, if it needs one.
pub(super) fn decode(path: &Path, task: Option<&Task>) -> Result<Loaded> {
    let file = open(path)?;
    // Sound without a header may look like anything.
    let decoded = if foreign::raw_format(path).is_some() { Err(headerless(path)) } else { decode_safely(path, &file) };
    let loaded = match decoded {
        Ok((audio, notices)) => Loaded { audio, by_ffmpeg: false, notices },
        Err(Failure::Final(e)) => return Err(e),
        Err(Failure::Unknown(e)) => match by_ffmpeg(path, task) {
            Ok(ByFfmpeg::Loaded(loaded)) => loaded,
            Ok(ByFfmpeg::Damaged(error)) => return Err(error),
            Ok(ByFfmpeg::Absent) => return Err(e.also("or install ffmpeg, which can read it")),
            Err(why) if why.kind() == Kind::Cancelled => return Err(why),
            Err(why) => return Err(e.also(why)),
        },
        Err(Failure::Broken { error, seconds }) => match by_ffmpeg(path, task) {
            Ok(ByFfmpeg::Loaded(mut loaded)) if loaded.audio.seconds() + MISSING_SECONDS >= seconds => {
                loaded.notices.push(read_by_ffmpeg(&error, path, loaded.audio.seconds()));
                loaded
            }
            Err(why) if why.kind() == Kind::Cancelled => return Err(why),
            _ => return Err(error),
        },
    };
    if loaded.audio.samples.is_empty() {
        return Err(Error::new(Kind::AudioEmpty, format!("{} has no sound in it", path.display()))
            .path(path)
            .hint(REENCODE));
    }
    Ok(loaded)
}

/// The result of decoding a file with ffmpeg.
enum ByFfmpeg {
    Loaded(Loaded),
    /// ffmpeg knows the format, but the file is damaged before its end.
    Damaged(Error),
    /// There is no ffmpeg on the PATH.
    Absent,
}

fn by_ffmpeg(path: &Path, task: Option<&Task>) -> Result<ByFfmpeg> {
    let (wav, new) = match foreign::to_wav(path, task)? {
        Foreign::Sound(wav, new) => (wav, new),
        Foreign::Damaged(error) => return Ok(ByFfmpeg::Damaged(error)),
        Foreign::Absent => return Ok(ByFfmpeg::Absent),
    };
    let (audio, mut notices) = decode_safely(path, &wav).map_err(Failure::into_error)?;
    // ffmpeg writes to a pipe, so it cannot fill in the length afterwards; the recording's own header decides.
    notices.retain(|notice| notice.code != "length.unwritten");
    if divide::has_open_length(&open(path)?).map_err(|e| system(path, &e))? {
        notices.push(lengths::unwritten(audio.seconds()));
    }
    notices.extend(new);
    Ok(ByFfmpeg::Loaded(Loaded { audio, by_ffmpeg: true, notices }))
}

/// The notice that only ffmpeg read a file to its end.
fn read_by_ffmpeg(error: &Error, path: &Path, seconds: f64) -> Notice {
    let name = path.display().to_string();
    let why = error.message().strip_prefix(&name).unwrap_or(error.message()).trim().to_owned();
    let message = format!("it {why}; ffmpeg reads {seconds:.2} s of it, all of which are used");
    Notice { code: "decode.by_ffmpeg", message, seconds }
}

fn headerless(path: &Path) -> Failure {
    let message = format!("{} is sound without a header, which rvc-run cannot decode", path.display());
    Failure::Unknown(error(path, message).hint(REENCODE))
}

fn open(path: &Path) -> Result<File> {
    // Checked first: opening a pipe would wait for its writer.
    let meta = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a folder" } else { "not a regular file" };
        return Err(error(path, format!("{} is {what}, not a sound file", path.display())));
    }
    if meta.len() == 0 {
        let message = format!("{} is empty (0 bytes)", path.display());
        return Err(Error::new(Kind::AudioEmpty, message).path(path).hint("copy it again from its source"));
    }
    File::open(path).map_err(|e| Error::io("open", path, e))
}

/// Why a file gave no sound.
enum Failure {
    /// A format that another program may know.
    Unknown(Error),
    /// Our decoder stopped before the end; another program is better if it decodes `seconds` or more.
    Broken { error: Error, seconds: f64 },
    /// Cut off, or unreadable: a program that accepts half of the file would only hide that.
    Final(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        let (Self::Unknown(e) | Self::Final(e) | Self::Broken { error: e, .. }) = self;
        e
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

type Decoding<T> = std::result::Result<T, Failure>;

/// The sound of a file. Decoders can panic on untrusted files that their authors did not foresee.
fn decode_safely(path: &Path, file: &File) -> Decoding<(Audio, Vec<Notice>)> {
    task::catch(|| decode_file(path, file)).unwrap_or_else(|panic| {
        let error = damaged(path, &format!("its decoder gave up ({panic})"));
        Err(Failure::Broken { error, seconds: 0.0 })
    })
}

fn decode_file(path: &Path, file: &File) -> Decoding<(Audio, Vec<Notice>)> {
    let division = divide::divide(file).map_err(|e| system(path, &e))?;
    if division.is_foreign {
        return Err(not_sound(path, "it is of a kind that ffmpeg reads"));
    }
    let mut whole = Audio { samples: Vec::new(), sample_rate: 0 };
    let (mut notices, mut rates) = (Vec::new(), Vec::new());
    let (mut n_joined, mut sound_bytes) = (0, 0);
    for part in &division.parts {
        let decoded = decode_part(path, file, part, whole.samples.len() as u64);
        // The walk over its pages or boxes knows more precisely what is wrong.
        let (audio, new) = match (decoded, &division.damage) {
            (Err(Failure::Unknown(_) | Failure::Broken { .. }), Some(why)) => return Err(damaged(path, why).into()),
            (decoded, _) => decoded?,
        };
        notices.extend(new);
        if audio.samples.is_empty() {
            continue;
        }
        (n_joined, sound_bytes) = (n_joined + part.n_joined, sound_bytes + part.sound_bytes);
        rates.push(audio.sample_rate);
        if whole.samples.is_empty() {
            whole = audio;
            continue;
        }
        let length = audio.samples.len() as u64 * u64::from(whole.sample_rate) / u64::from(audio.sample_rate.max(1));
        check_length(path, whole.samples.len() as u64 + length, whole.sample_rate)?;
        whole.samples.extend(audio.at_rate(whole.sample_rate).samples);
    }
    if let Some(why) = &division.damage {
        return Err(damaged(path, why).into());
    }
    if n_joined > 1 {
        notices.push(lengths::joined(n_joined, &rates, whole.seconds()));
    }
    if division.is_open {
        notices.push(lengths::open(whole.seconds()));
    }
    let unread = whole.seconds() * division.unread as f64 / sound_bytes.max(1) as f64;
    if unread > MISSING_SECONDS {
        notices.push(lengths::unread(division.unread, unread));
    }
    Ok((whole, notices))
}

/// The sound of one stream; `earlier` is the number of samples before it.
fn decode_part(path: &Path, file: &File, part: &Part, earlier: u64) -> Decoding<(Audio, Vec<Notice>)> {
    let show = || Splice::new(file, &part.pieces).map_err(|e| system(path, &e));
    let (mut reader, mut decoder, track) = start(path, show()?)?;
    let mut mono = Mono { path, mixed: Mixdown::default(), sample_rate: 0, earlier };
    let mut interleaved: Vec<f32> = Vec::new();
    // The length of leading packets that cannot be decoded: an MP3 cut out of a longer one refers to data before the cut.
    let mut unreadable = 0u64;
    // The padding of the last packets, by their container.
    let mut padding = 0u64;
    let (mut packet_bytes, mut is_early) = (0u64, false);
    let is_opus = codec(&track).is_some_and(|parameters| parameters.codec == CODEC_ID_OPUS);
    loop {
        let mut packet = match reader.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(Cause::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                is_early = true;
                break;
            }
            Err(cause) => return Err(broken(path, &mono, &cause)),
        };
        if packet.track_id != track.id {
            continue;
        }
        packet_bytes += packet.data.len() as u64;
        let trim = take_trim(&mut packet);
        match decoder.decode(&packet) {
            Ok(buffer) => mono.push(&buffer, &mut interleaved, std::mem::take(&mut unreadable))?,
            Err(Cause::DecodeError(_)) if mono.mixed.n_samples() == 0 && !is_opus => unreadable += packet.dur.get(),
            Err(cause @ Cause::Unsupported(_)) => return Err(unknown_coding(path, &cause)),
            Err(cause) => return Err(broken(path, &mono, &cause)),
        }
        // Only the end of a stream is padded: a stream that claims padding earlier is wrong.
        padding = if trim > 0 { padding + trim } else { 0 };
    }
    if mono.mixed.n_samples() == 0 && unreadable > 0 {
        let error = damaged(path, "nothing in it can be decoded");
        return Err(Failure::Broken { error, seconds: 0.0 });
    }
    let format = reader.format_info().short_name;
    let decoded = Decoded {
        n_samples: mono.mixed.n_samples() as u64,
        // The header's rate: an empty stream has no decoded rate.
        sample_rate: codec(&track)
            .and_then(|p| p.sample_rate)
            .filter(|_| mono.sample_rate == 0)
            .unwrap_or(mono.sample_rate),
        packet_bytes,
        is_early,
        // MP4 lists its packets. Ogg's number comes from the last page found; the part has the numbers of other formats.
        listed: if format == "isomp4" { listed(&track, mono.sample_rate) } else { None },
    };
    let mut notices = lengths::check(part, &decoded).map_err(|cut| cut_off(path, part, cut))?;
    let ranges = played(show()?, path, format, &track, part, &mono, padding, &mut notices)?;
    let (samples, new) = mono.mixed.finish(mono.sample_rate);
    notices.extend(new);
    Ok((Audio { samples: cut_out(path, samples, &ranges, mono.sample_rate)?, sample_rate: mono.sample_rate }, notices))
}

/// The samples of all packets that a container lists; None if it has no list.
fn listed(track: &Track, sample_rate: u32) -> Option<u64> {
    let (base, ticks) = (track.time_base?, track.duration?.get());
    let samples =
        u128::from(ticks) * u128::from(base.numer.get()) * u128::from(sample_rate) / u128::from(base.denom.get());
    u64::try_from(samples).ok().filter(|samples| *samples > 0)
}

/// Removes a packet's trim value, so that the packet is decoded to its end. Returns the value in samples.
///
/// Padding counts only at the end of a stream, and its decoder cannot know where that is.
fn take_trim(packet: &mut Packet) -> u64 {
    let trim = std::mem::take(&mut packet.trim_end);
    packet.dur = packet.dur.saturating_add(trim);
    trim.get()
}

/// The ranges of the decoded samples to play, by what the container states; empty for all of them.
/// `padding` is the padding that symphonia reports.
///
/// Errors: `audio.decode` for a Matroska file that is cut off.
#[allow(clippy::too_many_arguments, reason = "everything known about one stream, used once")]
fn played(
    file: Splice,
    path: &Path,
    format: &str,
    track: &Track,
    part: &Part,
    mono: &Mono<'_>,
    padding: u64,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Range<u64>>> {
    let n_samples = mono.mixed.n_samples() as u64;
    let seconds = |samples: u64| samples as f64 / f64::from(mono.sample_rate.max(1));
    let (mut lead, mut padding) = (0, padding);
    match format {
        "isomp4" => {
            if let Some(played) = container::mp4(file, mono.sample_rate, n_samples) {
                if seconds(played.uncounted) > MISSING_SECONDS {
                    notices.push(lengths::uncounted(seconds(played.uncounted)));
                }
                if seconds(played.edited_out) > MISSING_SECONDS {
                    notices.push(lengths::edited(seconds(played.edited_out), mono.seconds()));
                }
                return Ok(played.ranges);
            }
        }
        "matroska" => {
            if let Some(stated) = container::matroska(file, track.id) {
                if stated.cut_off {
                    return Err(damaged(path, &format!("it is cut off after {:.2} s", mono.seconds())));
                }
                let samples = |nanoseconds: u64| {
                    let product = u128::from(nanoseconds) * u128::from(mono.sample_rate) + 500_000_000;
                    u64::try_from(product / 1_000_000_000).unwrap_or(u64::MAX)
                };
                (lead, padding) = (samples(stated.delay), samples(stated.padding));
            }
        }
        // Frames without a container: `frames` has read their index.
        "mp1" | "mp2" | "mp3" => return Ok(part.played.clone()),
        _ => {}
    }
    let head = codec(track).filter(|parameters| parameters.codec == CODEC_ID_OPUS);
    if let Some(head) = head.and_then(|parameters| opus::Head::read(parameters.extra_data.as_deref()?).ok()) {
        lead = head.pre_skip.into();
    }
    let whole = n_samples.saturating_sub(lead);
    if seconds(padding) > container::LONGEST_PADDING {
        notices.push(lengths::uncounted(seconds(padding.min(whole))));
        padding = 0;
    }
    Ok(vec![lead..lead.saturating_add(whole.saturating_sub(padding))])
}

/// Concatenates some ranges of a sound.
fn cut_out(path: &Path, mut samples: Vec<f32>, ranges: &[Range<u64>], sample_rate: u32) -> Result<Vec<f32>> {
    let length = samples.len() as u64;
    let inside = |range: &Range<u64>| range.start.min(length) as usize..range.end.min(length) as usize;
    match ranges {
        [] => {}
        [range] => {
            let range = inside(range);
            samples.truncate(range.end);
            samples.drain(..range.start.min(range.end));
        }
        ranges => {
            let ranges: Vec<Range<usize>> = ranges.iter().map(inside).collect();
            // An edit list may play the same sound many times.
            check_length(path, ranges.iter().map(|range| range.len() as u64).sum(), sample_rate)?;
            samples = ranges.iter().flat_map(|range| &samples[range.clone()]).copied().collect();
        }
    }
    Ok(samples)
}

pub(super) fn is_too_long(n_samples: u64, sample_rate: u32) -> bool {
    n_samples > MAX_SAMPLES.min(MAX_SECONDS * u64::from(sample_rate))
}

/// Refuses a recording of a hostile length.
fn check_length(path: &Path, n_samples: u64, sample_rate: u32) -> Result<()> {
    if !is_too_long(n_samples, sample_rate) {
        return Ok(());
    }
    let message = format!("{} is longer than 4 hours", path.display());
    Err(error(path, message).hint("cut it into several files"))
}

fn cut_off(path: &Path, part: &Part, Cut { held, promised }: Cut) -> Failure {
    let error = damaged(path, &format!("it ends after {held:.2} of {promised:.2} s"))
        .hint(format!("copy it again from its source; {REENCODE}"));
    // There may be packets that our reader did not recognise.
    if part.is_all_packets { Failure::Broken { error, seconds: promised } } else { Failure::Final(error) }
}

fn codec(track: &Track) -> Option<&AudioCodecParameters> {
    track.codec_params.as_ref().and_then(|parameters| parameters.audio())
}

type Source = (Box<dyn FormatReader>, Box<dyn AudioDecoder>, Track);

/// The container's reader, its first sound track, and the decoder for that track.
fn start(path: &Path, file: Splice) -> Decoding<Source> {
    let stream = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
    let probe = symphonia::default::get_probe();
    let reader = probe.probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default()).map_err(
        |e| match e {
            Cause::IoError(e) if is_system_error(&e) => system(path, &e).into(),
            e => not_sound(path, &e.to_string()),
        },
    )?;
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
        return Err(damaged(
            path,
            &format!("its header has {channels} channels, but at most {MOST_CHANNELS} are allowed"),
        )
        .into());
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
    /// Samples of the earlier streams.
    earlier: u64,
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
        check_length(self.path, self.earlier.saturating_add(length), rate)?;
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

fn not_sound(path: &Path, why: &str) -> Failure {
    let error = error(path, format!("{} is not a readable sound file ({why})", path.display()));
    let hint = format!("wav, flac, mp3, m4a, ogg, opus, webm and aiff can be read; {REENCODE}");
    Failure::Unknown(error.hint(hint))
}

/// The failure of reading or decoding at some point.
fn broken(path: &Path, mono: &Mono<'_>, cause: &Cause) -> Failure {
    let error = match cause {
        Cause::IoError(e) if is_system_error(e) => return system(path, e).into(),
        Cause::IoError(_) => damaged(path, &format!("it ends unexpectedly after {:.1} s", mono.seconds())),
        _ => damaged(path, &format!("{cause} after {:.1} s", mono.seconds())),
    };
    Failure::Broken { error, seconds: mono.seconds() }
}

/// Whether reading failed. symphonia also reports a packet shorter than its content as an I/O error.
fn is_system_error(cause: &std::io::Error) -> bool {
    cause.raw_os_error().is_some()
}

fn system(path: &Path, cause: &std::io::Error) -> Error {
    Error::io("read", path, std::io::Error::new(cause.kind(), cause.to_string()))
}
