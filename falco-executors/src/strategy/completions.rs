//! What the consumer holds.

use std::panic;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use falco_core::Completion;
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// The completions of an execution. Dropping it aborts the task that drives the execution.
#[derive(Debug)]
pub(super) struct Completions {
    arrived: mpsc::Receiver<Box<Completion>>,
    task: Option<AbortOnDropHandle<()>>,
}

impl Completions {
    pub(super) fn new(
        arrived: mpsc::Receiver<Box<Completion>>,
        task: tokio::task::JoinHandle<()>,
    ) -> Self {
        Self { arrived, task: Some(AbortOnDropHandle::new(task)) }
    }
}

impl Stream for Completions {
    type Item = Completion;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Completion>> {
        if let Some(completion) = ready!(self.arrived.poll_recv(cx)) {
            return Poll::Ready(Some(*completion));
        }
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        let joined = ready!(Pin::new(task).poll(cx));
        self.task = None;
        match joined {
            // What panicked is the user's: the stream of invocations, or a monitor. The panic belongs to whoever
            // waits for the completions.
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // Cancelled: the runtime shuts down.
            Ok(()) | Err(_) => Poll::Ready(None),
        }
    }
}
