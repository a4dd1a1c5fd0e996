//! The loop beneath all executors: admits invocations, drives one attempt for each, delivers their completions.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use falco_core::{AsyncPlatform, BoxStream, Completion, Invocation, OnFailure, Target};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::Semaphore;

use super::admission::Admission;
use super::attempt::{Ended, attempt};
use super::batches::Supply;
use super::completions::{Completions, Sender};
use super::context::{End, Execution, Shape};
use super::in_flight::InFlight;
use super::options::ExecutionOptions;

/// Invocations admitted or completed between two looks at what was collected: few enough to stay in a processor's cache
/// from being admitted until they are done, where answers come at once.
const STEPS_PER_ROUND: usize = 64;

/// Rounds before the task lets others run, itself being aborted included.
const ROUNDS_PER_POLL: usize = 16;

/// Completions are handed over, where inputs travel in batches, as for a window of this many.
const INPUTS_OF_BATCHES: usize = 1024;

/// As many as the platform runs at once, and `at_most` where it does not report or runs more.
pub(super) fn default_window(platform: &dyn AsyncPlatform, at_most: usize) -> usize {
    let concurrency = platform.capabilities().concurrency.map(|limit| limit as usize);
    concurrency.unwrap_or(at_most).clamp(1, at_most)
}

/// Drives `invocations` by a task of its own.
///
/// # Panics
///
/// Outside of a runtime.
pub(super) fn start(
    shape: Shape,
    options: ExecutionOptions,
    target: Target,
    invocations: BoxStream<'static, Invocation>,
) -> BoxStream<'static, Completion> {
    let limit = target.policy.concurrency.unwrap_or(usize::MAX).max(1);
    let window = shape.window.min(limit).min(Semaphore::MAX_PERMITS);
    let (shape, options) = (Shape { window, ..shape }, options.with_policy(&target.policy));
    let permits = Arc::new(Semaphore::new(window));
    // The window of calls; their inputs are more.
    let inputs = if target.policy.batch.is_some() { window.max(INPUTS_OF_BATCHES) } else { window };
    let (sender, channel) = Sender::new(inputs);
    let execution = Execution::new(shape, options, &target, permits.clone(), sender);
    let task = tokio::spawn(drive(execution, target, invocations));
    Completions::new(channel, permits, inputs, task).boxed()
}

async fn drive(execution: Execution, target: Target, invocations: BoxStream<'static, Invocation>) {
    let execution = &execution;
    let mut end = pin!(execution.end(&target));
    let mut collecting = pin!(execution.collector.run());
    let mut attempts = AttemptLoop {
        execution,
        admission: Admission::new(&execution.permits, invocations),
        in_flight: InFlight::new(),
        start: |invocation| attempt(execution, invocation),
        has_begun: false,
    };
    std::future::poll_fn(|cx| {
        let mut rounds = 0;
        let progress = loop {
            // These two come first: what is in flight may use up what the runtime lets a task do at a time.
            let end = match end.as_mut().poll(cx) {
                Poll::Ready(end) => Some(end),
                Poll::Pending => None,
            };
            let _ = collecting.as_mut().poll(cx);
            rounds += 1;
            let mut progress = attempts.poll(end, cx);
            if let Some(batches) = &execution.batches
                && !matches!(progress, Progress::Done)
            {
                // A batch that is released makes room for the next one.
                execution.collector.flush();
                if batches.poll(attempts.supply(&progress), cx) {
                    progress = Progress::More;
                }
            }
            match progress {
                Progress::Done => break Poll::Ready(()),
                Progress::Stuck => break Poll::Pending,
                Progress::More if rounds < ROUNDS_PER_POLL => execution.collector.flush(),
                Progress::More => {
                    cx.waker().wake_by_ref();
                    break Poll::Pending;
                }
            }
        };
        execution.collector.flush();
        execution.sender.flush();
        progress
    })
    .await;
    // A stop ends the invocations early, and another process may ask for those that were left.
    let is_whole = execution.ended().is_none() && end.now_or_never().is_none();
    if let Some(batches) = execution.batches.as_ref().filter(|_| is_whole) {
        batches.let_go_of_earlier();
    }
}

/// The outcome of a round.
enum Progress {
    /// There is nothing left to do.
    Done,
    /// There is nothing to do until something outside happens.
    Stuck,
    /// There may be more to do at once.
    More,
}

/// The attempts in flight, and the admission of further ones.
struct AttemptLoop<'a, A, S> {
    execution: &'a Execution,
    admission: Admission<'a>,
    in_flight: InFlight<A>,
    start: S,
    has_begun: bool,
}

impl<A, S> AttemptLoop<'_, A, S>
where
    A: Future<Output = Ended>,
    S: Fn(Invocation) -> A,
{
    /// Goes on as far as possible within a round. With `end`, all is done now.
    fn poll(&mut self, mut end: Option<End>, cx: &mut Context<'_>) -> Progress {
        let mut steps = 0;
        let mut steps_before = None;
        while steps_before != Some(steps) {
            steps_before = Some(steps);
            while steps < STEPS_PER_ROUND
                && let Poll::Ready(Some(ended)) = self.in_flight.poll_next(cx)
            {
                steps += 1;
                if self.is_fatal(ended) {
                    end.get_or_insert(End::Cancelled);
                }
            }
            if let Some(end) = end {
                self.end(end, cx);
                return Progress::Done;
            }
            while steps < STEPS_PER_ROUND
                && let Poll::Ready(Some(invocation)) = self.admission.poll_next(cx)
            {
                steps += 1;
                if !std::mem::replace(&mut self.has_begun, true) {
                    self.execution.begin(&invocation);
                }
                self.in_flight.push((self.start)(invocation));
            }
        }
        if steps >= STEPS_PER_ROUND {
            return Progress::More;
        }
        if let Some(stragglers) = &self.execution.stragglers {
            let _ = stragglers.poll(cx);
        }
        match self.admission.is_closed() && self.in_flight.is_empty() {
            true => Progress::Done,
            false => Progress::Stuck,
        }
    }

    /// Whether more inputs may come, after a round.
    fn supply(&self, progress: &Progress) -> Supply {
        if matches!(progress, Progress::More) {
            Supply::Flows
        } else if self.admission.is_closed() {
            Supply::Ended
        } else if self.admission.waits_for_input() {
            Supply::Waits
        } else {
            Supply::Full
        }
    }

    fn is_fatal(&self, ended: Ended) -> bool {
        self.execution.options.on_failure == OnFailure::Stop && ended == Ended::Failed
    }

    /// Makes every invocation in flight a completion.
    fn end(&mut self, end: End, cx: &mut Context<'_>) {
        // Each attempt looks for the end before it does anything else, so that it answers now.
        self.execution.set_ended(end);
        if let (End::DeadlineExceeded, Some(limit)) = (end, self.execution.limit) {
            self.execution.collector.report_deadline(limit);
        }
        for attempt in self.in_flight.iter_pin_mut() {
            let _ = attempt.poll(cx);
        }
        self.in_flight.clear();
    }
}
