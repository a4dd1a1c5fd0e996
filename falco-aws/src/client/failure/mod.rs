//! Replies that are not a success: the one place where AWS's errors become Falco's.

mod codes;
mod error_body;

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;
use falco_core::{Error, ErrorKind};
use falco_http::{Reply, excerpt, redact};

use super::Call;
use error_body::{ErrorBody, plain_code};

/// Why a request has no answer that is of use.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// AWS answered, and said no.
    Refused(Box<ServiceError>),
    /// Anything else: no credentials, no connection, an answer that makes no sense.
    Other(Error),
}

impl RequestError {
    /// AWS's own code, when it answered.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(fault) => Some(&fault.code),
            Self::Other(_) => None,
        }
    }

    /// Whether AWS said that the thing asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::NotFound)
    }

    /// Whether the credentials are not allowed to do this.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::Forbidden)
    }

    /// Whether AWS refused because of a rate or concurrency limit.
    pub(crate) fn is_throttled(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::Throttled)
    }

    /// Whether the function is still being created or updated.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.is_conflict_of_state())
    }

    /// Whether AWS's message contains one of `words`.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        matches!(self, Self::Refused(fault) if words.iter().any(|word| fault.message.contains(word)))
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self::Other(error.with_platform(crate::NAME))
    }
}

impl From<RequestError> for Error {
    fn from(failure: RequestError) -> Self {
        match failure {
            RequestError::Refused(fault) => fault.into_error(),
            RequestError::Other(error) => error,
        }
    }
}

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
    pub(super) fn read(call: &Call<'_>, reply: &Reply, credentials: &Credentials) -> Self {
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
            operation: call.operation,
            status: reply.status.as_u16(),
            code,
            message: harmless(&message, credentials),
            reason: said.reason,
            request_id,
            retry_after: retry_after(reply),
        }
    }

    /// Whether other credentials might be accepted.
    pub(super) fn is_about_credentials(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredTokenException"
                | "ExpiredToken"
                | "UnrecognizedClientException"
                | "InvalidClientTokenId"
        )
    }

    /// Whether the signature's time, by this machine's clock, was not accepted.
    pub(super) fn is_about_time(&self) -> bool {
        match self.code.as_str() {
            "RequestTimeTooSkewed" | "RequestExpired" => true,
            "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                self.message.contains("expired") || self.message.contains("not yet current")
            }
            _ => false,
        }
    }

    /// Whether something before AWS answered, such as a proxy: AWS's own errors have a code.
    fn is_from_a_gateway(&self) -> bool {
        self.code.is_empty() && matches!(self.status, 502..=504)
    }

    /// Whether it is an invocation that was refused; only then something may have run.
    fn is_invocation(&self) -> bool {
        self.operation == "Invoke"
    }

    fn into_error(self) -> Error {
        let mut message = self.to_string();
        if let Some(reason) = &self.reason {
            message = format!("{message} ({reason})");
        }
        let may_have_run = self.may_have_run();
        let mut error = Error::new(self.kind(), message)
            .with_platform(crate::NAME)
            .with_may_have_run(may_have_run)
            .with_unreachable(self.is_from_a_gateway());
        if let Some(retryable) = self.is_retryable() {
            error = error.with_retryable(retryable);
        }
        if let Some(hint) = self.hint() {
            error = error.with_hint(hint);
        }
        // The network of a function frees its addresses within minutes, not seconds.
        let slow = matches!(
            self.code.as_str(),
            "ENILimitReachedException" | "SubnetIPAddressLimitReachedException"
        );
        let wait = self.retry_after.or(slow.then_some(Duration::from_secs(30)));
        if let Some(wait) = wait.filter(|_| error.is_retryable()) {
            error = error.with_retry_after(wait);
        }
        match self.request_id {
            Some(id) => error.with_request_id(id),
            None => error,
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
