//! The run's monitor: passes events on to the user's monitors, and remembers a stop.

use std::fmt;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use falco_core::{Error, ErrorKind, Event, Journal, Monitor, Verdict};
use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::guard::{guard, panicked};
use super::options::OnStop;
use super::stop::StopSignal;
use crate::report::StageRecorder;
use crate::results::ResultsSink;

/// Passes events on to the user's monitors, and remembers the first reason to stop.
#[derive(Debug)]
pub(super) struct Hub {
    monitors: Vec<Watcher>,
    /// Written before any monitor hears of an outcome.
    results: Option<ResultsSink>,
    /// Cancelled when the run is to end cleanly.
    stopped: CancellationToken,
    /// Cancelled when the run is to end at once.
    aborted: CancellationToken,
    stopped_at: OnceLock<Instant>,
    reason: OnceLock<Error>,
    /// Whether stops are announced on stderr, as [`stop_signals`](super::stop_signals) promises.
    announces: bool,
    journal: Option<Arc<dyn Journal>>,
    on_stop: OnStop,
    suspended: AtomicBool,
}

#[derive(Debug)]
struct Watcher {
    monitor: Arc<dyn Monitor>,
    /// Set once it has panicked: it is not called again.
    broken: OnceLock<()>,
}

impl Hub {
    pub(super) fn new(
        monitors: Vec<Arc<dyn Monitor>>,
        results: Option<ResultsSink>,
        announces: bool,
    ) -> Self {
        let watch = |monitor| Watcher { monitor, broken: OnceLock::new() };
        Self {
            monitors: monitors.into_iter().map(watch).collect(),
            results,
            stopped: CancellationToken::new(),
            aborted: CancellationToken::new(),
            stopped_at: OnceLock::new(),
            reason: OnceLock::new(),
            announces,
            journal: None,
            on_stop: OnStop::default(),
            suspended: AtomicBool::new(false),
        }
    }

    /// Lets the run be suspended, and have its events recorded before any other monitor sees them.
    pub(super) fn with_journal(mut self, journal: Arc<dyn Journal>, on_stop: OnStop) -> Self {
        self.monitors.insert(0, Watcher { monitor: journal.clone(), broken: OnceLock::new() });
        (self.journal, self.on_stop) = (Some(journal), on_stop);
        self
    }

    pub(super) fn journal(&self) -> Option<&Arc<dyn Journal>> {
        self.journal.as_ref()
    }

    /// Whether the run goes on in another process: what is submitted and deployed stays.
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.load(SeqCst)
    }

    /// Suspends the run instead of ending it; false without a journal.
    pub(super) fn suspend(&self) -> bool {
        let Some(journal) = &self.journal else { return false };
        journal.suspend();
        self.suspended.store(true, SeqCst);
        true
    }

    /// Watches `signal` until the handle is dropped.
    pub(super) fn watch(self: &Arc<Self>, signal: StopSignal) -> AbortOnDropHandle<()> {
        let hub = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let following = AssertUnwindSafe(hub.follow(signal)).catch_unwind().await;
            if let Err(panic) = following {
                hub.stop(panicked("the stop of the run", &*panic));
            }
        }))
    }

    async fn follow(&self, signal: StopSignal) {
        // Both are polled from the beginning: the second signal counts from the first.
        let (mut stop, mut leave) = (signal.stop, signal.leave);
        tokio::select! {
            () = &mut stop => {
                if self.on_stop == OnStop::Suspend && self.suspend() {
                    self.announce(
                        "suspending: what is submitted and deployed stays; a second signal leaves at once",
                    );
                    self.stop(Error::new(ErrorKind::Cancelled, "the run was suspended"));
                } else {
                    self.announce("stopping; a second signal leaves at once");
                    self.stop(Error::new(ErrorKind::Cancelled, "the run was stopped"));
                }
                leave.await;
            }
            () = &mut leave => {}
        }
        self.stop(Error::new(ErrorKind::Cancelled, "the run was left at once"));
        self.aborted.cancel();
    }

    /// Ends the run cleanly; the first reason stays.
    pub(super) fn stop(&self, reason: Error) {
        // Set the reason first: those who see the stop look for it.
        let _ = self.reason.set(reason);
        let _ = self.stopped_at.set(Instant::now());
        self.stopped.cancel();
    }

    fn failure_of_journal(&self) -> Option<Error> {
        self.journal.as_ref()?.failure()
    }

    /// Whether stops and leftovers are announced on stderr.
    pub(super) fn announces(&self) -> bool {
        self.announces
    }

    pub(super) fn stop_token(&self) -> &CancellationToken {
        &self.stopped
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_cancelled()
    }

    /// Resolves when the run is to end; when that was decided.
    pub(super) async fn stopped(&self) -> Instant {
        self.stopped.cancelled().await;
        self.stopped_at.get().copied().unwrap_or_else(Instant::now)
    }

    /// Resolves when the run is to end at once.
    pub(super) async fn aborted(&self) {
        self.aborted.cancelled().await;
    }

    pub(super) fn reason(&self) -> Option<&Error> {
        self.reason.get()
    }

    /// Writes a line to stderr, if the user asked for that by [`stop_signals`](super::stop_signals).
    pub(super) fn announce(&self, line: &str) {
        if self.announces {
            // A closed stderr must not end the run.
            let _ = writeln!(std::io::stderr(), "falco: {line}");
        }
    }
}

impl Monitor for Hub {
    fn event(&self, event: &Event<'_>) -> Verdict {
        if let (Some(results), Event::Completed { completion } | Event::Recalled { completion }) =
            (&self.results, event)
            && let Err(error) = results.write(completion)
        {
            self.stop(error);
        }
        for watcher in &self.monitors {
            if watcher.broken.get().is_some() {
                continue;
            }
            let what = || format!("the monitor {}", watcher.monitor.type_name());
            match guard(what, || watcher.monitor.event(event)) {
                Ok(Verdict::Continue) => {}
                Ok(Verdict::Stop) => {
                    if let Some(error) = self.failure_of_journal() {
                        self.suspend();
                        self.stop(error);
                        continue;
                    }
                    if watcher.monitor.suspends()
                        && !self.is_stopped()
                        && self.on_stop == OnStop::Suspend
                    {
                        self.suspend();
                    }
                    let reason = watcher.monitor.stop_reason().unwrap_or_else(|| {
                        let name = watcher.monitor.type_name();
                        let message = format!("the monitor {name} stopped the run");
                        Error::new(ErrorKind::Cancelled, message)
                    });
                    self.stop(reason);
                }
                Err(panic) => {
                    let _ = watcher.broken.set(());
                    self.stop(panic);
                }
            }
        }
        if self.is_stopped() { Verdict::Stop } else { Verdict::Continue }
    }
}

/// The monitor of the invocations of one stage: the stage's numbers, then the run's monitors.
pub(super) struct StageMonitor {
    pub(super) hub: Arc<Hub>,
    pub(super) recorder: Arc<StageRecorder>,
}

impl fmt::Debug for StageMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StageMonitor")
    }
}

impl Monitor for StageMonitor {
    fn event(&self, event: &Event<'_>) -> Verdict {
        self.recorder.event(event);
        self.hub.event(event)
    }
}
