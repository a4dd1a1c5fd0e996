//! How far one stage is, as numbers.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use falco_core::{Completion, Event, Invocation, InvocationId, Outcome, StageName, WaitReason};
use tokio::time::Instant;

use crate::report::{self, duration, number};

/// After so much time without news, progress says how long there have been none.
const QUIET: Duration = Duration::from_secs(10);

/// How far one stage is.
#[derive(Debug)]
pub(super) struct StageProgress {
    pub(super) name: StageName,
    pub(super) phase: Phase,
    pub(super) done: u64,
    failed: u64,
    cancelled: u64,
    admitted: u64,
    sized: u64,
    /// Invocations in flight that wait at this time, and do not run.
    waiting: HashMap<InvocationId, WaitReason>,
    started: Option<Instant>,
    shown: Option<Instant>,
    changed: Option<Instant>,
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
        Self {
            name,
            phase: Phase::Waiting,
            done: 0,
            failed: 0,
            cancelled: 0,
            admitted: 0,
            sized: 0,
            waiting: HashMap::new(),
            started: None,
            shown: None,
            changed: None,
        }
    }

    pub(super) fn start(&mut self) {
        // The same plan may be executed again.
        let (name, sized) = (self.name.clone(), self.sized);
        let started = Some(Instant::now());
        *self = Self { phase: Phase::Running, sized, started, ..Self::new(name) };
    }

    pub(super) fn sized(&mut self, invocations: u64) {
        self.sized = invocations;
    }

    pub(super) fn admitted(&mut self) {
        self.admitted += 1;
        self.changed = Some(Instant::now());
    }

    pub(super) fn completed(&mut self, completion: &Completion) {
        self.done += 1;
        match &completion.outcome {
            Outcome::Succeeded(_) => {}
            Outcome::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
        self.resumed(&completion.invocation);
        self.changed = Some(Instant::now());
    }

    /// Takes note of an event that says whether an invocation waits.
    pub(super) fn note_wait(&mut self, event: &Event<'_>) {
        match event {
            Event::Held { invocation, reason } => self.waits(invocation, *reason),
            // Pauses are reported when they begin, the others when they are over.
            Event::Waiting { invocation, reason: WaitReason::BackOff, .. } => {
                self.waits(invocation, WaitReason::BackOff);
            }
            Event::Waiting { invocation, .. } | Event::Attempt { invocation, .. } => {
                self.resumed(invocation.id());
            }
            _ => {}
        }
    }

    fn waits(&mut self, invocation: &Invocation, reason: WaitReason) {
        self.waiting.insert(invocation.id().clone(), reason);
    }

    fn resumed(&mut self, id: &InvocationId) {
        if !self.waiting.is_empty() {
            self.waiting.remove(id);
        }
    }

    pub(super) fn finish(&mut self, error: Option<String>) {
        self.phase = error.map_or(Phase::Succeeded, Phase::Failed);
        self.waiting.clear();
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

    fn in_flight(&self) -> u64 {
        self.admitted.saturating_sub(self.done)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.map(|started| started.elapsed()).unwrap_or_default()
    }

    /// Completions per second so far.
    fn rate(&self) -> Option<f64> {
        let seconds = self.elapsed().as_secs_f64();
        (self.done > 0 && seconds > 0.0).then(|| self.done as f64 / seconds)
    }

    /// The time left at the rate so far.
    fn eta(&self) -> Option<Duration> {
        let left = self.total()?.saturating_sub(self.done);
        Duration::try_from_secs_f64(left as f64 / self.rate()?).ok()
    }

    /// Those that are done and did not succeed: `3 failed, 2 cancelled`.
    pub(super) fn losses(&self) -> String {
        let mut losses = format!("{} failed", number(self.failed));
        if self.cancelled > 0 {
            // Writing to a string cannot fail.
            let _ = write!(losses, ", {} cancelled", number(self.cancelled));
        }
        losses
    }

    /// Everything but what is done and the total, in one line.
    pub(super) fn details(&self) -> String {
        let mut line = format!("{}, {} in flight", self.losses(), number(self.in_flight()));
        let waits = self.waits_by_reason();
        if !waits.is_empty() {
            let _ = write!(line, " ({})", waits.join(", "));
        }
        let quiet = self.changed.or(self.started).map(|at| at.elapsed()).unwrap_or_default();
        if quiet >= QUIET {
            let _ = write!(line, ", no news for {}", duration(quiet));
        }
        if let Some(rate) = self.rate() {
            let _ = write!(line, ", {}/s", report::rate(rate));
        }
        if let Some(eta) = self.eta() {
            let _ = write!(line, ", {} left", duration(eta));
        }
        line
    }

    /// `5 wait for the rate or concurrency limit`, for each reason that there is.
    fn waits_by_reason(&self) -> Vec<String> {
        let mut waits = Vec::new();
        for (reason, words) in [
            (WaitReason::Limit, "wait for the rate or concurrency limit"),
            (WaitReason::BackOff, "pause before another attempt"),
            (WaitReason::Queue, "wait for a free worker"),
            (WaitReason::Budget, "wait for money that is reserved for what is in flight"),
            (WaitReason::Outage, "wait for a platform that cannot be reached"),
            (WaitReason::Platform, "wait as the platform demands"),
        ] {
            let count = self.waiting.values().filter(|waiting| **waiting == reason).count();
            if count > 0 {
                waits.push(format!("{} {words}", number(count as u64)));
            }
        }
        waits
    }
}
