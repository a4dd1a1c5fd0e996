//! A PID controller that steers the share of throttled calls.

use std::time::Duration;

use falco_core::{Allowance, Capabilities, CongestionController, Signal, SignalKind};

use super::interval::Interval;

/// The rate of a platform that tells none.
const UNKNOWN_RATE: f64 = 10.0;
/// The share of throttled calls that tells that the rate is right: with none at all one cannot know how much more
/// would be allowed.
const TARGET: f64 = 0.01;
/// Being this far over the target is as bad as it gets; else the first interval of a halved quota would kick the
/// rate to the floor.
const WORST: f64 = 0.5;

/// Steers the rate so that one call in a hundred is throttled.
///
/// It works on the logarithm of the rate, in velocity form: the output of an interval is the *change* that three
/// terms ask for. So nothing winds up while the rate stands at a bound, and a bound is left at once when the sign
/// of the error changes.
///
/// # Examples
///
/// ```
/// use falco_core::CongestionController;
/// use falco_layers::Pid;
/// use std::time::Duration;
///
/// let mut pid = Pid::new(100.0).with_bounds(10.0, 200.0);
/// assert_eq!(pid.allowance(Duration::ZERO).per_second, Some(100.0));
/// ```
#[derive(Clone, Debug)]
pub struct Pid {
    rate: f64,
    min: f64,
    max: f64,
    gains: Gains,
    concurrency: Option<u32>,
    interval: Interval,
    sent: u32,
    answered: u32,
    throttled: u32,
    /// The errors of the last two intervals, the latest first.
    errors: [f64; 2],
}

/// The weights of the three terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains {
    /// Of the error's change.
    pub proportional: f64,
    /// Of the error itself, for each interval.
    pub integral: f64,
    /// Of the change of the error's change.
    pub derivative: f64,
}

impl Default for Gains {
    fn default() -> Self {
        Self { proportional: 0.4, integral: 1.0, derivative: 0.05 }
    }
}

impl Pid {
    /// Starts with `per_second`, between a hundredth and a hundred times as much; intervals of one second.
    pub fn new(per_second: f64) -> Self {
        let rate =
            if per_second.is_finite() { per_second.max(f64::MIN_POSITIVE) } else { f64::MAX };
        Self {
            rate,
            min: rate / 100.0,
            max: rate * 100.0,
            gains: Gains::default(),
            concurrency: None,
            interval: Interval::new(Duration::from_secs(1)),
            sent: 0,
            answered: 0,
            throttled: 0,
            errors: [0.0; 2],
        }
    }

    /// Starts from what the platform tells, thinks once in its quota's window, and stays within its concurrency.
    pub fn from_capabilities(capabilities: &Capabilities) -> Self {
        let mut pid = Self::new(capabilities.rate.map_or(UNKNOWN_RATE, |rate| rate.per_second()));
        pid.concurrency = capabilities.concurrency;
        let window = capabilities.rate.map_or(Duration::ZERO, |rate| rate.window);
        pid.with_interval(window.max(Duration::from_secs(1)))
    }

    /// Keeps the rate between `min` and `max` per second.
    #[must_use]
    pub fn with_bounds(mut self, min: f64, max: f64) -> Self {
        (self.min, self.max) = (min.min(max).max(f64::MIN_POSITIVE), max.max(min));
        self.rate = self.rate.clamp(self.min, self.max);
        self
    }

    /// Weighs the three terms.
    #[must_use]
    pub fn with_gains(mut self, gains: Gains) -> Self {
        self.gains = gains;
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
        // An interval that was not full, and in which nothing was refused, tells nothing about a higher rate.
        if self.answered > 0 && (is_used || self.throttled > 0) {
            let share = f64::from(self.throttled) / f64::from(self.answered);
            let error = (TARGET - share).max(-WORST);
            let [last, before] = self.errors;
            // The target is one per cent, so an error upwards is at most that: weigh it like one downwards.
            let weighed = if error > 0.0 { error * 10.0 } else { error };
            let change = self.gains.proportional * (weighed - last)
                + self.gains.integral * weighed
                + self.gains.derivative * (weighed - 2.0 * last + before);
            self.errors = [weighed, last];
            if change.is_finite() {
                self.rate = (self.rate * change.clamp(-1.0, 1.0).exp()).clamp(self.min, self.max);
            }
        }
        self.sent = 0;
        self.answered = 0;
        self.throttled = 0;
    }
}

impl CongestionController for Pid {
    fn on_sent(&mut self, now: Duration, _: u32) {
        self.review(now);
        self.sent = self.sent.saturating_add(1);
    }

    fn on_signal(&mut self, now: Duration, signal: &Signal) {
        self.review(now);
        match signal.kind {
            SignalKind::Ok => self.answered = self.answered.saturating_add(1),
            SignalKind::Throttled => {
                self.answered = self.answered.saturating_add(1);
                self.throttled = self.throttled.saturating_add(1);
            }
            _ => {}
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
