//! The outages of the platform while a run lasts, and how long the run waits for their ends.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use falco_core::{Error, Event, Monitor, Result, Verdict};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::hub::Hub;

/// How long deploying and removing wait for a platform without layers that nobody answers for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long an outage may last after a stop: somebody waits for the end.
pub(super) const PATIENCE_AFTER_STOP: Duration = Duration::from_secs(30);

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

    /// Repeats a call while nobody answers, until that has lasted for `patience`. Layers that have waited already are not
    /// waited for once more.
    pub(super) async fn outlast<T, F>(
        &self,
        patience: Duration,
        mut call: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut has_waited = false;
        let mut pauses = PAUSES.build();
        loop {
            let outcome = call().await;
            let error = match outcome {
                Err(error) if error.is_unreachable() && error.is_retryable() => error,
                outcome => {
                    if has_waited {
                        self.end();
                    }
                    return outcome;
                }
            };
            let lasted = self.begin(&error).elapsed();
            let left = patience.saturating_sub(lasted);
            if left.is_zero() {
                let lasted = lasted.as_secs();
                return Err(error.context(format_args!("nobody has answered for {lasted} s")));
            }
            has_waited = true;
            sleep(pauses.next().unwrap_or(left).min(left)).await;
        }
    }

    /// Takes note that a call failed since nobody answers. Since when: all calls of the run share one outage.
    fn begin(&self, error: &Error) -> Instant {
        let mut since = Instant::now();
        let has_begun = self.current.send_if_modified(|current| match current {
            Some(current) => {
                since = current.since;
                current.error = error.clone();
                false
            }
            None => {
                *current = Some(Current { since, error: error.clone() });
                true
            }
        });
        if has_begun {
            let _ = self.hub.event(&Event::OutageStarted { error });
        }
        since
    }

    /// Takes note that somebody answers again.
    fn end(&self) {
        let Some(lasted) = self.take_current() else { return };
        let _ = self.hub.event(&Event::OutageEnded { lasted });
    }

    /// Ends the outage of this moment; how long it lasted.
    fn take_current(&self) -> Option<Duration> {
        let lasted = self.current.send_replace(None)?.since.elapsed();
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) += lasted;
        Some(lasted)
    }

    /// Resolves when an outage has lasted for `patience`.
    pub(super) async fn last_for(&self, patience: Duration) -> Error {
        self.last_until(|current| current.since + patience, patience).await
    }

    /// Resolves when an outage has lasted for half a minute after the stop.
    pub(super) async fn outlast_stop(&self) -> Error {
        let stopped_at = self.hub.stopped().await;
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
                    let last = changes.borrow().as_ref().map(|current| current.error.clone());
                    return last.unwrap_or(current.error).context(waited);
                }
            }
        }
    }
}

impl Monitor for Outages {
    fn event(&self, event: &Event<'_>) -> Verdict {
        match event {
            Event::OutageStarted { error } => {
                self.begin(error);
            }
            Event::OutageEnded { .. } => self.end(),
            _ => return self.hub.event(event),
        }
        match self.hub.is_stopped() {
            true => Verdict::Stop,
            false => Verdict::Continue,
        }
    }
}
