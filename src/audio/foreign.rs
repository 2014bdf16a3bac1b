//! Formats that are not decoded here (WMA, AMR, HE-AAC, Opus of 2.5 ms frames, ...), through ffmpeg where it is installed.
//!
//! ffmpeg gets an argument vector, nothing on its standard input, one local file and a list of plain containers: no network,
//! no playlist that leads to other files. It writes a float wav with all channels to a nameless file, which is then decoded
//! like any other, so that the mix to mono is ours.

use crate::{Error, Kind, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Containers that hold sound themselves. Not in it: concat, hls, image2 and others that name further files.
const CONTAINERS: &str = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,tak,tta,w64,wav,wv";
/// Longest that a recording may take; four hours of sound take under a minute.
const LIMIT: Duration = Duration::from_mins(15);
/// Between two looks whether it has ended.
const POLL: Duration = Duration::from_millis(5);
/// A little over the longest recording that is taken, which is refused afterwards: nothing fills the disk.
const SECONDS: &str = "14401";
/// Most of its complaint that is shown.
const TAIL: usize = 300;

/// The version of the ffmpeg on the PATH, "5.1.9-0+deb12u1", asked once; none if there is none that answers.
pub(super) fn version() -> Option<&'static str> {
    static VERSION: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        let program = which::which("ffmpeg").ok()?;
        let output = Command::new(program).arg("-version").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.strip_prefix("ffmpeg version ")?.split_whitespace().next().map(str::to_owned)
    };
    VERSION.get_or_init(ask).as_deref()
}

/// The first sound track of a file as a wav at its beginning, or none if there is no ffmpeg on the PATH.
///
/// Errors: `audio.decode` with ffmpeg's reason; `file.write` if there is no room for the wav.
pub(super) fn to_wav(path: &Path) -> Result<Option<File>> {
    let Ok(program) = which::which("ffmpeg") else { return Ok(None) };
    let failed = |why: &str| Error::new(Kind::AudioDecode, format!("ffmpeg cannot read it: {why}")).path(path);
    let temporary = || tempfile::tempfile().map_err(|e| Error::io("write", &std::env::temp_dir(), e));
    let (mut wav, mut complaint) = (temporary()?, temporary()?);
    let handle = |file: &File| file.try_clone().map_err(|e| Error::io("write", &std::env::temp_dir(), e));
    // With the protocol in front no name can be taken for an option or another protocol.
    let mut input = OsString::from("file:");
    input.push(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let mut child = Command::new(program)
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-protocol_whitelist", "file"])
        .args(["-format_whitelist", CONTAINERS, "-i"])
        .arg(input)
        .args(["-map", "0:a:0", "-t", SECONDS, "-c:a", "pcm_f32le", "-bitexact", "-f", "wav", "pipe:1"])
        .stdin(Stdio::null())
        .stdout(handle(&wav)?)
        .stderr(handle(&complaint)?)
        .spawn()
        .map_err(|e| failed(&e.to_string()))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < LIMIT => std::thread::sleep(POLL),
            ended => {
                // What cannot be ended is gone.
                let _ = child.kill();
                let _ = child.wait();
                let why = ended.err().map_or_else(|| "it takes too long".to_owned(), |e| e.to_string());
                return Err(failed(&why));
            }
        }
    };
    if !status.success() {
        let mut text = Vec::new();
        let read = complaint.seek(SeekFrom::Start(0)).and_then(|_| complaint.take(1 << 16).read_to_end(&mut text));
        let text = String::from_utf8_lossy(if read.is_ok() { &text } else { &[] }).into_owned();
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TAIL).collect();
        return Err(failed(plain.trim()));
    }
    wav.seek(SeekFrom::Start(0)).map_err(|e| Error::io("read", &std::env::temp_dir(), e))?;
    Ok(Some(wav))
}
