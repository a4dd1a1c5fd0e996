//! The platform itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use falco_core::{
    Activation, ActivationId, ActivationLog, AsyncPlatform, Capabilities, Collected, Deployable,
    Deployment, Environment, Error, ErrorKind, Invocation, Pending, Platform, Release, Result,
    RuntimeName, Scaling, async_trait,
};
use tokio::sync::oneshot;

use crate::config::{LocalConfig, MEMORY_MIB, TIMEOUT};
use crate::guardian::Guardian;
use crate::interpreter::{self, Interpreter};
use crate::job::{Job, Reply};
use crate::log::Logs;
use crate::package::{Function, pack};
use crate::pool::{Limits, Pool, Shared};
use crate::state::{Record, State};
use crate::submissions::Submissions;

pub(crate) const NAME: &str = "local";

/// Activations in flight for each worker that keep it busy while results travel: with 2, a no-op function reaches half
/// of the rate that it has with 16.
const IN_FLIGHT_PER_WORKER: u32 = 16;

/// How long to wait before asking again for activations that still run.
const POLL_AFTER: Duration = Duration::from_millis(2);

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
/// use falco_local::{LocalConfig, LocalPlatform};
///
/// # async fn example() -> falco_core::Result<()> {
/// let platform = LocalPlatform::new(LocalConfig::from_env()?)?;
/// let source = "def main(args):\n    return {'double': 2 * args['n']}\n";
/// let deployment = platform.deploy(&Deployable::from_source("double", "python:3".parse()?, source)).await?;
/// let invocation = Invocation::new("run", "stage", "1", Payload::from_bytes(r#"{"n":21}"#)?);
/// let activation = platform.invoke(&deployment, &invocation).await?;
/// println!("{:?} on worker {:?}", activation.outcome, activation.container);
/// platform.remove(&deployment).await?;
/// # Ok(())
/// # }
/// ```
pub struct LocalPlatform(Arc<Inner>);

struct Inner {
    state: State,
    shared: Arc<Shared>,
    submissions: Arc<Submissions>,
    pools: Mutex<Pools>,
    interpreters: Mutex<HashMap<RuntimeName, Interpreter>>,
    runtimes: Vec<String>,
    next_activation: AtomicU64,
}

#[derive(Default)]
struct Pools {
    by_name: HashMap<String, Arc<Pool>>,
    /// Replaced by newer code, with workers that are not done yet.
    retired: Vec<Arc<Pool>>,
}

impl LocalPlatform {
    /// Opens the state directory of `config`, and removes what killed drivers have left in it.
    ///
    /// No process is started before the first invocation. The only files it reads are its own.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a zero in `config`, `Unavailable` for a directory that cannot be used.
    pub fn new(config: LocalConfig) -> Result<Self> {
        let at = |error: Error| error.with_platform(NAME);
        config.validate().map_err(at)?;
        let state = State::open(&config.directory).map_err(at)?;
        let runtimes = interpreter::available(config.environment.get("PATH").map(AsRef::as_ref));
        let host = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
        let logs = Logs::new(config.retained_logs);
        Ok(Self(Arc::new(Inner {
            state,
            shared: Arc::new(Shared { config, guardian: Guardian::default(), logs, host }),
            submissions: Arc::default(),
            pools: Mutex::default(),
            interpreters: Mutex::default(),
            runtimes,
            next_activation: AtomicU64::new(0),
        })))
    }

    /// Runs what touches files and processes away from the tasks, and says in its error what it was about.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        function: &str,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        let result = tokio::task::spawn_blocking(move || work(&inner)).await;
        let result = result.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Panicked, "the local platform failed").with_source(&error))
        });
        result.map_err(|error| about(error, operation, function))
    }

    /// The pool of a deployment; one that another process has deployed is loaded.
    async fn pool(&self, operation: &'static str, deployment: &Deployment) -> Result<Arc<Pool>> {
        let name = &deployment.name;
        if deployment.platform != NAME {
            let message = format!("the deployment is one of {}", deployment.platform);
            return Err(about(Error::invalid_input(message), operation, name));
        }
        if let Some(pool) = self.0.lock().by_name.get(name) {
            return Ok(pool.clone());
        }
        let wanted = name.clone();
        self.blocking(operation, name, move |inner| {
            let (record, env) = inner.state.load(&wanted)?;
            inner.install(&record, env)
        })
        .await
    }

    /// Whether an activation was started by this platform.
    fn is_ours(&self, id: &ActivationId) -> bool {
        let number = id.as_str().strip_prefix(self.0.state.driver());
        number.is_some_and(|number| number.starts_with('-'))
    }

    /// Checks an invocation, and gives it a place in the queue's order.
    async fn admit(
        &self,
        operation: &'static str,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<(Arc<Pool>, ActivationId)> {
        let limit = self.0.shared.config.max_payload;
        invocation
            .payload()
            .check_argument(Some(limit))
            .map_err(|error| about(error, operation, &deployment.name))?;
        let pool = self.pool(operation, deployment).await?;
        let number = self.0.next_activation.fetch_add(1, Ordering::Relaxed);
        Ok((pool, ActivationId::new(format!("{}-{number}", self.0.state.driver()))))
    }
}

fn about(error: Error, operation: &'static str, function: &str) -> Error {
    error.with_platform(NAME).with_operation(operation).with_function(function)
}

fn job(id: ActivationId, invocation: &Invocation, reply: Reply) -> Job {
    Job { id, payload: invocation.payload().clone(), queued_at: Instant::now(), reply }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interpreter(&self, runtime: &RuntimeName) -> Result<Interpreter> {
        let known = || self.interpreters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interpreter) = known().get(runtime) {
            return Ok(interpreter.clone());
        }
        let path = self.shared.config.environment.get("PATH").map(AsRef::as_ref);
        let interpreter = interpreter::resolve(runtime, path)?;
        known().insert(runtime.clone(), interpreter.clone());
        Ok(interpreter)
    }

    fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let interpreter = self.interpreter(&function.runtime)?;
        let package = pack(function, &interpreter)?;
        let scaling = self.in_force(&function.settings.scaling);
        check_bounds(&scaling)?;
        let deployment =
            Deployment::new(NAME, &function.name, &function.name, function.runtime.clone())
                .with_scaling(scaling)
                .with_ownership(function.ownership.clone())
                .with_attribute("version", &package.version);
        let record = Record {
            deployment,
            entry_point: function.entry_point().to_owned(),
            version: package.version.clone(),
            driver: self.state.driver().to_owned(),
        };
        self.state.save(&record, &function.settings.env, &package)?;
        self.install(&record, function.settings.env.clone())?;
        Ok(record.deployment)
    }

    /// Makes the pool of a deployment what the record says. Workers of the same code are kept.
    fn install(&self, record: &Record, env: Environment) -> Result<Arc<Pool>> {
        let function = Function {
            name: record.deployment.name.clone(),
            version: record.version.clone(),
            interpreter: self.interpreter(&record.deployment.runtime)?,
            directory: self.state.version_directory(record),
            entry_point: record.entry_point.clone(),
            env,
        };
        let limits = self.limits(&record.deployment.scaling);
        let mut pools = self.lock();
        pools.retired.retain(|pool| !pool.is_empty());
        if let Some(pool) = pools.by_name.get(&function.name) {
            if pool.function == function {
                pool.set_limits(limits);
                return Ok(pool.clone());
            }
            pool.retire();
        }
        let pool = Pool::new(function, self.shared.clone(), limits);
        if let Some(old) = pools.by_name.insert(record.deployment.name.clone(), pool.clone()) {
            pools.retired.push(old);
        }
        Ok(pool)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut pools = self.lock();
        let mut ended: Vec<_> = pools.by_name.remove(name).into_iter().collect();
        ended.extend(pools.retired.extract_if(.., |pool| pool.function.name == name));
        drop(pools);
        for pool in ended {
            pool.close();
        }
        self.state.remove(name)
    }

    fn scale(&self, name: &str, scaling: &Scaling) -> Result<Deployment> {
        let (mut record, env) = self.state.load(name)?;
        let scaling = record.deployment.scaling.overridden_by(scaling);
        scaling.validate()?;
        check_bounds(&scaling)?;
        record.deployment.scaling = scaling;
        self.state.update(&record)?;
        self.install(&record, env)?;
        Ok(record.deployment)
    }

    /// What a deployment gets, with this platform's defaults for what it does not say.
    fn in_force(&self, wanted: &Scaling) -> Scaling {
        let config = &self.shared.config;
        let min_instances = wanted.min_instances.unwrap_or(0);
        Scaling {
            memory_mib: wanted.memory_mib,
            cpus: None,
            timeout: Some(wanted.timeout.unwrap_or(config.timeout)),
            min_instances: Some(min_instances),
            max_instances: Some(
                wanted.max_instances.unwrap_or_else(|| config.max_workers.max(min_instances)),
            ),
            concurrency: Some(1),
        }
    }

    fn limits(&self, scaling: &Scaling) -> Limits {
        let count = |wanted: Option<u32>, default: u32| {
            usize::try_from(wanted.unwrap_or(default)).unwrap_or(usize::MAX)
        };
        Limits {
            max_workers: count(scaling.max_instances, self.shared.config.max_workers),
            min_workers: count(scaling.min_instances, 0),
            timeout: scaling.timeout.unwrap_or(self.shared.config.timeout),
            memory_mib: scaling.memory_mib,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut pools = self.lock();
        let mut all = std::mem::take(&mut pools.retired);
        all.extend(std::mem::take(&mut pools.by_name).into_values());
        drop(pools);
        for pool in all {
            pool.close();
        }
    }
}

fn check_bounds(scaling: &Scaling) -> Result<()> {
    if let Some(memory) = scaling.memory_mib.filter(|memory| !MEMORY_MIB.contains(*memory)) {
        return Err(Error::invalid_input(format!(
            "{memory} MiB of memory: {} to {} are allowed",
            MEMORY_MIB.min, MEMORY_MIB.max
        )));
    }
    if let Some(timeout) = scaling.timeout.filter(|timeout| !TIMEOUT.contains(*timeout)) {
        return Err(Error::invalid_input(format!(
            "a timeout of {timeout:?}: {:?} to {:?} are allowed",
            TIMEOUT.min, TIMEOUT.max
        )));
    }
    Ok(())
}

#[async_trait]
impl Platform for LocalPlatform {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let config = &self.0.shared.config;
        Capabilities {
            submit: true,
            logs: true,
            scaling: true,
            max_payload: Some(config.max_payload),
            max_submit_payload: Some(config.max_payload),
            max_result: Some(config.max_result),
            max_code: None,
            concurrency: Some(config.max_workers.saturating_mul(IN_FLIGHT_PER_WORKER)),
            rate: None,
            memory_mib: Some(MEMORY_MIB),
            timeout: Some(TIMEOUT),
            runtimes: self.0.runtimes.clone(),
        }
    }

    /// Packs the code and stores it. Processors and activations per worker are not limited here: `scaling.cpus` and
    /// `scaling.concurrency` have no effect.
    async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        function.validate().map_err(|error| about(error, "deploy", &function.name))?;
        let function = function.clone();
        self.blocking("deploy", &function.name.clone(), move |inner| inner.deploy(&function)).await
    }

    async fn fetch_deployment(&self, name: &str) -> Result<Deployment> {
        let wanted = name.to_owned();
        self.blocking("fetch_deployment", name, move |inner| {
            let (record, env) = inner.state.load(&wanted)?;
            // What another process has deployed meanwhile counts from now on.
            inner.install(&record, env)?;
            Ok(record.deployment)
        })
        .await
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        self.blocking("list_deployments", "", |inner| {
            Ok(inner.state.list()?.into_iter().map(|record| record.deployment).collect())
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
            return Err(about(error, "scale", &name));
        }
        let scaling = scaling.clone();
        self.blocking("scale", &deployment.name, move |inner| inner.scale(&name, &scaling)).await
    }

    async fn remove(&self, deployment: &Deployment) -> Result<()> {
        let name = deployment.name.clone();
        self.blocking("remove", &deployment.name, move |inner| inner.remove(&name)).await
    }

    async fn invoke(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Activation> {
        let (pool, id) = self.admit("invoke", deployment, invocation).await?;
        let (caller, answer) = oneshot::channel();
        pool.submit(job(id, invocation, Reply::Caller(caller)));
        let result = answer.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panicked, "the worker's thread failed")
                .with_may_have_run(true))
        });
        result.map_err(|error| about(error, "invoke", &deployment.name))
    }
}

#[async_trait]
impl AsyncPlatform for LocalPlatform {
    async fn submit(&self, deployment: &Deployment, invocation: &Invocation) -> Result<Pending> {
        let (pool, id) = self.admit("submit", deployment, invocation).await?;
        let abandoned = self.0.submissions.start(id.clone());
        let all = self.0.submissions.clone();
        let pending = Pending::new(id.clone(), SystemTime::now());
        pool.submit(job(id, invocation, Reply::Submission { all, abandoned }));
        Ok(pending)
    }

    async fn collect(&self, _: &Deployment, pending: &[Pending]) -> Result<Collected> {
        let (finished, missing) = self.0.submissions.collect(pending);
        // Results live as long as the platform that took the submission. Of ids that are none of ours, and of those of
        // other platforms that live, nothing is known.
        let will_never_end =
            |id: &ActivationId| self.is_ours(id) || self.0.state.is_of_dead_driver(id.as_str());
        let gone: Vec<_> = missing.into_iter().filter(will_never_end).collect();
        let all = finished.len() + gone.len() == pending.len();
        let poll_after = if all { Duration::ZERO } else { POLL_AFTER };
        Ok(Collected { finished, gone, poll_after })
    }

    fn release(&self, _: &Deployment, activations: &[ActivationId], release: Release) {
        self.0.submissions.release(activations, release);
    }

    async fn activation_log(
        &self,
        _: &Deployment,
        activations: &[ActivationId],
    ) -> Result<Vec<ActivationLog>> {
        let ended = |id: &&ActivationId| self.is_ours(id) && !self.0.submissions.is_running(id);
        let ended = activations.iter().filter(ended);
        Ok(ended.filter_map(|id| self.0.shared.logs.get(id)).collect())
    }
}

impl fmt::Debug for LocalPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPlatform")
            .field("config", &self.0.shared.config)
            .field("driver", &self.0.state.driver())
            .finish_non_exhaustive()
    }
}
