//! How much of each link is fetched, and how long that may take.

use crate::{Error, Kind, Result};

/// Limits for each link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Longest recording, in seconds; the beginning of a longer one is kept.
    pub duration_seconds: f64,
    /// Longest time for a link; after that it has failed, and its bytes are kept for the next run.
    pub timeout_seconds: f64,
}

impl Default for Limits {
    /// Ten minutes of each, in at most an hour.
    fn default() -> Self {
        Self { duration_seconds: 600.0, timeout_seconds: 3600.0 }
    }
}

impl Limits {
    /// Errors: `config.value`.
    pub(super) fn validate(&self) -> Result<()> {
        // Decoding is limited to four hours; a day is longer than anyone waits.
        let all =
            [("duration", self.duration_seconds, 1.0, 4.0 * 3600.0), ("timeout", self.timeout_seconds, 1.0, 86400.0)];
        for (name, value, lowest, highest) in all {
            if !(lowest..=highest).contains(&value) {
                let message = format!("{name} of a download is {value}, but must be {lowest} to {highest} seconds");
                return Err(Error::new(Kind::ConfigValue, message));
            }
        }
        Ok(())
    }
}
