//! How completions get from the task that makes them to the consumer.
//!
//! They are sent in batches, and so come back their permits: sent one by one, the task and its consumer would wake each
//! other for each of them, which costs more than all that is done for an invocation besides.

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

/// Half a window each: while the consumer takes one batch, the task makes another.
const BATCHES_PER_WINDOW: usize = 2;

/// Permits come back sooner: a slow consumer should not keep from the platform what it has taken already. A consumer
/// that has taken all there is returns what permits it holds.
const RETURNS_PER_WINDOW: usize = 4;

/// More at once makes nothing faster, and long invocations start later.
const RETURNED_AT_ONCE: usize = 32;

/// Up to here each permit comes back by itself: a small window is for long invocations, and none should wait for
/// another.
const SMALL_WINDOW: usize = 16;

type Batch = VecDeque<Completion>;

/// The end of the channel where completions are put when they are made. Dropped, it sends the rest.
#[derive(Debug)]
pub(super) struct Sender {
    // Locked by the driving task only; a mutex because its attempts have to be `Send`.
    batch: Mutex<Batch>,
    /// How many completions make a batch, before the task has done all it can.
    size: usize,
    channel: Arc<Channel>,
}

/// The batches between the task and the consumer.
// Without a bound of its own: each completion has a permit, and permits are bounded.
#[derive(Debug, Default)]
pub(super) struct Channel(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    /// Whether there will be no more.
    is_closed: bool,
    consumer: Option<Waker>,
}

impl Sender {
    /// The two ends for completions of which up to `window` are not yet taken.
    pub(super) fn new(window: usize) -> (Self, Arc<Channel>) {
        let channel = Arc::new(Channel::default());
        let size = batch_size(window);
        (Self { batch: Mutex::default(), size, channel: Arc::clone(&channel) }, channel)
    }

    pub(super) fn push(&self, completion: Completion) {
        let consumer = {
            let mut batch = lock(&self.batch);
            batch.push_back(completion);
            if batch.len() < self.size {
                return;
            }
            self.channel.put(&mut batch)
        };
        wake(consumer);
    }

    /// Hands over what has been put in.
    pub(super) fn flush(&self) {
        let consumer = {
            let mut batch = lock(&self.batch);
            if batch.is_empty() {
                return;
            }
            self.channel.put(&mut batch)
        };
        wake(consumer);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.flush();
        wake(self.channel.close());
    }
}

// Wakers are the consumer's code: they are called, and dropped, while nothing is locked.
impl Channel {
    /// Takes all of `batch`; the consumer is to be woken.
    fn put(&self, batch: &mut Batch) -> Option<Waker> {
        let mut state = lock(&self.0);
        if state.batch.is_empty() {
            // Each keeps its room: completions are large, and a batch that grows moves them.
            mem::swap(&mut state.batch, batch);
        } else {
            state.batch.append(batch);
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
    fn poll_take(&self, taken: &mut Batch, cx: &Context<'_>) -> Poll<bool> {
        let mut state = lock(&self.0);
        if !state.batch.is_empty() {
            mem::swap(&mut state.batch, taken);
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

/// The consumer's end of the channel. Dropping it aborts the task that drives the execution.
#[derive(Debug)]
pub(super) struct Completions {
    taken: Batch,
    channel: Arc<Channel>,
    permits: Arc<Semaphore>,
    /// Permits of completions that were handed out.
    spent: usize,
    /// How many permits are returned together.
    return_at: usize,
    task: Option<AbortOnDropHandle<()>>,
}

impl Completions {
    /// The completions that `task` makes against `window` permits.
    pub(super) fn new(
        channel: Arc<Channel>,
        permits: Arc<Semaphore>,
        window: usize,
        task: JoinHandle<()>,
    ) -> Self {
        Self {
            taken: Batch::new(),
            channel,
            permits,
            spent: 0,
            return_at: permits_at_once(window),
            task: Some(AbortOnDropHandle::new(task)),
        }
    }

    fn return_permits(&mut self) {
        self.permits.add_permits(mem::take(&mut self.spent));
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
                    this.return_permits();
                }
                return Poll::Ready(next);
            }
            let more = this.channel.poll_take(&mut this.taken, cx);
            if more.is_pending() {
                this.return_permits();
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
fn batch_size(window: usize) -> usize {
    if window <= SMALL_WINDOW { 1 } else { window / BATCHES_PER_WINDOW }
}

/// How many permits come back at once.
fn permits_at_once(window: usize) -> usize {
    if window <= SMALL_WINDOW { 1 } else { (window / RETURNS_PER_WINDOW).min(RETURNED_AT_ONCE) }
}
