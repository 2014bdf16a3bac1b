//! All faults of a space, a plan or its trials as one error.

use crate::{Error, Result};

/// Everything that is wrong, as one error.
#[derive(Debug, Default)]
pub struct Faults {
    found: Option<Error>,
    hints: Vec<String>,
    messages: Vec<String>,
}

impl Faults {
    /// Adds a fault, unless it is known.
    pub fn add(&mut self, fault: Error) {
        if self.messages.iter().any(|known| known == fault.message()) {
            return;
        }
        self.messages.push(fault.message().to_owned());
        self.hints
            .extend(fault.hint_text().filter(|hint| !self.hints.iter().any(|known| known == hint)).map(str::to_owned));
        self.found.get_or_insert(fault);
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_none()
    }

    /// Fails with all faults, of the kind of the first.
    pub fn none(self) -> Result<()> {
        /// More would bury the first.
        const MOST: usize = 8;
        let Some(first) = self.found else { return Ok(()) };
        let shown = self.messages[..self.messages.len().min(MOST)].join("; ");
        let message = match self.messages.len().saturating_sub(MOST) {
            0 => shown,
            more => format!("{shown}; and {more} more"),
        };
        Err(self.hints.iter().take(MOST).fold(Error::new(first.kind(), message), Error::also))
    }
}
