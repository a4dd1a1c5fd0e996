//! The cost of activations.

use std::time::Duration;

use falco_core::{Prices, Scaling, UsDollars, setters};

/// Prices of Cloud Run functions with request-based billing, in US dollars.
///
/// The default is the list price of Google's "tier 1" regions as published in November 2026, without the free tier
/// and without network traffic, builds, tasks, storage and logs.
///
/// # Examples
///
/// ```
/// use falco_gcp::PriceTable;
/// use std::time::Duration;
///
/// // 30 seconds on one processor and 2 GiB.
/// let cost = PriceTable::default().activation(Duration::from_secs(30), 1.0, 2048);
/// assert_eq!(format!("{:.6}", cost.0), "0.000870");
///
/// let tier_2 = PriceTable::default().with_per_cpu_second(0.0000336).with_per_gib_second(0.0000035);
/// assert!(tier_2.activation(Duration::from_secs(30), 1.0, 2048) > cost);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PriceTable {
    /// One processor for one second.
    pub per_cpu_second: f64,
    /// One GiB of memory for one second.
    pub per_gib_second: f64,
    /// One request.
    pub per_request: f64,
    /// Instance time is rounded up to a multiple of it.
    pub granularity: Duration,
}

impl Default for PriceTable {
    fn default() -> Self {
        Self {
            per_cpu_second: 0.000_024,
            per_gib_second: 0.000_002_5,
            per_request: 0.000_000_4,
            granularity: Duration::from_millis(100),
        }
    }
}

impl PriceTable {
    setters! {
        /// Sets the price of one processor for one second.
        with_per_cpu_second(per_cpu_second: f64);
        /// Sets the price of one GiB of memory for one second.
        with_per_gib_second(per_gib_second: f64);
        /// Sets the price of one request.
        with_per_request(per_request: f64);
        /// Sets the step to a multiple of which instance time is rounded up.
        with_granularity(granularity: Duration);
    }

    /// The time that is charged for an instance that was busy for `busy`.
    pub fn billed(&self, busy: Duration) -> Duration {
        Prices::default().with_granularity(self.granularity).billed(busy)
    }

    /// The cost of one activation that kept an instance of `cpus` processors and `memory_mib` busy for `busy`, its
    /// start included, and shared it with no other.
    pub fn activation(&self, busy: Duration, cpus: f64, memory_mib: u32) -> UsDollars {
        let size = Scaling::default().with_memory_mib(memory_mib);
        let prices = self.prices().with_cpus(vec![(memory_mib, cpus)]);
        prices.cost(busy, &size)
    }

    /// The prices of functions with the processors that Google gives to their memory. Every cost is an estimate, from the
    /// times that the function's shim has measured.
    pub fn prices(&self) -> Prices {
        Prices::default()
            .with_request(self.per_request)
            .with_gib_second(self.per_gib_second)
            .with_cpu_second(self.per_cpu_second)
            .with_granularity(self.granularity)
            .with_cpus(CPUS.to_vec())
            .with_unmeasured(UNMEASURED)
            .with_unmeasured_start(UNMEASURED_START)
            .with_always_estimated(true)
    }
}

/// Google charges an instance from its start and while it has a request, in steps of 100 ms. The shim measures the function and
/// the start of its process: it lacks the way of a request through the server, of which one step is enough, and the start of
/// the server on a new instance.
const UNMEASURED: Duration = Duration::from_millis(100);
const UNMEASURED_START: Duration = Duration::from_secs(2);

/// The processors that Google gives an instance of up to so many MiB when none are named.
const CPUS: [(u32, f64); 8] = [
    (128, 0.083),
    (256, 0.167),
    (512, 0.333),
    (1024, 0.583),
    (2048, 1.0),
    (8192, 2.0),
    (16_384, 4.0),
    (u32::MAX, 8.0),
];

/// The processors that Google gives an instance of `memory_mib` when none are named.
pub(crate) fn default_cpus(memory_mib: u32) -> f64 {
    CPUS.iter().find(|(up_to, _)| memory_mib <= *up_to).map_or(8.0, |(_, cpus)| *cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_charged_by_the_tenth_of_a_second_begun() {
        let prices = PriceTable::default();
        for (busy, billed) in [(0, 100), (1, 100), (100, 100), (101, 200), (30_000, 30_000)] {
            assert_eq!(prices.billed(Duration::from_millis(busy)), Duration::from_millis(billed));
        }
        prices.billed(Duration::MAX);
    }

    #[test]
    fn processors_follow_from_the_memory_in_any_prices() {
        let table = PriceTable::default();
        for (memory, cpus) in [(128, 0.083), (129, 0.167), (2048, 1.0), (20_000, 8.0)] {
            assert_eq!(default_cpus(memory), cpus);
            let size = Scaling::default().with_memory_mib(memory);
            let second = Duration::from_secs(1);
            let cost = table.prices().cost(second, &size);
            assert!((cost.0 - table.activation(second, cpus, memory).0).abs() < 1e-15);
        }
    }

    #[test]
    fn ten_thousand_calls_cost_what_the_price_page_says() {
        let one = PriceTable::default().activation(Duration::from_secs(30), 1.0, 2048);
        assert!((one.0 * 10_000.0 - (8.70 + 0.004)).abs() < 1e-9, "{one:?}");
    }
}
