//! The functions of a platform: the deployments that the daemon has, and the pools of those that run here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::ImageInspect;
use falco_core::{Code, Deployable, Deployment, Error, ErrorKind, Folder, Result, Scaling};
use falco_workers::{Pools, check_bounds};

use crate::NAME;
use crate::bundle::pack;
use crate::config::{folder_of_another, is_remote, port_of_another};
use crate::images::{Stored, new_key};
use crate::pool::{Function, Pool, Shared};
use crate::probe;
use crate::protocol::Protocol;
use crate::refusal::refusal;
use crate::sweep;
use crate::worker;

/// How long the daemon may take to remove the containers of a function.
const REMOVAL: Duration = Duration::from_secs(30);
const REMOVAL_POLL: Duration = Duration::from_millis(50);

/// All functions of a platform. Dropped, no container is left.
#[derive(Debug)]
pub(crate) struct Functions {
    pub(crate) shared: Arc<Shared>,
    pools: Pools<Pool>,
    /// The architecture of the daemon's machine, such as `amd64`; empty where the daemon does not say.
    architecture: String,
}

impl Functions {
    pub(crate) fn new(shared: Shared, architecture: String) -> Self {
        Self { shared: Arc::new(shared), pools: Pools::default(), architecture }
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

    /// Checks what can be checked without the daemon. Returns the deployment and the image that it runs in.
    pub(crate) fn prepare(&self, function: &Deployable) -> Result<(Deployment, String)> {
        function.validate()?;
        let reference = match function.any_image() {
            Some(image) => image.reference.clone(),
            None => self.shared.config.image(&function.runtime)?,
        };
        let family = function.runtime.family();
        if !matches!(family, "python" | "nodejs" | "native") {
            // An image has whatever it has, but no shim of Falco's for another language.
            return Err(Error::unsupported(format!(
                "the runtime {} is not available",
                function.runtime
            ))
            .with_hint("those available: python:3, nodejs, native, each with a version"));
        }
        if matches!(function.code, Code::Source(_) | Code::Archive(_))
            && function.image.as_ref().is_some_and(|image| !image.arguments.is_empty())
        {
            return Err(Error::invalid_input(
                "the arguments of an image that code runs in have no effect",
            )
            .with_hint("leave them out, or deploy Deployable::from_image"));
        }
        if matches!(function.code, Code::Image(_)) && function.arguments.is_some() {
            return Err(Error::unsupported("arguments cannot be stored with an image").with_hint(
                "put them into each payload, into environment variables or into the image",
            ));
        }
        for folder in &function.folders {
            self.check_folder(folder)?;
        }
        let scaling = self.shared.config.workers.in_force(&function.scaling)?;
        let scaling = scaling.with_cpus(function.scaling.cpus);
        let deployment = Deployment::new(&function.name, function.runtime.clone())
            .with_platform(NAME)
            .with_scaling(scaling)
            .with_ownership(function.ownership.clone())
            .with_attribute("image", &reference);
        Ok((deployment, reference))
    }

    /// Checks that the daemon sees a folder of this machine. One that is written to is made, as the function would do it here.
    fn check_folder(&self, folder: &Folder) -> Result<()> {
        let Folder { path, .. } = folder;
        let host = &self.shared.config.host;
        if is_remote(host) {
            return Err(folder_of_another(host, path));
        }
        if path.contains(':') || !path.starts_with('/') {
            return Err(Error::invalid_input(format!("the folder {path:?} cannot be mounted"))
                .with_hint("use an absolute path without a colon"));
        }
        if folder.writable
            && let Err(error) = std::fs::create_dir_all(path)
        {
            return Err(Error::invalid_input(format!("the folder {path} cannot be made"))
                .with_source(&error));
        }
        Ok(())
    }

    /// Makes the image of a function. One of the same name is replaced.
    pub(crate) async fn deploy(
        &self,
        function: &Deployable,
        deployment: Deployment,
        reference: &str,
    ) -> Result<Deployment> {
        let images = &self.shared.images;
        let config = &self.shared.config;
        let base = images.base(reference, config.pull).await?;
        self.check_architecture(reference, &base)?;
        let protocol = match config.protocol {
            Some(protocol) => protocol,
            None => Protocol::of_image(base.config.as_ref())
                .map_err(|error| error.context(format_args!("the image {reference}")))?,
        };
        if protocol.has_port() && is_remote(&config.host) {
            return Err(port_of_another(&config.host, protocol));
        }
        let bundle = pack(function, protocol, &base)?;
        let id = base.id.as_deref().unwrap_or(reference);
        // The images of the other protocols start by themselves, and take only what is made for them.
        if protocol == Protocol::Pipe {
            let asked = (id, reference);
            let (docker, host) = (&images.docker, &images.host);
            probe::check(docker, host, asked, &function.runtime).await?;
        }
        let deployment = deployment.with_attribute("version", &bundle.version);
        let (dialogue, binds) = (bundle.dialogue, bundle.binds.clone());
        let before = images.load(&deployment.name).await.ok();
        let key = before.as_ref().map(|before| before.key.clone()).filter(|key| !key.is_empty());
        let key = key.map_or_else(new_key, Ok)?;
        let settings = bundle.settings(&key);
        let stored = Stored { image: String::new(), deployment, dialogue, settings, key, binds };
        let image = match &before {
            Some(before) if is_deployed(before, &stored) => {
                if is_owned(before, &stored) {
                    self.install(before).set_init(bundle.init);
                    return Ok(before.deployment.clone());
                }
                images.relabel(&Stored { image: before.image.clone(), ..stored.clone() }).await?
            }
            _ => images.build(id, &stored, &bundle).await?,
        };
        let stored = Stored { image: image.clone(), ..stored };
        self.install(&stored).set_init(bundle.init);
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
        self.pools.get(name)
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
            dialogue: stored.dialogue,
            binds: stored.binds.clone(),
        };
        let limits = self.shared.config.workers.pool(&deployment.scaling);
        let make =
            |function, limits| Pool::new(function, self.shared.clone(), limits, worker::work);
        self.pools.install(&deployment.name, function, limits, make)
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        let ended = self.pools.close(name);
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
}

/// Whether a deployment is what is wanted, but for its owner. Its version names its files and the image that it was made of.
fn is_deployed(there: &Stored, wanted: &Stored) -> bool {
    let of_owner = there.deployment.clone().with_ownership(wanted.deployment.ownership.clone());
    of_owner == wanted.deployment
        && (there.dialogue, &there.settings) == (wanted.dialogue, &wanted.settings)
}

/// Whether a deployment has the marks of this owner already.
fn is_owned(there: &Stored, wanted: &Stored) -> bool {
    match (&wanted.deployment.ownership, &there.deployment.ownership) {
        (Some(owner), Some(there)) => owner.is_written_as(there),
        (owner, there) => owner == there,
    }
}
