//! The layer that sends failed calls again.

mod budget;
mod policy;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use backon::ExponentialBackoff;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, AttemptReason, Collected, Deployable,
    Deployment, Error, ErrorKind, Event, Invocation, InvocationId, Pending, Platform, Result,
    Scaling, WaitReason, async_trait, forward,
};
use tokio::time::Instant;

use self::budget::Account;
pub use self::budget::RetryBudget;
pub(crate) use self::policy::OUTAGE_PATIENCE;
pub use self::policy::RetryPolicy;
use crate::congestion::{LONGEST_WAIT, no_answer_since};
use crate::silence::{Class, Heard, Listener};

/// Retries failed calls that are retryable and safe to repeat.
///
/// It repeats *calls*, not invocations: a function that fails has answered, and what to do about that is up to the
/// executor. So the repeated call carries the same invocation with the same attempt number.
///
/// - **Hope**: [`Error::is_retryable`].
/// - **Safe**: the function did not run for sure (`!`[`Error::may_have_run`]), or the invocation
///   [is idempotent](Invocation::is_idempotent). All other operations are idempotent by their contracts; a repeated
///   [`remove`](Platform::remove) that finds nothing has succeeded if the one before may have.
/// - **Pauses** grow exponentially with a random part, and are not shorter than the platform suggests; if that is more
///   than a quarter of an hour, it is asked again after that.
/// - **Limits**: attempts, time, and a [budget](RetryBudget) in relation to the traffic, once for failed calls and
///   once for throttled ones; invocations and all other calls have their own. When it is spent, a failed call gives
///   up, and a throttled one waits out another pause: it did not run, and giving up would lose it only because others
///   failed.
/// - **Outages**: while nobody answers for the platform ([`Error::is_unreachable`]), or it does not accept credentials any
///   more that it has accepted before, calls spend neither attempts nor the budget; they are repeated until that has
///   lasted for [`RetryPolicy::outage_patience`]. Where others are answered meanwhile, it is this call's failure and
///   spends an attempt.
/// - **After the last attempt** the error is [exhausted](Error::is_exhausted), so that no outer layer tries again. A
///   policy of one attempt leaves errors as they are.
///
/// The invocation's monitor sees each failure that is answered by another attempt ([`Event::CallFailed`]), the pause
/// ([`Event::Waiting`]) and the attempt ([`Event::Attempt`]). The last failure is left to the caller.
///
/// Put it *outside* of [`CongestionControl`](crate::CongestionControl): each attempt then waits at the gate, and none
/// sleeps on a permit. Clones share the budget.
///
/// A dropped call is not tried again.
#[derive(Clone, Debug)]
pub struct Retry<P> {
    inner: P,
    policy: RetryPolicy,
    budgets: Arc<Budgets>,
    listener: Arc<Listener>,
    random: Arc<Mutex<fastrand::Rng>>,
}

impl<P> Retry<P> {
    /// Tries calls to `inner` again as `policy` says.
    pub fn new(inner: P, policy: RetryPolicy) -> Self {
        let budgets = Arc::new(Budgets {
            invocations: Accounts::new(policy.budget),
            others: Accounts::new(policy.budget),
        });
        let random = Arc::new(Mutex::new(fastrand::Rng::new()));
        Self { inner, policy, budgets, listener: Arc::default(), random }
    }

    /// Makes the random parts of the pauses repeatable.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        self
    }

    fn begin<'a>(&'a self, invocation: Option<&'a Invocation>) -> Attempts<'a> {
        let class = if invocation.is_some() { Class::Invocation } else { Class::Management };
        self.begin_as(class, invocation)
    }

    fn begin_as<'a>(&'a self, class: Class, invocation: Option<&'a Invocation>) -> Attempts<'a> {
        Attempts {
            class,
            listener: &self.listener,
            silence: None,
            in_doubt: false,
            policy: &self.policy,
            accounts: match invocation {
                Some(_) => &self.budgets.invocations,
                None => &self.budgets.others,
            },
            random: &self.random,
            invocation,
            began: None,
            failed: 0,
            throttled: 0,
            delays: None,
        }
    }
}

/// Status queries are many and cheap: they must not pay for retries of invocations, nor use those up.
#[derive(Debug)]
struct Budgets {
    invocations: Accounts,
    others: Accounts,
}

/// The rest for each kind: many calls that are refused at once must not use up what failed ones need.
#[derive(Debug)]
struct Accounts {
    failed: Account,
    throttled: Account,
}

impl Accounts {
    fn new(budget: RetryBudget) -> Self {
        Self { failed: Account::new(budget), throttled: Account::new(budget) }
    }

    fn deposit(&self) {
        self.failed.deposit();
        self.throttled.deposit();
    }
}

/// The attempts of one call.
struct Attempts<'a> {
    class: Class,
    listener: &'a Listener,
    /// Since when nobody answers it.
    silence: Option<Silence>,
    /// Whether an attempt may have run: then so may the call, whatever the last attempt says.
    in_doubt: bool,
    policy: &'a RetryPolicy,
    accounts: &'a Accounts,
    random: &'a Mutex<fastrand::Rng>,
    /// The invocation that the attempts are about; none where repeating is always safe.
    invocation: Option<&'a Invocation>,
    began: Option<Instant>,
    failed: u32,
    throttled: u32,
    delays: Option<ExponentialBackoff>,
}

/// Failures of a call in an outage, one after the other.
struct Silence {
    since: Instant,
    since_wall: SystemTime,
    failed_at: Instant,
    delays: ExponentialBackoff,
}

impl Attempts<'_> {
    async fn run<T, F>(self, call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.run_judged(call, |_| true).await
    }

    /// As [`run`](Self::run), where `is_answer` says whether a success shows that the platform has answered.
    async fn run_judged<T, F>(
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
        while is_throttled && !self.accounts.throttled.withdraw() {
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

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> Platform for Retry<P> {
    forward! { self => self.inner; name, capabilities, watch_outages }

    async fn account(&self) -> Result<Option<String>> {
        self.begin(None).run(|| self.inner.account()).await
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.begin(None).run(|| self.inner.deploy(function)).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        self.begin(None).run(|| self.inner.fetch_deployment(name)).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.begin(None).run(|| self.inner.list_deployments()).await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.begin(None).run(|| self.inner.scale(deployment, scaling)).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let may_be_removed = AtomicBool::new(false);
        let outcome = self
            .begin(None)
            .run(|| async {
                let outcome = self.inner.remove(deployment).await;
                if outcome.as_ref().is_err_and(|error| error.kind() != ErrorKind::NotFound) {
                    may_be_removed.store(true, Ordering::Relaxed);
                }
                outcome
            })
            .await;
        match outcome {
            Err(error) if error.kind() == ErrorKind::NotFound && may_be_removed.into_inner() => {
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.begin(Some(invocation)).run(|| self.inner.invoke(deployment, invocation)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> AsyncPlatform for Retry<P> {
    forward! { self => self.inner; release }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.begin(Some(invocation)).run(|| self.inner.submit(deployment, invocation)).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let collect = || self.inner.collect(deployment, pending);
        let attempts = self.begin_as(Class::Query, None);
        attempts.run_judged(collect, |collected| !collected.is_from_memory).await
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let attempts = self.begin_as(Class::Query, None);
        attempts.run(|| self.inner.activation_log(deployment, activations)).await
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        self.begin(None).run(|| self.inner.find_submitted(deployment, in_doubt)).await
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        self.begin(None).run(|| self.inner.recent_logs(deployment, since, most)).await
    }
}
