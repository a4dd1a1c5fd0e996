//! Where the daemon is, which images functions run in, and how much they may use.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use falco_core::{Bounds, Error, Result, RuntimeName};

use crate::NAME;
use crate::context;
use crate::isolation::Isolation;

const MIB: u64 = 1024 * 1024;

/// Docker takes no less than 6 MB ("Minimum memory limit allowed is 6MB"); interpreters need more.
pub(crate) const MEMORY_MIB: Bounds<u32> = Bounds { min: 16, max: 1024 * 1024 };

/// How long a function may be allowed to run.
pub(crate) const TIMEOUT: Bounds<Duration> =
    Bounds { min: Duration::from_millis(1), max: Duration::from_secs(24 * 60 * 60) };

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
/// use falco_docker::{DockerConfig, Pull};
///
/// let config = DockerConfig::new("unix:///var/run/docker.sock")
///     .with_image("python", "registry.example.org/science:2026-11")
///     .with_pull(Pull::Never)
///     .with_max_workers(4);
/// assert_eq!(config.max_workers, 4);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DockerConfig {
    /// The daemon: `unix:///var/run/docker.sock`, `tcp://host:2375`.
    pub host: String,
    /// The image of each family of runtimes (`python`, `nodejs`, `native`), where it is not the usual one:
    /// `python:3-slim` for `python:3`, `node:22-slim` for `nodejs:22`, `debian:stable-slim` for `native`.
    pub images: BTreeMap<String, String>,
    /// When images are pulled.
    pub pull: Pull,
    /// The rights of containers.
    pub isolation: Isolation,
    /// Containers of one deployment at most, unless its `max_instances` says otherwise.
    pub max_workers: u32,
    /// How long a container stays warm without work.
    pub idle_timeout: Duration,
    /// How long a container may take to start and to load the function's code.
    pub start_timeout: Duration,
    /// How long an activation may run, unless the function's settings say otherwise.
    pub timeout: Duration,
    /// Longest argument, in bytes.
    pub max_payload: u64,
    /// Longest result, in bytes.
    pub max_result: u64,
    /// Longest log of one activation, in bytes; the rest is thrown away and the log marked as truncated.
    pub max_log: u64,
    /// How much log is kept for `activation_log`, in bytes; the oldest goes first.
    pub retained_logs: u64,
}

impl DockerConfig {
    /// The daemon at `host`, and the defaults for the rest.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            images: BTreeMap::new(),
            pull: Pull::default(),
            isolation: Isolation::default(),
            max_workers: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            idle_timeout: Duration::from_secs(60),
            start_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            max_payload: 64 * MIB,
            max_result: 64 * MIB,
            max_log: 10 * MIB,
            retained_logs: 64 * MIB,
        }
    }

    /// The daemon that the command `docker` would talk to: `DOCKER_HOST`, else the current docker context, else the
    /// usual socket. Images by `FALCO_DOCKER_IMAGE_PYTHON`, `FALCO_DOCKER_IMAGE_NODEJS` and
    /// `FALCO_DOCKER_IMAGE_NATIVE`; `FALCO_DOCKER_PULL` is `missing`, `always` or `never`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a context that cannot be read and for another word in `FALCO_DOCKER_PULL`.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut config = Self::new(context::host(&variable)?);
        for family in ["python", "nodejs", "native"] {
            let name = format!("FALCO_DOCKER_IMAGE_{}", family.to_ascii_uppercase());
            if let Some(image) = variable(&name) {
                config = config.with_image(family, image);
            }
        }
        config.pull = match variable("FALCO_DOCKER_PULL").as_deref() {
            None | Some("missing") => Pull::Missing,
            Some("always") => Pull::Always,
            Some("never") => Pull::Never,
            Some(other) => {
                return Err(invalid(format!(
                    "FALCO_DOCKER_PULL is {other:?}: use missing, always or never"
                )));
            }
        };
        Ok(config)
    }

    /// Sets the image of a family of runtimes: `python`, `nodejs` or `native`.
    #[must_use]
    pub fn with_image(mut self, family: impl Into<String>, image: impl Into<String>) -> Self {
        self.images.insert(family.into(), image.into());
        self
    }

    /// Sets when images are pulled.
    #[must_use]
    pub fn with_pull(mut self, pull: Pull) -> Self {
        self.pull = pull;
        self
    }

    /// Sets what containers may do.
    #[must_use]
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets how many containers one deployment may have.
    #[must_use]
    pub fn with_max_workers(mut self, workers: u32) -> Self {
        self.max_workers = workers;
        self
    }

    /// Sets how long a container stays warm without work.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets how long a container may take to start and to load the function's code.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Sets how long an activation may run where the function's settings don't say.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the longest argument, in bytes.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets the longest result, in bytes.
    #[must_use]
    pub fn with_max_result(mut self, bytes: u64) -> Self {
        self.max_result = bytes;
        self
    }

    /// Sets the longest log of one activation, in bytes.
    #[must_use]
    pub fn with_max_log(mut self, bytes: u64) -> Self {
        self.max_log = bytes;
        self
    }

    /// Sets how much log is kept, in bytes.
    #[must_use]
    pub fn with_retained_logs(mut self, bytes: u64) -> Self {
        self.retained_logs = bytes;
        self
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

    pub(crate) fn validate(&self) -> Result<()> {
        let zero = [
            ("max_workers", self.max_workers == 0),
            ("timeout", self.timeout.is_zero()),
            ("start_timeout", self.start_timeout.is_zero()),
            ("max_payload", self.max_payload == 0),
            ("max_result", self.max_result == 0),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(invalid(format!("{name} must not be zero"))),
            None => Ok(()),
        }
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
        let config = DockerConfig::from_variables(|name| match name {
            "DOCKER_HOST" => Some("tcp://build:2375".into()),
            "FALCO_DOCKER_IMAGE_PYTHON" => Some("science:1".into()),
            "FALCO_DOCKER_PULL" => Some("never".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(config.host, "tcp://build:2375");
        assert_eq!(config.image(&"python:3.12".parse().unwrap()).unwrap(), "science:1");
        assert_eq!(config.image(&"nodejs:22".parse().unwrap()).unwrap(), "node:22-slim");
        assert_eq!(config.pull, Pull::Never);
    }

    #[test]
    fn an_unknown_word_for_pulling_is_refused() {
        let error = DockerConfig::from_variables(|name| {
            (name == "FALCO_DOCKER_PULL").then(|| "sometimes".into())
        })
        .unwrap_err();
        assert!(error.to_string().contains("missing, always or never"), "{error}");
    }
}
