//! Requests to an API that reads and writes JSON.

use std::time::Duration;

use falco_core::{Error, Result};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Serialize;

use crate::{Client, Reply, Secret, below};

/// The longest reply that is read unless the API says otherwise, in bytes: a driver's memory has a limit.
const LONGEST_REPLY: u64 = 16 << 20;

/// A provider's API: paths below one URL, one way to authenticate, and bodies of JSON. `Debug` shows no credentials.
///
/// # Examples
///
/// ```
/// use falco_http::{ClientConfig, JsonApi, Secret, base_url};
///
/// let client = ClientConfig::new("falco-mine/0.1.0").build()?;
/// let api = JsonApi::new(client, base_url("https://faas.example/prefix")?)
///     .with_authorization("Bearer ", &Secret::from("marked-token"))?;
/// assert_eq!(api.url().path(), "/prefix");
/// assert!(!format!("{api:?}").contains("marked-token"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonApi {
    client: Client,
    url: Url,
    authorization: Option<HeaderValue>,
    longest_reply: u64,
    timeout: Option<Duration>,
}

impl JsonApi {
    /// The API below `url`, without credentials. It reads replies of up to 16 MiB.
    pub fn new(client: Client, url: Url) -> Self {
        Self { client, url, authorization: None, longest_reply: LONGEST_REPLY, timeout: None }
    }

    /// Sends credentials with every request, behind a scheme such as `"Bearer "`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for credentials that no header can hold.
    pub fn with_authorization(mut self, scheme: &str, credentials: &Secret) -> Result<Self> {
        self.authorization = Some(credentials.to_header(scheme)?);
        Ok(self)
    }

    /// Reads replies of up to so many bytes.
    #[must_use]
    pub fn with_longest_reply(mut self, bytes: u64) -> Self {
        self.longest_reply = bytes;
        self
    }

    /// Limits each exchange, from connecting to the last byte.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The URL that all paths are below.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends one request. Every status is `Ok`: the platform says what each means.
    ///
    /// The segments of the path are escaped, so that a name cannot lead to another path.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
    ) -> Result<Reply> {
        let mut request = self.client.request(method, below(&self.url, path.iter().copied()));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        self.client.send(request, self.longest_reply).await
    }

    /// Sends one request with a body, as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); `InvalidInput` for a body that cannot be written as JSON.
    pub async fn send_json(
        &self,
        method: Method,
        path: &[&str],
        body: &(impl Serialize + Sync),
    ) -> Result<Reply> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Error::invalid_input("the request cannot be written as JSON").with_source(&error)
        })?;
        self.send(method, path, Some(body)).await
    }
}
