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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_ends_once_and_those_that_passed_unnoticed_count_as_one() {
        let at = Duration::from_millis;
        let mut interval = Interval::new(at(1000));
        let ends: Vec<u64> =
            [999, 1000, 1000, 1999, 2000, 4000, 4000, 4999, 5000, 7500, 8499, 8500]
                .into_iter()
                .filter(|now| interval.has_ended(at(*now)))
                .collect();
        assert_eq!(ends, [1000, 2000, 4000, 5000, 7500, 8500]);
        interval.restart(at(8700));
        assert!(!interval.has_ended(at(9699)) && interval.has_ended(at(9700)));
    }
}
