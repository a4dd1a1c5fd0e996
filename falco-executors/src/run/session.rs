//! One run's dealings with a platform: the steps beneath [`DriverExt`](super::DriverExt).

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use falco_core::{
    AsyncPlatform, Deployable, Deployment, Error, ErrorKind, Event, ExecutionPlan,
    ExecutionStrategy, Input, Monitor, Ownership, Result, RunId, Stage, Target,
};
use futures_core::Stream;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::admission::Admission;
use super::control::{Inputs, StageControl};
use super::functions::{Functions, check_run_id, deployment_name};
use super::guard::{guard, panicked};
use super::hub::{Hub, StageMonitor};
use super::options::{Keep, RunOptions, owner_from_environment};
use super::outcome::Leftover;
use super::stage_run::StageRun;
use crate::report::{RunReport, StageReport};

/// How many functions are deployed or removed at the same time: management calls have low limits everywhere.
const MANAGEMENT_CALLS: usize = 4;
/// How long a look for what a stopped deployment has left behind may take.
const SWEEP_PATIENCE: Duration = Duration::from_secs(10);

/// One run's dealings with a platform: deploys, executes and removes one stage at a time.
///
/// [`DriverExt`](super::DriverExt) is made of it. A driver with its own idea of coordination writes its own loops with
/// it; what it deploys is named and tagged by the run, and its stages are monitored and stopped like those of a plan.
///
/// Dropped, it cannot remove what it deployed: call [`remove_all`](Self::remove_all).
///
/// # Examples
///
/// ```
/// # use falco_core::*;
/// # use std::sync::{Arc, OnceLock};
/// use falco_executors::{RunOptions, Session};
/// use futures_util::StreamExt;
///
/// # async fn f(options: RunOptions, stage: Stage, inputs: Vec<Input>) -> Result<()> {
/// let strategy = options.strategy().clone();
/// let session = Session::start(options)?;
/// let deployment = session.deploy(&stage.function).await?;
/// let inputs = futures_util::stream::iter(inputs.into_iter().map(Ok));
/// let mut running = session.execute(&*strategy, &stage, &deployment, inputs);
/// while let Some(completion) = running.next().await {
///     println!("{}: {}", completion.invocation, completion.outcome.as_str());
/// }
/// let report = running.finish().await;
/// session.remove(&deployment).await?;
/// # Ok(()) }
/// ```
pub struct Session {
    run: RunId,
    platform: Arc<dyn AsyncPlatform>,
    pub(super) strategy: Arc<dyn ExecutionStrategy>,
    pub(super) keep: Keep,
    pub(super) keep_deployments: bool,
    ownership: Ownership,
    pub(super) hub: Arc<Hub>,
    started: Instant,
    /// Why the plan did not succeed.
    pub(super) error: OnceLock<Error>,
    pub(super) functions: Functions,
    _watcher: Option<AbortOnDropHandle<()>>,
}

impl Session {
    /// Begins a run. It has to be called within a runtime when the options hold a stop.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a run id that no deployment can be named after, or an expiry that no clock reaches.
    pub fn start(options: RunOptions) -> Result<Self> {
        Self::start_with(options, None)
    }

    pub(super) fn start_with(options: RunOptions, plan: Option<&ExecutionPlan>) -> Result<Self> {
        let now = SystemTime::now();
        let run = options.run.unwrap_or_else(|| RunId::starting_at(now, fastrand::u32(..)));
        check_run_id(&run)?;
        let expires_at = now.checked_add(options.expires_after).ok_or_else(|| {
            let after = options.expires_after;
            Error::invalid_input(format!("no deployment can expire {after:?} from now"))
                .with_hint("shorten RunOptions::with_expiry; a day is the default")
        })?;
        let announces = options.stop.as_ref().is_some_and(|stop| stop.announce);
        let hub = Arc::new(Hub::new(options.monitors, announces));
        let watcher = options.stop.map(|stop| hub.watch(stop));
        let ownership = Ownership {
            run: run.clone(),
            owner: options.owner.unwrap_or_else(owner_from_environment),
            expires_at,
        };
        let _ = hub.event(&Event::RunStarted { run: &run, plan });
        Ok(Self {
            run,
            platform: options.platform,
            strategy: options.strategy,
            keep: options.keep,
            keep_deployments: options.keep_deployments,
            ownership,
            hub,
            started: Instant::now(),
            error: OnceLock::new(),
            functions: Functions::default(),
            _watcher: watcher,
        })
    }

    /// The run's id.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The platform, with its layers.
    pub fn platform(&self) -> &Arc<dyn AsyncPlatform> {
        &self.platform
    }

    /// Why the run stops, when it has been told to.
    pub fn stop_reason(&self) -> Option<&Error> {
        self.hub.reason()
    }

    /// Deploys a function under a name of this run's own. The same function is deployed once, however often and
    /// concurrently it is asked for.
    ///
    /// When it fails or the run is stopped meanwhile, what the platform may hold of it is removed. Dropped, it may
    /// leave a partial deployment behind, which [`remove_all`](Self::remove_all) looks for.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for another function under a name that this run uses already; `Cancelled` when the run stops;
    /// else as [`Platform::deploy`](falco_core::Platform::deploy).
    pub async fn deploy(&self, function: &Deployable) -> Result<Arc<Deployment>> {
        let entry = self.functions.entry(function)?;
        let mut slot = entry.deployment.lock().await;
        if let Some(deployment) = &*slot {
            return Ok(deployment.clone());
        }
        if let Some(reason) = self.hub.reason() {
            return Err(reason.clone());
        }
        let named = function
            .clone()
            .with_name(deployment_name(&function.name, &self.run))
            .with_ownership(self.ownership.clone());
        named.validate()?;
        entry.in_doubt.store(true, Relaxed);
        let what = || format!("deploying {:?}", named.name);
        let deploying = AssertUnwindSafe(self.platform().deploy(&named)).catch_unwind();
        let result = tokio::select! {
            biased;
            () = self.hub.stop_token().cancelled() => Err(self.stopped()),
            result = deploying => {
                result.unwrap_or_else(|panic| Err(panicked(&what(), &*panic)))
            }
        };
        match result {
            Ok(deployment) => {
                let deployment = Arc::new(deployment);
                entry.in_doubt.store(false, Relaxed);
                let _ = self.hub.event(&Event::Deployed { deployment: &deployment });
                *slot = Some(deployment.clone());
                Ok(deployment)
            }
            Err(error) => {
                self.sweep(&named.name).await;
                entry.in_doubt.store(false, Relaxed);
                Err(error)
            }
        }
    }

    /// Deploys several functions, a few at a time.
    pub(super) async fn deploy_all<'a>(
        &self,
        functions: impl IntoIterator<Item = &'a Deployable>,
    ) -> Result<()> {
        let functions: Vec<&Deployable> = functions.into_iter().collect();
        for function in &functions {
            self.functions.entry(function)?;
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

    /// Drives one stage over `inputs`, whatever its [`Source`](falco_core::Source) says.
    ///
    /// It has to be called within a runtime.
    pub fn execute(
        &self,
        strategy: &dyn ExecutionStrategy,
        stage: &Stage,
        deployment: &Arc<Deployment>,
        inputs: impl Stream<Item = Result<Input>> + Send + 'static,
    ) -> StageRun {
        let control = Arc::new(StageControl::new(stage.name.clone(), self.hub.stop_token()));
        self.execute_under(control, strategy, stage, deployment, Box::pin(inputs))
    }

    pub(super) fn execute_under(
        &self,
        control: Arc<StageControl>,
        strategy: &dyn ExecutionStrategy,
        stage: &Stage,
        deployment: &Arc<Deployment>,
        inputs: Inputs,
    ) -> StageRun {
        let monitor =
            Arc::new(StageMonitor { hub: self.hub.clone(), recorder: control.recorder.clone() });
        control.recorder.started();
        let _ = monitor.event(&Event::StageStarted { stage: &stage.name, deployment });
        if let (least, Some(most)) = inputs.size_hint()
            && least == most
        {
            let sized = Event::StageSized { stage: &stage.name, invocations: least as u64 };
            let _ = monitor.event(&sized);
        }
        let invocations =
            Admission::new(inputs, self.run.clone(), stage, monitor.clone(), control.clone());
        let stop = control.stop.clone();
        let target = Target::new(self.platform().clone(), deployment.clone())
            .with_deadline(stage.deadline)
            .with_stop(move || stop.clone().cancelled_owned());
        let what = || format!("the strategy of stage {:?}", stage.name);
        let completions = guard(what, || strategy.execute(target, Box::pin(invocations)));
        let completions = completions.map_err(|panic| control.fail(panic)).ok();
        StageRun { completions, control, hub: self.hub.clone(), delivered: 0 }
    }

    /// Removes one deployment of this run. One that is gone already counts as removed.
    ///
    /// # Errors
    ///
    /// As [`Platform::remove`](falco_core::Platform::remove); it may be called again.
    pub async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let removing = AssertUnwindSafe(self.platform().remove(deployment)).catch_unwind().await;
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
    /// Answers what could not be removed; it may be called again. A second Ctrl-C ends it early.
    pub async fn remove_all(&self) -> Vec<Leftover> {
        let remove = |deployment: Arc<Deployment>| async move {
            let error = self.remove(&deployment).await.err()?;
            Some(Leftover { deployment: (*deployment).clone(), error })
        };
        let removing: Vec<_> = self.deployments().into_iter().map(remove).collect();
        let removing = async {
            for name in self.functions.in_doubt() {
                self.sweep(&deployment_name(&name, &self.run)).await;
            }
            stream::iter(removing)
                .buffer_unordered(MANAGEMENT_CALLS)
                .filter_map(std::future::ready)
                .collect::<Vec<_>>()
                .await
        };
        let mut leftovers = tokio::select! {
            biased;
            leftovers = removing => leftovers,
            () = self.hub.left() => self.abandoned(),
        };
        leftovers.sort_by(|left, right| left.deployment.name.cmp(&right.deployment.name));
        for leftover in &leftovers {
            self.hub.announce(&format!("left behind: {leftover}"));
        }
        self.finish();
        leftovers
    }

    /// Ends the run and leaves what is deployed; it still expires.
    pub fn finish(&self) {
        let error = self.error.get().or(self.hub.reason());
        let _ = self.hub.event(&Event::RunFinished { run: &self.run, error });
    }

    /// What this run has deployed and not removed.
    pub fn deployments(&self) -> Vec<Arc<Deployment>> {
        self.functions.deployments()
    }

    /// The report of a run made of stages that were executed one by one.
    pub fn report(&self, stages: Vec<StageReport>) -> RunReport {
        let error = stages.iter().find_map(|stage| stage.error.clone());
        RunReport::new(self.run.clone(), error, self.started.elapsed(), stages)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn abandoned(&self) -> Vec<Leftover> {
        let error = Error::new(ErrorKind::Cancelled, "the run was left at once");
        let left = |deployment: Arc<Deployment>| {
            let _ = self.hub.event(&Event::Leftover { deployment: &deployment, error: &error });
            Leftover { deployment: (*deployment).clone(), error: error.clone() }
        };
        self.deployments().into_iter().map(left).collect()
    }

    /// Removes what a deployment that failed or was stopped may have left.
    async fn sweep(&self, name: &str) {
        let sweeping = async {
            match self.platform().fetch_deployment(name).await {
                Ok(deployment) => self.remove(&deployment).await,
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            }
        };
        let sweeping =
            tokio::time::timeout(SWEEP_PATIENCE, AssertUnwindSafe(sweeping).catch_unwind());
        let result = tokio::select! {
            biased;
            () = self.hub.left() => return,
            result = sweeping => result,
        };
        if !matches!(result, Ok(Ok(Ok(())))) {
            tracing::warn!(deployment = name, run = %self.run, "a partial deployment may be left behind");
        }
    }

    fn stopped(&self) -> Error {
        let default = || Error::new(ErrorKind::Cancelled, "the run was stopped");
        self.hub.reason().cloned().unwrap_or_else(default)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("run", &self.run)
            .field("platform", &self.platform)
            .finish_non_exhaustive()
    }
}
