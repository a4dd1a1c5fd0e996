//! Intents: the record of an attempt, on disk before it is sent.

use std::sync::Arc;

use falco_core::{
    Activation, AsyncPlatform, Deployment, Invocation, Pending, Platform, Result, async_trait,
    forward,
};

use crate::config::{Durability, Part as Without};
use crate::journal::{Doubt, RunJournal};
use crate::kill;
use crate::record::{Argument, Call, Intent, NotRun, kind};

impl RunJournal {
    /// Sends an attempt. Where running it twice may do harm, its intent is on disk first.
    pub(crate) async fn send<T>(
        &self,
        call: Call,
        invocation: &Invocation,
        send: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        if invocation.is_idempotent() || self.without == Some(Without::Intents) {
            kill::point();
            let answer = send.await;
            kill::point();
            return answer;
        }
        let s = self.stage(invocation.stage());
        let is_awaited = self.durability == Durability::Machine;
        let mut end = 0;
        for sent in sent(invocation) {
            let (i, n) = (sent.id().clone(), sent.attempt());
            let intent = Intent { s, i, n, h: Argument::of(sent.payload()), o: call };
            end = match is_awaited {
                true => self.log.append_awaited(kind::INTENT, &intent)?,
                false => self.log.append(kind::INTENT, &intent)?,
            };
        }
        if self.without != Some(Without::Waits) {
            self.durable(end).await?;
        }
        kill::point();
        let answer = send.await;
        kill::point();
        if answer.as_ref().is_err_and(|error| !error.may_have_run()) {
            for sent in sent(invocation) {
                let (i, n) = (sent.id().clone(), sent.attempt());
                // Without this record the attempt is in doubt, which is the safe side.
                let _ = self.log.append(kind::NOT_RUN, &NotRun { s, i, n });
            }
        }
        answer
    }

    /// The attempt of an earlier process whose outcome is not known yet.
    pub(crate) fn doubt(&self, invocation: &Invocation) -> Option<Doubt> {
        // Most processes have none, and this is asked before each call.
        if self.state().doubts.is_empty() {
            return None;
        }
        let stage = self.stage(invocation.stage());
        self.state().doubts.get(&(stage, invocation.id().clone())).copied()
    }
}

/// The invocations that a call sends: those of a batch, or the one that it is.
pub(crate) fn sent(invocation: &Invocation) -> &[Invocation] {
    match invocation.members() {
        [] => std::slice::from_ref(invocation),
        members => members,
    }
}

/// One of the platforms among which another chooses. Its attempts are recorded when they are sent to it: in front of it,
/// calls may wait for long.
#[derive(Debug)]
pub(crate) struct JournaledPart {
    journal: Arc<RunJournal>,
    platform: Arc<dyn AsyncPlatform>,
}

impl JournaledPart {
    pub(crate) fn new(journal: Arc<RunJournal>, platform: Arc<dyn AsyncPlatform>) -> Self {
        Self { journal, platform }
    }

    async fn send<T>(
        &self,
        call: Call,
        invocation: &Invocation,
        send: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        // An attempt that an earlier process was sending is handed over again under the same name. When that is refused, the
        // first time may still have run: it must not be recorded as not run.
        match self.journal.doubt(invocation) {
            Some(_) => send.await,
            None => self.journal.send(call, invocation, send).await,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for JournaledPart {
    forward! { self => self.platform;
        name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove, watch_outages
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let call = self.platform.invoke(deployment, invocation);
        self.send(Call::Invoke, invocation, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for JournaledPart {
    forward! { self => self.platform;
        collect, release, activation_log, find_submitted, recent_logs
    }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let call = self.platform.submit(deployment, invocation);
        self.send(Call::Submit, invocation, call).await
    }
}
