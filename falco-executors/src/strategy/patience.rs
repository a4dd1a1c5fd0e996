//! How long to wait for the result of what was accepted.

use std::time::Duration;

use falco_core::Deployment;

/// How long to wait for the result of an accepted invocation, from its acceptance; then it is lost.
///
/// It is the time that the function may run, plus a margin for what the provider does before and after: queueing,
/// starting an instance, storing the record.
///
/// While nobody answers whether there is a result, an activation that is due is waited for longer, up to
/// [`with_outage`](Self::with_outage).
///
/// An invocation that an earlier process submitted gets at least the margin, however long ago that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    function_timeout: Option<Duration>,
    margin: Duration,
    outage: Duration,
}

impl Patience {
    /// The margin unless set otherwise.
    const MARGIN: Duration = Duration::from_secs(5 * 60);
    /// As long as layers wait unless set otherwise.
    const OUTAGE: Duration = Duration::from_secs(5 * 60);
    /// The longest that a function runs where the deployment sets no timeout; Lambda's maximum.
    const FUNCTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);

    /// Sets the time that the function may run, instead of what the deployment's
    /// [`scaling`](falco_core::Deployment::scaling) says, or 15 minutes where it says nothing.
    #[must_use]
    pub fn with_function_timeout(mut self, timeout: Duration) -> Self {
        self.function_timeout = Some(timeout);
        self
    }

    /// Sets the margin, 5 minutes by default.
    #[must_use]
    pub fn with_margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Sets how much longer to wait while nobody answers whether there is a result, 5 minutes by default.
    #[must_use]
    pub fn with_outage(mut self, outage: Duration) -> Self {
        self.outage = outage;
        self
    }

    pub(super) fn outage(self) -> Duration {
        self.outage
    }

    pub(super) fn margin(self) -> Duration {
        self.margin
    }

    pub(super) fn in_all(self, deployment: &Deployment) -> Duration {
        let timeout = self.function_timeout.or(deployment.scaling.timeout);
        timeout.unwrap_or(Self::FUNCTION_TIMEOUT).saturating_add(self.margin)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self { function_timeout: None, margin: Self::MARGIN, outage: Self::OUTAGE }
    }
}
