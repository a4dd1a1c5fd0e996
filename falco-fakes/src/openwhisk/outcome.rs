//! How the invoker classifies what a runtime answers (contract, 6.3).

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::reprint::{fields, reprint};

/// The status and the result of a record.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: &'static str,
    pub(super) result: Box<RawValue>,
    pub(super) timed_out: bool,
    /// Whether the container may go on.
    pub(super) container_lives: bool,
    /// Whether the connection to the container broke: then the invoker answers late.
    pub(super) connection_broke: bool,
}

/// The longest result.
const MAX_RESULT: usize = 1 << 20;

impl Outcome {
    /// The outcome of a line on descriptor 3. The proxy passes on an object, an array or `null`, and nothing else.
    pub(super) fn of_action_loop(line: &str) -> Self {
        let passes = line.trim_start().starts_with(['{', '[']) && reprint(line).is_some();
        if passes || line.trim() == "null" {
            return Self::of_line(line);
        }
        Self::developer_error("The action did not return a dictionary or array.")
    }

    /// The outcome of what a runtime answers.
    pub(super) fn of_line(line: &str) -> Self {
        if line.len() > MAX_RESULT {
            let text = format!(
                "The action produced a response that exceeded the allowed length: {} > {MAX_RESULT} bytes. The \
                 truncated response was: {}",
                line.len(),
                &line[..line.floor_char_boundary(MAX_RESULT)]
            );
            return Self::application_error(&to_raw(&text.into()));
        }
        let Some(json) = reprint(line) else { return Self::invalid_json(line) };
        match json.get().as_bytes().first() {
            Some(b'{') => match fields(&json).and_then(|fields| fields.get("error").copied()) {
                Some(error) => Self::application_error(error),
                None => Self::success(json),
            },
            Some(b'[') => Self::success(json),
            _ => Self::invalid_json(line),
        }
    }

    fn invalid_json(line: &str) -> Self {
        Self::developer_error(format!(
            "The action did not produce a valid JSON or JSON Array response: {line}"
        ))
    }

    fn success(result: Box<RawValue>) -> Self {
        Self {
            status: "success",
            result,
            timed_out: false,
            container_lives: true,
            connection_broke: false,
        }
    }

    fn application_error(error: &RawValue) -> Self {
        let result = format!("{{\"error\":{}}}", error.get());
        let result = RawValue::from_string(result).unwrap_or_else(|_| to_raw(&json!({})));
        Self { status: "application error", ..Self::success(result) }
    }

    pub(super) fn developer_error(text: impl Into<String>) -> Self {
        let result = to_raw(&json!({"error": text.into()}));
        let status = "action developer error";
        Self { status, container_lives: false, ..Self::success(result) }
    }

    /// The server did not start the function, although it had accepted the invocation.
    pub(super) fn not_started() -> Self {
        let text = "Activation processing is not initiated for 60000 ms";
        Self { status: "whisk internal error", ..Self::developer_error(text) }
    }

    /// The runtime ended without an answer.
    pub(super) fn died() -> Self {
        let text = "The action did not produce a valid response and exited unexpectedly.";
        Self { connection_broke: true, ..Self::developer_error(text) }
    }

    /// The kernel has ended the runtime for its memory.
    pub(super) fn out_of_memory() -> Self {
        let text = "The action exhausted its memory and was aborted.";
        Self { connection_broke: true, ..Self::developer_error(text) }
    }

    pub(super) fn timeout(millis: u64, during: &str) -> Self {
        let text = format!("The action exceeded its time limits of {millis} milliseconds{during}.");
        Self { timed_out: true, connection_broke: true, ..Self::developer_error(text) }
    }
}

/// A value as JSON text. Values have no keys or numbers that JSON lacks, so that the fallback is never seen.
pub(super) fn to_raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
