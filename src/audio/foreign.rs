//! Formats that are not decoded here (WMA, AMR, AVI, HE-AAC, G.722, Opus with 2.5 ms frames, ...), read with ffmpeg if it is installed.
//!
//! ffmpeg gets an argument vector, no standard input, one local file and a list of plain containers: no network,
//! no playlist that leads to other files. It writes a float wav with all channels to an unnamed file, which is then decoded
//! like any other, so that we do the mix to mono.
//!
//! ```text
//! up to the first fault (-xerror)  --none-->  the sound
//!            |
//!      to the end, faults and all  --a packet more-->  the sound, with a notice: recorders that were killed leave half a packet
//!                                  --more---------->  an error: it is damaged in the middle
//! ```

use super::loaded::Notice;
use crate::process;
use crate::task::Task;
use crate::{Error, Kind, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Containers that hold sound themselves. Excluded: concat, hls, image2 and others that name further files, and those of bare
/// samples, whose rate ffmpeg would guess.
const CONTAINERS: &str = "aac,ac3,adx,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dss,dts,dtshd,eac3,flac,flv,g722,g723_1,g729,gsm,iff,loas,\
    matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,qcp,rm,shn,sln,sox,tak,truehd,tta,voc,vqf,w64,wav,wsd,wtv,wv,xwma";
/// Extensions of sound without a header, each with one fixed rate, and ffmpeg's name of the format: content cannot identify them.
const RAW: [(&str, &str); 5] = [("g722", "g722"), ("722", "g722"), ("g729", "g729"), ("gsm", "gsm"), ("sln", "sln")];
/// Time limit; four hours of sound take under a minute.
const LIMIT: Duration = Duration::from_mins(15);
/// Time limit of the version query.
const VERSION_LIMIT: Duration = Duration::from_secs(20);
/// A little over the longest recording that is accepted (a longer one is refused afterwards), so that nothing fills the disk.
const SECONDS: &str = "14401";
/// Most of its error message that is shown, and most of its output that is read.
const TAIL: usize = 300;
const MOST_LOG: u64 = 1 << 20;
/// A fault this near the end belongs to the end. ffmpeg reads packets of up to 2 s (WavPack; 1.4 s for GSM and 1.0 s for TTA), and stops
/// where the faulty packet begins.
const LAST_PACKET_SECONDS: f64 = 2.1;
/// A file that ends earlier than its header states by more than this was cut off. The sound of a film may be shorter than its picture.
const MISSING_SECONDS: f64 = 0.5;

/// The result of running ffmpeg on a recording.
pub(super) enum Foreign {
    /// A wav, positioned at its beginning, and notices about it; the sound is used all the same.
    Sound(File, Vec<Notice>),
    /// ffmpeg knows the format, but the recording is damaged before its end.
    Damaged(Error),
    /// There is no ffmpeg on the PATH.
    Absent,
}

/// The version of the ffmpeg on the PATH, "5.1.9-0+deb12u1", queried once; None if no ffmpeg answers.
pub(super) fn version() -> Option<&'static str> {
    static VERSION: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        let program = which::which("ffmpeg").ok()?;
        let mut command = process::quiet(program);
        command.arg("-version");
        let text = process::output(command, None, VERSION_LIMIT, MOST_LOG).ok()?.success()?;
        text.strip_prefix("ffmpeg version ")?.split_whitespace().next().map(str::to_owned)
    };
    VERSION.get_or_init(ask).as_deref()
}

/// ffmpeg's name of a headerless format, by the file's extension; None for all other files.
pub(super) fn raw_format(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    RAW.iter().find(|(raw, _)| *raw == ending).map(|(_, format)| *format)
}

/// The first sound track of a file as a wav.
///
/// Errors: `audio.decode` with ffmpeg's reason if it cannot read the file; `file.write` if there is no room for the wav; `cancelled`.
pub(super) fn to_wav(path: &Path, task: Option<&Task>) -> Result<Foreign> {
    let Ok(program) = which::which("ffmpeg") else { return Ok(Foreign::Absent) };
    let strict = Attempt::run(&program, path, task, true)?;
    let Some(fault) = &strict.fault else { return Ok(strict.sound(Vec::new())) };
    let lenient = Attempt::run(&program, path, task, false)?;
    if let Some(fault) = &lenient.fault {
        return Err(failed(path, fault));
    }
    let (sound, all) = (strict.seconds(), lenient.seconds());
    if all - sound > LAST_PACKET_SECONDS {
        let message = format!("{} is damaged after {sound:.1} of {all:.1} s (ffmpeg: {fault})", path.display());
        let error = Error::new(Kind::AudioDecode, message).path(path);
        return Ok(Foreign::Damaged(
            error.hint("copy it again from its source; if it plays, cut out the damaged part"),
        ));
    }
    let behind = if all - sound < 0.005 { "" } else { "; the rest is used as ffmpeg reads it" };
    let message = format!("it is damaged or cut off after {sound:.2} of {all:.2} s (ffmpeg: {fault}){behind}");
    let notice = Notice { code: "end.damaged", message, seconds: all - sound };
    Ok(lenient.sound(vec![notice]))
}

fn failed(path: &Path, why: &str) -> Error {
    Error::new(Kind::AudioDecode, format!("ffmpeg cannot read it: {why}")).path(path)
}

/// The result of one run of ffmpeg.
struct Attempt {
    wav: File,
    /// The duration that the file's header states, in seconds.
    promised: Option<f64>,
    /// Its error message, if it failed.
    fault: Option<String>,
}

impl Attempt {
    /// `strict`: ffmpeg stops at the first fault.
    fn run(program: &Path, path: &Path, task: Option<&Task>, strict: bool) -> Result<Self> {
        let temporary = || tempfile::tempfile().map_err(|e| Error::io("write", &std::env::temp_dir(), e));
        let (wav, mut log) = (temporary()?, temporary()?);
        let handle = |file: &File| file.try_clone().map_err(|e| Error::io("write", &std::env::temp_dir(), e));
        let mut command = process::quiet(program);
        command.args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info"]);
        command.args(strict.then_some("-xerror"));
        command.args(["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS]);
        if let Some(format) = raw_format(path) {
            command.args(["-f", format]);
        }
        command
            .arg("-i")
            .arg(input(path))
            .args(["-map", "0:a:0", "-t", SECONDS, "-c:a", "pcm_f32le", "-bitexact", "-f", "wav", "pipe:1"])
            .stdout(handle(&wav)?)
            .stderr(handle(&log)?);
        let status =
            process::run(command, task, LIMIT).map_err(|e| e.into_error(|why| failed(path, &why.to_string())))?;
        // Its beginning, where the header is.
        let mut text = Vec::new();
        log.seek(SeekFrom::Start(0))
            .and_then(|_| log.take(MOST_LOG).read_to_end(&mut text))
            .map_err(|e| Error::io("read", &std::env::temp_dir(), e))?;
        let text = String::from_utf8_lossy(&text);
        let fault = (!status.success()).then(|| last_error(&text, path));
        Ok(Self { wav, promised: promised(&text), fault })
    }

    /// Seconds of sound in the wav; 0 for an empty one.
    fn seconds(&self) -> f64 {
        let mut head = [0; 256];
        let mut wav = &self.wav;
        let read = wav.seek(SeekFrom::Start(0)).and_then(|_| wav.read(&mut head)).unwrap_or(0);
        let length = self.wav.metadata().map_or(0, |about| about.len());
        let find = |name: &[u8]| head[..read].windows(4).position(|word| word == name);
        let (Some(format), Some(data)) = (find(b"fmt "), find(b"data")) else { return 0.0 };
        let number = head.get(format + 16..format + 20).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        length.saturating_sub(data as u64 + 8) as f64 / f64::from(number.max(1))
    }

    fn sound(self, mut notices: Vec<Notice>) -> Foreign {
        let sound = self.seconds();
        if let Some(promised) = self.promised.filter(|promised| promised - sound > MISSING_SECONDS) {
            let message = format!("its header promises {promised:.2} s, but its sound ends after {sound:.2} s");
            notices.push(Notice { code: "length.less", message, seconds: promised - sound });
        }
        let mut wav = self.wav;
        // If it cannot be read from its beginning, the decoder reports it.
        let _ = wav.rewind();
        Foreign::Sound(wav, notices)
    }
}

/// The file as an argument for ffmpeg: with the protocol before it no name can be taken for an option or another protocol.
fn input(path: &Path) -> OsString {
    let mut input = OsString::from("file:");
    input.push(std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)));
    input
}

/// The last error in ffmpeg's output, as one plain line.
fn last_error(log: &str, path: &Path) -> String {
    let error = |line| ["[error] ", "[fatal] "].iter().find_map(|mark| Some(str::split_once(line, mark)?.1));
    let line = log.lines().filter_map(error).rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    if line.contains("matches no streams") {
        return "it has no sound track".into();
    }
    let line = line.replace(&format!("{}: ", input(path).to_string_lossy()), "");
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TAIL).collect();
    plain.trim().trim_end_matches('.').to_owned()
}

/// The duration from the file's header: "  Duration: 00:01:02.34, start: ...". None where ffmpeg estimates it.
fn promised(log: &str) -> Option<f64> {
    if log.contains("Estimating duration from bitrate") {
        return None;
    }
    let mut lines =
        log.lines().filter_map(|line| line.strip_prefix("[info] ")?.trim_start().strip_prefix("Duration: "));
    let mut parts = lines.next()?.split(',').next()?.rsplit(':').map(|part| part.parse::<f64>().ok());
    let (seconds, minutes, hours) = (parts.next()??, parts.next()??, parts.next()??);
    Some(seconds + 60.0 * minutes + 3600.0 * hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpeg_output_is_understood() {
        let log = "[info] Input #0, asf, from 'file:/a/b.wma':\n[info]   Metadata:\n[info]     title : Duration: 9\n\
            [info]   Duration: 01:02:03.50, start: 0.000000, bitrate: 63 kb/s\n\
            [wmav2 @ 0x56] [error] Packet\u{7} too small.\n[info] Output #0, wav\n[fatal] file:/a/b.wma: corrupt input packet in stream 0\n";
        assert_eq!(promised(log), Some(3723.5));
        assert_eq!(last_error(log, Path::new("/a/b.wma")), "corrupt input packet in stream 0");
        assert_eq!(last_error("[wmav2 @ 0x56] [error] Packet\u{7} too small.\n", Path::new("x")), "Packet  too small");
        assert_eq!(last_error("Killed\n", Path::new("x")), "no reason given");
        for none in ["", "[info]   Duration: N/A, start: 0", "[info]     Duration        : 00:00:05.00"] {
            assert_eq!(promised(none), None, "{none}");
        }
        let guessed = "[aac @ 0x1] [warning] Estimating duration from bitrate, this may be inaccurate\n[info]   Duration: 00:00:09.00, x\n";
        assert_eq!(promised(guessed), None);
    }
}
