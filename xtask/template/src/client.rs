//! The requests, and the one mapping of refusals to [`Error`].

use falco_core::{Error, ErrorKind, Result};
use falco_http::reqwest::header::AUTHORIZATION;
use falco_http::reqwest::{Method, StatusCode, Url};
use falco_http::{Client, Reply, Secret};

use crate::config::{{Name}}Config;

/// The longest reply that is read, in bytes.
const LONGEST_REPLY: u64 = 16 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: Client,
    url: Url,
    token: Option<Secret>,
}

impl Gateway {
    pub(crate) fn new(config: {{Name}}Config) -> Result<Self> {
        let client = config.http.build().map_err(|e| e.with_platform(crate::NAME))?;
        Ok(Self { client, url: config.gateway, token: config.token })
    }

    /// Sends one request, below the path of the gateway's URL. The platform says of which operation an error is.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
    ) -> Result<Reply> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            // Pushed, a segment is escaped: a name cannot lead to another path.
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => return Err(Error::invalid_input("the gateway's URL takes no path")),
        };
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.to_header("Bearer ")?);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let reply = self.client.send(request, LONGEST_REPLY).await?;
        if reply.status.is_success() { Ok(reply) } else { Err(refusal(&reply)) }
    }
}

/// Maps a refusal to an error, in one place: extend it with what your provider documents.
fn refusal(reply: &Reply) -> Error {
    let error = match reply.status {
        StatusCode::UNAUTHORIZED => {
            Error::new(ErrorKind::Unauthorized, "the gateway does not accept the token")
                .with_hint("set {{NAME}}_TOKEN")
        }
        StatusCode::FORBIDDEN => Error::new(ErrorKind::Forbidden, "the token is not allowed to"),
        StatusCode::NOT_FOUND => Error::new(ErrorKind::NotFound, "the gateway does not know it"),
        StatusCode::CONFLICT => Error::new(ErrorKind::Conflict, "somebody else changed it"),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Error::new(ErrorKind::PayloadTooLarge, "the gateway refuses a body of this length")
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Error::new(ErrorKind::Throttled, "the gateway refuses to run more at the moment")
        }
        _ => reply.unexpected(),
    };
    match reply.retry_after() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
