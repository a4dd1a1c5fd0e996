//! The requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::Result;
use falco_http::reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use falco_http::reqwest::{Method, StatusCode, Url};
use falco_http::{Client, Reply, Secret, below};

use crate::config::OpenFaasConfig;
use crate::refusal::refusal;

/// The longest reply that is read, in bytes. OpenFaaS has no limit of its own, and a driver's memory has one.
pub(crate) const LONGEST_REPLY: u64 = 16 << 20;

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
        // Each segment is escaped: a name cannot lead to another path.
        let url = below(&self.url, path.iter().copied());
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
