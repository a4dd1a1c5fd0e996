//! Additive increase, multiplicative decrease, with slow start.

use std::time::Duration;

use falco_core::Capabilities;
use falco_core::congestion::{Allowance, CongestionController, Signal, SignalKind};

use super::pace::Pace;
use super::quota::Quota;

/// The classic: doubles its rate every interval until it is throttled for the first time, then halves it when it is
/// throttled and adds a little when it is not.
///
/// It halves at most once an interval: what is in flight together reports one event. It grows only while its
/// rate is used.
///
/// # Examples
///
/// ```
/// use falco_core::congestion::{CongestionController, Signal, SignalKind};
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
    pace: Pace,
    increase: f64,
    slow_start: bool,
    cut_at: Option<Duration>,
    /// In this interval.
    throttled: bool,
}

impl Aimd {
    /// Goes at `pace`, which may be just a number of calls per second.
    pub fn new(pace: impl Into<Pace>) -> Self {
        let pace = pace.into();
        let increase = pace.rate() / 20.0;
        Self { pace, increase, slow_start: true, cut_at: None, throttled: false }
    }

    /// Starts from what the platform reports. Where that is a rate, there is no slow start.
    pub fn from_capabilities(capabilities: &Capabilities) -> Self {
        let slow_start = Quota::reported(capabilities).is_none();
        Self { slow_start, ..Self::new(Pace::from_capabilities(capabilities)) }
    }

    /// Adds `per_second` for every interval without throttling; by default a twentieth of the first rate.
    #[must_use]
    pub fn with_increase(mut self, per_second: f64) -> Self {
        self.increase = per_second.max(0.0);
        self
    }

    fn review(&mut self, now: Duration) {
        let Some(was_used) = self.pace.review(now) else { return };
        if !self.throttled && was_used {
            let rate = self.pace.rate();
            self.pace.set_rate(if self.slow_start { rate * 2.0 } else { rate + self.increase });
        }
        self.throttled = false;
    }
}

impl CongestionController for Aimd {
    fn on_sent(&mut self, now: Duration, _: u32) {
        self.review(now);
        self.pace.count_sent();
    }

    fn on_signal(&mut self, now: Duration, signal: &Signal) {
        self.review(now);
        if signal.kind != SignalKind::Throttled {
            return;
        }
        self.throttled = true;
        self.slow_start = false;
        let is_new = self.cut_at.is_none_or(|cut| {
            signal.sent_at > cut && now.saturating_sub(cut) >= self.pace.interval()
        });
        if is_new {
            self.cut_at = Some(now);
            self.pace.set_rate(self.pace.rate() / 2.0);
        }
    }

    fn allowance(&mut self, now: Duration) -> Allowance {
        self.review(now);
        self.pace.allowance()
    }
}
