//! A driver's connection to a provider that outlives it.

use std::sync::Arc;

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Invocation, Pending, Platform, Release, Result, Scaling, async_trait,
};
use falco_testkit::InMemory;

use crate::death::Life;

/// The provider as one driver sees it: once that is dead, nothing passes any more.
#[derive(Debug)]
pub(crate) struct Mortal {
    platform: Arc<InMemory>,
    life: Arc<Life>,
}

impl Mortal {
    pub(crate) fn new(platform: Arc<InMemory>, life: Arc<Life>) -> Self {
        Self { platform, life }
    }

    /// Passes a call, at the begin and at the end of which the driver may die.
    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        self.life.go_on().await;
        let answer = call.await;
        self.life.go_on().await;
        answer
    }
}

#[async_trait]
impl Platform for Mortal {
    fn name(&self) -> &str {
        self.platform.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.platform.capabilities()
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.pass(self.platform.deploy(function)).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        self.pass(self.platform.fetch_deployment(name)).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.pass(self.platform.list_deployments()).await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.pass(self.platform.scale(deployment, scaling)).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.pass(self.platform.remove(deployment)).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.pass(self.platform.invoke(deployment, invocation)).await
    }
}

#[async_trait]
impl AsyncPlatform for Mortal {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.pass(self.platform.submit(deployment, invocation)).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.pass(self.platform.collect(deployment, pending)).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        if !self.life.has_ended() {
            self.platform.release(deployment, activations, release);
        }
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        self.pass(self.platform.activation_log(deployment, activations)).await
    }
}
