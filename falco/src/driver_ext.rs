//! What every driver can do, through the default layers.

use std::future::Future;

use falco_core::{Driver, ExecutionStrategy, Result};
use falco_executors::{Deployed, DriverExt as Bare, RunOptions, RunOutcome};

use crate::with_default_layers;

/// What every driver and every [`Pipeline`](falco_executors::Pipeline) can do: run, or deploy, execute and remove.
///
/// It is [`falco_executors::DriverExt`] [with default layers](with_default_layers).
///
/// # Examples
///
/// ```
/// use falco::prelude::*;
///
/// # async fn f(driver: &dyn Driver, platform: impl AsyncPlatform) -> Result<()> {
/// let outcome = driver.run(platform).await?;
/// eprintln!("{}", outcome.report);
/// # Ok(()) }
/// ```
pub trait DriverExt: Driver {
    /// Deploys, executes, and always removes; see [`falco_executors::DriverExt::run`].
    ///
    /// # Errors
    ///
    /// As [`falco_executors::DriverExt::run`] and [`with_default_layers`].
    fn run(
        &self,
        options: impl Into<RunOptions>,
    ) -> impl Future<Output = Result<RunOutcome>> + Send {
        let options = with_default_layers(options);
        async move { Bare::run(self, options?).await }
    }

    /// Deploys the functions of the driver's plan; see [`falco_executors::DriverExt::deploy`].
    ///
    /// # Errors
    ///
    /// As [`falco_executors::DriverExt::deploy`] and [`with_default_layers`].
    fn deploy(
        &self,
        options: impl Into<RunOptions>,
    ) -> impl Future<Output = Result<Deployed>> + Send {
        let options = with_default_layers(options);
        async move { Bare::deploy(self, options?).await }
    }

    /// Executes the plan once; see [`falco_executors::DriverExt::execute`].
    fn execute(
        &self,
        strategy: &dyn ExecutionStrategy,
        deployed: &Deployed,
    ) -> impl Future<Output = RunOutcome> + Send {
        Bare::execute(self, strategy, deployed)
    }

    /// Removes what was deployed, and ends the run; see [`falco_executors::DriverExt::remove`].
    ///
    /// # Errors
    ///
    /// As [`falco_executors::DriverExt::remove`].
    fn remove(&self, deployed: &Deployed) -> impl Future<Output = Result<()>> + Send {
        Bare::remove(self, deployed)
    }
}

impl<D: Driver + ?Sized> DriverExt for D {}
