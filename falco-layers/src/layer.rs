//! Layers of one's own.

use std::fmt::Debug;
use std::sync::Arc;

use falco_core::{AsyncPlatform, Platform, async_trait, forward};

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

/// A layer that forwards every call, except for those methods that it overrides. [`Intercepted`] makes a platform of it.
///
/// Methods that [`Platform`] and [`AsyncPlatform`] get in later versions are forwarded, too.
#[async_trait]
pub trait Intercept: Debug + Send + Sync + 'static {
    /// The platform that calls are forwarded to.
    fn inner(&self) -> &dyn AsyncPlatform;

    forward! { self => self.inner();
        /// As [`Platform::name`].
        name,
        /// As [`Platform::capabilities`].
        capabilities,
        /// As [`Platform::watch_outages`].
        watch_outages,
        /// As [`Platform::account`].
        account,
        /// As [`Platform::deploy`].
        deploy,
        /// As [`Platform::fetch_deployment`].
        fetch_deployment,
        /// As [`Platform::list_deployments`].
        list_deployments,
        /// As [`Platform::scale`].
        scale,
        /// As [`Platform::remove`].
        remove,
        /// As [`Platform::invoke`].
        invoke,
        /// As [`AsyncPlatform::submit`].
        submit,
        /// As [`AsyncPlatform::collect`].
        collect,
        /// As [`AsyncPlatform::release`].
        release,
        /// As [`AsyncPlatform::activation_log`].
        activation_log,
        /// As [`AsyncPlatform::find_submitted`].
        find_submitted,
        /// As [`AsyncPlatform::recent_logs`].
        recent_logs,
    }
}

/// The platform that an [`Intercept`] makes of another.
#[derive(Clone, Debug)]
pub struct Intercepted<L>(pub L);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Intercept> Platform for Intercepted<L> {
    forward! { self => self.0;
        name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove,
        invoke, watch_outages
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Intercept> AsyncPlatform for Intercepted<L> {
    forward! { self => self.0;
        submit, collect, release, activation_log, find_submitted, recent_logs
    }
}
