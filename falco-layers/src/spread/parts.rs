//! The platform beneath the retries of a spread.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, InvocationId, Operation, Pending, Platform, Release,
    Result, Scaling, async_trait,
};
use futures_util::future::join_all;

use super::Share;
use super::capabilities::common;
use super::deployments::{Deployments, Held, merged};
use super::part::{Call, Member};

const NAME: &str = "spread";
/// How soon a part is asked again that could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a part cannot be asked before what it has in flight goes to another, where that does no harm.
const LET_GO: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) share: Share,
    pub(super) members: Vec<Member>,
    deployments: Deployments,
    /// How far each part is behind its share.
    pub(super) credits: Mutex<Vec<f64>>,
    /// The activations that this process has submitted and another part may run again.
    idempotent: Mutex<HashSet<ActivationId>>,
    /// How long what must not run again is waited for while its part is away.
    patience: Duration,
}

impl Parts {
    pub(super) fn new(share: Share, members: Vec<Member>, patience: Duration) -> Self {
        let credits = Mutex::new(vec![0.0; members.len()]);
        let (deployments, idempotent) = (Deployments::default(), Mutex::default());
        Self { share, members, deployments, credits, idempotent, patience }
    }

    fn idempotent(&self) -> MutexGuard<'_, HashSet<ActivationId>> {
        self.idempotent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<&str> {
        self.members.iter().map(|member| member.name.as_str()).collect()
    }

    pub(super) fn held(&self, deployment: &Deployment, operation: &'static str) -> Result<Held> {
        let place = Operation::new(NAME, operation).on(&deployment.name);
        self.deployments.of(&self.names(), deployment).map_err(|error| error.at(place))
    }

    /// The activations in flight on a part that could not be asked for results, and that are waited for no longer.
    fn let_go(
        &self,
        member: &Member,
        held: &[(usize, Deployment)],
        own: &[Pending],
        error: &Error,
    ) -> Vec<(ActivationId, Error)> {
        if !error.is_unreachable() {
            return Vec::new();
        }
        let lasted = member.could_not_be_asked();
        // In an outage of all parts, nobody could run it again: its result is worth waiting for.
        if lasted < LET_GO || held.iter().all(|(number, _)| self.members[*number].is_silent()) {
            return Vec::new();
        }
        let idempotent = self.idempotent();
        own.iter()
            .map(|pending| member.id(&pending.id))
            .filter(|id| lasted >= self.patience || idempotent.contains(id))
            .map(|id| (id, error.clone().with_may_have_run(true)))
            .collect()
    }

    fn forget<'a>(&self, ids: impl Iterator<Item = &'a ActivationId>) {
        let mut idempotent = self.idempotent();
        for id in ids {
            idempotent.remove(id);
        }
    }

    /// Refuses what one of the parts would refuse: whichever part it goes to, the outcome is the same.
    fn check(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
        operation: &'static str,
        limit: Option<u64>,
    ) -> Result<()> {
        let place = Operation::new(NAME, operation).on(&deployment.name);
        invocation.payload().check_argument(limit).map_err(|error| error.at(place))
    }

    /// One deployment of those of the parts.
    fn merge(
        &self,
        held: impl IntoIterator<Item = (usize, Result<Deployment>)>,
    ) -> Result<Deployment> {
        let whole = |number: usize, error| self.members[number].error(error);
        let held = held
            .into_iter()
            .map(|(number, outcome)| Ok((number, outcome.map_err(|error| whole(number, error))?)))
            .collect::<Result<Vec<_>>>()?;
        merged(NAME, &self.names(), &held)
    }

    /// Those of `ids` that belong to each part, without its name.
    fn by_part<'a, T>(
        &'a self,
        held: &'a [(usize, Deployment)],
        ids: &'a [T],
        id: impl Fn(&T) -> &ActivationId,
        own: impl Fn(&T, ActivationId) -> T,
    ) -> Vec<(&'a Member, &'a Deployment, Vec<T>)> {
        let of = |member: &Member| -> Vec<T> {
            let own = |it: &T| {
                let rest = id(it).as_str().strip_prefix(&member.name)?.strip_prefix('/')?;
                Some(own(it, rest.into()))
            };
            ids.iter().filter_map(own).collect()
        };
        held.iter()
            .map(|(number, deployment)| {
                let member = &self.members[*number];
                (member, deployment, of(member))
            })
            .filter(|(.., ids)| !ids.is_empty())
            .collect()
    }
}

impl Member {
    /// The name of an activation of this part among those of all.
    fn id(&self, id: &ActivationId) -> ActivationId {
        format!("{}/{id}", self.name).into()
    }

    fn activation(&self, mut activation: Activation) -> Activation {
        activation.id = self.id(&activation.id);
        activation.attributes.insert("platform".into(), self.name.clone());
        activation
    }

    /// An error of this part, as one of the whole.
    pub(super) fn error(&self, error: Error) -> Error {
        error.with_platform(NAME).map_message(|message| format!("{}: {message}", self.name))
    }

    fn log(&self, mut log: ActivationLog) -> ActivationLog {
        log.id = self.id(&log.id);
        log
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Parts {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let all: Vec<Capabilities> =
            self.members.iter().map(|member| member.platform.capabilities()).collect();
        common(&all)
    }

    async fn account(&self) -> Result<Option<String>> {
        let accounts = join_all(self.members.iter().map(|member| member.platform.account())).await;
        let mut all = Vec::new();
        for (member, account) in self.members.iter().zip(accounts) {
            let Some(account) = account.map_err(|error| member.error(error))? else {
                return Ok(None);
            };
            all.push(format!("{}: {account}", member.name));
        }
        Ok(Some(all.join("; ")))
    }

    /// Deploys on all parts. When one of them fails, a function that is new is removed from the others.
    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let parts = || self.members.iter().map(|member| &member.platform);
        let before = join_all(parts().map(|part| part.fetch_deployment(&function.name))).await;
        let deployed = join_all(parts().map(|part| part.deploy(function))).await;
        if deployed.iter().any(Result::is_err) {
            let new = before.iter().zip(&deployed).zip(parts()).filter_map(
                |((before, deployed), part)| {
                    let deployed = deployed.as_ref().ok()?;
                    let was_missing =
                        before.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
                    was_missing.then(|| part.remove(deployed))
                },
            );
            // The failure of the deployment says more than that of the removal.
            join_all(new).await;
        }
        self.merge(deployed.into_iter().enumerate())
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let found =
            join_all(self.members.iter().map(|member| member.platform.fetch_deployment(name)))
                .await;
        let is_missing = |found: &Result<Deployment>| {
            found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        // Where some have it and others do not, a deployment has failed half-way: it has to be found to be removed.
        if found.iter().all(is_missing) {
            return self.merge(found.into_iter().enumerate());
        }
        self.merge(found.into_iter().enumerate().filter(|(_, it)| !is_missing(it)))
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let lists =
            join_all(self.members.iter().map(|member| member.platform.list_deployments())).await;
        let mut by_name: std::collections::BTreeMap<String, Vec<(usize, Deployment)>> =
            std::collections::BTreeMap::new();
        for (number, list) in lists.into_iter().enumerate() {
            for deployment in list.map_err(|error| self.members[number].error(error))? {
                by_name.entry(deployment.name.clone()).or_default().push((number, deployment));
            }
        }
        by_name.values().map(|held| merged(NAME, &self.names(), held)).collect()
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let held = self.held(deployment, "scale")?;
        let parts = held.iter().map(|(number, it)| (&self.members[*number].platform, it));
        let scaled = join_all(parts.map(|(part, it)| part.scale(it, scaling))).await;
        self.merge(held.iter().map(|(number, _)| *number).zip(scaled))
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let held = self.held(deployment, "remove")?;
        let parts = held.iter().map(|(number, it)| (&self.members[*number].platform, it));
        let removed = join_all(parts.map(|(part, it)| part.remove(it))).await;
        let mut missing = None;
        let mut is_removed = false;
        for ((number, _), outcome) in held.iter().zip(removed) {
            match outcome.map_err(|error| self.members[*number].error(error)) {
                Ok(()) => is_removed = true,
                Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        missing.filter(|_| !is_removed).map_or(Ok(()), Err)
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let limit = self.capabilities().for_runtime(&deployment.runtime).max_payload;
        self.check(deployment, invocation, "invoke", limit)?;
        let call: Call<Activation> = |part, it, invocation| part.invoke(it, invocation);
        let (member, activation) = self.send("invoke", deployment, invocation, call).await?;
        Ok(member.activation(activation))
    }

    /// Each part waits for itself, and the retries around all of them report what lasts.
    fn watch_outages(&self, _: std::sync::Weak<dyn falco_core::Monitor>) {}
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for Parts {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let limit = self.capabilities().for_runtime(&deployment.runtime).max_submit_payload;
        self.check(deployment, invocation, "submit", limit)?;
        let call: Call<Pending> = |part, it, invocation| part.submit(it, invocation);
        let (member, pending) = self.send("submit", deployment, invocation, call).await?;
        let id = member.id(&pending.id);
        if invocation.is_idempotent() {
            self.idempotent().insert(id.clone());
        }
        Ok(Pending::new(id, pending.submitted_at))
    }

    /// Asks each part for its own. Those that cannot be asked have no news, unless none can be asked; after a while, what
    /// they have in flight is gone, so that another part runs it where that does no harm.
    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let held = self.held(deployment, "collect")?;
        let own = |pending: &Pending, id| Pending::new(id, pending.submitted_at);
        let parts = self.by_part(&held, pending, |pending| &pending.id, own);
        let asked = parts.iter().map(|(member, deployment, own)| async move {
            let answer = member.platform.collect(deployment, own).await;
            member.hear(&answer, |answer| !answer.is_from_memory);
            (member, own, answer)
        });
        let (mut all, mut failure, mut poll_after) = (None, None, Duration::MAX);
        for (member, own, answer) in join_all(asked).await {
            match answer {
                Ok(answer) => {
                    // A part that has answered for everything need not be asked again.
                    if answer.finished.len() + answer.gone.len() < own.len() {
                        poll_after = poll_after.min(answer.poll_after);
                    }
                    let all: &mut Collected =
                        all.get_or_insert_with(|| Collected::default().with_from_memory(true));
                    all.is_from_memory &= answer.is_from_memory;
                    all.finished
                        .extend(answer.finished.into_iter().map(|it| member.activation(it)));
                    let whole = |(id, why): (ActivationId, Error)| {
                        member.hear_error(&why);
                        (member.id(&id), member.error(why))
                    };
                    all.gone.extend(answer.gone.into_iter().map(whole));
                }
                Err(error) => {
                    let error = member.error(error);
                    let gone = self.let_go(member, &held, own, &error);
                    // Nothing is left to ask it for.
                    if gone.len() < own.len() {
                        poll_after = poll_after.min(ASK_AGAIN);
                    }
                    if !gone.is_empty() {
                        let all: &mut Collected =
                            all.get_or_insert_with(|| Collected::default().with_from_memory(true));
                        all.gone.extend(gone);
                    }
                    failure = Some(error);
                }
            }
        }
        match (all, failure) {
            (None, Some(error)) => Err(error),
            (all, _) => {
                if let Some(all) = &all {
                    self.forget(all.gone.iter().map(|(id, _)| id));
                }
                // Nobody was asked where nothing belongs to any part.
                let mut all = all.unwrap_or_else(|| Collected::default().with_from_memory(true));
                all.poll_after =
                    if poll_after == Duration::MAX { Duration::ZERO } else { poll_after };
                Ok(all)
            }
        }
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.forget(activations.iter());
        let Ok(held) = self.held(deployment, "release") else { return };
        for (member, deployment, own) in self.by_part(&held, activations, |id| id, |_, id| id) {
            member.platform.release(deployment, &own, release);
        }
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let held = self.held(deployment, "activation_log")?;
        let mut logs = Vec::new();
        for (member, deployment, own) in self.by_part(&held, activations, |id| id, |_, id| id) {
            let found = member.platform.activation_log(deployment, &own).await;
            let found = found.map_err(|error| member.error(error))?;
            logs.extend(found.into_iter().map(|log| member.log(log)));
        }
        // In the order asked.
        let place = |log: &ActivationLog| activations.iter().position(|id| *id == log.id);
        logs.sort_by_key(place);
        Ok(logs)
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let held = self.held(deployment, "find_submitted")?;
        let mut all = Vec::new();
        for (number, deployment) in held.iter() {
            let member = &self.members[*number];
            let found = member.platform.find_submitted(deployment, in_doubt).await;
            let found = found.map_err(|error| member.error(error))?;
            all.extend(found.into_iter().map(|(invocation, pending)| {
                (invocation, Pending::new(member.id(&pending.id), pending.submitted_at))
            }));
        }
        Ok(all)
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let held = self.held(deployment, "recent_logs")?;
        let mut all = Vec::new();
        for (number, deployment) in held.iter() {
            let member = &self.members[*number];
            let logs = member.platform.recent_logs(deployment, since, most).await;
            let logs = logs.map_err(|error| member.error(error))?;
            all.extend(logs.into_iter().map(|log| member.log(log)));
        }
        all.sort_by_key(|log: &ActivationLog| log.lines.first().and_then(|line| line.at));
        Ok(all.split_off(all.len().saturating_sub(most)))
    }
}
