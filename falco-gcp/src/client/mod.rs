//! Requests to Google's services: authorised, bounded, and with every failure mapped in one place.

mod functions;
mod logging;
mod run;
mod storage;
mod tasks;

use bytes::Bytes;
use falco_core::{Error, ErrorKind, Operation, Result};
use falco_http::Reply;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use functions::{Function, LongRunning, Runtime};
pub(crate) use logging::Entry;
pub(crate) use tasks::Task;

use crate::config::{Endpoints, GcpConfig};
use crate::http::Http;
use crate::refusal;
use crate::token::TokenCache;

/// Google's services, as one caller in one project and location.
#[derive(Debug)]
pub(crate) struct Api {
    http: Http,
    pub(crate) tokens: TokenCache,
    pub(crate) endpoints: Endpoints,
    quota_project: Option<String>,
    pub(crate) project: String,
    pub(crate) location: String,
}

/// One request to one of Google's APIs.
pub(crate) struct Call<'a> {
    operation: &'static str,
    function: Option<&'a str>,
    method: Method,
    url: Url,
    body: Option<Bytes>,
    /// Values of the request that a reply might quote and no error may show.
    secrets: Vec<&'a str>,
    /// Whether a function may run because of this call; all others only manage things.
    starts_function: bool,
}

impl<'a> Call<'a> {
    /// `path` is appended to `base`, and has to be encoded already.
    pub(crate) fn new(
        operation: &'static str,
        method: Method,
        base: &Url,
        path: &str,
    ) -> Result<Self> {
        let url = base.join(path).map_err(|e| {
            Error::invalid_input(format!("invalid API path {path:?}")).with_source(&e)
        })?;
        // Google's front end answers a POST without a length with 411, and clients send none for no body.
        let body = (method == Method::POST).then(|| Bytes::from_static(b"{}"));
        Ok(Self {
            operation,
            function: None,
            method,
            url,
            body,
            secrets: Vec::new(),
            starts_function: false,
        })
    }

    pub(crate) fn about(mut self, function: &'a str) -> Self {
        self.function = Some(function);
        self
    }

    pub(crate) fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        self.url.query_pairs_mut().extend_pairs(pairs);
        self
    }

    pub(crate) fn json<T: Serialize>(mut self, body: &T) -> Result<Self> {
        let json = serde_json::to_vec(body).map_err(|e| {
            Error::invalid_input("the request cannot be written as JSON").with_source(&e)
        })?;
        self.body = Some(json.into());
        Ok(self)
    }

    /// A body that is JSON already.
    pub(crate) fn bytes(mut self, json: Bytes) -> Self {
        self.body = Some(json);
        self
    }

    pub(crate) fn hiding(mut self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        self.secrets.extend(secrets);
        self
    }

    pub(crate) fn starting_a_function(mut self) -> Self {
        self.starts_function = true;
        self
    }

    /// Completes an error with what this request was about.
    fn blame(&self, error: Error) -> Error {
        let operation = Operation::new(crate::NAME, self.operation);
        error.at(match self.function {
            Some(function) => operation.on(function),
            None => operation,
        })
    }
}

impl Api {
    pub(crate) fn new(
        config: &GcpConfig,
        http: Http,
        tokens: TokenCache,
        project: String,
        location: String,
    ) -> Self {
        Self {
            http,
            tokens,
            endpoints: config.endpoints.clone(),
            quota_project: config.quota_project.clone(),
            project,
            location,
        }
    }

    /// `projects/P/locations/L`, the parent of most names.
    pub(crate) fn parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.location)
    }

    /// Sends a call and reads its reply.
    ///
    /// A token that is refused is replaced once.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Reply> {
        let mut refused_before = false;
        loop {
            let token = self.tokens.access_token().await.map_err(|e| call.blame(e))?;
            let bearer = token.bearer().map_err(|e| call.blame(e))?;
            let mut request = self.http.request(call.method.clone(), call.url.clone());
            request = request.header(AUTHORIZATION, bearer);
            if let Some(project) = &self.quota_project {
                request = request.header("X-Goog-User-Project", project);
            }
            if let Some(body) = &call.body {
                request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
            }
            let sent = self.http.send(request, call.operation).await;
            let reply = sent.map_err(|e| {
                let in_doubt = call.starts_function && e.may_have_run();
                call.blame(e.with_may_have_run(in_doubt))
            })?;
            if reply.status.is_success() {
                return Ok(reply);
            }
            if reply.status == 401 && !refused_before {
                refused_before = true;
                self.tokens.forget_access(&token);
                continue;
            }
            let mut secrets = call.secrets.clone();
            secrets.push(token.expose());
            let error = refusal::of_reply(&reply, &secrets);
            let in_doubt = call.starts_function
                && matches!(
                    error.kind(),
                    ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Protocol
                );
            return Err(call.blame(error.with_may_have_run(in_doubt)));
        }
    }

    /// As [`call`](Self::call), with the reply parsed.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T> {
        let (operation, function) = (call.operation, call.function.map(str::to_owned));
        let reply = self.call(call).await?;
        serde_json::from_slice(&reply.body).map_err(|e| {
            // The cause may quote the reply, which may hold what was sent; its place is enough.
            let place = format!("line {}, column {}", e.line(), e.column());
            let error =
                Error::new(ErrorKind::Protocol, format!("the reply is not understood ({place})"))
                    .at(Operation::new(crate::NAME, operation))
                    .with_may_have_run(false)
                    // Damaged on its way; what is JSON of another shape will be so again.
                    .with_retryable(!e.is_data());
            match function {
                Some(function) => error.with_function(function),
                None => error,
            }
        })
    }
}

/// A path segment that may hold anything, a `/` included.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
