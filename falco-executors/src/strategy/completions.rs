//! How completions get from the task that makes them to the consumer.
//!
//! They change hands in lots, and so do their credits: handed over one by one, the task and its consumer would wake
//! each other for each of them, which costs more than all that is done for an invocation besides.

use std::collections::VecDeque;
use std::mem;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use falco_core::Completion;
use futures_core::Stream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::task::coop::poll_proceed;
use tokio_util::task::AbortOnDropHandle;

/// Half a window each: while the consumer takes one lot, the task makes another.
const LOTS_PER_WINDOW: usize = 2;

/// Credits come back sooner: a slow consumer should not keep from the platform what it has taken already. A consumer
/// that has taken all there is returns what credits it holds.
const RETURNS_PER_WINDOW: usize = 4;

/// More at once makes nothing faster, and long invocations start later.
const RETURNED_AT_ONCE: usize = 32;

/// Up to here each credit comes back by itself: a small window is for long invocations, and none should wait for
/// another.
const SMALL_WINDOW: usize = 16;

type Lot = VecDeque<Completion>;

/// Where completions are put when they are made. The consumer gets what is left when it is dropped.
#[derive(Debug)]
pub(super) struct Outbox {
    // Locked by the driving task only; a mutex because its attempts have to be `Send`.
    lot: Mutex<Lot>,
    /// How many completions make a lot, before the task has done all it can.
    size: usize,
    handover: Arc<Handover>,
}

/// Where lots change hands.
// Without a bound of its own: each completion has a credit, and credits are bounded.
#[derive(Debug, Default)]
pub(super) struct Handover(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lot: Lot,
    /// Whether there will be no more.
    is_closed: bool,
    consumer: Option<Waker>,
}

impl Outbox {
    /// The two ends for completions of which up to `window` are not yet taken.
    pub(super) fn new(window: usize) -> (Self, Arc<Handover>) {
        let handover = Arc::new(Handover::default());
        let size = lot_size(window);
        (Self { lot: Mutex::default(), size, handover: Arc::clone(&handover) }, handover)
    }

    pub(super) fn push(&self, completion: Completion) {
        let consumer = {
            let mut lot = lock(&self.lot);
            lot.push_back(completion);
            if lot.len() < self.size {
                return;
            }
            self.handover.put(&mut lot)
        };
        wake(consumer);
    }

    /// Hands over what has been put in.
    pub(super) fn flush(&self) {
        let consumer = {
            let mut lot = lock(&self.lot);
            if lot.is_empty() {
                return;
            }
            self.handover.put(&mut lot)
        };
        wake(consumer);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.flush();
        wake(self.handover.close());
    }
}

// Wakers are the consumer's code: they are called, and dropped, while nothing is locked.
impl Handover {
    /// Takes all of `lot`; the consumer is to be woken.
    fn put(&self, lot: &mut Lot) -> Option<Waker> {
        let mut state = lock(&self.0);
        if state.lot.is_empty() {
            // Each keeps its room: completions are large, and a lot that grows moves them.
            mem::swap(&mut state.lot, lot);
        } else {
            state.lot.append(lot);
        }
        state.consumer.take()
    }

    /// Says that there will be no more; the consumer is to be woken.
    fn close(&self) -> Option<Waker> {
        let mut state = lock(&self.0);
        state.is_closed = true;
        state.consumer.take()
    }

    /// Swaps the empty `taken` for all there is. False when there will be no more.
    fn poll_take(&self, taken: &mut Lot, cx: &Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.0);
        if !state.lot.is_empty() {
            mem::swap(&mut state.lot, taken);
            return Poll::Ready(true);
        }
        if state.is_closed {
            return Poll::Ready(false);
        }
        let former = state.consumer.replace(cx.waker().clone());
        drop(state);
        drop(former);
        Poll::Pending
    }
}

fn wake(consumer: Option<Waker>) {
    if let Some(consumer) = consumer {
        consumer.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the consumer holds. Dropping it aborts the task that drives the execution.
#[derive(Debug)]
pub(super) struct Completions {
    taken: Lot,
    handover: Arc<Handover>,
    credits: Arc<Semaphore>,
    /// Credits of completions that were handed out.
    spent: usize,
    /// How many credits are returned together.
    return_at: usize,
    task: Option<AbortOnDropHandle<()>>,
}

impl Completions {
    /// The completions that `task` makes against `window` credits.
    pub(super) fn new(
        handover: Arc<Handover>,
        credits: Arc<Semaphore>,
        window: usize,
        task: JoinHandle<()>,
    ) -> Self {
        Self {
            taken: Lot::new(),
            handover,
            credits,
            spent: 0,
            return_at: credits_at_once(window),
            task: Some(AbortOnDropHandle::new(task)),
        }
    }

    fn return_credits(&mut self) {
        self.credits.add_permits(mem::take(&mut self.spent));
    }
}

impl Stream for Completions {
    type Item = Completion;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Completion>> {
        let this = self.get_mut();
        // A consumer that finds one every time must not keep the rest of its task from going on.
        let turn = ready!(poll_proceed(cx));
        loop {
            let next = this.taken.pop_front();
            if next.is_some() {
                turn.made_progress();
                this.spent += 1;
                if this.spent == this.return_at {
                    this.return_credits();
                }
                return Poll::Ready(next);
            }
            let more = this.handover.poll_take(&mut this.taken, cx);
            if more.is_pending() {
                this.return_credits();
            }
            if !ready!(more) {
                break;
            }
        }
        let Some(task) = &mut this.task else { return Poll::Ready(None) };
        let joined = ready!(Pin::new(task).poll(cx));
        this.task = None;
        match joined {
            // What panicked is the user's: the stream of invocations, or a monitor. The panic belongs to the caller that
            // waits for the completions.
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            // Cancelled: the runtime shuts down.
            Ok(()) | Err(_) => Poll::Ready(None),
        }
    }
}

/// How many completions leave at once.
fn lot_size(window: usize) -> usize {
    if window <= SMALL_WINDOW { 1 } else { window / LOTS_PER_WINDOW }
}

/// How many credits come back at once.
fn credits_at_once(window: usize) -> usize {
    if window <= SMALL_WINDOW { 1 } else { (window / RETURNS_PER_WINDOW).min(RETURNED_AT_ONCE) }
}
