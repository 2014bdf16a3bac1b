//! One link: asked about, fetched, and its sound moved into the voice's folder.

use super::ledger::{FOLDER, Link, TOLERANCE_SECONDS};
use super::limits::Limits;
use super::tool::{Output, Tool};
use crate::audio::{self, io};
use crate::files;
use crate::shown::plain;
use crate::task::Task;
use crate::{Error, Result};
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The fields that it prints about a recording, as one line of JSON, before and after.
const FIELDS: &str = "%(.{id,title,duration,is_live,playlist_count})j";
const FIELDS_AFTER: &str = "after_move:%(.{id,title,playlist_count})j";
/// Two hours of wav, so that one link cannot fill a disk.
const MAX_FILE: &str = "2G";

/// yt-dlp's description of a recording; every field may be missing.
#[derive(Default, Deserialize)]
struct About {
    id: Option<String>,
    title: Option<String>,
    duration: Option<f64>,
    is_live: Option<bool>,
    playlist_count: Option<u64>,
}

impl About {
    fn read(output: &Output) -> Self {
        output.out.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    }
}

/// One link to fetch.
pub struct Job<'a> {
    pub task: &'a Task,
    pub tool: &'a Tool,
    pub folder: &'a Path,
    pub link: &'a str,
    pub digest: &'a str,
    pub limits: &'a Limits,
}

impl Job<'_> {
    /// The inner error is why this link failed; its bytes stay for the next run.
    pub fn fetch(&self) -> Result<std::result::Result<Link, String>> {
        let scratch = self.folder.join(FOLDER).join(&self.digest[..16]);
        files::create_folder(&scratch)?;
        let asked = self.limits.duration_seconds;
        let mut part = None;
        if self.tool.has_ffmpeg() {
            let about = match self.run(&scratch, &["--simulate", "--print", FIELDS])? {
                Ok(output) => About::read(&output),
                Err(reason) => return Ok(Err(reason)),
            };
            let is_longer = about.duration.is_some_and(|seconds| seconds > asked + TOLERANCE_SECONDS);
            part = (is_longer || about.is_live == Some(true)).then(|| format!("*0-{asked}"));
        }
        // Relative, so that no path in the arguments could be misread as a template. A partial file of something else cannot be
        // resumed.
        let place = if part.is_some() { format!("first-{asked}") } else { "whole".to_owned() };
        let template = format!("{place}/media.%(ext)s");
        let mut flags = vec!["--no-simulate", "--print", FIELDS_AFTER, "--output", &template];
        if let Some(part) = &part {
            flags.extend(["--download-sections", part]);
        }
        let output = match self.run(&scratch, &flags)? {
            Ok(output) => output,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(sound) = the_file(&scratch.join(place)) else {
            return Ok(Err(format!("yt-dlp found nothing to fetch there, or more than {MAX_FILE}B")));
        };
        let about = About::read(&output);
        if about.playlist_count.is_some_and(|count| count > 1) {
            let text = format!("{} is a list of several recordings; only the first was fetched", plain(self.link, 200));
            self.task.warn(text);
        }
        let done = match self.keep(&sound, &about, part.is_some()) {
            Ok(done) => done,
            Err(e) if e.kind().concerns_one_item() => {
                return Ok(Err(format!("the download cannot be used: {e}")));
            }
            Err(e) => return Err(e),
        };
        // Nothing depends on its success.
        let _ = std::fs::remove_dir_all(&scratch);
        Ok(Ok(done))
    }

    /// Runs yt-dlp on the link; the inner error is why it failed.
    fn run(&self, scratch: &Path, flags: &[&str]) -> Result<std::result::Result<Output, String>> {
        let arguments: Vec<OsString> =
            [&FLAGS, flags, &["--", self.link]].concat().iter().map(OsString::from).collect();
        let timeout = Duration::from_secs_f64(self.limits.timeout_seconds);
        let output = self.tool.run(self.task, scratch, &arguments, timeout)?;
        Ok(output.and_then(|output| output.failure().map_or(Ok(output), Err)))
    }

    /// Moves the sound into the voice's folder, cut if it is too long. `is_part`: the recording is longer.
    fn keep(&self, sound: &Path, about: &About, is_part: bool) -> Result<Link> {
        let asked = self.limits.duration_seconds;
        let audio = io::load(sound)?;
        let mut seconds = audio.seconds();
        let is_too_long = seconds > asked + TOLERANCE_SECONDS;
        let file;
        if is_too_long {
            let mut samples = audio.samples;
            samples.truncate((asked * f64::from(audio.sample_rate)).round() as usize);
            let cut = audio::Audio { samples, sample_rate: audio.sample_rate };
            seconds = cut.seconds();
            file = name(about, self.digest, "wav");
            io::write_wav(&self.folder.join(&file), &cut.samples, cut.sample_rate)?;
        } else {
            drop(audio);
            file = name(about, self.digest, sound.extension().and_then(OsStr::to_str).unwrap_or_default());
            let target = self.folder.join(&file);
            let opened = File::options().append(true).open(sound).map_err(|e| Error::io("open", sound, e))?;
            opened.sync_all().map_err(|e| Error::io("write", sound, e))?;
            drop(opened);
            std::fs::rename(sound, &target).map_err(|e| Error::io("rename", &target, e))?;
            files::sync_folder(self.folder);
        }
        let is_cut = is_too_long || is_part;
        let title = about.title.as_deref().map(|title| plain(title, 200)).filter(|title| !title.is_empty());
        Ok(Link { url: self.link.to_owned(), file, seconds, asked_seconds: asked, is_cut, title })
    }
}

/// The flags for every link. The link comes last, after "--", where it cannot be an option.
const FLAGS: [&str; 13] = [
    "--ignore-config",
    "--no-playlist",
    // Of a playlist, only the first entry.
    "--playlist-items",
    "1",
    "--no-update",
    "--no-mtime",
    "--continue",
    "--socket-timeout",
    "30",
    "--max-filesize",
    MAX_FILE,
    // The best audio-only format, else a video.
    "--format",
    "ba/b",
];

/// The only finished file in a folder; None unless there is exactly one.
fn the_file(folder: &Path) -> Option<PathBuf> {
    let is_finished = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let partial = [".part", ".ytdl", ".temp"].iter().any(|ending| name.ends_with(ending))
            || name.contains(".part-frag")
            || name.contains(".temp.");
        // Not followed: a link would lead out of the folder.
        !partial && std::fs::symlink_metadata(path).is_ok_and(|about| about.is_file())
    };
    let mut finished = files::list(folder).ok()?.into_iter().filter(is_finished);
    finished.next().filter(|_| finished.next().is_none())
}

/// "<title>_<id>_<10 digits of the link's digest>.<ending>": only letters and digits, so that it is valid everywhere, not
/// hidden, and unique to the link.
fn name(about: &About, digest: &str, ending: &str) -> String {
    let part = |text: &Option<String>, most: usize| {
        let letters = text.as_deref().unwrap_or_default().chars().take(500);
        let spaced: String = letters.map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { ' ' }).collect();
        let words: String = spaced.split_whitespace().collect::<Vec<_>>().join("_").chars().take(most).collect();
        words.trim_matches(['_', '-']).to_owned()
    };
    let (title, id) = (part(&about.title, 40), part(&about.id, 20));
    let id = if id == title { String::new() } else { id };
    let words = [title, id, digest[..10].to_owned()];
    let stem = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    let ending = ending.to_ascii_lowercase();
    let named = format!("{stem}.{ending}");
    // The content decides how it is decoded; the name only has to look like a recording's.
    if io::is_audio(Path::new(&named)) { named } else { format!("{stem}.mka") }
}
