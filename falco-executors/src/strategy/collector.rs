//! One batched collector for everything that was submitted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use falco_core::{
    ActivationId, AsyncPlatform, Collected, Deployment, Error, ErrorKind, Event, Invocation,
    Pending, Release, Result,
};
use futures_util::future::join;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::answers::{Answer, Answers};
use super::caught::caught;
use super::clock::Clock;
use super::patience::Patience;

/// The pause after a collect that had no news, where the platform asks for none.
const IDLE_PAUSE: Duration = Duration::from_millis(5);

/// Longer than any execution, and short enough for timers.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The pauses after collects that failed.
const FAILURE_PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(10))
    .without_max_times();

/// Asks for all activations that are waited for, in one batch, over and over, and hands out what it learns.
#[derive(Debug)]
pub(super) struct Collector {
    platform: Arc<dyn AsyncPlatform>,
    deployment: Arc<Deployment>,
    clock: Clock,
    patience: Duration,
    margin: Duration,
    /// How much longer what is due is waited for while nobody answers.
    outage: Duration,
    /// Signals that there is something to collect again.
    arrived: Notify,
    /// Signals that something expires earlier than what was known.
    earlier: Notify,
    // Locked by the driving task only; a mutex because its attempts have to be `Send`.
    state: Mutex<State>,
    /// Reports what belongs to the stage and to no invocation in flight.
    reporter: OnceLock<Invocation>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<ActivationId, Waiting>,
    answers: Answers,
    /// No activation expires before, and it may be long gone: the next look finds out.
    next_expiry: Option<Instant>,
    /// Whether a collect is on its way or has failed, and none has succeeded since.
    is_silent: bool,
    taken: Vec<ActivationId>,
    abandoned: Vec<ActivationId>,
}

#[derive(Debug)]
struct Waiting {
    submitted_at: SystemTime,
    expires: Instant,
    place: usize,
}

impl Collector {
    pub(super) fn new(
        platform: Arc<dyn AsyncPlatform>,
        deployment: Arc<Deployment>,
        clock: Clock,
        patience: Patience,
    ) -> Self {
        Self {
            patience: patience.in_all(&deployment),
            margin: patience.margin(),
            outage: patience.outage(),
            platform,
            deployment,
            clock,
            arrived: Notify::new(),
            earlier: Notify::new(),
            state: Mutex::default(),
            reporter: OnceLock::new(),
        }
    }

    /// Begins to wait for an activation.
    ///
    /// # Errors
    ///
    /// When it is waited for already: the platform has given two activations the same id.
    pub(super) fn watch(&self, invocation: &Invocation, pending: &Pending) -> Result<Lease<'_>> {
        let now = Instant::now();
        let expires = now + self.patience_with(invocation, pending, now).min(FOREVER);
        let id = &pending.id;
        let state = &mut *self.lock();
        if state.waiting.is_empty() {
            self.arrived.notify_one();
        }
        let Entry::Vacant(entry) = state.waiting.entry(id.clone()) else {
            let message = format!("the platform has given two activations the id {id}");
            return Err(self.error(ErrorKind::Protocol, message));
        };
        let place = state.answers.reserve(id.clone());
        entry.insert(Waiting { submitted_at: pending.submitted_at, expires, place });
        if state.next_expiry.is_none_or(|next| expires < next) {
            state.next_expiry = Some(expires);
            self.earlier.notify_one();
        }
        Ok(Lease { collector: self, place, answered_at: None, release: Release::Abandoned })
    }

    fn patience_with(&self, invocation: &Invocation, pending: &Pending, now: Instant) -> Duration {
        if invocation.submitted().is_none() {
            return self.patience;
        }
        // What an earlier process submitted may be older than all patience, and still be there to be collected.
        let age = self.clock.wall_at(now).duration_since(pending.submitted_at).unwrap_or_default();
        self.patience.saturating_sub(age).max(self.margin)
    }

    /// Collects and expires what is watched, for as long as it is polled.
    pub(super) async fn run(&self) -> Infallible {
        join(self.collect(), self.expire()).await.0
    }

    /// Releases the activations that are not wanted any more.
    pub(super) fn flush(&self) {
        let (taken, abandoned) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.taken), std::mem::take(&mut state.abandoned))
        };
        for (ids, release) in [(taken, Release::Taken), (abandoned, Release::Abandoned)] {
            if !ids.is_empty() {
                self.platform.release(&self.deployment, &ids, release);
            }
        }
    }

    async fn collect(&self) -> Infallible {
        let mut pauses = FAILURE_PAUSES.build();
        let mut pending = Vec::new();
        loop {
            pending.clear();
            pending.extend(self.lock().pending());
            if pending.is_empty() {
                self.arrived.notified().await;
                continue;
            }
            let was_silent = std::mem::replace(&mut self.lock().is_silent, true);
            let pause = match self.ask(&pending).await {
                Ok(collected) => {
                    // What comes from memory shows nothing new of the platform.
                    if !(was_silent && collected.is_from_memory) {
                        self.end_silence();
                    }
                    pauses = FAILURE_PAUSES.build();
                    self.settle(collected)
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    self.lose_all(&error);
                    continue;
                }
                // The layers have waited for as long as they may.
                Err(error) if error.is_exhausted() && error.is_unreachable() => {
                    self.give_up_all(&error);
                    continue;
                }
                // Nothing was learned, so it says nothing about the activations. Patience has the last word.
                Err(error) => {
                    let pause = pauses.next().max(error.retry_after()).unwrap_or_default();
                    tracing::warn!(%error, ?pause, waiting = pending.len(), "collecting failed");
                    pause
                }
            };
            if pause.is_zero() {
                yield_now().await;
            } else {
                sleep(pause).await;
            }
        }
    }

    async fn ask(&self, pending: &[Pending]) -> Result<Collected> {
        let call = async { (*self.platform).collect(&self.deployment, pending).await };
        caught(&*self.platform, "collect", call).await
    }

    /// Hands out what was learned, and says how long to wait before asking again.
    fn settle(&self, collected: Collected) -> Duration {
        let pause = match collected.is_empty() && collected.poll_after.is_zero() {
            true => IDLE_PAUSE,
            false => collected.poll_after,
        };
        let now = Instant::now();
        let mut duplicates = Vec::new();
        let mut guard = self.lock();
        let state = &mut *guard;
        for (id, answer) in collected.into_answers() {
            match (state.waiting.remove(&id), answer) {
                (Some(waiting), answer) => {
                    state.answers.give(waiting.place, answer.map(Box::new), now);
                }
                (None, Ok(_)) => duplicates.push(id),
                (None, Err(error)) => tracing::debug!(%error, %id, "a failure nobody waits for"),
            }
        }
        drop(guard);
        for activation in &duplicates {
            self.report_duplicate(activation);
        }
        pause
    }

    /// Reports by the monitor of `invocation` what belongs to the whole stage.
    pub(super) fn report_by(&self, invocation: &Invocation) {
        if invocation.is_monitored() {
            self.reporter.get_or_init(|| invocation.clone());
        }
    }

    /// Reports that the deadline of the stage has passed.
    pub(super) fn report_deadline(&self, after: Duration) {
        if let Some(reporter) = self.reporter.get() {
            let stage = reporter.stage();
            reporter.report(&Event::DeadlinePassed { stage, after });
        }
    }

    /// Reports an answer that nobody waits for any more.
    pub(super) fn report_duplicate(&self, activation: &ActivationId) {
        tracing::debug!(%activation, "an answer came that was counted already or is not wanted");
        if let Some(reporter) = self.reporter.get() {
            let stage = reporter.stage();
            reporter.report(&Event::DuplicateIgnored { stage, activation });
        }
    }

    async fn expire(&self) -> Infallible {
        loop {
            let earlier = self.earlier.notified();
            match self.expire_due() {
                Some(next) => drop(timeout_at(next, earlier).await),
                None => earlier.await,
            }
        }
    }

    /// Gives up on what has waited too long, and says when to look again.
    fn expire_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let state = &mut *self.lock();
        if state.next_expiry.is_none_or(|next| now < next) {
            return state.next_expiry;
        }
        let longer = if state.is_silent { self.outage } else { Duration::ZERO };
        let is_due = |waiting: &Waiting| waiting.expires + longer <= now;
        for (id, waiting) in state.waiting.extract_if(|_, waiting| is_due(waiting)) {
            let message = format!("activation {id} was accepted and has not answered in time");
            let hint = "raise the executor's patience if the platform may take longer";
            let error = self.error(ErrorKind::Lost, message).with_hint(hint);
            state.answers.give(waiting.place, Err(error), now);
        }
        state.next_expiry = state.waiting.values().map(|waiting| waiting.expires).min();
        state.next_expiry.map(|next| if next <= now { next + longer } else { next })
    }

    /// Takes note that a collect was answered: what is due and was not in it is lost.
    fn end_silence(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.is_silent = false;
        if state.next_expiry.is_some_and(|next| next <= now) {
            self.earlier.notify_one();
        }
    }

    /// Ends all waiting: nobody answers, and patience with that is over.
    fn give_up_all(&self, error: &Error) {
        let now = Instant::now();
        let state = &mut *self.lock();
        for (_, waiting) in state.waiting.drain() {
            let error = error.clone().with_may_have_run(true);
            state.answers.give(waiting.place, Err(error), now);
        }
    }

    fn lose_all(&self, error: &Error) {
        let now = Instant::now();
        let state = &mut *self.lock();
        for (id, waiting) in state.waiting.drain() {
            let message = format!("activation {id} cannot be collected on this platform");
            let error = self.error(ErrorKind::Lost, message).with_source(error);
            state.answers.give(waiting.place, Err(error), now);
        }
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, message)
            .with_platform(self.platform.name())
            .with_operation("collect")
            .with_function(&self.deployment.name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may run while a panic unwinds, and a second one would abort the process.
        if catch_unwind(AssertUnwindSafe(|| self.flush())).is_err() {
            tracing::error!("the platform panicked while activations were released");
        }
    }
}

impl State {
    fn pending(&self) -> impl Iterator<Item = Pending> {
        self.waiting.iter().map(|(id, waiting)| Pending::new(id.clone(), waiting.submitted_at))
    }
}

/// The right to an activation's answer, and to its record at the platform. Dropped, the activation is released as
/// abandoned, unless it was taken.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    collector: &'a Collector,
    place: usize,
    answered_at: Option<Instant>,
    release: Release,
}

impl Lease<'_> {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// The platform's failure, when it reports one; `Lost` when patience has run out.
    pub(super) async fn answer(&mut self) -> Answer {
        let take = poll_fn(|cx| self.collector.lock().answers.poll_take(self.place, cx));
        let (answer, at) = take.await;
        self.answered_at = Some(at);
        answer
    }

    /// When the answer came, if it has.
    pub(super) fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// Releases the activation as taken: the result has been recorded.
    pub(super) fn take(mut self) {
        self.release = Release::Taken;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let state = &mut *self.collector.lock();
        let Some(id) = state.answers.release(self.place) else { return };
        match self.release {
            Release::Taken => state.taken.push(id),
            Release::Abandoned => {
                state.waiting.remove(&id);
                state.abandoned.push(id);
            }
        }
    }
}
