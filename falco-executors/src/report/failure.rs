//! An invocation that did not succeed, and all that is known of why.

use std::fmt;

use falco_core::{ActivationId, Completion, FunctionErrorKind, InvocationId, Outcome};
use serde::{Deserialize, Serialize};

/// How much of a failure's reason is kept, in bytes.
const REASON_BYTES: usize = 1_000;
/// How much of its input is kept.
const INPUT_BYTES: usize = 400;
/// How much of a traceback or log is kept; the end says most.
const TRACE_BYTES: usize = 4_000;

/// An invocation that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The invocation.
    pub id: InvocationId,
    /// Its outcome in one or two words, such as `function failed`.
    pub outcome: String,
    /// The category of the error in one or two words, such as `timeout`, or that of the function's error.
    pub kind: String,
    /// Why, in one line.
    pub reason: String,
    /// The beginning of the function's argument, as JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input: String,
    /// The end of the function's traceback, or of stderr of a process that died, where the platform has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The end of the activation's log, where the run has [fetched](crate::LogPolicy) it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The activation, where the provider has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationId>,
}

impl Failure {
    /// The failure of an invocation; none for a completion that succeeded.
    pub fn of(completion: &Completion) -> Option<Self> {
        let reason = shortened(&completion.outcome.failure()?, REASON_BYTES);
        let activation = completion.outcome.activation();
        let function_error = activation.and_then(|activation| activation.outcome.as_ref().err());
        let kind = match (&completion.outcome, function_error) {
            (_, Some(error)) => kind_of_function_error(error.kind),
            (Outcome::PlatformFailed(error) | Outcome::Unknown(error), None) => {
                error.kind().as_str().to_owned()
            }
            (outcome, None) => outcome.as_str().to_owned(),
        };
        Some(Self {
            id: completion.invocation.clone(),
            outcome: completion.outcome.as_str().to_owned(),
            kind,
            reason,
            input: shortened(completion.input.as_str(), INPUT_BYTES),
            trace: function_error.and_then(|error| error.trace.as_deref()).map(end_of),
            log: None,
            activation: activation.map(|activation| activation.id.clone()),
        })
    }

    /// The traceback, or else the end of the log.
    pub fn details(&self) -> Option<&str> {
        self.trace.as_deref().or(self.log.as_deref())
    }

    pub(crate) fn set_log(&mut self, text: &str) {
        self.log = Some(end_of(text));
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, outcome, reason, .. } = self;
        // The other reasons say themselves what came of it.
        match outcome == "platform failed" || outcome == "unknown" {
            true => write!(f, "{id}: {outcome}: {reason}"),
            false => write!(f, "{id}: {reason}"),
        }
    }
}

fn kind_of_function_error(kind: FunctionErrorKind) -> String {
    kind.to_string()
}

/// The beginning of a text.
pub(super) fn shortened(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes)])
}

fn end_of(text: &str) -> String {
    match text.len().checked_sub(TRACE_BYTES) {
        None | Some(0) => text.to_owned(),
        Some(cut) => format!("…{}", &text[text.ceil_char_boundary(cut)..]),
    }
}
