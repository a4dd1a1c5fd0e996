//! How long the platform waits for AWS where its own protocol demands waiting.

use std::time::Duration;

/// How long to wait, and how often to look, where the protocol of AWS itself demands waiting.
///
/// # Examples
///
/// ```
/// use falco_aws::AwsWaits;
/// use std::time::Duration;
///
/// let waits = AwsWaits::default().with_event_age(Duration::from_secs(600));
/// assert_eq!(waits.queue_pollers, 16);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsWaits {
    /// The wait between two looks at a function that is being created or updated: 1 s.
    pub state_interval: Duration,
    /// The time until a function has to be ready: 5 min.
    pub state_timeout: Duration,
    /// The wait between two tries with a role that IAM does not know everywhere yet: 1.5 s.
    pub role_interval: Duration,
    /// The time until such a role has to work: 60 s.
    pub role_timeout: Duration,
    /// The time until a request other than an invocation has to be answered: 60 s.
    pub request_timeout: Duration,
    /// The time that an invocation may take beyond the function's own timeout, for a cold start and queueing: 60 s.
    pub invoke_margin: Duration,
    /// How long one poll of the result queue stays open: 1 s, at most 20 s.
    pub queue_poll: Duration,
    /// Polls of the result queue at the same time, at most: 16.
    pub queue_pollers: usize,
    /// How long a record that was read stays invisible to others: 10 s. Afterwards the queue gives it out again, unless it
    /// was deleted. So a record whose delivery was cut is late by this; a consumer that takes longer with its results
    /// gets copies, which are dropped.
    pub queue_visibility: Duration,
    /// How long Lambda may keep a submitted invocation in its own queue: 1 h, from 60 s to 6 h. After that, and the
    /// time that the function may run, an activation without a record is reported as gone.
    pub event_age: Duration,
}

impl Default for AwsWaits {
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
            queue_visibility: Duration::from_secs(10),
            event_age: Duration::from_secs(3600),
        }
    }
}

impl AwsWaits {
    /// Sets the wait between two looks at a function that is being created or updated.
    #[must_use]
    pub fn with_state_interval(mut self, state_interval: Duration) -> Self {
        self.state_interval = state_interval;
        self
    }

    /// Sets how long creating or updating a function may take.
    #[must_use]
    pub fn with_state_timeout(mut self, state_timeout: Duration) -> Self {
        self.state_timeout = state_timeout;
        self
    }

    /// Sets the wait between two tries with a new role.
    #[must_use]
    pub fn with_role_interval(mut self, role_interval: Duration) -> Self {
        self.role_interval = role_interval;
        self
    }

    /// Sets how long a new role may take until it works.
    #[must_use]
    pub fn with_role_timeout(mut self, role_timeout: Duration) -> Self {
        self.role_timeout = role_timeout;
        self
    }

    /// Sets how long a request other than an invocation may take.
    #[must_use]
    pub fn with_request_timeout(mut self, request_timeout: Duration) -> Self {
        self.request_timeout = request_timeout;
        self
    }

    /// Sets how long an invocation may take beyond the function's own timeout.
    #[must_use]
    pub fn with_invoke_margin(mut self, invoke_margin: Duration) -> Self {
        self.invoke_margin = invoke_margin;
        self
    }

    /// Sets how long one poll of the result queue stays open.
    #[must_use]
    pub fn with_queue_poll(mut self, queue_poll: Duration) -> Self {
        self.queue_poll = queue_poll;
        self
    }

    /// Sets how many polls of the result queue are open at the same time, at most.
    #[must_use]
    pub fn with_queue_pollers(mut self, queue_pollers: usize) -> Self {
        self.queue_pollers = queue_pollers;
        self
    }

    /// Sets how long a record that was read stays invisible to others.
    #[must_use]
    pub fn with_queue_visibility(mut self, queue_visibility: Duration) -> Self {
        self.queue_visibility = queue_visibility;
        self
    }

    /// Sets how long Lambda may keep a submitted invocation in its queue.
    #[must_use]
    pub fn with_event_age(mut self, event_age: Duration) -> Self {
        self.event_age = event_age;
        self
    }
}
