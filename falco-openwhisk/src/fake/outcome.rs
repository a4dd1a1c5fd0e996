//! How the invoker judges what a runtime answers (contract, 6.3).

use serde_json::{Value, json};

/// The status and the result of a record.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: &'static str,
    pub(super) result: Value,
    pub(super) timed_out: bool,
    /// Whether the container may go on.
    pub(super) container_lives: bool,
}

/// The longest result.
const MAX_RESULT: usize = 1 << 20;

impl Outcome {
    /// What a line on descriptor 3 means.
    pub(super) fn of_line(line: &str) -> Self {
        if line.len() > MAX_RESULT {
            let text = format!(
                "The action produced a response that exceeded the allowed length: {} > {MAX_RESULT} bytes. The \
                 truncated response was: {}",
                line.len(),
                &line[..line.floor_char_boundary(MAX_RESULT)]
            );
            return Self::application_error(text.into());
        }
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(mut fields)) => match fields.remove("error") {
                Some(error) => Self::application_error(error),
                None => Self::success(Value::Object(fields)),
            },
            Ok(array @ Value::Array(_)) => Self::success(array),
            Ok(Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                Self::developer_error("The action did not return a dictionary or array.")
            }
            _ => Self::developer_error(format!(
                "The action did not produce a valid JSON or JSON Array response: {line}"
            )),
        }
    }

    pub(super) fn success(result: Value) -> Self {
        Self { status: "success", result, timed_out: false, container_lives: true }
    }

    fn application_error(error: Value) -> Self {
        let result = json!({"error": error});
        Self { status: "application error", result, timed_out: false, container_lives: true }
    }

    pub(super) fn developer_error(text: impl Into<String>) -> Self {
        let result = json!({"error": text.into()});
        Self { status: "action developer error", result, timed_out: false, container_lives: false }
    }

    pub(super) fn timeout(millis: u64, during: &str) -> Self {
        let text = format!("The action exceeded its time limits of {millis} milliseconds{during}.");
        Self { timed_out: true, ..Self::developer_error(text) }
    }
}
