//! The categories of errors.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The category of an error, by what a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's input, configuration or plan is wrong; nothing was sent.
    InvalidInput,
    /// The credentials are missing, wrong or expired. Check the platform's configuration.
    Unauthorized,
    /// The credentials are good, but not for this operation. Grant the missing permission.
    Forbidden,
    /// The function, deployment or activation is not there.
    NotFound,
    /// Somebody else changed the same thing at the same time, or it exists already.
    Conflict,
    /// The payload, result or archive is over the platform's limit.
    PayloadTooLarge,
    /// The platform refused the call because of a rate or concurrency limit. It did not run.
    Throttled,
    /// No answer within the time allowed.
    Timeout,
    /// The platform cannot be reached or has a fault of its own.
    Unavailable,
    /// The platform cannot do this; see its [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// The platform's answer could not be understood.
    Protocol,
    /// The activation was accepted and never answered.
    Lost,
    /// The invocation was accepted in a [batch](crate::Batch) and comes back without an answer because of another input of
    /// the batch: it did not run, or running it twice does no harm. Executors send it again at once, however often.
    Deferred,
    /// The caller stopped the operation.
    Cancelled,
    /// Code supplied by the user (a driver, monitor, derivation or platform) panicked.
    Panicked,
    /// None of the others.
    Other,
}

impl ErrorKind {
    /// The kind as lower-case words, for logs and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid input",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::PayloadTooLarge => "payload too large",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Protocol => "protocol error",
            Self::Lost => "lost",
            Self::Deferred => "deferred",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::Other => "error",
        }
    }

    /// Whether an error of this kind is usually gone on a second try.
    pub(crate) fn usually_passes(self) -> bool {
        matches!(self, Self::Throttled | Self::Timeout | Self::Unavailable)
    }

    /// Whether a call that failed in this way may have reached the function anyway.
    pub(crate) fn leaves_doubt(self) -> bool {
        matches!(self, Self::Timeout | Self::Protocol | Self::Lost)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retryability_and_may_have_run_follow_from_the_kind() {
        use ErrorKind::*;
        for kind in [
            InvalidInput,
            Unauthorized,
            Forbidden,
            NotFound,
            Conflict,
            PayloadTooLarge,
            Throttled,
            Timeout,
            Unavailable,
            Unsupported,
            Protocol,
            Lost,
            Deferred,
            Cancelled,
            Panicked,
            Other,
        ] {
            let error = crate::Error::new(kind, "x");
            let hope = [Throttled, Timeout, Unavailable].contains(&kind);
            let doubt = [Timeout, Protocol, Lost].contains(&kind);
            assert_eq!((error.is_retryable(), error.may_have_run()), (hope, doubt), "{kind}");
        }
    }
}
