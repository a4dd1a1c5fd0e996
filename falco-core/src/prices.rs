//! Prices of a platform.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::activation::{Activation, UsDollars};
use crate::error::{Error, Result};
use crate::scaling::Scaling;
use crate::setters;

/// The prices of a platform, in US dollars: so much for a request, and so much for each second that an instance is busy,
/// by its memory and its processors.
///
/// # Examples
///
/// ```
/// use falco_core::{Prices, Scaling};
/// use std::time::Duration;
///
/// let prices = Prices::default().with_request(0.2e-6).with_gib_second(0.000_016_666_7);
/// let half = Scaling::default().with_memory_mib(512).with_timeout(Duration::from_secs(10));
/// assert_eq!(format!("{:.9}", prices.cost(Duration::from_secs(1), &half).0), "0.000008533");
/// assert_eq!(format!("{:.9}", prices.upper_bound(&half).0), "0.000083534");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Prices {
    /// One request.
    pub request: f64,
    /// One GiB of memory for one second.
    pub gib_second: f64,
    /// One processor for one second.
    pub cpu_second: f64,
    /// One second of an instance, whatever its size, such as for temporary storage.
    pub second: f64,
    /// The step to a multiple of which billed time is rounded up; zero for none.
    pub granularity: Duration,
    /// The longest start of an instance that is billed beyond the function's timeout.
    pub start: Duration,
    /// Memory and timeout of a function that asks for none.
    pub defaults: Scaling,
    /// The processors that come with an amount of memory, where a function asks for none: pairs of the memory up to which
    /// they are given, in MiB and ascending, and their number. Larger functions have those of the last pair.
    pub cpus: Vec<(u32, f64)>,
    /// The charged time of each activation that nobody measures: an estimate of its cost leaves it out.
    pub unmeasured: Duration,
    /// The charged time of an instance's start that nobody measures, for an activation that started one.
    pub unmeasured_start: Duration,
    /// How far the bill may be above an estimated cost for other reasons, as a share of that cost.
    pub uncertainty: f64,
    /// Whether the cost of each activation is an estimate, and not only of those that say so.
    pub always_estimated: bool,
}

impl Default for Prices {
    /// Prices of nothing: what runs is free.
    fn default() -> Self {
        Self {
            request: 0.0,
            gib_second: 0.0,
            cpu_second: 0.0,
            second: 0.0,
            granularity: Duration::from_millis(1),
            start: Duration::ZERO,
            defaults: Scaling::default().with_memory_mib(256).with_timeout(Duration::from_secs(60)),
            cpus: Vec::new(),
            unmeasured: Duration::ZERO,
            unmeasured_start: Duration::ZERO,
            uncertainty: 0.0,
            always_estimated: false,
        }
    }
}

impl Prices {
    setters! {
        /// Sets the price of one request.
        with_request(request: f64);
        /// Sets the price of one GiB of memory for one second.
        with_gib_second(gib_second: f64);
        /// Sets the price of one processor for one second.
        with_cpu_second(cpu_second: f64);
        /// Sets the price of one second of an instance, whatever its size.
        with_second(second: f64);
        /// Sets the step to a multiple of which billed time is rounded up.
        with_granularity(granularity: Duration);
        /// Sets the longest start of an instance that is billed beyond the function's timeout.
        with_start(start: Duration);
        /// Sets memory and timeout of a function that asks for none.
        with_defaults(defaults: Scaling);
        /// Sets the processors that come with an amount of memory.
        with_cpus(cpus: Vec<(u32, f64)>);
        /// Sets the charged time of each activation that nobody measures.
        with_unmeasured(unmeasured: Duration);
        /// Sets the charged time of an instance's start that nobody measures.
        with_unmeasured_start(unmeasured_start: Duration);
        /// Sets how far the bill may be above an estimated cost for other reasons, as a share of that cost.
        with_uncertainty(uncertainty: f64);
        /// Says whether the cost of each activation is an estimate.
        with_always_estimated(always_estimated: bool);
    }

    /// Checks the amounts.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names an amount which is negative or not a number.
    pub fn validate(&self) -> Result<()> {
        let amounts = [
            ("request", self.request),
            ("gib_second", self.gib_second),
            ("cpu_second", self.cpu_second),
            ("second", self.second),
            ("uncertainty", self.uncertainty),
        ];
        match amounts.iter().find(|(_, amount)| !(*amount >= 0.0 && amount.is_finite())) {
            None => Ok(()),
            Some((name, amount)) => Err(Error::invalid_input(format!(
                "invalid price {name} of {amount}: use zero or a positive number of US dollars"
            ))),
        }
    }

    /// Whether nothing is charged at all.
    pub fn is_free(&self) -> bool {
        [self.request, self.gib_second, self.cpu_second, self.second].iter().all(|it| *it == 0.0)
    }

    /// The time that is charged for an instance that was busy for `busy`.
    pub fn billed(&self, busy: Duration) -> Duration {
        let step = self.granularity.as_nanos();
        if step == 0 {
            return busy;
        }
        let steps = busy.as_nanos().div_ceil(step).max(1);
        Duration::from_nanos(u64::try_from(steps * step).unwrap_or(u64::MAX))
    }

    /// The cost of one activation that kept an instance of this size busy for `busy`, its start included.
    pub fn cost(&self, busy: Duration, size: &Scaling) -> UsDollars {
        let size = self.defaults.overridden_by(size);
        let memory_mib = size.memory_mib.unwrap_or_default();
        let cpus = size.cpus.map_or_else(|| self.cpus_with(memory_mib), f64::from);
        let per_second =
            self.second + f64::from(memory_mib) / 1024.0 * self.gib_second + cpus * self.cpu_second;
        UsDollars(self.request + self.billed(busy).as_secs_f64() * per_second)
    }

    /// The cost of one activation of a function of this size at most: its whole timeout, and the longest start.
    pub fn upper_bound(&self, size: &Scaling) -> UsDollars {
        self.cost(self.longest(size), size)
    }

    /// How far the bill of one activation may be above the [upper bound](Self::upper_bound), where costs are estimates.
    pub fn doubt_of_bound(&self, size: &Scaling) -> UsDollars {
        self.doubt(self.longest(size), true, size)
    }

    fn longest(&self, size: &Scaling) -> Duration {
        let timeout = size.timeout.or(self.defaults.timeout).unwrap_or_default();
        // Providers take whole seconds.
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        Duration::from_secs(seconds).saturating_add(self.start)
    }

    /// How far the bill may be above an estimated [cost](Self::cost): by the time that nobody measures, rounded as all time
    /// is, and by the [share](Self::uncertainty).
    pub fn doubt(&self, busy: Duration, is_cold: bool, size: &Scaling) -> UsDollars {
        let share = self.cost(busy, size).0 * self.uncertainty;
        UsDollars(self.cost_of_unmeasured(busy, is_cold, size) + share)
    }

    fn cost_of_unmeasured(&self, busy: Duration, is_cold: bool, size: &Scaling) -> f64 {
        let start = if is_cold { self.unmeasured_start } else { Duration::ZERO };
        let whole = busy.saturating_add(self.unmeasured).saturating_add(start);
        self.cost(whole, size).0 - self.cost(busy, size).0
    }

    /// The cost of an activation on a function of this size, and how far the bill may be above it, which is zero for a cost that
    /// the provider reports. `None` where both its cost and its time are unknown.
    pub fn bill(&self, activation: &Activation, size: &Scaling) -> Option<(UsDollars, UsDollars)> {
        let measured =
            activation.execution.map(|ran| ran.saturating_add(activation.init.unwrap_or_default()));
        let busy = activation.billed.or(measured);
        let mut size = size.clone();
        size.memory_mib = activation.memory_mib.or(size.memory_mib);
        let is_estimate = activation.cost.is_none()
            || self.always_estimated
            || activation.attribute("billed") == Some("estimated");
        let cost = activation.cost.or_else(|| Some(self.cost(busy?, &size)))?;
        if !is_estimate {
            return Some((cost, UsDollars::default()));
        }
        let is_cold = activation.cold_start == Some(true);
        let time = busy.map_or(0.0, |busy| self.cost_of_unmeasured(busy, is_cold, &size));
        Some((cost, UsDollars(time + cost.0 * self.uncertainty)))
    }

    fn cpus_with(&self, memory_mib: u32) -> f64 {
        let fits = self.cpus.iter().find(|(up_to, _)| memory_mib <= *up_to);
        fits.or(self.cpus.last()).map_or(0.0, |(_, cpus)| *cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;

    #[test]
    fn time_is_charged_by_the_step_begun() {
        let prices = Prices::default().with_granularity(Duration::from_millis(100));
        for (busy, billed) in [(0, 100), (100, 100), (101, 200)] {
            assert_eq!(prices.billed(Duration::from_millis(busy)), Duration::from_millis(billed));
        }
        assert_eq!(prices.with_granularity(Duration::ZERO).billed(Duration::MAX), Duration::MAX);
        Prices::default().billed(Duration::MAX);
    }

    #[test]
    fn processors_follow_from_the_memory_unless_they_are_named() {
        let prices = Prices::default().with_cpu_second(1.0).with_cpus(vec![(128, 0.5), (512, 2.0)]);
        let cost = |size: Scaling| prices.cost(Duration::from_secs(1), &size).0;
        let memory = |mib| Scaling::default().with_memory_mib(mib);
        let costs = [128, 129, 512, 513].map(|mib| cost(memory(mib)));
        assert_eq!(costs, [0.5, 2.0, 2.0, 2.0]);
        assert_eq!(cost(memory(128).with_cpus(4.0)), 4.0);
    }

    #[test]
    fn the_upper_bound_holds_the_start_and_the_timeout() {
        let prices = Prices::default().with_second(1.0).with_start(Duration::from_secs(10));
        let timeout = Scaling::default().with_timeout(Duration::from_secs(5));
        assert_eq!(prices.upper_bound(&timeout), UsDollars(15.0));
        assert_eq!(prices.upper_bound(&Scaling::default()), UsDollars(70.0));
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_estimates_are_in_doubt() {
        let prices = Prices::default().with_second(1.0).with_unmeasured(seconds(1));
        let size = Scaling::default();
        let mut activation = Activation::succeeded("a", Payload::empty());
        assert_eq!(prices.bill(&activation, &size), None);
        (activation.cost, activation.billed) = (Some(UsDollars(2.5)), Some(seconds(2)));
        let bill = |prices: &Prices, activation: &Activation| {
            let (cost, doubt) = prices.bill(activation, &size).unwrap();
            (cost.0, doubt.0)
        };
        assert_eq!(bill(&prices, &activation), (2.5, 0.0), "the provider's own");
        assert_eq!(bill(&prices.clone().with_always_estimated(true), &activation), (2.5, 1.0));
        activation.attributes.insert("billed".into(), "estimated".into());
        assert_eq!(bill(&prices, &activation), (2.5, 1.0));
        let share = prices.clone().with_unmeasured(Duration::ZERO).with_uncertainty(0.5);
        assert_eq!(bill(&share, &activation), (2.5, 1.25));
        // Without a cost, that of the time that was measured.
        activation.attributes.clear();
        (activation.cost, activation.billed) = (None, None);
        (activation.execution, activation.init) = (Some(seconds(3)), Some(seconds(4)));
        assert_eq!(bill(&prices, &activation), (7.0, 1.0));
    }

    #[test]
    fn time_that_nobody_measures_is_in_doubt_as_it_is_charged() {
        let prices = Prices::default()
            .with_second(1.0)
            .with_granularity(Duration::from_millis(100))
            .with_unmeasured(Duration::from_millis(20))
            .with_unmeasured_start(seconds(1));
        let size = Scaling::default();
        let doubt = |ms: u64, is_cold| {
            (prices.doubt(Duration::from_millis(ms), is_cold, &size).0 * 10.0).round() / 10.0
        };
        assert_eq!(doubt(70, false), 0.0, "the step that has begun holds it");
        assert_eq!(doubt(90, false), 0.1, "another step begins");
        assert_eq!(doubt(90, true), 1.1);
    }

    #[test]
    fn an_amount_that_no_bill_can_hold_is_named() {
        let prices = Prices::default();
        for (wrong, name) in [
            (prices.clone().with_request(-1.0), "request"),
            (prices.clone().with_gib_second(f64::NAN), "gib_second"),
            (prices.clone().with_cpu_second(f64::INFINITY), "cpu_second"),
            (prices.clone().with_second(-0.1), "second"),
            (prices.clone().with_uncertainty(-0.1), "uncertainty"),
        ] {
            let error = wrong.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert!(!wrong.is_free() || name == "uncertainty", "{name}");
        }
        prices.validate().unwrap();
        assert!(prices.is_free());
    }
}
