//! Counts what happens in one stage, in constant memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use falco_core::{
    Activation, AttemptReason, Completion, Error, ErrorKind, Event, Outcome, StageName, UsDollars,
};
use tokio::time::Instant;

use super::failure::Failure;
use super::latency::Distributions;
use super::size::SizeReport;
use super::stage::{Counts, StageReport, StageState};

/// How many failures a report lists.
const LISTED_FAILURES: usize = 100;

/// Counts what happens in one stage, in constant memory.
#[derive(Debug, Default)]
pub(crate) struct StageRecorder {
    retries: AtomicU64,
    copies: AtomicU64,
    throttled: AtomicU64,
    duplicates: AtomicU64,
    deadline: OnceLock<Duration>,
    /// Whether the strategy reports each answer, and not only the last one of an invocation.
    answers_are_reported: AtomicBool,
    completed: Mutex<Completed>,
}

#[derive(Clone, Debug, Default)]
struct Completed {
    started: Option<Instant>,
    ended: Option<Instant>,
    counts: Counts,
    attempts: u64,
    cold_starts: u64,
    distributions: Distributions,
    cost: Option<UsDollars>,
    failures: Vec<Failure>,
    failures_not_listed: u64,
    sizes: Vec<SizeReport>,
}

impl StageRecorder {
    /// Counts what strategies, layers and platforms report. Completions are counted by
    /// [`completion`](Self::completion), so that the numbers are right with strategies that report nothing, too.
    pub(crate) fn event(&self, event: &Event<'_>) {
        match event {
            Event::Attempt { reason: AttemptReason::First, .. } => {}
            Event::Attempt { reason: AttemptReason::Straggler, .. } => {
                self.copies.fetch_add(1, Relaxed);
            }
            Event::Attempt { .. } => {
                self.retries.fetch_add(1, Relaxed);
            }
            Event::CallFailed { error, .. } if error.kind() == ErrorKind::Throttled => {
                self.throttled.fetch_add(1, Relaxed);
            }
            Event::Answered { activation, .. } => {
                // Activations that are repeated or lose are in no completion, and have run anyway.
                self.answers_are_reported.store(true, Relaxed);
                self.lock().note_activation(activation);
            }
            Event::DeadlinePassed { after, .. } => {
                let _ = self.deadline.set(*after);
            }
            Event::DuplicateIgnored { .. } => {
                self.duplicates.fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }

    pub(crate) fn started(&self) {
        self.lock().started = Some(Instant::now());
    }

    pub(crate) fn ended(&self) {
        self.lock().ended = Some(Instant::now());
    }

    pub(crate) fn skipped(&self, invocations: u64, is_lower_bound: bool) {
        let counts = &mut self.lock().counts;
        counts.skipped += invocations;
        counts.skipped_is_lower_bound |= is_lower_bound;
    }

    /// Takes note of invocations that entered a strategy and that it never reported.
    pub(crate) fn unreported(&self, invocations: u64) {
        self.lock().counts.unknown += invocations;
    }

    /// Takes note of invocations that were in flight when nobody waited for them any more.
    pub(crate) fn cancelled(&self, invocations: u64) {
        self.lock().counts.cancelled += invocations;
    }

    /// The deadline of the stage, when it has passed.
    pub(crate) fn deadline_passed(&self) -> Option<Duration> {
        self.deadline.get().copied()
    }

    /// Counts a completion of an earlier process. It says nothing about how long this one's calls take.
    pub(crate) fn recalled(&self, completion: &Completion) {
        let mut completed = self.lock();
        completed.counts.recalled += 1;
        completed.count(completion);
        completed.note_failure(completion);
    }

    pub(crate) fn completion(&self, completion: &Completion) {
        let mut completed = self.lock();
        completed.attempts += u64::from(completion.attempts);
        completed.count(completion);
        if !matches!(completion.outcome, Outcome::Cancelled) {
            completed.distributions.total.record(completion.latency);
            completed.note_failure(completion);
        }
        if let Some(activation) = completion.outcome.activation()
            && !self.answers_are_reported.load(Relaxed)
        {
            completed.note_activation(activation);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    pub(crate) fn first_failure(&self) -> Option<Failure> {
        self.lock().failures.first().cloned()
    }

    pub(crate) fn report(
        &self,
        stage: &StageName,
        state: StageState,
        error: Option<Error>,
    ) -> StageReport {
        let completed = self.lock().clone();
        let ended = completed.ended.unwrap_or_else(Instant::now);
        let distributions = &completed.distributions;
        StageReport {
            stage: stage.clone(),
            state,
            error,
            invocations: completed.counts,
            attempts: completed.attempts,
            retries: self.retries.load(Relaxed),
            copies: self.copies.load(Relaxed),
            throttled: self.throttled.load(Relaxed),
            duplicates_ignored: self.duplicates.load(Relaxed),
            cold_starts: completed.cold_starts,
            wall: completed.started.map(|started| ended - started).unwrap_or_default(),
            queue: distributions.queue.latencies(),
            cold_start: distributions.cold_start.latencies(),
            execution: distributions.execution.latencies(),
            total: distributions.total.latencies(),
            cost: completed.cost.map(rounded),
            failures: completed.failures,
            failures_not_listed: completed.failures_not_listed,
            sizes: completed.sizes,
            distributions: completed.distributions,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Completed> {
        // The sections are plain arithmetic, so that a poisoned lock still guards sound numbers.
        self.completed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A sum of many small amounts without the noise of adding them up.
pub(super) fn rounded(UsDollars(amount): UsDollars) -> UsDollars {
    UsDollars((amount * 1e12).round() / 1e12)
}

impl Completed {
    /// Adds the outcome and the cost of a completion.
    fn count(&mut self, completion: &Completion) {
        let counts = &mut self.counts;
        match &completion.outcome {
            Outcome::Succeeded(_) => counts.succeeded += 1,
            Outcome::FunctionFailed(_) => counts.function_failed += 1,
            Outcome::PlatformFailed(_) => counts.platform_failed += 1,
            Outcome::Unknown(_) => counts.unknown += 1,
            Outcome::Cancelled => counts.cancelled += 1,
            Outcome::DeadlineExceeded => counts.deadline_exceeded += 1,
            // An outcome that this crate does not know yet is not a success.
            _ => counts.unknown += 1,
        }
        if let Some(cost) = completion.cost {
            *self.cost.get_or_insert_default() += cost;
        }
    }

    fn note_failure(&mut self, completion: &Completion) {
        if self.failures.len() == LISTED_FAILURES {
            self.failures_not_listed += u64::from(!completion.is_success());
        } else {
            self.failures.extend(Failure::of(completion));
        }
    }

    fn note_activation(&mut self, activation: &Activation) {
        let distributions = &mut self.distributions;
        for (distribution, latency) in [
            (&mut distributions.queue, activation.wait),
            (&mut distributions.cold_start, activation.init),
            (&mut distributions.execution, activation.execution),
        ] {
            if let Some(latency) = latency {
                distribution.record(latency);
            }
        }
        self.cold_starts += u64::from(activation.cold_start == Some(true));
        SizeReport::note(&mut self.sizes, activation);
    }
}
