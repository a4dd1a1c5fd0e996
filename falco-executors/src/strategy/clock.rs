//! Two clocks that agree: the wall's for what is reported, the runtime's for what is measured.

use std::time::SystemTime;

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
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_wall_time_goes_on_as_the_clock_of_the_runtime_does() {
        let clock = Clock::start();
        let later = Duration::from_secs(5);
        assert_eq!(clock.wall_at(clock.origin), clock.wall);
        assert_eq!(clock.wall_at(clock.origin + later), clock.wall + later);
    }
}
