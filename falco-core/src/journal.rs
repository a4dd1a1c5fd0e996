//! The contract of a durable journal.

use std::sync::Arc;

use async_trait::async_trait;

use crate::completion::Completion;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::invocation::Invocation;
use crate::monitor::Monitor;
use crate::pending::Pending;
use crate::plan::ExecutionPlan;
use crate::platform::{AsyncPlatform, Platform};

/// A durable record of a run, from which another process goes on with it.
///
/// It takes part in three places: as a [`Monitor`] it records what happened; as a [layer](Self::layer) next to the
/// platform it records what is about to be sent, and holds releases back until the results are on disk; and the runner
/// asks it about each input before that is sent.
///
/// # For callers
///
/// - The runner takes the run's id from it, calls [`begin`](Self::begin) before anything is deployed,
///   [`recall`](Self::recall) before an invocation enters the strategy, and [`flush`](Self::flush) before it returns
///   the outcome. When the run is to go on elsewhere, it calls [`suspend`](Self::suspend) and removes nothing.
/// - Completions that were recalled are handed on like others: to hooks, derivations and kept results.
///
/// # For implementers
///
/// - A completion is recorded before [`Monitor::event`] returns, so that none is handed on that is not recorded.
/// - A failed write makes [`Monitor::event`] return [`Verdict::Stop`](crate::Verdict::Stop).
#[async_trait]
pub trait Journal: Monitor {
    /// The run that it records.
    fn run(&self) -> &RunId;

    /// Whether an earlier process has worked on the run.
    fn is_resumed(&self) -> bool;

    /// Records the plan, the platform and its [account](Platform::account), or compares them with the recorded ones.
    ///
    /// # Errors
    ///
    /// `Conflict` that names what changed; `Other` when the journal cannot be read or written.
    fn begin(
        &self,
        plan: &ExecutionPlan,
        platform: &dyn Platform,
        account: Option<&str>,
    ) -> Result<()>;

    /// The record of an invocation: at most one read.
    ///
    /// An invocation that is not idempotent, may have run, and has no recorded outcome, comes back as done with the
    /// outcome [`Unknown`](crate::Outcome::Unknown), or is settled by the [layer](Self::layer) without running twice.
    ///
    /// # Errors
    ///
    /// `Conflict` for an argument that differs from the recorded one, where running it again may do harm; `Other` when
    /// the journal cannot be read.
    fn recall(&self, invocation: &Invocation) -> Result<Recalled>;

    /// Wraps the platform, beneath all layers that limit or repeat calls. A platform that this journal has wrapped
    /// already comes back as it is.
    fn layer(self: Arc<Self>, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform>;

    /// Wraps a platform that chooses one of several for each call, such as a spread: as [`layer`](Self::layer), except that
    /// [the layers of the parts](Self::part_layer) record what is about to be sent. Implement both, or neither.
    ///
    /// By default it is [`layer`](Self::layer): calls that wait for a part count as sent then.
    fn layer_over_parts(
        self: Arc<Self>,
        platform: Arc<dyn AsyncPlatform>,
    ) -> Arc<dyn AsyncPlatform> {
        self.layer(platform)
    }

    /// Wraps one of the platforms among which [another](Self::layer_over_parts) chooses, beneath all layers that limit or
    /// repeat its calls, and records what is about to be sent to it. By default it returns the platform as it is.
    fn part_layer(self: Arc<Self>, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        platform
    }

    /// Returns once everything that was recorded is on disk.
    ///
    /// # Errors
    ///
    /// `Other` when it could not be written.
    async fn flush(&self) -> Result<()>;

    /// Takes note that the run is to go on in another process: activations that are abandoned from here on stay at the
    /// provider.
    fn suspend(&self);

    /// Why it cannot record any more, if so. The run is suspended then.
    fn failure(&self) -> Option<Error>;
}

/// A [`Journal`]'s knowledge of an invocation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Recalled {
    /// It has no outcome: send it.
    Send {
        /// The number of the next attempt, from 1.
        attempt: u32,
    },
    /// An earlier process was sending it when it ended, and the [layer](Journal::layer) settles what became of it: send it
    /// by itself, in no batch.
    Settle {
        /// The number of the attempt that is in doubt.
        attempt: u32,
    },
    /// An earlier process submitted it: collect it.
    Collect {
        /// The number of the attempt that was submitted.
        attempt: u32,
        /// The handle to collect it with.
        pending: Pending,
    },
    /// It is done.
    Done(Box<Completion>),
}

const _: fn(&dyn Journal) = |_| {};
