//! The one mapping of refusals to [`Error`].

use falco_core::{Error, ErrorKind};
use falco_http::Reply;
use falco_http::reqwest::StatusCode;

/// The meaning of an answer that was not hoped for.
pub(crate) fn refusal(reply: &Reply) -> Error {
    let says = || falco_http::excerpt(&reply.body);
    let error = match reply.status {
        StatusCode::UNAUTHORIZED => {
            Error::new(ErrorKind::Unauthorized, "the gateway does not accept the password")
                .with_hint("set OPENFAAS_PASSWORD")
        }
        StatusCode::FORBIDDEN => Error::new(ErrorKind::Forbidden, says())
            .with_hint("ask the cluster's administrator for the permission"),
        StatusCode::NOT_FOUND => Error::new(ErrorKind::NotFound, "there is no such function"),
        StatusCode::BAD_REQUEST => Error::invalid_input(says()),
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(ErrorKind::PayloadTooLarge, says()),
        // The watchdog counts before it forks, so nothing ran (`concurrency_limiter.go` in faas-middleware).
        StatusCode::TOO_MANY_REQUESTS => Error::new(ErrorKind::Throttled, says()),
        // Nobody took the request: "No endpoints available for".
        StatusCode::SERVICE_UNAVAILABLE => Error::new(ErrorKind::Unavailable, says()),
        // Somebody may have: the gateway lost whom it had sent it to, or stopped waiting.
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY => {
            Error::new(ErrorKind::Unavailable, says()).with_may_have_run(true)
        }
        StatusCode::GATEWAY_TIMEOUT => Error::new(ErrorKind::Timeout, says()),
        // An update that fails in Kubernetes is answered with an empty 200, since the handler returns without having
        // written a status (`update.go` in faas-netes). An accepted one is answered with 202.
        StatusCode::OK if reply.body.is_empty() => {
            Error::new(ErrorKind::Unavailable, "the gateway answered 200 and nothing else")
                .with_hint("look into the logs of the provider (faas-netes)")
        }
        _ => reply.unexpected(),
    };
    match reply.retry_after() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
