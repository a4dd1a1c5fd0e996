//! How often and how long to try.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use falco_core::setters;

use super::budget::RetryBudget;

/// How long an outage is waited out unless set otherwise.
pub(crate) const OUTAGE_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Half of the longest pause in an outage; the random part is as long again.
const LONGEST_OUTAGE_DELAY: Duration = Duration::from_secs(5);

/// How often, how long, and with which pauses a call is tried again.
///
/// # Examples
///
/// ```
/// use falco_layers::RetryPolicy;
/// use std::time::Duration;
///
/// let patient = RetryPolicy::default().with_attempts(8).with_max_delay(Duration::from_secs(60));
/// assert_eq!(RetryPolicy::none().attempts, 1);
/// assert_eq!(patient.throttled_attempts, 50);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts at most, the first included.
    pub attempts: u32,
    /// Attempts at most of a call that was throttled: it did not run, and congestion control paces the next one, so
    /// there may be many.
    pub throttled_attempts: u32,
    /// The first pause. Each one is twice as long as the one before, plus a random part of up to as much again.
    pub min_delay: Duration,
    /// The longest pause, without its random part and unless the platform suggests a longer one.
    pub max_delay: Duration,
    /// No attempt starts later than this after the first. None by default: waiting in line is not a failure, and in
    /// front of a small quota the line may be long.
    pub max_elapsed: Option<Duration>,
    /// How long to go on while nobody answers for the platform, or it does not accept credentials any more that it has
    /// accepted before. Such a call spends neither an attempt nor the budget. Zero treats it like every other failure.
    pub outage_patience: Duration,
    /// Retries in relation to the traffic. Throttled invocations need none where a gate
    /// [paces the attempts](crate::Retry::with_paced_attempts), as in a [`Stack`](crate::Stack)
    /// whose controller reacts to refusals.
    pub budget: RetryBudget,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            throttled_attempts: 50,
            min_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(20),
            max_elapsed: None,
            outage_patience: OUTAGE_PATIENCE,
            budget: RetryBudget::default(),
        }
    }
}

impl RetryPolicy {
    setters! {
        /// Sets how many attempts there are at most, the first included.
        with_attempts(attempts: u32);
        /// Sets how many attempts a call gets at most that was throttled.
        with_throttled_attempts(throttled_attempts: u32);
        /// Sets the first pause.
        with_min_delay(min_delay: Duration);
        /// Sets the longest pause, without its random part and unless the platform suggests a longer one.
        with_max_delay(max_delay: Duration);
        /// Sets how long after the first the last attempt may start.
        with_max_elapsed(max_elapsed: Option<Duration>);
        /// Sets the retries in relation to the traffic.
        with_budget(budget: RetryBudget);
        /// Sets how long calls wait in an outage of the platform.
        with_outage_patience(outage_patience: Duration);
    }

    /// Tries once, also in an outage.
    pub fn none() -> Self {
        let outage_patience = Duration::ZERO;
        Self { attempts: 1, throttled_attempts: 1, outage_patience, ..Self::default() }
    }

    /// Tries again up to `retries` times, throttled calls no less often than by default.
    ///
    /// Zero is [`none`](Self::none).
    pub fn with_retries(retries: u32) -> Self {
        if retries == 0 {
            return Self::none();
        }
        let attempts = retries.saturating_add(1);
        let default = Self::default();
        Self { attempts, throttled_attempts: default.throttled_attempts.max(attempts), ..default }
    }

    /// The pauses in an outage: as after other failures, but not longer than ten seconds with their random part.
    pub(super) fn outage_delays(&self, seed: u64) -> ExponentialBackoff {
        let longest = self.max_delay.min(LONGEST_OUTAGE_DELAY).max(self.min_delay);
        Self { max_delay: longest, ..*self }.delays(seed)
    }

    pub(super) fn delays(&self, seed: u64) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.min_delay)
            .with_max_delay(self.max_delay.max(self.min_delay))
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(seed)
            .build()
    }
}
