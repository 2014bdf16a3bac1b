//! Fills unvoiced frames.

/// Replaces each run of zeros by a line between the voiced frames around it, and runs at the ends by the nearest voiced
/// value; true if `f0` is voiced everywhere afterwards, false if no frame was voiced and everything stays 0.
///
/// Source: spec B.3, RVC 2026 in training and conversion (NumPy's interp over the frame index). With it the vocoder's source
/// is never noise, and breaths get a pitch; RVC 2024 and Applio keep the zeros.
pub fn fill_unvoiced(f0: &mut [f64]) -> bool {
    let is_voiced = |hz: &f64| *hz > 0.0;
    let (Some(first), Some(last)) = (f0.iter().position(is_voiced), f0.iter().rposition(is_voiced)) else {
        return f0.is_empty();
    };
    let (start, end) = (f0[first], f0[last]);
    f0[..first].fill(start);
    f0[last + 1..].fill(end);
    let mut left = first;
    for right in first + 1..=last {
        if !is_voiced(&f0[right]) {
            continue;
        }
        let slope = (f0[right] - f0[left]) / (right - left) as f64;
        for k in left + 1..right {
            f0[k] = slope * (k - left) as f64 + f0[left];
        }
        left = right;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::fill_unvoiced;

    #[track_caller]
    fn assert_filled(given: &[f64], voiced: bool, expected: &[f64]) {
        let mut f0 = given.to_vec();
        assert_eq!(fill_unvoiced(&mut f0), voiced);
        assert!(f0.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{f0:?}");
    }

    #[test]
    fn gaps_are_bridged_and_ends_extended_as_numpys_interp_does() {
        let gaps = [0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 200.0, 210.0, 0.0, 180.0, 0.0];
        let filled = [100.0, 100.0, 100.0, 125.0, 150.0, 175.0, 200.0, 210.0, 195.0, 180.0, 180.0];
        assert_filled(&gaps, true, &filled);
    }

    #[test]
    fn all_voiced_and_all_unvoiced_clips_are_unchanged() {
        assert_filled(&[100.0, 101.5], true, &[100.0, 101.5]);
        assert_filled(&[0.0; 3], false, &[0.0; 3]);
        assert_filled(&[], true, &[]);
    }
}
