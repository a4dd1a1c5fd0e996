//! Replies that are not a success, as AWS writes them.

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;
use falco_http::{Reply, excerpt, redact};

use super::error_body::{ErrorBody, plain_code};

/// An answer of AWS that is not a success.
#[derive(Debug)]
pub(crate) struct ServiceError {
    pub(crate) operation: &'static str,
    pub(crate) status: u16,
    /// AWS's code, such as `ResourceNotFoundException`; empty when the answer has none.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Why a request was throttled.
    pub(crate) reason: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.operation, self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl ServiceError {
    pub(crate) fn read(operation: &'static str, reply: &Reply, credentials: &Credentials) -> Self {
        let said = ErrorBody::read(&reply.body);
        let code = reply
            .header("x-amzn-errortype")
            .map(str::to_owned)
            .or(said.code)
            .map(|code| plain_code(&code).to_owned())
            .unwrap_or_default();
        let mut message = said.message.unwrap_or_else(|| excerpt(&reply.body));
        if let Some(region) = reply.header("x-amz-bucket-region") {
            message = format!("{message} The bucket is in {region}.");
        }
        let request_id = ["x-amzn-requestid", "x-amz-request-id"]
            .into_iter()
            .find_map(|name| reply.header(name))
            .map(str::to_owned)
            .or(said.request_id);
        Self {
            operation,
            status: reply.status.as_u16(),
            code,
            message: harmless(&message, credentials),
            reason: said.reason,
            request_id,
            retry_after: retry_after(reply),
        }
    }
}

/// A message without secrets: a wrong signature is answered with the canonical request, session token included.
fn harmless(message: &str, credentials: &Credentials) -> String {
    const SHOWN: usize = 1000;
    let message = message.split("The Canonical String").next().unwrap_or(message).trim();
    let message = &message[..message.floor_char_boundary(SHOWN)];
    let secrets = [Some(credentials.secret_access_key()), credentials.session_token()];
    redact(message, secrets.into_iter().flatten())
}

/// The wait that AWS asks for: in its own header in milliseconds, or in the usual one.
fn retry_after(reply: &Reply) -> Option<Duration> {
    let own = reply.header("x-amz-retry-after").and_then(|text| text.trim().parse().ok());
    own.map(Duration::from_millis).or_else(|| reply.retry_after())
}
