//! Why an attempt failed, in no more text than a trace of many failures can hold.

use falco_core::{Error, FunctionError};
use serde::{Deserialize, Serialize};

/// How much of an error's message is kept, in bytes.
const MESSAGE_BYTES: usize = 500;
/// How much of a traceback is kept; the end says most.
const TRACE_BYTES: usize = 4_000;

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CallError {
    /// The category, in lower-case words.
    pub kind: String,
    /// The class of the exception.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// The beginning of the message.
    #[serde(rename = "msg", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The exit status of a process that died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// The end of the traceback; of the first failures of a run only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl CallError {
    /// The report of a function.
    pub fn of_function(error: &FunctionError) -> Self {
        Self {
            kind: error.kind.to_string(),
            error_type: error.error_type.clone(),
            message: beginning(&error.message, MESSAGE_BYTES),
            status: error.exit_status,
            trace: error.trace.as_deref().map(|trace| end(trace, TRACE_BYTES)),
        }
    }

    /// The report of a call.
    pub fn of_call(error: &Error) -> Self {
        Self {
            kind: error.kind().as_str().to_owned(),
            message: beginning(&error.to_string(), MESSAGE_BYTES),
            trace: error.trace().map(|trace| end(trace, TRACE_BYTES)),
            ..Self::default()
        }
    }

    /// Leaves out what may hold data of the user's.
    pub(crate) fn without_texts(mut self) -> Self {
        self.message = String::new();
        self.trace = None;
        self
    }
}

fn beginning(text: &str, bytes: usize) -> String {
    match text.len() <= bytes {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(bytes)]),
    }
}

/// The end of a text.
pub(crate) fn end(text: &str, bytes: usize) -> String {
    match text.len().checked_sub(bytes) {
        None | Some(0) => text.to_owned(),
        Some(cut) => format!("…{}", &text[text.ceil_char_boundary(cut)..]),
    }
}
