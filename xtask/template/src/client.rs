//! The requests.

use std::time::Duration;

use falco_core::Result;
use falco_http::{JsonApi, Reply};

use crate::config::{{Name}}Config;
use crate::refusal::refusal;

/// The longest that a function may run. Its call is held open for so long, and a little longer.
pub(crate) const LONGEST_RUN: Duration = Duration::from_secs(15 * 60);

/// The provider's API, with the credentials for it. All requests go below the path of the endpoint.
pub(crate) fn api(config: {{Name}}Config) -> Result<JsonApi> {
    let http = config.http.with_read_timeout(LONGEST_RUN + Duration::from_secs(10));
    let api = JsonApi::new(http.build()?, config.endpoint);
    match &config.token {
        Some(token) => api.with_authorization("Bearer ", token),
        None => Ok(api),
    }
}

/// The reply, if the request has succeeded. The platform says of which operation an error is.
pub(crate) fn success(reply: Reply) -> Result<Reply> {
    if reply.status.is_success() { Ok(reply) } else { Err(refusal(&reply)) }
}
