//! The layer that does not wait for ever.

use std::future::Future;
use std::time::{Duration, SystemTime};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployable, Deployment,
    Error, ErrorKind, Invocation, InvocationId, Operation, Pending, Platform, Result, Scaling,
    async_trait, forward, setters,
};

/// How long each kind of call may take, counted from sending.
///
/// # Examples
///
/// ```
/// use falco_layers::TimeoutPolicy;
/// use std::time::Duration;
///
/// let policy = TimeoutPolicy::default().with_invoke(Duration::from_secs(10));
/// assert_eq!(policy.call, Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeoutPolicy {
    /// One `invoke`. None, the default, follows the function: its own timeout and [`margin`](Self::margin).
    pub invoke: Option<Duration>,
    /// The time that an `invoke` may take besides the function's own timeout: cold start, queue and network.
    pub margin: Duration,
    /// One `account`, `submit`, `collect`, `activation_log`, `find_submitted`, `recent_logs`, `fetch_deployment` or
    /// `list_deployments`.
    pub call: Duration,
    /// One `deploy`, `scale` or `remove`, which wait until the provider has done it.
    pub deploy: Duration,
}

impl TimeoutPolicy {
    setters! {
        /// Limits one `invoke`.
        with_invoke(invoke: Option<Duration>);
        /// Sets what an `invoke` may take besides the function's own timeout: cold start, queue and network.
        with_margin(margin: Duration);
        /// Limits one `submit`, `collect`, `activation_log`, `fetch_deployment` or `list_deployments`.
        with_call(call: Duration);
        /// Limits one `deploy`, `scale` or `remove`, which wait until the provider has done it.
        with_deploy(deploy: Duration);
    }
}

impl Default for TimeoutPolicy {
    fn default() -> Self {
        Self {
            invoke: None,
            margin: Duration::from_secs(60),
            call: Duration::from_secs(60),
            deploy: Duration::from_secs(30 * 60),
        }
    }
}

/// The timeout of a function when neither deployment nor platform state one: the longest that any platform has.
const UNKNOWN_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// How long the function may run at most, as far as it is known.
pub(crate) fn longest_run(deployment: &Deployment, platform: &impl Platform) -> Duration {
    deployment.scaling.timeout.unwrap_or_else(|| {
        platform.capabilities().timeout.map_or(UNKNOWN_TIMEOUT, |bounds| bounds.max)
    })
}

/// Ends each call after a time that is counted from sending it.
///
/// The error is `Timeout`. For `invoke` and `submit` it says that the function [may have run](Error::may_have_run),
/// or may still run: a client that stops waiting stops nothing on the provider's side.
///
/// Put it *inside* of [`CongestionControl`](crate::CongestionControl): time at the gate is not a time of the call.
#[derive(Clone, Debug)]
pub struct Timeout<P> {
    inner: P,
    policy: TimeoutPolicy,
}

impl<P: AsyncPlatform> Timeout<P> {
    /// Limits the calls to `inner` as `policy` says.
    pub fn new(inner: P, policy: TimeoutPolicy) -> Self {
        Self { inner, policy }
    }

    fn invoke_limit(&self, deployment: &Deployment) -> Duration {
        self.policy.invoke.unwrap_or_else(|| {
            longest_run(deployment, &self.inner).saturating_add(self.policy.margin)
        })
    }

    async fn limit<T>(
        &self,
        limit: Duration,
        context: CallContext<'_>,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(context.timed_out(self.inner.name(), limit)),
        }
    }
}

const CALL: &str = "TimeoutPolicy::call";

/// A call, for its error.
#[derive(Clone, Copy)]
struct CallContext<'a> {
    operation: &'static str,
    /// Empty for a call that is about none.
    function: &'a str,
    setting: &'static str,
}

impl<'a> CallContext<'a> {
    fn new(operation: &'static str, function: &'a str) -> Self {
        let setting = match operation {
            "invoke" => "TimeoutPolicy::invoke, or the function's own timeout",
            "deploy" | "scale" | "remove" => "TimeoutPolicy::deploy",
            _ => CALL,
        };
        Self { operation, function, setting }
    }

    fn timed_out(self, platform: &str, limit: Duration) -> Error {
        let runs = matches!(self.operation, "invoke" | "submit");
        Error::new(ErrorKind::Timeout, format!("no answer within {limit:?}"))
            .at(Operation::new(platform, self.operation).on(self.function))
            .with_may_have_run(runs)
            // These are answered at once, if anybody answers.
            .with_unreachable(self.setting == CALL)
            .with_hint(format!("raise {}", self.setting))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> Platform for Timeout<P> {
    forward! { self => self.inner; name, capabilities, watch_outages }

    async fn account(&self) -> Result<Option<String>> {
        let context = CallContext::new("account", "");
        self.limit(self.policy.call, context, self.inner.account()).await
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let context = CallContext::new("deploy", &function.name);
        self.limit(self.policy.deploy, context, self.inner.deploy(function)).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let context = CallContext::new("fetch_deployment", name);
        self.limit(self.policy.call, context, self.inner.fetch_deployment(name)).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let context = CallContext::new("list_deployments", "");
        self.limit(self.policy.call, context, self.inner.list_deployments()).await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let context = CallContext::new("scale", &deployment.name);
        self.limit(self.policy.deploy, context, self.inner.scale(deployment, scaling)).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let context = CallContext::new("remove", &deployment.name);
        self.limit(self.policy.deploy, context, self.inner.remove(deployment)).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let context = CallContext::new("invoke", &deployment.name);
        let call = self.inner.invoke(deployment, invocation);
        self.limit(self.invoke_limit(deployment), context, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> AsyncPlatform for Timeout<P> {
    forward! { self => self.inner; release }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let context = CallContext::new("submit", &deployment.name);
        self.limit(self.policy.call, context, self.inner.submit(deployment, invocation)).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let context = CallContext::new("collect", &deployment.name);
        self.limit(self.policy.call, context, self.inner.collect(deployment, pending)).await
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let context = CallContext::new("activation_log", &deployment.name);
        let call = self.inner.activation_log(deployment, activations);
        self.limit(self.policy.call, context, call).await
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let context = CallContext::new("find_submitted", &deployment.name);
        let call = self.inner.find_submitted(deployment, in_doubt);
        self.limit(self.policy.call, context, call).await
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let context = CallContext::new("recent_logs", &deployment.name);
        let call = self.inner.recent_logs(deployment, since, most);
        self.limit(self.policy.call, context, call).await
    }
}
