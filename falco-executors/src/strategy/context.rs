//! The state that all attempts of one execution share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use falco_core::{AsyncPlatform, Deployment, Invocation, Outcome, Target};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use super::batches::Batches;
use super::clock::Clock;
use super::collector::Collector;
use super::completions::Sender;
use super::options::ExecutionOptions;
use super::patience::Patience;
use super::stragglers::Stragglers;

/// The parameters in which the executors differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Invocations that are in flight, or completed and not taken yet.
    pub(super) window: usize,
    /// Whether invocations are submitted and collected, and not held open.
    pub(super) submit: bool,
    pub(super) patience: Patience,
}

/// The state that all attempts of one execution share.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) platform: Arc<dyn AsyncPlatform>,
    /// The same as `platform`, where inputs travel in batches.
    pub(super) batches: Option<Arc<Batches>>,
    pub(super) deployment: Arc<Deployment>,
    pub(super) options: ExecutionOptions,
    pub(super) submit: bool,
    pub(super) clock: Clock,
    pub(super) collector: Collector,
    pub(super) stragglers: Option<Stragglers>,
    pub(super) sender: Sender,
    pub(super) permits: Arc<Semaphore>,
    /// How long the execution may take, from its first invocation.
    pub(super) limit: Option<Duration>,
    begun: Notify,
    ended: OnceLock<End>,
}

/// Why an execution ends before its invocations do.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Cancelled,
    DeadlineExceeded,
}

impl End {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Cancelled => Outcome::Cancelled,
            Self::DeadlineExceeded => Outcome::DeadlineExceeded,
        }
    }
}

impl Execution {
    pub(super) fn new(
        shape: Shape,
        options: ExecutionOptions,
        target: &Target,
        permits: Arc<Semaphore>,
        sender: Sender,
    ) -> Self {
        let deployment = target.deployment.clone();
        let batches = target.policy.batch.map(|batch| {
            let (platform, deployment) = (target.platform.clone(), deployment.clone());
            let (permits, slots) = (permits.clone(), shape.window);
            Arc::new(Batches::new(batch, platform, deployment, permits, slots, shape.submit))
        });
        let platform = match &batches {
            Some(batches) => batches.clone(),
            None => target.platform.clone(),
        };
        let clock = Clock::start();
        let limit = target.deadline.or(options.deadline);
        Self {
            collector: Collector::new(platform.clone(), deployment.clone(), clock, shape.patience),
            stragglers: options
                .speculation
                // A window of one never has a permit left, and a user who asks for speculation wants a copy; not so
                // where the stage itself has a limit.
                .map(|rule| {
                    let extra = shape.window == 1 && target.policy.concurrency.is_none();
                    Stragglers::new(rule, permits.clone(), usize::from(extra))
                }),
            sender,
            permits,
            platform,
            batches,
            deployment,
            options,
            submit: shape.submit,
            clock,
            limit,
            begun: Notify::new(),
            ended: OnceLock::new(),
        }
    }

    /// Takes note that the execution has ended; the first reason stays.
    pub(super) fn set_ended(&self, end: End) {
        let _ = self.ended.set(end);
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.ended.get().copied()
    }

    /// Notes that the first invocation was taken in: the deadline counts from here.
    pub(super) fn begin(&self, first: &Invocation) {
        self.collector.report_by(first);
        self.begun.notify_one();
    }

    /// Resolves when the execution has to end, whatever is still in flight.
    pub(super) async fn end(&self, target: &Target) -> End {
        let deadline = async {
            let Some(limit) = self.limit else { return std::future::pending().await };
            self.begun.notified().await;
            sleep(limit).await;
        };
        tokio::select! {
            biased;
            () = target.stopped() => End::Cancelled,
            () = deadline => End::DeadlineExceeded,
        }
    }
}
