//! An error as text: one line for users, and every field for those who look for a fault.

use std::fmt;

use super::Error;
use crate::error_kind::ErrorKind;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(platform) = &inner.platform {
            write!(f, "{platform}: ")?;
        }
        match (&inner.operation, &inner.function) {
            (Some(operation), Some(function)) => write!(f, "{operation} {function}: ")?,
            (Some(only), None) | (None, Some(only)) => write!(f, "{only}: ")?,
            (None, None) => {}
        }
        // An error of no special kind says so by its message alone.
        if inner.kind != ErrorKind::Other {
            write!(f, "{}: ", inner.kind)?;
        }
        f.write_str(&inner.message)?;
        for cause in inner.causes.iter().filter(|cause| **cause != inner.message) {
            write!(f, ": {cause}")?;
        }
        if let Some(request_id) = &inner.request_id {
            write!(f, " [request {request_id}]")?;
        }
        match &inner.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if !f.alternate() {
            write!(f, "{self}")?;
            return match &inner.trace {
                Some(trace) => write!(f, "\n{}", trace.trim_end()),
                None => Ok(()),
            };
        }
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("message", &inner.message)
            .field("platform", &inner.platform)
            .field("operation", &inner.operation)
            .field("function", &inner.function)
            .field("request_id", &inner.request_id)
            .field("retryable", &inner.retryable)
            .field("may_have_run", &inner.may_have_run)
            .field("unreachable", &inner.unreachable)
            .field("exhausted", &inner.exhausted)
            .field("retry_after", &inner.retry_after)
            .field("hint", &inner.hint)
            .field("trace", &inner.trace)
            .field("causes", &inner.causes)
            .finish()
    }
}
