//! The rate of those controllers that steer nothing else.

use std::time::Duration;

use falco_core::Capabilities;
use falco_core::congestion::Allowance;

use super::interval::Interval;
use super::quota::Quota;

/// The rate of a platform that reports none.
const UNKNOWN_RATE: f64 = 10.0;
/// From this share of the rate on, more would have been sent if more were allowed.
const USED: f64 = 0.8;

/// Where the rate of [`Aimd`](crate::Aimd) or [`Pid`](crate::Pid) begins, how far it may go, and how often it is
/// thought about.
///
/// A number is a pace too: so many calls per second at first.
///
/// # Examples
///
/// ```
/// use falco_core::congestion::CongestionController;
/// use falco_layers::{Aimd, Pace};
/// use std::time::Duration;
///
/// let mut aimd = Aimd::new(Pace::new(100.0).with_bounds(10.0, 200.0).with_concurrency(30));
/// let allowance = aimd.allowance(Duration::ZERO);
/// assert_eq!((allowance.per_second, allowance.concurrency), (Some(100.0), Some(30)));
/// ```
#[derive(Clone, Debug)]
pub struct Pace {
    rate: f64,
    min: f64,
    max: f64,
    concurrency: Option<u32>,
    interval: Interval,
    /// Calls in this interval.
    sent: u32,
}

impl Pace {
    /// Starts with `per_second`, between a hundredth and a hundred times as much; intervals of one second. What is not
    /// a positive number counts as the smallest one.
    pub fn new(per_second: f64) -> Self {
        let rate = if per_second > 0.0 { per_second.min(f64::MAX) } else { f64::MIN_POSITIVE };
        Self {
            rate,
            min: (rate / 100.0).max(f64::MIN_POSITIVE),
            max: (rate * 100.0).min(f64::MAX),
            concurrency: None,
            interval: Interval::new(Duration::from_secs(1)),
            sent: 0,
        }
    }

    /// Starts from what the platform reports, has its quota's window for an interval, and stays within its concurrency.
    pub fn from_capabilities(capabilities: &Capabilities) -> Self {
        let quota = Quota::reported(capabilities);
        let mut pace = Self::new(quota.map_or(UNKNOWN_RATE, |quota| quota.per_second));
        pace.concurrency = capabilities.concurrency;
        let window = quota.map_or(Duration::ZERO, |quota| quota.window);
        pace.with_interval(window.max(Duration::from_secs(1)))
    }

    /// Keeps the rate between `min` and `max` per second, in either order; what is not a positive number counts as the
    /// smallest one.
    #[must_use]
    pub fn with_bounds(mut self, min: f64, max: f64) -> Self {
        self.min = min.min(max).max(f64::MIN_POSITIVE);
        self.max = max.max(min).max(self.min);
        self.set_rate(self.rate);
        self
    }

    /// Limits what is in flight, as a constant.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: u32) -> Self {
        self.concurrency = Some(concurrency);
        self
    }

    /// Thinks once in `interval`: a round trip or the quota's window, whichever is longer.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = Interval::new(interval.max(Duration::from_millis(1)));
        self
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn set_rate(&mut self, per_second: f64) {
        self.rate = per_second.clamp(self.min, self.max);
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval.length()
    }

    pub(super) fn count_sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// At the end of an interval, whether the rate was used in it: if not, nothing was learned about a higher one.
    pub(super) fn review(&mut self, now: Duration) -> Option<bool> {
        if !self.interval.has_ended(now) {
            return None;
        }
        let full = self.rate * self.interval.length().as_secs_f64();
        let sent = std::mem::take(&mut self.sent);
        Some(sent > 0 && f64::from(sent) + 1.0 >= USED * full)
    }

    pub(super) fn allowance(&self) -> Allowance {
        let burst = (self.rate / 50.0).clamp(1.0, 1000.0) as u32;
        let allowance = Allowance::UNLIMITED.with_rate(self.rate, burst);
        match self.concurrency {
            Some(limit) => allowance.with_concurrency(limit),
            None => allowance,
        }
    }
}

impl From<f64> for Pace {
    fn from(per_second: f64) -> Self {
        Self::new(per_second)
    }
}
