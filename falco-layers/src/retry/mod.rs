//! The layer that sends failed calls again.

mod attempts;
mod budget;
mod policy;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployable, Deployment,
    ErrorKind, Invocation, InvocationId, Pending, Platform, Result, Scaling, async_trait, forward,
};

use self::attempts::{Accounts, Attempts, Budgets};
pub use self::budget::RetryBudget;
pub(crate) use self::policy::OUTAGE_PATIENCE;
pub use self::policy::RetryPolicy;
use crate::silence::{Class, Listener};

/// Retries failed calls that are retryable and safe to repeat.
///
/// It repeats *calls*, not invocations: a function that fails has answered, and what to do about that is up to the
/// executor. So the repeated call carries the same invocation with the same attempt number.
///
/// - **Hope**: [`Error::is_retryable`](falco_core::Error::is_retryable).
/// - **Safe**: the function did not run for sure (`!`[`Error::may_have_run`](falco_core::Error::may_have_run)), or the
///   invocation [is idempotent](Invocation::is_idempotent). All other operations are idempotent by their contracts; a
///   repeated [`remove`](Platform::remove) that finds nothing has succeeded if the one before may have.
/// - **Pauses** grow exponentially with a random part, and are not shorter than the platform suggests; if that is more
///   than a quarter of an hour, it is asked again after that.
/// - **Limits**: attempts, time, and a [budget](RetryBudget) in relation to the traffic, once for failed calls and
///   once for throttled ones; invocations and all other calls have their own. When it is spent, a failed call gives
///   up, and a throttled one waits out another pause: it did not run, and giving up would lose it only because others
///   failed. Where a gate [paces the attempts](Self::with_paced_attempts), throttled invocations need no budget.
/// - **Outages**: while nobody answers for the platform ([`Error::is_unreachable`](falco_core::Error::is_unreachable)),
///   or it does not accept credentials any more that it has accepted before, calls spend neither attempts nor the
///   budget; they are repeated until that has lasted for [`RetryPolicy::outage_patience`]. Where others are answered
///   meanwhile, it is this call's failure and spends an attempt.
/// - **After the last attempt** the error is [exhausted](falco_core::Error::is_exhausted), so that no outer layer tries
///   again. A policy of one attempt leaves errors as they are.
///
/// The invocation's monitor sees each failure that is answered by another attempt
/// ([`Event::CallFailed`](falco_core::Event::CallFailed)), the pause ([`Event::Waiting`](falco_core::Event::Waiting))
/// and the attempt ([`Event::Attempt`](falco_core::Event::Attempt)). The last failure is left to the caller.
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
    is_paced: bool,
}

impl<P> Retry<P> {
    /// Tries calls to `inner` again as `policy` says.
    pub fn new(inner: P, policy: RetryPolicy) -> Self {
        let budgets = Arc::new(Budgets {
            invocations: Accounts::new(policy.budget),
            others: Accounts::new(policy.budget),
        });
        let random = Arc::new(Mutex::new(fastrand::Rng::new()));
        Self { inner, policy, budgets, listener: Arc::default(), random, is_paced: false }
    }

    /// Makes the random parts of the pauses repeatable.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        self
    }

    /// Says that each attempt waits at a [gate](crate::Gate) whose controller
    /// [reacts to refusals](falco_core::congestion::CongestionController::is_reactive): throttled invocations are sent again
    /// without a budget. A [`Stack`](crate::Stack) does it for such a gate.
    ///
    /// The gate keeps refusals rare. A budget on top of it would be filled only by calls that end: where calls last for
    /// minutes, thousands that were refused at the start would continue at one a second. Behind a controller that does not
    /// react, such as [`Fixed`](crate::Fixed), the budget keeps them rare instead.
    #[must_use]
    pub fn with_paced_attempts(mut self, is_paced: bool) -> Self {
        self.is_paced = is_paced;
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
            needs_budget_when_throttled: !(self.is_paced && invocation.is_some()),
            delays: None,
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
