//! Additive increase, multiplicative decrease, with slow start.

use std::time::Duration;

use falco_core::{Allowance, Capabilities, CongestionController, Signal, SignalKind};

use super::interval::Interval;

/// The rate of a platform that tells none.
const UNKNOWN_RATE: f64 = 10.0;

/// The classic: doubles its rate every interval until it is throttled for the first time, then halves it when it is
/// throttled and adds a little when it is not.
///
/// It halves at most once an interval: what is in flight together tells of one event. It grows only while its
/// rate is used.
///
/// # Examples
///
/// ```
/// use falco_core::{CongestionController, Signal, SignalKind};
/// use falco_layers::Aimd;
/// use std::time::Duration;
///
/// let mut aimd = Aimd::new(100.0);
/// let sent_at = Duration::from_millis(200);
/// let throttled = Signal::new(SignalKind::Throttled, sent_at, Duration::from_millis(50), 4);
/// aimd.on_signal(Duration::from_millis(250), &throttled);
/// aimd.on_signal(Duration::from_millis(251), &throttled);
/// assert_eq!(aimd.allowance(Duration::from_millis(251)).per_second, Some(50.0));
/// ```
#[derive(Clone, Debug)]
pub struct Aimd {
    rate: f64,
    min: f64,
    max: f64,
    increase: f64,
    slow_start: bool,
    concurrency: Option<u32>,
    interval: Interval,
    cut_at: Option<Duration>,
    sent: u32,
    throttled: bool,
}

impl Aimd {
    /// Starts with `per_second`, between a hundredth and a hundred times as much; intervals of one second.
    pub fn new(per_second: f64) -> Self {
        let rate =
            if per_second.is_finite() { per_second.max(f64::MIN_POSITIVE) } else { f64::MAX };
        Self {
            rate,
            min: rate / 100.0,
            max: rate * 100.0,
            increase: rate / 20.0,
            slow_start: true,
            concurrency: None,
            interval: Interval::new(Duration::from_secs(1)),
            cut_at: None,
            sent: 0,
            throttled: false,
        }
    }

    /// Starts from what the platform tells, thinks once in its quota's window, and stays within its concurrency.
    pub fn from_capabilities(capabilities: &Capabilities) -> Self {
        let rate = capabilities.rate.map_or(UNKNOWN_RATE, |rate| rate.per_second());
        let mut aimd = Self::new(rate);
        aimd.slow_start = capabilities.rate.is_none();
        aimd.concurrency = capabilities.concurrency;
        let window = capabilities.rate.map_or(Duration::ZERO, |rate| rate.window);
        aimd.with_interval(window.max(Duration::from_secs(1)))
    }

    /// Keeps the rate between `min` and `max` per second.
    #[must_use]
    pub fn with_bounds(mut self, min: f64, max: f64) -> Self {
        (self.min, self.max) = (min.min(max).max(f64::MIN_POSITIVE), max.max(min));
        self.rate = self.rate.clamp(self.min, self.max);
        self
    }

    /// Adds `per_second` for every interval without throttling; by default a twentieth of the first rate.
    #[must_use]
    pub fn with_increase(mut self, per_second: f64) -> Self {
        self.increase = per_second.max(0.0);
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

    fn review(&mut self, now: Duration) {
        if !self.interval.has_ended(now) {
            return;
        }
        let full = self.rate * self.interval.length().as_secs_f64();
        let is_used = f64::from(self.sent) + 1.0 >= 0.8 * full;
        if !self.throttled && is_used {
            let grown = if self.slow_start { self.rate * 2.0 } else { self.rate + self.increase };
            self.rate = grown.min(self.max);
        }
        self.sent = 0;
        self.throttled = false;
    }
}

impl CongestionController for Aimd {
    fn on_sent(&mut self, now: Duration, _: u32) {
        self.review(now);
        self.sent = self.sent.saturating_add(1);
    }

    fn on_signal(&mut self, now: Duration, signal: &Signal) {
        self.review(now);
        if signal.kind != SignalKind::Throttled {
            return;
        }
        self.throttled = true;
        self.slow_start = false;
        let is_new = self
            .cut_at
            .is_none_or(|cut| signal.sent_at > cut && now >= cut + self.interval.length());
        if is_new {
            self.cut_at = Some(now);
            self.rate = (self.rate / 2.0).max(self.min);
        }
    }

    fn allowance(&mut self, now: Duration) -> Allowance {
        self.review(now);
        let burst = (self.rate / 50.0).clamp(1.0, 1000.0) as u32;
        let allowance = Allowance::UNLIMITED.with_rate(self.rate, burst);
        match self.concurrency {
            Some(limit) => allowance.with_concurrency(limit),
            None => allowance,
        }
    }
}
