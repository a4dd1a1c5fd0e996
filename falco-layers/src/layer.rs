//! Layers of one's own.

use std::fmt::Debug;
use std::sync::{Arc, Weak};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Invocation, InvocationId, Monitor, Pending, Platform, Release, Result, Scaling,
    async_trait,
};

/// Wraps a platform in a layer. [`Stack::with_layer`](crate::Stack::with_layer) takes it; a function from platform to
/// platform is one.
///
/// # Examples
///
/// A layer that changes one method, as an [`Intercept`]:
///
/// ```
/// use falco_core::{Activation, AsyncPlatform, Deployment, Invocation, Result, async_trait};
/// use falco_layers::{Intercept, Intercepted, Stack};
/// use std::sync::Arc;
///
/// #[derive(Debug)]
/// struct Stamped(Arc<dyn AsyncPlatform>);
///
/// #[async_trait]
/// impl Intercept for Stamped {
///     fn inner(&self) -> &dyn AsyncPlatform {
///         &*self.0
///     }
///
///     async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
///         let mut activation = self.inner().invoke(deployment, invocation).await?;
///         activation.attributes.insert("stamp".into(), "seen".into());
///         Ok(activation)
///     }
/// }
///
/// let stack = Stack::new().with_layer(|platform| Intercepted(Stamped(platform)));
/// ```
pub trait Layer: Send + Sync + 'static {
    /// Wraps `platform`.
    fn layer(&self, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform>;
}

impl<F, P> Layer for F
where
    F: Fn(Arc<dyn AsyncPlatform>) -> P + Send + Sync + 'static,
    P: AsyncPlatform,
{
    fn layer(&self, platform: Arc<dyn AsyncPlatform>) -> Arc<dyn AsyncPlatform> {
        Arc::new(self(platform))
    }
}

/// A layer that passes every call on, except for those methods that it overrides. [`Intercepted`] makes a platform of it.
///
/// Methods that [`Platform`] and [`AsyncPlatform`] get in later versions are passed on, too.
#[async_trait]
pub trait Intercept: Debug + Send + Sync + 'static {
    /// The platform that calls are passed on to.
    fn inner(&self) -> &dyn AsyncPlatform;

    /// As [`Platform::capabilities`].
    fn capabilities(&self) -> Capabilities {
        self.inner().capabilities()
    }

    /// As [`Platform::deploy`].
    ///
    /// # Errors
    ///
    /// As [`Platform::deploy`].
    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.inner().deploy(function).await
    }

    /// As [`Platform::fetch_deployment`].
    ///
    /// # Errors
    ///
    /// As [`Platform::fetch_deployment`].
    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        self.inner().fetch_deployment(name).await
    }

    /// As [`Platform::list_deployments`].
    ///
    /// # Errors
    ///
    /// As [`Platform::list_deployments`].
    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.inner().list_deployments().await
    }

    /// As [`Platform::scale`].
    ///
    /// # Errors
    ///
    /// As [`Platform::scale`].
    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.inner().scale(deployment, scaling).await
    }

    /// As [`Platform::remove`].
    ///
    /// # Errors
    ///
    /// As [`Platform::remove`].
    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.inner().remove(deployment).await
    }

    /// As [`Platform::invoke`].
    ///
    /// # Errors
    ///
    /// As [`Platform::invoke`].
    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.inner().invoke(deployment, invocation).await
    }

    /// As [`AsyncPlatform::submit`].
    ///
    /// # Errors
    ///
    /// As [`AsyncPlatform::submit`].
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.inner().submit(deployment, invocation).await
    }

    /// As [`AsyncPlatform::collect`].
    ///
    /// # Errors
    ///
    /// As [`AsyncPlatform::collect`].
    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.inner().collect(deployment, pending).await
    }

    /// As [`AsyncPlatform::release`].
    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.inner().release(deployment, activations, release);
    }
}

/// The platform that an [`Intercept`] makes of another.
#[derive(Clone, Debug)]
pub struct Intercepted<L>(pub L);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Intercept> Platform for Intercepted<L> {
    fn name(&self) -> &str {
        self.0.inner().name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn watch_outages(&self, monitor: Weak<dyn Monitor>) {
        self.0.inner().watch_outages(monitor);
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.0.deploy(function).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        self.0.fetch_deployment(name).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.0.list_deployments().await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.0.scale(deployment, scaling).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.0.remove(deployment).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.0.invoke(deployment, invocation).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Intercept> AsyncPlatform for Intercepted<L> {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.0.submit(deployment, invocation).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.0.collect(deployment, pending).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.0.release(deployment, activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        self.0.inner().activation_log(deployment, activations).await
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        self.0.inner().find_submitted(deployment, in_doubt).await
    }
}
