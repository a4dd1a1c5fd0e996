//! The layer that reserves money for each call.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use falco_core::{
    Activation, ActivationId, AsyncPlatform, Collected, Deployment, Error, Event, Invocation,
    Pending, Prices, Release, Result, WaitReason, async_trait,
};
use tokio::time::Instant;

use super::Budget;
use super::ledger::{Admission, Held, Settlement, paid};
use crate::layer::Intercept;

/// A platform whose calls are paid from a budget.
#[derive(Debug)]
pub(super) struct Budgeted {
    pub(super) inner: Arc<dyn AsyncPlatform>,
    pub(super) budget: Budget,
    pub(super) prices: Prices,
    /// The name of the platform among those of a spread.
    pub(super) part: Option<String>,
}

/// A reservation of a call in progress. Dropped, nobody knows what became of the call.
struct Reservation<'a> {
    budget: &'a Budget,
    held: Option<Held>,
}

impl Reservation<'_> {
    fn settle(mut self, settlement: Settlement) {
        if let Some(held) = self.held.take() {
            self.budget.ledger(|ledger| ledger.settle(&held, settlement));
        }
    }

    /// Keeps the reservation for a submission that was accepted.
    fn keep(mut self, id: ActivationId) {
        if let Some(held) = self.held.take() {
            self.budget.ledger(|ledger| ledger.pending.insert(id, held));
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.budget.ledger(|ledger| ledger.settle(&held, Settlement::Unknown));
        }
    }
}

impl Budgeted {
    /// The id of an activation among those of all platforms, as the run knows it.
    fn whole(&self, id: &ActivationId) -> ActivationId {
        match &self.part {
            Some(part) => format!("{part}/{id}").into(),
            None => id.clone(),
        }
    }

    fn held(&self, deployment: &Deployment, invocation: &Invocation) -> Held {
        let inputs = invocation.members().len().max(1) as u64;
        Held::new(invocation.stage().clone(), &self.prices, &deployment.scaling, inputs)
    }

    /// Waits until the call can be paid for whatever it costs.
    async fn admit(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Reservation<'_>> {
        let held = self.held(deployment, invocation);
        let budget = &self.budget;
        let mut waits_since = None;
        loop {
            let mut changed = pin!(budget.0.changed.notified());
            // Registered before the look, so that no change is missed in between.
            changed.as_mut().enable();
            match budget.ledger(|ledger| ledger.admit(&held)) {
                Admission::Granted => break,
                Admission::Refused => return Err(self.refuse(invocation).await),
                Admission::Wait => {}
            }
            if waits_since.is_none() {
                waits_since = Some(Instant::now());
                invocation.report(&Event::Held { invocation, reason: WaitReason::Budget });
            }
            changed.await;
        }
        if let Some(since) = waits_since {
            let (reason, wait) = (WaitReason::Budget, since.elapsed());
            invocation.report(&Event::Waiting { invocation, reason, wait });
        }
        Ok(Reservation { budget, held: Some(held) })
    }

    /// The error of a call that cannot be paid for. In a run whose monitor the budget is, the run stops, and the call is
    /// cancelled with it: it did not fail, and another process may send it.
    async fn refuse(&self, invocation: &Invocation) -> Error {
        let error = self.budget.exhausted();
        if self.budget.is_watching() {
            invocation.report(&Event::CallFailed { invocation, error: &error });
            return pending().await;
        }
        error
    }

    fn settlement(&self, error: &Error) -> Settlement {
        if error.may_have_run() { Settlement::Unknown } else { Settlement::Free }
    }
}

#[async_trait]
impl Intercept for Budgeted {
    fn inner(&self) -> &dyn AsyncPlatform {
        &*self.inner
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let reservation = self.admit(deployment, invocation).await?;
        let answer = self.inner.invoke(deployment, invocation).await;
        reservation.settle(match &answer {
            Ok(activation) => paid(&self.prices, activation, &deployment.scaling),
            Err(error) => self.settlement(error),
        });
        answer
    }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let reservation = self.admit(deployment, invocation).await?;
        let answer = self.inner.submit(deployment, invocation).await;
        match &answer {
            Ok(pending) => reservation.keep(self.whole(&pending.id)),
            Err(error) => reservation.settle(self.settlement(error)),
        }
        answer
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let collected = self.inner.collect(deployment, pending).await?;
        self.budget.ledger(|ledger| {
            for activation in &collected.finished {
                ledger.settle_pending(
                    &self.whole(&activation.id),
                    paid(&self.prices, activation, &deployment.scaling),
                );
            }
            for (id, error) in &collected.gone {
                ledger.settle_pending(&self.whole(id), self.settlement(error));
            }
        });
        Ok(collected)
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.budget.ledger(|ledger| {
            for id in activations {
                ledger.release(&self.whole(id));
            }
        });
        self.inner.release(deployment, activations, release);
    }
}
