//! The traits of a platform, for batches.

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployment, Error,
    ErrorKind, Invocation, Pending, Platform, Release, Result, async_trait, forward,
};
use tokio::sync::oneshot;

use super::Batches;
use super::queue::Reply;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Batches {
    forward! { self => self.platform;
        name, account, capabilities, deploy, fetch_deployment, list_deployments, scale, remove,
        watch_outages
    }

    async fn invoke(&self, _: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(invocation, Reply::Invoked(reply));
        let answered = answer.await.map_err(|_| gone())?;
        answered.map(|activation| *activation)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for Batches {
    forward! { self => self.platform; find_submitted, recent_logs }

    async fn submit(&self, _: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(invocation, Reply::Submitted(reply));
        answer.await.map_err(|_| gone())?
    }

    async fn collect(&self, _: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.collect_inputs(pending).await
    }

    fn release(&self, _: &Deployment, activations: &[ActivationId], release: Release) {
        self.let_go(activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        super::activation_log(&*self.platform, deployment, activations).await
    }
}

/// The error of an input whose batch was given up, which happens only when the execution ends.
fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the execution has ended").with_may_have_run(true)
}
