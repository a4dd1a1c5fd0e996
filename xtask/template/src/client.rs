//! The requests.

use falco_core::Result;
use falco_http::{JsonApi, Reply};

use crate::config::{{Name}}Config;
use crate::refusal::refusal;

/// The provider's API, with the credentials for it. All requests go below the path of the endpoint.
pub(crate) fn api(config: {{Name}}Config) -> Result<JsonApi> {
    let api = JsonApi::new(config.http.build()?, config.endpoint);
    match &config.token {
        Some(token) => api.with_authorization("Bearer ", token),
        None => Ok(api),
    }
}

/// The reply, if the request has succeeded. The platform says of which operation an error is.
pub(crate) fn success(reply: Reply) -> Result<Reply> {
    if reply.status.is_success() { Ok(reply) } else { Err(refusal(&reply)) }
}
