//! Refusals of token endpoints.

use falco_core::{Error, ErrorKind, Operation};
use serde::Deserialize;

use super::{error_message, kind_of, redacted_excerpt};

/// Why a token endpoint refused, in OAuth's shape or in that of Google's APIs.
pub(crate) fn of_token_endpoint(reply: &falco_http::Reply, secrets: &[&str]) -> Error {
    #[derive(Deserialize)]
    struct OAuth {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let status = reply.status.as_u16();
    let kind = match status {
        400 => ErrorKind::Unauthorized,
        _ => kind_of(status),
    };
    let words = match serde_json::from_slice::<OAuth>(&reply.body) {
        Ok(OAuth { error, error_description }) if error_description.is_empty() => error,
        Ok(OAuth { error, error_description }) => format!("{error}: {error_description}"),
        Err(_) => error_message(&reply.body, secrets),
    };
    let words = redacted_excerpt(words.as_bytes(), secrets);
    let error = Error::new(kind, format!("no token was granted (HTTP {status}): {words}"));
    let error = error.at(Operation::new(crate::NAME, "authenticate")).with_may_have_run(false);
    let error = match reply.retry_after() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    };
    if words.contains("short-lived token") {
        return error.with_hint("set this machine's clock: the assertion's times are not Google's");
    }
    match kind {
        ErrorKind::Unauthorized => error.with_hint(
            "check the credentials that GOOGLE_APPLICATION_CREDENTIALS or gcloud names: the key may have been \
             deleted, the login may have expired",
        ),
        _ => error,
    }
}
