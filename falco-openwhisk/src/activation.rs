//! From OpenWhisk's record of an activation to Falco's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{
    Activation, Error, ErrorKind, FunctionError, FunctionErrorKind, LogLine, LogStream, Payload,
    Result,
};
use falco_package::{native, shim};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::refusal::short;
use crate::wire::{ActionLimits, Record, annotation, object};

/// The activation that a record is about.
///
/// # Errors
///
/// The platform's own failures: the function could not be started, or was refused after it had been accepted.
pub(crate) fn to_activation(record: &Record<'_>) -> Result<Activation> {
    let Some(response) = &record.response else {
        return Err(Error::new(ErrorKind::Protocol, "the record has no response"));
    };
    let text = server_text(response.result);
    if response.status == "whisk internal error" || is_refused_late(record, &text) {
        return Err(platform_failure(record, &text));
    }
    let ran = Ran::find(record, response.result);
    let outcome = match (&*response.status, response.success) {
        ("success", true) => {
            result_of(ran.as_ref().and_then(|(_, result)| *result).or(response.result))
        }
        ("application error", _) => Err(application_error(record, response.result, &text)),
        _ => {
            let timed_out = annotation(&record.annotations, "timeout").unwrap_or(false);
            Err(developer_error(&text, timed_out))
        }
    };
    let mut activation = describe(record, Activation::new(&*record.id, outcome));
    if let Some((ran, _)) = ran {
        ran.describe(&mut activation);
    }
    Ok(activation)
}

/// The place where a function ran, as Falco's shim reports it: the server does not.
#[derive(Deserialize)]
struct Ran {
    #[serde(rename = "c")]
    container: String,
    #[serde(rename = "boot")]
    booted_ms: u64,
    #[serde(rename = "rt")]
    runtime: String,
}

impl Ran {
    /// The shim's report, and the function's own result, which it wraps.
    fn find<'a>(
        record: &Record<'_>,
        result: Option<&'a RawValue>,
    ) -> Option<(Self, Option<&'a RawValue>)> {
        #[derive(Deserialize)]
        struct Success<'a> {
            #[serde(rename = "falco:ran")]
            ran: Ran,
            #[serde(borrow)]
            result: &'a RawValue,
        }
        #[derive(Deserialize)]
        struct Failure {
            error: Error,
        }
        #[derive(Deserialize)]
        struct Error {
            ran: Ran,
        }

        let result = result?.get();
        if !has_shim(record) || !result.contains("\"boot\"") {
            return None;
        }
        if let Ok(Success { ran, result }) = object(result.as_bytes()) {
            return Some((ran, Some(result)));
        }
        let failure: Failure = object(result.as_bytes()).ok()?;
        Some((failure.error.ran, None))
    }

    fn describe(self, activation: &mut Activation) {
        activation.booted_at = UNIX_EPOCH.checked_add(Duration::from_millis(self.booted_ms));
        activation.container = Some(short(&self.container));
        activation.attributes.insert("runtime".into(), short(&self.runtime));
    }
}

/// Whether functions of this kind run behind one of Falco's shims, unless they are plain. A blackbox may, and its answers
/// show it.
fn has_shim(record: &Record<'_>) -> bool {
    let kind: String = annotation(&record.annotations, "kind").unwrap_or_default();
    ["python", "nodejs", "blackbox"].iter().any(|with_shim| kind.starts_with(with_shim))
}

/// An activation of which nothing is known but its result, which is an array.
pub(crate) fn array_result(id: &str, array: &Bytes) -> Activation {
    Activation::new(id, native::outcome(array.clone()))
}

fn describe(record: &Record<'_>, mut activation: Activation) -> Activation {
    let annotations = &record.annotations;
    let millis = |key: &str| annotation::<u64>(annotations, key).map(Duration::from_millis);
    let at = |millis: u64| UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    // Only a cold start has an `initTime`; a record without `waitTime` is of an activation that did not start.
    let init = millis("initTime");
    let wait = millis("waitTime");
    let total = record.duration.or_else(|| record.end?.checked_sub(record.start));
    activation.started_at = at(record.start);
    activation.ended_at = record.end.and_then(at);
    activation.wait = wait;
    activation.init = init;
    activation.execution =
        total.map(|total| Duration::from_millis(total).saturating_sub(init.unwrap_or_default()));
    activation.cold_start = wait.or(init).map(|_| init.is_some());
    activation.code_version = record.version.as_deref().map(short);
    activation.memory_mib =
        annotation::<ActionLimits>(annotations, "limits").and_then(|limits| limits.memory_mib);
    for key in ["kind", "path"] {
        if let Some(value) = annotation::<String>(annotations, key) {
            activation.attributes.insert(key.into(), short(&value));
        }
    }
    activation
}

fn result_of(result: Option<&RawValue>) -> Result<Payload, FunctionError> {
    let Some(result) = result else { return Ok(Payload::empty()) };
    native::outcome(Bytes::copy_from_slice(result.get().as_bytes()))
}

/// The value under `error` in a failed activation's result.
fn error_of(result: Option<&RawValue>) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Failure<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    let failure: Failure<'_> = object(result?.get().as_bytes()).ok()?;
    Some(failure.error)
}

/// The words of the server, or of the function where it has failed with a text; empty where there are none.
fn server_text(result: Option<&RawValue>) -> String {
    error_of(result).and_then(|error| serde_json::from_str(error.get()).ok()).unwrap_or_default()
}

/// The function answered with an error, or with more than the server keeps.
fn application_error(record: &Record<'_>, result: Option<&RawValue>, text: &str) -> FunctionError {
    if text.starts_with("The action produced a response that exceeded the allowed length") {
        return FunctionError::new(FunctionErrorKind::BadResult, short(text));
    }
    // Falco's shim says more than a function that answers for itself.
    let said = error_of(result).filter(|error| has_shim(record) && error.get().starts_with('{'));
    if let Some(error) = said.and_then(|error| shim::failure(error.get().as_bytes())) {
        return error;
    }
    match result_of(result) {
        Err(error) => error,
        Ok(_) => {
            FunctionError::new(FunctionErrorKind::Raised, "the function failed without an error")
        }
    }
}

/// The function's process did not answer as it should. Only the server's words say how (contract, 6.1 to 6.6).
fn developer_error(text: &str, timed_out: bool) -> FunctionError {
    use FunctionErrorKind::{
        BadResult, Crashed, Initialization, OutOfMemory, Raised, Timeout, Unspecified,
    };
    // Node's runtime says so of what the function threw.
    if let Some(thrown) = text.strip_prefix("An error has occurred: ") {
        return FunctionError::new(Raised, short(thrown));
    }
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let kind = if timed_out || says(&["exceeded its time limits"]) {
        Timeout
    } else if says(&["exhausted its memory"]) {
        OutOfMemory
    } else if says(&[
        "did not initialize",
        "during initialization",
        "nitialization has failed",
        "failed to generate or locate a binary",
        "Cannot start action",
        "Missing main/no code",
        "Failed to pull container image",
    ]) {
        Initialization
    } else if says(&["did not produce a valid JSON", "did not return a dictionary"]) {
        BadResult
    } else if says(&["exited unexpectedly", "command exited"]) {
        Crashed
    } else {
        Unspecified
    };
    let text = match kind {
        BadResult => format!("the result is not a JSON object: {}", short(text)),
        _ => short(text),
    };
    FunctionError::new(kind, text)
}

/// Whether the record was made without an activation: it took no time, and nothing waited for it.
///
/// The scheduler of current servers refuses after it has accepted (contract, section 5), and a queue may outlive its
/// action.
fn is_synthetic(record: &Record<'_>) -> bool {
    let no_time = record.duration == Some(0) || record.end == Some(record.start);
    no_time
        && annotation::<u64>(&record.annotations, "waitTime").is_none()
        && annotation::<bool>(&record.annotations, "timeout").is_none()
}

/// The server's words for an activation whose action was removed while it was queued.
const NO_ACTION: &str = "Action could not be found or may have been deleted";

fn is_refused_late(record: &Record<'_>, text: &str) -> bool {
    const WORDS: [&str; 4] = [
        "Too many concurrent requests in flight",
        "Activation processing is not initiated",
        "The activation has not been processed",
        NO_ACTION,
    ];
    is_synthetic(record) && WORDS.iter().any(|words| text.contains(words))
}

fn platform_failure(record: &Record<'_>, text: &str) -> Error {
    let kind = if text.contains("Too many concurrent requests in flight") {
        ErrorKind::Throttled
    } else if text.contains(NO_ACTION) {
        ErrorKind::NotFound
    } else {
        ErrorKind::Unavailable
    };
    let text = if text.is_empty() { "whisk internal error" } else { text };
    // A container that could not be started has a duration of 0 as well, and a wait.
    let started = record.duration.is_none_or(|duration| duration > 0);
    Error::new(kind, short(text)).with_may_have_run(started).with_request_id(short(&record.id))
}

/// A line of a log: a timestamp padded to 30 characters, the stream, and the text; what has another form is text.
pub(crate) fn log_line(line: &str) -> LogLine {
    let parsed = line.split_once(' ').and_then(|(timestamp, rest)| {
        let at = parse_timestamp(timestamp)?;
        let rest = rest.trim_start();
        Some(match (rest.strip_prefix("stdout:"), rest.strip_prefix("stderr:")) {
            (Some(text), _) => (at, Some(LogStream::Stdout), text),
            (_, Some(text)) => (at, Some(LogStream::Stderr), text),
            _ => (at, None, rest),
        })
    });
    match parsed {
        Some((at, stream, text)) => {
            let text = if stream.is_some() { text.strip_prefix(' ').unwrap_or(text) } else { text };
            LogLine::new(text).with_time(Some(at)).with_stream(stream)
        }
        None => LogLine::new(line),
    }
}

/// The server's words for a log that it cut.
pub(crate) fn says_truncated(line: &LogLine) -> bool {
    line.text.contains("Logs were truncated because the total bytes size exceeds the limit")
}

/// `2024-01-01T10:00:00.123456789Z`.
fn parse_timestamp(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[cfg(test)]
mod tests;
