//! How completions get from the task that makes them to the consumer.
//!
//! They leave in batches, and their credits come back in lots: handed over one by one, the task and its consumer would
//! wake each other for each of them, which costs more than all that is done for an invocation besides.

use std::panic;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::vec;

use falco_core::Completion;
use futures_core::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

type Batch = Vec<Completion>;

/// Half a window each: while the consumer takes one lot, the task makes another. A consumer that has taken all there is
/// returns what credits it holds, so that a slow platform has its whole window.
const LOTS_PER_WINDOW: usize = 2;

/// Up to here each credit comes back by itself: a small window is for long invocations, and none should wait for another.
const SMALL_WINDOW: usize = 16;

/// Where completions are put when they are made. What is left when it is dropped, it sends.
#[derive(Debug)]
pub(super) struct Outbox {
    // Locked by the driving task only; a mutex because its attempts have to be `Send`.
    batch: Mutex<Batch>,
    // Without a bound of its own: each completion has a credit, and credits are bounded.
    batches: mpsc::UnboundedSender<Batch>,
    /// How many completions leave at once, and at the latest when the task has done all it can.
    lot: usize,
}

/// Where completions come out.
pub(super) type Batches = mpsc::UnboundedReceiver<Batch>;

impl Outbox {
    /// The two ends for completions of which up to `window` are not yet taken.
    pub(super) fn new(window: usize) -> (Self, Batches) {
        let (batches, receiver) = mpsc::unbounded_channel();
        (Self { batch: Mutex::default(), batches, lot: lot(window) }, receiver)
    }

    pub(super) fn push(&self, completion: Completion) {
        let mut batch = self.lock();
        batch.push(completion);
        if batch.len() >= self.lot {
            self.send(&mut batch);
        }
    }

    /// Sends what has been put in.
    pub(super) fn flush(&self) {
        let mut batch = self.lock();
        if !batch.is_empty() {
            self.send(&mut batch);
        }
    }

    fn send(&self, batch: &mut Batch) {
        // As large as the last one, for completions are large, and a vector that grows moves them.
        let next = Batch::with_capacity(batch.len());
        // A consumer that is gone wants no completions, and has aborted this task.
        let _ = self.batches.send(std::mem::replace(batch, next));
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What the consumer holds. Dropping it aborts the task that drives the execution.
#[derive(Debug)]
pub(super) struct Completions {
    batch: vec::IntoIter<Completion>,
    batches: Batches,
    credits: Arc<Semaphore>,
    /// Completions taken whose credits have not been returned.
    taken: usize,
    /// How many credits are returned together.
    lot: usize,
    task: Option<AbortOnDropHandle<()>>,
}

impl Completions {
    /// The completions that `task` makes against `window` credits.
    pub(super) fn new(
        batches: Batches,
        credits: Arc<Semaphore>,
        window: usize,
        task: JoinHandle<()>,
    ) -> Self {
        Self {
            batch: Batch::new().into_iter(),
            batches,
            credits,
            taken: 0,
            lot: lot(window),
            task: Some(AbortOnDropHandle::new(task)),
        }
    }

    fn return_credits(&mut self) {
        self.credits.add_permits(std::mem::take(&mut self.taken));
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let batch = self.batches.poll_recv(cx);
        if batch.is_pending() {
            self.return_credits();
        }
        batch
    }
}

impl Stream for Completions {
    type Item = Completion;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Completion>> {
        loop {
            if let Some(completion) = self.batch.next() {
                self.taken += 1;
                if self.taken == self.lot {
                    self.return_credits();
                }
                return Poll::Ready(Some(completion));
            }
            match ready!(self.poll_batch(cx)) {
                Some(batch) => self.batch = batch.into_iter(),
                None => break,
            }
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

/// How many completions leave, and how many credits come back, at once.
fn lot(window: usize) -> usize {
    if window <= SMALL_WINDOW { 1 } else { window / LOTS_PER_WINDOW }
}
