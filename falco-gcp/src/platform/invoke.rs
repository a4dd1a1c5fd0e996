//! Calling a function and waiting for its answer.

use std::fmt::Write as _;
use std::time::Duration;

use falco_core::{
    Activation, Deployment, Error, ErrorKind, FunctionError, FunctionErrorKind, Invocation, Result,
};
use falco_http::Reply;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};

use super::describe::attribute;
use super::record::{self, Record};
use super::{Inner, MAX_BODY, names, sizes};
use crate::client::error;
use crate::config::Access;
use crate::token::Token;

/// How much longer than the function may run its answer is waited for: a cold start, and the way back.
pub(super) const MARGIN: Duration = Duration::from_secs(60);
/// The longest that a call is held open.
pub(super) const LONGEST: Duration = Duration::from_secs(3600 + 2 * 60);
/// A record is longer than its result.
const MAX_REPLY: u64 = MAX_BODY + (1 << 20);

impl Inner {
    pub(super) async fn invoke(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
    ) -> Result<Activation> {
        let id = names::activation_id();
        self.call(deployment, invocation, &id)
            .await
            .map_err(|e| Self::blame("invoke", &deployment.name, e).with_request_id(id))
    }

    async fn call(
        &self,
        deployment: &Deployment,
        invocation: &Invocation,
        id: &str,
    ) -> Result<Activation> {
        invocation.payload().check_argument(self.capabilities.max_payload)?;
        let uri = self.uri(deployment)?;
        let timeout = deployment.scaling.timeout.unwrap_or(sizes::TIMEOUT.max) + MARGIN;
        let mut refused_before = false;
        loop {
            let token = self.id_token(deployment).await?;
            let mut request = self
                .functions
                .request(Method::POST, uri.clone())
                .header(CONTENT_TYPE, "application/json")
                .timeout(timeout.min(LONGEST));
            for (name, value) in headers(deployment, invocation, id) {
                request = request.header(name, value);
            }
            if let Some((_, token)) = &token {
                request = request.header(AUTHORIZATION, token.bearer()?);
            }
            let request = request.body(invocation.payload().to_bytes());
            let reply = self.functions.send(request, MAX_REPLY).await?;
            if reply.status == 200
                && let Some(record) = Record::parse(reply.whole_body()?)
            {
                return Ok(self.activation(deployment, id, record));
            }
            let Some((audience, token)) = token else {
                return self.other(deployment, id, &reply, "");
            };
            // The front end refuses a token before it starts anything.
            if reply.status == 401 && !refused_before {
                refused_before = true;
                self.api.tokens.forget_id(&audience, &token);
                continue;
            }
            return self.other(deployment, id, &reply, token.expose());
        }
    }

    /// The ID token for a function and its audience; none for a public one.
    ///
    /// The audience is the URL exactly as Google reports it: a parsed one would end in a slash.
    pub(super) async fn id_token(
        &self,
        deployment: &Deployment,
    ) -> Result<Option<(String, Token)>> {
        if self.access == Access::Public {
            return Ok(None);
        }
        let audience = deployment.attribute(attribute::URI).unwrap_or_default();
        let token = self.api.tokens.id_token(audience).await?;
        Ok(Some((audience.to_owned(), token)))
    }

    /// What an answer means that is not a record of the shim's: the function's failure or the platform's.
    fn other(
        &self,
        deployment: &Deployment,
        id: &str,
        reply: &Reply,
        secret: &str,
    ) -> Result<Activation> {
        let text = error::shown(&reply.body, &[secret]);
        let failed = |kind, message: String| {
            let mut activation = Activation::failed(id, FunctionError::new(kind, message));
            activation.region = Some(self.api.location.clone());
            activation.request_id = Some(id.to_owned());
            Ok(activation)
        };
        let status = reply.status.as_u16();
        let refused = |kind, message: &str| {
            let error = Error::new(kind, format!("{message} (HTTP {status}: {text})"));
            match reply.retry_after() {
                Some(wait) => error.with_retry_after(wait),
                None => error,
            }
        };
        Err(match status {
            // It broke off, or changed on its way: the next one will be whole.
            200 if reply.body.starts_with(record::BEGINNING) => {
                refused(ErrorKind::Protocol, "the function's answer is damaged").with_retryable(true)
            }
            401 => refused(ErrorKind::Unauthorized, "the ID token was refused twice"),
            403 => refused(ErrorKind::Forbidden, "the caller is not let in").with_hint(
                "grant it roles/run.invoker on the function's Run service; a grant takes a while to act",
            ),
            404 => refused(ErrorKind::NotFound, "there is no function at its URL").with_hint(
                "it was deleted, or its ingress settings keep calls from here out",
            ),
            413 => refused(ErrorKind::PayloadTooLarge, "the argument is over the limit"),
            429 => refused(ErrorKind::Throttled, "no instance is free")
                .with_hint("raise max_instances, or lower the concurrency"),
            // So it is reported when scaling out fails; the function did not start.
            500 if text.contains("no available instance") => {
                refused(ErrorKind::Throttled, "no instance is free")
            }
            // The framework's mark: the handler itself raised.
            500 if reply.headers.contains_key("x-google-status") => {
                return failed(FunctionErrorKind::Crashed, text);
            }
            504 if text.contains("upstream request timeout") => {
                let timeout = deployment.scaling.timeout.unwrap_or(sizes::DEFAULT_TIMEOUT);
                let message = format!("it ran longer than {timeout:?}, and may still be running");
                return failed(FunctionErrorKind::Timeout, message);
            }
            408 | 504 => refused(ErrorKind::Timeout, "no answer in time"),
            500..=599 => refused(
                ErrorKind::Unavailable,
                "the instance failed: it did not start, ended, or ran out of memory",
            )
            .with_may_have_run(true),
            411 => refused(ErrorKind::Protocol, "the request came without a length").with_may_have_run(false),
            _ => refused(ErrorKind::Protocol, "unexpected response: the URL is not served by a Falco function")
                .with_hint("what answers there was not deployed by Falco; deploy the function again"),
        })
    }
}

/// What every call carries besides its argument.
pub(super) fn headers(
    deployment: &Deployment,
    invocation: &Invocation,
    id: &str,
) -> [(&'static str, String); 4] {
    let span = fastrand::u64(1..);
    let timeout = deployment.scaling.timeout.unwrap_or(sizes::DEFAULT_TIMEOUT);
    [
        ("X-Falco-Timeout", timeout.as_secs_f64().to_string()),
        ("X-Falco-Activation", id.to_owned()),
        ("X-Falco-Invocation", identity(invocation)),
        ("traceparent", format!("00-{id}-{span:016x}-01")),
    ]
}

/// Run, stage, invocation and attempt, as a header can hold them.
fn identity(invocation: &Invocation) -> String {
    let mut identity = String::new();
    for part in [invocation.run().as_str(), invocation.stage().as_str(), invocation.id().as_str()] {
        for byte in part.bytes() {
            if byte.is_ascii_graphic() && byte != b'/' && byte != b'%' {
                identity.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(identity, "%{byte:02X}");
            }
        }
        identity.push('/');
    }
    identity + &invocation.attempt().to_string()
}
