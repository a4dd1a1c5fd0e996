//! A platform's abilities and limits, as data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::prices::Prices;
use crate::runtime_name::RuntimeName;
use crate::setters;

/// A platform's abilities, and its limits as far as it knows them. `None` means unknown or without limit.
///
/// Executors size their windows by it, congestion control starts from it, the conformance suite follows it.
///
/// # Examples
///
/// ```
/// use falco_core::{Capabilities, RateLimit};
/// use std::time::Duration;
///
/// let capabilities = Capabilities::default()
///     .with_submit(true)
///     .with_concurrency(100)
///     .with_rate(RateLimit::new(120, Duration::from_secs(60)))
///     .with_runtimes(["python:3", "nodejs:22"]);
/// assert!(capabilities.has_family("python"));
/// assert_eq!(capabilities.rate.map(|rate| rate.per_second()), Some(2.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether invocations can be submitted and collected later.
    pub submit: bool,
    /// Whether the same attempt of an invocation that is [unique](crate::Invocation::with_unique), submitted twice, runs
    /// once: the provider knows it by its name.
    pub resubmit: bool,
    /// Whether a function that another process has deployed can be used as it is: it stays when that process ends, and calls
    /// of both reach it. Where it is false, a run that is resumed deploys its functions again.
    pub adopt: bool,
    /// Whether [`activation_log`](crate::AsyncPlatform::activation_log) has anything to say.
    pub logs: bool,
    /// Whether [`scale`](crate::Platform::scale) has an effect.
    pub scaling: bool,
    /// Whether it runs functions in images, or that are images ([`Deployable::any_image`](crate::Deployable::any_image)).
    pub images: bool,
    /// Longest argument of `invoke`, in bytes.
    pub max_payload: Option<u64>,
    /// Longest argument of `submit`, in bytes.
    pub max_submit_payload: Option<u64>,
    /// Longest result, in bytes.
    pub max_result: Option<u64>,
    /// Longest code, in bytes as uploaded.
    pub max_code: Option<u64>,
    /// Activations that may be in flight at once, per account or namespace.
    pub concurrency: Option<u32>,
    /// Invocations that may be started in a window of time.
    pub rate: Option<RateLimit>,
    /// Memory of a function, in MiB.
    pub memory_mib: Option<Bounds<u32>>,
    /// Timeout of a function.
    pub timeout: Option<Bounds<Duration>>,
    /// Whether calls should go through layers that pace and repeat them: true for a platform behind a network with
    /// limits per account, false on this machine, and false for a platform that is wrapped in congestion control
    /// already. The facade crate `falco` puts the default stack around platforms that say so.
    pub wants_layers: bool,
    /// Whether functions in Python and Node.js run under Falco's shim, which takes several inputs in one call
    /// ([`Batch`](crate::Batch)) and arguments that are stored with the function. Functions in Rust bring their own.
    pub shim: bool,
    /// Whether the provider itself merges arguments that are stored with a function into each invocation, so that they need
    /// no shim.
    pub bound_arguments: bool,
    /// The runtimes that it takes, such as `python:3`.
    pub runtimes: Vec<String>,
    /// The processor that functions run on, as Rust names it, such as `x86_64` or `aarch64`: what is compiled into a
    /// function's code has to be for this one.
    pub architecture: Option<String>,
    /// The prices; `None` where nobody has said them.
    pub prices: Option<Prices>,
    /// Limits of a runtime that are narrower than those of the platform, by the runtime's family, such as `nodejs`. Ask
    /// [`for_runtime`](Self::for_runtime) instead of reading them.
    pub runtime_limits: BTreeMap<String, RuntimeLimits>,
}

/// The limits of one runtime, where they are narrower than those of its platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuntimeLimits {
    /// Longest argument of `invoke`, in bytes.
    pub max_payload: Option<u64>,
    /// Longest argument of `submit`, in bytes.
    pub max_submit_payload: Option<u64>,
    /// Longest result, in bytes.
    pub max_result: Option<u64>,
    /// Longest code, in bytes as uploaded.
    pub max_code: Option<u64>,
}

impl RuntimeLimits {
    setters! {
        /// Sets the longest argument of `invoke`, in bytes.
        with_max_payload(max_payload: Option<u64>);
        /// Sets the longest argument of `submit`, in bytes.
        with_max_submit_payload(max_submit_payload: Option<u64>);
        /// Sets the longest result, in bytes.
        with_max_result(max_result: Option<u64>);
        /// Sets the longest code, in bytes as uploaded.
        with_max_code(max_code: Option<u64>);
    }
}

impl Capabilities {
    setters! {
        /// Sets whether invocations can be submitted and collected later.
        with_submit(submit: bool);
        /// Sets whether the same attempt of an invocation, submitted twice, runs once: the provider knows it by its name.
        with_resubmit(resubmit: bool);
        /// Sets whether a function that another process has deployed can be used as it is.
        with_adopt(adopt: bool);
        /// Sets whether [`activation_log`](crate::AsyncPlatform::activation_log) has anything to say.
        with_logs(logs: bool);
        /// Sets whether [`scale`](crate::Platform::scale) has an effect.
        with_scaling(scaling: bool);
        /// Sets whether it runs functions in images, or that are images.
        with_images(images: bool);
        /// Sets the longest argument of `invoke`, in bytes.
        with_max_payload(max_payload: Option<u64>);
        /// Sets the longest argument of `submit`, in bytes.
        with_max_submit_payload(max_submit_payload: Option<u64>);
        /// Sets the longest result, in bytes.
        with_max_result(max_result: Option<u64>);
        /// Sets the longest code, in bytes as uploaded.
        with_max_code(max_code: Option<u64>);
        /// Sets how many activations may be in flight at once, per account or namespace.
        with_concurrency(concurrency: Option<u32>);
        /// Sets how many invocations may be started in a window of time.
        with_rate(rate: Option<RateLimit>);
        /// Sets the bounds of a function's memory, in MiB.
        with_memory_mib(memory_mib: Option<Bounds<u32>>);
        /// Sets the bounds of a function's timeout.
        with_timeout(timeout: Option<Bounds<Duration>>);
        /// Sets whether calls should go through layers that pace and repeat them.
        with_wants_layers(wants_layers: bool);
        /// Sets whether functions in Python and Node.js run under Falco's shim.
        with_shim(shim: bool);
        /// Sets whether the provider itself merges arguments that are stored with a function.
        with_bound_arguments(bound_arguments: bool);
        /// Sets the processor that functions run on, as Rust names it, such as `x86_64` or `aarch64`.
        with_architecture(architecture: Option<String>);
        /// Sets the prices.
        with_prices(prices: Option<Prices>);
    }

    /// Sets the runtimes that it takes, such as `python:3`.
    #[must_use]
    pub fn with_runtimes<R: Into<String>>(mut self, runtimes: impl IntoIterator<Item = R>) -> Self {
        self.runtimes = runtimes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the limits of a family of runtimes, such as `nodejs`, that are narrower than those of the platform.
    #[must_use]
    pub fn with_runtime_limits(mut self, family: impl Into<String>, limits: RuntimeLimits) -> Self {
        self.runtime_limits.insert(family.into(), limits);
        self
    }

    /// The capabilities for functions of this runtime: of each limit the narrower one, the platform's or the runtime's.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Capabilities, RuntimeLimits, RuntimeName};
    ///
    /// let capabilities = Capabilities::default()
    ///     .with_max_payload(4_194_304)
    ///     .with_runtime_limits("nodejs", RuntimeLimits::default().with_max_payload(40_960));
    /// assert_eq!(capabilities.for_runtime(&RuntimeName::nodejs()).max_payload, Some(40_960));
    /// assert_eq!(capabilities.for_runtime(&RuntimeName::python()).max_payload, Some(4_194_304));
    /// ```
    #[must_use]
    pub fn for_runtime(&self, runtime: &RuntimeName) -> Self {
        let mut narrowed = self.clone();
        if let Some(limits) = self.runtime_limits.get(runtime.family()) {
            narrowed.max_payload = narrower(self.max_payload, limits.max_payload);
            narrowed.max_submit_payload =
                narrower(self.max_submit_payload, limits.max_submit_payload);
            narrowed.max_result = narrower(self.max_result, limits.max_result);
            narrowed.max_code = narrower(self.max_code, limits.max_code);
        }
        narrowed
    }

    /// Whether any runtime of the family is there.
    pub fn has_family(&self, family: &str) -> bool {
        self.runtimes.iter().any(|runtime| runtime.split(':').next() == Some(family))
    }
}

/// The smaller of two limits; `None` stands for unlimited.
fn narrower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

/// Smallest and largest value allowed, both inclusive. It will never have another field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds<T> {
    /// The smallest.
    pub min: T,
    /// The largest.
    pub max: T,
}

impl<T: PartialOrd> Bounds<T> {
    /// Whether `value` lies within.
    pub fn contains(&self, value: T) -> bool {
        self.min <= value && value <= self.max
    }
}

/// A rate limit: a number of invocations per window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many may start in one window.
    pub invocations: u32,
    /// How long the window is. OpenWhisk counts by the minute, most others by the second.
    pub window: Duration,
}

impl RateLimit {
    /// A limit of `invocations` that may start in each `window`.
    pub fn new(invocations: u32, window: Duration) -> Self {
        Self { invocations, window }
    }

    /// The limit as a steady rate.
    pub fn per_second(&self) -> f64 {
        f64::from(self.invocations) / self.window.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        let bounds = Bounds { min: 128, max: 512 };
        assert_eq!([127, 128, 512, 513].map(|n| bounds.contains(n)), [false, true, true, false]);
    }

    #[test]
    fn a_runtimes_limit_narrows_the_platforms_and_never_widens_it() {
        let limits = RuntimeLimits::default().with_max_payload(5).with_max_result(5);
        let all = Capabilities::default().with_max_payload(3).with_runtime_limits("nodejs", limits);
        let node = all.for_runtime(&RuntimeName::nodejs());
        assert_eq!((node.max_payload, node.max_result, node.max_code), (Some(3), Some(5), None));
        assert_eq!(all.for_runtime(&RuntimeName::python()).max_result, None);
    }
}
