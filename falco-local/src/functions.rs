//! The functions of a platform: those on disk, and the pools of those that run here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{
    Deployable, Deployment, Environment, Error, ErrorKind, Result, RuntimeName, Scaling,
};

use crate::NAME;
use crate::abandonment::Abandonment;
use crate::config::{MEMORY_MIB, TIMEOUT};
use crate::interpreter::{self, Interpreter};
use crate::package::{Function, pack};
use crate::pool::{Limits, Pool, Shared};
use crate::state::{Record, State};
use crate::worker::Worker;

/// All functions. What touches the disk blocks. Dropped, no worker is left.
#[derive(Debug)]
pub(crate) struct Functions {
    pub(crate) state: State,
    pub(crate) shared: Arc<Shared>,
    pools: Mutex<Pools>,
    interpreters: Mutex<HashMap<RuntimeName, Interpreter>>,
}

#[derive(Debug, Default)]
struct Pools {
    by_name: HashMap<String, Arc<Pool>>,
    /// Replaced by newer code, with workers that are not done yet.
    retired: Vec<Arc<Pool>>,
}

impl Functions {
    pub(crate) fn new(state: State, shared: Shared) -> Self {
        let (pools, interpreters) = (Mutex::default(), Mutex::default());
        Self { state, shared: Arc::new(shared), pools, interpreters }
    }

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

    /// Deploys a function. Work that is abandoned stops before it writes anything, or removes what it has written: a
    /// name that was not there before is not there afterwards.
    pub(crate) fn deploy(
        &self,
        function: &Deployable,
        abandonment: &Abandonment,
    ) -> Result<Deployment> {
        abandonment.check()?;
        let interpreter = self.interpreter(&function.runtime)?;
        let package = pack(function, &interpreter)?;
        let scaling = self.in_force(&function.scaling);
        check_bounds(&scaling)?;
        let deployment = Deployment::new(&function.name, function.runtime.clone())
            .with_platform(NAME)
            .with_scaling(scaling)
            .with_ownership(function.ownership.clone())
            .with_attribute("version", &package.version);
        let record = Record {
            deployment,
            entry_point: function.entry_point.clone(),
            version: package.version.clone(),
            driver: self.state.driver().to_owned(),
        };
        // What cannot be read is there.
        let is_missing = |error: &Error| error.kind() == ErrorKind::NotFound;
        let was_there = !self.state.load(&function.name).is_err_and(|error| is_missing(&error));
        abandonment.check()?;
        let saved = self.state.save(&record, &function.env, &package);
        if abandonment.has_come() && !was_there {
            // Somebody may have removed it meanwhile, by its name.
            let _ = self.state.remove(&function.name);
            return Err(Error::new(ErrorKind::Cancelled, "it was abandoned"));
        }
        saved?;
        self.install(&record, function.env.clone())?;
        Ok(record.deployment)
    }

    /// The pool of a function that has run here already.
    pub(crate) fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.lock().by_name.get(name).cloned()
    }

    /// Finds a deployment on disk. What another process has changed meanwhile counts from now on.
    pub(crate) fn load(&self, name: &str) -> Result<(Deployment, Arc<Pool>)> {
        let (record, env) = self.state.load(name)?;
        let pool = self.install(&record, env)?;
        Ok((record.deployment, pool))
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
        let pool = Pool::new(function, self.shared.clone(), limits, |pool, id, early| {
            Worker::new(pool, id).work(early);
        });
        if let Some(old) = pools.by_name.insert(record.deployment.name.clone(), pool.clone()) {
            pools.retired.push(old);
        }
        Ok(pool)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let mut pools = self.lock();
        let mut ended: Vec<_> = pools.by_name.remove(name).into_iter().collect();
        ended.extend(pools.retired.extract_if(.., |pool| pool.function.name == name));
        drop(pools);
        for pool in ended {
            pool.close();
        }
        self.state.remove(name)
    }

    pub(crate) fn scale(&self, name: &str, scaling: &Scaling) -> Result<Deployment> {
        let (mut record, env) = self.state.load(name)?;
        let scaling = record.deployment.scaling.overridden_by(scaling);
        scaling.validate()?;
        check_bounds(&scaling)?;
        record.deployment.scaling = scaling;
        self.state.update(&record)?;
        self.install(&record, env)?;
        Ok(record.deployment)
    }

    /// The limits of a deployment, with this platform's defaults for those that it does not set.
    fn in_force(&self, wanted: &Scaling) -> Scaling {
        let config = &self.shared.config;
        let min_instances = wanted.min_instances.unwrap_or(0);
        Scaling::default()
            .with_memory_mib(wanted.memory_mib)
            .with_timeout(wanted.timeout.unwrap_or(config.timeout))
            .with_min_instances(min_instances)
            .with_max_instances(
                wanted.max_instances.unwrap_or_else(|| config.max_workers.max(min_instances)),
            )
            .with_concurrency(1)
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

impl Drop for Functions {
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
