//! Admits invocations while the window has room.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use falco_core::{BoxStream, Invocation};
use futures_util::StreamExt as _;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError};

/// Admits invocations against credits.
///
/// A credit is taken when an invocation is admitted, and comes back when the consumer has taken its completion. So what
/// is in flight and what is not yet taken never exceed the window together, and handing over a completion never waits.
pub(super) struct Admission<'a> {
    credits: &'a Semaphore,
    /// `None` once nothing more will be admitted.
    invocations: Option<BoxStream<'static, Invocation>>,
    /// The credit of the invocation that comes next.
    next: Option<SemaphorePermit<'a>>,
    /// Waits for a credit; `None` while there are enough.
    waiting: Option<WaitForCredit<'a>>,
}

type WaitForCredit<'a> =
    Pin<Box<dyn Future<Output = Result<SemaphorePermit<'a>, AcquireError>> + Send + 'a>>;

impl<'a> Admission<'a> {
    pub(super) fn new(credits: &'a Semaphore, invocations: BoxStream<'static, Invocation>) -> Self {
        Self { credits, invocations: Some(invocations), next: None, waiting: None }
    }

    /// The next invocation, once there is one and a credit for it; `None` when nothing more is admitted.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Invocation>> {
        let Some(invocations) = &mut self.invocations else { return Poll::Ready(None) };
        let credit = match self.next.take() {
            Some(credit) => credit,
            None => match ready!(poll_credit(self.credits, &mut self.waiting, cx)) {
                Some(credit) => credit,
                None => {
                    self.close();
                    return Poll::Ready(None);
                }
            },
        };
        match invocations.poll_next_unpin(cx) {
            Poll::Ready(Some(invocation)) => {
                // The consumer returns it, when it takes the completion.
                credit.forget();
                Poll::Ready(Some(invocation))
            }
            Poll::Ready(None) => {
                self.close();
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.next = Some(credit);
                Poll::Pending
            }
        }
    }

    /// Admits nothing more, and lets go of where invocations come from.
    pub(super) fn close(&mut self) {
        self.invocations = None;
        self.next = None;
        self.waiting = None;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.invocations.is_none()
    }
}

/// A credit, or `None` when there will be no more.
fn poll_credit<'a>(
    credits: &'a Semaphore,
    waiting: &mut Option<WaitForCredit<'a>>,
    cx: &mut Context<'_>,
) -> Poll<Option<SemaphorePermit<'a>>> {
    if waiting.is_none() {
        match credits.try_acquire() {
            Ok(credit) => return Poll::Ready(Some(credit)),
            Err(TryAcquireError::Closed) => return Poll::Ready(None),
            Err(TryAcquireError::NoPermits) => {}
        }
    }
    let future = waiting.get_or_insert_with(|| Box::pin(credits.acquire()));
    let credit = ready!(future.as_mut().poll(cx));
    *waiting = None;
    Poll::Ready(credit.ok())
}
