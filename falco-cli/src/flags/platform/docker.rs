//! Containers.

use clap::Args;

use super::Inspected;

/// Settings without a flag are read as the command `docker` reads them.
#[cfg_attr(
    not(feature = "docker"),
    allow(dead_code, reason = "parsed, so that --help and errors are the same")
)]
#[derive(Debug, Args)]
#[command(next_help_heading = "Docker (else DOCKER_HOST, the current docker context, ..)")]
pub(super) struct DockerFlags {
    /// The network of the containers: none, bridge, or one of your own.
    #[arg(long, value_name = "NETWORK", default_value = "none")]
    docker_network: String,
}

/// Where the daemon is looked for.
#[cfg(feature = "docker")]
pub(super) fn inspect() -> Inspected {
    let endpoint =
        falco_docker::DockerConfig::from_env().ok().map(|config| config.host().to_owned());
    Inspected { endpoint, ..Inspected::default() }
}

/// Without the platform nobody looks for a daemon.
#[cfg(not(feature = "docker"))]
pub(super) fn inspect() -> Inspected {
    Inspected::default()
}

#[cfg(feature = "docker")]
impl DockerFlags {
    pub(super) async fn connect(
        &self,
    ) -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
        use falco_docker::{DockerConfig, DockerPlatform, Isolation};

        let isolation = Isolation::default().with_network(&self.docker_network);
        let config = DockerConfig::builder().isolation(isolation);
        Ok(std::sync::Arc::new(DockerPlatform::connect(config.build_with_env()?).await?))
    }
}
