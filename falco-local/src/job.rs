//! One activation on its way to a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use falco_core::{Activation, ActivationId, Error, Event, Invocation, Payload, Result, WaitReason};
use tokio::sync::oneshot;

use crate::submissions::Submissions;

/// An activation that waits for a worker or runs on one.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: ActivationId,
    pub(crate) payload: Payload,
    pub(crate) queued_at: Instant,
    pub(crate) reply: Reply,
    /// The invocation whose wait for a worker was reported, and whose start is to be reported.
    pub(crate) held: Option<Invocation>,
}

/// Who waits for the activation.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The future of an `invoke`.
    Caller(oneshot::Sender<Result<Activation>>),
    /// Nobody yet: it was submitted, and will be collected.
    Submission { all: Arc<Submissions>, abandoned: Arc<AtomicBool> },
}

impl Job {
    /// Reports that all workers are busy.
    pub(crate) fn hold(&mut self, invocation: &Invocation) {
        invocation.report(&Event::Held { invocation, reason: WaitReason::Queue });
        self.held = Some(invocation.clone());
    }

    /// Reports that a worker has taken the job, if it had to wait for one.
    pub(crate) fn begin(&mut self) {
        if let Some(invocation) = self.held.take() {
            let (reason, wait) = (WaitReason::Queue, self.queued_at.elapsed());
            invocation.report(&Event::Waiting { invocation: &invocation, reason, wait });
        }
    }

    /// Whether nobody wants the result any more: the future was dropped, or the submission abandoned.
    pub(crate) fn is_unwanted(&self) -> bool {
        match &self.reply {
            Reply::Caller(caller) => caller.is_closed(),
            Reply::Submission { abandoned, .. } => abandoned.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn answer(self, result: Result<Activation>) {
        match self.reply {
            // A caller that has gone away is not an error.
            Reply::Caller(caller) => drop(caller.send(result)),
            Reply::Submission { all, .. } => all.finish(&self.id, result),
        }
    }

    /// The function went away before a worker could take or finish the job.
    pub(crate) fn refuse(self, error: Error) {
        match self.reply {
            Reply::Caller(caller) => drop(caller.send(Err(error))),
            Reply::Submission { all, .. } => all.forget(&self.id),
        }
    }
}
