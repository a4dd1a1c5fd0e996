//! The platform.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Error, ErrorKind, Invocation, Operation, Pending, Platform, Release, Result,
    Scaling,
};
use falco_package::lambda::without_prefix;
use falco_workers::{ActivationIds, Job, Logs, Reply, Submissions};
use tokio::sync::oneshot;

use crate::NAME;
use crate::config::DockerConfig;
use crate::connection::connect;
use crate::driver;
use crate::events::{self, Ends};
use crate::functions::Functions;
use crate::images::Images;
use crate::pool::{Pool, Shared};
use crate::protocol::Protocol;
use crate::refusal::refusal;
use crate::sweep;
use crate::turns::Turns;

/// Functions in containers, on any image.
///
/// A deployment is an image, so another process finds it, and it stays until it is removed. Containers answer one call
/// at a time, and are kept warm for a while. They end with the process that started them: dropped, the platform removes
/// its containers; a process that is killed leaves none that does not notice the end of its input, and the next platform
/// on that machine removes those.
///
/// # Examples
///
/// ```no_run
/// use falco_core::{Deployable, Invocation, Payload, Platform};
/// use falco_docker::DockerPlatform;
///
/// # async fn example() -> falco_core::Result<()> {
/// let platform = DockerPlatform::from_env().await?;
/// let source = "def main(args):\n    return {'double': 2 * args['n']}\n";
/// let deployment = platform.deploy(&Deployable::python("double", source)).await?;
/// let invocation = Invocation::new("run", "stage", "1", Payload::from_bytes(r#"{"n":21}"#)?);
/// let activation = platform.invoke(&deployment, &invocation).await?;
/// println!("{:?} in container {:?}", activation.outcome, activation.container);
/// platform.remove(&deployment).await?;
/// # Ok(())
/// # }
/// ```
pub struct DockerPlatform(Arc<Inner>);

struct Inner {
    functions: Functions,
    submissions: Arc<Submissions>,
    ids: ActivationIds,
    deploying: Turns,
    listener: tokio::task::JoinHandle<()>,
}

impl DockerPlatform {
    /// Connects to the daemon of `config`, and removes containers of drivers that are gone.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address that is not understood in `config`, `Unavailable` where there is no daemon,
    /// `Unauthorized` where this user may not use it.
    pub async fn connect(config: DockerConfig) -> Result<Self> {
        let at = |error: Error| error.at(Operation::new(NAME, "connect"));
        let docker =
            connect(&config.host, config.tls.as_ref(), config.answer_timeout).map_err(at)?;
        let refused = |error: bollard::errors::Error| at(refusal(&config.host, &error));
        let docker = docker.negotiate_version().await.map_err(refused)?;
        let architecture = docker.version().await.map_err(refused)?.arch.unwrap_or_default();
        sweep::sweep(&docker).await.map_err(refused)?;
        let (driver, ends) = (driver::driver(), Arc::<Ends>::default());
        let label = format!("{}={driver}", driver::DRIVER);
        let listener = events::listen(docker.clone(), label, Arc::downgrade(&ends));
        let listener = tokio::spawn(listener);
        let logs = Logs::new(config.workers.retained_logs);
        let images = Images { docker, host: config.host.clone() };
        let ids = ActivationIds::new(driver::activations_of(&driver));
        Ok(Self(Arc::new(Inner {
            functions: Functions::new(Shared { config, images, ends, driver, logs }, architecture),
            submissions: Arc::default(),
            ids,
            deploying: Turns::default(),
            listener,
        })))
    }

    /// Connects with [`DockerConfig::from_env`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect) and [`DockerConfig::from_env`].
    pub async fn from_env() -> Result<Self> {
        Self::connect(DockerConfig::from_env()?).await
    }

    fn config(&self) -> &DockerConfig {
        &self.0.functions.shared.config
    }

    /// The pool of a deployment; one that another process has deployed is loaded.
    async fn pool(&self, deployment: &Deployment) -> Result<Arc<Pool>> {
        if deployment.platform != NAME {
            let message = format!("the deployment is one of {}", deployment.platform);
            return Err(Error::invalid_input(message));
        }
        match self.0.functions.pool(&deployment.name) {
            Some(pool) => Ok(pool),
            None => Ok(self.0.functions.load(&deployment.name).await?.1),
        }
    }

    /// Checks an invocation, and names its activation.
    async fn admit(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<(Arc<Pool>, ActivationId)> {
        invocation.payload().check_argument(Some(self.config().workers.max_payload))?;
        let pool = self.pool(deployment).await?;
        Ok((pool, self.0.ids.next()))
    }

    /// Deploys in a task of its own. One that nobody waits for any more removes what it made, if nothing of that name
    /// was there before.
    async fn deploy_in_task(&self, function: &Deployable) -> Result<Deployment> {
        let (deployment, reference) = self.0.functions.prepare(function)?;
        let function = function.clone();
        let inner = self.0.clone();
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let name = deployment.name.clone();
            // Another deployment of this name begins once this one is done or removed again.
            let turn = inner.deploying.of(&name);
            let _turn = turn.lock().await;
            let before = inner.functions.shared.images.load(&name).await;
            let was_there = !before.is_err_and(|error| error.kind() == ErrorKind::NotFound);
            let deployed = inner.functions.deploy(&function, deployment, &reference).await;
            if sender.send(deployed).is_err()
                && !was_there
                && let Err(error) = inner.functions.remove(&name).await
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!(%error, function = name, "an abandoned deployment stays");
            }
        });
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panicked, "the deployment failed").with_may_have_run(false))
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[async_trait]
impl Platform for DockerPlatform {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.config()
            .workers
            .capabilities()
            .with_adopt(true)
            .with_images(true)
            .with_runtimes(["python:3", "nodejs", "native"])
            .with_architecture(self.0.functions.architecture().map(str::to_owned))
    }

    async fn account(&self) -> Result<Option<String>> {
        self.0.functions.daemon().await.map_err(|error| error.at(Operation::new(NAME, "account")))
    }

    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let operation = Operation::new(NAME, "deploy").on(&function.name);
        self.deploy_in_task(function).await.map_err(|error| error.at(operation))
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let operation = Operation::new(NAME, "fetch_deployment").on(name);
        let loaded = self.0.functions.load(name).await.map_err(|error| error.at(operation))?;
        Ok(loaded.0)
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        let listed = self.0.functions.shared.images.list().await;
        let listed = listed.map_err(|error| error.at(Operation::new(NAME, "list_deployments")))?;
        Ok(listed.into_iter().map(|stored| stored.deployment).collect())
    }

    async fn scale(&self, deployment: &Deployment, scaling: &Scaling) -> Result<Deployment> {
        let operation = Operation::new(NAME, "scale").on(&deployment.name);
        if scaling.concurrency.is_some_and(|n| n > 1) {
            let error = Error::unsupported("a container answers one call at a time")
                .with_hint("set max_instances, memory_mib, cpus or timeout");
            return Err(error.at(operation));
        }
        let scaled = self.0.functions.scale(&deployment.name, scaling).await;
        scaled.map_err(|error| error.at(operation))
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let operation = Operation::new(NAME, "remove").on(&deployment.name);
        self.0.functions.remove(&deployment.name).await.map_err(|error| error.at(operation))
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let operation = Operation::new(NAME, "invoke").on(&deployment.name);
        let (pool, id) =
            self.admit(deployment, invocation).await.map_err(|error| error.at(operation))?;
        let (caller, answer) = oneshot::channel();
        pool.submit(Job::new(id, invocation, Reply::Caller(caller)), invocation);
        let result = answer.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panicked, "the container's task failed")
                .with_may_have_run(true))
        });
        result.map_err(|error| error.at(operation))
    }
}

#[async_trait]
impl AsyncPlatform for DockerPlatform {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let operation = Operation::new(NAME, "submit").on(&deployment.name);
        let (pool, id) =
            self.admit(deployment, invocation).await.map_err(|error| error.at(operation))?;
        let abandoned = self.0.submissions.start(id.clone());
        let all = self.0.submissions.clone();
        let pending = Pending::new(id.clone(), SystemTime::now());
        let reply = Reply::Submission { all, abandoned };
        pool.submit(Job::new(id, invocation, reply), invocation);
        Ok(pending)
    }

    async fn collect(&self, deployment: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let operation = Operation::new(NAME, "collect").on(&deployment.name);
        // Results live as long as the platform that took the submission.
        let are_lost = |id: &ActivationId| self.0.ids.contains(id) || driver::has_ended_with(id);
        Ok(self.0.submissions.collect(pending, operation, are_lost))
    }

    fn release(&self, _: &Deployment, activations: &[ActivationId], release: Release) {
        self.0.submissions.release(activations, release);
    }

    async fn activation_log(
        &self,
        deployment: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let ended =
            |id: &&ActivationId| self.0.ids.contains(id) && !self.0.submissions.is_running(id);
        let ended = activations.iter().filter(ended);
        let logs = ended.filter_map(|id| self.0.functions.shared.logs.get(id));
        let pool = self.0.functions.pool(&deployment.name);
        let protocol = pool.map(|pool| pool.function.dialogue.protocol()).unwrap_or_default();
        Ok(logs.map(|log| as_printed(log, protocol)).collect())
    }
}

/// A log as the function has printed it. By default a function prints to one stream of its container, since the other has its
/// answers; Lambda's emulator has one for both.
fn as_printed(mut log: ActivationLog, protocol: Protocol) -> ActivationLog {
    for line in &mut log.lines {
        match protocol {
            Protocol::Pipe => line.stream = None,
            Protocol::Action => {}
            Protocol::Lambda => {
                let (stream, text) = without_prefix(&line.text);
                (line.stream, line.text) = (stream, text.to_owned());
            }
        }
    }
    log
}

impl fmt::Debug for DockerPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerPlatform").field("config", self.config()).finish_non_exhaustive()
    }
}
