//! How a run is carried out.

use std::sync::Arc;
use std::time::Duration;

use falco_core::{
    AsyncPlatform, Batch, Deployment, Error, ExecutionStrategy, Journal, Monitor, Result, RunId,
    StageName,
};
use falco_layers::Budget;

use super::given::Given;
use super::log_policy::LogPolicy;
use super::stop::StopSignal;
use crate::results::ResultsSink;
use crate::strategy::ParallelExecutor;

/// How long deployments of a run live when nothing removes them: `cleanup` may sweep them afterwards.
const DEFAULT_EXPIRY: Duration = Duration::from_secs(24 * 3_600);

/// The settings of a run: the platform, the strategy, monitors, and what stays afterwards.
///
/// A platform by itself is enough: whatever takes `impl Into<RunOptions>` takes a platform, too, and runs on it by
/// [`ParallelExecutor::new`], whose window follows the platform's limits.
///
/// # Layers
///
/// A run puts the default [`Stack`](falco_layers::Stack) around a platform that
/// [wants layers](falco_core::Capabilities::wants_layers): one with limits per account behind a network. It paces calls
/// from the limits that the platform states, repeats those that are safe to repeat, and ends those that hang. A platform
/// on this machine and one that is wrapped already are taken as they are. [`with_layers`](Self::with_layers) chooses
/// others, and [`without_layers`](Self::without_layers) none.
///
/// # Examples
///
/// ```no_run
/// # use falco_core::{AsyncPlatform, Monitor, Driver, Result};
/// # use std::sync::Arc;
/// use falco_executors::{AsyncExecutor, DriverExt, RunOptions, stop_signals};
///
/// # async fn f(driver: &dyn Driver, platform: Arc<dyn AsyncPlatform>, budget: Arc<dyn Monitor>) -> Result<()> {
/// let options = RunOptions::from(platform)
///     .with_strategy(AsyncExecutor::new())
///     .with_monitor(budget)
///     .with_stop(stop_signals());
/// let outcome = driver.run(options).await?;
/// eprintln!("{}", outcome.report);
/// # Ok(()) }
/// ```
///
/// Another rate than the default one:
///
/// ```
/// # use falco_core::{AsyncPlatform, Driver, Result};
/// use falco_executors::{DriverExt, RunOptions};
/// use falco_layers::Stack;
///
/// # async fn f(driver: &dyn Driver, platform: impl AsyncPlatform) -> Result<()> {
/// let slowly = |platform| Stack::new().with_max_rate(10.0).wrap(platform);
/// let outcome = driver.run(RunOptions::from(platform).with_layers(slowly)?).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RunOptions {
    pub(super) platform: Arc<dyn AsyncPlatform>,
    pub(super) strategy: Arc<dyn ExecutionStrategy>,
    may_add_layers: bool,
    has_layers: bool,
    pub(super) budget: Option<Budget>,
    pub(super) monitors: Vec<Arc<dyn Monitor>>,
    pub(super) journal: Option<Arc<dyn Journal>>,
    pub(super) stop: Option<StopSignal>,
    pub(super) on_stop: OnStop,
    pub(super) run: Option<RunId>,
    pub(super) owner: Option<String>,
    pub(super) expires_after: Duration,
    pub(super) outage_patience: Option<Duration>,
    pub(super) keep_deployments: bool,
    pub(super) reuse: bool,
    pub(super) given: Given,
    pub(super) keep: KeepResults,
    pub(super) keep_inputs: bool,
    pub(super) batch: Option<Batch>,
    pub(super) results: Option<ResultsSink>,
    pub(super) failed_logs: LogPolicy,
}

/// The end of a run with a journal that is stopped from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnStop {
    /// Activations and deployments stay, so that another process goes on with the run.
    #[default]
    Suspend,
    /// Calls in flight are given up, and the deployments are removed, as without a journal.
    Remove,
}

/// The stages whose results a run keeps in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepResults {
    /// The last stages: those that no other stage follows.
    #[default]
    Last,
    /// These stages.
    Stages(Vec<StageName>),
    /// No stage. The memory that a run needs then does not grow with its invocations;
    /// [`Driver::on_completion`](falco_core::Driver::on_completion) sees each result.
    Nothing,
}

impl RunOptions {
    /// Runs on a shared `platform`, with its layers, each stage by a shared `strategy`.
    pub fn new(platform: Arc<dyn AsyncPlatform>, strategy: Arc<dyn ExecutionStrategy>) -> Self {
        Self {
            platform,
            strategy,
            may_add_layers: true,
            has_layers: false,
            budget: None,
            monitors: Vec::new(),
            journal: None,
            stop: None,
            on_stop: OnStop::default(),
            run: None,
            owner: None,
            expires_after: DEFAULT_EXPIRY,
            outage_patience: None,
            keep_deployments: false,
            reuse: false,
            given: Given::default(),
            keep: KeepResults::default(),
            keep_inputs: false,
            batch: None,
            results: None,
            failed_logs: LogPolicy::none(),
        }
    }

    /// Drives the invocations of each stage by `strategy`.
    #[must_use]
    pub fn with_strategy(mut self, strategy: impl ExecutionStrategy + 'static) -> Self {
        self.strategy = Arc::new(strategy);
        self
    }

    /// Puts layers around the platform: `wrap` returns it wrapped, as [`Stack::wrap`](falco_layers::Stack::wrap) does.
    ///
    /// # Errors
    ///
    /// Whatever `wrap` returns.
    pub fn with_layers<P: AsyncPlatform>(
        mut self,
        wrap: impl FnOnce(Arc<dyn AsyncPlatform>) -> Result<P>,
    ) -> Result<Self> {
        self.platform = Arc::new(wrap(self.platform)?);
        self.may_add_layers = false;
        self.has_layers = true;
        Ok(self)
    }

    /// Runs on the platform as it is, without [layers](Self#layers).
    #[must_use]
    pub fn without_layers(mut self) -> Self {
        self.may_add_layers = false;
        self
    }

    /// Whether the platform wants layers, and none were put around it or declined.
    pub fn wants_layers(&self) -> bool {
        self.may_add_layers && self.platform.capabilities().wants_layers
    }

    /// Adds a monitor. It may be called more than once; all of them see every event.
    #[must_use]
    pub fn with_monitor(mut self, monitor: Arc<dyn Monitor>) -> Self {
        self.monitors.push(monitor);
        self
    }

    /// Stops the run before it costs more than `budget`, and puts into the report what it has cost; with a journal it is
    /// suspended then, and can be resumed with a higher budget.
    ///
    /// Layers of your own have to hold it: give it to [`Stack::with_budget`](falco_layers::Stack::with_budget), too.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.monitors.push(Arc::new(budget.clone()));
        self.budget = Some(budget);
        self
    }

    /// Records the run in `journal`, or goes on with the run that it has recorded.
    ///
    /// The run takes its id from the journal. Completions that are recorded come back without being sent, past the
    /// strategy. A [stop](Self::with_stop) suspends the run, and so does an outage that lasts too long, and a journal that
    /// cannot record any more: see [`RunOutcome::is_suspended`](super::RunOutcome::is_suspended).
    #[must_use]
    pub fn with_journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Says what becomes of a run with a journal when it is stopped from outside.
    #[must_use]
    pub fn with_on_stop(mut self, on_stop: OnStop) -> Self {
        self.on_stop = on_stop;
        self
    }

    /// Ends the run before its time: a future, or [`stop_signals`](super::stop_signals).
    #[must_use]
    pub fn with_stop(mut self, stop: impl Into<StopSignal>) -> Self {
        self.stop = Some(stop.into());
        self
    }

    /// Names the run. Without it an id of time and chance is made, see [`RunId::starting_at`].
    #[must_use]
    pub fn with_run_id(mut self, run: impl Into<RunId>) -> Self {
        self.run = Some(run.into());
        self
    }

    /// Sets the owner that the deployments carry, such as `ada@workstation`. Without it, it is the user and the host
    /// as the environment or the system says, and the process, so that [`cleanup`](crate::cleanup()) on this machine
    /// knows whether the run has ended.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Says for how long deployments live when nothing removes them, from the start of the run; a day without it.
    #[must_use]
    pub fn with_expiry(mut self, after: Duration) -> Self {
        self.expires_after = after;
        self
    }

    /// Limits how long an outage of the platform may last: then the run ends with an error that says so.
    ///
    /// Without it, calls wait as long as the platform's layers do, and on a platform without layers deploying and removing
    /// wait for five minutes. Zero waits for nothing. After a stop, such as Ctrl-C, removing waits for 30 seconds at most.
    #[must_use]
    pub fn with_outage_patience(mut self, patience: Duration) -> Self {
        self.outage_patience = Some(patience);
        self
    }

    /// Says whether the deployments stay after the run. They still expire.
    #[must_use]
    pub fn with_kept_deployments(mut self, keep: bool) -> Self {
        self.keep_deployments = keep;
        self
    }

    /// Says whether deployments are shared with other runs: they are named after their content instead of the run, so that a
    /// function whose code and settings are the same is deployed already and not uploaded again.
    ///
    /// The deployments stay after the run, whatever [`with_kept_deployments`](Self::with_kept_deployments) says. They belong
    /// to the run `reuse`, and each run that uses them sets their [expiry](Self::with_expiry) anew. The name of a function with
    /// environment variables has a keyed hash of their values in it, whose key is `FALCO_REUSE_KEY` or a file that only its
    /// owner can read: processes with different keys share nothing.
    #[must_use]
    pub fn with_reuse(mut self, reuse: bool) -> Self {
        self.reuse = reuse;
        self
    }

    /// Runs a stage of the plan on what another process has deployed, instead of deploying its function. The run never removes
    /// it. It may be called again, for other stages.
    ///
    /// A stage that is not in the plan, and a deployment on another platform or of another runtime than the stage's function
    /// needs, are refused before anything is sent.
    ///
    /// # Examples
    ///
    /// ```
    /// # use falco_core::{AsyncPlatform, Driver, Platform, Result};
    /// # use std::sync::Arc;
    /// use falco_executors::{DriverExt, RunOptions};
    ///
    /// # async fn f(driver: &dyn Driver, platform: Arc<dyn AsyncPlatform>) -> Result<()> {
    /// let deployment = platform.fetch_deployment("wordcount-map").await?;
    /// driver.run(RunOptions::from(platform).with_deployment("map", deployment)).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_deployment(mut self, stage: impl Into<StageName>, deployment: Deployment) -> Self {
        self.given.insert(stage.into(), deployment);
        self
    }

    /// Says whether the inputs of kept results are kept in memory, too: [`RunOutcome::partial`](super::RunOutcome::partial)
    /// returns them. Failures always have theirs.
    #[must_use]
    pub fn with_kept_inputs(mut self, keep: bool) -> Self {
        self.keep_inputs = keep;
        self
    }

    /// Sends several inputs in each call, in each stage that says nothing else: see [`Batch`].
    #[must_use]
    pub fn with_batch(mut self, batch: impl Into<Option<Batch>>) -> Self {
        self.batch = batch.into();
        self
    }

    /// Says of which stages the results are kept in memory.
    #[must_use]
    pub fn with_kept_results(mut self, keep: KeepResults) -> Self {
        self.keep = keep;
        self
    }

    /// Writes down each outcome as it is known, so that what has finished survives whatever ends the driver. A sink that
    /// cannot be written to any more ends the run.
    #[must_use]
    pub fn with_results(mut self, sink: ResultsSink) -> Self {
        self.results = Some(sink);
        self
    }

    /// Says which logs of failed activations are fetched, beside later stages and before their functions are removed. Without
    /// this, none are.
    #[must_use]
    pub fn with_failed_logs(mut self, policy: LogPolicy) -> Self {
        self.failed_logs = policy;
        self
    }

    /// Puts the budget around a platform that has no other layers.
    pub(super) fn with_budget_layer(mut self) -> Result<Self> {
        let Some(budget) = self.budget.as_ref().filter(|budget| !budget.is_layered()) else {
            return Ok(self);
        };
        if self.has_layers {
            return Err(Error::invalid_input("the layers of the platform do not hold the budget")
                .with_hint("give it to Stack::with_budget, too"));
        }
        // Within the budget, as in a stack: what waits for money is not taken for sent.
        let platform = match &self.journal {
            Some(journal) => journal.clone().layer(self.platform),
            None => self.platform,
        };
        self.platform = budget.wrap(platform)?;
        Ok(self)
    }

    /// The strategy.
    pub fn strategy(&self) -> &Arc<dyn ExecutionStrategy> {
        &self.strategy
    }

    /// The platform.
    pub fn platform(&self) -> &Arc<dyn AsyncPlatform> {
        &self.platform
    }
}

impl<P: AsyncPlatform> From<P> for RunOptions {
    /// Runs on `platform`, each stage by [`ParallelExecutor::new`].
    fn from(platform: P) -> Self {
        Self::new(Arc::new(platform), Arc::new(ParallelExecutor::new()))
    }
}
