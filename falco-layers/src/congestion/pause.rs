//! The waits that the platform demands.

use std::time::Duration;

/// A platform that asks for a longer pause is asked again after this one.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// How long nothing may be sent because the platform has said so, and how long that was in all.
#[derive(Debug, Default)]
pub(super) struct Pause {
    until: Duration,
    /// All pauses together, up to `until`.
    total: Duration,
}

impl Pause {
    /// The platform asks for a pause of `wait` from `now` on. Overlapping ones count once.
    pub(super) fn demand(&mut self, now: Duration, wait: Duration) {
        let until = now.saturating_add(wait.min(LONGEST_WAIT));
        self.total += until.saturating_sub(self.until.max(now));
        self.until = self.until.max(until);
    }

    /// When it ends.
    pub(super) fn until(&self) -> Duration {
        self.until
    }

    /// How long there was a pause until `now`.
    pub(super) fn so_far(&self, now: Duration) -> Duration {
        self.total.saturating_sub(self.until.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_pauses_count_once_and_those_to_come_do_not_count_yet() {
        let at = Duration::from_secs;
        let mut pause = Pause::default();
        pause.demand(at(10), at(4));
        pause.demand(at(12), at(1));
        assert_eq!((pause.until(), pause.so_far(at(12))), (at(14), at(2)));
        pause.demand(at(13), at(3));
        assert_eq!(
            (pause.until(), pause.so_far(at(13)), pause.so_far(at(90))),
            (at(16), at(3), at(6))
        );
        pause.demand(at(100), at(1));
        assert_eq!((pause.until(), pause.so_far(at(200))), (at(101), at(7)));
    }
}
