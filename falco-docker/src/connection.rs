//! The connection to the daemon.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as DockerError;
use falco_core::{Error, Result};

use crate::NAME;
use crate::refusal::{nobody_there, refusal};
use crate::tls::Tls;

/// Connects to the daemon at `host`, whose answers may take so long. Nothing is sent yet.
pub(crate) fn connect(host: &str, tls: Option<&Tls>, timeout: Duration) -> Result<Docker> {
    let docker = match tls {
        Some(tls) => tls.connect(host)?,
        None => connect_without_tls(host)?,
    };
    Ok(docker.with_timeout(timeout))
}

fn connect_without_tls(host: &str) -> Result<Docker> {
    /// The default of bollard, which the caller replaces.
    const TIMEOUT_S: u64 = 120;

    // Not by `connect_with_host`, which asks for TLS by this process's variables, whatever the configuration says.
    let connected = match host.split_once("://") {
        Some(("tcp" | "http", _)) => {
            Docker::connect_with_http(host, TIMEOUT_S, bollard::API_DEFAULT_VERSION)
        }
        _ => Docker::connect_with_host(host),
    };
    connected.map_err(|error| match error {
        DockerError::SocketNotFoundError(_) => nobody_there(host),
        DockerError::UnsupportedURISchemeError { .. } => {
            Error::invalid_input(format!("the address {host:?} of the daemon is not understood"))
                .with_platform(NAME)
                .with_hint("set DOCKER_HOST to unix:///PATH or tcp://HOST:PORT; tcp with TLS needs certificates, see DockerConfigBuilder::tls")
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
        let error = match connect(host, None, Duration::from_secs(5)) {
            Err(error) => error,
            Ok(docker) => refusal(host, &docker.ping().await.unwrap_err()),
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains(host) && text.contains("DOCKER_HOST"), "{text}");
        assert!(error.is_unreachable() && !error.may_have_run());
    }
}
