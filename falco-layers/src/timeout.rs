//! The layer that does not wait for ever.

use std::future::Future;
use std::sync::Weak;
use std::time::Duration;

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, InvocationId, Monitor, Pending, Platform, Release,
    Result, Scaling, async_trait, setters,
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
    /// What an `invoke` may take besides the function's own timeout: cold start, queue and network.
    pub margin: Duration,
    /// One `submit`, `collect`, `activation_log`, `fetch_deployment` or `list_deployments`.
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
        what: What<'_>,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(what.timed_out(self.inner.name(), limit)),
        }
    }
}

const CALL: &str = "TimeoutPolicy::call";

/// A call, for its error.
#[derive(Clone, Copy)]
struct What<'a> {
    operation: &'static str,
    function: Option<&'a str>,
    setting: &'static str,
}

impl<'a> What<'a> {
    fn new(operation: &'static str, function: impl Into<Option<&'a str>>) -> Self {
        let setting = match operation {
            "invoke" => "TimeoutPolicy::invoke, or the function's own timeout",
            "deploy" | "scale" | "remove" => "TimeoutPolicy::deploy",
            _ => CALL,
        };
        Self { operation, function: function.into(), setting }
    }

    fn timed_out(self, platform: &str, limit: Duration) -> Error {
        let runs = matches!(self.operation, "invoke" | "submit");
        let error = Error::new(ErrorKind::Timeout, format!("no answer within {limit:?}"))
            .with_platform(platform)
            .with_operation(self.operation)
            .with_may_have_run(runs)
            // These are answered at once, if anybody answers.
            .with_unreachable(self.setting == CALL)
            .with_hint(format!("raise {}", self.setting));
        match self.function {
            Some(function) => error.with_function(function),
            None => error,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> Platform for Timeout<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let what = What::new("deploy", function.name.as_str());
        self.limit(self.policy.deploy, what, self.inner.deploy(function)).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let what = What::new("fetch_deployment", name);
        self.limit(self.policy.call, what, self.inner.fetch_deployment(name)).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let what = What::new("list_deployments", None);
        self.limit(self.policy.call, what, self.inner.list_deployments()).await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let what = What::new("scale", deployment.name.as_str());
        self.limit(self.policy.deploy, what, self.inner.scale(deployment, scaling)).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let what = What::new("remove", deployment.name.as_str());
        self.limit(self.policy.deploy, what, self.inner.remove(deployment)).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let what = What::new("invoke", deployment.name.as_str());
        let call = self.inner.invoke(deployment, invocation);
        self.limit(self.invoke_limit(deployment), what, call).await
    }

    fn watch_outages(&self, monitor: Weak<dyn Monitor>) {
        self.inner.watch_outages(monitor);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> AsyncPlatform for Timeout<P> {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let what = What::new("submit", deployment.name.as_str());
        self.limit(self.policy.call, what, self.inner.submit(deployment, invocation)).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let what = What::new("collect", deployment.name.as_str());
        self.limit(self.policy.call, what, self.inner.collect(deployment, pending)).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.inner.release(deployment, activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let what = What::new("activation_log", deployment.name.as_str());
        let call = self.inner.activation_log(deployment, activations);
        self.limit(self.policy.call, what, call).await
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let what = What::new("find_submitted", deployment.name.as_str());
        let call = self.inner.find_submitted(deployment, in_doubt);
        self.limit(self.policy.call, what, call).await
    }
}
