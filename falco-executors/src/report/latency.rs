//! Percentiles of a latency, in constant memory.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Three digits are kept, so that a percentile is within a thousandth of the true value.
const DIGITS: u8 = 3;
/// Latencies are counted up to here, some 50 days, so that one absurd value costs no memory.
const MAX_MICROS: u64 = 1 << 42;

/// How a latency is distributed over the invocations for which it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latencies {
    /// For how many invocations it is known.
    pub count: u64,
    /// The smallest.
    #[serde(rename = "min_ms", with = "super::millis")]
    pub min: Duration,
    /// The mean.
    #[serde(rename = "mean_ms", with = "super::millis")]
    pub mean: Duration,
    /// The median.
    #[serde(rename = "p50_ms", with = "super::millis")]
    pub p50: Duration,
    /// Nine of ten are no slower.
    #[serde(rename = "p90_ms", with = "super::millis")]
    pub p90: Duration,
    /// 99 of 100 are no slower.
    #[serde(rename = "p99_ms", with = "super::millis")]
    pub p99: Duration,
    /// The largest.
    #[serde(rename = "max_ms", with = "super::millis")]
    pub max: Duration,
}

/// Collects a latency. It takes no memory before the first value, and then some 20 to 200 KiB, however many there are.
#[derive(Clone, Default)]
pub(super) struct Distribution(Option<Histogram<u64>>);

/// The four latencies of a stage; those of a run are their sums.
#[derive(Clone, Default)]
pub(super) struct Distributions {
    pub(super) queue: Distribution,
    pub(super) cold_start: Distribution,
    pub(super) execution: Distribution,
    pub(super) total: Distribution,
}

impl Distributions {
    pub(super) fn add(&mut self, other: &Self) {
        self.queue.add(&other.queue);
        self.cold_start.add(&other.cold_start);
        self.execution.add(&other.execution);
        self.total.add(&other.total);
    }
}

impl fmt::Debug for Distributions {
    // A histogram has thousands of buckets; the latencies beside it say the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Distributions")
    }
}

impl Distribution {
    pub(super) fn record(&mut self, latency: Duration) {
        if self.0.is_none() {
            // It resizes itself, and its only failure is a number of digits above five.
            self.0 = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            // It resizes itself, so that a value below the cap always fits.
            let _ = histogram.record(micros.min(MAX_MICROS));
        }
    }

    fn add(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (None, Some(theirs)) => self.0 = Some(theirs.clone()),
            // Both resize themselves, so that the sum always fits.
            (Some(ours), Some(theirs)) => {
                let _ = ours.add(theirs);
            }
        }
    }

    pub(super) fn latencies(&self) -> Latencies {
        let Some(histogram) = &self.0 else { return Latencies::default() };
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Latencies {
            count: histogram.len(),
            min: Duration::from_micros(histogram.min()),
            mean: Duration::from_micros(histogram.mean().round() as u64),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: Duration::from_micros(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let mut distribution = Distribution::default();
        for millis in 1..=1_000 {
            distribution.record(Duration::from_millis(millis));
        }
        let latencies = distribution.latencies();
        assert_eq!(latencies.count, 1_000);
        for (got, wanted) in
            [(latencies.p50, 500.0), (latencies.p90, 900.0), (latencies.p99, 990.0)]
        {
            let millis = got.as_secs_f64() * 1_000.0;
            assert!((millis - wanted).abs() <= wanted / 1_000.0, "{millis} instead of {wanted}");
        }
    }

    #[test]
    fn distributions_add_up() {
        let (mut left, mut right) = (Distribution::default(), Distribution::default());
        left.add(&right);
        assert_eq!(left.latencies(), Latencies::default());
        right.record(Duration::from_secs(3_600));
        left.add(&right);
        left.record(Duration::from_micros(7));
        left.add(&right);
        assert_eq!(left.latencies().count, 3);
        assert_eq!(left.latencies().min, Duration::from_micros(7));
    }
}
