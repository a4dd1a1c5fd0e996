//! The time of a run.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::units::Micros;

/// The time since a run began. It is read for each event, by several threads at once, so that it takes no lock.
#[derive(Debug)]
pub(super) struct Clock {
    base: Instant,
    /// The start of the run, in microseconds after `base`.
    start: AtomicU64,
    /// The same by the clock of the system, in microseconds since the Unix epoch.
    at: AtomicI64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let clock = Self { base: Instant::now(), start: AtomicU64::new(0), at: AtomicI64::new(0) };
        clock.restart();
        clock
    }

    /// Begins the time of a run. It begins at a whole microsecond, so that times by the provider's clock are the same when
    /// the file is read.
    pub(super) fn restart(&self) {
        self.start.store(self.since_base(), Relaxed);
        self.at.store(Micros::since_epoch(SystemTime::now()).0, Relaxed);
    }

    /// The start of the run by the clock of the system.
    pub(super) fn started_at(&self) -> SystemTime {
        let micros = u64::try_from(self.at.load(Relaxed)).unwrap_or_default();
        UNIX_EPOCH + Duration::from_micros(micros)
    }

    /// The time since the run began.
    pub(super) fn now(&self) -> Micros {
        let since = self.since_base().saturating_sub(self.start.load(Relaxed));
        Micros(i64::try_from(since).unwrap_or(i64::MAX))
    }

    fn since_base(&self) -> u64 {
        u64::try_from((Instant::now() - self.base).as_micros()).unwrap_or(u64::MAX)
    }
}
