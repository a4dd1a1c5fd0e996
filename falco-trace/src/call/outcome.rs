//! The reason of an attempt, and its outcome.

use falco_core::AttemptReason;
use serde::{Deserialize, Serialize};

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Why {
    /// The call before failed.
    Failed,
    /// The function failed before.
    Function,
    /// The activation before was lost.
    Lost,
    /// The attempt before was slow.
    Copy,
}

impl Why {
    pub(crate) fn of(reason: AttemptReason) -> Option<Self> {
        match reason {
            AttemptReason::First => None,
            AttemptReason::FunctionFailed | AttemptReason::Outgrown => Some(Self::Function),
            AttemptReason::Lost => Some(Self::Lost),
            AttemptReason::Straggler => Some(Self::Copy),
            _ => Some(Self::Failed),
        }
    }

    /// The reason in lower-case words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "call failed",
            Self::Function => "function failed",
            Self::Lost => "lost",
            Self::Copy => "straggler",
        }
    }
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CallOutcome {
    /// The function returned a result.
    Ok,
    /// The function failed.
    Function,
    /// The platform did not run it.
    Platform,
    /// Nobody can know whether it ran.
    Unknown,
    /// The run stopped it.
    Cancelled,
    /// The stage's deadline passed.
    Deadline,
    /// Another attempt answered first, and this one was given up.
    Abandoned,
}

impl CallOutcome {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Function,
        Self::Platform,
        Self::Unknown,
        Self::Cancelled,
        Self::Deadline,
        Self::Abandoned,
    ];

    /// The outcome in lower-case words, as reports have them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "succeeded",
            Self::Function => "function failed",
            Self::Platform => "platform failed",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline exceeded",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether somebody should look at it: the function or the platform failed, or nobody knows.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Function | Self::Platform | Self::Unknown | Self::Deadline)
    }

    pub(crate) fn of(outcome: &falco_core::Outcome) -> Self {
        match outcome {
            falco_core::Outcome::Succeeded(_) => Self::Ok,
            falco_core::Outcome::FunctionFailed(_) => Self::Function,
            falco_core::Outcome::PlatformFailed(_) => Self::Platform,
            falco_core::Outcome::Cancelled => Self::Cancelled,
            falco_core::Outcome::DeadlineExceeded => Self::Deadline,
            // An outcome that this crate does not know yet is not a success.
            _ => Self::Unknown,
        }
    }
}
