//! The contract between Falco and a FaaS platform.

use std::fmt::Debug;
use std::sync::Weak;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::activation::{Activation, ActivationLog};
use crate::capabilities::Capabilities;
use crate::collected::Collected;
use crate::deployable::Deployable;
use crate::deployment::Deployment;
use crate::error::{Error, Result};
use crate::id::{ActivationId, InvocationId};
use crate::invocation::Invocation;
use crate::monitor::Monitor;
use crate::operation::Operation;
use crate::pending::{Pending, Release};
use crate::scaling::Scaling;

/// A FaaS platform: it holds functions and runs them.
///
/// # For callers
///
/// - Platforms are shared as `Arc<dyn AsyncPlatform>`; every method may be called concurrently.
/// - `Err` means that the *platform* failed. A function that fails is an `Ok` whose
///   [`Activation::outcome`] is an error.
/// - A platform does not retry, except where its provider's own protocol demands waiting, such as for a function
///   that is still being created. Retries, rates and timeouts are layers around it.
/// - Dropping a future is how a call is cancelled. What that leaves behind is said at each method.
///
/// # For implementers
///
/// - Map the provider's replies to [`Error`] in one function; set kind, operation, function, request
///   id, `retry_after`, and `may_have_run` with care: it decides whether an invocation may be sent again.
/// - Check the caller's input ([`Deployable::validate`], [`Payload::check_argument`](crate::Payload::check_argument),
///   your own limits) before anything is sent.
/// - No secret in an error, in `Debug`, in a log, or in a [`Deployment`].
/// - Report what happens to an invocation, such as a wait that the protocol demands, with [`Invocation::report`].
///
/// # Examples
///
/// The smallest platform there is: [`invoke_only!`](crate::invoke_only) makes an [`AsyncPlatform`] of it.
///
/// ```
/// use falco_core::*;
///
/// #[derive(Debug)]
/// struct Echo;
///
/// #[async_trait]
/// impl Platform for Echo {
///     fn name(&self) -> &str { "echo" }
///     fn capabilities(&self) -> Capabilities { Capabilities::default() }
///     async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
///         Ok(Deployment::new(&function.name, function.runtime.clone()).with_platform("echo"))
///     }
///     async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
///         Err(Error::new(ErrorKind::NotFound, "nothing is kept").with_function(name))
///     }
///     async fn list_deployments(&self) -> Result<Vec<Deployment>> { Ok(Vec::new()) }
///     async fn scale(&self, deployment: &Deployment, _: &Scaling) -> Result<Deployment> {
///         Ok(deployment.clone())
///     }
///     async fn remove(&self, _: &Deployment) -> Result<()> { Ok(()) }
///     async fn invoke(&self, _: &Deployment, invocation: &Invocation) -> Result<Activation> {
///         Ok(Activation::succeeded(invocation.id().as_str(), invocation.payload().clone()))
///     }
/// }
///
/// invoke_only!(Echo);
/// ```
#[async_trait]
pub trait Platform: Debug + Send + Sync + 'static {
    /// The platform's short name, such as `openwhisk`.
    fn name(&self) -> &str;

    /// Its abilities, and its limits as far as they are known now.
    ///
    /// It does no I/O. A platform that asks its provider for the account's limits does so while connecting, and
    /// at the latest in the first [`deploy`](Self::deploy).
    fn capabilities(&self) -> Capabilities;

    /// The account, project or namespace whose functions it sees, without a secret in it: what another one of the same
    /// platform does not see. `None` where nobody can say.
    ///
    /// A [journal](crate::Journal) compares it before a run goes on in another process.
    ///
    /// # Errors
    ///
    /// As the provider answers.
    async fn account(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Makes `function` callable; a function of that name is updated in place.
    ///
    /// A function with the same [content](Deployable::content), by a hash in the provider's labels, need not be uploaded
    /// again; then only its owner is updated. [Arguments](Deployable::with_arguments) are stored with it where
    /// [`capabilities`](Self::capabilities) say that functions get them.
    ///
    /// It returns when the new code answers invocations. Idempotent: deploying the same twice leaves what deploying
    /// once does. Dropped, it may leave a partial deployment, which [`list_deployments`](Self::list_deployments)
    /// shows and [`remove`](Self::remove) removes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what [`Deployable::validate`] refuses and for code that the provider refuses;
    /// `Unsupported` for a runtime that is not there, with the list of those that are; `PayloadTooLarge` for code
    /// over the limit; else as the provider answers.
    async fn deploy(&self, function: &Deployable) -> Result<Deployment>;

    /// Finds a function by the name that it was deployed under, also from another process.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is none.
    async fn fetch_deployment(&self, name: &str) -> Result<Deployment>;

    /// The functions that carry Falco's marks, whichever run made them, partial ones included.
    ///
    /// # Errors
    ///
    /// As the provider answers.
    async fn list_deployments(&self) -> Result<Vec<Deployment>>;

    /// Changes the sizes that `scaling` names and leaves the rest, the code included.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a size out of bounds, `Unsupported` for one that the platform lacks, `NotFound`.
    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment>;

    /// Removes a function and everything that deploying it made.
    ///
    /// Dropped or failed half-way, it may be called again.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is nothing to remove; else the first thing that could not be removed, after trying
    /// the others.
    async fn remove(&self, deployment: &Deployment) -> Result<()>;

    /// Runs the function and waits for its result.
    ///
    /// Dropped, the activation may run to its end on the provider's side; its result is lost.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an argument that is not an object, `PayloadTooLarge`, `Throttled` with the suggested wait,
    /// and whatever else keeps the platform from answering. A function that fails is not an error.
    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation>;

    /// Reports the outages of the platform to `monitor` for as long as that lives:
    /// [`OutageStarted`](crate::Event::OutageStarted) and [`OutageEnded`](crate::Event::OutageEnded), beginning with the
    /// outage of this moment, if there is one.
    ///
    /// For layers that wait for an outage to end. Platforms leave it as it is: they wait for nothing.
    fn watch_outages(&self, _monitor: Weak<dyn Monitor>) {}
}

/// A platform whose invocations can be submitted now and collected later.
///
/// It is the trait that flows: layers and executors take `Arc<dyn AsyncPlatform>`. A platform that can only invoke
/// implements it by [`invoke_only!`](crate::invoke_only), and `capabilities().submit` is false.
#[async_trait]
pub trait AsyncPlatform: Platform {
    /// Hands an invocation over and returns once the provider has accepted it.
    ///
    /// Dropped, it may have been accepted: its activation then runs, and nobody knows its id.
    ///
    /// # Errors
    ///
    /// As [`Platform::invoke`]; `Unsupported` where `capabilities().submit` is false.
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending>;

    /// Asks what has become of `pending`, and returns without waiting for those that still run.
    ///
    /// # For callers
    ///
    /// - An activation may be reported more than once, until it is [released](Self::release).
    /// - An id in neither list has no known outcome yet.
    /// - A failure in [`Collected::gone`] is the platform's, as an `Err` of [`invoke`](Platform::invoke) is: whether the
    ///   invocation may be sent again follows from its [kind](crate::Error::kind) and
    ///   [`may_have_run`](crate::Error::may_have_run).
    /// - Wait [`Collected::poll_after`] before asking again.
    /// - It may be dropped at any await: nothing is lost, the next call reports it.
    ///
    /// # For implementers
    ///
    /// - Answer for hundreds of ids with one or a few requests, wherever the API allows it.
    /// - Report only ids that were asked for; keep the others for their owner.
    /// - [`Collected::gone`] is for what the provider *knows* will have no result, with the reason: it refused the
    ///   invocation after accepting it, could not start the function, or has lost it. "Not found" is not such
    ///   knowledge on platforms that store records late. A function that failed is in [`Collected::finished`].
    /// - Mark an answer for which nobody was asked as one [from memory](Collected::is_from_memory): layers take all others
    ///   as a sign that the platform can be reached.
    ///
    /// # Errors
    ///
    /// `Err` means that nothing was learned.
    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected>;

    /// Lets go of activations: no [`collect`](Self::collect) will ask for them again.
    ///
    /// Synchronous and infallible, so that a drop guard can call it. Layers give permits back; platforms queue
    /// provider-side deletion ([`Release::Taken`] only) for the next `collect`, and stop what can be stopped
    /// ([`Release::Abandoned`]). Releasing an unknown id does nothing.
    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release);

    /// The logs of activations, in the order asked; those without a log yet are left out.
    ///
    /// # Errors
    ///
    /// `Unsupported` where `capabilities().logs` is false.
    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>>;

    /// Finds activations that an earlier process may have submitted without learning their ids: it was ended between
    /// sending and the answer.
    ///
    /// Those that are not found stay in doubt. A platform that cannot look finds none, which is the default.
    ///
    /// # Errors
    ///
    /// As the provider answers, such as `Unauthorized` or `Unavailable`; then nothing was learned.
    async fn find_submitted(
        &self,
        _deployment: &Deployment,
        _in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        Ok(Vec::new())
    }

    /// The logs of the activations that ran since `since`, the oldest first and the newest `most` at most, for readers who
    /// know a function and no ids.
    ///
    /// Providers store logs late, and some without a record of what printed nothing: it is what there is, and not all that
    /// ran.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the platform cannot list activations, which is the default; else as the provider answers.
    async fn recent_logs(
        &self,
        deployment: &Deployment,
        _since: SystemTime,
        _most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let operation = Operation::new(self.name(), "recent_logs").on(&deployment.name);
        Err(Error::unsupported("this platform does not list activations").at(operation))
    }
}

/// Makes an [`AsyncPlatform`] of a [`Platform`] that can only invoke.
///
/// `submit`, `collect` and `activation_log` answer `Unsupported`; executors fall back to `invoke`.
#[macro_export]
macro_rules! invoke_only {
    ($platform:ty) => {
        #[$crate::async_trait]
        impl $crate::AsyncPlatform for $platform {
            async fn submit(
                &self,
                deployment: &$crate::Deployment,
                _: &$crate::Invocation,
            ) -> $crate::Result<$crate::Pending> {
                let operation = $crate::Operation::new($crate::Platform::name(self), "submit");
                Err($crate::unsupported_submission(operation.on(&deployment.name)))
            }

            async fn collect(
                &self,
                deployment: &$crate::Deployment,
                _: &[$crate::Pending],
            ) -> $crate::Result<$crate::Collected> {
                let operation = $crate::Operation::new($crate::Platform::name(self), "collect");
                Err($crate::unsupported_submission(operation.on(&deployment.name)))
            }

            fn release(
                &self,
                _: &$crate::Deployment,
                _: &[$crate::ActivationId],
                _: $crate::Release,
            ) {
            }

            async fn activation_log(
                &self,
                deployment: &$crate::Deployment,
                _: &[$crate::ActivationId],
            ) -> $crate::Result<Vec<$crate::ActivationLog>> {
                let operation =
                    $crate::Operation::new($crate::Platform::name(self), "activation_log");
                Err($crate::unsupported_submission(operation.on(&deployment.name)))
            }
        }
    };
}

/// The error of every asynchronous method on a platform that can only invoke; used by `invoke_only!`.
#[doc(hidden)]
pub fn unsupported_submission(operation: Operation<'_>) -> Error {
    Error::unsupported("this platform can only invoke and wait")
        .at(operation)
        .with_hint("use an executor that invokes, or wrap the platform in falco_layers::Held")
}

const _: fn(&dyn Platform) = |_| {};
const _: fn(&dyn AsyncPlatform) = |_| {};
