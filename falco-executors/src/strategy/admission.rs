//! What may enter, and when.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use falco_core::{BoxStream, Completion, Invocation};
use futures_util::StreamExt as _;
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::mpsc::{Permit, Sender};

/// Admits invocations against credits.
///
/// A credit is a permit of the bounded channel that the completions leave by. It is taken when an invocation is
/// admitted, used when it completes, and comes back when the consumer takes the completion. So what is in flight and
/// what is not yet taken never exceed the channel's capacity together, and sending a completion never waits.
pub(super) struct Admission<'a> {
    completions: &'a Sender<Box<Completion>>,
    /// `None` once nothing more will be admitted.
    invocations: Option<BoxStream<'static, Invocation>>,
    /// The credit of the invocation that comes next.
    next: Option<Credit<'a>>,
    /// Waits for a credit; `None` while there are enough.
    waiting: Option<WaitForCredit<'a>>,
    /// One for each invocation in flight.
    used: Vec<Credit<'a>>,
}

type Credit<'a> = Permit<'a, Box<Completion>>;
type WaitForCredit<'a> =
    Pin<Box<dyn Future<Output = Result<Credit<'a>, SendError<()>>> + Send + 'a>>;

impl<'a> Admission<'a> {
    pub(super) fn new(
        completions: &'a Sender<Box<Completion>>,
        invocations: BoxStream<'static, Invocation>,
    ) -> Self {
        Self {
            completions,
            invocations: Some(invocations),
            next: None,
            waiting: None,
            used: Vec::new(),
        }
    }

    /// The next invocation, once there is one and a credit for it; `None` when nothing more is admitted.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Invocation>> {
        let Some(invocations) = &mut self.invocations else { return Poll::Ready(None) };
        let credit = match self.next.take() {
            Some(credit) => credit,
            None => match ready!(poll_credit(self.completions, &mut self.waiting, cx)) {
                Some(credit) => credit,
                None => {
                    self.close();
                    return Poll::Ready(None);
                }
            },
        };
        match invocations.poll_next_unpin(cx) {
            Poll::Ready(Some(invocation)) => {
                self.used.push(credit);
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

    /// Hands the completion of an admitted invocation to the consumer.
    pub(super) fn deliver(&mut self, completion: Box<Completion>) {
        #[expect(clippy::expect_used, reason = "each admitted invocation has put a credit there")]
        self.used.pop().expect("a completion without admission").send(completion);
    }
}

/// A credit, or `None` when the consumer is gone.
fn poll_credit<'a>(
    completions: &'a Sender<Box<Completion>>,
    waiting: &mut Option<WaitForCredit<'a>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Credit<'a>>> {
    if waiting.is_none() {
        match completions.try_reserve() {
            Ok(credit) => return Poll::Ready(Some(credit)),
            Err(TrySendError::Closed(())) => return Poll::Ready(None),
            Err(TrySendError::Full(())) => {}
        }
    }
    let future = waiting.get_or_insert_with(|| Box::pin(completions.reserve()));
    let credit = ready!(future.as_mut().poll(cx));
    *waiting = None;
    Poll::Ready(credit.ok())
}
