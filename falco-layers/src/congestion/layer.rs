//! The layer that sends what its gate lets through.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use falco_core::congestion::SignalKind;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Event, Invocation, InvocationId, Monitor, Pending, Platform,
    Release, Result, Scaling, WaitReason, async_trait, forward,
};
use futures_util::poll;
use tokio::time::Instant;

use super::aimd::Aimd;
use super::gate::Gate;
use super::pace::Pace;
use super::permit::{Passage, Permit};
use crate::retry::OUTAGE_PATIENCE;
use crate::silence::{Class, Heard, Listener};
use crate::timeout::longest_run;

/// How long after a function's own timeout its answer may still come.
const GRACE: Duration = Duration::from_secs(60);

/// Sends invocations as fast as a [`Gate`] lets them through, and reports the outcomes to its controller.
///
/// `invoke` and `submit` wait at the gate, in the order in which they came. The status queries, `collect` and
/// `activation_log`, wait at a gate of their own, so that they and invocations do not starve each other. The other calls
/// wait in an outage only.
///
/// # Outages
///
/// When nobody answers for the platform, no matter which call shows it, all calls wait: one at a time tries whether the
/// platform is back (see [`Gate`]). The same holds for credentials that were accepted and are not any more. When that
/// has lasted for the [patience](Self::with_outage_patience), calls fail that have not been sent.
///
/// # What each outcome means
///
/// An activation is `Ok`, whatever the function answered. `Throttled` and the platform's faults are reported as such,
/// with the wait that the platform suggests, also where `collect` reports them of an activation that was accepted. Errors of the caller's own (bad input, missing permission, no such
/// function) say nothing about the rate, and count as abandoned.
///
/// # When a slot is given back
///
/// - `invoke`: when it ends or is dropped (abandoned).
/// - `submit`: when it fails or is dropped; else when a `collect` reports the activation as finished or gone (not
///   only when it is released: the caller may keep a result for long, and the platform's slot is free), when
///   it is released, and at the latest when the function's own timeout and a [grace](Self::with_grace) are over:
///   a lost call must not hold a small window for longer. Where the deployment states no timeout it is the longest
///   that the platform has, since a call that still runs must not be counted as over.
///
/// Clones share everything.
#[derive(Clone, Debug)]
pub struct CongestionControl<P> {
    inner: P,
    gate: Gate,
    queries: Gate,
    pending: Arc<Mutex<HashMap<ActivationId, Permit>>>,
    grace: Duration,
    listener: Arc<Listener>,
    outage_patience: Duration,
    /// Whether submissions are calls that are held open: that one was accepted does not show that the platform answers.
    holds_calls: bool,
}

impl<P> CongestionControl<P> {
    /// Sends to `inner` what `gate` lets through. Quotas are per account: use one gate for all that share them.
    pub fn new(inner: P, gate: Gate) -> Self {
        // Platforms pace their status queries by `poll_after`; this is for the account that is throttled anyway.
        let queries = Aimd::new(Pace::new(1000.0).with_bounds(1.0, 1000.0).with_concurrency(16));
        Self {
            inner,
            gate,
            queries: Gate::new(queries),
            pending: Arc::default(),
            grace: GRACE,
            listener: Arc::default(),
            outage_patience: OUTAGE_PATIENCE,
            holds_calls: false,
        }
    }

    /// Limits status queries by `gate`; by default it is 16 at a time and 1,000 a second, and less once throttled.
    #[must_use]
    pub fn with_query_gate(mut self, gate: Gate) -> Self {
        self.queries = gate;
        self
    }

    /// How long after the function's own timeout a submitted call holds its slot; a minute by default.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long calls wait for a platform that nobody answers for, from the first failure; five minutes by default. Zero
    /// lets them through as if nothing were known.
    #[must_use]
    pub fn with_outage_patience(mut self, patience: Duration) -> Self {
        self.outage_patience = patience;
        self
    }

    /// Says that `submit` holds a call open, as [`Held`](crate::Held) does: the platform has answered when the call has
    /// ended, and not when it was accepted.
    #[must_use]
    pub fn with_held_calls(mut self, holds_calls: bool) -> Self {
        self.holds_calls = holds_calls;
        self
    }

    /// The gate, for another layer that uses the same account.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl<P: AsyncPlatform> CongestionControl<P> {
    async fn admit(&self, invocation: &Invocation, may_take_long: bool) -> Result<Permit> {
        if !invocation.is_monitored() {
            return self.gate.admit_within(self.outage_patience, may_take_long).await;
        }
        let came = Instant::now();
        let (paused_before, lost_before) = (self.gate.paused(), self.gate.lost());
        let mut admission = pin!(self.gate.admit_within(self.outage_patience, may_take_long));
        let permit = match poll!(&mut admission) {
            Poll::Ready(permit) => permit?,
            Poll::Pending => {
                let reason = match self.gate.is_away() {
                    true => WaitReason::Outage,
                    false => WaitReason::Limit,
                };
                invocation.report(&Event::Held { invocation, reason });
                admission.await?
            }
        };
        let demanded = self.gate.paused().saturating_sub(paused_before);
        let lost = self.gate.lost().saturating_sub(lost_before).min(came.elapsed());
        let in_line = came.elapsed().saturating_sub(demanded).saturating_sub(lost);
        for (reason, wait) in [
            (WaitReason::Outage, lost),
            (WaitReason::Platform, demanded),
            (WaitReason::Limit, in_line),
        ] {
            if wait >= Duration::from_millis(1) {
                // A `Stop` is remembered by the runner; here it would come too late.
                invocation.report(&Event::Waiting { invocation, reason, wait });
            }
        }
        Ok(permit)
    }

    async fn query<T>(
        &self,
        call: impl Future<Output = Result<T>> + Send,
        is_answer: fn(&T) -> bool,
    ) -> Result<T> {
        let permit = self.queries.admit().await;
        let passage = self.gate.pass(self.outage_patience, false).await;
        let outcome = match passage {
            Ok(passage) => self.cross(passage, Class::Query, call, is_answer).await,
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(_) => permit.finish(SignalKind::Ok, None),
            Err(error) => permit.finish(signal_of(error), error.retry_after()),
        }
        outcome
    }

    /// Makes a call that takes no slot, as soon as the platform can be reached.
    async fn pass<T>(
        &self,
        class: Class,
        may_take_long: bool,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let passage = self.gate.pass(self.outage_patience, may_take_long).await?;
        self.cross(passage, class, call, |_| true).await
    }

    /// Makes a call that was let through; `is_answer` says whether a success shows that the platform has answered.
    async fn cross<T>(
        &self,
        passage: Passage,
        class: Class,
        call: impl Future<Output = Result<T>> + Send,
        is_answer: fn(&T) -> bool,
    ) -> Result<T> {
        let outcome = call.await;
        passage.heard(match &outcome {
            Ok(value) if !is_answer(value) => Heard::Nothing,
            _ => self.hear(class, &outcome),
        });
        outcome
    }

    /// Reads the platform's reachability from an outcome. Without patience there are no outages.
    fn hear<'a, T>(&self, class: Class, outcome: &'a Result<T>) -> Heard<'a> {
        match self.listener.hear(class, outcome) {
            Heard::Silence(_) if self.outage_patience.is_zero() => Heard::Nothing,
            heard => heard,
        }
    }

    fn close<T>(&self, permit: Permit, outcome: &Result<T>) {
        let heard = self.hear(Class::Invocation, outcome);
        match outcome {
            Ok(_) => permit.finish_heard(SignalKind::Ok, None, heard),
            Err(error) => permit.finish_heard(signal_of(error), error.retry_after(), heard),
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<ActivationId, Permit>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish<'a>(&self, ids: impl Iterator<Item = &'a ActivationId>, kind: SignalKind) {
        let permits: Vec<Permit> = {
            let mut pending = self.pending();
            ids.filter_map(|id| pending.remove(id)).collect()
        };
        for permit in permits {
            permit.finish(kind, None);
        }
    }
}

/// The signal of an error for the rate.
fn signal_of(error: &Error) -> SignalKind {
    match error.kind() {
        // Nobody has answered: that says nothing of how much the platform can bear.
        _ if error.is_unreachable() => SignalKind::Abandoned,
        ErrorKind::Throttled => SignalKind::Throttled,
        ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Protocol | ErrorKind::Lost => {
            SignalKind::Failed
        }
        _ => SignalKind::Abandoned,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> Platform for CongestionControl<P> {
    forward! { self => self.inner; name }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities().with_wants_layers(false)
    }

    async fn account(&self) -> Result<Option<String>> {
        self.pass(Class::Management, false, self.inner.account()).await
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.pass(Class::Management, true, self.inner.deploy(function)).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        self.pass(Class::Management, false, self.inner.fetch_deployment(name)).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.pass(Class::Management, false, self.inner.list_deployments()).await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.pass(Class::Management, true, self.inner.scale(deployment, scaling)).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.pass(Class::Management, true, self.inner.remove(deployment)).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let permit = self.admit(invocation, true).await?;
        let outcome = self.inner.invoke(deployment, invocation).await;
        self.close(permit, &outcome);
        outcome
    }

    fn watch_outages(&self, monitor: Weak<dyn Monitor>) {
        self.gate.watch(monitor.clone());
        self.inner.watch_outages(monitor);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> AsyncPlatform for CongestionControl<P> {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let mut permit = self.admit(invocation, self.holds_calls).await?;
        let outcome = self.inner.submit(deployment, invocation).await;
        match &outcome {
            Ok(pending) => {
                let run = longest_run(deployment, &self.inner);
                if !self.holds_calls {
                    permit.accepted(self.hear(Class::Invocation, &outcome));
                }
                permit.expire_after(run.saturating_add(self.grace));
                self.pending().insert(pending.id.clone(), permit);
            }
            Err(_) => self.close(permit, &outcome),
        }
        outcome
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let collecting = self.inner.collect(deployment, pending);
        let collected = self.query(collecting, |collected| !collected.is_from_memory).await?;
        self.finish(collected.finished.iter().map(|done| &done.id), SignalKind::Ok);
        for (id, error) in &collected.gone {
            let permit = self.pending().remove(id);
            if let Some(permit) = permit {
                // A held call that nobody has answered.
                let heard = match error.is_unreachable() && !self.outage_patience.is_zero() {
                    true => Heard::Silence(error),
                    false => Heard::Nothing,
                };
                permit.finish_heard(signal_of(error), error.retry_after(), heard);
            }
        }
        Ok(collected)
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.finish(activations.iter(), SignalKind::Abandoned);
        self.inner.release(deployment, activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        self.query(self.inner.activation_log(deployment, activations), |_| true).await
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        self.query(self.inner.find_submitted(deployment, in_doubt), |_| true).await
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        self.query(self.inner.recent_logs(deployment, since, most), |_| true).await
    }
}
