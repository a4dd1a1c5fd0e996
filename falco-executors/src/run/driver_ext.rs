//! The methods of every driver: deploy, execute, remove, run.

use std::future::Future;

use falco_core::{Driver, Error, ErrorKind, ExecutionStrategy, Result};

use super::arguments;
use super::batches;
use super::deployed::Deployed;
use super::graph;
use super::guard::guard;
use super::options::RunOptions;
use super::outcome::RunOutcome;
use super::session::Session;

/// The methods of every driver, also as `dyn Driver`.
///
/// # Examples
///
/// A run in one call, with a platform or with [`RunOptions`], and the same in three:
///
/// ```
/// # use falco_core::{Driver, Result};
/// use falco_executors::{DriverExt, RunOptions};
///
/// # async fn f(driver: &dyn Driver, options: RunOptions, more: RunOptions) -> Result<()> {
/// let outcome = driver.run(options).await?;
/// eprintln!("{}", outcome.report);
///
/// let deployed = driver.deploy(more).await?;
/// let outcome = driver.execute(&**deployed.strategy(), &deployed).await;
/// driver.remove(&deployed).await?;
/// # Ok(()) }
/// ```
pub trait DriverExt: Driver {
    /// Deploys the functions of the driver's plan, each under a name of this run's own: `NAME-RUNID`.
    ///
    /// When a function fails to deploy, or the run is stopped meanwhile, the others are removed. Dropped, it may leave
    /// deployments behind, which carry the run's tags.
    ///
    /// # Errors
    ///
    /// Those of the plan, of a run id that no deployment can be named after, of two different functions under one
    /// name, all before anything is sent; and those of [`Session::deploy`].
    fn deploy(
        &self,
        options: impl Into<RunOptions>,
    ) -> impl Future<Output = Result<Deployed>> + Send {
        let options = options.into();
        async move {
            let what = || format!("the plan of driver {:?}", self.name());
            let plan = guard(what, || self.plan())??;
            let capabilities = options.platform().capabilities();
            options.given.check(&plan, options.platform().name())?;
            for stage in plan.stages() {
                let runtime = &stage.function.runtime;
                let policy = batches::policy(stage.policy, options.batch);
                batches::check(&stage.name, &policy, runtime, &capabilities)?;
                arguments::check(stage, &capabilities)?;
            }
            let account = match &options.journal {
                Some(_) => options.platform().account().await?,
                None => None,
            };
            let session = Session::start_with(options, Some(&plan), account.as_deref())?;
            let deployed = Deployed { session, plan };
            let given = &deployed.session.given;
            let own =
                deployed.plan.stages().iter().filter(|stage| given.get(&stage.name).is_none());
            let functions = own.map(|stage| &stage.function);
            if let Err(error) = deployed.session.deploy_all(functions).await {
                let _ = deployed.session.error.set(error.clone());
                if deployed.session.must_keep() {
                    // The functions hold what an earlier process has submitted.
                    deployed.session.hub.suspend();
                    deployed.session.finish();
                    deployed.session.flush().await?;
                    return Err(error);
                }
                let leftovers = deployed.session.remove_all().await;
                return Err(match leftovers.first() {
                    // Otherwise it stands on stderr already.
                    Some(first) if !deployed.session.hub.announces() => {
                        error.with_hint(format!("left behind: {first}"))
                    }
                    _ => error,
                });
            }
            Ok(deployed)
        }
    }

    /// Executes the plan once; it may be called again. Independent stages run at the same time.
    ///
    /// The hooks of this driver are called from the returned future. Dropped, everything stops without completions,
    /// and the deployments stay.
    fn execute(
        &self,
        strategy: &dyn ExecutionStrategy,
        deployed: &Deployed,
    ) -> impl Future<Output = RunOutcome> + Send {
        graph::execute(self, strategy, deployed)
    }

    /// Removes what was deployed, and ends the run.
    ///
    /// # Errors
    ///
    /// When something could not be removed, after trying the others. It may be called again, and
    /// [`Deployed::session`] says what is left.
    fn remove(&self, deployed: &Deployed) -> impl Future<Output = Result<()>> + Send {
        async move {
            let leftovers = deployed.session.remove_all().await;
            let Some(first) = leftovers.first() else { return Ok(()) };
            let kind = if leftovers.len() == 1 { first.error.kind() } else { ErrorKind::Other };
            let message =
                format!("{} deployments are left behind, such as {first}", leftovers.len());
            Err(Error::new(kind, message).with_operation("remove"))
        }
    }

    /// Deploys, executes, and always removes, also after a failure, a stop, or a panic in the user's code; but for a run
    /// with a [journal](RunOptions::with_journal) that is suspended.
    ///
    /// Failed invocations are not an error here: see [`RunOutcome::error`]. Dropped, it cannot remove: its deployments
    /// carry run, owner and expiry, so that `cleanup` finds them. Use a [stop](RunOptions::with_stop) instead of
    /// dropping it.
    ///
    /// # Errors
    ///
    /// As [`deploy`](Self::deploy); nothing was executed then.
    fn run(
        &self,
        options: impl Into<RunOptions>,
    ) -> impl Future<Output = Result<RunOutcome>> + Send {
        let options = options.into();
        async move {
            let deployed = self.deploy(options).await?;
            let strategy = deployed.strategy().clone();
            let mut outcome = self.execute(&*strategy, &deployed).await;
            let session = &deployed.session;
            if session.is_suspended() {
                outcome.suspended = true;
                session.finish();
            } else {
                if session.keep_deployments {
                    session.finish();
                } else {
                    outcome.leftovers = session.remove_all().await;
                    outcome.report.outage = session.outages.lost();
                }
            }
            if let Err(error) = session.flush().await {
                outcome.report.error.get_or_insert(error);
            }
            Ok(outcome)
        }
    }
}

impl<D: Driver + ?Sized> DriverExt for D {}
