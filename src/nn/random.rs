//! A small seeded generator, for code that must not use libtorch's own, which all threads share.

/// SplitMix64 (Steele, Lea, Flood 2014), started from the seed and the key's FNV-1a hash.
pub struct SplitMix(u64);

impl SplitMix {
    pub fn new(seed: i64, key: &str) -> Self {
        let hash =
            key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut start = Self(hash ^ (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        start.uniform();
        start
    }

    /// Uniform in 0..1, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `k` different numbers below `n` (all of them if `k` >= `n`), in random order (Fisher and Yates).
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        let k = k.min(n);
        for i in 0..k {
            all.swap(i, i + (self.uniform() * (n - i) as f64) as usize);
        }
        all.truncate(k);
        all
    }
}
