//! The options of all executors: when to stop, what to repeat, how long to continue.

use std::time::Duration;

use falco_core::{Error, OnFailure, Repeats, Result, StagePolicy};

/// The options that every executor shares.
///
/// # Examples
///
/// ```
/// use falco_executors::{ExecutionOptions, OnFailure, ParallelExecutor, RepeatPolicy, Speculation};
/// use std::time::Duration;
///
/// let options = ExecutionOptions::default()
///     .with_on_failure(OnFailure::Continue)
///     .with_repeat_failed(RepeatPolicy::constant(2, Duration::from_millis(200)))
///     .with_speculation(Speculation::slower_than(3.0)?)
///     .with_deadline(Duration::from_secs(600));
/// let executor = ParallelExecutor::with_concurrency(32)?.with_options(options);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExecutionOptions {
    /// The effect of the first failure on the rest.
    pub on_failure: OnFailure,
    /// When an invocation is sent again after its function failed; never by default.
    ///
    /// It applies to every invocation, idempotent or not: the function ran, and said that it failed.
    pub repeat_failed: RepeatPolicy,
    /// When an invocation is sent again after the platform failed: an *idempotent* one of which nobody knows whether it
    /// ran, and any that the platform accepted and then certainly did not run. By default up to three times, a second
    /// or more apart. Others are never sent again, whatever the policy says.
    pub repeat_lost: RepeatPolicy,
    /// How long each stage may take, from its first invocation, unless the stage has a
    /// [deadline](falco_core::Target::deadline) of its own.
    ///
    /// When it has passed, nothing is admitted any more, and what is in flight leaves as
    /// [`Outcome::DeadlineExceeded`](falco_core::Outcome::DeadlineExceeded).
    pub deadline: Option<Duration>,
    /// Whether slow invocations get a second attempt while the first still runs; none do by default.
    pub speculation: Option<Speculation>,
}

impl Default for ExecutionOptions {
    fn default() -> Self {
        Self {
            on_failure: OnFailure::default(),
            repeat_failed: RepeatPolicy::never(),
            repeat_lost: RepeatPolicy::exponential(3, Duration::from_secs(1)),
            deadline: None,
            speculation: None,
        }
    }
}

impl ExecutionOptions {
    /// Says what the first failure does to the rest.
    #[must_use]
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sends invocations again whose function failed.
    #[must_use]
    pub fn with_repeat_failed(mut self, policy: RepeatPolicy) -> Self {
        self.repeat_failed = policy;
        self
    }

    /// Sends invocations again that the platform lost, or failed to run after it had accepted them.
    #[must_use]
    pub fn with_repeat_lost(mut self, policy: RepeatPolicy) -> Self {
        self.repeat_lost = policy;
        self
    }

    /// Limits how long the execution may take.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sends copies of slow invocations.
    #[must_use]
    pub fn with_speculation(mut self, speculation: Speculation) -> Self {
        self.speculation = Some(speculation);
        self
    }

    /// These options, where the policy of a stage does not say otherwise.
    pub(super) fn with_policy(mut self, policy: &StagePolicy) -> Self {
        if let Some(on_failure) = policy.on_failure {
            self.on_failure = on_failure;
        }
        if let Some(repeats) = policy.repeats {
            self.repeat_failed = RepeatPolicy::of(repeats);
        }
        if let Some(factor) = policy.speculation {
            // A plan checks the factor; elsewhere a wrong one leaves the executor's rule.
            self.speculation = Speculation::slower_than(factor).ok().or(self.speculation);
        }
        self
    }
}

/// How often an invocation is sent again, and how long to wait before.
///
/// # Examples
///
/// ```
/// use falco_executors::RepeatPolicy;
/// use std::time::Duration;
///
/// // After about 1, 2, 4, 8 and 16 seconds.
/// let patient = RepeatPolicy::exponential(5, Duration::from_secs(1));
/// let twice = RepeatPolicy::constant(2, Duration::from_millis(200));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatPolicy {
    times: u32,
    first: Duration,
    longest: Duration,
    grows: bool,
}

/// The longest wait of a policy whose waits grow, without its random part.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl RepeatPolicy {
    /// Nothing is sent again.
    pub fn never() -> Self {
        Self::constant(0, Duration::ZERO)
    }

    /// Invocations are sent again up to `times` times, each after `delay`.
    pub fn constant(times: u32, delay: Duration) -> Self {
        Self { times, first: delay, longest: delay, grows: false }
    }

    /// Invocations are sent again up to `times` times. The first wait is `first`, each one after it twice as long, up to a
    /// minute. To each wait comes a random part of up to as much again, so that what failed together does not come back
    /// together.
    pub fn exponential(times: u32, first: Duration) -> Self {
        Self { times, first, longest: LONGEST_WAIT.max(first), grows: true }
    }

    fn of(repeats: Repeats) -> Self {
        let Repeats { times, first_pause: first, longest_pause, .. } = repeats;
        Self { times, first, longest: longest_pause.max(first), grows: true }
    }

    pub(super) fn delays(self) -> Delays {
        Delays { policy: self, made: 0 }
    }
}

/// The waits before the second, third, .. attempt; when they are used up, nothing is sent any more.
#[derive(Debug)]
pub(super) struct Delays {
    policy: RepeatPolicy,
    made: u32,
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let RepeatPolicy { times, first, longest, grows } = self.policy;
        if self.made == times {
            return None;
        }
        self.made += 1;
        if !grows {
            return Some(first);
        }
        let doubled = first.saturating_mul(1_u32.checked_shl(self.made - 1).unwrap_or(u32::MAX));
        let wait = doubled.min(longest);
        Some(wait.saturating_add(wait.mul_f64(fastrand::f64())))
    }
}

/// When a slow invocation gets a second attempt while the first still runs. The first answer that is not a failure
/// wins; the other attempt is dropped.
///
/// Only idempotent invocations are copied. A copy takes a place in the executor's window, in turn with the invocations
/// that wait for one; a window of one has room for one copy anyway. An attempt that loses may still run to its
/// end at the provider, and be charged; its request is not cut off, where its answer comes soon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speculation {
    factor: f64,
}

impl Speculation {
    /// Copies what takes longer than `factor` times the running median of the successful attempts.
    ///
    /// The median needs a few answers first, so a short execution never speculates.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `factor` is not above 1.
    pub fn slower_than(factor: f64) -> Result<Self> {
        if factor > 1.0 && factor.is_finite() {
            return Ok(Self { factor });
        }
        Err(Error::invalid_input(format!(
            "the speculation factor has to be above 1, and is {factor}"
        ))
        .with_hint("3 copies what takes longer than three times the median"))
    }

    pub(super) fn threshold(self, median: Duration) -> Duration {
        Duration::try_from_secs_f64(median.as_secs_f64() * self.factor).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_with_a_random_part_and_come_to_an_end() {
        let second = Duration::from_secs(1);
        let waits: Vec<Duration> = RepeatPolicy::exponential(40, second).delays().collect();
        assert_eq!(waits.len(), 40);
        for (nth, wait) in waits.into_iter().enumerate() {
            let least = Duration::from_secs(1 << nth.min(6)).min(LONGEST_WAIT);
            assert!(least <= wait && wait <= least * 2, "{nth}: {wait:?}");
        }
        let constant: Vec<Duration> = RepeatPolicy::constant(2, second).delays().collect();
        assert_eq!(constant, [second, second]);
        assert_eq!(RepeatPolicy::never().delays().next(), None);
        let hours = Duration::from_secs(7_200);
        assert!(RepeatPolicy::exponential(1, hours).delays().next() >= Some(hours));
    }
}
