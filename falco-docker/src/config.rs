//! Where the daemon is, which images functions run in, and how much they may use.

use std::collections::BTreeMap;
use std::env;

use falco_core::{Error, Result, RuntimeName};
use falco_workers::WorkerLimits;

use crate::NAME;
use crate::context;
use crate::isolation::Isolation;

/// When images are pulled from their registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pull {
    /// When the daemon does not have them.
    #[default]
    Missing,
    /// Once for each deployment, so that a tag that has moved is noticed.
    Always,
    /// Never: an image that the daemon does not have is an error.
    Never,
}

/// How functions run in containers.
///
/// # Examples
///
/// ```
/// use falco_docker::{DockerConfig, Pull, WorkerLimits};
///
/// let config = DockerConfig::builder()
///     .host("unix:///var/run/docker.sock")
///     .image("python", "registry.example.org/science:2026-11")
///     .pull(Pull::Never)
///     .workers(WorkerLimits::default().with_max_workers(4))
///     .build()?;
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DockerConfig {
    pub(crate) host: String,
    pub(crate) images: BTreeMap<String, String>,
    pub(crate) pull: Pull,
    pub(crate) isolation: Isolation,
    pub(crate) workers: WorkerLimits,
}

impl DockerConfig {
    /// A configuration that is set step by step.
    pub fn builder() -> DockerConfigBuilder {
        DockerConfigBuilder::default()
    }

    /// The environment's values for everything: see [`DockerConfigBuilder::build_with_env`].
    ///
    /// # Errors
    ///
    /// As [`DockerConfigBuilder::build_with_env`].
    pub fn from_env() -> Result<Self> {
        Self::builder().build_with_env()
    }

    /// The daemon's address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The image that functions of a runtime run in.
    pub(crate) fn image(&self, runtime: &RuntimeName) -> Result<String> {
        if let Some(image) = self.images.get(runtime.family()) {
            return Ok(image.clone());
        }
        match (runtime.family(), runtime.version()) {
            ("python", version) => Ok(format!("python:{}-slim", version.unwrap_or("3"))),
            ("nodejs", Some(version)) => Ok(format!("node:{version}-slim")),
            ("nodejs", None) => Ok("node:slim".into()),
            ("native", None) => Ok("debian:stable-slim".into()),
            _ => Err(Error::unsupported(format!("the runtime {runtime} is not available"))
                .with_hint("those available: python:3, nodejs, native, each with a version")),
        }
    }
}

/// Sets a [`DockerConfig`] step by step.
#[derive(Clone, Debug, Default)]
pub struct DockerConfigBuilder {
    host: Option<String>,
    images: BTreeMap<String, String>,
    pull: Option<Pull>,
    isolation: Isolation,
    workers: WorkerLimits,
}

impl DockerConfigBuilder {
    /// The daemon: `unix:///var/run/docker.sock`, `tcp://host:2375`.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The image of a family of runtimes (`python`, `nodejs`, `native`), where it is not the usual one: `python:3-slim` for
    /// `python:3`, `node:22-slim` for `nodejs:22`, `debian:stable-slim` for `native`.
    #[must_use]
    pub fn image(mut self, family: impl Into<String>, image: impl Into<String>) -> Self {
        self.images.insert(family.into(), image.into());
        self
    }

    /// Sets when images are pulled: when they are missing, by default.
    #[must_use]
    pub fn pull(mut self, pull: Pull) -> Self {
        self.pull = Some(pull);
        self
    }

    /// Sets the rights of containers.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets how many containers a deployment has, how long they live, and how much a call may take.
    #[must_use]
    pub fn workers(mut self, workers: WorkerLimits) -> Self {
        self.workers = workers;
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when no daemon is set, and for a limit of zero.
    pub fn build(self) -> Result<DockerConfig> {
        let Self { host, images, pull, isolation, workers } = self;
        let at = |error: Error| error.with_platform(NAME);
        let host = host.ok_or_else(|| {
            at(Error::invalid_input("no Docker daemon is set"))
                .with_hint("set DockerConfigBuilder::host, or use build_with_env")
        })?;
        workers.validate().map_err(at)?;
        Ok(DockerConfig { host, images, pull: pull.unwrap_or_default(), isolation, workers })
    }

    /// As [`build`](Self::build), with the environment's values for what is not set. The daemon is the one that the command
    /// `docker` would talk to: `DOCKER_HOST`, else the current docker context, else the usual socket. Images are those of
    /// `FALCO_DOCKER_IMAGE_PYTHON`, `FALCO_DOCKER_IMAGE_NODEJS` and `FALCO_DOCKER_IMAGE_NATIVE`; `FALCO_DOCKER_PULL` is
    /// `missing`, `always` or `never`.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), and `InvalidInput` for a context that cannot be read and for another word in
    /// `FALCO_DOCKER_PULL`.
    pub fn build_with_env(self) -> Result<DockerConfig> {
        self.build_with(&|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`build_with_env`](Self::build_with_env), with variables from elsewhere.
    ///
    /// # Errors
    ///
    /// As [`build_with_env`](Self::build_with_env).
    pub fn build_with(mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<DockerConfig> {
        if self.host.is_none() {
            self.host = Some(context::host(variable)?);
        }
        for family in ["python", "nodejs", "native"] {
            let name = format!("FALCO_DOCKER_IMAGE_{}", family.to_ascii_uppercase());
            if let Some(image) = variable(&name) {
                self.images.entry(family.to_owned()).or_insert(image);
            }
        }
        let pull = match variable("FALCO_DOCKER_PULL").as_deref() {
            None | Some("missing") => Pull::Missing,
            Some("always") => Pull::Always,
            Some("never") => Pull::Never,
            Some(other) => {
                return Err(invalid(format!(
                    "invalid FALCO_DOCKER_PULL {other:?}: use missing, always or never"
                )));
            }
        };
        self.pull.get_or_insert(pull);
        self.build()
    }
}

fn invalid(message: String) -> Error {
    Error::invalid_input(message).with_platform(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_name_the_daemon_the_images_and_the_pulling() {
        let builder = DockerConfig::builder().image("native", "mine");
        let config = builder
            .build_with(&|name| match name {
                "DOCKER_HOST" => Some("tcp://build:2375".into()),
                "FALCO_DOCKER_IMAGE_PYTHON" => Some("science:1".into()),
                "FALCO_DOCKER_IMAGE_NATIVE" => Some("theirs".into()),
                "FALCO_DOCKER_PULL" => Some("never".into()),
                _ => None,
            })
            .unwrap();
        assert_eq!(config.host, "tcp://build:2375");
        assert_eq!(config.image(&"python:3.12".parse().unwrap()).unwrap(), "science:1");
        assert_eq!(config.image(&"nodejs:22".parse().unwrap()).unwrap(), "node:22-slim");
        assert_eq!(config.image(&"native".parse().unwrap()).unwrap(), "mine");
        assert_eq!(config.pull, Pull::Never);
    }

    #[test]
    fn an_unknown_word_for_pulling_is_refused() {
        let error = DockerConfig::builder()
            .build_with(&|name| (name == "FALCO_DOCKER_PULL").then(|| "sometimes".into()))
            .unwrap_err();
        assert!(error.to_string().contains("missing, always or never"), "{error}");
    }
}
