//! The events of a run, as they happen.

use std::fmt::Debug;
use std::time::Duration;

use crate::activation::{Activation, ActivationLog};
use crate::completion::Completion;
use crate::deployment::Deployment;
use crate::error::Error;
use crate::id::{ActivationId, RunId, StageName};
use crate::invocation::Invocation;
use crate::pending::Pending;
use crate::plan::ExecutionPlan;

/// Watches a run: progress bars, reports, journals and budgets are monitors.
///
/// # For implementers
///
/// It is called from the tasks that drive the run, by several at once: block no longer than a write to the page cache
/// takes. A panic in it ends the run with an error that names the monitor.
///
/// # Examples
///
/// ```
/// use falco_core::{Event, Monitor, Verdict};
/// use std::sync::Mutex;
///
/// /// Stops the run when the money is spent.
/// #[derive(Debug)]
/// struct Budget { left: Mutex<f64> }
///
/// impl Monitor for Budget {
///     fn event(&self, event: &Event<'_>) -> Verdict {
///         let Event::Completed { completion, .. } = event else { return Verdict::Continue };
///         let mut left = self.left.lock().unwrap();
///         *left -= completion.cost.unwrap_or_default().0;
///         if *left > 0.0 { Verdict::Continue } else { Verdict::Stop }
///     }
/// }
/// ```
pub trait Monitor: Debug + Send + Sync + 'static {
    /// Takes note of an event; [`Verdict::Stop`] ends the run cleanly.
    fn event(&self, event: &Event<'_>) -> Verdict;

    /// Why it has returned [`Verdict::Stop`], where it knows better than its [name](Self::type_name) says: it becomes the error
    /// of the run.
    fn stop_reason(&self) -> Option<Error> {
        None
    }

    /// Whether a run with a [journal](crate::Journal) is suspended, and not ended, when this monitor stops it: another process
    /// can go on with it.
    fn suspends(&self) -> bool {
        false
    }

    /// The name of its type without paths and parameters, which errors call it by. Its `Debug` may be long, or hold what no error should show.
    fn type_name(&self) -> &'static str {
        crate::type_name::short::<Self>()
    }
}

/// Whether the run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// No more invocations are taken in; those in flight are cancelled, and the deployments are removed.
    Stop,
}

impl Verdict {
    /// `Stop` if either says so.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Stop { self } else { other }
    }
}

/// Something that happened in a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A run begins.
    RunStarted {
        /// The run.
        run: &'a RunId,
        /// Its plan; none where stages are executed one by one.
        plan: Option<&'a ExecutionPlan>,
    },
    /// A run has ended, its deployments removed or listed as leftovers.
    RunFinished {
        /// The run.
        run: &'a RunId,
        /// Why it did not succeed, if it did not.
        error: Option<&'a Error>,
    },
    /// A function was deployed.
    Deployed {
        /// The function.
        deployment: &'a Deployment,
    },
    /// A function was removed.
    Removed {
        /// The function.
        deployment: &'a Deployment,
    },
    /// A function could not be removed.
    Leftover {
        /// The function.
        deployment: &'a Deployment,
        /// Why.
        error: &'a Error,
    },
    /// A stage begins.
    StageStarted {
        /// The stage.
        stage: &'a StageName,
        /// Its function: runtime, memory and limits.
        deployment: &'a Deployment,
    },
    /// How many invocations a stage will have has become known, exactly or as a lower bound.
    StageSized {
        /// The stage.
        stage: &'a StageName,
        /// The number.
        invocations: u64,
    },
    /// A stage has ended.
    StageFinished {
        /// The stage.
        stage: &'a StageName,
        /// Why it failed, if it did.
        error: Option<&'a Error>,
    },
    /// Inputs never entered the strategy, because the stage stopped before.
    Skipped {
        /// The stage.
        stage: &'a StageName,
        /// How many.
        invocations: u64,
    },
    /// An invocation entered the strategy.
    Admitted {
        /// The invocation.
        invocation: &'a Invocation,
    },
    /// An attempt is sent.
    Attempt {
        /// The invocation, with its attempt.
        invocation: &'a Invocation,
        /// Why it is sent.
        reason: AttemptReason,
    },
    /// A call to the platform failed; a layer or the strategy decides what follows.
    CallFailed {
        /// The invocation.
        invocation: &'a Invocation,
        /// Why; its kind distinguishes throttling from the rest.
        error: &'a Error,
    },
    /// An invocation begins to wait, and nobody knows for how long. [`Waiting`](Self::Waiting) says it afterwards.
    Held {
        /// The invocation.
        invocation: &'a Invocation,
        /// The reason.
        reason: WaitReason,
    },
    /// An invocation waits.
    Waiting {
        /// The invocation.
        invocation: &'a Invocation,
        /// The reason.
        reason: WaitReason,
        /// How long it will wait, or has waited.
        wait: Duration,
    },
    /// The provider has accepted an invocation.
    Submitted {
        /// The invocation.
        invocation: &'a Invocation,
        /// The handle to collect it with.
        pending: &'a Pending,
    },
    /// Nobody answers for the platform any more, or it does not accept the credentials any more. Calls wait until that
    /// is over. See [`Platform::watch_outages`](crate::Platform::watch_outages).
    OutageStarted {
        /// The failure that showed it.
        error: &'a Error,
    },
    /// The platform has answered again.
    OutageEnded {
        /// The time since the failure that showed the outage.
        lasted: Duration,
    },
    /// The deadline of a stage has passed before the stage ended: what is in flight is given up.
    DeadlinePassed {
        /// The stage.
        stage: &'a StageName,
        /// The deadline, counted from the first invocation.
        after: Duration,
    },
    /// The provider has answered for an attempt, before its record is released. An invocation has several answers
    /// where attempts were repeated or copied; the [completion](Self::Completed) holds the last one only.
    Answered {
        /// The invocation, with its attempt.
        invocation: &'a Invocation,
        /// The answer. The function may have failed.
        activation: &'a Activation,
    },
    /// The log of an activation was fetched, because it failed.
    Logged {
        /// The stage.
        stage: &'a StageName,
        /// The log.
        log: &'a ActivationLog,
    },
    /// An invocation was completed by an earlier process and is not sent: its completion comes from a
    /// [journal](crate::Journal).
    Recalled {
        /// The completion that was recorded.
        completion: &'a Completion,
    },
    /// An answer came that was counted already, or came for an attempt that lost.
    DuplicateIgnored {
        /// The stage.
        stage: &'a StageName,
        /// The activation.
        activation: &'a ActivationId,
    },
    /// An invocation has left the strategy.
    Completed {
        /// The outcome.
        completion: &'a Completion,
    },
}

/// Why an attempt is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptReason {
    /// It is the first.
    First,
    /// The call to the platform failed before.
    CallFailed,
    /// The function failed before.
    FunctionFailed,
    /// The function needed more memory or time than its deployment has: it is sent to a larger one.
    Outgrown,
    /// The activation before was lost.
    Lost,
    /// The attempt before is slow: this is a copy, and the first answer wins.
    Straggler,
    /// It was sent in a batch and did not run there, or its answer did not come back, because of another input.
    Deferred,
}

/// The reason why an invocation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitReason {
    /// Congestion control: rate or concurrency.
    Limit,
    /// The pause before another attempt.
    BackOff,
    /// A worker: all those that the platform may have are busy.
    Queue,
    /// Money: the rest of the budget is reserved for what is in flight.
    Budget,
    /// The platform cannot be reached.
    Outage,
    /// The platform demands it: it has [suggested the wait](Error::retry_after), or is not ready yet.
    Platform,
}

const _: fn(&dyn Monitor) = |_| {};

#[cfg(test)]
mod tests {
    use super::Verdict::{Continue, Stop};

    #[test]
    fn one_stop_is_enough() {
        let verdicts = [(Continue, Continue), (Continue, Stop), (Stop, Continue), (Stop, Stop)];
        assert_eq!(verdicts.map(|(a, b)| a.and(b)), [Continue, Stop, Stop, Stop]);
    }
}
