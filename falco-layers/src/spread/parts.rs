//! The platform beneath the retries of a spread.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use falco_core::{
    Activation, ActivationId, ActivationLog, Capabilities, Deployable, Deployment, Error,
    ErrorKind, Invocation, Operation, Platform, Result, Scaling, async_trait,
};
use futures_util::future::join_all;

use super::Share;
use super::capabilities::common;
use super::deployments::{Deployments, Held, merged};
use super::part::{Call, Member};

const NAME: &str = "spread";

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) share: Share,
    pub(super) members: Vec<Member>,
    deployments: Deployments,
    /// How far each part is behind its share.
    pub(super) credits: Mutex<Vec<f64>>,
    /// The activations that this process has submitted and another part may run again.
    pub(super) idempotent: Mutex<HashSet<ActivationId>>,
    /// How long what must not run again is waited for while its part is away.
    pub(super) patience: Duration,
}

impl Parts {
    pub(super) fn new(share: Share, members: Vec<Member>, patience: Duration) -> Self {
        let credits = Mutex::new(vec![0.0; members.len()]);
        let (deployments, idempotent) = (Deployments::default(), Mutex::default());
        Self { share, members, deployments, credits, idempotent, patience }
    }

    fn names(&self) -> Vec<&str> {
        self.members.iter().map(|member| member.name.as_str()).collect()
    }

    pub(super) fn held(&self, deployment: &Deployment, operation: &'static str) -> Result<Held> {
        let place = Operation::new(NAME, operation).on(&deployment.name);
        self.deployments.of(&self.names(), deployment).map_err(|error| error.at(place))
    }

    /// Refuses what one of the parts would refuse: whichever part it goes to, the outcome is the same.
    pub(super) fn check(
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
}

impl Member {
    /// The name of an activation of this part among those of all.
    pub(super) fn id(&self, id: &ActivationId) -> ActivationId {
        format!("{}/{id}", self.name).into()
    }

    pub(super) fn activation(&self, mut activation: Activation) -> Activation {
        activation.id = self.id(&activation.id);
        activation.attributes.insert("platform".into(), self.name.clone());
        activation
    }

    /// An error of this part, as one of the whole.
    pub(super) fn error(&self, error: Error) -> Error {
        error.with_platform(NAME).map_message(|message| format!("{}: {message}", self.name))
    }

    pub(super) fn log(&self, mut log: ActivationLog) -> ActivationLog {
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
        for (number, it) in held.iter() {
            self.members[*number].questions.forget(it);
        }
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
