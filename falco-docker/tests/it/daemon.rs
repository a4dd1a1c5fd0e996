//! The daemon that the tests use.

#![expect(clippy::print_stderr, reason = "what is skipped is named")]

use bollard::Docker;
use falco_docker::{DockerConfig, DockerConfigBuilder, Pull};

use crate::image;

/// Names the daemon; `cargo xtask test` starts one of its own and sets it.
const HOST: &str = "FALCO_TEST_DOCKER";

/// The daemon's address, if there is one. Without one the tests are skipped by name, and fail in CI.
pub(crate) fn host() -> Option<String> {
    let host = std::env::var(HOST).ok().filter(|host| !host.is_empty());
    if host.is_none() {
        assert!(
            std::env::var("CI").map_or(true, |ci| ci != "true"),
            "CI needs a Docker daemon: {HOST} is not set"
        );
        eprintln!("skipped: no Docker daemon, {HOST} is not set (cargo xtask test starts one)");
    }
    host
}

/// A connection to the daemon, which has the image of the tests.
pub(crate) async fn docker(host: &str) -> Docker {
    let docker = Docker::connect_with_host(host).unwrap().negotiate_version().await.unwrap();
    image::make(&docker).await;
    docker
}

/// A configuration for the tests.
pub(crate) async fn config(host: &str) -> DockerConfigBuilder {
    config_with(host, image::IMAGE).await
}

/// A configuration in which all functions run in `image`.
pub(crate) async fn config_with(host: &str, image: &str) -> DockerConfigBuilder {
    drop(docker(host).await);
    let config = DockerConfig::builder().host(host).pull(Pull::Never);
    ["python", "nodejs", "native"]
        .into_iter()
        .fold(config, |config, family| config.image(family, image))
}
