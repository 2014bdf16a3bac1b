//! Shared by the pitch networks: checks clips, cuts long ones into pieces, and puts pieces of similar length into batches.
//!
//! A clip of up to [`PIECE`] frames (41 s; training clips have at most 30 s) passes through a network in one pass. A longer one is cut,
//! so that memory stays bounded, and each piece includes [`CONTEXT`] frames (2.6 s) of its neighbours that are not kept:
//!
//! ```text
//! piece 0   |==================-----|
//! piece 1             |-----==============-----|
//! piece 2                           |-----==========|
//! ```
//!
//! Effect of a cut, measured on 60 s (6001 frames): FCPE with its own weights 0.03 cents in 99 % of the frames, 0.11 at
//! most. RMVPE with weights by the fill rule 0.04 cents in 99 %; in 6 frames two pitches far apart were equally salient and
//! the other was chosen.

use super::HOP_LENGTH;
use crate::features::{Setup, finite};
use crate::torchfile::{self, TorchFile};
use crate::{Error, Kind, Result, files};
use std::collections::BTreeMap;
use std::ops::Range;
use tch::{Device, Tensor};

/// Frames per pass. A multiple of 32, like CONTEXT: RMVPE's pooling then sees the same groups of frames.
const PIECE: usize = 4096;
/// Frames at an inner end of a piece that only serve as context. More cost time; fewer make the cut audible.
const CONTEXT: usize = 256;

/// A network that tracks pitch.
pub(super) trait Tracker: Send {
    /// Name, version, weights and number format, for cache keys.
    fn digest(&self) -> String;

    /// Replaces the method's own confidence threshold for voicing.
    fn set_threshold(&mut self, threshold: f32);

    /// Frames that a clip takes in a batch.
    fn cost(&self, n_samples: usize) -> usize;

    /// Most frames per call of [`Tracker::track`], unless a single clip has more.
    fn most(&self) -> usize;

    /// The f0 of clips without NaN or infinity, of any lengths. An error concerns all of them.
    fn track(&self, clips: &[&[f32]]) -> Result<Vec<Vec<f64>>>;
}

/// What one pitch network is, beside its model.
pub(super) struct Facts {
    pub asset: &'static str,
    /// Name and number of the computation, for cache keys.
    pub version: &'static str,
    /// Voicing threshold of its own confidence.
    pub threshold: f32,
    /// Frames per batch on the CPU and on a GPU.
    pub most_on_cpu: usize,
    pub most_on_gpu: usize,
}

/// The model of a pitch network.
pub(super) trait Model: Send {
    /// As [`Tracker::cost`].
    fn cost(n_samples: usize) -> usize;

    /// As [`Tracker::track`], with at most `most` frames at a time.
    fn track(&self, clips: &[&[f32]], threshold: f32, most: usize) -> Result<Vec<Vec<f64>>>;
}

/// A pitch network with its weights.
pub(super) struct Network<M> {
    model: M,
    digest: String,
    threshold: f32,
    most: usize,
}

impl<M: Model> Network<M> {
    /// Opens the network's file, from which `load` builds the model.
    ///
    /// Errors: `asset.missing`, `checkpoint.mismatch`, `checkpoint.damaged`, `device.memory`.
    pub fn open(
        setup: &Setup,
        facts: &Facts,
        load: impl FnOnce(&TorchFile, tch::Kind, Device) -> Result<M>,
    ) -> Result<Self> {
        let path = setup.store.locate(facts.asset)?;
        let model = load(&torchfile::read(&path)?, setup.kind, setup.device)?;
        let digest = format!("{} {} {}", facts.version, files::digest_file(&path)?, setup.precision());
        let most = if setup.device.is_cuda() { facts.most_on_gpu } else { facts.most_on_cpu };
        Ok(Self { model, digest, threshold: facts.threshold, most })
    }
}

impl<M: Model> Tracker for Network<M> {
    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn set_threshold(&mut self, threshold: f32) {
        self.threshold = threshold;
    }

    fn cost(&self, n_samples: usize) -> usize {
        M::cost(n_samples)
    }

    fn most(&self) -> usize {
        self.most
    }

    fn track(&self, clips: &[&[f32]]) -> Result<Vec<Vec<f64>>> {
        self.model.track(clips, self.threshold, self.most)
    }
}

/// The f0 of a group of clips, or the error of each clip that has one.
pub(super) fn forward(tracker: &dyn Tracker, clips: &[Vec<f32>]) -> Result<Vec<Result<Vec<f64>>>> {
    let faults: Vec<Option<Error>> = clips.iter().map(|clip| finite(clip).err()).collect();
    let sound: Vec<&[f32]> =
        clips.iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(clip, _)| clip.as_slice()).collect();
    let mut found = if sound.is_empty() { Vec::new() } else { tracker.track(&sound)? }.into_iter();
    let lost = || Error::new(Kind::Internal, "a pitch network returned too few clips");
    Ok(faults
        .into_iter()
        .map(|fault| match fault {
            Some(error) => Err(error),
            None => found.next().ok_or_else(lost),
        })
        .collect())
}

/// Frames of a clip.
pub(super) fn frames(n_samples: usize) -> usize {
    n_samples / HOP_LENGTH + 1
}

/// The f0 of clips of any length by `track`, which gets pieces with the same `shape` (of their number of frames), at most
/// `most` frames at a time, each of `shortest` samples or more. A shorter clip is unvoiced.
pub(super) fn in_pieces(
    clips: &[&[f32]],
    shortest: usize,
    most: usize,
    shape: impl Fn(usize) -> usize,
    track: impl Fn(&[&[f32]]) -> Result<Vec<Vec<f64>>>,
) -> Result<Vec<Vec<f64>>> {
    let mut f0: Vec<Vec<f64>> = clips.iter().map(|clip| vec![0.0; frames(clip.len())]).collect();
    let mut alike: BTreeMap<usize, Vec<(usize, Piece)>> = BTreeMap::new();
    for (i, clip) in clips.iter().enumerate().filter(|(_, clip)| clip.len() >= shortest) {
        for piece in pieces(clip.len()) {
            alike.entry(shape(frames(piece.samples.len()))).or_default().push((i, piece));
        }
    }
    for (shape, pieces) in alike {
        for batch in pieces.chunks((most / shape.max(1)).max(1)) {
            let waves: Vec<&[f32]> = batch.iter().map(|(i, piece)| &clips[*i][piece.samples.clone()]).collect();
            for ((i, piece), found) in batch.iter().zip(track(&waves)?) {
                let from = piece.start + piece.keep.start;
                f0[*i][from..from + piece.keep.len()].copy_from_slice(&found[piece.keep.clone()]);
            }
        }
    }
    Ok(f0)
}

/// The values of each clip's own frames in a batch.
///
/// Shapes: batch float32 [clips, frames, width], lengths [clips] -> clips times [length * width]
pub(super) fn rows(batch: &Tensor, lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = Vec<f32>> {
    let batch = batch.to_device(Device::Cpu);
    lengths.enumerate().map(move |(i, length)| {
        let own = batch.get(i as i64).narrow(0, 0, length as i64).contiguous();
        let mut values = vec![0.0; own.numel()];
        own.copy_data(&mut values, own.numel());
        values
    })
}

/// A part of a clip that passes through the network at once.
#[derive(Debug, PartialEq)]
struct Piece {
    /// The first frame, counted in the clip.
    start: usize,
    samples: Range<usize>,
    /// The frames that are kept.
    keep: Range<usize>,
}

fn pieces(n_samples: usize) -> Vec<Piece> {
    let n = frames(n_samples);
    let mut pieces = Vec::new();
    let mut start = 0;
    loop {
        let last = start + PIECE >= n;
        let keep_from = if start == 0 { 0 } else { CONTEXT };
        let keep_to = if last { n - start } else { PIECE - CONTEXT };
        // PIECE hops minus one sample give PIECE frames.
        let end = if last { n_samples } else { (start + PIECE) * HOP_LENGTH - 1 };
        pieces.push(Piece { start, samples: start * HOP_LENGTH..end, keep: keep_from..keep_to });
        if last {
            return pieces;
        }
        start += PIECE - 2 * CONTEXT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_of_up_to_one_piece_is_not_cut() {
        for n in [0, 1, 59200, 480_000, PIECE * HOP_LENGTH - 1] {
            assert_eq!(pieces(n), [Piece { start: 0, samples: 0..n, keep: 0..frames(n) }]);
        }
    }

    #[test]
    fn each_frame_is_kept_exactly_once() {
        for n in [PIECE * HOP_LENGTH, PIECE * HOP_LENGTH + 1, 1_000_000, 1_146_879, 1_146_880, 20_000_000] {
            let mut next = 0;
            for piece in pieces(n) {
                let len = frames(piece.samples.len());
                assert!(len <= PIECE && piece.keep.end <= len && piece.keep.start < piece.keep.end, "{piece:?} of {n}");
                assert_eq!(piece.start + piece.keep.start, next);
                assert_eq!(piece.start % 32, 0);
                next = piece.start + piece.keep.end;
            }
            assert_eq!(next, frames(n));
        }
    }

    #[test]
    fn pieces_are_joined_in_order() {
        // The "network" returns each frame's first sample, which is its number.
        let wave = |n: usize| (0..n).map(|i| (i / HOP_LENGTH) as f32).collect::<Vec<f32>>();
        let clips = [wave(2_000_000), wave(159), wave(1_200_000), wave(480_000)];
        let track = |waves: &[&[f32]]| {
            assert!(waves.len() * PIECE <= 2 * PIECE || waves[0].len() < PIECE * HOP_LENGTH / 2);
            let one = |wave: &&[f32]| {
                (0..frames(wave.len())).map(|k| f64::from(wave[(k * HOP_LENGTH).min(wave.len() - 1)])).collect()
            };
            Ok(waves.iter().map(one).collect())
        };
        let refs: Vec<&[f32]> = clips.iter().map(Vec::as_slice).collect();
        let f0 = in_pieces(&refs, 160, 2 * PIECE, |frames| frames, track).unwrap();
        for (clip, f0) in clips.iter().zip(&f0) {
            let expected: Vec<f64> = (0..frames(clip.len()))
                .map(|k| if clip.len() < 160 { 0.0 } else { f64::from(clip[(k * HOP_LENGTH).min(clip.len() - 1)]) })
                .collect();
            assert_eq!(f0, &expected);
        }
    }
}
