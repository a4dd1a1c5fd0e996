//! Where the daemon is, which images functions run in, and how much they may use.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use falco_core::{Error, Result, RuntimeName};
use falco_workers::WorkerLimits;

use crate::NAME;
use crate::context;
use crate::isolation::Isolation;
use crate::protocol::Protocol;
use crate::tls::Tls;

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
    pub(crate) tls: Option<Tls>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) images: BTreeMap<String, String>,
    pub(crate) pull: Pull,
    pub(crate) isolation: Isolation,
    pub(crate) workers: WorkerLimits,
    pub(crate) answer_timeout: Duration,
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
        usual_image(self.protocol.unwrap_or_default(), runtime).ok_or_else(|| {
            Error::unsupported(format!("the runtime {runtime} is not available"))
                .with_hint("those available: python:3, nodejs, native, each with a version")
        })
    }
}

/// The image that functions of a runtime usually run in, where containers speak `protocol`.
fn usual_image(protocol: Protocol, runtime: &RuntimeName) -> Option<String> {
    let version = runtime.version();
    // `python:3` is any Python 3, and not each registry has a tag for that.
    let exact =
        |default: &str| version.filter(|version| *version != "3").unwrap_or(default).to_owned();
    Some(match (protocol, runtime.family()) {
        (Protocol::Pipe, "python") => format!("python:{}-slim", version.unwrap_or("3")),
        (Protocol::Pipe, "nodejs") => match version {
            Some(version) => format!("node:{version}-slim"),
            None => "node:slim".into(),
        },
        (Protocol::Pipe, "native") if version.is_none() => "debian:stable-slim".into(),
        (Protocol::Action, "python") => format!("openwhisk/action-python-v{}", exact("3.12")),
        (Protocol::Action, "nodejs") => format!("openwhisk/action-nodejs-v{}", exact("20")),
        (Protocol::Action, "native") if version.is_none() => "openwhisk/action-golang-v1.20".into(),
        (Protocol::Lambda, "python") => format!("public.ecr.aws/lambda/python:{}", exact("3.13")),
        (Protocol::Lambda, "nodejs") => format!("public.ecr.aws/lambda/nodejs:{}", exact("22")),
        (Protocol::Lambda, "native") if version.is_none() => {
            "public.ecr.aws/lambda/provided:al2023".into()
        }
        _ => return None,
    })
}

/// How long an answer of the daemon may take, unless set: a busy machine takes its time to start containers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Sets a [`DockerConfig`] step by step.
#[derive(Clone, Debug, Default)]
pub struct DockerConfigBuilder {
    host: Option<String>,
    tls: Option<Tls>,
    protocol: Option<Protocol>,
    images: BTreeMap<String, String>,
    pull: Option<Pull>,
    isolation: Isolation,
    workers: WorkerLimits,
    answer_timeout: Option<Duration>,
}

impl DockerConfigBuilder {
    /// The daemon: `unix:///var/run/docker.sock`, `tcp://host:2375`.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The certificates for a daemon at `tcp://` that speaks TLS: see [`Tls`]. It takes the feature `tls`.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how containers are spoken to. Without it, an image's label `falco.protocol` says it, then its entry point, and else
    /// it is [`Protocol::Pipe`].
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
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

    /// Sets how long an answer of the daemon may take, in whole seconds: 120 s by default. It does not limit functions.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = Some(timeout);
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when no daemon is set, for a limit of zero, for an `answer_timeout` of less than a second, and for a
    /// setting that a daemon on another machine cannot fulfil: mounted folders, and protocols that need a port of this machine.
    pub fn build(self) -> Result<DockerConfig> {
        let Self { host, tls, protocol, images, pull, isolation, workers, answer_timeout } = self;
        let at = |error: Error| error.with_platform(NAME);
        let host = host.ok_or_else(|| {
            at(Error::invalid_input("no Docker daemon is set"))
                .with_hint("set DockerConfigBuilder::host, or use build_with_env")
        })?;
        workers.validate().map_err(at)?;
        if is_remote(&host) {
            if let Some(mount) = isolation.mounts.first() {
                return Err(folder_of_another(&host, &mount.from));
            }
            if let Some(protocol) = protocol.filter(|protocol| protocol.has_port()) {
                return Err(port_of_another(&host, protocol));
            }
        }
        let pull = pull.unwrap_or_default();
        let answer_timeout = answer_timeout.unwrap_or(ANSWER_TIMEOUT);
        if answer_timeout < Duration::from_secs(1) {
            let message = format!("invalid timeout {answer_timeout:?} for the daemon's answers");
            return Err(at(Error::invalid_input(message)).with_hint("use a second or more"));
        }
        Ok(DockerConfig { host, tls, protocol, images, pull, isolation, workers, answer_timeout })
    }

    /// As [`build`](Self::build), with the environment's values for what is not set. The daemon is the one that the command
    /// `docker` would talk to: `DOCKER_HOST`, else the current docker context, else the usual socket. Images are those of
    /// `FALCO_DOCKER_IMAGE_PYTHON`, `FALCO_DOCKER_IMAGE_NODEJS` and `FALCO_DOCKER_IMAGE_NATIVE`; `FALCO_DOCKER_PULL` is
    /// `missing`, `always` or `never`, and `FALCO_DOCKER_PROTOCOL` `pipe`, `action` or `lambda`. A daemon that is named by
    /// `DOCKER_HOST` is spoken to over TLS where `DOCKER_TLS_VERIFY` is set, with the certificates in `DOCKER_CERT_PATH`; one
    /// of a context, with those of the context.
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
            let daemon = context::daemon(variable)?;
            self.host = Some(daemon.host);
            self.tls = self.tls.or(daemon.tls);
        }
        if self.protocol.is_none() {
            let protocol = variable("FALCO_DOCKER_PROTOCOL").map(|name| name.parse());
            let at = |error: Error| error.context("FALCO_DOCKER_PROTOCOL").with_platform(NAME);
            self.protocol = protocol.transpose().map_err(at)?;
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

/// Whether a daemon is on another machine, as far as its address says.
pub(crate) fn is_remote(host: &str) -> bool {
    let Some((scheme, address)) = host.split_once("://") else { return false };
    let is_here = ["localhost", "127.", "[::1]"].iter().any(|own| address.starts_with(own));
    matches!(scheme, "tcp" | "http" | "https" | "ssh") && !is_here
}

/// The error for a folder of this machine that a daemon on another does not see.
pub(crate) fn folder_of_another(host: &str, folder: &str) -> Error {
    let message =
        format!("the folder {folder} is on this machine, and the daemon at {host} is on another");
    invalid(message)
        .with_hint("use a store that both reach, such as a bucket, or a daemon on this machine")
}

/// The error for a container whose port is published on another machine.
pub(crate) fn port_of_another(host: &str, protocol: Protocol) -> Error {
    let message = format!(
        "{protocol:?} reaches containers by a port of this machine, and the daemon at {host} is on another"
    );
    invalid(message).with_hint("use Protocol::Pipe, or a daemon on this machine")
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
                "FALCO_DOCKER_PROTOCOL" => Some("pipe".into()),
                _ => None,
            })
            .unwrap();
        assert_eq!(config.protocol, Some(Protocol::Pipe));
        assert_eq!(config.host, "tcp://build:2375");
        assert_eq!(config.image(&"python:3.12".parse().unwrap()).unwrap(), "science:1");
        assert_eq!(config.image(&"nodejs:22".parse().unwrap()).unwrap(), "node:22-slim");
        assert_eq!(config.image(&"native".parse().unwrap()).unwrap(), "mine");
        assert_eq!(config.pull, Pull::Never);
    }

    #[test]
    fn a_daemon_on_another_machine_gets_no_folders_and_no_ports_of_this_one() {
        use crate::isolation::Mount;

        let there = || DockerConfig::builder().host("tcp://build:2376");
        let folder = Isolation::default().with_mount(Mount::read_only("/data", "/data"));
        for builder in [there().isolation(folder.clone()), there().protocol(Protocol::Action)] {
            let error = builder.build().unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), falco_core::ErrorKind::InvalidInput, "{text}");
            assert!(text.contains("tcp://build:2376") && error.hint().is_some(), "{text}");
        }
        for host in ["tcp://127.0.0.1:2375", "unix:///x", "npipe:////./pipe/docker_engine"] {
            let config = DockerConfig::builder().host(host).protocol(Protocol::Lambda);
            config.isolation(folder.clone()).build().unwrap();
        }
    }

    #[test]
    fn each_protocol_has_images_of_its_own() {
        let image = |protocol, runtime: &str| {
            let config = DockerConfig::builder().host("unix:///x").protocol(protocol);
            config.build().unwrap().image(&runtime.parse().unwrap()).map_err(|e| e.to_string())
        };
        assert_eq!(
            image(Protocol::Action, "python:3.11").unwrap(),
            "openwhisk/action-python-v3.11"
        );
        assert_eq!(image(Protocol::Lambda, "nodejs").unwrap(), "public.ecr.aws/lambda/nodejs:22");
        assert_eq!(
            image(Protocol::Lambda, "python:3").unwrap(),
            "public.ecr.aws/lambda/python:3.13"
        );
        assert!(image(Protocol::Pipe, "ruby:3").unwrap_err().contains("python:3"));
    }

    #[test]
    fn an_unknown_word_for_pulling_is_refused() {
        let error = DockerConfig::builder()
            .build_with(&|name| (name == "FALCO_DOCKER_PULL").then(|| "sometimes".into()))
            .unwrap_err();
        assert!(error.to_string().contains("missing, always or never"), "{error}");
    }
}
