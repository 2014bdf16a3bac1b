//! The high-pass in front of the slicer: Butterworth, order 5, 48 Hz, causal.
//!
//! Source: spec A.3 (RVC `preprocess.py`: `scipy.signal.butter` and `lfilter`). The five poles lie within 1 % of each other, so a
//! coefficient's last bits matter; the design below follows scipy's order of operations.

/// Corner frequency in Hz; keeps rumble and DC out of the peak and of the slicer's RMS.
const CUTOFF_HZ: f64 = 48.0;
const ORDER: usize = 5;

type Complex = realfft::num_complex::Complex<f64>;

/// The coefficients (b, a) of the transfer function at `sample_rate`, with a[0] = 1.
pub fn butterworth(sample_rate: u32) -> ([f64; ORDER + 1], [f64; ORDER + 1]) {
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
/// Causal, zero initial state, direct form II transposed; one NaN or infinity would spoil everything after it, so callers
/// remove those first.
pub fn highpass(samples: &[f32], sample_rate: u32) -> Vec<f64> {
    let (b, a) = butterworth(sample_rate);
    let mut state = [0.0f64; ORDER];
    let step = |x: &f32| {
        let x = f64::from(*x);
        let y = state[0] + b[0] * x;
        for k in 0..ORDER - 1 {
            state[k] = state[k + 1] + x * b[k + 1] - y * a[k + 1];
        }
        state[ORDER - 1] = x * b[ORDER] - y * a[ORDER];
        y
    };
    samples.iter().map(step).collect()
}
