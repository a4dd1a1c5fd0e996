//! One activation on its way to a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use falco_core::{
    Activation, ActivationId, Error, Event, Invocation, Payload, Result, TraceContext, WaitReason,
};
use tokio::sync::oneshot;

use crate::submissions::Submissions;

/// An activation that waits for a worker or runs on one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Job {
    /// Its name.
    pub id: ActivationId,
    /// The argument.
    pub payload: Payload,
    /// The ids under which traces show it.
    pub trace: TraceContext,
    /// When it was queued.
    pub queued_at: Instant,
    /// The caller that waits for it.
    pub reply: Reply,
    /// The invocation whose wait for a worker was reported, and whose start is to be reported.
    pub held: Option<Invocation>,
}

/// The caller that waits for the activation.
#[derive(Debug)]
pub enum Reply {
    /// The future of an `invoke`.
    Caller(oneshot::Sender<Result<Activation>>),
    /// Nobody yet: it was submitted, and will be collected.
    Submission {
        /// Where its result goes.
        all: Arc<Submissions>,
        /// Set when nobody will collect it.
        abandoned: Arc<AtomicBool>,
    },
}

impl Job {
    /// A job that is queued now.
    pub fn new(id: ActivationId, invocation: &Invocation, reply: Reply) -> Self {
        let (payload, trace) = (invocation.payload().clone(), invocation.trace_context());
        Self { id, payload, trace, queued_at: Instant::now(), reply, held: None }
    }

    /// Reports that all workers are busy.
    pub fn hold(&mut self, invocation: &Invocation) {
        invocation.report(&Event::Held { invocation, reason: WaitReason::Queue });
        self.held = Some(invocation.clone());
    }

    /// Reports that a worker has taken the job, if it had to wait for one.
    pub fn begin(&mut self) {
        if let Some(invocation) = self.held.take() {
            let (reason, wait) = (WaitReason::Queue, self.queued_at.elapsed());
            invocation.report(&Event::Waiting { invocation: &invocation, reason, wait });
        }
    }

    /// Whether nobody wants the result any more: the future was dropped, or the submission abandoned.
    pub fn is_unwanted(&self) -> bool {
        match &self.reply {
            Reply::Caller(caller) => caller.is_closed(),
            Reply::Submission { abandoned, .. } => abandoned.load(Ordering::Relaxed),
        }
    }

    /// Hands the result to the caller, or keeps it for collection.
    pub fn answer(self, result: Result<Activation>) {
        match self.reply {
            // A caller that has gone away is not an error.
            Reply::Caller(caller) => drop(caller.send(result)),
            Reply::Submission { all, .. } => all.finish(&self.id, result),
        }
    }

    /// The function went away before a worker could take or finish the job.
    pub fn refuse(self, error: Error) {
        match self.reply {
            Reply::Caller(caller) => drop(caller.send(Err(error))),
            Reply::Submission { all, .. } => all.forget(&self.id),
        }
    }
}
