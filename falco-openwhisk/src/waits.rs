//! How long is waited for what.

use std::time::Duration;

/// How long the platform waits for what, and how far clocks may differ.
///
/// # Examples
///
/// ```
/// use falco_openwhisk::OpenWhiskWaits;
/// use std::time::Duration;
///
/// let waits = OpenWhiskWaits::default().with_max_poll_interval(Duration::from_millis(500));
/// assert_eq!(waits.clock_tolerance, Duration::from_secs(10));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenWhiskWaits {
    /// How far the clocks of the driver and of the server's machines may differ: 10 s. Activations are found by the time
    /// at which they began, by the server's clock.
    pub clock_tolerance: Duration,
    /// The longest pause between two looks at activations that have not ended: 2 s.
    pub max_poll_interval: Duration,
    /// How long `invoke` looks for the record of an activation after the function's own limits are over: 75 s. The server
    /// stops waiting after a minute, and answers with the id under which the record will be found; runtimes that died are
    /// recorded up to 15 s late.
    pub follow_grace: Duration,
}

impl Default for OpenWhiskWaits {
    fn default() -> Self {
        Self {
            clock_tolerance: Duration::from_secs(10),
            max_poll_interval: Duration::from_secs(2),
            follow_grace: Duration::from_secs(75),
        }
    }
}

impl OpenWhiskWaits {
    /// Sets how far clocks may differ.
    #[must_use]
    pub fn with_clock_tolerance(mut self, tolerance: Duration) -> Self {
        self.clock_tolerance = tolerance;
        self
    }

    /// Sets the longest pause between two looks.
    #[must_use]
    pub fn with_max_poll_interval(mut self, interval: Duration) -> Self {
        self.max_poll_interval = interval;
        self
    }

    /// Sets how long `invoke` looks for a record.
    #[must_use]
    pub fn with_follow_grace(mut self, grace: Duration) -> Self {
        self.follow_grace = grace;
        self
    }
}
