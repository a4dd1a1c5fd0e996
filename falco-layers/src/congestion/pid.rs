//! A PID controller that steers the share of throttled calls.

use std::time::Duration;

use falco_core::congestion::{Allowance, CongestionController, Signal, SignalKind};
use falco_core::{Capabilities, setters};

use super::pace::Pace;

/// The share of throttled calls at which the rate is right: with none at all one cannot know how much more
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
/// use falco_core::congestion::CongestionController;
/// use falco_layers::{Pace, Pid};
/// use std::time::Duration;
///
/// let mut pid = Pid::new(Pace::new(100.0).with_bounds(10.0, 200.0));
/// assert_eq!(pid.allowance(Duration::ZERO).per_second, Some(100.0));
/// ```
#[derive(Clone, Debug)]
pub struct Pid {
    pace: Pace,
    gains: Gains,
    /// In this interval.
    answered: u32,
    /// In this interval.
    throttled: u32,
    /// The errors of the last two intervals, the latest first.
    errors: [f64; 2],
}

/// The weights of the three terms.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gains {
    /// The weight of the error's change.
    pub proportional: f64,
    /// The weight of the error itself, for each interval.
    pub integral: f64,
    /// The weight of the change of the error's change.
    pub derivative: f64,
}

impl Gains {
    setters! {
        /// Sets the weight of the error's change.
        with_proportional(proportional: f64);
        /// Sets the weight of the error itself, for each interval.
        with_integral(integral: f64);
        /// Sets the weight of the change of the error's change.
        with_derivative(derivative: f64);
    }
}

impl Default for Gains {
    fn default() -> Self {
        Self { proportional: 0.4, integral: 1.0, derivative: 0.05 }
    }
}

impl Pid {
    /// Goes at `pace`, which may be just a number of calls per second.
    pub fn new(pace: impl Into<Pace>) -> Self {
        let pace = pace.into();
        Self { pace, gains: Gains::default(), answered: 0, throttled: 0, errors: [0.0; 2] }
    }

    /// Starts from what the platform reports.
    pub fn from_capabilities(capabilities: &Capabilities) -> Self {
        Self::new(Pace::from_capabilities(capabilities))
    }

    /// Weighs the three terms.
    #[must_use]
    pub fn with_gains(mut self, gains: Gains) -> Self {
        self.gains = gains;
        self
    }

    fn review(&mut self, now: Duration) {
        let Some(was_used) = self.pace.review(now) else { return };
        // An interval that was not full, and in which nothing was refused, says nothing about a higher rate.
        if self.answered > 0 && (was_used || self.throttled > 0) {
            let share = f64::from(self.throttled) / f64::from(self.answered);
            let error = (TARGET - share).max(-WORST);
            let [last, before] = self.errors;
            // The target is one per cent, so an error upwards is at most that: weigh it like one downwards.
            let weighed = error.max(error * 10.0);
            let change = self.gains.proportional * (weighed - last)
                + self.gains.integral * weighed
                + self.gains.derivative * (weighed - 2.0 * last + before);
            self.errors = [weighed, last];
            if change.is_finite() {
                self.pace.set_rate(self.pace.rate() * change.clamp(-1.0, 1.0).exp());
            }
        }
        self.answered = 0;
        self.throttled = 0;
    }
}

impl CongestionController for Pid {
    fn on_sent(&mut self, now: Duration, _: u32) {
        self.review(now);
        self.pace.count_sent();
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
        self.pace.allowance()
    }
}
