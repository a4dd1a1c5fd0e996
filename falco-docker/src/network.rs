//! The network of containers that are reached by a port.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use falco_core::{Error, Result};

use crate::refusal::refusal;

/// Falco's own network: containers in it have ports, and lead nowhere. Without masquerading no answer finds its way back to
/// them, and they do not reach one another.
pub(crate) const NETWORK: &str = "falco-ports";

const OPTIONS: [(&str, &str); 2] = [
    ("com.docker.network.bridge.enable_ip_masquerade", "false"),
    ("com.docker.network.bridge.enable_icc", "false"),
];

/// Makes Falco's network, unless it is there.
pub(crate) async fn ensure(docker: &Docker, host: &str) -> Result<()> {
    if docker.inspect_network(NETWORK, None).await.is_ok() {
        return Ok(());
    }
    let options = OPTIONS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let network = NetworkCreateRequest {
        name: NETWORK.into(),
        driver: Some("bridge".into()),
        options: Some(HashMap::from(options)),
        ..NetworkCreateRequest::default()
    };
    match docker.create_network(network).await {
        Ok(_) => Ok(()),
        // Another process was faster.
        Err(_) if docker.inspect_network(NETWORK, None).await.is_ok() => Ok(()),
        Err(error) => Err(refused(refusal(host, &error))),
    }
}

fn refused(error: Error) -> Error {
    error
        .context(format!("the network {NETWORK} for ports of containers cannot be made"))
        .with_hint("use Protocol::Pipe, which needs none, or set Isolation::network to a bridge that is there")
}
