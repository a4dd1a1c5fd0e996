//! The requests, and the one mapping of refusals to [`Error`].

use falco_core::{Error, ErrorKind, Result};
use falco_http::reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use falco_http::reqwest::{Method, StatusCode, Url};
use falco_http::{Client, Reply, Secret};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::config::OpenFaasConfig;

/// The longest reply that is read, in bytes. OpenFaaS has no limit of its own, and a driver's memory has one.
pub(crate) const LONGEST_REPLY: u64 = 16 << 20;

/// A gateway, and the credentials for it.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: Client,
    url: Url,
    credentials: Option<Secret>,
}

impl Gateway {
    /// Where it is. No password is in it, as the configuration has checked.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn new(config: &OpenFaasConfig) -> Result<Self> {
        let credentials = config.password.as_ref().map(|password| {
            Secret::from(BASE64.encode(format!("{}:{}", config.user, password.expose())))
        });
        let client = config.http.clone().build()?;
        Ok(Self { client, url: config.gateway.clone(), credentials })
    }

    /// Sends one request. Every answer is `Ok`; [`refusal`] says what those mean that were not hoped for.
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
        if let Some(credentials) = &self.credentials {
            request = request.header(AUTHORIZATION, credentials.to_header("Basic ")?);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.client.send(request, LONGEST_REPLY).await
    }

    /// Sends one request that only this status answers.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
        wanted: StatusCode,
    ) -> Result<Reply> {
        let reply = self.send(method, path, body).await?;
        if reply.status == wanted { Ok(reply) } else { Err(refusal(&reply)) }
    }
}

/// Maps a refusal to an error, in one place.
pub(crate) fn refusal(reply: &Reply) -> Error {
    let says = || falco_http::excerpt(&reply.body);
    let error = match reply.status {
        StatusCode::UNAUTHORIZED => {
            Error::new(ErrorKind::Unauthorized, "the gateway does not accept the password")
                .with_hint("set OPENFAAS_PASSWORD")
        }
        StatusCode::FORBIDDEN => Error::new(ErrorKind::Forbidden, says())
            .with_hint("ask the cluster's administrator for the permission"),
        StatusCode::NOT_FOUND => Error::new(ErrorKind::NotFound, "there is no such function"),
        StatusCode::BAD_REQUEST => Error::invalid_input(says()),
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(ErrorKind::PayloadTooLarge, says()),
        // The watchdog counts before it forks, so nothing ran (`concurrency_limiter.go` in faas-middleware).
        StatusCode::TOO_MANY_REQUESTS => Error::new(ErrorKind::Throttled, says()),
        // Nobody took the request: "No endpoints available for".
        StatusCode::SERVICE_UNAVAILABLE => Error::new(ErrorKind::Unavailable, says()),
        // Somebody may have: the gateway lost whom it had sent it to, or stopped waiting.
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => {
            Error::new(ErrorKind::Unavailable, says()).with_may_have_run(true)
        }
        StatusCode::GATEWAY_TIMEOUT => Error::new(ErrorKind::Timeout, says()),
        // An update that fails in Kubernetes is answered with an empty 200, since the handler returns without having
        // written a status (`update.go` in faas-netes). An accepted one is answered with 202.
        StatusCode::OK if reply.body.is_empty() => {
            Error::new(ErrorKind::Unavailable, "the gateway answered 200 and nothing else")
                .with_hint("look into the logs of the provider (faas-netes)")
        }
        _ => reply.unexpected(),
    };
    match reply.retry_after() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
