//! The attempts of one call.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use backon::ExponentialBackoff;
use falco_core::{AttemptReason, Error, ErrorKind, Event, Invocation, Result, WaitReason};
use tokio::time::Instant;

use super::budget::{Account, RetryBudget};
use super::policy::RetryPolicy;
use crate::congestion::{LONGEST_WAIT, no_answer_since};
use crate::silence::{Class, Heard, Listener};

/// Status queries are many and cheap: they must not pay for retries of invocations, nor use those up.
#[derive(Debug)]
pub(super) struct Budgets {
    pub(super) invocations: Accounts,
    pub(super) others: Accounts,
}

/// The rest for each kind: many calls that are refused at once must not use up what failed ones need.
#[derive(Debug)]
pub(super) struct Accounts {
    failed: Account,
    throttled: Account,
}

impl Accounts {
    pub(super) fn new(budget: RetryBudget) -> Self {
        Self { failed: Account::new(budget), throttled: Account::new(budget) }
    }

    fn deposit(&self) {
        self.failed.deposit();
        self.throttled.deposit();
    }
}

/// The attempts of one call.
pub(super) struct Attempts<'a> {
    pub(super) class: Class,
    pub(super) listener: &'a Listener,
    /// Since when nobody answers it.
    pub(super) silence: Option<Silence>,
    /// Whether an attempt may have run: then so may the call, whatever the last attempt says.
    pub(super) in_doubt: bool,
    pub(super) policy: &'a RetryPolicy,
    pub(super) accounts: &'a Accounts,
    pub(super) random: &'a Mutex<fastrand::Rng>,
    /// The invocation that the attempts are about; none where repeating is always safe.
    pub(super) invocation: Option<&'a Invocation>,
    pub(super) began: Option<Instant>,
    pub(super) failed: u32,
    pub(super) throttled: u32,
    pub(super) needs_budget_when_throttled: bool,
    pub(super) delays: Option<ExponentialBackoff>,
}

/// Failures of a call in an outage, one after the other.
pub(super) struct Silence {
    since: Instant,
    since_wall: SystemTime,
    failed_at: Instant,
    delays: ExponentialBackoff,
}

impl Attempts<'_> {
    pub(super) async fn run<T, F>(self, call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.run_judged(call, |_| true).await
    }

    /// As [`run`](Self::run), where `is_answer` says whether a success shows that the platform has answered.
    pub(super) async fn run_judged<T, F>(
        mut self,
        mut call: impl FnMut() -> F,
        is_answer: fn(&T) -> bool,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        if self.policy.max_elapsed.is_some() {
            self.began = Some(Instant::now());
        }
        let mut outcome = call().await;
        // Not before it was sent: thousands of calls that wait in a queue would fill the budget to its brim, and
        // bring it nothing later, when they fail.
        self.accounts.deposit();
        loop {
            if outcome.as_ref().is_ok_and(|value| !is_answer(value)) {
                return outcome;
            }
            let is_silence = matches!(self.listener.hear(self.class, &outcome), Heard::Silence(_));
            let error = match outcome {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            self.in_doubt |= error.may_have_run();
            let may_repeat = if is_silence && !self.policy.outage_patience.is_zero() {
                self.outlast(error).await
            } else {
                self.silence = None;
                self.pause_after(error).await
            };
            may_repeat.map_err(|error| error.with_may_have_run(self.in_doubt))?;
            outcome = call().await;
        }
    }

    fn is_safe(&self, error: &Error) -> bool {
        match self.invocation {
            Some(invocation) => !error.may_have_run() || invocation.is_idempotent(),
            None => true,
        }
    }

    /// Waits in an outage, or says that patience is over.
    async fn outlast(&mut self, error: Error) -> Result<()> {
        let has_hope = error.is_retryable() || error.kind() == ErrorKind::Unauthorized;
        if !has_hope || !self.is_safe(&error) {
            return Err(error);
        }
        let now = Instant::now();
        let last_failure = self.silence.as_ref().map(|silence| silence.failed_at);
        if last_failure.is_some_and(|then| self.listener.has_heard_since(then)) {
            self.silence = None;
            if self.is_last_failed() {
                return Err(error.into_exhausted());
            }
        }
        let (policy, random) = (self.policy, self.random);
        let silence = self.silence.get_or_insert_with(|| {
            let seed = random.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
            let delays = policy.outage_delays(seed);
            Silence { since: now, since_wall: SystemTime::now(), failed_at: now, delays }
        });
        silence.failed_at = now;
        let lasted = now - silence.since;
        let left = policy.outage_patience.saturating_sub(lasted);
        let wait = silence.delays.next().unwrap_or(policy.max_delay).min(left);
        let since_wall = silence.since_wall;
        if left.is_zero() || !self.fits(wait) {
            return Err(no_answer_since(&error, since_wall, lasted));
        }
        self.report(|invocation| Event::CallFailed { invocation, error: &error });
        self.wait(WaitReason::Outage, wait).await;
        let reason = AttemptReason::CallFailed;
        self.report(|invocation| Event::Attempt { invocation, reason });
        Ok(())
    }

    /// Waits before the next attempt, or says that there is none.
    async fn pause_after(&mut self, error: Error) -> Result<()> {
        if !error.is_retryable() || !self.is_safe(&error) {
            return Err(error);
        }
        let is_throttled = error.kind() == ErrorKind::Throttled;
        let is_last = if is_throttled { self.is_last_throttled() } else { self.is_last_failed() };
        if is_last {
            let was_retried = self.failed + self.throttled > 1;
            return Err(if was_retried { error.into_exhausted() } else { error });
        }
        let (reason, wait) = self.first_wait(&error);
        if !self.fits(wait) || (!is_throttled && !self.accounts.failed.withdraw()) {
            return Err(error.into_exhausted());
        }
        self.report(|invocation| Event::CallFailed { invocation, error: &error });
        self.wait(reason, wait).await;
        let needs_budget = is_throttled && self.needs_budget_when_throttled;
        while needs_budget && !self.accounts.throttled.withdraw() {
            let wait = self.next_delay();
            if self.is_last_throttled() || !self.fits(wait) {
                return Err(error.into_exhausted());
            }
            self.wait(WaitReason::BackOff, wait).await;
        }
        let reason = AttemptReason::CallFailed;
        self.report(|invocation| Event::Attempt { invocation, reason });
        Ok(())
    }

    fn is_last_throttled(&mut self) -> bool {
        self.throttled += 1;
        self.throttled >= self.policy.throttled_attempts
    }

    fn is_last_failed(&mut self) -> bool {
        self.failed += 1;
        self.failed >= self.policy.attempts
    }

    /// The pause that follows the failure itself: the platform's, where that is longer.
    fn first_wait(&mut self, error: &Error) -> (WaitReason, Duration) {
        let delay = self.next_delay();
        match error.retry_after() {
            // Cap it: an unbounded Retry-After would lose the call.
            Some(demanded) if demanded > delay => {
                (WaitReason::Platform, demanded.min(LONGEST_WAIT).max(delay))
            }
            _ => (WaitReason::BackOff, delay),
        }
    }

    async fn wait(&self, reason: WaitReason, wait: Duration) {
        self.report(|invocation| Event::Waiting { invocation, reason, wait });
        tokio::time::sleep(wait).await;
    }

    fn next_delay(&mut self) -> Duration {
        let delays = self.delays.get_or_insert_with(|| {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            self.policy.delays(random.u64(..))
        });
        delays.next().unwrap_or(self.policy.max_delay)
    }

    fn fits(&self, wait: Duration) -> bool {
        match (self.began, self.policy.max_elapsed) {
            (Some(began), Some(limit)) => began.elapsed().saturating_add(wait) <= limit,
            _ => true,
        }
    }

    fn report<'e>(&'e self, event: impl FnOnce(&'e Invocation) -> Event<'e>) {
        if let Some(invocation) = self.invocation {
            // A `Stop` is remembered by the runner, which then drops this call.
            invocation.report(&event(invocation));
        }
    }
}
