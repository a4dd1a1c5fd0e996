//! Admits invocations while the window has room.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use falco_core::{BoxStream, Invocation};
use futures_util::StreamExt as _;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError};

/// Admits invocations against permits.
///
/// A permit is taken when an invocation is admitted, and comes back when the consumer has taken its completion. So what
/// is in flight and what is not yet taken never exceed the window together, and handing over a completion never waits.
pub(super) struct Admission<'a> {
    permits: &'a Semaphore,
    /// `None` once nothing more will be admitted.
    invocations: Option<BoxStream<'static, Invocation>>,
    /// The permit of the invocation that comes next.
    next: Option<SemaphorePermit<'a>>,
    /// Waits for a permit; `None` while there are enough.
    waiting: Option<WaitForPermit<'a>>,
}

type WaitForPermit<'a> =
    Pin<Box<dyn Future<Output = Result<SemaphorePermit<'a>, AcquireError>> + Send + 'a>>;

impl<'a> Admission<'a> {
    pub(super) fn new(permits: &'a Semaphore, invocations: BoxStream<'static, Invocation>) -> Self {
        Self { permits, invocations: Some(invocations), next: None, waiting: None }
    }

    /// The next invocation, once there is one and a permit for it; `None` when nothing more is admitted.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Invocation>> {
        let Some(invocations) = &mut self.invocations else { return Poll::Ready(None) };
        let permit = match self.next.take() {
            Some(permit) => permit,
            None => match ready!(poll_permit(self.permits, &mut self.waiting, cx)) {
                Some(permit) => permit,
                None => {
                    self.close();
                    return Poll::Ready(None);
                }
            },
        };
        match invocations.poll_next_unpin(cx) {
            Poll::Ready(Some(invocation)) => {
                // The consumer returns it, when it takes the completion.
                permit.forget();
                Poll::Ready(Some(invocation))
            }
            Poll::Ready(None) => {
                self.close();
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.next = Some(permit);
                Poll::Pending
            }
        }
    }

    /// Admits nothing more, and drops the stream of invocations.
    pub(super) fn close(&mut self) {
        self.invocations = None;
        self.next = None;
        self.waiting = None;
    }

    /// Whether there is room for an invocation, and the stream has none yet.
    pub(super) fn waits_for_input(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.invocations.is_none()
    }
}

/// A permit, or `None` when there will be no more.
fn poll_permit<'a>(
    permits: &'a Semaphore,
    waiting: &mut Option<WaitForPermit<'a>>,
    cx: &mut Context<'_>,
) -> Poll<Option<SemaphorePermit<'a>>> {
    if waiting.is_none() {
        match permits.try_acquire() {
            Ok(permit) => return Poll::Ready(Some(permit)),
            Err(TryAcquireError::Closed) => return Poll::Ready(None),
            Err(TryAcquireError::NoPermits) => {}
        }
    }
    let future = waiting.get_or_insert_with(|| Box::pin(permits.acquire()));
    let permit = ready!(future.as_mut().poll(cx));
    *waiting = None;
    Poll::Ready(permit.ok())
}
