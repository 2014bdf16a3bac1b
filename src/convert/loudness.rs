//! Applies the input's loudness to the output: RVC's rms_mix_rate.

/// Lower limit of the output's loudness in the division, so that silence is not amplified.
const LEAST: f32 = 1e-6;

/// Root mean squares over one second each, every half second of a sound of `n` samples, with silence beyond both ends.
pub fn course(n: usize, rate: u32, sample: impl Fn(usize) -> f64) -> Vec<f32> {
    let hop = (rate as usize / 2).max(1);
    (0..=n / hop)
        .map(|k| {
            let (from, until) = ((k * hop).saturating_sub(hop), (k * hop + hop).min(n));
            let squares: f64 = (from..until).map(|i| sample(i).powi(2)).sum();
            (squares / (2 * hop) as f64).sqrt() as f32
        })
        .collect()
}

/// Scales `output` so that its loudness over time is its own at a rate of 1, and that of `input` ([`course`]) at 0, with linear
/// interpolation. The curves cover the first `n` samples and stay constant after them.
///
/// Source: spec I.7 (RVC `change_rms`; librosa's `rms`, PyTorch's linear interpolation without aligned corners).
pub fn mix(input: &[f32], output: &mut [f32], n: usize, output_rate: u32, rms_mix_rate: f32) {
    let n = n.clamp(1, output.len().max(1));
    let own = course(n.min(output.len()), output_rate, |i| f64::from(output[i]));
    for (i, y) in output.iter_mut().enumerate() {
        *y *= at(input, i, n).powf(1.0 - rms_mix_rate) * at(&own, i, n).max(LEAST).powf(rms_mix_rate - 1.0);
    }
}

/// The value at index `i` of a curve that is stretched to `n` values.
fn at(course: &[f32], i: usize, n: usize) -> f32 {
    let scale = course.len() as f32 / n as f32;
    let place = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
    let left = (place as usize).min(course.len() - 1);
    let right = (left + 1).min(course.len() - 1);
    let part = place - left as f32;
    course[left] * (1.0 - part) + course[right] * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_chooses_whose_loudness_it_is() {
        let input = course(32_000, 16_000, |_| 0.5);
        let loud = vec![0.1f32; 80_000];
        let middle = |rate: f32| {
            let mut output = loud.clone();
            mix(&input, &mut output, 80_000, 40_000, rate);
            output[40_000]
        };
        assert!((middle(1.0) - 0.1).abs() < 1e-6);
        assert!((middle(0.0) - 0.5).abs() < 1e-5);
        assert!((middle(0.5) - (0.1f32 * 0.5).sqrt()).abs() < 1e-5);
    }

    #[test]
    fn silence_stays_silence_and_finite() {
        for (x, y) in [(0.0, 0.0), (0.5, 0.0), (0.0, 0.1)] {
            let mut output = vec![y as f32; 1000];
            mix(&course(400, 16_000, |_| x), &mut output, 1000, 40_000, 0.25);
            assert!(output.iter().all(|y| y.is_finite() && y.abs() <= 0.5), "{x} {y}");
        }
    }
}
