//! From the command line to a run.

mod layers;
mod strategy;

use std::sync::Arc;

use falco_core::{
    AsyncPlatform, Capabilities, Completion, Deployable, Driver, ExecutionPlan, ExecutionStrategy,
    Platform, RuntimeName, Stage, Verdict,
};
use falco_executors::session::Session;
use falco_executors::{
    DriverExt, KeepResults, LogPolicy, Progress, ResultsSink, RunOptions, RunOutcome, stop_signals,
};
use falco_journal::RunJournal;
use falco_layers::{Budget, Escalation, Spread};

use crate::flags::{PlatformName, RunFlags, paid};
#[cfg(feature = "meter")]
use crate::observation::Observation;
use crate::output::say;
use crate::{log, signals};

/// Chunks are no longer than this, so that a small file still spreads over many workers.
const LARGEST_CHUNK: usize = 256 * 1024;

/// A platform with its layers and a strategy, as the command line names them.
#[derive(Debug)]
pub struct Launch<'a> {
    flags: &'a RunFlags,
    platform: Arc<dyn AsyncPlatform>,
    strategy: Arc<dyn ExecutionStrategy>,
    keep: KeepResults,
    results: Option<ResultsSink>,
    /// None when nothing is to be shown.
    progress: Option<Arc<Progress>>,
    journal: Option<Arc<RunJournal>>,
    budget: Option<Budget>,
    #[cfg(feature = "meter")]
    observation: Observation,
}

impl<'a> Launch<'a> {
    /// Begins the log, opens the files of results and of the trace, begins to show the run, and connects to the platform.
    ///
    /// # Errors
    ///
    /// When a setting is missing or wrong, results or a trace cannot be written, or the platform does not answer.
    pub async fn connect(flags: &'a RunFlags) -> anyhow::Result<Self> {
        Self::connect_with(flags, Ok).await
    }

    /// Connects to the platform, and puts a layer of the program's own next to it, inside of all others.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and what `layer` returns.
    pub async fn connect_with(
        flags: &'a RunFlags,
        layer: impl FnOnce(Arc<dyn AsyncPlatform>) -> falco_core::Result<Arc<dyn AsyncPlatform>>,
    ) -> anyhow::Result<Self> {
        let logs = log::start(flags.output.log.as_ref())?;
        let results = flags.output.open_results()?;
        let progress = match (flags.output.quiet, logs) {
            (true, _) => None,
            // Bars would overwrite the lines of the log.
            (false, true) => Some(Arc::new(Progress::lines(std::io::stderr()))),
            (false, false) => Some(Arc::new(Progress::stderr())),
        };
        let budget = flags.cost.budget(shower(progress.clone()))?;
        let (platform, journal, gates) = if flags.platform.is_several() {
            anyhow::ensure!(
                flags.function.packages.is_empty(),
                "--requirements and --package install for one platform: name one"
            );
            let parts = flags.platform.connect_all().await?;
            let journal = flags.journal.open()?;
            let stack = layers::of_parts(&flags.execution, journal.as_ref(), budget.as_ref())?;
            let spread = Spread::with_stack(flags.platform.spread.into(), parts, &stack)?;
            let gates = spread.gates().to_vec();
            (layer(Arc::new(spread))?, journal, gates)
        } else {
            let platform = layer(flags.platform.connect().await?)?;
            if let Some(budget) = &budget {
                budget.prices(&platform)?;
            }
            let journal = flags.journal.open()?;
            let (platform, gates) = match flags.execution.no_layers {
                true => (platform, Vec::new()),
                false => {
                    layers::around(&flags.execution, platform, journal.as_ref(), budget.as_ref())?
                }
            };
            (platform, journal, gates)
        };
        let platform = match &flags.execution.escalate {
            Some(sizes) => Escalation::wrap(platform, sizes.ladder().clone()),
            None => platform,
        };
        let strategy = strategy::of(&flags.execution)?;
        #[cfg(feature = "meter")]
        let observation = { Observation::begin(&flags.observe, gates).await? };
        #[cfg(not(feature = "meter"))]
        drop(gates);
        Ok(Self {
            flags,
            platform,
            strategy,
            keep: KeepResults::default(),
            results,
            progress,
            journal,
            budget,
            #[cfg(feature = "meter")]
            observation,
        })
    }

    /// The abilities of the platform.
    pub fn capabilities(&self) -> Capabilities {
        self.platform.capabilities()
    }

    /// The name of the platform on the command line.
    pub fn platform_name(&self) -> PlatformName {
        self.flags.platform.name()
    }

    /// The platform, with its layers.
    pub fn platform(&self) -> &Arc<dyn AsyncPlatform> {
        &self.platform
    }

    /// How invocations are driven.
    pub fn strategy(&self) -> &dyn ExecutionStrategy {
        &*self.strategy
    }

    /// How many bytes of text an input of a function in this runtime should hold, so that it fits the platform's limit: a
    /// quarter of it leaves room for what JSON adds.
    pub fn chunk_size(&self, runtime: &RuntimeName) -> usize {
        chunk_size(&self.capabilities().for_runtime(runtime), self.strategy.submits())
    }

    /// Says of which stages the results are kept.
    #[must_use]
    pub fn with_kept_results(mut self, keep: KeepResults) -> Self {
        self.keep = keep;
        self
    }

    /// The options of a run.
    pub fn options(&self) -> RunOptions {
        signals::remember();
        let options = RunOptions::new(self.platform.clone(), self.strategy.clone())
            // The command line has chosen them.
            .without_layers()
            .with_stop(stop_signals())
            .with_outage_patience(self.flags.execution.outage_patience)
            .with_kept_deployments(self.flags.function.keep)
            .with_reuse(self.flags.function.reuse_deployed)
            .with_kept_results(self.keep.clone())
            .with_batch(self.flags.execution.batch)
            .with_failed_logs(LogPolicy::all());
        #[cfg(feature = "meter")]
        let options = match self.observation.monitor() {
            Some(monitor) => options.with_monitor(monitor),
            None => options,
        };
        let options = self.flags.journal.options(options, self.journal.as_ref());
        let options = paid(options, self.budget.as_ref(), &self.platform, self.shower());
        let options = match &self.results {
            Some(results) => options.with_results(results.clone()),
            None => options,
        };
        match &self.progress {
            Some(progress) => options.with_monitor(progress.clone()),
            None => options,
        }
    }

    /// Shows a line on stderr, above the bars of the progress.
    pub fn shower(&self) -> Box<dyn Fn(&str) + Send + Sync> {
        shower(self.progress.clone())
    }

    /// Runs a driver to its end.
    ///
    /// # Errors
    ///
    /// When nothing could be executed; what came of an execution is in the outcome.
    pub async fn run(&self, driver: &dyn Driver) -> anyhow::Result<RunOutcome> {
        let packages = &self.flags.function.packages;
        let outcome = if packages.is_empty() {
            driver.run(self.options()).await?
        } else {
            let (platform, capabilities) = (self.platform_name(), self.capabilities());
            let plan = packages.add_to_plan(driver.plan()?, platform, &capabilities).await?;
            Planned { driver, plan }.run(self.options()).await?
        };
        self.flags.journal.finish(&outcome.run, outcome.is_suspended());
        Ok(outcome)
    }

    /// Adds the packages that the command line names to a function, for drivers with loops of their own:
    /// [`run`](Self::run) does it for those with a plan.
    ///
    /// # Errors
    ///
    /// When the packages cannot be installed, or are over the platform's limit.
    pub async fn with_packages(&self, function: Deployable) -> anyhow::Result<Deployable> {
        let packages = &self.flags.function.packages;
        packages.add_to(function, self.platform_name(), &self.capabilities()).await
    }

    /// Says how to go on with a run of a driver with loops of its own, if the run was suspended, and waits until its
    /// journal is on disk.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub async fn conclude(&self, session: &Session) -> falco_core::Result<()> {
        self.flags.journal.finish(session.run(), session.is_suspended());
        session.flush().await
    }
}

/// Shows a line on stderr, above the bars of the progress, if there is one.
fn shower(progress: Option<Arc<Progress>>) -> Box<dyn Fn(&str) + Send + Sync> {
    match progress {
        Some(progress) => Box::new(move |line| progress.print_line(line)),
        None => Box::new(|line| say(line)),
    }
}

/// A quarter of the longest argument, and no more than [`LARGEST_CHUNK`].
fn chunk_size(capabilities: &Capabilities, strategy_submits: bool) -> usize {
    let limit = match capabilities.submit && strategy_submits {
        true => capabilities.max_submit_payload,
        false => capabilities.max_payload,
    };
    let quarter = usize::try_from(limit.unwrap_or(u64::MAX) / 4).unwrap_or(usize::MAX);
    quarter.min(LARGEST_CHUNK)
}

/// A driver with the plan that it has made, and the packages in it.
#[derive(Debug)]
struct Planned<'a> {
    driver: &'a dyn Driver,
    plan: ExecutionPlan,
}

impl Driver for Planned<'_> {
    fn name(&self) -> &str {
        self.driver.name()
    }

    fn plan(&self) -> falco_core::Result<ExecutionPlan> {
        Ok(self.plan.clone())
    }

    fn before_stage(&self, stage: &Stage) -> Verdict {
        self.driver.before_stage(stage)
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        self.driver.on_completion(completion)
    }
}

#[cfg(test)]
mod tests {
    use falco_core::RuntimeLimits;

    use super::*;

    #[test]
    fn chunks_fit_the_limit_of_the_way_in_which_calls_go_and_of_the_runtime() {
        let narrow = RuntimeLimits::default().with_max_payload(400).with_max_submit_payload(800);
        let all = Capabilities::default()
            .with_submit(true)
            .with_max_payload(4000)
            .with_max_submit_payload(8000)
            .with_runtime_limits("nodejs", narrow);
        let size = |capabilities: &Capabilities, runtime, submits| {
            chunk_size(&capabilities.for_runtime(&runtime), submits)
        };
        let (python, nodejs) = (RuntimeName::python, RuntimeName::nodejs);
        assert_eq!([false, true].map(|submits| size(&all, python(), submits)), [1000, 2000]);
        assert_eq!([false, true].map(|submits| size(&all, nodejs(), submits)), [100, 200]);
        let invokes = all.with_submit(false);
        assert_eq!(size(&invokes, python(), true), 1000);
        assert_eq!(chunk_size(&Capabilities::default(), true), LARGEST_CHUNK);
    }
}
