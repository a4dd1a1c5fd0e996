//! A platform that can be away.

use std::future::Future;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Collected, Deployable, Deployment,
    Error, ErrorKind, Invocation, InvocationId, Pending, Platform, Result, Scaling, forward,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

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

/// A time in which nobody reaches a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// When it begins, from the beginning of the platform.
    pub after: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// How it shows.
    pub line: Line,
}

/// A platform behind a line that a test cuts and mends, or that is away at times that are known beforehand.
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
    began: Instant,
    schedule: Vec<Away>,
}

impl<P> Outages<P> {
    /// Puts a line before `inner`; it is up.
    pub fn new(inner: P) -> Self {
        Self::scheduled(inner, Vec::new())
    }

    /// Puts a line before `inner` that is down at these times, on tokio's clock, and whenever it is [set](Self::set) so.
    pub fn scheduled(inner: P, schedule: Vec<Away>) -> Self {
        Self { inner, line: watch::Sender::default(), began: Instant::now(), schedule }
    }

    /// Cuts the line, or mends it.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// The platform behind the line.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// How the line is now, and when the schedule changes it next.
    fn look(&self, set: Line) -> (Line, Option<Instant>) {
        let now = self.began.elapsed();
        let away =
            self.schedule.iter().find(|away| (away.after..away.after + away.lasts).contains(&now));
        let changes = self.schedule.iter().flat_map(|away| [away.after, away.after + away.lasts]);
        let next = changes.filter(|change| *change > now).min();
        let line = if set == Line::Up { away.map_or(Line::Up, |away| away.line) } else { set };
        (line, next.map(|next| self.began + next))
    }
}

impl<P: Sync> Outages<P> {
    /// Waits until the line is as `wanted` says.
    async fn wait_for(&self, wanted: fn(Line) -> bool) -> Line {
        let mut set = self.line.subscribe();
        loop {
            let (line, next) = self.look(*set.borrow_and_update());
            if wanted(line) {
                return line;
            }
            let scheduled = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            // The sender lives as long as `self`.
            tokio::select! {
                _ = set.changed() => {}
                () = scheduled => {}
            }
        }
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
        let reset = || failed("connection reset", runs);
        let begun = self.look(*self.line.borrow()).0;
        if begun == Line::Cut {
            return Err(failed("connection refused", false));
        }
        if begun == Line::Hung && self.wait_for(|line| line != Line::Hung).await == Line::Cut {
            return Err(reset());
        }
        let outcome = tokio::select! {
            biased;
            _ = self.wait_for(|line| line == Line::Cut) => return Err(reset()),
            outcome = call => outcome,
        };
        match self.wait_for(|line| line != Line::Hung).await {
            Line::Cut => Err(reset()),
            _ => outcome,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> Platform for Outages<P> {
    forward! { self => self.inner; name, capabilities, watch_outages }

    async fn account(&self) -> Result<Option<String>> {
        self.cross("account", "", self.inner.account()).await
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
#[deny(clippy::missing_trait_methods)]
impl<P: AsyncPlatform> AsyncPlatform for Outages<P> {
    forward! { self => self.inner; release }

    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        self.cross("submit", &deployment.name, self.inner.submit(deployment, invocation)).await
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        self.cross("collect", &deployment.name, self.inner.collect(deployment, pending)).await
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let call = self.inner.activation_log(deployment, activations);
        self.cross("activation_log", &deployment.name, call).await
    }
    async fn find_submitted(
        &self,
        deployment: &Deployment,
        in_doubt: &[Invocation],
    ) -> Result<Vec<(InvocationId, Pending)>> {
        let call = self.inner.find_submitted(deployment, in_doubt);
        self.cross("find_submitted", &deployment.name, call).await
    }

    async fn recent_logs(
        &self,
        deployment: &Deployment,
        since: SystemTime,
        most: usize,
    ) -> Result<Vec<ActivationLog>> {
        let call = self.inner.recent_logs(deployment, since, most);
        self.cross("recent_logs", &deployment.name, call).await
    }
}
