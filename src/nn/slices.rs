//! Windows of frames: masks by length and slices by start, without a read by the host.

use std::cell::RefCell;
use tch::{Device, Kind, Tensor};

/// The numbers 0, 1, 2, ... on a device, made once and grown when more are asked for.
pub struct Positions(RefCell<Tensor>);

impl Positions {
    /// Frames of a 9 s clip, the longest that training reads.
    const USUAL: i64 = 1024;

    pub fn new(device: Device) -> Self {
        Self(RefCell::new(Tensor::arange(Self::USUAL, (Kind::Int64, device))))
    }

    /// int64 [n]: 0, 1, ..., n - 1.
    pub fn first(&self, n: i64) -> Tensor {
        let mut all = self.0.borrow_mut();
        if all.size()[0] < n {
            *all = Tensor::arange(n, (Kind::Int64, all.device()));
        }
        all.narrow(0, 0, n)
    }

    /// float32 [batch, 1, frames]: 1 where the frame is within its row's length, else 0.
    pub fn mask(&self, lengths: &Tensor, frames: i64) -> Tensor {
        self.first(frames).unsqueeze(0).lt_tensor(&lengths.unsqueeze(1)).to_kind(Kind::Float).unsqueeze(1)
    }

    /// [batch, channels, n]: of each row the `n` columns that begin at its entry of `starts` (int64 [batch]).
    ///
    /// Every start must leave n columns; it is not checked here, because that would read from the device.
    pub fn slice(&self, xs: &Tensor, starts: &Tensor, n: i64) -> Tensor {
        let size = xs.size();
        // Known without a read; past the end, a GPU would fail later, elsewhere, and for good.
        assert!(size[2] >= n, "a window of {n} columns does not fit into {} columns", size[2]);
        let index = (starts.unsqueeze(1) + self.first(n).unsqueeze(0)).unsqueeze(1);
        xs.gather(2, &index.expand([size[0], size[1], n], true), false)
    }
}

/// int64 [batch] on the device of `lengths`: a random start for each row that leaves `n` columns of its length.
///
/// One `rand [batch]` is drawn from the CPU generator, as the reference does; rounding down happens in float32.
pub fn random_starts(lengths: &Tensor, n: i64) -> Tensor {
    let batch = lengths.size()[0];
    let random = Tensor::rand([batch], (Kind::Float, Device::Cpu)).to_device(lengths.device());
    let choices: Tensor = lengths - (n - 1);
    // A clip shorter than the window has one choice, not none (the reference would count from the end).
    (random * choices.clamp_min(1)).to_kind(Kind::Int64)
}
