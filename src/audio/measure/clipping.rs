//! Flat tops: where a waveform was cut off, at full scale or, if it was turned down afterwards, at any other level.
//!
//! A waveform that is not clipped touches its highest value with a parabola: fewer samples are within 0.1 % of it than between
//! 0.1 % and 2 % (a third of them). Clipping piles them up at the top. Samples are compared only with the extreme on their own
//! side, so an offset or different ceilings above and below do no harm. Not found: tops that lossy coding has bent, and
//! those of one or two samples.

/// Samples this near to the extreme, as a fraction of it, count as at the extreme: more than a step of 16 bits.
const TOP: f32 = 0.001;
/// The top is compared with the samples down to here. Wider than two steps of 8 bits, so that 8-bit steps are not flat tops.
const NEAR: f32 = 0.02;
/// Lower extremes are dither or silence, where most samples are at one of a few steps.
const LOWEST: f32 = 0.05;
/// A shorter run can be the tip of a waveform.
const MIN_RUN: u64 = 3;
/// With fewer samples at the top, clipping cannot be distinguished from chance.
const MIN_SAMPLES: u64 = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clipped {
    pub samples: u64,
    pub runs: u64,
}

/// The flat tops on both sides. Samples that are not finite are skipped.
pub(super) fn find(samples: &[f32]) -> Clipped {
    let finite = || samples.iter().copied().filter(|x| x.is_finite());
    let (low, high) = finite().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low >= high {
        // No samples, or a constant.
        return Clipped::default();
    }
    let above = flat(finite(), high);
    let below = flat(finite().map(|x| -x), -low);
    Clipped { samples: above.samples + below.samples, runs: above.runs + below.runs }
}

/// The flat tops at `highest`, the highest of the samples.
fn flat(samples: impl Iterator<Item = f32>, highest: f32) -> Clipped {
    if highest < LOWEST {
        return Clipped::default();
    }
    let (top, near) = (highest * (1.0 - TOP), highest * (1.0 - NEAR));
    let mut found = Clipped::default();
    let (mut at_top, mut next_to_it, mut run) = (0u64, 0u64, 0u64);
    let mut end_run = |run: &mut u64| {
        if *run >= MIN_RUN {
            found.samples += *run;
            found.runs += 1;
        }
        *run = 0;
    };
    for x in samples {
        if x >= top {
            at_top += 1;
            run += 1;
            continue;
        }
        if run > 0 {
            end_run(&mut run);
        }
        next_to_it += u64::from(x >= near);
    }
    end_run(&mut run);
    if found.samples >= MIN_SAMPLES && at_top > next_to_it { found } else { Clipped::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_has_its_own_ceiling() {
        let wave = (0..48000).map(|n| (n as f32 * 0.01).sin().clamp(-0.9, 0.5));
        let samples: Vec<f32> = wave.collect();
        let at_ceiling = samples.iter().filter(|x| **x >= 0.5 || **x <= -0.9).count() as u64;
        let found = find(&samples);
        // TOP widens each run by at most one sample at either end.
        assert!(found.samples >= at_ceiling && found.samples <= at_ceiling + 2 * found.runs, "{found:?}, {at_ceiling}");
        assert_eq!(found.runs, 153);
    }

    #[test]
    fn a_wave_in_steps_of_8_bits_is_not_clipped() {
        let wave = (0..48000).map(|n| ((n as f32 * 0.01).sin() * 100.0).round() / 128.0);
        assert_eq!(find(&wave.collect::<Vec<f32>>()), Clipped::default());
    }
}
