//! How long things take: fixed, distributed, or as the test says for each invocation.

use std::f64::consts::TAU;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use falco_core::Invocation;

/// How long something takes.
///
/// # Examples
///
/// ```
/// use falco_testkit::Latency;
/// use std::time::Duration;
///
/// let usual = Latency::log_normal(Duration::from_millis(80), 0.4);
/// let with_tail = usual.with_stragglers(0.01, 20.0);
/// # let _ = with_tail;
/// ```
#[derive(Clone, Default)]
pub struct Latency {
    kind: Kind,
    stragglers: Option<Stragglers>,
}

#[derive(Clone, Default)]
enum Kind {
    #[default]
    Zero,
    Fixed(Duration),
    Uniform(Duration, Duration),
    LogNormal {
        median: f64,
        sigma: f64,
    },
    By(Arc<dyn Fn(&Invocation) -> Duration + Send + Sync>),
}

#[derive(Clone, Copy, Debug)]
struct Stragglers {
    share: f64,
    factor: f64,
}

impl Latency {
    /// No time at all.
    pub const ZERO: Self = Self { kind: Kind::Zero, stragglers: None };

    /// Always the same.
    pub fn fixed(duration: Duration) -> Self {
        Self::from(Kind::Fixed(duration))
    }

    /// Anything from `min` to `max`, equally likely.
    pub fn uniform(min: Duration, max: Duration) -> Self {
        Self::from(Kind::Uniform(min, max.max(min)))
    }

    /// Log-normal, the usual shape of service times: `sigma` is the standard deviation of the logarithm; 0.3 is calm,
    /// 1.0 wild.
    pub fn log_normal(median: Duration, sigma: f64) -> Self {
        Self::from(Kind::LogNormal { median: median.as_secs_f64(), sigma })
    }

    /// As the test says, invocation by invocation.
    pub fn by(latency: impl Fn(&Invocation) -> Duration + Send + Sync + 'static) -> Self {
        Self::from(Kind::By(Arc::new(latency)))
    }

    /// Makes a `share` of them (0 to 1) `factor` times as long.
    #[must_use]
    pub fn with_stragglers(mut self, share: f64, factor: f64) -> Self {
        self.stragglers = Some(Stragglers { share, factor });
        self
    }

    /// One sample for `invocation`; the same random state gives the same sample.
    pub fn sample(&self, invocation: &Invocation, rng: &mut fastrand::Rng) -> Duration {
        let usual = match &self.kind {
            Kind::Zero => return Duration::ZERO,
            Kind::Fixed(duration) => *duration,
            Kind::Uniform(min, max) => *min + (*max - *min).mul_f64(rng.f64()),
            Kind::LogNormal { median, sigma } => {
                seconds(median * (sigma * standard_normal(rng)).exp())
            }
            Kind::By(latency) => latency(invocation),
        };
        match self.stragglers {
            Some(Stragglers { share, factor }) if rng.f64() < share => {
                seconds(usual.as_secs_f64() * factor)
            }
            _ => usual,
        }
    }
}

impl Latency {
    /// The mean of all samples; `None` when the test decides them.
    pub fn mean(&self) -> Option<Duration> {
        let usual = match &self.kind {
            Kind::Zero => return Some(Duration::ZERO),
            Kind::Fixed(duration) => duration.as_secs_f64(),
            Kind::Uniform(min, max) => (min.as_secs_f64() + max.as_secs_f64()) / 2.0,
            Kind::LogNormal { median, sigma } => median * (sigma * sigma / 2.0).exp(),
            Kind::By(_) => return None,
        };
        let stragglers = self.stragglers.map_or(0.0, |s| s.share * (s.factor - 1.0));
        Some(seconds(usual * (1.0 + stragglers)))
    }
}

impl From<Kind> for Latency {
    fn from(kind: Kind) -> Self {
        Self { kind, stragglers: None }
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Zero => f.write_str("zero")?,
            Kind::Fixed(duration) => write!(f, "{duration:?}")?,
            Kind::Uniform(min, max) => write!(f, "{min:?} to {max:?}")?,
            Kind::LogNormal { median, sigma } => write!(f, "log-normal({median} s, {sigma})")?,
            Kind::By(_) => f.write_str("by invocation")?,
        }
        match self.stragglers {
            Some(Stragglers { share, factor }) => write!(f, ", {share} of them x {factor}"),
            None => Ok(()),
        }
    }
}

/// A day is longer than any test waits, and far from what a `Duration` cannot hold.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// Box and Muller's method; one of its two values is enough here.
fn standard_normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (TAU * rng.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use falco_core::Payload;

    fn samples(latency: &Latency) -> Vec<Duration> {
        let invocation = Invocation::new("run", "stage", "i", Payload::empty());
        let mut rng = fastrand::Rng::with_seed(7);
        let mut all: Vec<_> = (0..10_001).map(|_| latency.sample(&invocation, &mut rng)).collect();
        all.sort();
        all
    }

    #[test]
    fn a_log_normal_latency_has_the_median_asked_for() {
        let median = samples(&Latency::log_normal(Duration::from_millis(100), 0.5))[5_000];
        assert!((95..105).contains(&median.as_millis()), "{median:?}");
    }

    #[test]
    fn the_mean_is_that_of_the_samples() {
        let millis = Duration::from_millis;
        for latency in [
            Latency::fixed(millis(10)),
            Latency::uniform(millis(10), millis(30)),
            Latency::log_normal(millis(100), 0.5),
            Latency::fixed(millis(10)).with_stragglers(0.1, 11.0),
        ] {
            let samples = samples(&latency);
            let mean = samples.iter().sum::<Duration>() / samples.len() as u32;
            let off = mean.as_secs_f64() / latency.mean().unwrap().as_secs_f64();
            assert!((0.97..1.03).contains(&off), "{latency:?}: {mean:?}");
        }
    }

    #[test]
    fn stragglers_are_as_many_and_as_slow_as_asked_for() {
        let latency = Latency::fixed(Duration::from_millis(10)).with_stragglers(0.02, 50.0);
        let slow = samples(&latency).iter().filter(|s| **s == Duration::from_millis(500)).count();
        assert!((150..250).contains(&slow), "{slow}");
    }
}
