//! The connection to the daemon.

use bollard::Docker;
use bollard::errors::Error as DockerError;
use falco_core::{Error, Result};

use crate::NAME;
use crate::refusal::{nobody_there, refusal};

/// Connects to the daemon at `host`. Nothing is sent yet.
pub(crate) fn connect(host: &str) -> Result<Docker> {
    Docker::connect_with_host(host).map_err(|error| match error {
        DockerError::SocketNotFoundError(_) => nobody_there(host),
        DockerError::UnsupportedURISchemeError { .. } => {
            Error::invalid_input(format!("the address {host:?} of the daemon is not understood"))
                .with_platform(NAME)
                .with_hint("set DOCKER_HOST to unix:///PATH or tcp://HOST:PORT; client certificates need the feature tls")
        }
        other => refusal(host, &other).with_platform(NAME),
    })
}

#[cfg(test)]
mod tests {
    use falco_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_named() {
        let host = "unix:///nowhere/docker.sock";
        let error = match connect(host) {
            Err(error) => error,
            Ok(docker) => refusal(host, &docker.ping().await.unwrap_err()),
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains(host) && text.contains("DOCKER_HOST"), "{text}");
        assert!(error.is_unreachable() && !error.may_have_run());
    }
}
