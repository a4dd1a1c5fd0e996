//! Deploying the functions of a run, each once.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use falco_core::{Deployable, Deployment, Error, ErrorKind, Event, Monitor, Result};
use futures_util::{FutureExt, StreamExt, stream};

use super::functions::{Function, deployment_name};
use super::guard::panicked;
use super::reuse;
use super::session::{MANAGEMENT_CALLS, Session};

/// How long a stopped run waits for a deployment in flight: one that is dropped may still be applied later.
const DEPLOY_PATIENCE: Duration = Duration::from_secs(30);

impl Session {
    /// Deploys a function under a name of this run's own, or, with [reuse](crate::RunOptions::with_reuse), under a name that follows
    /// from its content. The same function is deployed once, however often and concurrently it is asked for.
    ///
    /// When it fails, what the platform may hold of it is removed. When the run is stopped meanwhile, it waits for the
    /// deployment, for 30 seconds at most, and removes it. Dropped, it may leave a partial deployment behind, which
    /// [`remove_all`](Self::remove_all) looks for.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for another function under a name that this run uses already; `Cancelled` when the run stops;
    /// else as [`Platform::deploy`](falco_core::Platform::deploy).
    pub async fn deploy(&self, function: &Deployable) -> Result<Arc<Deployment>> {
        let entry = self.entry(function)?;
        let mut slot = entry.deployment.lock().await;
        if let Some(deployment) = &*slot {
            return Ok(deployment.clone());
        }
        if let Some(reason) = self.hub.reason() {
            return Err(reason.clone());
        }
        let named =
            function.clone().with_name(entry.name.as_str()).with_ownership(self.ownership.clone());
        named.validate()?;
        entry.in_doubt.store(true, Relaxed);
        let result = self.deploy_or_stop(&named).await;
        if let Some(Ok(deployment)) = result {
            let deployment = Arc::new(deployment);
            entry.in_doubt.store(false, Relaxed);
            let _ = self.hub.event(&Event::Deployed { deployment: &deployment });
            *slot = Some(deployment.clone());
            drop(slot);
            return match self.hub.reason() {
                None => Ok(deployment),
                Some(reason) if self.must_keep() || self.reuse => Err(reason.clone()),
                Some(reason) => {
                    // What cannot be removed stays known, and `remove_all` tries again.
                    let _ = self.unless_left(self.remove(&deployment)).await;
                    Err(reason.clone())
                }
            };
        }
        let may_come_late = match &result {
            Some(Err(error)) => error.may_have_run(),
            _ => true,
        };
        // One that is shared may be in use by another run.
        let swept = match self.must_keep() || self.reuse {
            true => Ok(()),
            false => self.sweep(&entry, may_come_late).await,
        };
        // The platform has refused it: that it refuses the look as well is not a sign of anything left behind.
        let is_refused = matches!(&result, Some(Err(error)) if is_refusal(error));
        entry.in_doubt.store(swept.is_err() && !is_refused, Relaxed);
        Err(match (result, self.hub.reason()) {
            (_, Some(reason)) => reason.clone(),
            (Some(Err(error)), None) => error,
            _ => Error::new(ErrorKind::Cancelled, "the run was stopped"),
        })
    }

    /// Deploys a function. Once the run is stopped, it waits for what is in flight, but not for ever; `None` for a
    /// deployment that was given up.
    async fn deploy_or_stop(&self, named: &Deployable) -> Option<Result<Deployment>> {
        let deploying = self.outlast(|| self.platform().deploy(named));
        let mut deploying = std::pin::pin!(AssertUnwindSafe(deploying).catch_unwind());
        let what = || format!("deploying {:?}", named.name);
        let caught = |result: std::thread::Result<Result<Deployment>>| {
            result.unwrap_or_else(|panic| Err(panicked(&what(), &*panic)))
        };
        tokio::select! {
            biased;
            result = &mut deploying => return Some(caught(result)),
            () = self.hub.stop_token().cancelled() => {}
        }
        tokio::select! {
            biased;
            () = self.hub.aborted() => None,
            result = tokio::time::timeout(DEPLOY_PATIENCE, deploying) => result.ok().map(caught),
        }
    }

    /// Deploys several functions, a few at a time.
    pub(super) async fn deploy_all<'a>(
        &self,
        functions: impl IntoIterator<Item = &'a Deployable>,
    ) -> Result<()> {
        let functions: Vec<&Deployable> = functions.into_iter().collect();
        for function in &functions {
            self.entry(function)?;
        }
        // What has begun is waited for, since a deployment that is dropped half-way may leave something behind; what
        // has not begun when one fails does not begin.
        let failed = AtomicBool::new(false);
        let failed = &failed;
        let deploy = |function| async move {
            if failed.load(Relaxed) {
                return Ok(());
            }
            let result = self.deploy(function).await;
            failed.fetch_or(result.is_err(), Relaxed);
            result.map(drop)
        };
        let deploying: Vec<_> = functions.into_iter().map(deploy).collect();
        let results: Vec<Result<()>> =
            stream::iter(deploying).buffer_unordered(MANAGEMENT_CALLS).collect().await;
        results.into_iter().collect()
    }

    /// The entry of a function, with the name of its deployment.
    fn entry(&self, function: &Deployable) -> Result<Arc<Function>> {
        self.functions.entry(function, || match self.reuse {
            true => Ok(deployment_name(&function.name, &reuse::content(function)?)),
            false => Ok(deployment_name(&function.name, self.run().as_str())),
        })
    }
}

/// Whether the platform has refused a deployment, rather than failed at it.
fn is_refusal(error: &Error) -> bool {
    use ErrorKind::{Forbidden, InvalidInput, PayloadTooLarge, Unauthorized, Unsupported};
    let refusals = [Forbidden, InvalidInput, PayloadTooLarge, Unauthorized, Unsupported];
    refusals.contains(&error.kind()) && !error.may_have_run()
}
