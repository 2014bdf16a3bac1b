//! `cargo xtask bench index`: time and memory to build a retrieval index, and the time of a search, on the CPU.
//!
//! With a Python that has faiss (`--python`, or RVC_TEST_PYTHON) the same vectors are indexed there as RVC does it
//! (index_reference.py), after ours. The vectors are synthetic: walks between 2000 points in a space of 24 dimensions, seen through a
//! random projection, with a little noise. Times do not depend on them, recall does.

mod common;

use rvc_run::nn::runtime;
use rvc_run::retrieval::Index;
use rvc_run::task::Task;
use rvc_run::{memory, npy};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

const HELP: &str = "\
cargo xtask bench index [--frames N] [--dim N] [--threads N] [--python PATH] [--save FILE]

  --frames N      vectors (default 200000, the most that RVC does not reduce)
  --dim N         values of each (default 768, version 2)
  --threads N     threads of one operation (default: as in a recipe)
  --python PATH   a Python with faiss, for the reference's figures (default: RVC_TEST_PYTHON)
  --save FILE     write the table there as well
";

/// Content frames per second of sound.
const SECOND: usize = 50;
/// Frames of the longest chunk that conversion computes at once, and how often each search is timed.
const SEARCHES: [(usize, usize); 2] = [(SECOND, 20), (38 * SECOND, 3)];

struct Options {
    frames: usize,
    dim: usize,
    threads: usize,
    python: Option<String>,
    save: Option<String>,
}

/// One program's column.
struct Figures {
    name: String,
    seconds: f64,
    peak: u64,
    recall: f64,
    /// Milliseconds per second of sound.
    search: [f64; 2],
}

fn main() -> ExitCode {
    common::run(options(), bench)
}

fn options() -> Result<Options, String> {
    let mut options = Options { frames: 200_000, dim: 768, threads: 0, python: common::usual_python(), save: None };
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n\n{HELP}"));
        let number = |text: String| text.parse::<usize>().map_err(|_| format!("{text:?} is not a number\n\n{HELP}"));
        match arg.as_str() {
            "--frames" => options.frames = number(value()?)?.max(SECOND),
            "--dim" => options.dim = number(value()?)?.max(1),
            "--threads" => options.threads = number(value()?)?,
            "--python" => options.python = Some(value()?),
            "--save" => options.save = Some(value()?),
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(options)
}

fn bench(options: &Options) -> Result<(), String> {
    runtime::init();
    if options.threads > 0 {
        runtime::set_threads(options.threads);
    }
    let text = |error: rvc_run::Error| error.to_string();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join("rows.npy");
    let vectors = rows(options.frames, options.dim);
    npy::write_f32_2d(&path, &vectors, options.dim).map_err(text)?;

    let task = Task::silent();
    let start = Instant::now();
    let index = Index::new(&task, vectors, options.dim, 1, Device::Cpu).map_err(text)?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = memory::peak().unwrap_or_default();
    let search = SEARCHES.map(|(n, rounds)| search(&index, n, rounds));
    let recall = index.recall(&task, 1, Device::Cpu).map_err(text)?;
    let mut columns = vec![Figures { name: "rvc-run".into(), seconds, peak, recall, search }];
    let n_cells = index.n_cells();
    drop(index);
    if let Some(python) = &options.python {
        columns.push(reference(python, &path, n_cells)?);
    }
    let table = table(options, n_cells, &columns);
    print!("{table}");
    match &options.save {
        Some(file) => std::fs::write(file, table).map_err(|e| format!("cannot write {file}: {e}")),
        None => Ok(()),
    }
}

/// Median milliseconds of a search for `n` frames near vectors of the index, per second of them.
fn search(index: &Index, n: usize, rounds: usize) -> f64 {
    let mut times = Vec::new();
    for queries in index.vectors().chunks_exact(n * index.dim()).cycle().take(rounds + 1) {
        let queries: Vec<f32> = queries.iter().map(|x| x + 0.1).collect();
        let start = Instant::now();
        index.search(&queries, 8);
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    // The first is the warm-up.
    common::median(&times[1..]) * SECOND as f64 / n as f64
}

fn rows(n: usize, dim: usize) -> Vec<f32> {
    const POINTS: i64 = 2000;
    const WALK: i64 = 10;
    const INNER: i64 = 24;
    tch::manual_seed(1);
    let float = (Kind::Float, Device::Cpu);
    let points = Tensor::randn([POINTS, INNER], float);
    let projection = Tensor::randn([INNER, dim as i64], float) * 0.1;
    let share = Tensor::arange(WALK, float).view([WALK, 1]) / WALK as f64;
    let rest: Tensor = 1.0 - &share;
    let mut rows = Vec::with_capacity(n * dim);
    while rows.len() < n * dim {
        let visits = Tensor::randint(POINTS, [101], (Kind::Int64, Device::Cpu));
        let visits = points.index_select(0, &visits).unsqueeze(1);
        let walk = visits.slice(0, 0, 100, 1) * &rest + visits.slice(0, 1, 101, 1) * &share;
        let some =
            walk.reshape([-1, INNER]).matmul(&projection) + Tensor::randn([100 * WALK, dim as i64], float) * 0.05;
        rows.extend(Vec::<f32>::try_from(some.flatten(0, -1)).unwrap_or_default());
    }
    rows.truncate(n * dim);
    rows
}

fn reference(python: &str, rows: &Path, n_cells: usize) -> Result<Figures, String> {
    let rows = rows.display().to_string();
    let (cells, threads) = (n_cells.to_string(), runtime::threads().to_string());
    let found = common::reference(python, "index_reference.py", &[&rows, "--cells", &cells, "--threads", &threads])?;
    let number = |pointer: &str| found.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    Ok(Figures {
        name: format!("faiss {}", found["faiss"].as_str().unwrap_or_default()),
        seconds: number("/seconds"),
        peak: number("/peak") as u64,
        recall: number("/recall"),
        search: [number("/search/0"), number("/search/1")],
    })
}

fn table(options: &Options, n_cells: usize, columns: &[Figures]) -> String {
    let vectors = memory::text((options.frames * options.dim * 4) as u64);
    let mut lines = vec![
        format!(
            "{} vectors of {} values ({vectors}) in {n_cells} cells, nprobe 1; CPU, {} threads, libtorch {}.\n",
            options.frames,
            options.dim,
            runtime::threads(),
            runtime::libtorch_version().unwrap_or_default()
        ),
        row("", columns, |c| c.name.clone()),
        format!("|---{}|", "|---".repeat(columns.len())),
        row("build (train, add), s", columns, |c| format!("{:.1}", c.seconds)),
        row("peak memory, with the vectors", columns, |c| memory::text(c.peak)),
        row("recall@8", columns, |c| format!("{:.3}", c.recall)),
    ];
    for (i, (n, _)) in SEARCHES.into_iter().enumerate() {
        let label = format!("search, ms for a second of sound, {} s at once", n / SECOND);
        lines.push(row(&label, columns, |c| format!("{:.2}", c.search[i])));
    }
    lines.join("\n") + "\n"
}

fn row(label: &str, columns: &[Figures], cell: impl Fn(&Figures) -> String) -> String {
    let cells: Vec<String> = columns.iter().map(cell).collect();
    format!("| {label} | {} |", cells.join(" | "))
}
