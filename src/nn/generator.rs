//! libtorch's own random numbers. One generator serves all threads of a process.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The turn to draw: until it is dropped, no other thread gets one.
#[must_use = "others draw as soon as it is dropped"]
pub struct Drawing(#[expect(dead_code, reason = "held, not used")] MutexGuard<'static, ()>);

/// Seeds the generators of all devices. The numbers drawn while the result is held depend on nothing but the seed, whatever other
/// threads do. Waits for their turns to end; a thread that has a turn already would wait for ever.
pub fn seeded(seed: i64) -> Drawing {
    static TURN: Mutex<()> = Mutex::new(());
    // Each turn begins with a seed: one that ended in a panic leaves nothing behind.
    let drawing = Drawing(TURN.lock().unwrap_or_else(PoisonError::into_inner));
    tch::manual_seed(seed);
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Tensor, kind::FLOAT_CPU};

    #[test]
    fn threads_that_draw_at_the_same_time_get_the_numbers_of_their_seeds() {
        let draw = |seed| {
            let _drawing = seeded(seed);
            let parts: Vec<Tensor> = (0..50).map(|_| Tensor::randn([3], FLOAT_CPU)).collect();
            Vec::<f32>::try_from(Tensor::cat(&parts, 0)).unwrap()
        };
        let expected: Vec<Vec<f32>> = (0..4).map(draw).collect();
        let drawn: Vec<Vec<f32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || draw(seed))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(drawn, expected);
    }
}
