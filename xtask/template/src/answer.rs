//! The answer to an invocation: a result, a function that failed, or a platform that did.

use falco_core::{Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, Result};
use falco_http::Reply;
use falco_http::reqwest::StatusCode;
use falco_package::shim::Answer;

use crate::refusal::refusal;

/// The activation that `reply` reports. What makes the two failures different at your provider stands here.
pub(crate) fn activation(reply: &Reply) -> Result<Activation> {
    let failed = |kind, status: Option<i32>| {
        let error = FunctionError::new(kind, falco_http::excerpt(&reply.body));
        let error = match status {
            Some(status) => error.with_exit_status(status),
            None => error,
        };
        Ok(Activation::failed(id(reply)?, error))
    };
    let text = String::from_utf8_lossy(&reply.body);
    match reply.status {
        StatusCode::OK => {
            let answer = Answer::from_line(&reply.body).ok_or_else(|| reply.unexpected())?;
            let mut activation = Activation::new(id(reply)?, answer.outcome);
            activation.execution = answer.ran;
            Ok(activation)
        }
        StatusCode::REQUEST_TIMEOUT => failed(FunctionErrorKind::Timeout, None),
        StatusCode::INTERNAL_SERVER_ERROR if text.starts_with("exit status ") => {
            let status = text.trim().rsplit(' ').next().and_then(|status| status.parse().ok());
            failed(FunctionErrorKind::Crashed, status)
        }
        _ => Err(refusal(reply)),
    }
}

/// The provider's name for this run. One that has none leaves it to you: a name that no other run has.
fn id(reply: &Reply) -> Result<&str> {
    reply
        .header("x-call-id")
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the answer has no id of the call"))
}
