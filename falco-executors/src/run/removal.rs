//! Removing what a run has deployed, and looking for what a failed deployment may have left.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use falco_core::{Deployment, Error, ErrorKind, Event, Monitor, Result};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use super::functions::Function;
use super::guard::panicked;
use super::outages::PATIENCE_AFTER_STOP;
use super::outcome::Leftover;
use super::session::{MANAGEMENT_CALLS, Session};

/// How long a look for what a failed deployment has left behind may take at least, where no outage is known.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);
/// The pauses before looks for a deployment that the provider may apply late.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];

impl Session {
    /// Removes one deployment of this run, once the logs of its failed activations are there. One that is gone already counts
    /// as removed.
    ///
    /// # Errors
    ///
    /// As [`Platform::remove`](falco_core::Platform::remove); it may be called again.
    pub async fn remove(&self, deployment: &Deployment) -> Result<()> {
        self.failed_logs.fetched(Some(deployment)).await;
        let removing = self.outlast(|| self.platform().remove(deployment));
        let removing = AssertUnwindSafe(removing).catch_unwind().await;
        let what = || format!("removing {:?}", deployment.name);
        let result = removing.unwrap_or_else(|panic| Err(panicked(&what(), &*panic)));
        match result {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let _ = self.hub.event(&Event::Leftover { deployment, error: &error });
                Err(error)
            }
            _ => {
                self.functions.forget(deployment);
                let _ = self.hub.event(&Event::Removed { deployment });
                Ok(())
            }
        }
    }

    /// Removes everything that this run deployed and that is still there, and ends the run.
    ///
    /// Returns what could not be removed; it may be called again. A second signal ends it early, and so does an outage of the
    /// platform that lasts for 30 seconds after the first. Of a run that is [suspended](Self::is_suspended) it removes nothing:
    /// another process goes on with what is there; and nothing of one with [reuse](crate::RunOptions::with_reuse).
    pub async fn remove_all(&self) -> Vec<Leftover> {
        if self.is_suspended() || self.reuse {
            self.finish();
            return Vec::new();
        }
        let remove = |deployment: Arc<Deployment>| async move {
            let error = self.remove(&deployment).await.err()?;
            Some(Leftover { deployment: (*deployment).clone(), error })
        };
        let sweep = |function: Arc<Function>| async move {
            let swept = self.sweep(&function, true).await;
            function.in_doubt.store(swept.is_err(), Relaxed);
            swept.err()
        };
        let removing = self.deployments().into_iter().map(|known| remove(known).boxed());
        let sweeping = self.functions.in_doubt().into_iter().map(|doubt| sweep(doubt).boxed());
        let all: Vec<_> = removing.chain(sweeping).collect();
        let removing = stream::iter(all)
            .buffer_unordered(MANAGEMENT_CALLS)
            .filter_map(std::future::ready)
            .collect::<Vec<_>>();
        let removing = self.unless_left(removing.map(Ok));
        let mut leftovers = removing.await.unwrap_or_else(|error| self.abandoned(&error));
        leftovers.sort_by(|left, right| left.deployment.name.cmp(&right.deployment.name));
        for leftover in &leftovers {
            self.hub.announce(&format!("left behind: {leftover}"));
        }
        if let Some(first) = leftovers.first() {
            let (platform, run) = (&first.deployment.platform, self.run());
            self.hub.announce(&format!(
                "remove what is left with: falco cleanup --platform {platform} --run {run}"
            ));
        }
        self.finish();
        leftovers
    }

    fn abandoned(&self, error: &Error) -> Vec<Leftover> {
        let known = self.deployments().into_iter().map(|deployment| (*deployment).clone());
        let in_doubt = self.functions.in_doubt().into_iter().map(|doubt| self.assumed(&doubt));
        let all = known.chain(in_doubt);
        all.map(|left| self.leftover(left, error.clone())).collect()
    }

    /// Removes what a deployment that failed or was given up may have left.
    ///
    /// # Errors
    ///
    /// The deployment that may be left behind.
    pub(super) async fn sweep(
        &self,
        function: &Function,
        may_come_late: bool,
    ) -> Result<(), Leftover> {
        let name = function.name.as_str();
        let looks = if may_come_late { &LOOKS[..] } else { &LOOKS[..1] };
        let sweeping = async {
            for pause in looks {
                tokio::time::sleep(*pause).await;
                match self.outlast(|| self.platform().fetch_deployment(name)).await {
                    Ok(deployment) => return self.remove(&deployment).await,
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            // A partial deployment, such as a role without its function, is listed and cannot be fetched.
            for listed in self.outlast(|| self.platform().list_deployments()).await? {
                if listed.name == name {
                    self.remove(&listed).await?;
                }
            }
            Ok(())
        };
        let what = || format!("looking for {name:?}");
        let sweeping = AssertUnwindSafe(sweeping).catch_unwind();
        let sweeping = self.unless_left(async {
            tokio::select! {
                biased;
                swept = sweeping => swept.unwrap_or_else(|panic| Err(panicked(&what(), &*panic))),
                () = self.sweeps_for_too_long() => {
                    Err(Error::new(ErrorKind::Timeout, "the platform has not said whether it is there"))
                }
            }
        });
        let result = sweeping.await;
        result.map_err(|error| Leftover { deployment: self.assumed(function), error })
    }

    /// Resolves when a look that begins now has lasted for as long as all operations may in an outage, and earlier after a
    /// stop.
    async fn sweeps_for_too_long(&self) {
        let begun = Instant::now();
        let least = begun + SWEEP_PATIENCE;
        let stopped_at = tokio::select! {
            () = sleep_until(least.max(begun + self.patience())) => return,
            stopped_at = self.hub.stopped() => stopped_at,
        };
        sleep_until(least.max(stopped_at + PATIENCE_AFTER_STOP)).await;
    }

    /// The deployment of a function as it would be, when nobody knows whether it is there.
    fn assumed(&self, function: &Function) -> Deployment {
        let runtime = function.function.runtime.clone();
        Deployment::new(function.name.as_str(), runtime)
            .with_platform(self.platform().name())
            .with_ownership(Some(self.ownership.clone()))
    }

    fn leftover(&self, deployment: Deployment, error: Error) -> Leftover {
        let _ = self.hub.event(&Event::Leftover { deployment: &deployment, error: &error });
        Leftover { deployment, error }
    }
}
