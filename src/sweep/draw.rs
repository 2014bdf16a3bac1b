//! Numbers that look random but follow from a text: the same on every machine and after every update.
//!
//! Why not a crate: the stream of rand's `StdRng` may change from one version to the next; a sweep that resumes after an update
//! would draw other trials.

use crate::files;

/// A number of at least 0 and below 1 that looks random but depends only on `text`.
pub fn fraction_of(text: &str) -> f64 {
    let digest = files::digest(text);
    // As many bits as a float holds, so that it never rounds to 1.
    u64::from_str_radix(&digest[..13], 16).unwrap_or_default() as f64 / (1u64 << 52) as f64
}

/// Numbers of at least 0 and below 1, generated from a text.
pub struct Draws<'a> {
    text: &'a str,
    drawn: u64,
}

impl<'a> Draws<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, drawn: 0 }
    }

    pub fn fraction(&mut self) -> f64 {
        self.drawn += 1;
        fraction_of(&format!("{}/{}", self.text, self.drawn))
    }

    /// A whole number of at least 0 and below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.fraction() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// A normal number of mean 0 and width 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.fraction(), self.fraction());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}
