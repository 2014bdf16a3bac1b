//! The retrieval index: FAISS files, search, blending, k-means, the stage that builds it; beside faiss itself if a Python has it.

#![allow(clippy::float_cmp, reason = "these numbers must be equal to the last bit")]

use crate::support::{self, Golden, allocations, python};
use rvc_run::Kind;
use rvc_run::audio::io;
use rvc_run::cache::Cache;
use rvc_run::config::Config;
use rvc_run::config::choices::Version;
use rvc_run::retrieval::{self, Built, Index, Options};
use rvc_run::task::{Event, Task};
use rvc_run::{Result, files, npy};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tch::{Device, Tensor};

const NEIGHBOURS: usize = 8;
const VERSIONS: [&str; 2] = ["index_v1", "index_v2"];

fn golden(case: &str) -> (Golden, Index) {
    support::one_thread();
    let index = Index::read(&support::golden_path(&format!("{case}.index"))).unwrap();
    (Golden::open(case), index)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.contiguous().flatten(0, -1)).unwrap()
}

fn integers(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor.contiguous().flatten(0, -1)).unwrap()
}

// --- Files of RVC ----------------------------------------------------------------------------------------------------

#[test]
fn an_index_of_rvc_is_read_to_the_last_value() {
    for case in VERSIONS {
        let (golden, index) = golden(case);
        let dim = index.dim();
        assert_eq!(floats(&golden.tensor("centroids")), index.centres());
        let sizes: Vec<i64> = index.cell_sizes().into_iter().map(|n| n as i64).collect();
        assert_eq!(sizes, integers(&golden.tensor("list_sizes")));
        let order = integers(&golden.tensor("order"));
        assert_eq!((index.len(), index.n_cells() as f64), (order.len(), golden.number("/input/n_ivf")));
        let rows = golden_rows(&golden, order.len(), dim);
        for (vector, &row) in index.vectors().chunks_exact(dim).zip(&order) {
            assert_eq!(vector, &rows[row as usize * dim..][..dim], "{case}: row {row}");
        }
    }
}

/// The features that the golden index was built from, by the formula in its entry.
fn golden_rows(golden: &Golden, n: usize, dim: usize) -> Vec<f32> {
    let (rows, columns) = (n as i64, dim as i64);
    let shape = golden.numbers_behind("/input/features", "'index.centre' [");
    let centres = support::fill(&golden.salt, "index.centre", &shape, 0.5, 0.0);
    let which = Tensor::arange(rows, (tch::Kind::Int64, tch::Device::Cpu)) * 7;
    let noise = support::fill(&golden.salt, "index.noise", &[rows, columns], 0.25, 0.0);
    let mut values = floats(&(centres.index_select(0, &which.remainder(shape[0])) + noise));
    for row in (50..n).step_by(100) {
        values[row * dim..][..dim].iter_mut().for_each(|x| *x += 8.0);
    }
    values
}

#[test]
fn an_index_of_rvc_is_written_again_to_the_last_byte() {
    let folder = tempfile::tempdir().unwrap();
    for case in VERSIONS {
        let (_, index) = golden(case);
        let path = folder.path().join("again.index");
        index.write(&path).unwrap();
        let source = support::golden_path(&format!("{case}.index"));
        assert!(std::fs::read(path).unwrap() == std::fs::read(source).unwrap(), "{case}");
    }
}

#[test]
fn a_search_finds_what_faiss_finds() {
    for case in VERSIONS {
        let (golden, index) = golden(case);
        let (ids, distances) = index.search(&floats(&golden.tensor("queries")), NEIGHBOURS);
        assert_eq!(ids, integers(&golden.tensor("ids")), "{case}");
        let rtol = golden.number("/tolerance/distances/rtol") as f32;
        for ((id, distance), expected) in ids.iter().zip(&distances).zip(floats(&golden.tensor("distances"))) {
            if *id < 0 {
                assert_eq!(*distance, f32::MAX, "as faiss gives it; stored as 0");
            } else {
                assert!((distance - expected).abs() <= rtol * expected, "{case}: {distance}, expected {expected}");
            }
        }
    }
}

#[test]
fn blended_and_protected_features_are_those_of_rvc() {
    for case in VERSIONS {
        let (golden, index) = golden(case);
        let (queries, columns) = (floats(&golden.tensor("queries")), index.dim() as i64);
        for run in ["full", "blend", "protect_only", "no_f0"] {
            let mut features = queries.clone();
            index.blend(&mut features, golden.number(&format!("/runs/{run}/index_rate")) as f32).unwrap();
            // Each frame twice, as conversion does; then RVC's protection of unvoiced frames.
            let twice = |x: &[f32]| Tensor::from_slice(x).view([-1, columns]).repeat_interleave_self_int(2, 0, None);
            let (mut blended, plain) = (twice(&features), twice(&queries));
            let protect = golden.number(&format!("/runs/{run}/protect"));
            if golden.entry["runs"][run]["f0"] == true && protect < 0.5 {
                let unvoiced = golden.tensor("pitchf").slice(1, 0, blended.size()[0], 1).lt(1.0).view([-1, 1]);
                let share = unvoiced.to_kind(tch::Kind::Float) * (protect - 1.0) + 1.0;
                blended = &blended * &share + plain * (1.0 - &share);
            }
            let stored = golden.tensor(&format!("phone_{run}"));
            let sixteenth = blended.slice(1, 0, columns, 16);
            support::assert_close(&format!("{case} {run}"), &sixteenth, &stored, golden.atol("phone_*"));
        }
    }
}

#[test]
fn a_frame_that_is_in_the_index_is_blended_with_itself_and_not_with_nan() {
    let (_, index) = golden("index_v1");
    let mut frame = index.vectors()[..index.dim()].to_vec();
    let (ids, distances) = index.search(&frame, NEIGHBOURS);
    assert_eq!((ids[0], distances[0]), (0, 0.0));
    for index_rate in [0.0, 0.3, 1.0] {
        index.blend(&mut frame, index_rate).unwrap();
        assert!(
            frame.iter().zip(index.vectors()).all(|(a, b)| (a - b).abs() <= f32::EPSILON * b.abs()),
            "{index_rate}"
        );
    }
}

#[test]
fn frames_without_a_neighbour_stay_as_they_are() {
    let (_, index) = golden("index_v1");
    let mut frames = vec![f32::NAN; index.dim()];
    frames.extend(vec![1e30; index.dim()]);
    let (ids, distances) = index.search(&frames, 2);
    assert_eq!((ids, distances), (vec![-1; 4], vec![f32::MAX; 4]), "no distance is a number, or none is finite");
    index.blend(&mut frames, 0.75).unwrap();
    let (nan, large) = frames.split_at(index.dim());
    assert!(nan.iter().all(|x| x.is_nan()) && large.iter().all(|x| *x == 1e30));
}

#[test]
fn a_rate_or_a_width_that_does_not_fit_is_refused() {
    let (_, index) = golden("index_v2");
    for index_rate in [-0.1, 1.1, f32::NAN] {
        assert_eq!(index.blend(&mut [], index_rate).unwrap_err().kind(), Kind::ConfigValue);
    }
    assert_eq!(index.blend(&mut [0.0; 256], 1.0).unwrap_err().kind(), Kind::ConfigMismatch);
    assert_eq!(index.search(&[], NEIGHBOURS), (vec![], vec![]));
}

#[test]
fn a_trained_path_leads_to_the_added_file() {
    let folder = tempfile::tempdir().unwrap();
    let trained = folder.path().join("trained_IVF7_Flat_nprobe_1_anna_v1.index");
    let source = support::golden_path("index_v1.index");
    let vectors = Index::read(&source).unwrap().len();
    std::fs::copy(source, folder.path().join("added_IVF7_Flat_nprobe_1_anna_v1.index")).unwrap();
    assert_eq!(Index::read(&trained).unwrap().len(), vectors);
    let missing = Index::read(Path::new("trained_IVF1.index")).err().unwrap();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert!(missing.message().contains("trained_IVF1.index"), "what was given is named: {missing}");
}

#[test]
fn a_voice_may_have_the_words_trained_and_added_in_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let source = support::golden_path("index_v1.index");
    let vectors = Index::read(&source).unwrap().len();
    for voice in ["retrained", "trained", "added", "trained_added", "untrained_2", "trained_IVF"] {
        // Folder and file both have it; names of RVC, of its links, of Applio.
        let logs = folder.path().join(voice);
        std::fs::create_dir(&logs).unwrap();
        for name in [
            format!("added_IVF7_Flat_nprobe_1_{voice}_v1.index"),
            format!("{voice}_added_IVF7_Flat_nprobe_1_{voice}_v1.index"),
            format!("added_IVF7_Flat_nprobe_1_{voice}_best_v1.index"),
            format!("{voice}.index"),
        ] {
            std::fs::copy(&source, logs.join(&name)).unwrap();
            assert_eq!(Index::read(&logs.join(&name)).unwrap().len(), vectors, "{name}");
        }
        let trained = logs.join(format!("trained_IVF7_Flat_nprobe_1_{voice}_v1.index"));
        assert_eq!(Index::read(&trained).unwrap().len(), vectors, "{voice}");
    }
}

// --- Damaged and hostile files ---------------------------------------------------------------------------------------

/// A small index: 90 vectors of three values in two cells.
fn small() -> Index {
    support::one_thread();
    Index::new(&Task::silent(), rows("small", 90, 3), 3, 1, Device::Cpu).unwrap()
}

/// `n` vectors around ten centres.
fn rows(key: &str, n: usize, dim: usize) -> Vec<f32> {
    let centres: Vec<f64> = support::uniform("", "centres", 10 * dim).collect();
    let noise = support::uniform("", key, n * dim);
    noise.enumerate().map(|(i, u)| (centres[(i / dim * 7 % 10) * dim + i % dim] + 0.3 * u) as f32).collect()
}

/// The bytes of [`small`], and where to put others.
fn small_file() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.index");
    small().write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (folder, path, bytes)
}

/// The error of reading these bytes.
fn refusal(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).unwrap();
    let error = Index::read(path).err().expect("no such file is accepted");
    assert_eq!((error.kind(), error.file()), (Kind::DataDamaged, Some(path)));
    assert!(error.hint_text().is_some());
    error.message().to_owned()
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let (_folder, path, bytes) = small_file();
    for n in 0..bytes.len() {
        let message = refusal(&path, &bytes[..n]);
        // The first bytes on their own may belong to any format.
        let named = ["cut off", "do not fit", "but a retrieval index (.index) is needed"];
        assert!(named.iter().any(|words| message.contains(words)), "{n}: {message}");
    }
    assert!(refusal(&path, &[&bytes[..], &[0]].concat()).contains("do not fit"), "a byte too many");
}

#[test]
fn a_flipped_bit_is_refused_or_read_unchanged() {
    let (_folder, path, bytes) = small_file();
    let again = path.with_extension("again");
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        // New files: file systems sync a replaced file first, 2 ms each here.
        files::remove(&path).unwrap();
        std::fs::write(&path, &altered).unwrap();
        let Ok(index) = Index::read(&path) else {
            refused += 1;
            continue;
        };
        // Other values, or numbers of FAISS's header that mean nothing: whatever is read is searched without harm.
        index.search(&[0.1, 0.2, 0.3], NEIGHBOURS);
        files::remove(&again).unwrap();
        files::unsynced(|| index.write(&again)).unwrap();
        let written = std::fs::read(&again).unwrap();
        let unused = |at: usize| (16..32).contains(&at) || (69..85).contains(&at);
        let differs = written.iter().zip(&altered).enumerate().any(|(at, (a, b))| a != b && !unused(at));
        assert!(!differs && written.len() == altered.len(), "bit {bit}");
    }
    assert!(refused > 1000, "{refused} of {} flips were refused", bytes.len() * 8);
}

#[test]
fn every_wrong_number_in_a_file_is_named_and_takes_no_memory() {
    // Where things are in the small file: 24 bytes of centres begin at 98.
    let (_folder, path, bytes) = small_file();
    let lists = 98 + 2 * 3 * 4 + 9;
    let vectors = lists + 4 + 16 + 4 + 8 + 16;
    let (nan, infinity) = (f32::NAN.to_le_bytes(), f32::INFINITY.to_le_bytes());
    let huge = &u64::MAX.to_le_bytes();
    let big = &(1u64 << 60).to_le_bytes();
    let cases: Vec<(usize, &[u8], &str)> = vec![
        (0, b"IxF2", "a flat index"),
        (0, b"IxFI", "a flat index"),
        (0, b"IwPQ", "compressed"),
        (0, b"IHNf", "HNSW"),
        (0, b"\x89PNG", "is a picture, but a retrieval index"),
        (4, &[0; 4], "of 0 values"),
        (4, &[255; 4], "of -1 values"),
        (4, &[255, 255, 255, 127], "of 2147483647 values"),
        (8, huge, "promises -1 vectors"),
        (8, big, "its cells have 90"),
        (32, &[0], "has not been trained"),
        (33, &[0; 4], "inner product"),
        (33, &[2, 0, 0, 0], "metric no. 2"),
        (37, &[0; 8], "0 cells"),
        (37, huge, "promises 18446744073709551615 centres"),
        (45, &[0; 8], "0 are searched"),
        (53, b"IxFI", "the index of the centres"),
        (90, big, "centres"),
        (98, &nan, "the centres has the value NaN"),
        (98 + 24, &[1], "direct map"),
        (lists, b"ilod", "the lists of the cells"),
        (lists + 4, big, "lists of 12"),
        (lists + 12, big, "2 lists of 1152921504606846976"),
        (lists + 20, b"none", "the layout of its lists"),
        (lists + 20, b"sprs", "sizes has cell"),
        (lists + 24, big, "sizes for 2 cells"),
        (lists + 32, huge, "more than can be counted"),
        (vectors, &infinity, "cell 0 has the value inf"),
        (bytes.len() - 8, huge, "the number -1"),
        (bytes.len() - 8, &[90, 0, 0, 0, 0, 0, 0, 0], "the number 90"),
        (bytes.len() - 8, &bytes[bytes.len() - 16..bytes.len() - 8], "a duplicate"),
    ];
    for (at, lie, expected) in cases {
        let mut altered = bytes.clone();
        altered[at..at + lie.len()].copy_from_slice(lie);
        let (message, peak) = allocations::peak_of(|| refusal(&path, &altered));
        assert!(message.contains(expected), "at {at}: {message}; expected {expected:?}");
        assert!(peak < 200_000, "at {at}: {peak} bytes");
    }
}

#[test]
fn an_index_most_of_whose_cells_are_empty_is_written_sparse_and_read_back() {
    support::one_thread();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.index");
    let index = Index::new(&Task::silent(), vec![0.5; 390 * 2], 2, 1, Device::Cpu).unwrap();
    assert_eq!(index.cell_sizes().iter().filter(|size| **size > 0).count(), 1, "equal vectors, ten cells");
    index.write(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.windows(4).any(|w| w == b"sprs"));
    let read = Index::read(&path).unwrap();
    assert_eq!((read.cell_sizes(), read.vectors()), (index.cell_sizes(), index.vectors()));
}

// --- faiss itself ----------------------------------------------------------------------------------------------------

/// What faiss finds in the index `in` for queries.npy in the folder; writes it again to `out`.
const SEARCHED: &str = "
import faiss, json, numpy, sys
folder = sys.argv[1]
index = faiss.read_index(folder + '/in.index')
distances, ids = index.search(numpy.load(folder + '/queries.npy'), 8)
faiss.write_index(index, folder + '/out.index')
cells = [index.invlists.list_size(i) for i in range(index.nlist)]
rows = index.reconstruct_n(0, index.ntotal).ravel() if index.ntotal else numpy.zeros(0, 'float32')
json.dump([ids.ravel().tolist(), distances.astype(float).ravel().tolist(), rows.astype(float).tolist(), cells, index.nprobe], sys.stdout)
";

/// Compares everything that faiss and we find in the same file, and the file as each writes it again.
fn check_against_faiss(python: &PathBuf, index: &Index, path: &Path, dim: usize) {
    let folder = path.parent().unwrap();
    let queries = rows("queries", 50, dim);
    npy::write_f32_2d(&folder.join("queries.npy"), &queries, dim).unwrap();
    let answer = python::run(python, SEARCHED, &[folder]);
    let (ids, distances, vectors, cells, nprobe): (Vec<i64>, Vec<f32>, Vec<f32>, Vec<usize>, usize) =
        serde_json::from_str(&answer).unwrap();
    let (our_ids, our_distances) = index.search(&queries, NEIGHBOURS);
    assert_eq!(our_ids, ids, "nprobe {nprobe}");
    for (ours, theirs) in our_distances.iter().zip(&distances) {
        assert!((ours - theirs).abs() <= 1e-5 * theirs, "{ours} against {theirs}");
    }
    assert_eq!((index.vectors(), index.cell_sizes()), (&vectors[..], cells));
    let ours = folder.join("ours.index");
    index.write(&ours).unwrap();
    let [theirs, ours, source] =
        ["out.index", "ours.index", "in.index"].map(|name| std::fs::read(folder.join(name)).unwrap());
    assert!(theirs == ours && ours == source, "the same bytes, whichever program writes it");
}

#[test]
fn faiss_finds_in_our_index_what_we_find_and_writes_the_same_bytes() {
    let Some(python) = python::with_faiss() else { return };
    support::one_thread();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.index");
    for (n, dim) in [(1, 4), (300, 768), (3000, 24)] {
        let index = Index::new(&Task::silent(), rows("ours", n, dim), dim, 1, Device::Cpu).unwrap();
        index.write(&path).unwrap();
        check_against_faiss(&python, &index, &path, dim);
    }
    let index = Index::new(&Task::silent(), vec![0.5; 390 * 2], 2, 1, Device::Cpu).unwrap();
    index.write(&path).unwrap();
    check_against_faiss(&python, &Index::read(&path).unwrap(), &path, 2);
}

#[test]
fn we_find_in_an_index_of_faiss_what_it_finds_and_write_the_same_bytes() {
    const BUILT: &str = "
import faiss, numpy, sys
folder, name = sys.argv[1:]
rows = numpy.load(folder + '/rows.npy')
index = faiss.index_factory(rows.shape[1], 'IVF12,Flat')
index.train(rows)
if 'nprobe' in name: index.nprobe = 3
if 'empty' not in name: index.add(rows[:40] if 'few' in name else rows)
faiss.write_index(index, folder + '/in.index')
";
    let Some(python) = python::with_faiss() else { return };
    support::one_thread();
    let folder = tempfile::tempdir().unwrap();
    npy::write_f32_2d(&folder.path().join("rows.npy"), &rows("theirs", 1000, 32), 32).unwrap();
    for name in ["all", "few", "nprobe 3", "empty"] {
        python::run(&python, BUILT, &[folder.path(), Path::new(name)]);
        let path = folder.path().join("in.index");
        check_against_faiss(&python, &Index::read(&path).unwrap(), &path, 32);
    }
}

#[test]
fn our_cells_are_as_tight_as_those_of_faiss() {
    const SPREAD: &str = "
import faiss, numpy, sys
rows = numpy.load(sys.argv[1])
index = faiss.index_factory(rows.shape[1], 'IVF153,Flat')
index.train(rows)
print(index.quantizer.search(rows, 1)[0].sum(dtype='float64'))
";
    let Some(python) = python::with_faiss() else { return };
    support::one_thread();
    let folder = tempfile::tempdir().unwrap();
    let (vectors, dim) = (rows("tight", 6000, 16), 16);
    let path = folder.path().join("rows.npy");
    npy::write_f32_2d(&path, &vectors, dim).unwrap();
    let theirs: f64 = python::run(&python, SPREAD, &[&path]).trim().parse().unwrap();
    let index = Index::new(&Task::silent(), vectors, dim, 1, Device::Cpu).unwrap();
    assert_eq!(index.n_cells(), 153);
    let all = Tensor::from_slice(index.vectors()).view([-1, dim as i64]);
    let centres = Tensor::from_slice(index.centres()).view([-1, dim as i64]);
    let nearest = Tensor::cdist(&all, &centres, 2.0, None).square().amin(1, false);
    let ours = nearest.sum(tch::Kind::Double).double_value(&[]);
    println!("squared distances to the centres: {ours} against {theirs}");
    assert!(ours < 1.02 * theirs, "{ours} against {theirs}");
}

// --- Building --------------------------------------------------------------------------------------------------------

#[test]
fn the_same_seed_builds_the_same_index_and_another_seed_another() {
    support::one_thread();
    let built = |seed| Index::new(&Task::silent(), rows("seeds", 2000, 16), 16, seed, Device::Cpu).unwrap();
    let (one, again, other) = (built(1), built(1), built(2));
    assert!(one.centres() == again.centres() && one.cell_sizes() == again.cell_sizes());
    assert!(one.centres() != other.centres());
    assert_eq!((one.n_cells(), one.len()), (51, 2000));
}

#[test]
fn every_vector_is_in_the_cell_of_its_nearest_centre_and_centres_are_means() {
    support::one_thread();
    let (n, dim) = (1000, 8);
    let index = Index::new(&Task::silent(), rows("cells", n, dim), dim, 1, Device::Cpu).unwrap();
    let all = Tensor::from_slice(index.vectors()).view([n as i64, dim as i64]);
    let centres = Tensor::from_slice(index.centres()).view([-1, dim as i64]);
    let nearest = integers(&Tensor::cdist(&all, &centres, 2.0, None).argmin(1, false));
    let sizes: Vec<i64> = index.cell_sizes().into_iter().map(|n| n as i64).collect();
    assert_eq!(integers(&Tensor::from_slice(&nearest).bincount::<Tensor>(None, sizes.len() as i64)), sizes);
    // Ten iterations do not end in a fixed point, but near it.
    let spread = |centres: &Tensor| {
        let own = centres.index_select(0, &Tensor::from_slice(&nearest));
        (&all - own).square().sum(tch::Kind::Double).double_value(&[])
    };
    let mut means = Tensor::zeros_like(&centres).index_add(0, &Tensor::from_slice(&nearest), &all);
    means /= Tensor::from_slice(&sizes).view([-1, 1]);
    let (now, best) = (spread(&centres), spread(&means));
    assert!(now < 1.01 * best, "{now} against {best}");
}

#[test]
fn recall_is_the_share_of_the_exact_neighbours_that_a_search_finds() {
    support::one_thread();
    let (n, dim) = (900, 8);
    let index = Index::new(&Task::silent(), rows("recall", n, dim), dim, 1, Device::Cpu).unwrap();
    let all = Tensor::from_slice(index.vectors()).view([n as i64, dim as i64]);
    let (_, exact) = Tensor::cdist(&all, &all, 2.0, 0).topk(9, 1, false, true);
    let (found, _) = index.search(index.vectors(), 9);
    let mut hits = 0;
    for (own, (exact, found)) in integers(&exact).chunks(9).zip(found.chunks(9)).enumerate() {
        hits += exact.iter().filter(|id| **id != own as i64 && found.contains(id)).count();
    }
    let recall = index.recall(&Task::silent(), 1, Device::Cpu).unwrap();
    assert!((recall - hits as f64 / (8 * n) as f64).abs() < 1e-9, "{recall}");
    assert!((0.5..1.0).contains(&recall), "{recall}");
}

#[test]
fn an_index_of_one_vector_has_one_cell_and_full_recall() {
    support::one_thread();
    let index = Index::new(&Task::silent(), vec![1.0, 2.0], 2, 1, Device::Cpu).unwrap();
    assert_eq!((index.n_cells(), index.recall(&Task::silent(), 1, Device::Cpu).unwrap()), (1, 1.0));
    let mut frame = [0.0, 0.0];
    index.blend(&mut frame, 0.5).unwrap();
    assert_eq!(frame, [0.5, 1.0]);
}

#[test]
fn vectors_that_make_no_index_are_refused() {
    let refused =
        |vectors: Vec<f32>, dim| Index::new(&Task::silent(), vectors, dim, 1, Device::Cpu).err().unwrap().kind();
    assert_eq!(refused(vec![], 4), Kind::DataEmpty);
    assert_eq!(refused(vec![1.0; 5], 4), Kind::ConfigMismatch);
    assert_eq!(refused(vec![1.0; 5], 0), Kind::ConfigMismatch);
    assert_eq!(refused(vec![f32::NAN; 4], 4), Kind::NotFinite);
}

// --- The stage -------------------------------------------------------------------------------------------------------

/// A workspace with the features of a voice "anna", version 1.
struct Room {
    folder: tempfile::TempDir,
    cache: Cache,
    task: Task,
    reported: Arc<Mutex<Vec<String>>>,
    config: Config,
}

impl Room {
    /// Clips of 60 frames.
    fn new(clips: usize) -> Self {
        support::one_thread();
        let folder = tempfile::tempdir().unwrap();
        let reported = Arc::new(Mutex::new(Vec::new()));
        let ear = reported.clone();
        let task = Task::new(2, move |event| {
            if let Event::Warning(text) | Event::Begin { stage: text, .. } = event {
                ear.lock().unwrap().push(text.clone());
            }
        });
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let config = Config { version: Version::V1, ..Config::default() };
        let room = Self { folder, cache, task, reported, config };
        (0..clips).for_each(|clip| room.clip(&format!("0_{clip}"), &rows(&format!("clip {clip}"), 60, 256)));
        room
    }

    fn logs(&self) -> PathBuf {
        self.folder.path().join("logs/anna")
    }

    fn clip(&self, name: &str, values: &[f32]) {
        npy::write_f32_2d(&self.logs().join(format!("3_feature256/{name}.npy")), values, 256).unwrap();
    }

    fn build(&self, options: &Options) -> Result<Built> {
        retrieval::build(&self.task, &self.cache, &self.logs(), "anna", &self.config, options)
    }

    /// The names in logs/anna that end in "index".
    fn indices(&self) -> Vec<String> {
        let paths = files::list(&self.logs()).unwrap().into_iter();
        paths.filter_map(|p| p.file_name()?.to_str().map(str::to_owned)).filter(|n| n.ends_with("index")).collect()
    }

    fn reported(&self) -> Vec<String> {
        std::mem::take(&mut self.reported.lock().unwrap())
    }
}

#[test]
fn a_prepared_voice_gets_its_index_under_rvcs_names() {
    let room = Room::new(3);
    let built = room.build(&Options::default()).unwrap();
    assert_eq!((built.n, built.frames, built.n_ivf, built.cached), (180, 180, 4, false));
    let names = ["added_IVF4_Flat_nprobe_1_anna_v1.index", "trained_IVF4_Flat_nprobe_1_anna_v1.index"];
    assert_eq!(room.indices(), names);
    assert_eq!(built.path, room.logs().join(names[0]));
    let index = Index::read(&room.logs().join(names[1])).unwrap();
    let expected: Vec<f32> = (0..3).flat_map(|clip| rows(&format!("clip {clip}"), 60, 256)).collect();
    assert_eq!(index.vectors(), expected, "rows are the frames of the clips in order of their names");
    assert!(built.recall > 0.1 && built.recall <= 1.0 && built.seconds > 0.0, "{built:?}");
}

#[test]
fn an_index_is_built_again_only_when_features_or_settings_change() {
    let mut room = Room::new(2);
    let cached = |room: &Room, options: &Options| {
        room.reported();
        let built = room.build(options).unwrap();
        assert_eq!(built.cached, !room.reported().contains(&"index".to_owned()));
        built.cached
    };
    let usual = Options::default();
    assert_eq!([cached(&room, &usual), cached(&room, &usual)], [false, true]);
    room.config.epochs = 7;
    std::fs::rename(room.logs().join("3_feature256/0_0.npy"), room.logs().join("3_feature256/0_00.npy")).unwrap();
    assert!(cached(&room, &usual), "names and training settings decide nothing");
    room.clip("0_1", &rows("another", 60, 256));
    assert!(!cached(&room, &usual), "another clip");
    room.config.seed = 5;
    assert!(!cached(&room, &usual), "another seed");
    room.config.seed = 1234;
    assert!(cached(&room, &usual), "what was built before is still there");
    assert!(!cached(&room, &Options { max_frames: 100, reduced_frames: 50, ..usual }), "reduced");
}

#[test]
fn our_older_index_is_replaced_and_a_foreign_one_stays() {
    let room = Room::new(2);
    room.build(&Options::default()).unwrap();
    let foreign = room.logs().join("added_IVF9_Flat_nprobe_1_anna_v1.index");
    std::fs::write(&foreign, "of RVC").unwrap();
    room.clip("0_2", &rows("more", 60, 256));
    room.build(&Options::default()).unwrap();
    let now = ["added_IVF4_Flat_nprobe_1_anna_v1.index", "added_IVF9_Flat_nprobe_1_anna_v1.index"];
    assert_eq!(room.indices(), [&now[..], &["trained_IVF4_Flat_nprobe_1_anna_v1.index"]].concat());

    // Under a name that we need.
    let ours = room.logs().join(now[0]);
    files::write(&ours, "of RVC").unwrap();
    room.reported();
    room.build(&Options::default()).unwrap();
    assert_eq!(Index::read(&ours).unwrap().len(), 180);
    assert_eq!(std::fs::read(room.logs().join("replaced_1").join(now[0])).unwrap(), b"of RVC");
    assert!(room.reported().iter().any(|text| text.contains("not made by rvc-run")));

    room.build(&Options { name: "applio".into(), ..Options::default() }).unwrap();
    assert_eq!(room.indices(), ["added_IVF9_Flat_nprobe_1_anna_v1.index", "anna.index"], "and back to Applio's name");
}

/// Whether RVC WebUI of July 2026 takes an index for the one of a model, only by their names.
fn pairs_in_webui(model: &str, index: &str) -> bool {
    let (model, index) = (model.to_lowercase(), index.trim_end_matches(".index").to_lowercase());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let voice = model
        .rsplit_once("_s")
        .filter(|(_, step)| digits(step))
        .and_then(|(rest, _)| rest.rsplit_once("_e"))
        .filter(|(_, epoch)| digits(epoch))
        .map_or(model.as_str(), |(voice, _)| voice);
    let standard = index.starts_with(&format!("{voice}_added_"))
        || ["v1", "v2"].iter().any(|version| index.contains(&format!("_{voice}_{version}")));
    !index.contains("trained") && (standard || index.contains(&model))
}

#[test]
fn webui_finds_the_index_of_every_model_of_a_voice_also_after_it_was_built_again() {
    let room = Room::new(2);
    let built = room.build(&Options::default()).unwrap();
    let first = built.path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(pairs_in_webui("anna", &first) && pairs_in_webui("anna_e200_s1600", &first));
    let models = ["anna_best", "anna_ema", "anna_e200"];
    for model in models {
        assert!(!pairs_in_webui(model, &first), "{model} needs no name of its own");
        let second = retrieval::pair(&built.path, "anna", model).unwrap().unwrap();
        assert!(pairs_in_webui(model, second.file_name().unwrap().to_str().unwrap()));
        assert_eq!(Index::read(&second).unwrap().len(), 120);
    }
    // The same again changes nothing; another clip takes the names along.
    room.build(&Options::default()).unwrap();
    assert_eq!(room.indices().len(), 5);
    room.clip("0_2", &rows("more", 60, 256));
    let built = room.build(&Options::default()).unwrap();
    let names = room.indices();
    assert_eq!(names.len(), 5, "{names:?}");
    for model in models {
        let found: Vec<_> = names.iter().filter(|name| pairs_in_webui(model, name)).collect();
        assert_eq!(found.len(), 1, "{model}: {names:?}");
        assert_eq!(Index::read(&room.logs().join(found[0])).unwrap().len(), 180);
    }
    assert!(!room.reported().iter().any(|text| text.contains("not made by")), "they are ours");
    assert_eq!(retrieval::pair(&built.path, "anna", "ben_best").unwrap_err().kind(), Kind::ConfigValue);
    assert_eq!(retrieval::pair(&room.logs().join("anna.index"), "anna", "anna_best").unwrap(), None);
}

#[test]
fn more_frames_than_allowed_are_reduced_to_centres_of_them() {
    let room = Room::new(8);
    let options = Options { max_frames: 400, reduced_frames: 100, ..Options::default() };
    let built = room.build(&options).unwrap();
    assert_eq!((built.frames, built.n, built.n_ivf), (480, 100, 2));
    let index = Index::read(&built.path).unwrap();
    let first = index.vectors().to_vec();
    // A hundred centres of 480 frames around ten points: nearer to the frames than one frame is to another of its point.
    let all: Vec<f32> = (0..8).flat_map(|clip| rows(&format!("clip {clip}"), 60, 256)).collect();
    let (_, distances) = index.search(&all, 1);
    let found: Vec<f32> = distances.into_iter().filter(|d| *d < f32::MAX).collect();
    let mean = found.iter().sum::<f32>() / found.len() as f32;
    let between = 2.0 * 256.0 * 0.3 * 0.3 / 3.0;
    assert!(mean < between, "{mean} against {between}");
    let again = Room::new(8);
    assert!(
        Index::read(&again.build(&options).unwrap().path).unwrap().vectors() == first,
        "the same seed, the same centres"
    );
}

#[test]
fn silence_is_left_out_on_request() {
    let room = Room::new(1);
    // 60 frames: 20 of sound, 20 of silence, 20 that the clip has no samples for.
    let tone = |n: usize| if n < 20 * 320 { 0.3 * (n as f32 * 0.1).sin() } else { 0.001 };
    let samples: Vec<f32> = (0..40 * 320).map(tone).collect();
    io::write_wav(&room.logs().join("1_16k_wavs/0_0.wav"), &samples, 16000).unwrap();
    let spoken = room.build(&Options { leave_out_silence: true, ..Options::default() }).unwrap();
    assert_eq!(spoken.n, 20);
    assert_eq!(Index::read(&spoken.path).unwrap().vectors(), &rows("clip 0", 60, 256)[..20 * 256]);
    assert_eq!(room.build(&Options::default()).unwrap().n, 60);
    io::write_wav(&room.logs().join("1_16k_wavs/0_0.wav"), &vec![0.0; 16000], 16000).unwrap();
    let error = room.build(&Options { leave_out_silence: true, ..Options::default() }).unwrap_err();
    assert_eq!(error.kind(), Kind::DataEmpty);
}

#[test]
fn features_that_make_no_index_are_named() {
    let room = Room::new(0);
    let kind = |room: &Room| {
        let error = room.build(&Options::default()).unwrap_err();
        (error.kind(), error.file().map(Path::to_owned))
    };
    assert_eq!(kind(&room).0, Kind::NotFound, "not prepared");
    files::create_folder(&room.logs().join("3_feature256")).unwrap();
    assert_eq!(kind(&room).0, Kind::DataEmpty);
    let path = room.logs().join("3_feature256/bad.npy");
    npy::write_f32_2d(&path, &[0.0; 768], 768).unwrap();
    assert_eq!(kind(&room), (Kind::DataDamaged, Some(path.clone())), "of version 2");
    npy::write_f32_2d(&path, &[f32::NAN; 256], 256).unwrap();
    assert_eq!(kind(&room), (Kind::DataDamaged, Some(path.clone())));
    std::fs::write(&path, "no NumPy").unwrap();
    assert_eq!(kind(&room), (Kind::DataDamaged, Some(path)));
    assert_eq!(
        room.build(&Options { name: "rcv".into(), ..Options::default() }).unwrap_err().kind(),
        Kind::ConfigValue
    );
    let none = Options { reduced_frames: 0, ..Options::default() };
    assert_eq!(room.build(&none).unwrap_err().kind(), Kind::ConfigValue);
}

#[test]
fn a_cancelled_build_leaves_nothing_behind() {
    let room = Room::new(2);
    let flag: Arc<std::sync::OnceLock<_>> = Arc::default();
    let switch = flag.clone();
    let task = Task::new(1, move |event| {
        if let (Event::Progress { stage, .. }, Some(flag)) = (event, switch.get()) {
            Arc::<std::sync::atomic::AtomicBool>::clone(flag).store(stage == "index", Ordering::Relaxed);
        }
    });
    flag.set(task.cancel_flag()).unwrap();
    let options = Options::default();
    let error = retrieval::build(&task, &room.cache, &room.logs(), "anna", &room.config, &options).unwrap_err();
    assert_eq!((error.kind(), room.indices()), (Kind::Cancelled, Vec::new()));
    assert!(!room.build(&options).unwrap().cached);
}

#[test]
fn options_with_a_wrong_name_are_refused_with_the_right_one() {
    let options = |given: serde_json::Value| Options::from_json(given.as_object().unwrap());
    let error = options(serde_json::json!({ "leave_out_silense": true })).unwrap_err();
    assert_eq!(
        (error.kind(), error.hint_text()),
        (Kind::ConfigUnknownKey, Some("did you mean \"leave_out_silence\"?"))
    );
    assert_eq!(options(serde_json::json!({ "max_frames": "many" })).unwrap_err().kind(), Kind::ConfigValue);
    assert_eq!(options(serde_json::json!({})).unwrap(), Options::default());
}
