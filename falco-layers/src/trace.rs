//! The layer that makes a `tracing` span for each call.

use std::fmt::Display;
use std::future::Future;
use std::time::SystemTime;

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployable, Deployment,
    Error, ErrorKind, Invocation, InvocationId, Pending, Platform, Release, Result, Scaling,
    async_trait, forward,
};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

/// A span for each call, with the attribute names of OpenTelemetry's semantic conventions for FaaS.
///
/// Spans are of level DEBUG and of kind `client`: `faas.invoked_name`, `faas.invoked_provider`,
/// `faas.invoked_region`, `faas.invocation_id`, `faas.instance`, `faas.coldstart`, `error.type`, and Falco's own
/// `falco.run`, `falco.stage`, `falco.invocation` and `falco.attempt`. OpenTelemetry names a call after its stage
/// (`otel.name`), since the names of deployments differ from run to run. A failed call is an event of level DEBUG within its span:
/// whether it is bad is for the layers and executors outside to say. Payloads, results and secrets are not recorded.
///
/// Without a subscriber that is interested it costs next to nothing.
///
/// # Examples
///
/// The calls that a pipeline makes, and how they end:
///
/// ```
/// tracing_subscriber::fmt().with_env_filter("falco_layers=debug").init();
/// ```
#[derive(Clone, Debug)]
pub struct Trace<P> {
    inner: P,
}

macro_rules! call_span {
    ($layer:ident, $operation:literal, $function:expr $(, $($field:tt)*)?) => {
        tracing::debug_span!(
            $operation,
            otel.kind = "client",
            otel.status_code = Empty,
            error.type = Empty,
            faas.invoked_provider = $layer.inner.name(),
            faas.invoked_name = $function,
            $($($field)*)?
        )
    };
}

macro_rules! invocation_span {
    ($layer:ident, $operation:literal, $deployment:ident, $invocation:ident) => {
        call_span!(
            $layer,
            $operation,
            $deployment.name,
            otel.name = $invocation.stage().as_str(),
            faas.invocation_id = Empty,
            faas.invoked_region = Empty,
            faas.instance = Empty,
            faas.coldstart = Empty,
            falco.run = $invocation.run().as_str(),
            falco.stage = $invocation.stage().as_str(),
            falco.invocation = $invocation.id().as_str(),
            falco.attempt = $invocation.attempt(),
        )
    };
}

impl<P: AsyncPlatform> Trace<P> {
    /// Traces the calls to `inner`.
    pub fn new(inner: P) -> Self {
        Self { inner }
    }
}

/// Runs a call in its span and notes how it ended.
async fn traced<T>(
    span: Span,
    call: impl Future<Output = Result<T>> + Send,
    note: impl FnOnce(&Span, &T) + Send,
) -> Result<T> {
    if span.is_disabled() {
        return call.await;
    }
    async {
        let outcome = call.await;
        let span = Span::current();
        match &outcome {
            Ok(value) => note(&span, value),
            Err(error) => note_error(&span, error),
        }
        outcome
    }
    .instrument(span)
    .await
}

fn note_error(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.kind().as_str());
    let text: &dyn Display = match error.kind() {
        // They may quote the payload, or what came instead of a result.
        ErrorKind::InvalidInput | ErrorKind::Protocol => &error.kind(),
        _ => error,
    };
    tracing::debug!(
        retryable = error.is_retryable(),
        may_have_run = error.may_have_run(),
        "{text}"
    );
}

fn note_activation(span: &Span, activation: &Activation) {
    span.record("faas.invocation_id", activation.id.as_str());
    if let Some(region) = &activation.region {
        span.record("faas.invoked_region", region.as_str());
    }
    if let Some(container) = &activation.container {
        span.record("faas.instance", container.as_str());
    }
    if let Some(cold_start) = activation.cold_start {
        span.record("faas.coldstart", cold_start);
    }
    if let Err(error) = &activation.outcome {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", display(error.kind));
    }
}

fn note_nothing<T>(_: &Span, _: &T) {}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> Platform for Trace<P> {
    forward! { self => self.inner; name, capabilities, watch_outages }

    async fn account(&self) -> Result<Option<String>> {
        let span = call_span!(self, "account", Empty);
        traced(span, self.inner.account(), note_nothing).await
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let span = call_span!(
            self,
            "deploy",
            function.name,
            faas.max_memory = function.scaling.memory_mib.map(|mib| u64::from(mib) << 20),
        );
        traced(span, self.inner.deploy(function), note_nothing).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let span = call_span!(self, "fetch_deployment", name);
        traced(span, self.inner.fetch_deployment(name), note_nothing).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let span = call_span!(self, "list_deployments", Empty);
        traced(span, self.inner.list_deployments(), note_nothing).await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let span = call_span!(self, "scale", deployment.name);
        traced(span, self.inner.scale(deployment, scaling), note_nothing).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let span = call_span!(self, "remove", deployment.name);
        traced(span, self.inner.remove(deployment), note_nothing).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let span = invocation_span!(self, "invoke", deployment, invocation);
        traced(span, self.inner.invoke(deployment, invocation), note_activation).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> AsyncPlatform for Trace<P> {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let span = invocation_span!(self, "submit", deployment, invocation);
        let call = self.inner.submit(deployment, invocation);
        traced(span, call, |span: &Span, pending: &Pending| {
            span.record("faas.invocation_id", pending.id.as_str());
        })
        .await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let span = call_span!(
            self,
            "collect",
            deployment.name,
            falco.pending = pending.len(),
            falco.finished = Empty,
            falco.gone = Empty,
        );
        let call = self.inner.collect(deployment, pending);
        traced(span, call, |span: &Span, collected: &Collected| {
            span.record("falco.finished", collected.finished.len());
            span.record("falco.gone", collected.gone.len());
        })
        .await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        tracing::trace!(
            faas.invoked_name = deployment.name,
            activations = activations.len(),
            ?release,
            "release"
        );
        self.inner.release(deployment, activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let span = call_span!(
            self,
            "activation_log",
            deployment.name,
            falco.activations = activations.len()
        );
        traced(span, self.inner.activation_log(deployment, activations), note_nothing).await
    }

    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let span =
            call_span!(self, "find_submitted", deployment.name, falco.in_doubt = in_doubt.len());
        traced(span, self.inner.find_submitted(deployment, in_doubt), note_nothing).await
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let span = call_span!(self, "recent_logs", deployment.name, falco.most = most);
        traced(span, self.inner.recent_logs(deployment, since, most), note_nothing).await
    }
}
