//! Requests to the API.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{Error, ErrorKind, Result};
use falco_http::reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use falco_http::reqwest::{Method, RequestBuilder, StatusCode, Url};
use falco_http::{BodyEnd, Client, Reply, Secret, below};

use bytes::Bytes;

use crate::call::Call;
use crate::config::OpenWhiskConfig;
use crate::key::Key;
use crate::name::QualifiedName;
use crate::refusal::refusal;
use crate::wire::object;

/// How much is read of a reply of which only the status and a few words matter.
pub(crate) const SMALL: u64 = 1 << 20;

/// The API of one server, with one key. `Debug` shows the server only.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    host: Url,
    api_version: String,
    namespace: String,
    key: Arc<Key>,
}

impl Api {
    /// The host, without scheme, port and path.
    pub(crate) fn host(&self) -> &str {
        self.host.host_str().unwrap_or_default()
    }

    pub(crate) fn new(config: &OpenWhiskConfig) -> Result<Self> {
        Ok(Self {
            client: config.client()?,
            host: config.host.clone(),
            api_version: config.api_version.clone(),
            namespace: config.namespace.clone(),
            key: Arc::new(Key::new(config.auth.clone(), config.auth_file.clone())?),
        })
    }

    /// The controller's own description, at the root of the host. It needs no key, and gets none.
    pub(crate) fn root(&self) -> RequestBuilder {
        self.client.request(Method::GET, self.url([]))
    }

    /// A request to a resource of the configured namespace.
    pub(crate) fn own<'a>(
        &'a self,
        method: Method,
        resource: impl IntoIterator<Item = &'a str>,
    ) -> RequestBuilder {
        self.request(method, &self.namespace, resource)
    }

    /// A request to an action.
    pub(crate) fn action(&self, method: Method, name: &QualifiedName) -> RequestBuilder {
        let namespace = name.namespace.as_deref().unwrap_or(&self.namespace);
        self.request(method, namespace, ["actions"].into_iter().chain(name.segments()))
    }

    fn request<'a>(
        &'a self,
        method: Method,
        namespace: &'a str,
        resource: impl IntoIterator<Item = &'a str>,
    ) -> RequestBuilder {
        let api = ["api", &self.api_version, "namespaces", namespace];
        let url = self.url(api.into_iter().chain(resource));
        self.client.request(method, url).header(AUTHORIZATION, self.key.authorization())
    }

    fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Url {
        below(&self.host, segments)
    }

    /// Sends a request and reads at most `limit` bytes of the answer. Any status is `Ok`.
    pub(crate) async fn send(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
        limit: u64,
    ) -> Result<Reply> {
        let reply = self.client.send(request, limit).await.map_err(|e| call.apply(e))?;
        tracing::trace!(
            operation = call.operation.name(),
            function = call.operation.function(),
            status = reply.status.as_u16(),
            bytes = reply.body.len(),
            "answered"
        );
        if reply.status == StatusCode::UNAUTHORIZED {
            self.key.read_again();
        }
        Ok(reply)
    }

    /// As [`send`](Self::send), where anything but 2xx is an error.
    pub(crate) async fn expect_success(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
        limit: u64,
    ) -> Result<Reply> {
        let reply = self.send(call, request, limit).await?;
        if reply.status.is_success() { Ok(reply) } else { Err(self.refusal(call, &reply)) }
    }

    /// Maps a reply that the call does not expect.
    pub(crate) fn refusal(&self, call: &Call<'_>, reply: &Reply) -> Error {
        let own = self.key.secrets();
        let own = own.iter().map(Secret::expose);
        let secrets: Vec<&str> = own.chain(call.secrets.iter().copied()).collect();
        refusal(&Call { secrets: &secrets, ..*call }, reply)
    }

    /// As [`expect_success`](Self::expect_success), where the thing may not be there.
    pub(crate) async fn find(
        &self,
        call: &Call<'_>,
        request: RequestBuilder,
        limit: u64,
    ) -> Result<Option<Reply>> {
        let reply = self.send(call, request, limit).await?;
        if reply.status.is_success() {
            return Ok(Some(reply));
        }
        let error = self.refusal(call, &reply);
        if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("host", &self.host.as_str())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A request with JSON that is there as bytes already.
pub(crate) fn with_json(request: RequestBuilder, json: Bytes) -> RequestBuilder {
    request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(json)
}

/// The object that a reply's body is.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(call: &Call<'_>, reply: &'a Reply) -> Result<T> {
    let body = reply.whole_body().map_err(|e| call.apply(e))?;
    object(body).map_err(|e| call.apply(reply.unexpected().with_source(&e)))
}

/// The list that a reply's body is.
pub(crate) fn parse_list<'a, T: serde::Deserialize<'a>>(
    call: &Call<'_>,
    reply: &'a Reply,
) -> Result<Vec<T>> {
    reply.json().map_err(|e| call.apply(e))
}

/// How far the server's clock is ahead of ours, by the reply, to the second: negative when it is behind.
pub(crate) fn clock_ahead(reply: &Reply, now: SystemTime) -> Option<i64> {
    let date = reply.date()?;
    let millis = |ahead: Duration| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
    Some(match date.duration_since(now) {
        Ok(ahead) => millis(ahead),
        Err(behind) => -millis(behind.duration()),
    })
}

/// Whether the body was cut at the limit: of what echoes the code only the beginning matters.
pub(crate) fn was_cut(reply: &Reply) -> bool {
    matches!(reply.end, BodyEnd::OverLimit(_))
}
