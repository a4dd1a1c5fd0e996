//! The one mapping of refusals to [`Error`].

use falco_core::{Error, ErrorKind};
use falco_http::Reply;
use falco_http::reqwest::StatusCode;

/// The meaning of an answer that was not hoped for: extend it with what your provider documents.
pub(crate) fn refusal(reply: &Reply) -> Error {
    let error = match reply.status {
        StatusCode::UNAUTHORIZED => {
            Error::new(ErrorKind::Unauthorized, "the token is not accepted")
                .with_hint("set {{NAME}}_TOKEN")
        }
        StatusCode::FORBIDDEN => Error::new(ErrorKind::Forbidden, "the token is not allowed to")
            .with_hint("ask the provider's administrator for the permission"),
        StatusCode::NOT_FOUND => Error::new(ErrorKind::NotFound, "the provider does not know it"),
        StatusCode::CONFLICT => Error::new(ErrorKind::Conflict, "somebody else changed it"),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Error::new(ErrorKind::PayloadTooLarge, "the provider refuses a body of this length")
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Error::new(ErrorKind::Throttled, "the provider refuses to run more at the moment")
        }
        // Somebody may have run it: unless your provider says otherwise, do not call it safe to send again.
        status if status.is_server_error() => {
            Error::new(ErrorKind::Unavailable, falco_http::excerpt(&reply.body))
                .with_may_have_run(true)
        }
        _ => reply.unexpected(),
    };
    match reply.retry_after() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
