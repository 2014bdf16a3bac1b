//! Cuts a long recording at the quietest place near regular marks, so that each part fits into memory.

use std::ops::Range;

/// Samples over which quietness is judged: one frame, 10 ms at 16 kHz.
const WINDOW: usize = 160;

/// Lengths in seconds for the chunks of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Margin on both sides of a chunk that goes through the networks and is discarded.
    pub x_pad: usize,
    /// Longest distance of a cut from its mark.
    pub x_query: usize,
    /// Distance between the marks.
    pub x_center: usize,
    /// Length above which recordings are cut.
    pub x_max: usize,
}

impl Default for Chunking {
    /// RVC's values for float32 (spec I.3).
    fn default() -> Self {
        Self { x_pad: 1, x_query: 6, x_center: 38, x_max: 41 }
    }
}

/// The samples at which sound at 16 kHz is cut, at whole frames; empty for short sound.
///
/// Source: spec I.4. The quietest place is the first with the least sum of magnitudes over a frame.
pub fn cuts(samples: &[f64], chunking: Chunking) -> Vec<usize> {
    let seconds = |x: usize| x * 16_000;
    let (n, half) = (samples.len(), WINDOW / 2);
    if n + WINDOW <= seconds(chunking.x_max) {
        return Vec::new();
    }
    let (center, query) = (seconds(chunking.x_center.max(1)), seconds(chunking.x_query));
    let loudness = |at: usize| -> f64 {
        let window = (at..at + WINDOW).map(|i| samples[mirrored(i as isize - half as isize, n)].abs());
        window.sum()
    };
    (center..n)
        .step_by(center)
        .map(|mark| {
            let near: Range<usize> = mark.saturating_sub(query)..(mark + query).min(n);
            let first = near.start;
            let quietest =
                near.map(|at| (loudness(at), at)).reduce(|best, next| if next.0 < best.0 { next } else { best });
            quietest.map_or(first, |(_, at)| at) / WINDOW * WINDOW
        })
        .collect()
}

/// The index inside `n` samples that an index outside mirrors, ends not repeated; any number of reflections.
pub fn mirrored(at: isize, n: usize) -> usize {
    let period = 2 * (n as isize - 1);
    if period <= 0 {
        return 0;
    }
    let at = at.rem_euclid(period);
    (if at < n as isize { at } else { period - at }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sound_is_not_cut() {
        assert!(cuts(&vec![1.0; 41 * 16_000 - WINDOW], Chunking::default()).is_empty());
        assert_eq!(cuts(&vec![1.0; 41 * 16_000 - WINDOW + 1], Chunking::default()).len(), 1);
    }

    #[test]
    fn a_cut_falls_into_the_pause_near_its_mark() {
        let chunking = Chunking { x_pad: 1, x_query: 1, x_center: 2, x_max: 3 };
        let mut samples = vec![0.5; 5 * 16_000];
        samples[34_000..35_000].fill(0.0);
        let cuts = cuts(&samples, chunking);
        // The first window that is silent begins 80 samples before the place it stands for; a whole frame before that.
        assert_eq!(cuts, [34_080 / WINDOW * WINDOW, (4 - 1) * 16_000 / WINDOW * WINDOW]);
    }

    #[test]
    fn places_outside_mirror_those_inside() {
        let of = |at| mirrored(at, 4);
        assert_eq!([-3, -2, -1, 0, 3, 4, 5, 6, 7].map(of), [3, 2, 1, 0, 3, 2, 1, 0, 1]);
        assert_eq!((mirrored(-7, 1), mirrored(9, 1)), (0, 0));
    }
}
