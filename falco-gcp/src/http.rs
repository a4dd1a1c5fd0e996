//! Requests with this crate's limits.

use std::time::Duration;

use falco_core::{Operation, Result};
use falco_http::{Client, Reply};
use reqwest::{Method, RequestBuilder, Url};

/// The longest reply of an API that is read. Most pages are far below it; a page of a thousand log entries, which may have
/// 256 KiB each, can exceed it and is then an error.
const API_REPLY: u64 = 64 << 20;
const API_TIMEOUT: Duration = Duration::from_secs(60);

/// An HTTP client with this crate's limits for everything but invocations.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client);

impl Http {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.0.request(method, url)
    }

    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.0.request(Method::GET, url)
    }

    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        self.0.request(Method::POST, url)
    }

    /// Any status is `Ok`; a body that is not whole is an error.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        operation: &'static str,
    ) -> Result<Reply> {
        let reply = self.0.send(request.timeout(API_TIMEOUT), API_REPLY).await;
        reply
            .and_then(|reply| reply.whole_body().map(|_| ()).map(|()| reply))
            .map_err(|e| e.at(Operation::new(crate::NAME, operation)))
    }
}
