//! The answer to an invocation: a result, a function that failed, or a platform that did.

use std::time::{Duration, UNIX_EPOCH};

use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Result};
use falco_http::Reply;
use falco_http::reqwest::StatusCode;
use falco_package::shim::Answer;
use serde::Deserialize;

use crate::refusal::refusal;

/// The first of the two lines that the shim writes. Times are microseconds since the Unix epoch.
#[derive(Deserialize)]
pub(crate) struct Instance {
    /// The version of the function that answers.
    pub(crate) version: String,
    container: Option<String>,
    runtime: Option<String>,
    booted: Option<u64>,
    began: Option<u64>,
    ended: Option<u64>,
}

impl Instance {
    pub(crate) fn of(reply: &Reply) -> Result<Self> {
        let first = reply.body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        serde_json::from_slice(first).map_err(|error| unknown(reply).with_source(&error))
    }

    fn describe(self, activation: &mut Activation) {
        let time = |micros: u64| UNIX_EPOCH.checked_add(Duration::from_micros(micros));
        activation.code_version = Some(self.version);
        activation.container = self.container;
        activation.booted_at = self.booted.and_then(time);
        activation.started_at = self.began.and_then(time);
        activation.ended_at = self.ended.and_then(time);
        if let Some(runtime) = self.runtime {
            activation.attributes.insert("runtime".to_owned(), runtime);
        }
    }
}

/// The second line: the shim's answer.
fn answer(reply: &Reply) -> Result<Answer> {
    let start = reply.body.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    let line = start.map(|start| reply.body.slice(start..));
    line.as_ref().and_then(Answer::from_line).ok_or_else(|| unknown(reply))
}

fn unknown(reply: &Reply) -> Error {
    let words = falco_http::excerpt(&reply.body);
    Error::new(ErrorKind::Protocol, format!("the answer is not one of the shim's: {words}"))
}

/// The activation that `reply` reports.
///
/// The status alone does not distinguish a function that failed from a platform that did: both answer 500. The provider marks
/// its own answers by a header (`proxy.go` in faas-provider), and the watchdog's begin with words of its own.
pub(crate) fn activation(reply: &Reply) -> Result<Activation> {
    let of_the_provider = reply.header("x-openfaas-internal").is_some();
    match reply.status {
        StatusCode::OK if !reply.body.is_empty() => {
            let answer = answer(reply)?;
            let mut activation = Activation::new(id(reply)?, answer.outcome);
            activation.execution = answer.ran;
            Instance::of(reply)?.describe(&mut activation);
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
                // The kernel kills what has run out of memory; the watchdog answers 408 for what it kills itself.
                None if first == "signal: killed" => {
                    failed(reply, FunctionErrorKind::OutOfMemory, None)
                }
                None if first.starts_with("signal: ") => {
                    failed(reply, FunctionErrorKind::Crashed, None)
                }
                None => Err(refusal(reply)),
            }
        }
        _ => Err(refusal(reply)),
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
