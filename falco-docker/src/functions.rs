//! The functions of a platform: the deployments that the daemon has, and the pools of those that run here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::models::ImageInspect;
use falco_core::{Deployable, Deployment, Error, ErrorKind, Result, Scaling};

use crate::NAME;
use crate::bundle::{Bundle, pack};
use crate::config::{MEMORY_MIB, TIMEOUT};
use crate::connection::refusal;
use crate::images::Stored;
use crate::pool::{Function, Limits, Pool, Shared};
use crate::sweep;
use crate::worker;

/// How long the daemon may take to remove the containers of a function.
const REMOVAL: Duration = Duration::from_secs(30);
const REMOVAL_POLL: Duration = Duration::from_millis(50);

/// All functions of a platform. Dropped, no container is left.
#[derive(Debug)]
pub(crate) struct Functions {
    pub(crate) shared: Arc<Shared>,
    pools: Mutex<Pools>,
    /// The architecture of the daemon's machine, such as `amd64`; empty where the daemon does not say.
    architecture: String,
}

#[derive(Debug, Default)]
struct Pools {
    by_name: HashMap<String, Arc<Pool>>,
    /// Replaced by newer code, with containers that are not done yet.
    retired: Vec<Arc<Pool>>,
}

impl Functions {
    pub(crate) fn new(shared: Shared, architecture: String) -> Self {
        Self { shared: Arc::new(shared), pools: Mutex::default(), architecture }
    }

    /// The daemon's architecture by Rust's name, such as `x86_64`; none where the daemon does not say.
    pub(crate) fn architecture(&self) -> Option<&str> {
        match self.architecture.as_str() {
            "" => None,
            "amd64" => Some("x86_64"),
            "arm64" => Some("aarch64"),
            other => Some(other),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks what can be checked without the daemon.
    pub(crate) fn prepare(&self, function: &Deployable) -> Result<(Bundle, Deployment, String)> {
        function.validate()?;
        let reference = self.shared.config.image(&function.runtime)?;
        let bundle = pack(function)?;
        let scaling = self.in_force(&function.scaling);
        check_bounds(&scaling)?;
        let deployment = Deployment::new(&function.name, function.runtime.clone())
            .with_platform(NAME)
            .with_scaling(scaling)
            .with_ownership(function.ownership.clone())
            .with_attribute("version", &bundle.version)
            .with_attribute("image", &reference);
        Ok((bundle, deployment, reference))
    }

    /// Makes the image of a function. One of the same name is replaced.
    pub(crate) async fn deploy(
        &self,
        bundle: &Bundle,
        deployment: Deployment,
        reference: &str,
    ) -> Result<Deployment> {
        let images = &self.shared.images;
        let base = images.base(reference, self.shared.config.pull).await?;
        self.check_architecture(reference, &base)?;
        let base = base.id.as_deref().unwrap_or(reference);
        let before = images.load(&deployment.name).await.ok();
        let image = images.build(base, &deployment, bundle).await?;
        let stored = Stored { image: image.clone(), deployment, protocol: bundle.protocol };
        self.install(&stored);
        if let Some(before) = before.filter(|before| before.image != image)
            // Containers of calls that still run hold it; it goes with `remove` then.
            && let Err(error) = images.delete(&before.image).await
        {
            tracing::debug!(%error, "the image of an older version stays for now");
        }
        Ok(stored.deployment)
    }

    /// The daemon's own id, if it has one.
    pub(crate) async fn daemon(&self) -> Result<Option<String>> {
        let images = &self.shared.images;
        let info = images.docker.info().await.map_err(|error| refusal(&images.host, &error))?;
        Ok(info.id.map(|id| format!("daemon {id}")))
    }

    fn check_architecture(&self, reference: &str, image: &ImageInspect) -> Result<()> {
        let own = self.architecture.as_str();
        let its = image.architecture.as_deref().unwrap_or_default();
        if own.is_empty() || its.is_empty() || own == its {
            return Ok(());
        }
        Err(Error::invalid_input(format!(
            "the image {reference} is for {its}, and the daemon runs on {own}"
        ))
        .with_hint(format!("choose an image for {own}")))
    }

    /// The pool of a function that has run here already.
    pub(crate) fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.lock().by_name.get(name).cloned()
    }

    /// Finds a deployment. What another process has changed meanwhile counts from now on.
    pub(crate) async fn load(&self, name: &str) -> Result<(Deployment, Arc<Pool>)> {
        let stored = self.shared.images.load(name).await?;
        let pool = self.install(&stored);
        Ok((stored.deployment, pool))
    }

    /// Makes the pool of a deployment what its image says. Containers of the same code are kept.
    fn install(&self, stored: &Stored) -> Arc<Pool> {
        let deployment = &stored.deployment;
        let function = Function {
            name: deployment.name.clone(),
            image: stored.image.clone(),
            version: deployment.attributes.get("version").cloned().unwrap_or_default(),
            protocol: stored.protocol,
        };
        let limits = self.limits(&deployment.scaling);
        let mut pools = self.lock();
        pools.retired.retain(|pool| !pool.is_empty());
        if let Some(pool) = pools.by_name.get(&function.name) {
            if pool.function == function {
                pool.set_limits(limits);
                return pool.clone();
            }
            pool.retire();
        }
        let pool = Pool::new(function, self.shared.clone(), limits, worker::work);
        if let Some(old) = pools.by_name.insert(deployment.name.clone(), pool.clone()) {
            pools.retired.push(old);
        }
        pool
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        let ended = {
            let mut pools = self.lock();
            let mut ended: Vec<_> = pools.by_name.remove(name).into_iter().collect();
            ended.extend(pools.retired.extract_if(.., |pool| pool.function.name == name));
            ended
        };
        for pool in &ended {
            pool.close();
        }
        for pool in &ended {
            pool.wait_until_empty().await;
        }
        match self.delete(name).await? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFound, "there is no such function")),
        }
    }

    /// Deletes containers and images of a name, and says whether there were any. The daemon refuses to delete the image of a
    /// container that it is still removing, and offers no way to wait for that but to ask again.
    async fn delete(&self, name: &str) -> Result<bool> {
        let images = &self.shared.images;
        let started = Instant::now();
        loop {
            sweep::remove_all_of(&images.docker, name)
                .await
                .map_err(|error| refusal(&images.host, &error))?;
            match images.remove(name).await {
                Err(error)
                    if error.kind() == ErrorKind::Conflict && started.elapsed() < REMOVAL =>
                {
                    tokio::time::sleep(REMOVAL_POLL).await;
                }
                removed => return removed,
            }
        }
    }

    /// Changes a deployment's sizes. Its files stay; containers that are there keep the sizes they started with.
    pub(crate) async fn scale(&self, name: &str, scaling: &Scaling) -> Result<Deployment> {
        let images = &self.shared.images;
        let mut stored = images.load(name).await?;
        let scaling = stored.deployment.scaling.overridden_by(scaling);
        scaling.validate()?;
        check_bounds(&scaling)?;
        stored.deployment.scaling = scaling;
        let older = std::mem::take(&mut stored.image);
        let of_older = Stored { image: older, ..stored.clone() };
        stored.image = images.relabel(&of_older).await?;
        self.install(&stored);
        Ok(stored.deployment)
    }

    /// The sizes that a deployment gets, with this platform's defaults for what it does not say.
    fn in_force(&self, wanted: &Scaling) -> Scaling {
        let config = &self.shared.config;
        let min_instances = wanted.min_instances.unwrap_or(0);
        let max_instances =
            wanted.max_instances.unwrap_or_else(|| config.max_workers.max(min_instances));
        Scaling::default()
            .with_memory_mib(wanted.memory_mib)
            .with_timeout(wanted.timeout.unwrap_or(config.timeout))
            .with_cpus(wanted.cpus)
            .with_min_instances(min_instances)
            .with_max_instances(max_instances)
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
            cpus: scaling.cpus.map(f64::from),
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
