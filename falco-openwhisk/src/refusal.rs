//! The one place where the server's refusals become errors.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use falco_core::{Error, ErrorKind};
use falco_http::reqwest::StatusCode;
use falco_http::{Reply, excerpt, redact};
use serde::Deserialize;
use serde_json::Value;

use crate::call::Call;
use crate::wire::object;

const MINUTE: u64 = 60;

/// Advice for a path that the server does not have.
const PATH_HINT: &str =
    "set APIHOST to the host alone, without a path, and APIVERSION to the version of its API";

/// The body of a refusal. `code` is the transaction: a text today, a number in old versions.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
    #[serde(default)]
    code: Option<Value>,
}

/// Maps an unexpected reply to an error.
///
/// A refusal in the API's own JSON was decided before anything ran, and so were the plain texts of the HTTP layer below
/// it (contract, 1.7). Everything else comes from something in between, or from a server in trouble: then it is unknown
/// whether an invocation was taken.
pub(crate) fn refusal(call: &Call<'_>, reply: &Reply) -> Error {
    let body: Option<Body<'_>> = object(&reply.body).ok();
    let text = body.as_ref().map_or_else(|| excerpt(&reply.body), |body| short(&body.error));
    let text = redact(&text, call.secrets.iter().copied());
    let is_from_a_gateway = body.is_none() && is_gateway_error(reply.status, &text);
    let error = by_status(call, reply, body.is_some(), &text).with_unreachable(is_from_a_gateway);
    let code = body.and_then(|body| match body.code? {
        Value::String(code) => Some(code),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    });
    let request_id = reply.header("x-request-id").map(str::to_owned).or(code);
    let error = match request_id {
        Some(id) => error.with_request_id(short(&id)),
        None => error,
    };
    call.apply(error)
}

fn by_status(call: &Call<'_>, reply: &Reply, is_api: bool, text: &str) -> Error {
    let status = reply.status;
    let in_doubt = call.runs_code;
    let from_between = || {
        Error::new(ErrorKind::Protocol, format!("{status}, not from OpenWhisk: {text}"))
            .with_may_have_run(false)
            .with_hint("check that APIHOST names the API host, and what stands before it")
    };
    match status {
        StatusCode::BAD_REQUEST if is_unknown_kind(text) => Error::unsupported(text),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if is_api => {
            Error::invalid_input(text)
        }
        StatusCode::BAD_REQUEST if text.contains("Request too large") => too_large(text),
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Error::invalid_input(format!("{status}: {text}"))
                .with_hint("use a shorter name or namespace")
        }
        StatusCode::UNAUTHORIZED => Error::new(ErrorKind::Unauthorized, text)
            .with_hint("check the key: WHISK_AUTH, or AUTH in ~/.wskprops"),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Error::new(ErrorKind::Unauthorized, text)
            .with_hint("the proxy asks for a user and a password"),
        StatusCode::FORBIDDEN if is_api => Error::new(ErrorKind::Forbidden, text)
            .with_hint("check that the namespace is the one of the key"),
        StatusCode::NOT_FOUND if is_api && is_unknown_path(text) => {
            Error::unsupported(format!("the server does not have this path: {text}"))
                .with_hint(PATH_HINT)
        }
        StatusCode::NOT_FOUND if is_api => Error::new(ErrorKind::NotFound, text),
        StatusCode::METHOD_NOT_ALLOWED if is_api => {
            Error::invalid_input(format!("the server does not have this path: {text}"))
                .with_hint(PATH_HINT)
        }
        StatusCode::CONFLICT => {
            Error::new(ErrorKind::Conflict, text).with_retryable(is_lost_race(text))
        }
        StatusCode::PAYLOAD_TOO_LARGE => too_large(text),
        StatusCode::TOO_MANY_REQUESTS => throttled(reply, text, SystemTime::now()),
        // The server answers so itself when nothing can run now, and then nothing was started. As plain text it is the
        // controller's own timeout, which says nothing about the activation.
        StatusCode::SERVICE_UNAVAILABLE if is_api => Error::new(ErrorKind::Unavailable, text),
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::GATEWAY_TIMEOUT => {
            Error::new(ErrorKind::Timeout, format!("{status}: {text}")).with_may_have_run(in_doubt)
        }
        _ if status.is_server_error() => {
            Error::new(ErrorKind::Unavailable, format!("{status}: {text}"))
                .with_may_have_run(in_doubt)
        }
        _ if status.is_redirection() => redirected(reply),
        _ if status.is_client_error() => from_between(),
        _ => from_between().with_may_have_run(in_doubt),
    }
}

fn too_large(text: &str) -> Error {
    Error::new(ErrorKind::PayloadTooLarge, text)
        .with_hint("send smaller pieces, or a reference to the data")
}

fn throttled(reply: &Reply, text: &str, now: SystemTime) -> Error {
    let error = Error::new(ErrorKind::Throttled, text);
    // OpenWhisk sends no Retry-After; a gateway before it may.
    if let Some(wait) = reply.retry_after() {
        return error.with_retry_after(wait);
    }
    if text.contains("last minute") {
        let now = reply.date().unwrap_or(now);
        return error.with_retry_after(until_next_minute(now)).with_hint(
            "the limit is per minute and namespace: lower the rate, or ask for a higher limit",
        );
    }
    error
        .with_hint("too many activations at once: lower the concurrency, or ask for a higher limit")
}

/// The rate is counted by the minute of the server's clock, and refused calls count: waiting is all that helps.
fn until_next_minute(now: SystemTime) -> Duration {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Duration::from_secs(MINUTE - seconds % MINUTE)
}

fn redirected(reply: &Reply) -> Error {
    // Without its query, which may hold a secret.
    let target = reply.header("location").unwrap_or("elsewhere");
    let target = target.split(['?', '#']).next().unwrap_or_default();
    Error::invalid_input(format!("the server redirects to {}", short(target)))
        .with_hint("set APIHOST to the address that it names: keys are sent to no other host")
}

/// The server's words for a kind that it does not have, or not any more.
fn is_unknown_kind(text: &str) -> bool {
    text.contains("is not supported by this platform")
        || text.contains("runtime is no longer supported")
}

/// The server's words for a path or method that its API does not have; of an entity it says that it does not exist.
fn is_unknown_path(text: &str) -> bool {
    text.contains("resource could not be found")
}

/// Whether it is what a load balancer answers when it reaches no controller. A controller that has taken too long itself
/// sends a 503 without JSON, too, but in its own words.
fn is_gateway_error(status: StatusCode, text: &str) -> bool {
    matches!(status.as_u16(), 502..=504) && !text.contains("timely response")
}

/// The server's words when two changes of one action met.
fn is_lost_race(text: &str) -> bool {
    text.contains("Concurrent modification")
}

/// Foreign text, shortened to fit into a line of a log.
pub(crate) fn short(text: &str) -> String {
    const SHOWN: usize = 500;
    let line = text.replace(|c: char| c.is_control(), " ");
    if line.len() <= SHOWN {
        return line;
    }
    format!("{}…", &line[..line.floor_char_boundary(SHOWN)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_500_bytes_is_shown_whole_and_a_longer_one_is_cut() {
        let text = "x".repeat(500);
        assert_eq!(short(&text), text);
        assert_eq!(short(&format!("{text}y")), format!("{text}…"));
        assert_eq!(short("two\nlines"), "two lines");
    }

    #[test]
    fn the_next_minute_is_one_to_sixty_seconds_away() {
        for (now, wait) in [(0, 60), (1, 59), (59, 1), (60, 60), (1_700_000_000, 40)] {
            let now = UNIX_EPOCH + Duration::from_secs(now);
            assert_eq!(until_next_minute(now), Duration::from_secs(wait));
        }
    }
}
