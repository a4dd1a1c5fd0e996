//! How far one stage is, as numbers.

use std::time::Duration;

use falco_core::{Completion, StageName};
use tokio::time::Instant;

/// How far one stage is.
#[derive(Debug)]
pub(super) struct StageProgress {
    pub(super) name: StageName,
    pub(super) phase: Phase,
    pub(super) done: u64,
    pub(super) failed: u64,
    admitted: u64,
    sized: u64,
    started: Option<Instant>,
    shown: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Known by its size only.
    Waiting,
    Running,
    Succeeded,
    /// With the reason.
    Failed(String),
}

impl StageProgress {
    pub(super) fn new(name: StageName) -> Self {
        let phase = Phase::Waiting;
        Self { name, phase, done: 0, failed: 0, admitted: 0, sized: 0, started: None, shown: None }
    }

    pub(super) fn start(&mut self) {
        self.phase = Phase::Running;
        self.started = Some(Instant::now());
        self.shown = None;
        // The same plan may be executed again.
        (self.done, self.failed, self.admitted) = (0, 0, 0);
    }

    pub(super) fn sized(&mut self, invocations: u64) {
        self.sized = invocations;
    }

    pub(super) fn admitted(&mut self) {
        self.admitted += 1;
    }

    pub(super) fn completed(&mut self, completion: &Completion) {
        self.done += 1;
        self.failed += u64::from(!completion.is_success());
    }

    pub(super) fn finish(&mut self, error: Option<String>) {
        self.phase = error.map_or(Phase::Succeeded, Phase::Failed);
    }

    /// Whether it is to be shown again: at most once in `interval`, from its start.
    pub(super) fn is_due(&mut self, interval: Duration) -> bool {
        let last = self.shown.or(self.started);
        let is_due = last.is_none_or(|last| last.elapsed() >= interval);
        if is_due {
            self.shown = Some(Instant::now());
        }
        is_due
    }

    /// How many there will be, once that is known.
    pub(super) fn total(&self) -> Option<u64> {
        (self.sized > 0).then(|| self.sized.max(self.admitted))
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.admitted.saturating_sub(self.done)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.map(|started| started.elapsed()).unwrap_or_default()
    }

    /// Completions per second so far.
    pub(super) fn rate(&self) -> Option<f64> {
        let seconds = self.elapsed().as_secs_f64();
        (self.done > 0 && seconds > 0.0).then(|| self.done as f64 / seconds)
    }

    /// The time left at the rate so far.
    pub(super) fn eta(&self) -> Option<Duration> {
        let left = self.total()?.saturating_sub(self.done);
        Duration::try_from_secs_f64(left as f64 / self.rate()?).ok()
    }
}
