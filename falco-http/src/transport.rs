//! Failed exchanges, and their meaning for the caller.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use falco_core::{Error, ErrorKind};

/// Maps an error of reqwest: the one place where transport errors become Falco's.
///
/// The question that matters is whether the server may have taken the request:
///
/// | what happened | kind | retryable | may have run | [unreachable](Error::is_unreachable) |
/// |---|---|---|---|---|
/// | the request could not be built | `InvalidInput` | no | no | no |
/// | no address, refused, no TLS, connecting took too long | `Unavailable` | yes | no | yes |
/// | a certificate that is not trusted | `Unavailable` | no | no | no |
/// | no answer in time | `Timeout` | yes | yes | no: the function may be slow |
/// | reset or closed while sending or waiting | `Unavailable` | yes | yes | yes |
/// | the answer broke off | `Unavailable` | yes | yes | yes |
///
/// The error names the origin of the URL, never its path, query or user.
pub fn transport_error(error: reqwest::Error) -> Error {
    let origin = error.url().map(|url| url.origin().ascii_serialization());
    let at = origin.as_deref().unwrap_or("the server");
    let error = error.without_url();
    let untrusted = mentions_certificate(&error);
    let described = if error.is_builder() {
        Error::invalid_input("the request cannot be built")
    } else if error.is_connect() && untrusted {
        Error::new(ErrorKind::Unavailable, format!("the certificate of {at} is not trusted"))
            .with_retryable(false)
            .with_hint("name its CA certificate, or for a server of your own allow insecure TLS")
    } else if error.is_connect() {
        Error::new(ErrorKind::Unavailable, format!("no connection to {at}"))
            .with_unreachable(true)
            .with_hint("check the host and port, and the proxy if there is one")
    } else if error.is_timeout() {
        no_answer(at)
    } else if error.is_body() || error.is_decode() {
        Error::new(ErrorKind::Unavailable, format!("the answer of {at} broke off"))
            .with_unreachable(true)
            .with_may_have_run(true)
    } else {
        Error::new(ErrorKind::Unavailable, format!("the connection to {at} was lost"))
            .with_unreachable(true)
            .with_may_have_run(true)
    };
    described.with_source(&error)
}

/// An answer, or its next bytes, did not come in time.
pub(crate) fn no_answer(origin: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("no answer from {origin} in time"))
}

/// The output of `future`, unless it takes longer than `limit`.
pub(crate) async fn in_time<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

/// Whether TLS failed for a certificate. The TLS library's error types are not among our dependencies, so it is found out
/// by their words.
fn mentions_certificate(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn StdError> = error.source();
    while let Some(source) = cause {
        if source.to_string().contains("certificate") {
            return true;
        }
        cause = source.source();
    }
    false
}
