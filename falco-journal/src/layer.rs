//! The layer next to the platform: what was submitted, what earlier processes left, and releases after the disk.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployable, Deployment,
    Error, Invocation, InvocationId, Pending, Platform, Release, Result, Scaling, async_trait,
    forward,
};

use crate::clock::micros;
use crate::config::{Durability, Part};
use crate::deployments::Deployments;
use crate::intents::sent;
use crate::journal::{Doubt, RunJournal};
use crate::kill;
use crate::recalled::nobody_knows;
use crate::record::{Argument, Call, Submitted, kind};

/// How often an invocation in doubt is handed over again under the same name, and the pause between.
const RESUBMISSIONS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// A platform whose calls are recorded.
#[derive(Debug)]
pub(crate) struct Journaled {
    journal: Arc<RunJournal>,
    platform: Arc<dyn AsyncPlatform>,
    deployments: Deployments,
    /// Whether the platform chooses among several, whose layers record what is about to be sent.
    has_parts: bool,
}

impl Journaled {
    pub(crate) fn new(
        journal: Arc<RunJournal>,
        platform: Arc<dyn AsyncPlatform>,
        has_parts: bool,
    ) -> Self {
        Self { journal, platform, deployments: Deployments::default(), has_parts }
    }

    /// The deployment as it is to be called: one that was put off is deployed now.
    async fn there<'a>(&self, deployment: &'a Deployment) -> Result<Cow<'a, Deployment>> {
        self.deployments.there(&self.journal, &*self.platform, deployment).await
    }

    /// Sends an attempt, and records it, unless the layers of the parts do that.
    async fn send<T>(
        &self,
        call: Call,
        invocation: &Invocation,
        send: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match self.has_parts {
            true => send.await,
            false => self.journal.send(call, invocation, send).await,
        }
    }

    fn record_submission(&self, invocation: &Invocation, pending: &Pending) {
        let is_batch = !invocation.members().is_empty();
        for (index, sent) in sent(invocation).iter().enumerate() {
            let id = if is_batch { pending.id.of_member(index) } else { pending.id.clone() };
            let record = Submitted {
                s: self.journal.stage(sent.stage()),
                i: sent.id().clone(),
                n: sent.attempt(),
                h: Argument::of(sent.payload()),
                p: (id.as_str().into(), self.journal.log.since_base(micros(pending.submitted_at))),
            };
            // The activation is there, whether or not it could be recorded; the next event stops the run.
            let _ = self.journal.log.append(kind::SUBMITTED, &record);
        }
    }

    fn settled(&self, invocation: &Invocation) {
        let stage = self.journal.stage(invocation.stage());
        self.journal.state().doubts.remove(&(stage, invocation.id().clone()));
    }

    /// Finds out what became of an attempt that an earlier process was sending when it ended.
    async fn settle(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
        doubt: Doubt,
    ) -> Result<Pending> {
        let invocation = invocation.clone().with_attempt(doubt.attempt).with_unique(true);
        let unknown = |error: Error| in_doubt(&invocation, Some(&error));
        let pending = if doubt.call == Call::Invoke {
            return Err(in_doubt(&invocation, None));
        } else if self.platform.capabilities().resubmit {
            // The provider knows the attempt by its name, and runs it once.
            self.resubmit(deployment, &invocation).await.map_err(unknown)?
        } else {
            let asked = std::slice::from_ref(&invocation);
            let found = self.platform.find_submitted(deployment, asked).await.map_err(unknown)?;
            let found = found.into_iter().find(|(id, _)| id == invocation.id());
            found.map(|(_, pending)| pending).ok_or_else(|| in_doubt(&invocation, None))?
        };
        self.record_submission(&invocation, &pending);
        self.settled(&invocation);
        Ok(pending)
    }

    async fn resubmit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let mut tries = 1;
        loop {
            kill::point();
            match self.platform.submit(deployment, invocation).await {
                Err(error) if error.is_retryable() && tries < RESUBMISSIONS => {
                    tries += 1;
                    tokio::time::sleep(error.retry_after().unwrap_or(PAUSE).min(PAUSE * 10)).await;
                }
                answer => return answer,
            }
        }
    }
}

/// The error of an invocation that an earlier process was sending when it ended.
fn in_doubt(invocation: &Invocation, error: Option<&Error>) -> Error {
    let what = format!(
        "an earlier process was sending {:?} when it ended, and nobody knows whether it ran",
        invocation.id()
    );
    let unknown = nobody_knows(invocation.stage(), &what);
    match error {
        Some(error) => unknown.with_source(error),
        None => unknown,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Journaled {
    forward! { self => self.platform;
        name, capabilities, account, fetch_deployment, list_deployments, watch_outages
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let ownership = function.ownership.clone();
        let epoch = self.journal.epoch;
        let mut function = function.clone();
        function.ownership = ownership.map(|ownership| ownership.with_epoch(epoch));
        match self.deployments.put_off(&self.journal, &function) {
            Some(recorded) => Ok(recorded),
            None => self.deployments.deploy(&self.journal, &*self.platform, &function).await,
        }
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let deployment = self.there(deployment).await?;
        self.platform.scale(&deployment, scaling).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.deployments.remove(&self.journal, &*self.platform, deployment).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        if self.journal.doubt(invocation).is_some() {
            return Err(in_doubt(invocation, None));
        }
        let deployment = &*self.there(deployment).await?;
        let call = self.platform.invoke(deployment, invocation);
        self.send(Call::Invoke, invocation, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for Journaled {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let deployment = &*self.there(deployment).await?;
        if let Some(doubt) = self.journal.doubt(invocation) {
            return self.settle(deployment, invocation, doubt).await;
        }
        // In a second execution of the same plan its id comes again.
        let is_unique = !invocation.is_idempotent()
            && invocation.members().is_empty()
            && !self.journal.is_executed_again(invocation);
        let invocation = invocation.clone().with_unique(is_unique);
        let call = self.platform.submit(deployment, &invocation);
        let pending = self.send(Call::Submit, &invocation, call).await?;
        self.record_submission(&invocation, &pending);
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.journal.releases.forward(&self.journal.log);
        let deployment = self.there(deployment).await?;
        self.platform.collect(&deployment, pending).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        let journal = &*self.journal;
        match release {
            // Another process collects them.
            Release::Abandoned if journal.is_suspended() => {}
            Release::Abandoned => self.platform.release(deployment, activations, release),
            Release::Taken
                if journal.durability == Durability::Process
                    || journal.without == Some(Part::Order) =>
            {
                self.platform.release(deployment, activations, release);
            }
            Release::Taken => {
                let end = journal.log.end();
                journal.releases.add(end, self.platform.clone(), deployment, activations);
                journal.log.want(end);
                journal.releases.forward(&journal.log);
            }
        }
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let deployment = self.there(deployment).await?;
        self.platform.activation_log(&deployment, activations).await
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let deployment = self.there(deployment).await?;
        self.platform.find_submitted(&deployment, in_doubt).await
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let deployment = self.there(deployment).await?;
        self.platform.recent_logs(&deployment, since, most).await
    }
}
