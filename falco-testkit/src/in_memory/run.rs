//! One run of a function in memory.

use std::time::Duration;

use falco_core::{FunctionError, Payload};
use tokio::time::Instant;

/// One run of a function.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) started_at: Instant,
    pub(super) init: Option<Duration>,
    pub(super) execution: Duration,
    pub(super) outcome: Result<Payload, FunctionError>,
}

impl Run {
    pub(super) fn duration(&self) -> Duration {
        self.init.unwrap_or_default() + self.execution
    }

    pub(super) fn ends_at(&self) -> Instant {
        self.started_at + self.duration()
    }
}
