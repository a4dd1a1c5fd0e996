//! The functions of a platform: those on disk, and the pools of those that run here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use falco_core::{
    Deployable, Deployment, Environment, Error, ErrorKind, Result, RuntimeName, Scaling,
};
use falco_package::shim;
use falco_workers::{Pools, check_bounds};

use crate::NAME;
use crate::abandonment::Abandonment;
use crate::interpreter::{self, Interpreter};
use crate::package::{FORK, Function, pack};
use crate::pool::Pool;
use crate::shared::Shared;
use crate::state::{Record, State};
use crate::worker::Worker;

/// The attribute of a deployment that says what was deployed.
const CONTENT: &str = "content";

/// All functions. What touches the disk blocks. Dropped, no worker is left.
#[derive(Debug)]
pub(crate) struct Functions {
    // Dropped first: workers end before their files go.
    pools: Pools<Pool>,
    pub(crate) state: State,
    pub(crate) shared: Arc<Shared>,
    interpreters: Mutex<HashMap<RuntimeName, Interpreter>>,
}

impl Functions {
    pub(crate) fn new(state: State, shared: Shared) -> Self {
        let (pools, interpreters) = (Pools::default(), Mutex::default());
        Self { pools, state, shared: Arc::new(shared), interpreters }
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
        let scaling = self.shared.config.workers.in_force(&function.scaling)?;
        let content = shim::content_hash(function, &[&format!("{interpreter:?}"), FORK]);
        if let Some(deployment) = self.deployed_already(function, &content, &scaling)? {
            return Ok(deployment);
        }
        let package = pack(function, &interpreter)?;
        let deployment = Deployment::new(&function.name, function.runtime.clone())
            .with_platform(NAME)
            .with_scaling(scaling)
            .with_ownership(function.ownership.clone())
            .with_attribute("version", &package.version)
            .with_attribute(CONTENT, content);
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

    /// The deployment of that name, if all of it is there and as it should be but for its owner.
    fn deployed_already(
        &self,
        function: &Deployable,
        content: &str,
        scaling: &Scaling,
    ) -> Result<Option<Deployment>> {
        let Ok((mut record, env)) = self.state.load(&function.name) else { return Ok(None) };
        let is_same = record.deployment.attribute(CONTENT) == Some(content)
            && record.deployment.scaling == *scaling
            && env == function.env
            && self.state.is_whole(&record);
        if !is_same {
            return Ok(None);
        }
        let driver = self.state.driver();
        if record.driver != driver || record.deployment.ownership != function.ownership {
            driver.clone_into(&mut record.driver);
            record.deployment.ownership.clone_from(&function.ownership);
            self.state.update(&record)?;
        }
        self.install(&record, env)?;
        Ok(Some(record.deployment))
    }

    /// The pool of a function that has run here already.
    pub(crate) fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.pools.get(name)
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
        let limits = self.shared.config.workers.pool(&record.deployment.scaling);
        let make = |function, limits| {
            Pool::new(function, self.shared.clone(), limits, |pool, id, early| {
                Worker::new(pool, id).work(early);
            })
        };
        Ok(self.pools.install(&record.deployment.name, function, limits, make))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.pools.close(name);
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
}
