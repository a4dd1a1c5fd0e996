//! A platform that can be away.

use std::future::Future;

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, Pending, Platform, Release, Result, Scaling,
};
use tokio::sync::watch;

/// The line between the callers and a platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// Calls reach the platform.
    #[default]
    Up,
    /// Connections are cut, and new ones refused.
    Cut,
    /// Calls are taken, and nothing comes back before the line is up again.
    Hung,
}

/// A platform behind a line that a test cuts and mends.
///
/// A call that is on its way when the line is cut fails as [unreachable](Error::is_unreachable), and may have run. What was
/// submitted goes on at the platform.
///
/// # Examples
///
/// ```
/// use falco_core::Platform;
/// use falco_testkit::{InMemory, Line, Outages};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> falco_core::Result<()> {
/// let platform = Outages::new(InMemory::default());
/// platform.set(Line::Cut);
/// assert!(platform.list_deployments().await.unwrap_err().is_unreachable());
/// platform.set(Line::Up);
/// assert!(platform.list_deployments().await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Outages<P> {
    inner: P,
    line: watch::Sender<Line>,
}

impl<P> Outages<P> {
    /// Puts a line before `inner`; it is up.
    pub fn new(inner: P) -> Self {
        Self { inner, line: watch::Sender::default() }
    }

    /// Cuts the line, or mends it.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// The platform behind the line.
    pub fn inner(&self) -> &P {
        &self.inner
    }
}

impl<P: AsyncPlatform> Outages<P> {
    async fn cross<T: Send>(
        &self,
        operation: &'static str,
        function: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let runs = matches!(operation, "invoke" | "submit");
        let failed = |words: &str, may_have_run| {
            let error = Error::new(ErrorKind::Unavailable, words)
                .with_operation(operation)
                .with_unreachable(true)
                .with_may_have_run(may_have_run);
            if function.is_empty() { error } else { error.with_function(function) }
        };
        let mut line = self.line.subscribe();
        // The sender lives as long as `self`.
        let begun = *line.borrow_and_update();
        if begun == Line::Cut {
            return Err(failed("connection refused", false));
        }
        if begun == Line::Hung
            && line.wait_for(|line| *line != Line::Hung).await.is_ok_and(|line| *line == Line::Cut)
        {
            return Err(failed("connection reset", runs));
        }
        let outcome = tokio::select! {
            biased;
            _ = line.wait_for(|line| *line == Line::Cut) => return Err(failed("connection reset", runs)),
            outcome = call => outcome,
        };
        let after = line.wait_for(|line| *line != Line::Hung).await;
        if after.is_ok_and(|line| *line == Line::Cut) {
            return Err(failed("connection reset", runs));
        }
        outcome
    }
}

#[async_trait]
impl<P: AsyncPlatform> Platform for Outages<P> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        self.cross("deploy", &function.name, self.inner.deploy(function)).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        self.cross("fetch_deployment", name, self.inner.fetch_deployment(name)).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.cross("list_deployments", "", self.inner.list_deployments()).await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        self.cross("scale", &deployment.name, self.inner.scale(deployment, scaling)).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.cross("remove", &deployment.name, self.inner.remove(deployment)).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        self.cross("invoke", &deployment.name, self.inner.invoke(deployment, invocation)).await
    }
}

#[async_trait]
impl<P: AsyncPlatform> AsyncPlatform for Outages<P> {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.cross("submit", &deployment.name, self.inner.submit(deployment, invocation)).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.cross("collect", &deployment.name, self.inner.collect(deployment, pending)).await
    }

    fn release(&self, deployment: &Deployment, activations: &[ActivationId], release: Release) {
        self.inner.release(deployment, activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let call = self.inner.activation_log(deployment, activations);
        self.cross("activation_log", &deployment.name, call).await
    }
}
