//! Two clocks that agree: the wall's for what is reported, the runtime's for what is measured.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Reads wall time from the runtime's clock, so that the two cannot drift apart within an execution, and tests that
/// pause the one pause both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: SystemTime,
    origin: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { wall: SystemTime::now(), origin: Instant::now() }
    }

    /// The wall time at `instant`.
    pub(super) fn wall_at(&self, instant: Instant) -> SystemTime {
        self.wall + instant.saturating_duration_since(self.origin)
    }

    /// How long it is until the wall shows `time`; zero when it has passed.
    pub(super) fn until(&self, time: SystemTime) -> Duration {
        time.duration_since(self.wall_at(Instant::now())).unwrap_or_default()
    }
}
