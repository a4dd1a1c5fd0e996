//! Google's refusals: the one mapping of replies to errors, of APIs here, of functions in [`call`], of token
//! endpoints in [`token`].
//!
//! There are five shapes of them: JSON of the APIs, JSON of Storage (without `status`), XML of signed URLs, JSON of the
//! token endpoint, and the HTML or text of front ends. All are read leniently.

mod call;
mod token;

use std::time::Duration;

use falco_core::{Error, ErrorKind};
use falco_http::{Reply, excerpt, redact};
use serde::Deserialize;
use serde_json::Value;

pub(crate) use call::{Refusal, of_call};
pub(crate) use token::of_token_endpoint;

/// How much of a foreign text is looked at, in bytes.
const MAX_READ: usize = 64 << 10;

/// A `google.rpc.Status`, in a reply or in an operation. In a reply, `code` is the HTTP status; in an operation it is
/// the number of a `google.rpc.Code`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) status: String,
    pub(crate) details: Vec<Value>,
    /// Storage's way to report a reason.
    errors: Vec<Value>,
}

#[derive(Deserialize)]
struct Envelope {
    error: Status,
}

/// One readable line of foreign text. Secrets are taken out first: an excerpt might end in the middle of one.
pub(crate) fn redacted_excerpt(text: &[u8], secrets: &[&str]) -> String {
    let beginning = &text[..text.len().min(MAX_READ)];
    let text = redact(&String::from_utf8_lossy(beginning), secrets.iter().copied());
    excerpt(text.as_bytes())
}

/// The kind for a status where the reply says nothing else.
fn kind_of(status: u16) -> ErrorKind {
    match status {
        400 | 411 | 422 => ErrorKind::InvalidInput,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 | 410 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        413 => ErrorKind::PayloadTooLarge,
        429 => ErrorKind::Throttled,
        408 | 504 => ErrorKind::Timeout,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Protocol,
    }
}

/// The error that a reply of an API is. Values of `secrets` that it quotes are not shown.
pub(crate) fn of_reply(reply: &Reply, secrets: &[&str]) -> Error {
    let http = reply.status.as_u16();
    let status = parsed(&reply.body);
    let reason = status.as_ref().and_then(Status::reason).unwrap_or_default();
    let kind = match (http, status.as_ref().map_or("", |status| &*status.status)) {
        (400, "FAILED_PRECONDITION") => ErrorKind::Other,
        (403, _) if reason.to_ascii_lowercase().contains("ratelimitexceeded") => {
            ErrorKind::Throttled
        }
        _ => kind_of(http),
    };
    let message = match &status {
        Some(status) => status.words(secrets),
        None => redacted_excerpt(&reply.body, secrets),
    };
    // Google's APIs answer in JSON; anything else comes from what stands before them.
    let is_from_a_gateway = status.is_none() && matches!(http, 502..=504);
    let error = Error::new(kind, format!("HTTP {http}: {message}"))
        .with_may_have_run(false)
        .with_unreachable(is_from_a_gateway);
    let is_aborted = status.as_ref().is_some_and(|status| status.status == "ABORTED");
    let error = if is_aborted { error.with_retryable(true) } else { error };
    let wait = reply.retry_after().or_else(|| status.as_ref().and_then(Status::retry_delay));
    let error = match wait {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    };
    let error = match reply.header("x-cloud-trace-context") {
        Some(trace) => error.with_request_id(trace.split('/').next().unwrap_or(trace)),
        None => error,
    };
    hinted(error, http, status.as_ref(), secrets)
}

/// The error that an operation ended with.
pub(crate) fn of_operation(status: &Status, secrets: &[&str]) -> Error {
    let kind = match status.code {
        3 | 9 | 11 => ErrorKind::InvalidInput,
        4 => ErrorKind::Timeout,
        5 => ErrorKind::NotFound,
        6 | 10 => ErrorKind::Conflict,
        7 => ErrorKind::Forbidden,
        8 => ErrorKind::Throttled,
        12 => ErrorKind::Unsupported,
        13 | 14 => ErrorKind::Unavailable,
        16 => ErrorKind::Unauthorized,
        _ => ErrorKind::Other,
    };
    let error = Error::new(kind, status.words(secrets)).with_may_have_run(false);
    let error = if status.code == 10 { error.with_retryable(true) } else { error };
    match status.help(secrets) {
        Some(help) => error.with_hint(help),
        None => error,
    }
}

/// The text of a reply of any shape, on one line.
pub(crate) fn error_message(body: &[u8], secrets: &[&str]) -> String {
    parsed(body).map_or_else(|| redacted_excerpt(body, secrets), |status| status.words(secrets))
}

/// Whether a refusal is this one of Google's, such as `ALREADY_EXISTS`.
pub(crate) fn is_already_there(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && !error.is_retryable()
}

fn parsed(body: &[u8]) -> Option<Status> {
    serde_json::from_slice::<Envelope>(body).ok().map(|envelope| envelope.error)
}

fn hinted(error: Error, http: u16, status: Option<&Status>, secrets: &[&str]) -> Error {
    if let Some(help) = status.and_then(|status| status.help(secrets)) {
        return error.with_hint(help);
    }
    match (http, status) {
        (403, _) => error.with_hint("grant the missing role to the credentials in use"),
        (401, _) => error.with_hint("the access token was refused twice; check the credentials"),
        (404, None) => error.with_hint("this is not a reply of the API: check the endpoint"),
        (429, Some(_)) => {
            error.with_hint("wait, deploy fewer functions at once, or ask for a higher quota")
        }
        _ => error,
    }
}

impl Status {
    /// The message with what the details add to it.
    fn words(&self, secrets: &[&str]) -> String {
        let mut words = redacted_excerpt(self.message.as_bytes(), secrets);
        if self.message.trim().is_empty() {
            words = format!("code {}", self.code);
        }
        for detail in &self.details {
            let violations =
                ["fieldViolations", "violations"].iter().find_map(|key| detail[key].as_array());
            for violation in violations.into_iter().flatten().take(8) {
                let subject = ["field", "subject"].iter().find_map(|key| violation[key].as_str());
                if let Some(description) = violation["description"].as_str() {
                    let subject = subject.unwrap_or_default();
                    let description = redacted_excerpt(description.as_bytes(), secrets);
                    words.push_str(&format!(
                        "; {}: {description}",
                        redacted_excerpt(subject.as_bytes(), secrets)
                    ));
                }
            }
        }
        words
    }

    fn detail(&self, kind: &str) -> Option<&Value> {
        let of_kind = |detail: &&Value| {
            detail["@type"].as_str().is_some_and(|name| name.rsplit('.').next() == Some(kind))
        };
        self.details.iter().find(of_kind)
    }

    /// A reason for programs, such as `rateLimitExceeded` or `SERVICE_DISABLED`.
    fn reason(&self) -> Option<&str> {
        let info = self.detail("ErrorInfo").and_then(|info| info["reason"].as_str());
        info.or_else(|| self.errors.iter().find_map(|error| error["reason"].as_str()))
    }

    fn retry_delay(&self) -> Option<Duration> {
        let text = self.detail("RetryInfo")?["retryDelay"].as_str()?;
        let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn help(&self, secrets: &[&str]) -> Option<String> {
        let link = self.detail("Help")?["links"].get(0)?;
        let (url, description) =
            (link["url"].as_str()?, link["description"].as_str().unwrap_or("see"));
        Some(redacted_excerpt(format!("{description}: {url}").as_bytes(), secrets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> Status {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_operations_code_is_a_number_of_grpc_and_no_http_status() {
        for (code, kind, retryable) in [
            (3, ErrorKind::InvalidInput, false),
            (5, ErrorKind::NotFound, false),
            (6, ErrorKind::Conflict, false),
            (8, ErrorKind::Throttled, true),
            (10, ErrorKind::Conflict, true),
            (13, ErrorKind::Unavailable, true),
            (404, ErrorKind::Other, false),
        ] {
            let error = of_operation(&Status { code, ..Status::default() }, &[]);
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{code}");
            assert!(!error.may_have_run());
        }
    }

    #[test]
    fn details_and_help_reach_the_user() {
        let failed = status(
            r#"{"code":3,"message":"Build failed","details":[
                {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[
                  {"field":"service_config","description":"CPU below 1"}]},
                {"@type":"type.googleapis.com/google.rpc.Help","links":[
                  {"description":"Build log","url":"https://console/build/1"}]}]}"#,
        );
        let shown = of_operation(&failed, &[]).to_string();
        for words in
            ["Build failed", "service_config: CPU below 1", "Build log: https://console/build/1"]
        {
            assert!(shown.contains(words), "{shown}");
        }
    }

    #[test]
    fn a_suggested_wait_is_read_from_the_details() {
        let failed = status(
            r#"{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3.5s"}]}"#,
        );
        assert_eq!(failed.retry_delay(), Some(Duration::from_millis(3500)));
        for nonsense in ["-1s", "s", "3", "NaNs", "1e300s"] {
            let failed = Status {
                details: vec![serde_json::json!({"@type": "x.RetryInfo", "retryDelay": nonsense})],
                ..Status::default()
            };
            assert_eq!(failed.retry_delay(), None, "{nonsense}");
        }
    }
}
