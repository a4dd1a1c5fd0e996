//! The layer next to the platform: intents before calls, and releases after the disk.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, AsyncPlatform, Collected, Deployable, Deployment, Error, ErrorKind,
    Invocation, Pending, Platform, Release, Result, async_trait, forward,
};

use crate::config::Durability;
use crate::journal::{Doubt, RunJournal};
use crate::kill;
use crate::log::micros;
use crate::recalled::nobody_knows;
use crate::record::{Argument, Call, Deployed, Function, Intent, NotRun, Removed, Submitted, kind};
use crate::releases::Releases;

/// How often an invocation in doubt is handed over again under the same name, and the pause between.
const RESUBMISSIONS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// A platform whose calls are recorded.
#[derive(Debug)]
pub(crate) struct Journaled {
    journal: Arc<RunJournal>,
    platform: Arc<dyn AsyncPlatform>,
    releases: Releases,
}

impl Journaled {
    pub(crate) fn new(journal: Arc<RunJournal>, platform: Arc<dyn AsyncPlatform>) -> Self {
        Self { journal, platform, releases: Releases::default() }
    }

    /// Sends an attempt, with its intent on disk before where running it twice may do harm.
    async fn send<T>(
        &self,
        call: Call,
        invocation: &Invocation,
        send: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let journal = &*self.journal;
        if invocation.is_idempotent() || kill::is_without("intents") {
            kill::point();
            let answer = send.await;
            kill::point();
            return answer;
        }
        let intent = Intent {
            s: journal.stage(invocation.stage()),
            i: invocation.id().clone(),
            n: invocation.attempt(),
            h: Argument::of(invocation.payload()),
            o: call,
        };
        let end = journal.log.append(kind::INTENT, &intent)?;
        journal.durable(end).await?;
        kill::point();
        let answer = send.await;
        kill::point();
        if answer.as_ref().is_err_and(|error| !error.may_have_run()) {
            let Intent { s, i, n, .. } = intent;
            // Without this record the attempt is in doubt, which is the safe side.
            let _ = journal.log.append(kind::NOT_RUN, &NotRun { s, i, n });
        }
        answer
    }

    fn record_submission(&self, invocation: &Invocation, pending: &Pending) {
        let record = Submitted {
            s: self.journal.stage(invocation.stage()),
            i: invocation.id().clone(),
            n: invocation.attempt(),
            h: Argument::of(invocation.payload()),
            p: (pending.id.as_str().to_owned().into(), micros(pending.submitted_at)),
        };
        // The activation is there, whether or not it could be recorded; the next event stops the run.
        let _ = self.journal.log.append(kind::SUBMITTED, &record);
    }

    fn doubt(&self, invocation: &Invocation) -> Option<Doubt> {
        let stage = self.journal.stage(invocation.stage());
        self.journal.state().doubts.get(&(stage, invocation.id().clone())).copied()
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

    /// The deployment of an earlier process, if it is there and as it should be.
    async fn adopted(
        &self,
        function: &Deployable,
        identity: &Function,
    ) -> Result<Option<Deployment>> {
        let journal = &*self.journal;
        let Some(recorded) = journal.replay.deployed.get(&function.name) else { return Ok(None) };
        if journal.state().vanished.contains(&function.name) {
            return Ok(None);
        }
        if journal.replay.plan.is_none()
            && let Some(difference) = recorded.function.difference(identity)
        {
            let message = format!("the function differs from the recorded one: {difference}");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        match self.platform.fetch_deployment(&function.name).await {
            Ok(found) => {
                let is_current = recorded.function == *identity
                    // On this machine a deployment goes with the process that made it.
                    && self.platform.capabilities().wants_layers
                    // Their values are not recorded, and may have changed.
                    && function.env.is_empty()
                    && found.scaling.overridden_by(&function.scaling) == found.scaling
                    && lives_on(&found, function);
                Ok(is_current.then_some(found))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let name = function.name.clone();
                journal.log.append(kind::REMOVED, &Removed { name: name.clone() })?;
                journal.state().vanished.insert(name);
                Ok(None)
            }
            Err(error) => Err(error),
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

/// Whether the deployment lives at least half as long as a new one would.
fn lives_on(found: &Deployment, function: &Deployable) -> bool {
    let now = SystemTime::now();
    let left = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    match (&found.ownership, &function.ownership) {
        (Some(found), Some(wanted)) => left(found.expires_at) >= left(wanted.expires_at) / 2,
        _ => false,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Journaled {
    forward! { self => self.platform;
        name, capabilities, fetch_deployment, list_deployments, scale, watch_outages
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let identity = Function::of(function);
        if let Some(deployment) = self.adopted(function, &identity).await? {
            return Ok(deployment);
        }
        kill::point();
        let deployment = self.platform.deploy(function).await?;
        kill::point();
        let record = Deployed { deployment: deployment.clone(), function: identity };
        self.journal.log.append(kind::DEPLOYED, &record)?;
        Ok(deployment)
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        kill::point();
        let removed = self.platform.remove(deployment).await;
        kill::point();
        let is_gone = match &removed {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if is_gone {
            let name = deployment.name.clone();
            // Without this record the next process finds out that it is gone.
            let _ = self.journal.log.append(kind::REMOVED, &Removed { name });
        }
        removed
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        if self.doubt(invocation).is_some() {
            return Err(in_doubt(invocation, None));
        }
        let call = self.platform.invoke(deployment, invocation);
        self.send(Call::Invoke, invocation, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for Journaled {
    forward! { self => self.platform; activation_log, find_submitted }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        if let Some(doubt) = self.doubt(invocation) {
            return self.settle(deployment, invocation, doubt).await;
        }
        // In a second execution of the same plan its id comes again.
        let is_unique = !invocation.is_idempotent() && !self.journal.is_executed_again(invocation);
        let invocation = invocation.clone().with_unique(is_unique);
        let call = self.platform.submit(deployment, &invocation);
        let pending = self.send(Call::Submit, &invocation, call).await?;
        self.record_submission(&invocation, &pending);
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.releases.forward(&self.journal.log, &*self.platform);
        self.platform.collect(deployment, pending).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        let journal = &*self.journal;
        match release {
            // Another process collects them.
            Release::Abandoned if journal.is_suspended() => {}
            Release::Abandoned => self.platform.release(deployment, activations, release),
            Release::Taken if journal.durability == Durability::Process => {
                self.platform.release(deployment, activations, release);
            }
            Release::Taken => {
                let end = journal.log.end();
                self.releases.add(end, deployment, activations);
                journal.log.want(end);
                self.releases.forward(&journal.log, &*self.platform);
            }
        }
    }
}
