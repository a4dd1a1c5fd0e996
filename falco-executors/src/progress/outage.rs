//! An outage, as progress shows it.

use std::fmt;
use std::time::Duration;

use falco_core::{Error, ErrorKind};
use tokio::time::Instant;

use crate::report::duration;

#[derive(Debug)]
pub(super) struct Outage {
    since: Instant,
    is_unreachable: bool,
    reason: String,
}

impl Outage {
    pub(super) fn new(error: &Error) -> Self {
        let is_unreachable = error.kind() != ErrorKind::Unauthorized;
        Self { since: Instant::now(), is_unreachable, reason: error.to_string() }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, reason, .. } = self;
        let what = match self.is_unreachable {
            true => "platform unreachable",
            false => "credentials not accepted any more; renew them, the run waits",
        };
        match since.elapsed() {
            short if short < Duration::from_secs(1) => write!(f, "{what}: {reason}"),
            long => write!(f, "{what} for {}: {reason}", duration(long)),
        }
    }
}
