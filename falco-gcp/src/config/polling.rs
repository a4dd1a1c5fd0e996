//! How patiently Falco waits.

use std::time::Duration;

/// How patiently Falco waits for Google's long-running operations, for grants, and for results.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polling {
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
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(1_500),
            longest: Duration::from_secs(10),
            operation: Duration::from_secs(25 * 60),
            grant: Duration::from_secs(5 * 60),
            results: Duration::from_secs(1),
        }
    }
}

impl Polling {
    /// Every wait, and none longer, as `wait`: for servers that answer at once.
    pub fn every(wait: Duration) -> Self {
        Self { first: wait, longest: wait, results: wait, ..Self::default() }
    }

    /// The wait after one of `wait`.
    pub(crate) fn next(&self, wait: Duration) -> Duration {
        wait.mul_f32(1.5).min(self.longest)
    }
}
