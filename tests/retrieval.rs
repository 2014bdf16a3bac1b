//! The retrieval index: FAISS files, search, blending, k-means, the stage that builds it; beside faiss itself if a Python has it.

mod support;

use rvc_run::Kind;
use rvc_run::retrieval::Index;
use std::path::Path;
use support::Golden;
use tch::Tensor;

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
    let centres = support::fill(&golden.salt, "index.centre", &[9, columns], 0.5, 0.0);
    let which = Tensor::arange(rows, (tch::Kind::Int64, tch::Device::Cpu)) * 7;
    let noise = support::fill(&golden.salt, "index.noise", &[rows, columns], 0.25, 0.0);
    let mut values = floats(&(centres.index_select(0, &which.remainder(9)) + noise));
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
    std::fs::copy(source, folder.path().join("added_IVF7_Flat_nprobe_1_anna_v1.index")).unwrap();
    assert_eq!(Index::read(&trained).unwrap().len(), 300);
    let missing = Index::read(Path::new("trained.index")).err().unwrap();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert!(missing.message().contains("added.index"), "{missing}");
}
