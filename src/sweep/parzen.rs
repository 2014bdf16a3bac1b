//! The tree-structured Parzen estimator (TPE): the next place to try, given the losses of others.
//!
//! ```text
//! trials so far --+-- the best 15 % --> density l of good places --> candidates drawn from l
//!                 +-- the others    --> density g of bad places  --> the one with the largest l / g
//! ```
//!
//! A place is a point of the unit cube with a coordinate for each setting; the caller maps it to values.
//!
//! Source: Bergstra, Bardenet, Bengio, Kegl, "Algorithms for Hyper-Parameter Optimization", NIPS 2011, section 4, with the
//! adaptive widths and the split described there. Departure: a density is a sum of products over the
//! settings, not a product of sums, so that settings that only work well together are found (as in BOHB: Falkner, Klein, Hutter,
//! ICML 2018).
//!
//! Why not a crate: `tpe` 0.3 uses rand's `StdRng` (see [`super::draw`]) and treats each setting separately.

use super::draw::Draws;

/// Number of random trials before the estimator is used.
const RANDOM: usize = 10;
/// The share of the trials that counts as good, the paper's. With hyperopt's rule, a quarter of the root of their number, two of 40 are
/// good and Branin's function was won against chance in 65 of 100 searches, with this one in 89.
const GOOD: f64 = 0.15;
/// Most trials that count as good: more do not improve the density.
const MOST_GOOD: usize = 25;
/// Candidates that are compared; hyperopt's and Optuna's number. More make the search greedier.
const CANDIDATES: usize = 24;
/// Least width of a kernel, as a share of the range: a narrower one would draw the same value again.
const NARROWEST: f64 = 0.02;

/// A finished trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// A coordinate of 0 to 1 for each setting.
    pub at: Vec<f64>,
    /// The smaller the better; infinity for a failed trial, which is then the worst.
    pub loss: f64,
}

/// The next place to try. It depends only on the arguments: the same after a restart, on every machine.
///
/// * `choices`: for each setting the number of its unordered values; 0 for a range.
/// * `seen`: trials in any order; those with an invalid place are ignored.
/// * `text`: the seed of the random numbers, such as "seed 1, trial 3".
pub fn propose(choices: &[usize], seen: &[Seen], text: &str) -> Vec<f64> {
    let mut random = Draws::new(text);
    let mut seen: Vec<&Seen> =
        seen.iter().filter(|seen| seen.at.len() == choices.len() && seen.at.iter().all(|x| x.is_finite())).collect();
    if seen.len() < RANDOM {
        return choices.iter().map(|_| random.fraction()).collect();
    }
    // Stable: of equals the earlier one is the better.
    seen.sort_by(|a, b| key(a.loss).total_cmp(&key(b.loss)));
    let n_good = ((GOOD * seen.len() as f64).ceil() as usize).clamp(2, MOST_GOOD);
    let (good, bad) = seen.split_at(n_good);
    let (good, bad) = (Density::new(choices, good), Density::new(choices, bad));
    let candidates = (0..CANDIDATES).map(|_| good.draw(&mut random));
    let scored = candidates.map(|at| (good.log(&at) - bad.log(&at), at));
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, at)| at).unwrap_or_default()
}

/// NaN counts as the worst result.
fn key(loss: f64) -> f64 {
    if loss.is_nan() { f64::INFINITY } else { loss }
}

/// A sum of kernels, one for each trial and a flat one, all of the same weight.
struct Density {
    choices: Vec<usize>,
    kernels: Vec<Vec<Kernel>>,
}

/// One coordinate of a kernel.
#[derive(Clone, Copy)]
enum Kernel {
    /// As likely everywhere.
    Flat,
    /// A normal distribution cut to the range.
    Near { middle: f64, width: f64 },
    /// A value among others, which share `rest` of the weight with it.
    Is { value: usize, rest: f64 },
}

impl Density {
    fn new(choices: &[usize], seen: &[&Seen]) -> Self {
        let mut kernels = vec![vec![Kernel::Flat; choices.len()]; seen.len() + 1];
        for (axis, &n) in choices.iter().enumerate() {
            let places: Vec<f64> = seen.iter().map(|seen| seen.at[axis].clamp(0.0, 1.0)).collect();
            let widths = widths(&places);
            for (i, kernel) in kernels.iter_mut().take(seen.len()).enumerate() {
                kernel[axis] = if n > 0 {
                    // More trials make the choice surer.
                    Kernel::Is { value: value(places[i], n), rest: 1.0 / (1.0 + seen.len() as f64) }
                } else {
                    Kernel::Near { middle: places[i], width: widths[i] }
                };
            }
        }
        Self { choices: choices.to_vec(), kernels }
    }

    fn draw(&self, random: &mut Draws<'_>) -> Vec<f64> {
        let kernel = &self.kernels[random.below(self.kernels.len())];
        kernel.iter().zip(&self.choices).map(|(kernel, &n)| kernel.draw(n, random)).collect()
    }

    fn log(&self, at: &[f64]) -> f64 {
        let one = |kernel: &Vec<Kernel>| -> f64 {
            kernel.iter().zip(at).zip(&self.choices).map(|((kernel, &x), &n)| kernel.density(x, n)).product()
        };
        let sum: f64 = self.kernels.iter().map(one).sum();
        (sum / self.kernels.len() as f64).max(f64::MIN_POSITIVE).ln()
    }
}

impl Kernel {
    fn draw(self, n: usize, random: &mut Draws<'_>) -> f64 {
        match self {
            Kernel::Near { middle, width } => {
                // At least a third of a kernel is in the range, so this ends soon.
                let drawn = std::iter::repeat_with(|| middle + width * random.normal());
                drawn.take(1000).find(|x| (0.0..1.0).contains(x)).unwrap_or(middle)
            }
            Kernel::Is { value, rest } if random.fraction() >= rest => (value as f64 + 0.5) / n as f64,
            Kernel::Flat | Kernel::Is { .. } => random.fraction(),
        }
    }

    fn density(self, x: f64, n: usize) -> f64 {
        match self {
            Kernel::Flat => 1.0,
            Kernel::Near { middle, width } => {
                let z = (x - middle) / width;
                let inside = below((1.0 - middle) / width) - below(-middle / width);
                (-0.5 * z * z).exp() / (width * std::f64::consts::TAU.sqrt() * inside)
            }
            Kernel::Is { value: known, rest } => {
                rest + if value(x, n) == known { (1.0 - rest) * n as f64 } else { 0.0 }
            }
        }
    }
}

/// The index among `n` values of a coordinate.
fn value(x: f64, n: usize) -> usize {
    ((x * n as f64) as usize).min(n.saturating_sub(1))
}

/// The width of each kernel: the distance to the farther of its two neighbours, the ends of the range among them.
fn widths(places: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
    let mut widths = vec![0.0; places.len()];
    for (rank, &i) in order.iter().enumerate() {
        let left = if rank > 0 { places[order[rank - 1]] } else { 0.0 };
        let right = order.get(rank + 1).map_or(1.0, |&next| places[next]);
        let least = NARROWEST.max(1.0 / (1.0 + places.len() as f64) / 4.0);
        widths[i] = (places[i] - left).max(right - places[i]).clamp(least, 1.0);
    }
    widths
}

/// The part of a normal distribution below `z`.
///
/// Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26; off by at most 1.5e-7.
fn below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let tail = series.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp();
    let half = 0.5 * (1.0 - tail);
    if z < 0.0 { 0.5 - half } else { 0.5 + half }
}
