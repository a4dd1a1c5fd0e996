//! Time in equal parts, for controllers that think once in a while.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Interval {
    length: Duration,
    end: Duration,
}

impl Interval {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, end: length }
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// Whether an interval has ended since the last call. Several that have passed unnoticed count as one: nothing
    /// happened in them.
    pub(super) fn has_ended(&mut self, now: Duration) -> bool {
        if now < self.end {
            return false;
        }
        let next = self.end.saturating_add(self.length);
        self.end = if now < next { next } else { now.saturating_add(self.length) };
        true
    }

    /// Begins a new one now.
    pub(super) fn restart(&mut self, now: Duration) {
        self.end = now.saturating_add(self.length);
    }
}
