//! The requests.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::Result;
use falco_http::reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use falco_http::reqwest::{Method, RequestBuilder, StatusCode, Url};
use falco_http::{Client, Reply, Secret, below};

use crate::config::OpenFaasConfig;
use crate::refusal::refusal;

/// The longest reply that is read, in bytes. OpenFaaS has no limit of its own, and a driver's memory has one.
pub(crate) const LONGEST_REPLY: u64 = 16 << 20;

/// The longest that a function may run. Its call is held open for so long.
pub(crate) const LONGEST_RUN: Duration = Duration::from_secs(15 * 60);

/// How long an answer may take after the function has to be over.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// How long the gateway may take for what runs no function.
const REQUEST: Duration = Duration::from_secs(90);

/// The gateway's API, and the credentials for it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    url: Url,
    credentials: Option<Secret>,
}

impl Api {
    /// Where it is. No password is in it, as the configuration has checked.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn new(config: &OpenFaasConfig) -> Result<Self> {
        let credentials = config.password.as_ref().map(|password| {
            Secret::from(BASE64.encode(format!("{}:{}", config.user, password.expose())))
        });
        // The connection is silent for as long as the function runs.
        let client = config.http.clone().with_read_timeout(LONGEST_RUN + MARGIN * 2).build()?;
        Ok(Self { client, url: config.gateway.clone(), credentials })
    }

    /// Runs a function. Every answer is `Ok`; [`refusal`] says what those mean that were not hoped for.
    pub(crate) async fn call(&self, function: &str, argument: Vec<u8>) -> Result<Reply> {
        let request = self.request(Method::POST, &["function", function], Some(argument))?;
        self.client.send(request, LONGEST_REPLY).await
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
    ) -> Result<RequestBuilder> {
        // Each segment is escaped: a name cannot lead to another path.
        let url = below(&self.url, path.iter().copied());
        let mut request = self.client.request(method, url);
        if let Some(credentials) = &self.credentials {
            request = request.header(AUTHORIZATION, credentials.to_header("Basic ")?);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        Ok(request)
    }

    /// Sends one request that only this status answers.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
        wanted: StatusCode,
    ) -> Result<Reply> {
        let request = self.request(method, path, body)?.timeout(REQUEST);
        let reply = self.client.send(request, LONGEST_REPLY).await?;
        if reply.status == wanted { Ok(reply) } else { Err(refusal(&reply)) }
    }
}
