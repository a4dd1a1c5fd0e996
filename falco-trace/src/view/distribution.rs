//! How a length of time is distributed.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::units::Micros;

/// Two digits are kept: a percentile is within a hundredth of the true value.
const DIGITS: u8 = 2;
/// Values are counted up to here, some 50 days, so that one absurd value costs no memory.
const MAX_MICROS: u64 = 1 << 42;

/// How a length of time is distributed, in constant memory: nothing before the first value, then some 10 KiB.
#[derive(Clone, Default, PartialEq)]
pub struct Distribution(Option<Histogram<u64>>);

/// The numbers of a [`Distribution`] that tables show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// The number of values.
    pub count: u64,
    /// The median.
    pub p50: Micros,
    /// Nine of ten are at most this.
    pub p90: Micros,
    /// 99 of 100 are at most this.
    pub p99: Micros,
    /// The highest.
    pub max: Micros,
}

impl Distribution {
    /// Adds a value.
    pub fn record(&mut self, value: Micros) {
        if self.0.is_none() {
            // It resizes itself, and its only failure is a number of digits above five.
            self.0 = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            let value = u64::try_from(value.0).unwrap_or_default();
            // It resizes itself, so that a value below the cap always fits.
            let _ = histogram.record(value.min(MAX_MICROS));
        }
    }

    /// Adds all values of another one.
    pub fn add(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (Some(own), Some(other)) => {
                // It resizes itself.
                let _ = own.add(other);
            }
            (None, Some(_)) => self.0.clone_from(&other.0),
            (_, None) => {}
        }
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The number of values up to `value`, within a hundredth.
    pub fn count_up_to(&self, value: Micros) -> u64 {
        let value = u64::try_from(value.0).unwrap_or_default();
        self.0.as_ref().map_or(0, |histogram| histogram.count_between(0, value))
    }

    /// The sum of all values, within a hundredth.
    pub fn sum(&self) -> Micros {
        let sum =
            self.0.as_ref().map_or(0.0, |histogram| histogram.mean() * histogram.len() as f64);
        Micros(sum.round() as i64)
    }

    /// The value that this part of all values does not exceed, from 0 to 1.
    pub fn quantile(&self, part: f64) -> Micros {
        let value = self.0.as_ref().map_or(0, |histogram| histogram.value_at_quantile(part));
        Micros(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// The numbers for a table.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            count: self.count(),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            max: self.quantile(1.0),
        }
    }

    /// Each value that occurs, with how often: for plots.
    pub fn steps(&self) -> Vec<(Micros, u64)> {
        let Some(histogram) = &self.0 else { return Vec::new() };
        histogram
            .iter_recorded()
            .map(|step| {
                let value = i64::try_from(step.value_iterated_to()).unwrap_or(i64::MAX);
                (Micros(value), step.count_at_value())
            })
            .collect()
    }
}

impl fmt::Debug for Distribution {
    // A histogram has thousands of buckets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.percentiles(), f)
    }
}
