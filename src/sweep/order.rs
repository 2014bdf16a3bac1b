//! Outcomes in the order of an earlier call.
//!
//! Decisions of ASHA depend on which step ended first. The order is kept in a file; when an interrupted sweep is replayed, an outcome waits
//! for those that ended before it, and the decisions are the same.

use std::collections::{BTreeSet, VecDeque};

/// Names of steps in the order in which they count.
#[derive(Debug, Default)]
pub struct Order {
    /// What ended in an earlier call and has not been counted in this one.
    recorded: VecDeque<String>,
    arrived: VecDeque<String>,
    waiting: BTreeSet<String>,
    counted: Vec<String>,
}

impl Order {
    /// `recorded`: the order of an earlier call, empty for a new sweep.
    pub fn new(recorded: Vec<String>) -> Self {
        Self { recorded: recorded.into(), ..Self::default() }
    }

    /// A step has ended.
    pub fn arrive(&mut self, name: &str) {
        self.arrived.push_back(name.to_owned());
        self.waiting.insert(name.to_owned());
    }

    /// The next step that counts; None if it has not ended. `begun`: whether a step of this name has begun.
    pub fn next(&mut self, begun: impl Fn(&str) -> bool) -> Option<String> {
        if let Some(first) = self.recorded.front()
            && !self.waiting.contains(first)
        {
            if begun(first) {
                return None;
            }
            // The order is that of other settings.
            self.recorded.clear();
        }
        let name = self.recorded.pop_front().or_else(|| self.arrived.front().cloned())?;
        self.arrived.retain(|one| *one != name);
        self.waiting.remove(&name);
        self.counted.push(name.clone());
        Some(name)
    }

    /// The order so far, then what is known of an earlier call.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.counted.iter().chain(&self.recorded).map(String::as_str)
    }
}
