//! The options of all executors: when to stop, what to repeat, how long to continue.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use backon::{Backoff, BackoffBuilder, ExponentialBuilder};
use falco_core::{Error, OnFailure, Repeats, Result, StagePolicy};
use tokio_util::sync::CancellationToken;

/// The options that every executor shares.
///
/// # Examples
///
/// ```
/// use falco_executors::{
///     ConstantBuilder, ExecutionOptions, OnFailure, ParallelExecutor, RepeatPolicy, Speculation,
/// };
/// use std::time::Duration;
///
/// let twice = ConstantBuilder::new().with_delay(Duration::from_millis(200)).with_max_times(2);
/// let options = ExecutionOptions::default()
///     .with_on_failure(OnFailure::Continue)
///     .with_repeat_failed(RepeatPolicy::new(twice))
///     .with_speculation(Speculation::slower_than(3.0)?)
///     .with_deadline(Duration::from_secs(600));
/// let executor = ParallelExecutor::with_concurrency(32)?.with_options(options);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExecutionOptions {
    /// What the first failure does to the rest.
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
    /// Ends the execution when it is cancelled, as [`Target::stopped`](falco_core::Target::stopped) does.
    pub cancellation: Option<CancellationToken>,
}

impl Default for ExecutionOptions {
    fn default() -> Self {
        Self {
            on_failure: OnFailure::default(),
            repeat_failed: RepeatPolicy::never(),
            repeat_lost: RepeatPolicy::new(ExponentialBuilder::new().with_jitter()),
            deadline: None,
            speculation: None,
            cancellation: None,
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

    /// Ends the execution when `token` is cancelled.
    #[must_use]
    pub fn with_cancellation(mut self, token: CancellationToken) -> Self {
        self.cancellation = Some(token);
        self
    }
}

/// How often an invocation is sent again, and how long to wait before: a recipe for back-offs.
///
/// # Examples
///
/// ```
/// use falco_executors::{ExponentialBuilder, RepeatPolicy};
///
/// let policy = RepeatPolicy::new(ExponentialBuilder::new().with_jitter().with_max_times(5));
/// ```
#[derive(Clone)]
pub struct RepeatPolicy(Option<Arc<dyn Fn() -> Delays + Send + Sync>>);

/// The waits before the second, third, .. attempt; when they are used up, nothing is sent any more.
pub(super) type Delays = Box<dyn Backoff>;

impl RepeatPolicy {
    /// Nothing is sent again.
    pub fn never() -> Self {
        Self(None)
    }

    /// Invocations are sent again after the waits that `builder` makes, anew for each of them.
    pub fn new<B>(builder: B) -> Self
    where
        B: BackoffBuilder<Backoff: 'static> + Clone + 'static,
    {
        Self(Some(Arc::new(move || Box::new(builder.clone().build()))))
    }

    fn of(repeats: Repeats) -> Self {
        let pauses = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(repeats.first_pause)
            .with_max_delay(repeats.longest_pause.max(repeats.first_pause))
            .with_max_times(repeats.times as usize);
        Self::new(pauses)
    }

    pub(super) fn delays(&self) -> Delays {
        match &self.0 {
            Some(make) => make(),
            None => Box::new(std::iter::empty()),
        }
    }
}

impl Debug for RepeatPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "RepeatPolicy(..)" } else { "RepeatPolicy(never)" })
    }
}

/// When a slow invocation gets a second attempt while the first still runs. The first answer that is not a failure
/// wins; the other attempt is let go.
///
/// Only idempotent invocations are copied. A copy takes a place in the executor's window, in turn with the invocations
/// that wait for one; a window of one has room for one copy anyway. A copy that loses may still run to its end,
/// and be charged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speculation {
    factor: f64,
}

impl Speculation {
    /// Copies what takes longer than `factor` times the running median of the successful attempts.
    ///
    /// The median has to stand on a few answers first, so a short execution never speculates.
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
