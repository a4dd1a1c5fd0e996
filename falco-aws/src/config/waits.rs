//! How long the platform waits for AWS where its own protocol demands waiting.

use std::time::Duration;

/// How long to wait, and how often to look, where the protocol of AWS itself demands waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Between two looks at a function that is being created or updated: 1 s.
    pub state_interval: Duration,
    /// Until a function has to be ready: 5 min.
    pub state_timeout: Duration,
    /// Between two tries with a role that IAM does not know everywhere yet: 1.5 s.
    pub role_interval: Duration,
    /// Until such a role has to work: 60 s.
    pub role_timeout: Duration,
    /// Until a request other than an invocation has to be answered: 60 s.
    pub request_timeout: Duration,
    /// What an invocation may take beyond the function's own timeout, for a cold start and queueing: 60 s.
    pub invoke_margin: Duration,
    /// How long one poll of the result queue stays open: 1 s, at most 20 s.
    pub queue_poll: Duration,
    /// Polls of the result queue at the same time, at most: 16.
    pub queue_pollers: usize,
    /// How long a record that was read stays invisible to others: 2 min. Afterwards the queue gives it out again.
    pub queue_visibility: Duration,
    /// How long Lambda may keep a submitted invocation in its own queue: 1 h, from 60 s to 6 h. After that, and the
    /// time that the function may run, an activation without a record is reported as gone.
    pub event_age: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            state_interval: Duration::from_secs(1),
            state_timeout: Duration::from_secs(300),
            role_interval: Duration::from_millis(1500),
            role_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            invoke_margin: Duration::from_secs(60),
            queue_poll: Duration::from_secs(1),
            queue_pollers: 16,
            queue_visibility: Duration::from_secs(120),
            event_age: Duration::from_secs(3600),
        }
    }
}
