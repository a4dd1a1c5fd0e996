//! A provider's quotas, as data.

use std::time::Duration;

/// A provider's quotas of an account. `None` is without limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    /// Activations at the same time, over all functions.
    pub concurrency: Option<u32>,
    /// Invocations per time.
    pub rate: Option<Rate>,
    /// Instances of one function started per time.
    pub ramp: Option<Ramp>,
}

impl Quotas {
    /// Invocations per second in the long run, when each takes `latency` on average.
    pub fn sustainable_rate(&self, latency: Option<Duration>) -> Option<f64> {
        let by_rate = self.rate.map(Rate::per_second);
        let by_concurrency = match (self.concurrency, latency) {
            (Some(n), Some(latency)) if !latency.is_zero() => {
                Some(f64::from(n) / latency.as_secs_f64())
            }
            _ => None,
        };
        match (by_rate, by_concurrency) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }
}

/// How a provider counts invocations.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rate {
    /// So many in each window, counted anew from its beginning: OpenWhisk's minute. What is refused for another reason
    /// has used up its share anyway.
    FixedWindow {
        /// How many in one window.
        invocations: u32,
        /// How long the window is.
        window: Duration,
        /// How much of the first window is over when the simulation begins.
        phase: Duration,
    },
    /// A bucket that is filled continuously: Lambda and Google.
    TokenBucket {
        /// How many are added each second.
        per_second: f64,
        /// How many it holds.
        burst: u32,
    },
}

impl Rate {
    /// The rate in the long run.
    pub fn per_second(self) -> f64 {
        match self {
            Self::FixedWindow { invocations, window, .. } => {
                f64::from(invocations) / window.as_secs_f64().max(f64::MIN_POSITIVE)
            }
            Self::TokenBucket { per_second, .. } => per_second,
        }
    }
}

/// How fast instances of one function can be started: a bucket, filled continuously. Lambda adds 1,000 in 10 seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// How many are added each second.
    pub per_second: f64,
    /// How many can be started at once.
    pub burst: u32,
}
