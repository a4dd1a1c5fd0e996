//! How the invocations of a stage are driven.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;

use crate::completion::Completion;
use crate::deployment::Deployment;
use crate::invocation::Invocation;
use crate::platform::AsyncPlatform;
use crate::policy::StagePolicy;

/// A stream transformer: invocations in, completions out, driven by a task of its own.
///
/// # For callers
///
/// - Every invocation that was taken from the stream leaves as exactly one completion.
/// - What is in flight goes on whether or not the completions are polled. Back-pressure acts on admission: what is
///   in flight and what is completed but not taken yet never exceed the strategy's window together.
/// - When [`Target::stopped`] resolves, admission ends, and each invocation in flight leaves as cancelled.
/// - Dropping the completions stops everything, without completions: one scheduler tick later nothing runs,
///   permits are back, and activations are released as abandoned.
///
/// # For implementers
///
/// - What [`Target::policy`] and [`Target::deadline`] set comes before the strategy's own settings.
/// - An invocation with [`Invocation::submitted`] is collected, not sent.
/// - A completion is reported to the invocation's monitor, by [`Invocation::complete`], before its activation is
///   released.
pub trait ExecutionStrategy: Debug + Send + Sync {
    /// Runs `invocations` against `target`.
    ///
    /// It has to be called within a runtime.
    fn execute(
        &self,
        target: Target,
        invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion>;

    /// Whether invocations are submitted where the platform can do that: the limits of submission hold for them then,
    /// which are narrower than those of invoking on some platforms.
    fn submits(&self) -> bool {
        false
    }
}

impl<S: ExecutionStrategy + ?Sized> ExecutionStrategy for Arc<S> {
    fn execute(
        &self,
        target: Target,
        invocations: BoxStream<'static, Invocation>,
    ) -> BoxStream<'static, Completion> {
        (**self).execute(target, invocations)
    }

    fn submits(&self) -> bool {
        (**self).submits()
    }
}

type StopFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a strategy sends its invocations.
#[derive(Clone)]
#[non_exhaustive]
pub struct Target {
    /// The platform, with its layers.
    pub platform: Arc<dyn AsyncPlatform>,
    /// The function.
    pub deployment: Arc<Deployment>,
    /// How long the stage may take, from its first invocation.
    pub deadline: Option<Duration>,
    /// How the stage is driven, where it differs from what the strategy does by itself.
    pub policy: StagePolicy,
    stop: Option<Arc<dyn Fn() -> StopFuture + Send + Sync>>,
}

impl Target {
    /// A function on a platform, never stopped from outside.
    pub fn new(platform: Arc<dyn AsyncPlatform>, deployment: impl Into<Arc<Deployment>>) -> Self {
        Self {
            platform,
            deployment: deployment.into(),
            deadline: None,
            policy: StagePolicy::default(),
            stop: None,
        }
    }

    /// Limits how long the stage may take.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Says how the stage is driven, where it differs from what the strategy does by itself.
    #[must_use]
    pub fn with_policy(mut self, policy: StagePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Makes a future that resolves when the execution is to stop; `stop` is called by each strategy once.
    #[must_use]
    pub fn with_stop<F, S>(mut self, stop: S) -> Self
    where
        S: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.stop = Some(Arc::new(move || Box::pin(stop())));
        self
    }

    /// Resolves when the execution is to stop; never, when nobody can stop it.
    pub fn stopped(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match &self.stop {
            Some(stop) => stop(),
            None => Box::pin(std::future::pending()),
        }
    }
}

impl Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("platform", &self.platform)
            .field("deployment", &self.deployment)
            .field("deadline", &self.deadline)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

const _: fn(&dyn ExecutionStrategy) = |_| {};
