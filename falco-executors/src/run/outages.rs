//! The outages of the platform while a run lasts, and how long the run waits for their ends.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use falco_core::{Error, Event, Monitor, Result, Verdict};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::hub::Hub;

/// How long deploying and removing wait for a platform without layers that nobody answers for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long an outage may last after a stop: somebody waits for the end.
const PATIENCE_AFTER_STOP: Duration = Duration::from_secs(30);

/// The pauses between two tries.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(Duration::from_secs(5))
    .without_max_times()
    .with_jitter();

/// Takes note of outages, and passes them on to the run's monitors.
#[derive(Debug)]
pub(super) struct Outages {
    hub: Arc<Hub>,
    current: watch::Sender<Option<Current>>,
    /// All outages that are over.
    total: Mutex<Duration>,
}

#[derive(Clone, Debug)]
struct Current {
    since: Instant,
    error: Error,
}

impl Outages {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, current: watch::Sender::default(), total: Mutex::default() }
    }

    /// How long nobody answered in this run, until now.
    pub(super) fn lost(&self) -> Duration {
        let current = self.current.borrow().as_ref().map(|current| current.since.elapsed());
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) + current.unwrap_or_default()
    }

    /// Repeats a call while nobody answers, for up to `patience`. Layers that have waited already are not waited for
    /// once more.
    pub(super) async fn outlast<T, F>(
        &self,
        patience: Duration,
        mut call: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut since = None;
        let mut pauses = PAUSES.build();
        loop {
            let outcome = call().await;
            let error = match outcome {
                Err(error) if error.is_unreachable() && error.is_retryable() => error,
                outcome => {
                    if let Some(since) = since {
                        let _ = self.event(&Event::OutageEnded { lasted: Instant::now() - since });
                    }
                    return outcome;
                }
            };
            let since = *since.get_or_insert_with(|| {
                let _ = self.event(&Event::OutageStarted { error: &error });
                Instant::now()
            });
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                let lasted = since.elapsed().as_secs();
                return Err(error.context(format_args!("nobody has answered for {lasted} s")));
            }
            sleep(pauses.next().unwrap_or(left).min(left)).await;
        }
    }

    /// Resolves when an outage has lasted for `patience`.
    pub(super) async fn last_for(&self, patience: Duration) -> Error {
        self.last_until(|current| current.since + patience, patience).await
    }

    /// Resolves when an outage has lasted for half a minute after the stop.
    pub(super) async fn outlast_stop(&self, stop: &CancellationToken) -> Error {
        stop.cancelled().await;
        let stopped_at = Instant::now();
        let end = |current: &Current| current.since.max(stopped_at) + PATIENCE_AFTER_STOP;
        self.last_until(end, PATIENCE_AFTER_STOP).await
    }

    async fn last_until(&self, end: impl Fn(&Current) -> Instant, patience: Duration) -> Error {
        let mut changes = self.current.subscribe();
        loop {
            let current = changes.borrow_and_update().clone();
            let Some(current) = current else {
                if changes.changed().await.is_err() {
                    return pending().await;
                }
                continue;
            };
            tokio::select! {
                biased;
                changed = changes.changed() => if changed.is_err() { return pending().await },
                () = sleep_until(end(&current)) => {
                    let waited = format_args!("nobody has answered for {} s", patience.as_secs());
                    return current.error.context(waited);
                }
            }
        }
    }
}

impl Monitor for Outages {
    fn event(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::OutageStarted { error } => {
                let current = Current { since: Instant::now(), error: (*error).clone() };
                self.current.send_replace(Some(current));
            }
            Event::OutageEnded { lasted } => {
                self.current.send_replace(None);
                *self.total.lock().unwrap_or_else(PoisonError::into_inner) += *lasted;
            }
            _ => {}
        }
        self.hub.event(event)
    }
}
