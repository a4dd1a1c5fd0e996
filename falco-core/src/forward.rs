//! `Arc<P>` and `Box<P>` are platforms as `P` is.
//!
//! The lint makes a new trait method impossible to forget, also one with a default body.

use std::sync::{Arc, Weak};

use async_trait::async_trait;

use crate::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Invocation, InvocationId, Monitor, Pending, Platform, Release, Result, Scaling,
};

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<P: Platform + ?Sized> Platform for $pointer<P> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
                (**self).deploy(function).await
            }

            async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
                (**self).fetch_deployment(name).await
            }

            async fn list_deployments(&self) -> Result<Vec<Deployment>> {
                (**self).list_deployments().await
            }

            async fn scale(&self, deployment: &Deployment, to: &Scaling) -> Result<Deployment> {
                (**self).scale(deployment, to).await
            }

            async fn remove(&self, deployment: &Deployment) -> Result<()> {
                (**self).remove(deployment).await
            }

            async fn invoke(
                &self,
                deployment: &Deployment,
                invocation: &Invocation,
            ) -> Result<Activation> {
                (**self).invoke(deployment, invocation).await
            }

            fn watch_outages(&self, monitor: Weak<dyn Monitor>) {
                (**self).watch_outages(monitor);
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<P: AsyncPlatform + ?Sized> AsyncPlatform for $pointer<P> {
            async fn submit(
                &self,
                deployment: &Deployment,
                invocation: &Invocation,
            ) -> Result<Pending> {
                (**self).submit(deployment, invocation).await
            }

            async fn collect(
                &self,
                deployment: &Deployment,
                pending: &[Pending],
            ) -> Result<Collected> {
                (**self).collect(deployment, pending).await
            }

            fn release(
                &self,
                deployment: &Deployment,
                activations: &[ActivationId],
                release: Release,
            ) {
                (**self).release(deployment, activations, release);
            }

            async fn activation_log(
                &self,
                deployment: &Deployment,
                activations: &[ActivationId],
            ) -> Result<Vec<ActivationLog>> {
                (**self).activation_log(deployment, activations).await
            }

            async fn find_submitted(
                &self,
                deployment: &Deployment,
                in_doubt: &[Invocation],
            ) -> Result<Vec<(InvocationId, Pending)>> {
                (**self).find_submitted(deployment, in_doubt).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
