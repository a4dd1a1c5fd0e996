//! The times that Falco waits for Google, and how often it looks.

use std::time::Duration;

/// How long Falco waits for Google's long-running operations, for grants, and for results.
///
/// # Examples
///
/// ```
/// use falco_gcp::GcpWaits;
/// use std::time::Duration;
///
/// let waits = GcpWaits::default().with_results(Duration::from_millis(200));
/// assert_eq!(waits.operation, Duration::from_secs(25 * 60));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcpWaits {
    /// The first wait between two looks; 1.5 seconds unless set.
    pub first: Duration,
    /// The longest wait between two looks, which grow by half each time; 10 seconds unless set.
    pub longest: Duration,
    /// How long a function may take to be deployed, changed or deleted; 25 minutes unless set.
    pub operation: Duration,
    /// How long a grant of access may take to act; 5 minutes unless set.
    pub grant: Duration,
    /// The wait between two looks for results of submitted invocations; 1 second unless set.
    pub results: Duration,
    /// How long after its submission a call without a result is looked up in its queue, how often, and how much longer
    /// than it may run it is waited for once its task is gone; 1 minute unless set.
    pub given_up: Duration,
}

impl Default for GcpWaits {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(1_500),
            longest: Duration::from_secs(10),
            operation: Duration::from_secs(25 * 60),
            grant: Duration::from_secs(5 * 60),
            results: Duration::from_secs(1),
            given_up: Duration::from_secs(60),
        }
    }
}

impl GcpWaits {
    /// Every wait, and none longer, as `wait`: for servers that answer at once.
    pub fn every(wait: Duration) -> Self {
        Self { first: wait, longest: wait, results: wait, ..Self::default() }
    }

    /// Sets the first and the longest wait between two looks.
    #[must_use]
    pub fn with_looks(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// Sets how long a function may take to be deployed, changed or deleted.
    #[must_use]
    pub fn with_operation(mut self, operation: Duration) -> Self {
        self.operation = operation;
        self
    }

    /// Sets how long a grant of access may take to act.
    #[must_use]
    pub fn with_grant(mut self, grant: Duration) -> Self {
        self.grant = grant;
        self
    }

    /// Sets the wait between two looks for results.
    #[must_use]
    pub fn with_results(mut self, results: Duration) -> Self {
        self.results = results;
        self
    }

    /// Sets when, and how often, calls without a result are looked up in their queue.
    #[must_use]
    pub fn with_given_up(mut self, given_up: Duration) -> Self {
        self.given_up = given_up;
        self
    }

    /// The wait after one of `wait`.
    pub(crate) fn next(&self, wait: Duration) -> Duration {
        wait.mul_f32(1.5).min(self.longest)
    }
}
