//! Files that appear whole or not at all, digests, locks, and the paths of a workspace.

mod disk;
mod lock;

pub use disk::{Disk, check_writable, disk, free_space};
pub use lock::{Claim, Lock};

use crate::{Error, Kind, Result, text};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Prefix of the name of a file that is still being written.
pub const TEMP: &str = ".tmp-";

/// Writes `path` through `fill`, so that it appears whole or not at all: temp name in the same folder, fsync, rename,
/// fsync of the folder. Makes the folder if it is missing.
///
/// Errors: `file.write`, `file.disk_full`, and whatever `fill` returns; the old file, if any, is then untouched.
pub fn write_with<T>(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<T>) -> Result<T> {
    let folder = parent(path);
    create_folder(folder)?;
    let mut temp =
        tempfile::Builder::new().prefix(TEMP).tempfile_in(folder).map_err(|e| Error::io("write", path, e))?;
    let value = {
        let mut writer =
            BufWriter::with_capacity(1 << 20, temp.as_file_mut().try_clone().map_err(|e| Error::io("write", path, e))?);
        let value = fill(&mut writer).map_err(|e| Error::io("write", path, e))?;
        writer.flush().map_err(|e| Error::io("write", path, e))?;
        value
    };
    set_default_mode(temp.as_file()).map_err(|e| Error::io("write", path, e))?;
    let sync = !UNSYNCED.get();
    if sync {
        temp.as_file().sync_all().map_err(|e| Error::io("write", path, e))?;
    }
    temp.persist(path).map_err(|e| Error::io("write", path, e.error))?;
    if sync {
        sync_folder(folder);
    }
    Ok(value)
}

thread_local! {
    static UNSYNCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The result of `f`, with writes on this thread whole for every reader but without fsync, so a power cut may lose them: for files that
/// can be recreated or spared (cache entries, which are verified when used; states of jobs). A file and its folder cost two fsyncs, 10 ms here.
pub fn unsynced<T>(f: impl FnOnce() -> T) -> T {
    /// Restores the old state, also when `f` unwinds.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            UNSYNCED.set(self.0);
        }
    }
    let _restore = Restore(UNSYNCED.replace(true));
    f()
}

/// Writes `bytes` to `path`, whole or not at all; see [`write_with`].
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    write_with(path, |w| w.write_all(bytes.as_ref()))
}

/// Puts the content of a file at `target` too, replacing what is there in one rename: as a link, or a copy where the file system has none.
///
/// Errors: `file.*`.
pub fn link(path: &Path, target: &Path) -> Result<()> {
    let temp = parent(target).join(format!("{TEMP}link-{}", std::process::id()));
    remove(&temp)?;
    if std::fs::hard_link(path, &temp).is_ok() {
        std::fs::rename(&temp, target).map_err(|e| Error::io("replace", target, e))?;
        // Renaming one link over another of the same file does nothing and leaves both.
        return remove(&temp);
    }
    let mut source = File::open(path).map_err(|e| Error::io("open", path, e))?;
    write_with(target, |w| std::io::copy(&mut source, w)).map(drop)
}

/// Creates `path` and its parents; an existing folder is fine.
pub fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))
}

/// The bytes of a file. Errors: `file.not_found`, `file.read`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io("read", path, e))
}

/// The text of a file in UTF-8 or UTF-16, without byte order marks and the like (see [`text::certain`]).
///
/// Errors: `file.not_found`, `file.read`, `data.damaged` for any other encoding.
pub fn read_text(path: &Path) -> Result<String> {
    text::certain(&read(path)?).ok_or_else(|| no_text(path))
}

/// The text of a file of another program, and the code page used to read it if it is neither UTF-8 nor UTF-16; line breaks
/// are those of this system.
///
/// `fits` rates from 0 to 1 how much of a text makes sense; of the possible decodings, the best rated wins.
/// Errors: as [`read_text`]; `data.damaged` if no code page decodes it.
pub fn read_foreign(path: &Path, fits: impl Fn(&str) -> f64) -> Result<(String, Option<&'static str>)> {
    // Reading a pipe would wait for its writer.
    let about = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
    if !about.is_file() {
        return Err(Error::new(Kind::Read, format!("{} is not a regular file", path.display())).path(path));
    }
    let bytes = read(path)?;
    if let Some(text) = text::certain(&bytes).filter(|text| !text.contains('\0')) {
        return Ok((text::with_plain_breaks(&text), None));
    }
    let mut best: Option<(f64, text::Reading)> = None;
    for reading in text::readings(&bytes) {
        let share = fits(&text::with_plain_breaks(&reading.text));
        if best.as_ref().is_none_or(|(most, _)| share > *most) {
            best = Some((share, reading));
        }
        if share >= 1.0 {
            break;
        }
    }
    let (_, reading) = best.ok_or_else(|| no_text(path))?;
    Ok((text::with_plain_breaks(&reading.text), Some(reading.code_page)))
}

/// The JSON value of a file of another program. Errors: as [`read_foreign`]; `data.damaged` if it is not JSON.
pub fn read_json(path: &Path) -> Result<serde_json::Value> {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    let (text, _) = read_foreign(path, |text| f64::from(u8::from(parse(text).is_ok())))?;
    parse(&text)
        .map_err(|e| Error::new(Kind::DataDamaged, format!("{} is not JSON: {e}", path.display())).path(path).source(e))
}

fn no_text(path: &Path) -> Error {
    Error::new(Kind::DataDamaged, format!("{} is neither UTF-8 nor UTF-16 text", path.display()))
        .path(path)
        .hint("open it in an editor and save it as UTF-8")
}

/// Removes the unfinished files of a killed process: half a checkpoint can be a gigabyte. Call it only under the folder's lock.
///
/// Errors: `file.read`, `file.write`.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(TEMP.as_bytes()) && path.is_file() {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file; a missing one is fine.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// The entries of a folder, sorted by name (bytes). Errors: `file.not_found`, `file.read`.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    let mut paths = entries
        .map(|entry| entry.map(|e| e.path()).map_err(|e| Error::io("list", folder, e)))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A new folder `<name>_<n>` in `parent`, with the first free n. Errors: `file.write`.
pub fn numbered_folder(parent: &Path, name: &str) -> Result<PathBuf> {
    let mut number = 1;
    loop {
        let folder = parent.join(format!("{name}_{number}"));
        if !folder.exists() {
            create_folder(&folder)?;
            return Ok(folder);
        }
        number += 1;
    }
}

/// The SHA-256 of bytes, 64 hexadecimal digits.
pub fn digest(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes.as_ref()))
}

/// The SHA-256 of a file's content, 64 hexadecimal digits, read in pieces.
pub fn digest_file(path: &Path) -> Result<String> {
    // Checked first: opening a pipe would wait for its writer.
    let about = std::fs::metadata(path).map_err(|e| Error::io("open", path, e))?;
    if !about.is_file() {
        return Err(Error::new(Kind::Read, format!("{} is not a regular file", path.display())).path(path));
    }
    let mut file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let mut hasher = Hasher::default();
    let mut piece = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut piece).map_err(|e| Error::io("read", path, e))?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&piece[..n]);
    }
}

/// A digest of the names, sizes and times of the files at or below `path`: it changes when a file is added, removed or written to, and
/// no file is read. "" if `path` does not exist. Errors: `file.read`.
pub fn fingerprint(path: &Path) -> Result<String> {
    if !path.exists() {
        return Ok(String::new());
    }
    let (mut waiting, mut lines) = (vec![path.to_owned()], Vec::new());
    let mut seen = HashSet::new();
    while let Some(at) = waiting.pop() {
        if at.is_dir() {
            // A link may form a loop.
            if seen.insert(at.canonicalize().unwrap_or_else(|_| at.clone())) {
                waiting.extend(list(&at)?);
            }
            continue;
        }
        // A broken link counts as a file.
        let about = std::fs::metadata(&at).or_else(|_| at.symlink_metadata());
        let about = about.map_err(|e| Error::io("look at", &at, e))?;
        let since = about.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let name = at.strip_prefix(path).unwrap_or(&at).display().to_string();
        lines.push(format!("{name} {} {}", about.len(), since.unwrap_or_default().as_nanos()));
    }
    lines.sort();
    Ok(digest(lines.join("\n")))
}

/// The SHA-256 of bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The folders of a workspace; logs/<voice> has the layout of RVC WebUI, see src/guide/workspace.md.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `path` unchanged if absolute, else below the workspace.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// data/<voice>: the recordings.
    pub fn data(&self, voice: &str) -> Result<PathBuf> {
        Ok(self.root.join("data").join(voice_name(voice)?))
    }

    /// logs/<voice>: slices, features, checkpoints.
    pub fn logs(&self, voice: &str) -> Result<PathBuf> {
        Ok(self.root.join("logs").join(voice_name(voice)?))
    }

    /// models/<voice>.pth: the exported voice.
    pub fn model(&self, voice: &str) -> Result<PathBuf> {
        Ok(self.root.join("models").join(format!("{}.pth", voice_name(voice)?)))
    }

    /// The voice that a model belongs to, found by the folders in logs/: "anna" for anna_best, anna_ema, anna_e200 and RVC's anna_e200_s1600. The
    /// name itself if it has its own folder, or if no voice matches.
    pub fn voice_of<'a>(&self, model: &'a str) -> &'a str {
        let is_voice = |name: &str| self.logs(name).is_ok_and(|folder| folder.is_dir());
        let numbered = |name: &'a str, sign: &str| {
            let (rest, number) = name.rsplit_once(sign)?;
            (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(rest)
        };
        let epoch = numbered(numbered(model, "_s").unwrap_or(model), "_e");
        let named = model.strip_suffix("_best").or_else(|| model.strip_suffix("_ema"));
        let voice = epoch.or(named).filter(|voice| !is_voice(model) && is_voice(voice));
        voice.unwrap_or(model)
    }

    /// tracking: event logs and run records.
    pub fn tracking(&self) -> PathBuf {
        self.root.join("tracking")
    }

    /// cache: results of stages, by content.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }
}

/// Longest file name in bytes: ext4, XFS, Btrfs. NTFS and APFS count 255 units of UTF-16, never more than the bytes.
const MOST_NAME_BYTES: usize = 255;
/// The most bytes added to the name of a voice: "added_IVF", ten digits of cells, "_Flat_nprobe_1_", "_best", "_v2.index"; some to spare.
const MOST_ADDED_BYTES: usize = 55;
/// Longest name of a voice, in bytes.
pub const MOST_VOICE_BYTES: usize = MOST_NAME_BYTES - MOST_ADDED_BYTES;
/// Names that Windows reserves for devices, with any extension.
const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];

/// `voice` if it is a valid name: its folders and files can be created on this system, and RVC's file lists can name them.
///
/// Errors: `config.value` with the reason, and with the limit if it is too long.
pub fn voice_name(voice: &str) -> Result<&str> {
    check_name("a voice", voice, MOST_VOICE_BYTES)
}

/// `name` if it is valid for `what` ("a run"), whose files and folders add at most 10 bytes to it. Errors: `config.value`.
pub fn entry_name<'a>(what: &str, name: &'a str) -> Result<&'a str> {
    check_name(what, name, MOST_NAME_BYTES - 10)
}

fn check_name<'a>(what: &str, name: &'a str, most: usize) -> Result<&'a str> {
    match name_fault(name, most, cfg!(windows)) {
        None => Ok(name),
        Some(fault) => {
            Err(Error::new(Kind::ConfigValue, format!("{} cannot be the name of {what}: {fault}", shortened(name)))
                .hint("choose another name; an existing folder can be renamed"))
        }
    }
}

/// Why no voice, run or group can have this name, on Windows or elsewhere; None for a valid name.
fn name_fault(name: &str, most: usize, windows: bool) -> Option<String> {
    let has = |found: char, why: &str| name.contains(found).then(|| format!("{found} {why}"));
    if name.is_empty() {
        return Some("it is empty".into());
    }
    if let Some(control) = name.chars().find(|c| c.is_control()) {
        return Some(format!("it has the control character {}", control.escape_default()));
    }
    let fault = has('/', "separates folders")
        .or_else(|| has('\\', "is read as / in RVC's file lists"))
        .or_else(|| has('|', "separates the fields of RVC's file lists"))
        .or_else(|| name.starts_with('.').then(|| "names that begin with a dot are hidden".into()))
        .or_else(|| (name.len() > most).then(|| format!("it has {} bytes, but may have at most {most}: file names add to it, and a file name may have {MOST_NAME_BYTES} bytes", name.len())));
    if fault.is_some() || !windows {
        return fault;
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT")).filter(|rest| rest.len() == 1);
    if DEVICES.contains(&stem.as_str()) || port.is_some_and(|digit| ("1"..="9").contains(&digit)) {
        return Some(format!("Windows reserves {stem} for a device"));
    }
    if let Some(found) = name.chars().find(|c| r#":*?"<>"#.contains(*c)) {
        return Some(format!("Windows allows no {found} in names"));
    }
    name.ends_with([' ', '.']).then(|| "Windows drops spaces and dots at the end of a name".into())
}

/// A name in quotes, shortened to fit on a line.
fn shortened(name: &str) -> String {
    const MOST: usize = 60;
    match name.char_indices().nth(MOST) {
        Some((at, _)) => format!("{:?}...", &name[..at]),
        None => format!("{name:?}"),
    }
}

/// Whether a path in a file list is RVC's silence, by its last three parts: mute/0_gt_wavs/mute40k.wav, mute/3_feature768/mute.npy, Applio's
/// mute_spin/sliced_audios/mute40000.wav. The word "mute" is not enough: an experiment may be called mute_city.
///
/// Source: spec B.2; Applio's rvc/train/extract/preparing_files.py.
pub fn is_silence(path: &str) -> bool {
    let parts: Vec<&str> =
        path.trim().rsplit(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").take(3).collect();
    let [name, _, folder] = parts[..] else { return false };
    let ending = [".wav.npy", ".npy", ".wav"].into_iter().find_map(|ending| name.strip_suffix(ending));
    let rate = ending.and_then(|stem| stem.strip_prefix("mute")).map(|rate| rate.strip_suffix('k').unwrap_or(rate));
    (folder == "mute" || folder.starts_with("mute_"))
        && rate.is_some_and(|rate| rate.bytes().all(|b| b.is_ascii_digit()))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives a temp file (0600) the mode of any other new file.
#[cfg(unix)]
fn set_default_mode(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_default_mode(_file: &File) -> std::io::Result<()> {
    Ok(())
}

/// Makes everything written to the disk of `folder` durable, by any process: one wait for many files. On systems other than Linux, only the
/// folder's renames.
pub fn sync_disk(folder: &Path) {
    #[cfg(target_os = "linux")]
    if let Ok(folder) = File::open(folder) {
        let _ = rustix::fs::syncfs(folder);
    }
    #[cfg(not(target_os = "linux"))]
    sync_folder(folder);
}

/// Makes the renames in a folder durable. Not every file system can open a folder for this; the renames are atomic all the same.
pub fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_may_have_any_name_that_its_files_can_have() {
        for name in [
            "anna",
            "retrained",
            "trained",
            "added",
            "mute",
            "mute_city",
            "-x",
            "--",
            "x:y",
            "a b",
            "it's",
            "$HOME",
            "`id`",
            "\"",
            "a*?<>",
            "anna.",
            " anna ",
            "anna.pth",
            "CON",
            "nul",
            "com1.wav",
            "安娜",
            "אבג",
            "🎤",
            "e\u{301}",
            "~",
            "#1",
            "100%",
            "a,b",
            "Anna",
            "{x}",
            "!",
            "a;b&c",
        ] {
            assert_eq!(name_fault(name, MOST_VOICE_BYTES, false), None, "{name:?}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_refused_with_the_reason() {
        let long = "安".repeat(MOST_VOICE_BYTES / 3 + 1);
        for (name, why) in [
            ("", "empty"),
            ("a/b", "/ separates"),
            ("a\\b", "\\ is read"),
            ("a|b", "| separates the fields"),
            ("a\nb", "control character \\n"),
            ("a\tb", "control character \\t"),
            ("\u{1b}[31m", "control character \\u{1b}"),
            ("a\0b", "control character \\u{0}"),
            (".git", "hidden"),
            ("..", "hidden"),
            (&long, "201 bytes, but may have at most 200"),
        ] {
            let fault = name_fault(name, MOST_VOICE_BYTES, false).unwrap_or_else(|| panic!("{name:?} passes"));
            assert!(fault.contains(why), "{name:?}: {fault}");
        }
        let error = voice_name(&long).unwrap_err();
        assert!(error.kind() == Kind::ConfigValue && error.message().chars().count() < 300, "{error}");
    }

    #[test]
    fn what_windows_cannot_have_is_refused_there() {
        for (name, why) in [
            ("x:y", "allows no :"),
            ("what?", "allows no ?"),
            ("a*", "allows no *"),
            ("anna.", "drops spaces and dots"),
            ("anna ", "drops spaces and dots"),
            ("CON", "reserves CON"),
            ("nul.mine", "reserves NUL"),
            ("Com7", "reserves COM7"),
            ("LPT1 .x", "reserves LPT1"),
        ] {
            let fault = name_fault(name, MOST_VOICE_BYTES, true).unwrap_or_else(|| panic!("{name:?} passes"));
            assert!(fault.contains(why), "{name:?}: {fault}");
        }
        for name in ["CONNY", "com0", "com", "lpt10", "nullify", "anna", "安娜", "it's"] {
            assert_eq!(name_fault(name, MOST_VOICE_BYTES, true), None, "{name:?}");
        }
    }

    #[test]
    fn the_longest_name_of_a_voice_fits_with_all_that_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let name = "v".repeat(MOST_VOICE_BYTES);
        let most = u32::MAX;
        for file in [
            format!("added_IVF{most}_Flat_nprobe_1_{name}_best_v2.index"),
            format!("trained_IVF{most}_Flat_nprobe_1_{name}_v2.index"),
            format!("{name}_e{most}_s{most}.pth"),
            format!("20261130-105000-042-{name}-9f3c.jsonl"),
        ] {
            write(&folder.path().join(&file), "").unwrap_or_else(|e| panic!("{file}: {e}"));
        }
    }

    #[test]
    fn silence_is_known_by_its_place_and_name_and_not_by_a_word_in_a_path() {
        for path in [
            "/rvc/logs/mute/0_gt_wavs/mute40k.wav",
            r"D:\RVC\logs\mute\3_feature768\mute.npy",
            "logs/mute/sliced_audios/mute40000.wav",
            "logs/mute_spin/extracted/mute.npy",
            "logs/mute_spin-v2/f0/mute.wav.npy",
            "/w/logs/anna/mute/2b-f0nsf/mute.wav.npy",
            "/w/logs/mute/mute/0_gt_wavs/mute32k.wav",
            "./logs//mute/0_gt_wavs/mute48k.wav ",
        ] {
            assert!(is_silence(path), "{path}");
        }
        for path in [
            "/rvc/logs/mute_city/0_gt_wavs/0_1.wav",
            "/rvc/logs/mute/0_gt_wavs/0_1.wav",
            "/rvc/logs/mute_/3_feature768/12_3.npy",
            "/rvc/mute/logs/anna/0_gt_wavs/mute40k.wav",
            "logs/unmute/0_gt_wavs/mute40k.wav",
            "logs/mute/0_gt_wavs/muted.wav",
            "logs/mute/0_gt_wavs/mute_1.wav",
            "logs/mute/0_gt_wavs/mute40k.flac",
            "logs/Mute/0_gt_wavs/mute40k.wav",
            "mute40k.wav",
            "",
        ] {
            assert!(!is_silence(path), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_fingerprint_covers_existing_files_even_with_circular_or_broken_links() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let voice = folder.path().join("anna");
        write(&voice.join("part/a.wav"), "x").unwrap();
        for (from, to) in [("..", "part/back"), (".", "itself"), ("nowhere", "lost"), ("part", "again")] {
            let before = fingerprint(&voice).unwrap();
            symlink(from, voice.join(to)).unwrap();
            assert_eq!(fingerprint(&voice).unwrap(), fingerprint(&voice).unwrap(), "{to}");
            assert_eq!(fingerprint(&voice).unwrap() == before, to != "lost", "{to}");
        }
        let before = fingerprint(&voice).unwrap();
        write(&voice.join("part/b.wav"), "x").unwrap();
        assert_ne!(fingerprint(&voice).unwrap(), before);
    }

    #[test]
    fn a_model_is_of_the_voice_that_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        for voice in ["anna", "anna_best", "eve_e2"] {
            create_folder(&workspace.logs(voice).unwrap()).unwrap();
        }
        for (model, voice) in [
            ("anna", "anna"),
            ("anna_ema", "anna"),
            ("anna_e200", "anna"),
            ("anna_e200_s1600", "anna"),
            ("anna_best", "anna_best"),
            ("eve_e2", "eve_e2"),
            ("eve_e2_e4", "eve_e2"),
            ("anna_e", "anna_e"),
            ("anna_ex_s4", "anna_ex_s4"),
            ("ben_best", "ben_best"),
            ("", ""),
        ] {
            assert_eq!(workspace.voice_of(model), voice, "{model}");
        }
    }
}
