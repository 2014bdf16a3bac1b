//! Runs clips through a network in groups of similar length: read ahead on one thread, computed on the caller's, stored by the pool.
//!
//! ```text
//! reader ──groups──> network (this thread) ──clip by clip──> workers: done(clip, feature)
//! ```
//!
//! At most two groups and their results are in memory at a time, whatever the number of clips.

use crate::nn::{allocator, pace::Pace};
use crate::task::Task;
use crate::{Error, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Calls `done` with each clip's feature, in the order of the clips.
///
/// `size` is a clip's length in samples, known without reading it; clips are grouped by it, longest first, so that a batch that
/// does not fit in memory fails at once. A group holds as many clips as fit in `most` samples when all are padded to the
/// longest, and at least one. `load` reads a clip; `forward` computes a group. If either fails for a clip, `done` gets the error
/// and decides whether it ends the stage.
///
/// Errors: `cancelled`; the error of `forward` for a whole group; the first error of `done`.
#[allow(clippy::too_many_arguments)] // one closure for each step in the diagram
pub(super) fn in_batches<C: Sync, F: Send, R: Send>(
    task: &Task,
    stage: &str,
    clips: &[C],
    size: impl Fn(&C) -> usize,
    most: usize,
    load: impl Fn(&C) -> Result<Vec<f32>> + Sync,
    forward: impl Fn(&[Vec<f32>]) -> Result<Vec<Result<F>>>,
    done: impl Fn(&C, Result<F>) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let sizes: Vec<usize> = clips.iter().map(size).collect();
    let groups = groups(&sizes, most);
    let mut progress = task.stage(stage, clips.len() as u64);
    let _in_stage = progress.enter();
    let span = tracing::Span::current();
    let stop = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Result<R>>>> = Mutex::new(clips.iter().map(|_| None).collect());
    let computed = crossbeam::scope(|scope| {
        let (send_group, groups_in) = crossbeam::channel::bounded::<Vec<(usize, Result<Vec<f32>>)>>(1);
        let (send_clip, clips_in) = crossbeam::channel::bounded::<(usize, Result<F>)>(task.threads() * 2);
        let (load, done, stop, results, groups, span) = (&load, &done, &stop, &results, &groups, &span);
        scope.spawn(move |_| {
            let _in_stage = span.enter();
            for group in groups {
                let loaded = group.iter().map(|&i| (i, load(&clips[i]))).collect();
                if stop.load(Ordering::Relaxed) || send_group.send(loaded).is_err() {
                    break;
                }
            }
        });
        for _ in 0..task.threads() {
            let clips_in = clips_in.clone();
            scope.spawn(move |_| {
                let _in_stage = span.enter();
                for (i, feature) in clips_in {
                    let result = done(&clips[i], feature);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[i] = Some(result);
                }
            });
        }
        drop(clips_in);
        let mut pace = Pace::new();
        let outcome = (|| -> Result<()> {
            for group in &groups_in {
                task.check()?;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let n = group.len() as u64;
                let samples: usize = group.iter().flat_map(|(_, clip)| clip).map(Vec::len).sum();
                let began = Instant::now();
                let computed = compute(group, &forward)?;
                if let Some(changed) = pace.after(samples as f64, began.elapsed()) {
                    task.info(changed);
                }
                for (i, feature) in computed {
                    // The workers live as long as this sender.
                    let _ = send_clip.send((i, feature));
                }
                allocator::give_back();
                progress.advance(n, "");
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        drop(groups_in);
        outcome
    })
    .expect("reader and workers return their errors");
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut values = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) => return Err(error),
            // Never processed: the reason is another clip's error, or the network's.
            None => {}
        }
    }
    computed?;
    if values.len() == clips.len() { Ok(values) } else { Err(Error::cancelled()) }
}

/// The features of a group, and the errors of the clips that could not be read.
fn compute<F>(
    group: Vec<(usize, Result<Vec<f32>>)>,
    forward: impl Fn(&[Vec<f32>]) -> Result<Vec<Result<F>>>,
) -> Result<Vec<(usize, Result<F>)>> {
    let (mut places, mut samples, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for (i, loaded) in group {
        match loaded {
            Ok(clip) => {
                places.push(i);
                samples.push(clip);
            }
            Err(error) => out.push((i, Err(error))),
        }
    }
    if !samples.is_empty() {
        out.extend(places.into_iter().zip(forward(&samples)?));
    }
    Ok(out)
}

/// Indices in groups: longest first, `most` samples each when padded to the group's longest.
fn groups(sizes: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(sizes[i]), i));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match groups.last_mut() {
            Some(group) if (group.len() + 1) * sizes[group[0]] <= most => group.push(i),
            _ => groups.push(vec![i]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn groups_hold_similar_lengths_and_no_more_than_fits() {
        assert_eq!(groups(&[10, 30, 29, 5, 100], 60), [vec![4], vec![1, 2], vec![0, 3]]);
        assert!(groups(&[], 60).is_empty());
    }

    fn doubled(clips: &[f32], most: usize) -> Result<Vec<f32>> {
        let forward = |group: &[Vec<f32>]| Ok(group.iter().map(|clip| Ok(clip[0] * 2.0)).collect());
        let load = |x: &f32| if *x < 0.0 { Err(Error::new(Kind::Read, "negative")) } else { Ok(vec![*x]) };
        in_batches(&Task::new(3, |_| {}), "doubling", clips, |_| 1, most, load, forward, |_, y| y)
    }

    #[test]
    fn results_come_in_the_order_of_the_clips_whatever_the_groups() {
        let clips: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let expected: Vec<f32> = clips.iter().map(|x| x * 2.0).collect();
        for most in [1, 7, 1000] {
            assert_eq!(doubled(&clips, most).unwrap(), expected);
        }
        assert!(doubled(&[], 7).unwrap().is_empty());
    }

    #[test]
    fn the_error_of_a_clip_ends_the_stage_if_done_returns_it() {
        assert_eq!(doubled(&[1.0, -1.0, 2.0], 1).unwrap_err().kind(), Kind::Read);
    }

    #[test]
    fn a_failing_network_and_a_cancelled_task_end_the_stage() {
        let clips = [1.0f32; 20];
        let failing = |_: &[Vec<f32>]| Err::<Vec<Result<f32>>, _>(Error::new(Kind::DeviceMemory, "full"));
        let run = |task: &Task| in_batches(task, "s", &clips, |_| 1, 2, |x| Ok(vec![*x]), failing, |_, y| y);
        assert_eq!(run(&Task::new(2, |_| {})).unwrap_err().kind(), Kind::DeviceMemory);
        let task = Task::new(2, |_| {});
        task.cancel_flag().store(true, Ordering::Relaxed);
        assert_eq!(run(&task).unwrap_err().kind(), Kind::Cancelled);
    }
}
