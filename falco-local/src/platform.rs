//! The platform itself.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, Operation, Pending, Platform, Prices, Release,
    Result, Scaling, async_trait,
};
use falco_workers::{ActivationIds, Job, Logs, Reply, Submissions};
use tokio::sync::oneshot;

use crate::NAME;
use crate::abandonment::abandonment;
use crate::config::LocalConfig;
use crate::descriptors;
use crate::functions::Functions;
use crate::guardian::Guardian;
use crate::interpreter;
use crate::pool::Pool;
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::state::State;

/// Functions as warm worker processes on this machine.
///
/// Dropped, it ends every worker and waits until they are gone; what is deployed stays and can be
/// [fetched](Platform::fetch_deployment) by another process. An `invoke` whose future is dropped is taken out of the
/// queue, or its worker is ended.
///
/// # Examples
///
/// ```no_run
/// use falco_core::{Deployable, Invocation, Payload, Platform};
/// use falco_local::LocalPlatform;
///
/// # async fn example() -> falco_core::Result<()> {
/// let platform = LocalPlatform::from_env().await?;
/// let source = "def main(args):\n    return {'double': 2 * args['n']}\n";
/// let deployment = platform.deploy(&Deployable::python("double", source)).await?;
/// let invocation = Invocation::new("run", "stage", "1", Payload::from_bytes(r#"{"n":21}"#)?);
/// let activation = platform.invoke(&deployment, &invocation).await?;
/// println!("{:?} on worker {:?}", activation.outcome, activation.container);
/// platform.remove(&deployment).await?;
/// # Ok(())
/// # }
/// ```
pub struct LocalPlatform(Arc<Inner>);

struct Inner {
    functions: Functions,
    submissions: Arc<Submissions>,
    runtimes: Vec<String>,
    ids: ActivationIds,
}

impl LocalPlatform {
    /// Opens the state directory of `config`, and removes what killed drivers have left in it. It waits for nothing, and is
    /// asynchronous as on every other platform, so that a program changes in the type only.
    ///
    /// No process is started before the first invocation. The only files it reads are its own. The soft limit of open
    /// files of this process is raised to the hard one, since each worker needs up to six; workers keep the limit as it was.
    ///
    /// # Errors
    ///
    /// `Unavailable` for a directory that cannot be used.
    pub async fn connect(config: LocalConfig) -> Result<Self> {
        let at = |error: Error| error.at(Operation::new(NAME, "connect"));
        descriptors::raise();
        let state = State::open(&config.directory).map_err(at)?;
        let runtimes = interpreter::available(config.environment.get("PATH").map(AsRef::as_ref));
        let host = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
        let logs = Logs::new(config.workers.retained_logs);
        let scratch = Scratch::new(config.environment.get("TMPDIR").map(AsRef::as_ref));
        let shared = Shared { config, guardian: Guardian::default(), scratch, logs, host };
        let ids = ActivationIds::new(state.driver());
        Ok(Self(Arc::new(Inner {
            functions: Functions::new(state, shared),
            submissions: Arc::default(),
            runtimes,
            ids,
        })))
    }

    /// Connects with [`LocalConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect) and [`LocalConfig::from_env`].
    pub async fn from_env() -> Result<Self> {
        Self::connect(LocalConfig::from_env()?).await
    }

    fn config(&self) -> &LocalConfig {
        &self.0.functions.shared.config
    }

    /// Runs what touches files and processes away from the tasks, and says in its error what it was about: the
    /// operation, and the function if it is about one.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        function: &str,
        work: impl FnOnce(&Functions) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        let result = tokio::task::spawn_blocking(move || work(&inner.functions)).await;
        let result = result.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Panicked, "the local platform failed").with_source(&error))
        });
        result.map_err(|error| error.at(Operation::new(NAME, operation).on(function)))
    }

    /// The pool of a deployment; one that another process has deployed is loaded.
    async fn pool(&self, operation: &'static str, deployment: &Deployment) -> Result<Arc<Pool>> {
        let name = &deployment.name;
        if deployment.platform != NAME {
            let message = format!("the deployment is one of {}", deployment.platform);
            return Err(Error::invalid_input(message).at(Operation::new(NAME, operation).on(name)));
        }
        if let Some(pool) = self.0.functions.pool(name) {
            return Ok(pool);
        }
        let wanted = name.clone();
        self.blocking(operation, name, move |functions| Ok(functions.load(&wanted)?.1)).await
    }

    /// Checks an invocation, and gives it a place in the queue's order.
    async fn admit(
        &self,
        operation: &'static str,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<(Arc<Pool>, ActivationId)> {
        let limit = self.config().workers.max_payload;
        invocation
            .payload()
            .check_argument(Some(limit))
            .map_err(|error| error.at(Operation::new(NAME, operation).on(&deployment.name)))?;
        let pool = self.pool(operation, deployment).await?;
        Ok((pool, self.0.ids.next()))
    }
}

#[async_trait]
impl Platform for LocalPlatform {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.config()
            .workers
            .capabilities()
            // The next process sweeps what this one leaves when it is killed.
            .with_adopt(false)
            .with_runtimes(self.0.runtimes.clone())
            .with_architecture(std::env::consts::ARCH.to_owned())
            // This machine charges nothing.
            .with_prices(Prices::default())
    }

    async fn account(&self) -> Result<Option<String>> {
        // Not the name of the machine: that of a laptop changes with its network.
        let directory = std::path::absolute(&self.config().directory);
        Ok(directory.ok().map(|directory| directory.display().to_string()))
    }

    /// Packs the code and stores it. Dropped, it stops, and leaves nothing of a function that was not there before.
    ///
    /// Processors and activations per worker are not limited here: `scaling.cpus` and
    /// `scaling.concurrency` have no effect.
    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        function
            .validate()
            .and_then(|()| function.refuse_image())
            .map_err(|error| error.at(Operation::new(NAME, "deploy").on(&function.name)))?;
        let (name, function) = (function.name.clone(), function.clone());
        // The work goes on when this future is dropped, and undoes then what it has done.
        let (caller, abandonment) = abandonment();
        let deploy = move |functions: &Functions| functions.deploy(&function, &abandonment);
        let deployed = self.blocking("deploy", &name, deploy).await;
        drop(caller);
        deployed
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let wanted = name.to_owned();
        let load = move |functions: &Functions| Ok(functions.load(&wanted)?.0);
        self.blocking("fetch_deployment", name, load).await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.blocking("list_deployments", "", |functions| {
            Ok(functions.state.list()?.into_iter().map(|record| record.deployment).collect())
        })
        .await
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let name = deployment.name.clone();
        let lacking = [
            ("cpus", scaling.cpus.is_some()),
            ("concurrency", scaling.concurrency.is_some_and(|n| n > 1)),
        ];
        if let Some((lacking, _)) = lacking.iter().find(|(_, is_asked)| *is_asked) {
            let error = Error::unsupported(format!("this platform has no {lacking} to set"))
                .with_hint("set max_instances, memory_mib or timeout");
            return Err(error.at(Operation::new(NAME, "scale").on(&name)));
        }
        let scaling = scaling.clone();
        self.blocking("scale", &deployment.name, move |functions| functions.scale(&name, &scaling))
            .await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let name = deployment.name.clone();
        self.blocking("remove", &deployment.name, move |functions| functions.remove(&name)).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let (pool, id) = self.admit("invoke", deployment, invocation).await?;
        let (caller, answer) = oneshot::channel();
        pool.submit(Job::new(id, invocation, Reply::Caller(caller)), invocation);
        let result = answer.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panicked, "the worker's thread failed")
                .with_may_have_run(true))
        });
        result.map_err(|error| error.at(Operation::new(NAME, "invoke").on(&deployment.name)))
    }
}

#[async_trait]
impl AsyncPlatform for LocalPlatform {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let (pool, id) = self.admit("submit", deployment, invocation).await?;
        let abandoned = self.0.submissions.start(id.clone());
        let all = self.0.submissions.clone();
        let pending = Pending::new(id.clone(), SystemTime::now());
        pool.submit(Job::new(id, invocation, Reply::Submission { all, abandoned }), invocation);
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let operation = Operation::new(NAME, "collect").on(&deployment.name);
        // Results live as long as the platform that took the submission. Of ids that are none of ours, and of those of
        // other platforms that live, nothing is known.
        let are_lost = |id: &ActivationId| {
            self.0.ids.contains(id) || self.0.functions.state.is_of_dead_driver(id.as_str())
        };
        Ok(self.0.submissions.collect(pending, operation, are_lost))
    }

    fn release(&self, _: &Deployment, activations: &[ActivationId], release: Release) {
        self.0.submissions.release(activations, release);
    }

    async fn activation_log(
        &self,
        _: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let ended =
            |id: &&ActivationId| self.0.ids.contains(id) && !self.0.submissions.is_running(id);
        let ended = activations.iter().filter(ended);
        Ok(ended.filter_map(|id| self.0.functions.shared.logs.get(id)).collect())
    }
}

impl fmt::Debug for LocalPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPlatform")
            .field("config", &self.config())
            .field("driver", &self.0.functions.state.driver())
            .finish_non_exhaustive()
    }
}
