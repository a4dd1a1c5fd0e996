//! A PID controller that steers to a rate.

use std::time::Duration;

use falco_core::Capabilities;
use falco_core::congestion::{Allowance, CongestionController, Signal, SignalKind};

use super::pace::Pace;
use super::pid::Gains;

/// How far above the target the controller may send to make up for calls that are refused.
const OVERSHOOT: f64 = 1.5;
/// How far below the target it may send.
const UNDERSHOOT: f64 = 0.1;
/// An interval of which more was refused says that the target is above the quota: sending more would not help.
const MOST_REFUSED: f64 = 0.3;
/// An interval holds so many calls at least: the share of refused ones means nothing of two or three.
const CALLS: f64 = 20.0;
/// The longest interval, for rates of a few calls an hour.
const LONGEST: f64 = 3_600.0;

/// Steers so that the platform accepts a given number of calls per second: for an experiment at a constant load, and for a
/// service behind the functions that takes so much.
///
/// It sends as much more as is refused, and makes up for calls that started late, up to one and a half times the target.
/// Where the platform refuses three in ten calls or more the target is out of reach, and it sends no more than the target.
/// [`Pid`](crate::Pid) finds the highest rate that the platform accepts instead.
///
/// # Examples
///
/// ```
/// use falco_core::congestion::CongestionController;
/// use falco_layers::TargetRate;
/// use std::time::Duration;
///
/// let mut fifty = TargetRate::new(50.0);
/// assert_eq!(fifty.allowance(Duration::ZERO).per_second, Some(50.0));
/// ```
#[derive(Clone, Debug)]
pub struct TargetRate {
    target: f64,
    pace: Pace,
    gains: Gains,
    /// In this interval.
    sent: u32,
    /// In this interval.
    refused: u32,
    /// The errors of the last two intervals as shares of the target, the latest first.
    errors: [f64; 2],
    last_review: Duration,
}

impl TargetRate {
    /// Steers to `per_second` accepted calls. What is not a positive number counts as the smallest one.
    pub fn new(per_second: f64) -> Self {
        let target =
            if per_second > 0.0 { per_second.min(f64::MAX / 2.0) } else { f64::MIN_POSITIVE };
        Self {
            target,
            pace: Pace::new(target)
                .with_bounds(target * UNDERSHOOT, target * OVERSHOOT)
                .with_interval(Duration::from_secs_f64((CALLS / target).clamp(1.0, LONGEST))),
            gains: Gains::default().with_proportional(0.2).with_integral(0.5).with_derivative(0.02),
            sent: 0,
            refused: 0,
            errors: [0.0; 2],
            last_review: Duration::ZERO,
        }
    }

    /// Keeps within what the platform reports of the calls that may be in flight.
    #[must_use]
    pub fn within(mut self, capabilities: &Capabilities) -> Self {
        if let Some(concurrency) = capabilities.concurrency {
            self.pace = self.pace.with_concurrency(concurrency);
        }
        self
    }

    /// Weighs the three terms.
    #[must_use]
    pub fn with_gains(mut self, gains: Gains) -> Self {
        self.gains = gains;
        self
    }

    fn review(&mut self, now: Duration) {
        let Some(was_used) = self.pace.review(now) else { return };
        let seconds = now.saturating_sub(self.last_review).as_secs_f64();
        let (sent, refused) = (f64::from(self.sent), f64::from(self.refused));
        (self.sent, self.refused, self.last_review) = (0, 0, now);
        if refused > 0.0 && refused >= MOST_REFUSED * sent {
            self.errors = [0.0; 2];
            return self.pace.set_rate(self.target);
        }
        // A rate that was not used up lacks inputs or slots, and a higher one would change nothing.
        if !was_used {
            return;
        }
        let error = (self.target - (sent - refused) / seconds) / self.target;
        let [last, before] = self.errors;
        let change = self.gains.proportional * (error - last)
            + self.gains.integral * error
            + self.gains.derivative * (error - 2.0 * last + before);
        self.errors = [error, last];
        if change.is_finite() {
            self.pace.set_rate(self.pace.rate() + self.target * change.clamp(-1.0, 1.0));
        }
    }
}

impl CongestionController for TargetRate {
    fn on_sent(&mut self, now: Duration, _: u32) {
        self.review(now);
        self.pace.count_sent();
        self.sent = self.sent.saturating_add(1);
    }

    fn on_signal(&mut self, now: Duration, signal: &Signal) {
        self.review(now);
        if signal.kind == SignalKind::Throttled {
            self.refused = self.refused.saturating_add(1);
        }
    }

    fn allowance(&mut self, now: Duration) -> Allowance {
        self.review(now);
        self.pace.allowance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as allowed for `seconds`, every `nth` call refused, and returns the accepted calls per second in
    /// the second half.
    fn accepted(controller: &mut TargetRate, seconds: u32, nth: u32) -> f64 {
        let (mut now, mut accepted, mut number) = (Duration::ZERO, 0_u32, 0_u32);
        let (half, end) =
            (Duration::from_secs(seconds.into()) / 2, Duration::from_secs(seconds.into()));
        while now < end {
            controller.on_sent(now, 1);
            number += 1;
            let kind =
                if nth > 0 && number % nth == 0 { SignalKind::Throttled } else { SignalKind::Ok };
            accepted += u32::from(kind == SignalKind::Ok && now >= half);
            controller.on_signal(now, &Signal::new(kind, now, Duration::ZERO, 1));
            let rate = controller.allowance(now).per_second.unwrap();
            now += Duration::from_secs_f64(1.0 / rate);
        }
        f64::from(accepted) / half.as_secs_f64()
    }

    #[test]
    fn as_many_calls_are_accepted_as_the_target_says() {
        for target in [2.0, 50.0, 1_000.0] {
            for refused in [0, 10, 5] {
                let reached = accepted(&mut TargetRate::new(target), 200, refused);
                let off = (reached - target).abs() / target;
                assert!(off < 0.05, "{reached} instead of {target}, one in {refused} refused");
            }
        }
    }

    /// The rate of a controller with these gains and a target of 100 a second, after seconds in which so many of 100 calls were
    /// refused.
    fn steered(gains: Gains, refused: &[u32]) -> Vec<f64> {
        let mut controller = TargetRate::new(100.0).with_gains(gains);
        let second = |(second, refused): (u64, &u32)| {
            let end = Duration::from_secs(second + 1);
            let now = end - Duration::from_millis(500);
            for call in 0..100 {
                controller.on_sent(now, 1);
                let kind = if call < *refused { SignalKind::Throttled } else { SignalKind::Ok };
                controller.on_signal(now, &Signal::new(kind, now, Duration::ZERO, 1));
            }
            controller.allowance(end).per_second.unwrap()
        };
        (0..).zip(refused).map(second).collect()
    }

    #[test]
    fn each_term_weighs_what_its_name_says() {
        let none = Gains::default().with_proportional(0.0).with_integral(0.0).with_derivative(0.0);
        let is = |gains, refused: &[u32], expected: &[f64]| {
            let rates = steered(gains, refused);
            let off = rates.iter().zip(expected).map(|(rate, it)| (rate - it).abs());
            assert!(off.fold(0.0, f64::max) < 1e-9, "{rates:?} instead of {expected:?}");
        };
        // A tenth too few calls are accepted, in each interval.
        is(none.with_proportional(1.0), &[10; 3], &[110.0; 3]);
        is(none.with_integral(1.0), &[10; 3], &[110.0, 120.0, 130.0]);
        is(none.with_derivative(1.0), &[10; 3], &[110.0, 100.0, 100.0]);
        // The target is met.
        is(Gains::default(), &[0; 3], &[100.0; 3]);
        // Three in ten are refused: back to the target, and what was before is forgotten.
        is(none.with_integral(1.0), &[10, 29, 30, 10], &[110.0, 139.0, 100.0, 110.0]);
        is(none.with_proportional(1.0), &[20, 30, 20], &[120.0, 100.0, 120.0]);
    }

    #[test]
    fn a_slow_target_is_looked_at_after_twenty_calls() {
        let mut controller = TargetRate::new(2.0);
        for call in 0..20 {
            let now = Duration::from_millis(500 * call);
            controller.on_sent(now, 1);
            let kind = if call < 2 { SignalKind::Throttled } else { SignalKind::Ok };
            controller.on_signal(now, &Signal::new(kind, now, Duration::ZERO, 1));
        }
        let mut rate = |millis| controller.allowance(Duration::from_millis(millis)).per_second;
        assert_eq!(rate(9_999), Some(2.0));
        assert!(rate(10_000) > Some(2.0));
    }

    #[test]
    fn a_target_out_of_reach_is_not_chased() {
        let mut controller = TargetRate::new(50.0);
        accepted(&mut controller, 60, 2);
        assert_eq!(controller.allowance(Duration::from_secs(61)).per_second, Some(50.0));
    }

    #[test]
    fn a_lack_of_inputs_does_not_wind_it_up() {
        let mut controller = TargetRate::new(50.0);
        for second in 0..60 {
            controller.on_sent(Duration::from_secs(second), 1);
        }
        assert_eq!(controller.allowance(Duration::from_secs(61)).per_second, Some(50.0));
    }
}
