//! Imports an experiment of RVC WebUI or Applio as a voice: clips, features, file list, settings, checkpoints.
//!
//! ```text
//! theirs: <experiment>/  0_gt_wavs (sliced_audios)  3_feature768 (extracted)  ...  filelist.txt  config.json  G_*.pth  D_*.pth
//!                        |  every file that a row names, copied to the folder with RVC's name
//! ours:   logs/<voice>/  0_gt_wavs  3_feature768  ...  mute/  filelist.txt (absolute paths)  config.json  G_*.pth  D_*.pth
//! ```
//!
//! Nothing is computed, and their files stay unchanged. Only the last two parts of a row's paths count, since the rest
//! belongs to another machine or folder; a row that would lead out of the experiment is left out.
//! A list in a code page is read in the one in which its rows name existing files.
//!
//! Source: spec A.7, B.2, C.4, D.1 for RVC's layout; Applio's rvc/train/extract/preparing_files.py for its own; rvc-next's
//! rvc_next/engine/train/filelist.py for lists with the speaker's name after its number and rows repeated by its weight.

use crate::files;
use crate::task::Task;
use crate::train::config_json;
use crate::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Their folder, ours, and the program that uses this name.
const FOLDERS: [(&str, &str, Program); 13] = [
    ("0_gt_wavs", "0_gt_wavs", Program::RvcWebUi),
    ("1_16k_wavs", "1_16k_wavs", Program::RvcWebUi),
    ("2a_f0", "2a_f0", Program::RvcWebUi),
    ("2b-f0nsf", "2b-f0nsf", Program::RvcWebUi),
    ("3_feature768", "3_feature768", Program::RvcWebUi),
    ("3_feature256", "3_feature256", Program::RvcWebUi),
    ("sliced_audios", "0_gt_wavs", Program::Applio),
    ("sliced_audios_16k", "1_16k_wavs", Program::Applio),
    ("f0", "2a_f0", Program::Applio),
    ("f0_voiced", "2b-f0nsf", Program::Applio),
    ("extracted", "3_feature768", Program::Applio),
    // Applio before 2025.
    ("v2_extracted", "3_feature768", Program::Applio),
    ("v1_extracted", "3_feature256", Program::Applio),
];
const LIST: &str = "filelist.txt";
/// Most rows left out that get their own warning.
const MAX_WARNINGS: usize = 20;

/// The program that made a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    RvcWebUi,
    Applio,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Self::RvcWebUi => "RVC WebUI",
            Self::Applio => "Applio",
        }
    }
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Adopted {
    pub program: Program,
    /// logs/<voice>.
    pub folder: PathBuf,
    /// Rows of clips, and of silence.
    pub clips: usize,
    pub mute_rows: usize,
    /// Rows that repeat a clip: a speaker's weight in lists of several.
    pub repeated: usize,
    /// Names of the speakers, if the list has them.
    pub speakers: BTreeMap<i64, String>,
    /// Rows left out: number of the line, and why. Each was reported.
    pub dropped: Vec<(usize, String)>,
    /// G_ and D_ files.
    pub checkpoints: usize,
}

/// Copies the experiment in `source` to `logs`, which appears whole or not at all.
///
/// Errors: `file.not_found` without the folder, its filelist.txt or its config.json, with what to do instead; `config.mismatch` if
/// `logs` is not empty, or rvc-run made the experiment; `data.empty` if no row can be used; `file.read`,
/// `file.write`, `file.disk_full`, `cancelled`.
pub fn adopt(task: &Task, source: &Path, logs: &Path) -> Result<Adopted> {
    let program = look(source)?;
    if logs.is_dir() && !files::list(logs)?.is_empty() {
        return Err(Error::new(Kind::ConfigMismatch, format!("{} is not empty", logs.display()))
            .path(logs)
            .hint("import under another name, or move this folder away first"));
    }
    let home = source.canonicalize().map_err(|e| Error::io("open", source, e))?;
    let (text, code_page) = files::read_foreign(&source.join(LIST), |text| usable(&home, text))?;
    if let Some(page) = code_page {
        task.info(format!("{} is in a code page and was read as {page}", source.join(LIST).display()));
    }
    let rows = numbered(&text);
    let finder = Finder { name: experiment(&rows), home: &home };
    let (mut taken, mut dropped) = (Vec::new(), Vec::new());
    // Target -> source: two files must not become the same one.
    let mut wanted: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (number, line) in rows {
        let row = finder.row(line).and_then(|row| {
            let clash = row.files.iter().find(|(to, from)| wanted.get(to).is_some_and(|other| other != from));
            clash.map_or(Ok(()), |(to, _)| Err(format!("two different files would become {to}")))?;
            Ok(row)
        });
        match row {
            Ok(row) => {
                wanted.extend(row.files.iter().cloned());
                taken.push(row);
            }
            Err(why) => dropped.push((number, why)),
        }
    }
    warn_dropped(task, source, &dropped);
    let mute_rows = taken.iter().filter(|row| row.is_mute).count();
    let clips = taken.len() - mute_rows;
    if clips == 0 {
        let hint =
            dropped.first().map_or("it has no row with a clip".to_owned(), |(n, why)| format!("line {n}: {why}"));
        let list = source.join(LIST);
        let error = Error::new(Kind::DataEmpty, format!("no row of {} can be used", list.display())).path(&list);
        let way_out = code_page.map(|_| "; it is neither UTF-8 nor UTF-16: open it in an editor and save it as UTF-8");
        return Err(error.hint(hint + way_out.unwrap_or_default()));
    }
    let names: BTreeSet<&Vec<(String, PathBuf)>> =
        taken.iter().filter(|row| !row.is_mute).map(|row| &row.files).collect();
    let repeated = clips - names.len();
    let speakers = speakers(task, &taken);
    let checkpoints = others(&home, &finder.name, &mut wanted)?;
    copy(task, &wanted, &taken, &speakers, logs)?;
    Ok(Adopted { program, folder: logs.to_owned(), clips, mute_rows, repeated, speakers, dropped, checkpoints })
}

/// The rows of a list with the numbers of their lines.
fn numbered(text: &str) -> Vec<(usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())).filter(|(_, line)| !line.is_empty()).collect()
}

/// The share of a list's rows whose files are in the experiment.
fn usable(home: &Path, text: &str) -> f64 {
    let rows = numbered(text);
    let finder = Finder { name: experiment(&rows), home };
    let found = rows.iter().filter(|(_, line)| finder.row(line).is_ok()).count();
    found as f64 / rows.len().max(1) as f64
}

/// The names that rows give to speakers; if a speaker has two, the first, with a warning.
fn speakers(task: &Task, rows: &[Row]) -> BTreeMap<i64, String> {
    let mut names: BTreeMap<i64, String> = BTreeMap::new();
    let mut warned = BTreeSet::new();
    for (sid, name) in rows.iter().filter_map(|row| Some((row.sid, row.speaker.as_ref()?))) {
        let known = names.entry(sid).or_insert_with(|| name.clone());
        if known != name && warned.insert((sid, name)) {
            task.warn(format!(
                "speaker {sid} is named {known:?} in one row and {name:?} in another; {known:?} is used"
            ));
        }
    }
    names
}

/// The program that made an experiment; an error with a hint if training cannot resume from it.
fn look(source: &Path) -> Result<Program> {
    if !source.is_dir() {
        return Err(Error::new(Kind::NotFound, format!("there is no folder {}", source.display()))
            .path(source)
            .hint("give the experiment's folder: <RVC>/logs/<experiment> or <Applio>/logs/<experiment>"));
    }
    let folder = FOLDERS
        .iter()
        .find(|(theirs, ..)| ["0_gt_wavs", "sliced_audios"].contains(theirs) && source.join(theirs).is_dir());
    let Some((clips, _, program)) = folder else {
        return Err(Error::new(Kind::NotFound, format!("{} is not an experiment of RVC WebUI or Applio", source.display()))
            .path(source)
            .hint("it has neither 0_gt_wavs/ nor sliced_audios/; recordings go to data/<voice>, and train_voice prepares them"));
    };
    if files::list(source)?.iter().any(|path| is_named(path, "checkpoint_", ".json")) {
        return Err(Error::new(Kind::ConfigMismatch, format!("rvc-run trained {} itself", source.display()))
            .path(source)
            .hint("copy the whole folder to logs/<voice>, then run the command that began the training"));
    }
    for needed in [LIST, "config.json"] {
        if !source.join(needed).is_file() {
            return Err(Error::new(Kind::NotFound, format!("{} has no {needed}", source.display())).path(source).hint(format!(
                "nothing was trained there yet. Put the recordings into data/<voice> and run train_voice; if you no longer have them, copy {} there, but its \
                clips are then filtered, cut and levelled a second time",
                source.join(clips).display()
            )));
        }
    }
    Ok(*program)
}

fn is_named(path: &Path, start: &str, end: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(start) && name.ends_with(end)
}

/// The experiment's name when the list was written: the folder of most of its wavs.
fn experiment(rows: &[(usize, &str)]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (_, line) in rows {
        let wave = line.split('|').next().unwrap_or_default();
        let mut parts = wave.rsplit(['/', '\\']).filter(|part| !part.is_empty()).skip(2);
        if let Some(name) = parts.next().filter(|_| !files::is_silence(wave)) {
            *counts.entry(name).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(name, count)| (*count, std::cmp::Reverse(*name)));
    most.map_or(String::new(), |(name, _)| name.to_owned())
}

struct Row {
    is_mute: bool,
    /// Path below our folder -> current path.
    files: Vec<(String, PathBuf)>,
    sid: i64,
    /// The speaker's name, which lists of several speakers have after the number.
    speaker: Option<String>,
}

struct Finder<'a> {
    name: String,
    /// Their folder, with links resolved.
    home: &'a Path,
}

impl Finder<'_> {
    /// The files of one line, or why it cannot be used.
    fn row(&self, line: &str) -> std::result::Result<Row, String> {
        let fields: Vec<&str> = line.split('|').collect();
        let (paths, sid, speaker) = match &fields[..] {
            [paths @ .., sid] if [2, 4].contains(&paths.len()) => (paths, sid, None),
            [paths @ .., sid, name] if [2, 4].contains(&paths.len()) => (paths, sid, Some(name.trim())),
            _ => {
                let n = fields.len();
                return Err(format!(
                    "it has {n} fields separated by |, but must have 5, or 3 without pitch, and one more with names"
                ));
            }
        };
        let speaker = speaker.filter(|name| !name.is_empty()).map(str::to_owned);
        let sid = sid.trim().parse().map_err(|_| format!("the speaker is {sid:?}, but must be a whole number"))?;
        let found = paths.iter().map(|field| self.find(field)).collect::<std::result::Result<Vec<_>, _>>()?;
        let roles: &[&[&str]] = &[&["0_gt_wavs"], &["3_feature768", "3_feature256"], &["2a_f0"], &["2b-f0nsf"]];
        if let Some((role, (folder, ..))) = roles.iter().zip(&found).find(|(role, (folder, ..))| !role.contains(folder))
        {
            return Err(format!("it has a file of {folder} in the place of one of {}", role.join(" or ")));
        }
        let is_mute = found[0].1.starts_with("mute/");
        if found.iter().any(|(_, to, _)| to.starts_with("mute/") != is_mute) {
            return Err("it combines silence with a clip".to_owned());
        }
        Ok(Row { is_mute, files: found.into_iter().map(|(_, to, from)| (to, from)).collect(), sid, speaker })
    }

    /// For a path in the list: our folder, our path, and the actual file.
    fn find(&self, field: &str) -> std::result::Result<(&'static str, String, PathBuf), String> {
        let parts: Vec<&str> =
            field.trim().split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(format!("{field:?} leads out of the experiment's folder"));
        }
        let [.., above, folder, name] = parts[..] else {
            return Err(format!("{field:?} is not a path in an experiment"));
        };
        let Some((theirs, ours, _)) = FOLDERS.iter().find(|(theirs, ..)| *theirs == folder) else {
            return Err(format!("{field:?} is in a folder that neither RVC WebUI nor Applio has"));
        };
        let (roots, to) = if files::is_silence(field) {
            // Beside the experiments, or in this one.
            let beside = self.home.parent().map(|logs| logs.join(above));
            (beside.into_iter().chain([self.home.join(above)]).collect(), format!("mute/{ours}/{name}"))
        } else if above == self.name {
            (vec![self.home.to_owned()], format!("{ours}/{name}"))
        } else {
            return Err(format!("{field:?} leads out of the experiment's folder"));
        };
        for root in roots {
            let path = root.join(theirs).join(name);
            let Ok(real) = path.canonicalize() else { continue };
            if !root.canonicalize().is_ok_and(|root| real.starts_with(root)) {
                return Err(format!("{} is a link that leads out of its folder", path.display()));
            }
            // Reading a pipe would wait forever.
            if std::fs::metadata(&real).is_ok_and(|about| about.is_file()) {
                return Ok((ours, to, real));
            }
        }
        Err(format!("{folder}/{name} does not exist"))
    }
}

fn warn_dropped(task: &Task, source: &Path, dropped: &[(usize, String)]) {
    let list = source.join(LIST);
    for (number, why) in dropped.iter().take(MAX_WARNINGS) {
        task.warn(format!("left out: {}, line {number}: {why}", list.display()));
    }
    if dropped.len() > MAX_WARNINGS {
        task.warn(format!("... and {} more like these", dropped.len() - MAX_WARNINGS));
    }
}

/// Adds the files that training resumes from, and the 16 kHz copies of the clips, which no list names. Returns the number of checkpoints.
fn others(home: &Path, name: &str, wanted: &mut BTreeMap<String, PathBuf>) -> Result<usize> {
    let mut checkpoints = 0;
    for path in files::list(home)?.into_iter().filter(|path| path.is_file()) {
        let is_checkpoint = is_named(&path, "G_", ".pth") || is_named(&path, "D_", ".pth");
        checkpoints += usize::from(is_checkpoint);
        let is_ours = ["config.json", "model_info.json", "experiment.json", "train.log"]
            .iter()
            .any(|known| path.ends_with(known));
        // Applio names its index after only the experiment.
        let is_index = is_named(&path, "added_", ".index") || is_named(&path, name, ".index");
        if is_checkpoint || is_ours || is_index {
            wanted.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path);
        }
    }
    let clips: Vec<String> = wanted.keys().filter_map(|to| to.strip_prefix("0_gt_wavs/")).map(str::to_owned).collect();
    for (clip, folder) in clips.iter().flat_map(|clip| ["1_16k_wavs", "sliced_audios_16k"].map(|folder| (clip, folder)))
    {
        let path = home.join(folder).join(clip);
        if path.canonicalize().is_ok_and(|real| real.starts_with(home) && real.is_file()) {
            wanted.insert(format!("1_16k_wavs/{clip}"), path);
        }
    }
    Ok(checkpoints)
}

/// Makes the folder beside its place, and moves it there in one rename.
fn copy(
    task: &Task,
    wanted: &BTreeMap<String, PathBuf>,
    rows: &[Row],
    speakers: &BTreeMap<i64, String>,
    logs: &Path,
) -> Result<()> {
    let parent = logs.parent().unwrap_or(Path::new("."));
    files::create_folder(parent)?;
    let temp =
        tempfile::Builder::new().prefix(".tmp-adopt-").tempdir_in(parent).map_err(|e| Error::io("write", parent, e))?;
    let all: Vec<(&String, &PathBuf)> = wanted.iter().collect();
    for folder in FOLDERS.iter().flat_map(|(_, ours, _)| [(*ours).to_owned(), format!("mute/{ours}")]) {
        if wanted.keys().any(|to| to.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/'))) {
            files::create_folder(&temp.path().join(folder))?;
        }
    }
    task.map("copying", &all, |(to, from)| {
        let mut source = std::fs::File::open(from).map_err(|e| Error::io("open", from, e))?;
        files::write_with(&temp.path().join(to), |target| std::io::copy(&mut source, target).map(drop))
    })?;
    let root = std::path::absolute(logs).map_err(|e| Error::io("look at", logs, e))?;
    let root = root.to_string_lossy().replace('\\', "/");
    let line = |row: &Row| {
        let paths: Vec<String> = row.files.iter().map(|(to, _)| format!("{root}/{to}")).collect();
        format!("{}|{}", paths.join("|"), row.sid)
    };
    files::write(&temp.path().join(LIST), rows.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    config_json::name_speakers(temp.path(), speakers)?;
    if logs.is_dir() {
        // Empty: otherwise it would have been refused.
        std::fs::remove_dir(logs).map_err(|e| Error::io("replace", logs, e))?;
    }
    let temp = temp.keep();
    std::fs::rename(&temp, logs).map_err(|e| {
        let _ = std::fs::remove_dir_all(&temp);
        Error::io("rename", logs, e)
    })?;
    set_default_mode(logs)?;
    files::sync_folder(parent);
    Ok(())
}

/// Temporary folders are private; a voice's folder is not.
#[cfg(unix)]
fn set_default_mode(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).map_err(|e| Error::io("write", folder, e))
}

#[cfg(not(unix))]
fn set_default_mode(_folder: &Path) -> Result<()> {
    Ok(())
}
