//! Completions of earlier processes, which go past the strategy.
//!
//! Through it, they would teach congestion control and the search for stragglers that calls are answered at once.

use std::sync::Arc;
use std::task::{Context, Poll};

use falco_core::{Completion, Error, ErrorKind, Invocation, Journal, Recalled, Result};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::guard::guard;

/// Completions that may wait for the consumer.
const WAITING: usize = 64;
/// After so many in a row others get their turn.
const BURST: u32 = 64;

/// Asks the journal about each invocation before the strategy gets it.
pub(super) struct Recall {
    journal: Arc<dyn Journal>,
    completions: PollSender<Completion>,
    in_a_row: u32,
}

impl Recall {
    pub(super) fn new(journal: Arc<dyn Journal>) -> (Self, mpsc::Receiver<Completion>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { journal, completions: PollSender::new(sender), in_a_row: 0 }, receiver)
    }

    /// Waits for room for a completion, and now and then for others to have their turn.
    ///
    /// # Errors
    ///
    /// When nobody takes completions any more.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.in_a_row >= BURST {
            self.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.completions
            .poll_reserve(cx)
            .map_err(|_| Error::new(ErrorKind::Cancelled, "nobody takes completions any more"))
    }

    /// The invocation as it is to be sent, or the completion that an earlier process recorded.
    pub(super) fn ask(&mut self, invocation: Invocation) -> Result<Result<Invocation, Completion>> {
        let what = || format!("the journal of run {}", self.journal.run());
        let recalled = guard(what, || self.journal.recall(&invocation))??;
        Ok(match recalled {
            Recalled::Done(completion) => {
                self.in_a_row += 1;
                Err(*completion)
            }
            Recalled::Send { attempt } => Ok(invocation.with_attempt(attempt)),
            Recalled::Settle { attempt } => Ok(invocation.with_attempt(attempt).with_alone(true)),
            Recalled::Collect { attempt, pending } => {
                Ok(invocation.with_attempt(attempt).with_submitted(pending))
            }
            other => {
                let message =
                    format!("the journal has answered {other:?}, which is not understood");
                return Err(Error::unsupported(message));
            }
        })
    }

    /// Hands a completion over. There has to be room, as [`poll_ready`](Self::poll_ready) says.
    pub(super) fn hand_over(&mut self, completion: Completion) {
        // The consumer has gone: what it has not taken is counted as it ends.
        let _ = self.completions.send_item(completion);
    }
}
