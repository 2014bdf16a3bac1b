//! The clips of each batch, in order: RVC's length buckets; depends only on the epoch.
//!
//! Source: spec F.4 (`DistributedBucketSampler` on one device, and libtorch's `randperm`).

/// Bucket k holds lengths above its own boundary, up to the next one.
const BOUNDARIES: [i64; 9] = [100, 200, 300, 400, 500, 600, 700, 800, 900];

/// The buckets of clips by length, each a list of indices in `lengths`, without empty ones.
///
/// Departure: RVC drops lengths up to 100 and above 900. Here they get two extra buckets, before and after RVC's; a
/// data set without such clips is batched exactly as in RVC.
pub fn buckets(lengths: &[i64]) -> Vec<Vec<usize>> {
    let mut buckets = vec![Vec::new(); BOUNDARIES.len() + 1];
    for (i, &length) in lengths.iter().enumerate() {
        buckets[BOUNDARIES.partition_point(|&boundary| boundary < length)].push(i);
    }
    buckets.retain(|bucket| !bucket.is_empty());
    buckets
}

/// The batches of an epoch: each bucket shuffled, filled up from its start to whole batches, then all batches shuffled.
pub fn batches(buckets: &[Vec<usize>], batch_size: usize, epoch: i64) -> Vec<Vec<usize>> {
    let mut random = MersenneTwister::new(epoch as u32);
    let shuffled: Vec<Vec<usize>> = buckets.iter().map(|bucket| random.permutation(bucket.len())).collect();
    let mut batches = Vec::new();
    for (bucket, order) in buckets.iter().zip(&shuffled) {
        let size = order.len().div_ceil(batch_size) * batch_size;
        let filled: Vec<usize> = order.iter().cycle().take(size).map(|&i| bucket[i]).collect();
        batches.extend(filled.chunks(batch_size).map(<[usize]>::to_vec));
    }
    random.permutation(batches.len()).into_iter().map(|i| std::mem::take(&mut batches[i])).collect()
}

/// The generator behind `torch.randperm` on the CPU (Matsumoto and Nishimura 1998, MT19937).
struct MersenneTwister {
    state: [u32; 624],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> Self {
        let mut state = [0u32; 624];
        state[0] = seed;
        for i in 1..624 {
            let previous = state[i - 1];
            state[i] = (previous ^ (previous >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: 624 }
    }

    fn refill(&mut self) {
        for i in 0..624 {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == 624 {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `torch.randperm(n)`; n below 2^32 / 20, where libtorch draws 32 bits for each swap.
    fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n.saturating_sub(1) {
            order.swap(i, i + self.next_u32() as usize % (n - i));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_equal_those_of_torch() {
        assert_eq!(MersenneTwister::new(1).permutation(5), [0, 4, 2, 3, 1]);
        assert_eq!(MersenneTwister::new(1).permutation(10), [5, 6, 1, 2, 0, 8, 9, 3, 7, 4]);
        assert!(MersenneTwister::new(7).permutation(0).is_empty());
    }

    /// The example of spec F.4, whose reference drops the lengths of 100 and less and above 900.
    #[test]
    fn batches_equal_those_of_the_reference() {
        let lengths = [80, 100, 101, 150, 200, 201, 250, 300, 490, 490, 490, 490, 490, 901, 900, 30];
        let all = buckets(&lengths);
        assert_eq!(all, [vec![0, 1, 15], vec![2, 3, 4], vec![5, 6, 7], vec![8, 9, 10, 11, 12], vec![14], vec![13]]);
        let kept = &all[1..5];
        let first = [[14, 14], [11, 10], [2, 3], [3, 4], [5, 6], [7, 5], [12, 9], [8, 11]];
        let second = [[2, 4], [10, 9], [7, 6], [11, 12], [14, 14], [8, 11], [5, 7], [3, 2]];
        assert_eq!(batches(kept, 2, 1), first);
        assert_eq!(batches(kept, 2, 2), second);
    }

    #[test]
    fn no_clip_is_left_out() {
        let all = buckets(&[3, 95, 150, 2000, 150]);
        let mut seen: Vec<usize> = batches(&all, 4, 9).concat();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}
