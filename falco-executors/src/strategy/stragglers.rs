//! Which attempts are slow enough to be copied.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::options::Speculation;

/// A median of fewer answers than these says nothing.
const MIN_ANSWERS: u64 = 5;
/// Nothing faster is copied: for functions that answer at once, a hiccup of the driver would make stragglers.
const MIN_THRESHOLD: Duration = Duration::from_millis(10);

/// Watches the attempts in flight by one timer, and says when one of them has become a straggler.
#[derive(Debug)]
pub(super) struct Stragglers {
    speculation: Speculation,
    /// Attempts that may be in flight at once, copies included.
    limit: usize,
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
    next: u64,
    copies: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

type Key = (Instant, u64);

impl Stragglers {
    pub(super) fn new(speculation: Speculation, window: usize) -> Self {
        #[expect(clippy::expect_used, reason = "two digits are within the histogram's bounds")]
        let latencies = Histogram::new(2).expect("a histogram of two significant digits");
        let state = State {
            latencies,
            median: None,
            refresh_at: MIN_ANSWERS,
            watched: BTreeMap::new(),
            next: 0,
            copies: 0,
            timer: None,
        };
        // A window of one has no room for a copy, and whoever asks for speculation wants one.
        Self { speculation, limit: window.max(2), state: Mutex::new(state) }
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
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        state.latencies.saturating_record(micros);
        if state.latencies.len() >= state.refresh_at {
            state.median = Some(Duration::from_micros(state.latencies.value_at_quantile(0.5)));
            state.refresh_at += state.latencies.len() / 16 + 1;
        }
    }

    /// Tells those that are due, as far as there is room beside `in_flight` invocations, and wakes the task when the
    /// next one is.
    pub(super) fn poll(&self, in_flight: usize, cx: &mut Context<'_>) {
        let state = &mut *self.lock();
        let Some(median) = state.median else { return };
        let threshold = self.speculation.threshold(median).max(MIN_THRESHOLD);
        while in_flight + state.copies < self.limit
            && let Some(first) = state.watched.first_entry()
            && let Some(due) = first.key().0.checked_add(threshold)
        {
            if due <= Instant::now() {
                // It listens: a watch that is dropped is no longer in the map.
                let _ = first.remove().send(());
                state.copies += 1;
                continue;
            }
            let timer = state.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
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
    /// Returns when the attempt has become a straggler and there is room for its copy.
    pub(super) async fn due(&mut self) {
        if (&mut self.due).await.is_err() {
            // Nobody will tell any more: the execution ends.
            std::future::pending().await
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.stragglers.lock();
        if state.watched.remove(&self.key).is_none() {
            state.copies -= 1;
        }
    }
}
