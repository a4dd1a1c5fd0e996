//! One run's dealings with a platform: the steps beneath [`DriverExt`](super::DriverExt).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use falco_core::{
    AsyncPlatform, Batch, Deployment, Error, ErrorKind, Event, ExecutionPlan, ExecutionStrategy,
    Input, Monitor, Ownership, Result, RunId, Target,
};
use falco_layers::Budget;
use futures_core::Stream;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::batches;
use super::control::{Inputs, StageControl};
use super::default_layers::with_default_layers;
use super::functions::{Functions, check_run_id};
use super::given::Given;
use super::guard::guard;
use super::hub::{Hub, StageMonitor};
use super::invocations::Invocations;
use super::logs::FailedLogs;
use super::options::{KeepResults, RunOptions};
use super::outages::{self, Outages};
use super::owner;
use super::recall::Recall;
use super::reuse;
use super::stage_run::StageRun;
use super::stage_spec::StageSpec;
use crate::report::{PlanPrice, RunReport, StageReport};

/// How many functions are deployed or removed at the same time: management calls have low limits everywhere.
pub(crate) const MANAGEMENT_CALLS: usize = 4;
/// Longer than any run, and short enough for timers.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

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
/// use falco_executors::session::{Session, StageSpec};
/// use falco_executors::RunOptions;
/// use futures_util::StreamExt;
///
/// # async fn f(options: RunOptions, function: Deployable, inputs: Vec<Input>) -> Result<()> {
/// let strategy = options.strategy().clone();
/// let session = Session::start(options)?;
/// let deployment = session.deploy(&function).await?;
/// let inputs = futures_util::stream::iter(inputs.into_iter().map(Ok));
/// let mut running = session.execute(&*strategy, StageSpec::new("greet"), &deployment, inputs);
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
    pub(super) keep: KeepResults,
    pub(super) keep_inputs: bool,
    batch: Option<Batch>,
    pub(super) failed_logs: Arc<FailedLogs>,
    pub(super) keep_deployments: bool,
    /// Whether deployments are named after their content, and shared with other runs.
    pub(super) reuse: bool,
    /// The deployments that other processes have made for stages of the plan.
    pub(super) given: Given,
    pub(super) ownership: Ownership,
    pub(super) hub: Arc<Hub>,
    started: Instant,
    /// Why the plan did not succeed.
    pub(super) error: OnceLock<Error>,
    pub(super) functions: Functions,
    pub(super) outages: Arc<Outages>,
    outage_patience: Option<Duration>,
    price: Option<PlanPrice>,
    budget: Option<Budget>,
    _watcher: Option<AbortOnDropHandle<()>>,
}

impl Session {
    /// Begins a run, with the default layers if the [platform wants them](RunOptions#layers). It has to be called within
    /// a runtime when the options hold a stop.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a run id that no deployment can be named after, or an expiry that no clock reaches; and as
    /// [`Stack::wrap`](falco_layers::Stack::wrap).
    pub fn start(options: RunOptions) -> Result<Self> {
        Self::start_with(options, None, None)
    }

    /// Begins a run of a plan. Its journal compares the plan, and the account if that is known.
    pub(super) fn start_with(
        options: RunOptions,
        plan: Option<&ExecutionPlan>,
        account: Option<&str>,
    ) -> Result<Self> {
        let options = with_default_layers(options)?;
        reuse::check(&options)?;
        let now = SystemTime::now();
        let run = run_id(&options, now)?;
        let expires_at = now.checked_add(options.expires_after).ok_or_else(|| {
            let after = options.expires_after;
            Error::invalid_input(format!("no deployment can expire {after:?} from now"))
                .with_hint("shorten RunOptions::with_expiry; a day is the default")
        })?;
        let announces = options.stop.as_ref().is_some_and(|stop| stop.announce);
        let mut hub = Hub::new(options.monitors, options.results, announces);
        let mut platform = options.platform;
        if let Some(journal) = &options.journal {
            platform = journal.clone().layer(platform);
            if let Some(plan) = plan {
                journal.begin(plan, &platform, account)?;
            }
            hub = hub.with_journal(journal.clone(), options.on_stop);
        }
        let prices = options.budget.as_ref().map(|budget| budget.prices(&*platform)).transpose()?;
        let price = plan.zip(prices.as_ref()).map(|(plan, prices)| PlanPrice::of(plan, prices));
        let hub = Arc::new(hub);
        let watcher = options.stop.map(|stop| hub.watch(stop));
        let outages = Arc::new(Outages::new(hub.clone()));
        let monitor: Arc<dyn Monitor> = outages.clone();
        platform.watch_outages(Arc::downgrade(&monitor));
        let keep_deployments = options.keep_deployments || options.reuse;
        let stays = keep_deployments || options.journal.is_some();
        let owner = options.owner.unwrap_or_else(|| match stays {
            // The deployments stay on purpose when the process ends, or another process goes on with them.
            true => owner::user_and_host(),
            false => owner::with_process(owner::user_and_host()),
        });
        let ownership = match options.reuse {
            true => reuse::ownership(owner, expires_at, options.expires_after),
            false => Ownership::new(run.clone(), owner, expires_at),
        };
        let failed_logs = FailedLogs::new(options.failed_logs, platform.clone(), hub.clone());
        let _ = hub.event(&Event::RunStarted { run: &run, plan });
        Ok(Self {
            run,
            platform,
            strategy: options.strategy,
            keep: options.keep,
            keep_inputs: options.keep_inputs,
            batch: options.batch,
            failed_logs,
            keep_deployments,
            reuse: options.reuse,
            given: options.given,
            ownership,
            hub,
            started: Instant::now(),
            error: OnceLock::new(),
            functions: Functions::default(),
            outages,
            outage_patience: options.outage_patience.map(|patience| patience.min(FOREVER)),
            price,
            budget: options.budget,
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

    /// The reason why the run stops, if it does.
    pub fn stop_reason(&self) -> Option<&Error> {
        self.hub.reason()
    }

    /// Whether the run was suspended: what is submitted and deployed stays, and another process goes on with it by means
    /// of its [journal](RunOptions::with_journal). Remove nothing then.
    pub fn is_suspended(&self) -> bool {
        self.hub.is_suspended()
    }

    /// Returns once the journal is on disk; at once without one.
    ///
    /// # Errors
    ///
    /// As [`Journal::flush`](falco_core::Journal::flush).
    pub async fn flush(&self) -> Result<()> {
        match self.hub.journal() {
            Some(journal) => journal.flush().await,
            None => Ok(()),
        }
    }

    /// Whether a deployment may hold activations of an earlier process, or is to be kept for a later one.
    pub(super) fn must_keep(&self) -> bool {
        self.is_suspended() || self.hub.journal().is_some_and(|journal| journal.is_resumed())
    }

    /// Drives one stage over `inputs`.
    ///
    /// It has to be called within a runtime.
    pub fn execute(
        &self,
        strategy: &dyn ExecutionStrategy,
        stage: impl Into<StageSpec>,
        deployment: &Arc<Deployment>,
        inputs: impl Stream<Item = Result<Input>> + Send + 'static,
    ) -> StageRun {
        let stage = stage.into();
        let control = Arc::new(StageControl::new(stage.name.clone(), self.hub.stop_token()));
        self.execute_under(control, strategy, &stage, deployment, Box::pin(inputs))
    }

    pub(super) fn execute_under(
        &self,
        control: Arc<StageControl>,
        strategy: &dyn ExecutionStrategy,
        stage: &StageSpec,
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
        let mut invocations =
            Invocations::new(inputs, self.run.clone(), stage, monitor.clone(), control.clone());
        let mut recalled = None;
        if let Some(journal) = self.hub.journal() {
            let (recall, completions) = Recall::new(journal.clone());
            invocations = invocations.with_recall(recall);
            recalled = Some(completions);
        }
        let stop = control.stop.clone();
        let policy = batches::policy(stage.policy, self.batch);
        let target = Target::new(self.platform().clone(), deployment.clone())
            .with_deadline(stage.deadline)
            .with_policy(policy)
            .with_stop(move || stop.clone().cancelled_owned());
        let what = || format!("the strategy of stage {:?}", stage.name);
        let capabilities = self.platform().capabilities();
        let checked = batches::check(&stage.name, &policy, &deployment.runtime, &capabilities);
        let completions =
            checked.and_then(|()| guard(what, || strategy.execute(target, Box::pin(invocations))));
        let completions = completions.map_err(|panic| control.fail(panic)).ok();
        let logs = Some((self.failed_logs.clone(), deployment.clone()));
        let hub = self.hub.clone();
        StageRun { completions, recalled, control, hub, logs, delivered: 0 }
    }

    /// Waits for the logs of failed activations that [the options ask for](RunOptions::with_failed_logs), and adds them to the
    /// failures of these stages. [`remove`](Self::remove) waits for them, too: a provider may delete them with the function.
    pub async fn add_failed_logs(&self, stages: &mut [StageReport]) {
        self.failed_logs.fetched(None).await;
        stages.iter_mut().for_each(|stage| self.failed_logs.add_to(stage));
    }

    /// Ends the run and leaves what is deployed; it still expires.
    pub fn finish(&self) {
        let error = self.error.get().or(self.hub.reason());
        let _ = self.hub.event(&Event::RunFinished { run: &self.run, error });
    }

    /// The deployments of this run that are not removed.
    pub fn deployments(&self) -> Vec<Arc<Deployment>> {
        self.functions.deployments()
    }

    /// The report of a run made of stages that were executed one by one, with the logs of failed activations that have been
    /// fetched by now: all of them after [`remove_all`](Self::remove_all).
    pub fn report(&self, mut stages: Vec<StageReport>) -> RunReport {
        stages.iter_mut().for_each(|stage| self.failed_logs.add_to(stage));
        let error = stages.iter().find_map(|stage| stage.error.clone());
        let outage = self.outages.lost();
        self.report_of(error, self.started.elapsed(), outage, stages)
    }

    /// The report of a run, with what it has cost.
    pub(super) fn report_of(
        &self,
        error: Option<Error>,
        wall: Duration,
        outage: Duration,
        stages: Vec<StageReport>,
    ) -> RunReport {
        let mut report = RunReport::new(self.run.clone(), error, wall, outage, stages);
        report.price = self.price.clone();
        report.budget = self.budget.as_ref().map(Budget::report);
        report
    }

    /// Repeats a call while nobody answers for the platform, as long as the options say.
    pub(super) async fn outlast<T, F>(&self, call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.outages.outlast(self.patience(), call).await
    }

    /// How long nobody may answer.
    pub(super) fn patience(&self) -> Duration {
        self.outage_patience.unwrap_or(outages::PATIENCE)
    }

    /// Drives `call` until the run is left at once, or an outage has lasted for half a minute after a stop.
    pub(super) async fn unless_left<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            outcome = call => outcome,
            () = self.hub.aborted() => {
                let message = "the run was left at once, and it is not known whether it was removed";
                Err(Error::new(ErrorKind::Cancelled, message))
            }
            error = self.outages.outlast_stop() => Err(error),
        }
    }

    /// Stops the run when an outage has lasted for longer than the options allow. It resolves when it does.
    pub(super) async fn limit_outages(&self) {
        let Some(patience) = self.outage_patience.filter(|patience| !patience.is_zero()) else {
            return std::future::pending().await;
        };
        let error = self.outages.last_for(patience).await;
        self.hub.suspend();
        self.hub.stop(error);
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The id of the run: that of its journal, else the one that the options name, else a new one.
fn run_id(options: &RunOptions, now: SystemTime) -> Result<RunId> {
    let recorded = options.journal.as_ref().map(|journal| journal.run());
    let run = match (recorded, &options.run) {
        (Some(recorded), Some(run)) if recorded != run => {
            let message =
                format!("the run is named {run}, and its journal is that of run {recorded}");
            return Err(Error::invalid_input(message)
                .with_hint("leave out RunOptions::with_run_id: the journal names the run"));
        }
        (Some(run), _) | (None, Some(run)) => run.clone(),
        (None, None) => RunId::starting_at(now, fastrand::u32(..)),
    };
    check_run_id(&run)?;
    Ok(run)
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("run", &self.run)
            .field("platform", &self.platform)
            .finish_non_exhaustive()
    }
}
