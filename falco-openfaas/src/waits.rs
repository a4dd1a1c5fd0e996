//! How long this platform waits.

use std::time::Duration;

use falco_core::setters;

/// How `deploy` waits until the new code answers.
///
/// # Examples
///
/// ```
/// use falco_openfaas::OpenFaasWaits;
/// use std::time::Duration;
///
/// let waits = OpenFaasWaits::default().with_rollout_timeout(Duration::from_secs(600));
/// assert_eq!(waits.rollout_interval.as_millis(), 500);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenFaasWaits {
    /// How often `deploy` asks whether the new code answers; twice a second by default.
    pub rollout_interval: Duration,
    /// How long `deploy` waits for the new code; two minutes by default.
    pub rollout_timeout: Duration,
}

impl Default for OpenFaasWaits {
    fn default() -> Self {
        Self {
            rollout_interval: Duration::from_millis(500),
            rollout_timeout: Duration::from_secs(120),
        }
    }
}

impl OpenFaasWaits {
    setters! {
        /// Sets how often `deploy` asks whether the new code answers.
        with_rollout_interval(rollout_interval: Duration);
        /// Sets how long `deploy` waits for the new code.
        with_rollout_timeout(rollout_timeout: Duration);
    }
}
