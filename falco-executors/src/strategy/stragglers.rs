//! The attempts that are slow enough to be copied.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep};

use super::options::Speculation;

/// A median of fewer answers than these says nothing.
const MIN_ANSWERS: u64 = 5;
/// Nothing faster is copied: for functions that answer at once, a hiccup of the driver would make stragglers.
const MIN_THRESHOLD: Duration = Duration::from_millis(10);
/// The histogram's upper bound, a day: longer latencies count as this one.
const MAX_MICROS: u64 = 24 * 3600 * 1_000_000;

/// Watches the attempts in flight by one timer, and says when one of them has become a straggler.
///
/// A copy needs a permit, as an invocation does (see [`Admission`](super::admission::Admission)), so that calls in
/// flight stay within the window, copies included.
#[derive(Debug)]
pub(super) struct Stragglers {
    speculation: Speculation,
    permits: Arc<Semaphore>,
    // Locked by the driving task only; a mutex because its attempts have to be `Send`.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    latencies: Histogram<u64>,
    median: Option<Duration>,
    /// The number of answers at which the median is worth another look.
    refresh_at: u64,
    /// Attempts that have no copy yet, the longest running first.
    watched: BTreeMap<Key, oneshot::Sender<()>>,
    /// Attempts that have a copy, with the copy's permit.
    copied: HashMap<Key, Permit>,
    /// Copies that may run at a time without a permit.
    extra: usize,
    next: u64,
    timer: Pin<Box<Sleep>>,
    waiting: Option<WaitForPermit>,
}

type Key = (Instant, u64);
/// None for an extra one.
type Permit = Option<OwnedSemaphorePermit>;

struct WaitForPermit(Pin<Box<dyn Future<Output = Acquired> + Send>>);
type Acquired = Result<OwnedSemaphorePermit, AcquireError>;

impl fmt::Debug for WaitForPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitForPermit")
    }
}

impl Stragglers {
    /// `extra` is the number of copies that may run at a time without a permit.
    pub(super) fn new(speculation: Speculation, permits: Arc<Semaphore>, extra: usize) -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants, and in order")]
        let latencies = Histogram::new_with_bounds(1, MAX_MICROS, 2).expect("bounds in order");
        let state = State {
            latencies,
            median: None,
            refresh_at: MIN_ANSWERS,
            watched: BTreeMap::new(),
            copied: HashMap::new(),
            extra,
            next: 0,
            timer: Box::pin(sleep(MIN_THRESHOLD)),
            waiting: None,
        };
        Self { speculation, permits, state: Mutex::new(state) }
    }

    /// Watches an attempt that was sent at `sent_at`, until the result is dropped.
    pub(super) fn watch(&self, sent_at: Instant) -> Watch<'_> {
        let mut state = self.lock();
        let key = (sent_at, state.next);
        state.next += 1;
        let (sender, due) = oneshot::channel();
        state.watched.insert(key, sender);
        Watch { stragglers: self, key, due }
    }

    /// Learns how long a successful attempt took.
    pub(super) fn record(&self, latency: Duration) {
        let mut state = self.lock();
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MAX_MICROS).max(1);
        state.latencies.saturating_record(micros);
        if state.latencies.len() >= state.refresh_at {
            state.median = Some(Duration::from_micros(state.latencies.value_at_quantile(0.5)));
            state.refresh_at += state.latencies.len() / 16 + 1;
        }
    }

    /// Wakes those that are due, as far as there are permits for copies; wakes the task when the next one is.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Infallible> {
        let state = &mut *self.lock();
        let Some(median) = state.median else { return Poll::Pending };
        let threshold = self.speculation.threshold(median).max(MIN_THRESHOLD);
        loop {
            let first = state.watched.first_key_value().map(|(key, _)| *key);
            let due = first.and_then(|(sent_at, _)| sent_at.checked_add(threshold));
            let (Some(first), Some(due)) = (first, due) else {
                state.waiting = None;
                return Poll::Pending;
            };
            if due > Instant::now() {
                // The straggler has answered: stop waiting for a permit.
                state.waiting = None;
                if state.timer.deadline() != due {
                    state.timer.as_mut().reset(due);
                }
                ready!(state.timer.as_mut().poll(cx));
                continue;
            }
            let permit = ready!(self.poll_permit(state, cx));
            if let Some(straggler) = state.watched.remove(&first) {
                // It listens: a watch that is dropped is no longer in the map.
                let _ = straggler.send(());
                state.copied.insert(first, permit);
            }
        }
    }

    fn poll_permit(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<Permit> {
        let extra_in_use = state.copied.values().filter(|permit| permit.is_none()).count();
        if extra_in_use < state.extra {
            return Poll::Ready(None);
        }
        let permits = &self.permits;
        let waiting = state
            .waiting
            .get_or_insert_with(|| WaitForPermit(Box::pin(permits.clone().acquire_owned())));
        match ready!(waiting.0.as_mut().poll(cx)) {
            Ok(permit) => {
                state.waiting = None;
                Poll::Ready(Some(permit))
            }
            // Nothing closes the permits.
            Err(_) => Poll::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt in flight. Once it is due, a copy of it counts as in flight too, until this is dropped.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    stragglers: &'a Stragglers,
    key: Key,
    due: oneshot::Receiver<()>,
}

impl Watch<'_> {
    /// Returns when the attempt has become a straggler and there is a permit for its copy.
    pub(super) async fn due(&mut self) {
        if (&mut self.due).await.is_err() {
            // No event can come any more: the execution ends.
            std::future::pending().await
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.stragglers.lock();
        state.watched.remove(&self.key);
        state.copied.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_median_of_five_answers_says_something_and_one_of_four_does_not() {
        let permits = Arc::new(Semaphore::new(1));
        let stragglers = Stragglers::new(Speculation::slower_than(2.0).unwrap(), permits, 1);
        for _ in 0..MIN_ANSWERS {
            assert_eq!(stragglers.lock().median, None);
            stragglers.record(Duration::from_millis(100));
        }
        let median = stragglers.lock().median.unwrap();
        // The histogram keeps two digits.
        assert!((99..=101).contains(&median.as_millis()), "{median:?}");
    }
}
