//! The requests.

use falco_core::Result;
use falco_http::reqwest::header::AUTHORIZATION;
use falco_http::reqwest::{Method, Url};
use falco_http::{Client, Reply, Secret, below};

use crate::config::{{Name}}Config;
use crate::refusal::refusal;

/// The longest reply that is read, in bytes.
const LONGEST_REPLY: u64 = 16 << 20;

/// The provider's API, and the credentials for it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    url: Url,
    token: Option<Secret>,
}

impl Api {
    pub(crate) fn new(config: {{Name}}Config) -> Result<Self> {
        let client = config.http.build().map_err(|e| e.with_platform(crate::NAME))?;
        Ok(Self { client, url: config.endpoint, token: config.token })
    }

    /// Sends one request, below the path of the endpoint. Every answer is `Ok`; [`refusal`] says what those mean that were not
    /// hoped for.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
    ) -> Result<Reply> {
        // Each segment is escaped: a name cannot lead to another path.
        let url = below(&self.url, path.iter().copied());
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.to_header("Bearer ")?);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        self.client.send(request, LONGEST_REPLY).await
    }

    /// Sends one request that has to succeed. The platform says of which operation an error is.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Vec<u8>>,
    ) -> Result<Reply> {
        let reply = self.send(method, path, body).await?;
        if reply.status.is_success() { Ok(reply) } else { Err(refusal(&reply)) }
    }
}
