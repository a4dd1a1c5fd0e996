//! Forwards the methods of a platform to another one.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{AsyncPlatform, Platform};

/// Forwards methods of [`Platform`] or [`AsyncPlatform`] to another platform, for layers that change the others.
///
/// It is used within an `impl` and names the methods, so that `clippy::missing_trait_methods` finds a method that a later
/// version adds. A layer that changes one method is shorter as a `falco_layers::Intercept`.
///
/// # Examples
///
/// ```
/// use falco_core::*;
///
/// #[derive(Debug)]
/// struct Counted<P> { inner: P, invoked: std::sync::atomic::AtomicU64 }
///
/// #[async_trait]
/// impl<P: AsyncPlatform> Platform for Counted<P> {
///     forward! { self => self.inner;
///         name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove,
///         watch_outages
///     }
///
///     async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
///         self.invoked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///         self.inner.invoke(deployment, invocation).await
///     }
/// }
///
/// #[async_trait]
/// impl<P: AsyncPlatform> AsyncPlatform for Counted<P> {
///     forward! { self => self.inner;
///         submit, collect, release, activation_log, find_submitted, recent_logs
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward {
    ($this:ident => $inner:expr; $($(#[$doc:meta])* $method:ident),+ $(,)?) => {
        $($crate::forward! { @$method $this, $inner, $(#[$doc])* })+
    };

    (@name $this:ident, $inner:expr, $(#[$doc:meta])*) => {
        $(#[$doc])*
        fn name(&$this) -> &str {
            $inner.name()
        }
    };
    (@capabilities $this:ident, $inner:expr, $(#[$doc:meta])*) => {
        $(#[$doc])*
        fn capabilities(&$this) -> $crate::Capabilities {
            $inner.capabilities()
        }
    };
    (@watch_outages $this:ident, $inner:expr, $(#[$doc:meta])*) => {
        $(#[$doc])*
        fn watch_outages(&$this, monitor: ::std::sync::Weak<dyn $crate::Monitor>) {
            $inner.watch_outages(monitor);
        }
    };
    (@release $this:ident, $inner:expr, $(#[$doc:meta])*) => {
        $(#[$doc])*
        fn release(
            &$this,
            deployment: &$crate::Deployment,
            activations: &[$crate::ActivationId],
            release: $crate::Release,
        ) {
            $inner.release(deployment, activations, release);
        }
    };

    (@account $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        account() -> ::std::option::Option<::std::string::String>
    } };
    (@deploy $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        deploy('a function: $crate::Deployable) -> $crate::Deployment
    } };
    (@fetch_deployment $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        fetch_deployment('a name: str) -> $crate::Deployment
    } };
    (@list_deployments $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        list_deployments() -> ::std::vec::Vec<$crate::Deployment>
    } };
    (@scale $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        scale('a deployment: $crate::Deployment, 'b scaling: $crate::Scaling) -> $crate::Deployment
    } };
    (@remove $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        remove('a deployment: $crate::Deployment) -> ()
    } };
    (@invoke $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        invoke('a deployment: $crate::Deployment, 'b invocation: $crate::Invocation)
            -> $crate::Activation
    } };
    (@submit $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        submit('a deployment: $crate::Deployment, 'b invocation: $crate::Invocation)
            -> $crate::Pending
    } };
    (@collect $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        collect('a deployment: $crate::Deployment, 'b pending: [$crate::Pending])
            -> $crate::Collected
    } };
    (@activation_log $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        activation_log('a deployment: $crate::Deployment, 'b activations: [$crate::ActivationId])
            -> ::std::vec::Vec<$crate::ActivationLog>
    } };
    (@find_submitted $($rest:tt)*) => { $crate::forward! { @call $($rest)*
        find_submitted('a deployment: $crate::Deployment, 'b in_doubt: [$crate::Invocation])
            -> ::std::vec::Vec<($crate::InvocationId, $crate::Pending)>
    } };

    (@recent_logs $this:ident, $inner:expr, $(#[$doc:meta])*) => {
        $(#[$doc])*
        fn recent_logs<'this, 'a, 'async_trait>(
            &'this $this,
            deployment: &'a $crate::Deployment,
            since: ::std::time::SystemTime,
            most: usize,
        ) -> ::std::pin::Pin<::std::boxed::Box<
            dyn ::std::future::Future<Output = $crate::Result<::std::vec::Vec<$crate::ActivationLog>>>
                + ::std::marker::Send
                + 'async_trait,
        >>
        where
            'this: 'async_trait,
            'a: 'async_trait,
            Self: 'async_trait,
        {
            $inner.recent_logs(deployment, since, most)
        }
    };

    // What `async_trait` makes of an `async fn`, without a second box around the future.
    (
        @call $this:ident, $inner:expr, $(#[$doc:meta])*
        $method:ident($($life:lifetime $argument:ident: $type:ty),*) -> $output:ty
    ) => {
        $(#[$doc])*
        fn $method<'this, $($life,)* 'async_trait>(
            &'this $this,
            $($argument: &$life $type,)*
        ) -> ::std::pin::Pin<::std::boxed::Box<
            dyn ::std::future::Future<Output = $crate::Result<$output>>
                + ::std::marker::Send
                + 'async_trait,
        >>
        where
            'this: 'async_trait,
            $($life: 'async_trait,)*
            Self: 'async_trait,
        {
            $inner.$method($($argument),*)
        }
    };
}

/// `Arc<P>` and `Box<P>` are platforms as `P` is.
macro_rules! pointer {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<P: Platform + ?Sized> Platform for $pointer<P> {
            forward! { self => (**self);
                name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove,
                invoke, watch_outages
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<P: AsyncPlatform + ?Sized> AsyncPlatform for $pointer<P> {
            forward! { self => (**self);
                submit, collect, release, activation_log, find_submitted, recent_logs
            }
        }
    };
}

pointer!(Arc);
pointer!(Box);
