//! A provider's report of one run of a function.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::ActivationId;
use crate::payload::Payload;
use crate::setters;

/// One run of a function, as the provider reports it. What it does not report is `None`, never a guess.
///
/// # Examples
///
/// ```
/// use falco_core::{Activation, Payload};
/// use std::time::Duration;
///
/// let mut activation = Activation::succeeded("a-1", Payload::empty());
/// activation.execution = Some(Duration::from_millis(12));
/// activation.cold_start = Some(false);
/// assert!(activation.is_success());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Activation {
    /// The platform's name for it.
    pub id: ActivationId,
    /// The function's result, or how it failed.
    pub outcome: Result<Payload, FunctionError>,
    /// When the function began, initialisation included, by the provider's clock.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::unix_time::option")]
    pub started_at: Option<SystemTime>,
    /// When it ended, by the provider's clock.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::unix_time::option")]
    pub ended_at: Option<SystemTime>,
    /// How long the provider kept it waiting before it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
    /// How long the instance took to start; only for a cold start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Duration>,
    /// How long the function ran, initialisation excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Duration>,
    /// The time that is charged. Where the provider reports it too late, a platform may estimate it from what the function's
    /// shim has measured, and says so: the attribute `billed` is `estimated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed: Option<Duration>,
    /// Memory granted, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Peak memory used, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// The instance that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The host of that instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The region that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The version of the function's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_version: Option<String>,
    /// When the instance that ran it was started, by the provider's clock.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::unix_time::option")]
    pub booted_at: Option<SystemTime>,
    /// Whether an instance was started for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<bool>,
    /// The cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<UsDollars>,
    /// The provider's id of the request, for its support desk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Further facts that the provider reports.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Activation {
    /// The attribute of a failed activation that a layer will send to a larger deployment: executors repeat its invocation at
    /// once, whatever their policy says.
    pub const OUTGROWN: &'static str = "outgrown";

    /// An activation with this outcome, of which nothing else is known yet.
    pub fn new(id: impl Into<ActivationId>, outcome: Result<Payload, FunctionError>) -> Self {
        Self {
            id: id.into(),
            outcome,
            started_at: None,
            ended_at: None,
            wait: None,
            init: None,
            execution: None,
            billed: None,
            memory_mib: None,
            memory_used_bytes: None,
            container: None,
            host: None,
            region: None,
            code_version: None,
            booted_at: None,
            cold_start: None,
            cost: None,
            request_id: None,
            attributes: BTreeMap::new(),
        }
    }

    /// An activation that returned `result`.
    pub fn succeeded(id: impl Into<ActivationId>, result: Payload) -> Self {
        Self::new(id, Ok(result))
    }

    /// An activation that failed.
    pub fn failed(id: impl Into<ActivationId>, error: FunctionError) -> Self {
        Self::new(id, Err(error))
    }

    /// An attribute by name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// Whether the function returned a result.
    pub fn is_success(&self) -> bool {
        self.outcome.is_ok()
    }
}

/// How a function failed. The platform did its part: this is about the user's code, or its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionError {
    /// The way in which it failed.
    pub kind: FunctionErrorKind,
    /// The function's or the platform's words.
    pub message: String,
    /// The class of the exception, where the platform reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// The traceback, or the tail of stderr of a process that died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The exit status of a process that died; negative for a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
}

impl FunctionError {
    /// An error of `kind`.
    pub fn new(kind: FunctionErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), error_type: None, trace: None, exit_status: None }
    }

    /// Adds the class of the exception.
    #[must_use]
    pub fn with_error_type(mut self, error_type: impl Into<String>) -> Self {
        self.error_type = Some(error_type.into());
        self
    }

    /// Adds the traceback, or the tail of stderr.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// Adds the exit status.
    #[must_use]
    pub fn with_exit_status(mut self, status: i32) -> Self {
        self.exit_status = Some(status);
        self
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind)?;
        if let Some(error_type) = &self.error_type {
            write!(f, "{error_type}: ")?;
        }
        f.write_str(&self.message)?;
        match self.exit_status {
            Some(status) => write!(f, " (exit status {status})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FunctionError {}

/// The ways in which a function fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FunctionErrorKind {
    /// It raised, or answered with an error of its own.
    Raised,
    /// Its code could not be loaded.
    Initialization,
    /// Its result is not a JSON object, or over the limit.
    BadResult,
    /// It ran longer than it may.
    Timeout,
    /// It needed more memory than it has.
    OutOfMemory,
    /// Its process ended.
    Crashed,
    /// The platform says that it failed, and not how.
    Unspecified,
}

impl fmt::Display for FunctionErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raised => "function error",
            Self::Initialization => "initialization failed",
            Self::BadResult => "bad result",
            Self::Timeout => "function timed out",
            Self::OutOfMemory => "out of memory",
            Self::Crashed => "function crashed",
            Self::Unspecified => "function failed",
        })
    }
}

/// The output of one activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActivationLog {
    /// The activation.
    pub id: ActivationId,
    /// Its lines, oldest first as far as the platform reports it.
    pub lines: Vec<LogLine>,
    /// Whether the platform cut it short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl ActivationLog {
    /// The log of an activation, which is whole.
    pub fn new(id: impl Into<ActivationId>, lines: Vec<LogLine>) -> Self {
        Self { id: id.into(), lines, truncated: false }
    }

    /// Says whether the platform cut it short.
    #[must_use]
    pub fn with_truncated(mut self, truncated: bool) -> Self {
        self.truncated = truncated;
        self
    }
}

/// One line of a log, without its line break.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// When it was written, where the platform reports it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::unix_time::option")]
    pub at: Option<SystemTime>,
    /// Where it was written, where the platform reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<LogStream>,
    /// The text.
    pub text: String,
}

impl LogLine {
    /// A line of which neither time nor stream is known.
    pub fn new(text: impl Into<String>) -> Self {
        Self { at: None, stream: None, text: text.into() }
    }

    setters! {
        /// Sets the time at which it was written.
        with_time(at: Option<SystemTime>);
        /// Sets the stream to which it was written.
        with_stream(stream: Option<LogStream>);
    }
}

/// Where a function wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An amount of money. One activation costs some 10⁻⁹ dollars, so it is not an integer of cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsDollars(pub f64);

impl Add for UsDollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for UsDollars {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for UsDollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for UsDollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 != 0.0 && self.0.abs() < 0.01 {
            write!(f, "${:.9}", self.0)
        } else {
            write!(f, "${:.2}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, UsDollars};
    use crate::Payload;

    #[test]
    fn what_is_not_known_takes_no_space_when_stored_and_comes_back() {
        let mut activation = Activation::succeeded("a-1", Payload::empty());
        let json = serde_json::to_string(&activation).unwrap();
        assert_eq!(json, r#"{"id":"a-1","outcome":{"Ok":{}}}"#);
        assert_eq!(serde_json::from_str::<Activation>(&json).unwrap(), activation);
        activation.booted_at = Some(std::time::SystemTime::UNIX_EPOCH);
        let json = serde_json::to_string(&activation).unwrap();
        assert_eq!(serde_json::from_str::<Activation>(&json).unwrap(), activation);
    }

    #[test]
    fn amounts_read_like_money_and_small_ones_are_not_lost() {
        let amounts = [0.0, 12.345, 0.01, 0.000_000_002].map(|a| UsDollars(a).to_string());
        assert_eq!(amounts, ["$0.00", "$12.35", "$0.01", "$0.000000002"]);
    }
}
