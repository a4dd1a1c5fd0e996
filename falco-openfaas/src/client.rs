//! The requests.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::Result;
use falco_http::reqwest::StatusCode;
use falco_http::{JsonApi, Reply, Secret};

use crate::config::OpenFaasConfig;
use crate::refusal::refusal;

/// The longest that a function may run. Its call is held open for so long.
pub(crate) const LONGEST_RUN: Duration = Duration::from_secs(15 * 60);

/// How long an answer may take after the function has to be over.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// How long the gateway may take for what runs no function.
pub(crate) const REQUEST: Duration = Duration::from_secs(90);

/// The gateway's API, with the credentials for it.
pub(crate) fn api(config: &OpenFaasConfig) -> Result<JsonApi> {
    // The connection is silent for as long as the function runs.
    let http = config.http.clone().with_read_timeout(LONGEST_RUN + MARGIN * 2);
    let api = JsonApi::new(http.build()?, config.gateway.clone());
    let Some(password) = &config.password else { return Ok(api) };
    let pair = Secret::from(BASE64.encode(format!("{}:{}", config.user, password.expose())));
    api.with_authorization("Basic ", &pair)
}

/// The reply, if it has the only status that answers the request.
pub(crate) fn wanted(reply: Reply, status: StatusCode) -> Result<Reply> {
    if reply.status == status { Ok(reply) } else { Err(refusal(&reply)) }
}
