//! `rvc-run doctor`: what this machine and installation have, what is missing, and how to fix it.
//!
//! Tests what is really there (a matrix product on the CPU and on every GPU, the file systems under the workspace, programs on
//! the PATH). Nothing is printed here: `main` prints the [`Report`].

use crate::assets::store::fetch_command;
use crate::assets::{self, Store};
use crate::nn::runtime::{self, Gpu};
use crate::{download, files, memory, process};
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sysinfo::System;
use tch::{Device, Kind, Tensor};

/// How long a program may take to print its version; Python with many packages takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const MOST_OUTPUT: u64 = 64 << 10;

/// The state of one line of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Found and working.
    Ok,
    /// Missing; training works without it.
    Missing,
    /// Training does not work until this is fixed.
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Bad => "BAD",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: &'static str,
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do, if anything.
    pub advice: Option<String>,
}

impl Line {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), advice: None }
    }

    fn missing(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Missing, found: found.into(), advice: Some(advice.into()) }
    }

    fn bad(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Bad, found: found.into(), advice: Some(advice.into()) }
    }
}

/// The whole report; `Display` is the text for a person.
#[derive(Clone, Debug)]
pub struct Report {
    pub lines: Vec<Line>,
    /// The command that fetches the missing pretrained files that train_voice needs by default.
    pub to_fetch: Option<String>,
}

impl Report {
    /// 0 if training works on this machine, 1 if something must be fixed first. Optional programs and pretrained files do not
    /// count: the quickstart needs none.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.lines.iter().any(|line| line.state == State::Bad))
    }

    /// The report for programs: an object for each check, and one for all.
    pub fn objects(&self) -> Vec<Value> {
        let check = |line: &Line| {
            json!({
                "event": "check", "name": line.name, "state": line.state.word().to_lowercase(), "found": line.found,
                "advice": line.advice
            })
        };
        let all = json!({ "event": "ready", "ready": self.exit_code() == 0, "fetch": self.to_fetch });
        self.lines.iter().map(check).chain([all]).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
        for line in &self.lines {
            let state = line.state.word();
            writeln!(f, "{state:<7}  {:<width$}  {}", line.name, line.found)?;
            if let Some(advice) = &line.advice {
                writeln!(f, "{:<7}  {:<width$}  -> {advice}", "", "")?;
            }
        }
        match &self.to_fetch {
            _ if self.exit_code() != 0 => writeln!(f, "\nnot ready: see BAD above"),
            Some(command) => writeln!(f, "\nready for the quickstart; train_voice needs: {command}"),
            None => writeln!(f, "\nready to train"),
        }
    }
}

/// Checks everything that training in `workspace`, with the pretrained files of `store`, may need. Takes a second or two; changes nothing.
pub fn report(workspace: &Path, store: &Store) -> Report {
    // The GPU comes first: libtorch's CUDA part must be loaded before any other libtorch call.
    let gpu = gpu(runtime::init());
    let mut lines = vec![libtorch(), cpu(), memory(), gpu];
    lines.extend(disks(workspace));
    lines.extend([temporary(), assets(store)]);
    lines.extend(
        store
            .warnings()
            .iter()
            .map(|what| Line::missing("assets", what, "create the folder, or correct RVC_RUN_ASSETS")),
    );
    lines.extend([
        program("ffmpeg", "-version", "not needed for wav, flac, mp3, m4a, ogg, opus, webm and aiff; for other formats and for parts of long links, install your system's package ffmpeg"),
        downloader(),
        program("mlflow", "--version", "needed only to browse runs: pip install mlflow"),
    ]);
    Report { lines, to_fetch: to_fetch(store) }
}

fn libtorch() -> Line {
    let lib = runtime::libtorch_lib();
    let version = runtime::libtorch_version().unwrap_or_else(|| "of unknown version".into());
    let found = format!("{version} in {}", lib.display());
    match product(Device::Cpu) {
        Ok(()) => Line::ok("libtorch", found),
        Err(why) => Line::bad("libtorch", format!("{found}: {why}"), "`cargo xtask fetch`, then build again"),
    }
}

fn cpu() -> Line {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let found = format!("{cores} cores, {} threads in libtorch; {}", runtime::threads(), cpu_features().join(" "));
    Line::ok("CPU", found.trim_end_matches([' ', ';']))
}

/// The instruction sets that libtorch's speed depends on.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let known = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    let found: Vec<_> = known.into_iter().filter_map(|(name, has)| has.then_some(name)).collect();
    if found.is_empty() { vec!["no AVX: training will be slow"] } else { found }
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<&'static str> {
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    known.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

fn memory() -> Line {
    /// Full-size networks with their optimizer, at batch 4 (measured on the reference: about 5 GB).
    const FULL_SIZE: u64 = 6 << 30;
    let Ok(mut system) = System::new() else {
        return Line::missing("memory", "the free memory is unknown", "full-size training on the CPU needs about 6 GB");
    };
    system.refresh_memory();
    // In a container, less than the machine's memory may be allowed.
    let (total, free) = match system.cgroup_limits() {
        Some(limits) if limits.total_memory > 0 && limits.total_memory < system.total_memory() => {
            (limits.total_memory, limits.free_memory)
        }
        _ => (system.total_memory(), system.available_memory()),
    };
    let found = format!("{} of {} free", memory::text(free), memory::text(total));
    if free < FULL_SIZE {
        let advice =
            "full-size training on the CPU needs about 6 GB; close programs, lower --batch-size, or use preset tiny";
        return Line::missing("memory", found, advice);
    }
    Line::ok("memory", found)
}

fn gpu(gpu: &Gpu) -> Line {
    let Gpu::Ready(count) = gpu else {
        return Line::missing("GPU", runtime::reason(gpu), runtime::advice(gpu));
    };
    for i in 0..*count {
        let index = usize::try_from(i).unwrap_or(0);
        if let Err(why) = product(Device::Cuda(index)) {
            let found = format!("CUDA device {i} of {count} does not compute: {why}");
            return Line::missing("GPU", found, "compare `nvidia-smi`; libtorch 2.11 needs driver 580 or newer");
        }
    }
    let names = output("nvidia-smi", &["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]);
    let names = names.map(|text| text.lines().collect::<Vec<_>>().join("; ")).unwrap_or_default();
    Line::ok("GPU", format!("{}, each computed a product: {names}", runtime::reason(gpu)))
}

/// Computes and checks a matrix product on `device`: one real kernel, launched and waited for.
fn product(device: Device) -> Result<(), String> {
    const N: i64 = 64;
    let text = |error: tch::TchError| error.to_string().lines().next().unwrap_or_default().to_owned();
    let ones = Tensor::f_ones([N, N], (Kind::Float, device)).map_err(text)?;
    let sum = ones.f_matmul(&ones).and_then(|product| product.f_sum(Kind::Double)).map_err(text)?;
    let value = f64::try_from(sum).map_err(text)?;
    let expected = (N * N * N) as f64;
    if (value - expected).abs() < 0.5 { Ok(()) } else { Err(format!("a product gave {value} instead of {expected}")) }
}

/// The folders of a workspace, each of which may be a link to another disk.
const FOLDERS: [&str; 5] = ["data", "logs", "models", "tracking", "cache"];

/// A line for each disk that holds folders of the workspace, and one for each folder that is not writable.
fn disks(workspace: &Path) -> Vec<Line> {
    /// One full-size G_/D_ pair with optimizer state takes about 1.3 GB; a run keeps several. Clips and features are in the cache.
    const COMFORTABLE: u64 = 10 << 30;
    /// Recordings, voices and records.
    const ENOUGH: u64 = 1 << 30;
    let root = std::env::current_dir().unwrap_or_default().join(workspace);
    // Without the "." of "--workspace .".
    let root: PathBuf = root.components().collect();
    let mut found: Vec<(files::Disk, Vec<&str>)> = Vec::new();
    let mut lines = Vec::new();
    for name in FOLDERS {
        match files::disk(&root.join(name)) {
            Some(disk) => match found.iter_mut().find(|(known, _)| known.id == disk.id) {
                Some((_, names)) => names.push(name),
                None => found.push((disk, vec![name])),
            },
            None => lines.push(Line::missing(
                "disk",
                format!("the free space of {} is unknown", root.join(name).display()),
                "look with `df -h`",
            )),
        }
    }
    let all_on_one = found.len() == 1 && found[0].1.len() == FOLDERS.len();
    for (disk, names) in found {
        let places = names.iter().map(|name| format!("{name}/")).collect::<Vec<_>>().join(", ");
        let shown = if all_on_one { root.display().to_string() } else { format!("{places} of {}", root.display()) };
        let found = format!("{} free for {shown}", memory::text(disk.free));
        let heavy = names.iter().any(|name| ["logs", "cache"].contains(name));
        if disk.free < if heavy { COMFORTABLE } else { ENOUGH } {
            lines.push(Line::missing("disk", found, "a full-size checkpoint pair takes about 1.3 GB; free some space"));
        } else {
            lines.push(Line::ok("disk", found));
        }
    }
    let mut refused: Vec<String> = Vec::new();
    for error in FOLDERS.iter().filter_map(|name| files::check_writable(&root.join(name)).err()) {
        // A workspace that is not writable is reported once.
        if !refused.contains(&error.message().to_owned()) {
            refused.push(error.message().to_owned());
            let advice = error.hint_text().unwrap_or("fix it, or choose another folder with --workspace");
            lines.push(Line::bad("disk", error.message(), advice));
        }
    }
    lines
}

/// The folder for temporary files, which TMPDIR names.
fn temporary() -> Line {
    /// Sound that ffmpeg decodes, and what other programs unpack there.
    const ENOUGH: u64 = 1 << 30;
    let place = std::env::temp_dir();
    if let Err(error) = files::check_writable(&place) {
        return Line::missing("temp", error.message(), "set TMPDIR to a writable folder");
    }
    let Some(free) = files::free_space(&place) else {
        return Line::missing("temp", format!("the free space of {} is unknown", place.display()), "look with `df -h`");
    };
    let found = format!("{} free for {}", memory::text(free), place.display());
    if free < ENOUGH {
        return Line::missing("temp", found, "free some space, or set TMPDIR to a folder on another disk");
    }
    Line::ok("temp", found)
}

/// Pretrained files: those that train_voice needs by default, and others that are present.
fn assets(store: &Store) -> Line {
    let all = &store.catalog().assets;
    let here: Vec<&str> =
        all.iter().filter(|asset| store.find_whole(asset).is_some()).map(|asset| asset.name.as_str()).collect();
    let found = if here.is_empty() { "none".to_owned() } else { here.join(" ") };
    match to_fetch(store) {
        None => Line::ok("assets", found),
        Some(command) => Line::missing("assets", found, format!("train_voice needs more by default: `{command}`")),
    }
}

fn to_fetch(store: &Store) -> Option<String> {
    // The catalog has everything that the usual settings name: its tests check this.
    let missing = store.missing(&assets::usual()).unwrap_or_default();
    (!missing.is_empty()).then(|| fetch_command(&missing))
}

fn program(name: &'static str, version_flag: &str, advice: &str) -> Line {
    let Ok(path) = which::which(name) else {
        return Line::missing(name, "not on the PATH (optional)", advice);
    };
    let text = output(name, &[version_flag]).unwrap_or_default();
    let version = text.lines().next().unwrap_or_default();
    Line::ok(name, format!("{}: {version}", path.display()).trim_end_matches(": "))
}

/// yt-dlp as [`download::Tool`] finds it.
fn downloader() -> Line {
    for (program, before) in download::CANDIDATES {
        let Ok(path) = which::which(program) else { continue };
        if program == "uvx" {
            // Its version is not checked: that would fetch it.
            return Line::ok("yt-dlp", "through uvx, which fetches it when needed");
        }
        let version = output(program, &[before, &["--ignore-config", "--version"]].concat());
        if let Some(version) = version.as_deref().and_then(|text| text.lines().last()) {
            let words = std::iter::once(path.display().to_string()).chain(before.iter().map(|word| (*word).to_owned()));
            return Line::ok("yt-dlp", format!("{}: {version}", words.collect::<Vec<_>>().join(" ")));
        }
    }
    let advice = format!("needed only for recordings from links: {}", download::INSTALL);
    Line::missing("yt-dlp", "not on the PATH, and not available through uvx or python (optional)", advice)
}

/// The output of a program that exits successfully, in time.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let mut command = process::quiet(program);
    command.args(args);
    let output = process::output(command, None, ANSWER_LIMIT, MOST_OUTPUT).ok()?;
    output.success().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Workspace;

    fn store() -> Store {
        Store::new(&Workspace::new("no assets here"))
    }

    #[test]
    fn a_machine_that_passes_these_tests_is_ready_to_train() {
        let report = report(Path::new("."), &store());
        assert_eq!(report.exit_code(), 0, "{report}");
        let text = report.to_string();
        for name in ["libtorch", "CPU", "memory", "GPU", "disk", "temp", "assets", "ffmpeg", "yt-dlp", "mlflow"] {
            assert!(text.contains(name), "no line for {name} in\n{text}");
        }
        assert!(text.contains("2.11"), "{text}");
    }

    #[test]
    fn everything_missing_says_what_to_do() {
        for line in report(Path::new("."), &store()).lines {
            assert_eq!(line.state == State::Ok, line.advice.is_none(), "{line:?}");
        }
    }

    #[test]
    fn assets_that_are_there_are_named_and_the_missing_ones_have_a_command() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("assets")).unwrap();
        std::fs::write(folder.path().join("assets/rmvpe.pt"), "x").unwrap();
        let line = assets(&Store::new(&Workspace::new(folder.path())));
        assert_eq!((line.state, line.found.as_str()), (State::Missing, "rmvpe.pt"));
        let advice = line.advice.unwrap();
        assert!(advice.contains("`rvc-run assets fetch hubert_base.pt pretrained_v2/f0G40k.pth"), "{advice}");
    }

    #[test]
    fn only_a_bad_line_fails_the_report() {
        let mut report = Report { lines: vec![Line::missing("x", "gone", "get it")], to_fetch: None };
        assert_eq!(report.exit_code(), 0);
        report.lines.push(Line::bad("y", "broken", "mend it"));
        assert_eq!(report.exit_code(), 1);
        assert!(report.to_string().contains("BAD      y  broken\n            -> mend it"), "{report}");
    }

    #[test]
    fn a_folder_of_the_environment_that_does_not_exist_has_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::with_environment(&Workspace::new(folder.path()), |name| {
            (name == "RVC_RUN_ASSETS").then(|| folder.path().join("mistyped").into_os_string())
        });
        let text = report(folder.path(), &store).to_string();
        assert!(text.contains("mistyped, from RVC_RUN_ASSETS, does not exist\n"), "{text}");
    }

    #[test]
    fn only_a_machine_with_the_pretrained_files_is_reported_ready_to_train() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&Workspace::new(folder.path()));
        let last = || report(folder.path(), &store).to_string().lines().last().unwrap().to_owned();
        let all = "hubert_base.pt rmvpe.pt pretrained_v2/f0G40k.pth pretrained_v2/f0D40k.pth";
        assert_eq!(last(), format!("ready for the quickstart; train_voice needs: rvc-run assets fetch {all}"));
        std::fs::create_dir_all(folder.path().join("assets/pretrained_v2")).unwrap();
        for name in all.split(' ') {
            std::fs::write(folder.path().join("assets").join(name), "x").unwrap();
        }
        assert_eq!(last(), "ready to train");
        let bad = Report { lines: vec![Line::bad("y", "broken", "mend it")], to_fetch: Some("x".into()) };
        assert!(bad.to_string().ends_with("\nnot ready: see BAD above\n"));
    }

    #[test]
    fn an_empty_path_is_the_current_folder_and_one_disk_has_one_line() {
        let lines = disks(Path::new(""));
        let here = std::env::current_dir().unwrap();
        assert!(
            lines
                .iter()
                .any(|line| line.found.contains(" GB free for ") && line.found.contains(here.to_str().unwrap())),
            "{lines:?}"
        );
        assert_eq!(disks(Path::new("."))[0].found.split(" free for ").nth(1), here.to_str());
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(disks(folder.path()).len(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_disk_of_the_workspace_has_a_line_and_what_takes_no_files_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        link("/dev", "logs");
        let lines = disks(folder.path());
        let found: Vec<&str> = lines.iter().map(|line| line.found.as_str()).collect();
        assert!(found.iter().any(|found| found.contains("free for logs/ of ")), "{found:?}");
        assert!(
            found.iter().any(|found| found.contains("free for data/, models/, tracking/, cache/ of ")),
            "{found:?}"
        );
        link("/proc/self", "models");
        link("/no/such/disk", "cache");
        std::fs::write(folder.path().join("tracking"), "no folder").unwrap();
        let bad: Vec<_> = disks(folder.path()).into_iter().filter(|line| line.state == State::Bad).collect();
        let all = format!("{bad:?}");
        for part in ["/models", "/tracking is a file", "/cache is a link to /no/such/disk, which is not there"] {
            assert!(all.contains(part), "{all}");
        }
        assert!(bad.iter().all(|line| line.advice.is_some()), "{all}");
    }
}
