//! The high-pass filter before the slicer and before conversion: Butterworth, order 5, 48 Hz; causal for the slicer, zero-phase for conversion.
//!
//! Source: spec A.3 (RVC `preprocess.py`: `scipy.signal.butter` and `lfilter`). The five poles are within 1 % of each other, and
//! a change of one unit in the last place of one coefficient moves the output by 6e-7: so scipy's own values are tabled for the rates in use.

/// Corner frequency in Hz; keeps rumble and DC out of the peak and of the slicer's RMS.
const CUTOFF_HZ: f64 = 48.0;
const ORDER: usize = 5;

/// b and a.
type Coefficients = ([f64; ORDER + 1], [f64; ORDER + 1]);

type Complex = realfft::num_complex::Complex<f64>;

/// Rate, b0 and a1 to a5 as scipy computes them, to the last bit (spec A.3).
#[rustfmt::skip]
const SCIPY: [(u32, f64, [f64; ORDER]); 5] = [
    (16000, 0.969_960_645_183_844_7, [-4.939_001_819_168_364, 9.757_863_526_739_543, -9.639_544_849_413_458, 4.761_506_797_356_209, -0.940_823_653_205_460_6]),
    (24000, 0.979_872_340_951_147_4, [-4.959_334_448_533_267_5, 9.838_163_411_273_335, -9.758_473_201_970_471, 4.839_794_044_098_56, -0.960_149_804_561_081_5]),
    (32000, 0.984_866_006_728_575_2, [-4.969_500_810_783_352, 9.878_467_826_012_754, -9.818_394_245_627_738, 4.879_388_281_681_066, -0.969_961_051_209_489_6]),
    (40000, 0.987_874_390_358_859, [-4.975_600_639_140_922, 9.902_699_956_062_799, -9.854_493_795_461_902, 4.903_290_289_690_988, -0.975_895_811_126_888_3]),
    (48000, 0.989_885_075_391_027_8, [-4.979_667_194_990_071, 9.918_875_338_137_543, -9.878_621_548_779_623, 4.919_285_868_123_746, -0.979_872_462_481_900_6]),
];

/// The coefficients (b, a) of the transfer function at `sample_rate`, with a[0] = 1: scipy's at 16, 24, 32, 40 and 48 kHz.
pub fn butterworth(sample_rate: u32) -> Coefficients {
    let Some((_, b0, a)) = SCIPY.iter().find(|(rate, ..)| *rate == sample_rate) else { return design(sample_rate) };
    ([1.0, -5.0, 10.0, -10.0, 5.0, -1.0].map(|c| c * b0), [1.0, a[0], a[1], a[2], a[3], a[4]])
}

/// The same, computed for any rate; within a few units in the last place of scipy.
pub fn design(sample_rate: u32) -> Coefficients {
    // The bilinear transform at a rate of 2, as scipy does it: frequencies in half cycles a sample.
    let warped = 4.0 * (std::f64::consts::PI * (2.0 * CUTOFF_HZ / f64::from(sample_rate)) / 2.0).tan();
    let mut poles = [Complex::new(0.0, 0.0); ORDER];
    let mut gain = Complex::new(1.0, 0.0);
    for (pole, m) in poles.iter_mut().zip((-4..=4).step_by(2)) {
        let angle = std::f64::consts::PI * f64::from(m) / (2 * ORDER) as f64;
        // Low-pass prototype pole, then low-pass to high-pass, then s to z.
        let s = warped / -Complex::new(angle.cos(), angle.sin());
        gain *= 4.0 - s;
        *pole = (4.0 + s) / (4.0 - s);
    }
    let zeros = [Complex::new(1.0, 0.0); ORDER];
    let b0 = 4f64.powi(ORDER as i32) / gain.re;
    (polynomial(&zeros).map(|c| b0 * c), polynomial(&poles))
}

/// The real coefficients of the polynomial with these roots, highest power first.
fn polynomial(roots: &[Complex; ORDER]) -> [f64; ORDER + 1] {
    let mut coefficients = [Complex::new(0.0, 0.0); ORDER + 1];
    coefficients[0].re = 1.0;
    for (degree, root) in roots.iter().enumerate() {
        for k in (1..=degree + 1).rev() {
            let lower = coefficients[k - 1];
            coefficients[k] -= lower * root;
        }
    }
    coefficients.map(|c| c.re)
}

/// The high-passed samples, in float64 like the reference.
///
/// Causal, zero initial state, direct form II transposed. One NaN or infinity would spoil everything after it, so callers
/// remove those first.
pub fn highpass(samples: &[f32], sample_rate: u32) -> Vec<f64> {
    let coefficients = butterworth(sample_rate);
    let mut state = [0.0f64; ORDER];
    samples.iter().map(|x| step(&coefficients, &mut state, f64::from(*x))).collect()
}

/// Samples that [`highpass_both_ways`] adds at each end; it needs at least one more than these.
pub const EDGE: usize = 3 * (ORDER + 1);

/// The samples high-passed forward and then backward: no delay, twice the slope. Conversion uses it (spec I.2:
/// `scipy.signal.filtfilt` with its defaults).
///
/// Both ends are continued by [`EDGE`] samples, mirrored in place and value, and each pass begins in the state that a constant
/// equal to its first sample leaves. None for [`EDGE`] samples or fewer.
pub fn highpass_both_ways(samples: &[f32], sample_rate: u32) -> Option<Vec<f64>> {
    let n = samples.len();
    if n <= EDGE {
        return None;
    }
    let (first, last) = (f64::from(samples[0]), f64::from(samples[n - 1]));
    let before = (1..=EDGE).rev().map(|i| 2.0 * first - f64::from(samples[i]));
    let after = (1..=EDGE).map(|i| 2.0 * last - f64::from(samples[n - 1 - i]));
    let mut x: Vec<f64> = before.chain(samples.iter().map(|x| f64::from(*x))).chain(after).collect();
    let coefficients = butterworth(sample_rate);
    for _ in 0..2 {
        settled_pass(&coefficients, &mut x);
        x.reverse();
    }
    x.truncate(EDGE + n);
    x.drain(..EDGE);
    Some(x)
}

/// One pass in place. A high-pass turns a constant into 0, so its settled state depends on the zeros only:
/// minus the running sum of b, without the linear system that scipy solves (ill-conditioned for poles this near to 1).
fn settled_pass(coefficients: &Coefficients, x: &mut [f64]) {
    let mut sum = 0.0;
    let mut state = [0.0; ORDER];
    for (state, b) in state.iter_mut().zip(coefficients.0) {
        sum += b;
        *state = -sum * x[0];
    }
    for x in x {
        *x = step(coefficients, &mut state, *x);
    }
}

/// Direct form II transposed.
fn step((b, a): &Coefficients, state: &mut [f64; ORDER], x: f64) -> f64 {
    let y = state[0] + b[0] * x;
    for k in 0..ORDER - 1 {
        state[k] = state[k + 1] + x * b[k + 1] - y * a[k + 1];
    }
    state[ORDER - 1] = x * b[ORDER] - y * a[ORDER];
    y
}
