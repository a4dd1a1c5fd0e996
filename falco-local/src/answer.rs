//! The lines between Falco and a worker: what is asked, and what an answer means.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use falco_core::{FunctionError, FunctionErrorKind, Payload, Result};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::job::Job;
use crate::log::Capture;

/// What a shim says of a function that failed.
#[derive(Deserialize)]
struct Failure {
    kind: FunctionErrorKind,
    message: String,
    #[serde(rename = "type")]
    error_type: Option<String>,
    trace: Option<String>,
}

/// The failure that a shim tells.
pub(crate) fn failure(line: &[u8]) -> Option<FunctionError> {
    let failure: Failure = serde_json::from_slice(line.strip_prefix(b"!")?).ok()?;
    let mut error = FunctionError::new(failure.kind, failure.message);
    error.error_type = failure.error_type;
    error.trace = failure.trace;
    Some(error)
}

/// An answer of a shim, unless something else has written the line.
pub(crate) fn of_shim(line: &Bytes) -> Option<Result<Payload, FunctionError>> {
    if line.starts_with(b"=") {
        return Payload::from_bytes(line.slice(1..)).ok().filter(Payload::is_object).map(Ok);
    }
    failure(line).map(Err)
}

/// An answer of an executable: a JSON object, by whose key `error` it says that it failed.
pub(crate) fn of_executable(line: Bytes) -> Result<Payload, FunctionError> {
    #[derive(Deserialize)]
    struct Failed<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        error: Option<&'a RawValue>,
    }

    // `null` is an error too, as on OpenWhisk: it is the key that counts.
    fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
        Deserialize::deserialize(from).map(Some)
    }

    let result = Payload::from_bytes(line).map_err(|error| {
        bad_result(format!("the result is no JSON: {}", error.causes().join(": ")))
    })?;
    if !result.is_object() {
        return Err(bad_result(format!(
            "the result has to be a JSON object, and it is {result:?}"
        )));
    }
    match result.parse::<Failed<'_>>() {
        Ok(Failed { error: Some(error) }) => {
            let message = serde_json::from_str::<String>(error.get());
            let message = message.unwrap_or_else(|_| error.get().to_owned());
            Err(FunctionError::new(FunctionErrorKind::Raised, message))
        }
        _ => Ok(result),
    }
}

/// The error of a function whose result is unusable.
pub(crate) fn bad_result(message: String) -> FunctionError {
    FunctionError::new(FunctionErrorKind::BadResult, message)
}

/// The error of a process that has ended unasked.
pub(crate) fn crash(status: Option<i32>, log: &Capture) -> FunctionError {
    let trace = log.stderr_tail();
    // Node.js ends itself when its heap is full.
    let kind = if trace.contains("JavaScript heap out of memory") {
        FunctionErrorKind::OutOfMemory
    } else {
        FunctionErrorKind::Crashed
    };
    let how = match status {
        Some(status) if status < 0 => format!("was ended by signal {}", -status),
        Some(status) => format!("ended with status {status}"),
        None => "ended".to_owned(),
    };
    let mut error = FunctionError::new(kind, format!("its process {how} before it answered"));
    error.exit_status = status;
    error.trace = (!trace.is_empty()).then_some(trace);
    error
}

/// The beginning of an ActionLoop request, up to the arguments (contract 6.4 and 6.6b).
pub(crate) fn envelope(job: &Job, name: &str, deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO) + left;
    // Names and ids hold letters, digits, '-' and '_' only: there is nothing to escape.
    format!(
        "{{\"activation_id\":\"{}\",\"action_name\":\"/_/{name}\",\"namespace\":\"_\",\
         \"deadline\":\"{}\",\"value\":",
        job.id,
        deadline.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_worker_writes_is_a_result_or_an_error_of_the_function() {
        for line in [
            "",
            "=",
            "={",
            "=[]",
            "!",
            "!{}",
            "{\"a\":1}",
            "+",
            "=\u{0}",
            "! {\"kind\":\"raised\"}",
        ] {
            assert!(of_shim(&Bytes::from(line)).is_none(), "{line:?}");
        }
        for line in ["", "{", "null", "7", "\"text\"", "[{}]", "{}{}"] {
            let error = of_executable(Bytes::from(line)).unwrap_err();
            assert_eq!(error.kind, FunctionErrorKind::BadResult, "{line:?}");
        }
    }

    #[test]
    fn only_the_outermost_key_error_is_a_failure() {
        for line in [r#"{"a":{"error":1}}"#, r#"{"errors":1}"#, r#"{"a":"error"}"#] {
            assert_eq!(of_executable(Bytes::from(line)).unwrap().as_str(), line);
        }
        for (line, message) in [
            (r#"{"error":"x","a":1}"#, "x"),
            (r#"{"error":null}"#, "null"),
            (r#"{"error":{}}"#, "{}"),
        ] {
            let error = of_executable(Bytes::from(line)).unwrap_err();
            assert_eq!((error.kind, &*error.message), (FunctionErrorKind::Raised, message));
        }
    }
}
