//! The cost of an activation.

use std::time::Duration;

use falco_core::{Prices, Scaling, UsDollars, setters};

use crate::architecture::Architecture;

/// List prices of Lambda, in US dollars. Free tiers and volume discounts are the account's, and are left out.
///
/// # Examples
///
/// ```
/// use falco_aws::{Architecture, PriceTable};
/// use std::time::Duration;
///
/// let prices = PriceTable::default();
/// let one = prices.cost(Architecture::Arm64, Duration::from_millis(800), 1024, 512);
/// assert_eq!(format!("{:.4}", 10_000.0 * one.0), "0.1087");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PriceTable {
    /// When these prices were looked up.
    pub as_of: String,
    /// The region that they are of.
    pub region: String,
    /// A GiB-second on x86_64.
    pub x86_64_gib_second: f64,
    /// A GiB-second on arm64.
    pub arm64_gib_second: f64,
    /// One request, also one whose function fails.
    pub request: f64,
    /// A GiB-second of temporary storage beyond the 512 MiB that are free.
    pub storage_gib_second: f64,
}

impl Default for PriceTable {
    /// The list prices of us-east-1.
    fn default() -> Self {
        Self {
            as_of: "2026-11-23".into(),
            region: "us-east-1".into(),
            x86_64_gib_second: 0.000_016_666_7,
            arm64_gib_second: 0.000_013_333_4,
            request: 0.2e-6,
            storage_gib_second: 0.000_000_030_9,
        }
    }
}

/// Temporary storage that costs nothing, in MiB.
const FREE_STORAGE_MIB: u32 = 512;
/// The longest initialisation that Lambda charges beyond a function's timeout: after it, it begins again within the timeout.
const LONGEST_INIT: Duration = Duration::from_secs(10);
/// Lambda charges from the start of the handler to its answer, in milliseconds begun, and the first time from the start of the
/// process. The shim measures from its first line to its last: it lacks what the runtime does around it.
const UNMEASURED: Duration = Duration::from_millis(2);

impl PriceTable {
    /// The list prices of `region`, looked up on the day `as_of`. The other prices are those of us-east-1 until they are
    /// set.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_aws::PriceTable;
    ///
    /// let prices = PriceTable::new("eu-central-1", "2026-11-23").with_request(0.2e-6);
    /// assert_eq!(prices.region, "eu-central-1");
    /// ```
    pub fn new(region: impl Into<String>, as_of: impl Into<String>) -> Self {
        Self { region: region.into(), as_of: as_of.into(), ..Self::default() }
    }

    setters! {
        /// Sets the price of a GiB-second on x86_64.
        with_x86_64_gib_second(x86_64_gib_second: f64);
        /// Sets the price of a GiB-second on arm64.
        with_arm64_gib_second(arm64_gib_second: f64);
        /// Sets the price of a request.
        with_request(request: f64);
        /// Sets the price of a GiB-second of temporary storage beyond the 512 MiB that are free.
        with_storage_gib_second(storage_gib_second: f64);
    }

    /// The cost of one request that was billed for `billed`, with `memory_mib` configured (not used) and
    /// `storage_mib` of temporary storage.
    pub fn cost(
        &self,
        architecture: Architecture,
        billed: Duration,
        memory_mib: u32,
        storage_mib: u32,
    ) -> UsDollars {
        let size = Scaling::default().with_memory_mib(memory_mib);
        self.prices(architecture, storage_mib).cost(billed, &size)
    }

    /// The prices of functions on this processor, with `storage_mib` of temporary storage.
    pub fn prices(&self, architecture: Architecture, storage_mib: u32) -> Prices {
        let gib_second = match architecture {
            Architecture::X86_64 => self.x86_64_gib_second,
            Architecture::Arm64 => self.arm64_gib_second,
        };
        let storage_gib = f64::from(storage_mib.saturating_sub(FREE_STORAGE_MIB)) / 1024.0;
        Prices::default()
            .with_request(self.request)
            .with_gib_second(gib_second)
            .with_second(storage_gib * self.storage_gib_second)
            .with_start(LONGEST_INIT)
            .with_unmeasured(UNMEASURED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_beyond_the_free_half_gib_is_charged() {
        let prices = PriceTable::default();
        let cost =
            |storage| prices.cost(Architecture::X86_64, Duration::from_secs(1), 1024, storage).0;
        assert!((cost(512) - (0.000_016_666_7 + 0.2e-6)).abs() < 1e-15);
        assert!((cost(1536) - cost(512) - prices.storage_gib_second).abs() < 1e-15);
    }

    #[test]
    fn the_upper_bound_holds_the_longest_start() {
        let prices = PriceTable::default();
        let size =
            Scaling::default().with_memory_mib(1024).with_timeout(Duration::from_millis(2_500));
        let bound = prices.prices(Architecture::X86_64, 512).upper_bound(&size);
        let cost = prices.cost(Architecture::X86_64, Duration::from_secs(13), 1024, 512);
        assert!((bound.0 - cost.0).abs() < 1e-15, "whole seconds, and ten more");
    }
}
