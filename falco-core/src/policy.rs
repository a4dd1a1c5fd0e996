//! How the invocations of one stage are driven, where it differs from the rest of the run.

use std::time::Duration;

use crate::batch::Batch;
use crate::error::{Error, Result};

/// How the invocations of one stage are driven. What it leaves open follows the run's executor.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, OnFailure, Repeats, Stage, StagePolicy};
///
/// let geocode = Deployable::python("geocode", "def main(args): return args");
/// // The third party allows four calls at once, and fails now and then.
/// let policy = StagePolicy::default()
///     .with_concurrency(4)
///     .with_repeats(Repeats::times(5))
///     .with_on_failure(OnFailure::Continue);
/// let stage = Stage::from_payloads("geocode", geocode, vec![]).with_policy(policy);
/// # let _ = stage;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StagePolicy {
    /// How many invocations of the stage may be in flight at once; never more than the executor's window. With batches,
    /// how many calls.
    pub concurrency: Option<usize>,
    /// How often an invocation is sent again after its function failed.
    pub repeats: Option<Repeats>,
    /// An idempotent invocation gets a second attempt when it takes longer than so many times the median.
    pub speculation: Option<f64>,
    /// The effect of the first failure on the rest of the stage.
    pub on_failure: Option<OnFailure>,
    /// How many inputs travel in one call; each by itself without this.
    pub batch: Option<Batch>,
}

impl StagePolicy {
    /// Limits how many invocations are in flight at once, copies included: it protects a service that the function
    /// calls.
    #[must_use]
    pub fn with_concurrency(mut self, invocations: usize) -> Self {
        self.concurrency = Some(invocations);
        self
    }

    /// Sends invocations again whose function failed.
    #[must_use]
    pub fn with_repeats(mut self, repeats: Repeats) -> Self {
        self.repeats = Some(repeats);
        self
    }

    /// Copies idempotent invocations that take longer than `factor` times the running median.
    #[must_use]
    pub fn with_speculation(mut self, factor: f64) -> Self {
        self.speculation = Some(factor);
        self
    }

    /// Says what the first failure does to the rest of the stage.
    #[must_use]
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = Some(on_failure);
        self
    }

    /// Sends several inputs in each call.
    #[must_use]
    pub fn with_batch(mut self, batch: Batch) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Checks the numbers. [`ExecutionPlan::new`](crate::ExecutionPlan::new) does it for each stage.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a concurrency or a batch of zero, and for a speculation factor that is not above 1.
    pub fn validate(&self) -> Result<()> {
        self.batch.map_or(Ok(()), Batch::validate)?;
        if self.concurrency == Some(0) {
            return Err(Error::invalid_input("invalid concurrency 0: use 1 or more"));
        }
        match self.speculation {
            Some(factor) if !(factor > 1.0 && factor.is_finite()) => Err(Error::invalid_input(
                format!("invalid speculation factor {factor}: use a number above 1, such as 3"),
            )),
            _ => Ok(()),
        }
    }
}

/// How often an invocation is sent again after its function failed. The pauses double, with some chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repeats {
    /// How often, at most.
    pub times: u32,
    /// The pause before the first.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Repeats {
    /// Up to so many times, after pauses from 0.2 to 30 seconds.
    pub fn times(times: u32) -> Self {
        let (first_pause, longest_pause) = (Duration::from_millis(200), Duration::from_secs(30));
        Self { times, first_pause, longest_pause }
    }

    /// Sets the first and the longest pause.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_pause, self.longest_pause) = (first, longest);
        self
    }
}

/// The effect of the first invocation that does not succeed, repeats included, on the rest of its stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// Nothing more is admitted, and what is in flight leaves as cancelled.
    #[default]
    Stop,
    /// The others go on, and every failure is reported. The stage does not succeed.
    Continue,
}
