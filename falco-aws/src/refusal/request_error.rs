//! Why a request has no answer that is of use.

use falco_core::{Error, ErrorKind};

use super::ServiceError;

/// Why a request has no answer that is of use.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// AWS answered, and said no.
    Refused(Box<ServiceError>),
    /// Anything else: no credentials, no connection, an answer that makes no sense.
    Other(Error),
}

impl RequestError {
    /// AWS's own code, when it answered.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(fault) => Some(&fault.code),
            Self::Other(_) => None,
        }
    }

    /// Whether AWS said that the thing asked for is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::NotFound)
    }

    /// Whether the credentials are not allowed to do this.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::Forbidden)
    }

    /// Whether AWS refused because of a rate or concurrency limit.
    pub(crate) fn is_throttled(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.kind() == ErrorKind::Throttled)
    }

    /// Whether the function is still being created or updated.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Refused(fault) if fault.is_conflict_of_state())
    }

    /// Whether AWS's message contains one of `words`.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        matches!(self, Self::Refused(fault) if words.iter().any(|word| fault.message.contains(word)))
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        Self::Other(error.with_platform(crate::NAME))
    }
}

impl From<RequestError> for Error {
    fn from(failure: RequestError) -> Self {
        match failure {
            RequestError::Refused(fault) => fault.into_error(),
            RequestError::Other(error) => error,
        }
    }
}
