//! The answer to an invocation: a result, a function that failed, or a platform that did.

use std::time::Duration;

use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Payload, Result};
use falco_http::Reply;
use falco_http::reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::refusal;

/// The one line that the shim writes.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    /// Which version of the function answers.
    pub(crate) version: String,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    kind: String,
    #[serde(rename = "type")]
    error_type: String,
    message: String,
    trace: String,
}

/// The activation that `reply` reports.
///
/// The status alone does not distinguish a function that failed from a platform that did: both answer 500. The provider marks
/// its own answers by a header (`proxy.go` in faas-provider), and the watchdog's begin with words of its own.
pub(crate) fn activation(reply: &Reply) -> Result<Activation> {
    let of_the_provider = reply.header("x-openfaas-internal").is_some();
    match reply.status {
        StatusCode::OK if !reply.body.is_empty() => {
            let envelope: Envelope<'_> = reply.json()?;
            let version = envelope.version.clone();
            let mut activation = Activation::new(id(reply)?, outcome(envelope)?);
            activation.code_version = Some(version);
            activation.execution = duration(reply);
            Ok(activation)
        }
        // The process has ended well, and said nothing. Without the watchdog's header, it is the gateway that said nothing.
        StatusCode::OK if reply.header("x-duration-seconds").is_some() => {
            failed(reply, FunctionErrorKind::Crashed, Some(0))
        }
        // The watchdog has killed it (`handler.go` in classic-watchdog).
        StatusCode::REQUEST_TIMEOUT => failed(reply, FunctionErrorKind::Timeout, None),
        StatusCode::INTERNAL_SERVER_ERROR if !of_the_provider => {
            let text = String::from_utf8_lossy(&reply.body);
            let first = text.lines().next().unwrap_or_default();
            match first.strip_prefix("exit status ") {
                Some(status) => failed(reply, FunctionErrorKind::Crashed, status.parse().ok()),
                None if first.starts_with("signal: ") => {
                    failed(reply, FunctionErrorKind::Crashed, None)
                }
                None => Err(refusal(reply)),
            }
        }
        _ => Err(refusal(reply)),
    }
}

fn outcome(envelope: Envelope<'_>) -> Result<Result<Payload, FunctionError>> {
    match (envelope.result, envelope.error) {
        (Some(result), None) => Ok(Ok(Payload::from_bytes(result.get().to_owned())?)),
        (None, Some(failure)) => {
            let kind = match failure.kind.as_str() {
                "raised" => FunctionErrorKind::Raised,
                "initialization" => FunctionErrorKind::Initialization,
                "bad_result" => FunctionErrorKind::BadResult,
                _ => FunctionErrorKind::Unspecified,
            };
            Ok(Err(FunctionError::new(kind, failure.message)
                .with_error_type(failure.error_type)
                .with_trace(failure.trace)))
        }
        _ => Err(Error::new(ErrorKind::Protocol, "the answer has neither a result nor an error")),
    }
}

fn failed(reply: &Reply, kind: FunctionErrorKind, status: Option<i32>) -> Result<Activation> {
    let error = FunctionError::new(kind, falco_http::excerpt(&reply.body));
    let error = match status {
        Some(status) => error.with_exit_status(status),
        None => error,
    };
    Ok(Activation::failed(id(reply)?, error))
}

/// The gateway's id of the call. It is in the answer only when the caller has not sent one of its own
/// (`callid_middleware.go` in openfaas/faas), so this crate sends none.
fn id(reply: &Reply) -> Result<&str> {
    reply.header("x-call-id").ok_or_else(|| {
        Error::new(ErrorKind::Protocol, "the answer has no X-Call-Id")
            .with_hint("does OPENFAAS_URL lead to an OpenFaaS gateway?")
    })
}

fn duration(reply: &Reply) -> Option<Duration> {
    let seconds: f64 = reply.header("x-duration-seconds")?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
